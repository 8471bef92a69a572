#!/usr/bin/env bash
# Collects from OPC UA servers of others into a running server: run.sh VARVE ADDRESS PYTHON WORK
# PYTHON has a pip beside it, WORK is a folder for what is made. A peer that cannot be had on this machine is named and fails nothing.
set -euo pipefail
varve=$1 address=$2 python=$3 work=$4/opcua
here=$(dirname "$(realpath "$0")")
source "$here/versions"
mkdir -p "$work"
pids=()
stop() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	wait "${pids[@]}" 2>/dev/null || true
}
trap stop EXIT

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# await FILE LOG waits until a file is there.
await() {
	for _ in $(seq 1200); do
		[ -e "$1" ] && return
		sleep 0.05
	done
	echo "OPC UA: $1 did not come"
	tail -n 20 "$2"
	exit 1
}

# config NAME URL SECURITY RULES writes a configuration.
config() {
	cat >"$work/$1.yaml" <<-END
	collector: interop-$1
	destinations: [{address: $address}]
	queue: {dir: $work/spool-$1}
	sources:
	  - name: plc
	    type: opcua
	    settings: {urls: ["$2"], security: $3, publishing: 100ms, every: 20ms, queue: 10000, keepalive: 1s}
	    tags:
	$4
	END
}

# collect NAME starts a collector, and waits for its first values.
collect() {
	"$varve" collect --config "$work/$1.yaml" >"$work/$1.log" 2>&1 &
	collector=$!
	pids+=("$collector")
	for _ in $(seq 300); do
		"$varve" query --server "$address" --start -2h --output csv "$2" 2>/dev/null | grep -q 'Z' && return
		kill -0 "$collector" || break
		sleep 0.1
	done
	echo "OPC UA $1: no first value"
	tail -n 20 "$work/$1.log"
	exit 1
}

if "$(dirname "$python")/pip" install --quiet --disable-pip-version-check "$ASYNCUA" >"$work/pip" 2>&1; then
	for security in none Basic256Sha256; do
		name=asyncua-$security
		mkdir "$work/$name"
		url=opc.tcp://127.0.0.1:$(port)/plant/
		"$python" "$here/asyncua_server.py" "$url" "$work/$name" >"$work/$name/log" 2>&1 &
		pids+=($!)
		await "$work/$name/ready" "$work/$name/log"
		rules=
		for v in Double Float Int64 UInt64 SByte Boolean String LocalizedText Guid; do
			rules+="      - {address: \"nsu=http://plant/;s=Boiler.$v\", tag: P.$v}"$'\n'
		done
		for e in 0 2; do
			rules+="      - {address: \"nsu=http://plant/;s=Boiler.Array[$e]\", tag: P.Array.$e}"$'\n'
		done
		rules=${rules//P./P.$security.}
		config "$name" "$url" "$security" "$rules"
		if [ "$security" != none ]; then # nobody trusts the server yet
			if "$varve" collect --config "$work/$name.yaml" --check >"$work/$name.untrusted" 2>&1; then
				echo "OPC UA $name: a certificate that nobody trusts was trusted"
				exit 1
			fi
			grep -q 'certificate is not trusted' "$work/$name.untrusted"
			mkdir -p "$work/spool-$name/sources/plc/pki/trusted"
			cp "$work/$name/cert.der" "$work/spool-$name/sources/plc/pki/trusted/"
		fi
		"$varve" collect browse --config "$work/$name.yaml" plc >"$work/$name.browse"
		grep -E '^nsu=http://plant/;s=Boiler.Double +Boiler.Double +float64 +Cel' "$work/$name.browse" >/dev/null || { cat "$work/$name.browse"; exit 1; }
		collect "$name" "P.$security.Double"
		touch "$work/$name/go"
		await "$work/$name/expected.csv" "$work/$name/log"
		sed "s/^P\./P.$security./" "$work/$name/expected.csv" >"$work/$name/want.csv"
		"$python" "$here/compare.py" "$varve" "$address" "$work/$name/want.csv" "OPC UA, $ASYNCUA, security $security"
		kill "$collector" && wait "$collector"
	done
else
	tail -n 3 "$work/pip"
	echo "OPC UA, asyncua: did not run, it could not be installed here"
fi

mkdir "$work/node"
if command -v npm >/dev/null && (cd "$work/node" && npm install --no-audit --no-fund --silent "$NODE_OPCUA") >"$work/npm" 2>&1; then
	for security in none Basic256Sha256; do
		name=node-$security
		mkdir "$work/$name"
		p=$(port)
		NODE_PATH=$work/node/node_modules node "$here/node_server.js" "$p" "$work/$name" >"$work/$name/log" 2>&1 &
		pids+=($!)
		await "$work/$name/ready" "$work/$name/log"
		config "$name" "opc.tcp://127.0.0.1:$p/plant" "$security" "      - {address: \"nsu=http://plant/;s=Boiler.Live\", tag: N.$security.Live}
	      - {address: \"nsu=http://plant/;s=Boiler.Kept\", tag: N.$security.Kept}"
		sed -i 's/^\t*//' "$work/$name.yaml"
		mkdir -p "$work/spool-$name/sources/plc/pki/trusted"
		cp "$work/$name/cert.pem" "$work/spool-$name/sources/plc/pki/trusted/"
		collect "$name" "N.$security.Live"
		touch "$work/$name/go"
		await "$work/$name/expected.csv" "$work/$name/log"
		sed "s/^N\./N.$security./" "$work/$name/expected.csv" >"$work/$name/want.csv"
		"$python" "$here/compare.py" "$varve" "$address" "$work/$name/want.csv" "OPC UA, $NODE_OPCUA, security $security"
		kill "$collector" && wait "$collector"
		touch "$work/$name/go2"
		await "$work/$name/expected2.csv" "$work/$name/log"
		collect "$name" "N.$security.Live"
		sed "s/^N\./N.$security./" "$work/$name/expected2.csv" >"$work/$name/want2.csv"
		"$python" "$here/compare.py" "$varve" "$address" "$work/$name/want2.csv" "OPC UA, $NODE_OPCUA, security $security, history"
		kill "$collector" && wait "$collector"
	done
else
	tail -n 3 "$work/npm" 2>/dev/null || true
	echo "OPC UA, node-opcua: did not run, it could not be installed here"
fi
