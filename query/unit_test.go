package query

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/query/counter"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
)

// convertedStore is a store with every sample of s in a unit, as a double. It is the plain model of questions with a unit: they
// answer as the same questions without one do of the converted store.
func convertedStore(t require.TestingT, s *plainStore, code string) *plainStore {
	to, err := unit.Parse(code)
	require.NoError(t, err)
	out := newPlainStore(make([]model.Type, len(s.tags))...)
	out.block, out.sets = s.block, s.sets
	for i, tag := range s.tags {
		*out.tags[i] = *tag
		out.tags[i].Settings = nil
		for _, x := range tag.Settings {
			x.Type, x.Unit = model.Float64, code
			out.tags[i].Settings = append(out.tags[i].Settings, x)
		}
		out.samples[tag.ID].Reset(model.Float64)
		for k := range s.samples[tag.ID].Len() {
			x := s.samples[tag.ID].At(k)
			from, err := unit.Parse(tag.At(x.Time).Unit)
			require.NoError(t, err)
			c, err := unit.Convert(from, to)
			require.NoError(t, err)
			if v, ok := x.Float64(); ok {
				x.Bits = math.Float64bits(c.Value(v))
			}
			x.Type = model.Float64
			b := out.samples[tag.ID]
			b.Append(x)
			b.Origins = append(b.Origins, s.samples[tag.ID].Origins[k])
		}
	}
	return out
}

// requireSameAnswer holds two answers against each other: values to a distance, all else as it is.
func requireSameAnswer(t require.TestingT, want, got []row, distance float64) {
	require.Len(t, got, len(want))
	for i, w := range want {
		g := got[i]
		require.Equal(t, [2]any{w.time, w.tag}, [2]any{g.time, g.tag}, "row %d", i)
		require.Equal(t, w.quality, g.quality, "row %d, %v, not %v", i, g, w)
		require.Len(t, g.value, len(w.value), "row %d, %v, not %v", i, g, w)
		for name, v := range w.value {
			bits, ok := v.(uint64)
			if !ok || distance == 0 {
				require.Equal(t, v, g.value[name], "row %d, %s of %v, not %v", i, name, g, w)
				continue
			}
			a, b := math.Float64frombits(bits), math.Float64frombits(g.value[name].(uint64))
			require.InDelta(t, a, b, distance*math.Max(1, math.Abs(a)), "row %d, %s of %v, not %v", i, name, g, w)
		}
	}
}

// drawUnits makes a store of numbers whose tags have units, some of them dated ones.
func drawUnits(t *rapid.T, types []model.Type, units []string) *plainStore {
	s := newPlainStore(rapid.SliceOfN(rapid.SampledFrom(types), 1, 3).Draw(t, "types")...)
	s.block = rapid.IntRange(1, 9).Draw(t, "block")
	for _, tag := range s.tags {
		drawSettings(t, tag)
		one := rapid.Bool().Draw(t, "one unit")
		for i := range tag.Settings {
			if tag.Settings[i].Unit = rapid.SampledFrom(units).Draw(t, "unit"); one {
				tag.Settings[i].Unit = tag.Settings[0].Unit
			}
		}
		drawSeries(t, s, tag.ID)
	}
	return s
}

