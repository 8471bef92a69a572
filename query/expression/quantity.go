package expression

import (
	"github.com/varvedb/varve/model/unit"
)

// quantity is what is known of the unit of a number.
type quantity struct {
	state      quantityState
	unit       unit.Unit // of a known one
	difference bool      // of two temperatures, or other points on a scale: there is no zero to convert
}

type quantityState uint8

const (
	plain   quantityState = iota // made of numbers in the text: no unit in products, any in sums
	unknown                      // made of tags without unit: nothing is checked
	known
)

// dimensionless is what has the unit 1.
func dimensionless() quantity {
	one, _ := unit.Parse("1")
	return quantity{state: known, unit: one}
}

// converted is x with its values converted; as differences they have no offset.
func converted(x code, by unit.Conversion, difference bool) code {
	if by == unit.Identity {
		return x
	}
	convert := by.Value
	if difference {
		convert = by.Difference
	}
	return func(row []Value) Value {
		v := x(row)
		if v.Null {
			return v
		}
		return result(convert(v.number())).with(v.Quality)
	}
}

// in is x converted to a unit. What is plain or unknown is taken to be in it already.
func (c checker) in(x operand, u unit.Unit) (operand, error) {
	if x.state == known {
		by, err := unit.Convert(x.unit, u)
		if err != nil {
			return x, c.fault(x.at, "%s", err)
		}
		if x.difference && u.HasOffset() {
			return x, c.fault(x.at, "the difference of two temperatures is no temperature: %s has a zero of its own; its difference is in %s", u, u.Difference())
		}
		x.code = converted(x.code, by, false)
	}
	x.quantity = quantity{state: known, unit: u, difference: x.difference}
	x.literal = nil
	return x, nil
}

// alike converts numbers to the first unit that is known among them, and is what is known of all of them then.
func (c checker) alike(x []operand) (quantity, error) {
	out := quantity{}
	for i := range x {
		if x[i].state == known {
			out = x[i].quantity
			break
		}
		out.state = max(out.state, x[i].state)
	}
	if out.state != known {
		return out, nil
	}
	for i := range x {
		if x[i].state != known {
			continue
		}
		if x[i].difference != out.difference && (out.unit.HasOffset() || x[i].unit.HasOffset()) {
			return out, c.fault(x[i].at, "a temperature in %s and the difference of two cannot be compared", out.unit)
		}
		y, err := c.in(x[i], out.unit)
		if err != nil {
			return out, err
		}
		x[i] = y
		out.difference = out.difference || y.difference
	}
	return out, nil
}

// sum converts the operands of + and - and is the quantity of the result.
func (c checker) sum(at int, minus bool, x []operand) (quantity, error) {
	a, b := &x[0], &x[1]
	points := [2]bool{a.state == known && a.unit.HasOffset(), b.state == known && b.unit.HasOffset()}
	switch {
	case points == [2]bool{}:
		q, err := c.alike(x)
		if q.state == known && sameDimension(q.unit, "K") {
			q.difference = differs(minus, a, b)
		}
		return q, err
	case points == [2]bool{true, true} && !minus:
		return quantity{}, c.fault(at, "two temperatures in %s and %s have no sum: avg(a, b) is the one between them, and a difference is added in K", a.unit, b.unit)
	case points == [2]bool{true, true}:
		q, err := c.alike(x)
		return quantity{state: known, unit: q.unit.Difference(), difference: true}, err
	case points[0]:
		return c.shift(at, minus, a, b)
	case minus && b.state == known && a.state == plain, minus && a.state == known:
		return quantity{}, c.fault(at, "a temperature in %s cannot be taken from what is none; convert both with in_unit first", b.unit)
	case minus:
		return quantity{state: unknown}, nil
	}
	return c.shift(at, minus, b, a)
}

// differs reports whether a sum or difference in kelvins is one of temperatures, and none itself: two temperatures have a difference, and
// one that is moved by a difference is a temperature.
func differs(minus bool, a, b *operand) bool {
	switch {
	case a.state != known:
		return b.difference
	case b.state != known || a.difference && minus:
		return a.difference
	case minus:
		return !b.difference
	}
	return a.difference && b.difference
}

// shift moves a point on a scale by a difference, which is converted to that of the scale.
func (c checker) shift(at int, minus bool, point, by *operand) (quantity, error) {
	out := quantity{state: known, unit: point.unit}
	switch {
	case by.state == unknown && minus:
		return quantity{state: unknown}, nil // a temperature or a difference, that depends on what the tag is
	case by.state != known:
		return out, nil
	case minus && !by.difference:
		return out, c.fault(at, "%s less %s may be a difference of temperatures or a temperature: in_unit(…, '%s') on the left makes it the one, + -(…) the other", point.unit, by.unit, by.unit)
	}
	conversion, err := unit.Convert(by.unit, point.unit)
	if err != nil {
		return out, c.fault(by.at, "%s", err)
	}
	by.code = converted(by.code, conversion, true)
	return out, nil
}

// product is the quantity of a·bⁿ.
func (c checker) product(at int, a, b *operand, n int) (quantity, error) {
	for _, x := range []*operand{a, b} {
		if x.state == known && x.unit.HasOffset() {
			return quantity{}, c.fault(x.at, "%s has a zero of its own, so that its values are no factors: convert with in_unit(…, 'K') first", x.unit)
		}
	}
	switch {
	case a.state == unknown || b.state == unknown:
		return quantity{state: unknown}, nil
	case a.state == plain && b.state == plain:
		return quantity{}, nil
	case b.state == plain:
		return a.quantity, nil
	case a.state == plain && n == 1:
		return b.quantity, nil
	}
	u := dimensionless().unit
	if a.state == known {
		u = a.unit
	}
	u, err := unit.Product(u, b.unit, n)
	if err != nil {
		return quantity{}, c.fault(at, "%s", err)
	}
	return quantity{state: known, unit: u}, nil
}

func sameDimension(u unit.Unit, code string) bool {
	v, err := unit.Parse(code)
	return err == nil && u.Dimension() == v.Dimension()
}

// angle converts to radians, or to a plain number; what has another dimension is refused.
func (c checker) angle(name string, x operand) (operand, error) {
	if x.state == known && sameDimension(x.unit, "rad") {
		radian, _ := unit.Parse("rad")
		return c.in(x, radian)
	}
	return c.number(name, x)
}

// number converts to the unit 1; what has a dimension is refused.
func (c checker) number(name string, x operand) (operand, error) {
	if x.state != known {
		return x, nil
	}
	one := dimensionless().unit
	if !sameDimension(x.unit, "1") {
		return x, c.fault(x.at, "%s takes a number without dimension, not one in %s; divide by a reference value, such as in_unit(1, '%s')", name, x.unit, x.unit)
	}
	return c.in(x, one)
}
