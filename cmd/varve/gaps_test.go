package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sessionsOf is commandsOf of all sessions of a page, one behind the other.
func sessionsOf(t *testing.T, page string) (commands [][]string, prints []string) {
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	parts := strings.Split(string(b), "```session\n")
	for _, part := range parts[1:] {
		block, _, _ := strings.Cut(part, "```")
		c, p := commandsOf(t, writeFile(t, "session.md", "```session\n"+block+"```"))
		commands, prints = append(commands, c...), append(prints, p...)
	}
	return commands, prints
}

// TestGapsPage runs the sessions of docs/reference/gaps.md. Times of ingest are others each time.
func TestGapsPage(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv",
		"time,FI-101\n2026-03-01T10:00:00Z,10\n2026-03-01T10:01:00Z,20\n2026-03-01T10:02:00Z,30\n2026-03-01T10:05:00Z,60\n2026-03-01T10:06:00Z,70\n"))
	late := writeFile(t, "FI-101.csv", "time,FI-101\n2026-03-01T10:03:00Z,40\n")
	commands, prints := sessionsOf(t, "../../docs/reference/gaps.md")
	require.NotEmpty(t, commands)
	blank := func(text string) string {
		return someTime.ReplaceAllStringFunc(text, func(at string) string {
			if strings.HasPrefix(at, "2026-03") {
				return at
			}
			return "AT"
		})
	}
	for i, args := range commands {
		if args[0] == "import" {
			varve(t, "import", "--server", address, late)
			continue
		}
		require.Equal(t, blank(prints[i]), blank(varve(t, append(args, "--server", address)...)), args)
	}
}

// What is said of gaps outlasts a restart; it is shown as table, csv and json.
func TestGaps(t *testing.T) {
	dir := t.TempDir()
	address, stop := serveInProcess(t, dir)
	at := func(args ...string) []string { return append(append([]string{"gaps"}, args...), "--server", address) }
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f,g\n2024-01-01T00:00:00Z,1,5\n2024-01-02T00:00:00Z,2,6\n"))
	var made struct{ ID, Recorded uint64 }
	require.NoError(t, json.Unmarshal([]byte(varve(t, at("add", "--author", "ann", "--kind", "lost", "--start", "2024-01-01T06:00:00Z", "--source", "plc, 7", "--output", "json", "f", "g")...)), &made))
	require.Equal(t, uint64(2), made.Recorded)
	require.Contains(t, varve(t, at("add", "--author", "ann", "--kind", "lost", "--start", "2024-01-01T06:00:00Z", "--source", "plc, 7", "*")...), "recorded 0")
	require.Equal(t, "ended 0\n", varve(t, at("end", "--author", "lee", "--source", "plc", "f")...))
	require.Equal(t, "ended 1\n", varve(t, at("end", "--author", "lee", "--end", "2024-01-01T08:00:00Z", "--reason", "mended", "f")...))
	stop()
	address, _ = serveInProcess(t, dir)
	list := varve(t, at("list", "--output", "json", "*")...)
	var gaps []gapJSON
	for line := range strings.Lines(list) {
		var g gapJSON
		require.NoError(t, json.Unmarshal([]byte(line), &g))
		gaps = append(gaps, g)
	}
	require.Len(t, gaps, 2)
	require.Equal(t, []string{"f", "2024-01-01T08:00:00Z", "lee", "mended", "plc, 7"}, []string{gaps[0].Tag, gaps[0].End, gaps[0].ChangedBy, gaps[0].ChangedReason, gaps[0].Source})
	require.Equal(t, []string{"g", "", "", "lost"}, []string{gaps[1].Tag, gaps[1].End, gaps[1].ChangedBy, gaps[1].Kind})
	id := strconv.FormatUint(gaps[0].ID, 10)
	table := varve(t, at("list", "--start", "2024-01-01T09:00:00Z", "*")...)
	require.Contains(t, table, "open")
	require.NotContains(t, table, "mended")
	rows := func(output string) string {
		return varve(t, "query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-03", "--gaps", "--output", output, "g")
	}
	require.Contains(t, rows("csv"), "2024-01-01T06:00:00Z,g,,BadDataLost,lost,\n")
	require.Contains(t, rows("json"), `"quality":"BadDataLost","gap":"lost","gap_end":null}`)
	require.Contains(t, rows("json"), `"quality":"Good","gap":null,"gap_end":null}`)
	require.Contains(t, rows("table"), "GAP END")
	require.Contains(t, varve(t, "explain", "--server", address, "--aggregate", "time_weighted_average", "--start", "2024-01-01", "--end", "2024-01-02", "f"), "are missing: lost")
	require.Equal(t, "withdrawn 1\n", varve(t, at("withdraw", id, "g")...))
	require.Equal(t, "withdrawn\n1\n", varve(t, at("withdraw", "--output", "csv", id)...))
	_, why := fails(t, at("withdraw", id)...)
	require.Contains(t, why, "no gap stands")
	require.NotContains(t, varve(t, at("list", "*")...), "lost")
	require.Equal(t, 2, strings.Count(varve(t, at("list", "--withdrawn", "--output", "csv", "*")...), "withdrawn,"))
	for text, args := range map[string][]string{
		"must be one of":     {"gaps", "add", "--kind", "x", "--start", "now", "a"},
		"--start is require": {"gaps", "add", "--kind", "lost", "a"},
		"must be later":      {"gaps", "add", "--kind", "lost", "--start", "2024-01-02", "--end", "2024-01-02", "a"},
		"no tag to list":     {"gaps", "list"},
		"must be an id":      {"gaps", "withdraw", "x"},
		"count samples":      {"query", "--gaps", "--limit", "5", "a"},
	} {
		_, why := fails(t, args...)
		require.Contains(t, why, text)
	}
}
