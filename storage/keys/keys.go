// Package keys lays out the LSM's key space. Keys compare as bytes, so every number is written big-endian, signed ones
// with the sign bit flipped.
//
//	01            meta: format, store id, applied offset
//	02 | row      catalog rows; 22 | row again
//	03 | row      identity rows; 23 | row again
//	04 | tag      latest: the newest samples of 16 tags from this one on; rebuilt from chunks when damaged
//	05 | tag      the set of partitions that hold samples of the tag
//	06 | partition | generation      directory: what a generation put into a partition; 26 again
//	07 | tag | id | offset      gaps: what each record said of one, which the first made; 27 again
//	08 | id | offset      annotations: what each record said of one; 28 again
//	0a | offset   what records of a generation did, by its last one; while the log has them
//	0b | tag      figures of what the tag's filter left out
//	30 | period | level | tag | stream | start | generation | kind | seq      chunk headers (level 0), rollups (1: hours, 2: a day, 3: ten minutes)
//	31 | tag | issue time | offset      forecast runs, by the record that brought them
//	40 | partition | kind | generation | tag | stream | start | length | seq      samples of generations
//	41 | partition | generation | kind | tag | stream | start | length | seq      sealed samples
//
// What every generation rewrites comes first and what is written once comes last, so that compactions of the former
// leave the latter alone; nothing that a generation writes may stand behind its samples, because the LSM widens a
// compaction over all new tables up to the next old one. Second copies are in tables of their own. Partition before
// generation before tag keeps what is dropped together, and what one generation writes, next to each other. Sealed
// samples come last, each seal as one stretch of keys that no other write falls into: its tables are put where they stay.
// docs/format/keys.md describes each byte. Space and kind numbers reach disk and are never renumbered.
package keys

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/varvedb/varve/model"
)

// ErrCorrupt is a key that is not of this layout.
var ErrCorrupt = errors.New("key does not decode")

// Space is the first byte of a key.
type Space byte

const (
	Meta            Space = 0x01
	Catalog         Space = 0x02
	Identity        Space = 0x03
	Latest          Space = 0x04
	Partitions      Space = 0x05
	Directory       Space = 0x06
	Gaps            Space = 0x07
	Notes           Space = 0x08
	Deletes         Space = 0x09
	Effects         Space = 0x0A
	Filtered        Space = 0x0B
	MetaMirror      Space = 0x21
	CatalogMirror   Space = 0x22
	IdentityMirror  Space = 0x23
	DirectoryMirror Space = 0x26
	GapsMirror      Space = 0x27
	NotesMirror     Space = 0x28
	DeletesMirror   Space = 0x29
	Headers         Space = 0x30
	Forecasts       Space = 0x31
	Data            Space = 0x40
	SealedData      Space = 0x41
)

// Kind tells apart what lies in a partition.
type Kind byte

const (
	Unsealed Kind = 1 // one tag's chunk of a generation
	Sealed   Kind = 2 // one tag's chunk after sealing
	Version  Kind = 3 // replaced and removed values
	Deletion Kind = 4 // keys removed from older generations
	Packed   Kind = 5 // chunks of several tags with few samples each; the key has the first tag

	SealedPacked  Kind = 6 // as Packed, after sealing
	SealedVersion Kind = 7 // as Version, after sealing
)

// Sealed reports whether values of the kind lie in the SealedData space.
func (k Kind) Sealed() bool { return k == Sealed || k == SealedPacked || k == SealedVersion }

// Span is the length of a partition.
type Span byte

const (
	Hour  Span = 1
	Day   Span = 2
	Month Span = 3
)

const (
	hourNanos = int64(time.Hour)
	dayNanos  = 24 * hourNanos
)

// Partition is one hour, UTC day or UTC month, counted from 1970, negative before it.
type Partition struct {
	Span   Span
	Number int32
}

// DayOf is the day an instant lies in.
func DayOf(t int64) Partition { return Partition{Day, int32(floorDiv(t, dayNanos))} }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// start is the first instant of the partition. Of the partition that holds the lowest instants it wraps around; offsets
// from it are right all the same.
func (p Partition) start() int64 {
	switch p.Span {
	case Hour:
		return int64(p.Number) * hourNanos
	case Day:
		return int64(p.Number) * dayNanos
	}
	return time.Date(1970, time.Month(1+p.Number), 1, 0, 0, 0, 0, time.UTC).UnixNano()
}

