package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/bench/plant"
	"github.com/varvedb/varve/compression/encoding"
)

// sealedTag is the columns of one tag of a workload, as a seal gets them.
type sealedTag struct {
	times  []int64
	values []uint64

	timeColumn, valueColumn []byte
}

// sealedTags is every step-th tag and the one beside, so that kinds, classes and jitter are met in turn.
func sealedTags(count, step, samples int, start int64) []sealedTag {
	tags := make([]sealedTag, count)
	for k := range tags {
		times, values := make([]int64, samples), make([]float64, samples)
		plant.NewTag(1, k*step+k%step, start, 1000).Next(times, values)
		tags[k].values = make([]uint64, samples)
		for i := range times {
			times[i] *= millisecond
			tags[k].values[i] = math.Float64bits(values[i])
		}
		tags[k].times = times
	}
	return tags
}

// sealedWorkloads are what the size and the speed of sealed columns are measured on: 500 tags of W1, whole, and the ten tags
// of W2 in chunks of the most samples.
var sealedWorkloads = []struct {
	name string
	most float64 // bytes a sample, times included
	tags func() []sealedTag
}{
	{"w1", 0.90, func() []sealedTag { return sealedTags(500, 20, 10800, plant.Start) }},
	{"w2", 0.355, func() []sealedTag { return sealedTags(10, 1, 65536, plant.YearBefore) }},
}

func encodeTags(e *encoding.SealedEncoder, tags []sealedTag) (bytes, samples int) {
	for i := range tags {
		t := &tags[i]
		t.timeColumn = e.AppendTimes(t.timeColumn[:0], t.times)
		t.valueColumn = e.AppendFloat64s(t.valueColumn[:0], t.values)
		bytes += len(t.timeColumn) + len(t.valueColumn)
		samples += len(t.times)
	}
	return bytes, samples
}

// TestSealedSizes keeps sealed columns of plant data as small as they were measured to be.
func TestSealedSizes(t *testing.T) {
	for _, w := range sealedWorkloads {
		tags := w.tags()
		bytes, samples := encodeTags(new(encoding.SealedEncoder), tags)
		require.LessOrEqual(t, float64(bytes)/float64(samples), w.most, w.name)
		t.Logf("%s: %.4f bytes a sample", w.name, float64(bytes)/float64(samples))
	}
}

func BenchmarkSealed(b *testing.B) {
	for _, w := range sealedWorkloads {
		tags := w.tags()
		var e encoding.SealedEncoder
		bytes, samples := encodeTags(&e, tags)
		// CPU time, since wall time is also that of the neighbours; the neighbours of the benchmark in this process are none.
		perSample := func(b *testing.B, n int, begin float64) {
			end, err := cpuSeconds("self")
			if err != nil {
				b.Skip(err)
			}
			b.ReportMetric((end-begin)*1e9/float64(b.N*n), "cpu-ns/sample")
			b.ReportMetric(float64(bytes)/float64(samples), "B/sample")
		}
		b.Run("workload="+w.name+"/encode", func(b *testing.B) {
			begin, _ := cpuSeconds("self")
			for b.Loop() {
				encodeTags(&e, tags)
			}
			perSample(b, samples, begin)
		})
		n := len(tags[0].times)
		times, values := make([]int64, n), make([]uint64, n)
		var d encoding.SealedDecoder
		for _, r := range []struct {
			name     string
			from, to int
		}{{"whole", 0, (n + encoding.SealedBlock - 1) / encoding.SealedBlock}, {"block", 5, 6}} {
			count := min(r.to*encoding.SealedBlock, n) - r.from*encoding.SealedBlock
			b.Run("workload="+w.name+"/decode="+r.name, func(b *testing.B) {
				begin, _ := cpuSeconds("self")
				for b.Loop() {
					for i := range tags {
						t := &tags[i]
						if err := d.Times(times[:count], n, t.timeColumn, r.from, r.to); err != nil {
							b.Fatal(err)
						}
						if err := d.Float64s(values[:count], n, t.valueColumn, r.from, r.to); err != nil {
							b.Fatal(err)
						}
					}
				}
				perSample(b, count*len(tags), begin)
			})
		}
	}
}
