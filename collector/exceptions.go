package collector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// The exception filters that the server has of tags: what the first destination says, for tags whose rule says nothing. They are on disk, so that a
// collector that starts while the server is away goes on as it was told.

const exceptionsFile = "exceptions.json"

// storedException is one of the file, by the name of its tag.
type storedException struct {
	Deviation float64 `json:"deviation"`
	MinTime   int64   `json:"min_time_ns,omitempty"`
	MaxTime   int64   `json:"max_time_ns,omitempty"`
	Stepped   bool    `json:"stepped,omitempty"`
}

func (x storedException) settings() filter.Settings {
	return filter.Settings{
		Filter: model.Filter{Deviation: x.Deviation, MinTime: time.Duration(x.MinTime), MaxTime: time.Duration(x.MaxTime)}, Stepped: x.Stepped,
	}
}

// TakeExceptions takes the exception filters that the server has of tags: of those that are not in of it has none. Sources follow with their next readings.
func (k *Collector) TakeExceptions(tags []string, of map[string]*varvev1.TagException) {
	changed, err := k.names.takeExceptions(tags, of)
	if err != nil {
		k.o.Logger.Warn("exception filters of the server make no sense; such tags are sent whole", "error", err)
	}
	if changed > 0 {
		k.o.Logger.Info("the server has other exception filters", "tags", changed)
	}
}

func (g *registry) takeExceptions(tags []string, of map[string]*varvev1.TagException) (changed int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range tags {
		var s filter.Settings
		if x := of[name]; x != nil {
			e := x.Exception
			s = storedException{Deviation: e.GetDeviation(), MinTime: e.GetMinTimeNs(), MaxTime: e.GetMaxTimeNs(), Stepped: x.Stepped}.settings()
			if wrong := s.Check(); wrong != nil {
				s, err = filter.Settings{}, fmt.Errorf("tag %.80q: %w", name, wrong)
			}
		}
		if s.Off() {
			s = filter.Settings{}
		}
		if s == g.exceptions[name] {
			continue
		}
		if changed++; s.Off() {
			delete(g.exceptions, name)
		} else {
			g.exceptions[name] = s
		}
	}
	if changed > 0 {
		g.taken.Add(1)
	}
	return changed, err
}

// exception is the filter that the server has of a tag.
func (g *registry) exception(name string) filter.Settings {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.exceptions[name]
}

// readExceptions reads what the server said last; nothing where there is no file.
func (g *registry) readExceptions(dir string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := os.ReadFile(filepath.Join(dir, exceptionsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	stored := map[string]storedException{}
	if err == nil {
		err = json.Unmarshal(b, &stored)
	}
	if err != nil {
		return fmt.Errorf("read what exception filters the server has: %w", err)
	}
	for name, x := range stored {
		if s := x.settings(); s.Check() == nil && !s.Off() {
			g.exceptions[name] = s
		}
	}
	return nil
}

// forgetExceptions forgets those of tags that nobody reads any more.
func (g *registry) forgetExceptions() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.exceptions {
		if _, ok := g.tags[name]; !ok {
			delete(g.exceptions, name)
		}
	}
}

// writeExceptions writes them, where they are others than on disk.
func (g *registry) writeExceptions(dir string) error {
	g.mu.Lock()
	taken, stored := g.taken.Load(), map[string]storedException{}
	if taken == g.written {
		g.mu.Unlock()
		return nil
	}
	for name, s := range g.exceptions {
		stored[name] = storedException{Deviation: s.Deviation, MinTime: int64(s.MinTime), MaxTime: int64(s.MaxTime), Stepped: s.Stepped}
	}
	g.mu.Unlock()
	b, err := json.Marshal(stored)
	if err == nil {
		err = WriteFile(filepath.Join(dir, exceptionsFile), b)
	}
	if err != nil {
		return fmt.Errorf("keep what exception filters the server has: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.written = taken
	return nil
}

// testOf is the settings of a tag's exception test: those of its rule, if it has any, else those of the server.
func (f *feed) testOf(t *tag) filter.Settings {
	if t.rule.ExcDev != nil || f.mu.entry.Exceptions == exceptionsOfFile {
		return t.rule.filter(t.typ)
	}
	s := f.names.exception(t.name)
	s.Stepped = s.Stepped || t.rule.Stepped || t.typ.AlwaysStepped()
	return s
}

// retestLocked follows what the server says. It is done where readings are put, so that what becomes due may wait for a full queue as they do.
func (f *feed) retestLocked() {
	taken := f.names.taken.Load()
	if taken == f.mu.taken {
		return
	}
	f.mu.taken = taken
	for _, t := range f.mu.tags {
		f.retestTagLocked(t)
	}
}

// retestTagLocked goes on with the settings of the exception test that a tag has now. What was held back by others is sent.
func (f *feed) retestTagLocked(t *tag) {
	if t.refused == "" && t.typ != 0 && f.testOf(t) != t.test {
		f.flushTagLocked(t)
		f.testLocked(t)
	}
}
