// Package golden reads the worked examples of the format pages, so that a test can hold page and code against each other.
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
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	out := map[string][]byte{}
	name := ""
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```hex "):
			name = strings.TrimPrefix(line, "```hex ")
			out[name] = []byte{}
		case line == "```":
			name = ""
		case name != "":
			digits, _, _ := strings.Cut(line, ";")
			b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
			require.NoError(t, err, "%s line %d", page, i+1)
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
