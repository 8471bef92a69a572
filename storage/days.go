package storage

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// Day is a partition that may hold something of some tags.
type Day struct {
	Partition keys.Partition
	// Changed is the offset of the newest record that touched the partition, or of a later one: none behind it changed what the tags have there.
	Changed uint64
}

// LogID names the log whose offsets a View knows of; that of a restored copy is another one.
func (v *View) LogID() [16]byte { return v.src.db.log.ID() }

// Days is the partitions in which tags have, or had, anything, ascending. A partition of which all is erased is not among them. It reads no
// sample: a generation's number is the offset of its newest record, and deletes and erasures are rows with ranges.
func (v *View) Days(ctx context.Context, tags []model.TagID) ([]Day, error) {
	s, changed := &v.src, map[keys.Partition]uint64{}
	asked := roaring.New()
	for _, tag := range tags {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		asked.Add(uint32(tag))
		stored, err := s.storedPartitions(tag, keys.DayOf(model.All.Start), keys.DayOf(model.All.End-1))
		if err != nil {
			return nil, fmt.Errorf("find the days of tag %d: %w", tag, err)
		}
		for _, p := range stored {
			if _, known := changed[p]; !known {
				changed[p] = newestOf(s.directory.of(p))
			}
		}
		s.eachHeadPartition(tag, model.All, func(p keys.Partition, newest uint64) { changed[p] = max(changed[p], newest) })
	}
	days := make([]Day, 0, len(changed))
	for p, offset := range changed {
		days = append(days, Day{p, offset})
	}
	slices.SortFunc(days, func(a, b Day) int { return a.Partition.Compare(b.Partition) })
	s.touchDays(days, asked)
	return days, nil
}

func newestOf(gens []generation) uint64 {
	if len(gens) == 0 {
		return 0
	}
	return gens[len(gens)-1].id
}

// touchDays lets days know of range deletes, their undoing and erasures of some of the tags.
func (s *sources) touchDays(days []Day, tags *roaring.Bitmap) {
	touch := func(offset uint64, in model.TimeRange) {
		from, _ := slices.BinarySearchFunc(days, keys.DayOf(in.Start), func(d Day, p keys.Partition) int { return d.Partition.Compare(p) })
		for i := from; i < len(days) && days[i].Partition.Range().Start < in.End; i++ {
			days[i].Changed = max(days[i].Changed, offset)
		}
	}
	s.db.mu.RLock()
	ops, erasures := s.db.ops.all, s.db.ledger.erasures
	s.db.mu.RUnlock()
	for _, op := range ops {
		if op.offset <= s.offset && slices.ContainsFunc(op.tags, func(t model.TagID) bool { return tags.Contains(uint32(t)) }) {
			touch(op.offset, op.in)
		}
	}
	for _, e := range erasures {
		if e.offset <= s.offset && e.what != record.OldVersions && (e.tags == nil || e.tags.Intersects(tags)) {
			touch(e.offset, e.in)
		}
	}
}

// DayContents is the contents that tags, ascending, have in one partition, in that order; those that have none are left out. Errors are as of
// Contents.
func (v *View) DayContents(ctx context.Context, p keys.Partition, tags []model.TagID) iter.Seq2[Content, error] {
	return func(yield func(Content, error) bool) {
		set := roaring.New()
		for _, tag := range tags {
			set.Add(uint32(tag))
		}
		if _, err := v.src.partitionContents(ctx, partTags{p, set}, yield); err != nil {
			yield(Content{}, err)
		}
	}
}
