package calendar

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits on what one definition may hold.
const (
	MaxDefinitionBytes = 1 << 20
	MaxShifts          = 48
	MaxRotationDays    = 1000
	MaxExceptions      = 10_000
	MaxPeriods         = 10_000
	MaxNameBytes       = 64
)

// definition is the JSON of a calendar. docs/reference/calendars.md says what each field means.
type definition struct {
	Zone       string                `json:"zone"`
	DayStarts  string                `json:"day_starts"`
	WeekStarts string                `json:"week_starts"`
	Shifts     []shiftDefinition     `json:"shifts"`
	Rotation   *rotationDefinition   `json:"rotation"`
	Exceptions []exceptionDefinition `json:"exceptions"`
	Periods    []periodDefinition    `json:"periods"`
}

type shiftDefinition struct {
	Name  string `json:"name"`
	Start string `json:"start"`
	End   string `json:"end"`
}

type rotationDefinition struct {
	Starts string   `json:"starts"`
	Days   []string `json:"days"`
}

type exceptionDefinition struct {
	Date    string `json:"date"`
	Through string `json:"through"`
	Name    string `json:"name"`
	Shifts  string `json:"shifts"`
}

type periodDefinition struct {
	Name    string `json:"name"`
	Starts  string `json:"starts"`
	Through string `json:"through"`
	Weeks   []int  `json:"weeks"`
}

// Parse reads the definition of a calendar, a JSON object. ErrDefinition says which field is wrong and how; an unknown
// field is wrong too. The zone is required.
func Parse(text []byte) (*Calendar, error) {
	c, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("calendar definition: %w: %w", err, ErrDefinition)
	}
	return c, nil
}

