package swingingdoor_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
)

func ulp(x float64) float64 {
	x = math.Abs(x)
	if x == math.MaxFloat64 {
		return x - math.Nextafter(x, 0)
	}
	return math.Nextafter(x, math.Inf(1)) - x
}

// errors is the error of each sample against what a reader finds in its place, in the order of the samples, which are
// Good, in order of time, and of one tag.
func errors(t require.TestingT, samples []model.Sample, kept []filter.Kept) []float64 {
	var out []float64
	next := 0
	for _, x := range samples {
		v, _ := x.Float64()
		for next < len(kept) && kept[next].Time <= x.Time {
			next++
		}
		if next == 0 {
			require.FailNow(t, "nothing kept before", "%d", x.Time)
		}
		before := kept[next-1]
		v0, _ := before.Float64()
		if before.Time == x.Time {
			if !before.SameValue(x) {
				require.FailNow(t, "changed", "%v, was %v", before, x)
			}
			out = append(out, 0)
			continue
		}
		if next == len(kept) {
			require.FailNow(t, "nothing kept behind", "%d", x.Time)
		}
		v1, _ := kept[next].Float64()
		got := model.OnLine(before.Time, v0, kept[next].Time, v1, x.Time)
		if math.IsNaN(got) || math.IsInf(got, 0) {
			require.FailNow(t, "no number", "%g between %v and %v", got, before, kept[next])
		}
		out = append(out, math.Abs(got-v))
	}
	return out
}

// requireWithin fails where a reader finds something farther off than the bound of the strict form, or than was measured.
func requireWithin(t require.TestingT, samples []model.Sample, kept []filter.Kept, deviation float64, what string) {
	next, dropped, worst, magnitude := 0, 0, 0.0, 0.0
	for i, e := range errors(t, samples, kept) {
		v, _ := samples[i].Float64()
		// e is the distance of v and what the reader found, so that the greater magnitude is at least e - |v|.
		if most := deviation + 4*ulp(max(math.Abs(v), e-math.Abs(v))); e > most {
			require.FailNow(t, "beyond the bound", "%s: %g at %d, deviation %g, %g beyond", what, e, samples[i].Time, deviation, e-most)
		}
		worst, magnitude = max(worst, e), max(magnitude, math.Abs(v))
		if kept[next].Time != samples[i].Time {
			dropped++
			continue
		}
		if k := kept[next]; k.Dropped != dropped || k.MaxError < worst-16*ulp(magnitude) || k.MaxError > max(worst, deviation)+16*ulp(magnitude) {
			require.FailNow(t, "measured wrong", "%s: %d left out, %g off, before %d; is %d, %g", what, k.Dropped, k.MaxError, k.Time, dropped, worst)
		}
		next, dropped, worst, magnitude = next+1, 0, 0, math.Abs(v)
	}
}

// walk is one random walk and a deviation, of a kind that the seed chooses: noise, decimals whose steps are as large as the
// deviation, small steps far from zero, all magnitudes there are, smooth curves, times from a nanosecond to centuries.
func walk(seed uint64, length int) (samples []model.Sample, deviation float64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	scale, offset, quantum := 1.0, 0.0, 0.0
	kind := seed % 6
	switch kind {
	case 1:
		quantum = []float64{1, 0.5, 0.1, 0.01, 0.3}[rng.IntN(5)]
		scale = quantum * 2
	case 2:
		offset = (rng.Float64() - 0.5) * math.Pow(10, float64(rng.IntN(16)))
	case 3:
		scale = math.Pow(10, float64(rng.IntN(615)-308))
	case 4:
		offset = 1e3 * rng.NormFloat64()
	}
	deviation = scale * math.Pow(10, 2*rng.Float64()-1)
	if quantum != 0 {
		deviation = quantum * float64(1+rng.IntN(4))
	}
	at := int64(rng.Uint64()>>2) - 1<<61
	v, speed := offset, 0.0
	for i := range length {
		if kind == 4 {
			speed += 0.01 * scale * rng.NormFloat64()
			v += speed
		} else {
			v += scale * rng.NormFloat64()
		}
		x := v
		if quantum != 0 {
			x = math.Round(v/quantum) * quantum
		}
		if math.IsInf(x, 0) {
			v, x = offset, offset
		}
		samples = append(samples, number(at, x))
		switch {
		case kind == 5:
			at += 1 + rng.Int64N(1<<rng.IntN(52))
		case i%50 == 49:
			at += int64(time.Hour)
		default:
			at += int64(time.Second)
		}
	}
	return samples, deviation
}

// TestBoundOnRandomWalks asks 100,000 walks with VARVE_STRESS, else a fortieth of them.
func TestBoundOnRandomWalks(t *testing.T) {
	walks := uint64(2_500)
	if os.Getenv("VARVE_STRESS") != "" {
		walks = 100_000
	}
	var samples, left int
	for seed := range walks {
		series, deviation := walk(seed, 200)
		kept := run(t, deviationOf(deviation, seed), swingingdoor.Strict, series)
		requireWithin(t, series, kept, deviation, fmt.Sprintf("walk %d", seed))
		samples, left = samples+len(series), left+len(kept)
	}
	t.Logf("%d walks, %.1f %% of samples kept", walks, 100*float64(left)/float64(samples))
	require.Less(t, left, samples*2/3, "the door keeps too much to be one")
}

// deviationOf sets a minimum time too in every other walk: the bound must not care.
func deviationOf(d float64, seed uint64) filter.Settings {
	s := deviation(d)
	if seed%2 == 1 {
		s.MinTime = 10 * time.Second
	}
	return s
}

