package head

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
)

// plainEntry is one sample or removal of the plain journal that heads are held against.
type plainEntry struct {
	model.Sample
	removed bool
	index   uint32
	rec     Record
}

// journal drives a tag of a head and a plain list with the same writes.
type journal struct {
	head    *Head
	tag     *Tag
	typ     model.Type
	entries []plainEntry
	offset  uint64
	last    int64
}

func newJournal(t *rapid.T) *journal {
	j := &journal{head: New(), typ: rapid.SampledFrom([]model.Type{model.Float64, model.Bool, model.State, model.String, model.Bytes}).Draw(t, "type")}
	j.tag = j.head.Open(7, j.typ)
	return j
}

func (j *journal) value(t *rapid.T, at int64, plain bool) model.Sample {
	x := model.Sample{Time: at, Type: j.typ}
	v := rapid.IntRange(0, 2).Draw(t, "value")
	if j.typ.Blob() {
		x.Blob = []byte(fmt.Sprintf("v%d", v))
	} else {
		x.Bits = uint64(v)
	}
	if plain {
		return x
	}
	x.Quality = rapid.SampledFrom([]model.Quality{model.Good, model.Uncertain}).Draw(t, "quality")
	x.Null = rapid.IntRange(0, 9).Draw(t, "null") == 0
	x.Seq = rapid.SampledFrom([]uint32{0, 0, 1, 2}).Draw(t, "seq")
	return x
}

// put writes one stretch of a record of its own, or of the record before.
func (j *journal) put(t *rapid.T, ordered bool) {
	index := uint32(0)
	if k := len(j.entries); k > 0 && rapid.Bool().Draw(t, "same record") {
		index = j.entries[k-1].index + 1 + rapid.Uint32Range(0, 1).Draw(t, "left out")
	} else {
		j.offset += rapid.Uint64Range(1, 3).Draw(t, "offset")
		if ordered && j.offset%5 == 0 {
			j.offset++
		}
	}
	rec := Record{Source: uint32(j.offset % 3), Ingest: int64(j.offset/4)*7e8 - 2e9, Offset: j.offset}
	removed, plain := false, ordered || rapid.Bool().Draw(t, "plain")
	if !ordered {
		removed = rapid.IntRange(0, 4).Draw(t, "removal") == 0
		if j.offset%5 == 0 { // an edit, which is never in order
			rec.Edit = &Edit{Author: "mara", Reason: fmt.Sprint(j.offset)}
		}
	}
	n := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 16, 17, 64, 80, 84, 256, 257}).Draw(t, "samples")
	if !ordered {
		n = rapid.IntRange(1, 12).Draw(t, "samples of any order")
	}
	s := model.Samples{Type: j.typ}
	for range n {
		if ordered {
			j.last += rapid.Int64Range(1, 4).Draw(t, "step")
		} else {
			j.last = rapid.Int64Range(-40, 40).Draw(t, "time")
		}
		x := j.value(t, j.last, plain)
		if removed {
			x = model.Sample{Time: x.Time, Type: j.typ, Seq: x.Seq}
		}
		s.Append(x)
	}
	for i := range n {
		x := s.At(i)
		x.Blob = slices.Clone(x.Blob)
		j.entries = append(j.entries, plainEntry{x, removed, index + uint32(i), rec})
	}
	j.head.Put(j.tag, &s, &rec, index, removed)
	// The memory of what was put belongs to the caller again.
	for _, b := range s.Blobs {
		clear(b)
	}
	clear(s.Times)
	clear(s.Bits)
}

// plainResolved is what Resolve of records up to offset must come to.
type plainResolved struct {
	data    []plainEntry
	removed []Removed
	history []Past
}

