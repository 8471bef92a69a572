package query

import (
	"context"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
)

// processedRowBytes is what a row of processed values takes, as a row and in the columns, text apart.
const processedRowBytes = 192

// processedEncoder gathers processed values into record batches.
type processedEncoder struct {
	recordWriter
	maxRows int
	states  *stateTexts

	tag       tagColumn
	starts    []int64
	ends      []int64
	functions []int32
	names     arrow.Array // of the functions asked for, a dictionary
	index     map[Function]int32
	asked     []int32 // which of names each function asked for has
	times     []int64
	values    []uint64
	valid     validity
	ints      []int64
	intsValid validity
	texts     varBytes
	quality   []uint32
	good      []float64
	uncertain []float64
	covered   []int64
	samples   []int64
	partial   []byte
	while     *longColumn  // nil where no condition is asked
	labels    *labelColumn // nil where no calendar is asked
}

func newProcessedEncoder(p *processing, lost []storage.OffsetRange, states *stateTexts, sink Sink) *processedEncoder {
	e := &processedEncoder{maxRows: p.batchRows(), states: states, tag: tagColumn{dictionary: p.tags.dictionary()}, index: map[Function]int32{}}
	var names []string
	size := 0
	add := func(f Function) {
		e.index[f] = int32(len(names))
		names = append(names, f.String())
		size += len(f.String())
	}
	for _, f := range p.request.Functions {
		e.asked = append(e.asked, int32(len(names)))
		add(f)
		if f.isPercentile() {
			add(f.approximate())
		}
	}
	e.names = stringArray(names, int64(size))
	fields := []arrow.Field{
		{Name: "time", Type: timeType},
		e.tag.field(),
		{Name: "bucket", Type: timeType},
		{Name: "bucket_end", Type: timeType},
		{Name: "function", Type: nameType},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true, Metadata: unitMetadata(p.tags.unit)},
		{Name: "value_int", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "value_text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "quality", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "percent_good", Type: arrow.PrimitiveTypes.Float64},
		{Name: "percent_uncertain", Type: arrow.PrimitiveTypes.Float64},
		{Name: "covered_ns", Type: arrow.PrimitiveTypes.Int64},
		{Name: "raw_count", Type: arrow.PrimitiveTypes.Int64},
		{Name: "partial", Type: arrow.FixedWidthTypes.Boolean},
	}
	if p.while != nil {
		e.while = &longColumn{}
		fields = append(fields, whileField)
	}
	if p.labels != nil {
		e.labels = &labelColumn{labels: p.labels}
		fields = append(fields, e.labels.field())
	}
	e.recordWriter = newRecordWriter(arrow.NewSchema(fields, lostMetadata(lost)), sink)
	return e
}

func (e *processedEncoder) add(ctx context.Context, w *processedWindow) error {
	if w.good.edges == nil {
		return e.addRows(ctx, w, w.rows)
	}
	from := 0
	for k, i := range w.good.others {
		if err := e.addGood(ctx, w, from, i); err != nil {
			return err
		}
		if err := e.addRows(ctx, w, w.rows[k*len(e.asked):(k+1)*len(e.asked)]); err != nil {
			return err
		}
		from = i + 1
	}
	return e.addGood(ctx, w, from, len(w.good.edges)-1)
}

