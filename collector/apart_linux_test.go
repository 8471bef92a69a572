package collector

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/cputime"
)

func init() {
	wildDeeds["load"] = func(_ *wildSource, ctx context.Context, out Sink) error {
		readings := make([]Reading, 5000)
		for i := range readings {
			readings[i] = Reading{Address: fmt.Sprintf("ns=2;s=Area%d.T%d.PV", i%10, i), HasTime: true, Value: Float64(0)}
		}
		for n := 0; ctx.Err() == nil; n += 1000 {
			part := readings[n%5000 : n%5000+1000]
			for i := range part {
				part[i].Time, part[i].Value = int64(n), Float64(float64(n))
			}
			if err := out.Put(ctx, part); err != nil {
				return err
			}
		}
		return nil
	}
	wildDeeds["listen"] = func(s *wildSource, ctx context.Context, _ Sink) error {
		l, err := net.Listen("unix", filepath.Join(s.env.Dir, "socket"))
		if err != nil {
			return err
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			_ = c.Close()
		}
	}
}

// A process that does nothing any more, not even end, is ended.
func TestApartSourceIsStopped(t *testing.T) {
	out := newPlainOutlet()
	_, _, log, end := apartRig(t, "hang first", out, 2*time.Second)
	comes(t, out, "one.pid", 1)
	pid := int(out.of("one.pid")[0].Bits)
	require.NotEqual(t, os.Getpid(), pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.NoError(t, end())
	require.Contains(t, log.String(), "it did not end within 1.5s")
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the process is gone, and nothing waits for it")
}

// runCollectorToKill collects from a source that listens on a socket in dir until it is killed. The file of the program is gone by then, as it is
// after an update.
func runCollectorToKill(dir string) {
	if err := os.Remove(os.Args[0]); err != nil {
		panic(err)
	}
	c, err := ParseConfig("c.yaml", []byte("collector: plant\ndestinations: [{address: '127.0.0.1:7420'}]\nqueue: {dir: "+dir+"}\nsources:\n  - {name: w, type: wild, settings: {do: listen first}}\n"), wildKinds(true))
	if err != nil {
		panic(err)
	}
	k, err := New(c, Options{Outlet: newPlainOutlet(), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		panic(err)
	}
	panic(k.Run(background))
}

// The process of a source does not outlive a collector that was killed.
func TestApartDiesWithTheCollector(t *testing.T) {
	dir, err := os.MkdirTemp("", "varve") // a socket's name must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	program, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "program"), program, 0o755))
	var said lockedBuffer
	collector := exec.Command(filepath.Join(dir, "program"), collectorToKill, dir)
	collector.Stderr = &said
	require.NoError(t, collector.Start())
	listens := func() bool {
		c, err := net.Dial("unix", filepath.Join(dir, "sources", "w", "socket"))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}
	require.Eventually(t, listens, time.Minute, 10*time.Millisecond, "%s", &said)
	require.True(t, strings.Contains(said.String(), "the source has a process of its own"))
	require.NoError(t, collector.Process.Kill())
	require.Error(t, collector.Wait())
	require.Eventually(t, func() bool { return !listens() }, time.Minute, 10*time.Millisecond)
}

// countingSink counts readings until there are enough.
type countingSink struct {
	hearingSink
	left   int
	enough func()
}

func (c *countingSink) Put(_ context.Context, readings []Reading) error {
	if c.left -= len(readings); c.left <= 0 {
		c.enough()
	}
	return nil
}

// BenchmarkApart is readings of a source in a process of its own, in batches of 1,000, up to the Sink. The time of processors is that of both.
func BenchmarkApart(b *testing.B) {
	c := wildConfig(b, true, b.TempDir(), "{name: w, type: wild, settings: {do: load}}")
	ctx, cancel := context.WithCancel(background)
	out := &countingSink{left: b.N, enough: cancel}
	before := cputime.Used(b)
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, runWild(ctx, b, c, out, discard))
	n := float64(b.N - out.left)
	b.ReportMetric(n/b.Elapsed().Seconds(), "readings/s")
	b.ReportMetric(float64(cputime.Used(b)-before)/n, "cpu-ns/reading")
	b.ReportMetric(0, "ns/op")
}
