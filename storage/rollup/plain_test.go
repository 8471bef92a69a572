package rollup

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// TestPlainIsWhatPartialsSay holds partials of plain columns, and of AddPlain, against those of Add.
func TestPlainIsWhatPartialsSay(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		typ := []model.Type{model.Float64, model.Float64, model.Float32, model.Int64, model.Uint64}[rng.IntN(5)]
		parts := make([]Partial, 1+rng.IntN(30))
		s := model.Samples{Type: typ}
		at := int64(rng.IntN(1000))
		var quick Partial
		for i := range parts {
			from := s.Len()
			for range rng.IntN(3) * rng.IntN(700) {
				v := float64(rng.IntN(4000)-2000) / 8
				switch typ {
				case model.Float64:
					s.Bits = append(s.Bits, math.Float64bits(v))
				case model.Float32:
					s.Bits = append(s.Bits, uint64(math.Float32bits(float32(v))))
				default:
					s.Bits = append(s.Bits, uint64(rng.IntN(5000)))
				}
				s.Times = append(s.Times, at)
				at += int64(rng.IntN(3))
			}
			parts[i].Add(&s, from, s.Len())
			quick.AddPlain(&s, from, s.Len())
		}
		var whole Partial
		for i := range parts {
			whole.Merge(&parts[i])
		}
		row, err := OpenRow(AppendRow(nil, parts, AllGroups))
		require.NoError(t, err)
		var p Plain
		ok, err := p.Read(row)
		require.NoError(t, err)
		require.Equal(t, !whole.Empty(), ok)
		if !ok {
			continue
		}
		from := rng.IntN(len(parts))
		to := from + 1 + rng.IntN(len(parts)-from)
		var some Plain
		ok, err = some.ReadSome(row, from, to)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, p.Partial(from, to), some.Partial(from, to))
		read := p.Partial(0, len(parts))
		for _, have := range []*Partial{&read, &quick} {
			require.Equal(t, whole.Counts(), have.Counts())
			require.Equal(t, whole.durations, have.durations)
			require.Equal(t, whole.points[firstSample].Time, have.points[firstSample].Time)
			require.Equal(t, whole.points[lastGood].Time, have.points[lastGood].Time)
			a, _ := whole.Stats(true)
			b, ok := have.Stats(true)
			require.True(t, ok)
			require.Equal(t, a.Sum(), b.Sum())
			require.Equal(t, a.SumInt(), b.SumInt())
			require.Equal(t, a.Range(), b.Range())
			require.True(t, sameValue(typ, a.min.Bits, b.min.Bits))
		}
	}
	// One sample that is not plainly Good keeps a row from being plain.
	var bad Partial
	bad.Add(&model.Samples{Type: model.Float64, Times: []int64{1, 2}, Bits: []uint64{0, 0}, Quality: []model.Quality{0, model.Uncertain}}, 0, 2)
	row, err := OpenRow(bad.Append(nil, AllGroups))
	require.NoError(t, err)
	ok, err := new(Plain).Read(row)
	require.NoError(t, err)
	require.False(t, ok)
}
