package main

import (
	"context"
	"fmt"
	"math"
	"sort"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// measureWide is Q7: up to a thousand tags side by side, a row a second of up to an hour, the last sample of each.
func measureWide(ctx context.Context, s *server, conn *grpc.ClientConn, o *options) ([]*queryReport, error) {
	if o.Workload != "w1" { // a sample a minute has no second
		return nil, nil
	}
	samples := o.within(3600)
	start := o.start() * millisecond
	question := &varvev1.ReadWideRequest{StartNs: start, EndNs: start + int64(o.lasting(samples)), StepNs: second, Mode: varvev1.ReadWideRequest_MODE_ASOF}
	c := &wideComparer{}
	for tag := range min(1000, o.Tags) {
		question.Tags = append(question.Tags, plant.Name(tag))
		times, values := makeTag(o, tag, samples)
		c.tags = append(c.tags, wideTag{plant.Name(tag), times, values})
	}
	ask := grpcDoor(conn, varvev1.QueryService_ReadWide_FullMethodName)
	name := fmt.Sprintf("Q7 wide asof, 1s, tags=%d, %s", len(c.tags), o.lasting(samples))
	if err := ask(ctx, question, c.visit); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	rows := (question.EndNs - question.StartNs + second - 1) / second
	if c.rows != rows {
		return nil, fmt.Errorf("%s: the answer has %d rows, want %d", name, c.rows, rows)
	}
	r, err := timeQuery(ctx, name+", gRPC, cells", o.Repeat, rows, s, func(ctx context.Context, visit visitor) error { return ask(ctx, question, visit) })
	if err != nil {
		return nil, err
	}
	r.Rows *= int64(len(c.tags)) // what other answers have rows for, this one has cells for
	r.RowsPerSecond *= float64(len(c.tags))
	return []*queryReport{r}, nil
}

// wideTag is what the plant made for one column.
type wideTag struct {
	name   string
	times  []int64
	values []float64
}

// wideComparer holds every cell against the last sample made at or before its row.
type wideComparer struct {
	tags []wideTag
	rows int64
}

func (c *wideComparer) visit(r arrow.Record) error {
	times, err := column[*array.Timestamp](r, "time")
	if err != nil {
		return err
	}
	for i := range c.tags {
		t := &c.tags[i]
		have, err := column[*array.Float64](r, t.name)
		if err != nil {
			return err
		}
		for row := range int(r.NumRows()) {
			at := int64(times.Value(row))
			k := sort.Search(len(t.times), func(k int) bool { return t.times[k] > at }) - 1
			if k < 0 != have.IsNull(row) || k >= 0 && math.Float64bits(have.Value(row)) != math.Float64bits(t.values[k]) {
				return fmt.Errorf("%s at %d is %v, not the last of what was sent", t.name, at, have.Value(row))
			}
		}
	}
	c.rows += r.NumRows()
	return nil
}
