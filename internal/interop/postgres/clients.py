"""Uses a Varve server through drivers of PostgreSQL for Python: clients.py HOST PORT CSV"""
import asyncio
import csv
import datetime
import math
import sys
import threading
import time

import adbc_driver_postgresql
import adbc_driver_postgresql.dbapi
import asyncpg
import pandas
import pg8000.dbapi
import pg8000.native
import polars
import psycopg
import psycopg2
import sqlalchemy
import sqlalchemy.ext.asyncio

from report import ran

host, port, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rows = list(csv.DictReader(open(file)))
want = [(datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")), float(r["XMEAS_01"])) for r in rows]
half = want[len(want) // 2][0]
ASK = "select time, value from samples where tag = %s and time >= %s and value > %s order by time"


def same(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got!r:.300}, want {expected!r:.300}")


def psycopg3():
    with psycopg.connect(host=host, port=port, user="me", dbname="varve") as c:
        later = [w for w in want if w[0] >= half]
        for binary in (False, True):
            with c.cursor(binary=binary) as cur:
                got = cur.execute(ASK, ("TEP.XMEAS_01", half, -1)).fetchall()
                same(f"psycopg binary={binary}", [(t, v) for t, v in got], later)
                same("types", [d.type_code for d in cur.description], [1184, 701])
            got = c.execute("select %s::boolean, %s + 1, %s * 2.0::double, %s || 'é', %b::blob, %s::timestamptz, %s is null", (True, 2**62, 0.1, "x'y", b"\x00\xff", half, None), binary=binary).fetchone()
            same(f"psycopg parameters binary={binary}", got, (True, 2**62 + 1, 0.2, "x'yé", b"\x00\xff", half, True))
        for _ in range(8):  # beyond the fifth time the driver prepares it
            same("psycopg prepared", c.execute(ASK, ("TEP.XMEAS_01", half, -1)).fetchall(), later)
        with c.cursor(name="served") as cur:
            cur.itersize = 7
            cur.execute("select value from samples where tag = %s order by time", ("TEP.XMEAS_01",))
            same("psycopg cursor", [v for v, in cur], [v for _, v in want])
        got = c.execute("select 'NaN'::double, 'infinity'::double, '-infinity'::double, -0.0::double, sum(quality), [1, 2], 1.50, date '2026-01-01', interval '1 day 2 hours' from samples where tag like 'TEP.%'").fetchone()
        same("psycopg values", (math.isnan(got[0]), got[1], got[2], math.copysign(1, got[3]), int(got[4]), got[5], str(got[6]), got[7], got[8]),
             (True, math.inf, -math.inf, -1.0, 0, [1, 2], "1.50", datetime.date(2026, 1, 1), datetime.timedelta(days=1, hours=2)))
        for binary in (False, True):
            ids = c.execute("select array_agg(tag_id order by name) from tags where name = any(%s)", (["TEP.XMEAS_01", "no,body", None],), binary=binary).fetchone()[0]
            got = c.execute("select count(*) from samples where tag_id = any(%s) and time = any(%s)", (ids, [half, want[0][0]]), binary=binary).fetchone()
            same("psycopg arrays", (len(ids), got), (1, (2,)))
            got = c.execute("select %s::text[], %s::float8[]", (['a"b', "c,d", "", None, "NULL", "x\\y"], [0.1, -0.0, math.inf]), binary=binary).fetchone()
            same("psycopg elements", (got[0], str(got[1])), (['a"b', "c,d", "", None, "NULL", "x\\y"], "[0.1, -0.0, inf]"))
        query = "copy (select time, value from samples where tag = 'TEP.XMEAS_01' order by time) to stdout"
        with c.cursor() as cur, cur.copy(query) as copy:
            copy.set_types(["timestamptz", "float8"])
            same("psycopg copy", list(copy.rows()), want)
        with c.cursor() as cur, cur.copy(query + " (format csv, header)") as copy:
            lines = b"".join(copy).decode().splitlines()
        same("psycopg csv", (lines[0], [float(v) for _, v in csv.reader(lines[1:])]), ("time,value", [v for _, v in want]))
        try:
            c.execute("delete from samples")
            sys.exit("psycopg: a delete was not refused")
        except psycopg.errors.ReadOnlySqlTransaction:
            c.rollback()
        try:
            c.execute("select nothing from samples")
            sys.exit("psycopg: a column there is none of was found")
        except psycopg.errors.UndefinedColumn as e:
            same("place", e.diag.statement_position, "8")
            c.rollback()
        with c.pipeline():
            got = [c.execute("select %s::bigint", (i,)) for i in range(20)]
        same("psycopg pipeline", [g.fetchone()[0] for g in got], list(range(20)))
        timer = threading.Timer(0.3, c.cancel)
        timer.start()
        began = time.monotonic()
        try:
            c.execute("select count(*) from samples a, samples b, samples c")
            sys.exit("psycopg: a statement was not cancelled")
        except psycopg.errors.QueryCanceled:
            c.rollback()
        same("cancel took", time.monotonic() - began < 10, True)
        same("psycopg after", c.execute("select 1").fetchone(), (1,))
        tables = {r[0] for r in c.execute("select table_name from information_schema.tables where table_schema = %s", ("main",))}
        same("psycopg metadata", {"samples", "tags", "good_samples"} <= tables, True)
    for test, what in (("read", "in text and binary, a cursor, a pipeline, COPY; errors with their state and place"), ("parameters", "of each type, instants, bytes and arrays among them"),
                       ("prepare", "statements asked eight times"), ("metadata", "tables of information_schema, types of columns"),
                       ("cancel", "of an endless statement; the connection goes on")):
        ran("psycopg", psycopg.__version__, test, what)


def others():
    with psycopg2.connect(host=host, port=port, user="me", dbname="varve") as c, c.cursor() as cur:
        cur.execute(ASK, ("TEP.XMEAS_01", half, -1))
        same("psycopg2", cur.fetchall(), [w for w in want if w[0] >= half])
        with c.cursor("served") as named:
            named.execute("select value from samples where tag = 'TEP.XMEAS_01' order by time")
            same("psycopg2 cursor", [v for v, in named], [v for _, v in want])
        timer = threading.Timer(0.3, c.cancel)
        timer.start()
        try:
            cur.execute("select count(*) from samples a, samples b, samples c")
            sys.exit("psycopg2: a statement was not cancelled")
        except psycopg2.errors.QueryCanceled:
            c.rollback()
        cur.execute("select 1")
        same("psycopg2 after", cur.fetchone(), (1,))
    c = pg8000.dbapi.connect(host=host, port=port, user="me", database="varve")
    cur = c.cursor()
    cur.execute(ASK, ("TEP.XMEAS_01", half, -1))
    same("pg8000", [tuple(r) for r in cur.fetchall()], [w for w in want if w[0] >= half])
    c.close()
    native = pg8000.native.Connection("me", host=host, port=port, database="varve")
    statement = native.prepare("select time, value from samples where tag = :tag and time >= :since order by time limit 3")
    for _ in range(3):
        same("pg8000 prepared", [tuple(r) for r in statement.run(tag="TEP.XMEAS_01", since=half)], [w for w in want if w[0] >= half][:3])
    statement.close()
    native.close()
    for test, what in (("read", "rows equal to the file, a cursor"), ("parameters", "put into the text by the driver"), ("cancel", "of an endless statement; the connection goes on")):
        ran("psycopg2", psycopg2.__version__.split()[0], test, what)
    for test, what in (("read", "rows equal to the file"), ("parameters", "texts, instants and numbers"), ("prepare", "a statement, run three times")):
        ran("pg8000", pg8000.__version__, test, what)


async def asynchronous():
    c = await asyncpg.connect(host=host, port=port, user="me", database="varve")
    ask = ASK.replace("%s", "{}").format("$1", "$2", "$3")
    later = [w for w in want if w[0] >= half]
    for _ in range(3):
        same("asyncpg", [tuple(r) for r in await c.fetch(ask, "TEP.XMEAS_01", half, -1.0)], later)
    statement = await c.prepare("select time, value from samples where tag = any($1) and time >= $2 order by time")
    same("asyncpg types", [p.name for p in statement.get_parameters()], ["text[]", "timestamptz"])
    same("asyncpg prepared", [tuple(r) for r in await statement.fetch(["TEP.XMEAS_01"], half)], later)
    got = await c.fetchrow("select $1::int[] a, $2::float8[] b, [1.5, 2.5] c, $3::timestamptz[] d, array['x', null] e", [1, None], [0.5], [half])
    same("asyncpg arrays", (got["a"], got["b"], [float(x) for x in got["c"]], got["d"], got["e"]), ([1, None], [0.5], [1.5, 2.5], [half], ["x", None]))
    async with c.transaction():
        same("asyncpg cursor", [r["value"] async for r in c.cursor("select value from samples where tag = 'TEP.XMEAS_01' order by time", prefetch=7)], [v for _, v in want])
    for bad, error in (("select nothing from samples", asyncpg.UndefinedColumnError), ("select {'a': 1}", asyncpg.FeatureNotSupportedError)):
        try:
            await asyncio.wait_for(c.fetch(bad), 10)
            sys.exit(f"asyncpg: {bad} was answered")
        except error:
            pass
    try:
        await c.fetch("select count(*) from samples a, samples b, samples c", timeout=0.5)
        sys.exit("asyncpg: a statement was not cancelled")
    except asyncio.TimeoutError:
        pass
    same("asyncpg after", await c.fetchval("select 1"), 1)
    await c.close()
    engine = sqlalchemy.ext.asyncio.create_async_engine(f"postgresql+asyncpg://me@{host}:{port}/varve")
    async with engine.connect() as c:
        meta = sqlalchemy.MetaData()
        await c.run_sync(lambda sync: meta.reflect(sync, views=True))
        samples = meta.tables["samples"]
        ask = sqlalchemy.select(samples.c.time, samples.c.value).where(samples.c.tag.in_(["TEP.XMEAS_01"])).order_by(samples.c.time)
        same("SQLAlchemy over asyncpg", [tuple(r) for r in await c.execute(ask)], want)
    await engine.dispose()
    for test, what in (("read", "rows equal to the file, a cursor; errors, and the connection goes on"), ("prepare", "a statement, with the types of its parameters"),
                       ("parameters", "texts, instants, numbers and arrays"), ("cancel", "of an endless statement; the connection goes on")):
        ran("asyncpg", asyncpg.__version__, test, what)


def arrow():
    uri = f"postgresql://me:none@{host}:{port}/varve"
    query = "select time, value from samples where tag = 'TEP.XMEAS_01' order by time"
    with adbc_driver_postgresql.dbapi.connect(uri) as c, c.cursor() as cur:
        cur.execute(query)
        table = cur.fetch_arrow_table()
        same("ADBC types", [str(f.type) for f in table.schema], ["timestamp[us, tz=UTC]", "double"])
        same("ADBC", list(zip(table["time"].to_pylist(), table["value"].to_pylist())), want)
        cur.execute("select count(*) from samples where tag = $1 and time >= $2", ("TEP.XMEAS_01", half))
        same("ADBC parameters", cur.fetchone(), (len([w for w in want if w[0] >= half]),))
        same("ADBC schema", c.adbc_get_table_schema("tags").field("tag_id").type, "int64")
    for test, what in (("read", "rows equal to the file, in their types, by COPY in binary"), ("parameters", "a text and an instant"), ("metadata", "columns of a table")):
        ran("ADBC (PostgreSQL)", adbc_driver_postgresql.__version__, test, what)
    for engine in ("connectorx", "adbc"):
        frame = polars.read_database_uri(query, uri, engine=engine)
        same(f"Polars by {engine}", (frame["time"].to_list(), frame["value"].to_list()), ([t for t, _ in want], [v for _, v in want]))
    ran("Polars (PostgreSQL)", polars.__version__, "read", "read_database_uri by connectorx and by ADBC, rows equal to the file")


def alchemy():
    for driver in ("psycopg", "psycopg2", "pg8000"):
        engine = sqlalchemy.create_engine(f"postgresql+{driver}://me@{host}:{port}/varve")
        about = sqlalchemy.inspect(engine)
        same("default schema", about.default_schema_name, "main")
        same("tables", {"samples", "tags"} <= set(about.get_table_names()), True)
        same("views", "good_samples" in about.get_view_names(), True)
        same("has", (about.has_table("samples"), about.has_table("nothing")), (True, False))
        columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in about.get_columns("samples")}
        same("columns", (columns["time"], columns["value"], columns["quality"], columns["tag"]),
             (("TIMESTAMP", False), ("DOUBLE PRECISION", True), ("BIGINT", False), ("TEXT", False)))
        for nothing in (about.get_foreign_keys, about.get_indexes, about.get_unique_constraints, about.get_check_constraints):
            same(nothing.__name__, nothing("samples"), [])
        same("enums", about.get_enums(), [])
        meta = sqlalchemy.MetaData()
        meta.reflect(engine, views=True)
        samples = meta.tables["samples"]
        ask = sqlalchemy.select(samples.c.time, samples.c.value).where(samples.c.tag == "TEP.XMEAS_01").order_by(samples.c.time)
        with engine.connect() as c:
            same("rows", [tuple(r) for r in c.execute(ask)], want)
        if driver == "psycopg":
            frame = pandas.read_sql(ask, engine)
            same("pandas", (list(frame["value"]), [t.to_pydatetime() for t in frame["time"]]), ([v for _, v in want], [t for t, _ in want]))
        engine.dispose()
    for test, what in (("metadata", "reflection of all tables over four drivers"), ("read", "rows equal to the file"), ("parameters", "of selects that it builds")):
        ran("SQLAlchemy", sqlalchemy.__version__, test, what)
    ran("pandas (PostgreSQL)", pandas.__version__, "read", f"{len(want)} rows equal to the file, times with their zone")


psycopg3()
others()
asyncio.run(asynchronous())
arrow()
alchemy()
