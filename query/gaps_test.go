package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

const gapDays = 3

// gapped is one history in two stores: a real one with gaps, and a plain one in which a Bad sample without a value stands wherever a
// gap breaks the shape.
type gapped struct {
	t      *testing.T
	rng    *rand.Rand
	tag    *model.Tag
	db     *storage.DB
	real   *Engine
	bad    *Engine
	all    []model.Sample // of the real store
	breaks []plain.Break
	gaps   []model.Gap
	points []model.Sample // of the plain store
}

// newGapped makes samples of some days, most minutes apart, some of them late, with gaps of which some are withdrawn, some filled and
// some empty. A sample stands far behind all, so that everything lies between two.
func newGapped(t *testing.T, seed uint64) *gapped {
	ctx := context.Background()
	g := &gapped{t: t, rng: rand.New(rand.NewPCG(seed, 17))}
	rng := g.rng
	typ := []model.Type{model.Float64, model.Int64, model.Bool, model.Float64}[seed%4]
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	g.db = db
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	settings := []model.Settings{{From: model.MinTime, Type: typ, Stepped: typ.AlwaysStepped() || rng.IntN(3) == 0, Unit: "m"}}
	if rng.IntN(2) == 0 && typ == model.Float64 {
		settings = append(settings, model.Settings{From: 86400e9 + 7e9, Type: typ, Stepped: !settings[0].Stepped, Unit: []string{"m", "cm"}[rng.IntN(2)]})
	}
	_, err = db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{Name: "a", UUID: model.UUID{1}, Settings: settings}}}})
	require.NoError(t, err)
	g.tag, _ = db.Catalog().ByName("a")
	allGood := rng.IntN(2) == 0
	for at := int64(rng.IntN(3600)) * 1e9; at < gapDays*86400e9; at += int64(1+rng.IntN(240)) * 1e9 {
		x := model.Sample{Time: at, Type: typ, Bits: uint64(rng.IntN(5))}
		switch typ {
		case model.Float64:
			x.Bits = math.Float64bits(float64(rng.IntN(64)) / 8)
		case model.Bool:
			x.Bits &= 1
		}
		if !allGood && rng.IntN(8) == 0 {
			x.Quality = []model.Quality{model.Uncertain, model.BadSensorFailure}[rng.IntN(2)]
		}
		g.all = append(g.all, x)
		if rng.IntN(60) == 0 {
			at += int64(rng.IntN(6*3600)) * 1e9
		}
	}
	g.all = append(g.all, model.Sample{Time: 100 * 86400e9, Type: typ, Bits: g.all[0].Bits})
	parts := [3]model.Samples{}
	for i, x := range g.all { // late ones among those of later parts
		p := i * 3 / len(g.all)
		if rng.IntN(5) == 0 {
			p = 2
		}
		parts[p].Type = typ
		parts[p].Append(x)
	}
	for i := range parts {
		run := storage.Run{Tag: g.tag.ID, Mode: model.Update, Samples: parts[i]}
		pending, err := db.Submit(ctx, &storage.Batch{Source: "s", Epoch: 1, Sequence: uint64(i + 1), ContentHash: uint64(i + 1), Runs: []storage.Run{run}})
		require.NoError(t, err)
		_, err = pending.Applied(ctx)
		require.NoError(t, err)
		switch i {
		case 0:
			_, err = db.Seal(ctx)
		case 1:
			_, err = db.Flush(ctx)
		}
		require.NoError(t, err)
		g.report(1 + rng.IntN(6))
	}
	view, err := db.View(ctx, storage.Accepted)
	require.NoError(t, err)
	defer view.Close()
	g.gaps = view.GapsAsOf(g.tag.ID, nil)
	g.breaks = plain.Breaks(g.gaps, g.all)
	g.points = slices.Clone(g.all)
	for _, b := range g.breaks {
		g.points = append(g.points, model.Sample{Time: b.Time, Type: typ, Null: true, Quality: b.Quality})
	}
	slices.SortFunc(g.points, func(a, b model.Sample) int { return int(min(max(a.Time-b.Time, -1), 1)) })
	bad := newPlainStore(typ)
	bad.tags[0].Settings, bad.tags[0].Name = g.tag.Settings, "a"
	for _, x := range g.points {
		bad.add(1, 0, x)
	}
	bad.block = 50
	now := func() time.Time { return time.Unix(0, 200*86400e9) }
	g.real, err = New(FromDB(db), Options{Now: now})
	require.NoError(t, err)
	g.bad, err = New(bad, Options{Now: now})
	require.NoError(t, err)
	return g
}

