package relation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/hint"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// The units that rollups are kept of, by the clock of UTC.
const (
	hour = int64(time.Hour)
	day  = 24 * hour
)

// A batch of units is held at once, and a cursor or two beside it.
const (
	batchUnits = 64
	unitsBytes = batchUnits*1500 + 4<<20
)

// unitReader reads what the units of tags hold, and keeps how it did.
type unitReader struct {
	Moment
	reading  storage.Reading
	partials storage.Partials
	edges    []int64
}

// openUnits reserves the memory of a reader. done gives it back and tells how samples were found.
func openUnits(at Moment) (u *unitReader, done func(), err error) {
	release, err := at.Engine.Reserve(unitsBytes)
	if err != nil {
		return nil, nil, err
	}
	u = &unitReader{Moment: at}
	return u, func() {
		release()
		if at.Read != nil {
			at.Read(u.reading)
		}
	}, nil
}

// each hands out the units of one epoch of a tag that a range has, in order, each cut by the range. What it hands out holds until do returns.
func (u *unitReader) each(ctx context.Context, id model.TagID, in model.TimeRange, unit int64, do func(in model.TimeRange, p *rollup.Partial) (bool, error)) (bool, error) {
	stretches, err := u.View.Stretches(id, in)
	if err != nil {
		return false, err
	}
	for _, s := range stretches {
		for from := s.Start; from < s.End; {
			u.edges = unitEdges(u.edges[:0], from, s.End, unit, batchUnits)
			if err := u.View.Buckets(ctx, id, u.edges, storage.Full, &u.partials); err != nil {
				return false, fmt.Errorf("read tag %d over %s: %w", id, s, err)
			}
			u.reading.Add(&u.partials.Reading)
			for i := range u.partials.Buckets {
				if more, err := do(model.TimeRange{Start: u.edges[i], End: u.edges[i+1]}, &u.partials.Buckets[i]); !more || err != nil {
					return false, err
				}
			}
			from = u.edges[len(u.edges)-1]
		}
	}
	return true, nil
}

// unitEdges appends from, and the starts of units behind it up to end, of so many units at most.
func unitEdges(edges []int64, from, end, unit int64, most int) []int64 {
	edges = append(edges, from)
	for len(edges) <= most && edges[len(edges)-1] < end {
		last := edges[len(edges)-1]
		next := end
		if rest := unit - floorMod(last, unit); end-last > rest || end-last < 0 {
			next = last + rest
		}
		edges = append(edges, next)
	}
	return edges
}

// floorMod is how far an instant lies behind the start of its unit.
func floorMod(t, unit int64) int64 {
	if r := t % unit; r != 0 {
		return r + (unit & (r >> 63))
	}
	return 0
}

// samples hands out the samples of a range one by one. They hold until do returns.
func (u *unitReader) samples(ctx context.Context, id model.TagID, in model.TimeRange, do func(x model.Sample) bool) (bool, error) {
	c := u.View.Samples(id, in)
	defer func() {
		r := c.Reading()
		u.reading.Add(&r)
		c.Close()
	}()
	for {
		b, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("read tag %d over %s: %w", id, in, err)
		}
		for i := range b.Len() {
			if !do(b.At(i)) {
				return false, nil
			}
		}
	}
}

// number is a number that may not be there.
type number struct {
	v  float64
	ok bool
}

// numberOf is the value of a sample as samples have it.
func numberOf(x model.Sample) number {
	r := sampleRow{sample: x}
	v, ok := r.value()
	return number{v, ok}
}

// partialRow is consecutive samples of one tag: all of a unit, or one by itself.
type partialRow struct {
	tag           *model.Tag
	severity      string // empty where they may have several
	count, valued int64

	least, greatest, sum     number
	first, last              number // of those that have a value
	firstTime, lastTime      int64
	earliest, latest         number // of all
	earliestTime, latestTime int64
}

// Columns of partials behind those that conditions are of. Their names are such that no statement has them by chance.
const (
	partialCount = 5 + iota
	partialValued
	partialMin
	partialMax
	partialSum
	partialFirst
	partialFirstTime
	partialLast
	partialLastTime
	partialEarliest
	partialLatest
	partialLatestTime
)

