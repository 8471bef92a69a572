package query

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
)

// drawRetyped is a store with one tag whose type changed, at times up to 60, and the samples that drawSeries draws, each in the epoch of
// its time.
func drawRetyped(t *rapid.T) *plainStore {
	var types []model.Type
	for range rapid.IntRange(2, 4).Draw(t, "epochs") {
		typ := rapid.SampledFrom(everyType).Draw(t, "type")
		if len(types) > 0 && types[len(types)-1] == typ {
			typ = typ%8 + 1
		}
		types = append(types, typ)
	}
	s := newPlainStore(types...)
	s.block = rapid.IntRange(1, 9).Draw(t, "block")
	s.sets = []*model.StateSet{{Name: "set", Version: 1, From: model.MinTime, States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}}
	tag, from := s.tags[0], int64(0)
	for i := range types[1:] {
		from += rapid.Int64Range(1, 30).Draw(t, "from")
		next := s.tags[i+1].Settings[0]
		next.From, next.Epoch = from, model.TagID(i+2)
		tag.Settings = append(tag.Settings, next)
	}
	for i := range types {
		now, in := tag.In(model.TagID(i + 1))
		if i > 0 {
			s.tags[i] = now
		}
		id := model.TagID(i + 1)
		drawn := newPlainStore(types[i])
		drawSeries(t, drawn, 1)
		b := drawn.samples[1]
		shift := max(in.Start, 0)
		for k := range b.Len() {
			if x := b.At(k); in.Contains(x.Time + shift) {
				x.Time += shift
				s.add(id, uint32(x.Time%3), x)
			}
		}
	}
	return s
}

// TestRangesOverTypes reads samples over changes of the type, forward and back, with limits, bounds, pages and as of earlier times: as of
// one series.
func TestRangesOverTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawRetyped(t)
		tag := s.tags[0]
		for range 10 {
			r := drawRange(t, s)
			r.Where = nil
			r.IDs = []model.TagID{model.TagID(1 + rapid.IntRange(0, len(s.tags)-1).Draw(t, "id"))} // an epoch's id is the tag's
			if r.Bounds == Interpolated {
				continue
			}
			want, got := plainRange(s, tag, r), ask(t, s, r)
			types, whole := typeSet(0), r.AsOf != nil || r.Bounds == Outside
			from, to := r.edges()
			in := model.Between(from, to)
			if in.Reverse && r.OpenStart || r.Bounds == Inside && in.Reverse {
				in.Start = to
			} else if from != to && (r.OpenEnd || r.Bounds == Inside) {
				in.End = to + 1
			}
			for i, id := range tag.EpochIDs() {
				if _, holds := tag.In(id); whole || holds.Start < in.End && in.Start < holds.End {
					types.add(s.samples[model.TagID(i+1)].Type)
				}
			}
			_, one := types.single()
			require.Len(t, got, len(want))
			for i, x := range want {
				require.Equal(t, x.Time, got[i].time)
				require.Equal(t, tag.Name, got[i].tag)
				require.Equal(t, uint32(x.Quality), got[i].quality)
				require.Equal(t, x.Seq, got[i].value["seq"])
				columns := plainValue(s, tag, x, !one)
				for _, name := range []string{"value", "value_int", "value_text", "value_bytes"} {
					require.Equal(t, columns[name], got[i].value[name], "%s of row %d: %v", name, i, x)
				}
			}
		}
	})
}

func TestPagesOverTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawRetyped(t)
		r := drawRange(t, s)
		r.IDs, r.Where = []model.TagID{1}, nil
		if r.Bounds == Interpolated || r.Bounds == Outside && r.Start == r.End && !r.OpenStart && !r.OpenEnd {
			return
		}
		r.Limit = 1000
		whole := ask(t, s, r)
		r.Limit = rapid.Uint64Range(1, 4).Draw(t, "page")
		var pages []row
		for range 1000 {
			page := ask(t, s, r)
			pages = append(pages, page...)
			if uint64(len(page)) < r.Limit {
				break
			}
			last := page[len(page)-1]
			r.After = &Position{Time: last.time, Seq: last.value["seq"].(uint32)}
		}
		require.Equal(t, whole, pages)
	})
}

func TestNewestOverTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawRetyped(t)
		e, err := New(s, Options{})
		require.NoError(t, err)
		var sink bytesSink
		_, err = e.Latest(context.Background(), LatestRequest{Tags: Tags{IDs: []model.TagID{1}}}, &sink)
		require.NoError(t, err)
		_, rows, _ := sink.read(t)
		newest := int64(-1)
		for _, b := range s.samples {
			if n := b.Len(); n > 0 {
				newest = max(newest, b.Times[n-1])
			}
		}
		if newest < 0 {
			require.Empty(t, rows)
			return
		}
		require.Len(t, rows, 1)
		require.Equal(t, newest, rows[0].time)
	})
}

// TestWhatIsWorkedOutHoldsToAnEpoch: over a change of the type it is refused; on one side of it, it is what a tag has that never was
// anything else.
func TestWhatIsWorkedOutHoldsToAnEpoch(t *testing.T) {
	s := newPlainStore(model.Float64, model.Int64, model.Int64)
	tag := s.tags[0]
	for _, tag := range s.tags {
		tag.Settings[0].Unit = "m"
	}
	tag.Settings = append(tag.Settings, model.Settings{From: 100, Type: model.Int64, Unit: "m", Epoch: 2})
	s.tags[1], _ = tag.In(2)
	s.tags[2].Name = tag.Name
	for i := range int64(10) {
		s.add(1, 0, model.Sample{Time: 10 * i, Bits: 1 << 62})
		for _, id := range []model.TagID{2, 3} {
			s.add(id, 0, model.Sample{Time: 100 + 10*i, Bits: uint64(i * i)})
		}
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	ctx := context.Background()
	asks := map[string]func(Tags, int64, int64, *bytesSink) error{
		"raw with calculated bounds": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadRange(ctx, RangeRequest{Tags: tags, Start: from, End: to, Bounds: Interpolated}, sink)
			return err
		},
		"raw in another unit": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadRange(ctx, RangeRequest{Tags: tags, Start: from, End: to, Unit: "cm"}, sink)
			return err
		},
		"wide in another unit": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadWide(ctx, WideRequest{Tags: tags, Buckets: Buckets{Start: from, End: to, Step: 7}, Mode: WideInterpolated, Unit: "cm"}, sink)
			return err
		},
		"raw by value": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadRange(ctx, RangeRequest{Tags: tags, Start: from, End: to, Where: []Comparison{{Operator: Greater, Operand: int64(5)}}}, sink)
			return err
		},
		"instants": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadAtTimes(ctx, AtTimesRequest{Tags: tags, Times: []int64{from, to - 1}}, sink)
			return err
		},
		"processed": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadProcessed(ctx, ProcessedRequest{Tags: tags, Buckets: Buckets{Start: from, End: to}, Functions: []Function{Standard(part13.TimeAverage)}, Configuration: part13.Defaults}, sink)
			return err
		},
		"aggregates": func(tags Tags, from, to int64, sink *bytesSink) error {
			a, err := ParseAggregate("time_weighted_average")
			require.NoError(t, err)
			_, err = e.ReadAggregates(ctx, AggregatesRequest{Tags: tags, Buckets: Buckets{Start: from, End: to}, Aggregates: []Aggregate{a}}, sink)
			return err
		},
		"plot": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadPlot(ctx, PlotRequest{Tags: tags, Start: from, End: to, Width: 3}, sink)
			return err
		},
		"wide": func(tags Tags, from, to int64, sink *bytesSink) error {
			_, err := e.ReadWide(ctx, WideRequest{Tags: tags, Buckets: Buckets{Start: from, End: to, Step: 7}, Mode: WideInterpolated}, sink)
			return err
		},
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			for _, in := range [][2]int64{{50, 150}, {99, 101}} {
				err := ask(Tags{IDs: []model.TagID{1}}, in[0], in[1], &bytesSink{})
				require.ErrorIs(t, err, ErrBadRequest)
				require.ErrorContains(t, err, "is float64 before 1970-01-01T00:00:00.0000001Z and int64 from then on")
			}
			for _, in := range [][2]int64{{100, 150}, {105, 200}, {190, 300}} {
				var one, other bytesSink
				require.NoError(t, ask(Tags{IDs: []model.TagID{1}}, in[0], in[1], &one))
				require.NoError(t, ask(Tags{IDs: []model.TagID{3}}, in[0], in[1], &other))
				_, have, _ := one.read(t)
				_, want, _ := other.read(t)
				require.NotEmpty(t, want)
				require.Equal(t, want, have)
			}
			require.NoError(t, ask(Tags{IDs: []model.TagID{1}}, 50, 100, &bytesSink{}))
		})
	}
	// The newest sample is a text of the epoch before: in a unit there is none.
	text := newPlainStore(model.String, model.Float64)
	text.tags[0].Settings = append(text.tags[0].Settings, model.Settings{From: 100, Type: model.Float64, Unit: "m", Epoch: 2})
	text.tags[1], _ = text.tags[0].In(2)
	text.add(1, 0, model.Sample{Time: 1, Blob: []byte("x")})
	other, err := New(text, Options{})
	require.NoError(t, err)
	_, err = other.Latest(ctx, LatestRequest{Tags: Tags{IDs: []model.TagID{1}}, Unit: "cm"}, &bytesSink{})
	require.ErrorIs(t, err, ErrBadRequest)
	require.NoError(t, func() error {
		_, err := other.Latest(ctx, LatestRequest{Tags: Tags{IDs: []model.TagID{1}}}, &bytesSink{})
		return err
	}())
	_, err = e.ReadTimeInState(ctx, StatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: 200}}, &bytesSink{})
	require.ErrorIs(t, err, ErrBadRequest)
}

