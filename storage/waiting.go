package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/varvedb/varve/storage/log"
)

// mark is an offset that only grows, and that can be waited for.
type mark struct {
	mu   sync.Mutex
	v    uint64
	end  error // why it will not grow any more
	wake chan struct{}
}

func (m *mark) value() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.v
}

func (m *mark) raise(v uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v > m.v {
		m.v = v
		m.wakeLocked()
	}
}

// fail wakes who waits for more with err.
func (m *mark) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.end == nil {
		m.end = err
		m.wakeLocked()
	}
}

// stopped reports whether fail was called and not taken back.
func (m *mark) stopped() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.end != nil
}

// resume takes back fail.
func (m *mark) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = nil
}

func (m *mark) wakeLocked() {
	if m.wake != nil {
		close(m.wake)
		m.wake = nil
	}
}

// wait waits until the mark is at least v.
func (m *mark) wait(ctx context.Context, v uint64) error {
	for {
		m.mu.Lock()
		if m.v >= v {
			m.mu.Unlock()
			return nil
		}
		if m.end != nil {
			defer m.mu.Unlock()
			return m.end
		}
		if m.wake == nil {
			m.wake = make(chan struct{})
		}
		wake := m.wake
		m.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pending is a record on its way from Submit to applied.
type pending struct {
	db      *DB
	offset  uint64
	commit  *log.Commit
	done    chan struct{} // closed once outcome is set
	outcome outcome
}

func (p *pending) waitAccepted(ctx context.Context) error {
	if p.commit == nil { // applied before
		return nil
	}
	if err := p.commit.Wait(ctx); err != nil {
		if ctx.Err() == nil {
			p.db.forget(p)
		}
		if errors.Is(err, log.ErrNoSpace) {
			return fmt.Errorf("write log record %d: %w: %w", p.offset, ErrLowSpace, err)
		}
		return fmt.Errorf("write log record %d: %w", p.offset, err)
	}
	return nil
}

func (p *pending) waitApplied(ctx context.Context) (*Result, error) {
	if err := p.waitOutcome(ctx); err != nil {
		return nil, err
	}
	return &p.outcome.result, nil
}

func (p *pending) waitOutcome(ctx context.Context) error {
	if err := p.waitAccepted(ctx); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.outcome.err
	case <-p.db.applyEnd.ended():
		select {
		case <-p.done:
			return p.outcome.err
		default:
			return fmt.Errorf("record %d is accepted and not applied: %w", p.offset, p.db.admit())
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ending tells once, and to all, that something ended and why.
type ending struct {
	ctx context.Context // cancelled when it ended
	end context.CancelCauseFunc
}

func newEnding() *ending {
	e := &ending{}
	e.ctx, e.end = context.WithCancelCause(context.Background())
	return e
}

func (e *ending) fail(err error) { e.end(err) }

func (e *ending) ended() <-chan struct{} { return e.ctx.Done() }

// error is why it ended; nil before that.
func (e *ending) error() error { return context.Cause(e.ctx) }

// await registers a record before apply can see it. DB.submitMu is held.
func (db *DB) await(c *log.Commit) *pending {
	p := &pending{db: db, offset: c.Offset(), commit: c, done: make(chan struct{})}
	db.waiting[p.offset] = p
	return p
}

// forget lets go of a record that was not written. Its offset may be another's by now.
func (db *DB) forget(p *pending) {
	db.submitMu.Lock()
	if db.waiting[p.offset] == p {
		delete(db.waiting, p.offset)
	}
	db.submitMu.Unlock()
}

// finish makes a record visible and tells who waits for it.
func (db *DB) finish(offset uint64, o outcome) {
	db.applied.raise(offset)
	db.log.Applied(offset)
	db.submitMu.Lock()
	p := db.waiting[offset]
	delete(db.waiting, offset)
	db.submitMu.Unlock()
	if p != nil {
		p.outcome = o
		close(p.done)
	}
}

// waitApplied waits until records up to offset are applied. Behind damage nothing is waited for: what cannot be applied
// is returned instead.
func (db *DB) waitApplied(ctx context.Context, offset uint64) (lost []OffsetRange, err error) {
	for {
		err := db.applied.wait(ctx, offset)
		if err != nil && !errors.Is(err, ErrApplyStopped) {
			return nil, fmt.Errorf("wait until record %d is applied, %d is: %w", offset, db.applied.value(), err)
		}
		// A loss accepted just now is not waited for and not named either: then apply goes on, and so does the wait.
		if lost = db.openLosses(); err == nil || len(lost) > 0 {
			return lost, nil
		}
	}
}
