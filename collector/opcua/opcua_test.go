package opcua

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

func TestAddresses(t *testing.T) {
	for s, want := range map[string]point{
		"ns=2;s=Boiler.FT101":        {node: node{index: 2, kind: 's', text: "Boiler.FT101"}},
		"i=2258":                     {node: node{kind: 'i', text: "2258"}},
		"nsu=http://plant/;a;i=7[3]": {node: node{uri: "http://plant/;a", kind: 'i', text: "7"}, element: []uint32{3}},
		"ns=1;s=a;s=b":               {node: node{index: 1, kind: 's', text: "a;s=b"}},
		"ns=3;s=\"DB\".\"x\"[1,20]": {
			node: node{index: 3, kind: 's', text: `"DB"."x"`}, element: []uint32{1, 20}, whole: &node{index: 3, kind: 's', text: `"DB"."x"[1,20]`},
		},
		"ns=4;g=09087e75-8e5e-499b-954f-f2a9603db28a": {node: node{index: 4, kind: 'g', text: "09087e75-8e5e-499b-954f-f2a9603db28a"}},
		"ns=4;b=M/RbKBsRVkePCePcx24oRA==":             {node: node{index: 4, kind: 'b', text: "M/RbKBsRVkePCePcx24oRA=="}},
	} {
		p, err := parseAddress(s)
		require.NoError(t, err, s)
		want.address = s
		require.Equal(t, want, p)
	}
	for _, s := range []string{"", "s=", "x=1", "ns=70000;i=1", "ns=a;i=1", "ns=1", "i=-1", "i=4294967296", "g=1", "b=!", "nsu=;s=a", "nsu=http://plant/", "ns=1;i=1[x]", "ns=1;i=1[99999999999]"} {
		_, err := parseAddress(s)
		require.ErrorIs(t, err, errAddress, "%q", s)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("nsu=http://plant/;s=Boiler.FT101[1,2]")
	f.Add("ns=4;b=M/RbKBsRVkePCePcx24oRA==")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseAddress(s)
		if err != nil {
			return
		}
		namespaces := []string{"", "a", p.node.uri, "b"}
		id, err := p.node.id(namespaces, nil)
		require.NoError(t, err)
		again, err := parseNode(addressOf(id, namespaces))
		require.NoError(t, err)
		other, err := again.id(namespaces, nil)
		require.NoError(t, err)
		require.True(t, id.String() == other.String(), "%s is not %s", id, other)
	})
}

func TestNamespacesMove(t *testing.T) {
	then, now := []string{"ua", "server", "http://plant/"}, []string{"ua", "server", "http://new/", "http://plant/"}
	id, err := node{index: 2, kind: 's', text: "a"}.id(now, then)
	require.NoError(t, err)
	require.Equal(t, uint16(3), id.Namespace())
	id, err = node{index: 2, kind: 's', text: "a"}.id([]string{"ua", "other", "x"}, then) // another server that has it not by this name
	require.NoError(t, err)
	require.Equal(t, uint16(2), id.Namespace())
	_, err = node{uri: "http://old/", kind: 'i', text: "1"}.id(now, then)
	require.ErrorContains(t, err, "http://old/")
}

