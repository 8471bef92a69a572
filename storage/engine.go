package storage

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatMajor is the Pebble format new stores are made with. A newer one is only taken up by a release that says so,
// because there is no way back.
const formatMajor = pebble.FormatTableFormatV6

// openEngine opens the LSM. It runs without a log of its own: the ingest log is the only one, and a generation is
// durable once a flush made it so. What is flushed is always a prefix of what was written.
func openEngine(fs vfs.FS, dir string, memory int64, log *slog.Logger, alarms *alarms) (*pebble.DB, error) {
	cache := pebble.NewCache(memory / 8)
	defer cache.Unref()
	o := &pebble.Options{
		FS:                 fs,
		DisableWAL:         true,
		FormatMajorVersion: formatMajor,
		Cache:              cache,
		// Most generations are larger than half a memtable and are flushed from their own batch without being copied.
		MemTableSize:                uint64(memory / 24),
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		Logger:                      engineLogger{log},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				alarms.raise("store_damaged", fmt.Sprintf("flush or compaction: %v", err))
			},
			DiskSlow: func(i pebble.DiskSlowInfo) { alarms.raise("disk_slow", i.String()) },
		},
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 32 << 20
	}
	o.TargetFileSizes[0] = 4 << 20
	for i := range o.Levels {
		// Chunks are packed already: compressing them again costs time and saves nothing.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		o.Levels[i].BlockSize = 32 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		if pebble.IsCorruptionError(err) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil, fmt.Errorf("open the store in %s: %w", dir, err)
	}
	return db, nil
}

// engineError names what was read when the LSM reports damage, and passes other errors on with the same context.
func engineError(what string, err error) error {
	if err == nil {
		return nil
	}
	if pebble.IsCorruptionError(err) && !errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("%s: %w: %w", what, ErrCorrupt, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// engineLogger passes on what the LSM has to say. Its Fatalf comes with a failed fsync, among others.
type engineLogger struct{ log *slog.Logger }

func (l engineLogger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...), "part", "lsm")
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "part", "lsm")
}

func (l engineLogger) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("lsm: "+format, args...))
}
