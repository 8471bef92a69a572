package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// TestKill9 kills the server with SIGKILL while a collector writes to it, again and again on one store, sometimes before
// it has recovered from the kill before. After each start every tag holds what a prefix of the batches sent makes of it,
// no shorter than what was acknowledged; at the end it holds all. VARVE_KILLS is the number of kills.
func TestKill9(t *testing.T) {
	kills, err := strconv.Atoi(os.Getenv("VARVE_KILLS"))
	if err != nil || kills < 1 {
		kills = 20
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d kills, moments drawn with seed %d", kills, seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	s := newKilledServer(t)
	s.start()
	load := startKilledLoad(t, s.address)
	for range kills {
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond)
		acked := load.acked.Load()
		s.kill()
		for rng.IntN(4) == 0 { // killed again while it recovers
			s.launch()
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			s.kill()
		}
		s.start()
		tag := rng.IntN(killTags)
		require.GreaterOrEqual(t, load.prefix(tag), acked, "tag %d, seed %d: acknowledged batches are lost", tag, seed)
	}
	sent := load.stop()
	for tag := range killTags {
		require.Equal(t, sent, load.prefix(tag), "tag %d, seed %d", tag, seed)
	}
	s.stop()
	t.Logf("%d batches of %d samples", sent, killTags*killRun)
}

// A batch of the load has a run of every tag; every fifth corrects three batches back of tag 0.
const (
	killTags = 12
	killRun  = 20
)

func killTag(tag int) string { return "K" + strconv.Itoa(tag) }

func killTime(batch uint64, i int) int64 {
	return int64(batch*killRun+uint64(i)) * int64(time.Millisecond)
}

func killValue(tag int, batch uint64, i int) float64 {
	return float64(batch) + float64(tag)/100 + float64(i)/10000
}

// killBatch is batch number n, from 1, the same whenever it is made.
func killBatch(n uint64) *varvev1.Batch {
	b := &varvev1.Batch{Sequence: n, OriginTimeNs: int64(n)}
	for tag := range killTags {
		r := &varvev1.Run{Tag: killTag(tag), FirstTimeNs: killTime(n, 0), StepNs: int64(time.Millisecond), Count: killRun}
		for i := range killRun {
			r.Float64 = append(r.Float64, killValue(tag, n, i))
		}
		b.Runs = append(b.Runs, r)
	}
	if corrected, ok := killCorrects(n); ok {
		b.Runs = append(b.Runs, &varvev1.Run{Tag: killTag(0), FirstTimeNs: killTime(corrected, 7), Count: 1, Float64: []float64{-float64(n)}})
	}
	return b
}

func killCorrects(n uint64) (uint64, bool) { return n - 3, n%5 == 0 }

// varveBinary is the program, built from this tree once.
func varveBinary(t testing.TB) string {
	t.Helper()
	buildVarve.once.Do(func() {
		if buildVarve.dir, buildVarve.err = os.MkdirTemp("", "varve-*"); buildVarve.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", buildVarve.dir, ".").CombinedOutput(); err != nil {
			buildVarve.err = fmt.Errorf("build varve: %w\n%s", err, out)
		}
	})
	require.NoError(t, buildVarve.err)
	return filepath.Join(buildVarve.dir, "varve")
}

var buildVarve struct { // TestMain removes the folder
	once sync.Once
	dir  string
	err  error
}

// killedServer is the program in a process of its own, on one store and, once it had one, one address.
type killedServer struct {
	t       *testing.T
	binary  string
	data    string
	flags   []string // beside those every server gets
	address string
	process *exec.Cmd
	stderr  io.ReadCloser
}

func newKilledServer(t *testing.T) *killedServer {
	s := &killedServer{t: t, binary: varveBinary(t), data: filepath.Join(t.TempDir(), "data"), address: "127.0.0.1:0"}
	// Small generations and segments make the kills hit cuts, flushes and trims too.
	s.flags = []string{"--generation-samples", "30000"}
	t.Cleanup(func() {
		if s.process != nil {
			s.kill()
		}
	})
	return s
}

// launch starts the process and does not wait for it to serve.
func (s *killedServer) launch() {
	s.process = exec.Command(s.binary, append([]string{"serve", "--data", s.data, "--listen", s.address, "--metrics-listen", "",
		"--min-free", "0", "--ballast", "0", "--log-level", "error"}, s.flags...)...)
	var err error
	s.stderr, err = s.process.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, s.process.Start())
}

// start returns once the server says that it listens.
func (s *killedServer) start() {
	s.launch()
	timer := time.AfterFunc(time.Minute, func() { s.process.Process.Kill() })
	defer timer.Stop()
	var said []byte
	for one := make([]byte, 1); !bytes.HasSuffix(said, []byte("\n")) || !bytes.Contains(said, []byte("listening on ")); {
		if _, err := s.stderr.Read(one); err != nil {
			require.FailNow(s.t, "the server ended before it listened", "%s", said)
		}
		said = append(said, one[0])
	}
	_, address, _ := strings.Cut(string(said), "listening on ")
	s.address = strings.TrimSpace(address)
	go io.Copy(io.Discard, s.stderr)
}

