package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/varvedb/varve/collector/session"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// The load of TestRestartOfAFullServer: tags at 1 Hz, sent as runs of 20 samples of half the tags in turn.
const (
	restartTags    = 10_000
	restartRun     = 20
	restartHalf    = restartTags / 2
	restartSamples = 100_000_000
)

// TestRestartOfAFullServer kills a server at full rate once 100 million samples are accepted, with nothing flushed by
// hand. The next one must serve within 10 s, in at most a tenth more memory than the one before, and with all of it.
func TestRestartOfAFullServer(t *testing.T) {
	if os.Getenv("VARVE_STRESS") == "" {
		t.Skip("writes 100 million samples: set VARVE_STRESS=1, as make stress does")
	}
	s := newKilledServer(t)
	s.flags = nil // generations as they are outside of tests
	s.start()
	conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	require.NoError(t, err)
	defer conn.Close()

	var acked atomic.Uint64
	source, err := session.Open(t.Context(), varvev1.NewIngestServiceClient(conn), session.Options{
		Source: "full", Epoch: 1, CreateTags: true, Until: varvev1.Mark_MARK_ACCEPTED, InFlightBatches: 16, GiveUpAfter: time.Second,
		OnAck: func(m varvev1.Mark, r *varvev1.BatchResult) {
			if m == varvev1.Mark_MARK_ACCEPTED {
				acked.Store(r.Sequence)
			}
		},
	})
	require.NoError(t, err)
	defer source.Close()
	ids := restartIDs(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for n := uint64(1); source.Send(ctx, restartBatch(ids, n)) == nil; n++ {
		}
	}()
	began := time.Now()
	for acked.Load()*restartHalf*restartRun < restartSamples {
		require.NoError(t, source.Err())
		time.Sleep(time.Millisecond)
	}
	rate := restartSamples / time.Since(began).Seconds() / 1e6
	peak, now := s.memory("VmHWM"), s.memory("VmRSS")
	s.kill()
	cancel()
	least := acked.Load()
	t.Logf("killed after %d samples at %.2f M/s accepted; RSS %d MiB, peak %d MiB", least*restartHalf*restartRun, rate, now>>20, peak>>20)

	began = time.Now()
	s.start()
	listening := time.Since(began)
	query := varvev1.NewQueryServiceClient(conn)
	requireRestarted(t, query, 0, least)
	serving := time.Since(began)
	after := s.memory("VmHWM")
	t.Logf("listening after %s, first answer after %s; peak RSS of the replay %d MiB", listening.Round(time.Millisecond), serving.Round(time.Millisecond), after>>20)
	for tag := 1; tag < restartTags; tag += 997 {
		requireRestarted(t, query, tag, least)
	}
	require.LessOrEqual(t, float64(after), 1.1*float64(peak))
	s.stop()
}

// memory is a line of what the kernel says of the server, in bytes.
func (s *killedServer) memory(name string) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.process.Process.Pid) + "/status")
	require.NoError(s.t, err)
	_, after, found := strings.Cut(string(b), name+":")
	require.True(s.t, found)
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	require.NoError(s.t, err)
	return kib << 10
}

func restartName(tag int) string { return fmt.Sprintf("R%05d", tag) }

func restartIDs(t *testing.T, source *session.Session) []uint32 {
	var tags []*varvev1.NewTag
	for tag := range restartTags {
		tags = append(tags, &varvev1.NewTag{Name: restartName(tag), Type: varvev1.Type_TYPE_FLOAT64})
	}
	resolved, err := source.Resolve(t.Context(), tags)
	require.NoError(t, err)
	var ids []uint32
	for _, r := range resolved {
		ids = append(ids, r.Id)
	}
	return ids
}

// restartValue has a value of two decimals that looks like a measured one.
func restartValue(tag int, second int64) float64 {
	noise := uint64(tag)*0x9E3779B97F4A7C15 + uint64(second)*0xBF58476D1CE4E5B9
	noise ^= noise >> 31
	return math.Round(float64(tag%100)*100+float64(noise%200)) / 100
}

// restartBatch is batch n, from 1: the even tags' next 20 seconds in odd batches, the odd tags' in even ones.
func restartBatch(ids []uint32, n uint64) *varvev1.Batch {
	first := int64(n-1) / 2 * restartRun
	b := &varvev1.Batch{Sequence: n, Runs: make([]*varvev1.Run, 0, restartHalf)}
	for tag := int(n-1) % 2; tag < restartTags; tag += 2 {
		r := &varvev1.Run{TagId: ids[tag], FirstTimeNs: first * 1e9, StepNs: 1e9, Count: restartRun, Float64: make([]float64, restartRun)}
		for i := range r.Float64 {
			r.Float64[i] = restartValue(tag, first+int64(i))
		}
		b.Runs = append(b.Runs, r)
	}
	return b
}

// requireRestarted reads a tag whole: at least what the first batches hold of it, and nothing that was not sent.
func requireRestarted(t *testing.T, query varvev1.QueryServiceClient, tag int, batches uint64) {
	l := &killedLoad{t: t, query: query}
	values := l.readTag(restartName(tag), func(i int) int64 { return int64(i) * 1e9 })
	least := (int(batches) + 1 - tag%2) / 2 * restartRun
	require.GreaterOrEqual(t, len(values), least, "tag %d: acknowledged samples are lost", tag)
	for i, v := range values {
		if v != restartValue(tag, int64(i)) {
			require.FailNow(t, "not what was sent", "tag %d, second %d: %v", tag, i, v)
		}
	}
}
