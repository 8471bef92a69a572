package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// storedReport is the store after a flush or a seal: what that took, what the server says of it, and what the directory
// shows.
type storedReport struct {
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	Samples    uint64  `json:"samples"`
	// WrittenBytesPerSample is what the process handed to the disk so far, log and all.
	WrittenBytesPerSample float64 `json:"written_bytes_per_sample"`
	// BytesPerSample counts every file but the log's segments and the ballast, over the samples sent.
	BytesPerSample float64           `json:"bytes_per_sample"`
	Status         map[string]uint64 `json:"status_bytes"`    // by part, as AdminService.Status says
	Directory      map[string]uint64 `json:"directory_bytes"` // by file type and top-level name, as the directory shows
	Generations    uint64            `json:"generations"`     // not sealed
	Seals          uint64            `json:"seals"`
}

// settle makes everything accepted rest in the store in some form, and returns the offset up to which it does.
type settle func(context.Context, varvev1.AdminServiceClient) (uint64, error)

func flush(ctx context.Context, admin varvev1.AdminServiceClient) (uint64, error) {
	r, err := admin.Flush(ctx, &varvev1.FlushRequest{})
	return r.GetArchivedOffset(), err
}

func seal(ctx context.Context, admin varvev1.AdminServiceClient) (uint64, error) {
	if _, err := admin.Seal(ctx, &varvev1.SealRequest{}); err != nil {
		return 0, err
	}
	offset, err := flush(ctx, admin) // the seal and what it removed become durable
	if err != nil {
		return 0, err
	}
	return offset, settled(ctx, admin)
}

// settled waits until the store gets no smaller any more, or for half a minute: files whose contents were removed go a
// little later.
func settled(ctx context.Context, admin varvev1.AdminServiceClient) error {
	before := uint64(0)
	for range 30 {
		status, err := admin.Status(ctx, &varvev1.StatusRequest{})
		if err != nil {
			return err
		}
		if status.Bytes.GetTotal() == before {
			return nil
		}
		before = status.Bytes.GetTotal()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// measureStored settles the store and looks at what that left.
func measureStored(ctx context.Context, s *server, conn *grpc.ClientConn, data string, samples uint64, how settle) (*storedReport, error) {
	admin := varvev1.NewAdminServiceClient(conn)
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	archived, err := how(ctx, admin)
	if err != nil {
		return nil, fmt.Errorf("settle the store: %w", err)
	}
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	status, err := admin.Status(ctx, &varvev1.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask for the status: %w", err)
	}
	if status.AcceptedOffset != archived {
		return nil, fmt.Errorf("archived up to offset %d, %d is accepted", archived, status.AcceptedOffset)
	}
	if status.Samples != samples {
		return nil, fmt.Errorf("the store has %d samples, %d were sent", status.Samples, samples)
	}
	r := &storedReport{
		Seconds: took.Seconds(), CPUSeconds: after.cpu - before.cpu, WrittenBytesPerSample: float64(after.writeBytes) / float64(samples),
		Samples: status.Samples, Generations: status.Generations, Seals: status.Seals,
	}
	r.Status = map[string]uint64{
		"log": status.Bytes.GetLog(), "samples": status.Bytes.GetSamples(), "sealed": status.Bytes.GetSealed(), "versions": status.Bytes.GetVersions(),
		"catalog": status.Bytes.GetCatalog(), "other": status.Bytes.GetOther(), "total": status.Bytes.GetTotal(),
	}
	var counted uint64
	if r.Directory, counted, err = measureDirectory(data); err != nil {
		return nil, err
	}
	r.BytesPerSample = float64(counted) / float64(samples)
	return r, nil
}

// measureDirectory adds up the files under dir by the first part of their path and their extension. counted leaves out
// what holds no samples or holds them only until they are archived: the ballast and the log.
func measureDirectory(dir string) (parts map[string]uint64, counted uint64, err error) {
	parts = map[string]uint64{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		first, rest, deeper := strings.Cut(filepath.ToSlash(name), "/")
		part := first
		if deeper {
			kind := filepath.Ext(rest)
			if kind == "" {
				kind, _, _ = strings.Cut(rest, "-")
				kind = "/" + kind
			}
			part += kind
		}
		parts[part] += uint64(info.Size())
		if first != "log" && !strings.HasPrefix(strings.ToLower(first), "ballast") {
			counted += uint64(info.Size())
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return parts, counted, nil
}
