package table

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// How samples are cut into batches. A change makes a file's batches others than those an earlier release sent, so it
// must come with a new batchingVersion.
const (
	batchingVersion   = 1
	bufferSamplesMax  = 1 << 19 // collected over all tags before batches are made of them
	bufferTextMax     = 8 << 20
	batchSamplesMax   = 1 << 16
	batchBytesMax     = 1 << 20
	maxRowErrorsKept  = 20 // per reason
	maxReasonsKept    = 1000
	maxInternedLength = 64
)

// reader is the second pass: it turns rows into samples and samples into batches.
type reader struct {
	plan  *Plan
	tags  *tagTable
	clock clock
	mode  varvev1.WriteMode
	emit  func(*varvev1.Batch) error
	stats *Stats

	runs     []session.RunBuilder // by tag
	newest   []int64              // by tag: the highest time so far
	repeat   []repeat             // by tag: of context columns
	samples  int                  // in runs
	text     int                  // bytes in runs
	sequence uint64
	interned map[string]string

	line    int
	time    int64
	quality eventQuality
}

// eventQuality is what a row of a long table says of its sample besides the value.
type eventQuality struct {
	given  bool // in a quality column
	code   model.Quality
	quoted bool // the value stands in quotes, so that an empty one is a text
}

type repeat struct {
	time int64
	text string
	set  bool
}

// Stats is what the second pass counts.
type Stats struct {
	Rows          int `json:"rows"`
	BadRows       int `json:"bad_rows"`       // rows that give no sample
	Samples       int `json:"samples"`        // made of the rows
	BadFields     int `json:"bad_fields"`     // fields that give no sample, in rows that are good
	OutOfOrder    int `json:"out_of_order"`   // samples earlier than one of the same tag before them
	LocalTimes    int `json:"local_times"`    // times without a zone
	AmbiguousTime int `json:"ambiguous_time"` // local times that came twice
	SkippedTime   int `json:"skipped_time"`   // local times that never were

	faults map[string]*Fault
	order  []string
}

// Fault is one reason why rows or fields gave no sample.
type Fault struct {
	Reason string `json:"reason"`
	Column string `json:"column,omitempty"`
	Count  int    `json:"count"`
	Lines  []int  `json:"lines,omitempty"` // the first of them
}

// Faults are the reasons, in the order they came up.
func (s *Stats) Faults() []Fault {
	out := make([]Fault, 0, len(s.order))
	for _, k := range s.order {
		out = append(out, *s.faults[k])
	}
	return out
}

func (s *Stats) fault(e *RowError) {
	key := e.Column + "\x00" + e.Reason
	f, ok := s.faults[key]
	if !ok {
		if len(s.order) >= maxReasonsKept {
			key = "\x00further reasons"
			f, ok = s.faults[key]
			e = &RowError{Line: e.Line, Reason: "further reasons"}
		}
		if !ok {
			f = &Fault{Reason: e.Reason, Column: e.Column}
			if s.faults == nil {
				s.faults = map[string]*Fault{}
			}
			s.faults[key] = f
			s.order = append(s.order, key)
		}
	}
	if f.Count++; len(f.Lines) < maxRowErrorsKept {
		f.Lines = append(f.Lines, e.Line)
	}
}

