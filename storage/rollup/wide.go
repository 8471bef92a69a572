package rollup

import (
	"math"
	"math/bits"

	"github.com/varvedb/varve/model"
)

// wide is an unevaluated sum of two doubles, |lo| at most half a unit in the last place of hi: 106 bits of mantissa. Sums
// are kept in it so that the order in which partials are merged does not show in the double that is answered. Where hi is
// infinite or not a number, lo is 0 and hi is what IEEE arithmetic gives.
type wide struct{ hi, lo float64 }

// twoSum is a+b rounded, and what rounding took. (Knuth; Møller.) A product that is handed in is rounded first: a compiler would
// make one operation of it and a sum, and then what rounding took is something else on every machine.
func twoSum(a, b float64) (s, e float64) {
	a, b = float64(a), float64(b)
	s = a + b
	t := s - a
	return s, (a - (s - t)) + (b - t)
}

// twoProduct is a·b rounded, and what rounding took.
func twoProduct(a, b float64) (p, e float64) {
	p = float64(a * b)
	return p, math.FMA(a, b, -p)
}

// newWide is s+e for any two doubles.
func newWide(s, e float64) wide {
	hi, lo := twoSum(s, e)
	if !model.Finite(hi) {
		return wide{hi, 0}
	}
	return wide{hi, lo}
}

// add has a relative error of at most 3·2^-106. (Joldes, Muller, Popescu 2017, algorithm 6.)
func (a wide) add(b wide) wide {
	s, e := twoSum(a.hi, b.hi)
	if !model.Finite(s) {
		return wide{s, 0}
	}
	t, f := twoSum(a.lo, b.lo)
	c := e + t
	v := s + c
	c -= v - s
	c += f
	hi := v + c
	return wide{hi, c - (hi - v)}
}

func (a wide) neg() wide       { return wide{-a.hi, -a.lo} }
func (a wide) sub(b wide) wide { return a.add(b.neg()) }

// half is exact, but for doubles that are almost 0.
func (a wide) half() wide { return wide{a.hi / 2, a.lo / 2} }

// mul has a relative error of at most 5·2^-106, where nothing overflows or underflows.
func (a wide) mul(b wide) wide {
	p, e := twoProduct(a.hi, b.hi)
	if !model.Finite(p) {
		return wide{p, 0}
	}
	e += math.FMA(a.hi, b.lo, float64(a.lo*b.hi))
	return newWide(p, e)
}

// div has a relative error of at most 15·2^-106, where nothing overflows or underflows.
func (a wide) div(b wide) wide {
	q := a.hi / b.hi
	if !model.Finite(q) {
		return wide{q, 0}
	}
	rest := math.FMA(-q, b.hi, a.hi) // exactly
	return newWide(q, (rest+(a.lo-float64(q*b.lo)))/b.hi)
}

// float is a rounded to the nearest double.
func (a wide) float() float64 { return a.hi }

// wideUint is u, exactly.
func wideUint(u uint64) wide {
	return newWide(float64(u>>32)*(1<<32), float64(u&math.MaxUint32))
}

// wideInt is i, exactly.
func wideInt(i int64) wide {
	return newWide(float64(i>>32)*(1<<32), float64(i&math.MaxUint32))
}

// Int128 is a two's complement integer of 128 bits, high half first. It holds the sum of more 64-bit integers than a tag
// can have.
type Int128 struct {
	Hi int64
	Lo uint64
}

func (a Int128) add(b Int128) Int128 {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(uint64(a.Hi), uint64(b.Hi), carry)
	return Int128{int64(hi), lo}
}

// wide is a to 106 bits, which is exact below 2^106.
func (a Int128) wide() wide {
	hi := wideInt(a.Hi)
	hi.hi *= 1 << 64
	hi.lo *= 1 << 64
	return hi.add(wideUint(a.Lo))
}

// Float64 is the nearest double.
func (a Int128) Float64() float64 { return a.wide().hi }
