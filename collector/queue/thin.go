package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/log"
)

// thinWidths are tried one after the other: of every so long the first, last, least and greatest sample of a tag stay.
var thinWidths = []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour}

// thin thins out records. What it leaves of them for a destination is put anew, as records for it alone, and gaps of kind thinned tell of what
// was left out. Where even the widest leaves too much, the records are lost.
func (q *Queue) thin(ctx context.Context, s *sender, parts []offsets) error {
	for _, width := range thinWidths {
		t := newThinner(width)
		t.most = q.thinRoom() / len(q.senders)
		damaged, err := q.thinParts(ctx, s, parts, t)
		if err != nil && !errors.Is(err, errThinner) {
			return err
		}
		if runs, ok := t.finish(); ok {
			if err := q.putThinned(ctx, s.d.Name, runs); err != nil {
				return err
			}
			if err := q.putSpans(ctx, s.d.Name, t.leftOut, varvev1.GapKind_GAP_KIND_THINNED,
				fmt.Sprintf("the queue of the collector was full: of every %s the first, last, least and greatest sample are left", width)); err != nil {
				return err
			}
			s.mu.Lock()
			s.st.Thinned += t.left
			s.mu.Unlock()
			if err := q.putSpans(ctx, s.d.Name, bySpan(t.lost), varvev1.GapKind_GAP_KIND_LOST, queueFull); err != nil {
				return err
			}
			return q.tellDamaged(ctx, s, damaged)
		}
	}
	return q.tellLost(ctx, s, parts)
}

// thinParts has a thinner look at some records, and then take them, and returns which are damaged. It fails with errThinner when too much is left.
func (q *Queue) thinParts(ctx context.Context, s *sender, parts []offsets, t *thinner) (damaged []offsets, err error) {
	for _, take := range []func(*varvev1.Run) error{t.look, t.add} {
		damaged = nil
		for _, p := range parts {
			lost, err := q.eachRun(ctx, s.d.Name, p, take)
			if err != nil {
				return nil, err
			}
			damaged = append(damaged, lost...)
		}
	}
	return damaged, nil
}

// thinRoom is the bytes that may be left of a segment: half, so that each takes less room than it makes.
func (q *Queue) thinRoom() int { return int(q.segmentBytes() / 2) }

// putThinned puts runs for one destination, whatever room there is, and waits until they are on disk.
func (q *Queue) putThinned(ctx context.Context, destination string, runs []*varvev1.Run) error {
	var last *log.Commit
	for len(runs) > 0 {
		n, size := 0, 0
		for n < len(runs) && (n == 0 || size < maxRecordBytes) {
			size += proto.Size(runs[n])
			n++
		}
		now := q.o.Now().UnixNano()
		record, err := encodeRecord(now, destination, runs[:n])
		if err != nil {
			return err
		}
		if last, err = q.write(ctx, now, record, runs[:n]); err != nil {
			return err
		}
		runs = runs[n:]
	}
	if last == nil {
		return nil
	}
	return last.Wait(ctx)
}

// errThinner says that more is left than may be.
var errThinner = errors.New("too much is left")

// thinner keeps some samples of each tag, as they come.
type thinner struct {
	width int64
	most  int // bytes that may be left, about
	bytes int
	late  int    // bytes of what came late, about
	left  uint64 // samples left out

	came    map[thinKey]*arrival
	of      map[thinKey]*thinTag
	order   []*thinTag        // as they came
	lost    map[string]span   // of runs that are no plain samples
	leftOut map[span][]string // in which samples were left out
	samples []thinSample      // of the run at hand
}

// thinKey keeps apart what is thinned apart: live samples, and what is late on purpose or was thinned before, which lies behind it in the queue.
type thinKey struct {
	tag  string
	mode varvev1.WriteMode
	typ  model.Type
}

// arrival is in which order samples of a tag came: the newest time so far, and the times of those that came behind newer ones, or another one of
// their time. One of these may take the place of another sample, so that it is known of none at such a time whether it stays.
type arrival struct {
	newest int64
	again  map[int64]bool
}

type thinTag struct {
	thinKey
	again    map[int64]bool
	kept     []thinSample
	now      thinPiece
	from, to int64 // of the pieces in which samples were left out; to below from where there are none
}

// thinSample is a sample with its value as bits, or text.
type thinSample struct {
	time    int64
	bits    uint64
	text    string
	quality model.Quality
	null    bool
}

// thinPiece is samples of a tag one behind the other, in ascending times of one stretch of the width, of one quality, and all with a number or
// all with one value or none. Nothing else need be known of them than the four.
type thinPiece struct {
	n                            int
	first, last, least, greatest thinSample
}

func newThinner(width time.Duration) *thinner {
	return &thinner{width: int64(width), came: map[thinKey]*arrival{}, of: map[thinKey]*thinTag{}, lost: map[string]span{}, leftOut: map[span][]string{}}
}