// TestQuestionsWithAUnitAreThoseOfConvertedSamples asks every kind of question of tags of all types of numbers, with units that change and
// units that do not, forward and in reverse.
func TestQuestionsWithAUnitAreThoseOfConvertedSamples(t *testing.T) {
	numbers := []model.Type{model.Float64, model.Float32, model.Int64, model.Uint64}
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.SampledFrom([]string{"bar", "[degF]", "bit"}).Draw(t, "asked for")
		units := map[string][]string{"bar": {"kPa", "[psi]", "bar", "Pa{gauge}"}, "[degF]": {"Cel", "K", "[degF]"}, "bit": {"By", "KiBy", "bit"}}[code]
		s := drawUnits(t, numbers, units)
		plain := convertedStore(t, s, code)
		s.single, plain.single = true, true
		e, err := New(s, Options{})
		require.NoError(t, err)
		p, err := New(plain, Options{})
		require.NoError(t, err)
		var tags Tags
		for _, tag := range s.tags {
			tags.IDs = append(tags.IDs, tag.ID)
		}
		instant := func(label string) int64 { return rapid.Int64Range(-3, 70).Draw(t, label) }
		ask := func(e *Engine, read func(*Engine, Sink) (uint64, error)) []row {
			var sink bytesSink
			_, err := read(e, &sink)
			require.NoError(t, err)
			_, rows, _ := sink.read(t)
			return rows
		}
		same := func(read func(e *Engine, code string, sink Sink) (uint64, error), distance float64) {
			want := ask(p, func(e *Engine, sink Sink) (uint64, error) { return read(e, "", sink) })
			got := ask(e, func(e *Engine, sink Sink) (uint64, error) { return read(e, code, sink) })
			requireSameAnswer(t, want, got, distance)
			require.Zero(t, s.open.Load())
			require.Zero(t, e.MemoryTaken())
		}
		for range 6 {
			r := RangeRequest{Tags: tags, Start: instant("start"), End: instant("end"), WithSeq: true, WithSource: true}
			if r.Bounds = Bounds(rapid.IntRange(0, 3).Draw(t, "bounds")); r.Bounds < Outside && rapid.Bool().Draw(t, "filter") {
				r.Where = []Comparison{{Operator: Greater, Operand: 0.25}}
			}
			same(func(e *Engine, code string, sink Sink) (uint64, error) {
				r.Unit = code
				return e.ReadRange(context.Background(), r, sink)
			}, 0)
			same(func(e *Engine, code string, sink Sink) (uint64, error) {
				return e.ReadModified(context.Background(), ModifiedRequest{Tags: tags, Start: r.Start, End: r.End, Limit: uint64(len(tags.IDs)), Unit: code}, sink)
			}, 0)
			at := AtTimesRequest{Tags: tags, Times: rapid.SliceOfN(rapid.Int64Range(-3, 70), 1, 12).Draw(t, "times"), BridgeBad: rapid.Bool().Draw(t, "bridge")}
			same(func(e *Engine, code string, sink Sink) (uint64, error) {
				at.Unit = code
				return e.ReadAtTimes(context.Background(), at, sink)
			}, 0)
			same(func(e *Engine, code string, sink Sink) (uint64, error) {
				return e.Latest(context.Background(), LatestRequest{Tags: tags, Unit: code}, sink)
			}, 0)
			b := Buckets{Start: r.Start, End: r.End, Step: rapid.Int64Range(0, 20).Draw(t, "step")}
			w := WideRequest{Tags: tags, Buckets: b, Mode: WideMode(rapid.IntRange(1, 2).Draw(t, "mode")), WithQuality: true}
			w.Step = max(w.Step, 1)
			same(func(e *Engine, code string, sink Sink) (uint64, error) {
				w.Unit = code
				return e.ReadWide(context.Background(), w, sink)
			}, 0)
			if b.Start < b.End {
				pixels := PlotRequest{Tags: tags, Start: b.Start, End: b.End, Width: rapid.IntRange(1, 12).Draw(t, "width"), UseUncertain: rapid.Bool().Draw(t, "draw uncertain")}
				if rapid.Bool().Draw(t, "lttb") {
					pixels.Width, pixels.LTTB = 0, pixels.Width+1
				} else if rapid.Bool().Draw(t, "as of") {
					at := int64(1e9)
					pixels.AsOf = &at
				}
				same(func(e *Engine, code string, sink Sink) (uint64, error) {
					pixels.Unit = code
					return e.ReadPlot(context.Background(), pixels, sink)
				}, 0)
			}
			if b.Start == b.End {
				continue
			}
			exact := code == "bit" && s.tags[0].Settings[0].Type == model.Float64 && len(s.tags) == 1
			distance := 1e-9
			if exact { // powers of two: nothing is rounded otherwise
				distance = 0
			}
			a := AggregatesRequest{Tags: tags, Buckets: b, UseUncertain: rapid.Bool().Draw(t, "use uncertain")}
			for _, name := range AggregateNames() {
				x, err := ParseAggregate(name)
				require.NoError(t, err)
				if rapid.Bool().Draw(t, name) {
					a.Aggregates = append(a.Aggregates, x)
				}
			}
			if len(a.Aggregates) > 0 {
				same(func(e *Engine, code string, sink Sink) (uint64, error) {
					a.Unit = code
					return e.ReadAggregates(context.Background(), a, sink)
				}, distance)
				w := WideRequest{Tags: tags, Buckets: b, Mode: WideAggregate, Aggregate: a.Aggregates[0], UseUncertain: a.UseUncertain}
				same(func(e *Engine, code string, sink Sink) (uint64, error) {
					w.Unit = code
					return e.ReadWide(context.Background(), w, sink)
				}, distance)
			}
			x := ProcessedRequest{Tags: tags, Buckets: b, Configuration: part13.Defaults, Resolution: 1}
			x.Configuration.SlopedExtrapolation = rapid.Bool().Draw(t, "sloped")
			x.Configuration.TreatUncertainAsBad = !a.UseUncertain
			for i, name := range part13.Names() {
				if rapid.IntRange(0, 2).Draw(t, name) == 0 {
					x.Functions = append(x.Functions, Standard(part13.Aggregate(i+1)))
				}
			}
			for _, name := range append(AggregateNames(), ownNames...) {
				if rapid.IntRange(0, 3).Draw(t, name) == 0 {
					x.Functions = append(x.Functions, functions(t, name)...)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "explain") == 0 {
				one := ExplainRequest{Tags: Tags{IDs: tags.IDs[:1]}, Start: b.Start, End: b.End, Configuration: x.Configuration, Stepped: x.Stepped, Resolution: 1}
				one.Aggregate = rapid.SampledFrom(append(part13.Names(), AggregateNames()...)).Draw(t, "explained")
				requireSameExplanation(t, e, p, one, code)
			}
			if len(x.Functions) > 0 {
				same(func(e *Engine, code string, sink Sink) (uint64, error) {
					x.Unit = code
					return e.ReadProcessed(context.Background(), x, sink)
				}, distance)
				w := WideRequest{Tags: tags, Buckets: b, Mode: WideAggregate, Function: x.Functions[0].standard, Configuration: x.Configuration, Resolution: 1}
				if w.Function != 0 {
					same(func(e *Engine, code string, sink Sink) (uint64, error) {
						w.Unit = code
						return e.ReadWide(context.Background(), w, sink)
					}, distance)
				}
			}
		}
	})
}

