package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
)

// MaxWideColumns is how many columns a wide answer may have, that of the times apart; it stands in query.proto.
const MaxWideColumns = 4000

// WideMode says what the cells of a wide answer are.
type WideMode uint8

const (
	WideAsOf         WideMode = iota + 1 // the last sample at or before the instant of the row, whatever its quality
	WideInterpolated                     // what ReadAtTimes answers
	WideAggregate                        // an aggregate of the bucket that the row is
	afterWideModes
)

// WideRequest asks for a table of a row per instant, or bucket, and a column per tag. docs/reference/wide.md has the rules.
//
// Rows stand where Buckets begin; of WideAsOf and WideInterpolated, which are of instants, Start equal to End is that instant, and
// Edges are not asked for. Or they stand at the times of the samples of OnSamplesOf between Start and End, as of a RangeRequest.
type WideRequest struct {
	Tags
	Buckets
	OnSamplesOf string // name of a tag; empty for Buckets
	Mode        WideMode
	WithQuality bool // a column of the status code behind that of each tag
	Consistency storage.Consistency
	BatchRows   int    // rows per record batch, 1 to MaxBatchRows; 0 for as many as keep it near 2 MiB
	Unit        string // UCUM code of the unit of the values, which are doubles then; empty: as they are stored

	MaxAge       int64  // of WideAsOf: nanoseconds that the sample may be older than its row; 0 for any
	AsOf         *int64 // as of RangeRequest; not of aggregates
	Stepped      *bool  // of WideInterpolated and Function, in place of what the settings of a tag say
	BridgeBad    bool   // of WideInterpolated, as of AtTimesRequest
	UseUncertain bool   // of WideInterpolated and Aggregate; of Function see Configuration

	// Of WideAggregate one of the two, as of AggregatesRequest and ProcessedRequest.
	Aggregate     Aggregate
	Function      part13.Aggregate
	Configuration part13.Configuration
	Resolution    int64
	Fill          Fill
	While         string // of Aggregate, as of AggregatesRequest
}

func (r *WideRequest) check() error {
	per := 1
	if r.WithQuality {
		per = 2
	}
	if err := r.Tags.check(MaxWideColumns / per); err != nil {
		return fmt.Errorf("%d columns per tag, %d columns in all: %w", per, MaxWideColumns, err)
	}
	aggregate := r.Mode == WideAggregate
	switch {
	case r.Mode == 0 || r.Mode >= afterWideModes:
		return fmt.Errorf("wide mode %d, which is none: %w", r.Mode, ErrBadRequest)
	case r.BatchRows < 0 || r.BatchRows > MaxBatchRows:
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	case r.MaxAge < 0 || r.MaxAge > 0 && r.Mode != WideAsOf:
		return fmt.Errorf("largest age %d ns: must be positive, and goes with the mode asof only: %w", r.MaxAge, ErrBadRequest)
	case aggregate == (r.Aggregate == 0 && r.Function == 0) || r.Aggregate != 0 && r.Function != 0:
		return fmt.Errorf("mode aggregate and one aggregate go together: %w", ErrBadRequest)
	case aggregate && (r.AsOf != nil || r.OnSamplesOf != ""):
		return fmt.Errorf("aggregates as of an earlier time or on the samples of a tag: %w", ErrBadRequest)
	case r.Mode == WideAsOf && r.UseUncertain || r.BridgeBad && r.Mode != WideInterpolated:
		return fmt.Errorf("bridge_bad goes with the mode interpolated only, use_uncertain not with asof: %w", ErrBadRequest)
	case r.Stepped != nil && r.Mode != WideInterpolated && r.Function == 0:
		return fmt.Errorf("stepped goes with the mode interpolated and aggregates of Part 13 only: %w", ErrBadRequest)
	case !aggregate && r.Fill != (Fill{}):
		return fmt.Errorf("fill goes with the mode aggregate only: %w", ErrBadRequest)
	case r.While != "" && r.Function != 0:
		return refuseWhile(r.Function)
	case r.While != "" && !aggregate:
		return fmt.Errorf("while goes with the mode aggregate only: %w", ErrBadRequest)
	case len(r.Edges) > 0:
		return fmt.Errorf("edges of buckets of a wide answer: %w", ErrBadRequest)
	case r.Function != 0:
		p := ProcessedRequest{Tags: r.Tags, Functions: []Function{Standard(r.Function)}, Configuration: r.Configuration, Resolution: r.Resolution}
		return p.check()
	}
	return nil
}

