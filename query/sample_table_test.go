package query

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// readTable decodes an answer column by column, runs one by one.
func (s *bytesSink) readTable(t require.TestingT) (names []string, rows [][]any, sizes []int64) {
	r, err := ipc.NewReader(bytes.NewReader(s.Bytes()))
	require.NoError(t, err)
	defer r.Release()
	for _, f := range r.Schema().Fields() {
		names = append(names, f.Name)
	}
	for r.Next() {
		rec := r.Record()
		sizes = append(sizes, rec.NumRows())
		for i := range int(rec.NumRows()) {
			var cells []any
			for _, c := range rec.Columns() {
				if e, ok := c.(*array.RunEndEncoded); ok {
					cells = append(cells, valueAt(e.Values(), e.GetPhysicalIndex(i)))
					continue
				}
				cells = append(cells, valueAt(c, i))
			}
			rows = append(rows, cells)
		}
	}
	require.NoError(t, r.Err())
	return names, rows, sizes
}

var sampleColumnNames = []string{"time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id", "seq"}

// plainTable is what the table of samples has, from docs/reference/sql.md.
func plainTable(s *plainStore, r SampleTable) (rows [][]any) {
	for tag := range r.Tags {
		b := s.samples[tag.ID]
		for i := range b.Len() {
			x := b.At(i)
			if !r.Range.Contains(x.Time) || r.Severities != 0 && !r.Severities.has(x.Quality) || r.Limit > 0 && uint64(len(rows)) == r.Limit {
				continue
			}
			shown := x
			if x.Quality.IsBad() {
				shown.Null = true
			}
			value := plainValue(s, tag, shown, true)
			micros := x.Time / 1000
			if x.Time%1000 < 0 {
				micros--
			}
			floor := micros * 1000
			if floor > x.Time { // before the first instant there is
				floor = x.Time
			}
			all := map[SampleColumn]any{
				SampleTime: floor, SampleTag: tag.Name, SampleValue: value["value"], SampleQuality: int64(x.Quality), SampleStatus: x.Quality.String(),
				SampleSeverity: x.Quality.Severity(), SampleValueInt: value["value_int"], SampleValueText: value["value_text"], SampleTimeNS: x.Time,
				SampleTagID: int64(tag.ID), SampleSeq: int64(x.Seq),
			}
			var cells []any
			for _, c := range r.Columns {
				cells = append(cells, all[c])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// TestTheTableOfSamplesHoldsEverySample asks for random columns and ranges of random samples and holds the answers, run-end encoded or not,
// to a plain reading of the same samples.
func TestTheTableOfSamplesHoldsEverySample(t *testing.T) {
	all := []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64, model.Bool, model.State, model.String, model.Bytes}
	rapid.Check(t, func(t *rapid.T) {
		s := newPlainStore(rapid.SliceOfN(rapid.SampledFrom(all), 1, 4).Draw(t, "types")...)
		s.block = rapid.IntRange(1, 9).Draw(t, "block")
		s.sets = []*model.StateSet{
			{Name: "set", Version: 1, From: model.MinTime, States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}},
			{Name: "set", Version: 2, From: 20, States: []model.DigitalState{{Code: 0, Text: "stopped"}}},
		}
		for _, tag := range s.tags {
			at := rapid.SampledFrom([]int64{-3000, 0, model.MinTime, model.MaxTime - 100_000}).Draw(t, "first")
			for range rapid.IntRange(0, 25).Draw(t, "samples") {
				at += rapid.Int64Range(0, 900).Draw(t, "step")
				s.add(tag.ID, 0, drawSample(t, s.samples[tag.ID].Type, at))
			}
		}
		from, to := rapid.Int64Range(-4000, 9000).Draw(t, "from"), rapid.Int64Range(-4000, 9000).Draw(t, "to")
		r := SampleTable{
			Tags: slices.Values(s.tags), Range: rapid.SampledFrom([]model.TimeRange{model.All, {Start: from, End: to}, {Start: from, End: math.MaxInt64}}).Draw(t, "range"),
			Severities: Severities(rapid.IntRange(0, 7).Draw(t, "severities")), Limit: rapid.SampledFrom([]uint64{0, 0, 1, 5}).Draw(t, "limit"),
			Runs: rapid.Bool().Draw(t, "runs"),
		}
		for range rapid.IntRange(0, 11).Draw(t, "columns") {
			c := SampleColumn(rapid.IntRange(0, int(afterSampleColumns)-1).Draw(t, "column"))
			if !slices.Contains(r.Columns, c) {
				r.Columns = append(r.Columns, c)
			}
		}
		e, err := New(s, Options{})
		require.NoError(t, err)
		var sink bytesSink
		n, err := (&Moment{e, s}).ReadSamples(context.Background(), r, &sink)
		require.NoError(t, err)
		names, got, sizes := sink.readTable(t)
		want := plainTable(s, r)
		require.Equal(t, want, got)
		require.Equal(t, uint64(len(want)), n)
		for i, c := range r.Columns {
			require.Equal(t, sampleColumnNames[c], names[i])
		}
		if len(r.Columns) == 0 {
			total := int64(0)
			for _, size := range sizes {
				total += size
			}
			require.Equal(t, int64(n), total)
		}
		require.Zero(t, s.open.Load(), "cursors stayed open")
		require.Zero(t, e.MemoryTaken())
	})
}

// A tag's name in every row does not make batches that no client takes.
func TestLongNamesEndABatchEarly(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.tags[0].Name = strings.Repeat("n", model.MaxNameBytes)
	for i := range 10_000 {
		s.add(1, 0, model.Sample{Time: int64(i)})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	for _, runs := range []bool{false, true} {
		var sink bytesSink
		n, err := (&Moment{e, s}).ReadSamples(context.Background(), SampleTable{Columns: []SampleColumn{SampleTime, SampleTag}, Tags: slices.Values(s.tags), Range: model.All, Runs: runs}, &sink)
		require.NoError(t, err)
		require.Equal(t, uint64(10_000), n)
		_, _, sizes := sink.readTable(t)
		if runs {
			require.Equal(t, []int64{2048, 7952}, sizes)
			continue
		}
		for _, size := range sizes {
			require.LessOrEqual(t, size, int64(batchBlobBytes/model.MaxNameBytes))
		}
	}
}

func TestTheTableOfSamplesFailsAsReadsDo(t *testing.T) {
	s := newPlainStore(model.Float64)
	for i := range 20 {
		s.add(1, 0, model.Sample{Time: int64(i)})
	}
	s.damage[1] = storage.ErrCorrupt
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	r := SampleTable{Columns: []SampleColumn{SampleTimeNS}, Tags: slices.Values(s.tags), Range: model.All}
	n, err := (&Moment{e, s}).ReadSamples(context.Background(), r, &sink)
	require.ErrorIs(t, err, storage.ErrCorrupt)
	require.Equal(t, uint64(s.block), n, "what was read before is right")
	_, err = (&Moment{e, s}).ReadSamples(context.Background(), SampleTable{Columns: []SampleColumn{afterSampleColumns}, Tags: slices.Values(s.tags)}, &sink)
	require.ErrorIs(t, err, ErrBadRequest)
	// With little memory batches are small.
	e, err = New(s, Options{MemoryBytes: 16 << 20})
	require.NoError(t, err)
	s.damage = map[model.TagID]error{}
	for i := range 50_000 {
		s.add(1, 0, model.Sample{Time: int64(i + 20)})
	}
	s.block = 5000
	sink = bytesSink{}
	all := SampleTable{Columns: []SampleColumn{SampleTime, SampleTag, SampleValue, SampleQuality, SampleTimeNS, SampleTagID}, Tags: slices.Values(s.tags), Range: model.All, Runs: true}
	n, err = (&Moment{e, s}).ReadSamples(context.Background(), all, &sink)
	require.NoError(t, err)
	require.Equal(t, uint64(50_020), n)
	_, _, sizes := sink.readTable(t)
	require.Less(t, slices.Max(sizes), int64(maxTableRows))
	e, err = New(s, Options{MemoryBytes: 1 << 20})
	require.NoError(t, err)
	_, err = (&Moment{e, s}).ReadSamples(context.Background(), r, &sink)
	require.ErrorIs(t, err, ErrTooLarge)
}
