package mqtt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/mqtt/packet"
)

// testBroker is a broker that may be closed twice.
type testBroker struct {
	*broker.Server
	once sync.Once
}

func (b *testBroker) Close() (err error) {
	b.once.Do(func() { err = b.Server.Close() })
	return err
}

// startBroker runs a broker in this process, and gives its address. A rule of auth may be nil: everybody may do everything.
func startBroker(t testing.TB, address string, config *tls.Config, rules *auth.Ledger) (*testBroker, string) {
	b := broker.New(&broker.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if rules == nil {
		require.NoError(t, b.AddHook(new(auth.AllowHook), nil))
	} else {
		require.NoError(t, b.AddHook(new(auth.Hook), &auth.Options{Ledger: rules}))
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: address, TLSConfig: config})
	require.Eventually(t, func() bool { return b.AddListener(l) == nil }, 10*time.Second, 20*time.Millisecond)
	require.NoError(t, b.Serve())
	x := &testBroker{Server: b}
	t.Cleanup(func() { x.Close() })
	return x, l.Address()
}

// kept is a Sink in memory: what came, as lines in their order.
type kept struct {
	mu       sync.Mutex
	lines    []string
	flushed  int // lines that were flushed
	down     bool
	counts   map[collector.Counter]int
	failPut  error
	failSync error
}

func (k *kept) add(failing error, lines ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if failing != nil {
		return failing
	}
	k.lines = append(k.lines, lines...)
	return nil
}

func (k *kept) Put(_ context.Context, readings []collector.Reading) error {
	var lines []string
	for _, r := range readings {
		lines = append(lines, line(r))
	}
	return k.add(k.failPut, lines...)
}

func (k *kept) Flush(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failSync == nil {
		k.flushed = len(k.lines)
	}
	return k.failSync
}

func (k *kept) Down(_ context.Context, addresses []string, _ int64, reason string) error {
	reason, _, _ = strings.Cut(reason, ":")
	k.mu.Lock()
	k.down = true
	k.mu.Unlock()
	return k.add(nil, fmt.Sprintf("down %s: %s", strings.Join(addresses, " "), reason))
}

// Up says something only where something is down, as of the collector's own.
func (k *kept) Up(_ context.Context, addresses []string, _ int64) error {
	k.mu.Lock()
	down := k.down
	k.down = down && len(addresses) > 0
	k.mu.Unlock()
	if !down {
		return nil
	}
	return k.add(nil, "up "+strings.Join(addresses, " "))
}
func (k *kept) Lost(_ context.Context, addresses []string, _, _ int64, reason string) error {
	return k.add(nil, fmt.Sprintf("lost %s: %s", strings.Join(addresses, " "), reason))
}
func (k *kept) Count(c collector.Counter, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts == nil {
		k.counts = map[collector.Counter]int{}
	}
	k.counts[c] += n
}

func (k *kept) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.lines)
}

func (k *kept) count(c collector.Counter) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.counts[c]
}

// wait waits until n lines are there.
func (k *kept) wait(t testing.TB, n int) []string {
	t.Helper()
	require.Eventually(t, func() bool { return len(k.all()) >= n }, 20*time.Second, 5*time.Millisecond, "%v", k)
	return k.all()
}

func env() collector.Env {
	return collector.Env{Name: "test", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now}
}

// running is a source that runs until stop.
type running struct {
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, x *source, out collector.Sink) *running {
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t, stop, make(chan error, 1)}
	go func() { r.done <- x.Run(ctx, out) }()
	t.Cleanup(stop)
	return r
}

// end stops it and gives its error; wait gives that of one that ends by itself.
func (r *running) end() error { r.stop(); return r.wait() }
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatal("the source does not end")
		return nil
	}
}

// subscribers waits until the broker has n subscriptions.
func subscribers(t testing.TB, b *testBroker, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return b.Info.Clone().Subscriptions >= n }, 20*time.Second, 5*time.Millisecond)
}

var versions = []int{3, 5}

func sourceOf(t testing.TB, address, text string) *source {
	s := settings(t, text)
	s.Broker = "mqtt://" + address
	return newSource(env(), s)
}

