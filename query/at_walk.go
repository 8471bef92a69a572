package query

import (
	"context"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// walk answers instants on one way forward through the samples of a tag. What lies between an instant and the next is read,
// or, where that is much, looked past: then the walk begins anew at the next instant.
type walk struct {
	rules
	order    []int32 // as of atTimes
	cursor   Cursor
	tagAsked asked
	rows     atRows
	instants []int64 // of the window being answered, ascending
	next     int     // of them, the first without an answer

	left, right rollup.Point // the samples next to an instant, before or at it, and behind it
	hasLeft     bool
	bad         badStretch // looking past samples that are not usable

	from   int64   // where the block to come begins, as far as is known
	stop   int64   // where the cursor does; it has to go on from there
	sparse bool    // the next instant is far from the one being looked for
	load   float64 // samples to be read in a nanosecond, blocks counted as blockCost of them; 0 where it is not known
}

// worthSeeking is how many samples are read rather than looked past, and blockCost what a block costs beside its samples, in
// samples. In BenchmarkSparseInstants a search costs as much as 8,000 samples; where it waits for a disk it costs more.
const (
	worthSeeking = 1 << 14
	blockCost    = 1 << 11
)

// rules say what the value at an instant is.
type rules struct {
	values   interpolation
	discrete bool   // no value but at the time of a sample
	bridge   bool   // looks past samples that are not usable
	hold     bool   // the sample before or at the instant as it is, in place of all that
	maxAge   uint64 // of that sample, nanoseconds
}

// begin turns to a tag.
func (w *walk) begin(a asked) { w.tagAsked, w.load = a, 0 }

// window answers ascending instants. Where their text is more than rows may hold it answers some, from the first on.
func (w *walk) window(ctx context.Context, instants []int64) error {
	w.instants, w.next = instants, 0
	w.rows.reset(len(instants), w.tagAsked.tag.Current().Type)
	return w.run(ctx)
}

// run answers the instants of a window.
func (w *walk) run(ctx context.Context) error {
	w.sparse = len(w.instants) == 1
	if err := w.seek(ctx); err != nil {
		return err
	}
	for w.next < len(w.instants) {
		b, err := w.cursor.Next(ctx)
		switch {
		case err == io.EOF && w.stop == math.MaxInt64:
			w.end()
			return nil
		case err == io.EOF:
			w.sparse = false
			w.forward(w.stop)
			continue
		case err != nil:
			return err
		}
		if err := requireType(rows{asked: w.tagAsked, Block: b, to: b.Len()}, w.tagAsked.tag.Current().Type); err != nil {
			return err
		}
		switch {
		case w.hold:
			w.takeHeld(b)
		case w.bridge:
			w.takeBridging(b)
		case w.plain(b):
			w.takeDoubles(b)
		default:
			w.take(b)
		}
		if w.rows.blobBytes > keptBlobBytes && w.next > 0 {
			return nil
		}
		if w.far(b) {
			w.sparse = true
			if err := w.seek(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// seek finds what the rules look at before and at the next instant, and puts the cursor behind it.
func (w *walk) seek(ctx context.Context) error {
	u := w.instants[w.next]
	for _, in := range nearAndAll(u, true) {
		w.hasLeft, w.bad = false, badStretch{met: w.next}
		w.cursor.Reset(w.tagAsked.tag.ID, in)
		found, err := w.back(ctx, u)
		if err != nil {
			return err
		}
		if found {
			break
		}
	}
	w.forward(behindInstant(u))
	return nil
}

// back goes back from an instant to the sample before or at it, or, bridging, to a usable one.
func (w *walk) back(ctx context.Context, u int64) (found bool, err error) {
	for {
		b, err := w.cursor.Next(ctx)
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for i := range b.Len() {
			if !w.bridge {
				w.setLeft(b, i)
				return true, nil
			}
			if w.bad.back(w, b, i, u) {
				return true, nil
			}
		}
	}
}

// forward puts the cursor to all samples from an instant on, or to those that are likely to be enough.
func (w *walk) forward(from int64) {
	last := w.instants[len(w.instants)-1]
	if w.sparse {
		last = w.instants[w.next]
	}
	w.from, w.stop = from, math.MaxInt64
	if last < math.MaxInt64-boundNear && last+boundNear > from {
		w.stop = last + boundNear
	}
	w.cursor.Reset(w.tagAsked.tag.ID, model.TimeRange{Start: from, End: w.stop})
}

// far reports whether the next instant is so far behind a block that looking for it costs less than reading up to it.
func (w *walk) far(b *storage.Block) bool {
	n := b.Len()
	last := b.Times[n-1]
	if reach := uint64(last) - uint64(w.from); !w.sparse && reach > 0 { // sparse ones are cut short, and say nothing
		w.load = float64(n+blockCost) / float64(reach)
	}
	w.from = last
	if w.next == len(w.instants) || w.bridge && w.bad.met > w.next {
		return false
	}
	u := w.instants[w.next]
	return u > last && float64(uint64(u)-uint64(last))*w.load > worthSeeking
}

func (w *walk) setLeft(b *storage.Block, i int) {
	w.left, w.hasLeft = pointOf(b, i), true
	w.left.Blob = slices.Clone(w.left.Blob)
}

// take answers the instants that a sample of the block lies behind.
func (w *walk) take(b *storage.Block) {
	at, left := 0, -1 // the first sample behind an instant; which one left is, where it is of the block
	for w.next < len(w.instants) {
		at += countUpTo(b.Times[at:], w.instants[w.next])
		if at > 0 && left != at-1 {
			left = at - 1
			w.setLeft(b, left)
		}
		if at == b.Len() {
			return
		}
		w.right = pointOf(b, at)
		w.answer(&w.right)
	}
}

// countUpTo is how many of ascending times are not behind an instant. Those asked for lie near the beginning more often than not.
func countUpTo(times []int64, instant int64) int {
	step := 1
	for step < len(times) && times[step-1] <= instant {
		step *= 2
	}
	from := step / 2
	part := times[from:min(step, len(times))]
	return from + sort.Search(len(part), func(i int) bool { return part[i] > instant })
}

// answer answers the next instant, with the first sample behind it; nil for none.
func (w *walk) answer(after *rollup.Point) {
	u, tag := w.instants[w.next], w.tagAsked.tag
	var before *rollup.Point
	if w.hasLeft {
		before = &w.left
	}
	switch {
	case before != nil && before.Gap:
		s := gapValue(before, u)
		w.put(w.next, &s)
	case before != nil && before.Time == u:
		w.put(w.next, &before.Sample)
	case w.discrete:
		s := noValue(tag, u)
		w.put(w.next, &s)
	default:
		s := w.values.simple(tag, before, after, u)
		w.put(w.next, &s)
	}
	w.next++
}

// end answers the instants that no sample lies behind.
func (w *walk) end() {
	if w.bridge {
		w.endBridging()
		return
	}
	for w.next < len(w.instants) {
		if w.hold {
			w.putHeld()
		} else {
			w.answer(nil)
		}
	}
}

// put is the answer of an instant.
func (w *walk) put(i int, s *model.Sample) {
	if w.order != nil {
		i = int(w.order[i])
	}
	w.rows.put(i, s)
}

// badStretch is where a walk stands that looks past samples that are not usable. Instants between met and the next without an
// answer wait for a usable sample behind them.
type badStretch struct {
	met      int          // the first instant that no sample read lies behind
	usable   rollup.Point // the last usable sample
	value    rollup.Point // the last one that has a value and is not Bad: what a sample at an instant says
	has      bool         // usable is there
	hasValue bool
	skipping bool // samples that are not usable lie behind the last usable one
	clean    int  // instants before it lie before those
}

// back meets a sample before or at an instant, going back, and reports whether it is usable.
func (s *badStretch) back(w *walk, b *storage.Block, i int, u int64) bool {
	p := pointOf(b, i)
	if !s.hasValue && p.Time == u && p.Usable(false) {
		s.value, s.hasValue = *keep(p), true
	}
	if !p.Usable(w.values.strict) {
		s.skipping, s.clean = true, w.next
		return false
	}
	s.usable, s.has = *keep(p), true
	return true
}

// takeBridging answers the instants that a usable sample of the block lies behind.
func (w *walk) takeBridging(b *storage.Block) {
	s := &w.bad
	for i := 0; i < b.Len() && w.next < len(w.instants); i++ {
		if b.Quality == nil && b.Null == nil && s.met == w.next { // nothing waits, and all are usable: on to the last one before the instant
			i += max(0, countUpTo(b.Times[i:], w.instants[w.next])-1)
		}
		t := b.Times[i]
		w.meet(t)
		p := pointOf(b, i)
		p.Blob = slices.Clone(p.Blob) // that of the block holds until the next one
		if p.Usable(false) {
			s.value, s.hasValue = p, true
		}
		if !p.Usable(w.values.strict) {
			if !s.skipping {
				s.skipping, s.clean = true, s.met
			}
			continue
		}
		w.right = p
		w.bridgeTo(&w.right, false)
		s.usable, s.has, s.skipping = p, true, false
	}
}

// meet answers the instants before t at which the last value stands; the others wait.
func (w *walk) meet(t int64) {
	s := &w.bad
	for s.met < len(w.instants) && w.instants[s.met] < t {
		if s.hasValue && s.value.Time == w.instants[s.met] {
			w.rows.answered[s.met] = true
			w.put(s.met, &s.value.Sample)
		}
		s.met++
	}
}

// bridgeTo answers the instants that wait, with the usable sample behind them, nil for none. At the end there is none of any kind
// behind those that no sample was met behind.
func (w *walk) bridgeTo(after *rollup.Point, end bool) {
	s := &w.bad
	for ; w.next < s.met; w.next++ {
		if w.rows.answered[w.next] {
			continue
		}
		u := w.instants[w.next]
		ends := part13.UsableEnds{
			After: after, SkippedBefore: s.skipping && w.next >= s.clean, SkippedAfter: s.skipping, Last: end,
		}
		if s.has {
			ends.Before = &s.usable
		}
		x := w.values.bridged(w.tagAsked.tag, ends, u)
		w.put(w.next, &x)
	}
}

// endBridging answers the instants that no usable sample lies behind: first those that some sample does.
func (w *walk) endBridging() {
	w.bridgeTo(nil, false)
	w.meet(math.MaxInt64)
	w.bridgeTo(nil, true)
}

// atRows are the rows of a window, one slice per column.
type atRows struct {
	bits      []uint64
	blobs     [][]byte
	quality   []model.Quality
	null      []bool
	answered  []bool // of rows whose turn was not yet
	blobBytes int
	lastBlob  []byte // rows one behind the other may share theirs
}

// reset makes room for n rows of a type.
func (r *atRows) reset(n int, t model.Type) {
	r.quality, r.null, r.answered = resized(r.quality, n), resized(r.null, n), resized(r.answered, n)
	clear(r.answered)
	r.bits, r.blobs, r.blobBytes, r.lastBlob = r.bits[:0], r.blobs[:0], 0, nil
	if t.Blob() {
		r.blobs = resized(r.blobs, n)
	} else {
		r.bits = resized(r.bits, n)
	}
}

func resized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

func (r *atRows) put(i int, s *model.Sample) {
	r.quality[i], r.null[i] = s.Quality, s.Null
	if !s.Type.Blob() {
		r.bits[i] = s.Bits
		return
	}
	if r.blobs[i] = s.Blob; len(s.Blob) > 0 && (len(r.lastBlob) == 0 || &s.Blob[0] != &r.lastBlob[0]) {
		r.blobBytes += len(s.Blob)
		r.lastBlob = s.Blob
	}
}

// add writes the first rows, at their instants.
func (r *atRows) add(ctx context.Context, a asked, instants []int64, t model.Type, out *encoder) error {
	n := len(instants)
	s := model.Samples{Type: t, Times: instants, Quality: r.quality[:n], Null: r.null[:n]}
	if t.Blob() {
		s.Blobs = r.blobs[:n]
	} else {
		s.Bits = r.bits[:n]
	}
	return out.add(ctx, a, &storage.Block{Samples: s})
}
