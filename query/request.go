package query

import (
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// Limits on what one request may ask. They are part of the interface and stand in query.proto.
const (
	MaxRangeTags     = 100_000
	MaxLatestTags    = 1_000_000
	MaxBatchRows     = 1 << 20
	DefaultBatchRows = 1 << 16
)

// Tags are the tags a question is about: names, current or former, then ids.
type Tags struct {
	Names []string
	IDs   []model.TagID
}

func (t Tags) count() int { return len(t.Names) + len(t.IDs) }

func (t Tags) check(most int) error {
	switch n := t.count(); {
	case n == 0:
		return fmt.Errorf("no tag is asked for: %w", ErrBadRequest)
	case n > most:
		return fmt.Errorf("%d tags are asked for, most is %d: %w", n, most, ErrBadRequest)
	}
	return nil
}

// RangeRequest asks for the samples of tags between two instants. Forward it covers [Start, End); with Start later than
// End it covers (End, Start], newest first; equal instants mean that one instant.
type RangeRequest struct {
	Tags
	Start, End  int64 // nanoseconds UTC
	Consistency storage.Consistency
	Limit       uint64 // most samples per tag; 0 for all
	BatchRows   int    // rows per record batch, 1 to MaxBatchRows; 0 for DefaultBatchRows
	WithSource  bool
	WithSeq     bool
	AsOf        *int64 // instant of ingest time at which the samples must have stood, ns UTC; nil for now
}

// ModifiedRequest asks for the values of tags between two instants, as of a RangeRequest, that were replaced or removed.
type ModifiedRequest struct {
	Tags
	Start, End  int64 // nanoseconds UTC
	Consistency storage.Consistency
	Limit       uint64 // most values per tag; 0 for all
	BatchRows   int    // rows per record batch, 1 to MaxBatchRows; 0 for DefaultBatchRows
	WithSeq     bool
}

func (r *ModifiedRequest) asRange() RangeRequest {
	return RangeRequest{Tags: r.Tags, Start: r.Start, End: r.End, Consistency: r.Consistency, Limit: r.Limit, BatchRows: r.BatchRows, WithSource: true, WithSeq: r.WithSeq}
}

func (r *RangeRequest) check() error {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return err
	}
	if r.BatchRows < 0 || r.BatchRows > MaxBatchRows {
		return fmt.Errorf("batches of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxBatchRows, ErrBadRequest)
	}
	if r.Start == math.MinInt64 || r.End == math.MinInt64 {
		return fmt.Errorf("range from %d to %d, the first instant is %d: %w", r.Start, r.End, int64(model.MinTime), ErrBadRange)
	}
	return nil
}

func (r *RangeRequest) batchRows() int {
	if r.BatchRows == 0 {
		return DefaultBatchRows
	}
	return r.BatchRows
}

// LatestRequest asks for the newest sample of tags.
type LatestRequest struct {
	Tags
	Consistency storage.Consistency
}
