package table

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func mustFormat(t require.TestingT, s string) *TimeFormat {
	f, err := ParseTimeFormat(s)
	require.NoError(t, err)
	return f
}

func readTime(f *TimeFormat, zone *time.Location, s string) (string, error) {
	c := clock{format: f, zone: zone, last: math.MinInt64}
	at, err := c.read([]byte(s))
	return model.FormatTime(at), err
}

func TestTimesAreDetectedAndRead(t *testing.T) {
	for in, want := range map[string]string{
		"2001-01-01T00:03:00Z":          "2001-01-01T00:03:00Z",
		"2017-02-02T16:37:08.9062500Z":  "2017-02-02T16:37:08.90625Z",
		"2022-03-18T04:33:00-07:00":     "2022-03-18T11:33:00Z",
		"2022-03-18T04:33:00+0530":      "2022-03-17T23:03:00Z",
		"2022-03-18 04:33:00 +02":       "2022-03-18T02:33:00Z",
		"2016-07-01 01:00:00":           "2016-07-01T01:00:00Z",
		"2016-07-01 01:00:00.123456789": "2016-07-01T01:00:00.123456789Z",
		"2016-07-01T01:00:00,5":         "2016-07-01T01:00:00.5Z",
		"1969-12-31T23:59:59.5Z":        "1969-12-31T23:59:59.5Z",
		"1678-01-01T00:00:00Z":          "1678-01-01T00:00:00Z",
		"2000-02-29T00:00:00Z":          "2000-02-29T00:00:00Z",
		"1900-03-01T00:00:00Z":          "1900-03-01T00:00:00Z",
		"2016-07-01":                    "2016-07-01T00:00:00Z",
		"2016/07/01 01:00":              "2016-07-01T01:00:00Z",
		"01.07.2016 01:00:00":           "2016-07-01T01:00:00Z",
		"20160701T010000Z":              "2016-07-01T01:00:00Z",
	} {
		f := detectTime([]byte(in))
		require.NotNil(t, f, in)
		got, err := readTime(f, time.UTC, in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{
		"", "1", "3.7", "x", "01/02/2016", "01/02/2016 03:00", "2016-13-01T00:00:00Z", "2001-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
		"2016-07-01T24:00:00Z", "2016-07-01T00:00:60Z", "2016-07-01T00:00:00.Z", "2016-07-01T00:00:00.0000000001Z",
		"2016-07-01T00:00:00+25:00", "2016-07-01T00:00:00X", "2016-07-01T00:00:00+2:00",
	} {
		require.Nil(t, detectTime([]byte(in)), in)
	}
}

func TestTimesByFormat(t *testing.T) {
	for _, c := range []struct{ format, in, want string }{
		{"02/01/2006 15:04", "31/12/2020 23:59", "2020-12-31T23:59:00Z"},
		{"%d/%m/%Y %H:%M:%S", "31/12/2020 23:59:58", "2020-12-31T23:59:58Z"},
		{"%b %d %Y %I:%M %p", "Dec 31 2020 11:59 PM", "2020-12-31T23:59:00Z"},
		{"%m/%d/%Y %I:%M:%S %p", "2/1/2024 9:05:07 PM", "2024-02-01T21:05:07Z"},
		{"%m/%d/%Y %I:%M:%S %p", "02/01/2024 09:05:07 PM", "2024-02-01T21:05:07Z"},
		{"%d.%m.%Y %H:%M", "1.2.2024 9:05", "2024-02-01T09:05:00Z"},
		{"%Y%m%d%H%M%S", "20240201090507", "2024-02-01T09:05:07Z"},
		{"%Y-%m-%d %H:%M:%S.%f", "2024-02-01 09:05:07.125", "2024-02-01T09:05:07.125Z"},
		{"%Y-%m-%d %H:%M:%S.%f", "2024-02-01 09:05:07.123456789", "2024-02-01T09:05:07.123456789Z"},
		{"%Y-%m-%d %H:%M:%S,%f", "2024-02-01 09:05:07,5", "2024-02-01T09:05:07.5Z"},
		{"unix", "1609459199", "2020-12-31T23:59:59Z"},
		{"unix", "1609459199.25", "2020-12-31T23:59:59.25Z"},
		{"unix", "-0.5", "1969-12-31T23:59:59.5Z"},
		{"unix_ms", "1609459199001", "2020-12-31T23:59:59.001Z"},
		{"unix_ms", "-1", "1969-12-31T23:59:59.999Z"},
		{"unix_us", "1609459199000001", "2020-12-31T23:59:59.000001Z"},
		{"unix_ns", "1609459199000000001", "2020-12-31T23:59:59.000000001Z"},
		{"iso", "2020-12-31T23:59:59Z", "2020-12-31T23:59:59Z"},
	} {
		got, err := readTime(mustFormat(t, c.format), time.UTC, c.in)
		require.NoError(t, err, c)
		require.Equal(t, c.want, got, c)
	}
	for _, bad := range []string{"15:04", "%H:%M", "%Q", "%", "2006-01"} {
		_, err := ParseTimeFormat(bad)
		require.Error(t, err, bad)
	}
	for _, c := range []struct{ format, in string }{
		{"unix", "x"}, {"unix", "1.x"}, {"unix", "99999999999"}, {"unix_ns", "9223372036854775808"}, {"iso", "9999-01-01T00:00:00Z"},
		{"iso", "1600-01-01T00:00:00Z"}, {"02/01/2006", "31/02/2020"},
	} {
		_, err := readTime(mustFormat(t, c.format), time.UTC, c.in)
		require.Error(t, err, c)
	}
}

func TestISOReadsAsPackageTimeDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64Range(-9_000_000_000_000_000_000, 9_000_000_000_000_000_000).Draw(t, "ns")
		zone := time.FixedZone("", 900*rapid.IntRange(-48, 56).Draw(t, "quarters"))
		s := time.Unix(0, at).In(zone).Format(time.RFC3339Nano)
		c := clock{format: &TimeFormat{iso: true}, zone: time.UTC}
		got, err := c.read([]byte(s))
		require.NoError(t, err)
		require.Equal(t, at, got)
	})
}

