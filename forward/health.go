package forward

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// health is how a forwarder does. Its methods may be called from any goroutine.
type health struct {
	now func() time.Time

	mu                   sync.Mutex
	st                   Status // of samples that go as they are, and of all attempts
	from                 int64  // ingest time at the edge of what is being sent; 0: nothing is
	filtered, aggregates []ruleHealth
}

func newHealth(now func() time.Time, filtered, aggregates int) *health {
	h := &health{now: now, filtered: make([]ruleHealth, filtered), aggregates: make([]ruleHealth, aggregates)}
	for _, rules := range [][]ruleHealth{h.filtered, h.aggregates} {
		for i := range rules {
			rules[i].waits = nothing
		}
	}
	return h
}

// ruleHealth is how a rule of filtered samples or aggregates does.
type ruleHealth struct {
	waits   waiting
	reading bool
}

// waiting is what is to be sent, and not yet at the site.
type waiting struct {
	stored int64 // ingest time at the edge of the oldest
	due    int64 // from when on something should be there: it is stored, and its bucket over
}

var nothing = waiting{math.MaxInt64, math.MaxInt64}

// add adds what was stored at one time, and is not to be sent before another.
func (w *waiting) add(stored, over int64) {
	w.stored, w.due = min(w.stored, stored), min(w.due, max(stored, over))
}

// Status is how a forwarder does.
type Status struct {
	Connected bool          // the site took, or was ready to take, what came last
	Reading   bool          // the archive is read, beside what comes now
	Lag       time.Duration // of samples that go as they are: since what is being sent was stored at the edge; 0 while nothing waits
	Overdue   time.Duration // how long something waits that should be at the site by now
	Sent      uint64        // samples handed over, removals included, since the start
	Refused   uint64        // samples that the site refused for good
	Dropped   uint64        // files that were taken out of a spool to keep its bounds
	Failures  uint64        // attempts that failed, of the edge or the site
	LastError string        // empty once it passed

	Filtered, Aggregates []RuleStatus // in the order of the rules
}

// RuleStatus is how far behind the site is in what a rule makes.
type RuleStatus struct {
	Lag     time.Duration // since the oldest change was stored that is not at the site; up to the rule's every and settle as a rule
	Overdue time.Duration // how long something waits that should be there by now
}

// Status is how the forwarder does now.
func (f *Forwarder) Status() Status { return f.health.status() }

func (h *health) status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.samplesLocked()
	st.Overdue = st.Lag
	of := func(rules []ruleHealth) (out []RuleStatus) {
		for _, r := range rules {
			x := RuleStatus{Lag: h.since(r.waits.stored), Overdue: h.since(r.waits.due)}
			out = append(out, x)
			st.Overdue, st.Reading = max(st.Overdue, x.Overdue), st.Reading || r.reading
		}
		return out
	}
	st.Filtered, st.Aggregates = of(h.filtered), of(h.aggregates)
	return st
}

// samples is the status of samples that go as they are.
func (h *health) samples() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.samplesLocked()
}

func (h *health) samplesLocked() Status {
	st := h.st
	if h.from != 0 {
		st.Lag = h.since(h.from)
	}
	return st
}

// since is how long ago a time is, 0 for one to come.
func (h *health) since(t int64) time.Duration {
	now := h.now().UnixNano()
	if t >= now {
		return 0
	}
	return time.Duration(now - t)
}

// rule notes how a rule does.
func (h *health) rule(r *ruleHealth, waits waiting, reading bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.waits, r.reading = waits, reading
}

func (h *health) change(do func(*Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(&h.st)
}

// at notes that what was stored at an ingest time is being sent.
func (h *health) at(ingest int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from = ingest
}

// waiting notes that everything is sent.
func (h *health) waiting() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from, h.st.Reading = 0, false
}

// reading notes that the archive is read, and what came is sent.
func (h *health) reading() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from, h.st.Reading = 0, true
}

