package storage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// An annotation is a text on a tag, or on an instant or a range of it. What a record says of one is a row of its own, so that an
// edit or a removal leaves the earlier text where it is; all of them are in memory too, by id and by tag. Only an Erase record
// takes any away: the generation it ends has their rows deleted.

// Limits of annotations.
const (
	MaxAnnotationText     = 4 << 10 // bytes
	MaxAnnotationVersions = 256     // of one annotation
)

// Annotation is a text on a tag, and what the text was before.
type Annotation struct {
	ID  model.UUID
	Tag model.TagID
	In  model.TimeRange // a nanosecond long: of that instant; model.All: of the tag as a whole
	// Versions is what each of its records made it say, oldest first.
	Versions []AnnotationVersion
}

// AnnotationVersion is what an annotation said until the next one.
type AnnotationVersion struct {
	Offset       uint64 // of its log record
	Ingest       int64  // nanoseconds UTC
	Author, Text string // of a removal the text is empty
}

// Newest is what the annotation says last.
func (a *Annotation) Newest() *AnnotationVersion { return &a.Versions[len(a.Versions)-1] }

// Removed reports whether the annotation no longer stands.
func (a *Annotation) Removed() bool { return a.Newest().Text == "" }

// Place is where the annotation stands among those of its tag.
func (a *Annotation) Place() AnnotationPlace {
	return AnnotationPlace{a.In.Start, a.Versions[0].Offset}
}

// AnnotationPlace orders the annotations of a tag: by their start, then by the offset of the record that made them.
type AnnotationPlace struct {
	Start  int64
	Offset uint64
}

func (p AnnotationPlace) compare(q AnnotationPlace) int {
	return cmp.Or(cmp.Compare(p.Start, q.Start), cmp.Compare(p.Offset, q.Offset))
}

// upTo is the annotation as records up to an offset made it; false where none had.
func (a *Annotation) upTo(offset uint64) (Annotation, bool) {
	n := len(a.Versions)
	for n > 0 && a.Versions[n-1].Offset > offset {
		n--
	}
	b := *a
	b.Versions = a.Versions[:n:n]
	return b, n > 0
}

// bytes is about what an annotation takes in memory.
func (a *Annotation) bytes() (n int64) {
	n = 160
	for i := range a.Versions {
		n += a.Versions[i].bytes()
	}
	return n
}

func (v *AnnotationVersion) bytes() int64 { return int64(64 + len(v.Author) + len(v.Text)) }

// notes is the annotations of a store. DB.mu guards it; of what is in it only the Versions of an Annotation ever grow.
type notes struct {
	byID  map[model.UUID]*Annotation
	byTag map[model.TagID][]*Annotation // by place
	bytes int64
}

// take does what a record says of an annotation: ErrAnnotated where it makes one of an id that is taken, ErrNoAnnotation where it
// changes one that does not stand.
func (s *notes) take(n *record.Note, v AnnotationVersion) error {
	a := s.byID[n.ID]
	if len(n.Tags) == 0 {
		if a == nil || a.Removed() {
			return fmt.Errorf("annotation %s: %w", n.ID, ErrNoAnnotation)
		}
		a.Versions = append(a.Versions, v)
		s.bytes += v.bytes()
		return nil
	}
	in := model.TimeRange{Start: n.From, End: n.To}
	if len(n.Tags) > 1 || in.Empty() || v.Text == "" {
		return fmt.Errorf("annotation %s of %d tags in %s, %d bytes: %w", n.ID, len(n.Tags), in, len(v.Text), ErrBadBatch)
	}
	if a != nil {
		return fmt.Errorf("annotation %s: %w", n.ID, ErrAnnotated)
	}
	if s.byID == nil {
		s.byID, s.byTag = map[model.UUID]*Annotation{}, map[model.TagID][]*Annotation{}
	}
	a = &Annotation{ID: n.ID, Tag: n.Tags[0], In: in, Versions: []AnnotationVersion{v}}
	s.byID[a.ID] = a
	at, _ := s.find(a.Tag, a.Place())
	s.byTag[a.Tag] = slices.Insert(s.byTag[a.Tag], at, a)
	s.bytes += a.bytes()
	return nil
}

// find is where a place is, or would be, among the annotations of a tag.
func (s *notes) find(tag model.TagID, at AnnotationPlace) (int, bool) {
	return slices.BinarySearchFunc(s.byTag[tag], at, func(a *Annotation, p AnnotationPlace) int { return a.Place().compare(p) })
}

