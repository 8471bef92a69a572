package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// A gap says that samples of a tag are missing for a range of time. What a record says of one is a row of its own for each tag, so
// that an end or a withdrawal leaves the earlier word where it is; all of them are in memory too, by tag. Only an Erase record takes any
// away: the generation it ends has their rows deleted. What reads make of gaps is in breaks.go.

// Limits of gaps.
const (
	MaxGapTags   = 10_000 // of one record
	MaxGapSource = 256    // bytes of a source's name
	MaxGapReason = 1024   // bytes
)

// Gap is a gap of a tag, and what became of it.
type Gap struct {
	model.Gap // as it was reported
	Tag       model.TagID
	// Versions is what each of its records made it, oldest first.
	Versions []GapVersion
}

// GapVersion is what a gap was until the next one.
type GapVersion struct {
	Offset         uint64 // of its log record
	Ingest         int64  // nanoseconds UTC
	To             int64  // its end; model.OpenGap while it is not known
	Withdrawn      bool
	Author, Reason string
}

// Newest is what the gap is by its last record.
func (g *Gap) Newest() *GapVersion { return &g.Versions[len(g.Versions)-1] }

// Place is where the gap stands among those of its tag.
func (g *Gap) Place() GapPlace { return GapPlace{g.From, g.ID} }

// GapPlace orders the gaps of a tag: by their start, then by id.
type GapPlace struct {
	From int64
	ID   uint64
}

func (p GapPlace) compare(q GapPlace) int {
	return cmp.Or(cmp.Compare(p.From, q.From), cmp.Compare(p.ID, q.ID))
}

// until is the gap as its first versions made it, up to the first one that is too late; false where already the first is.
func (g *Gap) until(late func(*GapVersion) bool) (Gap, bool) {
	n := 0
	for n < len(g.Versions) && !late(&g.Versions[n]) {
		n++
	}
	out := *g
	out.Versions = g.Versions[:n:n]
	return out, n > 0
}

// bytes is about what a gap takes in memory.
func (g *Gap) bytes() (n int64) {
	n = 120 + int64(len(g.Source))
	for i := range g.Versions {
		n += g.Versions[i].bytes()
	}
	return n
}

func (v *GapVersion) bytes() int64 { return int64(72 + len(v.Author) + len(v.Reason)) }

// gaps is the gaps of a store. DB.mu guards it; of what is in it only the Versions of a Gap ever grow.
type gaps struct {
	byTag map[model.TagID][]*Gap // by place
	bytes int64
}

// find is where a place is, or would be, among the gaps of a tag.
func (s *gaps) find(tag model.TagID, at GapPlace) (int, bool) {
	return slices.BinarySearchFunc(s.byTag[tag], at, func(g *Gap, p GapPlace) int { return g.Place().compare(p) })
}

// add adds a gap that a record reports.
func (s *gaps) add(g *Gap) {
	if s.byTag == nil {
		s.byTag = map[model.TagID][]*Gap{}
	}
	at, _ := s.find(g.Tag, g.Place())
	s.byTag[g.Tag] = slices.Insert(s.byTag[g.Tag], at, g)
	s.bytes += g.bytes()
}

func (s *gaps) change(g *Gap, v GapVersion) {
	g.Versions = append(g.Versions, v)
	s.bytes += v.bytes()
}

// standing is the gaps of a tag that are not withdrawn and for which is says so.
func (s *gaps) standing(tag model.TagID, is func(*Gap) bool) (out []*Gap) {
	for _, g := range s.byTag[tag] {
		if !g.Newest().Withdrawn && is(g) {
			out = append(out, g)
		}
	}
	return out
}

