"""A small plant made of a seed: tables that varve imports, and the same samples as Parquet that varve had no part in.

The Parquet has the columns of the SQL table samples, with their types. All of it is worked out here, from the numbers drawn and the rules of the
tables; a server is only asked which ids it gave the tags.
"""
import csv
import datetime
import random

import pyarrow as pa
import pyarrow.parquet as pq

SECOND = 10**9
START = int(datetime.datetime(2024, 11, 2, tzinfo=datetime.timezone.utc).timestamp()) * SECOND
HOURS = 72  # the clocks of New York go back on the second day

QUALITIES = {
    "Good": 0,
    "Uncertain": 0x40000000,
    "UncertainSensorNotAccurate": 0x40930000,
    "BadSensorFailure": 0x808C0000,
    "BadNoCommunication": 0x80310000,
}
PUMP = {0: "stopped", 1: "starting", 2: "running"}


class Tag:
    def __init__(self, name, kind, unit="", stepped=False, area="", description=""):
        self.name, self.kind, self.unit, self.stepped = name, kind, unit, stepped
        self.area, self.description = area, description
        self.samples = []  # time, seq, value, quality; value None where the quality is Bad

    def add(self, time, value, quality="Good", seq=0):
        self.samples.append((time, seq, None if quality.startswith("Bad") else value, quality))


def plant(seed=20241103):
    """The tags, each with its samples in order of time and seq."""
    r = random.Random(seed)
    tags = []
    for i in range(1, 6):
        tags.append(walk(r, Tag(f"SITE1.TI-10{i}", "float64", "Cel", area="boiler", description=f"temperature {i}"), 60, 80.0, 0.25, 2))
    for i in range(1, 4):
        tags.append(walk(r, Tag(f"SITE1.FI-20{i}", "float64", "m3/h", area="feed", description=f"flow {i}"), 20, 12.0, 0.1, 3))
    tags.append(walk(r, Tag("SITE2.PI-301", "float64", "bar", area="feed", description="pressure"), 10, 4.0, 0.01, 15))
    counter = Tag("SITE2.COUNT-401", "int64", "", True, "packing", "pieces")
    n = 2**53
    for k in range(HOURS * 12):
        n += r.randrange(40)
        counter.add(START + k * 300 * SECOND, n)
    pump = Tag("SITE1.P-101.RUN", "state", "", True, "feed", "feed pump")
    valve = Tag("SITE1.XV-102.OPEN", "bool", "", True, "feed", "inlet valve")
    batch = Tag("SITE2.BATCH", "string", "", True, "packing", "batch in work")
    at = START + 7 * SECOND
    for k in range(200):
        pump.add(at, r.choice([0, 2, 1, 2]), r.choice(["Good"] * 9 + ["BadNoCommunication"]))
        valve.add(at + 3 * SECOND, r.random() < 0.6)
        at += r.randrange(60, 2400) * SECOND
    for k in range(HOURS // 4):
        batch.add(START + k * 4 * 3600 * SECOND, f"B-{r.randrange(100, 999)}; 'ä\"", "Good")
    lab = Tag("LAB.PH", "float64", "[pH]", False, "", "acidity, three readings a sample")
    for k in range(HOURS // 6):
        for seq in range(3):
            lab.add(START + k * 6 * 3600 * SECOND + 11, round(7 + r.gauss(0, 0.3), 2), r.choice(["Good", "Uncertain"]), seq)
    fast = Tag("SITE1.VIB-1", "float64", "mm/s", area="boiler", description="vibration, between microseconds")
    for k in range(3000):
        fast.add(START + 3600 * SECOND + k * 333_333_333 + 1, r.gauss(0, 1))
    return tags + [counter, pump, valve, batch, lab, fast]


def walk(r, tag, step, value, deviation, decimals):
    """A random walk with a break, and with samples of every quality."""
    for k in range(HOURS * 3600 // step):
        value += r.gauss(0, deviation)
        if 20 < k * step / 3600 < 21.5 and tag.name.endswith(("101", "201")):
            continue  # nobody collected
        quality = "Good"
        if r.random() < 0.01:
            quality = r.choice(["Uncertain", "UncertainSensorNotAccurate", "BadSensorFailure", "BadNoCommunication"])
        tag.add(START + k * step * SECOND, round(value, decimals), quality)
    return tag


def stamp(ns):
    at = datetime.datetime.fromtimestamp(ns // SECOND, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % SECOND:09d}Z"


def text(tag, value):
    if value is None:
        return ""
    return {"state": lambda: PUMP[value], "bool": lambda: str(value).lower(), "string": lambda: value}.get(tag.kind, lambda: repr(value))()


def write_table(path, tags):
    """A long table with quality, as varve import reads it."""
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["time", "tag", "value", "quality"])
        for tag in tags:
            for time, _, value, quality in tag.samples:
                out.writerow([stamp(time), tag.name, text(tag, value), quality])


def row(tag, id, time, seq, value, quality):
    """A row of the table samples."""
    code = QUALITIES[quality]
    number, integer, words = None, None, None
    if value is not None:
        if tag.kind in ("float64", "int64"):
            number = float(value)
        if tag.kind == "int64":
            integer = value
        if tag.kind == "bool":
            integer = int(value)
        if tag.kind == "state":
            integer, words = value, PUMP[value]
        if tag.kind == "string":
            words = value
    return (time // 1000, tag.name, number, code, quality, ["Good", "Uncertain", "Bad"][code >> 30], integer, words, time, id, seq)


SAMPLES = pa.schema([
    ("time", pa.timestamp("us", "UTC")), ("tag", pa.string()), ("value", pa.float64()), ("quality", pa.int64()), ("status", pa.string()),
    ("severity", pa.string()), ("value_int", pa.int64()), ("value_text", pa.string()), ("time_ns", pa.int64()), ("tag_id", pa.int64()), ("seq", pa.int64()),
])

TAGS = pa.schema([
    ("tag_id", pa.int64()), ("name", pa.string()), ("description", pa.string()), ("type", pa.string()), ("unit", pa.string()), ("stepped", pa.bool_()),
    ("first_time", pa.timestamp("us", "UTC")), ("last_time", pa.timestamp("us", "UTC")), ("samples", pa.int64()),
])


def write_parquet(folder, tags, ids):
    """samples.parquet, tags.parquet and tag_attributes.parquet; ids is the id of each name."""
    rows = [row(t, ids[t.name], *s) for t in tags for s in t.samples]
    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows), SAMPLES)]
    pq.write_table(pa.table(columns, schema=SAMPLES), folder / "samples.parquet")
    rows = [(ids[t.name], t.name, t.description or None, t.kind, t.unit or None, t.stepped, t.samples[0][0] // 1000, t.samples[-1][0] // 1000, len(t.samples)) for t in tags]
    pq.write_table(pa.table([pa.array(c, f.type) for c, f in zip(zip(*rows), TAGS)], schema=TAGS), folder / "tags.parquet")
    areas = [(ids[t.name], "area", t.area) for t in tags if t.area]
    pq.write_table(pa.table(dict(zip(("tag_id", "name", "value"), (list(c) for c in zip(*areas))))), folder / "tag_attributes.parquet")
