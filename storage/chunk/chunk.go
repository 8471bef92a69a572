package chunk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/varvedb/varve/compression/encoding"
	"github.com/varvedb/varve/model"
)

// MaxSamples is the most samples a chunk holds.
const MaxSamples = 65536

// The second byte of a chunk: type in the low four bits, and which of the columns stand in it that are left out at their
// default. They reach disk and are never renumbered.
const (
	typeMask   = 0x0F
	hasQuality = 0x10 // else all Good
	hasNull    = 0x20 // else no sample is null
	hasSeq     = 0x40 // else all 0
	hasOrigins = 0x80 // else not known
)

// Origin says where a run of samples came from: the source, and the second in which the log accepted them.
type Origin struct {
	Samples int
	Source  uint32
	Ingest  int64 // seconds since 1970 UTC
}

// Data is a decoded chunk, and the memory to decode the next one into. Times, Bits, Blobs and the bytes the blobs point
// to belong to it and are overwritten by the next Decode.
type Data struct {
	model.Samples
	Origins []Origin // runs that cover all samples; empty if not known

	// Room, if set, is asked for memory to decode times and values into, with room for n of each, which saves who gathers
	// columns a copy. If it returns nil d's own memory is taken.
	Room func(n int) (times []int64, bits []uint64)

	inRoom   bool // Times and bits are Room's, and d's own memory is put aside
	ownTimes []int64
	ownBits  []uint64

	arena   []byte // what Blobs point into
	words   []uint64
	bits    []uint64 // the memory of Bits and Blobs; only one of those is set, by type
	blobs   [][]byte
	quality []model.Quality
	null    []bool
	seq     []uint32
}

// Reset empties d for reuse, keeping its memory.
func (d *Data) Reset() {
	d.Samples = model.Samples{Times: d.Times[:0]}
	d.Origins = d.Origins[:0]
}

// Second is the second that an instant falls in, as an Origin counts: floored, before 1970 too.
func Second(ns int64) int64 {
	s := ns / 1e9
	if ns%1e9 < 0 {
		s--
	}
	return s
}

// reset empties d for n samples of a type and finds the memory for them.
func (d *Data) reset(t model.Type, n int) {
	if d.inRoom {
		d.Times, d.bits, d.inRoom = d.ownTimes, d.ownBits, false
	}
	if d.Room != nil {
		if times, bits := d.Room(n); times != nil {
			d.ownTimes, d.ownBits = d.Times, d.bits
			d.Times, d.bits, d.inRoom = times, bits, true
		}
	}
	d.Reset()
	d.Type = t
}

// Info is what the head of a chunk says of it.
type Info struct {
	Type        model.Type
	Count       int
	First, Last int64 // times of the first and the last sample
}

// Encoder encodes chunks. It keeps scratch memory between calls and serves one goroutine; its zero value is ready.
type Encoder struct {
	words []uint64
}

// Append encodes s behind dst: 1 to MaxSamples samples, ascending by (time, seq), no two alike. The samples of origins add up to those
// of s, or there are none. Anything else is a mistake of the caller, and panics.
func (e *Encoder) Append(dst []byte, s *model.Samples, origins []Origin) []byte {
	checkSamples(s, origins)
	from, n := len(dst), s.Len()
	flags := optionalColumns(s, origins)
	dst = binary.AppendUvarint(append(dst, kindChunk|version, byte(s.Type)|flags), uint64(n))
	dst = encoding.AppendTimes(dst, s.Times)
	switch {
	case s.Type.Blob():
		dst = encoding.AppendBlobs(dst, s.Blobs)
	case s.Type == model.Float64:
		dst = encoding.AppendFloat64s(dst, s.Bits)
	case s.Type == model.Float32:
		dst = encoding.AppendFloat32s(dst, s.Bits)
	default:
		dst = encoding.AppendInts(dst, s.Bits)
	}
	if flags&hasQuality != 0 {
		dst = e.appendInts(dst, n, func(i int) uint64 { return uint64(s.Quality[i]) })
	}
	if flags&hasNull != 0 {
		dst = e.appendInts(dst, n, func(i int) uint64 { return oneIf(s.Null[i]) })
	}
	if flags&hasSeq != 0 {
		dst = e.appendInts(dst, n, func(i int) uint64 { return uint64(s.Seq[i]) })
	}
	if flags&hasOrigins != 0 {
		dst = appendOrigins(dst, origins, s.Times[0])
	}
	return seal(dst, from)
}

