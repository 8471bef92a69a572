package arrowin

import (
	"encoding/binary"
	"fmt"
)

// malformed is what is wrong with the bytes of a message.
func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrMalformed)...)
}

// fbTable is a table of a flatbuffer, whose place and vtable lie within the buffer.
type fbTable struct {
	b      []byte
	at     int    // of the table
	size   int    // of its fields, from at on
	vtable []byte // offsets of fields, two bytes each
}

// rootTable is the table a flatbuffer is of.
func rootTable(b []byte) (fbTable, error) {
	at, err := uoffset(b, 0)
	if err != nil {
		return fbTable{}, err
	}
	return tableAt(b, at)
}

// uoffset is where the offset that stands at a position leads.
func uoffset(b []byte, at int) (int, error) {
	if at < 0 || at > len(b)-4 {
		return 0, malformed("offset at %d of a header of %d bytes", at, len(b))
	}
	to := uint64(at) + uint64(binary.LittleEndian.Uint32(b[at:]))
	if to >= uint64(len(b)) {
		return 0, malformed("offset at %d leads to %d, the header has %d bytes", at, to, len(b))
	}
	return int(to), nil
}

func tableAt(b []byte, at int) (fbTable, error) {
	if at > len(b)-4 {
		return fbTable{}, malformed("table at %d of a header of %d bytes", at, len(b))
	}
	v := int64(at) - int64(int32(binary.LittleEndian.Uint32(b[at:])))
	if v < 0 || v > int64(len(b)-4) {
		return fbTable{}, malformed("table at %d has its vtable at %d of %d bytes", at, v, len(b))
	}
	vsize, size := int(binary.LittleEndian.Uint16(b[v:])), int(binary.LittleEndian.Uint16(b[v+2:]))
	if vsize < 4 || vsize%2 != 0 || int(v)+vsize > len(b) || size < 4 || at+size > len(b) {
		return fbTable{}, malformed("table at %d of %d bytes with a vtable of %d bytes at %d leave a header of %d bytes", at, size, vsize, v, len(b))
	}
	return fbTable{b: b, at: at, size: size, vtable: b[v+4 : int(v)+vsize]}, nil
}

// place is where field i of a table stands, which takes so many bytes; 0 where the table does not have it.
func (t *fbTable) place(i, bytes int) (int, error) {
	if 2*i+2 > len(t.vtable) {
		return 0, nil
	}
	off := int(binary.LittleEndian.Uint16(t.vtable[2*i:]))
	if off == 0 {
		return 0, nil
	}
	if off < 4 || off+bytes > t.size {
		return 0, malformed("field %d of a table of %d bytes stands at %d", i, t.size, off)
	}
	return t.at + off, nil
}

// number is field i, an integer of so many bytes without a sign; absent for a table without it.
func (t *fbTable) number(i, bytes int, absent uint64) (uint64, error) {
	at, err := t.place(i, bytes)
	if err != nil || at == 0 {
		return absent, err
	}
	switch bytes {
	case 1:
		return uint64(t.b[at]), nil
	case 2:
		return uint64(binary.LittleEndian.Uint16(t.b[at:])), nil
	case 4:
		return uint64(binary.LittleEndian.Uint32(t.b[at:])), nil
	}
	return binary.LittleEndian.Uint64(t.b[at:]), nil
}

// table is the table that field i leads to; false for none.
func (t *fbTable) table(i int) (fbTable, bool, error) {
	at, err := t.place(i, 4)
	if err != nil || at == 0 {
		return fbTable{}, false, err
	}
	to, err := uoffset(t.b, at)
	if err != nil {
		return fbTable{}, false, err
	}
	sub, err := tableAt(t.b, to)
	return sub, true, err
}

// vector is the elements of field i, of so many bytes each, and where they begin; none for a table without it.
func (t *fbTable) vector(i, bytes int) (n, first int, err error) {
	at, err := t.place(i, 4)
	if err != nil || at == 0 {
		return 0, 0, err
	}
	to, err := uoffset(t.b, at)
	if err != nil {
		return 0, 0, err
	}
	if to > len(t.b)-4 {
		return 0, 0, malformed("vector at %d of a header of %d bytes", to, len(t.b))
	}
	count := uint64(binary.LittleEndian.Uint32(t.b[to:]))
	if count > uint64(len(t.b)-to-4)/uint64(bytes) {
		return 0, 0, malformed("vector at %d of %d elements of %d bytes, the header has %d bytes", to, count, bytes, len(t.b))
	}
	return int(count), to + 4, nil
}

// tables is a vector of tables.
func (t *fbTable) tables(i int) ([]fbTable, error) {
	n, first, err := t.vector(i, 4)
	if err != nil {
		return nil, err
	}
	out := make([]fbTable, n)
	for k := range out {
		to, err := uoffset(t.b, first+4*k)
		if err != nil {
			return nil, err
		}
		if out[k], err = tableAt(t.b, to); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// text checks field i, a string.
func (t *fbTable) text(i int) error {
	_, _, err := t.vector(i, 1)
	return err
}
