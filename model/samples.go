package model

import (
	"bytes"
	"fmt"
	"math"
)

// TagID names a tag inside one log and the stores that apply it. Zero names none.
type TagID uint32

// Samples is a run of samples of one tag, one slice per column, all of the same length. Where it says so a nil column
// stands for its default. Unless a function says otherwise the order is ascending by (time, seq).
type Samples struct {
	Type  Type
	Times []int64 // nanoseconds since 1970 UTC

	// Bits holds the values of every type but String and Bytes: float64 and float32 as their IEEE bits (float32 in the
	// low 32), int64 as two's complement, uint64 as is, bool as 0 or 1, state as its code (an int64).
	Bits []uint64
	// Blobs holds the values of String and Bytes; Bits is nil then. The bytes belong to whoever filled the column.
	Blobs [][]byte

	Quality []Quality // nil: all Good
	Null    []bool    // nil: no sample is without a value. Bits or Blobs of a null sample are zero and mean nothing.
	Seq     []uint32  // nil: all 0. Above 0 only where several samples stand at one time.
}

// Len is the number of samples.
func (s *Samples) Len() int { return len(s.Times) }

// QualityAt is the quality of sample i.
func (s *Samples) QualityAt(i int) Quality {
	if s.Quality == nil {
		return Good
	}
	return s.Quality[i]
}

// IsNull reports whether sample i has no value.
func (s *Samples) IsNull(i int) bool { return s.Null != nil && s.Null[i] }

// SeqAt is the seq of sample i.
func (s *Samples) SeqAt(i int) uint32 {
	if s.Seq == nil {
		return 0
	}
	return s.Seq[i]
}

// Slice is the samples [from, to), sharing memory with s.
func (s *Samples) Slice(from, to int) Samples {
	out := Samples{Type: s.Type, Times: s.Times[from:to]}
	if len(s.Bits) > 0 {
		out.Bits = s.Bits[from:to]
	}
	if len(s.Blobs) > 0 {
		out.Blobs = s.Blobs[from:to]
	}
	if s.Quality != nil {
		out.Quality = s.Quality[from:to]
	}
	if s.Null != nil {
		out.Null = s.Null[from:to]
	}
	if s.Seq != nil {
		out.Seq = s.Seq[from:to]
	}
	return out
}

// Reset empties s for reuse, keeping its memory, and sets its type.
func (s *Samples) Reset(t Type) {
	s.Type = t
	s.Times, s.Bits, s.Blobs = s.Times[:0], s.Bits[:0], s.Blobs[:0]
	s.Quality, s.Null, s.Seq = nil, nil, nil
}

// Append adds one sample. Blob values are not copied.
func (s *Samples) Append(x Sample) {
	n := len(s.Times)
	s.Times = append(s.Times, x.Time)
	if s.Type.Blob() {
		s.Blobs = append(s.Blobs, x.Blob)
	} else {
		s.Bits = append(s.Bits, x.Bits)
	}
	if x.Quality != Good && s.Quality == nil {
		s.Quality = make([]Quality, n, cap(s.Times))
	}
	if s.Quality != nil {
		s.Quality = append(s.Quality, x.Quality)
	}
	if x.Null && s.Null == nil {
		s.Null = make([]bool, n, cap(s.Times))
	}
	if s.Null != nil {
		s.Null = append(s.Null, x.Null)
	}
	if x.Seq != 0 && s.Seq == nil {
		s.Seq = make([]uint32, n, cap(s.Times))
	}
	if s.Seq != nil {
		s.Seq = append(s.Seq, x.Seq)
	}
}

// At is sample i by itself.
func (s *Samples) At(i int) Sample {
	x := Sample{Time: s.Times[i], Type: s.Type, Quality: s.QualityAt(i), Null: s.IsNull(i), Seq: s.SeqAt(i)}
	if s.Type.Blob() {
		x.Blob = s.Blobs[i]
	} else {
		x.Bits = s.Bits[i]
	}
	return x
}

// Check reports the first way in which the columns of s do not fit together.
func (s *Samples) Check() error {
	n := len(s.Times)
	if !s.Type.Valid() {
		return fmt.Errorf("samples of %s: no such type", s.Type)
	}
	values := len(s.Bits)
	if s.Type.Blob() {
		values = len(s.Blobs)
	}
	if values != n {
		return fmt.Errorf("samples of %s: %d times and %d values", s.Type, n, values)
	}
	if s.Quality != nil && len(s.Quality) != n {
		return fmt.Errorf("samples of %s: %d times and %d qualities", s.Type, n, len(s.Quality))
	}
	if s.Null != nil && len(s.Null) != n {
		return fmt.Errorf("samples of %s: %d times and %d null flags", s.Type, n, len(s.Null))
	}
	if s.Seq != nil && len(s.Seq) != n {
		return fmt.Errorf("samples of %s: %d times and %d seqs", s.Type, n, len(s.Seq))
	}
	return nil
}

// Sample is one sample with its type, for the places that handle one at a time.
type Sample struct {
	Time    int64
	Type    Type
	Bits    uint64 // as in Samples.Bits
	Blob    []byte // as in Samples.Blobs
	Quality Quality
	Null    bool
	Seq     uint32
}

// SameValue reports whether a and b have the same type, value bits, null flag and quality, which is what makes a
// resend change nothing.
func (a Sample) SameValue(b Sample) bool {
	if a.Type != b.Type || a.Quality != b.Quality || a.Null != b.Null {
		return false
	}
	return a.Null || a.Bits == b.Bits && bytes.Equal(a.Blob, b.Blob)
}

// Float64 is the value of a numeric sample as a double, to nearest; false for null and for types without a number.
func (a Sample) Float64() (float64, bool) {
	if a.Null {
		return 0, false
	}
	switch a.Type {
	case Float64:
		return math.Float64frombits(a.Bits), true
	case Float32:
		return WidenFloat32(uint32(a.Bits)), true
	case Int64:
		return float64(int64(a.Bits)), true
	case Uint64:
		return float64(a.Bits), true
	}
	return 0, false
}

// WidenFloat32 is the double of the same value. Unlike the machine's own conversion it keeps the payload and the
// signalling bit of a NaN, so that [NarrowFloat32] gives back every one of the 2^32 patterns.
func WidenFloat32(bits uint32) float64 {
	if bits&0x7F800000 == 0x7F800000 && bits&0x007FFFFF != 0 {
		return math.Float64frombits(uint64(bits&0x80000000)<<32 | 0x7FF0000000000000 | uint64(bits&0x007FFFFF)<<29)
	}
	return float64(math.Float32frombits(bits))
}

// NarrowFloat32 undoes [WidenFloat32].
func NarrowFloat32(f float64) uint32 {
	b := math.Float64bits(f)
	if f != f {
		return uint32(b>>32)&0x80000000 | 0x7F800000 | uint32(b>>29)&0x007FFFFF
	}
	return math.Float32bits(float32(f))
}
