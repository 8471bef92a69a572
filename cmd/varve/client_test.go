package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/stretchr/testify/require"
)

// serveInProcess runs the server on dir as its command line would, until the function returned stops it.
func serveInProcess(t testing.TB, dir string, flags ...string) (address string, stop func()) {
	address, _, stop = serveOverHTTP(t, dir, flags...)
	return address, stop
}

// serveOverHTTP is serveInProcess with the address of the HTTP door, empty unless flags open it.
func serveOverHTTP(t testing.TB, dir string, flags ...string) (address, web string, stop func()) {
	a, stop := serveDoors(t, dir, flags...)
	return a.grpc, a.http, stop
}

// addresses is where a server listens, empty where flags open no door.
type addresses struct{ grpc, http, postgres string }

// serveDoors is serveInProcess with the addresses of all doors.
func serveDoors(t testing.TB, dir string, flags ...string) (at addresses, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	code := make(chan int, 1)
	args := append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--metrics-listen", "", "--log-level", "error", "--ballast", "0", "--min-free", "0"}, flags...)
	go func() {
		code <- run(ctx, args, io.Discard, write)
		_ = write.Close()
	}()
	lines := bufio.NewScanner(read)
	for at.grpc == "" && lines.Scan() {
		if a, ok := strings.CutPrefix(lines.Text(), "listening for HTTP on "); ok {
			at.http = a
		} else if a, ok := strings.CutPrefix(lines.Text(), "listening for PostgreSQL on "); ok {
			at.postgres = a
		} else if a, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			at.grpc = a
		} else {
			t.Log(lines.Text())
		}
	}
	require.NotEmpty(t, at.grpc, "the server ended before it listened")
	go func() { _, _ = io.Copy(io.Discard, read) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.Zero(t, <-code)
		}
	}
	t.Cleanup(stop)
	return at, stop
}

// varve runs a command line that must succeed and returns what it prints.
func varve(t testing.TB, args ...string) string {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), args, &stdout, &stderr)
	require.Zero(t, code, "%v: %s%s", args, stdout.String(), stderr.String())
	return stdout.String()
}

// fails runs a command line that must fail and returns its status and what it says.
func fails(t testing.TB, args ...string) (code int, says string) {
	var stdout, stderr bytes.Buffer
	code = run(context.Background(), args, &stdout, &stderr)
	require.NotZero(t, code, "%v: %s", args, stdout.String())
	return code, stdout.String() + stderr.String()
}

func writeFile(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	return path
}

// sourceRows reads a table the simple way: per tag its "time value" pairs in time order, the first of each time unless
// all is set.
func sourceRows(t *testing.T, path, prefix string, all bool) map[string][][2]string {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var src io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		src, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	rows, err := csv.NewReader(src).ReadAll()
	require.NoError(t, err)
	out := map[string][][2]string{}
	add := func(tag, at, value string) {
		if parsed, err := time.Parse(time.RFC3339Nano, at); err == nil {
			at = parsed.UTC().Format(time.RFC3339Nano)
		}
		out[prefix+tag] = append(out[prefix+tag], [2]string{at, value})
	}
	for _, r := range rows[1:] {
		if rows[0][1] == "tag" {
			add(r[1], r[0], r[2])
			if r[3] != "" {
				add(r[1]+".detail", r[0], r[3])
			}
			continue
		}
		for i := 1; i < len(r); i++ {
			if r[i] != "" {
				add(rows[0][i], r[0], r[i])
			}
		}
	}
	for tag, samples := range out {
		sort.SliceStable(samples, func(i, j int) bool {
			a, _ := time.Parse(time.RFC3339Nano, samples[i][0])
			b, _ := time.Parse(time.RFC3339Nano, samples[j][0])
			return a.Before(b)
		})
		if all {
			continue
		}
		kept := samples[:0]
		for i, s := range samples {
			if i == 0 || s[0] != samples[i-1][0] {
				kept = append(kept, s)
			}
		}
		out[tag] = kept
	}
	return out
}

// requireStored compares what the server gives for a prefix with the table it came from, sample by sample.
func requireStored(t *testing.T, address, path, prefix string, all bool) {
	want := sourceRows(t, path, prefix, all)
	rows, err := csv.NewReader(strings.NewReader(varve(t, "query", "--server", address, "--start", "min", "--end", "max", "--output", "csv", prefix+"*"))).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"time", "tag", "value", "quality"}, rows[0])
	got := map[string][][]string{}
	for _, r := range rows[1:] {
		got[r[1]] = append(got[r[1]], r)
	}
	require.Len(t, got, len(want))
	for tag, samples := range want {
		require.Len(t, got[tag], len(samples), tag)
		for i, w := range samples {
			g := got[tag][i]
			require.Equal(t, w[0], g[0], "%s sample %d", tag, i)
			requireSameValue(t, w[1], g[2], g[3], "%s sample %d at %s", tag, i, w[0])
		}
	}
}

