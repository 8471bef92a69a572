package table

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
)

// TimeFormat reads the times of one file.
type TimeFormat struct {
	layout string        // of package time; empty for numbers
	unit   time.Duration // of numbers since 1970 UTC
	iso    bool          // date and time as in RFC 3339, with T or a blank, with or without fraction and zone
}

// ParseTimeFormat reads what a person may write: empty (nil: found from the data), a layout of Go's package time, one
// with the % letters of strftime, rfc3339, or unix, unix_ms, unix_us, unix_ns for numbers.
func ParseTimeFormat(s string) (*TimeFormat, error) {
	switch strings.ToLower(s) {
	case "":
		return nil, nil
	case "rfc3339", "iso", "iso8601":
		return &TimeFormat{iso: true}, nil
	case "unix", "unix_s":
		return &TimeFormat{unit: time.Second}, nil
	case "unix_ms":
		return &TimeFormat{unit: time.Millisecond}, nil
	case "unix_us":
		return &TimeFormat{unit: time.Microsecond}, nil
	case "unix_ns":
		return &TimeFormat{unit: time.Nanosecond}, nil
	}
	layout := s
	if strings.Contains(s, "%") {
		var err error
		if layout, err = fromStrftime(s); err != nil {
			return nil, err
		}
	}
	probe := time.Date(2021, 11, 25, 17, 48, 59, 0, time.UTC)
	back, err := time.Parse(layout, probe.Format(layout))
	if err != nil || back.Year() != 2021 || back.YearDay() != probe.YearDay() {
		return nil, fmt.Errorf("time format %q does not give year, month and day: write it like 2006-01-02 15:04:05, like %%Y-%%m-%%d %%H:%%M:%%S, or unix, unix_ms, unix_us, unix_ns", s)
	}
	return &TimeFormat{layout: layout}, nil
}

func fromStrftime(s string) (string, error) {
	verbs := map[byte]string{
		'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
		'f': "000000", 'z': "-0700", 'Z': "MST", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'j': "002",
		'T': "15:04:05", 'F': "2006-01-02", '%': "%",
	}
	// As strptime does, these take one digit or two; in front of other digits only two can be told apart.
	short := map[byte]string{'m': "1", 'd': "2", 'I': "3", 'M': "4", 'S': "5"}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("time format %q ends in %%", s)
		}
		v, ok := verbs[s[i]]
		if !ok {
			return "", fmt.Errorf("time format %q: %%%c is not known", s, s[i])
		}
		rest := s[i+1:]
		if one, ok := short[s[i]]; ok && (rest == "" || rest[0] != '%' && rest[0]-'0' > 9) {
			v = one
		}
		out.WriteString(v)
		if s[i] == 'S' && (strings.HasPrefix(rest, ".%f") || strings.HasPrefix(rest, ",%f")) {
			i += len(".%f") // package time takes a fraction of any length behind the seconds
		}
	}
	return out.String(), nil
}

// layouts are tried in this order on a file's first time. Days and months are never guessed between: 01/02/2021 needs a
// format.
var layouts = []string{
	"2006-01-02", "2006/01/02 15:04:05", "2006/01/02 15:04", "2006-01-02 15:04", "2006-01-02T15:04", "20060102T150405Z0700",
	"20060102T150405", "20060102150405", "20060102", "2006/01/02", "02.01.2006 15:04:05", "02.01.2006 15:04", "02.01.2006",
	"2-Jan-2006 15:04:05", "02-Jan-06 15:04:05", "2 Jan 2006 15:04:05", time.RFC1123Z, time.RFC1123, time.ANSIC,
}

// detectTime finds the format of one time, nil for none.
func detectTime(b []byte) *TimeFormat {
	if _, _, ok := parseISO(b); ok {
		return &TimeFormat{iso: true}
	}
	for _, l := range layouts {
		if _, err := time.Parse(l, string(b)); err == nil {
			return &TimeFormat{layout: l}
		}
	}
	return nil
}

