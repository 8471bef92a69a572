package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/internal/saturate"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// feed makes samples of the readings of one source. It outlives the source's connections, and keeps what is known of its tags.
type feed struct {
	name   string
	dir    string
	outlet Outlet
	names  *registry
	log    *slog.Logger
	now    func() time.Time
	counts counts

	fullAfter time.Duration // how long a queue has no room until tags that are polled have a gap; for what is pushed, whose senders keep less, a tenth of it

	// mu guards what is inside it. Neither the outlet nor a source is called while it is held.
	mu struct {
		sync.Mutex
		entry   *SourceEntry
		pushed  bool            // the source is sent what it reads
		behind  bool            // it has not caught up: readings end no gaps
		tags    map[string]*tag // by address: those collected, and those refused
		ignored map[string]bool // addresses without a rule, or skipped; forgotten when they are many
		known   *knownTags
		quarant *quarantine
		touched []*tag // whose runs have samples
		spare   []*varvev1.Run
		kept    []filter.Kept
		gaps    []Gap // to be put when mu is free
		told    map[string]time.Time
		newest  int64    // time of the newest reading believed
		taken   uint64   // which exceptions of the server the tests are by
		list    uint64   // names listed
		listed  []string // the tags that are collected, as they were told last; never written to
		skew    int64    // largest time of a reading minus that of its receipt, since the last health tags; MinInt64 for none
	}

	// telling is held while gaps are put, so that they are in the order in which they were added. Before mu.
	telling sync.Mutex

	// unsure are commits that are not known to be on disk, oldest first.
	unsure struct {
		sync.Mutex
		waits []func(context.Context) error
	}
}

// counts are a source's, since the collector began.
type counts struct {
	of          [counters]atomic.Int64 // by sources
	readings    atomic.Int64           // taken
	samples     atomic.Int64           // handed to the queue
	unchanged   atomic.Int64           // left out by the exception test
	untimed     atomic.Int64           // that got the time of receipt
	unmapped    atomic.Int64           // without a rule
	rejected    atomic.Int64           // values and tags that make no samples
	quarantined atomic.Int64
	lost        atomic.Int64 // read, and not taken by the queue
	restarts    atomic.Int64
}

// tag is what a feed knows of one address.
type tag struct {
	address, name string
	rule          *rule
	before        bool            // it was collected when the collector ran last
	refused       string          // why it cannot be collected; empty where it is
	typ           model.Type      // 0 until the first value
	test          filter.Settings // of filter
	filter        *exception.Filter
	runs          []session.RunBuilder
	used          int   // of runs: those that have samples
	newest        int64 // time of the newest reading; MinInt64 before the first
	seen          int64 // when it was received
	untimed       int64 // the time that was given to the last reading without one
	open          gapKinds
	openFrom      int64 // of the gap that began last
}

// gapKinds is a set of the kinds of gaps.
type gapKinds uint8

func (g gapKinds) has(k varvev1.GapKind) bool { return g&(1<<k) != 0 }

func newFeed(c *Config, s *SourceEntry, out Outlet, names *registry, l *slog.Logger, now func() time.Time) (*feed, error) {
	f := &feed{name: s.Name, dir: c.sourceDir(s.Name), outlet: out, names: names, log: l.With("source", s.Name), now: now, fullAfter: time.Second}
	f.mu.tags, f.mu.ignored, f.mu.told = map[string]*tag{}, map[string]bool{}, map[string]time.Time{}
	f.mu.newest, f.mu.skew = math.MinInt64, math.MinInt64
	f.mu.entry = s
	var err error
	if f.mu.quarant, err = openQuarantine(f.dir, int64(s.Clock.keep())); err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	if f.mu.known, err = openKnown(f.dir); err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expectLocked()
	return f, nil
}

// expectLocked makes the tags that are known to be there before a reading of them comes: those that were collected before and are still wanted,
// and those whose address the configuration names.
func (f *feed) expectLocked() {
	for address, k := range f.mu.known.tags {
		if r, groups := f.mu.entry.mapping.rule(address); r != nil && !r.Skip && r.name(f.name, address, groups) == k.Tag {
			if t := f.tagLocked(address); t != nil {
				t.before = true
			}
		}
	}
	for _, address := range f.mu.entry.mapping.addresses {
		f.tagLocked(address)
	}
}