func TestValues(t *testing.T) {
	when := time.Date(2026, 3, 1, 5, 0, 0, 123456700, time.UTC)
	guid := ua.NewGUID("09087e75-8e5e-499b-954f-f2a9603db28a")
	for _, c := range []struct {
		in      any
		element []uint32
		want    collector.Value
		quality model.Quality
	}{
		{true, nil, collector.Bool(true), 0},
		{int8(-128), nil, collector.Int64(-128), 0},
		{uint8(255), nil, collector.Int64(255), 0},
		{int16(-32768), nil, collector.Int64(-32768), 0},
		{uint16(65535), nil, collector.Int64(65535), 0},
		{int32(math.MinInt32), nil, collector.Int64(math.MinInt32), 0},
		{uint32(math.MaxUint32), nil, collector.Int64(math.MaxUint32), 0},
		{int64(1<<53 + 1), nil, collector.Int64(1<<53 + 1), 0},
		{uint64(math.MaxUint64), nil, collector.Uint64(math.MaxUint64), 0},
		{float32(0.1), nil, collector.Float32(0.1), 0},
		{math.Copysign(0, -1), nil, collector.Float64(math.Copysign(0, -1)), 0},
		{math.Float64frombits(0xFFF8000000000000), nil, collector.Float64(math.Float64frombits(0xFFF8000000000000)), 0},
		{math.Float64frombits(0x7FF8000000000123), nil, collector.Value{Type: model.Float64, Bits: 0xFFF8000000000000}, 0}, // the server's library makes it so
		{math.Inf(-1), nil, collector.Float64(math.Inf(-1)), 0},
		{"Ärger", nil, collector.String("Ärger"), 0},
		{"a\xffb", nil, collector.String("a�b"), 0},
		{[]byte{0, 1}, nil, collector.Bytes("\x00\x01"), 0},
		{ua.ByteArray{0, 1}, nil, collector.Bytes("\x00\x01"), 0},
		{ua.ByteArray{0, 7}, []uint32{1}, collector.Int64(7), 0},
		{when, nil, collector.String("2026-03-01T05:00:00.1234567Z"), 0},
		{guid, nil, collector.String("09087e75-8e5e-499b-954f-f2a9603db28a"), 0},
		{ua.StatusBadNoData, nil, collector.Int64(0x809B0000), 0},
		{&ua.QualifiedName{NamespaceIndex: 2, Name: "a"}, nil, collector.String("2:a"), 0},
		{ua.NewLocalizedTextWithLocale("läuft", "de"), nil, collector.String("läuft"), 0},
		{ua.NewStringNodeID(2, "a"), nil, collector.String("ns=2;s=a"), 0},
		{ua.XMLElement("<a/>"), nil, collector.String("<a/>"), 0},
		{[]int32{4, 5, 6}, []uint32{2}, collector.Int64(6), 0},
		{[]int32{4, 5, 6}, []uint32{3}, collector.Value{}, badIndexNoData},
		{[]int32{4, 5, 6}, nil, collector.Value{}, badTypeMismatch},
		{int32(4), []uint32{0}, collector.Value{}, badIndexNoData},
		{[][]float64{{1, 2}, {3, 4}}, []uint32{1, 0}, collector.Float64(3), 0},
		{[][]float64{{1, 2}, {3, 4}}, []uint32{1}, collector.Value{}, badIndexNoData},
		{[]*ua.Variant{ua.MustVariant(int32(1)), ua.MustVariant("x")}, []uint32{1}, collector.String("x"), 0},
		{ua.NewExtensionObject(&ua.EUInformation{DisplayName: &ua.LocalizedText{}, Description: &ua.LocalizedText{}}), nil, collector.Value{}, badDataTypeUnknown},
	} {
		d := at(when.UnixNano(), c.in, 0)
		b, err := d.Encode()
		require.NoError(t, err)
		back := new(ua.DataValue)
		_, err = back.Decode(b)
		require.NoError(t, err)
		r, sourced := reading("a", c.element, back)
		require.True(t, sourced)
		require.Equal(t, collector.Reading{Address: "a", Time: when.UnixNano(), HasTime: true, Value: c.want, Quality: c.quality}, r, "%T %v", c.in, c.in)
	}
	r, _ := reading("a", nil, at(5, nil, 0x80AF0480)) // null, and all of the status
	require.Equal(t, collector.Reading{Address: "a", Time: 5, HasTime: true, Quality: 0x80AF0480}, r)
}

// TestTimes: servers say never with the first and the last times there are, which must not come out as days of this century.
func TestTimes(t *testing.T) {
	for _, ticks := range []uint64{0, math.MaxInt64, 2650467743990000000} {
		b := ua.NewBuffer(nil)
		b.WriteUint8(ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp)
		b.WriteUint64(ticks)
		b.WriteUint64(116444736000000000 + 50)
		d := new(ua.DataValue)
		_, err := d.Decode(b.Bytes())
		require.NoError(t, err)
		r, sourced := reading("a", nil, d)
		require.False(t, sourced)
		require.Equal(t, int64(5000), r.Time)
	}
	ns, ok := instant(time.Unix(0, 100), 9900)
	require.True(t, ok)
	require.Equal(t, int64(199), ns)
}