// partials is the samples put together: what aggregates of samples come to is the same of these, of the sums within rounding. A row is of
// samples that all meet the conditions of the scan, in one unit of time; its time is that of the first. Without a unit, and wherever a
// rollup does not tell enough, each sample is a row.
//
// No statement names it: package rewrite puts it in the place of samples.
var partials = &rowTable[partialRow]{
	name: "partials",
	fields: []field[partialRow]{
		timeField("time", hint.Time, func(r *partialRow) (int64, bool) { return some(r.earliestTime) }),
		textField("tag", hint.Tag, func(r *partialRow) string { return r.tag.Name }),
		textField("severity", hint.Severity, func(r *partialRow) string { return r.severity }),
		intField("time_ns", hint.TimeNS, func(r *partialRow) (int64, bool) { return some(r.earliestTime) }),
		intField("tag_id", hint.TagID, func(r *partialRow) (int64, bool) { return some(int64(r.tag.ID)) }),
		intField("partial count", hint.NoRole, func(r *partialRow) (int64, bool) { return some(r.count) }),
		intField("partial valued", hint.NoRole, func(r *partialRow) (int64, bool) { return some(r.valued) }),
		numberField("partial min", func(r *partialRow) number { return r.least }),
		numberField("partial max", func(r *partialRow) number { return r.greatest }),
		numberField("partial sum", func(r *partialRow) number { return r.sum }),
		numberField("partial first", func(r *partialRow) number { return r.first }),
		timeField("partial first time", hint.NoRole, func(r *partialRow) (int64, bool) { return r.firstTime, r.valued > 0 }),
		numberField("partial last", func(r *partialRow) number { return r.last }),
		timeField("partial last time", hint.NoRole, func(r *partialRow) (int64, bool) { return r.lastTime, r.valued > 0 }),
		numberField("partial earliest", func(r *partialRow) number { return r.earliest }),
		numberField("partial latest", func(r *partialRow) number { return r.latest }),
		timeField("partial latest time", hint.NoRole, func(r *partialRow) (int64, bool) { return some(r.latestTime) }),
	},
	rows: func(ctx context.Context, at Moment, s *Scan) iter.Seq2[*partialRow, error] {
		return func(yield func(*partialRow, error) bool) {
			u, done, err := openUnits(at)
			if err != nil {
				yield(nil, err)
				return
			}
			defer done()
			x := &partialScan{unitReader: u, columns: s.Columns, unit: unitOf(s), good: s.Severities == query.SeverityGood, severities: s.Severities}
			for r, err := range ofTags(x.tag)(ctx, at, s) {
				if !yield(r, err) {
					return
				}
			}
		}
	},
}

func numberField[R any](name string, of func(*R) number) field[R] {
	return floatField(name, func(r *R) (float64, bool) { x := of(r); return x.v, x.ok })
}

// unitOf is the unit that the arguments of a scan allow: what a statement groups by is the same for all of one. 0 where nothing that is longer than
// a sample is known to be such a unit, or the scan is of severities that rollups do not tell apart.
//
// Arguments are unit, 'hour' or 'day'; and of buckets by time_bucket their length in microseconds, or months, and one instant at which one begins.
func unitOf(s *Scan) int64 {
	if s.Severities != 0 && s.Severities != query.SeverityGood {
		return 0
	}
	var name string
	unit := hour
	switch json.Unmarshal([]byte(s.Arguments["unit"]), &name); name {
	case "hour":
	case "day":
		unit = day
	default:
		return 0
	}
	if _, buckets := s.Arguments["width"]; !buckets {
		return unit
	}
	var width, months, edge int64
	for name, into := range map[string]*int64{"width": &width, "months": &months, "edge": &edge} {
		if s.Arguments[name] == "null" || json.Unmarshal([]byte(s.Arguments[name]), into) != nil {
			return 0
		}
	}
	for ; unit >= hour; unit -= day - hour {
		if micros := unit / 1000; edge%micros == 0 && (months > 0 || months == 0 && width > 0 && width%micros == 0) {
			return unit
		}
	}
	return 0
}

// partialScan makes the rows of one scan of partials.
type partialScan struct {
	*unitReader
	columns    []int
	unit       int64
	good       bool // only Good samples
	severities query.Severities
}

// wants reports whether any of some columns is asked for.
func (x *partialScan) wants(columns ...int) bool {
	return slices.ContainsFunc(columns, func(c int) bool { return slices.Contains(x.columns, c) })
}

