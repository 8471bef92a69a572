package unit

// base are the units that all others are made of. Their order is that of Unit.exponents, and of a dimension in an error.
var base = [...]string{"m", "kg", "s", "A", "K", "mol", "cd", "rad"}

// prefixes are powers of ten, and of 1024 for those of two letters with an i.
var prefixes = map[string]int{
	"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
	"d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}

var binaryPrefixes = map[string]uint{"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}

// definition is a unit as UCUM defines it: a number of another one.
type definition struct {
	code   string
	metric bool // takes prefixes
	number string
	of     string // only of units further up
	offset string // in kelvins, of the zero of its scale; empty for none
}

// definitions are UCUM's, version 2.1, of the units that plants use. An empty definition is a unit with a dimension of its own.
var definitions = []definition{
	{code: "10*", number: "10", of: "1"}, {code: "10^", number: "10", of: "1"},
	{code: "[pi]", number: "3.1415926535897932384626433832795028841971693993751058209749445923", of: "1"},
	{code: "%", number: "0.01", of: "1"},
	{code: "[ppth]", number: "1e-3", of: "1"}, {code: "[ppm]", number: "1e-6", of: "1"},
	{code: "[ppb]", number: "1e-9", of: "1"}, {code: "[pptr]", number: "1e-12", of: "1"},

	// SI
	{code: "g", metric: true, number: "1e-3", of: "kg"},
	{code: "sr", metric: true, number: "1", of: "rad2"},
	{code: "Hz", metric: true, number: "1", of: "s-1"},
	{code: "N", metric: true, number: "1", of: "kg.m/s2"},
	{code: "Pa", metric: true, number: "1", of: "N/m2"},
	{code: "J", metric: true, number: "1", of: "N.m"},
	{code: "W", metric: true, number: "1", of: "J/s"},
	{code: "C", metric: true, number: "1", of: "A.s"},
	{code: "V", metric: true, number: "1", of: "J/C"},
	{code: "F", metric: true, number: "1", of: "C/V"},
	{code: "Ohm", metric: true, number: "1", of: "V/A"},
	{code: "S", metric: true, number: "1", of: "Ohm-1"},
	{code: "mho", metric: true, number: "1", of: "S"},
	{code: "Wb", metric: true, number: "1", of: "V.s"},
	{code: "T", metric: true, number: "1", of: "Wb/m2"},
	{code: "H", metric: true, number: "1", of: "Wb/A"},
	{code: "lm", metric: true, number: "1", of: "cd.sr"},
	{code: "lx", metric: true, number: "1", of: "lm/m2"},
	{code: "Bq", metric: true, number: "1", of: "s-1"},
	{code: "Gy", metric: true, number: "1", of: "J/kg"},
	{code: "Sv", metric: true, number: "1", of: "J/kg"},
	{code: "kat", metric: true, number: "1", of: "mol/s"},
	{code: "eq", metric: true, number: "1", of: "mol"},
	{code: "osm", metric: true, number: "1", of: "mol"},

	// beside the SI
	{code: "gon", number: "0.005", of: "[pi].rad"},
	{code: "deg", number: "1", of: "[pi].rad/180"},
	{code: "'", number: "1", of: "deg/60"}, {code: "''", number: "1", of: "'/60"},
	{code: "circ", number: "2", of: "[pi].rad"},
	{code: "l", metric: true, number: "1", of: "dm3"}, {code: "L", metric: true, number: "1", of: "l"},
	{code: "st", metric: true, number: "1", of: "m3"},
	{code: "ar", metric: true, number: "100", of: "m2"},
	{code: "min", number: "60", of: "s"}, {code: "h", number: "60", of: "min"}, {code: "d", number: "24", of: "h"},
	{code: "wk", number: "7", of: "d"},
	{code: "a_j", number: "365.25", of: "d"}, {code: "a_g", number: "365.2425", of: "d"}, {code: "a_t", number: "365.24219", of: "d"},
	{code: "a", number: "1", of: "a_j"},
	{code: "mo_j", number: "1", of: "a_j/12"}, {code: "mo_g", number: "1", of: "a_g/12"}, {code: "mo_s", number: "29.53059", of: "d"},
	{code: "mo", number: "1", of: "mo_j"},
	{code: "t", metric: true, number: "1000", of: "kg"},
	{code: "bar", metric: true, number: "1e5", of: "Pa"},
	{code: "atm", number: "101325", of: "Pa"},
	{code: "[g]", metric: true, number: "9.80665", of: "m/s2"},
	{code: "gf", metric: true, number: "1", of: "g.[g]"},
	{code: "att", number: "1", of: "kgf/cm2"},
	{code: "m[H2O]", metric: true, number: "9.80665", of: "kPa"},
	{code: "m[Hg]", metric: true, number: "133.3220", of: "kPa"},
	{code: "Ao", number: "0.1", of: "nm"},
	{code: "g%", metric: true, number: "1", of: "g/dl"},
	{code: "tex", metric: true, number: "1", of: "g/km"},
	{code: "bit", metric: true, number: "1", of: "1"}, {code: "By", metric: true, number: "8", of: "bit"}, {code: "Bd", metric: true, number: "1", of: "/s"},

	// CGS
	{code: "dyn", metric: true, number: "1", of: "g.cm/s2"},
	{code: "erg", metric: true, number: "1", of: "dyn.cm"},
	{code: "P", metric: true, number: "1", of: "dyn.s/cm2"},
	{code: "St", metric: true, number: "1", of: "cm2/s"},
	{code: "Gal", metric: true, number: "1", of: "cm/s2"},
	{code: "G", metric: true, number: "1e-4", of: "T"},
	{code: "ph", metric: true, number: "1e4", of: "lx"},
	{code: "Ci", metric: true, number: "3.7e10", of: "Bq"},

	// temperatures
	{code: "Cel", metric: true, number: "1", of: "K", offset: "273.15"},
	{code: "[degR]", number: "5", of: "K/9"},
	{code: "[degF]", number: "5", of: "K/9", offset: "459.67"},
	{code: "[degRe]", number: "5", of: "K/4", offset: "218.52"},

	// inch, pound and gallon
	{code: "[in_i]", number: "2.54", of: "cm"}, {code: "[ft_i]", number: "12", of: "[in_i]"}, {code: "[yd_i]", number: "3", of: "[ft_i]"},
	{code: "[mi_i]", number: "5280", of: "[ft_i]"}, {code: "[fth_i]", number: "6", of: "[ft_i]"}, {code: "[mil_i]", number: "1e-3", of: "[in_i]"},
	{code: "[nmi_i]", number: "1852", of: "m"}, {code: "[kn_i]", number: "1", of: "[nmi_i]/h"},
	{code: "[sin_i]", number: "1", of: "[in_i]2"}, {code: "[sft_i]", number: "1", of: "[ft_i]2"}, {code: "[syd_i]", number: "1", of: "[yd_i]2"},
	{code: "[cin_i]", number: "1", of: "[in_i]3"}, {code: "[cft_i]", number: "1", of: "[ft_i]3"}, {code: "[cyd_i]", number: "1", of: "[yd_i]3"},
	{code: "[bf_i]", number: "144", of: "[in_i]3"},
	{code: "[ft_us]", number: "1200", of: "m/3937"}, {code: "[in_us]", number: "1", of: "[ft_us]/12"}, {code: "[mi_us]", number: "5280", of: "[ft_us]"},
	{code: "[acr_us]", number: "43560", of: "[ft_us]2"},
	{code: "[gal_us]", number: "231", of: "[in_i]3"}, {code: "[qt_us]", number: "1", of: "[gal_us]/4"}, {code: "[pt_us]", number: "1", of: "[qt_us]/2"},
	{code: "[foz_us]", number: "1", of: "[gal_us]/128"}, {code: "[bbl_us]", number: "42", of: "[gal_us]"}, {code: "[bu_us]", number: "2150.42", of: "[in_i]3"},
	{code: "[gal_br]", number: "4.54609", of: "l"}, {code: "[qt_br]", number: "1", of: "[gal_br]/4"}, {code: "[pt_br]", number: "1", of: "[qt_br]/2"},
	{code: "[foz_br]", number: "1", of: "[gal_br]/160"},
	{code: "[gr]", number: "64.79891", of: "mg"}, {code: "[lb_av]", number: "7000", of: "[gr]"}, {code: "[oz_av]", number: "1", of: "[lb_av]/16"},
	{code: "[stone_av]", number: "14", of: "[lb_av]"},
	{code: "[scwt_av]", number: "100", of: "[lb_av]"}, {code: "[lcwt_av]", number: "112", of: "[lb_av]"},
	{code: "[ston_av]", number: "20", of: "[scwt_av]"}, {code: "[lton_av]", number: "20", of: "[lcwt_av]"},
	{code: "[oz_tr]", number: "480", of: "[gr]"},
	{code: "[lbf_av]", number: "1", of: "[lb_av].[g]"},
	{code: "[psi]", number: "1", of: "[lbf_av]/[in_i]2"},
	{code: "[in_i'H2O]", number: "1", of: "m[H2O].[in_i]/m"}, {code: "[in_i'Hg]", number: "1", of: "m[Hg].[in_i]/m"},
	{code: "[HP]", number: "550", of: "[ft_i].[lbf_av]/s"},

	// heat
	{code: "cal_[15]", metric: true, number: "4.18580", of: "J"}, {code: "cal_[20]", metric: true, number: "4.18190", of: "J"},
	{code: "cal_m", metric: true, number: "4.19002", of: "J"}, {code: "cal_IT", metric: true, number: "4.1868", of: "J"},
	{code: "cal_th", metric: true, number: "4.184", of: "J"}, {code: "cal", metric: true, number: "1", of: "cal_th"}, {code: "[Cal]", number: "1", of: "kcal_th"},
	{code: "[Btu_39]", number: "1.05967", of: "kJ"}, {code: "[Btu_59]", number: "1.05480", of: "kJ"}, {code: "[Btu_60]", number: "1.05468", of: "kJ"},
	{code: "[Btu_m]", number: "1.05587", of: "kJ"}, {code: "[Btu_IT]", number: "1.05505585262", of: "kJ"}, {code: "[Btu_th]", number: "1.054350", of: "kJ"},
	{code: "[Btu]", number: "1", of: "[Btu_th]"},

	// logarithms, each apart
	{code: "[pH]"}, {code: "Np", metric: true}, {code: "B", metric: true}, {code: "B[SPL]", metric: true}, {code: "B[V]", metric: true},
	{code: "B[mV]", metric: true}, {code: "B[uV]", metric: true}, {code: "B[W]", metric: true}, {code: "B[kW]", metric: true},
}

// meant are codes for what people write that UCUM has no such code for.
var meant = map[string]string{
	"°C": "Cel", "degC": "Cel", "°F": "[degF]", "degF": "[degF]", "psi": "[psi]", "psig": "[psi]{gauge}", "barg": "bar{gauge}", "barG": "bar{gauge}", "bara": "bar{absolute}",
	"mmHg": "mm[Hg]", "mmH2O": "mm[H2O]", "inH2O": "[in_i'H2O]", "inHg": "[in_i'Hg]", "rpm": "{rev}/min", "RPM": "{rev}/min",
	"in": "[in_i]", "lb": "[lb_av]", "lbs": "[lb_av]", "gal": "[gal_us]", "gpm": "[gal_us]/min", "cfm": "[cft_i]/min", "bbl": "[bbl_us]",
	"hp": "[HP]", "BTU": "[Btu_IT]", "Btu": "[Btu_IT]", "kWh": "kW.h", "MWh": "MW.h", "VA": "V.A", "kVA": "kV.A", "var": "V.A{reactive}", "kvar": "kV.A{reactive}",
	"Nm": "N.m", "Nm3": "m3{normal}", "Sm3": "m3{standard}", "ppm": "[ppm]", "ppb": "[ppb]", "hr": "h", "sec": "s", "ohm": "Ohm", "Ω": "Ohm",
	"dBA": "dB[SPL]", "°": "deg", "‰": "[ppth]",
}
