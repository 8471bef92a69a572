package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	tunePage   = "../../docs/reference/tune.md"
	sampleWell = "sample/oilwell3w/class6_WELL-00004_20171031200059.csv.gz"
)

// TestTuneExamples runs the commands of the page on the data it shows and on the bundled sample.
func TestTuneExamples(t *testing.T) {
	text, err := os.ReadFile(tunePage)
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "```csv\n")
	table, _, _ = strings.Cut(table, "```")
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "tags", "create", "--server", address, "TI-7", "--span-high", "100")
	varve(t, "import", "--server", address, writeFile(t, "x.csv", table))
	varve(t, "import", "--server", address, "--prefix", "WELL-00004.", "--tags", "sample/oilwell3w/tags.csv", sampleWell)
	examples := strings.Split(string(text), "\n$ varve ")[1:]
	require.Len(t, examples, 3)
	for _, x := range examples {
		command, rest, _ := strings.Cut(x, "\n")
		want, _, _ := strings.Cut(rest, "```")
		got := varve(t, append(words(command), "--server", address)...)
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(got), command)
	}
}

func TestTuneOutputs(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,a,s\n2024-01-01T00:00:00Z,0,on\n2024-01-01T00:00:01Z,1,on\n2024-01-01T00:00:02Z,0,off\n"))
	ask := func(flags ...string) string {
		return varve(t, append([]string{"tune", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02"}, flags...)...)
	}
	var row struct {
		Tag       string
		Kept      int
		Worst     *float64 `json:"worst_error"`
		Crossings []struct {
			Limit    float64
			Measured string
			Filtered *string
		} `json:"crossing_list"`
		Times []string `json:"kept_times"`
	}
	require.NoError(t, json.Unmarshal([]byte(ask("--deviation", "1", "--limit", "0.5", "--with-kept", "-o", "json", "a")), &row))
	require.Equal(t, 2, row.Kept)
	require.Len(t, row.Crossings, 2)
	require.Equal(t, "2024-01-01T00:00:00.5Z", row.Crossings[0].Measured)
	require.Nil(t, row.Crossings[0].Filtered)
	require.Equal(t, []string{"2024-01-01T00:00:00Z", "2024-01-01T00:00:02Z"}, row.Times)
	require.NoError(t, json.Unmarshal([]byte(ask("--deviation", "1", "-o", "json", "s")), &row))
	require.Nil(t, row.Worst)
	rows := strings.Split(strings.TrimSpace(ask("--deviation", "0,1", "-o", "csv", "*")), "\n")
	require.Len(t, rows, 5)
	require.Regexp(t, `^s,1,0,0.6666666666666666,,,,3,3,2,`, rows[4])

	for says, flags := range map[string][]string{
		"at least one":           {"a"},
		"strict or textbook":     {"--deviation", "1", "--form", "loose", "a"},
		"needs --output json":    {"--deviation", "1", "--with-kept", "a"},
		"--min-time":             {"--deviation", "1", "--min-time", "1s", "a"},
		"must be finite and not": {"--deviation", "-1", "a"},
		"set one, or give the":   {"--deviation", "1", "--percent-of-span", "a"},
		"must be one of table,":  {"--deviation", "1", "-o", "arrow", "a"},
	} {
		_, got := fails(t, append([]string{"tune", "--server", address}, flags...)...)
		require.Contains(t, got, says)
	}
}
