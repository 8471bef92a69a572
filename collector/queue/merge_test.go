package queue

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// plainGap is a gap as a server has it, after all that it was told.
type plainGap struct {
	kind       varvev1.GapKind
	start, end int64 // end MaxInt64: it is open
}

// gapsAfter is the gaps of each tag after some calls, as the contract of GapService has it.
func gapsAfter(calls []proto.Message) map[string][]plainGap {
	of := map[string][]plainGap{}
	for _, m := range calls {
		switch m := m.(type) {
		case *varvev1.RecordGapsRequest:
			g := plainGap{m.Kind, m.StartNs, math.MaxInt64}
			if m.EndNs != nil {
				g.end = *m.EndNs
			}
			for _, t := range m.Tags {
				of[t] = append(of[t], g)
			}
		case *varvev1.EndGapsRequest:
			for _, t := range m.Tags {
				for i, g := range of[t] {
					if g.end == math.MaxInt64 && g.start < m.EndNs {
						of[t][i].end = m.EndNs
					}
				}
			}
		}
	}
	return of
}

func inGap(gaps []plainGap, kind varvev1.GapKind, at int64) bool {
	for _, g := range gaps {
		if g.kind == kind && g.start <= at && at < g.end {
			return true
		}
	}
	return false
}

func messages(reports []report) (out []proto.Message) {
	for _, r := range reports {
		out = append(out, r.message)
	}
	return out
}

// What is merged says of every instant what was said, and where it may not be long, no less; whatever was told before.
func TestMergedSaysWhatWasSaid(t *testing.T) {
	kinds := []varvev1.GapKind{varvev1.GapKind_GAP_KIND_LOST, varvev1.GapKind_GAP_KIND_DEVICE_DOWN}
	tags := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		var all []report
		now := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "reports") {
			now += rapid.Int64Range(0, 3).Draw(t, "later")
			some := tags[:rapid.IntRange(1, len(tags)).Draw(t, "tags")]
			if rapid.Bool().Draw(t, "ends") {
				all = append(all, report{message: &varvev1.EndGapsRequest{Tags: some, EndNs: now + 1, Author: "c"}})
				continue
			}
			m := &varvev1.RecordGapsRequest{Tags: some, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), StartNs: now, Author: "c", Source: "c"}
			if n := rapid.Int64Range(0, 4).Draw(t, "length"); n > 0 {
				end := now + n
				m.EndNs = &end
			}
			all = append(all, report{varvev1.Type_TYPE_FLOAT64, m})
		}
		from := rapid.IntRange(0, len(all)).Draw(t, "told before")
		most := rapid.IntRange(0, 40).Draw(t, "most")
		merged := mergeReports(all[from:], most)
		want, got := gapsAfter(messages(all)), gapsAfter(append(messages(all[:from]), messages(merged)...))
		size, least := 0, 0
		for _, r := range merged {
			size += len(r.tags())
			least += len(r.tags()) - 1 // as if all could be one
		}
		exact := gapsAfter(append(messages(all[:from]), messages(mergeReports(all[from:], math.MaxInt))...))
		for _, tag := range tags {
			for _, kind := range kinds {
				for at := int64(0); at < now+10; at++ {
					in := inGap(want[tag], kind, at)
					require.Equal(t, in, inGap(exact[tag], kind, at), "%s %s %d", tag, kind, at)
					if in {
						require.True(t, inGap(got[tag], kind, at), "%s %s %d", tag, kind, at)
					}
				}
			}
		}
		// Of a tag two ends, and of each kind a gap with an end and an open one are the least there may be.
		require.LessOrEqual(t, size, max(most, len(tags)*(2+2*len(kinds))))
	})
}

// Gaps that come for weeks while a destination is away, of devices that come and go and of what the queue drops, take no more room than the log of gaps may.
func TestGapsOfALongOutageAreBounded(t *testing.T) {
	var all []uint64
	if !testing.Short() {
		all = append(all, 43) // where a destination goes away while it is asked for tags
	}
	for seed := range seeds(t, 2) {
		all = append(all, uint64(seed))
	}
	for _, seed := range all {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, seed, 2, Options{MaxBytes: 1 << 20, Full: DropOldest})
				x.collect(20, 1)
				x.drain()
				x.servers[0].setDown(true)
				if seed%2 == 1 {
					x.servers[1].set(func() { x.servers[1].noGaps = true }) // it is there, and takes none
				}
				var put []proto.Message
				room := int64(x.q.gapsRoom()) + 128<<10
				for i := range 3000 {
					for _, g := range []Gap{
						{Tags: []string{fmt.Sprint("tag-", i%20)}, Kind: varvev1.GapKind_GAP_KIND_DEVICE_DOWN, Start: time.Now().UnixNano(), Reason: "no answer"},
						{Tags: []string{fmt.Sprint("tag-", i%20)}, End: time.Now().UnixNano() + int64(time.Second), Ends: true},
					} {
						require.NoError(t, x.q.PutGap(t.Context(), g))
						put = append(put, x.q.reportOf(g).message)
					}
					if i%50 == 0 {
						x.collect(20, 100)
					}
					time.Sleep(time.Second)
					if x.random.IntN(500) == 0 {
						x.crash()
						time.Sleep(10 * time.Second)
					}
					require.LessOrEqual(t, int64(x.q.gaps.Bytes()), room)
				}
				require.LessOrEqual(t, x.q.Status().Destinations[0].GapsWaiting, maxWaiting)
				x.servers[1].set(func() { x.servers[1].noGaps = false })
				x.drain()
				time.Sleep(5 * time.Minute)
				x.check(true)
				want := gapsAfter(put)
				for i, p := range x.servers {
					p.mu.Lock()
					got := gapsAfter(p.calls)
					for tag, gaps := range want {
						for _, g := range gaps {
							for _, at := range []int64{g.start, g.end - 1} {
								require.True(t, inGap(got[tag], g.kind, at), "server %d, %s at %d", i, tag, at)
							}
						}
						for _, g := range got[tag] {
							require.NotEqual(t, int64(math.MaxInt64), g.end, "server %d, %s: from %d", i, tag, g.start)
						}
					}
					p.mu.Unlock()
				}
				for _, d := range x.q.Status().Destinations {
					require.Zero(t, d.GapsDropped)
				}
				x.stop()
			})
		})
	}
}
