package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// sqlBinary is the SQL process, built from this tree once; a test that needs it is left out where there is no C compiler.
func sqlBinary(t testing.TB) string {
	t.Helper()
	buildSQL.once.Do(func() {
		cc, err := exec.Command("go", "env", "CC").Output()
		if err != nil {
			buildSQL.err = err
			return
		}
		if _, err := exec.LookPath(strings.TrimSpace(string(cc))); err != nil {
			buildSQL.skip = err.Error()
			return
		}
		if buildSQL.dir, buildSQL.err = os.MkdirTemp("", "varve-sql-*"); buildSQL.err != nil {
			return
		}
		build := exec.Command("go", "build", "-C", filepath.Join("..", "varve-sql"), "-o", filepath.Join(buildSQL.dir, "varve-sql"), ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			buildSQL.err = fmt.Errorf("build varve-sql: %w\n%s", err, out)
		}
	})
	if buildSQL.skip != "" {
		t.Skip("no C compiler: ", buildSQL.skip)
	}
	require.NoError(t, buildSQL.err)
	return filepath.Join(buildSQL.dir, "varve-sql")
}

var buildSQL struct {
	once sync.Once
	dir  string
	skip string
	err  error
}

// TestMain lets the test binary be started as the process of a source, the way a collector starts the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && [2]string(os.Args[1:3]) == collector.ApartCommand {
		main()
		return
	}
	code := m.Run()
	for _, dir := range []string{buildSQL.dir, buildVarve.dir} {
		_ = os.RemoveAll(dir) // which is nothing for one that was not made
	}
	os.Exit(code)
}

// serveSQL is a server with the samples of a few tags, and a function that runs a statement and returns its rows as lines of csv.
func serveSQL(t *testing.T, flags ...string) (address string, sql func(statement string, parameters ...string) string) {
	t.Helper()
	address, _ = serveInProcess(t, t.TempDir(), append([]string{"--sql-binary", sqlBinary(t)}, flags...)...)
	return address, func(statement string, parameters ...string) string {
		t.Helper()
		args := []string{"sql", "--server", address, "-o", "csv"}
		for _, p := range parameters {
			args = append(args, "-p", p)
		}
		out := varve(t, append(args, statement)...)
		_, rows, _ := strings.Cut(out, "\n")
		return strings.TrimSuffix(rows, "\n")
	}
}

// fill imports samples of a plant: time, tag, value, quality.
func fillSQL(t *testing.T, address string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("time,tag,value\n")
	for i := range 1000 {
		at := time.Date(2026, 3, 1, 0, 0, i, 123456789, time.UTC).Format(time.RFC3339Nano)
		fmt.Fprintf(&b, "%s,FI-101,%d.5\n%s,TI-7,%d\n", at, i, at, i%50)
	}
	varve(t, "import", "--server", address, writeFile(t, "samples.csv", b.String()))
	varve(t, "tags", "rename", "--server", address, "TI-7", "TI-007")
}

func TestSQL(t *testing.T) {
	address, sql := serveSQL(t, "--memory", "64MiB")
	fillSQL(t, address)
	require.Equal(t, "2000", sql("select count(*) from samples"))
	require.Equal(t, "FI-101,1000,0.5,999.5,500000\nTI-007,1000,0,49,24500", sql("select tag, count(*), min(value), max(value), sum(value) from samples group by tag order by tag"))
	require.Equal(t, "2026-03-01T00:00:01.123456Z,1772323201123456789,1.5", sql("select time, time_ns, value from samples where tag = $1 and time > '2026-03-01 00:00:01' and time < $2", "FI-101", "2026-03-01T00:00:02Z"))
	require.Equal(t, "TI-007,2026-03-01T00:16:39.123456Z,49", sql("select tag, time, value from latest where tag like 'TI%'"))
	require.Equal(t, "TI-7,TI-007", sql("select n.name, t.name from tag_names n join tags t using (tag_id) where n.valid_to is not null"))
	require.Equal(t, "1000,2026-03-01T00:00:00.123456Z,2026-03-01T00:16:39.123456Z", sql("select samples, first_time, last_time from tags where name = 'FI-101'"))
	require.Equal(t, "1000", sql("select count(*) from samples s join tags t on s.tag_id = t.tag_id where t.name like 'F%'"))

	_, says := fails(t, "sql", "--server", address, "select * from samples where tag = 'TI-7'")
	require.Contains(t, says, `"TI-007"`)
	require.Equal(t, "1000", sql("select count(*) from samples where tag in ('TI-7', 'FI-101')"))
	require.Equal(t, "0", sql("select count(*) from samples where tag = 'nobody'"))

	out := varve(t, "sql", "--server", address, "--describe", "select time, tag, value, quality from samples where tag = $1")
	require.Equal(t, "column\ttime\ttimestamp[ns, tz=UTC]\ncolumn\ttag\tutf8\ncolumn\tvalue\tfloat64\ncolumn\tquality\tint64\nparameter\t1\tutf8\n", out)
	var row map[string]any
	require.NoError(t, json.Unmarshal([]byte(varve(t, "sql", "--server", address, "-o", "json", "select [1, null] as l, {'a': 'x'} as s, 1.50 as d, null as n, 'nan'::double as f")), &row))
	require.Equal(t, map[string]any{"l": []any{1.0, nil}, "s": map[string]any{"a": "x"}, "d": 1.5, "n": nil, "f": "NaN"}, row)
	require.Equal(t, "A\n1\n", varve(t, "sql", "--server", address, "select 1 as a"))
}

