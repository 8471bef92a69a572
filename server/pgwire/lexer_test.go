package pgwire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatementsAreCutWhereTheyEnd(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                   nil,
		";;  ; -- a;b":                       nil,
		"a;b":                                {"a", "b"},
		"select ';' ; select \";\"":          {"select ';'", "select \";\""},
		"select 'it''s;' ; b":                {"select 'it''s;'", "b"},
		`select E'it\';' ; b`:                {`select E'it\';'`, "b"},
		`select 'a\' ; b`:                    {`select 'a\'`, "b"},
		"select $$;$$ ; b":                   {"select $$;$$", "b"},
		"select $t$ $$;$$ ; $t$;b":           {"select $t$ $$;$$ ; $t$", "b"},
		"select $1;b":                        {"select $1", "b"},
		"select a$1;b":                       {"select a$1", "b"},
		"a /* ; /* ; */ ; */ ; b":            {"a", "b"},
		"a -- ;\n;b":                         {"a", "b"},
		"select 'not closed ; b":             {"select 'not closed ; b"},
		"select 1.5e-3;b":                    {"select 1.5e-3", "b"},
		"select x'1;' , b'0;' , U&'\\00;';b": {"select x'1;' , b'0;' , U&'\\00;'", "b"},
	} {
		var got []string
		for _, s := range split(text) {
			got = append(got, s.text)
		}
		require.Equal(t, want, got, text)
	}
}

func TestTokens(t *testing.T) {
	st := split(`select "A""b"::Text, 'it''s', $12 from t where x!~*'y' and z >= -1`)[0]
	var got []string
	for i := range st.tokens {
		got = append(got, st.raw(i))
	}
	require.Equal(t, `select|"A""b"|::|Text|,|'it''s'|,|$12|from|t|where|x|!|~|*|'y'|and|z|>|=|-|1`, strings.Join(got, "|"))
	name, ok := st.name(1)
	require.True(t, ok)
	require.Equal(t, `A"b`, name)
	require.Equal(t, "it's", st.value(5))
	require.True(t, st.is(8, "FROM", "T"))
	require.Equal(t, parameter, st.tokens[7].kind)
	require.Empty(t, st.raw(99))
	require.Empty(t, st.key(-1))
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a;b", "'", `"`, "$", "$$", "$a$", "/*", "--", "E'\\", "select 'a' /* b */ ; -- c", "\x00;\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		last := 0
		for _, st := range split(s) {
			require.NotEmpty(t, st.tokens)
			at := strings.Index(s[last:], st.text)
			require.GreaterOrEqual(t, at, 0, "statements are pieces of the text, in its order")
			last += at + len(st.text)
			end := 0
			for i, tok := range st.tokens {
				require.GreaterOrEqual(t, tok.start, end)
				require.Greater(t, tok.end, tok.start)
				end = tok.end
				st.name(i)
				st.value(i)
				st.key(i)
			}
			require.LessOrEqual(t, end, len(st.text))
		}
	})
}
