package rollup

import (
	"math"
	"math/big"
	"slices"

	"github.com/varvedb/varve/model"
)

// The reference works straight from the points, one question at a time, in numbers of 4,000 bits. It shares no arithmetic
// with the package.

const bigBits = 4000

func num(f float64) *big.Float { return new(big.Float).SetPrec(bigBits).SetFloat64(f) }
func inum(i int64) *big.Float  { return new(big.Float).SetPrec(bigBits).SetInt64(i) }
func zero() *big.Float         { return new(big.Float).SetPrec(bigBits) }

func valueOf(x *Point) *big.Float {
	switch x.Type {
	case model.Float64:
		return num(math.Float64frombits(x.Bits))
	case model.Float32:
		return num(float64(math.Float32frombits(uint32(x.Bits))))
	case model.Uint64:
		return new(big.Float).SetPrec(bigBits).SetUint64(x.Bits)
	}
	return inum(int64(x.Bits))
}

func refUsable(x *Point, uncertainAsBad bool) bool {
	if x.Gap || x.Null || x.Quality>>30 >= 2 {
		return false
	}
	return x.Quality>>30 == 0 || !uncertainAsBad
}

// piece is one stretch of an interval: from one point to the next, clipped.
type piece struct {
	from, to   *Point
	start, end int64
}

func pieces(points []Point, start, end, hold int64) (out []piece) {
	for i := range points {
		s := piece{&points[i], nil, max(points[i].Time, start), min(hold, end)}
		if points[i].Gap {
			s.end = end
		}
		if i+1 < len(points) {
			s.to, s.end = &points[i+1], min(points[i+1].Time, end)
		}
		if s.start < s.end {
			out = append(out, s)
		}
	}
	return out
}

// refIntegral is the integral, what is covered, and the integral of the magnitudes that rounding is measured by.
func refIntegral(points []Point, r Rule, start, end, hold int64) (value *big.Float, covered uint64, magnitude *big.Float) {
	if r.Bridged {
		points = slices.DeleteFunc(slices.Clone(points), func(x Point) bool { return !refUsable(&x, r.UncertainAsBad) })
	}
	value, magnitude = zero(), zero()
	for _, s := range pieces(points, start, end, hold) {
		if !refUsable(s.from, r.UncertainAsBad) {
			continue
		}
		length := zero().Sub(inum(s.end), inum(s.start))
		a, b := valueOf(s.from), valueOf(s.from)
		if !r.Stepped && s.to != nil && refUsable(s.to, r.UncertainAsBad) {
			b = valueOf(s.to)
		}
		middle := zero().Set(a)
		if s.to != nil {
			// value at the middle: a + (b-a)·((start+end)/2 - from)/(to-from)
			at := zero().Sub(zero().Quo(zero().Add(inum(s.start), inum(s.end)), num(2)), inum(s.from.Time))
			whole := zero().Sub(inum(s.to.Time), inum(s.from.Time))
			middle.Add(middle, zero().Quo(zero().Mul(zero().Sub(b, a), at), whole))
		}
		value.Add(value, zero().Mul(middle, length))
		magnitude.Add(magnitude, zero().Mul(zero().Add(zero().Abs(a), zero().Abs(b)), length))
		covered += uint64(s.end) - uint64(s.start)
	}
	return value, covered, magnitude
}

func refDurations(points []Point, start, end, hold int64) (d Durations) {
	d.NotCovered = uint64(end) - uint64(start)
	for _, s := range pieces(points, start, end, hold) {
		n := uint64(s.end) - uint64(s.start)
		d.NotCovered -= n
		to := s.to
		if to == nil {
			to = s.from
		}
		switch f := s.from; {
		case f.Gap:
			d.Gap += n
		case f.Quality>>30 >= 2:
			d.Bad += n
		case f.Null:
			d.Null += n
		case f.Quality>>30 == 1:
			d.Uncertain += n
		case !refUsable(to, false):
			d.GoodToNone += n
		case to.Quality>>30 == 1:
			d.GoodToUncertain += n
		default:
			d.GoodToGood += n
		}
	}
	return d
}

// refTransitions counts changes that end in [start, end), and hands their ends to each.
func refTransitions(points []Point, uncertainAsBad bool, start, end int64, each func(to *Point)) (n int64) {
	var last *Point
	for i := range points {
		x := &points[i]
		if !refUsable(x, uncertainAsBad) {
			continue
		}
		if last != nil && x.Time >= start && x.Time < end && valueOf2(last) != valueOf2(x) {
			n++
			each(x)
		}
		last = x
	}
	return n
}

func valueOf2(x *Point) string {
	if x.Type.Float() {
		f, _ := x.Sample.Float64()
		if f != f {
			return "NaN"
		}
		if f == 0 {
			return "0"
		}
	}
	return string(big.NewInt(0).SetUint64(x.Bits).Bytes())
}

func refStates(points []Point, start, end, hold int64) []State {
	by := map[int64]*State{}
	at := func(x *Point) *State {
		s := by[int64(x.Bits)]
		if s == nil {
			s = &State{Code: int64(x.Bits)}
			by[int64(x.Bits)] = s
		}
		return s
	}
	for i := range points {
		x := &points[i]
		if x.Time < start || x.Time >= end || !refUsable(x, false) {
			continue
		}
		if refUsable(x, true) {
			at(x).Good++
		} else {
			at(x).Uncertain++
		}
	}
	for _, s := range pieces(points, start, end, hold) {
		n := uint64(s.end) - uint64(s.start)
		switch {
		case refUsable(s.from, true):
			at(s.from).GoodTime += n
		case refUsable(s.from, false):
			at(s.from).UncertainTime += n
		}
	}
	refTransitions(points, true, start, end, func(x *Point) { at(x).GoodEntries++ })
	refTransitions(points, false, start, end, func(x *Point) { at(x).UsableEntries++ })
	var out []State
	for _, s := range by {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b State) int {
		if a.Code < b.Code {
			return -1
		}
		return 1
	})
	return out
}
