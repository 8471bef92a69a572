//go:build cgo

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/duckdb/duckdb-go/mapping"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/server/hint"
)

// The tables of tests: samples of five tags, each every 250 µs and some 500 ns, and their catalogue.

const (
	testStart = 1767225600_000000000 // 2026-01-01T00:00:00Z
	testStep  = 250_500
	testRows  = 400 // of each tag
)

var testTags = []string{"alpha", "beta", "gamma", "delta", "plant/pump 1"}

var testUnits = []string{"degC", "bar", "degC", "bar", "rpm"}

func testTables() []*Table {
	return []*Table{
		{
			rewrite.Table{
				Name: "samples", Columns: []string{"time", "tag", "value", "quality", "severity", "time_ns", "tag_id", "value_text"},
				Roles: []hint.Role{hint.Time, hint.Tag, 0, hint.Quality, hint.Severity, hint.TimeNS, hint.TagID, 0},
			},
			[]Type{TimestampTZ, Varchar, Double, BigInt, Varchar, BigInt, BigInt, Varchar},
			false,
		},
		{
			rewrite.Table{Name: "tags", Columns: []string{"tag_id", "name", "unit"}, Roles: []hint.Role{hint.TagID, hint.Tag, 0}, Small: true},
			[]Type{BigInt, Varchar, Varchar},
			false,
		},
		{
			rewrite.Table{Name: "echo", Columns: []string{"name", "value"}, Roles: []hint.Role{0, 0}, Arguments: map[string]string{"tags": "", "start": "TIMESTAMP WITH TIME ZONE", "pixels": "BIGINT"}},
			[]Type{Varchar, Varchar},
			false,
		},
		{
			rewrite.Table{
				Name: rewrite.Partials, Internal: true,
				Columns: []string{
					"time", "tag", "severity", "time_ns", "tag_id", "partial count", "partial valued", "partial min", "partial max", "partial sum", "partial first", "partial last",
					"partial earliest", "partial latest", "partial first time", "partial last time", "partial latest time",
				},
				Roles: append([]hint.Role{hint.Time, hint.Tag, hint.Severity, hint.TimeNS, hint.TagID}, make([]hint.Role, 12)...),
			},
			append([]Type{TimestampTZ, Varchar, Varchar, BigInt, BigInt, BigInt, BigInt}, Double, Double, Double, Double, Double, Double, Double, TimestampTZ, TimestampTZ, TimestampTZ),
			false,
		},
		{rewrite.Table{Name: "spread", Arguments: map[string]string{"tags": ""}}, nil, true},
	}
}

// testScanner scans the tables of tests, by the letter of the hints or without them.
type testScanner struct {
	ignore bool
	encode bool // runs
	mu     sync.Mutex
	asked  []Hints // of scans of samples
	rows   int     // of samples scanned
	err    error   // after the first batch of samples
}

type testRow struct {
	ns      int64
	tag     int
	quality int64
}

func (r testRow) value() (float64, bool) {
	return float64(r.ns%1000_000)/1000 + float64(r.tag), r.quality < 1<<31
}

// firstOf leaves out rows of the last tag that hints do not want. No two of them are in one microsecond.
func (h Hints) firstOf(rows []testRow, tag int) []testRow {
	from := slices.IndexFunc(rows, func(r testRow) bool { return r.tag == tag })
	if h.Few.Rows == 0 || from < 0 {
		return rows
	}
	of := slices.Clone(rows[from:])
	if h.Few.Newest {
		slices.Reverse(of)
	}
	n := h.Few.Rows
	for i, r := range of {
		if _, valued := r.value(); n == 0 {
			of = of[:i]
			break
		} else if valued || !h.Few.Valued {
			n--
		}
	}
	return append(rows[:from], of...)
}

func (s *testScanner) Scan(_ context.Context, table string, columns []int, h Hints) (ipc.MessageReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofSamples := table == "samples" || table == rewrite.Partials // of one sample each
	if ofSamples {
		s.asked = append(s.asked, h)
	}
	if table == "echo" || table == "spread" {
		return echo(table, columns, h)
	}
	if s.ignore {
		h = Hints{}
	}
	var rows []testRow
	for tag := range testTags {
		if h.Nothing || h.Names != nil && !slices.Contains(h.Names.Names, testTags[tag]) || h.IDs != nil && !slices.Contains(h.IDs.IDs, uint32(tag+1)) {
			continue
		}
		n := testRows
		if table == "tags" {
			n = 1
		}
		for i := range n {
			r := testRow{ns: testStart + int64(i)*testStep, tag: tag, quality: []int64{0, 0, 1 << 30, 0, 0x80310000}[i%5]}
			severity := uint8(1) << min(r.quality>>30, 2)
			if ofSamples && (h.Start != nil && r.ns < *h.Start || h.End != nil && r.ns >= *h.End || h.Severities != 0 && h.Severities&severity == 0) {
				continue
			}
			rows = append(rows, r)
		}
		rows = h.firstOf(rows, tag)
	}
	if ofSamples {
		s.rows += len(rows)
	}
	var t *Table
	for _, x := range testTables() {
		if x.Name == table {
			t = x
		}
	}
	var fields []arrow.Field
	for _, c := range columns {
		typ := map[Type]arrow.DataType{
			BigInt: arrow.PrimitiveTypes.Int64, Double: arrow.PrimitiveTypes.Float64, Varchar: arrow.BinaryTypes.String,
			TimestampTZ: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"},
		}[t.Types[c]]
		if s.encode && typ == arrow.BinaryTypes.String && t.Columns[c] != "value_text" {
			typ = arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String)
		}
		fields = append(fields, arrow.Field{Name: t.Columns[c], Type: typ, Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	for from := 0; from < len(rows); from += 700 {
		part := rows[from:min(from+700, len(rows))]
		var arrays []arrow.Array
		for i, c := range columns {
			arrays = append(arrays, testColumn(fields[i].Type, t.Columns[c], part))
		}
		if err := w.Write(array.NewRecord(schema, arrays, int64(len(part)))); err != nil {
			return nil, err
		}
		if s.err != nil && ofSamples {
			return ipc.NewMessageReader(io.MultiReader(&out, failing{s.err})), nil
		}
	}
	return ipc.NewMessageReader(&out), w.Close()
}

// Columns is part of Scanner: a column for each of the tags of the argument.
func (s *testScanner) Columns(_ context.Context, _ string, h Hints) (*Table, error) {
	var tags []string
	if err := json.Unmarshal([]byte(h.Arguments["tags"]), &tags); err != nil {
		return nil, err
	}
	return &Table{rewrite.Table{Name: "spread", Columns: tags, Roles: make([]hint.Role, len(tags)), Arguments: map[string]string{}}, slices.Repeat([]Type{BigInt}, len(tags)), true}, nil
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// echo answers with the arguments of a function, or with a row of the places of columns.
func echo(table string, columns []int, h Hints) (ipc.MessageReader, error) {
	var fields []arrow.Field
	var arrays []arrow.Array
	names := slices.Sorted(maps.Keys(h.Arguments))
	for _, c := range columns {
		if table == "spread" {
			b := array.NewInt64Builder(memory.DefaultAllocator)
			b.Append(int64(c))
			fields, arrays = append(fields, arrow.Field{Type: arrow.PrimitiveTypes.Int64}), append(arrays, b.NewArray())
			continue
		}
		b := array.NewStringBuilder(memory.DefaultAllocator)
		for _, n := range names {
			b.Append([]string{n, h.Arguments[n]}[c])
		}
		if h.IDs != nil {
			b.Append([]string{"ids", fmt.Sprint(h.IDs.IDs)}[c])
		}
		fields, arrays = append(fields, arrow.Field{Type: arrow.BinaryTypes.String}), append(arrays, b.NewArray())
	}
	schema := arrow.NewSchema(fields, nil)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecord(schema, arrays, int64(arrays[0].Len()))); err != nil {
		return nil, err
	}
	return ipc.NewMessageReader(&out), w.Close()
}

func testColumn(typ arrow.DataType, name string, rows []testRow) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, typ)
	for _, r := range rows {
		var x any
		switch name {
		case "partial count":
			x = int64(1)
		case "partial valued":
			if x = int64(0); r.quality < 1<<31 {
				x = int64(1)
			}
		case "time", "partial first time", "partial last time", "partial latest time":
			x = arrow.Timestamp(r.ns / 1000 * 1000)
		case "tag", "name":
			x = testTags[r.tag]
		case "unit":
			x = testUnits[r.tag]
		case "value", "partial min", "partial max", "partial sum", "partial first", "partial last", "partial earliest", "partial latest":
			if v, ok := r.value(); ok {
				x = v
			}
		case "quality":
			x = r.quality
		case "severity":
			x = []string{"Good", "Uncertain", "Bad"}[min(r.quality>>30, 2)]
		case "time_ns":
			x = r.ns
		case "tag_id":
			x = int64(r.tag + 1)
		}
		switch b := b.(type) {
		case *array.RunEndEncodedBuilder:
			b.Append(1)
			b.ValueBuilder().(*array.StringBuilder).Append(x.(string))
		case *array.TimestampBuilder:
			b.Append(x.(arrow.Timestamp))
		case *array.StringBuilder:
			if x == nil {
				b.AppendNull()
			} else {
				b.Append(x.(string))
			}
		case *array.Float64Builder:
			if x == nil {
				b.AppendNull()
			} else {
				b.Append(x.(float64))
			}
		case *array.Int64Builder:
			b.Append(x.(int64))
		}
	}
	return b.NewArray()
}

