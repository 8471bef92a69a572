package query

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
	"github.com/varvedb/varve/storage/chunk"
)

// plainTime is what a plain model knows of one tag.
type plainTime struct {
	samples  []model.Sample
	sources  []uint32 // of each: 1 is a collector
	gaps     []model.Gap
	said     *Collecting
	interval int64
	now      int64
}

// class is what an instant is, written from docs/reference/completeness.md.
func (p *plainTime) class(t int64) timeClass {
	last, any := -1, false // the last sample at or before it; there is one behind it
	for i, x := range p.samples {
		if x.Time <= t {
			last = i
		} else {
			any = true
		}
	}
	known := p.now
	if n := len(p.samples); n > 0 {
		known = max(known, p.samples[n-1].Time)
	}
	arrived := p.said == nil || t < min(p.said.Through, p.now)
	missing, gapFollows := false, false
	for _, b := range plain.Breaks(p.gaps, p.samples) {
		if b.Time <= t && (last < 0 || b.Time > p.samples[last].Time) {
			missing = true
		}
		if b.Time > t && b.Time < known {
			gapFollows = true
		}
	}
	if missing {
		over := func(g, than model.Gap) bool {
			rank := []model.GapKind{model.NotCollected, model.DeviceDown, model.Quarantined, model.Lost}
			return than.Kind == 0 || g.From > than.From || g.From == than.From && slices.Index(rank, g.Kind) > slices.Index(rank, than.Kind)
		}
		var lasting, closed, ended model.Gap
		for _, g := range p.gaps {
			switch {
			case g.From > t:
			case g.To > t:
				if over(g, lasting) {
					lasting = g
				}
				if g.To != model.OpenGap && over(g, closed) {
					closed = g
				}
			case ended.Kind == 0 || g.To > ended.To || g.To == ended.To && over(g, ended):
				ended = g
			}
		}
		kind := lasting.Kind
		if kind == 0 {
			kind = ended.Kind
		}
		if !arrived || t >= known {
			if kind = closed.Kind; kind == 0 && t < known {
				return timeBuffered
			}
		}
		return map[model.GapKind]timeClass{
			0: timeUnknown, model.NotCollected: timeNotCollected, model.DeviceDown: timeDeviceDown, model.Quarantined: timeQuarantined, model.Lost: timeLost,
		}[kind]
	}
	switch {
	case t >= known:
		return timeUnknown
	case last >= 0 && p.interval > 0 && t-p.samples[last].Time < p.interval:
		return timeCollected
	case !arrived:
		return timeBuffered
	case last < 0:
		return timeUnknown
	case any || gapFollows:
		if p.interval == 0 {
			return timeCollected
		}
		if p.said != nil || p.sources[last] == 1 {
			return timeUnchanged
		}
	case p.said != nil:
		return timeUnchanged
	}
	return timeUnknown
}

func readCompleteness(t testing.TB, e *Engine, r CompletenessRequest) []row {
	var sink bytesSink
	n, err := e.ReadCompleteness(context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, e.MemoryTaken())
	schema, err := e.CompletenessSchema(r)
	require.NoError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(sink.Bytes()))
	require.NoError(t, err)
	defer reader.Release()
	require.True(t, schema.Equal(reader.Schema()))
	_, rows, _ := sink.read(t)
	require.Equal(t, n, uint64(len(rows)))
	return rows
}

// drawCompleteness makes a store of one tag, and what a plain model knows of it.
func drawCompleteness(rng *rand.Rand) (*plainStore, *plainTime) {
	s := newPlainStore(model.Float64, model.Float64)
	s.tags[1].Name = "source-1" + collectorTag
	p := &plainTime{now: int64(rng.IntN(900)), interval: int64(rng.IntN(3) * rng.IntN(40))}
	source := uint32(rng.IntN(3))
	at := int64(rng.IntN(300))
	for range rng.IntN(30) {
		if rng.IntN(5) == 0 {
			source = uint32(rng.IntN(3))
		}
		x := model.Sample{Time: at, Type: model.Float64, Seq: 0}
		s.add(1, source, x)
		p.samples, p.sources = append(p.samples, x), append(p.sources, source)
		if at += 1 + int64(rng.IntN(20)); rng.IntN(6) == 0 {
			at += int64(rng.IntN(120))
		}
	}
	for i := range rng.IntN(6) {
		g := model.Gap{ID: uint64(i + 1), Kind: model.GapKind(1 + rng.IntN(4)), From: int64(rng.IntN(800) - 20)}
		if len(p.samples) > 0 && rng.IntN(3) == 0 { // next to a sample
			g.From = p.samples[rng.IntN(len(p.samples))].Time + int64(rng.IntN(3)) - 1
		}
		if g.To = g.From + 1 + int64(rng.IntN(150)); rng.IntN(6) == 0 {
			g.To = model.OpenGap
		}
		p.gaps = append(p.gaps, g)
	}
	slices.SortStableFunc(p.gaps, func(a, b model.Gap) int { return int(a.From - b.From) })
	s.gaps = map[model.TagID][]model.Gap{1: p.gaps}
	if rng.IntN(2) == 0 {
		p.said = &Collecting{Source: "plant.line", Through: int64(rng.IntN(1000) - 20)}
	}
	return s, p
}

