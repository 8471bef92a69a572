package encoding

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// The codecs of a sealed float column. They reach disk and are never renumbered; zero is never written.
const (
	sealedFloatConstant   = 1 // one value for all, as the unsealed codecs write it
	sealedFloatRuns       = 2 // values of runs as a float column, lengths of runs as an integer column
	sealedFloatDecimal    = 3 // integers over a power of ten; what is none is an exception
	sealedFloatDictionary = 4 // distinct values as a float column, ranks as an integer column
	sealedFloatBits       = 5 // ordered bits, less the zeros at their end, as an integer column
	sealedFloatXOR        = 6 // Gorilla, restarted every block
	sealedFloatNarrow     = 7 // float64 values that are float32 values, as a column of those
	sealedFloatReal       = 8 // sign, exponent and a few bits more as an integer column, the other bits packed
)

// AppendFloat64s encodes IEEE 754 bits.
func (e *SealedEncoder) AppendFloat64s(dst []byte, v []uint64) []byte {
	return e.appendFloats(dst, v, 0, true)
}

// AppendFloat32s encodes IEEE 754 bits in the low half; the high half is not kept.
func (e *SealedEncoder) AppendFloat32s(dst []byte, v []uint64) []byte {
	anyBit := uint64(0)
	for _, x := range v {
		anyBit |= x
	}
	if anyBit>>32 != 0 {
		e.low = sized(e.low, len(v))
		for i, x := range v {
			e.low[i] = x & (1<<32 - 1)
		}
		v = e.low
	}
	return e.appendFloats(dst, v, 32, true)
}

// appendFloats encodes values of 64-shift bits. A column inside a column is not asked for repetitions again.
func (e *SealedEncoder) appendFloats(dst []byte, v []uint64, shift uint, outer bool) []byte {
	runs := floatRunsOf(v)
	if runs == 1 {
		return appendFloatConstant(append(dst, sealedFloatConstant), v[0], shift)
	}
	if !outer || runs > len(v)/2 {
		return e.chooseFloats(dst, v, shift, outer)
	}
	at := len(dst)
	dst = e.appendSealedFloatRuns(dst, v, shift, runs)
	if runs < len(v)/8 {
		return dst
	}
	// Between few runs and none no estimate is as good as the bytes themselves, and such columns are rare.
	behind := len(dst)
	dst = e.chooseFloats(dst, v, shift, outer)
	if (len(dst)-behind)*9 < (behind-at)*10 { // runs this short decode more slowly
		return dst[:at+copy(dst[at:], dst[behind:])]
	}
	return dst[:behind]
}

func floatRunsOf(v []uint64) int {
	runs := 1
	for i := 1; i < len(v); i++ {
		if v[i] != v[i-1] {
			runs++
		}
	}
	return runs
}

// chooseFloats takes the codec that is expected to take the fewest bytes.
func (e *SealedEncoder) chooseFloats(dst []byte, v []uint64, shift uint, outer bool) []byte {
	n := float64(len(v)) / 8
	dec := e.planDecimal(v, shift)
	best, codec := math.MaxFloat64, byte(0)
	var plan intPlan // of decimals or ranks, whichever is best
	if dec.ok {
		e.words, e.misses, e.missed = dec.convert(e.words, e.misses[:0], e.missed[:0], v, shift)
		s, run := sampled(&e.sample, e.words)
		plan = e.planInts(s, run)
		best, codec = float64(plan.bits*n)+float64(len(e.misses)*10), sealedFloatDecimal
	}
	if outer && e.table.collect(v) {
		e.table.arrangeFloats(shift)
		s, run := sampled(&e.sample, v)
		for i, x := range s {
			s[i] = uint64(e.table.rank(x))
		}
		p := e.planInts(s, run)
		cost := float64(p.bits*n) + e.floatTableCost(dec, shift)
		if cost < best*0.98 {
			best, codec, plan = cost, sealedFloatDictionary, p
		}
	}
	if codec != sealedFloatDecimal || best > n*24 {
		if shift == 0 && isNarrow(v) {
			return e.appendNarrow(append(dst, sealedFloatNarrow), v, outer)
		}
		s, run := sampled(&e.sample, v)
		zeros := trailingZeros(v, shift)
		for i, x := range s {
			s[i] = orderedBits(x, shift) >> zeros
		}
		p := e.planInts(s, run)
		if cost := p.bits * n; cost < best*0.98 {
			best, codec = cost, sealedFloatBits
		}
		s, run = sampled(&e.sample, v)
		for i, x := range s {
			s[i] = x >> realBits(shift)
		}
		if cost := (e.topBits(s, run) + float64(realBits(shift))) * n; cost < best*realGain(p) {
			best, codec = cost, sealedFloatReal
		}
		if cost := float64(xorSize(v, shift)); cost < best*0.9 {
			codec = sealedFloatXOR
		}
	}
	dst = append(dst, codec)
	switch codec {
	case sealedFloatDecimal:
		return e.appendDecimals(dst, dec, len(v), plan)
	case sealedFloatDictionary:
		return e.appendFloatDictionary(dst, v, shift, plan)
	case sealedFloatReal:
		return e.appendReal(dst, v, shift)
	case sealedFloatXOR:
		return appendXORBlocks(dst, v, shift)
	}
	return e.appendBits(dst, v, shift)
}

