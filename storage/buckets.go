package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/record"
)

// Buckets fills the buckets of into as Partials does, and nothing next to them: counts, values and their times are those of the samples.
// Gaps are left out, so that durations, integrals and times in states mean nothing of a tag that has any.
func (v *View) Buckets(ctx context.Context, tag model.TagID, edges []int64, detail Detail, into *Partials) error {
	n := len(edges) - 1
	into.Buckets = slices.Grow(into.Buckets[:0], n)[:n]
	clear(into.Buckets)
	var r partialReader
	r.open(v, tag, edges)
	defer r.close()
	err := r.fill(ctx, detail, into.Buckets)
	into.Reading = r.cursor.reading
	return err
}

// Stretches is the stretches of a forward range, ascending and apart, outside of which a tag has no samples: the days in which it has
// anything, those that follow each other as one.
func (v *View) Stretches(tag model.TagID, in model.TimeRange) (out []model.TimeRange, err error) {
	if in.Empty() {
		return nil, nil
	}
	parts, err := v.src.partitionsOf(tag, in)
	if err != nil {
		return nil, fmt.Errorf("days of tag %d in %s: %w", tag, in, err)
	}
	for _, p := range parts {
		day := p.Range()
		day.Start, day.End = max(day.Start, in.Start), min(day.End, in.End)
		switch n := len(out); {
		case day.Empty():
		case n > 0 && out[n-1].End == day.Start:
			out[n-1].End = day.End
		default:
			out = append(out, day)
		}
	}
	return out, nil
}

// OnlyRollups reports whether samples of a tag were erased in a range of which the rollups stay: there Partials and Buckets tell of samples
// that Samples does not have.
func (v *View) OnlyRollups(tag model.TagID, in model.TimeRange) bool {
	return slices.ContainsFunc(v.src.erasedOf(tag), func(x erased) bool {
		return x.what == record.OldSamples && x.in.Start < in.End && in.Start < x.in.End
	})
}
