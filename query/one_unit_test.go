package query

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
)

// TestNothingIsWorkedOutOfTwoUnits: on one side of a change of unit questions are answered as by a store that has the samples of that side alone,
// and over it only those are that are the same in any unit.
func TestNothingIsWorkedOutOfTwoUnits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		tag := s.tags[0]
		if typ := tag.Current().Type; typ != model.Float64 && typ != model.Int64 {
			t.Skip("no number, or another one")
		}
		s.gaps = nil
		change := rapid.Int64Range(1, 66).Draw(t, "change")
		before, after := tag.Settings[0], tag.Settings[0]
		before.Unit, after.Unit, after.From = "kPa", rapid.SampledFrom([]string{"bar", "Cel"}).Draw(t, "unit"), change
		tag.Settings = []model.Settings{before, after}
		side, behind := model.TimeRange{Start: -3, End: change}, rapid.Bool().Draw(t, "behind")
		if behind {
			side = model.TimeRange{Start: change, End: 70}
		}
		other := newPlainStore(tag.Current().Type)
		other.block, other.notes = s.block, s.notes
		*other.tags[0] = *tag
		other.tags[0].Settings = []model.Settings{before}
		for k := range s.samples[tag.ID].Len() {
			if y := s.samples[tag.ID].At(k); (y.Time >= change) == behind {
				other.add(tag.ID, 0, y)
			}
		}
		tags := Tags{IDs: []model.TagID{tag.ID}}
		for range 6 {
			start := rapid.Int64Range(side.Start, side.End-1).Draw(t, "start")
			end := rapid.Int64Range(start+1, side.End).Draw(t, "end")
			strict := rapid.Bool().Draw(t, "strict")
			at := AtTimesRequest{Tags: tags, Start: start, End: end, Every: 2, BridgeBad: rapid.Bool().Draw(t, "bridge"), UseUncertain: !strict}
			require.Equal(t, answerBytes(t, other, (*Engine).ReadAtTimes, at), answerBytes(t, s, (*Engine).ReadAtTimes, at))
			bounded := RangeRequest{Tags: tags, Start: start, End: end, Bounds: Interpolated}
			require.Equal(t, answerBytes(t, other, (*Engine).ReadRange, bounded), answerBytes(t, s, (*Engine).ReadRange, bounded))
			buckets := Buckets{Start: start, End: end, Step: rapid.Int64Range(1, 30).Draw(t, "step")}
			own := AggregatesRequest{Tags: tags, Buckets: buckets, Aggregates: []Aggregate{Count, Sum, Minimum, Last, TimeWeightedAverage, DurationGood, WorstQuality}, UseUncertain: !strict}
			require.Equal(t, answerBytes(t, other, (*Engine).ReadAggregates, own), answerBytes(t, s, (*Engine).ReadAggregates, own))
			configuration := part13.Defaults
			configuration.TreatUncertainAsBad = strict
			processed := ProcessedRequest{
				Tags: tags, Buckets: buckets, Configuration: configuration, Resolution: 1,
				Functions: functionsNamed(t, "Interpolative", "TimeAverage2", "Total", "Minimum2", "EndBound", "median", "PercentGood"),
			}
			require.Equal(t, answerBytes(t, other, (*Engine).ReadProcessed, processed), answerBytes(t, s, (*Engine).ReadProcessed, processed))
			plot := PlotRequest{Tags: tags, Start: start, End: end, Width: 7, UseUncertain: !strict}
			require.Equal(t, answerBytes(t, other, (*Engine).ReadPlot, plot), answerBytes(t, s, (*Engine).ReadPlot, plot))
			wide := WideRequest{Tags: tags, Buckets: Buckets{Start: start, End: end, Step: 3}, Mode: WideAsOf, WithQuality: true}
			require.Equal(t, rowsOf(t, answerBytes(t, other, (*Engine).ReadWide, wide)), rowsOf(t, answerBytes(t, s, (*Engine).ReadWide, wide)))
		}

		e, err := New(s, Options{})
		require.NoError(t, err)
		over := AggregatesRequest{Tags: tags, Buckets: Buckets{Start: change - 1, End: change + 1, Step: 2}, Aggregates: []Aggregate{Count, TimeWeightedAverage}}
		_, err = e.ReadAggregates(context.Background(), over, &bytesSink{})
		require.ErrorContains(t, err, "nothing is worked out of both")
		over.Aggregates = []Aggregate{Count, PercentGood}
		_, err = e.ReadAggregates(context.Background(), over, &bytesSink{})
		require.NoError(t, err)
		_, err = e.ReadRange(context.Background(), RangeRequest{Tags: tags, Start: change - 1, End: change + 1, Bounds: Outside}, &bytesSink{})
		require.NoError(t, err, "samples as they are stored")
	})
}

// TestUnitsThatMeanTheSame: no change of unit is one that a unit was only then known of, or that has another name now.
func TestUnitsThatMeanTheSame(t *testing.T) {
	for _, x := range []struct {
		a, b  string
		alike bool
	}{
		{"bar", "bar", true}, {"bar", "kPa", false}, {"", "bar", true}, {"bar", "", true}, {"pieces", "bar", true}, {"bar", "bar{gauge}", true}, {"Cel", "K", false}, {"m", "s", false},
	} {
		require.Equal(t, x.alike, unitsAlike(x.a, x.b), "%q and %q", x.a, x.b)
	}
}
