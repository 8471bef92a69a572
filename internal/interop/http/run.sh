#!/usr/bin/env bash
# Reads tables over HTTP as Excel and Power BI do, from a server of its own that asks for tokens: run.sh VARVE PYTHON WORK CSV
# PYTHON has pandas and pyarrow. CSV is what the server is given, its columns with TEP. before their names.
set -euo pipefail
varve=$1 python=$2 work=$3 csv=$4
interop=$(dirname "$(dirname "$(realpath "$0")")")
source "$interop/lib.sh"
if ! packages pandas; then
	skipped "Excel, Power BI" "pandas, with which their answers are read, could not be installed here"
	exit
fi
mkdir -p "$work/http"
server=
trap '[ -z "$server" ] || { kill -TERM "$server" 2>/dev/null || true; wait "$server" || true; }' EXIT
"$varve" token new excel --scope read >"$work/http/token" 2>"$work/http/tokens"
"$varve" token new loader --scope write >"$work/http/loader" 2>>"$work/http/tokens"
serve "$work/http/data" "$work/http/log" --http-listen 127.0.0.1:0 --tokens "$work/http/tokens"
"$varve" import --server "$(listening "$work/http/log")" --token-file "$work/http/loader" --prefix TEP. "$csv" >/dev/null
held "$python" "$interop/http/tables.py" "$(listening "$work/http/log" HTTP)" "$work/http/token" "$csv"
