package rollup

import (
	"math"

	"github.com/varvedb/varve/model"
)

// Rule is how a tag's shape follows from its samples: the settings of OPC UA Part 13 on which integrals depend.
type Rule struct {
	Stepped        bool // hold each value until the next sample instead of sloping to it
	UncertainAsBad bool // only Good samples are usable; otherwise Good and Uncertain ones
	// Bridged takes the nearest usable samples for neighbours, across what is not usable between them ("interpolated
	// bounds"). Otherwise the neighbours are the nearest samples, and what follows one that is not usable has no value
	// ("simple bounds").
	Bridged bool
}

func (r Rule) mode() int {
	if r.UncertainAsBad {
		return strict
	}
	return lenient
}

// Interval answers for [Start, End) of one tag from the partials of what lies before, in and behind it.
//
// In has all samples and gaps of the interval. Before has some that lie before Start, and After some at End or behind, as
// far as the bounds need: the nearest point for durations and simple bounds, the nearest usable sample for bridged ones.
// The partials of the buckets on both sides will do wherever they are not empty. Nil stands for none.
type Interval struct {
	Start, End        int64
	Before, In, After *Partial

	// Hold is until when the last point holds if nothing is known behind it, at most End: now, the end of the data, or for
	// Part 13 one unit of time resolution behind the last sample; Start or before for not at all. What is behind Hold is not
	// covered. A gap holds whatever Hold says: up to the next sample nothing is collected. Sloped extrapolation is left to the reader.
	Hold int64

	// Reach is how many nanoseconds the next point may be away for a point to hold, or slope, up to it; 0 for any. Where it is
	// further away the point holds for one nanosecond, and what is behind that is not covered. Distances inside In are as
	// In was made.
	Reach uint64
}

var none Partial

func orNone(p *Partial) *Partial {
	if p == nil {
		return &none
	}
	return p
}

// span is a segment or a bridge as far as it lies in the interval: from `from` on, to the next point or held, clipped to
// [start, end).
type span struct {
	from, to   *Point // to is nil behind the last point
	start, end int64
}

func (s *span) length() uint64 { return uint64(s.end) - uint64(s.start) }

// edges is what of the interval the segments (or bridges) inside In do not cover: the one that leads in and the one that
// leads out, or one that leads across.
func (iv *Interval) edges(before, first, last, after *Point) (spans [2]span, n int) {
	add := func(from, to *Point) {
		if from == nil {
			return
		}
		s := span{from, to, max(from.Time, iv.Start), min(iv.Hold, iv.End)}
		switch {
		case to != nil:
			s.end = min(to.Time, iv.End)
		case from.Gap:
			s.end = iv.End
		}
		if iv.tooFar(from, to) {
			s.to, s.end = nil, min(from.Time+1, iv.End)
		}
		if s.start < s.end {
			spans[n] = s
			n++
		}
	}
	if first == nil {
		add(before, after)
	} else {
		add(before, first)
		add(last, after)
	}
	return spans, n
}

// tooFar reports whether nothing leads from one point to the next. A gap lasts over any distance.
func (iv *Interval) tooFar(from, to *Point) bool {
	return iv.Reach > 0 && to != nil && !from.Gap && uint64(to.Time)-uint64(from.Time) > iv.Reach
}

func (iv *Interval) segmentEdges() ([2]span, int) {
	b, in, a := orNone(iv.Before), orNone(iv.In), orNone(iv.After)
	return iv.edges(b.point(lastPoint), in.point(firstPoint), in.point(lastPoint), a.point(firstPoint))
}

func (iv *Interval) bridgeEdges(mode int) ([2]span, int) {
	_, before := orNone(iv.Before).usable(mode)
	first, last := orNone(iv.In).usable(mode)
	after, _ := orNone(iv.After).usable(mode)
	return iv.edges(before, first, last, after)
}

// Integral is an integral over the part of an interval where the tag has a value.
type Integral struct {
	Value   float64 // units of the value times nanoseconds
	Covered uint64  // nanoseconds
}

// Mean is the time-weighted average; NaN where nothing is covered.
func (i Integral) Mean() float64 {
	if i.Covered == 0 {
		return math.NaN()
	}
	return i.Value / float64(i.Covered)
}

