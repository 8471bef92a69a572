package swingingdoor_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
)

func at(t int64, typ model.Type, bits uint64, q model.Quality) model.Sample {
	return model.Sample{Time: t, Type: typ, Bits: bits, Quality: q}
}

func text(t int64, s string) model.Sample {
	return model.Sample{Time: t, Type: model.String, Blob: []byte(s)}
}

func times(kept []filter.Kept) (out []int64) {
	for _, k := range kept {
		out = append(out, k.Time)
	}
	return out
}

func TestZeroDeviationKeepsEverything(t *testing.T) {
	series := []model.Sample{number(1, 1), number(1, 1), number(3, 1), number(2, 1), text(3, "x")}
	kept := run(t, filter.Settings{Filter: model.Filter{MaxTime: time.Hour}}, swingingdoor.Strict, series)
	require.Len(t, kept, len(series))
}

func TestQualityIsKeptWithWhatStandsBeforeIt(t *testing.T) {
	good, bad := model.Good, model.BadSensorFailure
	v := math.Float64bits(5)
	series := []model.Sample{
		at(0, model.Float64, v, good), at(1, model.Float64, v, good), at(2, model.Float64, v, good),
		at(3, model.Float64, v, bad), at(4, model.Float64, v, bad), // each Bad sample is kept
		at(5, model.Float64, v, good), at(6, model.Float64, v, good), at(7, model.Float64, v, good),
		at(8, model.Float64, v, model.GoodLocalOverride), at(9, model.Float64, v, model.GoodLocalOverride), at(10, model.Float64, v, model.GoodLocalOverride),
		at(11, model.Float64, v, model.Uncertain), at(12, model.Float64, v, model.Uncertain),
	}
	for _, stepped := range []bool{false, true} {
		s := deviation(1)
		s.Stepped = stepped
		kept := run(t, s, swingingdoor.Strict, series)
		require.Equal(t, []int64{0, 2, 3, 4, 5, 7, 8, 10, 11, 12}, times(kept), "stepped %t", stepped)
	}
}

func TestValuesThatAreNoNumbers(t *testing.T) {
	nan, inf := math.Float64bits(math.NaN()), math.Float64bits(math.Inf(1))
	v := math.Float64bits(5)
	var series []model.Sample
	for i, bits := range []uint64{v, v, v, nan, nan, nan, inf, inf, inf, v, v, v} {
		series = append(series, at(int64(i), model.Float64, bits, model.Good))
	}
	s := deviation(1e300)
	require.Equal(t, []int64{0, 2, 3, 4, 5, 6, 7, 8, 9, 11}, times(run(t, s, swingingdoor.Strict, series)), "no line leads to NaN or Inf")
	s.Stepped = true
	require.Equal(t, []int64{0, 3, 6, 9, 11}, times(run(t, s, swingingdoor.Strict, series)), "a stepped tag holds them")
	require.Equal(t, []int64{0, 2, 3, 6, 8, 9, 11}, times(run(t, s, swingingdoor.Textbook, series)), "a number is not compared with a word")
	null := []model.Sample{number(0, 1), {Time: 1, Type: model.Float64, Null: true}, {Time: 2, Type: model.Float64, Null: true}, number(3, 1)}
	require.Equal(t, []int64{0, 1, 2, 3}, times(run(t, s, swingingdoor.Strict, null)))
}

func TestStatesAndTexts(t *testing.T) {
	s := filter.Of(model.Filter{Deviation: 1000, MaxTime: 4}, model.Settings{Type: model.State})
	var states []model.Sample
	for i, code := range []uint64{7, 7, 7, 8, 8, 7, 7, 7, 7, 7, 7, 7} {
		states = append(states, at(int64(i), model.State, code, model.Good))
	}
	require.Equal(t, []int64{0, 3, 5, 9, 11}, times(run(t, s, swingingdoor.Strict, states)), "each change, and one every 4 ns")

	s = filter.Of(model.Filter{Deviation: 1, MinTime: time.Hour}, model.Settings{Type: model.String})
	buffer := []byte("run")
	f, err := swingingdoor.New(s, swingingdoor.Textbook)
	require.NoError(t, err)
	var kept []filter.Kept
	for i, word := range []string{"run", "run", "off", "off", "run", "run"} {
		copy(buffer, word) // the caller's memory is used again
		kept = f.Add(kept, model.Sample{Time: int64(i), Type: model.String, Blob: buffer})
	}
	copy(buffer, "xxx")
	kept = f.Flush(kept)
	require.Equal(t, []int64{0, 2, 4, 5}, times(kept), "a change is kept however soon")
	for i, word := range []string{"run", "off", "run", "run"} {
		require.Equal(t, word, string(kept[i].Blob))
	}
	// Integers that a double does not have are words too.
	big := []model.Sample{at(0, model.Uint64, 1<<63, 0), at(1, model.Uint64, 1<<63, 0), at(2, model.Uint64, 1<<63+1, 0)}
	require.Equal(t, []int64{0, 2}, times(run(t, filter.Settings{Filter: model.Filter{Deviation: 10}, Stepped: true}, swingingdoor.Strict, big)))
	require.Equal(t, []int64{0, 1, 2}, times(run(t, deviation(10), swingingdoor.Strict, big)))
}

