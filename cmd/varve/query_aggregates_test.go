package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestQueryAsksForOwnFunctionsAndStates prints own aggregates beside one of Part 13, and times in states.
func TestQueryAsksForOwnFunctionsAndStates(t *testing.T) {
	addr, stop := runServe(t, "--data", filepath.Join(t.TempDir(), "store"), "--listen", "127.0.0.1:0", "--min-free", "0", "--ballast", "0", "--memory", "64MiB")
	defer stop()
	ask := func(args ...string) (string, string, int) {
		var out, stderr bytes.Buffer
		code := run(t.Context(), append(args, "--server", addr), &out, &stderr)
		return out.String(), stderr.String(), code
	}
	_, stderr, code := ask("import", "sample/tep/tep_idv06.csv.gz")
	require.Zero(t, code, stderr)
	of := []string{"query", "--start", "2001-01-01T06:00:00Z", "--end", "2001-01-01T14:00:00Z"}
	table, stderr, code := ask(append(of, "XMEAS_01", "--every", "4h", "--aggregate", "Count,count,first_time,percentile(50),increase", "--counter-highest", "9")...)
	require.Zero(t, code, stderr)
	rows := fields(table)
	require.Len(t, rows, 11)
	require.Equal(t, "2001-01-01T06:00:00Z XMEAS_01 Count 80 Good+Calculated 100 80", rows[1])
	require.Equal(t, "2001-01-01T06:00:00Z XMEAS_01 count 80 Good 100 80", rows[2])
	require.Contains(t, rows[3], "first_time 2001-01-01T06:0")
	require.Contains(t, rows[4], "percentile(50) ")
	_, stderr, code = ask("import", writeFile(t, "run.csv", "time,RUN\n2001-01-01T05:00:00Z,true\n2001-01-01T09:00:00Z,false\n2001-01-01T09:30:00Z,true\n2001-01-01T13:00:00Z,false\n"))
	require.Zero(t, code, stderr)
	states, stderr, code := ask(append(of, "RUN", "--every", "4h", "--time-in-state", "--output", "csv")...)
	require.Zero(t, code, stderr)
	require.Equal(t, `tag,bucket,bucket_end,code,state,seconds,entries,still_open,percent_good
RUN,2001-01-01T06:00:00Z,2001-01-01T10:00:00Z,0,false,1800,1,false,100
RUN,2001-01-01T06:00:00Z,2001-01-01T10:00:00Z,1,true,12600,1,false,100
RUN,2001-01-01T10:00:00Z,2001-01-01T14:00:00Z,0,false,3600,1,true,100
RUN,2001-01-01T10:00:00Z,2001-01-01T14:00:00Z,1,true,10800,0,false,100
`, states)
	for args, says := range map[string]string{
		"--aggregate percentile(101)":       "percentage from 0 to 100",
		"--aggregate avg":                   "time_weighted_average or event_weighted_average",
		"--time-in-state --aggregate count": "--time-in-state: goes with none",
		"--time-in-state --count 3":         "--time-in-state",
		"--counter-highest 5":               "need --aggregate increase or rate",
		"--time-in-state":                   "must be bool, state or of integers",
	} {
		_, stderr, code := ask(append(of, append([]string{"XMEAS_01"}, strings.Fields(args)...)...)...)
		require.NotZero(t, code, args)
		require.Contains(t, stderr, says, args)
	}
}
