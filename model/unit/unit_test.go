package unit

import (
	"math"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func mustParse(t require.TestingT, code string) Unit {
	u, err := Parse(code)
	require.NoError(t, err, code)
	return u
}

// TestKnownValues holds conversions against published factors. "SP 811" is NIST Special Publication 811 (2008), appendix B.8, whose
// factors in bold are exact and others rounded to seven digits; "SI" is the SI brochure, 9th edition; "UCUM" the UCUM specification.
func TestKnownValues(t *testing.T) {
	for _, x := range []struct {
		value    float64
		from, to string
		want     float64
		digits   float64 // that the source has; 0: to the last bit
		source   string
	}{
		{1, "[in_i]", "cm", 2.54, 0, "SP 811: inch"},
		{1, "[ft_i]", "m", 0.3048, 0, "SP 811: foot"},
		{1, "[mi_i]", "km", 1.609344, 0, "SP 811: mile"},
		{1, "[nmi_i]", "m", 1852, 0, "SP 811: nautical mile"},
		{1, "[kn_i]", "m/s", 0.5144444, 7, "SP 811: knot"},
		{1, "[ft_us]", "m", 0.3048006, 7, "SP 811: foot, U.S. survey"},
		{1, "[acr_us]", "m2", 4046.873, 7, "SP 811: acre"},
		{1, "[cft_i]", "m3", 0.02831685, 7, "SP 811: cubic foot"},
		{1, "[cft_i]/min", "m3/s", 4.719474e-4, 7, "SP 811: cubic foot per minute"},
		{1, "[gal_us]", "l", 3.785412, 7, "SP 811: gallon (U.S.)"},
		{1, "[gal_us]/min", "l/s", 0.06309020, 7, "SP 811: gallon (U.S.) per minute"},
		{1, "[gal_br]", "l", 4.54609, 0, "SP 811: gallon (Imperial)"},
		{1, "[bbl_us]", "m3", 0.1589873, 7, "SP 811: barrel, 42 U.S. gallons"},
		{1, "[foz_us]", "ml", 29.57353, 7, "SP 811: fluid ounce (U.S.)"},
		{1, "[lb_av]", "kg", 0.45359237, 0, "SP 811: pound (avoirdupois)"},
		{1, "[oz_av]", "g", 28.34952, 7, "SP 811: ounce (avoirdupois)"},
		{1, "[oz_tr]", "g", 31.10348, 7, "SP 811: ounce (troy)"},
		{1, "[ston_av]", "kg", 907.1847, 7, "SP 811: ton, short"},
		{1, "[lton_av]", "kg", 1016.047, 7, "SP 811: ton, long"},
		{1, "[lb_av]/h", "kg/s", 1.259979e-4, 7, "SP 811: pound per hour"},
		{1, "[lb_av]/[cft_i]", "kg/m3", 16.01846, 7, "SP 811: pound per cubic foot"},
		{1, "[lbf_av]", "N", 4.448222, 7, "SP 811: pound-force"},
		{1, "[lbf_av].[ft_i]", "N.m", 1.355818, 7, "SP 811: pound-force foot"},
		{1, "kgf", "N", 9.80665, 0, "SP 811: kilogram-force"},
		{1, "[psi]", "kPa", 6.894757, 7, "SP 811: psi"},
		{1, "bar", "kPa", 100, 0, "SP 811: bar"},
		{1, "atm", "Pa", 101325, 0, "SP 811: atmosphere, standard"},
		{1, "att", "kPa", 98.0665, 0, "SP 811: atmosphere, technical"},
		{1, "mm[Hg]", "Pa", 133.3220, 0, "UCUM: m[Hg]"},
		{1, "mm[Hg]", "Pa", 133.3224, 5, "SP 811: millimeter of mercury, conventional"},
		{1, "mm[H2O]", "Pa", 9.80665, 0, "SP 811: millimeter of water, conventional"},
		{1, "[in_i'H2O]", "Pa", 249.0889, 7, "SP 811: inch of water, conventional"},
		{1, "[in_i'Hg]", "kPa", 3.386389, 5, "SP 811: inch of mercury, conventional"},
		{1, "[HP]", "W", 745.6999, 7, "SP 811: horsepower (550 ft lbf/s)"},
		{1, "[Btu_IT]", "kJ", 1.055056, 7, "SP 811: Btu_IT"},
		{1, "[Btu]", "kJ", 1.054350, 7, "SP 811: Btu_th"},
		{1, "[Btu_IT]/h", "W", 0.2930711, 7, "SP 811: Btu_IT per hour"},
		{1, "cal", "J", 4.184, 0, "SP 811: cal_th"},
		{1, "kW.h", "MJ", 3.6, 0, "SP 811: kilowatt hour"},
		{1, "P", "Pa.s", 0.1, 0, "SP 811: poise"},
		{1, "cSt", "mm2/s", 1, 0, "SP 811: centistokes"},
		{1, "Ci", "Bq", 3.7e10, 0, "SP 811: curie"},
		{1, "G", "T", 1e-4, 0, "SP 811: gauss"},
		{1, "dyn", "uN", 10, 0, "SP 811: dyne"},
		{1, "erg", "nJ", 100, 0, "SP 811: erg"},
		{1, "Ao", "nm", 0.1, 0, "SP 811: angstrom"},
		{1, "ph", "lx", 1e4, 0, "SP 811: phot"},
		{180, "deg", "rad", math.Pi, 0, "SI, table 8"},
		{1, "'", "deg", 1. / 60, 0, "SI, table 8"},
		{3600, "''", "deg", 1, 0, "SI, table 8"},
		{1, "d", "s", 86400, 0, "SI, table 8"},
		{1, "l", "dm3", 1, 0, "SI, table 8"},
		{1, "t", "kg", 1000, 0, "SI, table 8"},
		{1, "a", "d", 365.25, 0, "UCUM: a_j"},
		{36, "km/h", "m/s", 10, 0, "SI, table 8"},
		{0, "Cel", "K", 273.15, 0, "SI, 2.3.1"},
		{100, "Cel", "[degF]", 212, 0, "SP 811: degree Fahrenheit"},
		{37, "Cel", "[degF]", 98.6, 0, "SP 811: degree Fahrenheit"},
		{-40, "[degF]", "Cel", -40, 15, "SP 811: degree Fahrenheit"},
		{32, "[degF]", "Cel", 0, 13, "SP 811: degree Fahrenheit"},
		{491.67, "[degR]", "K", 273.15, 15, "SP 811: degree Rankine"},
		{80, "[degRe]", "Cel", 100, 15, "UCUM: degRe"},
		{25000, "mCel", "Cel", 25, 0, "UCUM, 22"},
		{1, "{rev}/min", "Hz", 1. / 60, 0, "SI, 2.3.4"},
		{5, "%", "[ppm]", 50000, 0, "UCUM: %, [ppm]"},
		{1, "[ppth]", "%", 0.1, 0, "UCUM: [ppth]"},
		{1, "10*3/ul", "10*9/l", 1, 0, "UCUM, 1.1"},
		{1, "meq/l", "mmol/l", 1, 0, "UCUM: eq"},
		{1, "m3{normal}/h", "l/s", 1 / 3.6, 0, "UCUM, 6"},
		{1, "Ohm", "V/A", 1, 0, "SI, table 4"},
		{1, "lx", "cd.sr/m2", 1, 0, "SI, table 4"},
		{1, "kat", "mol/s", 1, 0, "SI, table 4"},
		{1, "KiBy", "bit", 8192, 0, "UCUM: By"},
		{3, "dB", "B", 0.3, 0, "UCUM: B"},
		{2, "/m", "/cm", 0.02, 0, "UCUM, 7"},
		{6, "m/s.kg", "kg.m/s", 6, 0, "UCUM, 7: from left to right"},
		{6, "m/(s.kg)", "m.kg-1.s-1", 6, 0, "UCUM, 7"},
	} {
		c, err := Convert(mustParse(t, x.from), mustParse(t, x.to))
		require.NoError(t, err, x.source)
		got := c.Value(x.value)
		if x.digits == 0 {
			require.Equal(t, x.want, got, "%s: %g %s in %s", x.source, x.value, x.from, x.to)
		} else {
			scale := math.Abs(x.want)
			if x.want == 0 {
				scale = math.Abs(x.value)
			}
			require.InDelta(t, x.want, got, 5*scale*math.Pow(10, -x.digits), "%s: %g %s in %s", x.source, x.value, x.from, x.to)
		}
	}
}

// TestDefinitionsHold works the whole table out, and finds no code that a prefix and another code would be as well.
func TestDefinitionsHold(t *testing.T) {
	require.Len(t, atoms(), len(base)+len(definitions), "a code is defined twice")
	for code := range atoms() {
		u := mustParse(t, code)
		require.Positive(t, u.scale.Sign(), code)
		require.Equal(t, code, u.String())
		if u.apart == "" {
			c, err := Convert(u, u)
			require.NoError(t, err)
			require.Equal(t, Identity, c)
		}
	}
	for wrong, code := range meant {
		mustParse(t, code)
		_, err := Parse(wrong)
		require.ErrorIs(t, err, ErrSyntax, "%s has a meaning of its own", wrong)
		require.ErrorContains(t, err, "it may be "+code)
	}
}

// TestPageHasTheTable holds docs/reference/units.md against the table: all codes, and whether they take prefixes.
func TestPageHasTheTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/units.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| kind |")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	metric := map[string]bool{}
	for _, line := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(line, "|")
		for k, cell := range cells[2:4] {
			for i, code := range strings.Split(cell, "`") {
				if i%2 == 1 {
					require.NotContains(t, metric, code)
					metric[code] = k == 0
				}
			}
		}
	}
	for code, a := range atoms() {
		got, ok := metric[code]
		require.True(t, ok, "%s is not on the page", code)
		require.Equal(t, a.metric, got, code)
		delete(metric, code)
	}
	require.Empty(t, metric, "on the page, and no units")
}

