package query

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// A piece of work is up to windowBuckets buckets of one tag; fewer, down to windowLeast, where that keeps every processor
// busy. Of roundBuckets for each worker the answers are held at once, until they are written in order.
const (
	windowBuckets = 1024
	windowLeast   = 64
	roundBuckets  = 4 * windowBuckets
	// partialBytes is what a bucket holds while it is worked on.
	partialBytes = 1500
)

// aggregation is one checked request.
type aggregation struct {
	request AggregatesRequest
	tags    *tagList
	*bucketing
	detail  storage.Detail
	good    bool         // storage.Goods has what the aggregates need
	asked   rollup.Asked // of it
	effects []effect     // of converting values, on each aggregate
	workers int
	while   *condition
}

func (e *Engine) aggregation(r AggregatesRequest) (*aggregation, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	buckets, err := e.buckets(r.Buckets)
	if err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	last := max(buckets.edges[0], buckets.edges[buckets.count()]-1)
	tags, err := resolve(catalog, r.Tags, buckets.span(), namesAt(catalog, last))
	if err != nil {
		return nil, err
	}
	if err := tags.within(buckets.span()); err != nil {
		return nil, err
	}
	if err := r.checkTypes(tags); err != nil {
		return nil, err
	}
	if err := tags.aggregated(r.Unit, buckets.span(), effectsOn(r.Aggregates, effectOn)); err != nil {
		return nil, err
	}
	a := newAggregation(r, tags, buckets)
	if a.while, err = e.condition(r.While, buckets, !r.UseUncertain); err != nil {
		return nil, err
	}
	a.workers = e.budget.workers(windowsOf(buckets, tags), a.bytes)
	return a, nil
}

func newAggregation(r AggregatesRequest, tags *tagList, buckets *bucketing) *aggregation {
	a := &aggregation{request: r, effects: effectsOn(r.Aggregates, effectOn), tags: tags, bucketing: buckets, detail: storage.Plain, good: true}
	for _, x := range r.Aggregates {
		if !x.plain() {
			a.detail = storage.Full
		}
		switch x {
		case Minimum, Maximum, Range:
			a.asked.Extremes = true
		case TimeWeightedAverage:
			a.asked.Area = true
		case MinimumTime, MaximumTime, StandardDeviation:
			a.good = false
		}
	}
	return a
}

// bytes is what answering with so many workers may hold at once.
func (a *aggregation) bytes(workers int) int64 {
	names := 3*a.tags.nameBytes + 96*int64(len(a.tags.asked))
	rowBytes := int64(8+4+8+8) + 25*int64(len(a.request.Aggregates))
	rows := int64(a.rows())
	answers := int64(roundBuckets) * int64(25+48*len(a.request.Aggregates)) // bucketRow and cells
	if a.request.Fill.Rule == FillLinear {
		rows += 2 * windowBuckets // to look ahead
	}
	return names + 2*rows*rowBytes + int64(workers)*(cursorBytes+a.while.bytes()+2*windowBuckets*partialBytes+answers) + a.bucketing.bytes()
}

// rows is how many rows a record batch may get.
func (a *aggregation) rows() int {
	return int(min(int64(a.batchRows()), int64(a.count())*int64(len(a.tags.asked))))
}

// windowsOf is how many windows of a question there are at the most.
func windowsOf(b *bucketing, tags *tagList) int {
	return (b.count() + windowLeast - 1) / windowLeast * len(tags.asked)
}

func (a *aggregation) batchRows() int { return cmp.Or(a.request.BatchRows, DefaultBatchRows) }

// AggregatesSchema is the schema ReadAggregates will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) AggregatesSchema(r AggregatesRequest) (*arrow.Schema, error) {
	a, err := e.aggregation(r)
	if err != nil {
		return nil, err
	}
	return newAggregateEncoder(a, nil, nil).schema, nil
}

// ReadAggregates writes what r asks for to sink, a row per tag and bucket, and returns how many rows it wrote, also beside
// an error.
func (e *Engine) ReadAggregates(ctx context.Context, r AggregatesRequest, sink Sink) (uint64, error) {
	a, err := e.aggregation(r)
	if err != nil {
		return 0, err
	}
	return e.stream(ctx, a.tags, a.bytes(a.workers), r.Consistency, func(view View) (batches, error) {
		out := newAggregateEncoder(a, view.Lost(), sink)
		out.grow(a.rows())
		return out, a.run(ctx, view, out)
	})
}

// window is buckets [from, to) of one tag, and what came of them.
type window struct {
	asked
	from, to int
	rows     []bucketRow
	cells    []cell // of each row, one behind the other
	omitted  []bool // of each row, empty for none
	err      error
}

