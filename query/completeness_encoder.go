package query

import (
	"context"
	"math"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/storage"
)

// completenessRowBytes is what a row takes in the columns, text apart.
const completenessRowBytes = 2*8*int64(timeClasses) + 64

// completenessRow is one bucket of a tag or of a source.
type completenessRow struct {
	index      int32 // of the tag's name
	tags       int64 // of a source
	source     string
	bucket     int
	start, end int64
	percent    [timeClasses]float64
	ns         [timeClasses]uint64 // of a tag
	arrivals
}

// completenessEncoder gathers rows into record batches.
type completenessEncoder struct {
	recordWriter
	maxRows  int
	rows     int
	bySource bool

	tag       tagColumn
	source    varBytes
	tags      []int64
	starts    []int64
	ends      []int64
	complete  []float64
	percents  [timeClasses][]float64
	samples   []int64
	late      []float64
	anyLate   validity
	durations *[timeClasses][]int64 // nil where they are not asked
	labels    *labelColumn          // nil where no calendar is asked
}

func newCompletenessEncoder(c *completenessRead, lost []storage.OffsetRange, sink Sink) *completenessEncoder {
	e := &completenessEncoder{maxRows: c.batchRows(), bySource: c.request.BySource, tag: tagColumn{dictionary: c.tags.dictionary()}}
	float, integer := arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Int64
	source := arrow.Field{Name: "source", Type: arrow.BinaryTypes.String, Nullable: true}
	fields := []arrow.Field{e.tag.field(), source}
	if e.bySource {
		fields = []arrow.Field{source, {Name: "tags", Type: integer}}
	}
	fields = append(fields, arrow.Field{Name: "bucket", Type: timeType}, arrow.Field{Name: "bucket_end", Type: timeType}, arrow.Field{Name: "complete", Type: float})
	for _, name := range timeClassNames {
		fields = append(fields, arrow.Field{Name: name, Type: float})
	}
	fields = append(fields, arrow.Field{Name: "samples", Type: integer}, arrow.Field{Name: "late_s", Type: float, Nullable: true})
	if c.request.WithDurations {
		e.durations = new([timeClasses][]int64)
		for _, name := range timeClassNames {
			fields = append(fields, arrow.Field{Name: name + "_ns", Type: integer})
		}
	}
	if c.labels != nil {
		e.labels = &labelColumn{labels: c.labels}
		fields = append(fields, e.labels.field())
	}
	e.recordWriter = newRecordWriter(arrow.NewSchema(fields, lostMetadata(lost)), sink)
	return e
}

func (e *completenessEncoder) add(ctx context.Context, r *completenessRow) error {
	e.rows++
	if e.bySource {
		e.tags = append(e.tags, r.tags)
	} else {
		e.tag.indices = append(e.tag.indices, r.index)
	}
	e.source.append([]byte(r.source), r.source != "")
	e.starts, e.ends = append(e.starts, r.start), append(e.ends, r.end)
	e.complete = append(e.complete, r.percent[timeCollected]+r.percent[timeUnchanged])
	for c := range timeClasses {
		e.percents[c] = append(e.percents[c], r.percent[c])
		if e.durations != nil {
			e.durations[c] = append(e.durations[c], int64(min(r.ns[c], math.MaxInt64)))
		}
	}
	e.samples, e.late = append(e.samples, r.samples), append(e.late, r.late)
	e.anyLate.appendAll(1, r.samples > 0)
	if e.labels != nil {
		e.labels.append(r.bucket)
	}
	if e.rows >= e.maxRows || len(e.source.data) >= batchBlobBytes {
		return e.flush(ctx)
	}
	return nil
}

func (e *completenessEncoder) flush(ctx context.Context) error {
	if e.rows == 0 {
		return nil
	}
	defer e.reset()
	floats := func(v []float64, valid *validity) arrow.ArrayData {
		return fixedData(arrow.PrimitiveTypes.Float64, e.rows, valid, arrow.Float64Traits.CastToBytes(v))
	}
	integers := func(v []int64) arrow.ArrayData {
		return fixedData(arrow.PrimitiveTypes.Int64, e.rows, nil, bytesOf(v))
	}
	var columns []arrow.ArrayData
	if e.bySource {
		columns = append(columns, e.source.array(arrow.BinaryTypes.String), integers(e.tags))
	} else {
		columns = append(columns, e.tag.array(), e.source.array(arrow.BinaryTypes.String))
	}
	columns = append(columns, fixedData(timeType, e.rows, nil, bytesOf(e.starts)), fixedData(timeType, e.rows, nil, bytesOf(e.ends)), floats(e.complete, nil))
	for c := range timeClasses {
		columns = append(columns, floats(e.percents[c], nil))
	}
	columns = append(columns, integers(e.samples), floats(e.late, &e.anyLate))
	if e.durations != nil {
		for c := range timeClasses {
			columns = append(columns, integers(e.durations[c]))
		}
	}
	if e.labels != nil {
		columns = append(columns, e.labels.array())
	}
	return e.writeColumns(ctx, e.rows, columns)
}

func (e *completenessEncoder) reset() {
	e.rows = 0
	e.tag.reset()
	e.source.reset()
	e.tags, e.starts, e.ends, e.complete = e.tags[:0], e.starts[:0], e.ends[:0], e.complete[:0]
	for c := range timeClasses {
		e.percents[c] = e.percents[c][:0]
		if e.durations != nil {
			e.durations[c] = e.durations[c][:0]
		}
	}
	e.samples, e.late = e.samples[:0], e.late[:0]
	e.anyLate.reset()
	if e.labels != nil {
		e.labels.reset()
	}
}
