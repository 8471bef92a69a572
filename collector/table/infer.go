package table

import (
	"bytes"
	"strconv"

	"github.com/varvedb/varve/model"
)

// inference finds the type of a column from all its values.
//
// All true or false: bool. All numbers: float64, integers too, because a plant's columns mix 5 and 5.1; but integers
// that a double would not give back make it int64, or uint64 where one is larger. Anything else: string, and so do numbers that would
// lose their text: integers with leading zeros are names, and 1e999 has no double.
type inference struct {
	values int // fields that are neither missing nor bad

	texts, bools, numbers int
	fractions             int // numbers that are no integers
	inexact               bool
	negative              bool
	beyondInt64           bool
	beyondUint64          bool

	commas int // texts that are numbers with a decimal comma

	textWord  string // the text, while it is only one
	textWords bool

	empty    int    // events without a value
	bad      int    // fields that stand for a bad quality
	badWord  string // the word, while it is only one
	badWords bool   // more than one: a null value would lose which
}

func (f *inference) observeBad(word []byte) {
	f.bad++
	if f.badWord == "" {
		f.badWord = string(word)
	} else if f.badWord != string(word) {
		f.badWords = true
	}
}

func (f *inference) observe(field []byte) {
	f.values++
	if f.textWords {
		return
	}
	switch kind := classify(field); kind {
	case isText:
		f.observeText(field)
	case isBool:
		f.bools++
	case isFraction:
		f.numbers++
		f.fractions++
	case isInteger:
		f.numbers++
		f.observeInteger(bytes.TrimSpace(field))
	}
}

func (f *inference) observeText(field []byte) {
	var buf []byte
	if p := pointed(&buf, field); len(buf) > 0 && classify(p) == isFraction {
		f.commas++
	}
	if f.texts++; f.texts == 1 {
		f.textWord = string(field)
	} else if f.textWord != string(field) {
		f.textWord, f.textWords = "", true
	}
}

func (f *inference) observeInteger(b []byte) {
	negative := b[0] == '-'
	f.negative = f.negative || negative
	if len(b) <= 15 {
		return // a double holds every integer of so few digits
	}
	digits := string(bytes.TrimPrefix(b, []byte("+")))
	_, errInt := strconv.ParseInt(digits, 10, 64)
	_, errUint := strconv.ParseUint(digits, 10, 64)
	f.beyondInt64 = f.beyondInt64 || errInt != nil
	f.beyondUint64 = f.beyondUint64 || errInt != nil && errUint != nil
	f.inexact = f.inexact || !sameDigits(digits)
}

// sameDigits reports whether the double nearest to an integer is written with the integer's digits again.
func sameDigits(digits string) bool {
	x, err := strconv.ParseFloat(digits, 64)
	return err == nil && strconv.FormatFloat(x, 'f', -1, 64) == digits
}

// result is the type found, zero where there is no field to go by.
func (f *inference) result() model.Type {
	switch {
	case f.values == 0 && f.bad == 0 && f.empty == 0:
		return 0
	case f.values == 0 || f.texts > 0 || f.badWords:
		return model.String
	case f.bools > 0 && f.numbers > 0:
		return model.String
	case f.bools > 0:
		return model.Bool
	case f.fractions > 0 || !f.inexact:
		return model.Float64
	case !f.beyondInt64:
		return model.Int64
	case !f.beyondUint64 && !f.negative:
		return model.Uint64
	}
	return model.String
}

type fieldKind int

const (
	isText fieldKind = iota
	isBool
	isInteger
	isFraction // any other number, NaN and infinities included
)

// classify tells what a field is. White space around a number or boolean does not count.
func classify(field []byte) fieldKind {
	b := bytes.TrimSpace(field)
	if len(b) == 0 {
		return isText
	}
	digits := b
	if b[0] == '-' || b[0] == '+' {
		digits = b[1:]
	}
	i := 0
	for i < len(digits) && digits[i]-'0' <= 9 {
		i++
	}
	if i == len(digits) && i > 0 {
		switch {
		case i > 1 && digits[0] == '0':
			return isText
		case i == 1 && digits[0] == '0' && b[0] == '-':
			return isFraction // minus zero is no integer
		}
		return isInteger
	}
	if i > 1 && digits[0] == '0' {
		return isText
	}
	if i > 0 && digits[i] == '.' && len(digits) < 300 {
		for i++; i < len(digits) && digits[i]-'0' <= 9; i++ {
		}
		if i == len(digits) {
			return isFraction
		}
	}
	if _, ok := parseBool(b); ok {
		return isBool
	}
	if _, ok := parseFloat(b, 64); ok {
		return isFraction
	}
	return isText
}

func parseBool(b []byte) (value, ok bool) {
	switch {
	case bytes.EqualFold(b, []byte("true")):
		return true, true
	case bytes.EqualFold(b, []byte("false")):
		return false, true
	}
	return false, false
}

// parseFloat reads a decimal number, NaN or an infinity: what strconv takes, without hexadecimal, without
// underscores between digits and without numbers that are too large for the type.
func parseFloat(b []byte, bits int) (float64, bool) {
	if unsigned := bytes.TrimLeft(b, "+-"); len(unsigned) > 1 && unsigned[0] == '0' && unsigned[1]|0x20 == 'x' || bytes.IndexByte(b, '_') >= 0 {
		return 0, false
	}
	x, err := strconv.ParseFloat(string(b), bits)
	return x, err == nil
}