func TestWhatCannotBeReadSaysWhere(t *testing.T) {
	for code, says := range map[string]string{
		"":                      "at byte 0: a unit is missing",
		"m/":                    "at byte 2: a unit is missing",
		"kg.m/sec2":             `at byte 5: unit "sec" is not known, it may be s`,
		"mmHg":                  "it may be mm[Hg]",
		"Nm3":                   "it may be m3{normal}",
		"M":                     `unit "M" is not known`,
		"kmin":                  `unit "kmin" is not known`,
		"m3 ":                   `at byte 2: " " is not expected`,
		"m.(s":                  "at byte 4: a ) is missing for the ( at byte 2",
		"m)":                    `at byte 1: ")" is not expected`,
		"m{normal":              "at byte 1: the annotation has no end",
		"m{a b}":                "at byte 3: annotations have printable ASCII",
		"m{a{b}":                "at byte 3: annotations",
		"m-":                    "at byte 1: an exponent has no digits",
		"m0":                    "at byte 1: exponent 0",
		"m99":                   "at byte 1: exponent 99, must be from -30 to 30",
		"m99999999999999999999": "at byte 1: exponent 9999999999",
		"0.m":                   "at byte 0: the factor is 0",
		"[psi":                  `unit "[psi" is not known`,
		"W/(m2.Cel)":            "at byte 6: a unit with a scale of its own",
		"Cel/min":               "at byte 4: a unit with a scale of its own",
		"Cel2":                  "at byte 3: Cel has a scale of its own",
		"-m":                    `at byte 0: "-m" begins no unit`,
		"m..s":                  `at byte 2: ".s" begins no unit`,
		strings.Repeat("m", 65): "has 65 bytes, most is 64",
	} {
		_, err := Parse(code)
		require.ErrorIs(t, err, ErrSyntax, code)
		require.ErrorContains(t, err, says)
	}
}

