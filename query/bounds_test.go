package query

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func ask(t require.TestingT, s *plainStore, r RangeRequest) []row {
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	_, err = e.ReadRange(context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, s.open.Load(), "views or cursors stayed open")
	_, rows, _ := sink.read(t)
	return rows
}

// TestPublicBounds goes through the bounding values of OPC UA Part 11, Table 1.
func TestPublicBounds(t *testing.T) {
	var all struct {
		Samples []time.Time `json:"sample_times"`
		Cases   []struct {
			Name       string     `json:"name"`
			Start, End *time.Time `json:",omitempty"`
			Max        uint64     `json:"max_values"`
			Bounds     bool       `json:"return_bounds"`
			Contested  string     `json:"contested"`
			Expect     []struct {
				T       *time.Time `json:"t"`
				NoBound bool       `json:"no_bound"`
			}
		}
	}
	raw, err := os.ReadFile("testdata/conformance/opcua_part11_raw_bounds.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &all))
	require.Len(t, all.Cases, 45)
	s := newPlainStore(model.Float64)
	for _, at := range all.Samples {
		s.add(1, 0, model.Sample{Time: at.UnixNano()})
	}
	for _, c := range all.Cases {
		r := RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, Limit: c.Max, OpenStart: c.Start == nil, OpenEnd: c.End == nil}
		if c.Start != nil {
			r.Start = c.Start.UnixNano()
		}
		if c.End != nil {
			r.End = c.End.UnixNano()
		}
		if c.Bounds {
			r.Bounds = Outside
		}
		rows := ask(t, s, r)
		require.Len(t, rows, len(c.Expect), c.Name)
		for i, want := range c.Expect {
			if want.T != nil {
				require.Equal(t, want.T.UnixNano(), rows[i].time, c.Name)
			}
			if c.Contested == "" {
				require.Equal(t, want.NoBound, rows[i].quality == uint32(model.BadBoundNotFound), c.Name)
				require.Equal(t, want.NoBound, rows[i].value["value"] == nil, c.Name)
			}
		}
	}
}

func drawRange(t *rapid.T, s *plainStore) RangeRequest {
	r := RangeRequest{
		Start: rapid.Int64Range(-3, 60).Draw(t, "start"), End: rapid.Int64Range(-3, 60).Draw(t, "end"),
		Limit: rapid.SampledFrom([]uint64{0, 0, 1, 2, 5}).Draw(t, "limit"), BatchRows: rapid.IntRange(0, 11).Draw(t, "rows"),
		Bounds: rapid.SampledFrom([]Bounds{NoBounds, Inside, Outside, Interpolated}).Draw(t, "bounds"), WithSeq: true,
		WithSource: rapid.Bool().Draw(t, "source"),
	}
	if rapid.IntRange(0, 4).Draw(t, "instant") == 0 {
		r.End = r.Start
	}
	if rapid.IntRange(0, 4).Draw(t, "as of") == 0 {
		asOf := rapid.Int64Range(0, 12e9).Draw(t, "instant of ingest")
		r.AsOf = &asOf
	}
	if r.Bounds != Interpolated {
		r.OpenStart = rapid.IntRange(0, 3).Draw(t, "open start") == 0
		r.OpenEnd = !r.OpenStart && rapid.IntRange(0, 3).Draw(t, "open end") == 0
		if r.OpenStart || r.OpenEnd {
			r.Limit = max(r.Limit, 1) * rapid.SampledFrom([]uint64{1, 1000}).Draw(t, "many")
		}
	}
	if r.Bounds <= Inside && rapid.Bool().Draw(t, "filtered") {
		r.Severities = Severities(rapid.IntRange(0, 7).Draw(t, "severities"))
		for range rapid.IntRange(0, 2).Draw(t, "comparisons") {
			r.Where = append(r.Where, drawComparison(t, s.samples[1].Type)...)
		}
	}
	return r
}

func drawComparison(t *rapid.T, typ model.Type) []Comparison {
	c := Comparison{Operator: Operator(rapid.IntRange(1, 6).Draw(t, "operator"))}
	switch {
	case typ == model.Bytes:
		return nil
	case typ == model.String || typ == model.State && rapid.Bool().Draw(t, "text"):
		c.Operator = 1 + c.Operator%2
		c.Operand = rapid.SampledFrom([]string{"v0", "off", "stopped", "on"}).Draw(t, "operand")
	case rapid.Bool().Draw(t, "integer"):
		c.Operand = rapid.Int64Range(-1, 40).Draw(t, "operand")
	default:
		c.Operand = rapid.SampledFrom([]float64{0, 0.25, 5, 30, math.NaN(), math.Inf(1), math.Inf(-1)}).Draw(t, "operand")
	}
	return []Comparison{c}
}

