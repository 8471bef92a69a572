package part13

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/rollup"
)

// vectors is a file of query/testdata/conformance about aggregates, whose README says where it comes from.
type vectors struct {
	Datasets map[string]dataset
	Cases    []vector
}

type dataset struct {
	Stepped bool
	Config  *vectorConfig
	Type    string `json:"value_type"`
	Points  []struct {
		T      time.Time
		V      any
		Status string
		Raw    string `json:"raw_status"`

		Annotations []any // of the point
	}
	Annotations []struct{ T time.Time }
}

type vectorConfig struct {
	Uncertain *bool  `json:"treat_uncertain_as_bad"`
	Bad       *uint8 `json:"percent_data_bad"`
	Good      *uint8 `json:"percent_data_good"`
	Sloped    *bool  `json:"use_sloped_extrapolation"`
}

type vector struct {
	ID, Source, Dataset, Aggregate string
	Start, End                     time.Time
	Interval                       float64 `json:"interval_ms"`
	Stepped                        *bool
	Config                         *vectorConfig
	Tolerance                      float64 `json:"value_tolerance"`
	Severity                       string  `json:"status_precision"`
	Error                          string  `json:"expect_error"`
	Contested                      string
	Expect                         []map[string]any
}

func (v *vectorConfig) configuration() Configuration {
	c := Defaults
	if v == nil {
		return c
	}
	if v.Uncertain != nil {
		c.TreatUncertainAsBad = *v.Uncertain
	}
	if v.Bad != nil {
		c.PercentDataBad = *v.Bad
	}
	if v.Good != nil {
		c.PercentDataGood = *v.Good
	}
	if v.Sloped != nil {
		c.SlopedExtrapolation = *v.Sloped
	}
	return c
}

func (d *dataset) samples(t *testing.T) model.Samples {
	s := model.Samples{Type: map[string]model.Type{"Double": model.Float64, "Float": model.Float32, "Int32": model.Int64, "Boolean": model.Bool}[d.Type]}
	if !s.Type.Valid() {
		t.Fatalf("value type %q", d.Type)
	}
	for _, p := range d.Points {
		status := p.Status
		if p.Raw != "" {
			status = p.Raw
		}
		q, err := model.ParseQuality(status)
		if err != nil {
			t.Fatal(err)
		}
		x := model.Sample{Time: p.T.UnixNano(), Type: s.Type, Quality: q}
		switch v := p.V.(type) {
		case nil:
			x.Null = true
		case bool:
			if v {
				x.Bits = 1
			}
		case float64:
			switch s.Type {
			case model.Float64:
				x.Bits = math.Float64bits(v)
			case model.Float32:
				x.Bits = uint64(math.Float32bits(float32(v)))
			default:
				x.Bits = uint64(int64(v))
			}
		}
		s.Append(x)
	}
	return s
}

// partialOf is of the samples in [from, to), nanoseconds.
func partialOf(s *model.Samples, from, to int64) *rollup.Partial {
	var p rollup.Partial
	a, _ := slices.BinarySearch(s.Times, from)
	b, _ := slices.BinarySearch(s.Times, to)
	p.Add(s, a, b)
	return &p
}

// intervals asks for processed values as a server does, from all samples of a tag.
func intervals(s *model.Samples, start, end int64, step float64, stepped bool) []Interval {
	low, high, reverse := start, end, start > end
	if reverse {
		low, high = end, start
	}
	length := int64(step * 1e6)
	if length <= 0 || length > high-low {
		length = high - low
	}
	var out []Interval
	for at := int64(0); at < high-low; at += length {
		iv := Interval{Reverse: reverse, Stepped: stepped, Resolution: 1e6}
		size := min(length, high-low-at)
		iv.Short = size < length
		iv.Start, iv.End = low+at, low+at+size
		if reverse {
			iv.Start, iv.End = high-at-size, high-at
		}
		from, to := iv.Start, iv.End
		if reverse {
			from, to = from+1, to+1
		}
		iv.Before, iv.In, iv.After = partialOf(s, model.MinTime, from), partialOf(s, from, to), partialOf(s, to, math.MaxInt64)
		out = append(out, iv)
	}
	return out
}

