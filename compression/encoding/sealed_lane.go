package encoding

import (
	"encoding/binary"

	"github.com/klauspost/compress/huff0"
)

// A lane is bytes under one Huffman table. They are cut into groups of 4,096, each a four-stream huff0 block: its streams
// are 1,024 symbols each, so that a block of a column is a stream of its own and yet four are decoded at once, which is
// what makes huff0 fast. The last group takes what remains, up to 8,191 symbols in four streams of a quarter each.
//
//	table    as huff0 writes it
//	sizes    2 bytes a group, least significant first
//	groups   size 1: one symbol for all; size of its symbols: as they are; else jump table and streams
const laneGroup = 4 * SealedBlock

// laneLeast is the fewest symbols a lane is tried for: below, the table costs what it saves.
const laneLeast = 128

func laneGroups(n int) int { return max(n/laneGroup, 1) }

// laneBounds is the symbols of group g.
func laneBounds(n, g int) (from, to int) {
	if from = g * laneGroup; g == laneGroups(n)-1 {
		return from, n
	}
	return from, from + laneGroup
}

// appendLane writes a lane of symbols; false if they do not compress.
func (e *SealedEncoder) appendLane(dst, symbols []byte) ([]byte, bool) {
	if len(symbols) < laneLeast {
		return dst, false
	}
	e.huff.Reuse = huff0.ReusePolicyNone
	if _, _, err := huff0.Compress1X(symbols, &e.huff); err != nil {
		return dst, false
	}
	dst = append(dst, e.huff.OutTable...)
	sizes := len(dst)
	dst = append(dst, make([]byte, 2*laneGroups(len(symbols)))...)
	e.huff.Reuse = huff0.ReusePolicyMust
	for g := range laneGroups(len(symbols)) {
		from, to := laneBounds(len(symbols), g)
		group, at := symbols[from:to], len(dst)
		switch out, _, err := huff0.Compress4X(group, &e.huff); err {
		case nil:
			dst = append(dst, out...)
		case huff0.ErrUseRLE:
			dst = append(dst, group[0])
		default:
			dst = append(dst, group...)
		}
		binary.LittleEndian.PutUint16(dst[sizes+2*g:], uint16(len(dst)-at))
	}
	return dst, true
}

// laneReader hands out the symbols of a lane.
type laneReader struct {
	huff       *huff0.Scratch
	n          int
	sizes      []byte
	data       []byte
	symbols    []byte // from symbol at on
	at         int
	first, end int // the symbols that are wanted at all
}

func (l *laneReader) open(d *SealedDecoder, n int, b []byte, first, end int) bool {
	_, b, err := huff0.ReadTable(b, &d.huff)
	if err != nil || len(b) < 2*laneGroups(n) {
		return false
	}
	if d.symbols == nil {
		d.symbols = make([]byte, 2*laneGroup)
	}
	*l = laneReader{huff: &d.huff, n: n, sizes: b[:2*laneGroups(n)], data: b[2*laneGroups(n):], symbols: d.symbols[:0], first: first, end: end}
	for g := range min(first/laneGroup, laneGroups(n)-1) {
		size := l.size(g)
		if size > len(l.data) {
			return false
		}
		l.data = l.data[size:]
	}
	return true
}

func (l *laneReader) size(g int) int { return int(binary.LittleEndian.Uint16(l.sizes[2*g:])) }

// read is symbols [from, to), asked for in ascending order and never across the end of a group.
func (l *laneReader) read(from, to int) ([]byte, bool) {
	if to > l.at+len(l.symbols) && !l.decode(from) {
		return nil, false
	}
	if from < l.at || to > l.at+len(l.symbols) {
		return nil, false
	}
	return l.symbols[from-l.at : to-l.at], true
}

// decode decodes what is wanted of the group that symbol i is in.
func (l *laneReader) decode(i int) bool {
	g := min(i/laneGroup, laneGroups(l.n)-1)
	from, to := laneBounds(l.n, g)
	count, size := to-from, l.size(g)
	if size > len(l.data) {
		return false
	}
	b := l.data[:size]
	l.data = l.data[size:]
	l.at, l.symbols = from, l.symbols[:count]
	switch size {
	case 1:
		for i := range l.symbols {
			l.symbols[i] = b[0]
		}
		return true
	case count:
		copy(l.symbols, b)
		return true
	}
	if l.first <= from+count/2 && l.end > to-count/4 { // three streams one by one take as long as four at once
		_, err := l.huff.Decoder().Decompress4X(l.symbols[:count:count], b)
		return err == nil
	}
	return l.decodeStreams(b, max(l.first, from)-from, min(l.end, to)-from)
}

// decodeStreams decodes the streams of a group that symbols [from, to) of it are in.
func (l *laneReader) decodeStreams(b []byte, from, to int) bool {
	if len(b) < 6 {
		return false
	}
	jump, b := b[:6], b[6:]
	each := (len(l.symbols) + 3) / 4
	for s := range 4 {
		size := len(b)
		if s < 3 {
			size = min(int(binary.LittleEndian.Uint16(jump[2*s:])), len(b))
		}
		if lo, hi := s*each, min((s+1)*each, len(l.symbols)); lo < to && hi > from {
			out, err := l.huff.Decoder().Decompress1X(l.symbols[lo:lo:hi], b[:size])
			if err != nil || len(out) != hi-lo {
				return false
			}
		}
		b = b[size:]
	}
	return true
}