// wide is one checked request.
type wide struct {
	request WideRequest
	tags    *tagList
	grid    *bucketing // nil for rows on samples
	times   []int64    // of all rows of the grid, in the order of the answer
	on      asked      // whose samples make the rows
	columns []wideColumn
	last    int64 // instant as of which names and settings are read
	workers int

	batchRows, windowRows int
	while                 *condition
}

func (e *Engine) wide(r WideRequest) (*wide, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Resolution == 0 {
		r.Resolution = DefaultTimeResolution
	}
	x := &wide{request: r}
	if err := x.rows(e); err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	named := namesAt(catalog, x.last)
	in := model.Between(r.Start, r.End)
	if x.grid != nil {
		in = x.grid.span()
	}
	tags, err := resolve(catalog, r.Tags, in, named)
	if err != nil {
		return nil, err
	}
	x.tags = tags
	if err := tags.within(in); err != nil {
		return nil, err
	}
	if err := tags.workedOut(r.Unit, in); err != nil {
		return nil, err
	}
	if r.OnSamplesOf != "" {
		tag, ok := named(r.OnSamplesOf)
		if !ok {
			return nil, fmt.Errorf("tag %.200q, whose samples make the rows: %w", r.OnSamplesOf, model.ErrTagNotFound)
		}
		x.on = asked{tag: tag}
		if err := x.on.within(in); err != nil {
			return nil, err
		}
	}
	if err := x.makeColumns(); err != nil {
		return nil, err
	}
	if r.While != "" {
		if x.while, err = e.condition(r.While, x.grid, !r.UseUncertain); err != nil {
			return nil, err
		}
	}
	x.size(e.budget.share)
	return x, nil
}

// rows finds out where the rows stand, unless that is on samples.
func (x *wide) rows(e *Engine) error {
	r := &x.request
	if r.OnSamplesOf != "" {
		if r.Step != 0 || r.Every != "" || r.Zone != "" || len(r.Calendar) > 0 {
			return fmt.Errorf("rows on the samples of %.200q beside step, every, zone or calendar: %w", r.OnSamplesOf, ErrBadRequest)
		}
		ranged := RangeRequest{Tags: Tags{Names: []string{r.OnSamplesOf}}, Start: r.Start, End: r.End}
		x.last = max(model.Between(r.Start, r.End).End, model.MinTime) - 1
		return ranged.check()
	}
	if r.Mode != WideAggregate && r.Start == r.End && r.Every == "" {
		x.grid, x.times, x.last = &bucketing{edges: []int64{r.Start, r.Start}}, []int64{r.Start}, r.Start
		return checkEdges(x.times)
	}
	if r.Mode != WideAggregate && r.Step == 0 && r.Every == "" {
		return fmt.Errorf("instants without step or every: at what distance? %w", ErrBadRange)
	}
	grid, err := e.buckets(r.Buckets)
	if err != nil {
		return err
	}
	x.grid, x.times = grid, grid.edges[:grid.count()]
	x.last = max(grid.edges[0], grid.edges[grid.count()]-1)
	return nil
}

// WideSchema is the schema ReadWide will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) WideSchema(r WideRequest) (*arrow.Schema, error) {
	x, err := e.wide(r)
	if err != nil {
		return nil, err
	}
	return x.schema(nil), nil
}

// Sizes of what a wide answer works in. Where the columns of a window would take more than windowBytes it is shorter; then each
// tag is looked for again in the next one.
const (
	wideWindowBytes = 16 << 20
	wideBatchBytes  = 2 << 20
	wideTextBytes   = 8 << 20 // text in a window
	wideColumnBytes = 1 << 10 // of a column whatever its rows: schema, builders, arrays
)

// size decides how many rows are worked on and sent at once, by how many workers, within a share of memory.
func (x *wide) size(share int64) {
	row := x.rowBytes()
	x.batchRows = x.request.BatchRows
	if x.batchRows == 0 {
		x.batchRows = int(min(DefaultBatchRows, max(1, wideBatchBytes/row)))
	}
	if x.grid != nil {
		x.batchRows = min(x.batchRows, len(x.times))
	}
	left := share - x.fixedBytes()
	x.workers = min(processors(), 8, len(x.columns), int(max(1, left/2/x.workerBytes())))
	window := min(left-int64(x.workers)*x.workerBytes(), wideWindowBytes) / row
	batches := min(window, maxWindow) / int64(x.batchRows)
	x.windowRows = x.batchRows * int(max(1, batches))
	if x.grid != nil {
		x.windowRows = min(x.windowRows, len(x.times))
	}
}

