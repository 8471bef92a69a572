package collector

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// globMatches is what a pattern means, said the slow way: what the stars matched, leftmost longest.
func globMatches(glob, s string) ([]string, bool) {
	switch {
	case glob == "":
		return nil, s == ""
	case strings.HasPrefix(glob, "**"):
		for n := len(s); n >= 0; n-- {
			if rest, ok := globMatches(glob[2:], s[n:]); ok {
				return append([]string{s[:n]}, rest...), true
			}
		}
		return nil, false
	case glob[0] == '*':
		for n := len(s); n >= 0; n-- {
			if strings.Contains(s[:n], "/") {
				continue
			}
			if rest, ok := globMatches(glob[1:], s[n:]); ok {
				return append([]string{s[:n]}, rest...), true
			}
		}
		return nil, false
	case s == "":
		return nil, false
	case glob[0] == '?':
		if s[0] == '/' {
			return nil, false
		}
		return globMatches(glob[1:], s[1:])
	case strings.HasPrefix(glob, "[ab]"):
		if s[0] != 'a' && s[0] != 'b' {
			return nil, false
		}
		return globMatches(glob[4:], s[1:])
	}
	if glob[0] != s[0] {
		return nil, false
	}
	return globMatches(glob[1:], s[1:])
}

// The mapping is the first rule that an exact look-up, and then each pattern in turn, finds.
func TestMappingAgainstAPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.SampledFrom([]string{"a", "b", "c", "/", "*", "**", "?", "[ab]", ".", "a/b"})
		plain := rapid.SampledFrom([]string{"a", "b", "c", "/", "."})
		word := func(g *rapid.Generator[string], most int, label string) string {
			return strings.Join(rapid.SliceOfN(g, 1, most).Draw(t, label), "")
		}
		var rules []TagRule
		exact := map[string]bool{}
		for range rapid.IntRange(1, 6).Draw(t, "rules") {
			i := len(rules)
			r := TagRule{Tag: fmt.Sprintf("r%d.{source}.{{{address}}}", i), Skip: rapid.IntRange(0, 4).Draw(t, "skip") == 0}
			if rapid.Bool().Draw(t, "exact") {
				if r.Address = word(plain, 3, "address"); exact[r.Address] {
					continue
				}
				exact[r.Address] = true
			} else {
				r.Match = word(token, 4, "match")
				for strings.Contains(r.Match, "***") { // which of them is double is nobody's to know
					r.Match = strings.ReplaceAll(r.Match, "***", "**")
				}
				if groups, ok := globMatches(r.Match, "a/b.c"); ok && len(groups) > 0 {
					r.Tag += ":{1}"
				}
			}
			rules = append(rules, r)
		}
		if len(rules) == 0 {
			return
		}
		f := &faults{file: "c"}
		m := compileMapping(f, nil, "plant", &SourceEntry{Name: "s", Tags: rules})
		require.NoError(t, f.result())
		for range 10 {
			address := word(plain, 5, "of")
			if rapid.IntRange(0, 5).Draw(t, "other") == 0 {
				address = "a/b.c"
			}
			want, groups := -1, []string(nil)
			for i, r := range rules {
				if r.Address == address {
					want = i
				}
			}
			for i := 0; want < 0 && i < len(rules); i++ {
				if rules[i].Match == "" {
					continue
				}
				if g, ok := globMatches(rules[i].Match, address); ok {
					want, groups = i, g
				}
			}
			got, matched := m.rule(address)
			if want < 0 {
				require.Nil(t, got)
				continue
			}
			require.NotNil(t, got, address)
			require.Equal(t, want, got.index)
			name := fmt.Sprintf("r%d.s.{%s}", want, address)
			if strings.HasSuffix(rules[want].Tag, ":{1}") {
				name += ":" + groups[0]
			}
			require.Equal(t, name, got.name("s", address, matched))
		}
	})
}

func TestRegexpGroups(t *testing.T) {
	r, err := compileRule("plant", 0, TagRule{Regexp: `(?P<area>[a-z]+)/(\d+)`, Tag: "{collector}.{area}.{2}"})
	require.NoError(t, err)
	require.Equal(t, "plant.boiler.12", r.name("s", "boiler/12", r.pattern.FindStringSubmatch("boiler/12")))
	require.Nil(t, r.pattern.FindStringSubmatch("xx boiler/12"), "the whole address, not a part of it")
}

