package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnitExamples runs the examples of units.md on a tag whose unit changes.
func TestUnitExamples(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "tags", "create", "--server", address, "PI-101", "--type", "float64", "--unit", "kPa")
	varve(t, "tags", "update", "--server", address, "PI-101", "--unit", "bar", "--from", "2026-03-01T05:05:00Z")
	path := writeFile(t, "x.csv", "time,tag,value\n2026-03-01T05:00:00Z,PI-101,250\n2026-03-01T05:02:00Z,PI-101,300\n"+
		"2026-03-01T05:05:00Z,PI-101,4\n2026-03-01T05:06:00Z,PI-101,5\n")
	varve(t, "import", "--server", address, path)
	runExamples(t, address, "units.md")
	varve(t, "edit", "--server", address, "--author", "mara", "--reason", "scale", "set", "PI-101", "2026-03-01T05:02:00Z", "310")
	require.Regexp(t, `2026-03-01T05:02:00Z,PI-101,3,Good,.*,replaced,.*,mara,scale`,
		varve(t, "query", "--server", address, "--start", "2026-03-01", "--end", "2026-03-02", "--modified", "--unit", "bar", "-o", "csv", "PI-101"))
	code, says := fails(t, "query", "--server", address, "--start", "2026-03-01", "--end", "2026-03-02", "--time-in-state", "--unit", "bar", "PI-101")
	require.Equal(t, exitUsage, code)
	require.Contains(t, says, "--unit: goes not with --time-in-state")
}
