package calendar

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
)

// IntervalHelp says in one line what Every reads.
const IntervalHelp = "90s 15m 1h 24h (elapsed time), 8h of day (marks on the clock), 1d 2w 1mo 1q 1y (days and more on the clock), shift, period; from TIME counts from there"

// maxYears is the longest unit of the clock that is divided into. It is longer than there are samples.
const maxYears = 1000

// Every reads how to divide time:
//
//	15m, 1h30m, 24h      elapsed time, counted from 1970-01-01T00:00:00Z
//	8h of day            marks on the clock, counted from where the day begins; they divide 24h
//	1d, 2w, 1mo, 1q, 1y  days, weeks, months, quarters, years on the clock; days counted from 2000-01-03, weeks from the
//	                     first day of that week, the others from 2000-01-01
//	shift                the shifts of the calendar, and the time between them
//	period               the periods of the calendar, and the time between them
//
// Behind a length of either kind, but not parts of a day, "from TIME" says where one of the buckets begins: a date, or a date and
// time, on the clock; for elapsed time also in RFC 3339. Units are ns, us, ms, s, m, min, h and d, w, mo, q, y. ErrInterval for anything
// else.
func (c *Calendar) Every(text string) (*Division, error) {
	words := strings.Fields(text)
	from := ""
	if n := len(words); n > 2 && words[n-2] == "from" {
		words, from = words[:n-2], words[n-1]
	}
	return c.every(strings.Join(words, " "), from)
}

func (c *Calendar) every(interval, from string) (*Division, error) {
	by, err := c.divider(interval, from)
	if err != nil {
		return nil, fmt.Errorf("every %.80q: %w: %w", interval, err, ErrInterval)
	}
	return &Division{calendar: c, interval: interval, from: from, by: by}, nil
}

func (c *Calendar) divider(interval, from string) (divider, error) {
	text, ofDay := strings.CutSuffix(interval, " of day")
	if named := interval == "shift" || interval == "period"; from != "" && (named || ofDay) {
		return nil, fmt.Errorf("it cannot be counted from %.80q", from)
	}
	switch {
	case interval == "shift" && c.pattern == nil:
		return nil, fmt.Errorf("the calendar has no shifts")
	case interval == "shift":
		return &readings{c.clock, &shifts{c.pattern}}, nil
	case interval == "period" && len(c.periods) == 0:
		return nil, fmt.Errorf("the calendar has no periods")
	case interval == "period":
		return &readings{c.clock, &periods{c.periods, c.dayStart}}, nil
	}
	l, err := parseLength(text)
	switch {
	case err != nil:
		return nil, err
	case ofDay:
		return c.marks(l)
	case l.unit == "":
		return c.elapsed(l.elapsed, from)
	}
	return c.wall(l, from)
}

// length is how long a bucket is: elapsed time, or so many units of the clock.
type length struct {
	elapsed time.Duration
	count   int64
	unit    string // d, w, mo, q or y; empty for elapsed time
}

var elapsedUnits = map[string]time.Duration{
	"ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute, "h": time.Hour,
}

// mostOf is how many of a unit of the clock a length may have.
var mostOf = map[string]int64{"d": maxYears * 365, "w": maxYears * 52, "mo": maxYears * 12, "q": maxYears * 4, "y": maxYears}

func parseLength(s string) (length, error) {
	if s == "" {
		return length{}, fmt.Errorf("no length; write %s", IntervalHelp)
	}
	var l length
	for rest := s; rest != ""; {
		n, unit, behind, err := parseCount(rest)
		if err != nil {
			return length{}, err
		}
		if most := mostOf[unit]; most > 0 {
			if n > most {
				return length{}, fmt.Errorf("%d%s is too long, most is %d%s", n, unit, most, unit)
			}
			if behind != "" || rest != s {
				return length{}, fmt.Errorf("%s stands alone: a length is of one unit of the clock, or of elapsed time", rest[:len(rest)-len(behind)])
			}
			return length{count: n, unit: unit}, nil
		}
		one, ok := elapsedUnits[unit]
		if !ok {
			return length{}, fmt.Errorf("%.20q is no unit; write %s", unit, IntervalHelp)
		}
		if n > int64((math.MaxInt64-l.elapsed)/one) {
			return length{}, fmt.Errorf("longer than time is counted, 292 years")
		}
		l.elapsed += time.Duration(n) * one
		rest = behind
	}
	return l, nil
}

