//go:build cgo

package engine

import (
	"slices"

	"github.com/duckdb/duckdb-go/mapping"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
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

// known is the values of the bounds of a scan, if they are known without the engine: constants that it was asked for before, and parameters
// of the type of their column.
func (s *Statement) known(at int) (cells []cell, ok bool) {
	if len(s.scans[at].Bounds) == 0 {
		return nil, true
	}
	if cells = s.plan.cells[at]; cells != nil {
		return cells, true
	}
	for _, b := range s.scans[at].Bounds {
		for i := range b.Values {
			c, ok := s.parameter(b.Role, b.Parameter(i))
			if !ok {
				return nil, false
			}
			cells = append(cells, c)
		}
	}
	return cells, true
}

// parameter is the value of a parameter for a column, if it is of the type of that.
func (s *Statement) parameter(role rewrite.Role, name string) (cell, bool) {
	at := slices.IndexFunc(s.given, func(p rewrite.Parameter) bool { return p.Name == name })
	if at < 0 || at >= len(s.values) {
		return cell{}, false
	}
	switch v := s.values[at].(type) {
	case nil:
		return cell{typ: "NULL", null: true}, true
	case string:
		return cell{typ: "VARCHAR", text: v}, role == rewrite.Tag || role == rewrite.Severity
	case Instant:
		return cell{typ: "TIMESTAMP WITH TIME ZONE", number: micros(int64(v))}, role == rewrite.Time
	case int64:
		return cell{typ: "BIGINT", number: v}, role == rewrite.TagID || role == rewrite.TimeNS || role == rewrite.Quality
	}
	return cell{}, false
}

// bounds narrows a scan by the values that its columns are compared with.
func (s *Statement) bounds(at int, h *Hints) (bool, error) {
	cells, known := s.known(at)
	if !known {
		ok, err := s.rows(s.plan.values[at], func(c mapping.DataChunk, n int) bool {
			if n > 0 {
				cells = cellsOf(c)
			}
			return true
		})
		if err != nil || !ok || len(cells) == 0 {
			return false, err
		}
		if !slices.ContainsFunc(s.scans[at].Bounds, func(b rewrite.Bound) bool { return !b.Fixed }) {
			s.plan.cells[at] = cells
		}
	}
	next := 0
	for _, b := range s.scans[at].Bounds {
		if !h.take(b, cells[next:next+len(b.Values)]) {
			s.exact[at] = false
			if s.scans[at].Exact {
				h.Arguments = nil // which say that rows are of more than a sample
			}
		}
		next += len(b.Values)
	}
	return true, nil
}

// cellsOf is the values in a row of pairs of them and the names of their types.
func cellsOf(c mapping.DataChunk) (cells []cell) {
	for i := 0; i < int(mapping.DataChunkGetColumnCount(c)); i += 2 {
		v, t := vectorOf(c, i), vectorOf(c, i+1)
		x := cell{typ: string(t.bytes(0)), null: !v.valid(0)}
		if !x.null {
			typ := mapping.VectorGetColumnType(v.Vector)
			if mapping.GetTypeId(typ) == mapping.TypeVarchar {
				x.text = string(v.bytes(0))
			} else {
				x.number = element[int64](v, 0)
			}
			mapping.DestroyLogicalType(&typ)
		}
		cells = append(cells, x)
	}
	return cells
}
