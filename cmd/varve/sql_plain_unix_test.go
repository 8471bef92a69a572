//go:build unix

package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPreparedPlainStatementsAskNoProcess: a plain statement that is prepared has answers while the SQL process stands still.
func TestPreparedPlainStatementsAskNoProcess(t *testing.T) {
	address, _ := plainStore(t)
	c, ask := flightSQL(t, address)
	p, err := c.Prepare(t.Context(), "select tag, time_ns from samples where tag = $1 and time >= $2 limit 3")
	require.NoError(t, err)
	process := childrenOf(t, os.Getpid(), "varve-sql")[0]
	require.NoError(t, syscall.Kill(process, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(process, syscall.SIGCONT) }()
	for _, x := range []struct {
		tag    string
		micros int64
		want   [][]string
	}{
		{"old", -1, [][]string{{"old", "-1000"}, {"old", "-999"}, {"old", "-1"}}},
		{"old", 0, [][]string{{"old", "0"}}},
		{"nobody", 0, nil},
	} {
		p.SetParameters(rowOf([]any{x.tag, time.UnixMicro(x.micros)}))
		info, err := p.Execute(t.Context())
		require.NoError(t, err)
		rows, err := rowsOf(t.Context(), c, info)
		require.NoError(t, err)
		require.Equal(t, x.want, rows)
	}
	require.NoError(t, syscall.Kill(process, syscall.SIGCONT))
	require.Equal(t, [][]string{{"7"}}, ask("select count(*) from samples where tag = $1", "old"))
}
