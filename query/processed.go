package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// DefaultTimeResolution is the unit of time of processed reads, nanoseconds: that of the examples of Part 13.
const DefaultTimeResolution = 1_000_000

// ProcessedRequest asks for processed values (OPC UA Part 11, ReadProcessedDetails): functions of the intervals of tags.
type ProcessedRequest struct {
	Tags
	Buckets
	Functions     []Function
	Configuration part13.Configuration // of own functions only TreatUncertainAsBad
	Counter       counter.Limits       // for increase and rate, of values as they are stored
	Stepped       *bool                // in place of what the tags' settings say; nil for those in force at the start of each interval
	Resolution    int64                // unit of time, nanoseconds; 0 for DefaultTimeResolution
	Unit          string               // UCUM code of the unit of the values, which are doubles then; empty: as they are stored
	Fill          Fill
	While         string // condition for time to count, as of AggregatesRequest; of own functions only
	Consistency   storage.Consistency
	BatchRows     int
}

func (r *ProcessedRequest) check() error {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return err
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	}
	if n := len(r.Functions); n < 1 || n > MaxFunctions {
		return fmt.Errorf("%d aggregates, must be from 1 to %d: %w", n, MaxFunctions, ErrBadRequest)
	}
	if err := r.Counter.Check(); err != nil {
		return fmt.Errorf("%w: %w", err, ErrBadRequest)
	}
	for i, a := range r.Functions {
		if r.While != "" && a.standard != 0 {
			return refuseWhile(a.standard)
		}
		if a == (Function{}) {
			return fmt.Errorf("aggregate %d is none: %w", i, ErrBadRequest)
		}
		if slices.Contains(r.Functions[:i], a) {
			return fmt.Errorf("aggregate %s is asked for twice: %w", a, ErrBadRequest)
		}
	}
	if r.Resolution < 0 {
		return fmt.Errorf("time resolution is %d ns, must be positive: %w", r.Resolution, ErrBadRequest)
	}
	if err := r.Configuration.Check(); err != nil {
		return fmt.Errorf("%w: %w", err, ErrBadRequest)
	}
	return nil
}

// processing is one checked request.
type processing struct {
	request ProcessedRequest
	tags    *tagList
	*bucketing
	good    bool // partials of Good doubles are enough
	workers int
	effects []effect // of converting values, on each function
	while   *condition
}

func (e *Engine) processing(r ProcessedRequest) (*processing, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Resolution == 0 {
		r.Resolution = DefaultTimeResolution
	}
	buckets, err := e.buckets(r.Buckets)
	if err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	tags, err := resolve(catalog, r.Tags, buckets.span(), namesAt(catalog, max(buckets.edges[0], buckets.edges[buckets.count()]-1)))
	if err != nil {
		return nil, err
	}
	if err := tags.within(buckets.span()); err != nil {
		return nil, err
	}
	for _, f := range r.Functions {
		for _, t := range tags.asked {
			if typ := t.tag.Current().Type; !f.of(typ) {
				return nil, fmt.Errorf("%s of tag %s, which is of type %s: %w", f, t.describe(), typ, ErrBadRequest)
			}
			if err := r.Fill.check(f, t.tag.Current().Type, model.Float64); err != nil {
				return nil, fmt.Errorf("tag %s: %w", t.describe(), err)
			}
		}
	}
	p := &processing{request: r, effects: effectsOn(r.Functions, effectOnFunction), tags: tags, bucketing: buckets}
	if err := tags.aggregated(r.Unit, buckets.span(), p.effects); err != nil {
		return nil, err
	}
	if err := p.checkCounters(); err != nil {
		return nil, err
	}
	if p.while, err = e.condition(r.While, buckets, r.Configuration.TreatUncertainAsBad); err != nil {
		return nil, err
	}
	p.good = p.allGood()
	p.workers = e.budget.workers(windowsOf(buckets, tags), p.bytes)
	return p, nil
}

// gathers reports whether a function needs samples.
func (p *processing) gathers() bool {
	return slices.ContainsFunc(p.request.Functions, Function.needsSamples)
}

func (p *processing) batchRows() int { return cmp.Or(p.request.BatchRows, DefaultBatchRows) }

// windowSize is how many intervals a worker takes at once, as partials.
func (p *processing) windowSize() int {
	return min(p.count(), max(windowLeast, windowBuckets/len(p.request.Functions)))
}

// piecesMost is how many pieces of intervals a worker holds at once.
func (p *processing) piecesMost() int { return max(p.windowSize(), windowLeast) }

