package storage

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/rollup"
)

// Goods is what Partials is, of samples that are all Good doubles.
type Goods struct {
	Before  rollup.Good
	Buckets []rollup.Good
	After   rollup.Good
}

// Goods fills into as Partials does, where buckets are shorter than what rollups are kept of, and all samples in them and next to
// them are Good doubles, without a gap among them. It is false, and into means nothing, where that is not so: then ask for Partials,
// which take several times as long.
func (v *View) Goods(ctx context.Context, tag model.TagID, edges []int64, asked rollup.Asked, into *Goods) (bool, error) {
	var r partialReader
	r.open(v, tag, edges)
	defer r.close()
	least := fineNanos
	if asked.Area {
		least = hourNanos
	}
	if r.fits(least) {
		return false, nil
	}
	n := len(edges) - 1
	breaks := v.Breaks(tag, nil)
	if found, err := breaks.In(ctx, model.TimeRange{Start: edges[0], End: edges[n]}); err != nil || len(found) > 0 {
		return false, err
	}
	into.Buckets = slices.Grow(into.Buckets[:0], n)[:n]
	clear(into.Buckets)
	if ok, err := r.goods(ctx, asked, into.Buckets); !ok || err != nil {
		return false, err
	}
	into.Before, into.After = rollup.Good{}, rollup.Good{}
	for _, b := range []struct {
		in  model.TimeRange
		far *rollup.Good
	}{
		{model.TimeRange{Start: model.MinTime, End: edges[0], Reverse: true}, &into.Before},
		{model.TimeRange{Start: edges[n], End: model.All.End}, &into.After},
	} {
		var p rollup.Partial
		if err := r.bound(ctx, b.in, &p); err != nil {
			return false, err
		}
		x, any := p.First()
		if any && (x.Type != model.Float64 || x.Quality != model.Good || x.Null || !b.far.Add([]int64{x.Time}, []uint64{x.Bits}, asked)) {
			return false, nil
		}
		if found, err := breaks.In(ctx, timeNext(b.in, p)); err != nil || len(found) > 0 {
			return false, err
		}
	}
	return true, nil
}

// goods adds all samples between the edges to the buckets.
func (r *partialReader) goods(ctx context.Context, asked rollup.Asked, buckets []rollup.Good) (bool, error) {
	c := r.cursor
	c.in = model.TimeRange{Start: r.edges[0], End: r.edges[len(r.edges)-1]}
	var err error
	if c.parts, err = r.src.partitionsOf(r.tag, c.in); err != nil {
		return false, err
	}
	if slices.ContainsFunc(c.parts, func(p keys.Partition) bool { return c.thinned(p) }) {
		return false, nil
	}
	usual := 0 // samples of the bucket before
	for {
		b, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if !goodDoubles(&b.Samples) {
			return false, nil
		}
		for from := 0; from < len(b.Times); {
			r.advance(b.Times[from])
			end := r.edges[r.at+1]
			to := from + usual
			if usual == 0 || to >= len(b.Times) || b.Times[to-1] >= end || b.Times[to] < end {
				to = searchTime(b.Times, from, end)
			}
			if !buckets[r.at].Add(b.Times[from:to], b.Bits[from:to], asked) {
				return false, nil
			}
			usual, from = to-from, to
		}
	}
}

func goodDoubles(s *model.Samples) bool {
	return s.Type == model.Float64 && !slices.Contains(s.Null, true) && !slices.ContainsFunc(s.Quality, func(q model.Quality) bool { return q != model.Good })
}
