package quantile

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
)

// number is a double in JSON, where infinities are strings.
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	text := string(b)
	if s, err := strconv.Unquote(text); err == nil {
		text = s
	}
	f, err := strconv.ParseFloat(text, 64)
	*n = number(f)
	return err
}

type vectors struct {
	Tdigest []struct {
		Data      []number
		Q, Expect number
	} `json:"tdigest_quantile"`
	Rejects []string `json:"tdigest_rejects"`
	Exact   struct {
		Series map[string][]number
		Cases  []map[string]number
	} `json:"exact_interpolated"`
	Flux []struct {
		Method    string
		Data      []number
		Q, Expect number
	} `json:"flux_examples"`
}

func readVectors(t *testing.T) (v vectors) {
	raw, err := os.ReadFile("testdata/conformance.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &v))
	require.Len(t, v.Tdigest, 6)
	require.Len(t, v.Exact.Cases, 7)
	require.Len(t, v.Flux, 4)
	return v
}

func floats(values []number) (out []float64) {
	for _, v := range values {
		out = append(out, float64(v))
	}
	return out
}

func requireNear(t require.TestingT, want, have, share float64, message ...any) {
	require.True(t, want == have || want != want && have != have || math.Abs(want-have) <= share*math.Abs(want), "have %v, want %v %v", have, want, message)
}

func TestPublicQuantiles(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Exact.Cases {
		for name, data := range v.Exact.Series {
			requireNear(t, float64(c[name]), Sort(floats(data)).Interpolated(float64(c["q"])), 1e-15, name, c)
		}
	}
	for _, c := range v.Flux {
		require.Equal(t, float64(c.Expect), Sort(floats(c.Data)).NearestRank(float64(c.Q)))
	}
	for _, c := range v.Tdigest {
		require.Equal(t, float64(c.Expect), Sort(floats(c.Data)).NearestRank(float64(c.Q)))
		requireNear(t, float64(c.Expect), sketchOf(t, DefaultAccuracy, floats(c.Data)...).NearestRank(float64(c.Q)), DefaultAccuracy)
	}
	require.Equal(t, []string{"NaN value", "NaN weight", "zero weight", "negative weight"}, v.Rejects)
	s := sketchOf(t, DefaultAccuracy)
	require.NoError(t, s.Add(math.NaN(), 1))
	require.NoError(t, s.Add(1, 0)) // weights that are NaN or negative do not exist
	require.Zero(t, s.Weight())
	require.Empty(t, s.keys)
}

// TestWorkedExamples holds the page and the package against each other.
func TestWorkedExamples(t *testing.T) {
	const page = "../../docs/reference/reductions.md"
	parse := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		return f
	}
	var values []float64
	var held []Held
	for _, row := range golden.Table(t, page, "quantile-samples") {
		values = append(values, parse(row[0]))
		held = append(held, Held{parse(row[0]), uint64(parse(row[1]) * 1e9)})
	}
	sketch := sketchOf(t, DefaultAccuracy, values...)
	sorted := Sort(values)
	weighted, err := Weigh(held)
	require.NoError(t, err)
	rows := golden.Table(t, page, "quantiles")
	require.Equal(t, []string{"q", "interpolated", "nearest-rank", "time-weighted", "sketch"}, rows[0])
	for _, row := range rows[1:] {
		q := parse(row[0])
		have := []string{row[0]}
		for _, v := range []float64{sorted.Interpolated(q), sorted.NearestRank(q), weighted.NearestRank(q), sketch.NearestRank(q)} {
			have = append(have, strconv.FormatFloat(v, 'g', 5, 64))
		}
		require.Equal(t, row, have)
	}
}

var (
	anyValue = rapid.OneOf(rapid.Float64Range(-100, 100), rapid.Float64(), rapid.SampledFrom([]float64{
		0, math.Copysign(0, -1), 1, 1, 2, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, 0x1p-1022, 1e-300}))
	anyShare = rapid.OneOf(rapid.Float64Range(0, 1), rapid.SampledFrom([]float64{0, 0.25, 0.5, 0.75, 0.95, 0.99, 1, 5e-324, 1 - 0x1p-53}))
)

// exactRank is the rank worked out in rational numbers.
func exactRank(q float64, total uint64) *big.Int {
	share := new(big.Rat).SetFloat64(q)
	share.Mul(share, new(big.Rat).SetInt(new(big.Int).SetUint64(total)))
	r, rest := new(big.Int).DivMod(share.Num(), share.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		r.Add(r, big.NewInt(1))
	}
	if r.Sign() == 0 {
		r.SetInt64(1)
	}
	return r
}

func TestRankIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := rapid.OneOf(anyShare, rapid.Custom(func(t *rapid.T) float64 {
			return math.Ldexp(rapid.Float64Range(0.5, 1).Draw(t, "fraction"), -rapid.IntRange(0, 140).Draw(t, "exponent"))
		})).Draw(t, "q")
		total := rapid.OneOf(rapid.Uint64Min(1), rapid.SampledFrom([]uint64{1, 1 << 53, 1<<53 + 1, 1<<63 + 1, math.MaxUint64})).Draw(t, "total")
		require.Equal(t, exactRank(q, total).Uint64(), rank(q, total), "rank %v of %d", q, total)
	})
}

// TestNearestRankIsItsDefinition asks a plain loop which least value a share of the samples, or of the weight, does not exceed.
func TestNearestRankIsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var held []Held
		for range rapid.IntRange(0, 30).Draw(t, "values") {
			held = append(held, Held{anyValue.Draw(t, "value"), rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64Range(0, 1<<58)).Draw(t, "weight")})
		}
		q := anyShare.Draw(t, "q")
		model := func(weight func(Held) uint64) float64 {
			var total uint64
			for _, h := range held {
				if h.Value == h.Value {
					total += weight(h)
				}
			}
			answer := math.NaN()
			for _, candidate := range held {
				var atMost uint64
				for _, h := range held {
					if h.Value <= candidate.Value {
						atMost += weight(h)
					}
				}
				enough := total > 0 && new(big.Int).SetUint64(atMost).Cmp(exactRank(q, total)) >= 0
				if enough && candidate.Value == candidate.Value && weight(candidate) > 0 && !(candidate.Value >= answer) {
					answer = candidate.Value
				}
			}
			return answer
		}
		var values []float64
		for _, h := range held {
			values = append(values, h.Value)
		}
		requireNear(t, model(func(Held) uint64 { return 1 }), Sort(values).NearestRank(q), 0)
		want := model(func(h Held) uint64 { return h.Weight })
		w, err := Weigh(slices.Clone(held))
		require.NoError(t, err)
		requireNear(t, want, w.NearestRank(q), 0)
	})
}

// Interpolated is between its neighbours, never falls with q, and meets the nearest rank where it meets a sample.
func TestInterpolatedIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Sort(rapid.SliceOfN(anyValue.Filter(func(v float64) bool { return !math.IsInf(v, 0) && v == v }), 1, 20).Draw(t, "values"))
		before := s[0]
		for i := range 41 {
			q := float64(i) / 40
			v := s.Interpolated(q)
			place := q * float64(len(s)-1)
			require.True(t, s[int(place)] <= v && v <= s[int(math.Ceil(place))], "%v of %v is %v", q, s, v)
			require.GreaterOrEqual(t, v, before)
			before = v
		}
		for i, v := range s {
			if place := float64(i) / float64(len(s)-1) * float64(len(s)-1); place == float64(i) {
				require.Equal(t, v, s.Interpolated(float64(i)/float64(len(s)-1)))
			}
		}
	})
}

func TestRefusedQuestions(t *testing.T) {
	w, err := Weigh([]Held{{3, 10}})
	require.NoError(t, err)
	none, err := Weigh(nil)
	require.NoError(t, err)
	for _, one := range []func(float64) float64{Sorted{3}.Interpolated, Sorted{3}.NearestRank, w.NearestRank, sketchOf(t, 0.01, 3).NearestRank} {
		require.Equal(t, math.Inf(-1), one(-0.1))
		require.Equal(t, math.Inf(1), one(1.1))
		require.True(t, math.IsNaN(one(math.NaN())))
		require.Equal(t, 3.0, one(0))
		require.Equal(t, 3.0, one(1))
	}
	for _, none := range []func(float64) float64{Sorted{}.Interpolated, Sort([]float64{math.NaN()}).NearestRank, none.NearestRank, sketchOf(t, 0.01).NearestRank} {
		require.True(t, math.IsNaN(none(0.5)))
	}
	_, err = Weigh([]Held{{3, 1 << 63}, {4, 1 << 63}})
	require.ErrorIs(t, err, ErrTooHeavy)
}

func BenchmarkExact(b *testing.B) {
	values := make([]float64, 100_000)
	for _, kind := range []string{"sorted", "weighted"} {
		b.Run(fmt.Sprintf("kind=%s/samples=100k", kind), func(b *testing.B) {
			held := make([]Held, len(values))
			for range b.N {
				for i := range values {
					values[i] = math.Sin(float64(i))
					held[i] = Held{values[i], 1e9}
				}
				if kind == "sorted" {
					Sort(values).Interpolated(0.5)
				} else if _, err := Weigh(held); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
