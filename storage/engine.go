package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/varvedb/varve/storage/keys"
)

// formatMajor is the Pebble format new stores are made with. A newer one is only taken up by a release that says so,
// because there is no way back.
const formatMajor = pebble.FormatTableFormatV6

// maxUncompacted is how many generations may wait for a compaction before writes do. It is a week of those of ten minutes, and ten hours of those of 35 s: a
// damaged table keeps compactions from its range of keys, and slower reads there are better than no ingest at all.
const maxUncompacted = 1000

// nothingToFlush is the error, which the LSM keeps to itself, that a flush of an empty memtable ends with. It is what becomes
// of the memtable beside a generation whose batch is flushed as it is, and no failure.
const nothingToFlush = "pebble: empty table"

// openEngine opens the LSM. It runs without a log of its own: the ingest log is the only one, and a generation is
// durable once a flush made it so. What is flushed is always a prefix of what was written.
func openEngine(dir string, opt *Options, alarms *alarms) (*pebble.DB, *pebble.Options, error) {
	cache := pebble.NewCache(opt.MemoryBytes / 4)
	defer cache.Unref()
	disk := &pausingFS{FS: opt.FS}
	compactions := &oneCompaction{}
	stalls := &stalls{alarms: alarms, name: "writes_stalled"}
	o := &pebble.Options{
		FS:         disk,
		DisableWAL: true,

		DisableAutomaticCompactions: opt.still,
		FormatMajorVersion:          formatMajor,
		Cache:                       cache,
		// Most generations are larger than half a memtable and are flushed from their own batch without being copied.
		MemTableSize:                uint64(opt.MemoryBytes / 24),
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       maxUncompacted,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		Logger:                      engineLogger{opt.Logger, opt.OnFatal},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				alarms.raise("writes_failing", fmt.Sprintf("flush or compaction: %v: tried again", err))
			},
			// Whichever failed waits before it is tried again, and not the other.
			FlushEnd: func(i pebble.FlushInfo) {
				failed := i.Err != nil && i.Err.Error() != nothingToFlush
				if disk.failed.Store(failed); !failed {
					alarms.clear("writes_failing")
				}
			},
			CompactionEnd: func(i pebble.CompactionInfo) {
				if compactions.failed.Store(i.Err != nil); i.Err == nil {
					alarms.clear("writes_failing")
				}
			},
			// Damage in a table is an alarm and an error to whoever reads there. The LSM's own answer, to end the process,
			// would take every other tag away with it.
			DataCorruption: func(i pebble.DataCorruptionInfo) { alarms.raise("store_damaged", i.String()) },
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				stalls.begin(i.Reason + ": generations wait for flushes, and ingest for them")
			},
			WriteStallEnd: stalls.end,
			DiskSlow:      func(i pebble.DiskSlowInfo) { alarms.slowDisk(i.String()) },
		},
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 32 << 20
	}
	o.TargetFileSizes[0] = 16 << 20
	// Small where the first level gets to. A compaction of small rows takes along what it can of that level, up to 25 of these,
	// as long as no more of the level it goes to is rewritten for it; chunks there gain nothing from that, and wait to be sealed.
	o.TargetFileSizes[1] = 2 << 20
	for i := range o.Levels {
		// Chunks are packed already: compressing them again costs time and saves nothing.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		o.Levels[i].BlockSize = opt.BlockBytes
		o.Levels[i].IndexBlockSize = 256 << 10
	}
	o.Experimental.SpanPolicyFunc = tablesBySpace
	o.Experimental.CompactionScheduler = compactions
	o.EnsureDefaults()
	db, err := pebble.Open(dir, o)
	if err != nil {
		if pebble.IsCorruptionError(err) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil, nil, fmt.Errorf("open the store in %s: %w", dir, err)
	}
	return db, o, nil
}

// tablesBySpace ends tables where the second copies of rows begin and end, and where the Data and SealedData spaces begin.
// A damaged table then never has both copies of a row. And what every generation rewrites never shares a table with
// chunks, nor those with sealed ones, so that compactions of the former do not drag the latter along: they wrote all of W1
// twice more.
func tablesBySpace(start []byte) (pebble.SpanPolicy, []byte, error) {
	for _, s := range []keys.Space{keys.MetaMirror, keys.Headers, keys.Data, keys.SealedData} {
		if end := []byte{byte(s)}; bytes.Compare(start, end) < 0 {
			return pebble.SpanPolicy{}, end, nil
		}
	}
	return pebble.SpanPolicy{}, nil, nil
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

// engineLogger passes on what the LSM has to say. Fatalf comes with a failed write or fsync of its manifest: what the
// disk holds is unknown then, and the process must end.
type engineLogger struct {
	log     *slog.Logger
	onFatal func(error)
}

func (l engineLogger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...), "part", "lsm")
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "part", "lsm")
}

func (l engineLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("lsm: "+format, args...)
	l.onFatal(err)
	panic(err) // the LSM does not expect Fatalf to return
}
