package forward

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
)

// Aggregate is a rule: an aggregate of tags in buckets of one length, into tags of their own at the site.
type Aggregate struct {
	Tags     []string      `yaml:"tags"`     // names and patterns; the default is all
	Function string        `yaml:"function"` // as ReadProcessed knows it
	Every    time.Duration `yaml:"every"`    // 1s to 24h, and a divisor of 24h; buckets begin at multiples of it
	Suffix   string        `yaml:"suffix"`   // behind the name that the tag has at the site
	Settle   time.Duration `yaml:"settle"`   // how long after its end a bucket is sent first. The default is 10s
}

// functionUnit says of the functions that may be forwarded whether their values have the unit of the tag.
var functionUnit = map[string]bool{
	"count": false, "sum": true, "minimum": true, "maximum": true, "range": true, "standard_deviation": true,
	"event_weighted_average": true, "time_weighted_average": true,
}

// aggregator forwards one rule. It has a subscription and a place of its own: changes make buckets dirty, and buckets that are over are asked of the edge once in a while.
// What is dirty is in memory only. So the place stays in front of the first change whose bucket was not sent, and a restart finds the same buckets dirty again.
type aggregator struct {
	f    *Forwarder
	rule Aggregate
	dir  string
	tags edgeTags

	place  place
	dirty  map[string]*dirty // by name at the edge
	tokens []mark            // where the place may move to, ascending by pass
	pass   uint64
	token  string // of the newest message taken
}

// mark is the token that stood when a pass began.
type mark struct {
	pass  uint64
	token string
}

// dirty is what changed of a tag since it was sent.
type dirty struct {
	buckets map[int64]uint64 // changed buckets, with the pass behind which they first did
	ranges  []span           // of buckets, of range changes and of days
	since   uint64           // the pass behind which the first of the ranges came
	gone    bool             // samples were taken away
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
	maps.DeleteFunc(d.buckets, func(b int64, _ uint64) bool { return b < end })
}

func newAggregator(f *Forwarder, rule Aggregate) (*aggregator, error) {
	a := &aggregator{f: f, rule: rule, dir: filepath.Join(f.c.Dir, "aggregates", fmt.Sprintf("%x", sha1.Sum([]byte(rule.key())))), dirty: map[string]*dirty{}}
	a.tags = edgeTags{edge: &f.edge, c: f.c}
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
		p = place{Version: placeVersion, Epoch: 1, What: f.c.what()}
		if f.c.Begin == beginEverything {
			p.Resync = everything()
		}
	}
	a.place = p
	return a, nil
}

func (r *Aggregate) key() string { return fmt.Sprint(r.Tags, r.Function, r.Every, r.Suffix) }

// run forwards until ctx ends.
func (a *aggregator) run(ctx context.Context) error {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, defaultWait) {
		err := a.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errDisk) {
			return err
		}
		a.f.health.failed(err)
		a.f.o.Logger.Warn("aggregates cannot be read of the edge", "function", a.rule.Function, "error", err, "retry_in", pause)
		sleep(ctx, pause)
	}
	return nil
}

// session takes changes, and sends what is over every so often.
func (a *aggregator) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.dirty, a.tokens, a.token = map[string]*dirty{}, nil, a.place.Token
	r := &varvev1.SubscribeRequest{Globs: a.rule.Tags, LingerMs: proto.Uint32(uint32(a.f.c.Linger.Milliseconds()))}
	if a.token != "" {
		r.From = &varvev1.SubscribeRequest_Token{Token: a.token}
	}
	stream, err := a.f.edge.Subscriptions.Subscribe(ctx, r)
	if err != nil {
		return err
	}
	messages, failed := receiving(ctx, stream)
	every := min(a.rule.Every, 10*time.Second)
	due := a.f.o.Now().Add(min(every, time.Second))
	for {
		wait := time.NewTimer(max(due.Sub(a.f.o.Now()), 0))
		select {
		case m := <-messages:
			wait.Stop()
			if err := a.take(ctx, m); err != nil {
				return err
			}
		case err := <-failed:
			wait.Stop()
			if code := status.Code(err); a.place.Token != "" && code == codes.FailedPrecondition { // another log, as after a restore: or it is refused again without a token
				a.place.Token, a.place.Resync = "", everything()
			}
			return err
		case <-wait.C:
			if err := a.send(ctx); err != nil {
				return err
			}
			due = a.f.o.Now().Add(every)
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
		}
	}
}

