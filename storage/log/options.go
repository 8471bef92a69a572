package log

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/internal/disk"
)

// Options tune a Log. The zero value of a field means its default.
type Options struct {
	// FS is where the files live. The default is the operating system's.
	FS vfs.FS
	// Rand makes the id of a new log. The default is crypto/rand.
	Rand io.Reader
	// Logger gets what an operator should know. The default discards.
	Logger *slog.Logger
	// OnFatal is called, at most once and after every waiting commit has got the error, when the process must not go on:
	// an fsync failed, so what the disk holds is unknown. It must not return into a process that goes on acknowledging.
	// The default panics.
	OnFatal func(error)
	// OnSlow is called, from a goroutine of its own, when records are not on the disk slowDisk after their write began, and says which. The
	// write goes on. The default does nothing.
	OnSlow func(what string)

	// Applied is the highest offset that the store holds durably. It counts as a claim that the log was once fsynced up to
	// there: new records get higher offsets even if the log is gone, and what the log lacks is reported as lost.
	Applied uint64

	// SegmentBytes is the size after which a segment is full. Space comes back in whole segments; each costs three syncs to
	// make. The default is 64 MiB, the range 4 KiB to 4 GiB.
	SegmentBytes int64
	// UnsyncedBytes bounds what is accepted and not yet on the disk; Submit waits while it is reached. It is also the most
	// that one write holds, up to one record, and twice as much memory is used. The default is 8 MiB, the least 4 KiB.
	UnsyncedBytes int64
	// BacklogBytes bounds what is accepted and not yet applied; Submit answers ErrBacklogFull while it is reached. The
	// default is 64 MiB, the least 4 KiB.
	BacklogBytes int64
	// MaxRecordBytes is the largest payload that Submit takes. The default is 32 MiB, the most 256 MiB - 1.
	MaxRecordBytes int64
}

func (o *Options) setDefaults() error {
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnSlow == nil {
		o.OnSlow = func(string) {}
	}
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(err) }
	}
	for _, f := range []struct {
		name          string
		value         *int64
		def, min, max int64
	}{
		{"SegmentBytes", &o.SegmentBytes, 64 << 20, 4 << 10, 4 << 30},
		{"UnsyncedBytes", &o.UnsyncedBytes, 8 << 20, 4 << 10, 1 << 30},
		{"BacklogBytes", &o.BacklogBytes, 64 << 20, 4 << 10, 1 << 50},
		{"MaxRecordBytes", &o.MaxRecordBytes, 32 << 20, 1, maxPayload},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < f.min || *f.value > f.max {
			return fmt.Errorf("log option %s is %d: must be from %d to %d", f.name, *f.value, f.min, f.max)
		}
	}
	if o.Applied >= maxOffset {
		return fmt.Errorf("log option Applied is %d: must be below %d", o.Applied, uint64(maxOffset))
	}
	return nil
}