func drawStore(t *rapid.T) *plainStore {
	types := []model.Type{rapid.SampledFrom(everyType).Draw(t, "type")}
	if rapid.Bool().Draw(t, "two") {
		types = append(types, types[0])
	}
	s := newPlainStore(types...)
	s.block = rapid.IntRange(1, 9).Draw(t, "block")
	s.sets = []*model.StateSet{
		{Name: "set", Version: 1, From: model.MinTime, States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}},
		{Name: "set", Version: 2, From: 20, States: []model.DigitalState{{Code: 0, Text: "stopped"}}},
	}
	for _, tag := range s.tags {
		drawSettings(t, tag)
		drawSeries(t, s, tag.ID)
	}
	return s
}

// TestBoundsOfBlocksThatLieInTheAnswer reads a block that was decoded into the answer, behind samples that are not asked for: as it is moved
// to where it belongs, the samples at the edges have to be told by their times all the same.
func TestBoundsOfBlocksThatLieInTheAnswer(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.block = 4 // the second one lies in the answer, one place too far behind
	for at := range int64(9) {
		s.add(1, 0, model.Sample{Time: at})
	}
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	_, err = e.ReadRange(context.Background(), RangeRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 6, Bounds: Inside}, &sink)
	require.NoError(t, err)
	_, rows, _ := sink.read(t)
	require.Len(t, rows, 7)
	for _, x := range rows {
		require.Equal(t, x.time == 0 || x.time == 6, x.value["bound"], "at %d", x.time)
	}
}

// requireRows holds rows of one tag against samples.
func requireRows(t require.TestingT, s *plainStore, tag *model.Tag, r RangeRequest, want []model.Sample, got []row) {
	require.Len(t, got, len(want))
	from, to := r.edges()
	for i, x := range want {
		g := got[i]
		require.Equal(t, x.Time, g.time, "row %d", i)
		require.Equal(t, tag.Name, g.tag)
		require.Equal(t, uint32(x.Quality), g.quality, "row %d", i)
		require.Equal(t, x.Seq, g.value["seq"])
		bound, has := g.value["bound"]
		require.Equal(t, r.Bounds != NoBounds, has)
		if has {
			require.Equal(t, x.Time <= min(from, to) || x.Time >= max(from, to), bound)
		}
		for name, v := range plainValue(s, tag, x, false) {
			requireNear(t, x.Type, v, g.value[name])
		}
		_, valued := g.value["value"]
		require.Equal(t, !x.Null, valued, "row %d", i)
		if calculated := x.Quality&0x402 == 0x402 || x.Quality == model.BadBoundNotFound || x.Quality == model.BadNoData; r.WithSource && calculated {
			require.NotContains(t, g.value, "ingest_time")
		} else if r.WithSource {
			require.Equal(t, x.Time/7, g.value["ingest_time"])
		}
	}
}

// requireNear compares exactly but for the rounding of lines between doubles.
func requireNear(t require.TestingT, typ model.Type, want, got any) {
	if typ == model.Float64 {
		w, g := math.Float64frombits(want.(uint64)), math.Float64frombits(got.(uint64))
		require.InDelta(t, w, g, 1e-12)
		return
	}
	if typ == model.Float32 {
		w, g := math.Float32frombits(want.(uint32)), math.Float32frombits(got.(uint32))
		require.InDelta(t, w, g, 1e-6)
		return
	}
	require.Equal(t, want, got)
}

// TestRangesAreThoseOfAPlainModel asks for samples with all options.
func TestRangesAreThoseOfAPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		for range 10 {
			r := drawRange(t, s)
			for _, tag := range s.tags {
				r.IDs = append(r.IDs, tag.ID)
			}
			rows := ask(t, s, r)
			for _, tag := range s.tags {
				want := plainRange(s, tag, r)
				require.LessOrEqual(t, len(want), len(rows))
				requireRows(t, s, tag, r, want, rows[:len(want)])
				rows = rows[len(want):]
			}
			require.Empty(t, rows)
		}
	})
}

