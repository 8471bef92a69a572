package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// point is a time, in seconds or as text, and a value.
type point struct {
	at    int64
	value any
}

func (p *point) UnmarshalJSON(b []byte) error {
	var pair []any
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("point %s: must be a time and a value", b)
	}
	p.value = pair[1]
	switch t := pair[0].(type) {
	case float64:
		if math.Abs(t) > maxSeconds {
			return fmt.Errorf("time %v of a point: must be within %.0g seconds of 1970", t, maxSeconds)
		}
		p.at = seconds(t)
	case string:
		at, err := instantOf(t)
		if err != nil {
			return err
		}
		p.at = at.UnixNano()
	default:
		return fmt.Errorf("time %v of a point: must be seconds or RFC 3339", pair[0])
	}
	return nil
}

// maxSeconds from 1970 are counted in nanoseconds by an int64, and no time of a sample lies farther away.
const maxSeconds = 9e9

// seconds is a number of seconds in nanoseconds.
func seconds(x float64) int64 { return int64(math.Round(x * 1e9)) }

// example is one case of a file, whose samples are those of one tag.
type example struct {
	server    *Server
	report    *Report
	each      CaseReport
	source    string
	tag       string
	contested bool
	tolerance float64 // relative, where the source rounds
}

// begin writes the samples of a case as doubles. A value of null is a Bad one.
func (s *Server) begin(ctx context.Context, r *Report, name, source string, points []point) (*example, error) {
	return s.beginAs(ctx, r, varvev1.Type_TYPE_FLOAT64, name, source, points)
}

func (s *Server) beginAs(ctx context.Context, r *Report, typ varvev1.Type, name, source string, points []point) (*example, error) {
	e := &example{server: s, report: r, each: CaseReport{Case: name}, source: source, tag: r.tag(r.Cases)}
	c := newColumn(e.tag, typ)
	for _, p := range points {
		q := model.Good
		if p.value == nil {
			q = model.BadNoData
		}
		if err := c.add(p.at, p.value, q); err != nil {
			return nil, fmt.Errorf("case %s: %w", name, err)
		}
	}
	if err := s.write(ctx, c, false); err != nil {
		return nil, fmt.Errorf("case %s: %w", name, err)
	}
	return e, nil
}

func (e *example) end() {
	e.report.Cases++
	e.report.Each = append(e.report.Each, e.each)
}

// ask asks for one function of intervals and holds their values against what is wanted. One that is refused has none.
func (e *example) ask(ctx context.Context, function string, stepped bool, b span, want ...any) error {
	rows, err := e.server.processed(ctx, &varvev1.ReadProcessedRequest{
		Tags: []string{e.tag}, StartNs: b.start, EndNs: b.end, StepNs: b.step, Aggregates: []string{function}, Stepped: &stepped,
	})
	why, isRefused := refusal(err)
	if err != nil && !isRefused {
		return fmt.Errorf("case %s: %w", e.each.Case, err)
	}
	for i, w := range want {
		row := e.row(fmt.Sprintf("%s, row %d", function, i))
		number, ok := numberOf(w)
		if ok {
			w = number
		}
		if i < len(rows) {
			row.state(&e.report.Value, "value", rows[i].is(w, e.tolerance*math.Abs(number)), fmt.Sprint(w), rows[i].valueText())
		} else {
			row.state(&e.report.Value, "value", false, fmt.Sprint(w), cmp.Or(why, "none"))
		}
		e.finish(row)
	}
	return nil
}

func (e *example) row(name string) *row {
	return e.report.begin(Disagreement{Case: e.each.Case, Source: e.source, Row: name, Contested: e.contested})
}

func (e *example) finish(w *row) {
	e.each.Rows++
	if w.end() {
		e.each.Pass++
	}
}

// span is a range of time in intervals of step, or as one.
type span struct{ start, end, step int64 }

// upTo is from the first point to the one at i, which is not part of it.
func upTo(points []point, i int) span { return span{start: points[0].at, end: points[i].at} }

// with is upTo with the point at i.
func with(points []point, i int) span { return span{start: points[0].at, end: points[i].at + 1} }
