package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/lttb"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/query/plot"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// Limits on what one request for a plot may ask. They stand in query.proto.
const (
	MaxPlotWidth   = 1 << 14
	MaxLTTB        = 1 << 16
	MaxLTTBSamples = 1 << 20 // of one tag in the range
)

// PlotRequest asks for what a chart of [Start, End) shows of tags: of so many columns of pixels, or by LTTB.
type PlotRequest struct {
	Tags
	Start, End   int64          // nanoseconds UTC
	Width        int            // columns of pixels, 1 to MaxPlotWidth
	LTTB         int            // in place of Width: samples to keep, 2 to MaxLTTB
	MaxGap       *time.Duration // how far a line may lead from sample to sample, 0 for any distance; nil for what the settings say at the end of the range
	UseUncertain bool           // takes Uncertain samples for usable, see AggregatesRequest
	AsOf         *int64         // as of RangeRequest
	Consistency  storage.Consistency
	BatchRows    int    // rows per record batch, 1 to MaxBatchRows; 0 for DefaultBatchRows
	Unit         string // UCUM code of the unit of the values; empty: as they are stored
}

func (r *PlotRequest) check() error {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return err
	}
	switch {
	case r.BatchRows < 0 || r.BatchRows > MaxBatchRows:
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	case r.Width != 0 && r.LTTB != 0:
		return fmt.Errorf("plot of %d pixels and of %d samples: give one: %w", r.Width, r.LTTB, ErrBadRequest)
	case r.LTTB == 0 && (r.Width < 1 || r.Width > MaxPlotWidth):
		return fmt.Errorf("plot of %d pixels, least is 1, most is %d: %w", r.Width, MaxPlotWidth, ErrBadRequest)
	case r.LTTB != 0 && (r.LTTB < 2 || r.LTTB > MaxLTTB):
		return fmt.Errorf("plot of %d samples, least is 2, most is %d: %w", r.LTTB, MaxLTTB, ErrBadRequest)
	case r.MaxGap != nil && *r.MaxGap < 0:
		return fmt.Errorf("largest gap is %s, must not be negative: %w", *r.MaxGap, ErrBadRequest)
	case r.Start >= r.End:
		return fmt.Errorf("plot from %s to %s: the end must be behind the start: %w", model.FormatTime(r.Start), model.FormatTime(r.End), ErrBadRange)
	}
	return checkEdges([]int64{r.Start, r.End})
}

// plotting is one checked request.
type plotting struct {
	request PlotRequest
	tags    *tagList
	grid    plot.Grid
	edges   []int64 // of the columns, each once
}

func (e *Engine) plotting(r PlotRequest) (*plotting, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	in := model.TimeRange{Start: r.Start, End: r.End}
	tags, err := resolve(catalog, r.Tags, in, namesAt(catalog, r.End-1))
	if err != nil {
		return nil, err
	}
	if err := tags.within(in); err != nil {
		return nil, err
	}
	if err := tags.workedOut(r.Unit, in); err != nil {
		return nil, err
	}
	for _, a := range tags.asked {
		if typ := a.tag.Current().Type; typ.Blob() {
			return nil, fmt.Errorf("plot of tag %s, which is of type %s: %w", a.describe(), typ, ErrBadRequest)
		}
	}
	p := &plotting{request: r, tags: tags, grid: plot.Grid{Start: r.Start, End: r.End, Width: r.Width}}
	for i := 0; i <= r.Width && r.Width > 0; i++ {
		p.edges = append(p.edges, p.grid.Edge(i))
	}
	p.edges = slices.Compact(p.edges)
	return p, nil
}

func (p *plotting) batchRows() int { return cmp.Or(p.request.BatchRows, DefaultBatchRows) }

// bytes is what answering may hold at once: the names, the columns being filled and those on their way, and what is gathered of
// one tag, while it grows.
func (p *plotting) bytes() int64 {
	names := 3*p.tags.nameBytes + 96*int64(len(p.tags.asked))
	const perRow, perSample = 48, 20
	gathered := 2 * perRow * int64(6*p.request.Width+2)
	most := int64(6*p.request.Width + 2)
	if p.request.LTTB > 0 {
		gathered = perSample * MaxLTTBSamples * 3 / 2
		most = MaxLTTBSamples
	}
	rows := min(int64(p.batchRows()), most*int64(len(p.tags.asked)))
	return names + 2*rows*plotRowBytes + gathered + 8*int64(len(p.edges)) + cursorBytes
}

// PlotSchema is the schema ReadPlot will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) PlotSchema(r PlotRequest) (*arrow.Schema, error) {
	p, err := e.plotting(r)
	if err != nil {
		return nil, err
	}
	return newPlotEncoder(p, nil, nil).schema, nil
}

