package storage

import (
	"context"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// Taker takes the samples of a tag in time order, as rollups where those are enough for it.
type Taker interface {
	// Takes reports whether p can stand for its samples. It is asked ahead of what comes before p. Where the samples are erased
	// there is nothing else: days that are not taken come as hours, and hours that are not taken are an error.
	Takes(p *rollup.Partial, erased bool) bool
	// Rollup takes a partial that Takes let pass.
	Rollup(p *rollup.Partial)
	// Samples takes samples, which hold until it returns.
	Samples(s *model.Samples)
	// Gap takes that a gap breaks the shape, at an instant at which no sample stands.
	Gap(b Break)
}

// Offer hands a taker all samples of a tag between the first and the last edge. Days, else hours, that lie between two
// neighbouring edges are offered as rollups where nothing newer lies over them; what is not taken as such comes as samples. The
// last sample before the first edge goes before them, and the first one from the last edge on behind them, both as samples. Between
// those two are the breaks that gaps make, in their order.
//
// Edges ascend, each once, at least two. Damage is dealt with as Partials does.
func (v *View) Offer(ctx context.Context, tag model.TagID, edges []int64, taker Taker) error {
	end := edges[len(edges)-1]
	breaks := v.Breaks(tag, nil)
	before := model.TimeRange{Start: model.MinTime, End: edges[0], Reverse: true}
	first, err := v.pointNext(ctx, tag, before)
	if err != nil {
		return err
	}
	offerPoint(first, taker)
	if err := breaks.offer(ctx, timeNext(before, first), taker); err != nil {
		return err
	}
	inside, err := breaks.In(ctx, model.TimeRange{Start: edges[0], End: end})
	if err != nil {
		return err
	}
	stretch, at := []int64{edges[0]}, 1
	for _, x := range inside { // no rollup over a break
		for ; edges[at] < x.Time; at++ {
			stretch = append(stretch, edges[at])
		}
		if x.Time > stretch[0] {
			if err := v.offer(ctx, tag, append(stretch, x.Time), taker); err != nil {
				return err
			}
		}
		taker.Gap(x)
		if stretch = append(stretch[:0], x.Time); edges[at] == x.Time {
			at++
		}
	}
	if err := v.offer(ctx, tag, append(stretch, edges[at:]...), taker); err != nil {
		return err
	}
	after := model.TimeRange{Start: end, End: model.All.End}
	last, err := v.pointNext(ctx, tag, after)
	if err != nil {
		return err
	}
	if err := breaks.offer(ctx, timeNext(after, last), taker); err != nil {
		return err
	}
	offerPoint(last, taker)
	return nil
}

// offer hands over the samples of a stretch that no break lies in.
func (v *View) offer(ctx context.Context, tag model.TagID, edges []int64, taker Taker) error {
	var r partialReader
	r.open(v, tag, edges)
	defer r.close()
	r.taker, r.long = taker, r.fits(hourNanos)
	return r.run(ctx)
}

// pointNext is the first sample of a range, alone in a partial that is empty where there is none.
func (v *View) pointNext(ctx context.Context, tag model.TagID, in model.TimeRange) (p rollup.Partial, err error) {
	var r partialReader
	r.open(v, tag, []int64{0, 1})
	defer r.close()
	return p, r.bound(ctx, in, &p)
}

func offerPoint(p rollup.Partial, taker Taker) {
	if x, ok := p.First(); ok {
		s := model.Samples{Type: x.Type}
		s.Append(x.Sample)
		taker.Samples(&s)
	}
}

// offer hands over the breaks of a range.
func (b *Breaks) offer(ctx context.Context, in model.TimeRange, taker Taker) error {
	found, err := b.In(ctx, in)
	for _, x := range found {
		taker.Gap(x)
	}
	return err
}

// takes reports whether who is filled wants a rollup: buckets take every one.
func (r *partialReader) takes(p *rollup.Partial) bool {
	return r.taker == nil || r.taker.Takes(p, r.thin)
}

// takesHour is takes of an hour of a partition. Rollups of plain hours are only opened for buckets.
func (r *partialReader) takesHour(h int) bool {
	return r.taker == nil || r.taker.Takes(&r.hours[h], r.thin)
}

// give hands a rollup to the taker, or merges it into the bucket being filled.
func (r *partialReader) give(p *rollup.Partial) {
	if r.taker != nil {
		r.taker.Rollup(p)
		return
	}
	r.out[r.at].Merge(p)
}
