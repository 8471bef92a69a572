package log

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writer makes records durable. It has no goroutine and no lock: whoever calls it holds the log's turn, so the same
// calls in the same order make the same files.
//
// A segment is used from its making until it is full or something went wrong with it, never across a restart: what an
// earlier process left unsynced in a file cannot be known, so it is carried into a new file instead of being fsynced
// in the old one.
type writer struct {
	fs     vfs.FS
	dir    string
	id     logID
	max    int64 // bytes after which a segment is full
	table  *table
	mark   mark
	logger *slog.Logger
	slow   func(string)

	file   vfs.File // newest segment, nil if the next record begins a new one
	bytes  int64    // in it
	first  uint64   // of it, or of the one to be made
	jumped bool     // it says from where on the log counts
	serial uint64   // highest in use
	synced uint64   // highest offset that an fsync covered

	// carryEnd > first while there are records from first to carryEnd that were found on disk and that nothing claims
	// as fsynced. They move into the next segment to be made.
	carryEnd uint64
	buf      []byte // of carried frames
}

// next is the offset that the next record has to have.
func (w *writer) next() uint64 { return max(w.synced+1, w.first, w.carryEnd) }

// slowDisk is how long a write of records with its sync may take before it is said to be slow.
const slowDisk = 5 * time.Second

// commit makes consecutive frames durable. The frames start at next. After an error none of them counts as written.
func (w *writer) commit(frames []byte, end uint64) error {
	if w.file != nil && w.bytes >= w.max {
		w.retire()
	}
	if err := w.ensure(); err != nil {
		return err
	}
	stampFrames(frames, w.synced)
	n := int64(len(frames))
	defer time.AfterFunc(slowDisk, func() {
		w.slow(fmt.Sprintf("%d bytes of log records up to offset %d are being written and synced for %s", n, end-1, slowDisk))
	}).Stop()
	if _, err := w.file.Write(frames); err != nil {
		w.abandon()
		return diskError(fmt.Sprintf("write %d bytes of log records up to offset %d", n, end-1), err)
	}
	if err := w.file.SyncData(); err != nil {
		return &fatalError{fmt.Errorf("sync log records up to offset %d: %w", end-1, err)}
	}
	w.bytes += n
	w.publish(end)
	return nil
}

// publish tells mark and table that everything below end is durable. The mark comes first: whoever hears of the record
// can then rely on the claim, even if the process is killed right after.
func (w *writer) publish(end uint64) {
	w.synced = end - 1
	w.mark.write(w.synced)
	w.table.advance(end, w.bytes)
}

// ensure makes a segment if there is none to write to.
func (w *writer) ensure() error {
	if w.file != nil {
		return nil
	}
	w.serial++
	h := header{id: w.id, first: w.first, synced: w.synced, serial: w.serial}
	name := segmentName(h.first, h.serial)
	path := w.fs.PathJoin(w.dir, name)
	making := w.fs.PathJoin(w.dir, name+makingSuffix)
	f, err := w.fs.Create(making, "log")
	if err != nil {
		return diskError("create log segment "+name, err)
	}
	n, err := w.fill(f, h)
	if err == nil {
		if err = f.Sync(); err != nil {
			err = &fatalError{fmt.Errorf("sync new log segment %s: %w", name, err)}
		}
	}
	if err == nil {
		if err = w.fs.Rename(making, path); err != nil {
			err = diskError("name log segment "+name, err)
		}
	}
	if err != nil {
		f.Close()
		w.fs.Remove(making)
		return err
	}
	if err := syncDir(w.fs, w.dir); err != nil {
		f.Close()
		if !isFatal(err) {
			w.fs.Remove(path)
		}
		return err
	}
	w.file, w.bytes, w.jumped = f, n, h.jumps()
	w.table.add(segment{name: name, first: h.first, serial: h.serial, bytes: n})
	if w.jumped {
		w.table.jump(h.first)
		w.publish(h.first)
	}
	if w.carryEnd > h.first {
		w.publish(w.carryEnd)
		w.carryEnd = 0
	}
	return nil
}