// unixUnit is the time format of numbers since 1970 that s would be in, if that puts it between 2001 and 2286.
func unixUnit(s string) string {
	whole, _, _ := strings.Cut(s, ".")
	if _, err := strconv.ParseInt(whole, 10, 64); err != nil {
		return ""
	}
	return map[int]string{10: "unix", 13: "unix_ms", 16: "unix_us", 19: "unix_ns"}[len(whole)]
}

func (f *TimeFormat) String() string {
	switch {
	case f.iso:
		return "rfc3339"
	case f.unit != 0:
		return map[time.Duration]string{time.Second: "unix", time.Millisecond: "unix_ms", time.Microsecond: "unix_us", time.Nanosecond: "unix_ns"}[f.unit]
	}
	return f.layout
}

// clock turns the times of one file into instants, row by row.
type clock struct {
	format *TimeFormat
	zone   *time.Location
	last   int64 // instant of the row before

	ambiguous, nonexistent, withoutZone int
}

// read is the instant of one time.
//
// A time without a zone is local time in the clock's zone. Where clocks are set back a local time comes twice: it means
// the earlier instant, unless the row before it is later than that, then the later one; so a file in time order reads
// right. Where clocks are set forward a local time in the gap never was: it is taken as if the clock had not been set,
// which is as much later by the new one. Both are counted.
func (c *clock) read(b []byte) (int64, error) {
	b = bytes.TrimSpace(b)
	t, err := c.instant(b)
	if err != nil {
		return 0, err
	}
	c.last = t
	return t, nil
}

func (c *clock) instant(b []byte) (int64, error) {
	switch {
	case c.format.unit != 0:
		return parseUnix(b, c.format.unit)
	case c.format.iso:
		t, zoned, ok := parseISO(b)
		if !ok {
			return 0, fmt.Errorf("time %.40q is not of the form 2006-01-02T15:04:05Z", b)
		}
		if zoned {
			return checkInstant(t.sec, t.nsec)
		}
		return c.local(t)
	}
	t, err := time.Parse(c.format.layout, string(b))
	if err != nil {
		return 0, fmt.Errorf("time %.40q is not of the form %s", b, c.format.layout)
	}
	if layoutHasZone(c.format.layout) {
		return checkInstant(t.Unix(), int64(t.Nanosecond()))
	}
	return c.local(wall{t.Unix(), int64(t.Nanosecond())})
}

func layoutHasZone(l string) bool { return strings.Contains(l, "07") || strings.Contains(l, "MST") }

// wall is a local time: the seconds since 1970 that it would be in UTC.
type wall struct{ sec, nsec int64 }

func (c *clock) local(w wall) (int64, error) {
	c.withoutZone++
	if c.zone == time.UTC {
		return checkInstant(w.sec, w.nsec)
	}
	early, late, kind := resolveWall(w.sec, c.zone)
	sec := early
	switch kind {
	case twice:
		c.ambiguous++
		if t, err := checkInstant(early, w.nsec); err == nil && t < c.last {
			sec = late
		}
	case never:
		c.nonexistent++
	}
	return checkInstant(sec, w.nsec)
}

type wallKind int

const (
	once wallKind = iota
	twice
	never
)

// resolveWall finds the instants that show the wall time sec in zone. Where there is none both are the instant it would
// be had the clock not been set forward.
func resolveWall(sec int64, zone *time.Location) (early, late int64, kind wallKind) {
	offset := func(at int64) int64 {
		_, o := time.Unix(at, 0).In(zone).Zone()
		return int64(o)
	}
	const day = 86_400
	before, after := offset(sec-day), offset(sec+day) // no zone changes its clock twice within two days
	a, b := sec-before, sec-after
	fitsA, fitsB := offset(a) == before, offset(b) == after
	switch {
	case fitsA && fitsB && a != b:
		return min(a, b), max(a, b), twice
	case fitsA:
		return a, a, once
	case fitsB:
		return b, b, once
	}
	return a, a, never
}

