package chunk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/varvedb/varve/compression/encoding"
	"github.com/varvedb/varve/model"
)

// SealedEncoder encodes sealed chunks: what Encoder encodes, in columns that take more time to write and less room, and that
// can be read from the middle. It keeps scratch memory between calls and serves one goroutine; its zero value is ready.
type SealedEncoder struct {
	columns encoding.SealedEncoder
	words   []uint64
	body    []byte
}

// Append encodes s behind dst, under the conditions of Encoder.Append.
func (e *SealedEncoder) Append(dst []byte, s *model.Samples, origins []Origin) []byte {
	checkSamples(s, origins)
	from, n := len(dst), s.Len()
	flags := optionalColumns(s, origins)
	dst = binary.AppendUvarint(append(dst, kindSealed|version, byte(s.Type)|flags), uint64(n))
	e.body = e.body[:0]
	end := func() { dst = binary.AppendUvarint(dst, uint64(len(e.body))) }
	e.body = e.columns.AppendTimes(e.body, s.Times)
	end()
	switch {
	case s.Type.Blob():
		e.body = e.columns.AppendBlobs(e.body, s.Blobs)
	case s.Type == model.Float64:
		e.body = e.columns.AppendFloat64s(e.body, s.Bits)
	case s.Type == model.Float32:
		e.body = e.columns.AppendFloat32s(e.body, s.Bits)
	default:
		e.body = e.columns.AppendInts(e.body, s.Bits)
	}
	end()
	if flags&hasQuality != 0 {
		e.appendInts(n, func(i int) uint64 { return uint64(s.Quality[i]) })
		end()
	}
	if flags&hasNull != 0 {
		e.appendInts(n, func(i int) uint64 { return oneIf(s.Null[i]) })
		end()
	}
	if flags&hasSeq != 0 {
		e.appendInts(n, func(i int) uint64 { return uint64(s.Seq[i]) })
		end()
	}
	dst = append(dst, e.body...)
	if flags&hasOrigins != 0 {
		dst = e.appendOrigins(dst, origins, s.Times[0])
	}
	return seal(dst, from)
}

// manyOrigins is how many origins are written as columns. Samples that came in another order than that of time have one for
// every run that came together, and as a list those take more room than the values.
const manyOrigins = 16

// appendOrigins writes the origins of a chunk whose first sample is at first: a list, or 0 and columns.
func (e *SealedEncoder) appendOrigins(dst []byte, origins []Origin, first int64) []byte {
	if len(origins) < manyOrigins {
		return appendOrigins(dst, origins, first)
	}
	dst = binary.AppendUvarint(append(dst, 0), uint64(len(origins)))
	from := second(first)
	for i, field := range []func(*Origin) uint64{
		func(o *Origin) uint64 { return uint64(o.Samples) },
		func(o *Origin) uint64 { return uint64(o.Source) },
		func(o *Origin) uint64 { return uint64(o.Ingest - from) },
	} {
		e.body = e.body[:0]
		e.appendInts(len(origins), func(i int) uint64 { return field(&origins[i]) })
		if i < 2 { // the last takes what is left
			dst = binary.AppendUvarint(dst, uint64(len(e.body)))
		}
		dst = append(dst, e.body...)
	}
	return dst
}

func (e *SealedEncoder) appendInts(n int, at func(int) uint64) {
	e.words = slices.Grow(e.words[:0], n)[:n]
	for i := range e.words {
		e.words[i] = at(i)
	}
	e.body = e.columns.AppendInts(e.body, e.words)
}

// sealedColumns is the columns of a sealed chunk, not yet decoded.
type sealedColumns struct {
	Info
	flags                             byte
	times, values, quality, null, seq []byte
	origins                           []byte
}

// columnFlags is what says that a column is there, in the order they stand in. Times and values always are.
var columnFlags = [5]byte{0, 0, hasQuality, hasNull, hasSeq}

// parseSealed splits a sealed chunk up.
func parseSealed(b []byte) (c sealedColumns, err error) {
	info, flags, b, err := parseHead(b, kindSealed)
	if err != nil {
		return c, err
	}
	c.Info, c.flags = info, flags
	var ends [len(columnFlags)]uint64
	for i, flag := range columnFlags {
		if flags&flag != flag {
			continue
		}
		if ends[i], b, err = uvarint(b, "length of columns"); err != nil {
			return c, err
		}
	}
	at := uint64(0)
	for i, column := range [len(columnFlags)]*[]byte{&c.times, &c.values, &c.quality, &c.null, &c.seq} {
		if flags&columnFlags[i] != columnFlags[i] {
			continue
		}
		end := ends[i]
		if end < at || end > uint64(len(b)) {
			return c, fmt.Errorf("column %d ends at %d of %d bytes, begins at %d: %w", i, end, len(b), at, ErrCorrupt)
		}
		*column = b[at:end:end]
		at = end
	}
	c.origins = b[at:]
	return c, nil
}