// complete adds what only some aggregates look at.
func (iv *Interval) complete(s *model.Samples, c Configuration) {
	var usable []rollup.Point
	for i := range s.Len() {
		if p := (rollup.Point{Sample: s.At(i)}); p.Usable(c.TreatUncertainAsBad) {
			usable = append(usable, p)
		}
	}
	if n := len(usable); n > 1 {
		iv.Earlier = &usable[n-2]
	}
	first, last := iv.In.FirstPoint(), iv.In.LastPoint()
	if first == nil {
		return
	}
	for i := range s.Len() - 1 {
		x := s.At(i)
		if p := (rollup.Point{Sample: x}); x.Time >= first.Time && x.Time < last.Time && p.Usable(true) {
			if dt := uint64(s.Times[i+1] - x.Time); Number(&x) == 0 {
				iv.Zero += dt
			} else {
				iv.NonZero += dt
			}
		}
	}
}

// TestPublicVectors goes through the example file of Part 13 and the tests of other implementations. What differs is listed, with the
// reason, in docs/reference/aggregates.md.
func TestPublicVectors(t *testing.T) {
	var got []string
	for _, file := range []string{"opcua_aggregates.json", "opcua_examples_105.json", "opcua_reference_stack.json"} {
		all := readVectors(t, file)
		for _, v := range all.Cases {
			if v.Error == "" {
				got = append(got, differences(t, &v, answers(t, all, &v))...)
			}
		}
	}
	want, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := withoutComments(string(want))
	slices.Sort(known)
	slices.Sort(got)
	got = slices.Compact(got) // both files have some of the examples
	if !slices.Equal(known, got) {
		t.Errorf("differences from the public vectors are now:\n%s\nand testdata/differences.txt has:\n%s", strings.Join(got, "\n"), strings.Join(known, "\n"))
	}
}

