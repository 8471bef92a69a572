package query

import (
	"context"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// ForecastComparison asks how forecasts of tags of numbers compare to what came to be.
type ForecastComparison struct {
	ForecastRuns
	UseUncertain bool // Uncertain values count too; otherwise only Good ones have an error
	Summary      bool // a row per tag, with measures of the errors, in place of the rows
}

// compared is one row of a comparison.
type compared struct {
	time            int64
	actual          float64
	forecast, error float64
	hasActual       bool
	hasForecast     bool
	hasError        bool
	actualQuality   model.Quality
	forecastQuality model.Quality
	run             *storage.ForecastRun
}

func (e *Engine) comparison(r ForecastComparison) (*forecast, error) {
	f, err := e.forecast(r.ForecastRuns)
	if err != nil {
		return nil, err
	}
	if f.Pick == Current {
		return nil, fmt.Errorf("the present value of a forecast is not compared: %w", ErrBadRequest)
	}
	for i, a := range f.tags.asked {
		if t := a.tag.Current().Type; t > model.Uint64 {
			return nil, fmt.Errorf("compare forecasts of tag %s, which is of type %s: must be a number: %w", a.describe(), t, ErrBadRequest)
		}
		for _, epoch := range f.whole[i].Epochs() {
			if _, holds := f.whole[i].In(epoch.ID); epoch.Type > model.Uint64 && holds.Start < min(f.End, satAdd(f.now, 1)) && f.Start < holds.End {
				return nil, fmt.Errorf("compare forecasts of tag %s, which is of type %s from %s to %s: must be a number at the times compared: %w",
					a.describe(), epoch.Type, model.FormatTime(holds.Start), model.FormatTime(holds.End), ErrBadRequest)
			}
		}
	}
	return f, nil
}

// ComparisonSchema is the schema CompareForecast will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) ComparisonSchema(r ForecastComparison) (*arrow.Schema, error) {
	f, err := e.comparison(r)
	if err != nil {
		return nil, err
	}
	return newComparisonEncoder(f, r.Summary, nil, nil).schema, nil
}

// CompareForecast writes a row for each sample that ReadForecast would write, in its order: what was forecast, and the value of the tag at
// that time as ReadAtTimes has it; or a row per tag that sums them up. It returns how many rows it wrote, also beside an error.
func (e *Engine) CompareForecast(ctx context.Context, r ForecastComparison, sink Sink) (uint64, error) {
	f, err := e.comparison(r)
	if err != nil {
		return 0, err
	}
	need := f.question().bytes() + chunkWalkBytes
	return e.stream(ctx, f.tags, need, r.Consistency, func(view View) (batches, error) {
		out := newComparisonEncoder(f, r.Summary, view.Lost(), sink)
		w := &walk{rules: rules{values: interpolation{strict: !r.UseUncertain}}, cursor: emptyShape(view, f.tags.asked[0], nil)}
		defer w.cursor.Close()
		for i, a := range f.tags.asked {
			var sum errorSum
			err := f.each(ctx, view, a, func(run *storage.ForecastRun, s *model.Samples) error {
				return f.compare(ctx, w, f.whole[i], s, !r.UseUncertain, func(x *compared) error {
					if x.run = run; r.Summary {
						sum.add(x)
						return nil
					}
					return out.add(ctx, a, x)
				})
			})
			if err == nil && r.Summary {
				err = out.addSum(ctx, a, &sum)
			}
			if err != nil {
				return out, fmt.Errorf("compare forecasts of tag %s: %w", a.describe(), err)
			}
		}
		return out, nil
	})
}

// chunkWalkBytes is what the actual values at the times of a run take.
const chunkWalkBytes = storage.MaxRunSamples * (8 + 4 + 1 + 1)

