package record

import (
	"bytes"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

var allTypes = []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}

// drawTimes draws times of every shape a run has an encoding for, and of none.
func drawTimes(t *rapid.T, n int) []int64 {
	times := make([]int64, n)
	at := rapid.Int64().Draw(t, "first")
	unit := rapid.SampledFrom([]int64{1, 1e3, 1e6, 1e9}).Draw(t, "unit")
	step := rapid.Int64Range(-3, 3).Draw(t, "step")
	shape := rapid.SampledFrom([]string{"step", "unit", "any"}).Draw(t, "shape")
	for i := range times {
		times[i] = at
		switch shape {
		case "step":
			at += step * unit
		case "unit":
			at += rapid.Int64Range(-300, 300).Draw(t, "delta") * unit
		default:
			at = rapid.Int64().Draw(t, "time")
		}
	}
	return times
}

// drawRun draws a run as the store writes it.
func drawRun(t *rapid.T) Run {
	r := Run{
		Tag:  model.TagID(rapid.Uint32Range(1, math.MaxUint32).Draw(t, "tag")),
		Mode: model.WriteMode(rapid.IntRange(1, 6).Draw(t, "mode")),
		All:  rapid.Bool().Draw(t, "all"),
	}
	n := rapid.IntRange(1, 20).Draw(t, "samples")
	s := &r.Samples
	s.Type = rapid.SampledFrom(allTypes).Draw(t, "type")
	s.Times = drawTimes(t, n)
	if rapid.Bool().Draw(t, "has seq") {
		s.Seq = rapid.SliceOfN(rapid.Uint32(), n, n).Draw(t, "seq")
	}
	if r.Mode == model.Remove {
		return r
	}
	if s.Type.Blob() {
		s.Blobs = rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 8), n, n).Draw(t, "blobs")
	} else {
		s.Bits = drawBits(t, s.Type, n)
	}
	if rapid.Bool().Draw(t, "has quality") {
		codes := rapid.SampledFrom([]model.Quality{model.Good, model.Uncertain, model.BadNoData, math.MaxUint32})
		s.Quality = rapid.SliceOfN(codes, n, n).Draw(t, "quality")
	}
	if rapid.Bool().Draw(t, "has null") {
		s.Null = rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "null")
	}
	return r
}

func drawBits(t *rapid.T, ty model.Type, n int) []uint64 {
	top := uint64(math.MaxUint64)
	switch width(ty) {
	case 1:
		top = 1
	case 4:
		top = math.MaxUint32
	}
	bits := rapid.SliceOfN(rapid.Uint64Range(0, top), n, n).Draw(t, "bits")
	if rapid.Bool().Draw(t, "same") {
		for i := range bits {
			bits[i] = bits[0]
		}
	}
	return bits
}

func drawIdentity(t *rapid.T, kind Kind) Identity {
	id := Identity{
		Source: rapid.SampledFrom([]string{"", "plc-7"}).Draw(t, "source"),
		Origin: rapid.Int64().Draw(t, "origin"), Stream: rapid.Uint32().Draw(t, "stream"),
	}
	if id.Source != "" {
		id.Epoch, id.Sequence = rapid.Uint64().Draw(t, "epoch"), rapid.Uint64().Draw(t, "sequence")
		id.Import, id.ContentHash = rapid.Bool().Draw(t, "import"), rapid.Uint64().Draw(t, "hash")
	}
	if kind == Edit {
		id.Author, id.Reason = rapid.String().Draw(t, "author"), rapid.String().Draw(t, "reason")
	}
	return id
}

func appendBatch(kind Kind, id *Identity, runs []Run) []byte {
	b := AppendIdentity(nil, kind, id, len(runs))
	for i := range runs {
		base := int64(0)
		if i > 0 {
			base = runs[0].Samples.Times[0]
		}
		r := &runs[i]
		b = AppendRun(b, r.Tag, r.Mode, r.All, &r.Samples, base)
	}
	return b
}

// requireRun holds the columns against each other by value: a column that a run lacks may come back empty.
func requireRun(t require.TestingT, want, have Run) {
	require.Equal(t, []any{want.Tag, want.Mode, want.All, want.Samples.Type}, []any{have.Tag, have.Mode, have.All, have.Samples.Type})
	w, h := want.Samples, have.Samples
	require.Equal(t, w.Times, h.Times)
	require.True(t, slices.Equal(w.Bits, h.Bits), "values %x, want %x", h.Bits, w.Bits)
	require.True(t, slices.EqualFunc(w.Blobs, h.Blobs, bytes.Equal), "values %x, want %x", h.Blobs, w.Blobs)
	require.Equal(t, w.Quality, h.Quality)
	require.Equal(t, w.Null, h.Null)
	require.Equal(t, w.Seq, h.Seq)
}

