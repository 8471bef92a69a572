package mqtt

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	"github.com/varvedb/varve/collector/mqtt/sparkplug"
)

// hello is what a CONNECT packet says.
type hello struct {
	version                               byte
	clean, will, willRetain               bool
	willQoS                               byte
	client, willTopic, willPayload, props string
}

func readHello(t *testing.T, p packet.Packet) (h hello) {
	require.Equal(t, packet.TypeConnect, p.Type)
	b := p.Body
	require.Equal(t, "\x00\x04MQTT", string(b[:6]))
	h.version = b[6]
	h.clean, h.will, h.willQoS, h.willRetain = b[7]&2 != 0, b[7]&4 != 0, b[7]>>3&3, b[7]&32 != 0
	b = b[10:]
	if h.version == 5 {
		h.props, b = string(b[1:1+b[0]]), b[1+b[0]:]
	}
	text := func() string {
		n := binary.BigEndian.Uint16(b)
		s := string(b[2 : 2+n])
		b = b[2+n:]
		return s
	}
	h.client = text()
	if h.will {
		if h.version == 5 {
			require.Zero(t, b[0])
			b = b[1:]
		}
		h.willTopic, h.willPayload = text(), text()
	}
	return h
}

// The session of a host, packet by packet (Sparkplug 3.0, 5.1, 5.13, 5.14): the will, the subscriptions, the birth, the contradiction of a will
// that comes late, the death.
func TestHostSession(t *testing.T) {
	for _, v := range []packet.Version{packet.V3, packet.V5} {
		t.Run(fmt.Sprint("version=", v), func(t *testing.T) {
			answers := map[packet.Type]string{packet.TypeConnect: "\x20\x03\x00\x00\x00", packet.TypeSubscribe: "\x90\x05\xff\xff\x00\x01\x01"}
			if v == packet.V3 {
				answers = map[packet.Type]string{packet.TypeConnect: "\x20\x02\x00\x00", packet.TypeSubscribe: "\x90\x04\xff\xff\x01\x01"}
			}
			s := newScript(t, answers)
			version := map[packet.Version]int{packet.V3: 3, packet.V5: 5}[v]
			x := sourceOf(t, s.address(), fmt.Sprintf("version: %d\nsparkplug: {host_id: varve}", version))
			before := time.Now().UnixMilli()
			r := start(t, x, &kept{})
			h := readHello(t, s.next())
			require.True(t, h.clean)
			if v == packet.V5 { // session expiry, property 0x11, is left out: 0
				require.Equal(t, "\x21\x03\xe8\x27\x01\x00\x00\x00", h.props)
			}
			require.True(t, h.will)
			require.True(t, h.willRetain)
			require.Equal(t, byte(1), h.willQoS)
			require.Equal(t, "spBv1.0/STATE/varve", h.willTopic)
			var began int64
			_, err := fmt.Sscanf(h.willPayload, `{"online":false,"timestamp":%d}`, &began)
			require.NoError(t, err)
			require.GreaterOrEqual(t, began, before)
			require.LessOrEqual(t, began, time.Now().UnixMilli())

			p := s.next()
			require.Equal(t, packet.TypeSubscribe, p.Type)
			require.Contains(t, string(p.Body), "\x00\x13spBv1.0/STATE/varve\x01\x00\x09spBv1.0/#\x01")

			state := func() packet.Publish {
				p := s.next()
				require.Equal(t, packet.TypePublish, p.Type)
				m, err := p.Publish(v)
				require.NoError(t, err)
				require.Equal(t, "spBv1.0/STATE/varve", m.Topic)
				require.True(t, m.Retain)
				require.Equal(t, byte(1), m.QoS)
				return m
			}
			birth := fmt.Sprintf(`{"online":true,"timestamp":%d}`, began)
			require.Equal(t, birth, string(state().Payload))

			conn := <-s.conn
			late := packet.Publish{Topic: "spBv1.0/STATE/varve", Payload: []byte(`{"online":false,"timestamp":5}`), QoS: 1, ID: 9}
			b, err := late.Encode(v)
			require.NoError(t, err)
			_, err = conn.Write(b)
			require.NoError(t, err)
			require.Equal(t, birth, string(state().Payload))
			p = s.next()
			require.Equal(t, packet.TypePuback, p.Type)

			leaving := time.Now().UnixMilli()
			require.NoError(t, r.end())
			var ended int64
			_, err = fmt.Sscanf(string(state().Payload), `{"online":false,"timestamp":%d}`, &ended)
			require.NoError(t, err)
			require.GreaterOrEqual(t, ended, leaving)
			require.Equal(t, packet.TypeDisconnect, s.next().Type)
		})
	}
}

// A second connection has a will and a birth of its own time.
func TestHostTimestampPerSession(t *testing.T) {
	b, address := startBroker(t, "127.0.0.1:0", nil, nil)
	states := listen(t, b, "spBv1.0/STATE/varve")
	x := sourceOf(t, address, "sparkplug: {host_id: varve}")
	var online []string
	for range 2 {
		r := start(t, x, &kept{})
		require.Eventually(t, func() bool { return len(states.all()) > 0 && strings.Contains(states.last(), "true") }, 20*time.Second, time.Millisecond)
		online = append(online, states.last())
		require.NoError(t, r.end())
		require.Eventually(t, func() bool { return strings.Contains(states.last(), "false") }, 20*time.Second, time.Millisecond)
		time.Sleep(2 * time.Millisecond)
	}
	require.NotEqual(t, online[0], online[1])
}

