package query

import (
	"context"
	"math"
	"slices"
	"strconv"

	"github.com/varvedb/varve/model"
)

// wideReader fills the columns of a window, one after the other. It is for one goroutine.
type wideReader interface {
	read(ctx context.Context, c *wideColumn, w *wideWindow) error
	close()
}

func (x *wide) reader(view View, states *stateTexts) wideReader {
	r := &x.request
	switch {
	case r.Function != 0:
		p := &processing{
			request: ProcessedRequest{Functions: []Function{Standard(r.Function)}, Configuration: r.Configuration, Stepped: r.Stepped, Resolution: r.Resolution, Fill: r.Fill},
			tags:    x.tags, bucketing: x.grid,
		}
		p.effects = effectsOn(p.request.Functions, effectOnFunction)
		return &wideProcessed{processedReader: newProcessedReader(p, view), states: states}
	case r.Aggregate != 0:
		a := newAggregation(AggregatesRequest{Aggregates: []Aggregate{r.Aggregate}, UseUncertain: r.UseUncertain, Fill: r.Fill}, x.tags, x.grid)
		a.while = x.while
		return &wideAggregates{aggregation: a, view: view, states: states}
	}
	return &wideInstants{
		walk: walk{
			rules:  rules{values: interpolation{stepped: r.Stepped, strict: !r.UseUncertain}, bridge: r.BridgeBad, hold: r.Mode == WideAsOf, maxAge: x.maxAge()},
			cursor: emptyShape(view, x.tags.asked[0], r.AsOf),
		},
		states: states,
	}
}

// wideInstants fills columns with values at the instants of their rows.
type wideInstants struct {
	walk
	states  *stateTexts
	quality []model.Quality // of columns without one
}

func (r *wideInstants) close() { r.cursor.Close() }

// read lets the walk write into the memory of the column.
func (r *wideInstants) read(ctx context.Context, c *wideColumn, w *wideWindow) error {
	r.begin(c.asked.read(r.cursor))
	r.rows = c.cells
	if c.quality == nil {
		r.rows.quality = r.quality
	}
	err := r.window(ctx, w.ascending)
	c.cells = r.rows
	if c.quality == nil {
		r.quality, c.cells.quality = r.rows.quality, nil
	}
	if err != nil {
		return err
	}
	if err := w.addTexts(r.rows.blobBytes); err != nil || r.next < len(w.ascending) {
		return errTexts
	}
	cells, quality := &c.cells, r.rows.quality
	for i, q := range quality {
		if q.IsBad() {
			cells.null[i] = true
		}
	}
	if err := r.convert(c, w.ascending); err != nil {
		return err
	}
	if &w.ascending[0] != &w.times[0] {
		slices.Reverse(cells.bits)
		slices.Reverse(cells.blobs)
		slices.Reverse(cells.null)
		slices.Reverse(cells.quality)
	}
	c.settle(w.times)
	return nil
}

// convert makes values of the tag's type cells of the column's.
func (r *wideInstants) convert(c *wideColumn, times []int64) error {
	bits, null := c.cells.bits, c.cells.null
	switch c.valueType() {
	case model.Float32:
		for i, b := range bits {
			bits[i] = math.Float64bits(model.WidenFloat32(uint32(b)))
		}
	case model.Uint64:
		for i, b := range bits {
			if b > math.MaxInt64 && !null[i] {
				return tooLarge(times[i], strconv.FormatUint(b, 10))
			}
		}
	case model.State:
		c.cells.blobs = resized(c.cells.blobs, len(bits))
		for i, b := range bits {
			c.cells.blobs[i] = nil
			if !null[i] {
				c.cells.blobs[i] = r.states.name(c.tag, times[i], int64(b))
			}
		}
	}
	return nil
}

// wideAggregates fills columns with an aggregate of Varve.
type wideAggregates struct {
	*aggregation
	view    View
	states  *stateTexts
	scratch worker
	done    window
	ahead   window
}

func (r *wideAggregates) close() {}

