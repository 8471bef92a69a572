package exception_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
)

func deviation(d float64) filter.Settings { return filter.Settings{Filter: model.Filter{Deviation: d}} }

func times(sent []filter.Kept) (out []int64) {
	for _, k := range sent {
		out = append(out, k.Time)
	}
	return out
}

func numbers(values ...float64) (samples []model.Sample) {
	for i, v := range values {
		samples = append(samples, number(int64(i), v))
	}
	return samples
}

func TestStepKeepsItsFoot(t *testing.T) {
	samples := numbers(0, 0.1, 0, -0.1, 5, 5.1, 5)
	sent := run(t, deviation(1), samples...)
	require.Equal(t, []int64{0, 3, 4, 6}, times(sent))
	require.Equal(t, 2, sent[1].Dropped)
	require.Equal(t, 0.1, sent[1].MaxError)
	s := deviation(1)
	s.Stepped = true
	sent = run(t, s, samples...)
	require.Equal(t, []int64{0, 4, 6}, times(sent), "readers hold a stepped tag: there is no ramp to prevent")
	require.Equal(t, 3, sent[1].Dropped)
}

func TestMinimumTime(t *testing.T) {
	s := deviation(1)
	s.MinTime = 3
	sent := run(t, s, numbers(0, 5, 0, 0, 9, 9, 9, 9)...)
	require.Equal(t, []int64{0, 3, 4, 7}, times(sent), "the excursion at 1 was over; 3 is the foot of 4, sent with it")
	require.Equal(t, 5.0, sent[1].MaxError, "and what was left out is said")
}

func TestMaximumTime(t *testing.T) {
	s := deviation(1)
	s.MaxTime = 4
	require.Equal(t, []int64{0, 4, 8, 9}, times(run(t, s, numbers(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)...)))
	var slow []model.Sample
	for i := range int64(7) {
		slow = append(slow, number(i*3, 0))
	}
	require.Equal(t, []int64{0, 3, 6, 9, 12, 15, 18}, times(run(t, s, slow...)), "no gap is longer, where samples allow it")
}

func TestQualityStatesAndTexts(t *testing.T) {
	samples := numbers(5, 5, 5, 5, 5, 5, 5)
	samples[3].Quality, samples[4].Quality = model.Bad, model.Bad
	require.Equal(t, []int64{0, 2, 3, 4, 5, 6}, times(run(t, deviation(1), samples...)))

	var states []model.Sample
	for i, code := range []uint64{1, 1, 2, 2, 2, 1} {
		states = append(states, model.Sample{Time: int64(i), Type: model.State, Bits: code})
	}
	s := filter.Of(model.Filter{Deviation: 1, MinTime: time.Hour}, model.Settings{Type: model.State})
	require.Equal(t, []int64{0, 2, 5}, times(run(t, s, states...)), "a change of state is sent however soon")
	require.Equal(t, []int64{0, 1, 2, 3}, times(run(t, deviation(1), numbers(1, math.NaN(), math.NaN(), 1)...)))
}

func TestLateAndRepeatedSamples(t *testing.T) {
	f, err := exception.New(deviation(1))
	require.NoError(t, err)
	add := func(x model.Sample) []int64 { return times(f.Add(nil, x)) }
	require.Equal(t, []int64{0}, add(number(0, 0)))
	require.Empty(t, add(number(10, 0)))
	require.Empty(t, add(number(10, 0)), "the same again")
	x, sent, ok := f.Newest()
	require.Equal(t, number(10, 0), x)
	require.False(t, sent)
	require.True(t, ok)
	require.Equal(t, []int64{5, 10}, add(number(5, 0)))
	require.Empty(t, add(number(20, 0)))
	require.Equal(t, []int64{20, 20}, add(number(20, 0.5)))
	require.Empty(t, f.Flush(nil))
}

func TestOtherSettingsBeginAnew(t *testing.T) {
	f, err := exception.New(deviation(1))
	require.NoError(t, err)
	for _, x := range numbers(0, 0, 0) {
		f.Add(nil, x)
	}
	state := f.AppendState(nil)
	g, err := exception.Restore(deviation(2), state)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3}, times(g.Add(nil, number(3, 0))))
	for n := range len(state) {
		_, err := exception.Restore(deviation(1), state[:n])
		require.ErrorIs(t, err, filter.ErrCorrupt)
	}
	state[0]++
	_, err = exception.Restore(deviation(1), state)
	require.ErrorIs(t, err, filter.ErrVersion)
	_, err = exception.New(deviation(-1))
	require.ErrorIs(t, err, filter.ErrSettings)
}

