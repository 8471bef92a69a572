package storage

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/log"
	"github.com/varvedb/varve/storage/record"
)

// Position is a place in the order of changes: behind every record before Offset and the first Index samples of that one.
// Of a range change Index is the tag to go on with.
type Position struct {
	Offset uint64
	Index  uint32
}

// Tokens are version 1: id of the log, offset, index, CRC-32C of all before it, in URL-safe base64.
const (
	tokenVersion = 1
	tokenSize    = 1 + 16 + 8 + 4 + 4
)

// Token is a position as text that outlives the process. It is of this log only.
func (db *DB) Token(p Position) string {
	id := db.log.ID()
	b := append(make([]byte, 0, tokenSize), tokenVersion)
	b = append(b, id[:]...)
	b = binary.LittleEndian.AppendUint64(b, p.Offset)
	b = binary.LittleEndian.AppendUint32(b, p.Index)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken is the position of a token. It answers [ErrBadToken] for what is none, and [ErrForeignToken] for one of
// another store, or of this one before it was restored from a backup.
func (db *DB) ParseToken(s string) (Position, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != tokenSize || b[0] != tokenVersion ||
		crc32.Checksum(b[:tokenSize-4], castagnoli) != binary.LittleEndian.Uint32(b[tokenSize-4:]) {
		return Position{}, fmt.Errorf("token %.80q: %w", s, ErrBadToken)
	}
	p := Position{Offset: binary.LittleEndian.Uint64(b[17:]), Index: binary.LittleEndian.Uint32(b[25:])}
	if id := db.log.ID(); [16]byte(b[1:17]) != id || p.Offset > db.log.HighWatermark()+1 {
		return Position{}, fmt.Errorf("token %.80q, position %d: %w", s, p.Offset, ErrForeignToken)
	}
	return p, nil
}

// Now is the position behind everything applied.
func (db *DB) Now() Position { return Position{Offset: db.applied.value() + 1} }

// Oldest is the first position that the log still has.
func (db *DB) Oldest() Position { return Position{Offset: db.log.LowWatermark()} }

// Since is the position of the first record ingested at an instant or later. Where the log may have had such records and
// does not any more, it is a position before the log's first: a reader is told what it misses.
func (db *DB) Since(ctx context.Context, ingest int64) (Position, error) {
	c := db.Changes(db.Oldest())
	defer c.Close()
	// The segment whose first record is the last one before the instant has the position; all before it need not be read.
	for _, s := range slices.Backward(db.log.Segments()) {
		if s.First < c.next.Offset {
			continue
		}
		x := db.Changes(Position{Offset: s.First})
		first, err := x.nextBefore(ctx, db.Now())
		x.Close()
		if err == nil && first.Kind != ChangeLost && first.Ingest < ingest {
			c.next = Position{Offset: s.First}
			break
		}
	}
	for begun := c.next; ; {
		at := c.next
		x, err := c.nextBefore(ctx, db.Now())
		switch {
		case errors.Is(err, errAtEnd):
			return at, nil
		case err != nil:
			return Position{}, err
		case x.Kind == ChangeLost || x.Ingest < ingest:
			continue
		case at == begun && at.Offset > 1:
			return Position{Offset: 1}, nil
		}
		return at, nil
	}
}

// ChangeKind says what a Change is about.
type ChangeKind uint8

const (
	ChangeNothing ChangeKind = iota // a record that changes no sample
	ChangeSamples                   // runs of samples, see Run
	ChangeRange                     // whatever tags have in ranges, see Ranges
	ChangeCatalog                   // tags or state sets
	ChangeLost                      // records that cannot be read any more
)

// Change is what one log record did.
type Change struct {
	Kind           ChangeKind
	Offset         uint64
	Ingest         int64        // nanoseconds UTC
	Author, Reason string       // of an edit, else empty
	Effect         model.Effect // of a range change
	Lost           OffsetRange
}

// ChangeRun is what a record did to samples of one tag. Of a removed sample there is time and seq only. The memory is the
// reader's and holds until its next call.
type ChangeRun struct {
	Tag     model.TagID
	Samples model.Samples
	Effects []model.Effect // of each sample, never EffectNone; nil: all are EffectNew
	Index   []uint32       // where in the record each stands, ascending; nil: one after the other from First on
	First   uint32
}

// IndexAt is where in the record sample i stands.
func (r *ChangeRun) IndexAt(i int) uint32 {
	if r.Index == nil {
		return r.First + uint32(i)
	}
	return r.Index[i]
}

// Changes reads what records did, one after the other in the order of the log, as far as they are applied: each record
// once and none left out, or told as ChangeLost. It reads the log's files and holds nothing back, so that how fast it is
// read is nobody else's concern; the log is trimmed all the same (Options.KeepLogBytes). It is for one goroutine and must be closed.
type Changes struct {
	db      *DB
	reader  *log.Reader // nil until it is needed
	next    Position
	skip    uint32   // samples of the record at hand that are in front of the position
	effects *effects // the generation read last, as stored; nil for none

	batch  record.Batch
	run    record.Run
	entry  entryReader
	index  uint32 // of its first sample
	out    ChangeRun
	ranges rangeChange
}

// Changes is a reader that begins at a position.
func (db *DB) Changes(from Position) *Changes { return &Changes{db: db, next: from} }

// Close lets go of files.
func (c *Changes) Close() {
	if c.reader != nil {
		_ = c.reader.Close()
		c.reader = nil
	}
}

// Position is behind the record that Next returned last.
func (c *Changes) Position() Position { return c.next }

// Ready reports whether Next would not wait.
func (c *Changes) Ready() bool { return c.db.applied.value() >= c.next.Offset }

// Next waits for the next record to be applied and says what it did. After an error because ctx ended it can be called again.
func (c *Changes) Next(ctx context.Context) (Change, error) {
	if err := c.db.applied.wait(ctx, c.next.Offset); err != nil {
		return Change{}, err
	}
	offset, payload, err := c.read(ctx)
	var lost *log.LostError
	var trimmed *log.TrimmedError
	switch {
	case errors.As(err, &trimmed):
		return c.lost(trimmed.First), nil
	case errors.As(err, &lost):
		return c.lost(lost.Lost.End), nil
	case err != nil:
		return Change{}, fmt.Errorf("read log record %d: %w", c.next.Offset, err)
	}
	entry, known, err := c.effectsOf(offset)
	if err != nil {
		return Change{}, fmt.Errorf("read the effects of log record %d: %w", offset, err)
	}
	if known > offset {
		return c.lost(known), nil
	}
	x, err := c.open(offset, payload, entry)
	if err != nil {
		return Change{}, fmt.Errorf("read log record %d: %w", offset, err)
	}
	c.skip = c.next.Index
	c.next = Position{Offset: offset + 1}
	return x, nil
}

var errAtEnd = errors.New("nothing more before the end")

// nextBefore is Next, but for that nothing is waited for behind a position.
func (c *Changes) nextBefore(ctx context.Context, end Position) (Change, error) {
	if c.next.Offset >= end.Offset {
		return Change{}, errAtEnd
	}
	return c.Next(ctx)
}

func (c *Changes) read(ctx context.Context) (offset uint64, payload []byte, err error) {
	if c.reader == nil {
		if c.reader, err = c.db.log.NewReader(c.next.Offset); err != nil {
			return 0, nil, err
		}
	}
	return c.reader.Next(ctx)
}

// lost says that the records up to an offset cannot be read, and goes on there.
func (c *Changes) lost(end uint64) Change {
	x := Change{Kind: ChangeLost, Offset: c.next.Offset, Lost: OffsetRange{c.next.Offset, end}}
	c.Close()
	c.next, c.skip = Position{Offset: end}, 0
	return x
}

// effectsOf is the entry of an applied record. known is the first offset from there on whose effects are known: they are
// not where a release before this one wrote the generation, or where its row is damaged.
func (c *Changes) effectsOf(offset uint64) (entry []byte, known uint64, err error) {
	if e := c.effects; e != nil && e.after < offset && offset <= e.through {
		return e.of(offset), offset, nil
	}
	db := c.db
	db.mu.RLock()
	if db.closed.Load() {
		db.mu.RUnlock()
		return nil, 0, ErrClosed
	}
	if written := db.written; offset > written {
		defer db.mu.RUnlock()
		e := db.effects
		for i := len(db.noted) - 1; i >= 0 && e.after >= offset; i-- {
			e = db.noted[i]
		}
		return e.of(offset), offset, nil
	}
	known = db.written + 1
	db.readers.Add(1)
	db.mu.RUnlock()
	defer db.readers.Done()
	it, err := db.engine.NewIter(&pebble.IterOptions{
		LowerBound: keys.AppendOffset(nil, keys.Effects, offset), UpperBound: []byte{byte(keys.Effects) + 1},
	})
	if err != nil {
		return nil, 0, engineError("find its row", err)
	}
	defer it.Close()
	if !it.First() {
		return nil, known, engineError("find its row", it.Error())
	}
	e, err := decodeEffects(it.Key(), slices.Clone(it.Value()))
	if isDamage(err) {
		db.alarms.raise("store_damaged", fmt.Sprintf("%v: subscribers miss what these records did", err))
		if through, keyErr := keys.DecodeOffset(it.Key()); keyErr == nil {
			return nil, through + 1, nil
		}
		return nil, known, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if c.effects = e; e.after >= offset {
		return nil, e.after + 1, nil
	}
	return e.of(offset), offset, nil
}

// open reads the header of a record and what stands before its runs.
func (c *Changes) open(offset uint64, payload, entry []byte) (Change, error) {
	h, body, err := record.DecodeHeader(payload)
	if err != nil {
		return Change{}, err
	}
	x := Change{Offset: offset, Ingest: h.Ingest}
	switch h.Kind {
	case record.Samples, record.Edit:
		if err := c.entry.open(entry); err != nil || c.entry.none {
			return x, err
		}
		if err := c.batch.Open(h.Kind, body); err != nil {
			return x, err
		}
		c.index = 0
		x.Kind, x.Author, x.Reason = ChangeSamples, c.batch.Author, c.batch.Reason
	case record.CatalogChange:
		x.Kind = ChangeCatalog
	case record.Delete, record.Undelete, record.Erase:
		c.openRange(&x)
	}
	return x, nil
}

// Run is the next run of the record that Next returned, nil behind the last one. A run that changed nothing may be empty.
func (c *Changes) Run() (*ChangeRun, error) {
	ok, err := c.batch.Next(&c.run)
	if !ok || err != nil {
		return nil, err
	}
	in, first := &c.run.Samples, c.index
	c.index += uint32(in.Len())
	out := &c.out
	out.Tag = c.run.Tag
	allNew, err := c.entry.allNew(in.Len())
	if err != nil {
		return nil, err
	}
	if allNew {
		done := min(max(c.skip, first)-first, uint32(in.Len()))
		out.Samples, out.Effects, out.Index, out.First = in.Slice(int(done), in.Len()), nil, nil, first+done
		return out, nil
	}
	out.Samples = model.Samples{}
	out.Samples.Reset(in.Type)
	out.Effects, out.Index, out.First = out.Effects[:0], out.Index[:0], 0
	err = c.entry.each(in, func(i int, e model.Effect, seq uint32) {
		if e == model.EffectNone || first+uint32(i) < c.skip {
			return
		}
		x := model.Sample{Time: in.Times[i], Type: in.Type, Null: true}
		if e != model.EffectRemoved {
			x = in.At(i)
		}
		x.Seq = seq
		out.Samples.Append(x)
		out.Effects, out.Index = append(out.Effects, e), append(out.Index, first+uint32(i))
	})
	return out, err
}

// rangeChange is a range delete, its undoing or an erasure.
type rangeChange struct {
	op     *rangeOp
	erased *erasure
	tags   int // in the catalogue
}

// openRange finds what a record of a range did. One that was refused is not in the ledger, and changed nothing.
func (c *Changes) openRange(x *Change) {
	db := c.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	ops, erasures := db.ops.all, db.ledger.erasures
	if i := sort.Search(len(ops), func(i int) bool { return ops[i].offset >= x.Offset }); i < len(ops) && ops[i].offset == x.Offset {
		c.ranges = rangeChange{op: ops[i]}
		x.Kind, x.Effect, x.Author, x.Reason = ChangeRange, model.EffectDeleted, ops[i].author, ops[i].reason
		if ops[i].undo != 0 {
			x.Effect = model.EffectRestored
		}
		return
	}
	i := sort.Search(len(erasures), func(i int) bool { return erasures[i].offset >= x.Offset })
	if i == len(erasures) || erasures[i].offset != x.Offset || erasures[i].what == record.OldVersions {
		return
	}
	e := erasures[i]
	c.ranges = rangeChange{erased: e, tags: db.catalog.Len()}
	x.Kind, x.Effect, x.Author, x.Reason = ChangeRange, model.EffectErased, e.author, e.reason
}

// Ranges is the tags that the range change Next returned is about, ascending, each with the ranges of its sample times.
func (c *Changes) Ranges() iter.Seq2[model.TagID, []model.TimeRange] {
	from, r := model.TagID(max(c.skip, 1)), c.ranges
	return func(yield func(model.TagID, []model.TimeRange) bool) {
		if r.op != nil {
			for _, tag := range r.op.tags {
				if tag >= from && !yield(tag, []model.TimeRange{r.op.in}) {
					return
				}
			}
			return
		}
		var buf []erased
		for tag := from; int(tag) <= r.tags; tag++ {
			buf = r.erased.of(tag, buf[:0])
			if len(buf) == 0 {
				continue
			}
			ranges := make([]model.TimeRange, len(buf))
			for i, x := range buf {
				ranges[i] = x.in
			}
			if !yield(tag, ranges) {
				return
			}
		}
	}
}
