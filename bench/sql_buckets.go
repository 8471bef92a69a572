package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// bucketsReport is aggregates of all samples of some tags by three ways, with equal answers.
type bucketsReport struct {
	Name     string       `json:"name"`
	Rows     int64        `json:"rows"`
	GroupBy  *queryReport `json:"group_by"`
	Function *queryReport `json:"aggregate_function"`
	GRPC     *queryReport `json:"read_aggregates"`
}

// tagBucket is a tag and where its time begins.
type tagBucket struct {
	tag   string
	start int64
}

// measureSQLBuckets asks for average, least, greatest and number of hours and days, of a hundred tags and of all.
func measureSQLBuckets(ctx context.Context, o *sqlOptions, s *server, conn *grpc.ClientConn, client *sqlClient) ([]*bucketsReport, error) {
	read := grpcDoor(conn, varvev1.QueryService_ReadAggregates_FullMethodName)
	start, end := o.at(0), o.at(o.steps())
	var all []*bucketsReport
	for _, tags := range []int{min(100, o.Tags), o.Tags} {
		if len(all) > 0 && tags == 100 {
			break
		}
		list, repeat := "", o.ScanRepeat
		request := &varvev1.ReadAggregatesRequest{StartNs: start, EndNs: end, Aggregates: []string{"event_weighted_average", "minimum", "maximum", "count"}}
		for i := range tags {
			name := plant.Name(i * (o.Tags / tags))
			request.Tags = append(request.Tags, name)
			if i > 0 {
				list += ", "
			}
			list += "'" + name + "'"
		}
		where, of := " where", "'*'"
		if tags < o.Tags {
			repeat, where, of = o.Repeat, " where tag in ("+list+") and", "["+list+"]"
		}
		for _, every := range []time.Duration{time.Hour, 24 * time.Hour} {
			hours := strconv.Itoa(int(every / time.Hour))
			groupBy := fmt.Sprintf("select tag, time_bucket(interval '%s hours', time) as bucket, avg(value) as a, min(value) as b, max(value) as c, count(value) as d from samples%s time >= %s and time < %s group by 1, 2",
				hours, where, literal(start), literal(end))
			function := fmt.Sprintf("select tag, bucket, function, value from aggregate(tags => %s, start => %s, stop => %s, every => '%sh', functions => ['event_weighted_average', 'minimum', 'maximum', 'count'])",
				of, literal(start), literal(end), hours)
			question := proto.Clone(request).(*varvev1.ReadAggregatesRequest)
			question.StepNs = int64(every)
			one, err := compareBuckets(ctx, s, read, question, client, groupBy, function, repeat)
			if err != nil {
				return nil, fmt.Errorf("%d tags, every %s: %w", tags, every, err)
			}
			one.Name = fmt.Sprintf("%d tags, every %sh", tags, hours)
			all = append(all, one)
		}
	}
	return all, nil
}

// compareBuckets holds both statements against the read over gRPC, and times the three.
func compareBuckets(ctx context.Context, s *server, read door, question *varvev1.ReadAggregatesRequest, client *sqlClient, groupBy, function string, repeat int) (*bucketsReport, error) {
	want, byGroup, byFunction := map[tagBucket][4]float64{}, map[tagBucket][4]float64{}, map[tagBucket][4]float64{}
	if err := read(ctx, question, keepBuckets(want, "time", "event_weighted_average", "minimum", "maximum", "count")); err != nil {
		return nil, fmt.Errorf("ReadAggregates: %w", err)
	}
	if err := client.ask(ctx, groupBy, keepBuckets(byGroup, "bucket", "a", "b", "c", "d")); err != nil {
		return nil, fmt.Errorf("%.60s…: %w", groupBy, err)
	}
	if err := client.ask(ctx, function, keepFunctions(byFunction)); err != nil {
		return nil, fmt.Errorf("%.60s…: %w", function, err)
	}
	for name, got := range map[string]map[tagBucket][4]float64{"GROUP BY": byGroup, "aggregate(…)": byFunction} {
		if len(got) != len(want) || len(want) == 0 {
			return nil, fmt.Errorf("%s has %d buckets, want %d", name, len(got), len(want))
		}
		for at, w := range want {
			g, ok := got[at]
			for i := range w {
				if !ok || near(g[i], w[i]) != nil {
					return nil, fmt.Errorf("%s has %v of %s at %d, want %v", name, g, at.tag, at.start, w)
				}
			}
		}
	}
	r := &bucketsReport{Rows: int64(len(want))}
	var err error
	if r.GroupBy, err = timeQuery(ctx, "GROUP BY", repeat, r.Rows, s, func(ctx context.Context, visit visitor) error { return client.ask(ctx, groupBy, visit) }); err != nil {
		return nil, err
	}
	if r.Function, err = timeQuery(ctx, "aggregate(…)", repeat, 4*r.Rows, s, func(ctx context.Context, visit visitor) error { return client.ask(ctx, function, visit) }); err != nil {
		return nil, err
	}
	r.GRPC, err = timeQuery(ctx, "ReadAggregates", repeat, r.Rows, s, func(ctx context.Context, visit visitor) error { return read(ctx, question, visit) })
	return r, err
}

// keepBuckets keeps rows with a column for each aggregate.
func keepBuckets(into map[tagBucket][4]float64, start string, columns ...string) visitor {
	return func(r arrow.Record) error {
		tags, err := textsOf(r, "tag")
		if err != nil {
			return err
		}
		times, err := column[*array.Timestamp](r, start)
		if err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			var all [4]float64
			for i, name := range columns {
				if all[i], err = numberOf(r, name, row); err != nil {
					return err
				}
			}
			into[tagBucket{strings.Clone(tags(row)), int64(times.Value(row))}] = all
		}
		return nil
	}
}

// keepFunctions keeps rows with an aggregate each.
func keepFunctions(into map[tagBucket][4]float64) visitor {
	place := map[string]int{"event_weighted_average": 0, "minimum": 1, "maximum": 2, "count": 3}
	return func(r arrow.Record) error {
		tags, err := textsOf(r, "tag")
		if err != nil {
			return err
		}
		functions, err := textsOf(r, "function")
		if err != nil {
			return err
		}
		times, err := column[*array.Timestamp](r, "bucket")
		if err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			at := tagBucket{strings.Clone(tags(row)), int64(times.Value(row))}
			all := into[at]
			i, ok := place[functions(row)]
			if !ok {
				return fmt.Errorf("function %s was not asked for", functions(row))
			}
			if all[i], err = numberOf(r, "value", row); err != nil {
				return err
			}
			into[at] = all
		}
		return nil
	}
}

// numberOf is a whole number or a double; NaN for none.
func numberOf(r arrow.Record, name string, row int) (float64, error) {
	at := r.Schema().FieldIndices(name)
	if len(at) != 1 {
		return 0, fmt.Errorf("the answer has no column %s: %s", name, r.Schema())
	}
	if r.Column(at[0]).IsNull(row) {
		return math.NaN(), nil
	}
	switch c := r.Column(at[0]).(type) {
	case *array.Float64:
		return c.Value(row), nil
	case *array.Int64:
		return float64(c.Value(row)), nil
	case *array.Uint64:
		return float64(c.Value(row)), nil
	}
	return 0, fmt.Errorf("column %s is %s", name, r.Column(at[0]).DataType())
}

// near reports whether a calculation is what another one came to, but for the order of its sums.
func near(a, b float64) error {
	if math.Abs(a-b) > 1e-9*max(math.Abs(a), math.Abs(b), 1) {
		return errors.New("other values")
	}
	return nil
}
