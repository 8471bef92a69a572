package calendar

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// starts is where the buckets begin that hold any of [from, to), in UTC.
func starts(t *testing.T, c *Calendar, every, from, to string) (all []string) {
	t.Helper()
	d, err := c.Every(every)
	require.NoError(t, err)
	for b := range d.Buckets(model.TimeRange{Start: instant(t, from), End: instant(t, to)}) {
		all = append(all, time.Unix(0, b.Start).UTC().Format("2006-01-02T15:04Z"))
	}
	return all
}

// bucket is the one that holds an instant: from, to, label.
func bucket(t *testing.T, c *Calendar, every, at string) [3]string {
	t.Helper()
	d, err := c.Every(every)
	require.NoError(t, err)
	b := d.At(instant(t, at))
	format := func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04Z") }
	return [3]string{format(b.Start), format(b.End), d.Label(b)}
}

func in(t *testing.T, zone string) *Calendar {
	t.Helper()
	c, err := In(zone)
	require.NoError(t, err)
	return c
}

// Clocks in New York go from EDT (UTC-4) to EST (UTC-5) at 02:00 EDT, which is 06:00Z: 01:00 comes twice, at 05:00Z and 06:00Z.
// The day is from 00:00 EDT = 04:00Z to 00:00 EST = 05:00Z.
func TestNewYorkAutumn(t *testing.T) {
	c := in(t, "America/New_York")
	require.Equal(t, [3]string{"2024-11-03T04:00Z", "2024-11-04T05:00Z", "2024-11-03"}, bucket(t, c, "1d", "2024-11-03T12:00Z"))
	day := []string{"2024-11-03T04:00Z", "2024-11-04T05:00Z"}
	require.Len(t, starts(t, c, "1h of day", day[0], day[1]), 25)
	require.Len(t, starts(t, c, "30m of day", day[0], day[1]), 50)
	require.Equal(t, []string{"2024-11-03T05:00Z", "2024-11-03T06:00Z", "2024-11-03T07:00Z"},
		starts(t, c, "1h of day", "2024-11-03T05:00Z", "2024-11-03T07:30Z"))
	// Marks 00:00 EDT, 02:00 EST, 04:00 EST: the clock is set back to 01:00, which is no mark, so the first has three hours.
	require.Equal(t, []string{"2024-11-03T04:00Z", "2024-11-03T07:00Z", "2024-11-03T09:00Z"},
		starts(t, c, "2h of day", "2024-11-03T04:00Z", "2024-11-03T10:00Z"))
	// 08:00 EST is 13:00Z: the first third has nine hours.
	require.Equal(t, []string{"2024-11-03T04:00Z", "2024-11-03T13:00Z", "2024-11-03T21:00Z"}, starts(t, c, "8h of day", day[0], day[1]))
	// Elapsed time goes on from 1970-01-01T00:00Z.
	require.Equal(t, []string{"2024-11-03T00:00Z", "2024-11-03T08:00Z", "2024-11-03T16:00Z", "2024-11-04T00:00Z"},
		starts(t, c, "8h", day[0], day[1]))
	require.Equal(t, [3]string{"2024-11-03T04:00Z", "2024-11-04T04:00Z", "2024-11-03T00:00:00-04:00"},
		bucket(t, c, "24h from 2024-11-03", "2024-11-03T12:00Z"))
	// November has 30 days and an hour; the ISO week is that of Monday 2024-10-28.
	require.Equal(t, [3]string{"2024-11-01T04:00Z", "2024-12-01T05:00Z", "2024-11"}, bucket(t, c, "1mo", "2024-11-03T12:00Z"))
	require.Equal(t, [3]string{"2024-10-28T04:00Z", "2024-11-04T05:00Z", "2024-W44"}, bucket(t, c, "1w", "2024-11-03T12:00Z"))
	require.Equal(t, [3]string{"2024-10-01T04:00Z", "2025-01-01T05:00Z", "2024-Q4"}, bucket(t, c, "1q", "2024-11-03T12:00Z"))
	require.Equal(t, [3]string{"2024-01-01T05:00Z", "2025-01-01T05:00Z", "2024"}, bucket(t, c, "1y", "2024-11-03T12:00Z"))
}