func (e *processedEncoder) addRows(ctx context.Context, w *processedWindow, rows []processedRow) error {
	for i := range rows {
		if rows[i].omitted {
			continue
		}
		e.append(w, &rows[i])
		if len(e.times) >= e.maxRows || len(e.texts.data) >= batchBlobBytes {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// addGood adds the rows of intervals [from, to) of a window, all of Good doubles.
func (e *processedEncoder) addGood(ctx context.Context, w *processedWindow, from, to int) error {
	each := len(e.asked)
	for from < to {
		n := min((e.maxRows-len(e.times))/each, to-from)
		if n == 0 { // the rows of this interval go into two batches
			if err := e.addRows(ctx, w, w.good.rows(w.from, from)); err != nil {
				return err
			}
			from++
			continue
		}
		e.appendGood(w, from, from+n)
		from += n
		if len(e.times) >= e.maxRows {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendGood is append of the rows of intervals [from, to), which fit the batch, column by column.
func (e *processedEncoder) appendGood(w *processedWindow, from, to int) {
	g, each := &w.good, len(e.asked)
	rows := (to - from) * each
	times, starts, ends := extend(&e.times, rows), extend(&e.starts, rows), extend(&e.ends, rows)
	good, covered, samples := extend(&e.good, rows), extend(&e.covered, rows), extend(&e.samples, rows)
	for i, at := from, 0; i < to; i, at = i+1, at+each {
		start, end, all := g.edges[i], g.edges[i+1], g.completeness(i)
		for k := at; k < at+each; k++ {
			times[k], starts[k], ends[k] = start, start, end
			good[k], covered[k], samples[k] = all.good, all.covered, all.samples
		}
	}
	functions := extend(&e.functions, rows)
	for done := copy(functions, e.asked); done < rows; done *= 2 {
		copy(functions[done:], functions[:done])
	}
	e.tag.indices = appendRepeated(e.tag.indices, w.index, rows)
	e.values = append(e.values, g.values[from*each:to*each]...)
	e.valid.appendAll(rows, true)
	clear(extend(&e.ints, rows))
	e.intsValid.appendAll(rows, false)
	e.texts.appendNulls(rows)
	e.quality = append(e.quality, g.quality[from*each:to*each]...)
	clear(extend(&e.uncertain, rows))
	for len(e.partial) <= len(e.times)/8 {
		e.partial = append(e.partial, 0)
	}
	bitutil.SetBitsTo(e.partial, int64(len(e.times)-rows), int64(rows), false)
	if e.labels != nil {
		for i := from; i < to; i++ {
			for range each {
				e.labels.append(w.from + i)
			}
		}
	}
}

// extend makes a column n elements longer, and is those, of any content.
func extend[T any](column *[]T, n int) []T {
	tail := behind(column, n)[:n]
	*column = (*column)[:len(*column)+n]
	return tail
}

func (e *processedEncoder) append(w *processedWindow, r *processedRow) {
	e.times = append(e.times, r.Time)
	e.tag.indices = append(e.tag.indices, w.index)
	e.starts, e.ends = append(e.starts, r.start), append(e.ends, r.end)
	e.functions = append(e.functions, e.index[r.function])
	e.appendValue(w.tag, r)
	e.quality = append(e.quality, uint32(r.Quality))
	e.good, e.uncertain = append(e.good, r.good), append(e.uncertain, r.uncertain)
	e.covered, e.samples = append(e.covered, r.covered), append(e.samples, r.samples)
	for len(e.partial) <= len(e.times)/8 {
		e.partial = append(e.partial, 0)
	}
	if e.while != nil {
		*e.while = append(*e.while, r.held)
	}
	if e.labels != nil {
		e.labels.append(r.bucket)
	}
	bitutil.SetBitTo(e.partial, len(e.times)-1, r.Quality&model.InfoDataValue != 0 && r.Quality&model.InfoPartial != 0)
}

// appendValue puts a value where its type has its place, as in an answer of mixed types. A status code is a
// number and a name, an instant nanoseconds and text.
func (e *processedEncoder) appendValue(tag *model.Tag, r *processedRow) {
	number, whole, hasNumber, hasInt := 0.0, int64(0), false, false
	var text []byte
	hasText := false
	if !r.Null {
		switch r.Type {
		case model.Float64, model.Float32:
			number, hasNumber = part13.Number(&r.Sample), true
		case model.Int64:
			number, hasNumber, whole, hasInt = part13.Number(&r.Sample), true, int64(r.Bits), true
		case model.Uint64:
			number, hasNumber = part13.Number(&r.Sample), true
			if whole, hasInt = int64(r.Bits), r.Bits <= math.MaxInt64; !hasInt {
				whole, text, hasText = 0, strconv.AppendUint(nil, r.Bits, 10), true
			}
		case model.Bool:
			whole, hasInt = int64(r.Bits), true
		case model.State:
			whole, hasInt = int64(r.Bits), true
			name, ok := e.states.text(tag, r.Time, whole)
			text, hasText = []byte(name), ok
		case model.String:
			text, hasText = r.Blob, true
		}
		switch {
		case r.function.isStatus():
			number, hasNumber = 0, false
			text, hasText = []byte(model.Quality(r.Bits).String()), true
		case r.function.isTime():
			number, hasNumber = 0, false
			text, hasText = []byte(model.FormatTime(int64(r.Bits))), true
		}
	}
	e.values = append(e.values, math.Float64bits(number))
	e.valid.appendAll(1, hasNumber)
	e.ints = append(e.ints, whole)
	e.intsValid.appendAll(1, hasInt)
	e.texts.append(text, hasText)
}

func (e *processedEncoder) flush(ctx context.Context) error {
	rows := len(e.times)
	if rows == 0 {
		return nil
	}
	defer e.reset()
	float, integer := arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Int64
	columns := []arrow.ArrayData{
		fixedData(timeType, rows, nil, bytesOf(e.times)),
		e.tag.array(),
		fixedData(timeType, rows, nil, bytesOf(e.starts)),
		fixedData(timeType, rows, nil, bytesOf(e.ends)),
		dictionaryData(e.functions, nil, e.names),
		fixedData(float, rows, &e.valid, bytesOf(e.values)),
		fixedData(integer, rows, &e.intsValid, bytesOf(e.ints)),
		e.texts.array(arrow.BinaryTypes.String),
		fixedData(arrow.PrimitiveTypes.Uint32, rows, nil, bytesOf(e.quality)),
		fixedData(float, rows, nil, arrow.Float64Traits.CastToBytes(e.good)),
		fixedData(float, rows, nil, arrow.Float64Traits.CastToBytes(e.uncertain)),
		fixedData(integer, rows, nil, bytesOf(e.covered)),
		fixedData(integer, rows, nil, bytesOf(e.samples)),
		fixedData(arrow.FixedWidthTypes.Boolean, rows, nil, e.partial),
	}
	if e.while != nil {
		columns = append(columns, e.while.array())
	}
	if e.labels != nil {
		columns = append(columns, e.labels.array())
	}
	return e.writeColumns(ctx, rows, columns)
}

func (e *processedEncoder) reset() {
	e.times, e.starts, e.ends, e.functions = e.times[:0], e.starts[:0], e.ends[:0], e.functions[:0]
	e.values, e.ints, e.quality = e.values[:0], e.ints[:0], e.quality[:0]
	e.good, e.uncertain, e.covered, e.samples = e.good[:0], e.uncertain[:0], e.covered[:0], e.samples[:0]
	e.partial = e.partial[:0]
	if e.while != nil {
		*e.while = (*e.while)[:0]
	}
	if e.labels != nil {
		e.labels.reset()
	}
	e.tag.reset()
	e.valid.reset()
	e.intsValid.reset()
	e.texts.reset()
}
