package main

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A batch that is late began when it was due, so that a server that stops for a second is seen in every batch of that second.
func TestPaceCountsFromWhenABatchWasDue(t *testing.T) {
	due := time.Now().Add(-time.Hour)
	p := &pace{every: time.Second, due: due}
	require.Equal(t, due, p.next())
	require.Equal(t, due.Add(time.Second), p.next())
	require.Equal(t, due.Add(2*time.Second), p.due)
	var none *pace
	require.False(t, none.next().IsZero())
	soon := &pace{every: time.Second, due: time.Now().Add(10 * time.Millisecond)}
	at := soon.due
	require.False(t, soon.next().Before(at))
}

func TestEndlessEndsBehindARunOfEveryTag(t *testing.T) {
	o := (&growthOptions{Connections: 1, Repeat: 1}).workload(7, 70)
	y := newYear(o, 0, 7)
	y.left = math.MaxInt
	var over atomic.Bool
	e := &endless{year: y, over: &over}
	seen := make([]int, 7)
	for range 7*5 + 3 {
		tag, times, _, ok := e.next()
		require.True(t, ok)
		seen[tag] += len(times)
	}
	over.Store(true)
	for {
		tag, times, _, ok := e.next()
		if !ok {
			break
		}
		seen[tag] += len(times)
	}
	for _, n := range seen {
		require.Equal(t, 60, n)
	}
}

func TestBetweenAreTheBatchesOfAPhase(t *testing.T) {
	at := time.Now()
	w := &steadyLoad{}
	for i := range 10 {
		w.note(at.Add(time.Duration(i)*time.Second), float64(i))
	}
	require.Equal(t, []float64{2, 3, 4}, w.between(at.Add(2*time.Second), at.Add(5*time.Second)))
	load := &steadyLoad{acks: w.acks}
	r := &isolateReport{Phases: []*phase{{began: at, ended: at.Add(3 * time.Second)}, {began: at.Add(5 * time.Second), ended: at.Add(8 * time.Second)}, {began: at, ended: at.Add(time.Second)}}}
	r.judge(load)
	require.Equal(t, 3, r.Phases[1].Batches)
	require.Equal(t, 6.0, r.Phases[1].P99) // of 5, 6, 7 the 99th percentile is 6; of 0, 1, 2 it is 1
	require.False(t, r.Bars[0].Held)
}

func TestReasonsAreCalledAsTheirDoorCallsThem(t *testing.T) {
	for want, err := range map[string]error{
		"ResourceExhausted": status.Error(codes.ResourceExhausted, "no memory"),
		"SQLSTATE 53200":    &pgconn.PgError{Code: "53200"},
		"HTTP 400":          httpStatus(400),
		"connection":        errors.New("reset"),
	} {
		require.Equal(t, want, reason(err))
	}
}

func TestIsolateOptionsSayWhatIsWrong(t *testing.T) {
	good := isolateOptions{Tags: 2, Rate: 100_000, Clients: 1, Baseline: time.Second, For: time.Second, KillEvery: time.Second, Output: "json"}
	require.NoError(t, good.validate())
	require.Len(t, good.thrown(), len(bombs)+1)
	some := good
	some.Bombs = []int{2, len(bombs) + 1}
	require.Equal(t, bombs[1:2], some.thrown()[0])
	require.Len(t, some.thrown()[1], len(bombs))
	for flag, change := range map[string]func(*isolateOptions){
		"--output":     func(o *isolateOptions) { o.Output = "xml" },
		"--rate":       func(o *isolateOptions) { o.Rate = 0 },
		"--baseline":   func(o *isolateOptions) { o.Rate = 1 },
		"--for":        func(o *isolateOptions) { o.For = 0 },
		"--bombs":      func(o *isolateOptions) { o.Bombs = []int{99} },
		"--kill-every": func(o *isolateOptions) { o.KillEvery = 0 },
	} {
		bad := good
		change(&bad)
		require.ErrorContains(t, bad.validate(), flag)
	}
}

// Who reads slowly or never does so until the time is up, and no longer.
func TestTasteEndsWithTheTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, whole.taste(ctx))
	cancel()
	for _, how := range []reading{whole, slowly, never} {
		require.ErrorIs(t, how.taste(ctx), context.Canceled)
	}
}
