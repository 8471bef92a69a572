package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatementsAreSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"select 1; select 2;":                                {"select 1", " select 2"},
		"select ';'; x;":                                     {"select ';'", " x"},
		`select ";" from "a""b;";`:                           {`select ";" from "a""b;"`},
		"select 'it''s; one';":                               {"select 'it''s; one'"},
		"select 1 -- a; b\n;":                                {"select 1 -- a; b\n"},
		"select /* ; /* ; */ ; */ 1;":                        {"select /* ; /* ; */ ; */ 1"},
		"select $$a;b$$, $x$;$$;$x$;":                        {"select $$a;b$$, $x$;$$;$x$"},
		"select * from samples where tag = $1 and seq = $2;": {"select * from samples where tag = $1 and seq = $2"},
		"select 1":     nil,
		"select ';":    nil,
		"select /* ;":  nil,
		"select $$ ; ": nil,
		"-- ;":         nil,
	} {
		var got []string
		rest := text
		for {
			statement, after, ok := splitStatement(rest)
			if !ok {
				break
			}
			got, rest = append(got, statement), after
		}
		require.Equal(t, want, got, "%q", text)
	}
}

func FuzzSplitStatement(f *testing.F) {
	f.Add("select ';'; -- x;\n /* ; */ $$;$$;")
	f.Fuzz(func(t *testing.T, text string) {
		statement, rest, ok := splitStatement(text)
		if ok {
			require.Equal(t, text, statement+";"+rest)
		} else {
			require.Equal(t, text, rest)
		}
		blank(text)
	})
}

// shell runs a script as a pipe gives it.
func shell(t *testing.T, address, script string) (string, error) {
	t.Helper()
	f := &sqlFlags{output: "csv"}
	f.client.server = address
	c, err := f.client.dial()
	require.NoError(t, err)
	defer c.close()
	zone, err := loadZone("")
	require.NoError(t, err)
	var out bytes.Buffer
	err = (&sqlShell{f: f, c: c, out: &out, zone: zone}).pipe(context.Background(), strings.NewReader(script))
	return out.String(), err
}

func TestShellRunsAScript(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	file := filepath.Join(t.TempDir(), "out.csv")
	out, err := shell(t, address, strings.Join([]string{
		"-- what is there;",
		"select tag, count(*) as n",
		"  from samples group by tag",
		"  order by tag; select ';' as semi;",
		`\output record`,
		"select 1 as one, 'x' as other;",
		`\output table`,
		"set timezone = 'America/New_York';",
		"select time, value from samples where tag = 'FI-101' limit 1;",
		"SET statement_timeout TO '10s';",
		`\output csv`,
		`\o ` + file,
		"select 2 as two;",
		`\o`,
		"select 3 as three",
	}, "\n"))
	require.NoError(t, err)
	require.Equal(t, `tag,n
FI-101,1000
TI-007,1000
semi
;
-- 1
one   | 1
other | x
TIME                              VALUE
2026-02-28T19:00:00.123456-05:00  0.5
three
3
`, out)
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "two\n2\n", string(got))
}

func TestShellStopsAtTheFirstError(t *testing.T) {
	address, _ := serveSQL(t)
	for script, want := range map[string]string{
		"select 1;\nselect x;\nselect 2;": "line 2: ",
		`\nonsense`:                       `line 1: \nonsense is no command`,
		`\output xml`:                     `output "xml"`,
		`\watch 0`:                        "watch",
		`\plot`:                           "no statement",
		`\plot select 1`:                  "no column of times",
		`\d nobody`:                       `"nobody" is no table`,
		"set timezone = 'Mars/Base';":     "Mars/Base",
		"set statement_timeout = 'soon';": "soon",
		"set memory_limit = '1GB';":       "refused",
	} {
		out, err := shell(t, address, script)
		require.ErrorContains(t, err, want, script)
		require.NotContains(t, out, "2")
	}
}

func TestShellDescribesAndPlots(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	out, err := shell(t, address, `\d`)
	require.NoError(t, err)
	require.Contains(t, out, "table     samples\n")
	require.Contains(t, out, "function  interpolated(")
	out, err = shell(t, address, `\d latest`)
	require.NoError(t, err)
	require.Contains(t, out, "  age_s                    float64\n")
	out, err = shell(t, address, `\tags TI*`)
	require.NoError(t, err)
	require.Equal(t, "TI-007\n", out)
	out, err = shell(t, address, `\plot select time, tag, value from samples`)
	require.NoError(t, err)
	require.Contains(t, out, "FI-101")
	require.Contains(t, out, "TI-007")
	require.Contains(t, out, "999.5")
	require.Contains(t, out, "2026-03-01")
	_, err = shell(t, address, `\plot select time, value, seq, time_ns / 2 as half from samples where tag = 'FI-101' order by time desc`)
	require.NoError(t, err)
}

func TestShellCompletes(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	f := &sqlFlags{output: "csv"}
	f.client.server = address
	c, err := f.client.dial()
	require.NoError(t, err)
	defer c.close()
	s := &sqlShell{f: f, c: c, out: io.Discard}
	for line, want := range map[string]struct {
		head   string
		offers []string
	}{
		"select * from sam":                     {"select * from ", []string{"sample", "samples"}},
		"SELECT * FROM SAMP":                    {"SELECT * FROM ", []string{"SAMPLE", "SAMPLES"}},
		"select value_i":                        {"select ", []string{}},
		"select * from samples where tag = 'TI": {"select * from samples where tag = '", []string{"TI-007"}},
		"select * from samples where tag = 'X":  {"select * from samples where tag = '", nil},
		`\pl`:                                   {"", []string{`\plot`}},
		`\d time_`:                              {`\d `, []string{"time_in_state"}},
		"select ":                               {"select ", nil},
	} {
		head, offers, tail := s.complete(t.Context(), line, len(line))
		require.Equal(t, want.head, head, line)
		require.ElementsMatch(t, want.offers, offers, line)
		require.Empty(t, tail)
	}
	_, offers, tail := s.complete(t.Context(), "select value_i from samples", len("select value_i"))
	require.Equal(t, []string{"value_int"}, offers)
	require.Equal(t, " from samples", tail)
}

func TestLongLinesAreCut(t *testing.T) {
	var b bytes.Buffer
	w := &lineCutter{w: &b, most: 5}
	for _, s := range []string{"ab", "cdefg", "h\nxyz\n12345\nµµµµµµ\n"} {
		_, err := io.WriteString(w, s)
		require.NoError(t, err)
	}
	require.Equal(t, "abcd…\nxyz\n1234…\nµµµµ…\n", b.String())
}
