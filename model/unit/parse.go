package unit

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Limits on a code. The first is that of the catalogue; with both no code asks for numbers of more than some thousand digits.
const (
	MaxBytes    = 64
	MaxExponent = 30
)

// ErrSyntax is met where a code is no unit. The error names the byte, from 0, and what is wrong there.
var ErrSyntax = errors.New("no unit in UCUM")

// Parse reads a UCUM code, in which upper and lower case differ. Annotations count for nothing: m3{normal} is m3.
func Parse(code string) (Unit, error) { return parse(code, atoms()) }

func parse(code string, in map[string]atom) (Unit, error) {
	if len(code) > MaxBytes {
		return Unit{}, fmt.Errorf("%.20q… has %d bytes, most is %d: %w", code, len(code), MaxBytes, ErrSyntax)
	}
	p := parser{code: code, atoms: in}
	u, err := p.mainTerm()
	if err == nil && p.at < len(code) {
		err = p.fault(p.at, "%q is not expected", code[p.at:])
	}
	if err != nil {
		return Unit{}, err
	}
	u.code = code
	return u, nil
}

// parser reads a code from left to right. Its methods are UCUM's productions.
type parser struct {
	code  string
	at    int
	atoms map[string]atom
}

func (p *parser) fault(at int, format string, args ...any) error {
	return fmt.Errorf("%q at byte %d: %s: %w", p.code, at, fmt.Sprintf(format, args...), ErrSyntax)
}

func (p *parser) peek() byte {
	if p.at < len(p.code) {
		return p.code[p.at]
	}
	return 0
}

// mainTerm is a term, with or without a slash in front.
func (p *parser) mainTerm() (Unit, error) {
	if p.peek() != '/' {
		return p.term()
	}
	one := number(1)
	return p.products(&one)
}

// term is components with . and / between, which count from left to right: m/s.kg is m.kg/s.
func (p *parser) term() (Unit, error) {
	u, err := p.component()
	if err != nil {
		return Unit{}, err
	}
	return p.products(&u)
}

func (p *parser) products(u *Unit) (Unit, error) {
	for {
		n := 1
		switch p.peek() {
		case '/':
			n = -1
		case '.':
		default:
			return *u, nil
		}
		p.at++
		start := p.at
		v, err := p.component()
		if err != nil {
			return Unit{}, err
		}
		if u.alone() || v.alone() {
			return Unit{}, p.fault(start, "a unit with a scale of its own, such as Cel or [pH], is no factor of another; a difference of temperatures is K or [degR]")
		}
		u.times(&v, n)
	}
}

// component is a unit with its exponent, a factor or a term in parentheses, each with or without an annotation, or an annotation.
func (p *parser) component() (u Unit, err error) {
	start := p.at
	switch c := p.peek(); {
	case c == '(':
		p.at++
		if u, err = p.term(); err != nil {
			return u, err
		}
		if p.peek() != ')' {
			return u, p.fault(p.at, "a ) is missing for the ( at byte %d", start)
		}
		p.at++
	case c == '{':
		u = number(1)
	case isDigit(c) && !p.isPowerOfTen():
		if u, err = p.factor(); err != nil {
			return u, err
		}
	default:
		if u, err = p.simple(); err != nil {
			return u, err
		}
	}
	return u, p.annotation()
}

func (p *parser) annotation() error {
	if p.peek() != '{' {
		return nil
	}
	n := strings.IndexByte(p.code[p.at:], '}')
	if n < 0 {
		return p.fault(p.at, "the annotation has no end")
	}
	for i := p.at; i < p.at+n; i++ {
		if c := p.code[i]; c < '!' || c > '~' || c == '{' && i > p.at {
			return p.fault(i, "annotations have printable ASCII without spaces and braces")
		}
	}
	p.at += n + 1
	return nil
}

// isPowerOfTen reports whether the atom 10* or 10^ follows.
func (p *parser) isPowerOfTen() bool {
	rest := p.code[p.at:]
	return strings.HasPrefix(rest, "10*") || strings.HasPrefix(rest, "10^")
}

// factor is a positive integer.
func (p *parser) factor() (Unit, error) {
	start := p.at
	n, _ := new(big.Int).SetString(p.digits(), 10)
	if n.Sign() == 0 {
		return Unit{}, p.fault(start, "the factor is 0")
	}
	return Unit{scale: new(big.Rat).SetInt(n)}, nil
}

func (p *parser) digits() string {
	start := p.at
	for isDigit(p.peek()) {
		p.at++
	}
	return p.code[start:p.at]
}

// simple is an atom with or without a prefix, and its exponent.
func (p *parser) simple() (Unit, error) {
	start := p.at
	code := p.name()
	if code == "" {
		if start == len(p.code) {
			return Unit{}, p.fault(start, "a unit is missing")
		}
		return Unit{}, p.fault(start, "%q begins no unit", p.code[start:])
	}
	u, ok := find(code, p.atoms)
	if !ok {
		return Unit{}, p.fault(start, "unit %q is not known%s", code, p.otherwise(code))
	}
	at := p.at
	n, err := p.exponent()
	if err != nil || n == 1 {
		return u, err
	}
	if u.alone() {
		return Unit{}, p.fault(at, "%s has a scale of its own, and no power", code)
	}
	out := number(1)
	out.times(&u, n)
	return out, nil
}

// otherwise says what code may have been meant, by all of it or by one name in it.
func (p *parser) otherwise(name string) string {
	better, ok := meant[p.code]
	if !ok {
		better, ok = meant[name]
	}
	if !ok {
		return ""
	}
	return ", it may be " + better
}

// name is letters and whatever stands in brackets, in any order.
func (p *parser) name() string {
	start := p.at
	if p.isPowerOfTen() {
		p.at += len("10*")
		return p.code[start:p.at]
	}
	for {
		c := p.peek()
		switch {
		case c == '[':
			n := strings.IndexByte(p.code[p.at:], ']')
			if n < 0 {
				p.at = len(p.code)
				return p.code[start:]
			}
			p.at += n + 1
		case c|0x20 >= 'a' && c|0x20 <= 'z', c == '%', c == '\'', c == '_', c >= 0x80:
			p.at++
		default:
			return p.code[start:p.at]
		}
	}
}

// exponent is an integer right behind a unit, 1 if there is none.
func (p *parser) exponent() (int, error) {
	start := p.at
	sign := p.peek() == '-' || p.peek() == '+'
	if sign {
		p.at++
	}
	digits := p.digits()
	if digits == "" {
		if sign {
			return 0, p.fault(start, "an exponent has no digits")
		}
		return 1, nil
	}
	n, err := strconv.Atoi(p.code[start:p.at])
	if err != nil || n < -MaxExponent || n > MaxExponent || n == 0 {
		return 0, p.fault(start, "exponent %.10s, must be from -%d to %d and not 0", p.code[start:p.at], MaxExponent, MaxExponent)
	}
	return n, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