// remove forgets annotations for which gone says so, and calls each for them.
func (s *notes) remove(gone func(*Annotation) bool, each func(*Annotation)) {
	for tag, list := range s.byTag {
		s.byTag[tag] = slices.DeleteFunc(list, func(a *Annotation) bool {
			if !gone(a) {
				return false
			}
			each(a)
			delete(s.byID, a.ID)
			s.bytes -= a.bytes()
			return true
		})
		if len(s.byTag[tag]) == 0 {
			delete(s.byTag, tag)
		}
	}
}

// Annotations and gaps are kept as the bodies of the records that brought them, version 1: ingest time, body, CRC-32C of all before
// it.
const noteVersion = 1

func noteRow(key []byte, ingest int64, body []byte) row {
	v := append(make([]byte, 0, 13+len(body)), noteVersion)
	v = binary.LittleEndian.AppendUint64(v, uint64(ingest))
	v = append(v, body...)
	return row{key: key, value: binary.LittleEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))}
}

// annotate applies an Annotation record. DB.mu is held.
func (db *DB) annotate(offset uint64, ingest int64, body []byte) (outcome, error) {
	n, err := record.DecodeNote(body)
	if err != nil {
		return outcome{}, err
	}
	if err := db.notes.take(&n, AnnotationVersion{offset, ingest, n.Author, n.Text}); err != nil {
		return outcome{err: err}, nil
	}
	r := noteRow(noteKey(n.ID, offset), ingest, body)
	r.again = keys.NotesMirror
	db.pendingRows = append(db.pendingRows, r)
	return outcome{}, nil
}

// noteKey is the key of what the record at an offset says of an annotation.
func noteKey(id model.UUID, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{byte(keys.Notes)}, id[:]...), offset)
}

// decodeNote reads a row of an annotation, its key without the space.
func decodeNote(key, value []byte) (n record.Note, offset uint64, ingest int64, err error) {
	if err := checkRow(value, noteVersion, 0); err != nil {
		return n, 0, 0, fmt.Errorf("read annotation: %w", err)
	}
	if len(key) != len(n.ID)+8 || len(value) < 13 {
		return n, 0, 0, fmt.Errorf("read annotation: key of %d bytes, value of %d: %w", len(key), len(value), ErrCorrupt)
	}
	if n, err = record.DecodeNote(value[9 : len(value)-4]); err != nil {
		return n, 0, 0, fmt.Errorf("read annotation: %w: %w", ErrCorrupt, err)
	}
	if !bytes.Equal(n.ID[:], key[:len(n.ID)]) {
		return n, 0, 0, fmt.Errorf("read annotation: its key says %x, the row %s: %w", key[:len(n.ID)], n.ID, ErrCorrupt)
	}
	return n, binary.BigEndian.Uint64(key[len(n.ID):]), int64(binary.LittleEndian.Uint64(value[1:])), nil
}

// loadNote takes a row. Those of one annotation come oldest first.
func (db *DB) loadNote(key, value []byte) error {
	n, offset, ingest, err := decodeNote(key, value)
	if err != nil {
		return err
	}
	if err := db.notes.take(&n, AnnotationVersion{offset, ingest, n.Author, n.Text}); err != nil {
		return fmt.Errorf("read annotation: %w: %w", ErrCorrupt, err)
	}
	return nil
}

func (db *DB) loadNotes() error {
	err := db.scan(keys.Notes, db.loadNote)
	if err == nil || !isDamage(err) {
		return err
	}
	db.alarms.raise("store_damaged", fmt.Sprintf("%v: the second copy is used", err))
	db.notes = notes{}
	return db.scan(keys.NotesMirror, db.loadNote)
}

// takesNote reports whether an erasure takes an annotation: a purge one that lies in its range whole; what retention and the disk budget
// take goes bit by bit from the oldest on, so that these take what ended before their range does. None of which a hold has any.
func (e *erasure) takesNote(a *Annotation) bool { return e.takesBeside(a.Tag, a.In) }

// takesBeside is takesNote of anything that stands beside the samples of a tag in a range.
func (e *erasure) takesBeside(tag model.TagID, in model.TimeRange) bool {
	if e.what != record.SamplesAndRollups || e.tags != nil && !e.tags.Contains(uint32(tag)) || in.End > e.in.End ||
		e.cause == record.ByPurge && in.Start < e.in.Start {
		return false
	}
	return !slices.ContainsFunc(e.held, func(h *hold) bool { return h.has(tag) && in.Start < h.in.End && h.in.Start < in.End })
}

// eraseNotes takes away for good the annotations that an erasure takes, with the generation that its record ends. DB.mu is held.
func (db *DB) eraseNotes(e *erasure) {
	db.notes.remove(e.takesNote, func(a *Annotation) {
		for i := range a.Versions {
			db.pendingRows = append(db.pendingRows, row{key: noteKey(a.ID, a.Versions[i].Offset), again: keys.NotesMirror})
		}
	})
}

