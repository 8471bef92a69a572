package query

import (
	"context"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage/rollup"
)

// goodWindow is how many intervals a worker takes at once where partials of Good doubles may do: a day of minutes. They are a tenth
// of others, and the ends of a window cost a look at what lies next to it.
const goodWindow = 1440

// goodRows are rows of intervals of Good doubles, column by column: what their number, the edges and the functions asked for do not say.
type goodRows struct {
	functions []Function
	edges     []int64  // of all intervals of the window; nil where there are no such rows
	values    []uint64 // of each function of each interval
	quality   []uint32 // likewise
	counts    []int64  // samples of each interval
	others    []int    // intervals whose rows are not these: the window has them as it has all others
}

// goodBytes is what goodRows and storage.Goods hold of an interval, besides values.
const goodBytes = 192

// completeness is that of interval i: all of it is Good.
func (g *goodRows) completeness(i int) completeness {
	length := distance(g.edges[i], g.edges[i+1])
	return completeness{good: 100 * float64(length) / float64(length), covered: int64(min(length, math.MaxInt64)), samples: g.counts[i]}
}

// rows is the rows of interval i of a window whose first one is bucket first, as a window has others.
func (g *goodRows) rows(first, i int) (rows []processedRow) {
	for k, f := range g.functions {
		at := i*len(g.functions) + k
		rows = append(rows, processedRow{
			Sample:   model.Sample{Time: g.edges[i], Type: model.Float64, Bits: g.values[at], Quality: model.Quality(g.quality[at])},
			function: f, bucket: first + i, start: g.edges[i], end: g.edges[i+1], completeness: g.completeness(i),
		})
	}
	return rows
}

// allGood reports whether partials of Good doubles are enough for the functions asked for.
func (p *processing) allGood() bool {
	slopes := p.request.Configuration.SlopedExtrapolation // which looks at two samples before an interval
	return p.request.Unit == "" && p.request.Fill.Rule == FillNone && !p.reverse() && !slices.ContainsFunc(p.request.Functions, func(f Function) bool {
		return !f.standard.OfGood(false) || slopes && f.standard.Extrapolates()
	})
}

// window reads a window in one piece, as Good doubles if that will do, else in pieces of the size that partials take.
func (r *processedReader) window(ctx context.Context, w *processedWindow) error {
	w.good.edges = nil
	if ok, err := r.goods(ctx, w); ok || err != nil {
		return err
	}
	from, to := w.from, w.to
	defer func() { w.from, w.to = from, to }()
	for ; w.from < to; w.from = w.to {
		w.to = min(w.from+r.windowSize(), to)
		if err := r.read(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// goods calculates a window whose samples are all Good doubles; false where they are not, or functions are asked for that need more.
func (r *processedReader) goods(ctx context.Context, w *processedWindow) (bool, error) {
	edges := r.processing.edges[w.from : w.to+1]
	if !r.good || w.tag.Current().Type != model.Float64 || changesWithin(w.tag, edges) {
		return false, nil
	}
	stepped := r.stepped(w.tag, edges[0])
	asked := rollup.Asked{Stepped: stepped}
	for _, f := range r.request.Functions {
		switch f.standard {
		case part13.Minimum, part13.Maximum, part13.Range:
			asked.Extremes, asked.Moments = true, true
		case part13.TimeAverage, part13.TimeAverage2, part13.Total, part13.Total2:
			asked.Area = true
		}
		if !f.standard.OfGood(stepped) {
			return false, nil
		}
	}
	if ok, err := r.stored.Goods(ctx, w.tag.ID, edges, asked, &r.goodOf); !ok || err != nil {
		return false, err
	}
	return true, r.goodRows(ctx, w, edges, asked)
}

// changesWithin reports whether settings of a tag change between the first and the last of some edges.
func changesWithin(tag *model.Tag, edges []int64) bool {
	return slices.ContainsFunc(tag.Settings[1:], func(s model.Settings) bool { return s.From > edges[0] && s.From < edges[len(edges)-1] })
}

// goodRows calculates the rows of a window from its partials of Good doubles.
func (r *processedReader) goodRows(ctx context.Context, w *processedWindow, edges []int64, asked rollup.Asked) error {
	p, functions, rows := &r.goodOf, r.request.Functions, &w.good
	n := len(p.Buckets)
	rows.functions, rows.edges, rows.others = functions, edges, rows.others[:0]
	rows.values, rows.quality = sized(rows.values, n*len(functions)), sized(rows.quality, n*len(functions))
	rows.counts = sized(rows.counts, n)
	r.goodAfter = sized(r.goodAfter, n)
	next := &p.After
	for i := n - 1; i >= 0; i-- {
		r.goodAfter[i] = next
		if !p.Buckets[i].Empty() {
			next = &p.Buckets[i]
		}
	}
	before := &p.Before
	for i := range p.Buckets {
		in, after := &p.Buckets[i], r.goodAfter[i]
		if before.Empty() || in.Empty() || after.Empty() || r.isCut(w.from+i) {
			rows.others = append(rows.others, i)
			if err := r.otherRows(ctx, w, i, [3]*rollup.Good{before, in, after}, asked); err != nil {
				rows.edges, w.rows = nil, w.rows[:0]
				return err
			}
		} else {
			g := part13.Good{GoodInterval: rollup.GoodInterval{Start: edges[i], End: edges[i+1], Before: before, In: in, After: after}, Stepped: asked.Stepped}
			at := i * len(functions)
			for k, f := range functions {
				bits, q := g.Result(f.standard)
				rows.values[at+k], rows.quality[at+k] = bits, uint32(q)
			}
			rows.counts[i] = in.N()
		}
		if !in.Empty() {
			before = in
		}
	}
	return nil
}

// otherRows calculates the rows of interval i of a window, which is not like most, from what lies before, in and behind it.
func (r *processedReader) otherRows(ctx context.Context, w *processedWindow, i int, near [3]*rollup.Good, asked rollup.Asked) error {
	var p [3]rollup.Partial
	for k := range near {
		p[k] = near[k].Partial(asked)
	}
	iv := part13.Interval{
		Start: w.good.edges[i], End: w.good.edges[i+1], Short: r.isCut(w.from + i), Stepped: asked.Stepped, Resolution: r.request.Resolution,
		Before: &p[0], In: &p[1], After: &p[2],
	}
	return r.rows(ctx, w, &iv, w.from+i)
}

// sized is memory for n elements of any content.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
