package record

import (
	"encoding/binary"
	"fmt"

	"github.com/varvedb/varve/model"
)

// Identity is what names a batch and says where it came from.
type Identity struct {
	Source         string // empty: none
	Epoch          uint64
	Sequence       uint64
	Import         bool
	Origin         int64  // when the source made the batch, nanoseconds UTC; 0 for unknown
	ContentHash    uint64 // of the content as sent
	Stream         uint32 // 0 for actual data; no other is written
	Author, Reason string // of an edit; records of samples have neither
}

// Run is samples of one tag under one write mode, as a record holds them.
type Run struct {
	Tag     model.TagID
	Mode    model.WriteMode
	All     bool
	Samples model.Samples
}

// Bits of the first byte of a run behind its write mode (three bits).
const (
	runAll     = 1 << 3
	runQuality = 1 << 4
	runNull    = 1 << 5
	runSeq     = 1 << 6
	runSame    = 1 << 7 // one value stands for all
)

// Time encodings of a run, in the high nibble of its second byte; the low one is the type.
const (
	timesStep   = 1 << 4 // first time and step
	timesNano   = 2 << 4 // first time and zig-zag deltas in nanoseconds
	timesMicro  = 3 << 4
	timesMilli  = 4 << 4
	timesSecond = 5 << 4
)

var timeUnit = [...]int64{timesNano >> 4: 1, timesMicro >> 4: 1e3, timesMilli >> 4: 1e6, timesSecond >> 4: 1e9}

// AppendIdentity writes the part of a Samples or Edit body that stands before the runs.
func AppendIdentity(dst []byte, kind Kind, id *Identity, runs int) []byte {
	dst = appendBytes(dst, id.Source)
	if id.Source != "" {
		flags := byte(0)
		if id.Import {
			flags = 1
		}
		dst = append(dst, flags)
		dst = binary.LittleEndian.AppendUint64(dst, id.Epoch)
		dst = binary.AppendUvarint(dst, id.Sequence)
		dst = binary.LittleEndian.AppendUint64(dst, id.ContentHash)
	}
	dst = appendVarint(dst, id.Origin)
	dst = binary.AppendUvarint(dst, uint64(id.Stream))
	if kind == Edit {
		dst = appendBytes(dst, id.Author)
		dst = appendBytes(dst, id.Reason)
	}
	return binary.AppendUvarint(dst, uint64(runs))
}

// AppendRun writes one run. base is the time its first time is written against: 0 for the first run of a batch, and for
// every other the first time of that first run.
func AppendRun(dst []byte, tag model.TagID, mode model.WriteMode, all bool, s *model.Samples, base int64) []byte {
	flags := byte(mode)
	if all {
		flags |= runAll
	}
	if s.Quality != nil {
		flags |= runQuality
	}
	if s.Null != nil {
		flags |= runNull
	}
	if s.Seq != nil {
		flags |= runSeq
	}
	if mode != model.Remove && sameBits(s) {
		flags |= runSame
	}
	enc := timeEncoding(s.Times)
	dst = append(dst, flags, byte(s.Type)|enc)
	dst = binary.AppendUvarint(dst, uint64(tag))
	dst = binary.AppendUvarint(dst, uint64(len(s.Times)))
	dst = appendTimes(dst, s.Times, enc, base)
	if mode != model.Remove {
		dst = appendValues(dst, s, flags&runSame != 0)
	}
	if s.Quality != nil {
		dst = appendQuality(dst, s.Quality)
	}
	if s.Null != nil {
		dst = appendNull(dst, s.Null)
	}
	for _, q := range s.Seq {
		dst = binary.AppendUvarint(dst, uint64(q))
	}
	return dst
}

func sameBits(s *model.Samples) bool {
	if len(s.Bits) < 2 || s.Type.Blob() {
		return false
	}
	for _, v := range s.Bits[1:] {
		if v != s.Bits[0] {
			return false
		}
	}
	return true
}

// timeEncoding is the coarsest unit that all deltas are multiples of, or timesStep where they are all equal. The
// divisors are constants because a division by a variable costs more than the rest of the run.
func timeEncoding(times []int64) byte {
	if len(times) < 2 {
		return timesStep
	}
	step, i := times[1]-times[0], 2
	for i < len(times) && times[i]-times[i-1] == step {
		i++
	}
	if i == len(times) {
		return timesStep
	}
	unit := byte(timesSecond)
	for i := 1; i < len(times); i++ {
		d := times[i] - times[i-1]
		if unit == timesSecond && d%1e9 != 0 {
			unit = timesMilli
		}
		if unit == timesMilli && d%1e6 != 0 {
			unit = timesMicro
		}
		if unit == timesMicro && d%1e3 != 0 {
			return timesNano
		}
	}
	return unit
}