// parseCount reads a number from 1 and its unit.
func parseCount(s string) (n int64, unit, rest string, err error) {
	digits := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		return 0, "", "", fmt.Errorf("%.20q has no unit; write %s", s, IntervalHelp)
	}
	n, err = strconv.ParseInt(s[:digits], 10, 64)
	if err != nil || n == 0 {
		return 0, "", "", fmt.Errorf("%.20q does not begin with a number from 1; write %s", s, IntervalHelp)
	}
	end := digits
	for end < len(s) && s[end] >= 'a' && s[end] <= 'z' {
		end++
	}
	if end == digits {
		return 0, "", "", fmt.Errorf("%.20q is no unit; write %s", s[digits:], IntervalHelp)
	}
	return n, s[digits:end], s[end:], nil
}

func (c *Calendar) elapsed(length time.Duration, from string) (divider, error) {
	e := &elapsed{zone: c.Zone(), length: int64(length)}
	if from == "" {
		return e, nil
	}
	t, err := time.Parse(time.RFC3339Nano, from)
	if err != nil {
		o, err := c.parseOrigin(from)
		if err != nil {
			return nil, err
		}
		e.origin = nanoseconds(c.clock.first(o.reading()))
		return e, nil
	}
	e.origin = t.UnixNano()
	if !time.Unix(0, e.origin).Equal(t) || e.origin < model.MinTime {
		return nil, fmt.Errorf("%q is outside of the time that samples may carry", from)
	}
	return e, nil
}

func (c *Calendar) marks(l length) (divider, error) {
	seconds := int64(l.elapsed / time.Second)
	if l.unit != "" || l.elapsed%time.Second != 0 || daySeconds%max(seconds, 1) != 0 {
		return nil, fmt.Errorf("it must divide 24h into equal parts of whole seconds")
	}
	return &marks{clock: c.clock, length: seconds, origin: c.dayStart}, nil
}

// wall counts in units of the clock.
func (c *Calendar) wall(l length, from string) (divider, error) {
	usual := from == ""
	o := origin{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), c.dayStart}
	switch {
	case !usual:
		var err error
		if o, err = c.parseOrigin(from); err != nil {
			return nil, err
		}
	case l.unit == "d":
		o.date = time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)
	case l.unit == "w":
		o.date = time.Date(2000, 1, 2+int(c.weekStart), 0, 0, 0, 0, time.UTC) // 2000-01-02 was a Sunday
	}
	plain := usual && l.count == 1
	var p parts
	switch l.unit {
	case "d":
		d := &days{length: l.count * daySeconds, origin: o.reading(), dayStart: c.dayStart}
		if plain {
			d.pattern = c.pattern
		}
		p = d
	case "w":
		iso := plain && c.weekStart == time.Monday
		p = &days{length: 7 * l.count * daySeconds, origin: o.reading(), dayStart: c.dayStart, week: iso}
	default:
		m := &months{length: l.count * monthsOf[l.unit], origin: o, dayStart: c.dayStart}
		if plain {
			m.unit = l.unit
		}
		p = m
	}
	return &readings{c.clock, p}, nil
}

var monthsOf = map[string]int64{"mo": 1, "q": 3, "y": 12}

// origin is a reading where a bucket begins.
type origin struct {
	date   time.Time // midnight, as if the clock were in UTC
	behind int64     // seconds from there
}

func (o origin) reading() int64 { return o.date.Unix() + o.behind }

// parseOrigin reads a date, which means where its day begins, or a date and time.
func (c *Calendar) parseOrigin(s string) (origin, error) {
	if len(s) == len(dateLayout) {
		date, err := parseDate(s)
		return origin{date, c.dayStart}, err
	}
	for _, layout := range []string{"2006-01-02T15:04", readingLayout} {
		t, err := time.Parse(layout, s)
		if err != nil || len(s) != len(layout) {
			continue
		}
		date, err := parseDate(s[:len(dateLayout)])
		return origin{date, int64(t.Sub(date) / time.Second)}, err
	}
	return origin{}, fmt.Errorf("%.40q is no date (2024-03-31) nor date and time (2024-03-31T06:00)", s)
}

// parseDate reads a date as its midnight in UTC.
func parseDate(s string) (time.Time, error) {
	t, err := time.Parse(dateLayout, s)
	switch {
	case err != nil:
		return t, fmt.Errorf("%.40q is no date; write 2024-03-31", s)
	case t.Year() < 1677 || t.Year() > 2262:
		return t, fmt.Errorf("%q is outside of the years 1677 to 2262", s)
	}
	return t, nil
}
