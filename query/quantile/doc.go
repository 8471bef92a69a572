// Package quantile answers which value a share of the samples, or of the time, does not exceed.
//
//	Sorted    exact, of samples that fit in memory: interpolated or nearest rank
//	Weighted  exact, of values that each stood for a while: time-weighted
//	Sketch    of any number, in a few kilobytes, within 1 % of the value; merges, and can be stored
//
// A quantile is asked for by q from 0 to 1: 0.95 is the 95th percentile. Below 0 the answer is -Inf, above 1 +Inf, and NaN for a
// q that is NaN and of no values: doors refuse such questions before. NaN has no place in an order of values, so samples that are
// NaN do not count; infinities are values like others, and 0 and -0 are one.
package quantile

import (
	"math"
	"math/bits"
)

// refused is the answer where there is no quantile, and whether that is so.
func refused(q float64, empty bool) (float64, bool) {
	switch {
	case q != q || empty:
		return math.NaN(), true
	case q < 0:
		return math.Inf(-1), true
	case q > 1:
		return math.Inf(1), true
	}
	return 0, false
}

// rank is the least whole number of total, 1 at least, that is a share q of it or more, for q from 0 to 1. It is exact: a
// product of doubles would be off by seconds in nanoseconds of a century.
func rank(q float64, total uint64) uint64 {
	fraction, exponent := math.Frexp(q)
	shift := 53 - exponent // q is m / 2^shift; at least 52
	hi, lo := bits.Mul64(uint64(math.Ldexp(fraction, 53)), total)
	var whole, rest uint64
	switch {
	case shift < 64:
		whole, rest = hi<<(64-shift)|lo>>shift, lo<<(64-shift)
	case shift < 128:
		whole, rest = hi>>(shift-64), hi<<(128-shift)|lo
	}
	if rest != 0 {
		whole++
	}
	return max(whole, 1)
}
