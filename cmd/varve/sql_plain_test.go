package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// plainStore is a server with samples of every type: NaN, infinities, -0, Bad and Uncertain, states, texts, uint64 beyond 2^63, times before
// 1970 and between microseconds.
func plainStore(t *testing.T, flags ...string) (address string, c varvev1.SqlServiceClient) {
	t.Helper()
	address, _ = serveSQL(t, flags...)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	varve(t, "tags", "states", "put", "--server", address, "pump", "0=stopped", "1=running", "2=tripped")
	varve(t, "tags", "create", "--server", address, "--type", "state", "--state-set", "pump", "pump")
	runs := doorRuns(rand.New(rand.NewPCG(20261126, 12)))
	old := &varvev1.Run{Tag: "old", QualityCount: []uint32{3, 4}, QualityCode: []uint32{0, 0x40920000}}
	for i, ns := range []int64{-9_000_000_000_000_000_001, -1_000_001, -1001, -1000, -999, -1, 0} {
		old.TimesNs, old.Float64 = append(old.TimesNs, ns), append(old.Float64, float64(i)/3)
	}
	w, err := varvev1.NewIngestServiceClient(conn).Write(t.Context(), &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: append(runs, old)}})
	require.NoError(t, err)
	require.Zero(t, w.Result.Rejected, "%v", w.Result.Rejections)
	return address, varvev1.NewSqlServiceClient(conn)
}

// answerBits is the schema and the rows of an answer, bit for bit, in an order of their own.
func answerBits(c varvev1.SqlServiceClient, r *varvev1.SqlRequest) (schema *arrow.Schema, rows []string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := c.Query(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	reader, err := answer.NewReader(stream)
	if err != nil {
		return nil, nil, err
	}
	defer reader.Close()
	for {
		record, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		rows = appendBits(rows, record)
	}
	slices.Sort(rows)
	return reader.Schema(), rows, nil
}

func appendBits(rows []string, record arrow.Record) []string {
	for i := range int(record.NumRows()) {
		var b strings.Builder
		for _, column := range record.Columns() {
			switch {
			case column.IsNull(i):
				b.WriteString("|null")
			case column.DataType().ID() == arrow.FLOAT64:
				fmt.Fprintf(&b, "|%x", math.Float64bits(column.(*array.Float64).Value(i)))
			case column.DataType().ID() == arrow.TIMESTAMP:
				fmt.Fprintf(&b, "|%d", column.(*array.Timestamp).Value(i))
			default:
				fmt.Fprintf(&b, "|%q", column.ValueStr(i))
			}
		}
		rows = append(rows, b.String())
	}
	return rows
}

// preparedBits is answerBits of a statement that is prepared over Flight SQL and executed with values.
func preparedBits(c *flightsql.Client, sql string, values []*varvev1.SqlValue) (schema *arrow.Schema, rows []string, err error) {
	ctx := context.Background()
	p, err := c.Prepare(ctx, sql)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = p.Close(ctx) }()
	if len(values) > 0 {
		args := make([]any, len(values))
		for i, v := range values {
			switch v := v.GetValue().(type) {
			case *varvev1.SqlValue_Text:
				args[i] = v.Text
			case *varvev1.SqlValue_Integer:
				args[i] = v.Integer
			case *varvev1.SqlValue_TimeNs:
				args[i] = time.Unix(0, v.TimeNs)
			}
		}
		p.SetParameters(rowOf(args))
	}
	info, err := p.Execute(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return nil, nil, err
	}
	defer r.Release()
	for r.Next() {
		rows = appendBits(rows, r.Record())
	}
	slices.Sort(rows)
	return r.Schema(), rows, r.Err()
}

// unused makes a statement one that the engine answers, row for row.
const unused = "with unused as (select 1) "

