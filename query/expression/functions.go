package expression

import (
	"fmt"
	"math"
	"strings"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
)

// operation is an operator or function. Its rule checks the arguments and fills type, unit and code of the result.
type operation struct {
	least, most int // arguments
	rule        func(c checker, out *operand, name string, x []operand) error
}

func (o operation) arguments() string {
	switch {
	case o.least == o.most && o.least == 1:
		return "1 argument"
	case o.least == o.most:
		return fmt.Sprintf("%d arguments", o.least)
	}
	return fmt.Sprintf("%d to %d arguments", o.least, o.most)
}

// negation is the operation of unary minus, which no function can be named.
const negation = "unary -"

var operations = map[string]operation{
	"or": {2, 2, logicRule(true)}, "and": {2, 2, logicRule(false)}, "not": {1, 1, notRule},
	"=":  {2, 2, comparisonRule(func(c int) bool { return c == 0 })},
	"!=": {2, 2, comparisonRule(func(c int) bool { return c != 0 })},
	"<":  {2, 2, comparisonRule(func(c int) bool { return c < 0 })},
	"<=": {2, 2, comparisonRule(func(c int) bool { return c <= 0 })},
	">":  {2, 2, comparisonRule(func(c int) bool { return c > 0 })},
	">=": {2, 2, comparisonRule(func(c int) bool { return c >= 0 })},
	"+":  {2, 2, sumRule(add)}, "-": {2, 2, sumRule(subtract)},
	"*": {2, 2, productRule(multiply, 1)}, "/": {2, 2, productRule(divide, -1)}, "%": {2, 2, remainderRule}, "^": {2, 2, powerRule},
	negation: {1, 1, magnitudeRule(negate)},

	"abs": {1, 1, magnitudeRule(absolute)}, "sign": {1, 1, signRule}, "sqrt": {1, 1, rootRule},
	"round": {1, 1, roundRule(math.Round)}, "floor": {1, 1, roundRule(math.Floor)},
	"ceil": {1, 1, roundRule(math.Ceil)}, "trunc": {1, 1, roundRule(math.Trunc)},
	"exp": {1, 1, pureRule(math.Exp, checker.number)}, "ln": {1, 1, pureRule(math.Log, checker.number)}, "log10": {1, 1, pureRule(math.Log10, checker.number)},
	"sin": {1, 1, pureRule(math.Sin, checker.angle)}, "cos": {1, 1, pureRule(math.Cos, checker.angle)}, "tan": {1, 1, pureRule(math.Tan, checker.angle)},
	"min": {1, MaxArguments, alikeRule(func(x []Value) Value { return extreme(x, -1) })},
	"max": {1, MaxArguments, alikeRule(func(x []Value) Value { return extreme(x, 1) })},
	"avg": {1, MaxArguments, alikeRule(average)}, "clamp": {3, 3, alikeRule(clamp)},
	"if": {3, 3, ifRule}, "else": {1, MaxArguments, elseRule},
	"is_good": {1, 1, qualityRule(func(v Value) bool { return v.Quality.IsGood() })},
	"is_bad":  {1, 1, qualityRule(func(v Value) bool { return v.Quality.IsBad() })},
	"in_unit": {2, 2, inUnitRule},
}

// similar is a function that may have been meant.
func similar(name string) string {
	for other, means := range map[string]string{"log": "ln or log10", "mean": "avg", "average": "avg", "coalesce": "else", "ceiling": "ceil", "pow": "the operator ^", "mod": "the operator %", "iif": "if"} {
		if strings.EqualFold(name, other) {
			return "; it may be " + means
		}
	}
	if _, ok := operations[strings.ToLower(name)]; ok {
		return "; it may be " + strings.ToLower(name)
	}
	return ""
}

// one and two apply a function to operands that have a value; without one there is none.
func one(x code, t Type, f func(Value) Value) code {
	return func(row []Value) Value {
		v := x(row)
		if v.Null {
			return none(t, v.Quality)
		}
		return f(v).with(v.Quality)
	}
}

