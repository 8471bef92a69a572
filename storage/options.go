package storage

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvedb/varve/internal/disk"
	"github.com/varvedb/varve/storage/chunk"
)

func (o *Options) setDefaults() error {
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(err) }
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 384 << 20
	}
	for _, f := range []struct {
		name         string
		v            *int64
		std, low, up int64
	}{
		{"MemoryBytes", &o.MemoryBytes, 0, 32 << 20, 1 << 50},
		{"GenerationBytes", &o.GenerationBytes, min(o.MemoryBytes/6, 128<<20), 1 << 10, 1 << 30},
		{"SegmentBytes", &o.SegmentBytes, 64 << 20, 4 << 10, 4 << 30},
		{"BacklogBytes", &o.BacklogBytes, 64 << 20, 4 << 10, 1 << 40},
		{"AnnotationBytes", &o.AnnotationBytes, 64 << 20, 1 << 20, 1 << 40},
		{"GapBytes", &o.GapBytes, 64 << 20, 1 << 20, 1 << 40},
		{"SealBytes", &o.SealBytes, 1 << 30, 1, 1 << 60},
	} {
		if *f.v == 0 {
			*f.v = f.std
		}
		if *f.v < f.low || *f.v > f.up {
			return fmt.Errorf("%s is %d, must be from %d to %d", f.name, *f.v, f.low, f.up)
		}
	}
	if o.ScrubRate == 0 {
		o.ScrubRate = 4 << 20
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = 8 << 10
	}
	if o.GenerationSamples == 0 {
		o.GenerationSamples = 4_000_000
	}
	if o.GenerationAge == 0 {
		o.GenerationAge = 10 * time.Minute
	}
	if o.SealAfter == 0 {
		o.SealAfter = 15 * time.Minute
	}
	if o.UndeleteWindow == 0 {
		o.UndeleteWindow = 30 * 24 * time.Hour
	}
	if o.TierAfter == 0 {
		o.TierAfter = 30 * 24 * time.Hour
	}
	if o.SealedSamples == 0 {
		o.SealedSamples = 16 << 10
	}
	if o.SealedSamples < 64 || o.SealedSamples > chunk.MaxSamples/2 {
		return fmt.Errorf("SealedSamples is %d, must be from 64 to %d", o.SealedSamples, chunk.MaxSamples/2)
	}
	if o.SealGenerations == 0 {
		o.SealGenerations = 64
	}
	if o.MaxTags == 0 {
		o.MaxTags = 10_000_000
	}
	if o.MaxSources == 0 {
		o.MaxSources = 100_000
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 1 << 30
	}
	if o.BallastBytes == 0 {
		o.BallastBytes = 64 << 20
	}
	if o.KeepLogBytes < 0 {
		return fmt.Errorf("KeepLogBytes is %d: must not be negative", o.KeepLogBytes)
	}
	if o.DiskBudget < 0 {
		return fmt.Errorf("DiskBudget is %d: must not be negative", o.DiskBudget)
	}
	if o.UndeleteWindow < 0 {
		return fmt.Errorf("UndeleteWindow %s: must not be negative", o.UndeleteWindow)
	}
	if o.GenerationSamples < 1 || o.GenerationAge < time.Second || o.MaxTags < 1 || o.MaxSources < 1 {
		return fmt.Errorf("GenerationSamples %d, GenerationAge %s, MaxTags %d, MaxSources %d: must be at least 1, 1s, 1 and 1",
			o.GenerationSamples, o.GenerationAge, o.MaxTags, o.MaxSources)
	}
	return nil
}