// They go to EDT at 02:00 EST on 2024-03-10, which is 07:00Z and then reads 03:00. The day is from 05:00Z to 04:00Z.
func TestNewYorkSpring(t *testing.T) {
	c := in(t, "America/New_York")
	require.Equal(t, [3]string{"2024-03-10T05:00Z", "2024-03-11T04:00Z", "2024-03-10"}, bucket(t, c, "1d", "2024-03-10T12:00Z"))
	require.Len(t, starts(t, c, "1h of day", "2024-03-10T05:00Z", "2024-03-11T04:00Z"), 23)
	// Between 00:00 and 02:00 EST; then the clock reads 03:00, so what is left of 02:00 to 04:00 is 07:00Z to 08:00Z.
	require.Equal(t, []string{"2024-03-10T05:00Z", "2024-03-10T07:00Z", "2024-03-10T08:00Z", "2024-03-10T10:00Z"},
		starts(t, c, "2h of day", "2024-03-10T05:00Z", "2024-03-10T11:00Z"))
	// 02:30 is left out: a day that begins there begins at 07:00Z, and the next one at 02:30 EDT = 06:30Z.
	require.Equal(t, [3]string{"2024-03-10T07:00Z", "2024-03-11T06:30Z", "2024-03-10T02:30:00"},
		bucket(t, c, "1d from 2024-03-01T02:30", "2024-03-10T12:00Z"))
}

// Lord Howe Island goes from UTC+11 to UTC+10:30 at 02:00 on 2024-04-07, which is 15:00Z on the day before and then reads
// 01:30. The day is from 13:00Z to 13:30Z.
func TestLordHoweAutumn(t *testing.T) {
	c := in(t, "Australia/Lord_Howe")
	require.Equal(t, [3]string{"2024-04-06T13:00Z", "2024-04-07T13:30Z", "2024-04-07"}, bucket(t, c, "1d", "2024-04-07T00:00Z"))
	// The hour from 01:00 is from 14:00Z to 02:00 LHST = 15:30Z.
	require.Equal(t, []string{"2024-04-06T13:00Z", "2024-04-06T14:00Z", "2024-04-06T15:30Z"},
		starts(t, c, "1h of day", "2024-04-06T13:00Z", "2024-04-06T16:00Z"))
	require.Len(t, starts(t, c, "1h of day", "2024-04-06T13:00Z", "2024-04-07T13:30Z"), 24)
	// 01:30 comes twice, at 14:30Z and 15:00Z.
	require.Equal(t, []string{"2024-04-06T14:00Z", "2024-04-06T14:30Z", "2024-04-06T15:00Z", "2024-04-06T15:30Z"},
		starts(t, c, "30m of day", "2024-04-06T14:00Z", "2024-04-06T16:00Z"))
	require.Len(t, starts(t, c, "30m of day", "2024-04-06T13:00Z", "2024-04-07T13:30Z"), 49)
}

// It goes back to UTC+11 at 02:00 on 2024-10-06, which is 15:30Z on the day before and then reads 02:30. The day is from 13:30Z to 13:00Z.
func TestLordHoweSpring(t *testing.T) {
	c := in(t, "Australia/Lord_Howe")
	require.Equal(t, [3]string{"2024-10-05T13:30Z", "2024-10-06T13:00Z", "2024-10-06"}, bucket(t, c, "1d", "2024-10-06T00:00Z"))
	// Of the hour from 02:00 the second half is left, 15:30Z to 16:00Z.
	require.Equal(t, []string{"2024-10-05T13:30Z", "2024-10-05T14:30Z", "2024-10-05T15:30Z", "2024-10-05T16:00Z"},
		starts(t, c, "1h of day", "2024-10-05T13:30Z", "2024-10-05T16:30Z"))
}

