// Package chunk packs a run of samples of one tag, or several short runs of different tags, into bytes that stand for
// themselves.
//
// # The path
//
//	head → Encoder.Append → a chunk (→ Packer, for tags of few samples) → a value in the store → Inspect, Find, Decode → samples
//	chunks → SealedEncoder.Append → a sealed chunk (→ Packer) → a value in the store → Inspect, Find, SealedDecoder.Decode → samples
//
// # Promises
//
//   - Every sample comes back bit for bit: time, value, quality, null, seq, and the source and second it came from.
//   - Every chunk, directory of a pack, and list of versions or deletions ends on a CRC-32C of all its bytes. Damage gives
//     [ErrCorrupt], bytes of a newer release [ErrVersion]; neither ever gives a wrong value, a panic, or more memory than
//     the limits of a chunk allow.
//   - A chunk of at least 16 Good samples from one source costs at most 16 bytes beside its columns of times and values.
//
// # The parts
//
// chunk.go has the chunk, sealed.go the sealed chunk, pack.go the pack, versions.go and deletions.go the rows of the version and deletion kinds. The
// columns inside are package encoding's. docs/format/chunk.md describes every byte.
package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/varvedb/varve/compression/encoding"
)

var (
	// ErrCorrupt is returned for bytes that are not what any release wrote.
	ErrCorrupt = errors.New("chunk is damaged")
	// ErrVersion is returned for bytes that a newer release wrote.
	ErrVersion = errors.New("chunk was written by a newer release")
)

// The first byte of everything this package writes: kind in the high four bits, version in the low four. They reach disk
// and are never renumbered; zero has no meaning in either half.
const (
	kindChunk     = 0x10
	kindPack      = 0x20
	kindVersions  = 0x30
	kindDeletions = 0x40
	kindSealed    = 0x50
	kindMask      = 0xF0

	version     = 1
	versionMask = 0x0F
)

const crcBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends the checksum of dst[from:].
func seal(dst []byte, from int) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// open checks first byte and checksum and returns what stands between them. The checksum is looked at first: a damaged
// first byte must not pass for a newer version.
func open(b []byte, kind byte) ([]byte, error) {
	if len(b) < 1+crcBytes {
		return nil, fmt.Errorf("%d bytes, least is %d: %w", len(b), 1+crcBytes, ErrCorrupt)
	}
	body, sum := b[:len(b)-crcBytes], binary.LittleEndian.Uint32(b[len(b)-crcBytes:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("checksum of %d bytes is %08x, stored is %08x: %w", len(body), got, sum, ErrCorrupt)
	}
	if err := checkFirst(body[0], kind); err != nil {
		return nil, err
	}
	return body[1:], nil
}

func checkFirst(first, kind byte) error {
	switch v := first & versionMask; {
	case first&kindMask != kind || v == 0:
		return fmt.Errorf("first byte %#02x, want kind %#02x: %w", first, kind, ErrCorrupt)
	case v > version:
		return fmt.Errorf("version %d, newest known is %d: %w", v, version, ErrVersion)
	}
	return nil
}

// columnErr gives an error of package encoding this package's sentinel too.
func columnErr(column string, err error) error {
	if errors.Is(err, encoding.ErrVersion) {
		return fmt.Errorf("%s: %w: %w", column, ErrVersion, err)
	}
	return fmt.Errorf("%s: %w: %w", column, ErrCorrupt, err)
}

// uvarint reads a number and returns what stands behind it.
func uvarint(b []byte, what string) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%s: no number in %d bytes: %w", what, len(b), ErrCorrupt)
	}
	return v, b[n:], nil
}

// varint reads a zigzag number and returns what stands behind it.
func varint(b []byte, what string) (int64, []byte, error) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%s: no number in %d bytes: %w", what, len(b), ErrCorrupt)
	}
	return v, b[n:], nil
}
