package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// rangesReport is one tag and a range of time, again and again, by three ways in turn. Times are milliseconds.
type rangesReport struct {
	Rows    int64       `json:"rows"`           // of all ranges
	GRPC    percentiles `json:"read_range_ms"`  // QueryService.ReadRange
	SQL     percentiles `json:"flight_sql_ms"`  // a prepared statement: bind, ticket, fetch
	Service percentiles `json:"sql_service_ms"` // SqlService.Query

	// Chunks is what EXPLAIN says was decoded for the first of the ranges, and ExplainChunks what QueryService.Explain says of an aggregate of
	// the same samples.
	Explained     int   `json:"explained"`
	Chunks        int64 `json:"chunks_decoded"`
	ExplainChunks int64 `json:"explain_chunks_decoded"`
}

// explainedRanges is how many ranges are asked for what they read.
const explainedRanges = 50

// tagRange is a tag and a range of time in nanoseconds.
type tagRange struct {
	tag      int
	from, to int64
}

// randomRanges begin with a step and end half a second before another, so that each has as many samples as seconds.
func randomRanges(g grown, r *rand.Rand, length time.Duration, count int) []tagRange {
	var all []tagRange
	steps := int(length / time.Second)
	for range count {
		step := r.IntN(g.steps() - steps)
		all = append(all, tagRange{r.IntN(g.Tags), g.at(step), g.at(step+steps) - second/2})
	}
	return all
}

// measureRanges holds every answer against what was sent, by all ways, and then times them.
func measureRanges(ctx context.Context, o *sqlOptions, conn *grpc.ClientConn, client *sqlClient) (*rangesReport, error) {
	r := &rangesReport{}
	ranges := randomRanges(o.grown, rand.New(rand.NewPCG(o.Seed, 0)), o.Range, o.Ranges)
	read, service := grpcDoor(conn, varvev1.QueryService_ReadRange_FullMethodName), grpcDoor(conn, varvev1.SqlService_Query_FullMethodName)
	st, err := client.Prepare(ctx, rangeSQL)
	if err != nil {
		return nil, err
	}
	defer st.Close(ctx)
	ways := []struct {
		name string
		took []float64
		ask  func(x tagRange, visit visitor) error
	}{
		{name: "ReadRange", ask: func(x tagRange, visit visitor) error {
			return read(ctx, &varvev1.ReadRangeRequest{Tags: []string{plant.Name(x.tag)}, StartNs: proto.Int64(x.from), EndNs: proto.Int64(x.to)}, visit)
		}},
		{name: "Flight SQL", ask: func(x tagRange, visit visitor) error {
			st.SetParameters(rangeParameters(plant.Name(x.tag), x.from, x.to))
			return client.again(ctx, st, visit)
		}},
		{name: "SqlService", ask: func(x tagRange, visit visitor) error {
			return service(ctx, rangeRequest(rangeSQL, plant.Name(x.tag), x.from, x.to), visit)
		}},
	}
	for _, x := range ranges {
		want := o.sent(x.tag, x.from, x.to)
		for _, way := range ways {
			var got series
			if err := way.ask(x, seriesOf(&got)); err != nil {
				return nil, fmt.Errorf("%s: %w", way.name, err)
			}
			if _, err := compareSeries(want, got, rawSamples, true); err != nil {
				return nil, fmt.Errorf("%s answers other than what was sent of %s: %w", way.name, plant.Name(x.tag), err)
			}
		}
		r.Rows += int64(len(want.times))
	}
	for _, x := range ranges {
		for i := range ways {
			way := &ways[i]
			rows := int64(0)
			began := time.Now()
			if err := way.ask(x, func(rec arrow.Record) error { rows += rec.NumRows(); return nil }); err != nil {
				return nil, fmt.Errorf("%s: %w", way.name, err)
			}
			way.took = append(way.took, float64(time.Since(began).Nanoseconds())/1e6)
			if rows != int64(o.Range/time.Second) {
				return nil, fmt.Errorf("%s: %d rows, want %d", way.name, rows, o.Range/time.Second)
			}
		}
	}
	r.GRPC, r.SQL, r.Service = percentilesOf(ways[0].took), percentilesOf(ways[1].took), percentilesOf(ways[2].took)
	return r, r.explain(ctx, conn, service, ranges[:min(len(ranges), explainedRanges)])
}

