package query

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage/rollup"
)

// twin is a store in which the samples that an expression over s should have are stored, of a tag X with the settings they go by. They
// come from values at instants of the plain model.
func twin(t *rapid.T, s *plainStore, text string) *plainStore {
	parsed, err := expression.Parse(text)
	require.NoError(t, err)
	var inputs []*model.Tag
	var tags []expression.Tag
	var times []int64
	stepped := true
	for _, name := range parsed.References() {
		tag, ok := s.ByName(name)
		require.True(t, ok)
		inputs, tags = append(inputs, tag), append(tags, expression.Tag{Type: tag.Current().Type})
		times = append(times, s.samples[tag.ID].Times...)
		stepped = stepped && (tag.Current().Stepped || tag.Current().Type.AlwaysStepped())
	}
	p, err := parsed.Check(tags)
	require.NoError(t, err, text)
	out := newPlainStore(map[expression.Type]model.Type{
		expression.Number: model.Float64, expression.Bool: model.Bool, expression.Text: model.String, expression.State: model.String,
	}[p.Type])
	out.block = s.block
	x := out.tags[0]
	x.Name, x.Aliases[0].Name = "X", "X"
	x.Settings[0].Stepped, x.Settings[0].Unit = stepped || x.Current().Type.AlwaysStepped(), p.Unit
	slices.Sort(times)
	for _, at := range slices.Compact(times) {
		row := make([]expression.Value, len(inputs))
		for i, tag := range inputs {
			row[i] = expression.OfSample(inputAt(t, tag, &s.samples[tag.ID].Samples, at), setInForce(s.sets, at))
		}
		v := p.Eval(row)
		y := model.Sample{Time: at, Quality: v.Quality, Null: v.Null, Bits: math.Float64bits(v.Float)}
		switch {
		case v.Null:
			y.Bits = 0
		case v.Exact:
			y.Bits = math.Float64bits(float64(v.Int))
		case v.Type == expression.Bool:
			y.Bits = map[bool]uint64{true: 1}[v.Bool]
		case v.Type != expression.Number:
			y.Bits, y.Blob = 0, []byte(v.Text)
		}
		out.add(1, 0, y)
	}
	return out
}

// inputAt is the value of a tag at an instant: the neighbours are looked for among all samples, the line between them is that of
// ReadAtTimes, to the bit, and near the plain one.
func inputAt(t *rapid.T, tag *model.Tag, all *model.Samples, at int64) model.Sample {
	var before, after *rollup.Point
	samples := make([]model.Sample, all.Len())
	for k := range samples {
		samples[k] = all.At(k)
		if p := (rollup.Point{Sample: samples[k]}); p.Time <= at {
			before = &p
		} else if after == nil {
			after = &p
		}
	}
	want := plainAt(tag, samples, at, plainRules{useUncertain: true})
	if before != nil && before.Time == at {
		require.Equal(t, want, before.Sample)
		return before.Sample
	}
	got := new(interpolation).simple(tag, before, after, at)
	require.Equal(t, want.Quality, got.Quality)
	return got
}

// drawCalculation is a store, and an expression over its tags.
func drawCalculation(t *rapid.T) (*plainStore, string) {
	s := drawStore(t)
	a := expression.Quote(s.tags[0].Name)
	b := expression.Quote(s.tags[len(s.tags)-1].Name)
	texts := []string{"A + B", "A / (B - 2)", "max(A, B, 3)", "if(A > B, A, 0 - B)", "else(A, B)", "A > 3", "if(is_bad(A), 1, 0) + B"}
	switch s.tags[0].Current().Type {
	case model.Bool:
		texts = []string{"A and B", "if(A, 'yes', 'no')", "not A or B"}
	case model.State:
		texts = []string{"A = 'on'", "A", "A = B", "else(A, B)", "if(A = 'stopped', 1, 2)"}
	case model.String:
		texts = []string{"A", "if(A = 'v1', B, 'other')", "else(A, B) != 'v2'"}
	case model.Bytes:
		t.Skip("no place in an expression")
	}
	return s, strings.NewReplacer("A", a, "B", b).Replace(rapid.SampledFrom(texts).Draw(t, "expression"))
}

// answerBytes is the bytes of an answer.
func answerBytes[R any](t require.TestingT, s *plainStore, read func(*Engine, context.Context, R, Sink) (uint64, error), r R) []byte {
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	_, err = read(e, context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, s.open.Load(), "views or cursors stayed open")
	require.Zero(t, e.MemoryTaken())
	return sink.Bytes()
}