// drawnKinds is a store of x, which is text before 100, then whole numbers, from 200 on doubles, and a bool from 300 on; and of y, a double
// all the time, which has what x has as a number.
func drawnKinds() *plainStore {
	s := newPlainStore(model.String, model.Int64, model.Float64, model.Bool, model.Float64)
	x := s.tags[0]
	x.Name, x.Aliases[0].Name = "x", "x"
	for i, from := range []int64{0, 100, 200, 300} {
		if i > 0 {
			x.Settings = append(x.Settings, model.Settings{From: from, Type: s.tags[i].Settings[0].Type, Epoch: model.TagID(i + 1)})
		}
	}
	for i := 1; i < 4; i++ {
		s.tags[i], _ = x.In(model.TagID(i + 1))
	}
	y := s.tags[4]
	y.Name, y.Aliases[0].Name = "y", "y"
	for i := range int64(10) {
		s.add(1, 0, model.Sample{Time: 10 * i, Blob: []byte("x")})
		s.add(2, 0, model.Sample{Time: 102 + 9*i, Bits: uint64(2 * i * i)})
		s.add(5, 0, model.Sample{Time: 102 + 9*i, Bits: math.Float64bits(float64(2 * i * i))})
		s.add(4, 0, model.Sample{Time: 300 + 10*i, Bits: uint64(i) % 2})
	}
	for i := range int64(10) {
		s.add(3, 0, model.Sample{Time: 203 + 9*i, Bits: math.Float64bits(float64(i) + 0.5)})
		s.add(5, 0, model.Sample{Time: 203 + 9*i, Bits: math.Float64bits(float64(i) + 0.5)})
	}
	return s
}

