package forward

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/internal/disk"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
)

// Options are what a Forwarder is made of besides its configuration.
type Options struct {
	FS     vfs.FS           // the default is the operating system's
	Now    func() time.Time // the default is time.Now
	Rand   io.Reader        // makes the epoch; the default is crypto/rand
	Logger *slog.Logger     // the default discards
}

// outlet takes parcels, one after another. deliver returns once the parcel is where it should be for good; it tries until ctx ends.
type outlet interface {
	deliver(ctx context.Context, p *varvev1.Parcel) error
}

// Forwarder forwards from an edge. Its Run is for one goroutine.
type Forwarder struct {
	c     *Config
	o     Options
	edge  Edge
	tags  edgeTags
	out   outlet
	spool bool // out is one, opened by Run

	place   place
	changed bool // the place is not on disk as it is
	written time.Time
	health  *health

	read archive // what is being read of the edge's archive
	gaps gapPoll
}

// New makes a forwarder to a site. It connects nothing.
func New(c *Config, edge Edge, to Site, o Options) (*Forwarder, error) {
	f, err := newForwarder(c, edge, o)
	if err != nil {
		return nil, err
	}
	f.out = newSite(to, c.Source, f.place.Epoch, f.o.Logger, f.health)
	return f, nil
}

// NewSpooler makes a forwarder that writes the files of a spool. It connects nothing.
func NewSpooler(c *Config, edge Edge, o Options) (*Forwarder, error) {
	f, err := newForwarder(c, edge, o)
	if err != nil {
		return nil, err
	}
	f.spool = true
	return f, nil
}

func newForwarder(c *Config, edge Edge, o Options) (*Forwarder, error) {
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = crand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Forwarder{c: c, o: o, edge: edge, gaps: newGapPoll()}
	f.tags = f.newTags()
	f.health = newHealth(o.Now, len(c.Filtered), len(c.Aggregates))
	if err := durable.MakeDir(o.FS, c.Dir); err != nil {
		return nil, err
	}
	if err := f.readPlace(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Forwarder) newTags() edgeTags { return edgeTags{edge: &f.edge, c: f.c, log: f.o.Logger} }

// readPlace reads the place, or makes the first one.
func (f *Forwarder) readPlace() error {
	p, ok, err := readPlace(f.o.FS, f.c.Dir)
	if err != nil {
		return err
	}
	if !ok {
		p = place{Version: placeVersion, What: f.c.what()}
		for p.Epoch == 0 {
			if err := binary.Read(f.o.Rand, binary.LittleEndian, &p.Epoch); err != nil {
				return fmt.Errorf("make epoch: %w", err)
			}
		}
		if p.GapsTo = math.MinInt64; f.c.Begin == beginEverything {
			p.Resync = everything()
		} else {
			p.GapsTo = f.o.Now().UnixNano()
		}
	}
	if p.What != f.c.what() {
		f.o.Logger.Warn("tags or names changed: the archive is read anew")
		p.What, p.Rows = f.c.what(), 0
		if f.c.Begin == beginEverything {
			p.Resync, p.GapsTo = everything(), math.MinInt64
		}
	}
	f.place = p
	return f.save()
}

func (f *Forwarder) save() error {
	f.changed, f.written = false, f.o.Now()
	return f.place.write(f.o.FS, f.c.Dir)
}

// Run forwards until ctx ends, or its own disk fails.
func (f *Forwarder) Run(ctx context.Context) (err error) {
	lock, err := f.o.FS.Lock(filepath.Join(f.c.Dir, "LOCK"))
	if err != nil {
		return fmt.Errorf("lock %s: %w; does another forwarder run with this dir?", f.c.Dir, err)
	}
	defer func() { _ = lock.Close() }() // it ends with the process at the latest
	if f.spool {
		s, err := openSpool(f.o, *f.c.Spool, f.c.Source, f.place.Epoch, f.c.Dir, f.health)
		if err != nil {
			return err
		}
		f.out = s
		defer func() { err = errors.Join(err, s.close()) }()
	}
	reports := make(chan struct{})
	reporting, stop := context.WithCancel(ctx)
	go func() {
		defer close(reports)
		f.report(reporting)
	}()
	defer func() { stop(); <-reports }()
	f.out = &oneAtATime{outlet: f.out}
	lanes, ctx := errgroup.WithContext(ctx)
	for i := range f.c.Filtered {
		t, err := newThinner(f, i)
		if err != nil {
			return err
		}
		lanes.Go(func() error { return t.run(ctx) })
	}
	for i := range f.c.Aggregates {
		a, err := newAggregator(f, i)
		if err != nil {
			return err
		}
		lanes.Go(func() error { return a.run(ctx) })
	}
	switch {
	case f.c.raw():
		lanes.Go(func() error { return f.repeat(ctx, f.session) })
	case len(f.c.Filtered) > 0:
		lanes.Go(func() error { return f.repeat(ctx, f.onlyGaps) })
	}
	return lanes.Wait()
}

// oneAtATime is an outlet that several use.
type oneAtATime struct {
	mu sync.Mutex
	outlet
}

func (o *oneAtATime) deliver(ctx context.Context, p *varvev1.Parcel) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.outlet.deliver(ctx, p)
}