func zone(t require.TestingT, name string) *time.Location {
	z, err := time.LoadLocation(name)
	require.NoError(t, err)
	return z
}

// Central Europe, 2023: clocks went from 02:00 to 03:00 on 26 March and from 03:00 to 02:00 on 29 October.
func TestLocalTimesAtClockChanges(t *testing.T) {
	c := clock{format: &TimeFormat{iso: true}, zone: zone(t, "Europe/Berlin"), last: math.MinInt64}
	var got []string
	for _, s := range []string{
		"2023-03-26 01:59:59", "2023-03-26 02:30:00", "2023-03-26 03:00:00",
		// the hour from 02:00 comes twice
		"2023-10-29 01:30:00", "2023-10-29 02:00:00", "2023-10-29 02:30:00", "2023-10-29 02:30:00", "2023-10-29 02:00:00", "2023-10-29 02:30:00",
		"2023-10-29 03:00:00",
		"2023-10-29T02:00:00+02:00",
	} {
		at, err := c.read([]byte(s))
		require.NoError(t, err)
		got = append(got, model.FormatTime(at))
	}
	require.Equal(t, []string{
		"2023-03-26T00:59:59Z", "2023-03-26T01:30:00Z", "2023-03-26T01:00:00Z",
		"2023-10-28T23:30:00Z", "2023-10-29T00:00:00Z", "2023-10-29T00:30:00Z", "2023-10-29T00:30:00Z", "2023-10-29T01:00:00Z", "2023-10-29T01:30:00Z",
		"2023-10-29T02:00:00Z",
		"2023-10-29T00:00:00Z",
	}, got)
	require.Equal(t, 5, c.ambiguous)
	require.Equal(t, 1, c.nonexistent)
	require.Equal(t, 10, c.withoutZone)
}

// A local time is read as an instant that shows it, wherever there is one.
func TestLocalTimesShowWhatWasWritten(t *testing.T) {
	names := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca"}
	rapid.Check(t, func(t *rapid.T) {
		z := zone(t, rapid.SampledFrom(names).Draw(t, "zone"))
		at := time.Unix(rapid.Int64Range(0, 2_000_000_000).Draw(t, "seconds"), 0).In(z)
		_, offset := at.Zone()
		early, late, kind := resolveWall(at.Unix()+int64(offset), z)
		require.NotEqual(t, never, kind)
		require.Contains(t, []int64{early, late}, at.Unix())
		for _, got := range []int64{early, late} {
			require.Equal(t, at.Format(time.DateTime), time.Unix(got, 0).In(z).Format(time.DateTime))
		}
	})
}
