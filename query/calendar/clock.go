package calendar

import (
	"fmt"
	"math"
	"slices"
	"time"
	_ "time/tzdata" // a server without a zone database knows the zones too

	"github.com/varvedb/varve/model"
)

const (
	daySeconds = 24 * 60 * 60
	// The seconds in which the first and last instant of a sample lie.
	firstSecond = model.MinTime/1_000_000_000 - 1
	lastSecond  = model.MaxTime / 1_000_000_000
)

// clock is the wall clock of a zone. A reading of it is a number too: seconds since it showed, or would have shown,
// 1970-01-01 00:00. Instants are seconds since 1970 UTC.
type clock struct {
	zone      *time.Location
	stretches []stretch // ascending; the first begins before every sample
}

// stretch is the time from an instant to the next stretch, in which a clock is ahead of UTC by offset seconds.
type stretch struct{ from, offset int64 }

// newClock reads what a zone did and will do to its clocks. The offsets that package time says are taken as they are, but
// the ends of its stretches only as places to look again: behind the last change it has stored, some lie too early.
func newClock(zone *time.Location) *clock {
	c := &clock{zone: zone}
	for at := int64(firstSecond - 3*daySeconds); at < lastSecond+3*daySeconds; {
		t := time.Unix(at, 0).In(zone)
		_, ahead := t.Zone()
		offset := int64(ahead)
		if n := len(c.stretches); n == 0 || c.stretches[n-1].offset != offset {
			c.stretches = append(c.stretches, stretch{at, offset})
		}
		_, end := t.ZoneBounds()
		switch {
		case end.IsZero():
			return c
		case end.Unix() > at:
			at = end.Unix()
		default:
			at += daySeconds - floorMod(at, daySeconds)
		}
	}
	return c
}

// loadZone finds a zone by its IANA name; no name is UTC.
func loadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("zone %q is another one on every machine; write an IANA name, such as Europe/Berlin: %w", name, ErrZone)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %.80q is not known; write an IANA name, such as Europe/Berlin: %w", name, ErrZone)
	}
	return zone, nil
}

// index is that of the stretch that holds an instant.
func (c *clock) index(at int64) int {
	i, found := slices.BinarySearchFunc(c.stretches, at, func(s stretch, at int64) int {
		switch {
		case s.from < at:
			return -1
		case s.from > at:
			return 1
		}
		return 0
	})
	if found {
		return i
	}
	return max(i-1, 0)
}

// end is the instant at which stretch i ends.
func (c *clock) end(i int) int64 {
	if i+1 < len(c.stretches) {
		return c.stretches[i+1].from
	}
	return math.MaxInt64
}

// highest is the highest reading that the clock has shown up to an instant: what it shows then, except while it repeats
// what it has shown before.
func (c *clock) highest(at int64) int64 {
	i := c.index(at)
	high := at + c.stretches[i].offset
	// No offset is a day or more, so a stretch that ended a day below high showed nothing above it.
	for ; i > 0 && c.stretches[i].from > high-daySeconds; i-- {
		high = max(high, c.stretches[i].from-1+c.stretches[i-1].offset)
	}
	return high
}

// first is the first instant at which the clock shows reading or a later one, so that first(r) <= at where r <= highest(at).
func (c *clock) first(reading int64) int64 {
	for i := c.index(reading - daySeconds); ; i++ {
		s := c.stretches[i]
		at := reading - s.offset
		if i > 0 {
			at = max(at, s.from)
		}
		if at < c.end(i) {
			return at
		}
	}
}

// seconds is the second in which an instant lies.
func seconds(ns int64) int64 { return floorDiv(ns, int64(time.Second)) }

// nanoseconds is an instant in seconds as one in nanoseconds, or the nearest edge of all samples.
func nanoseconds(at int64) int64 {
	switch {
	case at <= firstSecond:
		return model.MinTime
	case at > lastSecond:
		return math.MaxInt64
	}
	return at * int64(time.Second)
}

// floorDiv is a/b, b above 0, rounded down.
func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

// floorMod is what a is above floorDiv(a, b)*b.
func floorMod(a, b int64) int64 {
	if m := a % b; m >= 0 {
		return m
	}
	return a%b + b
}