// number is a value as an exact number; nil for what has none.
func number(v Value) *big.Float {
	switch v.Type {
	case model.Float64, model.Float32:
		x := math.Float64frombits(v.Bits)
		if v.Type == model.Float32 {
			x = float64(math.Float32frombits(uint32(v.Bits)))
		}
		if math.IsNaN(x) {
			return nil
		}
		return new(big.Float).SetFloat64(x)
	case model.Int64:
		return new(big.Float).SetInt64(int64(v.Bits))
	case model.Uint64:
		return new(big.Float).SetUint64(v.Bits)
	}
	return nil
}

func drawValue(t *rapid.T) Value {
	ints := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3), rapid.SampledFrom([]int64{1 << 53, 1<<53 + 1, -1<<53 - 1, math.MaxInt64, math.MinInt64, 1 << 24, 1<<24 + 1}))
	floats := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-3, 3), rapid.SampledFrom([]float64{0, 1, -1, 1 << 63, -1 << 63, 1 << 64, 1e300, math.Inf(1), math.NaN(), 0.1, float64(float32(0.1))}))
	switch rapid.IntRange(0, 6).Draw(t, "type") {
	case 0:
		return Float64(floats.Draw(t, "v"))
	case 1:
		return Float32(float32(floats.Draw(t, "v")))
	case 2:
		return Int64(ints.Draw(t, "v"))
	case 3:
		return Uint64(rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 2, 1 << 53, 1<<53 + 1, 1 << 63, math.MaxUint64})).Draw(t, "v"))
	case 4:
		return Bool(rapid.Bool().Draw(t, "v"))
	case 5:
		return String(rapid.SampledFrom([]string{"", "on", "5", "\xff", "a\x00b"}).Draw(t, "v"))
	}
	return Bytes(rapid.SampledFrom([]string{"", "\xff\x00"}).Draw(t, "v"))
}

// What a tag stores is the very number that came, or it is refused: never one that is near.
func TestValuesAreExactOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawValue(t)
		typ := model.Type(rapid.IntRange(1, 8).Draw(t, "tag"))
		r := &rule{factor: 1}
		bits, text, err := r.sampleValue(v, typ)
		stored := Value{Type: typ, Bits: bits, Text: text}
		if typ == model.State || typ == model.Bool {
			stored.Type = model.Int64
		}
		number := number
		in, out := number(v), number(stored)
		switch {
		case v.Type.Float() && in == nil: // NaN
			if err == nil {
				require.True(t, typ.Float())
				require.Nil(t, out)
			}
			require.Equal(t, typ.Float(), err == nil)
		case in != nil && err == nil:
			require.NotNil(t, out, "%s into %s", v, typ)
			require.Zero(t, in.Cmp(out), "%s into %s became %s", v, typ, stored)
		case in != nil:
			// refused: no value of the type is equal
			switch typ {
			case model.Float64:
				x, _ := in.Float64()
				require.NotZero(t, new(big.Float).SetFloat64(x).Cmp(in), v)
			case model.Float32:
				x, _ := in.Float32()
				require.True(t, math.IsInf(float64(x), 0) && !in.IsInf() || new(big.Float).SetFloat64(float64(x)).Cmp(in) != 0, v)
			case model.Int64, model.State:
				x, acc := in.Int64()
				require.True(t, acc != big.Exact || new(big.Float).SetInt64(x).Cmp(in) != 0, v)
			case model.Uint64:
				x, acc := in.Uint64()
				require.True(t, acc != big.Exact || new(big.Float).SetUint64(x).Cmp(in) != 0, v)
			case model.Bool:
				require.True(t, in.Cmp(big.NewFloat(0)) != 0 && in.Cmp(big.NewFloat(1)) != 0)
			}
		case v.Type == model.Bool:
			require.Equal(t, typ == model.Bool || typ == model.State, err == nil)
			require.True(t, err != nil || v.Bits == bits)
		case err == nil:
			require.Equal(t, v.Text, text)
			require.True(t, typ.Blob() || typ == model.State && v.Type == model.String)
			require.True(t, typ == model.Bytes || v.Text != "\xff" && v.Text != "a\x00b")
		}
	})
}

func TestScaling(t *testing.T) {
	factor, offset := 0.1, -40.0
	r, err := compileRule("c", 0, TagRule{Address: "a", Factor: &factor, Offset: &offset})
	require.NoError(t, err)
	require.Equal(t, model.Float64, r.typ)
	bits, _, err := r.sampleValue(Int64(1234), r.typ)
	require.NoError(t, err)
	require.Equal(t, 1234*factor+offset, math.Float64frombits(bits))
	_, _, err = r.sampleValue(Int64(1<<53+1), r.typ)
	require.ErrorContains(t, err, "exactly")
	_, _, err = r.sampleValue(String("5"), r.typ)
	require.Error(t, err)
}
