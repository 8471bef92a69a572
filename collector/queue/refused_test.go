package queue

import (
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// What a server refuses, at its door or when it applies a batch, is told it as gaps, whatever answers are lost: every sample stands there or lies in a gap, a gap begins and ends at samples that
// were refused, and one that goes on is one.
func TestWhatIsRefusedIsAGap(t *testing.T) {
	for seed := range seeds(t, 4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, uint64(seed), 2, Options{})
				p := x.servers[0]
				began := time.Now().UnixNano()
				slot := func(at int64) int64 { return (at - began) / int64(20*time.Second) }
				refuse := func(tag string, at int64) bool {
					switch tag {
					case "tag-0": // for ever
						return true
					case "tag-1": // minutes, now and then
						return slot(at)/15%3 == 1
					case "tag-2": // one of ten
						return slot(at)%10 == 0
					}
					return false
				}
				p.set(func() {
					p.refuse, p.late = refuse, seed%2 == 1
					if seed%3 == 2 {
						p.listed = 1
					}
				})
				for range 300 {
					x.collect(4, 3)
					time.Sleep(20 * time.Second)
					switch x.random.IntN(40) {
					case 0:
						x.crash()
					case 1, 2:
						p.setDown(x.random.IntN(2) == 0)
					}
				}
				x.drain()
				time.Sleep(5 * time.Minute)
				p.mu.Lock()
				gaps := gapsAfter(p.calls)
				lost := varvev1.GapKind_GAP_KIND_LOST
				for k := range x.put {
					if refuse(k.tag, k.time) {
						require.True(t, inGap(gaps[k.tag], lost, k.time), "%s at slot %d was refused", k.tag, slot(k.time))
					} else {
						require.Contains(t, p.values, k)
					}
				}
				for tag, of := range gaps {
					for _, g := range of {
						require.NotEqual(t, int64(math.MaxInt64), g.end, "%s from slot %d", tag, slot(g.start))
						if p.listed > 1 {
							require.True(t, refuse(tag, g.start), "%s slot %d", tag, slot(g.start))
							require.True(t, refuse(tag, g.end-1), "%s slot %d", tag, slot(g.end-1))
						}
					}
				}
				if p.listed > 1 {
					require.Empty(t, gaps["tag-3"])
				}
				p.mu.Unlock()
				require.Empty(t, x.servers[1].gaps)
				require.Positive(t, x.q.Status().Destinations[0].Rejected)
				x.stop()
			})
		})
	}
}

// While a tag is refused it has one gap, and that is there at once; it ends behind the last sample that was refused.
func TestRefusalsThatGoOnAreOneGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{})
		p := x.servers[0]
		stops := time.Now().Add(time.Hour).UnixNano()
		p.set(func() {
			p.breaks = nil
			p.refuse = func(tag string, at int64) bool { return tag == "tag-0" && at < stops }
		})
		first, last := time.Now().UnixNano(), int64(0)
		for at := first; at < stops; at = time.Now().UnixNano() {
			x.collect(2, 1)
			last = at
			time.Sleep(time.Second)
			if at-first > int64(5*time.Second) {
				p.mu.Lock()
				require.Equal(t, []string{fmt.Sprint("from ", first)}, p.told["tag-0"])
				p.mu.Unlock()
			}
		}
		x.collect(2, 1)
		time.Sleep(2 * time.Minute)
		p.set(func() {
			require.Equal(t, []string{fmt.Sprint("from ", first), fmt.Sprint("to ", last+1)}, p.told["tag-0"])
			require.Equal(t, varvev1.GapKind_GAP_KIND_LOST, p.gaps[0].Kind)
			require.Contains(t, p.gaps[0].Reason, "another type")
		})

		// A source ends all gaps of its tag when it reads again: what is refused behind has a gap again.
		p.set(func() { stops = time.Now().Add(time.Hour).UnixNano() })
		again := time.Now().UnixNano()
		x.collect(2, 1)
		time.Sleep(10 * time.Second)
		up := time.Now().UnixNano()
		require.NoError(t, x.q.PutGap(t.Context(), Gap{Tags: []string{"tag-0"}, End: up, Ends: true}))
		x.collect(2, 1)
		time.Sleep(5 * time.Minute)
		x.stop()
		require.Equal(t, []string{fmt.Sprint("from ", again), fmt.Sprint("to ", up), fmt.Sprint("from ", up), fmt.Sprint("to ", up+1)}, p.told["tag-0"][2:])
	})
}

// Tags that a server does not make are more than its answers list, and each is told for itself.
func TestManyTagsThatAreNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{})
		p := x.servers[0]
		p.set(func() {
			p.breaks, p.listed = nil, 3
			p.unmade = func(tag string) bool { return tag >= "tag-2" }
		})
		x.collect(40, 2)
		x.drain()
		time.Sleep(time.Minute)
		p.set(func() { p.unmade, p.listed = nil, 1000 })
		time.Sleep(time.Hour)
		x.collect(40, 2)
		x.drain()
		time.Sleep(time.Hour)
		x.stop()
		gaps := gapsAfter(p.calls)
		for k := range x.put {
			_, stands := p.values[k]
			require.NotEqual(t, stands, inGap(gaps[k.tag], varvev1.GapKind_GAP_KIND_LOST, k.time), "%v", k)
		}
	})
}

func aFewRefused() (f refusals) {
	f.add(tagKey{"a", false}, span{from: 5, to: 8}, "r", 100)
	f.add(tagKey{"b", true}, span{from: -3, to: 2}, "r", 101)
	return f
}

// The file of what is refused as version 1 has it.
func TestRefusedFileIsThatOfItsVersion(t *testing.T) {
	f := aFewRefused()
	b := f.encode()
	written := []byte{1, 2, 1, 'a', 0, 10, 16, 0xc8, 0x01, 1, 'b', 1, 5, 4, 0xca, 0x01}
	sum := crc32.Checksum(written, crc32.MakeTable(crc32.Castagnoli))
	require.Equal(t, append(written, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)), b)
	read, err := decodeRefused(b)
	require.NoError(t, err)
	require.Equal(t, f.of, read.of)
}

func TestDamagedRefusedIsRefused(t *testing.T) {
	f := aFewRefused()
	whole := f.encode()
	for i := range whole {
		for bit := range 8 {
			b := slices.Clone(whole)
			b[i] ^= 1 << bit
			_, err := decodeRefused(b)
			require.Error(t, err)
		}
		_, err := decodeRefused(whole[:i])
		require.Error(t, err)
	}
}

func FuzzRefused(f *testing.F) {
	r := aFewRefused()
	b := r.encode()
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		read, err := decodeRefused(append(slices.Clone(b), byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)))
		if err != nil {
			return
		}
		again, err := decodeRefused(read.encode())
		require.NoError(t, err)
		require.Equal(t, read.of, again.of)
	})
}