// TestExpressionsHoldToOneTypeOfThem: over numbers of all types an expression, and a condition, is what it is over one tag of doubles; what is
// no number has no part in it, and a range that meets both is refused.
func TestExpressionsHoldToOneTypeOfThem(t *testing.T) {
	s := drawnKinds()
	e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, 250) }})
	require.NoError(t, err)
	ctx := context.Background()
	asks := map[string]func(name string, from, to int64, sink *bytesSink) error{
		"raw": func(name string, from, to int64, sink *bytesSink) error {
			_, err := e.ReadRange(ctx, RangeRequest{Tags: Tags{Expressions: []string{"X := " + name}}, Start: from, End: to, Bounds: Outside}, sink)
			return err
		},
		"instants": func(name string, from, to int64, sink *bytesSink) error {
			_, err := e.ReadAtTimes(ctx, AtTimesRequest{Tags: Tags{Expressions: []string{"X := " + name}}, Times: []int64{from, to - 1}, BridgeBad: true}, sink)
			return err
		},
		"aggregates": func(name string, from, to int64, sink *bytesSink) error {
			r := AggregatesRequest{Tags: Tags{Expressions: []string{"X := " + name}}, Buckets: Buckets{Start: from, End: to, Step: 30}}
			for a := Count; a <= WorstQuality; a++ {
				r.Aggregates = append(r.Aggregates, a)
			}
			_, err := e.ReadAggregates(ctx, r, sink)
			return err
		},
		"processed": func(name string, from, to int64, sink *bytesSink) error {
			_, err := e.ReadProcessed(ctx, ProcessedRequest{
				Tags: Tags{Expressions: []string{"X := " + name}}, Buckets: Buckets{Start: from, End: to, Step: 30}, Configuration: part13.Defaults,
				Functions: functions(t, "Average", "TimeAverage", "TimeAverage2", "Minimum2", "End", "NumberOfTransitions", "median"),
			}, sink)
			return err
		},
		"plot": func(name string, from, to int64, sink *bytesSink) error {
			_, err := e.ReadPlot(ctx, PlotRequest{Tags: Tags{Expressions: []string{"X := " + name}}, Start: from, End: to, Width: 7}, sink)
			return err
		},
		"while": func(name string, from, to int64, sink *bytesSink) error {
			_, err := e.ReadAggregates(ctx, AggregatesRequest{
				Tags: Tags{Names: []string{"y"}}, Buckets: Buckets{Start: from, End: to, Step: 30}, Aggregates: []Aggregate{Count, TimeWeightedAverage},
				UseUncertain: true, While: name + " > 2",
			}, sink)
			return err
		},
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			for _, in := range [][2]int64{{100, 300}, {102, 300}, {120, 190}, {190, 215}, {199, 203}, {200, 300}, {211, 290}} {
				var one, other bytesSink
				require.NoError(t, ask("x", in[0], in[1], &one))
				require.NoError(t, ask("y", in[0], in[1], &other))
				_, have, _ := one.read(t)
				_, want, _ := other.read(t)
				require.Equal(t, want, have, "%v", in)
				require.NotEmpty(t, have)
			}
			for _, in := range [][2]int64{{0, 300}, {99, 101}, {50, 250}} {
				err := ask("x", in[0], in[1], new(bytesSink))
				require.ErrorIs(t, err, ErrBadRequest)
				require.ErrorContains(t, err, "tag x (id 1) is string before 1970-01-01T00:00:00.0000001Z and int64 from then on")
			}
			require.ErrorContains(t, ask("x", 150, 301, new(bytesSink)), "is float64 before 1970-01-01T00:00:00.0000003Z and bool from then on")
			require.ErrorContains(t, ask("x + 0", 0, 100, new(bytesSink)), "takes a number here, not a text")
			require.Zero(t, s.open.Load())
		})
	}
	var sink bytesSink
	_, err = e.Latest(ctx, LatestRequest{Tags: Tags{Expressions: []string{"x + 1"}}}, &sink)
	require.NoError(t, err)
	_, rows, _ := sink.read(t)
	require.Equal(t, int64(284), rows[0].time, "of what it is now, at 250")
	var bools bytesSink
	_, err = e.ReadRange(ctx, RangeRequest{Tags: Tags{Expressions: []string{"not x"}}, Start: 300, End: 400}, &bools)
	require.NoError(t, err)
	_, rows, _ = bools.read(t)
	require.Len(t, rows, 10)
}

// TestConditionsConvertWhatWasBefore: a sample from before a change of unit holds into the range as what it is in the unit of the range.
func TestConditionsConvertWhatWasBefore(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	p := s.tags[1]
	p.Name, p.Aliases[0].Name = "p", "p"
	p.Settings = []model.Settings{{From: model.MinTime, Type: model.Float64, Unit: "mbar"}, {From: 10, Type: model.Float64, Unit: "bar"}}
	s.add(1, 0, model.Sample{Time: 0, Bits: math.Float64bits(1)})
	s.add(2, 0, model.Sample{Time: 5, Bits: math.Float64bits(1500)})
	s.add(2, 0, model.Sample{Time: 15, Bits: math.Float64bits(3)})
	e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, 20) }})
	require.NoError(t, err)
	while := func(condition string) int64 {
		rec := readAggregates(t, e, AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 10, End: 20}, Aggregates: []Aggregate{Count}, While: condition})
		defer rec.Release()
		return int64(numberAt(t, rec.Column(rec.Schema().FieldIndices("while_ns")[0]), 0))
	}
	require.Equal(t, int64(10), while("p > 1"))
	require.Equal(t, int64(5), while("p < 2"), "1500 mbar are 1.5 bar")
	p.Settings[0].Unit = "Cel"
	require.Equal(t, int64(5), while("p > 1"), "a temperature is no pressure")
	p.Settings[0].Unit = ""
	require.Equal(t, int64(5), while("p > 100"), "without a unit it is taken to be in that of the range")
	p.Settings[1].From = 12
	require.Equal(t, int64(5), while("p > 100"), "and that a unit is known from some time on is no change of it")
}
