package hint

import (
	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Request is the scan of some columns of a table that is narrowed by hints.
func (h *Hints) Request(table string, columns []uint32) *sqlchildv1.ScanRequest {
	r := &sqlchildv1.ScanRequest{
		Table: table, Columns: columns, StartNs: h.Start, EndNs: h.End, Severities: uint32(h.Severities), Nothing: h.Nothing, Levels: h.Levels,
	}
	if h.Names != nil {
		r.Names = &sqlchildv1.Strings{Values: h.Names.Names}
	}
	if h.IDs != nil {
		r.Ids = &sqlchildv1.Ids{Values: h.IDs.IDs}
	}
	return r
}

// Plain is the answer of a statement of a shape for values of its parameters; false where only the SQL process can tell, also of no shape.
func Plain(shape *sqlchildv1.Shape, values []*varvev1.SqlValue) (*sqlchildv1.Plain, bool) {
	if shape == nil || len(values) != int(shape.Parameters) {
		return nil, false
	}
	var h Hints
	for _, b := range shape.Bounds {
		bound := Bound{Role: Role(b.Role), Op: Op(b.Op)}
		of := make([]Value, len(b.Values))
		for i, x := range b.Values {
			v, ok := operand(x, values)
			if !ok || !v.Is(bound.Role) {
				return nil, false
			}
			of[i] = v
		}
		if !h.Take(bound, of) {
			return nil, false
		}
	}
	p := &sqlchildv1.Plain{Scan: h.Request(shape.Table, shape.Columns), Names: shape.Names, Limit: shape.Limit}
	if shape.LimitBy > 0 {
		v, ok := parameter(shape.LimitBy, values)
		if !ok || v.Type != "BIGINT" || v.Number <= 0 {
			return nil, false
		}
		p.Limit = uint64(v.Number)
	}
	return p, true
}

func operand(x *sqlchildv1.Operand, values []*varvev1.SqlValue) (Value, bool) {
	switch v := x.GetValue().(type) {
	case *sqlchildv1.Operand_Parameter:
		return parameter(v.Parameter, values)
	case *sqlchildv1.Operand_Text:
		return Text(v.Text), true
	case *sqlchildv1.Operand_Integer:
		return Integer(v.Integer), true
	}
	return Value{}, false
}

// parameter is the value of a parameter, if it is of a type that a column may have.
func parameter(number uint32, values []*varvev1.SqlValue) (Value, bool) {
	if number < 1 || uint64(number) > uint64(len(values)) {
		return Value{}, false
	}
	switch v := values[number-1].GetValue().(type) {
	case *varvev1.SqlValue_Null:
		return Null(), true
	case *varvev1.SqlValue_Text:
		return Text(v.Text), true
	case *varvev1.SqlValue_Integer:
		return Integer(v.Integer), true
	case *varvev1.SqlValue_TimeNs:
		return Instant(v.TimeNs), true
	}
	return Value{}, false
}
