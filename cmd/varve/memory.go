package main

import (
	"context"
	"runtime/debug"
	"time"
)

// tagBytes is what a tag may take beside the budget: some 400 bytes for as long as there is the tag, as much and more while
// the head has samples of it.
const tagBytes = 1024

// memoryLimit is what the process may take before the collector works harder. The budget covers what the store and queries
// keep, and a fifth more what passes through.
func memoryLimit(budget int64, tags int) int64 { return budget + budget/5 + int64(tags)*tagBytes }

// followTags keeps the limit of memory ahead of the tags there are, until ctx ends. Left behind by them the collector would
// take half of the processors and find nothing.
func followTags(ctx context.Context, budget int64, tags func() int) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for known := 0; ; {
		if n := tags(); n != known { // setting it stops all goroutines for a moment
			debug.SetMemoryLimit(memoryLimit(budget, n))
			known = n
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
