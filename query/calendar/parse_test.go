package calendar

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// everything is a calendar that has all there is to divide by.
const everything = `{
	"zone": "America/St_Johns", "day_starts": "-00:30", "week_starts": "sunday",
	"shifts": [{"name": "day", "start": "06:00", "end": "18:00"}, {"name": "night", "start": "18:00", "end": "06:00"}],
	"rotation": {"starts": "2006-10-23", "days": ["day:A night:B", "day:B", "", "night"]},
	"exceptions": [{"date": "2006-10-28", "through": "2006-10-29", "name": "clocks", "shifts": "night:C"}],
	"periods": [{"name": "P", "starts": "2006-10-29", "weeks": [1, 2]}, {"name": "Q", "starts": "2007-01-01", "through": "2007-02-28"}]
}`

func TestEveryRefuses(t *testing.T) {
	c, err := In("Europe/Berlin")
	require.NoError(t, err)
	for text, want := range map[string]string{
		"":                                       "no length",
		"  ":                                     "no length",
		"h":                                      "does not begin with a number from 1",
		"0h":                                     "does not begin with a number from 1",
		"-1h":                                    "does not begin with a number from 1",
		"1.5h":                                   `".5h" is no unit`,
		"5":                                      `"5" has no unit`,
		"1M":                                     `"M" is no unit`,
		"1month":                                 `"month" is no unit`,
		"1d12h":                                  "1d stands alone",
		"1h1d":                                   "1d stands alone",
		"99999999999999999999h":                  "does not begin with a number from 1",
		"2562048h":                               "longer than time is counted",
		"9000000000s1000000000s":                 "longer than time is counted",
		"1001y":                                  "1001y is too long, most is 1000y",
		"9999999999d":                            "most is 365000d",
		"7h of day":                              "must divide 24h",
		"48h of day":                             "must divide 24h",
		"500ms of day":                           "must divide 24h",
		"1d of day":                              "must divide 24h",
		"of day":                                 "does not begin with a number from 1",
		"8h of day from 2024-01-01":              `cannot be counted from "2024-01-01"`,
		"shift from 2024-01-01":                  `cannot be counted from "2024-01-01"`,
		"shift":                                  "the calendar has no shifts",
		"period":                                 "the calendar has no periods",
		"1d from":                                "1d stands alone",
		"1d from now":                            `"now" is no date`,
		"1d from 2024-02-30":                     "is no date",
		"1d from 2024-1-1":                       "is no date",
		"1d from 2024-03-31T08:00Z":              "is no date",
		"1d from 2024-03-31T08:00:00+02:00":      "is no date",
		"1d from 2024-03-31T08:00:00.5":          "is no date",
		"1d from 1500-01-01":                     "is outside of the years",
		"1h from 1500-01-01T00:00:00Z":           "is outside of the time",
		"1h from 9000-01-01T00:00:00Z":           "is outside of the time",
		"1h from 1677-09-21T00:12:43.145224192Z": "is outside of the time",
		"1h\x001h":                               "does not begin with a number from 1",
		"1" + strings.Repeat("h", 1<<16):         "is no unit",
	} {
		_, err := c.Every(text)
		require.ErrorIs(t, err, ErrInterval, text)
		require.ErrorContains(t, err, want, text)
		require.Less(t, len(err.Error()), 500)
	}
}

func TestEveryReads(t *testing.T) {
	c, err := Parse([]byte(everything))
	require.NoError(t, err)
	for text, want := range map[string]string{
		" 1h30m ": "1h30m", "90 ": "", "5min": "5min", "8h  of  day": "8h of day", "1d  from 2024-01-01": "1d from 2024-01-01",
		"1s of day": "1s of day", "24h of day": "24h of day", "1us from 2024-01-01T00:00:00.000000001+02:00": "1us from 2024-01-01T00:00:00.000000001+02:00",
		"shift": "shift", "period": "period",
	} {
		d, err := c.Every(text)
		if want == "" {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, d.String())
	}
}

func TestZones(t *testing.T) {
	for _, bad := range []string{"Local", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "+02:00", strings.Repeat("x", 1<<16)} {
		_, err := In(bad)
		require.ErrorIs(t, err, ErrZone, "%.30q", bad)
		require.Less(t, len(err.Error()), 300)
	}
	c, err := In("")
	require.NoError(t, err)
	require.Equal(t, "UTC", c.Zone().String())
}

