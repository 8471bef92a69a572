package main

import "strings"

// splitStatement takes the first statement off a text of SQL, up to a semicolon that stands in no quotes and no comment. It reports false
// where the text has no whole one; rest is then all of it.
func splitStatement(text string) (statement, rest string, ok bool) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ';':
			return text[:i], text[i+1:], true
		case c == '\'' || c == '"':
			n := strings.IndexByte(text[i+1:], c)
			if n < 0 {
				return "", text, false
			}
			i += n + 1 // a doubled quote ends one text and begins the next
		case strings.HasPrefix(text[i:], "--"):
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return "", text, false
			}
			i += n
		case strings.HasPrefix(text[i:], "/*"):
			n := commentEnd(text[i:])
			if n < 0 {
				return "", text, false
			}
			i += n - 1
		case c == '$':
			tag, n := dollarQuote(text[i:])
			if n < 0 {
				return "", text, false
			}
			if tag {
				i += n - 1
			}
		}
	}
	return "", text, false
}

// commentEnd is behind the end of the comment that s begins with, -1 for none. Comments nest.
func commentEnd(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// dollarQuote reports whether s begins a text between $tag$ and $tag$, and how long it is; -1 where its end is missing. $1 is a parameter.
func dollarQuote(s string) (bool, int) {
	n := strings.IndexByte(s[1:], '$')
	if n < 0 {
		return false, 0
	}
	tag := s[:n+2]
	for i, r := range tag[1 : len(tag)-1] {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false, 0
		}
	}
	end := strings.Index(s[len(tag):], tag)
	if end < 0 {
		return true, -1
	}
	return true, len(tag) + end + len(tag)
}

// blank reports whether a text has nothing but white space and comments.
func blank(text string) bool {
	for {
		text = strings.TrimSpace(text)
		switch {
		case text == "":
			return true
		case strings.HasPrefix(text, "--"):
			_, text, _ = strings.Cut(text, "\n")
		case strings.HasPrefix(text, "/*"):
			n := commentEnd(text)
			if n < 0 {
				return true
			}
			text = text[n:]
		default:
			return false
		}
	}
}
