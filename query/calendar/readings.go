package calendar

import "time"

// readings divides at readings of a clock.
type readings struct {
	clock *clock
	parts parts
}

// parts divides the readings of a clock, one behind the other.
type parts interface {
	// part is the one that holds a reading.
	part(reading int64) part
	// label is what people call a part.
	label(p part) string
}

// part is the readings [from, to), and what a Bucket says of them.
type part struct {
	from, to   int64
	name, crew string
	off        bool
}

func (r *readings) at(t int64) Bucket {
	p := r.parts.part(r.clock.highest(seconds(t)))
	return Bucket{
		Start: nanoseconds(r.clock.first(p.from)), End: nanoseconds(r.clock.first(p.to)),
		Name: p.name, Crew: p.crew, Off: p.off,
	}
}

func (r *readings) label(t int64) string {
	return r.parts.label(r.parts.part(r.clock.highest(seconds(t))))
}

// civil is the time in UTC that looks like a reading.
func civil(reading int64) time.Time { return time.Unix(reading, 0).UTC() }
