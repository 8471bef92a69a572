package query

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// rangeRead answers a range request tag by tag. Of a tag with bounds it first looks for what stands at the edge the read begins
// with, then goes through the samples, then looks for the first one behind them.
type rangeRead struct {
	request  *RangeRequest
	in       model.TimeRange // of the samples
	from, to int64           // the edges, in the direction of the read
	filter   filter
	cursor   Cursor
	near     Cursor // looks for what stands next to the edges: of calculated bounds with the breaks that gaps make
	out      *encoder
	values   interpolation
	left     uint64 // rows that the tag may still have
	ids      []model.TagID
	gaps     gapRows
}

func newRangeRead(r *RangeRequest, c Catalog) *rangeRead {
	from, to := r.edges()
	read := &rangeRead{
		request: r, in: r.samples(), from: from, to: to, values: interpolation{strict: true},
		filter: filter{severities: r.Severities, where: r.Where},
	}
	if len(r.Where) > 0 {
		read.filter.states = newStateTexts(c)
	}
	return read
}

func (r *rangeRead) reverse() bool { return r.from > r.to }

// tag reads what is asked of one tag.
func (r *rangeRead) tag(ctx context.Context, a asked) error {
	if r.left = r.request.Limit; r.left == 0 {
		r.left = math.MaxUint64
	}
	after, edges := r.request.After, r.request.Bounds == Outside || r.request.Bounds == Interpolated
	if edges && after != nil && (after.Time == r.to || after.Time > r.to != r.reverse()) {
		return nil // the last bound was the end of the page before
	}
	if edges && after == nil {
		if err := r.lead(ctx, a); err != nil || r.left == 0 {
			return err
		}
	}
	if err := r.samples(ctx, a); err != nil || r.left == 0 {
		return err
	}
	if edges {
		if err := r.trail(ctx, a); err != nil {
			return err
		}
	}
	return r.gaps.add(ctx, a, nil, r.out)
}

// samples copies the samples of the range into the encoder.
func (r *rangeRead) samples(ctx context.Context, a asked) error {
	epochs := r.request.epochs()
	epochs.Reverse = r.in.Reverse
	r.ids = a.epochs(r.ids[:0], epochs)
	for _, id := range r.ids {
		if err := r.epoch(ctx, a, id); err != nil || r.left == 0 {
			return err
		}
	}
	return nil
}

// epoch copies the samples of the range that are kept by one id.
func (r *rangeRead) epoch(ctx context.Context, a asked, id model.TagID) error {
	r.cursor.Reset(id, r.in)
	for {
		block, err := r.cursor.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tag %s over %s: %w", a.describe(), r.in, err)
		}
		if r.request.After != nil {
			block = strictlyBehind(block, *r.request.After, r.in.Reverse)
		}
		if err := r.add(ctx, a, r.filter.pass(a.tag, block)); err != nil || r.left == 0 {
			return err
		}
	}
}

// add adds as many rows as the tag may still have.
func (r *rangeRead) add(ctx context.Context, a asked, b *storage.Block) error {
	if uint64(b.Len()) > r.left {
		b = &storage.Block{Samples: b.Slice(0, int(r.left)), Origins: b.Origins}
	}
	r.left -= uint64(b.Len())
	return r.gaps.add(ctx, a, b, r.out)
}

// addOne adds a row that no sample is.
func (r *rangeRead) addOne(ctx context.Context, a asked, s model.Sample) error {
	var one storage.Block
	one.Reset(s.Type)
	one.Append(s)
	return r.add(ctx, a, &one)
}

// strictlyBehind is the samples of a block strictly behind a position. Only those at its very time can be in front of it.
func strictlyBehind(b *storage.Block, p Position, reverse bool) *storage.Block {
	n := 0
	for n < b.Len() && b.Times[n] == p.Time && (b.SeqAt(n) == p.Seq || b.SeqAt(n) < p.Seq != reverse) {
		n++
	}
	if n == 0 {
		return b
	}
	out := &storage.Block{Samples: b.Slice(n, b.Len())}
	for _, o := range b.Origins {
		skip := min(n, o.Samples)
		n -= skip
		if o.Samples -= skip; o.Samples > 0 {
			out.Origins = append(out.Origins, o)
		}
	}
	return out
}

