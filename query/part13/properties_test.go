package part13

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

func (m *plain) calculated(a Aggregate) model.Sample {
	var c Calculation
	c.Reset(m.t, m.interval(), m.config)
	return c.Result(a)
}

// TestPartsOfAnInterval splits intervals: counts, durations and totals of the parts are those of the whole. Of a sloped tag durations
// are not: where the next sample is not Good the bound is Uncertain, and so is all of the stretch that begins with it.
func TestPartsOfAnInterval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawPlain(t)
		first, last := m.all[0].Time, m.all[len(m.all)-1].Time
		if last-first < 2 {
			return
		}
		m.start, m.end = first-1, last+2
		m.config.PercentDataBad, m.config.PercentDataGood = 100, 0 // never Bad while there is something
		left, right := *m, *m
		at := rapid.Int64Range(first+1, last-1).Draw(t, "at")
		left.end, right.start = at, at
		split := []Aggregate{Count, NumberOfTransitions, Total2}
		if m.stepped {
			split = append(split, DurationGood, DurationBad, DurationInStateZero, DurationInStateNonZero)
		}
		for _, a := range split {
			if !a.Of(m.t) {
				continue
			}
			x, y, whole := left.calculated(a), right.calculated(a), m.calculated(a)
			if x.Null || y.Null { // Bad, whatever the other half is
				continue
			}
			if sum := Number(&x) + Number(&y); !near(sum, Number(&whole), m.result(a).scale, m.t) {
				t.Fatalf("%s: %v and %v, of both %v; at %d of\n%s", a, Number(&x), Number(&y), Number(&whole), at, m)
			}
		}
	})
}

// TestScaledValues multiplies values by a power of two, which loses nothing: results are multiplied by it too, to the bit, and variances by
// its square.
func TestScaledValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawPlain(t)
		if m.t != model.Float64 {
			return
		}
		k := rapid.IntRange(-40, 40).Draw(t, "power")
		scaled := *m
		scaled.all = slices.Clone(m.all)
		for i := range scaled.all {
			p := &scaled.all[i].Sample
			p.Bits = math.Float64bits(math.Ldexp(Number(p), k))
		}
		for a := Interpolative; a < end; a++ {
			by := k
			switch a {
			case AnnotationCount, Count, DurationInStateZero, DurationInStateNonZero, NumberOfTransitions, DurationGood, DurationBad, PercentGood, PercentBad, WorstQuality, WorstQuality2:
				by = 0
			case VarianceSample, VariancePopulation:
				by = 2 * k
			}
			x, y := m.calculated(a), scaled.calculated(a)
			if x.Time != y.Time || x.Quality != y.Quality || x.Null != y.Null || !alikeNumbers(math.Ldexp(Number(&x), by), Number(&y)) {
				t.Fatalf("%s: %v %s, scaled by 2^%d %v %s, of\n%s", a, Number(&x), x.Quality.Text(), k, Number(&y), y.Quality.Text(), m)
			}
		}
	})
}

func alikeNumbers(x, y float64) bool { return x == y || math.IsNaN(x) && math.IsNaN(y) }

// TestReversedIntervals asks both ways for an interval without samples at its edges. What has no direction is the same, also the earliest
// sample and the latest; what goes from the bound at the beginning to that at the end is negated, and the bounds change places.
func TestReversedIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawPlain(t)
		if slices.ContainsFunc(m.all, func(p rollup.Point) bool { return p.Time == m.start || p.Time == m.end }) {
			return
		}
		m.reverse = false
		back := *m
		back.reverse = true
		for _, a := range []Aggregate{
			Average, TimeAverage, TimeAverage2, Total, Total2, Minimum, Maximum, MinimumActualTime, MaximumActualTime, Range, Range2, Count,
			DurationInStateZero, DurationInStateNonZero, NumberOfTransitions, DurationGood, DurationBad, PercentGood, PercentBad, WorstQuality,
			StandardDeviationSample, StandardDeviationPopulation, VarianceSample, VariancePopulation, Start, End, Delta,
		} {
			if !a.Of(m.t) {
				continue
			}
			x, y := m.calculated(a), back.calculated(a)
			if x.Quality != y.Quality || x.Null != y.Null || x.Bits != y.Bits {
				t.Fatalf("%s: %v %s, in reverse %v %s, of\n%s", a, Number(&x), x.Quality.Text(), Number(&y), y.Quality.Text(), m)
			}
		}
		if a := DeltaBounds; a.Of(m.t) {
			x, y := m.calculated(a), back.calculated(a)
			if x.Quality != y.Quality || x.Null != y.Null || !x.Null && !alikeNumbers(Number(&x), -Number(&y)) {
				t.Fatalf("%s: %v %s, in reverse %v %s, of\n%s", a, Number(&x), x.Quality.Text(), Number(&y), y.Quality.Text(), m)
			}
		}
		x, y := m.calculated(StartBound), back.calculated(EndBound)
		if x.Null != y.Null || x.Bits != y.Bits || x.Quality.Severity() != y.Quality.Severity() {
			t.Fatalf("StartBound %v %s, in reverse EndBound %v %s, of\n%s", Number(&x), x.Quality.Text(), Number(&y), y.Quality.Text(), m)
		}
	})
}
