package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// partialsStart is where the samples of these tests begin, in the middle of a day.
var partialsStart = time.Date(2026, 3, 1, 17, 30, 0, 0, time.UTC).UnixNano()

// partialsTag is a tag of these tests: its type, from one sample to the next, and its samples.
type partialsTag struct {
	name  string
	typ   model.Type
	every time.Duration
	of    func(rng *rand.Rand, i int, x *model.Sample)
}

func double(v float64) func(*model.Sample) {
	return func(x *model.Sample) { x.Bits = math.Float64bits(v) }
}

var partialsTags = []partialsTag{
	{"dense", model.Float64, 10 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { double(100 + rng.NormFloat64())(x) }},
	{"good", model.Float64, 20 * time.Second, func(rng *rand.Rand, i int, x *model.Sample) { double(math.Sin(float64(i)))(x) }},
	{"mixed", model.Float64, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) {
		double(100 * rng.Float64())(x)
		x.Quality = []model.Quality{model.Good, model.Uncertain, model.BadNoData, model.Good | 0x400}[rng.IntN(4)]
		x.Null = x.Quality.IsBad() && rng.IntN(2) == 0
	}},
	{"null", model.Float64, time.Minute, func(rng *rand.Rand, _ int, x *model.Sample) {
		double(rng.Float64())(x)
		x.Null, x.Quality = rng.IntN(3) == 0, []model.Quality{model.Good, model.Uncertain}[rng.IntN(2)]
	}},
	{"odd", model.Float64, 20 * time.Second, func(rng *rand.Rand, i int, x *model.Sample) { // some hours have what is no number
		v := rng.Float64()
		if i/180%5 == 0 && rng.IntN(60) == 0 {
			v = []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(0xFFF8000000000123)}[rng.IntN(4)]
		}
		double(v)(x)
	}},
	{"zero", model.Float64, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) {
		double([]float64{0, math.Copysign(0, -1), 1}[rng.IntN(3)])(x)
		x.Quality = []model.Quality{model.Good, model.Good, model.Uncertain}[rng.IntN(3)]
	}},
	{"tie", model.Float64, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { double(1 + rng.Float64())(x) }}, // least is a 0 and a -0 at one time
	{"zeros", model.Float64, 20 * time.Second, func(rng *rand.Rand, i int, x *model.Sample) { double(math.Copysign(0, float64(i/7%2)-1))(x) }},
	{"great", model.Float64, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { double(1e307 * (rng.Float64() + 0.5))(x) }},
	{"float32", model.Float32, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) {
		x.Bits = uint64(math.Float32bits(float32(rng.Float64())))
	}},
	{"int", model.Int64, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { x.Bits = uint64(rng.Int64N(1000) + 1) }},
	{"huge", model.Int64, 20 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { x.Bits = uint64(1<<60 + rng.Int64N(1<<58)) }},
	{"cancel", model.Int64, 20 * time.Second, func(rng *rand.Rand, i int, x *model.Sample) {
		if v := int64(1<<60 + 77); i%2 == 0 {
			x.Bits = uint64(v)
		} else {
			x.Bits = uint64(-v + 50)
		}
	}},
	{"uint", model.Uint64, 30 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { x.Bits = 1<<63 + rng.Uint64N(1<<62) }},
	{"state", model.State, 30 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { x.Bits = rng.Uint64N(3) }},
	{"bool", model.Bool, 30 * time.Second, func(rng *rand.Rand, _ int, x *model.Sample) { x.Bits = rng.Uint64N(2) }},
	{"text", model.String, time.Minute, func(rng *rand.Rand, i int, x *model.Sample) { x.Blob = []byte(fmt.Sprint(i)) }},
	{"retyped", model.Float64, 20 * time.Second, func(rng *rand.Rand, i int, x *model.Sample) { // and int64 from the third day on
		if x.Type == model.Int64 {
			x.Bits = uint64(rng.Int64N(100) - 50)
		} else {
			double(rng.Float64())(x)
		}
	}},
	{"sparse", model.Float64, 5 * time.Hour, func(rng *rand.Rand, i int, x *model.Sample) { double(float64(i))(x) }},
	{"fine", model.Float64, 10 * time.Second, func(rng *rand.Rand, i int, x *model.Sample) { // several in one microsecond, at the ends of hours
		double(float64(i))(x)
		x.Time += int64(rng.IntN(1000))
	}},
}

