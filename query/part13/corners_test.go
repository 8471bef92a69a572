package part13

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// of is a history of doubles over [0, 10), to be changed by a test.
func of(points ...rollup.Point) *plain {
	return &plain{t: model.Float64, all: points, end: 10, resolution: 1, config: Defaults}
}

func double(at int64, v float64, q model.Quality) rollup.Point {
	return rollup.Point{Sample: model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(v), Quality: q}}
}

func whole(at, v int64) rollup.Point {
	return rollup.Point{Sample: model.Sample{Time: at, Type: model.Int64, Bits: uint64(v)}}
}

func second(p rollup.Point) rollup.Point {
	p.Seq = 1
	return p
}

// TestFirstOfSeveralAtTheBeginning has two samples where an interval begins and nothing else in it.
func TestFirstOfSeveralAtTheBeginning(t *testing.T) {
	m := of(double(-5, 0, model.Good), double(0, 1, model.Good), second(double(0, 2, model.Good)), double(20, 3, model.Good))
	x := m.calculated(StartBound)
	require.Equal(t, 1.0, Number(&x))
	m.start, m.end, m.reverse = -1, 0, true
	x = m.calculated(StartBound)
	require.Equal(t, 2.0, Number(&x))
}

// TestBadSampleAtTheBeginning has a Bad sample where an interval begins, and a Good one at the same instant, which is the bound. The line
// led past it, to the last of the interval.
func TestBadSampleAtTheBeginning(t *testing.T) {
	m := of(double(-5, 0, model.Good), double(0, 9, model.Bad), second(double(0, 1, model.Good)), double(2, 5, model.Good), double(9, 100, model.Good))
	x := m.calculated(Interpolative)
	require.Equal(t, 1.0, Number(&x))
}

// TestExtrapolationOfOneInstant has the last two samples at one time, through which no line goes on.
func TestExtrapolationOfOneInstant(t *testing.T) {
	m := of(double(-5, 1, model.Good), second(double(-5, 2, model.Good)))
	m.config.SlopedExtrapolation = true
	x := m.calculated(Interpolative)
	require.Equal(t, 2.0, Number(&x))
	m.start = -7
	x = m.calculated(TimeAverage)
	require.Equal(t, 2.0, Number(&x))
}

// TestExtrapolationBehindTheLastUsable has a Bad sample behind the last usable one. The line goes on from there, wherever the interval ends.
func TestExtrapolationBehindTheLastUsable(t *testing.T) {
	for _, end := range []int64{8, 10} {
		m := of(double(0, 0, model.Good), double(2, 2, model.Good), double(9, 0, model.Bad))
		m.start, m.end, m.config.SlopedExtrapolation = 4, end, true
		x, y := m.calculated(Interpolative), m.calculated(TimeAverage)
		require.Equal(t, 4.0, Number(&x), end)
		require.InDelta(t, float64(4+end)/2, Number(&y), 1e-12, end)
	}
}

// TestTimeAverageOfTheLastUnit ends within the unit of time that the last sample stands: nothing leads to a Good value there.
func TestTimeAverageOfTheLastUnit(t *testing.T) {
	m := of(double(0, 1, model.Good), double(9, 1, model.Good))
	m.resolution = 5
	x := m.calculated(TimeAverage)
	require.Equal(t, model.UncertainDataSubNormal, x.Quality&0xFFFF0000)
}

// TestWorstQualityWithoutValues has samples that are not Bad and have no value.
func TestWorstQualityWithoutValues(t *testing.T) {
	for _, q := range []model.Quality{model.GoodLocalOverride, model.UncertainInitialValue} {
		p := double(1, 0, q)
		p.Null = true
		x := of(p).calculated(WorstQuality)
		require.False(t, x.Null, q)
		require.Equal(t, uint64(q), x.Bits)
	}
}

// TestIntegersThatDoublesDoNotTellApart has values that are one double.
func TestIntegersThatDoublesDoNotTellApart(t *testing.T) {
	m := of(whole(-1, math.MaxInt64-1), whole(1, math.MaxInt64), whole(3, math.MaxInt64-2), whole(10, math.MaxInt64-4))
	m.t = model.Int64
	m.stepped = true
	x, y := m.calculated(Maximum2), m.calculated(Delta)
	require.Equal(t, uint64(math.MaxInt64), x.Bits)
	require.Equal(t, model.Good|calculated, x.Quality)
	require.Equal(t, -2.0, Number(&y))
	x, y = m.calculated(Range2), m.calculated(DeltaBounds) // stepped, the value at the end is not one of the interval
	require.Equal(t, 2.0, Number(&x))
	require.Equal(t, -3.0, Number(&y))
}

// TestEndBoundOfAShortInterval has an interval that is shorter than the unit of time: the bound at its end is stamped inside.
func TestEndBoundOfAShortInterval(t *testing.T) {
	m := of(double(-5, 0, model.Good), double(20, 25, model.Good))
	m.resolution = 100
	x := m.calculated(MaximumActualTime2)
	require.Equal(t, int64(0), x.Time)
}

// TestFarEdge has an interval that ends centuries behind the last sample, farther than an int64 counts nanoseconds.
func TestFarEdge(t *testing.T) {
	m := of(double(model.MinTime+5, 1, model.Good))
	m.start, m.end = model.MinTime, model.MaxTime
	x := m.calculated(DurationGood)
	require.Equal(t, 1e-6, Number(&x))
}

// TestSteppedReverse has a stepped tag whose least value stands from before the interval on: it counts in either direction.
func TestSteppedReverse(t *testing.T) {
	m := of(double(-5, 1, model.Good), double(5, 9, model.Good), double(20, 9, model.Good))
	m.stepped = true
	for _, m.reverse = range []bool{false, true} {
		x := m.calculated(Minimum2)
		require.Equal(t, 1.0, Number(&x), m.reverse)
	}
}

// TestEarliestAndLatestInReverse reads backward: Start is the earliest sample of (0, 10] all the same, End the latest, and Delta leads from the one
// to the other.
func TestEarliestAndLatestInReverse(t *testing.T) {
	m := of(double(0, 0, model.Good), double(5, 5, model.Good), double(10, 10, model.Good))
	m.reverse = true
	for a, want := range map[Aggregate][2]float64{Start: {5, 5}, End: {10, 10}, Delta: {10, 5}} {
		x := m.calculated(a)
		require.Equal(t, want, [2]float64{float64(x.Time), Number(&x)}, a)
	}
}