// maxAddressBytes is as long as an address may be.
const maxAddressBytes = 64 << 10

// maxIgnored bounds the addresses that are remembered for having no rule.
const maxIgnored = 100_000

// tagLocked is the tag of an address, made where it has none; nil for an address without a rule.
func (f *feed) tagLocked(address string) *tag {
	if t, ok := f.mu.tags[address]; ok {
		return t
	}
	if f.mu.ignored[address] {
		return nil
	}
	r, groups := f.mu.entry.mapping.rule(address)
	if r == nil || r.Skip {
		if len(f.mu.ignored) >= maxIgnored {
			clear(f.mu.ignored)
		}
		f.mu.ignored[address] = true
		return nil
	}
	t := &tag{address: address, name: r.name(f.name, address, groups), rule: r, newest: math.MinInt64, seen: f.now().UnixNano(), untimed: math.MinInt64}
	if len(f.mu.tags) >= f.mu.entry.MaxTags { // it is not kept, so that memory stays bounded
		t.refused = fmt.Sprintf("the source has %d tags already, which is its max_tags", f.mu.entry.MaxTags)
		return t
	}
	f.mu.tags[address] = t
	err := model.CheckName(t.name)
	if len(address) > maxAddressBytes {
		err = fmt.Errorf("the address has %d bytes, most is %d", len(address), maxAddressBytes)
	}
	if err != nil {
		t.refused = err.Error()
		return t
	}
	if err := f.names.claim(t.name, f.name, address, r); err != nil {
		t.refused = err.Error()
		return t
	}
	if t.typ = r.typ; t.typ == 0 {
		t.typ = f.mu.known.typeOf(address, t.name)
	}
	f.settleTypeLocked(t)
	return t
}

// settleTypeLocked makes what depends on a tag's type, once it is known.
func (f *feed) settleTypeLocked(t *tag) {
	if err := f.mu.known.add(t.address, t.name, t.typ); err != nil {
		f.complainLocked("known", "tags cannot be noted; after a restart types may be found anew", "error", err)
	}
	if t.typ == 0 {
		return
	}
	f.names.settle(t.name, t.typ)
	f.testLocked(t)
}

// testLocked begins the exception test of a tag anew.
func (f *feed) testLocked(t *tag) {
	t.test, t.filter = f.testOf(t), nil
	if !t.test.Off() {
		t.filter, _ = exception.New(t.test) // whoever gave the settings has checked them
	}
}

// remap takes the rules and the clock window of another configuration. Tags whose rules are the same go on as they are; the others are given back, for
// whichever source has them now. expect makes those that are known.
func (f *feed) remap(ctx context.Context, s *SourceEntry) error {
	f.mu.Lock()
	f.mu.entry = s
	f.mu.quarant.max = int64(s.Clock.keep())
	clear(f.mu.ignored)
	for address, t := range f.mu.tags {
		r, groups := s.mapping.rule(address)
		if r != nil && !r.Skip && t.refused == "" && sameRule(r, t.rule) && r.name(f.name, address, groups) == t.name {
			t.rule = r
			f.retestTagLocked(t)
			continue
		}
		f.flushTagLocked(t)
		f.dropTagLocked(t)
	}
	return f.sendAndUnlock(ctx)
}

// expect makes the tags that are known to be there. What was refused may be free by now.
func (f *feed) expect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.mu.tags {
		if t.refused != "" {
			f.dropTagLocked(t)
		}
	}
	f.expectLocked()
}

func (f *feed) dropTagLocked(t *tag) {
	if t.refused == "" {
		f.names.release(t.name, f.name, t.address)
	}
	delete(f.mu.tags, t.address)
}