func inspectSealed(b []byte) (Info, error) {
	c, err := parseSealed(b)
	if err != nil {
		return Info{}, fmt.Errorf("inspect sealed chunk: %w", err)
	}
	var d encoding.SealedDecoder
	firsts, last, err := d.TimeBlocks(nil, c.Count, c.times)
	if err != nil {
		return Info{}, fmt.Errorf("inspect sealed chunk: %w", columnErr("times", err))
	}
	c.First, c.Last = firsts[0], last
	return c.Info, nil
}

// SealedDecoder decodes sealed chunks. It keeps scratch memory between calls and serves one goroutine; its zero value is
// ready.
type SealedDecoder struct {
	columns encoding.SealedDecoder
	firsts  []int64     // of the blocks of a chunk
	runs    [3][]uint64 // samples, sources and seconds of many origins
}

// Decode reads the blocks of a sealed chunk that may hold samples of a range into into, whose memory it reuses; b may be
// reused afterwards. There may be no such block, and samples in front of the range; of texts some behind it too.
// After an error into is empty.
func (d *SealedDecoder) Decode(b []byte, in model.TimeRange, into *Data) error {
	if err := d.decode(b, in, into); err != nil {
		into.Reset()
		return fmt.Errorf("decode sealed chunk: %w", err)
	}
	return nil
}

func (d *SealedDecoder) decode(b []byte, in model.TimeRange, into *Data) error {
	c, err := parseSealed(b)
	if err != nil {
		return err
	}
	first, from, to, err := d.blocksOf(&c, in)
	if err != nil || from == to {
		into.Reset()
		into.Type = c.Type
		return err
	}
	lo, hi := from*encoding.SealedBlock, min(to*encoding.SealedBlock, c.Count)
	into.reset(c.Type, hi-lo)
	into.Times = sized(into.Times, hi-lo)
	if err := d.columns.Times(into.Times, c.Count, c.times, from, to); err != nil {
		return columnErr("times", err)
	}
	n := d.within(&c, into.Times, to-from, in.End)
	into.Times, hi = into.Times[:n], lo+n
	if err := d.values(&c, into, n, from, to); err != nil {
		return columnErr("values", err)
	}
	if err := d.others(&c, into, n, from, to); err != nil {
		return err
	}
	if err := d.origins(&c, into, first, lo, hi); err != nil {
		return err
	}
	if err := checkOrder(&into.Samples); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// blocksOf is the blocks that may hold samples of a range, and the time of the chunk's first sample.
func (d *SealedDecoder) blocksOf(c *sealedColumns, in model.TimeRange) (first int64, from, to int, err error) {
	firsts, last, err := d.columns.TimeBlocks(d.firsts[:0], c.Count, c.times)
	if err != nil {
		return 0, 0, 0, columnErr("times", err)
	}
	d.firsts = firsts
	if last < in.Start {
		return firsts[0], 0, 0, nil
	}
	from, _ = slices.BinarySearch(firsts, in.Start)
	to, _ = slices.BinarySearch(firsts, in.End)
	// A block that begins before the range may reach into it; one that begins with it may be begun by the block before.
	return firsts[0], max(from-1, 0), to, nil
}

// within is how many times of some blocks lie before an instant that the last of them begins before. Texts are read by the block.
func (d *SealedDecoder) within(c *sealedColumns, times []int64, blocks int, end int64) int {
	if c.Type.Blob() {
		return len(times)
	}
	first := (blocks - 1) * encoding.SealedBlock
	n, _ := slices.BinarySearch(times[first:], end)
	return first + max(n, 1)
}

func (d *SealedDecoder) values(c *sealedColumns, into *Data, n, from, to int) (err error) {
	if c.Type.Blob() {
		into.blobs, into.arena, err = d.columns.Blobs(sized(into.blobs, n), into.arena[:0], c.Count, c.values, from, to)
		into.Blobs = into.blobs
		return err
	}
	into.bits = sized(into.bits, n)
	into.Bits = into.bits
	switch c.Type {
	case model.Float64:
		return d.columns.Float64s(into.bits, c.Count, c.values, from, to)
	case model.Float32:
		return d.columns.Float32s(into.bits, c.Count, c.values, from, to)
	}
	return d.columns.Ints(into.bits, c.Count, c.values, from, to)
}

// others reads the columns that most chunks do without.
func (d *SealedDecoder) others(c *sealedColumns, into *Data, n, from, to int) error {
	words := func(what string, column []byte, most uint64) error {
		into.words = sized(into.words, n)
		if err := d.columns.Ints(into.words, c.Count, column, from, to); err != nil {
			return columnErr(what, err)
		}
		for _, w := range into.words {
			if w > most {
				return fmt.Errorf("%s: %d, most is %d: %w", what, w, most, ErrCorrupt)
			}
		}
		return nil
	}
	if c.quality != nil {
		if err := words("quality", c.quality, 1<<32-1); err != nil {
			return err
		}
		into.quality = narrowed(into.quality, into.words)
		into.Quality = into.quality
	}
	if c.null != nil {
		if err := words("null flags", c.null, 1); err != nil {
			return err
		}
		into.null = sized(into.null, n)
		for i, w := range into.words {
			into.null[i] = w == 1
		}
		into.Null = into.null
	}
	if c.seq != nil {
		if err := words("seq", c.seq, 1<<32-1); err != nil {
			return err
		}
		into.seq = narrowed(into.seq, into.words)
		into.Seq = into.seq
	}
	return nil
}

// origins reads the origins of the samples [lo, hi) of a chunk whose first sample is at first.
func (d *SealedDecoder) origins(c *sealedColumns, into *Data, first int64, lo, hi int) error {
	if c.flags&hasOrigins == 0 {
		if len(c.origins) > 0 {
			return fmt.Errorf("%d bytes behind the last column: %w", len(c.origins), ErrCorrupt)
		}
		return nil
	}
	if len(c.origins) > 0 && c.origins[0] == 0 {
		if err := d.manyOrigins(c, into, first); err != nil {
			return err
		}
		into.Origins = CutOrigins(into.Origins, lo, hi)
		return nil
	}
	rest, err := into.decodeOrigins(c.Count, first, c.origins)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes behind the origins: %w", len(rest), ErrCorrupt)
	}
	into.Origins = CutOrigins(into.Origins, lo, hi)
	return nil
}

