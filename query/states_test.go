package query

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

// TestTimeInStateIsWhatSamplesSay holds the states of random samples against a loop over every nanosecond.
func TestTimeInStateIsWhatSamplesSay(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 37))
		typ := []model.Type{model.Bool, model.State, model.Int64, model.Uint64}[rng.IntN(4)]
		b := randomBlock(rng, typ)
		if typ == model.State && rng.IntN(3) == 0 { // more than a partial tells apart
			for i := range b.Bits {
				b.Bits[i] = uint64(i)
			}
		}
		now := int64(rng.IntN(1500))
		tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: typ, Stepped: true}, {From: int64(rng.IntN(1000)), Type: typ, Stepped: true}}}
		if seed%2 == 0 {
			drawMaxGaps(rng, tag)
		}
		e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}, Options{Now: func() time.Time { return time.Unix(0, now) }})
		require.NoError(t, err)
		r := StatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: int64(rng.IntN(600)), End: int64(rng.IntN(1200)), Step: int64(rng.IntN(200))}, UseUncertain: rng.IntN(2) == 0}
		if r.Start == r.End {
			continue
		}
		var want []stateRow
		buckets, err := r.buckets()
		require.NoError(t, err)
		for i := range buckets.count() {
			want = append(want, plainStates(tag, &b.Samples, buckets.edges[i], buckets.edges[i+1], now, r.UseUncertain, nil)...)
		}
		require.Equal(t, want, readStates(t, e, r), "seed %d", seed)
	}
}

// plainStates is the states of one bucket, written from docs/reference/aggregates.md, of the instants that count, or of all.
func plainStates(tag *model.Tag, s *model.Samples, from, to, now int64, useUncertain bool, counts func(int64) bool) (rows []stateRow) {
	start, end, first, behind := from, to, from, to
	if from > to {
		start, end, first, behind = to, from, to+1, from+1
	}
	usable := func(i int) bool {
		return !s.IsNull(i) && (s.QualityAt(i).IsGood() || useUncertain && s.QualityAt(i).IsUncertain())
	}
	found := map[int64]*stateRow{}
	good, held := 0, int64(0)
	for x := start; x < end; x++ { // a nanosecond at a time
		if counts != nil {
			if !counts(x) {
				continue
			}
			held++
		}
		last := -1
		for i, t := range s.Times {
			if t <= x {
				last = i
			}
		}
		if last < 0 || last == s.Len()-1 && x >= now {
			continue
		}
		next := x // how far away it is at least
		if last < s.Len()-1 {
			next = s.Times[last+1]
		}
		if !reaches(tag, s.Times[last], next, x) {
			continue
		}
		if !s.IsNull(last) && s.QualityAt(last).IsGood() {
			good++
		}
		if usable(last) {
			of(found, int64(s.Bits[last])).duration++
		}
	}
	before := -1
	for i, t := range s.Times {
		if !usable(i) {
			continue
		}
		if t >= first && t < behind && (counts == nil || counts(t)) {
			row := of(found, int64(s.Bits[i]))
			if before >= 0 && s.Bits[before] != s.Bits[i] {
				row.entries++
			}
		}
		before = i
	}
	for _, code := range slices.Sorted(maps.Keys(found)) {
		row := found[code]
		row.start, row.end, row.good, row.held = from, to, 100*float64(good)/float64(end-start), held
		n := s.Len() - 1
		most := int64(tag.At(end - 1).MaxGap)
		row.open = s.Times[n] < behind && usable(n) && int64(s.Bits[n]) == code && (most == 0 || now-s.Times[n] <= most)
		rows = append(rows, *row)
	}
	return rows
}

func of(found map[int64]*stateRow, code int64) *stateRow {
	if found[code] == nil {
		found[code] = &stateRow{inState: inState{code: code}}
	}
	return found[code]
}

// readStates is an answer about one tag, without what only calculations know.
func readStates(t testing.TB, e *Engine, r StatesRequest) (rows []stateRow) {
	var sink bytesSink
	n, err := e.ReadTimeInState(context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, e.MemoryTaken())
	reader, err := ipc.NewReader(bytes.NewReader(sink.Bytes()))
	require.NoError(t, err)
	defer reader.Release()
	schema, err := e.StatesSchema(r)
	require.NoError(t, err)
	require.True(t, schema.Equal(reader.Schema()))
	for reader.Next() {
		rows = append(rows, stateRows(reader.Record())...)
	}
	require.Equal(t, n, uint64(len(rows)))
	return rows
}