// bucket is the number of the bucket that a time lies in.
func (a *aggregator) bucket(t int64) int64 {
	every := int64(a.rule.Every)
	b := t / every
	if t%every < 0 {
		b--
	}
	return b
}

func (a *aggregator) of(tag string) *dirty {
	d := a.dirty[tag]
	if d == nil {
		d = &dirty{buckets: map[int64]uint64{}}
		a.dirty[tag] = d
	}
	return d
}

// markTime makes the bucket of a time dirty.
func (a *aggregator) markTime(tag string, t int64, gone bool) {
	d, b := a.of(tag), a.bucket(t)
	if _, is := d.buckets[b]; !is {
		d.buckets[b] = a.pass
	}
	d.gone = d.gone || gone
}

// markRange makes the buckets of a range dirty. One that is not over is that of its own samples too.
func (a *aggregator) markRange(tag string, from, to int64, gone bool) {
	d := a.of(tag)
	if len(d.ranges) == 0 {
		d.since = a.pass
	}
	d.ranges = append(d.ranges, span{a.bucket(from), a.bucket(to-1) + 1})
	d.gone = d.gone || gone
	if now := a.f.o.Now().Add(-a.rule.Settle).UnixNano(); now >= from && now < to {
		a.markTime(tag, now, gone)
	}
}

// take marks what a message tells as dirty.
func (a *aggregator) take(ctx context.Context, m *varvev1.SubscribeResponse) error {
	switch what := m.What.(type) {
	case *varvev1.SubscribeResponse_Changes:
		err := a.tags.rows(ctx, m, func(tag *edgeTag, r *answer.Row) error {
			a.markTime(tag.edge, r.Time, r.End.Kind == kindRemoved)
			return nil
		})
		if err != nil {
			return err
		}
	case *varvev1.SubscribeResponse_Range:
		for _, tag := range what.Range.Tags {
			if what.Range.Effect == varvev1.RangeEffect_RANGE_EFFECT_ERASED { // what the edge forgets the site keeps
				continue
			}
			for _, in := range what.Range.Ranges {
				a.markRange(tag, in.StartNs, in.EndNs, what.Range.Effect == varvev1.RangeEffect_RANGE_EFFECT_DELETED)
			}
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
	}
	if a.token == "" {
		a.tokens = append(a.tokens, mark{a.pass, m.Token})
	}
	a.token = m.Token
	return nil
}

// markDays makes the days dirty that changed at an offset or later.
func (a *aggregator) markDays(ctx context.Context, since uint64) error {
	for _, pattern := range a.rule.Tags {
		for page := ""; ; {
			l, err := a.f.edge.Catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: pattern, PageToken: page})
			if err != nil {
				return err
			}
			for _, t := range l.Tags {
				days, err := a.f.edge.Query.ListDays(ctx, &varvev1.ListDaysRequest{TagIds: []uint32{t.Id}})
				if err != nil {
					return err
				}
				for _, d := range days.Days {
					if d.Changed >= since {
						a.markRange(t.Name, startOf(int64(d.Day)), startOf(int64(d.Day)+1), false)
					}
				}
			}
			if page = l.NextPageToken; page == "" {
				break
			}
		}
	}
	return nil
}

