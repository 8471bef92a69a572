package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// adminService operates the server.
type adminService struct {
	varvev1.UnimplementedAdminServiceServer
	*Server
}

func (s *adminService) Status(context.Context, *varvev1.StatusRequest) (*varvev1.StatusResponse, error) {
	st := s.db.Status()
	out := &varvev1.StatusResponse{
		Version: s.options.Version, StartedNs: s.started.UnixNano(), Uuid: st.UUID.String(),
		Tags: uint64(st.Tags), Samples: st.Samples,
		Bytes: &varvev1.BytesOnDisk{
			Log: st.Bytes.Log, Samples: st.Bytes.Samples, Sealed: st.Bytes.Sealed, Versions: st.Bytes.Versions,
			Catalog: st.Bytes.Catalog, Other: st.Bytes.Other, Total: st.Bytes.Total, Moved: st.Bytes.Moved,
		},
		AcceptedOffset: st.Accepted, AppliedOffset: st.Applied, ArchivedOffset: st.Archived, CatalogRevision: st.Revision,
		Sources: uint64(st.Sources), Generations: uint64(st.Generations), Seals: uint64(st.Seals), MovedSeals: uint64(st.Moved), Partitions: uint64(st.Partitions),
		HeadSamples: st.HeadSamples, IngestStopped: st.IngestStopped,
		MemoryBytes: residentBytes(), Sessions: uint64(s.sessions.count()),
	}
	out.Scrub = scrubOf(&st.Scrub)
	if a, ok := s.sessions.alarm(); ok {
		st.Alarms = append(st.Alarms, a)
	}
	slices.SortStableFunc(st.Alarms, func(a, b storage.Alarm) int { return b.Since.Compare(a.Since) })
	for _, a := range st.Alarms {
		out.Alarms = append(out.Alarms, &varvev1.Alarm{Name: a.Name, Detail: a.Detail, SinceNs: a.Since.UnixNano(), Count: a.Count})
	}
	for _, l := range st.Lost {
		out.Lost = append(out.Lost, &varvev1.OffsetRange{First: l.First, End: l.End})
	}
	return out, nil
}

func scrubOf(x *storage.Scrub) *varvev1.Scrub {
	ns := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixNano()
	}
	return &varvev1.Scrub{
		Pass: x.Pass, Running: x.Running, BegunNs: ns(x.Begun), EndedNs: ns(x.Ended),
		Bytes: uint64(x.Bytes), TotalBytes: uint64(x.Total), Damaged: x.Damaged,
	}
}

// hashesPerMessage bounds a message of content hashes to some 100 kB, and to 1.2 MB with the longest names there are.
const hashesPerMessage = 1024

func (s *adminService) ContentHashes(r *varvev1.ContentHashesRequest, stream grpc.ServerStreamingServer[varvev1.ContentHashesResponse]) error {
	in := model.All
	if r.StartNs != 0 || r.EndNs != 0 {
		if in = (model.TimeRange{Start: r.StartNs, End: r.EndNs}); in.Empty() {
			return fmt.Errorf("content hashes: start %d is not before end %d: %w", r.StartNs, r.EndNs, errBadField)
		}
	}
	ctx := stream.Context()
	v, err := s.db.View(ctx, storage.Accepted)
	if err != nil {
		return fmt.Errorf("content hashes: %w", err)
	}
	defer v.Close()
	if lost := v.Lost(); len(lost) > 0 {
		return fmt.Errorf("content hashes: log offsets [%d, %d) are lost: %w", lost[0].First, lost[0].End, storage.ErrApplyStopped)
	}
	revision, tags, hash := s.db.Catalog().Digest()
	out := &varvev1.ContentHashesResponse{
		Uuid: s.db.Status().UUID.String(), Offset: v.Offset(), CatalogRevision: revision, Tags: uint64(tags), CatalogHash: hash,
	}
	for c, err := range v.Contents(ctx, in) {
		row := &varvev1.ContentHash{
			Day: c.Partition.Number, Tag: uint32(c.Tag), Samples: c.Samples, Versions: c.Versions, FirstNs: c.First, LastNs: c.Last, Hash: c.Hash,
		}
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				return fmt.Errorf("content hashes: %w", err)
			}
			row = &varvev1.ContentHash{Day: c.Partition.Number, Tag: uint32(c.Tag), Damage: err.Error()}
		}
		row.Name = s.nameOf(c.Tag)
		if out.Rows = append(out.Rows, row); len(out.Rows) == hashesPerMessage {
			if err := stream.Send(out); err != nil {
				return err
			}
			out = &varvev1.ContentHashesResponse{}
		}
	}
	return stream.Send(out)
}

