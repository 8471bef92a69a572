package server

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/model"
)

// wireValues is the value columns of a run or frame: at most one may be given.
type wireValues struct {
	typ     model.Type // of the column given, 0 for none
	several bool       // more than one was given
	numbers numbers    // of every type but text and bytes
	blobs   [][]byte   // of text and bytes, aliasing the message
}

func (v *wireValues) count() int {
	if v.typ.Blob() {
		return len(v.blobs)
	}
	return v.numbers.n
}

// valueTypes is the type of a value column by its field number, the same in Run and Frame.
var valueTypes = [18]model.Type{10: model.Float64, 11: model.Float32, 12: model.Int64, 13: model.Uint64, 14: model.Bool, 15: model.State, 16: model.String, 17: model.Bytes}

// elementTypes is the wire type of a value of each type; text and bytes are not packed.
var elementTypes = [...]protowire.Type{
	model.Float64: protowire.Fixed64Type, model.Float32: protowire.Fixed32Type, model.Int64: protowire.VarintType,
	model.Uint64: protowire.VarintType, model.Bool: protowire.VarintType, model.State: protowire.VarintType,
	model.String: protowire.BytesType, model.Bytes: protowire.BytesType,
}

// add takes one occurrence of a value column.
func (v *wireValues) add(f *field) error {
	typ := valueTypes[f.num]
	if typ.Blob() {
		if f.typ != protowire.BytesType {
			return nil
		}
		if v.claim(typ) {
			v.blobs = append(v.blobs, f.data)
		}
		return nil
	}
	if v.typ == typ || v.typ == 0 {
		if _, err := v.numbers.add(f, elementTypes[typ]); err != nil {
			return err
		}
		if v.numbers.n > 0 {
			v.typ = typ
		}
		return nil
	}
	var other numbers // a second column: only looked at to tell a fault from an empty field
	if _, err := other.add(f, elementTypes[typ]); err != nil {
		return err
	}
	v.several = v.several || other.n > 0
	return nil
}

// claim makes typ the type of the values, or notes that there are two.
func (v *wireValues) claim(typ model.Type) bool {
	if v.typ == 0 {
		v.typ = typ
	}
	v.several = v.several || v.typ != typ
	return v.typ == typ
}

// wireQuality is the fields that say what is not Good and what has no value.
type wireQuality struct {
	counts, codes, nullAt numbers
}

// add takes one occurrence of field 18, 19 or 20.
func (q *wireQuality) add(f *field) (err error) {
	switch f.num {
	case 18:
		_, err = q.counts.add(f, protowire.VarintType)
	case 19:
		_, err = q.codes.add(f, protowire.Fixed32Type)
	case 20:
		_, err = q.nullAt.add(f, protowire.VarintType)
	}
	return err
}

// wireRun is a Run as it came: checked for being protobuf, not for making sense.
type wireRun struct {
	tagID   uint32
	tag     []byte
	mode    int32
	times   numbers
	first   int64
	deltas  numbers
	unit    uint64
	step    int64
	count   uint32
	values  wireValues
	quality wireQuality
	seq     numbers
	all     bool
}

// parse reads the fields of a Run. Memory of an earlier run is used again.
func (r *wireRun) parse(b []byte) error {
	blobs := r.values.blobs[:0]
	*r = wireRun{}
	r.values.blobs = blobs
	var f field
	for len(b) > 0 {
		if rest, ok := r.usual(b); ok {
			b = rest
			continue
		}
		if err := f.next(b); err != nil {
			return err
		}
		if err := r.add(&f); err != nil {
			return err
		}
		b = f.rest
	}
	return nil
}

// usual takes the first field of b if it is one of those that a run of float64 samples has, as encoders write it. Runs
// are short and many, so that going through field for each costs more than reading their samples. It takes nothing and
// reports false where anything is out of the usual, errors included.
func (r *wireRun) usual(b []byte) (rest []byte, ok bool) {
	v, n := uvarint(b[1:])
	if n <= 0 {
		return nil, false
	}
	rest = b[1+n:]
	switch b[0] {
	case 1 << 3, 3 << 3, 5 << 3, 7 << 3, 8 << 3, 9 << 3:
		r.setNumber(protowire.Number(b[0]>>3), v)
		return rest, true
	case 6<<3 | byte(protowire.BytesType):
		if v == 0 || v > uint64(len(rest)) || r.deltas.n > 0 {
			return nil, false
		}
		count, err := countElements(rest[:v], protowire.VarintType)
		if err != nil {
			return nil, false
		}
		r.deltas = numbers{b: rest[:v], n: count}
		return rest[v:], true
	case 10<<3 | byte(protowire.BytesType):
		if v == 0 || v%8 != 0 || v > uint64(len(rest)) || r.values.typ != 0 || r.values.several {
			return nil, false
		}
		r.values.typ, r.values.numbers = model.Float64, numbers{b: rest[:v], n: int(v / 8)}
		return rest[v:], true
	}
	return nil, false
}

func (r *wireRun) add(f *field) (err error) {
	switch {
	case f.num >= 10 && f.num <= 17:
		return r.values.add(f)
	case f.num >= 18 && f.num <= 20:
		return r.quality.add(f)
	case f.num == 2:
		if f.typ == protowire.BytesType {
			r.tag = f.data
		}
	case f.num == 4:
		_, err = r.times.add(f, protowire.Fixed64Type)
	case f.num == 6:
		_, err = r.deltas.add(f, protowire.VarintType)
	case f.num == 21:
		_, err = r.seq.add(f, protowire.VarintType)
	case f.typ == protowire.VarintType:
		r.setNumber(f.num, f.number)
	}
	return err
}

// setNumber takes a varint field.
func (r *wireRun) setNumber(num protowire.Number, v uint64) {
	switch num {
	case 1:
		r.tagID = uint32(v)
	case 3:
		r.mode = int32(v)
	case 5:
		r.first = zigzag(v)
	case 7:
		r.unit = v
	case 8:
		r.step = zigzag(v)
	case 9:
		r.count = uint32(v)
	case 22:
		r.all = v != 0
	}
}

// wireFrame is a Frame as it came.
type wireFrame struct {
	times   numbers
	tagIDs  numbers
	tags    [][]byte
	mode    int32
	values  wireValues
	quality wireQuality
}

// parse reads the fields of a Frame. Memory of an earlier frame is used again.
func (r *wireFrame) parse(b []byte) error {
	*r = wireFrame{tags: r.tags[:0], values: wireValues{blobs: r.values.blobs[:0]}}
	for f := (field{rest: b}); len(f.rest) > 0; {
		if err := f.next(f.rest); err != nil {
			return err
		}
		if err := r.add(&f); err != nil {
			return err
		}
	}
	return nil
}

func (r *wireFrame) add(f *field) (err error) {
	switch {
	case f.num >= 10 && f.num <= 17:
		return r.values.add(f)
	case f.num >= 18 && f.num <= 20:
		return r.quality.add(f)
	case f.num == 1:
		_, err = r.times.add(f, protowire.Fixed64Type)
	case f.num == 2:
		_, err = r.tagIDs.add(f, protowire.VarintType)
	case f.num == 3 && f.typ == protowire.BytesType:
		r.tags = append(r.tags, f.data)
	case f.num == 4 && f.typ == protowire.VarintType:
		r.mode = int32(f.number)
	}
	return err
}
