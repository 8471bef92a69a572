package query

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query/part13"
)

// plainCondition is a tag in a condition at an instant, as docs/reference/aggregates.md has it; false where it is not known.
func plainCondition(tag *model.Tag, s *model.Samples, t, now int64, useUncertain bool) (float64, bool) {
	last := -1
	for i, at := range s.Times {
		if at <= t {
			last = i
		}
	}
	if last < 0 {
		return 0, false
	}
	next := t
	if last+1 < s.Len() {
		next = s.Times[last+1]
	} else if t >= max(now, s.Times[last]) {
		return 0, false
	}
	q := s.QualityAt(last)
	v, _ := s.At(last).Float64()
	if s.Type == model.Bool {
		v = float64(s.Bits[last])
	}
	return v, reaches(tag, s.Times[last], next, t) && !s.IsNull(last) && (q.IsGood() || useUncertain && q.IsUncertain())
}

// drawConditions makes a store of a tag of numbers and of p and q, which conditions are about.
func drawConditions(rng *rand.Rand) *plainStore {
	s := newPlainStore(model.Float64, model.Bool, model.Int64)
	s.tags[1].Aliases[0].Name, s.tags[2].Aliases[0].Name = "p", "q"
	s.tags[1].Name, s.tags[2].Name = "p", "q"
	for i, tag := range s.tags {
		tag.Settings = append(tag.Settings, tag.Settings[0])
		tag.Settings[1].From, tag.Settings[1].Stepped = int64(rng.IntN(900)), true
		if rng.IntN(2) == 0 {
			drawMaxGaps(rng, tag)
		}
		b := randomBlock(rng, tag.Current().Type)
		if i > 0 && b.Len() > 0 && rng.IntN(2) == 0 { // some of them at the times of a's
			for k := range b.Times {
				if k < s.samples[1].Len() {
					b.Times[k] = s.samples[1].Times[k]
				}
			}
			slices.Sort(b.Times)
			for k := 1; k < b.Len(); k++ {
				b.Times[k] = max(b.Times[k], b.Times[k-1]+1)
			}
		}
		s.samples[tag.ID] = b
	}
	return s
}

// drawEdges is buckets of any length that begin and end at samples of a condition or next to them, half of them in reverse.
func drawEdges(rng *rand.Rand, s *plainStore) (edges []int64) {
	for id := range model.TagID(3) {
		for _, t := range s.samples[id+1].Times {
			if rng.IntN(2) == 0 {
				edges = append(edges, t+int64(rng.IntN(3))-1)
			}
		}
	}
	edges = append(edges, 1200, 1201+int64(rng.IntN(50)))
	slices.Sort(edges)
	if edges = slices.Compact(edges); rng.IntN(2) == 0 {
		slices.Reverse(edges)
	}
	return edges
}