func two(x []operand, t Type, f func(a, b Value) Value) code {
	left, right := x[0].code, x[1].code
	return func(row []Value) Value {
		a, b := left(row), right(row)
		q := worse(a.Quality, b.Quality)
		if a.Null || b.Null {
			return none(t, q)
		}
		return f(a, b).with(q)
	}
}

// logicRule is or, which true decides, or and, which false does. A value that is not there matters only where the other does not decide.
func logicRule(decides bool) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) error {
		left, right := x[0].code, x[1].code
		out.kind = Bool
		out.code = func(row []Value) Value {
			a, b := left(row), right(row)
			byLeft, byRight := !a.Null && a.Bool == decides, !b.Null && b.Bool == decides
			switch {
			case byLeft && byRight:
				if severity(b.Quality) < severity(a.Quality) {
					return b
				}
				return a
			case byLeft:
				return a
			case byRight:
				return b
			}
			q := worse(a.Quality, b.Quality)
			if a.Null || b.Null {
				return none(Bool, q)
			}
			return BoolOf(!decides).with(q)
		}
		return c.require(Bool, name, x)
	}
}

func notRule(c checker, out *operand, name string, x []operand) error {
	out.kind, out.code = Bool, one(x[0].code, Bool, func(v Value) Value { return BoolOf(!v.Bool) })
	return c.require(Bool, name, x)
}

func comparisonRule(holds func(int) bool) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) error {
		order, err := c.order(name, x)
		if err != nil {
			return err
		}
		out.kind, out.code = Bool, two(x, Bool, func(a, b Value) Value { return BoolOf(holds(order(a, b))) })
		return nil
	}
}

// order is how two operands compare. States compare with texts by their text, with numbers by their code, and with states by their text.
func (c checker) order(name string, x []operand) (func(a, b Value) int, error) {
	a, b := x[0].kind, x[1].kind
	if equality := name == "=" || name == "!="; !equality && (a == Bool || b == Bool || a == State && b != Number || b == State && a != Number) {
		return nil, c.fault(x[0].at, "%s and %s have no order: they can be = or != ; a state has an order by its code, beside a number", a, b)
	}
	switch {
	case a == Number && b == Number:
		_, err := c.alike(x)
		return compare, err
	case a == State && b == State:
		return func(a, b Value) int { return sameState(a, b) }, nil
	case a == Text && b == Text, a == State && b == Text, a == Text && b == State:
		return func(a, b Value) int { return strings.Compare(a.Text, b.Text) }, nil
	case a == Bool && b == Bool:
		return func(a, b Value) int {
			if a.Bool == b.Bool {
				return 0
			}
			return 1
		}, nil
	case a == State && b == Number:
		return func(a, b Value) int { return compare(IntOf(a.Int), b) }, nil
	case a == Number && b == State:
		return func(a, b Value) int { return compare(a, IntOf(b.Int)) }, nil
	}
	return nil, c.fault(x[1].at, "%s compares values of one type, not %s and %s", name, a, b)
}

// sameState is 0 for two states of one text, or of one code where neither has a text.
func sameState(a, b Value) int {
	if a.Text == "" && b.Text == "" {
		return compare(IntOf(a.Int), IntOf(b.Int))
	}
	return strings.Compare(a.Text, b.Text)
}

func sumRule(f func(a, b Value) Value) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) (err error) {
		if err = c.require(Number, name, x); err != nil {
			return err
		}
		out.kind = Number
		out.quantity, err = c.sum(out.at, name == "-", x)
		out.code = two(x, Number, f)
		return err
	}
}

func productRule(f func(a, b Value) Value, n int) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) (err error) {
		if err = c.require(Number, name, x); err != nil {
			return err
		}
		out.kind, out.code = Number, two(x, Number, f)
		out.quantity, err = c.product(out.at, &x[0], &x[1], n)
		return err
	}
}

func remainderRule(c checker, out *operand, name string, x []operand) (err error) {
	if err = c.require(Number, name, x); err != nil {
		return err
	}
	if _, err := c.product(out.at, &x[0], &x[1], -1); err != nil {
		return err
	}
	out.kind = Number
	out.quantity, err = c.alike(x)
	out.code = two(x, Number, remainder)
	return err
}

