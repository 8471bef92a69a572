package encoding

import (
	"math"
)

// decimalMost is the greatest power of ten that decimals are over.
const decimalMost = 15

// tenths divides by a power of ten without a division, which takes a core four cycles and this three. inverse is 1/power,
// rounded, and rest what rounding took off it: together they have over 100 bits, so that m×inverse + m×rest, rounded once by
// the fused operation, is m/power rounded once. A quotient that 100 bits place on the wrong side of the middle of two
// float64 would have to be closer to it than 1/(2×power) of their distance, which no quotient of whole numbers is.
type tenths struct{ power, inverse, rest float64 }

var tens = func() (t [decimalMost + 1]tenths) {
	p := 1.0
	for k := range t {
		inverse := 1 / p
		t[k] = tenths{p, inverse, -math.FMA(inverse, p, -1) / p}
		p *= 10
	}
	return t
}()

// quotient is m/power, m of 53 bits at most.
func (t *tenths) quotient(m float64) float64 { return math.FMA(m, t.inverse, m*t.rest) }

// decimals is how a column is written as integers over a power of ten.
type decimals struct {
	ok     bool
	digits int
}

// roundMagic added and taken away rounds a float64 of less than 2^51 to a whole number, ties to even.
const roundMagic = 3 << 51

// of is the integer that x is over a power of ten; false if there is none, or none below 2^51.
func (t *tenths) of(x uint64, shift uint) (int64, bool) {
	f := math.Float64frombits(x)
	if shift == 32 {
		f = float64(math.Float32frombits(uint32(x)))
	}
	scaled := float64(f * t.power)
	if !(math.Abs(scaled) < 1<<51) {
		return 0, false
	}
	whole := float64(scaled+roundMagic) - roundMagic
	if shift == 32 {
		return int64(whole), uint64(math.Float32bits(float32(t.quotient(whole)))) == x
	}
	return int64(whole), math.Float64bits(t.quotient(whole)) == x
}

// planDecimal finds the power of ten on a sample: the digits of most values, where a digit more costs every value three
// bits and one less makes an exception of ten bytes.
func (e *SealedEncoder) planDecimal(v []uint64, shift uint) decimals {
	const tries, most = 256, decimalMost
	count := min(len(v), tries)
	var need [most + 1]int
	none, digits := 0, 0
	for i := range count {
		x := v[i*len(v)/count]
		for digits = max(digits-1, 0); digits <= most; digits++ {
			if _, ok := tens[digits].of(x, shift); ok {
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
			if _, ok := tens[digits-1].of(x, shift); !ok {
				break
			}
			digits--
		}
		need[digits]++
	}
	best, at, beyond := math.MaxFloat64, 0, none
	for k := most; k >= 0; k-- {
		if cost := float64(beyond*90) + float64(float64(count)*3.3*float64(k)); cost < best {
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
func (c decimals) convert(words []uint64, places []uint64, missed []uint64, v []uint64, shift uint) (_, _, _ []uint64) {
	words = sized(words, len(v))
	power := &tens[c.digits]
	prev := uint64(0)
	for i, x := range v {
		m, ok := power.of(x, shift)
		if !ok {
			places, missed = append(places, uint64(i)), append(missed, x)
			words[i] = prev
			continue
		}
		prev = uint64(m)
		words[i] = prev
	}
	return words, places, missed
}

// appendDecimals writes the column that convert left in e: digits, exceptions, integers. plan is as for appendPlanned.
func (e *SealedEncoder) appendDecimals(dst []byte, c decimals, n int, plan intPlan) []byte {
	dst = appendExceptions(append(dst, byte(c.digits)), n, e.misses, e.missed)
	return e.appendPlanned(dst, e.words, plan)
}

func (d *SealedDecoder) readDecimals(dst []uint64, n int, b []byte, from, to int, shift uint) (ok, known bool) {
	if len(b) == 0 || b[0] > decimalMost {
		return false, true
	}
	power := &tens[b[0]]
	var x exceptions
	if b, ok = x.open(n, b[1:], from*SealedBlock); !ok {
		return false, true
	}
	c := &d.ints
	if ok, known := c.open(d, n, b, from, to); !ok {
		return false, known
	}
	for i := from * SealedBlock; len(dst) > 0; i += SealedBlock {
		block := dst[:min(SealedBlock, len(dst))]
		switch {
		case shift == 32:
			if !c.read(block, i) {
				return false, true
			}
			for k, m := range block {
				block[k] = uint64(math.Float32bits(float32(power.quotient(float64(int64(m))))))
			}
		case c.codec == sealedSmooth: // the common one: smoothing and division in one go
			if !c.readSmoothDecimals(block, i, power) {
				return false, true
			}
		default:
			if !c.read(block, i) {
				return false, true
			}
			for k, m := range block {
				block[k] = math.Float64bits(power.quotient(float64(int64(m))))
			}
		}
		x.put(block, i, func(bits uint64) uint64 { return bits })
		dst = dst[len(block):]
	}
	return true, true
}

// smoothDecimals turns the residuals in dst into decimals.
func (c *intColumn) smoothDecimals(dst []uint64, power *tenths) {
	state, slow := c.state, c.slow
	inverse, rest := power.inverse, power.rest
	if slow == 0 {
		for k, d := range dst {
			state += d
			m := float64(int64(state))
			dst[k] = math.Float64bits(math.FMA(m, inverse, m*rest))
		}
	} else {
		for k, d := range dst {
			m := float64(int64(d) + int64(state)>>(slow&63))
			state += d
			dst[k] = math.Float64bits(math.FMA(m, inverse, m*rest))
		}
	}
	c.state = state
}

// readSmoothDecimals reads a block of residuals and turns them into decimals; where symbols are all there is to them, without
// writing them out between.
func (c *intColumn) readSmoothDecimals(dst []uint64, i int, power *tenths) bool {
	s := &c.stream
	if !s.whole() {
		ok := s.read(dst, i)
		c.smoothDecimals(dst, power)
		return ok
	}
	symbols, ok := s.lane.read(i, i+len(dst))
	for ok {
		k := s.escapes.before(symbols)
		c.smoothSymbols(dst[:k], symbols[:k], power)
		if k == len(symbols) {
			break
		}
		dst, symbols = dst[k:], symbols[k+1:]
		dst[0] = s.escapes.take()
		c.smoothDecimals(dst[:1], power)
		dst = dst[1:]
	}
	return ok
}

// smoothSymbols is smoothDecimals of residuals that the table has for symbols.
func (c *intColumn) smoothSymbols(dst []uint64, symbols []byte, power *tenths) {
	state, slow, table := c.state, c.slow&63, &c.stream.table
	inverse, rest := power.inverse, power.rest
	dst = dst[:len(symbols)]
	if slow == 0 {
		for k, x := range symbols {
			state += table[x]
			m := float64(int64(state))
			dst[k] = math.Float64bits(math.FMA(m, inverse, m*rest))
		}
		c.state = state
		return
	}
	for k, x := range symbols {
		d := table[x]
		m := float64(int64(d) + int64(state)>>slow)
		state += d
		dst[k] = math.Float64bits(math.FMA(m, inverse, m*rest))
	}
	c.state = state
}