// samplesOf is plainSamples, which hold until the next call.
func (t *thinner) samplesOf(r *varvev1.Run) (samples []thinSample, typ model.Type, ok bool) {
	t.samples, typ, ok = plainSamples(r, t.samples)
	return t.samples, typ, ok
}

// look notes in which order the samples of a run come. All are looked at before the first is taken. It fails with errThinner when too many come late.
func (t *thinner) look(r *varvev1.Run) error {
	samples, typ, ok := t.samplesOf(r)
	if !ok || len(samples) == 0 {
		return nil
	}
	k := thinKey{r.Tag, r.Mode, typ}
	a := t.came[k]
	if a == nil {
		a = &arrival{newest: math.MinInt64}
		t.came[k] = a
	}
	for _, x := range samples {
		if x.time > a.newest {
			a.newest = x.time
		} else if !a.again[x.time] {
			if a.again == nil { // most tags have none
				a.again = map[int64]bool{}
			}
			a.again[x.time] = true
			t.late += sampleBytes
		}
	}
	if t.late > t.most {
		return errThinner
	}
	return nil
}

// add takes a run. It fails with errThinner when too much is left.
func (t *thinner) add(r *varvev1.Run) error {
	samples, typ, ok := t.samplesOf(r)
	if !ok {
		if from, to, ok := session.Times(r, 0, session.RunLen(r)); ok {
			widen(t.lost, r.Tag, span{from, to, typeOf(r)})
		}
		return nil
	}
	if len(samples) == 0 {
		return nil
	}
	k := thinKey{r.Tag, r.Mode, typ}
	tag := t.of[k]
	if tag == nil {
		tag = &thinTag{thinKey: k, again: t.came[k].again, from: math.MaxInt64, to: math.MinInt64}
		t.of[k] = tag
		t.order = append(t.order, tag)
		t.bytes += len(r.Tag) + runBytes
	}
	for _, x := range samples {
		if !tag.takes(x, t.width) {
			t.cut(tag)
		}
		tag.now.add(x, typ)
	}
	if t.bytes > t.most {
		return errThinner
	}
	return nil
}

// The bytes of a run beside its tag's name, and of a sample beside its text, about.
const (
	runBytes    = 24
	sampleBytes = 12
)

// takes reports whether the piece goes on with a sample. One at whose time another comes is a piece of its own: only what is sure to stay stands for others.
func (t *thinTag) takes(x thinSample, width int64) bool {
	last := t.now.last
	if t.now.n == 0 {
		return true
	}
	if t.again[x.time] || t.again[last.time] || floorDiv(x.time, width) != floorDiv(last.time, width) || x.quality != last.quality || x.null != last.null {
		return false
	}
	return ordered(t.typ, x.bits) && ordered(t.typ, last.bits) || x.bits == last.bits && x.text == last.text
}

func byTime(a, b thinSample) int { return cmp.Compare(a.time, b.time) }

func sameTime(a, b thinSample) bool { return a.time == b.time }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (p *thinPiece) add(x thinSample, typ model.Type) {
	if p.n++; p.n == 1 {
		p.first, p.last, p.least, p.greatest = x, x, x, x
		return
	}
	p.last = x
	if less(typ, x.bits, p.least.bits) {
		p.least = x
	}
	if less(typ, p.greatest.bits, x.bits) {
		p.greatest = x
	}
}

// cut ends the piece of a tag.
func (t *thinner) cut(tag *thinTag) {
	p := &tag.now
	four := []thinSample{p.first, p.least, p.greatest, p.last}
	slices.SortFunc(four, byTime)
	four = slices.CompactFunc(four, sameTime)
	tag.kept = append(tag.kept, four...)
	for _, x := range four {
		t.bytes += sampleBytes + len(x.text)
	}
	if n := p.n - len(four); n > 0 {
		t.left += uint64(n)
		tag.from, tag.to = min(tag.from, p.first.time), max(tag.to, p.last.time)
	}
	*p = thinPiece{}
}

// finish is what is left, as runs that change nothing where a destination has other samples by then. It reports false where that is too much.
func (t *thinner) finish() (runs []*varvev1.Run, ok bool) {
	if t.bytes > t.most {
		return nil, false
	}
	for _, tag := range t.order {
		t.cut(tag)
		if tag.to >= tag.from {
			x := span{tag.from, tag.to, varvev1.Type(tag.typ)}
			t.leftOut[x] = append(t.leftOut[x], tag.tag)
		}
	}
	if t.bytes > t.most {
		return nil, false
	}
	// Of one time a live sample counts before one that changes nothing.
	slices.SortStableFunc(t.order, func(a, b *thinTag) int { return cmp.Compare(a.mode, b.mode) })
	for _, tag := range t.order {
		// Of one time the sample that came last counts.
		slices.Reverse(tag.kept)
		slices.SortStableFunc(tag.kept, byTime)
		tag.kept = slices.CompactFunc(tag.kept, sameTime)
		b := session.RunBuilder{Name: tag.tag, Type: tag.typ, Mode: varvev1.WriteMode_WRITE_MODE_NO_REPLACE}
		for _, x := range tag.kept {
			switch {
			case x.null:
				b.AddNull(x.time, x.quality)
			case tag.typ.Blob():
				b.AddText(x.time, x.text, x.quality)
			default:
				b.Add(x.time, x.bits, x.quality)
			}
		}
		for from := 0; from < b.Len(); {
			to, _ := b.Cut(from, b.Len(), maxRecordBytes)
			runs = append(runs, b.Run(from, to))
			from = to
		}
	}
	return runs, true
}

