package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// An Erase record takes what tags have in a range for good. As with a range delete the generation ends behind it, so that
// reads leave out at once whatever came before; then the sealer takes it off the disk (fold.go), partition by partition.
// What is written into the range later stands.

// erasure is an Erase record as it was applied. It is never changed.
type erasure struct {
	offset         uint64
	ingest         int64
	what           record.What
	cause          record.Cause
	class          string
	tags           *roaring.Bitmap // nil: all
	in             model.TimeRange // of versions: of the ingest times at which they ended
	held           []*hold         // those in force when it was applied
	author, reason string
}

// hold keeps what tags have in a range from being erased.
type hold struct {
	offset         uint64
	ingest         int64
	tags           *roaring.Bitmap // nil: all
	in             model.TimeRange
	author, reason string
}

func (h *hold) has(tag model.TagID) bool { return h.tags == nil || h.tags.Contains(uint32(tag)) }

// erased is what an erasure takes of one tag.
type erased struct {
	offset uint64
	gone   bool // nothing of it is left on the disk
	ingest int64
	what   record.What
	in     model.TimeRange
}

// of appends what the erasure takes of a tag.
func (e *erasure) of(tag model.TagID, dst []erased) []erased {
	if e.tags != nil && !e.tags.Contains(uint32(tag)) {
		return dst
	}
	left := []model.TimeRange{e.in}
	for _, h := range e.held {
		if !h.has(tag) {
			continue
		}
		kept := h.in
		switch e.what {
		case record.OldVersions: // by ingest time: what a hold keeps cannot be told apart
			return dst
		case record.OldSamples: // days are whole
			kept = model.TimeRange{Start: keys.DayOf(kept.Start).Range().Start, End: keys.DayOf(kept.End - 1).Range().End}
		}
		left = apart(left, kept)
	}
	for _, in := range left {
		dst = append(dst, erased{offset: e.offset, ingest: e.ingest, what: e.what, in: in})
	}
	return dst
}

// apart is the parts of ranges that lie outside of another.
func apart(ranges []model.TimeRange, out model.TimeRange) (left []model.TimeRange) {
	for _, r := range ranges {
		before, behind := r, r
		before.End, behind.Start = min(r.End, out.Start), max(r.Start, out.End)
		for _, x := range []model.TimeRange{before, behind} {
			if !x.Empty() {
				left = append(left, x)
			}
		}
	}
	return left
}

// erasures is what a store has of them. It is never changed: a change makes another one, so that a view keeps its own.
type erasures struct {
	open   []*erasure // of samples, ascending, still on disk somewhere; and of versions until every partition was looked at
	done   []*erasure // of samples, folded everywhere; those of one class are one
	floors []*erasure // of versions, those of one class are one
	closes bool       // samples alone were erased: see closedUntil
}

// with is the erasures with one more.
func (s *erasures) with(e *erasure) *erasures {
	next := *s
	next.open = append(slices.Clip(s.open), e)
	if e.what == record.OldVersions {
		next.floors = joined(s.floors, e)
	}
	next.closes = s.closes || e.what == record.OldSamples
	return &next
}

// joined is a list with one more erasure, which takes in an earlier one of the same class. Not if a tag has left the class since:
// what is erased of the class later does not concern it.
func joined(list []*erasure, e *erasure) []*erasure {
	if e.cause == record.ByRetention && len(e.held) == 0 {
		for i, x := range list {
			if x.cause != e.cause || x.class != e.class || x.what != e.what || len(x.held) > 0 || x.in.End < e.in.Start || e.in.End < x.in.Start || !hasAll(e.tags, x.tags) {
				continue
			}
			one := *e
			one.in = model.TimeRange{Start: min(x.in.Start, e.in.Start), End: max(x.in.End, e.in.End)}
			list = slices.Clone(list)
			list[i] = &one
			return list
		}
	}
	return append(slices.Clip(list), e)
}

// hasAll reports whether tags, nil for all, have every one of others.
func hasAll(tags, others *roaring.Bitmap) bool {
	return tags == nil || others != nil && others.AndCardinality(tags) == others.GetCardinality()
}

