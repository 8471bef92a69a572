package keys

import (
	"bytes"
	"cmp"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// drawTime draws instants near the edges of what a sample may carry, near 1970 and anywhere.
func drawTime(t *rapid.T) int64 {
	return rapid.OneOf(
		rapid.Int64Range(model.MinTime, model.MinTime+2*dayNanos), rapid.Int64Range(model.MaxTime-2*dayNanos, model.MaxTime),
		rapid.Int64Range(-2*dayNanos, 2*dayNanos), rapid.Int64Range(model.MinTime, model.MaxTime),
	).Draw(t, "time")
}

// drawSmall draws numbers around the one where a second form begins.
func drawSmall(t *rapid.T, name string) uint32 {
	return rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32Range(248, 258), rapid.Uint32()).Draw(t, name)
}

// partitionOf is the partition of a span that an instant lies in.
func partitionOf(s Span, at int64) Partition {
	switch s {
	case Hour:
		return Partition{Hour, int32(floorDiv(at, hourNanos))}
	case Month:
		d := time.Unix(0, at).UTC()
		return Partition{Month, int32(d.Year()-1970)*12 + int32(d.Month()) - 1}
	}
	return DayOf(at)
}

func drawChunk(t *rapid.T) Chunk {
	s := rapid.SampledFrom([]Span{Hour, Day, Month}).Draw(t, "span")
	c := Chunk{
		Kind:       Kind(rapid.IntRange(int(Unsealed), int(SealedVersion)).Draw(t, "kind")),
		Generation: rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64()).Draw(t, "generation"),
		Tag:        model.TagID(rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32()).Draw(t, "tag")),
		Stream:     drawSmall(t, "stream"), Seq: drawSmall(t, "seq"), Start: drawTime(t),
	}
	c.Partition = partitionOf(s, c.Start)
	c.End = rapid.Int64Range(c.Start, c.Partition.Range().End-1).Draw(t, "end")
	return c
}

func compareChunks(a, b Chunk) int {
	length := func(c Chunk) int64 { return c.End - c.Start }
	space := func(c Chunk) int {
		if c.Kind.Sealed() {
			return 1
		}
		return 0
	}
	kindFirst, kindLast := cmp.Compare(a.Kind, b.Kind), 0
	if a.Kind.Sealed() {
		kindFirst, kindLast = kindLast, kindFirst
	}
	return cmp.Or(
		cmp.Compare(space(a), space(b)), a.Partition.Compare(b.Partition),
		kindFirst, cmp.Compare(a.Generation, b.Generation), kindLast, cmp.Compare(a.Tag, b.Tag),
		cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Start, b.Start), cmp.Compare(length(a), length(b)), cmp.Compare(a.Seq, b.Seq),
	)
}

// alike makes b share some of a's fields, so that the later ones get to decide.
func alike(t *rapid.T, a, b *Chunk) {
	switch n := rapid.IntRange(0, 5).Draw(t, "alike"); {
	case n >= 5:
		b.Start = a.Start
		b.End = max(a.Start, min(b.End, a.Partition.Range().End-1))
		fallthrough
	case n >= 1:
		if n < 5 {
			in := a.Partition.Range()
			b.Start = rapid.Int64Range(in.Start, in.End-1).Draw(t, "start")
			b.End = rapid.Int64Range(b.Start, in.End-1).Draw(t, "end")
		}
		b.Partition, b.Kind = a.Partition, a.Kind
		if n >= 2 {
			b.Generation = a.Generation
		}
		if n >= 3 {
			b.Tag = a.Tag
		}
		if n >= 4 {
			b.Stream = a.Stream
		}
	}
}

func TestChunkKeysComeBackAndCompareAsTheirFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawChunk(t), drawChunk(t)
		alike(t, &a, &b)
		ka, kb := a.Append(nil), b.Append(nil)
		have, err := DecodeChunk(ka)
		require.NoError(t, err)
		require.Equal(t, a, have)
		require.Equal(t, compareChunks(a, b), bytes.Compare(ka, kb), "%+v %+v", a, b)
		require.True(t, bytes.HasPrefix(ka, AppendGenerationTag(a.Partition, a.Kind, a.Generation, a.Tag)))
		require.True(t, a.Partition.Range().Contains(a.Start))
	})
}

