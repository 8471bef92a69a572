package relation

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/hint"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// rollupRow is a rollup of a tag.
type rollupRow struct {
	tag   *model.Tag
	level int64
	*query.RollupBucket
	stats       rollup.Stats
	first, last number
}

func (r *rollupRow) numeric() bool { return r.Samples.Type() <= model.Uint64 }

// extreme is a field of the least or greatest value.
func extremeOf(of func(*rollup.Stats) (rollup.Extreme, bool)) func(r *rollupRow) (rollup.Extreme, bool) {
	return func(r *rollupRow) (rollup.Extreme, bool) {
		e, ok := of(&r.stats)
		return e, ok && r.numeric()
	}
}

var (
	leastOf    = extremeOf((*rollup.Stats).Min)
	greatestOf = extremeOf((*rollup.Stats).Max)
)

func extremeField(name string, of func(*rollupRow) (rollup.Extreme, bool)) field[rollupRow] {
	return floatField(name, func(r *rollupRow) (float64, bool) {
		e, ok := of(r)
		return numberOf(model.Sample{Type: r.Samples.Type(), Bits: e.Bits}).v, ok
	})
}

func extremeTime(name string, of func(*rollupRow) (rollup.Extreme, bool)) field[rollupRow] {
	return timeField(name, hint.NoRole, func(r *rollupRow) (int64, bool) {
		e, ok := of(r)
		return e.Time, ok
	})
}

// levels are those that rollups with everything in them are kept of.
var levels = []int64{day, hour}

// rollups has a row for each day and each hour in which a tag has samples, whether the store keeps a rollup of it or not.
var rollups = &rowTable[rollupRow]{
	name: "rollups",
	fields: []field[rollupRow]{
		intField("tag_id", hint.TagID, func(r *rollupRow) (int64, bool) { return some(int64(r.tag.ID)) }),
		textField("tag", hint.Tag, func(r *rollupRow) string { return r.tag.Name }),
		timeField("bucket", hint.Time, func(r *rollupRow) (int64, bool) { return some(r.Start) }),
		timeField("bucket_end", hint.NoRole, func(r *rollupRow) (int64, bool) { return some(r.End) }),
		intField("level_ns", hint.Level, func(r *rollupRow) (int64, bool) { return some(r.level) }),
		intField("count_good", hint.NoRole, func(r *rollupRow) (int64, bool) { return some(r.Samples.Counts().Good) }),
		intField("count_uncertain", hint.NoRole, func(r *rollupRow) (int64, bool) { return some(r.Samples.Counts().Uncertain) }),
		intField("count_bad", hint.NoRole, func(r *rollupRow) (int64, bool) { n := r.Samples.Counts(); return some(n.Bad + n.Null) }),
		numberField("first", func(r *rollupRow) number { return r.first }),
		numberField("last", func(r *rollupRow) number { return r.last }),
		extremeField("min", leastOf),
		extremeField("max", greatestOf),
		extremeTime("min_time", leastOf),
		extremeTime("max_time", greatestOf),
		floatField("sum", func(r *rollupRow) (float64, bool) { return r.stats.Sum(), r.stats.N() > 0 }),
		floatField("integral_stepped", func(r *rollupRow) (float64, bool) { return r.Stepped, r.Integrals && r.numeric() }),
		floatField("integral_sloped", func(r *rollupRow) (float64, bool) { return r.Sloped, r.Integrals && r.numeric() }),
		intField("ns_good", hint.NoRole, func(r *rollupRow) (int64, bool) { return some(int64(r.Durations.Good())) }),
		intField("ns_uncertain", hint.NoRole, func(r *rollupRow) (int64, bool) { return some(int64(r.Durations.Uncertain)) }),
		intField("ns_bad", hint.NoRole, func(r *rollupRow) (int64, bool) { return some(int64(r.Durations.NoValue())) }),
		intField("transitions", hint.NoRole, func(r *rollupRow) (int64, bool) { return r.Transitions, r.Changes }),
	},
	rows: func(ctx context.Context, at Moment, s *Scan) iter.Seq2[*rollupRow, error] {
		return func(yield func(*rollupRow, error) bool) {
			var reading storage.Reading
			if at.Read != nil {
				defer func() { at.Read(reading) }()
			}
			read := func(r storage.Reading) { reading.Add(&r) }
			of := func(ctx context.Context, at Moment, s *Scan, t *model.Tag, yield func(*rollupRow) bool) (bool, error) {
				return rollupsOf(ctx, at, s, t, read, yield)
			}
			for r, err := range ofTags(of)(ctx, at, s) {
				if !yield(r, err) {
					return
				}
			}
		}
	},
}

// windowUnits is how many buckets are worked out at a time.
const windowUnits = 512

// rollupsOf yields the rollups of a tag whose buckets begin in the range of a scan, level by level.
func rollupsOf(ctx context.Context, at Moment, s *Scan, t *model.Tag, read func(storage.Reading), yield func(*rollupRow) bool) (bool, error) {
	m := at.Engine.At(at.View)
	for _, level := range levels {
		if s.Levels != nil && !slices.Contains(s.Levels, level) {
			continue
		}
		for _, id := range t.EpochIDs() {
			of, holds := t, model.All
			if t.Retyped() {
				of, holds = t.In(id)
			}
			stretches, err := at.View.Stretches(id, bucketsIn(s.In, holds, level))
			if err != nil {
				return false, err
			}
			for _, stretch := range stretches {
				for from := stretch.Start; from < stretch.End; {
					end := stretch.End
					erased := level < day && at.View.OnlyRollups(id, model.TimeRange{Start: from, End: end})
					if erased { // day by day: of some the rollups of hours may not be left, and nothing else is
						end = unitEdges(nil, from, end, day, 1)[1]
					}
					edges := unitEdges(nil, from, end, level, windowUnits)
					more, err := m.Rollups(ctx, of, edges, read, func(b *query.RollupBucket) (bool, error) {
						if b.Samples.Counts().All() == 0 {
							return true, nil
						}
						return yield(rollupRowOf(t, level, b)), nil
					})
					if erased && errors.Is(err, storage.ErrErased) {
						more, err = true, nil
					}
					if !more || err != nil {
						return false, err
					}
					from = edges[len(edges)-1]
				}
			}
		}
	}
	return true, nil
}

// bucketsIn is the time of the buckets of a level that begin in a range; the first of an epoch begins with that.
func bucketsIn(in, holds model.TimeRange, level int64) model.TimeRange {
	if in.Start > holds.Start {
		if rest := floorMod(in.Start, level); rest > 0 {
			if in.Start > model.MaxTime-level {
				return model.TimeRange{}
			}
			in.Start += level - rest
		}
	}
	if in.End < holds.End {
		if rest := floorMod(in.End, level); rest > 0 && in.End < model.MaxTime-level {
			in.End += level - rest
		}
	}
	return model.TimeRange{Start: max(in.Start, holds.Start), End: min(in.End, holds.End)}
}

func rollupRowOf(t *model.Tag, level int64, b *query.RollupBucket) *rollupRow {
	r := &rollupRow{tag: t, level: level, RollupBucket: b}
	r.stats, _ = b.Samples.Stats(false)
	if first, ok := b.Samples.FirstUsable(false); ok {
		last, _ := b.Samples.LastUsable(false)
		r.first, r.last = numberOf(first.Sample), numberOf(last.Sample)
	}
	return r
}