// windowMost is how many intervals a worker takes at once.
func (p *processing) windowMost() int {
	if !p.good {
		return p.windowSize()
	}
	each := goodWindow
	if tags := len(p.tags.asked); tags < p.workers {
		each = (p.count()*tags + p.workers - 1) / p.workers
	}
	return min(p.count(), max(p.windowSize(), min(goodWindow, each)))
}

// bytes is what answering with so many workers may hold at once.
func (p *processing) bytes(workers int) int64 {
	names := 3*p.tags.nameBytes + 96*int64(len(p.tags.asked))
	rows := min(int64(p.batchRows()), int64(p.count())*int64(len(p.request.Functions))*int64(len(p.tags.asked)))
	answers := int64(p.windowMost()) * int64(len(p.request.Functions)) * processedRowBytes // of a window
	worker := cursorBytes + p.while.bytes() + int64(p.windowSize())*partialBytes + 2*answers
	if p.good {
		worker += int64(p.windowMost()) * goodBytes
	}
	if p.while != nil || slices.ContainsFunc(p.request.Functions, Function.needsArea) {
		worker += int64(p.piecesMost()) * partialBytes // where settings change, or a condition
	}
	if p.gathers() {
		worker += gatheringBytes
	}
	if p.request.Fill.Rule == FillLinear {
		names += answers // to look ahead
	}
	return names + 2*rows*processedRowBytes + int64(workers)*worker + p.bucketing.bytes()
}

// ProcessedSchema is the schema ReadProcessed will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) ProcessedSchema(r ProcessedRequest) (*arrow.Schema, error) {
	p, err := e.processing(r)
	if err != nil {
		return nil, err
	}
	return newProcessedEncoder(p, nil, nil, nil).schema, nil
}

// ReadProcessed writes what r asks for to sink: a row per tag, interval and aggregate, in that order. It returns how many rows it
// wrote, also beside an error.
func (e *Engine) ReadProcessed(ctx context.Context, r ProcessedRequest, sink Sink) (uint64, error) {
	p, err := e.processing(r)
	if err != nil {
		return 0, err
	}
	return e.stream(ctx, p.tags, p.bytes(p.workers), r.Consistency, func(view View) (batches, error) {
		out := newProcessedEncoder(p, view.Lost(), newStateTexts(e.store.Catalog()), sink)
		return out, p.run(ctx, view, out)
	})
}

// processedWindow is intervals [from, to) of one tag, and what came of them.
type processedWindow struct {
	asked
	from, to int
	rows     []processedRow
	good     goodRows
	err      error
}

// processedRow is one aggregate of one interval.
type processedRow struct {
	model.Sample
	function   Function
	bucket     int
	start, end int64 // the edges, in the order of the answer
	completeness
	omitted bool
}

// completeness says how much an interval knows, to the nanosecond and whatever aggregate is asked for.
type completeness struct {
	good, uncertain float64 // percent of the interval under Good and under Uncertain samples
	covered         int64   // nanoseconds under samples that a calculation may use
	samples         int64
	held            int64 // nanoseconds in which the condition held, where there is one
}

// run works on as many windows at a time as there are workers and writes each round in order.
func (p *processing) run(ctx context.Context, view View, out *processedEncoder) error {
	n, size := p.count(), p.windowMost()
	perTag := (n + size - 1) / size
	total := perTag * len(p.tags.asked)
	windows := make([]processedWindow, min(2*p.workers, total))
	readers := make([]processedReader, p.workers)
	for i := range readers {
		readers[i] = newProcessedReader(p, view)
	}
	fills, ahead := newProcessedFiller(p, model.Float64), processedWindow{}
	for done := 0; done < total; {
		now := windows[:min(len(windows), total-done)]
		for i := range now {
			k := done + i
			from := k % perTag * size
			now[i] = processedWindow{asked: p.tags.asked[k/perTag], from: from, to: min(from+size, n), rows: now[i].rows[:0], good: now[i].good}
		}
		spread(readers, len(now), func(r *processedReader, i int) { now[i].err = r.window(ctx, &now[i]) })
		for i := range now {
			if p.request.Fill.Rule != FillNone && now[i].err == nil {
				now[i].err = fills.fill(ctx, &readers[0], &now[i], &ahead)
			}
			if err := out.add(ctx, &now[i]); err != nil {
				return err
			}
			if err := now[i].err; err != nil {
				return fmt.Errorf("processed values of tag %s: %w", now[i].describe(), err)
			}
		}
		done += len(now)
	}
	return nil
}

