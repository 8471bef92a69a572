"""Reads samples from a Varve server over both doors, and says whether they agree.

    read_range.py SERVER PROTO_DIR START END TAG...

SERVER is HOST:PORT, PROTO_DIR the folder proto/ of this repository, START and END are RFC 3339. Prints time,tag,value,quality
rows as CSV. Needs grpcio, grpcio-tools and pyarrow; nothing of Varve but its .proto files.
"""

import importlib
import sys
import tempfile
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.flight as flight
from grpc_tools import protoc


def compile_contract(proto_dir):
    """Compiles the .proto files and returns the modules of query.proto."""
    out = tempfile.mkdtemp(prefix="varve-proto-")
    files = [str(p) for p in Path(proto_dir, "varve/v1").glob("*.proto")]
    if protoc.main(["protoc", f"-I{proto_dir}", f"--python_out={out}", f"--grpc_python_out={out}", *files]) != 0:
        sys.exit("the .proto files do not compile")
    sys.path.insert(0, out)
    return importlib.import_module("varve.v1.query_pb2"), importlib.import_module("varve.v1.query_pb2_grpc")


def nanoseconds(text):
    return pa.scalar(text.removesuffix("Z")).cast(pa.timestamp("ns")).value


def over_grpc(server, request, services):
    """QueryService.ReadRange: the bytes of the messages, in order, are one Arrow IPC stream."""
    with grpc.insecure_channel(server, options=[("grpc.max_receive_message_length", 64 << 20)]) as channel:
        ipc = b"".join(m.ipc for m in services.QueryServiceStub(channel).ReadRange(request))
    return pa.ipc.open_stream(ipc).read_all()


def over_flight(server, request):
    """Flight DoGet: the same request is the ticket."""
    with flight.connect(f"grpc://{server}") as client:
        return client.do_get(flight.Ticket(request.SerializeToString())).read_all()


def main():
    server, proto_dir, start, end, *tags = sys.argv[1:]
    messages, services = compile_contract(proto_dir)
    request = messages.ReadRangeRequest(tags=tags, start_ns=nanoseconds(start), end_ns=nanoseconds(end))

    rows, same = over_grpc(server, request, services), over_flight(server, request)
    for table in (rows, same):
        table.validate(full=True)
    if rows.num_rows == 0:
        sys.exit("no sample came back")
    if rows.to_pydict() != same.to_pydict():
        sys.exit("ReadRange and Flight gave different samples")

    print("time,tag,value,quality")
    columns = rows.select(["time", "tag", "value", "quality"]).combine_chunks()
    for time, tag, value, quality in zip(
        columns["time"].cast(pa.int64()).to_pylist(), *(columns[c].to_pylist() for c in ("tag", "value", "quality"))
    ):
        print(f"{time},{tag},{value!r},{quality}")


if __name__ == "__main__":
    main()
