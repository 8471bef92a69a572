package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/forward"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// carrier carries files from a spool to where they are received, as whoever runs a diode does.
type carrier struct {
	t        testing.TB
	from, to string
	rng      *rand.Rand
	site     *served
	lost     int
}

func (c *carrier) files(dir string) (out []string) {
	all, err := filepath.Glob(filepath.Join(dir, "*.varve"))
	require.NoError(c.t, err)
	slices.Sort(all)
	return all
}

// carry carries what is there, in any order; each file is lost, or not carried yet, at times.
func (c *carrier) carry(lose, leave int) {
	files := c.files(c.from)
	c.rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	for _, f := range files {
		switch {
		case lose > 0 && c.rng.IntN(lose) == 0:
			require.NoError(c.t, os.Remove(f))
			c.lost++
		case leave > 0 && c.rng.IntN(leave) == 0:
		default:
			b, err := os.ReadFile(f)
			require.NoError(c.t, err)
			to := filepath.Join(c.to, filepath.Base(f))
			if c.rng.IntN(4) == 0 { // some of it is there before the rest
				require.NoError(c.t, os.WriteFile(to, b[:c.rng.IntN(len(b))], 0o644))
				continue
			}
			require.NoError(c.t, os.WriteFile(to, b, 0o644))
			require.NoError(c.t, os.Remove(f))
		}
	}
}

func spoolConfig(t testing.TB, edge *served, dir string) string {
	return fmt.Sprintf("source: edge1\ndir: %s\nfrom: {address: %s}\nspool: {dir: %s}\nlinger: 10ms\ngaps_every: 200ms\nhealth: {off: true}\nnames: {prefix: E.}\n", t.TempDir(), edge.wire.address(), dir)
}

func (s *served) receive(in string, flags ...string) {
	varve(s.t, append([]string{"receive", "--once", "--dir", in, "--server", s.at, "--log-level", "error"}, flags...)...)
}

// spool begins to forward into a spool, whose files are carried.
func (x *trial) spool(more string) *carrier {
	c := &carrier{t: x.load.t, from: x.load.t.TempDir(), to: x.load.t.TempDir(), rng: x.rng, site: x.site}
	x.forward(spoolConfig(x.load.t, x.edge, c.from) + more)
	return c
}

// spoolName is the name at the site of what comes over a spool.
func spoolName(name string) string { return "E." + name }

// deliver carries files and has the site receive them.
func (c *carrier) deliver(leave int) {
	c.carry(0, leave)
	c.site.receive(c.to)
}

// keepDelivering does so until the function that it returns is called.
func (c *carrier) keepDelivering() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
				c.deliver(5)
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// TestSpool carries files of a spool in any order, while edge, forwarder and site stop and start between. In the end the other side holds what the edge holds.
func TestSpool(t *testing.T) {
	bySeeds(t, 1, func(t *testing.T, seed uint64) {
		x := newTrial(t, seed)
		c := x.spool("")
		carry := func() { c.deliver(3) }
		x.run(80, 7, x.edge.restart, x.restart, x.site.restart, carry, carry)
		stop := c.keepDelivering()
		requireForwarded(t, x.edge, x.site, spoolName)
		stop()
		x.load.requireModel(x.site.client(), spoolName)
		require.NotContains(t, varve(t, "receive", "status", "--dir", c.to), "missing from", "nothing was lost")
	})
}

// TestSpoolTellsWhatNeverCame: files that were lost are named once the receiver gives them up, and what comes behind them is stored.
func TestSpoolTellsWhatNeverCame(t *testing.T) {
	edge, site := newServed(t), newServed(t)
	out, in := t.TempDir(), t.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	load := newForwardLoad(t, rng, edge.client)
	f := newForwarding(t, spoolConfig(t, edge, out))
	f.start()
	c := &carrier{t: t, from: out, to: in, rng: rng}
	for n := 1; n <= 5; n++ {
		before := len(c.files(out))
		load.write(floatRun("A", (1_772_344_800+int64(n))*1e9, float64(n)))
		eventually(t, "a file", func() bool { return len(c.files(out)) > before })
		for n := 0; n < len(c.files(out)); time.Sleep(300 * time.Millisecond) { // the first sample may come of the archive too
			n = len(c.files(out))
		}
	}
	f.stop()
	files := c.files(out)
	require.GreaterOrEqual(t, len(files), 5)
	lost := files[len(files)-3]
	b, err := os.ReadFile(files[len(files)-1])
	require.NoError(t, err)
	require.NoError(t, os.Remove(lost))
	for _, x := range c.files(out) {
		require.NoError(t, os.Rename(x, filepath.Join(in, filepath.Base(x))))
	}
	site.receive(in)
	require.Len(t, c.files(in), 2, "two wait for the one that is lost")
	status := func() *forward.Stream {
		var s forward.Stream
		require.NoError(t, json.Unmarshal([]byte(varve(t, "receive", "status", "--dir", in, "--output", "json")), &s))
		return &s
	}
	require.EqualValues(t, 2, status().Waiting)
	require.Empty(t, status().Missing)
	for len(c.files(in)) > 0 {
		site.receiveFor(in, 3*time.Second)
	}
	s := status()
	require.Len(t, s.Missing, 1)
	require.Equal(t, s.Missing[0].First, s.Missing[0].Last)
	require.Contains(t, lost, fmt.Sprintf("%020d", s.Missing[0].First))
	require.Less(t, s.Missing[0].AfterNs, s.Missing[0].BeforeNs)
	require.Contains(t, varve(t, "receive", "status", "--dir", in), fmt.Sprintf("files %d to %d", s.Missing[0].First, s.Missing[0].Last))
	values := stored(t, site.at, "E.A")
	require.Len(t, values, 4, "all but what was lost: %v", values)
	require.Contains(t, strings.Join(stored(t, site.at, "receive.edge1.missing"), "\n"), " 1 Good", "a health tag says so")

	// What was lost comes late, and a file once more: neither changes anything.
	require.NoError(t, os.WriteFile(filepath.Join(in, filepath.Base(files[len(files)-1])), b, 0o644))
	site.receive(in)
	require.Empty(t, c.files(in))
	require.Equal(t, values, stored(t, site.at, "E.A"))

	// A file that was changed on the way is no file.
	damaged := bytes.Clone(b)
	damaged[len(damaged)/2] ^= 1
	name := strings.Replace(filepath.Base(files[len(files)-1]), fmt.Sprintf("%020d", s.Next-1), fmt.Sprintf("%020d", s.Next), 1)
	require.NoError(t, os.WriteFile(filepath.Join(in, name), damaged, 0o644))
	site.receive(in)
	require.Len(t, c.files(in), 1, "it may still be copied")
	require.Equal(t, values, stored(t, site.at, "E.A"))
}