// put makes samples of readings. believed says that their times are not to be held against the clock.
func (f *feed) put(ctx context.Context, readings []Reading, believed bool) error {
	received := f.now().UnixNano()
	f.counts.readings.Add(int64(len(readings)))
	f.mu.Lock()
	f.retestLocked()
	for i := range readings {
		f.addLocked(&readings[i], received, believed)
	}
	return f.sendAndUnlock(ctx)
}

func (f *feed) addLocked(r *Reading, received int64, believed bool) {
	t := f.tagLocked(r.Address)
	if t == nil {
		f.counts.unmapped.Add(1)
		return
	}
	if t.refused != "" {
		f.rejectLocked(t, errors.New(t.refused))
		return
	}
	at := r.Time
	if !r.HasTime {
		f.counts.untimed.Add(1)
		at = max(received, t.untimed+1) // two of one instant are two samples
		t.untimed = at
	} else if !f.timelyLocked(t, r, received, believed) {
		return
	}
	x := model.Sample{Time: at, Quality: r.Quality, Null: r.Value.IsNull()}
	var text string
	if !x.Null {
		if t.typ == 0 {
			t.typ = r.Value.Type
			f.settleTypeLocked(t)
		}
		var err error
		if x.Bits, text, err = t.rule.sampleValue(r.Value, t.typ); err != nil {
			f.rejectLocked(t, err)
			return
		}
	}
	if t.typ == 0 {
		f.rejectLocked(t, errors.New("it has no value and its type is not known yet; give its tag a type"))
		return
	}
	if x.Type = t.typ; t.typ == model.State && r.Value.Type == model.String {
		x.Type = model.String // the server knows its code
	}
	t.seen = received
	if r.HasTime {
		f.mu.skew = max(f.mu.skew, saturate.Sub(at, received))
	}
	if !r.Historical {
		t.newest, f.mu.newest = max(t.newest, at), max(f.mu.newest, at)
		if !f.mu.behind {
			f.endGapLocked(t, at)
		}
	}
	if text != "" {
		x.Blob = []byte(text)
	}
	if t.filter == nil || r.Historical {
		f.appendLocked(t, x, r.Historical)
		return
	}
	f.mu.kept = t.filter.Add(f.mu.kept[:0], x)
	f.counts.unchanged.Add(1 - int64(len(f.mu.kept))) // one that was held back may be sent now
	for _, k := range f.mu.kept {
		f.appendLocked(t, k.Sample, false)
	}
}

// timelyLocked reports whether the time of a reading is believed, and sets it aside where it is not.
func (f *feed) timelyLocked(t *tag, r *Reading, received int64, believed bool) bool {
	w := f.mu.entry.Clock
	ahead, behind := saturate.Add(received, int64(w.Ahead)), int64(model.MinTime)
	if w.Behind > 0 && !r.Historical && !believed {
		behind = received - int64(w.Behind)
	}
	if r.Time >= behind && r.Time <= ahead {
		return true
	}
	if believed {
		f.rejectLocked(t, fmt.Errorf("its time %s lies ahead of the clock all the same", model.FormatTime(r.Time)))
		return false
	}
	f.mu.skew = max(f.mu.skew, saturate.Sub(r.Time, received))
	kind, why := varvev1.GapKind_GAP_KIND_QUARANTINED, "the time of a reading is too far from the clock"
	if err := f.mu.quarant.add(r, received); err != nil {
		f.counts.lost.Add(1)
		f.complainLocked("quarantine", "readings whose times are not believed are lost", "error", err)
		kind, why = varvev1.GapKind_GAP_KIND_LOST, why+", and it could not be set aside"
	} else {
		f.counts.quarantined.Add(1)
		f.complainLocked("clock", "readings are set aside: their times are too far from the clock; varve collect quarantine list shows them",
			"address", r.Address, "time", model.FormatTime(r.Time), "received", model.FormatTime(received))
	}
	from := max(received, saturate.Add(t.newest, 1))
	if t.open.has(varvev1.GapKind_GAP_KIND_DEVICE_DOWN) && !f.mu.behind {
		f.endGapLocked(t, from) // it answers, whatever its clock says
	}
	f.openGapLocked(t, kind, from, why)
	return false
}

