package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTagsThatChangePage runs the session of docs/reference/type-epochs.md. What an update prints is left out there.
func TestTagsThatChangePage(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	commands, prints := commandsOf(t, "../../docs/reference/type-epochs.md")
	require.NotEmpty(t, commands)
	blank := func(text string) string {
		return someTime.ReplaceAllStringFunc(someID.ReplaceAllString(text, "ID"), func(at string) string {
			if strings.HasPrefix(at, "2026-03") {
				return at
			}
			return "AT"
		})
	}
	for i, args := range commands {
		args = append(args, "--server", address)
		var says string
		if strings.HasPrefix(prints[i], "varve: ") {
			_, says = fails(t, args...)
		} else {
			says = varve(t, args...)
		}
		if strings.TrimSpace(prints[i]) != "…" {
			require.Equal(t, blank(prints[i]), blank(says), args)
		}
	}
}
