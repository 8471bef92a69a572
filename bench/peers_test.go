package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/bench/plant"
)

func TestPairsOfReadsWhatHTTPPeersAnswer(t *testing.T) {
	whole := func(b []byte) (int64, error) { return secondsOf(b) }
	for name, c := range map[string]struct {
		body string
		want answer
	}{
		"influx, chunked": {
			`{"results":[{"statement_id":0,"series":[{"name":"pv","tags":{"tag":"T00002"},"columns":["time","v"],"values":[[1,-2.5],[2,1e21]]}],"partial":true}]}` + "\n" +
				`{"results":[{"statement_id":0,"series":[{"name":"pv","tags":{"tag":"T00002"},"columns":["time","v"],"values":[[3,0]]}]}]}`,
			answer{2: {[]int64{1000, 2000, 3000}, []float64{-2.5, 1e21, 0}}},
		},
		"victoria-metrics, one value a tag": {
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"pv","tag":"T00000"},"value":[1767225600.041,"20.1"]},{"metric":{"tag":"T12345"},"value":[-1,"7"]}]}}`,
			answer{0: {[]int64{1767225600041}, []float64{20.1}}, 12345: {[]int64{-1000}, []float64{7}}},
		},
		"none": {`{"results":[{"statement_id":0}]}`, answer{}},
	} {
		got := answer{}
		require.NoError(t, pairsOf([]byte(c.body), got, whole), name)
		require.Equal(t, c.want, got, name)
	}
	for _, broken := range []string{
		`{"results":[{"error":"timeout"}]}`,
		`{"tag":"T1","values":[[1,2]]}`,
		`{"tag":"T00001","values":[[1,2`,
		`{"tag":"T00001","values":[[1,null]]}`,
	} {
		require.Error(t, pairsOf([]byte(broken), answer{}, whole), broken)
	}
}

func TestExportOfReadsLines(t *testing.T) {
	got := answer{}
	require.NoError(t, exportOf([]byte(`{"metric":{"__name__":"pv","tag":"T00007"},"values":[1,2.25,-3e-7],"timestamps":[10,20,30]}`+"\n"+
		`{"metric":{"__name__":"pv","tag":"T00007"},"values":[4],"timestamps":[40]}`+"\n"), got))
	require.Equal(t, answer{7: {[]int64{10, 20, 30, 40}, []float64{1, 2.25, -3e-7, 4}}}, got)
	for _, broken := range []string{
		`{"metric":{"tag":"T00007"},"values":[1,2],"timestamps":[10]}`,
		`{"metric":{"tag":"T00007"},"values":[1,2],"timest`,
		`{"metric":{"tag":"T00007"},"values":[x],"timestamps":[10]}`,
		`{"metric":{},"values":[1],"timestamps":[10]}`,
	} {
		require.Error(t, exportOf([]byte(broken), answer{}), broken)
	}
}

func TestAveragesAreOfWholeMinutes(t *testing.T) {
	s := series{[]int64{-1, 0, 59_999, 60_000, 200_000}, []float64{1, 2, 4, 5, 6}}
	require.Equal(t, series{[]int64{-60_000, 0, 60_000, 180_000}, []float64{1, 3, 5, 6}}, s.averages())
	require.Empty(t, (&series{}).averages().times)
	require.Equal(t, series{[]int64{0, 59_999}, []float64{2, 4}}, s.within(0, 60_000))
}

func TestCompareAnswerNamesTheDifference(t *testing.T) {
	sent := series{[]int64{1000, 2000}, []float64{1e6, 0.1}}
	d := &dataset{label: func(int) string { return "P-101.FLOW" }, sent: func(*question, int) series { return sent }}
	q := &question{kind: rawSamples, tags: []int{3}}
	near := math.Nextafter(0.1, 1)
	for name, c := range map[string]struct {
		times   []int64
		values  []float64
		kind    kind
		exact   bool
		rounded int
		err     string
	}{
		"equal":                 {times: sent.times, values: sent.values, exact: true},
		"last digits":           {times: sent.times, values: []float64{1e6, near}, rounded: 1},
		"last digits, doubles":  {times: sent.times, values: []float64{1e6, near}, exact: true, err: "1970-01-01T00:00:02.000Z"},
		"average, last digits":  {times: sent.times, values: []float64{1e6, near}, exact: true, kind: minuteAverages},
		"value":                 {times: sent.times, values: []float64{1e6, 0.2}, err: "P-101.FLOW: value at 1970-01-01T00:00:02.000Z is 0.2, want 0.1"},
		"no number":             {times: sent.times, values: []float64{1e6, math.NaN()}, err: "NaN"},
		"a millisecond":         {times: []int64{1000, 2001}, values: sent.values, err: "P-101.FLOW: row 1 is at 2001 ms"},
		"too few":               {times: sent.times[:1], values: sent.values[:1], err: "1 rows, want 2; the first too few or too many is at 1970-01-01T00:00:02.000Z"},
		"too many":              {times: []int64{1000, 2000, 3000}, values: []float64{1e6, 0.1, 3}, err: "3 rows, want 2"},
		"none":                  {err: "0 rows, want 2"},
		"average, other":        {times: sent.times, values: []float64{1e6 + 1, 0.1}, kind: minuteAverages, err: "value at"},
		"average of less, zero": {times: sent.times, values: []float64{0, 0.1}, kind: minuteAverages, err: "value at"},
	} {
		q.kind = c.kind
		rounded, err := compareAnswer(q, answer{3: {c.times, c.values}}, d, c.exact)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.rounded, rounded, name)
	}
	_, err := compareAnswer(q, answer{3: &sent, 4: &sent}, d, false)
	require.ErrorContains(t, err, "not asked for")
}

// What a server keeps is what the workload made, whatever the encoding.
func TestWritersSendTheWorkload(t *testing.T) {
	o := small("w1", 0)
	require.NoError(t, o.validate())
	d := newPlant(o)
	d.o.BatchSamples = 500
	want := answer{}
	for tag := range o.Tags {
		times, values := makeTag(o, tag, o.samplesPerTag())
		for i := range times {
			want.of(tag).add(times[i]/millisecond, values[i])
		}
	}
	for name, decode := range map[string]func(*testing.T, *http.Request, []byte, answer){"line": linesOf, "remote": remoteWriteOf} {
		got := make(chan answer, 1)
		got <- answer{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			a := <-got
			decode(t, r, body, a)
			got <- a
			w.WriteHeader(http.StatusNoContent)
		}))
		defer server.Close()
		web := &web{base: server.URL, client: server.Client()}
		figures, err := loadWriters(t.Context(), d, func(context.Context) (writer, error) {
			if name == "line" {
				return &lineWriter{web: web}, nil
			}
			return &remoteWriter{web: web}, nil
		})
		require.NoError(t, err)
		require.Positive(t, figures.WireBytes)
		require.Equal(t, want, <-got, name)
	}
}