func TestTopics(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprint("version=", v), func(t *testing.T) {
			b, address := startBroker(t, "127.0.0.1:0", nil, nil)
			require.NoError(t, b.Publish("plant/A/kept", []byte(`{"v":1}`), true, 1))
			require.NoError(t, b.Publish("plant/A/timed", []byte(`{"v":2,"t":"2026-11-26T08:00:00Z"}`), true, 1))
			x := sourceOf(t, address, fmt.Sprintf(`version: %d
topics:
- filter: plant/{area}/timed
  readings: [{address: "{area}", value: /v, time: /t}]
- filter: plant/{area}/{x}/deep
- filter: text/+
  format: text
  qos: 0
- filter: plant/A/kept
  share: all`, v))
			out := &kept{}
			r := start(t, x, out)
			require.Equal(t, []string{"A = float64 2 Good 2026-11-26T08:00:00Z"}, out.wait(t, 1))
			subscribers(t, b, 4)
			require.NoError(t, b.Publish("plant/B/x/deep", []byte(`{"a":{"b":true}}`), false, 1))
			require.NoError(t, b.Publish("text/1", []byte(`21.5`), false, 0))
			require.NoError(t, b.Publish("text/1", []byte(`no`), false, 0))
			require.NoError(t, b.Publish("plant/A/kept", []byte(`5`), false, 1))
			got := out.wait(t, 4)[1:]
			slices.Sort(got)
			require.Equal(t, []string{"plant/A/kept = float64 5 Good", "plant/B/x/deep/a/b = bool true Good", "text/1 = float64 21.5 Good"}, got)
			require.Eventually(t, func() bool { return out.count(collector.Rejected) == 1 }, 20*time.Second, 5*time.Millisecond)
			require.NoError(t, r.end())
			require.Positive(t, out.count(collector.Received))
			require.Zero(t, out.count(collector.Reconnects))
		})
	}
}

// The broker keeps messages while the collector is away, and has each acknowledged only when it is on disk.
func TestSessionThatIsKept(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprint("version=", v), func(t *testing.T) {
			b, address := startBroker(t, "127.0.0.1:0", nil, nil)
			x := sourceOf(t, address, fmt.Sprintf("version: %d\nsession: 1h\ntopics: [{filter: a, readings: [{value: /v, time: /t, time_format: unix}]}]", v))
			publish := func(i int) {
				require.NoError(t, b.Publish("a", fmt.Appendf(nil, `{"v":%d,"t":%d}`, i, i), false, 1))
			}
			out := &kept{failSync: errors.New("the disk is full")}
			r := start(t, x, out)
			subscribers(t, b, 1)
			publish(1)
			require.ErrorContains(t, r.wait(), "the disk is full") // it was put, and did not reach the disk
			publish(2)
			again := &kept{}
			r = start(t, x, again)
			got := again.wait(t, 2)
			require.Contains(t, got, "a = float64 1 Good 1970-01-01T00:00:01Z")
			require.Contains(t, got, "a = float64 2 Good 1970-01-01T00:00:02Z")
			require.Eventually(t, func() bool { // all are acknowledged
				c, ok := b.Clients.Get("varve-test")
				return ok && c.State.Inflight.Len() == 0
			}, 20*time.Second, 5*time.Millisecond)
			require.NoError(t, r.end())
			require.Equal(t, len(again.all()), again.flushed)
			last := &kept{}
			r = start(t, x, last)
			// The broker has the subscription of before; what comes while it hands the session on it may lose.
			require.Eventually(t, func() bool { return last.count(collector.Reconnects) == 1 }, 20*time.Second, 5*time.Millisecond)
			publish(3)
			require.Subset(t, []string{"a = float64 3 Good 1970-01-01T00:00:03Z"}, last.wait(t, 1), "nothing of before") // it may come twice
			require.NoError(t, r.end())
		})
	}
}

// Without a session what the broker does not deliver is lost; the time without a connection is a gap of everything.
func TestBrokerGone(t *testing.T) {
	b, address := startBroker(t, "127.0.0.1:0", nil, nil)
	x := sourceOf(t, address, "topics: [{filter: a}]")
	out := &kept{}
	r := start(t, x, out)
	subscribers(t, b, 1)
	require.NoError(t, b.Publish("a", []byte("1"), false, 0))
	out.wait(t, 1)
	require.NoError(t, b.Close())
	require.Error(t, r.wait())
	require.Equal(t, []string{"a = float64 1 Good", "down : the broker is not reached"}, out.all())
	require.ErrorContains(t, start(t, x, out).wait(), "connect to mqtt://"+address) // nobody is there
	require.Len(t, out.all(), 2)
	b, _ = startBroker(t, address, nil, nil)
	r = start(t, x, out)
	out.wait(t, 3)
	subscribers(t, b, 1)
	require.NoError(t, b.Publish("a", []byte("2"), false, 0))
	require.Equal(t, []string{"up ", "a = float64 2 Good"}, out.wait(t, 4)[2:])
	require.NoError(t, r.end())
	require.Equal(t, 1, out.count(collector.Reconnects))
}