func openTest(t testing.TB) *Database {
	t.Helper()
	return openWith(t, testTables())
}

func openWith(t testing.TB, tables []*Table) *Database {
	t.Helper()
	d, err := Open(Options{MemoryBytes: 256 << 20, Threads: 2, TempDir: t.TempDir(), TempBytes: 64 << 20}, tables)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// TestTemporarySpaceIsBounded: what statements write beside memory is at most what they may, and one that needs more says so.
func TestTemporarySpaceIsBounded(t *testing.T) {
	const most = 32 << 20
	o := Options{MemoryBytes: 64 << 20, Threads: 1, TempDir: t.TempDir(), TempBytes: most}
	d, err := Open(o, testTables())
	require.NoError(t, err)
	defer d.Close()
	over := make(chan struct{})
	seen := make(chan int64)
	go func() {
		var peak int64
		for {
			peak = max(peak, bytesIn(o.TempDir))
			select {
			case <-over:
				seen <- peak
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	_, err = answer(d, &testScanner{}, "select max(n) from (select row_number() over (order by hash(range), range) as n from range(20000000))")
	close(over)
	peak := <-seen
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "max_temp_directory_size")
	require.Positive(t, peak)
	require.LessOrEqual(t, peak, int64(most+1<<20)) // a file that was shortened may end behind what counts
}

// bytesIn is the sum of the sizes of the files of a directory.
func bytesIn(dir string) (sum int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if i, err := e.Info(); err == nil {
			sum += i.Size()
		}
	}
	return sum
}

// TestAStatementLeavesNothingToTheNext: whoever asks may be gone when the last rows are on their way, and what then ends the statement must
// not meet the next one in its session.
func TestAStatementLeavesNothingToTheNext(t *testing.T) {
	d := openTest(t)
	for range 300 {
		ctx, cancel := context.WithCancel(context.Background())
		w := NewWriter(io.Discard, func() error {
			go cancel()
			return nil
		})
		_ = d.Execute(ctx, &testScanner{}, "select 1", nil, w)
		cancel()
		rows, err := answer(d, &testScanner{}, "select 2")
		require.NoError(t, err)
		require.Equal(t, []string{"2"}, rows)
	}
}

// answer is the rows of a statement as text, sorted.
func answer(d *Database, s Scanner, sql string, values ...Value) ([]string, error) {
	return answerWithin(context.Background(), d, s, sql, values...)
}

func answerWithin(ctx context.Context, d *Database, s Scanner, sql string, values ...Value) ([]string, error) {
	var out bytes.Buffer
	w := NewWriter(&out, func() error { return nil })
	w.MaxBytes = 64 << 20
	if err := d.Execute(ctx, s, sql, values, w); err != nil {
		return nil, err
	}
	r, err := ipc.NewReader(&out)
	if err != nil {
		return nil, err
	}
	var rows []string
	for r.Next() {
		for i := range int(r.Record().NumRows()) {
			var cells []string
			for _, c := range r.Record().Columns() {
				cells = append(cells, c.ValueStr(i))
			}
			rows = append(rows, strings.Join(cells, "|"))
		}
	}
	slices.Sort(rows)
	return rows, r.Err()
}

func TestStatements(t *testing.T) {
	d := openTest(t)
	for _, x := range []struct {
		sql  string
		rows string
	}{
		{"select 1 as a, 'x' as b", "1|x"},
		{"select count(*) from samples", "2000"},
		{"select count(*), min(time_ns), max(tag) from samples where tag = 'beta'", "400|1767225600000000000|beta"},
		{"select tag, count(value) from samples group by tag order by tag", "alpha|320,beta|320,delta|320,gamma|320,plant/pump 1|320"},
		{"select t.name from tags t where t.unit = 'rpm'", "plant/pump 1"},
		{"select time, time_ns from samples where tag_id = 1 limit 1", "2026-01-01 00:00:00Z|1767225600000000000"},
		{"select sum(tag_id) from samples", "6000"},
		{"select [1, null, 3], {'a': 1, 'b': 'x'}, 1.50::decimal(10,2), date '2026-01-02', true", `[1,null,3]|{"a":1,"b":"x"}|1.5|2026-01-02|true`},
		{"select null, interval 1 day, uuid '11111111-2222-3333-4444-555555555555'", "(null)|{\"months\":0,\"days\":1,\"nanoseconds\":0}|11111111-2222-3333-4444-555555555555"},
		{"with samples as (select 7 as x) select x from samples", "7"},
		{"select date_bin(interval '15 minutes', timestamptz '2026-01-01 00:29:59.5Z', timestamp '2026-01-01 00:05:00'), date_bin(interval '900 second', timestamptz '1969-12-31 23:59:59Z', timestamp '1970-01-01T00:00:00Z')",
			"2026-01-01 00:20:00Z|1969-12-31 23:45:00Z"},
		{"select date_bin(interval '900 second', time, timestamp '1970-01-01T00:00:00Z') as t, count(*) from samples group by t order by t limit 1", "2026-01-01 00:00:00Z|2000"},
		{"select samples.tag_id, main.samples.tag_id, varve.main.samples.tag_id from varve.main.samples limit 1", "1|1|1"},
	} {
		for _, encode := range []bool{false, true} {
			rows, err := answer(d, &testScanner{encode: encode}, x.sql)
			require.NoError(t, err, x.sql)
			require.Equal(t, x.rows, strings.Join(rows, ","), x.sql)
		}
	}
}

// Every statement answers the same whether its scans are narrowed or not, and those that say so are narrowed to few rows.
func TestHintsChangeNoAnswer(t *testing.T) {
	d := openTest(t)
	for _, x := range []struct {
		sql    string
		values []Value
		most   int // rows of samples read; -1: not looked at
	}{
		{sql: "select * from samples where tag = 'alpha'", most: 400},
		{sql: "select * from samples where tag = 'alpha' and time >= '2026-01-01 00:00:00.09'", most: 41},
		{sql: "select * from samples where time = timestamptz '2026-01-01 00:00:00.000250+00'", most: 5},
		{sql: "select * from samples where time > '2026-01-01 00:00:00.000250+00' and time < '2026-01-01 00:00:00.000751+00' and tag_id = 2", most: 1},
		{sql: "select * from samples where time <= '2026-01-01 00:00:00.000250+00' and tag_id in (2, 3)", most: 4},
		{sql: "select * from samples where '2026-01-01 00:00:00.000250+00' >= time", most: 10},
		{sql: "select * from samples where time between $1 and $2 and tag = $3", values: []Value{Instant(testStart + testStep), Instant(testStart + 2*testStep), "beta"}, most: 2},
		{sql: "select * from samples where tag in (?, ?)", values: []Value{"beta", nil}, most: 400},
		{sql: "select * from samples where tag = ?", values: []Value{nil}, most: 0},
		{sql: "select * from samples where time_ns = 1767225600000250500", most: 5},
		{sql: "select * from samples where time_ns > 1767225600000250500.5 and tag_id = 1", most: 400},
		{sql: "select * from samples where severity = 'Good' and quality = 0 and tag = 'beta'", most: 240},
		{sql: "select * from samples where quality >= 1073741824", most: 800},
		{sql: "select * from samples where severity in ('Bad', 'Uncertain') and quality < 1073741825", most: 400},
		{sql: "select * from samples where severity = 'Good' and quality > 2147483648", most: 0},
		// The first rows of each tag.
		{sql: "select * from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 5},
		{sql: "select tag, value * 2 as v, time from samples where severity = 'Good' and tag like '%a' and time < $1 window w as (partition by tag_id, tag order by tag, time_ns, value) qualify 3 >= rank() over w", values: []Value{Instant(testStart + 200*testStep)}, most: -1},
		{sql: "select time, row_number() over (partition by tag order by time) as place, value from samples where time >= '2026-01-01 00:00:00.09' and value is not null qualify place < 3 and value > 2 order by place, value limit 6", most: 20},
		{sql: "select s.* from (select *, row_number() over (partition by samples.tag order by samples.time desc) as place from samples) s where s.place <= 2 and value > 1", most: 10},
		{sql: "with r as (select tag, time, rank() over (partition by tag order by time) n from samples where severity = 'Bad') select r.tag, t.unit, n from r join tags t on t.name = r.tag where n = 1", most: 400},
		{sql: "with r as (select tag, time, rank() over (partition by tag order by time) n from samples where severity = 'Bad') select * from r where 4 = n", most: 20},
		{sql: "select distinct on (tag) tag, value from samples where tag like '%a' and value is not null order by tag, time desc", most: 10},
		{sql: "select distinct on (tag_id) * from samples order by tag_id, time_ns limit 3", most: 5},
		{sql: "select * exclude (quality) from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 5},
		// The first rows of all.
		{sql: "select * from samples order by time desc, tag limit 10", most: 50},
		{sql: "select tag, value * 2 as v from samples where severity = 'Good' and tag = 'beta' order by samples.time_ns limit 3 offset 4", most: 7},
		{sql: "select * from (select time, tag, value from samples where value is not null order by time desc, tag_id limit 20) where tag = 'beta' order by value", most: 200},
		{sql: "with n as (select * from samples order by time desc, tag limit 4) select n.*, t.unit from n join tags t on t.name = n.tag", most: 20},
		{sql: "(select tag, time from samples order by time, tag limit 2) union all (select tag, time from samples order by time desc, tag limit 2)", most: 20},
		{sql: "select time as ts, tag, value from samples where tag like '%a' order by ts desc, tag limit 3", most: 15},
		{sql: "select tag, time_ns, value from samples order by 2, 1 limit 3", most: 15},
		{sql: "select time, tag, value as time from samples order by 1, 2 limit 3", most: -1},
		{sql: "select tag as time, time as tag from samples order by tag, time limit 3", most: -1},
		{sql: "select value as time, time as tag, tag as x from samples order by time desc, tag, x limit 3", most: 2000},
		{sql: "select time as v, value as v, tag from samples order by 1, 3 limit 3", most: -1},
		{sql: "select *, time as v from samples order by 1, 2 limit 3", most: -1},
		{sql: "select value, tag from samples order by 1, time, 2 limit 3", most: 2000},
		{sql: "select * from samples order by time desc, tag limit 0", most: -1},
		{sql: "select * from samples order by time desc, tag limit $1", values: []Value{int64(3)}, most: 2000},
		{sql: "select * from samples order by time desc, tag limit null", most: 2000},
		{sql: "select * from samples order by time desc, tag limit 1%", most: 2000},
		{sql: "select * from samples order by value desc, time, tag limit 10", most: 2000},
		{sql: "select * from samples order by -time_ns, tag limit 10", most: 2000},
		{sql: "select distinct severity, time from samples order by time desc, severity limit 10", most: 2000},
		{sql: "select value as time, tag from samples order by time, tag limit 10", most: -1},
		{sql: "select time, count(*) over () from samples order by time, tag limit 10", most: 2000},
		{sql: "select time, count(*) from samples group by time order by time limit 10", most: -1},
		{sql: "select time, unnest([1, 2]) as n from samples order by time, tag, n limit 10", most: 2000},
		{sql: "select * from samples where value > 150 order by time, tag limit 10", most: 2000},
		{sql: "select * from samples where value is not null qualify row_number() over (partition by tag order by value, time) > 3 order by time, tag limit 10", most: 2000},
		{sql: "select s.tag, t.unit from samples s join tags t on s.tag = t.name where t.unit <> 'bar' order by s.time desc, s.tag limit 10", most: 2000},
		{sql: "select * from (select * from samples) s order by s.time desc, tag limit 10", most: 2000},
		// Where what is left out could matter, all is read.
		{sql: "select distinct on (tag) * replace (epoch_ns(time) % 7 as time_ns) from samples order by tag, time_ns, time", most: 2000},
		{sql: "select distinct on (tag) * rename (value as time, time as value) from samples order by tag, time desc, value", most: 2000},
		{sql: "select * replace (-time_ns as time_ns) from samples qualify row_number() over (partition by tag order by time_ns, time) = 1", most: 2000},
		{sql: "select distinct on (tag) tag, columns('ti.*') from samples order by tag, time desc", most: -1},
		{sql: "select tag, time, columns(c -> c like 'va%') from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		{sql: "select *, max(columns(* exclude (tag))) over (partition by tag) from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		{sql: "select * from samples where value > 150 qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		// The greatest or least time of a tag, which partials of all 2,000 tell.
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples group by tag) m on s.tag = m.tag and s.time = m.t", most: 2010},
		{sql: "select s.tag, value from (select tag_id as tag, min(time_ns) as t, count(*) from samples where tag_id < 4 and tag like '%a' group by 1) m, samples s where m.t = s.time_ns and s.tag_id = m.tag and value > 1", most: 2010},
		{sql: "select s.tag, value from samples s join (select max(time) as t, s.tag from samples s group by all) m on s.tag = m.tag and s.time = m.t", most: 2010},
		{sql: "with m as (select tag, max(time) t from samples group by tag) select s.tag, s.value, u.unit from samples s join m on m.tag = s.tag join tags u on u.name = s.tag where s.time = m.t and u.unit <> 'rpm'", most: 2010},
		{sql: "select s.tag, s.value from samples s join (select tag, max(time) as time from samples group by tag) m using (tag, time)", most: 2010},
		{sql: "select tag, value from samples where (tag, time) in (select tag, max(time) from samples group by tag)", most: 2010},
		{sql: "select tag, value from samples where (time_ns, tag_id) in (select max(time_ns), tag_id from samples group by tag_id) and tag = 'beta'", most: 2010},
		{sql: "select tag, value from samples s where time = (select max(time) from samples x where x.tag = s.tag)", most: 2010},
		{sql: "select tag, value from samples s where (select min(time_ns) from samples where s.tag_id = tag_id) = time_ns and severity <> 'Bad'", most: 2010},
		{sql: "select tag, time, value, count(*) over () from samples where time = (select max(time) from samples)", most: 2010},
		// That is of other rows: of some of a tag, of other tags, of none.
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples where time < '2026-01-01 00:00:00.05' group by tag) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples where value > 100 group by tag) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) filter (where value > 100) as t from samples group by tag) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, min(time) as t, max(time) u from samples group by tag) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples group by tag order by tag limit 2) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples group by tag, severity) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.tag, s.value from samples s join (select tag, max(time) as t, upper(severity) from samples group by all) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.tag, s.value from samples s join (select tag, max(time) as t from samples group by rollup (tag)) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s left join (select tag, max(time) as t from samples group by tag) m on s.tag = m.tag and s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples group by tag) m on s.time = m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples group by tag) m on s.tag = m.tag and s.time <= m.t", most: -1},
		{sql: "select s.* from samples s join (select tag, max(time) as t from samples group by tag) m on s.tag = m.tag or s.time = m.t", most: -1},
		{sql: "select * from samples s where time = (select max(time) from samples x where x.tag = s.tag and x.severity = 'Bad')", most: -1},
		{sql: "select * from samples s where time = (select max(time) from samples x where x.tag_id + 1 = s.tag_id)", most: -1},
		{sql: "select * from samples s where time = (select max(time) from samples x where x.tag = 'beta')", most: -1},
		{sql: "select * from samples s where time = (select max(time) from samples x where x.tag = x.tag and value < 100)", most: -1},
		{sql: "select * from samples where (tag, time) not in (select tag, max(time) from samples group by tag)", most: -1},
		{sql: "select * from samples where (tag, time) in (select tag, min(time) from samples where time > '2026-01-01 00:00:00.05' group by tag)", most: -1},
		{sql: "select t.name, s.value from tags t left join samples s on s.tag_id = t.tag_id and s.time = (select max(time) from samples)", most: -1},
		{sql: "with samples as (select * from main.samples where value < 100) select * from samples s where time = (select max(time) from samples x where x.tag = s.tag)", most: -1},
		// Lists.
		{sql: "select * from samples where tag = any(['alpha', null, 'nobody'])", most: 400},
		{sql: "select * from samples where tag_id = any(cast(cast($1 as json) as bigint[])) and time >= '2026-01-01'", values: []Value{`["1",null]`}, most: 400},
		{sql: "select * from samples where tag in (select unnest(string_split($1, ',')))", values: []Value{"alpha,x"}, most: 400},
		{sql: "select * from samples where tag = any([]::varchar[])", most: 0},
		{sql: "select * from samples where tag <> all(['alpha'])", most: 2000},
		{sql: "select * from samples where tag = any([severity, 'alpha'])", most: 2000},
		{sql: "select * from samples where tag = any(['alpha', case when random() < 2 then 'beta' end])", most: 2000},
		{sql: "select s.tag, x.a from samples s, (values (['alpha'])) x(a) where s.tag = any(x.a)", most: -1},
		{sql: "select * from samples where tag = 'alpha' or time < '2026-01-01 00:00:00.001' qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		{sql: "select *, count(*) over (partition by tag) from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		{sql: "select *, lag(value) over (partition by tag order by time) from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		{sql: "select *, rank() over (partition by tag order by time) from samples qualify row_number() over (partition by tag order by time desc) = 1", most: 2000},
		{sql: "select * from samples qualify row_number() over (partition by tag order by value desc, time) = 1", most: 2000},
		{sql: "select * from samples qualify row_number() over (partition by tag, severity order by time) = 1", most: 2000},
		{sql: "select * from samples qualify row_number() over (order by time, tag) = 1", most: 2000},
		{sql: "select * from samples qualify row_number() over (partition by tag order by time) > 399", most: 2000},
		{sql: "select * from samples qualify row_number() over (partition by tag order by time) = 1 or value > 150", most: 2000},
		{sql: "select * from samples qualify row_number() over (partition by tag order by time) <> 1 and tag_id = 1", most: 2000},
		{sql: "select tag, -time_ns as time from samples qualify row_number() over (partition by tag order by time) = 1", most: -1},
		{sql: "select tag, 1 as tag_id from samples qualify row_number() over (partition by tag_id order by time_ns) = 1", most: -1},
		{sql: "select * from (select *, row_number() over (partition by tag order by time desc) as place from samples order by time, tag limit 20) where place = 1", most: 2000},
		{sql: "select * from (select distinct on (severity, tag) *, row_number() over (partition by tag order by time) as place from samples order by severity, tag, time desc) where place = 1", most: 2000},
		{sql: "select 2 as place, time from (select tag, time, row_number() over (partition by tag order by time) as place from samples) where place + 1 = 2", most: 2000},
		{sql: "select distinct on (tag) tag, value from samples where value > 150 order by tag, time desc", most: 2000},
		{sql: "select distinct on (tag) tag, value from samples qualify row_number() over (partition by tag order by time desc) > 2 order by tag, time desc", most: 2000},
		{sql: "select distinct on (tag) tag, value from samples order by tag, value, time desc", most: 2000},
		{sql: "select distinct on (tag, severity) tag, severity, value from samples order by tag, severity, time desc", most: 2000},
		{sql: "select distinct on (tag) tag, row_number() over (partition by tag order by time) as n from samples order by tag, time desc", most: 2000},
		{sql: "select max(n) from (select row_number() over (partition by tag order by time) as n from samples)", most: 2000},
		{sql: "select t.name, x.value from tags t, lateral (select value from samples where samples.tag = t.name qualify row_number() over (partition by tag order by time desc) = 1) x", most: -1},
		{sql: "select * from samples where tag = 'alpha' or time < '2026-01-01 00:00:00.001'", most: -1},
		{sql: "select * from samples where not (tag = 'alpha')", most: -1},
		{sql: "select * from samples where tag like 'a%' and tag <> 'x'", most: 400},
		{sql: "select * from samples where upper(tag) = 'GAMMA'", most: 400},
		{sql: "select * from samples where tag like $1", values: []Value{"%a%m%"}, most: 800},
		{sql: "select * from samples where tag_id % 2 = 0", most: 800},
		{sql: "select * from samples where coalesce(tag, 'alpha') = 'alpha'", most: 400},
		{sql: "select s.* from samples s join tags t on s.tag_id = t.tag_id where t.unit = 'rpm'", most: 400},
		{sql: "select s.* from samples s join tags t using (tag_id) where unit = 'rpm'", most: 400},
		{sql: "select s.* from samples s, tags t where s.tag = t.name and t.unit = $1 and s.time < '2026-01-01 00:00:00.000250'", values: []Value{"rpm"}, most: 1},
		{sql: "select * from samples where tag in (select name from tags where unit = 'rpm')", most: 400},
		{sql: "select * from samples where tag_id in (select tag_id from tags where unit = 'bar' and name like 'b%')", most: 400},
		{sql: "select * from samples s where exists (select 1 from tags t where t.tag_id = s.tag_id and t.unit = 'rpm')", most: -1},
		{sql: "with x as (select * from samples where tag = 'beta') select a.time, b.value from x a join x b using (time_ns)", most: 800},
		{sql: "with tags as (select 3 as tag_id, 'gamma' as name) select * from samples where tag in (select name from tags)", most: -1},
		{sql: "select t.name, s.value from tags t left join samples s on s.tag_id = t.tag_id and s.time = '2026-01-01' and s.value > 2", most: 5},
		{sql: "select t.name, s.value from tags t left join samples s on s.tag_id = t.tag_id where t.unit = 'rpm'", most: 400},
		{sql: "select t.name, s.value from tags t left join samples s on s.tag_id = t.tag_id and t.unit = 'rpm' and s.time_ns < 1767225600000000001", most: 5},
		{sql: "select t.name, s.value from tags t left join samples s on s.tag_id = t.tag_id where s.tag = 'beta' or s.tag is null", most: -1},
		{sql: "select t.name, s.value from samples s right join tags t on s.tag_id = t.tag_id and s.tag = 'beta'", most: -1},
		{sql: "select t.name, s.value from samples s full join tags t on s.tag_id = t.tag_id and s.tag = 'beta' where coalesce(s.tag, 'x') = 'x'", most: -1},
		{sql: "select a.time, a.value, b.value from samples a asof join samples b on a.tag_id = b.tag_id and a.time > b.time where a.tag = 'beta' and b.time < '2026-01-01 00:00:00.05'", most: -1},
		{sql: "select a.time, a.value, b.value from samples a asof left join (select * from samples where severity = 'Good') b on a.tag_id = b.tag_id and a.time >= b.time where a.tag = 'beta'", most: -1},
		{sql: "select a.time, a.value, b.value from samples a asof join samples b on a.tag_id = b.tag_id and a.time > b.time where a.tag = 'beta'", most: 800},
		{sql: "select a.time, a.value, b.value from samples a asof left join samples b on a.tag = b.tag and a.time > b.time where a.tag_id in (1, 2)", most: 1600},
		{sql: "select a.time, a.value, b.value from samples a asof join samples b using (tag_id, time) where a.tag = 'beta'", most: 800},
		{sql: "select a.time, a.value, b.value from samples a asof join samples b on a.time > b.time where a.tag = 'beta' and a.time < '2026-01-01 00:00:00.01'", most: -1},
		{sql: "select a.time, b.value from samples a join samples b on a.tag_id = b.tag_id and a.time_ns = b.time_ns where b.tag = 'beta'", most: 800},
		{sql: "select a.time, b.value from samples a left join samples b using (tag_id, time_ns) where a.tag like 'b%'", most: 800},
		{sql: "select a.time, b.value from samples a left join samples b on a.tag_id = b.tag_id and a.time_ns = b.time_ns and b.tag = 'beta'", most: -1},
		{sql: "select s.value from tags t join samples s using (tag_id) join samples z using (tag_id, time_ns) where t.unit = 'rpm'", most: -1},
		{sql: "select * from (select * from samples) s where s.tag = 'beta' and time < '2026-01-01 00:00:00.01'", most: 40},
		{sql: "select * from (select * from (select * from samples where tag_id < 4) x where severity = 'Good') s where tag = 'beta'", most: 240},
		{sql: "select * from (select tag as name, time t, value * 2 as tag from samples) s where name = 'beta' and tag > 100", most: 400},
		{sql: "select * from (select tag as time, time as tag, value from samples) s where time = 'beta'", most: 400},
		{sql: "select * from (select 'beta' as tag, value from samples) s where tag = 'beta'", most: -1},
		{sql: "select * from (select *, 'beta' as tag2 from samples) s where tag2 = 'alpha'", most: -1},
		{sql: "select * from (select * from samples limit 3) s where tag = 'beta'", most: -1},
		{sql: "select * from (select * from samples order by time_ns desc, tag_id limit 3) s where tag = 'beta'", most: -1},
		{sql: "select * from (select tag, count(*) n from samples group by tag) s where tag = 'beta'", most: 400},
		{sql: "select * from (select distinct tag from samples) s where tag = 'beta'", most: 400},
		{sql: "select * from (select tag, row_number() over (order by time_ns, tag_id) n from samples) s where tag = 'beta'", most: -1},
		{sql: "select tag, n from (select tag, count(*) n from samples group by tag order by tag) s where tag = 'beta'", most: 400},
		{sql: "select * from (select max(time) as time from samples) s where time < '2026-01-01 00:00:00.01'", most: -1},
		{sql: "select * from (select * exclude (tag), 'beta' as tag from samples) s where tag = 'beta'", most: -1},
		{sql: "select * from (select * replace (value as time_ns) from samples) s where time_ns = 1", most: -1},
		{sql: "select * from (select * from samples) s(a, tag) where tag = 'beta'", most: -1},
		{sql: "select * from (select a.* from samples a, tags t where a.tag_id = t.tag_id) s where s.tag = 'beta'", most: -1},
		{sql: "select * from (select unnest([1, 2]), tag from samples) s where tag = 'beta'", most: 400},
		{sql: "select s.value, t.unit from (select * from samples) s join (select * from tags) t on s.tag_id = t.tag_id where s.tag = 'beta' and t.unit = 'bar'", most: 400},
		{sql: "select s.value, z.value from (select * from samples) s left join (select tag_id, time_ns, value from samples) z on s.tag_id = z.tag_id and s.time_ns = z.time_ns where s.tag = 'beta'", most: 800},
		{sql: "with s as (select * from samples) select * from s where tag = 'beta' and time < '2026-01-01 00:00:00.01'", most: 40},
		{sql: "with s as (select * from samples) select x.value from s as x where x.tag = $1", values: []Value{"beta"}, most: 400},
		{sql: "with s as (select tag as name, time t, value * 2 as tag from samples) select * from s where name = 'beta' and tag > 100", most: 400},
		{sql: "with s as (select time as tag, tag as time from samples) select * from s where time = 'beta'", most: 400},
		{sql: "with s as materialized (select * from samples where severity = 'Good') select * from s where tag = 'beta'", most: 240},
		{sql: "with a as (select * from samples where severity = 'Good'), b as (select tag, time from a) select * from b where tag = 'beta'", most: 240},
		{sql: "with samples as (select * from samples) select * from samples where tag = 'beta'", most: 400},
		{sql: "with s as (select * from samples) select tag, count(*) from s where tag like 'b%' group by tag", most: 400},
		{sql: "with s as (select * from samples) select s.value, u.unit from s join tags u on s.tag_id = u.tag_id where u.unit = 'rpm'", most: 400},
		{sql: "with s as (select * from samples) select t.name, s.value from tags t left join s on s.tag_id = t.tag_id and s.tag = 'beta'", most: 400},
		{sql: "with s as (select * from samples) select name from tags t where exists (select 1 from s where s.tag_id = t.tag_id and s.tag = 'beta')", most: 400},
		{sql: "with s as (select * from samples) select name from tags t where not exists (select 1 from s where s.tag_id = t.tag_id and s.tag = 'beta')", most: 400},
		{sql: "with s as (select * from samples) select * from (select * from s) x where tag = 'beta'", most: 400},
		{sql: "with s as (select * from samples) select value from s where tag = 'beta' union all select value from tags, s where tag = 'nobody'", most: -1},
		{sql: "with s as (select * from samples) select a.value from s a join s b using (tag_id, time_ns) where a.tag = 'beta'", most: 800},
		{sql: "with s as (select * from samples), n as (select count(*) as n from s) select * from s, n where s.tag = 'beta'", most: -1},
		{sql: "with s as (select * from samples limit 3) select count(*) from s where tag = 'beta' and time is not null", most: -1},
		{sql: "with s as (select tag, count(*) n from samples group by tag) select * from s where tag = 'beta'", most: 400},
		{sql: "with s as (select distinct tag from samples) select * from s where tag = 'beta'", most: 400},
		{sql: "with s as (select tag, time, row_number() over (order by time_ns, tag_id) n from samples) select * from s where tag = 'beta'", most: -1},
		{sql: "with s as (select * from samples union all select * from samples) select * from s where tag = 'beta'", most: -1},
		{sql: "with s(tag, time) as (select time, tag from samples) select * from s where time = 'beta'", most: -1},
		{sql: "with s as (select * from samples) select * from s x(a, tag) where tag = 'beta'", most: -1},
		{sql: "with s as (select * from samples) select * from s tablesample 100 percent where tag = 'beta'", most: -1},
		{sql: "with s as (select * from samples) select * from (with s as (select 'beta' as tag) select * from s where tag = 'alpha') x, s where s.tag = 'beta'", most: -1},
		{sql: "with recursive s as (select 1 as i, 'beta' as tag union all select i + 1, tag from s where i < 3) select count(*) from samples join s using (tag) where tag = 'beta'", most: 400},
		{sql: "with recursive r as (select 0 as i union all select i + 1 from r where i < 2), s as (select * from samples) select r.i, count(*) from r, s where s.tag = 'beta' and r.i < 2 group by r.i", most: 400},
		{sql: "with s as (select * from samples) select * from s positional join tags where s.tag = 'beta'", most: -1},
		{sql: "select * from samples a positional join samples b where a.tag = 'beta' and b.tag = 'gamma'", most: -1},
		{sql: "select * from samples a semi join samples b on a.time_ns = b.time_ns and b.tag = 'beta' where a.tag = 'gamma'", most: -1},
		{sql: "select * from samples a anti join samples b on a.time_ns = b.time_ns and b.tag = 'beta' and b.time < '2026-01-01 00:00:00.05' where a.tag = 'gamma'", most: -1},
		{sql: "select tag, max(value) m from samples where time < '2026-01-01 00:00:00.01' group by tag having max(value) > 10 and tag = 'beta'", most: -1},
		{sql: "select tag, time, lag(value) over (partition by tag order by time) l from samples where tag = 'beta' qualify l > 100", most: 400},
		{sql: "select * from (select tag, time_ns, row_number() over (partition by tag order by time_ns desc) n from samples) where n = 1 and tag = 'beta'", most: 400},
		{sql: "select 'beta' as tag from samples where tag = 'alpha'", most: -1},
		{sql: "select time_ns as tag_id from samples s where s.tag_id = 1", most: 400},
		{sql: "select * from samples as s(a, b, c) where s.b = 'beta'", most: -1},
		{sql: "select * from samples s where tag = (select min(name) from tags)", most: -1},
		{sql: "select (select max(value) from samples x where x.tag = t.name and x.severity = 'Good') from tags t", most: -1},
		{sql: "select t.name, x.v from tags t, lateral (select max(value) v from samples s where s.tag_id = t.tag_id and s.time < '2026-01-01 00:00:00.01') x", most: -1},
		{sql: "select * from samples where tag = 'alpha' union all select * from samples where tag = 'beta'", most: 800},
		{sql: "select * from samples where tag = 'alpha' except select * from samples where severity = 'Good'", most: -1},
		{sql: "with recursive r as (select 1 as i union all select i + 1 from r where i < 3) select r.i, count(*) from r join samples s on s.tag_id = r.i and s.tag = 'beta' group by 1", most: -1},
		{sql: "pivot (select tag, severity, value from samples where tag = 'beta') on severity in ('Good', 'Bad') using count(value)", most: 400},
		{sql: "select * from samples where tag = 'alpha' and random() < 2", most: 400},
		{sql: "select count(*) from samples where random() < 2 and tag || random()::varchar <> 'x'", most: -1},
		{sql: "select * from samples where time < now() and time > now() - interval 100 years and tag = 'beta'", most: 400},
		{sql: "select * from samples where time < current_timestamp and tag = 'beta'", most: 400},
		{sql: "select * from samples where tag = 'alpha' and time >= date '2026-01-01' and time < date '2026-01-01' + interval 1 day", most: 400},
		{sql: "select * from samples where tag = 'alpha' and time < cast($1 as timestamp)", values: []Value{"2026-01-01 00:00:00.01"}, most: 40},
		{sql: "select * from samples where tag = 'nobody'", most: 0},
		{sql: "select count(*) from samples where time < '1600-01-01'", most: 0},
		{sql: "select count(*) from samples where time < '9999-01-01' and time > 'infinity'", most: 0},
		{sql: "select count(*) from samples where time < 'infinity' and time > '-infinity' and tag_id = 1", most: 400},
		{sql: "select * from samples tablesample 100 percent where tag = 'alpha'", most: -1},
		{sql: "select tag, count(*), count(value), min(value), max(value), min(time), max(time), arg_max(value, time), first(value order by time) from samples where tag like 'b%' and time < '2026-01-01 00:00:00.01' group by tag", most: 40},
		{sql: "select date_trunc('hour', time) as time, max(value) from samples where tag_id in (1, 2) and severity = 'Good' group by all having count(*) > 3 order by time", most: 480},
		{sql: "select tag, time_bucket($1::interval, time) as b, count(*) from samples where tag in (select name from tags where unit = 'rpm') group by tag, b", values: []Value{"1 day"}, most: 400},
		{sql: "select u.name, (select count(value) from samples s where s.tag_id = u.tag_id and s.tag = 'beta') as n from tags u", most: 400},
		{sql: "with s as (select tag, min(value) as least from samples where tag = 'beta' group by tag) select * from s", most: 400},
		{sql: "select t.unit, count(*), sum(value) from samples join tags t on t.tag_id = samples.tag_id where t.unit = 'degC' group by t.unit", most: 800},
		{sql: "select t.unit, s.tag, max(s.value) from tags t join samples s using (tag_id) where s.tag = 'beta' and s.time < '2026-01-01 00:00:00.01' and t.unit <> 'rpm' group by all", most: 40},
		{sql: "select t.unit, count(*) from samples s left join tags t on t.tag_id = s.tag_id and t.unit = 'bar' where s.tag = 'beta' and value is not null group by all", most: 400},
		{sql: "select t.unit, count(*) from samples left join tags t on t.tag_id = samples.tag_id and samples.severity = 'Good' where samples.tag = 'beta' group by all", most: 400},
		{sql: "select distinct s.tag as tag from samples s where tag = 'beta'", most: 400},
		{sql: "select * from (select t.unit, s.tag, count(*) n from samples s join tags t using (tag_id) group by all) d where tag = 'beta'", most: 400},
		// Conditions around what groups, or numbers the rows of a tag.
		{sql: "select * from (select tag as t, avg(value) a from samples group by 1) d where t = $1 and a > 0", values: []Value{"beta"}, most: 400},
		{sql: "select * from (select tag t, max(value) from samples group by t) d where d.t in ('beta', 'nobody')", most: 400},
		{sql: "select * from (select tag, date_trunc('hour', time) h, count(*) from samples group by all) d where tag like 'b%' and h >= '2026-01-01'", most: 400},
		{sql: "select * from (select tag, time, max(value) m from samples group by tag, time) d where tag = 'beta' and time < '2026-01-01 00:00:00.01'", most: 40},
		{sql: "select * from (select severity, count(*) n from samples group by severity) d where severity = 'Good'", most: -1},
		{sql: "select * from (select tag, count(*) n from samples group by rollup (tag)) d where tag = 'beta'", most: -1},
		{sql: "select * from (select tag, count(*) n from samples group by grouping sets ((tag), ())) d where tag is null or tag = 'beta'", most: -1},
		{sql: "select * from (select max(tag) as tag, count(*) n from samples group by severity) d where tag = 'gamma'", most: -1},
		{sql: "select * from (select *, lag(value) over (partition by tag order by time_ns) l from samples) d where tag = 'beta' and l > 100", most: 400},
		{sql: "select * from (select *, lag(value) over (partition by tag order by time_ns) l from samples) d where tag = 'beta' and time < '2026-01-01 00:00:00.01'", most: 400},
		{sql: "select * from (select tag, time_ns, sum(value) over (order by time_ns, tag_id) l from samples) d where tag = 'beta'", most: -1},
		{sql: "select * from (select a.tag, count(*) over (partition by b.tag) n from samples a join samples b using (time_ns)) d where tag = 'beta'", most: -1},
		{sql: "select * from (select a.tag, count(*) over (partition by a.tag) n from samples a join samples b using (time_ns)) d where tag = 'beta'", most: -1},
		{sql: "select * from (select tag, time_ns from samples qualify row_number() over (partition by tag order by time_ns) = 3) d where tag = 'beta'", most: 400},
		{sql: "select * from (select tag, time_ns from samples qualify row_number() over (order by time_ns, tag_id) = 3) d where tag = 'beta'", most: -1},
		{sql: "select * from (select distinct on (time_ns) tag, time_ns from samples order by time_ns, tag_id) d where tag = 'beta'", most: -1},
		{sql: "select * from (select tag, count(*) n from samples group by tag having count(*) > 3) d, (select count(*) k from samples) e where tag = 'beta'", most: -1},
		{sql: "select d.n, t.unit from (select tag, count(*) n from samples group by tag) d join tags t on t.name = d.tag where d.tag = 'beta'", most: 400},
		{sql: "select t.name, d.n from tags t left join (select tag, count(*) n from samples group by tag) d on t.name = d.tag where coalesce(d.tag, 'x') = 'x'", most: -1},
		{sql: "select t.name, d.n from tags t left join (select tag, count(*) n from samples group by tag) d on t.name = d.tag where d.tag = 'beta'", most: -1},
		{sql: "select * from (select * from (select tag, count(*) n from samples group by tag) x) y where tag = 'beta'", most: 400},
		{sql: "select * from (select tag, max(n) from (select tag, severity, count(*) n from samples group by all) x group by tag) y where tag = 'beta'", most: 400},
		{sql: "select upper(tag) as tag, n from (select tag, count(*) n from samples group by tag) d where tag = 'beta'", most: -1},
		{sql: "select * from (select tag, count(*) n from samples group by tag) d(a, tag) where a = 'beta' and tag > 1", most: -1},
		{sql: "select * from (select tag, count(*) n from samples group by tag limit 2) d where tag = 'beta' and n < 0", most: -1},
		{sql: "select * from (select tag, random() r from samples) d where tag = 'beta' and r > 2", most: 400},
		{sql: "select (select n from (select tag, count(*) n from samples group by tag) d where d.tag = t.name) from tags t", most: -1},
		{sql: "with d as (select tag, date_trunc('hour', time) h, avg(value) a from samples group by all), e as (select tag, max(a) m from d group by tag) select * from e where tag = 'beta'", most: 400},
		{sql: "with d as (select tag, count(*) n from samples group by tag) select * from d x join d y using (tag) where x.tag = 'beta'", most: -1},
		{sql: "with s as (select tag, time_ns, value from samples where severity = 'Good') select (select max(value) from s where tag = 'beta') - (select max(value) from s where tag = 'gamma')", most: 640},
		{sql: "with s as (select * from samples), t as (select * from s where tag_id < 4) select count(*) from t a, t b where a.tag = 'beta' and b.tag = 'gamma' and a.time_ns = b.time_ns", most: 800},
		{sql: "with s as (select *, random() r from samples) select count(*) from s a join s b using (tag_id, time_ns) where a.r = b.r and a.tag = 'beta'", most: -1},
		{sql: "with s as materialized (select * from samples) select a.value from s a join s b using (tag_id, time_ns) where a.tag = 'beta'", most: -1},
		{sql: "with s(a, b) as (select tag, value from samples) select x.a, b from s x where a = 'beta'", most: -1},
		{sql: "with s(a, b) as (select tag, value from samples) select c, b from s x(c) where c = 'beta'", most: -1},
		{sql: "with s as (select * from samples), samples as (select 'beta' as tag) select * from s where tag = 'beta'", most: -1},
		{sql: "with s as (select * from samples) select * from (with samples as (select 'beta' as tag) select s.tag from s, samples where s.tag = samples.tag) x", most: -1},
		{sql: "with recursive s as materialized (select tag, value from samples where tag = 'beta' order by time_ns limit 1), r as (select 0 i union all select i + 1 from r, s where i < 3) select * from r", most: 400},
	} {
		wide, err := answer(d, &testScanner{ignore: true}, x.sql, x.values...)
		require.NoError(t, err, x.sql)
		narrow := &testScanner{encode: true}
		got, err := answer(d, narrow, x.sql, x.values...)
		require.NoError(t, err, x.sql)
		require.Equal(t, wide, got, x.sql)
		if x.most >= 0 {
			require.LessOrEqual(t, narrow.rows, x.most, "%s: %+v", x.sql, narrow.asked)
		}
	}
}

