package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const calendarsPage = "../../docs/reference/calendars.md"

// TestCalendarExamples runs the commands of the page in a folder that has the file it speaks of. Then it stores a version that is refused and
// one that is not, makes a backup, and asks the store made of it.
func TestCalendarExamples(t *testing.T) {
	text, err := os.ReadFile(calendarsPage)
	require.NoError(t, err)
	_, definition, ok := strings.Cut(string(text), "```json two-two-three\n")
	require.True(t, ok)
	definition, _, _ = strings.Cut(definition, "```")
	data, backups := filepath.Join(t.TempDir(), "data"), t.TempDir()
	address, stop := serveInProcess(t, data)
	table := writeFile(t, "x.csv", "time,PIECES\n2024-03-30T08:00:00+01:00,100\n2024-03-30T17:00:00+01:00,160\n2024-03-30T23:00:00+01:00,190\n")
	varve(t, "import", "--server", address, table)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("plant.json", []byte(definition), 0o600))
	var query []string
	for _, x := range strings.Split(string(text), "\n$ varve ")[1:] {
		command, rest, _ := strings.Cut(x, "\n")
		want, _, _ := strings.Cut(rest, "\n\n")
		want, _, _ = strings.Cut(want, "```")
		if query = words(command); query[0] == "query" {
			inFile := varve(t, append(words(strings.Replace(command, "--calendar plant", "--calendar plant.json", 1)), "--server", address)...)
			require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(inFile))
		}
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(varve(t, append(query, "--server", address)...)), command)
	}
	answer := varve(t, append(query, "--server", address)...)

	require.Equal(t, "plant version 1\n", varve(t, "calendars", "put", "--server", address, "plant", "plant.json"), "no other version")
	require.Regexp(t, `^name +version +stored +zone\nplant +1 +20\S+Z +Europe/Berlin\n$`, varve(t, "calendars", "list", "--server", address))
	require.Equal(t, strings.TrimSpace(definition)+"\n", varve(t, "calendars", "show", "--server", address, "plant"))
	require.NoError(t, os.WriteFile("wrong.json", []byte(`{"zone": "Europe/Berlin", "shift": []}`), 0o600))
	require.NoError(t, os.WriteFile("other.json", []byte(`{"zone": "UTC"}`), 0o600))
	for says, args := range map[string][]string{
		`unknown field "shift"`:                {"calendars", "put", "--server", address, "plant", "wrong.json"},
		"would be taken for a file":            {"calendars", "put", "--server", address, "a/b", "plant.json"},
		"no such calendar is stored":           {"query", "--server", address, "--every", "shift", "--calendar", "shifts", "--aggregate", "count", "PIECES"},
		`calendar "plant" version 9: not foun`: {"calendars", "show", "--server", address, "--version", "9", "plant"},
	} {
		_, got := fails(t, args...)
		require.Contains(t, got, says)
	}
	require.Equal(t, "plant version 2\n", varve(t, "calendars", "put", "--server", address, "plant", "other.json"))
	require.Equal(t, "{\"zone\": \"UTC\"}\n", varve(t, "calendars", "show", "--server", address, "plant"))
	_, says := fails(t, append(query, "--server", address)...)
	require.Contains(t, says, "shift", "the newest has none")
	require.Equal(t, "plant version 3\n", varve(t, "calendars", "put", "--server", address, "plant", "plant.json"))

	stop()
	address, _ = serveInProcess(t, data, "--checkpoint-dir", filepath.Join(filepath.Dir(data), "checkpoints"))
	require.Equal(t, answer, varve(t, append(query, "--server", address)...), "after a restart")
	varve(t, "backup", "--server", address, "--to", backups)
	restored := filepath.Join(t.TempDir(), "restored")
	varve(t, "restore", "--from", backups, "--to", restored)
	address, _ = serveInProcess(t, restored)
	require.Equal(t, answer, varve(t, append(query, "--server", address)...))
	require.Equal(t, "{\"zone\": \"UTC\"}\n", varve(t, "calendars", "show", "--server", address, "--version", "2", "plant"))
}
