package encoding

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// The codecs of a sealed integer column, which floats, times and blobs also end in. They reach disk and are never
// renumbered; zero is never written.
const (
	sealedConstant   = 1 // one value for all
	sealedRuns       = 2 // values of runs as a column, lengths of runs as a column
	sealedPlain      = 3 // residual stream of the values
	sealedSmooth     = 4 // residuals against the smoothed values before
	sealedSlope      = 5 // residuals against the line through the two values before
	sealedDictionary = 6 // distinct values as a column, residual stream of ranks as a column

	sealedIntNewest = sealedDictionary
)

// startBits is about what the state at the start of a block takes.
const startBits = 24

// smoothMost bounds how slow a smoothed prediction follows.
const smoothMost = 6

// AppendInts encodes int64 values as their two's complement, uint64 values, booleans, states, quality codes and seqs.
func (e *SealedEncoder) AppendInts(dst []byte, v []uint64) []byte {
	if e.table.collect(v) {
		e.table.arrange(signed, signed)
		ranked, plain := e.rankedCost(v)
		if ranked < plain*0.95 {
			return e.appendIntDictionary(dst, v)
		}
	}
	return e.appendIntColumn(dst, v)
}

// rankedCost is about how many bytes v takes as ranks in e.table, dictionary included, and without.
func (e *SealedEncoder) rankedCost(v []uint64) (ranked, plain float64) {
	s, run := sampled(&e.sample, v)
	p := e.planInts(s, run)
	for i, x := range s {
		s[i] = uint64(e.table.rank(x))
	}
	q := e.planInts(s, run)
	n := float64(len(v)) / 8
	return float64(q.bits*n) + e.table.cost(), p.bits * n
}

func (e *SealedEncoder) appendIntDictionary(dst []byte, v []uint64) []byte {
	sorted := e.table.sorted()
	ranks := sized(e.words, len(v))
	for i, x := range v {
		ranks[i] = uint64(e.table.rank(x))
	}
	e.words = ranks
	dst = binary.AppendUvarint(append(dst, sealedDictionary), uint64(len(sorted)))
	at := len(dst)
	dst = e.nested().appendIntColumn(dst, sorted)
	dst = insertLength(dst, at)
	return e.appendIntColumn(dst, ranks)
}

// insertLength puts the length of dst[at:] in front of it.
func insertLength(dst []byte, at int) []byte {
	var head [binary.MaxVarintLen64]byte
	size := len(dst) - at
	n := binary.PutUvarint(head[:], uint64(size))
	dst = append(dst, head[:n]...)
	copy(dst[at+n:], dst[at:at+size])
	copy(dst[at:], head[:n])
	return dst
}

// intPlan is a predictor and about how many bits a value takes behind it.
type intPlan struct {
	codec byte
	slow  uint
	bits  float64
}

// planInts is the best predictor for the stretches of run values in s.
func (e *SealedEncoder) planInts(s []uint64, run int) intPlan {
	best := intPlan{codec: sealedPlain, bits: residualBits(s)}
	if len(s) < 3 {
		return best
	}
	worse, starts := 0, startBits/float64(len(s))
	for k := range uint(smoothMost + 1) {
		b := residualBits(residualsOf(&e.trial, s, run, k)) + starts
		if b < best.bits*0.995 {
			best, worse = intPlan{codec: sealedSmooth, slow: k, bits: b}, 0
		} else if worse++; worse == 2 {
			break
		}
	}
	if b := residualBits(slopesOf(&e.trial, s, run)) + 2*starts; b < best.bits*0.97 {
		best = intPlan{codec: sealedSlope, bits: b}
	}
	return best
}

// residualsOf is what smoothing leaves of stretches of run values, each but for where it begins.
func residualsOf(room *[sampleMost]uint64, s []uint64, run int, slow uint) []uint64 {
	out := room[:0]
	for ; len(s) > 1; s = s[min(run, len(s)):] {
		stretch := s[:min(run, len(s))]
		state := stretch[0] << slow
		warm := min(len(stretch)/4, 1<<slow)
		for i, x := range stretch {
			d := x - uint64(int64(state)>>slow)
			state += d
			if i > warm {
				out = append(out, d)
			}
		}
	}
	return out
}