func TestLive(t *testing.T) {
	p := newPlant(t)
	t0 := time.Now().Add(-time.Millisecond).Truncate(time.Microsecond).UnixNano()
	p.set("a", at(t0, 1.5, 0))
	p.set("array", at(t0, []int32{7, 8}, 0))
	p.set("b[1]", at(t0, int32(3), 0)) // its name ends like an element
	x := open(t, quick(p.url), "ns=2;s=a", "nsu=http://plant/;s=array[1]", "ns=2;s=array[0]", "ns=2;s=b[1]", "ns=2;s=none", "nsu=http://none/;s=a")
	out := start(t, x)
	out.until(t, "a value of each", func() bool { return len(out.readings) >= 6 })
	for i := range 100 {
		p.set("a", at(t0+int64(i+1)*1000, float64(i), ua.StatusCode([]uint32{0, 0x40930000, 0x808C0000}[i%3])))
	}
	out.until(t, "all values", func() bool {
		return len(out.of("ns=2;s=a", false)) >= 101 && slices.Contains(values(out.of("ns=2;s=a", false)), int64(math.Float64bits(99)))
	})
	out.mu.Lock()
	defer out.mu.Unlock()
	live := out.of("ns=2;s=a", false) // the first value may be there twice, if it took long to connect
	for i, r := range live[len(live)-100:] {
		require.Equal(t, collector.Reading{
			Address: "ns=2;s=a", Time: t0 + int64(i+1)*1000, HasTime: true, Value: collector.Float64(float64(i)), Quality: model.Quality([]uint32{0, 0x40930000, 0x808C0000}[i%3]),
		}, r)
	}
	for address, want := range map[string]int64{"nsu=http://plant/;s=array[1]": 8, "ns=2;s=array[0]": 7, "ns=2;s=b[1]": 3} {
		require.Equal(t, []collector.Reading{{Address: address, Time: t0, HasTime: true, Value: collector.Int64(want)}}, out.of(address, false)[:1])
	}
	for _, address := range []string{"ns=2;s=none", "nsu=http://none/;s=a"} {
		got := out.of(address, false)
		require.Len(t, got, 1)
		require.Equal(t, model.Quality(ua.StatusBadNodeIDUnknown), got[0].Quality)
	}
	require.Empty(t, out.down)
}

// values is the integers of readings.
func values(r []collector.Reading) (out []int64) {
	for _, x := range r {
		out = append(out, int64(x.Value.Bits))
	}
	return out
}

func upTo(n int64) (out []int64) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// TestCutsLoseNothing: the connection is cut again and again while values change, each time for a moment; the server's queue holds.
func TestCutsLoseNothing(t *testing.T) {
	for _, how := range []string{"session", "transfer"} {
		t.Run(how, func(t *testing.T) {
			p := newPlant(t)
			w, url := newWire(t, p.url)
			t0 := time.Now().UnixNano()
			p.set("a", at(t0, int64(0), 0))
			out := start(t, open(t, quick(url), "ns=2;s=a"))
			out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
			for i := int64(1); i < 300; i++ {
				p.set("a", at(t0+i*1000, i, 0))
				switch {
				case i%60 != 0:
				case how == "session": // whoever connects anew at once, having been connected, gets through
					out.until(t, "the value before the cut", func() bool { return slices.Contains(values(out.of("ns=2;s=a", false)), i) })
					w.set(false)
				default:
					w.set(true)
					p.do(func() { // the server forgets sessions, not subscriptions
						for _, s := range p.subs {
							s.token = "gone"
						}
					})
					w.set(false)
				}
				time.Sleep(time.Millisecond)
			}
			out.until(t, "the last value", func() bool {
				a := out.of("ns=2;s=a", false)
				return len(a) > 0 && a[len(a)-1].Value.Bits == 299
			})
			out.mu.Lock()
			defer out.mu.Unlock()
			got := values(out.of("ns=2;s=a", false))
			if how == "session" {
				require.Empty(t, out.down)
			}
			require.Equal(t, upTo(300), slices.Compact(got)) // in order, and what an outage that was told adds is the same again
			require.NotZero(t, out.counts[collector.Reconnects])
			require.Empty(t, out.of("ns=2;s=a", true))
			require.Empty(t, out.lost)
		})
	}
}

// TestLongOutageWithSubscription: the subscription outlives an outage that was told, so that the gap closes where it began, and what did not
// change is said again at the server's time.
func TestLongOutageWithSubscription(t *testing.T) {
	p := newPlant(t)
	w, url := newWire(t, p.url)
	t0 := time.Now().UnixNano()
	p.set("a", at(t0, int64(0), 0))
	p.set("still", at(t0-int64(time.Hour), int64(5), 0))
	out := start(t, open(t, quick(url), "ns=2;s=a", "ns=2;s=still"))
	out.until(t, "first values", func() bool { return len(out.of("ns=2;s=still", false)) >= 2 && len(out.of("ns=2;s=a", false)) >= 1 })
	w.set(true)
	out.until(t, "the outage", func() bool { return len(out.down) > 0 })
	p.set("a", at(time.Now().UnixNano(), int64(1), 0))
	w.set(false)
	out.until(t, "its end", func() bool {
		return len(out.up) > 0 && slices.Contains(values(out.of("ns=2;s=a", false)), 1) && len(out.of("ns=2;s=still", false)) >= 3
	})
	out.mu.Lock()
	defer out.mu.Unlock()
	require.Len(t, out.down, 1)
	require.Equal(t, []int64{out.down[0] + 1}, out.up)
	still := out.of("ns=2;s=still", false)
	require.Greater(t, still[len(still)-1].Time, out.down[0])
	require.Equal(t, []int64{0, 1}, slices.Compact(values(out.of("ns=2;s=a", false))))
}

