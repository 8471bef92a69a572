package chunk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func TestSealedChunkComesBack(t *testing.T) {
	var e SealedEncoder
	var dec SealedDecoder
	var d Data // reused, as readers do
	rapid.Check(t, func(t *rapid.T) {
		s := drawSamples(t, 60)
		var origins []Origin
		if rapid.Bool().Draw(t, "with origins") {
			origins = drawOrigins(t, s.Len())
		}
		b := e.Append([]byte("before"), &s, origins)[6:]

		require.NoError(t, dec.Decode(b, model.All, &d))
		requireSame(t, &s, &d.Samples)
		require.Equal(t, len(origins), len(d.Origins))
		for i := range origins {
			require.Equal(t, origins[i], d.Origins[i])
		}
		info, err := Inspect(b)
		require.NoError(t, err)
		require.Equal(t, Info{Type: s.Type, Count: s.Len(), First: s.Times[0], Last: s.Times[s.Len()-1]}, info)
	})
}

// longSamples is several blocks of samples of a type, with repeated times, gaps, qualities and nulls.
func longSamples(rng *rand.Rand, typ model.Type, n int) (model.Samples, []Origin) {
	s := model.Samples{}
	s.Reset(typ)
	at, seq := int64(rng.IntN(1e9)), uint32(0)
	several := rng.IntN(3) == 0
	for i := range n {
		if several && i > 0 && rng.IntN(3) > 0 {
			seq++
		} else {
			seq = 0
			at += int64(1+rng.IntN(3)) * 1e9
		}
		x := model.Sample{Time: at, Seq: seq, Type: typ, Null: rng.IntN(200) == 0}
		if rng.IntN(100) == 0 {
			x.Quality = model.Uncertain
		}
		switch {
		case x.Null:
		case typ.Blob():
			x.Blob = fmt.Appendf(nil, "text %d", rng.IntN(20))
		case typ == model.Bool:
			x.Bits = rng.Uint64N(2)
		default:
			x.Bits = rng.Uint64N(5000)
		}
		s.Append(x)
	}
	var origins []Origin
	for left := n; left > 0; {
		o := Origin{Samples: min(left, 1+rng.IntN(700)), Source: uint32(rng.IntN(3)), Ingest: int64(rng.IntN(1e6))}
		origins = append(origins, o)
		left -= o.Samples
	}
	return s, origins
}

// TestSealedRangesHoldTheirSamples reads ranges of long chunks: what comes is consecutive samples of the chunk with their
// origins, and none of the range is missing.
func TestSealedRangesHoldTheirSamples(t *testing.T) {
	var e SealedEncoder
	var dec SealedDecoder
	var d Data
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		s, origins := longSamples(rng, model.Type(1+rng.IntN(8)), []int{1, 1023, 1024, 1025, 2048, 3000, 5000}[rng.IntN(7)])
		b := e.Append(nil, &s, origins)
		for range 40 {
			from := s.Times[rng.IntN(s.Len())] + int64(rng.IntN(3)-1)
			in := model.TimeRange{Start: from, End: max(from, s.Times[rng.IntN(s.Len())]+int64(rng.IntN(3)))}
			require.NoError(t, dec.Decode(b, in, &d))
			lo := 0
			if d.Len() > 0 {
				for s.Times[lo] != d.Times[0] || s.SeqAt(lo) != d.SeqAt(0) {
					lo++
				}
				part := s.Slice(lo, lo+d.Len())
				requireSame(t, &part, &d.Samples)
				require.Equal(t, CutOrigins(append([]Origin(nil), origins...), lo, lo+d.Len()), d.Origins)
			}
			for i, at := range s.Times {
				require.True(t, !in.Contains(at) || i >= lo && i < lo+d.Len(), "seed %d: sample %d of %v is missing", seed, i, in)
			}
		}
	}
}

// shuffledOrigins is origins of n samples that came in slices of so many, in another order than that of time.
func shuffledOrigins(rng *rand.Rand, n, slice int) (out []Origin) {
	for at := 0; at < n; at += slice {
		out = append(out, Origin{Samples: min(slice, n-at), Source: 1 + uint32(rng.IntN(2)), Ingest: 1_700_000_000 + int64(rng.IntN(20))})
	}
	return out
}

// Samples that came shuffled have an origin a run, of any number of runs; they come back, whole and from the middle, and take
// less than a byte where there are few seconds and sources.
func TestShuffledOriginsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	var e SealedEncoder
	var dec SealedDecoder
	var d Data
	for _, slices := range []int{1, manyOrigins - 1, manyOrigins, manyOrigins + 1, 1023, 1024, 1025, 4000} {
		s := model.Samples{Type: model.Float64}
		for i := range int64(slices * 3) {
			s.Append(model.Sample{Time: i * 1e9, Type: model.Float64})
		}
		origins := shuffledOrigins(rng, s.Len(), 3)
		plain := len(e.Append(nil, &s, []Origin{{Samples: s.Len(), Source: 1, Ingest: 1_700_000_000}}))
		b := e.Append(nil, &s, origins)
		if slices > 1000 {
			require.Less(t, len(b)-plain, slices)
		}
		require.NoError(t, dec.Decode(b, model.All, &d))
		requireSame(t, &s, &d.Samples)
		require.Equal(t, origins, d.Origins)
		in := model.TimeRange{Start: s.Times[s.Len()/2], End: s.Times[s.Len()/2] + 1}
		require.NoError(t, dec.Decode(b, in, &d))
		lo := int(d.Times[0] / 1e9)
		require.Equal(t, CutOrigins(origins, lo, lo+d.Len()), d.Origins)
	}
}

func TestAnyFlippedBitOfASealedChunkIsNoticed(t *testing.T) {
	var e SealedEncoder
	var dec SealedDecoder
	var d Data
	rapid.Check(t, func(t *rapid.T) {
		s := drawSamples(t, 20)
		b := e.Append(nil, &s, drawOrigins(t, s.Len()))
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			require.ErrorIs(t, dec.Decode(b, model.All, &d), ErrCorrupt)
			_, err := Inspect(b)
			require.ErrorIs(t, err, ErrCorrupt)
			b[i/8] ^= 1 << (i % 8)
		}
	})
}

func FuzzDecodeSealed(f *testing.F) {
	var e SealedEncoder
	one, oneFrom := oneSample()
	four, fourFrom := fourSamples()
	f.Add(withoutSum(e.Append(nil, &one, oneFrom)), int64(noon), int64(noon+1))
	f.Add(withoutSum(e.Append(nil, &four, fourFrom)), int64(noon), int64(noon+1e9))
	for typ := model.Float64; typ <= model.Bytes; typ++ {
		s, origins := longSamples(rand.New(rand.NewPCG(uint64(typ), 8)), typ, 2000)
		f.Add(withoutSum(e.Append(nil, &s, origins)), s.Times[500], s.Times[900])
	}
	f.Fuzz(func(t *testing.T, b []byte, from, to int64) {
		var d, again Data
		var dec SealedDecoder
		_ = dec.Decode(b, model.All, &d)
		b = seal(bytes.Clone(b), 0)
		_ = dec.Decode(b, model.TimeRange{Start: from, End: to}, &d)
		if dec.Decode(b, model.All, &d) != nil || d.Len() == 0 {
			return
		}
		var e SealedEncoder
		require.NoError(t, dec.Decode(e.Append(nil, &d.Samples, d.Origins), model.All, &again))
		requireSame(t, &d.Samples, &again.Samples)
		require.Equal(t, d.Origins, again.Origins)
	})
}
