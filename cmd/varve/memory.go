package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// tagBytes is what a tag may take beside the budget: some 400 bytes for as long as there is the tag, several times that while
// the head has a few samples of it. With less the collector takes half of the processors: 100,000 tags were taken half as fast.
const tagBytes = 3072

// memoryLimit is what the process may take before the collector works harder. The budget covers what the store and queries
// keep, and a fifth more what passes through.
func memoryLimit(budget int64, tags int) int64 { return budget + budget/5 + int64(tags)*tagBytes }

// smallBudget is what the collector is to save memory for rather than time.
const smallBudget = 128 << 20

// collectAfter is how much more than is in use the process may take before it is collected, in percent. Of a small budget what is in use
// is nearly all, so that the limit alone lets as much garbage stand beside it; a server that small has time to look more often.
func collectAfter(budget int64) int {
	if budget < smallBudget {
		return littleGarbage
	}
	return 100
}

// littleGarbage is collectAfter of what saves memory. A collector has less, since what it keeps is little and lasts, and it stands on small machines.
const (
	littleGarbage    = 50
	collectorGarbage = 25
)

// letGarbage sets how much more than is in use the process may take before it is collected, in percent, unless the environment says it.
func letGarbage(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// queryMemory is what queries may take together: a quarter of the budget, and of a small one what a query of a few tags needs, which is no less for that.
func queryMemory(budget int64) int64 { return max(budget/4, 16<<20) }

// spareProcessor lets one goroutine more run at once than there are processors, unless the environment says how many. What calculates (a scan, a seal)
// keeps the scheduler's processor for up to 10 ms, and when all have one, a batch of samples that comes in waits that long before it is read; on the
// one more the kernel lets it in at once. Once is enough, however many servers a process has.
var spareProcessor = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
})

// A process that allocated less than idleBytes in each of idleSeconds gives back what it does not use.
const (
	idleBytes   = 1 << 20
	idleSeconds = 30
)

// followTags keeps the limit of memory ahead of the tags there are, until ctx ends, and gives memory back once when nothing
// happens.
func followTags(ctx context.Context, budget int64, tags func() int) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for known, before, idle := 0, uint64(0), 0; ; {
		if n := tags(); n != known { // setting it stops all goroutines for a moment
			debug.SetMemoryLimit(memoryLimit(budget, n))
			known = n
		}
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		if idle++; now-before > idleBytes {
			idle = 0
		}
		if before = now; idle == idleSeconds {
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
