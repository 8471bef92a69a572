package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/identity"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/log"
)

// DB is an open store.
type DB struct {
	o             Options
	dir           string
	uuid          [16]byte
	engine        *pebble.DB
	engineOptions *pebble.Options
	sealer        sealer
	scrub         scrub
	tier          tiering
	log           *log.Log
	catalog       *catalog.Catalog
	identities    *identity.Table
	alarms        *alarms
	space         spaceGuard
	kept          atomic.Pointer[kept]
	closed        atomic.Bool

	// submitMu makes the order of Submit calls the order of offsets and of ingest times. It is never held while mu is
	// taken, and may be taken while nothing is held.
	submitMu sync.Mutex
	// steady is held for reading while a record is submitted, and for writing while a change of a type is judged by what stands, and
	// submitted. Order: steady, submitMu.
	steady     sync.RWMutex
	lastIngest int64
	waiting    map[uint64]*pending
	newest     *pending // the record submitted last; nil before the first

	// mu guards the fields down to filtered. The applying goroutine and the generation writer change them; readers hold
	// it for the moment in which they note where things are. No file is read or written while it is held.
	mu          sync.RWMutex
	head        *head.Head
	frozen      []*head.Head // ended generations not yet written, oldest first
	effects     *effects     // of the records in head
	noted       []*effects   // of those in frozen
	latest      latestTable
	directory   directory
	written     uint64 // newest generation in the engine
	ingest      int64  // ingest time of the newest record applied
	ops         rangeOps
	erasures    *erasures
	ledger      ledger
	notes       notes
	gaps        gaps
	pendingRows []row      // small rows for the generation being filled
	runs        *newRuns   // forecast runs of the records in head
	frozenRuns  []*newRuns // of those in frozen
	filters     filters
	thinning    map[model.TagID]thinTag     // tags of which the generation being written leaves samples out
	filtered    map[model.TagID]filteredTag // what was left out; only the generation writer changes it

	applied  mark // highest offset visible to reads
	archived mark // highest offset in a durable generation
	applyEnd *ending

	losses losses

	toWrite     chan *ended
	frozenRoom  chan struct{}
	writeDone   chan struct{}
	applyDone   chan struct{}
	closing     chan struct{}
	cancelApply context.CancelFunc
	stopping    <-chan struct{} // closed by cancelApply
	readers     sync.WaitGroup  // open views and look-ups; added to under mu while closed is not set
	background  sync.WaitGroup  // flush watchers, the timer, the space guard

	// trimMu is held by who needs the log to stay as it is.
	trimMu sync.RWMutex
}

// Open opens the store in dir, making it if nothing is there, and replays the log behind what is durable. It returns
// once reads and ingest work and everything accepted before is visible, or is known to be lost.
func Open(dir string, o Options) (*DB, error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	db := &DB{
		o: o, dir: dir,
		catalog:    catalog.New(catalog.Options{MaxTags: o.MaxTags}),
		identities: identity.New(identity.Options{MaxSources: o.MaxSources}),
		alarms:     newAlarms(o.Now, o.Logger),
		sealer:     newSealer(o.Now()),
		waiting:    map[uint64]*pending{},
		head:       head.New(),
		runs:       &newRuns{},
		erasures:   &erasures{},
		applyEnd:   newEnding(),
		toWrite:    make(chan *ended, maxFrozen), frozenRoom: make(chan struct{}, maxFrozen),
		writeDone: make(chan struct{}), applyDone: make(chan struct{}), closing: make(chan struct{}),
	}
	if err := db.openFiles(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if err := db.start(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, errors.Join(err, db.Close()))
	}
	return db, nil
}

// openFiles opens engine and log and loads the small rows.
func (db *DB) openFiles() (err error) {
	if err := db.openFormat(); err != nil {
		return err
	}
	if err := db.losses.load(db.o.FS, db.dir); err != nil {
		return err
	}
	if err := db.removeSealing(); err != nil {
		return fmt.Errorf("remove what an unfinished seal left: %w", err)
	}
	if err := db.openLSM(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.engine.Close())
		}
	}()
	if err := db.openTier(); err != nil {
		return errors.Join(err, db.tier.close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.tier.close())
		}
	}()
	if err := db.load(); err != nil {
		return err
	}
	l, rec, err := log.Open(path.Join(db.dir, "log"), log.Options{
		FS: db.o.FS, Rand: db.o.Rand, Logger: db.o.Logger, OnFatal: db.o.OnFatal, OnSlow: db.alarms.slowDisk, Applied: db.written,
		SegmentBytes: db.o.SegmentBytes, BacklogBytes: db.o.BacklogBytes,
	})
	if err != nil {
		return err
	}
	db.log = l
	for _, x := range rec.Damaged {
		db.o.Logger.Warn("damaged log file", "file", x.File, "error", x.Cause)
	}
	for _, x := range rec.Torn {
		db.o.Logger.Info("unsynced end of a log segment was cut off", "file", x.File, "at", x.At, "bytes", x.Bytes)
	}
	return nil
}