// Whatever ends the process, the next statement finds another one.
func TestSQLOutlastsItsProcess(t *testing.T) {
	address, sql := serveSQL(t, "--sql-timeout", "20s", "--sql-memory", "64MiB", "--sql-temp-bytes", "16MiB")
	require.Equal(t, "1", sql("select 1"))
	for range 3 {
		for _, pid := range childrenOf(t, os.Getpid(), "varve-sql") {
			p, err := os.FindProcess(pid)
			require.NoError(t, err)
			require.NoError(t, p.Kill())
		}
		require.Equal(t, "1", sql("select 1"))
	}
	// One that runs hears of it.
	done := make(chan string, 1)
	go func() {
		var stdout, stderr bytes.Buffer
		run(context.Background(), []string{"sql", "--server", address, "select sum(i % 7) from range(1000000000000) t(i)"}, &stdout, &stderr)
		done <- stderr.String()
	}()
	time.Sleep(3 * time.Second) // one that has run for less is asked anew
	for _, pid := range childrenOf(t, os.Getpid(), "varve-sql") {
		p, _ := os.FindProcess(pid)
		require.NoError(t, p.Kill())
	}
	require.Contains(t, <-done, "the SQL process ended while the statement ran")
	require.Equal(t, "1", sql("select 1"))
	// What takes too much is refused or ended, and takes nothing with it.
	for _, bomb := range []string{
		"select list(i) from range(1000000000) t(i)",
		"select a.i from range(100000000) a(i), range(100000000) b(i) order by b.i desc, a.i",
		"select count(distinct i::varchar) from range(1000000000) t(i)",
		"select repeat('x', 1000000000)",
		"with recursive r as (select repeat('x', 1000) as x union all select x || x from r) select max(length(x)) from r",
	} {
		code, says := fails(t, "sql", "--server", address, "--timeout", "5s", bomb)
		require.Equal(t, 1, code, "%s: %s", bomb, says)
		require.Equal(t, "1", sql("select 1"), bomb)
	}
}

// childrenOf is the processes of a program that a process started; there must be one.
func childrenOf(t *testing.T, parent int, program string) (pids []int) {
	t.Helper()
	pids = runningChildren(t, parent, program)
	require.NotEmpty(t, pids, "no process of SQL runs")
	return pids
}

func runningChildren(t *testing.T, parent int, program string) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(b), "("+program+") ")
		fields := strings.Fields(rest)
		if ok && len(fields) > 1 && fields[1] == strconv.Itoa(parent) && fields[0] != "Z" {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestSQLThatIsNotThere(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir(), "--sql", "off")
	_, says := fails(t, "sql", "--server", address, "select 1")
	require.Contains(t, says, "SQL is switched off on this server (--sql off)")

	address, _ = serveInProcess(t, t.TempDir(), "--sql-binary", filepath.Join(t.TempDir(), "nothing"))
	_, says = fails(t, "sql", "--server", address, "select 1")
	require.Contains(t, says, "SQL is not built: there is no program")
	require.Contains(t, says, "make build")
	require.NotContains(t, says, "older release")

	stub := writeFile(t, "varve-sql", "#!/bin/sh\nexit 3\n")
	require.NoError(t, os.Chmod(stub, 0o755))
	address, _ = serveInProcess(t, t.TempDir(), "--sql-binary", stub)
	_, says = fails(t, "sql", "--server", address, "select 1")
	require.Contains(t, says, "built without a C compiler")

	broken := writeFile(t, "varve-sql", "#!/bin/sh\nexit 1\n")
	require.NoError(t, os.Chmod(broken, 0o755))
	address, _ = serveInProcess(t, t.TempDir(), "--sql-binary", broken)
	for range 3 {
		_, says = fails(t, "sql", "--server", address, "select 1")
		require.Contains(t, says, "it ended at once")
	}
}

