package collector

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// sampleValue is what a tag of type t stores for v: bits, or text. It fails where t does not have the very value: an integer that a double
// cannot hold, a fraction for an integer, text for a number. Scaled values are rounded to the nearest that t has.
func (r *rule) sampleValue(v Value, t model.Type) (bits uint64, text string, err error) {
	if r.scaled {
		x, ok := v.exactFloat()
		if !ok {
			return 0, "", misfit(v, t)
		}
		x = float64(x*r.factor) + r.offset
		if t == model.Float32 {
			return uint64(math.Float32bits(float32(x))), "", nil
		}
		return math.Float64bits(x), "", nil
	}
	ok := false
	switch t {
	case model.Float64:
		var x float64
		if x, ok = v.exactFloat(); ok {
			bits = math.Float64bits(x)
		}
	case model.Float32:
		bits, ok = v.exactFloat32()
	case model.Int64:
		bits, ok = v.exactInt64()
	case model.Uint64:
		bits, ok = v.exactUint64()
	case model.Bool:
		bits, ok = v.exactUint64()
		if v.Type == model.Bool {
			bits, ok = v.Bits&1, true
		}
		ok = ok && bits <= 1
	case model.State:
		bits, ok = v.exactInt64()
		switch v.Type {
		case model.Bool:
			bits, ok = v.Bits&1, true
		case model.String:
			text, ok = v.Text, true
		}
	case model.String:
		text, ok = v.Text, v.Type == model.String
	case model.Bytes:
		text, ok = v.Text, v.Type.Blob()
	}
	if !ok {
		return 0, "", misfit(v, t)
	}
	if v.Type.Blob() {
		return 0, text, checkText(t, text)
	}
	return bits, "", nil
}

func misfit(v Value, t model.Type) error {
	what := v.Type.String()
	if v.Type.Blob() {
		return fmt.Errorf("a %s of %d bytes does not fit a tag of type %s", what, len(v.Text), t)
	}
	return fmt.Errorf("the %s %s does not fit a tag of type %s exactly", what, v, t)
}

func checkText(t model.Type, s string) error {
	switch {
	case len(s) > model.MaxBlobBytes:
		return fmt.Errorf("text of %d bytes, most is %d", len(s), model.MaxBlobBytes)
	case t != model.Bytes && !utf8.ValidString(s):
		return fmt.Errorf("text of %d bytes is not UTF-8", len(s))
	case t != model.Bytes && strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("text of %d bytes has zero bytes", len(s))
	}
	return nil
}

// exactFloat is the number as a double, if a double has it. Floats are as they are, every pattern of them.
func (v Value) exactFloat() (float64, bool) {
	switch v.Type {
	case model.Float64:
		return math.Float64frombits(v.Bits), true
	case model.Float32:
		return model.WidenFloat32(uint32(v.Bits)), true
	case model.Int64:
		x := float64(int64(v.Bits))
		return x, x != 1<<63 && int64(x) == int64(v.Bits)
	case model.Uint64:
		x := float64(v.Bits)
		return x, x != 1<<64 && uint64(x) == v.Bits
	}
	return 0, false
}

func (v Value) exactFloat32() (uint64, bool) {
	if v.Type == model.Float32 {
		return v.Bits, true
	}
	x, ok := v.exactFloat()
	narrow := model.NarrowFloat32(x)
	return uint64(narrow), ok && (math.Float64bits(model.WidenFloat32(narrow)) == math.Float64bits(x) || x != x)
}

func (v Value) exactInt64() (uint64, bool) {
	switch v.Type {
	case model.Int64:
		return v.Bits, true
	case model.Uint64:
		return v.Bits, v.Bits <= math.MaxInt64
	case model.Float64, model.Float32:
		x, _ := v.exactFloat()
		return uint64(int64(x)), x >= -1<<63 && x < 1<<63 && x == math.Trunc(x)
	}
	return 0, false
}

func (v Value) exactUint64() (uint64, bool) {
	switch v.Type {
	case model.Uint64:
		return v.Bits, true
	case model.Int64:
		return v.Bits, int64(v.Bits) >= 0
	case model.Float64, model.Float32:
		x, _ := v.exactFloat()
		return uint64(x), x >= 0 && x < 1<<64 && x == math.Trunc(x)
	}
	return 0, false
}
