package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// A range delete is one record and one row, however many samples it takes away. The generation ends behind its record, so
// that everything in generations up to it came before and everything behind came after: whether a chunk is concerned
// follows from its generation and nothing has to be written beside it. Reads leave out what is; a seal writes the values as
// history. A seal of a partition folds all range deletes up to it, for every tag.

// MaxDeleteTags is the most tags of one range delete.
const MaxDeleteTags = 10_000

// RangeDelete is a range delete as it was made, and whether it was undone.
type RangeDelete struct {
	Offset         uint64 // of its record, and its name
	Ingest         int64  // nanoseconds UTC
	Tags           []model.TagID
	In             model.TimeRange
	Author, Reason string
	Undone         *Undelete // nil while it holds
}

// Undelete is who made a range delete undone, when and why.
type Undelete struct {
	Offset         uint64
	Ingest         int64
	Author, Reason string
}

// rangeOp is a range delete, or with undo the undoing of the one at that offset. It is never changed.
type rangeOp struct {
	offset         uint64
	ingest         int64
	undo           uint64
	tags           []model.TagID
	in             model.TimeRange
	author, reason string
}

// rangeOps is all of a store, in order. DB.mu guards it; what is in it is never changed.
type rangeOps struct {
	all   []*rangeOp
	byTag map[model.TagID][]*rangeOp
}

func (r *rangeOps) add(op *rangeOp) {
	if r.byTag == nil {
		r.byTag = map[model.TagID][]*rangeOp{}
	}
	r.all = append(r.all, op)
	for _, t := range op.tags {
		r.byTag[t] = append(r.byTag[t], op)
	}
}

// find is the range delete at an offset, and what undid it.
func (r *rangeOps) find(offset uint64) (d, undone *rangeOp) {
	for _, op := range r.all {
		switch offset {
		case op.offset:
			if op.undo == 0 {
				d = op
			}
		case op.undo:
			undone = op
		}
	}
	return d, undone
}

// DeleteRange removes the samples of tags in a range, as one record. What was removed stays readable as versions, and
// stands again after Undelete of the offset that is returned.
func (db *DB) DeleteRange(ctx context.Context, tags []model.TagID, in model.TimeRange, author, reason string) (uint64, error) {
	tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	if len(tags) == 0 || len(tags) > MaxDeleteTags || in.Empty() || in.Reverse || tags[0] == 0 {
		return 0, fmt.Errorf("delete %s of %d tags, most is %d: %w", in, len(tags), MaxDeleteTags, ErrBadBatch)
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.Delete, Revision: db.catalog.Revision()})
	return db.submitOp(ctx, record.AppendDelete(payload, &record.DeleteRange{Tags: tags, From: in.Start, To: in.End, Author: author, Reason: reason}))
}

// Undelete lets what a range delete took away stand again, except where something was written since. It must not be
// older than UndeleteWindow.
func (db *DB) Undelete(ctx context.Context, offset uint64, author, reason string) (uint64, error) {
	db.mu.RLock()
	d, undone := db.ops.find(offset)
	db.mu.RUnlock()
	if d == nil || undone != nil {
		return 0, notDeleted(offset)
	}
	if age := time.Duration(db.o.Now().UnixNano() - d.ingest); age > db.o.UndeleteWindow {
		return 0, fmt.Errorf("range delete %d is %s old, it could be undone for %s: %w", offset, age, db.o.UndeleteWindow, ErrUndeleteWindow)
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.Undelete})
	return db.submitOp(ctx, record.AppendUndelete(payload, &record.UndeleteRange{Offset: offset, Author: author, Reason: reason}))
}

func notDeleted(offset uint64) error {
	return fmt.Errorf("range delete %d: there is none, or it is undone: %w", offset, ErrNotDeleted)
}

func (db *DB) submitOp(ctx context.Context, payload []byte) (uint64, error) {
	p, err := db.submit(ctx, payload)
	if err != nil {
		return 0, err
	}
	if err := p.waitOutcome(ctx); err != nil {
		return 0, err
	}
	return p.offset, nil
}

// Deletes is every range delete there was, oldest first.
func (db *DB) Deletes() []RangeDelete {
	db.mu.RLock()
	all := db.ops.all
	db.mu.RUnlock()
	var out []RangeDelete
	at := map[uint64]int{}
	for _, op := range all {
		if op.undo != 0 {
			out[at[op.undo]].Undone = &Undelete{op.offset, op.ingest, op.author, op.reason}
			continue
		}
		at[op.offset] = len(out)
		out = append(out, RangeDelete{Offset: op.offset, Ingest: op.ingest, Tags: op.tags, In: op.in, Author: op.author, Reason: op.reason})
	}
	return out
}

