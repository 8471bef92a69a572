package rollup

import "slices"

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

func (s *State) addSample(c class) {
	if c == classGood {
		s.Good++
	} else {
		s.Uncertain++
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
