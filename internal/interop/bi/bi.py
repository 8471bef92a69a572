"""Asks a Varve server the questions of queries.sql, and says which answers differ from what they should be.

    bi.py VARVE SERVER PROTO_DIR WORK

VARVE is the program, SERVER the HOST:PORT of a server of its own, with an empty store; PROTO_DIR the folder proto/ of this repository, WORK a folder
to write in. Needs adbc_driver_flightsql, duckdb, grpcio-tools and pyarrow; nothing of Varve but its program and its .proto files.
"""
import json
import math
import re
import struct
import subprocess
import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi
import duckdb
import pyarrow as pa
import pyarrow.flight as flight
from google.protobuf import json_format

import plant

sys.path.insert(0, str(Path(__file__).parent.parent))
from reads import compile_contract
from report import finish, ran


def questions():
    """Name, flags and text of each."""
    text = Path(__file__).with_name("queries.sql").read_text(encoding="utf-8")
    for block in re.split(r"\n(?=-- [a-z])", text)[1:]:
        head, _, sql = block.partition("\n")
        name, _, flags = head.removeprefix("-- ").partition(" ")
        yield name, flags, sql.strip()


def load(varve, server, tags, work):
    """Makes the tags and imports their samples; answers the ids they got."""
    def run(*args):
        return subprocess.run([varve, *args, "--server", server], check=True, capture_output=True, text=True).stdout
    run("tags", "states", "put", "pump", *(f"{code}={text}" for code, text in plant.PUMP.items()))
    for t in tags:
        flags = ["--type", t.kind, "--description", t.description, "--unit", t.unit]
        flags += ["--stepped"] * t.stepped + ["--state-set", "pump"] * (t.kind == "state") + ["--attribute", f"area={t.area}"] * bool(t.area)
        run("tags", "create", t.name, *flags)
    plant.write_table(work / "plant.csv", tags)
    run("import", "--mode", "append", str(work / "plant.csv"))
    return {t["name"]: t["id"] for t in map(json.loads, run("tags", "list", "--output", "json").splitlines())}


def oracle(folder):
    """DuckDB over the Parquet files, under the names that SQL has for them."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute("ATTACH ':memory:' AS varve")
    db.execute("USE varve.main")
    for table in ("samples", "tags", "tag_attributes"):
        db.execute(f"CREATE VIEW {table} AS SELECT * FROM '{folder / table}.parquet'")
    db.execute("CREATE VIEW good_samples AS SELECT * FROM samples WHERE severity = 'Good'")
    return db


def cells(table):
    """Rows of plain values: instants in nanoseconds, doubles by their bits."""
    columns = []
    for column in table.itercolumns():
        column = column.combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_timestamp(column.type):
            unit = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[column.type.unit]
            columns.append([None if v is None else v * unit for v in column.cast(pa.timestamp(column.type.unit)).cast(pa.int64()).to_pylist()])
        elif pa.types.is_decimal(column.type):
            columns.append([None if v is None else float(v) for v in column.to_pylist()])
        else:
            columns.append(column.to_pylist())
    return list(zip(*columns))


def same(a, b, near):
    if isinstance(a, float) and isinstance(b, float):
        if near and not math.isnan(a):
            return a == b or math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-300)
        return struct.pack("d", a) == struct.pack("d", b) or math.isnan(a) and math.isnan(b)
    if isinstance(a, float) != isinstance(b, float) and None not in (a, b):
        return float(a) == float(b) # HUGEINT and DECIMAL sums of DuckDB come as DOUBLE
    return a == b


def difference(got, want, flags):
    """What differs first, or None."""
    if len(got) != len(want):
        return f"{len(got)} rows, and should be {len(want)}"
    if "unordered" in flags:
        key = lambda row: [(v is None, not isinstance(v, str), f"{v:.9e}" if isinstance(v, float) else str(v)) for v in row]
        got, want = sorted(got, key=key), sorted(want, key=key)
    for k, (a, b) in enumerate(zip(got, want)):
        if len(a) != len(b) or not all(same(x, y, "near" in flags) for x, y in zip(a, b)):
            return f"row {k} is {a}, and should be {b}"
    return None


def of_engine(server, messages, ask, columns):
    """What package query answers, of some of its columns."""
    question = json_format.Parse(ask, messages.FlightQuestion())
    with flight.connect(f"grpc://{server}") as client:
        table = client.do_get(flight.Ticket(question.SerializeToString())).read_all()
    if "value_int" in columns and "value_int" not in table.column_names:
        columns = ["value" if c == "value_int" else c for c in columns]
    return table.select(columns)


def main():
    varve, server, proto_dir, work = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
    messages, _ = compile_contract(proto_dir)
    tags = plant.plant()
    plant.write_parquet(work, tags, load(varve, server, tags, work))
    db, wrong, asked = oracle(work), 0, 0
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{server}") as connection, connection.cursor() as cursor:
        for name, flags, sql in questions():
            asked += 1
            try:
                cursor.execute(sql)
                got = cursor.fetch_arrow_table()
                flags, _, ask = flags.partition("oracle ")
                want = of_engine(server, messages, ask, got.column_names) if ask else db.sql(sql).to_arrow_table()
                differs = difference(cells(got), cells(want), flags) if want.num_rows else "no row is expected, so nothing is compared"
            except Exception as e:
                differs = f"{type(e).__name__}: {str(e)[:400]}"
            if differs:
                wrong += 1
                print(f"bi: {name}: {differs}")
    if wrong:
        sys.exit(f"bi: {wrong} of {asked} questions have wrong answers")
    ran("BI questions", "-", "read", f"{asked} questions of Tableau, Power BI and others over Flight SQL, as DuckDB on the same samples or package query answers")


if __name__ == "__main__":
    main()
    finish()
