package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/stretchr/testify/require"
)

// TestWideInEveryOutput prints a table of a number, text and a missing value in all ways there are.
func TestWideInEveryOutput(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f,s\n2024-01-01T00:00:00Z,1,on\n2024-01-01T00:00:02Z,2,\n"))
	ask := func(flags ...string) string {
		return varve(t, append([]string{"query", "--server", address, "--wide", "--start", "2023-12-31T23:59:59Z", "--end", "2024-01-01T00:00:01Z"}, flags...)...)
	}
	grid := []string{"--every", "1s", "f", "s"}
	require.Equal(t, "time,f,s\n2023-12-31T23:59:59Z,,\n2024-01-01T00:00:00Z,1,on\n", ask(append(grid, "-o", "csv")...))
	require.Equal(t, `{"time":"2023-12-31T23:59:59Z","f":null,"s":null}`+"\n"+`{"time":"2024-01-01T00:00:00Z","f":1,"s":"on"}`+"\n", ask(append(grid, "-o", "json")...))
	require.Regexp(t, `TIME +F +S\n2024-01-01T05:29:59\+05:30 +- +- *\n`, ask(append(grid, "--tz", "Asia/Kolkata")...))
	require.Equal(t, "time,f,f:q\n2024-01-01T00:00:00Z,1,Good\n", ask("--on-samples-of", "s", "--with-quality", "-o", "csv", "f"))
	require.Equal(t, "time,f\n2023-12-31T23:59:59Z,1\n", ask("--aggregate", "count", "-o", "csv", "f"))
	require.Equal(t, "time,f,s\n2023-12-31T23:59:59Z,,\n2024-01-01T00:00:00Z,1,1\n", ask("--every", "1d", "--aggregate", "Count", "-o", "csv", "f", "s"))

	folder := t.TempDir()
	ask(append(grid, "-o", "arrow", "--file", filepath.Join(folder, "a.arrow"))...)
	f, err := os.Open(filepath.Join(folder, "a.arrow"))
	require.NoError(t, err)
	defer f.Close()
	a, err := ipc.NewFileReader(f)
	require.NoError(t, err)
	require.Equal(t, 3, len(a.Schema().Fields()))
	unit, ok := a.Schema().Field(1).Metadata.GetValue("stepped")
	require.True(t, ok)
	require.Equal(t, "false", unit)
	ask(append(grid, "-o", "parquet", "--file", filepath.Join(folder, "a.parquet"))...)
	p, err := file.OpenParquetFile(filepath.Join(folder, "a.parquet"), false)
	require.NoError(t, err)
	require.EqualValues(t, 2, p.NumRows())
	require.NoError(t, p.Close())
}

func TestWideFlagsThatDoNotGoTogether(t *testing.T) {
	for says, flags := range map[string][]string{
		"a row how often":               {"--wide"},
		"say --mode interpolated":       {"--wide", "--every", "1m", "--interpolated"},
		"--mode \"last\"":               {"--wide", "--every", "1m", "--mode", "last"},
		"one --aggregate go together":   {"--wide", "--every", "1m", "--aggregate", "count,sum"},
		"--mode aggregate and":          {"--wide", "--every", "1m", "--mode", "aggregate"},
		"a --start later than --end":    {"--wide", "--every", "1m", "--reverse"},
		"--every and --on-samples-of":   {"--wide", "--every", "1m", "--on-samples-of", "f"},
		"goes with --mode asof":         {"--wide", "--every", "1m", "--mode", "interpolated", "--max-age", "1m"},
		"need --wide":                   {"--with-quality"},
		"--calendar: needs":             {"--wide", "--on-samples-of", "f", "--calendar", "c.json"},
		"goes with none of --latest, -": {"--wide", "--every", "1m", "--latest"},
	} {
		code, got := fails(t, append([]string{"query", "--server", "127.0.0.1:1", "f"}, flags...)...)
		require.Equal(t, exitUsage, code)
		require.Contains(t, got, says)
	}
}