// Range is the instants of the partition that a sample may carry.
func (p Partition) Range() model.TimeRange {
	next := Partition{p.Span, p.Number + 1}
	r := model.TimeRange{Start: p.start(), End: next.start()}
	if p.Number < 0 && r.Start > 0 {
		r.Start = model.MinTime
	}
	if p.Number > 0 && r.End < 0 {
		r.End = model.All.End
	}
	return r
}

// Compare orders partitions as their keys do.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Span, q.Span), cmp.Compare(p.Number, q.Number))
}

func (p Partition) String() string {
	if p.Span == Day {
		return time.Unix(int64(p.Number)*86400, 0).UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("partition %d of span %d", p.Number, p.Span)
}

// Append writes the partition's part of a key.
func (p Partition) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(p.Span)), uint32(p.Number)^1<<31)
}

const partitionSize = 5

func decodePartition(b []byte) Partition {
	return Partition{Span(b[0]), int32(binary.BigEndian.Uint32(b[1:]) ^ 1<<31)}
}

// appendSmall writes a number that is nearly always small: one byte up to 250, else 0xFF and four bytes.
func appendSmall(dst []byte, v uint32) []byte {
	if v <= 250 {
		return append(dst, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xFF), v)
}

func takeSmall(b []byte) (uint32, []byte, bool) {
	switch {
	case len(b) >= 1 && b[0] <= 250:
		return uint32(b[0]), b[1:], true
	case len(b) >= 5 && b[0] == 0xFF:
		v := binary.BigEndian.Uint32(b[1:])
		return v, b[5:], v > 250 // a number has one form, or a name would have two keys
	}
	return 0, nil, false
}

func appendInt56(dst []byte, v uint64) []byte {
	return append(dst, byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func int56(b []byte) uint64 {
	return uint64(b[0])<<48 | uint64(b[1])<<40 | uint64(b[2])<<32 | uint64(b[3])<<24 | uint64(b[4])<<16 | uint64(b[5])<<8 | uint64(b[6])
}

// Chunk names a value in the Data or SealedData space, by its kind.
type Chunk struct {
	Partition  Partition
	Kind       Kind
	Generation uint64
	Tag        model.TagID
	Stream     uint32
	Start, End int64 // first and last instant
	Seq        uint32
}

// AppendGeneration writes the part of a Data or SealedData key in front of the tag.
func AppendGeneration(dst []byte, p Partition, k Kind, generation uint64) []byte {
	if k.Sealed() {
		return append(AppendSealed(dst, p, generation), byte(k))
	}
	dst = p.Append(append(dst, byte(Data)))
	return binary.BigEndian.AppendUint64(append(dst, byte(k)), generation)
}

// AppendSealed writes the part of a SealedData key that everything of one seal shares.
func AppendSealed(dst []byte, p Partition, generation uint64) []byte {
	return binary.BigEndian.AppendUint64(p.Append(append(dst, byte(SealedData))), generation)
}

// Append writes the key.
func (c *Chunk) Append(dst []byte) []byte {
	dst = AppendGeneration(dst, c.Partition, c.Kind, c.Generation)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Tag))
	dst = appendSmall(dst, c.Stream)
	dst = appendInt56(dst, uint64(c.Start-c.Partition.start()))
	dst = appendInt56(dst, uint64(c.End-c.Start))
	return appendSmall(dst, c.Seq)
}