func TestSteppedTagKeepsEveryChange(t *testing.T) {
	s := deviation(10)
	s.Stepped = true
	var series []model.Sample
	for i, v := range []float64{0, 0, 1, 1, 1, 0, math.Copysign(0, -1), 5, 5} {
		series = append(series, number(int64(i), v))
	}
	require.Equal(t, []int64{0, 2, 5, 6, 7, 8}, times(run(t, s, swingingdoor.Strict, series)))
}

func TestTextbookHoldsSteppedTagAgainstWhatReadersHold(t *testing.T) {
	s := deviation(1)
	s.Stepped = true
	var series []model.Sample
	for i, v := range []float64{0, 1, -1, 1.5, 2.5, 0.5, 0.4} { // a line would pass 0.5 at 1
		series = append(series, number(int64(i), v))
	}
	kept := run(t, s, swingingdoor.Textbook, series)
	require.Equal(t, []int64{0, 3, 6}, times(kept))
	require.Equal(t, 2, kept[1].Dropped)
	require.Equal(t, 1.0, kept[1].MaxError)
}

func TestNoGapIsLongerThanTheMaximumTime(t *testing.T) {
	s := filter.Of(model.Filter{Deviation: 1}, model.Settings{Type: model.Float64, MaxGap: 10 * time.Second})
	var series []model.Sample
	for i := range int64(100) {
		series = append(series, number(i*3e9, 5))
	}
	kept := times(run(t, s, swingingdoor.Strict, series))
	for i := 1; i < len(kept)-1; i++ {
		require.EqualValues(t, 9e9, kept[i]-kept[i-1])
	}
	// A gap in the series stays: what stands before and behind it is kept.
	series = []model.Sample{number(0, 5), number(3e9, 5), number(60e9, 5), number(63e9, 5), number(66e9, 5)}
	require.Equal(t, []int64{0, 3e9, 60e9, 66e9}, times(run(t, s, swingingdoor.Strict, series)))
}

func TestLateAndRepeatedSamples(t *testing.T) {
	f, err := swingingdoor.New(deviation(1), swingingdoor.Strict)
	require.NoError(t, err)
	add := func(x model.Sample) []int64 { return times(f.Add(nil, x)) }
	require.Equal(t, []int64{0}, add(number(0, 0)))
	require.Empty(t, add(number(10, 0)))
	require.Empty(t, add(number(20, 0)))
	require.Empty(t, add(number(20, 0)), "the same again")
	x, archived, ok := f.Newest()
	require.Equal(t, number(20, 0), x)
	require.False(t, archived, "shown, but provisional")
	require.True(t, ok)
	require.Equal(t, []int64{5, 20}, add(number(5, 9)), "late: passes, and the newest with it")
	_, archived, _ = f.Newest()
	require.True(t, archived)
	require.Empty(t, add(number(30, 0)))
	require.Equal(t, []int64{30, 30}, add(number(30, 0.5)), "another at the same time")
	require.Empty(t, add(number(40, 0)))
	require.Equal(t, []int64{40}, times(f.Flush(nil)))
	require.Empty(t, f.Flush(nil))
	require.Equal(t, []int64{1}, add(number(1, 0)))
}