// nameOf is the name of a tag that an id is of, or was of while it had another type; empty where there is none.
func (s *adminService) nameOf(id model.TagID) string {
	t, ok := s.db.Catalog().Tag(id)
	if ok && t.Of != 0 {
		t, ok = s.db.Catalog().Tag(t.Of)
	}
	if !ok {
		return ""
	}
	return t.Name
}

func (s *adminService) Flush(ctx context.Context, _ *varvev1.FlushRequest) (*varvev1.FlushResponse, error) {
	offset, err := s.db.Flush(ctx)
	if err != nil {
		return nil, fmt.Errorf("flush: %w", err)
	}
	return &varvev1.FlushResponse{ArchivedOffset: offset}, nil
}

func (s *adminService) Seal(ctx context.Context, _ *varvev1.SealRequest) (*varvev1.SealResponse, error) {
	offset, err := s.db.Seal(ctx)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &varvev1.SealResponse{ArchivedOffset: offset}, nil
}

func (s *adminService) Checkpoint(ctx context.Context, r *varvev1.CheckpointRequest) (*varvev1.CheckpointResponse, error) {
	dir, err := s.checkpointDir(r.Directory)
	if err != nil {
		return nil, err
	}
	offset, err := s.db.Checkpoint(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	s.log.Info("checkpoint made", "directory", dir, "offset", offset, "by", callerOf(ctx).name)
	return &varvev1.CheckpointResponse{Offset: offset, Directory: dir}, nil
}

// checkpointDir is where a checkpoint may go: right under the directory the server was told to allow. A name with more
// parts could lead out of it through a link.
func (s *adminService) checkpointDir(asked string) (string, error) {
	root := s.options.CheckpointDir
	if root == "" {
		return "", fmt.Errorf("checkpoints are not allowed; start the server with --checkpoint-dir: %w", errForbidden)
	}
	name := asked
	if filepath.IsAbs(asked) {
		rel, err := filepath.Rel(root, asked)
		if err != nil {
			return "", fmt.Errorf("checkpoint directory %.200q: must be inside %s: %w", asked, root, errForbidden)
		}
		name = rel
	}
	if name == "" || name == "." || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("checkpoint directory %.200q: must be a new name inside %s: %w", asked, root, errForbidden)
	}
	return filepath.Abs(filepath.Join(root, name))
}

func (s *adminService) AcceptLoss(ctx context.Context, r *varvev1.AcceptLossRequest) (*varvev1.AcceptLossResponse, error) {
	author, err := whoAndWhy(ctx, r.Author, r.Reason)
	if err != nil {
		return nil, err
	}
	lost := storage.OffsetRange{First: r.Range.GetFirst(), End: r.Range.GetEnd()}
	if err := s.db.AcceptLoss(ctx, lost, author, r.Reason); err != nil {
		return nil, fmt.Errorf("accept loss of offsets [%d, %d): %w", lost.First, lost.End, err)
	}
	s.log.Warn("loss accepted", "first", lost.First, "end", lost.End, "author", author, "reason", r.Reason)
	return &varvev1.AcceptLossResponse{}, nil
}
