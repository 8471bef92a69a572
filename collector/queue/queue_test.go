package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func TestAFullQueueThatBlocksWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{MaxBytes: 1 << 20})
		x.servers[0].setDown(true)
		for len(x.torn) == 0 {
			x.collect(100, 20) // gives up after a minute of waiting
		}
		require.LessOrEqual(t, x.q.Status().Bytes, int64(1<<20)+256<<10)
		x.servers[0].setDown(false)
		time.Sleep(time.Minute)
		x.collect(1, 1)
		x.drain()
		x.check(false)
		require.Zero(t, x.q.Status().Destinations[0].Dropped)
		x.stop()
	})
}

// A destination whose place cannot be read gets what the queue has once more, which changes nothing there.
func TestADamagedPlaceBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 2, 1, Options{})
		for range 50 {
			x.collect(3, 3)
		}
		x.drain()
		x.stop()
		f, err := x.fs.Create("queue/places/server-0", vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write([]byte("something else"))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		x.options.Rand = nil
		q, r, err := Open("queue", x.options)
		require.NoError(t, err)
		require.Len(t, r.Places, 1)
		require.ErrorIs(t, r.Places[0], errPlace)
		require.NoError(t, q.Close())
		x.start()
		x.collect(3, 3)
		x.drain()
		p := x.servers[0]
		for k, v := range x.put {
			require.Equal(t, v, p.values[k].float)
		}
		require.Len(t, p.values, len(x.put))
		x.stop()
	})
}

// copyTree copies a folder of a file system.
func copyTree(t *testing.T, from, to *vfs.MemFS, dir string) {
	require.NoError(t, to.MkdirAll(dir, 0o755))
	names, err := from.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		path := from.PathJoin(dir, name)
		info, err := from.Stat(path)
		require.NoError(t, err)
		if info.IsDir() {
			copyTree(t, from, to, path)
			continue
		}
		in, err := from.Open(path)
		require.NoError(t, err)
		b, err := io.ReadAll(in)
		require.NoError(t, errors.Join(err, in.Close()))
		out, err := to.Create(path, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = out.Write(b)
		require.NoError(t, errors.Join(err, out.Sync(), out.Close()))
	}
}

// A queue restored from an older copy would count again from where it was. It takes other sequences, and nothing is lost of what it has.
func TestARestoredQueueTakesOtherSequences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 3, 1, Options{})
		for range 20 {
			x.collect(3, 3)
		}
		x.drain()
		x.stop()
		old := vfs.NewCrashableMem()
		copyTree(t, x.fs, old, "queue")
		x.start()
		for range 30 {
			x.collect(3, 3)
		}
		x.drain()
		x.stop()
		x.fs = old
		x.start()
		for range 40 {
			x.collect(3, 3)
		}
		x.drain()
		p := x.servers[0]
		for k, v := range x.put {
			require.Equal(t, v, p.values[k].float, "%v", k)
		}
		x.stop()
	})
}

// Damage to the newest bytes takes records that nobody was told are on disk, or is reported.
func TestDamageToTheTailIsReported(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(b []byte) []byte
	}{
		{"cut", func(b []byte) []byte { return b[:len(b)-37] }},
		{"zeroed", func(b []byte) []byte { clear(b[len(b)-37:]); return b }},
		{"flipped", func(b []byte) []byte { b[len(b)-20] ^= 4; return b }},
	} {
		t.Run(damage.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, 4, 1, Options{})
				x.servers[0].setDown(true)
				for range 30 {
					x.collect(3, 3)
				}
				x.stop()
				names, err := x.fs.List("queue/samples")
				require.NoError(t, err)
				var newest string
				for _, n := range names {
					if strings.HasSuffix(n, ".log") && n > newest {
						newest = n
					}
				}
				require.NotEmpty(t, newest, "%v", names)
				rewrite(t, x.fs, "queue/samples/"+newest, damage.do)
				x.start()
				x.collect(3, 3)
				x.drain()
				st := x.q.Status().Destinations[0]
				p := x.servers[0]
				missing := 0
				for k := range x.put {
					if _, ok := p.values[k]; !ok {
						missing++
					}
				}
				require.EqualValues(t, 9, missing, "one record of nine samples")
				require.EqualValues(t, 1, st.Dropped, "it was acknowledged, so it is reported")
				x.stop()
			})
		})
	}
}