func slopesOf(room *[sampleMost]uint64, s []uint64, run int) []uint64 {
	out := room[:0]
	for ; len(s) > 2; s = s[min(run, len(s)):] {
		stretch := s[:min(run, len(s))]
		for i := 2; i < len(stretch); i++ {
			out = append(out, stretch[i]-2*stretch[i-1]+stretch[i-2])
		}
	}
	return out
}

// appendIntColumn writes v without looking for a dictionary.
func (e *SealedEncoder) appendIntColumn(dst []byte, v []uint64) []byte {
	return e.appendPlanned(dst, v, intPlan{})
}

// appendPlanned is appendIntColumn where planInts was asked about a sample of v before; p is what it said, or zero.
func (e *SealedEncoder) appendPlanned(dst []byte, v []uint64, p intPlan) []byte {
	runs := 1
	for i := 1; i < len(v); i++ {
		if v[i] != v[i-1] {
			runs++
		}
	}
	if runs == 1 {
		return binary.AppendUvarint(append(dst, sealedConstant), zigzag(int64(v[0])))
	}
	if p.codec == 0 {
		s, run := sampled(&e.sample, v)
		p = e.planInts(s, run)
	}
	if runs < len(v)/2 {
		least, most := v[0], v[0]
		for _, x := range v {
			least, most = min(least, x), max(most, x)
		}
		// A run costs its value and its length; a little more is allowed, for runs decode fastest.
		perRun := float64(bits.Len64(most-least)) + float64(bits.Len(uint(len(v)/runs))) + 1
		if float64(runs)*perRun < float64(p.bits*float64(len(v))*1.02)+64 && runs < len(v)/8 || float64(runs)*perRun < p.bits*float64(len(v))*0.9 {
			return e.appendIntRuns(dst, v, runs)
		}
	}
	return e.appendPredicted(dst, v, p)
}

// appendPredicted writes what the predictor of p leaves of v.
func (e *SealedEncoder) appendPredicted(dst []byte, v []uint64, p intPlan) []byte {
	r := sized(e.rest, len(v))
	e.rest = r
	e.starts, e.slopes = e.starts[:0], e.slopes[:0]
	switch p.codec {
	case sealedPlain:
		return e.appendStream(append(dst, sealedPlain), v, e.planStream(v))
	case sealedSmooth:
		state := v[0] << p.slow
		for i, x := range v {
			if i%SealedBlock == 0 {
				e.starts = append(e.starts, state)
			}
			d := x - uint64(int64(state)>>p.slow)
			state += d
			r[i] = d
		}
		dst = e.appendStarts(append(dst, sealedSmooth, byte(p.slow)), e.starts)
	case sealedSlope:
		before, step := v[0]-(v[1]-v[0]), v[1]-v[0]
		for i, x := range v {
			if i%SealedBlock == 0 {
				e.starts, e.slopes = append(e.starts, before), append(e.slopes, step)
			}
			d := x - before - step
			step += d
			before = x
			r[i] = d
		}
		dst = e.appendStarts(append(dst, sealedSlope), e.starts)
		dst = e.appendStarts(dst, e.slopes)
	}
	return e.appendStream(dst, r, e.planStream(r))
}

func (e *SealedEncoder) appendIntRuns(dst []byte, v []uint64, runs int) []byte {
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
	dst = binary.AppendUvarint(append(dst, sealedRuns), uint64(runs))
	at := len(dst)
	dst = insertLength(in.appendRunColumn(dst, values), at)
	return in.appendRunColumn(dst, lengths)
}

// appendRunColumn writes what belongs to runs: a column that has no runs itself.
func (e *SealedEncoder) appendRunColumn(dst []byte, v []uint64) []byte {
	if slices.Max(v) == slices.Min(v) {
		return binary.AppendUvarint(append(dst, sealedConstant), zigzag(int64(v[0])))
	}
	return e.appendStream(append(dst, sealedPlain), v, e.planStream(v))
}

// Starts are the predictor's state at the start of every block: the first, and the differences packed.
func (e *SealedEncoder) appendStarts(dst []byte, starts []uint64) []byte {
	dst = binary.AppendUvarint(dst, zigzag(int64(starts[0])))
	if len(starts) == 1 {
		return dst
	}
	steps := sized(e.packed, len(starts)-1)
	for i := range steps {
		steps[i] = zigzag(int64(starts[i+1] - starts[i]))
	}
	e.packed = steps
	width := widthOf(steps)
	return appendLow(append(dst, byte(width)), steps, 0, width)
}

