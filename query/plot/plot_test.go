package plot

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

// event is a sample, or a break where isBreak is set.
type event struct {
	Point
	isBreak bool
	quality model.Quality
}

func (e event) addTo(c *Interval) {
	if e.isBreak {
		c.Break(e.Time, e.quality)
	} else {
		c.Add(e.Time, e.Value, e.quality)
	}
}

func reduce(t require.TestingT, g Grid, events []event) []Row {
	r, err := NewReducer(g)
	require.NoError(t, err)
	for _, e := range events {
		if e.isBreak {
			r.Break(e.Time, e.quality)
		} else {
			r.Add(e.Time, e.Value, e.quality)
		}
	}
	return r.Rows()
}

func eventsOf(rows []Row) (events []event) {
	for _, r := range rows {
		events = append(events, event{Point: Point{r.Time, r.Value}, isBreak: r.Kind == Gap})
	}
	return events
}

// stroke is the stretch of one column that a line covers; least above most where it does not come there.
type stroke struct{ least, most float64 }

// draw is the strokes of the line through events on a grid. It knows nothing of intervals: it follows the line from one event to the
// next, through every column on the way.
func draw(g Grid, events []event, stepped bool) []stroke {
	strokes := make([]stroke, g.Width)
	for i := range strokes {
		strokes[i] = stroke{math.Inf(1), math.Inf(-1)}
	}
	touch := func(column int, v float64) {
		if column >= 0 && column < g.Width {
			s := &strokes[column]
			s.least, s.most = min(s.least, v), max(s.most, v)
		}
	}
	for i, a := range events {
		if a.isBreak {
			continue
		}
		touch(g.Column(a.Time), a.Value)
		if i+1 == len(events) || events[i+1].isBreak && !stepped {
			continue
		}
		b := events[i+1]
		at := func(t int64) float64 {
			switch {
			case stepped || t == a.Time:
				return a.Value
			case t == b.Time:
				return b.Value
			}
			part := float64(uint64(t)-uint64(a.Time)) / float64(uint64(b.Time)-uint64(a.Time))
			return a.Value*(1-part) + b.Value*part
		}
		for c := max(0, g.Column(a.Time)); c <= min(g.Width-1, g.Column(b.Time)); c++ {
			touch(c, at(max(a.Time, g.Edge(c))))
			touch(c, at(min(b.Time, g.Edge(c+1))))
		}
	}
	return strokes
}

var times = rapid.SampledFrom([]struct{ start, length, step int64 }{
	{0, 40, 3}, {0, 12, 3}, {1_700_000_000_000_000_000, 3600e9, 300e9}, {-1_000, 2_001, 77}, {math.MinInt64 + 1, math.MaxInt64, math.MaxInt64 / 20},
})

// drawEvents draws a grid and events in, before and behind it: several at one time, breaks of all kinds, values that are not finite.
func drawEvents(t *rapid.T) (Grid, []event) {
	span := times.Draw(t, "times")
	g := Grid{span.start, span.start + span.length, rapid.IntRange(1, 12).Draw(t, "width")}
	at := span.start
	if span.start > math.MinInt64/2 {
		at -= span.step * int64(rapid.IntRange(0, 3).Draw(t, "before"))
	}
	var events []event
	for range rapid.IntRange(0, 40).Draw(t, "events") {
		e := event{quality: rapid.SampledFrom([]model.Quality{model.Good, model.GoodLocalOverride, model.Uncertain, model.UncertainSubNormal}).Draw(t, "quality")}
		e.Time = at
		e.Value = float64(rapid.IntRange(-5, 5).Draw(t, "value"))
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			e.isBreak, e.quality = true, rapid.SampledFrom([]model.Quality{model.Bad, model.BadNoCommunication}).Draw(t, "bad")
		case 1:
			e.isBreak, e.Value = true, rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}).Draw(t, "not finite")
		}
		events = append(events, e)
		step := rapid.Int64Range(0, span.step).Draw(t, "step")
		if at > math.MaxInt64-1-step {
			break
		}
		at += step
	}
	return g, events
}

// TestRowsDrawWhatSamplesDraw is the promise of the package: the strokes of both are the same to the bit, sloped and stepped, and
// on every grid whose columns are made of whole ones.
func TestRowsDrawWhatSamplesDraw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, events := drawEvents(t)
		reduced := eventsOf(reduce(t, g, events))
		for parts := 1; parts <= g.Width; parts++ {
			if g.Width%parts != 0 {
				continue
			}
			coarse := Grid{g.Start, g.End, g.Width / parts}
			for _, stepped := range []bool{false, true} {
				require.Equal(t, draw(coarse, events, stepped), draw(coarse, reduced, stepped),
					"stepped %v, %d of %d columns\nsamples %v\nrows %v", stepped, coarse.Width, g.Width, events, reduced)
			}
		}
	})
}

