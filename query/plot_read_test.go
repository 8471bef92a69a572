package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/lttb"
	"github.com/varvedb/varve/query/plot"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/rollup"
)

// mark is a sample that can be drawn, or a break.
type mark struct {
	time    int64
	value   float64
	quality model.Quality
	isBreak bool
}

// plainMarks is what is to be drawn of samples, in time order. A line that is too long breaks behind its first sample; within
// a column of pixels only if everywhere is set.
func plainMarks(tag *model.Tag, all []model.Sample, r PlotRequest, everywhere bool) (marks []mark) {
	gap := int64(tag.At(r.End - 1).MaxGap)
	if r.MaxGap != nil {
		gap = int64(*r.MaxGap)
	}
	grid := plot.Grid{Start: r.Start, End: r.End, Width: max(r.Width, 1)}
	for _, x := range all {
		v := math.NaN()
		if !x.Null && !x.Quality.IsBad() && (r.UseUncertain || x.Quality.IsGood()) {
			var ok bool
			if v, ok = x.Float64(); !ok {
				v = float64(int64(x.Bits))
			}
		}
		m := mark{x.Time, v, x.Quality, math.IsNaN(v) || math.IsInf(v, 0)}
		if n := len(marks); n > 0 && !m.isBreak && !marks[n-1].isBreak && gap > 0 && m.time-marks[n-1].time > gap {
			if everywhere || grid.Column(m.time) != grid.Column(marks[n-1].time) {
				marks = append(marks, mark{marks[n-1].time + 1, 0, model.BadNoData, true})
			}
		}
		marks = append(marks, m)
	}
	return marks
}

// plainPlot is the rows of a plot by pixels: what the reducer makes of all samples of the range and those next to it.
func plainPlot(t require.TestingT, tag *model.Tag, all []model.Sample, r PlotRequest) (rows []row) {
	near, last := []model.Sample(nil), -1
	for i, x := range all {
		if x.Time < r.Start {
			last = i
		}
	}
	for _, x := range all[max(last, 0):] {
		near = append(near, x)
		if x.Time >= r.End {
			break
		}
	}
	grid := plot.Grid{Start: r.Start, End: r.End, Width: r.Width}
	reducer, err := plot.NewReducer(grid)
	require.NoError(t, err)
	for _, m := range plainMarks(tag, near, r, false) {
		if m.isBreak {
			reducer.Break(m.time, m.quality)
		} else {
			reducer.Add(m.time, m.value, m.quality)
		}
	}
	for _, x := range reducer.Rows() {
		kind := ""
		for i, name := range []string{"first", "min", "max", "last", "gap"} {
			if x.Kind>>i&1 != 0 {
				kind += map[bool]string{true: ","}[kind != ""] + name
			}
		}
		v := map[string]any{"kind": kind, "worst_quality": uint32(x.Worst), "gap": x.Inner || kind == "gap"}
		if x.Column >= 0 && x.Column < r.Width {
			v["bucket"] = grid.Edge(x.Column)
		}
		if kind != "gap" {
			v["value"] = math.Float64bits(x.Value)
		}
		rows = append(rows, row{time: x.Time, tag: tag.Name, value: v})
	}
	return rows
}

// marksOf is what a chart draws of rows.
func marksOf(rows []row) (marks []mark) {
	for _, r := range rows {
		bits, ok := r.value["value"].(uint64)
		marks = append(marks, mark{time: r.time, value: math.Float64frombits(bits), isBreak: !ok})
	}
	return marks
}

// picture is the lowest and the highest point of each column of pixels that a line through marks covers.
func picture(g plot.Grid, marks []mark, stepped bool) [][2]float64 {
	out := make([][2]float64, g.Width)
	for c := range out {
		out[c] = [2]float64{math.Inf(1), math.Inf(-1)}
		from, to := g.Edge(c), g.Edge(c+1)
		touch := func(v float64) { out[c] = [2]float64{min(out[c][0], v), max(out[c][1], v)} }
		for i, a := range marks {
			if !a.isBreak && a.time >= from && a.time < to {
				touch(a.value)
			}
			if a.isBreak || i+1 == len(marks) || marks[i+1].isBreak && !stepped {
				continue
			}
			b := marks[i+1]
			if b.time < from || a.time >= to {
				continue
			}
			for _, at := range []int64{max(a.time, from), min(b.time, to)} {
				switch {
				case stepped || at == a.time:
					touch(a.value)
				case at == b.time:
					touch(b.value)
				default:
					touch(a.value + (b.value-a.value)*float64(at-a.time)/float64(b.time-a.time))
				}
			}
		}
	}
	return out
}

