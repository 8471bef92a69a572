package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// bucketQuestion is a question about aggregates, and which tags of the plant it names.
type bucketQuestion struct {
	name    string
	request *varvev1.ReadAggregatesRequest
	tags    []int
}

// rows is how many rows the answer must have.
func (q *bucketQuestion) rows() int64 {
	r := q.request
	buckets := int64(1)
	if r.StepNs > 0 {
		buckets = (r.EndNs - r.StartNs + r.StepNs - 1) / r.StepNs
	}
	return buckets * int64(len(q.tags))
}

const (
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// bucketQuestions is Q3 of W1, Q4 and Q6 of W2.
func bucketQuestions(o *options) (out []bucketQuestion) {
	start := o.start() * millisecond
	length := int64(o.lasting(o.samplesPerTag()))
	ask := func(name string, tags int, start, length, step int64, aggregates ...string) {
		q := bucketQuestion{name: name, request: &varvev1.ReadAggregatesRequest{StartNs: start, EndNs: start + length, StepNs: step, Aggregates: aggregates}}
		for i := range tags {
			tag := i * o.Tags / tags
			q.tags = append(q.tags, tag)
			q.request.Tags = append(q.request.Tags, plant.Name(tag))
		}
		out = append(out, q)
	}
	if o.Workload == "w1" {
		tags, length := min(100, o.Tags), min(length, 3*hour)
		for _, a := range []string{"event_weighted_average", "time_weighted_average"} {
			ask(fmt.Sprintf("Q3 1m %s, tags=%d, %s", a, tags, time.Duration(length)), tags, start, length, minute, a)
		}
		return out
	}
	few := []string{"minimum", "maximum", "event_weighted_average"}
	whole := (start + hour - 1) / hour * hour
	aligned := max(hour, length/1000/hour*hour)
	ask(fmt.Sprintf("Q4 min/max/avg, hours, every %s of %dd", time.Duration(aligned), length/day), 1, whole, length-hour, aligned, few...)
	ask(fmt.Sprintf("Q4 min/max/avg, any edges, 1000 of %dd", length/day), 1, start+12_345_678_901, length-day/2, (length-day/2)/1000, few...)
	ask(fmt.Sprintf("Q6 time_weighted_average of %dd", min(30, length/day)), 1, start, min(length, 30*day), 0, "time_weighted_average")
	return out
}

func measureBuckets(ctx context.Context, s *server, conn *grpc.ClientConn, o *options) ([]*queryReport, error) {
	ask := grpcDoor(conn, varvev1.QueryService_ReadAggregates_FullMethodName)
	var reports []*queryReport
	for _, q := range bucketQuestions(o) {
		c := &bucketComparer{o: o, q: q}
		if err := ask(ctx, q.request, c.visit); err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
		if c.tag != len(q.tags) {
			return nil, fmt.Errorf("%s: the answer ends with tag %d of %d", q.name, c.tag, len(q.tags))
		}
		r, err := timeQuery(ctx, q.name+", gRPC", o.Repeat, q.rows(), s, func(ctx context.Context, visit visitor) error { return ask(ctx, q.request, visit) })
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// bucketComparer holds aggregates against plain sums over what the plant made.
type bucketComparer struct {
	o   *options
	q   bucketQuestion
	tag int // of the next row
	at  int // bucket of it
	now []bucket
}

type bucket struct{ n, sum, low, high, area, covered float64 }

func (c *bucketComparer) visit(r arrow.Record) error {
	for row := range int(r.NumRows()) {
		if c.at == 0 {
			if c.tag == len(c.q.tags) {
				return fmt.Errorf("a row behind the last")
			}
			c.now = bucketsOf(c.o, c.q.tags[c.tag], c.q.request)
		}
		b := &c.now[c.at]
		for _, name := range c.q.request.Aggregates {
			have, err := column[*array.Float64](r, name)
			if err != nil {
				return err
			}
			want := map[string]float64{"minimum": b.low, "maximum": b.high, "event_weighted_average": b.sum / b.n, "time_weighted_average": b.area / b.covered}[name]
			if x := have.Value(row); have.IsNull(row) || !(math.Abs(x-want) <= 1e-9*math.Abs(want)) {
				return fmt.Errorf("%s of bucket %d of tag %d is %v, want %v", name, c.at, c.q.tags[c.tag], x, want)
			}
		}
		if c.at++; c.at == len(c.now) {
			c.at = 0
			c.tag++
		}
	}
	return nil
}

// bucketsOf is the aggregates of one tag by plain sums, its shape sloped.
func bucketsOf(o *options, tag int, r *varvev1.ReadAggregatesRequest) []bucket {
	step := r.StepNs
	if step == 0 {
		step = r.EndNs - r.StartNs
	}
	out := make([]bucket, (r.EndNs-r.StartNs+step-1)/step)
	p := plant.NewTag(o.Seed, tag, o.start(), o.step())
	times, values := make([]int64, 600), make([]float64, 600)
	before, valueBefore := int64(math.MinInt64), 0.0
	slope := func(from, to int64, a, b float64) {
		for at := max(from, r.StartNs); at < min(to, r.EndNs); {
			i := (at - r.StartNs) / step
			end := min(to, r.EndNs, r.StartNs+(i+1)*step)
			middle := (float64(at-from) + float64(end-from)) / 2 / float64(to-from)
			out[i].area += (a + (b-a)*middle) * float64(end-at)
			out[i].covered += float64(end - at)
			at = end
		}
	}
	for left := o.samplesPerTag(); left > 0; {
		n := min(left, len(times))
		left -= n
		p.Next(times[:n], values[:n])
		for i, v := range values[:n] {
			t := times[i] * millisecond
			if before != math.MinInt64 {
				slope(before, t, valueBefore, v)
			}
			before, valueBefore = t, v
			if t < r.StartNs || t >= r.EndNs {
				continue
			}
			b := &out[(t-r.StartNs)/step]
			if b.n == 0 {
				b.low, b.high = v, v
			}
			b.n++
			b.sum += v
			b.low, b.high = min(b.low, v), max(b.high, v)
		}
	}
	slope(before, before+1, valueBefore, valueBefore)
	return out
}