// TestExplainedBoundsAreInTheUnit: a bound between integers is not rounded before it is converted, also of an aggregate that counts no values.
func TestExplainedBoundsAreInTheUnit(t *testing.T) {
	s := newPlainStore(model.Int64)
	s.tags[0].Settings[0].Unit = "By"
	b := s.samples[s.tags[0].ID]
	for i, at := range []int64{0, 40} {
		b.Append(model.Sample{Time: at, Type: model.Int64, Bits: uint64(i)})
		b.Origins = append(b.Origins, chunk.Origin{Samples: 1})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	for _, name := range []string{"PercentGood", "StartBound"} {
		r := ExplainRequest{Tags: Tags{IDs: []model.TagID{s.tags[0].ID}}, Start: 10, End: 30, Aggregate: name, Configuration: part13.Defaults, Resolution: 1, Unit: "bit"}
		x, err := e.Explain(context.Background(), r)
		require.NoError(t, err)
		require.NotEmpty(t, x.Bounds, name)
		require.InDelta(t, 2, *x.Bounds[0].Value.Number, 1e-9, name)
	}
}

// requireSameExplanation holds an explanation in a unit against that of converted samples: all numbers in it to a distance, all else as it is.
func requireSameExplanation(t *rapid.T, e, converted *Engine, r ExplainRequest, code string) {
	want, err := converted.Explain(context.Background(), r)
	require.NoError(t, err)
	r.Unit = code
	got, err := e.Explain(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, code, got.Unit)
	near := func(want, got ExplainedValue) {
		require.Equal(t, want.Null, got.Null, r.Aggregate)
		require.Equal(t, want.Number == nil, got.Number == nil, r.Aggregate)
		if want.Number == nil {
			require.Equal(t, want.Text, got.Text)
			return
		}
		require.InDelta(t, *want.Number, *got.Number, 1e-6*max(1, math.Abs(*want.Number)), r.Aggregate)
		number, err := strconv.ParseFloat(got.Text, 64)
		if err == nil {
			require.Equal(t, *got.Number, number)
		}
	}
	near(want.Value, got.Value)
	require.Equal(t, want.Quality, got.Quality)
	require.Equal(t, want.Samples, got.Samples)
	require.Equal(t, want.Durations, got.Durations)
	require.Equal(t, want.Reasons, got.Reasons)
	require.Len(t, got.Bounds, len(want.Bounds))
	for i, w := range want.Bounds {
		g := got.Bounds[i]
		near(w.Value, g.Value)
		require.Equal(t, w.Quality, g.Quality)
		require.Len(t, g.From, len(w.From))
		for k := range w.From {
			require.Equal(t, w.From[k].Time, g.From[k].Time)
			near(w.From[k].Value, g.From[k].Value)
		}
	}
}

// TestUnitsStandInTheSchema: the field of values names the unit asked for, that of a count does not.
func TestUnitsStandInTheSchema(t *testing.T) {
	s := newPlainStore(model.Int64)
	s.tags[0].Settings[0].Unit = "mbar"
	e, err := New(s, Options{})
	require.NoError(t, err)
	one := Tags{IDs: []model.TagID{1}}
	ranges, err := e.RangeSchema(RangeRequest{Tags: one, End: 1, Unit: "bar"})
	require.NoError(t, err)
	times, err := e.AtTimesSchema(AtTimesRequest{Tags: one, Times: []int64{1}, Unit: "bar"})
	require.NoError(t, err)
	processed, err := e.ProcessedSchema(ProcessedRequest{Tags: one, Buckets: Buckets{End: 1}, Functions: []Function{Standard(part13.Average)}, Configuration: part13.Defaults, Unit: "bar"})
	require.NoError(t, err)
	aggregates, err := e.AggregatesSchema(AggregatesRequest{Tags: one, Buckets: Buckets{End: 1}, Aggregates: []Aggregate{Count, Minimum, Sum}, Unit: "bar"})
	require.NoError(t, err)
	for _, f := range []struct {
		schema          *arrow.Schema
		name, unit, typ string
	}{
		{ranges, "value", "bar", "float64"}, {times, "value", "bar", "float64"}, {processed, "value", "bar", "float64"},
		{aggregates, "count", "", "int64"}, {aggregates, "minimum", "bar", "float64"}, {aggregates, "sum", "bar", "float64"},
	} {
		field := f.schema.Field(f.schema.FieldIndices(f.name)[0])
		got, _ := field.Metadata.GetValue(MetaUnit)
		require.Equal(t, f.unit, got)
		require.Equal(t, f.typ, field.Type.String())
	}
	plain, err := e.RangeSchema(RangeRequest{Tags: one, End: 1})
	require.NoError(t, err)
	require.Zero(t, plain.Field(2).Metadata.Len())
}

func TestUnitsThatMakeNoSense(t *testing.T) {
	s := newPlainStore(model.Float64, model.String, model.Float64, model.Float64)
	s.tags[0].Settings[0].Unit = "bar"
	s.tags[2].Settings[0].Unit = "degrees"
	s.tags[3].Settings = append(s.tags[3].Settings, model.Settings{From: 1e9, Type: model.Float64, Unit: "bar"}) // no unit before
	for _, id := range []model.TagID{1, 3, 4} {
		s.add(id, 0, model.Sample{Time: 0})
		s.add(id, 0, model.Sample{Time: 2e9})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	for _, x := range []struct {
		tag        model.TagID
		unit, says string
	}{
		{1, "psig", `unit asked for: "psig" at byte 0: unit "psig" is not known, it may be [psi]{gauge}`},
		{1, "m3/h", "tag float64-1 (id 1): bar is m-1.kg.s-2, m3/h is m3.s-1: units of different dimensions"},
		{2, "bar", "tag string-2 (id 2) in bar: it is of type string and no number"},
		{3, "bar", `tag float64-3 (id 3): its unit is "degrees" at byte 0`},
		{4, "m", "tag float64-4 (id 4): from 1970-01-01T00:00:01Z on: bar is"},
		{4, "kPa", "tag float64-4 (id 4): it has no unit, and no value in kPa"},
	} {
		one := Tags{IDs: []model.TagID{x.tag}}
		for _, read := range []func() error{
			func() error {
				_, err := e.ReadRange(context.Background(), RangeRequest{Tags: one, End: 3e9, Unit: x.unit}, &bytesSink{})
				return err
			},
			func() error {
				_, err := e.ReadAtTimes(context.Background(), AtTimesRequest{Tags: one, Times: []int64{0}, Unit: x.unit}, &bytesSink{})
				return err
			},
			func() error {
				_, err := e.ReadAggregates(context.Background(), AggregatesRequest{Tags: one, Buckets: Buckets{End: 3e9}, Aggregates: []Aggregate{First}, Unit: x.unit}, &bytesSink{})
				return err
			},
			func() error {
				_, err := e.ReadProcessed(context.Background(), ProcessedRequest{Tags: one, Buckets: Buckets{End: 3e9}, Functions: []Function{Standard(part13.Start)}, Configuration: part13.Defaults, Unit: x.unit}, &bytesSink{})
				return err
			},
			func() error {
				_, err := e.ReadWide(context.Background(), WideRequest{Tags: one, Buckets: Buckets{}, Mode: WideAsOf, Unit: x.unit}, &bytesSink{})
				return err
			},
			func() error {
				_, err := e.ReadPlot(context.Background(), PlotRequest{Tags: one, End: 3e9, Width: 2, Unit: x.unit}, &bytesSink{})
				return err
			},
			func() error {
				_, err := e.ReadPlot(context.Background(), PlotRequest{Tags: one, End: 3e9, LTTB: 2, Unit: x.unit}, &bytesSink{})
				return err
			},
		} {
			err := read()
			require.ErrorIs(t, err, ErrBadRequest)
			require.ErrorContains(t, err, x.says)
		}
	}
	var sink bytesSink
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{4}}, Start: 1e9, End: 3e9, Unit: "kPa"}, &sink)
	require.NoError(t, err, "what has a unit converts, whatever was before")
	require.Zero(t, s.open.Load())
	require.Zero(t, e.MemoryTaken())
}