// manyOrigins reads all origins of a chunk that are written as columns.
func (d *SealedDecoder) manyOrigins(c *sealedColumns, into *Data, first int64) error {
	count, b, err := uvarint(c.origins[1:], "origins")
	if err != nil {
		return err
	}
	if count < manyOrigins || count > uint64(c.Count) {
		return fmt.Errorf("%d origins in columns of %d samples: %w", count, c.Count, ErrCorrupt)
	}
	n := int(count)
	for i := range d.runs {
		column := b
		if i < len(d.runs)-1 {
			var size uint64
			if size, b, err = uvarint(b, "length of origins"); err != nil {
				return err
			}
			if size > uint64(len(b)) {
				return fmt.Errorf("origins take %d bytes, %d are there: %w", size, len(b), ErrCorrupt)
			}
			column, b = b[:size], b[size:]
		}
		d.runs[i] = sized(d.runs[i], n)
		if err := d.columns.Ints(d.runs[i], n, column, 0, (n+encoding.SealedBlock-1)/encoding.SealedBlock); err != nil {
			return columnErr("origins", err)
		}
	}
	left, from := uint64(c.Count), second(first)
	for i := range n {
		samples, source := d.runs[0][i], d.runs[1][i]
		if samples < 1 || samples > left || source > 1<<32-1 {
			return fmt.Errorf("origin %d of %d: %d samples of source %d, %d are left: %w", i+1, n, samples, source, left, ErrCorrupt)
		}
		into.Origins = append(into.Origins, Origin{Samples: int(samples), Source: uint32(source), Ingest: from + int64(d.runs[2][i])})
		left -= samples
	}
	if left > 0 {
		return fmt.Errorf("origins leave %d of %d samples out: %w", left, c.Count, ErrCorrupt)
	}
	return nil
}

// CutOrigins is the origins of the samples [from, to), in the memory of in.
func CutOrigins(in []Origin, from, to int) []Origin {
	at, out := 0, in[:0]
	for _, o := range in {
		lo, hi := max(at, from), min(at+o.Samples, to)
		at += o.Samples
		if lo < hi {
			o.Samples = hi - lo
			out = append(out, o)
		}
	}
	return out
}

// sized is memory for n elements of any content.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

func narrowed[T ~uint32](dst []T, words []uint64) []T {
	dst = sized(dst, len(words))
	for i, w := range words {
		dst[i] = T(w)
	}
	return dst
}
