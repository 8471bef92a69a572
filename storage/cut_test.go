package storage

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
)

// Of a tag that is written one sample at a time half of the memory says where the samples came from, and it ends a generation too.
func TestGenerationEndsByWhatItsRunsTake(t *testing.T) {
	for run, generations := range map[int]int{1: 2, 10: 1} {
		o := testOptions(vfs.NewMem())
		o.GenerationSamples = 1 << 20
		db, err := Open("store", o)
		require.NoError(t, err)
		(&history{t: t, db: db}).createTags()
		for i := 0; i < 3000; i += run { // 48,000 bytes of samples, and the generation ends behind 65,536
			s := model.Samples{Type: model.Float64}
			for k := range run {
				s.Append(model.Sample{Time: int64(i + k), Type: model.Float64})
			}
			_, err = db.Submit(t.Context(), &Batch{Runs: []Run{{Tag: 1, Mode: model.Update, Samples: s}}})
			require.NoError(t, err)
		}
		_, err = db.Flush(t.Context())
		require.NoError(t, err)
		require.Equal(t, generations, db.Status().Generations, "runs of %d", run)
		require.NoError(t, db.Close())
	}
}

func TestGenerationBytesAreAShareOfTheMemory(t *testing.T) {
	for memory, want := range map[int64]int64{0: 64 << 20, 60 << 20: 10 << 20, 8 << 30: 128 << 20} {
		o := Options{MemoryBytes: memory}
		require.NoError(t, o.setDefaults())
		require.Equal(t, want, o.GenerationBytes)
	}
	o := Options{MemoryBytes: 32<<20 - 1}
	require.ErrorContains(t, o.setDefaults(), "MemoryBytes is 33554431, must be from 33554432")
}

func TestCutOrigins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in, flat []chunk.Origin
		for i, n := range rapid.SliceOfN(rapid.IntRange(1, 4), 0, 8).Draw(t, "origins") {
			in = append(in, chunk.Origin{Samples: n, Source: uint32(i)})
			for range n {
				flat = append(flat, chunk.Origin{Samples: 1, Source: uint32(i)})
			}
		}
		from := rapid.IntRange(0, len(flat)).Draw(t, "from")
		to := rapid.IntRange(from, len(flat)).Draw(t, "to")
		before := slices.Clone(in)
		var got []chunk.Origin
		for _, o := range cutOrigins(in, from, to) {
			require.Positive(t, o.Samples)
			for range o.Samples {
				got = append(got, chunk.Origin{Samples: 1, Source: o.Source})
			}
		}
		require.Equal(t, flat[from:to:to], append(flat[:0:0], got...))
		require.Equal(t, before, in)
	})
}