func readPlot(t require.TestingT, e *Engine, r PlotRequest) []row {
	var sink bytesSink
	n, err := e.ReadPlot(context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, e.MemoryTaken())
	schema, rows, _ := sink.read(t)
	require.Len(t, rows, int(n))
	want, err := e.PlotSchema(r)
	require.NoError(t, err)
	require.True(t, want.Equal(schema))
	return rows
}

var plotTypes = everyType[:6]

// drawPlot draws a store and a request for a plot of one of its tags.
func drawPlot(t *rapid.T) (s *plainStore, tag *model.Tag, all []model.Sample, r PlotRequest) {
	s = newPlainStore(plotTypes...)
	tag = s.tags[rapid.IntRange(0, len(plotTypes)-1).Draw(t, "tag")]
	drawSettings(t, tag)
	drawSeries(t, s, tag.ID)
	if b := s.samples[tag.ID]; b.Type == model.Float64 && b.Len() > 0 && rapid.Bool().Draw(t, "not finite") {
		b.Bits[rapid.IntRange(0, b.Len()-1).Draw(t, "where")] = math.Float64bits(rapid.SampledFrom([]float64{math.NaN(), math.Inf(-1)}).Draw(t, "what"))
	}
	r = PlotRequest{
		Tags: Tags{IDs: []model.TagID{tag.ID}}, Start: rapid.Int64Range(-10, 60).Draw(t, "start"),
		UseUncertain: rapid.Bool().Draw(t, "use uncertain"), BatchRows: rapid.IntRange(0, 5).Draw(t, "batch"),
	}
	r.End = r.Start + rapid.Int64Range(1, 80).Draw(t, "length")
	if rapid.Bool().Draw(t, "gap asked") {
		gap := time.Duration(rapid.Int64Range(0, 4).Draw(t, "gap"))
		r.MaxGap = &gap
	}
	if rapid.IntRange(0, 3).Draw(t, "past") == 0 {
		at := rapid.Int64Range(0, 10e9).Draw(t, "as of")
		r.AsOf = &at
	}
	for i := range s.samples[tag.ID].Len() {
		if o := s.samples[tag.ID].Origins[i]; r.AsOf == nil || o.Ingest*1e9 <= *r.AsOf {
			all = append(all, s.samples[tag.ID].At(i))
		}
	}
	return s, tag, all, r
}

// TestPlotsAreThoseOfAllSamples holds plots by pixels, some of whose samples come as rollups, against the reducer over all samples,
// and the picture that they make against the picture of all samples with every break there is.
func TestPlotsAreThoseOfAllSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, tag, all, r := drawPlot(t)
		r.Width = rapid.IntRange(1, 100).Draw(t, "width")
		e, err := New(s, Options{})
		require.NoError(t, err)
		rows := readPlot(t, e, r)
		require.Zero(t, s.open.Load())
		require.Equal(t, plainPlot(t, tag, all, r), rows)
		grid := plot.Grid{Start: r.Start, End: r.End, Width: r.Width}
		for _, stepped := range []bool{false, true} {
			require.Equal(t, picture(grid, plainMarks(tag, all, r, true), stepped), picture(grid, marksOf(rows), stepped), "stepped %v", stepped)
		}
	})
}

// TestThinnedPlotsAreThoseOfLTTB holds plots by LTTB against the selection from all samples of the range.
func TestThinnedPlotsAreThoseOfLTTB(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, tag, all, r := drawPlot(t)
		r.LTTB = rapid.IntRange(2, 30).Draw(t, "keep")
		e, err := New(s, Options{})
		require.NoError(t, err)
		gap := tag.At(r.End - 1).MaxGap
		if r.MaxGap != nil {
			gap = *r.MaxGap
		}
		all = slices.DeleteFunc(all, func(x model.Sample) bool { return x.Time < r.Start || x.Time >= r.End })
		var times []int64
		var values []float64
		one := r
		one.MaxGap = new(time.Duration) // breaks at samples only
		marks := plainMarks(tag, all, one, true)
		for i := range marks {
			if marks[i].isBreak {
				marks[i].value = math.NaN()
			}
			times, values = append(times, marks[i].time), append(values, marks[i].value)
		}
		var want []row
		for _, i := range lttb.Select(times, values, r.LTTB, gap) {
			m := marks[i]
			if i > 0 && gap > 0 && !m.isBreak && !marks[i-1].isBreak && m.time-marks[i-1].time > int64(gap) {
				want = append(want, row{time: marks[i-1].time + 1, tag: tag.Name, value: map[string]any{"kind": "gap", "worst_quality": uint32(model.BadNoData), "gap": true}})
			}
			x := row{time: m.time, tag: tag.Name, value: map[string]any{"kind": "gap", "worst_quality": uint32(m.quality), "gap": true}}
			if !m.isBreak {
				x.value["kind"], x.value["gap"], x.value["value"] = "kept", false, math.Float64bits(m.value)
			}
			want = append(want, x)
		}
		require.Equal(t, want, readPlot(t, e, r))
	})
}

