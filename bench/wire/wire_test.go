package wire

import (
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type columns struct {
	tag    uint32
	times  []int64
	values []float64
}

// expected is the run as a collector would build it with message objects.
func expected(c columns, mode varvev1.WriteMode, unit int64) *varvev1.Run {
	r := &varvev1.Run{TagId: c.tag, Mode: mode, FirstTimeNs: c.times[0], Float64: c.values}
	step, regular := grid(c.times)
	if regular {
		r.StepNs, r.Count = step, uint32(len(c.times))
		return r
	}
	for i := 1; i < len(c.times); i++ {
		if (c.times[i]-c.times[i-1])%unit != 0 {
			unit = 1
			break
		}
	}
	r.TimeUnitNs = uint64(unit)
	for i := 1; i < len(c.times); i++ {
		r.TimeDeltas = append(r.TimeDeltas, (c.times[i]-c.times[i-1])/unit)
	}
	return r
}

func drawColumns(t *rapid.T) columns {
	n := rapid.IntRange(1, 40).Draw(t, "samples")
	c := columns{tag: rapid.Uint32Range(1, math.MaxUint32).Draw(t, "tag"), times: make([]int64, n), values: make([]float64, n)}
	step := rapid.SampledFrom([]int64{0, 1, 1_000_000, 1_000_000_000, -5_000_000}).Draw(t, "step")
	jitter := rapid.SampledFrom([]int64{0, 1_000_000, 1}).Draw(t, "jitter")
	at := rapid.Int64Range(-1<<60, 1<<60).Draw(t, "first")
	for i := range n {
		c.times[i] = at + jitter*rapid.Int64Range(0, 40).Draw(t, "late")
		at += step
		c.values[i] = math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
	}
	return c
}

func TestEncoderWritesWhatProtoMarshalDoes(t *testing.T) {
	var buf []byte
	rapid.Check(t, func(t *rapid.T) {
		e := Encoder{
			Mode:     varvev1.WriteMode(rapid.IntRange(0, 2).Draw(t, "mode")),
			TimeUnit: rapid.SampledFrom([]int64{1, 1_000_000}).Draw(t, "unit"),
		}
		batch := &varvev1.Batch{
			Sequence:     rapid.Uint64Range(1, math.MaxUint64).Draw(t, "sequence"),
			OriginTimeNs: rapid.Int64Range(1, math.MaxInt64).Draw(t, "origin"),
		}
		e.Begin(buf) // the buffer of the batch before, as in use
		for range rapid.IntRange(0, 20).Draw(t, "runs") {
			c := drawColumns(t)
			batch.Runs = append(batch.Runs, expected(c, e.Mode, e.TimeUnit))
			e.Run(c.tag, c.times, c.values)
		}
		got, start := e.Finish(batch.Sequence, batch.OriginTimeNs)
		buf = got

		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&varvev1.IngestRequest{Message: &varvev1.IngestRequest_Batch{Batch: batch}})
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(got[start:]) {
			t.Fatalf("got  %x\nwant %x", got[start:], want)
		}
	})
}

func TestMessageGoesHomeOnce(t *testing.T) {
	pool := NewBuffers(1, 0)
	var e Encoder
	e.Begin(pool.Get())
	e.Run(1, []int64{1}, []float64{2})
	buf, start := e.Finish(1, 1)
	require.Empty(t, pool.free)

	sent, err := Codec{}.Marshal(&Message{Buf: buf, Start: start, Pool: pool})
	require.NoError(t, err)
	require.Equal(t, buf[start:], sent.Materialize())
	require.Empty(t, pool.free, "the transport still holds it")
	sent.Free()
	require.Len(t, pool.free, 1)
	require.Equal(t, cap(buf), cap(pool.Get()), "the whole buffer comes back, not the part that was sent")
}

func TestCodecReadsBothForms(t *testing.T) {
	want := &varvev1.Hello{Source: "bench"}
	sent, err := Codec{}.Marshal(want)
	require.NoError(t, err)
	var raw Raw
	require.NoError(t, Codec{}.Unmarshal(sent, &raw))
	received, err := io.ReadAll(raw)
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	got := &varvev1.Hello{}
	require.NoError(t, Codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(received)}, got))
	require.True(t, proto.Equal(want, got))
	require.Error(t, Codec{}.Unmarshal(sent, "neither"))
	_, err = Codec{}.Marshal("neither")
	require.Error(t, err)
}

func BenchmarkEncoder(b *testing.B) {
	const runs, samples = 2000, 10
	values := make([]float64, samples)
	for _, shape := range []struct {
		name   string
		jitter int64
	}{{"grid", 0}, {"jitter", 7_000_000}} {
		b.Run("times="+shape.name, func(b *testing.B) {
			times := make([]int64, samples)
			for i := range times {
				times[i] = 1767225600_000_000_000 + int64(i)*1_000_000_000 + int64(i%3)*shape.jitter
			}
			e := Encoder{TimeUnit: 1_000_000}
			var buf []byte
			for b.Loop() {
				e.Begin(buf)
				for tag := range uint32(runs) {
					e.Run(tag+1, times, values)
				}
				buf, _ = e.Finish(1, 1)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*runs*samples), "ns/sample")
			b.ReportMetric(float64(len(buf))/(runs*samples), "B/sample")
		})
	}
}