func (e *SealedEncoder) appendBits(dst []byte, v []uint64, shift uint) []byte {
	zeros := trailingZeros(v, shift)
	words := sized(e.words, len(v))
	for i, x := range v {
		words[i] = orderedBits(x, shift) >> zeros
	}
	e.words = words
	return e.appendIntColumn(append(dst, byte(zeros)), words)
}

// floatTableCost is about how many bytes the distinct values take.
func (e *SealedEncoder) floatTableCost(dec decimals, shift uint) float64 {
	t := e.table.values
	if !dec.ok || len(e.misses) > 0 {
		return e.table.cost()
	}
	sum, prev := uint64(0), int64(0)
	for i, x := range t {
		m, _ := tens[dec.digits].of(x, shift)
		if i > 0 {
			sum += uint64(bits.Len64(uint64(m-prev))) + 1
		}
		prev = m
	}
	return 20 + float64(float64(sum)/8)
}

func (e *SealedEncoder) appendFloatDictionary(dst []byte, v []uint64, shift uint, plan intPlan) []byte {
	ranks := sized(e.words, len(v))
	for i, x := range v {
		ranks[i] = uint64(e.table.rank(x))
	}
	e.words = ranks
	dst = binary.AppendUvarint(dst, uint64(len(e.table.values)))
	at := len(dst)
	dst = insertLength(e.nested().appendFloats(dst, e.table.values, shift, false), at)
	return e.appendPlanned(dst, ranks, plan)
}

func (e *SealedEncoder) appendSealedFloatRuns(dst []byte, v []uint64, shift uint, runs int) []byte {
	in := e.nested()
	values, lengths := sized(e.packed, runs)[:0], sized(e.rest, runs)[:0]
	start := 0
	for i := 1; i <= len(v); i++ {
		if i == len(v) || v[i] != v[start] {
			values, lengths = append(values, v[start]), append(lengths, uint64(i-start-1))
			start = i
		}
	}
	e.packed, e.rest = values, lengths
	dst = binary.AppendUvarint(append(dst, sealedFloatRuns), uint64(runs))
	at := len(dst)
	dst = insertLength(in.chooseFloats(dst, values, shift, true), at)
	return in.appendRunColumn(dst, lengths)
}

func (e *SealedEncoder) appendNarrow(dst []byte, v []uint64, outer bool) []byte {
	words := sized(e.rest, len(v))
	for i, x := range v {
		words[i] = uint64(math.Float32bits(float32(math.Float64frombits(x))))
	}
	in := e.nested()
	e.rest = words
	return in.chooseFloats(dst, words, 32, outer)
}

// realBits is how many low bits of a float stand packed beside its top sixteen: sign, exponent, and the first bits of the
// fraction, past which nothing is to be gained.
func realBits(shift uint) uint { return 48 - shift }

// realGain is what reals must be below the cost of ordered bits, behind predictor p. Where none helps, as with places on a
// map, that cost is never reached: the bits scatter over more than a stream of residuals has symbols for.
func realGain(p intPlan) float64 {
	if p.codec == sealedPlain {
		return 1.03
	}
	return 0.98
}