func TestWritersSayWhatTheServerSaid(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "disk full", http.StatusInternalServerError)
	}))
	defer server.Close()
	o := small("w1", 0)
	require.NoError(t, o.validate())
	_, err := loadWriters(t.Context(), newPlant(o), func(context.Context) (writer, error) {
		return &lineWriter{web: &web{base: server.URL, client: server.Client()}}, nil
	})
	require.ErrorContains(t, err, "disk full")
}

func linesOf(t *testing.T, _ *http.Request, body []byte, into answer) {
	for line := range strings.Lines(string(body)) {
		var tag int
		words := strings.Fields(line)
		require.Len(t, words, 3)
		tag, err := tagOf([]byte(strings.TrimPrefix(words[0], "pv,tag=")))
		require.NoError(t, err)
		value, time := json.Number(strings.TrimPrefix(words[1], "v=")), json.Number(words[2])
		v, err := value.Float64()
		require.NoError(t, err)
		ms, err := time.Int64()
		require.NoError(t, err)
		into.of(tag).add(ms, v)
	}
}

// remoteWriteOf reads the fields by their place, as far as this test knows it: what is written is fixed.
func remoteWriteOf(t *testing.T, r *http.Request, body []byte, into answer) {
	require.Equal(t, "snappy", r.Header.Get("Content-Encoding"))
	b, err := s2.Decode(nil, body)
	require.NoError(t, err)
	field := func(b []byte) (key byte, value, rest []byte) {
		n, size := binary.Uvarint(b[1:])
		from := 1 + size
		return b[0], b[from : from+int(n)], b[from+int(n):]
	}
	for len(b) > 0 {
		var one, part []byte
		var key byte
		key, one, b = field(b)
		require.Equal(t, byte(0x0a), key)
		_, _, one = field(one)
		_, part, one = field(one)
		tag, err := tagOf(part[len(part)-len(plant.Name(0)):])
		require.NoError(t, err)
		for len(one) > 0 {
			key, part, one = field(one)
			require.Equal(t, byte(0x12), key)
			ms, n := binary.Uvarint(part[10:])
			require.Equal(t, len(part), 10+n)
			into.of(tag).add(int64(ms), math.Float64frombits(binary.LittleEndian.Uint64(part[1:])))
		}
	}
}

