package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// duckdb is DuckDB on Parquet. It is a library, so a process of Python holds it: batches are inserted into a table of its own,
// one transaction each, and when the store settles the table becomes a Parquet file a month, sorted by tag and time, and goes.
// Questions are of the files.
type duckdb struct {
	python  string
	version string
	dir     string
	server  *daemon
	link    *duckLink
	months  []parquetMonth
	inside  []*insideTimes
}

// parquetMonth is one file, and the month whose samples it has.
type parquetMonth struct {
	file     string
	from, to int64
}

// insideTimes are those of a question's warm runs until its columns stood in DuckDB's own process, in milliseconds.
type insideTimes struct {
	question string
	ms       []float64
}

// duckdbServe is the program that holds the library.
//
//go:embed duckdb/serve.py
var duckdbServe string

// newDuckDB takes the Python of make bin/duckdb, or the machine's if that has the library.
func newDuckDB() (contestant, string) {
	pythons := []string{"python3"}
	if root, err := moduleRoot(); err == nil {
		pythons = []string{filepath.Join(root, "bin", "duckdb", "bin", "python3"), "python3"}
	}
	for _, python := range pythons {
		version, err := exec.Command(python, "-c", "import duckdb, pyarrow; print(duckdb.__version__)").Output()
		if err == nil {
			return &duckdb{python: python, version: strings.TrimSpace(string(version))}, ""
		}
	}
	return nil, "duckdb: not measured: no python3 with the modules duckdb and pyarrow; make bin/duckdb installs them there, on Debian after apt-get install python3-venv"
}

func (k *duckdb) describe() description {
	return description{
		Name: "duckdb", Version: k.version, exact: true, several: true, syncs: true,
		Durable: "yes: fsync at commit, a batch each", Through: "Arrow, inserted into a table; Arrow",
		Bytes: "Parquet files (zstd, one a month, by tag and time); their table is gone",
	}
}

func (k *duckdb) start(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "parquet"), 0o700); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	k.dir = dir
	p := exec.Command(k.python, "-c", duckdbServe, strconv.Itoa(port), filepath.Join(dir, "table.duckdb"))
	endWithUs(p)
	if k.server, err = startDaemon(p); err != nil {
		return err
	}
	if err := k.server.await(ctx, func() (err error) { k.link, err = dialDuckDB(ctx, port); return err }); err != nil {
		return err
	}
	for _, sql := range []string{
		"SET GLOBAL autoinstall_known_extensions = false",
		"SET GLOBAL memory_limit = '4GB'", // what a sort needs beyond it goes to disk
		"SET GLOBAL checkpoint_threshold = '1GB'",
		"SET GLOBAL parquet_metadata_cache = true",
		"CREATE TABLE s (tag INTEGER NOT NULL, ts BIGINT NOT NULL, v DOUBLE NOT NULL)",
	} {
		if err := k.link.run(sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func (k *duckdb) load(ctx context.Context, d *dataset) (*loadFigures, error) {
	return loadWriters(ctx, d, func(ctx context.Context) (writer, error) {
		link, err := dialDuckDB(ctx, k.link.port)
		if err != nil {
			return nil, err
		}
		return newBatchWriter(link), nil
	})
}

// settle writes the Parquet files, and syncs them, which DuckDB does not, before the table goes.
func (k *duckdb) settle(context.Context) error {
	var starts []int64
	const months = "SELECT DISTINCT epoch_ms(date_trunc('month', epoch_ms(ts))) AS start FROM s ORDER BY start"
	if _, err := k.link.ask(months, nil, func(r arrow.Record) error {
		c, err := column[*array.Int64](r, "start")
		if err == nil {
			starts = append(starts, c.Int64Values()...)
		}
		return err
	}); err != nil {
		return fmt.Errorf("%s: %w", months, err)
	}
	for _, start := range starts {
		at := time.UnixMilli(start).UTC()
		m := parquetMonth{filepath.Join(k.dir, "parquet", at.Format("2006-01.parquet")), start, at.AddDate(0, 1, 0).UnixMilli()}
		sql := fmt.Sprintf("COPY (FROM s WHERE ts >= %d AND ts < %d ORDER BY tag, ts) TO %s (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)", m.from, m.to, quoted(m.file))
		if err := k.link.run(sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		if err := syncFile(m.file); err != nil {
			return err
		}
		k.months = append(k.months, m)
	}
	if err := syncFile(filepath.Join(k.dir, "parquet")); err != nil {
		return err
	}
	return errors.Join(k.link.run("DROP TABLE s"), k.link.run("CHECKPOINT"))
}

// syncFile makes a file or directory that another process wrote last through a power cut.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func (k *duckdb) stored() (uint64, error) {
	return directoryBytes(filepath.Join(k.dir, "parquet"), nil)
}

func (k *duckdb) usage() (usage, error) { return usageOf(k.server.process.Process.Pid) }

func (k *duckdb) stop() error {
	if k.link != nil {
		k.link.close()
	}
	return k.server.stop(syscall.SIGTERM)
}

// ask orders raw samples: what the files' order becomes under a list of tags depends on which thread is done first.
func (k *duckdb) ask(_ context.Context, q *question) (answer, error) {
	from, to := q.from, q.to
	if q.kind == minuteAreas { // with the samples on both sides
		from, to = from-60_000, to+60_000
	}
	if q.kind == latestSamples {
		from = max(from, q.to-q.lookback.Milliseconds())
	}
	var files []string
	for _, m := range k.months {
		if m.from < to && m.to > from {
			files = append(files, quoted(m.file))
		}
	}
	got := answer{}
	if len(files) == 0 {
		return got, nil
	}
	where := fmt.Sprintf(" FROM read_parquet([%s]) WHERE ts >= %d AND ts < %d", strings.Join(files, ","), from, to)
	if len(q.tags) <= 100 { // else all there are
		where += " AND tag IN (" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(q.tags)), ","), "[]") + ")"
	}
	var sql string
	rows := duckRowsOf
	switch q.kind {
	case rawSamples:
		sql = "SELECT tag, ts, v" + where + " ORDER BY tag, ts"
	case minuteAverages:
		sql = "SELECT tag, ts // 60000 * 60000 AS ts, avg(v) AS v" + where + " GROUP BY ALL ORDER BY ALL"
	case minuteShapes:
		sql = "SELECT tag, ts // 60000 * 60000 AS ts, avg(v) AS average, min(v) AS least, max(v) AS greatest, 100.0 * count(v) / count(*) AS good" +
			where + " GROUP BY ALL ORDER BY ALL"
		rows = duckShapesOf
	case minuteAreas:
		sql = fmt.Sprintf(areasSQL, where, q.from, q.to)
		rows = duckShapesOf
	default:
		sql = "SELECT tag, max(ts) AS ts, arg_max(v, ts) AS v" + where + " GROUP BY tag"
	}
	ms, err := k.link.ask(sql, nil, func(r arrow.Record) error { return rows(r, got) })
	if err != nil || q.checked {
		return got, err
	}
	if last := len(k.inside) - 1; last < 0 || k.inside[last].question != q.name {
		k.inside = append(k.inside, &insideTimes{question: q.name})
	}
	times := k.inside[len(k.inside)-1]
	times.ms = append(times.ms, ms)
	return got, nil
}