func TestDimensionsAreTold(t *testing.T) {
	for _, x := range [][3]string{
		{"bar", "m3/h", "bar is m-1.kg.s-2, m3/h is m3.s-1"},
		{"mol/l", "/m3", "mol/l is m-3.mol, /m3 is m-3"},
		{"rad/s", "{rev}/min", "rad/s is s-1.rad, {rev}/min is s-1"},
		{"[pH]", "mol/l", "[pH] is [pH], mol/l is m-3.mol"},
		{"dB", "dB[SPL]", "dB is B, dB[SPL] is B[SPL]"},
		{"%", "Cel", "% is 1, Cel is K"},
		{"Ym30.Ym30", "fm30.fm30", "beyond what doubles hold"},
	} {
		_, err := Convert(mustParse(t, x[0]), mustParse(t, x[1]))
		require.ErrorIs(t, err, ErrDimension)
		require.ErrorContains(t, err, x[2])
	}
}

// drawUnit is a product of atoms with prefixes and exponents.
func drawUnit(t *rapid.T) string {
	codes := []string{"m", "kg", "s", "A", "K", "mol", "cd", "rad", "Pa", "bar", "[psi]", "l", "[gal_us]", "h", "min", "W", "[Btu]", "%", "10*3", "{x}", "7", "deg", "m[H2O]"}
	var b strings.Builder
	for i := range rapid.IntRange(1, 2).Draw(t, "factors") {
		if i > 0 {
			b.WriteString(rapid.SampledFrom([]string{".", "/"}).Draw(t, "operator"))
		}
		code := rapid.SampledFrom(codes).Draw(t, "code")
		b.WriteString(code)
		if rapid.Bool().Draw(t, "power") && code[0] != '{' && code[0] != '7' && code != "10*3" {
			b.WriteString(rapid.SampledFrom([]string{"2", "-1", "+3", "-2{x}"}).Draw(t, "exponent"))
		}
	}
	return b.String()
}

