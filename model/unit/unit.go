package unit

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
)

// Unit is a unit of measure. A value v of it is v·scale + offset in base units.
type Unit struct {
	code      string
	scale     *big.Rat // above 0
	offset    *big.Rat // nil for none
	exponents [len(base)]int
	apart     string // code of the logarithm it is a number of, which is a dimension of its own; empty for none
}

// String is the code as it was read.
func (u Unit) String() string { return u.code }

// Dimension is the product of base units that the unit is a number of, as a UCUM code: m3.s-1, 1 for a plain number.
func (u Unit) Dimension() string {
	var parts []string
	if u.apart != "" {
		parts = append(parts, u.apart)
	}
	for i, e := range u.exponents {
		switch e {
		case 0:
		case 1:
			parts = append(parts, base[i])
		default:
			parts = append(parts, base[i]+strconv.Itoa(e))
		}
	}
	if len(parts) == 0 {
		return "1"
	}
	return strings.Join(parts, ".")
}

// alone reports whether the unit can be no factor of another.
func (u *Unit) alone() bool { return u.offset != nil || u.apart != "" }

// times multiplies u by v to the power of n.
func (u *Unit) times(v *Unit, n int) {
	u.scale = new(big.Rat).Mul(u.scale, power(v.scale, n))
	for i := range u.exponents {
		u.exponents[i] += n * v.exponents[i]
	}
}

// power is x to the power of n; x is not 0.
func power(x *big.Rat, n int) *big.Rat {
	if n < 0 {
		x, n = new(big.Rat).Inv(x), -n
	}
	e := big.NewInt(int64(n))
	return new(big.Rat).SetFrac(new(big.Int).Exp(x.Num(), e, nil), new(big.Int).Exp(x.Denom(), e, nil))
}

func number(u int64) Unit { return Unit{scale: big.NewRat(u, 1)} }

// atom is a unit with a name of its own.
type atom struct {
	Unit
	metric bool
}

// atoms are the table, worked out.
var atoms = sync.OnceValue(func() map[string]atom {
	out := make(map[string]atom, len(base)+len(definitions))
	for i, code := range base {
		a := atom{Unit: number(1), metric: true}
		a.exponents[i] = 1
		if code == "kg" { // not to be prefixed; g stands for it
			a.metric = false
		}
		out[code] = a
	}
	for _, d := range definitions {
		a := atom{Unit: number(1), metric: d.metric}
		if d.of == "" {
			a.apart = d.code
		} else {
			u, err := parse(d.of, out)
			n, ok := new(big.Rat).SetString(d.number)
			if err != nil || !ok {
				panic(fmt.Sprintf("unit %s is defined as %s %s: %v", d.code, d.number, d.of, err))
			}
			a.scale, a.exponents = n.Mul(n, u.scale), u.exponents
		}
		if d.offset != "" {
			a.offset, _ = new(big.Rat).SetString(d.offset)
			a.offset.Mul(a.offset, a.scale)
		}
		out[d.code] = a
	}
	return out
})

// find is the atom of a code, or a prefix and an atom that takes one.
func find(code string, in map[string]atom) (Unit, bool) {
	if a, ok := in[code]; ok {
		return a.Unit, true
	}
	for n := min(2, len(code)-1); n > 0; n-- {
		var factor *big.Rat
		if e, ok := prefixes[code[:n]]; ok {
			factor = power(big.NewRat(10, 1), e)
		} else if e, ok := binaryPrefixes[code[:n]]; ok {
			factor = big.NewRat(1<<e, 1)
		} else {
			continue
		}
		if a, ok := in[code[n:]]; ok && a.metric {
			u := a.Unit
			u.scale = factor.Mul(factor, u.scale)
			return u, true
		}
	}
	return Unit{}, false
}

// HasOffset reports whether the zero of the unit is not that of its base units: that of Cel, [degF] and [degRe]. Their values are points
// on a scale, and only the differences of two of them are quantities.
func (u Unit) HasOffset() bool { return u.offset != nil }

// Difference is the unit of a difference of two values: K of Cel, [degR] of [degF]; the unit itself where it has no offset.
func (u Unit) Difference() Unit {
	if u.offset == nil {
		return u
	}
	u.offset = nil
	switch {
	case u.scale.Cmp(big.NewRat(1, 1)) == 0:
		u.code = "K"
	case u.scale.Cmp(big.NewRat(5, 9)) == 0:
		u.code = "[degR]"
	default:
		u.code = u.numbered()
	}
	return u
}

// Product is u·vⁿ, n not 0. Its code is made of theirs, or of base units where that is longer than MaxBytes. Units with a scale of their
// own (Cel, [pH], dB) are no factors, and exponents end at MaxExponent: [ErrDimension].
func Product(u, v Unit, n int) (Unit, error) {
	if u.alone() || v.alone() {
		return Unit{}, fmt.Errorf("%s and %s: a unit with a scale of its own is no factor of another: %w", u, v, ErrDimension)
	}
	if n < -MaxExponent || n > MaxExponent {
		return Unit{}, fmt.Errorf("%s to the power of %d, most is %d: %w", v, n, MaxExponent, ErrDimension)
	}
	out := u
	out.times(&v, n)
	for _, e := range out.exponents {
		if e < -MaxExponent || e > MaxExponent {
			return Unit{}, fmt.Errorf("%s and %s to the power of %d: exponent %d of a base unit, most is %d: %w", u, v, n, e, MaxExponent, ErrDimension)
		}
	}
	if out.code = productCode(&out, u.code, v.code, n); len(out.code) > MaxBytes {
		out.code = out.numbered()
	}
	if len(out.code) > MaxBytes {
		return Unit{}, fmt.Errorf("%s and %s to the power of %d: no code of %d bytes says it: %w", u, v, n, MaxBytes, ErrDimension)
	}
	return out, nil
}

// productCode writes u.vⁿ, or u/vⁿ where n is below 0.
func productCode(product *Unit, u, v string, n int) string {
	if product.exponents == [len(base)]int{} && product.scale.Cmp(big.NewRat(1, 1)) == 0 || v == "1" && u == "1" {
		return "1"
	}
	if v == "1" {
		return u
	}
	operator, times := ".", n
	if n < 0 {
		operator, times = "/", -n
	}
	factor := v
	switch simple := !strings.ContainsAny(v, "./({") && !isDigit(v[0]) && !isDigit(v[len(v)-1]); {
	case times > 1 && simple:
		factor += strconv.Itoa(times)
	case times > 1:
		factor = "(" + strings.Repeat("("+v+").", times-1) + "(" + v + "))"
	case strings.ContainsAny(v, "./"):
		factor = "(" + v + ")"
	}
	if u == "1" && n > 0 {
		return factor
	}
	if u[0] == '/' {
		u = "1" + u
	}
	return u + operator + factor
}

// numbered is the unit as a code of base units and whole numbers.
func (u Unit) numbered() string {
	code := u.Dimension()
	if num := u.scale.Num().String(); num != "1" {
		code = num + "." + code
	}
	if den := u.scale.Denom().String(); den != "1" {
		code += "/" + den
	}
	return code
}
