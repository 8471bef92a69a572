package chunk

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

var hostileBits = []uint64{0, 1, 1 << 63, math.MaxUint64, 1<<53 + 1, 0x7FF8000000000001, 0x7FF0000000000001, 0xFFF8DEADBEEF0001, math.Float64bits(math.Inf(-1)), math.Float64bits(20.01)}

// drawSamples draws 1 to most samples of any type, ascending, with every kind of column now and then.
func drawSamples(t *rapid.T, most int) model.Samples {
	s := model.Samples{}
	s.Reset(rapid.Custom(func(t *rapid.T) model.Type { return model.Type(rapid.IntRange(1, 8).Draw(t, "type")) }).Draw(t, "type"))
	n := rapid.IntRange(1, most).Draw(t, "n")
	at := rapid.OneOf(rapid.SampledFrom([]int64{model.MinTime, -1, 0, 1767225600e9}), rapid.Int64Range(model.MinTime, 0)).Draw(t, "first")
	step := rapid.SampledFrom([]int64{1, 1e3, 1e6, 1e9, 3600e9}).Draw(t, "step")
	qualities := rapid.SampledFrom([][]model.Quality{{model.Good}, {model.Good, model.BadNoData}, {model.Good, 0xFFFFFFFF, model.Uncertain}}).Draw(t, "qualities")
	nulls, several := rapid.Bool().Draw(t, "nulls"), rapid.Bool().Draw(t, "several at one time")
	text := rapid.OneOf(rapid.Just([]byte{}), rapid.SampledFrom([][]byte{[]byte("RUN"), []byte("STOP")}), rapid.SliceOfN(rapid.Byte(), 0, 50))
	seq := uint32(0)
	for i := range n {
		x := model.Sample{Quality: rapid.SampledFrom(qualities).Draw(t, "quality"), Null: nulls && rapid.Bool().Draw(t, "null")}
		if several && i > 0 && rapid.IntRange(0, 3).Draw(t, "same time") == 0 {
			seq += rapid.Uint32Range(1, 3).Draw(t, "seq")
		} else {
			seq = 0
			if i > 0 {
				at += step * rapid.Int64Range(1, 5).Draw(t, "steps")
			}
		}
		x.Time, x.Seq = at, seq
		switch {
		case x.Null:
			if s.Type.Blob() {
				x.Blob = []byte{}
			}
		case s.Type.Blob():
			x.Blob = text.Draw(t, "text")
		case s.Type == model.Bool:
			x.Bits = rapid.Uint64Range(0, 1).Draw(t, "bool")
		default:
			x.Bits = rapid.OneOf(rapid.SampledFrom(hostileBits), rapid.Uint64()).Draw(t, "bits")
			if s.Type == model.Float32 {
				x.Bits >>= 32
			}
		}
		s.Append(x)
	}
	return s
}

func drawOrigins(t *rapid.T, n int) []Origin {
	var out []Origin
	for left := n; left > 0; {
		o := Origin{Samples: rapid.IntRange(1, left).Draw(t, "run"), Source: rapid.Uint32().Draw(t, "source"), Ingest: rapid.Int64Range(-1<<40, 1<<40).Draw(t, "ingest")}
		out = append(out, o)
		left -= o.Samples
	}
	return out
}

func requireSame(t require.TestingT, want *model.Samples, got *model.Samples) {
	require.Equal(t, want.Type, got.Type)
	require.Equal(t, want.Len(), got.Len())
	require.NoError(t, got.Check())
	for i := range want.Len() {
		w, g := want.At(i), got.At(i)
		require.Equal(t, string(w.Blob), string(g.Blob), "sample %d", i)
		w.Blob, g.Blob = nil, nil
		require.Equal(t, w, g, "sample %d", i)
	}
}