// ReadPlot writes what r asks for to sink, tag by tag in the order asked, each in time order, and returns how many rows it wrote,
// also beside an error.
func (e *Engine) ReadPlot(ctx context.Context, r PlotRequest, sink Sink) (uint64, error) {
	p, err := e.plotting(r)
	if err != nil {
		return 0, err
	}
	read := p.byPixels
	if r.LTTB > 0 {
		read = p.byLTTB
	}
	return e.stream(ctx, p.tags, p.bytes(), r.Consistency, func(view View) (batches, error) {
		out := newPlotEncoder(p, view.Lost(), sink)
		for _, a := range p.tags.asked {
			if err := read(ctx, view, a, out); err != nil {
				return out, fmt.Errorf("plot of tag %s: %w", a.describe(), err)
			}
		}
		return out, nil
	})
}

// maxGap is how far apart samples may be that a line of the tag leads between; 0 for any distance.
func (p *plotting) maxGap(tag *model.Tag) time.Duration {
	if p.request.MaxGap != nil {
		return *p.request.MaxGap
	}
	return tag.At(p.request.End - 1).MaxGap
}

// drawn is sample i as a number; false where the line breaks there.
func (p *plotting) drawn(s *model.Samples, i int) (v float64, q model.Quality, ok bool) {
	q = s.QualityAt(i)
	if q.IsBad() || q.IsUncertain() && !p.request.UseUncertain || s.IsNull(i) {
		return math.NaN(), q, false
	}
	v = part13.Number(&model.Sample{Type: s.Type, Bits: s.Bits[i]})
	return v, q, model.Finite(v)
}

// byPixels writes the rows of a tag for each column of pixels.
func (p *plotting) byPixels(ctx context.Context, view View, a asked, out *plotEncoder) error {
	reducer, err := plot.NewReducer(p.grid)
	if err != nil {
		return err
	}
	pen := &pen{plotting: p, asked: a, reducer: reducer, maxGap: p.maxGap(a.tag)}
	if p.request.AsOf == nil {
		err = view.Offer(ctx, a.tag.ID, p.edges, pen)
	} else {
		err = p.stood(ctx, view, a, pen)
	}
	if err = errors.Join(err, pen.err); err != nil {
		return err
	}
	for _, r := range reducer.Rows() {
		row := plotRow{kind: r.Kind, time: r.Time, value: r.Value, worst: r.Worst, gap: r.Inner || r.Kind == plot.Gap}
		if r.Column >= 0 && r.Column < p.grid.Width {
			row.bucket, row.inside = p.grid.Edge(r.Column), true
		}
		if err := out.add(ctx, a, row); err != nil {
			return err
		}
	}
	return nil
}

// stood hands pen the samples that stood at an earlier time, with those next to the range. No rollup knows them.
func (p *plotting) stood(ctx context.Context, view View, a asked, pen *pen) error {
	a.unit = nil // the pen converts
	read := rangeRead{near: emptyShape(view, a, p.request.AsOf)}
	defer read.near.Close()
	first := func(b *storage.Block, err error) error {
		if b != nil {
			s := b.Slice(0, 1)
			pen.Samples(&s)
		}
		return err
	}
	if err := first(read.next(ctx, a, p.grid.Start-1, true)); err != nil {
		return err
	}
	err := p.samples(ctx, read.near, a, func(s *model.Samples) error {
		pen.Samples(s)
		return nil
	})
	if err != nil {
		return err
	}
	return first(read.next(ctx, a, p.grid.End, false))
}

// samples hands over the samples of the range, and as samples that are Bad the breaks that gaps make.
func (p *plotting) samples(ctx context.Context, c Cursor, a asked, take func(*model.Samples) error) error {
	c.Reset(a.tag.ID, model.TimeRange{Start: p.grid.Start, End: p.grid.End})
	for {
		b, err := c.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(&b.Samples); err != nil {
			return err
		}
	}
}

// pen draws the line of one tag: a storage.Taker whose rollups are the intervals they make.
type pen struct {
	*plotting
	asked
	reducer *plot.Reducer
	maxGap  time.Duration
	last    int64    // time of the sample that a line leads on from
	down    bool     // there is one
	err     error    // why nothing is drawn any more
	bits    []uint64 // of samples in another unit
}

// interval is what a rollup shows; false where its samples must be read, also because they have several units, or leave the doubles.
func (p *pen) interval(x *rollup.Partial) (in plot.Interval, ok bool) {
	in, ok = plot.OfPartial(x, !p.request.UseUncertain)
	if p.unit == nil || !ok || !in.Drawn {
		return in, ok
	}
	c := p.unit.at(in.First.Time)
	if c != p.unit.at(in.Last.Time) || c.err != nil {
		return in, false
	}
	for _, v := range []*plot.Point{&in.First, &in.Min, &in.Max, &in.Last} {
		v.Value = c.Value(v.Value)
		ok = ok && v.Value-v.Value == 0
	}
	return in, ok
}

