package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// Good is a partial of samples that are all Good doubles, for who asks of them no more than [Asked] has. It is a tenth of a
// Partial, and comes to the same. The zero value is of no samples.
type Good struct {
	n           int64
	first, last moment
	low, high   Extreme // without Asked.Moments the bits alone
	sum, area   wide    // area is under the shape from the first sample to the last
}

// moment is the time of a sample and its value.
type moment struct {
	time int64
	bits uint64
}

// Asked is what a Good must tell beside how many samples there are, the first, the last and the sum.
type Asked struct {
	Extremes bool
	Moments  bool // when the extremes are seen first, and whether again
	Area     bool // the integral of the shape, and then
	Stepped  bool // whether that is stepped
}

// maxReach is the longest time between samples, and from the first of a bucket to the last, for which Good has areas: 52 days.
const maxReach = 1 << 52

// Add adds samples whose times ascend and come behind all that g has. It is false where one is not finite, or sums are beyond doubles or
// near it, or times are too far apart; g means nothing then.
func (g *Good) Add(times []int64, raw []uint64, asked Asked) bool {
	for len(raw) > blockSamples {
		if !g.Add(times[:blockSamples], raw[:blockSamples], asked) {
			return false
		}
		times, raw = times[blockSamples:], raw[blockSamples:]
	}
	n := len(raw)
	if n == 0 {
		return true
	}
	b := Good{n: int64(n), first: moment{times[0], raw[0]}, last: moment{times[n-1], raw[n-1]}}
	switch {
	case asked.Extremes && asked.Moments:
		b.sumMoments(times, raw)
	case asked.Extremes:
		b.sum, b.low.Bits, b.high.Bits = sumExtent(raw)
	default:
		b.sum = sumDoubles(raw)
	}
	if asked.Area && n > 1 {
		b.area = b.areaOf(times, raw, asked.Stepped)
	}
	return g.merge(&b, asked)
}

// sumMoments makes g know sum and extremes of at most blockSamples doubles, when the extremes are seen first, and whether again.
func (g *Good) sumMoments(times []int64, raw []uint64) {
	sum, p, ok := placesOctave(raw)
	if ok {
		g.sum = sum
		g.low = Extreme{raw[p.low], times[p.low], p.lowAgain > p.low}
		g.high = Extreme{raw[p.high], times[p.high], p.highAgain > p.high}
		return
	}
	g.sum = sumDoubles(raw)
	lo, hi := extent(raw)
	g.low, g.high = seen(times, raw, unordered(lo)), seen(times, raw, unordered(hi))
}

// seen is an extreme of some doubles. 0 and -0 are the same, and the first of them is it.
func seen(times []int64, raw []uint64, want float64) (x Extreme) {
	n := 0
	for i, u := range raw {
		if math.Float64frombits(u) == want {
			if n == 0 {
				x = Extreme{Bits: u, Time: times[i]}
			}
			n++
		}
	}
	x.Again = n > 1
	return x
}

// merge adds q, whose samples come behind those of g.
func (g *Good) merge(q *Good, asked Asked) bool {
	if g.n == 0 {
		*g = *q
	} else {
		if asked.Area {
			between := reach{from: &g.last, to: &q.first, start: g.last.time, end: q.first.time}
			g.area = g.area.add(between.area(asked.Stepped)).add(q.area)
		}
		g.n += q.n
		g.sum = g.sum.add(q.sum)
		if asked.Moments {
			g.low.merge(model.Float64, &q.low, false)
			g.high.merge(model.Float64, &q.high, true)
		} else {
			g.low.Bits = math.Float64bits(unordered(min(ordered(g.low.Bits), ordered(q.low.Bits))))
			g.high.Bits = math.Float64bits(unordered(max(ordered(g.high.Bits), ordered(q.high.Bits))))
		}
		g.last = q.last
	}
	return within(g.sum.hi, maxTotal) && within(g.area.hi, maxTotal) && within(g.first.value().hi, maxEnd) && within(g.last.value().hi, maxEnd) && g.span() < maxReach
}

// maxEnd is less than which the first and the last value are, and maxTotal what sums and areas are, so that an area with what leads in and
// out is not beyond doubles.
const (
	maxEnd   = 0x1p900
	maxTotal = 0x1p1023
)

// within reports whether v is a number of a lesser magnitude; NaN is none.
func within(v, most float64) bool { return v > -most && v < most }

func (g *Good) span() uint64 { return uint64(g.last.time) - uint64(g.first.time) }

// areaOf is the integral between the first of at most blockSamples samples, two at least, and the last, which g has the sum of. On a
// line each value counts for half of the time from the sample before it to the one behind; on a regular grid the integral follows
// from the sum.
func (g *Good) areaOf(times []int64, raw []uint64, stepped bool) wide {
	n := len(times) - 1
	span := uint64(times[n]) - uint64(times[0])
	step := times[1] - times[0]
	if step == times[n]-times[n-1] && step <= maxExactTime && regular(times[0], times[1:], step) {
		beside := g.last.value()
		if !stepped {
			beside = beside.half().add(g.first.value().half())
		}
		return g.sum.sub(beside).mul(wide{float64(step), 0})
	}
	if stepped {
		return weights{times[:n], times[1:]}.total(raw[:n], span)
	}
	start, end := uint64(times[1])-uint64(times[0]), uint64(times[n])-uint64(times[n-1])
	twice := weights{times[:n-1], times[2:]}.total(raw[1:n], 2*span-start-end)
	ends := moment{bits: raw[0]}.times(start).add(moment{bits: raw[n]}.times(end))
	return twice.add(ends).half()
}

