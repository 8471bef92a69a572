package plot

import (
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// OfPartial is the interval of the samples that p is of, Uncertain ones drawn unless they are taken for Bad. It is exactly what
// those samples would give, or false if p does not say enough and the samples must be read: where some can be drawn and others
// not, where a gap is among them or a value that is not finite, where the values are no numbers or integers beyond 2^53, of which
// several are one double, and where p is a plain one, which knows no times of extremes.
func OfPartial(p *rollup.Partial, uncertainAsBad bool) (Interval, bool) {
	first, ok := p.First()
	if !ok {
		return Interval{}, p.Empty()
	}
	all := rollup.Interval{Start: first.Time, End: math.MaxInt64, In: p, Hold: math.MaxInt64}
	if all.Durations().Gap > 0 {
		return Interval{}, false
	}
	stats, ok := p.Stats(uncertainAsBad)
	if !ok || p.Groups()&rollup.HasTransitions == 0 { // plain ones lack them
		return Interval{}, false
	}
	var c Interval
	c.Worst, _ = p.WorstQuality()
	switch sum := stats.Sum(); {
	case stats.N() == 0:
		c.Lead = Break{true, first.Time}
		return c, true
	case stats.N() < p.Counts().All() || !model.Finite(sum):
		return Interval{}, false
	}
	last, _ := p.Last()
	least, _ := stats.Min()
	most, _ := stats.Max()
	point := func(t int64, bits uint64) Point {
		v, _ := model.Sample{Type: p.Type(), Bits: bits}.Float64()
		return Point{t, v}
	}
	c.Drawn = true
	c.First, c.Last = point(first.Time, first.Bits), point(last.Time, last.Bits)
	c.Min, c.Max = point(least.Time, least.Bits), point(most.Time, most.Bits)
	if !p.Type().Float() && max(-c.Min.Value, c.Max.Value) >= 1<<53 {
		return Interval{}, false
	}
	return c, true
}
