package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
)

// ended is a generation that is complete: its head, frozen, and the rows that stood at its end. The writer makes one
// batch of it.
type ended struct {
	head   *head.Head
	offset uint64                  // of its last record, and its name
	ingest int64                   // of that record
	rows   []row                   // catalog, identity, newest samples, gaps, annotations
	thin   map[model.TagID]thinTag // tags of which samples are left out
}

// row is a key and value to be set as they are, and if again is not 0 once more in that space. A nil value takes the key away.
type row struct {
	key, value []byte
	again      keys.Space
}

// full reports whether the head is due, by what its records say and nothing else.
func (db *DB) full() bool {
	h := db.head
	return db.runs.bytes >= db.o.GenerationBytes || h.Samples >= db.o.GenerationSamples || h.Weight() >= db.o.GenerationBytes ||
		h.First != 0 && h.Last-h.First >= int64(db.o.GenerationAge)
}

// maxFrozen is how many ended generations may wait to be written; apply waits when there are more, which in turn makes
// the door wait.
const maxFrozen = 1

// cut ends the generation behind the record at offset; thin says that filters may leave samples of it out. The applying goroutine
// calls it.
func (db *DB) cut(ctx context.Context, offset uint64, ingest int64, thin bool) error {
	select {
	case db.frozenRoom <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	db.mu.Lock()
	e := &ended{head: db.head, offset: offset, ingest: ingest}
	db.frozen = append(db.frozen, e.head)
	e.rows = append(db.rowsAt(e.head), db.effects.row(offset))
	db.noted = append(db.noted, db.effects)
	if thin {
		e.thin = db.toThin()
	}
	db.thinning = e.thin
	db.frozenRuns, db.runs = append(db.frozenRuns, db.runs), &newRuns{}
	db.head = head.New()
	db.head.After, db.effects = offset, &effects{after: offset}
	db.mu.Unlock()
	db.toWrite <- e // has room for all that frozenRoom lets through
	return nil
}

// rowsAt is the small rows changed since the last cut. DB.mu is held.
func (db *DB) rowsAt(h *head.Head) []row {
	rows := db.pendingRows
	db.pendingRows = nil
	changed := db.catalog.TakeChanged()
	rows = slices.Grow(rows, len(changed))
	for _, r := range changed {
		rows = append(rows, twice(keys.Catalog, keys.CatalogMirror, r.Key, r.Value))
	}
	for _, r := range db.identities.TakeChanged() {
		rows = append(rows, twice(keys.Identity, keys.IdentityMirror, r.Key, r.Value))
	}
	for _, first := range db.latest.takePages(h.IDs()) {
		rows = append(rows, row{key: keys.AppendTag(nil, keys.Latest, first), value: db.latest.appendPage(nil, first)})
	}
	return rows
}

// twice is a row of space a that is kept again in space b; key is without the space.
func twice(a, b keys.Space, key, value []byte) row {
	return row{key: append(append(make([]byte, 0, 1+len(key)), byte(a)), key...), value: value, again: b}
}

// writeLoop writes ended generations in order until toWrite is closed.
func (db *DB) writeLoop() {
	defer close(db.writeDone)
	w := generationWriter{db: db}
	for e := range db.toWrite {
		if err := w.write(e); err != nil {
			db.stopApply(fmt.Errorf("write generation %d: %w", e.offset, err))
			for range db.toWrite { // let apply go on to its end; nothing is lost, the log keeps it
				<-db.frozenRoom
			}
			return
		}
		<-db.frozenRoom
	}
}

// Meta rows. The applied offset row is version 1: offset, ingest time of that record, CRC-32C.
var (
	appliedKey       = []byte{byte(keys.Meta), 'a'}
	appliedMirrorKey = []byte{byte(keys.MetaMirror), 'a'}
)

const (
	appliedVersion = 1
	appliedSize    = 1 + 8 + 8 + 4
)

func appendApplied(dst []byte, offset uint64, ingest int64) []byte {
	n := len(dst)
	dst = append(dst, appliedVersion)
	dst = binary.LittleEndian.AppendUint64(dst, offset)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(ingest))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

func decodeApplied(b []byte) (offset uint64, ingest int64, err error) {
	if err := checkRow(b, appliedVersion, appliedSize); err != nil {
		return 0, 0, fmt.Errorf("read applied offset: %w", err)
	}
	return binary.LittleEndian.Uint64(b[1:]), int64(binary.LittleEndian.Uint64(b[9:])), nil
}

// commit makes a batch of a generation visible: it takes the place of its head for every view taken from now on.
func (db *DB) commit(e *ended, b *pebble.Batch, dir map[keys.Partition]*generation, filtered map[model.TagID]filteredTag) error {
	applied := appendApplied(nil, e.offset, e.ingest)
	for _, k := range [][]byte{appliedKey, appliedMirrorKey} {
		if err := b.Set(k, applied, nil); err != nil {
			return err
		}
	}
	if err := db.engine.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	db.mu.Lock()
	maps.Copy(db.filtered, filtered)
	db.directory = db.directory.with(dir)
	db.written = e.offset
	db.frozen, db.noted, db.frozenRuns = db.frozen[1:], db.noted[1:], db.frozenRuns[1:]
	db.thinning = nil
	db.mu.Unlock()
	e.head.Release()
	db.sealer.touch(dir, db.o.Now())
	done, err := db.engine.AsyncFlush()
	if err != nil {
		return err
	}
	db.background.Go(func() {
		select {
		case <-done:
			db.noteDurable()
		case <-db.closing: // a flush that cannot end must not keep the store from closing; the log has what it lacks
		}
	})
	return nil
}

// noteDurable reads how far flushes have made generations durable, tells who waits for it and trims the log behind.
func (db *DB) noteDurable() {
	var offset uint64
	var err error
	for _, k := range [][]byte{appliedKey, appliedMirrorKey} {
		err = db.persist("read the durable offset", func() (err error) {
			offset, err = db.durableOffset(k)
			return err
		})
		if err == nil {
			break
		}
		if isDamage(err) {
			db.alarms.raise("store_damaged", err.Error())
		}
	}
	if err != nil || offset == 0 {
		return
	}
	db.archived.raise(offset)
	db.trimLog()
}

// trimLog lets go of what generations have of the log, but for the newest KeepLogBytes of it.
func (db *DB) trimLog() {
	db.trimMu.RLock()
	defer db.trimMu.RUnlock()
	through := db.archived.value()
	if keep := db.o.KeepLogBytes; keep > 0 && !db.space.low.Load() {
		for _, s := range slices.Backward(db.log.Segments()) {
			if keep -= s.Bytes; keep <= 0 {
				break
			}
			through = min(through, s.First-1)
		}
	}
	if err := db.log.Trim(through); err != nil {
		db.o.Logger.Error("trim the log", "through", through, "error", err)
	}
}

// durableOffset is the applied offset in what flushes have made durable, 0 for none, by one of its two copies. An older
// value of the same copy that cannot be read hides the newest.
func (db *DB) durableOffset(k []byte) (uint64, error) {
	it, err := db.engine.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true, LowerBound: k, UpperBound: keys.Next(k)})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !it.First() {
		return 0, engineError("read the durable offset", it.Error())
	}
	offset, _, err := decodeApplied(it.Value())
	return offset, err
}