// compare holds the samples of a run against the values of the tag at their times, each in the epoch of its time. Those later than the
// present have no actual value.
func (f *forecast) compare(ctx context.Context, w *walk, tag *model.Tag, s *model.Samples, strict bool, yield func(*compared) error) error {
	past := countUpTo(s.Times, f.now)
	for from := 0; from < past; {
		now, holds := tag.In(tag.KeptBy(s.Times[from]))
		to := min(past, from+countUpTo(s.Times[from:], holds.End-1))
		w.begin(asked{tag: now})
		if err := w.window(ctx, s.Times[from:to]); err != nil {
			return err
		}
		if err := compareRows(s, from, to, &w.rows, now.Current().Type, strict, yield); err != nil {
			return err
		}
		from = to
	}
	return compareRows(s, past, s.Len(), nil, 0, strict, yield)
}

// compareRows yields the samples [from, to) of a run beside the values of the tag, which are of a type; nil for none.
func compareRows(s *model.Samples, from, to int, values *atRows, t model.Type, strict bool, yield func(*compared) error) error {
	usable := func(q model.Quality) bool { return q.IsGood() || !strict && q.IsUncertain() }
	for i := from; i < to; i++ {
		x := compared{time: s.Times[i], forecastQuality: s.QualityAt(i), hasForecast: !s.IsNull(i), actualQuality: model.BadNoData}
		if x.hasForecast {
			x.forecast = numberOf(s.Type, s.Bits[i])
		}
		if values != nil {
			x.actualQuality, x.hasActual = values.quality[i-from], !values.null[i-from]
			if x.hasActual {
				x.actual = numberOf(t, values.bits[i-from])
			}
		}
		if x.hasForecast && x.hasActual && usable(x.forecastQuality) && usable(x.actualQuality) {
			x.error = x.forecast - x.actual
			x.hasError = !math.IsNaN(x.error) && !math.IsInf(x.error, 0)
		}
		if err := yield(&x); err != nil {
			return err
		}
	}
	return nil
}

// numberOf is a value of a type of numbers.
func numberOf(t model.Type, bits uint64) float64 {
	switch t {
	case model.Float64:
		return math.Float64frombits(bits)
	case model.Float32:
		return float64(math.Float32frombits(uint32(bits)))
	case model.Int64:
		return float64(int64(bits))
	}
	return float64(bits)
}

// errorSum sums up the errors of a tag.
type errorSum struct {
	count, ratios                int64 // of errors; of those whose actual value is not 0
	sum, absolute, squares, part float64
}

func (s *errorSum) add(x *compared) {
	if !x.hasError {
		return
	}
	s.count++
	s.sum += x.error
	s.absolute += math.Abs(x.error)
	s.squares += float64(x.error * x.error)
	if x.actual != 0 {
		s.ratios++
		s.part += math.Abs(x.error / x.actual)
	}
}

// comparisonEncoder gathers the rows of a comparison into record batches.
type comparisonEncoder struct {
	recordWriter
	summary bool
	maxRows int

	tag      tagColumn
	times    []int64
	numbers  [4]numberColumn // actual, forecast, error; or bias, mae, rmse, mape
	counts   [2][]int64
	issued   []int64
	models   varBytes
	quality  [2][]uint32
	gathered int
}

// numberColumn is doubles that may be null.
type numberColumn struct {
	values []float64
	valid  validity
}

func (c *numberColumn) append(x float64, valid bool) {
	if !valid {
		x = 0
	}
	c.values = append(c.values, x)
	c.valid.appendAll(1, valid)
}

func (c *numberColumn) array() arrow.ArrayData {
	return fixedData(arrow.PrimitiveTypes.Float64, len(c.values), &c.valid, arrow.Float64Traits.CastToBytes(c.values))
}

func (c *numberColumn) reset() {
	c.values = c.values[:0]
	c.valid.reset()
}

