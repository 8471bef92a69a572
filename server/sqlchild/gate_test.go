package sqlchild

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waits is how many wait in a gate.
func (g *gate) waits() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// Callers take turns, however many statements each has.
func TestCallersTakeTurns(t *testing.T) {
	g := newGate(1, 10)
	require.NoError(t, g.enter(context.Background(), "first"))
	var mu sync.Mutex
	var order []string
	var group sync.WaitGroup
	for i, caller := range []string{"a", "a", "a", "b", "c"} {
		group.Go(func() {
			require.NoError(t, g.enter(context.Background(), caller))
			mu.Lock()
			order = append(order, caller)
			mu.Unlock()
			g.leave()
		})
		require.Eventually(t, func() bool { return g.waits() == i+1 }, time.Minute, time.Millisecond)
	}
	g.leave()
	group.Wait()
	require.Equal(t, []string{"a", "b", "c", "a", "a"}, order)
	require.NoError(t, g.enter(context.Background(), "last"), "the turn is free again")
}

func TestWaitingEnds(t *testing.T) {
	g := newGate(1, 2)
	require.NoError(t, g.enter(context.Background(), "a"))
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- g.enter(ctx, "b") }()
	}
	require.Eventually(t, func() bool { return g.waits() == 2 }, time.Minute, time.Millisecond)
	require.ErrorIs(t, g.enter(context.Background(), "c"), ErrBusy)
	cancel(over)
	require.ErrorIs(t, <-ended, over)
	require.ErrorIs(t, <-ended, over)
	require.Zero(t, g.waits())
	g.leave()
	require.NoError(t, g.enter(context.Background(), "c"))
}

// However turns come and are given up, none is lost and none is had twice.
func TestTurnsAreNeitherLostNorDoubled(t *testing.T) {
	g := newGate(3, 1000)
	var running, most int
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range 300 {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*time.Millisecond)
			defer cancel()
			if g.enter(ctx, string(rune('a'+i%5))) != nil {
				return
			}
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Duration(i%3) * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			g.leave()
		})
	}
	group.Wait()
	require.LessOrEqual(t, most, 3)
	require.Zero(t, g.waits())
	for range 3 {
		require.NoError(t, g.enter(context.Background(), "end"))
	}
}