// TestRowsAreFewAndInOrder holds rows against what a column is said to have, by plain loops over its events.
func TestRowsAreFewAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, events := drawEvents(t)
		rows := reduce(t, g, events)
		byColumn := map[int][]Row{}
		for i, r := range rows {
			require.True(t, i == 0 || rows[i-1].Time <= r.Time, "rows %v", rows)
			require.Equal(t, g.Column(r.Time), r.Column)
			byColumn[r.Column] = append(byColumn[r.Column], r)
		}
		for column := range g.Width {
			var of []event
			for _, e := range events {
				if g.Column(e.Time) == column {
					of = append(of, e)
				}
			}
			have := byColumn[column]
			if len(of) == 0 {
				require.Empty(t, have)
				continue
			}
			require.LessOrEqual(t, len(have), 6)
			worst := of[0].quality
			var drawn []Point
			var trail *event // the first break behind the last sample
			inner := false
			for i, e := range of {
				if e.quality>>30 > worst>>30 {
					worst = e.quality
				}
				switch {
				case !e.isBreak:
					inner = inner || trail != nil
					trail = nil
					drawn = append(drawn, e.Point)
				case trail == nil && len(drawn) > 0:
					trail = &of[i]
				}
			}
			var kinds Kind
			for _, r := range have {
				require.Equal(t, worst, r.Worst)
				require.Equal(t, inner, r.Inner)
				require.Zero(t, kinds&r.Kind&^Gap, "two rows are %b", r.Kind)
				kinds |= r.Kind
				require.Equal(t, r.Kind == Gap, math.IsNaN(r.Value))
				require.True(t, r.Kind&First == 0 || drawn[0] == Point{r.Time, r.Value})
				require.True(t, r.Kind&Last == 0 || drawn[len(drawn)-1] == Point{r.Time, r.Value})
				for _, p := range drawn {
					require.False(t, r.Kind&Min != 0 && (p.Value < r.Value || p.Value == r.Value && p.Time < r.Time))
					require.False(t, r.Kind&Max != 0 && (p.Value > r.Value || p.Value == r.Value && p.Time < r.Time))
				}
			}
			if len(drawn) > 0 {
				require.Equal(t, First|Min|Max|Last, kinds&^Gap)
			}
			head, tail := have[0], have[len(have)-1]
			require.Equal(t, of[0].isBreak, head.Kind == Gap)
			require.Equal(t, of[0].Time, head.Time)
			require.Equal(t, trail != nil || len(drawn) == 0, tail.Kind == Gap)
			require.True(t, trail == nil || trail.Time == tail.Time)
		}
	})
}

// TestIntervalsMerge cuts events anywhere, merges in any grouping, and has the same interval; and rows of merged parts are those
// of samples.
func TestIntervalsMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, events := drawEvents(t)
		cuts := rapid.SliceOfN(rapid.Bool(), len(events), len(events)).Draw(t, "cuts")
		var whole Interval
		parts := []Interval{{}}
		for i, e := range events {
			e.addTo(&whole)
			if cuts[i] {
				parts = append(parts, Interval{})
			}
			e.addTo(&parts[len(parts)-1])
		}
		merged := append([]Interval(nil), parts...)
		for len(merged) > 1 {
			i := rapid.IntRange(0, len(merged)-2).Draw(t, "merge")
			merged[i].Merge(&merged[i+1])
			merged = append(merged[:i+1], merged[i+2:]...)
		}
		require.Equal(t, whole, merged[0])

		r, err := NewReducer(g)
		require.NoError(t, err)
		var part Interval
		column := math.MinInt
		for i, e := range events {
			if c := g.Column(e.Time); c != column || cuts[i] {
				r.Merge(&part)
				part, column = Interval{}, c
			}
			e.addTo(&part)
		}
		r.Merge(&part)
		require.Equal(t, fmt.Sprint(reduce(t, g, events)), fmt.Sprint(r.Rows())) // as text: NaN equals NaN there
	})
}