// openStarts reads the state at the start of block from.
func openStarts(n int, b []byte, from int) (state uint64, rest []byte, ok bool) {
	first, b, ok := varint(b)
	if !ok {
		return 0, nil, false
	}
	state = uint64(first)
	if n <= SealedBlock {
		return state, b, true
	}
	width, stream, rest, ok := packedStream(blocksOf(n)-1, b)
	if !ok {
		return 0, nil, false
	}
	for i := range from {
		state += uint64(unzigzag(lowAt(stream, i, width)))
	}
	return state, rest, true
}

// intColumn decodes a sealed integer column block by block.
type intColumn struct {
	codec    byte
	constant uint64
	slow     uint
	state    uint64 // smoothed value, or the value before
	step     uint64
	stream   streamReader

	// Of runs: what has not been handed out.
	values, lengths []uint64
	left            uint64
}

// open reads a column of n values, from which those of blocks [from, to) will be asked for. It is all of b, and no
// dictionary: SealedDecoder.readInts has those.
func (c *intColumn) open(d *SealedDecoder, n int, b []byte, from, to int) (ok, known bool) {
	if len(b) == 0 || b[0] == 0 || b[0] == sealedDictionary {
		return false, true
	}
	codec, b := b[0], b[1:]
	c.codec = codec
	first, end := from*SealedBlock, min(to*SealedBlock, n)
	switch codec {
	case sealedConstant:
		v, _, ok := varint(b)
		c.constant = uint64(v)
		return ok, true
	case sealedRuns:
		return c.openRuns(d, n, b, first)
	case sealedSmooth:
		if len(b) == 0 || b[0] > 63 {
			return false, true
		}
		c.slow = uint(b[0])
		if c.state, b, ok = openStarts(n, b[1:], from); !ok {
			return false, true
		}
	case sealedSlope:
		if c.state, b, ok = openStarts(n, b, from); !ok {
			return false, true
		}
		if c.step, b, ok = openStarts(n, b, from); !ok {
			return false, true
		}
	case sealedPlain:
	default:
		return false, false
	}
	return c.stream.open(d, n, b, first, end)
}

func (c *intColumn) openRuns(d *SealedDecoder, n int, b []byte, first int) (ok, known bool) {
	runs, b, ok := uvarint(b)
	if !ok || runs == 0 || runs > uint64(n) {
		return false, true
	}
	size, b, ok := uvarint(b)
	if !ok || size > uint64(len(b)) {
		return false, true
	}
	d.values, d.lengths = sized(d.values, int(runs)), sized(d.lengths, int(runs))
	if ok, known := d.readRunColumn(d.values, b[:size]); !ok {
		return false, known
	}
	if ok, known := d.readRunColumn(d.lengths, b[size:]); !ok {
		return false, known
	}
	return c.setRuns(d.values, d.lengths, n, first), true
}

// setRuns takes runs that must be n values in all, and skips the first values of them. A length stands as one less.
func (c *intColumn) setRuns(values, lengths []uint64, n, first int) bool {
	total := uint64(0)
	for _, l := range lengths {
		if l >= uint64(n)-total {
			return false
		}
		total += l + 1
	}
	if total != uint64(n) {
		return false
	}
	skip := uint64(first)
	for skip > lengths[0] {
		skip -= lengths[0] + 1
		values, lengths = values[1:], lengths[1:]
	}
	c.values, c.lengths, c.left = values, lengths, lengths[0]+1-skip
	return true
}

// readRunColumn decodes a whole column of runs: constant or plain.
func (d *SealedDecoder) readRunColumn(dst []uint64, b []byte) (ok, known bool) {
	if len(b) == 0 || b[0] == 0 {
		return false, true
	}
	if b[0] > sealedIntNewest {
		return false, false
	}
	if b[0] != sealedConstant && b[0] != sealedPlain {
		return false, true
	}
	return d.nested().readInts(dst, len(dst), b, 0, blocksOf(len(dst)))
}

// readInts decodes blocks [from, to) of a column of n values into dst.
func (d *SealedDecoder) readInts(dst []uint64, n int, b []byte, from, to int) (ok, known bool) {
	if len(b) > 0 && b[0] == sealedDictionary {
		return d.readIntDictionary(dst, n, b[1:], from, to)
	}
	return d.readIntColumn(dst, n, b, from, to)
}

