package query

import (
	"context"
	"math"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// ownReader calculates Varve's own functions of the intervals of a window, as docs/reference/aggregates.md has them.
type ownReader struct {
	functions []Function
	asked     bool // any function is an own one
	areas     bool // any is of an integral
	columns   []*aggregateColumn
	of        model.Type // of columns
	split     bool       // pieces has the parts of the window; otherwise its intervals are as Part 13 has them
	pieces    pieces
	shape     calculation
	gathering *gathering
	feed      feed
}

func newOwnReader(p *processing) ownReader {
	strict := p.request.Configuration.TreatUncertainAsBad
	o := ownReader{functions: p.request.Functions, columns: make([]*aggregateColumn, len(p.request.Functions)), gathering: newGathering(p.request.Functions, strict, p.request.Counter)}
	for _, f := range o.functions {
		o.asked = o.asked || f.standard == 0
		o.areas = o.areas || f.needsArea()
	}
	o.shape = calculation{strict: strict, areas: o.areas, stepped: p.request.Stepped}
	return o
}

// open makes an ownReader ready for the intervals of a window of r.
func (o *ownReader) open(r *processedReader, w *processedWindow) {
	if !o.asked {
		return
	}
	if typ := w.tag.Current().Type; typ != o.of {
		o.of = typ
		for i, f := range o.functions {
			if f.own != 0 {
				o.columns[i] = newAggregateColumn(f.own, 1<<typ)
			}
		}
	}
	o.shape.view, o.shape.asked = r.view, w.asked
	o.pieces.stretch = stretch{view: r.view, strict: o.shape.strict, partials: o.pieces.partials}
	o.pieces.while, o.pieces.conditionView = r.while, r.conditions
	o.pieces.detail, o.pieces.usable, o.pieces.most = storage.Full, true, r.piecesMost()
	o.pieces.open(w.tag, r.processing.edges[w.from:w.to+1])
	o.split = !o.pieces.whole()
	if o.gathering != nil {
		o.feed = feed{cursor: shapeOf(r.view, w.tag.ID, model.TimeRange{Start: r.edges[0], End: r.edges[len(r.edges)-1]})}
	}
}

func (o *ownReader) close() {
	o.pieces.close()
	if o.feed.cursor != nil {
		o.feed.cursor.Close()
		o.feed = feed{}
	}
}

// take takes the samples of interval i of the window.
func (o *ownReader) take(ctx context.Context, i int, iv *part13.Interval) error {
	if !o.asked {
		return nil
	}
	o.shape.reset(iv.Start, iv.End)
	if o.gathering != nil {
		o.gathering.begin(iv.Start, iv.Before)
	}
	if o.split {
		if err := o.pieces.of(ctx, i, func(x *piece) error { return o.add(ctx, x) }); err != nil {
			return err
		}
	} else {
		whole := rollup.Interval{Start: iv.Start, End: iv.End, Before: iv.Before, In: iv.In, After: iv.After}
		samples := model.TimeRange{Start: iv.Start + o.pieces.shift, End: iv.End + o.pieces.shift}
		if err := o.add(ctx, &piece{Interval: whole, samples: samples}); err != nil {
			return err
		}
	}
	o.shape.finish()
	if o.gathering == nil {
		return nil
	}
	return o.gathering.end()
}

// add adds a piece of an interval.
func (o *ownReader) add(ctx context.Context, x *piece) error {
	if err := o.shape.add(x); err != nil {
		return err
	}
	g := o.gathering
	if g == nil {
		return nil
	}
	g.enter(x)
	if o.pieces.while != nil { // past samples that do not count
		if err := o.feed.until(ctx, x.samples.Start, func(*rollup.Point) error { return nil }); err != nil {
			return err
		}
	}
	if err := o.feed.until(ctx, x.samples.End, g.add); err != nil {
		return err
	}
	return g.leave()
}

// result is own function i of the interval taken last, and what the answer calls it.
func (o *ownReader) result(ctx context.Context, i int) (model.Sample, Function, error) {
	f := o.functions[i]
	value, name := noNumber, f
	quality := o.shape.quality()
	var err error
	switch {
	case f.own != 0:
		value, err = o.aggregate(ctx, f.own, o.columns[i])
	case f.needsSamples() && o.gathering.all != o.shape.only.Counts().All():
		quality = model.BadNoData // rollups are all that is left
	case f.needsSamples():
		value, name = o.gathered(i)
		if lost := (f.kind == kindIncrease || f.kind == kindRate) && o.gathering.count.wasReset(); lost && quality == model.Good {
			quality = model.UncertainDataSubNormal
		}
	default:
		value = o.partial(f)
	}
	value.Quality = quality
	return value, name, err
}

// aggregate is one that ReadAggregates has, as it has it.
func (o *ownReader) aggregate(ctx context.Context, a Aggregate, c *aggregateColumn) (model.Sample, error) {
	s := &o.shape
	if a == PercentGood {
		return numberSample(100 * float64(s.good()) / float64(uint64(s.end)-uint64(s.start))), nil
	}
	stats, _ := s.only.Stats(s.strict)
	x, err := s.cell(ctx, a, c, &stats)
	return c.sample(x), err
}

// partial is a function that follows from partials.
func (o *ownReader) partial(f Function) model.Sample {
	s := &o.shape
	first, last := s.only.UsableEnds(s.strict)
	switch f.kind {
	case kindTotal:
		if s.covered == 0 {
			return noNumber
		}
		return numberSample(s.area / f.argument)
	case kindTransitions:
		if s.only.Groups()&rollup.HasTransitions == 0 && !s.only.Empty() {
			return noNumber
		}
		return wholeSample(rollup.Int128{Lo: uint64(s.changes)})
	}
	if first == nil {
		return noNumber
	}
	switch f.kind {
	case kindFirstTime:
		return model.Sample{Type: model.Int64, Bits: uint64(first.Time)}
	case kindLastTime:
		return model.Sample{Type: model.Int64, Bits: uint64(last.Time)}
	}
	return difference(&last.Sample, &first.Sample)
}

// gathered is a function that needed samples.
func (o *ownReader) gathered(i int) (model.Sample, Function) {
	f, g := o.functions[i], o.gathering
	v, exact := math.NaN(), true
	switch f.kind {
	case kindIncrease:
		return g.count.increase(o.of), f
	case kindRate:
		return g.count.rate(), f
	case kindPercentile:
		v, exact = g.events.interpolated(f.argument)
	case kindTimeWeightedPercentile:
		v, exact = g.stood.nearestRank(f.argument)
	case kindCircularMean:
		v = g.arrows[i].Mean()
	case kindCircularDeviation:
		v = g.arrows[i].Deviation()
	}
	if !exact {
		f = f.approximate()
	}
	if v != v {
		return noNumber, f
	}
	return numberSample(v), f
}

// noNumber is the result where there is nothing to calculate with.
var noNumber = model.Sample{Type: model.Float64, Null: true}

func numberSample(v float64) model.Sample {
	return model.Sample{Type: model.Float64, Bits: math.Float64bits(v)}
}

// wholeSample is a whole number, as a double where 64 bits do not hold it.
func wholeSample(n rollup.Int128) model.Sample {
	switch {
	case n.Hi == 0 && n.Lo > math.MaxInt64:
		return model.Sample{Type: model.Uint64, Bits: n.Lo}
	case n.Hi == 0, n.Hi == -1 && n.Lo > math.MaxInt64:
		return model.Sample{Type: model.Int64, Bits: n.Lo}
	}
	return numberSample(n.Float64())
}

// difference is a − b: of integers exactly, as far as wholeSample has it.
func difference(a, b *model.Sample) model.Sample {
	if a.Type.Float() {
		return numberSample(part13.Number(a) - part13.Number(b))
	}
	n := rollup.Int128{Lo: a.Bits - b.Bits}
	less := a.Bits < b.Bits
	if a.Type == model.Int64 {
		less = int64(a.Bits) < int64(b.Bits)
	}
	if less {
		n.Hi = -1
	}
	return wholeSample(n)
}

// sample is a cell as a value of its own.
func (c *aggregateColumn) sample(x cell) model.Sample {
	switch {
	case !x.valid:
		return noNumber
	case c.kind == cell128:
		return wholeSample(rollup.Int128{Hi: x.high, Lo: x.bits})
	case c.of != 0:
		return model.Sample{Type: c.of, Bits: x.bits, Blob: x.blob}
	case c.typ.ID() == arrow.FLOAT64:
		return model.Sample{Type: model.Float64, Bits: x.bits}
	}
	return model.Sample{Type: model.Int64, Bits: x.bits}
}