func stateRows(rec arrow.Record) (rows []stateRow) {
	for i := range int(rec.NumRows()) {
		held := int64(0)
		if at := rec.Schema().FieldIndices("while_ns"); at != nil {
			held = rec.Column(at[0]).(*array.Int64).Value(i)
		}
		rows = append(rows, stateRow{
			held:  held,
			start: int64(rec.Column(1).(*array.Timestamp).Value(i)), end: int64(rec.Column(2).(*array.Timestamp).Value(i)),
			inState: inState{
				code: rec.Column(3).(*array.Int64).Value(i), duration: uint64(rec.Column(5).(*array.Float64).Value(i)*1e9 + 0.5),
				entries: rec.Column(6).(*array.Int64).Value(i),
			},
			open: rec.Column(7).(*array.Boolean).Value(i), good: rec.Column(8).(*array.Float64).Value(i),
		})
	}
	return rows
}

func TestStatesHaveNamesAndLimits(t *testing.T) {
	many := &storage.Block{Samples: model.Samples{Type: model.Int64}}
	for i := range MaxStates + 1 {
		many.Append(model.Sample{Time: int64(i), Type: model.Int64, Bits: uint64(i)})
		many.Origins = append(many.Origins, chunk.Origin{Samples: 1})
	}
	high := &storage.Block{Samples: model.Samples{Type: model.Uint64, Times: []int64{1}, Bits: []uint64{1 << 63}}, Origins: []chunk.Origin{{Samples: 1}}}
	pump := &storage.Block{Samples: model.Samples{Type: model.State, Times: []int64{0, 4}, Bits: []uint64{1, 2}}, Origins: []chunk.Origin{{Samples: 1}, {Samples: 1}}}
	var tags []*model.Tag
	for i, typ := range []model.Type{model.Int64, model.Uint64, model.Float64, model.State} {
		tags = append(tags, &model.Tag{ID: model.TagID(i + 1), Name: fmt.Sprint(i), Settings: []model.Settings{{From: model.MinTime, Type: typ, StateSet: "pump"}}})
	}
	sets := []*model.StateSet{{Name: "pump", Version: 1, States: []model.DigitalState{{Code: 1, Text: "RUN"}}}}
	e, err := New(&plainStore{tags: tags, sets: sets, samples: map[model.TagID]*storage.Block{1: many, 2: high, 4: pump}, block: 1000}, Options{})
	require.NoError(t, err)
	for _, r := range []StatesRequest{
		{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{End: 1 << 20}},
		{Tags: Tags{IDs: []model.TagID{2}}, Buckets: Buckets{End: 1 << 20}},
		{Tags: Tags{IDs: []model.TagID{3}}, Buckets: Buckets{End: 1 << 20}},
		{Tags: Tags{IDs: []model.TagID{4}}, Buckets: Buckets{End: 1 << 20}, BatchRows: -1},
		{Buckets: Buckets{End: 1 << 20}},
	} {
		_, err := e.ReadTimeInState(context.Background(), r, &bytesSink{})
		require.ErrorIs(t, err, ErrBadRequest)
	}
	var sink bytesSink
	_, err = e.ReadTimeInState(context.Background(), StatesRequest{Tags: Tags{IDs: []model.TagID{4}}, Buckets: Buckets{End: 10}}, &sink)
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(sink.Bytes()))
	require.NoError(t, err)
	defer reader.Release()
	require.True(t, reader.Next())
	names := reader.Record().Column(4).(*array.String)
	require.Equal(t, "RUN", names.Value(0))
	require.True(t, names.IsNull(1))
	require.Equal(t, []stateRow{
		{inState: inState{code: 1, duration: 4}, end: 10, good: 100}, {inState: inState{code: 2, duration: 6, entries: 1}, end: 10, open: true, good: 100},
	}, stateRows(reader.Record()))
}