func rewrite(t *testing.T, fs *vfs.MemFS, path string, change func([]byte) []byte) {
	in, err := fs.Open(path)
	require.NoError(t, err)
	b, err := io.ReadAll(in)
	require.NoError(t, errors.Join(err, in.Close()))
	out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = out.Write(change(b))
	require.NoError(t, errors.Join(err, out.Sync(), out.Close()))
}

func TestOptionsAreLookedAt(t *testing.T) {
	p := newPlainServer()
	good := func() Options {
		return Options{FS: vfs.NewMem(), Source: "s", Destinations: []Destination{{Name: "a", Ingest: p}}}
	}
	for name, spoil := range map[string]func(*Options){
		"no source":      func(o *Options) { o.Source = "" },
		"long source":    func(o *Options) { o.Source = strings.Repeat("x", 241) },
		"no destination": func(o *Options) { o.Destinations = nil },
		"bad name":       func(o *Options) { o.Destinations[0].Name = "../a" },
		"twice":          func(o *Options) { o.Destinations = append(o.Destinations, o.Destinations[0]) },
		"small":          func(o *Options) { o.MaxBytes = 1000 },
	} {
		o := good()
		spoil(&o)
		_, _, err := Open("q", o)
		require.ErrorIs(t, err, ErrOptions, name)
	}
	q, _, err := Open("q", good())
	require.NoError(t, err)
	require.ErrorIs(t, q.Put(context.Background(), []*varvev1.Run{{Tag: "t", Text: []string{strings.Repeat("x", maxRunBytes)}}}), ErrTooLarge)
	require.NoError(t, q.Put(context.Background(), nil))
	require.NoError(t, q.Close())
	require.ErrorIs(t, q.Put(context.Background(), []*varvev1.Run{{Tag: "t"}}), ErrClosed)
}

// Gaps reach every destination in their order, also those of tags that one does not have.
func TestGapsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 5, 2, Options{})
		x.collect(2, 1)
		x.drain()
		x.servers[1].setDown(true)
		require.NoError(t, x.q.PutGap(t.Context(), Gap{Tags: []string{"tag-0", "nobody's", "tag-1"}, Kind: varvev1.GapKind_GAP_KIND_DEVICE_DOWN, Start: 5}))
		require.NoError(t, x.q.PutGap(t.Context(), Gap{Tags: []string{"tag-0"}, Ends: true, End: 9}))
		time.Sleep(time.Minute)
		x.crash()
		x.servers[1].setDown(false)
		time.Sleep(time.Minute)
		for i, p := range x.servers {
			p.mu.Lock()
			var told []string
			for _, g := range p.gaps {
				told = append(told, fmt.Sprint(g.Tags, g.Kind, g.StartNs, g.EndNs == nil))
			}
			require.Equal(t, []string{"[tag-0 tag-1] GAP_KIND_DEVICE_DOWN 5 true"}, told, "server %d", i)
			require.Equal(t, []string{"from 5", "to 9"}, p.told["tag-0"])
			p.mu.Unlock()
		}
		x.stop()
	})
}

// A batch that a server never takes does not hold up what is behind it, and is told as a gap.
func TestABatchThatIsTooLargeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 6, 1, Options{})
		p := x.servers[0]
		p.mu.Lock()
		p.breaks, p.maxMessage = nil, 64<<10
		p.mu.Unlock()
		x.stop()
		x.start()
		x.collect(1, 1)
		x.drain()
		n := 20_000
		large := &varvev1.Run{Tag: "tag-0", FirstTimeNs: 1000, StepNs: 1, Count: uint32(n), Float64: make([]float64, n)}
		require.NoError(t, x.q.Put(t.Context(), []*varvev1.Run{large}))
		x.collect(1, 1)
		x.drain()
		time.Sleep(time.Minute)
		for k := range x.put {
			require.Contains(t, p.values, k)
		}
		require.Len(t, p.values, len(x.put))
		require.EqualValues(t, 1, x.q.Status().Destinations[0].Dropped)
		require.Len(t, p.gaps, 1)
		require.EqualValues(t, 1000, p.gaps[0].StartNs)
		require.EqualValues(t, 1000+n, p.gaps[0].GetEndNs())
		x.stop()
	})
}
