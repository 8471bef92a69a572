package storage

import (
	"context"

	"github.com/varvedb/varve/model"
)

// View is one reader's moment: everything applied when it was taken, and nothing later. It must be closed.
type View struct{ db *DB }

// View takes a view. With Accepted it waits until all records durable now are applied, or ctx ends. While apply is
// stopped behind damage it does not wait; Lost names what is missing.
func (db *DB) View(ctx context.Context, c Consistency) (*View, error) { panic("pending") }

// Close lets go of what the view holds.
func (v *View) Close() { panic("pending") }

// Lost is the ranges of log offsets whose samples this view cannot hold because their records are damaged and the loss
// was not accepted. Empty for a complete view.
func (v *View) Lost() []OffsetRange { panic("pending") }

// Latest is the newest sample of a tag, the one of highest (time, seq). False if it has none.
func (v *View) Latest(tag model.TagID) (model.Sample, bool) { panic("pending") }

// Samples reads the current samples of a tag in a range, in the order of the range.
func (v *View) Samples(tag model.TagID, in model.TimeRange) *Cursor { panic("pending") }

// SourceName is the name of a source id in a Block.
func (v *View) SourceName(id uint32) string { panic("pending") }

// Versions is every version of every key in a range: ascending by (time, seq), then oldest first.
func (v *View) Versions(ctx context.Context, tag model.TagID, in model.TimeRange) ([]model.Version, error) {
	panic("pending")
}

// Cursor delivers samples in blocks. It is for one goroutine.
type Cursor struct{}

// Block is some consecutive samples of a tag. Its memory is the cursor's and holds until the next call of Next.
type Block struct {
	model.Samples
	Origins []Origin // covers all samples in order
}

// Origin says for a run of samples who sent them and when they were ingested.
type Origin struct {
	Samples int
	Source  uint32 // for View.SourceName; 0 for none
	Ingest  int64  // seconds since 1970 UTC
}

// Next is the next block, never empty, or io.EOF behind the last. An error about damaged data names tag and range; the
// cursor may be asked again and goes on behind the damage.
func (c *Cursor) Next(ctx context.Context) (*Block, error) { panic("pending") }

// Close lets go of what the cursor holds.
func (c *Cursor) Close() {}
