package opcua

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// kindsApart are those that the test binary has as the process of a source.
var kindsApart = []collector.Kind{Kind()}

// TestMain lets the test binary be started as the process of a source, the way a collector starts the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && [2]string(os.Args[1:3]) == collector.ApartCommand {
		if err := collector.ServeApart(kindsApart); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var le = binary.LittleEndian

// question is a request that a hostile server is to answer.
type question struct {
	net.Conn
	id   uint32
	last *uint32 // number of the chunk that was sent last
}

// chunk sends a chunk of the answer: the last, or one that has others behind it.
func (q question) chunk(last bool, body []byte) {
	kind := "MSGC"
	if last {
		kind = "MSGF"
	}
	b := le.AppendUint32([]byte(kind), uint32(24+len(body)))
	*q.last++
	for _, n := range []uint32{1, 1, *q.last, q.id} { // channel, token, number, request
		b = le.AppendUint32(b, n)
	}
	_, _ = q.Write(append(b, body...)) // the client may be gone
}

// answerTo is a response of a type, as far as the additional header, which is empty or what more says.
func answerTo(kind uint16, more ...byte) []byte {
	b := append([]byte{1, 0}, le.AppendUint16(nil, kind)...) // a node id of four bytes
	b = append(b, make([]byte, 8+4+4+1+4)...)                // time, handle, result, diagnostics, table
	if len(more) == 0 {
		return append(b, 0, 0, 0)
	}
	return append(b, more...)
}

// dataValue is an additional header that has a data value: the bytes of its variant, mask and all.
func dataValue(variant ...byte) []byte {
	body := append(le.AppendUint32(nil, 1), ua.DataValueValue)
	body = append(body, variant...)
	b := append([]byte{1, 0}, le.AppendUint16(nil, id.HistoryData_Encoding_DefaultBinary)...)
	return append(le.AppendUint32(append(b, ua.ExtensionObjectBinary), uint32(len(body))), body...)
}

// hostileAnswers are what a server may say to hurt, and what is said of it.
var hostileAnswers = []struct {
	name, said string
	long       bool // takes seconds, or much memory
	answer     func(q question)
}{
	{"a length that is negative", "panic: reflect.MakeSlice: negative len", false, func(q question) {
		q.chunk(true, answerTo(id.GetEndpointsResponse_Encoding_DefaultBinary, dataValue(0x80|byte(ua.TypeIDDouble), 0xfe, 0xff, 0xff, 0xff)...))
	}},
	{"more endpoints than there is memory for", "", false, func(q question) {
		q.chunk(true, append(answerTo(id.GetEndpointsResponse_Encoding_DefaultBinary), 0xff, 0xff, 0xff, 0x7f))
	}},
	{"half a message", "it closed the connection, or what it sends is no message", false, func(q question) {
		_, _ = q.Write(append(le.AppendUint32([]byte("MSGF"), 1000), make([]byte, 100)...))
		_ = q.Close()
	}},
	{"a message of no bytes", "it closed the connection, or what it sends is no message", false, func(q question) { _, _ = q.Write([]byte("MSGF\x00\x00\x00\x00")) }},
	{"a message of another protocol", "it closed the connection, or what it sends is no message", false, func(q question) { _, _ = q.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")) }},
	{"a channel that is not open", "it closed the connection, or what it sends is no message", false, func(q question) {
		_, _ = q.Write(append(le.AppendUint32([]byte("MSGF"), 24), make([]byte, 16)...))
		_ = q.Close()
	}},
	{"an answer that ends before its end", "it closed the connection, or what it sends is no message", false, func(q question) {
		q.chunk(true, answerTo(id.GetEndpointsResponse_Encoding_DefaultBinary)[:20])
	}},
	{"an answer of no type", "not support", false, func(q question) { q.chunk(true, answerTo(1)) }},
	{"chunks without an end", "too many chunks", false, func(q question) {
		for range 600 {
			q.chunk(false, make([]byte, 1000))
		}
	}},
	{"dimensions of no values", "", true, func(q question) {
		v := append([]byte{0xc0 | byte(ua.TypeIDDouble)}, 0, 0, 0, 0, 3, 0, 0, 0)
		for range 3 {
			v = append(v, 0, 0, 1, 0)
		}
		q.chunk(true, answerTo(id.GetEndpointsResponse_Encoding_DefaultBinary, dataValue(v...)...))
	}},
	{"variants in each other", "", true, func(q question) {
		v := make([]byte, 2_000_000)
		for i := range v {
			v[i] = byte(ua.TypeIDVariant)
		}
		b := answerTo(id.GetEndpointsResponse_Encoding_DefaultBinary, dataValue(v...)...)
		for ; len(b) > 60_000; b = b[60_000:] {
			q.chunk(false, b[:60_000])
		}
		q.chunk(true, b)
	}},
}

// newHostile is a server that opens channels and answers what it is asked as answer says. It opens secured ones with the certificates that it shows, and no further.
func newHostile(t *testing.T, answer func(question), shows ...byte) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				serveHostile(c, answer, shows)
			})
		}
	}()
	return "opc.tcp://" + l.Addr().String()
}