// worker is the memory that one goroutine calculates in. It is the same for all its windows, so that it stays in the
// cache: the partials of a window are hundreds of kilobytes.
type worker struct {
	pieces
	goods  storage.Goods
	behind []*rollup.Good
	calc   calculation
}

// workshop is memory that goes from answer to answer. Making it anew would cost as much as filling it.
type workshop struct {
	workers []worker
	windows []window
}

var workshops = sync.Pool{New: func() any { return new(workshop) }}

// giveBack gives a workshop back without what it refers to.
func (a *aggregation) giveBack(s *workshop) {
	if types := a.tags.types(); types.has(model.String) || types.has(model.Bytes) {
		*s = workshop{}
	}
	for i := range s.windows {
		w := &s.windows[i]
		w.asked, w.err = asked{}, nil
	}
	workshops.Put(s)
}

type bucketRow struct {
	time    int64
	quality model.Quality
	good    float64 // percent
	held    int64   // nanoseconds in which the condition held, where there is one
}

// run works on as many windows at a time as there are workers, round by round, and writes each round in order.
func (a *aggregation) run(ctx context.Context, view View, out *aggregateEncoder) error {
	n := a.count()
	size := min(windowBuckets, n)
	if each := (n + a.workers - 1) / a.workers; len(a.tags.asked) < a.workers {
		size = min(size, max(each, windowLeast))
	}
	perTag := (n + size - 1) / size
	total := perTag * len(a.tags.asked)
	round := min(a.workers*(roundBuckets/size), total)
	shop := workshops.Get().(*workshop)
	defer a.giveBack(shop)
	shop.workers = append(shop.workers, make([]worker, max(0, a.workers-len(shop.workers)))...)
	shop.windows = append(shop.windows, make([]window, max(0, round-len(shop.windows)))...)
	fills, ahead := newAggregateFiller(a, out.columns), window{}
	for done := 0; done < total; {
		now := shop.windows[:min(round, total-done)]
		for i := range now {
			w := &now[i]
			k := done + i
			w.asked = a.tags.asked[k/perTag]
			w.from = k % perTag * size
			w.to = min(w.from+size, n)
			w.rows, w.cells, w.omitted, w.err = w.rows[:0], w.cells[:0], w.omitted[:0], nil
		}
		spread(shop.workers[:a.workers], len(now), func(k *worker, i int) {
			now[i].err = a.window(ctx, view, out.columns, k, &now[i])
		})
		for i := range now {
			if a.request.Fill.Rule != FillNone && now[i].err == nil {
				now[i].err = fills.fill(ctx, view, &shop.workers[0], &now[i], &ahead)
			}
			if err := out.add(ctx, &now[i]); err != nil {
				return err
			}
			if err := now[i].err; err != nil {
				return fmt.Errorf("aggregates of tag %s: %w", now[i].describe(), err)
			}
		}
		done += len(now)
	}
	return nil
}

// window reads and calculates one window, of aggregates that have columns.
func (a *aggregation) window(ctx context.Context, view View, columns []*aggregateColumn, k *worker, w *window) error {
	k.while, k.conditionView = a.while, view
	defer k.close()
	view, tag, after := w.view(view, a.effects)
	w.asked = tag
	k.open(w.tag, a.edges[w.from:w.to+1])
	if good, err := a.goods(ctx, view, columns, k, w); err != nil {
		return err
	} else if !good {
		if err := a.partials(ctx, view, columns, k, w); err != nil {
			return err
		}
	}
	if after != nil {
		convertCells(w.cells, a.effects, *after)
	}
	if a.reverse() {
		slices.Reverse(w.rows)
		n := len(a.request.Aggregates)
		for i, k := 0, len(w.rows)-1; i < k; i, k = i+1, k-1 {
			for j := range n {
				w.cells[i*n+j], w.cells[k*n+j] = w.cells[k*n+j], w.cells[i*n+j]
			}
		}
	}
	return nil
}

// partials calculates the rows of the window that k was opened for, in ascending order, whatever its samples are.
func (a *aggregation) partials(ctx context.Context, view View, columns []*aggregateColumn, k *worker, w *window) error {
	k.view, k.detail = view, a.detail
	calc := &k.calc
	*calc = calculation{view: view, asked: w.asked, strict: !a.request.UseUncertain, areas: slices.Contains(a.request.Aggregates, TimeWeightedAverage)}
	for i := range w.to - w.from {
		calc.reset(k.bounds[i], k.bounds[i+1])
		if err := k.of(ctx, i, calc.add); err != nil {
			return err
		}
		calc.finish()
		if err := a.finish(ctx, calc, w, columns); err != nil {
			return err
		}
		if err := a.beyond(ctx, k, w, columns); err != nil {
			return err
		}
	}
	return nil
}