// certificates are an authority, and certificates of it for a server on 127.0.0.1 and a client, as files.
func certificates(t testing.TB) (dir string) {
	dir = t.TempDir()
	write := func(name, kind string, b []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
	}
	key := func(name string) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		b, err := x509.MarshalECPrivateKey(k)
		require.NoError(t, err)
		write(name+".key", "EC PRIVATE KEY", b)
		return k
	}
	caKey := key("ca")
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	b, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", b)
	for i, name := range []string{"server", "client"} {
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		b, err := x509.CreateCertificate(rand.Reader, c, ca, key(name).Public(), caKey)
		require.NoError(t, err)
		write(name+".pem", "CERTIFICATE", b)
	}
	return dir
}

func TestTLSAndUsers(t *testing.T) {
	dir := certificates(t)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	require.NoError(t, err)
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	b, address := startBroker(t, "127.0.0.1:0", config, &auth.Ledger{Users: auth.Users{"me": {Password: "secret", ACL: auth.Filters{"a/#": auth.ReadWrite, "b": auth.Deny}}}})
	t.Setenv("MQTT_PASSWORD", "secret")
	t.Setenv("MQTT_WRONG", "wrong")
	text := func(password, certificate, topic string) string {
		return fmt.Sprintf("broker: mqtts://x\nuser: me\npassword: ${%s}\ntls: {ca: %s/ca.pem%s}\ntopics: [{filter: %s}]", password, dir, certificate, topic)
	}
	with := fmt.Sprintf(", cert: %s/client.pem, key: %s/client.key", dir, dir)
	secure := func(text string) *source {
		var s Settings
		require.NoError(t, yaml.Unmarshal([]byte(text), &s))
		require.NoError(t, s.Check())
		s.Broker = "mqtts://" + address
		return newSource(env(), &s)
	}
	out := &kept{}
	r := start(t, secure(text("MQTT_PASSWORD", with, "a/+")), out)
	subscribers(t, b, 1)
	require.NoError(t, b.Publish("a/x", []byte("1"), false, 0))
	require.Equal(t, []string{"a/x = float64 1 Good"}, out.wait(t, 1))
	require.NoError(t, r.end())
	require.ErrorContains(t, start(t, secure(text("MQTT_WRONG", with, "a/+")), out).wait(), "bad user name or password")
	require.ErrorContains(t, start(t, secure(text("MQTT_PASSWORD", "", "a/+")), out).wait(), "connect to mqtts://")
	require.ErrorContains(t, start(t, secure(text("MQTT_PASSWORD", with, "b")), out).wait(), `subscribe to "b": the broker refuses`)
	stranger := secure(text("MQTT_PASSWORD", with, "a/+"))
	stranger.s.TLS.CA = ""
	require.ErrorContains(t, start(t, stranger, out).wait(), "certificate")
	missing := secure(text("MQTT_PASSWORD", with, "a/+"))
	missing.s.TLS.CA = filepath.Join(dir, "client.key")
	require.ErrorContains(t, start(t, missing, out).wait(), "has no certificate in PEM")
}