// report reports some gaps: no edge of a bucket stands at a break.
func (g *gapped) report(n int) {
	ctx := context.Background()
	for range n {
		from := g.all[g.rng.IntN(len(g.all)-1)].Time + int64(g.rng.IntN(300)-60)*1e9 + 3
		gap := model.Gap{Kind: model.GapKind(1 + g.rng.IntN(4)), From: from, To: from + []int64{1e9, 60e9, 1800e9, 6 * 3600e9, 2 * 86400e9}[g.rng.IntN(5)]}
		if g.rng.IntN(15) == 0 {
			gap.To = model.OpenGap
		}
		id, err := g.db.RecordGap(ctx, []model.TagID{g.tag.ID}, gap, "ann", "")
		require.NoError(g.t, err)
		if g.rng.IntN(4) == 0 {
			_, err = g.db.WithdrawGap(ctx, id, nil, "ann", "")
			require.NoError(g.t, err)
		}
	}
}

func (g *gapped) instant() int64 {
	switch g.rng.IntN(4) {
	case 0:
		return g.all[g.rng.IntN(len(g.all)-1)].Time
	case 1:
		if len(g.breaks) > 0 {
			return g.breaks[g.rng.IntN(len(g.breaks))].Time + int64(g.rng.IntN(3)-1)
		}
	}
	return int64(g.rng.IntN(gapDays*86400)) * 1e9
}

// inGap is the quality of the break that lasts at an instant, or false.
func (g *gapped) inGap(at int64) (model.Quality, bool) {
	i, found := slices.BinarySearchFunc(g.points, at, func(x model.Sample, at int64) int { return int(min(max(x.Time-at, -1), 1)) })
	if !found {
		i--
	}
	if i < 0 || !slices.ContainsFunc(g.breaks, func(b plain.Break) bool { return b.Time == g.points[i].Time }) {
		return 0, false
	}
	return g.points[i].Quality, true
}

// answers asks both stores the same.
func (g *gapped) answers(ask func(e *Engine, sink Sink) error) (real, bad []row) {
	var out [2][]row
	for i, e := range []*Engine{g.real, g.bad} {
		var sink bytesSink
		require.NoError(g.t, ask(e, &sink))
		_, out[i], _ = sink.read(g.t)
		require.Zero(g.t, e.MemoryTaken())
		for k := range out[i] {
			delete(out[i][k].value, "raw_count")
		}
	}
	return out[0], out[1]
}