func requireSameValue(t *testing.T, want, got, quality string, where ...any) {
	switch want {
	case "UNAVAILABLE", "Unavailable":
		require.Equal(t, "BadNoCommunication", quality, where...)
		require.Contains(t, []string{"", want}, got, where...)
		return
	case "":
		require.Empty(t, got, where...)
		return
	}
	require.Equal(t, "Good", quality, where...)
	x, err := strconv.ParseFloat(want, 64)
	if err != nil || want == got {
		require.Equal(t, want, got, where...)
		return
	}
	y, err := strconv.ParseFloat(got, 64)
	require.NoError(t, err, where...)
	require.Equal(t, x, y, where...)
}

// Real tables of every shape go in and come back sample by sample, also after a restart and a second import.
func TestTablesComeBackWhole(t *testing.T) {
	dir := t.TempDir()
	address, stop := serveInProcess(t, dir)
	keyed := writeFile(t, "wind.csv", "time,turbine,power,state\n2024-07-01T00:00:00Z,T1,1.5,G\n2024-07-01T00:00:00Z,T2,-0,|\n2024-07-01T00:10:00Z,T1,1e300,=\n2024-06-30T23:50:00Z,T2,0.1,\n")
	tables := []struct {
		path, prefix string
		all          bool
		flags        []string
	}{
		{"sample/tep/tep_idv06.csv.gz", "TEP.", false, nil},
		{"sample/nist_sms/hurco01_events.csv.gz", "LOG.", false, nil},
		{"sample/nist_sms/hurco01_events.csv.gz", "ALL.", true, []string{"--mode", "append"}},
	}
	for _, c := range tables {
		varve(t, append([]string{"import", "--server", address, "--prefix", c.prefix, c.path}, c.flags...)...)
	}
	varve(t, "import", "--server", address, "--prefix", "WIND.", "--key-column", "turbine", keyed)
	windWant := `time,tag,value,quality
2024-07-01T00:00:00Z,WIND.T1.power,1.5,Good
2024-07-01T00:10:00Z,WIND.T1.power,1e+300,Good
2024-07-01T00:00:00Z,WIND.T1.state,G,Good
2024-07-01T00:10:00Z,WIND.T1.state,=,Good
2024-06-30T23:50:00Z,WIND.T2.power,0.1,Good
2024-07-01T00:00:00Z,WIND.T2.power,-0,Good
2024-07-01T00:00:00Z,WIND.T2.state,|,Good
`
	check := func() {
		for _, c := range tables {
			requireStored(t, address, c.path, c.prefix, c.all)
		}
		require.Equal(t, windWant, varve(t, "query", "--server", address, "--start", "2024-06-01", "--end", "2024-08-01", "--output", "csv", "WIND.*"))
	}
	check()

	var before serverStatus
	require.NoError(t, json.Unmarshal([]byte(varve(t, "status", "--server", address, "--output", "json")), &before))
	for _, c := range tables {
		report := varve(t, append([]string{"import", "--server", address, "--prefix", c.prefix, "--resend", c.path}, c.flags...)...)
		require.Contains(t, report, " 0 applied")
	}
	var after serverStatus
	require.NoError(t, json.Unmarshal([]byte(varve(t, "status", "--server", address, "--output", "json")), &after))
	require.Equal(t, before.Samples, after.Samples)
	require.Equal(t, before.Tags, after.Tags)
	require.Equal(t, after.AcceptedOffset, after.AppliedOffset)

	stop()
	address, _ = serveInProcess(t, dir)
	check()
}

