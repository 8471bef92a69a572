package query

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/plot"
	"github.com/varvedb/varve/storage"
)

// plotRowBytes is what a row of a plot takes in the columns.
const plotRowBytes = 4 + 8 + 4 + 8 + 8 + 4 + 1

// plotRow is one point of a plot, or one place where the line breaks.
type plotRow struct {
	bucket int64 // start of the column of pixels
	inside bool  // there is one
	kind   plot.Kind
	time   int64
	value  float64 // not of gaps
	worst  model.Quality
	gap    bool
}

// kept is the kind of a sample that LTTB keeps: it is not the first of anything.
const kept plot.Kind = 0

// kindNames are the names of kinds, each at the number that the kind is.
var kindNames = func() (names [plot.Gap + 1]string) {
	for k := range names {
		var parts []string
		for i, name := range []string{"first", "min", "max", "last", "gap"} {
			if k>>i&1 != 0 {
				parts = append(parts, name)
			}
		}
		names[k] = strings.Join(parts, ",")
	}
	names[kept] = "kept"
	return names
}()

// plotEncoder gathers rows of plots into record batches.
type plotEncoder struct {
	schema  *arrow.Schema
	maxRows int
	written uint64
	writer  *ipc.Writer

	tag     tagColumn
	buckets []int64
	inside  validity
	kinds   []int32
	names   arrow.Array // of all kinds, a dictionary
	times   []int64
	values  []float64
	valid   validity
	worst   []uint32
	gaps    []byte
}

func newPlotEncoder(p *plotting, lost []storage.OffsetRange, sink Sink) *plotEncoder {
	e := &plotEncoder{maxRows: p.batchRows(), tag: tagColumn{dictionary: p.tags.dictionary()}}
	size := 0
	for _, name := range kindNames {
		size += len(name)
	}
	e.names = stringArray(kindNames[:], int64(size))
	e.schema = arrow.NewSchema([]arrow.Field{
		e.tag.field(),
		{Name: "bucket", Type: timeType, Nullable: true},
		{Name: "kind", Type: nameType},
		{Name: "time", Type: timeType},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "worst_quality", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "gap", Type: arrow.FixedWidthTypes.Boolean},
	}, lostMetadata(lost))
	if sink != nil {
		e.writer = ipc.NewWriterWithPayloadWriter(sink, ipc.WithSchema(e.schema), ipc.WithDictionaryDeltas(true))
	}
	return e
}

func (e *plotEncoder) add(ctx context.Context, a asked, r plotRow) error {
	if r.kind == plot.Gap {
		r.value = 0 // of what is null all answers have the same bits
	}
	for len(e.gaps) <= len(e.times)/8 {
		e.gaps = append(e.gaps, 0)
	}
	bitutil.SetBitTo(e.gaps, len(e.times), r.gap)
	e.tag.indices = append(e.tag.indices, a.index)
	e.buckets = append(e.buckets, r.bucket)
	e.inside.appendAll(1, r.inside)
	e.kinds = append(e.kinds, int32(r.kind))
	e.times = append(e.times, r.time)
	e.values = append(e.values, r.value)
	e.valid.appendAll(1, r.kind != plot.Gap)
	e.worst = append(e.worst, uint32(r.worst))
	if len(e.times) < e.maxRows {
		return nil
	}
	return e.flush(ctx)
}

func (e *plotEncoder) flush(ctx context.Context) error {
	rows := len(e.times)
	if rows == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	columns := []arrow.ArrayData{
		e.tag.array(),
		fixedData(timeType, rows, &e.inside, bytesOf(e.buckets)),
		dictionaryData(e.kinds, nil, e.names),
		fixedData(timeType, rows, nil, bytesOf(e.times)),
		fixedData(arrow.PrimitiveTypes.Float64, rows, &e.valid, arrow.Float64Traits.CastToBytes(e.values)),
		fixedData(arrow.PrimitiveTypes.Uint32, rows, nil, bytesOf(e.worst)),
		fixedData(arrow.FixedWidthTypes.Boolean, rows, nil, e.gaps),
	}
	arrays := make([]arrow.Array, len(columns))
	for i, d := range columns {
		arrays[i] = array.MakeFromData(d)
		d.Release()
	}
	record := array.NewRecord(e.schema, arrays, int64(rows))
	err := e.writer.Write(record)
	record.Release()
	for _, a := range arrays {
		a.Release()
	}
	e.reset()
	if err != nil {
		return fmt.Errorf("write record batch of %d rows: %w", rows, err)
	}
	e.written += uint64(rows)
	return nil
}

func (e *plotEncoder) reset() {
	e.buckets, e.kinds, e.times, e.values = e.buckets[:0], e.kinds[:0], e.times[:0], e.values[:0]
	e.worst, e.gaps = e.worst[:0], e.gaps[:0]
	e.tag.reset()
	e.inside.reset()
	e.valid.reset()
}

func (e *plotEncoder) close(ctx context.Context) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	if err := e.writer.Close(); err != nil {
		return fmt.Errorf("end stream: %w", err)
	}
	return nil
}
