package query

import (
	"cmp"
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
	leastBatchRows   = 1 << 10 // of those that the engine chooses where the share of a query is small
)

// Tags are the tags a question is about: names, current or former, then ids, then what is calculated.
type Tags struct {
	Names       []string
	IDs         []model.TagID
	Expressions []string // of package expression, as "name := expression" or by themselves; at most MaxExpressions
}

func (t Tags) count() int { return len(t.Names) + len(t.IDs) + len(t.Expressions) }

// onlyStored refuses expressions where the question is about what is stored.
func (t Tags) onlyStored() error {
	if len(t.Expressions) > 0 {
		return fmt.Errorf("expressions have no samples that are stored, and this question is about those: %w", ErrBadRequest)
	}
	return nil
}

func (t Tags) check(most int) error {
	switch n := t.count(); {
	case n == 0:
		return fmt.Errorf("no tag is asked for: %w", ErrBadRequest)
	case n > most:
		return fmt.Errorf("%d tags are asked for, most is %d: %w", n, most, ErrBadRequest)
	case len(t.Expressions) > MaxExpressions:
		return fmt.Errorf("%d expressions are asked for, most is %d: %w", len(t.Expressions), MaxExpressions, ErrBadRequest)
	}
	return nil
}

// Bounds says what a read of a range has at its edges. docs/reference/raw-reads.md has the rules.
type Bounds uint8

const (
	NoBounds     Bounds = iota // the samples of the range, of which the end is no part
	Inside                     // samples that stand at the end exactly as well
	Outside                    // at each edge a sample, if need be the nearest one outside
	Interpolated               // at each edge a sample or a calculated value
	afterBounds
)

// Position is a place among the samples of a tag.
type Position struct {
	Time int64
	Seq  uint32
}

// RangeRequest asks for the samples of tags between two instants. Forward it covers [Start, End); with Start later than
// End it covers (End, Start], newest first; equal instants mean that one instant. With OpenEnd it is the first Limit samples from
// Start on, with OpenStart those from End on backward, newest first.
type RangeRequest struct {
	Tags
	Start, End         int64 // nanoseconds UTC
	OpenStart, OpenEnd bool  // there is none; one of the two at most, with a Limit
	Consistency        storage.Consistency
	Limit              uint64 // most rows per tag, bounds included; 0 for all
	BatchRows          int    // rows per record batch, 1 to MaxBatchRows; 0 for DefaultBatchRows, or fewer where the share of a query has room for no more
	WithSource         bool
	WithSeq            bool
	WithGaps           bool   // a row for each gap of which any instant lies in the range; not with a Limit or After
	AsOf               *int64 // instant of ingest time at which the samples must have stood, ns UTC; nil for now
	Bounds             Bounds
	After              *Position    // go on strictly behind it, in the direction of the read; nil for the beginning. One tag only.
	Severities         Severities   // of the samples wanted; this and Where go with no bounds but Inside
	Where              []Comparison // what their values all meet
	Unit               string       // UCUM code of the unit of the values, which are doubles then; empty: as they are stored
}

// ModifiedRequest asks for the values of tags between two instants, as of a RangeRequest, that were replaced or removed.
type ModifiedRequest struct {
	Tags
	Start, End  int64 // nanoseconds UTC
	Consistency storage.Consistency
	Limit       uint64 // most values per tag; 0 for all
	BatchRows   int    // rows per record batch, 1 to MaxBatchRows; 0 for DefaultBatchRows
	WithSeq     bool
	Unit        string // as of RangeRequest
}

func (r *ModifiedRequest) asRange() RangeRequest {
	return RangeRequest{Unit: r.Unit, Tags: r.Tags, Start: r.Start, End: r.End, Consistency: r.Consistency, Limit: r.Limit, BatchRows: r.BatchRows, WithSource: true, WithSeq: r.WithSeq}
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
	if (r.OpenStart || r.OpenEnd) && (r.Limit == 0 || r.OpenStart && r.OpenEnd) {
		return fmt.Errorf("range without a start, an end or a limit: two of the three must be there: %w", ErrBadRange)
	}
	return r.checkOptions()
}