// TestAggregatesWhileAreThoseOfTheTimeThatCounts holds answers under conditions of random samples against loops over nanoseconds, and over
// several windows, forward and in reverse.
func TestAggregatesWhileAreThoseOfTheTimeThatCounts(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 73))
		s := drawConditions(rng)
		now := int64(rng.IntN(1500))
		e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, now) }})
		require.NoError(t, err)
		useUncertain := rng.IntN(2) == 0
		at := func(id model.TagID, x int64) (float64, bool) {
			return plainCondition(s.tags[id-1], &s.samples[id].Samples, x, now, useUncertain)
		}
		p := func(x int64) bool { v, ok := at(2, x); return ok && v != 0 }
		q := func(x int64) bool { v, ok := at(3, x); return ok && v > 2 }
		conditions := []struct {
			text  string
			holds func(int64) bool
		}{
			{"p", p}, {"q > 2", q}, {"p and q > 2", func(x int64) bool { return p(x) && q(x) }},
			{"not p", func(x int64) bool { v, ok := at(2, x); return ok && v == 0 }}, {"1 < 0", func(int64) bool { return false }}, {"2 > 1", func(int64) bool { return true }},
		}
		c := conditions[rng.IntN(len(conditions))]
		counted := map[int64]bool{}
		counts := func(x int64) bool {
			v, ok := counted[x]
			if !ok {
				v = c.holds(x)
				counted[x] = v
			}
			return v
		}
		r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: int64(rng.IntN(600)), Step: 1 + int64(rng.IntN(200))}, UseUncertain: useUncertain, While: c.text}
		r.End = r.Start + 1 + int64(rng.IntN(700))
		if rng.IntN(10) == 0 {
			r.Step = 1
		}
		switch rng.IntN(4) {
		case 0:
			r.Start, r.End = r.End, r.Start
		case 1:
			r.Buckets = Buckets{Edges: drawEdges(rng, s)}
		}
		for a := Count; a <= WorstQuality; a++ {
			r.Aggregates = append(r.Aggregates, a)
		}
		rec := readAggregates(t, e, r)
		names := []string{"percentile(50)", "time_weighted_percentile(37.5)", "transitions", "increase", "delta", "integral"}
		processed := ProcessedRequest{Tags: r.Tags, Buckets: r.Buckets, Functions: functions(t, names...), Configuration: part13.Defaults, While: c.text}
		processed.Configuration.TreatUncertainAsBad = !useUncertain
		long := readProcessed(t, e, processed)
		buckets, err := r.buckets()
		require.NoError(t, err)
		require.Zero(t, s.open.Load())
		for i := range buckets.count() {
			from, to := buckets.edges[i], buckets.edges[i+1]
			where := fmt.Sprintf("seed %d, while %s, %d to %d", seed, c.text, from, to)
			want := referenceWhile(s.tags[0], &s.samples[1].Samples, from, to, useUncertain, counts)
			for k, f := range rec.Schema().Fields() {
				if w, ok := want[f.Name]; ok {
					have := numberAt(t, rec.Column(k), i)
					require.True(t, w != w && have != have || math.Abs(w-have) <= 1e-9*math.Abs(w), "%s: %s is %v, want %v", where, f.Name, have, w)
				}
			}
			own := plainWhile(s.tags[0], &s.samples[1].Samples, from, to, useUncertain, counts)
			own[5] = want["time_weighted_average"] * want["duration_good"] / 1e9
			for k, w := range own {
				row := i*len(names) + k
				have := processedNumber(long.Column(5).(*array.Float64), long.Column(6).(*array.Int64), row)
				require.True(t, w != w && have != have || math.Abs(w-have) <= 1e-9*math.Abs(w), "%s: %s is %v, want %v", where, names[k], have, w)
				require.Equal(t, int64(want["while_ns"]), long.Column(14).(*array.Int64).Value(row), where)
			}
		}
		defer rec.Release()
		defer long.Release()
		if len(r.Edges) > 0 { // which wide answers do not have
			continue
		}
		wide := readWide(t, e, WideRequest{Tags: r.Tags, Buckets: r.Buckets, Mode: WideAggregate, Aggregate: TimeWeightedAverage, UseUncertain: useUncertain, While: c.text})
		for i, have := range wide.cells[1] {
			want := numberAt(t, rec.Column(rec.Schema().FieldIndices("time_weighted_average")[0]), i)
			require.Equal(t, want != want, have == nil)
			if have != nil {
				require.Equal(t, math.Float64bits(want), have)
			}
		}
	}
}

// TestTimeInStateWhileIsWhatSamplesSay holds the states of random samples under conditions against a loop over nanoseconds.
func TestTimeInStateWhileIsWhatSamplesSay(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 75))
		s := drawConditions(rng)
		typ := []model.Type{model.Bool, model.State, model.Int64, model.Uint64}[rng.IntN(4)]
		for i := range s.tags[0].Settings {
			s.tags[0].Settings[i].Type = typ
		}
		b := randomBlock(rng, typ)
		if rng.IntN(3) == 0 { // of the condition itself
			copy(b.Times, s.samples[2].Times[:min(b.Len(), s.samples[2].Len())])
			slices.Sort(b.Times)
			for k := 1; k < b.Len(); k++ {
				b.Times[k] = max(b.Times[k], b.Times[k-1]+1)
			}
		}
		if typ == model.State && rng.IntN(3) == 0 { // more than a partial tells apart
			for i := range b.Bits {
				b.Bits[i] = uint64(i)
			}
		}
		s.samples[1] = b
		now := int64(rng.IntN(1500))
		e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, now) }})
		require.NoError(t, err)
		r := StatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: int64(rng.IntN(600)), End: int64(rng.IntN(1200)), Step: int64(rng.IntN(200))}, UseUncertain: rng.IntN(2) == 0}
		if r.Start == r.End || rng.IntN(3) == 0 {
			r.Buckets = Buckets{Edges: drawEdges(rng, s)}
		}
		p := func(x int64) (bool, bool) {
			v, ok := plainCondition(s.tags[1], &s.samples[2].Samples, x, now, r.UseUncertain)
			return v != 0, ok
		}
		counts := func(x int64) bool { v, ok := p(x); return ok && v }
		if r.While = "p"; rng.IntN(2) == 0 {
			r.While, counts = "not p", func(x int64) bool { v, ok := p(x); return ok && !v }
		}
		var want []stateRow
		buckets, err := r.buckets()
		require.NoError(t, err)
		for i := range buckets.count() {
			want = append(want, plainStates(s.tags[0], &b.Samples, buckets.edges[i], buckets.edges[i+1], now, r.UseUncertain, counts)...)
		}
		require.Equal(t, want, readStates(t, e, r), "seed %d, while %s", seed, r.While)
		require.Zero(t, s.open.Load())
	}
}

