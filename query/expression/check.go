package expression

import (
	"fmt"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
)

// Tag is what an expression has to know of a tag it names.
type Tag struct {
	Type model.Type
	Unit string // UCUM code; one that is none is as unknown as an empty one
}

// Program is an expression whose types and units fit together. It does not change.
type Program struct {
	Type Type   // of every value it gives
	Unit string // UCUM code of a Number; empty where it is not known or there is none

	root operand
	text string
}

// code evaluates a part of a program for the values of its references.
type code func(row []Value) Value

// operand is a part of an expression that has been checked.
type operand struct {
	code     code
	at       int // in the text, in bytes
	kind     Type
	quantity // of a Number
	constant bool
	literal  *Value // of a literal
}

// checker checks one expression. Errors of its methods are at an operand.
type checker struct{ text string }

func (c checker) fault(at int, format string, args ...any) error {
	return fault(c.text, at, format, args...)
}

// Check finds whether types and units of an expression fit together, for the tags that [Expression.References] names, in their order.
func (e *Expression) Check(tags []Tag) (*Program, error) {
	if len(tags) != len(e.names) {
		return nil, fmt.Errorf("%d tags for the %d references of an expression", len(tags), len(e.names))
	}
	root, err := checker{e.text}.check(e.root, tags)
	if err != nil {
		return nil, err
	}
	p := &Program{Type: root.kind, root: root, text: e.text}
	if root.state == known {
		p.Unit = root.unit.String()
	}
	return p, nil
}

// In is the program with its result converted to a unit, as in_unit does. A result whose unit is not known is taken to be in it already.
func (p *Program) In(code string) (*Program, error) {
	if code == "" || p.Type != Number {
		return p, nil
	}
	u, err := unit.Parse(code)
	if err != nil {
		return nil, fault(p.text, 0, "the unit of the result: %s", err)
	}
	root, err := checker{p.text}.in(p.root, u)
	if err != nil {
		return nil, err
	}
	return &Program{Type: Number, Unit: code, root: root, text: p.text}, nil
}

// Eval is the result for the values of the references, in the order of [Expression.References]; they are of the types Check was told.
func (p *Program) Eval(row []Value) Value { return p.root.code(row) }

func (c checker) check(n *node, tags []Tag) (operand, error) {
	switch {
	case n.operation != "":
		x := make([]operand, len(n.arguments))
		for i, a := range n.arguments {
			var err error
			if x[i], err = c.check(a, tags); err != nil {
				return operand{}, err
			}
		}
		o := operand{at: n.at, constant: true}
		for i := range x {
			o.constant = o.constant && x[i].constant
		}
		err := operations[n.operation].rule(c, &o, n.operation, x)
		return o, err
	case n.reference < 0:
		v := n.value
		return operand{code: func([]Value) Value { return v }, at: n.at, kind: v.Type, constant: true, literal: &v}, nil
	}
	t := tags[n.reference]
	o := operand{at: n.at, quantity: quantity{state: unknown}}
	var ok bool
	if o.kind, ok = TypeOf(t.Type); !ok {
		return o, c.fault(n.at, "the tag's type is %s, which has no place in an expression", t.Type)
	}
	if u, err := unit.Parse(t.Unit); err == nil && o.kind == Number {
		o.quantity = quantity{state: known, unit: u}
	}
	i := n.reference
	o.code = func(row []Value) Value { return row[i] }
	return o, nil
}

// require finds an operand that is not of a type.
func (c checker) require(t Type, name string, x []operand) error {
	for i := range x {
		if x[i].kind != t {
			hint := ""
			if t == Number && x[i].kind == Bool {
				hint = "; if(…, 1, 0) makes one of a bool"
			} else if t == Bool && x[i].kind == Number {
				hint = "; x != 0 makes one of a number"
			}
			return c.fault(x[i].at, "%s takes %s here, not %s%s", name, t, x[i].kind, hint)
		}
	}
	return nil
}
