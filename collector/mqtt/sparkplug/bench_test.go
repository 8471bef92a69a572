package sparkplug

import (
	"fmt"
	"testing"
	"time"
)

// nothing is an Out that only looks at what it gets.
type nothing struct{ sum, counted uint64 }

func (n *nothing) Reading(r Reading)                   { n.sum += r.Sample.Bits + uint64(len(r.Address)) }
func (n *nothing) Define(Definition)                   {}
func (n *nothing) Down([]string, int64, string)        {}
func (n *nothing) Up([]string, int64)                  {}
func (n *nothing) Lost([]string, int64, int64, string) {}
func (n *nothing) Publish(string, []byte, byte, bool)  {}
func (n *nothing) Count(c Counter, k int)              { n.counted += uint64(k) }
func (n *nothing) Problem(topic string, err error)     { panic(err) }

// BenchmarkReceive is one core from the bytes of messages to readings: decoding, order, tables. metrics/s is what to look at.
func BenchmarkReceive(b *testing.B) {
	for _, by := range []string{"alias", "name"} {
		for _, batch := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("by=%s/batch=%d", by, batch), func(b *testing.B) {
				h, out := New(Options{}), &nothing{}
				now := time.UnixMilli(base)
				const devices = 10
				p := &Payload{Timestamp: base, HasTimestamp: true, HasSeq: true}
				receive := func(kind, device string) {
					topic := Namespace + "/G/" + kind + "/N"
					if device != "" {
						topic += "/" + device
					}
					h.Receive(Message{Topic: topic, Payload: encode(p), At: now}, out)
					p.Seq = (p.Seq + 1) % 256
				}
				p.Metrics = []Metric{session64(1)}
				receive("NBIRTH", "")
				metric := func(device, i int) Metric {
					m := named(fmt.Sprintf("Area/Unit %d/Loop %d/PV", device, i), DoubleType, double(float64(i)), base)
					if by == "alias" {
						m = m.alias(uint64(device*1000 + i))
					}
					return m
				}
				var messages []Message
				for d := range devices {
					p.Metrics = nil
					for i := range 100 {
						p.Metrics = append(p.Metrics, metric(d, i))
					}
					receive("DBIRTH", fmt.Sprint("D", d))
				}
				first := uint8(p.Seq)
				for i := range 256 {
					d := i % devices
					p.Metrics = nil
					for k := range batch {
						m := metric(d, (i+k)%100)
						if by == "alias" {
							m = m.short()
						}
						p.Metrics = append(p.Metrics, m)
					}
					p.Seq = uint64(first + uint8(i))
					messages = append(messages, Message{Topic: fmt.Sprintf("%s/G/DDATA/N/D%d", Namespace, d), Payload: encode(p), At: now})
				}
				if out.counted != 0 {
					b.Fatal("something was counted")
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					h.Receive(messages[i%256], out)
				}
				b.StopTimer()
				if h.nodes[Topic{Group: "G", Node: "N"}].state != online {
					b.Fatal("messages were missing")
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "metrics/s")
			})
		}
	}
}
