// Package head holds the samples of one generation in memory until they are written as chunks.
//
// Samples are kept per tag in the order they were applied, as a journal of puts and removals: appending is the whole of
// the hot path, and nothing that a reader may hold is ever moved or changed. Order and duplicates are settled when
// somebody looks: [Snapshot.Resolve] sorts the journal of one tag, picks the newest of every key and tells apart what is
// current, what was replaced and what was removed.
//
// One goroutine applies. Readers take a [Head.Snapshot] under the store's read lock and use it without a lock for as long
// as they hold the Head with Acquire: its memory goes back to the pool when the last holder lets go.
package head

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/varvedb/varve/model"
)

// slabWords is the size of the pieces in which memory is taken: large enough that a head is a few hundred objects to
// the garbage collector, and free of pointers so that it never looks inside.
const slabWords = 64 << 10

var slabs = sync.Pool{New: func() any { return new([slabWords]uint64) }}

// Head is the samples of the generation being filled.
type Head struct {
	byID    []*Tag // indexed by tag id
	ids     []model.TagID
	tags    []Tag    // handed out in order; never grown, so that pointers into it stay
	records []Record // that journals refer to, in the order applied
	slabs   []*[slabWords]uint64
	free    []uint64
	refs    atomic.Int32
	Samples int
	Bytes   int64  // of samples, as they count towards the end of the generation
	After   uint64 // log offset of the record behind which the head begins
	First   int64  // ingest time of the first record
	Last    int64  // ingest time of the newest record
}

// New makes an empty head held once.
func New() *Head {
	h := &Head{}
	h.refs.Store(1)
	return h
}

// Acquire holds the head's memory.
func (h *Head) Acquire() { h.refs.Add(1) }

// Release lets go of it.
func (h *Head) Release() {
	if h.refs.Add(-1) == 0 {
		for _, s := range h.slabs {
			slabs.Put(s)
		}
		h.slabs, h.free = nil, nil
	}
}

// Tag is the journal of a tag, or nil if it has none.
func (h *Head) Tag(id model.TagID) *Tag {
	if int(id) < len(h.byID) {
		return h.byID[id]
	}
	return nil
}

// IDs is the tags with a journal, ascending. The applying goroutine may call it, and anyone once the head is frozen.
func (h *Head) IDs() []model.TagID {
	sort.Slice(h.ids, func(i, j int) bool { return h.ids[i] < h.ids[j] })
	return h.ids
}

// Open is the journal of a tag, made if there is none.
func (h *Head) Open(id model.TagID, t model.Type) *Tag {
	if int(id) >= len(h.byID) {
		n := max(2*len(h.byID), int(id)+1, 1024)
		h.byID = append(h.byID, make([]*Tag, n-len(h.byID))...)
	}
	if g := h.byID[id]; g != nil {
		return g
	}
	if len(h.tags) == cap(h.tags) {
		h.tags = make([]Tag, 0, 256)
	}
	h.tags = append(h.tags, Tag{ID: id, Type: t, ordered: true})
	g := &h.tags[len(h.tags)-1]
	h.byID[id] = g
	h.ids = append(h.ids, id)
	return g
}

// record is the place of rec in records.
func (h *Head) record(rec *Record) int32 {
	if n := len(h.records); n == 0 || h.records[n-1] != *rec {
		h.records = append(h.records, *rec)
	}
	return int32(len(h.records) - 1)
}

// block takes memory for n samples: n times and n values.
func (h *Head) block(n int) []uint64 {
	if len(h.free) < 2*n {
		s := slabs.Get().(*[slabWords]uint64)
		h.slabs = append(h.slabs, s)
		h.free = s[:]
	}
	b := h.free[: 2*n : 2*n]
	h.free = h.free[2*n:]
	return b
}