// TestPromises draws samples in order and out of order, with restarts, and holds what was sent against a plain rule: hold
// the last value sent. Without late samples and a minimum time it is never off by more than the deviation.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := deviation(rapid.SampledFrom([]float64{0.5, 1, 2}).Draw(t, "deviation"))
		s.Stepped = rapid.Bool().Draw(t, "stepped")
		s.MaxTime = time.Duration(rapid.SampledFrom([]int64{0, 12}).Draw(t, "max"))
		least := rapid.SampledFrom([]int64{-2, 1}).Draw(t, "least step")
		f, err := exception.New(s)
		require.NoError(t, err)
		g, err := exception.New(s)
		require.NoError(t, err)
		var samples []model.Sample
		var sent []filter.Kept
		now, resent := int64(0), 0
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			now += rapid.Int64Range(least, 8).Draw(t, "after")
			x := number(now, float64(rapid.IntRange(-6, 6).Draw(t, "value"))/2)
			x.Quality = rapid.SampledFrom([]model.Quality{0, 0, 0, 0, 0, model.Uncertain, model.Bad}).Draw(t, "quality")
			if newest, _, ok := f.Newest(); ok && newest.Time == x.Time && newest.SameValue(x) {
				resent++
			}
			samples = append(samples, x)
			want := f.Add(nil, x)
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				g, err = exception.Restore(s, g.AppendState(nil))
				require.NoError(t, err)
			}
			require.Equal(t, want, g.Add(nil, x))
			sent = append(sent, want...)
		}
		sent = f.Flush(sent)
		total := resent
		for _, k := range sent {
			total += 1 + k.Dropped
		}
		require.Equal(t, len(samples), total)
		if least < 1 {
			return
		}
		next, worst := 0, 0.0
		for i, x := range samples {
			v, _ := x.Float64()
			if sent[next].Time == x.Time {
				require.Equal(t, sent[next].Sample, x)
				require.Equal(t, worst, sent[next].MaxError)
				next, worst = next+1, 0
				continue
			}
			require.True(t, x.Quality.IsGood())
			require.Equal(t, x.Quality, samples[i+1].Quality)
			held, _ := sent[next-1].Float64()
			require.LessOrEqual(t, math.Abs(held-v), s.Deviation)
			worst = max(worst, math.Abs(held-v))
			if s.MaxTime > 0 {
				require.LessOrEqual(t, samples[i+1].Time-sent[next-1].Time, int64(s.MaxTime), "no gap is longer")
			}
			if !s.Stepped {
				end, _ := sent[next].Float64()
				got := model.OnLine(sent[next-1].Time, held, sent[next].Time, end, x.Time)
				require.LessOrEqual(t, math.Abs(got-v), 2*s.Deviation+1e-12)
			}
		}
	})
}

func TestAddAllocatesNothing(t *testing.T) {
	f, err := exception.New(deviation(1))
	require.NoError(t, err)
	dst := make([]filter.Kept, 0, 2)
	now := int64(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		now++
		dst = f.Add(dst[:0], number(now, float64(now%7)))
	}))
}

// FuzzRestore reads any bytes as a state: refused, or a filter that works.
func FuzzRestore(f *testing.F) {
	for _, x := range [][]model.Sample{nil, numbers(1), numbers(1, 1, 1, 2, 2)} {
		g, err := exception.New(deviation(0.5))
		require.NoError(f, err)
		for _, x := range x {
			g.Add(nil, x)
		}
		f.Add(g.AppendState(nil))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		g, err := exception.Restore(deviation(0.5), state)
		if err != nil {
			return
		}
		x, _, _ := g.Newest()
		x.Time = min(x.Time, math.MaxInt64-1) + 1
		g.Add(nil, x)
		x.Time++
		x.Bits ^= 1
		g.Add(nil, x)
		g.Flush(nil)
	})
}

func BenchmarkAdd(b *testing.B) {
	for name, values := range map[string]int64{"within": 2, "every-third-out": 3} {
		b.Run("series="+name, func(b *testing.B) {
			b.ReportAllocs()
			f, err := exception.New(deviation(1))
			require.NoError(b, err)
			dst := make([]filter.Kept, 0, 2)
			for i := range int64(b.N) {
				dst = f.Add(dst[:0], number(i, float64(i%values)))
			}
		})
	}
}
