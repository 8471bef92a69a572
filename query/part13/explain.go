package part13

import (
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// Rule is what kind of bounding values an aggregate calculates with.
type Rule uint8

const (
	NoBounds     Rule = iota
	Simple            // Part 13, 3.1.9: of the samples next to the edge
	Interpolated      // Part 13, 3.1.8: of the usable samples nearest to the edge
)

// Bounds is what kind of bounds the aggregate takes of an interval, and of which edges, the earlier and the later one.
func (c *Calculation) Bounds(a Aggregate) (r Rule, earlier, later bool) {
	reverse := c.iv.Reverse
	switch a {
	case TimeAverage, Total:
		return Interpolated, true, true
	case Interpolative:
		return Interpolated, !reverse, reverse
	case StartBound:
		return Simple, !reverse, reverse
	case EndBound:
		return Simple, reverse, !reverse
	case TimeAverage2, Total2, DeltaBounds, WorstQuality2:
		return Simple, true, true
	case Minimum2, Maximum2, MinimumActualTime2, MaximumActualTime2, Range2:
		return Simple, true, !c.iv.Stepped
	case DurationInStateZero, DurationInStateNonZero, DurationGood, DurationBad, PercentGood, PercentBad:
		return Simple, true, false
	}
	return NoBounds, false, false
}

// Bound is a bounding value and the samples it is made of.
type Bound struct {
	model.Sample
	Raw  bool            // a sample lies there
	From []*rollup.Point // that sample; or those next to the edge that decided, in order of time. They belong to the interval.
}

// Bound is the bounding value of a kind at an instant, an edge of the interval, as an aggregate takes it.
func (c *Calculation) Bound(a Aggregate, r Rule, instant int64) Bound {
	if a == WorstQuality2 && c.iv.Stepped && c.config.TreatUncertainAsBad { // see bounds
		lenient := *c
		lenient.config.TreatUncertainAsBad = false
		return lenient.Bound(a, r, instant)
	}
	if r == Interpolated {
		return c.explained(c.interpolatedBound(instant), c.usableAround(instant, false).at, c.interpolatedFrom(instant))
	}
	iv := &c.iv
	near := iv.place(instant, iv.Before.LastPoint(), iv.In.FirstPoint(), iv.In.LastPoint(), iv.After.FirstPoint())
	return c.explained(c.simpleBound(instant), near.at, []*rollup.Point{near.before, near.after})
}

func (c *Calculation) interpolatedFrom(instant int64) []*rollup.Point {
	a := c.usableAround(instant, c.config.TreatUncertainAsBad)
	if a.before != nil && a.after == nil && c.extrapolates(a.before) {
		return []*rollup.Point{c.iv.Earlier, a.before}
	}
	return []*rollup.Point{a.before, a.after}
}

func (c *Calculation) explained(b bound, at *rollup.Point, around []*rollup.Point) Bound {
	out := Bound{Sample: b.Sample, Raw: b.raw}
	if at != nil {
		around = []*rollup.Point{at}
	}
	for _, p := range around {
		if p != nil {
			out.From = append(out.From, p)
		}
	}
	return out
}

// Share is how much of an interval is of which quality, in percent.
type Share struct {
	Of                   string // what: time, stretches or samples
	Good, Uncertain, Bad float64
}

// Share is what the status of an aggregate is decided by (docs/reference/part-13.md, Status), before Uncertain is taken for one or the
// other; false where the status is that of a sample or bound, or always Good.
func (c *Calculation) Share(a Aggregate) (Share, bool) {
	var s shares
	out := Share{}
	switch a {
	case TimeAverage2, Total2, Minimum2, Maximum2, MinimumActualTime2, MaximumActualTime2, Range2:
		s, out.Of = c.regions(), "time"
	case DurationInStateZero, DurationInStateNonZero, DurationGood, DurationBad, PercentGood, PercentBad:
		s, out.Of = c.stretches(), "stretches"
	case Average, Count, NumberOfTransitions:
		n := c.iv.In.Counts()
		s, out.Of = shares{uint64(n.Good), uint64(n.Uncertain), uint64(n.Bad + n.Null)}, "samples"
	}
	all := float64(s.good + s.uncertain + s.bad)
	if c.outside || all == 0 {
		return Share{}, false
	}
	out.Good, out.Uncertain, out.Bad = 100*float64(s.good)/all, 100*float64(s.uncertain)/all, 100*float64(s.bad)/all
	return out, true
}

// Reach says what of the tag's samples an interval lies in or leaves.
type Reach struct {
	Outside bool  // wholly before the first or behind the last sample
	Before  bool  // it begins before the first sample there is
	Behind  bool  // it ends behind the last sample there is
	Until   int64 // what is held behind the last sample ends here
}

// Reach of the interval.
func (c *Calculation) Reach() Reach {
	before, first, last, after := c.iv.Before.LastPoint(), c.iv.In.FirstPoint(), c.iv.In.LastPoint(), c.iv.After.FirstPoint()
	r := Reach{Outside: c.outside, Until: c.until}
	r.Before = before == nil && (first == nil || first.Time > c.iv.Start)
	r.Behind = after == nil && (last == nil || last.Time < c.iv.End)
	return r
}
