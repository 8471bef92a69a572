package encoding

import (
	"math"
)

// decimalMost is the greatest power of ten a decimal is divided by: the last that float64 holds exactly.
const decimalMost = 22

var tens = func() (t [decimalMost + 1]float64) {
	p := 1.0
	for k := range t {
		t[k] = p
		p *= 10
	}
	return t
}()

// decimals is how a column is written as integers over a power of ten.
type decimals struct {
	ok     bool
	digits int
}

// roundMagic added and taken away rounds a float64 of less than 2^51 to a whole number, ties to even.
const roundMagic = 3 << 51

// decimalOf is the integer that x is over a power of ten; false if there is none, or none below 2^51.
func decimalOf(x uint64, power float64, shift uint) (int64, bool) {
	f := math.Float64frombits(x)
	if shift == 32 {
		f = float64(math.Float32frombits(uint32(x)))
	}
	scaled := f * power
	if !(math.Abs(scaled) < 1<<51) {
		return 0, false
	}
	whole := float64(scaled+roundMagic) - roundMagic
	if shift == 32 {
		return int64(whole), uint64(math.Float32bits(float32(whole/power))) == x
	}
	return int64(whole), math.Float64bits(whole/power) == x
}

func (c decimals) of(x uint64, shift uint) (int64, bool) { return decimalOf(x, tens[c.digits], shift) }

// planDecimal finds the power of ten on a sample: the digits of most values, where a digit more costs every value three
// bits and one less makes an exception of ten bytes.
func (e *SealedEncoder) planDecimal(v []uint64, shift uint) decimals {
	const tries, most = 256, 18
	count := min(len(v), tries)
	var need [most + 1]int
	none, digits := 0, 0
	for i := range count {
		x := v[i*len(v)/count]
		for digits = max(digits-1, 0); digits <= most; digits++ {
			if _, ok := decimalOf(x, tens[digits], shift); ok {
				break
			}
		}
		if digits > most {
			if none++; none > 16+count/3 && none > i/2 {
				return decimals{}
			}
			digits = 0
			continue
		}
		for digits > 0 { // fewer may do
			if _, ok := decimalOf(x, tens[digits-1], shift); !ok {
				break
			}
			digits--
		}
		need[digits]++
	}
	best, at, beyond := math.MaxFloat64, 0, none
	for k := most; k >= 0; k-- {
		if cost := float64(beyond)*90 + float64(count)*3.3*float64(k); cost < best {
			best, at = cost, k
		}
		beyond += need[k]
	}
	fits := 0
	for _, c := range need[:at+1] {
		fits += c
	}
	return decimals{ok: fits > count/2, digits: at}
}

// convert writes v as integers. A value that is no decimal is an exception, and stands as the integer before it.
func (c decimals) convert(words []uint64, places []int, missed []uint64, v []uint64, shift uint) ([]uint64, []int, []uint64) {
	words = sized(words, len(v))
	power := tens[c.digits]
	prev := uint64(0)
	for i, x := range v {
		m, ok := decimalOf(x, power, shift)
		if !ok {
			places, missed = append(places, i), append(missed, x)
			words[i] = prev
			continue
		}
		prev = uint64(m)
		words[i] = prev
	}
	return words, places, missed
}

// appendDecimals writes the column that convert left in e: digits, exceptions, integers.
func (e *SealedEncoder) appendDecimals(dst []byte, c decimals, n int) []byte {
	dst = appendExceptions(append(dst, byte(c.digits)), n, e.misses, e.missed)
	return e.appendIntColumn(dst, e.words)
}

func (d *SealedDecoder) readDecimals(dst []uint64, n int, b []byte, from, to int, shift uint) (ok, known bool) {
	if len(b) == 0 || b[0] > decimalMost {
		return false, true
	}
	power := tens[b[0]]
	var x exceptions
	if b, ok = x.open(n, b[1:], from*SealedBlock); !ok {
		return false, true
	}
	c := &d.ints
	c.dictionary = nil
	if ok, known := c.open(d, n, b, from, to); !ok {
		return false, known
	}
	for i := from * SealedBlock; len(dst) > 0; i += SealedBlock {
		block := dst[:min(SealedBlock, len(dst))]
		if !c.read(block, i) {
			return false, true
		}
		if shift == 32 {
			for k, m := range block {
				block[k] = uint64(math.Float32bits(float32(float64(int64(m)) / power)))
			}
		} else {
			for k, m := range block {
				block[k] = math.Float64bits(float64(int64(m)) / power)
			}
		}
		x.put(block, i, 0)
		dst = dst[len(block):]
	}
	return true, true
}
