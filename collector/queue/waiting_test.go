package queue

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// What is said of a tag that a destination does not have yet is told when it has it, in the order it was said, over crashes.
func TestGapsWaitForTheirTags(t *testing.T) {
	for seed := range seeds(t, 10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, uint64(seed), 2, Options{})
				want := map[string][]string{}
				at, open := int64(0), map[string]bool{}
				for range 60 {
					at++
					tag := fmt.Sprint("tag-", x.random.IntN(6))
					g := Gap{Tags: []string{tag, "nobody's"}, Kind: varvev1.GapKind_GAP_KIND_DEVICE_DOWN, Start: at}
					said := fmt.Sprint("from ", at)
					if open[tag] {
						g, said = Gap{Tags: []string{tag, "nobody's"}, Ends: true, End: at}, fmt.Sprint("to ", at)
					}
					open[tag] = !open[tag]
					require.NoError(t, x.q.PutGap(t.Context(), g))
					want[tag] = append(want[tag], said)
					time.Sleep(time.Duration(x.random.IntN(20)) * time.Second)
					switch x.random.IntN(8) {
					case 0:
						x.crash()
					case 1:
						x.servers[x.random.IntN(2)].setDown(x.random.IntN(2) == 0)
					case 2:
						x.collect(1+x.random.IntN(3), 1) // makes some of the tags
					}
				}
				for _, p := range x.servers {
					p.mu.Lock()
					for _, tag := range []string{"tag-3", "tag-4", "tag-5"} {
						require.Empty(t, p.told[tag], "it was never made")
					}
					p.mu.Unlock()
				}
				x.collect(6, 1)
				x.drain()
				time.Sleep(time.Hour)
				for i, p := range x.servers {
					p.mu.Lock()
					require.NotContains(t, p.told, "nobody's")
					for tag, said := range want {
						require.Equal(t, said, firstOfEach(p.told[tag]), "server %d, %s", i, tag)
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

// firstOfEach leaves out what is told again after a crash: all from somewhere on, in its order.
func firstOfEach(told []string) (out []string) {
	for _, s := range told {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// A tag of which only losses are known is made for its gap, with the type that its samples had.
func TestATagIsMadeForItsLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{MaxBytes: 1 << 20, Full: DropOldest})
		x.servers[0].setDown(true)
		require.NoError(t, x.q.Put(t.Context(), []*varvev1.Run{{Tag: "silent", FirstTimeNs: 7, Count: 3, Float64: []float64{1, 2, 3}}}))
		for range 2000 {
			x.collect(20, 10)
		}
		require.Positive(t, x.q.Status().Destinations[0].Dropped)
		x.drain()
		time.Sleep(time.Hour)
		require.Equal(t, []string{"from 7"}, x.servers[0].told["silent"])
		x.stop()
	})
}

// A reason may be what a device said: it is made one that a server takes.
func TestReasonsAreCutAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{})
		x.collect(1, 1)
		require.NoError(t, x.q.PutGap(t.Context(), Gap{Tags: []string{"tag-0"}, Kind: varvev1.GapKind_GAP_KIND_DEVICE_DOWN, Start: 1, Reason: "\xff" + strings.Repeat("ä", 600)}))
		x.drain()
		time.Sleep(time.Minute)
		require.Len(t, x.servers[0].gaps, 1)
		reason := x.servers[0].gaps[0].Reason
		require.True(t, utf8.ValidString(reason))
		require.LessOrEqual(t, len(reason), 1024)
		require.Contains(t, reason, "?ää")
		x.stop()
	})
}

// What waits is bounded: it is merged, and where it is of too many tags for that, the oldest is given up, and counted.
func TestWaitingIsBounded(t *testing.T) {
	var w waiting
	tags := make([]string, 1000)
	for i := range tags {
		tags[i] = fmt.Sprint("tag-", i)
	}
	for at := range int64(maxWaiting) {
		end := at*10 + 5
		r := report{message: &varvev1.RecordGapsRequest{Kind: varvev1.GapKind_GAP_KIND_LOST, StartNs: at * 10, EndNs: &end}}
		require.Zero(t, w.add(r, tags[at%7:at%7+1]))
	}
	require.LessOrEqual(t, w.size, maxWaiting+maxWaiting/2)
	now, later := w.split([]string{"tag-0", "tag-6", "another"})
	require.Equal(t, []string{"another"}, now)
	require.Equal(t, []string{"tag-0", "tag-6"}, later)
	if testing.Short() {
		return
	}

	w = waiting{}
	many := make([]string, mostWaiting)
	for i := range many {
		many[i] = fmt.Sprint("tag-", i)
	}
	open := report{message: &varvev1.RecordGapsRequest{Kind: varvev1.GapKind_GAP_KIND_LOST}}
	require.Zero(t, w.add(open, many))
	require.Equal(t, maxGapTags, w.add(open, []string{"one more"}))
	require.Equal(t, mostWaiting+1-maxGapTags, w.size)
}

func aFewWait() (w waiting) {
	end := int64(9)
	w.add(report{varvev1.Type_TYPE_FLOAT64, &varvev1.RecordGapsRequest{Kind: varvev1.GapKind_GAP_KIND_LOST, StartNs: 5, EndNs: &end, Author: "c"}}, []string{"a", "b"})
	w.add(report{message: &varvev1.EndGapsRequest{EndNs: 7, Author: "c"}}, []string{"b"})
	w.through = 300
	return w
}

// The file of what waits as version 1 has it.
func TestWaitingFileIsThatOfItsVersion(t *testing.T) {
	w := aFewWait()
	b, err := w.encode()
	require.NoError(t, err)
	written := []byte{
		1, 0xac, 0x02, 2,
		17, 2, 0, 0x0a, 1, 'a', 0x0a, 1, 'b', 0x18, 2, 0x20, 10, 0x28, 18, 0x3a, 1, 'c',
		10, 1, 0, 0x0a, 1, 'b', 0x18, 14, 0x22, 1, 'c',
	}
	sum := crc32.Checksum(written, crc32.MakeTable(crc32.Castagnoli))
	require.Equal(t, append(written, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)), b)
	read, err := decodeWaiting(b)
	require.NoError(t, err)
	requireWaits(t, w, read)
}

func requireWaits(t *testing.T, want, got waiting) {
	a, err := want.encode()
	require.NoError(t, err)
	b, err := got.encode()
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.Equal(t, want.of, got.of)
	require.Equal(t, want.size, got.size)
}

func TestDamagedWaitingIsRefused(t *testing.T) {
	w := aFewWait()
	whole, err := w.encode()
	require.NoError(t, err)
	for i := range whole {
		for bit := range 8 {
			b := slices.Clone(whole)
			b[i] ^= 1 << bit
			_, err := decodeWaiting(b)
			require.Error(t, err)
		}
		_, err := decodeWaiting(whole[:i])
		require.Error(t, err)
	}
}

func FuzzWaiting(f *testing.F) {
	w := aFewWait()
	b, err := w.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		w, err := decodeWaiting(append(slices.Clone(b), byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)))
		if err != nil {
			return
		}
		again, err := w.encode()
		require.NoError(t, err)
		read, err := decodeWaiting(again)
		require.NoError(t, err)
		requireWaits(t, w, read)
	})
}
