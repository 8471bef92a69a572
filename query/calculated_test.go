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
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/expression"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// twin is a store in which the samples that an expression over s should have are stored, of a tag X with the settings they go by. They
// come from values at instants of the plain model.
func twin(t *rapid.T, s *plainStore, text string) *plainStore {
	parsed, err := expression.Parse(text)
	require.NoError(t, err)
	var inputs []*model.Tag
	var samples [][]model.Sample
	var times []int64
	stepped := true
	for _, name := range parsed.References() {
		tag, ok := s.ByName(name)
		require.True(t, ok)
		inputs, samples = append(inputs, tag), append(samples, nil)
		for _, id := range tag.EpochIDs() {
			for i := range s.samples[id].Len() {
				samples[len(inputs)-1] = append(samples[len(inputs)-1], s.samples[id].At(i))
			}
			times = append(times, s.samples[id].Times...)
		}
		stepped = stepped && (tag.Current().Stepped || tag.Current().Type.AlwaysStepped())
	}
	programAt := func(at int64) *expression.Program {
		var tags []expression.Tag
		for _, tag := range inputs {
			tags = append(tags, expression.Tag{Type: tag.At(at).Type, Unit: tag.At(at).Unit})
		}
		p, err := parsed.Check(tags)
		require.NoError(t, err, text)
		return p
	}
	p := programAt(model.MaxTime)
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
			row[i] = expression.OfSample(inputAt(t, tag, samples[i], at), setInForce(s.sets, at))
		}
		now, err := programAt(at).In(p.Unit)
		require.NoError(t, err)
		v := now.Eval(row)
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
// ReadAtTimes, to the bit, and near the plain one. Where the neighbours are of another type or unit than the tag has then, all are doubles in
// that unit.
func inputAt(t *rapid.T, tag *model.Tag, samples []model.Sample, at int64) model.Sample {
	now := tag.At(at)
	typ, tag := now.Type, oneType(tag, now.Type)
	neighbours := func() (before, after *rollup.Point) {
		for _, x := range samples {
			if p := (rollup.Point{Sample: x}); p.Time <= at {
				before = &p
			} else if after == nil {
				after = &p
			}
		}
		return before, after
	}
	before, after := neighbours()
	for _, p := range []*rollup.Point{before, after} {
		if p != nil && p.Time != at && (p.Type != now.Type || tag.At(p.Time).Unit != now.Unit) && (before == nil || before.Time != at) {
			typ = model.Float64
		}
	}
	if typ != now.Type || typ == model.Float64 && now.Unit != "" && (before == nil || before.Time != at) {
		tag, samples = oneType(tag, model.Float64), slices.Clone(samples)
		for i := range samples {
			x := &samples[i]
			f, _ := x.Float64()
			from, err := unit.Parse(tag.At(x.Time).Unit)
			to, errTo := unit.Parse(now.Unit)
			if err == nil && errTo == nil {
				c, err := unit.Convert(from, to)
				require.NoError(t, err)
				f = c.Value(f)
			}
			if x.Type = model.Float64; !x.Null {
				x.Bits = math.Float64bits(f)
			}
		}
		before, after = neighbours()
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

// oneType is a tag as if its samples had always been of a type.
func oneType(tag *model.Tag, typ model.Type) *model.Tag {
	out := *tag
	out.Settings = slices.Clone(tag.Settings)
	for i := range out.Settings {
		out.Settings[i].Type, out.Settings[i].Epoch = typ, 0
	}
	return &out
}

// drawChange changes the first tag of a store, whose samples are numbers, at an instant: to another type of numbers, to another unit, or
// both. What it has from then on is kept under an id of its own.
func drawChange(t *rapid.T, s *plainStore) {
	tag, at := s.tags[0], rapid.Int64Range(1, 60).Draw(t, "change")
	if times := s.samples[1].Times; len(times) > 1 && rapid.IntRange(0, 3).Draw(t, "between samples") > 0 {
		at = max(1, times[rapid.IntRange(1, len(times)-1).Draw(t, "behind")])
	}
	next := tag.At(at)
	if next.From = at; rapid.Bool().Draw(t, "units") {
		for i := range tag.Settings {
			tag.Settings[i].Unit = "m"
		}
		next.Unit = rapid.SampledFrom([]string{"cm", "[ft_i]", ""}).Draw(t, "unit")
	}
	epoch := model.TagID(0)
	if typ := rapid.SampledFrom([]model.Type{model.Float64, model.Float32, model.Int64, model.Uint64}).Draw(t, "next type"); typ != next.Type {
		other := newPlainStore(typ)
		epoch, next.Type = model.TagID(len(s.tags)+1), typ
		b := s.samples[1]
		s.samples[1], s.samples[epoch] = &storage.Block{}, other.samples[1]
		s.samples[1].Reset(b.Type)
		for i := range b.Len() {
			x, id := b.At(i), model.TagID(1)
			if x.Time >= at {
				f, _ := x.Float64()
				switch id = epoch; typ {
				case model.Float64:
					x.Bits = math.Float64bits(f)
				case model.Float32:
					x.Bits = uint64(math.Float32bits(float32(f)))
				default:
					x.Bits = uint64(f)
				}
			}
			s.add(id, b.Origins[i].Source, x)
		}
	}
	var settings []model.Settings
	for _, old := range tag.Settings {
		if old.From < at {
			settings = append(settings, old)
		}
	}
	settings = append(settings, next)
	for _, old := range tag.Settings {
		if old.From > at {
			old.Type, old.Unit = next.Type, next.Unit
			settings = append(settings, old)
		}
	}
	for i := range settings {
		if settings[i].From >= at {
			settings[i].Epoch = epoch
		}
	}
	if tag.Settings = settings; epoch != 0 {
		now, _ := tag.In(epoch)
		s.tags = append(s.tags, now)
	}
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

// TestExpressionsOverChangesOfTypeAndUnit: a tag whose type or unit changed is in expressions what one tag of doubles in one unit is, but that
// values between integers are integers.
func TestExpressionsOverChangesOfTypeAndUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SampledFrom([]model.Type{model.Float64, model.Float32, model.Int64, model.Uint64})
		s := newPlainStore(numbers.Draw(t, "type"), model.Float64)
		s.block = rapid.IntRange(1, 9).Draw(t, "block")
		for i := range s.tags {
			drawSettings(t, s.tags[i])
			at := rapid.Int64Range(0, 5).Draw(t, "first")
			for range 20 {
				x := model.Sample{Time: at, Quality: rapid.SampledFrom([]model.Quality{0, 0, 0, 0, 0, 0x80000000, 0x40000001}).Draw(t, "quality")}
				x.Bits = rapid.Uint64Range(0, 40).Draw(t, "value")
				if v := float64(x.Bits) / 4; s.samples[s.tags[i].ID].Type == model.Float64 {
					x.Bits = math.Float64bits(v)
				} else if s.samples[s.tags[i].ID].Type == model.Float32 {
					x.Bits = uint64(math.Float32bits(float32(v)))
				}
				s.add(s.tags[i].ID, 0, x)
				at += rapid.Int64Range(1, 5).Draw(t, "step")
			}
		}
		text := strings.NewReplacer("A", expression.Quote(s.tags[0].Name), "B", expression.Quote(s.tags[1].Name)).Replace(
			rapid.SampledFrom([]string{"A", "A + B", "B * A", "max(A, B)", "if(A > B, A, B)"}).Draw(t, "expression"))
		drawChange(t, s)
		other := twin(t, s, text)
		calculated, stored := Tags{Expressions: []string{"X := " + text}}, Tags{Names: []string{"X"}}
		for range 4 {
			start, end := rapid.Int64Range(-3, 70).Draw(t, "start"), rapid.Int64Range(-3, 70).Draw(t, "end")
			of := RangeRequest{Tags: calculated, Start: start, End: end, Bounds: rapid.SampledFrom([]Bounds{NoBounds, Inside, Outside, Interpolated}).Draw(t, "bounds")}
			as := of
			as.Tags = stored
			require.Equal(t, rowsOf(t, answerBytes(t, other, (*Engine).ReadRange, as)), rowsOf(t, answerBytes(t, s, (*Engine).ReadRange, of)), "range of %s", text)
			at := AtTimesRequest{Tags: calculated, Start: start, End: end, Every: 2, UseUncertain: true}
			atAs := at
			atAs.Tags = stored
			require.Equal(t, rowsOf(t, answerBytes(t, other, (*Engine).ReadAtTimes, atAs)), rowsOf(t, answerBytes(t, s, (*Engine).ReadAtTimes, at)), "values of %s", text)
			if start >= end {
				continue
			}
			aggregates := AggregatesRequest{
				Tags: calculated, Buckets: Buckets{Start: start, End: end, Step: 9}, UseUncertain: true,
				Aggregates: []Aggregate{Count, Minimum, Last, TimeWeightedAverage, DurationGood},
			}
			aggregatesAs := aggregates
			aggregatesAs.Tags = stored
			require.Equal(t, answerBytes(t, other, (*Engine).ReadAggregates, aggregatesAs), answerBytes(t, s, (*Engine).ReadAggregates, aggregates), "aggregates of %s", text)
		}
	})
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