// lead adds the bound at the edge the read begins with. A sample that stands there is one of the range.
func (r *rangeRead) lead(ctx context.Context, a asked) error {
	b, err := r.next(ctx, a, r.from, !r.reverse())
	if err != nil || b != nil && b.Times[0] == r.from && !b.Gap {
		return err
	}
	if r.request.Bounds == Outside {
		return r.addOutside(ctx, a, b, r.from)
	}
	return r.addCalculated(ctx, a, b, r.from, !r.reverse())
}

// trail adds the bound at the edge the read ends with: the next sample in its direction, or what stands for it.
func (r *rangeRead) trail(ctx context.Context, a asked) error {
	at := r.to
	if r.from == r.to {
		if r.request.Bounds == Interpolated {
			return nil // the value at the instant is there
		}
		at = behindInstant(at)
	}
	if r.request.OpenStart || r.request.OpenEnd {
		return r.addOutside(ctx, a, nil, r.to)
	}
	b, err := r.next(ctx, a, at, r.reverse())
	switch {
	case err != nil:
		return err
	case r.request.Bounds == Outside || b != nil && b.Times[0] == r.to: // also a break, whose row says what the tag has there
		return r.addOutside(ctx, a, b, r.to)
	}
	return r.addCalculated(ctx, a, b, r.to, r.reverse())
}

// addOutside adds the first sample of a block, or says of nil that there is no bound at the edge.
func (r *rangeRead) addOutside(ctx context.Context, a asked, b *storage.Block, edge int64) error {
	if b == nil {
		return r.addOne(ctx, a, model.Sample{Time: edge, Type: a.tag.Current().Type, Null: true, Quality: model.BadBoundNotFound})
	}
	return r.add(ctx, a, &storage.Block{Samples: b.Slice(0, 1), Origins: b.Origins})
}

// addCalculated adds the value at an edge where no sample stands. The block begins with the sample next to it: before it, or
// behind.
func (r *rangeRead) addCalculated(ctx context.Context, a asked, b *storage.Block, edge int64, before bool) error {
	var near, far *rollup.Point
	if b != nil {
		near = keep(pointOf(b, 0))
	}
	b, err := r.next(ctx, a, edge, !before)
	if err != nil {
		return err
	}
	if b != nil {
		p := pointOf(b, 0)
		far = &p
	}
	if !before {
		near, far = far, near
	}
	return r.addOne(ctx, a, r.values.simple(a.tag, near, far, edge))
}

// boundNear is where a bound is looked for first: a chunk is read from the block that holds it, and not from its start.
const boundNear = int64(300e9)

// next is a block that begins with the sample nearest to an instant: at it, or before it, or else behind it; nil for none.
func (r *rangeRead) next(ctx context.Context, a asked, instant int64, before bool) (*storage.Block, error) {
	ranges := nearAndAll(instant, before)
	r.ids = a.epochs(r.ids[:0], ranges[1])
	for _, id := range r.ids { // the nearest first
		for _, in := range ranges {
			r.near.Reset(id, in)
			switch b, err := r.near.Next(ctx); {
			case err == nil:
				return b, nil
			case err != io.EOF:
				return nil, fmt.Errorf("find the sample of tag %s next to %s: %w", a.describe(), model.FormatTime(instant), err)
			}
		}
	}
	return nil, nil
}

// nearAndAll are the ranges to look through for the sample nearest to an instant on one side: first those near to it.
func nearAndAll(instant int64, before bool) [2]model.TimeRange {
	if before {
		start, end := int64(model.MinTime), behindInstant(instant)
		if end > start+boundNear {
			start = end - boundNear
		}
		return [2]model.TimeRange{{Start: start, End: end, Reverse: true}, {Start: model.MinTime, End: end, Reverse: true}}
	}
	end := int64(math.MaxInt64)
	if instant < end-boundNear {
		end = instant + boundNear
	}
	return [2]model.TimeRange{{Start: instant, End: end}, {Start: instant, End: math.MaxInt64}}
}
