package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Site is the server that gets what is forwarded.
type Site struct {
	Ingest  varvev1.IngestServiceClient
	Catalog varvev1.CatalogServiceClient
	Query   varvev1.QueryServiceClient
	Gaps    varvev1.GapServiceClient
}

// site hands parcels to a server, one after another.
type site struct {
	Site
	source string
	epoch  uint64
	log    *slog.Logger
	status *health

	next  uint64            // sequence of the next batch; 0: to be asked for
	known map[string]uint64 // tags and state sets that the server has as they are to be: a hash of each
	seed  maphash.Seed
}

func newSite(to Site, source string, epoch uint64, log *slog.Logger, st *health) *site {
	return &site{Site: to, source: source, epoch: epoch, log: log, status: st, known: map[string]uint64{}, seed: maphash.MakeSeed()}
}

// Pauses between attempts, and how long one may take.
const (
	firstPause  = 100 * time.Millisecond
	longestTry  = 2 * time.Minute
	defaultWait = 10 * time.Second // the longest pause
)

// deliver returns once the server has applied a parcel; it tries until ctx ends.
func (s *site) deliver(ctx context.Context, p *varvev1.Parcel) error {
	done := 0 // steps
	for pause := firstPause; ; pause = min(2*pause, defaultWait) {
		err := s.try(ctx, p, &done)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.status.reached(err); err == nil {
			return nil
		}
		s.log.Warn("the site does not take what is forwarded", "error", err, "retry_in", pause)
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *site) try(ctx context.Context, p *varvev1.Parcel, done *int) error {
	ctx, cancel := context.WithTimeout(ctx, longestTry)
	defer cancel()
	if s.next == 0 {
		if err := s.askSequence(ctx); err != nil {
			return err
		}
	}
	if err := s.ensure(ctx, p); err != nil {
		return err
	}
	for ; *done < len(p.Steps); *done++ {
		var err error
		switch what := p.Steps[*done].What.(type) {
		case *varvev1.Step_Samples:
			err = s.write(ctx, what.Samples)
		case *varvev1.Step_Deleted:
			err = s.remove(ctx, what.Deleted)
		case *varvev1.Step_Gaps:
			err = s.gaps(ctx, what.Gaps.GetGaps())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// askSequence finds the first sequence that the server has not seen. A batch that is still under way from a process that ended may take it
// first; the server refuses the other one then, and it is asked again.
func (s *site) askSequence(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.Ingest.Ingest(ctx)
	if err != nil {
		return err
	}
	hello := &varvev1.Hello{Source: s.source, Epoch: s.epoch, Kind: varvev1.SourceKind_SOURCE_KIND_COLLECTOR}
	if err := stream.Send(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	w := m.GetWelcome()
	if w == nil {
		return errors.New("the server's first answer is no welcome")
	}
	s.next = w.HighestSequence + 1
	return nil
}

// write sends samples as one batch.
func (s *site) write(ctx context.Context, x *varvev1.StepSamples) error {
	r := &varvev1.WriteRequest{
		Source: s.source, Epoch: s.epoch, Kind: varvev1.SourceKind_SOURCE_KIND_COLLECTOR, Author: x.Author, Reason: x.Reason,
		Batch: &varvev1.Batch{Sequence: s.next, Runs: x.Runs},
	}
	w, err := s.Ingest.Write(ctx, r)
	switch status.Code(err) {
	case codes.OK:
		s.next++
	case codes.FailedPrecondition: // another batch has the sequence
		s.next = 0
		return err
	case codes.InvalidArgument, codes.OutOfRange: // it will never be taken
		s.next = 0
		s.log.Error("the site refuses a batch for good: its samples are at the edge only", "error", err, "runs", len(x.Runs), "first_tag", x.Runs[0].Tag)
		s.status.refused(samplesIn(&varvev1.Parcel{Steps: []*varvev1.Step{{What: &varvev1.Step_Samples{Samples: x}}}}))
		return nil
	default:
		return err
	}
	return s.judge(ctx, x, w.GetResult())
}

// errMendable is a refusal that passes once somebody does something about it.
var errMendable = errors.New("the site has no such tag, or does not let it be written")

// judge looks at what a batch left out.
func (s *site) judge(ctx context.Context, x *varvev1.StepSamples, r *varvev1.BatchResult) error {
	if r.GetRejected() == 0 {
		return nil
	}
	refused := int(r.Rejected)
	ambiguous := false
	for i, j := range r.Rejections {
		switch j.Code {
		case varvev1.RejectCode_REJECT_CODE_ABSENT: // what is to be removed is not there
			if int(j.Run) < len(x.Runs) && x.Runs[j.Run].Mode == varvev1.WriteMode_WRITE_MODE_REMOVE {
				refused -= int(j.Count)
				continue
			}
		case varvev1.RejectCode_REJECT_CODE_AMBIGUOUS:
			ambiguous = true
			continue
		case varvev1.RejectCode_REJECT_CODE_UNKNOWN_TAG, varvev1.RejectCode_REJECT_CODE_TAG_QUOTA, varvev1.RejectCode_REJECT_CODE_NOT_ALLOWED:
			s.known = map[string]uint64{}
			return fmt.Errorf("%w: tag %s: %s", errMendable, j.Tag, j.Reason)
		}
		if i < 3 {
			s.log.Error("the site refuses samples for good: they are at the edge only", "tag", j.Tag, "samples", j.Count, "reason", j.Reason)
		}
	}
	if ambiguous { // several stand at one time: say which
		named := &varvev1.StepSamples{Author: x.Author, Reason: x.Reason}
		again := false
		for _, run := range x.Runs {
			if len(run.Seq) == 0 {
				again = true
				run = proto.Clone(run).(*varvev1.Run)
				run.Seq = make([]uint32, session.RunLen(run))
			}
			named.Runs = append(named.Runs, run)
		}
		if again {
			return s.write(ctx, named)
		}
	}
	if refused > 0 {
		s.status.refused(refused)
	}
	return nil
}

// removeAtOnce is the most samples read, and removed, at a time.
const removeAtOnce = 1 << 15

// remove takes away what the site has in ranges, sample by sample: each batch has an identity, so that none can come late and take what was written since.
func (s *site) remove(ctx context.Context, x *varvev1.StepRange) error {
	for _, tag := range x.Tags {
		for _, in := range x.Ranges {
			for {
				step, err := s.standing(ctx, tag, in)
				if err != nil {
					return err
				}
				if step == nil {
					break
				}
				step.Author, step.Reason = x.Author, x.Reason
				before := s.status.refusals()
				if err := s.write(ctx, step); err != nil {
					return err
				}
				if s.status.refusals() != before { // it would go on for ever
					break
				}
			}
		}
	}
	return nil
}

// standing is the removal of the first samples of a range, nil where there is none.
func (s *site) standing(ctx context.Context, tag string, in *varvev1.TimeSpan) (*varvev1.StepSamples, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := in.EndNs
	stream, err := s.Query.ReadRange(ctx, &varvev1.ReadRangeRequest{
		Tags: []string{tag}, StartNs: &in.StartNs, EndNs: &end, Limit: removeAtOnce, WithSeq: true,
	})
	if err != nil {
		return nil, err
	}
	r, err := answer.NewReader(stream)
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	run := &varvev1.Run{Tag: tag, Mode: varvev1.WriteMode_WRITE_MODE_REMOVE}
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		run.TimesNs, run.Seq = append(run.TimesNs, row.Time), append(run.Seq, row.Seq)
	}
	if len(run.TimesNs) == 0 {
		return nil, nil
	}
	return &varvev1.StepSamples{Runs: []*varvev1.Run{run}}, nil
}

// gaps makes the gaps of one tag, kind, source and start what they are at the edge. One that ended there is recorded with its end and withdrawn without: EndGaps would
// end others too.
func (s *site) gaps(ctx context.Context, want []*varvev1.Gap) error {
	if len(want) == 0 {
		return nil
	}
	has, err := s.gapsLike(ctx, want[0])
	if err != nil {
		return s.gapRefused(want[0], err)
	}
	for _, g := range want {
		if g.Withdrawn || hasEnd(has, g) {
			continue
		}
		_, err := s.Gaps.RecordGaps(ctx, &varvev1.RecordGapsRequest{
			Tags: []string{g.Tag}, Kind: g.Kind, StartNs: g.StartNs, EndNs: g.EndNs, Source: g.Source, Author: s.who(g.Author), Reason: g.Reason,
		})
		if err := s.gapRefused(g, err); err != nil {
			return err
		}
	}
	for _, x := range has {
		i := slices.IndexFunc(want, func(g *varvev1.Gap) bool { return sameEnd(g, x) || x.EndNs == nil })
		if i < 0 || standsAmong(want, x) { // it is the site's own, or stands
			continue
		}
		g := want[i]
		_, err := s.Gaps.WithdrawGaps(ctx, &varvev1.WithdrawGapsRequest{
			Id: x.Id, Tags: []string{x.Tag}, Author: s.who(cmp.Or(g.ChangedBy, g.Author)), Reason: g.ChangedReason,
		})
		if err := s.gapRefused(x, err); err != nil {
			return err
		}
	}
	return nil
}

func sameEnd(a, b *varvev1.Gap) bool {
	return a.EndNs == nil && b.EndNs == nil || a.EndNs != nil && b.EndNs != nil && *a.EndNs == *b.EndNs
}

// hasEnd reports that one of the gaps has the end of g.
func hasEnd(gaps []*varvev1.Gap, g *varvev1.Gap) bool {
	return slices.ContainsFunc(gaps, func(x *varvev1.Gap) bool { return sameEnd(x, g) })
}

// standsAmong reports that a gap is to stand.
func standsAmong(want []*varvev1.Gap, x *varvev1.Gap) bool {
	return slices.ContainsFunc(want, func(g *varvev1.Gap) bool { return !g.Withdrawn && sameEnd(g, x) })
}

// gapRefused leaves out a gap that the site will never take.
func (s *site) gapRefused(g *varvev1.Gap, err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.FailedPrecondition:
		s.log.Error("the site refuses a gap", "tag", g.Tag, "error", err)
		return nil
	}
	return err
}

// gapsLike is the gaps of the site of a gap's tag, kind, source and start.
func (s *site) gapsLike(ctx context.Context, g *varvev1.Gap) (has []*varvev1.Gap, err error) {
	end := g.StartNs + 1 // no gap begins at the last instant
	for page := ""; ; {
		l, err := s.Gaps.ListGaps(ctx, &varvev1.ListGapsRequest{Tags: []string{g.Tag}, StartNs: &g.StartNs, EndNs: &end, PageToken: page})
		if err != nil {
			return nil, err
		}
		for _, x := range l.Gaps {
			if x.Kind == g.Kind && x.Source == g.Source && x.StartNs == g.StartNs {
				has = append(has, x)
			}
		}
		if page = l.NextPageToken; page == "" {
			return has, nil
		}
	}
}

func (s *site) who(author string) string {
	if author == "" {
		return s.source
	}
	return author
}