// optionalColumns is the flags of the columns that do not stand at their default.
func optionalColumns(s *model.Samples, origins []Origin) (flags byte) {
	if slices.ContainsFunc(s.Quality, func(q model.Quality) bool { return q != model.Good }) {
		flags |= hasQuality
	}
	if slices.Contains(s.Null, true) {
		flags |= hasNull
	}
	if slices.ContainsFunc(s.Seq, func(q uint32) bool { return q != 0 }) {
		flags |= hasSeq
	}
	if len(origins) > 0 {
		flags |= hasOrigins
	}
	return flags
}

func checkSamples(s *model.Samples, origins []Origin) {
	if err := s.Check(); err != nil {
		panic(fmt.Sprintf("encode chunk: %v", err))
	}
	if n := s.Len(); n < 1 || n > MaxSamples {
		panic(fmt.Sprintf("encode chunk: %d samples, most is %d", n, MaxSamples))
	}
	if err := checkOrder(s); err != nil {
		panic(fmt.Sprintf("encode chunk: %v", err))
	}
	covered := 0
	for _, o := range origins {
		if o.Samples < 1 {
			panic(fmt.Sprintf("encode chunk: origin of %d samples", o.Samples))
		}
		covered += o.Samples
	}
	if len(origins) > 0 && covered != s.Len() {
		panic(fmt.Sprintf("encode chunk: origins of %d samples, there are %d", covered, s.Len()))
	}
}

func (e *Encoder) appendInts(dst []byte, n int, at func(int) uint64) []byte {
	e.words = slices.Grow(e.words[:0], n)[:n]
	for i := range e.words {
		e.words[i] = at(i)
	}
	return encoding.AppendInts(dst, e.words)
}

func oneIf(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// second is the second that a time falls in; samples mostly arrive soon after it, so ingest seconds count from there.
func second(t int64) int64 {
	s := t / 1e9
	if t%1e9 < 0 {
		s--
	}
	return s
}

// appendOrigins writes the number of runs, and of each its samples (of the last they follow), source, and ingest second
// less that of the run before.
func appendOrigins(dst []byte, origins []Origin, first int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(origins)))
	prev := second(first)
	for i, o := range origins {
		if i < len(origins)-1 {
			dst = binary.AppendUvarint(dst, uint64(o.Samples))
		}
		dst = binary.AppendUvarint(dst, uint64(o.Source))
		dst = binary.AppendVarint(dst, o.Ingest-prev)
		prev = o.Ingest
	}
	return dst
}

// Inspect reads the head of a chunk, sealed or not. It checks the checksum, and decodes no column.
func Inspect(b []byte) (Info, error) {
	if len(b) > 0 && b[0]&kindMask == kindSealed {
		return inspectSealed(b)
	}
	info, _, body, err := parseHead(b, kindChunk)
	if err != nil {
		return Info{}, fmt.Errorf("inspect chunk: %w", err)
	}
	info.First, info.Last, err = encoding.TimeBounds(info.Count, body)
	if err != nil {
		return Info{}, fmt.Errorf("inspect chunk: %w", columnErr("times", err))
	}
	return info, nil
}

// parseHead returns type, count and flags, and the columns behind them.
func parseHead(b []byte, kind byte) (info Info, flags byte, body []byte, err error) {
	body, err = open(b, kind)
	if err != nil {
		return info, 0, nil, err
	}
	if len(body) == 0 {
		return info, 0, nil, fmt.Errorf("no type: %w", ErrCorrupt)
	}
	flags, info.Type = body[0], model.Type(body[0]&typeMask)
	if !info.Type.Valid() {
		return info, 0, nil, fmt.Errorf("%s: %w", info.Type, ErrCorrupt)
	}
	count, body, err := uvarint(body[1:], "count")
	if err != nil {
		return info, 0, nil, err
	}
	if count < 1 || count > MaxSamples {
		return info, 0, nil, fmt.Errorf("count %d, most is %d: %w", count, MaxSamples, ErrCorrupt)
	}
	info.Count = int(count)
	return info, flags, body, nil
}

// Decode reads a whole chunk into into, whose memory it reuses; b may be reused afterwards. After an error into is empty.
func Decode(b []byte, into *Data) error {
	if err := into.decode(b); err != nil {
		into.Reset()
		return fmt.Errorf("decode chunk: %w", err)
	}
	return nil
}