// topBits is about how many bits the tops of reals take, which are in s: their entropy, or that of what a predictor leaves.
func (e *SealedEncoder) topBits(s []uint64, run int) float64 {
	p := e.planInts(s, run)
	sorted := e.order[:copy(e.order[:], s)]
	slices.Sort(sorted)
	sum, distinct, first := float32(0), 0, 0
	for i := 1; i <= len(sorted); i++ {
		if i == len(sorted) || sorted[i] != sorted[first] {
			sum += countLog[i-first]
			distinct, first = distinct+1, i
		}
	}
	n := float32(len(s))
	return min(p.bits, float64((countLog[len(s)]-sum+float32(float32(distinct-1)*0.72))/n))
}

func (e *SealedEncoder) appendReal(dst []byte, v []uint64, shift uint) []byte {
	low := realBits(shift)
	words, rest := sized(e.words, len(v)), sized(e.rest, len(v))
	e.words, e.rest = words, rest
	for i, x := range v {
		words[i], rest[i] = x>>low, x&lowMask(low)
	}
	dst = appendLow(append(dst, byte(low)), rest, 0, low)
	return e.nested().AppendInts(dst, words)
}

func (d *SealedDecoder) readReal(dst []uint64, n int, b []byte, from, to int, shift uint) (ok, known bool) {
	if len(b) == 0 || b[0] == 0 || uint(b[0]) >= 64-shift {
		return false, true
	}
	low, b := uint(b[0]), b[1:]
	size := packedBytes(n, low)
	if size > len(b) {
		return false, true
	}
	if ok, known := d.readInts(dst, n, b[size:], from, to); !ok {
		return false, known
	}
	stream := b[from*SealedBlock/8*int(low):]
	for at := 0; at < len(dst); at += SealedBlock {
		block := dst[at:min(at+SealedBlock, len(dst))]
		rest := d.block[:len(block)]
		unpackLow(rest, stream[at/8*int(low):], 0, low)
		for i, x := range block {
			block[i] = x<<low&(math.MaxUint64>>shift) | rest[i]
		}
	}
	return true, true
}

// isNarrow reports whether every value is one of float32, NaN aside: conversion may change its payload.
func isNarrow(v []uint64) bool {
	for _, x := range v {
		f := math.Float64frombits(x)
		if float64(float32(f)) != f {
			return false
		}
	}
	return true
}

// orderedBits turns IEEE 754 bits into integers that ascend with the values; it is its own kind of two's complement, and
// floatOf undoes it.
func orderedBits(x uint64, shift uint) uint64 {
	top := uint64(1) << (63 - shift)
	if x&top != 0 {
		return ^x & (top<<1 - 1) // the greatest magnitude first; 64 bits wrap as they should
	}
	return x | top
}

func floatOf(o uint64, shift uint) uint64 {
	top := uint64(1) << (63 - shift)
	if o&top != 0 {
		return o &^ top
	}
	return ^o & (top<<1 - 1)
}

// trailingZeros is how many low bits are zero in all ordered bits.
func trailingZeros(v []uint64, shift uint) uint {
	anyBit := uint64(0)
	for _, x := range v {
		anyBit |= x
		if int64(x<<shift) < 0 {
			return 0 // its ordered bits end on ones
		}
	}
	return uint(min(bits.TrailingZeros64(anyBit), 63))
}

// XOR columns are the end of every block in the streams, as integers of a packed stream, and the streams.
func appendXORBlocks(dst []byte, v []uint64, shift uint) []byte {
	count := blocksOf(len(v))
	head := len(dst)
	dst = append(dst, make([]byte, 4*count)...)
	from := len(dst)
	for k := range count {
		dst = appendXOR(dst, v[k*SealedBlock:min((k+1)*SealedBlock, len(v))], shift)
		binary.LittleEndian.PutUint32(dst[head+4*k:], uint32(len(dst)-from))
	}
	return dst
}

func decodeXORBlocks(dst []uint64, n int, b []byte, shift uint, from int) bool {
	count := blocksOf(n)
	if len(b) < 4*count {
		return false
	}
	ends, b := b[:4*count], b[4*count:]
	at := uint32(0)
	if from > 0 {
		at = binary.LittleEndian.Uint32(ends[4*from-4:])
	}
	for k := from; len(dst) > 0; k++ {
		end := binary.LittleEndian.Uint32(ends[4*k:])
		if end < at || uint64(end) > uint64(len(b)) {
			return false
		}
		block := dst[:min(SealedBlock, len(dst))]
		whole := len(block) == min(SealedBlock, n-k*SealedBlock)
		if _, rest, ok := decodeXOR(block, len(block), b[at:end], shift); !ok || whole && len(rest) > 0 {
			return false
		}
		dst, at = dst[len(block):], end
	}
	return true
}