// partialsStore is a store whose first days are sealed, and then edited.
func partialsStore(t testing.TB, dir string, days int) {
	db, err := storage.Open(dir, storage.Options{MinFreeBytes: -1, BallastBytes: -1, SealAfter: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(7, 11))
	submit := func(b storage.Batch) {
		p, err := db.Submit(ctx, &b)
		require.NoError(t, err)
		_, err = p.Applied(ctx)
		require.NoError(t, err)
	}
	changes := []catalog.Change{{PutStateSet: &catalog.PutStateSet{Set: model.StateSet{Name: "pump", States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}, {Code: 2, Text: "dry"}}}}}}
	for i, x := range partialsTags {
		s := model.Settings{From: model.MinTime, Type: x.typ, Stepped: x.typ.AlwaysStepped()}
		if x.typ == model.State {
			s.StateSet = "pump"
		}
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{Name: x.name, UUID: model.UUID{1, byte(i)}, Settings: []model.Settings{s}}}})
	}
	results, err := db.ChangeCatalog(ctx, changes)
	require.NoError(t, err)
	ids := map[string]model.TagID{}
	for i, x := range partialsTags {
		require.NoError(t, results[i+1].Err)
		ids[x.name] = results[i+1].Tag.ID
	}
	retypedFrom := partialsStart + 2*86400*int64(time.Second)
	write := func(from, to int64) {
		for _, x := range partialsTags {
			if x.name == "retyped" && from >= retypedFrom {
				x.typ = model.Int64
			}
			s := model.Samples{Type: x.typ}
			for i := (from - partialsStart) / int64(x.every); partialsStart+i*int64(x.every) < to; i++ {
				sample := model.Sample{Time: partialsStart + i*int64(x.every), Type: x.typ}
				if x.of(rng, int(i), &sample); sample.Time >= from {
					s.Append(sample)
				}
			}
			for from := 0; from < s.Len(); from += 5000 {
				submit(storage.Batch{Runs: []storage.Run{{Tag: ids[x.name], Mode: model.Update, Samples: s.Slice(from, min(from+5000, s.Len()))}}})
			}
		}
	}
	edit := func(day int64) {
		for _, x := range partialsTags {
			if x.name == "retyped" && day >= 2 {
				x.typ = model.Int64
			}
			again := model.Samples{Type: x.typ}
			for range 20 {
				sample := model.Sample{Time: partialsStart + (day*86400+rng.Int64N(86400))*int64(time.Second), Type: x.typ}
				x.of(rng, rng.IntN(1000), &sample)
				again.Append(sample)
			}
			for range 6 { // at an end of an hour, several at one time
				at := partialsStart + (day*86400+1800+3600*rng.Int64N(23))*int64(time.Second) + []int64{0, -1000, -1, -500}[rng.IntN(4)]
				for i := range 3 {
					sample := model.Sample{Time: at + int64(i)*rng.Int64N(2)*100, Type: x.typ}
					x.of(rng, rng.IntN(1000), &sample)
					sample.Time = at + int64(i)*rng.Int64N(2)*100
					again.Append(sample)
				}
			}
			order := make([]int, again.Len())
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(again.Times[a], again.Times[b]) })
			sorted := model.Samples{Type: x.typ}
			for _, i := range order {
				sorted.Append(again.At(i))
			}
			submit(storage.Batch{Author: "mara", Reason: "recalibrated", Runs: []storage.Run{{Tag: ids[x.name], Mode: model.Append, Samples: sorted}}})
		}
	}
	tie := func(day int64) {
		s := model.Samples{Type: model.Float64}
		for i, v := range []float64{math.Copysign(0, -1), 0} {
			s.Append(model.Sample{Time: partialsStart + (day*86400+7000)*int64(time.Second), Type: model.Float64, Bits: math.Float64bits(v), Quality: []model.Quality{model.Uncertain, model.Good}[i]})
		}
		submit(storage.Batch{Author: "mara", Reason: "recalibrated", Runs: []storage.Run{{Tag: ids["tie"], Mode: model.Append, Samples: s}}})
	}
	for d := range int64(days) {
		if d == 2 {
			changed, err := db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: ids["retyped"], Settings: &model.Settings{From: retypedFrom, Type: model.Int64}}}})
			require.NoError(t, err)
			require.NoError(t, changed[0].Err)
		}
		from := partialsStart + d*86400*int64(time.Second)
		write(from, from+86400*int64(time.Second))
		edit(d)
		tie(d)
		if d+1 < int64(days) {
			_, err := db.Seal(ctx)
			require.NoError(t, err)
		}
	}
	edit(1) // over what is sealed
	for _, x := range partialsTags {
		from := partialsStart + rng.Int64N(86400)*int64(time.Second)
		removed := model.Samples{Type: x.typ}
		for i := range 30 {
			removed.Times = append(removed.Times, from+int64(i)*10*int64(time.Second))
		}
		submit(storage.Batch{Author: "mara", Reason: "no such thing", Runs: []storage.Run{{Tag: ids[x.name], Mode: model.Remove, All: true, Samples: removed}}})
	}
}

