"""Exports samples from a Varve server and reads the folders with pyarrow, DuckDB and Polars.

    exports.py SERVER PROTO_DIR VARVE FOLDER

SERVER is HOST:PORT, PROTO_DIR the folder proto/ of this repository, VARVE the program, FOLDER a new folder to export into. Writes samples of every
type with odd values, exports them in each kind of file, and holds what the readers find against ReadRange; then corrects one sample and deletes
others, brings the folder up to date and does it again. Needs grpcio, grpcio-tools and pyarrow; of duckdb and polars it names what is
not there.
"""

import importlib
import importlib.metadata
import json
import struct
import subprocess
import sys
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.parquet as parquet

import reads
from report import finish, ran, skipped

DAY = 86400 * 10**9
START = 20454 * DAY  # 2026-01-01
VALUES = ["value", "value_int", "value_text", "value_bytes"]
BAD, UNCERTAIN = 0x80000000, 0x40000000


def double(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def exact(v):
    """A value to compare: doubles by their bits."""
    return ("double", struct.pack("<d", v)) if isinstance(v, float) else v


def write(channel, modules, services):
    """Three days of tags of every type; the quality goes round."""
    ingest, samples = modules
    stub = services.IngestServiceStub(channel)
    columns = {
        "XP.double": ("float64", [1.5, -0.0, double(0x7FF8000000012345), double(0xFFF0000000000000), 1e308, 0.1]),
        "XP.int": ("int64", [2**53 + 1, -(2**63), 2**63 - 1, 0, -1, 7]),
        "XP.unsigned": ("uint64", [2**64 - 1, 2**63, 2**63 - 1, 0, 1, 2]),
        "XP.flag": ("bool", [True, False, True, True, False, False]),
        "XQ.text": ("text", ["", "NULL", "größer", "a,b", '"', "x"]),
        "XQ.bytes": ("blob", [b"", b"\x00\xff", b"abc", b"\n", b"'", b"\\"]),
    }
    runs = []
    for tag, (column, values) in columns.items():
        runs.append(samples.Run(
            tag=tag, first_time_ns=START + 123456789, step_ns=DAY // 2, count=6, **{column: values},
            quality_count=[1] * 6, quality_code=[0, BAD, 0, UNCERTAIN, 0x80340000, 0],
        ))
    result = stub.Write(ingest.WriteRequest(create_tags=True, batch=ingest.Batch(runs=runs))).result
    if result.samples != 36:
        sys.exit(f"{result.samples} of 36 samples were taken: {result}")


def stored(server, messages, services):
    """What the server holds: (tag, time, seq, quality) and the four values, by ReadRange."""
    names = ["XP.double", "XP.int", "XP.unsigned", "XP.flag", "XQ.text", "XQ.bytes"]
    table = reads.over_grpc(server, "ReadRange", messages.ReadRangeRequest(tags=names, start_ns=START, end_ns=START + 4 * DAY, with_seq=True), services)
    rows = zip(table["tag"].to_pylist(), table["time"].cast(pa.int64()).to_pylist(), table["seq"].to_pylist(), table["quality"].to_pylist(),
               *[table[c].to_pylist() for c in VALUES])
    return sorted([(*r[:4], *map(exact, r[4:])) for r in rows], key=lambda r: r[:3])


def same(what, want, got):
    got = sorted(got, key=lambda r: r[:3])
    if got != want:
        differ = [(w, g) for w, g in zip(want, got) if w != g]
        sys.exit(f"{what}: {len(got)} rows, the server has {len(want)}; the first that differs: {differ[:1]}")


def put_together(rows):
    """Values from the two sets of columns: those of Bad samples stand in the second, and nowhere else."""
    for tag, time, seq, quality, *values in rows:
        good, bad = values[:4], values[4:]
        if any(v is not None for v in (good if quality >= BAD else bad)):
            sys.exit(f"{tag} at {time} of quality {quality:#x}: {good} and {bad}")
        yield (tag, time, seq, quality, *map(exact, bad if quality >= BAD else good))


COLUMNS = ["tag", "time_ns", "seq", "quality", *VALUES, "bad_value", "bad_value_int", "bad_value_text", "bad_value_bytes"]


def check_pyarrow(want, folder, kind, unit):
    files = dataset.dataset(folder, format=kind, partitioning="hive")
    table = files.to_table()
    table.validate(full=True)
    same(f"pyarrow, {kind} in {unit}", want, put_together(zip(*[table[c].to_pylist() for c in COLUMNS])))
    if table.schema.field("time").type != pa.timestamp(unit, "UTC"):
        sys.exit(f"time is {table.schema.field('time').type}")
    scale = 1000 if unit == "us" else 1
    if [t // scale for t in table["time_ns"].to_pylist()] != table["time"].cast(pa.int64()).to_pylist():
        sys.exit("time and time_ns differ")
    one = files.to_table(filter=(dataset.field("group") == "XP") & (dataset.field("day") == "2026-01-02"))
    if sorted(set(one["tag"].to_pylist())) != ["XP.double", "XP.flag", "XP.int", "XP.unsigned"] or one.num_rows != 8:
        sys.exit(f"group and day find {one.num_rows} rows")


def check_duckdb(want, folder, unit):
    import duckdb

    source = f"read_parquet('{folder}/*/*/*.parquet', hive_partitioning = true)"
    same("DuckDB", want, put_together(duckdb.sql(f"select {', '.join(COLUMNS)} from {source}").fetchall()))
    nans = duckdb.sql(f"select count(*) from {source} where tag = 'XP.double' and isnan(value)").fetchall()[0][0]
    got = duckdb.sql(
        f"select tag, count(*), count(value_text) from {source} where \"group\" = 'XQ' and day = date '2026-01-02' and severity = 'Good' group by tag order by tag"
    ).fetchall()
    expected = [(t, len(r), sum(x[6] is not None for x in r)) for t, r in (
        (t, [x for x in want if x[0] == t and x[1] // DAY == START // DAY + 1 and x[3] == 0]) for t in ("XQ.bytes", "XQ.text")) if r]
    if got != expected or nans != 1:
        sys.exit(f"DuckDB: by group, day and severity {got}, the server has {expected}; {nans} NaN")
    newest = duckdb.sql(f"select max(epoch_ns(time)) from {source} where tag = 'XP.int'").fetchall()[0][0]
    step = 1000 if unit == "us" else 1
    if newest != max(r[1] for r in want if r[0] == "XP.int") // step * step:
        sys.exit(f"DuckDB: the newest time is {newest}")


def check_polars(want, folder, _):
    import polars

    frame = polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
    same("Polars", want, put_together(frame.select(COLUMNS).collect().rows()))
    groups = frame.filter(polars.col("group") == "XQ").select(polars.col("tag").unique().sort()).collect()["tag"].to_list()
    if groups != ["XQ.bytes", "XQ.text"]:
        sys.exit(f"Polars: the tags of a group are {groups}")


PROPER = {"duckdb": "DuckDB", "polars": "Polars"}
READERS = {"duckdb": check_duckdb, "polars": check_polars}


def check_files(folder):
    """Every file of the manifest is there with its rows, and says what its tags are."""
    manifest = json.loads(Path(folder, "_manifest.json").read_text())
    for f in manifest["files"]:
        file = parquet.ParquetFile(Path(folder, f["path"]))
        tags = json.loads(file.schema_arrow.metadata[b"varve.tags"])
        if file.metadata.num_rows != f["rows"] or not tags or tags[0]["settings"][0]["type"] not in ("float64", "bool", "string", "bytes", "int64", "uint64"):
            sys.exit(f"{f['path']}: {file.metadata.num_rows} rows, the manifest says {f['rows']}")
        if file.metadata.row_group(0).column(2).compression != "ZSTD":
            sys.exit(f"{f['path']} is compressed by {file.metadata.row_group(0).column(2).compression}")


def main(server, proto_dir, varve, folder):
    messages, services = reads.compile_contract(proto_dir)
    import varve.v1.ingest_pb2 as ingest
    import varve.v1.ingest_pb2_grpc as ingest_services
    import varve.v1.samples_pb2 as samples
    import varve.v1.admin_pb2 as admin
    import varve.v1.admin_pb2_grpc as admin_services

    readers, missing = {}, []
    for name, check in READERS.items():
        try:
            importlib.import_module(name)
            readers[name] = check
        except ImportError:
            missing.append(name)
    folders = [(f"{folder}/ns", "parquet", "ns"), (f"{folder}/us", "parquet", "us"), (f"{folder}/arrow", "arrow", "ns")]

    def export_and_check():
        want = stored(server, messages, services)
        for path, kind, unit in folders:
            subprocess.run([varve_program, "export", "--server", server, "--quiet", "--format", kind, "--time-unit", unit, path, "XP.*", "XQ.*"], check=True)
            subprocess.run([varve_program, "export", "--verify", "--quiet", path], check=True)
            check_pyarrow(want, path, {"arrow": "ipc"}.get(kind, kind), unit)
        check_files(folders[0][0])
        for check in readers.values():
            check(want, folders[0][0], "ns")
            check(want, folders[1][0], "us")
        return len(want)

    varve_program = varve
    with grpc.insecure_channel(server) as channel:
        write(channel, (ingest, samples), ingest_services)
        before = export_and_check()
        ingest_services.IngestServiceStub(channel).Edit(ingest.EditRequest(author="interop", reason="late", runs=[
            samples.Run(tag="XP.double", mode=samples.WRITE_MODE_UPDATE, times_ns=[START + 123456789], float64=[2.5]),
        ]))
        admin_services.AdminServiceStub(channel).DeleteRange(admin.DeleteRangeRequest(
            tags=["XQ.text", "XQ.bytes"], start_ns=START + DAY, end_ns=START + 2 * DAY, author="interop", reason="rig",
        ))
        after = export_and_check()
    if after != before - 4:
        sys.exit(f"{after} samples after a delete of 4, {before} before")
    ran("grpcio", grpc.__version__, "ingest", "36 samples of every type with odd bits, an edit and a delete, read back")
    held = f"{before} samples of every type in Parquet ns and us, equal to ReadRange bit for bit, before and after an edit and a delete"
    ran("pyarrow (exports)", pa.__version__, "read", held + "; in Arrow too")
    for name in readers:
        ran(f"{PROPER[name]} (exports)", importlib.metadata.version(name), "read", held)
    for name in missing:
        skipped(f"{PROPER[name]} (exports)", "it could not be installed here")


if __name__ == "__main__":
    main(*sys.argv[1:])
    finish()