// TestExpressionsAnswerAsStoredTags: every question about an expression is answered, to the byte, as that about a tag which has its samples.
func TestExpressionsAnswerAsStoredTags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, text := drawCalculation(t)
		other := twin(t, s, text)
		requireAsStored(t, s, Tags{Expressions: []string{"X := " + text}}, other)
	})
}

// requireAsStored asks s about a calculation X all that other is asked about its tag X.
func requireAsStored(t *rapid.T, s *plainStore, calculated Tags, other *plainStore) {
	stored, typ := Tags{Names: []string{"X"}}, other.tags[0].Current().Type
	for range 6 {
		start, end := rapid.Int64Range(-3, 70).Draw(t, "start"), rapid.Int64Range(-3, 70).Draw(t, "end")
		strict := rapid.Bool().Draw(t, "strict")

		of := RangeRequest{
			Tags: calculated, Start: start, End: end, WithSeq: true, BatchRows: rapid.IntRange(0, 5).Draw(t, "rows"),
			Limit:  rapid.Uint64Range(0, 9).Draw(t, "limit"),
			Bounds: rapid.SampledFrom([]Bounds{NoBounds, Inside, Outside, Interpolated}).Draw(t, "bounds"),
		}
		as := of
		as.Tags = stored
		require.Equal(t, answerBytes(t, other, (*Engine).ReadRange, as), answerBytes(t, s, (*Engine).ReadRange, of), "range")

		at := AtTimesRequest{Tags: calculated, Start: start, End: end, Every: 2, BridgeBad: rapid.Bool().Draw(t, "bridge"), UseUncertain: !strict}
		atAs := at
		atAs.Tags = stored
		require.Equal(t, answerBytes(t, other, (*Engine).ReadAtTimes, atAs), answerBytes(t, s, (*Engine).ReadAtTimes, at), "values")

		latest := LatestRequest{Tags: calculated}
		require.Equal(t, answerBytes(t, other, (*Engine).Latest, LatestRequest{Tags: stored}), answerBytes(t, s, (*Engine).Latest, latest), "latest")
		wide := WideRequest{Tags: calculated, Buckets: Buckets{Start: start, End: start + 9, Step: 3}, Mode: WideAsOf, WithQuality: true}
		wideAs := wide
		wideAs.Tags = stored
		require.Equal(t, rowsOf(t, answerBytes(t, other, (*Engine).ReadWide, wideAs)), rowsOf(t, answerBytes(t, s, (*Engine).ReadWide, wide)), "wide")
		if start == end {
			continue
		}
		buckets := Buckets{Start: start, End: end, Step: rapid.Int64Range(1, 30).Draw(t, "step")}
		configuration := part13.Defaults
		configuration.TreatUncertainAsBad = strict
		processed := ProcessedRequest{
			Tags: calculated, Buckets: buckets, Configuration: configuration, Resolution: 1,
			Functions: functionsNamed(t, "Interpolative", "DurationGood", "WorstQuality2", "AnnotationCount"),
		}
		if typ == model.Bool {
			processed.Functions = append(processed.Functions, functionsNamed(t, "NumberOfTransitions")...)
		}
		if typ == model.Float64 {
			processed.Functions = append(processed.Functions, functionsNamed(t, "TimeAverage2", "Total", "Minimum2", "StandardDeviationSample", "median")...)
		}
		processedAs := processed
		processedAs.Tags = stored
		require.Equal(t, answerBytes(t, other, (*Engine).ReadProcessed, processedAs), answerBytes(t, s, (*Engine).ReadProcessed, processed), "processed")

		aggregates := AggregatesRequest{Tags: calculated, Buckets: buckets, Aggregates: []Aggregate{Count, DurationGood, Last, WorstQuality}, UseUncertain: !strict}
		if typ == model.Float64 {
			aggregates.Aggregates = append(aggregates.Aggregates, Sum, Minimum, MaximumTime, TimeWeightedAverage, StandardDeviation)
		}
		if start < end {
			aggregatesAs := aggregates
			aggregatesAs.Tags = stored
			require.Equal(t, answerBytes(t, other, (*Engine).ReadAggregates, aggregatesAs), answerBytes(t, s, (*Engine).ReadAggregates, aggregates), "aggregates")
		}
		if typ == model.Bool {
			states := StatesRequest{Tags: calculated, Buckets: buckets, UseUncertain: !strict}
			statesAs := states
			statesAs.Tags = stored
			require.Equal(t, answerBytes(t, other, (*Engine).ReadTimeInState, statesAs), answerBytes(t, s, (*Engine).ReadTimeInState, states), "time in states")
		}
		if typ == model.Float64 && start < end {
			plot := PlotRequest{Tags: calculated, Start: start, End: end, Width: 7, UseUncertain: !strict}
			plotAs := plot
			plotAs.Tags = stored
			require.Equal(t, answerBytes(t, other, (*Engine).ReadPlot, plotAs), answerBytes(t, s, (*Engine).ReadPlot, plot), "plot")
		}
	}
}

