package query

import (
	"math"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

// TestBucketsOfACalendar asks for days in New York about the end of summer time: of 24 and 25 hours, the first and the last cut by
// the range, forward and in reverse, and holds each sample against the day it lies in.
func TestBucketsOfACalendar(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	at := func(day, hour int) int64 { return time.Date(2024, 11, day, hour, 0, 0, 0, zone).UnixNano() }
	b := &storage.Block{Samples: model.Samples{Type: model.Float64}}
	for x := at(1, 0); x < at(7, 0); x += int64(time.Hour) { // midnights included
		b.Append(model.Sample{Time: x, Type: model.Float64, Bits: math.Float64bits(float64(x))})
		b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
	}
	tag := &model.Tag{ID: 1, Name: "a", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}}
	e, err := New(&plainStore{tags: []*model.Tag{tag}, samples: map[model.TagID]*storage.Block{1: b}, block: 7}, Options{})
	require.NoError(t, err)
	labels := []string{"2024-11-02", "2024-11-03", "2024-11-04"}
	counts := []int64{18, 25, 9} // from 06:00 on, whole, up to 09:00
	for _, reverse := range []bool{false, true} {
		r := Buckets{Start: at(2, 6), End: at(4, 9), Every: "1d", Zone: "America/New_York"}
		if reverse { // the same instants
			r.Start, r.End = r.End-1, r.Start-1
		}
		rec := readAggregates(t, e, AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: r, Aggregates: []Aggregate{Count}})
		processed := readProcessed(t, e, ProcessedRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Buckets: r, Functions: []Function{Standard(part13.Count)}, Configuration: part13.Defaults,
		})
		require.Equal(t, int64(3), rec.NumRows())
		require.Equal(t, int64(3), processed.NumRows())
		for i := range 3 {
			k := i
			if reverse {
				k = 2 - i
			}
			last := int(rec.NumCols()) - 1
			require.Equal(t, "label", rec.ColumnName(last))
			require.Equal(t, labels[k], rec.Column(last).(*array.String).Value(i))
			require.Equal(t, counts[k], rec.Column(2).(*array.Int64).Value(i), labels[k])
			last = int(processed.NumCols()) - 1
			require.Equal(t, labels[k], processed.Column(last).(*array.String).Value(i))
			require.Equal(t, counts[k], processed.Column(6).(*array.Int64).Value(i), labels[k])
			require.Equal(t, k != 1, processed.Column(13).(*array.Boolean).Value(i), "days that are cut are partial")
		}
		rec.Release()
		processed.Release()
	}
}

func TestBucketsAreChecked(t *testing.T) {
	day := int64(24 * time.Hour)
	for _, b := range []Buckets{
		{Start: 0, End: day, Every: "fortnight"},
		{Start: 0, End: day, Every: "1d", Zone: "Mars/Olympus"},
		{Start: 0, End: day, Every: "1d", Step: 1},
		{Start: 0, End: 0, Every: "1d"},
		{Start: 0, End: day, Zone: "Europe/Berlin"},
		{Start: 0, End: day, Every: "shift"},
		{Start: 0, End: day, Every: "1d", Calendar: []byte("{")},
		{Start: 0, End: day, Every: "1ns"},
		{Start: model.MinTime, End: math.MaxInt64, Every: "1d"},
		{Edges: []int64{0, day}, Every: "1d"},
	} {
		_, err := b.buckets()
		require.Error(t, err, "%+v", b)
	}
}