func TestOutputs(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	path := writeFile(t, "x.csv", "time,f,s,big\n2024-01-01T00:00:00Z,0.1,on,9007199254740993\n2024-01-01T00:00:01Z,NaN,,2\n")
	varve(t, "import", "--server", address, path)
	ask := func(flags ...string) string {
		return varve(t, append([]string{"query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02"}, flags...)...)
	}
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:00Z,f,0.1,Good\n2024-01-01T00:00:01Z,f,NaN,Good\n2024-01-01T00:00:00Z,big,9007199254740993,Good\n2024-01-01T00:00:01Z,big,2,Good\n", ask("--output", "csv", "f", "big"))
	require.Equal(t, `{"time":"2024-01-01T00:00:00Z","tag":"f","value":0.1,"quality":"Good"}
{"time":"2024-01-01T00:00:01Z","tag":"f","value":"NaN","quality":"Good"}
{"time":"2024-01-01T00:00:00Z","tag":"s","value":"on","quality":"Good"}
{"time":"2024-01-01T00:00:00Z","tag":"big","value":"9007199254740993","quality":"Good"}
{"time":"2024-01-01T00:00:01Z","tag":"big","value":"2","quality":"Good"}
`, ask("--output", "json", "f", "s", "big"))
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:01Z,big,2,Good\n", ask("--output", "csv", "--reverse", "--limit", "1", "big"))
	require.Contains(t, ask("--tz", "Asia/Kolkata", "s"), "2024-01-01T05:30:00+05:30  s       on  Good")
	require.Contains(t, ask("--plot", "f"), "0.1 ┤")
	require.Contains(t, varve(t, "query", "--server", address, "--latest", "--output", "csv", "b*"), "2024-01-01T00:00:01Z,big,2,Good")

	buckets := []string{"--end", "2024-01-01T00:00:03Z", "--every", "2s", "--aggregate", "count,sum,maximum_time,time_weighted_average"}
	require.Equal(t, "time,tag,count,sum,maximum_time,time_weighted_average,quality,percent_good\n"+
		"2024-01-01T00:00:00Z,big,2,9007199254740995,2024-01-01T00:00:00Z,4503599622866898,UncertainDataSubNormal,50.00000005\n"+
		"2024-01-01T00:00:02Z,big,0,,,,BadNoData,0\n", ask(append(buckets, "--output", "csv", "big")...))
	require.Contains(t, ask(append(buckets, "--output", "json", "big")...), `"count":0,"sum":null,"maximum_time":null,`)
	require.Contains(t, ask(append(buckets, "--tz", "Asia/Kolkata", "big")...), "2024-01-01T05:30:02+05:30  big")

	arrowFile, parquetFile := filepath.Join(t.TempDir(), "a.arrow"), filepath.Join(t.TempDir(), "a.parquet")
	ask("--output", "arrow", "--file", arrowFile, "f")
	f, err := os.Open(arrowFile)
	require.NoError(t, err)
	defer f.Close()
	a, err := ipc.NewFileReader(f)
	require.NoError(t, err)
	rec, err := a.Record(0)
	require.NoError(t, err)
	require.EqualValues(t, 2, rec.NumRows())
	ask(append(buckets, "--output", "parquet", "--file", filepath.Join(t.TempDir(), "b.parquet"), "big")...)
	ask("--output", "parquet", "--file", parquetFile, "f", "s", "big")
	p, err := file.OpenParquetFile(parquetFile, false)
	require.NoError(t, err)
	require.EqualValues(t, 5, p.NumRows())
	require.NoError(t, p.Close())
}

// TestReferenceExamples runs the commands that the pages about reads show and holds what they print against the pages.
func TestReferenceExamples(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "tags", "create", "--server", address, "FI-101", "--type", "float64", "--max-gap", "15m")
	path := writeFile(t, "x.csv", "time,tag,value,quality\n"+
		"2026-03-01T05:00:00Z,FI-101,10,Good\n2026-03-01T05:02:00Z,FI-101,20,Good\n2026-03-01T05:03:00Z,FI-101,30,Bad\n"+
		"2026-03-01T05:05:00Z,FI-101,40,Good\n2026-03-01T05:06:00Z,FI-101,50,Uncertain\n")
	varve(t, "import", "--server", address, path)
	varve(t, "tags", "create", "--server", address, "TI-204", "--type", "float64", "--unit", "Cel")
	varve(t, "tags", "create", "--server", address, "P-101.RUN", "--type", "bool")
	varve(t, "import", "--server", address, writeFile(t, "y.csv", "time,tag,value,quality\n"+
		"2026-03-01T05:00:10Z,TI-204,80,Good\n2026-03-01T05:01:40Z,TI-204,83,Good\n2026-03-01T05:03:10Z,TI-204,86,Good\n2026-03-01T05:04:40Z,TI-204,86.5,Uncertain\n"+
		"2026-03-01T05:00:30Z,P-101.RUN,true,Good\n2026-03-01T05:04:50Z,P-101.RUN,false,Good\n"))
	varve(t, "import", "--server", address, "--mode", "append", writeFile(t, "lab.csv", "time,tag,value\n"+
		"2026-03-01T06:00:00Z,LAB.VISCOSITY,41\n2026-03-01T06:00:00Z,LAB.VISCOSITY,44\n2026-03-01T06:00:00Z,LAB.VISCOSITY,42\n2026-03-01T07:00:00Z,LAB.VISCOSITY,40\n"))
	for _, page := range []string{"raw-reads.md", "at-time.md", "explain.md", "wide.md", "plot.md"} {
		runExamples(t, address, page)
	}
}

// runExamples runs the commands of a page of the reference, in order.
func runExamples(t *testing.T, address, page string) {
	text, err := os.ReadFile(filepath.Join("../../docs/reference", page))
	require.NoError(t, err)
	examples := strings.Split(string(text), "\n$ varve ")[1:]
	require.NotEmpty(t, examples, page)
	for _, x := range examples {
		command, rest, _ := strings.Cut(x, "\n")
		want, _, _ := strings.Cut(rest, "\n\n")
		want, _, _ = strings.Cut(want, "```")
		args := words(command)
		got := varve(t, append(args, "--server", address)...)
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(got), command)
	}
}

