package expression

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// plain is what an expression gives by the words of the page, calculated without trees, checks or conversions: a number as *big.Int or
// float64, a bool, or nil with the quality of what is missing.
type plainValue struct {
	value   any
	quality model.Quality
}

// drawn is an expression as text, with what it gives for a row.
type drawn struct {
	text string
	of   func(row map[string]plainValue) plainValue
}

var plainNumbers, plainBools = []string{"a", "b", "c d", "n"}, []string{"p", "q"}

func asDouble(x any) float64 {
	if i, ok := x.(*big.Int); ok {
		f, _ := new(big.Float).SetInt(i).Float64()
		return f
	}
	return x.(float64)
}

// exact is a number as a rational.
func exact(x any) *big.Rat {
	if i, ok := x.(*big.Int); ok {
		return new(big.Rat).SetInt(i)
	}
	return new(big.Rat).SetFloat64(x.(float64))
}

// worstOf is the page's first row of the table of qualities: the worst, the first that says more than its severity.
func worstOf(qs ...model.Quality) model.Quality {
	best := model.Quality(0)
	for _, q := range qs {
		best = max(best, min(q>>30, 2))
	}
	for _, q := range qs {
		if min(q>>30, 2) == best && q<<2 != 0 {
			return q
		}
	}
	return best << 30
}

// strictly calculates where all operands have a value.
func strictly(f func(x ...any) any, operands ...drawn) func(map[string]plainValue) plainValue {
	return func(row map[string]plainValue) plainValue {
		var values []any
		var qualities []model.Quality
		missing := false
		for _, o := range operands {
			v := o.of(row)
			missing = missing || v.value == nil
			values, qualities = append(values, v.value), append(qualities, v.quality)
		}
		q := worstOf(qualities...)
		if missing {
			return plainValue{nil, q}
		}
		out := f(values...)
		if d, ok := out.(float64); ok && (math.IsNaN(d) || math.IsInf(d, 0)) || out == nil {
			return plainValue{nil, BadOutOfRange}
		}
		return plainValue{out, q}
	}
}

// arithmetic is an operator on integers, kept if an int64 holds the result, and on doubles.
func arithmetic(whole func(a, b *big.Int) *big.Int, doubles func(a, b float64) float64) func(x ...any) any {
	return func(x ...any) any {
		a, ok := x[0].(*big.Int)
		b, ok2 := x[1].(*big.Int)
		if ok && ok2 && whole != nil {
			if out := whole(a, b); out != nil && out.IsInt64() {
				return out
			}
		}
		return doubles(asDouble(x[0]), asDouble(x[1]))
	}
}

