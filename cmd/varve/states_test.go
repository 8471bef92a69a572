package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStateExamples runs the examples of states.md. Then it corrects and imports samples by text.
func TestStateExamples(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "tags", "states", "put", "--server", address, "pump", "0=stopped", "1=running")
	varve(t, "tags", "create", "--server", address, "--type", "state", "--state-set", "pump", "P-101")
	varve(t, "tags", "states", "put", "--server", address, "pump", "--from", "2026-03-01T12:00:00Z", "0=stopped", "1=starting", "2=running")
	table := "time,P-101\n2026-03-01T11:00:00Z,running\n2026-03-01T11:30:00Z,stopped\n2026-03-01T12:10:00Z,starting\n2026-03-01T12:11:00Z,running\n"
	varve(t, "import", "--server", address, writeFile(t, "pump.csv", table))
	runExamples(t, address, "states.md")

	for _, at := range []string{"2026-03-01T11:15:00Z", "2026-03-01T12:15:00Z"} {
		varve(t, "edit", "insert", "--server", address, "--author", "mara", "--reason", "log book", "P-101", at, "running")
		require.Contains(t, varve(t, "query", "--server", address, "--at", at, "--discrete", "-o", "csv", "P-101"), "P-101,running,Good")
	}
	_, says := fails(t, "edit", "insert", "--server", address, "--author", "mara", "--reason", "log book", "P-101", "2026-03-01T11:16:00Z", "starting")
	require.Contains(t, says, "there are stopped, running")
	_, says = fails(t, "import", "--server", address, writeFile(t, "more.csv", "time,P-101\n2026-03-01T11:01:00Z,starting\n2026-03-01T12:01:00Z,starting\n2026-03-01T12:02:00Z,2\n"))
	require.Contains(t, says, `"starting" is no state of pump`)
	got := varve(t, "query", "--server", address, "--start", "2026-03-01T11:01:00Z", "--end", "2026-03-01T12:03:00Z", "--where", "!= stopped", "-o", "csv", "P-101")
	require.Equal(t, "time,tag,value,quality\n2026-03-01T11:15:00Z,P-101,running,Good\n2026-03-01T12:01:00Z,P-101,starting,Good\n2026-03-01T12:02:00Z,P-101,running,Good\n", got)
}
