package query

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
)

// wideTable is a wide answer: the values of each column by row.
type wideTable struct {
	schema *arrow.Schema
	cells  [][]any // by column
	sizes  []int64
}

func readWide(t require.TestingT, e *Engine, r WideRequest) wideTable {
	var sink bytesSink
	n, err := e.ReadWide(context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, e.MemoryTaken())
	reader, err := ipc.NewReader(bytes.NewReader(sink.Bytes()))
	require.NoError(t, err)
	defer reader.Release()
	out := wideTable{schema: reader.Schema(), cells: make([][]any, len(reader.Schema().Fields()))}
	for reader.Next() {
		rec := reader.Record()
		out.sizes = append(out.sizes, rec.NumRows())
		for c := range out.cells {
			for i := range int(rec.NumRows()) {
				out.cells[c] = append(out.cells[c], valueAt(rec.Column(c), i))
			}
		}
	}
	require.NoError(t, reader.Err())
	require.Equal(t, n, uint64(len(out.cells[0])))
	want, err := e.WideSchema(r)
	require.NoError(t, err)
	require.True(t, want.Equal(reader.Schema()))
	return out
}

// wideCell is a sample as a cell, from docs/reference/wide.md.
func wideCell(s *plainStore, x model.Sample, at int64) any {
	if x.Null {
		return nil
	}
	switch x.Type {
	case model.Float64:
		return x.Bits
	case model.Float32:
		return math.Float64bits(model.WidenFloat32(uint32(x.Bits)))
	case model.Int64, model.Uint64:
		return int64(x.Bits)
	case model.Bool:
		return x.Bits != 0
	case model.State:
		if text, ok := setInForce(s.sets, at).Text(int64(x.Bits)); ok {
			return text
		}
		return strconv.FormatInt(int64(x.Bits), 10)
	}
	return string(x.Blob)
}

// drawWide makes a store of tags of any types and a request about all of them, of few rows a batch and an engine with so little
// memory that an answer takes several windows.
func drawWide(t *rapid.T) (*plainStore, WideRequest) {
	types := rapid.SliceOfN(rapid.SampledFrom(everyType), 1, 5).Draw(t, "types")
	s := newPlainStore(types...)
	s.block = rapid.IntRange(1, 9).Draw(t, "block")
	s.sets = []*model.StateSet{
		{Name: "set", Version: 1, From: model.MinTime, States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}},
		{Name: "set", Version: 2, From: 20, States: []model.DigitalState{{Code: 0, Text: "stopped"}}},
	}
	r := WideRequest{BatchRows: rapid.IntRange(1, 11).Draw(t, "batch"), WithQuality: rapid.Bool().Draw(t, "quality")}
	for _, tag := range s.tags {
		if rapid.Bool().Draw(t, "settings") {
			drawSettings(t, tag)
		}
		drawSeries(t, s, tag.ID)
		r.IDs = append(r.IDs, tag.ID)
	}
	r.Start, r.End, r.Step = rapid.Int64Range(-3, 70).Draw(t, "start"), rapid.Int64Range(-3, 70).Draw(t, "end"), rapid.Int64Range(1, 9).Draw(t, "step")
	return s, r
}

// cramped is an engine with memory for windows of a few batches and one worker, or one with enough.
func cramped(t *rapid.T, s *plainStore, r WideRequest) *Engine {
	large, err := New(s, Options{})
	require.NoError(t, err)
	if rapid.IntRange(0, 3).Draw(t, "large") == 0 {
		return large
	}
	x, err := large.wide(r)
	require.NoError(t, err)
	share := x.fixedBytes() + x.workerBytes() + x.rowBytes()*int64(x.batchRows*rapid.IntRange(1, 3).Draw(t, "batches"))
	e, err := New(s, Options{MemoryBytes: share, QueryBytes: share})
	require.NoError(t, err)
	return e
}

// require holds a column against what each row must be.
func (w *wideTable) require(t require.TestingT, r WideRequest, column int, tag *model.Tag, instants []int64, want func(row int) (any, model.Quality)) {
	per := 1
	if r.WithQuality {
		per = 2
	}
	require.Len(t, w.cells[0], len(instants))
	field := w.schema.Field(1 + per*column)
	require.Equal(t, tag.Name, field.Name)
	id, _ := field.Metadata.GetValue("tag_id")
	require.Equal(t, fmt.Sprint(tag.ID), id)
	for i, at := range instants {
		require.Equal(t, at, w.cells[0][i])
		v, q := want(i)
		require.Equal(t, v, w.cells[1+per*column][i], "column %d at %d", column, at)
		if r.WithQuality {
			require.Equal(t, tag.Name+":q", w.schema.Field(2+per*column).Name)
			require.Equal(t, uint32(q), w.cells[2+per*column][i], "column %d at %d", column, at)
		}
	}
}

