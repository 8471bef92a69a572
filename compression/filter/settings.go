package filter

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/varvedb/varve/model"
)

// ErrSettings is returned for settings that no filter can follow.
var ErrSettings = errors.New("filter settings are wrong")

// Settings are those of one tag for one of the filters.
type Settings struct {
	// Filter has the deviation, in the tag's unit, and the least and longest time between two samples kept. The zero value
	// filters nothing. For a tag whose values are no numbers any deviation above zero means: keep what changed.
	model.Filter
	// Stepped compares a value with the last one kept, which a reader holds, and not with a line.
	Stepped bool
}

// Asked is the filter that a configuration asks for. Without a deviation there is none; one of 0 leaves out what did not change.
func Asked(deviation *float64, minTime, maxTime time.Duration) model.Filter {
	f := model.Filter{MinTime: minTime, MaxTime: maxTime}
	if deviation != nil {
		if f.Deviation = *deviation; f.Deviation == 0 {
			f.Deviation = math.SmallestNonzeroFloat64 // what is equal, and nothing else, is within it
		}
	}
	return f
}

// Of is one of a tag's filters as its settings have it. MaxTime is at most the longest gap to interpolate across: a
// filter must not make a gap where the tag had none.
func Of(f model.Filter, s model.Settings) Settings {
	if s.MaxGap > 0 && (f.MaxTime == 0 || f.MaxTime > s.MaxGap) {
		f.MaxTime = s.MaxGap
		f.MinTime = min(f.MinTime, f.MaxTime)
	}
	return Settings{Filter: f, Stepped: s.Stepped || s.Type.AlwaysStepped()}
}

// Check reports what is wrong with the settings.
func (s Settings) Check() error {
	switch {
	case !(s.Deviation >= 0) || math.IsInf(s.Deviation, 0):
		return fmt.Errorf("deviation %g must be finite and not negative: %w", s.Deviation, ErrSettings)
	case s.MinTime < 0 || s.MaxTime < 0:
		return fmt.Errorf("minimum time %s and maximum time %s must not be negative: %w", s.MinTime, s.MaxTime, ErrSettings)
	case s.MaxTime > 0 && s.MinTime > s.MaxTime:
		return fmt.Errorf("minimum time %s is longer than maximum time %s: %w", s.MinTime, s.MaxTime, ErrSettings)
	}
	return nil
}

// Off reports that nothing is filtered.
func (s Settings) Off() bool { return s.Deviation == 0 }

// Past reports that the maximum time is set and has passed between two times.
func (s Settings) Past(from, to int64) bool {
	return s.MaxTime > 0 && Elapsed(from, to) > s.MaxTime
}

// Elapsed is the time between two instants, to being the later one. What is longer than a Duration counts as the longest.
func Elapsed(from, to int64) time.Duration {
	return time.Duration(min(uint64(to)-uint64(from), math.MaxInt64))
}

// Kind is how a value is compared with the next one. The numbers reach stored states and are never renumbered.
type Kind uint8

const (
	Alone  Kind = 1 // with none: it is kept, and so is what follows it
	Word   Kind = 2 // for equality
	Number Kind = 3 // by its distance
)

// exactInt bounds the integers whose distances a double has, with room to spare for rounding. Others count as words.
const exactInt = 1 << 48

// Read is how x can be compared, and its number if it is one.
func (s Settings) Read(x model.Sample) (float64, Kind) {
	if !x.Quality.IsGood() || x.Null {
		return 0, Alone
	}
	v, ok := x.Float64()
	if ok && x.Type.Float() {
		ok = !math.IsNaN(v) && !math.IsInf(v, 0)
	} else if ok {
		ok = math.Abs(v) < exactInt
	}
	switch {
	case ok:
		return v, Number
	case s.Stepped || x.Type.AlwaysStepped():
		return 0, Word
	}
	return 0, Alone // no line can be drawn from it or to it
}

// Line is how far a line between two values of type t may pass from one left out. Readers round what they find between two
// integers to the nearest, which must not carry them beyond the deviation: a line 2.6 off is 3 off to them. A quarter, not
// a half, leaves room for the rounding of doubles.
func (s Settings) Line(t model.Type) float64 {
	if t.Float() {
		return s.Deviation
	}
	return min(s.Deviation, math.Floor(s.Deviation)+0.25)
}

// Within reports that v is no farther than the deviation from the value that is held. Both edges belong to it, as doubles:
// 1.3 is within 0.1 of 1.2, although the double next to 1.3 is farther by less than one unit of its last place.
func (s Settings) Within(held, v float64) bool {
	return held-s.Deviation <= v && v <= held+s.Deviation
}