// bytes is what answering may hold at once.
func (x *wide) bytes() int64 {
	return x.fixedBytes() + int64(x.workers)*x.workerBytes() + int64(x.windowRows)*x.rowBytes()
}

// fixedBytes is names, columns whatever their rows, the batch being sent and the message made of it, and text.
func (x *wide) fixedBytes() int64 {
	n := 3*x.tags.nameBytes + wideColumnBytes*int64(len(x.columns)) + 2*int64(x.batchRows)*x.rowBytes()
	if x.request.Fill.Rule != FillNone {
		n += wideColumnBytes * int64(len(x.columns))
	}
	if x.grid != nil {
		n += x.grid.bytes()
	}
	if slices.ContainsFunc(x.columns, func(c wideColumn) bool { return c.typ.Blob() }) {
		n += wideTextBytes + model.MaxBlobBytes + 2*(batchBlobBytes+model.MaxBlobBytes)
	}
	return n
}

// workerBytes is what one worker has for itself.
func (x *wide) workerBytes() int64 {
	if x.request.Mode == WideAggregate {
		return cursorBytes + x.while.bytes() + windowBuckets*(2*partialBytes+2*processedRowBytes)
	}
	return cursorBytes + 5*maxWindow
}

// rowBytes is what a row takes in the columns, text apart.
func (x *wide) rowBytes() int64 {
	n := int64(8)
	for i := range x.columns {
		n += 8 + 1 + 1 // value, null, answered
		if x.columns[i].typ.Blob() {
			n += 24
		}
		if x.request.WithQuality || x.request.Mode == WideAggregate {
			n += 4
		}
	}
	return n
}

// ReadWide writes what r asks for to sink and returns how many rows it wrote, also beside an error.
func (e *Engine) ReadWide(ctx context.Context, r WideRequest, sink Sink) (uint64, error) {
	x, err := e.wide(r)
	if err != nil {
		return 0, err
	}
	return e.stream(ctx, x.tags, x.bytes(), r.Consistency, func(view View) (batches, error) {
		out := newWideEncoder(x, view.Lost(), sink)
		return out, x.run(ctx, view, e.store.Catalog(), out)
	})
}

// wideWindow is some consecutive rows of the answer.
type wideWindow struct {
	first     int     // row of the grid
	times     []int64 // in the order of the answer
	ascending []int64 // the same in ascending order
	texts     atomic.Int64
}

// set makes the window one of rows from first on.
func (w *wideWindow) set(first int, times []int64) {
	w.first, w.times, w.ascending = first, times, times
	w.texts.Store(0)
	if times[0] > times[len(times)-1] {
		w.ascending = slices.Clone(times)
		slices.Reverse(w.ascending)
	}
}

// errTexts says that a window has more text than wideTextBytes.
var errTexts = errors.New("text of a window")

// addTexts counts text that a worker keeps until the window is written.
func (w *wideWindow) addTexts(n int) error {
	if w.texts.Add(int64(n)) > wideTextBytes {
		return errTexts
	}
	return nil
}

// run fills window by window, tag by tag, and writes each. A window with too much text is begun anew, shorter.
func (x *wide) run(ctx context.Context, view View, catalog Catalog, out *wideEncoder) error {
	readers := make([]wideReader, x.workers)
	for i := range readers {
		readers[i] = x.reader(view, newStateTexts(catalog))
		defer readers[i].close()
	}
	source := x.source(view)
	defer source.close()
	var w wideWindow
	for first, most := 0, x.windowRows; ; {
		times, err := source.next(ctx, most)
		if err != nil || len(times) == 0 {
			return err
		}
		for len(times) > 0 {
			w.set(first, times[:min(most, len(times))])
			switch err := x.fill(ctx, readers, &w); {
			case errors.Is(err, errTexts) && most > 1:
				most = (min(most, len(times)) + 1) / 2
				continue
			case errors.Is(err, errTexts):
				return fmt.Errorf("more than %d bytes of text in the row of %s: ask for fewer tags: %w", wideTextBytes, model.FormatTime(times[0]), ErrTooLarge)
			case err != nil:
				return err
			}
			n := len(w.times)
			if x.request.Fill.Rule == FillOmit {
				x.omit(&w)
			}
			if err := out.add(ctx, x.columns, w.times); err != nil {
				return err
			}
			first, times = first+n, times[n:]
		}
	}
}

