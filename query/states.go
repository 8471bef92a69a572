package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// MaxStates is how many different values a tag may have in one bucket of ReadTimeInState.
const MaxStates = 4096

// StatesRequest asks how long tags were in each of their states: tags of type bool, state, int64 or uint64.
type StatesRequest struct {
	Tags
	Buckets
	UseUncertain bool   // Uncertain samples are usable; otherwise they are taken for Bad
	While        string // condition for time to count, as of AggregatesRequest
	Consistency  storage.Consistency
	BatchRows    int
}

// stateTimes is one checked request.
type stateTimes struct {
	request StatesRequest
	tags    *tagList
	*bucketing
	now   int64
	while *condition
}

func (e *Engine) stateTimes(r StatesRequest) (*stateTimes, error) {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return nil, err
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return nil, fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
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
	for _, t := range tags.asked {
		switch typ := t.tag.Current().Type; typ {
		case model.Bool, model.State, model.Int64, model.Uint64:
		default:
			return nil, fmt.Errorf("time in states of tag %s, which is of type %s: must be bool, state or of integers: %w", t.describe(), typ, ErrBadRequest)
		}
	}
	while, err := e.condition(r.While, buckets, !r.UseUncertain)
	if err != nil {
		return nil, err
	}
	return &stateTimes{request: r, tags: tags, bucketing: buckets, now: e.now().UnixNano(), while: while}, nil
}

// reverseStates is how many buckets are held, with all their states, until they are written in reverse.
const reverseStates = 8

// defaultStateRows is few: how many states a bucket has is not known before.
const defaultStateRows = 8192

func (s *stateTimes) batchRows() int { return cmp.Or(s.request.BatchRows, defaultStateRows) }

// bytes is what answering may hold at once.
func (s *stateTimes) bytes() int64 {
	names := 3*s.tags.nameBytes + 96*int64(len(s.tags.asked))
	held := int64(1)
	if s.reverse() {
		held = reverseStates
	}
	window := int64(windowLeast) * (2*partialBytes + 2*rollup.MaxStates*64)
	return names + 2*int64(s.batchRows())*stateRowBytes + cursorBytes + s.while.bytes() + window + held*MaxStates*stateRowBytes + s.bucketing.bytes()
}

// StatesSchema is the schema ReadTimeInState will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) StatesSchema(r StatesRequest) (*arrow.Schema, error) {
	s, err := e.stateTimes(r)
	if err != nil {
		return nil, err
	}
	return newStateEncoder(s, nil, nil, nil).schema, nil
}

// ReadTimeInState writes what r asks for to sink: a row per tag, bucket and state the tag was in, in that order, the states by code. It
// returns how many rows it wrote, also beside an error.
func (e *Engine) ReadTimeInState(ctx context.Context, r StatesRequest, sink Sink) (uint64, error) {
	s, err := e.stateTimes(r)
	if err != nil {
		return 0, err
	}
	return e.stream(ctx, s.tags, s.bytes(), r.Consistency, func(view View) (batches, error) {
		out := newStateEncoder(s, view.Lost(), newStateTexts(e.store.Catalog()), sink)
		read := stateReader{stateTimes: s, pieces: pieces{stretch: stretch{view: view, strict: !r.UseUncertain}, most: windowLeast, while: s.while, conditionView: view}, out: out}
		for _, a := range s.tags.asked {
			if err := read.tag(ctx, a); err != nil {
				return out, fmt.Errorf("time in states of tag %s: %w", a.describe(), err)
			}
		}
		return out, nil
	})
}

// stateReader calculates bucket after bucket.
type stateReader struct {
	*stateTimes
	pieces
	out *stateEncoder
}

// inState is what a bucket knows of one value.
type inState struct {
	code     int64
	duration uint64 // nanoseconds
	samples  int64
	entries  int64
}

func (r *stateReader) tag(ctx context.Context, a asked) error {
	n, size := r.count(), windowLeast
	if r.reverse() {
		size = reverseStates
	}
	for from := 0; from < n; from += size {
		if err := r.window(ctx, a, from, min(from+size, n)); err != nil {
			return err
		}
	}
	return nil
}

// window writes the rows of buckets [from, to).
func (r *stateReader) window(ctx context.Context, a asked, from, to int) error {
	r.detail, r.usable = storage.Full, true
	defer r.close()
	r.open(a.tag, r.stateTimes.edges[from:to+1])
	var buckets [][]stateRow // in reverse
	for i := range to - from {
		at := from + i
		if r.reverse() {
			at = to - 1 - i
		}
		rows, err := r.bucketRows(ctx, a, i, at)
		if err != nil {
			return err
		}
		if r.reverse() {
			buckets = append(buckets, rows)
		} else if err := r.write(ctx, a, rows); err != nil {
			return err
		}
	}
	for _, rows := range slices.Backward(buckets) {
		if err := r.write(ctx, a, rows); err != nil {
			return err
		}
	}
	return nil
}

