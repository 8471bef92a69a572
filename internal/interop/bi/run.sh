#!/usr/bin/env bash
# Asks a server of its own the questions of BI tools: run.sh VARVE PYTHON WORK
# PYTHON has adbc_driver_flightsql, duckdb, grpcio-tools and pyarrow, else the questions are named as not asked. WORK is a folder for what is made.
set -euo pipefail
varve=$1 python=$2 work=$3/bi
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../../..")
if [ ! -x "$(dirname "$varve")/varve-sql" ] || ! "$python" -c 'import adbc_driver_flightsql, duckdb, grpc_tools, pyarrow' 2>/dev/null; then
	echo "questions of BI tools: were not asked, there is no SQL here, or no DuckDB or ADBC to compare with"
	exit 0
fi
mkdir -p "$work"
: >"$work/log"
"$varve" serve --data "$work/data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 2>"$work/log" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true; wait "$server" || true' EXIT
address=
for _ in $(seq 300); do
	address=$(sed -n 's/^listening on //p' "$work/log")
	[ -n "$address" ] && break
	kill -0 "$server"
	sleep 0.1
done
[ -n "$address" ]
"$python" -W ignore "$here/bi.py" "$varve" "$address" "$root/proto" "$work"
