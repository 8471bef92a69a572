package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// biVictoriaMetrics has the values of the plant's numeric tags, in milliseconds, and is asked what MetricsQL has words for.
type biVictoriaMetrics struct {
	*victoriaMetrics
	days int
}

// newBIVictoriaMetrics is VictoriaMetrics, or why it cannot be asked here.
func newBIVictoriaMetrics() (biPeer, string) {
	c, missing := newVictoriaMetrics()
	if missing != "" {
		return nil, missing
	}
	return &biVictoriaMetrics{victoriaMetrics: c.(*victoriaMetrics)}, ""
}

func (v *biVictoriaMetrics) name() string { return "victoria-metrics" }

// importLine is one tag as /api/v1/import takes it.
type importLine struct {
	Metric     map[string]string `json:"metric"`
	Values     []float64         `json:"values"`
	Timestamps []int64           `json:"timestamps"`
}

func (v *biVictoriaMetrics) load(ctx context.Context, dir string, tags []*biTag) error {
	if err := v.start(ctx, dir); err != nil {
		return err
	}
	for _, t := range tags {
		if last := t.times[len(t.times)-1]; t.kind == "float64" {
			v.days = max(v.days, int((last-biStart)/(86_400*second))+1)
		}
		if t.kind != "float64" || t.name == "LAB.PH" { // which has several values at a time
			continue
		}
		line := importLine{Metric: map[string]string{"__name__": "pv", "tag": t.name}}
		for i := range t.times {
			if !t.bad(i) {
				line.Values, line.Timestamps = append(line.Values, t.numbers[i]), append(line.Timestamps, t.times[i]/millisecond)
			}
		}
		body, err := json.Marshal(line)
		if err != nil {
			return err
		}
		if err := v.web.post(ctx, "/api/v1/import", append(body, '\n'), nil); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return v.settle(ctx)
}

func (v *biVictoriaMetrics) words(q *biQuestion) (string, float64, string) {
	if _, ok := biMetrics[q.name]; !ok {
		return "", 0, "MetricsQL has no words that mean the same"
	}
	return q.name, biTolerance, "" // it keeps decimals
}

func (v *biVictoriaMetrics) ask(ctx context.Context, text string, keep *cells) (int, error) {
	rows, err := biMetrics[text](ctx, v)
	if keep != nil {
		*keep = rows
	}
	return len(rows), err
}

// biMetrics are the questions that mean the same in MetricsQL.
var biMetrics = map[string]func(context.Context, *biVictoriaMetrics) (cells, error){
	"tableau-average-by-day": func(ctx context.Context, v *biVictoriaMetrics) (cells, error) {
		of, err := v.windows(ctx, "avg_over_time", `pv{tag="SITE1.TI-102"}`, biStart, biStart+int64(v.days)*86_400*second, 24*time.Hour)
		return of.rows(func(at int64, values map[string]float64) []any { return []any{at, values["SITE1.TI-102"]} }), err
	},
	"grafana-epoch": func(ctx context.Context, v *biVictoriaMetrics) (cells, error) {
		of, err := v.windows(ctx, "max_over_time", `pv{tag="SITE1.TI-105"}`, 1_730_548_800*second, 1_730_552_400*second, 5*time.Minute)
		return of.rows(func(at int64, values map[string]float64) []any {
			return []any{float64(at / second), values["SITE1.TI-105"]}
		}), err
	},
	"grafana-stat-last-value": func(ctx context.Context, v *biVictoriaMetrics) (cells, error) {
		return v.each(ctx, "last_over_time")
	},
	"union-of-extremes": func(ctx context.Context, v *biVictoriaMetrics) (cells, error) {
		high, err := v.each(ctx, "max_over_time")
		if err != nil {
			return nil, err
		}
		low, err := v.each(ctx, "min_over_time")
		var all cells
		for _, r := range high {
			all = append(all, append([]any{"high"}, r...))
		}
		for _, r := range low {
			all = append(all, append([]any{"low"}, r...))
		}
		return all, err
	},
	"pivot-by-case": func(ctx context.Context, v *biVictoriaMetrics) (cells, error) {
		of, err := v.windows(ctx, "avg_over_time", `pv{tag=~"SITE1\\.FI-201|SITE1\\.FI-202"}`, biStart, biStart+int64(v.days)*86_400*second, time.Hour)
		return of.rows(func(at int64, values map[string]float64) []any {
			row := []any{at, nil, nil}
			for i, tag := range []string{"SITE1.FI-201", "SITE1.FI-202"} {
				if f, ok := values[tag]; ok {
					row[i+1] = f
				}
			}
			return row
		}), err
	},
}

// metricWindows are values by where their window begins, in nanoseconds, and by tag.
type metricWindows map[int64]map[string]float64

func (w metricWindows) rows(row func(at int64, values map[string]float64) []any) cells {
	var all cells
	for _, at := range slices.Sorted(maps.Keys(w)) {
		all = append(all, row(at, w[at]))
	}
	return all
}

// windows is a function of every whole window of [from, to). A window of MetricsQL is open at its start and closed at its end, so that one that
// ends a millisecond before the next begins is ours.
func (v *biVictoriaMetrics) windows(ctx context.Context, function, of string, from, to int64, every time.Duration) (metricWindows, error) {
	ms := every.Milliseconds()
	path := query("/api/v1/query_range", "query", fmt.Sprintf("%s(%s[%dms])", function, of, ms), "start", seconds(from/millisecond+ms-1), "end", seconds(to/millisecond-1),
		"step", fmt.Sprintf("%dms", ms), "nocache", "1")
	all := metricWindows{}
	return all, v.series(ctx, path, func(tag string, at, value float64) {
		start := (int64(math.Round(at*1000)) - ms + 1) * millisecond
		if all[start] == nil {
			all[start] = map[string]float64{}
		}
		all[start][tag] = value
	})
}

// each is a function of all there is of each temperature.
func (v *biVictoriaMetrics) each(ctx context.Context, function string) (cells, error) {
	path := query("/api/v1/query", "query", fmt.Sprintf(`%s(pv{tag=~"SITE1\\.TI-.*"}[%dd])`, function, v.days+1), "time", seconds(biStart/millisecond+int64(v.days)*86_400_000), "nocache", "1")
	var all cells
	err := v.series(ctx, path, func(tag string, _, value float64) { all = append(all, []any{tag, value}) })
	slices.SortFunc(all, func(a, b []any) int { return cmp.Compare(a[0].(string), b[0].(string)) })
	return all, err
}

// metricsAnswer is what a query answers: a pair of time and value for each series, or several.
type metricsAnswer struct {
	Data struct {
		Result []struct {
			Metric map[string]string    `json:"metric"`
			Value  *[2]json.RawMessage  `json:"value"`
			Values [][2]json.RawMessage `json:"values"`
		} `json:"result"`
	} `json:"data"`
}

// series shows every pair, the time in seconds.
func (v *biVictoriaMetrics) series(ctx context.Context, path string, each func(tag string, at, value float64)) error {
	return v.web.get(ctx, path, func(b []byte) error {
		var a metricsAnswer
		if err := json.Unmarshal(b, &a); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		for _, r := range a.Data.Result {
			if r.Value != nil {
				r.Values = append(r.Values, *r.Value)
			}
			for _, pair := range r.Values {
				at, err := strconv.ParseFloat(string(pair[0]), 64)
				if err != nil {
					return err
				}
				value, err := strconv.ParseFloat(string(bytes.Trim(pair[1], `"`)), 64)
				if err != nil {
					return err
				}
				each(r.Metric["tag"], at, value)
			}
		}
		return nil
	})
}
