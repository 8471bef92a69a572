package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// varve is the program of this tree as a contestant. Its client decodes answers into the same columns as those of the peers,
// which costs it a copy that its users need not make.
type varve struct {
	binary string
	data   string
	args   []string // for the server, beside the usual
	server *server
	conn   *grpc.ClientConn
	read   door
	latest door

	buckets   door
	processed door
	bytes     uint64
	count     uint64

	sealed, unsealed uint64 // bytes of samples in sealed chunks, and in files not reclaimed yet
}

func newVarve(binary string) contestant { return &varve{binary: binary} }

func (v *varve) describe() description {
	return description{
		Name: "varve", Version: "of this tree", exact: true, several: true, syncs: true,
		Durable: "yes: fsync of the log", Through: "gRPC stream; Arrow",
		Bytes: "whole directory but the log and the ballast, sealed",
	}
}

func (v *varve) start(ctx context.Context, dir string) (err error) {
	v.data = dir
	if v.server, err = startServer(ctx, v.binary, dir, v.args); err != nil {
		return err
	}
	if v.conn, err = dial(v.server.address); err != nil {
		return err
	}
	v.read = grpcDoor(v.conn, varvev1.QueryService_ReadRange_FullMethodName)
	v.latest = grpcDoor(v.conn, varvev1.QueryService_Latest_FullMethodName)
	v.buckets = grpcDoor(v.conn, varvev1.QueryService_ReadAggregates_FullMethodName)
	v.processed = grpcDoor(v.conn, varvev1.QueryService_ReadProcessed_FullMethodName)
	return nil
}

func (v *varve) load(ctx context.Context, d *dataset) (*loadFigures, error) {
	l, err := prepareLoadOf(ctx, v.server.address, d.o, d.workloads())
	if err != nil {
		return nil, err
	}
	defer l.close()
	r := l.run(ctx, func(uint64) error { return nil })
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	if v.count = uint64(d.samples); r.Accepted != v.count || r.Applied != v.count {
		return nil, fmt.Errorf("%d samples were sent, %d accepted, %d applied", d.samples, r.Accepted, r.Applied)
	}
	return &loadFigures{Seconds: r.AcceptedSeconds, ClientCPUSeconds: r.CPUSeconds, WireBytes: r.WireBytes}, nil
}

