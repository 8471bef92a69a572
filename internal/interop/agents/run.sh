#!/usr/bin/env bash
# Lets agents that people already run write to servers of their own, and compares what arrives: run.sh VARVE PYTHON WORK
# WORK is a folder for what is made. Says of each agent whether it ran; one that cannot be had on this machine is named and fails nothing, one
# whose samples do not arrive as they are does.
set -euo pipefail
varve=$1 python=$2 work=$3
here=$(dirname "$(realpath "$0")")
TELEGRAF=$(awk '$1 == "program" && $2 == "telegraf" { print $3 }' "$here/../clients.lock")
# The plugins that the test needs: all of them cannot be built.
TELEGRAF_TAGS=custom,inputs.file,outputs.influxdb,outputs.influxdb_v2,outputs.http,parsers.influx,serializers.influx,serializers.prometheusremotewrite

mkdir -p "$work/agents"
telegraf=${TELEGRAF_BINARY:-$work/agents/bin/telegraf}
if [ -x "$telegraf" ] || { command -v go >/dev/null && CGO_ENABLED=0 GOBIN="$work/agents/bin" go install -tags "$TELEGRAF_TAGS" "github.com/influxdata/telegraf/cmd/telegraf@$TELEGRAF"; } >"$work/agents/go" 2>&1; then
	"$python" "$here/agents.py" telegraf "$telegraf" "$varve" "$work/agents"
else
	tail -n 3 "$work/agents/go"
	echo "Telegraf: did not run, it could not be built here"
fi

# Debian's package, unpacked and not installed: nothing is started by it.
prometheus=$(command -v prometheus || true)
if [ -z "$prometheus" ] && command -v apt-get >/dev/null; then
	{ (cd "$work/agents" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb debian) || { apt-get update && cd "$work/agents" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb debian; }; } >"$work/agents/apt" 2>&1 || true
	prometheus=$work/agents/debian/usr/bin/prometheus
fi
if [ -n "$prometheus" ] && "$prometheus" --version >"$work/agents/version" 2>&1; then
	"$python" "$here/agents.py" prometheus "$prometheus" "$varve" "$work/agents"
else
	tail -n 3 "$work/agents/apt" "$work/agents/version" 2>/dev/null || true
	echo "Prometheus: did not run, it could not be had here"
fi
