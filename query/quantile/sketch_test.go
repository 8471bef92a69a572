package quantile

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

func sketchOf(t require.TestingT, accuracy float64, values ...float64) *Sketch {
	s, err := New(accuracy)
	require.NoError(t, err)
	for _, v := range values {
		require.NoError(t, s.Add(v, 1))
	}
	return s
}

// asked is how far an answer may lie from the exact one: by the accuracy, a rounding, and what is too small to be told from zero.
func asked(s *Sketch, exact float64) float64 {
	return s.Accuracy()*math.Abs(exact)*(1+1e-12) + 0x1p-1022
}

// TestSketchIsWithinItsAccuracy holds quantiles against exact ones: both signs, zeros, infinities, any magnitude, weights.
func TestSketchIsWithinItsAccuracy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		accuracy := rapid.SampledFrom([]float64{0.00013, 0.001, 0.01, 0.02, 0.2, 0.9}).Draw(t, "accuracy")
		s := sketchOf(t, accuracy)
		require.LessOrEqual(t, s.Accuracy(), accuracy)
		var held []Held
		for range rapid.IntRange(0, 40).Draw(t, "values") {
			h := Held{anyValue.Draw(t, "value"), rapid.OneOf(rapid.Just(uint64(1)), rapid.Uint64Range(0, 1<<58)).Draw(t, "weight")}
			held = append(held, h)
			require.NoError(t, s.Add(h.Value, h.Weight))
		}
		encoded := s.Append(nil)
		s, err := Decode(encoded)
		require.NoError(t, err)
		require.Equal(t, encoded, s.Append(nil))
		w, err := Weigh(held)
		require.NoError(t, err)
		requireNear(t, w.NearestRank(0), s.Min(), 0)
		requireNear(t, w.NearestRank(1), s.Max(), 0)
		if len(w) > 0 {
			require.Equal(t, w[len(w)-1].Weight, s.Weight())
		}
		for _, q := range []float64{0, anyShare.Draw(t, "q"), 0.5, 0.99, 1} {
			exact, have := w.NearestRank(q), s.NearestRank(q)
			if !model.Finite(exact) {
				requireNear(t, exact, have, 0)
				continue
			}
			require.LessOrEqual(t, math.Abs(have-exact), asked(s, exact), "%v is %v, exactly %v", q, have, exact)
		}
	})
}

// wideValues spreads over so many magnitudes that bins must be merged, several times if spread is 2,046.
func wideValues(rng *rand.Rand, n, spread int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = math.Ldexp(1+rng.Float64(), rng.IntN(spread)-spread/2)
		if rng.IntN(2) == 0 {
			values[i] = -values[i]
		}
	}
	return values
}

func TestTooManyBinsLoseAccuracyAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for spread, mantissa := range map[int]int{30: 6, 100: 4, 2046: 0} {
		values := append(wideValues(rng, 100_000, spread), 0, math.Inf(1), math.Inf(-1))
		s := sketchOf(t, DefaultAccuracy, values...)
		require.Equal(t, mantissa, s.mantissa, "spread %d", spread)
		require.LessOrEqual(t, len(s.keys), MaxBins)
		sorted := Sort(values)
		for i := range 1001 {
			q := float64(i) / 1000
			exact, have := sorted.NearestRank(q), s.NearestRank(q)
			if model.Finite(exact) {
				require.LessOrEqual(t, math.Abs(have-exact), asked(s, exact), "spread %d: %v is %v, exactly %v", spread, q, have, exact)
			} else {
				require.Equal(t, exact, have)
			}
		}
	}
}