// powerRule: the unit of a power is known only for an exponent that is known.
func powerRule(c checker, out *operand, name string, x []operand) (err error) {
	if err = c.require(Number, name, x); err != nil {
		return err
	}
	base := &x[0]
	if x[1], err = c.number(name, x[1]); err != nil {
		return err
	}
	out.kind = Number
	if base.state == known && sameDimension(base.unit, "1") {
		if x[0], err = c.number(name, x[0]); err != nil {
			return err
		}
		out.quantity = dimensionless()
	} else if base.state != known {
		out.state = base.state
		if base.state == plain && x[1].state != plain {
			out.state = unknown
		}
		if base.state == plain && x[1].state == known {
			out.quantity = dimensionless()
		}
	} else if out.quantity, err = c.power(out.at, base, &x[1]); err != nil {
		return err
	}
	out.code = two(x, Number, raise)
	return nil
}

// power is the quantity of a base that has a dimension.
func (c checker) power(at int, base, exponent *operand) (quantity, error) {
	if !exponent.constant {
		return quantity{}, c.fault(exponent.at, "the exponent of a value in %s must be made of numbers, so that the unit of the power is known", base.unit)
	}
	v := exponent.code(nil)
	one := operand{at: base.at, quantity: dimensionless()}
	q, err := c.product(at, &one, base, 1)
	n := v.number()
	switch {
	case err != nil || v.Null:
		return q, err
	case n == 0:
		return dimensionless(), nil
	case n != math.Trunc(n):
		return quantity{state: unknown}, nil // no unit has broken exponents
	case math.Abs(n) > unit.MaxExponent:
		return q, c.fault(exponent.at, "the exponent of a value in %s is %g, most is %d", base.unit, n, unit.MaxExponent)
	}
	return c.product(at, &one, base, int(n))
}

// magnitudeRule is of functions that keep the unit, and mean nothing of what has a zero of its own.
func magnitudeRule(f func(Value) Value) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) error {
		if err := c.require(Number, name, x); err != nil {
			return err
		}
		out.kind, out.quantity, out.code = Number, x[0].quantity, one(x[0].code, Number, f)
		return c.noOffset(name, &x[0])
	}
}

func (c checker) noOffset(name string, x *operand) error {
	if x.state == known && x.unit.HasOffset() {
		return c.fault(x.at, "%s of a value in %s has no meaning, because its zero is its own: convert with in_unit(…, 'K') first", name, x.unit)
	}
	return nil
}

func signRule(c checker, out *operand, name string, x []operand) error {
	if err := c.require(Number, name, x); err != nil {
		return err
	}
	out.kind, out.quantity, out.code = Number, dimensionless(), one(x[0].code, Number, signOf)
	return c.noOffset(name, &x[0])
}

// rootRule: the root of a unit is none, but that of 1.
func rootRule(c checker, out *operand, name string, x []operand) error {
	if err := c.require(Number, name, x); err != nil {
		return err
	}
	if err := c.noOffset(name, &x[0]); err != nil {
		return err
	}
	out.state = x[0].state
	if x[0].state == known {
		if sameDimension(x[0].unit, "1") {
			x[0], _ = c.number(name, x[0])
			out.quantity = dimensionless()
		} else {
			out.state = unknown
		}
	}
	out.kind, out.code = Number, one(x[0].code, Number, func(v Value) Value { return result(math.Sqrt(v.number())) })
	return nil
}

// roundRule is of functions that make a double a whole one, in its unit. An integer is one already.
func roundRule(f func(float64) float64) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) error {
		out.kind, out.quantity = Number, x[0].quantity
		out.code = one(x[0].code, Number, func(v Value) Value {
			if !v.Exact {
				v.Float = f(v.Float)
			}
			return v
		})
		return c.require(Number, name, x)
	}
}

// pureRule is of functions of numbers without dimension.
func pureRule(f func(float64) float64, convert func(checker, string, operand) (operand, error)) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) error {
		if err := c.require(Number, name, x); err != nil {
			return err
		}
		y, err := convert(c, name, x[0])
		out.kind, out.quantity = Number, dimensionless()
		if y.state == plain {
			out.quantity = quantity{}
		}
		out.code = one(y.code, Number, func(v Value) Value { return result(f(v.number())) })
		return err
	}
}