// repeat forwards, in one session after another, until ctx ends or the place cannot be kept.
func (f *Forwarder) repeat(ctx context.Context, session func(context.Context) error) error {
	for pause := firstPause; ctx.Err() == nil; {
		sent := f.health.progress()
		err := session(ctx)
		if errors.Is(err, errDisk) {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		if f.health.progress() != sent {
			pause = firstPause
		}
		f.health.failed(err)
		f.o.Logger.Warn("the edge cannot be read", "error", err, "retry_in", pause)
		sleep(ctx, pause)
		pause = min(2*pause, defaultWait)
	}
	if f.changed {
		if err := f.save(); err != nil {
			return err
		}
	}
	return nil
}

// errDisk is a place that cannot be written: going on without it would send everything again after a restart.
var errDisk = errors.New("the place cannot be kept")

// errAnew asks for another subscription.
var errAnew = errors.New("the subscription begins anew")

// session forwards until something fails.
func (f *Forwarder) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer f.dropRead()
	stream, err := f.subscribe(ctx)
	if err != nil {
		return err
	}
	messages, failed := receiving(ctx, stream)
	for {
		if err := f.turn(ctx, messages, failed); err != nil {
			return err
		}
	}
}

// onlyGaps forwards gaps until something fails, where no samples go as they are.
func (f *Forwarder) onlyGaps(ctx context.Context) error {
	for {
		if err := f.sendGaps(ctx); err != nil {
			return err
		}
		if f.changed {
			if err := f.keep(); err != nil {
				return err
			}
		}
		if !sleep(ctx, f.c.GapsEvery) {
			return context.Cause(ctx)
		}
	}
}

// receiving hands over the messages of a subscription, until it fails or ctx ends.
func receiving(ctx context.Context, stream varvev1.SubscriptionService_SubscribeClient) (<-chan *varvev1.SubscribeResponse, <-chan error) {
	messages, failed := make(chan *varvev1.SubscribeResponse), make(chan error, 1)
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return messages, failed
}