// TestPagesAreTheWhole reads page by page, each behind the last row of the one before.
func TestPagesAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		r := drawRange(t, s)
		r.IDs = []model.TagID{1}
		if r.Bounds >= Outside && r.Start == r.End && !r.OpenStart && !r.OpenEnd {
			r.Start++
		}
		r.Limit = 1000
		whole := ask(t, s, r)
		require.Less(t, len(whole), 1000)
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
		r.Limit = 1000
		if len(whole) > 0 { // a read that was cut off goes on to the end
			i := rapid.IntRange(0, len(whole)-1).Draw(t, "cut")
			r.After = &Position{Time: whole[i].time, Seq: whole[i].value["seq"].(uint32)}
			require.Equal(t, len(whole)-1-i, len(ask(t, s, r)))
		}
	})
}

// TestNumbersAreComparedExactly compares what doubles cannot tell apart.
func TestNumbersAreComparedExactly(t *testing.T) {
	special := []uint64{0, 1, 1 << 53, 1<<53 + 1, 1<<62 + 1, 1<<63 - 1, 1 << 63, 1<<63 + 1, math.MaxUint64, math.MaxUint64 - 1024,
		math.Float64bits(1 << 53), math.Float64bits(1 << 63), math.Float64bits(1 << 64), math.Float64bits(-1 << 63), math.Float64bits(0.5),
		math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)), math.Float64bits(math.NaN())}
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.OneOf(rapid.SampledFrom(special), rapid.Uint64())
		typ := rapid.SampledFrom([]model.Type{model.Float64, model.Float32, model.Int64, model.Uint64}).Draw(t, "type")
		x := model.Sample{Type: typ, Bits: bits.Draw(t, "value")}
		if typ == model.Float32 {
			x.Bits &= math.MaxUint32
		}
		var operand any
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			operand = int64(bits.Draw(t, "operand"))
		case 1:
			operand = math.Float64frombits(bits.Draw(t, "operand"))
		case 2: // the next numbers, or the value itself
			operand = int64(x.Bits) + rapid.Int64Range(-2, 2).Draw(t, "beside")
		default:
			f, _ := x.Float64()
			operand = f
		}
		order, ok := compare(typ, x.Bits, operand)
		a, b := plainNumber(x), plainNumber(operandSample(operand))
		require.Equal(t, a != nil && b != nil, ok)
		if ok {
			require.Equal(t, a.Cmp(b), order)
		}
	})
}

func TestRangesThatMakeNoSense(t *testing.T) {
	s := newPlainStore(model.Float64, model.Bytes)
	e, err := New(s, Options{})
	require.NoError(t, err)
	one, two := Tags{IDs: []model.TagID{1}}, Tags{IDs: []model.TagID{1, 2}}
	above := []Comparison{{Operator: Greater, Operand: int64(1)}}
	for text, r := range map[string]RangeRequest{
		"two of the three":    {Tags: one, OpenEnd: true},
		"without a start, an": {Tags: one, OpenEnd: true, OpenStart: true, Limit: 1},
		"which are none":      {Tags: one, Bounds: 9},
		"interpolated bounds": {Tags: one, Bounds: Interpolated, OpenEnd: true, Limit: 1},
		"chosen by quality":   {Tags: one, Bounds: Outside, Severities: SeverityGood},
		"must be one":         {Tags: two, After: &Position{}},
		"the first instant":   {Tags: one, After: &Position{Time: math.MinInt64}},
		"both bounds stand":   {Tags: one, After: &Position{}, Bounds: Outside, Start: 5, End: 5},
		"17 comparisons":      {Tags: one, Where: make([]Comparison, 17)},
		"operator 0":          {Tags: one, Where: make([]Comparison, 1)},
		"to compare with":     {Tags: one, Where: []Comparison{{Operator: Equal}}},
		"only equal or not":   {Tags: one, Where: []Comparison{{Operator: Less, Operand: "x"}}},
		"bytes-2 (id 2) is":   {Tags: two, Where: above},
		"float64-1 (id 1) is": {Tags: one, Where: []Comparison{{Operator: Equal, Operand: "x"}}},
	} {
		_, err := e.ReadRange(context.Background(), r, &bytesSink{})
		require.ErrorContains(t, err, text)
		_, err = e.RangeSchema(r)
		require.Error(t, err)
	}
}
