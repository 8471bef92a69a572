package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// scanReport is a scan of many rows to its end: the median of its runs, and the most memory of any.
type scanReport struct {
	Name          string  `json:"name"`
	Rows          int64   `json:"rows"`
	Runs          int     `json:"runs"`
	Seconds       float64 `json:"seconds"`
	RowsPerSecond float64 `json:"rows_per_second"`
	FirstRow      float64 `json:"first_row_ms"` // until the first record batch is decoded
	// CPU seconds per million rows.
	ServerCPU float64 `json:"server_cpu_seconds_per_million"`
	ChildCPU  float64 `json:"sql_process_cpu_seconds_per_million"`
	ClientCPU float64 `json:"client_cpu_seconds_per_million"`
	// Tenth is the most memory until a tenth of the rows was here, Whole until all were.
	Tenth peaks `json:"peaks_of_first_tenth"`
	Whole peaks `json:"peaks"`
}

// measureScans reads the first rows of the store with a plain statement, with a calculated column, and over gRPC.
func measureScans(ctx context.Context, o *sqlOptions, s *server, conn *grpc.ClientConn, client *sqlClient) ([]*scanReport, error) {
	steps := min(o.ScanRows/o.Tags, o.steps())
	end := o.at(steps) - second/2
	where := " from samples where time < " + literal(end)
	plain, twice := "select time, tag, value, quality"+where, "select time, tag, value * 2 as value, quality"+where
	read := grpcDoor(conn, varvev1.QueryService_ReadRange_FullMethodName)
	request := &varvev1.ReadRangeRequest{StartNs: proto.Int64(o.at(0)), EndNs: proto.Int64(end)}
	for tag := range o.Tags {
		request.Tags = append(request.Tags, plant.Name(tag))
	}
	// A few steps of every tag are held against what was sent.
	few := min(steps, max(1, 1_000_000/o.Tags))
	for times, sql := range map[float64]string{
		1: "select time, tag, value, quality from samples where time < " + literal(o.at(few)-second/2),
		2: "select time, tag, value * 2 as value, quality from samples where time < " + literal(o.at(few)-second/2),
	} {
		if err := checkScan(ctx, o, client, sql, few, times); err != nil {
			return nil, fmt.Errorf("%s: %w", sql, err)
		}
	}
	var all []*scanReport
	for _, q := range []struct {
		name string
		ask  func(context.Context, visitor) error
	}{
		{"time, tag, value, quality", func(ctx context.Context, visit visitor) error { return client.ask(ctx, plain, visit) }},
		{"time, tag, value * 2, quality", func(ctx context.Context, visit visitor) error { return client.ask(ctx, twice, visit) }},
		{"ReadRange, gRPC", func(ctx context.Context, visit visitor) error { return read(ctx, request, visit) }},
	} {
		one, err := measureScan(ctx, s, q.name, int64(steps)*int64(o.Tags), o.ScanRepeat, q.ask)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
		all = append(all, one)
	}
	if python := adbcPython(); python != "" {
		one, err := measureADBC(ctx, s, python, plain, int64(steps)*int64(o.Tags))
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// checkScan holds the first steps of every tag, in whatever order they come, against what was sent, times a factor.
func checkScan(ctx context.Context, o *sqlOptions, client *sqlClient, sql string, steps int, factor float64) error {
	got := make(map[string]*series, o.Tags)
	if err := client.ask(ctx, sql, func(r arrow.Record) error {
		tags, err := textsOf(r, "tag")
		if err != nil {
			return err
		}
		times, err := column[*array.Timestamp](r, "time")
		if err != nil {
			return err
		}
		values, err := column[*array.Float64](r, "value")
		if err != nil {
			return err
		}
		good, err := goodOf(r)
		if err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			s := got[tags(row)]
			if s == nil {
				s = &series{}
				got[strings.Clone(tags(row))] = s // the column's memory is used again
			}
			if !good(row) || values.IsNull(row) {
				return fmt.Errorf("a sample of %s without a value or of another quality than Good", tags(row))
			}
			s.add(int64(times.Value(row))/millisecond, values.Value(row))
		}
		return nil
	}); err != nil {
		return err
	}
	if len(got) != o.Tags {
		return fmt.Errorf("rows of %d tags, want %d", len(got), o.Tags)
	}
	for tag := range o.Tags {
		s := got[plant.Name(tag)]
		if s == nil {
			return fmt.Errorf("no row of %s", plant.Name(tag))
		}
		sort.Sort(s)
		want := o.sent(tag, math.MinInt64/2, o.at(steps)-second/2)
		for i := range want.values {
			want.values[i] *= factor
		}
		if _, err := compareSeries(want, *s, rawSamples, true); err != nil {
			return fmt.Errorf("%s: %w", plant.Name(tag), err)
		}
	}
	return nil
}

// Len, Less and Swap order a series by time.
func (s *series) Len() int           { return len(s.times) }
func (s *series) Less(i, j int) bool { return s.times[i] < s.times[j] }
func (s *series) Swap(i, j int) {
	s.times[i], s.times[j] = s.times[j], s.times[i]
	s.values[i], s.values[j] = s.values[j], s.values[i]
}

// measureScan reads to the end, again and again.
func measureScan(ctx context.Context, s *server, name string, rows int64, repeat int, ask func(context.Context, visitor) error) (*scanReport, error) {
	r := &scanReport{Name: name, Rows: rows, Runs: repeat}
	var took, first, server, child, client []float64
	for range repeat {
		before, err := s.usage()
		if err != nil {
			return nil, err
		}
		own, _ := cpuSeconds("self")
		childBefore := sqlCPU(s.process.Process.Pid)
		w := watch(s.process.Process.Pid, "")
		var got int64
		began, tenth := time.Now(), false
		err = ask(ctx, func(rec arrow.Record) error {
			if got == 0 {
				first = append(first, float64(time.Since(began).Nanoseconds())/1e6)
			}
			if got += rec.NumRows(); !tenth && got >= rows/10 {
				r.Tenth, tenth = r.Tenth.most(w.so()), true
			}
			return nil
		})
		seconds := time.Since(began).Seconds()
		r.Whole = r.Whole.most(w.stop())
		if err != nil {
			return nil, err
		}
		if got != rows {
			return nil, fmt.Errorf("%d rows, want %d", got, rows)
		}
		after, err := s.usage()
		if err != nil {
			return nil, err
		}
		ownAfter, _ := cpuSeconds("self")
		millions := float64(rows) / 1e6
		took, server = append(took, seconds), append(server, (after.cpu-before.cpu)/millions)
		child = append(child, (sqlCPU(s.process.Process.Pid)-childBefore)/millions)
		client = append(client, (ownAfter-own)/millions)
	}
	for _, list := range [][]float64{took, first, server, child, client} {
		slices.Sort(list)
	}
	middle := repeat / 2
	r.Seconds, r.FirstRow = took[middle], first[middle]
	r.ServerCPU, r.ChildCPU, r.ClientCPU = server[middle], child[middle], client[middle]
	r.RowsPerSecond = float64(rows) / r.Seconds
	return r, nil
}

// most is the greater of each figure.
func (p peaks) most(q peaks) peaks {
	return peaks{max(p.Server, q.Server), max(p.Child, q.Child), max(p.Temp, q.Temp), p.Deaths + q.Deaths}
}
