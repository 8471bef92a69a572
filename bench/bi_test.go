package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBIQuestionsAreRead(t *testing.T) {
	all, err := readBIQuestions()
	require.NoError(t, err)
	require.Len(t, all, 60)
	names := map[string]*biQuestion{}
	for _, q := range all {
		require.NotContains(t, names, q.name)
		require.NotEmpty(t, q.sql, q.name)
		require.NotContains(t, q.sql, "--", "%s: two questions in one", q.name)
		names[q.name] = q
	}
	require.True(t, names["tableau-sum-by-tag"].unordered)
	require.Equal(t, biTolerance, names["tableau-sum-by-tag"].tolerance())
	require.Zero(t, names["powerbi-first-rows"].tolerance())
	require.True(t, names["aggregate-hours"].functions)
	require.Equal(t, "functions of varve", names["aggregate-hours"].group())
	require.Equal(t, "grafana", names["grafana-minutes"].group())
	require.Equal(t, "others", names["histogram"].group())

	own := biWordsOf(biPostgresWords)
	require.NotEmpty(t, own)
	for name, w := range own {
		require.Contains(t, names, name)
		require.NotEqual(t, w.sql == "", w.why == "", "%s has words, or why it has none", name)
	}
	for name := range biMetrics {
		require.Contains(t, names, name)
	}
	p := &biPostgres{own: own}
	sql, tolerance, why := p.words(names["regression"])
	require.Contains(t, sql, "regr_slope")
	require.Equal(t, biAbout, tolerance)
	require.Empty(t, why)
	_, _, why = p.words(names["pivot-in-list"])
	require.NotEmpty(t, why)
	_, _, why = p.words(names["raw-with-bounds"])
	require.NotEmpty(t, why)
	sql, _, _ = p.words(names["window-delta"])
	require.Equal(t, names["window-delta"].sql, sql)
}

func TestBIPlantIsThatOfTheQuestions(t *testing.T) {
	tags := biPlantOf(40, 4)
	require.Len(t, tags, 40)
	var names []string
	for _, x := range tags {
		names = append(names, x.name)
		require.True(t, slices.IsSorted(x.times), x.name)
		require.Len(t, x.quality, len(x.times))
		for i := range x.times {
			r := x.row(i)
			none := r.number == nil && r.integer == nil && r.text == nil
			require.Equal(t, r.severity == "Bad", none, "%s: a Bad sample has no value", x.name)
			require.NotEmpty(t, r.status())
		}
	}
	require.Equal(t, []string{
		"SITE1.TI-101", "SITE1.TI-102", "SITE1.TI-103", "SITE1.TI-104", "SITE1.TI-105", "SITE1.FI-201", "SITE1.FI-202", "SITE1.FI-203",
		"SITE2.PI-301", "SITE2.COUNT-401", "SITE1.P-101.RUN", "SITE1.XV-102.OPEN", "SITE2.BATCH", "LAB.PH", "SITE1.VIB-1",
	}, names[:15])
	slices.Sort(names)
	require.Len(t, slices.Compact(names), 40)
	require.Equal(t, tags[0].numbers[:10], biPlantOf(40, 4)[0].numbers[:10], "the same on every machine")
}

func TestDifferNamesTheRow(t *testing.T) {
	q := &biQuestion{}
	row := func(v ...any) []any { return v }
	for name, c := range map[string]struct {
		got, want cells
		unordered bool
		tolerance float64
		err       string
	}{
		"equal":                      {got: cells{row("a", 1.5, nil, true)}, want: cells{row("a", 1.5, nil, true)}},
		"whole numbers and doubles":  {got: cells{row(int64(3))}, want: cells{row(3.0)}},
		"integers to the last digit": {got: cells{row(int64(1<<53 + 1))}, want: cells{row(int64(1 << 53))}, tolerance: 1e-9, err: "row 0"},
		"last digits":                {got: cells{row(1.0)}, want: cells{row(math.Nextafter(1, 2))}, err: "row 0"},
		"last digits of a sum":       {got: cells{row(1.0)}, want: cells{row(math.Nextafter(1, 2))}, tolerance: 1e-12},
		"null for zero":              {got: cells{row(nil)}, want: cells{row(0.0)}, tolerance: 1, err: "row 0 is [null], want [0]"},
		"no number":                  {got: cells{row(math.NaN())}, want: cells{row(math.NaN())}},
		"no number for one":          {got: cells{row(math.NaN())}, want: cells{row(1.0)}, tolerance: 1, err: "row 0"},
		"text":                       {got: cells{row("a")}, want: cells{row("b")}, err: "row 0"},
		"too few":                    {want: cells{row(1.0)}, err: "0 rows, want 1"},
		"a column more":              {got: cells{row(1.0, 2.0)}, want: cells{row(1.0)}, err: "row 0"},
		"order":                      {got: cells{row("b"), row("a")}, want: cells{row("a"), row("b")}, err: "row 0"},
		"order that is not asked":    {got: cells{row("b"), row("a")}, want: cells{row("a"), row("b")}, unordered: true},
		"order of rounded doubles": {
			got:       cells{row(1.0, "b"), row(math.Nextafter(1, 2), "a")},
			want:      cells{row(1.0, "a"), row(1.0, "b")},
			unordered: true, tolerance: 1e-12,
		},
	} {
		q.unordered = c.unordered
		err := q.differ(c.got, c.want, c.tolerance)
		if c.err == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.err, name)
		}
	}
}

func TestMeansAreOverTheFirst(t *testing.T) {
	r := &biReport{Peers: []string{"varve", "other"}, Questions: []*biAnswer{
		{Name: "a", Group: "x", Medians: map[string]float64{"varve": 2, "other": 4}},
		{Name: "b", Group: "x", Medians: map[string]float64{"varve": 2, "other": 16}},
		{Name: "c", Group: "y", Medians: map[string]float64{"varve": 1}, Not: map[string]string{"other": "no words"}},
	}}
	r.means()
	require.InDelta(t, 4, r.Means["x"]["other"], 1e-12)
	require.InDelta(t, 4, r.Means["all"]["other"], 1e-12)
	require.NotContains(t, r.Means["y"], "other")
	var out strings.Builder
	require.NoError(t, r.table(&out))
	require.Contains(t, out.String(), "other was not asked 1 of 3, because no words: c")
}
