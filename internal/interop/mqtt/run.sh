#!/usr/bin/env bash
# Runs a broker and edge nodes that share no code with this project, a collector between them and a running server: run.sh VARVE ADDRESS WORK
# Says of each whether it ran; one that cannot be had on this machine is named and fails nothing, one value that is not as it was sent does.
set -euo pipefail
varve=$1 address=$2 work=$3/mqtt
here=$(dirname "$(realpath "$0")")
PYTHON=$(awk '$1 == "pypi" && ($2 == "pysparkplug" || $2 == "paho-mqtt") { print $2 "==" $3 }' "$here/../clients.lock")
mkdir -p "$work"

find_mosquitto() { command -v mosquitto || ls /usr/sbin/mosquitto 2>/dev/null || true; }
if [ -z "$(find_mosquitto)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then # no service is started
	{ apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mosquitto; } >"$work/apt" 2>&1 || tail -n 3 "$work/apt"
fi
mosquitto=$(find_mosquitto)
if [ -z "$mosquitto" ]; then
	echo "mosquitto, pysparkplug: did not run, there is no mosquitto here (apt-get install mosquitto)"
	exit 0
fi
# A test that make test leaves out where there is no mosquitto yet.
(cd "$here/../../.." && "${GO:-go}" test -count=1 ./collector/mqtt -run TestWhatABrokerDropsIsAGap)
# shellcheck disable=SC2086
if ! { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet --disable-pip-version-check $PYTHON; } >"$work/pip" 2>&1; then
	tail -n 3 "$work/pip"
	echo "pysparkplug: did not run, it could not be installed here"
	exit 0
fi
"$work/venv/bin/python" "$here/edge.py" "$varve" "$address" "$mosquitto" "$work"