// Samoa went from UTC-10 to UTC+14 at the end of 2011-12-29, 10:00Z on the 30th: on its clocks the 31st followed.
func TestApiaLeftADayOut(t *testing.T) {
	c := in(t, "Pacific/Apia")
	require.Equal(t, [3]string{"2011-12-29T10:00Z", "2011-12-30T10:00Z", "2011-12-29"}, bucket(t, c, "1d", "2011-12-30T09:59Z"))
	require.Equal(t, [3]string{"2011-12-30T10:00Z", "2011-12-31T10:00Z", "2011-12-31"}, bucket(t, c, "1d", "2011-12-30T10:00Z"))
	require.Len(t, starts(t, c, "1d", "2011-12-01T10:00Z", "2011-12-31T10:00Z"), 30, "December had 30 days")
	// The week from Monday 2011-12-26 to Sunday 2012-01-01 has six days, the month 30.
	require.Equal(t, [3]string{"2011-12-26T10:00Z", "2012-01-01T10:00Z", "2011-W52"}, bucket(t, c, "1w", "2011-12-30T12:00Z"))
	require.Equal(t, [3]string{"2011-12-01T10:00Z", "2011-12-31T10:00Z", "2011-12"}, bucket(t, c, "1mo", "2011-12-30T12:00Z"))
	require.Len(t, starts(t, c, "8h of day", "2011-12-29T10:00Z", "2011-12-31T10:00Z"), 6)
	// A period and a shift of the day that was not have no buckets, a shift from its evening only what is left of it.
	p, err := Parse([]byte(`{"zone": "Pacific/Apia", "shifts": [{"name": "night", "start": "22:00", "end": "06:00"}],
		"periods": [{"name": "gone", "starts": "2011-12-30", "through": "2011-12-30"}]}`))
	require.NoError(t, err)
	// 22:00 on the 28th is 08:00Z on the 29th, 06:00 on the 29th 16:00Z. The 29th ends before its night, which begins with the 31st.
	require.Equal(t, []string{"2011-12-29T08:00Z", "2011-12-29T16:00Z", "2011-12-30T08:00Z", "2011-12-30T10:00Z", "2011-12-30T16:00Z"},
		starts(t, p, "shift", "2011-12-29T12:00Z", "2011-12-30T20:00Z"))
	require.Equal(t, [3]string{"2011-12-30T08:00Z", "2011-12-30T10:00Z", "2011-12-29 night"}, bucket(t, p, "shift", "2011-12-30T09:00Z"))
	require.Equal(t, [3]string{"2011-12-30T10:00Z", "2011-12-30T16:00Z", "2011-12-30 night"}, bucket(t, p, "shift", "2011-12-30T12:00Z"))
	require.Equal(t, "2011-12-31 off", bucket(t, p, "period", "2011-12-30T12:00Z")[2])
}

// In São Paulo clocks were set from 00:00 (UTC-3) to 01:00 (UTC-2) on 2018-11-04, at 03:00Z: the day has no midnight.
func TestSaoPauloLeftAMidnightOut(t *testing.T) {
	c := in(t, "America/Sao_Paulo")
	require.Equal(t, [3]string{"2018-11-04T03:00Z", "2018-11-05T02:00Z", "2018-11-04"}, bucket(t, c, "1d", "2018-11-04T12:00Z"))
	require.Equal(t, [3]string{"2018-11-03T03:00Z", "2018-11-04T03:00Z", "2018-11-03"}, bucket(t, c, "1d", "2018-11-04T02:59Z"))
}

// In St John's clocks were set from 00:01 (UTC-2:30) to 23:01 on the day before (UTC-3:30) on 2006-10-29, at 02:31Z. The day begins
// with the first midnight, 02:30Z, and keeps the 59 minutes that read as the day before.
func TestStJohnsHadMidnightTwice(t *testing.T) {
	c := in(t, "America/St_Johns")
	require.Equal(t, [3]string{"2006-10-29T02:30Z", "2006-10-30T03:30Z", "2006-10-29"}, bucket(t, c, "1d", "2006-10-29T03:00Z"))
	require.Equal(t, [3]string{"2006-10-28T02:30Z", "2006-10-29T02:30Z", "2006-10-28"}, bucket(t, c, "1d", "2006-10-29T02:29Z"))
	// Hours follow what the clock shows: a minute of 00, 59 minutes of 23 again, and 00 again.
	require.Equal(t, []string{"2006-10-29T01:30Z", "2006-10-29T02:30Z", "2006-10-29T02:31Z", "2006-10-29T03:30Z"},
		starts(t, c, "1h of day", "2006-10-29T02:00Z", "2006-10-29T04:00Z"))
}

// Nights from 22:00 to 06:00 in Berlin: 2024-03-31 at 01:00Z clocks go from UTC+1 to UTC+2, 2024-10-27 at 01:00Z back. So the night of
// 03-30 is from 21:00Z to 04:00Z, seven hours; that of 10-26 from 20:00Z to 05:00Z, nine.
func TestShiftsAcrossBothChanges(t *testing.T) {
	c, err := Parse([]byte(`{"zone": "Europe/Berlin", "day_starts": "06:00", "shifts": [
		{"name": "early", "start": "06:00", "end": "14:00"}, {"name": "late", "start": "14:00", "end": "22:00"}, {"name": "night", "start": "22:00", "end": "06:00"}]}`))
	require.NoError(t, err)
	require.Equal(t, []string{"2024-03-30T13:00Z", "2024-03-30T21:00Z", "2024-03-31T04:00Z", "2024-03-31T12:00Z", "2024-03-31T20:00Z"},
		starts(t, c, "shift", "2024-03-30T14:00Z", "2024-03-31T21:00Z"))
	require.Equal(t, [3]string{"2024-03-30T21:00Z", "2024-03-31T04:00Z", "2024-03-30 night"}, bucket(t, c, "shift", "2024-03-31T02:00Z"))
	require.Equal(t, []string{"2024-10-26T12:00Z", "2024-10-26T20:00Z", "2024-10-27T05:00Z", "2024-10-27T13:00Z", "2024-10-27T21:00Z"},
		starts(t, c, "shift", "2024-10-26T13:00Z", "2024-10-27T22:00Z"))
	require.Equal(t, [3]string{"2024-10-26T20:00Z", "2024-10-27T05:00Z", "2024-10-26 night"}, bucket(t, c, "shift", "2024-10-27T01:30Z"))
	// The production day of a change is the day before, from 06:00.
	require.Equal(t, [3]string{"2024-03-30T05:00Z", "2024-03-31T04:00Z", "2024-03-30"}, bucket(t, c, "1d", "2024-03-31T02:00Z"))
	require.Equal(t, [3]string{"2024-10-26T04:00Z", "2024-10-27T05:00Z", "2024-10-26"}, bucket(t, c, "1d", "2024-10-27T02:00Z"))
	require.Equal(t, []string{"2024-10-26T04:00Z", "2024-10-26T12:00Z", "2024-10-26T20:00Z", "2024-10-27T05:00Z"},
		starts(t, c, "8h of day", "2024-10-26T04:00Z", "2024-10-27T06:00Z"), "marks are counted from 06:00")
}

