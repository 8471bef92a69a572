package timeexpr

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func berlin(t require.TestingT) *time.Location {
	z, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	return z
}

// Now is the day after clocks in Berlin were set forward, 08:30 there.
func TestParse(t *testing.T) {
	zone := berlin(t)
	now := time.Date(2024, 4, 1, 6, 30, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"now":                            "2024-04-01T06:30:00Z",
		"2024-03-31T08:00:00Z":           "2024-03-31T08:00:00Z",
		"2024-03-31T08:00:00.123456789Z": "2024-03-31T08:00:00.123456789Z",
		"2024-03-31T08:00:00+05:30":      "2024-03-31T02:30:00Z",
		"2024-03-31T08:00:00":            "2024-03-31T06:00:00Z",
		"2024-03-31 08:00":               "2024-03-31T06:00:00Z",
		"2024-03-30":                     "2024-03-29T23:00:00Z",
		"today":                          "2024-03-31T22:00:00Z",
		"yesterday":                      "2024-03-30T23:00:00Z",
		"-90s":                           "2024-04-01T06:28:30Z",
		"-15m":                           "2024-04-01T06:15:00Z",
		"-1h":                            "2024-04-01T05:30:00Z",
		"-24h":                           "2024-03-31T06:30:00Z",
		"-48h":                           "2024-03-30T06:30:00Z", // elapsed: 07:30 on the wall
		"-2d":                            "2024-03-30T07:30:00Z", // 08:30 on the wall
		"-1w":                            "2024-03-25T07:30:00Z",
		"-1mo":                           "2024-03-01T07:30:00Z",
		"-1y":                            "2023-04-01T06:30:00Z",
		"-250ms":                         "2024-04-01T06:29:59.75Z",
		"+1h":                            "2024-04-01T07:30:00Z",
		"now-1d+30m":                     "2024-03-31T07:00:00Z",
		"today-1d":                       "2024-03-30T23:00:00Z",
		"2024-03-31+1d":                  "2024-03-31T22:00:00Z",
		"2024-03-31-1d":                  "2024-03-29T23:00:00Z",
		"2024-03-31T08:00:00Z-30m":       "2024-03-31T07:30:00Z",
		" 2024-03-31T08:00:00Z ":         "2024-03-31T08:00:00Z",
	} {
		got, err := Parse(in, now, zone)
		require.NoError(t, err, in)
		require.Equal(t, want, model.FormatTime(got), in)
	}
	first, err := Parse("min", now, zone)
	require.NoError(t, err)
	last, err := Parse("max", now, zone)
	require.NoError(t, err)
	require.True(t, model.Between(first, last).Contains(model.MinTime))
	require.True(t, model.Between(first, last).Contains(model.MaxTime))
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "tomorrowish", "-", "-1", "-h", "-1x", "-1.5h", "1h", "2024-13-01", "2024-02-30", "2024-01-01T25:00:00Z", "now 1h", "1500-01-01",
		"9999-01-01", "-99999999999999999999h", "-1000000000h", "+900y", "2024-01-01Tfoo",
	} {
		_, err := Parse(in, time.Unix(0, 0), time.UTC)
		require.ErrorContains(t, err, "time ", in)
	}
}

func TestPrintedTimesReadBack(t *testing.T) {
	zone := berlin(t)
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64Range(-9_000_000_000_000_000_000, 9_000_000_000_000_000_000).Draw(t, "ns")
		got, err := Parse(model.FormatTime(at), time.Unix(0, 0), zone)
		require.NoError(t, err)
		require.Equal(t, at, got)
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"now-1d", "2024-03-31T08:00:00Z+30m", "-1mo", "today", "min"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := Parse(s, time.Unix(1_700_000_000, 0), time.UTC)
		if err == nil && at <= model.MaxTime {
			require.GreaterOrEqual(t, at, int64(model.MinTime))
		}
	})
}