// Empty reports whether g has no samples.
func (g *Good) Empty() bool { return g.n == 0 }

// N is how many samples there are.
func (g *Good) N() int64 { return g.n }

// First is the bits of the first value.
func (g *Good) First() uint64 { return g.first.bits }

// Last is the bits of the last value.
func (g *Good) Last() uint64 { return g.last.bits }

// Stats are the statistics, without squares and, where they were not asked for, without the times of extremes.
func (g *Good) Stats() Stats {
	return Stats{typ: model.Float64, n: g.n, sum: g.sum, min: g.low, max: g.high}
}

// Mean is that of Stats.
func (g *Good) Mean() float64 { return g.sum.div(wideInt(g.n)).float() }

// Extremes are those of Stats.
func (g *Good) Extremes() (least, greatest *Extreme) { return &g.low, &g.high }

// Partial is g as a partial, of which only what was asked of g is known: squares and transitions mean nothing, nor do the integrals of
// the other rule. Points have no seq.
func (g *Good) Partial(asked Asked) (p Partial) {
	if g.Empty() {
		return p
	}
	p.start(model.Float64)
	p.counts[classGood] = g.n
	for i := firstPoint; i <= lastGood; i += 2 {
		p.points[i], p.points[i+1] = *g.first.point(), *g.last.point()
	}
	p.durations[goodToGood] = g.span()
	p.stats[classGood] = g.Stats()
	integrals := []int{slopedStrict, slopedLenient, bridgedSlopedStrict, bridgedSlopedLenient}
	if asked.Stepped {
		integrals = []int{steppedGood, bridgedSteppedStrict, bridgedSteppedLenient}
	}
	for _, i := range integrals {
		p.integrals[i] = g.area
	}
	return p
}

// GoodInterval is [Interval] of partials that are Good: In has all samples of [Start, End), Before some that lie before, After
// some behind, the nearest among them; empty ones where there is none. Behind the last sample there is, its value holds for
// one nanosecond.
type GoodInterval struct {
	Start, End        int64
	Before, In, After *Good
}

// reach is the part [start, end) of a segment between two samples.
type reach struct {
	from, to   *moment
	start, end int64
	held       bool // to is no sample: there is none behind from
}

func (r *reach) length() uint64 { return uint64(r.end) - uint64(r.start) }

// edges is what of the interval lies outside of its samples.
func (iv *GoodInterval) edges() (edges [2]reach, n int) {
	before, in, after := iv.Before, iv.In, iv.After
	if in.Empty() {
		in = before
	} else {
		n = iv.edge(&edges[0], before, in)
	}
	return edges, n + iv.edge(&edges[n], in, after)
}

// edge makes r what of the segment from the last sample of one to the first of the other lies in the interval, and is how many
// such segments there are.
func (iv *GoodInterval) edge(r *reach, one, other *Good) int {
	if one.Empty() {
		return 0
	}
	*r = reach{from: &one.last, to: &other.first, start: max(one.last.time, iv.Start), end: min(other.first.time, iv.End)}
	if other.Empty() {
		r.held, r.end = true, min(one.last.time+1, iv.End)
	}
	if r.start >= r.end {
		return 0
	}
	return 1
}

// Covered is the nanoseconds of the interval under samples, which are of one piece.
func (iv *GoodInterval) Covered() uint64 {
	last, from, to := iv.In, iv.Start, iv.End
	switch {
	case !iv.Before.Empty():
		if last.Empty() {
			last = iv.Before
		}
	case last.Empty():
		return 0
	default:
		from = last.first.time
	}
	if iv.After.Empty() {
		to = min(last.last.time+1, to)
	}
	if to <= from {
		return 0
	}
	return uint64(to) - uint64(from)
}

// Area is the integral of the shape, of partials that were asked for it.
func (iv *GoodInterval) Area(stepped bool) float64 {
	edges, n := iv.edges()
	area := iv.In.area
	for i := range edges[:n] {
		area = area.add(edges[i].area(stepped))
	}
	return area.float()
}

// area is the length times the value at the middle.
func (r *reach) area(stepped bool) wide {
	if stepped || r.held {
		return r.from.times(r.length())
	}
	whole := uint64(r.to.time) - uint64(r.from.time)
	if whole == r.length() {
		return r.from.times(whole).half().add(r.to.times(whole).half())
	}
	if whole >= maxReach {
		s := span{r.from.point(), r.to.point(), r.start, r.end}
		return s.integral(Rule{})
	}
	// (from·(2·whole-x) + to·x) / (2·whole), where x is twice the way from one sample to the middle
	x := uint64(r.start) - uint64(r.from.time) + (uint64(r.end) - uint64(r.from.time))
	sum := r.from.times(2*whole - x).add(r.to.times(x))
	return sum.mul(wide{float64(r.length()), 0}).div(wide{float64(2 * whole), 0})
}

func (m moment) value() wide { return wide{math.Float64frombits(m.bits), 0} }

// times is the value times a length.
func (m moment) times(length uint64) wide {
	if length <= maxExactTime {
		p, e := twoProduct(m.value().hi, float64(length))
		return wide{p, e}
	}
	return m.value().mul(wideUint(length))
}

func (m moment) point() *Point {
	return &Point{Sample: model.Sample{Type: model.Float64, Time: m.time, Bits: m.bits}}
}