// TestGapsActAsBadSamplesThatDoNotCount holds every kind of read against the same read of a store that has a Bad sample wherever a gap
// breaks the shape. What counts samples or tells of them apart, all answers are the same, but that a value within a gap says so.
func TestGapsActAsBadSamplesThatDoNotCount(t *testing.T) {
	ctx := context.Background()
	tags := Tags{Names: []string{"a"}}
	seen := 0
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		g := newGapped(t, seed)
		rng := g.rng
		seen += len(g.breaks)
		for n := range 10 {
			where := fmt.Sprintf("seed %d, question %d, gaps %v", seed, n, g.gaps)
			unit := ""
			if rng.IntN(3) == 0 && g.tag.Current().Type != model.Bool {
				unit = "mm"
			}
			at := AtTimesRequest{Tags: tags, Unit: unit, BridgeBad: rng.IntN(3) == 0, UseUncertain: rng.IntN(2) == 0}
			if !at.BridgeBad && rng.IntN(3) == 0 {
				at.Discrete = true
			}
			for range 1 + rng.IntN(40) {
				at.Times = append(at.Times, g.instant())
			}
			if rng.IntN(2) == 0 {
				slices.Sort(at.Times)
			}
			if rng.IntN(3) == 0 {
				at.Start, at.End, at.Every = 0, gapDays*86400e9, 600e9
			}
			real, bad := g.answers(func(e *Engine, s Sink) error { _, err := e.ReadAtTimes(ctx, at, s); return err })
			require.Len(t, real, len(bad))
			for i := range real {
				if q, in := g.inGap(real[i].time); in && !at.BridgeBad {
					require.Equal(t, uint32(q), real[i].quality, "%s at %d", where, real[i].time)
					bad[i].quality = uint32(q)
				}
			}
			require.Equal(t, bad, real, where)

			from, to := g.instant(), g.instant()
			for from == to {
				to = g.instant()
			}
			ranged := RangeRequest{Tags: tags, Unit: unit, Start: from, End: to, Bounds: Interpolated}
			real, bad = g.answers(func(e *Engine, s Sink) error { _, err := e.ReadRange(ctx, ranged, s); return err })
			bad = slices.DeleteFunc(bad, func(x row) bool {
				return x.time != from && x.time != to && slices.ContainsFunc(g.breaks, func(b plain.Break) bool { return b.Time == x.time })
			})
			for i := range bad {
				if q, in := g.inGap(bad[i].time); in {
					bad[i].quality = uint32(q)
				}
			}
			require.Equal(t, bad, real, where)

			edge := func() int64 { return int64(rng.IntN(gapDays*1440)) * 60e9 }
			buckets := Buckets{Start: edge(), End: edge(), Step: []int64{180e9, 600e9, 3600e9, 6 * 3600e9, 86400e9}[rng.IntN(5)]}
			for buckets.Start == buckets.End {
				buckets.End = edge()
			}
			own := AggregatesRequest{Tags: tags, Unit: unit, Buckets: buckets, UseUncertain: rng.IntN(2) == 0}
			for a := Count; a < WorstQuality; a++ {
				numbers := g.tag.Current().Type != model.Bool
				if a == StandardDeviation || a == EventWeightedAverage { // rollups round otherwise than samples
					continue
				}
				if (a == Count || a == First || a == Last || a == DurationGood || a == PercentGood || numbers) && rng.IntN(2) == 0 {
					own.Aggregates = append(own.Aggregates, a)
				}
			}
			if len(own.Aggregates) == 0 {
				own.Aggregates = []Aggregate{Count}
			}
			real, bad = g.answers(func(e *Engine, s Sink) error { _, err := e.ReadAggregates(ctx, own, s); return err })
			require.Equal(t, bad, real, "%s %v %v", where, buckets, own.Aggregates)

			processed := ProcessedRequest{Tags: tags, Unit: unit, Buckets: buckets, Configuration: part13.Configuration{
				TreatUncertainAsBad: rng.IntN(2) == 0, PercentDataBad: 100, PercentDataGood: 100, SlopedExtrapolation: rng.IntN(2) == 0,
			}}
			for _, name := range []string{
				"TimeAverage", "TimeAverage2", "Total", "Total2", "Minimum2", "Maximum2", "MinimumActualTime2", "MaximumActualTime2", "Range2",
				"DurationGood", "DurationBad", "PercentGood", "PercentBad", "DurationInStateZero", "DurationInStateNonZero", "StartBound", "EndBound",
				"DeltaBounds", "Interpolative", "Delta", "count", "first", "last", "duration_good", "percent_good", "transitions", "first_time", "last_time",
				"time_weighted_average", "percentile(30)", "time_weighted_percentile(70)", "increase", "rate", "integral", "delta", "circular_mean",
			} {
				f, err := ParseFunction(name)
				require.NoError(t, err)
				if f.of(g.tag.Current().Type) && rng.IntN(3) == 0 {
					processed.Functions = append(processed.Functions, f)
				}
			}
			if len(processed.Functions) > 0 {
				real, bad = g.answers(func(e *Engine, s Sink) error { _, err := e.ReadProcessed(ctx, processed, s); return err })
				require.Equal(t, bad, real, "%s %v", where, buckets)
			}

			wide := WideRequest{Tags: tags, Unit: unit, Buckets: buckets, Mode: WideAsOf, WithQuality: true}
			if rng.IntN(2) == 0 {
				wide.MaxAge = int64(rng.IntN(600)) * 1e9
			}
			if rng.IntN(2) == 0 {
				wide.Mode, wide.MaxAge, wide.BridgeBad = WideInterpolated, 0, rng.IntN(2) == 0
			}
			real, bad = g.answers(func(e *Engine, s Sink) error { _, err := e.ReadWide(ctx, wide, s); return err })
			for i := range bad {
				if q, in := g.inGap(bad[i].time); in && !wide.BridgeBad {
					bad[i].value["a:q"] = uint32(q)
				}
			}
			require.Equal(t, bad, real, "%s %v", where, buckets)

			plot := PlotRequest{Tags: tags, Unit: unit, Start: min(buckets.Start, buckets.End), End: max(buckets.Start, buckets.End), Width: 1 + rng.IntN(200), UseUncertain: rng.IntN(2) == 0}
			if rng.IntN(2) == 0 {
				plot.Width, plot.LTTB = 0, 2+rng.IntN(200)
			}
			if rng.IntN(3) == 0 {
				plot.AsOf = new(int64)
				*plot.AsOf = math.MaxInt64
			}
			real, bad = g.answers(func(e *Engine, s Sink) error { _, err := e.ReadPlot(ctx, plot, s); return err })
			require.Equal(t, bad, real, "%s %+v", where, plot)

			if g.tag.Current().Type != model.Float64 {
				states := StatesRequest{Tags: tags, Buckets: buckets, UseUncertain: rng.IntN(2) == 0}
				real, bad = g.answers(func(e *Engine, s Sink) error { _, err := e.ReadTimeInState(ctx, states, s); return err })
				require.Equal(t, bad, real, "%s %v", where, buckets)
			}
		}
	}
	require.Greater(t, seen, 5*int(seeds))
}

