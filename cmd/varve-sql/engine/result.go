//go:build cgo

package engine

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/duckdb/duckdb-go/mapping"

	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
)

// Writer writes rows as an Arrow IPC stream: the first ones at once, later ones by batches that grow.
type Writer struct {
	out     io.Writer
	flush   func() error // after whole messages
	schema  *arrow.Schema
	writer  *ipc.Writer
	columns []column
	rows    int
	most    int
	// MaxBytes is the most that all messages together may have.
	MaxBytes int64
	written  int64
	// Plain takes the answer of a statement that has the rows of one scan as they come, in place of those; nil: the rows are written.
	Plain func(Plain) error
	// OnlyPlain leaves it at that: of another statement nothing is written.
	OnlyPlain bool
}

const (
	firstRows = 2048
	mostRows  = 32 << 10
	mostBytes = 4 << 20 // of a batch, about
)

// ErrTooLarge is a result that is larger than a result may be.
var ErrTooLarge = fmt.Errorf("the result is larger than results may be; narrow the statement: %w", ErrStatement)

// NewWriter writes to out and calls flush after whole messages.
func NewWriter(out io.Writer, flush func() error) *Writer {
	return &Writer{out: out, flush: flush, most: firstRows, MaxBytes: math.MaxInt64}
}

// Write counts what goes out.
func (w *Writer) Write(b []byte) (int, error) {
	if w.written += int64(len(b)); w.written > w.MaxBytes {
		return 0, ErrTooLarge
	}
	return w.out.Write(b)
}

// begin writes the schema.
func (w *Writer) begin(r *mapping.Result) error {
	n := int(mapping.ColumnCount(r))
	fields, memory := make([]arrow.Field, n), &recycler{}
	for i := range n {
		typ := mapping.ColumnLogicalType(r, mapping.IdxT(i))
		a, err := newAppender(typ)
		id := mapping.GetTypeId(typ)
		mapping.DestroyLogicalType(&typ)
		name := mapping.ColumnName(r, mapping.IdxT(i))
		if err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
		fields[i] = arrow.Field{Name: name, Type: a.typ, Nullable: true}
		w.columns = append(w.columns, newColumn(id, a, memory))
	}
	w.schema = arrow.NewSchema(fields, nil)
	w.writer = ipc.NewWriter(w, ipc.WithSchema(w.schema))
	return nil
}

// add adds a chunk.
func (w *Writer) add(c mapping.DataChunk, n int) error {
	size := 0
	for i, column := range w.columns {
		if err := column.append(vectorOf(c, i), 0, n); err != nil {
			return fmt.Errorf("column %q: %w", w.schema.Field(i).Name, err)
		}
		size += column.textBytes()
	}
	if w.rows += n; w.rows >= w.most || size >= mostBytes {
		return w.put()
	}
	return nil
}

func (w *Writer) put() error {
	if w.rows == 0 {
		return nil
	}
	if len(w.columns) == 0 {
		return nil
	}
	arrays := make([]arrow.Array, len(w.columns))
	for i, c := range w.columns {
		arrays[i] = c.take()
		defer arrays[i].Release()
	}
	r := array.NewRecord(w.schema, arrays, int64(w.rows))
	defer r.Release()
	if err := w.writer.Write(r); err != nil {
		return err
	}
	w.rows, w.most = 0, min(2*w.most, mostRows)
	return w.flush()
}

// end writes the end of the stream.
func (w *Writer) end() error {
	if err := w.put(); err != nil {
		return err
	}
	if err := w.writer.Close(); err != nil {
		return err
	}
	return w.flush()
}

// appender moves values of one type from vectors to Arrow.
type appender struct {
	typ    arrow.DataType
	append func(b array.Builder, v vector, from, n int) error
}

