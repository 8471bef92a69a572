package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f,s\n2024-01-01T00:00:00Z,1,on\n2024-01-01T00:00:02Z,2,off\n2024-01-01T00:00:04Z,3,\n"))
	varve(t, "edit", "--server", address, "--author", "ana", "--reason", "calibrated", "set", "f", "2024-01-01T00:00:02Z", "5")
	ask := func(args ...string) string {
		return varve(t, append([]string{"explain", "--server", address, "--start", "2024-01-01T00:00:00Z", "--end", "2024-01-01T00:00:04Z"}, args...)...)
	}
	require.Regexp(t, `versions +1 values replaced, 0 removed; the newest edit at .* by ana: calibrated\n`, ask("--aggregate", "Average", "f"))
	require.Contains(t, ask("--aggregate", "Average", "--tz", "Asia/Kolkata", "f"), "2024-01-01T05:30:00+05:30 to 2024-01-01T05:30:04+05:30")
	require.Regexp(t, `stepped, as values of its type are`, ask("--aggregate", "Start", "s"))
	require.Regexp(t, `^Start +"on"  Good\+Partial\n`, ask("--aggregate", "Start", "s"))
	require.Regexp(t, `stepped, as the request says`, ask("--aggregate", "TimeAverage2", "--stepped", "f"))
	require.Regexp(t, `time_weighted_average +3.5  Good`, ask("--aggregate", "time_weighted_average", "f"))
	var x struct {
		Value   struct{ Number float64 }
		Quality string `json:"quality_text"`
	}
	text := ask("--aggregate", "TimeAverage2", "-o", "json", "f")
	require.NoError(t, json.Unmarshal([]byte(text), &x))
	require.Equal(t, 3.5, x.Value.Number)
	require.Equal(t, "Good+Calculated", x.Quality)
	require.Equal(t, text, ask("--aggregate", "TimeAverage2", "-o", "json", "f"))
	for _, args := range [][]string{
		{"--aggregate", "average", "f"}, {"--aggregate", "Average", "s"}, {"--aggregate", "Average", "nowhere"},
	} {
		code, says := fails(t, append([]string{"explain", "--server", address}, args...)...)
		require.Equal(t, exitFailure, code, says)
	}
	for _, args := range [][]string{{"f"}, {"--aggregate", "Average"}, {"--aggregate", "Average", "-o", "xml", "f"}, {"--aggregate", "Average", "--start", "soon", "f"}} {
		code, says := fails(t, append([]string{"explain", "--server", address}, args...)...)
		require.Equal(t, exitUsage, code, says)
	}
}
