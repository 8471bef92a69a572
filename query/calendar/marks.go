package calendar

import "time"

// marks divides by marks on the clock, the same every day: 00:00, 08:00, 16:00. A bucket begins whenever the clock shows a
// mark, also again, and where it is set so that it goes on between other marks. So both hours of a reading that comes
// twice stay apart, and all of a bucket reads between two marks.
type marks struct {
	clock  *clock
	length int64 // seconds from mark to mark; divides a day
	origin int64 // a reading that is a mark
}

// slot is the number of the two marks between which a reading lies.
func (m *marks) slot(reading int64) int64 { return floorDiv(reading-m.origin, m.length) }

// mark is the reading at which a slot begins.
func (m *marks) mark(slot int64) int64 { return slot*m.length + m.origin }

// parts reports whether a bucket begins where stretch i does. The first stretch has nothing before it.
func (m *marks) parts(i int) bool {
	at := m.clock.stretches[i].from
	before, behind := at-1+m.clock.stretches[i-1].offset, at+m.clock.stretches[i].offset
	return m.slot(before) != m.slot(behind) || m.mark(m.slot(behind)) == behind
}

func (m *marks) at(t int64) Bucket {
	c := m.clock
	i := c.index(seconds(t))
	slot := m.slot(seconds(t) + c.stretches[i].offset)
	// Where a stretch begins within the bucket, the bucket began in one before, at the same mark.
	begin := i
	for begin > 0 && m.mark(slot)-c.stretches[begin].offset < c.stretches[begin].from && !m.parts(begin) {
		begin--
	}
	start := m.mark(slot) - c.stretches[begin].offset
	if begin > 0 {
		start = max(start, c.stretches[begin].from)
	}
	last := i
	for last+1 < len(c.stretches) && m.mark(slot+1)-c.stretches[last].offset >= c.end(last) && !m.parts(last+1) {
		last++
	}
	end := min(m.mark(slot+1)-c.stretches[last].offset, c.end(last))
	return Bucket{Start: nanoseconds(start), End: nanoseconds(end)}
}

func (m *marks) label(t int64) string {
	return time.Unix(0, m.at(t).Start).In(m.clock.zone).Format(time.RFC3339)
}
