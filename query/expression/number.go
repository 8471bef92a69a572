package expression

import (
	"cmp"
	"math"
	"math/bits"

	"github.com/varvedb/varve/model"
)

// Arithmetic of two values that are there: exact where both are integers and the result is one that an int64 holds, else of doubles.

func add(a, b Value) Value {
	if s := a.Int + b.Int; a.Exact && b.Exact && (s > a.Int) == (b.Int > 0) {
		return IntOf(s)
	}
	return result(a.number() + b.number())
}

func subtract(a, b Value) Value {
	if d := a.Int - b.Int; a.Exact && b.Exact && (d < a.Int) == (b.Int > 0) {
		return IntOf(d)
	}
	return result(a.number() - b.number())
}

func multiply(a, b Value) Value {
	if a.Exact && b.Exact {
		if p, ok := times(a.Int, b.Int); ok {
			return IntOf(p)
		}
	}
	return result(a.number() * b.number())
}

// times is a·b, false where an int64 does not hold it.
func times(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if negative := (a < 0) != (b < 0); negative {
		return -int64(lo), hi == 0 && lo <= 1<<63
	}
	return int64(lo), hi == 0 && lo < 1<<63
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func divide(a, b Value) Value { return result(a.number() / b.number()) }

// remainder has the sign of a.
func remainder(a, b Value) Value {
	if a.Exact && b.Exact && b.Int != 0 {
		return IntOf(a.Int % b.Int)
	}
	return result(math.Mod(a.number(), b.number()))
}

func raise(a, b Value) Value {
	if a.Exact && b.Exact && b.Int >= 0 {
		if p, ok := power(a.Int, b.Int); ok {
			return IntOf(p)
		}
	}
	return result(math.Pow(a.number(), b.number()))
}

// power is a to the power of n, n not below 0; false where an int64 does not hold it.
func power(a, n int64) (p int64, ok bool) {
	if a >= -1 && a <= 1 {
		n = min(n, 2-n%2) // only odd and even matter, and whether it is 0
	}
	for p = 1; n > 0; n-- {
		if p, ok = times(p, a); !ok {
			return 0, false
		}
	}
	return p, true
}

func negate(a Value) Value {
	if a.Exact && a.Int != math.MinInt64 {
		return IntOf(-a.Int)
	}
	return result(-a.number())
}

func absolute(a Value) Value {
	if a.Exact && a.Int < 0 || !a.Exact && math.Signbit(a.Float) {
		return negate(a)
	}
	return a
}

func signOf(a Value) Value { return IntOf(int64(compare(a, IntOf(0)))) }

// compare orders two numbers exactly, also an integer that no double is.
func compare(a, b Value) int {
	switch {
	case a.Exact && b.Exact:
		return cmp.Compare(a.Int, b.Int)
	case a.Exact:
		return compareMixed(a.Int, b.Float)
	case b.Exact:
		return -compareMixed(b.Int, a.Float)
	}
	return cmp.Compare(a.Float, b.Float)
}

func compareMixed(i int64, f float64) int {
	switch whole := math.Trunc(f); {
	case whole >= 1<<63:
		return -1
	case whole < -1<<63:
		return 1
	case i != int64(whole):
		return cmp.Compare(i, int64(whole))
	default:
		return cmp.Compare(whole, f)
	}
}

// result is a double that was calculated: out of range where it is no number.
func result(f float64) Value {
	if !model.Finite(f) {
		return none(Number, BadOutOfRange)
	}
	return FloatOf(f)
}