// plainness holds a statement, asked and prepared, to what the engine makes of it, and reports whether the server answered it.
func plainness(t *testing.T, c varvev1.SqlServiceClient, f *flightsql.Client, sql string, values ...*varvev1.SqlValue) bool {
	t.Helper()
	by := func(sql string) string {
		_, rows, err := answerBits(c, &varvev1.SqlRequest{Sql: "explain " + sql, Parameters: values})
		if err != nil {
			return err.Error()
		}
		return strings.Join(rows, "\n")
	}
	schema, rows, err := answerBits(c, &varvev1.SqlRequest{Sql: sql, Parameters: values})
	wantSchema, want, wantErr := answerBits(c, &varvev1.SqlRequest{Sql: unused + sql, Parameters: values})
	require.Equal(t, status.Code(wantErr), status.Code(err), "%s: %v, engine: %v", sql, err, wantErr)
	prepared, preparedRows, preparedErr := preparedBits(f, sql, values)
	if err != nil {
		require.Error(t, preparedErr, sql)
		return false
	}
	require.NoError(t, preparedErr, sql)
	require.NotContains(t, by(unused+sql), `"server"`, sql)
	for _, schema := range []*arrow.Schema{schema, prepared} {
		require.True(t, wantSchema.Equal(schema) && wantSchema.Metadata().Equal(schema.Metadata()), "%s: %s, engine: %s", sql, schema, wantSchema)
	}
	at := strings.LastIndex(sql, " limit ")
	if at >= 0 && strings.Contains(sql[at:], ")") {
		at = -1 // of a subquery
	}
	if at >= 0 || strings.Contains(sql, "sample ") {
		// Which rows they are is not said: as many, all of which are rows without the limit.
		all := want
		if at >= 0 {
			free := values
			if strings.Contains(sql[at:], "$") {
				free = values[:len(values)-1]
			}
			_, all, err = answerBits(c, &varvev1.SqlRequest{Sql: unused + sql[:at], Parameters: free})
			require.NoError(t, err, sql)
			for _, rows := range [][]string{rows, preparedRows} {
				require.Len(t, rows, len(want), sql)
				for i, j := 0, 0; i < len(rows); i, j = i+1, j+1 {
					for j < len(all) && all[j] < rows[i] {
						j++
					}
					require.True(t, j < len(all) && all[j] == rows[i], "%s: row %s", sql, rows[i])
				}
			}
		}
	} else {
		require.Equal(t, strings.Join(want, "\n"), strings.Join(rows, "\n"), sql)
		require.Equal(t, strings.Join(want, "\n"), strings.Join(preparedRows, "\n"), sql)
	}
	return strings.Contains(by(sql), `"server"`)
}

func sqlText(s string) *varvev1.SqlValue {
	return &varvev1.SqlValue{Value: &varvev1.SqlValue_Text{Text: s}}
}
func sqlInt(i int64) *varvev1.SqlValue {
	return &varvev1.SqlValue{Value: &varvev1.SqlValue_Integer{Integer: i}}
}
func sqlTime(ns int64) *varvev1.SqlValue {
	return &varvev1.SqlValue{Value: &varvev1.SqlValue_TimeNs{TimeNs: ns}}
}

var sqlNull = &varvev1.SqlValue{Value: &varvev1.SqlValue_Null{Null: true}}

