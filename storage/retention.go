package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/record"
)

// ledger is the records about what may go and what must stay. DB.mu guards it; slices and maps in it are replaced, never
// changed.
type ledger struct {
	erasures []*erasure // all there were, in order
	holds    []*hold    // in force
	released []released // those that were
	rules    map[string]RetentionRule
}

// released is a hold and the offset of the record that ended it.
type released struct {
	offset uint64
	hold   *hold
}

// RetentionRule says for how long the tags of a class keep what; 0 is for good. Samples are counted by their time, and go in
// whole UTC days; versions by the ingest time at which they ended. Rollups outlive samples where they are kept longer.
type RetentionRule struct {
	Class                      string // empty: tags without a class
	Versions, Samples, Rollups time.Duration
	Offset                     uint64 // of its record
	Since                      int64  // ingest time of that
	Author, Reason             string
}

// Hold keeps what tags have in a range from being erased, by whatever cause.
type Hold struct {
	Offset         uint64 // of its record, and its name
	Ingest         int64
	Tags           []model.TagID // nil: all
	In             model.TimeRange
	Author, Reason string
}

// Erasure is something that was erased.
type Erasure struct {
	Offset         uint64
	Ingest         int64
	What           record.What
	Cause          record.Cause
	Class          string
	Tags           int // how many; -1: all
	In             model.TimeRange
	Author, Reason string
	OnDisk         bool // some of it is not yet off the disk
}

// hold takes a HoldErase record.
func (l *ledger) hold(offset uint64, ingest int64, body []byte) error {
	x, err := record.DecodeHold(body)
	if err != nil {
		return err
	}
	if x.Release != 0 {
		at := slices.IndexFunc(l.holds, func(h *hold) bool { return h.offset == x.Release })
		if at < 0 {
			return fmt.Errorf("release hold %d: %w", x.Release, ErrNoHold)
		}
		l.released = append(slices.Clip(l.released), released{offset, l.holds[at]})
		l.holds = slices.Delete(slices.Clone(l.holds), at, at+1)
		return nil
	}
	tags, err := decodeTags(x.Tags)
	if err != nil {
		return err
	}
	l.holds = append(slices.Clip(l.holds), &hold{offset, ingest, tags, model.TimeRange{Start: x.From, End: x.To}, x.Author, x.Reason})
	return nil
}

// rule takes a RetentionRule record.
func (l *ledger) rule(offset uint64, ingest int64, body []byte) error {
	x, err := record.DecodeRule(body)
	if err != nil {
		return err
	}
	next := maps.Clone(l.rules)
	if next == nil {
		next = map[string]RetentionRule{}
	}
	next[x.Class] = RetentionRule{
		Class: x.Class, Versions: time.Duration(x.Versions), Samples: time.Duration(x.Samples), Rollups: time.Duration(x.Rollups),
		Offset: offset, Since: ingest, Author: x.Author, Reason: x.Reason,
	}
	l.rules = next
	return nil
}

// SetRetention makes a rule for a class, in place of the one it had.
func (db *DB) SetRetention(ctx context.Context, r *RetentionRule) (uint64, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.RetentionRule})
	return db.submitOp(ctx, record.AppendRule(payload, &record.Rule{
		Class: r.Class, Versions: int64(r.Versions), Samples: int64(r.Samples), Rollups: int64(r.Rollups), Author: r.Author, Reason: r.Reason,
	}))
}

// LeastRetention is the shortest time for which a rule may keep anything.
const LeastRetention = 24 * time.Hour

func (r *RetentionRule) check() error {
	for _, d := range []time.Duration{r.Versions, r.Samples, r.Rollups} {
		if d != 0 && d < LeastRetention {
			return fmt.Errorf("retention of class %q: keeping for %s, least is %s: %w", r.Class, d, LeastRetention, ErrBadBatch)
		}
	}
	if r.Samples == 0 && r.Rollups != 0 || r.Rollups != 0 && r.Rollups < r.Samples {
		return fmt.Errorf("retention of class %q: rollups for %s, samples for %s: rollups are kept as long as samples or longer: %w", r.Class, r.Rollups, r.Samples, ErrBadBatch)
	}
	return nil
}

// Retention is the rules that are in force, by class.
func (db *DB) Retention() []RetentionRule {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return slices.SortedFunc(maps.Values(db.ledger.rules), func(a, b RetentionRule) int { return order(a.Class < b.Class) })
}

// Hold keeps what tags have in a range from being erased until it is released; no tags are all, later ones included.
func (db *DB) Hold(ctx context.Context, tags []model.TagID, in model.TimeRange, author, reason string) (uint64, error) {
	if in.Empty() || in.Reverse || slices.Contains(tags, 0) {
		return 0, fmt.Errorf("hold %s of %d tags: %w", in, len(tags), ErrBadBatch)
	}
	x := record.Hold{From: in.Start, To: in.End, Author: author, Reason: reason}
	if len(tags) > 0 {
		b, err := encodeTags(tagSet(tags))
		if err != nil {
			return 0, err
		}
		x.Tags = b
	}
	return db.submitOp(ctx, record.AppendHold(record.AppendHeader(nil, record.Header{Kind: record.HoldErase}), &x))
}

// ReleaseHold ends a hold.
func (db *DB) ReleaseHold(ctx context.Context, offset uint64, author, reason string) (uint64, error) {
	x := record.Hold{Release: offset, Author: author, Reason: reason}
	return db.submitOp(ctx, record.AppendHold(record.AppendHeader(nil, record.Header{Kind: record.HoldErase}), &x))
}

// Holds is the holds in force, oldest first.
func (db *DB) Holds() []Hold {
	db.mu.RLock()
	holds := db.ledger.holds
	db.mu.RUnlock()
	out := make([]Hold, len(holds))
	for i, h := range holds {
		out[i] = Hold{Offset: h.offset, Ingest: h.ingest, In: h.in, Author: h.author, Reason: h.reason}
		if h.tags != nil {
			out[i].Tags = tagsOf(h.tags)
		}
	}
	return out
}

func tagsOf(set *roaring.Bitmap) []model.TagID {
	out := make([]model.TagID, 0, set.GetCardinality())
	for it := set.Iterator(); it.HasNext(); {
		out = append(out, model.TagID(it.Next()))
	}
	return out
}

// Erasures is everything that was ever erased, oldest first.
func (db *DB) Erasures() []Erasure {
	db.mu.RLock()
	all, open := db.ledger.erasures, db.erasures.open
	db.mu.RUnlock()
	out := make([]Erasure, len(all))
	for i, e := range all {
		out[i] = Erasure{
			Offset: e.offset, Ingest: e.ingest, What: e.what, Cause: e.cause, Class: e.class, Tags: -1, In: e.in,
			Author: e.author, Reason: e.reason, OnDisk: slices.Contains(open, e),
		}
		if e.tags != nil {
			out[i].Tags = int(e.tags.GetCardinality())
		}
	}
	return out
}
