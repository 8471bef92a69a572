package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// doorFile is examples of swinging doors and dead bands: points in, points kept.
type doorFile struct {
	Variants map[string]string
	Cases    []doorCase
}

type doorCase struct {
	Name, Algorithm, Variant, Source string
	Params                           struct {
		CompDev float64 `json:"comp_dev"`
		ExcDev  float64 `json:"exc_dev"`
		MaxDX   float64 `json:"max_dx"`
		MinDX   float64 `json:"min_dx"`
	}
	Raw, Expect []doorPoint
	ExpectError string `json:"expect_error"`
}

// doorPoint is x, which is seconds here, and y.
type doorPoint [2]float64

func (p *doorPoint) UnmarshalJSON(b []byte) error {
	var pair []*float64
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 || pair[0] == nil || pair[1] == nil || math.Abs(*pair[0]) > maxSeconds {
		return fmt.Errorf("point %s: must be x and y, x within %.0g of 0", b, maxSeconds)
	}
	*p = doorPoint{*pair[0], *pair[1]}
	return nil
}

// followed is the variants that Varve's filters are of. Cases of others are contested: no filter agrees with all.
var followed = []string{"textbook", "archives_last_snapshot_and_incoming"}

func runDoors(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file doorFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return unreadable(err)
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		if err := c.run(ctx, s, r.tag(i), r); err != nil && !r.refused(c.base(), err) {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	return nil
}

// run stores the points of a case, asks which of them would be kept, and compares point by point.
func (c *doorCase) run(ctx context.Context, s *Server, tag string, r *Report) error {
	if c.Algorithm != swingingDoor && c.Algorithm != deadBand {
		r.unasked(c.base(), cmp.Or(c.Algorithm, "an algorithm"))
		return nil
	}
	column := newColumn(tag, varvev1.Type_TYPE_FLOAT64)
	for _, p := range c.Raw {
		if err := column.add(seconds(p[0]), p[1], model.Good); err != nil {
			return err
		}
	}
	if err := s.write(ctx, column, false); err != nil {
		return err
	}
	times, err := s.kept(ctx, c.request(tag))
	if err != nil {
		return err
	}
	r.Cases++
	each := CaseReport{Case: c.Name, Rule: c.Algorithm + ", " + c.Variant}
	defer func() { r.Each = append(r.Each, each) }()
	base := c.base()
	point := func(row string, pass bool, want, got string) {
		base.Row = row
		w := r.begin(base)
		w.state(&r.Value, "value", pass, want, got)
		each.Rows++
		if w.end() {
			each.Pass++
		}
	}
	if c.ExpectError != "" {
		point("the call", false, c.ExpectError, fmt.Sprintf("%d points", len(times)))
		return nil
	}
	for _, p := range c.Expect {
		stored := slices.Contains(c.Raw, p)
		point(fmt.Sprint(p[0]), stored && slices.Contains(times, seconds(p[0])), fmt.Sprint(p), "left out")
	}
	for _, p := range c.Raw {
		if slices.Contains(times, seconds(p[0])) && !slices.Contains(c.Expect, p) {
			point(fmt.Sprint(p[0]), false, "left out", fmt.Sprint(p))
		}
	}
	return nil
}

func (c *doorCase) base() Disagreement {
	return Disagreement{Case: c.Name, Source: c.Source, Contested: !slices.Contains(followed, c.Variant)}
}

// The algorithms that are asked for.
const (
	swingingDoor = "swinging_door"
	deadBand     = "dead_band"
)

func (c *doorCase) request(tag string) *varvev1.TuneRequest {
	r := &varvev1.TuneRequest{
		Tags: []string{tag}, StartNs: model.MinTime, EndNs: model.MaxTime, Form: varvev1.FilterForm_FILTER_FORM_TEXTBOOK, WithKept: true,
	}
	if c.Algorithm == deadBand {
		r.Deviations = []float64{0}
		r.Exception = &varvev1.Filter{Deviation: c.Params.ExcDev, MinTimeNs: seconds(c.Params.MinDX), MaxTimeNs: seconds(c.Params.MaxDX)}
	} else {
		r.Deviations, r.MinTimeNs, r.MaxTimeNs = []float64{c.Params.CompDev}, seconds(c.Params.MinDX), seconds(c.Params.MaxDX)
	}
	return r
}

// kept is the times of the samples that a replay of one setting keeps.
func (s *Server) kept(ctx context.Context, ask *varvev1.TuneRequest) (times []int64, err error) {
	stream, err := s.query.Tune(ctx, ask)
	err = eachRecord(stream, err, func(rec arrow.Record) error {
		at := rec.Schema().FieldIndices("kept_times")
		if len(at) != 1 {
			return fmt.Errorf("the answer has the columns %s", rec.Schema())
		}
		list, ok := rec.Column(at[0]).(*array.List)
		if !ok {
			return fmt.Errorf("kept_times is %s", rec.Column(at[0]).DataType())
		}
		values, ok := list.ListValues().(*array.Timestamp)
		if !ok {
			return fmt.Errorf("kept_times is %s", list.DataType())
		}
		for _, t := range values.TimestampValues() {
			times = append(times, int64(t))
		}
		return nil
	})
	return times, err
}