// TestMessageLost: a message that did not arrive is asked for again before the next is taken.
func TestMessageLost(t *testing.T) {
	p := newPlant(t)
	t0 := time.Now().UnixNano()
	p.set("a", at(t0, int64(0), 0))
	out := start(t, open(t, quick(p.url), "ns=2;s=a"))
	out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
	for i := int64(1); i < 50; i++ {
		if i%10 == 0 {
			p.do(func() { p.swallow = 1 + int(i%3) })
		}
		p.set("a", at(t0+i*1000, i, 0))
		time.Sleep(10 * time.Millisecond)
	}
	out.until(t, "all values", func() bool { return slices.Contains(values(out.readings), 49) })
	out.mu.Lock()
	defer out.mu.Unlock()
	require.Equal(t, upTo(50), slices.Compact(values(out.of("ns=2;s=a", false))))
	require.Empty(t, out.lost)
}

// TestMessagesForgotten: of messages that did not arrive the server has some no more. Those that it has come, and only what is between is lost.
func TestMessagesForgotten(t *testing.T) {
	for _, forgotten := range [][]int{{0}, {1}, {2}, {0, 1}, {0, 2}, {0, 1, 2}} {
		t.Run(fmt.Sprint(forgotten), func(t *testing.T) {
			p := newPlant(t)
			p.noHistory = true
			t0 := time.Now().UnixNano()
			p.set("a", at(t0, int64(0), 0))
			out := start(t, open(t, quick(p.url), "ns=2;s=a"))
			out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
			want := []int64{0}
			published := []time.Time{}
			p.do(func() {
				s := p.subs[1]
				for i := range 3 { // messages that nobody gets
					s.items[0].push(at(t0+int64(i+1)*1000, int64(i+1), 0))
					m := s.message()
					m.PublishTime = time.Now().Add(time.Duration(i-3) * time.Millisecond)
					if published = append(published, m.PublishTime); slices.Contains(forgotten, i) {
						delete(s.sent, m.SequenceNumber)
					} else {
						want = append(want, int64(i+1))
					}
				}
			})
			p.set("a", at(t0+4000, int64(4), 0))
			want = append(want, 4)
			stretches := 1
			if slices.Equal(forgotten, []int{0, 2}) {
				stretches = 2
			}
			out.until(t, "all that can be had, and what is lost", func() bool { return slices.Contains(values(out.readings), 4) && len(out.lost) > 0 })
			out.mu.Lock()
			defer out.mu.Unlock()
			require.Equal(t, want, slices.Compact(values(out.of("ns=2;s=a", false))))
			if stretches == 1 { // two may be told as one
				require.Len(t, out.lost, 1)
				end := time.Unix(0, out.lost[0][1])
				if last := forgotten[len(forgotten)-1]; last < 2 {
					require.WithinDuration(t, published[last+1], end, time.Microsecond) // not farther than the next that came
				}
			}
		})
	}
}

// TestEachChange: a server that samples sees the last of several changes in an interval, as when its process has stood still. One that is asked for each
// change reports all of them.
func TestEachChange(t *testing.T) {
	p := newPlant(t)
	p.samples = true
	t0 := time.Now().UnixNano()
	p.set("a", at(t0, int64(0), 0))
	p.set("b", at(t0, int64(0), 0))
	s := quick(p.url)
	s.Groups = []Group{{Regexp: "ns=2;s=a", Sampling: Sampling{EachChange: true}}, {Regexp: "ns=2;s=b", Sampling: Sampling{Every: 50 * time.Millisecond}}}
	out := start(t, open(t, s, "ns=2;s=a", "ns=2;s=b"))
	out.until(t, "values", func() bool { return len(out.of("ns=2;s=a", false)) > 0 && len(out.of("ns=2;s=b", false)) > 0 })
	p.do(func() {
		require.Equal(t, map[string][2]float64{"ns=2;s=a": {0, 1000}, "ns=2;s=b": {50, 10}}, p.sampled)
		for i := int64(1); i <= 5; i++ {
			p.setLocked("a", at(t0+i*1000, i, 0))
			p.setLocked("b", at(t0+i*1000, i, 0))
		}
	})
	out.until(t, "the last values", func() bool {
		return slices.Contains(values(out.of("ns=2;s=a", false)), 5) && slices.Contains(values(out.of("ns=2;s=b", false)), 5)
	})
	out.mu.Lock()
	defer out.mu.Unlock()
	require.Equal(t, upTo(6), slices.Compact(values(out.of("ns=2;s=a", false))))
	require.Equal(t, []int64{0, 5}, slices.Compact(values(out.of("ns=2;s=b", false))))
}