// rejectLocked counts a value that makes no sample, and tells of the first in a while of its tag.
func (f *feed) rejectLocked(t *tag, err error) {
	f.counts.rejected.Add(1)
	f.complainLocked("reject "+t.address, "a value is rejected", "address", t.address, "tag", t.name, "error", err)
}

// complainEvery is how often the same complaint is logged; maxComplaints how many different ones are kept apart.
const (
	complainEvery = time.Minute
	maxComplaints = 1000
)

func (f *feed) complainLocked(what, message string, args ...any) {
	now := f.now()
	last, ok := f.mu.told[what]
	if ok && now.Sub(last) < complainEvery || !ok && len(f.mu.told) >= maxComplaints {
		return
	}
	f.mu.told[what] = now
	f.log.Warn(message, args...)
}

// appendLocked adds a sample to the runs of its tag. What is late on purpose, and a state that came as text, has a run of its own.
func (f *feed) appendLocked(t *tag, x model.Sample, historical bool) {
	mode := varvev1.WriteMode_WRITE_MODE_UNSPECIFIED
	if historical {
		mode = varvev1.WriteMode_WRITE_MODE_NO_REPLACE
	}
	if t.used == 0 {
		f.mu.touched = append(f.mu.touched, t)
	}
	if t.used == 0 || t.runs[t.used-1].Mode != mode || t.runs[t.used-1].Type != x.Type {
		if t.used == len(t.runs) {
			t.runs = append(t.runs, session.RunBuilder{})
		}
		b := &t.runs[t.used]
		b.Name, b.Type, b.Mode = t.name, x.Type, mode
		t.used++
	}
	b := &t.runs[t.used-1]
	switch {
	case x.Null:
		b.AddNull(x.Time, x.Quality)
	case x.Type.Blob():
		b.AddText(x.Time, string(x.Blob), x.Quality)
	default:
		b.Add(x.Time, x.Bits, x.Quality)
	}
	f.counts.samples.Add(1)
}

// Runs are cut so that a record of the queue holds some, and a batch is never too large for a server.
const (
	runSamplesMax = 1 << 16
	runBytesMax   = 1 << 20
)

// What is kept for what comes next: a tag that had many samples at once, of its history, is not to hold that memory for ever.
const (
	keptRuns    = 1024 // of messages, each half a kilobyte without its samples
	keptSamples = 32   // room of a tag
)

// takeRunsLocked is the samples that were added, as runs that are nobody else's. giveBack takes them when they were handed on.
func (f *feed) takeRunsLocked() (runs []*varvev1.Run) {
	for i, t := range f.mu.touched {
		for j := range t.runs[:t.used] {
			b := &t.runs[j]
			for from := 0; from < b.Len(); {
				to, _ := b.Cut(from, runSamplesMax, runBytesMax)
				r := f.newRunLocked()
				b.Fill(r, from, to)
				runs = append(runs, r)
				from = to
			}
			if b.Len() > keptSamples {
				*b = session.RunBuilder{}
			} else {
				b.Reset()
			}
		}
		t.used = 0
		f.mu.touched[i] = nil
	}
	f.mu.touched = f.mu.touched[:0]
	return runs
}

func (f *feed) newRunLocked() *varvev1.Run {
	n := len(f.mu.spare)
	if n == 0 {
		return &varvev1.Run{}
	}
	r := f.mu.spare[n-1]
	f.mu.spare = f.mu.spare[:n-1]
	return r
}

// giveBack keeps some runs for those to come. They must be empty messages then.
func (f *feed) giveBack(runs []*varvev1.Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range runs[:min(len(runs), keptRuns-len(f.mu.spare))] {
		r.Reset()
		f.mu.spare = append(f.mu.spare, r)
	}
}

// flushTagLocked adds what the exception test of a tag holds back.
func (f *feed) flushTagLocked(t *tag) {
	if t.filter == nil {
		return
	}
	f.mu.kept = t.filter.Flush(f.mu.kept[:0])
	for _, k := range f.mu.kept {
		f.counts.unchanged.Add(-1)
		f.appendLocked(t, k.Sample, false)
	}
}

