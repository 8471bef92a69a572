"""Reads a statement over Flight SQL with ADBC, for `bench sql`: scan.py HOST:PORT STATEMENT

Prints one line of JSON: rows, the milliseconds until the first batch and the seconds until the last, and the CPU seconds of this process meanwhile.
"""

import json
import sys
import time

import adbc_driver_flightsql.dbapi as flightsql

with flightsql.connect(f"grpc://{sys.argv[1]}", autocommit=True) as connection, connection.cursor() as cursor:
    began, cpu, rows, first = time.perf_counter(), time.process_time(), 0, 0
    cursor.execute(sys.argv[2])
    for batch in cursor.fetch_record_batch():
        rows += batch.num_rows
        first = first or (time.perf_counter() - began) * 1000
    print(json.dumps({"rows": rows, "first_ms": first, "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}))