// TestHistory: the server forgets the subscription during an outage; what was missed comes from its history, in pages that end inside values of
// one time.
func TestHistory(t *testing.T) {
	for _, page := range []int{1, 2, 3, 7, 1000} {
		t.Run(fmt.Sprint(page), func(t *testing.T) {
			p := newPlant(t)
			p.page = page
			w, url := newWire(t, p.url)
			t0 := time.Now().Truncate(time.Microsecond).UnixNano()
			p.set("a", at(t0, int64(-1), 0))
			p.set("b", at(t0, int64(-1), 0))
			out := start(t, open(t, quick(url), "ns=2;s=a", "ns=2;s=b"))
			out.until(t, "first values", func() bool { return len(out.readings) >= 2 })
			w.set(true)
			out.until(t, "the outage", func() bool { return len(out.down) > 0 })
			p.do(func() { clear(p.subs) })
			from := time.Now().Truncate(time.Microsecond).UnixNano()
			for i := range int64(30) { // three at each time
				p.set("a", at(from+i/3*1000, i, 0))
				p.set("b", at(from+i*1000, i+100, 0x40930000))
			}
			w.set(false)
			out.until(t, "history", func() bool {
				return slices.Contains(values(out.of("ns=2;s=a", true)), 29) && slices.Contains(values(out.of("ns=2;s=b", true)), 129)
			})
			out.mu.Lock()
			defer out.mu.Unlock()
			a := out.of("ns=2;s=a", true)
			a = a[len(a)-30:] // what came before the outage by less than the slack may stand before it
			for i, r := range a {
				require.Equal(t, collector.Reading{Address: "ns=2;s=a", Time: from + int64(i)/3*1000, HasTime: true, Value: collector.Int64(int64(i)), Historical: true}, r)
			}
			b := out.of("ns=2;s=b", true)
			require.Equal(t, model.Quality(0x40930000), b[len(b)-1].Quality)
			require.Len(t, out.down, 1)
			require.Empty(t, out.lost)
			for _, d := range p.reads {
				require.GreaterOrEqual(t, d.StartTime.UnixNano(), out.down[0]-int64(time.Second)) // the missing window, and not more
			}
		})
	}
}

// TestOverflow: the server's queue overflowed. What it lost comes from the history, or is told as lost.
func TestOverflow(t *testing.T) {
	for _, history := range []bool{true, false} {
		t.Run(fmt.Sprint(history), func(t *testing.T) {
			p := newPlant(t)
			t0 := time.Now().UnixNano()
			p.set("a", at(t0, int64(0), 0))
			s := quick(p.url)
			s.Queue = 5
			p.noHistory = !history
			out := start(t, open(t, s, "ns=2;s=a"))
			out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
			p.do(func() {
				for i := int64(1); i <= 20; i++ { // within one publishing interval
					d := at(t0+i*1000, i, 0)
					p.history[ua.NewStringNodeID(2, "a").String()] = append(p.history[ua.NewStringNodeID(2, "a").String()], d)
					p.subs[1].items[0].push(d)
				}
			})
			out.until(t, "what was lost", func() bool { return len(out.lost) > 0 || len(out.of("ns=2;s=a", true)) >= 16 })
			out.mu.Lock()
			defer out.mu.Unlock()
			live := out.of("ns=2;s=a", false)
			first := len(live) - 5
			require.Equal(t, model.Quality(overflowBits), live[first].Quality)
			require.Equal(t, []int64{0, 16, 17, 18, 19, 20}, slices.Compact(values(live)))
			if history {
				require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, values(out.of("ns=2;s=a", true)))
				require.Empty(t, out.lost)
			} else {
				require.Equal(t, [][2]int64{{live[0].Time + 1, live[first].Time}}, out.lost)
			}
		})
	}
}

// TestRestartOfCollector: what came while the collector was off is read from the history.
func TestRestartOfCollector(t *testing.T) {
	p := newPlant(t)
	t0 := time.Now().UnixNano()
	p.set("a", at(t0, int64(0), 0))
	x := open(t, quick(p.url), "ns=2;s=a")
	ctx, cancel := context.WithCancel(context.Background())
	out, done := newTaken(), make(chan error, 1)
	go func() { done <- x.Run(ctx, out) }()
	out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
	cancel()
	require.NoError(t, <-done)
	from := time.Now().UnixNano()
	for i := int64(1); i < 10; i++ {
		p.set("a", at(from+i, i, 0))
	}
	out = start(t, x)
	out.until(t, "history", func() bool { return len(out.of("ns=2;s=a", true)) >= 9 })
	out.mu.Lock()
	defer out.mu.Unlock()
	got := values(out.of("ns=2;s=a", true))
	require.Equal(t, upTo(10)[1:], got[len(got)-9:])
}

