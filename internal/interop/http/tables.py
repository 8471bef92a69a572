"""Reads tables over HTTP as Excel and Power BI do: tables.py HTTP TOKEN_FILE CSV

The requests are those of the queries in docs/howto/excel-power-bi.md, sent with Basic authentication. CSV is what the server holds, its columns with TEP. before
their names.
"""
import base64
import csv
import io
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from report import finish, ran

server, token_file, file = sys.argv[1:]
token = Path(token_file).read_text(encoding="utf-8").strip()
with open(file, encoding="utf-8") as f:
    rows = list(csv.DictReader(f))


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r:.300}, want {want!r:.300}")


def queries(page):
    """URL of each Web.Contents of the page."""
    for address, path, record in re.findall(r'Web\.Contents\("([^"]+)", \[RelativePath = "([^"]+)", Query = \[(.*?)\]\]\)', page.read_text(encoding="utf-8")):
        pairs = re.findall(r'(\w+) = "([^"]*)"', record)
        yield f"{address}/{path}?{urllib.parse.urlencode(pairs)}".replace("127.0.0.1:7421", server)


def ask(url, authorization=None):
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()


def refused(url, authorization):
    try:
        ask(url, authorization)
    except urllib.error.HTTPError as e:
        return e.code, e.headers.get_all("WWW-Authenticate", [])
    sys.exit(f"{authorization!r:.60} was let in")


def basic(password):
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


samples, means, statement, parquet = queries(Path(__file__).resolve().parents[3] / "docs/howto/excel-power-bi.md")

# A program asks without credentials first, and is told that Basic is taken.
for header in (None, basic("no token"), basic(token[:-4] + "AAAA")):
    code, offered = refused(samples, header)
    same("refused", (code, [o.split()[0] for o in offered]), (401, ["Bearer", "Basic"]))

headers, body = ask(samples, basic(token))
same("type", headers["Content-Type"], "text/csv; charset=utf-8")
same("dialect", (body[:3] == b"\xef\xbb\xbf", b"\r" in body, body.endswith(b"\n")), (False, False, True))
want = [(pandas.Timestamp(r["time"]), "TEP." + c, float(r[c]), "Good") for c in ("XMEAS_01", "XMV_03") for r in rows]
frame = pandas.read_csv(io.BytesIO(body), parse_dates=["time"])
same("CSV by pandas", list(frame.itertuples(index=False, name=None)), want)
table = pa.csv.read_csv(io.BytesIO(body))
same("CSV by pyarrow", (table["tag"].to_pylist(), table["value"].to_pylist()), ([w[1] for w in want], [w[2] for w in want]))
same("CSV by columns", list(csv.reader(io.StringIO(body.decode())))[0], ["time", "tag", "value", "quality"])
ran("Excel, Power BI", "-", "read", f"CSV by the queries of the page with Basic authentication: {len(want)} rows as pandas and pyarrow read them, equal to the file")

hours = list(csv.DictReader(io.StringIO(ask(means, basic(token))[1].decode())))
same("hours", (len(hours), sum(int(h["count"]) for h in hours)), (48, len(rows)))
got = [(r["tag"], int(r["n"]), float(r["most"])) for r in csv.DictReader(io.StringIO(ask(statement, basic(token))[1].decode()))]
later = [r for r in rows if r["time"] >= "2001-01-02"]
same("statement", got, [("TEP." + c, len(later), max(float(r[c]) for r in later)) for c in sorted(rows[0]) if c.startswith("XMEAS_0")])
ran("Excel, Power BI", "-", "parameters", "of a statement, by the query of the page")

table = pa.parquet.read_table(io.BytesIO(ask(parquet, basic(token))[1]))
same("types", [str(table.schema.field(c).type) for c in ("time", "tag", "value", "quality")], ["timestamp[ns, tz=UTC]", "string", "double", "uint32"])
same("Parquet", list(zip((pandas.Timestamp(t) for t in table["time"].to_pylist()), table["tag"].to_pylist(), table["value"].to_pylist(), table["quality"].to_pylist())),
     [(t, tag, v, 0) for t, tag, v, _ in want])
ran("Excel, Power BI", "-", "read", f"Parquet with its types, {table.num_rows} rows equal to the file")
finish()