// takeState applies a CollectorState record: tag by tag a gap, its end, or its withdrawal. A gap that stands just so already is not
// made again, so that who got no answer may send it once more. DB.mu is held.
func (db *DB) takeState(offset uint64, ingest int64, body []byte) (outcome, error) {
	s, err := record.DecodeState(body)
	if err != nil {
		return outcome{}, err
	}
	tags := slices.Compact(slices.Sorted(slices.Values(s.Tags)))
	v := GapVersion{Offset: offset, Ingest: ingest, To: s.To, Author: s.Author, Reason: s.Reason}
	switch s.State {
	case record.Missing:
		if s.From >= s.To || s.From < model.MinTime {
			return outcome{err: fmt.Errorf("gap from %d to %d: %w", s.From, s.To, ErrBadBatch)}, nil
		}
		db.filters.missing(&s, db.head, db.catalog)
		for _, tag := range tags {
			same := func(g *Gap) bool {
				return g.From == s.From && g.Newest().To == s.To && g.Kind == s.Gap && g.Source == s.Source
			}
			if len(db.gaps.standing(tag, same)) > 0 {
				continue
			}
			g := &Gap{Tag: tag, Versions: []GapVersion{v}, Gap: model.Gap{
				ID: offset, Kind: s.Gap, From: s.From, To: s.To, Source: s.Source, Recorded: ingest,
			}}
			db.gaps.add(g)
			db.keepGap(g, &s)
		}
	case record.Alive:
		v.To = s.From
		for _, tag := range tags {
			for _, g := range db.gaps.standing(tag, func(g *Gap) bool { return endedBy(g, &s) }) {
				db.gaps.change(g, v)
				db.keepGap(g, &s)
			}
		}
	case record.Withdrawn:
		if len(s.Tags) == 0 {
			tags = slices.Sorted(maps.Keys(db.gaps.byTag))
		}
		found := false
		v.Withdrawn = true
		for _, tag := range tags {
			for _, g := range db.gaps.standing(tag, func(g *Gap) bool { return g.ID == s.Of }) {
				v.To = g.Newest().To
				db.gaps.change(g, v)
				db.keepGap(g, &s)
				found = true
			}
		}
		if !found {
			return outcome{err: fmt.Errorf("gap %d: %w", s.Of, ErrNoGap)}, nil
		}
	}
	return outcome{}, nil
}

// endedBy reports whether a gap is ended by a record that says that a source, or everything, is read again.
func endedBy(g *Gap, s *record.State) bool {
	return g.Newest().To == model.OpenGap && g.From < s.From && (s.Source == "" || s.Source == g.Source)
}

// keepGap writes the row of the newest version of a gap, which a record made.
func (db *DB) keepGap(g *Gap, s *record.State) {
	one := *s
	one.Tags = []model.TagID{g.Tag}
	r := noteRow(gapKey(g.Tag, g.ID, g.Newest().Offset), g.Newest().Ingest, record.AppendState(nil, &one))
	r.again = keys.GapsMirror
	db.pendingRows = append(db.pendingRows, r)
}

// gapKey is the key of what the record at an offset says of a gap of a tag.
func gapKey(tag model.TagID, id, offset uint64) []byte {
	b := binary.BigEndian.AppendUint32([]byte{byte(keys.Gaps)}, uint32(tag))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, id), offset)
}

// gapRow is a row of a gap.
type gapRow struct {
	record.State
	id, offset uint64
	ingest     int64
}

// decodeGap reads a row of a gap, its key without the space.
func decodeGap(key, value []byte) (r gapRow, err error) {
	if err := checkRow(value, noteVersion, 0); err != nil {
		return r, fmt.Errorf("read gap: %w", err)
	}
	if len(key) != 20 || len(value) < 13 {
		return r, fmt.Errorf("read gap: key of %d bytes, value of %d: %w", len(key), len(value), ErrCorrupt)
	}
	tag := model.TagID(binary.BigEndian.Uint32(key))
	r.id, r.offset = binary.BigEndian.Uint64(key[4:]), binary.BigEndian.Uint64(key[12:])
	r.ingest = int64(binary.LittleEndian.Uint64(value[1:]))
	if r.State, err = record.DecodeState(value[9 : len(value)-4]); err != nil {
		return r, fmt.Errorf("read gap: %w: %w", ErrCorrupt, err)
	}
	fits := len(r.Tags) == 1 && r.Tags[0] == tag
	switch r.State.State {
	case record.Missing:
		fits = fits && r.id == r.offset && r.From < r.To
	case record.Withdrawn:
		fits = fits && r.Of == r.id && r.id < r.offset
	default:
		fits = fits && r.State.State == record.Alive && r.id < r.offset
	}
	if !fits {
		return r, fmt.Errorf("read gap: its key says tag %d, gap %d, record %d, the row does not: %w", tag, r.id, r.offset, ErrCorrupt)
	}
	return r, nil
}

