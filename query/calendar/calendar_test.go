package calendar

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// intervals are texts of every kind, the last two for calendars that have such.
var intervals = []string{
	"1ns", "7s", "1h", "24h", "1000h", "292y", "2562047h47m16s854ms775us807ns", "15m from 2024-03-31T08:05:00.000000001Z", "25h from 1999-12-31",
	"1s of day", "1h of day", "8h of day", "24h of day",
	"1d", "3d", "1d from 2024-03-31T02:30", "1w", "2w from 2024-02-29", "1mo", "1mo from 2024-01-31T23:59:59", "5mo", "1q", "1y", "1y from 2024-02-29", "1000y",
	"shift", "period",
}

func drawDivision(t *rapid.T) *Division {
	p := drawPlain(t)
	if rapid.Bool().Draw(t, "periods") {
		p.Periods = []periodDefinition{
			{Name: "FY24", Starts: "2023-12-31", Weeks: []int{4, 4, 5, 4, 4, 5, 4, 4, 5, 4, 4, 5}},
			{Name: "a day that was not", Starts: "2011-12-30", Through: "2011-12-30"},
			{Name: "of old", Starts: "1680-02-29", Through: "1904-05-05"},
		}
	}
	c := p.calendar(t)
	n := len(intervals)
	if len(p.Periods) == 0 {
		n--
	}
	texts := slices.Clone(intervals[:n])
	if len(p.Shifts) == 0 {
		texts = slices.DeleteFunc(texts, func(s string) bool { return s == "shift" })
	}
	d, err := c.Every(rapid.SampledFrom(texts).Draw(t, "every"))
	require.NoError(t, err)
	return d
}

// drawAny draws any instant that a sample may carry, the first and last ones often, and those near changes of clocks.
func drawAny(t *rapid.T, zone *time.Location) int64 {
	switch rapid.SampledFrom([]string{"any", "first", "last", "near"}).Draw(t, "when") {
	case "first":
		return model.MinTime + rapid.Int64Range(0, 1<<52).Draw(t, "behind")
	case "last":
		return model.MaxTime - rapid.Int64Range(0, 1<<52).Draw(t, "before")
	case "near":
		return drawInstant(t, zone).UnixNano() + rapid.Int64Range(-2, 2).Draw(t, "ns")
	}
	return rapid.Int64Range(model.MinTime, model.MaxTime).Draw(t, "t")
}

// TestBucketsAreAPartition: the bucket of an instant holds it, is the bucket of its other instants, and touches its neighbours.
func TestBucketsAreAPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDivision(t)
		at := drawAny(t, d.calendar.Zone())
		for range 4 {
			b := d.At(at)
			require.GreaterOrEqual(t, b.Start, int64(model.MinTime))
			require.True(t, b.Start <= at && at < b.End, "%s: %d is not in %+v", d, at, b)
			require.NotEmpty(t, d.Label(b))
			for _, inside := range []int64{b.Start, b.End - 1, rapid.Int64Range(b.Start, b.End-1).Draw(t, "inside")} {
				require.Equal(t, b, d.At(inside), "%s at %d and %d", d, at, inside)
			}
			if b.Start > model.MinTime {
				require.Equal(t, b.Start, d.At(b.Start-1).End, "%s before %+v", d, b)
			}
			if b.End < math.MaxInt64 {
				require.Equal(t, b.End, d.At(b.End).Start, "%s behind %+v", d, b)
				at = b.End
			}
		}
	})
}

// TestForwardIsReverse: the buckets of a range are the same in both directions, cover it, touch, and are as many as counted.
func TestForwardIsReverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDivision(t)
		r := model.TimeRange{Start: drawAny(t, d.calendar.Zone())}
		first := d.At(r.Start)
		length := uint64(first.End) - uint64(first.Start)
		r.End = r.Start + rapid.Int64Range(1, int64(max(1, min(length*20, uint64(math.MaxInt64-max(r.Start, 0)))))).Draw(t, "length")
		if r.End < r.Start {
			r.End = math.MaxInt64
		}
		const most = 2000
		forward := take(d, r, most+1)
		n, err := d.Count(r, most)
		if len(forward) > most {
			require.ErrorIs(t, err, ErrTooMany)
			return
		}
		require.NoError(t, err)
		require.Len(t, forward, n)
		_, err = d.Count(r, n-1)
		require.ErrorIs(t, err, ErrTooMany)

		require.True(t, forward[0].Start <= r.Start && forward[0].End > r.Start, "%s: first of %s is %+v", d, r, forward[0])
		require.True(t, forward[n-1].Start < r.End && forward[n-1].End >= r.End, "%s: last of %s is %+v", d, r, forward[n-1])
		for i := 1; i < n; i++ {
			require.Equal(t, forward[i-1].End, forward[i].Start)
			require.True(t, i == n-1 || forward[i].Within(r))
		}
		r.Reverse = true
		reverse := take(d, r, most+1)
		slices.Reverse(reverse)
		require.Equal(t, forward, reverse, "%s in %s", d, r)
	})
}

func take(d *Division, r model.TimeRange, most int) (all []Bucket) {
	for b := range d.Buckets(r) {
		if all = append(all, b); len(all) == most {
			break
		}
	}
	return all
}