// explain asks what the ranges read, by SQL and by an aggregate over their samples. One that took rollups says nothing of chunks.
func (r *rangesReport) explain(ctx context.Context, conn *grpc.ClientConn, service door, ranges []tagRange) error {
	engine := varvev1.NewQueryServiceClient(conn)
	for _, x := range ranges {
		q := rangeRequest(rangeSQL, plant.Name(x.tag), x.from, x.to).(*varvev1.SqlRequest)
		sql, err := explain(ctx, service, q)
		if err != nil {
			return fmt.Errorf("EXPLAIN: %w", err)
		}
		e, err := engine.Explain(ctx, &varvev1.ExplainRequest{Tag: plant.Name(x.tag), StartNs: x.from, EndNs: x.to, Aggregate: "count"})
		if err != nil {
			return fmt.Errorf("ask QueryService.Explain: %w", err)
		}
		read := e.Reading
		if read.RollupDays+read.RollupHours+read.RollupTenMinutes > 0 {
			continue
		}
		r.Explained++
		r.Chunks += sql.Chunks
		r.ExplainChunks += read.Chunks
	}
	return nil
}

// measureSmall times statements whose answer is small, so that what is measured is the way of a statement itself.
func measureSmall(ctx context.Context, o *sqlOptions, s *server, conn *grpc.ClientConn, client *sqlClient) ([]*queryReport, error) {
	from, to := o.at(0), o.at(1)-second/2
	tag := plant.Name(0)
	bound, err := client.Prepare(ctx, rangeSQL)
	if err != nil {
		return nil, err
	}
	defer bound.Close(ctx)
	fixedSQL := fmt.Sprintf("select time, value, quality from samples where tag = '%s' and time >= %s and time < %s", tag, literal(from), literal(to))
	fixed, err := client.Prepare(ctx, fixedSQL)
	if err != nil {
		return nil, err
	}
	defer fixed.Close(ctx)
	service := grpcDoor(conn, varvev1.SqlService_Query_FullMethodName)
	var all []*queryReport
	for _, q := range []struct {
		name string
		rows int64
		ask  func(context.Context, visitor) error
	}{
		{"prepared, bound anew, 1 row", 1, func(ctx context.Context, visit visitor) error {
			bound.SetParameters(rangeParameters(tag, from, to))
			return client.again(ctx, bound, visit)
		}},
		{"prepared, without parameters, 1 row", 1, func(ctx context.Context, visit visitor) error { return client.again(ctx, fixed, visit) }},
		{"select * from samples limit 200", 200, func(ctx context.Context, visit visitor) error {
			return client.ask(ctx, "select * from samples limit 200", visit)
		}},
		{"not prepared, 1 row", 1, func(ctx context.Context, visit visitor) error { return client.ask(ctx, fixedSQL, visit) }},
		{"SqlService, gRPC, 1 row", 1, func(ctx context.Context, visit visitor) error {
			return service(ctx, rangeRequest(rangeSQL, tag, from, to), visit)
		}},
		{"select 1", 1, func(ctx context.Context, visit visitor) error { return client.ask(ctx, "select 1", visit) }},
	} {
		if q.rows == 1 && q.name != "select 1" {
			var got series
			want := o.sent(0, from, to)
			if err := q.ask(ctx, seriesOf(&got)); err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
			if _, err := compareSeries(want, got, rawSamples, true); err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
		}
		one, err := timeQuery(ctx, q.name, o.Repeat, q.rows, s, q.ask)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
