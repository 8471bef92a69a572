package query

import (
	"context"
	"io"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// over is a view in which calculations are tags like others, whatever is read of them, and tags have the samples that the question may see.
func (l *tagList) over(v View, c Catalog) View {
	if len(l.spans) > 0 {
		v = &spanView{v, l.spans}
	}
	if len(l.calculations) == 0 {
		return v
	}
	return &calculatedView{View: v, catalog: c, calculations: l.calculations, one: make(chan struct{}, 1)}
}

// calculatedBytes is what reading calculations may hold: one is read at a time but for range reads, which have one cursor.
func (l *tagList) calculatedBytes() int64 {
	most := int64(0)
	for _, c := range l.calculations {
		most = max(most, c.bytes())
	}
	return most
}

// numbersBytes is what a cursor may hold decoded of a tag without text: a chunk of 65,536 samples, 25 bytes each.
const numbersBytes = 2 << 20

// bytes is what a cursor of the calculation may hold: what its inputs' cursors do, and a block.
func (c *calculatedTag) bytes() int64 {
	n := int64(maxCalculated * rowBytesCalculated)
	for _, x := range c.inputs {
		if x.tag.At(x.span.End - 1).Type.Blob() {
			n += cursorBytes
		} else {
			n += numbersBytes
		}
	}
	if c.tag.Current().Type.Blob() {
		n += keptBlobBytes + model.MaxBlobBytes
	}
	return n
}

// calculatedView answers calculations from blocks that are evaluated as they are read.
type calculatedView struct {
	View
	catalog      Catalog
	calculations map[model.TagID]*calculatedTag
	one          chan struct{} // holds what is being read in one piece, so that memory does not grow with workers
}

// opener opens a cursor of a tag that is stored.
type opener func(tag model.TagID, in model.TimeRange) Cursor

func (v *calculatedView) Samples(tag model.TagID, in model.TimeRange) Cursor {
	return v.cursor(v.View.Samples, nil, tag, in)
}

func (v *calculatedView) SamplesAsOf(tag model.TagID, in model.TimeRange, asOf int64) Cursor {
	return v.cursor(func(tag model.TagID, in model.TimeRange) Cursor { return v.View.SamplesAsOf(tag, in, asOf) }, &asOf, tag, in)
}

func (v *calculatedView) cursor(open opener, asOf *int64, tag model.TagID, in model.TimeRange) Cursor {
	c := &anyCursor{view: v, open: open, asOf: asOf}
	c.Reset(tag, in)
	return c
}

// Latest has nothing of a calculation, whose value has to be read: see Engine.Latest.
func (v *calculatedView) Latest(tag model.TagID) (model.Sample, bool) {
	if v.calculations[tag] != nil {
		return model.Sample{}, false
	}
	return v.View.Latest(tag)
}

func (v *calculatedView) AnnotationCount(tag model.TagID, in model.TimeRange) int {
	if v.calculations[tag] != nil {
		return 0
	}
	return v.View.AnnotationCount(tag, in)
}

func (v *calculatedView) Goods(ctx context.Context, tag model.TagID, edges []int64, asked rollup.Asked, into *storage.Goods) (bool, error) {
	if v.calculations[tag] != nil {
		return false, nil
	}
	return v.View.Goods(ctx, tag, edges, asked, into)
}

func (v *calculatedView) Partials(ctx context.Context, tag model.TagID, edges []int64, detail storage.Detail, into *storage.Partials) error {
	if v.calculations[tag] == nil {
		return v.View.Partials(ctx, tag, edges, detail, into)
	}
	n := len(edges) - 1
	into.Before, into.After, into.Reading = rollup.Partial{}, rollup.Partial{}, storage.Reading{}
	into.Buckets = slices.Grow(into.Buckets[:0], n)[:n]
	clear(into.Buckets)
	at := 0
	return v.each(ctx, tag, edges, func(s *model.Samples, where place) {
		switch where {
		case beforeEdges:
			into.Before.Add(s, 0, s.Len())
		case behindEdges:
			into.After.Add(s, 0, s.Len())
		default:
			for from := 0; from < s.Len(); {
				for s.Times[from] >= edges[at+1] {
					at++
				}
				to := from + countUpTo(s.Times[from:], edges[at+1]-1)
				into.Buckets[at].Add(s, from, to)
				from = to
			}
		}
	})
}

func (v *calculatedView) Offer(ctx context.Context, tag model.TagID, edges []int64, taker storage.Taker) error {
	if v.calculations[tag] == nil {
		return v.View.Offer(ctx, tag, edges, taker)
	}
	return v.each(ctx, tag, edges, func(s *model.Samples, _ place) { taker.Samples(s) })
}

// place is where samples lie beside edges.
type place uint8

const (
	beforeEdges place = iota
	betweenEdges
	behindEdges
)

// each hands over the last sample before the edges, all between them, and the first one behind.
func (v *calculatedView) each(ctx context.Context, tag model.TagID, edges []int64, take func(*model.Samples, place)) error {
	select {
	case v.one <- struct{}{}:
		defer func() { <-v.one }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c := v.Samples(tag, model.TimeRange{})
	defer c.Close()
	first, last := edges[0], edges[len(edges)-1]
	for where, in := range []model.TimeRange{
		{Start: model.MinTime, End: first, Reverse: true}, {Start: first, End: last}, {Start: last, End: model.All.End},
	} {
		c.Reset(tag, in)
		for {
			b, err := c.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if place(where) == betweenEdges {
				take(&b.Samples, betweenEdges)
				continue
			}
			one := b.Slice(0, 1)
			take(&one, place(where))
			break
		}
	}
	return nil
}

// anyCursor is a cursor of tags that are stored and of calculations.
type anyCursor struct {
	view       *calculatedView
	open       opener
	asOf       *int64
	stored     Cursor // nil until one is asked for
	calculated *calculatedCursor
	room       func(n int) (times []int64, bits []uint64)
	asked      *calculatedTag // nil: one that is stored
}

func (c *anyCursor) Reset(tag model.TagID, in model.TimeRange) {
	if c.asked = c.view.calculations[tag]; c.asked == nil {
		if c.stored == nil {
			c.stored = c.open(tag, in)
			if c.room != nil {
				c.stored.DecodeInto(c.room)
			}
			return
		}
		c.stored.Reset(tag, in)
		return
	}
	if c.calculated == nil || c.calculated.calculatedTag != c.asked {
		if c.calculated != nil {
			c.calculated.Close()
		}
		c.calculated = newCalculatedCursor(c.asked, c.shape, c.view.catalog)
	}
	c.calculated.reset(in)
}

// shape opens an input with the breaks that gaps make: at each the calculation has a Bad sample.
func (c *anyCursor) shape(tag model.TagID, in model.TimeRange) Cursor {
	s := &shapeCursor{Cursor: c.open(tag, model.TimeRange{}), view: c.view.View, asOf: c.asOf}
	s.Reset(tag, in)
	return s
}

func (c *anyCursor) DecodeInto(room func(n int) (times []int64, bits []uint64)) {
	if c.room = room; c.stored != nil {
		c.stored.DecodeInto(room)
	}
}

func (c *anyCursor) Next(ctx context.Context) (*storage.Block, error) {
	if c.asked != nil {
		return c.calculated.Next(ctx)
	}
	return c.stored.Next(ctx)
}

func (c *anyCursor) Close() {
	if c.stored != nil {
		c.stored.Close()
	}
	if c.calculated != nil {
		c.calculated.Close()
	}
}

// latest is the newest sample of a tag; false if it has none.
func (l *tagList) latest(ctx context.Context, view View, a asked) (model.Sample, bool, error) {
	if l.calculations[a.tag.ID] == nil {
		for _, id := range a.epochs(nil, model.TimeRange{Start: model.MinTime, End: model.All.End, Reverse: true}) { // the newest first
			if s, ok := view.Latest(id); ok {
				return s, true, nil
			}
		}
		return model.Sample{}, false, nil
	}
	c := view.Samples(a.tag.ID, model.TimeRange{Start: model.All.Start, End: model.All.End, Reverse: true})
	defer c.Close()
	b, err := c.Next(ctx)
	if err == io.EOF {
		return model.Sample{}, false, nil
	}
	if err != nil {
		return model.Sample{}, false, err
	}
	return b.At(0), true, nil
}