// chain is n common table expressions, each of the one before.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("a0 as (select 1 as i)")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, ", a%d as (select i from a%d)", i, i-1)
	}
	return b.String()
}

// Common table expressions are put where they are named: names mean what they meant.
func TestCommonTableExpressionsMeanWhatTheySay(t *testing.T) {
	d := openTest(t)
	for _, x := range []struct{ sql, row string }{
		{"with s as (select * from samples), samples as (select 'beta' as tag) select count(*) from s where tag = 'beta'", "400"},
		{"with s as (select * from samples) select count(*) from (with samples as (select 'beta' as tag) select s.tag from s, samples where s.tag = samples.tag) x", "400"},
		{"with s as (select 'beta' as tag), samples as (select * from samples) select count(*) from samples join s using (tag)", "400"},
		{"with s as (select 1 as i) select (with s as (select 2 as i) select i from s) * 10 + i from s", "21"},
		{"with a as (select 1 as i), b as (select i + 1 as i from a), a2 as (select i * 10 as i from b) select i from a2", "20"},
		{"with r as (select random() as r) select count(*) from r x, r y where x.r = y.r", "1"},
		{"with r as (select time_ns, random() as r from samples) select count(*) from r x join r y using (time_ns) where x.r = y.r", "2000"},
		{"with s as (select * from samples where random() < 0.5) select (select count(*) from s) - (select count(*) from s)", "0"},
		{"with s(a, b) as (select tag, value from samples) select count(c) + count(b) - count(s.b) from s as s(c) where c = 'beta'", "400"},
		{"with S as (select tag as \"T\" from samples) select count(s.t) from s where S.T = 'beta'", "400"},
		{"with s as (select tag from samples) select count(*) from s tablesample 0 percent", "0"},
		{"with s as (select * from samples) select count(*) from main.samples, (select 1 as i from s limit 1) x", "2000"},
		{"with " + chain(1000) + " select max(i) from a1000", "1"},
	} {
		rows, err := answer(d, &testScanner{}, x.sql)
		require.NoError(t, err, x.sql)
		require.Equal(t, []string{x.row}, rows, x.sql)
	}
}

