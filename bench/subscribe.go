package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// subscribeOptions are the settings of a run that looks at what subscribers cost.
type subscribeOptions struct {
	Tags        int           `json:"tags"`
	Rate        int           `json:"rate"` // samples a second
	Every       time.Duration `json:"every_ns"`
	For         time.Duration `json:"for_ns"` // of each stage
	Subscribers int           `json:"subscribers"`
	Linger      time.Duration `json:"linger_ns"`
	Dir         string        `json:"-"`
	Output      string        `json:"-"`
	Binary      string        `json:"-"`
}

// subscribeReport is the same ingest with no subscriber, with all, and with as many more that never read.
type subscribeReport struct {
	Machine machine           `json:"machine"`
	Options subscribeOptions  `json:"options"`
	Stages  []*subscribeStage `json:"stages"`
}

type subscribeStage struct {
	Subscribers   int     `json:"subscribers"`
	Slow          int     `json:"slow"` // besides, that never read
	Samples       uint64  `json:"samples"`
	IngestSeconds float64 `json:"ingest_seconds"`
	ServerCPU     float64 `json:"server_cpu_seconds_per_second"`
	// Told is how many samples a second each subscriber was told of, the least of them.
	Told float64 `json:"told_per_second"`
	// Delay is from when a batch is sent until the subscriber has decoded the message with the last of it.
	Delay  percentiles `json:"delay_milliseconds"`
	Commit percentiles `json:"write_milliseconds"` // from sending a batch until it is applied
}

