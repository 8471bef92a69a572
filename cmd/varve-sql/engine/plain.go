//go:build cgo

package engine

import (
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"

	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
)

// Plain is an answer that is the rows of one scan as they come: there is nothing for the engine to do.
type Plain struct {
	Table   string
	Columns []int    // by their place in the table, each once
	Names   []string // of the columns of the answer
	Hints   Hints    // all that the statement wants of rows
	Limit   uint64   // most rows; 0 for all
}

// shape is that of a plain statement whose conditions can be told without the engine, for values of the types of their columns; nil of others.
func (p *plan) shape(columns *arrow.Schema) *sqlchildv1.Shape {
	of, given := p.statement.Plain, p.statement.Parameters
	if of == nil || columns.NumFields() != len(of.Columns) || len(p.statement.Scans[0].Sets) > 0 {
		return nil
	}
	out := &sqlchildv1.Shape{Table: p.statement.Scans[0].Table.Name, Limit: of.Limit, LimitBy: uint32(numberOf(given, of.LimitBy) + 1), Parameters: uint32(len(given))}
	for i, x := range given {
		if x.Name != strconv.Itoa(i+1) {
			return nil // values are refused
		}
	}
	for i, c := range of.Columns {
		out.Columns, out.Names = append(out.Columns, uint32(c)), append(out.Names, columns.Field(i).Name)
	}
	for _, b := range p.statement.Scans[0].Bounds {
		x := &sqlchildv1.Bound{Role: sqlchildv1.Role(b.Role), Op: sqlchildv1.Op(b.Op)}
		for i := range b.Values {
			value, constant := b.Constant(i)
			number := numberOf(given, b.Parameter(i)) + 1
			switch {
			case constant && !value.Is(b.Role), !constant && number == 0:
				return nil
			case !constant:
				x.Values = append(x.Values, &sqlchildv1.Operand{Value: &sqlchildv1.Operand_Parameter{Parameter: uint32(number)}})
			case value.Type == "BIGINT":
				x.Values = append(x.Values, &sqlchildv1.Operand{Value: &sqlchildv1.Operand_Integer{Integer: value.Number}})
			default:
				x.Values = append(x.Values, &sqlchildv1.Operand{Value: &sqlchildv1.Operand_Text{Text: value.Text}})
			}
		}
		out.Bounds = append(out.Bounds, x)
	}
	return out
}

// plain is the answer of a statement that is plain, also with the values it has.
func (s *Statement) plain() (p Plain, ok bool) {
	of := s.plan.statement.Plain
	if of == nil || !s.exact[0] || s.plan.undescribed != nil || s.plan.described.Columns.NumFields() != len(of.Columns) {
		return p, false
	}
	p = Plain{Table: s.scans[0].Table.Name, Columns: slices.Clone(of.Columns), Hints: s.hints[0], Limit: of.Limit}
	for i, name := range s.given {
		if name.Name == of.LimitBy {
			rows, _ := s.values[i].(int64)
			p.Limit = uint64(max(rows, 0))
		}
	}
	for _, f := range s.plan.described.Columns.Fields() {
		p.Names = append(p.Names, f.Name)
	}
	return p, of.LimitBy == "" || p.Limit > 0
}
