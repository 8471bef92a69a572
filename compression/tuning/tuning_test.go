package tuning

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
)

func deviation(d float64) filter.Settings { return filter.Settings{Filter: model.Filter{Deviation: d}} }

func numbers(values ...float64) *model.Samples {
	s := &model.Samples{Type: model.Float64}
	for i, v := range values {
		s.Append(model.Sample{Time: int64(i) * 1000, Type: model.Float64, Bits: math.Float64bits(v)})
	}
	return s
}

func TestReport(t *testing.T) {
	s := numbers(0, 1, 0, 1, 0, 10, 20, 30, 31, 20, 10, 0)
	r, kept, err := Replay(s, Settings{Compression: deviation(1)})
	require.NoError(t, err)
	require.Equal(t, []int64{0, 4000, 7000, 8000, 11000}, kept.Times)
	require.Equal(t, 12, r.Samples)
	require.Equal(t, 12, r.Sent)
	require.Equal(t, 12, r.Numbers)
	require.Zero(t, r.Lost)
	require.InDelta(t, 5.0/12, r.KeptRatio(), 1e-12)
	require.Equal(t, 1.0, r.WorstError)
	require.EqualValues(t, 1000, r.WorstTime, "the first of the two")
	require.InDelta(t, math.Sqrt((1+1+4.0/9+1.0/9)/12), r.RMSError, 1e-12)
}

func TestCrossings(t *testing.T) {
	// Above 0.5 twice for a moment, which the line from 0 to 0 does not see; above 5 a little later than measured.
	s := numbers(0, 1, 0, 1, 0, 4.5, 10.5, 15, 20, 0)
	r, kept, err := Replay(s, Settings{Compression: deviation(1)}, 0.5, 5)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 4000, 8000, 9000}, kept.Times)
	require.Equal(t, []Crossing{
		{Limit: 0.5, Rising: true, Measured: 500, Lost: true},
		{Limit: 0.5, Measured: 1500, Lost: true},
		{Limit: 0.5, Rising: true, Measured: 2500, Lost: true},
		{Limit: 0.5, Measured: 3500, Lost: true},
		{Limit: 0.5, Rising: true, Measured: 4111, Filtered: 4100},
		{Limit: 0.5, Measured: 8975, Filtered: 8975},
		{Limit: 5, Rising: true, Measured: 5083, Filtered: 5000},
		{Limit: 5, Measured: 8750, Filtered: 8750},
	}, r.Crossings)
}

func TestSteppedCrossings(t *testing.T) {
	d := deviation(1)
	d.Stepped = true
	set := Settings{Exception: filter.Settings{Stepped: true}, Compression: d}
	r, kept, err := Replay(numbers(0, 0.9, 0.9, 0, 2, 2.5), set, 0.5)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1000, 3000, 4000, 5000}, kept.Times, "every change is kept")
	require.Zero(t, r.WorstError)

	set.Form = swingingdoor.Textbook
	r, kept, err = Replay(numbers(0, 0.9, 0, 2, 2.5, 0), set, 0.5)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 3000, 5000}, kept.Times)
	require.Equal(t, []Crossing{
		{Limit: 0.5, Rising: true, Measured: 1000, Lost: true},
		{Limit: 0.5, Measured: 2000, Lost: true},
		{Limit: 0.5, Rising: true, Measured: 3000, Filtered: 3000},
		{Limit: 0.5, Measured: 5000, Filtered: 5000},
	}, r.Crossings)
	require.Equal(t, 0.9, r.WorstError)
	require.EqualValues(t, 1000, r.WorstTime)
}

