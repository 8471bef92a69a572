package encoding

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The codecs of an integer column. They reach disk and are never renumbered; zero is never written.
const (
	intConstant     = 1 // one value for all
	intRuns         = 2 // value and length of each run
	intPacked       = 3 // distance from the least value, in a fixed number of bits
	intDelta        = 4 // first value; distance of each difference from the least difference, in a fixed number of bits
	intDeltaBuckets = 5 // first value; differences in a bucket stream
	intGrid         = 6 // first value and one difference for all
	intDelta2       = 7 // first value, first difference; differences of differences in a bucket stream
)

// intStats is what one pass over a column finds out.
type intStats struct {
	runs              int
	runBytes          int // of intRuns, without codec byte and number of runs
	least, most       int64
	leastStep, upStep int64 // least and most difference
	delta, delta2     histogram
}

func newIntStats(v []uint64) *intStats {
	s := &intStats{least: int64(v[0]), most: int64(v[0]), runs: 1}
	start, step := 0, int64(0)
	for i := 1; i < len(v); i++ {
		x, d := int64(v[i]), int64(v[i]-v[i-1])
		if d != 0 {
			s.runs++
			s.runBytes += uvarintLen(zigzag(int64(v[start]))) + uvarintLen(uint64(i-start))
			start = i
		}
		s.least, s.most = min(s.least, x), max(s.most, x)
		s.delta.add(d)
		if i == 1 {
			s.leastStep, s.upStep = d, d
		} else {
			s.leastStep, s.upStep = min(s.leastStep, d), max(s.upStep, d)
			s.delta2.add(d - step)
		}
		step = d
	}
	s.runBytes += uvarintLen(zigzag(int64(v[start]))) + uvarintLen(uint64(len(v)-start))
	return s
}

// AppendInts encodes at least one value; signed values go as their two's complement. Booleans, states, quality codes,
// seqs, lengths and dictionary indexes are integer columns too.
func AppendInts(dst []byte, v []uint64) []byte {
	n := len(v)
	s := newIntStats(v)
	first := binary.AppendUvarint(nil, zigzag(int64(v[0])))
	if s.runs == 1 {
		return append(append(dst, intConstant), first...)
	}
	if s.leastStep == s.upStep {
		dst = append(append(dst, intGrid), first...)
		return binary.AppendUvarint(dst, zigzag(s.leastStep))
	}

	packedWidth := uint(bits.Len64(uint64(s.most - s.least)))
	deltaWidth := uint(bits.Len64(uint64(s.upStep - s.leastStep)))
	k1, bits1 := s.delta.best()
	k2, bits2 := s.delta2.best()
	firstStep := int64(v[1] - v[0])

	codec, best := byte(intRuns), uvarintLen(uint64(s.runs))+s.runBytes
	consider := func(c byte, size int) {
		if size < best {
			codec, best = c, size
		}
	}
	consider(intPacked, uvarintLen(zigzag(s.least))+1+packedBytes(n, packedWidth))
	consider(intDelta, len(first)+uvarintLen(zigzag(s.leastStep))+1+packedBytes(n-1, deltaWidth))
	consider(intDeltaBuckets, len(first)+2+(bits1+7)/8)
	consider(intDelta2, len(first)+uvarintLen(zigzag(firstStep))+2+(bits2+7)/8)

	dst = append(dst, codec)
	switch codec {
	case intRuns:
		return appendRuns(dst, v, s.runs)
	case intPacked:
		dst = binary.AppendUvarint(dst, zigzag(s.least))
		return appendPacked(append(dst, byte(packedWidth)), v, uint64(s.least), packedWidth)
	case intDelta:
		dst = binary.AppendUvarint(append(dst, first...), zigzag(s.leastStep))
		return appendDeltas(append(dst, byte(deltaWidth)), v, uint64(s.leastStep), deltaWidth)
	case intDeltaBuckets:
		return k1.append(append(dst, first...), v, 1)
	}
	dst = binary.AppendUvarint(append(dst, first...), zigzag(firstStep))
	return k2.append(dst, v, 2)
}

func appendRuns(dst []byte, v []uint64, runs int) []byte {
	dst = binary.AppendUvarint(dst, uint64(runs))
	start := 0
	for i := 1; i <= len(v); i++ {
		if i == len(v) || v[i] != v[start] {
			dst = binary.AppendUvarint(dst, zigzag(int64(v[start])))
			dst = binary.AppendUvarint(dst, uint64(i-start))
			start = i
		}
	}
	return dst
}

func appendDeltas(dst []byte, v []uint64, base uint64, width uint) []byte {
	w := newBitWriter(dst)
	for i := 1; i < len(v); i++ {
		w.put(v[i]-v[i-1]-base, width)
	}
	return w.close()
}