// TestWideValuesAreThoseOfEachTag holds cells at instants, of a grid and on the samples of a tag, against loops over all samples and
// against ReadAtTimes.
func TestWideValuesAreThoseOfEachTag(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, r := drawWide(t)
		r.Mode = rapid.SampledFrom([]WideMode{WideAsOf, WideInterpolated}).Draw(t, "mode")
		if rapid.IntRange(0, 4).Draw(t, "as of") == 0 {
			asOf := rapid.Int64Range(0, 12e9).Draw(t, "instant of ingest")
			r.AsOf = &asOf
		}
		stood := func(id model.TagID) (all []model.Sample) {
			b := s.samples[id]
			for k := range b.Len() {
				if r.AsOf == nil || b.Origins[k].Ingest*1e9 <= *r.AsOf {
					all = append(all, b.At(k))
				}
			}
			return all
		}
		var instants []int64
		if rapid.IntRange(0, 2).Draw(t, "on samples") == 0 {
			r.Step, r.OnSamplesOf = 0, s.tags[0].Name
			in := model.Between(r.Start, r.End)
			for _, x := range stood(1) {
				if in.Contains(x.Time) && !slices.Contains(instants, x.Time) {
					instants = append(instants, x.Time)
				}
			}
			if in.Reverse {
				slices.Reverse(instants)
			}
		} else {
			grid := AtTimesRequest{Start: r.Start, End: r.End, Every: r.Step}
			var err error
			instants, err = grid.instants()
			require.NoError(t, err)
		}
		if r.Mode == WideAsOf {
			r.MaxAge = rapid.SampledFrom([]int64{0, 0, 2, 10}).Draw(t, "age")
		} else {
			r.BridgeBad, r.UseUncertain = rapid.Bool().Draw(t, "bridge"), rapid.Bool().Draw(t, "uncertain")
			if rapid.Bool().Draw(t, "override") {
				stepped := rapid.Bool().Draw(t, "stepped")
				r.Stepped = &stepped
			}
		}
		got := readWide(t, cramped(t, s, r), r)
		require.Zero(t, s.open.Load(), "views or cursors stayed open")
		for _, n := range got.sizes {
			require.LessOrEqual(t, n, int64(r.BatchRows))
		}
		for i, tag := range s.tags {
			all := stood(tag.ID)
			if r.Mode == WideAsOf {
				got.require(t, r, i, tag, instants, func(row int) (any, model.Quality) {
					x := plainHeld(all, instants[row], r.MaxAge)
					return wideCell(s, x, instants[row]), x.Quality
				})
				continue
			}
			if len(instants) == 0 {
				continue
			}
			rows := askAt(t, s, AtTimesRequest{
				Tags: Tags{IDs: []model.TagID{tag.ID}}, Times: instants, AsOf: r.AsOf, Stepped: r.Stepped, BridgeBad: r.BridgeBad, UseUncertain: r.UseUncertain,
			})
			got.require(t, r, i, tag, instants, func(row int) (any, model.Quality) {
				x := rows[row]
				q := model.Quality(x.quality)
				if q.IsBad() {
					return nil, q
				}
				return narrowCell(s, tag.Current().Type, x.value["value"], instants[row]), q
			})
		}
	})
}

// narrowCell is a value of a column about one tag, whose values are of a type, as a cell.
func narrowCell(s *plainStore, typ model.Type, v any, at int64) any {
	switch v := v.(type) {
	case uint32:
		if typ == model.Float32 {
			return math.Float64bits(model.WidenFloat32(v))
		}
		return int64(v) // a status code
	case uint64:
		if typ == model.Uint64 {
			return int64(v)
		}
	case int64:
		if typ == model.State {
			return wideCell(s, model.Sample{Type: typ, Bits: uint64(v)}, at)
		}
	}
	return v
}

// plainHeld is the last sample at or before an instant.
func plainHeld(all []model.Sample, at, age int64) model.Sample {
	out := model.Sample{Null: true, Quality: model.BadNoData}
	for _, x := range all {
		if x.Time <= at {
			out = x
		}
	}
	if age > 0 && at-out.Time > age {
		return model.Sample{Null: true, Quality: model.BadNoData}
	}
	out.Null = out.Null || out.Quality.IsBad()
	return out
}

