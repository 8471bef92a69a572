package session

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// timesOf reads the times of a run as the protocol defines them.
func timesOf(r *varvev1.Run) (out []int64) {
	switch {
	case len(r.TimesNs) > 0:
		return r.TimesNs
	case r.Count > 0:
		for i := range int64(r.Count) {
			out = append(out, r.FirstTimeNs+i*r.StepNs)
		}
		return out
	}
	out = []int64{r.FirstTimeNs}
	for _, d := range r.TimeDeltas {
		out = append(out, out[len(out)-1]+d*int64(r.TimeUnitNs))
	}
	return out
}

func drawTimes(t *rapid.T) []int64 {
	unit := rapid.SampledFrom([]int64{1, 1000, 1_000_000, 1_000_000_000, 60_000_000_000}).Draw(t, "unit")
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		return rapid.SliceOfN(rapid.Int64Range(model.MinTime, model.MaxTime), 1, 20).Draw(t, "any")
	case 1:
		at := rapid.Int64Range(-1<<40, 1<<40).Draw(t, "first")
		out := make([]int64, rapid.IntRange(1, 20).Draw(t, "n"))
		for i := range out {
			out[i] = at + int64(i)*unit
		}
		return out
	}
	at := rapid.Int64Range(-1<<40, 1<<40).Draw(t, "first")
	out := []int64{at}
	for _, d := range rapid.SliceOfN(rapid.Int64Range(-50, 50), 0, 20).Draw(t, "steps") {
		at += d * unit
		out = append(out, at)
	}
	return out
}

func TestTimesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := drawTimes(t)
		r := &varvev1.Run{}
		SetTimes(r, times)
		require.Equal(t, times, timesOf(r))
		require.Equal(t, len(times), RunLen(r))
	})
}

func TestTimesTakeTheShortestWay(t *testing.T) {
	const s = 1_000_000_000
	for _, c := range []struct {
		times []int64
		want  *varvev1.Run
	}{
		{[]int64{5 * s, 6 * s, 7 * s}, &varvev1.Run{FirstTimeNs: 5 * s, StepNs: s, Count: 3}},
		{[]int64{5 * s}, &varvev1.Run{FirstTimeNs: 5 * s, Count: 1}},
		{[]int64{5, 5, 5}, &varvev1.Run{FirstTimeNs: 5, Count: 3}},
		{[]int64{5 * s, 6 * s, 8 * s}, &varvev1.Run{FirstTimeNs: 5 * s, TimeUnitNs: s, TimeDeltas: []int64{1, 2}}},
		{[]int64{7, 7 + s, 7 + s + 1000}, &varvev1.Run{FirstTimeNs: 7, TimeUnitNs: 1000, TimeDeltas: []int64{1_000_000, 1}}},
		{[]int64{math.MinInt64 + 1, math.MaxInt64 - 1, 0}, &varvev1.Run{TimesNs: []int64{math.MinInt64 + 1, math.MaxInt64 - 1, 0}}},
	} {
		r := &varvev1.Run{}
		SetTimes(r, c.times)
		require.True(t, proto.Equal(c.want, r), "%v: %v", c.times, r)
	}
}

// Any slice of what was added comes back with its values, qualities and nulls.
func TestBuilderKeepsEverySample(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := RunBuilder{ID: 7, Type: model.Float64}
		n := rapid.IntRange(1, 30).Draw(t, "n")
		var bits []uint64
		var quality []model.Quality
		var null []bool
		for i := range n {
			q := model.Quality(rapid.SampledFrom([]uint32{0, 0, 0, 0x80000000, 0x40920000}).Draw(t, "quality"))
			if isNull := rapid.IntRange(0, 4).Draw(t, "null") == 0; isNull {
				b.AddNull(int64(i), q)
				bits, null = append(bits, 0), append(null, true)
			} else {
				x := rapid.Uint64().Draw(t, "bits")
				b.Add(int64(i), x, q)
				bits, null = append(bits, x), append(null, false)
			}
			quality = append(quality, q)
		}
		from := rapid.IntRange(0, n-1).Draw(t, "from")
		to := rapid.IntRange(from+1, n).Draw(t, "to")
		r := b.Run(from, to)
		var gotQuality []model.Quality
		for k, count := range r.QualityCount {
			for range count {
				gotQuality = append(gotQuality, model.Quality(r.QualityCode[k]))
			}
		}
		if gotQuality == nil {
			gotQuality = make([]model.Quality, to-from)
		}
		require.Equal(t, quality[from:to], gotQuality)
		gotNull := make([]bool, to-from)
		for _, i := range r.NullAt {
			gotNull[i] = true
		}
		require.Equal(t, null[from:to], gotNull)
		for i, x := range r.Float64 {
			require.Equal(t, bits[from+i], math.Float64bits(x))
		}
	})
}

func TestRunsAreCutBySamplesAndBytes(t *testing.T) {
	b := RunBuilder{Type: model.String}
	for range 10 {
		b.AddText(0, "0123456789", model.Good)
	}
	to, _ := b.Cut(0, 4, 1<<20)
	require.Equal(t, 4, to)
	to, bytes := b.Cut(0, 100, 100)
	require.Equal(t, 4, to)
	require.LessOrEqual(t, bytes, 100)
	to, _ = b.Cut(9, 100, 1)
	require.Equal(t, 10, to, "a sample larger than the bound goes by itself")
	b.Reset()
	require.Zero(t, b.Len())
}
