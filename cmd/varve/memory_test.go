package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The limit of memory grows while tags are made, and not only when the server starts.
func TestMemoryLimitFollowsTheTags(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	ctx, cancel := context.WithCancel(t.Context())
	var tags atomic.Int64
	tags.Store(1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		followTags(ctx, 5<<30, func() int { return int(tags.Load()) })
	}()
	limit := func(n int64) func() bool {
		return func() bool { return debug.SetMemoryLimit(-1) == 6<<30+n*tagBytes }
	}
	require.Eventually(t, limit(1000), 30*time.Second, time.Millisecond)
	tags.Store(1_000_000)
	require.Eventually(t, limit(1_000_000), 30*time.Second, time.Millisecond)
	cancel()
	<-done
}

// Where memory is short there is time to collect, and not where samples come by the million.
func TestSmallBudgetIsCollectedSooner(t *testing.T) {
	require.Equal(t, 50, collectAfter(32<<20))
	require.Equal(t, 100, collectAfter(384<<20))
}

// With the least memory there is a query of a few tags is answered: a batch of three takes 7 MiB, and a query may take half of it all.
func TestSmallBudgetAnswersQueries(t *testing.T) {
	require.EqualValues(t, 16<<20, queryMemory(32<<20))
	require.EqualValues(t, 96<<20, queryMemory(384<<20))
}

// A process with many servers has one spare processor, not one for each: everything that works in as many parts as there are processors would grow.
func TestOneSpareProcessor(t *testing.T) {
	spareProcessor()
	n := runtime.GOMAXPROCS(0)
	spareProcessor()
	require.Equal(t, n, runtime.GOMAXPROCS(0))
}