// Float64s decodes blocks [from, to) of a column of n values into dst.
func (d *SealedDecoder) Float64s(dst []uint64, n int, b []byte, from, to int) error {
	return d.floats(dst, n, b, from, to, 0)
}

// Float32s is Float64s for what AppendFloat32s wrote.
func (d *SealedDecoder) Float32s(dst []uint64, n int, b []byte, from, to int) error {
	return d.floats(dst, n, b, from, to, 32)
}

func (d *SealedDecoder) floats(dst []uint64, n int, b []byte, from, to int, shift uint) error {
	if err := checkBlocks("floats", len(dst), n, b, from, to); err != nil {
		return err
	}
	ok, known := d.readFloats(dst, n, b, from, to, shift, 0)
	return columnError("floats", n, b, ok, known)
}

// nestedMost is how deep columns stand in columns: narrow, runs, dictionary, and what that consists of.
const nestedMost = 4

func (d *SealedDecoder) readFloats(dst []uint64, n int, b []byte, from, to int, shift uint, depth int) (ok, known bool) {
	if len(b) == 0 || b[0] == 0 || depth > nestedMost {
		return false, true
	}
	codec, b := b[0], b[1:]
	switch codec {
	case sealedFloatConstant:
		_, _, err := decodeFloats(dst[:len(dst):len(dst)], len(dst), b, shift)
		return err == nil && (b[0] == floatConstant || b[0] == floatDecimal), true
	case sealedFloatRuns:
		return d.readFloatRuns(dst, n, b, from, shift, depth)
	case sealedFloatDecimal:
		return d.readDecimals(dst, n, b, from, to, shift)
	case sealedFloatDictionary:
		return d.readFloatDictionary(dst, n, b, from, to, shift, depth)
	case sealedFloatBits:
		if len(b) == 0 || b[0] > 63 {
			return false, true
		}
		zeros := uint(b[0])
		if ok, known := d.readInts(dst, n, b[1:], from, to); !ok {
			return false, known
		}
		for i, o := range dst {
			dst[i] = floatOf(o<<zeros, shift) & (math.MaxUint64 >> shift)
		}
		return true, true
	case sealedFloatXOR:
		return decodeXORBlocks(dst, n, b, shift, from), true
	case sealedFloatReal:
		return d.readReal(dst, n, b, from, to, shift)
	case sealedFloatNarrow:
		if shift != 0 {
			return false, true
		}
		if ok, known := d.readFloats(dst, n, b, from, to, 32, depth+1); !ok {
			return false, known
		}
		for i, x := range dst {
			dst[i] = math.Float64bits(float64(math.Float32frombits(uint32(x))))
		}
		return true, true
	}
	return false, false
}

func (d *SealedDecoder) readFloatRuns(dst []uint64, n int, b []byte, from int, shift uint, depth int) (ok, known bool) {
	runs, b, ok := uvarint(b)
	if !ok || runs == 0 || runs > uint64(n) {
		return false, true
	}
	size, b, ok := uvarint(b)
	if !ok || size > uint64(len(b)) {
		return false, true
	}
	d.values, d.lengths = sized(d.values, int(runs)), sized(d.lengths, int(runs))
	if ok, known := d.nested().readFloats(d.values, int(runs), b[:size], 0, blocksOf(int(runs)), shift, depth+1); !ok {
		return false, known
	}
	if ok, known := d.readRunColumn(d.lengths, b[size:]); !ok {
		return false, known
	}
	c := &d.ints
	if !c.setRuns(d.values, d.lengths, n, from*SealedBlock) {
		return false, true
	}
	c.readRuns(dst)
	return true, true
}

func (d *SealedDecoder) readFloatDictionary(dst []uint64, n int, b []byte, from, to int, shift uint, depth int) (ok, known bool) {
	count, inside, ranks, ok := splitDictionary(n, b)
	if !ok {
		return false, true
	}
	d.table = sized(d.table, count)
	if ok, known := d.nested().readFloats(d.table, count, inside, 0, blocksOf(count), shift, depth+1); !ok {
		return false, known
	}
	return d.readRanks(dst, n, ranks, from, to, d.table)
}
