package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// aggregateFile is examples of the aggregates of OPC UA Part 13.
type aggregateFile struct {
	Datasets map[string]aggregateData
	Cases    []aggregateCase
}

type aggregateData struct {
	Stepped bool
	Config  *aggregateConfig
	Type    string `json:"value_type"`
	Points  []struct {
		T      instant
		V      any
		Status string
		Raw    string `json:"raw_status"`

		Annotations []annotation
	}
	Annotations []annotation
}

// annotation is a text on a tag at an instant, of a point that of the point.
type annotation struct {
	T       instant
	User    string
	Message string
}

type aggregateConfig struct {
	UncertainAsBad *bool   `json:"treat_uncertain_as_bad"`
	Bad            *uint32 `json:"percent_data_bad"`
	Good           *uint32 `json:"percent_data_good"`
	Sloped         *bool   `json:"use_sloped_extrapolation"`
}

type aggregateCase struct {
	ID, Source, Dataset, Aggregate string
	Start, End                     instant
	IntervalMs                     float64 `json:"interval_ms"`
	Stepped                        *bool
	Config                         *aggregateConfig
	Tolerance                      float64 `json:"value_tolerance"`
	StatusPrecision                string  `json:"status_precision"`
	ExpectError                    string  `json:"expect_error"`
	Expect                         []map[string]any
}

func runAggregates(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file aggregateFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	prefix := r.File + "/"
	for name, d := range file.Datasets {
		typ, err := typeOf(d.Type)
		if err != nil {
			return fmt.Errorf("data set %s: %w", name, err)
		}
		c := newColumn(prefix+name, typ)
		for _, p := range d.Points {
			code := p.Raw
			if code == "" {
				code = p.Status
			}
			q, err := model.ParseQuality(code)
			if err != nil {
				return fmt.Errorf("data set %s at %s: %w: %w", name, p.T.Format(time.RFC3339Nano), err, ErrFormat)
			}
			if err := c.add(p.T.UnixNano(), p.V, q); err != nil {
				return fmt.Errorf("data set %s: %w", name, err)
			}
		}
		if err := s.write(ctx, c, d.Stepped); err != nil {
			return fmt.Errorf("data set %s: %w", name, err)
		}
		for _, p := range d.Points {
			for _, a := range p.Annotations {
				d.Annotations = append(d.Annotations, annotation{p.T, a.User, a.Message})
			}
		}
		for _, a := range d.Annotations {
			if err := s.annotate(ctx, c.run.Tag, a); err != nil {
				return fmt.Errorf("data set %s at %s: %w", name, a.T.Format(time.RFC3339Nano), err)
			}
		}
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		d, ok := file.Datasets[c.Dataset]
		if !ok {
			return fmt.Errorf("case %s: there is no data set %q: %w", c.ID, c.Dataset, ErrFormat)
		}
		if c.Config == nil {
			c.Config = d.Config
		}
		if err := c.run(ctx, s, prefix+c.Dataset, r); err != nil {
			return fmt.Errorf("case %s: %w", c.ID, err)
		}
	}
	return nil
}

// run asks a case and compares its rows.
func (c *aggregateCase) run(ctx context.Context, s *Server, tag string, r *Report) error {
	r.Cases++
	each := CaseReport{Case: c.ID}
	defer func() { r.Each = append(r.Each, each) }()
	rows, err := s.processed(ctx, c.request(tag))
	if c.ExpectError != "" {
		if got := status.Code(err); got != codes.InvalidArgument { // it has no row to count
			r.Failures = append(r.Failures, Disagreement{Case: c.ID, Source: c.Source, Row: "the call", In: "code", Want: c.ExpectError, Got: got.String()})
		}
		return nil
	}
	if err != nil {
		return err
	}
	for i, want := range c.Expect {
		each.Rows++
		if c.compare(r, want, i, rows) {
			each.Pass++
		}
	}
	return nil
}

func (c *aggregateCase) request(tag string) *varvev1.ReadProcessedRequest {
	r := &varvev1.ReadProcessedRequest{
		Tags: []string{tag}, StartNs: c.Start.UnixNano(), EndNs: c.End.UnixNano(), StepNs: int64(math.Round(c.IntervalMs * 1e6)),
		Aggregates: []string{c.Aggregate}, Stepped: c.Stepped,
	}
	if x := c.Config; x != nil {
		r.TreatUncertainAsBad, r.PercentDataBad, r.PercentDataGood = x.UncertainAsBad, x.Bad, x.Good
		r.UseSlopedExtrapolation = x.Sloped != nil && *x.Sloped
	}
	return r
}

