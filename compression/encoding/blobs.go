package encoding

import (
	"encoding/binary"
	"fmt"
)

// The codecs of a column of text or bytes. They reach disk and are never renumbered; zero is never written.
const (
	blobPlain      = 1 // lengths, then all bytes
	blobDictionary = 2 // distinct values as a plain column, then the index of each value
)

// maxDictionary bounds the distinct values that are looked for: past it a dictionary would hardly pay.
const maxDictionary = 4096

// AppendBlobs encodes at least one value. Nil and empty are the same.
func AppendBlobs(dst []byte, v [][]byte) []byte {
	distinct, indexes, ok := dictionaryOf(v)
	if ok {
		dst = binary.AppendUvarint(append(dst, blobDictionary), uint64(len(distinct)))
		return AppendInts(appendPlain(dst, distinct), indexes)
	}
	return appendPlain(append(dst, blobPlain), v)
}

// dictionaryOf is the distinct values in order of appearance and the index of each value, if storing them that way
// saves more than the indexes cost.
func dictionaryOf(v [][]byte) (distinct [][]byte, indexes []uint64, ok bool) {
	if len(v) < 2 {
		return nil, nil, false
	}
	places := make(map[string]uint64)
	indexes = make([]uint64, len(v))
	saved := 0
	for i, x := range v {
		at, seen := places[string(x)]
		if !seen {
			if len(distinct) == maxDictionary {
				return nil, nil, false
			}
			at = uint64(len(distinct))
			places[string(x)] = at
			distinct = append(distinct, x)
		} else {
			saved += len(x)
		}
		indexes[i] = at
	}
	return distinct, indexes, saved > 2*len(v) || len(distinct) <= len(v)/8 && saved > 0
}

func appendPlain(dst []byte, v [][]byte) []byte {
	lengths := make([]uint64, len(v))
	for i, x := range v {
		lengths[i] = uint64(len(x))
	}
	dst = AppendInts(dst, lengths)
	for _, x := range v {
		dst = append(dst, x...)
	}
	return dst
}

// DecodeBlobs reads n values, n at least 1, reusing the memory of dst and arena. The values share arena, which is a copy
// of the encoded bytes, so b may be reused. It returns what stands behind the column.
func DecodeBlobs(dst [][]byte, arena []byte, n int, b []byte) (values [][]byte, grownArena, rest []byte, err error) {
	if n < 1 || len(b) == 0 || b[0] == 0 {
		return nil, nil, nil, fmt.Errorf("decode blobs: %d of them in %d bytes: %w", n, len(b), ErrCorrupt)
	}
	switch b[0] {
	case blobPlain:
		return decodePlain(dst, arena, n, b[1:])
	case blobDictionary:
		return decodeDictionary(dst, arena, n, b[1:])
	}
	return nil, nil, nil, fmt.Errorf("decode blobs: codec %d, newest known is %d: %w", b[0], blobDictionary, ErrVersion)
}

func decodePlain(dst [][]byte, arena []byte, n int, b []byte) ([][]byte, []byte, []byte, error) {
	lengths, b, err := DecodeInts(nil, n, b)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("decode lengths of blobs: %w", err)
	}
	total := uint64(0)
	for i, l := range lengths {
		if l > uint64(len(b)) || total+l > uint64(len(b)) {
			return nil, nil, nil, fmt.Errorf("decode blobs: %d of %d end %d bytes into %d: %w", i+1, n, total+l, len(b), ErrCorrupt)
		}
		total += l
	}
	arena = append(arena[:0], b[:total]...)
	dst = sized(dst, n)
	at := uint64(0)
	for i, l := range lengths {
		dst[i] = arena[at : at+l : at+l]
		at += l
	}
	return dst, arena, b[total:], nil
}

func decodeDictionary(dst [][]byte, arena []byte, n int, b []byte) ([][]byte, []byte, []byte, error) {
	size, b, ok := uvarint(b)
	if !ok || size == 0 || size > uint64(n) {
		return nil, nil, nil, fmt.Errorf("decode blobs: dictionary of %d for %d values: %w", size, n, ErrCorrupt)
	}
	distinct, arena, b, err := decodePlain(nil, arena, int(size), b)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("decode dictionary: %w", err)
	}
	indexes, rest, err := DecodeInts(nil, n, b)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("decode indexes into dictionary: %w", err)
	}
	dst = sized(dst, n)
	for i, at := range indexes {
		if at >= size {
			return nil, nil, nil, fmt.Errorf("decode blobs: index %d into a dictionary of %d: %w", at, size, ErrCorrupt)
		}
		dst[i] = distinct[at]
	}
	return dst, arena, rest, nil
}
