package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Options say how a collector runs. Outlet is required.
type Options struct {
	Outlet Outlet
	// Logger gets what an operator should know. The default discards.
	Logger *slog.Logger
	// Now is the clock. The default is time.Now.
	Now func() time.Time
	// BackoffMin and BackoffMax are the first and longest pause before a source that failed is started again. The defaults are 1s and 1m.
	BackoffMin, BackoffMax time.Duration
	// Tick is how often stale tags, replays and gaps are looked at. The default is 1s.
	Tick time.Duration
	// StopTimeout is how long sources have to end. The default is 5s.
	StopTimeout time.Duration
}

// Collector runs the sources of a configuration.
type Collector struct {
	o     Options
	names *registry

	// mu guards what is inside it. Sources are started and ended while it is held, so that one reload goes on at a time.
	mu struct {
		sync.Mutex
		started bool             // by Run
		ready   map[string]*feed // made by New, and not yet running
		config  *Config
		alive   map[string]int64 // until when each source was read
		running map[string]*running
		stopped bool
	}
}

// running is a source at work.
type running struct {
	feed    *feed
	entry   *SourceEntry
	cancel  context.CancelFunc
	done    chan struct{} // closed when its loop has ended
	working atomic.Bool   // Run is under way
	ended   atomic.Bool   // there is nothing more to read
	over    atomic.Bool   // nothing is taken from it any more
	grace   time.Duration // how long what it read may take to be handed on after it was told to end
}

// New makes a collector; Run starts it. Its tags are known from then on, see NewTag.
func New(c *Config, o Options) (*Collector, error) {
	setDefault(&o.BackoffMin, time.Second)
	setDefault(&o.BackoffMax, time.Minute)
	setDefault(&o.Tick, time.Second)
	setDefault(&o.StopTimeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Collector{o: o, names: newRegistry()}
	k.mu.config, k.mu.running, k.mu.alive, k.mu.ready = c, map[string]*running{}, readAlive(c.Queue.Dir), map[string]*feed{}
	if err := k.names.readExceptions(c.Queue.Dir); err != nil {
		o.Logger.Error("tags whose exception filter the server has are sent whole until it says it again", "error", err)
	}
	for i := range c.Sources {
		f, err := newFeed(c, &c.Sources[i], o.Outlet, k.names, o.Logger, o.Now)
		if err != nil {
			return nil, errors.Join(err, k.stop())
		}
		k.mu.ready[f.name] = f
		toRuns(k.names, c.Collector+"."+f.name, 0, f.health(false)) // for what waits in the queue
	}
	k.names.forgetExceptions()
	return k, nil
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d <= 0 {
		*d = to
	}
}

// NewTag is the settings with which a server makes a tag that it does not have; nil where the collector does not know the tag.
func (k *Collector) NewTag(name string) *varvev1.NewTag { return k.names.newTag(name) }

// Run reads until ctx ends. Then it ends the sources, within seconds, and returns when what they read is on disk.
func (k *Collector) Run(ctx context.Context) error {
	k.mu.Lock()
	c := k.mu.config
	k.mu.started = true
	for i := range c.Sources {
		if err := k.startLocked(ctx, c, &c.Sources[i]); err != nil {
			k.mu.Unlock()
			return errors.Join(err, k.stop())
		}
	}
	k.mu.Unlock()
	tick := time.NewTicker(k.o.Tick)
	defer tick.Stop()
	var told time.Time
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			k.housekeep(ctx)
			if now, every := k.o.Now(), k.healthEvery(); every > 0 && now.Sub(told) >= every {
				told = now
				k.putHealth(ctx)
			}
		}
	}
	return k.stop()
}

// healthEvery is how often health tags have a sample; 0 for never.
func (k *Collector) healthEvery() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.config.Health.Off {
		return 0
	}
	return k.mu.config.Health.Every
}

// startLocked makes the feed of a source and starts it.
func (k *Collector) startLocked(ctx context.Context, c *Config, s *SourceEntry) error {
	f, ok := k.mu.ready[s.Name]
	if delete(k.mu.ready, s.Name); !ok {
		var err error
		if f, err = newFeed(c, s, k.o.Outlet, k.names, k.o.Logger, k.o.Now); err != nil {
			return err
		}
	}
	if since, ok := k.mu.alive[s.Name]; ok && !s.kind.Resumes {
		if err := f.resumed(ctx, since); err != nil {
			return errors.Join(err, f.close())
		}
	}
	k.launchLocked(c, s, f)
	return nil
}

// launchLocked starts a source whose feed is there. It runs until end, which is behind the note of until when it was read.
func (k *Collector) launchLocked(c *Config, s *SourceEntry, f *feed) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{feed: f, entry: s, cancel: cancel, done: make(chan struct{}), grace: k.o.StopTimeout / 2}
	k.mu.running[s.Name] = r
	env := c.env(s, f.log, k.o.Now)
	go func() {
		defer close(r.done)
		k.keepRunning(ctx, r, env)
	}()
}