// TestReplicates: of samples at one time raw reads have all, the newest value is that of the highest seq, and one is corrected by its seq.
func TestReplicates(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, "--mode", "append", writeFile(t, "lab.csv", "time,a\n2026-03-01T05:00:00Z,40\n2026-03-01T06:00:00Z,41\n2026-03-01T06:00:00Z,44\n"))
	varve(t, "import", "--server", address, "--mode", "append", writeFile(t, "late.csv", "time,a\n2026-03-01T06:00:00Z,42\n"))
	require.Equal(t, "time,tag,value,quality\n2026-03-01T06:00:00Z,a,42,Good\n", varve(t, "query", "--server", address, "--latest", "-o", "csv", "a"))
	_, says := fails(t, "edit", "set", "--server", address, "--author", "mara", "--reason", "misread", "a", "2026-03-01T06:00:00Z", "43")
	require.Contains(t, says, "say which with seq")
	varve(t, "edit", "set", "--server", address, "--author", "mara", "--reason", "misread", "--seq", "1", "a", "2026-03-01T06:00:00Z", "43")
	ask := func(flags ...string) string {
		return varve(t, append([]string{"query", "--server", address, "--start", "2026-03-01T05:30:00Z", "--end", "2026-03-01T07:00:00Z", "-o", "csv", "a"}, flags...)...)
	}
	require.Equal(t, "time,tag,value,quality,seq\n2026-03-01T06:00:00Z,a,41,Good,0\n2026-03-01T06:00:00Z,a,43,Good,1\n2026-03-01T06:00:00Z,a,42,Good,2\n", ask("--with-seq"))
	require.Contains(t, ask("--aggregate", "count,sum,first,last"), "a,3,126,41,42,")
}

// TestBoundsInEveryOutput prints a bound that is a sample and one that is none, forward and in reverse, and text that is chosen.
func TestBoundsInEveryOutput(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f,s\n2024-01-01T00:00:00Z,1,on\n2024-01-01T00:00:02Z,2,5\n"))
	ask := func(flags ...string) string {
		return varve(t, append([]string{"query", "--server", address, "--start", "2024-01-01T00:00:01Z", "--end", "2024-01-01T00:00:02Z"}, flags...)...)
	}
	late := []string{"--start", "2024-01-01T00:00:02Z", "--end", "2024-01-01T00:00:03Z", "--bounds", "outside", "--with-source", "f"}
	csvRows := strings.Split(strings.TrimSpace(ask(append(late, "-o", "csv")...)), "\n")
	require.Equal(t, "time,tag,value,quality,bound,ingest_time,source", csvRows[0])
	require.Regexp(t, `^2024-01-01T00:00:02Z,f,2,Good,true,20..-`, csvRows[1])
	require.Equal(t, "2024-01-01T00:00:03Z,f,,BadBoundNotFound,true,,", csvRows[2])
	require.Contains(t, ask(append(late, "-o", "json")...), `"value":null,"quality":"BadBoundNotFound","bound":true,"ingest_time":null,"source":""}`)
	table := ask(late...)
	require.Regexp(t, `TIME +TAG +VALUE +QUALITY +BOUND +INGESTED +SOURCE`, table)
	require.Regexp(t, `00:00:03Z +f +BadBoundNotFound +true +- +\n`, table)
	require.Equal(t, "time,tag,value,quality,bound\n2024-01-01T00:00:02Z,f,2,Good,true\n2024-01-01T00:00:01Z,f,1.5,Good+Interpolated,true\n",
		ask("--bounds", "interpolated", "--reverse", "-o", "csv", "f"))
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:02Z,s,5,Good\n", ask("--end", "now", "--where", `= "5"`, "-o", "csv", "s"))
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:00Z,s,on,Good\n", ask("--start", "min", "--where", "!= \"5\"", "-o", "csv", "s"))
	require.Contains(t, ask("--at", "2024-01-01T00:00:01Z", "--stepped", "f"), "1  Good+Interpolated")
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:02Z,f,2,Good\n", varve(t, "query", "--server", address, "--count", "1", "-o", "csv", "f"))
	code, says := fails(t, "query", "--server", address, "--where", "> 5", "s")
	require.NotZero(t, code)
	require.Contains(t, says, "is of type string")
}

