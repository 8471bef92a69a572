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
		x.stop()
		p := x.servers[0]
		p.breaks, p.lists, p.said = nil, nil, nil
		for _, n := range reading.Tags {
			p.tags[n] = true
		}
		x.start()
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

// What is handed on of exception filters is what the server has, of every part of a list, soon after it changes there and never twice: through outages, and where
// the list changes. A destination that is not asked is not.
func TestExceptionsAreThoseOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		reading := Collecting{Source: "line 1.plc", List: 7}
		for i := range maxGapTags + 3 {
			reading.Tags = append(reading.Tags, fmt.Sprint("tag-", i))
		}
		got, handed := map[string]float64{}, 0
		x := newOutage(t, 1, 2, Options{Collecting: func() []Collecting {
			mu.Lock()
			defer mu.Unlock()
			r := reading
			r.Until = time.Now().UnixNano()
			return []Collecting{r}
		}})
		x.stop()
		x.options.Destinations[0].Exceptions = func(tags []string, of map[string]*varvev1.TagException) {
			mu.Lock()
			defer mu.Unlock()
			handed++
			for _, name := range tags {
				if delete(got, name); of[name] != nil {
					got[name] = of[name].Exception.Deviation
				}
			}
		}
		p, other := x.servers[0], x.servers[1]
		set := func(of map[string]float64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.breaks, p.except = nil, of
			for _, n := range reading.Tags {
				p.tags[n] = true
			}
		}
		check := func(want map[string]float64, times int) {
			time.Sleep(20 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, want, got)
			require.Equal(t, times, handed)
		}
		last := fmt.Sprint("tag-", maxGapTags+2)
		first := map[string]float64{"tag-1": 1, "tag-2": 0.5, last: 3}
		set(first)
		x.start()
		check(first, 2)
		second := map[string]float64{"tag-2": 0.5, last: 4}
		set(second)
		check(second, 4)
		p.setDown(true)
		third := map[string]float64{"tag-2": 0.25, last: 4}
		set(third)
		check(second, 4)
		p.setDown(false)
		check(third, 5)
		p.mu.Lock()
		p.lists = nil // as after a restart
		p.mu.Unlock()
		check(third, 5)
		mu.Lock()
		reading.List, reading.Tags = 8, reading.Tags[1:3]
		got = map[string]float64{}
		mu.Unlock()
		check(map[string]float64{"tag-2": 0.25}, 6)
		other.mu.Lock()
		for _, r := range other.said {
			require.Nil(t, r.Exceptions)
		}
		require.NotEmpty(t, other.said)
		other.mu.Unlock()
		x.stop()
	})
}
