package log

import (
	"encoding/binary"
	"hash/crc32"
)

// The layout of a frame. It is on disk: see docs/format/log.md. All numbers are little-endian.
const (
	frameNonce  = 0  // 4 bytes: the first four of the log's id
	frameLength = 4  // 4 bytes: of the payload
	frameOffset = 8  // 8 bytes: offset of the record, never 0
	frameSynced = 16 // 8 bytes: highest offset that was fsynced when this frame was written
	frameSum    = 24 // 4 bytes: CRC-32C of the payload
	frameCheck  = 28 // 4 bytes: CRC-32C of bytes 0 to 27
	frameBytes  = 32 // the payload follows

	// maxPayload is the longest payload any release writes.
	maxPayload = 1<<28 - 1
	// maxOffset is above every offset. A record a nanosecond gets nowhere near it, so that arithmetic cannot wrap.
	maxOffset = 1 << 62
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is the header of a record.
type frame struct {
	length uint32
	offset uint64
	synced uint64
	sum    uint32
}

// size is how many bytes the frame and its payload take.
func (f frame) size() int64 { return frameBytes + int64(f.length) }

// putFrame writes a header whose synced and check are left for stampFrames.
func putFrame(b []byte, nonce [4]byte, f frame) {
	copy(b[frameNonce:], nonce[:])
	binary.LittleEndian.PutUint32(b[frameLength:], f.length)
	binary.LittleEndian.PutUint64(b[frameOffset:], f.offset)
	binary.LittleEndian.PutUint32(b[frameSum:], f.sum)
}

// stampFrames completes the headers of consecutive frames as late as possible: the higher the offset they claim as
// synced, the less a later reader takes for a torn tail.
func stampFrames(b []byte, synced uint64) {
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b[frameLength:])
		binary.LittleEndian.PutUint64(b[frameSynced:], synced)
		binary.LittleEndian.PutUint32(b[frameCheck:], crc32.Checksum(b[:frameCheck], castagnoli))
		b = b[frameBytes+int(n):]
	}
}

// parseFrame reads a header. It reports false for anything no release writes.
func parseFrame(b []byte, nonce [4]byte) (frame, bool) {
	if len(b) < frameBytes || [4]byte(b[frameNonce:]) != nonce {
		return frame{}, false
	}
	if binary.LittleEndian.Uint32(b[frameCheck:]) != crc32.Checksum(b[:frameCheck], castagnoli) {
		return frame{}, false
	}
	f := frame{
		length: binary.LittleEndian.Uint32(b[frameLength:]),
		offset: binary.LittleEndian.Uint64(b[frameOffset:]),
		synced: binary.LittleEndian.Uint64(b[frameSynced:]),
		sum:    binary.LittleEndian.Uint32(b[frameSum:]),
	}
	return f, f.length <= maxPayload && f.offset != 0 && f.offset < maxOffset && f.synced < f.offset
}
