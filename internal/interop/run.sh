#!/usr/bin/env bash
# Runs outside clients, which share no code with this project, against a server: run.sh VARVE [full]
# clients.lock has the clients, their versions and what each must do. One that cannot be had on this machine is named; it fails the run where CI=true,
# unless the lock has a program that it needs and that is not here, or nothing at all can be installed. One that runs and gets a wrong answer always does. With full those run too that take long or are large.
set -euo pipefail
varve=$(realpath "$1") when=${2:-always}
interop=$(dirname "$(realpath "$0")")
root=$(realpath "$interop/../..")
work=$(mktemp -d)
python=$work/venv/bin/python
export PYTHONPATH=$interop PYTHONDONTWRITEBYTECODE=1
source "$interop/lib.sh"
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
: >"$work/said"

echo "$(date -u +%F), $(uname -sm), $(nproc) cores"
for tool in "go version" "python3 --version" "java -version" "psql --version"; do
	command -v ${tool%% *} >/dev/null && $tool 2>&1 | head -n 1 || echo "${tool%% *} is not here"
done

if ! { command -v python3 >/dev/null && python3 -m venv "$work/venv"; } >"$work/pip" 2>&1; then
	tail -n 3 "$work/pip"
	echo "no client ran: there is no python3 with venv here"
	[ "${CI:-}" != true ]
	exit
fi
# Without these nothing else can be compared with. A machine that reaches no index of packages has no clients.
packages grpcio grpcio-tools pyarrow || { echo "no client ran: not even grpcio and pyarrow could be installed here"; exit 0; }

serve "$work/data" "$work/log" --postgres 127.0.0.1:0 --http-listen 127.0.0.1:0
address=$(listening "$work/log")
gzip -dc "$root/cmd/varve/sample/tep/tep_idv06.csv.gz" >"$work/csv"
(cd "$root" && "$varve" import --server "$address" --prefix TEP. cmd/varve/sample/tep/tep_idv06.csv.gz)
held "$python" "$interop/reads.py" "$address" "$root/proto" "$work/csv"

# Readers of exports beside pyarrow.
for reader in duckdb polars; do
	packages $reader || true
done
held "$python" "$interop/exports.py" "$address" "$root/proto" "$varve" "$work/exports"

# Statements need the SQL process, which is not built everywhere.
if [ -x "$(dirname "$varve")/varve-sql" ]; then
	source "$interop/postgres/run.sh" "$(listening "$work/log" PostgreSQL)" "$work/csv"
	"$interop/http/run.sh" "$varve" "$python" "$work" "$work/csv"
	source "$interop/grafana/run.sh" "$address" "$(listening "$work/log" PostgreSQL)" "$(listening "$work/log" HTTP)" "$work/csv"
else
	for client in psql psycopg psycopg2 pg8000 asyncpg "ADBC (PostgreSQL)" "Polars (PostgreSQL)" SQLAlchemy "pandas (PostgreSQL)" pgx "JDBC (PostgreSQL)" "Npgsql, statements" "Excel, Power BI" \
		"Grafana (Flight SQL)" "Grafana (PostgreSQL)" "Grafana (HTTP)" "how-to pages"; do
		skipped "$client" "varve-sql is not built here"
	done
fi

# These write samples of their own.
source "$interop/flightsql/run.sh" "$varve" "$address"
"$interop/bi/run.sh" "$varve" "$python" "$work"
if [ "$when" = full ]; then
	source "$interop/spark/run.sh" "$varve" "$address"
fi
"$interop/agents/run.sh" "$varve" "$python" "$work"
"$interop/mqtt/run.sh" "$varve" "$address" "$work"
if packages pymodbus pyserial; then
	held "$python" "$interop/modbus/devices.py" "$varve" "$address" "$work/modbus"
else
	for client in "pymodbus (TCP)" "pymodbus (RTU)"; do skipped "$client" "pymodbus could not be installed here"; done
fi
"$interop/opcua/run.sh" "$varve" "$address" "$python" "$work"

# Pages that people follow, with what the clients above left installed.
if [ -x "$(dirname "$varve")/varve-sql" ]; then
	mkdir "$work/howto"
	held "$python" -W ignore "$interop/howto.py" "$varve" "$address" "$work/howto" "$when" "$root"/docs/howto/*.md
fi
"$python" "$interop/report.py" "$interop/clients.lock" "$work/said" "$when"
echo "it took $SECONDS s"
