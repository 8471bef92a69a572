package storage

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/varvedb/varve/storage/keys"
)

// Tables of a seal are made in this directory of the store and moved into the LSM. What is found there at start was left
// by a crash.
const sealingName = "sealing"

// A table is ingested when it has this many bytes of values, or the headers of its chunks this many rows: what a seal keeps
// in memory and has twice on disk.
const (
	sealedTableBytes = 32 << 20
	sealedTableRows  = 64 << 10
)

// sealedTables writes what a seal makes as tables that the LSM takes as they are. Each kind has its own, since the kinds
// are written side by side and a table is in the order of its keys. The headers of a table follow it as a batch: whoever
// finds a header finds its chunk.
type sealedTables struct {
	db      *DB
	kinds   map[keys.Kind]*sealedTable
	headers *pebble.Batch
	bytes   uint64 // of all tables
}

// sealedTable is one table being written.
type sealedTable struct {
	name   string
	writer *sstable.Writer
	bytes  int
}

func newSealedTables(db *DB) *sealedTables {
	return &sealedTables{db: db, kinds: map[keys.Kind]*sealedTable{}, headers: db.engine.NewBatch()}
}

// add writes a value; keys of a kind ascend.
func (s *sealedTables) add(ctx context.Context, k keys.Kind, key, value []byte) error {
	t := s.kinds[k]
	if t != nil && t.bytes > 0 && t.bytes+len(value) > sealedTableBytes {
		if err := s.ingest(ctx, k); err != nil {
			return err
		}
		t = nil
	}
	if t == nil {
		var err error
		if t, err = s.create(); err != nil {
			return err
		}
		s.kinds[k] = t
	}
	t.bytes += len(value)
	if err := t.writer.Set(key, value); err != nil {
		return fmt.Errorf("write table %s: %w", t.name, err)
	}
	return nil
}

// header writes the header of a chunk added before.
func (s *sealedTables) header(ctx context.Context, key, value []byte) error {
	if err := s.headers.Set(key, value, nil); err != nil {
		return err
	}
	if s.headers.Count() < sealedTableRows {
		return nil
	}
	return s.ingest(ctx, keys.Sealed)
}

func (s *sealedTables) create() (*sealedTable, error) {
	db := s.db
	dir := path.Join(db.dir, sealingName)
	if err := db.o.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for tables: %w", err)
	}
	db.sealer.serial++
	name := path.Join(dir, fmt.Sprintf("%06d.sst", db.sealer.serial))
	f, err := db.o.FS.Create(name, "seal")
	if err != nil {
		return nil, fmt.Errorf("create table %s: %w", name, err)
	}
	o := db.engineOptions.MakeWriterOptions(6, db.engine.TableFormat())
	return &sealedTable{name: name, writer: sstable.NewWriter(objstorageprovider.NewFileWritable(newTableFile(f)), o)}, nil
}

// ingest moves the table of a kind into the LSM, and what headers there are behind it.
func (s *sealedTables) ingest(ctx context.Context, k keys.Kind) error {
	if t := s.kinds[k]; t != nil {
		delete(s.kinds, k)
		if err := t.writer.Close(); err != nil {
			return errors.Join(fmt.Errorf("finish table %s: %w", t.name, err), s.db.o.FS.Remove(t.name))
		}
		if err := s.db.engine.Ingest(ctx, []string{t.name}); err != nil {
			return fmt.Errorf("ingest table %s: %w", t.name, err)
		}
		s.bytes += uint64(t.bytes)
	}
	if k != keys.Sealed || s.headers.Empty() {
		return nil
	}
	b := s.headers
	s.headers = s.db.engine.NewBatch()
	return s.db.engine.Apply(b, pebble.NoSync)
}

// finish ingests what is left.
func (s *sealedTables) finish(ctx context.Context) error {
	for _, k := range []keys.Kind{keys.Sealed, keys.SealedPacked, keys.SealedVersion} {
		if err := s.ingest(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// discard removes tables that were not ingested.
func (s *sealedTables) discard() (err error) {
	for _, t := range s.kinds {
		_ = t.writer.Close()
		err = errors.Join(err, s.db.o.FS.Remove(t.name))
	}
	return errors.Join(err, s.headers.Close())
}