// table is the answer of a statement.
type sqlTable struct {
	names, types []string
	rows         [][]any
}

// ask runs a statement over gRPC.
func askSQL(t testing.TB, c *client, sql string, values ...*varvev1.SqlValue) (out sqlTable, err error) {
	t.Helper()
	stream, err := c.sql.Query(context.Background(), &varvev1.SqlRequest{Sql: sql, Parameters: values})
	require.NoError(t, err)
	var all bytes.Buffer
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return out, err
		}
		all.Write(m.Ipc)
	}
	r, err := ipc.NewReader(&all)
	require.NoError(t, err)
	defer r.Release()
	for _, f := range r.Schema().Fields() {
		out.names, out.types = append(out.names, f.Name), append(out.types, f.Type.String())
	}
	for r.Next() {
		for i := range int(r.Record().NumRows()) {
			row := make([]any, len(out.names))
			for c, a := range r.Record().Columns() {
				switch a := a.(type) {
				case *array.Float64:
					if a.IsValid(i) {
						row[c] = a.Value(i)
					}
				default:
					if a.IsValid(i) {
						row[c] = a.ValueStr(i)
					}
				}
			}
			out.rows = append(out.rows, row)
		}
	}
	return out, r.Err()
}

// requireAlike holds the answers of two statements to each other: sums and averages within 1e-12 of themselves, all else bit by bit.
func requireAlike(t testing.TB, want, got sqlTable, about string) {
	t.Helper()
	require.Equal(t, want.names, got.names, about)
	require.Equal(t, want.types, got.types, about)
	near := func(c int) bool {
		return strings.Contains(want.names[c], "sum") || strings.Contains(want.names[c], "avg")
	}
	key := func(row []any) string {
		var b strings.Builder
		for c, x := range row {
			switch f, ok := x.(float64); {
			case ok && near(c):
				fmt.Fprintf(&b, "%.5g|", f)
			case ok:
				fmt.Fprintf(&b, "%x|", math.Float64bits(f))
			default:
				fmt.Fprintf(&b, "%v|", x)
			}
		}
		return b.String()
	}
	byKey := func(a, b []any) int { return cmp.Compare(key(a), key(b)) }
	slices.SortFunc(want.rows, byKey)
	slices.SortFunc(got.rows, byKey)
	require.Len(t, got.rows, len(want.rows), about)
	for i, w := range want.rows {
		for c, x := range w {
			a, ok := x.(float64)
			b, ok2 := got.rows[i][c].(float64)
			if !ok || !ok2 {
				require.Equal(t, x, got.rows[i][c], "%s: %s of %v and %v", about, want.names[c], w, got.rows[i])
				continue
			}
			alike := math.Float64bits(a) == math.Float64bits(b)
			if near(c) {
				alike = alike || math.Abs(a-b) <= 1e-12*math.Abs(a) || a != a && b != b
			}
			require.True(t, alike, "%s: %s is %v (%x) and not %v (%x): %v, %v", about, want.names[c], b, math.Float64bits(b), a, math.Float64bits(a), w, got.rows[i])
		}
	}
}

// forms are a statement with and without partials: those take the place of a table, and not of a subquery.
func forms(sql string) (with, without string) {
	with = strings.NewReplacer("{samples}", "samples", "{good}", "good_samples").Replace(sql)
	return with, strings.NewReplacer("{samples}", "(select * from samples) samples", "{good}", "(select * from good_samples) good_samples").Replace(sql)
}

func dialSQL(t testing.TB, address string) *client {
	flags := clientFlags{server: address}
	c, err := flags.dial()
	require.NoError(t, err)
	t.Cleanup(c.close)
	return c
}

const allAggregates = `count(*) as n, count(value) as v, min(value) as least, max(value) as most, sum(value), avg(value), arg_min(value, time), arg_max(value, time),
	first(value order by time), last(value order by time), min(time), max(time)`

