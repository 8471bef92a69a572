package storage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
)

// ownChunk is how many samples of a tag in one partition earn a chunk with a key of its own. Fewer go into a block
// shared with other tags, which packBytes ends: about the size of an LSM block, so that finding one reads one.
const (
	ownChunk  = 64
	packBytes = 8 << 10
)

// generationWriter turns ended generations into batches. It is one goroutine.
type generationWriter struct {
	db       *DB
	e        *ended
	batch    *pebble.Batch
	dir      map[keys.Partition]*generation
	packs    map[keys.Partition]*pack
	sets     setWalker
	resolved head.Resolved
	thinner  thinner
	filtered map[model.TagID]filteredTag // new figures of filters
	encoder  chunk.Encoder
	value    []byte
	key      []byte
	header   []byte
	erased   bool      // rows of annotations or gaps are deleted for good
	runsGone []stretch // as rows of forecast runs are
}

// pack is a block of several tags being filled.
type pack struct {
	chunk.Packer
	tag         model.TagID // the first
	first, last int64
}

// write makes the batch of a generation and commits it: chunks, headers, removals, versions, directory and small rows.
func (w *generationWriter) write(e *ended) error {
	w.e, w.batch = e, w.db.engine.NewBatchWithSize(sizeOf(e))
	w.dir, w.packs = map[keys.Partition]*generation{}, map[keys.Partition]*pack{}
	if err := w.rows(); err != nil {
		return err
	}
	if err := w.dropEffects(); err != nil {
		return err
	}
	if err := w.tags(); err != nil {
		return err
	}
	for p, k := range w.packs {
		if err := w.endPack(p, k); err != nil {
			return err
		}
	}
	for p, g := range w.dir {
		v := g.append(nil)
		for _, s := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
			if err := w.batch.Set(keys.AppendDirectory(nil, s, p, e.offset), v, nil); err != nil {
				return err
			}
		}
	}
	err := w.db.commit(e, w.batch, w.dir, w.filtered)
	if w.erased {
		w.db.sealer.notesGone.Store(true)
	}
	w.db.sealer.runsAreGone(w.runsGone)
	w.batch, w.e, w.erased, w.runsGone, w.filtered = nil, nil, false, nil, nil
	return err
}

// sizeOf is about how many bytes the batch of a generation takes, rather too many: one that grows is copied whole into twice the
// memory, and with the rows of a million new tags in it that is half a gigabyte.
func sizeOf(e *ended) int {
	const (
		rowBytes = 1 + 2*binary.MaxVarintLen32 // the batch makes room for them beside each key and value
		tagBytes = 64                          // of a set of partitions, with its key, or a header
	)
	n := int(e.head.Bytes/8)*3 + tagBytes*len(e.head.IDs())
	for i := range e.rows {
		r := &e.rows[i]
		size := len(r.key) + len(r.value) + rowBytes
		if n += size; r.again != 0 {
			n += size
		}
	}
	return n
}

// rows writes the small rows: all of a space, then all of the next, so that the LSM finds most of them in order.
func (w *generationWriter) rows() error {
	for _, r := range w.e.rows {
		if err := w.row(r.key, r.value); err != nil {
			return err
		}
	}
	for _, r := range w.e.rows {
		if r.again == 0 {
			continue
		}
		w.key = append(append(w.key[:0], byte(r.again)), r.key[1:]...)
		if err := w.row(w.key, r.value); err != nil {
			return err
		}
	}
	return nil
}

func (w *generationWriter) row(key, value []byte) error {
	if value == nil {
		if keys.Space(key[0]) == keys.Forecasts {
			w.runsGone = withoutRun(w.runsGone, key)
		} else {
			w.erased = true
		}
		return w.batch.Delete(key, nil)
	}
	return w.batch.Set(key, value, nil)
}