func readVectors(t *testing.T, file string) *vectors {
	t.Helper()
	raw, err := os.ReadFile("../testdata/conformance/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return &all
}

// answers is the answer to a case.
func answers(t *testing.T, all *vectors, v *vector) (rows []model.Sample) {
	d := all.Datasets[v.Dataset]
	s := d.samples(t)
	a, ok := Parse(v.Aggregate)
	if !ok {
		t.Fatalf("case %s: aggregate %q", v.ID, v.Aggregate)
	}
	stepped := d.Stepped || s.Type.AlwaysStepped()
	if v.Stepped != nil {
		stepped = *v.Stepped || s.Type.AlwaysStepped()
	}
	config := v.Config.configuration()
	if v.Config == nil {
		config = d.Config.configuration()
	}
	var calc Calculation
	for _, iv := range intervals(&s, v.Start.UnixNano(), v.End.UnixNano(), v.Interval, stepped) {
		iv.complete(&s, config)
		iv.Annotations = d.annotations(&iv)
		calc.Reset(s.Type, iv, config)
		rows = append(rows, calc.Result(a))
	}
	return rows
}

// annotations is how many annotations begin in an interval.
func (d *dataset) annotations(iv *Interval) (n int64) {
	begins := func(t time.Time) bool { return t.UnixNano() >= iv.Start && t.UnixNano() < iv.End }
	for _, x := range d.Annotations {
		if begins(x.T) {
			n++
		}
	}
	for _, p := range d.Points {
		if begins(p.T) {
			n += int64(len(p.Annotations))
		}
	}
	return n
}

// withoutComments is the lines of a text that neither are empty nor begin with #.
func withoutComments(text string) (lines []string) {
	for _, line := range strings.Split(text, "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// differences has a line for each row that a case expects otherwise; those are left out on which the sources themselves differ.
func differences(t *testing.T, v *vector, rows []model.Sample) (out []string) {
	for i, want := range v.Expect {
		if want["contested_by"] != nil || v.Contested != "" {
			continue
		}
		got := rowOf(t, want, i, rows)
		if got == nil {
			out = append(out, fmt.Sprintf("%s %s %s %v: no such row", v.Source, v.Dataset, v.Aggregate, want["t"]))
			continue
		}
		var parts []string
		if w, ok := want["v"]; ok && !sameVector(w, got, v.Tolerance) {
			parts = append(parts, "value")
		}
		if w, ok := want["status"].(string); ok {
			q, err := model.ParseQuality(w)
			if err != nil {
				t.Fatal(err)
			}
			if q.Severity() != got.Quality.Severity() {
				parts = append(parts, "severity")
			}
			if v.Severity == "" && q != got.Quality&0xFFFF0000 {
				parts = append(parts, "code")
			}
		}
		if w, ok := want["bits"].([]any); ok && !sameBits(w, got.Quality) {
			parts = append(parts, "bits")
		}
		if parts != nil {
			out = append(out, fmt.Sprintf("%s %s %s %s: %s, wanted %v %v %v", v.Source, v.Dataset, v.Aggregate, show(got), strings.Join(parts, " "), want["v"], want["status"], want["bits"]))
		}
	}
	return out
}

// rowOf is the row a case speaks of: by its time where it states one, else by its place.
func rowOf(t *testing.T, want map[string]any, i int, rows []model.Sample) *model.Sample {
	at, ok := want["t"].(string)
	if !ok {
		if i < len(rows) {
			return &rows[i]
		}
		return nil
	}
	when, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(rows, func(s model.Sample) bool { return s.Time == when.UnixNano() })
	if k < 0 {
		return nil
	}
	return &rows[k]
}

func sameBits(want []any, q model.Quality) bool {
	have := q.Info()
	for _, w := range want {
		if w == "MultipleValues" {
			w = "MultiValue"
		}
		if w == "Raw" {
			continue
		}
		i := slices.Index(have, w.(string))
		if i < 0 {
			return false
		}
		have = slices.Delete(have, i, i+1)
	}
	return len(have) == 0
}

func show(s *model.Sample) string {
	v := "null"
	if !s.Null {
		v = fmt.Sprint(Number(s))
	}
	return fmt.Sprintf("%s %s %s %v", time.Unix(0, s.Time).UTC().Format("15:04:05.000"), v, s.Quality, s.Quality.Info())
}

func sameVector(want any, got *model.Sample, tolerance float64) bool {
	switch w := want.(type) {
	case nil:
		return got.Null
	case bool:
		return !got.Null && w == (got.Bits != 0)
	case string:
		q, err := model.ParseQuality(w)
		return err == nil && !got.Null && uint64(q) == got.Bits
	case float64:
		return !got.Null && math.Abs(Number(got)-w) <= max(tolerance, 1e-9)
	}
	return false
}

// TestReferencePage calculates the worked example of docs/reference/part-13.md.
func TestReferencePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/part-13.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(page), "| aggregate | 12:00:16 to 12:00:32 | 12:00:32 to 12:00:48 |\n|---|---|---|\n")
	if !ok {
		t.Fatal("the page has no worked example")
	}
	all := readVectors(t, "opcua_aggregates.json")
	d := all.Datasets["Historian1"]
	s, config := d.samples(t), d.Config.configuration()
	start := time.Date(2024, 1, 1, 12, 0, 16, 0, time.UTC)
	var want strings.Builder
	for a := Interpolative; a < end; a++ {
		fmt.Fprintf(&want, "| %s |", a)
		for _, iv := range intervals(&s, start.UnixNano(), start.Add(32*time.Second).UnixNano(), 16_000, false) {
			iv.complete(&s, config)
			iv.Annotations = d.annotations(&iv)
			var c Calculation
			c.Reset(s.Type, iv, config)
			fmt.Fprintf(&want, " %s |", example1(a, c.Result(a)))
		}
		want.WriteByte('\n')
	}
	if example != want.String() {
		t.Errorf("the worked example is\n%s", want.String())
	}
}

func example1(a Aggregate, r model.Sample) string {
	text := "null"
	switch {
	case !r.Null && a.IsStatus():
		text = model.Quality(r.Bits).Text()
	case !r.Null:
		text = fmt.Sprintf("%.6g", Number(&r))
	}
	if at := time.Unix(0, r.Time).UTC(); at.Second() != 16 && at.Second() != 32 || at.Nanosecond() != 0 {
		text += " at " + at.Format("15:04:05.999")
	}
	return text + ", " + r.Quality.Text()
}