func newAppender(t mapping.LogicalType) (appender, error) {
	switch id := mapping.GetTypeId(t); id {
	case mapping.TypeBoolean:
		return appender{arrow.FixedWidthTypes.Boolean, func(b array.Builder, v vector, from, n int) error {
			b.(*array.BooleanBuilder).AppendValues(slice[bool](v, from+n)[from:], v.flags(from, n))
			return nil
		}}, nil
	case mapping.TypeTinyInt:
		return widened[int8](), nil
	case mapping.TypeSmallInt:
		return widened[int16](), nil
	case mapping.TypeInteger:
		return widened[int32](), nil
	case mapping.TypeUTinyInt:
		return widened[uint8](), nil
	case mapping.TypeUSmallInt:
		return widened[uint16](), nil
	case mapping.TypeUInteger:
		return widened[uint32](), nil
	case mapping.TypeBigInt:
		return appender{arrow.PrimitiveTypes.Int64, func(b array.Builder, v vector, from, n int) error {
			b.(*array.Int64Builder).AppendValues(slice[int64](v, from+n)[from:], v.flags(from, n))
			return nil
		}}, nil
	case mapping.TypeDouble:
		return appender{arrow.PrimitiveTypes.Float64, func(b array.Builder, v vector, from, n int) error {
			b.(*array.Float64Builder).AppendValues(slice[float64](v, from+n)[from:], v.flags(from, n))
			return nil
		}}, nil
	case mapping.TypeFloat:
		return each(arrow.PrimitiveTypes.Float64, func(b *array.Float64Builder, v vector, i int) error {
			b.Append(float64(element[float32](v, i)))
			return nil
		}), nil
	case mapping.TypeUBigInt:
		return each(&arrow.Decimal128Type{Precision: 20}, func(b *array.Decimal128Builder, v vector, i int) error {
			b.Append(decimal128.New(0, element[uint64](v, i)))
			return nil
		}), nil
	case mapping.TypeHugeInt:
		return each(&arrow.Decimal128Type{Precision: 38}, func(b *array.Decimal128Builder, v vector, i int) error {
			x := element[[2]uint64](v, i)
			d := decimal128.New(int64(x[1]), x[0])
			if !d.FitsInPrecision(38) {
				return fmt.Errorf("%w: the number %s has more than 38 digits; cast it to DOUBLE or VARCHAR", ErrStatement, d.BigInt())
			}
			b.Append(d)
			return nil
		}), nil
	case mapping.TypeDecimal:
		return decimals(t), nil
	case mapping.TypeVarchar:
		return each(arrow.BinaryTypes.String, func(b *array.StringBuilder, v vector, i int) error {
			b.BinaryBuilder.Append(v.bytes(i))
			return nil
		}), nil
	case mapping.TypeBlob:
		return each(arrow.BinaryTypes.Binary, func(b *array.BinaryBuilder, v vector, i int) error {
			b.Append(v.bytes(i))
			return nil
		}), nil
	case mapping.TypeTimestampTZ:
		return instants(&arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, 1000), nil
	case mapping.TypeTimestamp:
		return instants(&arrow.TimestampType{Unit: arrow.Nanosecond}, 1000), nil
	case mapping.TypeTimestampNS:
		return instants(&arrow.TimestampType{Unit: arrow.Nanosecond}, 1), nil
	case mapping.TypeTimestampMS:
		return instants(&arrow.TimestampType{Unit: arrow.Nanosecond}, 1_000_000), nil
	case mapping.TypeTimestampS:
		return instants(&arrow.TimestampType{Unit: arrow.Nanosecond}, 1_000_000_000), nil
	case mapping.TypeDate:
		return each(arrow.FixedWidthTypes.Date32, func(b *array.Date32Builder, v vector, i int) error {
			b.Append(arrow.Date32(element[int32](v, i)))
			return nil
		}), nil
	case mapping.TypeTime:
		return each(arrow.FixedWidthTypes.Time64us, func(b *array.Time64Builder, v vector, i int) error {
			b.Append(arrow.Time64(element[int64](v, i)))
			return nil
		}), nil
	case mapping.TypeInterval:
		return each(arrow.FixedWidthTypes.MonthDayNanoInterval, func(b *array.MonthDayNanoIntervalBuilder, v vector, i int) error {
			x := element[struct {
				months, days int32
				micros       int64
			}](v, i)
			if x.micros > math.MaxInt64/1000 || x.micros < math.MinInt64/1000 {
				return fmt.Errorf("%w: an interval of %d microseconds is too long", ErrStatement, x.micros)
			}
			b.Append(arrow.MonthDayNanoInterval{Months: x.months, Days: x.days, Nanoseconds: x.micros * 1000})
			return nil
		}), nil
	case mapping.TypeUUID:
		return each(arrow.BinaryTypes.String, func(b *array.StringBuilder, v vector, i int) error {
			x := element[[2]uint64](v, i)
			high := x[1] ^ 1<<63
			b.Append(fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xFFFF, high&0xFFFF, x[0]>>48, x[0]&0xFFFFFFFFFFFF))
			return nil
		}), nil
	case mapping.TypeEnum:
		return enums(t), nil
	case mapping.TypeSQLNull:
		return appender{arrow.BinaryTypes.String, func(b array.Builder, _ vector, _, n int) error {
			for range n {
				b.AppendNull()
			}
			return nil
		}}, nil
	case mapping.TypeList:
		return lists(t)
	case mapping.TypeStruct:
		return structs(t)
	case mapping.TypeMap, mapping.TypeArray, mapping.TypeUnion, mapping.TypeBit, mapping.TypeTimeTZ, mapping.TypeBigNum, mapping.TypeUHugeInt:
		return appender{}, fmt.Errorf("%w: a value of its type has no Arrow form here; cast it to VARCHAR or take it apart", ErrStatement)
	default:
		return appender{}, fmt.Errorf("%w: type %d of the engine has no Arrow form here; cast it to VARCHAR", ErrStatement, id)
	}
}

