package file

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/internal/disk"
)

// Kind is the type file of a configuration.
func Kind() collector.Kind {
	k := collector.NewKind("file", func(e collector.Env, s *Settings) (collector.Source, error) {
		return &source{e, s.withDefaults()}, nil
	})
	k.Resumes = true
	return k
}

type source struct {
	env collector.Env
	s   Settings
}

// storeEvery is how often places are stored while files grow. What a crash takes of them is read again.
const storeEvery = time.Second

func (s *source) Run(ctx context.Context, out collector.Sink) (err error) {
	places, known, err := readPlaces(s.env.Dir)
	if err != nil {
		return err
	}
	t := newTail(s.s, places, known, s.env.Logger)
	defer t.close()
	stored := time.Now()
	if !known { // what is skipped now must not be read after a crash
		t.changed = true
		stored = time.Time{}
	}
	for {
		progress, err := t.step(ctx, out)
		if err != nil {
			return err
		}
		if t.changed && (ctx.Err() != nil || time.Since(stored) >= storeEvery) {
			if err := t.store(ctx, out, s.env.Dir); err != nil {
				return err
			}
			stored = time.Now()
		}
		if ctx.Err() != nil {
			return nil
		}
		if !progress {
			select {
			case <-ctx.Done():
			case <-time.After(s.s.Poll):
			}
		}
	}
}

// store makes the places durable, behind what is before them.
func (t *tail) store(ctx context.Context, out collector.Sink, dir string) error {
	if err := out.Flush(ctx); err != nil {
		return err
	}
	if err := writePlaces(dir, t.places()); err != nil {
		return fmt.Errorf("store the places of files: %w", err)
	}
	t.changed = false
	return nil
}

// peekBytes is how much of the end of a file is read to try it.
const peekBytes = 64 << 10

func (s *source) Check(ctx context.Context, report func(collector.Reading)) error {
	t := newTail(s.s, nil, false, slog.New(slog.DiscardHandler))
	defer t.close()
	all, err := t.look()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("no file is named %s", s.s.Path)
	}
	p := &peek{report: report}
	t.log = slog.New(p)
	for _, c := range all[max(len(all)-3, 0):] { // the newest
		if err := t.peek(ctx, c, p); err != nil {
			return err
		}
	}
	if p.readings == 0 && p.fault != "" {
		return fmt.Errorf("%s", p.fault)
	}
	return nil
}

// peek reads the end of a file.
func (t *tail) peek(ctx context.Context, c candidate, out *peek) error {
	if err := t.skipToEnd(c); err != nil {
		return err
	}
	x := t.files[c.id]
	end := x.Offset
	f, err := disk.Open(c.path)
	if err != nil {
		return err
	}
	x.f = f
	x.Offset = max(end-peekBytes, 0)
	if x.Skipping = x.Offset > 0; !x.Skipping && x.Header != "" {
		x.Header = "" // the first line is it
	}
	if _, err := x.look(f); err != nil {
		return err
	}
	_, err = t.read(ctx, out, x, end)
	return err
}

// peek is a sink that reports.
type peek struct {
	report   func(collector.Reading)
	readings int
	fault    string
}

func (p *peek) Put(_ context.Context, readings []collector.Reading) error {
	for _, r := range readings {
		p.readings++
		p.report(r)
	}
	return nil
}

func (p *peek) Flush(context.Context) error                                { return nil }
func (p *peek) Down(context.Context, []string, int64, string) error        { return nil }
func (p *peek) Up(context.Context, []string, int64) error                  { return nil }
func (p *peek) Lost(context.Context, []string, int64, int64, string) error { return nil }
func (p *peek) Count(collector.Counter, int)                               {}
func (p *peek) Enabled(_ context.Context, l slog.Level) bool               { return l >= slog.LevelWarn }
func (p *peek) WithAttrs([]slog.Attr) slog.Handler                         { return p }
func (p *peek) WithGroup(string) slog.Handler                              { return p }
func (p *peek) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" && p.fault == "" {
			p.fault = a.Value.String()
		}
		return true
	})
	return nil
}

func (s *source) Browse(ctx context.Context, at string, each func(collector.Offer) error) error {
	found := map[string]collector.Offer{}
	err := s.Check(ctx, func(r collector.Reading) {
		o, ok := found[r.Address]
		if o.Address = r.Address; !ok || o.Type == 0 {
			o.Type = r.Value.Type
		}
		found[r.Address] = o
	})
	if err != nil {
		return err
	}
	var names []string
	for name := range found {
		if strings.HasPrefix(name, at) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := each(found[name]); err != nil {
			return err
		}
	}
	return nil
}
