#!/usr/bin/env bash
# Runs clients of PostgreSQL against a running server: run.sh ADDRESS PYTHON WORK CSV
# ADDRESS is that of --postgres, PYTHON has a pip beside it, WORK is a folder for what is made, CSV is what the server holds, its columns
# with TEP. before their names. Says of each client whether it ran; one that cannot be had on this machine is named and fails nothing, one
# that gets a wrong answer does.
set -euo pipefail
address=$1 python=$2 work=$3 csv=$4
here=$(dirname "$(realpath "$0")")
source "$here/versions"
host=${address%:*} port=${address##*:}

if [ "$(id -u)" = 0 ] && ! command -v psql >/dev/null; then
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql-client; } >"$work/apt" 2>&1 || tail -n 3 "$work/apt"
fi
if command -v psql >/dev/null; then
	"$here/psql.sh" "$host" "$port" "$work" "$csv"
else
	echo "psql: did not run, it could not be installed here"
fi

pip=$(dirname "$python")/pip
# shellcheck disable=SC2086
if "$pip" install --quiet --disable-pip-version-check $PYTHON >"$work/pip" 2>&1; then
	"$python" "$here/clients.py" "$host" "$port" "$csv"
else
	tail -n 3 "$work/pip"
	echo "psycopg, psycopg2, pg8000, SQLAlchemy, pandas: did not run, they could not be installed here"
fi

jar="$work/$(cut -d: -f2,3 <<<"$JDBC" | tr : -).jar"
if command -v javac >/dev/null && command -v mvn >/dev/null && mvn -q org.apache.maven.plugins:maven-dependency-plugin:2.8:copy -Dartifact="$JDBC" -DoutputDirectory="$work" >"$work/mvn" 2>&1 && [ -f "$jar" ]; then
	mkdir -p "$work/classes"
	javac -cp "$jar" -d "$work/classes" "$here/PostgresJdbc.java"
	for zone in UTC America/New_York; do
		java -Duser.timezone=$zone -cp "$work/classes:$jar" PostgresJdbc "$host" "$port" 2>"$work/java" || { tail -n 30 "$work/java"; exit 1; }
	done
else
	tail -n 3 "$work/mvn" 2>/dev/null || true
	echo "JDBC (PostgreSQL): did not run, no Java here or the driver could not be had"
fi