// loadGap takes a row. Those of one gap come oldest first.
func (db *DB) loadGap(key, value []byte) error {
	r, err := decodeGap(key, value)
	if err != nil {
		return err
	}
	tag := r.Tags[0]
	v := GapVersion{Offset: r.offset, Ingest: r.ingest, To: r.To, Author: r.Author, Reason: r.Reason}
	if r.State.State == record.Missing {
		db.gaps.add(&Gap{Tag: tag, Versions: []GapVersion{v}, Gap: model.Gap{
			ID: r.id, Kind: r.Gap, From: r.From, To: r.To, Source: r.Source, Recorded: r.ingest,
		}})
		return nil
	}
	found := db.gaps.standing(tag, func(g *Gap) bool { return g.ID == r.id })
	if len(found) != 1 || r.State.State == record.Alive && found[0].From >= r.From {
		return fmt.Errorf("read gap: record %d changes gap %d of tag %d, which does not stand: %w", r.offset, r.id, tag, ErrCorrupt)
	}
	v.To = r.From
	if r.State.State == record.Withdrawn {
		v.To, v.Withdrawn = found[0].Newest().To, true
	}
	db.gaps.change(found[0], v)
	return nil
}

func (db *DB) loadGaps() error {
	err := db.scan(keys.Gaps, db.loadGap)
	if err == nil || !isDamage(err) {
		return err
	}
	db.alarms.raise("store_damaged", fmt.Sprintf("%v: the second copy is used", err))
	db.gaps = gaps{}
	return db.scan(keys.GapsMirror, db.loadGap)
}

// eraseGaps takes away for good the gaps that an erasure takes, as eraseNotes does annotations. An open one ends with time itself.
// DB.mu is held.
func (db *DB) eraseGaps(e *erasure) {
	for tag, list := range db.gaps.byTag {
		db.gaps.byTag[tag] = slices.DeleteFunc(list, func(g *Gap) bool {
			if !e.takesBeside(tag, model.TimeRange{Start: g.From, End: g.Newest().To}) {
				return false
			}
			db.gaps.bytes -= g.bytes()
			for i := range g.Versions {
				db.pendingRows = append(db.pendingRows, row{key: gapKey(tag, g.ID, g.Versions[i].Offset), again: keys.GapsMirror})
			}
			return true
		})
		if len(db.gaps.byTag[tag]) == 0 {
			delete(db.gaps.byTag, tag)
		}
	}
}

// RecordGap reports that samples of tags are missing for [from, to), to model.OpenGap where the end is not known, and is the id of the
// gaps it made: of none that stands just so already. ErrGapQuota where gaps take too much memory.
func (db *DB) RecordGap(ctx context.Context, tags []model.TagID, g model.Gap, author, reason string) (uint64, error) {
	if g.From >= g.To || g.From < model.MinTime || g.Kind < model.NotCollected || g.Kind > model.Thinned {
		return 0, fmt.Errorf("gap from %d to %d of kind %s: %w", g.From, g.To, g.Kind, ErrBadBatch)
	}
	db.mu.RLock()
	have := db.gaps.bytes
	db.mu.RUnlock()
	each := (&Gap{Gap: g, Versions: []GapVersion{{Author: author, Reason: reason}}}).bytes()
	if have+each*int64(len(tags)) > db.o.GapBytes {
		return 0, fmt.Errorf("gaps take %d bytes, those of %d tags more are about %d, most is %d: %w", have, len(tags), each*int64(len(tags)), db.o.GapBytes, ErrGapQuota)
	}
	return db.submitState(ctx, 1, &record.State{
		Source: g.Source, State: record.Missing, Gap: g.Kind, Tags: tags, From: g.From, To: g.To, Author: author, Reason: reason,
	})
}

// EndGaps ends the open gaps of tags that began before an instant, there: those of a source, or of every source where none is named.
func (db *DB) EndGaps(ctx context.Context, tags []model.TagID, at int64, source, author, reason string) (uint64, error) {
	return db.submitState(ctx, 1, &record.State{Source: source, State: record.Alive, Tags: tags, From: at, To: at, Author: author, Reason: reason})
}

