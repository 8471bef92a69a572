package sqlchild

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Much that is written takes the first processor from the process; when it is over the process gets it back.
func TestProcessStepsAside(t *testing.T) {
	var all unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	if all.Count() < 2 {
		t.Skip("one processor: there is none to step aside to")
	}
	p := &process{cmd: exec.Command("sleep", "60"), ended: make(chan struct{})}
	require.NoError(t, p.cmd.Start())
	var much atomic.Bool
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		n := uint64(0)
		p.watch(1<<30, func() uint64 {
			if much.Load() {
				n += 1_000_000
			}
			return n
		})
	}()
	defer func() {
		close(p.ended)
		<-watched
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}()
	processors := func() int {
		var set unix.CPUSet
		require.NoError(t, unix.SchedGetaffinity(p.pid(), &set))
		return set.Count()
	}
	for _, m := range []bool{true, false} {
		much.Store(m)
		want := all.Count()
		if m {
			want--
		}
		require.Eventually(t, func() bool { return processors() == want }, 30*time.Second, 10*time.Millisecond)
	}
}

// A process that needs longer to start than a statement has time is not started anew for each: it is there for one that is asked later.
func TestImpatientStatementsKillNoProcess(t *testing.T) {
	dir := t.TempDir()
	binary, starts := filepath.Join(dir, "slow"), filepath.Join(dir, "starts")
	require.NoError(t, os.WriteFile(binary, fmt.Appendf(nil, "#!/bin/sh\necho >> %s\nexec sleep 60\n", starts), 0o755))
	r, err := New(Options{Binary: binary, TempDir: filepath.Join(dir, "temp"), Timeout: 20 * time.Millisecond}, nil)
	require.NoError(t, err)
	for range 10 {
		require.ErrorIs(t, r.with(t.Context(), "me", func(context.Context, *process) error { return nil }), ErrTimeout)
	}
	require.Eventually(t, func() bool { _, err := os.Stat(starts); return err == nil }, 20*time.Second, time.Millisecond)
	r.Close()
	b, err := os.ReadFile(starts)
	require.NoError(t, err)
	require.Equal(t, "\n", string(b), "it was started once")
}
