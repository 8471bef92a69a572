package calendar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// zones are those whose clocks did something that goes wrong easily, and some that did nothing.
var zones = []string{
	"UTC", "America/New_York", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo",
	"Australia/Lord_Howe", "Pacific/Chatham", "Antarctica/Troll", // half an hour, odd minutes, two hours
	"Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati", "Pacific/Enderbury", "America/Juneau", "Asia/Manila", // days left out or twice
	"America/St_Johns", "America/Havana", "America/Sao_Paulo", "America/Asuncion", "Asia/Beirut", "Africa/Cairo", "Asia/Tehran", // around midnight
	"Africa/Casablanca", "Asia/Gaza", "America/Nuuk", "America/Scoresbysund", "Antarctica/Casey", "Antarctica/Macquarie",
	"Asia/Pyongyang", "America/Caracas", "Europe/Volgograd", "Africa/Monrovia", "Etc/GMT+12", "Pacific/Norfolk",
}

// plain is a calendar with shifts as JSON says them, and what a test asks of it without the code under test.
type plain struct {
	definition
	zone     *time.Location
	dayStart time.Duration
	shifts   map[string][2]time.Duration // from midnight of the day, as plain code wants it
}

// A plain model follows the clock by the minute: high is the highest reading so far, as a time in UTC, and key is another
// one whenever a new bucket begins.
type keyFunc func(high time.Time) string

// drawPlain draws a calendar, with or without shifts.
func drawPlain(t *rapid.T) *plain {
	p := &plain{shifts: map[string][2]time.Duration{}}
	p.Zone = rapid.SampledFrom(zones).Draw(t, "zone")
	var err error
	p.zone, err = time.LoadLocation(p.Zone)
	require.NoError(t, err)
	if rapid.Bool().Draw(t, "day start") {
		minutes := rapid.IntRange(-720, 720).Draw(t, "minutes")
		p.dayStart = time.Duration(minutes) * time.Minute
		p.DayStarts = fmt.Sprintf("%02d:%02d", max(minutes, -minutes)/60, max(minutes, -minutes)%60)
		if minutes < 0 {
			p.DayStarts = "-" + p.DayStarts
		}
	}
	if rapid.Bool().Draw(t, "shifts") {
		p.drawShifts(t)
	}
	return p
}

func (p *plain) drawShifts(t *rapid.T) {
	cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, 1439), 1, 5, rapid.ID).Draw(t, "cuts")
	slices.Sort(cuts)
	var names []string
	for i, from := range cuts {
		to := cuts[0] + 1440
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		name := fmt.Sprintf("s%d", i)
		names = append(names, name)
		start, end := p.dayStart+time.Duration(from)*time.Minute, p.dayStart+time.Duration(to)*time.Minute
		p.shifts[name] = [2]time.Duration{start, end}
		clock := func(d time.Duration) string { return time.Unix(0, 0).UTC().Add(d).Format("15:04") }
		p.Shifts = append(p.Shifts, shiftDefinition{name, clock(start), clock(end)})
	}
	drawDay := func() string {
		var words []string
		for _, n := range names {
			switch rapid.IntRange(0, 3).Draw(t, "worked") {
			case 0, 1:
				words = append(words, n+":"+rapid.SampledFrom([]string{"A", "B"}).Draw(t, "crew"))
			case 2:
				words = append(words, n)
			}
		}
		return strings.Join(words, " ")
	}
	if rapid.Bool().Draw(t, "rotation") {
		p.Rotation = &rotationDefinition{Starts: "2011-12-26"}
		for range rapid.IntRange(1, 9).Draw(t, "days") {
			p.Rotation.Days = append(p.Rotation.Days, drawDay())
		}
	}
	for _, day := range rapid.SliceOfNDistinct(rapid.IntRange(1, 28), 0, 3, rapid.ID).Draw(t, "exceptions") {
		p.Exceptions = append(p.Exceptions, exceptionDefinition{
			Date: fmt.Sprintf("2024-03-%02d", day), Name: fmt.Sprintf("x%d", day), Shifts: drawDay(),
		})
	}
}

func (p *plain) calendar(t require.TestingT) *Calendar {
	text, err := json.Marshal(p.definition)
	require.NoError(t, err)
	c, err := Parse(text)
	require.NoError(t, err, string(text))
	return c
}

// worked is the shifts of a date, as words of the definition, and the name of the exception it is.
func (p *plain) worked(date time.Time) (words []string, name string) {
	for _, x := range p.Exceptions {
		if x.Date == date.Format(dateLayout) {
			return strings.Fields(x.Shifts), x.Name
		}
	}
	if p.Rotation == nil {
		for _, s := range p.Shifts {
			words = append(words, s.Name)
		}
		return words, ""
	}
	origin := time.Date(2011, 12, 26, 0, 0, 0, 0, time.UTC)
	n := len(p.Rotation.Days)
	i := int(date.Sub(origin).Hours()/24) % n
	return strings.Fields(p.Rotation.Days[(i+n)%n]), ""
}

