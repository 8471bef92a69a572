package forward

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
)

// lane forwards what is worked out of buckets of time: an aggregate, or the samples that a filter keeps. It has a subscription and a place of its own: changes make buckets
// dirty, and buckets that are over are worked out anew of what the edge holds once in a while.
// What is dirty is in memory only. So the place stays in front of the first change whose bucket was not sent, and a restart finds the same buckets dirty again.
type lane struct {
	f        *Forwarder
	work     worker
	patterns []string // of the tags that it is told of
	every    time.Duration
	settle   time.Duration // how long after its end a bucket is over
	what     string        // in errors and logs
	dir      string
	tags     edgeTags

	place  place
	dirty  map[uint32]*dirty // by tag
	marks  []mark            // where the place may move to, ascending by pass
	pass   uint64
	token  string // of the newest message taken
	gaps   gapPoll
	gapsTo int64 // gaps that changed before are marked

	due    time.Time // of the next pass
	latest time.Time // due is no later, whatever changes
	passed int64     // the first bucket that was not over when the pass before began
	late   bool      // one before it became dirty

	health *ruleHealth
	waits  waiting // what is dirty
	days   bool    // of it, days that are read anew
}

// worker is what a lane does with buckets.
type worker interface {
	// takes reports whether a tag that had this name first is the lane's.
	takes(first string) bool
	// begin is told the first bucket that is not over, before the others are worked out; it is false where they are to wait.
	begin(over int64) (bool, error)
	// compute gathers what a change in buckets [s.from, s.to) changed. Where gone, samples were taken away there.
	compute(ctx context.Context, p *packer, tag *edgeTag, s span, over int64, gone bool) error
	// gapChanged marks what a gap changes that changed at a time.
	gapChanged(tag uint32, g *varvev1.Gap, at int64)
}

// mark is what stood when a pass began.
type mark struct {
	pass   uint64
	token  string
	gapsTo int64
}

// dirty is what changed of a tag since it was sent.
type dirty struct {
	buckets map[int64]change // changed buckets, and their first change
	ranges  []span           // of buckets, of range changes and of days
	gone    bool             // samples were taken away
}

// change is one that made a bucket dirty.
type change struct {
	pass   uint64 // the pass behind which it came
	stored int64  // ingest time at the edge
}

// over takes out the stretches of buckets before one, ascending and apart.
func (d *dirty) over(end int64) (out []span) {
	all := d.ranges
	for b := range d.buckets {
		if b < end {
			all = append(all, span{b, b + 1})
		}
	}
	slices.SortFunc(all, func(x, y span) int { return cmp.Compare(x.from, y.from) })
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].to >= s.from {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].to = min(out[i].to, end); out[i].from >= out[i].to {
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// sent forgets what is before a bucket. Of ranges nothing is kept: what is written behind it later makes its bucket dirty by itself.
func (d *dirty) sent(end int64) {
	d.ranges, d.gone = nil, false
	maps.DeleteFunc(d.buckets, func(b int64, _ change) bool { return b < end })
}

// newLane is a lane with the place that is kept under a key.
func newLane(f *Forwarder, w worker, key, what string, patterns []string, every, settle time.Duration, health *ruleHealth) (*lane, error) {
	a := &lane{f: f, work: w, what: what, patterns: patterns, every: every, settle: settle, tags: f.newTags(), health: health, waits: nothing}
	a.dir = filepath.Join(f.c.Dir, "aggregates", fmt.Sprintf("%x", sha1.Sum([]byte(key))))
	for _, dir := range []string{filepath.Dir(a.dir), a.dir} {
		if err := durable.MakeDir(f.o.FS, dir); err != nil {
			return nil, err
		}
	}
	p, ok, err := readPlace(f.o.FS, a.dir)
	if err != nil {
		return nil, err
	}
	if !ok || p.What != f.c.what() {
		p = place{Version: placeVersion, Epoch: 1, What: f.c.what(), GapsTo: f.o.Now().UnixNano(), Sent: max(p.Sent, startAt(a.over(), int64(every)))}
		if f.c.Begin == beginEverything {
			p.Resync, p.GapsTo = everything(), math.MinInt64
		}
	}
	a.place = p
	return a, nil
}

// over is the first bucket that is not over.
func (a *lane) over() int64 { return a.bucket(a.f.o.Now().Add(-a.settle).UnixNano()) }

// run forwards until ctx ends.
func (a *lane) run(ctx context.Context) error {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, defaultWait) {
		pass := a.pass
		err := a.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errDisk) {
			return err
		}
		if a.pass != pass {
			pause = firstPause
		}
		a.f.health.failed(err)
		a.f.o.Logger.Warn("the edge cannot be read", "for", a.what, "error", err, "retry_in", pause)
		sleep(ctx, pause)
	}
	return nil
}

