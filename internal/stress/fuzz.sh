#!/usr/bin/env bash
# Runs every fuzz target in the tree for the time given, one after another: fuzz.sh [TIME [NAME]], NAME a pattern of grep for some of them.
# Targets are found by their name, so a new decoder's target needs no entry here, and run in the module that they are in. The SQL process
# is a module of its own, which needs a C compiler; without one its targets are left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go}
time=${1:-60s}
name=${2:-}

targets=$(git ls-files --cached --others --exclude-standard '*_test.go' |
	xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed -E 's/:func /\t/' | grep -E "$name")
[ -n "$targets" ] || { echo "no fuzz target found"; exit 1; }

cgo=1
command -v "${CC:-$("$go" env CC)}" >/dev/null || cgo=0

# module_of prints the folder of the module that a file is in.
module_of() {
	local dir
	dir=$(dirname "$1")
	while [ ! -f "$dir/go.mod" ]; do dir=$(dirname "$dir"); done
	echo "$dir"
}

failed=0 left_out=0
while IFS=$'\t' read -r file name; do
	package=$(dirname "$file")
	module=$(module_of "$file")
	if [ "$module" = . ]; then
		echo "== $name in ./$package for $time"
		"$go" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$package" || failed=$((failed + 1))
	elif [ "$cgo" = 1 ]; then
		echo "== $name in ./$package for $time, a module of its own"
		CGO_ENABLED=1 "$go" test -C "$module" -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./${package#"$module"/}" || failed=$((failed + 1))
	else
		echo "== $name in ./$package is left out: no C compiler"
		left_out=$((left_out + 1))
	fi
done <<<"$targets"
echo "$(wc -l <<<"$targets") targets, $failed failed, $left_out left out"
[ "$failed" -eq 0 ]
