package sparkplug

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// Datatype is what a value means (Sparkplug 3.0, 6.4.16). The numbers travel.
type Datatype uint8

const (
	Unknown Datatype = iota
	Int8
	Int16
	Int32
	Int64
	UInt8
	UInt16
	UInt32
	UInt64
	FloatType
	DoubleType
	BooleanType
	StringType
	DateTime
	Text
	UUID
	DataSetType
	BytesType
	File
	TemplateType
	PropertySetType
	PropertySetListType
	Int8Array
	Int16Array
	Int32Array
	Int64Array
	UInt8Array
	UInt16Array
	UInt32Array
	UInt64Array
	FloatArray
	DoubleArray
	BooleanArray
	StringArray
	DateTimeArray
	datatypes
)

var datatypeNames = [datatypes]string{"Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double", "Boolean",
	"String", "DateTime", "Text", "UUID", "DataSet", "Bytes", "File", "Template", "PropertySet", "PropertySetList", "Int8Array", "Int16Array", "Int32Array",
	"Int64Array", "UInt8Array", "UInt16Array", "UInt32Array", "UInt64Array", "FloatArray", "DoubleArray", "BooleanArray", "StringArray", "DateTimeArray"}

func (t Datatype) String() string {
	if t < datatypes {
		return datatypeNames[t]
	}
	return fmt.Sprintf("datatype %d", uint8(t))
}

// datatypeOf is the datatype of a number; one that is not known becomes one that String names and Scalar refuses.
func datatypeOf(x uint64) Datatype { return Datatype(min(x, math.MaxUint8)) }

// Array reports whether a value of this type is a list, in bytes_value.
func (t Datatype) Array() bool { return t >= Int8Array && t <= DateTimeArray }

// element is the type of an array's elements and their size in bytes; 0 for those that are not of one size.
func (t Datatype) element() (Datatype, int) {
	switch t {
	case Int8Array, UInt8Array:
		return t - Int8Array + Int8, 1
	case Int16Array, UInt16Array:
		return t - Int8Array + Int8, 2
	case Int32Array, UInt32Array:
		return t - Int8Array + Int8, 4
	case Int64Array, UInt64Array:
		return t - Int8Array + Int8, 8
	case FloatArray:
		return FloatType, 4
	case DoubleArray:
		return DoubleType, 8
	case DateTimeArray:
		return DateTime, 8
	case BooleanArray:
		return BooleanType, 0
	}
	return StringType, 0
}

// Model is the type of the tags that hold values of a scalar type; false where there is none.
func (t Datatype) Model() (model.Type, bool) {
	switch t {
	case Int8, Int16, Int32, Int64, DateTime:
		return model.Int64, true
	case UInt8, UInt16, UInt32, UInt64:
		return model.Uint64, true
	case FloatType:
		return model.Float32, true
	case DoubleType:
		return model.Float64, true
	case BooleanType:
		return model.Bool, true
	case StringType, Text, UUID:
		return model.String, true
	case BytesType, File:
		return model.Bytes, true
	}
	return 0, false
}

// Scalar is a value as its datatype means it, in the fields of model.Sample that hold values. Integers are taken from int_value and from
// long_value, whichever the sender used, and negative ones of 8 and 16 bits with or without the sign in the bits above: both are seen. A value
// that is not of the type, or out of its range, is refused.
func (v *Value) Scalar(t Datatype) (s model.Sample, err error) {
	kind, ok := t.Model()
	if !ok {
		return s, fmt.Errorf("%w: %s is no type of a single value", ErrPayload, t)
	}
	s.Type = kind
	fits := true
	switch kind {
	case model.Int64:
		s.Bits, fits = v.signed(t)
	case model.Uint64:
		s.Bits, fits = v.unsigned(t)
	case model.Float32:
		s.Bits, fits = v.Bits, v.Kind == Float
	case model.Float64:
		s.Bits, fits = v.Bits, v.Kind == Double
		if v.Kind == Float { // every float32 is a double
			s.Bits, fits = math.Float64bits(model.WidenFloat32(uint32(v.Bits))), true
		}
	case model.Bool:
		s.Bits, fits = v.Bits, v.Kind == Boolean
	case model.String:
		s.Blob, fits = v.Bytes, v.Kind == String && utf8.Valid(v.Bytes)
	case model.Bytes:
		s.Blob, fits = v.Bytes, v.Kind == Bytes
	}
	if !fits {
		return s, fmt.Errorf("%w: %s %d is no %s", ErrPayload, v.Kind, v.Bits, t)
	}
	return s, nil
}