func serveHostile(c net.Conn, answer func(question), shows []byte) {
	last := uint32(1)
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		body := make([]byte, le.Uint32(head[4:])-8)
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		var err error
		switch string(head[:3]) {
		case "HEL":
			b := le.AppendUint32([]byte("ACKF"), 28)
			for _, n := range []uint32{0, 65535, 65535, 0, 0} {
				b = le.AppendUint32(b, n)
			}
			_, err = c.Write(b)
		case "OPN":
			policy := le.Uint32(body[4:]) // the length of its name; behind it two empty texts
			request := uint32(0)
			if string(body[8:8+policy]) == ua.SecurityPolicyURINone { // else it is not to be read without a key
				request = le.Uint32(body[8+policy+8+4:])
			}
			res, encodeErr := ua.Encode(&ua.OpenSecureChannelResponse{
				ResponseHeader: &ua.ResponseHeader{ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)},
				SecurityToken:  &ua.ChannelSecurityToken{ChannelID: 1, TokenID: 1, CreatedAt: time.Now(), RevisedLifetime: 3_600_000},
			})
			if encodeErr != nil {
				return
			}
			b := append(le.AppendUint32(nil, 1), body[4:8+policy]...)
			if len(shows) > 0 && string(body[8:8+policy]) != ua.SecurityPolicyURINone {
				b = append(le.AppendUint32(b, uint32(len(shows))), shows...)
				b = le.AppendUint32(b, math.MaxUint32) // no thumbprint; nothing behind it is looked at
			} else {
				b = append(b, body[8+policy:8+policy+8]...)
			}
			b = le.AppendUint32(le.AppendUint32(b, 1), request)
			b = append(append(b, 1, 0), le.AppendUint16(nil, id.OpenSecureChannelResponse_Encoding_DefaultBinary)...)
			b = append(b, res...)
			_, err = c.Write(append(le.AppendUint32([]byte("OPNF"), uint32(8+len(b))), b...))
		case "MSG":
			answer(question{c, le.Uint32(body[12:]), &last})
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

// hostileConfig has a source that reads a server, and one that ticks.
func hostileConfig(t *testing.T, dir, url string, ticks *atomic.Int64) *collector.Config {
	ticking := collector.NewKind("ticking", func(collector.Env, *struct{}) (collector.Source, error) { return (*ticker)(ticks), nil })
	c, err := collector.ParseConfig("c.yaml", fmt.Appendf(nil, `destinations: [{address: 'a:1'}]
queue: {dir: %s}
health: {off: true}
sources:
  - name: plc
    type: opcua
    settings: {urls: [%q], security: none, timeout: 2s, publishing: 20ms, keepalive: 100ms}
    tags: [{address: "ns=2;s=a", tag: PLC.a, type: int64}]
  - {name: other, type: ticking, tags: [{address: t, tag: OTHER.t}]}
`, dir, url), []collector.Kind{Kind(), ticking})
	require.NoError(t, err)
	return c
}

// ticker is a source that goes on as long as it can.
type ticker atomic.Int64

func (x *ticker) Run(ctx context.Context, out collector.Sink) error {
	for wait(ctx, time.Millisecond) {
		n := (*atomic.Int64)(x).Add(1)
		if err := out.Put(ctx, []collector.Reading{{Address: "t", Time: time.Now().UnixNano(), HasTime: true, Value: collector.Int64(n)}}); err != nil {
			return err
		}
	}
	return nil
}

// TestHostileServers: whatever a server answers, trying it is an error that says something.
func TestHostileServers(t *testing.T) {
	for _, h := range hostileAnswers {
		t.Run(h.name, func(t *testing.T) {
			if h.long && testing.Short() {
				t.Skip("it takes a gigabyte of memory")
			}
			c := hostileConfig(t, t.TempDir(), newHostile(t, h.answer), new(atomic.Int64))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := collector.CheckSource(ctx, c, &c.Sources[0], time.Now, func(f collector.Finding) { t.Errorf("a value: %v", f) })
			require.Error(t, err)
			require.NoError(t, ctx.Err())
			require.ErrorContains(t, err, h.said)
			t.Log(err)
		})
	}
}

// tagsOf counts the samples of tags.
type tagsOf struct {
	mu      sync.Mutex
	samples map[string]int
	gaps    []collector.Gap
}

func (o *tagsOf) Submit(_ context.Context, runs []*varvev1.Run) (func(context.Context) error, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range runs {
		o.samples[r.GetTag()]++
	}
	return nil, nil
}

func (o *tagsOf) PutGap(_ context.Context, g collector.Gap) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gaps = append(o.gaps, g)
	return nil
}