// checkInstant is the time as nanoseconds, if a sample may carry it.
func checkInstant(sec, nsec int64) (int64, error) {
	const most = model.MaxTime / 1_000_000_000
	if sec > most-1 || sec < -most+1 {
		return 0, fmt.Errorf("time %s is outside the years 1678 to 2261", time.Unix(sec, nsec).UTC().Format(time.RFC3339))
	}
	return sec*1_000_000_000 + nsec, nil
}

// parseUnix reads a number of units since 1970, with a fraction if need be, without going through a double.
func parseUnix(b []byte, unit time.Duration) (int64, error) {
	whole, fraction, _ := strings.Cut(string(b), ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("time %.40q is not a number", b)
	}
	per := int64(time.Second / unit) // units in a second
	sec, rest := n/per, n%per
	nsec := rest * int64(unit)
	scale := int64(unit)
	for _, d := range fraction {
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("time %.40q is not a number", b)
		}
		if scale /= 10; strings.HasPrefix(whole, "-") {
			nsec -= int64(d-'0') * scale
		} else {
			nsec += int64(d-'0') * scale
		}
	}
	return checkInstant(sec, nsec)
}

// parseISO reads 2006-01-02T15:04:05 with T, t or a blank, an optional fraction of up to nine digits and an optional
// zone. With a zone the wall returned is UTC.
func parseISO(b []byte) (w wall, zoned, ok bool) {
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != ' ' && b[10] != 't' || b[13] != ':' || b[16] != ':' {
		return w, false, false
	}
	year, ok1 := digits(b[0:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	hour, ok4 := digits(b[11:13])
	minute, ok5 := digits(b[14:16])
	second, ok6 := digits(b[17:19])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return w, false, false
	}
	w.sec = daysFromCivil(year, month, day)*86_400 + hour*3600 + minute*60 + second
	rest := b[19:]
	if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		n := 1
		scale := int64(100_000_000)
		for ; n < len(rest) && rest[n]-'0' <= 9; n++ {
			if scale == 0 && rest[n] != '0' {
				return w, false, false // finer than a nanosecond
			}
			w.nsec += int64(rest[n]-'0') * scale
			scale /= 10
		}
		if n == 1 {
			return w, false, false
		}
		rest = rest[n:]
	}
	offset, zoned, ok := parseZone(rest)
	w.sec -= offset
	return w, zoned, ok
}

// parseZone reads nothing, Z, or an offset such as +02:00, -0700, +02, and returns its seconds.
func parseZone(b []byte) (offset int64, zoned, ok bool) {
	if len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	switch {
	case len(b) == 0:
		return 0, false, true
	case len(b) == 1 && (b[0] == 'Z' || b[0] == 'z'), string(b) == "UTC":
		return 0, true, true
	case b[0] != '+' && b[0] != '-':
		return 0, false, false
	}
	hours, minutes := b[1:], []byte("00")
	switch len(b) {
	case 3:
	case 5:
		hours, minutes = b[1:3], b[3:5]
	case 6:
		if b[3] != ':' {
			return 0, false, false
		}
		hours, minutes = b[1:3], b[4:6]
	default:
		return 0, false, false
	}
	h, ok1 := digits(hours)
	m, ok2 := digits(minutes)
	if !ok1 || !ok2 || h > 23 || m > 59 {
		return 0, false, false
	}
	offset = h*3600 + m*60
	if b[0] == '-' {
		offset = -offset
	}
	return offset, true, true
}

func digits(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysFromCivil is the days from 1970-01-01 to a date of the Gregorian calendar, years from 0 on.
func daysFromCivil(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	year += 400 // keeps the divisions below from going negative in the year 0
	era := year / 400
	ofEra := year - era*400
	ofYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146_097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719_468 - 146_097
}
