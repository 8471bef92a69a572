package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

func (s *adminService) DeleteRange(ctx context.Context, r *varvev1.DeleteRangeRequest) (*varvev1.DeleteRangeResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	if n := len(r.Tags) + len(r.TagIds); n == 0 || n > storage.MaxDeleteTags {
		return nil, fmt.Errorf("%d tags to delete of, least is 1, most is %d: %w", n, storage.MaxDeleteTags, errBadField)
	}
	if r.StartNs < model.MinTime || r.StartNs >= r.EndNs {
		return nil, fmt.Errorf("range to delete from %d to %d: the end must be later: %w", r.StartNs, r.EndNs, errBadField)
	}
	var ids []model.TagID
	for _, name := range r.Tags {
		tag, ok := s.db.Catalog().ByName(name)
		if !ok {
			return nil, fmt.Errorf("tag %.200q: %w", name, model.ErrTagNotFound)
		}
		ids = append(ids, tag.ID)
	}
	for _, id := range r.TagIds {
		if _, ok := s.db.Catalog().Tag(model.TagID(id)); !ok {
			return nil, fmt.Errorf("tag with id %d: %w", id, model.ErrTagNotFound)
		}
		ids = append(ids, model.TagID(id))
	}
	in := model.TimeRange{Start: r.StartNs, End: r.EndNs}
	offset, err := s.db.DeleteRange(ctx, ids, in, author, r.Reason)
	if err != nil {
		return nil, fmt.Errorf("delete %s of %d tags: %w", in, len(ids), err)
	}
	s.log.Warn("range deleted", "offset", offset, "tags", len(ids), "range", in.String(), "author", author, "reason", r.Reason)
	return &varvev1.DeleteRangeResponse{Offset: offset}, nil
}

func (s *adminService) UndeleteRange(ctx context.Context, r *varvev1.UndeleteRangeRequest) (*varvev1.UndeleteRangeResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	offset, err := s.db.Undelete(ctx, r.Offset, author, r.Reason)
	if err != nil {
		return nil, fmt.Errorf("undelete: %w", err)
	}
	s.log.Warn("range delete undone", "deleted", r.Offset, "offset", offset, "author", author, "reason", r.Reason)
	return &varvev1.UndeleteRangeResponse{Offset: offset}, nil
}

func (s *adminService) ListDeletes(_ *varvev1.ListDeletesRequest, stream grpc.ServerStreamingServer[varvev1.RangeDelete]) error {
	for _, d := range s.db.Deletes() {
		out := &varvev1.RangeDelete{Offset: d.Offset, IngestNs: d.Ingest, StartNs: d.In.Start, EndNs: d.In.End, Author: d.Author, Reason: d.Reason}
		for _, id := range d.Tags {
			name := ""
			if tag, ok := s.db.Catalog().Tag(id); ok {
				name = tag.Name
			}
			out.TagIds, out.Tags = append(out.TagIds, uint32(id)), append(out.Tags, name)
		}
		if u := d.Undone; u != nil {
			out.Undone = &varvev1.Undelete{Offset: u.Offset, IngestNs: u.Ingest, Author: u.Author, Reason: u.Reason}
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
	return nil
}

// whoAndWhy is the author of a call, the authenticated one where there is one, and checks author and reason.
func whoAndWhy(ctx context.Context, author, reason string) (string, error) {
	if who := callerOf(ctx); who.name != "" {
		author = who.name
	}
	if err := checkText("author", author, maxAuthorBytes); err != nil {
		return "", err
	}
	return author, checkText("reason", reason, maxReasonBytes)
}