// TestWideAggregatesAreThoseOfEachTag holds cells of buckets against ReadAggregates and ReadProcessed of each tag.
func TestWideAggregatesAreThoseOfEachTag(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, r := drawWide(t)
		if r.Start == r.End {
			r.End++
		}
		if rapid.IntRange(0, 5).Draw(t, "one bucket") == 0 {
			r.Step = 0
		}
		r.Mode, r.UseUncertain = WideAggregate, rapid.Bool().Draw(t, "uncertain")
		buckets, err := r.buckets()
		require.NoError(t, err)
		instants := buckets.edges[:buckets.count()]
		if rapid.Bool().Draw(t, "part 13") {
			r.Function = part13.Aggregate(rapid.IntRange(1, len(part13.Names())).Draw(t, "function"))
			r.Configuration = part13.Configuration{
				TreatUncertainAsBad: !r.UseUncertain, PercentDataBad: 80, PercentDataGood: 60, SlopedExtrapolation: rapid.Bool().Draw(t, "extrapolate"),
			}
			r.Resolution = 1
		} else {
			r.Aggregate = Aggregate(rapid.IntRange(1, int(WorstQuality)).Draw(t, "aggregate"))
		}
		kept := s.tags[:0:0]
		r.IDs = nil
		for _, tag := range s.tags {
			one := &tagList{asked: []asked{{tag: tag}}}
			if typ := tag.Current().Type; r.Function != 0 && r.Function.Of(typ) && typ != model.Bytes /* which ReadProcessed has no column for */ || r.Function == 0 && r.Aggregate.checkNumbers(one) == nil {
				kept, r.IDs = append(kept, tag), append(r.IDs, tag.ID)
			}
		}
		if len(kept) == 0 {
			return
		}
		got := readWide(t, cramped(t, s, r), r)
		require.Zero(t, s.open.Load(), "views or cursors stayed open")
		whole, err := New(s, Options{})
		require.NoError(t, err)
		for i, tag := range kept {
			one, column := Tags{IDs: []model.TagID{tag.ID}}, r.Aggregate.String()
			var sink bytesSink
			if r.Function != 0 {
				_, err = whole.ReadProcessed(context.Background(), ProcessedRequest{
					Tags: one, Buckets: r.Buckets, Functions: []Function{Standard(r.Function)}, Configuration: r.Configuration, Resolution: 1,
				}, &sink)
			} else {
				_, err = whole.ReadAggregates(context.Background(), AggregatesRequest{
					Tags: one, Buckets: r.Buckets, Aggregates: []Aggregate{r.Aggregate}, UseUncertain: r.UseUncertain,
				}, &sink)
			}
			require.NoError(t, err)
			_, rows, _ := sink.read(t)
			typ := tag.Current().Type
			got.require(t, r, i, tag, instants, func(row int) (any, model.Quality) {
				x := rows[row]
				if r.Function == 0 {
					return narrowCell(s, r.Aggregate.wideType(typ), x.value[column], instants[row]), model.Quality(x.quality)
				}
				return processedCell(r.Function.Type(typ, r.Configuration), x.value), model.Quality(x.quality)
			})
		}
	})
}

// processedCell is a row of processed values, which are of a type, as a cell.
func processedCell(typ model.Type, row map[string]any) any {
	whole := row["value_int"]
	switch wideType(typ) {
	case model.Float64:
		return row["value"]
	case model.Bool:
		if whole != nil {
			return whole != int64(0)
		}
	case model.String:
		if text := row["value_text"]; text != nil || whole == nil {
			return text
		}
		return fmt.Sprint(whole) // a code without a name
	}
	return whole
}

// TestWideTexts: windows with much text are begun anew, shorter, and a row with too much is refused.
func TestWideTexts(t *testing.T) {
	s := newPlainStore(model.String, model.String, model.String)
	for _, tag := range s.tags {
		for i := range 20 {
			s.add(tag.ID, 0, model.Sample{Time: int64(i) * 10, Blob: bytes.Repeat([]byte{'a' + byte(i)}, 300<<10)})
		}
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	r := WideRequest{Tags: Tags{IDs: []model.TagID{1, 2, 3}}, Buckets: Buckets{End: 200, Step: 5}, Mode: WideAsOf}
	got := readWide(t, e, r)
	require.Len(t, got.cells[0], 40)
	for i, at := range got.cells[0] {
		for c := 1; c <= 3; c++ {
			require.Equal(t, byte('a')+byte(at.(int64)/10), got.cells[c][i].(string)[300<<10-1])
		}
	}
	for _, n := range got.sizes {
		require.LessOrEqual(t, n, int64(2), "rows of 900 KiB in batches of 2 MiB")
	}
	r.Mode, r.Aggregate = WideAggregate, First
	require.Len(t, readWide(t, e, r).cells[0], 40)

	many := newPlainStore(slices.Repeat([]model.Type{model.String}, 12)...)
	r = WideRequest{Buckets: Buckets{}, Mode: WideAsOf}
	for _, tag := range many.tags {
		many.add(tag.ID, 0, model.Sample{Blob: bytes.Repeat([]byte{'x'}, 800<<10)})
		r.IDs = append(r.IDs, tag.ID)
	}
	e, err = New(many, Options{})
	require.NoError(t, err)
	_, err = e.ReadWide(context.Background(), r, &bytesSink{})
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "ask for fewer tags")
}

