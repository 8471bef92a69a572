package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/compression/encoding"
	"github.com/varvedb/varve/model"
)

// reseal is b, changed at i, under a checksum that is right again.
func reseal(b []byte, i int, to byte) []byte {
	b = bytes.Clone(b[:len(b)-crcBytes])
	b[i] = to
	return seal(b, 0)
}

func TestNewerVersionIsNoDamage(t *testing.T) {
	one := examples()["chunk-one-sample"]
	var d Data
	for v := byte(2); v < 16; v++ {
		_, err := Inspect(reseal(one, 0, kindChunk|v))
		require.ErrorIs(t, err, ErrVersion)
		err = Decode(reseal(one, 0, kindChunk|v), &d)
		require.ErrorIs(t, err, ErrVersion)
		require.NotErrorIs(t, err, ErrCorrupt)
		_, err = DecodeVersions(reseal(examples()["versions-two"], 0, kindVersions|v))
		require.ErrorIs(t, err, ErrVersion)
		_, err = DecodeDeletions(reseal(examples()["deletions-three"], 0, kindDeletions|v))
		require.ErrorIs(t, err, ErrVersion)

		pack := bytes.Clone(examples()["pack-two-tags"])
		pack[0] = kindPack | v
		_, _, err = Find(pack, 7)
		require.ErrorIs(t, err, ErrCorrupt, "the checksum is still that of version 1")
		binary.LittleEndian.PutUint32(pack[7:], binary.LittleEndian.Uint32(seal(bytes.Clone(pack[:7]), 0)[7:]))
		_, _, err = Find(pack, 7)
		require.ErrorIs(t, err, ErrVersion)
	}
	for _, first := range []byte{0, kindChunk, kindPack | version, 0xF1} {
		require.ErrorIs(t, Decode(reseal(one, 0, first), &d), ErrCorrupt, "first byte %#x", first)
	}
}

func TestNewerCodecOfAColumnIsNoDamage(t *testing.T) {
	var d Data
	for _, at := range []int{3, 9} { // first byte of the time and of the value column
		b := reseal(examples()["chunk-one-sample"], at, 0x77)
		err := Decode(b, &d)
		require.ErrorIs(t, err, ErrVersion, "byte %d", at)
		require.ErrorIs(t, err, encoding.ErrVersion, "byte %d", at)
		require.NotErrorIs(t, err, ErrCorrupt, "byte %d", at)
		err = Decode(reseal(b, at, 0), &d)
		require.ErrorIs(t, err, ErrCorrupt, "byte %d", at)
		require.ErrorIs(t, err, encoding.ErrCorrupt, "byte %d", at)
	}
}

// Origins in columns that do not fit the chunk, under a right checksum, are damage and not a panic or a lie about samples.
func TestHostileOriginColumns(t *testing.T) {
	var dec SealedDecoder
	var d Data
	good := examples()["sealed-shuffled"]
	at := bytes.Index(good, []byte{0, 16}) // where the columns begin
	require.Positive(t, at)
	for i := at; i < len(good)-crcBytes; i++ {
		for to := range 256 {
			b := reseal(good, i, byte(to))
			if err := dec.Decode(b, model.All, &d); err != nil {
				require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "byte %d is %#x: %v", i, to, err)
				continue
			}
			n := 0
			for _, o := range d.Origins {
				require.Positive(t, o.Samples)
				n += o.Samples
			}
			require.Equal(t, d.Len(), n, "byte %d is %#x", i, to)
		}
	}
	for _, count := range []byte{0, 1, manyOrigins - 1, 17, 0x7F} { // fewer than make columns, more than there are samples
		require.ErrorIs(t, dec.Decode(reseal(good, at+1, count), model.All, &d), ErrCorrupt, "%d origins", count)
	}
	require.ErrorIs(t, Decode(reseal(examples()["chunk-one-sample"], 13, 0), &d), ErrCorrupt, "an unsealed chunk has a list")
}

func TestFlippedPackNeverLies(t *testing.T) {
	want := examples()
	pack := bytes.Clone(want["pack-two-tags"])
	var d Data
	one, oneFrom := oneSample()
	four, fourFrom := fourSamples()
	for i := range len(pack) * 8 {
		pack[i/8] ^= 1 << (i % 8)
		readable := 0
		for _, tag := range []model.TagID{7, 300} {
			b, ok, err := Find(pack, tag)
			if err == nil {
				require.True(t, ok, "bit %d: tag %d is gone without an error", i, tag)
				err = Decode(b, &d)
			}
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
				continue
			}
			readable++
			if tag == 7 {
				requireSame(t, &one, &d.Samples)
				require.Equal(t, oneFrom, d.Origins)
			} else {
				requireSame(t, &four, &d.Samples)
				require.Equal(t, fourFrom, d.Origins)
			}
		}
		require.Less(t, readable, 2, "bit %d was not noticed", i)
		if i/8 >= 11 {
			require.Equal(t, 1, readable, "bit %d of one chunk took the other with it", i)
		}
		pack[i/8] ^= 1 << (i % 8)
	}
}

