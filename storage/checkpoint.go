package storage

import (
	"context"
	"fmt"
	"path"

	"github.com/varvedb/varve/storage/durable"
)

// Checkpoint writes a copy of the store into the new directory dir and returns the offset it holds: what is flushed as
// hard links where the file system has them, and the log from there on.
func (db *DB) Checkpoint(ctx context.Context, dir string) (uint64, error) {
	offset, err := db.checkpoint(ctx, dir)
	if err != nil {
		return 0, fmt.Errorf("checkpoint into %s: %w", dir, err)
	}
	return offset, nil
}

func (db *DB) checkpoint(ctx context.Context, dir string) (uint64, error) {
	if !db.hold() {
		return 0, ErrClosed
	}
	defer db.readers.Done()
	fs := db.o.FS
	if _, err := fs.Stat(dir); err == nil {
		return 0, ErrExists
	} else if !isNotExist(err) {
		return 0, err
	}
	if _, err := db.Flush(ctx); err != nil {
		return 0, err
	}
	// Without the LSM's own log a checkpoint holds what is flushed, and flushes may go on: the log is copied from the
	// offset that the copy itself has, and not trimmed meanwhile.
	db.trimMu.Lock()
	defer db.trimMu.Unlock()
	if err := durable.MakeDir(fs, dir); err != nil {
		return 0, err
	}
	if err := db.checkpointTier(dir); err != nil {
		return 0, err
	}
	from := db.archived.value()
	if err := db.engine.Checkpoint(path.Join(dir, "lsm")); err != nil {
		return 0, err
	}
	through := db.log.HighWatermark()
	if err := db.log.CopyTo(fs, path.Join(dir, "log"), from, through); err != nil {
		return 0, err
	}
	if b, err := readFile(fs, path.Join(db.dir, acceptedName)); err == nil {
		if err := durable.WriteFile(fs, dir, acceptedName, b); err != nil {
			return 0, err
		}
	} else if !isNotExist(err) {
		return 0, err
	}
	return through, db.writeFormat(dir)
}
