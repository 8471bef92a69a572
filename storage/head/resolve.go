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
	from := sort.Search(g.n, func(i int) bool { t, _ := g.entry(i); return t >= in.Start })
	to := sort.Search(g.n, func(i int) bool { t, _ := g.entry(i); return t >= in.End })
	if from >= to {
		return
	}
	s := &out.Data.Samples
	first := 0
	for _, b := range g.blocks {
		size := len(b) / 2
		lo, hi := max(from-first, 0), min(to-first, size)
		if lo < hi {
			for _, t := range b[lo:hi] {
				s.Times = append(s.Times, int64(t))
			}
			if !g.Type.Blob() {
				s.Bits = append(s.Bits, b[size+lo:size+hi]...)
			}
		}
		first += size
	}
	if d := g.side; d != nil {
		if d.quality != nil {
			s.Quality = d.quality[from:to:to]
		}
		if d.null != nil {
			s.Null = d.null[from:to:to]
		}
		if g.Type.Blob() {
			s.Blobs = append(s.Blobs, d.blobs[from:to]...)
		}
	}
	for i, o := range g.origins {
		end := g.n
		if i+1 < len(g.origins) {
			end = int(g.origins[i+1].from)
		}
		if n := min(end, to) - max(int(o.from), from); n > 0 {
			out.addOrigin(&g.records[o.record], n)
		}
	}
}

func (r *Resolved) addOrigin(rec *Record, n int) {
	sec := floorSecond(rec.Ingest)
	if k := len(r.Origins); k > 0 && r.Origins[k-1].Source == rec.Source && r.Origins[k-1].Ingest == sec {
		r.Origins[k-1].Samples += n
		return
	}
	r.Origins = append(r.Origins, chunk.Origin{Samples: n, Source: rec.Source, Ingest: sec})
}

func floorSecond(ns int64) int64 {
	s := ns / 1e9
	if ns%1e9 < 0 {
		s--
	}
	return s
}

// settle is Resolve of a journal with anything out of order.
func (g *Snapshot) settle(in model.TimeRange, out *Resolved) {
	order := out.order[:0]
	for i := range g.n {
		if t, _ := g.entry(i); in.Contains(t) {
			order = append(order, int32(i))
		}
	}
	out.order = order
	seq := func(i int32) uint32 {
		if g.side == nil || g.side.seq == nil {
			return 0
		}
		return g.side.seq[i]
	}
	slices.SortFunc(order, func(a, b int32) int {
		ta, _ := g.entry(int(a))
		tb, _ := g.entry(int(b))
		switch {
		case ta != tb:
			if ta < tb {
				return -1
			}
			return 1
		case seq(a) != seq(b):
			if seq(a) < seq(b) {
				return -1
			}
			return 1
		}
		return int(a) - int(b)
	})
	for i := 0; i < len(order); {
		t, _ := g.entry(int(order[i]))
		j := i + 1
		for j < len(order) {
			if u, _ := g.entry(int(order[j])); u != t || seq(order[j]) != seq(order[i]) {
				break
			}
			j++
		}
		g.settleKey(order[i:j], out)
		i = j
	}
}

// settleKey adds what the entries of one key, in the order applied, come to.
func (g *Snapshot) settleKey(entries []int32, out *Resolved) {
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
func (g *Tag) origin(i int32) origin {
	k := sort.Search(len(g.origins), func(k int) bool { return g.origins[k].from > i }) - 1
	o := g.origins[k]
	o.index += uint32(i - o.from)
	return o
}

func (g *Snapshot) past(i int32) Past {
	o := g.origin(i)
	rec := &g.records[o.record]
	return Past{
		Sample: g.at(int(i)), Removed: g.removed(int(i)),
		Offset: rec.Offset, Index: o.index, Ingest: rec.Ingest, Source: rec.Source, Edit: rec.Edit,
	}
}