// TestCountersInAUnit: a counter rolls over at its highest value as stored. Where it would be counted in the unit asked for, that is refused.
func TestCountersInAUnit(t *testing.T) {
	s := newPlainStore(model.Uint64, model.Uint64)
	s.tags[0].Settings[0].Unit = "kW.h"
	s.tags[1].Settings = []model.Settings{{From: model.MinTime, Type: model.Uint64, Unit: "kW.h"}, {From: 3, Type: model.Uint64, Unit: "MW.h"}}
	for i, v := range []uint64{990, 998, 5} {
		s.add(1, 0, model.Sample{Time: int64(i), Bits: v})
		s.add(2, 0, model.Sample{Time: int64(i), Bits: v})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	r := ProcessedRequest{
		Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{End: 3}, Functions: functions(t, "increase", "rate"), Configuration: part13.Defaults,
		Counter: counter.Limits{Highest: 999, Step: 100}, Unit: "W.h",
	}
	rec := readProcessed(t, e, r)
	defer rec.Release()
	require.Equal(t, []float64{15000, 15000 / 2e-9}, rec.Column(5).(*array.Float64).Float64Values())
	for _, x := range []struct {
		tag model.TagID
		and []Function
	}{{2, nil}, {1, []Function{Standard(part13.Interpolative)}}} {
		bad := r
		bad.IDs, bad.Functions = []model.TagID{x.tag}, append(x.and, r.Functions...)
		_, err := e.ReadProcessed(context.Background(), bad, &bytesSink{})
		require.ErrorIs(t, err, ErrBadRequest)
		require.ErrorContains(t, err, "the limits of a counter are of its values as they are stored")
		bad.Counter = counter.Limits{}
		readProcessed(t, e, bad).Release()
	}
}

// TestWhatOnlyRollupsTellIsConverted: a tag that had one unit is answered from rollups where nothing else is left. Of one whose unit
// changed there is an error in place of an answer without samples.
func TestWhatOnlyRollupsTellIsConverted(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	s.tags[0].Settings[0].Unit = "Cel"
	s.tags[1].Settings = []model.Settings{{From: model.MinTime, Type: model.Float64, Unit: "Cel"}, {From: 3, Type: model.Float64, Unit: "K"}}
	for i, v := range []float64{10, 20, 30} {
		s.add(1, 0, model.Sample{Time: int64(i), Bits: math.Float64bits(v)})
		s.add(2, 0, model.Sample{Time: int64(i), Bits: math.Float64bits(v)})
	}
	e, err := New(rollupsOnly{s}, Options{})
	require.NoError(t, err)
	r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{End: 3}, Aggregates: []Aggregate{Minimum, Range, EventWeightedAverage}, Unit: "[degF]"}
	rec := readAggregates(t, e, r)
	defer rec.Release()
	for i, want := range []float64{50, 36, 68} {
		require.InDelta(t, want, rec.Column(2+i).(*array.Float64).Value(0), 1e-12)
	}
	r.Aggregates = append(r.Aggregates, Sum) // which an offset makes one of samples
	for _, tag := range []model.TagID{1, 2} {
		r.IDs = []model.TagID{tag}
		for _, b := range []Buckets{{End: 3}, {Start: 3, End: 9}} { // in it, and next to it
			r.Buckets = b
			_, err = e.ReadAggregates(context.Background(), r, &bytesSink{})
			require.ErrorIs(t, err, storage.ErrErased)
		}
	}
}

