package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// timeWeightedFile is examples of integrals, averages, states and counters from other engines. Those that Varve has no question for are
// passed over; docs/reference/aggregates.md names them.
type timeWeightedFile struct {
	TimeWeighted []weightedCase `json:"time_weighted"`
	Flux         []fluxCase
	States       []stateCase `json:"state_duration"`
	Counters     []counterCase
	Promql       []promCase
}

func runTimeWeighted(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file timeWeightedFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return unreadable(err)
	}
	for i := range file.TimeWeighted {
		if err := file.TimeWeighted[i].run(ctx, s, r); err != nil {
			return err
		}
	}
	for i := range file.Flux {
		if err := file.Flux[i].run(ctx, s, r, i); err != nil {
			return err
		}
	}
	for i := range file.States {
		if err := file.States[i].run(ctx, s, r, i); err != nil {
			return err
		}
	}
	for i := range file.Counters {
		if err := file.Counters[i].run(ctx, s, r, i); err != nil {
			return err
		}
	}
	for i := range file.Promql {
		if err := file.Promql[i].run(ctx, s, r, i); err != nil {
			return err
		}
	}
	return nil
}

// weightedCase is integrals and averages from the first point to the last.
type weightedCase struct {
	Name, Method, Source string
	Points               []point
	Cumulative           []any      `json:"cumulative_integral"`
	Range                []instant  // in place of from the first point to the last
	Prev, Next           *point     // a point before the others, or behind them
	Target               float64    // seconds, where a value between Prev and the first point is wanted, or between the last point and Next
	Linear               *float64   `json:"expected_boundary_value"`
	Stepped              *float64   `json:"stepped_boundary_value"`
	Expect               weightings // by function
}

// weightings is what a case wants: the names say function, method and unit.
type weightings struct {
	Average         *float64
	AverageLinear   *float64 `json:"average_linear"`
	AverageStepped  *float64 `json:"average_stepped"`
	Integral        *float64 `json:"integral_seconds"`
	IntegralLinear  *float64 `json:"integral_linear"`
	IntegralStepped *float64 `json:"integral_stepped"`
	LinearSeconds   *float64 `json:"integral_linear_seconds"`
	SteppedSeconds  *float64 `json:"integral_stepped_seconds"`
}

func (c *weightedCase) UnmarshalJSON(b []byte) error {
	type plain weightedCase
	if err := json.Unmarshal(b, (*plain)(c)); err != nil {
		return err
	}
	return json.Unmarshal(b, &c.Expect)
}

func (c *weightedCase) run(ctx context.Context, s *Server, r *Report) error {
	var points []point
	if c.Prev != nil {
		points = append(points, *c.Prev)
	}
	points = append(points, c.Points...)
	if c.Next != nil {
		points = append(points, *c.Next)
	}
	if len(points) == 0 || math.Abs(c.Target) > maxSeconds || len(c.Cumulative) > len(points) {
		return fmt.Errorf("case %s: %d points, target %v, %d integrals: %w", c.Name, len(points), c.Target, len(c.Cumulative), ErrFormat)
	}
	e, err := s.begin(ctx, r, c.Name, c.Source, points)
	if err != nil {
		return err
	}
	defer e.end()
	const average, integral = "time_weighted_average", "integral"
	whole := upTo(points, len(points)-1)
	// Varve does not hold the last value to the end of a range.
	if len(c.Range) == 2 {
		e.contested = true
		whole = span{start: c.Range[0].UnixNano(), end: c.Range[1].UnixNano()}
	}
	at := span{start: seconds(c.Target), end: seconds(c.Target) + 1}
	for i := 1; i < len(c.Cumulative); i++ { // of no time there is no integral
		if err := e.ask(ctx, integral, c.Method != "linear", upTo(points, i), c.Cumulative[i]); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		want     *float64
		function string
		stepped  bool
		in       span
	}{
		{c.Expect.Average, average, c.Method == "stepped", whole}, {c.Expect.AverageLinear, average, false, whole}, {c.Expect.AverageStepped, average, true, whole},
		{c.Expect.Integral, integral, c.Method == "stepped", whole},
		{c.Expect.IntegralLinear, integral, false, whole}, {c.Expect.IntegralStepped, integral, true, whole},
		{c.Expect.LinearSeconds, integral, false, whole}, {c.Expect.SteppedSeconds, integral, true, whole},
		{c.Linear, "Interpolative", false, at}, {c.Stepped, "Interpolative", true, at},
	} {
		if x.want == nil {
			continue
		}
		if err := e.ask(ctx, x.function, x.stepped, x.in, *x.want); err != nil {
			return err
		}
	}
	return nil
}