// DecodeInts reads n values, n at least 1, reusing dst's memory, and returns what stands behind them.
func DecodeInts(dst []uint64, n int, b []byte) (values []uint64, rest []byte, err error) {
	if n < 1 || len(b) == 0 {
		return nil, nil, fmt.Errorf("decode integers: %d of them in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	codec := b[0]
	if codec > intDelta2 {
		return nil, nil, fmt.Errorf("decode integers: codec %d, newest known is %d: %w", codec, intDelta2, ErrVersion)
	}
	values, rest, ok := decodeInts(dst, n, codec, b[1:])
	if !ok {
		return nil, nil, fmt.Errorf("decode integers: codec %d: %d values do not fit in %d bytes: %w", codec, n, len(b), ErrCorrupt)
	}
	return values, rest, nil
}

func decodeInts(dst []uint64, n int, codec byte, b []byte) ([]uint64, []byte, bool) {
	if codec == intRuns {
		return decodeRuns(dst, n, b)
	}
	first, b, ok := varint(b)
	if !ok {
		return nil, nil, false
	}
	switch codec {
	case intConstant:
		return repeat(dst, n, uint64(first)), b, true
	case intPacked:
		return decodePacked(dst, n, uint64(first), b)
	case intDelta:
		return decodeDelta(dst, n, uint64(first), b)
	case intDeltaBuckets:
		return decodeBuckets(dst, n, uint64(first), 0, 1, b)
	case intGrid:
		step, b, ok := varint(b)
		if !ok {
			return nil, nil, false
		}
		dst = sized(dst, n)
		for i := range dst {
			dst[i] = uint64(first) + uint64(i)*uint64(step)
		}
		return dst, b, true
	case intDelta2:
		step, b, ok := varint(b)
		if !ok {
			return nil, nil, false
		}
		return decodeBuckets(dst, n, uint64(first), uint64(step), 2, b)
	}
	return nil, nil, false
}

func decodeRuns(dst []uint64, n int, b []byte) ([]uint64, []byte, bool) {
	runs, b, ok := uvarint(b)
	if !ok || runs > uint64(n) || runs > uint64(len(b)/2) {
		return nil, nil, false
	}
	dst = sized(dst, n)
	at := 0
	for range runs {
		var v int64
		var length uint64
		if v, b, ok = varint(b); !ok {
			return nil, nil, false
		}
		if length, b, ok = uvarint(b); !ok || length > uint64(n-at) {
			return nil, nil, false
		}
		for i := range dst[at : at+int(length)] {
			dst[at+i] = uint64(v)
		}
		at += int(length)
	}
	return dst, b, at == n
}

// packedStream reads the width of a packed stream and splits off the stream of n values.
func packedStream(n int, b []byte) (width uint, stream, rest []byte, ok bool) {
	if len(b) == 0 || b[0] > 64 {
		return 0, nil, nil, false
	}
	width, b = uint(b[0]), b[1:]
	size := packedBytes(n, width)
	if size > len(b) {
		return 0, nil, nil, false
	}
	return width, b[:size], b[size:], true
}

func decodePacked(dst []uint64, n int, base uint64, b []byte) ([]uint64, []byte, bool) {
	width, stream, rest, ok := packedStream(n, b)
	if !ok {
		return nil, nil, false
	}
	dst = sized(dst, n)
	unpack(dst, stream, base, width)
	return dst, rest, true
}

func decodeDelta(dst []uint64, n int, first uint64, b []byte) ([]uint64, []byte, bool) {
	base, b, ok := varint(b)
	if !ok {
		return nil, nil, false
	}
	width, stream, rest, ok := packedStream(n-1, b)
	if !ok {
		return nil, nil, false
	}
	dst = sized(dst, n)
	dst[0] = first
	unpack(dst[1:], stream, uint64(base), width)
	for i := 1; i < n; i++ {
		dst[i] += dst[i-1]
	}
	return dst, rest, true
}

// decodeBuckets undoes buckets.append behind first and, for order 2, first + step.
func decodeBuckets(dst []uint64, n int, first, step uint64, order int, b []byte) ([]uint64, []byte, bool) {
	k, b, ok := parseBuckets(b)
	if !ok || n < order || n-order > len(b)*8 {
		return nil, nil, false
	}
	dst = sized(dst, n)
	used, ok := readBuckets(k, dst[order:], b)
	if !ok {
		return nil, nil, false
	}
	dst[0] = first
	v := first
	if order == 2 {
		v += step
		dst[1] = v
		for i := 2; i < n; i++ {
			step += dst[i]
			v += step
			dst[i] = v
		}
		return dst, b[used:], true
	}
	for i := 1; i < n; i++ {
		v += dst[i]
		dst[i] = v
	}
	return dst, b[used:], true
}