// drawGaps gives the tags of a store gaps of its small times, where breaks fall next to samples.
func drawGaps(t *rapid.T, s *plainStore) {
	s.gaps = map[model.TagID][]model.Gap{}
	for _, tag := range s.tags {
		for i := range rapid.IntRange(0, 4).Draw(t, "gaps") {
			g := model.Gap{
				ID: uint64(i + 1), Kind: model.GapKind(rapid.IntRange(1, 4).Draw(t, "kind")), From: rapid.Int64Range(-3, 60).Draw(t, "from"),
				Recorded: rapid.Int64Range(0, 12e9).Draw(t, "recorded"),
			}
			g.To = g.From + rapid.SampledFrom([]int64{1, 2, 7, 30}).Draw(t, "length")
			if rapid.IntRange(0, 7).Draw(t, "open") == 0 {
				g.To = model.OpenGap
			}
			s.gaps[tag.ID] = append(s.gaps[tag.ID], g)
		}
		slices.SortStableFunc(s.gaps[tag.ID], func(a, b model.Gap) int { return int(a.From - b.From) })
	}
}

// TestGapRows: a read that shows gaps has the rows of one that does not, and those of the gaps of its range, all in order.
func TestGapRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		drawGaps(t, s)
		r := drawRange(t, s)
		r.Tags, r.Limit, r.OpenStart, r.OpenEnd = Tags{IDs: []model.TagID{1}}, 0, false, false
		without := ask(t, s, r)
		r.WithGaps = true
		rows := ask(t, s, r)
		in := r.samples()
		var want []model.Gap
		for _, g := range s.gaps[1] {
			if g.From < in.End && g.To > in.Start && (r.AsOf == nil || g.Recorded <= *r.AsOf) {
				want = append(want, g)
			}
		}
		if in.Reverse {
			slices.Reverse(want)
		}
		var samples []row
		for i, x := range rows {
			kind, isGap := x.value["gap"]
			if i > 0 {
				require.False(t, rows[i-1].time > x.time && !in.Reverse || rows[i-1].time < x.time && in.Reverse, "row %d", i)
			}
			if !isGap {
				require.NotContains(t, x.value, "gap_end")
				samples = append(samples, x)
				continue
			}
			require.NotEmpty(t, want, "row %d", i)
			g := want[0]
			want = want[1:]
			require.Equal(t, []any{g.From, g.Kind.String(), uint32(g.Kind.Quality())}, []any{x.time, kind, x.quality})
			if g.To == model.OpenGap {
				require.NotContains(t, x.value, "gap_end")
			} else {
				require.Equal(t, g.To, x.value["gap_end"])
			}
			require.NotContains(t, x.value, "value")
			require.NotContains(t, x.value, "ingest_time")
			for k, y := range rows { // in front of samples at its start, in reverse behind them
				if _, other := y.value["gap"]; !other && y.time == x.time && y.value["bound"] != true {
					require.Equal(t, in.Reverse, k < i)
				}
			}
		}
		require.Empty(t, want)
		require.Equal(t, without, samples)
	})
}