func TestCheckAndBrowse(t *testing.T) {
	b, address := startBroker(t, "127.0.0.1:0", nil, nil)
	require.NoError(t, b.Publish("a/x", []byte(`{"v":1,"s":"y"}`), true, 1))
	x := sourceOf(t, address, "retained: all\nsession: 0s\ntopics: [{filter: a/+, share: g}]")
	ctx, stop := context.WithCancel(context.Background())
	var got []string
	err := x.Check(ctx, func(r collector.Reading) {
		if got = append(got, line(r)); len(got) == 2 {
			stop()
		}
	})
	require.NoError(t, err)
	require.Equal(t, []string{`a/x/s = string "y" Good`, "a/x/v = float64 1 Good"}, got)
	errEnough := errors.New("enough")
	var offers []string
	err = x.Browse(context.Background(), "a/#", func(o collector.Offer) error {
		if offers = append(offers, fmt.Sprint(o.Address, " ", o.Type)); len(offers) == 2 {
			return errEnough
		}
		return nil
	})
	require.ErrorIs(t, err, errEnough)
	require.Equal(t, []string{"a/x/s string", "a/x/v float64"}, offers)
	offers = nil
	x.quiet = 200 * time.Millisecond
	require.NoError(t, x.Browse(context.Background(), "", func(o collector.Offer) error { // nothing new comes: it ends
		offers = append(offers, o.Address)
		return nil
	}))
	require.Equal(t, []string{"a/x/s", "a/x/v"}, offers)
	require.ErrorContains(t, x.Browse(context.Background(), "a/#/b", nil), "must be last")
}

// script is a broker that answers as a test says; it keeps what the client sends.
type script struct {
	t       *testing.T
	l       net.Listener
	packets chan packet.Packet
	conn    chan net.Conn
}

func newScript(t *testing.T, answers map[packet.Type]string) *script {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &script{t, l, make(chan packet.Packet, 100), make(chan net.Conn, 10)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conn <- c
			go func() {
				for {
					p, err := packet.Read(c, 1<<20)
					if err != nil {
						close(s.packets)
						return
					}
					s.packets <- p
					io.WriteString(c, answers[p.Type])
				}
			}()
		}
	}()
	return s
}

// next is the next packet of the client; its type is 0 when the client has closed.
func (s *script) next() packet.Packet {
	select {
	case p := <-s.packets:
		return p
	case <-time.After(20 * time.Second):
		s.t.Fatal("the client sends nothing")
		return packet.Packet{}
	}
}

func (s *script) address() string { return s.l.Addr().String() }

var willing = map[packet.Type]string{packet.TypeConnect: "\x20\x03\x00\x00\x00", packet.TypeSubscribe: "\x90\x04\xff\xff\x00\x01", packet.TypePingreq: "\xd0\x00"}

func answer(t packet.Type, with string) map[packet.Type]string {
	answers := map[packet.Type]string{}
	for k, v := range willing {
		answers[k] = v
	}
	answers[t] = with
	return answers
}

// Brokers that say what they must not: an error that says it, nothing else.
func TestHostileBrokers(t *testing.T) {
	for name, answers := range map[string]map[packet.Type]string{
		"begins with 0x48":                    answer(packet.TypeConnect, "HTTP/1.1 400 Bad Request\r\n\r\n"),
		"begins with 0xd0: that is no broker": answer(packet.TypeConnect, "\xd0\x00"),
		"refuses: server busy":                answer(packet.TypeConnect, "\x20\x03\x00\x89\x00"),
		"mqtt packet too large":               answer(packet.TypeSubscribe, "\x30\xff\xff\xff\x7f"),
		"SUBACK 2 with 1 codes for 1 filters": answer(packet.TypeSubscribe, "\x90\x04\x00\x02\x00\x01"),
		"the broker refuses: not authorized":  answer(packet.TypeSubscribe, "\x90\x04\xff\xff\x00\x87"),
		"a packet of type 15":                 answer(packet.TypeSubscribe, "\xf0\x00"),
		"ends in its topic":                   answer(packet.TypeSubscribe, "\x30\x01\x00"),
		"session taken over":                  answer(packet.TypeSubscribe, "\xe0\x02\x8e\x00"),
		"the broker is silent for 1.5s":       answer(packet.TypePingreq, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, answers)
			x := sourceOf(t, s.address(), "keep_alive: 1s\ntopics: [{filter: a}]")
			require.ErrorContains(t, start(t, x, &kept{}).wait(), name)
		})
	}
}

func TestSessionRefused(t *testing.T) {
	s := newScript(t, answer(packet.TypeSubscribe, "\x90\x04\xff\xff\x00\x00"))
	x := sourceOf(t, s.address(), "session: 1h\ntopics: [{filter: a, readings: [{time: /t}]}]")
	require.ErrorContains(t, start(t, x, &kept{}).wait(), "grants QoS 0 only")
	connect := s.next()
	require.Zero(t, connect.Body[7]&2) // not clean
}