func TestWideNumbersThatDoNotFit(t *testing.T) {
	s := newPlainStore(model.Uint64)
	s.add(1, 0, model.Sample{Time: 10, Bits: math.MaxInt64})
	s.add(1, 0, model.Sample{Time: 20, Bits: math.MaxInt64 + 1})
	e, err := New(s, Options{})
	require.NoError(t, err)
	r := WideRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 10, End: 20, Step: 1}, Mode: WideAsOf, BatchRows: 4}
	require.Equal(t, int64(math.MaxInt64), readWide(t, e, r).cells[1][9])
	r.End = 30
	_, err = e.ReadWide(context.Background(), r, &bytesSink{})
	require.ErrorIs(t, err, ErrNoFit)
	require.ErrorContains(t, err, "uint64-1 (id 1): value 9223372036854775808 at 1970")
	r.Mode, r.Aggregate = WideAggregate, Sum
	_, err = e.ReadWide(context.Background(), r, &bytesSink{})
	require.ErrorIs(t, err, ErrNoFit)
}

// TestWideFaults: damage ends the answer behind the windows read before it, and names the tag.
func TestWideFaults(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	s.block = 5
	for i := range 20 {
		s.add(1, 0, model.Sample{Time: int64(i) * 10})
		s.add(2, 0, model.Sample{Time: int64(i) * 10})
	}
	s.damage[2] = errDamage
	e, err := New(s, Options{})
	require.NoError(t, err)
	r := WideRequest{Tags: Tags{IDs: []model.TagID{1, 2}}, Buckets: Buckets{End: 200, Step: 10}, Mode: WideAsOf}
	_, err = e.ReadWide(context.Background(), r, &bytesSink{})
	require.ErrorIs(t, err, errDamage)
	require.ErrorContains(t, err, "float64-2 (id 2)")
	require.Zero(t, s.open.Load())
	_, err = e.ReadWide(context.Background(), r, &bytesSink{fail: errDamage})
	require.ErrorIs(t, err, errDamage)
	require.Zero(t, e.MemoryTaken())
}

