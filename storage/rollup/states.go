package rollup

import (
	"slices"

	"github.com/varvedb/varve/model"
)

// MaxStates is how many different states a partial tells apart. With more it has none, and the samples must be read.
const MaxStates = 32

// State is what a partial knows of one code of a digital state, or of false (0) and true (1).
type State struct {
	Code            int64
	Good, Uncertain int64 // samples
	// Nanoseconds of the segments that start from such a sample; what is behind the last point is not among them.
	GoodTime, UncertainTime uint64
	// How often the state was entered from another: among Good samples only, and among Good and Uncertain ones.
	GoodEntries, UsableEntries int64
}

func (s *State) addTime(c class, dt uint64) {
	if c == classGood {
		s.GoodTime += dt
	} else {
		s.UncertainTime += dt
	}
}

func (s *State) addEntry(mode int) {
	if mode == strict {
		s.GoodEntries++
	} else {
		s.UsableEntries++
	}
}

func (s *State) addSamples(c class, n int64) {
	if c == classGood {
		s.Good += n
	} else {
		s.Uncertain += n
	}
}

// addStateRun adds samples [from, to) of bool or state, which are all of class c, Good or Uncertain, as the last point of p
// is. It comes to what addPoint for each of them comes to; rows are looked for only where the state changes.
func (p *Partial) addStateRun(s *model.Samples, from, to int, c class) {
	last := p.points[lastPoint]
	dt := uint64(s.Times[to-1]) - uint64(last.Time)
	if c == classGood {
		p.durations[goodToGood] += dt
	} else {
		p.durations[fromUncertain] += dt
	}
	p.counts[c] += int64(to - from)
	for i := from; i < to; {
		end := i // of the samples in the state of last
		for end < to && s.Bits[end] == last.Bits {
			end++
		}
		until := s.Times[min(end, to-1)]
		if p.groups&HasStates != 0 {
			row := p.state(&last)
			row.addTime(c, uint64(until)-uint64(last.Time))
			row.addSamples(c, int64(end-i))
		}
		if i = end; i == to {
			break
		}
		last = pointOf(s, i)
		p.changed(c, &last)
		i++
	}
	last = pointOf(s, to-1)
	p.remember(firstPoint, &last)
	p.remember(firstSample, &last)
	p.remember(firstGood+2*int(c), &last)
}

// changed adds that a run of class c came to another state.
func (p *Partial) changed(c class, x *Point) {
	for mode := int(c); mode <= lenient; mode++ { // Good ones count in both modes
		p.transitions[mode]++
		if p.groups&HasStates != 0 {
			p.state(x).addEntry(mode)
		}
	}
	if p.groups&HasStates != 0 {
		p.state(x).addSamples(c, 1)
	}
	if len(p.states) > MaxStates {
		p.dropAbsent()
	}
}

// state is the row of the state that a point has. Its caller owns p.states.
func (p *Partial) state(at *Point) *State {
	code := int64(at.Bits)
	i, found := findState(p.states, code)
	if !found {
		p.states = slices.Insert(p.states, i, State{Code: code})
	}
	return &p.states[i]
}

func findState(s []State, code int64) (int, bool) {
	return slices.BinarySearchFunc(s, code, func(x State, code int64) int {
		switch {
		case x.Code < code:
			return -1
		case x.Code > code:
			return 1
		}
		return 0
	})
}

// mergeStates adds b to a copy of a.
func mergeStates(a, b []State) []State {
	out := slices.Clone(a)
	for _, y := range b {
		i, found := findState(out, y.Code)
		if !found {
			out = slices.Insert(out, i, y)
			continue
		}
		x := &out[i]
		x.Good += y.Good
		x.Uncertain += y.Uncertain
		x.GoodTime += y.GoodTime
		x.UncertainTime += y.UncertainTime
		x.GoodEntries += y.GoodEntries
		x.UsableEntries += y.UsableEntries
	}
	return out
}