// TestPlainAnswersAreThoseOfTheEngine: what the server reads by itself is what the engine makes of the same statement, in schema, rows and
// errors; and it is the statements that say so here which it reads.
func TestPlainAnswersAreThoseOfTheEngine(t *testing.T) {
	address, c := plainStore(t)
	f, _ := flightSQL(t, address)
	begin := doorsBegin
	for _, x := range []struct {
		sql    string
		plain  bool
		values []*varvev1.SqlValue
	}{
		{sql: "select * from samples", plain: true},
		{sql: "SELECT * FROM varve.main.samples", plain: true},
		{sql: "select s.* from samples s", plain: true},
		{sql: "select s.time, S.Tag as \"The Tag\", value v, samples_.seq from samples s", plain: false},
		{sql: "select s.time, S.Tag as \"The Tag\", value v from samples s", plain: true},
		{sql: "select VALUE, Time from Samples", plain: true},
		{sql: "select main.samples.time, varve.main.samples.value from samples", plain: true},
		{sql: "select time_ns, value_text, value_int from good_samples", plain: true},
		{sql: "select * from good_samples where severity = 'Bad'", plain: true},
		{sql: "select * from good_samples where severity in ('Good', 'Bad')", plain: true},
		{sql: "select * from samples where tag = 'old'", plain: true},
		{sql: "select * from samples where tag = 'nobody'", plain: true},
		{sql: "select * from samples where tag in ('old', 'pump', null)", plain: true},
		{sql: "select * from samples where tag = null", plain: true},
		{sql: "select * from samples where tag like '%o%' and tag not like 'old'", plain: true},
		{sql: "select * from samples where tag <> 'old'", plain: true},
		{sql: "select * from samples where not (tag = 'old')", plain: true},
		{sql: "select * from samples where tag = 'old' or tag_id = 2", plain: true},
		{sql: "select * from samples where lower(tag) ilike 'F%'", plain: true},
		{sql: "select * from samples where tag = 'OLD' collate nocase", plain: true},
		{sql: "select * from samples where tag > 'b'", plain: false},
		{sql: "select * from samples where tag = 5", plain: false},
		{sql: "select * from samples where tag is null", plain: true},
		{sql: "select * from samples where tag_id in (select tag_id from tags where type = 'float64')", plain: true},
		{sql: "select * from samples where tag in (select name from tags where name like 'n%' order by name limit 1)", plain: true},
		{sql: "select * from samples where tag not in (select name from tags where name like 'n%')", plain: false},
		{sql: "select * from samples where tag in (select t.name from tags t where t.tag_id = samples.tag_id)", plain: false},
		{sql: "select * from samples where tag_id = 3", plain: true},
		{sql: "select * from samples where tag_id in (1, 2, -1, 99999999999)", plain: true},
		{sql: "select * from samples where tag_id = 3.0", plain: false},
		{sql: "select * from samples where tag_id = '3'", plain: false},
		{sql: "select * from samples where tag_id > 3", plain: false},
		{sql: "select * from samples where time < '1970-01-01'", plain: true},
		{sql: "select * from samples where time <= '1969-12-31 23:59:59.999998+00'", plain: true},
		{sql: "select * from samples where time = '1969-12-31 23:59:59.999999+00'", plain: true},
		{sql: "select * from samples where time > '1969-12-31 23:59:59.999998+00' and time < '1970-01-01 00:00:00.000001+00'", plain: true},
		{sql: "select * from samples where '1969-12-31 23:59:59.999999+00' <= time", plain: true},
		{sql: "select * from samples where time between '1969-12-31' and date '1970-01-01'", plain: true},
		{sql: "select * from samples where time not between '1969-12-31' and date '1970-01-01'", plain: false},
		{sql: "select * from samples where time in ('1969-12-31 23:59:59.999999+00', '1970-01-01')", plain: false},
		{sql: "select * from samples where time in ('1970-01-01', null)", plain: true},
		{sql: "select * from samples where time < timestamp '1970-01-01 00:00:00'", plain: true},
		{sql: "select * from samples where time < timestamp_ns '1970-01-01 00:00:00.0000001'", plain: false},
		{sql: "select * from samples where time < 'infinity' and time > '-infinity'", plain: true},
		{sql: "select * from samples where time = 'infinity'", plain: true},
		{sql: "select * from samples where time > 'soon'", plain: false},
		{sql: "select * from samples where time < now() and time >= now() - interval 100 years", plain: true},
		{sql: "select * from samples where time::date = '1970-01-01'", plain: false},
		{sql: "select * from samples where time_ns >= -1000 and time_ns < 0", plain: true},
		{sql: "select * from samples where time_ns = -1001", plain: true},
		{sql: "select * from samples where time_ns < 0.5", plain: false},
		{sql: "select * from samples where time_ns > 9223372036854775807", plain: true},
		{sql: "select * from samples where time_ns between 5 and 2", plain: true},
		{sql: "select * from samples where severity = 'Bad'", plain: true},
		{sql: "select * from samples where severity in ('Uncertain', 'Good')", plain: true},
		{sql: "select * from samples where severity = 'bad'", plain: true},
		{sql: "select * from samples where severity <> 'Good'", plain: false},
		{sql: "select * from samples where severity < 'Good'", plain: false},
		{sql: "select * from samples where quality = 0", plain: false},
		{sql: "select * from samples where quality < 1073741824", plain: true},
		{sql: "select * from samples where quality <= 1073741824", plain: false},
		{sql: "select * from samples where quality >= 1073741824 and quality < 2147483648", plain: true},
		{sql: "select * from samples where quality >= 0", plain: true},
		{sql: "select * from samples where value > 1", plain: false},
		{sql: "select * from samples where value = 'nan'::double", plain: false},
		{sql: "select * from samples where status = 'Good'", plain: false},
		{sql: "select * from samples where true", plain: false},
		{sql: "select * from samples where false", plain: false},
		{sql: "select * from samples where tag = 'old' and false", plain: false},
		{sql: "select * from samples where tag = 'old' and random() >= 0", plain: false},
		{sql: "select * from samples where tag = 'old' and tag = 'pump'", plain: true},
		{sql: "select * from samples limit 7", plain: true},
		{sql: "select time from samples where tag = 'float' limit 100000", plain: true},
		{sql: "select * from samples limit 0", plain: false},
		{sql: "select * from samples limit null", plain: true},
		{sql: "select * from samples limit all", plain: true},
		{sql: "select * from samples limit 2 + 3", plain: false},
		{sql: "select * from samples limit 10%", plain: false},
		{sql: "select * from samples limit 9223372036854775807", plain: true},
		{sql: "select * from samples limit -1", plain: false},
		{sql: "select tag from samples order by tag", plain: false},
		{sql: "select * from samples order by all offset 3", plain: false},
		{sql: "select distinct tag from samples", plain: false},
		{sql: "select distinct on (tag) tag from samples", plain: false},
		{sql: "select count(*) from samples", plain: false},
		{sql: "select tag from samples group by tag", plain: false},
		{sql: "select tag from samples group by all", plain: false},
		{sql: "select * from samples tablesample 100%", plain: false},
		{sql: "select * from samples using sample 100%", plain: false},
		{sql: "select time, time from samples", plain: false},
		{sql: "select *, time from samples", plain: false},
		{sql: "select time, * from samples", plain: false},
		{sql: "select * exclude (time) from samples", plain: false},
		{sql: "select * replace (value + 1 as value) from samples", plain: false},
		{sql: "select * rename (value as v) from samples", plain: false},
		{sql: "select columns('t.*') from samples", plain: false},
		{sql: "select columns(*) from samples", plain: false},
		{sql: "select time as tag, tag as time from samples", plain: false},
		{sql: "select value as time from samples where time < '1970-01-01'", plain: false},
		{sql: "select time as time from samples where time < '1970-01-01'", plain: true},
		{sql: "select time as time from samples", plain: true},
		{sql: "select value + 0 from samples", plain: false},
		{sql: "select samples from samples where tag = 'text'", plain: false},
		{sql: "select rowid from samples", plain: false},
		{sql: "select time, 1 from samples", plain: false},
		{sql: "select * from samples s(a, b)", plain: false},
		{sql: "select * from samples, tags", plain: false},
		{sql: "select * from (select * from samples) where tag = 'old'", plain: false},
		{sql: "select * from (select * from samples where value > 1) where tag = 'old'", plain: false},
		{sql: "select time from samples qualify row_number() over (order by time_ns, tag_id, seq) = 1", plain: false},
		{sql: "select time from samples union all select time from samples", plain: false},
		{sql: "from samples", plain: true},
		{sql: "from samples select tag, value", plain: true},
		{sql: "select * from tags", plain: false},
		{sql: "select name from tags where name = 'old'", plain: false},
		{sql: "select nothing from samples", plain: false},
		{sql: "select * from samples where tag = $1 and time >= $2 and time < $3", plain: true, values: []*varvev1.SqlValue{sqlText("float"), sqlTime(begin), sqlTime(begin + 3600e9)}},
		{sql: "select * from samples where tag = ? and time >= ?", plain: true, values: []*varvev1.SqlValue{sqlText("float"), sqlText("2020-01-01")}},
		{sql: "select * from samples where tag = $1", plain: true, values: []*varvev1.SqlValue{sqlNull}},
		{sql: "select * from samples where tag = $1", plain: false, values: []*varvev1.SqlValue{sqlInt(5)}},
		{sql: "select * from samples where tag = $1", values: nil},
		{sql: "select * from samples where $2 > time and tag in ($1, 'old') and severity = 'Good' limit 9", plain: true, values: []*varvev1.SqlValue{sqlText("float"), sqlTime(begin + 1800e9)}},
		{sql: "select * from samples where time >= $1 and time_ns < $2 and quality < 1073741824", plain: true, values: []*varvev1.SqlValue{sqlTime(-1001), sqlInt(-1)}},
		{sql: "select * from samples where time = $1", plain: true, values: []*varvev1.SqlValue{sqlTime(-1001)}},
		{sql: "select * from samples where time in ($1, $2)", plain: false, values: []*varvev1.SqlValue{sqlTime(-1001), sqlTime(0)}},
		{sql: "select * from samples where quality < $1", plain: true, values: []*varvev1.SqlValue{sqlInt(1 << 30)}},
		{sql: "select * from samples where quality < $1", plain: false, values: []*varvev1.SqlValue{sqlInt(5)}},
		{sql: "select * from samples where severity = $1 and tag_id = $2", plain: true, values: []*varvev1.SqlValue{sqlText("Bad"), sqlInt(3)}},
		{sql: "select * from good_samples where tag = $1 and severity in ('Bad', $2)", plain: true, values: []*varvev1.SqlValue{sqlText("pump"), sqlText("Good")}},
		{sql: "select value, tag from samples where tag = $1 and tag = $1 and time > $2 and time > $2", plain: true, values: []*varvev1.SqlValue{sqlText("old"), sqlTime(-1_000_001)}},
		{sql: "select * from samples where tag = $2", values: []*varvev1.SqlValue{sqlText("old")}},
		{sql: "select * from samples where tag like $1", plain: true, values: []*varvev1.SqlValue{sqlText("f%")}},
		{sql: "select * from samples limit $1", plain: true, values: []*varvev1.SqlValue{sqlInt(7)}},
		{sql: "select * from samples limit $1", plain: false, values: []*varvev1.SqlValue{sqlInt(0)}},
		{sql: "select * from samples limit $1", plain: false, values: []*varvev1.SqlValue{sqlInt(-1)}},
		{sql: "select * from samples limit $1", plain: false, values: []*varvev1.SqlValue{sqlText("7")}},
		{sql: "select * from samples limit $1", plain: false, values: []*varvev1.SqlValue{sqlNull}},
		{sql: "select * from samples where tag = $1 limit $2", plain: true, values: []*varvev1.SqlValue{sqlText("pump"), sqlInt(3)}},
	} {
		for range 2 { // anew, and as it was kept
			require.Equal(t, x.plain, plainness(t, c, f, x.sql, x.values...), x.sql)
		}
	}
}

