package unit

import (
	"errors"
	"fmt"
	"math"
	"math/big"
)

// ErrDimension is met where one unit does not become another.
var ErrDimension = errors.New("units of different dimensions")

// Conversion makes values of one unit those of another: value·Mul/Div + Add. Mul and Div are whole and exact where both have at
// most 53 bits; else Mul is the nearest double and Div is 1. Conversions can be compared with ==.
type Conversion struct {
	Mul, Div, Add float64
}

// Identity converts nothing.
var Identity = Conversion{Mul: 1, Div: 1}

// Convert is how values of one unit become values of another.
func Convert(from, to Unit) (Conversion, error) {
	if from.exponents != to.exponents || from.apart != to.apart {
		return Conversion{}, fmt.Errorf("%s is %s, %s is %s: %w", from, from.Dimension(), to, to.Dimension(), ErrDimension)
	}
	c := Conversion{Div: 1}
	scale := new(big.Rat).Quo(from.scale, to.scale)
	num, den := scale.Num(), scale.Denom()
	if num.BitLen() <= 53 && den.BitLen() <= 53 {
		c.Mul, _ = new(big.Float).SetInt(num).Float64()
		c.Div, _ = new(big.Float).SetInt(den).Float64()
	} else {
		c.Mul, _ = scale.Float64()
	}
	add := new(big.Rat)
	if from.offset != nil {
		add.Add(add, from.offset)
	}
	if to.offset != nil {
		add.Sub(add, to.offset)
	}
	c.Add, _ = add.Quo(add, to.scale).Float64()
	if c.Mul < 0x1p-1000 || c.Mul > 0x1p1000 || math.IsInf(c.Add, 0) {
		return Conversion{}, fmt.Errorf("%s to %s: the factor is beyond what doubles hold: %w", from, to, ErrDimension)
	}
	return c, nil
}

// Value is a converted value. The error is at most two roundings of the product, and one of the sum where there is an offset;
// none at all where the factor is a power of two and there is no offset. NaN stays NaN; an identity changes no bit.
func (c Conversion) Value(x float64) float64 {
	if c == Identity {
		return x
	}
	y := c.Difference(x)
	if c.Add != 0 { // adding 0 would make +0 of -0
		y += c.Add
	}
	return y
}

// Difference is a converted difference of two values, which has no offset.
func (c Conversion) Difference(x float64) float64 {
	if y := x * c.Mul; !math.IsInf(y, 0) {
		return y / c.Div
	}
	return x / c.Div * c.Mul
}