// TestPair: of a redundant pair the healthier server is read, and the other when it is the only one.
func TestPair(t *testing.T) {
	a, b := newPlant(t), newPlant(t)
	wire, urlA := newWire(t, a.url)
	t0 := time.Now().UnixNano()
	for _, p := range []*plant{a, b} {
		p.set("x", at(t0, int64(0), 0))
	}
	a.level, b.level = 230, 220
	out := start(t, open(t, quick(urlA, b.url), "ns=2;s=x"))
	last := func(n uint64) func() bool {
		return func() bool {
			x := out.of("ns=2;s=x", false)
			return len(x) > 0 && x[len(x)-1].Value.Bits == n
		}
	}
	a.set("x", at(t0+1000, int64(1), 0))
	out.until(t, "the first server's value", last(1))
	a.do(func() { a.level = 100 })
	b.set("x", at(t0+2000, int64(2), 0))
	out.until(t, "the healthier server's value", last(2))
	a.do(func() { a.level = 255 })
	b.do(func() { b.level = 10 })
	a.set("x", at(t0+3000, int64(3), 0))
	out.until(t, "the first again", last(3))
	wire.set(true)
	b.set("x", at(t0+4000, int64(4), 0))
	out.until(t, "the one that is left", last(4))
}

// A deadband that a server does not have for a variable costs none of its values.
func TestDeadbandOfTexts(t *testing.T) {
	p := newPlant(t)
	t0 := time.Now().UnixNano()
	p.set("x", at(t0, 1.5, 0))
	p.set("state", at(t0, "stopped", 0))
	s := quick(p.url)
	s.Deadband = 0.5
	out := start(t, open(t, s, "ns=2;s=x", "ns=2;s=state"))
	out.until(t, "the number", func() bool { return len(out.of("ns=2;s=x", false)) > 0 })
	p.set("state", at(t0+1000, "runs", 0))
	out.until(t, "the texts", func() bool {
		x := out.of("ns=2;s=state", false)
		return len(x) == 2 && x[1].Value.Text == "runs"
	})
}

// The safest way to prove a user is taken that the server has, wherever it stands.
func TestUserTokens(t *testing.T) {
	policy := func(kind ua.UserTokenType, uri string) *ua.UserTokenPolicy {
		return &ua.UserTokenPolicy{TokenType: kind, SecurityPolicyURI: uri}
	}
	e := &ua.EndpointDescription{SecurityPolicyURI: ua.SecurityPolicyURINone, UserIdentityTokens: []*ua.UserTokenPolicy{
		nil, policy(ua.UserTokenTypeUserName, ""), policy(ua.UserTokenTypeAnonymous, ""), policy(ua.UserTokenTypeUserName, ua.SecurityPolicyURIBasic128Rsa15),
		policy(ua.UserTokenTypeUserName, ua.SecurityPolicyURIBasic256Sha256),
	}}
	require.Equal(t, 4, tokenOf(e, ua.UserTokenTypeUserName))
	require.Equal(t, 2, tokenOf(e, ua.UserTokenTypeAnonymous))
	require.Equal(t, -1, tokenOf(e, ua.UserTokenTypeCertificate))
	e.UserIdentityTokens = e.UserIdentityTokens[:4]
	require.Equal(t, 3, tokenOf(e, ua.UserTokenTypeUserName))
	e.UserIdentityTokens, e.SecurityPolicyURI = e.UserIdentityTokens[:2], ua.SecurityPolicyURIAes256Sha256RsaPss
	require.Equal(t, 1, tokenOf(e, ua.UserTokenTypeUserName))
}

// TestNamespacesMoveWhileRunning: the server has a new namespace before the plant's.
func TestNamespacesMoveWhileRunning(t *testing.T) {
	p := newPlant(t)
	t0 := time.Now().UnixNano()
	p.set("a", at(t0, int64(1), 0))
	out := start(t, open(t, quick(p.url), "ns=2;s=a"))
	out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
	p.do(func() {
		p.namespaces = []string{p.namespaces[0], p.namespaces[1], "http://new/", "http://plant/"}
		p.values[ua.NewStringNodeID(3, "a").String()] = at(t0+1000, int64(2), 0)
		p.values[ua.NewStringNodeID(2, "a").String()] = at(t0+2000, int64(666), 0) // another variable by now
	})
	out.until(t, "the value from where it is now", func() bool { return slices.Contains(values(out.readings), 2) })
	out.mu.Lock()
	defer out.mu.Unlock()
	require.NotContains(t, values(out.readings), int64(666))
}

