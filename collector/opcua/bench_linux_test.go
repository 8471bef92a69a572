package opcua

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/queue"
	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// BenchmarkPublish is what becomes of publish responses as they came. In one process: decoded and mapped to readings that a sink takes, which is nothing with
// sink=none; with sink=queue the readings become samples of tags in the queue on disk, synced. sink=apart is the same as it is used: decoded in a process of
// the source's own, over a pipe, to the queue. core-values/s, by the processor's time of all that took part, is what to look at.
func BenchmarkPublish(b *testing.B) {
	b.Run("sink=none", func(b *testing.B) { benchmarkPublish(b, nothing{}) })
	b.Run("sink=queue", func(b *testing.B) { benchmarkPublish(b, queueSink(b)) })
	b.Run("sink=apart", benchmarkApart)
}

// used is the processor's time that this process and those that it waited for have used.
func used() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		_ = syscall.Getrusage(who, &u) // these two are always known
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func reportRates(b *testing.B, before time.Duration, responses int) {
	values := float64(responses) * benchItems * benchEach
	b.ReportMetric(values/b.Elapsed().Seconds(), "values/s")
	b.ReportMetric(values/(used()-before).Seconds(), "core-values/s")
}

const benchItems, benchEach, benchResponses = 1000, 5, 8

func benchAddress(i int) string { return fmt.Sprintf("ns=2;s=Boiler.FT%d", i) }

// publishBytes are the bytes of some publish responses, of doubles that change, one after another.
func publishBytes(count int) (out [][]byte, err error) {
	for n := range count {
		c := &ua.DataChangeNotification{DiagnosticInfos: []*ua.DiagnosticInfo{}}
		for i := range benchItems {
			for k := range benchEach {
				ns := int64(1.7e18) + int64(n*benchEach+k)*int64(100*time.Millisecond)
				c.MonitoredItems = append(c.MonitoredItems, &ua.MonitoredItemNotification{
					ClientHandle: uint32(i + 1), Value: at(ns, float64((n*benchEach+k)*7919%1000+i)/8, 0),
				})
			}
		}
		bytes, err := ua.Encode(&ua.PublishResponse{
			ResponseHeader: &ua.ResponseHeader{ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)}, SubscriptionID: 1,
			NotificationMessage: &ua.NotificationMessage{
				SequenceNumber: uint32(n + 1), PublishTime: time.Unix(0, 1.7e18), NotificationData: []*ua.ExtensionObject{ua.NewExtensionObject(c)},
			},
		})
		if err != nil {
			return nil, err
		}
		out = append(out, bytes)
	}
	return out, nil
}

// replayed is a run that publish responses are handed to, of a source that watches all items of them.
func replayed(out collector.Sink) *run {
	r := &run{source: &source{env: collector.Env{Logger: slog.New(slog.DiscardHandler), Now: time.Now}}, out: out, sub: 1, next: 1}
	for i := range benchItems {
		r.items = append(r.items, &item{readers: []reader{{address: benchAddress(i)}}})
	}
	return r
}

// response takes a publish response as it came.
func (r *run) response(ctx context.Context, came []byte) error {
	got := new(ua.PublishResponse)
	if _, err := ua.Decode(came, got); err != nil {
		return err
	}
	r.acks = r.acks[:0]
	return r.take(ctx, got.NotificationMessage)
}

