package queue

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// BenchmarkThin thins out a segment of a queue of 1 GiB, of 5,000 tags at 1 Hz. heap-MB is the most that was in use meanwhile.
func BenchmarkThin(b *testing.B) {
	q, _, err := Open(b.TempDir(), Options{Source: "s", Destinations: []Destination{{Name: "a", Ingest: silent{}}}})
	require.NoError(b, err)
	defer func() { require.NoError(b, q.Close()) }()
	runs := make([]*varvev1.Run, 5000)
	for at := int64(0); int64(q.samples.Bytes()) < q.segmentBytes(); at++ {
		for i := range runs {
			runs[i] = &varvev1.Run{Tag: fmt.Sprintf("PLANT.AREA-1.TI-%05d", i), FirstTimeNs: at * 1e9, Count: 1, Float64: []float64{float64(at*int64(i)%97) / 10}}
		}
		require.NoError(b, q.Put(b.Context(), runs))
	}
	clear(runs)
	before, high := heapBytes(), q.samples.HighWatermark()
	stop, most := make(chan struct{}), make(chan int64)
	go func() { most <- heapPeak(stop) }()
	for b.Loop() {
		require.NoError(b, q.thin(b.Context(), q.senders[0], []offsets{{1, high + 1}}))
	}
	close(stop)
	b.ReportMetric(float64(<-most-before)/1e6, "heap-MB")
}

// heapPeak is the most of the heap that was in use, until stop is closed.
func heapPeak(stop chan struct{}) (most int64) {
	for {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, int64(m.HeapInuse))
		select {
		case <-stop:
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}