func TestParseRefuses(t *testing.T) {
	shifts := `"zone": "UTC", "shifts": [{"name": "a", "start": "06:00", "end": "18:00"}, {"name": "b", "start": "18:00", "end": "06:00"}, {"name": "c", "start": "12:00", "end": "13:00"}]`
	days := func(text string) string {
		return fmt.Sprintf(`{%s, "rotation": {"starts": "2024-01-01", "days": [%s]}}`, shifts, text)
	}
	exception := func(text string) string {
		return fmt.Sprintf(`{%s, "rotation": {"starts": "2024-01-01", "days": ["a b"]}, "exceptions": [%s]}`, shifts, text)
	}
	night := func(rotation, exception string) string {
		return fmt.Sprintf(`{"zone": "UTC", "shifts": [{"name": "early", "start": "06:00", "end": "12:00"}, {"name": "long", "start": "12:00", "end": "08:00"}],
			"rotation": {"starts": "2024-01-01", "days": ["%s"]}, "exceptions": [%s]}`, rotation, exception)
	}
	period := func(text string) string { return fmt.Sprintf(`{"zone": "UTC", "periods": [%s]}`, text) }
	shift := func(text string) string { return fmt.Sprintf(`{"zone": "UTC", "shifts": [%s]}`, text) }
	for text, want := range map[string]string{
		``:                                       "EOF",
		`{`:                                      "unexpected EOF",
		`null`:                                   "zone is missing",
		`[]`:                                     "cannot unmarshal array",
		`{"zone": "UTC"} x`:                      "something stands behind its end",
		`{"zone": "UTC"} {}`:                     "something stands behind its end",
		`{"zone": 5}`:                            "zone of type string",
		`{"zone": "Moon"}`:                       `zone "Moon" is not known`,
		`{"zone": "UTC", "zones": ""}`:           `unknown field "zones"`,
		`{"zone": "UTC", "day_starts": "25:00"}`: `day_starts: "25:00" is no time of day`,
		`{"zone": "UTC", "day_starts": "22:00"}`: "22:00 on the evening before is -02:00",
		`{"zone": "UTC", "day_starts": "--02:00"}`:                             "is no time of day",
		`{"zone": "UTC", "week_starts": "Mon"}`:                                `week_starts: "Mon" is no weekday`,
		`{"zone": "UTC", "rotation": {"starts": "2024-01-01", "days": ["a"]}}`: "shifts are missing",
		`{"zone": "UTC", "exceptions": [{"date": "2024-01-01"}]}`:              "shifts are missing",
		`{` + shifts + `}`: `days[0], "a b c": shifts a and c overlap`,
		days(``):           "0 days, must be from 1 to 1000",
		days(`"a x"`):      `days[0], "a x": "x" is none of the shifts`,
		days(`"a:"`):       `crew of "a:": is missing`,
		days(`"a:A:B"`):    "must have no blank and no colon",
		days(`"a", "a c"`): `days[1], "a c": shifts a and c overlap`,
		days(`"a a"`):      "shifts a and a overlap",
		strings.Replace(days(`"a"`), "2024-01-01", "2024-13-01", 1):                                                                      `rotation: starts: "2024-13-01" is no date`,
		shift(`{"name": "a", "start": "06:00", "end": "18:00"}, {"name": "a"}`):                                                          "shifts[1]: name a is taken",
		shift(`{"start": "06:00", "end": "18:00"}`):                                                                                      "shifts[0]: name: is missing",
		shift(`{"name": "a b", "start": "06:00", "end": "18:00"}`):                                                                       "must have no blank",
		shift(`{"name": "a", "start": "6:00", "end": "18:00"}`):                                                                          `shift a: start: "6:00" is no time of day`,
		shift(`{"name": "a", "start": "06:00", "end": "24:00"}`):                                                                         `shift a: end: "24:00" is no time of day`,
		shift(`{"name": "a", "start": "06:00", "end": "08:00"}, {"name": "b", "start": "07:00", "end": "06:00"}`):                        "shifts a and b overlap",
		shift(`{"name": "a", "start": "22:00", "end": "06:30"}, {"name": "b", "start": "06:00", "end": "22:00"}`):                        "shift a reaches into shift b of the day behind",
		exception(`{"date": "2024-01-32"}`):                                                                                              `exceptions[0]: date: "2024-01-32" is no date`,
		exception(`{"date": "2024-01-02", "through": "2024-01-01"}`):                                                                     "through 2024-01-01 is before date 2024-01-02",
		exception(`{"date": "2024-01-02", "through": "x"}`):                                                                              "exceptions[0]: through:",
		exception(`{"date": "2024-01-02", "shifts": "z"}`):                                                                               `exceptions[0]: shifts: "z" is none`,
		exception(`{"date": "2024-01-02", "name": "a\nb"}`):                                                                              "do not print",
		exception(`{"date": "2024-01-05"}, {"date": "2024-01-01", "through": "2024-01-05"}`):                                             "2024-01-05 is in two of them",
		night("early", `{"date": "2024-01-02", "through": "2024-01-03", "shifts": "long"}`):                                              "exceptions: 2024-01-03: shift long reaches into shift early",
		night("long", `{"date": "2024-01-02", "shifts": "early"}`):                                                                       "exceptions: 2024-01-01: shift long reaches into shift early",
		night("", `{"date": "2024-01-02", "through": "2024-01-03", "shifts": "early long"}`):                                             "exceptions: 2024-01-02: shift long reaches into shift early",
		period(`{"starts": "2024-01-01", "through": "2024-01-05"}`):                                                                      "periods[0]: name: is missing",
		period(`{"name": "P", "through": "2024-01-05"}`):                                                                                 `starts: "" is no date`,
		period(`{"name": "P", "starts": "2024-01-01"}`):                                                                                  "must have either through or weeks",
		period(`{"name": "P", "starts": "2024-01-01", "through": "2024-01-05", "weeks": [1]}`):                                           "must have either through or weeks",
		period(`{"name": "P", "starts": "2024-01-01", "through": "2023-12-31"}`):                                                         "is before starts",
		period(`{"name": "P", "starts": "2024-01-01", "weeks": [4, 0]}`):                                                                 "weeks[1]: 0, must be from 1 to 53",
		period(`{"name": "P", "starts": "2024-01-08", "through": "2024-01-09"}, {"name": "Q", "starts": "2024-01-01", "weeks": [1, 1]}`): "periods: P and Q-P02 overlap",
		period(`{"name": "` + strings.Repeat("x", 65) + `"}`):                                                                            "has 65 bytes, most is 64",
	} {
		_, err := Parse([]byte(text))
		require.ErrorIs(t, err, ErrDefinition, text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestParseLimits(t *testing.T) {
	repeat := func(n int, format string) string {
		var all []string
		for i := range n {
			all = append(all, strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return strings.Join(all, ", ")
	}
	for text, want := range map[string]string{
		strings.Repeat(" ", MaxDefinitionBytes+1):                                                              "1048577 bytes, most is 1048576",
		`{"zone": "UTC", "shifts": [` + repeat(MaxShifts+1, `{"name": "s#"}`) + `]}`:                           "49 shifts, most is 48",
		strings.Replace(everything, `"day:A night:B"`, repeat(MaxRotationDays, `"day"`), 1):                    "1003 days, must be from 1 to 1000",
		strings.Replace(everything, `{"date"`, repeat(MaxExceptions, `{"date": "2024-01-01"}`)+`, {"date"`, 1): "10001 exceptions, most is 10000",
		strings.Replace(everything, `[1, 2]`, `[`+repeat(MaxPeriods+1, `1`)+`]`, 1):                            "10001 periods, most is 10000",
		strings.Replace(everything, `[1, 2]`, `[`+repeat(MaxPeriods, `1`)+`]`, 1):                              "more than 10000 periods",
	} {
		_, err := Parse([]byte(text))
		require.ErrorIs(t, err, ErrDefinition)
		require.ErrorContains(t, err, want)
	}
}

// checkBucket holds what every division promises at one instant.
func checkBucket(t *testing.T, d *Division, at int64) {
	at = max(at, model.MinTime)
	at = min(at, model.MaxTime)
	b := d.At(at)
	if at < b.Start || at >= b.End || b.Start < model.MinTime {
		t.Fatalf("%s: %d is not in %+v", d, at, b)
	}
	if d.At(b.Start) != b || d.At(b.End-1) != b {
		t.Fatalf("%s: the ends of %+v are in %+v and %+v", d, b, d.At(b.Start), d.At(b.End-1))
	}
	if before := d.At(b.Start - 1); b.Start > model.MinTime && before.End != b.Start {
		t.Fatalf("%s: %+v is before %+v", d, before, b)
	}
	if d.Label(b) == "" {
		t.Fatalf("%s: %+v has no label", d, b)
	}
}

func FuzzEvery(f *testing.F) {
	for _, text := range intervals {
		f.Add(text, int64(1162089060_000000000))
	}
	f.Add("1mo from 1999-12-31T23:59", int64(model.MinTime))
	f.Add("6mo from 2024-02-29", int64(model.MaxTime))
	c, err := Parse([]byte(everything))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string, at int64) {
		d, err := c.Every(text)
		if err != nil {
			require.ErrorIs(t, err, ErrInterval)
			return
		}
		checkBucket(t, d, at)
		again, err := c.Every(d.String())
		require.NoError(t, err)
		require.Equal(t, d.String(), again.String())
		require.Equal(t, d.At(at), again.At(at))
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range readPage(f).definitions {
		f.Add(text, int64(1711846800_000000000))
	}
	f.Add(everything, int64(1162089060_000000000))
	f.Add(everything, int64(model.MinTime))
	f.Fuzz(func(t *testing.T, text string, at int64) {
		c, err := Parse([]byte(text))
		if err != nil {
			require.ErrorIs(t, err, ErrDefinition)
			return
		}
		for _, every := range []string{"1d", "1w", "1mo", "8h of day", "shift", "period"} {
			if d, err := c.Every(every); err == nil {
				checkBucket(t, d, at)
			}
		}
	})
}