// words splits a command line at spaces outside of single quotes.
func words(line string) (out []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func TestRejectsDecideTheStatus(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	path := writeFile(t, "bad.csv", "time,a\n2024-01-01T00:00:00Z,1\nyesterday,2\n2024-01-01T00:00:02Z,3\n")
	code, says := fails(t, "import", "--server", address, path)
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "line 3")
	require.Contains(t, varve(t, "import", "--server", address, "--allow-rejects", path), "1 rows rejected")
	var report struct {
		BadRows int    `json:"bad_rows"`
		Applied uint64 `json:"samples_applied"`
	}
	other := writeFile(t, "bad2.csv", "time,b\n2024-01-01T00:00:00Z,1\nyesterday,2\n")
	require.NoError(t, json.Unmarshal([]byte(varve(t, "import", "--server", address, "--allow-rejects", "--output", "json", other)), &report))
	require.Equal(t, 1, report.BadRows)
	require.EqualValues(t, 1, report.Applied)
	// Refused by the server: a time beyond the window it takes.
	code, says = fails(t, "import", "--server", address, writeFile(t, "future.csv", "time,c\n2200-01-01T00:00:00Z,1\n2024-01-01T00:00:00Z,1\n"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "time_out_of_window")
}

func TestEditCorrectsAndTells(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z,2\n"))
	edit := func(args ...string) []string {
		return append([]string{"edit", "--server", address, "--author", "ann", "--reason", "calibrated"}, args...)
	}
	stored := func() string {
		return varve(t, "query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02", "--output", "csv", "f")
	}
	require.Contains(t, varve(t, edit("set", "f", "2024-01-01T00:00:00Z", "-1.5", "--quality", "UncertainSubNormal")...), "1 of 1 corrections applied")
	varve(t, edit("insert", "f", "2024-01-01T00:00:02Z", "--null", "--quality", "BadSensorFailure")...)
	varve(t, edit("remove", "f", "2024-01-01T00:00:01Z")...)
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:00Z,f,-1.5,UncertainSubNormal\n2024-01-01T00:00:02Z,f,,BadSensorFailure\n", stored())

	_, says := fails(t, edit("insert", "f", "2024-01-01T00:00:00Z", "7")...)
	require.Contains(t, says, "stands at this time already")
	_, says = fails(t, edit("set", "f", "2024-01-01T00:00:01Z", "7")...)
	require.Contains(t, says, "no sample stands at this time; insert adds one")
	_, says = fails(t, edit("remove", "f", "2024-01-01T00:00:01Z")...)
	require.Contains(t, says, "so none can be removed")
	_, says = fails(t, edit("--file", writeFile(t, "c.csv", ""))...)
	require.Contains(t, says, "the file is empty")
	_, says = fails(t, edit("set", "f", "2024-01-01T00:00:00Z", "on")...)
	require.Contains(t, says, "no float64")
	modified := func(output string) string {
		return varve(t, "query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02", "--modified", "--output", output, "f")
	}
	rows, err := csv.NewReader(strings.NewReader(modified("csv"))).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"time", "tag", "value", "quality", "ingest_time", "source", "kind", "edit_time", "author", "reason", "edit_offset"}, rows[0])
	require.Len(t, rows, 3)
	require.Equal(t, []string{"2024-01-01T00:00:00Z", "f", "1", "Good"}, rows[1][:4])
	require.Equal(t, "replaced", rows[1][6])
	require.Equal(t, []string{"ann", "calibrated"}, rows[1][8:10])
	require.Equal(t, []string{"2", "removed"}, []string{rows[2][2], rows[2][6]})
	require.Contains(t, modified("json"), `"kind":"removed"`)
	require.Contains(t, modified("table"), "calibrated")
	require.Equal(t, "time,tag,value,quality\n", varve(t, "query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02", "--as-of", "2024-01-01", "--output", "csv", "f"))
	require.Equal(t, stored(), varve(t, "query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02", "--as-of", "now", "--output", "csv", "f"))
	code, says := fails(t, "query", "--server", address, "--modified", "--as-of", "now", "f")
	require.Equal(t, exitUsage, code)
	require.Contains(t, says, "--modified goes with none")

	code, says = fails(t, "edit", "--server", address, "set", "f", "2024-01-01T00:00:00Z", "7")
	require.Equal(t, exitUsage, code)
	require.Contains(t, says, "--reason")

	corrections := writeFile(t, "c.csv", "time,tag,value,quality,action\n2024-01-01T00:00:00Z,f,8,,set\n2024-01-01T00:00:05Z,f,9,Good,insert\n2024-01-01T00:00:02Z,f,,,remove\n")
	require.Contains(t, varve(t, edit("--file", corrections)...), "3 of 3 corrections applied")
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:00Z,f,8,Good\n2024-01-01T00:00:05Z,f,9,Good\n", stored())
	_, says = fails(t, edit("--file", writeFile(t, "c.csv", "time,tag,value,action\n2024-01-01T00:00:00Z,f,1,improve\n"))...)
	require.Contains(t, says, "line 2: action")
}