// WithdrawGap says that the gaps of an id are none, of tags or, where none are named, of all that have it. They stay readable. ErrNoGap
// where none stands. Like EndGaps it answers with the offset of its record, which GapsChanged takes.
func (db *DB) WithdrawGap(ctx context.Context, id uint64, tags []model.TagID, author, reason string) (uint64, error) {
	return db.submitState(ctx, 0, &record.State{State: record.Withdrawn, Tags: tags, Of: id, Author: author, Reason: reason})
}

// submitState waits until a record is applied, and is its offset.
func (db *DB) submitState(ctx context.Context, least int, s *record.State) (uint64, error) {
	if n := len(s.Tags); n < least || n > MaxGapTags || slices.Contains(s.Tags, 0) {
		return 0, fmt.Errorf("gaps of %d tags, least is %d, most is %d: %w", n, least, MaxGapTags, ErrBadBatch)
	}
	if len(s.Source) > MaxGapSource || len(s.Reason) > MaxGapReason {
		return 0, fmt.Errorf("gaps with a source of %d bytes and a reason of %d, most are %d and %d: %w", len(s.Source), len(s.Reason), MaxGapSource, MaxGapReason, ErrBadBatch)
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.CollectorState, Revision: db.catalog.Revision()})
	return db.submitOp(ctx, record.AppendState(payload, s))
}

// OpenGaps is where the last open gap that a source reported of each tag begins, of those tags that have one.
func (db *DB) OpenGaps(tags []model.TagID, source string) map[model.TagID]int64 {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if len(db.gaps.byTag) == 0 {
		return nil
	}
	open := map[model.TagID]int64{}
	for _, tag := range tags {
		for _, g := range db.gaps.standing(tag, func(g *Gap) bool { return g.Source == source && g.Newest().To == model.OpenGap }) {
			open[tag] = g.From // they are in order
		}
	}
	return open
}

// GapsChanged is how many gaps of tags the record at an offset made, ended or withdrew; of all tags where none are named.
func (db *DB) GapsChanged(tags []model.TagID, offset uint64) (n int) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if len(tags) == 0 {
		tags = slices.Collect(maps.Keys(db.gaps.byTag))
	}
	for _, tag := range slices.Compact(slices.Sorted(slices.Values(tags))) {
		for _, g := range db.gaps.byTag[tag] {
			if slices.ContainsFunc(g.Versions, func(v GapVersion) bool { return v.Offset == offset }) {
				n++
			}
		}
	}
	return n
}

// GapQuery asks for gaps of a tag.
type GapQuery struct {
	Tag       model.TagID
	In        model.TimeRange // those of which any instant lies in it
	Withdrawn bool            // those that were withdrawn too
	After     *GapPlace
	Limit     int
}

// Gaps is the first gaps that a query asks for, by place. What was erased since the view was taken is not there.
func (v *View) Gaps(q GapQuery) (out []Gap) {
	db := v.src.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	from := 0
	if q.After != nil {
		at, found := db.gaps.find(q.Tag, *q.After)
		if from = at; found {
			from++
		}
	}
	for _, x := range db.gaps.byTag[q.Tag][from:] {
		if x.From >= q.In.End || len(out) == q.Limit {
			break
		}
		g, ok := x.until(v.later)
		if ok && g.Newest().To > q.In.Start && (q.Withdrawn || !g.Newest().Withdrawn) {
			out = append(out, g)
		}
	}
	return out
}

// later reports whether a version is not in the view.
func (v *View) later(x *GapVersion) bool { return x.Offset > v.src.offset }

// GapsAsOf is the gaps of a tag that stood at an instant of ingest time, as SamplesAsOf takes it; nil for those that stand now. They
// are in order of their starts.
func (v *View) GapsAsOf(tag model.TagID, asOf *int64) (out []model.Gap) {
	last := int64(math.MaxInt64)
	if asOf != nil {
		last = chunk.Second(*asOf)
	}
	db := v.src.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	if t := db.catalog.Retyped(tag); t != nil { // gaps are of a tag, whatever its type was
		tag = t.ID
	}
	for _, x := range db.gaps.byTag[tag] {
		g, ok := x.until(func(y *GapVersion) bool { return v.later(y) || chunk.Second(y.Ingest) > last })
		if ok && !g.Newest().Withdrawn {
			g.Gap.To = g.Newest().To
			out = append(out, g.Gap)
		}
	}
	return out
}
