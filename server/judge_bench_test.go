package server

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/cputime"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func tagName(t model.Type, n int) string { return fmt.Sprintf("%s-%d", t, n) }

// BenchmarkJudge measures what a batch costs between the socket and storage: runs of a few samples each, as collectors
// send them, with delta times and float64 values.
func BenchmarkJudge(b *testing.B) {
	for _, shape := range []struct{ runs, samples int }{{2000, 10}, {20, 1000}, {20000, 1}} {
		b.Run(fmt.Sprintf("runs=%d/samples=%d", shape.runs, shape.samples), func(b *testing.B) {
			types := make([]model.Type, shape.runs)
			batch := &varvev1.Batch{Sequence: 1}
			for i := range types {
				types[i] = model.Float64
				run := &varvev1.Run{TagId: uint32(i + 1), FirstTimeNs: testNow.UnixNano() - 1e12, TimeUnitNs: 1e6}
				for k := range shape.samples {
					if k > 0 {
						run.TimeDeltas = append(run.TimeDeltas, 1000+int64(k%3))
					}
					run.Float64 = append(run.Float64, math.Sqrt(float64(k)))
				}
				batch.Runs = append(batch.Runs, run)
			}
			encoded, err := proto.Marshal(batch)
			require.NoError(b, err)
			j := newJudge(testDoor(testCatalog(b, types...)), model.Update)
			samples := shape.runs * shape.samples
			b.ReportAllocs()
			b.SetBytes(int64(len(encoded)))
			before := cputime.Used(b)
			for b.Loop() {
				require.NoError(b, j.begin(encoded))
				require.NoError(b, j.judge())
				if j.taken != samples {
					b.Fatalf("%d samples taken of %d", j.taken, samples)
				}
			}
			b.ReportMetric(float64(cputime.Used(b)-before)/float64(b.N*samples), "cpu-ns/sample")
		})
	}
}
