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
	UseUncertain bool // Uncertain samples are usable; otherwise they are taken for Bad
	Consistency  storage.Consistency
	BatchRows    int
}

// stateTimes is one checked request.
type stateTimes struct {
	request StatesRequest
	tags    *tagList
	*bucketing
	now int64
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
	tags, err := resolve(catalog, r.Tags, namesAt(catalog, max(buckets.edges[0], buckets.edges[buckets.count()]-1)))
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
	return &stateTimes{request: r, tags: tags, bucketing: buckets, now: e.now().UnixNano()}, nil
}

// defaultStateRows is few: how many states a bucket has is not known before.
const defaultStateRows = 8192

func (s *stateTimes) batchRows() int { return cmp.Or(s.request.BatchRows, defaultStateRows) }

// bytes is what answering may hold at once.
func (s *stateTimes) bytes() int64 {
	names := 3*s.tags.nameBytes + 96*int64(len(s.tags.asked))
	window := int64(windowLeast) * (2*partialBytes + 2*rollup.MaxStates*64)
	return names + 2*int64(s.batchRows())*stateRowBytes + cursorBytes + window + MaxStates*stateRowBytes + s.bucketing.bytes()
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
		read := stateReader{stateTimes: s, stretch: stretch{view: view, strict: !r.UseUncertain}, out: out}
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
	stretch
	out   *stateEncoder
	edges []int64 // ascending, as storage takes them
}

// inState is what a bucket knows of one value.
type inState struct {
	code     int64
	duration uint64 // nanoseconds
	samples  int64
	entries  int64
}

func (r *stateReader) tag(ctx context.Context, a asked) error {
	n := r.count()
	for from := 0; from < n; from += windowLeast {
		if err := r.window(ctx, a, from, min(from+windowLeast, n)); err != nil {
			return err
		}
	}
	return nil
}

// window writes the rows of buckets [from, to).
func (r *stateReader) window(ctx context.Context, a asked, from, to int) error {
	edges := slices.Clone(r.stateTimes.edges[from : to+1])
	r.edges = ascendingEdges(edges, r.edges)
	if err := r.read(ctx, a.tag.ID, r.edges); err != nil {
		return err
	}
	p := &r.partials
	intervals := make([]rollup.Interval, to-from)
	befores := make([]rollup.Partial, to-from) // of each the last points and the last usable samples
	before, after := p.Before, &p.After
	for i := range intervals {
		befores[i] = before
		intervals[i] = rollup.Interval{Start: edges[i], End: edges[i+1], Before: &befores[i], In: &p.Buckets[i], Hold: min(r.now, edges[i+1])}
		before.TakeLast(&p.Buckets[i])
	}
	for i := len(intervals) - 1; i >= 0; i-- {
		intervals[i].After = after
		if !p.Buckets[i].Empty() {
			after = &p.Buckets[i]
		}
	}
	for k := range intervals {
		i := k
		if r.reverse() {
			i = len(intervals) - 1 - k
		}
		if err := r.bucket(ctx, a, from+k, &intervals[i], model.TimeRange{Start: r.edges[i], End: r.edges[i+1]}); err != nil {
			return err
		}
	}
	return nil
}

// bucket writes the rows of a bucket, whose samples lie in a range.
func (r *stateReader) bucket(ctx context.Context, a asked, bucket int, iv *rollup.Interval, in model.TimeRange) error {
	states, err := r.states(ctx, a, iv, in)
	if err != nil {
		return err
	}
	d := iv.Durations()
	row := stateRow{bucket: bucket, start: r.stateTimes.edges[bucket], end: r.stateTimes.edges[bucket+1], good: 100 * float64(d.Good()) / float64(uint64(iv.End)-uint64(iv.Start))}
	last := iv.In.LastPoint()
	if last == nil {
		last = iv.Before.LastPoint()
	}
	isOpen := iv.After.Empty() && last != nil && last.Usable(r.strict)
	for _, s := range states {
		if a.tag.Current().Type == model.Uint64 && s.code < 0 {
			return fmt.Errorf("value %d: the highest code of a state is %d: %w", uint64(s.code), int64(math.MaxInt64), ErrBadRequest)
		}
		row.inState, row.open = s, isOpen && int64(last.Bits) == s.code
		if err := r.out.add(ctx, a, &row); err != nil {
			return err
		}
	}
	return nil
}

// states is the states of a bucket by code: from its partial, if that has them.
func (r *stateReader) states(ctx context.Context, a asked, iv *rollup.Interval, in model.TimeRange) (out []inState, err error) {
	found, ok := iv.States()
	if !ok {
		return r.statesOfSamples(ctx, a, iv, in)
	}
	for _, s := range found {
		x := inState{code: s.Code, duration: s.GoodTime, samples: s.Good, entries: s.GoodEntries}
		if !r.strict {
			x.duration, x.samples, x.entries = x.duration+s.UncertainTime, x.samples+s.Uncertain, s.UsableEntries
		}
		if x.duration > 0 || x.samples > 0 {
			out = append(out, x)
		}
	}
	return out, nil
}

// statesOfSamples is the states of a bucket where partials have none: of integers, and of more values than they tell apart.
func (r *stateReader) statesOfSamples(ctx context.Context, a asked, iv *rollup.Interval, in model.TimeRange) ([]inState, error) {
	found := map[int64]*inState{}
	of := func(p *rollup.Point) (*inState, error) {
		code := int64(p.Bits)
		s := found[code]
		if s == nil {
			if len(found) == MaxStates {
				return nil, fmt.Errorf("more than %d different values from %s to %s: %w", MaxStates, model.FormatTime(iv.Start), model.FormatTime(iv.End), ErrBadRequest)
			}
			s = &inState{code: code}
			found[code] = s
		}
		return s, nil
	}
	var held, usable rollup.Point
	if last := iv.Before.LastPoint(); last != nil {
		held = *last
	}
	if _, last := iv.Before.UsableEnds(r.strict); last != nil {
		usable = *last
	}
	hold := func(until int64) error {
		from := max(held.Time, iv.Start)
		if held.Type == 0 || from >= until || !held.Usable(r.strict) {
			return nil
		}
		s, err := of(&held)
		if err == nil {
			s.duration += uint64(until) - uint64(from)
		}
		return err
	}
	all := int64(0)
	samples := feed{cursor: shapeOf(r.view, a.tag.ID, in)}
	defer samples.cursor.Close()
	err := samples.until(ctx, in.End, func(x *rollup.Point) error {
		if !x.Gap {
			all++
		}
		if err := hold(x.Time); err != nil {
			return err
		}
		if held = *x; !held.Usable(r.strict) {
			return nil
		}
		s, err := of(&held)
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
		return nil, err
	}
	if all != iv.In.Counts().All() {
		return nil, fmt.Errorf("samples from %s to %s, whose values rollups do not tell: %w", model.FormatTime(iv.Start), model.FormatTime(iv.End), storage.ErrErased)
	}
	until := iv.End
	if iv.After.Empty() {
		until = iv.Hold
	}
	if err := hold(until); err != nil {
		return nil, err
	}
	var out []inState
	for _, code := range slices.Sorted(maps.Keys(found)) {
		out = append(out, *found[code])
	}
	return out, nil
}
