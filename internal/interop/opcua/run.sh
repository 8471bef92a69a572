#!/usr/bin/env bash
# Collects from OPC UA servers of others into a running server: run.sh VARVE ADDRESS PYTHON WORK
# PYTHON has a pip beside it, WORK is a folder for what is made. A peer that cannot be had on this machine is named.
set -euo pipefail
varve=$1 address=$2 python=$3 work=$4
here=$(dirname "$(realpath "$0")")
interop=$(dirname "$here")
source "$interop/lib.sh"
plant=$work/opcua
mkdir -p "$plant"
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
	cat >"$plant/$1.yaml" <<-END
	collector: interop-$1
	destinations: [{address: $address}]
	queue: {dir: $plant/spool-$1}
	sources:
	  - name: plc
	    type: opcua
	    settings: {urls: ["$2"], security: $3, publishing: 100ms, each_change: true, queue: 5000, keepalive: 1s}
	    tags:
	$4
	END
}

# trust NAME CERT: a source trusts nobody by itself, and then the server that it met, whose certificate is in a file of the server's own.
trust() {
	if "$varve" collect --config "$plant/$1.yaml" --check >"$plant/$1.untrusted" 2>&1; then
		echo "OPC UA $1: a certificate that nobody trusts was trusted"
		exit 1
	fi
	grep 'certificate is not trusted' "$plant/$1.untrusted" >/dev/null
	local fingerprint
	fingerprint=$("$python" -c 'import base64, hashlib, re, sys
b = open(sys.argv[1], "rb").read()
m = re.search(rb"-----BEGIN CERTIFICATE-----(.*?)-----END", b, re.S)
print(hashlib.sha256(base64.b64decode(m[1]) if m else b).hexdigest())' "$2")
	"$varve" collect trust list --config "$plant/$1.yaml" plc | grep "^rejected .*$fingerprint" >/dev/null
	"$varve" collect trust accept --config "$plant/$1.yaml" plc "$fingerprint" >/dev/null
}

# collect NAME starts a collector, and waits for its first values.
collect() {
	"$varve" collect --config "$plant/$1.yaml" >"$plant/$1.log" 2>&1 &
	collector=$!
	pids+=("$collector")
	for _ in $(seq 300); do
		"$varve" query --server "$address" --start -2h --output csv "$2" 2>/dev/null | grep -q 'Z' && return
		kill -0 "$collector" || break
		sleep 0.1
	done
	echo "OPC UA $1: no first value"
	tail -n 20 "$plant/$1.log"
	exit 1
}

client="asyncua (OPC UA)"
if packages asyncua cryptography; then
	for security in none Basic256Sha256; do
		name=asyncua-$security
		mkdir "$plant/$name"
		url=opc.tcp://127.0.0.1:$(port)/plant/
		"$python" "$here/asyncua_server.py" "$url" "$plant/$name" >"$plant/$name/log" 2>&1 &
		pids+=($!)
		await "$plant/$name/ready" "$plant/$name/log"
		rules=
		for v in Double Float Int64 UInt64 SByte Boolean String LocalizedText Guid; do
			rules+="      - {address: \"nsu=http://plant/;s=Boiler.$v\", tag: P.$v}"$'\n'
		done
		rules+="      - {regexp: 'nsu=http://plant/;s=Boiler\.Array\[([02])\]', tag: \"P.Array.{1}\"}"$'\n' # these are found
		rules=${rules//P./P.$security.}
		config "$name" "$url" "$security" "$rules"
		[ "$security" = none ] || trust "$name" "$plant/$name/cert.der"
		"$varve" collect browse --config "$plant/$name.yaml" plc >"$plant/$name.browse"
		grep -E '^nsu=http://plant/;s=Boiler.Double +Boiler.Double +float64 +Cel' "$plant/$name.browse" >/dev/null || { cat "$plant/$name.browse"; exit 1; }
		ran "$client" "$(version asyncua)" metadata "what it offers is listed with types and units, security $security"
		collect "$name" "P.$security.Array.2"
		touch "$plant/$name/go"
		await "$plant/$name/expected.csv" "$plant/$name/log"
		sed "s/^P\./P.$security./" "$plant/$name/expected.csv" >"$plant/$name/want.csv"
		held "$python" "$here/compare.py" "$varve" "$address" "$plant/$name/want.csv" "$client" "$(version asyncua)" ingest "live, security $security"
		kill "$collector" && wait "$collector"
	done

	# A server whose certificate an authority signed: not trusted without the authority's list of what it revoked, then by it, and not any more when it is revoked.
	name=asyncua-signed
	mkdir "$plant/$name"
	url=opc.tcp://127.0.0.1:$(port)/plant/
	"$python" "$here/asyncua_server.py" "$url" "$plant/$name" authority >"$plant/$name/log" 2>&1 &
	pids+=($!)
	await "$plant/$name/ready" "$plant/$name/log"
	config "$name" "$url" Basic256Sha256 '      - {address: "nsu=http://plant/;s=Boiler.Double", tag: P.signed.Double}'
	sed -i 's/security: Basic256Sha256,/& user: {name: op, password: "${OPCUA_PASSWORD}"},/' "$plant/$name.yaml"
	export OPCUA_PASSWORD=right
	pki=$plant/spool-$name/sources/plc/pki
	mkdir -p "$pki/trusted/crl"
	cp "$plant/$name/authority.der" "$pki/trusted/"
	# said TEXT: what a check says of the server.
	said() {
		"$varve" collect --config "$plant/$name.yaml" --check >"$plant/$name.check" 2>&1 || true
		grep -F "$1" "$plant/$name.check" >/dev/null || { cat "$plant/$name.check"; exit 1; }
	}
	said 'revoked the certificate of "interop" is not known'
	cp "$plant/$name/none.crl" "$pki/trusted/crl/authority.crl"
	said ' P.signed.Double '
	OPCUA_PASSWORD=wrong said 'log on at opc.tcp://'
	cp "$plant/$name/revoked.crl" "$pki/trusted/crl/authority.crl"
	said 'the certificate of "interop" was revoked by "plant authority"'
	ran "$client" "$(version asyncua)" metadata "a certificate of an authority, by its list of revoked ones, and a user by a password"
else
	skipped "$client" "it could not be installed here"
fi

client="node-opcua (OPC UA)"
mkdir "$plant/node"
cp "$here"/package*.json "$plant/node/"
if command -v npm >/dev/null && (cd "$plant/node" && npm ci --no-audit --no-fund --ignore-scripts --loglevel error) >"$plant/npm" 2>&1; then
	for security in none Basic256Sha256; do
		name=node-$security
		mkdir "$plant/$name"
		p=$(port)
		NODE_PATH=$plant/node/node_modules node "$here/node_server.js" "$p" "$plant/$name" >"$plant/$name/log" 2>&1 &
		pids+=($!)
		await "$plant/$name/ready" "$plant/$name/log"
		config "$name" "opc.tcp://127.0.0.1:$p/plant" "$security" "      - {address: \"nsu=http://plant/;s=Boiler.Live\", tag: N.$security.Live}
	      - {address: \"nsu=http://plant/;s=Boiler.Kept\", tag: N.$security.Kept}"
		sed -i 's/^\t*//' "$plant/$name.yaml"
		[ "$security" = none ] || trust "$name" "$plant/$name/cert.pem"
		collect "$name" "N.$security.Live"
		touch "$plant/$name/go"
		await "$plant/$name/expected.csv" "$plant/$name/log"
		sed "s/^N\./N.$security./" "$plant/$name/expected.csv" >"$plant/$name/want.csv"
		held "$python" "$here/compare.py" "$varve" "$address" "$plant/$name/want.csv" "$client" "$(version node-opcua)" ingest "live, security $security"
		kill "$collector" && wait "$collector"
		touch "$plant/$name/go2"
		await "$plant/$name/expected2.csv" "$plant/$name/log"
		collect "$name" "N.$security.Live"
		sed "s/^N\./N.$security./" "$plant/$name/expected2.csv" >"$plant/$name/want2.csv"
		held "$python" "$here/compare.py" "$varve" "$address" "$plant/$name/want2.csv" "$client" "$(version node-opcua)" read "its history, three values at each time and pages that end between them, security $security"
		kill "$collector" && wait "$collector"
	done
else
	tail -n 3 "$plant/npm" 2>/dev/null || true
	command -v npm >/dev/null && grep -qiE 'ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|E40[13]' "$plant/npm" && echo npm >>"$work/unreachable"
	skipped "$client" "there is no npm here, or it could not be installed"
fi