func (p *plainTime) engine(t testing.TB, s *plainStore) *Engine {
	e, err := New(s, Options{
		Now: func() time.Time { return time.Unix(0, p.now) },
		Collecting: func(tag model.TagID) (Collecting, bool) {
			if tag != 1 || p.said == nil {
				return Collecting{}, false
			}
			return *p.said, true
		},
	})
	require.NoError(t, err)
	return e
}

// TestCompletenessIsWhatEachInstantIs holds random histories, gaps and statements of collectors against a loop over every nanosecond.
func TestCompletenessIsWhatEachInstantIs(t *testing.T) {
	seen := map[timeClass]int{}
	for seed := range uint64(600) {
		rng := rand.New(rand.NewPCG(seed, 61))
		s, p := drawCompleteness(rng)
		r := CompletenessRequest{
			Tags: Tags{IDs: []model.TagID{1}}, Interval: p.interval, WithDurations: true,
			Buckets: Buckets{Start: int64(rng.IntN(500) - 30), Step: int64(rng.IntN(200))}, BatchRows: rng.IntN(3),
		}
		r.End = r.Start + 1 + int64(rng.IntN(700))
		rows := readCompleteness(t, p.engine(t, s), r)
		buckets, err := r.buckets()
		require.NoError(t, err)
		require.Len(t, rows, buckets.count())
		for i, got := range rows {
			from, to := buckets.edges[i], buckets.edges[i+1]
			var want [timeClasses]int64
			for at := from; at < to; at++ {
				c := p.class(at)
				want[c]++
				seen[c]++
			}
			sum, complete := 0.0, 0.0
			for c, name := range timeClassNames {
				where := fmt.Sprintf("seed %d, [%d, %d) of %d, %s, interval %d, said %v, gaps %v", seed, from, to, p.now, name, p.interval, p.said, p.gaps)
				require.Equal(t, want[c], got.value[name+"_ns"], where)
				percent := math.Float64frombits(got.value[name].(uint64))
				require.Equal(t, 100*float64(want[c])/float64(to-from), percent, where)
				if sum += percent; timeClass(c) <= timeUnchanged {
					complete += percent
				}
			}
			require.InDelta(t, 100, sum, 1e-9)
			require.Equal(t, math.Float64bits(complete), got.value["complete"])
			samples, late := int64(0), 0.0
			for k, x := range s.samples[1].Times {
				if from <= x && x < to {
					samples++
					late = max(late, float64(s.samples[1].Origins[k].Ingest)-float64(x)/1e9)
				}
			}
			require.Equal(t, samples, got.value["samples"])
			if samples == 0 {
				require.NotContains(t, got.value, "late_s")
			} else {
				require.InDelta(t, late, math.Float64frombits(got.value["late_s"].(uint64)), 1e-6)
			}
			switch source := got.value["source"]; {
			case p.said != nil:
				require.Equal(t, "plant.line", source)
			case source != nil:
				require.Contains(t, []any{"source-1", "source-2"}, source)
			}
		}
	}
	for c, name := range timeClassNames {
		require.Greater(t, seen[timeClass(c)], 2000, name)
	}
}

// A source has the shares of all its tags; together the rows of all sources are those of all tags.
func TestCompletenessBySource(t *testing.T) {
	s := newPlainStore(model.Float64, model.Float64, model.Float64, model.Float64)
	for tag, times := range [][]int64{{0, 50, 99}, {0, 99}, {50, 99}, {}} {
		for _, at := range times {
			s.add(model.TagID(tag+1), []uint32{1, 1, 2, 0}[tag], model.Sample{Time: at})
		}
	}
	s.gaps = map[model.TagID][]model.Gap{2: {{Kind: model.Lost, From: 20, To: 60}}}
	e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, 100) }})
	require.NoError(t, err)
	ids := Tags{IDs: []model.TagID{1, 2, 3, 4}}
	rows := readCompleteness(t, e, CompletenessRequest{Tags: ids, Buckets: Buckets{Start: 0, End: 100, Step: 50}, BySource: true})
	got := []string{}
	for _, r := range rows {
		text := fmt.Sprint(r.value["source"], " ", r.value["tags"], " ", r.value["bucket"], " ", r.value["samples"])
		for _, name := range timeClassNames {
			if x := math.Float64frombits(r.value[name].(uint64)); x != 0 {
				text += fmt.Sprintf(" %s %.4g", name, x)
			}
		}
		got = append(got, text)
	}
	require.Equal(t, []string{
		"<nil> 1 0 0 unknown 100", "<nil> 1 50 0 unknown 100",
		"source-1 2 0 2 collected 70 lost 30", "source-1 2 50 3 collected 49 lost 49 unknown 2",
		"source-2 1 0 0 unknown 100", "source-2 1 50 2 collected 98 unknown 2",
	}, got)
	_, err = e.ReadCompleteness(context.Background(), CompletenessRequest{Tags: ids, Buckets: Buckets{End: 1 << 20, Step: 2}, BySource: true}, &bytesSink{})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestCompletenessRefusesWhatMakesNoSense(t *testing.T) {
	e, err := New(newPlainStore(model.Float64), Options{})
	require.NoError(t, err)
	one := Tags{IDs: []model.TagID{1}}
	for text, r := range map[string]CompletenessRequest{
		"must not be negative": {Tags: one, Buckets: Buckets{End: 9}, Interval: -1},
		"before the end":       {Tags: one, Buckets: Buckets{Start: 9}},
		"to the same instant":  {Tags: one},
		"durations by source":  {Tags: one, Buckets: Buckets{End: 9}, BySource: true, WithDurations: true},
		"is a calculation":     {Tags: Tags{Expressions: []string{`"float64-1" + 1`}}, Buckets: Buckets{End: 9}},
		"batches of":           {Tags: one, Buckets: Buckets{End: 9}, BatchRows: -1},
		"tag with id 7":        {Tags: Tags{IDs: []model.TagID{7}}, Buckets: Buckets{End: 9}},
	} {
		_, err := e.ReadCompleteness(context.Background(), r, &bytesSink{})
		require.ErrorContains(t, err, text)
	}
}