// processedReader calculates windows, one after the other, in memory of its own.
type processedReader struct {
	*processing
	stored     View
	conditions View             // which tags of conditions are read in
	convert    *unit.Conversion // of the results of a window; nil for none
	stretch                     // its view is what a window is calculated of
	edges      []int64          // ascending, as storage takes them
	after      []*rollup.Partial
	calc       part13.Calculation
	interval   part13.Interval // the one calculated last
	before     rollup.Partial  // what lies before it
	own        ownReader

	goodOf    storage.Goods
	goodAfter []*rollup.Good
}

func newProcessedReader(p *processing, view View) processedReader {
	return processedReader{processing: p, stored: view, conditions: view, stretch: stretch{strict: p.request.Configuration.TreatUncertainAsBad}, own: newOwnReader(p)}
}

// read calculates the rows of a window.
func (r *processedReader) read(ctx context.Context, w *processedWindow) error {
	r.view, w.asked, r.convert = w.asked.view(r.stored, r.effects)
	answer := r.processing.edges[w.from : w.to+1]
	edges := slices.Clone(answer)
	r.edges = ascendingEdges(edges, r.edges)
	if err := r.stretch.read(ctx, w.tag.ID, r.edges); err != nil {
		return err
	}
	if err := r.wholeTexts(ctx, w); err != nil {
		return err
	}
	earlier, err := r.earlier(ctx, w)
	if err != nil {
		return err
	}
	zero, err := r.zeroTimes(ctx, w)
	if err != nil {
		return err
	}
	annotated := slices.Contains(r.request.Functions, Standard(part13.AnnotationCount))
	r.own.open(r, w)
	defer r.own.close()
	p := &r.partials
	r.lookAhead()
	r.before = p.Before
	for i := range p.Buckets {
		in := &p.Buckets[i]
		iv := part13.Interval{
			Start: edges[i], End: edges[i+1], Reverse: r.reverse(), Stepped: r.stepped(w.tag, edges[i]), Resolution: r.request.Resolution,
			Before: &r.before, In: in, After: r.after[i], Earlier: earlier,
		}
		if annotated {
			iv.Annotations = int64(r.view.AnnotationCount(w.tag.Owner(), model.TimeRange{Start: r.edges[i], End: r.edges[i+1]}))
		}
		if zero != nil {
			iv.Zero, iv.NonZero = zero[i][0], zero[i][1]
		}
		at := w.from + i // in the order of the answer
		if r.reverse() {
			at = w.to - 1 - i
		}
		iv.Short = r.isCut(at)
		if i > 0 {
			r.before.TakeLast(&p.Buckets[i-1])
		}
		if err := r.own.take(ctx, i, &iv); err != nil {
			return err
		}
		if err := r.rows(ctx, w, &iv, at); err != nil {
			return err
		}
		r.interval = iv
	}
	if r.reverse() {
		reverseGroups(w.rows, len(r.request.Functions))
	}
	return nil
}

// reverseGroups turns the order of groups of n rows, and leaves that in each.
func reverseGroups(rows []processedRow, n int) {
	slices.Reverse(rows)
	for i := 0; i < len(rows); i += n {
		slices.Reverse(rows[i : i+n])
	}
}

// stepped is whether the tag is, at an instant or because the request says so.
func (r *processedReader) stepped(tag *model.Tag, at int64) bool {
	s := tag.At(at)
	if s.Type.AlwaysStepped() {
		return true
	}
	if r.request.Stepped != nil {
		return *r.request.Stepped
	}
	return s.Stepped
}

// lookAhead finds, for each bucket, what lies behind it: the next bucket that has anything will do if it has a usable sample too.
func (r *processedReader) lookAhead() {
	p := &r.partials
	n := len(p.Buckets)
	r.after = slices.Grow(r.after[:0], n)[:n]
	next := &p.After
	for i := n - 1; i >= 0; i-- {
		r.after[i] = next
		in := &p.Buckets[i]
		if in.Empty() {
			continue
		}
		if first, _ := in.UsableEnds(r.request.Configuration.TreatUncertainAsBad); first != nil {
			next = in
			continue
		}
		both := *next
		both.TakeFirst(in)
		next = &both
	}
}

// rows adds the functions of an interval.
func (r *processedReader) rows(ctx context.Context, w *processedWindow, iv *part13.Interval, at int) (err error) {
	r.calc.Reset(w.tag.Current().Type, *iv, r.request.Configuration)
	row := processedRow{bucket: at, start: iv.Start, end: iv.End}
	standard := r.completeness(iv)
	if iv.Reverse {
		row.start, row.end = iv.End, iv.Start
	}
	for i, f := range r.request.Functions {
		row.function = f
		if f.standard != 0 {
			row.Sample, row.completeness = r.calc.Result(f.standard), standard
		} else {
			row.completeness = r.own.shape.completeness()
			if row.Sample, row.function, err = r.own.result(ctx, i); err != nil {
				return err
			}
			row.Time = row.start
		}
		if err := r.beyond(ctx, w, iv, &row); err != nil {
			return err
		}
		if r.convert != nil {
			row.Sample = r.effects[i].sample(*r.convert, row.Sample)
		}
		w.rows = append(w.rows, row)
	}
	return nil
}