// turn does the next thing there is: changes go before what is read from the archive.
func (f *Forwarder) turn(ctx context.Context, messages <-chan *varvev1.SubscribeResponse, failed <-chan error) error {
	if now := f.o.Now(); !now.Before(f.gaps.due) && f.place.Token != "" {
		f.gaps.due = now.Add(f.c.GapsEvery)
		if err := f.sendGaps(ctx); err != nil {
			return err
		}
	}
	if f.place.Resync != nil && f.place.Token != "" {
		select {
		case m := <-messages:
			return f.take(ctx, m)
		case err := <-failed:
			return cmp.Or(f.ended(ctx, err), errAnew)
		default:
			f.health.reading()
			return f.resync(ctx)
		}
	}
	f.health.waiting()
	wait := time.NewTimer(max(f.gaps.due.Sub(f.o.Now()), time.Millisecond))
	defer wait.Stop()
	select {
	case m := <-messages:
		return f.take(ctx, m)
	case err := <-failed:
		return cmp.Or(f.ended(ctx, err), errAnew)
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// subscribe asks for the changes behind the place, and for a place that has none yet for those from now on. Names are asked as patterns: one
// that no tag has yet is an error otherwise.
func (f *Forwarder) subscribe(ctx context.Context) (varvev1.SubscriptionService_SubscribeClient, error) {
	r := &varvev1.SubscribeRequest{Globs: f.c.Tags, LingerMs: proto.Uint32(uint32(f.c.Linger.Milliseconds()))}
	if f.place.Token != "" {
		r.From = &varvev1.SubscribeRequest_Token{Token: f.place.Token}
	}
	return f.edge.Subscriptions.Subscribe(ctx, r)
}

// ended is why a subscription ended. A place of another log than the edge has, since it was restored from a backup, is given up: what comes from now on
// is taken, and the archive is read anew. An edge that refuses subscriptions for other reasons does so without a token too.
func (f *Forwarder) ended(ctx context.Context, err error) error {
	if code := status.Code(err); f.place.Token == "" || code != codes.FailedPrecondition && code != codes.InvalidArgument {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, refusalWithin)
	defer cancel()
	stream, anew := f.edge.Subscriptions.Subscribe(ctx, &varvev1.SubscribeRequest{Globs: f.c.Tags, LingerMs: proto.Uint32(0)})
	if anew == nil {
		_, anew = stream.Recv()
	}
	if code := status.Code(anew); anew != nil && code != codes.DeadlineExceeded {
		return err
	}
	f.o.Logger.Error("the edge has another log than before, as after a restore from a backup: its archive is read anew", "error", err)
	f.place.Token, f.place.Rows, f.place.Offset = "", 0, 0
	f.place.Resync, f.place.GapsTo = everything(), math.MinInt64
	f.dropRead()
	return f.keep()
}

// refusalWithin is how soon a server refuses a subscription, where it does.
const refusalWithin = 6 * time.Second

// keep writes the place.
func (f *Forwarder) keep() error {
	if err := f.save(); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	return nil
}

// keepIdle is how often a place that only moved over what is not forwarded is written.
const keepIdle = 10 * time.Second

// take forwards what a message tells.
func (f *Forwarder) take(ctx context.Context, m *varvev1.SubscribeResponse) (err error) {
	if err := f.flush(ctx); err != nil { // what was read of the archive may be older than what comes now
		return err
	}
	sent, left := false, 0
	switch what := m.What.(type) {
	case *varvev1.SubscribeResponse_Changes:
		sent = true
		left, err = f.takeChanges(ctx, m)
	case *varvev1.SubscribeResponse_Range:
		sent, err = true, f.takeRange(ctx, m, what.Range)
	case *varvev1.SubscribeResponse_Lost:
		f.o.Logger.Warn("the edge's log has records no more: what they changed is read from the archive", "first", what.Lost.First, "end", what.Lost.End)
		f.again(what.Lost.First)
		sent = true
	}
	if err != nil {
		return err
	}
	first := f.place.Token == ""
	f.place.Token, f.place.Rows, f.place.Offset, f.changed = m.Token, left, m.Offset, true
	if sent || first || f.o.Now().Sub(f.written) >= keepIdle {
		return f.keep()
	}
	return nil
}

// again has the days read that changed at an offset or later.
func (f *Forwarder) again(since uint64) {
	d := everything()
	d.Since = since
	if r := f.place.Resync; r != nil {
		d.Since = min(d.Since, r.Since)
	}
	f.dropRead()
	f.place.Resync = d
}

// takeChanges forwards rows, and returns how many of the rows that are sent already are still to come.
func (f *Forwarder) takeChanges(ctx context.Context, m *varvev1.SubscribeResponse) (left int, err error) {
	p, seen, stale := newPacker(), 0, uint64(0)
	send := func() error {
		parcel := p.take()
		if parcel == nil {
			return nil
		}
		if err := f.deliver(ctx, parcel); err != nil {
			return err
		}
		if f.place.Token == "" { // it has no place to go on from yet
			return nil
		}
		f.place.Rows = seen
		return f.keep()
	}
	skip := f.place.Rows
	err = f.tags.rows(ctx, m, func(tag *edgeTag, r *answer.Row) error {
		if seen < skip {
			seen++
			return nil
		}
		typ, fits := tag.fits(r)
		if !fits || r.End.Time < tag.made { // its tag lost the name to another one meanwhile: read it from the archive
			if stale == 0 {
				stale = r.End.Offset
			}
			seen++
			return nil
		}
		if !f.c.goesRaw(tag.first) {
			seen++
			return nil
		}
		f.health.at(r.End.Time)
		if !p.add(tag, typ, r, f.c.Source) {
			if err := send(); err != nil {
				return err
			}
			p.add(tag, typ, r, f.c.Source)
		}
		seen++
		return nil
	})
	if err != nil {
		return 0, err
	}
	if parcel := p.take(); parcel != nil {
		if err := f.deliver(ctx, parcel); err != nil {
			return 0, err
		}
	}
	if stale != 0 {
		f.again(stale)
	}
	return max(skip-seen, 0), nil // this message may have fewer rows than the one that was cut
}

// deliver hands a parcel over.
func (f *Forwarder) deliver(ctx context.Context, p *varvev1.Parcel) error {
	if err := f.out.deliver(ctx, p); err != nil {
		return err
	}
	f.health.delivered(samplesIn(p))
	return nil
}

func (f *Forwarder) takeRange(ctx context.Context, m *varvev1.SubscribeResponse, r *varvev1.RangeChange) error {
	f.tags.at(m.CatalogRevision)
	f.health.at(r.IngestNs)
	switch r.Effect {
	case varvev1.RangeEffect_RANGE_EFFECT_DELETED:
		p, step := &varvev1.Parcel{}, &varvev1.StepRange{Ranges: r.Ranges, Author: r.Author, Reason: r.Reason}
		for _, name := range r.Tags {
			tag, err := f.tags.get(ctx, name)
			if err != nil {
				return err
			}
			if f.c.goesRaw(tag.first) {
				tag.into(p)
				step.Tags = append(step.Tags, tag.site.Name)
			}
		}
		if len(step.Tags) == 0 {
			return nil
		}
		p.Steps = []*varvev1.Step{{What: &varvev1.Step_Deleted{Deleted: step}}}
		return f.deliver(ctx, p)
	case varvev1.RangeEffect_RANGE_EFFECT_RESTORED:
		for _, name := range r.Tags {
			tag, err := f.tags.get(ctx, name)
			if err != nil {
				return err
			}
			if !f.c.goesRaw(tag.first) {
				continue
			}
			for _, in := range r.Ranges {
				if err := f.copyRange(ctx, tag, in.StartNs, in.EndNs); err != nil {
					return err
				}
			}
		}
		return f.flush(ctx)
	}
	return nil // what the edge erased the site keeps
}