func TestRefusedStatements(t *testing.T) {
	d := openTest(t)
	for _, x := range []struct{ sql, says string }{
		{"", "statements at once"},
		{"select 1; select 2", "2 statements"},
		{"create table x(a int)", "only SELECT"},
		{"insert into samples values (1)", "only SELECT"},
		{"set threads = 1", "only SELECT"},
		{"pragma database_list", "only SELECT"},
		{"attach 'x.db'", "only SELECT"},
		{"copy (select 1) to 'x.csv'", "only SELECT"},
		{"install httpfs", "only SELECT"},
		{"load json", "only SELECT"},
		{"explain select 1", "only SELECT"},
		{"call pragma_version()", "only SELECT"},
		{"select * from nothing", "no table nothing"},
		{"select * from 'a.csv'", "no table a.csv"},
		{"select * from read_csv('/etc/passwd')", "no table function read_csv"},
		{"select * from read_text('/etc/passwd')", "no table function read_text"},
		{"select * from sniff_csv('/etc/passwd')", "no table function sniff_csv"},
		{"select * from glob('/*')", "no table function glob"},
		{"select * from duckdb_settings()", "no table function duckdb_settings"},
		{"select * from query('select 1')", "no table function query"},
		{"select * from varve_scan(0)", "no table function varve_scan"},
		{"select * from information_schema.tables", "no table information_schema.tables"},
		{"select * from pg_catalog.pg_class", "no table pg_catalog.pg_class"},
		{"select current_setting('temp_directory')", "current_setting is not offered"},
		{"select getenv('HOME')", "getenv is not offered"},
		{"select * from tags at (timestamp => now())", "table tags has no AT"},
		{"select * from samples at (version => 3)", "samples AT (VERSION => …) is not answered; AT (TIMESTAMP => …) is"},
		{"select * from samples at (timestamp => 'whenever')", "arguments of samples"},
		{"describe samples", "DESCRIBE"},
		{"show tables", "SHOW"},
		{"select 1 where exists (select * from read_blob('/etc/passwd'))", "no table function read_blob"},
		{"with x as (select * from parquet_scan('x')) select 1", "no table function parquet_scan"},
		{"select * from samples, lateral (select * from read_csv(tag)) y", "no table function read_csv"},
		{"select tag from samples order by (select count(*) from glob('*'))", "no table function glob"},
		{"select \x00", "zero byte"},
		{"selec 1", "syntax error"},
		{"select 1e999", "larger than a double holds"},
	} {
		_, err := answer(d, &testScanner{}, x.sql)
		require.ErrorContains(t, err, x.says, x.sql)
	}
	// A refusal leaves nothing behind.
	rows, err := answer(d, &testScanner{}, "select count(*) from samples")
	require.NoError(t, err)
	require.Equal(t, []string{"2000"}, rows)
}