func TestSettingsAreChecked(t *testing.T) {
	for _, s := range []filter.Settings{
		deviation(-1), deviation(math.NaN()), deviation(math.Inf(1)),
		{Filter: model.Filter{Deviation: 1, MinTime: -1}},
		{Filter: model.Filter{Deviation: 1, MaxTime: -1}},
		{Filter: model.Filter{Deviation: 1, MinTime: 2, MaxTime: 1}},
	} {
		_, err := swingingdoor.New(s, swingingdoor.Strict)
		require.ErrorIs(t, err, filter.ErrSettings)
		_, err = swingingdoor.Restore(s, swingingdoor.Strict, nil)
		require.ErrorIs(t, err, filter.ErrSettings)
	}
}

func TestOtherSettingsBeginAnew(t *testing.T) {
	f, err := swingingdoor.New(deviation(1), swingingdoor.Strict)
	require.NoError(t, err)
	for i := range int64(5) {
		f.Add(nil, number(i, 0))
	}
	g, err := swingingdoor.Restore(deviation(0.1), swingingdoor.Strict, f.AppendState(nil))
	require.NoError(t, err)
	kept := g.Add(nil, number(5, 0))
	require.Equal(t, []int64{4, 5}, times(kept), "the newest is not lost, and is not judged by settings it did not come under")
	require.Equal(t, 3, kept[0].Dropped)
	for n := range len(f.AppendState(nil)) {
		_, err := swingingdoor.Restore(deviation(1), swingingdoor.Strict, f.AppendState(nil)[:n])
		require.ErrorIs(t, err, filter.ErrCorrupt, "%d bytes", n)
	}
	_, err = swingingdoor.Restore(deviation(1), swingingdoor.Strict, append(f.AppendState(nil), 0))
	require.ErrorIs(t, err, filter.ErrCorrupt)
	newer := f.AppendState(nil)
	newer[0]++
	_, err = swingingdoor.Restore(deviation(1), swingingdoor.Strict, newer)
	require.ErrorIs(t, err, filter.ErrVersion)
}

func TestIntegersAreReadRounded(t *testing.T) {
	var series []model.Sample
	for i, v := range []uint64{0, 0, 1} { // on the line the second is 0.5, which readers round to 1
		series = append(series, at(int64(i), model.Int64, v, model.Good))
	}
	require.Len(t, run(t, deviation(0.9), swingingdoor.Strict, series), 3)
	require.Len(t, run(t, deviation(1), swingingdoor.Strict, series), 2)
}

func TestExactlyTheDeviationOffIsWithin(t *testing.T) {
	for _, c := range []struct{ a, b, d float64 }{{0, 1, 1}, {0, 0.1, 0.1}, {20, 20.1, 0.1}, {-0.3, 0, 0.3}, {1e6, 1e6 + 0.5, 0.5}, {1000.3, 1000.6, 0.3}, {-7.7, -7.6, 0.1}} {
		var series []model.Sample
		for i := range int64(101) {
			series = append(series, number(i*1e9, []float64{c.a, c.b}[i&1]))
		}
		kept := run(t, deviation(c.d), swingingdoor.Strict, series)
		require.Equal(t, []int64{0, 100e9}, times(kept), "%g and %g under %g", c.a, c.b, c.d)
	}
}

// series draws samples as plants send them: runs and jumps, all types, qualities, nulls, times that repeat or go back.
func series(t *rapid.T, ordered bool) []model.Sample {
	typ := rapid.SampledFrom([]model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String}).Draw(t, "type")
	var out []model.Sample
	now := rapid.Int64Range(-1<<62, 1<<62).Draw(t, "start")
	for range rapid.IntRange(0, 60).Draw(t, "samples") {
		least := int64(-3)
		if ordered {
			least = 1
		}
		now += rapid.Int64Range(least, 10).Draw(t, "after")
		x := model.Sample{Time: now, Type: typ}
		x.Quality = rapid.SampledFrom([]model.Quality{0, 0, 0, 0, 0, 0, model.GoodLocalOverride, model.Uncertain, model.Bad}).Draw(t, "quality")
		x.Null = rapid.IntRange(0, 19).Draw(t, "null") == 0
		v := rapid.OneOf(rapid.Float64Range(-3, 3), rapid.Map(rapid.IntRange(-4, 4), func(i int) float64 { return float64(i) / 2 }),
			rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 0})).Draw(t, "value")
		switch typ {
		case model.Float64:
			x.Bits = math.Float64bits(v)
		case model.Float32:
			x.Bits = uint64(math.Float32bits(float32(v)))
		case model.String:
			x.Blob = []byte(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "text"))
		case model.Bool:
			x.Bits = rapid.Uint64Range(0, 1).Draw(t, "bool")
		default:
			x.Bits = rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64Range(math.MaxUint64-3, math.MaxUint64), rapid.Just(uint64(1)<<53)).Draw(t, "integer")
		}
		if x.Null {
			x.Bits, x.Blob = 0, nil
			if typ.Blob() {
				x.Blob = []byte{}
			}
		}
		out = append(out, x)
	}
	return out
}

