package relation

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/server/hint"
)

// wideTable is the function wide: a column for each tag, so that its columns depend on its arguments.
func wideTable() *Table {
	return &Table{
		Name: "wide",
		Arguments: append(append([]Argument{}, common...),
			Argument{"every", aText}, Argument{"zone", aText}, Argument{"mode", aText}, Argument{"function", aText}, Argument{"quality", aBool}, Argument{"as_of", aTime}),
		columns: wideColumns, read: readWide,
	}
}

// wideRequest is the question that the arguments of wide make.
func wideRequest(at Moment, s *Scan) (query.WideRequest, error) {
	a := &arguments{function: "wide", given: s.Arguments}
	ids, none := a.tags(at, s)
	r := query.WideRequest{Tags: query.Tags{IDs: ids}, Buckets: a.buckets(), WithQuality: a.bool("quality"), AsOf: a.maybeTime("as_of"), Configuration: part13.Defaults}
	if none {
		a.fail("tags", "no tag meets it, and the columns are those of tags")
	}
	function := a.text("function")
	switch mode := a.text("mode"); {
	case mode == "aggregate" || mode == "" && function != "":
		r.Mode = query.WideAggregate
		if f, ok := part13.Parse(function); ok {
			r.Function = f
		} else if own, err := query.ParseAggregate(function); err == nil {
			r.Aggregate = own
		} else if a.err == nil {
			a.err = err
		}
	case function != "":
		a.fail("function", "with mode %.80q: it is of mode aggregate", mode)
	case mode == "" || mode == "asof":
		r.Mode = query.WideAsOf
	case mode == "interpolated":
		r.Mode = query.WideInterpolated
	default:
		a.fail("mode", "%.80q, must be asof, interpolated or aggregate", mode)
	}
	return r, a.err
}

// wideType is the type of a column in SQL of that of the answer.
func wideType(t arrow.DataType) arrow.DataType {
	if t.ID() == arrow.UINT32 { // status codes, which go far in a signed type of 32 bits
		return bigint
	}
	return t
}

func wideColumns(at Moment, s *Scan) ([]Column, error) {
	r, err := wideRequest(at, s)
	if err != nil {
		return nil, err
	}
	schema, err := at.Engine.At(at.View).Engine().WideSchema(r)
	if err != nil {
		return nil, err
	}
	var out []Column
	for _, f := range schema.Fields() {
		out = append(out, Column{f.Name, wideType(f.Type), hint.NoRole})
	}
	return out, nil
}

func readWide(ctx context.Context, at Moment, s *Scan, out query.Sink) (written uint64, err error) {
	r, err := wideRequest(at, s)
	if err != nil {
		return 0, err
	}
	var schema *arrow.Schema
	var w *ipc.Writer
	if s.Nothing {
		return 0, fmt.Errorf("wide of no tags: %w", ErrBadScan)
	}
	ask := func(ctx context.Context, e *query.Engine, sink query.Sink) (uint64, error) {
		return e.ReadWide(ctx, r, sink)
	}
	for rec, err := range answerOf(ctx, at, ask) {
		if err != nil {
			return written, err
		}
		if schema == nil {
			if schema, err = pickedSchema(rec.Schema(), s.Columns); err != nil {
				return 0, err
			}
			w = ipc.NewWriterWithPayloadWriter(out, ipc.WithSchema(schema))
		}
		columns := make([]arrow.Array, len(s.Columns))
		for i, c := range s.Columns {
			columns[i] = wideColumn(rec.Column(c))
		}
		x := array.NewRecord(schema, columns, rec.NumRows())
		err = w.Write(x)
		x.Release()
		if err != nil {
			return written, err
		}
		written += uint64(rec.NumRows())
	}
	if w == nil { // no rows: only a schema
		full, err := at.Engine.At(at.View).Engine().WideSchema(r)
		if err != nil {
			return 0, err
		}
		if schema, err = pickedSchema(full, s.Columns); err != nil {
			return 0, err
		}
		w = ipc.NewWriterWithPayloadWriter(out, ipc.WithSchema(schema))
	}
	return written, w.Close()
}

func pickedSchema(s *arrow.Schema, columns []int) (*arrow.Schema, error) {
	var fields []arrow.Field
	for _, c := range columns {
		if c < 0 || c >= len(s.Fields()) {
			return nil, fmt.Errorf("column %d of wide, which has %d: %w", c, len(s.Fields()), ErrBadScan)
		}
		f := s.Field(c)
		fields = append(fields, arrow.Field{Name: f.Name, Type: wideType(f.Type), Nullable: true, Metadata: f.Metadata})
	}
	return arrow.NewSchema(fields, nil), nil
}

// wideColumn is a column in its type of SQL: instants in whole microseconds, status codes as whole numbers.
func wideColumn(c arrow.Array) arrow.Array {
	switch c := c.(type) {
	case *array.Timestamp:
		b := array.NewTimestampBuilder(memory.DefaultAllocator, timestamptz)
		for i := range c.Len() {
			b.Append(arrow.Timestamp(query.FloorMicros(int64(c.Value(i)))))
		}
		return b.NewArray()
	case *array.Uint32:
		b := array.NewInt64Builder(memory.DefaultAllocator)
		for i := range c.Len() {
			if c.IsNull(i) {
				b.AppendNull()
				continue
			}
			b.Append(int64(model.Quality(c.Value(i))))
		}
		return b.NewArray()
	}
	c.Retain()
	return c
}