// tags writes what the generation has of every tag.
func (w *generationWriter) tags() error {
	w.sets = setWalker{db: w.db}
	defer w.sets.close()
	h := w.e.head
	for _, id := range h.IDs() {
		g := h.Snapshot(h.Tag(id), w.e.offset)
		g.Resolve(model.All, &w.resolved)
		if x, ok := w.e.thin[id]; ok {
			if err := w.thin(x); err != nil {
				return err
			}
		}
		if err := w.tag(id); err != nil {
			return err
		}
	}
	return nil
}

// tag writes what the generation has of one tag.
func (w *generationWriter) tag(id model.TagID) error {
	r := &w.resolved
	var touched []keys.Partition
	for from := 0; from < r.Len(); {
		p := keys.DayOf(r.Times[from])
		end := p.Range().End
		to := from + sort.Search(r.Len()-from, func(i int) bool { return r.Times[from+i] >= end })
		if err := w.samples(id, p, from, to); err != nil {
			return err
		}
		touched = append(touched, p)
		from = to
	}
	if len(r.Removed) > 0 || len(r.History) > 0 {
		more, err := w.changes(id)
		if err != nil {
			return err
		}
		touched = append(touched, more...)
	}
	return w.addPartitions(id, touched)
}

// in is the directory entry of a partition, widened to hold [first, last].
func (w *generationWriter) in(p keys.Partition, first, last int64) *generation {
	g := w.dir[p]
	if g == nil {
		g = &generation{id: w.e.offset, first: first, last: last, ingest: w.e.ingest}
		w.dir[p] = g
	}
	g.first, g.last = min(g.first, first), max(g.last, last)
	return g
}

// samples writes the samples [from, to) of the resolved tag, all in one partition.
func (w *generationWriter) samples(id model.TagID, p keys.Partition, from, to int) error {
	r := &w.resolved
	g := w.in(p, r.Times[from], r.Times[to-1])
	g.samples += uint64(to - from)
	for from < to {
		n := min(to-from, chunk.MaxSamples)
		s := r.Data.Samples.Slice(from, from+n)
		origins := r.Origins
		if n < r.Len() {
			origins = cutOrigins(r.Origins, from, from+n)
		}
		w.value = w.encoder.Append(w.value[:0], &s, origins)
		g.bytes += uint64(len(w.value))
		var err error
		if n < ownChunk && from+n == to {
			err = w.pack(id, p, &s)
		} else {
			err = w.own(id, p, &s)
		}
		if err != nil {
			return err
		}
		from += n
	}
	return nil
}

// own writes the encoded samples under a key of their own, with a header that finds them.
func (w *generationWriter) own(id model.TagID, p keys.Partition, s *model.Samples) error {
	n := s.Len()
	c := keys.Chunk{
		Partition: p, Kind: keys.Unsealed, Generation: w.e.offset, Tag: id,
		Start: s.Times[0], End: s.Times[n-1], Seq: s.SeqAt(0),
	}
	w.key = c.Append(w.key[:0])
	if err := w.batch.Set(w.key, w.value, nil); err != nil {
		return err
	}
	h := c.Header()
	v := headerValue{length: uint64(c.End - c.Start), count: uint64(n), bytes: uint64(len(w.value))}
	w.key = h.Append(w.key[:0])
	w.header = v.append(w.header[:0], c.Kind)
	return w.batch.Set(w.key, w.header, nil)
}

// pack adds the encoded samples to the block of their partition. A tag has at most one chunk in it: the rest of one that
// has more than MaxSamples can only follow chunks of its own.
func (w *generationWriter) pack(id model.TagID, p keys.Partition, s *model.Samples) error {
	k := w.packs[p]
	if k == nil {
		k = &pack{}
		w.packs[p] = k
	}
	first, last := s.Times[0], s.Times[s.Len()-1]
	if k.Len() == 0 {
		k.tag, k.first, k.last = id, first, last
	}
	k.first, k.last = min(k.first, first), max(k.last, last)
	k.Add(id, w.value)
	if k.Bytes() >= packBytes {
		return w.endPack(p, k)
	}
	return nil
}