func parse(text []byte) (*Calendar, error) {
	if len(text) > MaxDefinitionBytes {
		return nil, fmt.Errorf("%d bytes, most is %d", len(text), MaxDefinitionBytes)
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	var d definition
	if err := in.Decode(&d); err != nil {
		return nil, err
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, fmt.Errorf("something stands behind its end, byte %d", in.InputOffset())
	}
	return d.calendar()
}

func (d *definition) calendar() (*Calendar, error) {
	if d.Zone == "" {
		return nil, fmt.Errorf("zone is missing; write an IANA name, such as Europe/Berlin")
	}
	c, err := In(d.Zone)
	if err != nil {
		return nil, err
	}
	if c.dayStart, err = parseDayStart(d.DayStarts); err != nil {
		return nil, fmt.Errorf("day_starts: %w", err)
	}
	if c.weekStart, err = parseWeekday(d.WeekStarts); err != nil {
		return nil, fmt.Errorf("week_starts: %w", err)
	}
	if c.pattern, err = d.pattern(c.dayStart); err != nil {
		return nil, err
	}
	if c.periods, err = d.periods(c.dayStart); err != nil {
		return nil, err
	}
	return c, nil
}

func (d *definition) pattern(dayStart int64) (*pattern, error) {
	if len(d.Shifts) == 0 {
		if d.Rotation != nil || len(d.Exceptions) > 0 {
			return nil, fmt.Errorf("shifts are missing, which rotation and exceptions are of")
		}
		return nil, nil
	}
	p := &pattern{dayStart: dayStart}
	var err error
	if p.names, err = d.shifts(dayStart); err != nil {
		return nil, err
	}
	if err := d.rotate(p); err != nil {
		return nil, err
	}
	if p.exceptions, err = d.exceptions(p); err != nil {
		return nil, err
	}
	// An exception puts other shifts beside those of the days around it.
	for _, e := range p.exceptions {
		for _, day := range []int64{e.first - 1, e.first, e.last} {
			today, _ := p.day(day)
			next, _ := p.day(day + 1)
			if err := checkNight(today, next); err != nil {
				return nil, fmt.Errorf("exceptions: %s: %w", civil(day*daySeconds).Format(dateLayout), err)
			}
		}
	}
	return p, nil
}

func (d *definition) shifts(dayStart int64) ([]shift, error) {
	if len(d.Shifts) > MaxShifts {
		return nil, fmt.Errorf("%d shifts, most is %d", len(d.Shifts), MaxShifts)
	}
	var names []shift
	for i, s := range d.Shifts {
		start, startErr := parseClock(s.Start)
		end, endErr := parseClock(s.End)
		switch err := checkWord(s.Name); {
		case err != nil:
			return nil, fmt.Errorf("shifts[%d]: name: %w", i, err)
		case slices.ContainsFunc(names, func(x shift) bool { return x.name == s.Name }):
			return nil, fmt.Errorf("shifts[%d]: name %s is taken", i, s.Name)
		case startErr != nil:
			return nil, fmt.Errorf("shift %s: start: %w", s.Name, startErr)
		case endErr != nil:
			return nil, fmt.Errorf("shift %s: end: %w", s.Name, endErr)
		}
		// The shift begins within the day, and ends at the next reading of its end.
		start = dayStart + floorMod(start-dayStart, daySeconds)
		length := floorMod(end-start, daySeconds)
		if length == 0 {
			length = daySeconds
		}
		names = append(names, shift{s.Name, start, start + length})
	}
	return names, nil
}

// rotate gives p its rotation. Without one all shifts are worked every day.
func (d *definition) rotate(p *pattern) error {
	r := d.Rotation
	if r == nil {
		var all []string
		for _, s := range p.names {
			all = append(all, s.name)
		}
		r = &rotationDefinition{Starts: "2000-01-01", Days: []string{strings.Join(all, " ")}}
	}
	var err error
	if p.origin, err = parseDay(r.Starts); err != nil {
		return fmt.Errorf("rotation: starts: %w", err)
	}
	n := len(r.Days)
	if n < 1 || n > MaxRotationDays {
		return fmt.Errorf("rotation: %d days, must be from 1 to %d", n, MaxRotationDays)
	}
	for i, text := range r.Days {
		day, err := p.workday(text)
		if err != nil {
			return fmt.Errorf("rotation: days[%d], %.80q: %w", i, text, err)
		}
		p.rotation = append(p.rotation, day)
	}
	for i, day := range p.rotation {
		if err := checkNight(day, p.rotation[(i+1)%n]); err != nil {
			return fmt.Errorf("rotation: days[%d], %.80q: %w", i, r.Days[i], err)
		}
	}
	return nil
}

func (d *definition) exceptions(p *pattern) ([]exception, error) {
	if len(d.Exceptions) > MaxExceptions {
		return nil, fmt.Errorf("%d exceptions, most is %d", len(d.Exceptions), MaxExceptions)
	}
	var all []exception
	for i, x := range d.Exceptions {
		var e exception
		var err error
		if e.first, err = parseDay(x.Date); err != nil {
			return nil, fmt.Errorf("exceptions[%d]: date: %w", i, err)
		}
		e.last = e.first
		if x.Through != "" {
			if e.last, err = parseDay(x.Through); err != nil {
				return nil, fmt.Errorf("exceptions[%d]: through: %w", i, err)
			}
		}
		if e.last < e.first {
			return nil, fmt.Errorf("exceptions[%d]: through %s is before date %s", i, x.Through, x.Date)
		}
		if e.name = x.Name; e.name != "" {
			if err := checkName(e.name); err != nil {
				return nil, fmt.Errorf("exceptions[%d]: name: %w", i, err)
			}
		}
		if e.turns, err = p.workday(x.Shifts); err != nil {
			return nil, fmt.Errorf("exceptions[%d]: shifts: %w", i, err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b exception) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(all); i++ {
		if all[i].first <= all[i-1].last {
			return nil, fmt.Errorf("exceptions: %s is in two of them", civil(all[i].first*daySeconds).Format(dateLayout))
		}
	}
	return all, nil
}

func (d *definition) periods(dayStart int64) ([]period, error) {
	var all []period
	for i, x := range d.Periods {
		some, err := x.periods(dayStart)
		if err != nil {
			return nil, fmt.Errorf("periods[%d]: %w", i, err)
		}
		if all = append(all, some...); len(all) > MaxPeriods {
			return nil, fmt.Errorf("more than %d periods", MaxPeriods)
		}
	}
	slices.SortFunc(all, func(a, b period) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(all); i++ {
		if all[i].from < all[i-1].to {
			return nil, fmt.Errorf("periods: %s and %s overlap", all[i-1].name, all[i].name)
		}
	}
	return all, nil
}

// periods is one period, or those of so many weeks each that a year is divided into.
func (x *periodDefinition) periods(dayStart int64) ([]period, error) {
	if err := checkName(x.Name); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	first, err := parseDay(x.Starts)
	if err != nil {
		return nil, fmt.Errorf("starts: %w", err)
	}
	from := first*daySeconds + dayStart
	if (x.Through == "") == (len(x.Weeks) == 0) {
		return nil, fmt.Errorf("must have either through or weeks")
	}
	if x.Through != "" {
		last, err := parseDay(x.Through)
		switch {
		case err != nil:
			return nil, fmt.Errorf("through: %w", err)
		case last < first:
			return nil, fmt.Errorf("through %s is before starts %s", x.Through, x.Starts)
		}
		return []period{{x.Name, from, (last+1)*daySeconds + dayStart}}, nil
	}
	if len(x.Weeks) > MaxPeriods {
		return nil, fmt.Errorf("%d periods, most is %d", len(x.Weeks), MaxPeriods)
	}
	var all []period
	for i, n := range x.Weeks {
		if n < 1 || n > 53 {
			return nil, fmt.Errorf("weeks[%d]: %d, must be from 1 to 53", i, n)
		}
		to := from + int64(n)*7*daySeconds
		all = append(all, period{fmt.Sprintf("%s-P%02d", x.Name, i+1), from, to})
		from = to
	}
	return all, nil
}

// parseDay is the number of the day of a date, from 1970-01-01.
func parseDay(s string) (int64, error) {
	t, err := parseDate(s)
	return floorDiv(t.Unix(), daySeconds), err
}

// parseClock is seconds from midnight.
func parseClock(s string) (int64, error) {
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil && len(s) == len(layout) {
			return int64(t.Hour()*3600 + t.Minute()*60 + t.Second()), nil
		}
	}
	return 0, fmt.Errorf("%.40q is no time of day; write 06:00, or 06:00:30", s)
}

// parseDayStart is parseClock of a time before noon, or with a minus before midnight, up to 12 hours; nothing is midnight.
func parseDayStart(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	text, before := strings.CutPrefix(s, "-")
	at, err := parseClock(text)
	switch {
	case err != nil:
		return 0, err
	case at > daySeconds/2:
		return 0, fmt.Errorf("%q must be from -12:00 to 12:00; 22:00 on the evening before is -02:00", s)
	case before:
		return -at, nil
	}
	return at, nil
}

func parseWeekday(s string) (time.Weekday, error) {
	if s == "" {
		return time.Monday, nil
	}
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.ToLower(d.String()) == s {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%.40q is no weekday; write monday", s)
}

// checkName refuses what would not print as one short line.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is missing")
	case len(s) > MaxNameBytes:
		return fmt.Errorf("%.20q and so on has %d bytes, most is %d", s, len(s), MaxNameBytes)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%q has characters that do not print", s)
	}
	return nil
}

// checkWord refuses names that the days of a rotation could not say.
func checkWord(s string) error {
	if strings.ContainsAny(s, ": ") {
		return fmt.Errorf("%.80q must have no blank and no colon", s)
	}
	return checkName(s)
}