// fakePostgres keeps what is copied in and gives it back to whatever it is asked.
func fakePostgres(conn net.Conn) {
	defer conn.Close()
	l := newPgLink(conn)
	var head [4]byte
	if _, err := io.ReadFull(l.in, head[:]); err != nil {
		return
	}
	io.CopyN(io.Discard, l.in, int64(binary.BigEndian.Uint32(head[:]))-4)
	l.send('R', []byte{0, 0, 0, 0})
	l.send('Z', []byte{'I'})
	var kept []byte
	for {
		kind, body, err := l.next()
		if err != nil {
			return
		}
		switch {
		case kind == 'Q' && bytes.Contains(body, []byte("nonsense")):
			l.send('E', []byte("SERROR\x00C42601\x00Msyntax error\x00\x00"))
			l.send('Z', []byte{'I'})
		case kind == 'Q' && bytes.Contains(body, []byte("STDIN")):
			kept = nil
			l.send('G', []byte{1, 0, 0})
		case kind == 'd':
			kept = append(kept, body...)
		case kind == 'c':
			l.send('C', []byte("COPY\x00"))
			l.send('Z', []byte{'I'})
		case kind == 'Q':
			l.send('H', []byte{1, 0, 0})
			const tuple = 2 + 8 + 12 + 12
			head := len(pgCopyStart)
			l.send('d', kept[:head])
			for b := kept[head:]; len(b) > 0; {
				n := min(tuple, len(b))
				l.send('d', b[:n])
				b = b[n:]
			}
			l.send('c')
			l.send('C', []byte("COPY\x00"))
			l.send('Z', []byte{'I'})
		}
	}
}

func TestPostgresLink(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			fakePostgres(conn)
		}
	}()
	l, err := dialPostgres(t.Context(), listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, err)
	defer l.close()
	w := newCopyWriter(l)
	w.add(7, []int64{1000 * millisecond, -2 * millisecond}, []float64{0.1, math.Inf(1)})
	_, err = w.send(t.Context())
	require.NoError(t, err)
	p := &postgres{link: l}
	got, err := p.ask(t.Context(), &question{kind: rawSamples, tags: []int{7}})
	require.NoError(t, err)
	require.Equal(t, answer{7: {[]int64{1000, -2}, []float64{0.1, math.Inf(1)}}}, got)
	require.EqualError(t, l.run("nonsense"), "PostgreSQL: syntax error")
	_, err = p.ask(t.Context(), &question{kind: rawSamples, tags: []int{7}})
	require.NoError(t, err, "a statement after one that failed")

	for _, broken := range [][]byte{{0}, {0, 1}, {0, 1, 0, 0, 0, 2, 9}, {0, 1, 0xff, 0xff, 0xff, 0xff}, {0, 0}} {
		_, _, err := pgRow(nil, broken)
		require.Error(t, err, "%v", broken)
	}
}

// fakeDuckDB keeps what is inserted and gives it back to whatever it is asked. The statements go to asked.
func fakeDuckDB(conn net.Conn, asked chan<- string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var kept bytes.Buffer
	none := ipc.NewWriter(&kept, ipc.WithSchema(arrow.NewSchema(nil, nil)))
	none.Close()
	for {
		line, err := in.ReadBytes('\n')
		var head duckHead
		if err != nil || json.Unmarshal(line, &head) != nil {
			return
		}
		batch := make([]byte, head.Bytes)
		if _, err := io.ReadFull(in, batch); err != nil {
			return
		}
		asked <- head.SQL
		if head.SQL == "nonsense" {
			io.WriteString(conn, `{"error": "syntax error"}`+"\n")
			continue
		}
		io.WriteString(conn, `{"ms": 2.5}`+"\n")
		conn.Write(kept.Bytes())
		if head.Bytes > 0 {
			kept.Reset()
			kept.Write(batch)
		}
	}
}

