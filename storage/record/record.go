// Package record is what the payload of a log record says.
//
//	version | kind | catalog revision | ingest time | body
//
// Kinds are numbered once and for ever; zero is none. A kind or version this release does not know stops apply with
// ErrVersion, never ingest: a newer release wrote it, and skipping it would silently lose what it says. Everything is
// decoded from the bytes in place; nothing is allocated on the word of a length field. docs/format/record.md describes
// each byte.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Sentinels for a payload that contradicts itself, and for one that a newer release wrote.
var (
	ErrCorrupt = errors.New("log record does not decode")
	ErrVersion = errors.New("log record was written by a newer release")
)

// Kind says what a record holds. The numbers reach disk and are never renumbered.
type Kind uint8

const (
	Samples        Kind = 1
	CatalogChange  Kind = 2
	Edit           Kind = 3 // samples with author and reason
	Delete         Kind = 4 // a time range of tags
	Erase          Kind = 5 // what tags have, for good: by retention, a purge or the disk budget
	HoldErase      Kind = 6 // keeps Erase records from a range of tags, or ends that
	CollectorState Kind = 7 // gaps, what ends and what withdraws them; unchanged until t
	Annotation     Kind = 8
	ForecastRun    Kind = 9
	Cut            Kind = 10 // ends the generation behind this record
	AcceptLoss     Kind = 11 // an operator lets apply go on behind lost offsets
	Undelete       Kind = 12 // what a Delete took away stands again
	RetentionRule  Kind = 13 // for how long a class of tags keeps what
)

const (
	version    = 1
	headerSize = 2 + 8 + 8

	// IngestAt is where in a payload the ingest time stands, for the door to fill in when the order is settled.
	IngestAt = 2 + 8
)

// Header opens every payload.
type Header struct {
	Kind     Kind
	Revision uint64 // of the catalog its ids were resolved against
	Ingest   int64  // nanoseconds UTC; never decreases with the offset
}

// AppendHeader starts a payload.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, version, byte(h.Kind))
	dst = binary.LittleEndian.AppendUint64(dst, h.Revision)
	return binary.LittleEndian.AppendUint64(dst, uint64(h.Ingest))
}

// DecodeHeader reads a payload's header and returns the body behind it.
func DecodeHeader(b []byte) (Header, []byte, error) {
	if len(b) < 1 {
		return Header{}, nil, fmt.Errorf("read record header: empty payload: %w", ErrCorrupt)
	}
	if b[0] == 0 {
		return Header{}, nil, fmt.Errorf("read record header: version 0: %w", ErrCorrupt)
	}
	if b[0] > version {
		return Header{}, nil, fmt.Errorf("read record header: version %d, newest known is %d: %w", b[0], version, ErrVersion)
	}
	if len(b) < headerSize {
		return Header{}, nil, fmt.Errorf("read record header: %d bytes, need %d: %w", len(b), headerSize, ErrCorrupt)
	}
	h := Header{
		Kind:     Kind(b[1]),
		Revision: binary.LittleEndian.Uint64(b[2:]),
		Ingest:   int64(binary.LittleEndian.Uint64(b[10:])),
	}
	if h.Kind == 0 {
		return Header{}, nil, fmt.Errorf("read record header: kind 0: %w", ErrCorrupt)
	}
	if h.Kind > RetentionRule {
		return Header{}, nil, fmt.Errorf("read record header: kind %d, newest known is %d: %w", h.Kind, RetentionRule, ErrVersion)
	}
	return h, b[headerSize:], nil
}

// reader takes fields off a body. After the first that does not fit every further one is zero and err is set. It moves a
// position instead of cutting the slice, since storing a slice for every field costs more than reading it.
type reader struct {
	b   []byte
	at  int
	err error
}

// rest is what has not been read.
func (r *reader) rest() []byte { return r.b[r.at:] }

// left is how many bytes that is.
func (r *reader) left() int { return len(r.b) - r.at }

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("read record: %s: %w", what, ErrCorrupt)
	}
	r.at = len(r.b)
}

func (r *reader) uvarint(what string) uint64 {
	// Tags, counts and small deltas take one or two bytes.
	b := r.b[r.at:]
	if len(b) >= 2 {
		if b[0] < 0x80 {
			r.at++
			return uint64(b[0])
		}
		if b[1] < 0x80 {
			r.at += 2
			return uint64(b[0]&0x7F) | uint64(b[1])<<7
		}
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		r.fail(what)
		return 0
	}
	r.at += n
	return v
}

// uvarint32 reads a number that must fit 32 bits: cut to them it would name another tag or stream.
func (r *reader) uvarint32(what string) uint32 {
	v := r.uvarint(what)
	if v > math.MaxUint32 {
		r.fail(fmt.Sprintf("%s %d", what, v))
		return 0
	}
	return uint32(v)
}

func (r *reader) varint(what string) int64 {
	u := r.uvarint(what)
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) fixed64(what string) uint64 {
	if r.left() < 8 {
		r.fail(what)
		return 0
	}
	v := binary.LittleEndian.Uint64(r.rest())
	r.at += 8
	return v
}

func (r *reader) byte(what string) byte {
	if r.left() < 1 {
		r.fail(what)
		return 0
	}
	v := r.b[r.at]
	r.at++
	return v
}

func (r *reader) bytes(what string) []byte {
	n := r.uvarint(what)
	if n > uint64(r.left()) {
		r.fail(what)
		return nil
	}
	v := r.rest()[:n:n]
	r.at += int(n)
	return v
}

func appendBytes(dst []byte, b string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendVarint(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v)<<1^uint64(v>>63))
}
