package query

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/rollup"
)

// TestProcessedValuesAreThoseOfWholeHistory holds the answer to each question, which sees a window at a time, against the calculation on
// partials of all samples before, in and behind each interval.
func TestProcessedValuesAreThoseOfWholeHistory(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 29))
		typ := []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String}[rng.IntN(7)]
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped() || rng.IntN(2) == 0}}}
		b := randomBlock(rng, typ)
		store := &plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}
		for range rng.IntN(8) {
			store.notes = append(store.notes, int64(rng.IntN(1200)))
		}
		e, err := New(store, Options{})
		require.NoError(t, err)
		r := ProcessedRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: int64(rng.IntN(600)), End: int64(rng.IntN(1200)), Step: int64(rng.IntN(200))},
			Resolution: 1 + int64(rng.IntN(5)),
			Configuration: part13.Configuration{
				TreatUncertainAsBad: rng.IntN(2) == 0, PercentDataBad: 50 + uint8(rng.IntN(51)), PercentDataGood: 50 + uint8(rng.IntN(51)),
				SlopedExtrapolation: rng.IntN(2) == 0,
			},
		}
		if r.Start == r.End {
			continue
		}
		for i := range part13.Names() {
			if f := part13.Aggregate(i + 1); f.Of(typ) {
				r.Functions = append(r.Functions, Standard(f))
			}
		}
		if rng.IntN(2) == 0 {
			stepped := rng.IntN(2) == 0
			r.Stepped = &stepped
		}
		rec := readProcessed(t, e, r)
		buckets, err := r.buckets()
		require.NoError(t, err)
		edges := buckets.edges
		n := len(r.Functions)
		require.Equal(t, int64((len(edges)-1)*n), rec.NumRows())
		for i := range len(edges) - 1 {
			iv := wholeHistory(&b.Samples, edges[i], edges[i+1], r.Configuration.TreatUncertainAsBad)
			iv.Resolution = r.Resolution
			for _, at := range store.notes {
				if edges[i] < edges[i+1] && at >= edges[i] && at < edges[i+1] || at <= edges[i] && at > edges[i+1] {
					iv.Annotations++
				}
			}
			iv.Stepped = typ.AlwaysStepped() || r.Stepped == nil && tag.Settings[0].Stepped || r.Stepped != nil && *r.Stepped
			iv.Short = r.Step > 0 && i > 0 && i == len(edges)-2 && distance(edges[i], edges[i+1]) < uint64(r.Step)
			var c part13.Calculation
			c.Reset(typ, iv, r.Configuration)
			for k, f := range r.Functions {
				row := i*n + k
				want := c.Result(f.standard)
				where := fmt.Sprintf("seed %d, %s of %d to %d", seed, f, edges[i], edges[i+1])
				require.Equal(t, want.Time, int64(rec.Column(0).(*array.Timestamp).Value(row)), where)
				require.Equal(t, edges[i], int64(rec.Column(2).(*array.Timestamp).Value(row)), where)
				require.Equal(t, edges[i+1], int64(rec.Column(3).(*array.Timestamp).Value(row)), where)
				require.Equal(t, want.Quality.Text(), model.Quality(rec.Column(8).(*array.Uint32).Value(row)).Text(), where)
				requireValue(t, want, f, rec, row, where)
			}
		}
		rec.Release()
	}
}

// randomBlock is samples at uneven times, some of them Bad, Uncertain or null, with runs of what is not Good.
func randomBlock(rng *rand.Rand, typ model.Type) *storage.Block {
	b := &storage.Block{Samples: model.Samples{Type: typ}}
	at, q := int64(rng.IntN(400)), model.Good
	for range rng.IntN(60) {
		if rng.IntN(3) == 0 {
			q = []model.Quality{model.Good, model.Good, model.Uncertain, model.UncertainLastUsableValue, model.BadSensorFailure}[rng.IntN(5)]
		}
		x := model.Sample{Time: at, Type: typ, Quality: q, Null: rng.IntN(12) == 0}
		switch v := rng.IntN(6); typ {
		case model.Float64:
			x.Bits = math.Float64bits(float64(v) / 2)
		case model.Float32:
			x.Bits = uint64(math.Float32bits(float32(v) / 4))
		case model.Bool:
			x.Bits = uint64(v % 2)
		case model.String:
			x.Blob = bytes.Repeat([]byte{'a' + byte(v)}, 1+v*30)
		default:
			x.Bits = uint64(v)
		}
		b.Append(x)
		b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
		at += 1 + int64(rng.IntN(30))
	}
	return b
}