func TestRangesAtTheEndsOfTime(t *testing.T) {
	c, err := In("Pacific/Apia")
	require.NoError(t, err)
	for _, text := range []string{"1y", "1000y", "1q", "2562047h", "24h of day"} {
		d, err := c.Every(text)
		require.NoError(t, err)
		all := take(d, model.TimeRange{Start: math.MinInt64, End: math.MaxInt64}, 1<<20)
		require.Equal(t, int64(model.MinTime), all[0].Start, text)
		require.Equal(t, int64(math.MaxInt64), all[len(all)-1].End, text)
		require.Equal(t, all[0], d.At(math.MinInt64), text)
		require.Equal(t, all[len(all)-1], d.At(math.MaxInt64), text)
		require.Empty(t, take(d, model.TimeRange{Start: 5, End: 5}, 9))
		require.Empty(t, take(d, model.TimeRange{Start: math.MinInt64, End: math.MinInt64 + 1, Reverse: true}, 9))
		require.Len(t, take(d, model.Between(math.MaxInt64, math.MaxInt64), 9), 0)
	}
	d, err := c.Every("1y")
	require.NoError(t, err)
	n, err := d.Count(model.All, 1000)
	require.NoError(t, err)
	require.Equal(t, 2262-1677+1, n)
}

func TestClip(t *testing.T) {
	b := Bucket{Start: 10, End: 20, Name: "n"}
	require.Equal(t, Bucket{Start: 12, End: 20, Name: "n"}, b.Clip(model.TimeRange{Start: 12, End: 30}))
	require.Equal(t, Bucket{Start: 10, End: 15, Name: "n"}, b.Clip(model.TimeRange{Start: 0, End: 15}))
	require.Equal(t, Bucket{Start: 30, End: 30, Name: "n"}, b.Clip(model.TimeRange{Start: 30, End: 40}))
	require.Equal(t, Bucket{Start: 10, End: 10, Name: "n"}, b.Clip(model.TimeRange{Start: 0, End: 5}))
	require.True(t, b.Within(model.TimeRange{Start: 10, End: 20}))
	require.False(t, b.Within(model.TimeRange{Start: 11, End: 20}))
	require.False(t, b.Within(model.TimeRange{Start: 10, End: 19}))
}

// TestFrom: a division counted from an instant begins a bucket there, and says so in its text.
func TestFrom(t *testing.T) {
	c, err := In("Europe/Berlin")
	require.NoError(t, err)
	at := instant(t, "2024-03-31T08:17:03+02:00")
	for text, want := range map[string]string{
		"1h":                  "1h from 2024-03-31T06:17:03Z",
		"90m from 2020-01-01": "90m from 2024-03-31T06:17:03Z",
		"1d":                  "1d from 2024-03-31T08:17:03",
		"2w":                  "2w from 2024-03-31T08:17:03",
		"1mo":                 "1mo from 2024-03-31T08:17:03",
	} {
		d, err := c.Every(text)
		require.NoError(t, err)
		d, err = d.From(at)
		require.NoError(t, err)
		require.Equal(t, want, d.String())
		require.Equal(t, at, d.At(at).Start, text)
		again, err := c.Every(d.String())
		require.NoError(t, err)
		require.Equal(t, d, again)
	}
	// Wall time is kept over the change of clocks, elapsed time is not.
	d, err := c.Every("1d from 2024-03-30T08:17")
	require.NoError(t, err)
	require.Equal(t, instant(t, "2024-03-31T08:17:00+02:00"), d.At(instant(t, "2024-03-30T08:17:00+01:00")).End)
	d, err = c.Every("24h from 2024-03-30T08:17")
	require.NoError(t, err)
	require.Equal(t, instant(t, "2024-03-31T09:17:00+02:00"), d.At(instant(t, "2024-03-30T08:17:00+01:00")).End)

	d, err = c.Every("1h")
	require.NoError(t, err)
	d, err = d.From(at + 1)
	require.NoError(t, err)
	require.Equal(t, at+1, d.At(at+1).Start)
	for _, end := range []int64{model.MinTime, model.MaxTime} {
		d, err = d.From(end)
		require.NoError(t, err)
		require.Equal(t, end, d.At(end).Start)
	}
	for _, refused := range []string{"1d", "8h of day"} {
		d, err := c.Every(refused)
		require.NoError(t, err)
		_, err = d.From(at + 1)
		require.ErrorIs(t, err, ErrInterval)
	}
	d, err = c.Every("8h of day")
	require.NoError(t, err)
	_, err = d.From(at)
	require.ErrorIs(t, err, ErrInterval)
}

func BenchmarkAt(b *testing.B) {
	c, err := Parse([]byte(readPage(b).definitions["two-two-three"]))
	require.NoError(b, err)
	for _, text := range []string{"1h", "1h of day", "1d", "1mo", "shift"} {
		d, err := c.Every(text)
		require.NoError(b, err)
		b.Run("every="+text, func(b *testing.B) {
			at := d.At(instant(b, "2024-01-01T00:00Z"))
			for b.Loop() {
				at = d.At(at.End)
				if at.End > 1<<62 {
					at = d.At(0)
				}
			}
		})
	}
	b.Run("In", func(b *testing.B) {
		for b.Loop() {
			if _, err := In("America/New_York"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