// Annotate writes an annotation under an id that no other has: a text on a tag in a range. ErrAnnotated where the id is taken,
// ErrNoteQuota where annotations take too much memory.
func (db *DB) Annotate(ctx context.Context, id model.UUID, tag model.TagID, in model.TimeRange, author, text string) error {
	if id == (model.UUID{}) || tag == 0 || in.Empty() || in.Reverse || in.Start < model.MinTime || text == "" {
		return fmt.Errorf("annotate tag %d in %s with %d bytes as %s: %w", tag, in, len(text), id, ErrBadBatch)
	}
	return db.submitNote(ctx, &record.Note{ID: id, Tags: []model.TagID{tag}, From: in.Start, To: in.End, Text: text, Author: author})
}

// EditAnnotation has an annotation say something else. ErrNoAnnotation where it does not stand.
func (db *DB) EditAnnotation(ctx context.Context, id model.UUID, author, text string) error {
	if text == "" {
		return fmt.Errorf("edit annotation %s: the text is empty: %w", id, ErrBadBatch)
	}
	return db.submitNote(ctx, &record.Note{ID: id, Text: text, Author: author})
}

// RemoveAnnotation ends an annotation. What it said stays readable. ErrNoAnnotation where it does not stand.
func (db *DB) RemoveAnnotation(ctx context.Context, id model.UUID, author string) error {
	return db.submitNote(ctx, &record.Note{ID: id, Author: author})
}

func (db *DB) submitNote(ctx context.Context, n *record.Note) error {
	if len(n.Text) > MaxAnnotationText {
		return fmt.Errorf("annotation of %d bytes, most is %d: %w", len(n.Text), MaxAnnotationText, ErrBadBatch)
	}
	if n.Text != "" {
		if err := db.roomForNote(n); err != nil {
			return err
		}
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.Annotation, Revision: db.catalog.Revision()})
	_, err := db.submitOp(ctx, record.AppendNote(payload, n))
	return err
}

// roomForNote is why a text is too much. Removals always have room.
func (db *DB) roomForNote(n *record.Note) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if have := db.notes.bytes; have+int64(len(n.Text)) > db.o.AnnotationBytes {
		return fmt.Errorf("annotations take %d bytes, most is %d: %w", have, db.o.AnnotationBytes, ErrNoteQuota)
	}
	if a := db.notes.byID[n.ID]; a != nil && len(n.Tags) == 0 && !a.Removed() && len(a.Versions) >= MaxAnnotationVersions-1 { // the last is for a removal
		return fmt.Errorf("annotation %s was edited %d times: remove it and make another: %w", n.ID, len(a.Versions)-1, ErrNoteQuota)
	}
	return nil
}

// Annotation is the annotation of an id as the newest record applied left it, also one that was removed.
func (db *DB) Annotation(id model.UUID) (Annotation, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	a := db.notes.byID[id]
	if a == nil {
		return Annotation{}, fmt.Errorf("annotation %s: %w", id, ErrNoAnnotation)
	}
	found, _ := a.upTo(math.MaxUint64)
	return found, nil
}

// AnnotationQuery asks for annotations of a tag.
type AnnotationQuery struct {
	Tag     model.TagID
	In      model.TimeRange // those of which any instant lies in it; those of the tag as a whole lie everywhere
	Removed bool            // those that no longer stand too
	After   *AnnotationPlace
	Limit   int
}

// Annotations is the first annotations that a query asks for, by place. What was erased since the view was taken is not there.
func (v *View) Annotations(q AnnotationQuery) (out []Annotation) {
	db := v.src.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	from := 0
	if q.After != nil {
		at, found := db.notes.find(q.Tag, *q.After)
		if from = at; found {
			from++
		}
	}
	for _, x := range db.notes.byTag[q.Tag][from:] {
		if x.In.Start >= q.In.End || len(out) == q.Limit {
			break
		}
		a, ok := x.upTo(v.src.offset)
		if ok && a.In.End > q.In.Start && (q.Removed || !a.Removed()) {
			out = append(out, a)
		}
	}
	return out
}

// AnnotationCount is how many annotations of a tag begin in a range; those of the tag as a whole begin nowhere.
func (v *View) AnnotationCount(tag model.TagID, in model.TimeRange) (n int) {
	db := v.src.db
	db.mu.RLock()
	defer db.mu.RUnlock()
	from, _ := db.notes.find(tag, AnnotationPlace{Start: in.Start})
	for _, x := range db.notes.byTag[tag][from:] {
		if x.In.Start >= in.End {
			break
		}
		if a, ok := x.upTo(v.src.offset); ok && a.In != model.All && !a.Removed() {
			n++
		}
	}
	return n
}
