package quantile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// The bytes of a sketch; docs/format/sketch.md has them field by field.
const (
	version    = 1
	headerSize = 1 + 1 + 1 // version, mantissa, at least one byte of count
	limitsSize = 8 + 8     // least and greatest value
	leastBin   = 1 + 1     // the distance to the bin before and the weight are a byte at least
)

var (
	// ErrCorrupt is returned for bytes that are not what any release wrote.
	ErrCorrupt = errors.New("sketch is damaged")
	// ErrVersion is returned for bytes that a newer release wrote.
	ErrVersion = errors.New("sketch was written by a newer release")
)

// Append writes s behind dst. Equal sketches have equal bytes. Whoever stores them adds a checksum.
func (s *Sketch) Append(dst []byte) []byte {
	dst = append(dst, version, byte(s.mantissa))
	dst = binary.AppendUvarint(dst, uint64(len(s.keys)))
	if len(s.keys) == 0 {
		return dst
	}
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.min))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.max))
	before := -s.lastKey() - 1
	for i, key := range s.keys {
		dst = binary.AppendUvarint(dst, uint64(key-before-1))
		dst = binary.AppendUvarint(dst, s.weights[i]-1)
		before = key
	}
	return dst
}

// Decode reads a sketch that fills all of b. It keeps nothing of b.
func Decode(b []byte) (*Sketch, error) {
	s, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("read sketch of %d bytes: %w", len(b), err)
	}
	return s, nil
}

func decode(b []byte) (*Sketch, error) {
	if len(b) < headerSize || b[0] == 0 {
		return nil, fmt.Errorf("no header: %w", ErrCorrupt)
	}
	if b[0] > version {
		return nil, fmt.Errorf("version %d: %w", b[0], ErrVersion)
	}
	if b[1] > finest {
		return nil, fmt.Errorf("%d bits of mantissa, most is %d: %w", b[1], finest, ErrCorrupt)
	}
	s := &Sketch{mantissa: int(b[1])}
	n, b, ok := uvarint(b[2:])
	if !ok || n > MaxBins {
		return nil, fmt.Errorf("%d bins, most is %d: %w", n, MaxBins, ErrCorrupt)
	}
	if n == 0 {
		if len(b) > 0 {
			return nil, fmt.Errorf("%d bytes behind an empty one: %w", len(b), ErrCorrupt)
		}
		return s, nil
	}
	if uint64(len(b)) < limitsSize+leastBin*n {
		return nil, fmt.Errorf("%d bytes for %d bins: %w", len(b), n, ErrCorrupt)
	}
	s.min = math.Float64frombits(binary.LittleEndian.Uint64(b))
	s.max = math.Float64frombits(binary.LittleEndian.Uint64(b[8:]))
	b = b[limitsSize:]
	s.keys, s.weights = make([]int32, n), make([]uint64, n)
	last := int64(s.lastKey())
	key := -last - 1
	for i := range s.keys {
		var distance, weight, carry uint64
		if distance, b, ok = uvarint(b); !ok || distance > uint64(2*last) {
			return nil, fmt.Errorf("bin %d has no place: %w", i, ErrCorrupt)
		}
		if key += int64(distance) + 1; key > last {
			return nil, fmt.Errorf("bin %d is at %d, last is %d: %w", i, key, last, ErrCorrupt)
		}
		weight, b, ok = uvarint(b)
		if s.total, carry = bits.Add64(s.total, weight, 1); !ok || carry != 0 {
			return nil, fmt.Errorf("weight of bin %d: %w", i, ErrCorrupt)
		}
		s.keys[i], s.weights[i] = int32(key), weight+1
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes behind the last bin: %w", len(b), ErrCorrupt)
	}
	return s, s.checkLimits()
}

// checkLimits refuses a least and greatest value that do not lie in the first and last bin, NaN, -0, and limits of one sample
// that differ.
func (s *Sketch) checkLimits() error {
	first, last := s.keys[0], s.keys[len(s.keys)-1]
	zero := uint64(1) << 63
	switch {
	case s.min != s.min || s.max != s.max || s.key(s.min) != first || s.key(s.max) != last,
		!(s.min <= s.max), s.total == 1 && s.min != s.max,
		math.Float64bits(s.min) == zero || math.Float64bits(s.max) == zero:
		return fmt.Errorf("values %v to %v in bins %d to %d: %w", s.min, s.max, first, last, ErrCorrupt)
	}
	return nil
}

// uvarint reads a number and gives what is behind it; false for one that is cut off, too large, or longer than need be.
func uvarint(b []byte) (uint64, []byte, bool) {
	v, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 {
		return 0, nil, false
	}
	return v, b[size:], true
}