// width is the number of bits of an integer.
func (t Datatype) width() int {
	switch t {
	case Int8, UInt8:
		return 8
	case Int16, UInt16:
		return 16
	case Int32, UInt32:
		return 32
	}
	return 64
}

// signed is an integer that may be below zero. In int_value it is a uint32 of which the low bits are the number in two's complement; the bits
// above repeat the sign, or are zero where the sender cut them.
func (v *Value) signed(t Datatype) (uint64, bool) {
	bits, x := t.width(), v.Bits
	switch {
	case v.Kind == Int && bits <= 32:
		shift := 32 - bits
		n := int32(uint32(x)<<shift) >> shift
		return uint64(int64(n)), uint32(n) == uint32(x) || x>>bits == 0
	case v.Kind == Int: // an Int64 in the field of 32 bits: above 2^31 nobody can tell whether it is negative
		return x, x < 1<<31
	case v.Kind == Long:
		n := int64(x)
		if t == DateTime {
			return x, n >= 0
		}
		if bits < 64 && uint64(uint32(x)) == x && n > math.MaxInt32 { // 32 bits of two's complement in the field of 64
			n = int64(int32(x))
		}
		lowest := int64(-1) << (bits - 1)
		return uint64(n), n >= lowest && n <= ^lowest
	}
	return 0, false
}

func (v *Value) unsigned(t Datatype) (uint64, bool) {
	bits := t.width()
	return v.Bits, (v.Kind == Int || v.Kind == Long) && (bits == 64 || v.Bits>>bits == 0)
}

// Elements calls each for the elements of an array: numbers packed in little endian, booleans in bits, the highest first, behind their number,
// strings each with a zero behind.
func Elements(t Datatype, b []byte, each func(i int, v Value) error) error {
	_, size := t.element()
	switch t {
	case BooleanArray:
		if len(b) < 4 {
			return fmt.Errorf("%w: %s of %d bytes has no number of elements", ErrPayload, t, len(b))
		}
		n, bits := binary.LittleEndian.Uint32(b), b[4:]
		if (uint64(n)+7)/8 != uint64(len(bits)) {
			return fmt.Errorf("%w: %s of %d elements has %d bytes of them", ErrPayload, t, n, len(bits))
		}
		for i := range int(n) {
			if err := each(i, Value{Kind: Boolean, Bits: uint64(bits[i/8] >> (7 - i%8) & 1)}); err != nil {
				return err
			}
		}
		return nil
	case StringArray:
		for i := 0; len(b) > 0; i++ {
			end := bytes.IndexByte(b, 0)
			if end < 0 {
				return fmt.Errorf("%w: %s: element %d has no zero behind", ErrPayload, t, i)
			}
			if err := each(i, Value{Kind: String, Bytes: b[:end]}); err != nil {
				return err
			}
			b = b[end+1:]
		}
		return nil
	}
	if !t.Array() || len(b)%size != 0 {
		return fmt.Errorf("%w: %d bytes are no %s", ErrPayload, len(b), t)
	}
	for i := 0; i*size < len(b); i++ {
		v := Value{Kind: Int}
		switch x := b[i*size:]; size {
		case 1:
			v.Bits = uint64(x[0])
		case 2:
			v.Bits = uint64(binary.LittleEndian.Uint16(x))
		case 4:
			v.Bits = uint64(binary.LittleEndian.Uint32(x))
		case 8:
			v.Kind, v.Bits = Long, binary.LittleEndian.Uint64(x)
		}
		switch t {
		case FloatArray:
			v.Kind = Float
		case DoubleArray:
			v.Kind = Double
		}
		if err := each(i, v); err != nil {
			return err
		}
	}
	return nil
}
