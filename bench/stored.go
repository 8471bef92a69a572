package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// storedReport is the store after a flush: what the server says of it, and what the directory shows.
type storedReport struct {
	FlushSeconds    float64 `json:"flush_seconds"`
	FlushCPUSeconds float64 `json:"flush_cpu_seconds"`
	Samples         uint64  `json:"samples"`
	// BytesPerSample counts every file but the log's segments and the ballast, over the samples sent.
	BytesPerSample float64           `json:"bytes_per_sample"`
	Status         map[string]uint64 `json:"status_bytes"`    // by part, as AdminService.Status says
	Directory      map[string]uint64 `json:"directory_bytes"` // by file type and top-level name, as the directory shows
	Generations    uint64            `json:"generations"`
}

// measureStored flushes the store and looks at what it left.
func measureStored(ctx context.Context, conn *grpc.ClientConn, data string, samples uint64) (*storedReport, error) {
	admin := varvev1.NewAdminServiceClient(conn)
	flushed, err := admin.Flush(ctx, &varvev1.FlushRequest{})
	if err != nil {
		return nil, fmt.Errorf("flush: %w", err)
	}
	status, err := admin.Status(ctx, &varvev1.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask for the status: %w", err)
	}
	if status.AcceptedOffset != flushed.ArchivedOffset {
		return nil, fmt.Errorf("flush archived up to offset %d, %d is accepted", flushed.ArchivedOffset, status.AcceptedOffset)
	}
	if status.Samples != samples {
		return nil, fmt.Errorf("the store has %d samples, %d were sent", status.Samples, samples)
	}
	r := &storedReport{Samples: status.Samples, Generations: status.Generations, Status: map[string]uint64{
		"log": status.Bytes.GetLog(), "samples": status.Bytes.GetSamples(), "versions": status.Bytes.GetVersions(),
		"catalog": status.Bytes.GetCatalog(), "other": status.Bytes.GetOther(), "total": status.Bytes.GetTotal(),
	}}
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