// A connection that breaks: the broker publishes the will.
func TestHostWill(t *testing.T) {
	b, address := startBroker(t, "127.0.0.1:0", nil, nil)
	states := listen(t, b, "spBv1.0/STATE/varve")
	x := sourceOf(t, address, "sparkplug: {host_id: varve, groups: [G]}")
	r := start(t, x, &kept{})
	require.Eventually(t, func() bool { return len(states.all()) > 0 }, 20*time.Second, time.Millisecond)
	c, ok := b.Clients.Get("varve-test")
	require.True(t, ok)
	require.NoError(t, c.Net.Conn.Close()) // not Stop: a broker that ended a connection itself may forget its will
	require.Error(t, r.wait())
	require.Eventually(t, func() bool { return len(states.all()) > 1 }, 20*time.Second, time.Millisecond)
	require.Equal(t, strings.Replace(states.all()[0], "true", "false", 1), states.last())
}

// heard is what was published on a filter.
type heard struct {
	mu       sync.Mutex
	payloads []string
}

func listen(t *testing.T, b *testBroker, filter string) *heard {
	h := &heard{}
	require.NoError(t, b.Subscribe(filter, 1, func(_ *broker.Client, _ packets.Subscription, p packets.Packet) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.payloads = append(h.payloads, string(p.Payload))
	}))
	return h
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.payloads)
}

func (h *heard) last() string { all := h.all(); return all[len(all)-1] }

// node publishes as an edge node of group G does.
type node struct {
	t   *testing.T
	b   *testBroker
	seq uint64
	at  uint64 // milliseconds
}

func (n *node) publish(kind, device string, metrics ...[]byte) {
	varint := func(b []byte, num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
	}
	n.at++
	p := varint(nil, 1, 1_700_000_000_000+n.at)
	for _, m := range metrics {
		p = protowire.AppendBytes(protowire.AppendTag(p, 2, protowire.BytesType), m)
	}
	if kind == "NBIRTH" {
		n.seq = 0
	}
	if kind != "NDEATH" {
		p = varint(p, 3, n.seq)
		n.seq = (n.seq + 1) % 256
	}
	topic := "spBv1.0/G/" + kind + "/N" + device
	require.NoError(n.t, n.b.Publish(topic, p, false, 0))
}

func metric(name string, alias uint64, v float64) []byte {
	var b []byte
	if name != "" {
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), name)
		b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), uint64(sparkplug.DoubleType))
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), alias)
	return protowire.AppendFixed64(protowire.AppendTag(b, 13, protowire.Fixed64Type), math.Float64bits(v))
}

func TestEdgeNode(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprint("version=", v), func(t *testing.T) {
			b, address := startBroker(t, "127.0.0.1:0", nil, nil)
			commands := listen(t, b, "spBv1.0/G/NCMD/N")
			x := sourceOf(t, address, fmt.Sprintf("version: %d\nsparkplug: {groups: [G, H], reorder: 100ms}", v))
			out := &kept{}
			r := start(t, x, out)
			subscribers(t, b, 2)
			n := &node{t: t, b: b, seq: 7}
			n.publish("NDATA", "", metric("", 1, 5)) // before any birth
			require.Eventually(t, func() bool { return len(commands.all()) == 1 }, 20*time.Second, time.Millisecond)
			var p sparkplug.Payload
			require.NoError(t, sparkplug.Decode([]byte(commands.last()), &p))
			require.Equal(t, "Node Control/Rebirth", string(p.Metrics[0].Name))
			n.publish("NBIRTH", "", metric("a", 1, 1))
			n.publish("DBIRTH", "/D", metric("b/c", 2, 2))
			n.publish("DDATA", "/D", metric("", 2, 3))
			n.publish("DDEATH", "/D")
			n.publish("DBIRTH", "/D", metric("b/c", 2, 4))
			n.publish("NDEATH", "")
			at := func(ms int) string { return fmt.Sprintf(" Good 2023-11-14T22:13:20.%03dZ", ms) }
			require.Equal(t, []string{"G/N//a = float64 1" + at(2), "G/N/D/b/c = float64 2" + at(3), "G/N/D/b/c = float64 3" + at(4),
				"down G/N/D/b/c: the device is gone (DDEATH)", "up G/N/D/b/c", "G/N/D/b/c = float64 4" + at(6), "down G/N//a: the edge node is gone (NDEATH)",
				"down G/N/D/b/c: the edge node is gone (NDEATH)"}, out.wait(t, 8))
			n.publish("NBIRTH", "", metric("a", 1, 1))
			out.wait(t, 10)
			require.NoError(t, b.Close())
			require.Error(t, r.wait())
			all := out.all()
			require.Equal(t, "down G/N//a: the broker is not reached", all[len(all)-1])
			require.Equal(t, 1, out.count(collector.Rejected))
		})
	}
}

func TestBrowseSparkplug(t *testing.T) {
	b, address := startBroker(t, "127.0.0.1:0", nil, nil)
	x := sourceOf(t, address, "sparkplug: {host_id: varve}")
	states := listen(t, b, "spBv1.0/STATE/varve")
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	go func() {
		for b.Info.Clone().Subscriptions < 1 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		n := &node{t: t, b: b}
		n.publish("NBIRTH", "", metric("a", 1, 1), metric("b", 2, 1))
	}()
	var offers []string
	err := x.Browse(ctx, "", func(o collector.Offer) error {
		if offers = append(offers, fmt.Sprint(o.Address, " ", o.Type)); len(offers) == 2 {
			return io.EOF
		}
		return nil
	})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{"G/N//a float64", "G/N//b float64"}, offers)
	require.Empty(t, states.all()) // a try says nothing of a host
	require.ErrorContains(t, x.Browse(ctx, "G", nil), "leave the place out")
}