// openLSM opens the engine. A power cut while a store is made can leave one that does not open; as long as the log, which
// is made after it, is not there, nothing was ever accepted and it is made again. An LSM that has a table is never taken
// for unfinished: its log was there, and has gone.
func (db *DB) openLSM() error {
	dir := path.Join(db.dir, "lsm")
	engine, options, err := openEngine(dir, &db.o, db.alarms)
	if err != nil {
		if _, statErr := db.o.FS.Stat(path.Join(db.dir, "log")); !isNotExist(statErr) {
			return err
		}
		names, listErr := db.o.FS.List(dir)
		if listErr != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".sst") }) {
			return errors.Join(err, listErr)
		}
		db.o.Logger.Warn("the store was not finished when it was made, and is made again", "error", err)
		if err := db.o.FS.RemoveAll(dir); err != nil {
			return err
		}
		if engine, options, err = openEngine(dir, &db.o, db.alarms); err != nil {
			return err
		}
	}
	db.engine, db.engineOptions = engine, options
	return nil
}

// start runs the goroutines and waits until the log is replayed.
func (db *DB) start() error {
	reader, gone, err := db.openReader()
	if err != nil {
		close(db.applyDone)
		close(db.writeDone)
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	db.cancelApply, db.stopping = cancel, ctx.Done()
	go db.writeLoop()
	go func() {
		defer close(db.applyDone)
		defer reader.Close()
		if gone != nil && !db.waitForAcceptance(ctx, *gone) {
			return
		}
		a := applier{db: db, reader: reader}
		a.loop(ctx)
	}()
	if !db.o.still {
		db.background.Go(func() { db.runTimer(ctx) })
		db.background.Go(func() { db.runSealer(ctx) })
		db.background.Go(func() { db.runRetention(ctx) })
		if db.o.ScrubRate > 0 {
			db.background.Go(func() { db.runScrub(ctx) })
		}
	}
	err = db.applied.wait(context.Background(), db.log.HighWatermark())
	if err != nil && !errors.Is(err, ErrApplyStopped) {
		return err
	}
	db.followIngest()
	db.space.check(db)
	return nil
}

// followIngest lets no record from now on have an earlier ingest time than those applied.
func (db *DB) followIngest() {
	db.mu.RLock()
	ingest := db.ingest
	db.mu.RUnlock()
	db.submitMu.Lock()
	db.lastIngest = max(db.lastIngest, ingest)
	db.submitMu.Unlock()
}

// openReader is a reader of the log behind what is durable. The log calls records trimmed whose segments are gone from its
// front; those that are in no generation nobody trimmed, and they are as lost as damaged ones.
func (db *DB) openReader() (r *log.Reader, gone *OffsetRange, err error) {
	r, err = db.log.NewReader(db.written + 1)
	var trimmed *log.TrimmedError
	if errors.As(err, &trimmed) {
		gone = &OffsetRange{db.written + 1, trimmed.First}
		r, err = db.log.NewReader(trimmed.First)
	}
	return r, gone, err
}

// Close stops ingest, applies what is accepted, waits until views are closed, and closes the files. What is in no
// generation yet stays in the log and is replayed by the next Open.
func (db *DB) Close() error {
	db.mu.Lock()
	again := db.closed.Swap(true)
	db.mu.Unlock()
	if again {
		return nil
	}
	if db.cancelApply != nil {
		_ = db.applied.wait(context.Background(), db.log.HighWatermark())
		db.cancelApply()
		<-db.applyDone
		close(db.toWrite)
	}
	<-db.writeDone
	close(db.closing)
	db.applyEnd.fail(ErrClosed)
	db.background.Wait()
	db.applied.fail(ErrClosed)
	db.archived.fail(ErrClosed)
	db.readers.Wait()
	return errors.Join(db.log.Close(), db.tier.close(), db.engine.Close())
}

// load reads the rows that the applied state begins with.
func (db *DB) load() error {
	if err := db.loadApplied(); err != nil {
		return err
	}
	if err := loadTwice(db, keys.Catalog, keys.CatalogMirror, catalog.CheckRow, db.catalog.Load); err != nil {
		return fmt.Errorf("load the catalog: %w", err)
	}
	db.filters.load(db.catalog)
	if err := loadTwice(db, keys.Identity, keys.IdentityMirror, identity.CheckRow, db.identities.Load); err != nil {
		return fmt.Errorf("load batch identities: %w", err)
	}
	if err := db.loadDirectory(); err != nil {
		return fmt.Errorf("load the directory of generations: %w", err)
	}
	db.head.After, db.effects = db.written, &effects{after: db.written}
	if err := db.loadDeletes(); err != nil {
		return fmt.Errorf("load range deletes: %w", err)
	}
	db.settleErasures()
	if err := db.loadNotes(); err != nil {
		return fmt.Errorf("load annotations: %w", err)
	}
	if err := db.loadGaps(); err != nil {
		return fmt.Errorf("load gaps: %w", err)
	}
	if err := db.loadLatest(); err != nil {
		return fmt.Errorf("load newest samples: %w", err)
	}
	if err := db.loadFiltered(); err != nil {
		return fmt.Errorf("load figures of filters: %w", err)
	}
	return nil
}

func (db *DB) loadApplied() error {
	var errs []error
	for _, k := range [][]byte{appliedKey, appliedMirrorKey} {
		v, closer, err := db.engine.Get(k)
		if errors.Is(err, pebble.ErrNotFound) {
			continue // new, unless the other copy says otherwise
		}
		if err == nil {
			db.written, db.lastIngest, err = decodeApplied(v)
			_ = closer.Close()
		}
		if err == nil {
			db.applied.raise(db.written)
			db.archived.raise(db.written)
			if len(errs) > 0 {
				db.alarms.raise("store_damaged", fmt.Sprintf("%v: the second copy is used", errs[0]))
			}
			return nil
		}
		errs = append(errs, engineError("read applied offset", err))
	}
	return errors.Join(errs...)
}

// scan calls yield for every row of a space, its key without the space byte. The bytes hold only during the call.
func (db *DB) scan(s keys.Space, yield func(key, value []byte) error) error {
	return scanRows(db.engine, s, yield)
}

func scanRows(r pebble.Reader, s keys.Space, yield func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{byte(s)}, UpperBound: []byte{byte(s) + 1}})
	if err != nil {
		return engineError("scan", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := yield(it.Key()[1:], it.Value()); err != nil {
			return err
		}
	}
	return engineError(fmt.Sprintf("scan space %02x", byte(s)), it.Error())
}