// calculation is of one bucket, of one or, where settings change inside, several intervals.
type calculation struct {
	view    View
	asked   asked
	strict  bool  // Uncertain is taken for Bad
	areas   bool  // integrals are asked for
	stepped *bool // in place of what the tag's settings say

	start, end int64
	all        rollup.Partial
	only       *rollup.Partial // the bucket where it is one interval
	durations  rollup.Durations
	area       float64
	covered    uint64
	changes    int64  // from one usable value to another, where before each piece the nearest usable sample is known
	huge       bool   // the integral is not finite, and a value at hand is huge
	unsure     bool   // it is not known whether samples are too far apart
	held       uint64 // nanoseconds of the pieces
}

func (c *calculation) reset(start, end int64) {
	c.start, c.end = start, end
	c.only, c.durations, c.area, c.covered, c.changes, c.huge, c.unsure, c.held = nil, rollup.Durations{}, 0, 0, 0, false, false, 0
}

// finish is called behind the last piece.
func (c *calculation) finish() {
	if c.only == nil { // the condition never held
		c.all = rollup.Partial{}
		c.only = &c.all
	}
}

// add adds a piece, in order.
func (c *calculation) add(x *piece) error {
	iv := &x.Interval
	iv.Hold = holdUntil(iv)
	d := iv.Durations()
	c.unsure = c.unsure || x.unsure
	c.held += uint64(iv.End) - uint64(iv.Start)
	switch {
	case c.only == nil && iv.End == c.end:
		c.only, c.durations = iv.In, d
	case c.only == nil: // the next piece may be of another batch
		c.all, c.durations = *iv.In, d
		c.only = &c.all
	default:
		c.all.Merge(iv.In)
		c.durations = addDurations(c.durations, d)
	}
	if n, ok := iv.Transitions(c.strict); ok {
		c.changes += n
	}
	if c.areas {
		rule := rollup.Rule{Stepped: c.asked.tag.At(iv.Start).Stepped, UncertainAsBad: c.strict}
		if c.stepped != nil {
			rule.Stepped = *c.stepped
		}
		if i, ok := iv.Integral(rule); ok {
			c.huge = c.huge || !model.Finite(i.Value) && hasHuge(iv.Before, iv.In, iv.After)
			c.area += i.Value
			c.covered += i.Covered
		}
	}
	return nil
}

// holdUntil is one nanosecond, the resolution of time, behind the last sample there is: nothing is known behind it.
func holdUntil(iv *rollup.Interval) int64 {
	last, ok := iv.In.LastTime()
	if !ok {
		last, ok = iv.Before.LastTime()
	}
	if !ok || last >= iv.End {
		return iv.End
	}
	return last + 1
}

func addDurations(a, b rollup.Durations) rollup.Durations {
	a.GoodToGood += b.GoodToGood
	a.GoodToUncertain += b.GoodToUncertain
	a.GoodToNone += b.GoodToNone
	a.Uncertain += b.Uncertain
	a.Bad += b.Bad
	a.Null += b.Null
	a.Gap += b.Gap
	a.NotCovered += b.NotCovered
	return a
}

// good is the nanoseconds of the bucket under usable samples.
func (c *calculation) good() uint64 {
	g := c.durations.Good()
	if !c.strict {
		g += c.durations.Uncertain
	}
	return g
}

// quality is that of the bucket by time: PercentDataGood and PercentDataBad of Part 13 are both 100.
func (c *calculation) quality() model.Quality {
	if c.held == 0 {
		return c.momentary()
	}
	q := qualityOf(c.good(), c.held, c.durations.NotCovered == c.held && c.only.Counts().All() == 0)
	if q == model.Good && c.unsure {
		return model.UncertainDataSubNormal
	}
	return q
}

// momentary is the quality of a bucket without time that counts. In reverse it can have that of its later edge all the same.
func (c *calculation) momentary() model.Quality {
	last := c.only.LastPoint()
	switch {
	case c.only.Counts().All() == 0:
		return model.BadNoData
	case last.Usable(c.strict):
		return model.Good
	}
	return model.Bad
}

