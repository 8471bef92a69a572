package query

import (
	"context"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// stateRowBytes is what a row of states takes, as a row and in the columns, text apart.
const stateRowBytes = 144

// stateRow is one state of one bucket.
type stateRow struct {
	inState
	bucket     int
	start, end int64 // the edges, in the order of the answer
	open       bool
	good       float64 // percent of the bucket
	held       int64   // nanoseconds in which the condition held, where there is one
}

// stateEncoder gathers the times in states into record batches.
type stateEncoder struct {
	recordWriter
	maxRows int
	texts   *stateTexts

	tag     tagColumn
	starts  []int64
	ends    []int64
	codes   []int64
	names   varBytes
	seconds []float64
	entries []int64
	open    []byte
	good    []float64
	while   *longColumn  // nil where no condition is asked
	labels  *labelColumn // nil where no calendar is asked
}

func newStateEncoder(s *stateTimes, lost []storage.OffsetRange, texts *stateTexts, sink Sink) *stateEncoder {
	e := &stateEncoder{maxRows: s.batchRows(), texts: texts, tag: tagColumn{dictionary: s.tags.dictionary()}}
	fields := []arrow.Field{
		e.tag.field(),
		{Name: "bucket", Type: timeType},
		{Name: "bucket_end", Type: timeType},
		{Name: "code", Type: arrow.PrimitiveTypes.Int64},
		{Name: "state", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "seconds", Type: arrow.PrimitiveTypes.Float64},
		{Name: "entries", Type: arrow.PrimitiveTypes.Int64},
		{Name: "still_open", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "percent_good", Type: arrow.PrimitiveTypes.Float64},
	}
	if s.while != nil {
		e.while = &longColumn{}
		fields = append(fields, whileField)
	}
	if s.labels != nil {
		e.labels = &labelColumn{labels: s.labels}
		fields = append(fields, e.labels.field())
	}
	e.recordWriter = newRecordWriter(arrow.NewSchema(fields, lostMetadata(lost)), sink)
	return e
}

// add adds a row. The text of a state is the one in force where its bucket begins.
func (e *stateEncoder) add(ctx context.Context, a asked, r *stateRow) error {
	e.tag.indices = append(e.tag.indices, a.index)
	e.starts, e.ends = append(e.starts, r.start), append(e.ends, r.end)
	e.codes = append(e.codes, r.code)
	switch a.tag.Current().Type {
	case model.Bool:
		e.names.append(strconv.AppendBool(nil, r.code != 0), true)
	case model.State:
		text, ok := e.texts.text(a.tag, min(r.start, r.end), r.code)
		e.names.append([]byte(text), ok)
	default:
		e.names.append(nil, false)
	}
	e.seconds, e.entries = append(e.seconds, float64(r.duration)/1e9), append(e.entries, r.entries)
	for len(e.open) <= len(e.starts)/8 {
		e.open = append(e.open, 0)
	}
	bitutil.SetBitTo(e.open, len(e.starts)-1, r.open)
	e.good = append(e.good, r.good)
	if e.while != nil {
		*e.while = append(*e.while, r.held)
	}
	if e.labels != nil {
		e.labels.append(r.bucket)
	}
	if len(e.starts) >= e.maxRows || len(e.names.data) >= batchBlobBytes {
		return e.flush(ctx)
	}
	return nil
}

func (e *stateEncoder) flush(ctx context.Context) error {
	rows := len(e.starts)
	if rows == 0 {
		return nil
	}
	defer e.reset()
	float, integer := arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Int64
	columns := []arrow.ArrayData{
		e.tag.array(),
		fixedData(timeType, rows, nil, bytesOf(e.starts)),
		fixedData(timeType, rows, nil, bytesOf(e.ends)),
		fixedData(integer, rows, nil, bytesOf(e.codes)),
		e.names.array(arrow.BinaryTypes.String),
		fixedData(float, rows, nil, arrow.Float64Traits.CastToBytes(e.seconds)),
		fixedData(integer, rows, nil, bytesOf(e.entries)),
		fixedData(arrow.FixedWidthTypes.Boolean, rows, nil, e.open),
		fixedData(float, rows, nil, arrow.Float64Traits.CastToBytes(e.good)),
	}
	if e.while != nil {
		columns = append(columns, e.while.array())
	}
	if e.labels != nil {
		columns = append(columns, e.labels.array())
	}
	return e.writeColumns(ctx, rows, columns)
}

func (e *stateEncoder) reset() {
	e.starts, e.ends, e.codes, e.seconds = e.starts[:0], e.ends[:0], e.codes[:0], e.seconds[:0]
	e.entries, e.open, e.good = e.entries[:0], e.open[:0], e.good[:0]
	if e.while != nil {
		*e.while = (*e.while)[:0]
	}
	e.tag.reset()
	e.names.reset()
	if e.labels != nil {
		e.labels.reset()
	}
}