// countedStore counts the rollups that views hand over.
type countedStore struct {
	Store
	rollups int
}

type countedView struct {
	View
	store *countedStore
}

type countedTaker struct {
	storage.Taker
	store *countedStore
}

func (s *countedStore) View(ctx context.Context, c storage.Consistency) (View, error) {
	v, err := s.Store.View(ctx, c)
	return countedView{v, s}, err
}

func (v countedView) Offer(ctx context.Context, tag model.TagID, edges []int64, taker storage.Taker) error {
	return v.View.Offer(ctx, tag, edges, countedTaker{taker, v.store})
}

func (t countedTaker) Rollup(p *rollup.Partial) {
	t.store.rollups++
	t.Taker.Rollup(p)
}

// TestStoredPlotsAreTheSameSealedAndUnsealed asks for plots of two weeks: in memory, sealed, and sealed with late samples over it.
func TestStoredPlotsAreTheSameSealedAndUnsealed(t *testing.T) {
	const hour, length = int64(3600e9), 14 * 24 * int64(3600e9)
	rng := rand.New(rand.NewPCG(8, 15))
	ctx := context.Background()
	var all, late []model.Sample
	for at := int64(0); at < length; at += 1 + rng.Int64N(120e9) {
		x := model.Sample{Time: at, Type: model.Float64, Bits: math.Float64bits(float64(rng.IntN(4000))/8 - 100)}
		switch rng.IntN(400) { // one in some hours
		case 0:
			x.Quality = model.BadSensorFailure
		case 1:
			x.Quality = model.Uncertain
		case 2:
			x.Bits = math.Float64bits(math.NaN())
		case 3:
			x.Bits = math.Float64bits(math.Copysign(0, -1))
		case 4:
			at += rng.Int64N(10 * hour)
		}
		all = append(all, x)
		if rng.IntN(1000) == 0 {
			late = append(late, model.Sample{Time: at + 1, Type: model.Float64, Bits: math.Float64bits(500)})
		}
	}
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	settings := []model.Settings{{From: model.MinTime, Type: model.Float64}, {From: length / 2, Type: model.Float64, MaxGap: 90 * time.Minute}}
	_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{Name: "a", UUID: model.UUID{1}, Settings: settings}}}})
	require.NoError(t, err)
	tag, ok := db.Catalog().ByName("a")
	require.True(t, ok)
	store := &countedStore{Store: FromDB(db)}
	e, err := New(store, Options{})
	require.NoError(t, err)
	write := func(sequence uint64, of []model.Sample) {
		run := storage.Run{Tag: tag.ID, Mode: model.Update, Samples: model.Samples{Type: model.Float64}}
		for _, x := range of {
			run.Samples.Append(x)
		}
		pending, err := db.Submit(ctx, &storage.Batch{Source: "s", Epoch: 1, Sequence: sequence, ContentHash: sequence, Runs: []storage.Run{run}})
		require.NoError(t, err)
		_, err = pending.Applied(ctx)
		require.NoError(t, err)
	}
	requirePlots := func(where string, samples []model.Sample, rollups bool) {
		store.rollups = 0
		for i, width := range []int{1, 3, 7, 14, 28, 100, 168, 336, 1000} {
			r := PlotRequest{Tags: Tags{Names: []string{"a"}}, Start: -hour, End: length + hour, Width: width, UseUncertain: i%2 == 0}
			if i%3 == 1 {
				r.Start, r.End = 0, length
			} else if i%3 == 2 {
				r.Start, r.End = rng.Int64N(length/2), length-rng.Int64N(length/3)
			}
			require.Equal(t, plainPlot(t, tag, samples, r), readPlot(t, e, r), "%s, %d pixels", where, width)
		}
		require.Equal(t, rollups, store.rollups > 0, where)
	}
	write(1, all)
	requirePlots("in memory", all, false)
	_, err = db.Seal(ctx)
	require.NoError(t, err)
	requirePlots("sealed", all, true)
	write(2, late)
	with := slices.Concat(all, late)
	slices.SortStableFunc(with, func(a, b model.Sample) int { return int(min(max(a.Time-b.Time, -1), 1)) })
	with = slices.CompactFunc(with, func(a, b model.Sample) bool { return a.Time == b.Time })
	requirePlots("with late samples", with, true)
}

