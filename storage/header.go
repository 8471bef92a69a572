package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/varvedb/varve/storage/keys"
)

// headerValue is what the header of a chunk says beside its key. Version 1: length, count, bytes, and of a sealed chunk
// before and after; behind them is room for its partials.
//
// A sealed chunk answers for all instants from the start in its key over its length, both ends inside: whatever sealed
// chunks of lower generations lie wholly in there are superseded. Its samples may begin later and end earlier, or be none.
type headerValue struct {
	length uint64 // nanoseconds: from the first to the last sample; of a sealed chunk from the first instant to the last
	count  uint64 // samples
	bytes  uint64 // of the chunk
	before uint64 // of a sealed chunk, nanoseconds from its first instant to its first sample
	after  uint64 // and from its last sample to its last instant
}

const headerVersion = 1

func (h *headerValue) append(dst []byte, k keys.Kind) []byte {
	dst = append(dst, headerVersion)
	dst = binary.AppendUvarint(dst, h.length)
	dst = binary.AppendUvarint(dst, h.count)
	dst = binary.AppendUvarint(dst, h.bytes)
	if k == keys.Sealed {
		dst = binary.AppendUvarint(dst, h.before)
		dst = binary.AppendUvarint(dst, h.after)
	}
	return dst
}

func decodeHeaderValue(b []byte, k keys.Kind) (headerValue, error) {
	if len(b) < 1 || b[0] == 0 {
		return headerValue{}, fmt.Errorf("read chunk header: %d bytes: %w", len(b), ErrCorrupt)
	}
	if b[0] > headerVersion {
		return headerValue{}, fmt.Errorf("read chunk header: version %d: %w", b[0], ErrVersion)
	}
	var h headerValue
	b = b[1:]
	for i, f := range []*uint64{&h.length, &h.count, &h.bytes, &h.before, &h.after} {
		if i == 3 && k != keys.Sealed {
			break
		}
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return headerValue{}, fmt.Errorf("read chunk header: %w", ErrCorrupt)
		}
		*f, b = v, b[n:]
	}
	if h.before > h.length || h.after > h.length-h.before {
		return headerValue{}, fmt.Errorf("read chunk header: samples end %d and %d ns inside %d: %w", h.before, h.after, h.length, ErrCorrupt)
	}
	return h, nil
}
