package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/storage/keys"
)

// sealer decides when partitions are sealed. When that is changes nothing that a read answers, so that it may go by the
// clock and by what this machine has to spare.
type sealer struct {
	// mu is held while a partition is sealed, one at a time, and for the fields down to serial.
	mu     sync.Mutex
	serial uint64                       // of tables made
	dead   map[keys.Partition]uint64    // bytes of sealed chunks that later seals superseded
	retry  map[keys.Partition]time.Time // not before, after a failure
	gone   []stretch                    // of keys that the LSM has still to let go of

	notesGone atomic.Bool // of annotations and gaps too

	touchMu  sync.Mutex                   // of what generations were written tells
	touched  map[keys.Partition]time.Time // when the newest generation was written
	runsGone []stretch                    // of forecast runs

	opened  time.Time // nothing is quiet for longer than the store is open
	cleared bool      // what a crash left is removed
}

// stretch is keys from lower up to, but not including, upper.
type stretch struct{ lower, upper []byte }

// sealRetry is how long a partition that could not be sealed is left alone.
const sealRetry = time.Minute

// wholeAfter is how many seals of one partition make the next one rewrite all of them.
const wholeAfter = 8

func newSealer(now time.Time) sealer {
	return sealer{opened: now, dead: map[keys.Partition]uint64{}, retry: map[keys.Partition]time.Time{}, touched: map[keys.Partition]time.Time{}}
}

// touch notes that a generation was written to partitions.
func (s *sealer) touch(dir map[keys.Partition]*generation, now time.Time) {
	s.touchMu.Lock()
	defer s.touchMu.Unlock()
	for p := range dir {
		s.touched[p] = now
	}
}

func (s *sealer) lastTouched(p keys.Partition) time.Time {
	s.touchMu.Lock()
	defer s.touchMu.Unlock()
	if t, ok := s.touched[p]; ok {
		return t
	}
	return s.opened
}

// runSealer seals what is due until ctx ends.
func (db *DB) runSealer(ctx context.Context) {
	db.sealer.mu.Lock()
	err := db.clearLeftover()
	db.sealer.mu.Unlock()
	if err != nil {
		db.o.Logger.Warn("clear away what was sealed before", "error", err)
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := db.sealAll(ctx, db.dueForSeal()); ctx.Err() != nil {
			return
		} else if err != nil {
			db.o.Logger.Warn("take back the space of what is sealed", "error", err)
		}
		db.tendTier(ctx)
		if err := db.letGo(ctx); err != nil && ctx.Err() == nil {
			db.o.Logger.Warn("take back the space of what is gone", "error", err)
		}
	}
}

