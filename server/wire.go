package server

import (
	"errors"
	"fmt"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
)

// errWire is the answer to bytes that are no message of the kind they should be.
var errWire = errors.New("message is not valid protobuf")

// The messages of Ingest are decoded by hand, straight into the columns that storage takes: the generated code would
// allocate a message per run and copy every value once more. wire_test.go holds this decoder to proto.Unmarshal, for
// any bytes.

// field is one field of a message as it stands on the wire.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	number uint64 // of a varint, fixed32 or fixed64
	data   []byte // of a length-delimited field its content, of a number its encoding
	rest   []byte // of the message behind the field
}

// next reads the first field of b, which must not be empty. A group comes as a field of no use.
func (f *field) next(b []byte) error {
	tag, n := uvarint(b)
	if num := tag >> 3; n <= 0 || num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) {
		return errWire
	}
	b = b[n:]
	f.num, f.typ = protowire.Number(tag>>3), protowire.Type(tag&7)
	switch f.typ {
	case protowire.BytesType:
		size, n := uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return errWire
		}
		f.data, f.rest = b[n:n+int(size)], b[n+int(size):]
		return nil
	case protowire.VarintType:
		f.number, n = uvarint(b)
	case protowire.Fixed64Type:
		if n = 8; len(b) < 8 {
			return errWire
		}
		f.number = leUint64(b)
	case protowire.Fixed32Type:
		if n = 4; len(b) < 4 {
			return errWire
		}
		f.number = uint64(leUint32(b))
	default:
		n = protowire.ConsumeFieldValue(f.num, f.typ, b)
	}
	if n <= 0 {
		return errWire
	}
	f.data, f.rest = b[:n], b[n:]
	return nil
}

// uvarint reads a varint of at most ten bytes; n is 0 where b is cut short and negative where the number overflows.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return longUvarint(b)
}

// longUvarint is apart so that the short case is inlined.
func longUvarint(b []byte) (v uint64, n int) {
	if len(b) > 1 && b[1] < 0x80 {
		return uint64(b[0]&0x7F) | uint64(b[1])<<7, 2
	}
	return protowire.ConsumeVarint(b)
}

func leUint64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

func leUint32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func zigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// numbers is a repeated scalar field: its elements end to end as a packed field has them. It aliases the message while
// the field came in one piece, which is how every encoder writes it; further pieces and single elements are joined in
// memory of its own.
type numbers struct {
	b     []byte
	n     int // elements
	owned bool
}

// add takes one occurrence of the field. typ is the wire type of an element. It reports false where the occurrence is
// of another wire type, which makes it an unknown field.
func (l *numbers) add(f *field, typ protowire.Type) (bool, error) {
	if f.typ == typ {
		l.join(f.data, 1)
		return true, nil
	}
	if f.typ != protowire.BytesType {
		return false, nil
	}
	n, err := countElements(f.data, typ)
	if err != nil {
		return true, err
	}
	l.join(f.data, n)
	return true, nil
}

func (l *numbers) join(piece []byte, n int) {
	switch {
	case len(piece) == 0:
	case l.n == 0:
		l.b, l.n, l.owned = piece, n, false
	default:
		if !l.owned {
			l.b, l.owned = append(make([]byte, 0, 2*len(l.b)+len(piece)), l.b...), true
		}
		l.b = append(l.b, piece...)
		l.n += n
	}
}

// countElements checks a packed field and says how many elements it has.
func countElements(b []byte, typ protowire.Type) (int, error) {
	switch typ {
	case protowire.Fixed64Type:
		if len(b)%8 != 0 {
			return 0, errWire
		}
		return len(b) / 8, nil
	case protowire.Fixed32Type:
		if len(b)%4 != 0 {
			return 0, errWire
		}
		return len(b) / 4, nil
	}
	// Four bytes at a time while each four have an end of a varint among them: none is longer than seven bytes then.
	n := 0
	for rest := b; ; rest = rest[4:] {
		if len(rest) < 4 {
			return countVarints(b, rest, n)
		}
		ends := ^leUint32(rest) & 0x80808080
		if ends == 0 {
			return countVarints(b, b, 0)
		}
		n += bits.OnesCount32(ends)
	}
}

// countVarints counts the varints of rest, the end of b, and adds n. One that began before rest has at most six bytes
// there.
func countVarints(b, rest []byte, n int) (int, error) {
	size := 0
	for at := len(b) - len(rest) - 1; at >= 0 && b[at] >= 0x80; at-- {
		size++
	}
	for _, c := range rest {
		size++
		if c >= 0x80 {
			if size == 10 {
				return 0, errWire
			}
			continue
		}
		if size == 10 && c > 1 {
			return 0, errWire
		}
		n, size = n+1, 0
	}
	if size != 0 {
		return 0, errWire
	}
	return n, nil
}

// varint is the next element of a checked packed field of varints, and what is behind it.
func varint(b []byte) (uint64, []byte) {
	if b[0] < 0x80 {
		return uint64(b[0]), b[1:]
	}
	if len(b) > 1 && b[1] < 0x80 {
		return uint64(b[0]&0x7F) | uint64(b[1])<<7, b[2:]
	}
	v, n := protowire.ConsumeVarint(b)
	return v, b[n:]
}

func wireError(what string, err error) error { return fmt.Errorf("decode %s: %w", what, err) }
