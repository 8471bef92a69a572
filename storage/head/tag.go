package head

import (
	"slices"

	"github.com/varvedb/varve/model"
)

// Block sizes, in entries. The next block of a tag has room for half of what it has, or for the run that is put: little stays
// empty, and there are few.
const (
	firstBlock = 4
	lastBlock  = 1024
)

// Tag is the journal of one tag. It has no pointers, and everything it refers to is append-only; see the package comment for who
// may read it when.
type Tag struct {
	ID      model.TagID
	Type    model.Type
	ordered bool  // every entry is a put behind the one before: nothing to settle
	whole   bool  // all of it is archived, whatever the tag's filter says
	n       int32 // entries
	last    int64 // time of the last entry

	block ref   // the newest
	next  ref   // place of the next entry, in block
	room  int32 // entries that fit block still

	origin ref    // the newest
	record int32  // of that one
	index  uint32 // of the next entry if it has the same origin

	side int32 // place in the head's sides and one, 0 for none
}

// side holds the columns that most tags never need: they are nil while all entries are Good puts with a value and seq 0. Each is
// nil or as long as the journal.
type side struct {
	quality []model.Quality
	null    []bool
	seq     []uint32
	removed []bool
	blobs   [][]byte
}

// Edit is who made a record of edits, and why.
type Edit struct{ Author, Reason string }

// Record says which record the samples of the next Put come from.
type Record struct {
	Source uint32
	Ingest int64
	Offset uint64
	Edit   *Edit
}

// Put appends samples as they are, in their order; index is the place of the first inside its record. removed says that
// they are removals: they have no values. Blobs are copied.
func (h *Head) Put(g *Tag, s *model.Samples, rec *Record, index uint32, removed bool) {
	n := len(s.Times)
	if r := h.record(rec); g.record != r || g.index != index {
		g.origin = h.arena.newOrigin(g.origin, origin{g.n, index, r})
		g.record = r
		h.origins++
	}
	g.index = index + uint32(n)
	if g.side > 0 || removed || s.Quality != nil || s.Null != nil || s.Seq != nil || s.Type.Blob() {
		h.side(g).append(int(g.n), s, removed)
	}
	if g.ordered {
		g.ordered = !removed && rec.Edit == nil && s.Seq == nil && ascending(s.Times, g.last, g.n == 0)
	}
	g.last = s.Times[n-1]
	for times, bits := s.Times, s.Bits; len(times) > 0; {
		if g.room == 0 {
			size := min(max(len(times), int(g.n)/2, firstBlock), lastBlock)
			g.block = h.arena.newBlock(g.block, g.n, size)
			g.next, g.room = g.block+1, int32(size)
		}
		k := min(int(g.room), len(times))
		put(h.arena.slabs.at(g.next)[:2*k], times[:k], bits)
		g.next += ref(2 * k)
		g.room -= int32(k)
		g.n += int32(k)
		times, bits = times[k:], bits[min(k, len(bits)):]
	}
	h.Samples += n
	h.Bytes += int64(16 * n)
	if !g.ordered {
		h.Bytes += int64(32 * n) // what settling them may take, so that such a generation ends sooner
	}
	for _, b := range s.Blobs {
		h.Bytes += int64(len(b))
	}
}

// put writes times and values as entries; removals and blobs have no values.
func put(entries []uint64, times []int64, bits []uint64) {
	if len(bits) == 0 {
		for i, t := range times {
			entries[2*i], entries[2*i+1] = uint64(t), 0
		}
		return
	}
	bits = bits[:len(times)]
	for i, t := range times {
		e := entries[2*i : 2*i+2]
		e[0], e[1] = uint64(t), bits[i]
	}
}

func ascending(times []int64, last int64, first bool) bool {
	for i, t := range times {
		if t <= last && !(first && i == 0) {
			return false
		}
		last = t
	}
	return true
}

// side is what a journal has beyond times and values, made if it has none.
func (h *Head) side(g *Tag) *side {
	if g.side == 0 {
		h.sides = append(h.sides, &side{})
		g.side = int32(len(h.sides))
	}
	return h.sides[g.side-1]
}

// append adds the columns of samples about to be put behind n entries.
func (d *side) append(n int, s *model.Samples, removed bool) {
	k := len(s.Times)
	d.quality = grow(d.quality, n, k, s.Quality)
	d.null = grow(d.null, n, k, s.Null)
	d.seq = grow(d.seq, n, k, s.Seq)
	if removed || d.removed != nil {
		var all []bool
		if removed {
			all = make([]bool, k)
			for i := range all {
				all[i] = true
			}
		}
		d.removed = grow(d.removed, n, k, all)
	}
	if s.Type.Blob() {
		for i := range k {
			var b []byte
			if i < len(s.Blobs) {
				b = append([]byte{}, s.Blobs[i]...)
			}
			d.blobs = append(d.blobs, b)
		}
	}
}

// plain reports whether there is nothing in it.
func (d *side) plain() bool {
	return d.quality == nil && d.null == nil && d.seq == nil && d.removed == nil && d.blobs == nil
}

// grow appends k values to a column of n entries: those of add, or zeros. A nil column stays nil while add is nil.
func grow[T any](col []T, n, k int, add []T) []T {
	if col == nil && add == nil {
		return nil
	}
	if col == nil {
		col = make([]T, n, n+k)
	}
	if add == nil {
		return append(col, make([]T, k)...)
	}
	return append(col, add...)
}

// Len is the number of entries.
func (g *Tag) Len() int { return int(g.n) }

// KeepAll says that nothing of the journal may be left out when it is archived.
func (g *Tag) KeepAll() { g.whole = true }

// MayThin reports whether a filter may leave samples of the journal out: each came behind the one before, was put as it is and by no
// edit, and nobody called KeepAll.
func (g *Tag) MayThin() bool { return g.ordered && !g.whole }

// Snapshot is a journal as it was at one moment, with the memory and the records it refers to.
type Snapshot struct {
	Type    model.Type
	n       int
	ordered bool
	block   ref // the newest, or one behind the last entry
	origin  ref // of the last entry
	side    side
	slabs   slabs
	records []Record
}

// Snapshot is the journal of a tag as far as it was written by records up to offset. The caller holds the store's read
// lock for the call, and the Head for as long as it uses the answer.
func (h *Head) Snapshot(g *Tag, offset uint64) Snapshot {
	s := Snapshot{
		Type: g.Type, n: int(g.n), ordered: g.ordered, block: g.block, origin: g.origin, slabs: h.arena.slabs, records: h.records,
	}
	for s.n > 0 {
		o, before := s.slabs.origin(s.origin)
		if s.records[o.record].Offset <= offset {
			break
		}
		s.n, s.origin = int(o.from), before
	}
	if g.side > 0 {
		s.side = *h.sides[g.side-1]
	}
	return s
}

// Len is the number of entries.
func (s *Snapshot) Len() int { return s.n }

// blocks appends to dst all there is of the journal.
func (s *Snapshot) blocks(dst []block) []block { return s.slabs.blocks(dst, s.block, 0, s.n) }

// origins appends to dst the origins of all entries, ascending.
func (s *Snapshot) origins(dst []origin) []origin {
	dst = dst[:0]
	for r := s.origin; r != 0; {
		var o origin
		o, r = s.slabs.origin(r)
		dst = append(dst, o)
	}
	slices.Reverse(dst)
	return dst
}
