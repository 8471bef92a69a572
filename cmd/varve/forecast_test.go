package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestForecastsPage runs the session of docs/reference/forecasts.md. Times of ingest are others each time.
func TestForecastsPage(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,DEMAND\n2026-03-01T01:00:00Z,8\n2026-03-01T03:00:00Z,12\n2026-03-01T04:00:00Z,20\n"))
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "early.csv"), []byte(
		"time,value,quality\n2026-03-01T01:00:00Z,10,Good\n2026-03-01T02:00:00Z,12,\n2026-03-01T03:00:00Z,14,\n2026-03-01T04:00:00Z,15,Good\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "late.csv"), []byte("time,value\n2026-03-01T03:00:00Z,13\n2026-03-01T04:00:00Z,16\n"), 0o600))
	commands, prints := commandsOf(t, "../../docs/reference/forecasts.md")
	require.NotEmpty(t, commands)
	for i, args := range commands {
		for k, a := range args {
			if filepath.Ext(a) == ".csv" {
				args[k] = filepath.Join(dir, a)
			}
		}
		says := varve(t, append(args, "--server", address)...)
		if args[1] == "runs" { // the times of ingest are those of now
			require.Equal(t, someTime.ReplaceAllString(prints[i], "T"), someTime.ReplaceAllString(says, "T"))
			continue
		}
		require.Equal(t, prints[i], says, "%s", args)
	}
}