// DecodeChunk reads a key of the Data or SealedData space.
func DecodeChunk(key []byte) (Chunk, error) {
	var c Chunk
	const fixed = 1 + partitionSize + 1 + 8 + 4
	if len(key) < fixed || Space(key[0]) != Data && Space(key[0]) != SealedData {
		return c, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	c.Partition = decodePartition(key[1:])
	if Space(key[0]) == Data {
		c.Kind, c.Generation = Kind(key[6]), binary.BigEndian.Uint64(key[7:])
	} else {
		c.Generation, c.Kind = binary.BigEndian.Uint64(key[6:]), Kind(key[14])
	}
	if c.Kind.Sealed() != (Space(key[0]) == SealedData) {
		return c, fmt.Errorf("read key %x: kind %d: %w", key, c.Kind, ErrCorrupt)
	}
	c.Tag = model.TagID(binary.BigEndian.Uint32(key[15:]))
	stream, rest, ok := takeSmall(key[fixed:])
	if !ok || len(rest) < 14 {
		return c, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	c.Stream = stream
	c.Start = c.Partition.start() + int64(int56(rest))
	c.End = c.Start + int64(int56(rest[7:]))
	if c.Seq, rest, ok = takeSmall(rest[14:]); !ok || len(rest) != 0 {
		return c, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	return c, nil
}

// Header names a chunk or rollups in the Headers space, ordered by period, level, tag and start.
type Header struct {
	Level      byte // 0: a chunk; 1: the rollups of the hours of a day; 2: that of a day; 3: those of its ten minutes
	Kind       Kind // of the chunk: a seal and the newest generation in it have one number; of a rollup Sealed
	Tag        model.TagID
	Stream     uint32
	Start      int64
	Generation uint64
	Seq        uint32
}

// Period is the UTC year an instant lies in.
func Period(t int64) int16 { return int16(time.Unix(0, t).UTC().Year()) }

// AppendHeaders writes the part of a Headers key up to the start: what one tag's headers of a period share.
func AppendHeaders(dst []byte, period int16, level byte, tag model.TagID, stream uint32) []byte {
	dst = append(dst, byte(Headers))
	dst = binary.BigEndian.AppendUint16(dst, uint16(period)^1<<15)
	dst = binary.BigEndian.AppendUint32(append(dst, level), uint32(tag))
	return appendSmall(dst, stream)
}

// AppendTime writes an instant so that it compares as it should.
func AppendTime(dst []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^1<<63)
}

// Append writes the key.
func (h *Header) Append(dst []byte) []byte {
	dst = AppendHeaders(dst, Period(h.Start), h.Level, h.Tag, h.Stream)
	dst = AppendTime(dst, h.Start)
	dst = binary.BigEndian.AppendUint64(dst, h.Generation)
	return appendSmall(append(dst, byte(h.Kind)), h.Seq)
}

// Header is the name of the chunk's header.
func (c *Chunk) Header() Header {
	return Header{Kind: c.Kind, Tag: c.Tag, Stream: c.Stream, Start: c.Start, Generation: c.Generation, Seq: c.Seq}
}

// DecodeHeader reads a key of the Headers space.
func DecodeHeader(key []byte) (Header, error) {
	var h Header
	if len(key) < 8 || Space(key[0]) != Headers {
		return h, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	h.Level = key[3]
	h.Tag = model.TagID(binary.BigEndian.Uint32(key[4:]))
	stream, rest, ok := takeSmall(key[8:])
	if !ok || len(rest) < 17 {
		return h, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	h.Stream = stream
	h.Start = int64(binary.BigEndian.Uint64(rest) ^ 1<<63)
	h.Generation, h.Kind = binary.BigEndian.Uint64(rest[8:]), Kind(rest[16])
	if h.Seq, rest, ok = takeSmall(rest[17:]); !ok || len(rest) != 0 {
		return h, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	return h, nil
}

// AppendTag writes a key of the Latest space, of the first of the tags that share a row, or of the Filtered space.
func AppendTag(dst []byte, s Space, tag model.TagID) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(s)), uint32(tag))
}

// AppendPartitions writes a key of the Partitions space: one set per tag and span.
func AppendPartitions(dst []byte, tag model.TagID, s Span) []byte {
	return append(AppendTag(dst, Partitions, tag), byte(s))
}

// DecodeTag reads the tag of a key of the Latest or Partitions space.
func DecodeTag(key []byte) (model.TagID, error) {
	if len(key) < 5 {
		return 0, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	return model.TagID(binary.BigEndian.Uint32(key[1:])), nil
}

// AppendOffset writes a key of a space whose rows are named by a log offset.
func AppendOffset(dst []byte, s Space, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(s)), offset)
}

// DecodeOffset reads the offset of such a key.
func DecodeOffset(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// AppendDirectory writes a key of the Directory space or its mirror.
func AppendDirectory(dst []byte, s Space, p Partition, generation uint64) []byte {
	return binary.BigEndian.AppendUint64(p.Append(append(dst, byte(s))), generation)
}

// DecodeDirectory reads a key of the Directory space or its mirror.
func DecodeDirectory(key []byte) (Partition, uint64, error) {
	if len(key) != 1+partitionSize+8 {
		return Partition{}, 0, fmt.Errorf("read key %x: %w", key, ErrCorrupt)
	}
	return decodePartition(key[1:]), binary.BigEndian.Uint64(key[6:]), nil
}

// Next is the first key behind all that begin with prefix.
func Next(prefix []byte) []byte {
	next := append([]byte{}, prefix...)
	for i := len(next) - 1; i >= 0; i-- {
		next[i]++
		if next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}

// AppendGenerationTag is the part of a Data or SealedData key up to the tag.
func AppendGenerationTag(p Partition, k Kind, generation uint64, tag model.TagID) []byte {
	return binary.BigEndian.AppendUint32(AppendGeneration(nil, p, k, generation), uint32(tag))
}
