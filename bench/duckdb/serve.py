"""DuckDB behind a socket of loopback, for `bench peers`: serve.py PORT DATABASE

A request is a line {"sql": statement, "bytes": n} and n bytes of an Arrow stream, which the statement sees as table batch.
The answer is a line {"ms": t}, the time from then until the columns stood in this process, and what the statement selected
as an Arrow stream, of no columns if it selects nothing; or a line {"error": text} alone. Every connection has a transaction
of its own.
"""

import json
import socketserver
import sys
import time

import duckdb
import pyarrow


class Link(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = 1 << 20

    def handle(self):
        cursor = database.cursor()
        for line in self.rfile:
            request = json.loads(line)
            stream = self.rfile.read(request["bytes"])
            try:
                began = time.perf_counter()
                table = execute(cursor, request["sql"], stream)
                head = {"ms": (time.perf_counter() - began) * 1000}
            except (duckdb.Error, pyarrow.ArrowException) as error:
                table, head = None, {"error": str(error)}
            self.wfile.write(json.dumps(head).encode() + b"\n")
            if table is not None:
                with pyarrow.ipc.new_stream(self.wfile, table.schema) as out:
                    out.write_table(table)
            self.wfile.flush()


def execute(cursor, sql, stream):
    if stream:
        batch = pyarrow.ipc.open_stream(stream).read_all()  # DuckDB finds a table by the name of a variable
    selected = cursor.sql(sql)
    return pyarrow.table({}) if selected is None else selected.to_arrow_table()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


database = duckdb.connect(sys.argv[2])
Server(("127.0.0.1", int(sys.argv[1])), Link).serve_forever()