func resolvePlain(entries []plainEntry, in model.TimeRange, offset uint64) plainResolved {
	var out plainResolved
	byKey := map[[2]int64][]plainEntry{}
	var order [][2]int64
	for _, e := range entries {
		if e.rec.Offset > offset || !in.Contains(e.Time) {
			continue
		}
		k := [2]int64{e.Time, int64(e.Seq)}
		list := byKey[k]
		if list == nil {
			order = append(order, k)
		}
		// A resend of what stands there is no version.
		if n := len(list); n > 0 && !e.removed && !list[n-1].removed && list[n-1].SameValue(e.Sample) {
			continue
		}
		byKey[k] = append(list, e)
	}
	slices.SortFunc(order, func(a, b [2]int64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for _, k := range order {
		list := byKey[k]
		last := list[len(list)-1]
		for _, e := range list[:len(list)-1] {
			out.history = append(out.history, e.past())
		}
		switch {
		case last.removed:
			out.history = append(out.history, last.past())
			out.removed = append(out.removed, Removed{last.Time, last.Seq, last.rec.Offset})
		default:
			out.data = append(out.data, last)
			if last.rec.Edit != nil {
				p := last.past()
				p.Current = true
				out.history = append(out.history, p)
			}
		}
	}
	return out
}

func (e plainEntry) past() Past {
	return Past{
		Sample: e.Sample, Removed: e.removed, Offset: e.rec.Offset, Index: e.index,
		Ingest: e.rec.Ingest, Source: e.rec.Source, Edit: e.rec.Edit,
	}
}

// requireResolved holds an answer of Resolve against the plain one.
func requireResolved(t require.TestingT, want plainResolved, have *Resolved) {
	require.NoError(t, have.Data.Samples.Check())
	require.Equal(t, len(want.data), have.Len())
	at, left := -1, 0
	for i, w := range want.data {
		h := have.At(i)
		require.True(t, h.Time == w.Time && h.Seq == w.Seq && h.SameValue(w.Sample), "sample %d: %+v, want %+v", i, h, w.Sample)
		for ; left == 0; left = have.Origins[at].Samples {
			at++
		}
		left--
		o := have.Origins[at]
		require.Equal(t, []int64{int64(w.rec.Source), chunk.Second(w.rec.Ingest)}, []int64{int64(o.Source), o.Ingest}, "origin of sample %d", i)
	}
	require.Zero(t, left)
	require.Len(t, have.Origins, at+1)
	require.True(t, slices.Equal(want.removed, have.Removed), "removed %+v, want %+v", have.Removed, want.removed)
	require.Equal(t, len(want.history), len(have.History))
	for i, w := range want.history {
		h := have.History[i]
		require.True(t, h.Time == w.Time && h.Seq == w.Seq && (w.Removed || h.SameValue(w.Sample)), "version %d: %+v, want %+v", i, h, w)
		w.Sample, h.Sample = model.Sample{}, model.Sample{}
		require.Equal(t, w, h, "version %d", i)
	}
}

func drawRange(t *rapid.T, j *journal) model.TimeRange {
	if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
		return model.All
	}
	low, high := int64(-45), max(int64(45), j.last+3)
	from := rapid.Int64Range(low, high).Draw(t, "from")
	return model.TimeRange{Start: from, End: rapid.Int64Range(from, high+1).Draw(t, "to")}
}

// TestJournalsSettleLikeAPlainList writes journals that stay ordered and journals that do not, takes snapshots on the way,
// and holds each of them, then and at the end, against the plain list.
func TestJournalsSettleLikeAPlainList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := newJournal(t)
		type moment struct {
			snap    Snapshot
			offset  uint64
			entries []plainEntry
		}
		var moments []moment
		var out Resolved
		disorder := rapid.IntRange(0, 12).Draw(t, "ordered writes")
		for i := range rapid.IntRange(1, 12).Draw(t, "writes") {
			j.put(t, i < disorder)
			require.Equal(t, len(j.entries), j.tag.Len())
			if rapid.IntRange(0, 2).Draw(t, "look") == 0 {
				offset := rapid.Uint64Range(0, j.offset).Draw(t, "up to")
				moments = append(moments, moment{j.head.Snapshot(j.tag, offset), offset, j.entries})
				j.requireFinds(t)
				j.requireStretches(t)
			}
		}
		moments = append(moments, moment{j.head.Snapshot(j.tag, ^uint64(0)), ^uint64(0), j.entries})
		for _, m := range moments {
			in := drawRange(t, j)
			m.snap.Resolve(in, &out)
			requireResolved(t, resolvePlain(m.entries, in, m.offset), &out)
		}
		require.Equal(t, len(j.entries), j.head.Samples)
		require.Equal(t, []model.TagID{7}, j.head.IDs())
	})
}