func TestStatesBadAndLate(t *testing.T) {
	s := &model.Samples{Type: model.State}
	for i, code := range []uint64{1, 1, 1, 2, 2} {
		s.Append(model.Sample{Time: int64(i), Type: model.State, Bits: code})
	}
	set := Settings{Exception: filter.Settings{Stepped: true}, Compression: filter.Of(model.Filter{Deviation: 1}, model.Settings{Type: model.State})}
	r, kept, err := Replay(s, set)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 3, 4}, kept.Times)
	require.Zero(t, r.Lost)

	// A late Bad sample ends the line that stood for what was left out behind it, and a late number bends it.
	late := numbers(0, 0, 0, 0, 0)
	late.Append(model.Sample{Time: 1500, Type: model.Float64, Quality: model.Bad})
	r, _, err = Replay(late, Settings{Compression: deviation(1)}, 5)
	require.NoError(t, err)
	require.Equal(t, 2, r.Lost)
	late = numbers(0, 0, 0, 0, 0)
	late.Append(model.Sample{Time: 1500, Type: model.Float64, Bits: math.Float64bits(9)})
	r, _, err = Replay(late, Settings{Compression: deviation(1)}, 5)
	require.NoError(t, err)
	require.InDelta(t, 7.2, r.WorstError, 1e-12)
	require.EqualValues(t, 2000, r.WorstTime, "on the way from the late one to the next kept")
	require.Len(t, r.Crossings, 2)
}

func TestWhatCannotBeReplayed(t *testing.T) {
	_, _, err := Replay(numbers(1), Settings{Exception: deviation(-1)})
	require.ErrorIs(t, err, filter.ErrSettings)
	_, _, err = Replay(numbers(1), Settings{Compression: deviation(-1)})
	require.ErrorIs(t, err, filter.ErrSettings)
	_, _, err = Replay(numbers(1), Settings{Compression: filter.Settings{Stepped: true}})
	require.ErrorIs(t, err, filter.ErrSettings)
	_, _, err = Replay(&model.Samples{}, Settings{})
	require.Error(t, err)
	r, _, err := Replay(numbers(), Settings{}, 1)
	require.NoError(t, err)
	require.Equal(t, 1.0, r.KeptRatio())
}

// TestFiguresAgree holds the report against what the filter itself says of each sample kept, and crossings against rules:
// all measured ones are there once, all of what is kept too, and none was invented as long as samples came in order.
func TestFiguresAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 50).Draw(t, "samples")
		s := &model.Samples{Type: model.Float64}
		now := int64(0)
		for range n {
			now += rapid.Int64Range(1, 1000).Draw(t, "after")
			v := rapid.OneOf(rapid.Float64Range(-4, 4), rapid.Map(rapid.IntRange(-4, 4), func(i int) float64 { return float64(i) })).Draw(t, "value")
			q := rapid.SampledFrom([]model.Quality{0, 0, 0, 0, 0, 0, 0, model.Bad}).Draw(t, "quality")
			s.Append(model.Sample{Time: now, Type: model.Float64, Bits: math.Float64bits(v), Quality: q})
		}
		d := deviation(rapid.SampledFrom([]float64{0.5, 1, 3}).Draw(t, "deviation"))
		d.Stepped = rapid.Bool().Draw(t, "stepped")
		d.MaxTime = time.Duration(rapid.SampledFrom([]int64{0, 3000}).Draw(t, "max"))
		limit := rapid.SampledFrom([]float64{0, 0.25, 1}).Draw(t, "limit")
		set := Settings{Exception: filter.Settings{Stepped: d.Stepped}, Compression: d, Form: swingingdoor.Form(rapid.IntRange(0, 1).Draw(t, "form"))}
		r, stays, err := Replay(s, set, limit)
		require.NoError(t, err)

		f, err := swingingdoor.New(d, set.Form)
		require.NoError(t, err)
		var kept []filter.Kept
		for i := range n {
			kept = f.Add(kept, s.At(i))
		}
		kept = f.Flush(kept)
		require.Equal(t, len(kept), r.Kept)
		worst := 0.0
		for i, k := range kept {
			require.Equal(t, k.Sample, stays.At(i))
			worst = max(worst, k.MaxError)
		}
		require.GreaterOrEqual(t, worst, r.WorstError-1e-12, "the filter measures no less than there is")
		require.LessOrEqual(t, r.RMSError, r.WorstError)
		require.Zero(t, r.Lost)

		c := comparison{read: d.Read, stepped: d.Stepped}
		var all []model.Sample
		for i := range n {
			all = append(all, s.At(i))
		}
		var lines []model.Sample
		for _, k := range kept {
			lines = append(lines, k.Sample)
		}
		measured, filtered := c.of(all, limit), c.of(lines, limit)
		require.Len(t, r.Crossings, len(measured))
		found := 0
		for i, x := range r.Crossings {
			require.False(t, x.Invented)
			require.Equal(t, measured[i].at, x.Measured)
			require.Equal(t, measured[i].rising, x.Rising)
			if !x.Lost {
				require.Equal(t, filtered[found].at, x.Filtered)
				found++
			}
		}
		require.Len(t, filtered, found)
	})
}