// TestSpoolBeginsAnew: a stream of everything takes the place of the one before, whose files do not bring older values back.
func TestSpoolBeginsAnew(t *testing.T) {
	const base = int64(1_772_344_800e9)
	edge, site := newServed(t), newServed(t)
	out, in := t.TempDir(), t.TempDir()
	c := &carrier{t: t, from: out, to: in}
	load := newForwardLoad(t, rand.New(rand.NewPCG(5, 5)), edge.client)
	load.write(floatRun("A", base, 1, 2, 3))
	f := newForwarding(t, spoolConfig(t, edge, out))
	f.start()
	eventually(t, "a file", func() bool { return len(c.files(out)) > 0 })
	f.stop()
	old := c.files(out)
	_, err := edge.client().ingest.Edit(t.Context(), &varvev1.EditRequest{Author: "mara", Reason: "lab value", Runs: []*varvev1.Run{floatRun("A", base, 7)}})
	require.NoError(t, err)
	dir, _, _ := strings.Cut(strings.Split(string(must(os.ReadFile(f.config))), "dir: ")[1], "\n")
	require.NoError(t, os.Remove(filepath.Join(dir, "place")))
	f.start()
	eventually(t, "files of another stream", func() bool { return len(c.files(out)) > len(old) })
	f.stop()
	carry := func(of func(string) bool) {
		for _, x := range c.files(out) {
			if of(x) {
				require.NoError(t, os.Rename(x, filepath.Join(in, filepath.Base(x))))
			}
		}
		site.receive(in)
	}
	carry(func(x string) bool { return !slices.Contains(old, x) })
	want := []string{"2026-03-01T06:00:00Z 7 Good", "2026-03-01T06:00:01Z 2 Good", "2026-03-01T06:00:02Z 3 Good"}
	require.Equal(t, want, stored(t, site.at, "E.A"))
	carry(func(x string) bool { return slices.Contains(old, x) })
	require.Equal(t, want, stored(t, site.at, "E.A"))
	require.Empty(t, c.files(in))
	require.Contains(t, varve(t, "receive", "status", "--dir", in, "--output", "json"), "superseded")
}

// TestSpoolIsBounded: the oldest files go, and that is counted.
func TestSpoolIsBounded(t *testing.T) {
	edge := newServed(t)
	out := t.TempDir()
	rng := rand.New(rand.NewPCG(2, 2))
	load := newForwardLoad(t, rng, edge.client)
	f := newForwarding(t, strings.Replace(spoolConfig(t, edge, out), "spool: {dir: "+out+"}", "spool: {dir: "+out+", max_bytes: 1MiB}", 1))
	f.start()
	for n := range 40 {
		run := floatRun("A", int64(n)*1e12)
		for range 10_000 {
			run.TimesNs, run.Float64 = append(run.TimesNs, int64(n)*1e12+int64(len(run.TimesNs))*1e6), append(run.Float64, rng.Float64())
		}
		load.write(run)
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "removed files are told", func() bool { return strings.Contains(f.says.String(), "a file of the spool was removed") })
	f.stop()
	size := int64(0)
	for _, x := range (&carrier{t: t}).files(out) {
		st, err := os.Stat(x)
		require.NoError(t, err)
		size += st.Size()
	}
	require.LessOrEqual(t, size, int64(1<<20))
}

// receiveFor receives for a while, with little patience.
func (s *served) receiveFor(in string, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var says lockedLines
	require.Zero(s.t, run(ctx, []string{"receive", "--dir", in, "--server", s.at, "--patience", "100ms"}, &says, &says), says.String())
}