func settings(t *rapid.T) (filter.Settings, swingingdoor.Form) {
	s := filter.Settings{Stepped: rapid.Bool().Draw(t, "stepped")}
	s.Deviation = rapid.SampledFrom([]float64{0, 0.3, 0.5, 1, 2}).Draw(t, "deviation")
	s.MaxTime = time.Duration(rapid.SampledFrom([]int64{0, 0, 5, 20}).Draw(t, "max"))
	s.MinTime = time.Duration(rapid.SampledFrom([]int64{0, 3}).Draw(t, "min"))
	return s, swingingdoor.Form(rapid.IntRange(0, 1).Draw(t, "form"))
}

// TestPromises holds the rules of package filter, one by one, on any samples in order.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, form := settings(t)
		samples := series(t, true)
		kept := run(t, s, form, samples)
		next := 0
		for i, x := range samples {
			v, kind := s.Read(x)
			if next < len(kept) && kept[next].Time == x.Time {
				require.True(t, kept[next].SameValue(x))
				next++
				continue
			}
			require.NotZero(t, next, "the first is kept")
			require.Less(t, next, len(kept), "the last is kept")
			require.False(t, s.Off())
			require.NotEqual(t, filter.Alone, kind, "%v cannot be left out", x)
			a, b := kept[next-1], kept[next]
			require.Equal(t, x.Quality, a.Quality)
			require.Equal(t, x.Quality, samples[i+1].Quality, "the last before a change of quality is kept")
			if s.MaxTime > 0 && samples[i+1].Time-a.Time > int64(s.MaxTime) {
				require.Less(t, a.Time, x.Time)
				t.Fatalf("gap from %d over %d to %d", a.Time, x.Time, b.Time)
			}
			if kind == filter.Word {
				require.True(t, x.SameValue(a.Sample))
				continue
			}
			v0, _ := a.Float64()
			v1, _ := b.Float64()
			if s.Stepped && form == swingingdoor.Strict {
				require.True(t, x.SameValue(a.Sample), "a stepped tag keeps every change")
			}
			got := v0
			if !s.Stepped && !x.Type.AlwaysStepped() {
				got = model.OnLine(a.Time, v0, b.Time, v1, x.Time)
			}
			if form == swingingdoor.Strict {
				if x.Type == model.Int64 || x.Type == model.Uint64 {
					require.LessOrEqual(t, math.Abs(math.Round(got)-v), s.Deviation, "%v, as readers round it", x)
				}
				require.LessOrEqual(t, math.Abs(got-v), s.Deviation+4*ulp(max(math.Abs(got), math.Abs(v))), "%v", x)
			}
		}
		require.Equal(t, len(kept), next)
		left := 0
		for _, k := range kept {
			left += k.Dropped
		}
		require.Equal(t, len(samples), len(kept)+left)
	})
}

// TestRestartsAndOrder adds samples in any order, with restarts between them that must show nowhere. Late samples and
// second ones pass, and nothing but samples left out and resends is missing.
func TestRestartsAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, form := settings(t)
		samples := series(t, false)
		f, err := swingingdoor.New(s, form)
		require.NoError(t, err)
		g, err := swingingdoor.New(s, form)
		require.NoError(t, err)
		var newest *model.Sample
		total, resent := 0, 0
		for i := range samples {
			x := samples[i]
			want := f.Add(nil, x)
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				state := g.AppendState(nil)
				g, err = swingingdoor.Restore(s, form, state)
				require.NoError(t, err)
				require.Equal(t, state, g.AppendState(nil))
			}
			got := g.Add(nil, x)
			require.Equal(t, want, got)
			for _, k := range want {
				total += 1 + k.Dropped
			}
			resend := newest != nil && newest.Time == x.Time && newest.SameValue(x)
			if resend && !s.Off() {
				resent++
			}
			if newest != nil && x.Time <= newest.Time && !resend {
				require.True(t, slices.ContainsFunc(want, func(k filter.Kept) bool { return k.Time == x.Time && k.SameValue(x) }), "late passes")
			}
			if newest == nil || x.Time >= newest.Time {
				newest = &samples[i]
			}
			shown, _, ok := f.Newest()
			require.True(t, ok)
			require.Equal(t, *newest, shown)
		}
		for _, k := range f.Flush(nil) {
			total += 1 + k.Dropped
		}
		require.Equal(t, len(samples), total+resent)
	})
}

