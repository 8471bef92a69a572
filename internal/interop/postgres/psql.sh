#!/usr/bin/env bash
# Uses a Varve server through psql: psql.sh HOST PORT WORK CSV
set -euo pipefail
host=$1 port=$2 work=$3 csv=$4
ran() { printf 'ran | %s | %s | %s | %s\n' "$@"; }
export PGCONNECT_TIMEOUT=10
psql=(psql --no-psqlrc --host "$host" --port "$port" --username me --dbname varve --set ON_ERROR_STOP=1)
ask() { "${psql[@]}" "$@"; }

# Everything that psql asks of the catalogue on behalf of its own commands.
for c in '\d' '\d+' '\dt+' '\dv+' '\d samples' '\d+ samples' '\d sam*' '\dS samples' '\l+' '\dn+' '\du+' '\dg' '\df+' '\da' '\do' '\dT+' '\dp' '\z samples' \
	'\di+' '\ds' '\dm' '\dE' '\dx' '\db+' '\dC' '\drds' '\dD' '\dc' '\dO' '\dL' '\dy' '\dF' '\dRp' '\dRs' '\dX' '\dAc' '\dew' '\des' '\deu' '\det' '\ddp' \
	'\conninfo' '\encoding' '\sv good_samples'; do
	if ! ask -c "$c" >"$work/psql" 2>&1 || grep -q ERROR "$work/psql"; then
		[ "$c" = '\sv good_samples' ] || { echo "psql $c:"; cat "$work/psql"; exit 1; }
	fi
done
ask -c '\d samples' | grep -q '^ value  *| double precision  *|  *|  *|'
ask -c '\d samples' | grep -q '^ time  *| timestamp with time zone  *|  *| not null |'
ask -Atc '\dv' | grep -q '^main|good_samples|view|varve$'

# A column of the file, as text.
python3 - "$csv" >"$work/want" <<'PY'
import csv, sys
for r in csv.DictReader(open(sys.argv[1])):
    print(r["time"].replace("T", " ").replace("Z", "+00"), repr(float(r["XMEAS_01"])).removesuffix(".0"), sep="|")
PY
ask -Atc "select time, value from samples where tag = 'TEP.XMEAS_01' order by time" >"$work/got"
cmp "$work/want" "$work/got"
[ "$(ask -Atc 'begin' -c "select count(*) from samples where tag like 'TEP.%'" -c 'commit' | sed -n 2p)" -eq $(($(wc -l <"$work/want") * 53)) ]
[ "$(ask -At -v tag=TEP.XMEAS_01 <<<"select min(value) from samples where tag = :'tag'")" = "$(cut -d'|' -f2 "$work/want" | sort -g | head -1)" ]
[ "$(ask -At --set FETCH_COUNT=100 -c "select time, value from samples where tag = 'TEP.XMEAS_01' order by time" | cmp - "$work/want" && echo same)" = same ]

# Errors tell what and where, writes are refused, a statement ends in its time. refused WORDS PSQL_ARGUMENTS...
refused() {
	local words=$1
	shift
	if ask "$@" >"$work/out" 2>"$work/err" || ! grep -q -- "$words" "$work/err"; then
		echo "psql $*: was not refused with '$words':"
		cat "$work/out" "$work/err"
		exit 1
	fi
}
refused '^LINE 1: select valeu from samples' -c 'select valeu from samples'
refused '^LINE 1: selct 1' -c 'selct 1'
refused 'ERROR:  25006' --set VERBOSITY=verbose -c 'insert into samples values (1)'
PGOPTIONS='-c statement_timeout=200ms' refused 'canceling statement due to statement timeout' -c 'select count(*) from samples a, samples b, samples c'

# \gdesc prepares a statement and has it described; one that is interrupted ends.
[ "$(ask -At <<<'select time, value, quality, tag from samples \gdesc')" = $'time|timestamp with time zone\nvalue|double precision\nquality|bigint\ntag|text' ]
"${psql[@]}" -c 'select count(*) from samples a, samples b, samples c' >"$work/out" 2>"$work/err" &
asking=$!
sleep 1
kill -INT $asking
if wait $asking || ! grep -q 'canceling statement due to user request' "$work/err"; then
	echo "psql was interrupted, and said:"
	cat "$work/out" "$work/err"
	exit 1
fi

version=$(psql --version | cut -d' ' -f3)
ran psql "$version" read "$(wc -l <"$work/want") rows equal to the file, cursors, errors with their places"
ran psql "$version" metadata "its commands about tables and the rest of the catalogue"
ran psql "$version" parameters "its variables, as it writes them into the text"
ran psql "$version" prepare "a statement is prepared and described, by \\gdesc"
ran psql "$version" cancel "by a signal, and by statement_timeout"
