package head

import (
	"slices"
	"sort"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
)

// Resolved is a journal, or a part of it, settled. Reset it for reuse.
type Resolved struct {
	chunk.Data           // the current samples, ascending by (time, seq), and where they came from
	Removed    []Removed // keys that end up removed, ascending
	History    []Past    // versions of these keys that are not in Data, and edits that are; oldest first within a key
	order      []int32
	spare      []int32
	blocks     []block
	times      []int64
	bits       []uint64
	origins    []origin
}

// flat is the journal being settled, as columns: entries are met in any order then.
type flat struct {
	*Snapshot
	times   []int64
	bits    []uint64
	origins []origin
}

// Removed is a key that no longer holds a sample, whatever older generations have.
type Removed struct {
	Time   int64
	Seq    uint32
	Offset uint64
}

// Past is one version of a key as the journal has it. For a removal Sample has only Time and Seq.
type Past struct {
	model.Sample
	Removed bool
	Current bool // Data holds it too; it is here for who and why
	Offset  uint64
	Index   uint32
	Ingest  int64
	Source  uint32
	Edit    *Edit
}

// Resolve settles the entries of a snapshot in a range into out.
func (g *Snapshot) Resolve(in model.TimeRange, out *Resolved) {
	out.Data.Samples.Reset(g.Type)
	out.Origins, out.Removed, out.History = out.Origins[:0], out.Removed[:0], out.History[:0]
	if g.n == 0 || in.Empty() {
		return
	}
	if g.ordered {
		g.copyRange(in, out)
		return
	}
	g.settle(in, out)
}

// copyRange is Resolve of an ordered journal: nothing to settle.
func (g *Snapshot) copyRange(in model.TimeRange, out *Resolved) {
	s := &out.Data.Samples
	from, to := -1, 0
	out.blocks = g.blocks(out.blocks[:0])
	for i := range out.blocks {
		b := &out.blocks[i]
		lo, hi := 0, b.len()
		if b.time(0) < in.Start {
			lo = b.search(in.Start)
		}
		if b.time(hi-1) >= in.End {
			hi = b.search(in.End)
		}
		if lo >= hi {
			continue
		}
		if from < 0 {
			from = b.first + lo
		}
		to = b.first + hi
		b.appendTo(s, lo, hi)
	}
	if from < 0 {
		return
	}
	d := &g.side
	if d.quality != nil {
		s.Quality = d.quality[from:to:to]
	}
	if d.null != nil {
		s.Null = d.null[from:to:to]
	}
	if g.Type.Blob() {
		s.Blobs = append(s.Blobs, d.blobs[from:to]...)
	}
	out.origins = g.origins(out.origins)
	for i, o := range out.origins {
		end := g.n
		if i+1 < len(out.origins) {
			end = int(out.origins[i+1].from)
		}
		if n := min(end, to) - max(int(o.from), from); n > 0 {
			out.addOrigin(&g.records[o.record], n)
		}
	}
}

// appendTo appends the times of entries [lo, hi), and their values unless those are blobs.
func (b *block) appendTo(s *model.Samples, lo, hi int) {
	n := len(s.Times)
	s.Times = slices.Grow(s.Times, hi-lo)[:n+hi-lo]
	times, entries := s.Times[n:], b.entries[2*lo:2*hi]
	if s.Type.Blob() {
		for i := range times {
			times[i] = int64(entries[2*i])
		}
		return
	}
	s.Bits = slices.Grow(s.Bits, hi-lo)[:n+hi-lo]
	bits := s.Bits[n:][:len(times)]
	for i := range times {
		e := entries[2*i : 2*i+2]
		times[i], bits[i] = int64(e[0]), e[1]
	}
}

func (r *Resolved) addOrigin(rec *Record, n int) {
	sec := chunk.Second(rec.Ingest)
	if k := len(r.Origins); k > 0 && r.Origins[k-1].Source == rec.Source && r.Origins[k-1].Ingest == sec {
		r.Origins[k-1].Samples += n
		return
	}
	r.Origins = append(r.Origins, chunk.Origin{Samples: n, Source: rec.Source, Ingest: sec})
}

// settle is Resolve of a journal with anything out of order. Most such journals are a few stretches in order, what was late
// among what was not, so stretches are merged rather than entries sorted.
func (g *Snapshot) settle(in model.TimeRange, out *Resolved) {
	f := g.flatten(out)
	times := f.times
	order := out.order[:0]
	for i, t := range times {
		if in.Contains(t) {
			order = append(order, int32(i))
		}
	}
	out.order = order
	seq := func(i int32) uint32 {
		if g.side.seq == nil {
			return 0
		}
		return g.side.seq[i]
	}
	// less is the order of keys; stretches are merged so that of one key the entry applied first comes first.
	less := func(a, b int32) bool {
		return times[a] < times[b] || times[a] == times[b] && seq(a) < seq(b)
	}
	order = out.mergeStretches(order, less)
	plain := g.side.plain() && !g.Type.Blob()
	s := &out.Data.Samples
	at := origin{from: -1} // of the entry before
	end := int32(-1)       // where that origin ends
	for i := 0; i < len(order); {
		j := i + 1
		for j < len(order) && !less(order[i], order[j]) {
			j++
		}
		e := order[i]
		if j-i == 1 && plain {
			if e < at.from || e >= end {
				at, end = f.originOf(e)
			}
			if rec := &g.records[at.record]; rec.Edit == nil {
				s.Times, s.Bits = append(s.Times, times[e]), append(s.Bits, f.bits[e])
				out.addOrigin(rec, 1)
				i = j
				continue
			}
		}
		f.settleKey(order[i:j], out)
		i = j
	}
}

