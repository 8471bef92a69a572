package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	"github.com/varvedb/varve/internal/cputime"
)

// nowhere is a Sink that only looks at what it gets.
type nowhere struct{ readings, sum, counted uint64 }

func (n *nowhere) Put(_ context.Context, readings []collector.Reading) error {
	n.readings += uint64(len(readings))
	for i := range readings {
		n.sum += readings[i].Value.Bits + uint64(len(readings[i].Address))
	}
	return nil
}
func (n *nowhere) Flush(context.Context) error                                { return nil }
func (n *nowhere) Down(context.Context, []string, int64, string) error        { return nil }
func (n *nowhere) Up(context.Context, []string, int64) error                  { return nil }
func (n *nowhere) Lost(context.Context, []string, int64, int64, string) error { return nil }
func (n *nowhere) Count(c collector.Counter, k int) {
	if c != collector.Received {
		n.counted += uint64(k)
	}
}

// BenchmarkSparkplug is one core from the bytes of PUBLISH packets to readings: packets, payloads, order, tables of births. metrics/cpu-s is what to look at.
func BenchmarkSparkplug(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { benchmarkSparkplug(b, batch) })
	}
}

func benchmarkSparkplug(b *testing.B, batch int) {
	const devices, perDevice, base = 10, 100, 1_700_000_000_000
	x := sourceOf(b, "127.0.0.1:1", "sparkplug: {groups: [G]}")
	out := &nowhere{}
	k := &connection{source: x, ctx: context.Background(), c: &client{v: packet.V5}, out: out}
	varint := func(p []byte, num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(p, num, protowire.VarintType), v)
	}
	seq := uint64(0)
	encoded := func(kind, device string, metrics [][]byte) []byte {
		p := varint(nil, 1, base)
		for _, m := range metrics {
			p = protowire.AppendBytes(protowire.AppendTag(p, 2, protowire.BytesType), m)
		}
		m := packet.Publish{Topic: "spBv1.0/G/" + kind + "/N" + device, Payload: varint(p, 3, seq)}
		seq = (seq + 1) % 256
		e, err := m.Encode(packet.V5)
		require.NoError(b, err)
		return e
	}
	var in bytes.Reader
	reader := bufio.NewReader(&in)
	receive := func(message []byte) {
		in.Reset(message)
		reader.Reset(&in)
		p, err := packet.Read(reader, 1<<20)
		if err == nil {
			err = k.packet(p, false)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	// Births have names and types, data aliases, times and values.
	receive(encoded("NBIRTH", "", nil))
	for d := range devices {
		var metrics [][]byte
		for i := range perDevice {
			metrics = append(metrics, metric(fmt.Sprintf("Area/Unit %d/Loop %d/PV", d, i), uint64(d*perDevice+i), float64(i)))
		}
		receive(encoded("DBIRTH", fmt.Sprint("/D", d), metrics))
	}
	var messages [][]byte
	for i := range 256 {
		d := i % devices
		var metrics [][]byte
		for j := range batch {
			m := varint(varint(nil, 2, uint64(d*perDevice+(i+j)%perDevice)), 3, base+uint64(i))
			metrics = append(metrics, protowire.AppendFixed64(protowire.AppendTag(m, 13, protowire.Fixed64Type), math.Float64bits(float64(i)+0.25)))
		}
		messages = append(messages, encoded("DDATA", fmt.Sprint("/D", d), metrics))
	}
	require.NoError(b, k.put(k.ctx))
	before, used := out.readings, cputime.Used(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		receive(messages[i%256])
		if len(k.batch) >= batchReadings {
			if err := k.put(k.ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	require.NoError(b, k.put(k.ctx))
	require.Equal(b, uint64(b.N*batch), out.readings-before)
	require.Zero(b, out.counted)
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "metrics/s")
	b.ReportMetric(float64(b.N*batch)/(cputime.Used(b)-used).Seconds(), "metrics/cpu-s")
}
