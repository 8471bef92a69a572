package main

import (
	"os"
	"path/filepath"
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
	require.Equal(t, 6, asked)
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

// TestStoredCalculations: they are read like tags and never written, over restarts and backups.
func TestStoredCalculations(t *testing.T) {
	data, backups := filepath.Join(t.TempDir(), "data"), t.TempDir()
	address, stop := serveInProcess(t, data)
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,a,on\n2024-01-01T00:00:00Z,1,true\n2024-01-01T00:10:00Z,3,true\n"))
	require.Equal(t, "twice version 1 from min\n", varve(t, "calculations", "put", "--server", address, "twice", "a * 2"))
	require.Equal(t, "twice version 2 from 2024-01-01T00:05:00Z\n",
		varve(t, "calculations", "put", "--server", address, "twice", "a +\n  a + 0", "--from", "2024-01-01T00:05:00Z"))
	require.Equal(t, "name   version  from                  expression\ntwice  2        2024-01-01T00:05:00Z  a + a + 0\n",
		varve(t, "calculations", "list", "--server", address))
	require.Regexp(t, `^\{"name":"twice","version":1,"from":"min","stored":"20[^"]*Z","expression":"a \* 2"\}\n\{"name":"twice","version":2,`,
		varve(t, "calculations", "show", "--server", address, "-o", "json", "twice"))

	query := []string{"query", "--start", "2024-01-01", "--end", "2024-01-01T00:20:00Z", "-o", "csv", "twice", "a"}
	want := "time,tag,value,quality\n2024-01-01T00:00:00Z,twice,2,Good\n2024-01-01T00:10:00Z,twice,6,Good\n" +
		"2024-01-01T00:00:00Z,a,1,Good\n2024-01-01T00:10:00Z,a,3,Good\n"
	require.Equal(t, want, varve(t, append(query, "--server", address)...))
	require.Contains(t, varve(t, append(query, "--server", address, "--every", "10m", "--aggregate", "time_weighted_average")...), "2024-01-01T00:00:00Z,twice,4,Good")
	require.Contains(t, varve(t, "query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-01T00:20:00Z", "--plot", "twice"), "twice")

	for says, args := range map[string][]string{
		"name of a stored calculation":         {"tags", "create", "--type", "float64", "twice"},
		"is the name of a stored calculation":  {"tags", "rename", "a", "twice"},
		"stored calculation":                   {"import", writeFile(t, "y.csv", "time,twice\n2024-01-01T00:00:00Z,1\n")},
		"had, this name":                       {"calculations", "put", "a", "on"},
		"line 1, column 4: a value is missing": {"calculations", "put", "other", "a + "},
		"of another type before":               {"calculations", "put", "twice", "a > 1"},
		`tag "twice": tag not found`:           {"calculations", "put", "other", "twice + 1"},
		`calculation "other" version 0`:        {"calculations", "show", "other"},
		`no tag "other"`:                       {"query", "--start", "2024-01-01", "other"},
		"this question is about those":         {"query", "--start", "2024-01-01", "--modified", "twice"},
		"give a name and an expression":        {"calculations", "put", "other"},
	} {
		_, got := fails(t, append(args, "--server", address)...)
		require.Contains(t, got, says, args)
	}

	stop()
	address, _ = serveInProcess(t, data, "--checkpoint-dir", filepath.Join(filepath.Dir(data), "checkpoints"))
	require.Equal(t, want, varve(t, append(query, "--server", address)...), "after a restart")
	varve(t, "backup", "--server", address, "--to", backups)
	restored := filepath.Join(t.TempDir(), "restored")
	varve(t, "restore", "--from", backups, "--to", restored)
	address, _ = serveInProcess(t, restored)
	require.Equal(t, want, varve(t, append(query, "--server", address)...), "restored")
}
