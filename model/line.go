package model

import "math"

// Finite says whether f is a number, neither infinite nor NaN. It compares: of f-f a compiler would make one operation with the
// product that f is, and what rounding took from that is not 0.
func Finite(f float64) bool { return math.Abs(f) <= math.MaxFloat64 }

// OnLine is the value at t on the straight line through (t0, v0) and (t1, v1), t0 before t1: what a reader answers between two
// samples of a tag that is not stepped. All that interpolates calls it, because the deviation filters promise their
// bound for these very operations, each rounded to a double. The conversions keep a compiler from joining two of them
// into one, so that every machine gives the same bits.
//
// Instants may lie centuries apart, and values farther than a double can say. Outside of [t0, t1] the line goes on.
func OnLine(t0 int64, v0 float64, t1 int64, v1 float64, t int64) float64 {
	whole := float64(uint64(t1) - uint64(t0))
	share := float64(uint64(t)-uint64(t0)) / whole
	if t < t0 {
		share = (float64(t) - float64(t0)) / whole
	}
	rise := v1 - v0
	if math.IsInf(rise, 0) && !math.IsInf(v0, 0) && !math.IsInf(v1, 0) {
		return float64(v0*(1-share)) + float64(v1*share)
	}
	return v0 + float64(rise*share)
}