func TestFunctions(t *testing.T) {
	d := openTest(t)
	for _, x := range []struct {
		sql    string
		values []Value
		rows   string
	}{
		{sql: "select * from echo(tags => ['a', 'b'], start => timestamp '2026-01-01', pixels => 1 + 2)", rows: `pixels|3,start|"2026-01-01 00:00:00+00",tags|["a","b"]`},
		{sql: "select * from echo('a', start := timestamptz '2026-01-01 00:00:00.5+01') e where e.name <> 'tags'", rows: `start|"2025-12-31 23:00:00.5+00"`},
		{sql: "select value from echo(tags => $1, pixels => $2)", values: []Value{"x", "7"}, rows: `"x",7`},
		{sql: "select value from echo(tags => (select list(name order by name) from tags where unit = $1))", values: []Value{"bar"}, rows: `["beta","delta"]`},
		{sql: "select value from echo(tags_where => unit = $1 and name like 'b%')", values: []Value{"bar"}, rows: `[2]`},
		{sql: "select b, a from spread(tags => ['a', 'b'])", rows: "1|0"},
		{sql: "with x as (select * from spread(tags => [$1])) select z + 1 from x", values: []Value{"z"}, rows: "1"},
	} {
		rows, err := answer(d, &testScanner{}, x.sql, x.values...)
		require.NoError(t, err, x.sql)
		require.Equal(t, x.rows, strings.Join(rows, ","), x.sql)
	}
	for _, x := range []struct{ sql, says string }{
		{"select * from echo(['a'], other => 1)", "echo has no argument \"other\"; it has pixels, start, tags, tags_where"},
		{"select * from echo(['a'], ['b'])", "no argument"},
		{"select * from echo(['a'], start => 'yesterday')", "yesterday"},
		{"select * from echo(tags_where => nothing = 1)", "tags_where of echo"},
		{"select e.* from tags t, echo(tags => t.name) e", "arguments of echo"},
		{"select * from echo", "no table echo"},
		{"select * from spread(tags => [$1])", "columns of spread"},
	} {
		_, err := answer(d, &testScanner{}, x.sql)
		require.ErrorContains(t, err, x.says, x.sql)
	}
	y, err := d.Describe(context.Background(), &testScanner{}, "select value from echo(tags => $1, start => $2, pixels => $3) where name = $4")
	require.NoError(t, err)
	require.Equal(t, "1: type=utf8, nullable 2: type=timestamp[ns, tz=UTC], nullable 3: type=int64, nullable 4: type=utf8, nullable", strings.Join(describeFields(y.Parameters), " "))
}

