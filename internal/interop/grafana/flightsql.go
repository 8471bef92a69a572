package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/data/sqlutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// flightMacros are those of the data source, beside those of the library.
var flightMacros = sqlutil.Macros{
	"timeRange": sqlutil.DefaultMacros["timeFilter"],
	"timeFrom": func(q *sqlutil.Query, _ []string) (string, error) {
		return "cast('" + q.TimeRange.From.Format(time.RFC3339) + "' as timestamp)", nil
	},
	"timeTo": func(q *sqlutil.Query, _ []string) (string, error) {
		return "cast('" + q.TimeRange.To.Format(time.RFC3339) + "' as timestamp)", nil
	},
	"interval": func(q *sqlutil.Query, _ []string) (string, error) {
		return fmt.Sprintf("interval '%d second'", int(q.Interval.Seconds())), nil
	},
	"dateBin": func(q *sqlutil.Query, args []string) (string, error) {
		return fmt.Sprintf("date_bin(interval '%d second', %s, timestamp '1970-01-01T00:00:00Z')", int(q.Interval.Seconds()), args[0]), nil
	},
	"timeGroup": func(_ *sqlutil.Query, args []string) (string, error) {
		return fmt.Sprintf("datepart('hour', %[1]s),datepart('day', %[1]s),datepart('month', %[1]s),datepart('year', %[1]s)", args[0]), nil
	},
}

