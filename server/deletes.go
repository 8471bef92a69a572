package server

import (
	"context"
	"fmt"
	"slices"

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
	ids, in, err := s.tagsAndRange(r, 1)
	if err != nil {
		return nil, fmt.Errorf("delete: %w", err)
	}
	offset, err := s.db.DeleteRange(ctx, ids, in, author, r.Reason)
	if err != nil {
		return nil, fmt.Errorf("delete %s of %d tags: %w", in, len(ids), err)
	}
	s.log.Warn("range deleted", "offset", offset, "tags", len(ids), "range", in.String(), "author", author, "reason", r.Reason)
	return &varvev1.DeleteRangeResponse{Offset: offset}, nil
}

// tagsAndRange is what a request says of tags, at least so many, and a range.
func (s *adminService) tagsAndRange(r interface {
	GetTags() []string
	GetTagIds() []uint32
	GetStartNs() int64
	GetEndNs() int64
}, least int) (ids []model.TagID, in model.TimeRange, err error) {
	in = model.TimeRange{Start: r.GetStartNs(), End: r.GetEndNs()}
	if in.Start < model.MinTime || in.Empty() {
		return nil, in, fmt.Errorf("range from %d to %d: the end must be later: %w", in.Start, in.End, errBadField)
	}
	tags, err := s.tagIDs(r.GetTags(), r.GetTagIds(), least)
	for _, id := range tags {
		if tag, ok := s.tagOf(id); ok {
			ids = append(ids, tag.EpochIDs()...)
		}
	}
	return ids, in, err
}

// tagIDs is the ids of tags, at least so many.
func (s *Server) tagIDs(names []string, given []uint32, least int) (ids []model.TagID, err error) {
	if n := len(names) + len(given); n < least || n > storage.MaxDeleteTags {
		return nil, fmt.Errorf("%d tags, least is %d, most is %d: %w", n, least, storage.MaxDeleteTags, errBadField)
	}
	for _, name := range names {
		tag, ok := s.db.Catalog().ByName(name)
		if !ok {
			return nil, fmt.Errorf("tag %.200q: %w", name, model.ErrTagNotFound)
		}
		ids = append(ids, tag.ID)
	}
	for _, id := range given {
		tag, ok := s.tagOf(model.TagID(id))
		if !ok {
			return nil, fmt.Errorf("tag with id %d: %w", id, model.ErrTagNotFound)
		}
		ids = append(ids, tag.ID)
	}
	return ids, nil
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
		out.TagIds, out.Tags = s.named(d.Tags)
		if u := d.Undone; u != nil {
			out.Undone = &varvev1.Undelete{Offset: u.Offset, IngestNs: u.Ingest, Author: u.Author, Reason: u.Reason}
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
	return nil
}

// named is the ids of tags and their current names, of several epochs of one once.
func (s *adminService) named(tags []model.TagID) (ids []uint32, names []string) {
	for _, id := range tags {
		name := ""
		if tag, ok := s.tagOf(id); ok {
			if tag.ID != id && slices.Contains(tags, tag.ID) {
				continue
			}
			id, name = tag.ID, tag.Name
		}
		ids, names = append(ids, uint32(id)), append(names, name)
	}
	return ids, names
}

// whoAndWhy is the author of a call, and checks author and reason.
func whoAndWhy(ctx context.Context, author, reason string) (string, error) {
	author, err := authorOf(ctx, author)
	if err != nil {
		return "", err
	}
	return author, checkText("reason", reason, maxReasonBytes)
}

// authorOf is the author of a call, the authenticated one where there is one, else the one it names.
func authorOf(ctx context.Context, author string) (string, error) {
	if who := callerOf(ctx); who.name != "" {
		author = who.name
	}
	return author, checkText("author", author, maxAuthorBytes)
}