func TestBatchesComeBackBitForBit(t *testing.T) {
	var run Run // reused, as the applying goroutine does
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Kind{Samples, Edit}).Draw(t, "kind")
		id := drawIdentity(t, kind)
		runs := rapid.SliceOfN(rapid.Custom(drawRun), 0, 4).Draw(t, "runs")
		body := appendBatch(kind, &id, runs)
		var b Batch
		require.NoError(t, b.Open(kind, body))
		require.Equal(t, id, b.Identity)
		for _, want := range runs {
			ok, err := b.Next(&run)
			require.NoError(t, err)
			require.True(t, ok)
			requireRun(t, want, run)
		}
		ok, err := b.Next(&run)
		require.NoError(t, err)
		require.False(t, ok)
	})
}

// TestEveryCutOfABatchIsRefused holds that a body says by itself where it ends.
func TestEveryCutOfABatchIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := drawIdentity(t, Edit)
		body := appendBatch(Edit, &id, rapid.SliceOfN(rapid.Custom(drawRun), 1, 3).Draw(t, "runs"))
		for n := range body {
			require.ErrorIs(t, readBatch(Edit, body[:n]), ErrCorrupt, "%d of %d bytes", n, len(body))
		}
		require.NoError(t, readBatch(Edit, body))
		require.ErrorIs(t, readBatch(Edit, append(body, 0)), ErrCorrupt)
	})
}

// readBatch decodes a whole body and returns what is wrong with it. It panics where the columns of a run do not fit
// together, or took more memory than their bytes can need.
func readBatch(kind Kind, body []byte) error {
	var b Batch
	var run Run
	if err := b.Open(kind, body); err != nil {
		return err
	}
	for total := 0; total < 4*MaxRunSamples; total += run.Samples.Len() {
		left := len(b.r.b)
		ok, err := b.Next(&run)
		if !ok {
			return err
		}
		s := &run.Samples
		if run.Mode == model.Remove {
			if len(s.Bits) != 0 || len(s.Blobs) != 0 {
				panic("a removal has values")
			}
		} else if err := s.Check(); err != nil {
			panic(err)
		}
		if s.Len() > MaxRunSamples {
			panic("more samples than MaxRunSamples")
		}
		if s.Len() > left && len(s.Bits) > 0 && slices.Max(s.Bits) != slices.Min(s.Bits) {
			panic("values without bytes")
		}
	}
	return nil
}

// TestFlippedBytesNeverPanic flips every bit of a batch with runs of every type. The log's checksum finds the flip; here
// it only must not take the process down.
func TestFlippedBytesNeverPanic(t *testing.T) {
	id := Identity{Source: "plc-7", Epoch: 1, Sequence: 2, ContentHash: 3, Author: "mara", Reason: "typo"}
	var runs []Run
	for i, ty := range allTypes {
		s := model.Samples{Type: ty}
		for k := range 12 {
			x := model.Sample{Time: int64(k*k) * 1e6, Type: ty, Seq: uint32(k & 1), Null: k == 3, Quality: model.Quality(k/4) << 30}
			if ty.Blob() {
				x.Blob = []byte("text")
			} else {
				x.Bits = uint64(k & 1)
			}
			s.Append(x)
		}
		runs = append(runs, Run{Tag: model.TagID(i + 1), Mode: model.Update, Samples: s})
	}
	body := appendBatch(Edit, &id, runs)
	require.NoError(t, readBatch(Edit, body))
	for bit := range 8 * len(body) {
		body[bit/8] ^= 1 << (bit % 8)
		if err := readBatch(Edit, body); err != nil {
			require.ErrorIs(t, err, ErrCorrupt, "bit %d", bit)
		}
		body[bit/8] ^= 1 << (bit % 8)
	}
}

// TestTimesTakeTheCoarsestUnitThatLosesNothing holds each unit, and what lies just off it.
func TestTimesTakeTheCoarsestUnitThatLosesNothing(t *testing.T) {
	require.Equal(t, byte(timesStep), timeEncoding([]int64{5}))
	require.Equal(t, byte(timesStep), timeEncoding([]int64{5, 7, 9}))
	for enc, unit := range map[byte]int64{timesSecond: 1e9, timesMilli: 1e6, timesMicro: 1e3, timesNano: 1} {
		require.Equal(t, enc, timeEncoding([]int64{5, 5 + unit, 5 + 3*unit}))
		require.Equal(t, enc, timeEncoding([]int64{5, 5 - unit, 5 + 2*unit}))
		for off := unit / 10; off > 0; off /= 10 {
			require.Less(t, timeEncoding([]int64{5, 5 + unit, 5 + 3*unit + off}), enc)
			require.Less(t, timeEncoding([]int64{5, 5 + unit + off, 5 + 3*unit}), enc)
		}
	}
}

