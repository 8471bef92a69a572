// Package head holds the samples of one generation in memory until they are written as chunks.
//
// Samples are kept per tag in the order they were applied, as a journal of puts and removals: appending is the whole of
// the hot path, and nothing that a reader may hold is ever moved or changed. Order and duplicates are settled when
// somebody looks: [Snapshot.Resolve] sorts the journal of one tag, picks the newest of every key and tells apart what is
// current, what was replaced and what was removed.
//
// Journals lie in an arena: memory taken in large pieces without pointers, so that a head is a few hundred objects to the
// garbage collector, and looks to it like nothing to follow. What a journal needs beyond times and values, which of most tags is
// nothing, lies apart.
//
// One goroutine applies. Readers take a [Head.Snapshot] under the store's read lock and use it without a lock for as long
// as they hold the Head with Acquire: its memory goes back to the pool when the last holder lets go.
package head

import (
	"slices"
	"sync/atomic"

	"github.com/varvedb/varve/model"
)

// tagsAtOnce is how many tags memory is taken for at a time.
const tagsAtOnce = 256

// Head is the samples of the generation being filled.
type Head struct {
	byID    []int32 // by tag id: place in tags and one, 0 for none
	ids     []model.TagID
	tags    [][]Tag  // tagsAtOnce each; never grown, so that pointers into them stay
	sides   []*side  // that tags refer to
	records []Record // that journals refer to, in the order applied
	arena   arena
	indexes map[model.TagID]*index // of journals that Find had to look into; of the applying goroutine
	refs    atomic.Int32
	Samples int
	Bytes   int64  // of samples
	origins int    // of all journals
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

// Weight is what counts towards the end of the generation: the samples, and what says which record each run of them came from. Of a
// tag that is written one sample at a time that is as much again.
func (h *Head) Weight() int64 { return h.Bytes + int64(originBytes*h.origins) }

// Acquire holds the head's memory.
func (h *Head) Acquire() { h.refs.Add(1) }

// Release lets go of it.
func (h *Head) Release() {
	if h.refs.Add(-1) == 0 {
		h.arena.release()
	}
}

// Tag is the journal of a tag, or nil if it has none.
func (h *Head) Tag(id model.TagID) *Tag {
	if int(id) >= len(h.byID) || h.byID[id] == 0 {
		return nil
	}
	i := h.byID[id] - 1
	return &h.tags[i/tagsAtOnce][i%tagsAtOnce]
}

// IDs is the tags with a journal, ascending. The applying goroutine may call it, and anyone once the head is frozen.
func (h *Head) IDs() []model.TagID {
	slices.Sort(h.ids)
	return h.ids
}

// Open is the journal of a tag, made if there is none.
func (h *Head) Open(id model.TagID, t model.Type) *Tag {
	if g := h.Tag(id); g != nil {
		return g
	}
	if int(id) >= len(h.byID) {
		n := max(2*len(h.byID), int(id)+1, 1024)
		h.byID = append(h.byID, make([]int32, n-len(h.byID))...)
	}
	i := len(h.ids)
	if i%tagsAtOnce == 0 {
		h.tags = append(h.tags, make([]Tag, tagsAtOnce))
	}
	g := &h.tags[i/tagsAtOnce][i%tagsAtOnce]
	*g = Tag{ID: id, Type: t, ordered: true, record: -1}
	h.ids = append(h.ids, id)
	h.byID[id] = int32(i + 1)
	return g
}

// record is the place of rec in records.
func (h *Head) record(rec *Record) int32 {
	if n := len(h.records); n == 0 || h.records[n-1] != *rec {
		h.records = append(h.records, *rec)
	}
	return int32(len(h.records) - 1)
}