// checkOptions refuses options that do not go together.
func (r *RangeRequest) checkOptions() error {
	filtered := r.Severities != 0 || len(r.Where) > 0
	switch edges := r.Bounds == Outside || r.Bounds == Interpolated; {
	case r.Bounds >= afterBounds:
		return fmt.Errorf("bounds %d, which are none: %w", r.Bounds, ErrBadRequest)
	case r.Bounds == Interpolated && (r.OpenStart || r.OpenEnd):
		return fmt.Errorf("interpolated bounds of a range without a start or an end: %w", ErrBadRequest)
	case r.WithGaps && (r.Limit != 0 || r.After != nil):
		return fmt.Errorf("gaps in a read with a limit, or that goes on behind a sample: they are no samples to be counted: %w", ErrBadRequest)
	case r.WithSource && len(r.Expressions) > 0:
		return fmt.Errorf("the source of expressions, whose values no source sent: %w", ErrBadRequest)
	case edges && filtered:
		return fmt.Errorf("bounds of samples chosen by quality or value: what stands at the edges may not be among them: %w", ErrBadRequest)
	case r.After == nil:
	case r.Tags.count() != 1:
		return fmt.Errorf("reading on behind a sample of %d tags: must be one: %w", r.Tags.count(), ErrBadRequest)
	case r.After.Time == math.MinInt64:
		return fmt.Errorf("reading on behind %d, the first instant is %d: %w", r.After.Time, int64(model.MinTime), ErrBadRange)
	case edges && r.Start == r.End && !r.OpenStart && !r.OpenEnd:
		return fmt.Errorf("reading on at one instant with bounds: both bounds stand at it, ask for them at once: %w", ErrBadRequest)
	}
	if n := len(r.Where); n > MaxComparisons {
		return fmt.Errorf("%d comparisons, most is %d: %w", n, MaxComparisons, ErrBadRequest)
	}
	for i := range r.Where {
		if err := r.Where[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// edges are where the read begins and where it ends, in its direction. An open end is the end of time.
func (r *RangeRequest) edges() (from, to int64) {
	switch {
	case r.OpenStart:
		return r.End, model.MinTime
	case r.OpenEnd:
		return r.Start, max(r.Start, model.MaxTime)
	}
	return r.Start, r.End
}

// epochs is the range of which a tag's epochs are read: of all time where what stood at another moment, or stands outside, is asked for.
func (r *RangeRequest) epochs() model.TimeRange {
	if r.AsOf != nil || r.Bounds == Outside {
		return model.All
	}
	whole := *r
	whole.After = nil // pages have one schema
	in := whole.samples()
	return model.TimeRange{Start: in.Start, End: in.End}
}

// samples is the range of the samples the read has, without bounds outside of it.
func (r *RangeRequest) samples() model.TimeRange {
	from, to := r.edges()
	in := model.Between(from, to)
	switch {
	case from == to:
	case !in.Reverse && (r.OpenEnd || r.Bounds == Inside):
		in.End = behindInstant(to)
	case in.Reverse && (r.OpenStart || r.Bounds == Inside):
		in.Start = to
	}
	if r.After != nil && in.Reverse {
		in.End = min(in.End, behindInstant(r.After.Time))
	} else if r.After != nil {
		in.Start = max(in.Start, r.After.Time)
	}
	return in
}

// behindInstant is the end of the range of one instant.
func behindInstant(t int64) int64 { return model.Between(t, t).End }

func (r *RangeRequest) batchRows() int { return cmp.Or(r.BatchRows, DefaultBatchRows) }

// LatestRequest asks for the newest sample of tags.
type LatestRequest struct {
	Tags
	Consistency storage.Consistency
	Unit        string // UCUM code of the unit of the values, which are doubles then; empty: as they are stored
}