// A range delete takes samples away, says who and why, can be undone, and outlasts a restart.
func TestDeleteAndUndelete(t *testing.T) {
	dir := t.TempDir()
	address, stop := serveInProcess(t, dir)
	varve(t, "import", "--server", address, writeFile(t, "x.csv", "time,f,g\n2024-01-01T00:00:00Z,1,5\n2024-01-01T00:00:01Z,2,6\n2024-01-02T00:00:00Z,3,7\n"))
	stored := func(args ...string) string {
		return varve(t, append([]string{"query", "--server", address, "--start", "2024-01-01", "--end", "2024-01-03", "--output", "csv"}, args...)...)
	}
	before := stored("f", "g")
	says := varve(t, "delete", "--server", address, "--start", "2024-01-01T00:00:01Z", "--end", "2024-01-03", "--author", "ann", "--reason", "test rig", "--output", "json", "f")
	var record struct{ Offset uint64 }
	require.NoError(t, json.Unmarshal([]byte(says), &record))
	require.NotZero(t, record.Offset)
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:00Z,f,1,Good\n", stored("f"))
	require.Contains(t, varve(t, "query", "--server", address, "--latest", "--output", "csv", "f"), "2024-01-01T00:00:00Z,f,1")
	rows, err := csv.NewReader(strings.NewReader(stored("--modified", "f", "g"))).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.Equal(t, []string{"2", "3"}, []string{rows[1][2], rows[2][2]})
	for _, r := range rows[1:] {
		require.Equal(t, []string{"removed", "ann", "test rig", strconv.FormatUint(record.Offset, 10)}, []string{r[6], r[8], r[9], r[10]})
	}
	varve(t, "edit", "--server", address, "--reason", "by hand", "insert", "f", "2024-01-02T00:00:00Z", "8")

	stop()
	address, _ = serveInProcess(t, dir)
	var list []rangeDelete
	require.NoError(t, json.Unmarshal([]byte(varve(t, "delete", "list", "--server", address, "--output", "json")), &list))
	require.Len(t, list, 1)
	require.Equal(t, []string{"f"}, list[0].Tags)
	require.Equal(t, []string{"2024-01-01T00:00:01Z", "2024-01-03T00:00:00Z", "ann", "test rig"}, []string{list[0].Start, list[0].End, list[0].Author, list[0].Reason})
	name := strconv.FormatUint(record.Offset, 10)
	require.Contains(t, varve(t, "undelete", "--server", address, "--author", "bob", "--reason", "wrong tag", name), "is undone")
	require.Equal(t, strings.Replace(before, "2024-01-02T00:00:00Z,f,3", "2024-01-02T00:00:00Z,f,8", 1), stored("f", "g"))
	require.Contains(t, varve(t, "delete", "list", "--server", address), `by "bob": "wrong tag"`)
	_, why := fails(t, "undelete", "--server", address, "--reason", "again", name)
	require.Contains(t, why, "or it is undone")
	_, why = fails(t, "delete", "--server", address, "--start", "2024-01-01", "--end", "2024-01-02", "--reason", "x", "nobody")
	require.Contains(t, why, "no tag")
}

// What is purged is gone and on record; a hold keeps it; a rule is shown as it was given.
func TestPurgeHoldAndRetention(t *testing.T) {
	dir := t.TempDir()
	address, stop := serveInProcess(t, dir)
	at := func(args ...string) []string { return append(args, "--server", address) }
	varve(t, at("import", writeFile(t, "x.csv", "time,f,g\n2024-01-01T00:00:00Z,1,5\n2024-01-01T00:00:01Z,2,6\n2024-01-02T00:00:00Z,3,7\n"))...)
	stored := func(args ...string) string {
		return varve(t, at(append([]string{"query", "--start", "2024-01-01", "--end", "2024-01-03", "--output", "csv"}, args...)...)...)
	}
	says := varve(t, at("hold", "add", "--start", "2024-01-02", "--end", "2024-01-03", "--author", "lee", "--reason", "case 7", "--output", "json", "f")...)
	var hold struct{ Offset uint64 }
	require.NoError(t, json.Unmarshal([]byte(says), &hold))
	_, why := fails(t, at("purge", "--start", "2024-01-01", "--end", "2024-01-03", "--reason", "x", "f")...)
	require.Contains(t, why, "a hold keeps it")
	require.Contains(t, varve(t, at("hold", "list")...), `"case 7"`)
	require.Contains(t, varve(t, at("purge", "--start", "2024-01-01", "--end", "2024-01-01T00:00:01Z", "--author", "ann", "--reason", "named", "f")...), "purged of 1 tags")
	require.Equal(t, "time,tag,value,quality\n2024-01-01T00:00:01Z,f,2,Good\n2024-01-02T00:00:00Z,f,3,Good\n", stored("f"))
	require.Equal(t, "time,tag,value,quality,ingest_time,source,kind,edit_time,author,reason,edit_offset\n", stored("--modified", "f"))
	require.Contains(t, varve(t, at("retention", "set", "", "--samples", "90d", "--rollups", "10y", "--reason", "policy 12")...), "keeps samples 90d, rollups 10y, versions for good")

	stop()
	address, _ = serveInProcess(t, dir)
	var gone []erasure
	require.NoError(t, json.Unmarshal([]byte(varve(t, at("purge", "list", "--output", "json")...)), &gone))
	require.Len(t, gone, 1)
	require.Equal(t, []any{"all", "purge", uint32(1), "2024-01-01T00:00:00Z", "ann", "named", false}, []any{gone[0].What, gone[0].Cause, gone[0].Tags, gone[0].Start, gone[0].Author, gone[0].Reason, gone[0].OnDisk})
	require.Contains(t, varve(t, at("hold", "release", "--reason", "closed", strconv.FormatUint(hold.Offset, 10))...), "is released")
	var holds []heldRange
	require.NoError(t, json.Unmarshal([]byte(varve(t, at("hold", "list", "--output", "json")...)), &holds))
	require.Empty(t, holds)
	var rules []retentionRule
	require.NoError(t, json.Unmarshal([]byte(varve(t, at("retention", "list", "--output", "json")...)), &rules))
	require.Len(t, rules, 1)
	require.Equal(t, []string{"", "90d", "10y", "for good", "policy 12"}, []string{rules[0].Class, rules[0].Samples, rules[0].Rollups, rules[0].Versions, rules[0].Reason})
	_, why = fails(t, at("retention", "set", "x", "--samples", "1h", "--reason", "y")...)
	require.Contains(t, why, "least is 24h")
	_, why = fails(t, at("hold", "release", "--reason", "again", strconv.FormatUint(hold.Offset, 10))...)
	require.Contains(t, why, "no hold is in force")
}