// TestPieces holds a series replayed in pieces, however cut and however few samples are held, against one replayed whole.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &model.Samples{Type: model.Float64}
		now := int64(0)
		for range rapid.IntRange(0, 200).Draw(t, "samples") {
			now += rapid.Int64Range(1, 1000).Draw(t, "after")
			v := float64(rapid.IntRange(-4, 4).Draw(t, "value"))
			q := rapid.SampledFrom([]model.Quality{0, 0, 0, 0, 0, 0, 0, model.Bad}).Draw(t, "quality")
			s.Append(model.Sample{Time: now, Type: model.Float64, Bits: math.Float64bits(v), Quality: q})
		}
		set := Settings{Exception: deviation(rapid.SampledFrom([]float64{0, 1}).Draw(t, "exception")), Compression: deviation(2)}
		want, kept, err := Replay(s, set, 0.5, -1)
		require.NoError(t, err)
		got := model.Samples{Type: s.Type}
		r, err := New(set, got.Append, 0.5, -1)
		require.NoError(t, err)
		for from := 0; from < s.Len(); {
			to := min(s.Len(), from+rapid.IntRange(1, 50).Draw(t, "piece"))
			piece := s.Slice(from, to)
			require.NoError(t, r.Add(&piece))
			if rapid.Bool().Draw(t, "settle") {
				r.settle()
			}
			from = to
		}
		report := r.End()
		require.InDelta(t, want.RMSError, report.RMSError, 1e-12)
		report.RMSError = want.RMSError
		require.Equal(t, want, report)
		require.Equal(t, kept, got)
	})
}

// TestWhatIsHeld replays a constant, of which nothing would ever be kept, and one more sample than a report lists crossings.
func TestWhatIsHeld(t *testing.T) {
	s := numbers(make([]float64, 1000)...)
	r, err := New(Settings{Compression: deviation(1)}, nil)
	require.NoError(t, err)
	for range 2 * MaxHeld / 1000 {
		require.NoError(t, r.Add(s))
		require.Less(t, len(r.all), MaxHeld+1000)
		for i := range s.Times {
			s.Times[i] += 1e6
		}
	}
	report := r.End()
	require.LessOrEqual(t, report.Kept, 4)
	require.Equal(t, report.Samples, report.Numbers)

	saw := make([]float64, MaxCrossings+10)
	for i := range saw {
		saw[i] = float64(i % 2)
	}
	report, _, err = Replay(numbers(saw...), Settings{Compression: deviation(0)}, 0.5)
	require.NoError(t, err)
	require.Len(t, report.Crossings, MaxCrossings)
	require.Equal(t, len(saw)-1, report.Passed)
	require.Zero(t, report.Moved+report.Missed+report.Invented)
}

func TestOlderPieces(t *testing.T) {
	r, err := New(Settings{}, nil)
	require.NoError(t, err)
	require.NoError(t, r.Add(numbers(1, 2)))
	r.settle()
	require.ErrorIs(t, r.Add(numbers(1)), ErrOrder)
}