// TestStoredAggregatesInAUnit asks a sealed store, whose rollups answer, and holds the answers against one of converted samples.
func TestStoredAggregatesInAUnit(t *testing.T) {
	const hour = int64(3600e9)
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(6, 4))
	var samples model.Samples
	for at := int64(0); at < 60*hour; at += 1 + rng.Int64N(60e9) {
		q := []model.Quality{0, 0, 0, 0, 0, model.Uncertain, model.BadSensorFailure}[rng.IntN(7)]
		samples.Append(model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(rng.IntN(1000)) / 8), Quality: q})
	}
	samples.Type = model.Float64
	open := func(samples model.Samples, settings ...model.Settings) *Engine {
		db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{Name: "a", UUID: model.UUID{1}, Settings: settings}}}})
		require.NoError(t, err)
		tag, _ := db.Catalog().ByName("a")
		pending, err := db.Submit(ctx, &storage.Batch{Source: "s", Epoch: 1, Sequence: 1, ContentHash: 1, Runs: []storage.Run{{Tag: tag.ID, Mode: model.Append, Samples: samples}}})
		require.NoError(t, err)
		_, err = pending.Applied(ctx)
		require.NoError(t, err)
		_, err = db.Seal(ctx)
		require.NoError(t, err)
		e, err := New(FromDB(db), Options{})
		require.NoError(t, err)
		return e
	}
	first := model.Settings{From: model.MinTime, Type: model.Float64, Unit: "Cel"}
	dated := model.Settings{From: 31 * hour, Type: model.Float64, Unit: "K"}
	for _, settings := range [][]model.Settings{{first}, {first, dated}} {
		tag := model.Tag{Settings: settings}
		converted := samples
		converted.Bits = nil
		to, err := unit.Parse("[degF]")
		require.NoError(t, err)
		for i, at := range samples.Times {
			from, err := unit.Parse(tag.At(at).Unit)
			require.NoError(t, err)
			c, err := unit.Convert(from, to)
			require.NoError(t, err)
			converted.Bits = append(converted.Bits, math.Float64bits(c.Value(math.Float64frombits(samples.Bits[i]))))
		}
		e, p := open(samples, settings...), open(converted, model.Settings{From: model.MinTime, Type: model.Float64})
		for _, b := range []Buckets{{End: 60 * hour, Step: hour}, {Start: 60 * hour, Step: 7 * hour}, {Start: 1e9, End: 50 * hour, Step: 1800e9}} {
			r := AggregatesRequest{Tags: Tags{Names: []string{"a"}}, Buckets: b, Aggregates: []Aggregate{Count, Minimum, Maximum, First, Last, Range, StandardDeviation, EventWeightedAverage, TimeWeightedAverage, DurationGood}}
			var want, got bytesSink
			_, err := p.ReadAggregates(ctx, r, &want)
			require.NoError(t, err)
			r.Unit = "[degF]"
			_, err = e.ReadAggregates(ctx, r, &got)
			require.NoError(t, err)
			_, wantRows, _ := want.read(t)
			_, gotRows, _ := got.read(t)
			requireSameAnswer(t, wantRows, gotRows, 1e-9)
			if b.Start < b.End {
				r := PlotRequest{Tags: r.Tags, Start: b.Start, End: b.End, Width: 7}
				want := readPlot(t, p, r)
				r.Unit = "[degF]"
				requireSameAnswer(t, want, readPlot(t, e, r), 0)
			}
		}
	}
}