// shiftKey is the label of the shift that a reading lies in.
func (p *plain) shiftKey(high time.Time) string {
	today := high.Add(-p.dayStart).Truncate(24 * time.Hour)
	for date := today.AddDate(0, 0, -2); !date.After(today); date = date.AddDate(0, 0, 1) {
		words, _ := p.worked(date)
		for _, w := range words {
			name, crew, _ := strings.Cut(w, ":")
			s := p.shifts[name]
			if !high.Before(date.Add(s[0])) && high.Before(date.Add(s[1])) {
				return strings.TrimSpace(date.Format(dateLayout) + " " + name + " " + crew)
			}
		}
	}
	_, name := p.worked(today)
	if name == "" {
		name = "off"
	}
	// Several times without a shift on one day are told apart by the shifts between them.
	return today.Format(dateLayout) + " " + name
}

// units are the divisions of dates, each with the label a bucket has, which is another one in every bucket.
func (p *plain) units() map[string]keyFunc {
	day := func(high time.Time) time.Time { return high.Add(-p.dayStart).Truncate(24 * time.Hour) }
	monday := time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)
	every := func(n int) keyFunc {
		return func(high time.Time) string {
			since := int(day(high).Sub(monday).Hours() / 24)
			return monday.AddDate(0, 0, since-((since%n)+n)%n).Format(dateLayout)
		}
	}
	units := map[string]keyFunc{
		"1d": func(high time.Time) string {
			_, name := []string(nil), ""
			if len(p.Shifts) > 0 {
				_, name = p.worked(day(high))
			}
			return strings.TrimSpace(day(high).Format(dateLayout) + " " + name)
		},
		"2d": every(2), "3w": every(21),
		"1w": func(high time.Time) string {
			year, week := day(high).ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		},
		"1mo": func(high time.Time) string { return day(high).Format("2006-01") },
		"1q": func(high time.Time) string {
			return fmt.Sprintf("%d-Q%d", day(high).Year(), (int(day(high).Month())-1)/3+1)
		},
		"1y": func(high time.Time) string { return day(high).Format("2006") },
		"1y from 2024-04-01": func(high time.Time) string {
			d := day(high)
			if d.Month() < time.April {
				return fmt.Sprintf("%d-04-01", d.Year()-1)
			}
			return fmt.Sprintf("%d-04-01", d.Year())
		},
		"6mo": func(high time.Time) string {
			return fmt.Sprintf("%d-%02d-01", day(high).Year(), (int(day(high).Month())-1)/6*6+1)
		},
	}
	if len(p.Shifts) > 0 {
		units["shift"] = p.shiftKey
	}
	return units
}

// drawInstant draws a whole minute after 1973, from when on every zone is some minutes from UTC, often near where something happens.
func drawInstant(t *rapid.T, zone *time.Location) time.Time {
	first, last := time.Date(1973, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC)
	if rapid.Bool().Draw(t, "this time") {
		first, last = time.Date(2005, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	at := time.Unix(rapid.Int64Range(first.Unix()/60, last.Unix()/60).Draw(t, "minute")*60, 0)
	switch rapid.SampledFrom([]string{"anywhere", "change", "month", "exception"}).Draw(t, "near") {
	case "change":
		if _, end := at.In(zone).ZoneBounds(); !end.IsZero() {
			at = end.Truncate(time.Minute)
		}
	case "month":
		at = time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
	case "exception":
		at = time.Date(2024, 3, rapid.IntRange(1, 31).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
	}
	return at
}

// naive is the reading of a zone's clock as a time in UTC.
func naive(at time.Time, zone *time.Location) time.Time {
	l := at.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// TestDatesLikeThePlainModel walks the clock by the minute for six days: whenever the plain key is another one, a bucket begins,
// and never else.
func TestDatesLikeThePlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlain(t)
		c := p.calendar(t)
		units := p.units()
		names := make([]string, 0, len(units))
		for n := range units {
			names = append(names, n)
		}
		slices.Sort(names)
		name := rapid.SampledFrom(names).Draw(t, "every")
		key := units[name]
		d, err := c.Every(name)
		require.NoError(t, err)

		middle := drawInstant(t, p.zone)
		from, to := middle.Add(-72*time.Hour), middle.Add(72*time.Hour)
		high := naive(from.Add(-72*time.Hour), p.zone)
		for at := from.Add(-72 * time.Hour); at.Before(from); at = at.Add(time.Minute) {
			if n := naive(at, p.zone); n.After(high) {
				high = n
			}
		}
		var want []string
		for at := from; at.Before(to); at = at.Add(time.Minute) {
			if n := naive(at, p.zone); n.After(high) {
				high = n
			}
			if k := key(high); len(want) == 0 || !strings.HasSuffix(want[len(want)-1], " = "+k) {
				want = append(want, at.UTC().Format(time.RFC3339)+" = "+k)
			}
		}
		var got []string
		r := model.TimeRange{Start: from.UnixNano(), End: to.UnixNano()}
		for b := range d.Buckets(r) {
			at := time.Unix(0, b.Clip(r).Start).UTC().Format(time.RFC3339)
			got = append(got, at+" = "+d.Label(b))
		}
		require.Equal(t, want, got, "%s in %s", name, p.Zone)
	})
}

// TestMarksLikeThePlainModel walks the clock by the minute: a bucket begins where it shows a mark, or reads between other marks.
func TestMarksLikeThePlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlain(t)
		minutes := rapid.SampledFrom([]int{1, 15, 30, 45, 60, 90, 120, 180, 360, 480, 720, 1440}).Draw(t, "minutes")
		d, err := p.calendar(t).Every(fmt.Sprintf("%dm of day", minutes))
		require.NoError(t, err)
		middle := drawInstant(t, p.zone)
		from, to := middle.Add(-30*time.Hour), middle.Add(30*time.Hour)

		slot := func(at time.Time) (number int64, mark bool) {
			m := naive(at, p.zone).Add(-p.dayStart).Unix() / 60
			return m / int64(minutes), m%int64(minutes) == 0
		}
		var want, got []string
		before, _ := slot(from.Add(-time.Minute))
		for at := from; at.Before(to); at = at.Add(time.Minute) {
			now, mark := slot(at)
			if now != before || mark {
				want = append(want, at.UTC().Format(time.RFC3339))
			}
			before = now
		}
		for b := range d.Buckets(model.TimeRange{Start: from.UnixNano(), End: to.UnixNano()}) {
			if b.Start >= from.UnixNano() {
				got = append(got, time.Unix(0, b.Start).UTC().Format(time.RFC3339))
			}
		}
		require.Equal(t, want, got, "%d minutes in %s", minutes, p.Zone)
	})
}