func drawNumber(t *rapid.T, depth int) drawn {
	sub := func() drawn { return drawNumber(t, depth-1) }
	if depth == 0 {
		return drawLeaf(t)
	}
	kind := rapid.SampledFrom([]string{"leaf", "+", "-", "*", "/", "%", "^", "neg", "abs", "sign", "sqrt", "floor", "ln", "min", "max", "clamp", "if", "else"}).Draw(t, "number")
	switch kind {
	case "leaf":
		return drawLeaf(t)
	case "+", "-", "*", "/", "%", "^":
		a, b := sub(), sub()
		f := map[string]func(x ...any) any{
			"+": arithmetic(func(a, b *big.Int) *big.Int { return new(big.Int).Add(a, b) }, func(a, b float64) float64 { return a + b }),
			"-": arithmetic(func(a, b *big.Int) *big.Int { return new(big.Int).Sub(a, b) }, func(a, b float64) float64 { return a - b }),
			"*": arithmetic(func(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) }, func(a, b float64) float64 { return a * b }),
			"/": arithmetic(nil, func(a, b float64) float64 { return a / b }),
			"%": arithmetic(func(a, b *big.Int) *big.Int {
				if b.Sign() == 0 {
					return nil
				}
				return new(big.Int).Rem(a, b)
			}, math.Mod),
			"^": arithmetic(func(a, b *big.Int) *big.Int {
				if b.Sign() < 0 || a.CmpAbs(big.NewInt(1)) > 0 && b.Cmp(big.NewInt(64)) > 0 {
					return nil
				}
				if b.Cmp(big.NewInt(64)) > 0 { // a is -1, 0 or 1
					b = new(big.Int).Add(big.NewInt(2), new(big.Int).Rem(b, big.NewInt(2)))
				}
				return new(big.Int).Exp(a, b, nil)
			}, math.Pow),
		}[kind]
		return drawn{"(" + a.text + ") " + kind + " (" + b.text + ")", strictly(f, a, b)}
	case "min", "max":
		operands := []drawn{sub(), sub(), sub()}
		return drawn{fmt.Sprintf("%s(%s, %s, %s)", kind, operands[0].text, operands[1].text, operands[2].text), strictly(func(x ...any) any {
			out := x[0]
			for _, v := range x {
				if c := exact(v).Cmp(exact(out)); kind == "min" && c < 0 || kind == "max" && c > 0 {
					out = v
				}
			}
			return out
		}, operands...)}
	case "clamp":
		operands := []drawn{sub(), sub(), sub()}
		return drawn{fmt.Sprintf("clamp(%s, %s, %s)", operands[0].text, operands[1].text, operands[2].text), strictly(func(x ...any) any {
			switch {
			case exact(x[1]).Cmp(exact(x[2])) > 0:
				return nil
			case exact(x[0]).Cmp(exact(x[1])) < 0:
				return x[1]
			case exact(x[0]).Cmp(exact(x[2])) > 0:
				return x[2]
			}
			return x[0]
		}, operands...)}
	case "if":
		c, a, b := drawBool(t, depth-1), sub(), sub()
		return drawn{fmt.Sprintf("if(%s, %s, %s)", c.text, a.text, b.text), func(row map[string]plainValue) plainValue {
			v := c.of(row)
			if v.value == nil {
				return v
			}
			out := b.of(row)
			if v.value.(bool) {
				out = a.of(row)
			}
			return plainValue{out.value, worstOf(v.quality, out.quality)}
		}}
	case "else":
		a, b := sub(), sub()
		return drawn{fmt.Sprintf("else(%s, %s)", a.text, b.text), func(row map[string]plainValue) plainValue {
			if v := a.of(row); v.value != nil {
				return v
			}
			return b.of(row)
		}}
	}
	a := sub()
	f := map[string]func(x ...any) any{
		"neg": func(x ...any) any {
			if i, ok := x[0].(*big.Int); ok && i.Cmp(big.NewInt(math.MinInt64)) != 0 {
				return new(big.Int).Neg(i)
			}
			return -asDouble(x[0])
		},
		"abs": func(x ...any) any {
			if i, ok := x[0].(*big.Int); ok && i.Cmp(big.NewInt(math.MinInt64)) != 0 {
				return new(big.Int).Abs(i)
			}
			return math.Abs(asDouble(x[0]))
		},
		"sign": func(x ...any) any { return big.NewInt(int64(exact(x[0]).Sign())) },
		"sqrt": func(x ...any) any { return math.Sqrt(asDouble(x[0])) },
		"ln":   func(x ...any) any { return math.Log(asDouble(x[0])) },
		"floor": func(x ...any) any {
			if i, ok := x[0].(*big.Int); ok {
				return i
			}
			return math.Floor(x[0].(float64))
		},
	}[kind]
	text := kind + "(" + a.text + ")"
	if kind == "neg" {
		text = "-(" + a.text + ")"
	}
	return drawn{text, strictly(f, a)}
}

func drawLeaf(t *rapid.T) drawn {
	if rapid.Bool().Draw(t, "literal") {
		if rapid.Bool().Draw(t, "integer") {
			i := rapid.SampledFrom([]int64{0, 1, 2, 3, 7, 64, 1<<53 + 1, math.MaxInt64}).Draw(t, "value")
			return drawn{strconv.FormatInt(i, 10), func(map[string]plainValue) plainValue { return plainValue{big.NewInt(i), 0} }}
		}
		f := rapid.SampledFrom([]float64{0, 0.5, 1e3, 1 << 53, 1e300, 0x1p63}).Draw(t, "value")
		return drawn{strconv.FormatFloat(f, 'e', -1, 64), func(map[string]plainValue) plainValue { return plainValue{f, 0} }}
	}
	name := rapid.SampledFrom(plainNumbers).Draw(t, "tag")
	return drawn{Quote(name), func(row map[string]plainValue) plainValue { return row[name] }}
}