// keepRunning runs a source until ctx ends or it is at its end, again and again where it fails.
func (k *Collector) keepRunning(ctx context.Context, r *running, env Env) {
	pause := time.Duration(0)
	for {
		began := time.Now()
		r.working.Store(true)
		err := runOnce(ctx, r, env)
		r.working.Store(false)
		switch {
		case ctx.Err() != nil:
			if err != nil && !errors.Is(err, context.Canceled) {
				env.Logger.Warn("a source ended with an error", "error", err)
			}
			return
		case err == nil:
			env.Logger.Info("a source is at its end")
			r.ended.Store(true)
			return
		}
		if time.Since(began) > k.o.BackoffMax {
			pause = 0
		}
		pause = min(max(2*pause, k.o.BackoffMin), k.o.BackoffMax)
		r.feed.counts.restarts.Add(1)
		env.Logger.Error("a source failed", "error", err, "retry_in", pause)
		if !r.entry.kind.Resumes {
			if err := r.feed.down(ctx, nil, varvev1.GapKind_GAP_KIND_NOT_COLLECTED, k.o.Now().UnixNano(), "the source failed"); err != nil {
				env.Logger.Error("a gap is not stored", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// runOnce opens a source and runs it. A panic is an error of this source.
func runOnce(ctx context.Context, r *running, env Env) (err error) {
	defer func() {
		if p := recover(); p != nil {
			env.Logger.Error("a source panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	s, err := r.entry.open(env, r.grace*3/2) // less than what the collector waits
	if err != nil {
		return err
	}
	p, ok := s.(Pushed)
	r.feed.begins(ok && p.Pushed())
	return s.Run(ctx, &inlet{r})
}

// inlet is the Sink of one running source.
type inlet struct{ r *running }

var errOver = errors.New("the source was ended")

// hand calls do with a context that ends a while after ctx.
func (i *inlet) hand(ctx context.Context, do func(context.Context) error) error {
	if i.r.over.Load() {
		return errOver
	}
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-longer.Done():
		case <-time.After(i.r.grace):
			cancel()
		}
	})()
	return do(longer)
}

func (i *inlet) Put(ctx context.Context, readings []Reading) error {
	return i.hand(ctx, func(ctx context.Context) error { return i.r.feed.put(ctx, readings, false) })
}

func (i *inlet) Flush(ctx context.Context) error { return i.hand(ctx, i.r.feed.flush) }

func (i *inlet) Down(ctx context.Context, addresses []string, at int64, reason string) error {
	return i.hand(ctx, func(ctx context.Context) error {
		return i.r.feed.down(ctx, addresses, varvev1.GapKind_GAP_KIND_DEVICE_DOWN, at, reason)
	})
}

func (i *inlet) Up(ctx context.Context, addresses []string, at int64) error {
	return i.hand(ctx, func(ctx context.Context) error { return i.r.feed.up(ctx, addresses, at) })
}

func (i *inlet) Lost(ctx context.Context, addresses []string, from, to int64, reason string) error {
	return i.hand(ctx, func(ctx context.Context) error { return i.r.feed.lost(ctx, addresses, from, to, reason) })
}

func (i *inlet) Count(c Counter, n int) {
	if c < counters {
		i.r.feed.counts.of[c].Add(int64(n))
	}
}

// end tells a source to end and waits until it has, or the time is over; then nothing is taken from it any more. What it read is on disk.
func (k *Collector) end(r *running) error {
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(k.o.StopTimeout):
		r.feed.log.Error("a source does not end; it is left behind", "waited", k.o.StopTimeout)
	}
	r.over.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), k.o.StopTimeout)
	defer cancel()
	return r.feed.flush(ctx)
}

// stop ends everything.
func (k *Collector) stop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.stopped = true
	noted := k.noteAliveLocked()
	errs := make([]error, len(k.mu.running))
	var wg sync.WaitGroup
	n := 0
	for _, r := range k.mu.running {
		at := &errs[n]
		n++
		wg.Go(func() { *at = k.end(r) })
	}
	wg.Wait()
	for name, r := range k.mu.running {
		if at, ok := k.mu.alive[name]; ok && !r.entry.kind.Resumes {
			ctx, cancel := context.WithTimeout(context.Background(), k.o.StopTimeout)
			errs = append(errs, r.feed.down(ctx, nil, varvev1.GapKind_GAP_KIND_NOT_COLLECTED, at, notRunning)) // as resumed says it again
			cancel()
		}
		errs = append(errs, r.feed.close())
	}
	for _, f := range k.mu.ready {
		errs = append(errs, f.close())
	}
	return errors.Join(append(errs, noted)...)
}

// noteAliveLocked notes that sources at work are read until now.
func (k *Collector) noteAliveLocked() error {
	now := k.o.Now().UnixNano()
	for name, r := range k.mu.running {
		if _, was := k.mu.alive[name]; r.ended.Load() {
			delete(k.mu.alive, name) // nothing is missed from now on
		} else if r.working.Load() || !was {
			k.mu.alive[name] = now
		}
	}
	return writeAlive(k.mu.config.Queue.Dir, k.mu.alive)
}

// housekeepTimeout is how long looking after the sources may wait for a full queue.
const housekeepTimeout = 5 * time.Second

// housekeep looks after what no reading makes happen.
func (k *Collector) housekeep(ctx context.Context) {
	k.mu.Lock()
	if err := k.noteAliveLocked(); err != nil {
		k.o.Logger.Error("cannot note that the collector runs", "error", err)
	}
	var feeds []*feed
	for _, r := range k.mu.running {
		feeds = append(feeds, r.feed)
	}
	dir := k.mu.config.Queue.Dir
	k.mu.Unlock()
	if err := k.names.writeExceptions(dir); err != nil {
		k.o.Logger.Error("after a restart the server must be there for its exception filters", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, housekeepTimeout)
	defer cancel()
	for _, f := range feeds {
		if err := f.housekeep(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("looking after a source failed", "error", err)
		}
	}
}

// housekeep opens gaps of stale tags and does the replays that are asked for.
func (f *feed) housekeep(ctx context.Context) error {
	err := f.stale(ctx)
	f.mu.Lock()
	err = errors.Join(err, f.mu.known.sync(), f.mu.quarant.sync())
	requests, requestsErr := f.mu.quarant.requests()
	f.mu.Unlock()
	err = errors.Join(err, requestsErr)
	for _, r := range requests {
		err = errors.Join(err, replay(r, func(readings []Reading) error {
			f.log.Info("readings of the quarantine are replayed", "readings", len(readings))
			if err := f.put(ctx, readings, true); err != nil {
				return err
			}
			return f.flush(ctx)
		}))
	}
	return err
}

// putHealth hands the health tags to the queue. A full queue has none of them.
func (k *Collector) putHealth(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	at := k.o.Now().UnixNano()
	k.mu.Lock()
	prefix := k.mu.config.Collector
	all := map[string]*running{}
	for name, r := range k.mu.running {
		all[name] = r
	}
	k.mu.Unlock()
	var runs []*varvev1.Run
	for name, r := range all {
		runs = append(runs, toRuns(k.names, prefix+"."+name, at, r.feed.health(r.working.Load()))...)
	}
	st := k.o.Outlet.Status()
	runs = append(runs, toRuns(k.names, prefix, at, st.health())...)
	for _, d := range st.Destinations {
		runs = append(runs, toRuns(k.names, prefix+".to."+d.Name, at, d.health())...)
	}
	if _, err := k.o.Outlet.Submit(ctx, runs); err != nil && ctx.Err() == nil {
		k.o.Logger.Error("health tags are not stored", "error", err)
	}
}

// ErrRestart is returned by Reload for changes that a running collector cannot take.
var ErrRestart = errors.New("the change needs a restart")

// reloadTimeout is how long what was read may wait for a full queue while the configuration changes.
const reloadTimeout = 10 * time.Second

// Reload goes on with another configuration. Sources whose settings are the same keep their connections, and tags whose rules are the same what
// is known of them. Where the configuration cannot be taken the error says why, and nothing has changed.
func (k *Collector) Reload(ctx context.Context, c *Config) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.stopped || !k.mu.started {
		return errors.New("the collector does not run")
	}
	if err := sameFrame(k.mu.config, c); err != nil {
		return fmt.Errorf("%s: %w: %w", c.file, ErrRestart, err)
	}
	wanted := map[string]*SourceEntry{}
	for i := range c.Sources {
		wanted[c.Sources[i].Name] = &c.Sources[i]
	}
	var errs []error
	for name, r := range k.mu.running {
		if wanted[name] == nil {
			r.feed.log.Info("a source is not configured any more")
			errs = append(errs, k.end(r), r.feed.close())
			delete(k.mu.running, name)
			delete(k.mu.alive, name)
		}
	}
	k.mu.config = c
	for name, r := range k.mu.running {
		if s := wanted[name]; !sameSource(r.entry, s) {
			r.feed.log.Info("the settings of a source changed; it is started anew")
			errs = append(errs, k.end(r))
		}
		errs = append(errs, r.feed.remap(ctx, wanted[name]))
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		r, ok := k.mu.running[s.Name]
		if !ok {
			errs = append(errs, k.startLocked(ctx, c, s))
			continue
		}
		if r.feed.expect(); r.over.Load() {
			k.launchLocked(c, s, r.feed)
		}
	}
	return errors.Join(errs...)
}