// compare holds a row against the one it speaks of: that of its time where it states one, else that of its place.
func (c *aggregateCase) compare(r *Report, want map[string]any, i int, rows []processedRow) bool {
	_, contested := want["contested_by"]
	at, timed := want["t"].(string)
	w := r.begin(Disagreement{Case: c.ID, Source: c.Source, Row: at, Contested: contested})
	if !timed {
		w.base.Row = fmt.Sprintf("row %d", i)
	}
	got := rowOf(at, timed, i, rows)
	if got == nil {
		w.state(&r.Value, "value", false, "a row", "none")
		return w.end()
	}
	if v, ok := want["v"]; ok {
		w.state(&r.Value, "value", got.is(v, c.Tolerance), fmt.Sprint(v), got.valueText())
	}
	if text, ok := want["status"].(string); ok {
		w.state(&r.Severity, "severity", severityOf(text) == got.quality.Severity(), text, got.quality.Text())
		if c.StatusPrecision == "" {
			code, err := model.ParseQuality(text)
			w.state(&r.Code, "code", err == nil && code == got.quality&0xFFFF0000, text, got.quality.Text())
		}
	}
	bits := got.quality.Info()
	if list, ok := want["bits"].([]any); ok {
		all := infoNames(list)
		w.state(&r.Bits, "bits", slices.Equal(all, bits), strings.Join(all, "+"), strings.Join(bits, "+"))
	} else if list, ok := want["bits_include"].([]any); ok {
		some := infoNames(list)
		missing := slices.ContainsFunc(some, func(b string) bool { return !slices.Contains(bits, b) })
		w.state(&r.Bits, "bits", !missing, strings.Join(some, "+")+"…", strings.Join(bits, "+"))
	}
	return w.end()
}

func rowOf(at string, timed bool, i int, rows []processedRow) *processedRow {
	if timed {
		when, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return nil
		}
		i = slices.IndexFunc(rows, func(x processedRow) bool { return x.time == when.UnixNano() })
	}
	if i < 0 || i >= len(rows) {
		return nil
	}
	return &rows[i]
}

// severityOf reads the severity of a status name, also of one that no release of the standard has any more.
func severityOf(name string) string {
	for _, s := range []string{"Good", "Uncertain", "Bad"} {
		if strings.HasPrefix(name, s) {
			return s
		}
	}
	return name
}

// infoNames is the info bits a row states, as [model.Quality.Info] names them.
func infoNames(list []any) (names []string) {
	order := []string{"Calculated", "Interpolated", "Partial", "ExtraData", "MultiValue"}
	for _, x := range list {
		switch name := fmt.Sprint(x); name {
		case "Raw":
		case "MultipleValues":
			names = append(names, "MultiValue")
		default:
			names = append(names, name)
		}
	}
	sort.Slice(names, func(i, k int) bool { return slices.Index(order, names[i]) < slices.Index(order, names[k]) })
	return names
}

// processedRow is a row of an answer about processed values.
type processedRow struct {
	time    int64
	number  float64
	whole   int64
	text    string
	has     [3]bool // number, whole, text
	quality model.Quality
}

func (x *processedRow) valueText() string {
	switch {
	case x.has[2]:
		return x.text
	case x.has[0]:
		return fmt.Sprint(x.number)
	case x.has[1]:
		return fmt.Sprint(x.whole)
	}
	return "null"
}

// is reports whether a row has the value a case wants: a number, a boolean, a status name, text, or none.
func (x *processedRow) is(want any, tolerance float64) bool {
	switch v := want.(type) {
	case nil:
		return !x.has[0] && !x.has[1] && !x.has[2]
	case float64:
		switch {
		case x.has[0]:
			return near(x.number, v, tolerance)
		case x.has[1]:
			return near(float64(x.whole), v, tolerance)
		}
		return false
	case bool:
		return x.has[1] && (x.whole != 0) == v
	case string:
		if q, err := model.ParseQuality(v); err == nil && x.has[1] {
			return model.Quality(x.whole) == q
		}
		return x.has[2] && x.text == v
	}
	return false
}

// processed asks for processed values.
func (s *Server) processed(ctx context.Context, r *varvev1.ReadProcessedRequest) (rows []processedRow, err error) {
	stream, err := s.query.ReadProcessed(ctx, r)
	err = eachRecord(stream, err, func(rec arrow.Record) error {
		rows, err = appendProcessed(rows, rec)
		return err
	})
	return rows, err
}

func appendProcessed(rows []processedRow, rec arrow.Record) ([]processedRow, error) {
	times, ok1 := columnOf(rec, "time").(*array.Timestamp)
	numbers, ok2 := columnOf(rec, "value").(*array.Float64)
	whole, ok3 := columnOf(rec, "value_int").(*array.Int64)
	text, ok4 := columnOf(rec, "value_text").(*array.String)
	quality, ok5 := columnOf(rec, "quality").(*array.Uint32)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return nil, fmt.Errorf("the answer has the columns %s", rec.Schema())
	}
	for i := range int(rec.NumRows()) {
		rows = append(rows, processedRow{
			time: int64(times.Value(i)), number: numbers.Value(i), whole: whole.Value(i), text: text.Value(i),
			has: [3]bool{numbers.IsValid(i), whole.IsValid(i), text.IsValid(i)}, quality: model.Quality(quality.Value(i)),
		})
	}
	return rows, nil
}

// columnOf is a column by name, or nil.
func columnOf(rec arrow.Record, name string) arrow.Array {
	if i := rec.Schema().FieldIndices(name); len(i) == 1 {
		return rec.Column(i[0])
	}
	return nil
}
