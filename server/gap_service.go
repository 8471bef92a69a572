package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// gapService keeps of which times samples are missing.
type gapService struct {
	varvev1.UnimplementedGapServiceServer
	*Server
}

func (s *gapService) RecordGaps(ctx context.Context, r *varvev1.RecordGapsRequest) (*varvev1.RecordGapsResponse, error) {
	author, err := whoAndMaybeWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	tags, err := s.tagIDs(r.Tags, r.TagIds, 1)
	if err != nil {
		return nil, fmt.Errorf("record gaps: %w", err)
	}
	if r.Kind < varvev1.GapKind_GAP_KIND_NOT_COLLECTED || r.Kind > varvev1.GapKind_GAP_KIND_THINNED {
		return nil, fmt.Errorf("kind of gap %d is unknown: %w", r.Kind, errBadField)
	}
	if err := checkGapSource(r.Source); err != nil {
		return nil, err
	}
	g := model.Gap{Kind: model.GapKind(r.Kind), From: r.StartNs, To: model.OpenGap, Source: r.Source} // kinds have the numbers of the wire
	if r.EndNs != nil {
		g.To = *r.EndNs
	}
	if g.From < model.MinTime || g.From >= g.To || r.EndNs != nil && g.To == model.OpenGap {
		return nil, fmt.Errorf("gap from %d to %d: the end must be later, and leave it out where it is not known: %w", g.From, g.To, errBadField)
	}
	id, err := s.db.RecordGap(ctx, tags, g, author, r.Reason)
	if err != nil {
		return nil, err
	}
	return &varvev1.RecordGapsResponse{Id: id, Recorded: uint32(s.db.GapsChanged(tags, id))}, nil
}

func (s *gapService) EndGaps(ctx context.Context, r *varvev1.EndGapsRequest) (*varvev1.EndGapsResponse, error) {
	author, err := whoAndMaybeWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	tags, err := s.tagIDs(r.Tags, r.TagIds, 1)
	if err != nil {
		return nil, fmt.Errorf("end gaps: %w", err)
	}
	if err := checkGapSource(r.Source); err != nil {
		return nil, err
	}
	if r.EndNs < model.MinTime || r.EndNs > model.MaxTime {
		return nil, fmt.Errorf("end of gaps at %d, the first instant is %d, the last %d: %w", r.EndNs, int64(model.MinTime), int64(model.MaxTime), errBadField)
	}
	offset, err := s.db.EndGaps(ctx, tags, r.EndNs, r.Source, author, r.Reason)
	if err != nil {
		return nil, err
	}
	return &varvev1.EndGapsResponse{Ended: uint32(s.db.GapsChanged(tags, offset))}, nil
}

func (s *gapService) WithdrawGaps(ctx context.Context, r *varvev1.WithdrawGapsRequest) (*varvev1.WithdrawGapsResponse, error) {
	author, err := whoAndMaybeWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	tags, err := s.tagIDs(r.Tags, r.TagIds, 0)
	if err != nil {
		return nil, fmt.Errorf("withdraw gaps: %w", err)
	}
	offset, err := s.db.WithdrawGap(ctx, r.Id, tags, author, r.Reason)
	if err != nil {
		return nil, err
	}
	return &varvev1.WithdrawGapsResponse{Withdrawn: uint32(s.db.GapsChanged(tags, offset))}, nil
}

func checkGapSource(source string) error {
	if n := len(source); n > storage.MaxGapSource {
		return fmt.Errorf("source has %d bytes, most is %d: %w", n, storage.MaxGapSource, errBadField)
	}
	return nil
}

// whoAndMaybeWhy is the author of a call that may have a reason, and checks both.
func whoAndMaybeWhy(ctx context.Context, author, reason string) (string, error) {
	author, err := authorOf(ctx, author)
	if err == nil && reason != "" {
		err = checkText("reason", reason, storage.MaxGapReason)
	}
	return author, err
}

func (s *gapService) ListGaps(ctx context.Context, r *varvev1.ListGapsRequest) (*varvev1.ListGapsResponse, error) {
	if r.PageSize > maxPageSize {
		return nil, fmt.Errorf("page_size is %d, most is %d: %w", r.PageSize, maxPageSize, errBadField)
	}
	in, err := listedRange(r.StartNs, r.EndNs)
	if err != nil {
		return nil, err
	}
	tags, err := s.tagIDs(r.Tags, r.TagIds, 1)
	if err != nil {
		return nil, fmt.Errorf("gaps: %w", err)
	}
	slices.Sort(tags)
	last, err := parseGapToken(r.PageToken)
	if err != nil {
		return nil, err
	}
	view, err := s.db.View(ctx, storage.Accepted)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	limit, size := cmp.Or(int(r.PageSize), defaultPageSize), 0
	out := &varvev1.ListGapsResponse{}
	for _, tag := range slices.Compact(tags) {
		q := storage.GapQuery{Tag: tag, In: in, Withdrawn: r.Withdrawn, Limit: limit - len(out.Gaps) + 1}
		switch cmp.Compare(tag, last.tag) {
		case -1:
			continue
		case 0:
			q.After = &last.place
		}
		for _, g := range view.Gaps(q) {
			if len(out.Gaps) == limit || size >= pageBytes {
				out.NextPageToken = last.String()
				return out, nil
			}
			wire := s.gapToWire(&g)
			out.Gaps = append(out.Gaps, wire)
			size += proto.Size(wire)
			last = gapToken{tag, g.Place()}
		}
	}
	return out, nil
}

func (s *Server) gapToWire(g *storage.Gap) *varvev1.Gap {
	first, last := &g.Versions[0], g.Newest()
	out := &varvev1.Gap{
		Id: g.ID, TagId: uint32(g.Tag), Kind: varvev1.GapKind(g.Kind), Source: g.Source, StartNs: g.From,
		Author: first.Author, Reason: first.Reason, RecordedNs: first.Ingest, Withdrawn: last.Withdrawn,
	}
	if tag, ok := s.db.Catalog().Tag(g.Tag); ok {
		out.Tag = tag.Name
	}
	if last.To != model.OpenGap {
		out.EndNs = &last.To
	}
	if len(g.Versions) > 1 {
		out.ChangedBy, out.ChangedReason, out.ChangedNs = last.Author, last.Reason, last.Ingest
	}
	return out
}

// gapToken is the gap that a page ends with, and zero in front of the first.
type gapToken struct {
	tag   model.TagID
	place storage.GapPlace
}

func (t gapToken) String() string { return fmt.Sprintf("%d/%d/%d", t.tag, t.place.From, t.place.ID) }

func parseGapToken(text string) (t gapToken, err error) {
	if text == "" {
		return t, nil
	}
	if _, err := fmt.Sscanf(text, "%d/%d/%d", &t.tag, &t.place.From, &t.place.ID); err != nil || t.String() != text {
		return t, fmt.Errorf("page_token %.80q: must be the next_page_token of the page before: %w", text, errBadField)
	}
	return t, nil
}