// TestMergedSketchIsThatOfAll adds values to parts, merges these in any order and grouping, and has the same bytes, also where
// some parts had to merge bins and others not.
func TestMergedSketchIsThatOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		parts := make([]*Sketch, rapid.IntRange(1, 6).Draw(t, "parts"))
		whole := sketchOf(t, DefaultAccuracy)
		for i := range parts {
			parts[i] = sketchOf(t, DefaultAccuracy)
			values := wideValues(rng, rng.IntN(1500), []int{1, 4, 60, 2000}[rng.IntN(4)])
			for _, v := range values {
				weight := rng.Uint64N(1 << 40)
				require.NoError(t, parts[i].Add(v, weight))
				require.NoError(t, whole.Add(v, weight))
			}
		}
		for len(parts) > 1 {
			i, k := rng.IntN(len(parts)), rng.IntN(len(parts)-1)
			if k >= i {
				k++
			}
			other := parts[k].Append(nil)
			require.NoError(t, parts[i].Merge(parts[k]))
			require.Equal(t, other, parts[k].Append(nil), "what was merged has changed")
			parts[k] = parts[len(parts)-1]
			parts = parts[:len(parts)-1]
		}
		require.Equal(t, whole.Append(nil), parts[0].Append(nil))
	})
}

func TestMergeTakesTheWorseAccuracy(t *testing.T) {
	for _, accuracies := range [][2]float64{{0.01, 0.1}, {0.1, 0.01}} {
		a, b := sketchOf(t, accuracies[0], 1, 2, 3), sketchOf(t, accuracies[1], 4, 5, -6)
		require.NoError(t, a.Merge(b))
		require.Equal(t, sketchOf(t, 0.1, 1, 2, 3, 4, 5, -6).Append(nil), a.Append(nil))
	}
}

func TestTooHeavyChangesNothing(t *testing.T) {
	s := sketchOf(t, 0.01)
	require.NoError(t, s.Add(1, math.MaxUint64-1))
	before := s.Append(nil)
	require.ErrorIs(t, s.Add(2, 2), ErrTooHeavy)
	require.ErrorIs(t, s.Merge(sketchOf(t, 0.1, 7, 7)), ErrTooHeavy)
	require.Equal(t, before, s.Append(nil))
	require.NoError(t, s.Add(2, 1))
	require.Equal(t, 2.0, s.NearestRank(1))
}

func TestAccuracyIsChecked(t *testing.T) {
	for _, a := range []float64{0, -1, 0.0001, 1, 2, math.NaN()} {
		_, err := New(a)
		require.ErrorContains(t, err, "accuracy of a sketch", a)
	}
}

func TestSketchExample(t *testing.T) {
	blocks := golden.Blocks(t, "../../docs/format/sketch.md")
	require.Equal(t, blocks["empty"], sketchOf(t, DefaultAccuracy).Append(nil))
	s := sketchOf(t, DefaultAccuracy, 0, 20, 20.1, -2.5)
	require.NoError(t, s.Add(21.5, 60e9))
	require.Equal(t, blocks["minute"], s.Append(nil), "%x", s.Append(nil))
	for _, b := range blocks {
		s, err := Decode(b)
		require.NoError(t, err)
		require.Equal(t, b, s.Append(nil))
	}
}

var write = flag.Bool("write", false, "write the stored sketches that are not there yet")

// TestStoredSketches reads what version 1 wrote. The files are never changed; a new version adds its own.
func TestStoredSketches(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for name, values := range map[string][]float64{
		"v1.plain": append(wideValues(rng, 100, 8), 0, math.Inf(1)),
		"v1.wide":  wideValues(rng, 3000, 2046),
	} {
		s := sketchOf(t, DefaultAccuracy, values...)
		file := "testdata/" + name
		if _, err := os.Stat(file); err != nil && *write {
			require.NoError(t, os.WriteFile(file, s.Append(nil), 0o644))
		}
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		stored, err := Decode(b)
		require.NoError(t, err)
		require.Equal(t, b, stored.Append(nil))
		sorted := Sort(values)
		for _, q := range []float64{0, 0.1, 0.5, 0.99, 1} {
			require.True(t, sorted.NearestRank(q) == stored.NearestRank(q) ||
				math.Abs(sorted.NearestRank(q)-stored.NearestRank(q)) <= asked(stored, sorted.NearestRank(q)))
		}
	}
}

func TestNewerSketchesAreToldApart(t *testing.T) {
	b := sketchOf(t, DefaultAccuracy, 1, 2).Append(nil)
	b[0]++
	_, err := Decode(b)
	require.ErrorIs(t, err, ErrVersion)
}

