package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExpressionsAsThePageShowsThem imports the samples of the page and asks its questions.
func TestExpressionsAsThePageShowsThem(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/expressions.md")
	require.NoError(t, err)
	address, _ := serveInProcess(t, t.TempDir())
	asked := 0
	for i, block := range strings.Split(string(page), "```") {
		block = strings.TrimPrefix(block, "csv")
		if i%2 == 0 {
			continue
		}
		if strings.HasPrefix(block, "\ntime,") {
			varve(t, "import", "--server", address, writeFile(t, "x.csv", block[1:]))
		}
		question, want, ok := strings.Cut(strings.TrimPrefix(block, "\n$ varve "), "\n")
		if !strings.HasPrefix(block, "\n$ ") || !ok {
			continue
		}
		asked++
		require.Equal(t, want, varve(t, append(words(question), "--server", address)...), question)
	}
	require.Equal(t, 2, asked)
}

func TestExpressionsThatAreRefused(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,a,on\n2024-01-01T00:00:00Z,1,true\n"))
	for says, flags := range map[string][]string{
		"line 1, column 4: a value is missing":     {"--expression", "a + "},
		"+ takes a number here, not a bool":        {"--expression", "a + on"},
		`tag "b"`:                                  {"--expression", "a + b"},
		"names no tag":                             {"--expression", "1"},
		"goes with none of --plot, --modified and": {"--expression", "a", "--modified"},
		"no tag to query":                          {},
	} {
		_, got := fails(t, append([]string{"query", "--server", address, "--start", "2024-01-01"}, flags...)...)
		require.Contains(t, got, says)
	}
}
