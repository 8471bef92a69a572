// Package conformance asks a server the questions of files of public test vectors, through its gRPC services as any client would, and counts
// where the answers agree.
//
//	file → format by what it holds → data sets written as tags and annotations → a question per case → agreement per row
//
// The formats are those of query/testdata/conformance.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

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
}

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
}

// NewServer asks over a connection.
func NewServer(conn grpc.ClientConnInterface) *Server {
	return &Server{
		varvev1.NewIngestServiceClient(conn), varvev1.NewQueryServiceClient(conn), varvev1.NewCatalogServiceClient(conn), varvev1.NewAnnotationServiceClient(conn),
	}
}

// Run writes the data sets of a file to the server, under names that begin with the file's, and asks its questions.
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
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, err, ErrFormat)
	}
	r := &Report{File: filepath.Base(file)}
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

// near reports whether two numbers are the same within a tolerance, the larger one of absolute and relative.
func near(a, b, tolerance float64) bool {
	if a == b || math.IsNaN(a) && math.IsNaN(b) {
		return true
	}
	return math.Abs(a-b) <= max(tolerance, 1e-12*math.Abs(b))
}
