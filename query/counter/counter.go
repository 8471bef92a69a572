// Package counter says how much a counter has counted: a tag whose values only grow, until it rolls over at its highest value or is
// reset to zero.
//
// # The rules
//
// From one sample to the next a counter that grew has counted the difference. One that fell has either rolled over or was reset, and
// no sample says which:
//
//   - It rolled over, if its highest value is known and it would have counted no more than Limits.Step on the way, half a turn
//     unless told otherwise. Then it counted up to the highest value, one more to 0, and on to where it is.
//   - Else it was reset, and has counted from 0 to where it is. What it counted before the reset and after the sample before is not
//     known and not counted.
//   - A sample above the highest value contradicts the limits: no rollover leads to it or from it.
//
// Samples that are Bad, not to be used, or without a value are left out by the caller: a counter goes on counting while nobody
// reads it. But if it rolls over, or is reset and then passes its old value, between two samples, that is not seen.
//
// All numbers are exact: values are 64-bit integers without a sign, and what they add up to has 128 bits.
package counter

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/varvedb/varve/storage/rollup"
)

// Limits say when a counter that fell has rolled over.
type Limits struct {
	// Highest is the value after which the counter shows 0, such as 65,535 or 999,999; 0 if it never rolls over, or nobody
	// knows: every fall is a reset then.
	Highest uint64
	// Step is the most that the counter can count from one sample to the next. The default is half of the Highest: a counter
	// that is read at least twice a turn. A smaller one tells more resets from rollovers.
	Step uint64
}

// Check reports why l cannot be.
func (l Limits) Check() error {
	if l.Step > l.Highest {
		return fmt.Errorf("counter with step %d and highest value %d: a step cannot be above the highest value", l.Step, l.Highest)
	}
	return nil
}

func (l Limits) step() uint64 {
	if l.Step == 0 {
		return l.Highest / 2
	}
	return l.Step
}

// Point is one sample of a counter.
type Point struct {
	Time  int64
	Value uint64
}

// Partial is what is known of consecutive samples of one counter. The zero value is of none.
type Partial struct {
	First, Last Point
	Samples     int64
	Rollovers   int64
	Resets      int64
	increase    rollup.Int128
}

// Add adds a sample behind all others.
func (p *Partial) Add(t int64, value uint64, l Limits) {
	if p.Samples == 0 {
		p.First = Point{t, value}
	} else {
		p.count(value, l)
	}
	p.Last = Point{t, value}
	p.Samples++
}

// Merge adds q, whose samples all come behind those of p, and what was counted between the two. It is associative.
func (p *Partial) Merge(q *Partial, l Limits) {
	if q.Samples == 0 {
		return
	}
	if p.Samples == 0 {
		*p = *q
		return
	}
	p.count(q.First.Value, l)
	p.add(q.increase)
	p.Last = q.Last
	p.Samples += q.Samples
	p.Rollovers += q.Rollovers
	p.Resets += q.Resets
}

// count adds what was counted from the last sample to value.
func (p *Partial) count(value uint64, l Limits) {
	last := p.Last.Value
	switch {
	case value >= last:
		value -= last
	case last <= l.Highest && l.Highest-last+value+1 <= l.step(): // value is below last, so this is Highest at most
		value += l.Highest - last + 1
		p.Rollovers++
	default:
		p.Resets++
	}
	p.add(rollup.Int128{Lo: value})
}

func (p *Partial) add(n rollup.Int128) {
	lo, carry := bits.Add64(p.increase.Lo, n.Lo, 0)
	p.increase = rollup.Int128{Hi: p.increase.Hi + n.Hi + int64(carry), Lo: lo}
}

// Increase is how much was counted from the first sample to the last.
func (p *Partial) Increase() rollup.Int128 { return p.increase }

// Rate is the increase per second from the first sample to the last; NaN where there is no time between them. Nothing is
// extrapolated to the ends of an interval.
func (p *Partial) Rate() float64 {
	ns := uint64(p.Last.Time) - uint64(p.First.Time)
	if p.Samples == 0 || ns == 0 {
		return math.NaN()
	}
	return p.increase.Float64() / (float64(ns) / 1e9)
}