func (x *partialScan) tag(ctx context.Context, _ Moment, s *Scan, t *model.Tag, yield func(*partialRow) bool) (bool, error) {
	for _, id := range t.EpochIDs() {
		in := s.In
		if t.Retyped() {
			_, holds := t.In(id)
			in.Start, in.End = max(in.Start, holds.Start), min(in.End, holds.End)
		}
		if in.Empty() {
			continue
		}
		single := func(in model.TimeRange) (bool, error) {
			return x.samples(ctx, id, in, func(sample model.Sample) bool {
				r := singleRow(t, sample)
				return x.severities != 0 && x.severities>>min(sample.Quality>>30, 2)&1 == 0 || yield(&r)
			})
		}
		var more bool
		var err error
		if x.unit == 0 || x.View.OnlyRollups(id, in) {
			more, err = single(in)
		} else {
			more, err = x.each(ctx, id, in, x.unit, func(in model.TimeRange, p *rollup.Partial) (bool, error) {
				if p.Counts().All() == 0 {
					return true, nil
				}
				if !x.tells(p) {
					return single(in)
				}
				r := x.row(t, p)
				if r.count == 0 {
					return true, nil
				}
				if err := x.latest(ctx, id, p, &r); err != nil {
					return false, err
				}
				return yield(&r), nil
			})
		}
		if !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// singleRow is a sample by itself.
func singleRow(t *model.Tag, x model.Sample) partialRow {
	v := numberOf(x)
	r := partialRow{
		tag: t, severity: x.Quality.Severity(), count: 1, least: v, greatest: v, sum: v, first: v, last: v, earliest: v, latest: v,
		firstTime: x.Time, lastTime: x.Time, earliestTime: x.Time, latestTime: x.Time,
	}
	if v.ok {
		r.valued = 1
	}
	return r
}

// Integers up to this magnitude are doubles, and their sums are those of the doubles; sums of doubles up to the other stay far from infinity.
const (
	exactInts = 1 << 53
	mostSum   = 1e300
)

// tells reports whether what is asked for of the samples of a partial can be told from it, as the engine tells it of the samples: with its
// order of values, in which NaN comes last and 0 and -0 are the same, and sums of doubles.
func (x *partialScan) tells(p *rollup.Partial) bool {
	n := p.Counts()
	if x.good && n.Null > 0 { // which may be Good, or Uncertain
		return false
	}
	if p.Type() > model.Uint64 || !x.wants(partialMin, partialMax, partialSum) {
		return true
	}
	st, ok := p.Stats(x.good)
	if !ok {
		return false
	}
	if st.N() == 0 {
		return true
	}
	low, high := doubleOf(p.Type(), st.Min), doubleOf(p.Type(), st.Max)
	magnitude := max(math.Abs(low), math.Abs(high))
	switch {
	case !p.Type().Float():
		return magnitude < exactInts || !x.wants(partialSum)
	case !(math.Abs(st.Sum()) <= mostSum && magnitude*float64(st.N()) <= mostSum): // NaN, too
		return false
	}
	// Of a Good and an Uncertain 0 at one time it is not known which came first.
	return x.good || n.Uncertain == 0 || low != 0 && high != 0 || !x.wants(partialMin, partialMax)
}

// doubleOf is an extreme as samples have its value.
func doubleOf(t model.Type, of func() (rollup.Extreme, bool)) float64 {
	e, _ := of()
	return numberOf(model.Sample{Type: t, Bits: e.Bits}).v
}

// row is the samples of a partial that tells what is asked for.
func (x *partialScan) row(t *model.Tag, p *rollup.Partial) partialRow {
	n := p.Counts()
	r := partialRow{tag: t, count: n.All(), valued: n.Good + n.Uncertain}
	earliest, _ := p.First()
	latest, _ := p.Last()
	first, _ := p.FirstUsable(x.good)
	last, _ := p.LastUsable(x.good)
	if x.good {
		r.severity, r.count, r.valued = model.Good.Severity(), n.Good, n.Good
		earliest, latest = first, last
	}
	r.earliestTime, r.latestTime, r.firstTime, r.lastTime = earliest.Time, latest.Time, first.Time, last.Time
	if p.Type() > model.Uint64 {
		r.valued = 0
		return r
	}
	r.earliest, r.latest = numberOf(earliest.Sample), numberOf(latest.Sample)
	if st, _ := p.Stats(x.good); r.valued > 0 {
		r.first, r.last = numberOf(first.Sample), numberOf(last.Sample)
		r.least, r.greatest, r.sum = number{doubleOf(p.Type(), st.Min), true}, number{doubleOf(p.Type(), st.Max), true}, number{st.Sum(), true}
	}
	return r
}

// latest makes the last values of a row those that the engine takes for the last: of several in the last microsecond the first.
func (x *partialScan) latest(ctx context.Context, id model.TagID, p *rollup.Partial, r *partialRow) error {
	if p.Type() > model.Uint64 || !x.wants(partialLast, partialLatest) {
		return nil
	}
	if last, ok := p.LastUsable(x.good); ok && several(last) {
		if err := x.firstOf(ctx, id, last, true, &r.last); err != nil {
			return err
		}
		if x.good {
			r.latest = r.last
		}
	}
	if last, _ := p.Last(); !x.good && several(last) {
		return x.firstOf(ctx, id, last, false, &r.latest)
	}
	return nil
}

// several reports whether there may be samples in the microsecond of a point before it.
func several(p rollup.Point) bool { return p.Seq > 0 || p.Time%1000 != 0 }

// firstOf is the value of the first sample, or the first that has a value, in the microsecond of a point, up to it.
func (x *partialScan) firstOf(ctx context.Context, id model.TagID, p rollup.Point, valued bool, into *number) error {
	_, err := x.samples(ctx, id, model.TimeRange{Start: query.FloorMicros(p.Time), End: p.Time + 1}, func(s model.Sample) bool {
		v := numberOf(s)
		if valued && !v.ok || x.good && (s.Quality.Severity() != model.Good.Severity()) {
			return true
		}
		*into = v
		return false
	})
	return err
}