// TestWorkedExampleOfConditions holds the page and the answers against each other.
func TestWorkedExampleOfConditions(t *testing.T) {
	s := pageStore(t, "while-samples", model.Float64)
	pump := pageStore(t, "while-pump", model.State)
	pump.tags[0].ID, pump.tags[0].Name = 2, "PUMP"
	pump.tags[0].Settings[0].StateSet = "pump"
	pump.tags[0].Aliases = []model.Alias{{Name: "PUMP", From: model.MinTime, To: math.MaxInt64}}
	s.tags[0].Aliases = []model.Alias{{Name: "T", From: model.MinTime, To: math.MaxInt64}}
	s.tags, s.samples[2] = append(s.tags, pump.tags[0]), pump.samples[1]
	s.sets = []*model.StateSet{{Name: "pump", Version: 1, From: model.MinTime, States: []model.DigitalState{{Code: 0, Text: "STOP"}, {Code: 1, Text: "RUN"}}}}
	e, err := New(s, Options{Now: func() time.Time { return time.Unix(0, pageTime(t, "13:00:00")) }})
	require.NoError(t, err)
	want := golden.Table(t, aggregatesPage, "while")
	have := [][]string{want[0]}
	rec := readAggregates(t, e, AggregatesRequest{
		Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: pageTime(t, "12:00:00"), End: pageTime(t, "12:03:00"), Step: 60e9},
		Aggregates: []Aggregate{TimeWeightedAverage, Count, PercentGood}, While: "PUMP = 'RUN'",
	})
	defer rec.Release()
	for i := range int(rec.NumRows()) {
		line := []string{time.Unix(0, int64(rec.Column(0).(*array.Timestamp).Value(i))).UTC().Format(time.TimeOnly)}
		for _, name := range []string{"time_weighted_average", "count", "percent_good", "while_ns"} {
			text := "-"
			if v := numberAt(t, rec.Column(rec.Schema().FieldIndices(name)[0]), i); v == v {
				text = fmt.Sprintf("%.12g", v)
			}
			line = append(line, text)
		}
		q := rec.Column(rec.Schema().FieldIndices("quality")[0]).(*array.Uint32).Value(i)
		have = append(have, append(line, model.Quality(q).Text()))
	}
	require.Equal(t, lines(want), lines(have))
}

// plainWhile is a median, a percentile by time, transitions, increase and delta over the instants that count.
func plainWhile(tag *model.Tag, s *model.Samples, from, to int64, useUncertain bool, counts func(int64) bool) []float64 {
	first, behind := from, to // of the samples
	if from > to {
		first, behind, from, to = to+1, from+1, to, from
	}
	usable := func(i int) bool {
		q := s.QualityAt(i)
		return !s.IsNull(i) && (q.IsGood() || useUncertain && q.IsUncertain())
	}
	value := func(i int) float64 { v, _ := s.At(i).Float64(); return v }
	var values, stood []float64
	changes, increase, steps, last := 0.0, 0.0, 0, -1
	for i, t := range s.Times {
		next := t + 1
		if i+1 < s.Len() {
			next = s.Times[i+1]
		}
		for x := max(t, from); x < min(next, to) && usable(i); x++ {
			if counts(x) && reaches(tag, t, next, x) {
				stood = append(stood, value(i))
			}
		}
		if !usable(i) {
			continue
		}
		if t >= first && t < behind && counts(t) {
			values = append(values, value(i))
			if last >= 0 {
				if value(i) != value(last) {
					changes++
				}
				steps++
				if increase += value(i) - value(last); value(i) < value(last) {
					increase += value(last) // a reset: counted from 0
				}
			}
		}
		last = i
	}
	nan := math.NaN()
	out := []float64{nan, nan, changes, nan, nan, nan}
	if n := len(values); n > 0 {
		out[4] = values[n-1] - values[0]
		if steps > 0 {
			out[3] = increase
		}
		slices.Sort(values)
		out[0] = (values[(n-1)/2] + values[n/2]) / 2
	}
	if n := len(stood); n > 0 {
		slices.Sort(stood)
		out[1] = stood[max(int(math.Ceil(0.375*float64(n)-1e-9)), 1)-1]
	}
	return out
}

