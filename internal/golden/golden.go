// Package golden reads the worked examples of pages, so that a test can hold page and code against each other.
package golden

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Blocks is the bytes of every fenced block of a page that begins with ```hex and a name. What follows a ; is a remark.
func Blocks(t testing.TB, page string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, lines := range fenced(t, page, "hex") {
		out[name] = []byte{}
		for _, l := range lines {
			digits, _, _ := strings.Cut(l.text, ";")
			b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
			require.NoError(t, err, "%s line %d", page, l.number)
			out[name] = append(out[name], b...)
		}
	}
	return out
}

// Block is one block of a page, which must have it.
func Block(t testing.TB, page, name string) []byte {
	t.Helper()
	b, ok := Blocks(t, page)[name]
	require.True(t, ok, "%s has no block %q", page, name)
	return b
}

// Table is the rows of the fenced block of a page that begins with ```table and name, which must be there, as words. What
// follows a ; is a remark.
func Table(t testing.TB, page, name string) [][]string {
	t.Helper()
	lines, ok := fenced(t, page, "table")[name]
	require.True(t, ok, "%s has no table %q", page, name)
	var rows [][]string
	for _, l := range lines {
		row, _, _ := strings.Cut(l.text, ";")
		if words := strings.Fields(row); len(words) > 0 {
			rows = append(rows, words)
		}
	}
	return rows
}

type line struct {
	number int
	text   string
}

// fenced is the lines of the fenced blocks of one kind, by name.
func fenced(t testing.TB, page, kind string) map[string][]line {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	out := map[string][]line{}
	name := ""
	for i, l := range strings.Split(string(text), "\n") {
		if after, ok := strings.CutPrefix(l, "```"+kind+" "); ok {
			name = after
			out[name] = nil
		} else if l == "```" {
			name = ""
		} else if name != "" {
			out[name] = append(out[name], line{i + 1, l})
		}
	}
	return out
}