func TestErrorsOnTheWayEndTheStatement(t *testing.T) {
	d := openTest(t)
	broken := fmt.Errorf("chunk is damaged")
	_, err := answer(d, &testScanner{err: broken}, "select * from samples")
	require.ErrorIs(t, err, broken)
	_, err = answer(d, &testScanner{err: broken}, "select count(*) from samples")
	require.ErrorIs(t, err, broken)
	// The engine's own, behind rows that went out.
	_, err = answer(d, &testScanner{}, "select case when i = 900000 then error('here') else i end from range(1000000) t(i)")
	require.ErrorContains(t, err, "here")
	_, err = answer(d, &testScanner{}, "select ?", 1, 2)
	require.ErrorContains(t, err, "2 values")
	_, err = answer(d, &testScanner{}, "select $a", "x")
	require.ErrorContains(t, err, "$1")
}

func TestStatementsAreCanceled(t *testing.T) {
	d := openTest(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	over := fmt.Errorf("over")
	rows := 0
	w := NewWriter(io.Discard, func() error {
		if rows++; rows == 2 {
			cancel(over)
		}
		return nil
	})
	require.ErrorIs(t, d.Execute(ctx, &testScanner{}, "select i from range(1000000000) t(i)", nil, w), over)
	// And before the first row, wherever the engine is.
	for _, sql := range []string{
		"select count(*) from range(1000000000) a, range(1000000000) b where a.range + b.range = 7",
		"select i, sum(i) over (order by -i) from range(1000000000) t(i)",
	} {
		ctx, cancel := context.WithTimeoutCause(context.Background(), 300*time.Millisecond, over)
		defer cancel()
		require.ErrorIs(t, d.Execute(ctx, &testScanner{}, sql, nil, NewWriter(io.Discard, func() error { return nil })), over, sql)
	}
	got, err := answer(d, &testScanner{}, "select 1")
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, got)
}