// The page says what its statements answer.
func TestSQLExamples(t *testing.T) {
	address, _ := serveSQL(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "sql.md"))
	require.NoError(t, err)
	blocks := strings.Split(string(page), "```")
	examples := 0
	for i := 1; i < len(blocks); i += 2 {
		kind, text, _ := strings.Cut(blocks[i], "\n")
		switch kind {
		case "csv":
			varve(t, "import", "--server", address, writeFile(t, "samples.csv", text))
		case "sql":
			statement, want, ok := strings.Cut(text, "\n----\n")
			require.True(t, ok, text)
			require.Equal(t, want, varve(t, "sql", "--server", address, "-o", "csv", statement), statement)
			examples++
		case "script":
			script, want, ok := strings.Cut(text, "\n----\n")
			require.True(t, ok, text)
			require.Equal(t, want, runScript(t, address, script), script)
			examples++
		}
	}
	require.Equal(t, 6, examples)
}

// runScript runs what standard input has and returns what is printed.
func runScript(t *testing.T, address, script string) string {
	t.Helper()
	var out bytes.Buffer
	root := newRootCommand()
	root.SetArgs([]string{"sql", "--server", address})
	root.SetIn(strings.NewReader(script))
	root.SetOut(&out)
	require.NoError(t, root.ExecuteContext(context.Background()))
	return out.String()
}

// EXPLAIN says what scans are narrowed by; of a day of one tag no other chunk is decoded.
func TestSQLDecodesOnlyTheChunksInRange(t *testing.T) {
	address, sql := serveSQL(t)
	var b strings.Builder
	b.WriteString("time,tag,value\n")
	for day := range 10 {
		for i := range 50 {
			for _, tag := range []string{"a", "b"} {
				fmt.Fprintf(&b, "%s,%s,%d\n", time.Date(2026, 3, 1+day, 0, i, 0, 0, time.UTC).Format(time.RFC3339), tag, i)
			}
		}
	}
	varve(t, "import", "--server", address, writeFile(t, "samples.csv", b.String()))
	flags := clientFlags{server: address}
	c, err := flags.dial()
	require.NoError(t, err)
	defer c.close()
	_, err = c.admin.Flush(context.Background(), &varvev1.FlushRequest{})
	require.NoError(t, err)

	for _, x := range []struct{ sql, explained string }{
		{"select sum(value * 2) from samples", "samples,value,\"\",1000,20,1000,engine"},
		{"select sum(value) from samples where time < '2026-03-02' and tag = 'a'", "partials,\"time, tag, partial sum\",\"tag \"\"a\"\", before 2026-03-02T00:00:00Z, unit \"\"day\"\"\",1,1,50,engine"},
		{"select time, value from samples where tag = 'a' and time >= '2026-03-04' and time < '2026-03-05'", "samples,\"time, value\",\"tag \"\"a\"\", from 2026-03-04T00:00:00Z, before 2026-03-05T00:00:00Z\",50,1,50,server"},
		{"select max(value) from (select * from samples) s where tag = 'b' and time = '2026-03-02'", "samples,\"time, tag, value\",\"tag \"\"b\"\", from 2026-03-02T00:00:00Z, before 2026-03-02T00:00:00.000001Z\",1,1,50,engine"},
		{"select s.value from samples s join tags t using (tag_id) where t.name = 'b' and s.time > '2026-03-10 00:48:00'", ""},
		{"select 1", ""},
	} {
		got := sql("explain " + x.sql)
		if x.explained != "" {
			require.Contains(t, strings.Split(got, "\n"), x.explained, "%s: %s", x.sql, got)
		}
	}
	require.Contains(t, sql("EXPLAIN ANALYZE\nselect s.value from samples s join tags t using (tag_id) where t.name = 'b' and s.time > '2026-03-10 00:48:00'"), ",1,1,50,engine")
	require.Equal(t, "column\tscan\tutf8", strings.Split(varve(t, "sql", "--server", address, "--describe", "explain select 1"), "\n")[0])
}