// flags is which of the rows have a value, nil where all do.
func (v vector) flags(from, n int) []bool {
	if v.validity == nil {
		return nil
	}
	out := make([]bool, n)
	for i := range out {
		out[i] = v.valid(from + i)
	}
	return out
}

// each appends value by value.
func each[B array.Builder](typ arrow.DataType, put func(b B, v vector, i int) error) appender {
	return appender{typ, func(b array.Builder, v vector, from, n int) error {
		own := b.(B)
		for i := from; i < from+n; i++ {
			if !v.valid(i) {
				b.AppendNull()
				continue
			}
			if err := put(own, v, i); err != nil {
				return err
			}
		}
		return nil
	}}
}

func widened[T int8 | int16 | int32 | uint8 | uint16 | uint32]() appender {
	return each(arrow.PrimitiveTypes.Int64, func(b *array.Int64Builder, v vector, i int) error {
		b.Append(int64(element[T](v, i)))
		return nil
	})
}

// instants is times since 1970 in units of so many nanoseconds.
func instants(typ arrow.DataType, unit int64) appender {
	var times []arrow.Timestamp
	return appender{typ, func(b array.Builder, v vector, from, n int) error {
		times = slices.Grow(times[:0], n)[:n]
		for i, x := range slice[int64](v, from+n)[from:] {
			if (x > math.MaxInt64/unit || x < math.MinInt64/unit) && v.valid(from+i) {
				return fmt.Errorf("%w: an instant before 1677 or after 2262, or an infinite one, has no nanoseconds; cast it to VARCHAR or DATE", ErrStatement)
			}
			times[i] = arrow.Timestamp(x * unit)
		}
		b.(*array.TimestampBuilder).AppendValues(times, v.flags(from, n))
		return nil
	}}
}

func decimals(t mapping.LogicalType) appender {
	typ := &arrow.Decimal128Type{Precision: int32(mapping.DecimalWidth(t)), Scale: int32(mapping.DecimalScale(t))}
	internal := mapping.DecimalInternalType(t)
	return each(typ, func(b *array.Decimal128Builder, v vector, i int) error {
		switch internal {
		case mapping.TypeSmallInt:
			b.Append(decimal128.FromI64(int64(element[int16](v, i))))
		case mapping.TypeInteger:
			b.Append(decimal128.FromI64(int64(element[int32](v, i))))
		case mapping.TypeBigInt:
			b.Append(decimal128.FromI64(element[int64](v, i)))
		default:
			x := element[[2]uint64](v, i)
			b.Append(decimal128.New(int64(x[1]), x[0]))
		}
		return nil
	})
}

func enums(t mapping.LogicalType) appender {
	names := make([]string, mapping.EnumDictionarySize(t))
	for i := range names {
		names[i] = mapping.EnumDictionaryValue(t, mapping.IdxT(i))
	}
	internal := mapping.EnumInternalType(t)
	return each(arrow.BinaryTypes.String, func(b *array.StringBuilder, v vector, i int) error {
		switch internal {
		case mapping.TypeUTinyInt:
			b.Append(names[element[uint8](v, i)])
		case mapping.TypeUSmallInt:
			b.Append(names[element[uint16](v, i)])
		default:
			b.Append(names[element[uint32](v, i)])
		}
		return nil
	})
}

func lists(t mapping.LogicalType) (appender, error) {
	of := mapping.ListTypeChildType(t)
	defer mapping.DestroyLogicalType(&of)
	inner, err := newAppender(of)
	if err != nil {
		return appender{}, err
	}
	return each(arrow.ListOf(inner.typ), func(b *array.ListBuilder, v vector, i int) error {
		x := element[[2]uint64](v, i)
		b.Append(true)
		return inner.append(b.ValueBuilder(), flat(mapping.ListVectorGetChild(v.Vector)), int(x[0]), int(x[1]))
	}), nil
}

func structs(t mapping.LogicalType) (appender, error) {
	n := int(mapping.StructTypeChildCount(t))
	fields, inner := make([]arrow.Field, n), make([]appender, n)
	for i := range n {
		of := mapping.StructTypeChildType(t, mapping.IdxT(i))
		var err error
		inner[i], err = newAppender(of)
		mapping.DestroyLogicalType(&of)
		if err != nil {
			return appender{}, err
		}
		fields[i] = arrow.Field{Name: mapping.StructTypeChildName(t, mapping.IdxT(i)), Type: inner[i].typ, Nullable: true}
	}
	return each(arrow.StructOf(fields...), func(b *array.StructBuilder, v vector, i int) error {
		b.Append(true)
		for k, x := range inner {
			if err := x.append(b.FieldBuilder(k), flat(mapping.StructVectorGetChild(v.Vector, mapping.IdxT(k))), i, 1); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

// Description is what a statement has: its columns, and the parameters it takes; and of a plain one its shape.
type Description struct {
	Columns, Parameters *arrow.Schema
	Plain               *sqlchildv1.Shape
}
