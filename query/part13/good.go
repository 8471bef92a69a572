package part13

import (
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// OfGood reports whether [Good] has the aggregate, of a stepped tag or a sloped one.
func (a Aggregate) OfGood(stepped bool) bool {
	switch a {
	case Average, Minimum, Maximum, Range, TimeAverage2, Total, Total2, DurationGood, DurationBad, PercentGood, PercentBad:
		return true
	case TimeAverage: // is sloped whatever the tag is
		return !stepped
	}
	return false
}

// Good is [Calculation] of an interval that most are like: it has samples, and they, the last before it and the first behind it are all
// Good doubles. It reads forward and was not cut off. Every result is a double, stamped with the start of the interval; no configuration
// makes it other than Good.
type Good struct {
	rollup.GoodInterval
	Stepped bool

	area   float64
	summed bool // area is that of the interval
}

// Result is the value of an aggregate that OfGood has, as bits, and its status code with info bits.
func (g *Good) Result(a Aggregate) (bits uint64, q model.Quality) {
	v := 0.0
	switch a {
	case Minimum, Maximum:
		x, greatest := g.In.Extremes()
		if a == Maximum {
			x = greatest
		}
		if x.Time != g.Start {
			q = model.InfoDataValue | model.InfoCalculated
		}
		if x.Again {
			q |= model.InfoDataValue | model.InfoMultiValue
		}
		return x.Bits, q
	case Average:
		v = g.In.Mean()
	case Range:
		stats := g.In.Stats()
		v = stats.Range()
	case TimeAverage, TimeAverage2:
		v = g.integral() / float64(g.length())
	case Total, Total2:
		v = g.integral() / seconds
	case DurationGood:
		v = float64(g.length()) / millis
	case PercentGood:
		v = 100 * float64(g.length()) / float64(g.length())
	}
	return math.Float64bits(v), model.InfoDataValue | model.InfoCalculated
}

func (g *Good) length() uint64 { return uint64(g.End) - uint64(g.Start) }

// integral is calculated once for all aggregates that take part of it.
func (g *Good) integral() float64 {
	if !g.summed {
		g.area, g.summed = g.Area(g.Stepped), true
	}
	return g.area
}