// none reports whether nothing was ever erased.
func (s *erasures) none() bool { return len(s.open)+len(s.done)+len(s.floors) == 0 }

// of is what was erased of a tag's samples by records up to an offset.
func (s *erasures) of(tag model.TagID, offset uint64) (out []erased) {
	for _, e := range s.open {
		if e.offset <= offset && e.what != record.OldVersions {
			out = e.of(tag, out)
		}
	}
	n := len(out)
	for _, e := range s.done {
		out = e.of(tag, out)
	}
	for i := n; i < len(out); i++ {
		out[i].gone = true
	}
	return out
}

// floor is the instant of ingest time before which versions of a tag have to have ended to be gone; MinTime for none.
func (s *erasures) floor(tag model.TagID) int64 {
	floor := int64(model.MinTime)
	for _, e := range s.floors {
		for _, x := range e.of(tag, nil) {
			floor = max(floor, x.in.End)
		}
	}
	return floor
}

// closedUntil is the instant before which nothing can be written of a tag, because its rollups there outlived their
// samples; MinTime where anything can.
func (s *erasures) closedUntil(tag model.TagID) int64 {
	until := int64(model.MinTime)
	if !s.closes {
		return until
	}
	for _, list := range [][]*erasure{s.open, s.done} {
		for _, e := range list {
			if e.what != record.OldSamples {
				continue
			}
			for _, x := range e.of(tag, nil) {
				until = max(until, x.in.End)
			}
		}
	}
	return until
}

