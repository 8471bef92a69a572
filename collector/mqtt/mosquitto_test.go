package mqtt

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// startMosquitto runs a mosquitto that keeps 50 messages of a session beside those under way, and gives its address.
func startMosquitto(t *testing.T) string {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no mosquitto here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 50\nmax_inflight_messages 20\nsys_interval 1\n", port), 0o600))
	cmd := exec.Command(program, "-c", conf)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := fmt.Sprint("127.0.0.1:", port)
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	return address
}

// outlet is a queue in memory that may be full.
type outlet struct {
	mu    sync.Mutex
	full  chan struct{} // nil: it has room
	times map[int64]bool
	gaps  []collector.Gap
}

func (o *outlet) Submit(ctx context.Context, runs []*varvev1.Run) (func(context.Context) error, error) {
	o.mu.Lock()
	full := o.full
	o.mu.Unlock()
	if full != nil {
		select {
		case <-full:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range runs {
		for _, v := range r.Int64 {
			o.times[v] = true
		}
	}
	return func(context.Context) error { return nil }, nil
}

func (o *outlet) PutGap(_ context.Context, g collector.Gap) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gaps = append(o.gaps, g)
	return nil
}

func (o *outlet) Status() collector.OutletStatus { return collector.OutletStatus{} }

func (o *outlet) has(at int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.times[at]
}

// inGap reports whether a gap of tag v was told that has an instant.
func (o *outlet) inGap(at int64) bool {
	type gap struct{ start, end int64 } // end 0: it is open
	var of []gap
	for _, g := range o.gaps {
		switch {
		case !slices.Contains(g.Tags, "v"):
		case !g.Ends:
			of = append(of, gap{g.Start, max(g.End, 0)})
		default:
			for i := range of {
				if of[i].end == 0 && of[i].start < g.End {
					of[i].end = g.End
				}
			}
		}
	}
	return slices.ContainsFunc(of, func(g gap) bool { return at >= g.start && (g.end == 0 || at < g.end) })
}

// Whatever a broker drops, because a full queue keeps the collector from reading or because it is away, lies in a gap; with a session that the broker keeps some
// of it comes all the same, and does not end the gap of the rest.
func TestWhatABrokerDropsIsAGap(t *testing.T) {
	for _, version := range versions {
		for _, session := range []string{"0s", "1h"} {
			t.Run(fmt.Sprintf("version=%d/session=%s", version, session), func(t *testing.T) {
				address := startMosquitto(t)
				t.Parallel()
				text := fmt.Sprintf(`collector: c
destinations: [{address: "127.0.0.1:1"}]
queue: {dir: %q}
health: {off: true}
sources:
- name: plant
  type: mqtt
  settings: {broker: "mqtt://%s", version: %d, session: %s, in_flight: 20, topics: [{filter: a, readings: [{address: v, value: /t, type: int64, time: /t, time_format: unix_ns}]}]}
  tags: [{address: v, tag: v}]
`, t.TempDir(), address, version, session)
				c, err := collector.ParseConfig("test", []byte(text), []collector.Kind{Kind()})
				require.NoError(t, err)
				o := &outlet{times: map[int64]bool{}}
				run := func() (stop func()) {
					k, err := collector.New(c, collector.Options{Outlet: o, BackoffMin: 10 * time.Millisecond})
					require.NoError(t, err)
					ctx, cancel := context.WithCancel(context.Background())
					done := make(chan error, 1)
					go func() { done <- k.Run(ctx) }()
					return func() {
						cancel()
						require.NoError(t, <-done)
					}
				}
				s := settings(t, fmt.Sprintf("version: %d\ntopics: [{filter: a}]", version))
				s.Broker = "mqtt://" + address
				p, err := dial(t.Context(), s, time.Now, packet.Connect{ClientID: "device", Clean: true, KeepAlive: 60})
				require.NoError(t, err)
				defer p.close()
				go func() {
					for m := range p.in {
						p.done(m)
					}
				}()
				id := uint16(0)
				publish := func() int64 {
					at := time.Now().UnixNano()
					id = id%60_000 + 1
					require.NoError(t, p.publish(packet.Publish{Topic: "a", Payload: fmt.Appendf(nil, `{"t":%d}`, at), ID: id, QoS: 1}))
					time.Sleep(time.Millisecond)
					return at
				}
				var sent []int64
				during := func(d time.Duration) {
					for began := time.Now(); time.Since(began) < d; {
						sent = append(sent, publish())
					}
				}
				// caughtUp publishes until what comes is taken, and no gap has it.
				caughtUp := func() (at int64) {
					require.Eventually(t, func() bool {
						at = publish()
						time.Sleep(2 * batchAge)
						return o.has(at) && !o.inGap(at)
					}, time.Minute, time.Millisecond)
					return at
				}
				stop := run()
				caughtUp()
				during(catchUp)
				before := caughtUp()
				from := time.Now()
				full := make(chan struct{})
				o.mu.Lock()
				o.full = full
				o.mu.Unlock()
				during(catchUp)
				o.mu.Lock()
				o.full = nil
				o.mu.Unlock()
				close(full)
				during(2 * catchUp)
				stop()
				during(catchUp / 2)
				stop = run()
				during(catchUp)
				last := caughtUp() // and what is under way from before has come, or never will
				stop()

				missing := 0
				for _, at := range sent {
					if o.has(at) {
						continue
					}
					missing++
					require.True(t, o.inGap(at), "a message of %s after the queue was full is lost", time.Unix(0, at).Sub(from))
				}
				require.Positive(t, missing)
				require.True(t, o.inGap(from.Add(catchUp/2).UnixNano()), "it was not read then")
				require.False(t, o.inGap(before), "it was read, and all was taken")
				require.False(t, o.inGap(last), "it has caught up")
			})
		}
	}
}

// TestDroppedOfTheBroker collects how many messages mosquitto has dropped, as docs/reference/mqtt.md says: another client is too slow for it.
func TestDroppedOfTheBroker(t *testing.T) {
	t.Parallel()
	address := startMosquitto(t)
	out := &kept{}
	r := start(t, sourceOf(t, address, `retained: all
topics: [{filter: $SYS/broker/publish/messages/dropped, qos: 0, readings: [{address: dropped, type: uint64}]}]`), out)

	s := settings(t, "topics: [{filter: a}]")
	s.Broker = "mqtt://" + address
	client := func(name string) *client {
		c, err := dial(t.Context(), s, time.Now, packet.Connect{ClientID: name, Clean: true, KeepAlive: 60, ReceiveMaximum: 20})
		require.NoError(t, err)
		t.Cleanup(c.close)
		return c
	}
	slow, device := client("slow"), client("device")
	b, err := packet.EncodeSubscribe(slow.v, 1, []packet.Filter{{Topic: "a", QoS: 1}})
	require.NoError(t, err)
	require.NoError(t, slow.write(b))
	require.Equal(t, packet.TypeSuback, (<-slow.in).Type)
	for i := range 100 { // 20 are under way, for nobody acknowledges them, 50 are kept
		require.NoError(t, device.publish(packet.Publish{Topic: "a", Payload: []byte("1"), ID: uint16(i + 1), QoS: 1}))
	}
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(out.all(), func(l string) bool { return strings.HasPrefix(l, "dropped = uint64 30 ") })
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, r.end())
}