// TestRunsAreTheirSamples adds what can be added as runs of one quality so, and has the rows of samples added one by one.
func TestRunsAreTheirSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, events := drawEvents(t)
		r, err := NewReducer(g)
		require.NoError(t, err)
		for i := 0; i < len(events); i++ {
			e := events[i]
			if e.isBreak && !math.IsNaN(e.Value) && !math.IsInf(e.Value, 0) {
				r.Break(e.Time, e.quality)
				continue
			}
			r.Add(e.Time, e.Value, e.quality)
			var times []int64
			var values []uint64
			for _, x := range events[i+1:] {
				if x.quality != e.quality { // a break of another kind
					break
				}
				times, values = append(times, x.Time), append(values, math.Float64bits(x.Value))
			}
			i += r.AddRun(times, values, e.quality)
		}
		require.Equal(t, fmt.Sprint(reduce(t, g, events)), fmt.Sprint(r.Rows()))
	})
}

// Two samples at one time have one row each, whichever of them is the greater.
func TestOneRowForASample(t *testing.T) {
	for _, values := range [][2]float64{{9, 2}, {2, 9}} {
		rows := reduce(t, Grid{0, 10, 1}, []event{{Point: Point{3, values[0]}}, {Point: Point{3, values[1]}}})
		require.Len(t, rows, 2)
		require.Equal(t, First|Last, rows[0].Kind&First|rows[1].Kind&Last)
		require.Equal(t, values, [2]float64{rows[0].Value, rows[1].Value})
	}
}

func TestColumnsFillTheGrid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(model.MinTime, model.MaxTime-1).Draw(t, "start")
		g := Grid{start, rapid.Int64Range(start+1, model.MaxTime).Draw(t, "end"), rapid.IntRange(1, 10_000).Draw(t, "width")}
		require.NoError(t, g.Check())
		require.Equal(t, g.Start, g.Edge(0))
		require.Equal(t, g.End, g.Edge(g.Width))
		require.Equal(t, -1, g.Column(g.Start-1))
		require.Equal(t, g.Width, g.Column(g.End))
		i := rapid.IntRange(0, g.Width-1).Draw(t, "column")
		from, to := g.Edge(i), g.Edge(i+1)
		if from == to { // more columns than nanoseconds
			require.Less(t, g.length(), uint64(g.Width))
			return
		}
		require.Equal(t, i, g.Column(from))
		require.Equal(t, i, g.Column(to-1))
		require.Less(t, g.Column(from-1), i)
		require.Greater(t, g.Column(to), i)
	})
}

func TestGridIsChecked(t *testing.T) {
	for _, g := range []Grid{{0, 10, 0}, {10, 10, 5}, {10, 0, 5}} {
		_, err := NewReducer(g)
		require.ErrorContains(t, err, "an end behind the start")
	}
}

// TestWorkedExample holds the page and the package against each other.
func TestWorkedExample(t *testing.T) {
	const page = "../../docs/reference/reductions.md"
	clock := func(s string) int64 {
		at, err := time.Parse(time.DateTime, "2026-11-25 "+s)
		require.NoError(t, err)
		return at.UnixNano()
	}
	var events []event
	for _, row := range golden.Table(t, page, "plot-samples") {
		e := event{Point: Point{Time: clock(row[0])}, isBreak: row[1] == "-"}
		q, err := model.ParseQuality(row[2])
		require.NoError(t, err)
		e.quality = q
		if !e.isBreak {
			e.Value, err = strconv.ParseFloat(row[1], 64)
			require.NoError(t, err)
		}
		events = append(events, e)
	}
	var have [][]string
	for _, r := range reduce(t, Grid{clock("12:00:00"), clock("12:04:00"), 4}, events) {
		var kinds []string
		for i, name := range []string{"first", "min", "max", "last", "gap"} {
			if r.Kind&(1<<i) != 0 {
				kinds = append(kinds, name)
			}
		}
		value := "-"
		if r.Kind != Gap {
			value = strconv.FormatFloat(r.Value, 'g', -1, 64)
		}
		inner := "-"
		if r.Inner {
			inner = "inner"
		}
		have = append(have, []string{strconv.Itoa(r.Column), strings.Join(kinds, ","), time.Unix(0, r.Time).UTC().Format("15:04:05"), value, r.Worst.String(), inner})
	}
	require.Equal(t, golden.Table(t, page, "plot-rows"), have)
}

func BenchmarkReducer(b *testing.B) {
	for _, width := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("samples=1M/width=%d", width), func(b *testing.B) {
			values := make([]float64, 1_000_000)
			for i := range values {
				values[i] = math.Sin(float64(i) / 500)
			}
			for range b.N {
				r, err := NewReducer(Grid{0, int64(len(values)) * 1e9, width})
				if err != nil {
					b.Fatal(err)
				}
				for i, v := range values {
					r.Add(int64(i)*1e9, v, model.Good)
				}
				r.Rows()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/sample")
		})
	}
}
