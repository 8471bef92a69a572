"""Reads samples from a Varve server over both doors, and says whether they agree.

    reads.py SERVER PROTO_DIR CSV

SERVER is HOST:PORT, PROTO_DIR the folder proto/ of this repository, CSV what the server holds, its columns with TEP. before their names. Asks for
samples, for values at instants, for aggregates and for those of OPC UA Part 13, and cancels a stream. The file itself is the expectation: every row of two
columns, all of them Good. Needs grpcio, grpcio-tools and pyarrow; nothing of Varve but its .proto files.
"""

import csv
import datetime
import importlib
import sys
import tempfile
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.flight as flight
from grpc_tools import protoc

from report import finish, ran

START, END = 978307200 * 10**9, (978307200 + 2 * 86400) * 10**9  # two days from 2001-01-01
COLUMNS = ["XMEAS_01", "XMV_03"]


def compile_contract(proto_dir):
    """Compiles the .proto files and returns the modules of query.proto."""
    out = tempfile.mkdtemp(prefix="varve-proto-")
    files = [str(p) for p in Path(proto_dir, "varve/v1").glob("*.proto")]
    if protoc.main(["protoc", f"-I{proto_dir}", f"--python_out={out}", f"--grpc_python_out={out}", *files]) != 0:
        sys.exit("the .proto files do not compile")
    sys.path.insert(0, out)
    return importlib.import_module("varve.v1.query_pb2"), importlib.import_module("varve.v1.query_pb2_grpc")


def over_grpc(server, method, request, services):
    """A read of QueryService: the bytes of the messages, in order, are one Arrow IPC stream."""
    with grpc.insecure_channel(server, options=[("grpc.max_receive_message_length", 64 << 20)]) as channel:
        ipc = b"".join(m.ipc for m in getattr(services.QueryServiceStub(channel), method)(request))
    return pa.ipc.open_stream(ipc).read_all()


def over_flight(server, ticket):
    """Flight DoGet: a FlightQuestion, or a ReadRangeRequest by itself, is the ticket."""
    with flight.connect(f"grpc://{server}") as client:
        return client.do_get(flight.Ticket(ticket.SerializeToString())).read_all()


def over_both(server, method, request, services, ticket):
    """The answer over gRPC, which Flight must give too."""
    rows, same = over_grpc(server, method, request, services), over_flight(server, ticket)
    for table in (rows, same):
        table.validate(full=True)
    if rows.num_rows == 0:
        sys.exit(f"nothing came back of {method}")
    if rows.to_pydict() != same.to_pydict():
        sys.exit(f"{method} and Flight gave different answers")
    return rows


def check_aggregates(server, messages, services, samples, tags, start, end):
    """Counts of days by two kinds of aggregates are the samples there are, and a value at the time of a sample is that sample."""
    ask = dict(tags=tags, start_ns=start, end_ns=end, every="1d", zone="Europe/Berlin")
    own = messages.ReadAggregatesRequest(aggregates=["count", "time_weighted_average"], **ask)
    rows = over_both(server, "ReadAggregates", own, services, messages.FlightQuestion(aggregates=own))
    processed = messages.ReadProcessedRequest(aggregates=["Count", "TimeAverage2", "WorstQuality"], **ask)
    long = over_both(server, "ReadProcessed", processed, services, messages.FlightQuestion(processed=processed)).to_pylist()
    counts = [r["value_int"] or 0 for r in long if r["function"] == "Count"]
    if sum(rows["count"].to_pylist()) != samples.num_rows or counts != rows["count"].to_pylist():
        sys.exit(f"{samples.num_rows} samples, and days of {rows['count'].to_pylist()} and {counts}")
    if any(r["value_text"] not in ("Good", None) for r in long if r["function"] == "WorstQuality"):
        sys.exit("a day whose worst quality is not Good")
    first = samples.slice(0, 1).to_pylist()[0]
    at = samples["time"].cast(pa.int64())[0].as_py()
    instant = messages.ReadAtTimesRequest(tags=[first["tag"]], times_ns=[at])
    got = over_both(server, "ReadAtTimes", instant, services, messages.FlightQuestion(at_times=instant)).to_pylist()[0]
    if (got["value"], got["quality"]) != (first["value"], first["quality"]):
        sys.exit(f"the value at {first['time']} is {got}, the sample there {first}")


def cancel(server, ticket):
    """A stream that is cancelled ends in that, and the next one is whole."""
    with flight.connect(f"grpc://{server}") as client:
        stream = client.do_get(flight.Ticket(ticket.SerializeToString()))
        stream.cancel()
        try:
            while True:
                stream.read_chunk()
        except (flight.FlightCancelledError, pa.ArrowCancelled):
            pass
        except StopIteration:
            sys.exit("a stream that was cancelled went on to its end")
        return client.do_get(flight.Ticket(ticket.SerializeToString())).read_all().num_rows


def samples_of(path):
    """Rows of the file as (nanoseconds, tag, value, quality), tag by tag."""
    with open(path, encoding="utf-8") as f:
        source = list(csv.DictReader(f))
    at = [int(datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")).timestamp()) * 10**9 for r in source]
    return [(t, "TEP." + c, float(r[c]), 0) for c in COLUMNS for t, r in zip(at, source)]


def main():
    server, proto_dir, path = sys.argv[1:]
    messages, services = compile_contract(proto_dir)
    tags = ["TEP." + c for c in COLUMNS]
    request = messages.ReadRangeRequest(tags=tags, start_ns=START, end_ns=END)

    rows = over_both(server, "ReadRange", request, services, request)
    want = samples_of(path)
    got = list(zip(rows["time"].cast(pa.int64()).to_pylist(), *(rows[c].to_pylist() for c in ("tag", "value", "quality"))))
    if got != want:
        sys.exit(f"{len(got)} samples came back, {len(want)} were in the file, or they differ")
    check_aggregates(server, messages, services, rows, tags, START, END)
    both = f"{len(got)} samples equal to the file bit for bit; aggregates, those of Part 13, values at instants, as over the other"
    ran("grpcio", grpc.__version__, "read", both)
    ran("pyarrow Flight", pa.__version__, "read", both)
    with open(path, encoding="utf-8") as f:
        columns = f.readline().strip().split(",")[1:]
    everything = messages.ReadRangeRequest(tags=["TEP." + c for c in columns], start_ns=START, end_ns=END)
    if cancel(server, everything) != len(got) // 2 * len(columns):
        sys.exit("a stream after one that was cancelled is not whole")
    ran("pyarrow Flight", pa.__version__, "cancel", "a stream is cancelled, the next one is whole")


if __name__ == "__main__":
    main()
    finish()
