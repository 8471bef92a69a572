package query

import (
	"context"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/varvedb/varve/storage"
)

// tuneEncoder writes a record batch for every row: a row takes long, and whoever waits sees each as soon as there is one.
type tuneEncoder struct {
	recordWriter
	tag tagColumn
}

var crossingType = arrow.StructOf(
	arrow.Field{Name: "limit", Type: arrow.PrimitiveTypes.Float64},
	arrow.Field{Name: "rising", Type: arrow.FixedWidthTypes.Boolean},
	arrow.Field{Name: "measured", Type: timeType, Nullable: true},
	arrow.Field{Name: "filtered", Type: timeType, Nullable: true},
)

// tuneCounts are the columns of whole numbers, in their order.
var tuneCounts = []struct {
	name string
	of   func(*tuneRow) int64
}{
	{"samples", func(r *tuneRow) int64 { return int64(r.Samples) }},
	{"sent", func(r *tuneRow) int64 { return int64(r.Sent) }},
	{"kept", func(r *tuneRow) int64 { return int64(r.Kept) }},
	{"bytes", func(r *tuneRow) int64 { return r.bytes }},
	{"bytes_kept", func(r *tuneRow) int64 { return r.keptBytes }},
	{"bytes_saved", func(r *tuneRow) int64 { return r.bytes - r.keptBytes }},
	{"lost", func(r *tuneRow) int64 { return int64(r.Lost) }},
	{"crossings", func(r *tuneRow) int64 { return int64(r.Passed) }},
	{"crossings_moved", func(r *tuneRow) int64 { return int64(r.Moved) }},
	{"crossings_lost", func(r *tuneRow) int64 { return int64(r.Missed) }},
	{"crossings_invented", func(r *tuneRow) int64 { return int64(r.Invented) }},
}

func newTuneEncoder(t *tune, lost []storage.OffsetRange, sink Sink) *tuneEncoder {
	e := &tuneEncoder{tag: tagColumn{dictionary: t.tags.dictionary()}}
	float := arrow.PrimitiveTypes.Float64
	fields := []arrow.Field{
		e.tag.field(),
		{Name: "deviation", Type: float},
		{Name: "exception_deviation", Type: float},
		{Name: "kept_ratio", Type: float},
		{Name: "worst_error", Type: float, Nullable: true},
		{Name: "worst_time", Type: timeType, Nullable: true},
		{Name: "rms_error", Type: float, Nullable: true},
	}
	for _, c := range tuneCounts {
		fields = append(fields, arrow.Field{Name: c.name, Type: arrow.PrimitiveTypes.Int64})
	}
	fields = append(fields, arrow.Field{Name: "crossing_list", Type: arrow.ListOfNonNullable(crossingType)})
	if t.request.WithKept {
		fields = append(fields, arrow.Field{Name: "kept_times", Type: arrow.ListOfNonNullable(timeType)})
	}
	e.recordWriter = newRecordWriter(arrow.NewSchema(fields, lostMetadata(lost)), sink)
	return e
}

// add writes a row.
func (e *tuneEncoder) add(ctx context.Context, r *tuneRow) error {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(e.schema.Fields()[1:], nil))
	defer b.Release()
	float := func(i int, v float64, ok bool) {
		if f := b.Field(i).(*array.Float64Builder); ok {
			f.Append(v)
		} else {
			f.AppendNull()
		}
	}
	float(0, r.Compression.Deviation, true)
	float(1, r.Exception.Deviation, true)
	float(2, r.KeptRatio(), true)
	float(3, r.WorstError, r.Numbers > 0)
	appendTime(b.Field(4), r.WorstTime, r.Numbers > 0)
	float(5, r.RMSError, r.Numbers > 0)
	next := 6
	for _, c := range tuneCounts {
		b.Field(next).(*array.Int64Builder).Append(c.of(r))
		next++
	}
	appendCrossings(b.Field(next).(*array.ListBuilder), r)
	if next++; next < len(b.Fields()) {
		list := b.Field(next).(*array.ListBuilder)
		list.Append(true)
		for _, t := range r.kept {
			appendTime(list.ValueBuilder(), t, true)
		}
	}
	rest := b.NewRecord()
	defer rest.Release()
	e.tag.reset()
	e.tag.indices = append(e.tag.indices, r.index)
	data := e.tag.array()
	tag := array.MakeFromData(data)
	data.Release()
	defer tag.Release()
	record := array.NewRecord(e.schema, append([]arrow.Array{tag}, rest.Columns()...), 1)
	defer record.Release()
	return e.write(ctx, record)
}

func appendCrossings(list *array.ListBuilder, r *tuneRow) {
	list.Append(true)
	x := list.ValueBuilder().(*array.StructBuilder)
	for _, c := range r.Crossings {
		x.Append(true)
		x.FieldBuilder(0).(*array.Float64Builder).Append(c.Limit)
		x.FieldBuilder(1).(*array.BooleanBuilder).Append(c.Rising)
		appendTime(x.FieldBuilder(2), c.Measured, !c.Invented)
		appendTime(x.FieldBuilder(3), c.Filtered, !c.Lost)
	}
}

func appendTime(b array.Builder, t int64, ok bool) {
	if f := b.(*array.TimestampBuilder); ok {
		f.Append(arrow.Timestamp(t))
	} else {
		f.AppendNull()
	}
}