// erase applies an Erase record. DB.mu is held, and let go of while newest samples are looked for.
func (a *applier) erase(offset uint64, h record.Header, body []byte) (outcome, error) {
	db := a.db
	e, err := db.decodeErasure(offset, h.Ingest, body)
	if errors.Is(err, ErrHeld) || errors.Is(err, ErrBadBatch) {
		return outcome{err: err}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	db.addErasure(e)
	db.noteOp(offset, h, body)
	if err := db.eraseRuns(e); err != nil {
		return outcome{}, err
	}
	if e.what == record.OldVersions {
		return outcome{}, nil
	}
	db.eraseNotes(e)
	db.eraseGaps(e)
	var buf [4]erased
	for tag := model.TagID(1); int(tag) <= db.catalog.Len(); tag++ {
		newest := db.latest.row(tag)
		if newest.typ == 0 || !e.in.Contains(newest.time) {
			continue
		}
		if !slices.ContainsFunc(e.of(tag, buf[:0]), func(x erased) bool { return x.in.Contains(newest.time) }) {
			continue
		}
		if err := db.findNewest(tag); err != nil {
			return outcome{}, err
		}
		db.latest.touch(tag)
	}
	return outcome{}, nil
}

// addErasure takes one more into what reads look at. DB.mu is held.
func (db *DB) addErasure(e *erasure) {
	db.ledger.erasures = append(db.ledger.erasures, e)
	db.erasures = db.erasures.with(e)
	db.noteKeptLocked(nil)
}

func (db *DB) decodeErasure(offset uint64, ingest int64, body []byte) (*erasure, error) {
	x, err := record.DecodeErasure(body)
	if err != nil {
		return nil, err
	}
	tags, err := decodeTags(x.Tags)
	if err != nil {
		return nil, err
	}
	e := &erasure{
		offset: offset, ingest: ingest, what: x.What, cause: x.Cause, class: x.Class, tags: tags,
		in: model.TimeRange{Start: x.From, End: x.To}, author: x.Author, reason: x.Reason,
	}
	whole := func(t int64) bool { return keys.DayOf(t).Range().Start == t }
	if e.in.Empty() || e.what == record.OldSamples && !(whole(e.in.Start) && (e.in.End == model.All.End || whole(e.in.End))) {
		return nil, fmt.Errorf("erase %s: of samples alone it must be whole days: %w", e.in, ErrBadBatch)
	}
	for _, h := range db.ledger.holds {
		if e.what != record.OldVersions && (h.in.Start >= e.in.End || e.in.Start >= h.in.End) || e.tags != nil && h.tags != nil && !e.tags.Intersects(h.tags) {
			continue
		}
		if e.cause == record.ByPurge {
			return nil, fmt.Errorf("purge %s: hold %d keeps %s of such tags: %w", e.in, h.offset, h.in, ErrHeld)
		}
		e.held = append(e.held, h)
	}
	for i := len(db.ledger.erasures) - 1; i >= 0; i-- { // those of a class mostly have the same tags
		if last := db.ledger.erasures[i]; last.class == e.class && last.tags != nil && e.tags != nil {
			if last.tags.Equals(e.tags) {
				e.tags = last.tags
			}
			break
		}
	}
	return e, nil
}

// decodeTags reads the bitmap of a record; nil for all tags.
func decodeTags(b []byte) (*roaring.Bitmap, error) {
	if len(b) == 0 {
		return nil, nil
	}
	set := roaring.New()
	if err := decodePartitions(set, b); err != nil {
		return nil, fmt.Errorf("bitmap of tags: %w: %w", record.ErrCorrupt, err)
	}
	return set, nil
}

// encodeTags is the bitmap of tags as a record has it.
func encodeTags(tags *roaring.Bitmap) ([]byte, error) {
	tags.RunOptimize()
	return tags.ToBytes()
}

// erasedOf is what was erased of the samples of a tag that the sources know of.
func (s *sources) erasedOf(tag model.TagID) []erased {
	if s.erasures.none() {
		return nil
	}
	return s.erasures.of(tag, s.offset)
}

// cutErased takes out of the pieces what was erased and is still there.
func (c *Cursor) cutErased(p keys.Partition) {
	if len(c.erased) == 0 {
		return
	}
	folded, in := foldedThrough(c.src.directory.of(p)), p.Range()
	for i := range c.erased {
		if x := &c.erased[i]; c.hides(x, folded, in) {
			c.cutTaken(x.offset, x.in)
		}
	}
}

// hides reports whether an erasure hides something of a partition, into which those up to an offset are folded.
func (c *Cursor) hides(x *erased, folded uint64, in model.TimeRange) bool {
	return x.open(folded, in) && !(c.deep && x.what == record.OldSamples)
}

// erases reports whether anything is to be cut out of a partition.
func (c *Cursor) erases(p keys.Partition) bool {
	return len(c.erased) > 0 && slices.ContainsFunc(c.erased, func(x erased) bool {
		return c.hides(&x, foldedThrough(c.src.directory.of(p)), p.Range())
	})
}

// thinned reports whether the tag's samples of a partition are off the disk and its rollups stay.
func (c *Cursor) thinned(p keys.Partition) bool {
	thin := uint64(0)
	for i := range c.erased {
		if x := &c.erased[i]; x.what == record.OldSamples && covers(x.in, p) && (x.gone || x.offset <= foldedThrough(c.src.directory.of(p))) {
			thin = max(thin, x.offset)
		}
	}
	return thin > 0 && !slices.ContainsFunc(c.erased, func(x erased) bool {
		return x.what == record.SamplesAndRollups && x.offset > thin && covers(x.in, p)
	})
}

// covers reports whether a range has all of a partition.
func covers(in model.TimeRange, p keys.Partition) bool {
	r := p.Range()
	return in.Start <= r.Start && in.End >= r.End
}

// open reports whether anything of a partition, into which Erase records up to an offset are folded, may still be there.
func (x *erased) open(folded uint64, in model.TimeRange) bool {
	return !x.gone && x.offset > folded && x.in.Start < in.End && in.Start < x.in.End
}

// withoutErased takes out of the history of a partition what was erased.
func (c *Cursor) withoutErased(p keys.Partition, events []event) []event {
	if len(c.erased) == 0 {
		return events
	}
	folded, in := foldedThrough(c.src.directory.of(p)), p.Range()
	for i := range c.erased {
		x := &c.erased[i]
		if !x.open(folded, in) {
			continue
		}
		age := c.src.opAge(x.offset)
		events = slices.DeleteFunc(events, func(e event) bool { return e.age <= age && x.in.Contains(e.Time) })
	}
	return events
}

// sinceFloor takes out of settled events the values that ended before an instant of ingest time, and the removals that
// ended them where nothing of their key is left. The first that is left of a key was inserted, as far as anybody knows.
func sinceFloor(events []event, floor int64) []event {
	if floor == model.MinTime {
		return events
	}
	kept := events[:0:0]
	for from := 0; from < len(events); {
		to := from + 1
		for to < len(events) && events[to].key() == events[from].key() {
			to++
		}
		first := from
		for first+1 < to && events[first+1].Ingest < floor {
			first++
		}
		if x := &events[first]; x.Kind == model.Removed && x.Ingest < floor {
			first++
		}
		if first < to {
			n := len(kept)
			kept = append(kept, events[first:to]...)
			if first > from && kept[n].Kind == model.Replaced {
				kept[n].Kind = model.Inserted
			}
		}
		from = to
	}
	return kept
}

// errErased says that a read asks for something that was erased.
func errErased(in model.TimeRange, format string, a ...any) error {
	return fmt.Errorf("%s: %s: %w", in, fmt.Sprintf(format, a...), ErrErased)
}

// known is an error if what stood at an instant of ingest time can no longer be told.
func (c *Cursor) known() error {
	second := c.past.asOf
	for _, x := range c.erased {
		if chunk.Second(x.ingest) > second && x.in.Start < c.in.End && c.in.Start < x.in.End {
			return errErased(x.in, "what stood before it was erased at %s is gone", model.FormatTime(x.ingest))
		}
	}
	if floor := c.src.erasures.floor(c.tag); chunk.Second(floor) > second && floor != model.MinTime {
		return errErased(c.in, "versions that ended before %s were erased, and what stood before then is not known", model.FormatTime(floor))
	}
	return nil
}

// Purge takes the samples of tags in a range for good, with their history and rollups, as one record. Reads no longer have
// them when it returns; FoldErased waits until they are off the disk. ErrHeld if a hold keeps any of it.
func (db *DB) Purge(ctx context.Context, tags []model.TagID, in model.TimeRange, author, reason string) (uint64, error) {
	set := tagSet(tags)
	if len(tags) == 0 || set.Contains(0) || in.Empty() || in.Reverse {
		return 0, fmt.Errorf("purge %s of %d tags: %w", in, len(tags), ErrBadBatch)
	}
	return db.submitErasure(ctx, &record.Erasure{
		What: record.SamplesAndRollups, Cause: record.ByPurge, From: in.Start, To: in.End, Author: author, Reason: reason,
	}, set)
}

// FoldErased takes everything that was erased off the disk now. Old copies of it may be in backups.
func (db *DB) FoldErased(ctx context.Context) error {
	if _, err := db.Flush(ctx); err != nil {
		return err
	}
	if err := errors.Join(db.foldAll(ctx), db.letGo(ctx)); err != nil {
		return err
	}
	if db.tier.own == nil {
		return nil
	}
	db.sealer.mu.Lock()
	defer db.sealer.mu.Unlock()
	return db.sweepTier()
}

func tagSet(tags []model.TagID) *roaring.Bitmap {
	set := roaring.New()
	for _, t := range tags {
		set.Add(uint32(t))
	}
	return set
}

// submitErasure submits an Erase record; no set is all tags. It is let through while space is low: it makes room.
func (db *DB) submitErasure(ctx context.Context, e *record.Erasure, tags *roaring.Bitmap) (uint64, error) {
	if tags != nil {
		b, err := encodeTags(tags)
		if err != nil {
			return 0, err
		}
		e.Tags = b
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.Erase, Revision: db.catalog.Revision()})
	p, err := db.submitAnyway(ctx, record.AppendErasure(payload, e))
	if err != nil {
		return 0, err
	}
	if err := p.waitOutcome(ctx); err != nil {
		return 0, err
	}
	return p.offset, nil
}