// requireFinds asks Find for every time there is and for one there is not.
func (j *journal) requireFinds(t *rapid.T) {
	want := map[int64]map[uint32]bool{1 << 40: {}}
	for _, e := range j.entries {
		if want[e.Time] == nil {
			want[e.Time] = map[uint32]bool{}
		}
		want[e.Time][e.Seq] = e.removed
	}
	for at, seqs := range want {
		have := map[uint32]bool{}
		j.head.Find(j.tag, at, func(k Key) {
			require.NotContains(t, have, k.Seq)
			have[k.Seq] = k.Removed
		})
		require.Equal(t, seqs, have, "at %d", at)
	}
}

// requireStretches holds that the stretches reported begin at entries and together cover all of them in the range.
func (j *journal) requireStretches(t *rapid.T) {
	in := drawRange(t, j)
	covered := map[int64]bool{}
	calls := 0
	times := map[int64]bool{}
	for _, e := range j.entries {
		times[e.Time] = true
	}
	snap := j.head.Snapshot(j.tag, ^uint64(0))
	snap.EachStretch(in, func(at int64) int64 {
		calls++
		require.True(t, times[at] && in.Contains(at), "no entry at %d", at)
		end := at - (at%10+10)%10 + 10
		for u := at; u < end; u++ {
			covered[u] = true
		}
		return end
	})
	for at := range times {
		if in.Contains(at) {
			require.True(t, covered[at], "entry at %d in %v is in no stretch", at, in)
		}
	}
	require.LessOrEqual(t, calls, len(j.entries))
}

// TestOrderedJournalsAtEveryBlockBoundary reads ranges that begin and end around the entries where blocks do.
func TestOrderedJournalsAtEveryBlockBoundary(t *testing.T) {
	for _, size := range []int{1, 3, 4, 5, 18, 26, 27, 28, 89, 90, 91, 301, 302, 303, 304, 600} {
		h := New()
		g := h.Open(1, model.Int64)
		for i := range size {
			s := model.Samples{Type: model.Int64, Times: []int64{int64(i)}, Bits: []uint64{uint64(i) * 3}}
			h.Put(g, &s, &Record{Offset: uint64(i + 1)}, 0, false)
		}
		require.True(t, g.ordered)
		snap := h.Snapshot(g, ^uint64(0))
		var out Resolved
		edges := []int{size}
		for _, b := range snap.blocks(nil) {
			edges = append(edges, b.first)
		}
		for _, edge := range edges {
			for from := max(edge-2, 0); from <= edge+1; from++ {
				for _, to := range []int{from, from + 1, from + 300, size - 1, size} {
					snap.Resolve(model.TimeRange{Start: int64(from), End: int64(to)}, &out)
					want := max(min(to, size)-from, 0)
					require.Equal(t, want, out.Len(), "[%d, %d) of %d", from, to, size)
					for i := range want {
						require.Equal(t, int64(from+i), out.Times[i])
						require.Equal(t, uint64(from+i)*3, out.Bits[i])
					}
				}
			}
		}
		for offset := range size + 1 {
			snap := h.Snapshot(g, uint64(offset))
			require.Equal(t, offset, snap.Len())
		}
	}
}

