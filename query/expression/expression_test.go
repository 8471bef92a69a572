package expression

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

func bitsOf(f float64) uint64 { return math.Float64bits(f) }

func TestReferencesAndRenaming(t *testing.T) {
	e, err := Parse(`B + "a ""b""" *A-min(B, "B", 'A')`)
	require.NoError(t, err)
	require.Equal(t, []string{"B", `a "b"`, "A"}, e.References())
	renamed := e.Renamed([]string{"FI-101", "x.y", "and"})
	require.Equal(t, `"FI-101" + x.y *"and"-min("FI-101", "FI-101", 'A')`, renamed)
	again, err := Parse(renamed)
	require.NoError(t, err)
	require.Equal(t, []string{"FI-101", "x.y", "and"}, again.References())
	require.Equal(t, e.String(), e.Renamed(e.References()))
}

func TestLimits(t *testing.T) {
	refused := func(text, says string) {
		_, err := Parse(text)
		require.ErrorIs(t, err, ErrExpression)
		require.ErrorContains(t, err, says)
	}
	taken := func(text string) {
		_, err := Parse(text)
		require.NoError(t, err)
	}
	names := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString("+t")
			b.WriteString(strings.Repeat("x", i))
		}
		return b.String()[1:]
	}
	taken(names(MaxReferences))
	refused(names(MaxReferences+1), "one more than the 64")
	for _, open := range []string{"(", "-", "2^", "not ", "abs("} {
		inside := "1"
		if open == "not " {
			inside = "true"
		}
		shut := strings.Repeat(")", strings.Count(open, "("))
		taken(strings.Repeat(open, MaxDepth) + inside + strings.Repeat(shut, MaxDepth))
		refused(strings.Repeat(open, MaxDepth+1)+inside+strings.Repeat(shut, MaxDepth+1), "nested more than 64 deep")
	}
	refused(strings.Repeat(" ", MaxBytes)+"1", "4097 bytes, most is 4096")
	refused("min(1"+strings.Repeat(",1", MaxArguments)+")", "takes 1 to 256 arguments, not 257")
	refused("\xff", "not UTF-8")
	long := "1" + strings.Repeat("+1", MaxBytes/2-1)
	taken(long)
}

func TestErrorsSayWhere(t *testing.T) {
	_, err := Parse("1 +\n  'µ' = µµ µ")
	require.EqualError(t, err, `line 2, column 12: an operator or the end is expected, not "µ"`)
	var at *Error
	require.ErrorAs(t, err, &at)
	require.Equal(t, [2]int{2, 12}, [2]int{at.Line, at.Column})
}

// TestSamplesAsValues: what an expression sees of a stored sample.
func TestSamplesAsValues(t *testing.T) {
	set := &model.StateSet{States: []model.DigitalState{{Code: 2, Text: "ON"}}}
	for _, x := range []struct {
		sample model.Sample
		want   Value
	}{
		{model.Sample{Type: model.Float64, Bits: bitsOf(1.5), Quality: model.UncertainSubNormal | 0x402}, Value{Type: Number, Float: 1.5, Quality: model.UncertainSubNormal}},
		{model.Sample{Type: model.Float32, Bits: uint64(math.Float32bits(0.1))}, Value{Type: Number, Float: float64(float32(0.1))}},
		{model.Sample{Type: model.Float64, Bits: bitsOf(math.NaN())}, Value{Type: Number, Null: true, Quality: BadOutOfRange}},
		{model.Sample{Type: model.Float64, Bits: bitsOf(math.Inf(1))}, Value{Type: Number, Null: true, Quality: BadOutOfRange}},
		{model.Sample{Type: model.Int64, Bits: math.MaxUint64}, IntOf(-1)},
		{model.Sample{Type: model.Uint64, Bits: math.MaxInt64}, IntOf(math.MaxInt64)},
		{model.Sample{Type: model.Uint64, Bits: math.MaxUint64}, FloatOf(math.MaxUint64)},
		{model.Sample{Type: model.State, Bits: 2}, Value{Type: State, Int: 2, Text: "ON"}},
		{model.Sample{Type: model.State, Bits: 3}, Value{Type: State, Int: 3}},
		{model.Sample{Type: model.Bool, Bits: 1, Quality: model.BadSensorFailure}, Value{Type: Bool, Null: true, Quality: model.BadSensorFailure}},
		{model.Sample{Type: model.String, Null: true}, Value{Type: Text, Null: true, Quality: model.BadNoData}},
		{model.Sample{Type: model.String, Blob: []byte("a")}, TextOf("a")},
	} {
		require.Equal(t, x.want, OfSample(x.sample, set))
	}
	require.Equal(t, "BadOutOfRange", BadOutOfRange.Text())
}

func TestResultInAUnit(t *testing.T) {
	e, err := Parse("A")
	require.NoError(t, err)
	p, err := e.Check([]Tag{{model.Float64, "bar"}})
	require.NoError(t, err)
	q, err := p.In("kPa")
	require.NoError(t, err)
	require.Equal(t, "kPa", q.Unit)
	require.Equal(t, 200.0, q.Eval([]Value{FloatOf(2)}).Float)
	_, err = p.In("Cel")
	require.ErrorIs(t, err, ErrExpression)
	_, err = p.In("nonsense")
	require.ErrorIs(t, err, ErrExpression)
}

// FuzzParse: no text makes the parser fail otherwise than with ErrExpression, and what it takes evaluates to a value that is one.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"a + b * 2", `if("P-101.RUN" = 'ON', min(a, b, 3e2), -x ^ 2 % 4)`, "in_unit(a, 'Cel') - in_unit(b, '[degF]') > 0 and not c", "else(a, (b), pi / e)", "1..2", `""""`, "'''", "- -1", "1e", "2^3^4"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			require.ErrorIs(t, err, ErrExpression)
			return
		}
		for _, tag := range []Tag{{model.Float64, ""}, {model.Float64, "Cel"}, {model.Float64, "m3/h"}, {model.Int64, "1"}, {model.Bool, ""}, {model.State, ""}, {model.String, ""}} {
			tags, row := make([]Tag, len(e.References())), make([]Value, len(e.References()))
			for i := range tags {
				tags[i] = tag
				row[i] = OfSample(model.Sample{Type: tag.Type, Bits: uint64(i)}, nil)
			}
			p, err := e.Check(tags)
			if err != nil {
				require.ErrorIs(t, err, ErrExpression)
				continue
			}
			v := p.Eval(row)
			require.Equal(t, p.Type, v.Type, text)
			require.Equal(t, v.Null, v.Quality.IsBad(), text)
			require.True(t, model.Finite(v.Float), text)
		}
		again, err := Parse(e.Renamed(e.References()))
		require.NoError(t, err)
		require.Equal(t, e.References(), again.References())
	})
}
