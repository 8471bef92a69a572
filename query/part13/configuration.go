package part13

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/varvedb/varve/model"
)

// ErrConfiguration is the answer to a configuration that the standard does not allow.
var ErrConfiguration = errors.New("not an aggregate configuration of OPC UA Part 13")

// Configuration is the AggregateConfiguration of Part 13, 4.2.1.2. Whether a tag is stepped is its own setting.
type Configuration struct {
	TreatUncertainAsBad bool
	// What share of an interval, in percent of its time or of its samples, makes a result Bad or Good.
	PercentDataBad, PercentDataGood uint8
	// SlopedExtrapolation goes on behind the last sample in the direction of the last two. Otherwise the last value is held.
	SlopedExtrapolation bool
}

// Defaults is the configuration of whoever states none.
var Defaults = Configuration{TreatUncertainAsBad: true, PercentDataBad: 100, PercentDataGood: 100}

// Check refuses percentages that are none, or that leave a result both Good and Bad.
func (c Configuration) Check() error {
	switch {
	case c.PercentDataBad > 100:
		return fmt.Errorf("PercentDataBad is %d, most is 100: %w", c.PercentDataBad, ErrConfiguration)
	case c.PercentDataGood > 100:
		return fmt.Errorf("PercentDataGood is %d, most is 100: %w", c.PercentDataGood, ErrConfiguration)
	case c.PercentDataGood < 100-c.PercentDataBad:
		return fmt.Errorf("PercentDataGood is %d, least is 100 less PercentDataBad, %d: %w", c.PercentDataGood, 100-c.PercentDataBad, ErrConfiguration)
	}
	return nil
}

// shares is how much of an interval is of which quality: nanoseconds or samples.
type shares struct{ good, uncertain, bad uint64 }

// severity is Good, UncertainDataSubNormal or Bad, by what is good and what is bad of all. Where both percentages add up to
// 100 only that of good data decides, so that it is never Bad while there is something good.
func (c Configuration) severity(s shares) model.Quality {
	all := s.good + s.uncertain + s.bad
	switch {
	case s.bad == all:
		return model.Bad
	case c.PercentDataGood == 100-c.PercentDataBad:
		if atLeast(s.good, all, c.PercentDataGood) {
			return model.Good
		}
	case atLeast(s.bad, all, c.PercentDataBad):
		return model.Bad
	case atLeast(s.good, all, c.PercentDataGood):
		return model.Good
	}
	return model.UncertainDataSubNormal
}

// atLeast reports whether part is the percentage of all, or more.
func atLeast(part, all uint64, percent uint8) bool {
	h, l := bits.Mul64(part, 100)
	g, k := bits.Mul64(all, uint64(percent))
	return h > g || h == g && l >= k
}
