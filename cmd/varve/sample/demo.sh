#!/usr/bin/env bash
# Loads the bundled sample into a store and shows it: demo.sh VARVE [DATA]
# The store is ./data unless DATA says otherwise. It survives, and a second run loads the same files and changes nothing.
# The server this starts is stopped at the end.
set -euo pipefail
varve=$(realpath "$1")
data=${2:-${VARVE_DATA:-data}}
sample=$(dirname "$(realpath "$0")")

log=$(mktemp)
server=
stop() {
	local status=$?
	if [ -n "$server" ]; then
		kill -TERM "$server" 2>/dev/null || true
		wait "$server" || true
	fi
	[ "$status" -eq 0 ] || { echo "the server said:"; tail -n 20 "$log"; }
	rm -f "$log"
	exit "$status"
}
trap stop EXIT

"$varve" serve --data "$data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 2>"$log" &
server=$!
address=
for _ in $(seq 300); do
	address=$(sed -n 's/^listening on //p' "$log")
	[ -n "$address" ] && break
	kill -0 "$server" 2>/dev/null || { echo "the server ended before it listened"; exit 1; }
	sleep 0.1
done
[ -n "$address" ] || { echo "the server did not listen within 30 s"; exit 1; }

show() {
	printf '\n$ varve'
	printf ' %s' "$@" | sed "s#$sample/##g"
	printf '\n'
	local command=$1
	shift
	"$varve" "$command" --server "$address" "$@"
}

for run in 00 01 06; do
	show import --prefix "TEP.$run." --tags "$sample/tep/tags.csv" "$sample/tep/tep_idv$run.csv.gz"
done
show import --prefix WELL-00006. --tags "$sample/oilwell3w/tags.csv" "$sample/oilwell3w/class1_WELL-00006_20170802123000.csv.gz"
show import --prefix WELL-00004. --tags "$sample/oilwell3w/tags.csv" "$sample/oilwell3w/class6_WELL-00004_20171031200059.csv.gz"
show import --prefix HURCO01. --tags "$sample/nist_sms/tags.csv" "$sample/nist_sms/hurco01_events.csv.gz"

printf '\nThe A feed of the Tennessee Eastman plant is lost at 08:00; the controller opens its valve all the way.\n'
show query --start 2001-01-01T07:54:00Z --end 2001-01-01T08:12:00Z --output table TEP.06.XMEAS_01 TEP.06.XMV_03
printf '\nA production choke of an offshore well closes quickly.\n'
show query --start 2017-10-31T20:00:00Z --end 2017-10-31T20:30:00Z --plot WELL-00004.P-MON-CKP
show status

printf '\nThe data stays in %s. To go on with it:\n' "$data"
printf '  bin/varve serve --data %s --listen 127.0.0.1:7420\n' "$data"
printf '  bin/varve query --server 127.0.0.1:7420 --start 2001-01-01T06:00:00Z --end 2001-01-01T14:00:00Z --plot TEP.06.XMEAS_01\n'