// wholeHistory is an interval with all that lies before and behind it.
func wholeHistory(s *model.Samples, from, to int64, strict bool) part13.Interval {
	iv := part13.Interval{Start: from, End: to, Reverse: from > to}
	low, high := from, to
	if iv.Reverse {
		iv.Start, iv.End = to, from
		low, high = to+1, from+1
	}
	parts := [3]rollup.Partial{}
	a, _ := slices.BinarySearch(s.Times, low)
	z, _ := slices.BinarySearch(s.Times, high)
	parts[0].Add(s, 0, a)
	parts[1].Add(s, a, z)
	parts[2].Add(s, z, s.Len())
	for i := range parts { // texts are whole
		for p := range parts[i].Points() {
			if p.Cut {
				k, _ := slices.BinarySearch(s.Times, p.Time)
				p.Blob, p.Cut = s.Blobs[k], false
			}
		}
	}
	iv.Before, iv.In, iv.After = &parts[0], &parts[1], &parts[2]
	var usable []rollup.Point
	for i := range s.Len() {
		p := rollup.Point{Sample: s.At(i)}
		if p.Usable(strict) {
			usable = append(usable, p)
		}
		if good := p.Usable(true) && i >= a && i+1 < z; good && !s.Type.Blob() {
			if dt := uint64(s.Times[i+1] - s.Times[i]); part13.Number(&p.Sample) == 0 {
				iv.Zero += dt
			} else {
				iv.NonZero += dt
			}
		}
	}
	if len(usable) > 1 {
		iv.Earlier = &usable[len(usable)-2]
	}
	return iv
}

func requireValue(t *testing.T, want model.Sample, f Function, rec arrow.Record, row int, where string) {
	t.Helper()
	number, whole, text := rec.Column(5).(*array.Float64), rec.Column(6).(*array.Int64), rec.Column(7).(*array.String)
	switch {
	case want.Null:
		require.True(t, number.IsNull(row) && whole.IsNull(row) && text.IsNull(row), where)
	case f.isStatus():
		require.Equal(t, model.Quality(want.Bits).String(), text.Value(row), where)
		require.Equal(t, int64(want.Bits), whole.Value(row), where)
	case want.Type == model.String:
		require.Equal(t, string(want.Blob), text.Value(row), where)
	case want.Type == model.Bool || want.Type == model.State:
		require.True(t, number.IsNull(row), where)
		require.Equal(t, int64(want.Bits), whole.Value(row), where)
	default:
		require.Equal(t, math.Float64bits(part13.Number(&want)), math.Float64bits(number.Value(row)), "%s: %v, not %v", where, number.Value(row), part13.Number(&want))
		require.Equal(t, !want.Type.Float(), whole.IsValid(row), where)
	}
}

func readProcessed(t *testing.T, e *Engine, r ProcessedRequest) arrow.Record {
	t.Helper()
	r.BatchRows = MaxBatchRows
	var sink bytesSink
	n, err := e.ReadProcessed(context.Background(), r, &sink)
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(sink.Bytes()))
	require.NoError(t, err)
	defer reader.Release()
	require.True(t, reader.Next())
	rec := reader.Record()
	rec.Retain()
	require.Equal(t, n, uint64(rec.NumRows()))
	require.False(t, reader.Next())
	require.Zero(t, e.MemoryTaken())
	schema, err := e.ProcessedSchema(r)
	require.NoError(t, err)
	require.True(t, schema.Equal(reader.Schema()))
	return rec
}