func TestDuckLink(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	asked := make(chan string, 8)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			fakeDuckDB(conn, asked)
		}
	}()
	l, err := dialDuckDB(t.Context(), listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, err)
	defer l.close()
	w := newBatchWriter(l)
	w.add(6, []int64{0}, []float64{5})
	_, err = w.send(t.Context())
	require.NoError(t, err)
	require.Equal(t, "INSERT INTO s FROM batch", <-asked)
	w.add(7, []int64{1000 * millisecond, -2 * millisecond}, []float64{0.1, math.Inf(1)})
	w.add(9, []int64{3 * millisecond}, []float64{-0.2})
	wire, err := w.send(t.Context())
	require.NoError(t, err)
	require.Greater(t, wire, 3*20)
	<-asked

	k := &duckdb{link: l, months: []parquetMonth{{"first", 0, 1000}, {"it's", 1000, 2000}, {"third", 2000, 3000}}}
	for name, c := range map[string]struct {
		q    question
		want string
	}{
		"one month":  {question{kind: rawSamples, tags: []int{7, 9}, from: 1000, to: 2000}, "SELECT tag, ts, v FROM read_parquet(['it''s']) WHERE ts >= 1000 AND ts < 2000 AND tag IN (7,9) ORDER BY tag, ts"},
		"across":     {question{kind: rawSamples, tags: []int{7}, from: 999, to: 1001}, "read_parquet(['first','it''s']) WHERE"},
		"looks back": {question{kind: latestSamples, tags: make([]int, 101), to: 3000, lookback: time.Second}, "FROM read_parquet(['third']) WHERE ts >= 2000 AND ts < 3000 GROUP BY tag"},
		"averages":   {question{kind: minuteAverages, tags: []int{7}, to: 1}, "GROUP BY ALL ORDER BY ALL"},
		"shapes":     {question{kind: minuteShapes, tags: []int{7}, to: 1}, "max(v) AS greatest, 100.0 * count(v) / count(*) AS good FROM read_parquet(['first']) WHERE ts >= 0 AND ts < 1 AND"},
		"areas":      {question{kind: minuteAreas, tags: []int{7}, from: 60_000, to: 120_000}, "FROM read_parquet(['first','it''s','third']) WHERE ts >= 0 AND ts < 180000 AND"},
	} {
		c.q.name, c.q.checked = name, name != "across"
		got, err := k.ask(t.Context(), &c.q)
		require.NoError(t, err, name)
		require.Contains(t, <-asked, c.want, name)
		require.Equal(t, answer{7: {[]int64{1000, -2}, []float64{0.1, math.Inf(1)}}, 9: {[]int64{3}, []float64{-0.2}}}, got, name)
	}
	require.Contains(t, k.remark(), "after 2.50 ms (across)")

	got, err := k.ask(t.Context(), &question{kind: rawSamples, tags: []int{7}, from: 3000, to: 4000})
	require.NoError(t, err)
	require.Empty(t, got, "no file has it, so that none is asked")
	require.EqualError(t, l.run("nonsense"), "DuckDB: syntax error")
	require.NoError(t, l.run("CHECKPOINT"), "a statement after one that failed")
}

func TestShapesOfMinutes(t *testing.T) {
	// A line that rises by one a second from 0 at -30 s on; samples at uneven times.
	var s series
	for _, at := range []int64{-30_000, -10_000, 15_000, 59_000, 60_500, 119_000, 170_000} {
		s.add(at, float64(at+30_000)/1000)
	}
	got := s.shapes(0, 120_000, true)
	require.Equal(t, []int64{0, 0, 0, 0, 0, 60_000, 60_000, 60_000, 60_000, 60_000}, got.times)
	require.InDeltaSlice(t, []float64{67, 45, 89, 60, 100, 119.75, 90.5, 149, 120, 100}, got.values, 1e-9)
	require.InDeltaSlice(t, []float64{67, 45, 89, 100}, s.shapes(0, 60_000, false).values, 1e-9)
}

