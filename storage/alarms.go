package storage

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

// alarms is the open conditions an operator should look at, one per name.
type alarms struct {
	now func() time.Time
	log *slog.Logger

	mu   sync.Mutex
	open map[string]*Alarm
}

func newAlarms(now func() time.Time, log *slog.Logger) *alarms {
	return &alarms{now: now, log: log, open: map[string]*Alarm{}}
}

func (a *alarms) raise(name, detail string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	al := a.open[name]
	if al == nil {
		al = &Alarm{Name: name, Since: a.now()}
		a.open[name] = al
	}
	if al.Count == 0 || al.Detail != detail {
		a.log.Error("alarm", "alarm", name, "detail", detail)
	}
	al.Detail = detail
	al.Count++
}

func (a *alarms) clear(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[name] != nil {
		delete(a.open, name)
		a.log.Info("alarm cleared", "alarm", name)
	}
}

// slowAgain is how long no write may be slow until the disk is not said to be.
const slowAgain = 10 * time.Minute

// slowDisk raises an alarm for a write that takes seconds, which is over when there was no other for a while.
func (a *alarms) slowDisk(detail string) {
	const name = "disk_slow"
	a.raise(name, detail)
	a.mu.Lock()
	defer a.mu.Unlock()
	this := a.open[name]
	if this == nil {
		return
	}
	count := this.Count
	time.AfterFunc(slowAgain, func() {
		a.mu.Lock()
		over := a.open[name] == this && this.Count == count
		a.mu.Unlock()
		if over {
			a.clear(name)
		}
	})
}

func (a *alarms) list() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Alarm, 0, len(a.open))
	for _, al := range a.open {
		out = append(out, *al)
	}
	slices.SortFunc(out, func(x, y Alarm) int { return y.Since.Compare(x.Since) })
	return out
}

// stalls raises an alarm for a condition that lasts: one that is over within a second, as a generation that waits for the flush of the
// one before it, is none.
type stalls struct {
	alarms *alarms
	name   string

	mu  sync.Mutex
	now int // which of them there have been is the one at hand
	on  bool
}

const stallPatience = time.Second

func (s *stalls) begin(detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.on = s.now+1, true
	this := s.now
	time.AfterFunc(stallPatience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.on && s.now == this {
			s.alarms.raise(s.name, detail)
		}
	})
}

func (s *stalls) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = false
	s.alarms.clear(s.name)
}
