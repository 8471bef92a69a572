//go:build cgo

package engine

import "slices"

// Plain is an answer that is the rows of one scan as they come: there is nothing for the engine to do.
type Plain struct {
	Table   string
	Columns []int    // by their place in the table, each once
	Names   []string // of the columns of the answer
	Hints   Hints    // all that the statement wants of rows
	Limit   uint64   // most rows; 0 for all
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
