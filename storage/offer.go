package storage

import (
	"context"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// Taker takes the samples of a tag in time order, as rollups where those are enough for it.
type Taker interface {
	// Takes reports whether p can stand for its samples. It is asked ahead of what comes before p.
	Takes(p *rollup.Partial) bool
	// Rollup takes a partial that Takes let pass.
	Rollup(p *rollup.Partial)
	// Samples takes samples, which hold until it returns.
	Samples(s *model.Samples)
}

// Offer hands a taker all samples of a tag between the first and the last edge. Days, else hours, that lie between two
// neighbouring edges are offered as rollups where nothing newer lies over them; what is not taken as such comes as samples. The
// last sample before the first edge goes before them, and the first one from the last edge on behind them, both as samples.
//
// Edges ascend, each once, at least two. Damage is dealt with as Partials does.
func (v *View) Offer(ctx context.Context, tag model.TagID, edges []int64, taker Taker) error {
	var r partialReader
	r.open(v, tag, edges)
	defer r.close()
	r.taker, r.long = taker, r.fits(hourNanos)
	if err := r.offerBound(ctx, model.TimeRange{Start: model.MinTime, End: edges[0], Reverse: true}); err != nil {
		return err
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	return r.offerBound(ctx, model.TimeRange{Start: edges[len(edges)-1], End: model.All.End})
}

// offerBound hands over the first sample of a range.
func (r *partialReader) offerBound(ctx context.Context, in model.TimeRange) error {
	var p rollup.Partial
	if err := r.bound(ctx, in, &p); err != nil {
		return err
	}
	if x, ok := p.First(); ok {
		s := model.Samples{Type: x.Type}
		s.Append(x.Sample)
		r.taker.Samples(&s)
	}
	return nil
}

// takes reports whether who is filled wants a rollup: buckets take every one.
func (r *partialReader) takes(p *rollup.Partial) bool { return r.taker == nil || r.taker.Takes(p) }

// takesHour is takes of an hour of a partition. Rollups of plain hours are only opened for buckets.
func (r *partialReader) takesHour(h int) bool { return r.taker == nil || r.taker.Takes(&r.hours[h]) }

// give hands a rollup to the taker, or merges it into the bucket being filled.
func (r *partialReader) give(p *rollup.Partial) {
	if r.taker != nil {
		r.taker.Rollup(p)
		return
	}
	r.out[r.at].Merge(p)
}
