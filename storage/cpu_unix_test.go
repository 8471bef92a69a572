//go:build unix

package storage

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// cpuSeconds is what this process has taken of the processors so far.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
