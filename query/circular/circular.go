// Package circular averages directions: wind, phase, the hour of the day. 350° and 10° lie around 0°, not around 180°.
//
// Each value is an arrow of length 1; the mean direction is that of the sum of all arrows, and how much they agree is the
// length of the sum over their number (Mardia and Jupp, Directional Statistics, 2000). Values are counted alike, or for as long
// as they stood: a sum takes weights. Between samples a direction is held, never turned: which way round it went is not known.
package circular

import (
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
)

// Degrees is the period of directions in degrees.
const Degrees = 360

// agreement below noDirection, and how far it may lie from 1, are what rounding of sines leaves of arrows that cancel, or
// are the same.
const (
	noDirection = 0x1p-40
	oneWay      = 0x1p-50
)

// Sum is the sum of weighted directions.
type Sum struct {
	period float64
	weight compensated
	x, y   compensated
}

// New is an empty sum of values that come round again after period, such as 360 degrees, 24 hours, 2π.
func New(period float64) (*Sum, error) {
	if !(period > 0) || math.IsInf(period, 1) {
		return nil, fmt.Errorf("period of directions is %v; it must be positive and finite", period)
	}
	return &Sum{period: period}, nil
}

// Add adds a direction, any number of turns off, with weight 1 for event-weighted answers, or the nanoseconds it stood for
// time-weighted ones. A value that is not finite points nowhere and changes nothing.
func (s *Sum) Add(value float64, weight uint64) {
	if !model.Finite(value) {
		return
	}
	if math.Abs(value) >= s.period {
		value = math.Mod(value, s.period)
	}
	sin, cos := math.Sincos(value / s.period * (2 * math.Pi))
	w := float64(weight)
	s.weight.add(w)
	s.x.add(w * cos)
	s.y.add(w * sin)
}

// Merge adds all of o, which must have the same period. What order sums were merged in shows in the last bits only.
func (s *Sum) Merge(o *Sum) {
	if s.period != o.period {
		panic(fmt.Sprintf("circular: a sum with period %v merged into one with %v", o.period, s.period))
	}
	s.weight.merge(o.weight)
	s.x.merge(o.x)
	s.y.merge(o.y)
}

// Agreement is 1 where all directions are one and 0 where they cancel; NaN of none.
func (s *Sum) Agreement() float64 {
	r := math.Hypot(s.x.value(), s.y.value()) / s.weight.value()
	if r > 1-oneWay {
		return 1
	}
	return r
}

// Mean is the mean direction, from 0 to below the period; NaN of none, and where directions cancel.
func (s *Sum) Mean() float64 {
	if !(s.Agreement() > noDirection) {
		return math.NaN()
	}
	mean := float64(math.Atan2(s.y.value(), s.x.value()) / (2 * math.Pi) * s.period)
	if mean < 0 {
		mean += s.period
	}
	if mean >= s.period { // it was negative by less than a rounding
		return 0
	}
	return mean + 0 // never -0
}

// Deviation is the circular standard deviation √(-2·ln agreement), in the unit of the values: that of the values where they
// lie close together, and without limit where they do not. Below 5e-9 of the period it is 0. It is +Inf where directions
// cancel, and NaN of none.
func (s *Sum) Deviation() float64 {
	r := s.Agreement()
	if r <= noDirection {
		return math.Inf(1)
	}
	return float64(math.Sqrt(-2*math.Log(r))/(2*math.Pi)*s.period) + 0 // never -0
}

// compensated is a sum with what rounding took from it. (Kahan; Neumaier 1974.)
type compensated struct{ sum, lost float64 }

func (c *compensated) add(v float64) {
	v = float64(v) // rounded: a product that is handed in would become one operation with each sum here
	sum := c.sum + v
	if math.Abs(c.sum) >= math.Abs(v) {
		c.lost += (c.sum - sum) + v
	} else {
		c.lost += (v - sum) + c.sum
	}
	c.sum = sum
}

func (c *compensated) merge(o compensated) {
	c.add(o.sum)
	c.lost += o.lost
}

func (c *compensated) value() float64 { return c.sum + c.lost }