// Integral is the integral of the tag's shape under a rule; false where a partial has none.
func (iv *Interval) Integral(r Rule) (Integral, bool) {
	in := orNone(iv.In)
	if !in.Empty() && in.groups&HasIntegrals == 0 {
		return Integral{}, false
	}
	total, covered := in.integral(r)
	spans, n := iv.segmentEdges()
	if r.Bridged {
		spans, n = iv.bridgeEdges(r.mode())
	}
	for _, s := range spans[:n] {
		if !numeric(s.from.Type) {
			return Integral{}, false
		}
		if !r.usable(s.from) {
			continue
		}
		total = total.add(s.integral(r))
		covered += s.length()
	}
	return Integral{total.float(), covered}, true
}

func (r Rule) usable(p *Point) bool {
	c := p.class()
	return c == classGood || c == classUncertain && !r.UncertainAsBad
}

// integral is that of a whole partial, from its first point to its last.
func (p *Partial) integral(r Rule) (w wide, covered uint64) {
	mode := r.mode()
	if r.Bridged {
		if first, last := p.usable(mode); first != nil {
			covered = uint64(last.Time) - uint64(first.Time)
		}
		if r.Stepped {
			return p.integrals[bridgedSteppedStrict+mode], covered
		}
		return p.integrals[bridgedSlopedStrict+mode], covered
	}
	covered = p.durations[goodToGood] + p.durations[goodToUncertain] + p.durations[goodToNone]
	if mode == lenient {
		covered += p.durations[fromUncertain]
	}
	switch {
	case !r.Stepped:
		return p.integrals[slopedStrict+mode], covered
	case mode == lenient:
		return p.integrals[steppedGood].add(p.integrals[steppedUncertain]), covered
	}
	return p.integrals[steppedGood], covered
}

// integral of a span is its length times the value at its middle.
func (s *span) integral(r Rule) wide {
	length := wideUint(s.length())
	a := wideValue(s.from.Type, s.from.Bits)
	if r.Stepped || s.to == nil || !r.usable(s.to) || s.to.Time == s.from.Time {
		return a.mul(length)
	}
	b := wideValue(s.to.Type, s.to.Bits)
	whole := wideUint(uint64(s.to.Time) - uint64(s.from.Time))
	left := wideUint(uint64(s.start) - uint64(s.from.Time)).add(wideUint(uint64(s.end) - uint64(s.from.Time))).half()
	share := left.div(whole)
	return a.mul(wide{1, 0}.sub(share)).add(b.mul(share)).mul(length)
}

// Durations are the nanoseconds of an interval by the quality of what holds. A segment has the quality of the sample it
// starts from. Those that start Good are told apart by what they end on.
type Durations struct {
	GoodToGood      uint64 // and what is held behind the last point
	GoodToUncertain uint64
	GoodToNone      uint64 // ends on Bad, on no value, or on a gap
	Uncertain       uint64
	Bad             uint64
	Null            uint64 // not Bad, but without a value
	Gap             uint64
	NotCovered      uint64 // before the first point, or behind Hold
}

// Good is the time under a Good sample, which is Good under the stepped rule and, since version 1.05, under the sloped one.
func (d *Durations) Good() uint64 { return d.GoodToGood + d.GoodToUncertain + d.GoodToNone }

// SlopedGood is the time between two Good samples: version 1.04 of Part 13 (5.4.3.2.1) takes a sloped segment that ends on
// anything else for Uncertain.
func (d *Durations) SlopedGood() uint64 { return d.GoodToGood }

// NoValue is the time without a usable value, apart from what is not covered.
func (d *Durations) NoValue() uint64 { return d.Bad + d.Null + d.Gap }

// Durations of the interval.
func (iv *Interval) Durations() Durations {
	by := orNone(iv.In).durations
	spans, n := iv.segmentEdges()
	for _, s := range spans[:n] {
		to := s.from.class()
		if s.to != nil {
			to = s.to.class()
		}
		by[segmentOf(s.from.class(), to)] += s.length()
	}
	d := Durations{
		GoodToGood: by[goodToGood], GoodToUncertain: by[goodToUncertain], GoodToNone: by[goodToNone],
		Uncertain: by[fromUncertain], Bad: by[fromBad], Null: by[fromNull], Gap: by[fromGap],
	}
	d.NotCovered = uint64(iv.End) - uint64(iv.Start)
	for _, t := range by {
		d.NotCovered -= t
	}
	return d
}

