package expression

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenNumber             // text as written
	tokenText               // text without quotes
	tokenName               // a bare name, which may be a word of the language
	tokenQuoted             // a name without its quotes
	tokenOperator           // one of the operators, or a parenthesis or comma
)

type token struct {
	kind       tokenKind
	text       string
	start, end int // in bytes
}

// lexer cuts a text into tokens, with white space between them left out.
type lexer struct {
	text string
	at   int
}

func (l *lexer) next() (token, error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
	start := l.at
	if start == len(l.text) {
		return token{start: start, end: start}, nil
	}
	rest := l.text[start:]
	r, _ := utf8.DecodeRuneInString(rest)
	var t token
	switch {
	case isDigit(rest[0]) || rest[0] == '.' && len(rest) > 1 && isDigit(rest[1]):
		l.at += numberBytes(rest)
		if after, _ := utf8.DecodeRuneInString(l.text[l.at:]); l.at < len(l.text) && inName(after) {
			return t, fault(l.text, start, `%q is no number; a tag with such a name is written in double quotes`, l.text[start:l.at]+string(after))
		}
		t.kind, t.text = tokenNumber, l.text[start:l.at]
	case beginsName(r):
		for l.at < len(l.text) {
			r, n := utf8.DecodeRuneInString(l.text[l.at:])
			if !inName(r) {
				break
			}
			l.at += n
		}
		t.kind, t.text = tokenName, l.text[start:l.at]
	case rest[0] == '\'' || rest[0] == '"':
		t.kind = tokenText
		if rest[0] == '"' {
			t.kind = tokenQuoted
		}
		var err error
		if t.text, err = l.quoted(rest[0]); err != nil {
			return t, err
		}
	default:
		n := operatorBytes(rest)
		if n == 0 {
			return t, fault(l.text, start, "%q begins nothing that an expression has%s", r, meant[r])
		}
		l.at += n
		t.kind, t.text = tokenOperator, rest[:n]
	}
	t.start, t.end = start, l.at
	return t, nil
}

// meant says how to write what other languages write with a character.
var meant = map[rune]string{'&': "; it is written and", '|': "; it is written or", '!': "; it is written not", '[': `; a tag is named in double quotes`, '$': "", '`': ` ; a tag is named in double quotes`}

// quoted reads up to the closing quote; two of them stand for one.
func (l *lexer) quoted(quote byte) (string, error) {
	start := l.at
	var b strings.Builder
	for at := start + 1; ; {
		n := strings.IndexByte(l.text[at:], quote)
		if n < 0 {
			return "", fault(l.text, start, "the closing %c is missing", quote)
		}
		b.WriteString(l.text[at : at+n])
		at += n + 1
		if at == len(l.text) || l.text[at] != quote {
			l.at = at
			return b.String(), nil
		}
		b.WriteByte(quote)
		at++
	}
}

// numberBytes is how far digits with a point and an exponent reach. An e without digits behind it is none.
func numberBytes(s string) int {
	i := 0
	digits := func() {
		for i < len(s) && isDigit(s[i]) {
			i++
		}
	}
	digits()
	if i < len(s) && s[i] == '.' {
		i++
		digits()
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		mantissa := i
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if i == len(s) || !isDigit(s[i]) {
			return mantissa
		}
		digits()
	}
	return i
}

// operatorBytes is the length of the operator that a text begins with, 0 for none.
func operatorBytes(s string) int {
	switch {
	case strings.HasPrefix(s, "!="), strings.HasPrefix(s, "<="), strings.HasPrefix(s, ">="):
		return 2
	case strings.IndexByte("=<>+-*/%^(),", s[0]) >= 0:
		return 1
	}
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func beginsName(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func inName(r rune) bool { return beginsName(r) || r == '.' || unicode.IsDigit(r) }
