package relation

import (
	"context"
	"iter"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/hint"
)

// rowTable is a table whose rows are values of a type, field by field.
type rowTable[R any] struct {
	name   string
	small  bool
	fields []field[R]
	// rows yields the rows that a scan wants, and perhaps others. An error is the last.
	rows func(ctx context.Context, at Moment, s *Scan) iter.Seq2[*R, error]
}

// field is a column and how it is filled from a row.
type field[R any] struct {
	Column
	put func(b array.Builder, r *R)
}

func boolField[R any](name string, of func(*R) bool) field[R] {
	return field[R]{Column{name, boolean, hint.NoRole}, func(b array.Builder, r *R) { b.(*array.BooleanBuilder).Append(of(r)) }}
}

// intField is a column of numbers; one that is not there is null.
func intField[R any](name string, role hint.Role, of func(*R) (int64, bool)) field[R] {
	return field[R]{Column{name, bigint, role}, func(b array.Builder, r *R) {
		if v, ok := of(r); ok {
			b.(*array.Int64Builder).Append(v)
			return
		}
		b.AppendNull()
	}}
}

func floatField[R any](name string, of func(*R) (float64, bool)) field[R] {
	return field[R]{Column{name, double, hint.NoRole}, func(b array.Builder, r *R) {
		if v, ok := of(r); ok {
			b.(*array.Float64Builder).Append(v)
			return
		}
		b.AppendNull()
	}}
}

// textField is a column of texts; an empty one is null.
func textField[R any](name string, role hint.Role, of func(*R) string) field[R] {
	return maybeText(name, role, func(r *R) (string, bool) { v := of(r); return v, v != "" })
}

func maybeText[R any](name string, role hint.Role, of func(*R) (string, bool)) field[R] {
	return field[R]{Column{name, varchar, role}, func(b array.Builder, r *R) {
		if v, ok := of(r); ok {
			b.(*array.StringBuilder).Append(v)
			return
		}
		b.AppendNull()
	}}
}

// timeField is a column of instants, in whole microseconds; before all and after all are null.
func timeField[R any](name string, role hint.Role, of func(*R) (int64, bool)) field[R] {
	return field[R]{Column{name, timestamptz, role}, func(b array.Builder, r *R) {
		if v, ok := of(r); ok && v != model.MinTime && v != never {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(query.FloorMicros(v)))
			return
		}
		b.AppendNull()
	}}
}

func some(v int64) (int64, bool) { return v, true }

// notZero is a number that is null where it says nothing.
func notZero(v int64) (int64, bool) { return v, v != 0 }

func (t *rowTable[R]) table() *Table {
	out := &Table{Name: t.name, Small: t.small, read: t.read}
	for _, f := range t.fields {
		out.Columns = append(out.Columns, f.Column)
	}
	return out
}

// Rows and bytes of text that end a batch: the first comes soon.
const (
	firstRows  = 1024
	mostRows   = 16 << 10
	batchBytes = 2 << 20
)

func (t *rowTable[R]) read(ctx context.Context, at Moment, s *Scan, out query.Sink) (written uint64, err error) {
	fields := make([]arrow.Field, len(s.Columns))
	for i, c := range s.Columns {
		fields[i] = arrow.Field{Name: t.fields[c].Name, Type: t.fields[c].Type, Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	w := ipc.NewWriterWithPayloadWriter(out, ipc.WithSchema(schema))
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	rows, most := 0, firstRows
	flush := func() error {
		if rows == 0 {
			return nil
		}
		columns := make([]arrow.Array, len(fields))
		for i := range fields {
			columns[i] = b.Field(i).NewArray()
		}
		r := array.NewRecord(schema, columns, int64(rows))
		defer r.Release()
		for _, c := range columns {
			c.Release()
		}
		written, rows, most = written+uint64(rows), 0, mostRows
		return w.Write(r)
	}
	for r, err := range t.rows(ctx, at, s) {
		if err != nil {
			return written, err
		}
		for i, c := range s.Columns {
			t.fields[c].put(b.Field(i), r)
		}
		rows++
		if s.Limit != 0 && written+uint64(rows) >= s.Limit {
			break
		}
		if rows >= most || rows%256 == 0 && textBytes(b) >= batchBytes {
			if err := flush(); err != nil {
				return written, err
			}
		}
		if ctx.Err() != nil {
			return written, context.Cause(ctx)
		}
	}
	if err := flush(); err != nil {
		return written, err
	}
	return written, w.Close()
}

func textBytes(b *array.RecordBuilder) (n int) {
	for _, f := range b.Fields() {
		if t, ok := f.(*array.StringBuilder); ok {
			n += t.DataLen()
		}
	}
	return n
}
