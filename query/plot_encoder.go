package query

import (
	"context"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

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
	recordWriter
	maxRows int

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
	schema := arrow.NewSchema([]arrow.Field{
		e.tag.field(),
		{Name: "bucket", Type: timeType, Nullable: true},
		{Name: "kind", Type: nameType},
		{Name: "time", Type: timeType},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true, Metadata: unitMetadata(p.tags.unit)},
		{Name: "worst_quality", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "gap", Type: arrow.FixedWidthTypes.Boolean},
	}, lostMetadata(lost))
	e.recordWriter = newRecordWriter(schema, sink)
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
	defer e.reset()
	columns := []arrow.ArrayData{
		e.tag.array(),
		fixedData(timeType, rows, &e.inside, bytesOf(e.buckets)),
		dictionaryData(e.kinds, nil, e.names),
		fixedData(timeType, rows, nil, bytesOf(e.times)),
		fixedData(arrow.PrimitiveTypes.Float64, rows, &e.valid, arrow.Float64Traits.CastToBytes(e.values)),
		fixedData(arrow.PrimitiveTypes.Uint32, rows, nil, bytesOf(e.worst)),
		fixedData(arrow.FixedWidthTypes.Boolean, rows, nil, e.gaps),
	}
	return e.writeColumns(ctx, rows, columns)
}

func (e *plotEncoder) reset() {
	e.buckets, e.kinds, e.times, e.values = e.buckets[:0], e.kinds[:0], e.times[:0], e.values[:0]
	e.worst, e.gaps = e.worst[:0], e.gaps[:0]
	e.tag.reset()
	e.inside.reset()
	e.valid.reset()
}
