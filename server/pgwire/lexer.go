package pgwire

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token is.
type tokenKind uint8

const (
	word      tokenKind = iota + 1 // a name or key word without quotes
	quoted                         // a name in double quotes
	text                           // a string literal of any kind
	number                         // a number
	parameter                      // $1
	symbol                         // anything else, one character, or :: as two
)

// token is a piece of a statement: text[start:end].
type token struct {
	kind       tokenKind
	start, end int
}

// lex cuts a statement into tokens as PostgreSQL does, without white space and comments. What is not closed ends with the
// text: whoever runs the statement says what is wrong with it.
func lex(s string) []token {
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		start := i
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			i++
			continue
		case strings.HasPrefix(s[i:], "--"):
			i = skipLine(s, i)
			continue
		case strings.HasPrefix(s[i:], "/*"):
			i = skipComment(s, i)
			continue
		case c == '\'':
			i = skipQuoted(s, i, '\'', false)
			out = append(out, token{text, start, i})
		case c == '"':
			i = skipQuoted(s, i, '"', false)
			out = append(out, token{quoted, start, i})
		case (c == 'e' || c == 'E') && i+1 < len(s) && s[i+1] == '\'':
			i = skipQuoted(s, i+1, '\'', true)
			out = append(out, token{text, start, i})
		case strings.ContainsRune("bBxXnN", rune(c)) && i+1 < len(s) && s[i+1] == '\'':
			i = skipQuoted(s, i+1, '\'', false)
			out = append(out, token{text, start, i})
		case c == '$':
			i = skipDollar(s, i)
			kind := text
			if i > start+1 && isDigit(s[start+1]) {
				kind = parameter
			} else if i == start+1 {
				kind = symbol
			}
			out = append(out, token{kind, start, i})
		case isNameStart(c):
			for i < len(s) && (isNameStart(s[i]) || isDigit(s[i]) || s[i] == '$') {
				i++
			}
			out = append(out, token{word, start, i})
		case isDigit(c) || c == '.' && i+1 < len(s) && isDigit(s[i+1]):
			i = skipNumber(s, i)
			out = append(out, token{number, start, i})
		case strings.HasPrefix(s[i:], "::"):
			i += 2
			out = append(out, token{symbol, start, i})
		default:
			i++
			out = append(out, token{symbol, start, i})
		}
	}
	return out
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isNameStart counts every byte of a character beyond ASCII as a letter, as PostgreSQL does.
func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= utf8.RuneSelf
}

func skipLine(s string, i int) int {
	if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(s)
}

// skipComment goes over a comment in which others may stand.
func skipComment(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(s[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return i
}

// skipQuoted goes over what is in quotes; i is at the first of them. A quote that is doubled does not end it.
func skipQuoted(s string, i int, quote byte, backslash bool) int {
	for i++; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return len(s)
}

// skipDollar goes over $1, $$text$$ or $tag$text$tag$; a lone dollar is one character.
func skipDollar(s string, i int) int {
	n := i + 1
	if n < len(s) && isDigit(s[n]) {
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		return n
	}
	for n < len(s) && (isNameStart(s[n]) || isDigit(s[n])) {
		n++
	}
	if n >= len(s) || s[n] != '$' {
		return i + 1
	}
	tag := s[i : n+1]
	if end := strings.Index(s[n+1:], tag); end >= 0 {
		return n + 1 + end + len(tag)
	}
	return len(s)
}

func skipNumber(s string, i int) int {
	for i < len(s) && (isDigit(s[i]) || s[i] == '.' || s[i] == '_' || isNameStart(s[i])) {
		if (s[i] == 'e' || s[i] == 'E') && i+1 < len(s) && (s[i+1] == '+' || s[i+1] == '-') {
			i++
		}
		i++
	}
	return i
}

// statement is one statement of a text, and its tokens with places relative to it.
type statement struct {
	text   string
	tokens []token
	before int // characters of the whole text before it
}

// split cuts a text at its semicolons. Empty statements are left out.
func split(s string) []statement {
	var out []statement
	all := lex(s)
	before, counted := 0, 0
	for first, i := 0, 0; i <= len(all); i++ {
		if i < len(all) && s[all[i].start:all[i].end] != ";" {
			continue
		}
		if i > first {
			from, to := all[first].start, all[i-1].end
			tokens := make([]token, i-first)
			for n, t := range all[first:i] {
				tokens[n] = token{t.kind, t.start - from, t.end - from}
			}
			before += utf8.RuneCountInString(s[counted:from])
			counted = from
			out = append(out, statement{s[from:to], tokens, before})
		}
		first = i + 1
	}
	return out
}

// raw is the n-th token as it stands; empty where there is none.
func (s *statement) raw(n int) string {
	if n < 0 || n >= len(s.tokens) {
		return ""
	}
	return s.text[s.tokens[n].start:s.tokens[n].end]
}

// key is the n-th token in capitals if it is a word without quotes, or a symbol.
func (s *statement) key(n int) string {
	if n < 0 || n >= len(s.tokens) {
		return ""
	}
	if k := s.tokens[n].kind; k != word && k != symbol {
		return ""
	}
	return strings.ToUpper(s.raw(n))
}

// is reports whether the statement goes on at the n-th token with these key words.
func (s *statement) is(n int, keys ...string) bool {
	for i, k := range keys {
		if s.key(n+i) != k {
			return false
		}
	}
	return true
}

// name is the n-th token as the name it stands for.
func (s *statement) name(n int) (string, bool) {
	if n < 0 || n >= len(s.tokens) {
		return "", false
	}
	switch raw := s.raw(n); s.tokens[n].kind {
	case word:
		return strings.ToLower(raw), true
	case quoted:
		return strings.ReplaceAll(strings.TrimSuffix(raw[1:], `"`), `""`, `"`), true
	}
	return "", false
}

// value is the n-th token as the text it stands for: the inside of a literal, or the token itself.
func (s *statement) value(n int) string {
	if n < 0 || n >= len(s.tokens) {
		return ""
	}
	raw := s.raw(n)
	switch {
	case s.tokens[n].kind == text && raw[0] == '\'':
		return strings.ReplaceAll(strings.TrimSuffix(raw[1:], "'"), "''", "'")
	case s.tokens[n].kind == quoted:
		name, _ := s.name(n)
		return name
	}
	return raw
}

// closing is the parenthesis that closes that at i; behind the last token where none does.
func (s *statement) closing(i int) int {
	for depth := 0; i < len(s.tokens); i++ {
		switch s.raw(i) {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return i
}

// between is the text of the tokens from one to before another.
func (s *statement) between(from, to int) string {
	to = min(to, len(s.tokens))
	if from >= to {
		return ""
	}
	return s.text[s.tokens[from].start:s.tokens[to-1].end]
}

// names reports whether a name stands anywhere in the statement.
func (s *statement) names(name string) bool {
	for i := range s.tokens {
		if n, ok := s.name(i); ok && n == name {
			return true
		}
	}
	return false
}
