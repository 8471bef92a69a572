package calendar

import (
	"fmt"
	"time"
)

const (
	dateLayout    = "2006-01-02"
	readingLayout = "2006-01-02T15:04:05"
)

// dayLabel is the date of the day that begins at a reading, or the reading itself where none does.
func dayLabel(reading, dayStart int64) string {
	if floorMod(reading-dayStart, daySeconds) == 0 {
		return civil(reading - dayStart).Format(dateLayout)
	}
	return civil(reading).Format(readingLayout)
}

// days divides into so many days each.
type days struct {
	length   int64 // seconds: whole days
	origin   int64 // a reading where one begins
	dayStart int64
	week     bool     // each is an ISO week
	pattern  *pattern // says of single days whether anybody works; nil where nothing does
}

func (d *days) part(reading int64) part {
	into := floorMod(reading-d.origin, d.length)
	p := part{from: reading - into, to: reading - into + d.length}
	if d.pattern != nil {
		turns, name := d.pattern.day(floorDiv(p.from-d.dayStart, daySeconds))
		p.name, p.off = name, len(turns) == 0
	}
	return p
}

func (d *days) label(p part) string {
	switch {
	case d.week:
		year, week := civil(p.from - d.dayStart).ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	case p.name != "":
		return dayLabel(p.from, d.dayStart) + " " + p.name
	}
	return dayLabel(p.from, d.dayStart)
}

// months divides into so many months each.
type months struct {
	length   int64  // months
	origin   origin // in a month that is too short for its date, the last day stands for it
	dayStart int64
	unit     string // mo, q or y where the parts are calendar months, quarters or years; else empty
}

// begin is the reading at which part k, counted from the origin, begins.
func (m *months) begin(k int64) int64 {
	year, month, day := m.origin.date.Date()
	first := time.Date(year, month+time.Month(k*m.length), 1, 0, 0, 0, 0, time.UTC)
	lastDay := first.AddDate(0, 1, -1).Day()
	return first.Unix() + int64(min(day, lastDay)-1)*daySeconds + m.origin.behind
}

func (m *months) part(reading int64) part {
	year, month, _ := civil(reading - m.origin.behind).Date()
	originYear, originMonth, _ := m.origin.date.Date()
	since := 12*int64(year-originYear) + int64(month-originMonth)
	k := floorDiv(since, m.length)
	if m.begin(k) > reading {
		k--
	}
	return part{from: m.begin(k), to: m.begin(k + 1)}
}

func (m *months) label(p part) string {
	t := civil(p.from - m.origin.behind)
	switch m.unit {
	case "mo":
		return t.Format("2006-01")
	case "q":
		return fmt.Sprintf("%04d-Q%d", t.Year(), (t.Month()+2)/3)
	case "y":
		return t.Format("2006")
	}
	return dayLabel(p.from, m.dayStart)
}