func newComparisonEncoder(f *forecast, summary bool, lost []storage.OffsetRange, sink Sink) *comparisonEncoder {
	r := RangeRequest{BatchRows: f.BatchRows}
	e := &comparisonEncoder{summary: summary, maxRows: r.batchRows(), tag: tagColumn{dictionary: f.tags.dictionary()}}
	number := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64, Nullable: true}
	}
	count := func(name string) arrow.Field { return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64} }
	code := func(name string) arrow.Field { return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Uint32} }
	fields := []arrow.Field{
		{Name: "time", Type: timeType}, e.tag.field(), number("actual"), number("forecast"), number("error"),
		{Name: "issued", Type: timeType}, {Name: "model", Type: arrow.BinaryTypes.String}, code("actual_quality"), code("forecast_quality"),
	}
	if summary {
		fields = []arrow.Field{e.tag.field(), count("count"), number("bias"), number("mae"), number("rmse"), number("mape"), count("mape_count")}
	}
	e.recordWriter = newRecordWriter(arrow.NewSchema(fields, lostMetadata(lost)), sink)
	return e
}

func (e *comparisonEncoder) add(ctx context.Context, a asked, x *compared) error {
	e.tag.indices = append(e.tag.indices, a.index)
	e.times, e.issued = append(e.times, x.time), append(e.issued, x.run.Issued)
	e.numbers[0].append(x.actual, x.hasActual)
	e.numbers[1].append(x.forecast, x.hasForecast)
	e.numbers[2].append(x.error, x.hasError)
	e.models.append([]byte(x.run.Model), true)
	e.quality[0], e.quality[1] = append(e.quality[0], uint32(x.actualQuality)), append(e.quality[1], uint32(x.forecastQuality))
	return e.gather(ctx)
}

// addSum adds the row of a tag. Without errors there are no measures of them.
func (e *comparisonEncoder) addSum(ctx context.Context, a asked, s *errorSum) error {
	n := float64(s.count)
	e.tag.indices = append(e.tag.indices, a.index)
	for i, x := range []float64{s.sum / n, s.absolute / n, math.Sqrt(s.squares / n)} {
		e.numbers[i].append(x, s.count > 0)
	}
	e.numbers[3].append(100*s.part/float64(s.ratios), s.ratios > 0)
	e.counts[0], e.counts[1] = append(e.counts[0], s.count), append(e.counts[1], s.ratios)
	return e.gather(ctx)
}

func (e *comparisonEncoder) gather(ctx context.Context) error {
	if e.gathered++; e.gathered < e.maxRows {
		return nil
	}
	return e.flush(ctx)
}

func (e *comparisonEncoder) flush(ctx context.Context) error {
	rows := e.gathered
	if rows == 0 {
		return nil
	}
	defer e.reset()
	count := func(s []int64) arrow.ArrayData {
		return fixedData(arrow.PrimitiveTypes.Int64, rows, nil, bytesOf(s))
	}
	if e.summary {
		n := &e.numbers
		return e.writeColumns(ctx, rows, []arrow.ArrayData{e.tag.array(), count(e.counts[0]), n[0].array(), n[1].array(), n[2].array(), n[3].array(), count(e.counts[1])})
	}
	code := func(s []uint32) arrow.ArrayData {
		return fixedData(arrow.PrimitiveTypes.Uint32, rows, nil, bytesOf(s))
	}
	return e.writeColumns(ctx, rows, []arrow.ArrayData{
		fixedData(timeType, rows, nil, bytesOf(e.times)), e.tag.array(), e.numbers[0].array(), e.numbers[1].array(), e.numbers[2].array(),
		fixedData(timeType, rows, nil, bytesOf(e.issued)), e.models.array(arrow.BinaryTypes.String), code(e.quality[0]), code(e.quality[1]),
	})
}

func (e *comparisonEncoder) reset() {
	e.gathered = 0
	e.tag.reset()
	for i := range e.numbers {
		e.numbers[i].reset()
	}
	e.times, e.issued = e.times[:0], e.issued[:0]
	e.models.reset()
	for i := range e.counts {
		e.counts[i], e.quality[i] = e.counts[i][:0], e.quality[i][:0]
	}
}
