package collector

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/collector/queue"
	"github.com/varvedb/varve/internal/cputime"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// nowhere takes what is given, and drops it.
type nowhere struct{}

func (nowhere) Submit(context.Context, []*varvev1.Run) (func(context.Context) error, error) {
	return nil, nil
}
func (nowhere) PutGap(context.Context, Gap) error { return nil }
func (nowhere) Status() OutletStatus              { return OutletStatus{} }

// away is a server that cannot be reached.
type away struct{ varvev1.IngestServiceClient }

func (away) Ingest(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[varvev1.IngestRequest, varvev1.IngestResponse], error) {
	return nil, context.DeadlineExceeded
}

// BenchmarkFeed is readings to samples: mapping, conversion, exception test, runs; with queue=disk to the queue, synced. readings/cpu-s is what to look at.
func BenchmarkFeed(b *testing.B) {
	for _, exception := range []bool{false, true} {
		for _, disk := range []bool{false, true} {
			b.Run(fmt.Sprintf("exception=%v/queue=%v", exception, map[bool]string{false: "none", true: "disk"}[disk]), func(b *testing.B) {
				benchmarkFeed(b, exception, disk)
			})
		}
	}
}

func benchmarkFeed(b *testing.B, exception, disk bool) {
	const tags, perPut = 5000, 1000
	rules := "    tags: [{match: '*/*', tag: 'P.{1}.{2}', type: float64}]\n"
	if exception {
		rules = "    tags: [{match: '*/*', tag: 'P.{1}.{2}', type: float64, exc_dev: 0.5, exc_max: 10m}]\n"
	}
	f := makeFeed(b, b.TempDir(), rules)
	f.outlet = nowhere{}
	if disk {
		q, _, err := queue.Open(filepath.Join(b.TempDir(), "q"), queue.Options{Source: "b", MaxBytes: 4 << 30, Full: queue.DropOldest, Destinations: []queue.Destination{{Name: "a", Ingest: away{}}}})
		require.NoError(b, err)
		defer func() { require.NoError(b, q.Close()) }()
		f.outlet = queued{q}
	}
	readings := make([]Reading, tags)
	for i := range readings {
		readings[i] = Reading{Address: fmt.Sprintf("area%d/t%d", i%10, i), HasTime: true, Value: Float64(0)}
	}
	begin, used := f.clock.ns.Load(), cputime.Used(b)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for b.Loop() {
		at := n % tags
		part := readings[at : at+perPut]
		for i := range part {
			part[i].Time = begin + int64(n/tags)*int64(time.Second)
			part[i].Value = Float64(float64((n/tags*7919+i*31)%100) / 100)
		}
		f.clock.ns.Store(part[0].Time)
		if err := f.put(context.Background(), part, false); err != nil {
			b.Fatal(err)
		}
		n += perPut
	}
	require.NoError(b, f.flush(context.Background()))
	if disk {
		b.ReportMetric(float64(f.outlet.Status().Bytes)/float64(n), "bytes/reading")
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "readings/s")
	b.ReportMetric(float64(n)/(cputime.Used(b)-used).Seconds(), "readings/cpu-s")
}
