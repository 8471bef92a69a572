package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// Stats are the event-weighted statistics of the samples of one severity, or of Good and Uncertain together. Every sample
// counts alike, however long it stood, and several at one time all count.
type Stats struct {
	typ model.Type
	n   int64
	sum wide   // floats; IEEE where a value is infinite or NaN
	all Int128 // integers, exactly
	m2  wide   // sum of the squares of the distances from the mean

	min, max Extreme
}

// Extreme is a minimum or maximum, NaN only where every value is NaN.
type Extreme struct {
	Bits  uint64 // as in model.Samples.Bits
	Time  int64  // of the first sample that has it
	Again bool   // a later sample has it too
}

// N is how many samples there are.
func (s *Stats) N() int64 { return s.n }

// Sum is the sum of the values, rounded once; 0 of none.
func (s *Stats) Sum() float64 { return s.total().float() }

// SumInt is the exact sum of int64 and uint64 values.
func (s *Stats) SumInt() Int128 { return s.all }

func (s *Stats) total() wide {
	if s.typ.Float() {
		return s.sum
	}
	return s.all.wide()
}

// Mean is the sum over the number of samples; NaN of none.
func (s *Stats) Mean() float64 {
	if s.n == 0 {
		return math.NaN()
	}
	return s.total().div(wideInt(s.n)).float()
}

// Variance is of the samples as all there is (OPC UA Part 13, VariancePopulation); NaN of none.
func (s *Stats) Variance() float64 {
	if s.n == 0 {
		return math.NaN()
	}
	return s.m2.hi / float64(s.n)
}

// SampleVariance is of the samples as some of many (VarianceSample); NaN of none, and 0 of one, as in the examples of
// Part 13.
func (s *Stats) SampleVariance() float64 {
	if s.n < 2 {
		return s.Variance()
	}
	return s.m2.hi / float64(s.n-1)
}

// Min is the least value; false if there are no samples.
func (s *Stats) Min() (Extreme, bool) { return s.min, s.n > 0 }

// Max is the greatest value; false if there are no samples.
func (s *Stats) Max() (Extreme, bool) { return s.max, s.n > 0 }

// Range is the greatest less the least value; NaN of none.
func (s *Stats) Range() float64 {
	if s.n == 0 {
		return math.NaN()
	}
	return wideValue(s.typ, s.max.Bits).sub(wideValue(s.typ, s.min.Bits)).float()
}

// one is the statistics of a single value.
func one(t model.Type, bits uint64, time int64) Stats {
	s := Stats{typ: t, n: 1, min: Extreme{Bits: bits, Time: time}, max: Extreme{Bits: bits, Time: time}}
	switch t {
	case model.Float64, model.Float32:
		s.sum = wide{0, 0}.add(wideValue(t, bits)) // the sum of -0 alone is 0, as with others
		if !model.Finite(s.sum.hi) {
			s.m2.hi = math.NaN()
		}
	case model.Uint64:
		s.all = Int128{0, bits}
	default:
		s.all = Int128{int64(bits) >> 63, bits}
	}
	return s
}

// merge adds q. The extremes of whichever samples come first win where values are alike.
func (s *Stats) merge(q *Stats) {
	if q.n == 0 {
		return
	}
	if s.n == 0 {
		*s = *q
		return
	}
	s.m2 = s.m2.add(q.m2).add(wide{s.between(q), 0})
	s.sum = s.sum.add(q.sum)
	s.all = s.all.add(q.all)
	s.n += q.n
	s.min.merge(s.typ, &q.min, false)
	s.max.merge(s.typ, &q.max, true)
}

// between is what the distance of the two means adds to the sum of squares: d²·a·b/(a+b) for a and b samples whose means
// are d apart. (Chan, Golub, LeVeque.) d comes from the sums times the other's count, not from the means, so that it is
// exactly 0 where all values are the same.
func (s *Stats) between(q *Stats) float64 {
	a, b := float64(s.n), float64(q.n)
	d := q.total().mul(wide{a, 0}).sub(s.total().mul(wide{b, 0})).hi / a / b
	if d == 0 {
		return 0
	}
	return d * d * (a * (b / (a + b)))
}

func (x *Extreme) merge(t model.Type, y *Extreme, greatest bool) {
	xNaN, yNaN := isNaN(t, x.Bits), isNaN(t, y.Bits)
	switch {
	case yNaN && !xNaN:
	case xNaN && !yNaN:
		*x = *y
	case sameValue(t, x.Bits, y.Bits):
		first := x
		if y.Time < x.Time {
			first = y
		}
		*x = Extreme{Bits: first.Bits, Time: first.Time, Again: true}
	case less(t, x.Bits, y.Bits) == greatest:
		*x = *y
	}
}