func TestDamagedSketches(t *testing.T) {
	whole := sketchOf(t, DefaultAccuracy, -1, 0, 3, 3, 1e9).Append(nil)
	for n := range whole {
		_, err := Decode(whole[:n])
		require.ErrorIs(t, err, ErrCorrupt, "first %d bytes", n)
	}
	limits := func(least, most float64) []byte {
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint64(b[3:], math.Float64bits(least))
		binary.LittleEndian.PutUint64(b[11:], math.Float64bits(most))
		return b
	}
	one := sketchOf(t, DefaultAccuracy, 1).Append(nil)
	two := bytes.Clone(one)
	binary.LittleEndian.PutUint64(two[11:], math.Float64bits(1.001))
	again := bytes.Clone(one)
	again[2] = 2
	again = append(again, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0)
	minusZero := sketchOf(t, DefaultAccuracy, 0, 1).Append(nil)
	minusZero[10] = 0x80
	for name, b := range map[string][]byte{
		"least is -0":                minusZero,
		"a bin that comes again":     again,
		"version 0":                  {0, 6, 0},
		"mantissa":                   {1, 13, 0},
		"count without bins":         {1, 6, 0xFF, 0x1F},
		"count above the most":       append([]byte{1, 6, 0x81, 0x20}, make([]byte, 20_000)...),
		"count longer than need be":  {1, 6, 0x80, 0x00},
		"bytes behind":               append(bytes.Clone(whole), 0),
		"bytes behind an empty one":  {1, 6, 0, 0},
		"least in another bin":       limits(-2, 1e9),
		"greatest in another bin":    limits(-1, 2e9),
		"greatest is not a number":   limits(-1, math.NaN()),
		"one sample with two values": two,
	} {
		_, err := Decode(b)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}

// FuzzDecode: whatever is read can be asked, merged and written again as the same bytes.
func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	f.Add(sketchOf(f, DefaultAccuracy).Append(nil))
	f.Add(sketchOf(f, DefaultAccuracy, 0, 1, -1, math.Inf(1), 3e-310).Append(nil))
	f.Add(sketchOf(f, 0.2, wideValues(rng, 300, 60)...).Append(nil))
	f.Add(sketchOf(f, DefaultAccuracy, wideValues(rng, 20_000, 2046)...).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		require.Equal(t, b, s.Append(nil))
		for _, q := range []float64{0, 0.3, 0.999, 1} {
			v := s.NearestRank(q)
			require.True(t, s.Weight() == 0 || s.Min() <= v && v <= s.Max())
		}
		other := sketchOf(t, DefaultAccuracy, 1, -7, 0)
		if err := other.Merge(s); err != nil {
			require.ErrorIs(t, err, ErrTooHeavy)
			return
		}
		require.Equal(t, s.Weight()+3, other.Weight())
		_, err = Decode(other.Append(nil))
		require.NoError(t, err)
	})
}

func BenchmarkSketch(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	walk, v := make([]float64, 100_000), 20.0
	for i := range walk {
		v += rng.NormFloat64() / 100
		walk[i] = v
	}
	for _, c := range []struct {
		name   string
		values []float64
	}{{"walk", walk}, {"six-decades", wideValues(rng, len(walk), 20)}} {
		s := sketchOf(b, DefaultAccuracy, c.values...)
		encoded := s.Append(nil)
		perValue := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(c.values)), "ns/sample")
		}
		b.Run(fmt.Sprintf("do=add/data=%s", c.name), func(b *testing.B) {
			for range b.N {
				s := sketchOf(b, DefaultAccuracy)
				for _, v := range c.values {
					if err := s.Add(v, 1); err != nil {
						b.Fatal(err)
					}
				}
			}
			perValue(b)
			b.ReportMetric(float64(len(s.keys)), "bins")
			b.ReportMetric(float64(len(encoded)), "bytes")
		})
		b.Run(fmt.Sprintf("do=merge/data=%s", c.name), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if err := sketchOf(b, DefaultAccuracy).Merge(s); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("do=encode/data=%s", c.name), func(b *testing.B) {
			for range b.N {
				encoded = s.Append(encoded[:0])
			}
		})
		b.Run(fmt.Sprintf("do=decode/data=%s", c.name), func(b *testing.B) {
			for range b.N {
				if _, err := Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
