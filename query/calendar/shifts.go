package calendar

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// pattern is who works when.
type pattern struct {
	names      []shift
	origin     int64 // the day on which the rotation begins; days are numbered from 1970-01-01
	rotation   []workday
	exceptions []exception // ascending, apart
	dayStart   int64
}

// shift is a name and the times it is from and to, seconds from midnight of its day. It begins within the day, which
// begins where the calendar says, and lasts for at most 24 hours on the clock.
type shift struct {
	name       string
	start, end int64
}

// workday is the shifts of one day, in the order of time.
type workday []turn

// turn is a shift and the crew that works it.
type turn struct {
	shift
	crew string
}

// exception is the days from first to last, on which other shifts are worked than the rotation says.
type exception struct {
	first, last int64
	name        string
	turns       workday
}

// day is the shifts that begin on a day, and the name of the exception it is.
func (p *pattern) day(day int64) (workday, string) {
	i, _ := slices.BinarySearchFunc(p.exceptions, day, func(e exception, day int64) int { return cmp.Compare(e.last, day) })
	if i < len(p.exceptions) && p.exceptions[i].first <= day {
		return p.exceptions[i].turns, p.exceptions[i].name
	}
	return p.rotation[floorMod(day-p.origin, int64(len(p.rotation)))], ""
}

// workday reads the shifts of a day: their names, each with the crew that works it if there is one, as in "day:A night:B".
func (p *pattern) workday(text string) (workday, error) {
	var w workday
	for _, word := range strings.Fields(text) {
		name, crew, hasCrew := strings.Cut(word, ":")
		if hasCrew {
			if err := checkWord(crew); err != nil {
				return nil, fmt.Errorf("crew of %.80q: %w", word, err)
			}
		}
		i := slices.IndexFunc(p.names, func(s shift) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%.80q is none of the shifts", name)
		}
		w = append(w, turn{p.names[i], crew})
	}
	slices.SortStableFunc(w, func(a, b turn) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(w); i++ {
		if w[i].start < w[i-1].end {
			return nil, fmt.Errorf("shifts %s and %s overlap", w[i-1].name, w[i].name)
		}
	}
	return w, nil
}

// checkNight says whether a shift of one day reaches into one of the day behind it.
func checkNight(day, next workday) error {
	if len(day) == 0 || len(next) == 0 {
		return nil
	}
	if a, b := day[len(day)-1], next[0]; a.end-daySeconds > b.start {
		return fmt.Errorf("shift %s reaches into shift %s of the day behind", a.name, b.name)
	}
	return nil
}

// shifts divides into the shifts of a pattern. Time without one is cut where a day begins.
type shifts struct{ pattern *pattern }

func (s *shifts) part(reading int64) part {
	p := s.pattern
	day := floorDiv(reading-p.dayStart, daySeconds)
	today, name := p.day(day)
	free := part{from: day*daySeconds + p.dayStart, to: (day+1)*daySeconds + p.dayStart, name: name, off: true}
	yesterday, _ := p.day(day - 1)
	for i, turns := range []workday{yesterday, today} {
		midnight := (day - 1 + int64(i)) * daySeconds
		for _, t := range turns {
			w := part{from: midnight + t.start, to: midnight + t.end, name: t.name, crew: t.crew}
			switch {
			case w.to <= reading:
				free.from = max(free.from, w.to)
			case w.from <= reading:
				return w
			default:
				free.to = min(free.to, w.from)
			}
		}
	}
	return free
}

func (s *shifts) label(p part) string {
	text := civil(floorDiv(p.from-s.pattern.dayStart, daySeconds) * daySeconds).Format(dateLayout)
	switch {
	case p.name != "":
		text += " " + p.name
	case p.off:
		text += " off"
	}
	if p.crew != "" {
		text += " " + p.crew
	}
	return text
}