func TestCountsAreCheckedBeforeMemory(t *testing.T) {
	var d Data
	for _, count := range []uint64{0, MaxSamples + 1, 1 << 40, 1<<64 - 1} {
		b := append([]byte{kindChunk | version, byte(model.Int64)}, binary.AppendUvarint(nil, count)...)
		b = seal(append(b, 0x91, 0x02, 0x02, 0x01, 0x02), 0) // a grid and a constant fit any count
		before := allocated()
		require.ErrorIs(t, Decode(b, &d), ErrCorrupt)
		_, err := Inspect(b)
		require.ErrorIs(t, err, ErrCorrupt)
		rows := append([]byte{kindVersions | version}, binary.AppendUvarint(nil, count|1<<30)...)
		_, err = DecodeVersions(seal(rows, 0))
		require.ErrorIs(t, err, ErrCorrupt)
		rows[0] = kindDeletions | version
		_, err = DecodeDeletions(seal(rows, 0))
		require.ErrorIs(t, err, ErrCorrupt)
		require.Less(t, allocated()-before, uint64(64<<10), "count %d", count)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestLimitsComeBack(t *testing.T) {
	var e Encoder
	var d Data
	most := model.Samples{Type: model.Uint64, Times: make([]int64, MaxSamples), Bits: make([]uint64, MaxSamples)}
	for i := range most.Times {
		most.Times[i] = model.MinTime + int64(i)*(1<<48) // to nearly the end of time: the sum wraps
		most.Bits[i] = uint64(i) * 0x9E3779B97F4A7C15
	}
	large := model.Samples{Type: model.Bytes, Times: []int64{model.MinTime, 0, model.MaxTime}, Blobs: [][]byte{make([]byte, model.MaxBlobBytes), {}, []byte("x")}}
	for i := range large.Blobs[0] {
		large.Blobs[0][i] = byte(i * i >> 8)
	}
	for _, s := range []model.Samples{most, large, most} {
		b := e.Append(nil, &s, nil)
		require.NoError(t, Decode(b, &d))
		clear(b) // what was decoded does not point into it
		requireSame(t, &s, &d.Samples)
		part := d.Slice(1, s.Len()) // columns of other types do not get in the way
		require.NoError(t, part.Check())
	}
}

// TestDisorderIsDamage reads a chunk whose checksum is right and whose times run backwards.
func TestDisorderIsDamage(t *testing.T) {
	b := []byte{kindChunk | version, byte(model.Int64), 2}
	b = encoding.AppendInts(encoding.AppendTimes(b, []int64{2e9, 1e9}), []uint64{1, 2})
	var d Data
	require.ErrorIs(t, Decode(seal(b, 0), &d), ErrCorrupt)
}

func TestMistakesOfTheCallerPanic(t *testing.T) {
	one, _ := oneSample()
	var e Encoder
	empty := model.Samples{Type: model.Float64}
	back := model.Samples{Type: model.Int64, Times: []int64{2, 1}, Bits: []uint64{0, 0}}
	twice := model.Samples{Type: model.Int64, Times: []int64{1, 1}, Bits: []uint64{0, 0}}
	short := model.Samples{Type: model.Int64, Times: []int64{1, 2}, Bits: []uint64{0}}
	for _, s := range []model.Samples{empty, back, twice, short} {
		require.Panics(t, func() { e.Append(nil, &s, nil) })
	}
	require.Panics(t, func() { e.Append(nil, &one, []Origin{{Samples: 2}}) })
	require.Panics(t, func() { e.Append(nil, &one, []Origin{{Samples: 1}, {Samples: 0}}) })
	require.Panics(t, func() { AppendVersions(nil, []VersionRow{{}}) })
	var p Packer
	p.Add(2, []byte{1})
	require.Panics(t, func() { p.Add(2, []byte{1}) })
}

func TestEachEndsOnTheErrorOfItsFunction(t *testing.T) {
	stop := errors.New("enough")
	calls := 0
	require.Equal(t, stop, Each(examples()["pack-two-tags"], func(model.TagID, []byte) error { calls++; return stop }))
	require.Equal(t, 1, calls)
}

// TestSizesHold keeps what the page promises about sizes.
func TestSizesHold(t *testing.T) {
	var e Encoder
	total, samples := 0, 0
	for _, s := range plantChunks("mix", 400) {
		b := e.Append(nil, &s, origin(&s))
		total, samples = total+len(b), samples+s.Len()
		columns := len(encoding.AppendTimes(nil, s.Times)) + len(encoding.AppendFloat64s(nil, s.Bits))
		require.LessOrEqual(t, len(b)-columns, 13)
	}
	require.LessOrEqual(t, float64(total)/float64(samples), 3.9, "bytes a sample")
	var p Packer
	one, from := oneSample()
	chunk := e.Append(nil, &one, from)
	p.Add(1000, chunk)
	first := p.Bytes()
	p.Add(1200, chunk)
	require.LessOrEqual(t, p.Bytes()-first, 24)
}

func TestCodecsDoNotAllocate(t *testing.T) {
	chunks := plantChunks("mix", 400)
	var e Encoder
	var d Data
	buf := make([]byte, 0, 16<<10)
	for i := range chunks {
		buf = e.Append(buf[:0], &chunks[i], origin(&chunks[i]))
		require.NoError(t, Decode(buf, &d))
	}
	require.Zero(t, testing.AllocsPerRun(5, func() {
		for i := range chunks {
			s := &chunks[i]
			from := [1]Origin{{Samples: s.Len(), Source: 3}}
			buf = e.Append(buf[:0], s, from[:])
			if err := Decode(buf, &d); err != nil {
				panic(err)
			}
		}
	}))
}