func TestFilesAreReadAsAnImportReadsThem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plant.csv")
	require.NoError(t, os.WriteFile(file, []byte("time,FLOW,RUN,NOTE,EMPTY\n"+
		"2026-01-01T00:00:00Z,1.5,true,open,\n2026-01-01T00:00:01Z,,false,,\n2026-01-01T00:00:01.0004Z,2,true,,\n2026-01-01T00:01:00Z,3,true,shut,\n"), 0o600))
	d, err := newFiles(t.Context(), []string{file})
	require.NoError(t, err)
	require.Equal(t, 2, d.tags)
	require.Equal(t, "plant.FLOW", d.label(0))
	require.Equal(t, 6, d.samples)
	require.Contains(t, d.notes[0], "3 fields left out")
	start := plant.Start
	require.Equal(t, series{[]int64{start, start + 1000, start + 60_000}, []float64{1.5, 2, 3}}, d.sent(&d.questions[0], 0))
	require.Equal(t, series{[]int64{start, start + 60_000}, []float64{0.5, 1}}, d.sent(&d.questions[2], 1))
	require.Equal(t, series{[]int64{start + 60_000}, []float64{3}}, d.sent(&d.questions[3], 0))

	sent := 0
	for _, w := range d.workloads() {
		for {
			_, times, values, ok := w.next()
			if !ok {
				break
			}
			require.Len(t, values, len(times))
			sent += len(times)
		}
	}
	require.Equal(t, d.samples, sent)
}

func TestRatiosAreAgainstTheBestPeer(t *testing.T) {
	of := func(c *contestantReport) (float64, bool) { return c.BytesPerSample, c.BytesPerSample >= 0 }
	named := func(name string, v float64) *contestantReport {
		return &contestantReport{description: description{Name: name}, BytesPerSample: v}
	}
	all := []*contestantReport{named("varve", 2), named("a", 3), named("b", 4), named("silent", -1)}
	ratio, best := (&figure{of: of}).ratio(all)
	require.Equal(t, "a", best)
	require.InDelta(t, 1.5, ratio, 1e-9)
	ratio, best = (&figure{of: of, more: true}).ratio(all)
	require.Equal(t, "b", best)
	require.InDelta(t, 0.5, ratio, 1e-9)
	_, best = (&figure{of: of}).ratio(all[:1])
	require.Empty(t, best)
}

func TestPeersOptionsSayWhatIsWrong(t *testing.T) {
	for want, spoil := range map[string]func(*peersOptions){
		"--peers":    func(o *peersOptions) { o.Peers = []string{"oracle"} },
		"--workload": func(o *peersOptions) { o.Workloads = []string{"w3"} },
		"--output":   func(o *peersOptions) { o.Output = "xml" },
		"--repeat":   func(o *peersOptions) { o.Repeat = 0 },
	} {
		o := &peersOptions{Workloads: []string{"w1"}, Repeat: 1, Hours: 1, Days: 1, Output: "table"}
		require.NoError(t, o.validate())
		spoil(o)
		require.ErrorContains(t, o.validate(), want)
	}
}

func TestPeersThatAreMissingSayHowToGetThem(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, name := range []string{"victoria-metrics", "influxdb"} {
		c, missing := newContestant(name)
		require.Nil(t, c, name)
		require.Contains(t, missing, "apt-get install "+name)
	}
	_, missing := installed("postgres", "initdb", "postgresql", filepath.Join(t.TempDir(), "*", "bin"))
	require.Contains(t, missing, "apt-get install postgresql")
	_, missing = newContestant("duckdb")
	require.Contains(t, missing, "make bin/duckdb")
}

// The real servers, those that are installed, on a small plant. Half a minute of it is for InfluxDB's shards to cool.
func TestMeasurePeers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts every database there is")
	}
	if _, err := cpuSeconds("self"); err != nil {
		t.Skip("figures come from /proc, which this machine does not have: ", err)
	}
	dir := t.TempDir()
	binary, err := build(t.Context(), "", dir)
	require.NoError(t, err)
	// Below /tmp itself, since PostgreSQL's user does not get into a test's own directory.
	o := &peersOptions{Workloads: []string{"w1"}, Tags: 20, Hours: 1, Days: 5, Repeat: 1, Output: "table", Binary: binary}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, err := measurePeers(ctx, o, io.Discard)
	require.NoError(t, err)
	for _, s := range r.Skipped {
		t.Log("skipped: ", s)
	}
	require.Len(t, r.Workloads, 1)
	w := r.Workloads[0]
	require.Equal(t, "varve", w.Contestants[0].Name)
	require.Len(t, w.Contestants, 1+len(allPeers)-len(r.Skipped))
	require.Len(t, w.Questions, 6)
	for _, c := range w.Contestants {
		require.Positive(t, c.BytesPerSample, c.Name)
		require.Positive(t, c.PeakRSS, c.Name)
		require.NotNil(t, c.Medians[w.Questions[0]], c.Name)
	}
	var table bytes.Buffer
	require.NoError(t, r.table(&table))
	require.Contains(t, table.String(), "varve against the best peer")
}
