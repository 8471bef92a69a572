package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	"github.com/varvedb/varve/bench/wire"
)

// visitor sees the record batches of an answer, decoded, one after another. It keeps none of them.
type visitor func(arrow.Record) error

// door asks a question and shows the answer to visit.
type door func(ctx context.Context, question proto.Message, visit visitor) error

// grpcDoor is a method of QueryService whose answer is a stream of ArrowData.
func grpcDoor(conn *grpc.ClientConn, method string) door {
	memory := &columnMemory{}
	return func(ctx context.Context, question proto.Message, visit visitor) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
		if err != nil {
			return err
		}
		if err := stream.SendMsg(question); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		answer := &arrowBytes{stream: stream}
		r, err := ipc.NewReader(answer, ipc.WithAllocator(memory))
		if err != nil {
			return err
		}
		defer r.Release()
		if err := visitAll(r, visit); err != nil {
			return err
		}
		return answer.end()
	}
}

// flightDoor is Arrow Flight's DoGet, with the question as the ticket.
func flightDoor(conn *grpc.ClientConn) door {
	client, memory := flight.NewFlightServiceClient(conn), &columnMemory{}
	return func(ctx context.Context, question proto.Message, visit visitor) error {
		ticket, err := proto.Marshal(question)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := client.DoGet(ctx, &flight.Ticket{Ticket: ticket})
		if err != nil {
			return err
		}
		return visitFlight(stream, memory, visit)
	}
}

// visitFlight shows the answer of a DoGet to its end.
func visitFlight(stream flight.FlightService_DoGetClient, memory *columnMemory, visit visitor) error {
	r, err := flight.NewRecordReader(stream, ipc.WithAllocator(memory))
	if err != nil {
		return err
	}
	defer r.Release()
	if err := visitAll(r, visit); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("a message behind the end of the answer"), err)
	}
	return nil
}

