//go:build unix

// Package cputime tells benchmarks what a process takes of the processors, which other work on the machine hardly changes.
package cputime

import (
	"syscall"
	"testing"
	"time"
)

// Used is what this process, and those it started that have ended, have used of all processors. Where that is not known the benchmark is skipped.
func Used(b *testing.B) (total time.Duration) {
	b.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatalf("processor time: %v", err)
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}
