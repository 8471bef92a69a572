"""Holds what Spark reads against what was imported, value by value: spark.py VARVE SERVER CSV PAGE WORK

VARVE is the program, SERVER the HOST:PORT of a server that holds CSV, its columns with TEP. before their names; PAGE is docs/howto/spark.md, whose data source is
taken from it as it stands there; WORK is a new folder. Writes a tag of its own with every quality and odd values.
"""
import csv
import datetime
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

os.environ.update(PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
import pyspark  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import types as t  # noqa: E402

from report import ran  # noqa: E402

varve, server, file, page, work = sys.argv[1:]
UTC = datetime.timezone.utc
ODD = "TEP.SPARK.ODD"


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r:.300}, want {want!r:.300}")


def run(*args):
    return subprocess.run([varve, *args, "--server", server], check=True, capture_output=True, text=True).stdout


def bits(v):
    """A value to compare: doubles by their bits, NaN as one."""
    return v if not isinstance(v, float) else "NaN" if math.isnan(v) else struct.pack("<d", v)


def source(text):
    """The data source of the page, in names that its workers are sent by value."""
    names = {"__name__": "page"}
    exec(compile(next(b for b in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "class Varve(" in b), "the page", "exec"), names)
    return names["Varve"]


def nanoseconds(text):
    whole, _, part = text.rstrip("Z").partition(".")
    return int(datetime.datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(part.ljust(9, "0") or 0)


def odd():
    """Rows of a tag of its own: time, value, quality. Bad ones have no value."""
    Path(work).mkdir(parents=True, exist_ok=True)
    rows = [("2001-01-01T00:00:00.000000001Z", "-0.0", "Good"), ("2001-01-01T23:59:59.999999999Z", "NaN", "Good"), ("2001-01-02T00:00:00Z", "5e-324", "Uncertain"),
            ("2001-01-02T12:00:00.123456Z", "1.7976931348623157e308", "Good"), ("2001-01-02T23:59:59.999999Z", "", "BadSensorFailure")]
    if ODD not in run("tags", "list", "--output", "json"):
        run("tags", "create", ODD, "--type", "float64")
    with open(f"{work}/odd.csv", "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([("time", "tag", "value", "quality"), *((a, ODD, v, q) for a, v, q in rows)])
    run("import", "--mode", "append", f"{work}/odd.csv")
    codes = {"Good": 0, "Uncertain": 0x40000000, "BadSensorFailure": 0x808C0000}
    return [(nanoseconds(a), ODD, bits(float(v)) if v else None, codes[q]) for a, v, q in rows]


def rows_of(frame):
    """Rows of a frame with time, time_ns, tag, value and quality, the time being the microsecond that time_ns lies in."""
    out = []
    for r in frame.select("time", "time_ns", "tag", "value", "quality").collect():
        at = r.time.astimezone(UTC)
        same("microseconds", (int(at.timestamp()) * 10**6 + at.microsecond), r.time_ns // 1000)
        out.append((r.time_ns, r.tag, bits(r.value), r.quality))
    return sorted(out, key=lambda r: r[:2])


def exports(spark, want):
    folder = f"{work}/lake"
    run("export", "--quiet", "--time-unit", "us", folder, "TEP.*")
    frame = spark.read.parquet(folder).where("day <= date '2001-01-02'")  # other clients wrote later ones
    types = {f.name: f.dataType for f in frame.schema.fields}
    expected = {"time": t.TimestampType(), "tag": t.StringType(), "value": t.DoubleType(), "quality": t.LongType(), "severity": t.StringType(), "value_int": t.LongType(),
                "time_ns": t.LongType(), "seq": t.LongType(), "value_bytes": t.BinaryType(), "bad_value": t.DoubleType(), "group": t.StringType(), "day": t.DateType()}
    same("schema of an export", {k: types.get(k) for k in expected}, expected)
    ran("Spark (exports)", pyspark.__version__, "metadata", "types of columns, folders as columns")
    same("export", rows_of(frame), want)
    days = [datetime.date(2001, 1, 1), datetime.date(2001, 1, 2)]
    same("days", sorted(r.day for r in frame.select("day").distinct().collect()), days)
    second = frame.where(f"`group` = 'TEP' and day = date '2001-01-02' and tag = '{ODD}' and time >= timestamp '2001-01-02 12:00:00'")
    same("pruned", rows_of(second), [r for r in want if r[1] == ODD and r[0] >= nanoseconds("2001-01-02T12:00:00Z")])
    second.collect()
    plan = second._jdf.queryExecution().executedPlan()
    same("files read, of three", plan.collectLeaves().head().metrics().get("numFiles").get().value(), 1)
    plan = plan.toString()
    for part in ("PartitionFilters: [", "(day#", "PushedFilters: [", "EqualTo(tag", "GreaterThanOrEqual(time"):
        if part not in plan:
            sys.exit(f"{part} is not in the plan:\n{plan}")
    ran("Spark (exports)", pyspark.__version__, "read", f"{len(want)} samples, equal to what was imported by bits and nanoseconds; conditions leave files and row groups out")


def flight(spark, want):
    spark.dataSource.register(source(Path(page).read_text(encoding="utf-8")))
    tags = sorted({r[1] for r in want})[:5] + [ODD]

    def load(**options):
        return spark.read.format("varve").options(server=f"grpc://{server}", tags=",".join(tags), start="2001-01-01T00:00:00Z", stop="2001-01-03T00:00:00Z", **options).load()

    columns = "time,time_ns,tag,value,quality"
    same("schema", load().dtypes, [("time", "timestamp"), ("tag", "string"), ("value", "double"), ("quality", "bigint")])
    same("columns", load(columns="severity,seq").dtypes, [("severity", "string"), ("seq", "bigint")])
    ran("Spark (Flight SQL)", pyspark.__version__, "metadata", "types of the columns asked for")
    expected = [r for r in want if r[1] in tags]
    for parts in (1, 3, 4):
        frame = load(columns=columns, parts=str(parts))
        same(f"parts of {parts}", frame.rdd.getNumPartitions() <= max(parts, 1) and frame.rdd.getNumPartitions() > (parts > 1), True)
        same(f"in {parts} parts", rows_of(frame), expected)
    ran("Spark (Flight SQL)", pyspark.__version__, "read", f"{len(expected)} samples in 1, 3 and {frame.rdd.getNumPartitions()} parts, equal to what was imported by bits and nanoseconds")
    some = (spark.read.format("varve").options(server=f"grpc://{server}", tags=ODD, columns=columns, start="2001-01-02T00:00:00Z", stop="2001-01-02T12:00:00.123456Z").load())
    same("a stretch of time", rows_of(some), [r for r in expected if r[1] == ODD and nanoseconds("2001-01-02T00:00:00Z") <= r[0] < nanoseconds("2001-01-02T12:00:00.123456Z")])
    ran("Spark (Flight SQL)", pyspark.__version__, "parameters", "columns, tags, ends of the time, as options")


with open(file, encoding="utf-8") as f:
    rows = list(csv.DictReader(f))
want = [(nanoseconds(r["time"]), "TEP." + c, bits(float(v)), 0) for r in rows for c, v in r.items() if c != "time"]
want = sorted(want + odd(), key=lambda r: r[:2])
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
exports(spark, want)
flight(spark, want)
spark.stop()