func TestHeaderKeysComeBackAndCompareAsTheirFields(t *testing.T) {
	draw := func(t *rapid.T) Header {
		return Header{
			Level: rapid.Byte().Draw(t, "level"), Tag: model.TagID(rapid.Uint32Range(0, 2).Draw(t, "tag")), Stream: drawSmall(t, "stream"),
			Start: drawTime(t), Generation: rapid.Uint64().Draw(t, "generation"), Seq: drawSmall(t, "seq"),
			Kind: Kind(rapid.IntRange(1, 7).Draw(t, "kind")),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		if rapid.Bool().Draw(t, "one tag") {
			b.Level, b.Tag, b.Stream = a.Level, a.Tag, a.Stream
		}
		if rapid.Bool().Draw(t, "one time") {
			b.Start = a.Start
		}
		if rapid.Bool().Draw(t, "one generation") {
			b.Generation = a.Generation
		}
		ka, kb := a.Append(nil), b.Append(nil)
		have, err := DecodeHeader(ka)
		require.NoError(t, err)
		require.Equal(t, a, have)
		want := cmp.Or(
			cmp.Compare(Period(a.Start), Period(b.Start)), cmp.Compare(a.Level, b.Level), cmp.Compare(a.Tag, b.Tag),
			cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Generation, b.Generation),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Seq, b.Seq),
		)
		require.Equal(t, want, bytes.Compare(ka, kb), "%+v %+v", a, b)
		require.True(t, bytes.HasPrefix(ka, AppendHeaders(nil, Period(a.Start), a.Level, a.Tag, a.Stream)))
	})
}

func TestDirectoryAndTagKeysComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Partition{Span(rapid.IntRange(1, 3).Draw(t, "span")), rapid.Int32().Draw(t, "number")}
		id := rapid.Uint64().Draw(t, "generation")
		for _, s := range []Space{Directory, DirectoryMirror} {
			havePart, haveID, err := DecodeDirectory(AppendDirectory(nil, s, p, id))
			require.NoError(t, err)
			require.Equal(t, p, havePart)
			require.Equal(t, id, haveID)
		}
		tag := model.TagID(rapid.Uint32().Draw(t, "tag"))
		for _, key := range [][]byte{AppendTag(nil, Latest, tag), AppendPartitions(nil, tag, Day)} {
			have, err := DecodeTag(key)
			require.NoError(t, err)
			require.Equal(t, tag, have)
		}
		require.Less(t, bytes.Compare(AppendTag(nil, Latest, tag/2), AppendTag(nil, Latest, tag/2+1)), 0)
	})
}

// TestEveryInstantLiesInItsPartition holds the edges: neighbours meet without a gap, the first and the last partition
// end where samples do.
func TestEveryInstantLiesInItsPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := drawTime(t)
		for _, s := range []Span{Hour, Day, Month} {
			p := partitionOf(s, at)
			in := p.Range()
			require.True(t, in.Contains(at), "%s in %s", model.FormatTime(at), in)
			before, behind := Partition{s, p.Number - 1}, Partition{s, p.Number + 1}
			if in.Start > model.MinTime {
				require.Equal(t, in.Start, before.Range().End)
			}
			if in.End < model.All.End {
				require.Equal(t, in.End, behind.Range().Start)
			}
		}
	})
	require.Equal(t, int64(model.MinTime), DayOf(model.MinTime).Range().Start)
	require.Equal(t, model.All.End, DayOf(model.MaxTime).Range().End)
	require.Equal(t, Partition{Day, -1}, DayOf(-1))
	require.Equal(t, Partition{Day, 0}, DayOf(0))
	require.Equal(t, "1969-12-31", DayOf(-1).String())
	require.Equal(t, "partition -1 of span 3", Partition{Month, -1}.String())
	require.Equal(t, int16(1677), Period(model.MinTime))
	require.Equal(t, int16(2262), Period(model.MaxTime))
	leap := Partition{Month, 12*54 + 1}.Range() // February 2024
	require.Equal(t, 29*dayNanos, leap.End-leap.Start)
}

func TestNextIsTheFirstKeyBehindAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xFE, 0xFF}), 1, 4).Draw(t, "prefix")
		key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xFE, 0xFF}), 0, 6).Draw(t, "key")
		next := Next(prefix)
		inside := bytes.Compare(key, prefix) >= 0 && (next == nil || bytes.Compare(key, next) < 0)
		require.Equal(t, bytes.HasPrefix(key, prefix), inside)
	})
}

func TestHostileKeys(t *testing.T) {
	chunk := (&Chunk{Partition: DayOf(0), Kind: Unsealed, Stream: 251, Seq: 251}).Append(nil)
	header := (&Header{Tag: 1, Stream: 251, Seq: 251}).Append(nil)
	for n := range chunk {
		_, err := DecodeChunk(chunk[:n])
		require.ErrorIs(t, err, ErrCorrupt, "%x", chunk[:n])
	}
	for n := range header {
		_, err := DecodeHeader(header[:n])
		require.ErrorIs(t, err, ErrCorrupt, "%x", header[:n])
	}
	for _, key := range [][]byte{append(chunk, 0), header, {}} {
		_, err := DecodeChunk(key)
		require.ErrorIs(t, err, ErrCorrupt)
	}
	for _, key := range [][]byte{append(header, 0), chunk, {}} {
		_, err := DecodeHeader(key)
		require.ErrorIs(t, err, ErrCorrupt)
	}
	for n := range 20 {
		if n != 14 {
			_, _, err := DecodeDirectory(make([]byte, n))
			require.ErrorIs(t, err, ErrCorrupt)
		}
		if n < 5 {
			_, err := DecodeTag(make([]byte, n))
			require.ErrorIs(t, err, ErrCorrupt)
		}
	}
}

// TestSmallNumbersHaveOneForm: two keys of one name would be two rows of it.
func TestSmallNumbersHaveOneForm(t *testing.T) {
	for v := range uint32(300) {
		b := appendSmall(nil, v)
		have, rest, ok := takeSmall(b)
		require.True(t, ok)
		require.Empty(t, rest)
		require.Equal(t, v, have)
	}
	for _, b := range [][]byte{{251}, {254}, {255, 0, 0, 0}, {255, 0, 0, 0, 250}, {255, 0, 0, 0, 0}} {
		_, _, ok := takeSmall(b)
		require.False(t, ok, "%x", b)
	}
	_, _, ok := takeSmall(appendSmall(nil, math.MaxUint32))
	require.True(t, ok)
}

func FuzzKeys(f *testing.F) {
	f.Add((&Chunk{Partition: DayOf(0), Kind: Unsealed, Tag: 1, Stream: 251, End: 5, Seq: 251}).Append(nil))
	f.Add((&Header{Tag: 1, Start: -1, Generation: 3}).Append(nil))
	f.Add(AppendDirectory(nil, Directory, DayOf(-1), 7))
	f.Fuzz(func(t *testing.T, key []byte) {
		if c, err := DecodeChunk(key); err == nil {
			require.Equal(t, key, c.Append(nil))
		} else {
			require.ErrorIs(t, err, ErrCorrupt)
		}
		if h, err := DecodeHeader(key); err == nil {
			require.Equal(t, key[3:], h.Append(nil)[3:]) // the period follows from the start; readers do not look at it
		} else {
			require.ErrorIs(t, err, ErrCorrupt)
		}
		if p, id, err := DecodeDirectory(key); err == nil {
			require.Equal(t, key[1:], AppendDirectory(nil, Directory, p, id)[1:])
		} else {
			require.ErrorIs(t, err, ErrCorrupt)
		}
		if _, err := DecodeTag(key); err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
		}
	})
}
