package query

import (
	"context"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// goods calculates the rows of a window whose samples are all Good doubles; false where they are not, or other aggregates are
// asked for.
func (a *aggregation) goods(ctx context.Context, view View, columns []*aggregateColumn, k *worker, w *window) (bool, error) {
	if !a.good || !k.whole() || w.tag.Current().Type != model.Float64 {
		return false, nil
	}
	asked := a.asked
	asked.Stepped = w.tag.At(k.bounds[0]).Stepped
	if ok, err := view.Goods(ctx, w.tag.ID, k.stored(k.bounds), asked, &k.goods); !ok || err != nil {
		return false, err
	}
	g := &k.goods
	behind := slices.Grow(k.behind[:0], len(g.Buckets))[:len(g.Buckets)]
	k.behind = behind
	next := &g.After
	for i := len(g.Buckets) - 1; i >= 0; i-- {
		behind[i] = next
		if !g.Buckets[i].Empty() {
			next = &g.Buckets[i]
		}
	}
	before := &g.Before
	for i := range g.Buckets {
		b := &g.Buckets[i]
		iv := rollup.GoodInterval{Start: k.bounds[i], End: k.bounds[i+1], Before: before, In: b, After: behind[i]}
		if err := a.goodRow(&iv, asked, columns, w); err != nil {
			return false, err
		}
		if !b.Empty() {
			before = b
		}
	}
	return true, nil
}

// goodRow appends the row of one bucket to w.
func (a *aggregation) goodRow(iv *rollup.GoodInterval, asked rollup.Asked, columns []*aggregateColumn, w *window) error {
	b, good, length := iv.In, iv.Covered(), uint64(iv.End)-uint64(iv.Start)
	row := bucketRow{time: iv.Start, quality: qualityOf(good, length, b.Empty()), good: 100 * float64(good) / float64(length)}
	if a.reverse() {
		row.time = iv.End
	}
	w.rows = append(w.rows, row)
	for i, x := range a.request.Aggregates {
		v, err := goodCell(iv, x, asked.Stepped, good, columns[i])
		if err != nil {
			return err
		}
		w.cells = append(w.cells, v)
	}
	return nil
}

func goodCell(iv *rollup.GoodInterval, x Aggregate, stepped bool, good uint64, col *aggregateColumn) (cell, error) {
	some := !iv.In.Empty()
	switch x {
	case Count:
		return cell{bits: uint64(iv.In.N()), valid: true}, nil
	case PercentGood: // has a column in every answer
		return cell{}, nil
	case DurationGood:
		return cell{bits: good, valid: true}, nil
	case WorstQuality:
		return cell{bits: uint64(model.Good), valid: some}, nil
	case First, Last:
		v := iv.In.First()
		if x == Last {
			v = iv.In.Last()
		}
		if !some {
			return cell{}, nil
		}
		return col.value(model.Float64, v, nil), nil
	case TimeWeightedAverage:
		if good == 0 {
			return cell{}, nil
		}
		return floatCell(iv.Area(stepped) / float64(good)), nil
	}
	stats := iv.In.Stats()
	return col.statistic(x, model.Float64, &stats)
}