func (d *Data) decode(b []byte) error {
	info, flags, b, err := parseHead(b, kindChunk)
	if err != nil {
		return err
	}
	n := info.Count
	d.reset(info.Type, n)
	times, b, err := encoding.DecodeTimes(d.Times, n, b)
	if err != nil {
		return columnErr("times", err)
	}
	d.Times = times
	if b, err = d.decodeValues(n, b); err != nil {
		return columnErr("values", err)
	}
	if flags&hasQuality != 0 {
		if d.quality, b, err = decodeInts(d, d.quality, n, b); err != nil {
			return columnErr("quality", err)
		}
		d.Quality = d.quality
	}
	if flags&hasNull != 0 {
		if b, err = d.decodeNull(n, b); err != nil {
			return columnErr("null flags", err)
		}
	}
	if flags&hasSeq != 0 {
		if d.seq, b, err = decodeInts(d, d.seq, n, b); err != nil {
			return columnErr("seq", err)
		}
		d.Seq = d.seq
	}
	if flags&hasOrigins != 0 {
		if b, err = d.decodeOrigins(n, d.Times[0], b); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%d bytes behind the last column: %w", len(b), ErrCorrupt)
	}
	if err := checkOrder(&d.Samples); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

func (d *Data) decodeValues(n int, b []byte) (rest []byte, err error) {
	if d.Type.Blob() {
		values, arena, rest, err := encoding.DecodeBlobs(d.blobs, d.arena, n, b)
		if err != nil {
			return nil, err
		}
		d.blobs, d.arena = values, arena
		d.Blobs = values
		return rest, nil
	}
	decode := encoding.DecodeInts
	switch d.Type {
	case model.Float64:
		decode = encoding.DecodeFloat64s
	case model.Float32:
		decode = encoding.DecodeFloat32s
	}
	values, rest, err := decode(d.bits, n, b)
	if err != nil {
		return nil, err
	}
	d.bits = values
	d.Bits = values
	return rest, nil
}

// decodeInts reads a column of 32-bit integers.
func decodeInts[T ~uint32](d *Data, dst []T, n int, b []byte) ([]T, []byte, error) {
	words, b, err := encoding.DecodeInts(d.words, n, b)
	if err != nil {
		return dst, nil, err
	}
	d.words = words
	dst = slices.Grow(dst[:0], n)[:n]
	for i, w := range words {
		if w > 1<<32-1 {
			return dst, nil, fmt.Errorf("number %d needs more than 32 bits: %w", w, encoding.ErrCorrupt)
		}
		dst[i] = T(w)
	}
	return dst, b, nil
}

func (d *Data) decodeNull(n int, b []byte) ([]byte, error) {
	words, b, err := encoding.DecodeInts(d.words, n, b)
	if err != nil {
		return nil, err
	}
	d.words = words
	d.null = slices.Grow(d.null[:0], n)[:n]
	for i, w := range words {
		if w > 1 {
			return nil, fmt.Errorf("flag %d: %w", w, encoding.ErrCorrupt)
		}
		d.null[i] = w == 1
	}
	d.Null = d.null
	return b, nil
}

// decodeOrigins reads the origins of n samples, the first of them at time first.
func (d *Data) decodeOrigins(n int, first int64, b []byte) ([]byte, error) {
	runs, b, err := uvarint(b, "origins")
	if err != nil {
		return nil, err
	}
	if runs < 1 || runs > uint64(n) || runs > uint64(len(b)/2) {
		return nil, fmt.Errorf("%d origins of %d samples in %d bytes: %w", runs, n, len(b), ErrCorrupt)
	}
	left, prev := uint64(n), second(first)
	for i := range runs {
		samples, source, ingest := left, uint64(0), int64(0)
		if i < runs-1 {
			if samples, b, err = uvarint(b, "samples of origin"); err != nil {
				return nil, err
			}
		}
		if source, b, err = uvarint(b, "source"); err != nil {
			return nil, err
		}
		if ingest, b, err = varint(b, "ingest second"); err != nil {
			return nil, err
		}
		if samples < 1 || samples > left || source > 1<<32-1 {
			return nil, fmt.Errorf("origin %d of %d: %d samples of source %d, %d are left: %w", i+1, runs, samples, source, left, ErrCorrupt)
		}
		prev += ingest
		d.Origins = append(d.Origins, Origin{Samples: int(samples), Source: uint32(source), Ingest: prev})
		left -= samples
	}
	if left > 0 {
		return nil, fmt.Errorf("origins leave %d of %d samples out: %w", left, n, ErrCorrupt)
	}
	return b, nil
}

// checkOrder reports samples that do not ascend by (time, seq): searches and merges rely on it.
func checkOrder(s *model.Samples) error {
	t := s.Times
	for i := 1; i < len(t); i++ {
		if i+3 < len(t) && t[i-1] < t[i] && t[i] < t[i+1] && t[i+1] < t[i+2] && t[i+2] < t[i+3] { // nearly all there is
			i += 3
			continue
		}
		if t[i] > t[i-1] {
			continue
		}
		if t[i] < t[i-1] || s.SeqAt(i) <= s.SeqAt(i-1) {
			return fmt.Errorf("sample %d at %d, seq %d does not follow %d, seq %d", i, t[i], s.SeqAt(i), t[i-1], s.SeqAt(i-1))
		}
	}
	return nil
}
