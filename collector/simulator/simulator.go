// Package simulator is a source without a device: a plant of sensors, pumps and counters, and what goes wrong with them. It is for demonstrations, for
// load, and for tests, which know every reading from the seed.
package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/varvedb/varve/collector"
)

// Settings describe a plant.
type Settings struct {
	Seed     int64         `yaml:"seed"`
	Every    time.Duration `yaml:"every"`   // between steps. The default is 1s
	Sensors  int           `yaml:"sensors"` // without pumps and counters the default is 10
	Pumps    int           `yaml:"pumps"`
	Counters int           `yaml:"counters"`
	Noise    float64       `yaml:"noise"` // of sensors, at most so far off. The default is 0.2
	Drift    float64       `yaml:"drift"` // of sensors, a day

	// Start is the time of step 0; steps then come as fast as they are taken, and as many as Steps says. Without it they come by the clock.
	Start time.Time `yaml:"start"`
	Steps int64     `yaml:"steps"`
	// Keep remembers the last step that is on disk, and goes on behind it after a restart, as a device with a memory does.
	Keep bool `yaml:"keep"`

	Faults Faults `yaml:"faults"`
}

// Faults are what goes wrong. Shares are of readings, 0 to 1.
type Faults struct {
	Bad        float64  `yaml:"bad"`        // have no value and are Bad
	Duplicates float64  `yaml:"duplicates"` // come twice
	Late       float64  `yaml:"late"`       // come LateBy steps later
	LateBy     int      `yaml:"late_by"`    // the default is 5
	Down       Window   `yaml:"down"`       // the device does not answer
	ClockOff   ClockOff `yaml:"clock_off"`  // its clock is wrong
}

// Window is a stretch of For in each Every.
type Window struct {
	Every time.Duration `yaml:"every"`
	For   time.Duration `yaml:"for"`
}

// ClockOff is windows in which the clock is ahead by By, or behind where it is negative.
type ClockOff struct {
	Window `yaml:",inline"`
	By     time.Duration `yaml:"by"`
}

// maxAddresses bounds a plant.
const maxAddresses = 1_000_000

func (s *Settings) Check() error {
	if s.Every < 0 || s.Every > 0 && s.Every < time.Millisecond {
		return collector.At(fmt.Errorf("every %s: must be at least 1ms", s.Every), "every")
	}
	for _, x := range []struct {
		key string
		n   int
	}{{"sensors", s.Sensors}, {"pumps", s.Pumps}, {"counters", s.Counters}} {
		if x.n < 0 || x.n > maxAddresses {
			return collector.At(fmt.Errorf("%s %d: must be 0 to %d", x.key, x.n, maxAddresses), x.key)
		}
	}
	for _, x := range []struct {
		key   string
		share float64
	}{{"bad", s.Faults.Bad}, {"duplicates", s.Faults.Duplicates}, {"late", s.Faults.Late}} {
		if !(x.share >= 0 && x.share <= 1) {
			return collector.At(fmt.Errorf("%s %g: must be 0 to 1", x.key, x.share), "faults", x.key)
		}
	}
	if s.Faults.LateBy < 0 {
		return collector.At(fmt.Errorf("late_by %d: must not be negative", s.Faults.LateBy), "faults", "late_by")
	}
	for key, w := range map[string]Window{"down": s.Faults.Down, "clock_off": s.Faults.ClockOff.Window} {
		if w.Every < 0 || w.For < 0 || w.For > w.Every {
			return collector.At(fmt.Errorf("%s for %s every %s: must be shorter than what it is in", key, w.For, w.Every), "faults", key)
		}
	}
	if s.Steps < 0 || s.Steps > 0 && s.Start.IsZero() {
		return collector.At(fmt.Errorf("steps %d: give start with them; without start steps come by the clock, for ever", s.Steps), "steps")
	}
	return nil
}