// rangeOp applies a Delete or Undelete record. DB.mu is held, and let go of while newest samples are looked for.
func (a *applier) rangeOp(offset uint64, h record.Header, body []byte) (outcome, error) {
	db := a.db
	op, err := db.decodeOp(offset, h.Ingest, h.Kind, body)
	if errors.Is(err, ErrNotDeleted) || errors.Is(err, ErrErased) {
		return outcome{err: err}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	db.ops.add(op)
	db.noteOp(offset, h, body)
	for _, tag := range op.tags {
		if _, ok := db.catalog.Type(tag); !ok {
			continue
		}
		newest := db.latest.row(tag)
		switch {
		case op.undo != 0:
			err = db.findNewestUpTo(tag, model.All.End)
		case newest.typ != 0 && op.in.Contains(newest.time):
			err = db.findNewest(tag)
		default:
			continue
		}
		if err != nil {
			return outcome{}, err
		}
		db.latest.touch(tag)
	}
	return outcome{}, nil
}

func (db *DB) decodeOp(offset uint64, ingest int64, kind record.Kind, body []byte) (*rangeOp, error) {
	if kind == record.Delete {
		d, err := record.DecodeDelete(body)
		if err != nil {
			return nil, err
		}
		return &rangeOp{offset: offset, ingest: ingest, tags: d.Tags, in: model.TimeRange{Start: d.From, End: d.To}, author: d.Author, reason: d.Reason}, nil
	}
	u, err := record.DecodeUndelete(body)
	if err != nil {
		return nil, err
	}
	d, undone := db.ops.find(u.Offset)
	if d == nil || undone != nil {
		return nil, notDeleted(u.Offset)
	}
	for _, tag := range d.tags {
		if floor := db.erasures.floor(tag); d.ingest < floor {
			return nil, fmt.Errorf("range delete %d: what it took away was erased: versions that ended before %s are: %w", u.Offset, model.FormatTime(floor), ErrErased)
		}
	}
	return &rangeOp{offset: offset, ingest: ingest, undo: u.Offset, tags: d.tags, in: d.in, author: u.Author, reason: u.Reason}, nil
}

// Rows of range deletes, erasures, holds and retention rules are version 1: ingest time, kind of the record, its body,
// CRC-32C of all before it.
const opVersion = 1

// noteOp keeps such a record for ever: who took what away, and why. DB.mu is held.
func (db *DB) noteOp(offset uint64, h record.Header, body []byte) {
	key := binary.BigEndian.AppendUint64(nil, offset)
	db.pendingRows = append(db.pendingRows, twice(keys.Deletes, keys.DeletesMirror, key, opRow(h.Ingest, h.Kind, body)))
}

func opRow(ingest int64, kind record.Kind, body []byte) []byte {
	v := append(make([]byte, 0, 14+len(body)), opVersion)
	v = binary.LittleEndian.AppendUint64(v, uint64(ingest))
	v = append(append(v, byte(kind)), body...)
	return binary.LittleEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))
}

// loadOp takes a row. Those before it are taken already: what ends something names it.
func (db *DB) loadOp(key, value []byte) error {
	if err := checkRow(value, opVersion, 0); err != nil {
		return fmt.Errorf("read range delete: %w", err)
	}
	if len(key) != 8 || len(value) < 14 {
		return fmt.Errorf("read range delete: key of %d bytes, value of %d: %w", len(key), len(value), ErrCorrupt)
	}
	offset := binary.BigEndian.Uint64(key)
	h := record.Header{Kind: record.Kind(value[9]), Ingest: int64(binary.LittleEndian.Uint64(value[1:]))}
	if err := db.takeOp(offset, h, value[10:len(value)-4]); err != nil {
		return fmt.Errorf("read range delete: %w: %w", ErrCorrupt, err)
	}
	return nil
}

func (db *DB) takeOp(offset uint64, h record.Header, body []byte) error {
	switch h.Kind {
	case record.Delete, record.Undelete:
		op, err := db.decodeOp(offset, h.Ingest, h.Kind, body)
		if err == nil {
			db.ops.add(op)
		}
		return err
	case record.Erase:
		e, err := db.decodeErasure(offset, h.Ingest, body)
		if err == nil {
			db.addErasure(e)
		}
		return err
	case record.HoldErase:
		return db.ledger.hold(offset, h.Ingest, body)
	case record.RetentionRule:
		return db.ledger.rule(offset, h.Ingest, body)
	}
	return fmt.Errorf("kind %d: %w", h.Kind, ErrCorrupt)
}