func visitAll(r array.RecordReader, visit visitor) error {
	for r.Next() {
		if err := visit(r.Record()); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// arrowBytes reads the bytes of ArrowData messages from the buffers they arrive in.
type arrowBytes struct {
	stream grpc.ClientStream
	now    wire.Raw
}

func (a *arrowBytes) Read(p []byte) (int, error) {
	for a.now.Reader == nil || a.now.Remaining() == 0 {
		if a.now.Reader != nil {
			a.now.Close()
			a.now.Reader = nil
		}
		if err := a.stream.RecvMsg(&a.now); err != nil {
			return 0, err
		}
		if err := a.open(); err != nil {
			return 0, err
		}
	}
	return a.now.Read(p)
}

// end waits until the server is done with the question. What it holds for one is free only then, and the next, asked as soon
// as the last row is here, could find no room.
func (a *arrowBytes) end() error {
	_, err := io.Copy(io.Discard, a)
	return err
}

// open reads the front of an ArrowData: its one field is ipc, so what follows is the bytes.
func (a *arrowBytes) open() error {
	if a.now.Remaining() == 0 {
		return nil
	}
	tag, err := a.now.ReadByte()
	if err != nil || tag != 1<<3|byte(protowire.BytesType) {
		return fmt.Errorf("ArrowData begins with field tag %#x: %w", tag, errors.Join(err, errors.New("want ipc")))
	}
	var length uint64
	for shift := 0; ; shift += 7 {
		b, err := a.now.ReadByte()
		if err != nil || shift > 28 {
			return fmt.Errorf("length of ArrowData.ipc: %w", errors.Join(err, errors.New("does not end")))
		}
		length |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	if length != uint64(a.now.Remaining()) {
		return fmt.Errorf("ArrowData.ipc says %d bytes, %d are there", length, a.now.Remaining())
	}
	return nil
}

// comparer holds an answer against what the plant made: the tags one after another, each with the samples from first on.
type comparer struct {
	o           *options
	tags        []int // in the order asked
	first, last int   // of each tag's samples, last not included

	tag, at int // of the next row
	times   []int64
	values  []float64
}

func (c *comparer) visit(r arrow.Record) error {
	x, err := rawColumnsOf(r)
	if err != nil {
		return err
	}
	for row := range int(r.NumRows()) {
		if err := c.row(int64(x.times.Value(row)), x.tags.names.Value(x.tags.GetValueIndex(row)), x.values.Value(row), x.quality.Value(row)); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) row(time int64, name string, value float64, quality uint32) error {
	if c.at == 0 {
		if c.tag == len(c.tags) {
			return fmt.Errorf("a row of %s behind the last", name)
		}
		c.times, c.values = makeTag(c.o, c.tags[c.tag], c.last)
		c.at = c.first
	}
	want := plant.Name(c.tags[c.tag])
	if name != want || time != c.times[c.at] || math.Float64bits(value) != math.Float64bits(c.values[c.at]) || quality != 0 {
		return fmt.Errorf("got %s at %d: %v with quality %#x, sent was %s at %d: %v", name, time, value, quality, want, c.times[c.at], c.values[c.at])
	}
	if c.at++; c.at == c.last {
		c.at = 0
		c.tag++
	}
	return nil
}

// done reports samples that did not come.
func (c *comparer) done() error {
	if c.tag != len(c.tags) {
		return fmt.Errorf("the answer ends with tag %d of %d", c.tag, len(c.tags))
	}
	return nil
}

// rawColumns is what a raw query of numbers answers with, a row a sample.
type rawColumns struct {
	times   *array.Timestamp
	values  *array.Float64
	quality *array.Uint32
	tags    tagColumn
}

func rawColumnsOf(r arrow.Record) (c rawColumns, err error) {
	if c.times, err = column[*array.Timestamp](r, "time"); err != nil {
		return c, err
	}
	if c.values, err = column[*array.Float64](r, "value"); err != nil {
		return c, err
	}
	if c.quality, err = column[*array.Uint32](r, "quality"); err != nil {
		return c, err
	}
	c.tags, err = tagColumnOf(r)
	return c, err
}

// tagColumn is the column of tags, and the names its values stand for.
type tagColumn struct {
	*array.Dictionary
	names *array.String
}

func tagColumnOf(r arrow.Record) (c tagColumn, err error) {
	if c.Dictionary, err = column[*array.Dictionary](r, "tag"); err != nil {
		return c, err
	}
	names, ok := c.Dictionary.Dictionary().(*array.String)
	if !ok {
		return c, fmt.Errorf("dictionary of column tag has %s, want text", c.Dictionary.Dictionary().DataType())
	}
	c.names = names
	return c, nil
}

func column[T arrow.Array](r arrow.Record, name string) (T, error) {
	var none T
	at := r.Schema().FieldIndices(name)
	if len(at) != 1 {
		return none, fmt.Errorf("the answer has no column %s: %s", name, r.Schema())
	}
	c, ok := r.Column(at[0]).(T)
	if !ok {
		return none, fmt.Errorf("column %s is %s", name, r.Column(at[0]).DataType())
	}
	return c, nil
}

// queryReport is the warm runs of one query.
type queryReport struct {
	Name             string  `json:"name"`
	Rows             int64   `json:"rows"`
	Runs             int     `json:"runs"`
	Median           float64 `json:"median_ms"`
	Min              float64 `json:"min_ms"`
	Max              float64 `json:"max_ms"`
	RowsPerSecond    float64 `json:"rows_per_second"`    // of the median
	ServerCPUSeconds float64 `json:"server_cpu_seconds"` // of one run
	ClientCPUSeconds float64 `json:"client_cpu_seconds"`
}

// Short questions are asked more often than runs says: eleven answers of half a millisecond end before the processor has
// woken up, and their CPU time is less than a tick of the clock that counts it.
const (
	leastTime = 500 * time.Millisecond
	mostRuns  = 1000
)

// timing is the runs of one query so far.
type timing struct {
	name        string
	rows        int64     // that an answer must have
	took        []float64 // milliseconds
	server, own float64   // CPU seconds of all runs
}

// ask asks once, unmeasured.
func (t *timing) ask(ctx context.Context, ask func(context.Context, visitor) error) error {
	var got int64
	err := ask(ctx, func(r arrow.Record) error { got += r.NumRows(); return nil })
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	if got != t.rows {
		return fmt.Errorf("%s: got %d rows, want %d", t.name, got, t.rows)
	}
	return nil
}

// measure asks while more says so.
func (t *timing) measure(ctx context.Context, s *server, ask func(context.Context, visitor) error, more func() bool) error {
	before, err := s.usage()
	if err != nil {
		return err
	}
	cpu, _ := cpuSeconds("self")
	for more() {
		began := time.Now()
		if err := t.ask(ctx, ask); err != nil {
			return err
		}
		t.took = append(t.took, float64(time.Since(began).Nanoseconds())/1e6)
	}
	cpuEnd, _ := cpuSeconds("self")
	after, err := s.usage()
	t.server += after.cpu - before.cpu
	t.own += cpuEnd - cpu
	return err
}

func (t *timing) report() *queryReport {
	runs := len(t.took)
	slices.Sort(t.took)
	median := t.took[runs/2]
	return &queryReport{
		Name: t.name, Rows: t.rows, Runs: runs, Median: median, Min: t.took[0], Max: t.took[runs-1],
		RowsPerSecond:    float64(t.rows) / median * 1000,
		ServerCPUSeconds: t.server / float64(runs),
		ClientCPUSeconds: t.own / float64(runs),
	}
}

// timeQuery asks to warm up and to see that the answer has rows rows, then at least runs times.
func timeQuery(ctx context.Context, name string, runs int, rows int64, s *server, ask func(context.Context, visitor) error) (*queryReport, error) {
	t := timing{name: name, rows: rows}
	for began, n := time.Now(), 0; n == 0 || n < runs && time.Since(began) < leastTime; n++ {
		if err := t.ask(ctx, ask); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	more := func() bool { return len(t.took) < runs || time.Since(start) < leastTime && len(t.took) < mostRuns }
	if err := t.measure(ctx, s, ask, more); err != nil {
		return nil, err
	}
	return t.report(), nil
}
