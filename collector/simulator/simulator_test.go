package simulator

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

type sink struct {
	readings []collector.Reading
	down     []int64
	flushes  int
	failAt   int // Put fails at so many readings
}

var errFull = fmt.Errorf("full")

func (s *sink) Put(_ context.Context, r []collector.Reading) error {
	if s.failAt > 0 && len(s.readings)+len(r) > s.failAt {
		return errFull
	}
	s.readings = append(s.readings, r...)
	return nil
}
func (s *sink) Flush(context.Context) error { s.flushes++; return nil }
func (s *sink) Down(_ context.Context, _ []string, at int64, _ string) error {
	s.down = append(s.down, at)
	return nil
}
func (s *sink) Up(context.Context, []string, int64) error                  { return nil }
func (s *sink) Lost(context.Context, []string, int64, int64, string) error { return nil }
func (s *sink) Count(collector.Counter, int)                               {}

func faulty() Settings {
	return Settings{
		Seed: 7, Sensors: 3, Pumps: 2, Counters: 1, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Steps: 2000,
		Faults: Faults{
			Bad: 0.02, Duplicates: 0.05, Late: 0.05, Down: Window{Every: 10 * time.Minute, For: time.Minute},
			ClockOff: ClockOff{Window{Every: 8 * time.Minute, For: 30 * time.Second}, time.Hour},
		},
	}
}

// What comes is what the plant says, step by step, wherever the collector stopped in between.
func TestEveryReadingIsKnown(t *testing.T) {
	s := faulty()
	s.Keep = true
	require.NoError(t, s.Check())
	var want []collector.Reading
	p := NewPlant(s)
	for step := range s.Steps {
		want = append(want, p.At(step)...)
	}
	env := collector.Env{Dir: t.TempDir(), Now: time.Now}
	out := &sink{}
	require.NoError(t, (&source{env, p}).Run(context.Background(), out))
	require.Equal(t, want, out.readings)
	require.NotEmpty(t, out.down)
	require.NoError(t, (&source{env, p}).Run(context.Background(), out), "it is at its end")
	require.Len(t, out.readings, len(want))

	late, bad, twice := 0, 0, 0
	newest := map[string]int64{}
	seen := map[string]bool{}
	for _, r := range want {
		if r.Time < newest[r.Address] {
			late++
		}
		newest[r.Address] = max(newest[r.Address], r.Time)
		if key := fmt.Sprint(r.Address, r.Time); seen[key] {
			twice++
		} else {
			seen[key] = true
		}
		if r.Quality == model.BadSensorFailure {
			require.True(t, r.Value.IsNull())
			bad++
		}
	}
	off := 0
	for step := range s.Steps {
		if r := p.At(step); p.ClockOff(step) != 0 && len(r) > 0 {
			off++
			require.Greater(t, r[len(r)-1].Time-p.Time(step), int64(50*time.Minute))
		}
	}
	for what, n := range map[string]int{"late": late, "bad": bad, "twice": twice, "off": off} {
		require.Greater(t, n, 50, what)
	}
}

func TestFailuresEndTheRun(t *testing.T) {
	s := faulty()
	out := &sink{failAt: 3000}
	require.ErrorIs(t, (&source{collector.Env{Dir: t.TempDir(), Now: time.Now}, NewPlant(s)}).Run(context.Background(), out), errFull)
}

func TestByTheClock(t *testing.T) {
	s := Settings{Seed: 1, Sensors: 2, Every: 2 * time.Millisecond, Keep: true}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	out := &sink{}
	stopping := stopAfter{out, 10, cancel}
	require.NoError(t, (&source{collector.Env{Dir: dir, Now: time.Now}, NewPlant(s)}).Run(ctx, stopping))
	n := len(out.readings)
	require.GreaterOrEqual(t, n, 10)
	ctx, cancel = context.WithCancel(context.Background())
	stopping = stopAfter{out, n + 10, cancel}
	require.NoError(t, (&source{collector.Env{Dir: dir, Now: time.Now}, NewPlant(s)}).Run(ctx, stopping))
	for i, r := range out.readings[2:] {
		require.EqualValues(t, 2*time.Millisecond, r.Time-out.readings[i].Time, "nothing is left out over a restart")
	}
}

type stopAfter struct {
	*sink
	n    int
	stop func()
}

func (s stopAfter) Put(ctx context.Context, r []collector.Reading) error {
	err := s.sink.Put(ctx, r)
	if len(s.readings) >= s.n {
		s.stop()
	}
	return err
}

// The same seed is the same plant in every release: tests and demonstrations name samples by it.
func TestPlantIsPinned(t *testing.T) {
	p := NewPlant(faulty())
	var got []string
	for _, r := range p.At(700) {
		got = append(got, fmt.Sprintf("%s %s %s", r.Address, time.Unix(0, r.Time).UTC().Format("15:04:05"), r.Value))
	}
	require.Equal(t, []string{
		"sensor/1 00:11:40 44.02", "sensor/2 00:11:40 19.34", "sensor/3 00:11:40 25.07", "pump/1 00:11:40 1", "pump/2 00:11:40 2", "counter/1 00:11:40 65103",
	}, got)
}

func TestSettings(t *testing.T) {
	for want, s := range map[string]Settings{
		"every 1ns":        {Every: 1},
		"sensors -1":       {Sensors: -1},
		"bad 2":            {Faults: Faults{Bad: 2}},
		"down for 2m0s":    {Faults: Faults{Down: Window{Every: time.Minute, For: 2 * time.Minute}}},
		"steps 5: give":    {Steps: 5},
		"late_by -1: must": {Faults: Faults{LateBy: -1}},
	} {
		require.ErrorContains(t, s.Check(), want)
	}
}
