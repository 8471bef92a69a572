// Package conformance asks a server the questions of files of public test vectors, through its gRPC services as any client would, and counts
// where the answers agree.
//
//	file → format by what it holds → data sets written as tags and annotations → a question per case → agreement per row
//
// The formats are those of query/testdata/conformance.
package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// ErrFormat is the answer to a file that is of no known format.
var ErrFormat = errors.New("not a file of test vectors")

// maxFileBytes is the largest file that is read.
const maxFileBytes = 256 << 20

// Tally is how many of the rows that state something agree on it.
type Tally struct {
	Pass int `json:"pass"`
	Of   int `json:"of"`
}

func (t *Tally) count(pass bool) {
	t.Of++
	if pass {
		t.Pass++
	}
}

// Report is what came of one file. Rows on which its sources differ are only in Contested. Scripts read it: fields are added,
// never renamed.
type Report struct {
	File      string         `json:"file"`
	Cases     int            `json:"cases"`
	Rows      int            `json:"rows"`
	Value     Tally          `json:"value"`
	Severity  Tally          `json:"severity"`
	Code      Tally          `json:"code"`
	Bits      Tally          `json:"bits"`
	Contested Tally          `json:"contested"`
	Each      []CaseReport   `json:"-"`
	Failures  []Disagreement `json:"-"`

	run int // how many files the server was asked before
}

// tag is the name of the tag of the i-th data set of the file, or of its i-th case: one that no other has and that is good for a name, whatever files,
// data sets and cases are called.
func (r *Report) tag(i int) string { return fmt.Sprintf("vectors/%d/%d", r.run, i) }

// CaseReport is what came of one case of a file.
type CaseReport struct {
	Case string `json:"case"`
	Rule string `json:"rule,omitempty"` // the algorithm, where a file has several
	Rows int    `json:"rows"`
	Pass int    `json:"pass"` // rows that agree in all they state
}

// Disagreement is a row that came out otherwise than it was expected to.
type Disagreement struct {
	Case      string `json:"case"`
	Source    string `json:"source,omitempty"`
	Row       string `json:"row"`
	In        string `json:"in"` // value, severity, code, bits
	Want      string `json:"want"`
	Got       string `json:"got"`
	Contested bool   `json:"contested,omitempty"`
}

// Server is the services that are asked.
type Server struct {
	ingest      varvev1.IngestServiceClient
	query       varvev1.QueryServiceClient
	catalog     varvev1.CatalogServiceClient
	annotations varvev1.AnnotationServiceClient
	runs        int
}

// NewServer asks over a connection.
func NewServer(conn grpc.ClientConnInterface) *Server {
	return &Server{
		ingest: varvev1.NewIngestServiceClient(conn), query: varvev1.NewQueryServiceClient(conn),
		catalog: varvev1.NewCatalogServiceClient(conn), annotations: varvev1.NewAnnotationServiceClient(conn),
	}
}

// Run writes the data sets of a file to the server, as tags of its own, and asks its questions.
func (s *Server) Run(ctx context.Context, file string) (*Report, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s has %d bytes, most is %d: %w", file, info.Size(), maxFileBytes, ErrFormat)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", file, unreadable(err))
	}
	r := &Report{File: filepath.Base(file), run: s.runs}
	s.runs++
	for _, f := range formats {
		if f.is(keys) {
			if err := f.run(ctx, s, raw, r); err != nil {
				return r, fmt.Errorf("%s: %w", file, err)
			}
			return r, nil
		}
	}
	return nil, fmt.Errorf("%s has none of the keys that tell the formats apart: %w", file, ErrFormat)
}

// unreadable is ErrFormat with what was wrong, and where.
func unreadable(err error) error {
	var of *json.UnmarshalTypeError
	var at *json.SyntaxError
	switch {
	case errors.As(err, &of):
		return fmt.Errorf("%s before byte %d: %s is not what belongs there: %w", cmp.Or(of.Field, "the file"), of.Offset, of.Value, ErrFormat)
	case errors.As(err, &at):
		return fmt.Errorf("before byte %d: %w: %w", at.Offset, err, ErrFormat)
	}
	return fmt.Errorf("%w: %w", err, ErrFormat)
}

// format is one kind of file.
type format struct {
	is  func(keys map[string]json.RawMessage) bool
	run func(ctx context.Context, s *Server, raw []byte, r *Report) error
}

var formats = []format{
	{has("datasets", "cases"), runAggregates},
	{has("variants", "cases"), runDoors},
	{has("sample_times", "cases"), runRawBounds},
	{has("series_y", "cases"), runLTTB},
	{has("time_weighted", "state_duration", "counters"), runTimeWeighted},
	{has("exact_interpolated"), runPercentiles},
}

func has(names ...string) func(map[string]json.RawMessage) bool {
	return func(keys map[string]json.RawMessage) bool {
		for _, n := range names {
			if _, ok := keys[n]; !ok {
				return false
			}
		}
		return true
	}
}

// row gathers what one row states.
type row struct {
	r         *Report
	base      Disagreement
	contested bool
	ok        bool
}

func (r *Report) begin(base Disagreement) *row {
	r.Rows++
	return &row{r: r, base: base, contested: base.Contested, ok: true}
}

// state counts one thing that a row states.
func (w *row) state(t *Tally, in string, pass bool, want, got string) {
	if !w.contested {
		t.count(pass)
	}
	if pass {
		return
	}
	w.ok = false
	d := w.base
	d.In, d.Want, d.Got = in, want, got
	w.r.Failures = append(w.r.Failures, d)
}

// end says whether the row agreed in all it states.
func (w *row) end() bool {
	if w.contested {
		w.r.Contested.count(w.ok)
	}
	return w.ok
}

// refusal is what a server says of a question that it does not answer as it was asked, which counts as an answer; false of any other
// error, which ends the run.
func refusal(err error) (string, bool) {
	s, ok := status.FromError(err)
	switch {
	case err == nil || !ok:
		return "", false
	case s.Code() == codes.InvalidArgument, s.Code() == codes.OutOfRange, s.Code() == codes.ResourceExhausted:
		why, rest, _ := strings.Cut(s.Message(), ": must be ") // a list of all that may be, as a rule
		if rest != "" {
			why += "…"
		}
		return "refused: " + why, true
	}
	return "", false
}

// refused reports a case whose question was refused as one row that differs, if that is what the error is.
func (r *Report) refused(base Disagreement, err error) bool {
	why, ok := refusal(err)
	if !ok {
		return false
	}
	r.call(base, "an answer", why)
	return true
}

// unasked reports a case of something that Varve does not do as one contested row.
func (r *Report) unasked(base Disagreement, what string) {
	base.Contested = true
	r.call(base, what, "no such question")
}

// call reports a case whose one row is the call itself, which differs.
func (r *Report) call(base Disagreement, want, got string) {
	base.Row = "the call"
	w := r.begin(base)
	w.state(&r.Value, "value", false, want, got)
	w.end()
	r.Cases++
	r.Each = append(r.Each, CaseReport{Case: base.Case, Rows: 1})
}

// near reports whether two numbers are the same within a tolerance, the larger one of absolute and relative.
func near(a, b, tolerance float64) bool {
	if a == b || math.IsNaN(a) && math.IsNaN(b) {
		return true
	}
	return math.Abs(a-b) <= max(tolerance, 1e-12*math.Abs(b))
}