func benchmarkPublish(b *testing.B, out collector.Sink) {
	r := replayed(out)
	came, err := publishBytes(benchResponses)
	require.NoError(b, err)
	b.SetBytes(int64(len(came[0])))
	b.ReportAllocs()
	before := used()
	n := 0
	for b.Loop() {
		if err := r.response(context.Background(), came[n%len(came)]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	require.NoError(b, out.Flush(context.Background()))
	reportRates(b, before, n)
}

// replayKind is sources that have some publish responses, and are at their end then. They run in a process of their own.
func replayKind() collector.Kind {
	k := collector.NewKind("replay", func(_ collector.Env, s *replay) (collector.Source, error) { return s, nil })
	k.Apart = true
	return k
}

type replay struct {
	Responses int `yaml:"responses"`
}

func (s *replay) Run(ctx context.Context, out collector.Sink) error {
	came, err := publishBytes(benchResponses)
	if err != nil {
		return err
	}
	r := replayed(out)
	for n := range s.Responses {
		if err := r.response(ctx, came[n%len(came)]); err != nil {
			return err
		}
	}
	return out.Flush(ctx)
}

func benchmarkApart(b *testing.B) {
	dir := b.TempDir()
	q := openQueue(b, dir)
	b.ResetTimer()
	before := used()
	k := collect(b, dir, replayKind(), fmt.Sprintf("settings: {responses: %d}", b.N), q)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	for q.taken.Load() < int64(b.N)*benchItems*benchEach {
		time.Sleep(time.Millisecond)
	}
	cancel()
	require.NoError(b, <-done) // what was taken is on disk, and the process is gone
	b.StopTimer()
	reportRates(b, before, b.N)
	require.NoError(b, q.Close())
}

// nothing is a sink that keeps nothing.
type nothing struct{ collector.Sink }

func (nothing) Put(context.Context, []collector.Reading) error { return nil }
func (nothing) Flush(context.Context) error                    { return nil }

// openQueue is a queue that nobody empties.
func openQueue(b *testing.B, dir string) *onDisk {
	q, _, err := queue.Open(filepath.Join(dir, "q"), queue.Options{
		Source: "b", MaxBytes: 4 << 30, Full: queue.DropOldest, Destinations: []queue.Destination{{Name: "a", Ingest: struct{ varvev1.IngestServiceClient }{}}},
	})
	require.NoError(b, err)
	return &onDisk{Queue: q}
}

// collect is a collector with one source, of a kind.
func collect(b *testing.B, dir string, kind collector.Kind, settings string, q *onDisk) *collector.Collector {
	c, err := collector.ParseConfig("c.yaml", []byte("destinations: [{address: 'a:1'}]\nqueue: {dir: "+dir+"}\nhealth: {off: true}\n"+
		"sources: [{name: s, type: "+kind.Name+", tags: [{match: '**', tag: 'P.{1}', type: float64}], "+settings+"}]\n"), []collector.Kind{kind})
	require.NoError(b, err)
	k, err := collector.New(c, collector.Options{Outlet: q})
	require.NoError(b, err)
	return k
}

// queueSink is the sink that a collector gives to a source, with a queue on disk behind it.
func queueSink(b *testing.B) collector.Sink {
	dir := b.TempDir()
	q := openQueue(b, dir)
	sinks := make(chan collector.Sink, 1)
	k := collect(b, dir, collector.NewKind("lent", func(collector.Env, *struct{}) (collector.Source, error) { return lent(sinks), nil }), "settings: {}", q)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
		require.NoError(b, q.Close())
	})
	return <-sinks
}

// lent is a source that lends its sink.
type lent chan collector.Sink

func (l lent) Run(ctx context.Context, out collector.Sink) error {
	l <- out
	<-ctx.Done()
	return nil
}

// onDisk is a queue as an outlet, that counts.
type onDisk struct {
	*queue.Queue
	taken atomic.Int64
}

func (o *onDisk) Submit(ctx context.Context, runs []*varvev1.Run) (func(context.Context) error, error) {
	c, err := o.Queue.Submit(ctx, runs)
	if err != nil || c == nil {
		return nil, err
	}
	for _, r := range runs {
		o.taken.Add(int64(session.RunLen(r)))
	}
	return c.Wait, nil
}
func (*onDisk) PutGap(context.Context, collector.Gap) error { return nil }
func (*onDisk) Status() collector.OutletStatus              { return collector.OutletStatus{} }

func init() { kindsApart = append(kindsApart, replayKind()) }
