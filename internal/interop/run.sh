#!/usr/bin/env bash
# Runs outside clients, which share no code with this project, against a server: run.sh VARVE
# Says for each whether it ran. One that cannot be had on this machine is named and does not fail the run; one that runs
# and gets a wrong answer does.
set -euo pipefail
varve=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
work=$(mktemp -d)
server=
stop() {
	local status=$?
	if [ -n "$server" ]; then
		kill -TERM "$server" 2>/dev/null || true
		wait "$server" || true
	fi
	[ "$status" -eq 0 ] || { echo "the server said:"; tail -n 20 "$work/log" 2>/dev/null || true; }
	rm -rf "$work"
	exit "$status"
}
trap stop EXIT

if ! { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
	grpcio==1.85.1 grpcio-tools==1.85.1 pyarrow==26.0.1; } >"$work/pip" 2>&1; then
	tail -n 3 "$work/pip"
	echo "python (grpcio, pyarrow): did not run, they could not be installed here"
	exit 0
fi

# The log exists before the server does: a loop that reads it must not depend on which of the two processes runs first.
: >"$work/log"
"$varve" serve --data "$work/data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --postgres 127.0.0.1:0 2>"$work/log" &
server=$!
address=
for _ in $(seq 300); do
	address=$(sed -n 's/^listening on //p' "$work/log")
	[ -n "$address" ] && break
	kill -0 "$server"
	sleep 0.1
done
[ -n "$address" ]

"$varve" import --server "$address" --prefix TEP. "$root/cmd/varve/sample/tep/tep_idv06.csv.gz"
"$work/venv/bin/python" "$here/reads.py" "$address" "$root/proto" \
	2001-01-01T00:00:00Z 2001-01-03T00:00:00Z TEP.XMEAS_01 TEP.XMV_03 >"$work/got"

# The file itself is the expectation: every row of two columns, all of them Good. The
# values are compared as numbers, because the file's text is not always the shortest.
gzip -dc "$root/cmd/varve/sample/tep/tep_idv06.csv.gz" >"$work/csv"
"$work/venv/bin/python" - "$work/csv" "$work/got" <<'PY'
import csv, datetime, sys

def nanoseconds(text):
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(at.timestamp()) * 10**9

with open(sys.argv[1]) as f:
    source = list(csv.DictReader(f))
want = [(nanoseconds(r["time"]), "TEP." + c, float(r[c]), 0) for c in ("XMEAS_01", "XMV_03") for r in source]
with open(sys.argv[2]) as f:
    got = [(int(r["time"]), r["tag"], float(r["value"]), int(r["quality"])) for r in csv.DictReader(f)]
if got != want:
    sys.exit(f"{len(got)} samples came back, {len(want)} were in the file, or they differ")
print(f"python (grpcio, pyarrow): {len(got)} samples over ReadRange and Flight, equal to the file bit for bit; aggregates, those of Part 13 and values at instants over both")
PY

# Readers of exports beside pyarrow. One that cannot be had is named.
for reader in "$(grep -E '^duckdb==' "$root/bench/duckdb/requirements.txt")" polars==2.1.0; do
	"$work/venv/bin/pip" install --quiet --disable-pip-version-check "$reader" >"$work/pip" 2>&1 || tail -n 3 "$work/pip"
done
"$work/venv/bin/python" "$here/exports.py" "$address" "$root/proto" "$varve" "$work/exports"

# Statements need the SQL process, which is not built everywhere.
if [ -x "$(dirname "$varve")/varve-sql" ]; then
	"$here/postgres/run.sh" "$(sed -n 's/^listening for PostgreSQL on //p' "$work/log")" "$work/venv/bin/python" "$work" "$work/csv"
else
	echo "clients of PostgreSQL: did not run, varve-sql is not built here"
fi

# These write samples of their own.
"$here/flightsql/run.sh" "$varve" "$address" "$work/venv/bin/python" "$work"
"$here/bi/run.sh" "$varve" "$work/venv/bin/python" "$work"

# Pages that people follow, with what the clients above left installed.
if [ -x "$(dirname "$varve")/varve-sql" ] && "$work/venv/bin/python" -c 'import adbc_driver_flightsql, duckdb, pandas, polars' 2>/dev/null; then
	mkdir "$work/howto"
	"$work/venv/bin/python" -W ignore "$here/howto.py" "$varve" "$address" "$work/howto" "$root"/docs/howto/*.md
else
	echo "how-to pages: did not run, there is no SQL here, or one of ADBC, DuckDB, pandas and Polars could not be had"
fi