func (h *health) delivered(n int) {
	h.change(func(s *Status) { s.Sent += uint64(n); s.Connected, s.LastError = true, "" })
}
func (h *health) refused(n int)    { h.change(func(s *Status) { s.Refused += uint64(n) }) }
func (h *health) refusals() uint64 { return h.status().Refused }
func (h *health) progress() uint64 { return h.status().Sent }
func (h *health) failed(err error) {
	h.change(func(s *Status) { s.Failures++; s.LastError = err.Error() })
}
func (h *health) reached(err error) {
	h.change(func(s *Status) {
		if s.Connected = err == nil; err != nil {
			s.Failures++
			s.LastError = err.Error()
		}
	})
}

// report writes health tags at the edge until ctx ends.
func (f *Forwarder) report(ctx context.Context) {
	if f.c.Health.Off || f.edge.Ingest == nil {
		return
	}
	made := false
	for sleep(ctx, f.c.Health.Every) {
		st := f.Status()
		figures := st.figures()
		if !made {
			made = f.makeHealthTags(ctx, figures)
		}
		b := &varvev1.Batch{}
		for _, x := range figures {
			run := session.RunBuilder{Name: f.c.Source + "." + x.name, Type: x.typ}
			run.Add(f.o.Now().UnixNano(), x.bits, model.Good)
			b.Runs = append(b.Runs, run.Run(0, 1))
		}
		try, cancel := context.WithTimeout(ctx, f.c.Health.Every)
		_, err := f.edge.Ingest.Write(try, &varvev1.WriteRequest{CreateTags: true, Batch: b})
		cancel()
		if err != nil && ctx.Err() == nil {
			f.o.Logger.Warn("health tags are not written", "error", err)
		}
	}
}

func (f *Forwarder) makeHealthTags(ctx context.Context, figures []figure) bool {
	r := &varvev1.CreateTagsRequest{}
	for _, x := range figures {
		r.Tags = append(r.Tags, &varvev1.Tag{
			Name: f.c.Source + "." + x.name, Description: x.description,
			Settings: []*varvev1.Settings{{Type: varvev1.Type(x.typ), Unit: x.unit, Stepped: x.typ != model.Float64}},
		})
	}
	_, err := f.edge.Catalog.CreateTags(ctx, r)
	return err == nil
}

// figure is one health tag: docs/reference/forward.md has them all.
type figure struct {
	name, description, unit string
	typ                     model.Type
	bits                    uint64
}

func (s Status) figures() []figure {
	truth := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	seconds := func(name, description string, d time.Duration) figure {
		return figure{name, description, "s", model.Float64, math.Float64bits(d.Seconds())}
	}
	out := []figure{
		{"connected", "the site takes what is forwarded", "", model.Bool, truth(s.Connected)},
		{"reading", "the archive is read, beside what comes now", "", model.Bool, truth(s.Reading)},
		seconds("lag_s", "time since what is being sent as it is was stored", s.Lag),
		seconds("overdue_s", "time for which something waits that should be at the site by now", s.Overdue),
		{"sent", "samples handed over since the start", "", model.Int64, s.Sent},
		{"refused", "samples that the site refused for good", "", model.Int64, s.Refused},
		{"dropped", "files taken out of the spool to keep its bounds", "", model.Int64, s.Dropped},
		{"failures", "attempts that failed", "", model.Int64, s.Failures},
	}
	rules := func(kind string, of []RuleStatus) {
		for i, r := range of {
			name := fmt.Sprintf("%s.%d.", kind, i+1)
			out = append(out,
				seconds(name+"lag_s", "time since the oldest change was stored that is not at the site", r.Lag),
				seconds(name+"overdue_s", "time for which something waits that should be at the site by now", r.Overdue))
		}
	}
	rules("filtered", s.Filtered)
	rules("aggregates", s.Aggregates)
	return out
}