func (r *wideAggregates) read(ctx context.Context, c *wideColumn, w *wideWindow) error {
	var types typeSet
	types.add(c.valueType())
	aggregate := r.request.Aggregates[0]
	columns := []*aggregateColumn{newAggregateColumn(aggregate, types)}
	if c.unit != nil {
		columns[0].inUnit(r.tags.unit, r.effects[0])
	}
	c.reset(len(w.times))
	fills := &c.fills.aggregates
	if fills.a == nil {
		*fills = *newAggregateFiller(r.aggregation, columns)
	}
	if err := c.fills.begin(w, fills.series); err != nil {
		return err
	}
	for from := 0; from < len(w.times); from += windowBuckets {
		d := &r.done
		*d = window{asked: c.asked, from: w.first + from, to: w.first + min(from+windowBuckets, len(w.times)), rows: d.rows[:0], cells: d.cells[:0]}
		if err := r.window(ctx, r.view, columns, &r.scratch, d); err != nil {
			return err
		}
		if r.request.Fill.Rule != FillNone {
			if err := fills.fill(ctx, r.view, &r.scratch, d, &r.ahead); err != nil {
				return err
			}
		}
		c.holes = append(c.holes, d.omitted...)
		for i, row := range d.rows {
			s, err := wideSample(aggregate, columns[0], &row, d.cells[i])
			if err != nil {
				return err
			}
			if err := c.put(from+i, &s, r.states); err != nil {
				return err
			}
		}
		if err := w.addTexts(c.cells.blobBytes); err != nil {
			return err
		}
	}
	c.settle(w.times)
	return nil
}

// wideSample is an aggregate of a bucket as a sample of whatever type it has.
func wideSample(a Aggregate, c *aggregateColumn, row *bucketRow, x cell) (model.Sample, error) {
	s := model.Sample{Time: row.time, Type: c.of, Bits: x.bits, Blob: slices.Clone(x.blob), Quality: row.quality, Null: !x.valid}
	switch {
	case a == PercentGood:
		s.Type, s.Bits, s.Null = model.Float64, math.Float64bits(row.good), false
	case c.kind == cell128 && x.valid && x.high != int64(x.bits)>>63:
		return s, tooLarge(row.time, "of a sum")
	case c.of == 0:
		s.Type = a.wideType(model.Float64)
	}
	return s, nil
}

// wideFiller fills the holes of a column. What it has seen it has seen as of the first row of a window, which may be begun again.
type wideFiller struct {
	aggregates aggregateFiller
	processed  processedFiller
	first      int
}

// begin begins a window of one series.
func (f *wideFiller) begin(w *wideWindow, series []filler) error {
	s := &series[0]
	if f.first == w.first {
		s.state = s.saved
	}
	f.first, s.saved = w.first, s.state
	return w.addTexts(len(s.last.Blob) + len(s.next.Blob))
}

// wideProcessed fills columns with an aggregate of Part 13.
type wideProcessed struct {
	processedReader
	states *stateTexts
	done   processedWindow
	ahead  processedWindow
}

func (r *wideProcessed) close() {}

func (r *wideProcessed) read(ctx context.Context, c *wideColumn, w *wideWindow) error {
	c.reset(len(w.times))
	fills := &c.fills.processed
	if fills.p == nil {
		*fills = *newProcessedFiller(r.processing, c.typ)
	}
	if err := c.fills.begin(w, fills.series); err != nil {
		return err
	}
	for from := 0; from < len(w.times); from += windowBuckets {
		d := &r.done
		*d = processedWindow{asked: c.asked, from: w.first + from, to: w.first + min(from+windowBuckets, len(w.times)), rows: d.rows[:0]}
		if err := r.processedReader.read(ctx, d); err != nil {
			return err
		}
		if r.request.Fill.Rule != FillNone {
			if err := fills.fill(ctx, &r.processedReader, d, &r.ahead); err != nil {
				return err
			}
		}
		for i := range d.rows {
			c.holes = append(c.holes, d.rows[i].omitted)
			s := d.rows[i].Sample
			s.Blob = slices.Clone(s.Blob)
			if err := c.put(from+i, &s, r.states); err != nil {
				return err
			}
		}
		if err := w.addTexts(c.cells.blobBytes); err != nil {
			return err
		}
	}
	c.settle(w.times)
	return nil
}
