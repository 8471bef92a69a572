package queue

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestArrivedIsWhatTheServerHas: whatever a server is told to have, it has: all samples and gaps that were put before, through outages, lost connections
// and power cuts, while a backlog is behind what is live and while gaps wait.
func TestArrivedIsWhatTheServerHas(t *testing.T) {
	for seed := range seeds(t, 8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				type put struct {
					at  int64
					key key
					gap int64 // its start, in place of a sample
				}
				var puts []put
				o := Options{MaxBytes: 64 << 20, CollectingEvery: 5 * time.Second}
				o.Collecting = func() []Collecting {
					return []Collecting{{Source: "line 1.plc", List: 7, Tags: []string{"tag-0", "tag-1"}, Until: time.Now().UnixNano()}}
				}
				x := newOutage(t, uint64(seed), 1, o)
				p := x.servers[0]
				held, checked, behind := 0, 0, 0
				p.mu.Lock()
				p.onSaid = func(r *varvev1.ReportCollectingRequest) {
					mu.Lock()
					defer mu.Unlock()
					checked++
					if time.Now().UnixNano()-r.ThroughNs > int64(10*time.Second) {
						behind++
					}
					for held < len(puts) && puts[held].at < r.ThroughNs {
						y := puts[held]
						if held++; y.gap == 0 {
							if _, ok := p.values[y.key]; !ok {
								t.Errorf("through %d, and %v is not there", r.ThroughNs, y.key)
							}
							continue
						}
						found := false
						for _, g := range p.gaps {
							found = found || g.StartNs == y.gap
						}
						if !found {
							t.Errorf("through %d, and the gap from %d is not there", r.ThroughNs, y.gap)
						}
					}
				}
				p.mu.Unlock()
				collect := func() {
					at := time.Now().UnixNano()
					before := len(x.torn)
					x.collect(2, 1)
					mu.Lock()
					defer mu.Unlock()
					if len(x.torn) == before {
						puts = append(puts, put{at: at, key: key{"tag-0", at}}, put{at: at, key: key{"tag-1", at}})
					}
				}
				collect()
				time.Sleep(time.Minute)
				for i := range 400 {
					collect()
					time.Sleep(time.Duration(x.random.IntN(4000)) * time.Millisecond)
					switch x.random.IntN(40) {
					case 0, 1:
						p.setDown(x.random.IntN(2) == 0)
					case 2:
						x.crash()
					case 3, 4, 5:
						at := time.Now().UnixNano()
						require.NoError(t, x.q.PutGap(t.Context(), Gap{Tags: []string{"tag-0"}, Kind: varvev1.GapKind_GAP_KIND_DEVICE_DOWN, Start: at, End: at + 5}))
						mu.Lock()
						puts = append(puts, put{at: at, gap: at})
						mu.Unlock()
					case 7, 8:
						p.mu.Lock()
						p.noGaps = !p.noGaps
						p.mu.Unlock()
					case 6:
						if p.setDown(true); i%2 == 0 {
							time.Sleep(time.Minute)
						}
					}
				}
				p.mu.Lock()
				p.noGaps = false
				p.mu.Unlock()
				x.drain()
				time.Sleep(2 * time.Minute)
				mu.Lock()
				require.Equal(t, len(puts), held, "in the end all has arrived")
				require.Greater(t, checked, 20)
				require.Positive(t, behind, "sometimes it had not")
				mu.Unlock()
				x.stop()
			})
		})
	}
}

// The names of tags go once, and again to a server that does not know them, or some.
func TestNamesOfWhatIsReadGoOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		reading := Collecting{Source: "line 1.plc", List: 7}
		for i := range maxGapTags + 3 {
			reading.Tags = append(reading.Tags, fmt.Sprint("tag-", i))
		}
		x := newOutage(t, 1, 1, Options{Collecting: func() []Collecting {
			mu.Lock()
			defer mu.Unlock()
			r := reading
			r.Until = time.Now().UnixNano()
			return []Collecting{r}
		}})
		p := x.servers[0]
		p.mu.Lock()
		p.breaks = nil
		for _, n := range reading.Tags {
			p.tags[n] = true
		}
		p.mu.Unlock()
		sent := func(d time.Duration) (names, calls int) {
			time.Sleep(d)
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, r := range p.said {
				names, calls = names+len(r.Tags), calls+1
			}
			p.said = nil
			return names, calls
		}
		names, calls := sent(time.Hour)
		require.Equal(t, maxGapTags+3, names, "in two parts")
		require.InDelta(t, 2*720, calls, 4)

		p.mu.Lock()
		p.lists = nil // as after a restart
		p.mu.Unlock()
		names, _ = sent(time.Minute)
		require.Equal(t, maxGapTags+3, names)

		mu.Lock()
		reading.List, reading.Tags = 8, reading.Tags[:1]
		mu.Unlock()
		names, _ = sent(time.Minute)
		require.Equal(t, 1, names)

		p.mu.Lock()
		delete(p.tags, "tag-0")
		p.mu.Unlock()
		mu.Lock()
		reading.List = 9
		mu.Unlock()
		names, _ = sent(10 * time.Minute)
		require.InDelta(t, 10, names, 2, "once a minute, until the server has the tag")
		x.stop()
	})
}
