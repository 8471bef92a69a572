package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
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
	Points  []aggregatePoint

	Annotations []annotation
}

type aggregatePoint struct {
	T      instant
	V      any
	Status string // Good if it is not stated
	Raw    string `json:"raw_status"` // in place of Status, more exactly

	Annotations []annotation
}

func (d *aggregateData) values(yield func(any) bool) {
	for i := range d.Points {
		if !yield(d.Points[i].V) {
			return
		}
	}
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
	Reverse                        bool    // from the later of Start and End to the earlier, as without it if Start is the later one
	IntervalMs                     float64 `json:"interval_ms"`
	Stepped                        *bool
	Config                         *aggregateConfig
	Tolerance                      *float64 `json:"value_tolerance"`  // see toleranceOf
	StatusPrecision                string   `json:"status_precision"` // "severity …": of the status only Good, Uncertain or Bad is known
	ExpectError                    string   `json:"expect_error"`
	Contested                      any      // why the whole case is
	Expect                         []map[string]any
}

func runAggregates(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file aggregateFile
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a double does not hold every integer
	if err := decoder.Decode(&file); err != nil {
		return unreadable(err)
	}
	tags := map[string]string{}
	for i, name := range slices.Sorted(maps.Keys(file.Datasets)) {
		d := file.Datasets[name]
		tags[name] = r.tag(i)
		if err := d.write(ctx, s, tags[name]); err != nil {
			return fmt.Errorf("data set %s: %w", name, err)
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
		if err := c.check(); err != nil {
			return fmt.Errorf("case %s: %w: %w", c.ID, err, ErrFormat)
		}
		if err := c.run(ctx, s, tags[c.Dataset], r); err != nil {
			return fmt.Errorf("case %s: %w", c.ID, err)
		}
	}
	return nil
}

// write makes a tag of a data set.
func (d *aggregateData) write(ctx context.Context, s *Server, tag string) error {
	typ, err := typeOf(d.Type, d.values)
	if err != nil {
		return err
	}
	c := newColumn(tag, typ)
	for i, p := range d.Points {
		if p.T.IsZero() {
			return fmt.Errorf("point %d has no t: %w", i, ErrFormat)
		}
		q, err := model.ParseQuality(cmp.Or(p.Raw, p.Status, "Good"))
		if err != nil {
			return fmt.Errorf("point at %s: %w: %w", p.T.Format(time.RFC3339Nano), err, ErrFormat)
		}
		if err := c.add(p.T.UnixNano(), p.V, q); err != nil {
			return err
		}
		for _, a := range p.Annotations {
			d.Annotations = append(d.Annotations, annotation{p.T, a.User, a.Message})
		}
	}
	if err := s.write(ctx, c, d.Stepped); err != nil {
		return err
	}
	for _, a := range d.Annotations {
		if err := s.annotate(ctx, tag, a); err != nil {
			return fmt.Errorf("annotation at %s: %w", a.T.Format(time.RFC3339Nano), err)
		}
	}
	return nil
}

// check refuses what cannot be asked, or compared.
func (c *aggregateCase) check() error {
	if c.Start.IsZero() || c.End.IsZero() {
		return errors.New("it needs a start and an end")
	}
	if limit := float64(math.MaxInt64 / 1000000); !(c.IntervalMs >= 0 && c.IntervalMs < limit) {
		return fmt.Errorf("interval_ms %v: must be from 0 to less than %.0f", c.IntervalMs, limit)
	}
	for i, want := range c.Expect {
		if at := want["t"]; at != nil {
			if _, err := instantOf(fmt.Sprint(at)); err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
		}
		for _, key := range []string{"bits", "bits_include"} {
			if _, ok := want[key].([]any); !ok && want[key] != nil {
				return fmt.Errorf("row %d: %s %v: must be a list", i, key, want[key])
			}
		}
		switch want["v"].(type) {
		case []any, map[string]any:
			return fmt.Errorf("row %d: v %v: must be a number, a boolean, text or null", i, want["v"])
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
	why, isRefused := refusal(err)
	if err != nil && !isRefused {
		return err
	}
	for i, want := range c.Expect {
		each.Rows++
		if c.compare(r, want, i, rows, cmp.Or(why, "none")) {
			each.Pass++
		}
	}
	return nil
}

func (c *aggregateCase) request(tag string) *varvev1.ReadProcessedRequest {
	start, end := c.Start, c.End
	if c.Reverse && start.Before(end.Time) {
		start, end = end, start
	}
	r := &varvev1.ReadProcessedRequest{
		Tags: []string{tag}, StartNs: start.UnixNano(), EndNs: end.UnixNano(), StepNs: int64(math.Round(c.IntervalMs * 1e6)),
		Aggregates: []string{c.Aggregate}, Stepped: c.Stepped,
	}
	if x := c.Config; x != nil {
		r.TreatUncertainAsBad, r.PercentDataBad, r.PercentDataGood = x.UncertainAsBad, x.Bad, x.Good
		r.UseSlopedExtrapolation = x.Sloped != nil && *x.Sloped
	}
	return r
}

// compare holds a row against the one it speaks of: that of its time where it states one, else that of its place. Without says why there
// is none.
func (c *aggregateCase) compare(r *Report, want map[string]any, i int, rows []processedRow, without string) bool {
	contested := holds(want["contested_by"]) || holds(c.Contested)
	at, timed := want["t"].(string)
	w := r.begin(Disagreement{Case: c.ID, Source: c.Source, Row: at, Contested: contested})
	if !timed {
		w.base.Row = fmt.Sprintf("row %d", i)
	}
	got := rowOf(at, timed, i, rows)
	if got == nil {
		w.state(&r.Value, "value", false, "a row", without)
		return w.end()
	}
	if v, ok := want["v"]; ok {
		w.state(&r.Value, "value", got.is(v, c.toleranceOf(v)), fmt.Sprint(v), got.valueText())
	}
	if text, ok := want["status"].(string); ok {
		w.state(&r.Severity, "severity", severityOf(text) == got.quality.Severity(), text, got.quality.Text())
		if !strings.HasPrefix(c.StatusPrecision, "severity") {
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

// toleranceOf is how far a value may lie from the one that is wanted: as the case says, else half a unit of the last decimal that is written, as of what
// a source rounded. Whole numbers are exact.
func (c *aggregateCase) toleranceOf(want any) float64 {
	number, _ := want.(json.Number)
	_, decimals, _ := strings.Cut(number.String(), ".")
	switch {
	case c.Tolerance != nil:
		return *c.Tolerance
	case decimals == "" || strings.ContainsAny(decimals, "eE"):
		return 0
	}
	return math.Pow(10, -float64(len(decimals))) * 0.5000001
}

// holds reports whether something is stated: not null, nor false, nor an empty list or text.
func holds(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	}
	return true
}

func rowOf(at string, timed bool, i int, rows []processedRow) *processedRow {
	if timed {
		when, err := instantOf(at)
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
	case x.has[1]: // all digits of it, where it is a double too
		return fmt.Sprint(x.whole)
	case x.has[0]:
		return fmt.Sprint(x.number)
	}
	return "null"
}

// is reports whether a row has the value a case wants: a number, a boolean, a status name, text, or none.
func (x *processedRow) is(want any, tolerance float64) bool {
	switch v := want.(type) {
	case nil:
		return !x.has[0] && !x.has[1] && !x.has[2]
	case float64:
		return x.isNumber(v, tolerance)
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil && x.has[1] && tolerance == 0 {
			return n == x.whole
		}
		f, err := v.Float64()
		return err == nil && x.isNumber(f, tolerance)
	case bool:
		return x.has[1] && (x.whole != 0) == v
	case string:
		if f, ok := numberOf(v); ok && x.has[0] {
			return x.isNumber(f, tolerance)
		}
		if q, err := model.ParseQuality(v); err == nil && x.has[1] {
			return model.Quality(x.whole) == q
		}
		return x.has[2] && x.text == v
	}
	return false
}

func (x *processedRow) isNumber(want, tolerance float64) bool {
	switch {
	case x.has[0]:
		return near(x.number, want, tolerance)
	case x.has[1]:
		return near(float64(x.whole), want, tolerance)
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