func TestPlotRequestsAreChecked(t *testing.T) {
	s := newPlainStore(model.Float64, model.String)
	e, err := New(s, Options{})
	require.NoError(t, err)
	one, negative := Tags{IDs: []model.TagID{1}}, -time.Second
	for text, r := range map[string]PlotRequest{
		"no tag":                       {Start: 1, End: 2, Width: 5},
		"plot of 0 pixels":             {Tags: one, Start: 1, End: 2},
		"plot of 16385 pixels":         {Tags: one, Start: 1, End: 2, Width: MaxPlotWidth + 1},
		"give one":                     {Tags: one, Start: 1, End: 2, Width: 5, LTTB: 5},
		"plot of 1 samples":            {Tags: one, Start: 1, End: 2, LTTB: 1},
		"plot of 65537 samples":        {Tags: one, Start: 1, End: 2, LTTB: MaxLTTB + 1},
		"largest gap is -1s":           {Tags: one, Start: 1, End: 2, Width: 5, MaxGap: &negative},
		"the end must be behind":       {Tags: one, Start: 2, End: 2, Width: 5},
		"the first instant is":         {Tags: one, Start: math.MinInt64, End: 2, Width: 5},
		"batches of -1 rows":           {Tags: one, Start: 1, End: 2, Width: 5, BatchRows: -1},
		"string-2 (id 2), which is of": {Tags: Tags{IDs: []model.TagID{1, 2}}, Start: 1, End: 2, Width: 5},
		"tag with id 9: tag not found": {Tags: Tags{IDs: []model.TagID{9}}, Start: 1, End: 2, Width: 5},
	} {
		_, err := e.ReadPlot(context.Background(), r, &bytesSink{})
		require.ErrorContains(t, err, text)
		_, err = e.PlotSchema(r)
		require.ErrorContains(t, err, text)
	}
	small, err := New(s, Options{MemoryBytes: 1 << 20})
	require.NoError(t, err)
	_, err = small.ReadPlot(context.Background(), PlotRequest{Tags: one, Start: 1, End: 2, Width: 5}, &bytesSink{})
	require.ErrorIs(t, err, ErrTooLarge)
}

// TestPlotsOfMuchAndOfDamage: LTTB says what takes any number of samples, and what was read before a fault is sent.
func TestPlotsOfMuchAndOfDamage(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64)
	b := s.samples[2]
	b.Times, b.Bits = make([]int64, MaxLTTBSamples+1), make([]uint64, MaxLTTBSamples+1)
	b.Origins, s.block = make([]chunk.Origin, MaxLTTBSamples+1), 1<<16
	for i := range b.Times {
		b.Times[i] = int64(i)
	}
	s.add(1, 0, model.Sample{Time: 5})
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	n, err := e.ReadPlot(context.Background(), PlotRequest{Tags: Tags{IDs: []model.TagID{1, 2}}, Start: 0, End: MaxLTTBSamples + 1, LTTB: 10}, &sink)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, fmt.Sprintf("plot of tag %s (id 2): LTTB of more than 1048576 samples: ask for a shorter range, or for the plot by pixels", s.tags[1].Name))
	require.Equal(t, uint64(1), n)
	_, rows, _ := sink.read(t)
	require.Len(t, rows, 1)
	_, err = e.ReadPlot(context.Background(), PlotRequest{Tags: Tags{IDs: []model.TagID{2}}, Start: 0, End: MaxLTTBSamples, LTTB: 10}, &bytesSink{})
	require.NoError(t, err)

	s = newPlainStore(model.Float64)
	for i := range int64(20) {
		s.add(1, 0, model.Sample{Time: i})
	}
	s.damage[1] = errDamage
	e, err = New(s, Options{})
	require.NoError(t, err)
	_, err = e.ReadPlot(context.Background(), PlotRequest{Tags: Tags{IDs: []model.TagID{1}}, Start: 0, End: 20, LTTB: 10}, &bytesSink{})
	require.ErrorIs(t, err, errDamage)
	require.Zero(t, e.MemoryTaken())
	s.samples[1] = &storage.Block{Samples: model.Samples{Type: model.String, Times: []int64{7}, Blobs: [][]byte{nil}}, Origins: make([]chunk.Origin, 1)}
	for _, r := range []PlotRequest{{End: 20, Width: 5}, {End: 20, LTTB: 5}} {
		r.IDs = []model.TagID{1}
		_, err = e.ReadPlot(context.Background(), r, &bytesSink{})
		require.ErrorIs(t, err, ErrWrongType)
	}
	require.Zero(t, s.open.Load())
}