// settle seals, and then waits a while for the files that were sealed to go, as InfluxDB's cold shards are waited for. What
// stays is counted.
func (v *varve) settle(ctx context.Context) error {
	if _, err := measureStored(ctx, v.server, v.conn, v.data, v.count, flush); err != nil {
		return err
	}
	if _, err := measureStored(ctx, v.server, v.conn, v.data, v.count, seal); err != nil {
		return err
	}
	admin := varvev1.NewAdminServiceClient(v.conn)
	for range 20 {
		status, err := admin.Status(ctx, &varvev1.StatusRequest{})
		if err != nil {
			return err
		}
		if status.Bytes.GetSamples() < status.Bytes.GetSealed()*5/4 {
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	if err := quiet(ctx, v.usage); err != nil {
		return err
	}
	r, err := measureStored(ctx, v.server, v.conn, v.data, v.count, flush)
	if err != nil {
		return err
	}
	v.bytes = uint64(r.BytesPerSample*float64(v.count) + 0.5)
	v.sealed, v.unsealed = r.Status["sealed"], r.Status["samples"]-min(r.Status["samples"], r.Status["sealed"])
	return nil
}

func (v *varve) stored() (uint64, error) { return v.bytes, nil }

// remark says how much of the store holds nothing any more.
func (v *varve) remark() string {
	if v.unsealed < v.sealed/4 {
		return ""
	}
	n := float64(v.count)
	return fmt.Sprintf("varve: stored holds %.3f B/sample of samples in sealed form, and %.3f that were sealed and whose files are not reclaimed yet",
		float64(v.sealed)/n, float64(v.unsealed)/n)
}

func (v *varve) usage() (usage, error) { return v.server.usage() }

func (v *varve) stop() error {
	if v.server == nil {
		return nil
	}
	s := v.server
	v.server = nil
	v.conn.Close()
	_, err := s.stop()
	return err
}

func (v *varve) ask(ctx context.Context, q *question) (answer, error) {
	names := make([]string, len(q.tags))
	for i, tag := range q.tags {
		names[i] = plant.Name(tag)
	}
	got := answer{}
	visit := func(r arrow.Record) error { return rowsOf(r, got) }
	switch q.kind {
	case rawSamples:
		return got, v.read(ctx, &varvev1.ReadRangeRequest{Tags: names, StartNs: proto.Int64(q.from * millisecond), EndNs: proto.Int64(q.to * millisecond)}, visit)
	case latestSamples:
		return got, v.latest(ctx, &varvev1.LatestRequest{Tags: names}, visit)
	case minuteAverages:
		return got, v.buckets(ctx, &varvev1.ReadAggregatesRequest{
			Tags: names, StartNs: q.from * millisecond, EndNs: q.to * millisecond, StepNs: minute, Aggregates: []string{eventAverage},
		}, func(r arrow.Record) error { return averagesOf(r, got) })
	}
	if q.kind.several() {
		aggregates := []string{"Average", "Minimum", "Maximum", "TimeAverage2", "PercentGood"}
		if q.kind == minuteShapes {
			aggregates = slices.Delete(aggregates, 3, 4)
		}
		return got, v.processed(ctx, &varvev1.ReadProcessedRequest{
			Tags: names, StartNs: q.from * millisecond, EndNs: q.to * millisecond, StepNs: minute, Aggregates: aggregates,
		}, func(r arrow.Record) error { return shapesOf(r, got) })
	}
	return nil, fmt.Errorf("a question of kind %d", q.kind)
}

const eventAverage = "event_weighted_average"

// averagesOf appends the averages of a record batch to the series of their tags. A minute without samples has none.
func averagesOf(r arrow.Record, into answer) error {
	values, err := column[*array.Float64](r, eventAverage)
	if err != nil {
		return err
	}
	times, err := column[*array.Timestamp](r, "time")
	if err != nil {
		return err
	}
	tags, err := tagColumnOf(r)
	if err != nil {
		return err
	}
	last, s := -1, (*series)(nil)
	for row := range int(r.NumRows()) {
		if at := tags.GetValueIndex(row); at != last {
			tag, err := tagOf([]byte(tags.names.Value(at)))
			if err != nil {
				return err
			}
			last, s = at, into.of(tag)
		}
		if !values.IsNull(row) {
			s.add(int64(times.Value(row))/millisecond, values.Value(row))
		}
	}
	return nil
}

// shapesOf appends the aggregates of a record batch, which come in the order asked, to the series of their tags.
func shapesOf(r arrow.Record, into answer) error {
	values, err := column[*array.Float64](r, "value")
	if err != nil {
		return err
	}
	times, err := column[*array.Timestamp](r, "bucket")
	if err != nil {
		return err
	}
	tags, err := tagColumnOf(r)
	if err != nil {
		return err
	}
	if values.NullN() > 0 {
		return errors.New("a minute without an aggregate")
	}
	last, s := -1, (*series)(nil)
	for row := range int(r.NumRows()) {
		if at := tags.GetValueIndex(row); at != last {
			tag, err := tagOf([]byte(tags.names.Value(at)))
			if err != nil {
				return err
			}
			last, s = at, into.of(tag)
		}
		s.add(int64(times.Value(row))/millisecond, values.Value(row))
	}
	return nil
}

// rowsOf appends the rows of a record batch to the series of their tags.
func rowsOf(r arrow.Record, into answer) error {
	c, err := rawColumnsOf(r)
	if err != nil {
		return err
	}
	last, s := -1, (*series)(nil)
	for row := range int(r.NumRows()) {
		if at := c.tags.GetValueIndex(row); at != last {
			tag, err := tagOf([]byte(c.tags.names.Value(at)))
			if err != nil {
				return err
			}
			last, s = at, into.of(tag)
		}
		if q := c.quality.Value(row); q != 0 {
			return fmt.Errorf("a sample of %s with quality %#x, all were sent as good", c.tags.names.Value(last), q)
		}
		if int64(c.times.Value(row))%millisecond != 0 {
			return fmt.Errorf("a sample at %d ns, only whole milliseconds were sent", int64(c.times.Value(row)))
		}
		s.add(int64(c.times.Value(row))/millisecond, c.values.Value(row))
	}
	return nil
}
