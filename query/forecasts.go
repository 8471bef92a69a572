package query

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/rollup"
)

// Pick says which forecast runs an answer is of. docs/reference/forecasts.md has the rules. Its numbers are those of the wire.
type Pick int

const (
	NewestRun Pick = 1 // the run issued last, at or before an instant
	EachRun   Pick = 2 // every run issued in a range
	Curve     Pick = 3 // at each time the run issued last that covers it
	Current   Pick = 4 // the value at the present of the run issued last
)

// Limits of forecast requests.
const (
	MaxForecastTags   = 1000
	MaxForecastModels = 64
	maxSections       = 1 << 16 // of one tag's curve
)

// ForecastRuns says which runs of tags are asked for, and which of their samples: those in [Start, End).
type ForecastRuns struct {
	Tags
	Pick       Pick
	Models     []string // of these models; empty: of any
	Start, End int64    // nanoseconds UTC
	// IssuedFrom and IssuedTo bound the issue times of EachRun, IssuedTo not included.
	IssuedFrom, IssuedTo int64
	AsOf                 *int64 // of the others: runs issued at or before it; nil: the present
	// Lead is for how long before each time of a Curve its run must have been issued, nanoseconds.
	Lead        int64
	Known       int64 // runs as they stood at this ingest time; 0: as they stand
	Consistency storage.Consistency
	BatchRows   int
}

func (r *ForecastRuns) check(now int64) error {
	if err := r.Tags.check(MaxForecastTags); err != nil {
		return err
	}
	switch {
	case r.BatchRows < 0 || r.BatchRows > MaxBatchRows:
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	case r.Pick < NewestRun || r.Pick > Current:
		return fmt.Errorf("forecast runs picked by rule %d: %w", r.Pick, ErrBadRequest)
	case len(r.Models) > MaxForecastModels:
		return fmt.Errorf("%d models, most is %d: %w", len(r.Models), MaxForecastModels, ErrBadRequest)
	case r.Start < model.MinTime || r.Start >= r.End:
		return fmt.Errorf("forecast from %d to %d: the end must be later: %w", r.Start, r.End, ErrBadRange)
	case r.Lead < 0 || r.Lead > 0 && r.Pick != Curve:
		return fmt.Errorf("lead of %d ns: must not be negative, and is for curves: %w", r.Lead, ErrBadRequest)
	case r.Known < 0:
		return fmt.Errorf("runs known at %d: %w", r.Known, ErrBadRequest)
	}
	if r.Pick != EachRun {
		if r.IssuedFrom != 0 || r.IssuedTo != 0 {
			return fmt.Errorf("a range of issue times is for every run issued in it: %w", ErrBadRequest)
		}
		r.IssuedFrom, r.IssuedTo = model.MinTime, now+1
		if r.AsOf != nil {
			r.IssuedTo = satAdd(*r.AsOf, 1)
		}
	}
	if r.IssuedFrom < model.MinTime || r.IssuedFrom >= r.IssuedTo {
		return fmt.Errorf("issue times from %d to %d: the end must be later: %w", r.IssuedFrom, r.IssuedTo, ErrBadRange)
	}
	return nil
}

func (r *ForecastRuns) query(tag model.TagID) storage.ForecastQuery {
	return storage.ForecastQuery{Tag: tag, Issued: model.TimeRange{Start: r.IssuedFrom, End: r.IssuedTo}, Models: r.Models, Known: r.Known}
}

// forecast is one checked request.
type forecast struct {
	ForecastRuns
	tags  *tagList     // as they are in their first epoch: what is known of runs
	whole []*model.Tag // the same tags with all their epochs
	now   int64
}

