package storage

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
	"github.com/varvedb/varve/storage/record"
)

// losses is the damaged parts of the log that apply came to. Apply waits before each until an operator accepts that it
// is lost. What was accepted is kept in a file, because the log cannot say it: the record would lie behind the damage.
type losses struct {
	mu       sync.Mutex
	accepted []OffsetRange
	open     []OffsetRange // not accepted; apply waits before the first
	changed  chan struct{}
}

// acceptedName is a file of lines "first end author reason", the latter two quoted.
const acceptedName = "ACCEPTED-LOSS"

func acceptedLine(r OffsetRange, author, reason string) string {
	return fmt.Sprintf("%d %d %q %q\n", r.First, r.End, author, reason)
}

func isNotExist(err error) bool { return oserror.IsNotExist(err) }

func (l *losses) load(fs vfs.FS, dir string) error {
	b, err := readFile(fs, path.Join(dir, acceptedName))
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		var r OffsetRange
		var author, reason string
		_, err := fmt.Sscanf(line, "%d %d %q %q", &r.First, &r.End, &author, &reason)
		if err != nil || r.First >= r.End || line != acceptedLine(r, author, reason) {
			return fmt.Errorf("read %s: line %.200q is not \"first end author reason\": %w", acceptedName, line, ErrCorrupt)
		}
		l.accepted = append(l.accepted, r)
	}
	return nil
}

// accept notes in memory and on disk that a range is given up.
func (l *losses) accept(db *DB, r OffsetRange, author, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, err := readFile(db.o.FS, path.Join(db.dir, acceptedName))
	if err != nil && !isNotExist(err) {
		return err
	}
	if err := durable.WriteFile(db.o.FS, db.dir, acceptedName, append(old, acceptedLine(r, author, reason)...)); err != nil {
		return err
	}
	l.accepted = append(l.accepted, r)
	l.open = slices.DeleteFunc(l.open, func(o OffsetRange) bool { return o == r })
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return nil
}

// waitForAcceptance returns true once apply may go on behind lost, false if ctx ended first.
func (db *DB) waitForAcceptance(ctx context.Context, lost OffsetRange) bool {
	l := &db.losses
	if lost.End <= db.applied.value()+1 {
		return true
	}
	if db.o.AcceptLoss && !l.isAccepted(lost) {
		const author, reason = "operator", "--accept-loss"
		if err := l.accept(db, lost, author, reason); err != nil {
			db.alarms.raise("log_damaged", fmt.Sprintf("keep the acceptance of lost offsets [%d, %d): %v", lost.First, lost.End, err))
		} else {
			db.background.Go(func() { // not before the log is replayed, so that ingest times do not decrease
				_ = db.applied.wait(ctx, db.log.HighWatermark())
				db.followIngest()
				if _, err := db.logAcceptance(ctx, lost, author, reason); err != nil {
					db.o.Logger.Warn("log an accepted loss", "first", lost.First, "end", lost.End, "error", err)
				}
			})
		}
	}
	for !l.isAccepted(lost) {
		// Before anybody hears that apply has stopped.
		db.alarms.raise("log_damaged", fmt.Sprintf("log records [%d, %d) are damaged; apply waits before them, reads say that they are incomplete; restore the log, or accept the loss", lost.First, lost.End))
		l.mu.Lock()
		if !slices.Contains(l.open, lost) {
			l.open = append(l.open, lost)
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		db.applied.fail(ErrApplyStopped)
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
	db.passLost(lost)
	db.resumeApplied()
	db.alarms.clear("log_damaged")
	return true
}

// passLost takes an accepted loss for applied: it may be the last there is in the log, and nothing behind it would tell
// who waits that apply has come past it.
func (db *DB) passLost(lost OffsetRange) {
	db.submitMu.Lock()
	var gone []*pending
	for offset, p := range db.waiting {
		if offset >= lost.First && offset < lost.End {
			gone = append(gone, p)
			delete(db.waiting, offset)
		}
	}
	db.submitMu.Unlock()
	for _, p := range gone {
		p.outcome.err = fmt.Errorf("record %d was accepted and then damaged in the log: %w", p.offset, ErrCorrupt)
		close(p.done)
	}
	db.applied.raise(lost.End - 1)
	db.log.Applied(lost.End - 1)
}

func (l *losses) isAccepted(r OffsetRange) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.accepted, func(a OffsetRange) bool { return a.First <= r.First && a.End >= r.End })
}

// openLosses is what a view taken now lacks.
func (db *DB) openLosses() []OffsetRange {
	db.losses.mu.Lock()
	out := slices.Clone(db.losses.open)
	db.losses.mu.Unlock()
	if db.applyEnd.error() != nil || len(out) == 0 && db.applied.stopped() {
		if a, h := db.applied.value(), db.log.HighWatermark(); a < h {
			out = append(out, OffsetRange{a + 1, h + 1})
		}
	}
	return out
}

// AcceptLoss lets apply go on behind a lost range that Status reports.
func (db *DB) AcceptLoss(ctx context.Context, lost OffsetRange, author, reason string) error {
	db.losses.mu.Lock()
	open := slices.Contains(db.losses.open, lost)
	db.losses.mu.Unlock()
	if !open {
		return fmt.Errorf("accept the loss of [%d, %d): no such range is lost: %w", lost.First, lost.End, ErrNotLost)
	}
	if err := db.losses.accept(db, lost, author, reason); err != nil {
		return fmt.Errorf("accept the loss of [%d, %d): %w", lost.First, lost.End, err)
	}
	db.resumeApplied() // so that views wait from now on for what lies behind
	p, err := db.logAcceptance(ctx, lost, author, reason)
	if err != nil {
		return err
	}
	return p.waitAccepted(ctx)
}

// logAcceptance carries who gave up what, and why, into the history of the log; also while space is low, since it is
// behind the loss that the log can be trimmed.
func (db *DB) logAcceptance(ctx context.Context, lost OffsetRange, author, reason string) (*pending, error) {
	payload := record.AppendHeader(nil, record.Header{Kind: record.AcceptLoss})
	payload = record.AppendLoss(payload, &record.Loss{First: lost.First, End: lost.End, Author: author, Reason: reason})
	return db.submitAnyway(ctx, payload)
}