func flightSQL(ctx context.Context, address string, p *plant) (err error) {
	c, err := flightsql.NewClient(address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s := &flightSource{ctx, c}
	if err := s.metadata(); err != nil {
		return fmt.Errorf("metadata over Flight SQL: %w", err)
	}
	ran("Grafana (Flight SQL)", sdk, "metadata", "its check of health, tables by their type, columns by a schema, facts about the server")

	for _, x := range []struct {
		sql  string
		tag  string
		want []step
	}{
		{"select time, value from samples where tag = 'TEP.XMEAS_09' and $__timeRange(time) order by time", "", p.samples("XMEAS_09")},
		{"select time, tag, value from samples where tag in ('TEP.XMEAS_01', 'TEP.XMEAS_09') and $__timeRange(time) order by time", "TEP.XMEAS_01", p.samples("XMEAS_01")},
		{"select $__dateBin(time) as time, avg(value) as mean from samples where tag = 'TEP.XMEAS_09' and $__timeRange(time) group by 1 order by 1", "", p.means("XMEAS_09")},
		{"select time_bucket($__interval(), time) as time, avg(value) as mean from samples where tag = 'TEP.XMEAS_09' and time >= $__timeFrom() and time <= $__timeTo() group by 1 order by 1", "", p.means("XMEAS_09")},
		{"select bucket as time, value from aggregate(tags => 'TEP.XMEAS_09', functions => 'event_weighted_average', start => $__timeFrom(), stop => $__timeTo(), every => $__interval()) order by 1",
			"", p.means("XMEAS_09")[:8]},
	} {
		frame, err := s.frame(x.sql)
		if err == nil {
			err = requireSeries(frame, x.tag, x.want)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", x.sql, err)
		}
	}
	frame, err := s.frame("select $__timeGroup(time,hour), count(*) as n from samples where tag = 'TEP.XMEAS_09' and $__timeRange(time) group by $__timeGroup(time,hour) order by 1")
	if err != nil || frame.Rows() != 3 {
		return fmt.Errorf("grouped by the parts of a time: %v rows, %w", frame, err)
	}
	ran("Grafana (Flight SQL)", sdk, "parameters", "macros: timeRange, timeFrom, timeTo, interval, dateBin, timeGroup")
	asked, err := askPage(p, "Flight SQL", s.frame)
	if err != nil {
		return err
	}
	ran("Grafana (Flight SQL)", sdk, "read", fmt.Sprintf("time series equal to the file, of one tag and by tag, as its library makes frames; %d statements of the page", asked))
	return nil
}

// flightSource is how the data source asks.
type flightSource struct {
	ctx    context.Context
	client *flightsql.Client
}

// fetch reads an answer, which has one endpoint.
func (s *flightSource) fetch(info *flight.FlightInfo, err error) (schema *arrow.Schema, rows []arrow.RecordBatch, _ error) {
	if err != nil {
		return nil, nil, err
	}
	if len(info.Endpoint) != 1 {
		return nil, nil, fmt.Errorf("%d endpoints, of which the data source reads one", len(info.Endpoint))
	}
	r, err := s.client.DoGet(s.ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return nil, nil, err
	}
	defer r.Release()
	for r.Next() {
		rows = append(rows, r.RecordBatch())
		r.RecordBatch().Retain()
	}
	return r.Schema(), rows, r.Err()
}

func (s *flightSource) metadata() error {
	if _, rows, err := s.fetch(s.client.Execute(s.ctx, "select 1")); err != nil || len(rows) != 1 {
		return fmt.Errorf("select 1: %d batches, %w", len(rows), err)
	}
	if _, rows, err := s.fetch(s.client.GetSqlInfo(s.ctx, []flightsql.SqlInfo{})); err != nil || len(rows) == 0 {
		return fmt.Errorf("facts about the server: %d batches, %w", len(rows), err)
	}
	_, rows, err := s.fetch(s.client.GetTables(s.ctx, &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE", "table"}}))
	if err != nil {
		return err
	}
	var names []string
	for _, batch := range rows {
		for i := range int(batch.NumRows()) {
			names = append(names, batch.Column(2).(*array.String).Value(i))
		}
	}
	if !slices.Contains(names, "samples") || !slices.Contains(names, "tags") {
		return fmt.Errorf("its tables are %v", names)
	}
	table := "samples"
	_, rows, err = s.fetch(s.client.GetTables(s.ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: &table, IncludeSchema: true}))
	if err != nil || len(rows) != 1 || rows[0].NumRows() != 1 {
		return fmt.Errorf("one row of one table: %v, %w", rows, err)
	}
	schema, err := flight.DeserializeSchema(rows[0].Column(4).(*array.Binary).Value(0), memory.DefaultAllocator)
	if err != nil {
		return err
	}
	if _, err := newFrame(schema); err != nil {
		return err
	}
	if schema.Field(0).Name != "time" {
		return fmt.Errorf("samples has %s", schema)
	}
	return nil
}

// frame is what a panel gets for a statement.
func (s *flightSource) frame(text string) (*data.Frame, error) {
	sql, err := sqlutil.Interpolate(query(text), flightMacros)
	if err != nil {
		return nil, err
	}
	schema, batches, err := s.fetch(s.client.Execute(s.ctx, sql))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	f, err := newFrame(schema)
	if err != nil {
		return nil, err
	}
	for _, batch := range batches {
		for c, column := range batch.Columns() {
			for i := range column.Len() {
				f.Fields[c].Append(cell(column, i))
			}
		}
	}
	return wide(f)
}

// newFrame is an empty frame of the types that the data source knows. Of others it shows nothing, and it takes all instants for nanoseconds.
func newFrame(schema *arrow.Schema) (*data.Frame, error) {
	f := data.NewFrame("")
	for _, column := range schema.Fields() {
		var values any
		switch t := column.Type.(type) {
		case *arrow.StringType:
			values = []*string{}
		case *arrow.Float64Type:
			values = []*float64{}
		case *arrow.Int64Type:
			values = []*int64{}
		case *arrow.BooleanType:
			values = []*bool{}
		case *arrow.TimestampType:
			if t.Unit != arrow.Nanosecond {
				return nil, fmt.Errorf("%s is %s, which would be read as nanoseconds", column.Name, t)
			}
			values = []*time.Time{}
		default:
			return nil, fmt.Errorf("%s is %s, of which the data source shows nothing", column.Name, t)
		}
		f.Fields = append(f.Fields, data.NewField(column.Name, nil, values))
	}
	return f, nil
}

func cell(column arrow.Array, i int) any {
	switch c := column.(type) {
	case *array.String:
		return pointer(c, i, strings.Clone(c.Value(i)))
	case *array.Float64:
		return pointer(c, i, c.Value(i))
	case *array.Int64:
		return pointer(c, i, c.Value(i))
	case *array.Boolean:
		return pointer(c, i, c.Value(i))
	}
	c := column.(*array.Timestamp)
	return pointer(c, i, c.Value(i).ToTime(arrow.Nanosecond))
}

// pointer is a value, nil where there is none.
func pointer[T any](column arrow.Array, i int, v T) *T {
	if column.IsNull(i) {
		return nil
	}
	return &v
}

// askPage asks the statements under a heading of the page; each must make a time series with rows.
func askPage(p *plant, heading string, frame func(string) (*data.Frame, error)) (asked int, err error) {
	for _, text := range p.page[heading] {
		f, err := frame(variables(text))
		if err != nil {
			return asked, fmt.Errorf("the page: %s: %w", text, err)
		}
		if f.TimeSeriesSchema().Type != data.TimeSeriesTypeWide || f.Rows() == 0 {
			return asked, fmt.Errorf("the page: %s: %d rows, no time series", text, f.Rows())
		}
		asked++
	}
	if asked == 0 {
		return 0, fmt.Errorf("the page has no statements under %q", heading)
	}
	return asked, nil
}