func (o *tagsOf) Status() collector.OutletStatus { return collector.OutletStatus{} }

func (o *tagsOf) of(tag string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.samples[tag]
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestHostileServerEndsNothingElse: a server answers in one hostile way after another, and then as it should. The other source goes on all the time, and this
// one does in the end.
func TestHostileServerEndsNothingElse(t *testing.T) {
	p := newPlant(t)
	p.set("a", at(time.Now().UnixNano(), int64(1), 0))
	var asked atomic.Int64
	var w *wire
	hostile := newHostile(t, func(q question) {
		for {
			n := int(asked.Add(1)) - 1
			if n >= len(hostileAnswers) {
				w.mu.Lock()
				w.to = p.url[len("opc.tcp://"):]
				w.mu.Unlock()
				_ = q.Close()
				return
			}
			if h := hostileAnswers[n]; !h.long {
				h.answer(q)
				return
			}
		}
	})
	w, url := newWire(t, hostile)
	var ticks atomic.Int64
	c := hostileConfig(t, filepath.Join(t.TempDir(), "q"), url, &ticks)
	out, log := &tagsOf{samples: map[string]int{}}, new(lines)
	k, err := collector.New(c, collector.Options{Outlet: out, Logger: slog.New(slog.NewTextHandler(log, nil)), BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	for n := int64(1); n <= int64(len(hostileAnswers)); n++ {
		require.Eventually(t, func() bool { return asked.Load() >= n }, time.Minute, time.Millisecond, "%s", log)
		before := ticks.Load()
		require.Eventually(t, func() bool { return ticks.Load() > before+5 }, time.Minute, time.Millisecond, "%s", log)
	}
	require.Eventually(t, func() bool { return out.of("PLC.a") > 0 }, time.Minute, time.Millisecond, "%s", log)
	cancel()
	require.NoError(t, <-done)
	require.GreaterOrEqual(t, out.of("OTHER.t"), int(ticks.Load())-1)
	require.Contains(t, log.String(), "panic: reflect.MakeSlice: negative len")
	require.Contains(t, log.String(), "too many chunks")
	out.mu.Lock()
	defer out.mu.Unlock()
	var of []string
	for _, g := range out.gaps {
		of = append(of, g.Tags...)
	}
	require.Contains(t, of, "PLC.a")
}
