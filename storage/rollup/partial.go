package rollup

import (
	"fmt"
	"math/bits"

	"github.com/varvedb/varve/model"
)

// Groups says which of the fields that not every partial has are there. The bits reach disk and are never renumbered.
type Groups uint8

const (
	HasStats       Groups = 1 // event-weighted statistics: numeric types
	HasIntegrals   Groups = 2 // integrals over time: numeric types
	HasTransitions Groups = 4 // how often the value changed: all but string and bytes
	HasStates      Groups = 8 // time in each state: bool and state, up to MaxStates states

	AllGroups = HasStats | HasIntegrals | HasTransitions | HasStates
)

// groupsOf is the groups a type can have.
func groupsOf(t model.Type) Groups {
	switch {
	case numeric(t):
		return HasStats | HasIntegrals | HasTransitions
	case states(t):
		return HasTransitions | HasStates
	}
	return 0
}

// The points a partial remembers. Good and Uncertain mean samples that have a value. The numbers reach disk.
const (
	firstPoint = iota // samples and gaps alike: the ends of the segments that merging adds
	lastPoint
	firstSample
	lastSample
	firstGood
	lastGood
	firstUncertain
	lastUncertain
	numPoints
)

// A segment lies between one point and the next and belongs to the class of the one it starts from. Segments from Good are
// told apart by what they end on, because some rules of OPC UA Part 13 do. The numbers reach disk.
const (
	goodToGood = iota
	goodToUncertain
	goodToNone // Bad, without value, or a gap
	fromUncertain
	fromBad
	fromNull
	fromGap
	numSegments
)

// The integrals of a partial, in units of the value times nanoseconds. Strict ones take Good for usable, lenient ones Good
// and Uncertain. The numbers reach disk.
const (
	steppedGood      = iota // value × duration of the segments that start Good
	steppedUncertain        // the same of those that start Uncertain
	slopedStrict            // segments that start usable: the mean of both ends × duration, or held where the end is not usable
	slopedLenient
	bridgedSteppedStrict // from each usable sample held to the next one, across what lies between
	bridgedSteppedLenient
	bridgedSlopedStrict // from each usable sample in a straight line to the next one
	bridgedSlopedLenient
	numIntegrals
)

const (
	strict = iota
	lenient
)

// Partial is what is kept of consecutive samples of one tag: enough to answer any aggregate of an interval they fill. The
// zero value is of no samples, and merging with it changes nothing. A copy is independent of what it was copied from.
type Partial struct {
	typ    model.Type
	groups Groups

	counts      [classGap]int64
	worst       model.Quality // the first of the worst severity
	points      [numPoints]Point
	durations   [numSegments]uint64
	stats       [2]Stats // Good, Uncertain
	integrals   [numIntegrals]wide
	transitions [2]int64
	states      []State // ascending by code; replaced, never changed, once Add or Merge has returned
	apart       bool    // the last point holds for a nanosecond only, see Part
}

// Empty reports whether p has neither sample nor gap.
func (p *Partial) Empty() bool { return !p.points[firstPoint].present() }

// Type is the type of the samples; 0 of none.
func (p *Partial) Type() model.Type { return p.typ }

// Groups is which optional fields p has.
func (p *Partial) Groups() Groups { return p.groups }

// start makes an empty partial one of type t, and panics where samples of another type come in.
func (p *Partial) start(t model.Type) {
	if p.typ == 0 {
		p.typ, p.groups = t, groupsOf(t)
		p.stats[0].typ, p.stats[1].typ = t, t
	}
	if p.typ != t {
		panic(fmt.Sprintf("rollup: samples of %s behind samples of %s", t, p.typ))
	}
}

// Merge adds q, whose samples and gaps all come behind those of p, and the segment between the two. A group that one of
// them lacks is lacking afterwards.
func (p *Partial) Merge(q *Partial) {
	if q.Empty() {
		return
	}
	if p.Empty() {
		*p = *q
		return
	}
	p.start(q.typ)
	first, last := &q.points[firstPoint], &p.points[lastPoint]
	if first.Time < last.Time {
		panic(fmt.Sprintf("rollup: merge of samples from %s on behind one at %s", model.FormatTime(first.Time), model.FormatTime(last.Time)))
	}
	p.groups &= q.groups
	p.states = mergeStates(p.states, q.states)
	p.connect(first, q.point(firstGood), q.firstUsable())
	for i := range p.counts {
		p.counts[i] += q.counts[i]
	}
	p.addWorst(q.worst, q.points[firstSample].present())
	for i := range p.durations {
		p.durations[i] += q.durations[i]
	}
	for i := range p.stats {
		p.stats[i].merge(&q.stats[i])
	}
	for i := range p.integrals {
		p.integrals[i] = p.integrals[i].add(q.integrals[i])
	}
	for i := range p.transitions {
		p.transitions[i] += q.transitions[i]
	}
	for i := range p.points {
		if first := i%2 == 0; q.points[i].present() && !(first && p.points[i].present()) {
			p.points[i] = q.points[i]
		}
	}
	p.dropAbsent()
}

// Part parts p from what is added or merged next: the last point holds for one nanosecond, and what lies from there to the next
// point has no value and counts for no duration. Transitions and bridges lead across.
func (p *Partial) Part() { p.apart = !p.Empty() }