func appendTimes(dst []byte, times []int64, enc byte, base int64) []byte {
	dst = appendVarint(dst, times[0]-base)
	switch enc {
	case timesStep:
		step := int64(0)
		if len(times) > 1 {
			step = times[1] - times[0]
		}
		return appendVarint(dst, step)
	case timesSecond:
		for i := 1; i < len(times); i++ {
			dst = appendVarint(dst, (times[i]-times[i-1])/1e9)
		}
	case timesMilli:
		for i := 1; i < len(times); i++ {
			dst = appendVarint(dst, (times[i]-times[i-1])/1e6)
		}
	case timesMicro:
		for i := 1; i < len(times); i++ {
			dst = appendVarint(dst, (times[i]-times[i-1])/1e3)
		}
	default:
		for i := 1; i < len(times); i++ {
			dst = appendVarint(dst, times[i]-times[i-1])
		}
	}
	return dst
}

func appendValues(dst []byte, s *model.Samples, same bool) []byte {
	if s.Type.Blob() {
		for _, b := range s.Blobs {
			dst = binary.AppendUvarint(dst, uint64(len(b)))
			dst = append(dst, b...)
		}
		return dst
	}
	bits := s.Bits
	if same {
		bits = bits[:1]
	}
	switch width(s.Type) {
	case 1:
		for _, v := range bits {
			dst = append(dst, byte(v))
		}
	case 4:
		for _, v := range bits {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
		}
	default:
		n := len(dst)
		dst = append(dst, make([]byte, 8*len(bits))...)
		for i, v := range bits {
			binary.LittleEndian.PutUint64(dst[n+8*i:], v)
		}
	}
	return dst
}

// width is the bytes one value of a type takes in a record.
func width(t model.Type) int {
	switch t {
	case model.Bool:
		return 1
	case model.Float32:
		return 4
	}
	return 8
}

func appendQuality(dst []byte, q []model.Quality) []byte {
	for i := 0; i < len(q); {
		j := i + 1
		for j < len(q) && q[j] == q[i] {
			j++
		}
		dst = binary.AppendUvarint(dst, uint64(j-i))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(q[i]))
		i = j
	}
	return dst
}

func appendNull(dst []byte, null []bool) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, (len(null)+7)/8)...)
	for i, v := range null {
		if v {
			dst[n+i/8] |= 1 << (i % 8)
		}
	}
	return dst
}

// Batch reads the body of a Samples or Edit record run by run.
type Batch struct {
	Identity
	runs uint64 // not yet read
	r    reader
	base int64
	read bool // a run was read: base is set
}

// Open reads what stands before the runs.
func (b *Batch) Open(kind Kind, body []byte) error {
	*b = Batch{r: reader{b: body}}
	r := &b.r
	b.Source = string(r.bytes("source"))
	if b.Source != "" {
		b.Import = r.byte("flags")&1 != 0
		b.Epoch = r.fixed64("epoch")
		b.Sequence = r.uvarint("sequence")
		b.ContentHash = r.fixed64("content hash")
	}
	b.Origin = r.varint("origin time")
	b.Stream = r.uvarint32("stream")
	if kind == Edit {
		b.Author = string(r.bytes("author"))
		b.Reason = string(r.bytes("reason"))
	}
	b.runs = r.uvarint("run count")
	if r.err == nil && b.runs > uint64(r.left())/4 {
		r.fail(fmt.Sprintf("%d runs in %d bytes", b.runs, r.left()))
	}
	return r.err
}

// Next reads the next run into run, reusing its memory; blobs point into the body. False behind the last run.
func (b *Batch) Next(run *Run) (bool, error) {
	if b.runs == 0 {
		if b.r.left() != 0 && b.r.err == nil {
			b.r.fail(fmt.Sprintf("%d bytes behind the last run", b.r.left()))
		}
		return false, b.r.err
	}
	b.runs--
	r, s := &b.r, &run.Samples
	flags, shape := r.byte("run flags"), r.byte("run shape")
	run.Mode, run.All = model.WriteMode(flags&7), flags&runAll != 0
	run.Tag = model.TagID(r.uvarint32("tag"))
	n := r.uvarint("sample count")
	t := model.Type(shape & 15)
	if r.err == nil && (!run.Mode.Valid() || !t.Valid() || n == 0 || run.Tag == 0 || flags&runSame != 0 && t.Blob()) {
		r.fail(fmt.Sprintf("run of %d samples, tag %d, %s, %s", n, run.Tag, run.Mode, t))
	}
	s.Reset(t)
	if r.err == nil && n > maxRun(r.left(), flags, shape) {
		r.fail(fmt.Sprintf("run of %d samples in %d bytes", n, r.left()))
	}
	if r.err != nil {
		return false, r.err
	}
	b.times(s, int(n), shape&0xF0)
	if run.Mode != model.Remove {
		r.values(s, int(n), flags&runSame != 0)
	}
	if flags&runQuality != 0 {
		r.quality(s, int(n))
	}
	if flags&runNull != 0 {
		r.null(s, int(n))
	}
	if flags&runSeq != 0 {
		r.seqs(s, int(n))
	}
	return r.err == nil, r.err
}