// fluxCase is an example of a function of Flux.
type fluxCase struct {
	Function, Source string
	Range            []instant
	Points           []point
	Expect           any // a number, or one for each point
}

func (c *fluxCase) run(ctx context.Context, s *Server, r *Report, i int) error {
	function, stepped, contested := "", false, false
	scale := 1.0
	if len(c.Points) == 0 {
		return fmt.Errorf("case %s has no points: %w", c.Function, ErrFormat)
	}
	in := upTo(c.Points, len(c.Points)-1)
	whole := in
	if len(c.Range) == 2 {
		whole = span{start: c.Range[0].UnixNano(), end: c.Range[1].UnixNano()}
	}
	each, _ := c.Expect.([]any)
	switch c.Function {
	case "timeWeightedAvg(unit: 1s)": // goes on behind the last point along the last slope
		function, contested, in = "time_weighted_average", true, whole
	case "integral(unit: 10s, interpolate: linear)": // the same
		function, scale, contested, in = "integral", 10, true, whole
	case "integral(unit: 10s)":
		function, scale = "integral", 10
	case "increase (counter normalised)": // of the points up to each, the first of which has none before it
		function = "increase"
	case "interpolate.linear(every: 1d)":
		function, in = "Interpolative", span{in.start, in.end + 1, 86400e9}
	case "fill(usePrevious)":
		function, stepped, in = "Interpolative", true, span{in.start, in.end + 1, 10e9}
	default: // Varve has no such question
		return nil
	}
	e, err := s.begin(ctx, r, fmt.Sprintf("flux-%d-%s", i, function), c.Source, c.Points)
	if err != nil {
		return err
	}
	defer e.end()
	e.contested = contested
	switch v := c.Expect.(type) {
	case float64:
		return e.ask(ctx, function, stepped, in, v*scale)
	case []any:
		if function != "increase" {
			return e.ask(ctx, function, stepped, in, each...)
		}
		if len(v) > len(c.Points) {
			return fmt.Errorf("case %s expects %d values of %d points: %w", c.Function, len(v), len(c.Points), ErrFormat)
		}
		for k := 1; k < len(v); k++ {
			if err := e.ask(ctx, function, stepped, with(c.Points, k), v[k]); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("case %s expects %v: %w", c.Function, c.Expect, ErrFormat)
}

// stateCase is how long a tag was in each of its states, which text names or numbers.
type stateCase struct {
	Source   string
	Points   []point
	Duration map[string]float64 `json:"duration_s"` // from the first point to the last
	Ranged   []struct {
		State    any
		Start    instant
		Duration *string
		Expect   float64 `json:"expect_s"`
	}
}

func (c *stateCase) run(ctx context.Context, s *Server, r *Report, i int) error {
	if len(c.Points) == 0 {
		return fmt.Errorf("state_duration %d has no points: %w", i, ErrFormat)
	}
	codes := map[string]float64{}
	numbered := make([]point, len(c.Points))
	for k, p := range c.Points {
		name := wholeText(p.value) // states are text or numbers
		if _, ok := codes[name]; !ok {
			codes[name] = float64(len(codes))
		}
		numbered[k] = point{p.at, codes[name]}
	}
	e, err := s.beginAs(ctx, r, varvev1.Type_TYPE_INT64, fmt.Sprintf("state_duration-%d", i), c.Source, numbered)
	if err != nil {
		return err
	}
	defer e.end()
	ask := func(state string, in span, want float64) error {
		seconds, err := s.timesInState(ctx, &varvev1.ReadTimeInStateRequest{Tags: []string{e.tag}, StartNs: in.start, EndNs: in.end})
		if err != nil {
			return fmt.Errorf("case %s: %w", e.each.Case, err)
		}
		got := seconds[int64(codes[state])] // 0 of a state without a row
		row := e.row(fmt.Sprintf("%s from %s", state, time.Unix(0, in.start).UTC().Format(time.RFC3339)))
		row.state(&r.Value, "value", near(got, want, 0), fmt.Sprint(want), fmt.Sprint(got))
		e.finish(row)
		return nil
	}
	whole := upTo(c.Points, len(c.Points)-1)
	for _, state := range slices.Sorted(maps.Keys(c.Duration)) {
		if err := ask(state, whole, c.Duration[state]); err != nil {
			return err
		}
	}
	for _, x := range c.Ranged {
		in := span{start: x.Start.UnixNano(), end: whole.end}
		if x.Duration != nil {
			length, err := durationOf(*x.Duration)
			if err != nil {
				return fmt.Errorf("case %s: %w: %w", e.each.Case, err, ErrFormat)
			}
			in.end = in.start + length.Nanoseconds()
		}
		if err := ask(wholeText(x.State), in, x.Expect); err != nil {
			return err
		}
	}
	return nil
}

// durationOf reads a duration, also one in days.
func durationOf(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// timesInState asks for the seconds of one interval by code.
func (s *Server) timesInState(ctx context.Context, r *varvev1.ReadTimeInStateRequest) (map[int64]float64, error) {
	stream, err := s.query.ReadTimeInState(ctx, r)
	out := map[int64]float64{}
	err = eachRecord(stream, err, func(rec arrow.Record) error {
		codes, ok1 := columnOf(rec, "code").(*array.Int64)
		seconds, ok2 := columnOf(rec, "seconds").(*array.Float64)
		if !ok1 || !ok2 {
			return fmt.Errorf("the answer has the columns %s", rec.Schema())
		}
		for i := range int(rec.NumRows()) {
			out[codes.Value(i)] = seconds.Value(i)
		}
		return nil
	})
	return out, err
}

// counterCase is what a counter that was reset counted from its first point to the last.
type counterCase struct {
	Source    string
	Points    []point
	ResetSum  *float64 `json:"reset_sum"` // of the values before resets
	Delta     *float64
	Changes   *float64 `json:"num_changes"`
	Rate      *float64 `json:"rate_per_unit"`
	FirstStep *float64 `json:"first_step_delta"`
	LastStep  *float64 `json:"last_step_delta"`
	FirstRate *float64 `json:"first_step_rate"`
	LastRate  *float64 `json:"last_step_rate"`
	Monotonic []any    `json:"monotonic_values"`
}

func (c *counterCase) run(ctx context.Context, s *Server, r *Report, i int) error {
	if len(c.Points) == 0 || len(c.Monotonic) > len(c.Points) {
		return fmt.Errorf("counter %d: %d values of %d points: %w", i, len(c.Monotonic), len(c.Points), ErrFormat)
	}
	e, err := s.begin(ctx, r, fmt.Sprintf("counter-%d", i), c.Source, c.Points)
	if err != nil {
		return err
	}
	defer e.end()
	n := len(c.Points) - 1
	first, _ := numberOf(c.Points[0].value)
	last, _ := numberOf(c.Points[n].value)
	if c.ResetSum != nil { // what was counted, by the definition of the sum
		delta := last - first + *c.ResetSum
		c.Delta = &delta
	}
	whole, lastStep := with(c.Points, n), span{start: c.Points[n].at, end: c.Points[n].at + 1}
	firstStep := with(c.Points, min(n, 1))
	e.contested = n == 0 // of a single value Varve does not know what it counted
	for _, x := range []struct {
		want     *float64
		function string
		in       span
	}{
		{c.Delta, "increase", whole}, {c.Changes, "transitions", whole}, {c.Rate, "rate", whole},
		{c.FirstStep, "increase", firstStep}, {c.FirstRate, "rate", firstStep},
		{c.LastStep, "increase", lastStep}, {c.LastRate, "rate", lastStep},
	} {
		if x.want == nil {
			continue
		}
		if err := e.ask(ctx, x.function, false, x.in, *x.want); err != nil {
			return err
		}
	}
	for k := 1; k < len(c.Monotonic); k++ {
		value, _ := numberOf(c.Monotonic[k])
		if err := e.ask(ctx, "increase", false, with(c.Points, k), value-first); err != nil {
			return err
		}
	}
	return nil
}

// promCase is an example of a function of PromQL over the range (eval − range, eval].
type promCase struct {
	Function, Source string
	Step             float64 `json:"step_s"`
	Eval             float64 `json:"eval_s"`
	Series           map[string][]any
	Cases            []struct {
		Range    float64  `json:"range_s"`
		Eval     *float64 `json:"eval_s"` // in place of that of all
		Values   []any
		Expect   any
		Variance any `json:"expect_variance"`
		StdDev   any `json:"expect_stddev"`
	}
}

// question is the function that is asked in place of one of PromQL, "" for one that Varve does not have. PromQL's names have remarks behind
// them.
func (c *promCase) question() (function string, contested bool) {
	name, _, _ := strings.Cut(c.Function, " ")
	switch name {
	case "changes":
		return "transitions", false
	case "stdvar/stddev_over_time", "stdvar_over_time":
		return "VariancePopulation", false
	case "stddev_over_time":
		return "StandardDeviationPopulation", false
	case "avg_over_time":
		return "event_weighted_average", false
	case "increase": // goes on to the ends of the range
		return "increase", true
	}
	return "", false
}

func (c *promCase) run(ctx context.Context, s *Server, r *Report, i int) error {
	function, contested := c.question()
	if function == "" {
		return nil
	}
	for k, x := range c.Cases {
		series := c.Series
		if x.Values != nil {
			series = map[string][]any{"values": x.Values}
		}
		for _, name := range slices.Sorted(maps.Keys(series)) {
			var points []point
			for n, v := range series[name] {
				points = append(points, point{seconds(float64(n) * c.Step), v})
			}
			in := within(*cmp.Or(x.Eval, &c.Eval), x.Range)
			if function == "transitions" { // from the first sample of the range on, not from one before it
				for _, p := range points {
					if p.at > in.end {
						in.end = p.at
						break
					}
				}
			}
			e, err := s.begin(ctx, r, fmt.Sprintf("promql-%d-%d-%s", i, k, name), c.Source, points)
			if err != nil {
				return err
			}
			e.contested, e.tolerance = contested, 1e-6 // which is that of the tests of PromQL
			wants := map[string]any{function: x.Expect}
			if by, ok := x.Expect.(map[string]any); ok {
				if wants[function], ok = by[name]; !ok { // there is none of this series
					delete(wants, function)
				}
			}
			if x.Variance != nil {
				wants = map[string]any{"VariancePopulation": x.Variance, "StandardDeviationPopulation": x.StdDev}
			}
			for _, f := range slices.Sorted(maps.Keys(wants)) {
				if err := e.ask(ctx, f, false, in, wants[f]); err != nil {
					return err
				}
			}
			e.end()
		}
	}
	return nil
}

// within is the range (eval − length, eval], or all up to eval of no length.
func within(eval, length float64) span {
	if length == 0 {
		return span{start: seconds(eval), end: -1}
	}
	return span{start: seconds(eval), end: seconds(eval - length)}
}
