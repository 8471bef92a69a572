package query

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage/rollup"
)

// FillRule says what becomes of buckets in which nothing is known.
type FillRule uint8

const (
	FillNone     FillRule = iota // a row without value
	FillPrevious                 // the value of the last bucket in the order of the answer that had one
	FillLinear                   // on the line between the nearest buckets that have a value
	FillConstant                 // a given number
	FillOmit                     // no row
)

// Fill is what aggregates answer of buckets in which nothing is known: no value, and Bad_NoData. docs/reference/aggregates.md has the rules.
type Fill struct {
	Rule     FillRule
	Constant float64
	// Limit is how many buckets after the last one with a value FillPrevious fills, and how long a hole FillLinear fills; 0 for any.
	Limit int
}

// ParseFill reads a rule: none, previous, linear, omit or a number. Empty text is none.
func ParseFill(text string, limit uint32) (Fill, error) {
	f := Fill{Limit: int(limit)}
	switch text {
	case "", "none":
	case "previous":
		f.Rule = FillPrevious
	case "linear":
		f.Rule = FillLinear
	case "omit":
		f.Rule = FillOmit
	default:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return f, fmt.Errorf("fill %.80q: must be none, previous, linear, omit or a number: %w", text, ErrBadRequest)
		}
		f.Rule, f.Constant = FillConstant, v
	}
	if limit > MaxBuckets {
		return f, fmt.Errorf("fill_limit is %d, most is %d: %w", limit, MaxBuckets, ErrBadRequest)
	}
	if limit > 0 && f.Rule != FillPrevious && f.Rule != FillLinear {
		return f, fmt.Errorf("fill_limit goes with the fills previous and linear only: %w", ErrBadRequest)
	}
	return f, nil
}

// quality is that of a value filled in.
func (f Fill) quality() model.Quality {
	switch f.Rule {
	case FillPrevious:
		return model.UncertainLastUsableValue
	case FillLinear:
		return model.Uncertain | calculated
	}
	return model.UncertainSubstituteValue
}

// check refuses to fill what has no numbers with numbers, and a column with what it does not hold.
func (f Fill) check(x Function, of, column model.Type) error {
	if !x.fillable() || f.Rule != FillLinear && f.Rule != FillConstant {
		return nil
	}
	if x.isTime() || of > model.Uint64 {
		return fmt.Errorf("fill of %s, which is no number, with numbers: ask for it apart, or with fill previous: %w", x, ErrBadRequest)
	}
	if f.Rule == FillConstant {
		_, err := f.constant(column)
		return err
	}
	return nil
}

// constant is the number as a value of a column.
func (f Fill) constant(t model.Type) (model.Sample, error) {
	s := model.Sample{Type: t, Quality: f.quality()}
	v := f.Constant
	switch isWhole := v == math.Trunc(v); {
	case t == model.Float32:
		s.Bits = uint64(model.NarrowFloat32(v))
	case t == model.Int64 && isWhole && v >= math.MinInt64 && v < math.MaxInt64:
		s.Bits = uint64(int64(v))
	case t == model.Uint64 && isWhole && v >= 0 && v < math.MaxUint64:
		s.Bits = uint64(v)
	case t == model.Int64, t == model.Uint64:
		return s, fmt.Errorf("fill %v of a column of %s: %w", v, t, ErrBadRequest)
	default:
		s.Type, s.Bits = model.Float64, math.Float64bits(v)
	}
	return s, nil
}

// fillable reports whether a bucket of which nothing is known may get a value. What counts samples, changes or time is known of it.
func (f Function) fillable() bool {
	switch f.standard {
	case part13.AnnotationCount, part13.Count, part13.DurationInStateZero, part13.DurationInStateNonZero, part13.NumberOfTransitions,
		part13.DurationGood, part13.DurationBad, part13.PercentGood, part13.PercentBad, part13.WorstQuality, part13.WorstQuality2:
		return false
	}
	switch f.own {
	case Count, DurationGood, PercentGood, WorstQuality:
		return false
	}
	return f.kind != kindTransitions
}

// isHole reports whether a value says that nothing is known of its bucket, which has so many samples.
func isHole(s *model.Sample, samples int64) bool {
	return s.Null && s.Quality&^0xffff == model.BadNoData && samples == 0
}

// bucketValue is the value of a bucket, if it has one.
type bucketValue struct {
	has    bool
	bucket int
	model.Sample
	cell cell // of ReadAggregates, beside Sample
}

// keep is a value that outlasts what it was read from.
func (k bucketValue) keep() bucketValue {
	k.Blob, k.cell.blob = slices.Clone(k.Blob), slices.Clone(k.cell.blob)
	return k
}

// filler fills the buckets of one tag and aggregate, one after the other in the order of the answer.
type filler struct {
	Fill
	edges []int64 // in that order
	typ   model.Type
	state
	saved state // as it was where a window began that may have to be begun again
}