// plainSamples are the samples of a run that puts values at times and no more, in place of what stands in room. It reports false for another one.
func plainSamples(r *varvev1.Run, room []thinSample) (out []thinSample, typ model.Type, ok bool) {
	switch r.Mode {
	case varvev1.WriteMode_WRITE_MODE_UNSPECIFIED, varvev1.WriteMode_WRITE_MODE_UPDATE, varvev1.WriteMode_WRITE_MODE_NO_REPLACE:
	default:
		return nil, 0, false
	}
	n := session.RunLen(r)
	if len(r.Seq) > 0 || r.All || n > maxRunSamples {
		return nil, 0, false
	}
	typ, values := columnOf(r, n)
	if typ == 0 {
		return nil, 0, false
	}
	out = slices.Grow(room[:0], n)[:n]
	clear(out)
	for i := range out {
		values(i, &out[i])
	}
	setTimes(out, r)
	at := 0
	for i, code := range r.QualityCode {
		if i >= len(r.QualityCount) || int(r.QualityCount[i]) > n-at {
			return nil, 0, false
		}
		for range r.QualityCount[i] {
			out[at].quality = model.Quality(code)
			at++
		}
	}
	if len(r.QualityCode) > 0 && at != n {
		return nil, 0, false
	}
	for _, i := range r.NullAt {
		if int(i) >= n {
			return nil, 0, false
		}
		out[i].null, out[i].bits, out[i].text = true, 0, ""
	}
	return out, typ, true
}

// maxRunSamples is the most samples a server takes in one run.
const maxRunSamples = 1_000_000

// columnOf is the type of n values of a run and what sets one; type 0 where they are not so many, or not of one type.
func columnOf(r *varvev1.Run, n int) (typ model.Type, set func(i int, x *thinSample)) {
	columns := 0
	column := func(t model.Type, have int, f func(i int, x *thinSample)) {
		if have == 0 {
			return
		}
		if columns++; have == n {
			typ, set = t, f
		}
	}
	column(model.Float64, len(r.Float64), func(i int, x *thinSample) { x.bits = math.Float64bits(r.Float64[i]) })
	column(model.Float32, len(r.Float32), func(i int, x *thinSample) { x.bits = uint64(math.Float32bits(r.Float32[i])) })
	column(model.Int64, len(r.Int64), func(i int, x *thinSample) { x.bits = uint64(r.Int64[i]) })
	column(model.Uint64, len(r.Uint64), func(i int, x *thinSample) { x.bits = r.Uint64[i] })
	column(model.Bool, len(r.Bool), func(i int, x *thinSample) {
		if r.Bool[i] {
			x.bits = 1
		}
	})
	column(model.State, len(r.State), func(i int, x *thinSample) { x.bits = uint64(r.State[i]) })
	column(model.String, len(r.Text), func(i int, x *thinSample) { x.text = r.Text[i] })
	column(model.Bytes, len(r.Blob), func(i int, x *thinSample) { x.text = string(r.Blob[i]) })
	if columns != 1 {
		return 0, nil
	}
	return typ, set
}

// setTimes gives the samples of a run their times.
func setTimes(out []thinSample, r *varvev1.Run) {
	switch {
	case len(r.TimesNs) > 0:
		for i := range out {
			out[i].time = r.TimesNs[i]
		}
	case r.Count > 0:
		for i := range out {
			out[i].time = r.FirstTimeNs + int64(i)*r.StepNs
		}
	case len(out) > 0:
		unit, at := int64(max(r.TimeUnitNs, 1)), r.FirstTimeNs
		for i := range out {
			if i > 0 {
				at += r.TimeDeltas[i-1] * unit
			}
			out[i].time = at
		}
	}
}

// less reports whether one value lies below another of its type. Values that are no numbers do not.
func less(typ model.Type, a, b uint64) bool {
	switch typ {
	case model.Float64:
		return math.Float64frombits(a) < math.Float64frombits(b)
	case model.Float32:
		return math.Float32frombits(uint32(a)) < math.Float32frombits(uint32(b))
	case model.Int64:
		return int64(a) < int64(b)
	case model.Uint64:
		return a < b
	}
	return false
}

// ordered reports whether a value is a number that others of its type lie below or above.
func ordered(typ model.Type, bits uint64) bool {
	switch typ {
	case model.Float64:
		return !math.IsNaN(math.Float64frombits(bits))
	case model.Float32:
		return !math.IsNaN(float64(math.Float32frombits(uint32(bits))))
	}
	return typ == model.Int64 || typ == model.Uint64
}
