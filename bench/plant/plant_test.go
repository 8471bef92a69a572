package plant

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Figures of other historians were measured on data of this checksum; another one makes them incomparable.
func TestChecksum(t *testing.T) {
	const tags, samples = 1000, 3600
	times, values := make([]int64, samples), make([]float64, samples)
	sum := fnv.New64a()
	for tag := range tags {
		NewTag(1, tag, Start, 1000).Next(times, values)
		for i := 0; i < samples; i += 97 {
			var b [16]byte
			binary.LittleEndian.PutUint64(b[:8], math.Float64bits(values[i]))
			binary.LittleEndian.PutUint64(b[8:], uint64(times[i]))
			sum.Write(b[:])
		}
	}
	require.Equal(t, uint64(0x7ae06c0da28b834b), sum.Sum64())
}

func TestSlicesDoNotMatter(t *testing.T) {
	for tag := range 200 {
		whole, cut := NewTag(7, tag, Start, 1000), NewTag(7, tag, Start, 1000)
		times, values := make([]int64, 100), make([]float64, 100)
		whole.Next(times, values)
		gotTimes, gotValues := make([]int64, 100), make([]float64, 100)
		for _, at := range [][2]int{{0, 1}, {1, 30}, {30, 100}} {
			cut.Next(gotTimes[at[0]:at[1]], gotValues[at[0]:at[1]])
		}
		require.Equal(t, times, gotTimes, "tag %d", tag)
		require.Equal(t, values, gotValues, "tag %d", tag)
	}
}

func TestTimesAscend(t *testing.T) {
	times, values := make([]int64, 1000), make([]float64, 1000)
	for tag := range 80 {
		NewTag(1, tag, Start, 1000).Next(times, values)
		require.True(t, slices.IsSorted(times), "tag %d", tag)
		require.Equal(t, tag/20%2 == 1, times[1]-times[0] != 1000 || times[2]-times[1] != 1000 || times[3]-times[2] != 1000, "jitter of tag %d", tag)
	}
}

func BenchmarkNext(b *testing.B) {
	times, values := make([]int64, 3600), make([]float64, 3600)
	for _, kind := range []struct {
		name string
		tag  int
	}{{"analog", 0}, {"setpoint", 12}, {"discrete", 15}, {"counter", 18}} {
		b.Run("kind="+kind.name, func(b *testing.B) {
			t := NewTag(1, kind.tag, Start, 1000)
			for b.Loop() {
				t.Next(times, values)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(times)), "ns/sample")
		})
	}
}