// Edges of time itself: all of it is of some class.
func TestCompletenessOfAllTime(t *testing.T) {
	s := newPlainStore(model.Float64)
	for _, at := range []int64{model.MinTime, -5, 7, model.MaxTime} {
		s.samples[1].Append(model.Sample{Time: at, Type: model.Float64})
		s.samples[1].Origins = append(s.samples[1].Origins, chunk.Origin{Samples: 1, Ingest: 3})
	}
	s.gaps = map[model.TagID][]model.Gap{1: {{Kind: model.DeviceDown, From: model.MinTime, To: -7}, {Kind: model.Lost, From: 9, To: model.OpenGap}}}
	e, err := New(s, Options{})
	require.NoError(t, err)
	for _, interval := range []int64{0, 3, math.MaxInt64} {
		rows := readCompleteness(t, e, CompletenessRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: model.MinTime, End: model.MaxTime}, Interval: interval})
		require.Len(t, rows, 1)
		sum := 0.0
		for _, name := range timeClassNames {
			sum += math.Float64frombits(rows[0].value[name].(uint64))
		}
		require.InDelta(t, 100, sum, 1e-9)
		require.EqualValues(t, 3, rows[0].value["samples"])
	}
}

// TestEveryKindOfGapIsNotGood has a gap of each kind: the time that completeness says is missing is what percent_good and duration_good of aggregates lack,
// and PercentGood of the standard.
func TestEveryKindOfGapIsNotGood(t *testing.T) {
	ctx := context.Background()
	for kind := model.NotCollected; kind <= model.Quarantined; kind++ {
		s := newPlainStore(model.Float64)
		for _, at := range []int64{0, 100e6, 350e6, 400e6, 1000e6} {
			s.add(1, 1, model.Sample{Time: at})
		}
		s.gaps = map[model.TagID][]model.Gap{1: {{Kind: kind, From: 200e6, To: 500e6}}}
		e, err := New(s, Options{})
		require.NoError(t, err)
		one, in := Tags{IDs: []model.TagID{1}}, Buckets{Start: 0, End: 1000e6}
		rows := readCompleteness(t, e, CompletenessRequest{Tags: one, Buckets: in})
		missing := math.Float64frombits(rows[0].value[kind.String()].(uint64))
		// From 200 ms to the sample at 350 ms, and from a nanosecond behind that at 400 ms on.
		require.InDelta(t, 75-1e-7, missing, 1e-9, kind)
		require.InDelta(t, 25+1e-7, math.Float64frombits(rows[0].value["complete"].(uint64)), 1e-9, kind)

		var own bytesSink
		_, err = e.ReadAggregates(ctx, AggregatesRequest{Tags: one, Buckets: in, Aggregates: []Aggregate{PercentGood, DurationGood, Count}}, &own)
		require.NoError(t, err)
		_, good, _ := own.read(t)
		require.InDelta(t, 100-missing, math.Float64frombits(good[0].value["percent_good"].(uint64)), 1e-6, kind)
		require.EqualValues(t, 250e6+1, good[0].value["duration_good"], kind)
		require.EqualValues(t, 4, good[0].value["count"], kind)
		require.False(t, model.Quality(good[0].quality).IsGood(), kind)

		standard, err := ParseFunction("PercentGood")
		require.NoError(t, err)
		var processed bytesSink
		_, err = e.ReadProcessed(ctx, ProcessedRequest{Tags: one, Buckets: in, Functions: []Function{standard}, Configuration: part13.Defaults}, &processed)
		require.NoError(t, err)
		_, good, _ = processed.read(t)
		require.InDelta(t, 100-missing, math.Float64frombits(good[0].value["value"].(uint64)), 1e-6, kind)
	}
}
