package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The layout of a mark slot. It is on disk: see docs/format/log.md.
const (
	markMagicAt   = 0  // 8 bytes
	markVersionAt = 8  // 4 bytes
	markIDAt      = 16 // 16 bytes: id of the log
	markSyncedAt  = 32 // 8 bytes: highest offset that was fsynced when the slot was written
	markCheckAt   = 44 // 4 bytes: CRC-32C of bytes 0 to 43
	markBytes     = 48

	markMagic   = "VARVMARK"
	markVersion = 1
	markName    = "mark"
	markStride  = 4096 // the two slots are in blocks of their own, so that a torn write spoils one
)

// mark is the claim that outlives the newest records: up to which offset the log is fsynced. It is written after each
// fsync and fsynced itself only when the log is idle or closed. An old mark is never wrong, it only claims less; so
// nothing waits for it, and a mark that cannot be written is given up.
type mark struct {
	id     logID
	file   vfs.File // nil: given up
	slot   int64
	dirty  bool
	logger *slog.Logger
}

func encodeMark(id logID, synced uint64) []byte {
	b := make([]byte, markBytes)
	copy(b[markMagicAt:], markMagic)
	binary.LittleEndian.PutUint32(b[markVersionAt:], markVersion)
	copy(b[markIDAt:], id[:])
	binary.LittleEndian.PutUint64(b[markSyncedAt:], synced)
	binary.LittleEndian.PutUint32(b[markCheckAt:], crc32.Checksum(b[:markCheckAt], castagnoli))
	return b
}

func parseMark(b []byte) (id logID, synced uint64, err error) {
	if len(b) < markBytes || string(b[:markVersionAt]) != markMagic ||
		binary.LittleEndian.Uint32(b[markCheckAt:]) != crc32.Checksum(b[:markCheckAt], castagnoli) {
		return id, 0, fmt.Errorf("slot of the mark does not check: %w", ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[markVersionAt:]); v != markVersion {
		return id, 0, fmt.Errorf("mark has version %d, newest known is %d: %w", v, markVersion, ErrVersion)
	}
	synced = binary.LittleEndian.Uint64(b[markSyncedAt:])
	if synced >= maxOffset {
		return id, 0, fmt.Errorf("mark claims offset %d: %w", synced, ErrCorrupt)
	}
	return logID(b[markIDAt:]), synced, nil
}

// markClaim is what a mark file says.
type markClaim struct {
	id     logID
	synced uint64
	ok     bool
	spoilt bool // a slot holds something that does not check
}

// readMark reads the slot that claims most.
func readMark(f io.ReaderAt) (markClaim, error) {
	var best markClaim
	for slot := range int64(2) {
		b := make([]byte, markBytes)
		n, err := f.ReadAt(b, slot*markStride)
		if err != nil && err != io.EOF {
			return best, fmt.Errorf("read slot %d of the mark: %w", slot, err)
		}
		id, synced, err := parseMark(b[:n])
		if isVersion(err) {
			return best, err
		}
		switch {
		case err == nil && (!best.ok || synced > best.synced):
			best.id, best.synced, best.ok = id, synced, true
		case err != nil && len(bytes.Trim(b, "\x00")) > 0: // zeros were never written
			best.spoilt = true
		}
	}
	return best, nil
}

// write replaces the older slot.
func (m *mark) write(synced uint64) {
	if m.file == nil {
		return
	}
	m.slot = 1 - m.slot
	if _, err := m.file.WriteAt(encodeMark(m.id, synced), m.slot*markStride); err != nil {
		m.logger.Warn("the log's mark cannot be written and is given up until the next start", "error", err)
		m.file.Close()
		m.file = nil
		return
	}
	m.dirty = true
}

// sync makes the mark durable. An error is fatal.
func (m *mark) sync() error {
	if m.file == nil || !m.dirty {
		return nil
	}
	m.dirty = false
	if err := m.file.Sync(); err != nil {
		return &fatalError{fmt.Errorf("sync the mark: %w", err)}
	}
	return nil
}
