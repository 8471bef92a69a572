package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// CopyTo writes the records behind after, up to through, as a log of its own into the new directory dir of fs. All of it
// is durable when CopyTo returns. Offsets stay as they are, and lost records are as lost in the copy; a copy without
// records goes on at after+1.
func (l *Log) CopyTo(fs vfs.FS, dir string, after, through uint64) error {
	if high := l.HighWatermark(); through > high {
		return fmt.Errorf("copy log records up to %d: the highest durable one is %d", through, high)
	}
	if err := makeDir(fs, dir); err != nil {
		return err
	}
	w := &writer{
		fs: fs, dir: dir, max: l.o.SegmentBytes, table: &table{low: after + 1, end: after + 1}, logger: l.o.Logger, slow: l.o.OnSlow,
		mark: mark{logger: l.o.Logger}, first: after + 1, synced: after,
	}
	for w.id.nonce() == [4]byte{} {
		if _, err := io.ReadFull(l.o.Rand, w.id[:]); err != nil {
			return fmt.Errorf("make the id of a log copy: %w", err)
		}
	}
	f, err := fs.Create(fs.PathJoin(dir, markName), "log")
	if err != nil {
		return diskError("create the mark of a log copy", err)
	}
	w.mark.id, w.mark.file = w.id, f
	err = l.copyRecords(w, after+1, through+1)
	return errors.Join(err, w.close())
}

// copyRecords feeds w with the records [from, end) in writes of a bounded size.
func (l *Log) copyRecords(w *writer, from, end uint64) error {
	if err := w.ensure(); err != nil {
		return err
	}
	w.mark.write(w.synced)
	r, err := l.NewReader(from)
	if err != nil || from >= end {
		return err
	}
	defer r.Close()
	var frames []byte
	next := from
	for r.want < end {
		offset, payload, err := r.read()
		var lost *LostError
		if errors.As(err, &lost) {
			next = min(lost.Lost.End, end)
			continue
		}
		if err != nil {
			return fmt.Errorf("copy the log: %w", err)
		}
		frames = appendRecord(frames, w.id.nonce(), offset, checksum(payload), payload)
		next = offset + 1
		if int64(len(frames)) >= readBytes {
			if err := w.commit(frames, next); err != nil {
				return err
			}
			frames = frames[:0]
		}
	}
	// Also without frames: the mark of the copy then claims what was lost at the end.
	return w.commit(frames, next)
}
