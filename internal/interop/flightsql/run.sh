#!/usr/bin/env bash
# Runs clients of Flight SQL against a running server: run.sh VARVE ADDRESS PYTHON WORK
# PYTHON has pyarrow and a pip beside it, WORK is a folder for what is made. Says of each client whether it ran; one that cannot be had
# on this machine is named and fails nothing, one that gets a wrong answer does. Without SQL in the server the clients look at
# metadata, write, and are told that there are no statements.
set -euo pipefail
varve=$1 address=$2 python=$3 work=$4
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../../..")
source "$here/versions"


pip=$(dirname "$python")/pip
# shellcheck disable=SC2086
if "$pip" install --quiet --disable-pip-version-check $PYTHON >"$work/pip" 2>&1; then
	# The example of the page is run as it stands there.
	awk '/^```python/ { on = 1; next } /^```/ { on = 0 } on' "$root/docs/reference/flight-sql.md" | sed "s/127.0.0.1:7420/$address/" >"$work/page.py"
	"$python" "$here/adbc.py" "$address" "$varve" "$work/page.py"
else
	tail -n 3 "$work/pip"
	echo "ADBC (Python): did not run, it could not be installed here"
fi

if command -v go >/dev/null && (cd "$here/adbc" && go build -o "$work/adbc" .) >"$work/go" 2>&1; then
	"$work/adbc" "$address"
else
	tail -n 3 "$work/go" 2>/dev/null || true
	echo "ADBC (Go): did not run, it could not be built here"
fi

jar="$work/$(cut -d: -f2,3 <<<"$JDBC" | tr : -).jar"
if command -v javac >/dev/null && command -v mvn >/dev/null && mvn -q org.apache.maven.plugins:maven-dependency-plugin:2.8:copy -Dartifact="$JDBC" -DoutputDirectory="$work" >"$work/mvn" 2>&1 && [ -f "$jar" ]; then
	mkdir -p "$work/classes"
	javac -cp "$jar" -d "$work/classes" "$here/Jdbc.java"
	for zone in UTC America/New_York; do
		java --add-opens=java.base/java.nio=ALL-UNNAMED -Duser.timezone=$zone -cp "$work/classes:$jar" Jdbc "$address" 2>"$work/java" || { tail -n 30 "$work/java"; exit 1; }
	done
else
	tail -n 3 "$work/mvn" 2>/dev/null || true
	echo "JDBC: did not run, no Java here or the driver could not be had"
fi
