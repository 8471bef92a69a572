#!/usr/bin/env bash
# Builds and vets everything for the systems that a release is for, without cgo, and runs for others than this one what can be run here: run.sh [commands]
# With commands only cmd/varve is built, nothing is vetted and no tests are run: that is what CI does. TARGETS are others than all, such as "linux/arm/7". A table at
# the end says what was built, vetted and run; what was not is named there too.
#
# ARM is run under qemu-user where it is here (apt-get install qemu-user): a server is started, loaded and asked, and its answers and its store are held
# against those of this machine's own program; then tests of the packages that count and size. So is Windows under wine where that is here. macOS is not run.
# linux/386 is no target: processors of amd64 run it, and so the tests of what an int of 32 bits does run at full speed.
set -euo pipefail
cd "$(dirname "$0")/../.."
mode=${1:-all}
go=${GO:-go}
export CGO_ENABLED=0
work=$(mktemp -d)
server=
stop() {
	local status=$?
	if [ -n "$server" ]; then
		kill -TERM "$server" 2>/dev/null || true
		wait "$server" || true
	fi
	[ "$status" -eq 0 ] || tail -n 20 "$work"/*.log 2>/dev/null || true
	rm -rf "$work"
	exit "$status"
}
trap stop EXIT

# What has numbers of 32 and 64 bits in it and takes no hour under an emulator.
counted=(./internal/release ./model/... ./compression/... ./storage/catalog ./storage/chunk ./storage/head ./storage/identity ./storage/keys ./storage/log ./storage/record
	./storage/rollup ./collector ./collector/file ./collector/modbus ./collector/mqtt/... ./collector/queue ./collector/session ./collector/simulator
	./server/arrowin ./server/lineprotocol ./server/pgwire ./query ./query/expression ./query/plot ./query/quantile)

# What has to do with files, and takes no temporary folder away that wine leaves something in.
on_disk=(./storage/log ./storage/backup ./storage/catalog ./storage/identity ./storage/tier)

began=$SECONDS
step() { echo "== $* ($((SECONDS - began)) s)"; }

rows=()
row() { rows+=("$(printf '%-15s %-9s %-6s %s' "$@")"); }

# of TARGET COMMAND... runs it for linux/arm/7 and the like.
of() {
	local target=$1 os arch arm
	shift
	IFS=/ read -r os arch arm <<<"$target"
	GOOS=$os GOARCH=$arch GOARM=$arm "$@"
}

native="$work/varve-native"
step native program
$go build -o "$native" ./cmd/varve

# emulator TARGET is what runs its programs here, if anything does.
emulator() {
	case $1 in
	linux/arm64) command -v qemu-aarch64 || command -v qemu-aarch64-static ;;
	linux/arm/7) command -v qemu-arm || command -v qemu-arm-static ;;
	windows/amd64) command -v wine64 || command -v wine ;;
	esac
}

# answers DATA PROGRAM... starts a server, loads a file of the sample and prints what it answers.
answers() {
	local data=$1 log="$1.log" address= sample=cmd/varve/sample/tep
	shift
	: >"$log"
	"$@" serve --data "$data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --sql off --memory 32MiB 2>"$log" &
	server=$!
	for _ in $(seq 1200); do
		address=$(sed -n 's/^listening on //p' "$log")
		[ -z "$address" ] || break
		kill -0 "$server"
		sleep 0.1
	done
	"$@" import --server "$address" --prefix TEP. --tags $sample/tags.csv $sample/tep_idv06.csv.gz >&2
	local range=(--server "$address" --start 2001-01-01T00:00:00Z --end 2001-01-03T00:00:00Z --output csv)
	"$@" query "${range[@]}" TEP.XMEAS_01 TEP.XMEAS_09 TEP.XMV_03
	"$@" query "${range[@]}" --aggregate time_weighted_average,minimum,maximum,count --every 1h TEP.XMEAS_01 TEP.XMV_03
	# Arrow's library writes no Parquet with addresses of 32 bits: it ends in an unaligned atomic operation.
	[ $target = linux/arm/7 ] || "$@" export --server "$address" "$data-lake" 'TEP.*' >&2
	kill -TERM "$server"
	wait "$server" || [ $target = windows/amd64 ] # which knows no such signal, and ends at once
	server=
}

target=native
step answers of the native program
answers "$work/native" "$native" >"$work/want"
[ "$(wc -l <"$work/want")" -gt 1000 ] || { echo "the native program answered $(wc -l <"$work/want") lines"; exit 1; }

# fused prints where a compiler made one operation of a product and a sum without being asked to, as it may for ARM: there answers would be others than on
# a machine that has no such operation. It reads what the compiler lists of the packages here.
fused() {
	grep -E $'\tFN?M(ADD|SUB)' | grep -oE "$PWD/[^ :)]+\.go:[0-9]+" | sort -u | while IFS=: read -r file line; do
		sed -n "${line}p" "$file" | grep -q 'math\.FMA' || echo "${file#"$PWD"/}:$line: $(sed -n "${line}p" "$file")"
	done
}

# runs_windows says whether what runs programs of Windows here runs ours.
export WINEPREFIX="${WINEPREFIX:-$work/wine}" WINEDEBUG=-all
runs_windows() {
	of $target $go build -o "$work/varve.exe" ./cmd/varve
	"$emulator" "$work/varve.exe" --help >"$work/help.log" 2>&1
}

for target in ${TARGETS:-linux/amd64 linux/arm64 linux/arm/7 windows/amd64 darwin/arm64}; do
	built=everything vetted=yes ran="no: there is none to run it here"
	if [ "$mode" = commands ]; then
		step "build cmd/varve for $target"
		of $target $go build -o /dev/null ./cmd/varve
		built=cmd/varve vetted=no
	else
		step "build for $target"
		of $target $go build ./...
		step "vet for $target"
		of $target $go vet ./...
	fi
	if [ "$target" = linux/arm64 ]; then
		step "no product and sum in one operation"
		of $target $go build -o /dev/null -gcflags=github.com/varvedb/varve/...=-S ./cmd/varve 2>"$work/listing" || { grep -v $'\t' "$work/listing" >&2; exit 1; }
		grep -q 'FMADD' "$work/listing" || { echo "the listing of the compiler has not even what math.FMA is made of" >&2; exit 1; }
		fused <"$work/listing" >"$work/fused"
		[ ! -s "$work/fused" ] || { cat "$work/fused"; echo "float64() around a product keeps it apart" >&2; exit 1; }
	fi
	emulator=$(emulator $target || true)
	if [ $target = windows/amd64 ] && [ -n "$emulator" ] && ! runs_windows; then
		emulator= ran="no: the wine here runs no programs of Go, which need bcryptprimitives.dll of it"
	fi
	if [ "$target" = "$($go env GOHOSTOS)/$($go env GOHOSTARCH)" ]; then
		ran="yes, natively: make test"
	elif [ -n "$emulator" ]; then
		binary="$work/varve-${target//\//-}"
		of $target $go build -o "$binary" ./cmd/varve
		step "run $target under $(basename "$emulator")"
		answers "$work/data-${target//\//-}" "$emulator" "$binary" >"$work/got"
		diff "$work/want" "$work/got" >&2 || { echo "$target does not answer as this machine does" >&2; exit 1; }
		"$native" verify --data "$work/data-${target//\//-}" >&2
		ran="answers as this machine does; its store verifies here"
		if [ "$mode" != commands ]; then
			step "tests for $target under $(basename "$emulator")"
			tests=("${counted[@]}")
			[ $target != windows/amd64 ] || tests=("${on_disk[@]}")
			# What starts its own program again would need the emulator for that too, which has no speeds of serial lines either.
			of $target $go test -short -skip '^TestApart|^TestSerialSettings|./^terminal$' -exec "$emulator" -timeout 60m "${tests[@]}"
			ran+="; tests of ${#tests[@]} packages"
		fi
	elif [[ $target == linux/* ]]; then
		ran="no: there is no qemu-user here (apt-get install qemu-user)"
	fi
	row "$target" "$built" "$vetted" "$ran"
done

if [ "$mode" = commands ]; then
	row linux/386 - - "no: commands alone"
elif [ "$($go env GOHOSTARCH)" = amd64 ] && [ "$(uname -s)" = Linux ]; then
	step "tests with an int of 32 bits, linux/386"
	of linux/386 $go test -short -timeout 30m "${counted[@]}" ./storage
	row linux/386 - - "tests of $((${#counted[@]} + 1)) packages, natively"
else
	row linux/386 - - "no: this is no Linux on amd64"
fi

echo
printf '%-15s %-9s %-6s %s\n' target built vetted run
printf '%s\n' "${rows[@]}"
echo "it took $SECONDS s"
