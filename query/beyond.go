package query

import (
	"context"
	"errors"
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// The average of values near the largest double is one too, but their sum, or their integral over nanoseconds, is beyond doubles. Partials
// have sums. So where an average is not finite and a value is huge, it is calculated once more, of samples scaled down by a power of two:
// that rounds no value but those too small to count beside the huge one. Nothing else is read, or calculated, in another way.

// scaleDown is enough for 2^63 values, each over 2^63 nanoseconds.
const scaleDown = 0x1p-256

// huge is the least value with which a sum or integral may be beyond doubles: 2^63 times 2^60 of less are within them.
const huge = 0x1p900

func isHuge(bits uint64) bool {
	v := math.Abs(math.Float64frombits(bits))
	return v >= huge && v <= math.MaxFloat64
}

// hasHuge reports whether partials of doubles have a huge value, as far as they tell: among the extremes, or at their ends.
func hasHuge(partials ...*rollup.Partial) bool {
	for _, p := range partials {
		if p == nil || p.Empty() || p.Type() != model.Float64 {
			continue
		}
		for x := range p.Points() {
			if !x.Null && isHuge(x.Bits) {
				return true
			}
		}
		stats, _ := p.Stats(false)
		least, any := stats.Min()
		greatest, _ := stats.Max()
		if any && (isHuge(least.Bits) || isHuge(greatest.Bits)) {
			return true
		}
	}
	return false
}

// scaled is what samples of a tag are calculated of once more, beside a view that has them.
func (a asked) scaled(v View) (View, asked) {
	of := a
	of.unit = &toUnit{periods: []unitPeriod{{from: model.MinTime, Conversion: unit.Conversion{Mul: scaleDown, Div: 1}}}}
	a.unit = nil
	return unitView{v, of}, a
}

// isAverage reports whether the aggregate is a mean of values, which lies among them.
func (a Aggregate) isAverage() bool { return a == EventWeightedAverage || a == TimeWeightedAverage }

func (f Function) isAverage() bool {
	switch f.standard {
	case part13.Average, part13.TimeAverage, part13.TimeAverage2:
		return true
	}
	return f.own.isAverage()
}

// beyond calculates the averages of the bucket that w had last once more, if they are not finite but may be.
func (a *aggregation) beyond(ctx context.Context, k *worker, w *window, columns []*aggregateColumn) error {
	n := len(a.request.Aggregates)
	cells, again := w.cells[len(w.cells)-n:], false
	for i, x := range a.request.Aggregates {
		again = again || x.isAverage() && cells[i].valid && !model.Finite(math.Float64frombits(cells[i].bits))
	}
	if !again || !k.calc.huge && !hasHuge(k.calc.only) {
		return nil
	}
	edges := []int64{k.calc.start, k.calc.end}
	if a.reverse() {
		edges[0], edges[1] = edges[1], edges[0]
	}
	one := &worker{}
	one.while, one.conditionView = a.while, k.conditionView
	defer one.close()
	view, tag := w.scaled(k.view)
	x := &window{asked: tag, to: 1}
	one.open(x.tag, edges)
	if err := a.partials(ctx, view, columns, one, x); err != nil {
		if errors.Is(err, storage.ErrErased) { // rollups are all that is left
			return nil
		}
		return err
	}
	for i, agg := range a.request.Aggregates {
		if agg.isAverage() && x.cells[i].valid {
			cells[i] = floatCell(math.Float64frombits(x.cells[i].bits) / scaleDown)
		}
	}
	return nil
}

// beyond calculates an average of an interval once more, if it is not finite but may be.
func (r *processedReader) beyond(ctx context.Context, w *processedWindow, iv *part13.Interval, row *processedRow) error {
	if !row.function.isAverage() || row.Null || row.Type != model.Float64 || model.Finite(math.Float64frombits(row.Bits)) || !hasHuge(iv.Before, iv.In, iv.After) {
		return nil
	}
	p := *r.processing
	p.request.Functions, p.good = []Function{row.function}, false
	p.effects = effectsOn(p.request.Functions, effectOnFunction)
	view, tag := w.scaled(r.view)
	one := newProcessedReader(&p, view)
	one.conditions = r.conditions
	x := processedWindow{asked: tag, from: row.bucket, to: row.bucket + 1}
	if err := one.read(ctx, &x); err != nil {
		if errors.Is(err, storage.ErrErased) {
			return nil
		}
		return err
	}
	if s := x.rows[0].Sample; !s.Null {
		row.Bits = math.Float64bits(math.Float64frombits(s.Bits) / scaleDown)
	}
	return nil
}
