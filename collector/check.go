package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/varvedb/varve/internal/saturate"
	"github.com/varvedb/varve/model"
)

// Finding is what trying a source showed of one address.
type Finding struct {
	Reading
	Tag     string // what it becomes; empty for none
	Type    model.Type
	Problem string // empty where all is well
}

// CheckSource tries a source: it connects, and calls each with the first value of every address and what it would become. Addresses that the
// configuration names and that had no value when ctx ended, or the source was through, come last. Nothing is stored.
func CheckSource(ctx context.Context, c *Config, s *SourceEntry, now func() time.Time, each func(Finding)) (err error) {
	source, err := s.open(c.env(s, slog.New(slog.DiscardHandler), now), apartGrace)
	if err != nil {
		return err
	}
	checker, ok := source.(Checker)
	if !ok {
		return errNotChecked(s.Type)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	names := newRegistry()
	err = contained(func() error {
		return checker.Check(ctx, func(r Reading) {
			mu.Lock()
			defer mu.Unlock()
			if !seen[r.Address] {
				seen[r.Address] = true
				each(c.find(s, names, r, now()))
			}
		})
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // time was up
	}
	mu.Lock()
	defer mu.Unlock()
	for _, address := range s.mapping.addresses {
		if err == nil && !seen[address] {
			each(Finding{Reading: Reading{Address: address}, Tag: s.mapping.exact[address].name(s.Name, address, nil), Problem: "no value came"})
		}
	}
	return err
}

func errNotChecked(kind string) error { return fmt.Errorf("sources of type %s cannot be tried", kind) }

func errNotBrowsed(kind string) error {
	return fmt.Errorf("sources of type %s cannot say what they offer", kind)
}

// contained makes a panic an error.
func contained(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// find is what a reading would become.
func (c *Config) find(s *SourceEntry, names *registry, r Reading, now time.Time) Finding {
	f := Finding{Reading: r}
	rule, groups := s.mapping.rule(r.Address)
	switch {
	case rule == nil:
		f.Problem = "no tag: none of the rules is for it"
		return f
	case rule.Skip:
		return f
	}
	f.Tag, f.Type = rule.name(s.Name, r.Address, groups), rule.typ
	if f.Type == 0 {
		f.Type = r.Value.Type
	}
	err := model.CheckName(f.Tag)
	if err == nil {
		err = names.claim(f.Tag, s.Name, r.Address, rule)
	}
	if err == nil && !r.Value.IsNull() {
		_, _, err = rule.sampleValue(r.Value, f.Type)
	}
	off := time.Duration(saturate.Sub(r.Time, now.UnixNano()))
	switch {
	case err != nil:
		f.Problem = err.Error()
	case r.Quality.IsBad() && r.Value.IsNull():
		f.Problem = fmt.Sprintf("it has no value: %s", r.Quality)
	case f.Type == 0:
		f.Problem = "it has no value and its type is not known; give its tag a type"
	case r.HasTime && off > s.Clock.Ahead:
		f.Problem = fmt.Sprintf("its time is %s ahead of this machine's clock; it would go to the quarantine", off.Round(time.Second))
	case r.HasTime && s.Clock.Behind > 0 && -off > s.Clock.Behind && !r.Historical:
		f.Problem = fmt.Sprintf("its time is %s behind this machine's clock; it would go to the quarantine", (-off).Round(time.Second))
	}
	return f
}

// BrowseSource lists what a source offers below at.
func BrowseSource(ctx context.Context, c *Config, s *SourceEntry, at string, each func(Offer) error) error {
	source, err := s.open(c.env(s, slog.New(slog.DiscardHandler), time.Now), apartGrace)
	if err != nil {
		return err
	}
	b, ok := source.(Browser)
	if !ok {
		return errNotBrowsed(s.Type)
	}
	return contained(func() error { return b.Browse(ctx, at, each) })
}