// alikeRule is of functions of several numbers in one unit, all of which must have a value.
func alikeRule(f func(x []Value) Value) func(checker, *operand, string, []operand) error {
	return func(c checker, out *operand, name string, x []operand) (err error) {
		if err = c.require(Number, name, x); err != nil {
			return err
		}
		out.kind = Number
		out.quantity, err = c.alike(x)
		codes := codesOf(x)
		out.code = func(row []Value) Value {
			var room [8]Value
			values, q := room[:0], model.Good
			missing := false
			for _, x := range codes {
				v := x(row)
				q, missing = worse(q, v.Quality), missing || v.Null
				values = append(values, v)
			}
			if missing {
				return none(Number, q)
			}
			v := f(values)
			if !v.Null {
				v.Quality = q
			}
			return v
		}
		return err
	}
}

func codesOf(x []operand) []code {
	codes := make([]code, len(x))
	for i := range x {
		codes[i] = x[i].code
	}
	return codes
}

// extreme is the first of the values that are furthest in a direction.
func extreme(x []Value, direction int) Value {
	out := x[0]
	for _, v := range x[1:] {
		if compare(v, out)*direction > 0 {
			out = v
		}
	}
	return out
}

// average adds parts, which cannot go beyond doubles as a sum can.
func average(x []Value) Value {
	sum, n := 0.0, float64(len(x))
	for _, v := range x {
		sum += v.number()
	}
	if mean := sum / n; model.Finite(mean) {
		return FloatOf(mean)
	}
	sum = 0
	for _, v := range x {
		sum += v.number() / n
	}
	return result(sum)
}

func clamp(x []Value) Value {
	v, low, high := x[0], x[1], x[2]
	switch {
	case compare(low, high) > 0:
		return none(Number, BadOutOfRange)
	case compare(v, low) < 0:
		return low
	case compare(v, high) > 0:
		return high
	}
	return v
}

// branches makes operands those of one type and unit.
func (c checker) branches(out *operand, name string, x []operand) (err error) {
	if err = c.require(x[0].kind, name, x); err != nil {
		return err
	}
	out.kind = x[0].kind
	if out.kind == Number {
		out.quantity, err = c.alike(x)
	}
	return err
}

// ifRule takes one of two, and what it does not take plays no part.
func ifRule(c checker, out *operand, name string, x []operand) error {
	if err := c.require(Bool, name, x[:1]); err != nil {
		return err
	}
	err := c.branches(out, name, x[1:])
	condition, yes, no, kind := x[0].code, x[1].code, x[2].code, out.kind
	out.code = func(row []Value) Value {
		holds := condition(row)
		switch {
		case holds.Null:
			return none(kind, holds.Quality)
		case holds.Bool:
			return yes(row).with(holds.Quality)
		}
		return no(row).with(holds.Quality)
	}
	return err
}

// elseRule takes the first that has a value. If none has, it is the last.
func elseRule(c checker, out *operand, name string, x []operand) error {
	err := c.branches(out, name, x)
	codes := codesOf(x)
	out.code = func(row []Value) (v Value) {
		for _, x := range codes {
			if v = x(row); !v.Null {
				break
			}
		}
		return v
	}
	return err
}

// qualityRule asks after a quality, and is Good whatever that is.
func qualityRule(holds func(Value) bool) func(checker, *operand, string, []operand) error {
	return func(_ checker, out *operand, _ string, x []operand) error {
		of := x[0].code
		out.kind, out.code = Bool, func(row []Value) Value { return BoolOf(holds(of(row))) }
		return nil
	}
}

func inUnitRule(c checker, out *operand, name string, x []operand) error {
	if err := c.require(Number, name, x[:1]); err != nil {
		return err
	}
	if x[1].literal == nil || x[1].kind != Text {
		return c.fault(x[1].at, "%s takes the code of a unit in single quotes here", name)
	}
	u, err := unit.Parse(x[1].literal.Text)
	if err != nil {
		return c.fault(x[1].at, "%s", err)
	}
	y, err := c.in(x[0], u)
	out.kind, out.quantity, out.code = Number, y.quantity, y.code
	return err
}
