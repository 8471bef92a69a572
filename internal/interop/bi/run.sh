#!/usr/bin/env bash
# Asks a server of its own the questions of BI tools: run.sh VARVE PYTHON WORK
# PYTHON has adbc_driver_flightsql, duckdb, grpcio-tools and pyarrow, else the questions are named as not asked. WORK is a folder for what is made.
set -euo pipefail
varve=$1 python=$2 work=$3
interop=$(dirname "$(dirname "$(realpath "$0")")")
root=$(realpath "$interop/../..")
source "$interop/lib.sh"
if [ ! -x "$(dirname "$varve")/varve-sql" ] || ! "$python" -c 'import adbc_driver_flightsql, duckdb, grpc_tools, pyarrow' 2>/dev/null; then
	skipped "BI questions" "there is no SQL here, or no DuckDB or ADBC to compare with"
	exit
fi
mkdir -p "$work/bi"
server=
trap '[ -z "$server" ] || { kill -TERM "$server" 2>/dev/null || true; wait "$server" || true; }' EXIT
serve "$work/bi/data" "$work/bi/log"
held "$python" -W ignore "$interop/bi/bi.py" "$varve" "$(listening "$work/bi/log")" "$root/proto" "$work/bi"