// send asks the edge for the dirty buckets that are over, and forwards them: behind the raw samples, which are wanted first.
func (a *aggregator) send(ctx context.Context) error {
	if st := a.f.Status(); a.f.c.raw() && (st.Reading || st.Lag > time.Minute) {
		return nil
	}
	a.pass++
	a.tokens = append(a.tokens, mark{a.pass, a.token})
	over := a.bucket(a.f.o.Now().Add(-a.rule.Settle).UnixNano()) // the first bucket that is not
	p := newPacker()
	for _, name := range slices.Sorted(maps.Keys(a.dirty)) {
		d := a.dirty[name]
		for _, s := range d.over(over) {
			if err := a.compute(ctx, p, name, s, over, d.gone); err != nil {
				return fmt.Errorf("%s of tag %s: %w", a.rule.Function, name, err)
			}
		}
		if d.sent(over); len(d.buckets) == 0 {
			delete(a.dirty, name)
		}
	}
	if err := a.flush(ctx, p); err != nil {
		return err
	}
	return a.move()
}

func (a *aggregator) flush(ctx context.Context, p *packer) error {
	if parcel := p.take(); parcel != nil {
		return a.f.deliver(ctx, parcel)
	}
	return nil
}

// move writes the place: in front of the first change whose bucket is dirty still.
func (a *aggregator) move() error {
	oldest := a.pass
	for _, d := range a.dirty {
		for _, since := range d.buckets {
			oldest = min(oldest, since)
		}
	}
	moved := false
	for len(a.tokens) > 1 && a.tokens[1].pass <= oldest {
		a.tokens = a.tokens[1:]
	}
	if len(a.tokens) > 0 && a.tokens[0].pass <= oldest && a.tokens[0].token != a.place.Token && a.tokens[0].token != "" {
		a.place.Token, a.place.Resync, moved = a.tokens[0].token, nil, true
	}
	if !moved {
		return nil
	}
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

// askAtOnce is the most buckets of one question.
const askAtOnce = 50_000

// compute sends the buckets that a change in [from, to) may have changed: those, and what lies between them and the samples next to them, since a value between two samples
// is of both.
func (a *aggregator) compute(ctx context.Context, p *packer, name string, s span, over int64, gone bool) error {
	from, to, every := s.from, s.to, int64(a.rule.Every)
	tag, err := a.tags.fresh(ctx, &varvev1.GetTagRequest{Name: name})
	if err != nil {
		return err
	}
	first, last := from, to // buckets of which something is known
	before, err := a.neighbour(ctx, tag, startAt(from, every)-1, true)
	if err != nil {
		return err
	}
	if before != nil {
		first = a.bucket(*before)
	} else if inside, err := a.neighbour(ctx, tag, startAt(from, every), false); err != nil {
		return err
	} else if inside == nil || a.bucket(*inside) >= to {
		first = to
	} else {
		first = a.bucket(*inside)
	}
	behind, err := a.neighbour(ctx, tag, startAt(to, every), false)
	if err != nil {
		return err
	}
	if behind != nil {
		last = a.bucket(*behind) + 1
	} else if inside, err := a.neighbour(ctx, tag, startAt(to, every)-1, true); err != nil {
		return err
	} else if inside == nil {
		last = first
	} else {
		last = a.bucket(*inside) + 1
	}
	derived := a.derived(tag)
	last = min(last, over)
	for _, rest := range []span{{from, min(to, first)}, {max(from, last), to}} {
		if gone && rest.from < rest.to { // else it is what the edge forgot
			if err := a.nothing(ctx, p, derived, rest); err != nil {
				return err
			}
		}
	}
	for at := first; at < last; at += askAtOnce {
		if err := a.ask(ctx, p, tag, derived, at, min(at+askAtOnce, last)); err != nil {
			return err
		}
	}
	return nil
}

// neighbour is the time of the sample at an instant, or the nearest one before or behind it; nil for none.
func (a *aggregator) neighbour(ctx context.Context, tag *edgeTag, at int64, before bool) (*int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &varvev1.ReadRangeRequest{TagIds: []uint32{tag.id}, StartNs: &at, Limit: 1}
	end := int64(math.MaxInt64)
	if before {
		end = -math.MaxInt64
	}
	r.EndNs = &end
	stream, err := a.f.edge.Query.ReadRange(ctx, r)
	if err != nil {
		return nil, err
	}
	x, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	row, err := answer.NewRows(x, nil).Next()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return &row.Time, err
}

// derived is the tag at the site that an aggregate of a tag becomes.
func (a *aggregator) derived(tag *edgeTag) *edgeTag {
	id, err := uuid.Parse(tag.site.Uuid)
	if err != nil {
		id = uuid.NewHash(sha1.New(), uuid.Nil, []byte(tag.site.Uuid), 5)
	}
	s := &varvev1.Tag{
		Uuid: uuid.NewHash(sha1.New(), id, []byte(a.f.c.Source+" "+a.rule.Suffix), 5).String(), Name: tag.site.Name + a.rule.Suffix,
		Description: fmt.Sprintf("%s of %s every %s", a.rule.Function, tag.site.Name, a.rule.Every),
	}
	unit := ""
	for i, x := range tag.site.Settings {
		u := ""
		if functionUnit[a.rule.Function] {
			u = x.Unit
		}
		if i > 0 && u == unit {
			continue
		}
		unit = u
		s.Settings = append(s.Settings, &varvev1.Settings{FromNs: x.FromNs, Type: varvev1.Type_TYPE_FLOAT64, Unit: u})
	}
	return &edgeTag{edge: s.Name, name: s.Name, types: answer.OfType(model.Float64), site: s}
}

// nothing removes what stands in buckets at the site.
func (a *aggregator) nothing(ctx context.Context, p *packer, derived *edgeTag, s span) error {
	if err := a.flush(ctx, p); err != nil {
		return err
	}
	parcel := &varvev1.Parcel{}
	derived.into(parcel)
	every := int64(a.rule.Every)
	parcel.Steps = []*varvev1.Step{{What: &varvev1.Step_Deleted{Deleted: &varvev1.StepRange{
		Tags: []string{derived.site.Name}, Ranges: []*varvev1.TimeSpan{{StartNs: startAt(s.from, every), EndNs: startAt(s.to, every)}},
		Author: a.f.c.Source, Reason: "nothing is known of it any more",
	}}}}
	return a.f.deliver(ctx, parcel)
}

// ask asks the edge for buckets [from, to) and gathers their values.
func (a *aggregator) ask(ctx context.Context, p *packer, tag, derived *edgeTag, from, to int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	every := int64(a.rule.Every)
	stream, err := a.f.edge.Query.ReadProcessed(ctx, &varvev1.ReadProcessedRequest{
		TagIds: []uint32{tag.id}, StartNs: from * every, EndNs: to * every, StepNs: every, Aggregates: []string{a.rule.Function},
	})
	if err != nil {
		return err
	}
	r, err := answer.NewReader(stream)
	if status.Code(err) == codes.InvalidArgument { // text, or a change of unit within: there is no such aggregate
		a.f.o.Logger.Warn("a tag has no such aggregate", "tag", tag.edge, "function", a.rule.Function, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	var empty []span
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		v, number := row.Value.Number()
		if b := a.bucket(row.Time); !number {
			if n := len(empty); n > 0 && empty[n-1].to == b {
				empty[n-1].to++
			} else {
				empty = append(empty, span{b, b + 1})
			}
			continue
		}
		out := answer.Row{Time: row.Time, Quality: row.Quality, Value: answer.Value{Type: model.Float64, Bits: math.Float64bits(v)}, End: answer.End{Kind: kindNew}}
		if !p.add(derived, model.Float64, &out, a.f.c.Source) {
			if err := a.flush(ctx, p); err != nil {
				return err
			}
			p.add(derived, model.Float64, &out, a.f.c.Source)
		}
	}
	for _, s := range empty {
		if err := a.nothing(ctx, p, derived, s); err != nil {
			return err
		}
	}
	return nil
}