// MaxRunSamples bounds a run whose times and values take no bytes of their own.
const MaxRunSamples = 1 << 20

// maxRun is the most samples that left bytes can hold in a run of this shape.
func maxRun(left int, flags, shape byte) uint64 {
	if shape&0xF0 == timesStep && (flags&runSame != 0 || model.WriteMode(flags&7) == model.Remove) {
		return MaxRunSamples
	}
	return min(uint64(left), MaxRunSamples)
}

func (b *Batch) times(s *model.Samples, n int, enc byte) {
	r := &b.r
	t := r.varint("first time") + b.base
	if !b.read {
		b.base, b.read = t, true
	}
	if cap(s.Times) < n {
		s.Times = make([]int64, 0, n)
	}
	times := s.Times[:n]
	s.Times = times
	switch enc {
	case timesStep:
		step := r.varint("step")
		for i := range times {
			times[i] = t
			t += step
		}
	case timesNano, timesMicro, timesMilli, timesSecond:
		r.deltas(times, t, timeUnit[enc>>4])
	default:
		r.fail(fmt.Sprintf("time encoding %d", enc>>4))
	}
}

// deltas reads the times behind the first, t.
func (r *reader) deltas(times []int64, t, unit int64) {
	b, at := r.b, r.at
	times[0] = t
	for i := 1; i < len(times); i++ {
		// Most deltas of a scanned tag take two bytes, the first of them with its top bit set.
		if at+2 <= len(b) {
			if u := uint64(binary.LittleEndian.Uint16(b[at:])); u&0x8080 == 0x0080 {
				u = u&0x7F | u>>8<<7
				t += (int64(u>>1) ^ -int64(u&1)) * unit
				times[i] = t
				at += 2
				continue
			}
		}
		r.at = at
		t += r.varint("time delta") * unit
		times[i] = t
		at = r.at
	}
	r.at = at
}

// words reads numbers of 8 bytes, four at a time: a check of the bounds for each takes as long as reading it.
func words(dst []uint64, b []byte) {
	for len(dst) >= 4 && len(b) >= 32 {
		d, c := dst[:4], b[:32]
		d[0] = binary.LittleEndian.Uint64(c)
		d[1] = binary.LittleEndian.Uint64(c[8:])
		d[2] = binary.LittleEndian.Uint64(c[16:])
		d[3] = binary.LittleEndian.Uint64(c[24:])
		dst, b = dst[4:], b[32:]
	}
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
}

func (r *reader) values(s *model.Samples, n int, same bool) {
	if s.Type.Blob() {
		for i := 0; i < n && r.err == nil; i++ {
			s.Blobs = append(s.Blobs, r.bytes("blob"))
		}
		return
	}
	stored, w := n, width(s.Type)
	if same {
		stored = 1
	}
	if r.left() < stored*w {
		r.fail(fmt.Sprintf("%d values of %d bytes in %d", stored, w, r.left()))
		return
	}
	if cap(s.Bits) < n {
		s.Bits = make([]uint64, 0, n)
	}
	bits := s.Bits[:n]
	s.Bits = bits
	b := r.rest()[:stored*w]
	r.at += stored * w
	switch w {
	case 1:
		for i, v := range b {
			bits[i] = uint64(v)
		}
	case 4:
		for i := range stored {
			bits[i] = uint64(binary.LittleEndian.Uint32(b[4*i:]))
		}
	default:
		words(bits[:stored], b)
	}
	if same {
		for i := 1; i < n; i++ {
			bits[i] = bits[0]
		}
	}
}

func (r *reader) quality(s *model.Samples, n int) {
	q := make([]model.Quality, 0, n)
	for len(q) < n {
		c := r.uvarint("quality count")
		if r.err != nil || c == 0 || c > uint64(n-len(q)) || r.left() < 4 {
			r.fail("quality runs")
			return
		}
		code := model.Quality(binary.LittleEndian.Uint32(r.rest()))
		r.at += 4
		for range c {
			q = append(q, code)
		}
	}
	s.Quality = q
}

func (r *reader) null(s *model.Samples, n int) {
	w := (n + 7) / 8
	if r.left() < w {
		r.fail("null flags")
		return
	}
	s.Null = make([]bool, n)
	for i := range s.Null {
		s.Null[i] = r.b[r.at+i/8]>>(i%8)&1 != 0
	}
	r.at += w
}

func (r *reader) seqs(s *model.Samples, n int) {
	if r.left() < n {
		r.fail("seqs")
		return
	}
	s.Seq = make([]uint32, n)
	for i := range s.Seq {
		s.Seq[i] = r.uvarint32("seq")
	}
}