func TestShutdown(t *testing.T) {
	p := newPlant(t)
	p.set("a", at(time.Now().UnixNano(), int64(1), 0))
	out := start(t, open(t, quick(p.url), "ns=2;s=a"))
	out.until(t, "the first value", func() bool { return len(out.readings) > 0 })
	p.do(func() { p.state = ua.ServerStateShutdown })
	out.until(t, "the shutdown", func() bool { return len(out.down) > 0 })
	p.do(func() { p.state = ua.ServerStateRunning })
	p.set("a", at(time.Now().UnixNano(), int64(2), 0))
	out.until(t, "values again", func() bool { return slices.Contains(values(out.readings), 2) })
}

func TestCheck(t *testing.T) {
	p := newPlant(t)
	p.set("a", at(1000, int64(1), 0))
	p.set("l[0]", at(1000, int64(2), 0))
	p.set("m", at(1000, []int64{3}, 0))
	x := open(t, quick(p.url), "ns=2;s=a", "ns=2;s=l[0]", "ns=2;s=m[0]", "ns=2;s=none")
	got := map[string]collector.Reading{}
	require.NoError(t, x.Check(context.Background(), func(r collector.Reading) { got[r.Address] = r }))
	require.Len(t, got, 4)
	for address, want := range map[string]int64{"ns=2;s=a": 1, "ns=2;s=l[0]": 2, "ns=2;s=m[0]": 3} {
		require.Equal(t, collector.Reading{Address: address, Time: 1000, HasTime: true, Value: collector.Int64(want)}, got[address])
	}
	require.Equal(t, model.Quality(ua.StatusBadNodeIDUnknown), got["ns=2;s=none"].Quality)
}

// TestServerIsNotThere: an error, a gap, and nothing else.
func TestServerIsNotThere(t *testing.T) {
	w, url := newWire(t, "opc.tcp://127.0.0.1:1")
	w.set(true)
	out := newTaken()
	require.Error(t, open(t, quick(url), "ns=2;s=a").Run(context.Background(), out))
	require.Len(t, out.down, 1)
	require.Empty(t, out.readings)
}

func TestSettingsAreLookedAt(t *testing.T) {
	good := func() Settings { return Settings{URLs: []string{"opc.tcp://plc:4840"}} }
	require.NoError(t, ptr(good()).Check())
	for want, change := range map[string]func(*Settings){
		"urls":             func(s *Settings) { s.URLs = nil },
		"url":              func(s *Settings) { s.URLs[0] = "http://plc" },
		"twice":            func(s *Settings) { s.URLs = append(s.URLs, s.URLs[0]) },
		"security":         func(s *Settings) { s.Security = "Basic128Rsa15" },
		"mode":             func(s *Settings) { s.Mode = "none" },
		"password":         func(s *Settings) { s.User = &User{Name: "a"} },
		"cert and key":     func(s *Settings) { s.User = &User{Cert: "a"} },
		"publishing":       func(s *Settings) { s.Publishing = time.Millisecond },
		"lifetime":         func(s *Settings) { s.Lifetime = time.Second },
		"queue":            func(s *Settings) { s.Queue = 10_001 },
		"deadband":         func(s *Settings) { s.Deadband = math.NaN() },
		"each_change":      func(s *Settings) { s.Every, s.EachChange = time.Second, true },
		"deadband_percent": func(s *Settings) { s.Deadband, s.DeadbandPercent = 1, 1 },
		"regexp":           func(s *Settings) { s.Groups = []Group{{Regexp: "("}} },
	} {
		s := good()
		change(&s)
		require.ErrorContains(t, s.Check(), want)
	}
	s := Settings{URLs: []string{"opc.tcp://plc:4840"}, Groups: []Group{{Regexp: "ns=2;.*", Sampling: Sampling{Every: 100 * time.Millisecond, Deadband: 2}}}}.filled()
	x := newSamplings(s)
	require.Equal(t, Sampling{Every: 100 * time.Millisecond, Queue: 100, Deadband: 2}, x.sampling("ns=2;s=a"))
	require.Equal(t, Sampling{Every: time.Second, Queue: 10}, x.sampling("ns=3;s=a"))
	require.Equal(t, &ua.DataChangeFilter{Trigger: ua.DataChangeTriggerStatusValue, DeadbandType: uint32(ua.DeadbandTypeAbsolute), DeadbandValue: 2},
		x.sampling("ns=2;s=a").filter().Value)
}

func ptr(s Settings) *Settings { return &s }

func makeCertificate(t *testing.T, name string, change func(*x509.Certificate), signer *x509.Certificate, signerKey *rsa.PrivateKey) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{{Scheme: "urn", Opaque: name}}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(c)
	}
	if signer == nil {
		signer, signerKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, signerKey)
	require.NoError(t, err)
	c, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return c, key
}

// trusts is why a certificate is not trusted.
func trusts(p pki, der []byte, application string, now time.Time) error {
	_, err := p.trusts(der, application, now)
	return err
}

