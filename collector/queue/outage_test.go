package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// seeds is how many seeds a test runs.
func seeds(t *testing.T, least int) int {
	if testing.Short() {
		return 2
	}
	if n, err := strconv.Atoi(os.Getenv("VARVE_OUTAGE_SEEDS")); err == nil && n > least {
		return n
	}
	return least
}

// outage is a collector and its servers over simulated days: each goes away and comes back at random, the collector's machine loses its
// power, connections break in the middle.
type outage struct {
	t       *testing.T
	random  *rand.Rand
	fs      *vfs.MemFS
	options Options
	servers []*plainServer

	q    *Queue
	stop func()

	put  map[key]float64 // what Put took
	torn map[key]float64 // what Put may have taken: the power went meanwhile
	n    float64
}

func newOutage(t *testing.T, seed uint64, servers int, o Options) *outage {
	until := []varvev1.Mark{varvev1.Mark_MARK_APPLIED, varvev1.Mark_MARK_ARCHIVED}[seed/2%2]
	x := &outage{t: t, random: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewCrashableMem(), put: map[key]float64{}, torn: map[key]float64{}, options: o}
	for i := range servers {
		p := newPlainServer()
		p.latency = time.Duration(x.random.IntN(20)) * time.Millisecond
		breaking := rand.New(rand.NewPCG(seed, uint64(i)+2))
		p.breaks = func() bool { return breaking.IntN(2000) == 0 }
		x.servers = append(x.servers, p)
		x.options.Destinations = append(x.options.Destinations, Destination{Name: fmt.Sprint("server-", i), Ingest: p, Gaps: p, Until: until})
	}
	x.options.Source = "line 1"
	x.options.OnFatal = func(err error) { t.Error(err) }
	x.start()
	t.Cleanup(func() {
		if t.Failed() {
			x.stop()
		}
	})
	return x
}

func (x *outage) start() {
	x.options.FS = x.fs
	x.options.Rand = constantRand{x.random}
	q, _, err := Open("queue", x.options)
	require.NoError(x.t, err)
	ctx, cancel := context.WithCancel(x.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Run(ctx) }()
	x.q = q
	x.stop = func() {
		cancel()
		<-done
		require.NoError(x.t, q.Close())
		for _, p := range x.servers {
			p.serving.Wait()
		}
	}
}

// constantRand makes epochs of a seed.
type constantRand struct{ r *rand.Rand }

func (c constantRand) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.r.Uint32())
	}
	return len(b), nil
}

// crash takes the power away: what was not synced is there or not.
func (x *outage) crash() {
	after := x.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: x.random.IntN(101), RNG: rand.New(rand.NewPCG(x.random.Uint64(), 3))})
	x.stop()
	x.fs = after
	x.start()
}

// collect puts one scan of tags, of several times each.
func (x *outage) collect(tags, times int) {
	at := time.Now().UnixNano()
	var runs []*varvev1.Run
	keys := map[key]float64{}
	for i := range tags {
		r := &varvev1.Run{Tag: fmt.Sprint("tag-", i), FirstTimeNs: at, StepNs: int64(time.Millisecond), Count: uint32(times)}
		for j := range times {
			x.n++
			r.Float64 = append(r.Float64, x.n)
			keys[key{r.Tag, at + int64(j)*r.StepNs}] = x.n
		}
		runs = append(runs, r)
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), time.Minute)
	defer cancel()
	to := x.put
	if err := x.q.Put(ctx, runs); err != nil {
		to = x.torn
	}
	for k, v := range keys {
		to[k] = v
	}
	time.Sleep(time.Duration(times) * time.Millisecond) // so that no two scans have samples of the same time
}

// drain waits until every server has everything.
func (x *outage) drain() {
	for _, p := range x.servers {
		p.setDown(false)
	}
	for range 24 * 60 {
		waiting := uint64(0)
		for _, d := range x.q.Status().Destinations {
			waiting += d.Waiting
		}
		if waiting == 0 {
			return
		}
		time.Sleep(time.Minute)
	}
	x.t.Fatalf("a day later the queue still has %+v", x.q.Status())
}