// TestConversionsAgree: products count as they are written, there and back is where one was, and over a third unit it is the same.
func TestConversionsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawUnit(t), drawUnit(t), drawUnit(t)
		u, v := mustParse(t, "("+a+").("+b+")"), mustParse(t, "("+b+").("+a+")")
		require.Zero(t, u.scale.Cmp(v.scale), "a product does not depend on the order")
		require.Equal(t, u.exponents, v.exponents)
		left, right := mustParse(t, "("+a+")/(("+b+").("+c+"))"), mustParse(t, "("+a+")/("+b+")/("+c+")")
		require.Zero(t, left.scale.Cmp(right.scale))
		require.Equal(t, left.exponents, right.exponents)

		x := rapid.Float64Range(1e-9, 1e9).Draw(t, "value")
		same := mustParse(t, left.Dimension())
		to, err := Convert(left, same)
		require.NoError(t, err)
		back, err := Convert(same, left)
		require.NoError(t, err)
		require.InEpsilon(t, x, back.Value(to.Value(x)), 4*0x1p-53*1.01)
	})
}

// TestConversionsAreNearTheExactOnes holds every pair of one dimension against rational arithmetic.
func TestConversionsAreNearTheExactOnes(t *testing.T) {
	codes := []string{"bar", "mbar", "Pa", "kPa", "[psi]", "mm[Hg]", "atm", "Cel", "[degF]", "K", "[degR]", "m/s", "km/h", "[kn_i]", "[ft_i]/min", "kW.h", "J", "[Btu]"}
	rapid.Check(t, func(t *rapid.T) {
		from, to := mustParse(t, rapid.SampledFrom(codes).Draw(t, "from")), mustParse(t, rapid.SampledFrom(codes).Draw(t, "to"))
		c, err := Convert(from, to)
		if from.exponents != to.exponents {
			require.ErrorIs(t, err, ErrDimension)
			return
		}
		require.NoError(t, err)
		x := rapid.Float64Range(-1e12, 1e12).Draw(t, "value")
		product := new(big.Rat).SetFloat64(x)
		product.Mul(product, from.scale)
		exact := new(big.Rat).Set(product)
		if from.offset != nil {
			exact.Add(exact, from.offset)
		}
		if to.offset != nil {
			exact.Sub(exact, to.offset)
		}
		want, _ := exact.Quo(exact, to.scale).Float64()
		term, _ := product.Quo(product, to.scale).Float64()
		bound := 2*math.Abs(term)*0x1p-53 + (math.Abs(c.Add)+math.Abs(want))*0x1p-53
		require.InDelta(t, want, c.Value(x), bound*1.01)
		require.InDelta(t, term, c.Difference(x), 2.02*math.Abs(term)*0x1p-53)
	})
}

func TestSpecialValuesStay(t *testing.T) {
	payload := math.Float64frombits(0x7FF8_0000_DEAD_BEEF)
	require.Equal(t, math.Float64bits(payload), math.Float64bits(Identity.Value(payload)))
	require.Equal(t, uint64(1)<<63, math.Float64bits(Identity.Value(math.Copysign(0, -1))))
	c, err := Convert(mustParse(t, "mbar"), mustParse(t, "bar"))
	require.NoError(t, err)
	require.True(t, math.IsNaN(c.Value(math.NaN())))
	require.True(t, math.IsInf(c.Value(math.Inf(-1)), -1))
	require.Equal(t, uint64(1)<<63, math.Float64bits(c.Value(math.Copysign(0, -1))))
	require.Equal(t, 0.035, c.Value(35), "a quotient, where the factor is no double")
	k, err := Convert(mustParse(t, "km/h"), mustParse(t, "m/s"))
	require.NoError(t, err)
	require.InEpsilon(t, math.MaxFloat64/3.6, k.Value(math.MaxFloat64), 1e-15, "the product would overflow, the quotient does not")
}

// FuzzParse: no code makes the parser fail otherwise than with ErrSyntax, and what it takes can be told and read again.
func FuzzParse(f *testing.F) {
	for code := range atoms() {
		f.Add(code)
	}
	for _, code := range []string{"kg.m/s2", "/min", "10*-3", "m3{normal}/h", "(m/s)2", "{rev}/min", "2.10^3", "Ym30.Ym30", "Cel{oven}", "((((m))))", "m[", "µm"} {
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code string) {
		u, err := Parse(code)
		if err != nil {
			require.ErrorIs(t, err, ErrSyntax)
			return
		}
		if len(u.Dimension()) <= MaxBytes {
			again, err := Parse(u.Dimension())
			if err == nil {
				require.Equal(t, u.exponents, again.exponents)
			} else {
				require.ErrorContains(t, err, "exponent", "%s is %s", code, u.Dimension())
			}
		}
		if c, err := Convert(u, u); err == nil {
			require.Equal(t, Identity, c, code)
		}
	})
}
