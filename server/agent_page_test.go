package server

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const agentsPage = "../docs/reference/agents.md"

// TestAgentsPage runs the examples of the page, as TestHTTPPage does.
func TestAgentsPage(t *testing.T) {
	s := startAgents(t, Options{})
	page, err := os.ReadFile(agentsPage)
	require.NoError(t, err)
	examples := 0
	for _, block := range strings.Split(string(page), "\n$ curl ")[1:] {
		command, want, _ := strings.Cut(block, "\n")
		want, _, _ = strings.Cut("\n"+want, "\n```")
		want, _, _ = strings.Cut(strings.TrimPrefix(want, "\n"), "\n\n")
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(s.curl(t, command)), command)
		examples++
	}
	require.Equal(t, 7, examples)
}
