package lineprotocol

import (
	"math"
	"strconv"
)

func parseBool(b []byte) (uint64, bool) {
	switch string(b) {
	case "t", "T", "true", "True", "TRUE":
		return 1, true
	case "f", "F", "false", "False", "FALSE":
		return 0, true
	}
	return 0, false
}

// parseUint reads decimal digits, at least one.
func parseUint(b []byte) (v uint64, ok bool) {
	few := min(len(b), 18) // digits that are never too many
	for _, c := range b[:few] {
		d := uint64(c - '0')
		if d > 9 {
			return 0, false
		}
		v = v*10 + d
	}
	for _, c := range b[few:] {
		d := uint64(c - '0')
		if d > 9 || v > math.MaxUint64/10 || v*10 > math.MaxUint64-d {
			return 0, false
		}
		v = v*10 + d
	}
	return v, len(b) > 0
}

// parseInt reads an integer as two's complement.
func parseInt(b []byte) (uint64, bool) {
	if len(b) > 0 && b[0] == '-' {
		v, ok := parseUint(b[1:])
		return -v, ok && v <= 1<<63
	}
	v, ok := parseUint(b)
	return v, ok && v < 1<<63
}

// tens are the powers of ten that a double has exactly.
var tens = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// parseFloat reads a decimal number and answers the bits of the double next to it; not ok where there is none, such as beyond the largest.
//
// Most values are digits and a point. Where the digits make an integer that a double has, and the places behind the point a power of ten that it
// has, one division rounds once, and so does right.
func parseFloat(b []byte) (bits uint64, ok bool) {
	i, negative := 0, b[0] == '-'
	if negative {
		i = 1
	}
	var v uint64
	digits, point := 0, -1
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c >= '0' && c <= '9':
			v = v*10 + uint64(c-'0')
			digits++
		case c == '.' && point < 0:
			point = digits
		case c == 'e' || c == 'E' || c == '+' || c == '-':
			return parseAnyFloat(b)
		default:
			return 0, false
		}
	}
	places := 0
	if point >= 0 {
		places = digits - point
	}
	if digits == 0 {
		return 0, false
	}
	if digits > 18 || v > 1<<53 || places >= len(tens) {
		return parseAnyFloat(b)
	}
	f := float64(v) / tens[places]
	if negative {
		f = -f
	}
	return math.Float64bits(f), true
}

// parseAnyFloat reads what parseFloat found to be made of nothing else than digits, points, signs and exponents, so far.
func parseAnyFloat(b []byte) (uint64, bool) {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(string(b), 64)
	return math.Float64bits(f), err == nil
}