func TestAges(t *testing.T) {
	for text, want := range map[string]string{"90d": "90d", "14d": "2w", "365d": "1y", "10y": "10y", "36h": "36h0m0s", "48h": "2d", "for good": "for good"} {
		var a age
		require.NoError(t, a.Set(text), text)
		require.Equal(t, want, a.String())
	}
	for _, text := range []string{"", "d", "0d", "-1d", "1.5y", "99999999y", "1 d", "-3h"} {
		var a age
		require.Error(t, a.Set(text), text)
	}
}

func TestTagsAreMadeAndChanged(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	at := func(args ...string) []string { return append(args, "--server", address) }
	varve(t, at("tags", "states", "put", "pump", "1=running", "0=stopped")...)
	require.Contains(t, varve(t, at("tags", "create", "P1.RUN", "--type", "state", "--state-set", "pump")...), "P1.RUN: created")
	varve(t, at("edit", "--reason", "first", "insert", "P1.RUN", "2024-01-01T00:00:00Z", "running")...)
	require.Contains(t, varve(t, at("query", "--latest", "--output", "json", "P1.RUN")...), `"value":"running","code":1`)
	require.Contains(t, varve(t, at("tags", "create", "P1.RUN", "--type", "state", "--state-set", "pump")...), "exists")
	varve(t, at("tags", "rename", "P1.RUN", "PUMP-101.RUN")...)
	require.Contains(t, varve(t, at("query", "--latest", "--output", "csv", "PUMP*")...), "PUMP-101.RUN,running")
	varve(t, at("tags", "update", "PUMP-101.RUN", "--description", "pump 101", "--attribute", "area=7")...)
	var tag tagJSON
	require.NoError(t, json.Unmarshal([]byte(varve(t, at("tags", "get", "PUMP-101.RUN")...)), &tag))
	require.Equal(t, "pump 101", tag.Description)
	require.Equal(t, map[string]string{"area": "7"}, tag.Attributes)
	require.Len(t, tag.Names, 2)
	require.Equal(t, "min", tag.Settings[0].From)
	require.Contains(t, varve(t, at("tags", "list", "P*")...), "state pump")
	require.Contains(t, varve(t, at("tags", "states", "list")...), "1=running")
	_, says := fails(t, at("query", "RUN")...)
	require.Contains(t, says, "there are PUMP-101.RUN")
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for want, args := range map[string][]string{
		"HOST:PORT":               {"status", "--server", "nowhere"},
		"no file to import":       {"import"},
		"no tag to query":         {"query"},
		"output":                  {"query", "--output", "xml", "a"},
		"mode":                    {"import", "--mode", "remove", "x.csv"},
		"of what":                 {"query", "--every", "1m", "a"},
		"goes with none of":       {"query", "--aggregate", "count", "--plot", "a"},
		"--bounds \"all\"":        {"query", "--bounds", "all", "a"},
		"--quality \"fair\"":      {"query", "--quality", "fair", "a"},
		"--where \"5\"":           {"query", "--where", "5", "a"},
		"at what distance":        {"query", "--interpolated", "a"},
		"--count and --limit":     {"query", "--count", "1", "--limit", "1", "a"},
		"--reverse with --count":  {"query", "--count", "1", "--reverse", "a"},
		"go with none of":         {"query", "--at", "now", "--with-seq", "a"},
		"with none of --latest":   {"query", "--bounds", "inside", "--latest", "a"},
		"need --at":               {"query", "--stepped", "a"},
		"goes not with --time":    {"query", "--unit", "bar", "--time-in-state", "--every", "1h", "a"},
		"--at: ":                  {"query", "--at", "soon", "a"},
		"must be COLUMN=TYPE":     {"import", "--types", "a", "x.csv"},
		"WORD=QUALITY":            {"import", "--bad", "x", "x.csv"},
		"time zone":               {"query", "--tz", "Mars", "a"},
		"--end":                   {"query", "--end", "soon", "a"},
		"go together":             {"status", "--tls-cert", "x"},
		"in the clear":            {"status", "--server", "example.com:1", "--token-file", writeFile(t, "token", "secret\n")},
		"is empty":                {"status", "--token-file", writeFile(t, "token", "\n")},
		"holds no certificate":    {"status", "--tls-ca", writeFile(t, "ca", "x")},
		"set, insert or remove":   {"edit"},
		"give tag, time and":      {"edit", "set", "a"},
		"unknown flag":            {"edit", "set", "--bogus", "a"},
		"give one tag":            {"tags", "get"},
		"must be CODE=TEXT":       {"tags", "states", "put", "a", "b"},
		"must be one of float64,": {"tags", "create", "a", "--type", "real"},
		"unknown command":         {"status", "please"},
		"at least 1 arg":          {"tags", "create"},
		"no tag to delete of":     {"delete"},
		"--start and --end":       {"delete", "--reason", "x", "a"},
		"--reason is required":    {"delete", "--start", "0", "--end", "1", "a"},
		"must be a number":        {"undelete", "--reason", "x", "a"},
		"no tag to purge":         {"purge"},
		"--text is required":      {"annotate", "add", "a"},
		"--stop needs --start":    {"annotate", "add", "--stop", "2026-01-01", "--text", "x", "a"},
		"no tag to list":          {"annotate", "list"},
		"name the tags, or say":   {"hold", "add", "--reason", "x", "--start", "0", "--end", "1"},
	} {
		code, says := fails(t, args...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, says, want, args)
	}
	code, says := fails(t, "status", "--server", "127.0.0.1:1")
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "is it running there?")
}