// Every statement answers the same whether rollups stand for samples or not.
func TestPartialsChangeNoAnswer(t *testing.T) {
	dir := t.TempDir()
	partialsStore(t, dir, 4)
	address, _ := serveInProcess(t, dir, "--sql-binary", sqlBinary(t))
	c := dialSQL(t, address)
	text := func(s string) *varvev1.SqlValue { return &varvev1.SqlValue{Value: &varvev1.SqlValue_Text{Text: s}} }
	for i, x := range []struct {
		sql    string
		values []*varvev1.SqlValue
		as     string // the table read, "partials" where it is empty; "none" where the engine needs none
	}{
		{sql: "select tag, " + allAggregates + " from {samples} group by tag"},
		{sql: "select tag_id, " + allAggregates + " from {good} group by tag_id"},
		{sql: "select tag, date_trunc('day', time) as day, " + allAggregates + " from {samples} group by all"},
		{sql: "select tag, time_bucket(interval '1 day', time) as time, " + allAggregates + " from {samples} where time >= '2026-03-02 06:17:00' and time < timestamptz '2026-03-04 01:02:03.000004+00' group by 1, 2 order by time"},
		{sql: "select tag, time_bucket(interval 6 hours, time, timestamptz '2026-01-01 01:00:00+00') as b, " + allAggregates + " from {samples} where severity = 'Good' group by tag, b"},
		{sql: "select tag, time_bucket('2 hours', time, interval 1 hour) as b, " + allAggregates + " from {samples} where 'Good' = severity and tag like '%e%' group by tag, b"},
		{sql: "select tag, date_trunc('hour', time), " + allAggregates + " from {samples} group by all order by all"},
		{sql: "select date_trunc('hour', time) h, avg(value), arg_max(value, time) from {samples} where tag = 'fine' group by h having count(*) > 3 order by h limit 1000"},
		{sql: "select " + allAggregates + " from {samples} where tag = 'mixed'"},
		{sql: "select " + allAggregates + " from {samples} where tag = 'nobody'"},
		{sql: "select " + allAggregates + " from {samples} where time < '1999-01-01'"},
		{sql: "select " + allAggregates + " from {samples} where time >= null::timestamptz", as: "none"},
		{sql: "select AVG(value), Count(*), sum(value) / count(value), round(avg(value), 2), max(value) - min(value), coalesce(max(value), 0) from {samples} where tag = 'int'"},
		{sql: "select strftime(date_trunc('day', time), '%Y') || upper(tag) as k, count(1), count(), count(time), count(tag), min(tag), max(tag_id) from {samples} group by k"},
		{sql: "select tag, time::date as d, sum(value) from {samples} group by rollup (tag, d)"},
		{sql: "select tag, time::date as d, avg(value), lag(avg(value)) over (partition by tag order by time::date) as before_avg, row_number() over (order by tag, time::date) from {samples} where tag in ('dense', 'int') group by tag, time::date qualify row_number() over (partition by tag order by time::date) > 1"},
		{sql: "select time_bucket($1::interval, time) as b, avg(value) from {samples} where tag = $2 and time >= $3 and time <= $4 group by b", values: []*varvev1.SqlValue{text("1 day"), text("dense"), text("2026-03-02"), text("2026-03-03 12:00")}},
		{sql: "select time_bucket($1::interval, time) as b, avg(value) from {samples} where tag = $2 group by b", values: []*varvev1.SqlValue{text("50 minutes"), text("dense")}},
		{sql: "select time_bucket(interval '1 month', time) as b, avg(value) from {samples} where tag = 'dense' group by b"},
		{sql: "select time_bucket(interval '90 minutes', time, interval '30 minutes') as b, count(*) from {samples} where tag = 'dense' group by b", as: "samples"},
		{sql: "select time_bucket(interval '1 day', time, interval '30 minutes') as b, count(*), avg(value) from {samples} where tag = 'dense' group by b"},
		{sql: "select time_bucket(interval '1 hour 30 minutes', time) as b, count(*), avg(value) from {samples} where tag = 'dense' group by b"},
		{sql: "select tag, max(value) from {samples} where time_ns >= 1772442000000000001 and time_ns < 1772450000000000000 group by tag"},
		{sql: "select tag, max(value) from {samples} where time_ns >= 1772442000000000001.5 group by tag"},
		{sql: "select tag, max(value) from {samples} where time between '2026-03-02 01:00:00.000001' and now() group by tag"},
		{sql: "select tag, count(*) from {samples} where time = '2026-03-02 00:00:00' group by tag"},
		{sql: "select tag, count(*) from {samples} where time > strptime('2026-03-02', '%Y-%m-%d') group by tag"},
		{sql: "select tag, count(*) from {samples} where time > concat('2026-03-', '02')::timestamp group by tag"},
		{sql: "select tag, avg(value) from {samples} where tag in (select name from tags where type = 'int64') group by tag"},
		{sql: "select tag, avg(value) from {samples} where tag_id in (select tag_id from tags where type = 'float64') and length(tag) = 4 group by tag"},
		{sql: "with daily as (select tag, date_trunc('day', time) as day, avg(value) as avg from {samples} group by all) select t.type, d.* from daily d join tags t on t.name = d.tag where d.avg > 1"},
		{sql: "select t.name, x.m from tags t, lateral (select max(value) as m from {samples} where samples.tag_id = t.tag_id) x"},
		{sql: "select t.name, (select avg(value) from {samples} where tag = t.name) as avg from tags t"},
		{sql: "select * from (select tag, count(*) as time from {samples} group by tag) where time > 100"},
		{sql: "select tag, count(*) as value from {samples} group by tag order by value"},
		{sql: "select samples.tag, max(samples.value), main.samples.tag_id from {samples} group by samples.tag, samples.tag_id", as: "partials"},
		{sql: "select tag, avg(value) from {samples} where severity = 'Good' and severity = 'Bad' group by tag", as: "none"},
		{sql: "select tag, count(*) from {samples} where severity = 'Uncertain' group by tag"},
		{sql: "select case when tag = 'int' then 'i' else 'o' end as k, sum(value), count(*) from {samples} where time >= '2026-03-02' group by k"},
		{sql: "select tag from {samples} group by tag"},
		// Of each tag or instant once.
		{sql: "select distinct tag from {samples}"},
		{sql: "select distinct tag_id, date_trunc('day', time) as day from {samples} where severity = 'Good' order by 1, 2 limit 1000"},
		{sql: "select count(distinct tag), count(distinct tag_id) as ids, any_value(tag) is null from {samples}"},
		{sql: "select distinct count(*) from {samples} group by tag"},
		// Samples that have a value.
		{sql: "select tag, " + allAggregates + " from {samples} where value is not null group by tag"},
		{sql: "select tag, date_trunc('hour', time) as h, " + allAggregates + " from {good} where tag like '%e%' and (value is not null) group by all"},
		{sql: "select date_trunc('day', time) as day, " + allAggregates + " from {samples} where samples.value is not null and time >= '2026-03-02 06:17:00' and severity = 'Uncertain' group by day"},
		{sql: "select distinct tag from {samples} where value is not null"},
		{sql: "select tag, max(value) as value from {samples} where value is not null group by tag order by tag"},
		// Beside small tables, joined by the tag.
		{sql: "select t.type, " + allAggregates + " from {samples} join tags t on t.tag_id = samples.tag_id group by t.type"},
		{sql: "select type, any_value(name) is null, count(distinct t.name), max(t.type), " + allAggregates + " from {good} join tags t on t.name = tag where t.type <> 'int64' group by type"},
		{sql: "select t.type, date_trunc('day', time) d, " + allAggregates + " from {samples}, tags t where t.tag_id = samples.tag_id and time > '2026-03-02 03:04:05' group by all"},
		{sql: "select t.type, date_trunc('day', time) d, count(*), avg(value) from tags t join {samples} on t.tag_id = samples.tag_id and samples.severity = 'Good' and time < '2026-03-03 03:04:05' and t.name like '%e%' where value is not null group by all"},
		{sql: "select t.type, " + allAggregates + " from {samples} join tags t on t.tag_id = samples.tag_id and samples.value is not null group by t.type"},
		{sql: "select t.type, count(*), avg(value) from {samples} left join tags t on t.tag_id = samples.tag_id and t.type = 'int64' group by all"},
		{sql: "select n.name, count(*), avg(value) from {samples} join tag_names n using (tag_id) group by n.name"},
		{sql: "select x.name, x.value, count(*) as n, avg(samples.value) from {samples} join tag_attributes x on x.tag_id = samples.tag_id where x.name = 'area' group by x.name, x.value"},
		{sql: "select y.name, count(*) as n, sum(samples.value) from {samples} join tags x on x.tag_id = samples.tag_id join tags y on x.type = y.type group by y.name"},
		{sql: "select t.type, sum(value) from {samples} cross join tags t group by t.type"},
		{sql: "select t.name, max(value) - min(value) as r from {samples} join tags t using (tag_id) group by t.name having count(*) > 3 order by r desc, t.name limit 3"},
		{sql: "with d as (select tag_id, avg(value) as avg from {samples} group by tag_id) select t.type, avg(d.avg) from d join tags t using (tag_id) group by t.type"},
		{sql: "select t.type, count(*) from {samples} join (select * from tags where type = 'int64') t on t.tag_id = samples.tag_id group by t.type", as: "samples"},
		{sql: "select t.type, count(*) from tags t left join {samples} on t.tag_id = samples.tag_id group by t.type", as: "samples"},
		{sql: "select t.type, count(*) from {samples} full join tags t on t.tag_id = samples.tag_id group by t.type", as: "samples"},
		{sql: "select t.type, count(*) from {samples} left join tags t on t.tag_id = samples.tag_id and samples.severity = 'Good' group by t.type", as: "samples"},
		{sql: "select t.type, count(*), avg(value) from {samples} join tags t on t.tag_id = samples.tag_id and value > t.tag_id group by t.type", as: "samples"},
		{sql: "select t.type, count(t.unit), sum(t.tag_id) from {samples} join tags t on t.tag_id = samples.tag_id group by t.type", as: "samples"},
		{sql: "select t.type, count(*) from {samples} semi join tags t on t.tag_id = samples.tag_id join tags t using (tag_id) group by t.type", as: "samples"},
		{sql: "select distinct on (tag) tag, date_trunc('day', time) from {samples} order by tag, 2", as: "samples"},
		{sql: "select distinct tag, row_number() over (order by tag) as r from {samples} where tag = 'sparse'", as: "samples"},
		{sql: "select tag, median(value) from {samples} where value is not null group by tag", as: "samples"},
		// What is none of these is answered from samples.
		{sql: "select tag, median(value) from {samples} group by tag", as: "samples"},
		{sql: "select tag, avg(value) from {samples} where value > 50 group by tag", as: "samples"},
		{sql: "select tag, avg(value) from {samples} where quality = 0 group by tag", as: "samples"},
		{sql: "select tag, avg(value) from {samples} where severity <> 'Bad' group by tag", as: "samples"},
		{sql: "select tag, avg(value) from {samples} where severity in ('Good', 'Uncertain') group by tag", as: "samples"},
		{sql: "select tag, avg(value) from {samples} where time > '2026-03-02' or tag = 'int' group by tag", as: "samples"},
		{sql: "select tag, avg(value) from {samples} where time in ('2026-03-02', '2026-03-03') group by tag", as: "samples"},
		{sql: "select tag, avg(value) filter (where severity = 'Good') from {samples} group by tag", as: "samples"},
		{sql: "select tag, count(distinct value) from {samples} group by tag", as: "samples"},
		{sql: "select tag, sum(value * 2) from {samples} group by tag", as: "samples"},
		{sql: "select tag, status, count(*) from {samples} group by tag, status", as: "samples"},
		{sql: "select tag, hour(time) as h, count(*) from {samples} group by all", as: "samples"},
		{sql: "select time, count(*) from {samples} where tag = 'sparse' group by time", as: "samples"},
		{sql: "select date_trunc('day', time) as time, count(*) from {samples} where tag = 'sparse' group by time, samples.time", as: "samples"},
		{sql: "select date_trunc('minute', time) as m, count(*) from {samples} where tag = 'int' group by m", as: "samples"},
		{sql: "select time_bucket(interval '10 minutes', time) as m, count(*) from {samples} where tag = 'int' group by m", as: "samples"},
		{sql: "select time_bucket(interval '1 day', time, 'Europe/London') as m, count(*) from {samples} where tag = 'int' group by m", as: "samples"},
		{sql: "select date_trunc('day', time at time zone 'Asia/Kolkata') as m, count(*) from {samples} where tag = 'int' group by m", as: "samples"},
		{sql: "select tag, last(value order by time desc) from {samples} group by tag", as: "samples"},
		{sql: "select tag, arg_max(value, time_ns) from {samples} group by tag", as: "samples"},
		{sql: "select tag, count(value_text), string_agg(tag) is null from {samples} where tag in ('sparse', 'state') group by tag", as: "samples"},
		{sql: "select sum(tag_id) from {samples}", as: "samples"},
		{sql: "select tag, date_trunc('day', time) from {samples} where tag = 'sparse'", as: "samples"},
		{sql: "select tag, count(*), (select count(*) from samples x where x.tag = samples.tag) as k from {samples} group by tag", as: "samples"},
	} {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run("", func(t *testing.T) {
			with, without := forms(x.sql)
			want, err := askSQL(t, c, without, x.values...)
			require.NoError(t, err, without)
			got, err := askSQL(t, c, with, x.values...)
			require.NoError(t, err, with)
			requireAlike(t, want, got, with)
			explained, err := askSQL(t, c, "explain "+with, x.values...)
			require.NoError(t, err)
			var scans []string
			for _, r := range explained.rows {
				scans = append(scans, r[0].(string))
			}
			if x.as == "none" {
				require.Empty(t, scans, with)
				return
			}
			require.Contains(t, scans, cmp.Or(x.as, "partials"), "%s: %v", with, explained.rows)
			if x.as == "" {
				require.NotContains(t, scans, "samples", with)
			}
		})
	}

	for _, sql := range []string{
		// All that could come first of several at one time stands in the order, so that there is one answer.
		"select * from {samples} qualify row_number() over (partition by tag order by time desc, time_ns, seq) = 1",
		"select * from {samples} qualify row_number() over (partition by tag order by time, time_ns desc, seq desc) <= 7",
		"select * from {samples} qualify rank() over (partition by tag_id order by time desc) <= 40",
		"select * from {good} where tag in ('mixed', 'tie', 'fine') qualify row_number() over (partition by tag order by time desc, time_ns, seq desc) <= 1000",
		"select * from {samples} where severity = 'Uncertain' qualify row_number() over (partition by tag order by time_ns desc, seq) <= 3",
		"select * from {samples} where value is not null and time < '2026-03-03 17:30:00.0000005' qualify row_number() over (partition by tag order by time desc, time_ns, seq) = 1",
		"select distinct on (tag) tag, value, value_text, time_ns, seq from {samples} where value is not null order by tag, time desc, time_ns, seq",
		"select distinct on (tag) * from {samples} where time between '2026-03-02' and '2026-03-03 17:30:00' order by tag, time, seq",
		"select * from (select *, row_number() over (partition by tag order by time desc, time_ns, seq) as place from {samples}) where place <= 2",
		"select * from {samples} where tag = 'retyped' qualify row_number() over (partition by tag order by time_ns desc, seq) <= 10000",
		"select * from {samples} where tag = 'retyped' qualify row_number() over (partition by tag order by time_ns, seq) <= 10000",
		"select * from {samples} order by time desc, time_ns, seq, tag limit 100",
		"select * from {samples} where severity in ('Good', 'Uncertain') order by time_ns, seq desc, tag limit 50 offset 20",
		"select tag, value, seq from {good} where tag in ('mixed', 'tie', 'retyped') and value is not null order by time desc, seq, time_ns, tag limit 1000",
		// The greatest or least time.
		"select * from {samples} where (tag, time) in (select tag, max(time) from {samples} group by tag)",
		"select * from {good} where (time_ns, tag_id) in (select min(time_ns), tag_id from {good} where tag <> 'retyped' group by all)",
		"select samples.*, m.t from {samples} join (select tag, max(time) as t, count(*) from {samples} group by 1) m on samples.tag = m.tag and time = m.t where value is not null",
		"with m as (select tag, min(time) as time from {samples} group by tag) select tag, time, value, t.type from {samples} join m using (tag, time) join tags t on t.name = tag where t.type <> 'int64'",
		"select * from {good} where time = (select max(time) from {samples} where tag = good_samples.tag)",
		"select tag, time_ns, seq, count(*) over () from {samples} where time = (select max(time) from {samples}) and severity <> 'Bad'",
	} {
		requireFew(t, c, sql)
	}
	few := rand.New(rand.NewPCG(3, 4))
	for range map[bool]int{false: 20, true: 5}[testing.Short()] {
		requireFew(t, c, randomFew(few))
	}

	// Where nothing is written over what is sealed no chunk is decoded.
	explained, err := askSQL(t, c, "explain select date_trunc('hour', time) as t, avg(value), count(*) from samples where tag = 'dense' and time >= '2026-03-04' and time < '2026-03-04 12:00:00' group by t")
	require.NoError(t, err)
	require.Equal(t, []any{"12", "0", "0"}, explained.rows[0][3:6], "%v", explained.rows)

	rng := rand.New(rand.NewPCG(1, 2))
	n := 100
	if testing.Short() {
		n = 10
	}
	for range n {
		requireSame(t, c, randomAggregates(rng))
	}
}