type state struct {
	last, next bucketValue
	clear      int // from the bucket filled last to this one none has a value
}

// newFiller is of a column of a type.
func newFiller(f Fill, edges []int64, column model.Type) filler {
	return filler{Fill: f, edges: edges, typ: column}
}

// saw takes the value of a bucket that has one.
func (f *filler) saw(k bucketValue) { f.last = k }

// value is what a bucket without one gets, if it gets anything. at looks at a bucket behind it.
func (f *filler) value(bucket int, at func(bucket int) (bucketValue, error)) (x bucketValue, err error) {
	switch f.Rule {
	case FillConstant:
		x.Sample, err = f.constant(f.typ)
		x.has = err == nil
		return x, err
	case FillPrevious:
		x = f.last
		x.has = x.has && (f.Limit == 0 || bucket-x.bucket <= f.Limit)
	case FillLinear:
		if !f.last.has {
			return x, nil
		}
		next, err := f.following(bucket, at)
		if err != nil || !next.has || f.Limit > 0 && next.bucket-f.last.bucket-1 > f.Limit {
			return bucketValue{}, err
		}
		x = bucketValue{has: true, Sample: f.line(next, f.edges[bucket])}
	}
	x.Quality = f.quality()
	return x, nil
}

// following is the next bucket with a value, as far as it matters.
func (f *filler) following(bucket int, at func(int) (bucketValue, error)) (bucketValue, error) {
	if f.next.has && f.next.bucket > bucket {
		return f.next, nil
	}
	end := len(f.edges) - 1
	if f.Limit > 0 {
		end = min(end, f.last.bucket+f.Limit+2)
	}
	for i := max(bucket+1, f.clear); i < end; i++ {
		x, err := at(i)
		if err != nil {
			return bucketValue{}, err
		}
		if x.has {
			f.next = x.keep()
			return f.next, nil
		}
		f.clear = i + 1
	}
	return bucketValue{}, nil
}

// line is the value at an instant on the line between two buckets, each at the edge that it begins with in the order of the answer.
func (f *filler) line(next bucketValue, instant int64) model.Sample {
	a, b := f.last.Sample, next.Sample
	a.Time, b.Time = f.edges[f.last.bucket], f.edges[next.bucket]
	a.Quality, b.Quality = model.Good, model.Good
	if a.Type != b.Type {
		a, b = asDouble(a), asDouble(b)
	}
	if a.Time > b.Time {
		a, b = b, a
	}
	s, _ := part13.SimpleBound(&rollup.Point{Sample: a}, &rollup.Point{Sample: b}, instant, false, false)
	if s.Type == model.Float64 && f.typ == model.Float32 {
		s.Type, s.Bits = model.Float32, uint64(model.NarrowFloat32(math.Float64frombits(s.Bits)))
	}
	return s
}

func asDouble(s model.Sample) model.Sample {
	s.Type, s.Bits = model.Float64, math.Float64bits(part13.Number(&s))
	return s
}

// put makes a row one that was filled in. Its time and completeness stay.
func (r *processedRow) put(x *bucketValue) {
	r.Type, r.Bits, r.Blob, r.Null, r.Quality = x.Type, x.Bits, x.Blob, false, x.Quality
}

// processedFiller fills the rows of windows of ReadProcessed, or of a column of ReadWide.
type processedFiller struct {
	p      *processing
	series []filler // of each function
}

func newProcessedFiller(p *processing, column model.Type) *processedFiller {
	f := &processedFiller{p: p}
	for range p.request.Functions {
		f.series = append(f.series, newFiller(p.request.Fill, p.edges, column))
	}
	return f
}

// fill fills a window, whose rows are whole. Windows of a tag come in the order of the answer. r reads ahead what goes to ahead.
func (f *processedFiller) fill(ctx context.Context, r *processedReader, w, ahead *processedWindow) error {
	n := len(f.series)
	if w.from == 0 {
		*f = *newProcessedFiller(f.p, f.series[0].typ)
	}
	for j, function := range f.p.request.Functions {
		if !function.fillable() {
			continue
		}
		series := &f.series[j]
		for i := j; i < len(w.rows); i += n {
			row := &w.rows[i]
			if !row.Null {
				series.saw(bucketValue{has: true, bucket: row.bucket, Sample: row.Sample}.keep())
				continue
			}
			if !isHole(&row.Sample, row.samples) {
				continue
			}
			if series.Rule == FillOmit {
				row.omitted = true
				continue
			}
			x, err := series.value(row.bucket, func(bucket int) (bucketValue, error) { return f.at(ctx, r, w, ahead, bucket, j) })
			if err != nil {
				return err
			}
			if x.has {
				row.put(&x)
			}
		}
	}
	return nil
}

