//go:build cgo

package engine

import (
	"slices"

	"github.com/duckdb/duckdb-go/mapping"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/server/hint"
)

// asks reports whether the engine is asked for anything before the scans begin.
func (s *Statement) asks() bool {
	for at, scan := range s.scans {
		if _, known := s.known(at); !known || len(scan.Sets)+len(scan.Arguments) > 0 {
			return true
		}
	}
	return false
}

// known is the values of the bounds of a scan, if they are known without the engine: what it was asked for before, and constants and parameters
// of the type of their column.
func (s *Statement) known(at int) (values []hint.Value, ok bool) {
	if len(s.scans[at].Bounds) == 0 {
		return nil, true
	}
	if values = s.plan.fixed[at]; values != nil {
		return values, true
	}
	for _, b := range s.scans[at].Bounds {
		for i := range b.Values {
			v, ok := b.Constant(i)
			if !ok {
				v, ok = s.parameter(b.Parameter(i))
			}
			if !ok || !v.Is(b.Role) {
				return nil, false
			}
			values = append(values, v)
		}
	}
	return values, true
}

// parameter is the value of a parameter as the engine has it.
func (s *Statement) parameter(name string) (hint.Value, bool) {
	at := numberOf(s.given, name)
	if at < 0 || at >= len(s.values) {
		return hint.Value{}, false
	}
	switch v := s.values[at].(type) {
	case nil:
		return hint.Null(), true
	case string:
		return hint.Text(v), true
	case Instant:
		return hint.Instant(int64(v)), true
	case int64:
		return hint.Integer(v), true
	}
	return hint.Value{}, false
}

// numberOf is the place of a parameter, -1 where there is none of the name.
func numberOf(given []rewrite.Parameter, name string) int {
	return slices.IndexFunc(given, func(p rewrite.Parameter) bool { return p.Name == name })
}

// bounds narrows a scan by the values that its columns are compared with.
func (s *Statement) bounds(at int, h *Hints) (bool, error) {
	values, known := s.known(at)
	if !known {
		ok, err := s.rows(s.plan.values[at], func(c mapping.DataChunk, n int) bool {
			if n > 0 {
				values = valuesOf(c)
			}
			return true
		})
		if err != nil || !ok || len(values) == 0 {
			return false, err
		}
		if !slices.ContainsFunc(s.scans[at].Bounds, func(b rewrite.Bound) bool { return !b.Fixed }) {
			s.plan.fixed[at] = values
		}
	}
	next := 0
	for _, b := range s.scans[at].Bounds {
		if !h.Take(b.Bound, values[next:next+len(b.Values)]) {
			s.exact[at] = false
			if s.scans[at].Exact {
				h.Arguments = nil // which say that rows are of more than a sample
			}
		}
		next += len(b.Values)
	}
	return true, nil
}

// valuesOf is the values in a row of pairs of them and the names of their types.
func valuesOf(c mapping.DataChunk) (values []hint.Value) {
	for i := 0; i < int(mapping.DataChunkGetColumnCount(c)); i += 2 {
		v, t := vectorOf(c, i), vectorOf(c, i+1)
		x := hint.Value{Type: string(t.bytes(0)), Null: !v.valid(0)}
		if !x.Null {
			typ := mapping.VectorGetColumnType(v.Vector)
			if mapping.GetTypeId(typ) == mapping.TypeVarchar {
				x.Text = string(v.bytes(0))
			} else {
				x.Number = element[int64](v, 0)
			}
			mapping.DestroyLogicalType(&typ)
		}
		values = append(values, x)
	}
	return values
}
