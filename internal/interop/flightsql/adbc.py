"""Uses a Varve server through ADBC's driver for Flight SQL.

    adbc.py SERVER VARVE PAGE

SERVER is HOST:PORT, VARVE the program, PAGE the example of docs/reference/flight-sql.md as a program. Looks at metadata, writes samples and has bad
ones rejected; asks statements where the server has SQL, and is told that it has none where it has not.
"""

import csv
import datetime
import importlib.metadata
import io
import math
import subprocess
import sys

import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager
import pyarrow as pa

from report import ran, skipped

server, varve, page = sys.argv[1:]
UTC = datetime.timezone.utc


def told(test, what):
    ran("ADBC (Python)", importlib.metadata.version("adbc-driver-flightsql"), test, what)


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got}, want {want}")


def stored(tag):
    """The samples of a tag by another door: the program's own."""
    answer = subprocess.run([varve, "query", "--server", server, "--start", "2002-01-01T00:00:00Z", "--end", "2002-01-02T00:00:00Z", "-o", "csv", tag],
                            capture_output=True, text=True, check=True).stdout
    return [(r["time"], r["value"], r["quality"]) for r in csv.DictReader(io.StringIO(answer))]


def metadata(connection):
    info = connection.adbc_get_info()
    check("vendor", info["vendor_name"], "varve")
    check("types of tables", connection.adbc_get_table_types(), ["TABLE", "VIEW"])
    objects = connection.adbc_get_objects(depth="all", table_name_filter="samples").read_all().to_pylist()
    catalog = objects[0]
    check("catalog", catalog["catalog_name"], "varve")
    schema = catalog["catalog_db_schemas"][0]
    check("schema", schema["db_schema_name"], "main")
    samples = schema["db_schema_tables"][0]
    check("table", (samples["table_name"], samples["table_type"]), ("samples", "TABLE"))
    columns = [c["column_name"] for c in samples["table_columns"]]
    check("columns", columns, ["time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id", "seq"])
    told = connection.adbc_get_table_schema("samples")
    check("columns of the schema", told.names, columns)
    check("type of time", told.field("time").type, pa.timestamp("ns", "UTC"))


def ingest(connection):
    """What ADBC writes is what is stored, all of it or nothing."""
    tag = "TEP.XMEAS_02"
    times = [datetime.datetime(2002, 1, 1, 0, 0, s, tzinfo=UTC) for s in range(3)]
    good = pa.table({"tag": [tag] * 3, "time": pa.array(times, pa.timestamp("us", "UTC")), "value": [1.5, math.nan, None],
                     "quality": pa.array([0, 0, 0x80310000], pa.int64())})
    bad = pa.table({"tag": [tag, "nobody"], "time": pa.array(times[:2], pa.timestamp("us", "UTC")), "value": [7.0, 7.0]})
    with connection.cursor() as cursor:
        try:
            cursor.adbc_ingest("samples", bad, mode="append")
            sys.exit("a row of a tag that is not there was taken")
        except adbc_driver_manager.Error as e:
            if "row 1 (nobody)" not in str(e) or "ingest_rejects" not in str(e):
                sys.exit(f"the error of an ingest does not say what was wrong: {e}")
        check("samples behind a rejected ingest", stored(tag), [])
        check("rows ingested", cursor.adbc_ingest("samples", good, mode="append"), 3)
        check("samples", stored(tag), [("2002-01-01T00:00:00Z", "1.5", "Good"), ("2002-01-01T00:00:01Z", "NaN", "Good"), ("2002-01-01T00:00:02Z", "", "BadNoCommunication")])
        cursor.adbc_statement.set_options(**{"adbc.flight.sql.rpc.call_header.x-varve-ingest-atomic": "false"})
        check("rows ingested of some", cursor.adbc_ingest("samples", bad, mode="append"), 1)
        try:
            cursor.adbc_ingest("samples", good, mode="create")
            sys.exit("a table that is there was created")
        except adbc_driver_manager.Error as e:
            if "append" not in str(e):
                sys.exit(f"the error of creating a table does not say what to do: {e}")


def statements(connection):
    """True where the server has SQL."""
    with connection.cursor() as cursor:
        try:
            cursor.execute("select count(*) as n from samples where tag = 'TEP.XMEAS_01'")
        except adbc_driver_manager.NotSupportedError as e:
            if "SQL is not built" not in str(e):
                raise
            return False
        check("count", cursor.fetchall()[0][0] > 0, True)
        told("read", "statements; errors say what was wrong")
        day = datetime.datetime(2002, 1, 1, tzinfo=UTC)
        schema = cursor.adbc_prepare("select value from samples where tag = ? and time >= ? and quality < ?")
        check("types of parameters", [str(f.type) for f in schema], ["string", "timestamp[ms, tz=UTC]", "int64"])
        told("prepare", "types of parameters are told")
        for _ in range(2):
            cursor.execute("select time, value, quality from samples where tag = ? and time >= ? and time < ? order by time", ("TEP.XMEAS_02", day, day + datetime.timedelta(days=1)))
            rows = cursor.fetchall()
            check("times", [r[0] for r in rows], [day + datetime.timedelta(seconds=s) for s in range(3)])
            check("values", [repr(r[1]) for r in rows], ["1.5", "nan", "None"])
            check("qualities", [r[2] for r in rows], [0, 0, 0x80310000])
        told("parameters", "texts and instants, a statement executed twice; Bad codes exact")
        try:
            cursor.execute("select nonsense from samples")
            sys.exit("a column that is not there was read")
        except adbc_driver_manager.ProgrammingError:
            pass
    with connection.cursor() as cursor:
        cursor.execute("select a.time_ns from samples a, samples b, samples c")
        cursor.fetchone()
        cursor.adbc_cancel()
        try:
            cursor.fetchall()
            sys.exit("a statement that was cancelled went on to its end")
        except adbc_driver_manager.Error:
            pass
    told("cancel", "of an endless statement after its first rows")
    with connection.cursor() as cursor:
        cursor.execute("select row, tag, code from ingest_rejects order by row")
        check("rejected rows", set(cursor.fetchall()), {(1, "nobody", "UNKNOWN_TAG")})
    return True


with flightsql.connect(f"grpc://{server}", autocommit=True) as connection:
    metadata(connection)
    told("metadata", "tables, columns, types, the server")
    ingest(connection)
    told("ingest", "all or nothing, and some of it; what the program reads then is what was written")
    sql = statements(connection)
if sql:
    subprocess.run([sys.executable, page], check=True, stdout=subprocess.DEVNULL)
else:
    skipped("ADBC (Python)", "statements: the server has no SQL, and says so")