// TestValuesInAndNextToGaps asks for values at small times, where breaks fall next to samples, also as of an earlier time, and holds them
// against the plain model of a tag that has a Bad sample wherever a gap breaks its shape.
func TestValuesInAndNextToGaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		drawGaps(t, s)
		r := AtTimesRequest{Tags: Tags{IDs: []model.TagID{1}}, BridgeBad: rapid.Bool().Draw(t, "bridge"), UseUncertain: rapid.Bool().Draw(t, "uncertain")}
		if rapid.IntRange(0, 3).Draw(t, "as of") == 0 {
			asOf := rapid.Int64Range(0, 12e9).Draw(t, "instant of ingest")
			r.AsOf = &asOf
		}
		r.Times = rapid.SliceOfN(rapid.Int64Range(-5, 70), 1, 20).Draw(t, "times")
		b := pick(s.samples[1], model.All, r.AsOf)
		var all []model.Sample
		for i := range b.Len() {
			all = append(all, b.At(i))
		}
		breaks := map[int64]bool{}
		points := slices.Clone(all)
		for _, x := range plain.Breaks(s.GapsAsOf(1, r.AsOf), all) {
			breaks[x.Time] = true
			points = append(points, model.Sample{Time: x.Time, Type: b.Type, Null: true, Quality: x.Quality})
		}
		slices.SortStableFunc(points, func(a, b model.Sample) int { return int(a.Time - b.Time) })
		value := func(at int64, o plainRules) model.Sample {
			last := -1
			for k, x := range points {
				if x.Time <= at {
					last = k
				}
			}
			if !o.bridge && last >= 0 && breaks[points[last].Time] {
				return points[last]
			}
			return plainAt(s.tags[0], points, at, o)
		}
		same := func(want model.Sample, got row) {
			require.Equal(t, uint32(want.Quality), got.quality, "at %d", got.time)
			_, valued := got.value["value"]
			require.Equal(t, !want.Null, valued, "at %d", got.time)
			if valued {
				for name, v := range plainValue(s, s.tags[0], want, false) {
					requireNear(t, b.Type, v, got.value[name])
				}
			}
		}
		e, err := New(s, Options{})
		require.NoError(t, err)
		var sink bytesSink
		_, err = e.ReadAtTimes(context.Background(), r, &sink)
		require.NoError(t, err)
		_, rows, _ := sink.read(t)
		require.Len(t, rows, len(r.Times))
		for i, at := range r.Times {
			same(value(at, plainRules{bridge: r.BridgeBad, useUncertain: r.UseUncertain}), rows[i])
		}
		bounded := RangeRequest{Tags: r.Tags, AsOf: r.AsOf, Bounds: Interpolated, Start: r.Times[0], End: r.Times[len(r.Times)-1]}
		rows = ask(t, s, bounded)
		for i, edge := range []int64{bounded.Start, bounded.End} {
			if got := rows[i*(len(rows)-1)]; !slices.ContainsFunc(all, func(x model.Sample) bool { return x.Time == edge }) {
				require.Equal(t, edge, got.time)
				same(value(edge, plainRules{}), got)
			}
		}
	})
}