// TestHostileRuns holds what a run may not be, and that refusing it takes no memory on the word of its count.
func TestHostileRuns(t *testing.T) {
	front := AppendIdentity(nil, Samples, &Identity{}, 1)
	shape := func(t model.Type, times byte) byte { return byte(t) | times }
	for name, run := range map[string][]byte{
		"no such mode":              {7, shape(model.Int64, timesStep), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"mode 0":                    {0, shape(model.Int64, timesStep), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"no such type":              {1, shape(9, timesStep), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"type 0":                    {1, shape(0, timesStep), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"tag 0":                     {1, shape(model.Bool, timesStep), 0, 1, 0, 0, 1},
		"tag of 33 bits":            {1, shape(model.Bool, timesStep), 0x81, 0x80, 0x80, 0x80, 0x10, 1, 0, 0, 1},
		"no samples":                {1, shape(model.Bool, timesStep), 1, 0, 0, 0},
		"no such times":             {1, shape(model.Bool, 6<<4), 1, 1, 0, 0, 1},
		"times 0":                   {1, shape(model.Bool, 0), 1, 1, 0, 0, 1},
		"one text for all":          {1 | runSame, shape(model.String, timesStep), 1, 2, 0, 0, 1, 'a'},
		"seq of 33 bits":            {1 | runSeq, shape(model.Bool, timesStep), 1, 1, 0, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x10},
		"quality of none":           {1 | runQuality, shape(model.Bool, timesStep), 1, 1, 0, 0, 1, 0, 0, 0, 0, 0},
		"quality of too many":       {1 | runQuality, shape(model.Bool, timesStep), 1, 1, 0, 0, 1, 2, 0, 0, 0, 0},
		"number of 11 bytes":        {1, shape(model.Bool, timesStep), 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1, 0, 0, 1},
		"2^40 samples":              {1, shape(model.Int64, timesNano), 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0},
		"2^40 samples, all alike":   {1 | runSame, shape(model.Bool, timesStep), 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0, 1},
		"2^40 removals":             {6, shape(model.Bool, timesStep), 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0},
		"a text of 2^40 bytes":      {1, shape(model.String, timesStep), 1, 1, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 'a'},
		"more texts than bytes":     {1, shape(model.String, timesStep), 1, 200, 1, 0, 0, 0},
		"something behind the run":  {1, shape(model.Bool, timesStep), 1, 1, 0, 0, 1, 0},
		"nothing where a run is":    {},
		"null flags that end early": {1 | runNull, shape(model.Bool, timesStep), 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			body := append(slices.Clone(front), run...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := readBatch(Samples, body)
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, ErrCorrupt)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10))
		})
	}
}

// TestFreeRunsAreBounded: the times and values of a step run of one value take no bytes of their own, so that its count
// is bounded by MaxRunSamples and not by the bytes there are.
func TestFreeRunsAreBounded(t *testing.T) {
	for _, n := range []int{MaxRunSamples, MaxRunSamples + 1} {
		s := model.Samples{Type: model.Float64, Times: make([]int64, n), Bits: make([]uint64, n)}
		for i := range s.Times {
			s.Times[i] = int64(i) * 1e9
			s.Bits[i] = 7
		}
		body := appendBatch(Samples, &Identity{}, []Run{{Tag: 1, Mode: model.Update, Samples: s}})
		require.Less(t, len(body), 32)
		if n <= MaxRunSamples {
			require.NoError(t, readBatch(Samples, body))
		} else {
			require.ErrorIs(t, readBatch(Samples, body), ErrCorrupt)
		}
	}
}

func TestHostileCountsBeforeTheRuns(t *testing.T) {
	for name, body := range map[string][]byte{
		"empty":                   {},
		"source of 2^40 bytes":    {0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 'a'},
		"stream of 33 bits":       {0, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0},
		"2^40 runs":               {0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 1, 1, 1},
		"ends inside the epoch":   {1, 'a', 0, 1, 2, 3},
		"runs of fewer than four": {0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1},
	} {
		var b Batch
		require.ErrorIs(t, b.Open(Samples, body), ErrCorrupt, name)
	}
}