// requireSame holds the answer of a statement to that of its form that nothing helps, and is both forms.
func requireSame(t testing.TB, c *client, sql string) (with, without string) {
	t.Helper()
	with, without = forms(sql)
	want, err := askSQL(t, c, without)
	require.NoError(t, err, without)
	got, err := askSQL(t, c, with)
	require.NoError(t, err, with)
	requireAlike(t, want, got, with)
	return with, without
}

// requireFew holds the answer of a statement that wants the first samples of each tag to that from all of them, and that it did not read those.
func requireFew(t testing.TB, c *client, sql string) {
	t.Helper()
	with, without := requireSame(t, c, sql)
	require.Contains(t, narrowedBy(t, c, with), " of each tag", with)
	require.NotContains(t, narrowedBy(t, c, without), " of each tag", without)
}

// narrowedBy is what the scans of a statement were narrowed by.
func narrowedBy(t testing.TB, c *client, sql string) string {
	explained, err := askSQL(t, c, "explain "+sql)
	require.NoError(t, err)
	var all []string
	for _, r := range explained.rows {
		all = append(all, r[2].(string))
	}
	return strings.Join(all, "; ")
}

// randomFew is a selection of the first samples of each tag. All that could come first stands in its order.
func randomFew(rng *rand.Rand) string {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	from := one("{samples}", "{good}")
	var where []string
	at := func() string {
		return time.Unix(0, partialsStart+rng.Int64N(4*86400)*int64(time.Second)).UTC().Format("2006-01-02 15:04:05") + one("", ".000001", ".5")
	}
	if rng.IntN(2) == 0 {
		where = append(where, fmt.Sprintf("time %s '%s'", one("<", "<="), at()))
	} else if rng.IntN(2) == 0 {
		where = append(where, fmt.Sprintf("time %s '%s'", one(">", ">="), at()))
	}
	if rng.IntN(2) == 0 {
		where = append(where, one("tag like '%e%'", "tag in ('fine', 'retyped', 'mixed', 'sparse')", "tag_id <> 3"))
	}
	if rng.IntN(3) == 0 && from == "{samples}" {
		where = append(where, one("severity = 'Good'", "severity in ('Uncertain', 'Bad')", "quality >= 1073741824"))
	}
	if rng.IntN(3) == 0 {
		where = append(where, "value is not null")
	}
	if len(where) > 0 {
		from += " where " + strings.Join(where, " and ")
	}
	order := one("time desc, time_ns desc, seq desc", "time desc, time_ns, seq", "time_ns desc, value, seq", "time, time_ns desc, seq", "time, seq desc, time_ns", "time_ns, seq")
	tag := one("tag", "tag_id", "tag, tag_id")
	most := 1 + rng.IntN(4)
	if rng.IntN(4) == 0 {
		most = 1 + rng.IntN(3000)
	}
	switch rng.IntN(4) {
	case 0:
		return fmt.Sprintf("select * from %s order by %s, tag_id limit %d%s", from, order, most, one("", "", " offset 1", " offset 700"))
	case 1:
		return fmt.Sprintf("select distinct on (%s) * from %s order by %s, %s", tag, from, tag, order)
	case 2:
		return fmt.Sprintf("select * from (select *, %s over (partition by %s order by %s) as place from %s) where place <= %d", one("row_number()", "rank()"), tag, order, from, most)
	}
	return fmt.Sprintf("select * from %s qualify %s over (partition by %s order by %s) <= %d", from, one("row_number()", "rank()"), tag, order, most)
}

