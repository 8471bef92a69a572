package encoding

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// The codecs of a sealed column of text or bytes. They reach disk and are never renumbered; zero is never written.
//
// Plain is the lengths as an integer column, where the bytes of every block end, and the bytes in frames of whole blocks.
const (
	sealedBlobPlain      = 1
	sealedBlobDictionary = 2 // distinct values as plain, ranks as an integer column
)

// A frame of bytes is stored as it is or as one zstd frame, whichever is smaller.
const (
	frameBytes  = 1
	frameZstd   = 2
	frameLeast  = 64        // below, zstd's own header costs more than it saves
	frameTarget = 128 << 10 // blocks are added to a frame until it has so many bytes
	frameRatio  = 1024      // most that a byte of zstd stands for: the reader allocates no more than that
)

// AppendBlobs encodes text or bytes. Nil and empty are the same.
func (e *SealedEncoder) AppendBlobs(dst []byte, v [][]byte) []byte {
	distinct, indexes, ok := dictionaryOf(v)
	if !ok {
		return e.appendPlainBlobs(append(dst, sealedBlobPlain), v)
	}
	dst = binary.AppendUvarint(append(dst, sealedBlobDictionary), uint64(len(distinct)))
	at := len(dst)
	dst = insertLength(e.appendPlainBlobs(dst, distinct), at)
	return e.appendIntColumn(dst, indexes)
}

func (e *SealedEncoder) appendPlainBlobs(dst []byte, v [][]byte) []byte {
	words := sized(e.words, len(v))
	e.words = words
	for i, x := range v {
		words[i] = uint64(len(x))
	}
	at := len(dst)
	dst = insertLength(e.nested().AppendInts(dst, words), at) // not e: it may use words itself
	ends := sized(e.starts, blocksOf(len(v)))
	e.starts = ends
	total := uint64(0)
	for k := range ends {
		for _, x := range v[k*SealedBlock : min((k+1)*SealedBlock, len(v))] {
			total += uint64(len(x))
		}
		ends[k] = total
	}
	width := uint(bits.Len64(total))
	dst = appendLow(append(dst, byte(width)), ends, 0, width)
	from := 0
	raw := e.bytes[:0]
	for k := range ends {
		for _, x := range v[k*SealedBlock : min((k+1)*SealedBlock, len(v))] {
			raw = append(raw, x...)
		}
		if len(raw) >= frameTarget || k == len(ends)-1 {
			dst = e.appendFrame(dst, k+1-from, raw)
			from, raw = k+1, raw[:0]
		}
	}
	e.bytes = raw
	return dst
}

// appendFrame writes how many blocks are in a frame, how it is stored, and its size.
func (e *SealedEncoder) appendFrame(dst []byte, blocks int, raw []byte) []byte {
	dst = append(dst, byte(blocks))
	if len(raw) >= frameLeast {
		if e.zstd == nil {
			e.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10), zstd.WithSingleSegment(true)) // so that a frame says its size
		}
		at := len(dst)
		dst = e.zstd.EncodeAll(raw, append(dst, frameZstd))
		if size := len(dst) - at - 1; size < len(raw)-len(raw)/16 && size >= len(raw)/frameRatio {
			return insertLength(dst, at+1)
		}
		dst = dst[:at]
	}
	dst = binary.AppendUvarint(append(dst, frameBytes), uint64(len(raw)))
	return append(dst, raw...)
}

// Blobs decodes blocks [from, to) of a column of n values, reusing the memory of dst and arena. The values share arena,
// so b may be reused.
func (d *SealedDecoder) Blobs(dst [][]byte, arena []byte, n int, b []byte, from, to int) (values [][]byte, newArena []byte, err error) {
	if err := checkBlocks("blobs", -1, n, b, from, to); err != nil {
		return nil, nil, err
	}
	count := min(to*SealedBlock, n) - from*SealedBlock
	var ok, known bool
	switch b[0] {
	case sealedBlobPlain:
		values, newArena, ok, known = d.readPlainBlobs(dst, arena, n, b[1:], from, to)
	case sealedBlobDictionary:
		values, newArena, ok, known = d.readBlobDictionary(dst, arena, n, b[1:], from, to)
	case 0:
		known = true
	}
	if !ok {
		return nil, nil, columnError("blobs", n, b, ok, known)
	}
	if len(values) != count {
		return nil, nil, fmt.Errorf("decode sealed blobs: %d of %d: %w", len(values), count, ErrCorrupt)
	}
	return values, newArena, nil
}