func (p *pen) Takes(x *rollup.Partial, _ bool) bool {
	_, ok := p.interval(x)
	return ok
}

func (p *pen) Rollup(x *rollup.Partial) {
	in, _ := p.interval(x)
	switch {
	case in.Drawn:
		p.lead(in.First.Time)
		p.last, p.down = in.Last.Time, true
	case in.Lead.Is:
		p.down = false
	}
	p.reducer.Merge(&in)
}

// Gap breaks the line where a gap begins.
func (p *pen) Gap(b storage.Break) {
	p.reducer.Break(b.Time, b.Quality)
	p.down = false
}

func (p *pen) Samples(s *model.Samples) {
	if p.err = cmp.Or(p.err, drawable(s, p.tag.Current().Type)); p.err != nil {
		return
	}
	if p.unit != nil {
		if p.bits, p.err = p.converted(s, p.bits); p.err != nil {
			return
		}
		in := *s
		in.Type, in.Bits = model.Float64, p.bits
		s = &in
	}
	for i := 0; i < s.Len(); i++ {
		v, q, ok := p.drawn(s, i)
		if !ok {
			p.reducer.Break(s.Times[i], q)
			p.down = false
			continue
		}
		p.lead(s.Times[i])
		p.reducer.Add(s.Times[i], v, q)
		if s.Type == model.Float64 { // most are, and go several at once
			to := alike(s, i)
			i += p.reducer.AddRun(s.Times[i+1:to], s.Bits[i+1:to], q)
		}
		p.last, p.down = s.Times[i], true
	}
}

// drawable refuses samples that are not of the type of their tag.
func drawable(s *model.Samples, typ model.Type) error {
	if s.Type == typ {
		return nil
	}
	return fmt.Errorf("samples of %s, the tag is of type %s: %w", s.Type, typ, ErrWrongType)
}

// alike is behind the samples from one on that have its quality and a value.
func alike(s *model.Samples, from int) int {
	to := from + 1
	for n := s.Len(); to < n; to++ {
		if s.Quality == nil && s.Null == nil {
			return n
		}
		if s.QualityAt(to) != s.QualityAt(from) || s.IsNull(to) {
			break
		}
	}
	return to
}

// lead leads the line to t, or breaks it right behind where it is if that is too far. Within one column there would be nothing to
// see of it, and rollups do not know.
func (p *pen) lead(t int64) {
	if p.down && p.maxGap > 0 && distance(p.last, t) > uint64(p.maxGap) && p.grid.Column(p.last) != p.grid.Column(t) {
		p.reducer.Break(p.last+1, model.BadNoData)
	}
}

// thinning is the samples of one tag that LTTB weighs. Those that cannot be drawn are NaN.
type thinning struct {
	*plotting
	typ     model.Type // of the values
	times   []int64
	values  []float64
	quality []model.Quality
}

// byLTTB writes the samples of a tag that stand out, and where the line between them breaks.
func (p *plotting) byLTTB(ctx context.Context, view View, a asked, out *plotEncoder) error {
	cursor := emptyShape(view, a, p.request.AsOf)
	defer cursor.Close()
	s := thinning{plotting: p, typ: a.valueType()}
	if err := p.samples(ctx, cursor, a, s.take); err != nil {
		return err
	}
	maxGap := p.maxGap(a.tag)
	before := -2 // index of the sample kept before, none
	for _, i := range lttb.Select(s.times, s.values, p.request.LTTB, maxGap) {
		row := plotRow{kind: kept, time: s.times[i], value: s.values[i], worst: s.quality[i]}
		if math.IsNaN(row.value) {
			row.kind, row.gap = plot.Gap, true
		} else if i == before+1 && maxGap > 0 && !math.IsNaN(s.values[before]) && distance(s.times[before], row.time) > uint64(maxGap) {
			gap := plotRow{kind: plot.Gap, time: s.times[before] + 1, worst: model.BadNoData, gap: true}
			if err := out.add(ctx, a, gap); err != nil {
				return err
			}
		}
		if err := out.add(ctx, a, row); err != nil {
			return err
		}
		before = i
	}
	return nil
}

func (t *thinning) take(s *model.Samples) error {
	if err := drawable(s, t.typ); err != nil {
		return err
	}
	if len(t.times)+s.Len() > MaxLTTBSamples {
		return fmt.Errorf("LTTB of more than %d samples: ask for a shorter range, or for the plot by pixels, which takes any number: %w",
			MaxLTTBSamples, ErrTooLarge)
	}
	t.times = append(t.times, s.Times...)
	for i := range s.Times {
		v, q, ok := t.drawn(s, i)
		if !ok {
			v = math.NaN()
		}
		t.values, t.quality = append(t.values, v), append(t.quality, q)
	}
	return nil
}