// Batches reads the file a second time and calls emit with its batches, in order, with sequences from 1. The types of
// the plan's tags must be what the catalogue says by now, and ids gives each its id, 0 where the server refused it. The
// same plan, types and refusals give the same batches. The stats are of what was read, also where an error ended it; they
// are nil if nothing was. progress may be nil.
func (p *Plan) Batches(ctx context.Context, ids []model.TagID, mode varvev1.WriteMode, states StateCodes, emit func(*varvev1.Batch) error, progress func(read, size int64)) (*Stats, error) {
	r := &reader{
		plan: p, mode: mode, emit: emit, stats: &Stats{}, interned: map[string]string{},
		clock: clock{format: p.format, zone: p.rules.zone, last: math.MinInt64},
	}
	if len(p.Tags) != len(ids) {
		return nil, fmt.Errorf("read %s: %d tags and %d ids", p.File, len(p.Tags), len(ids))
	}
	r.setTags(ids, states)
	f, err := openFile(p.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = r.read(ctx, f, progress)
	s := r.stats
	s.LocalTimes, s.AmbiguousTime, s.SkippedTime = r.clock.withoutZone, r.clock.ambiguous, r.clock.nonexistent
	if err != nil {
		return s, fmt.Errorf("read %s: %w", p.File, err)
	}
	return s, nil
}

func (r *reader) setTags(ids []model.TagID, states StateCodes) {
	p := r.plan
	r.tags = p.tags
	p.rules.states = states
	r.runs = make([]session.RunBuilder, len(ids))
	r.newest = make([]int64, len(ids))
	r.repeat = make([]repeat, len(ids))
	for i, id := range ids {
		r.runs[i] = session.RunBuilder{ID: id, Type: p.Tags[i].Type, Mode: r.mode}
		r.newest[i] = math.MinInt64
	}
}

var errChanged = errors.New("the file changed while it was read")

func (r *reader) read(ctx context.Context, f *file, progress func(read, size int64)) error {
	sum := sha256.New()
	rows := newRowReader(io.TeeReader(f, sum), r.plan.rules.comma)
	header := true
	for n := 0; ; n++ {
		fields, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(f.read.Load(), f.size)
			}
		}
		if header && err == nil {
			header = false
			continue
		}
		r.line = rows.line
		if err == nil {
			r.quality = eventQuality{quoted: r.plan.layout.quality >= 0 && rows.wasQuoted(r.plan.layout.value)}
			err = r.row(fields)
		}
		if bad := (*RowError)(nil); errors.As(err, &bad) {
			bad.Line = r.line
			r.stats.BadRows++
			r.stats.fault(bad)
			continue
		}
		if err != nil {
			return err
		}
		if r.samples >= bufferSamplesMax || r.text >= bufferTextMax {
			if err := r.flush(); err != nil {
				return err
			}
		}
	}
	if [sha256.Size]byte(sum.Sum(nil)) != r.plan.Content {
		return errChanged
	}
	return r.flush()
}

func (r *reader) row(fields [][]byte) error {
	if want := len(r.plan.layout.header); len(fields) != want {
		return &RowError{Reason: fmt.Sprintf("%d fields, the header has %d", len(fields), want)}
	}
	t, err := r.clock.read(r.plan.layout.timeOf(fields))
	if err != nil {
		return &RowError{Column: r.plan.TimeColumn, Reason: err.Error()}
	}
	r.time = t
	if r.tags == nil { // the first pass saw no row
		return errChanged
	}
	if q := r.plan.layout.quality; q >= 0 && len(fields[q]) > 0 {
		r.quality.given = true
		if r.quality.code, err = r.plan.rules.parseQuality(fields[q]); err != nil {
			return &RowError{Column: r.plan.layout.header[q], Reason: err.Error()}
		}
	}
	if err := r.tags.split(fields, r.sample); err != nil {
		return err
	}
	r.stats.Rows++
	return nil
}

// sample is the visitor of the second pass. Faults of one field do not end the row.
func (r *reader) sample(tag int, ro role, field []byte) error {
	if tag >= len(r.runs) {
		return errChanged
	}
	sense, quality := r.plan.rules.sense(field)
	typ := r.plan.Tags[tag].Type
	switch {
	case sense == emptyField && ro != event, sense == missingField && ro != event:
		return nil
	case ro == beside && r.isRepeat(tag, field):
		return nil
	}
	if reason := r.plan.Tags[tag].refused; reason != "" {
		r.fieldFault(tag, reason)
		return nil
	}
	run := &r.runs[tag]
	noData := model.BadNoData
	if ro == event && r.quality.given {
		quality, noData = r.quality.code, r.quality.code
	}
	switch {
	case sense == missingField, sense == emptyField && (typ != model.String || r.plan.layout.quality >= 0 && ro == event && !r.quality.quoted):
		run.AddNull(r.time, noData)
	case sense == badField && !typ.Blob():
		run.AddNull(r.time, quality)
	case typ.Blob():
		if reason := checkText(typ, field); reason != "" {
			r.fieldFault(tag, reason)
			return nil
		}
		r.text += len(field)
		run.AddText(r.time, r.intern(field), quality)
	default:
		bits, ok := r.parse(tag, typ, bytes.TrimSpace(r.plan.rules.decimalPoint(field)))
		if !ok {
			is := typ.String()
			if set := r.plan.Tags[tag].stateSetAt(r.time); typ == model.State {
				is = fmt.Sprintf("state of %s; varve tags states get %s shows them", set, set)
			}
			r.fieldFault(tag, fmt.Sprintf("%.60q is no %s", field, is))
			return nil
		}
		run.Add(r.time, bits, quality)
	}
	r.samples++
	r.stats.Samples++
	if r.time < r.newest[tag] {
		r.stats.OutOfOrder++
	} else {
		r.newest[tag] = r.time
	}
	return nil
}