func (d *SealedDecoder) readPlainBlobs(dst [][]byte, arena []byte, n int, b []byte, from, to int) (values [][]byte, newArena []byte, ok, known bool) {
	size, b, ok := uvarint(b)
	if !ok || size == 0 || size > uint64(len(b)) {
		return nil, nil, false, true
	}
	count := min(to*SealedBlock, n) - from*SealedBlock
	d.lengths = sized(d.lengths, count)
	if ok, known := d.nested().readInts(d.lengths, n, b[:size], from, to); !ok { // not d: it may use lengths itself
		return nil, nil, false, known
	}
	width, ends, b, ok := packedStream(blocksOf(n), b[size:])
	if !ok {
		return nil, nil, false, true
	}
	endOf := func(block int) uint64 {
		if block == 0 {
			return 0
		}
		return lowAt(ends, block-1, width)
	}
	arena = arena[:0]
	for block := 0; block < to; {
		if len(b) < 2 {
			return nil, nil, false, true
		}
		next, how := block+int(b[0]), b[1]
		size, rest, ok := uvarint(b[2:])
		if !ok || next == block || next > blocksOf(n) || size > uint64(len(rest)) || endOf(next) < endOf(block) {
			return nil, nil, false, true
		}
		frame := rest[:size]
		b = rest[size:]
		if next > from {
			raw := endOf(next) - endOf(block)
			if how != frameBytes && how != frameZstd {
				return nil, nil, false, how == 0
			}
			if arena, ok = d.readFrame(arena, frame, how, raw, block, next, from, to, endOf); !ok {
				return nil, nil, false, true
			}
		}
		block = next
	}
	dst = sized(dst, count)
	at := uint64(0)
	for i, l := range d.lengths {
		if l > uint64(len(arena))-at {
			return nil, nil, false, true
		}
		dst[i] = arena[at : at+l : at+l]
		at += l
	}
	return dst, arena, at == uint64(len(arena)), true
}

// readFrame appends the bytes of blocks [from, to), as far as they are in the frame of blocks [block, next), to arena.
func (d *SealedDecoder) readFrame(arena, frame []byte, how byte, raw uint64, block, next, from, to int, endOf func(int) uint64) ([]byte, bool) {
	begin := len(arena)
	if how == frameBytes {
		if raw != uint64(len(frame)) {
			return nil, false
		}
		arena = append(arena, frame...)
	} else {
		var head zstd.Header
		if raw > uint64(len(frame))*frameRatio+frameRatio || head.Decode(frame) != nil || !head.HasFCS || head.FrameContentSize != raw {
			return nil, false
		}
		if d.zstd == nil {
			d.zstd, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		}
		var err error
		if arena, err = d.zstd.DecodeAll(frame, arena); err != nil || uint64(len(arena)-begin) != raw {
			return nil, false
		}
	}
	// What stands before and behind the blocks that are wanted goes.
	low, high := uint64(0), raw
	if block < from {
		low = endOf(from) - endOf(block)
	}
	if next > to {
		high = endOf(to) - endOf(block)
	}
	if low > high || high > raw {
		return nil, false
	}
	kept := copy(arena[begin:], arena[begin+int(low):begin+int(high)])
	return arena[:begin+kept], true
}

func (d *SealedDecoder) readBlobDictionary(dst [][]byte, arena []byte, n int, b []byte, from, to int) (values [][]byte, newArena []byte, ok, known bool) {
	distinct, inside, ranks, ok := splitDictionary(n, b)
	if !ok {
		return nil, nil, false, true
	}
	d.blobs, arena, ok, known = d.readPlainBlobs(d.blobs, arena, distinct, inside, 0, blocksOf(distinct))
	if !ok {
		return nil, nil, false, known
	}
	count := min(to*SealedBlock, n) - from*SealedBlock
	d.lengths = sized(d.lengths, count)
	if ok, known := d.nested().readIntColumn(d.lengths, n, ranks, from, to); !ok {
		return nil, nil, false, known
	}
	dst = sized(dst, count)
	for i, rank := range d.lengths {
		if rank >= uint64(distinct) {
			return nil, nil, false, true
		}
		dst[i] = d.blobs[rank]
	}
	return dst, arena, true, true
}