// TestPlainAnswersOfAnyStatement is the same of statements by chance.
func TestPlainAnswersOfAnyStatement(t *testing.T) {
	address, c := plainStore(t)
	f, _ := flightSQL(t, address)
	rounds := 150
	if testing.Short() {
		rounds = 50
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	one := func(from ...string) string { return from[rng.IntN(len(from))] }
	instant := func() string {
		ns := []int64{0, -1000, -1001, -999, doorsBegin + rng.Int64N(doorsHours*3600e9)}[rng.IntN(5)]
		return fmt.Sprintf("make_timestamptz(%d)", ns/1000)
	}
	columns := []string{"time", "tag", "value", "quality", "status", "severity", "value_int", "value_text", "time_ns", "tag_id", "seq"}
	condition := func() string {
		switch rng.IntN(9) {
		case 0:
			return fmt.Sprintf("tag = '%s'", one(append(doorTags, "old", "nobody")...))
		case 1:
			return fmt.Sprintf("tag in ('%s', '%s')", one(doorTags...), one(doorTags...))
		case 2:
			return fmt.Sprintf("tag %s '%s'", one("like", "not like", "ilike", "<>", "="), one("%o%", "f%", "_____", "old"))
		case 3:
			return fmt.Sprintf("tag_id %s (select tag_id from tags where type %s '%s')", one("in", "not in"), one("=", "<>"), one("float64", "state", "string"))
		case 4:
			return fmt.Sprintf("time %s %s", one("=", "<", "<=", ">", ">=", "<>"), instant())
		case 5:
			return fmt.Sprintf("time between %s and %s", instant(), instant())
		case 6:
			return fmt.Sprintf("quality %s %s", one("=", "<", ">="), one("0", "1073741824", "2147483648", "1083310080"))
		case 7:
			return fmt.Sprintf("severity %s", one("= 'Good'", "in ('Good', 'Bad')", "<> 'Bad'", "= 'Uncertain'"))
		}
		return fmt.Sprintf("time_ns %s %d", one("<", ">=", "="), []int64{-1000, -1, 0, doorsBegin + rng.Int64N(doorsHours*3600e9)}[rng.IntN(4)])
	}
	plain := 0
	for range rounds {
		rng.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
		selected := "*"
		if rng.IntN(3) > 0 {
			selected = strings.Join(columns[:1+rng.IntN(5)], ", ")
		}
		if rng.IntN(8) == 0 {
			selected += one(", value * 2", ", time as t2", ", tag || 'x'", ", status as s2")
		}
		sql := fmt.Sprintf("select %s from %s", selected, one("samples", "samples", "good_samples"))
		var all []string
		for range rng.IntN(4) {
			all = append(all, condition())
		}
		if len(all) > 0 {
			sql += " where " + strings.Join(all, one(" and ", " and ", " and ", " or "))
		}
		if rng.IntN(4) == 0 {
			sql += fmt.Sprintf(" limit %d", rng.IntN(50))
		}
		if plainness(t, c, f, sql) {
			plain++
		}
	}
	require.Greater(t, plain, rounds/10)
	require.Less(t, plain, rounds*9/10)
}

// TestAPlainScanHoldsNoTurn: clients that do not read the rows of plain statements, more than may run at once, keep no other from an answer;
// and then they have every row as it was written, though batches of all of them lie in memory that goes round.
func TestAPlainScanHoldsNoTurn(t *testing.T) {
	const tags, samples = 10, 50_000
	c := benchStore(t, tags, samples)
	info, err := c.Execute(t.Context(), "select time, tag, value, quality, status, time_ns from samples")
	require.NoError(t, err)
	var readers []*flight.Reader
	for range 6 {
		r, err := c.DoGet(t.Context(), info.Endpoint[0].Ticket)
		require.NoError(t, err)
		defer r.Release()
		require.True(t, r.Next())
		readers = append(readers, r)
	}
	other, err := c.Execute(t.Context(), "select 1")
	require.NoError(t, err)
	rows, err := rowsOf(t.Context(), c, other)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"1"}}, rows)

	var all sync.WaitGroup
	for _, r := range readers {
		all.Go(func() {
			seen := map[string]int64{}
			for more := true; more; more = r.Next() {
				times, names, values := r.Record().Column(0).(*array.Timestamp), r.Record().Column(1).(*array.String), r.Record().Column(2).(*array.Float64)
				for i := range times.Len() {
					k, unit := seen[names.Value(i)], int(names.Value(i)[len("area0/unit0")]-'0') // of ten
					ok := int64(times.Value(i)) == 1767225600e9+k*1e9 && values.Value(i) == benchValue(int(k)+unit) && r.Record().Column(3).(*array.Int64).Value(i) == 0 &&
						r.Record().Column(4).(*array.String).Value(i) == "Good" && r.Record().Column(5).(*array.Int64).Value(i) == int64(times.Value(i))
					if !ok && !assert.True(t, ok, "row %d of %s", k, names.Value(i)) {
						return
					}
					seen[names.Value(i)]++
				}
			}
			assert.NoError(t, r.Err())
			assert.Len(t, seen, tags)
			for name, n := range seen {
				assert.EqualValues(t, samples, n, name)
			}
		})
	}
	all.Wait()
}

// TestAPlainScanTakesNoLongerThanItMay: also what the server reads by itself ends with its time.
func TestAPlainScanTakesNoLongerThanItMay(t *testing.T) {
	c := benchStore(t, 10, 50_000, "--sql-timeout", "2s")
	info, err := c.Execute(t.Context(), "select * from samples")
	require.NoError(t, err)
	r, err := c.DoGet(t.Context(), info.Endpoint[0].Ticket)
	require.NoError(t, err)
	defer r.Release()
	require.True(t, r.Next())
	time.Sleep(2100 * time.Millisecond)
	for r.Next() {
	}
	require.Equal(t, codes.DeadlineExceeded, status.Code(r.Err()), "%v", r.Err())
	require.ErrorContains(t, r.Err(), "the statement took longer than it may: 2s")
}