// TestRunsOfAnyLength puts runs shorter and longer than blocks and slabs, of two tags in turn.
func TestRunsOfAnyLength(t *testing.T) {
	h := New()
	n := [2]int64{}
	for i, size := range []int{1, 1023, 1024, 1025, 3, slabWords, 10, 10, 10, 2*slabWords + 1, 1, 1} {
		for k := range n {
			s := model.Samples{Type: model.Int64}
			for range size {
				s.Times, s.Bits = append(s.Times, n[k]), append(s.Bits, uint64(n[k])^uint64(k))
				n[k]++
			}
			h.Put(h.Open(model.TagID(k+1), model.Int64), &s, &Record{Offset: uint64(2*i + k + 1)}, 0, false)
		}
	}
	for k := range n {
		var out Resolved
		snapshotOf(h, model.TagID(k+1)).Resolve(model.All, &out)
		require.Equal(t, int(n[k]), out.Len())
		for i := range out.Times {
			if out.Times[i] != int64(i) || out.Bits[i] != uint64(i)^uint64(k) {
				require.FailNow(t, "another sample", "entry %d of tag %d is %d at %d", i, k+1, out.Bits[i], out.Times[i])
			}
		}
	}
}

// TestSnapshotsHoldWhileTheJournalGrows reads snapshots without a lock beside a writer, for the race detector and because
// nothing that a reader holds may be moved or changed.
func TestSnapshotsHoldWhileTheJournalGrows(t *testing.T) {
	const writes = 400
	h := New()
	var mu sync.RWMutex
	g := h.Open(3, model.String)
	put := func(i int) {
		s := model.Samples{Type: model.String}
		for k := range 1 + i%5 {
			x := model.Sample{Time: int64((i*7 + k) % 50), Type: model.String, Blob: []byte{byte(i)}, Seq: uint32(i % 2)}
			if i < writes/2 {
				x = model.Sample{Time: int64(i*10 + k), Type: model.String, Blob: []byte{byte(i)}}
			}
			s.Append(x)
		}
		mu.Lock()
		defer mu.Unlock()
		h.Put(g, &s, &Record{Offset: uint64(i + 1)}, 0, i > writes/2 && i%7 == 0)
	}
	views := make(chan Snapshot, writes)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for snap := range views {
				var a, b Resolved
				snap.Resolve(model.All, &a)
				snap.Resolve(model.All, &b)
				if len(a.Times) != len(b.Times) || !slices.Equal(a.Times, b.Times) || !slices.Equal(a.Removed, b.Removed) {
					t.Errorf("a snapshot of %d entries changed", snap.Len())
				}
				h.Release()
			}
		})
	}
	for i := range writes {
		put(i)
		mu.RLock()
		h.Acquire()
		views <- h.Snapshot(g, uint64(i+1))
		mu.RUnlock()
	}
	close(views)
	readers.Wait()
	h.Release()
	require.Nil(t, h.arena.slabs, "the last holder gives the memory back")
}

// TestManyTagsShareMemory holds that tags do not run into each other's blocks, with ids far apart.
func TestManyTagsShareMemory(t *testing.T) {
	h := New()
	ids := []model.TagID{900_000, 1, 77, 70_000}
	for i := range 2000 {
		for _, id := range ids {
			s := model.Samples{Type: model.Uint64, Times: []int64{int64(i)}, Bits: []uint64{uint64(id) + uint64(i)}}
			h.Put(h.Open(id, model.Uint64), &s, &Record{Offset: uint64(i + 1)}, 0, false)
		}
	}
	require.Equal(t, []model.TagID{1, 77, 70_000, 900_000}, h.IDs())
	require.Equal(t, 2000*len(ids), h.Samples)
	require.Equal(t, int64(16*2000*len(ids)), h.Bytes)
	require.Equal(t, int64((16+16)*2000*len(ids)), h.Weight(), "each sample came by itself, and has its origin")
	require.Less(t, int64(8*slabWords*(len(h.arena.slabs)-1)), h.Weight()*3/2, "what is counted is nearly what is taken")
	require.Nil(t, h.Tag(2))
	require.Nil(t, h.Tag(1<<31))
	var out Resolved
	for _, id := range ids {
		snapshotOf(h, id).Resolve(model.All, &out)
		require.Equal(t, 2000, out.Len())
		for i := range 2000 {
			require.Equal(t, uint64(id)+uint64(i), out.Bits[i])
		}
	}
}

// snapshotOf is the whole journal of a tag.
func snapshotOf(h *Head, id model.TagID) *Snapshot {
	s := h.Snapshot(h.Tag(id), ^uint64(0))
	return &s
}