// fill calculates the cells of a window, up to a fault.
func (x *wide) fill(ctx context.Context, readers []wideReader, w *wideWindow) error {
	var failed atomic.Bool
	spread(readers, len(x.columns), func(r *wideReader, i int) {
		c := &x.columns[i]
		if c.err = nil; failed.Load() {
			return
		}
		if c.err = (*r).read(ctx, c, w); c.err != nil {
			failed.Store(true)
		}
	})
	for i := range x.columns {
		if err := x.columns[i].err; err != nil {
			return fmt.Errorf("column of tag %s: %w", x.columns[i].describe(), err)
		}
	}
	return nil
}

// omit leaves out the rows of a window in which nothing is known of any tag.
func (x *wide) omit(w *wideWindow) {
	kept := make([]int, 0, len(w.times))
	for i := range w.times {
		if slices.ContainsFunc(x.columns, func(c wideColumn) bool { return !c.holes[i] }) {
			kept = append(kept, i)
		}
	}
	if len(kept) == len(w.times) {
		return
	}
	times := make([]int64, 0, len(kept))
	for _, i := range kept {
		times = append(times, w.times[i])
	}
	w.times = times
	for i := range x.columns {
		x.columns[i].choose(kept)
		x.columns[i].settle(times)
	}
}

// makeColumns finds the columns of the answer and refuses names that are there twice.
func (x *wide) makeColumns() error {
	names := map[string]bool{"time": true}
	claim := func(name string, a asked) error {
		if names[name] {
			return fmt.Errorf("two columns would be named %.200q, one of them for tag %s: ask for each tag once, and for one with the name of another column by itself: %w", name, a.describe(), ErrBadRequest)
		}
		names[name] = true
		return nil
	}
	x.columns = make([]wideColumn, len(x.tags.asked))
	for i, a := range x.tags.asked {
		c := &x.columns[i]
		c.asked, c.name = a, x.tags.names[a.index]
		typ, err := x.cellType(a)
		if err != nil {
			return err
		}
		c.typ, c.values = typ, wideValues(typ)
		if x.request.Fill.Rule != FillNone {
			f := Standard(x.request.Function)
			if x.request.Aggregate != 0 {
				f = Function{name: x.request.Aggregate.String(), own: x.request.Aggregate}
			}
			if err := x.request.Fill.check(f, a.tag.Current().Type, typ); err != nil {
				return fmt.Errorf("tag %s: %w", a.describe(), err)
			}
		}
		if err := claim(c.name, a); err != nil {
			return err
		}
		if x.request.WithQuality {
			c.quality = &qualityColumn{}
			if err := claim(c.name+":q", a); err != nil {
				return err
			}
		}
	}
	return nil
}

// cellType is what the cells of a tag are.
func (x *wide) cellType(a asked) (model.Type, error) {
	typ := a.valueType()
	switch r := &x.request; {
	case r.Function != 0:
		if !r.Function.Of(typ) {
			return 0, fmt.Errorf("%s of tag %s, which is of type %s: %w", r.Function, a.describe(), typ, ErrBadRequest)
		}
		return wideType(r.Function.Type(typ, r.Configuration)), nil
	case r.Aggregate != 0:
		if err := r.Aggregate.checkNumbers(&tagList{asked: []asked{a}}); err != nil {
			return 0, err
		}
		return wideType(r.Aggregate.wideType(typ)), nil
	}
	return wideType(typ), nil
}

// schema is time and, for each tag, a column that says in its metadata what the tag is.
func (x *wide) schema(lost []storage.OffsetRange) *arrow.Schema {
	fields := []arrow.Field{{Name: "time", Type: timeType}}
	for i := range x.columns {
		c := &x.columns[i]
		f := c.values.field()
		f.Name, f.Metadata = c.name, x.metadata(c.tag)
		fields = append(fields, f)
		if c.quality != nil {
			q := c.quality.field()
			q.Name = c.name + ":q"
			fields = append(fields, q)
		}
	}
	return arrow.NewSchema(fields, lostMetadata(lost))
}

// metadata is what a column's field says of its tag.
func (x *wide) metadata(tag *model.Tag) arrow.Metadata {
	s, id := tag.At(x.last), tag.Owner()
	if x.tags.calculations[tag.ID] != nil {
		id = 0 // none of the catalogue
	}
	return arrow.NewMetadata([]string{"tag_id", "unit", "stepped", "state_set"},
		[]string{strconv.FormatUint(uint64(id), 10), cmp.Or(x.tags.unit, s.Unit), strconv.FormatBool(s.Stepped || s.Type.AlwaysStepped()), s.StateSet})
}

// maxAge is how old a sample may be, any where the request does not say.
func (x *wide) maxAge() uint64 {
	if x.request.MaxAge > 0 {
		return uint64(x.request.MaxAge)
	}
	return math.MaxUint64
}
