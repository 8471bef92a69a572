package log

import (
	"context"
	"sort"
	"sync"
)

// table is what is durable: which segments there are and which offsets they hold. The writer adds to it, trimming takes
// from it, readers look things up in it.
type table struct {
	mu       sync.Mutex
	segments []segment // ascending by first, then serial
	low      uint64    // lowest offset that can be read
	end      uint64    // one above the highest durable offset
	closed   bool
	changed  chan struct{} // closed when end grows or the log closes; nil while nobody waits
}

// place is where an offset is.
type place struct {
	segment
	limit uint64 // offsets below this are in the segment, if anywhere
}

// find looks up a durable offset. An offset below upTo counts as durable.
func (t *table) find(offset, upTo uint64) (place, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return place{}, ErrClosed
	}
	if offset < t.low {
		return place{}, &TrimmedError{First: t.low}
	}
	end := max(t.end, upTo)
	i := sort.Search(len(t.segments), func(i int) bool { return t.segments[i].first > offset }) - 1
	if i+1 < len(t.segments) {
		end = min(end, t.segments[i+1].first)
	}
	if i < 0 { // no file begins early enough: the offsets up to the next one are lost
		return place{limit: end}, nil
	}
	return place{t.segments[i], end}, nil
}

// wait returns once offset is durable or the log is closed.
func (t *table) wait(ctx context.Context, offset uint64) error {
	for {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return ErrClosed
		}
		if offset < t.end {
			t.mu.Unlock()
			return nil
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *table) wakeLocked() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func (t *table) add(s segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.segments = append(t.segments, s)
}

// jump says that nothing below offset can be read any more and that the log goes on there.
func (t *table) jump(offset uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.low, t.end = max(t.low, offset), max(t.end, offset)
	t.wakeLocked()
}

// advance publishes what the newest segment holds.
func (t *table) advance(end uint64, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = end
	if n := len(t.segments); n > 0 {
		t.segments[n-1].bytes = bytes
	}
	t.wakeLocked()
}

// dropNewest takes away a segment that holds nothing durable.
func (t *table) dropNewest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.segments = t.segments[:len(t.segments)-1]
}

// trim takes out the oldest segment if all its records are at or below through.
func (t *table) trim(through uint64) (segment, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.segments) < 2 || t.segments[1].first > through+1 {
		return segment{}, false
	}
	s := t.segments[0]
	// Readers keep no slice of this one, so it can be moved in place.
	t.segments = append(t.segments[:0], t.segments[1:]...)
	t.low = max(t.low, t.segments[0].first)
	return s, true
}

func (t *table) list() []segment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]segment(nil), t.segments...)
}

func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.wakeLocked()
}