// Transitions is how often the value changed from one usable sample to the next (NumberOfTransitions), the change from the
// last usable sample before the interval to its first included; false where a partial has none.
func (iv *Interval) Transitions(uncertainAsBad bool) (int64, bool) {
	in, mode := orNone(iv.In), Rule{UncertainAsBad: uncertainAsBad}.mode()
	if !in.Empty() && in.groups&HasTransitions == 0 {
		return 0, false
	}
	n := in.transitions[mode]
	if iv.enters(mode) {
		n++
	}
	return n, true
}

// enters reports whether the first usable sample differs from the last one before the interval.
func (iv *Interval) enters(mode int) bool {
	_, a := orNone(iv.Before).usable(mode)
	b, _ := orNone(iv.In).usable(mode)
	return a != nil && b != nil && !sameValue(b.Type, a.Bits, b.Bits)
}

// States is the time in each state, by code, with samples and entries; false where a partial has none. What led into the
// interval and what leads out count as far as they lie in it.
func (iv *Interval) States() ([]State, bool) {
	in := orNone(iv.In)
	if !in.Empty() && in.groups&HasStates == 0 {
		return nil, false
	}
	out := Partial{states: mergeStates(in.states, nil)}
	spans, n := iv.segmentEdges()
	for _, s := range spans[:n] {
		c := s.from.class()
		if !states(s.from.Type) {
			return nil, false
		}
		if c.usable() {
			out.state(s.from).addTime(c, s.length())
		}
	}
	for _, mode := range []int{strict, lenient} {
		if iv.enters(mode) {
			first, _ := in.usable(mode)
			out.state(first).addEntry(mode)
		}
	}
	return out.states, true
}

// Counts are how many samples a partial has, by quality.
type Counts struct {
	Good, Uncertain int64 // with a value
	Bad             int64 // whether they have a value or not
	Null            int64 // not Bad, but without a value
}

// All is the number of samples.
func (c Counts) All() int64 { return c.Good + c.Uncertain + c.Bad + c.Null }

// Counts of the samples; gaps are none.
func (p *Partial) Counts() Counts {
	return Counts{p.counts[classGood], p.counts[classUncertain], p.counts[classBad], p.counts[classNull]}
}

// Stats are the statistics of the Good samples, with the Uncertain ones unless those are taken for Bad; false where p has
// none.
func (p *Partial) Stats(uncertainAsBad bool) (Stats, bool) {
	s := p.stats[0]
	if !uncertainAsBad {
		s.merge(&p.stats[1])
	}
	return s, p.Empty() || p.groups&HasStats != 0
}

// First is the first sample, whatever its quality; false if there is none.
func (p *Partial) First() (Point, bool) {
	return p.points[firstSample], p.points[firstSample].present()
}

// Last is the last sample, whatever its quality; false if there is none.
func (p *Partial) Last() (Point, bool) { return p.points[lastSample], p.points[lastSample].present() }

// LastTime is the time of the last sample, whatever its quality; false if there is none.
func (p *Partial) LastTime() (int64, bool) {
	return p.points[lastSample].Time, p.points[lastSample].present()
}

// FirstUsable is the first sample with a value whose quality a calculation may use; false if there is none.
func (p *Partial) FirstUsable(uncertainAsBad bool) (Point, bool) {
	first, _ := p.usable(Rule{UncertainAsBad: uncertainAsBad}.mode())
	return deref(first)
}

// LastUsable is the last sample with a value whose quality a calculation may use; false if there is none.
func (p *Partial) LastUsable(uncertainAsBad bool) (Point, bool) {
	_, last := p.usable(Rule{UncertainAsBad: uncertainAsBad}.mode())
	return deref(last)
}

func deref(p *Point) (Point, bool) {
	if p == nil {
		return Point{}, false
	}
	return *p, true
}

// WorstQuality is the first quality of the worst severity; false if there are no samples.
func (p *Partial) WorstQuality() (model.Quality, bool) {
	return p.worst, p.points[firstSample].present()
}