// qualityOf is the quality of a bucket by the nanoseconds under usable samples and its length; nothing says that there is
// neither sample nor shape.
func qualityOf(good, length uint64, nothing bool) model.Quality {
	switch {
	case good == length:
		return model.Good
	case good > 0:
		return model.UncertainDataSubNormal
	case nothing:
		return model.BadNoData
	}
	return model.Bad
}

// finish appends the row of a bucket to its window.
func (a *aggregation) finish(ctx context.Context, c *calculation, w *window, columns []*aggregateColumn) error {
	length := uint64(c.end) - uint64(c.start)
	row := bucketRow{time: c.start, quality: c.quality(), held: int64(min(c.held, math.MaxInt64)), good: 100 * float64(c.good()) / float64(length)}
	if a.reverse() {
		row.time = c.end
	}
	stats, _ := c.only.Stats(c.strict)
	for i, x := range a.request.Aggregates {
		v, err := c.cell(ctx, x, columns[i], &stats)
		if err != nil {
			return err
		}
		w.cells = append(w.cells, v)
	}
	w.rows = append(w.rows, row)
	return nil
}

func (c *calculation) cell(ctx context.Context, x Aggregate, col *aggregateColumn, stats *rollup.Stats) (cell, error) {
	p := c.only
	switch x {
	case Count:
		n := p.Counts()
		all := n.Good
		if !c.strict {
			all += n.Uncertain
		}
		return cell{bits: uint64(all), valid: true}, nil
	case PercentGood: // has a column in every answer
		return cell{}, nil
	case DurationGood:
		return cell{bits: c.good(), valid: true}, nil
	case WorstQuality:
		q, ok := p.WorstQuality()
		return cell{bits: uint64(q), valid: ok}, nil
	case First, Last:
		at, ok := p.FirstUsable(c.strict)
		if x == Last {
			at, ok = p.LastUsable(c.strict)
		}
		if !ok {
			return cell{}, nil
		}
		if at.Cut {
			blob, err := c.readBlob(ctx, &at)
			return cell{blob: blob, valid: true}, err
		}
		return col.value(at.Type, at.Bits, at.Blob), nil
	case TimeWeightedAverage:
		if c.covered == 0 {
			return cell{}, nil
		}
		return floatCell(c.area / float64(c.covered)), nil
	}
	return col.statistic(x, p.Type(), stats)
}

// statistic is a cell that follows from the statistics of samples of a type.
func (c *aggregateColumn) statistic(x Aggregate, t model.Type, stats *rollup.Stats) (cell, error) {
	if stats.N() == 0 {
		return cell{}, nil
	}
	switch x {
	case Sum:
		return c.sum(stats), nil
	case Minimum, Maximum, MinimumTime, MaximumTime:
		e, _ := stats.Min()
		if x == Maximum || x == MaximumTime {
			e, _ = stats.Max()
		}
		if x == MinimumTime || x == MaximumTime {
			return cell{bits: uint64(e.Time), valid: true}, nil
		}
		return c.value(t, e.Bits, nil), nil
	case Range:
		return floatCell(stats.Range()), nil
	case StandardDeviation:
		return floatCell(math.Sqrt(stats.SampleVariance())), nil
	case EventWeightedAverage:
		return floatCell(stats.Mean()), nil
	}
	return cell{}, fmt.Errorf("%s: %w", x, ErrBadRequest)
}

// readBlob reads a text that is too long for a partial.
func (c *calculation) readBlob(ctx context.Context, at *rollup.Point) ([]byte, error) {
	cursor := c.view.Samples(c.asked.tag.ID, model.TimeRange{Start: at.Time, End: at.Time + 1})
	defer cursor.Close()
	for {
		b, err := cursor.Next(ctx)
		if err == io.EOF {
			return nil, fmt.Errorf("sample at %s, seq %d: %w", model.FormatTime(at.Time), at.Seq, storage.ErrCorrupt)
		}
		if err != nil {
			return nil, err
		}
		for i := range b.Len() {
			if b.SeqAt(i) == at.Seq {
				return slices.Clone(b.Blobs[i]), nil
			}
		}
	}
}

// aggregateEncoder gathers rows of windows into record batches.
type aggregateEncoder struct {
	recordWriter
	columns []*aggregateColumn // of the aggregates, in the order asked; nil for percent_good, which is there anyway
	maxRows int

	times   []int64
	tag     tagColumn
	quality []uint32
	good    []float64
	while   *longColumn  // nil where no condition is asked
	labels  *labelColumn // nil where no calendar is asked
}

