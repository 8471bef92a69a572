package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// commandsOf is the commands of a page's session block, each with what it prints.
func commandsOf(t *testing.T, page string) (commands [][]string, prints []string) {
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(b), "```session\n")
	require.True(t, ok, "%s has no session", page)
	block, _, _ = strings.Cut(block, "```")
	for line := range strings.Lines(block) {
		if command, ok := strings.CutPrefix(line, "$ varve "); ok {
			var args []string
			for i, part := range strings.Split(strings.TrimSpace(command), "'") { // every other part is quoted
				if i%2 == 1 {
					args = append(args, part)
				} else {
					args = append(args, strings.Fields(part)...)
				}
			}
			commands, prints = append(commands, args), append(prints, "")
			continue
		}
		prints[len(prints)-1] += line
	}
	return commands, prints
}

var (
	someID   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	someTime = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z`)
)

// TestAnnotationsPage runs the session of docs/reference/annotations.md. Ids and times of ingest are others each time.
func TestAnnotationsPage(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,FI-101\n2026-03-01T10:04:00Z,5\n2026-03-01T10:05:00Z,6\n"))
	commands, prints := commandsOf(t, "../../docs/reference/annotations.md")
	require.NotEmpty(t, commands)
	ids := map[string]string{} // of the page and of this run
	for i, args := range commands {
		for k := range args {
			args[k] = someID.ReplaceAllStringFunc(args[k], func(id string) string { return ids[id] })
		}
		says := varve(t, append(args, "--server", address)...)
		said, told := someID.FindAllString(prints[i], -1), someID.FindAllString(says, -1)
		require.Equal(t, len(said), len(told), "%s\n%s", args, says)
		for k := range said {
			require.Contains(t, []string{"", told[k]}, ids[said[k]])
			ids[said[k]] = told[k]
		}
		blank := func(text string) string {
			return someTime.ReplaceAllStringFunc(someID.ReplaceAllString(text, "ID"), func(at string) string {
				if strings.HasPrefix(at, "2026-03") {
					return at
				}
				return "AT"
			})
		}
		require.Equal(t, blank(prints[i]), blank(says), args)
	}
}

// What an annotation says outlasts a restart, as does what it said; it is shown as table, csv and json.
func TestAnnotations(t *testing.T) {
	dir := t.TempDir()
	address, stop := serveInProcess(t, dir)
	at := func(args ...string) []string {
		return append(append([]string{"annotate"}, args...), "--server", address)
	}
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f,g\n2024-01-01T00:00:00Z,1,5\n"))
	read := func(says string) (out []annotationJSON) {
		for line := range strings.Lines(says) {
			var a annotationJSON
			require.NoError(t, json.Unmarshal([]byte(line), &a))
			out = append(out, a)
		}
		return out
	}
	made := read(varve(t, at("add", "--author", "ann", "--start", "2024-01-01", "--stop", "2024-01-02", "--text", "a \"b\",\nc", "--output", "json", "f")...))
	require.Equal(t, []string{"f", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "a \"b\",\nc", "ann"}, []string{made[0].Tag, made[0].Start, made[0].Stop, made[0].Text, made[0].Author})
	varve(t, at("add", "--author", "ann", "--text", "of the tag", "g")...)
	require.Contains(t, varve(t, at("edit", "--author", "lee", "--text", "other", made[0].ID)...), `"lee"`)
	require.Contains(t, varve(t, at("remove", "--author", "lee", made[0].ID)...), "(removed)")
	stop()
	address, _ = serveInProcess(t, dir)
	require.Equal(t, []string{"of the tag"}, texts(read(varve(t, at("list", "--start", "2025-01-01", "--output", "json", "*")...))))
	all := read(varve(t, at("list", "--history", "--output", "json", "*")...))
	require.Equal(t, []string{"", "of the tag"}, texts(all))
	require.Len(t, all[0].History, 3)
	require.Equal(t, []string{"a \"b\",\nc", "other", ""}, []string{all[0].History[0].Text, all[0].History[1].Text, all[0].History[2].Text})
	require.Equal(t, 3, strings.Count(varve(t, at("list", "--history", "--output", "csv", "*")...), made[0].ID))
	require.Contains(t, varve(t, at("list", "g")...), `"of the tag"`)
	_, why := fails(t, at("edit", "--text", "again", made[0].ID)...)
	require.Contains(t, why, "no annotation stands")
	_, why = fails(t, at("add", "--text", strings.Repeat("x", 4097), "f")...)
	require.Contains(t, why, "most is 4096")
}

func texts(list []annotationJSON) (out []string) {
	for _, a := range list {
		out = append(out, a.Text)
	}
	return out
}