func TestTrust(t *testing.T) {
	p := pki{dir: t.TempDir(), name: "plc"}
	now := time.Now()
	c, _ := makeCertificate(t, "server", nil, nil, nil)
	err := trusts(p, c.Raw, "urn:server", now)
	require.ErrorIs(t, err, ErrUntrusted)
	require.ErrorContains(t, err, "varve collect trust accept --config FILE plc "+Fingerprint(c.Raw))
	require.FileExists(t, filepath.Join(p.folder(rejectedFolder), Fingerprint(c.Raw)+".der"))
	accepted, err := Accept(p.dir, Fingerprint(c.Raw), now)
	require.NoError(t, err)
	require.True(t, accepted.Trusted)
	require.NoError(t, trusts(p, c.Raw, "urn:server", now))
	require.ErrorContains(t, trusts(p, c.Raw, "urn:other", now), "urn:other")
	require.ErrorContains(t, trusts(p, c.Raw, "urn:server", now.Add(2*time.Hour)), "have it renewed")
	require.ErrorContains(t, trusts(p, c.Raw, "urn:server", now.Add(-2*time.Hour)), "set the clock")
	require.ErrorIs(t, trusts(p, nil, "", now), ErrUntrusted)
	require.ErrorIs(t, trusts(p, []byte("no certificate"), "", now), ErrUntrusted)
	other, _ := makeCertificate(t, "server", nil, nil, nil) // of the same name
	require.ErrorIs(t, trusts(p, other.Raw, "urn:server", now), ErrUntrusted)

	_, err = Reject(p.dir, Fingerprint(c.Raw))
	require.NoError(t, err)
	require.ErrorIs(t, trusts(p, c.Raw, "urn:server", now), ErrUntrusted)
	_, err = Reject(p.dir, Fingerprint(c.Raw))
	require.ErrorIs(t, err, ErrNoCertificate)
	_, err = Accept(p.dir, Fingerprint(c.Raw)[:8], now) // the first digits are easily made to be those of another
	require.ErrorIs(t, err, ErrFingerprint)

	authority, key := makeCertificate(t, "authority", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, nil, nil)
	signed, _ := makeCertificate(t, "signed", nil, authority, key)
	require.ErrorIs(t, trusts(p, signed.Raw, "urn:signed", now), ErrUntrusted)
	p.optional = true
	require.NoError(t, os.WriteFile(filepath.Join(p.folder(trustedFolder), "authority.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}), 0o644))
	require.NoError(t, trusts(p, signed.Raw, "urn:signed", now))

	all, err := Certificates(p.dir)
	require.NoError(t, err)
	var seen []string
	for _, c := range all {
		seen = append(seen, fmt.Sprint(c.Trusted, c.Authority, " ", c.Name))
	}
	require.Equal(t, []string{"true true authority", "false false server", "false false server", "false false signed"}, seen)
	require.NoError(t, os.WriteFile(filepath.Join(p.folder(trustedFolder), "broken.der"), []byte("no certificate"), 0o644))
	require.ErrorContains(t, trusts(p, signed.Raw, "urn:signed", now), "broken.der")
}

// TestExpiredServersAreKept: what is wrong with them is told, and they can be looked at.
func TestExpiredServersAreKept(t *testing.T) {
	p := pki{dir: t.TempDir(), name: "plc"}
	now := time.Now()
	c, _ := makeCertificate(t, "server", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour) }, nil, nil)
	err := trusts(p, c.Raw, "urn:server", now)
	require.ErrorIs(t, err, ErrUntrusted)
	require.ErrorContains(t, err, `the certificate of "server" expired at `)
	require.FileExists(t, filepath.Join(p.folder(rejectedFolder), Fingerprint(c.Raw)+".der"))
	_, err = Accept(p.dir, Fingerprint(c.Raw), now)
	require.ErrorContains(t, err, "expired at ")
	require.NoFileExists(t, filepath.Join(p.folder(trustedFolder), Fingerprint(c.Raw)+".der"))
}

func TestOwnCertificate(t *testing.T) {
	p := pki{dir: t.TempDir(), name: "plc"}
	cert, key, err := p.own()
	require.NoError(t, err)
	again, _, err := p.own()
	require.NoError(t, err)
	require.Equal(t, cert, again)
	c, err := x509.ParseCertificate(cert)
	require.NoError(t, err)
	require.Len(t, c.URIs, 1)
	require.True(t, key.PublicKey.Equal(c.PublicKey))
	st, err := os.Stat(filepath.Join(p.folder("own"), "key.pem"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	_, other, err := pki{dir: t.TempDir(), name: "x"}.own()
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(other)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.folder("own"), "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	_, _, err = p.own()
	require.ErrorContains(t, err, "is not that of the certificate")
}
