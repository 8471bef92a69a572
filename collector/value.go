package collector

import (
	"fmt"
	"math"
	"strconv"

	"github.com/varvedb/varve/model"
)

// Value is a value as a source has it. The zero Value is none: null.
type Value struct {
	Type model.Type // Float64, Float32, Int64, Uint64, Bool, String or Bytes; 0 for null
	Bits uint64     // of all but String and Bytes, as in model.Samples
	Text string     // of String and Bytes
}

func Float64(v float64) Value { return Value{Type: model.Float64, Bits: math.Float64bits(v)} }
func Float32(v float32) Value {
	return Value{Type: model.Float32, Bits: uint64(math.Float32bits(v))}
}
func Int64(v int64) Value   { return Value{Type: model.Int64, Bits: uint64(v)} }
func Uint64(v uint64) Value { return Value{Type: model.Uint64, Bits: v} }
func Bool(v bool) Value {
	if v {
		return Value{Type: model.Bool, Bits: 1}
	}
	return Value{Type: model.Bool}
}
func String(v string) Value { return Value{Type: model.String, Text: v} }
func Bytes(v string) Value  { return Value{Type: model.Bytes, Text: v} }

// IsNull reports that there is no value.
func (v Value) IsNull() bool { return v.Type == 0 }

// String is the value for people.
func (v Value) String() string {
	switch v.Type {
	case model.Float64:
		return strconv.FormatFloat(math.Float64frombits(v.Bits), 'g', -1, 64)
	case model.Float32:
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(v.Bits))), 'g', -1, 32)
	case model.Int64:
		return strconv.FormatInt(int64(v.Bits), 10)
	case model.Uint64:
		return strconv.FormatUint(v.Bits, 10)
	case model.Bool:
		return strconv.FormatBool(v.Bits != 0)
	case model.String:
		return strconv.Quote(v.Text)
	case model.Bytes:
		return fmt.Sprintf("0x%x", v.Text)
	}
	return "null"
}