func (db *DB) loadDeletes() error {
	err := db.scan(keys.Deletes, db.loadOp)
	if err == nil || !isDamage(err) {
		return err
	}
	db.alarms.raise("store_damaged", fmt.Sprintf("%v: the second copy is used", err))
	db.ops, db.ledger, db.erasures = rangeOps{}, ledger{}, &erasures{}
	return db.scan(keys.DeletesMirror, db.loadOp)
}

// opsOf is the range deletes and their undoings of a tag that the sources know, in order.
func (s *sources) opsOf(tag model.TagID) []*rangeOp {
	if !s.ops {
		return nil
	}
	s.db.mu.RLock()
	all := s.db.ops.byTag[tag]
	s.db.mu.RUnlock()
	n := len(all)
	for n > 0 && all[n-1].offset > s.offset {
		n--
	}
	return all[:n:n]
}

// openOps is the ops that are not folded into the sealed data of a partition.
func openOps(ops []*rangeOp, p keys.Partition, sealed uint64) []*rangeOp {
	var out []*rangeOp
	in := p.Range()
	for _, op := range ops {
		if op.offset > sealed && op.in.Start < in.End && in.Start < op.in.End {
			out = append(out, op)
		}
	}
	return out
}

// holding is the range deletes among ops that are not undone, and whether one is undone that is folded: what it took away
// is found in the history only.
func holding(ops []*rangeOp) (hold []*rangeOp, folded bool) {
	for _, op := range ops {
		if op.undo != 0 {
			folded = folded || !slices.ContainsFunc(ops, func(d *rangeOp) bool { return d.offset == op.undo })
			continue
		}
		if !slices.ContainsFunc(ops, func(u *rangeOp) bool { return u.undo == op.offset }) {
			hold = append(hold, op)
		}
	}
	return hold, folded
}

// undoneBy is the range deletes that ops undid up to an offset.
func undoneBy(ops []*rangeOp, offset uint64) []uint64 {
	var out []uint64
	for _, op := range ops {
		if op.undo != 0 && op.offset <= offset {
			out = append(out, op.undo)
		}
	}
	return out
}

// before reports whether all of the piece was written before a record that ended a generation.
func (s *sources) before(x *piece, offset uint64) bool {
	switch {
	case x.age >= headAge:
		return s.heads[x.age-headAge].After < offset
	case x.key.Kind.Sealed():
		return true // else it would be folded
	}
	return x.age <= offset
}

// opAge is where an op stands in the order of events.
func (s *sources) opAge(offset uint64) uint64 {
	if offset <= s.newest {
		return offset
	}
	age := uint64(headAge)
	for i, h := range s.heads {
		if h.After < offset {
			age = headAge + uint64(i)
		}
	}
	return age
}

// cutTaken takes out the pieces that the record of an offset took away whole, and notes the range to be taken out of others.
func (c *Cursor) cutTaken(offset uint64, in model.TimeRange) {
	c.pieces = slices.DeleteFunc(c.pieces, func(x piece) bool {
		return len(x.gone) == 0 && in.Contains(x.first) && in.Contains(x.last) && c.src.before(&x, offset)
	})
	for i := range c.pieces {
		if x := &c.pieces[i]; in.Overlaps(x.first, x.last) && c.src.before(x, offset) {
			x.cuts = append(x.cuts, in)
		}
	}
}

// without is the samples of d outside of ranges.
func without(d *chunk.Data, cuts []model.TimeRange) *chunk.Data {
	out := &chunk.Data{}
	out.Samples.Reset(d.Type)
	cut := func(i int) bool {
		return slices.ContainsFunc(cuts, func(r model.TimeRange) bool { return r.Contains(d.Times[i]) })
	}
	for l := (lane{data: d}); l.i < len(d.Times); {
		o := l.origin()
		end := len(d.Times)
		if o.Samples > 0 {
			end = min(end, l.i+o.Samples-l.used)
		}
		to, gone := l.i+1, cut(l.i)
		for to < end && cut(to) == gone {
			to++
		}
		if !gone {
			appendSamples(out, d, l.i, to)
			addOrigin(out, o, to-l.i)
		}
		l.skip(to - l.i)
	}
	return out
}

// opRank puts an op behind everything of its age.
const opRank = math.MaxInt

// opEvent is what an op did to a key, if anything.
func (s *sources) opEvent(op *rangeOp, at key, t model.Type) event {
	row := chunk.VersionRow{
		Sample: model.Sample{Time: at.time, Seq: at.seq, Type: t, Null: true}, Kind: model.Removed,
		Offset: op.offset, Ingest: op.ingest, Author: op.author, Reason: op.reason,
	}
	return event{VersionRow: row, age: s.opAge(op.offset), rank: opRank, op: op}
}