// areasSQL is minuteAreas: each sample has the part of its minute up to the next one, and the first of a minute what lies before it.
const areasSQL = `SELECT tag, m AS ts, avg(v) AS average, min(v) AS least, max(v) AS greatest,
	sum((least(t2, m + 60000) - ts) * (2 * v + (v2 - v) * (least(t2, m + 60000) - ts) / (t2 - ts)) / 2
		+ CASE WHEN t0 < m THEN (ts - m) * (2 * v + (v0 - v) * (ts - m) / (ts - t0)) / 2 ELSE 0 END) / 60000 AS area,
	100.0 * count(v) / count(*) AS good
FROM (SELECT tag, ts, v, ts // 60000 * 60000 AS m, lead(ts) OVER w AS t2, lead(v) OVER w AS v2, lag(ts) OVER w AS t0, lag(v) OVER w AS v0%s
	WINDOW w AS (PARTITION BY tag ORDER BY ts)) WHERE m >= %d AND m < %d GROUP BY ALL ORDER BY ALL`

// remark says what a program that holds the library itself would wait.
func (k *duckdb) remark() string {
	var b strings.Builder
	b.WriteString("duckdb: in its own process, where a library is used, the columns stood after")
	for i, q := range k.inside {
		slices.Sort(q.ms)
		name, _, _ := strings.Cut(q.question, " ")
		fmt.Fprintf(&b, "%s %.2f ms (%s)", strings.Repeat(",", min(i, 1)), q.ms[len(q.ms)/2], name)
	}
	return b.String()
}

// duckRowsOf appends the rows of a record batch to the series of their tags.
func duckRowsOf(r arrow.Record, into answer) error {
	tags, err := column[*array.Int32](r, "tag")
	if err != nil {
		return err
	}
	times, err := column[*array.Int64](r, "ts")
	if err != nil {
		return err
	}
	values, err := column[*array.Float64](r, "v")
	if err != nil {
		return err
	}
	if tags.NullN()+times.NullN()+values.NullN() > 0 {
		return errors.New("a row without tag, time or value")
	}
	last, s := -1, (*series)(nil)
	for row := range int(r.NumRows()) {
		if tag := int(tags.Value(row)); tag != last {
			last, s = tag, into.of(tag)
		}
		s.add(times.Value(row), values.Value(row))
	}
	return nil
}