func TestDescribe(t *testing.T) {
	d := openTest(t)
	x, err := d.Describe(context.Background(), &testScanner{}, "select time, tag, value, quality, sum(tag_id) n from samples where tag = $1 and time >= $2 group by all")
	require.NoError(t, err)
	require.Equal(t, "time: type=timestamp[ns, tz=UTC], nullable tag: type=utf8, nullable value: type=float64, nullable quality: type=int64, nullable n: type=decimal(38, 0), nullable",
		strings.Join(describeFields(x.Columns), " "))
	require.Equal(t, "1: type=utf8, nullable 2: type=timestamp[ns, tz=UTC], nullable", strings.Join(describeFields(x.Parameters), " "))
}

func describeFields(s *arrow.Schema) (out []string) {
	for _, f := range s.Fields() {
		out = append(out, f.String())
	}
	return out
}

// Rows of a run have one text, whether it lies in the vector or beside it, wherever vectors are cut.
func TestTextsOfRunsInOneVector(t *testing.T) {
	words := []string{"", "Good", "twelve bytes", "thirteen byte", strings.Repeat("a long text ", 20), "Bad"}
	b := array.NewRunEndEncodedBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String)
	var want []string
	for i := range 200 {
		x, n := words[i%len(words)], 1+i*7%40
		b.Append(uint64(n))
		b.ValueBuilder().(*array.StringBuilder).Append(x)
		want = append(want, slices.Repeat([]string{x}, n)...)
	}
	typ := mapping.CreateLogicalType(mapping.TypeVarchar)
	defer mapping.DestroyLogicalType(&typ)
	s, err := newSource(b.NewArray())
	require.NoError(t, err)
	const most = 1000 // rows of a vector
	for from := 0; from < len(want); from += most / 3 {
		chunk := mapping.CreateDataChunk([]mapping.LogicalType{typ})
		v, n := mapping.DataChunkGetVector(chunk, 0), min(most, len(want)-from)
		require.NoError(t, s.fill(v, from, n))
		for i, x := range unsafe.Slice((*mapping.StringT)(mapping.VectorGetData(v)), n) {
			require.Equal(t, want[from+i], mapping.StringTData(&x))
		}
		mapping.DestroyDataChunk(&chunk)
	}
}

// A text that is not UTF-8 is refused, and not answered as the one before it.
func TestTextsAreUTF8(t *testing.T) {
	d := openTest(t)
	for range 3 {
		_, err := answerWithin(t.Context(), d, &testScanner{}, "select 1 as x")
		require.NoError(t, err)
		_, err = answerWithin(t.Context(), d, &testScanner{}, "select 2 as \xc7")
		require.ErrorIs(t, err, ErrStatement)
		require.ErrorContains(t, err, "UTF-8")
	}
}
