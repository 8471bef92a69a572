// Package glob matches names with the patterns that lists, subscriptions and forwarders take.
package glob

import (
	"strings"
	"unicode/utf8"
)

// Match reports whether all of s matches: * any text, ? one character. It goes back only to the last *, so it
// takes at most len(pattern) × len(s) steps.
func Match(pattern, s string) bool {
	star, resume := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, size := utf8.DecodeRuneInString(s[i:])
			p++
			i += size
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			resume = nextStart(pattern[star+1:], s, resume)
			p, i = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// nextStart is the next place behind i where what follows a * may begin: for a plain character, where that stands.
func nextStart(pattern, s string, i int) int {
	_, size := utf8.DecodeRuneInString(s[i:])
	i += size
	if pattern == "" {
		return len(s)
	}
	if pattern[0] == '?' || pattern[0] == '*' {
		return i
	}
	if skip := strings.IndexByte(s[i:], pattern[0]); skip >= 0 {
		return i + skip
	}
	return len(s)
}
