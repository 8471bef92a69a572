package storage

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
)

// View is one reader's moment: everything applied when it was taken, and nothing later. It must be closed.
type View struct {
	src  sources
	lost []OffsetRange
}

// sources is where the samples of a moment lie: generations in the engine up to newest, and heads behind them, oldest
// first, as far as records up to offset wrote them.
type sources struct {
	db        *DB
	engine    *pebble.Snapshot
	directory directory
	newest    uint64
	heads     []*head.Head
	lookHeads []*head.Head // heads that cursors leave out, see lookup
	offset    uint64
	ops       bool // there are range deletes
	erasures  *erasures
	runs      []*newRuns // forecast runs behind newest, oldest first
}

// sourcesAt is the sources as they are now, for records up to offset.
func (db *DB) sourcesAt(offset uint64) sources {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.sourcesLocked(offset)
}

// sourcesLocked is sourcesAt for who holds DB.mu.
func (db *DB) sourcesLocked(offset uint64) sources {
	db.readers.Add(1)
	s := sources{db: db, engine: db.engine.NewSnapshot(), directory: db.directory, newest: db.written, offset: offset, ops: len(db.ops.all) > 0, erasures: db.erasures}
	s.heads = append(append(s.heads, db.frozen...), db.head)
	s.runs = append(append(s.runs, db.frozenRuns...), db.runs)
	for _, h := range s.heads {
		h.Acquire()
	}
	s.directory.held.count.Add(1)
	return s
}

// storedOnly is the sources as they are now, with the heads put aside.
func (db *DB) storedOnly() sources {
	s := db.sourcesAt(^uint64(0))
	s.heads, s.lookHeads = nil, s.heads
	return s
}

// hold keeps the files open until db.readers.Done, and reports false where they are, or are being, closed.
func (db *DB) hold() bool {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed.Load() {
		return false
	}
	db.readers.Add(1)
	return true
}

func (s *sources) close() {
	for _, h := range s.heads {
		h.Release()
	}
	for _, h := range s.lookHeads {
		h.Release()
	}
	_ = s.engine.Close()
	s.directory.held.count.Add(-1)
	s.db.readers.Done()
}

// View takes a view. With Accepted it waits until all records durable now are applied, or ctx ends. While apply is
// stopped behind damage it does not wait; Lost names what is missing.
func (db *DB) View(ctx context.Context, c Consistency) (*View, error) {
	lost, err := db.openLosses(), error(nil)
	if c == Accepted && !db.closed.Load() {
		if lost, err = db.waitApplied(ctx, db.log.HighWatermark()); err != nil {
			return nil, err
		}
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed.Load() {
		return nil, ErrClosed
	}
	return &View{src: db.sourcesLocked(db.applied.value()), lost: lost}, nil
}

// Close lets go of what the view holds.
func (v *View) Close() { v.src.close() }

// Lost is the ranges of log offsets whose samples this view cannot hold because their records are damaged and the loss
// was not accepted. Empty for a complete view.
func (v *View) Lost() []OffsetRange { return v.lost }

// Latest is the newest sample of a tag, the one of highest (time, seq). False if it has none. It may be newer than the
// view, never older.
func (v *View) Latest(tag model.TagID) (model.Sample, bool) {
	db := v.src.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.latest.sample(tag)
}

// Samples reads the current samples of a tag in a range, in the order of the range.
func (v *View) Samples(tag model.TagID, in model.TimeRange) *Cursor { return v.src.cursor(tag, in) }

// SourceName is the name of a source id in a Block.
func (v *View) SourceName(id uint32) string { return v.src.db.identities.SourceName(id) }

// Block is some consecutive samples of a tag. Its memory is the cursor's and holds until the next call of Next.
type Block struct {
	model.Samples
	Origins []chunk.Origin // covers all samples in order
	Gap     bool           // no sample, but the break that a gap makes: one row, Bad and without a value. Cursors of this package have none
}
