package opcua

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/queue"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// BenchmarkPublish is what becomes of publish responses as they came: decoded and mapped to readings that a sink takes, which is nothing with sink=none;
// with sink=queue the readings become samples of tags in the queue on disk, synced. values/s with -cpu 1 is what to look at.
func BenchmarkPublish(b *testing.B) {
	b.Run("sink=none", func(b *testing.B) { benchmarkPublish(b, nothing{}) })
	b.Run("sink=queue", func(b *testing.B) { benchmarkPublish(b, queueSink(b)) })
}

const benchItems, benchEach = 1000, 5

func benchAddress(i int) string { return fmt.Sprintf("ns=2;s=Boiler.FT%d", i) }

// publishBytes are the bytes of some publish responses, of doubles that change, one after another.
func publishBytes(b *testing.B, count int) (out [][]byte) {
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
		require.NoError(b, err)
		out = append(out, bytes)
	}
	return out
}

func benchmarkPublish(b *testing.B, out collector.Sink) {
	r := &run{source: &source{env: collector.Env{Logger: slog.New(slog.DiscardHandler), Now: time.Now}}, out: out, sub: 1, next: 1}
	for i := range benchItems {
		r.items = append(r.items, &item{readers: []reader{{address: benchAddress(i)}}})
	}
	came := publishBytes(b, 32)
	b.SetBytes(int64(len(came[0])))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		got := new(ua.PublishResponse)
		if _, err := ua.Decode(came[n%len(came)], got); err != nil {
			b.Fatal(err)
		}
		n++
		r.acks = r.acks[:0]
		if err := r.take(context.Background(), got.NotificationMessage); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, out.Flush(context.Background()))
	b.ReportMetric(float64(n)*benchItems*benchEach/b.Elapsed().Seconds(), "values/s")
}

// nothing is a sink that keeps nothing.
type nothing struct{ collector.Sink }

func (nothing) Put(context.Context, []collector.Reading) error { return nil }
func (nothing) Flush(context.Context) error                    { return nil }

// queueSink is the sink that a collector gives to a source, with a queue on disk behind it.
func queueSink(b *testing.B) collector.Sink {
	dir := b.TempDir()
	q, _, err := queue.Open(filepath.Join(dir, "q"), queue.Options{
		Source: "b", MaxBytes: 4 << 30, Full: queue.DropOldest, Destinations: []queue.Destination{{Name: "a", Ingest: struct{ varvev1.IngestServiceClient }{}}},
	})
	require.NoError(b, err)
	sinks := make(chan collector.Sink, 1)
	kind := collector.NewKind("lent", func(collector.Env, *struct{}) (collector.Source, error) { return lent(sinks), nil })
	c, err := collector.ParseConfig("c.yaml", []byte("destinations: [{address: 'a:1'}]\nqueue: {dir: "+dir+"}\nhealth: {off: true}\n"+
		"sources: [{name: s, type: lent, tags: [{match: '*', tag: 'P.{1}', type: float64}]}]\n"), []collector.Kind{kind})
	require.NoError(b, err)
	k, err := collector.New(c, collector.Options{Outlet: onDisk{q}})
	require.NoError(b, err)
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

// onDisk is a queue as an outlet.
type onDisk struct{ *queue.Queue }

func (o onDisk) Submit(ctx context.Context, runs []*varvev1.Run) (func(context.Context) error, error) {
	c, err := o.Queue.Submit(ctx, runs)
	if err != nil || c == nil {
		return nil, err
	}
	return c.Wait, nil
}
func (onDisk) PutGap(context.Context, collector.Gap) error { return nil }
func (onDisk) Status() collector.OutletStatus              { return collector.OutletStatus{} }