// TestTestingOnlyWhetherTheDoorIsShut is the form that is often implemented: it keeps the newest sample only when no slope
// is open any more. The counter-example and random walks show what that costs and that this package does not do it.
func TestTestingOnlyWhetherTheDoorIsShut(t *testing.T) {
	example := seconds([][2]float64{{0, 0}, {1, 0}, {2, 2.5}, {3, -5}})
	require.Equal(t, [][2]float64{{0, 0}, {2, 2.5}, {3, -5}}, points(shutDoor(example, 1)))
	require.Equal(t, 1.25, errors(t, example, shutDoor(example, 1))[1])
	require.Equal(t, [][2]float64{{0, 0}, {1, 0}, {2, 2.5}, {3, -5}}, points(run(t, deviation(1), swingingdoor.Strict, example)))

	worst := 0.0
	for seed := uint64(0); seed < 6000; seed += 6 {
		series, d := walk(seed, 200)
		for _, e := range errors(t, series, shutDoor(series, d)) {
			worst = max(worst, e/d)
		}
	}
	require.Greater(t, worst, 1.8)
	require.Less(t, worst, 2.0)
}

func shutDoor(samples []model.Sample, d float64) (kept []filter.Kept) {
	kept = append(kept, filter.Kept{Sample: samples[0]})
	low, high := math.Inf(-1), math.Inf(1)
	for i := 1; i < len(samples); i++ {
		narrow := func() {
			hinge := kept[len(kept)-1]
			v0, _ := hinge.Float64()
			v, _ := samples[i].Float64()
			after := float64(samples[i].Time - hinge.Time)
			low, high = max(low, (v-d-v0)/after), min(high, (v+d-v0)/after)
		}
		if narrow(); low > high {
			kept = append(kept, filter.Kept{Sample: samples[i-1]})
			low, high = math.Inf(-1), math.Inf(1)
			narrow()
		}
	}
	return append(kept, filter.Kept{Sample: samples[len(samples)-1]})
}

// TestAgainstExactLines compares both forms with the rule itself, in fractions: a sample is left out while the line from the
// last one kept to the next passes it and all others since within the deviation.
func TestAgainstExactLines(t *testing.T) {
	for seed := range uint64(300) {
		if seed%6 == 1 {
			continue // only where a value lies exactly a deviation off can rounding decide: decimals do, noise never does
		}
		series, d := walk(seed, 40)
		if v, _ := series[0].Float64(); d < 1e-290 || d < 1e6*ulp(v) {
			continue // the strict form takes no chance with slopes without all their digits, and uses its tolerance
		}
		want := points(exactly(series, d))
		require.Equal(t, want, points(run(t, deviation(d), swingingdoor.Strict, series)), "walk %d", seed)
		require.Equal(t, want, points(run(t, deviation(d), swingingdoor.Textbook, series)), "walk %d", seed)
	}
}

func exactly(samples []model.Sample, deviation float64) (kept []filter.Kept) {
	rat := func(x model.Sample) *big.Rat {
		v, _ := x.Float64()
		return new(big.Rat).SetFloat64(v)
	}
	d := new(big.Rat).SetFloat64(deviation)
	hinge := 0
	kept = append(kept, filter.Kept{Sample: samples[0]})
	for i := 2; i < len(samples); i++ {
		v0 := rat(samples[hinge])
		rise := new(big.Rat).Sub(rat(samples[i]), v0)
		for j := hinge + 1; j < i; j++ {
			line := big.NewRat(samples[j].Time-samples[hinge].Time, samples[i].Time-samples[hinge].Time)
			line.Add(v0, line.Mul(line, rise))
			if line.Sub(line, rat(samples[j])); line.Abs(line).Cmp(d) > 0 {
				kept, hinge = append(kept, filter.Kept{Sample: samples[i-1]}), i-1
				break
			}
		}
	}
	return append(kept, filter.Kept{Sample: samples[len(samples)-1]})
}

// TestExtremes are series where a careless slope is infinite, not a number, or has lost its digits.
func TestExtremes(t *testing.T) {
	const most, least = math.MaxFloat64, math.SmallestNonzeroFloat64
	for name, values := range map[string][]float64{
		"from end to end":   {most, -most, most, -most, most},
		"at the end":        {most, most, most, most / 2, -most},
		"one far away":      {0, 0, most, 0, 0, -most, 0},
		"smallest":          {0, least, 0, least, 2 * least, 3 * least, 0},
		"zeroes":            {0, math.Copysign(0, -1), 0, math.Copysign(0, -1), 0},
		"small upon great":  {1e16, 1e16 + 2, 1e16, 1e16 + 4, 1e16},
		"less than an ulp":  {1e300, 1e300, 1e300, 1e300},
		"great to small":    {1e15, 5e14, 0.1, -0.1, 0.2, -5e14, -1e15},
		"no line but a few": {1, 2, 3, 4, 5, 6, 7, 8, 9},
	} {
		for _, d := range []float64{least, 1e-300, 0.1, 1, 1e300, most} {
			for _, step := range []int64{1, 1e9, 1 << 60} {
				var series []model.Sample
				for i, v := range values {
					series = append(series, number(math.MinInt64+int64(i)*step, v))
				}
				requireWithin(t, series, run(t, deviation(d), swingingdoor.Strict, series), d, fmt.Sprintf("%s, deviation %g, step %d", name, d, step))
			}
		}
	}
}
