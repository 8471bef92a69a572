package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// boundsFile is raw reads with and without bounds, as OPC UA Part 11 has them.
type boundsFile struct {
	SampleTimes []instant `json:"sample_times"`
	Cases       []boundsCase
}

type boundsCase struct {
	Name       string
	Start, End *instant
	MaxValues  uint64 `json:"max_values"`
	Bounds     bool   `json:"return_bounds"`
	Expect     []struct {
		T       *instant
		NoBound bool `json:"no_bound"`
	}
	Contested any // why the status of bounds that are not found is
}

func runRawBounds(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file boundsFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return unreadable(err)
	}
	c := newColumn(r.tag(0), varvev1.Type_TYPE_FLOAT64)
	for i, t := range file.SampleTimes {
		if err := c.add(t.UnixNano(), float64(i), model.Good); err != nil {
			return err
		}
	}
	if err := s.write(ctx, c, false); err != nil {
		return err
	}
	for i := range file.Cases {
		if err := file.Cases[i].run(ctx, s, c.run.Tag, r); err != nil && !r.refused(Disagreement{Case: file.Cases[i].Name}, err) {
			return fmt.Errorf("case %s: %w", file.Cases[i].Name, err)
		}
	}
	return nil
}

// run asks a case and compares row by row, in their order.
func (c *boundsCase) run(ctx context.Context, s *Server, tag string, r *Report) error {
	rows, err := s.samples(ctx, c.request(tag))
	if err != nil {
		return err
	}
	r.Cases++
	each := CaseReport{Case: c.Name}
	defer func() { r.Each = append(r.Each, each) }()
	for i := range max(len(c.Expect), len(rows)) {
		w := r.begin(Disagreement{Case: c.Name, Row: fmt.Sprintf("row %d", i)})
		c.compare(w, i, rows)
		each.Rows++
		if w.end() {
			each.Pass++
		}
	}
	return nil
}

func (c *boundsCase) request(tag string) *varvev1.ReadRangeRequest {
	r := &varvev1.ReadRangeRequest{Tags: []string{tag}, Limit: c.MaxValues, Bounds: varvev1.Bounds_BOUNDS_NONE}
	if c.Bounds {
		r.Bounds = varvev1.Bounds_BOUNDS_OUTSIDE
	}
	if c.Start != nil {
		ns := c.Start.UnixNano()
		r.StartNs = &ns
	}
	if c.End != nil {
		ns := c.End.UnixNano()
		r.EndNs = &ns
	}
	return r
}

// compare holds one row against the one expected in its place: its time, and whether it is a bound that was not found.
func (c *boundsCase) compare(w *row, i int, rows []answer.Row) {
	if i >= len(c.Expect) {
		w.state(&w.r.Value, "value", false, "", model.FormatTime(rows[i].Time))
		return
	}
	want := c.Expect[i]
	w.contested = holds(c.Contested) && want.NoBound
	w.base.Contested = w.contested
	at := ""
	if want.T != nil {
		at = model.FormatTime(want.T.UnixNano())
	}
	if i >= len(rows) {
		w.state(&w.r.Value, "value", false, at, "")
		return
	}
	got := rows[i]
	if want.T != nil {
		w.state(&w.r.Value, "value", got.Time == want.T.UnixNano(), at, model.FormatTime(got.Time))
	}
	code := model.Good
	if want.NoBound {
		code = model.BadBoundNotFound
	}
	w.state(&w.r.Severity, "severity", code.Severity() == got.Quality.Severity(), code.Text(), got.Quality.Text())
	w.state(&w.r.Code, "code", code == got.Quality&0xFFFF0000, code.Text(), got.Quality.Text())
}

// samples asks for raw samples.
func (s *Server) samples(ctx context.Context, ask *varvev1.ReadRangeRequest) (rows []answer.Row, err error) {
	stream, err := s.query.ReadRange(ctx, ask)
	if err != nil {
		return nil, err
	}
	a, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	for samples := answer.NewRows(a, nil); ; {
		x, err := samples.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, x)
	}
}
