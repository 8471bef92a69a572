// Package timeexpr reads the instants that people write on a command line: absolute times, dates, and times relative to
// now.
package timeexpr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
)

// Help says in one line what Parse reads.
const Help = "RFC 3339 time, date, 'now', 'today', 'min', 'max', or relative to now: -90s -15m -1h -24h (elapsed), -1d -1w -1mo -1y (keep the wall time)"

// Parse reads an instant as nanoseconds UTC. Times without a zone are in zone. Hours and less count elapsed time; days
// and more keep the wall time in zone, so that -1d at 08:00 is yesterday 08:00 also when clocks were set in between. A
// relative time may follow a date or now: now-1h, today-1d, 2024-03-31+1d, 2024-03-31T08:00:00Z+30m.
func Parse(s string, now time.Time, zone *time.Location) (int64, error) {
	in := strings.TrimSpace(s)
	now = now.In(zone)
	switch in {
	case "min":
		return model.MinTime, nil
	case "max":
		return model.MaxTime + 1, nil
	}
	t, rest, err := base(in, now, zone)
	for err == nil && rest != "" {
		t, rest, err = shift(t, rest)
	}
	if err != nil {
		return 0, fmt.Errorf("time %q: %w; write an %s", s, err, Help)
	}
	if t.Year() < 1678 || t.Year() > 2261 {
		return 0, fmt.Errorf("time %q is outside the years 1678 to 2261", s)
	}
	return t.UnixNano(), nil
}

// base reads what stands before the relative parts.
func base(s string, now time.Time, zone *time.Location) (time.Time, string, error) {
	switch {
	case s == "":
		return now, "", fmt.Errorf("is empty")
	case s[0] == '-' || s[0] == '+':
		return now, s, nil
	case strings.HasPrefix(s, "now"):
		return now, s[len("now"):], nil
	case strings.HasPrefix(s, "today"):
		return midnight(now), s[len("today"):], nil
	case strings.HasPrefix(s, "yesterday"):
		return midnight(now).AddDate(0, 0, -1), s[len("yesterday"):], nil
	}
	for _, l := range layouts {
		if t, rest, ok := prefix(s, l, zone); ok {
			return t, rest, nil
		}
	}
	return now, "", fmt.Errorf("is not understood")
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// layouts are tried longest first.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04",
	"2006-01-02 15:04", "2006-01-02",
}

// prefix reads the longest beginning of s that has the layout, if what follows it is nothing or a relative part.
func prefix(s, layout string, zone *time.Location) (time.Time, string, bool) {
	for end := len(s); end >= len("2006-01-02"); end-- {
		if end < len(s) && s[end] != '+' && s[end] != '-' {
			continue
		}
		if t, err := time.ParseInLocation(layout, s[:end], zone); err == nil {
			return t, s[end:], true
		}
	}
	return time.Time{}, "", false
}

// shift applies the first relative part, such as -1h or +2d.
func shift(t time.Time, s string) (time.Time, string, error) {
	if s[0] != '-' && s[0] != '+' {
		return t, "", fmt.Errorf("%q does not begin with + or -", s)
	}
	digits := 1
	for digits < len(s) && s[digits]-'0' <= 9 {
		digits++
	}
	end := digits
	for end < len(s) && s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z' {
		end++
	}
	n, err := strconv.Atoi(s[1:digits])
	if err != nil || n > 1_000_000_000 {
		return t, "", fmt.Errorf("%q has no number of units", s)
	}
	if s[0] == '-' {
		n = -n
	}
	unit, rest := s[digits:end], s[end:]
	switch unit {
	case "d":
		return t.AddDate(0, 0, n), rest, nil
	case "w":
		return t.AddDate(0, 0, 7*n), rest, nil
	case "mo":
		return t.AddDate(0, n, 0), rest, nil
	case "y":
		return t.AddDate(n, 0, 0), rest, nil
	}
	elapsed, ok := map[string]time.Duration{
		"ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute, "h": time.Hour,
	}[unit]
	if !ok {
		return t, "", fmt.Errorf("%q is no unit: use s, m, h, d, w, mo or y", unit)
	}
	if d := time.Duration(n) * elapsed; d/elapsed == time.Duration(n) {
		return t.Add(d), rest, nil
	}
	return t, "", fmt.Errorf("%s%d%s is too far away", s[:1], n, unit)
}
