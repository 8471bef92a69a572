package storage

import (
	"context"

	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/identity"
)

// DB is an open store.
type DB struct {
	catalog    *catalog.Catalog
	identities *identity.Table
}

type pending struct{ offset uint64 }

func (p *pending) waitAccepted(ctx context.Context) error           { panic("pending") }
func (p *pending) waitApplied(ctx context.Context) (*Result, error) { panic("pending") }

// Open opens the store in dir, making it if nothing is there, and replays the log behind what is durable. It returns
// once reads and ingest work.
func Open(dir string, o Options) (*DB, error) { panic("pending") }

// Close stops ingest, applies what is accepted and closes the files.
func (db *DB) Close() error { panic("pending") }

// ChangeCatalog logs changes as one record, waits until it is applied and returns one result per change.
func (db *DB) ChangeCatalog(ctx context.Context, changes []catalog.Change) ([]catalog.Result, error) {
	panic("pending")
}

// Submit puts a batch on its way to the log. Batches submitted one after the other keep that order. It waits while too
// much is unsynced or unapplied. The batch and its columns may be reused once Submit returns.
func (db *DB) Submit(ctx context.Context, b *Batch) (*Pending, error) { panic("pending") }

// WaitArchived waits until every record up to offset is in a durable generation.
func (db *DB) WaitArchived(ctx context.Context, offset uint64) error { panic("pending") }

// Flush cuts the head, makes it durable and returns the archived offset.
func (db *DB) Flush(ctx context.Context) (uint64, error) { panic("pending") }

// Checkpoint writes a copy of the store into the new directory dir and returns the offset it holds.
func (db *DB) Checkpoint(ctx context.Context, dir string) (uint64, error) { panic("pending") }

// AcceptLoss lets apply go on behind a lost range that Status reports.
func (db *DB) AcceptLoss(ctx context.Context, lost OffsetRange, author, reason string) error {
	panic("pending")
}

// Status is the state of the store now.
func (db *DB) Status() Status { panic("pending") }