func newSubscribeCommand() *cobra.Command {
	var o subscribeOptions
	cmd := &cobra.Command{
		Use:   "subscribe",
		Short: "Measure what subscribers cost while samples come in at a steady rate",
		Long: `Writes samples of all tags at a steady rate, with nobody subscribed, then with subscribers of all tags, then with as many more that never
read. Every subscriber checks that it is told of every sample, in order, and of none twice.`,
		Example: `  go run ./bench subscribe --output json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Tags < 1 || o.Rate < o.Tags || o.Subscribers < 1 || o.Every <= 0 || o.For < o.Every || o.Output != "table" && o.Output != "json" {
				return errors.New("--rate: must be at least --tags; --subscribers at least 1; --for at least --every; --output table or json")
			}
			r, err := measureSubscribe(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Tags, "tags", 10_000, "tags")
	f.IntVar(&o.Rate, "rate", 100_000, "samples a second of all tags together")
	f.DurationVar(&o.Every, "every", 200*time.Millisecond, "time between two batches")
	f.DurationVar(&o.For, "for", 15*time.Second, "how long each stage takes")
	f.IntVar(&o.Subscribers, "subscribers", 10, "subscribers, each with a connection of its own")
	f.DurationVar(&o.Linger, "linger", 100*time.Millisecond, "how long rows wait for more of them")
	f.StringVar(&o.Dir, "dir", "", "directory for the store; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds the one of this tree")
	return cmd
}

func measureSubscribe(ctx context.Context, o *subscribeOptions) (*subscribeReport, error) {
	dir, err := os.MkdirTemp(o.Dir, "varve-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	s, err := startServer(ctx, binary, filepath.Join(dir, "store"), nil)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	w, err := newSteadyWriter(s.address, o)
	if err != nil {
		return nil, err
	}
	r := &subscribeReport{Machine: describeMachine(), Options: *o}
	if err := w.send(ctx); err != nil { // makes the tags
		return nil, err
	}
	for _, n := range [][2]int{{0, 0}, {o.Subscribers, 0}, {o.Subscribers, o.Subscribers}} {
		stage, err := measureSubscribers(ctx, s, w, o, n[0], n[1])
		if err != nil {
			return nil, fmt.Errorf("%d subscribers: %w", n[0], err)
		}
		r.Stages = append(r.Stages, stage)
	}
	return r, nil
}

// steadyWriter sends batches of all tags in turn.
type steadyWriter struct {
	o      *subscribeOptions
	ingest varvev1.IngestServiceClient
	plants []*plant.Tag
	next   int // tag
	sent   uint64

	mu    sync.Mutex
	begun map[uint64]time.Time // of each log record, when it was sent
}

func newSteadyWriter(address string, o *subscribeOptions) (*steadyWriter, error) {
	conn, err := dialPlain(address)
	if err != nil {
		return nil, err
	}
	w := &steadyWriter{o: o, ingest: varvev1.NewIngestServiceClient(conn), begun: map[uint64]time.Time{}}
	for tag := range o.Tags {
		w.plants = append(w.plants, plant.NewTag(1, tag, plant.Start, 1000))
	}
	return w, nil
}

// send writes the next batch and waits until it is applied.
func (w *steadyWriter) send(ctx context.Context) error {
	const run = 10
	b := &varvev1.Batch{}
	for range int(float64(w.o.Rate) * w.o.Every.Seconds() / run) {
		times, values := make([]int64, run), make([]float64, run)
		w.plants[w.next].Next(times, values)
		for i := range times {
			times[i] *= millisecond
		}
		b.Runs = append(b.Runs, &varvev1.Run{Tag: "T" + strconv.Itoa(w.next), TimesNs: times, Float64: values})
		w.next = (w.next + 1) % len(w.plants)
	}
	began := time.Now()
	answer, err := w.ingest.Write(ctx, &varvev1.WriteRequest{CreateTags: true, Batch: b})
	if err != nil {
		return fmt.Errorf("write a batch: %w", err)
	}
	w.mu.Lock()
	w.begun[answer.Result.Offset] = began
	w.mu.Unlock()
	w.sent += uint64(len(b.Runs) * run)
	return nil
}

func measureSubscribers(ctx context.Context, s *server, w *steadyWriter, o *subscribeOptions, readers, slow int) (*subscribeStage, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stage := &subscribeStage{Subscribers: readers, Slow: slow}
	all := make([]*benchSubscriber, readers+slow)
	for i := range all {
		var err error
		if all[i], err = newBenchSubscriber(ctx, s.address, o); err != nil {
			return nil, err
		}
		defer all[i].close()
	}
	time.Sleep(200 * time.Millisecond) // until they have begun
	w.begun = map[uint64]time.Time{}
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	sent, began := w.sent, time.Now()
	var wait sync.WaitGroup
	want := uint64(float64(o.Rate)*o.Every.Seconds()/10) * 10 * uint64(o.For/o.Every)
	for _, x := range all[:readers] {
		wait.Go(func() { x.read(want) })
	}
	var commits []float64
	for due := began; w.sent-sent < want; due = due.Add(o.Every) { // what took too long is made up for
		time.Sleep(time.Until(due))
		batch := time.Now()
		if err := w.send(ctx); err != nil {
			return nil, err
		}
		commits = append(commits, time.Since(batch).Seconds()*1e3)
	}
	stage.Samples, stage.IngestSeconds = w.sent-sent, time.Since(began).Seconds()
	wait.Wait()
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	stage.ServerCPU = (after.cpu - before.cpu) / time.Since(began).Seconds()
	stage.Commit = percentilesOf(commits)
	var delays []float64
	for _, x := range all[:readers] {
		if x.err != nil {
			return nil, x.err
		}
		if told := float64(x.rows) / x.last.Sub(began).Seconds(); stage.Told == 0 || told < stage.Told {
			stage.Told = told
		}
		for offset, at := range x.seen {
			delays = append(delays, at.Sub(w.begun[offset]).Seconds()*1e3)
		}
	}
	stage.Delay = percentilesOf(delays)
	return stage, nil
}

// benchSubscriber decodes what it is told.
type benchSubscriber struct {
	stream interface {
		Recv() (*varvev1.SubscribeResponse, error)
	}
	close func() error
	rows  uint64
	seen  map[uint64]time.Time // when the last of a log record was decoded
	last  time.Time
	err   error
}

func newBenchSubscriber(ctx context.Context, address string, o *subscribeOptions) (*benchSubscriber, error) {
	conn, err := dialPlain(address)
	if err != nil {
		return nil, err
	}
	stream, err := varvev1.NewSubscriptionServiceClient(conn).Subscribe(ctx, &varvev1.SubscribeRequest{
		Globs: []string{"T*"}, LingerMs: proto.Uint32(uint32(o.Linger.Milliseconds())),
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &benchSubscriber{stream: stream, close: conn.Close, seen: map[uint64]time.Time{}}, nil
}

// read reads until it was told of so many samples.
func (x *benchSubscriber) read(want uint64) {
	newest := map[string]int64{}
	for x.rows < want && x.err == nil {
		m, err := x.stream.Recv()
		if err != nil {
			x.err = err
			return
		}
		if m.GetLost() != nil {
			x.err = fmt.Errorf("records %d to %d are lost", m.GetLost().First, m.GetLost().End)
			return
		}
		if m.GetChanges() != nil {
			x.err = x.take(m, newest)
		}
	}
}

func (x *benchSubscriber) take(m *varvev1.SubscribeResponse, newest map[string]int64) error {
	r, err := ipc.NewReader(bytes.NewReader(m.GetChanges()))
	if err != nil {
		return err
	}
	defer r.Release()
	for r.Next() {
		rec := r.Record()
		times, tags, offsets := rec.Column(0).(*array.Timestamp), rec.Column(1).(*array.Dictionary), rec.Column(10).(*array.Uint64)
		names := tags.Dictionary().(*array.String)
		for i := range int(rec.NumRows()) {
			name := names.Value(tags.GetValueIndex(i))
			if at := int64(times.Value(i)); at <= newest[name] {
				return fmt.Errorf("tag %s: %d was told behind %d", name, at, newest[name])
			}
			newest[name] = int64(times.Value(i))
		}
		x.rows += uint64(rec.NumRows())
		x.last = time.Now()
		for _, i := range []int{0, int(rec.NumRows()) - 1} {
			x.seen[offsets.Value(i)] = x.last
		}
	}
	return r.Err()
}

func (r *subscribeReport) table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "subscribers\tof them read\tingest\ttold, each\tserver CPU\tdelay p50\tp99\twrite p50\tp99")
	for _, s := range r.Stages {
		fmt.Fprintf(t, "%d\t%d\t%.0f/s\t%.0f/s\t%.3f cores\t%.0f ms\t%.0f ms\t%.1f ms\t%.1f ms\n", s.Subscribers+s.Slow, s.Subscribers,
			float64(s.Samples)/s.IngestSeconds, s.Told, s.ServerCPU, s.Delay.P50, s.Delay.P99, s.Commit.P50, s.Commit.P99)
	}
	return t.Flush()
}