// TestAggregatesWhileSplitAndTurn holds buckets against the whole of them, and those in reverse against those forward: with no sample at an
// edge they are the same.
func TestAggregatesWhileSplitAndTurn(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 74))
		s := drawConditions(rng)
		now := time.Unix(0, int64(rng.IntN(1500)))
		e, err := New(s, Options{Now: func() time.Time { return now }})
		require.NoError(t, err)
		edges := drawEdges(rng, s)
		slices.Sort(edges)
		edges = slices.DeleteFunc(edges, func(x int64) bool { return slices.Contains(s.samples[1].Times, x) })
		if len(edges) < 2 {
			continue
		}
		back := slices.Clone(edges)
		slices.Reverse(back)
		r := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Aggregates: []Aggregate{Count, DurationGood, TimeWeightedAverage, Minimum, Last, WorstQuality}}
		r.While = []string{"p", "not p", "q > 2", "p or q < 3"}[rng.IntN(4)]
		read := func(edges ...int64) (rows [][]float64) {
			r.Edges = edges
			rec := readAggregates(t, e, r)
			defer rec.Release()
			for i := range int(rec.NumRows()) {
				var row []float64
				for _, name := range []string{"count", "duration_good", "while_ns", "time_weighted_average", "minimum", "last", "worst_quality", "quality", "percent_good"} {
					v := numberAt(t, rec.Column(rec.Schema().FieldIndices(name)[0]), i)
					if v != v {
						v = -1e300
					}
					row = append(row, v)
				}
				rows = append(rows, row)
			}
			return rows
		}
		forward, reverse := read(edges...), read(back...)
		where := fmt.Sprintf("seed %d, while %s", seed, r.While)
		slices.Reverse(reverse)
		for i := range forward {
			require.InDeltaSlice(t, forward[i], reverse[i], 1e-9, "%s, bucket %d", where, i)
		}
		for _, whole := range [][]float64{read(edges[0], back[0])[0], read(back[0], edges[0])[0]} {
			for k := range 3 {
				sum := 0.0
				for _, row := range forward {
					sum += row[k]
				}
				require.Equal(t, whole[k], sum, "%s, column %d", where, k)
			}
		}
	}
}

// TestPart13HasCounterpartsUnderConditions holds the page against the errors, and asks for what they name.
func TestPart13HasCounterpartsUnderConditions(t *testing.T) {
	s := drawConditions(rand.New(rand.NewPCG(1, 2)))
	e, err := New(s, Options{})
	require.NoError(t, err)
	want := golden.Table(t, aggregatesPage, "while-part-13")
	have := [][]string{want[0]}
	for i, name := range part13.Names() {
		instead := insteadOf[i+1]
		have = append(have, append([]string{name}, strings.Fields(instead)...))
		if instead, _, _ = strings.Cut(instead, ","); instead[0] < 'a' {
			continue // a call
		}
		r := ProcessedRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: 900}, Functions: functions(t, instead), Configuration: part13.Defaults, While: "p or not p"}
		readProcessed(t, e, r).Release()
	}
	require.Equal(t, want, have)
}

func TestConditionsAreChecked(t *testing.T) {
	s := drawConditions(rand.New(rand.NewPCG(1, 2)))
	e, err := New(s, Options{})
	require.NoError(t, err)
	for while, message := range map[string]string{
		"p and": "while", "q + 1": "no condition", "nobody = 1": `"nobody"`, "p = 'x' and q": "while", strings.Repeat("p or ", 2000) + "p": "bytes",
	} {
		_, err := e.ReadAggregates(context.Background(), AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: 9}, Aggregates: []Aggregate{Count}, While: while}, &bytesSink{})
		require.ErrorContains(t, err, message)
		require.Zero(t, s.open.Load())
	}
	one := AggregatesRequest{Tags: Tags{IDs: []model.TagID{1}}, Buckets: Buckets{Start: 0, End: 9}, Aggregates: []Aggregate{Count}}
	for _, name := range part13.Names() {
		want := fmt.Sprintf("while with %s: Part 13", name)
		_, err = e.ProcessedSchema(ProcessedRequest{Tags: one.Tags, Buckets: Buckets{Start: 0, End: 9}, Functions: functions(t, name), Configuration: part13.Defaults, While: "p"})
		require.ErrorContains(t, err, want)
		a, _ := part13.Parse(name)
		_, err = e.WideSchema(WideRequest{Tags: one.Tags, Buckets: Buckets{Start: 0, End: 9}, Mode: WideAggregate, Function: a, Configuration: part13.Defaults, While: "p"})
		require.ErrorContains(t, err, want)
	}
	_, err = e.WideSchema(WideRequest{Tags: one.Tags, Buckets: Buckets{Start: 0, End: 9, Step: 1}, Mode: WideInterpolated, While: "p"})
	require.ErrorContains(t, err, "mode aggregate")
	s.tags[2].Settings[0].Unit, s.tags[2].Settings[1].Unit = "bar", "kPa"
	s.tags[2].Settings[1].From = 5
	one.While = "q > 2"
	for _, b := range []Buckets{{Start: 0, End: 9}, {Start: 9, End: 0}} {
		one.Buckets = b
		_, err = e.AggregatesSchema(one)
		require.ErrorContains(t, err, "unit")
	}
}
