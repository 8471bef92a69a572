package table

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Server is what an import needs of one.
type Server struct {
	Ingest  varvev1.IngestServiceClient
	Catalog varvev1.CatalogServiceClient
}

// Options say how a file is imported.
type Options struct {
	Mapping Mapping
	// Mode is what a sample does where one stands at its time already. The default is NO_REPLACE: it is ignored.
	Mode varvev1.WriteMode
	// Source names the import in place of the name derived from the file's content and the mapping. The epoch is
	// derived from them in any case.
	Source string
	// Resend sends every batch, also those that the server says it has applied; it changes nothing there.
	Resend bool
	// GiveUpAfter ends the import when the server was away for so long. The default is 2 minutes.
	GiveUpAfter time.Duration
	// OnProgress is called often, by one goroutine at a time.
	OnProgress func(Progress)
}

// Progress is how far an import has come.
type Progress struct {
	Scanning   bool  // the first pass
	Read, Size int64 // bytes of the file on disk
	Samples    uint64
	Applied    uint64
	Rejected   uint64
	Waiting    string // why the connection is down, empty while it stands
}

// Report is what became of one file.
type Report struct {
	File        string   `json:"file"`
	Source      string   `json:"source,omitempty"`
	Epoch       uint64   `json:"epoch,string,omitempty"`
	Shape       Shape    `json:"shape,omitempty"`
	TimeFormat  string   `json:"time_format,omitempty"`
	Tags        int      `json:"tags"`
	TagsCreated int      `json:"tags_created"`
	Stats                // of the second pass
	Batches     uint64   `json:"batches"`
	Skipped     uint64   `json:"batches_applied_before"` // by an earlier run, and not sent again
	Sent        uint64   `json:"samples_sent"`
	Applied     uint64   `json:"samples_applied"` // stored, or equal to what was stored
	Ignored     uint64   `json:"samples_ignored"` // a sample stood at that time already
	Duplicates  uint64   `json:"batches_duplicate"`
	Rejected    uint64   `json:"samples_rejected"` // by the server; BadRows and BadFields come on top
	Reasons     []Fault  `json:"reasons,omitempty"`
	Seconds     float64  `json:"seconds"`
	Rate        float64  `json:"samples_per_second"`
	Notes       []string `json:"notes,omitempty"`
}

// AnyRejected reports whether any row, field or sample was not taken.
func (r *Report) AnyRejected() bool { return r.BadRows > 0 || r.BadFields > 0 || r.Rejected > 0 }

// Import reads a file and sends it, and returns once all of it is applied. The report is never nil and holds what is
// known where the error is not nil.
func Import(ctx context.Context, server Server, path string, o Options) (*Report, error) {
	if o.Mode == varvev1.WriteMode_WRITE_MODE_UNSPECIFIED {
		o.Mode = varvev1.WriteMode_WRITE_MODE_NO_REPLACE
	}
	if o.GiveUpAfter <= 0 {
		o.GiveUpAfter = 2 * time.Minute
	}
	im := &importer{server: server, o: o, began: time.Now(), report: &Report{File: path}}
	err := im.run(ctx, path)
	im.finish()
	return im.report, err
}

type importer struct {
	server Server
	o      Options
	plan   *Plan
	ids    []model.TagID
	states StateCodes
	began  time.Time

	mu       sync.Mutex // guards what is below: acks come from the session's goroutine
	report   *Report
	progress Progress
	judged   uint64 // highest sequence whose acceptance is counted; a batch sent again is accepted again
	reasons  map[string]*Fault
	order    []string
}

func (im *importer) run(ctx context.Context, path string) error {
	plan, err := Scan(ctx, path, im.o.Mapping, func(read, size int64) {
		im.show(func(p *Progress) { p.Scanning, p.Read, p.Size = true, read, size })
	})
	if err != nil {
		return err
	}
	im.plan = plan
	r := im.report
	r.Shape, r.TimeFormat = plan.Shape, plan.TimeFormat
	for _, t := range plan.Tags {
		if t.Type != 0 { // a column without a single value makes no tag
			r.Tags++
		}
	}
	if err := im.putStateSets(ctx); err != nil {
		return err
	}
	if err := im.createTags(ctx); err != nil {
		return err
	}
	r.Source, r.Epoch = im.identity()
	return im.send(ctx)
}