// goodSpace is whichever of two spaces with the same rows reads whole and checks out, the first if both do.
func (db *DB) goodSpace(a, b keys.Space, check func(key, value []byte) error) (keys.Space, error) {
	err := db.scan(a, check)
	if err == nil || !isDamage(err) {
		return a, err
	}
	db.alarms.raise("store_damaged", fmt.Sprintf("%v: the second copy is used", err))
	return b, db.scan(b, check)
}

// isDamage reports whether err says that bytes are not what was written, as against a newer format or a failing disk.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, chunk.ErrCorrupt) || errors.Is(err, catalog.ErrCorrupt) || errors.Is(err, identity.ErrCorrupt) || errors.Is(err, keys.ErrCorrupt)
}

// isUnreadable reports whether err says that something cannot be read, and that nothing is gained by waiting: it is damaged, or
// lies in a tier that does not answer.
func isUnreadable(err error) bool { return isDamage(err) || errors.Is(err, ErrUnreachable) }

func loadTwice(db *DB, a, b keys.Space, check func(key, value []byte) error, load func(iter.Seq2[[]byte, []byte]) error) error {
	good, err := db.goodSpace(a, b, check)
	if err != nil {
		return err
	}
	var scanErr error
	err = load(func(yield func(k, v []byte) bool) {
		stop := errors.New("stop")
		scanErr = db.scan(good, func(k, v []byte) error {
			if !yield(k, v) {
				return stop
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return scanErr
}

func (db *DB) loadDirectory() error {
	read := func(key, value []byte) (keys.Partition, generation, error) {
		p, id, err := keys.DecodeDirectory(append([]byte{byte(keys.Directory)}, key...))
		if err != nil {
			return p, generation{}, err
		}
		g, err := decodeGeneration(id, value)
		return p, g, err
	}
	good, err := db.goodSpace(keys.Directory, keys.DirectoryMirror, func(k, v []byte) error {
		_, _, err := read(k, v)
		return err
	})
	if err != nil {
		return err
	}
	d := &db.directory
	d.held = &holders{}
	err = db.scan(good, func(k, v []byte) error {
		p, g, err := read(k, v)
		if err != nil {
			return err
		}
		if n := len(d.parts); n == 0 || d.parts[n-1].name != p {
			d.parts = append(d.parts, partition{name: p})
		}
		last := &d.parts[len(d.parts)-1]
		last.gens = append(last.gens, g)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range d.parts {
		d.parts[i].gens = withoutSealed(d.parts[i].gens)
	}
	d.sum()
	return nil
}

// loadLatest reads the newest samples. Damaged rows are found again from the samples themselves.
func (db *DB) loadLatest() error {
	bad := false
	err := db.scan(keys.Latest, func(k, v []byte) error {
		first, err := keys.DecodeTag(append([]byte{byte(keys.Latest)}, k...))
		if err == nil {
			err = db.latest.load(first, model.TagID(db.catalog.Len()), v)
		}
		if isDamage(err) {
			bad = true
			return nil
		}
		return err
	})
	if err == nil && !bad {
		return nil
	}
	if err != nil && !isDamage(err) {
		return err
	}
	db.alarms.raise("store_damaged", "newest samples are damaged and were found again from the stored samples")
	return db.rebuildLatest()
}

// rebuildLatest finds the newest sample of every tag from the stored samples, and the tags with several at one time.
func (db *DB) rebuildLatest() error {
	n := db.catalog.Len()
	db.latest = latestTable{}
	db.mu.Lock()
	defer db.mu.Unlock()
	for tag := model.TagID(1); int(tag) <= n; tag++ {
		row := db.latest.row(tag)
		row.time, row.flags = model.MaxTime, newestMulti // costs a look per write until a sound row is written
		if err := db.findNewest(tag); err != nil {
			return err
		}
	}
	return nil
}
