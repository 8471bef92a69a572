package query

import (
	"context"
	"iter"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/rollup"
)

// Store is all this package asks of storage.
type Store interface {
	Catalog() Catalog
	View(ctx context.Context, c storage.Consistency) (View, error)
}

// Catalog resolves tags, state sets, calendars and calculations. What it returns is not changed afterwards.
type Catalog interface {
	Tag(id model.TagID) (*model.Tag, bool)
	// ByName is the tag that has a name, or else had it last; ByNameAt the one that had it at an instant.
	ByName(name string) (*model.Tag, bool)
	ByNameAt(name string, at int64) (*model.Tag, bool)
	// StateSet is one version of a set, dense from 1; version 0 is the newest.
	StateSet(name string, version uint32) (*model.StateSet, bool)
	// Calendar is one version of a named calendar, dense from 1; version 0 is the newest.
	Calendar(name string, version uint32) (*model.Calendar, bool)
	// CalculationInForce is the versions of a named calculation by the dates from which they are in force; none where there is none.
	CalculationInForce(name string) []*model.Calculation
}

// View is one reader's moment, see storage.View.
type View interface {
	Close()
	Lost() []storage.OffsetRange
	Latest(tag model.TagID) (model.Sample, bool)
	Samples(tag model.TagID, in model.TimeRange) Cursor
	// Partials fills into with what consecutive buckets hold, see storage.View. It and Samples may be called from several goroutines.
	Partials(ctx context.Context, tag model.TagID, edges []int64, detail storage.Detail, into *storage.Partials) error
	// Goods is Partials of samples that are all Good doubles; false where they are not, see storage.View.
	Goods(ctx context.Context, tag model.TagID, edges []int64, asked rollup.Asked, into *storage.Goods) (bool, error)
	// Offer hands a taker the samples of a tag, as rollups where those are enough for it, see storage.View.
	Offer(ctx context.Context, tag model.TagID, edges []int64, taker storage.Taker) error
	SamplesAsOf(tag model.TagID, in model.TimeRange, asOf int64) Cursor
	Modified(tag model.TagID, in model.TimeRange) ModifiedCursor
	SourceName(id uint32) string
	// Breaks is where gaps end the shape of a tag, nil where it has none; asOf as of RangeRequest. See storage.View.
	Breaks(tag model.TagID, asOf *int64) Breaks
	// GapsAsOf is the gaps of a tag that stand, or stood then, by their starts.
	GapsAsOf(tag model.TagID, asOf *int64) []model.Gap
	// AnnotationCount is how many annotations of a tag begin in a range, see storage.View. It may be called from several goroutines.
	AnnotationCount(tag model.TagID, in model.TimeRange) int
	// Forecasts is the forecast runs of a tag, the latest issued first, see storage.View.
	Forecasts(ctx context.Context, q storage.ForecastQuery) iter.Seq2[*storage.ForecastRun, error]
	// Days and DayContents say what there is in which UTC day, LogID and Offset as of which log and record, see storage.View.
	Days(ctx context.Context, tags []model.TagID) ([]storage.Day, error)
	DayContents(ctx context.Context, p keys.Partition, tags []model.TagID) iter.Seq2[storage.Content, error]
	LogID() [16]byte
	Offset() uint64
}

// Breaks is where gaps end the shape of a tag, see storage.Breaks. It is for one goroutine.
type Breaks interface {
	In(ctx context.Context, in model.TimeRange) ([]storage.Break, error)
	Gaps(ctx context.Context, in model.TimeRange) ([]model.Gap, error)
}

// Cursor delivers the samples of one tag after another, see storage.Cursor. A block holds until the next call of Next or
// Reset.
type Cursor interface {
	Reset(tag model.TagID, in model.TimeRange)
	// DecodeInto offers memory for the times and 8-byte values of the next block; whether it is used is the cursor's choice.
	DecodeInto(room func(n int) (times []int64, bits []uint64))
	Next(ctx context.Context) (*storage.Block, error)
	Close()
}

// ModifiedCursor delivers the values of one tag that no longer stand, see storage.ModifiedCursor.
type ModifiedCursor interface {
	Next(ctx context.Context) (*storage.ModifiedBlock, error)
	Close()
}

// FromDB is an open store as this package sees it.
func FromDB(db *storage.DB) Store { return dbStore{db} }

type dbStore struct{ db *storage.DB }

func (s dbStore) Catalog() Catalog { return s.db.Catalog() }

func (s dbStore) View(ctx context.Context, c storage.Consistency) (View, error) {
	v, err := s.db.View(ctx, c)
	if err != nil {
		return nil, err
	}
	return dbView{v}, nil
}

type dbView struct{ *storage.View }

func (v dbView) Samples(tag model.TagID, in model.TimeRange) Cursor { return v.View.Samples(tag, in) }

func (v dbView) SamplesAsOf(tag model.TagID, in model.TimeRange, asOf int64) Cursor {
	return v.View.SamplesAsOf(tag, in, asOf)
}

func (v dbView) Modified(tag model.TagID, in model.TimeRange) ModifiedCursor {
	return v.View.Modified(tag, in)
}

func (v dbView) Breaks(tag model.TagID, asOf *int64) Breaks {
	if b := v.View.Breaks(tag, asOf); b != nil {
		return b
	}
	return nil
}
