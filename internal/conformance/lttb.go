package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// lttbFile is what other implementations of largest triangle three buckets keep of series.
type lttbFile struct {
	SeriesY []float64 `json:"series_y"`
	Cases   []lttbCase
}

type lttbCase struct {
	Name, Source string
	Threshold    uint32
	Algorithm    string
	Gap          string
	Input        json.RawMessage // points, or "@series": the values of the file at 0, 1, 2 …
	Expect       []lttbPoint
	ExpectX      []int `json:"expect_x"` // in place of Expect: places in the series
}

// lttbPoint is a time and a value. A time is a number, taken for nanoseconds, or a date.
type lttbPoint struct {
	time  int64
	value float64
}

func (p *lttbPoint) UnmarshalJSON(b []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("point %s: must be a time and a value", b)
	}
	var at instant
	if err := json.Unmarshal(pair[0], &p.time); err != nil || string(pair[0]) == "null" {
		if err := json.Unmarshal(pair[0], &at); err != nil {
			return fmt.Errorf("time %s of a point: must be a whole number or RFC 3339", pair[0])
		}
		p.time = at.UnixNano()
	}
	var value any
	if err := json.Unmarshal(pair[1], &value); err != nil {
		return err
	}
	number, ok := numberOf(value)
	if !ok {
		return fmt.Errorf("value %s of a point: must be a number", pair[1])
	}
	p.value = number
	return nil
}

func (p lttbPoint) String() string { return fmt.Sprintf("%s %v", model.FormatTime(p.time), p.value) }

func runLTTB(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file lttbFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return unreadable(err)
	}
	series := make([]lttbPoint, len(file.SeriesY))
	for i, y := range file.SeriesY {
		series[i] = lttbPoint{int64(i), y}
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		if err := c.run(ctx, s, r, r.tag(i), series); err != nil && !r.refused(Disagreement{Case: c.Name, Source: c.Source}, err) {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	return nil
}

// points are those of the input, and those that are expected to be kept.
func (c *lttbCase) points(series []lttbPoint) (input, want []lttbPoint, err error) {
	if string(c.Input) != `"@series"` {
		if len(c.Input) == 0 {
			return nil, nil, fmt.Errorf("it has no input: %w", ErrFormat)
		}
		if err := json.Unmarshal(c.Input, &input); err != nil {
			return nil, nil, unreadable(err)
		}
		return input, c.Expect, nil
	}
	if c.ExpectX == nil {
		return series, c.Expect, nil
	}
	for _, x := range c.ExpectX {
		if x < 0 || x >= len(series) {
			return nil, nil, fmt.Errorf("place %d of a series of %d: %w", x, len(series), ErrFormat)
		}
		want = append(want, series[x])
	}
	return series, want, nil
}

// maxGap is the gap that a case preserves, nanoseconds; 0 for none. False of an algorithm that is another one.
func (c *lttbCase) maxGap(input []lttbPoint) (gap int64, ok bool, err error) {
	switch {
	case c.Gap != "":
		d, err := durationOf(c.Gap)
		if err != nil {
			return 0, false, fmt.Errorf("gap: %w: %w", err, ErrFormat)
		}
		return int64(d), true, nil
	case strings.HasPrefix(c.Algorithm, "gp_lttb"):
		return (input[len(input)-1].time - input[0].time) / int64(c.Threshold), true, nil
	}
	return 0, c.Algorithm == "" || c.Algorithm == "lttb", nil
}

// run writes the input of a case, asks for its points and compares them one by one.
func (c *lttbCase) run(ctx context.Context, s *Server, r *Report, name string, series []lttbPoint) error {
	input, want, err := c.points(series)
	if err != nil {
		return err
	}
	if c.Threshold == 0 {
		return fmt.Errorf("threshold 0: must be 1 or more: %w", ErrFormat)
	}
	var got []lttbPoint
	if len(input) > 0 { // of no points there is no range to ask for
		gap, ok, err := c.maxGap(input)
		if err != nil {
			return err
		}
		if !ok {
			r.unasked(Disagreement{Case: c.Name, Source: c.Source}, c.Algorithm)
			return nil
		}
		if got, err = c.ask(ctx, s, name, input, gap); err != nil {
			return err
		}
	}
	each := CaseReport{Case: c.Name}
	for i := range max(len(want), len(got)) {
		each.Rows++
		w := r.begin(Disagreement{Case: c.Name, Source: c.Source, Row: fmt.Sprintf("point %d", i)})
		a, b := want[min(i, len(want)):], got[min(i, len(got)):]
		w.state(&r.Value, "value", len(a) > 0 && len(b) > 0 && a[0] == b[0], textOf(a), textOf(b))
		if w.end() {
			each.Pass++
		}
	}
	r.Cases++
	r.Each = append(r.Each, each)
	return nil
}

// ask writes the input as a tag and asks for its points.
func (c *lttbCase) ask(ctx context.Context, s *Server, name string, input []lttbPoint, gap int64) ([]lttbPoint, error) {
	tag := newColumn(name, varvev1.Type_TYPE_FLOAT64)
	for _, p := range input {
		if err := tag.add(p.time, p.value, model.Good); err != nil {
			return nil, err
		}
	}
	if err := s.write(ctx, tag, false); err != nil {
		return nil, err
	}
	return s.keptByLTTB(ctx, &varvev1.ReadPlotRequest{
		Tags: []string{tag.run.Tag}, StartNs: input[0].time, EndNs: input[len(input)-1].time + 1, Lttb: c.Threshold, MaxGapNs: &gap,
	})
}

// textOf is the first point of a list as text; nothing for none.
func textOf(p []lttbPoint) string {
	if len(p) == 0 {
		return ""
	}
	return p[0].String()
}

// keptByLTTB asks for a plot, and is its points.
func (s *Server) keptByLTTB(ctx context.Context, q *varvev1.ReadPlotRequest) (points []lttbPoint, err error) {
	stream, err := s.query.ReadPlot(ctx, q)
	if err != nil {
		return nil, err
	}
	a, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	err = answer.EachPlotRow(a, func(x answer.PlotRow) {
		if !x.Break {
			points = append(points, lttbPoint{x.Time, x.Value})
		}
	})
	return points, err
}