// A shift that begins or ends in an hour that is left out, or comes twice: 02:30 in Berlin is left out on 2024-03-31 (01:00Z
// stands for it) and comes twice on 2024-10-27, first at 00:30Z.
func TestShiftsAtReadingsThatAreNone(t *testing.T) {
	c, err := Parse([]byte(`{"zone": "Europe/Berlin", "shifts": [
		{"name": "a", "start": "00:00", "end": "02:30"}, {"name": "b", "start": "02:30", "end": "02:45"}, {"name": "c", "start": "02:45", "end": "00:00"}]}`))
	require.NoError(t, err)
	require.Equal(t, []string{"2024-03-30T23:00Z", "2024-03-31T01:00Z", "2024-03-31T22:00Z"},
		starts(t, c, "shift", "2024-03-30T23:00Z", "2024-03-31T22:30Z"), "b has no time on that day")
	require.Equal(t, []string{"2024-10-26T22:00Z", "2024-10-27T00:30Z", "2024-10-27T00:45Z", "2024-10-27T23:00Z"},
		starts(t, c, "shift", "2024-10-26T22:00Z", "2024-10-27T23:30Z"))
}

// ISO weeks: 2024-12-30, a Monday, begins the first week of 2025; 2021-01-03 ends the 53rd of 2020.
func TestISOWeeks(t *testing.T) {
	c := in(t, "")
	require.Equal(t, [3]string{"2024-12-30T00:00Z", "2025-01-06T00:00Z", "2025-W01"}, bucket(t, c, "1w", "2024-12-31T00:00Z"))
	require.Equal(t, [3]string{"2020-12-28T00:00Z", "2021-01-04T00:00Z", "2020-W53"}, bucket(t, c, "1w", "2021-01-03T23:59Z"))
	// Weeks from Sunday are no ISO weeks: they go by the date of their first day.
	c, err := Parse([]byte(`{"zone": "UTC", "week_starts": "sunday"}`))
	require.NoError(t, err)
	require.Equal(t, [3]string{"2024-12-29T00:00Z", "2025-01-05T00:00Z", "2024-12-29"}, bucket(t, c, "1w", "2024-12-31T00:00Z"))
	require.Equal(t, [3]string{"2024-12-29T00:00Z", "2025-01-12T00:00Z", "2024-12-29"}, bucket(t, c, "2w", "2024-12-31T00:00Z"), "652 pairs from 2000-01-02")
}

// A shift that begins before the production day does belongs to the day before: 02:00 with a day from 06:00.
func TestShiftBelongsToItsProductionDay(t *testing.T) {
	c, err := Parse([]byte(`{"zone": "UTC", "day_starts": "06:00", "shifts": [{"name": "late", "start": "02:00", "end": "07:00"}],
		"exceptions": [{"date": "2024-05-02", "name": "May"}]}`))
	require.NoError(t, err)
	require.Equal(t, [3]string{"2024-05-02T02:00Z", "2024-05-02T07:00Z", "2024-05-01 late"}, bucket(t, c, "shift", "2024-05-02T06:30Z"))
	require.Equal(t, [3]string{"2024-05-02T07:00Z", "2024-05-03T06:00Z", "2024-05-02 May"}, bucket(t, c, "shift", "2024-05-03T03:00Z"))
	require.Equal(t, [3]string{"2024-05-03T06:00Z", "2024-05-04T02:00Z", "2024-05-03 off"}, bucket(t, c, "shift", "2024-05-03T12:00Z"))
}
