package record

import (
	"math"
	"testing"

	"github.com/varvedb/varve/model"
)

// plantBatch is the body of a record of 2,000 runs of 10 samples, half of them jittered, as a plant at 1 Hz sends them.
func plantBatch() []byte {
	id := Identity{Source: "bench", Epoch: 1, Sequence: 1}
	b := AppendIdentity(nil, Samples, &id, 2000)
	s := model.Samples{Type: model.Float64, Times: make([]int64, 10), Bits: make([]uint64, 10)}
	seed := uint64(1)
	for tag := range 2000 {
		for i := range 10 {
			seed = seed*6364136223846793005 + 1442695040888963407
			s.Times[i] = 1767225600e9 + int64(i)*1e9
			if tag/20%2 == 1 {
				s.Times[i] += int64(seed>>33%41) * 1e6
			}
			s.Bits[i] = math.Float64bits(float64(tag))
			if tag%20 < 12 {
				s.Bits[i] = math.Float64bits(float64(seed>>40%1000) / 100)
			}
		}
		base := int64(0)
		if tag > 0 {
			base = 1767225600e9
		}
		b = AppendRun(b, model.TagID(tag+1), model.Update, false, &s, base)
	}
	return b
}

// BenchmarkNext reads the runs of a record. One iteration is one record.
func BenchmarkNext(b *testing.B) {
	body := plantBatch()
	var batch Batch
	var run Run
	for b.Loop() {
		if err := batch.Open(Samples, body); err != nil {
			b.Fatal(err)
		}
		for {
			ok, err := batch.Next(&run)
			if err != nil {
				b.Fatal(err)
			}
			if !ok {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/20_000, "ns/sample")
}