func TestAddAllocatesNothing(t *testing.T) {
	samples, d := walk(0, 2000)
	f, err := swingingdoor.New(deviation(d), swingingdoor.Strict)
	require.NoError(t, err)
	dst := make([]filter.Kept, 0, 2)
	for _, x := range samples[:1000] {
		dst = f.Add(dst[:0], x)
	}
	next := 1000
	require.Zero(t, testing.AllocsPerRun(900, func() {
		dst = f.Add(dst[:0], samples[next])
		next++
	}))
}

// FuzzAdd reads any bytes as numbers and times in order: the bound must hold.
func FuzzAdd(f *testing.F) {
	seed := func(d float64, values ...float64) {
		b := binary.LittleEndian.AppendUint64(nil, math.Float64bits(d))
		for i, v := range values {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
			b = binary.LittleEndian.AppendUint64(b, uint64(i)*1e9)
		}
		f.Add(b)
	}
	seed(1, 0, 0, 2.5, -5)
	seed(0.1, 1e15, 0.1, 0.2, 0.1, -1e15)
	seed(math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 0, 1e-310)
	seed(math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, math.MaxFloat64)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 8 {
			return
		}
		d := math.Abs(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		if math.IsNaN(d) || math.IsInf(d, 0) || d == 0 {
			return
		}
		var samples []model.Sample
		now := int64(math.MinInt64)
		for b = b[8:]; len(b) >= 16; b = b[16:] {
			v := math.Float64frombits(binary.LittleEndian.Uint64(b))
			after := 1 + int64(binary.LittleEndian.Uint64(b[8:])>>8)
			if math.IsNaN(v) || math.IsInf(v, 0) || now > math.MaxInt64-after {
				continue
			}
			now += after
			samples = append(samples, number(now, v))
		}
		requireWithin(t, samples, run(t, deviation(d), swingingdoor.Strict, samples), d, "fuzz")
	})
}

// FuzzRestore reads any bytes as a state: refused, or a filter that works.
func FuzzRestore(f *testing.F) {
	for seed := range uint64(6) {
		samples, d := walk(seed, 50)
		g, err := swingingdoor.New(deviation(d), swingingdoor.Strict)
		require.NoError(f, err)
		for _, x := range samples {
			g.Add(nil, x)
		}
		f.Add(g.AppendState(nil))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		g, err := swingingdoor.Restore(deviation(1), swingingdoor.Strict, state)
		if err != nil {
			return
		}
		x, _, ok := g.Newest()
		if ok {
			x.Time = min(x.Time, math.MaxInt64-2) + 1
			g.Add(nil, x)
			x.Time++
			x.Bits ^= 1
		}
		g.Add(nil, x)
		g.Flush(nil)
	})
}

func BenchmarkAdd(b *testing.B) {
	for seed, kind := range []string{"noise", "decimals", "offset"} {
		samples, d := walk(uint64(seed), 1<<14)
		for name, form := range map[string]swingingdoor.Form{"strict": swingingdoor.Strict, "textbook": swingingdoor.Textbook} {
			b.Run("series="+kind+"/form="+name, func(b *testing.B) {
				b.ReportAllocs()
				f, err := swingingdoor.New(deviation(5*d), form)
				require.NoError(b, err)
				dst := make([]filter.Kept, 0, 2)
				kept := 0
				for i := range b.N {
					x := samples[i&(1<<14-1)]
					x.Time = int64(i) * 1e9
					dst = f.Add(dst[:0], x)
					kept += len(dst)
				}
				b.ReportMetric(float64(kept)/float64(b.N), "kept/sample")
			})
		}
	}
}
