"""Asks a Varve server over HTTP what Grafana's data sources for JSON ask: series.py HTTP CSV"""
import csv
import datetime
import json
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

from report import ran

server, file = sys.argv[1:]
FROM, TO = "2001-01-01T07:00:00.000Z", "2001-01-01T09:00:00.000Z"
with open(file, encoding="utf-8") as f:
    rows = list(csv.DictReader(f))


def milliseconds(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def ask(url):
    with urllib.request.urlopen(url.replace("127.0.0.1:7421", server)) as answer:
        return json.load(answer)


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r:.300}, want {want!r:.300}")


want = {"TEP." + c: [[float(r[c]), milliseconds(r["time"])] for r in rows if milliseconds(FROM) <= milliseconds(r["time"]) < milliseconds(TO)] for c in ("XMEAS_01", "XMEAS_09")}
base = f"http://127.0.0.1:7421/api/v1/query?tags=TEP.XMEAS_01,TEP.XMEAS_09&start={FROM}&end={TO}"
same("SimpleJSON", {s["target"]: s["datapoints"] for s in ask(base + "&format=grafana")}, want)
matrix = ask(base + "&format=prometheus")
same("Prometheus", {s["metric"]["tag"]: [[float(v), int(t * 1000)] for t, v in s["values"]] for s in matrix["data"]["result"]}, want)

# The URL of the page, with what Grafana puts in place of its variables.
page = (Path(__file__).resolve().parents[3] / "docs/howto/grafana.md").read_text(encoding="utf-8")
url = re.search(r"^http://127\.0\.0\.1:7421/\S+$", page, re.M).group().replace("${__from:date:iso}", FROM).replace("${__to:date:iso}", TO)
got = {}
for row in ask(url)["rows"]:
    got.setdefault(row["tag"], []).append([row["value"], milliseconds(row["time"])])
for tag in want:  # fewer samples than pixels, so all of them, and one on either side for the line to the edge
    at = [t for _, t in got[tag]]
    same("Infinity, beside the range", (at[0] < milliseconds(FROM) <= at[1], at[-2] < milliseconds(TO) <= at[-1]), (True, True))
same("Infinity", {tag: points[1:-1] for tag, points in got.items()}, want)
same("variables", sorted(r["name"] for r in ask("http://127.0.0.1:7421/api/v1/sql?" + urllib.parse.urlencode({"sql": "select name from tags where name like 'TEP.XMV%'"}))["rows"]),
     sorted("TEP." + c for c in rows[0] if c.startswith("XMV")))
ran("Grafana (HTTP)", "-", "read", f"{sum(map(len, want.values()))} points as rows for Infinity by the URL of the page, as series of SimpleJSON and as a matrix, equal to the file")