// rowsOf is the rows of an answer, without the metadata of its columns: of an expression there is no id.
func rowsOf(t require.TestingT, answer []byte) []row {
	var sink bytesSink
	sink.Write(answer)
	_, rows, _ := sink.read(t)
	return rows
}

func functionsNamed(t require.TestingT, names ...string) (out []Function) {
	for _, name := range names {
		f, err := ParseFunction(name)
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

// TestExpressionsOfUnits: values are calculated with the units that inputs had at their times, and told in one.
func TestExpressionsOfUnits(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	s.tags[0].Settings = []model.Settings{{From: model.MinTime, Type: model.Float64, Unit: "mbar"}, {From: 10, Type: model.Float64, Unit: "bar"}}
	s.tags[1].Settings[0].Unit = "kPa"
	for _, at := range []int64{5, 15} {
		s.add(1, 0, model.Sample{Time: at, Bits: math.Float64bits(2)})
		s.add(2, 0, model.Sample{Time: at, Bits: math.Float64bits(100)})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Expressions: []string{`"float64-1" + "float64-2"`}}, Start: 0, End: 20}, &sink)
	require.NoError(t, err)
	_, rows, _ := sink.read(t)
	require.Len(t, rows, 2)
	require.Equal(t, math.Float64bits(1.002), rows[0].value["value"])
	require.Equal(t, math.Float64bits(3), rows[1].value["value"])
	require.Equal(t, `"float64-1" + "float64-2"`, rows[0].tag)

	s.tags[0].Settings[0].Unit = "Cel"
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Expressions: []string{`"float64-1" + "float64-2"`}}, Start: 10, End: 20}, new(bytesSink))
	require.NoError(t, err, "what had no meaning before is not asked for")
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Expressions: []string{`"float64-1" + "float64-2"`}}, Start: 0, End: 20}, new(bytesSink))
	require.ErrorIs(t, err, expression.ErrExpression)
	require.ErrorContains(t, err, "with the units that its tags had at 1970-01-01T00:00:00.000000005Z")
}

func TestExpressionsAreRefused(t *testing.T) {
	s := newPlainStore(model.Float64, model.Bytes)
	e, err := New(s, Options{})
	require.NoError(t, err)
	refused := func(text, says string, is error) {
		t.Helper()
		_, err := e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Expressions: []string{text}}, End: 9}, new(bytesSink))
		require.ErrorIs(t, err, is)
		require.ErrorContains(t, err, says)
	}
	refused("1 + 1", "names no tag", ErrBadRequest)
	refused("x := nothing + 1", `tag "nothing"`, model.ErrTagNotFound)
	refused(`"float64-1" +`, "line 1, column 14", expression.ErrExpression)
	refused(`"bytes-2"`, "no place in an expression", expression.ErrExpression)
	refused(` := "float64-1"`, "name is empty", ErrBadRequest)
	many := make([]string, MaxExpressions+1)
	for i := range many {
		many[i] = fmt.Sprintf(`x%d := "float64-1"`, i)
	}
	_, err = e.Latest(context.Background(), LatestRequest{Tags: Tags{Expressions: many}}, new(bytesSink))
	require.ErrorContains(t, err, "65 expressions are asked for, most is 64")
	_, err = e.ReadModified(context.Background(), ModifiedRequest{Tags: Tags{Expressions: many[:1]}, End: 9}, new(bytesSink))
	require.ErrorContains(t, err, "have no samples that are stored")
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{Expressions: many[:1]}, End: 9, WithSource: true}, new(bytesSink))
	require.ErrorContains(t, err, "no source sent")
}