// maxUnsure is how many commits of a source may be under way.
const maxUnsure = 64

// send hands runs to the outlet, and the gaps that were added. These are told also where samples are not taken.
func (f *feed) send(ctx context.Context, runs []*varvev1.Run) error {
	return errors.Join(f.sendRuns(ctx, runs), f.tellGaps(ctx))
}

func (f *feed) sendRuns(ctx context.Context, runs []*varvev1.Run) error {
	if len(runs) == 0 {
		return nil
	}
	defer f.giveBack(runs)
	durable, err := f.submit(ctx, runs)
	if err != nil {
		n := f.lose(runs)
		f.counts.lost.Add(int64(n))
		f.counts.samples.Add(int64(-n))
		return fmt.Errorf("%d samples were not stored: %w", n, err)
	}
	if durable == nil {
		return nil
	}
	return f.unsureOf(ctx, durable)
}

// lose says that samples that the queue did not take are lost, unless their source reads them again, and returns how many they are.
func (f *feed) lose(runs []*varvev1.Run) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range runs {
		n += session.RunLen(r)
		from, to, ok := session.Times(r, 0, session.RunLen(r))
		if ok && !f.mu.entry.kind.Resumes {
			f.addGapLocked(Gap{Tags: []string{r.Tag}, Kind: varvev1.GapKind_GAP_KIND_LOST, Start: from, End: saturate.Add(to, 1), Reason: "the queue of the collector did not take it"})
		}
	}
	return n
}

// submit hands runs to the outlet. A source that polls does not while this waits for room, and what is pushed to one may be dropped: its tags have a gap
// from then on.
func (f *feed) submit(ctx context.Context, runs []*varvev1.Run) (durable func(context.Context) error, err error) {
	f.mu.Lock()
	after := f.fullAfter
	if f.mu.pushed {
		after /= 10
	}
	misses := f.mu.pushed || f.mu.entry.kind.Polls
	f.mu.Unlock()
	if !misses {
		return f.outlet.Submit(ctx, runs)
	}
	from, told := f.now().UnixNano(), make(chan struct{})
	late := time.AfterFunc(after, func() {
		defer close(told)
		if err := f.notRead(ctx, from); err != nil {
			f.log.Error("a gap is not stored", "error", err)
		}
	})
	durable, err = f.outlet.Submit(ctx, runs)
	if !late.Stop() {
		<-told // before a reading ends it
	}
	return durable, err
}

// unsureOf notes a commit, and waits for older ones where they are many.
func (f *feed) unsureOf(ctx context.Context, durable func(context.Context) error) error {
	f.unsure.Lock()
	f.unsure.waits = append(f.unsure.waits, durable)
	var oldest []func(context.Context) error
	if n := len(f.unsure.waits) - maxUnsure; n > 0 {
		oldest = slices.Clone(f.unsure.waits[:n])
		f.unsure.waits = slices.Delete(f.unsure.waits, 0, n)
	}
	f.unsure.Unlock()
	return waitAll(ctx, oldest)
}

func waitAll(ctx context.Context, waits []func(context.Context) error) error {
	for _, wait := range waits {
		if err := wait(ctx); err != nil {
			return fmt.Errorf("write to disk: %w", err)
		}
	}
	return nil
}

// flush hands on what exception tests hold back and waits until everything is on disk.
func (f *feed) flush(ctx context.Context) error {
	f.mu.Lock()
	for _, t := range f.mu.tags {
		f.flushTagLocked(t)
	}
	runs := f.takeRunsLocked()
	err := f.mu.quarant.sync()
	f.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write to the quarantine: %w", err)
	}
	if err := f.send(ctx, runs); err != nil {
		return err
	}
	f.unsure.Lock()
	waits := f.unsure.waits
	f.unsure.waits = nil
	f.unsure.Unlock()
	return waitAll(ctx, waits)
}

// close ends the feed. Nothing is put any more.
func (f *feed) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for address, t := range f.mu.tags {
		if t.refused == "" {
			f.names.release(t.name, f.name, address)
		}
	}
	return errors.Join(f.mu.quarant.close(), f.mu.known.close())
}