func (w *generationWriter) endPack(p keys.Partition, k *pack) error {
	if k.Len() == 0 {
		return nil
	}
	c := keys.Chunk{Partition: p, Kind: keys.Packed, Generation: w.e.offset, Tag: k.tag, Start: k.first, End: k.last}
	w.key = c.Append(w.key[:0])
	w.value = k.Finish(w.value[:0])
	w.in(p, k.first, k.last).packed = true
	return w.batch.Set(w.key, w.value, nil)
}

// changes writes the removals and the history of the resolved tag, partition by partition.
func (w *generationWriter) changes(id model.TagID) ([]keys.Partition, error) {
	deletions := map[keys.Partition][]chunk.Deletion{}
	versions := map[keys.Partition][]chunk.VersionRow{}
	for _, x := range w.resolved.Removed {
		p := keys.DayOf(x.Time)
		deletions[p] = append(deletions[p], chunk.Deletion{Time: x.Time, Seq: x.Seq, Offset: x.Offset})
		w.in(p, x.Time, x.Time).deletions = true
	}
	for _, x := range w.resolved.History {
		p := keys.DayOf(x.Time)
		versions[p] = append(versions[p], versionRow(&x))
		w.in(p, x.Time, x.Time).hasVersions = true
	}
	var touched []keys.Partition
	for p, rows := range deletions {
		touched = append(touched, p)
		if err := w.change(id, p, keys.Deletion, chunk.AppendDeletions(w.value[:0], rows)); err != nil {
			return nil, err
		}
	}
	for p, rows := range versions {
		touched = append(touched, p)
		if err := w.change(id, p, keys.Version, chunk.AppendVersions(w.value[:0], rows)); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

func (w *generationWriter) change(id model.TagID, p keys.Partition, k keys.Kind, value []byte) error {
	w.value = value
	c := keys.Chunk{Partition: p, Kind: k, Generation: w.e.offset, Tag: id}
	c.Start = p.Range().Start
	c.End = c.Start
	w.dir[p].versions += uint64(len(value))
	w.key = c.Append(w.key[:0])
	return w.batch.Set(w.key, value, nil)
}

// versionRow is a version as it is stored. Whether a put inserted or replaced shows only beside older generations; it is
// worked out when the versions of a key are read.
func versionRow(x *head.Past) chunk.VersionRow {
	r := chunk.VersionRow{
		Sample: x.Sample, Kind: model.Inserted, Current: x.Current,
		Offset: x.Offset, Index: x.Index, Ingest: x.Ingest, Source: x.Source,
	}
	if x.Removed {
		r.Kind, r.Null, r.Quality = model.Removed, true, model.Good
	}
	if x.Edit != nil {
		r.Author, r.Reason = x.Edit.Author, x.Edit.Reason
	}
	return r
}

// addPartitions adds partitions to the set of a tag, tags ascending. The newest one known to be in it is remembered, so that a tag
// costs one read and write a day.
func (w *generationWriter) addPartitions(id model.TagID, touched []keys.Partition) error {
	db := w.db
	db.mu.RLock()
	row := db.latest.rows[id]
	db.mu.RUnlock()
	touched = slices.DeleteFunc(touched, func(p keys.Partition) bool {
		return row.flags&newestDay != 0 && row.day == p.Number
	})
	if len(touched) == 0 {
		return nil
	}
	var set *roaring.Bitmap
	err := db.persist(fmt.Sprintf("read the partitions of tag %d", id), func() (err error) {
		set, err = w.sets.find(id)
		return err
	})
	if err != nil {
		return err
	}
	changed, newest := false, touched[0].Number
	for _, p := range touched {
		changed = set.CheckedAdd(partitionBit(p.Number)) || changed
		newest = max(newest, p.Number)
	}
	if changed {
		v, err := set.ToBytes()
		if err != nil {
			return err
		}
		w.key = keys.AppendPartitions(w.key[:0], id, keys.Day)
		if err := w.batch.Set(w.key, v, nil); err != nil {
			return err
		}
	}
	db.mu.Lock()
	r := db.latest.row(id)
	r.day = newest
	r.flags |= newestDay
	db.mu.Unlock()
	return nil
}
