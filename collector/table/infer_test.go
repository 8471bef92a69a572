package table

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func inferred(fields ...string) model.Type {
	var f inference
	for _, s := range fields {
		f.observe([]byte(s))
	}
	return f.result()
}

func TestTypesAreFoundFromAllValues(t *testing.T) {
	for fields, want := range map[string]model.Type{
		"1 2 3":                   model.Float64,
		"1 2.5 -3e-7":             model.Float64,
		"-0 +4 .5 5.":             model.Float64,
		"NaN 1 inf -Infinity":     model.Float64,
		"true False TRUE":         model.Bool,
		"true 1":                  model.String,
		"1 2 x":                   model.String,
		"9007199254740992 1":      model.Float64, // 2^53
		"9007199254740993 1":      model.Int64,
		"-9007199254740993":       model.Int64,
		"9007199254740993 1.5":    model.Float64, // nearest double
		"9223372036854775807":     model.Int64,
		"9223372036854775808":     model.Uint64,
		"9223372036854775809":     model.Uint64,
		"18446744073709551615 0":  model.Uint64,
		"18446744073709551615 -1": model.String, // neither 64-bit type holds both
		"18446744073709551616":    model.String,
		"007 8":                   model.String, // a name
		"00.5":                    model.String,
		"0 0.5 0e0":               model.Float64,
		"1e999":                   model.String, // would lose its value
		"0x10":                    model.String,
		"1_000":                   model.String,
		"2024-01-01":              model.String,
		"-":                       model.String,
		"1e":                      model.String,
		"Ü":                       model.String,
	} {
		require.Equal(t, want, inferred(strings.Fields(fields)...), fields)
	}
	require.Zero(t, inferred())
}

// Whatever numbers a column has, the type found keeps each: the double nearest to a decimal, every integer as it is.
func TestFoundTypeKeepsEveryInteger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		integers := rapid.SliceOfN(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1<<54, 1<<54)), 1, 5).Draw(t, "integers")
		var fields []string
		for _, i := range integers {
			fields = append(fields, strconv.FormatInt(i, 10))
		}
		r := &reader{}
		typ := inferred(fields...)
		for k, s := range fields {
			bits, ok := r.parse(0, typ, []byte(s))
			require.True(t, ok)
			switch typ {
			case model.Int64:
				require.Equal(t, integers[k], int64(bits))
			case model.Float64:
				require.Equal(t, s, strconv.FormatFloat(math.Float64frombits(bits), 'f', -1, 64))
			default:
				t.Fatalf("type %s", typ)
			}
		}
	})
}

func TestEveryDoubleComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		s := strconv.FormatFloat(x, 'g', -1, 64)
		require.Equal(t, model.Float64, inferred(s))
		bits, ok := (&reader{}).parse(0, model.Float64, []byte(s))
		require.True(t, ok)
		if math.IsNaN(x) {
			require.True(t, math.IsNaN(math.Float64frombits(bits)))
		} else {
			require.Equal(t, math.Float64bits(x), bits)
		}
	})
}