func (e *Engine) forecast(r ForecastRuns) (*forecast, error) {
	f := &forecast{ForecastRuns: r, now: e.now().UnixNano()}
	if err := f.check(f.now); err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	var err error
	if f.tags, err = resolve(catalog, r.Tags, model.All, catalog.ByName); err != nil {
		return nil, err
	}
	if err := f.tags.onlyStored(); err != nil {
		return nil, err
	}
	for i := range f.tags.asked {
		a := &f.tags.asked[i]
		f.whole = append(f.whole, a.tag)
		a.tag, _ = a.tag.In(a.tag.ID) // runs are of the type that it began with: none is written once it changed
	}
	return f, nil
}

// runBytes is what a run being read may hold, decoded.
const runBytes = chunk.MaxSamples*(8+8+4+24+8) + storage.MaxForecastBytes

func (f *forecast) question() question {
	r := RangeRequest{BatchRows: f.BatchRows}
	return question{
		tags: f.tags, consistency: f.Consistency, batchRows: r.batchRows(),
		layout: layout{types: f.tags.types(), forecast: true}, extra: runBytes + maxSections*sectionBytes,
	}
}

// ForecastSchema is the schema ReadForecast will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) ForecastSchema(r ForecastRuns) (*arrow.Schema, error) {
	f, err := e.forecast(r)
	if err != nil {
		return nil, err
	}
	return schemaOf(f.question().layout.columns(f.tags, nil, nil), nil), nil
}

// ReadForecast writes the samples of the runs that r picks to sink, by tag, then by run, the first issued first, then by time; those of
// a curve by tag and time. It returns how many rows it wrote, also beside an error.
func (e *Engine) ReadForecast(ctx context.Context, r ForecastRuns, sink Sink) (uint64, error) {
	f, err := e.forecast(r)
	if err != nil {
		return 0, err
	}
	return e.answer(ctx, f.question(), sink, func(view View, out *encoder) error {
		for _, a := range f.tags.asked {
			err := f.each(ctx, view, a, func(run *storage.ForecastRun, s *model.Samples) error {
				return out.addRows(ctx, rows{asked: a, Block: &storage.Block{Samples: *s}, run: run})
			})
			if err != nil {
				return fmt.Errorf("forecast of tag %s: %w", a.describe(), err)
			}
		}
		return nil
	})
}

// section is a part of a run: its samples in a range.
type section struct {
	issued int64
	offset uint64
	in     model.TimeRange
}

const sectionBytes = 32