// session takes changes, and sends what is over every so often.
func (a *lane) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.dirty, a.marks, a.token = map[uint32]*dirty{}, nil, a.place.Token
	a.gaps, a.gapsTo = newGapPoll(), a.place.GapsTo
	r := &varvev1.SubscribeRequest{Globs: a.patterns, LingerMs: proto.Uint32(uint32(a.f.c.Linger.Milliseconds()))}
	if a.token != "" {
		r.From = &varvev1.SubscribeRequest_Token{Token: a.token}
	}
	stream, err := a.f.edge.Subscriptions.Subscribe(ctx, r)
	if err != nil {
		return err
	}
	messages, failed := receiving(ctx, stream)
	a.passed = a.over()
	a.wait(time.Second)
	for {
		if err := a.turn(ctx, messages, failed); err != nil {
			return err
		}
	}
}

// turn does the next thing there is.
func (a *lane) turn(ctx context.Context, messages <-chan *varvev1.SubscribeResponse, failed <-chan error) error {
	now := a.f.o.Now()
	switch {
	case !now.Before(a.gaps.due):
		a.gaps.due = now.Add(a.f.c.GapsEvery)
		return a.pollGaps(ctx)
	case !now.Before(a.due):
		return a.send(ctx)
	}
	next := a.due
	if a.gaps.due.Before(next) {
		next = a.gaps.due
	}
	wait := time.NewTimer(next.Sub(now))
	defer wait.Stop()
	select {
	case m := <-messages:
		return a.take(ctx, m)
	case err := <-failed:
		if code := status.Code(err); a.place.Token != "" && code == codes.FailedPrecondition { // another log, as after a restore: or it is refused again without a token
			a.place.Token, a.place.Resync, a.place.GapsTo = "", everything(), math.MinInt64
		}
		return err
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// slowest is how long late changes wait at most, while more of them come.
const slowest = 10 * time.Second

// wait has the next pass when a bucket is over that was not in the last one, at the latest after some time.
func (a *lane) wait(most time.Duration) {
	a.due = a.f.o.Now().Add(min(a.every, most))
	if next := time.Unix(0, a.overAt(a.passed)); next.Before(a.due) {
		a.due = next
	}
	a.latest = a.due
}

// hasten has the next pass once no more late changes come.
func (a *lane) hasten() {
	if a.late {
		a.due = a.f.o.Now().Add(a.f.c.Linger)
		if a.latest.Before(a.due) {
			a.due = a.latest
		}
	}
	a.late = false
}

// bucket is the number of the bucket that a time lies in.
func (a *lane) bucket(t int64) int64 { return bucketOf(t, int64(a.every)) }

func bucketOf(t, every int64) int64 {
	b := t / every
	if t%every < 0 {
		b--
	}
	return b
}

func (a *lane) of(tag uint32) *dirty {
	d := a.dirty[tag]
	if d == nil {
		d = &dirty{buckets: map[int64]change{}}
		a.dirty[tag] = d
	}
	return d
}

// markTime makes the bucket of a time dirty, in which something changed that was stored at a time.
func (a *lane) markTime(tag uint32, t, stored int64, gone bool) {
	d, b := a.of(tag), a.bucket(t)
	if _, is := d.buckets[b]; !is {
		d.buckets[b] = change{a.pass, stored}
	}
	a.changed(d, b, stored, gone)
}

// changed notes what became dirty, from a bucket on.
func (a *lane) changed(d *dirty, b, stored int64, gone bool) {
	d.gone = d.gone || gone
	a.late = a.late || b < a.passed
	a.waits.add(stored, a.overAt(b))
}

// overAt is when a bucket is over, within what times there are.
func (a *lane) overAt(b int64) int64 {
	return min(startAt(b+1, int64(a.every)), math.MaxInt64-int64(a.settle)) + int64(a.settle)
}

// markRange makes the buckets of a range dirty. One that is not over is that of its own samples too.
func (a *lane) markRange(tag uint32, from, to, stored int64, gone bool) {
	d, s := a.of(tag), span{a.bucket(from), a.bucket(to-1) + 1}
	d.ranges = append(d.ranges, s)
	a.changed(d, s.from, stored, gone)
	if now := a.f.o.Now().Add(-a.settle).UnixNano(); now >= from && now < to {
		a.markTime(tag, now, stored, gone)
	}
}

// take marks what a message tells as dirty.
func (a *lane) take(ctx context.Context, m *varvev1.SubscribeResponse) error {
	switch what := m.What.(type) {
	case *varvev1.SubscribeResponse_Changes:
		if err := a.takeChanges(ctx, m); err != nil {
			return err
		}
	case *varvev1.SubscribeResponse_Range:
		if err := a.takeRange(ctx, m, what.Range); err != nil {
			return err
		}
	case *varvev1.SubscribeResponse_Lost:
		if err := a.markDays(ctx, what.Lost.First); err != nil {
			return err
		}
	}
	if a.token == "" && a.place.Resync != nil {
		if err := a.markDays(ctx, 0); err != nil {
			return err
		}
		a.pass++ // the token is behind what was read: all of that goes before the place is there
	}
	if a.token == "" {
		a.marks = append(a.marks, mark{a.pass, m.Token, a.place.GapsTo})
	}
	a.token = m.Token
	a.hasten()
	a.tell()
	return nil
}

func (a *lane) takeChanges(ctx context.Context, m *varvev1.SubscribeResponse) error {
	stale := uint64(0)
	err := a.tags.rows(ctx, m, func(tag *edgeTag, r *answer.Row) error {
		if r.End.Time < tag.made && stale == 0 { // its tag lost the name to this one meanwhile
			stale = r.End.Offset
		}
		if a.work.takes(tag.first) {
			a.markTime(tag.id, r.Time, r.End.Time, r.End.Kind == kindRemoved)
		}
		return nil
	})
	if err != nil || stale == 0 {
		return err
	}
	return a.markDays(ctx, stale)
}

func (a *lane) takeRange(ctx context.Context, m *varvev1.SubscribeResponse, r *varvev1.RangeChange) error {
	if r.Effect == varvev1.RangeEffect_RANGE_EFFECT_ERASED { // what the edge forgets the site keeps
		return nil
	}
	a.tags.at(m.CatalogRevision)
	for _, name := range r.Tags {
		tag, err := a.tags.get(ctx, name)
		if err != nil {
			return err
		}
		if !a.work.takes(tag.first) {
			continue
		}
		for _, in := range r.Ranges {
			a.markRange(tag.id, in.StartNs, in.EndNs, r.IngestNs, r.Effect == varvev1.RangeEffect_RANGE_EFFECT_DELETED)
		}
	}
	return nil
}

// markDays makes the days dirty that changed at an offset or later.
func (a *lane) markDays(ctx context.Context, since uint64) error {
	a.days = true
	a.tell()
	stored := a.f.o.Now().UnixNano() // or before
	return a.f.edge.eachTag(ctx, a.patterns, func(t *varvev1.Tag) error {
		if !a.work.takes(firstName(t)) {
			return nil
		}
		days, err := a.f.edge.Query.ListDays(ctx, &varvev1.ListDaysRequest{TagIds: []uint32{t.Id}})
		if err != nil {
			return err
		}
		over := startAt(a.over(), int64(a.every))
		for _, d := range days.Days {
			if d.Changed < since {
				continue
			}
			from, to := startOf(int64(d.Day)), startOf(int64(d.Day)+1)
			a.markRange(t.Id, from, to, stored, false)
			if to <= over {
				continue
			}
			if err := a.markSamples(ctx, t, max(from, over), to); err != nil {
				return err
			}
		}
		return nil
	})
}

// markSamples makes the buckets of the samples of a range dirty: of a range nothing is kept where it is not over, and nobody may tell of them again.
func (a *lane) markSamples(ctx context.Context, t *varvev1.Tag, from, to int64) error {
	tag, err := a.tags.made(ctx, t)
	if err != nil {
		return err
	}
	stored := a.f.o.Now().UnixNano() // or before
	return a.tags.samples(ctx, tag, from, to, func(r *answer.Row) error {
		a.markTime(t.Id, r.Time, stored, false)
		return nil
	})
}

// send works out the dirty buckets that are over, and forwards them.
func (a *lane) send(ctx context.Context) error {
	over := a.over()
	a.passed = over
	if ready, err := a.work.begin(over); err != nil || !ready {
		a.wait(time.Second)
		return err
	}
	a.pass++
	a.marks = append(a.marks, mark{a.pass, a.token, a.gapsTo})
	p := newPacker()
	for _, id := range slices.Sorted(maps.Keys(a.dirty)) {
		d := a.dirty[id]
		if spans := d.over(over); len(spans) > 0 {
			tag, err := a.tags.fresh(ctx, &varvev1.GetTagRequest{Id: id})
			if err != nil {
				return err
			}
			for _, s := range spans {
				if err := a.work.compute(ctx, p, tag, s, over, d.gone); err != nil {
					return fmt.Errorf("%s of tag %s: %w", a.what, tag.name, err)
				}
			}
		}
		if d.sent(over); len(d.buckets) == 0 {
			delete(a.dirty, id)
		}
	}
	if err := a.flush(ctx, p); err != nil {
		return err
	}
	a.wait(slowest)
	return a.move()
}

// pollGaps marks what gaps changed that changed since.
func (a *lane) pollGaps(ctx context.Context) error {
	to, err := a.gaps.poll(ctx, &a.f.edge, a.patterns, a.gapsTo, func(t *varvev1.Tag, group []*varvev1.Gap) error {
		if !a.work.takes(firstName(t)) {
			return nil
		}
		for _, g := range group {
			at := max(g.RecordedNs, g.ChangedNs)
			if a.place.Resync != nil { // it is of what is read anew
				at = a.f.o.Now().UnixNano()
			}
			a.work.gapChanged(t.Id, g, at)
		}
		return nil
	})
	a.gapsTo = to
	a.hasten()
	a.tell()
	return err
}

// add gathers a row; what does not fit goes first.
func (a *lane) add(ctx context.Context, p *packer, tag *edgeTag, typ model.Type, r *answer.Row) error {
	if p.add(tag, typ, r, a.f.c.Source) {
		return nil
	}
	if err := a.flush(ctx, p); err != nil {
		return err
	}
	p.add(tag, typ, r, a.f.c.Source)
	return nil
}

func (a *lane) flush(ctx context.Context, p *packer) error {
	if parcel := p.take(); parcel != nil {
		return a.f.deliver(ctx, parcel)
	}
	return nil
}

// move writes the place: in front of the first change whose bucket is dirty still.
func (a *lane) move() error {
	oldest := a.pass
	a.waits, a.days = nothing, false
	for _, d := range a.dirty {
		for b, first := range d.buckets {
			oldest = min(oldest, first.pass)
			a.waits.add(first.stored, a.overAt(b))
		}
	}
	a.tell()
	for len(a.marks) > 1 && a.marks[1].pass <= oldest {
		a.marks = a.marks[1:]
	}
	m := a.marks[0]
	if m.pass > oldest || m.token == "" || m.token == a.place.Token && m.gapsTo == a.place.GapsTo {
		return nil
	}
	a.place.Token, a.place.GapsTo, a.place.Resync = m.token, m.gapsTo, nil
	return a.keep()
}

// tell has the health of the rule be that of what is dirty.
func (a *lane) tell() { a.f.health.rule(a.health, a.waits, a.days) }

// keep writes the place.
func (a *lane) keep() error {
	if err := a.place.write(a.f.o.FS, a.dir); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	return nil
}

// startAt is where a bucket begins, within what times there are.
func startAt(bucket, every int64) int64 {
	switch {
	case bucket >= math.MaxInt64/every:
		return math.MaxInt64
	case bucket <= -(math.MaxInt64 / every):
		return -math.MaxInt64 + 1
	}
	return bucket * every
}
