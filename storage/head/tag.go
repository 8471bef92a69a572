package head

import (
	"github.com/varvedb/varve/model"
)

// Block sizes, in samples: 4, 16, 64, then 256. Small for the first, so that a million slow tags do not pay a page each.
const (
	firstBlock = 4
	growBlock  = 4
	lastBlock  = 256
)

// Tag is the journal of one tag. Everything is append-only; see the package comment for who may read it when.
type Tag struct {
	ID   model.TagID
	Type model.Type

	n       int        // entries
	blocks  [][]uint64 // each the times, then the values, of as many entries
	room    int        // entries that fit the last block still
	ordered bool       // every entry is a put behind the one before: nothing to settle
	last    int64      // time of the last entry

	origins []origin
	side    *side // nil while all entries are Good puts with a value and seq 0

	keys map[int64]keys // what stands at each time; only for journals out of order that a write mode had to look into
	seen int            // entries that keys covers
}

// origin says where the entries from index from on came from, up to the next origin. There is one per run applied, so
// it is small and without pointers: what the runs of a record share stands in the head's table of records.
type origin struct {
	from   int32
	index  uint32 // of entry from, inside its record
	record int32  // in records
}

// Edit is who made a record of edits, and why.
type Edit struct{ Author, Reason string }

// side holds the columns that most tags never need. Each is nil or as long as the journal.
type side struct {
	quality []model.Quality
	null    []bool
	seq     []uint32
	removed []bool
	blobs   [][]byte
}

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
	r := h.record(rec)
	if k := len(g.origins); k == 0 || g.origins[k-1].record != r || g.origins[k-1].index+uint32(g.n)-uint32(g.origins[k-1].from) != index {
		g.origins = append(roomier(g.origins), origin{int32(g.n), index, r})
	}
	if g.side != nil || removed || s.Quality != nil || s.Null != nil || s.Seq != nil || s.Type.Blob() {
		g.widen(s, removed)
	}
	if g.ordered {
		g.ordered = !removed && rec.Edit == nil && s.Seq == nil && ascending(s.Times, g.last, g.n == 0)
	}
	g.last = s.Times[n-1]
	for i := 0; i < n; {
		if g.room == 0 {
			size := firstBlock
			if k := len(g.blocks); k > 0 {
				size = min(len(g.blocks[k-1])/2*growBlock, lastBlock)
			}
			g.blocks = append(roomier(g.blocks), h.block(size))
			g.room = size
		}
		b := g.blocks[len(g.blocks)-1]
		size := len(b) / 2
		k := min(g.room, n-i)
		at := size - g.room
		to := b[at : at+k]
		for j, t := range s.Times[i : i+len(to)] {
			to[j] = uint64(t)
		}
		if len(s.Bits) > 0 {
			copy(b[size+at:], s.Bits[i:i+k])
		} else {
			clear(b[size+at : size+at+k])
		}
		g.room -= k
		g.n += k
		i += k
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

// roomier makes room for one more: a tag written once gets room for one, any other for many, because a busy one would
// otherwise grow again and again in every generation.
func roomier[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	n := 1
	if len(s) > 0 {
		n = max(8, 4*len(s))
	}
	return append(make([]T, 0, n), s...)
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

// widen appends the side columns of samples about to be put.
func (g *Tag) widen(s *model.Samples, removed bool) {
	if g.side == nil {
		g.side = &side{}
	}
	d, n, k := g.side, g.n, len(s.Times)
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
	if g.Type.Blob() {
		for i := range k {
			var b []byte
			if i < len(s.Blobs) {
				b = append([]byte{}, s.Blobs[i]...)
			}
			d.blobs = append(d.blobs, b)
		}
	}
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
func (g *Tag) Len() int { return g.n }

// Snapshot is a journal as it was at one moment, with the records it refers to.
type Snapshot struct {
	Tag
	records []Record
}

// Snapshot is the journal of a tag as far as it was written by records up to offset. The caller holds the store's read
// lock for the call, and the Head for as long as it uses the answer.
func (h *Head) Snapshot(g *Tag, offset uint64) Snapshot {
	// Not keys and seen: the applying goroutine fills those in without the lock, see Find.
	c := Snapshot{Tag: Tag{ID: g.ID, Type: g.Type, n: g.n, blocks: g.blocks, ordered: g.ordered, origins: g.origins}, records: h.records}
	k := len(c.origins)
	for k > 0 && c.records[c.origins[k-1].record].Offset > offset {
		k--
		c.n = int(c.origins[k].from)
	}
	c.origins = c.origins[:k]
	if g.side != nil {
		d := *g.side
		c.side = &d
	}
	return c
}

// at is entry i.
func (g *Tag) at(i int) model.Sample {
	t, v := g.entry(i)
	x := model.Sample{Time: t, Type: g.Type, Bits: v}
	if d := g.side; d != nil {
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
	}
	return x
}

func (g *Tag) removed(i int) bool { return g.side != nil && g.side.removed != nil && g.side.removed[i] }

// entry is the time and value of entry i. Blocks have fixed sizes, so that the place of an entry is arithmetic.
func (g *Tag) entry(i int) (int64, uint64) {
	b, at := 3+(i-84)/lastBlock, (i-84)%lastBlock
	switch {
	case i < 4:
		b, at = 0, i
	case i < 20:
		b, at = 1, i-4
	case i < 84:
		b, at = 2, i-20
	}
	block := g.blocks[b]
	return int64(block[at]), block[len(block)/2+at]
}
