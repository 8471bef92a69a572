package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/identity"
	"github.com/varvedb/varve/storage/log"
	"github.com/varvedb/varve/storage/record"
)

var encodeBuffers = sync.Pool{New: func() any { return new([]byte) }}

// Submit puts a batch on its way to the log. Batches submitted one after the other keep that order. It waits while too
// much is unsynced or unapplied. The batch and its columns may be reused once Submit returns.
func (db *DB) Submit(ctx context.Context, b *Batch) (*Pending, error) {
	if err := db.check(b); err != nil {
		return nil, err
	}
	if p, err := db.known(ctx, b); p != nil || err != nil {
		return p, err
	}
	buf := encodeBuffers.Get().(*[]byte)
	defer encodeBuffers.Put(buf)
	*buf = db.encode((*buf)[:0], b)
	p, err := db.submit(ctx, *buf)
	if err != nil {
		return nil, err
	}
	return &Pending{p}, nil
}

// check refuses what apply could not take.
func (db *DB) check(b *Batch) error {
	// A batch refused whole at the door is logged all the same if it has an identity, so that its sequence is no hole.
	if len(b.Runs) == 0 && b.Source == "" {
		return fmt.Errorf("submit: no runs and no identity: %w", ErrBadBatch)
	}
	if b.Source != "" && (b.Epoch == 0 || b.Sequence == 0) {
		return fmt.Errorf("submit: source %q with epoch %d, sequence %d: %w", b.Source, b.Epoch, b.Sequence, ErrBadBatch)
	}
	for i := range b.Runs {
		r := &b.Runs[i]
		s := &r.Samples
		n := s.Len()
		if r.Mode == model.Remove {
			if len(s.Bits) != 0 || len(s.Blobs) != 0 || s.Quality != nil || s.Null != nil {
				return fmt.Errorf("submit: run %d removes and has values: %w", i, ErrBadBatch)
			}
		} else if err := s.Check(); err != nil {
			return fmt.Errorf("submit: run %d: %w: %w", i, err, ErrBadBatch)
		}
		if !r.Mode.Valid() || !s.Type.Valid() || r.Tag == 0 || n == 0 || n > record.MaxRunSamples || s.Seq != nil && len(s.Seq) != n {
			return fmt.Errorf("submit: run %d of %d samples, tag %d, %s, %s: %w", i, n, r.Tag, r.Mode, s.Type, ErrBadBatch)
		}
	}
	return nil
}

// known answers a batch whose identity was applied already without logging it again. Apply decides all the same: what
// is still on its way is not known here. A sequence that seems too far ahead is judged once that is applied, because a
// source whose batches are accepted sends on, however far apply is behind.
func (db *DB) known(ctx context.Context, b *Batch) (*Pending, error) {
	if b.Source == "" {
		return nil, nil
	}
	v := db.identities.Check(b.Source, b.Epoch, b.Sequence, b.ContentHash)
	if v == identity.TooManyHoles {
		if err := db.catchUp(ctx); err != nil {
			return nil, err
		}
		v = db.identities.Check(b.Source, b.Epoch, b.Sequence, b.ContentHash)
	}
	switch {
	case v == identity.Fresh:
		return nil, nil
	case v == identity.Duplicate || v == identity.Forgotten && b.Import:
		p := &pending{db: db, offset: db.applied.value(), done: make(chan struct{})}
		p.outcome.result.Duplicate = true
		close(p.done)
		return &Pending{p}, nil
	default:
		id := b.identity()
		return nil, db.refuseIdentity(v, &id)
	}
}

// catchUp waits until every record submitted so far is applied or has failed.
func (db *DB) catchUp(ctx context.Context) error {
	db.submitMu.Lock()
	last := db.newest
	db.submitMu.Unlock()
	if last == nil {
		return nil
	}
	if err := last.waitOutcome(ctx); ctx.Err() != nil {
		return err
	}
	return db.admit()
}

func (b *Batch) identity() record.Identity {
	return record.Identity{
		Source: b.Source, Epoch: b.Epoch, Sequence: b.Sequence, Import: b.Import, Origin: b.Origin,
		ContentHash: b.ContentHash, Author: b.Author, Reason: b.Reason,
	}
}

func (db *DB) encode(dst []byte, b *Batch) []byte {
	kind := record.Samples
	if b.Author != "" || b.Reason != "" {
		kind = record.Edit
	}
	dst = record.AppendHeader(dst, record.Header{Kind: kind, Revision: db.catalog.Revision()})
	id := b.identity()
	dst = record.AppendIdentity(dst, kind, &id, len(b.Runs))
	base := int64(0)
	for i := range b.Runs {
		r := &b.Runs[i]
		dst = record.AppendRun(dst, r.Tag, r.Mode, r.All, &r.Samples, base)
		if i == 0 {
			base = r.Samples.Times[0]
		}
	}
	return dst
}

