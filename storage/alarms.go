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