func (s Settings) withDefaults() Settings {
	if s.Every == 0 {
		s.Every = time.Second
	}
	if s.Sensors+s.Pumps+s.Counters == 0 {
		s.Sensors = 10
	}
	if s.Noise == 0 {
		s.Noise = 0.2
	}
	if s.Faults.LateBy == 0 {
		s.Faults.LateBy = 5
	}
	return s
}

func (s *Settings) epoch() int64 {
	if s.Start.IsZero() {
		return 0
	}
	return s.Start.UnixNano()
}

// Kind is the type simulator of a configuration.
func Kind() collector.Kind {
	return collector.NewKind("simulator", func(e collector.Env, s *Settings) (collector.Source, error) {
		return &source{env: e, plant: NewPlant(*s)}, nil
	})
}

type source struct {
	env   collector.Env
	plant *Plant
}

// flushEvery is how often the place is kept.
const flushEvery = time.Second

// batchReadings is how many readings go together while they come as fast as they are taken.
const batchReadings = 1000

func (s *source) Run(ctx context.Context, out collector.Sink) error {
	p := s.plant
	byClock := p.s.Start.IsZero()
	step := int64(0)
	if byClock {
		step = p.StepAt(s.env.Now().UnixNano()) + 1
	}
	if p.s.Keep {
		kept, err := s.place()
		if err != nil {
			return err
		}
		if kept >= 0 {
			step = kept + 1
		}
	}
	down := false
	var batch []collector.Reading
	put := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := out.Put(ctx, batch)
		batch = batch[:0]
		return err
	}
	flushed := time.Now()
	for ; byClock || p.s.Steps == 0 || step < p.s.Steps; step++ {
		if byClock {
			if wait := time.Duration(p.Time(step) - s.env.Now().UnixNano()); wait > 0 {
				if err := put(); err != nil {
					return err
				}
				select {
				case <-ctx.Done():
				case <-time.After(wait):
				}
			}
		}
		if ctx.Err() != nil {
			break
		}
		if now := p.Down(step); now != down {
			if err := put(); err != nil {
				return err
			}
			if down = now; down {
				if err := out.Down(ctx, nil, p.Time(step), "the simulated device is down"); err != nil {
					return err
				}
			}
		}
		if batch = p.appendAt(batch, step); len(batch) >= batchReadings {
			if err := put(); err != nil {
				return err
			}
		}
		if p.s.Keep && time.Since(flushed) > flushEvery {
			if err := put(); err != nil {
				return err
			}
			if err := s.keep(ctx, out, step); err != nil {
				return err
			}
			flushed = time.Now()
		}
	}
	if err := put(); err != nil {
		return err
	}
	if p.s.Keep {
		return s.keep(ctx, out, step-1)
	}
	return nil
}

// keep notes that everything through a step is on disk.
func (s *source) keep(ctx context.Context, out collector.Sink, step int64) error {
	if err := out.Flush(ctx); err != nil {
		return err
	}
	b, err := json.Marshal(step)
	if err != nil {
		return err
	}
	return collector.WriteFile(filepath.Join(s.env.Dir, "step"), b)
}

// place is the step that was kept; -1 for none.
func (s *source) place() (int64, error) {
	b, err := os.ReadFile(filepath.Join(s.env.Dir, "step"))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	var step int64
	if err := json.Unmarshal(b, &step); err != nil {
		return -1, fmt.Errorf("read the kept step: %w", err)
	}
	return step, nil
}

func (s *source) Check(_ context.Context, report func(collector.Reading)) error {
	step := int64(0)
	if s.plant.s.Start.IsZero() {
		step = s.plant.StepAt(s.env.Now().UnixNano())
	}
	for _, r := range s.plant.At(step) {
		report(r)
	}
	return nil
}

func (s *source) Browse(_ context.Context, _ string, each func(collector.Offer) error) error {
	for _, o := range s.plant.Offers() {
		if err := each(o); err != nil {
			return err
		}
	}
	return nil
}
