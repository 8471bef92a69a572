package pgwire

import "strings"

// Split cuts a text at its semicolons, those in quotes and comments aside: the statements that end with one, and what stands behind the
// last, empty where that is white space and whole comments.
func Split(s string) (whole []string, rest string) {
	from := 0
	for _, t := range lex(s) {
		if s[t.start:t.end] != ";" {
			continue
		}
		if one := s[from:t.start]; len(lex(one)) > 0 {
			whole = append(whole, strings.TrimSpace(one))
		}
		from = t.end
	}
	rest = s[from:]
	if len(lex(rest)) == 0 && len(lex(rest+"\nx")) > 0 { // an open comment would take the x
		rest = ""
	}
	return whole, rest
}

// OpenQuote is the quote, ' or ", that is open at the end of a text, and what stands behind it; 0 where none is.
func OpenQuote(s string) (quote byte, inside string) {
	all := lex(s)
	if len(all) == 0 || all[len(all)-1].end != len(s) {
		return 0, ""
	}
	raw := s[all[len(all)-1].start:]
	quote = raw[0]
	if quote != '\'' && quote != '"' || strings.Count(raw, string(quote))%2 == 0 {
		return 0, ""
	}
	return quote, raw[1:]
}

// OneLine is a text with a space in place of its line breaks and comments. A text with a line break in quotes stays as it is.
func OneLine(s string) string {
	var out strings.Builder
	before := 0
	for i, t := range lex(s) {
		raw := s[t.start:t.end]
		if strings.ContainsAny(raw, "\r\n") {
			return s
		}
		switch between := s[before:t.start]; {
		case i == 0:
		case strings.Trim(between, " ") == "":
			out.WriteString(between)
		default:
			out.WriteByte(' ')
		}
		out.WriteString(raw)
		before = t.end
	}
	return out.String()
}

// Assignment is the setting that a SET names and its value; ok is false of every other statement.
func Assignment(s string) (name, value string, ok bool) {
	statements := split(s)
	if len(statements) != 1 || !statements[0].is(0, "SET") {
		return "", "", false
	}
	st, n := statements[0], 1
	if st.is(n, "SESSION") || st.is(n, "LOCAL") {
		n++
	}
	name, value, err := st.assignment(n)
	return name, value, err == nil
}