// fill writes the header of a new segment and what it carries, and returns their length.
func (w *writer) fill(f vfs.File, h header) (int64, error) {
	n := int64(headerBytes)
	if _, err := f.Write(h.encode()); err != nil {
		return 0, diskError("write the header of a log segment", err)
	}
	if w.carryEnd <= h.first {
		return n, nil
	}
	r := &Reader{table: w.table, fs: w.fs, dir: w.dir, nonce: w.id.nonce(), want: h.first, upTo: w.carryEnd}
	defer r.Close()
	for offset := h.first; offset < w.carryEnd; offset++ {
		_, payload, err := r.read()
		if err != nil {
			return 0, fmt.Errorf("carry record %d into a new segment: %w", offset, err)
		}
		w.buf = appendRecord(w.buf[:0], h.id.nonce(), offset, checksum(payload), payload)
		stampFrames(w.buf, h.synced)
		n += int64(len(w.buf))
		if _, err := f.Write(w.buf); err != nil {
			return 0, diskError(fmt.Sprintf("carry record %d into a new segment", offset), err)
		}
	}
	w.buf = nil
	return n, nil
}

// retire stops writing to a full segment. All of it is synced.
func (w *writer) retire() {
	if err := w.file.Close(); err != nil {
		w.logger.Warn("close of a full log segment", "error", err)
	}
	w.file, w.first = nil, w.synced+1
}

// abandon stops writing to a segment that saw an error. What it holds behind synced is superseded by the first offset of
// the next one. If it holds nothing else it is removed, so that failing again and again does not fill the disk.
func (w *writer) abandon() {
	w.file.Close()
	w.file = nil
	if w.first <= w.synced || w.jumped {
		w.first = w.synced + 1
		return
	}
	w.table.dropNewest()
	name := segmentName(w.first, w.serial)
	if err := w.fs.Remove(w.fs.PathJoin(w.dir, name)); err != nil {
		w.logger.Warn("remove of a log segment that could not be written", "file", name, "error", err)
	}
}

// jump lets the log go on at offset.
func (w *writer) jump(offset uint64) error {
	if offset <= w.next() {
		return nil
	}
	if err := w.ensureCarried(); err != nil {
		return err
	}
	if w.file != nil {
		w.retire()
	}
	w.first = offset
	return w.ensure()
}

func (w *writer) ensureCarried() error {
	if w.carryEnd > w.first {
		return w.ensure()
	}
	return nil
}

// close makes the mark durable and lets go of the files.
func (w *writer) close() error {
	err := w.mark.sync()
	if w.mark.file != nil {
		err = errors.Join(err, w.mark.file.Close())
		w.mark.file = nil
	}
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
		w.file = nil
	}
	return err
}

// appendRecord adds a frame and its payload to b.
func appendRecord(b []byte, nonce [4]byte, offset uint64, sum uint32, payload ...[]byte) []byte {
	start := len(b)
	var header [frameBytes]byte
	b = append(b, header[:]...)
	for _, p := range payload {
		b = append(b, p...)
	}
	putFrame(b[start:], nonce, frame{length: uint32(len(b) - start - frameBytes), offset: offset, sum: sum})
	return b
}

// syncDir makes the names in a directory durable. An error of the sync itself is fatal.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s to sync it: %w", dir, err)
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return &fatalError{fmt.Errorf("sync directory %s: %w", dir, err)}
	}
	return d.Close()
}

// makeDir makes a directory whose name survives a power cut.
func makeDir(fs vfs.FS, dir string) error {
	sync := []string{fs.PathDir(dir)} // even if dir exists: nobody may have synced its parent
	for p := fs.PathDir(dir); ; p = fs.PathDir(p) {
		if _, err := fs.Stat(p); err == nil || p == fs.PathDir(p) {
			break
		}
		sync = append(sync, fs.PathDir(p))
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return diskError("make directory "+dir, err)
	}
	for _, p := range sync {
		if err := syncDir(fs, p); err != nil {
			return err
		}
	}
	return nil
}