// randomAggregates is a selection of aggregates, most of which partials answer.
func randomAggregates(rng *rand.Rand) string {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	var selected, groups, where []string
	if rng.IntN(4) > 0 {
		groups = append(groups, one("tag", "tag_id", "tag || '!'"))
	}
	switch rng.IntN(6) {
	case 0:
		groups = append(groups, fmt.Sprintf("date_trunc('%s', time)", one("hour", "day", "week", "month", "minute")))
	case 1:
		groups = append(groups, fmt.Sprintf("time_bucket(interval '%d %s', time)", 1+rng.IntN(30), one("hours", "days", "months", "minutes")))
	case 2:
		groups = append(groups, fmt.Sprintf("time_bucket(interval '%d hours', time, timestamptz '2026-01-01 %02d:%s:00+00')", 1+rng.IntN(30), rng.IntN(24), one("00", "00", "30")))
	case 3:
		groups = append(groups, "time::date")
	}
	from := one("{samples}", "{samples}", "{good}")
	switch rng.IntN(6) {
	case 0, 1:
		from += one(" join", " left join") + " tags t using (tag_id)"
		if rng.IntN(2) == 0 {
			groups = append(groups, "t.type")
		}
		if rng.IntN(3) == 0 {
			where = append(where, one("t.type <> 'int64'", "t.type = 'float64'", "t.name like '%e%'"))
		}
	case 2:
		from += " join tag_names n using (tag_id)"
	}
	selected = append(selected, groups...)
	for _, a := range strings.Split("count(*)|count(value)|min(value)|max(value)|sum(value)|avg(value)|arg_min(value, time)|max_by(value, time)|first(value order by time)|last(value order by time)|min(time)|max(time)", "|") {
		if rng.IntN(3) == 0 {
			selected = append(selected, a)
		}
	}
	if len(selected) == len(groups) {
		selected = append(selected, "count(*)")
	}
	at := func() string {
		t := time.Unix(0, partialsStart+rng.Int64N(5*86400)*int64(time.Second)-86400*int64(time.Second)).UTC()
		return t.Truncate([]time.Duration{1, time.Minute, time.Hour, 24 * time.Hour}[rng.IntN(4)]).Format("2006-01-02 15:04:05") + one("", "", ".000001", ".5")
	}
	if rng.IntN(2) == 0 {
		where = append(where, fmt.Sprintf("time %s '%s'", one(">", ">="), at()))
	}
	if rng.IntN(2) == 0 {
		where = append(where, fmt.Sprintf("time %s '%s'", one("<", "<="), at()))
	}
	if rng.IntN(3) == 0 || len(groups) == 0 || !strings.HasPrefix(groups[0], "tag") {
		where = append(where, fmt.Sprintf("tag = '%s'", partialsTags[rng.IntN(len(partialsTags))].name))
	}
	if rng.IntN(3) == 0 {
		where = append(where, "severity = 'Good'")
	}
	if rng.IntN(4) == 0 {
		where = append(where, "value is not null")
	}
	sql := "select " + strings.Join(selected, ", ") + " from " + from
	if len(where) > 0 {
		sql += " where " + strings.Join(where, " and ")
	}
	if len(groups) > 0 {
		sql += " group by " + strings.Join(groups, ", ")
	}
	return sql
}