func (r *stateReader) write(ctx context.Context, a asked, rows []stateRow) error {
	for i := range rows {
		if err := r.out.add(ctx, a, &rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// bucketRows is the rows of a bucket: the i-th of the window from the earliest on, and of the answer the one at a place.
func (r *stateReader) bucketRows(ctx context.Context, a asked, i, at int) (rows []stateRow, err error) {
	found := stateSums{start: r.bounds[i], end: r.bounds[i+1]}
	var good, held uint64
	var last rollup.Point // of the bucket or before
	ends := false         // the last sample of all is last
	err = r.all(ctx, i, func(x *piece) error {
		x.Hold = min(r.now, x.End)
		if newest := lastOf(&x.Interval); newest != nil {
			expired := x.Reach > 0 && r.now > newest.Time && uint64(r.now)-uint64(newest.Time) > x.Reach
			if expired {
				x.Hold = min(x.Hold, newest.Time+int64(x.Reach)+1)
			}
			last, ends = *newest, x.After.Empty() && !expired
		}
		if x.out {
			return nil
		}
		d := x.Durations()
		good += d.Good()
		held += uint64(x.End) - uint64(x.Start)
		return r.states(ctx, a, x, &found)
	})
	if err != nil {
		return nil, err
	}
	row := stateRow{bucket: at, start: r.stateTimes.edges[at], end: r.stateTimes.edges[at+1], held: int64(min(held, math.MaxInt64))}
	row.good = 100 * float64(good) / float64(uint64(found.end)-uint64(found.start))
	isOpen := ends && last.Usable(r.strict)
	for _, s := range found.ordered() {
		if a.tag.Current().Type == model.Uint64 && s.code < 0 {
			return nil, fmt.Errorf("value %d: the highest code of a state is %d: %w", uint64(s.code), int64(math.MaxInt64), ErrBadRequest)
		}
		row.inState, row.open = s, isOpen && int64(last.Bits) == s.code
		rows = append(rows, row)
	}
	return rows, nil
}

// lastOf is the last sample of an interval, or else the last one before, nil of none.
func lastOf(iv *rollup.Interval) *rollup.Point {
	if last := iv.In.LastPoint(); last != nil {
		return last
	}
	return iv.Before.LastPoint()
}

// stateSums adds up the states of a bucket.
type stateSums struct {
	start, end int64
	found      map[int64]*inState
}

// of is what is known of one state.
func (s *stateSums) of(code int64) (*inState, error) {
	x := s.found[code]
	if x == nil {
		if len(s.found) == MaxStates {
			return nil, fmt.Errorf("more than %d different values from %s to %s: %w", MaxStates, model.FormatTime(s.start), model.FormatTime(s.end), ErrBadRequest)
		}
		if s.found == nil {
			s.found = map[int64]*inState{}
		}
		x = &inState{code: code}
		s.found[code] = x
	}
	return x, nil
}

// ordered is the states by code.
func (s *stateSums) ordered() (out []inState) {
	for _, code := range slices.Sorted(maps.Keys(s.found)) {
		out = append(out, *s.found[code])
	}
	return out
}

// states adds the states of a piece: from its partial, if that has them.
func (r *stateReader) states(ctx context.Context, a asked, piece *piece, sums *stateSums) error {
	found, ok := piece.States()
	if !ok {
		return r.statesOfSamples(ctx, a, piece, sums)
	}
	for _, s := range found {
		x := inState{code: s.Code, duration: s.GoodTime, samples: s.Good, entries: s.GoodEntries}
		if !r.strict {
			x.duration, x.samples, x.entries = x.duration+s.UncertainTime, x.samples+s.Uncertain, s.UsableEntries
		}
		if x.duration == 0 && x.samples == 0 {
			continue
		}
		sum, err := sums.of(x.code)
		if err != nil {
			return err
		}
		sum.duration, sum.samples, sum.entries = sum.duration+x.duration, sum.samples+x.samples, sum.entries+x.entries
	}
	return nil
}

// statesOfSamples adds the states of a piece where partials have none: of integers, and of more values than they tell apart.
func (r *stateReader) statesOfSamples(ctx context.Context, a asked, piece *piece, sums *stateSums) error {
	var held, usable rollup.Point
	if last := piece.Before.LastPoint(); last != nil {
		held = *last
	}
	if _, last := piece.Before.UsableEnds(r.strict); last != nil {
		usable = *last
	}
	hold := func(next, until int64) error {
		if piece.Reach > 0 && uint64(next)-uint64(held.Time) > piece.Reach {
			until = held.Time + 1
		}
		from, until := max(held.Time, piece.Start), min(until, piece.End)
		if held.Type == 0 || from >= until || !held.Usable(r.strict) {
			return nil
		}
		s, err := sums.of(int64(held.Bits))
		if err == nil {
			s.duration += uint64(until) - uint64(from)
		}
		return err
	}
	all := int64(0)
	samples := feed{cursor: shapeOf(r.view, a.tag.ID, piece.samples)}
	defer samples.cursor.Close()
	err := samples.until(ctx, piece.samples.End, func(x *rollup.Point) error {
		if !x.Gap {
			all++
		}
		if err := hold(x.Time, x.Time); err != nil {
			return err
		}
		if held = *x; !held.Usable(r.strict) {
			return nil
		}
		s, err := sums.of(int64(held.Bits))
		if err != nil {
			return err
		}
		s.samples++
		if usable.Type != 0 && usable.Bits != x.Bits {
			s.entries++
		}
		usable = held
		return nil
	})
	if err != nil {
		return err
	}
	if all != piece.In.Counts().All() {
		return fmt.Errorf("samples from %s to %s, whose values rollups do not tell: %w", model.FormatTime(piece.Start), model.FormatTime(piece.End), storage.ErrErased)
	}
	if next := piece.After.FirstPoint(); next != nil {
		return hold(next.Time, next.Time)
	}
	return hold(held.Time, piece.Hold) // how long the newest one holds is decided
}