// flatten is the columns of a journal, in the memory of out.
func (g *Snapshot) flatten(out *Resolved) flat {
	out.blocks = g.blocks(out.blocks[:0])
	out.times, out.bits = out.times[:0], out.bits[:0]
	for i := range out.blocks {
		b := &out.blocks[i]
		for k := range b.len() {
			out.times, out.bits = append(out.times, b.time(k)), append(out.bits, b.value(k))
		}
	}
	out.origins = g.origins(out.origins)
	return flat{g, out.times, out.bits, out.origins}
}

// mergeStretches sorts order, which is entries as they were applied, by merging its ascending stretches two by two.
func (r *Resolved) mergeStretches(order []int32, less func(a, b int32) bool) []int32 {
	var ends []int
	for i := 1; i < len(order); i++ {
		if less(order[i], order[i-1]) {
			ends = append(ends, i)
		}
	}
	ends = append(ends, len(order))
	from, to := order, slices.Grow(r.spare[:0], len(order))[:len(order)]
	for len(ends) > 1 {
		merged, begin := ends[:0], 0
		for k := 0; k < len(ends); k += 2 {
			mid, end := ends[k], ends[min(k+1, len(ends)-1)]
			mergeTwo(to[begin:end], from[begin:mid], from[mid:end], less)
			merged, begin = append(merged, end), end
		}
		from, to, ends = to, from, merged
	}
	r.order, r.spare = from, to
	return from
}

// mergeTwo merges two ascending stretches, a before b where they are equal.
func mergeTwo(dst, a, b []int32, less func(a, b int32) bool) {
	for len(a) > 0 && len(b) > 0 {
		if less(b[0], a[0]) {
			dst[0], b = b[0], b[1:]
		} else {
			dst[0], a = a[0], a[1:]
		}
		dst = dst[1:]
	}
	copy(dst[copy(dst, a):], b)
}

// settleKey adds what the entries of one key, in the order applied, come to.
func (g *flat) settleKey(entries []int32, out *Resolved) {
	if len(entries) == 1 && !g.removed(int(entries[0])) {
		if rec := &g.records[g.origin(entries[0]).record]; rec.Edit == nil {
			out.Data.Samples.Append(g.at(int(entries[0])))
			out.addOrigin(rec, 1)
			return
		}
	}
	var current Past
	standing := false
	for k, i := range entries {
		p := g.past(i)
		switch {
		case p.Removed:
			if standing {
				out.keep(current)
			}
			out.keep(p)
			standing = false
			if k == len(entries)-1 {
				out.Removed = append(out.Removed, Removed{p.Time, p.Seq, p.Offset})
			}
		case standing && current.SameValue(p.Sample):
			// A resend of what stands there changes nothing, not even when it was ingested.
		default:
			if standing {
				out.keep(current)
			}
			current, standing = p, true
		}
	}
	if standing {
		out.Data.Samples.Append(current.Sample)
		out.addOrigin(&Record{Source: current.Source, Ingest: current.Ingest}, 1)
		if current.Edit != nil {
			current.Current = true
			out.keep(current)
		}
	}
}

func (r *Resolved) keep(p Past) { r.History = append(r.History, p) }

// origin is where entry i came from; its index is that of the entry.
func (g *flat) origin(i int32) origin {
	o, _ := g.originOf(i)
	o.index += uint32(i - o.from)
	return o
}

// originOf is the origin that entry i is of, and the entry behind its last.
func (g *flat) originOf(i int32) (o origin, end int32) {
	k := sort.Search(len(g.origins), func(k int) bool { return g.origins[k].from > i })
	end = int32(g.n)
	if k < len(g.origins) {
		end = g.origins[k].from
	}
	return g.origins[k-1], end
}

func (g *flat) past(i int32) Past {
	o := g.origin(i)
	rec := &g.records[o.record]
	return Past{
		Sample: g.at(int(i)), Removed: g.removed(int(i)),
		Offset: rec.Offset, Index: o.index, Ingest: rec.Ingest, Source: rec.Source, Edit: rec.Edit,
	}
}

// at is entry i.
func (g *flat) at(i int) model.Sample {
	x := model.Sample{Time: g.times[i], Type: g.Type, Bits: g.bits[i]}
	d := &g.side
	if d.quality != nil {
		x.Quality = d.quality[i]
	}
	if d.null != nil {
		x.Null = d.null[i]
	}
	if d.seq != nil {
		x.Seq = d.seq[i]
	}
	if d.blobs != nil {
		x.Blob = d.blobs[i]
	}
	return x
}

func (g *flat) removed(i int) bool { return g.side.removed != nil && g.side.removed[i] }