// dropAbsent clears the fields of groups that p lacks, so that equal partials are equal.
func (p *Partial) dropAbsent() {
	if len(p.states) > MaxStates {
		p.groups &^= HasStates
	}
	if p.groups&HasStats == 0 {
		p.stats = [2]Stats{{typ: p.typ}, {typ: p.typ}}
	}
	if p.groups&HasIntegrals == 0 {
		p.integrals = [numIntegrals]wide{}
	}
	if p.groups&HasTransitions == 0 {
		p.transitions = [2]int64{}
	}
	if p.groups&HasStates == 0 {
		p.states = nil
	}
}

// point is a remembered point, or nil.
func (p *Partial) point(i int) *Point {
	if !p.points[i].present() {
		return nil
	}
	return &p.points[i]
}

// firstUsable is the first sample that is Good or Uncertain and has a value, or nil.
func (p *Partial) firstUsable() *Point {
	g, u := p.point(firstGood), p.point(firstUncertain)
	if g == nil || u != nil && u.before(g) {
		return u
	}
	return g
}

func (p *Partial) lastUsable() *Point {
	g, u := p.point(lastGood), p.point(lastUncertain)
	if g == nil || u != nil && g.before(u) {
		return u
	}
	return g
}

// usable is the first and the last sample that a calculation may use, or nil.
func (p *Partial) usable(mode int) (first, last *Point) {
	if mode == strict {
		return p.point(firstGood), p.point(lastGood)
	}
	return p.firstUsable(), p.lastUsable()
}

// connect adds what lies between the last points of p and what comes next: the next point, the next Good and the next
// usable sample, nil where none is known yet. The segment is that from the last point to the next one; bridges and
// transitions go from usable to usable sample.
func (p *Partial) connect(next, good, usable *Point) {
	last := &p.points[lastPoint]
	dt := uint64(next.Time) - uint64(last.Time)
	from, to := last.class(), next.class()
	if p.apart {
		dt, to, p.apart = min(dt, 1), classGap, false
	}
	p.durations[segmentOf(from, to)] += dt
	if p.groups&HasStates != 0 && from.usable() {
		p.state(last).addTime(from, dt)
	}
	if p.groups&HasIntegrals != 0 && dt > 0 && from.usable() {
		hold, slope := held(last, dt), wide{}
		if to.usable() {
			slope = sloped(last, next, dt)
		}
		if from == classGood {
			p.add(steppedGood, hold)
			p.add(slopedStrict, pick(to == classGood, slope, hold))
		} else {
			p.add(steppedUncertain, hold)
		}
		p.add(slopedLenient, pick(to.usable(), slope, hold))
	}
	p.bridge(strict, p.point(lastGood), good)
	p.bridge(lenient, p.lastUsable(), usable)
}

func pick(first bool, a, b wide) wide {
	if first {
		return a
	}
	return b
}

// bridge adds the straight line, the hold and the transition from one usable sample to the next.
func (p *Partial) bridge(mode int, a, b *Point) {
	if a == nil || b == nil {
		return
	}
	if dt := uint64(b.Time) - uint64(a.Time); p.groups&HasIntegrals != 0 && dt > 0 {
		p.add(bridgedSteppedStrict+mode, held(a, dt))
		p.add(bridgedSlopedStrict+mode, sloped(a, b, dt))
	}
	if p.groups&HasTransitions != 0 && !sameValue(p.typ, a.Bits, b.Bits) {
		p.transitions[mode]++
		if p.groups&HasStates != 0 {
			p.state(b).addEntry(mode)
		}
	}
}

func (p *Partial) add(integral int, w wide) { p.integrals[integral] = p.integrals[integral].add(w) }

// held is the integral of a's value over dt.
func held(a *Point, dt uint64) wide { return wideValue(a.Type, a.Bits).mul(wideUint(dt)) }

// sloped is the integral of a straight line from a to b over dt.
func sloped(a, b *Point, dt uint64) wide {
	// Halved first: the sum of two values may overflow where their mean does not.
	mean := wideValue(a.Type, a.Bits).half().add(wideValue(b.Type, b.Bits).half())
	return mean.mul(wideUint(dt))
}

func segmentOf(from, to class) int {
	switch from {
	case classGood:
		return min(int(to), goodToNone)
	case classUncertain:
		return fromUncertain
	case classBad:
		return fromBad
	case classNull:
		return fromNull
	}
	return fromGap
}

// addWorst takes q for the worst quality if its severity is worse than any before.
func (p *Partial) addWorst(q model.Quality, any bool) {
	if any && (!p.points[firstSample].present() || severity(q) > severity(p.worst)) {
		p.worst = q
	}
}

func severity(q model.Quality) int { return min(int(q>>30), 2) }

// span is the nanoseconds from the first point to the last.
func (p *Partial) span() uint64 {
	return uint64(p.points[lastPoint].Time) - uint64(p.points[firstPoint].Time)
}

// goodSpan is what the other durations leave of the span.
func (p *Partial) goodSpan() (uint64, bool) {
	left := p.span()
	for _, d := range p.durations[1:] {
		rest, borrow := bits.Sub64(left, d, 0)
		if borrow != 0 {
			return 0, false
		}
		left = rest
	}
	return left, true
}
