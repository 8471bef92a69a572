package query

import (
	"fmt"
	"runtime"
	"sync/atomic"
)

// budget hands out shares of the memory for queries. Nothing waits in it: a query that finds no room says so at once,
// because the one that holds the room may read for hours.
type budget struct {
	total, share int64
	taken        atomic.Int64
}

// workers is how many goroutines answer a query of so many windows: one for each processor, eight at most, and fewer where so many would
// need more than its share.
func (b *budget) workers(windows int, need func(workers int) int64) int {
	n := max(1, min(processors(), 8, windows))
	for n > 1 && need(n) > b.share {
		n--
	}
	return n
}

// processors is how many goroutines may calculate at once: one for each that the machine has, of those that this program may use.
func processors() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// reserve takes n bytes until release is called with the same n.
func (b *budget) reserve(n int64) error {
	if n > b.share {
		return fmt.Errorf("query needs %d bytes, its share is %d: ask for fewer tags, smaller batches, or raise the memory for queries: %w", n, b.share, ErrTooLarge)
	}
	if taken := b.taken.Add(n); taken > b.total {
		b.taken.Add(-n)
		return fmt.Errorf("query needs %d bytes and others hold %d of %d: ask again later: %w", n, taken-n, b.total, ErrBusy)
	}
	return nil
}

func (b *budget) release(n int64) { b.taken.Add(-n) }
