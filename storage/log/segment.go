package log

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The layout of a segment header. It is on disk: see docs/format/log.md. Magic, version and check keep their places in
// every version.
const (
	headerMagic   = 0  // 8 bytes
	headerVersion = 8  // 4 bytes
	headerZero    = 12 // 4 bytes, always 0
	headerID      = 16 // 16 bytes: id of the log
	headerFirst   = 32 // 8 bytes: lowest offset this segment may hold
	headerSynced  = 40 // 8 bytes: highest offset that was fsynced when the segment was made
	headerSerial  = 48 // 8 bytes: number of the segment within the log, from 1
	headerZero2   = 56 // 4 bytes, always 0
	headerCheck   = 60 // 4 bytes: CRC-32C of bytes 0 to 59
	headerBytes   = 64

	segmentMagic   = "VARVELOG"
	segmentVersion = 1

	segmentSuffix = ".log"
	makingSuffix  = ".making" // a segment until its header and what it carries are durable
)

// logID tells the segments of one log from those of any other. Its first four bytes begin every frame.
type logID [16]byte

func (id logID) nonce() [4]byte { return [4]byte(id[:4]) }

func (id logID) String() string { return hex.EncodeToString(id[:]) }

// header is what a segment says of itself.
type header struct {
	id     logID
	first  uint64
	synced uint64
	serial uint64
}

// jumps reports whether offsets in front of the segment were skipped on purpose.
func (h header) jumps() bool { return h.first > h.synced+1 }

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b[headerMagic:], segmentMagic)
	binary.LittleEndian.PutUint32(b[headerVersion:], segmentVersion)
	copy(b[headerID:], h.id[:])
	binary.LittleEndian.PutUint64(b[headerFirst:], h.first)
	binary.LittleEndian.PutUint64(b[headerSynced:], h.synced)
	binary.LittleEndian.PutUint64(b[headerSerial:], h.serial)
	binary.LittleEndian.PutUint32(b[headerCheck:], crc32.Checksum(b[:headerCheck], castagnoli))
	return b
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerBytes {
		return header{}, fmt.Errorf("segment header has %d bytes, needs %d: %w", len(b), headerBytes, ErrCorrupt)
	}
	if string(b[:headerVersion]) != segmentMagic {
		return header{}, fmt.Errorf("segment header begins with % x: %w", b[:headerVersion], ErrCorrupt)
	}
	want, got := binary.LittleEndian.Uint32(b[headerCheck:]), crc32.Checksum(b[:headerCheck], castagnoli)
	if want != got {
		return header{}, fmt.Errorf("segment header has checksum %08x, states %08x: %w", got, want, ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[headerVersion:]); v != segmentVersion {
		return header{}, fmt.Errorf("segment header has version %d, newest known is %d: %w", v, segmentVersion, ErrVersion)
	}
	h := header{
		id:     logID(b[headerID:]),
		first:  binary.LittleEndian.Uint64(b[headerFirst:]),
		synced: binary.LittleEndian.Uint64(b[headerSynced:]),
		serial: binary.LittleEndian.Uint64(b[headerSerial:]),
	}
	if h.first == 0 || h.first >= maxOffset || h.synced >= h.first {
		return header{}, fmt.Errorf("segment header has first %d and synced %d: %w", h.first, h.synced, ErrCorrupt)
	}
	return h, nil
}

// segmentName sorts like (first, serial). The serial keeps two segments with one first offset apart, which is what a
// failed write leaves.
func segmentName(first, serial uint64) string {
	return fmt.Sprintf("%016x-%08x%s", first, serial, segmentSuffix)
}

func parseSegmentName(name string) (first, serial uint64, ok bool) {
	base, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(base, "-")
	if !ok {
		return 0, 0, false
	}
	first, err1 := strconv.ParseUint(a, 16, 64)
	serial, err2 := strconv.ParseUint(b, 16, 64)
	if err1 != nil || err2 != nil || first == 0 || first >= maxOffset || segmentName(first, serial) != name {
		return 0, 0, false
	}
	return first, serial, true
}

// Segment describes one file of the log.
type Segment struct {
	File  string // name within the directory
	First uint64 // lowest offset it may hold
	Bytes int64  // durable bytes
}

// segment is a Segment as the table keeps it. Its records end where the next segment begins, whatever else the file holds.
type segment struct {
	name   string
	first  uint64
	serial uint64
	bytes  int64
}