// check holds what servers have to what was put. Gaps may stand for samples where some were dropped.
func (x *outage) check(dropped bool) {
	for i, p := range x.servers {
		p.mu.Lock()
		for k, v := range x.put {
			got, ok := p.values[k]
			if !ok && dropped && p.covered(k) {
				continue
			}
			require.True(x.t, ok, "server %d lacks %v", i, k)
			require.Equal(x.t, v, got.float)
		}
		for k, got := range p.values {
			v, ok := x.put[k]
			if !ok {
				v, ok = x.torn[k]
			}
			require.True(x.t, ok && v == got.float, "server %d has %v of which nobody knows", i, k)
		}
		if !dropped {
			require.Empty(x.t, p.gaps)
			require.Zero(x.t, p.twice, "samples came under two identities")
			for source, ranks := range p.ranks {
				for j, s := range ranks {
					require.EqualValues(x.t, j+1, s, "order on server %d, lane %q", i, source)
				}
			}
		}
		p.mu.Unlock()
	}
}

func TestOutagesLoseNothing(t *testing.T) {
	for seed := range seeds(t, 5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, uint64(seed), 1+seed%2, Options{MaxBytes: 256 << 20})
				days := 7
				if testing.Short() {
					days = 1
				}
				for range days * 24 * 4 { // a quarter of an hour each
					for range 3 {
						x.collect(5, 3)
						time.Sleep(5 * time.Minute)
					}
					switch x.random.IntN(24) {
					case 0:
						x.crash()
					case 1, 2, 3:
						x.servers[x.random.IntN(len(x.servers))].setDown(x.random.IntN(2) == 0)
					case 4: // many scans while a server is away, and the power goes just when it is back
						p := x.servers[x.random.IntN(len(x.servers))]
						p.setDown(true)
						for range 100 {
							x.collect(2, 1)
							time.Sleep(100 * time.Millisecond)
						}
						p.setDown(false)
						for range 3 {
							time.Sleep(time.Duration(x.random.IntN(4000)) * time.Millisecond)
							x.crash()
							x.collect(2, 1)
						}
					case 5: // many scans at once
						for range 200 {
							x.collect(2, 1)
							time.Sleep(time.Millisecond)
						}
					}
				}
				x.drain()
				x.check(false)
				x.stop()
			})
		})
	}
}

func TestAFullQueueDropsAndSaysWhat(t *testing.T) {
	for seed := range seeds(t, 5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, uint64(seed), 2, Options{MaxBytes: 1 << 20, Full: DropOldest})
				x.collect(20, 10)
				time.Sleep(time.Minute)
				x.servers[0].setDown(true)
				for i := range 2000 {
					x.collect(20, 10)
					time.Sleep(time.Second)
					if i%500 == 250 {
						x.crash()
					}
				}
				require.Positive(t, x.q.Status().Destinations[0].Dropped)
				require.LessOrEqual(t, x.q.Status().Bytes, int64(1<<20)+256<<10)
				x.drain()
				time.Sleep(time.Hour)
				x.check(true)
				require.NotEmpty(t, x.servers[0].gaps)
				require.Empty(t, x.servers[1].gaps, "it lost nothing")
				require.Less(t, len(x.servers[0].values), len(x.servers[1].values))
				x.stop()
			})
		})
	}
}

// What comes after an outage is there at once, and the rest behind it.
func TestLiveGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{})
		p := x.servers[0]
		p.mu.Lock()
		p.breaks = nil
		p.latency = 20 * time.Millisecond // 50 records a second on each lane
		p.mu.Unlock()
		x.collect(1, 1)
		time.Sleep(time.Minute)
		p.setDown(true)
		for range 6000 {
			x.collect(1, 1)
			time.Sleep(100 * time.Millisecond)
		}
		p.setDown(false)
		time.Sleep(15 * time.Second) // connects again
		var late []time.Duration
		p.mu.Lock()
		p.onTake = func(source string, r *varvev1.Run) {
			if source == "line 1" {
				late = append(late, time.Duration(time.Now().UnixNano()-r.FirstTimeNs))
			}
		}
		p.mu.Unlock()
		began := time.Now()
		for x.q.Status().Destinations[0].Backlog > 0 {
			x.collect(1, 1)
			time.Sleep(100 * time.Millisecond)
		}
		drained := time.Since(began)
		p.mu.Lock()
		require.NotEmpty(t, late)
		for _, d := range late {
			require.Less(t, d, 5*time.Second)
		}
		p.mu.Unlock()
		require.Less(t, drained, 600*time.Second/4, "ten minutes of backlog took %s", drained)
		x.drain()
		x.check(false)
		x.stop()
	})
}