// completeness is that of an interval as the aggregates of Part 13 see it, over any distance between samples.
func (r *processedReader) completeness(iv *part13.Interval) completeness {
	c := calculation{strict: r.strict, start: iv.Start, end: iv.End, only: iv.In}
	x := rollup.Interval{Start: iv.Start, End: iv.End, Before: iv.Before, In: iv.In, After: iv.After}
	x.Hold = holdUntil(&x)
	c.durations = x.Durations()
	return c.completeness()
}

// completeness is that of the bucket.
func (c *calculation) completeness() completeness {
	d, length := &c.durations, float64(uint64(c.end)-uint64(c.start))
	return completeness{
		good: 100 * float64(d.Good()) / length, uncertain: 100 * float64(d.Uncertain) / length,
		covered: int64(min(c.good(), math.MaxInt64)), samples: c.only.Counts().All(), held: int64(min(c.held, math.MaxInt64)),
	}
}

// wholeTexts reads the texts of a window that are too long for its partials.
func (r *processedReader) wholeTexts(ctx context.Context, w *processedWindow) error {
	if !w.tag.Current().Type.Blob() {
		return nil
	}
	p := &r.partials
	for i := range p.Buckets {
		if err := r.readTexts(ctx, w, &p.Buckets[i]); err != nil {
			return err
		}
	}
	return errors.Join(r.readTexts(ctx, w, &p.Before), r.readTexts(ctx, w, &p.After))
}

// readTexts reads the texts that are too long for a partial.
func (r *processedReader) readTexts(ctx context.Context, w *processedWindow, p *rollup.Partial) error {
	for x := range p.Points() {
		if !x.Cut {
			continue
		}
		c := calculation{view: r.view, asked: w.asked}
		blob, err := c.readBlob(ctx, x)
		if err != nil {
			return err
		}
		x.Blob, x.Cut = blob, false
	}
	return nil
}

// earlier is the usable sample before the last one, where a question extrapolates along the slope of the two.
func (r *processedReader) earlier(ctx context.Context, w *processedWindow) (*rollup.Point, error) {
	extrapolates := func(f Function) bool { return f.standard.Extrapolates() }
	if !r.request.Configuration.SlopedExtrapolation || !slices.ContainsFunc(r.request.Functions, extrapolates) {
		return nil, nil
	}
	if behind, _ := r.partials.After.UsableEnds(r.strict); behind != nil {
		return nil, nil
	}
	all := model.All
	all.Reverse = true
	found, err := r.usable(ctx, w.tag.ID, all, 2)
	if err != nil || len(found) < 2 {
		return nil, err
	}
	return &rollup.Point{Sample: found[1]}, nil
}

// zeroTimes is, of each bucket from its first sample to its last, the nanoseconds that start at a Good sample of value zero, and of
// another. Nil where nobody asks.
func (r *processedReader) zeroTimes(ctx context.Context, w *processedWindow) ([][2]uint64, error) {
	comparesWithZero := func(f Function) bool { return f.standard.ComparesWithZero() }
	if !slices.ContainsFunc(r.request.Functions, comparesWithZero) {
		return nil, nil
	}
	times := make([][2]uint64, len(r.partials.Buckets))
	cursor := shapeOf(r.view, w.tag.ID, model.TimeRange{Start: r.edges[0], End: r.edges[len(r.edges)-1]})
	defer cursor.Close()
	var last model.Sample
	bucket, started := 0, false
	for {
		b, err := cursor.Next(ctx)
		if err == io.EOF {
			return times, nil
		}
		if err != nil {
			return nil, err
		}
		r.besides += int64(b.Len())
		for i := range b.Len() {
			x := b.At(i)
			for x.Time >= r.edges[bucket+1] {
				bucket, started = bucket+1, false
			}
			if started && (&rollup.Point{Sample: last}).Usable(true) {
				k := 1
				if part13.Number(&last) == 0 {
					k = 0
				}
				times[bucket][k] += uint64(x.Time) - uint64(last.Time)
			}
			last, started = x, true // a break of a gap is Bad
		}
	}
}
