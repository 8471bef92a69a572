package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/varvedb/varve/storage/keys"
)

// headerValue is what the header of a chunk says beside its key. Version 1: kind, length, count, bytes; behind them is
// room for the partials of sealed chunks.
type headerValue struct {
	kind   keys.Kind
	length uint64 // nanoseconds from first to last sample
	count  uint64 // samples
	bytes  uint64 // of the chunk
}

const headerVersion = 1

func (h *headerValue) append(dst []byte) []byte {
	dst = append(dst, headerVersion, byte(h.kind))
	dst = binary.AppendUvarint(dst, h.length)
	dst = binary.AppendUvarint(dst, h.count)
	return binary.AppendUvarint(dst, h.bytes)
}

func decodeHeaderValue(b []byte) (headerValue, error) {
	if len(b) < 2 || b[0] == 0 {
		return headerValue{}, fmt.Errorf("read chunk header: %d bytes: %w", len(b), ErrCorrupt)
	}
	if b[0] > headerVersion {
		return headerValue{}, fmt.Errorf("read chunk header: version %d: %w", b[0], ErrVersion)
	}
	h := headerValue{kind: keys.Kind(b[1])}
	b = b[2:]
	for _, f := range []*uint64{&h.length, &h.count, &h.bytes} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return headerValue{}, fmt.Errorf("read chunk header: %w", ErrCorrupt)
		}
		*f, b = v, b[n:]
	}
	return h, nil
}
