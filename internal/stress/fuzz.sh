#!/usr/bin/env bash
# Runs every fuzz target in the tree for the time given, one after another: fuzz.sh [TIME]
# Targets are found by their name, so a new decoder's target needs no entry here.
set -euo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go}
time=${1:-60s}

targets=$(git ls-files --cached --others --exclude-standard '*_test.go' |
	xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed -E 's/:func /\t/')
[ -n "$targets" ] || { echo "no fuzz target found"; exit 1; }

failed=0
while IFS=$'\t' read -r file name; do
	echo "== $name in ./$(dirname "$file") for $time"
	module=.
	[[ $file == cmd/varve-sql/* ]] && module=cmd/varve-sql # a module of its own
	(cd "$module" && "$go" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$(dirname "./${file#"$module"/}")") || failed=$((failed + 1))
done <<<"$targets"
echo "$(wc -l <<<"$targets") targets, $failed failed"
[ "$failed" -eq 0 ]