func (s *killedServer) kill() {
	s.process.Process.Kill()
	s.process.Wait() // reports the kill
}

func (s *killedServer) stop() {
	require.NoError(s.t, s.process.Process.Signal(syscall.SIGTERM))
	require.NoError(s.t, s.process.Wait())
	s.process = nil
}

// killedLoad is a collector that writes batch after batch and connects again whenever it must.
type killedLoad struct {
	t       *testing.T
	query   varvev1.QueryServiceClient
	session *session.Session
	acked   atomic.Uint64 // the newest batch known to be accepted
	sent    atomic.Uint64
	stopped chan struct{}
	ended   chan error
}

// quickly has a client connect again soon.
var quickly = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 50 * time.Millisecond}, MinConnectTimeout: time.Second,
})

func startKilledLoad(t *testing.T, address string) *killedLoad {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), quickly,
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	l := &killedLoad{t: t, query: varvev1.NewQueryServiceClient(conn), stopped: make(chan struct{}), ended: make(chan error, 1)}
	l.session, err = session.Open(t.Context(), varvev1.NewIngestServiceClient(conn), session.Options{
		Source: "kill", Epoch: 1, CreateTags: true, InFlightBatches: 50,
		BackoffMin: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond, GiveUpAfter: 2 * time.Minute,
		OnAck: func(m varvev1.Mark, r *varvev1.BatchResult) {
			if m == varvev1.Mark_MARK_ACCEPTED && r.Sequence > l.acked.Load() {
				l.acked.Store(r.Sequence)
			}
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { l.session.Close() })
	var tags []*varvev1.NewTag
	for tag := range killTags {
		tags = append(tags, &varvev1.NewTag{Name: killTag(tag), Type: varvev1.Type_TYPE_FLOAT64})
	}
	_, err = l.session.Resolve(t.Context(), tags)
	require.NoError(t, err)
	go func() { l.ended <- l.write() }()
	return l
}

func (l *killedLoad) write() error {
	for n := uint64(1); ; n++ {
		select {
		case <-l.stopped:
			return nil
		default:
		}
		l.sent.Store(n)
		if err := l.session.Send(context.Background(), killBatch(n)); err != nil {
			return err
		}
	}
}

// stop ends the writing, waits until all of it is applied, and returns the number of the last batch.
func (l *killedLoad) stop() uint64 {
	close(l.stopped)
	require.NoError(l.t, <-l.ended)
	require.NoError(l.t, l.session.Flush(l.t.Context()))
	return l.sent.Load()
}

// prefix reads a tag whole and returns how many batches it shows, after comparing every sample with what those make.
func (l *killedLoad) prefix(tag int) uint64 {
	values := l.read(tag)
	require.Zero(l.t, len(values)%killRun, "tag %d has %d samples: part of a batch", tag, len(values))
	n := uint64(len(values) / killRun)
	require.LessOrEqual(l.t, n, l.sent.Load(), "tag %d has batches that nobody sent", tag)
	for at := range values {
		batch, i := uint64(at/killRun)+1, at%killRun
		want := killValue(tag, batch, i)
		if by := batch + 3; tag == 0 && i == 7 && by <= n {
			if corrected, ok := killCorrects(by); ok && corrected == batch {
				want = -float64(by)
			}
		}
		if values[at] != want {
			require.FailNow(l.t, "not what was sent", "tag %d, batch %d of %d, sample %d: got %v, sent was %v", tag, batch, n, i, values[at], want)
		}
	}
	return n
}

// read is every value of a tag; their times are the first ones of the load, none missing.
func (l *killedLoad) read(tag int) []float64 {
	return l.readTag(killTag(tag), func(i int) int64 { return killTime(uint64(i/killRun)+1, i%killRun) })
}

// readTag is every value of a tag, whose times must be as told.
func (l *killedLoad) readTag(name string, timeOf func(i int) int64) []float64 {
	stream, err := l.query.ReadRange(l.t.Context(), &varvev1.ReadRangeRequest{Tags: []string{name}, EndNs: proto.Int64(int64(time.Hour) * 1000), StartNs: proto.Int64(0)}, grpc.WaitForReady(true))
	require.NoError(l.t, err)
	var answer bytes.Buffer
	for {
		data, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(l.t, err)
		answer.Write(data.Ipc)
	}
	r, err := ipc.NewReader(&answer)
	require.NoError(l.t, err)
	defer r.Release()
	var values []float64
	for r.Next() {
		times := r.Record().Column(r.Schema().FieldIndices("time")[0]).(*array.Timestamp)
		column := r.Record().Column(r.Schema().FieldIndices("value")[0]).(*array.Float64)
		for i := range column.Len() {
			at := len(values)
			if want := timeOf(at); int64(times.Value(i)) != want {
				require.FailNow(l.t, "not a time that was sent", "tag %s, sample %d: got %d, sent was %d", name, at, times.Value(i), want)
			}
			values = append(values, column.Value(i))
		}
	}
	require.NoError(l.t, r.Err())
	return values
}
