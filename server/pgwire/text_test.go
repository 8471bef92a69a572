package pgwire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplitText(t *testing.T) {
	for _, c := range []struct {
		text  string
		whole []string
		rest  string
	}{
		{"", nil, ""},
		{" \n-- nothing\n", nil, ""},
		{"select 1", nil, "select 1"},
		{"select 1;", []string{"select 1"}, ""},
		{"select 1; -- ;\n /* ; */ select 2;\n", []string{"select 1", "-- ;\n /* ; */ select 2"}, ""},
		{";;select ';' ; select \";\"", []string{"select ';'"}, " select \";\""},
		{"select 'a;", nil, "select 'a;"},
		{"select 1; /* open ;", []string{"select 1"}, " /* open ;"},
		{"select $$;$$; x", []string{"select $$;$$"}, " x"},
		{`select ";" from "a""b;";`, []string{`select ";" from "a""b;"`}, ""},
		{"select 'it''s; one';", []string{"select 'it''s; one'"}, ""},
		{"select 1 -- a; b\n;", []string{"select 1 -- a; b"}, ""},
		{"select /* ; /* ; */ ; */ 1;", []string{"select /* ; /* ; */ ; */ 1"}, ""},
		{"select $$a;b$$, $x$;$$;$x$;", []string{"select $$a;b$$, $x$;$$;$x$"}, ""},
		{"select * from samples where tag = $1 and seq = $2;", []string{"select * from samples where tag = $1 and seq = $2"}, ""},
		{"select $$ ; ", nil, "select $$ ; "},
	} {
		whole, rest := Split(c.text)
		require.Equal(t, c.whole, whole, c.text)
		require.Equal(t, c.rest, rest, c.text)
	}
}

func TestOpenQuote(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "select 'a'": "", "select 'a": "'a", "select 'it''s": "'it''s", "select \"x": "\"x", "select 'a' and '": "'", "-- 'a": "", "/* 'a": "", "select $$'": "", "'a' ": "",
	} {
		quote, inside := OpenQuote(text)
		if quote != 0 {
			inside = string(rune(quote)) + inside
		}
		require.Equal(t, want, inside, text)
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"select 1": "select 1", "select\n  1 -- one\n;": "select 1 ;", "a  b": "a  b", "select 'a\nb'\n;": "select 'a\nb'\n;", " /* x */ a(b)\n": "a(b)", "": "",
	} {
		require.Equal(t, want, OneLine(text), text)
	}
}

func TestAssignment(t *testing.T) {
	for text, want := range map[string]string{
		"set a = 1": "a=1", "SET Session B to 'x y'": "b=x y", "set time zone 'UTC'": "TimeZone=UTC", "/* x */ set local c to d, e": "c=d, e", "set names utf8": "client_encoding=utf8",
		"set": "", "set a": "", "select 1": "", "set a = 1; set b = 2": "", "reset a": "",
	} {
		name, value, ok := Assignment(text)
		if ok {
			name += "=" + value
		} else {
			name = ""
		}
		require.Equal(t, want, name, text)
	}
}

// FuzzText holds what the functions of a text promise: nothing is lost, a line is one line and means the same, no quote is open that is not.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"a;b", "select 'a;b' as x, -- not ; here\n2 as y; select 3", "set time zone 'Europe/Berlin'", "show all", "reset all", "set a to default", "select * from samples where tag = 'FI", "/* /* ; */ ;",
		"$x$;$x$", "e'\\';", "\"a\"\"b", "set statement_timeout = '5s'; select 1", "set role none", "set session characteristics as transaction read only", "show time zone",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		whole, rest := Split(s)
		for _, one := range whole {
			again, left := Split(one + "\n;")
			require.Equal(t, []string{one}, again)
			require.Empty(t, left)
		}
		require.True(t, strings.HasSuffix(s, rest))
		if quote, inside := OpenQuote(s); quote != 0 {
			require.True(t, strings.HasSuffix(s, string(rune(quote))+inside))
		}
		var words, line []string
		for _, tok := range lex(s) {
			words = append(words, s[tok.start:tok.end])
		}
		one := OneLine(s)
		for _, tok := range lex(one) {
			line = append(line, one[tok.start:tok.end])
		}
		require.Equal(t, words, line)
		_, _, _ = Assignment(s)
		if rows, is, err := Command(s); rows != nil {
			require.True(t, is)
			require.NoError(t, err)
			reader, err := rows.Execute(t.Context(), nil)
			require.NoError(t, err)
			reader.Release()
		}
	})
}
