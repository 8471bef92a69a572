package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
)

var (
	// ErrCorrupt is returned for bytes that are no filter's state.
	ErrCorrupt = errors.New("filter state is damaged")
	// ErrVersion is returned for a state that a newer release wrote.
	ErrVersion = errors.New("filter state was written by a newer release")
)

// Bits of the byte that a state has for a newest sample and for settings. They reach stored states.
const (
	flagKnown   = 1
	flagPending = 2
	flagNull    = 4
	flagStepped = 1
)

// AppendSettings writes settings as [State.Settings] reads them.
func AppendSettings(b []byte, s Settings) []byte {
	b = AppendFloat(b, s.Deviation)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.MinTime))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.MaxTime))
	return append(b, flag(s.Stepped, flagStepped))
}

// AppendNewest writes a newest sample as [State.Newest] reads it.
func AppendNewest(b []byte, n *Newest) []byte {
	b = append(b, flag(n.Known, flagKnown)|flag(n.Pending, flagPending)|flag(n.Null, flagNull))
	if !n.Known {
		return b
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(n.Time))
	b = append(b, byte(n.Type))
	b = binary.LittleEndian.AppendUint32(b, uint32(n.Quality))
	b = binary.LittleEndian.AppendUint32(b, n.Seq)
	if n.Type.Blob() {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(n.Blob)))
		return append(b, n.Blob...)
	}
	return binary.LittleEndian.AppendUint64(b, n.Bits)
}

// AppendFloat writes the bits of a double.
func AppendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// State reads the bytes of a filter's state from the front. After the first fault everything reads as zero, and Err says
// what it was.
type State struct {
	Rest []byte
	Err  error
}

// Fail notes a fault, if it is the first.
func (r *State) Fail(format string, a ...any) {
	if r.Err == nil {
		r.Err = fmt.Errorf(format+": %w", append(a, ErrCorrupt)...)
	}
}

// Version reads the byte a state begins with and refuses one above newest.
func (r *State) Version(newest byte) {
	switch v := r.Byte(); {
	case r.Err != nil:
	case v == 0:
		r.Fail("version 0")
	case v > newest:
		r.Err = fmt.Errorf("version %d, this release reads up to %d: %w", v, newest, ErrVersion)
	}
}

func (r *State) take(n int) []byte {
	if r.Err == nil && len(r.Rest) < n {
		r.Fail("%d bytes where %d should follow", len(r.Rest), n)
	}
	if r.Err != nil {
		return make([]byte, min(n, 8))
	}
	b := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return b
}

// Byte reads one byte.
func (r *State) Byte() byte { return r.take(1)[0] }

// Uint32 reads four bytes.
func (r *State) Uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

// Int64 reads eight bytes.
func (r *State) Int64() int64 { return int64(binary.LittleEndian.Uint64(r.take(8))) }

// Float reads a double that is a number or infinite.
func (r *State) Float() float64 {
	f := math.Float64frombits(uint64(r.Int64()))
	if math.IsNaN(f) {
		r.Fail("not a number")
		return 0
	}
	return f
}

// Finite reads a double that is neither infinite nor no number.
func (r *State) Finite() float64 {
	f := r.Float()
	if math.IsInf(f, 0) {
		r.Fail("infinite number")
		return 0
	}
	return f
}

// Settings reads what AppendSettings wrote.
func (r *State) Settings() Settings {
	var s Settings
	s.Deviation = r.Float()
	s.MinTime = Elapsed(0, r.Int64())
	s.MaxTime = Elapsed(0, r.Int64())
	flags := r.Byte()
	s.Stepped = flags&flagStepped != 0
	if err := s.Check(); err != nil || flags&^flagStepped != 0 {
		r.Fail("settings %+v with flags %d", s, flags)
	}
	return s
}

// Newest reads what AppendNewest wrote.
func (r *State) Newest() Newest {
	var n Newest
	flags := r.Byte()
	if flags&^(flagKnown|flagPending|flagNull) != 0 || flags&flagKnown == 0 && flags != 0 {
		r.Fail("flags %d of the newest sample", flags)
	}
	if flags&flagKnown == 0 || r.Err != nil {
		return n
	}
	n.Known, n.Pending, n.Null = true, flags&flagPending != 0, flags&flagNull != 0
	n.Time = r.Int64()
	n.Type = model.Type(r.Byte())
	n.Quality = model.Quality(r.Uint32())
	n.Seq = r.Uint32()
	if !n.Type.Valid() {
		r.Fail("%s of the newest sample", n.Type)
		return Newest{}
	}
	if !n.Type.Blob() {
		n.Bits = uint64(r.Int64())
		return n
	}
	size := r.Uint32()
	if size > model.MaxBlobBytes || int(size) > len(r.Rest) {
		r.Fail("%d bytes of text where %d follow", size, len(r.Rest))
		return Newest{}
	}
	n.Blob = append([]byte{}, r.take(int(size))...)
	return n
}

// End checks that nothing follows.
func (r *State) End() error {
	if r.Err == nil && len(r.Rest) > 0 {
		r.Fail("%d bytes behind the end", len(r.Rest))
	}
	return r.Err
}
