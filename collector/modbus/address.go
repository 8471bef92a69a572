package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
)

// table is one of the four spaces of a device.
type table uint8

const (
	coil table = iota
	discrete
	input
	holding
)

var tableNames = [...]string{coil: "coil", discrete: "discrete", input: "input", holding: "holding"}

func (t table) String() string { return tableNames[t] }

// bits reports whether a table has bits, and not registers of 16 bits.
func (t table) bits() bool { return t <= discrete }

// most is how much one request may ask for (Modbus Application Protocol 1.1b3, 6.1 to 6.4).
func (t table) most() int {
	if t.bits() {
		return 2000
	}
	return 125
}

// point is one address: where a value lies and how it is read.
type point struct {
	address   string
	unit      uint8
	table     table
	register  uint16
	bit       int    // of the register, 0 the least significant; -1 for none
	form      string // of forms, or string
	registers int    // that it takes; 1 of a bit
	swapWords bool   // the register with the low bits comes first
	swapBytes bool   // so does the low byte in each
	every     time.Duration
}

// forms are the types of values, with how many registers they take.
var forms = map[string]int{
	"bool": 1, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4, "bcd16": 1, "bcd32": 2,
}

// orders are the orders of bytes, by how the four of 0xAABBCCDD come: words and bytes swapped.
var orders = map[string][2]bool{"abcd": {}, "cdab": {true, false}, "badc": {false, true}, "dcba": {true, true}}

var errAddress = errors.New("an address is [UNIT/]TABLE:REGISTER[.BIT][:TYPE[:ORDER]][@EVERY], as 2/holding:100:float32:cdab@5s")

// parseAddress reads an address. unit and every hold where it does not say.
func parseAddress(s string, unit uint8, every time.Duration) (point, error) {
	p := point{address: s, unit: unit, bit: -1, every: every}
	fail := func(why string, a ...any) (point, error) {
		return point{}, fmt.Errorf("address %.100q: %s; %w", s, fmt.Sprintf(why, a...), errAddress)
	}
	rest, pace, paced := strings.Cut(s, "@")
	if paced {
		d, err := time.ParseDuration(pace)
		if err != nil || d < leastEvery {
			return fail("%q is no duration of at least %s", pace, leastEvery)
		}
		p.every = d
	}
	if u, after, ok := strings.Cut(rest, "/"); ok {
		n, err := strconv.ParseUint(u, 10, 8)
		if err != nil {
			return fail("unit %q must be 0 to 255", u)
		}
		p.unit, rest = uint8(n), after
	}
	parts := strings.Split(rest, ":")
	if len(parts) < 2 || len(parts) > 4 {
		return fail("it has %d parts", len(parts))
	}
	found := false
	for t, name := range tableNames {
		if parts[0] == name {
			p.table, found = table(t), true
		}
	}
	if !found {
		return fail("table %q must be coil, discrete, input or holding", parts[0])
	}
	register, bit, hasBit := strings.Cut(parts[1], ".")
	n, err := strconv.ParseUint(register, 10, 16)
	if err != nil {
		return fail("register %q must be 0 to 65535", register)
	}
	p.register = uint16(n)
	if hasBit {
		b, err := strconv.ParseUint(bit, 10, 4)
		if err != nil || p.table.bits() {
			return fail("bit %q must be 0 to 15, of a register", bit)
		}
		p.bit = int(b)
	}
	return p.withForm(parts[2:], fail)
}

// withForm is the point with the type and the order that its address has.
func (p point) withForm(parts []string, fail func(string, ...any) (point, error)) (point, error) {
	switch {
	case p.table.bits() || p.bit >= 0:
		p.form, p.registers = "bool", 1
		if len(parts) > 0 && parts[0] != "bool" || len(parts) > 1 {
			return fail("a bit is a bool, without an order")
		}
		return p, nil
	case len(parts) == 0:
		p.form, p.registers = "uint16", 1
		return p, nil
	}
	p.form = parts[0]
	if n, ok := strings.CutPrefix(p.form, "string"); ok {
		length, err := strconv.ParseUint(n, 10, 16)
		if err != nil || length < 1 || length > uint64(2*holding.most()) {
			return fail("a text is string1 to string%d, by its bytes", 2*holding.most())
		}
		p.form, p.registers = "string", int(length+1)/2
		p.bit = int(length) // its bytes
	} else if p.registers = forms[p.form]; p.registers == 0 || p.form == "bool" {
		return fail("type %q is none", parts[0])
	}
	if len(parts) > 1 {
		o, ok := orders[parts[1]]
		if !ok {
			return fail("order %q must be abcd, cdab, badc or dcba", parts[1])
		}
		p.swapWords, p.swapBytes = o[0], o[1]
	}
	if int(p.register)+p.registers > 1<<16 {
		return fail("it ends behind register 65535")
	}
	return p, nil
}

// value is what the registers of the point say. It fails for what is no number of its type: digits of BCD that are none.
func (p *point) value(registers []uint16) (collector.Value, error) {
	if p.form == "bool" {
		if p.bit >= 0 {
			return collector.Bool(registers[0]>>p.bit&1 == 1), nil
		}
		return collector.Bool(registers[0] != 0), nil
	}
	b := p.bytes(registers)
	switch p.form {
	case "string":
		text := strings.TrimRight(string(b[:p.bit]), "\x00 ")
		return collector.String(strings.ToValidUTF8(text, "�")), nil
	case "int16":
		return collector.Int64(int64(int16(binary.BigEndian.Uint16(b)))), nil
	case "uint16":
		return collector.Int64(int64(binary.BigEndian.Uint16(b))), nil
	case "int32":
		return collector.Int64(int64(int32(binary.BigEndian.Uint32(b)))), nil
	case "uint32":
		return collector.Int64(int64(binary.BigEndian.Uint32(b))), nil
	case "int64":
		return collector.Int64(int64(binary.BigEndian.Uint64(b))), nil
	case "uint64":
		return collector.Uint64(binary.BigEndian.Uint64(b)), nil
	case "float32":
		return collector.Float32(math.Float32frombits(binary.BigEndian.Uint32(b))), nil
	case "float64":
		return collector.Float64(math.Float64frombits(binary.BigEndian.Uint64(b))), nil
	}
	var n int64
	for _, x := range b { // BCD: a digit for each four bits
		high, low := int64(x>>4), int64(x&15)
		if high > 9 || low > 9 {
			return collector.Value{}, fmt.Errorf("%x has digits that are none", b)
		}
		n = n*100 + high*10 + low
	}
	return collector.Int64(n), nil
}

// bytes is the registers as bytes, the most significant first.
func (p *point) bytes(registers []uint16) []byte {
	b := make([]byte, 0, 2*p.registers)
	for i := range p.registers {
		r := registers[i]
		if p.swapWords {
			r = registers[p.registers-1-i]
		}
		if p.swapBytes {
			r = r<<8 | r>>8
		}
		b = append(b, byte(r>>8), byte(r))
	}
	return b
}
