package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

func (s *adminService) Purge(ctx context.Context, r *varvev1.PurgeRequest) (*varvev1.PurgeResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	ids, in, err := s.tagsAndRange(r, 1)
	if err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	offset, err := s.db.Purge(ctx, ids, in, author, r.Reason)
	if err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	s.log.Warn("purged", "offset", offset, "tags", len(ids), "range", in.String(), "author", author, "reason", r.Reason)
	if !r.NoWait {
		if err := s.db.FoldErased(ctx); err != nil {
			return nil, fmt.Errorf("purge: record %d is made, reads have nothing of it any more, and it is not yet off the disk: %w", offset, err)
		}
	}
	return &varvev1.PurgeResponse{Offset: offset}, nil
}

func (s *adminService) ListErasures(_ *varvev1.ListErasuresRequest, stream grpc.ServerStreamingServer[varvev1.Erasure]) error {
	for _, e := range s.db.Erasures() {
		if err := stream.Send(&varvev1.Erasure{
			Offset: e.Offset, IngestNs: e.Ingest, What: varvev1.ErasedWhat(e.What), Cause: varvev1.ErasedCause(e.Cause), Class: e.Class,
			TagCount: uint32(max(e.Tags, 0)), StartNs: e.In.Start, EndNs: e.In.End, Author: e.Author, Reason: e.Reason, OnDisk: e.OnDisk,
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *adminService) Hold(ctx context.Context, r *varvev1.HoldRequest) (*varvev1.HoldResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	ids, in, err := s.tagsAndRange(r, 0)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	offset, err := s.db.Hold(ctx, ids, in, author, r.Reason)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	s.log.Warn("hold made", "offset", offset, "tags", len(ids), "range", in.String(), "author", author, "reason", r.Reason)
	return &varvev1.HoldResponse{Offset: offset}, nil
}

func (s *adminService) ReleaseHold(ctx context.Context, r *varvev1.ReleaseHoldRequest) (*varvev1.ReleaseHoldResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	if r.Offset == 0 {
		return nil, fmt.Errorf("release hold: offset is 0: %w", errBadField)
	}
	offset, err := s.db.ReleaseHold(ctx, r.Offset, author, r.Reason)
	if err != nil {
		return nil, err
	}
	s.log.Warn("hold released", "hold", r.Offset, "offset", offset, "author", author, "reason", r.Reason)
	return &varvev1.ReleaseHoldResponse{Offset: offset}, nil
}

func (s *adminService) ListHolds(_ *varvev1.ListHoldsRequest, stream grpc.ServerStreamingServer[varvev1.HeldRange]) error {
	for _, h := range s.db.Holds() {
		out := &varvev1.HeldRange{Offset: h.Offset, IngestNs: h.Ingest, StartNs: h.In.Start, EndNs: h.In.End, Author: h.Author, Reason: h.Reason}
		out.TagIds, out.Tags = s.named(h.Tags)
		if err := stream.Send(out); err != nil {
			return err
		}
	}
	return nil
}

func (s *adminService) SetRetention(ctx context.Context, r *varvev1.SetRetentionRequest) (*varvev1.SetRetentionResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	rule := r.Rule
	if rule == nil {
		return nil, fmt.Errorf("set retention: no rule: %w", errBadField)
	}
	if len(rule.Class) > catalog.MaxRetentionBytes {
		return nil, fmt.Errorf("set retention: class of %d bytes, most is %d: %w", len(rule.Class), catalog.MaxRetentionBytes, errBadField)
	}
	offset, err := s.db.SetRetention(ctx, &storage.RetentionRule{
		Class: rule.Class, Versions: time.Duration(rule.VersionsNs), Samples: time.Duration(rule.SamplesNs), Rollups: time.Duration(rule.RollupsNs),
		Author: author, Reason: r.Reason,
	})
	if err != nil {
		return nil, err
	}
	s.log.Warn("retention set", "offset", offset, "class", rule.Class, "versions", time.Duration(rule.VersionsNs), "samples", time.Duration(rule.SamplesNs),
		"rollups", time.Duration(rule.RollupsNs), "author", author, "reason", r.Reason)
	return &varvev1.SetRetentionResponse{Offset: offset}, nil
}

func (s *adminService) ListRetention(context.Context, *varvev1.ListRetentionRequest) (*varvev1.ListRetentionResponse, error) {
	out := &varvev1.ListRetentionResponse{}
	for _, r := range s.db.Retention() {
		out.Rules = append(out.Rules, &varvev1.RetentionRule{
			Class: r.Class, VersionsNs: int64(r.Versions), SamplesNs: int64(r.Samples), RollupsNs: int64(r.Rollups),
			Offset: r.Offset, SinceNs: r.Since, Author: r.Author, Reason: r.Reason,
		})
	}
	return out, nil
}