// duckShapesOf appends the columns behind the time, one behind the other, to the series of their tags.
func duckShapesOf(r arrow.Record, into answer) error {
	tags, err := column[*array.Int32](r, "tag")
	if err != nil {
		return err
	}
	times, err := column[*array.Int64](r, "ts")
	if err != nil {
		return err
	}
	var values []*array.Float64
	for _, f := range r.Schema().Fields()[2:] {
		v, err := column[*array.Float64](r, f.Name)
		if err != nil {
			return err
		}
		if v.NullN() > 0 {
			return fmt.Errorf("a minute without %s", f.Name)
		}
		values = append(values, v)
	}
	last, s := -1, (*series)(nil)
	for row := range int(r.NumRows()) {
		if tag := int(tags.Value(row)); tag != last {
			last, s = tag, into.of(tag)
		}
		for _, v := range values {
			s.add(times.Value(row), v.Value(row))
		}
	}
	return nil
}

// duckLink is one connection to duckdb/serve.py, which says how it speaks.
type duckLink struct {
	port   int
	conn   net.Conn
	in     *bufio.Reader
	memory columnMemory
}

func dialDuckDB(ctx context.Context, port int) (*duckLink, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	return &duckLink{port: port, conn: conn, in: bufio.NewReaderSize(conn, 256<<10)}, nil
}

func (l *duckLink) close() error { return l.conn.Close() }

// run executes a statement for its effect.
func (l *duckLink) run(sql string) error {
	_, err := l.ask(sql, nil, func(arrow.Record) error { return nil })
	return err
}

// duckHead is the first line of a request and, with the other two fields, of an answer.
type duckHead struct {
	SQL   string  `json:"sql,omitempty"`
	Bytes int     `json:"bytes"` // of the Arrow stream behind it
	Error string  `json:"error,omitempty"`
	MS    float64 `json:"ms,omitempty"`
}

// ask executes a statement, which sees the Arrow stream batch, if there is one, as a table of that name, and shows visit what
// it selects. It returns the milliseconds until that stood as columns in the other process.
func (l *duckLink) ask(sql string, batch []byte, visit visitor) (ms float64, err error) {
	line, err := json.Marshal(duckHead{SQL: sql, Bytes: len(batch)})
	if err != nil {
		return 0, err
	}
	all := net.Buffers{append(line, '\n'), batch}
	if _, err := all.WriteTo(l.conn); err != nil {
		return 0, fmt.Errorf("write to DuckDB: %w", err)
	}
	if line, err = l.in.ReadBytes('\n'); err != nil {
		return 0, fmt.Errorf("read from DuckDB: %w", err)
	}
	var head duckHead
	if err := json.Unmarshal(line, &head); err != nil {
		return 0, fmt.Errorf("read from DuckDB: %.100q: %w", line, err)
	}
	if head.Error != "" {
		return 0, fmt.Errorf("DuckDB: %s", head.Error)
	}
	r, err := ipc.NewReader(l.in, ipc.WithAllocator(&l.memory))
	if err != nil {
		return 0, fmt.Errorf("read columns from DuckDB: %w", err)
	}
	defer r.Release()
	return head.MS, visitAll(r, visit)
}

// duckSchema is what is inserted.
var duckSchema = arrow.NewSchema([]arrow.Field{
	{Name: "tag", Type: arrow.PrimitiveTypes.Int32}, {Name: "ts", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Float64},
}, nil)

// batchWriter encodes Arrow.
type batchWriter struct {
	link *duckLink
	rows *array.RecordBuilder
	body bytes.Buffer
}

func newBatchWriter(link *duckLink) *batchWriter {
	return &batchWriter{link: link, rows: array.NewRecordBuilder(memory.DefaultAllocator, duckSchema)}
}

func (w *batchWriter) add(tag int, times []int64, values []float64) {
	w.rows.Reserve(len(times))
	tags, milliseconds := w.rows.Field(0).(*array.Int32Builder), w.rows.Field(1).(*array.Int64Builder)
	for _, t := range times {
		tags.UnsafeAppend(int32(tag))
		milliseconds.UnsafeAppend(t / millisecond)
	}
	w.rows.Field(2).(*array.Float64Builder).AppendValues(values, nil)
}

func (w *batchWriter) send(context.Context) (int, error) {
	record := w.rows.NewRecord()
	defer record.Release()
	w.body.Reset()
	out := ipc.NewWriter(&w.body, ipc.WithSchema(duckSchema))
	if err := errors.Join(out.Write(record), out.Close()); err != nil {
		return 0, fmt.Errorf("encode a batch: %w", err)
	}
	_, err := w.link.ask("INSERT INTO s FROM batch", w.body.Bytes(), func(arrow.Record) error { return nil })
	return w.body.Len(), err
}

func (w *batchWriter) close() error {
	w.rows.Release()
	return w.link.close()
}