// readIntColumn is readInts for what is no dictionary.
func (d *SealedDecoder) readIntColumn(dst []uint64, n int, b []byte, from, to int) (ok, known bool) {
	if ok, known := d.ints.open(d, n, b, from, to); !ok {
		return false, known
	}
	for i := from * SealedBlock; len(dst) > 0; i += SealedBlock {
		block := dst[:min(SealedBlock, len(dst))]
		if !d.ints.read(block, i) {
			return false, true
		}
		dst = dst[len(block):]
	}
	return true, true
}

func (d *SealedDecoder) readIntDictionary(dst []uint64, n int, b []byte, from, to int) (ok, known bool) {
	count, values, ranks, ok := splitDictionary(n, b)
	if !ok {
		return false, true
	}
	d.table = sized(d.table, count)
	if ok, known := d.nested().readIntColumn(d.table, count, values, 0, blocksOf(count)); !ok {
		return false, known
	}
	return d.readRanks(dst, n, ranks, from, to, d.table)
}

// splitDictionary is how many values a dictionary has, the column of those, and the column of n ranks.
func splitDictionary(n int, b []byte) (count int, values, ranks []byte, ok bool) {
	distinct, b, ok := uvarint(b)
	if !ok || distinct == 0 || distinct > uint64(n) {
		return 0, nil, nil, false
	}
	size, b, ok := uvarint(b)
	if !ok || size > uint64(len(b)) {
		return 0, nil, nil, false
	}
	return int(distinct), b[:size], b[size:], true
}

// readRanks decodes blocks [from, to) of a column of n ranks, and puts the value of each in its place.
func (d *SealedDecoder) readRanks(dst []uint64, n int, b []byte, from, to int, values []uint64) (ok, known bool) {
	if ok, known := d.ints.open(d, n, b, from, to); !ok {
		return false, known
	}
	for i := from * SealedBlock; len(dst) > 0; i += SealedBlock {
		block := dst[:min(SealedBlock, len(dst))]
		if !d.ints.read(block, i) {
			return false, true
		}
		for k, rank := range block {
			if rank >= uint64(len(values)) {
				return false, true
			}
			block[k] = values[rank]
		}
		dst = dst[len(block):]
	}
	return true, true
}

// read decodes the values of one block from value i on into dst. Blocks are asked for one behind the other.
func (c *intColumn) read(dst []uint64, i int) bool {
	switch c.codec {
	case sealedConstant:
		fill(dst, c.constant)
	case sealedRuns:
		c.readRuns(dst)
	case sealedPlain:
		if !c.stream.read(dst, i) {
			return false
		}
	case sealedSmooth:
		if !c.stream.read(dst, i) {
			return false
		}
		state, slow := c.state, c.slow
		if slow == 0 {
			for k, d := range dst {
				state += d
				dst[k] = state
			}
		} else {
			for k, d := range dst {
				dst[k] = d + uint64(int64(state)>>(slow&63))
				state += d
			}
		}
		c.state = state
	case sealedSlope:
		if !c.stream.read(dst, i) {
			return false
		}
		v, step := c.state, c.step
		for k, d := range dst {
			step += d
			v += step
			dst[k] = v
		}
		c.state, c.step = v, step
	}
	return true
}

func (c *intColumn) readRuns(dst []uint64) {
	for len(dst) > 0 {
		if c.left == 0 {
			c.values, c.lengths = c.values[1:], c.lengths[1:]
			c.left = c.lengths[0] + 1
		}
		run := dst[:min(uint64(len(dst)), c.left)]
		fill(run, c.values[0])
		c.left -= uint64(len(run))
		dst = dst[len(run):]
	}
}

// Ints decodes blocks [from, to) of a column of n integers into dst.
func (d *SealedDecoder) Ints(dst []uint64, n int, b []byte, from, to int) error {
	if err := checkBlocks("integers", len(dst), n, b, from, to); err != nil {
		return err
	}
	ok, known := d.readInts(dst, n, b, from, to)
	return columnError("integers", n, b, ok, known)
}

func columnError(what string, n int, b []byte, ok, known bool) error {
	switch {
	case !known:
		return sealedVersion(what, b[0])
	case !ok:
		return sealedCorrupt(what, n, b)
	}
	return nil
}