// Every command explains itself with an example.
func TestEveryCommandHasAnExample(t *testing.T) {
	commands := newRootCommand().Commands()
	for len(commands) > 0 {
		c := commands[0]
		commands = append(commands[1:], c.Commands()...)
		if !c.Runnable() || c.Name() == "help" || c.Hidden || c.Parent().Name() == "completion" {
			continue
		}
		require.NotEmpty(t, c.Example, c.CommandPath())
	}
}

// What query writes as CSV is a table that import reads, with the qualities and without inventing values.
func TestExportedCSVComesBack(t *testing.T) {
	one, _ := serveInProcess(t, filepath.Join(t.TempDir(), "one"))
	other, _ := serveInProcess(t, filepath.Join(t.TempDir(), "other"))
	const at = "2024-01-01T00:00:0"
	varve(t, "import", "--server", one, writeFile(t, "x.csv", "time,a,n,s\n"+
		at+"0Z,0.1,9007199254740993,\"one\ntwo, \"\"three\"\"\"\n"+at+"1Z,-0,2,UNAVAILABLE\n"+at+"2Z,NaN,3,\"\"\n"))
	for _, e := range [][]string{
		{"insert", "a", at + "3Z", "7", "--quality", "UncertainSubNormal"}, {"insert", "a", at + "4Z", "--null", "--quality", "BadSensorFailure"},
		{"insert", "n", at + "5Z", "8", "--quality", "0x80AB0401"}, {"insert", "s", at + "6Z", "--null", "--quality", "BadNoData"},
		{"insert", "s", at + "7Z", "", "--quality", "Bad"},
	} {
		varve(t, append([]string{"edit", "--server", one, "--reason", "test"}, e...)...)
	}
	export := func(server string) string {
		return varve(t, "query", "--server", server, "--start", "min", "--end", "max", "--output", "csv", "*")
	}
	want := export(one)
	require.Equal(t, 13, strings.Count(want, "Z,"), want)
	varve(t, "import", "--server", other, writeFile(t, "export.csv", want))
	require.Equal(t, want, export(other))
}

func TestImportGoesOnBehindAFileThatIsNoTable(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	good := writeFile(t, "good.csv", "time,f\n2024-01-01T00:00:00Z,1\n")
	code, says := fails(t, "import", "--server", address, t.TempDir(), writeFile(t, "notes.csv", "a,b\n1,2\n"), good)
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "a directory")
	require.Contains(t, says, "notes.csv: none of the columns a,b holds times")
	require.Contains(t, says, "2 of 3 files could not be imported")
	require.Contains(t, varve(t, "query", "--server", address, "--latest", "--output", "csv", "f"), "2024-01-01T00:00:00Z,f,1,Good")

	code, says = fails(t, "import", "--server", "127.0.0.1:1", good, good)
	require.Equal(t, exitFailure, code)
	require.Equal(t, 1, strings.Count(says, "no answer from the server"), "without a server no file can be imported")
}
