package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// script runs what standard input has, and returns what is printed.
func script(t *testing.T, address, in string, flags ...string) (string, error) {
	t.Helper()
	var out, said bytes.Buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"sql", "--server", address, "-o", "csv"}, flags...))
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	root.SetErr(&said)
	err := root.ExecuteContext(context.Background())
	require.Empty(t, said.String())
	return out.String(), err
}

func TestScriptsRunInTurn(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	file := filepath.Join(t.TempDir(), "out.csv")
	out, err := script(t, address, strings.Join([]string{
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
		"select 2 as two; select 4 as four;",
		`\o`,
		"select 3 as three -- the last one needs no semicolon",
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
	require.Equal(t, "two\n2\nfour\n4\n", string(got))

	for in, want := range map[string]string{"": "", " \n-- nothing\n": "", ";;": "", "select 1 as a; /* ; */ select 2 as b": "a\n1\nb\n2\n", "select 1 as a;\n\\q\nselect 2;": "a\n1\n"} {
		out, err := script(t, address, in)
		require.NoError(t, err, in)
		require.Equal(t, want, out, in)
	}
	out, err = script(t, address, "select tag, count(*) as n from samples where tag = $1 group by tag", "-p", "FI-101")
	require.NoError(t, err)
	require.Equal(t, "tag,n\nFI-101,1000\n", out)
	all := filepath.Join(t.TempDir(), "all.csv")
	_, err = script(t, address, "select 1 as a; select 2 as b;", "--file", all)
	require.NoError(t, err)
	got, err = os.ReadFile(all)
	require.NoError(t, err)
	require.Equal(t, "a\n1\nb\n2\n", string(got))
}

func TestScriptsStopAtTheFirstError(t *testing.T) {
	address, _ := serveSQL(t)
	for in, want := range map[string]string{
		"select 1;\nselect x;\nselect 2;": "line 2: ",
		`\nonsense`:                       `line 1: there is no command \nonsense`,
		`\output xml`:                     `output "xml"`,
		`\watch 0`:                        "must be seconds",
		`\watch`:                          "must be seconds",
		`\watch 1`:                        "run one first",
		`\plot`:                           "run one first",
		`\plot select 1`:                  "a column of instants",
		`\plot select 1; select 2`:        "one statement",
		`\d nobody`:                       "there is no table nobody",
		"set timezone = 'Mars/Base';":     "Mars/Base",
		"set statement_timeout = 'soon';": "soon",
		"set statement_timeout = '1us';":  "at least 1ms",
		"set memory_limit = '1GB';":       "memory_limit",
		"select 'never ends":              "",
		"select 1 /* never ends":          "",
		"select '" + strings.Repeat("x", 1<<20) + "';": "1048576 bytes",
	} {
		out, err := script(t, address, in)
		require.ErrorContains(t, err, want, "%.100s", in)
		require.NotContains(t, out, "2")
	}
	_, err := script(t, address, "select 1;", "--describe")
	require.ErrorContains(t, err, "describe what?")
	_, err = script(t, address, "\\o "+t.TempDir())
	require.ErrorContains(t, err, "is a folder")
}

func TestScriptsDescribeAndPlot(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	out, err := script(t, address, "\\d\n\\d latest\n\\tags TI*")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^samples +table `, out)
	require.Regexp(t, `(?m)^interpolated +function`, out)
	require.Regexp(t, `(?m)^age_s +DOUBLE +column`, out)
	require.True(t, strings.HasSuffix(out, "\nTI-007  float64\n"), out)
	out, err = script(t, address, `\plot select time, tag, value from samples`)
	require.NoError(t, err)
	for _, part := range []string{"FI-101 value\n", "TI-007 value\n", "999.5", "2026-03-01"} {
		require.Contains(t, out, part)
	}
	// Whatever the order of rows, and wherever NULL stands.
	one, err := script(t, address, `\plot select time, nullif(value, 5.5) as v, seq from samples where tag = 'FI-101' order by time desc;`)
	require.NoError(t, err)
	other, err := script(t, address, `\plot select time, nullif(value, 5.5) as v from samples where tag = 'FI-101' order by time`)
	require.NoError(t, err)
	require.Equal(t, one, other)
	out, err = script(t, address, `\plot select time, value from samples where tag = 'nobody'`)
	require.NoError(t, err)
	require.Contains(t, out, "no rows")
	out, err = script(t, address, `\plot select now() as at, i as n, i::varchar as tag from range(20) t(i)`)
	require.NoError(t, err)
	require.Contains(t, out, "4 more series are not drawn")
}

func TestTabCompletes(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	flags := clientFlags{server: address}
	client, err := flags.dial()
	require.NoError(t, err)
	defer client.close()
	c := &sqlCompletion{session: &sqlSession{client: client}, columns: map[string][]string{}}
	for line, want := range map[string]struct {
		head       string
		candidates []string
	}{
		"select * from sample":                  {"select * from ", []string{"samples"}},
		"SELECT * FROM SAMP":                    {"SELECT * FROM ", []string{"SAMPLES"}},
		"select value_i":                        {"select ", nil},
		"from samples select value_i":           {"from samples select ", []string{"value_int"}},
		"from samples s where s.sev":            {"from samples s where s.", []string{"severity"}},
		"from samples; select value_i":          {"from samples; select ", nil},
		"select * from interpolated(ever":       {"select * from interpolated(", []string{"every =>"}},
		"select * from samples where tag = 'TI": {"select * from samples where tag = '", []string{"TI-007'"}},
		"select \"FI":                           {"select \"", []string{"FI-101\""}},
		"select * from samples where tag = 'X":  {"select * from samples where tag = '", nil},
		"select 'x' -- 'qq":                     {"select 'x' -- '", nil},
		`\pl`:                                   {"", []string{`\plot`}},
		`\d time_`:                              {`\d `, []string{"time_in_state"}},
		`\output par`:                           {`\output `, []string{"parquet"}},
		`\tags F`:                               {`\tags `, []string{"FI-101"}},
		"wäre sel":                              {"wäre ", []string{"select"}},
	} {
		head, candidates, tail := c.complete(line, len([]rune(line)))
		require.Equal(t, want.head, head, line)
		require.Equal(t, want.candidates, candidates, line)
		require.Empty(t, tail)
	}
	_, candidates, tail := c.complete("select 1 whe samples", len("select 1 whe"))
	require.Equal(t, []string{"when", "where"}, candidates)
	require.Equal(t, " samples", tail)
	// In the lines before, too, and no more is filled in than all tags have that there are.
	c.session.pending = "select value,\n'"
	_, candidates, _ = c.complete("FI", 2)
	require.Equal(t, []string{"FI-101'"}, candidates)
	c.session.pending = ""
	var b strings.Builder
	b.WriteString("time,tag,value\n")
	for i := range maxCompletions + 1 {
		b.WriteString("2026-03-01T00:00:00Z,MANY-" + string(rune('A'+i/26)) + string(rune('A'+i%26)) + "'s,1\n")
	}
	varve(t, "import", "--server", address, writeFile(t, "many.csv", b.String()))
	_, candidates, _ = c.complete("select 'M", 9)
	require.Len(t, candidates, maxCompletions+1)
	require.Equal(t, "MANY-AA''s'", candidates[0])
	require.Equal(t, "M…", candidates[maxCompletions])
}

func TestSecretsAreNotKept(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	h, err := openHistory()
	require.NoError(t, err)
	for typed, line := range map[string]string{
		"select 1;\n": "select 1;", "select\n 1 -- x\n;\n": "select 1 ;", "select 'a\nb';": "", "\n": "", "select * from x where\n token = '1';": "", "set Password = 'x';": "",
		"select '" + strings.Repeat("x", maxHistoryBytes) + "';": "", "select '\xff';": "",
	} {
		got, err := h.add(typed)
		require.NoError(t, err)
		require.Equal(t, line, got, "%.80q", typed)
	}
	// The file does not grow for ever.
	for range 2*maxHistoryLines + 1 {
		_, err := h.add("select 2;")
		require.NoError(t, err)
	}
	h, err = openHistory()
	require.NoError(t, err)
	require.Len(t, h.lines, maxHistoryLines)
	b, err := os.ReadFile(h.path)
	require.NoError(t, err)
	require.Equal(t, maxHistoryLines, bytes.Count(b, []byte("\n")))
}
