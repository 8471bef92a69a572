package expression

import (
	"fmt"
	"math"
	"strconv"
)

// node is a literal, a reference, or an operator or function with what it is applied to.
type node struct {
	at        int    // in the text, in bytes
	operation string // of operations; empty for a literal or reference
	reference int    // of Expression.names; -1 for none
	value     Value  // of a literal
	arguments []*node
}

// reserved are the words that name no tag unless in double quotes.
var reserved = map[string]bool{"and": true, "or": true, "not": true, "true": true, "false": true, "pi": true, "e": true}

// parser reads tokens from left to right. Its methods are the productions of the grammar.
type parser struct {
	lexer
	token      token // the next one
	expression *Expression
	depth      int
}

func (p *parser) advance() (err error) {
	p.token, err = p.lexer.next()
	return err
}

func (p *parser) unexpected(wanted string) error {
	if p.token.kind == tokenEnd {
		return fault(p.text, p.token.start, "%s is missing", wanted)
	}
	return fault(p.text, p.token.start, "%s is expected, not %q", wanted, p.text[p.token.start:p.token.end])
}

// is reports whether the next token is an operator or word.
func (p *parser) is(words ...string) bool {
	for _, w := range words {
		if (p.token.kind == tokenOperator || p.token.kind == tokenName) && p.token.text == w {
			return true
		}
	}
	return false
}

// within reads something inside of something else.
func (p *parser) within(at int, read func() (*node, error)) (*node, error) {
	if p.depth == MaxDepth {
		return nil, fault(p.text, at, "the expression is nested more than %d deep", MaxDepth)
	}
	p.depth++
	n, err := read()
	p.depth--
	return n, err
}

// operators reads operands with operators of one rank between, which count from left to right.
func (p *parser) operators(operand func() (*node, error), words ...string) (*node, error) {
	left, err := operand()
	for err == nil && p.is(words...) {
		n := &node{at: p.token.start, operation: p.token.text, reference: -1}
		if err = p.advance(); err != nil {
			return nil, err
		}
		var right *node
		right, err = operand()
		n.arguments = []*node{left, right}
		left = n
	}
	return left, err
}

func (p *parser) or() (*node, error) { return p.operators(p.and, "or") }

func (p *parser) and() (*node, error) { return p.operators(p.not, "and") }

func (p *parser) not() (*node, error) {
	if !p.is("not") {
		return p.comparison()
	}
	return p.prefix("not", p.not)
}

// prefix reads an operator and the one operand behind it.
func (p *parser) prefix(operation string, operand func() (*node, error)) (*node, error) {
	at := p.token.start
	if err := p.advance(); err != nil {
		return nil, err
	}
	x, err := p.within(at, operand)
	return &node{at: at, operation: operation, reference: -1, arguments: []*node{x}}, err
}

var comparisons = []string{"=", "!=", "<", "<=", ">", ">="}

func (p *parser) comparison() (*node, error) {
	left, err := p.sum()
	if err != nil || !p.is(comparisons...) {
		return left, err
	}
	n := &node{at: p.token.start, operation: p.token.text, reference: -1}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.is(comparisons...) {
		return nil, fault(p.text, n.at, "%q is no operator; they are = != < <= > >=", n.operation+p.token.text)
	}
	right, err := p.sum()
	if err == nil && p.is(comparisons...) {
		err = fault(p.text, p.token.start, "one comparison cannot follow another; join two of them by and")
	}
	n.arguments = []*node{left, right}
	return n, err
}

func (p *parser) sum() (*node, error) { return p.operators(p.product, "+", "-") }

func (p *parser) product() (*node, error) { return p.operators(p.unary, "*", "/", "%") }

func (p *parser) unary() (*node, error) {
	if !p.is("-") {
		return p.power()
	}
	return p.prefix(negation, p.unary)
}

func (p *parser) power() (*node, error) {
	x, err := p.primary()
	if err != nil || !p.is("^") {
		return x, err
	}
	at := p.token.start
	n, err := p.prefix("^", p.unary)
	if err != nil {
		return nil, err
	}
	return &node{at: at, operation: "^", reference: -1, arguments: []*node{x, n.arguments[0]}}, nil
}

func (p *parser) primary() (*node, error) {
	t := p.token
	switch {
	case p.is("("):
		return p.parentheses()
	case t.kind == tokenNumber:
		v, err := number(t.text)
		if err != nil {
			return nil, fault(p.text, t.start, "%s", err)
		}
		return p.literal(v)
	case t.kind == tokenText:
		return p.literal(TextOf(t.text))
	case t.kind == tokenQuoted:
		return p.tag(t)
	case t.kind == tokenName:
		return p.name(t)
	}
	return nil, p.unexpected("a value")
}

func (p *parser) parentheses() (*node, error) {
	at := p.token.start
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.within(at, p.or)
	if err != nil {
		return nil, err
	}
	if !p.is(")") {
		return nil, p.unexpected(fmt.Sprintf("the ) for the ( at byte %d", at+1))
	}
	return n, p.advance()
}

func (p *parser) literal(v Value) (*node, error) {
	n := &node{at: p.token.start, value: v, reference: -1}
	return n, p.advance()
}

// name reads a word of the language, a call, or a tag.
func (p *parser) name(t token) (*node, error) {
	switch t.text {
	case "true", "false":
		return p.literal(BoolOf(t.text == "true"))
	case "pi":
		return p.literal(FloatOf(math.Pi))
	case "e":
		return p.literal(FloatOf(math.E))
	case "and", "or", "not":
		return nil, p.unexpected("a value")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if !p.is("(") {
		return p.refer(t)
	}
	o, ok := operations[t.text]
	if !ok {
		return nil, fault(p.text, t.start, "there is no function %s%s", t.text, similar(t.text))
	}
	n := &node{at: t.start, operation: t.text, reference: -1}
	for first := true; first || p.is(","); first = false {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if first && p.is(")") {
			break
		}
		x, err := p.within(t.start, p.or)
		if err != nil {
			return nil, err
		}
		n.arguments = append(n.arguments, x)
	}
	if !p.is(")") {
		return nil, p.unexpected("a comma or )")
	}
	if k := len(n.arguments); k < o.least || k > o.most {
		return nil, fault(p.text, t.start, "%s takes %s, not %d", t.text, o.arguments(), k)
	}
	return n, p.advance()
}

func (p *parser) tag(t token) (*node, error) {
	if t.text == "" {
		return nil, fault(p.text, t.start, "the name between the double quotes is empty")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.is("(") {
		return nil, fault(p.text, t.start, `%q in double quotes is a tag, and cannot be called; a text stands in single quotes`, t.text)
	}
	return p.refer(t)
}

// refer makes a reference of a token, which has been left behind.
func (p *parser) refer(t token) (*node, error) {
	e := p.expression
	i := 0
	for i < len(e.names) && e.names[i] != t.text {
		i++
	}
	if i == len(e.names) {
		if i == MaxReferences {
			return nil, fault(p.text, t.start, "tag %s is one more than the %d that an expression may name", t.text, MaxReferences)
		}
		e.names = append(e.names, t.text)
	}
	e.references = append(e.references, reference{start: t.start, end: t.end, name: i})
	return &node{at: t.start, reference: i}, nil
}

// number is a literal: an integer where it has neither point nor exponent and an int64 holds it.
func number(text string) (Value, error) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return IntOf(i), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Value{}, fmt.Errorf("%.40s is beyond what doubles hold", text)
	}
	return FloatOf(f), nil
}