// submit logs a payload whose header lacks the ingest time.
func (db *DB) submit(ctx context.Context, payload []byte) (*pending, error) {
	if db.space.low.Load() {
		return nil, ErrLowSpace
	}
	return db.submitAnyway(ctx, payload)
}

// submitAnyway is submit also while space is low, for records that help to gain some.
func (db *DB) submitAnyway(ctx context.Context, payload []byte) (*pending, error) {
	for {
		if err := db.admit(); err != nil {
			return nil, err
		}
		p, err := db.trySubmit(ctx, payload)
		if errors.Is(err, log.ErrBacklogFull) {
			if err := db.waitForRoom(ctx); err != nil {
				return nil, err
			}
			continue
		}
		return p, err
	}
}

// waitForRoom waits until the backlog has room, or there will never be any because apply came to an end, which admit
// then says.
func (db *DB) waitForRoom(ctx context.Context) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(db.applyEnd.ctx, cancel)()
	if err := db.log.BacklogWait(waiting); err != nil && (ctx.Err() != nil || waiting.Err() == nil) {
		return err
	}
	return nil
}

// admit refuses ingest when the store is closed or apply came to an end.
func (db *DB) admit() error {
	if db.closed.Load() {
		return ErrClosed
	}
	if err := db.applyEnd.error(); err != nil {
		return fmt.Errorf("%w: %w", ErrApplyStopped, err)
	}
	return nil
}

func (db *DB) trySubmit(ctx context.Context, payload []byte) (*pending, error) {
	db.steady.RLock()
	defer db.steady.RUnlock()
	return db.log1(ctx, payload)
}

// log1 puts one record behind the others. DB.steady is held.
func (db *DB) log1(ctx context.Context, payload []byte) (*pending, error) {
	db.submitMu.Lock()
	defer db.submitMu.Unlock()
	now := max(db.o.Now().UnixNano(), db.lastIngest)
	binary.LittleEndian.PutUint64(payload[record.IngestAt:], uint64(now))
	c, err := db.log.Submit(ctx, payload)
	if err != nil {
		return nil, err
	}
	db.lastIngest = now
	db.newest = db.await(c)
	return db.newest, nil
}

// ChangeCatalog logs changes as one record, waits until it is applied and returns one result per change. What the
// catalog refuses beforehand is not logged; its result carries the error.
func (db *DB) ChangeCatalog(ctx context.Context, changes []catalog.Change) ([]catalog.Result, error) {
	if db.changesType(changes) {
		return db.changeTypes(ctx, changes)
	}
	return db.changeCatalog(ctx, changes, db.catalog.Check(changes), db.submit)
}

// changeCatalog logs the changes that are not refused, by submit.
func (db *DB) changeCatalog(
	ctx context.Context, changes []catalog.Change, refused []error, submit func(context.Context, []byte) (*pending, error),
) ([]catalog.Result, error) {
	results := make([]catalog.Result, len(changes))
	good := make([]catalog.Change, 0, len(changes))
	for i, ch := range changes {
		if results[i].Err = refused[i]; refused[i] == nil {
			good = append(good, ch)
		}
	}
	if len(good) == 0 {
		return results, nil
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.CatalogChange, Revision: db.catalog.Revision()})
	p, err := submit(ctx, catalog.AppendChanges(payload, good))
	if err != nil {
		return nil, err
	}
	if err := p.waitOutcome(ctx); err != nil {
		return nil, err
	}
	applied := p.outcome.catalog
	for i := range results {
		if refused[i] == nil {
			results[i], applied = applied[0], applied[1:]
		}
	}
	return results, nil
}

// WaitArchived waits until every record up to offset is in a durable generation.
func (db *DB) WaitArchived(ctx context.Context, offset uint64) error {
	return db.archived.wait(ctx, offset)
}

// Flush cuts the head, makes it durable and returns the archived offset. It works while space is low: what is in a
// generation need not stay in the log.
func (db *DB) Flush(ctx context.Context) (uint64, error) {
	p, err := db.submitAnyway(ctx, record.AppendHeader(nil, record.Header{Kind: record.Cut}))
	if err != nil {
		return 0, err
	}
	if err := p.waitOutcome(ctx); err != nil {
		return 0, err
	}
	if err := db.archived.wait(ctx, p.offset); err != nil {
		return 0, err
	}
	return db.archived.value(), nil
}
