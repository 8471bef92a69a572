# Sourced by the scripts beside it, which set interop (this folder), work (a folder for what is made) and python (of the virtual environment).

# held runs a client. What it says is kept for the table at the end: it reports each of its tests as a line of report.ran.
held() { "$@" | tee -a "$work/said"; }

# ran CLIENT VERSION TEST WHAT: a test of a client held. skipped CLIENT WHY: it could not be had on this machine.
ran() { printf 'ran | %s | %s | %s | %s\n' "$1" "$2" "$3" "$4" | tee -a "$work/said"; }
skipped() { printf 'skipped | %s | %s\n' "$1" "$2" | tee -a "$work/said"; }

# packages PACKAGE... installs what the lock has of PyPI; false where it cannot be had, and why is shown.
packages() {
	awk '$1 == "pypi" { print $2 "==" $3 }' "$interop/clients.lock" >"$work/constraints"
	"$(dirname "$python")/pip" install --quiet --disable-pip-version-check --constraint "$work/constraints" "$@" >"$work/pip" 2>&1 || { tail -n 3 "$work/pip"; return 1; }
}

# version NAME is that of an entry of the lock.
version() { awk -v name="$1" '$2 == name { print $3; exit }' "$interop/clients.lock"; }

# jar GROUP:ARTIFACT fetches a jar of the lock and sets $jar; false where it cannot be had, and then mvn counts as not on this machine: it reaches nothing.
# A jar that is not the locked one ends the run.
jar() {
	command -v javac >/dev/null && command -v mvn >/dev/null || { echo "there is no javac or no mvn here"; return 1; }
	jar="$work/${1#*:}-$(version "$1").jar"
	local plugin=org.apache.maven.plugins:maven-dependency-plugin
	if ! mvn -q "$plugin:$(version $plugin):copy" -Dartifact="$1:$(version "$1")" -DoutputDirectory="$work" >"$work/mvn" 2>&1 || [ ! -f "$jar" ]; then
		tail -n 3 "$work/mvn"
		echo mvn >>"$work/unreachable"
		return 1
	fi
	[ "$(sha256sum "$jar" | cut -d' ' -f1)" = "$(awk -v name="$1" '$2 == name { print $4 }' "$interop/clients.lock")" ] || { echo "$1 is not the jar of clients.lock" >&2; exit 1; }
}

# program FOLDER NAME builds a Go client from the folder into $work/NAME; false where it cannot be.
program() {
	command -v go >/dev/null && (cd "$1" && go build -o "$work/$2" .) >"$work/go" 2>&1 || { tail -n 3 "$work/go" 2>/dev/null; return 1; }
}

# serve DATA LOG FLAGS... starts a server and waits until it listens; its process is in $server. listening LOG WHAT is where it listens for what.
serve() {
	local data=$1 log=$2
	shift 2
	: >"$log" # before the server is there: a loop that reads it must not depend on which of the two processes runs first
	"$varve" serve --data "$data" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 "$@" 2>"$log" &
	server=$!
	for _ in $(seq 300); do
		[ -z "$(listening "$log")" ] || return 0
		kill -0 "$server"
		sleep 0.1
	done
	return 1
}
listening() { sed -n "s/^listening ${2:+for $2 }on //p" "$1"; }