func newAggregateEncoder(a *aggregation, lost []storage.OffsetRange, sink Sink) *aggregateEncoder {
	e := &aggregateEncoder{maxRows: a.batchRows(), tag: tagColumn{dictionary: a.tags.dictionary()}}
	fields := []arrow.Field{{Name: "time", Type: timeType}, e.tag.field()}
	types := a.tags.types()
	for _, x := range a.request.Aggregates {
		c := newAggregateColumn(x, types)
		if a.tags.unit != "" {
			c.inUnit(a.tags.unit, effectOn(x))
		}
		e.columns = append(e.columns, c)
		if x != PercentGood {
			fields = append(fields, c.field())
		}
	}
	fields = append(fields, arrow.Field{Name: "quality", Type: arrow.PrimitiveTypes.Uint32},
		arrow.Field{Name: PercentGood.String(), Type: arrow.PrimitiveTypes.Float64})
	if a.while != nil {
		e.while = &longColumn{}
		fields = append(fields, whileField)
	}
	if a.labels != nil {
		e.labels = &labelColumn{labels: a.labels}
		fields = append(fields, e.labels.field())
	}
	e.recordWriter = newRecordWriter(arrow.NewSchema(fields, lostMetadata(lost)), sink)
	return e
}

// grow makes room for the rows of a record batch.
func (e *aggregateEncoder) grow(rows int) {
	e.times, e.tag.indices = slices.Grow(e.times, rows), slices.Grow(e.tag.indices, rows)
	e.quality, e.good = slices.Grow(e.quality, rows), slices.Grow(e.good, rows)
	for _, c := range e.columns {
		if c.kind == cell64 {
			c.bits = slices.Grow(c.bits, rows)
		}
	}
}

func (e *aggregateEncoder) add(ctx context.Context, w *window) error {
	for from := 0; from < len(w.rows); {
		to := min(len(w.rows), from+e.maxRows-len(e.times))
		if e.hasBlobs() { // how large the next row is shows once it is there
			to = from + 1
		}
		if len(w.omitted) > 0 {
			if w.omitted[from] {
				from++
				continue
			}
			for to = from + 1; to < min(len(w.rows), from+e.maxRows-len(e.times)) && !w.omitted[to] && !e.hasBlobs(); {
				to++
			}
		}
		e.append(w, from, to)
		if from = to; len(e.times) >= e.maxRows || e.blobBytes() >= batchBlobBytes {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// append adds rows [from, to) of a window, column by column.
func (e *aggregateEncoder) append(w *window, from, to int) {
	for i, r := range w.rows[from:to] {
		if e.labels != nil {
			e.labels.append(w.from + from + i)
		}
		e.times = append(e.times, r.time)
		e.tag.indices = append(e.tag.indices, w.index)
		e.quality = append(e.quality, uint32(r.quality))
		e.good = append(e.good, r.good)
		if e.while != nil {
			*e.while = append(*e.while, r.held)
		}
	}
	n := len(e.columns)
	for k, c := range e.columns {
		if c.name == PercentGood.String() {
			continue
		}
		for i := from; i < to; i++ {
			c.append(w.cells[i*n+k])
		}
	}
}

func (e *aggregateEncoder) hasBlobs() bool {
	return slices.ContainsFunc(e.columns, func(c *aggregateColumn) bool { return c.kind == cellBlob })
}

func (e *aggregateEncoder) blobBytes() (n int) {
	for _, c := range e.columns {
		n += len(c.blobs.data)
	}
	return n
}

func (e *aggregateEncoder) flush(ctx context.Context) error {
	rows := len(e.times)
	if rows == 0 {
		return nil
	}
	defer e.reset()
	columns := []arrow.ArrayData{fixedData(timeType, rows, nil, bytesOf(e.times)), e.tag.array()}
	for _, c := range e.columns {
		if c.name != PercentGood.String() {
			columns = append(columns, c.array())
		}
	}
	columns = append(columns,
		fixedData(arrow.PrimitiveTypes.Uint32, rows, nil, bytesOf(e.quality)),
		fixedData(arrow.PrimitiveTypes.Float64, rows, nil, arrow.Float64Traits.CastToBytes(e.good)))
	if e.while != nil {
		columns = append(columns, e.while.array())
	}
	if e.labels != nil {
		columns = append(columns, e.labels.array())
	}
	return e.writeColumns(ctx, rows, columns)
}

func (e *aggregateEncoder) reset() {
	for _, c := range e.columns {
		c.reset()
	}
	e.tag.reset()
	e.times, e.quality, e.good = e.times[:0], e.quality[:0], e.good[:0]
	if e.while != nil {
		*e.while = (*e.while)[:0]
	}
	if e.labels != nil {
		e.labels.reset()
	}
}