// TestAnOpenGapLasts: behind the last sample there is a gap that nobody ended is Bad, and no data only where there is none.
func TestAnOpenGapLasts(t *testing.T) {
	s := newPlainStore(model.Float64)
	for i := range int64(4) {
		s.add(1, 0, model.Sample{Time: i * 10, Bits: math.Float64bits(float64(i))})
	}
	s.gaps = map[model.TagID][]model.Gap{1: {{ID: 7, Kind: model.Lost, From: 35, To: model.OpenGap}}}
	e, err := New(s, Options{})
	require.NoError(t, err)
	ctx := context.Background()
	bad, _ := ParseFunction("PercentBad")
	good, _ := ParseFunction("duration_good")
	rec := readProcessed(t, e, ProcessedRequest{
		Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 20, End: 80, Step: 20}, Functions: []Function{bad, good}, Resolution: 1,
		Configuration: part13.Configuration{PercentDataBad: 100, PercentDataGood: 100},
	})
	var percents, goods []float64
	for i := 0; i < int(rec.NumRows()); i += 2 {
		percents = append(percents, rec.Column(5).(*array.Float64).Value(i))
		goods = append(goods, float64(rec.Column(6).(*array.Int64).Value(i+1)))
	}
	require.Equal(t, []float64{25, 100, 100}, percents)
	require.Equal(t, []float64{15, 0, 0}, goods)
	x, err := e.Explain(ctx, ExplainRequest{Tags: Tags{IDs: []model.TagID{1}}, Start: 40, End: 60, Aggregate: "PercentBad", Resolution: 1, Configuration: part13.Defaults})
	require.NoError(t, err)
	require.Equal(t, uint64(20), x.Durations.Bad)
	require.Equal(t, s.gaps[1], x.Gaps)
	require.Contains(t, x.Reasons[0], "lost (gap 7)")
	x, err = e.Explain(ctx, ExplainRequest{Tags: Tags{IDs: []model.TagID{1}}, Start: 10, End: 30, Aggregate: "PercentBad", Resolution: 1, Configuration: part13.Defaults})
	require.NoError(t, err)
	require.Empty(t, x.Gaps)
	s.gaps[1][0].From = 0 // filled up to the last sample
	x, err = e.Explain(ctx, ExplainRequest{Tags: Tags{IDs: []model.TagID{1}}, Start: 0, End: 60, Aggregate: "time_weighted_average", Configuration: part13.Defaults})
	require.NoError(t, err)
	require.Equal(t, uint64(31), x.Durations.Good)
}

// TestGapsOfInputsBreakExpressions: where a gap breaks a tag, an expression over it has a Bad sample, so that nothing is worked out
// across the gap.
func TestGapsOfInputsBreakExpressions(t *testing.T) {
	broken := 0
	for seed := range uint64(16) {
		g := newGapped(t, seed)
		if g.tag.Current().Type != model.Float64 || len(g.tag.Settings) > 1 {
			continue
		}
		broken += len(g.breaks)
		ask := func(tags Tags, name string) []row {
			var sink bytesSink
			_, err := g.real.ReadAggregates(t.Context(), AggregatesRequest{
				Tags: tags, Buckets: Buckets{Start: 0, End: gapDays * 86400e9, Step: 1800e9},
				Aggregates: []Aggregate{DurationGood, TimeWeightedAverage, Maximum},
			}, &sink)
			require.NoError(t, err)
			_, rows, _ := sink.read(t)
			for i := range rows {
				require.Equal(t, name, rows[i].tag)
				rows[i].tag = ""
			}
			return rows
		}
		require.Equal(t, ask(Tags{Names: []string{"a"}}, "a"), ask(Tags{Expressions: []string{"x := a"}}, "x"), "seed %d, gaps %v", seed, g.gaps)
	}
	require.Positive(t, broken)
}

// TestGapsLeaveConditionsUnknown: a condition that every Good value meets holds for just as long as the tag is Good.
func TestGapsLeaveConditionsUnknown(t *testing.T) {
	broken := 0
	for seed := range uint64(8) {
		g := newGapped(t, seed)
		if g.tag.Current().Type != model.Float64 {
			continue
		}
		broken += len(g.breaks)
		ask := func(while string) []row {
			var sink bytesSink
			_, err := g.real.ReadAggregates(t.Context(), AggregatesRequest{
				Tags: Tags{Names: []string{"a"}}, Buckets: Buckets{Start: 0, End: gapDays * 86400e9, Step: 1800e9},
				Aggregates: []Aggregate{DurationGood}, While: while,
			}, &sink)
			require.NoError(t, err)
			_, rows, _ := sink.read(t)
			return rows
		}
		good, held := ask(""), ask("is_good(a)")
		require.Len(t, held, len(good))
		for i := range good {
			require.Equal(t, good[i].value["duration_good"], held[i].value["while_ns"], "seed %d at %d, gaps %v", seed, good[i].time, g.gaps)
		}
	}
	require.Positive(t, broken)
}
