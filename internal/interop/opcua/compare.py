"""Waits until an archive has what a plant's server says, each sample once and nothing else at these times, and says that a test of a client held.

    compare.py VARVE ADDRESS EXPECTED CLIENT VERSION TEST WHAT
"""
import calendar
import collections
import csv
import json
import struct
import subprocess
import sys
import time

from report import ran

varve, address, expected, client, version, test, what = sys.argv[1:]
name = f"{client}, {what}"
want = collections.defaultdict(dict)
with open(expected, newline="") as f:
    for tag, at, value, status in csv.reader(f):
        want[tag][int(at)] = (value, int(status))


def same(kind, got, value):
    if kind in ("float64", "float32"):
        return struct.pack(">d", float(got)) == struct.pack(">d", float(value))
    if kind == "bool":
        return got.lower() == value.lower()
    return got == value


def read(tag):
    times = sorted(want[tag])
    first, last = times[0], times[-1]
    stamp = lambda t: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t // 10**9)) + f".{t % 10**9:09d}Z"
    out = subprocess.run([varve, "query", "--server", address, "--start", stamp(first), "--end", stamp(last + 1), "--output", "json", tag],
                         capture_output=True, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()] if out.returncode == 0 else []


def nanoseconds(text):
    head, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(head, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int((fraction + "000000000")[:9])


codes = {"Good": 0, "UncertainSensorNotAccurate": 0x40930000, "BadSensorFailure": 0x808C0000}
deadline = time.time() + 60
while True:
    got = {tag: read(tag) for tag in want}
    if all(len(got[tag]) >= len(want[tag]) for tag in want) or time.time() > deadline:
        break
    time.sleep(0.5)
compared = 0
for tag in sorted(want):
    if len(got[tag]) != len(want[tag]):
        have = {nanoseconds(r["time"]) for r in got[tag]}
        missing = [t for t in want[tag] if t not in have]
        sys.exit(f"{name}: {tag} has {len(got[tag])} samples, {len(want[tag])} were sent; missing {missing[:5]}")
    for r in got[tag]:
        at = nanoseconds(r["time"])
        if at not in want[tag]:
            sys.exit(f"{name}: {tag} has a sample at {r['time']} that nobody sent")
        value, status = want[tag][at]
        q = r["quality"] if isinstance(r["quality"], int) else codes.get(r["quality"], -1)
        if q != status:
            sys.exit(f"{name}: {tag} at {r['time']} has quality {r['quality']}, {status:#x} was sent")
        v = r["value"]
        if v is None and status >> 30 >= 2:  # of these only time and status are compared
            compared += 1
            continue
        if isinstance(v, bool) or v is None:
            v = str(v)
        kind = "float64" if isinstance(v, float) or "Double" in tag or "Float" in tag or tag.startswith("N.") else "bool" if "Boolean" in tag else "text"
        if not same(kind, str(v), value):
            sys.exit(f"{name}: {tag} at {r['time']} is {v!r}, {value!r} was sent")
        compared += 1
ran(client, version, test, f"{what}: {compared} samples of {len(want)} tags, equal to what the server sent one by one")
