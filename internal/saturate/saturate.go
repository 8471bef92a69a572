// Package saturate is sums and differences of times in nanoseconds that stop at the ends of 64 bits, where plain ones would go round.
package saturate

import "math"

// Add is a + b.
func Add(a, b int64) int64 {
	if s := a + b; (s > a) == (b > 0) {
		return s
	} else if b == 0 {
		return a
	}
	if b < 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}

// Sub is a - b.
func Sub(a, b int64) int64 {
	if d := a - b; (d >= 0) == (a >= b) {
		return d
	}
	if a > b {
		return math.MaxInt64
	}
	return math.MinInt64
}