func drawBool(t *rapid.T, depth int) drawn {
	if depth <= 0 {
		name := rapid.SampledFrom(plainBools).Draw(t, "tag")
		return drawn{name, func(row map[string]plainValue) plainValue { return row[name] }}
	}
	switch kind := rapid.SampledFrom([]string{"and", "or", "not", "compare", "is_good", "is_bad"}).Draw(t, "bool"); kind {
	case "and", "or":
		a, b := drawBool(t, depth-1), drawBool(t, depth-1)
		return drawn{"(" + a.text + ") " + kind + " (" + b.text + ")", func(row map[string]plainValue) plainValue {
			x, y := a.of(row), b.of(row)
			decides := func(v plainValue) bool { return v.value != nil && v.value.(bool) == (kind == "or") }
			switch {
			case decides(x) && decides(y) && min(y.quality>>30, 2) < min(x.quality>>30, 2):
				return y
			case decides(x):
				return x
			case decides(y):
				return y
			case x.value == nil || y.value == nil:
				return plainValue{nil, worstOf(x.quality, y.quality)}
			}
			return plainValue{kind == "and", worstOf(x.quality, y.quality)}
		}}
	case "not":
		a := drawBool(t, depth-1)
		return drawn{"not (" + a.text + ")", strictly(func(x ...any) any { return !x[0].(bool) }, a)}
	case "compare":
		a, b := drawNumber(t, depth-1), drawNumber(t, depth-1)
		operator := rapid.SampledFrom(comparisons).Draw(t, "comparison")
		return drawn{"(" + a.text + ") " + operator + " (" + b.text + ")", strictly(func(x ...any) any {
			c := exact(x[0]).Cmp(exact(x[1]))
			return map[string]bool{"=": c == 0, "!=": c != 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[operator]
		}, a, b)}
	default:
		a := drawNumber(t, depth-1)
		return drawn{kind + "(" + a.text + ")", func(row map[string]plainValue) plainValue {
			if v := a.of(row); kind == "is_good" {
				return plainValue{v.value != nil && v.quality>>30 == 0, 0}
			} else {
				return plainValue{v.value == nil || v.quality>>30 >= 2, 0}
			}
		}}
	}
}

// TestEvalIsWhatThePageSays holds programs against the plain evaluation.
func TestEvalIsWhatThePageSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x drawn
		if rapid.Bool().Draw(t, "bool") {
			x = drawBool(t, 4)
		} else {
			x = drawNumber(t, 4)
		}
		e, err := Parse(x.text)
		var too *Error
		if err != nil {
			require.ErrorAs(t, err, &too)
			require.Contains(t, too.Message, "bytes, most is", x.text)
			return
		}
		types := map[string]model.Type{"a": model.Float64, "b": model.Float64, "c d": model.Float32, "n": model.Int64, "p": model.Bool, "q": model.Bool}
		var tags []Tag
		for _, name := range e.References() {
			tags = append(tags, Tag{Type: types[name]})
		}
		p, err := e.Check(tags)
		require.NoError(t, err, x.text)
		for range 8 {
			plain, samples := drawRow(t, types)
			var row []Value
			for _, name := range e.References() {
				row = append(row, OfSample(samples[name], nil))
			}
			want, got := x.of(plain), p.Eval(row)
			require.Equal(t, want.quality, got.Quality, "%s of %v", x.text, plain)
			switch v := want.value.(type) {
			case nil:
				require.True(t, got.Null, x.text)
			case bool:
				require.Equal(t, v, got.Bool, "%s of %v", x.text, plain)
			case *big.Int:
				require.Equal(t, IntOf(v.Int64()), Value{Type: got.Type, Exact: got.Exact, Int: got.Int}, "%s of %v", x.text, plain)
			case float64:
				require.False(t, got.Exact, x.text)
				require.Equal(t, math.Float64bits(v), math.Float64bits(got.Float), "%s of %v", x.text, plain)
			}
		}
	})
}

func drawRow(t *rapid.T, types map[string]model.Type) (map[string]plainValue, map[string]model.Sample) {
	plain, samples := map[string]plainValue{}, map[string]model.Sample{}
	for _, name := range append(append([]string{}, plainNumbers...), plainBools...) {
		q := rapid.SampledFrom([]model.Quality{0, 0, 0, model.GoodLocalOverride, model.Uncertain, model.UncertainSubNormal, model.Bad, model.BadSensorFailure}).Draw(t, "quality")
		s := model.Sample{Type: types[name], Quality: q}
		v := plainValue{quality: q}
		switch types[name] {
		case model.Bool:
			b := rapid.Bool().Draw(t, name)
			v.value = b
			if b {
				s.Bits = 1
			}
		case model.Int64:
			i := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-5, 5)).Draw(t, name)
			v.value, s.Bits = big.NewInt(i), uint64(i)
		default:
			f := rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1, 0.5, math.MaxFloat32, 0x1p-149})).Draw(t, name)
			if types[name] == model.Float32 {
				f = float64(float32(f))
				s.Bits = uint64(math.Float32bits(float32(f)))
			} else {
				s.Bits = math.Float64bits(f)
			}
			v.value = f
		}
		switch {
		case q>>30 >= 2:
			v.value = nil
		case rapid.IntRange(0, 9).Draw(t, "null") == 0:
			s.Null, s.Bits = true, 0
			v = plainValue{nil, model.BadNoData}
		}
		plain[name], samples[name] = v, s
	}
	return plain, samples
}