func TestChunkComesBack(t *testing.T) {
	var e Encoder
	var d Data // reused, as readers do
	rapid.Check(t, func(t *rapid.T) {
		s := drawSamples(t, 60)
		var origins []Origin
		if rapid.Bool().Draw(t, "with origins") {
			origins = drawOrigins(t, s.Len())
		}
		b := e.Append([]byte("before"), &s, origins)[6:]

		require.NoError(t, Decode(b, &d))
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

func TestAnyFlippedBitIsNoticed(t *testing.T) {
	var e Encoder
	var d Data
	rapid.Check(t, func(t *rapid.T) {
		s := drawSamples(t, 20)
		b := e.Append(nil, &s, drawOrigins(t, s.Len()))
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			_, err := Inspect(b)
			require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
			require.ErrorIs(t, Decode(b, &d), ErrCorrupt, "bit %d", i)
			require.Zero(t, d.Len())
			b[i/8] ^= 1 << (i % 8)
		}
	})
}

func TestPackComesBack(t *testing.T) {
	var p Packer
	var e Encoder
	rapid.Check(t, func(t *rapid.T) {
		want := map[model.TagID]string{}
		tag := model.TagID(0)
		for range rapid.IntRange(0, 20).Draw(t, "chunks") {
			tag += model.TagID(rapid.Uint32Range(1, 1<<27).Draw(t, "tag"))
			s := drawSamples(t, 3)
			b := e.Append(nil, &s, nil)
			p.Add(tag, b)
			want[tag] = string(b)
		}
		require.Equal(t, len(want), p.Len())
		atMost := p.Bytes()
		pack := p.Finish(nil)
		require.LessOrEqual(t, len(pack), atMost)
		require.Zero(t, p.Len())

		for tag, b := range want {
			got, ok, err := Find(pack, tag)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, b, string(got))
		}
		_, ok, err := Find(pack, tag+1)
		require.NoError(t, err)
		require.False(t, ok)
		seen := 0
		require.NoError(t, Each(pack, func(tag model.TagID, chunk []byte) error {
			require.Equal(t, want[tag], string(chunk))
			seen++
			return nil
		}))
		require.Equal(t, len(want), seen)
	})
}

func drawVersion(t *rapid.T) VersionRow {
	s := drawSamples(t, 1)
	r := VersionRow{
		Sample: s.At(0), Kind: model.VersionKind(rapid.IntRange(1, 3).Draw(t, "kind")), Current: rapid.Bool().Draw(t, "current"),
		Offset: rapid.Uint64().Draw(t, "offset"), Index: rapid.Uint32().Draw(t, "index"), Ingest: rapid.Int64().Draw(t, "ingest"), Source: rapid.Uint32().Draw(t, "source"),
	}
	r.Seq = rapid.Uint32().Draw(t, "seq")
	if rapid.Bool().Draw(t, "edited") {
		r.Author, r.Reason = rapid.String().Draw(t, "author"), rapid.String().Draw(t, "reason")
	}
	if r.Null || len(r.Blob) == 0 {
		r.Blob = nil
	}
	return r
}

func TestVersionsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(drawVersion), 0, 8).Draw(t, "rows")
		b := AppendVersions([]byte("before"), rows)[6:]
		got, err := DecodeVersions(b)
		require.NoError(t, err)
		require.Len(t, got, len(rows))
		for i := range rows {
			if len(got[i].Blob) == 0 {
				got[i].Blob = nil
			}
			require.Equal(t, rows[i], got[i])
		}
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			_, err := DecodeVersions(b)
			require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
			b[i/8] ^= 1 << (i % 8)
		}
	})
}

func drawDeletion(t *rapid.T) Deletion {
	d := Deletion{Offset: rapid.Uint64().Draw(t, "offset")}
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		d.Time, d.Seq = rapid.Int64().Draw(t, "time"), rapid.Uint32().Draw(t, "seq")
	case 1:
		d.Time, d.All = rapid.Int64().Draw(t, "time"), true
	case 2:
		d.From, d.To = rapid.Int64().Draw(t, "from"), rapid.Int64Range(1, math.MaxInt64).Draw(t, "to")
	}
	return d
}

func TestDeletionsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawDeletion), 0, 8).Draw(t, "deletions")
		b := AppendDeletions([]byte("before"), want)[6:]
		got, err := DecodeDeletions(b)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			_, err := DecodeDeletions(b)
			require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
			b[i/8] ^= 1 << (i % 8)
		}
	})
}
