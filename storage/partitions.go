package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
)

// Which partitions hold samples of a tag is a roaring bitmap per tag over partition numbers with the sign bit flipped,
// so that the start or a bound of a slow tag is one seek and not one per partition there is.

func partitionBit(number int32) uint32 { return uint32(number) ^ 1<<31 }

// fewPartitions is how many partitions are looked into rather than asked for: reading a tag's set costs as much as a seek
// for its headers in one or two of them.
const fewPartitions = 2

// partitionsOf is the partitions that may hold anything of a tag in a range, ascending: those that do, or of a short
// range all that there are.
func (s *sources) partitionsOf(tag model.TagID, in model.TimeRange) ([]keys.Partition, error) {
	out, err := s.storedPartitions(tag, keys.DayOf(in.Start), keys.DayOf(in.End-1))
	if err != nil {
		return nil, err
	}
	if inHeads := s.headPartitions(tag, in); len(inHeads) > 0 {
		out = append(out, inHeads...)
		slices.SortFunc(out, keys.Partition.Compare)
		out = slices.Compact(out)
	}
	return out, nil
}

// headPartitions is the partitions in which heads have anything of a tag in a range, ascending.
func (s *sources) headPartitions(tag model.TagID, in model.TimeRange) (out []keys.Partition) {
	s.eachHeadPartition(tag, in, func(p keys.Partition, _ uint64) { out = append(out, p) })
	slices.SortFunc(out, keys.Partition.Compare)
	return slices.Compact(out)
}

// eachHeadPartition calls yield with the partitions in which heads have anything of a tag in a range, oldest head first, and with the offset of
// the newest record that the head may hold.
func (s *sources) eachHeadPartition(tag model.TagID, in model.TimeRange, yield func(p keys.Partition, newest uint64)) {
	for i, h := range s.heads {
		newest := s.offset
		if i+1 < len(s.heads) {
			newest = min(newest, s.heads[i+1].After)
		}
		s.db.mu.RLock()
		g := h.Tag(tag)
		var snap head.Snapshot
		if g != nil {
			snap = h.Snapshot(g, s.offset)
		}
		s.db.mu.RUnlock()
		if g == nil {
			continue
		}
		snap.EachStretch(in, func(t int64) int64 {
			p := keys.DayOf(t)
			yield(p, newest)
			return p.Range().End
		})
	}
}

// storedPartitions is the partitions of a tag from first to last that the engine holds.
func (s *sources) storedPartitions(tag model.TagID, first, last keys.Partition) ([]keys.Partition, error) {
	from, _ := slices.BinarySearchFunc(s.directory.parts, first, compareParts)
	to, found := slices.BinarySearchFunc(s.directory.parts, last, compareParts)
	if found {
		to++
	}
	var out []keys.Partition
	if to-from <= fewPartitions {
		for _, p := range s.directory.parts[from:max(from, to)] {
			out = append(out, p.name)
		}
		return out, nil
	}
	set, err := s.db.partitionSet(s.engine, tag)
	if err != nil {
		return nil, err
	}
	it := set.Iterator()
	for it.AdvanceIfNeeded(partitionBit(first.Number)); it.HasNext(); {
		bit := it.Next()
		if bit > partitionBit(last.Number) {
			break
		}
		p := keys.Partition{Span: keys.Day, Number: int32(bit ^ 1<<31)}
		if _, found := slices.BinarySearchFunc(s.directory.parts, p, compareParts); found { // else all of it was erased
			out = append(out, p)
		}
	}
	return out, nil
}

// partitionSet is the stored set of a tag.
func (db *DB) partitionSet(r pebble.Reader, tag model.TagID) (*roaring.Bitmap, error) {
	set := roaring.New()
	v, closer, err := r.Get(keys.AppendPartitions(nil, tag, keys.Day))
	if errors.Is(err, pebble.ErrNotFound) {
		return set, nil
	}
	if err == nil {
		err = decodePartitions(set, v)
		closer.Close()
	}
	return db.setOrAll(tag, set, err)
}

// setOrAll is the set of a tag that was read, or in place of a damaged one every partition there is: reading looks in vain
// into some, and finds everything. The next write of the set puts that right for good.
func (db *DB) setOrAll(tag model.TagID, set *roaring.Bitmap, err error) (*roaring.Bitmap, error) {
	if err == nil {
		return set, nil
	}
	err = engineError(fmt.Sprintf("find the partitions of tag %d", tag), err)
	if !isDamage(err) {
		return nil, err
	}
	db.alarms.raise("store_damaged", err.Error())
	set = roaring.New()
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, p := range db.directory.parts {
		set.Add(partitionBit(p.name.Number))
	}
	return set, nil
}

// setWalker finds the sets of tags that are asked for in ascending order.
type setWalker struct {
	db   *DB
	iter *pebble.Iterator // nil until the first is asked for
}

func (w *setWalker) find(tag model.TagID) (*roaring.Bitmap, error) {
	if w.iter == nil {
		space := []byte{byte(keys.Partitions)}
		it, err := w.db.engine.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: keys.Next(space)})
		if err != nil {
			return nil, err
		}
		w.iter = it
	}
	key, set := keys.AppendPartitions(nil, tag, keys.Day), roaring.New()
	found := w.iter.SeekGE(key) && bytes.Equal(w.iter.Key(), key)
	err := w.iter.Error()
	if err != nil {
		w.close() // the next try begins with another one
	} else if found {
		err = decodePartitions(set, w.iter.Value())
	}
	return w.db.setOrAll(tag, set, err)
}

func (w *setWalker) close() {
	if w.iter != nil {
		_ = w.iter.Close() // what it has to say was said by Error
		w.iter = nil
	}
}

// decodePartitions reads a stored set. What the bitmap takes from bytes it does not look at before it is used, so that its
// insides are looked at here. The bytes passed the checksum of their block; a set that does not decode all the same is damage,
// not a panic.
func decodePartitions(set *roaring.Bitmap, b []byte) error {
	n, err := set.FromBuffer(slices.Clone(b))
	if err == nil && n != int64(len(b)) {
		err = fmt.Errorf("%d bytes, of which the set has %d", len(b), n)
	}
	if err == nil {
		err = set.Validate()
	}
	if err != nil {
		return fmt.Errorf("partition set: %w: %w", ErrCorrupt, err)
	}
	return nil
}

// missing makes a chunk that its header or directory promises but that is not there damage.
func missing(err error) error {
	if errors.Is(err, pebble.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