// sealAll seals partitions one after the other, alarms for those that cannot be, and gives back the space.
func (db *DB) sealAll(ctx context.Context, parts []keys.Partition) error {
	var done []keys.Partition
	for _, p := range parts {
		if db.sealDue(ctx, p) {
			done = append(done, p)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return db.reclaim(ctx, done)
}

// reclaim has the LSM drop what seals of partitions, ascending, removed. By itself it would do so when the next generations
// have piled up, which of a quiet store is never.
func (db *DB) reclaim(ctx context.Context, parts []keys.Partition) error {
	if len(parts) == 0 {
		return nil
	}
	lower := keys.AppendGeneration(nil, parts[0], keys.Unsealed, 0)
	upper := keys.Next(parts[len(parts)-1].Append([]byte{byte(keys.Data)}))
	if err := db.engine.Compact(ctx, lower, upper, false); err != nil {
		return engineError("drop what is sealed", err)
	}
	return db.letGo(ctx)
}

// letGo has the LSM rewrite the tables that have keys deleted for good: until then they are on the disk.
func (db *DB) letGo(ctx context.Context) error {
	db.sealer.mu.Lock()
	gone := db.sealer.gone
	db.sealer.gone = nil
	db.sealer.mu.Unlock()
	if db.sealer.notesGone.Swap(false) {
		for _, s := range []keys.Space{keys.Notes, keys.NotesMirror, keys.Gaps, keys.GapsMirror} {
			gone = append(gone, stretch{[]byte{byte(s)}, []byte{byte(s) + 1}})
		}
	}
	db.sealer.touchMu.Lock()
	gone = append(gone, db.sealer.runsGone...)
	db.sealer.runsGone = nil
	db.sealer.touchMu.Unlock()
	for _, x := range gone {
		if err := db.engine.Compact(ctx, x.lower, x.upper, false); err != nil {
			return engineError("drop what is gone", err)
		}
	}
	return nil
}

// sealDue seals a partition, or says why it cannot be, and reports whether it did.
func (db *DB) sealDue(ctx context.Context, p keys.Partition) bool {
	err := db.sealNow(ctx, p)
	switch {
	case err == nil:
		db.alarms.clear("seal_failing")
	case ctx.Err() == nil:
		db.alarms.raise("seal_failing", fmt.Sprintf("%v: reads are not affected; tried again in %s", err, sealRetry))
	}
	return err == nil
}

// sealNow seals what is durable of a partition.
func (db *DB) sealNow(ctx context.Context, p keys.Partition) error {
	s := &db.sealer
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := db.clearLeftover(); err != nil {
		return err
	}
	durable := db.archived.value()
	if err := db.fold(ctx, p, durable); err != nil {
		s.retry[p] = db.o.Now().Add(sealRetry)
		return err
	}
	db.mu.RLock()
	gens := db.directory.of(p)
	db.mu.RUnlock()
	seals, live := 0, uint64(0)
	for _, g := range gens {
		if g.sealed {
			seals++
			live += g.bytes
		}
	}
	whole := seals >= wholeAfter || s.dead[p] > live
	dead, err := db.seal(ctx, p, sealOptions{through: durable, whole: whole})
	switch {
	case err != nil:
		s.retry[p] = db.o.Now().Add(sealRetry)
	case whole:
		delete(s.dead, p)
	default:
		s.dead[p] += dead
	}
	return err
}

// dueForSeal is the partitions to be sealed now: those nobody has written to for a while, and those that many or large
// generations lie in.
func (db *DB) dueForSeal() []keys.Partition {
	if db.o.SealAfter < 0 {
		return nil
	}
	durable, now := db.archived.value(), db.o.Now()
	db.mu.RLock()
	parts := db.directory.parts
	db.mu.RUnlock()
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	var due []keys.Partition
	for _, p := range parts {
		count, bytes := 0, uint64(0)
		for _, g := range p.gens {
			if !g.sealed && g.id <= durable {
				count++
				bytes += g.bytes
			}
		}
		quiet := now.Sub(db.sealer.lastTouched(p.name)) >= db.o.SealAfter
		sealing := count > 0 && (quiet || count >= db.o.SealGenerations || bytes >= uint64(db.o.SealBytes))
		if (sealing || db.nextErasure(p.name, durable) != nil) && !now.Before(db.sealer.retry[p.name]) {
			due = append(due, p.name)
		}
	}
	return due
}

// Seal makes everything accepted durable and seals every partition now, whatever the options say.
// It returns the offset up to which all is sealed.
func (db *DB) Seal(ctx context.Context) (uint64, error) {
	offset, err := db.Flush(ctx)
	if err != nil {
		return 0, err
	}
	db.mu.RLock()
	parts := db.directory.parts
	db.mu.RUnlock()
	var done []keys.Partition
	for _, p := range parts {
		if sealedThrough(p.gens) == p.gens[len(p.gens)-1].id && db.nextErasure(p.name, offset) == nil {
			continue
		}
		if err := db.sealNow(ctx, p.name); err != nil {
			return 0, err
		}
		done = append(done, p.name)
	}
	return offset, db.reclaim(ctx, done)
}

// clearLeftover removes, once, what a crash kept from being removed: generations that are sealed, and parts of seals that did
// not take effect. The sealer's mu is held.
func (db *DB) clearLeftover() error {
	if db.sealer.cleared {
		return nil
	}
	db.mu.RLock()
	parts := db.directory.parts
	db.mu.RUnlock()
	for _, p := range parts {
		if sealedThrough(p.gens) > 0 {
			if err := db.clearSealed(p.name, nil); err != nil {
				return err
			}
		}
	}
	if err := db.clearAllUnfinished(); err != nil {
		return err
	}
	db.sealer.cleared = true
	return nil
}

func (db *DB) clearAllUnfinished() (err error) {
	it, err := db.engine.NewIter(&pebble.IterOptions{LowerBound: []byte{byte(keys.SealedData)}, UpperBound: []byte{byte(keys.SealedData) + 1}})
	if err != nil {
		return engineError("look for unfinished seals", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		c, err := keys.DecodeChunk(it.Key())
		if err != nil {
			return fmt.Errorf("look for unfinished seals: %w: %w", ErrCorrupt, err)
		}
		if err := db.clearUnfinished(c.Partition, c.Generation); err != nil {
			return err
		}
		ok = it.SeekGE(keys.Next(keys.AppendSealed(nil, c.Partition, c.Generation)))
	}
	return engineError("look for unfinished seals", it.Error())
}

// clearUnfinished removes what a seal left that has no directory row.
func (db *DB) clearUnfinished(p keys.Partition, generation uint64) error {
	db.mu.RLock()
	done := isSealed(db.directory.of(p), generation)
	db.mu.RUnlock()
	if done {
		return db.clearCopied(p, generation)
	}
	b := db.engine.NewBatch()
	found, err := db.clearSealedData(b, p, generation)
	if err != nil || !found {
		return errors.Join(err, b.Close())
	}
	return db.engine.Apply(b, pebble.NoSync)
}

// removeSealing removes tables that were being written when the process ended.
func (db *DB) removeSealing() error {
	dir := path.Join(db.dir, sealingName)
	names, err := db.o.FS.List(dir)
	if isNotExist(err) {
		return nil
	}
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, db.o.FS.Remove(path.Join(dir, name)))
	}
	return errors.Join(errs...)
}