// identity names the import by what it sends: the file's content, how it is read, and what the catalogue made of its
// tags. Server ids are no part of it.
func (im *importer) identity() (source string, epoch uint64) {
	p := im.plan
	h := sha256.New()
	rules, _ := json.Marshal(p.rules.Mapping) // maps are sorted; no field can fail
	fmt.Fprintf(h, "varve table import, batching %d, mode %d\n%x\n%s\n%s\n", batchingVersion, im.o.Mode, p.Content, rules, p.rules.Prefix)
	for _, t := range p.Tags {
		fmt.Fprintf(h, "%q %d %q %t\n", t.Name, t.Type, t.StateSet, t.refused != "")
	}
	im.states.write(h)
	sum := h.Sum(nil)
	source = "import:" + hex.EncodeToString(sum[:16])
	if im.o.Source != "" {
		source = im.o.Source
	}
	return source, binary.BigEndian.Uint64(sum[16:]) | 1
}

func (im *importer) send(ctx context.Context) (err error) {
	s, err := session.Open(ctx, im.server.Ingest, session.Options{
		Source: im.report.Source, Epoch: im.report.Epoch, Kind: varvev1.SourceKind_SOURCE_KIND_IMPORT,
		Until: varvev1.Mark_MARK_APPLIED, GiveUpAfter: im.o.GiveUpAfter, OnAck: im.acked,
		OnDisconnect: func(err error, in time.Duration) {
			im.show(func(p *Progress) {
				p.Waiting = fmt.Sprintf("%s; next attempt in %s", status.Convert(err).Message(), in.Round(time.Millisecond))
			})
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	through := s.Welcome().AppliedThrough
	stats, err := im.plan.Batches(ctx, im.ids, im.o.Mode, im.states, func(b *varvev1.Batch) error {
		return im.sendBatch(ctx, s, b, through)
	}, func(read, size int64) {
		im.show(func(p *Progress) { p.Scanning, p.Read, p.Size = false, read, size })
	})
	if stats != nil {
		im.mu.Lock()
		im.report.Stats = *stats
		im.mu.Unlock()
	}
	if err != nil {
		return explain(err)
	}
	return explain(s.Flush(ctx))
}

func (im *importer) sendBatch(ctx context.Context, s *session.Session, b *varvev1.Batch, through uint64) error {
	samples := uint64(0)
	for _, r := range b.Runs {
		samples += uint64(session.RunLen(r))
	}
	skip := b.Sequence <= through && !im.o.Resend
	im.mu.Lock()
	im.report.Batches++
	if skip {
		im.report.Skipped++
	} else {
		im.report.Sent += samples
		im.progress.Samples += samples
	}
	im.mu.Unlock()
	if skip {
		return nil
	}
	return s.Send(ctx, b)
}

// explain adds what to do to errors of the ingest stream.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, session.ErrFenced):
		return fmt.Errorf("another import of the same file is running: %w", err)
	case status.Code(err) == codes.FailedPrecondition:
		return fmt.Errorf("the server has batches of this import with other content; give the import its own name with --source: %w", err)
	}
	return err
}

func (im *importer) acked(mark varvev1.Mark, b *varvev1.BatchResult) {
	im.mu.Lock()
	defer im.mu.Unlock()
	r := im.report
	switch mark {
	case varvev1.Mark_MARK_ACCEPTED:
		if b.Sequence <= im.judged {
			return
		}
		im.judged = b.Sequence
	case varvev1.Mark_MARK_APPLIED:
		if b.Duplicate {
			r.Duplicates++
		}
		r.Applied += b.Samples
		r.Ignored += b.Ignored
		im.progress.Applied = r.Applied + r.Ignored
		im.progress.Waiting = ""
	default:
		return
	}
	r.Rejected += b.Rejected
	im.progress.Rejected = r.Rejected
	for _, j := range b.Rejections {
		im.reason(j)
	}
	if im.o.OnProgress != nil {
		im.o.OnProgress(im.progress)
	}
}

func (im *importer) reason(j *varvev1.Rejection) {
	tag := j.Tag
	for i, id := range im.ids {
		if tag == "" || len(tag) > 10 || tag[0] < '0' || tag[0] > '9' {
			break
		}
		if fmt.Sprint(uint32(id)) == tag {
			tag = im.plan.Tags[i].Name
			break
		}
	}
	name := strings.ToLower(strings.TrimPrefix(j.Code.String(), "REJECT_CODE_"))
	key := name + "\x00" + tag
	f, ok := im.reasons[key]
	if !ok {
		if len(im.order) >= maxReasonsKept {
			return
		}
		f = &Fault{Reason: fmt.Sprintf("%s: %s", name, j.Reason), Column: tag}
		if im.reasons == nil {
			im.reasons = map[string]*Fault{}
		}
		im.reasons[key] = f
		im.order = append(im.order, key)
	}
	f.Count += int(j.Count)
}

func (im *importer) show(change func(*Progress)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	change(&im.progress)
	if im.o.OnProgress != nil {
		im.o.OnProgress(im.progress)
	}
}

// finish makes the report whole.
func (im *importer) finish() {
	im.mu.Lock()
	defer im.mu.Unlock()
	r := im.report
	r.Seconds = time.Since(im.began).Seconds()
	if r.Seconds > 0 {
		r.Rate = float64(r.Applied+r.Ignored) / r.Seconds
	}
	r.Reasons = r.Faults()
	for _, k := range im.order {
		r.Reasons = append(r.Reasons, *im.reasons[k])
	}
	im.notes()
}

func (im *importer) notes() {
	r, p := im.report, im.plan
	if p == nil {
		return
	}
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if p.Rows == 0 && p.BadRows == 0 {
		note("the file has no rows")
	}
	if r.Ignored > 0 {
		advice := "to keep several at one time import with --mode append"
		if k := p.SuggestKey(); k != "" {
			advice = fmt.Sprintf("if %s tells rows of one time apart, import with --key-column %s; %s", k, k, advice)
		}
		note("%d samples were ignored because one stood at their time already; %s; to keep files apart give each a --prefix", r.Ignored, advice)
	}
	if w := p.SuggestMissing(); w != "" {
		note("columns of numbers became text because of %q; if it stands for no value, import with --missing '%s'", w, w)
	}
	if c := p.SuggestDecimal(); c != "" {
		note("%s holds numbers with a decimal comma and became text; import with --decimal ','", c)
	}
	if r.LocalTimes > 0 && p.rules.TimeZone == "" {
		note("the times carry no zone and were taken as UTC; give --time-zone if they are local")
	}
	if r.LocalTimes == 0 && p.rules.TimeZone != "" && r.Rows > 0 {
		note("the times carry their own zone, so --time-zone %s was not needed", p.rules.TimeZone)
	}
	if r.AmbiguousTime > 0 {
		note("%d local times came twice when clocks were set back; each was taken as the earlier unless the row before it was later than that", r.AmbiguousTime)
	}
	if r.SkippedTime > 0 {
		note("%d local times never were because clocks were set forward; each was taken as if they had not been", r.SkippedTime)
	}
	if r.Duplicates > 0 && !im.o.Resend {
		note("%d batches were applied when the connection was lost, before their answers came; their samples are not in the counts", r.Duplicates)
	}
	if r.Skipped > 0 {
		note("%d of %d batches were applied by an earlier run and not sent again; what became of their samples was told then", r.Skipped, r.Batches)
	}
}
