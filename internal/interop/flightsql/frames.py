"""Reads samples into pandas and Polars over ADBC, every value of the file: frames.py SERVER CSV"""
import csv
import datetime
import sys

import adbc_driver_flightsql.dbapi as flightsql
import pandas
import polars

from report import finish, ran, skipped

server, file = sys.argv[1:]
with open(file, encoding="utf-8") as f:
    rows = list(csv.DictReader(f))
times = [datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")) for r in rows]
ASK = "select time, value, quality from samples where tag = '{}' and time >= '2001-01-01' and time < '2001-01-03' order by time"


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r:.300}, want {want!r:.300}")


with flightsql.connect(f"grpc://{server}", autocommit=True) as connection:
    try:
        for column in ("XMEAS_01", "XMEAS_09", "XMV_03"):
            want = [float(r[column]) for r in rows]
            frame = pandas.read_sql(ASK.format("TEP." + column), connection)
            same("pandas, types", [str(t) for t in frame.dtypes], ["datetime64[ns, UTC]", "float64", "int64"])
            same("pandas", ([t.to_pydatetime() for t in frame["time"]], list(frame["value"]), set(frame["quality"])), (times, want, {0}))
            frame = polars.read_database(ASK.format("TEP." + column), connection)
            same("Polars, types", frame.dtypes, [polars.Datetime("ns", "UTC"), polars.Float64, polars.Int64])
            same("Polars", (frame["time"].to_list(), frame["value"].to_list(), set(frame["quality"])), (times, want, {0}))
    except connection.NotSupportedError:
        for client in ("pandas (Flight SQL)", "Polars (Flight SQL)"):
            skipped(client, "the server has no SQL, and says so")
        sys.exit(0)
ran("pandas (Flight SQL)", pandas.__version__, "read", f"{len(rows)} rows of three tags equal to the file, times with their zone")
ran("Polars (Flight SQL)", polars.__version__, "read", f"{len(rows)} rows of three tags equal to the file, times with their zone")
finish()