// each yields what is asked for of a tag, in the order of the answer. Samples hold until it returns.
func (f *forecast) each(ctx context.Context, view View, a asked, yield func(*storage.ForecastRun, *model.Samples) error) error {
	sections, err := f.sections(ctx, view, a)
	if err != nil {
		return err
	}
	var data chunk.Data
	for _, s := range sections {
		q := f.query(a.tag.ID)
		q.Issued = model.TimeRange{Start: s.issued, End: s.issued + 1}
		for run, err := range view.Forecasts(ctx, q) {
			if err != nil {
				return err
			}
			if run.Offset != s.offset {
				continue
			}
			if err := f.yield(a, run, s.in, &data, yield); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// yield yields the samples of a run in a range, or of Current the one value.
func (f *forecast) yield(a asked, run *storage.ForecastRun, in model.TimeRange, data *chunk.Data, yield func(*storage.ForecastRun, *model.Samples) error) error {
	if err := run.Read(data); err != nil {
		return err
	}
	if t := a.tag.Current().Type; data.Type != t {
		return fmt.Errorf("forecast run issued at %s is of type %s, the tag of type %s: %w", model.FormatTime(run.Issued), data.Type, t, ErrWrongType)
	}
	if f.Pick == Current {
		one := model.Samples{Type: data.Type}
		x, ok := currentOf(a.tag, &data.Samples, f.now)
		if !ok {
			return nil
		}
		one.Append(x)
		return yield(run, &one)
	}
	from, _ := slices.BinarySearch(data.Times, in.Start)
	to, _ := slices.BinarySearch(data.Times, in.End)
	if from >= to {
		return nil
	}
	s := data.Slice(from, to)
	return yield(run, &s)
}

// currentOf is the value of a run at an instant: between samples by the rule of the tag, behind the last one that one itself, with its
// time; false before the first.
func currentOf(tag *model.Tag, s *model.Samples, now int64) (model.Sample, bool) {
	n := countUpTo(s.Times, now)
	switch {
	case n == 0:
		return model.Sample{}, false
	case n == s.Len() || s.Times[n-1] == now:
		return s.At(n - 1), true
	}
	rule := interpolation{strict: true}
	return rule.simple(tag, &rollup.Point{Sample: s.At(n - 1)}, &rollup.Point{Sample: s.At(n)}, now), true
}

// sections is what is asked for of a tag, in the order of the answer.
func (f *forecast) sections(ctx context.Context, view View, a asked) (out []section, err error) {
	open := []model.TimeRange{{Start: f.Start, End: f.End}} // what of the range is not covered yet, ascending
	for run, err := range view.Forecasts(ctx, f.query(a.tag.ID)) {
		if err != nil {
			return nil, err
		}
		s := section{run.Issued, run.Offset, open[0]}
		switch f.Pick {
		case NewestRun, Current:
			return []section{s}, nil
		case EachRun:
			if run.First < f.End && run.Last >= f.Start {
				out = append(out, s)
			}
		case Curve:
			covers := model.TimeRange{Start: max(run.First, satAdd(run.Issued, f.Lead)), End: run.Last + 1}
			left := open[:0:0]
			for _, gap := range open {
				before, behind := gap, gap
				before.End, behind.Start = min(gap.End, covers.Start), max(gap.Start, covers.End)
				s.in = model.TimeRange{Start: max(gap.Start, covers.Start), End: min(gap.End, covers.End)}
				if s.in.Empty() {
					left = append(left, gap)
					continue
				}
				out = append(out, s)
				for _, x := range []model.TimeRange{before, behind} {
					if !x.Empty() {
						left = append(left, x)
					}
				}
			}
			open = left
		}
		if len(out)+len(open) > maxSections {
			return nil, fmt.Errorf("more than %d runs: ask for a shorter range: %w", maxSections, ErrTooLarge)
		}
		if len(open) == 0 {
			break
		}
	}
	if f.Pick == Curve {
		slices.SortFunc(out, func(a, b section) int { return cmp.Compare(a.in.Start, b.in.Start) })
	} else {
		slices.Reverse(out)
	}
	return out, nil
}

// satAdd adds a duration that is not negative to an instant, and ends at the last one.
func satAdd(t, d int64) int64 {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}

// issuedColumn is when the run of each value was issued.
type issuedColumn struct{ times []int64 }

func (c *issuedColumn) field() arrow.Field { return arrow.Field{Name: "issued", Type: timeType} }

func (c *issuedColumn) append(r rows) error {
	c.times = appendRepeated(c.times, r.run.Issued, r.count())
	return nil
}

func (c *issuedColumn) array() arrow.ArrayData {
	return fixedData(timeType, len(c.times), nil, bytesOf(c.times))
}
func (c *issuedColumn) reset()         { c.times = c.times[:0] }
func (c *issuedColumn) blobBytes() int { return 0 }

// modelColumn is the model of the run of each value; empty where it has no name.
type modelColumn struct{ values varBytes }

func (c *modelColumn) field() arrow.Field {
	return arrow.Field{Name: "model", Type: arrow.BinaryTypes.String}
}

func (c *modelColumn) append(r rows) error {
	for range r.count() {
		c.values.append([]byte(r.run.Model), true)
	}
	return nil
}

func (c *modelColumn) array() arrow.ArrayData { return c.values.array(arrow.BinaryTypes.String) }
func (c *modelColumn) reset()                 { c.values.reset() }
func (c *modelColumn) blobBytes() int         { return len(c.values.data) }