func (r *reader) isRepeat(tag int, field []byte) bool {
	last := &r.repeat[tag]
	if last.set && last.time == r.time && last.text == string(field) {
		return true
	}
	*last = repeat{r.time, r.intern(field), true}
	return false
}

func (r *reader) fieldFault(tag int, reason string) {
	r.stats.BadFields++
	r.stats.fault(&RowError{Line: r.line, Column: r.plan.Tags[tag].Name, Reason: reason})
}

func checkText(typ model.Type, field []byte) string {
	switch {
	case len(field) > model.MaxBlobBytes:
		return fmt.Sprintf("text of %d bytes, most is %d", len(field), model.MaxBlobBytes)
	case typ == model.String && !utf8.Valid(field):
		return "text is not UTF-8; convert the file first, for instance with iconv"
	case typ == model.String && bytes.IndexByte(field, 0) >= 0:
		return "text has zero bytes; the file may be UTF-16: convert it to UTF-8 first"
	}
	return ""
}

// intern keeps one copy of short texts, since those of a plant are few.
func (r *reader) intern(field []byte) string {
	if len(field) > maxInternedLength {
		return string(field)
	}
	if s, ok := r.interned[string(field)]; ok {
		return s
	}
	if len(r.interned) > 100_000 {
		clear(r.interned)
	}
	s := string(field)
	r.interned[s] = s
	return s
}

func (r *reader) parse(tag int, typ model.Type, b []byte) (uint64, bool) {
	switch typ {
	case model.Float64:
		x, ok := parseFloat(b, 64)
		return math.Float64bits(x), ok
	case model.Float32:
		x, ok := parseFloat(b, 32)
		return uint64(math.Float32bits(float32(x))), ok
	case model.Int64:
		i, err := strconv.ParseInt(string(b), 10, 64)
		return uint64(i), err == nil
	case model.Uint64:
		u, err := strconv.ParseUint(string(bytes.TrimPrefix(b, []byte("+"))), 10, 64)
		return u, err == nil
	case model.Bool:
		return parseBoolBits(b)
	case model.State:
		if code, ok := r.plan.rules.states.code(r.plan.Tags[tag].stateSetAt(r.time), r.time, b); ok {
			return uint64(code), true
		}
		code, err := strconv.ParseInt(string(b), 10, 64)
		return uint64(code), err == nil
	}
	return 0, false
}

func parseBoolBits(b []byte) (uint64, bool) {
	if v, ok := parseBool(b); ok {
		if v {
			return 1, true
		}
		return 0, true
	}
	if x, ok := parseFloat(b, 64); ok && (x == 0 || x == 1) {
		return uint64(x), true
	}
	return 0, false
}

// flush makes batches of what is collected, tag by tag.
func (r *reader) flush() error {
	batch := &varvev1.Batch{}
	samples, size := 0, 0
	send := func() error {
		if len(batch.Runs) == 0 {
			return nil
		}
		r.sequence++
		batch.Sequence = r.sequence
		full := batch
		batch, samples, size = &varvev1.Batch{}, 0, 0
		return r.emit(full)
	}
	for i := range r.runs {
		run := &r.runs[i]
		for from := 0; from < run.Len(); {
			to, bytes := run.Cut(from, batchSamplesMax, batchBytesMax)
			if samples+to-from > batchSamplesMax || size+bytes > batchBytesMax {
				if err := send(); err != nil {
					return err
				}
			}
			batch.Runs = append(batch.Runs, run.Run(from, to))
			samples, size, from = samples+to-from, size+bytes, to
		}
		run.Reset()
	}
	r.samples, r.text = 0, 0
	return send()
}
