package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// Of a tag whose unit changed, nothing is worked out of values in two units: a question without a unit is asked on one side of a change, and
// sees no sample of the other. docs/reference/units.md has the rule.

// inOneUnit makes l such that what is worked out of samples of a range is of values in one unit. ErrBadRequest where the unit of a tag
// changes in it.
func (l *tagList) inOneUnit(in model.TimeRange) error {
	for _, a := range l.asked {
		if len(a.tag.Settings) == 1 {
			continue
		}
		span := model.All
		for i := 1; i < len(a.tag.Settings); i++ {
			before, s := &a.tag.Settings[i-1], &a.tag.Settings[i]
			switch {
			case unitsAlike(before.Unit, s.Unit):
			case s.From <= in.Start:
				span.Start = s.From
			case s.From >= in.End:
				span.End = min(span.End, s.From)
			default:
				return fmt.Errorf("tag %s is in %q before %s and in %q from then on, and nothing is worked out of both: name the unit to answer in, or ask on one side of that: %w",
					a.describe(), before.Unit, model.FormatTime(s.From), s.Unit, ErrBadRequest)
			}
		}
		if span != model.All {
			if l.spans == nil {
				l.spans = map[model.TagID]model.TimeRange{}
			}
			l.spans[a.tag.ID] = span
		}
	}
	return nil
}

// unitsAlike reports whether numbers in two units mean the same. What no unit is said of, or one that is not known, may be anything.
func unitsAlike(a, b string) bool {
	if a == b {
		return true
	}
	from, errFrom := unit.Parse(a)
	to, errTo := unit.Parse(b)
	if a == "" || b == "" || errFrom != nil || errTo != nil {
		return true
	}
	c, err := unit.Convert(from, to)
	return err == nil && c == unit.Identity
}

// spanView has no samples of some tags outside of a time each.
type spanView struct {
	View
	spans map[model.TagID]model.TimeRange
}

func (v *spanView) within(tag model.TagID, in model.TimeRange) model.TimeRange {
	if span, ok := v.spans[tag]; ok {
		in.Start, in.End = max(in.Start, span.Start), min(in.End, span.End)
		in.End = max(in.Start, in.End)
	}
	return in
}

func (v *spanView) Samples(tag model.TagID, in model.TimeRange) Cursor {
	return &spanCursor{v.View.Samples(tag, v.within(tag, in)), v}
}

func (v *spanView) SamplesAsOf(tag model.TagID, in model.TimeRange, asOf int64) Cursor {
	return &spanCursor{v.View.SamplesAsOf(tag, v.within(tag, in), asOf), v}
}

type spanCursor struct {
	Cursor
	view *spanView
}

func (c *spanCursor) Reset(tag model.TagID, in model.TimeRange) {
	c.Cursor.Reset(tag, c.view.within(tag, in))
}

// Goods leaves tags whose samples next to the buckets may be none to Partials.
func (v *spanView) Goods(ctx context.Context, tag model.TagID, edges []int64, asked rollup.Asked, into *storage.Goods) (bool, error) {
	if _, ok := v.spans[tag]; ok {
		return false, nil
	}
	return v.View.Goods(ctx, tag, edges, asked, into)
}

func (v *spanView) Partials(ctx context.Context, tag model.TagID, edges []int64, detail storage.Detail, into *storage.Partials) error {
	if err := v.View.Partials(ctx, tag, edges, detail, into); err != nil {
		return err
	}
	if span, ok := v.spans[tag]; ok {
		if at, is := into.Before.LastTime(); is && at < span.Start {
			into.Before = rollup.Partial{}
		}
		if at, is := into.After.LastTime(); is && at >= span.End {
			into.After = rollup.Partial{}
		}
	}
	return nil
}

func (v *spanView) Offer(ctx context.Context, tag model.TagID, edges []int64, taker storage.Taker) error {
	if span, ok := v.spans[tag]; ok {
		taker = &spanTaker{taker, span}
	}
	return v.View.Offer(ctx, tag, edges, taker)
}

// spanTaker takes no samples outside of a time. Rollups are of what lies between edges, which do not reach beyond it.
type spanTaker struct {
	storage.Taker
	span model.TimeRange
}

func (t *spanTaker) Samples(s *model.Samples) {
	from, _ := slices.BinarySearch(s.Times, t.span.Start)
	to, _ := slices.BinarySearch(s.Times, t.span.End)
	if from < to {
		x := s.Slice(from, to)
		t.Taker.Samples(&x)
	}
}