// TestDaysLikeTimeDate holds days, months and years of six centuries against time.Date, which says which instant a reading
// is wherever there is one; of two, the days here begin at the first.
func TestDaysLikeTimeDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		c, err := In(name)
		require.NoError(t, err)
		zone := c.Zone()
		year, month := rapid.IntRange(1679, 2260).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month"))
		unit := rapid.SampledFrom([]string{"1d", "1w", "1mo", "1q", "1y"}).Draw(t, "every")
		date := time.Date(year, month, rapid.IntRange(1, 31).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		var next time.Time
		switch unit {
		case "1d":
			next = date.AddDate(0, 0, 1)
		case "1w":
			date = date.AddDate(0, 0, -(int(date.Weekday())+6)%7)
			next = date.AddDate(0, 0, 7)
		case "1mo":
			date = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
			next = date.AddDate(0, 1, 0)
		case "1q":
			date = time.Date(year, (month-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC)
			next = date.AddDate(0, 3, 0)
		case "1y":
			date = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			next = date.AddDate(1, 0, 0)
		}
		start, ok := midnight(date, zone)
		end, okEnd := midnight(next, zone)
		if !ok || !okEnd {
			t.Skip("a midnight that did not exist")
		}
		d, err := c.Every(unit)
		require.NoError(t, err)
		b := d.At(start.UnixNano())
		require.Equal(t, start.UTC(), time.Unix(0, b.Start).UTC(), "start of %s at %s in %s", unit, date, name)
		require.Equal(t, end.UTC(), time.Unix(0, b.End).UTC(), "end of %s at %s in %s", unit, date, name)
	})
}

// midnight is the first instant at which the clock of a zone shows midnight of a date.
func midnight(date time.Time, zone *time.Location) (time.Time, bool) {
	at := time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, zone)
	for _, day := range []time.Duration{-30 * time.Hour, 30 * time.Hour} {
		_, offset := at.Add(day).Zone()
		if other := time.Unix(date.Unix()-int64(offset), 0).In(zone); other.Before(at) && naive(other, zone).Equal(date) {
			at = other
		}
	}
	return at, naive(at, zone).Equal(date)
}

// TestClockReadsLikeTime: what is known of a zone is what package time says of it, in all centuries. Behind the last change that
// it has stored its stretches end early, in leap years on December 31.
func TestClockReadsLikeTime(t *testing.T) {
	for _, name := range zones {
		zone, err := loadZone(name)
		require.NoError(t, err)
		c := newClock(zone)
		check := func(at int64) {
			_, offset := time.Unix(at, 0).In(zone).Zone()
			require.Equal(t, int64(offset), c.stretches[c.index(at)].offset, "%s at %s", name, time.Unix(at, 0).UTC())
		}
		for at := int64(firstSecond); at < lastSecond; at += 11*daySeconds + 3607 {
			check(at)
		}
		for year := 2008; year < 2262; year += 4 {
			for hour := range int64(48) {
				check(time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC).Unix() + hour*3600)
			}
		}
		for i, s := range c.stretches {
			check(s.from)
			if i > 0 {
				check(s.from - 1)
				require.NotEqual(t, c.stretches[i-1].offset, s.offset)
			}
		}
	}
}