// at is function j of a bucket behind those filled.
func (f *processedFiller) at(ctx context.Context, r *processedReader, w, ahead *processedWindow, bucket, j int) (bucketValue, error) {
	if bucket >= w.to {
		asked := w.asked
		if w = ahead; w.to <= bucket || w.from > bucket || w.tag == nil || w.tag.ID != asked.tag.ID {
			*w = processedWindow{asked: asked, from: bucket, to: min(bucket+f.p.windowSize(), f.p.count()), rows: w.rows[:0]}
			if err := r.read(ctx, w); err != nil {
				w.to = w.from
				return bucketValue{}, err
			}
		}
	}
	row := &w.rows[(bucket-w.from)*len(f.series)+j]
	return bucketValue{has: !row.Null, bucket: bucket, Sample: row.Sample}, nil
}

// aggregateFiller is processedFiller of ReadAggregates. A row is a hole in all of its aggregates, or in none.
type aggregateFiller struct {
	a       *aggregation
	columns []*aggregateColumn
	series  []filler
}

func newAggregateFiller(a *aggregation, columns []*aggregateColumn) *aggregateFiller {
	f := &aggregateFiller{a: a, columns: columns}
	for _, c := range columns {
		f.series = append(f.series, newFiller(a.request.Fill, a.edges, c.filled()))
	}
	return f
}

func (f *aggregateFiller) fill(ctx context.Context, view View, k *worker, w, ahead *window) error {
	if w.from == 0 {
		*f = *newAggregateFiller(f.a, f.columns)
	}
	fillable := func(a Aggregate) bool { return Function{own: a}.fillable() }
	rule := f.a.request.Fill.Rule
	w.omitted = w.omitted[:0]
	if rule == FillOmit {
		if slices.ContainsFunc(f.a.request.Aggregates, fillable) {
			for i := range w.rows {
				w.omitted = append(w.omitted, w.rows[i].quality == model.BadNoData)
			}
		}
		return nil
	}
	n := len(f.series)
	filled := make([]bool, len(w.rows))
	for j, aggregate := range f.a.request.Aggregates {
		if !fillable(aggregate) {
			continue
		}
		series, c := &f.series[j], f.columns[j]
		for i := range w.rows {
			x := &w.cells[i*n+j]
			if x.valid {
				series.saw(bucketValue{has: true, bucket: w.from + i, Sample: c.sample(*x), cell: *x}.keep())
				continue
			}
			if w.rows[i].quality != model.BadNoData {
				continue
			}
			v, err := series.value(w.from+i, func(bucket int) (bucketValue, error) { return f.at(ctx, view, k, w, ahead, bucket, j) })
			if err != nil {
				return err
			}
			if v.has {
				filled[i], *x = true, c.cellOf(&v)
			}
		}
	}
	for i, yes := range filled {
		if yes {
			w.rows[i].quality = f.a.request.Fill.quality()
		}
	}
	return nil
}

func (f *aggregateFiller) at(ctx context.Context, view View, k *worker, w, ahead *window, bucket, j int) (bucketValue, error) {
	if bucket >= w.to {
		asked := w.asked
		if w = ahead; w.to <= bucket || w.from > bucket || w.tag == nil || w.tag.ID != asked.tag.ID {
			*w = window{asked: asked, from: bucket, to: min(bucket+windowBuckets, f.a.count()), rows: w.rows[:0], cells: w.cells[:0]}
			if err := f.a.window(ctx, view, f.columns, k, w); err != nil {
				w.to = w.from
				return bucketValue{}, err
			}
		}
	}
	x := w.cells[(bucket-w.from)*len(f.series)+j]
	return bucketValue{has: x.valid, bucket: bucket, Sample: f.columns[j].sample(x), cell: x}, nil
}

// filled is the type of values filled into a column.
func (c *aggregateColumn) filled() model.Type {
	switch {
	case c.kind == cell128:
		return model.Int64
	case c.of != 0:
		return c.of
	}
	return model.Float64
}

// cellOf is a value filled in as a cell.
func (c *aggregateColumn) cellOf(v *bucketValue) cell {
	switch {
	case v.cell.valid: // of an earlier bucket
		return v.cell
	case c.kind == cell128 && v.Type == model.Float64:
		return int128Cell(math.Float64frombits(v.Bits))
	case c.kind == cell128 && v.Type == model.Int64:
		return cell{bits: v.Bits, high: int64(v.Bits) >> 63, valid: true}
	case c.of == 0:
		return floatCell(part13.Number(&v.Sample))
	}
	return cell{bits: v.Bits, blob: v.Blob, valid: true}
}

// int128Cell is the nearest integer of 128 bits, nothing where there is none.
func int128Cell(v float64) cell {
	if !(math.Abs(v) < 1<<126) {
		return cell{}
	}
	i, _ := new(big.Float).SetFloat64(math.Round(v)).Int(nil)
	low := new(big.Int).And(i, new(big.Int).SetUint64(math.MaxUint64))
	return cell{bits: low.Uint64(), high: new(big.Int).Rsh(i, 64).Int64(), valid: true}
}