func TestWideQuestionsThatMakeNoSense(t *testing.T) {
	s := newPlainStore(model.Float64, model.String)
	s.tags = append(s.tags, &model.Tag{ID: 3, Name: "time", Settings: s.tags[0].Settings, Aliases: s.tags[0].Aliases},
		&model.Tag{ID: 4, Name: "float64-1:q", Settings: s.tags[0].Settings, Aliases: s.tags[0].Aliases})
	e, err := New(s, Options{})
	require.NoError(t, err)
	one, stepped, asOf := Tags{IDs: []model.TagID{1}}, true, int64(1)
	ten := Buckets{End: 10, Step: 1}
	for text, r := range map[string]WideRequest{
		"no tag":                        {Mode: WideAsOf, Buckets: ten},
		"4001 tags are asked for":       {Mode: WideAsOf, Buckets: ten, Tags: Tags{IDs: make([]model.TagID, 4001)}},
		"2001 tags are asked for":       {Mode: WideAsOf, Buckets: ten, Tags: Tags{IDs: make([]model.TagID, 2001)}, WithQuality: true},
		"which is none":                 {Buckets: ten, Tags: one},
		"batches of -1":                 {Mode: WideAsOf, Buckets: ten, Tags: one, BatchRows: -1},
		"share is 50331648":             {Mode: WideAsOf, Buckets: Buckets{End: 1 << 20, Step: 1}, Tags: one, BatchRows: 1 << 20, WithQuality: true},
		"largest age -1":                {Mode: WideAsOf, Buckets: ten, Tags: one, MaxAge: -1},
		"asof only":                     {Mode: WideInterpolated, Buckets: ten, Tags: one, MaxAge: 1},
		"one aggregate go together":     {Mode: WideAsOf, Buckets: ten, Tags: one, Aggregate: Sum},
		"aggregate go together":         {Mode: WideAggregate, Buckets: ten, Tags: one, Aggregate: Sum, Function: part13.Average},
		"mode aggregate and":            {Mode: WideAggregate, Buckets: ten, Tags: one},
		"earlier time":                  {Mode: WideAggregate, Buckets: ten, Tags: one, Aggregate: Sum, AsOf: &asOf},
		"on the samples of a tag":       {Mode: WideAggregate, Buckets: ten, Tags: one, Aggregate: Sum, OnSamplesOf: "float64-1"},
		"bridge_bad":                    {Mode: WideAsOf, Buckets: ten, Tags: one, BridgeBad: true},
		"use_uncertain":                 {Mode: WideAsOf, Buckets: ten, Tags: one, UseUncertain: true},
		"stepped goes with":             {Mode: WideAsOf, Buckets: ten, Tags: one, Stepped: &stepped},
		"edges of buckets":              {Mode: WideAsOf, Buckets: Buckets{Edges: []int64{1, 2}}, Tags: one},
		"at what distance":              {Mode: WideAsOf, Buckets: Buckets{End: 10}, Tags: one},
		"to the same instant":           {Mode: WideAggregate, Tags: one, Aggregate: Sum},
		"beside step":                   {Mode: WideAsOf, Buckets: ten, Tags: one, OnSamplesOf: "float64-1"},
		"whose samples make the rows":   {Mode: WideAsOf, Buckets: Buckets{End: 10}, Tags: one, OnSamplesOf: "nobody"},
		"columns would be named \"floa": {Mode: WideAsOf, Buckets: ten, Tags: Tags{Names: []string{"float64-1"}, IDs: []model.TagID{1}}},
		"columns would be named \"time": {Mode: WideAsOf, Buckets: ten, Tags: Tags{IDs: []model.TagID{3}}},
		"named \"float64-1:q\"":         {Mode: WideAsOf, Buckets: ten, Tags: Tags{IDs: []model.TagID{4, 1}}, WithQuality: true},
		"no number":                     {Mode: WideAggregate, Buckets: ten, Tags: Tags{IDs: []model.TagID{2}}, Aggregate: Sum},
		"which is of type string":       {Mode: WideAggregate, Buckets: ten, Tags: Tags{IDs: []model.TagID{2}}, Function: part13.Average, Configuration: part13.Defaults},
		"1048577 buckets":               {Mode: WideAsOf, Buckets: Buckets{End: 1<<20 + 1, Step: 1}, Tags: one},
		"the first instant is":          {Mode: WideAsOf, Buckets: Buckets{Start: math.MinInt64, End: math.MinInt64}, Tags: one},
	} {
		_, err := e.ReadWide(context.Background(), r, &bytesSink{})
		require.ErrorContains(t, err, text)
		require.Zero(t, e.MemoryTaken())
	}
}

// TestAgesGapsAndDatesOfGoodDoubles: samples as old, and as far apart, as is allowed; and a tag that becomes stepped half way.
func TestAgesGapsAndDatesOfGoodDoubles(t *testing.T) {
	s := newPlainStore(model.Float64)
	for i := range 4 {
		s.add(1, 0, model.Sample{Time: int64(i) * 10, Bits: math.Float64bits(float64(i) * 10)})
	}
	s.samples[1].Quality, s.samples[1].Null = nil, nil
	e, err := New(s, Options{})
	require.NoError(t, err)
	ask := func(r WideRequest) (values []any) {
		r.Tags, r.Buckets = Tags{IDs: []model.TagID{1}}, Buckets{Start: 4, End: 19, Step: 5}
		for _, v := range readWide(t, e, r).cells[1] {
			if v != nil {
				v = math.Float64frombits(v.(uint64))
			}
			values = append(values, v)
		}
		return values
	}
	require.Equal(t, []any{0.0, nil, 10.0}, ask(WideRequest{Mode: WideAsOf, MaxAge: 4}))
	require.Equal(t, []any{nil, nil, nil}, ask(WideRequest{Mode: WideAsOf, MaxAge: 3}))
	first := s.tags[0].Settings[0]
	set := func(gap int64, more ...model.Settings) {
		first.MaxGap = time.Duration(gap)
		s.tags[0].Settings = append([]model.Settings{first}, more...)
	}
	set(10)
	require.Equal(t, []any{4.0, 9.0, 14.0}, ask(WideRequest{Mode: WideInterpolated}))
	set(9)
	require.Equal(t, []any{nil, nil, nil}, ask(WideRequest{Mode: WideInterpolated}))
	later := first
	later.From, later.Stepped, later.MaxGap = 8, true, 0
	set(0, later)
	require.Equal(t, []any{4.0, 0.0, 10.0}, ask(WideRequest{Mode: WideInterpolated}))
}
