package storage

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// drawsNote is true once in n, where annotations are drawn at all.
func (h *history) drawsNote(n int) bool { return h.noteRNG != nil && h.noteRNG.IntN(n) == 0 }

// randomNote draws what makes an annotation, changes one or removes one: of few ids, so that some are taken, removed or not there.
func (h *history) randomNote() *testOp {
	r := h.noteRNG
	n := &record.Note{ID: model.UUID{15: byte(1 + r.IntN(25))}, Text: strings.Repeat("stuck ", 1+r.IntN(20)), Author: "ann"}
	switch r.IntN(4) {
	case 0, 1:
		from := int64(r.IntN(5*1440)-2*1440) * 60e9
		n.Tags = []model.TagID{model.TagID(1 + r.IntN(h.tags))}
		n.From, n.To = from, from+[]int64{1, 3600e9, 3 * 86400e9}[r.IntN(3)]
		if r.IntN(8) == 0 {
			n.From, n.To = model.All.Start, model.All.End
		}
	case 2:
		n.Text = ""
	}
	return &testOp{note: n}
}

// applyNote does to annotations what an operation says, and reports whether there was anything to be done.
func (o *testOp) applyNote(m plain.Notes) bool {
	if o.erase != 0 {
		m.Erase(o.tags, o.in, o.erase == record.ByPurge)
	}
	n := o.note
	if n == nil {
		return false
	}
	v := plain.NoteVersion{Author: n.Author, Text: n.Text, Ingest: o.ingest}
	if len(n.Tags) == 0 {
		return m.Change(n.ID, v)
	}
	return m.Make(n.ID, n.Tags[0], model.TimeRange{Start: n.From, End: n.To}, v)
}

// stepNote writes an annotation, or a change of one, to store and model.
func (h *history) stepNote() {
	op := h.randomNote()
	p, err := h.submitOp(op)
	require.NoError(h.t, err)
	err = p.waitOutcome(context.Background())
	switch {
	case op.applyNote(h.notes):
		require.NoError(h.t, err)
	case len(op.note.Tags) > 0:
		require.ErrorIs(h.t, err, ErrAnnotated)
	default:
		require.ErrorIs(h.t, err, ErrNoAnnotation)
	}
}

// plainNotes is annotations as the model has them.
func plainNotes(list []Annotation) plain.Notes {
	out := plain.Notes{}
	for _, a := range list {
		n := &plain.Note{Tag: a.Tag, In: a.In}
		for _, v := range a.Versions {
			n.Versions = append(n.Versions, plain.NoteVersion{Author: v.Author, Text: v.Text, Ingest: v.Ingest})
		}
		out[a.ID] = n
	}
	return out
}

// requireSameNotes holds the annotations of a store against the model: all, those of a range, and page by page.
func requireSameNotes(t testing.TB, db *DB, m plain.Notes) {
	rng := rand.New(rand.NewPCG(uint64(len(m)), 4))
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	bytes := int64(0)
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		from := int64(rng.IntN(5*1440)-2*1440) * 60e9
		for _, in := range []model.TimeRange{model.All, {Start: from, End: from + 1 + rng.Int64N(2*86400e9)}} {
			q := AnnotationQuery{Tag: tag, In: in, Removed: true, Limit: math.MaxInt}
			all := v.Annotations(q)
			require.Equal(t, m.Of(tag, in), plainNotes(all), "tag %d in %s", tag, in)
			require.True(t, slices.IsSortedFunc(all, func(a, b Annotation) int { return a.Place().compare(b.Place()) }))
			require.Equal(t, m.Count(tag, in), v.AnnotationCount(tag, in))
			var paged []Annotation
			for q.Limit = 2; ; {
				page := v.Annotations(q)
				paged = append(paged, page...)
				if len(page) < 2 {
					break
				}
				last := page[1].Place()
				q.After = &last
			}
			require.Equal(t, plainNotes(all), plainNotes(paged))
			q.Removed, q.After, q.Limit = false, nil, math.MaxInt
			standing := v.Annotations(q)
			require.Equal(t, plainNotes(slices.DeleteFunc(all, func(a Annotation) bool { return a.Removed() })), plainNotes(standing))
		}
		for _, a := range v.Annotations(AnnotationQuery{Tag: tag, In: model.All, Removed: true, Limit: math.MaxInt}) {
			bytes += a.bytes()
		}
	}
	require.Equal(t, bytes, db.notes.bytes)
}

// TestAnnotationsOfRandomHistories writes annotations between samples, range deletes and erasures, opens the store anew in between, and
// holds them against the plain model, in the store and in a copy of it; and a check finds nothing wrong.
func TestAnnotationsOfRandomHistories(t *testing.T) {
	for seed := range uint64(fewer(40)) {
		fs := vfs.NewMem()
		h := newHistory(t, seed, fs)
		ctx := context.Background()
		for i := range 60 {
			h.step()
			switch {
			case i%20 == 19:
				require.NoError(t, h.db.Close())
				h.open(fs)
			case i == 30:
				seal(t, h.db)
			case i == 50:
				require.NoError(t, h.db.FoldErased(ctx))
			}
			if i%10 == 0 {
				requireSameNotes(t, h.db, h.notes)
			}
		}
		_, err := h.db.Checkpoint(ctx, "copy")
		require.NoError(t, err)
		require.NoError(t, h.db.Close())
		for _, dir := range []string{"store", "copy"} {
			_, err = Verify(ctx, dir, testOptions(fs), func(d Damage) { require.Fail(t, "damage", d.String()) }, nil)
			require.NoError(t, err)
			db, err := OpenReadOnly(dir, testOptions(fs))
			require.NoError(t, err)
			requireSameNotes(t, db, h.notes)
			require.NoError(t, db.Close())
		}
	}
}

// note writes an annotation with an id of its own.
func (h *history) note(id byte, tag model.TagID, in model.TimeRange, text string) {
	require.NoError(h.t, h.db.Annotate(context.Background(), model.UUID{id}, tag, in, "ann", text))
}

// standing is the texts that stand on a tag.
func (h *history) standing(tag model.TagID) (texts []string) {
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(h.t, err)
	defer v.Close()
	for _, a := range v.Annotations(AnnotationQuery{Tag: tag, In: model.All, Limit: 100}) {
		texts = append(texts, a.Newest().Text)
	}
	return texts
}

// TestPurgeTakesAnnotationsOffTheDisk: those that lie in the range go with all they ever said, also of a range without samples; those
// that reach out of it, and those of the tag as a whole, stay.
func TestPurgeTakesAnnotationsOffTheDisk(t *testing.T) {
	for _, flushed := range []bool{true, false} {
		fs := vfs.NewMem()
		h := newHistory(t, 1, fs)
		ctx := context.Background()
		hour := int64(time.Hour)
		h.note(1, 1, model.Between(5*hour, 5*hour), "first secret")
		require.NoError(t, h.db.EditAnnotation(ctx, model.UUID{1}, "ann", "other secret"))
		h.note(2, 1, model.TimeRange{Start: 4 * hour, End: 6 * hour}, "third secret")
		require.NoError(t, h.db.RemoveAnnotation(ctx, model.UUID{2}, "ann"))
		h.note(3, 1, model.TimeRange{Start: 5 * hour, End: 7 * hour}, "reaches out")
		h.note(4, 1, model.All, "of the tag")
		h.note(5, 2, model.Between(5*hour, 5*hour), "of another")
		if flushed {
			_, err := h.db.Flush(ctx)
			require.NoError(t, err)
			require.NotEmpty(t, onDisk(fs, "store/lsm", []byte("other secret")))
		}
		_, err := h.db.Purge(ctx, []model.TagID{1}, model.TimeRange{Start: 4 * hour, End: 6 * hour}, "ann", "person named")
		require.NoError(t, err)
		require.Equal(t, []string{"of the tag", "reaches out"}, h.standing(1))
		h.write(1, model.Update, 2*day, 1e9, 3000, func(i int) float64 { return float64(i * i) }) // fills segments of the log
		require.NoError(t, h.db.FoldErased(ctx))
		for _, s := range []string{"first secret", "other secret", "third secret"} {
			require.Eventually(t, func() bool { return len(onDisk(fs, "store", []byte(s))) == 0 }, patience, 10*time.Millisecond, s)
		}
		require.ErrorIs(t, h.db.EditAnnotation(ctx, model.UUID{1}, "ann", "again"), ErrNoAnnotation)
		require.NoError(t, h.db.Close())
		h.open(fs)
		require.Equal(t, []string{"of the tag", "reaches out"}, h.standing(1))
		require.Equal(t, []string{"of another"}, h.standing(2))
		requireNoAlarms(t, h.db)
		_, err = h.db.Purge(ctx, []model.TagID{1}, model.All, "ann", "tag of a person")
		require.NoError(t, err)
		require.Empty(t, h.standing(1))
		require.NoError(t, h.db.Close())
	}
}

// TestHoldsKeepAnnotations: what retention takes leaves annotations that a hold has any of, however much of them lies outside.
func TestHoldsKeepAnnotations(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	h.note(1, 1, model.TimeRange{Start: 5, End: 3 * day}, "held")
	h.note(2, 1, model.TimeRange{Start: 5, End: 2 * day}, "ends before")
	h.note(3, 2, model.TimeRange{Start: 5, End: 3 * day}, "another tag")
	hold, err := h.db.Hold(ctx, []model.TagID{1}, model.TimeRange{Start: 2 * day, End: 2*day + 1}, "lee", "case 7")
	require.NoError(t, err)
	_, err = h.db.Purge(ctx, []model.TagID{1}, model.TimeRange{Start: 0, End: 4 * day}, "ann", "x")
	require.ErrorIs(t, err, ErrHeld)
	erase := func(from, to int64) {
		_, err := h.db.submitErasure(ctx, &record.Erasure{What: record.SamplesAndRollups, Cause: record.ByRetention, From: from, To: to}, nil)
		require.NoError(t, err)
	}
	h.note(4, 2, model.Between(-9*day, -9*day), "in a time that was erased before")
	erase(0, day)
	require.Len(t, h.standing(2), 1)
	require.Len(t, h.standing(1), 2, "their ends are still there")
	erase(day, 4*day)
	require.Equal(t, []string{"held"}, h.standing(1))
	require.Empty(t, h.standing(2))
	_, err = h.db.ReleaseHold(ctx, hold, "lee", "closed")
	require.NoError(t, err)
	erase(day, 4*day)
	require.Empty(t, h.standing(1))
	require.NoError(t, h.db.Close())
}

// TestSecondCopyOfAnnotations: a damaged row of the first copy costs an alarm and no annotation, and a check names it.
func TestSecondCopyOfAnnotations(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	h.note(1, 1, model.Between(5, 5), "valve stuck")
	require.NoError(t, h.db.EditAnnotation(ctx, model.UUID{1}, "lee", "valve stuck, replaced"))
	_, err := h.db.Flush(ctx)
	require.NoError(t, err)
	key := noteKey(model.UUID{1}, h.db.notes.byID[model.UUID{1}].Versions[1].Offset)
	value, closer, err := h.db.engine.Get(key)
	require.NoError(t, err)
	bad := slices.Clone(value)
	require.NoError(t, closer.Close())
	bad[20] ^= 1
	require.NoError(t, h.db.engine.Set(key, bad, pebble.NoSync))
	require.NoError(t, h.db.engine.Flush())
	require.NoError(t, h.db.Close())
	var found []string
	_, err = Verify(ctx, "store", testOptions(fs), func(d Damage) { found = append(found, d.Part) }, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"annotations, first copy"}, found)
	h.open(fs)
	require.Equal(t, []string{"valve stuck, replaced"}, h.standing(1))
	require.Equal(t, "store_damaged", h.db.Status().Alarms[0].Name)
	require.NoError(t, h.db.Close())
}

// TestAViewKeepsItsAnnotations: what is written, edited or removed behind a view is not in it.
func TestAViewKeepsItsAnnotations(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	h.note(1, 1, model.Between(5, 5), "one")
	h.note(2, 1, model.Between(6, 6), "two")
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	require.NoError(t, h.db.EditAnnotation(ctx, model.UUID{1}, "lee", "uno"))
	require.NoError(t, h.db.RemoveAnnotation(ctx, model.UUID{2}, "lee"))
	h.note(3, 1, model.Between(4, 4), "three")
	got := v.Annotations(AnnotationQuery{Tag: 1, In: model.All, Limit: 10})
	require.Len(t, got, 2)
	require.Equal(t, []string{"one", "two"}, []string{got[0].Newest().Text, got[1].Newest().Text})
	require.Equal(t, 2, v.AnnotationCount(1, model.All))
	v.Close()
	require.Equal(t, []string{"three", "uno"}, h.standing(1))
	require.NoError(t, h.db.Close())
}

// TestLimitsOfAnnotations: what is refused is refused at the door, and a removal never is.
func TestLimitsOfAnnotations(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.AnnotationBytes = 1 << 20
	db, err := Open("store", o)
	require.NoError(t, err)
	ctx := context.Background()
	long := strings.Repeat("x", MaxAnnotationText)
	require.ErrorIs(t, db.Annotate(ctx, model.UUID{1}, 1, model.All, "ann", long+"x"), ErrBadBatch)
	require.ErrorIs(t, db.Annotate(ctx, model.UUID{1}, 1, model.All, "ann", ""), ErrBadBatch)
	require.ErrorIs(t, db.Annotate(ctx, model.UUID{1}, 1, model.TimeRange{Start: 5, End: 5}, "ann", "x"), ErrBadBatch)
	require.ErrorIs(t, db.EditAnnotation(ctx, model.UUID{1}, "ann", "x"), ErrNoAnnotation)
	require.ErrorIs(t, db.RemoveAnnotation(ctx, model.UUID{1}, "ann"), ErrNoAnnotation)
	require.NoError(t, db.Annotate(ctx, model.UUID{1}, 1, model.All, "ann", "x"))
	require.ErrorIs(t, db.Annotate(ctx, model.UUID{1}, 2, model.All, "ann", "x"), ErrAnnotated)
	for err == nil {
		err = db.EditAnnotation(ctx, model.UUID{1}, "ann", long[:3<<10])
	}
	require.ErrorIs(t, err, ErrNoteQuota)
	require.ErrorContains(t, err, "was edited 254 times")
	a, err := db.Annotation(model.UUID{1})
	require.NoError(t, err)
	require.Len(t, a.Versions, MaxAnnotationVersions-1)
	err = nil
	for n := byte(2); err == nil; n++ {
		err = db.Annotate(ctx, model.UUID{n}, 2, model.All, "ann", long)
	}
	require.ErrorIs(t, err, ErrNoteQuota)
	require.ErrorContains(t, err, "annotations take")
	require.NoError(t, db.RemoveAnnotation(ctx, model.UUID{1}, "ann"))
	require.ErrorIs(t, db.EditAnnotation(ctx, model.UUID{1}, "ann", "y"), ErrNoAnnotation)
	require.ErrorIs(t, db.Annotate(ctx, model.UUID{1}, 2, model.All, "ann", "x"), ErrAnnotated)
	_, err = db.Annotation(model.UUID{15: 9})
	require.ErrorIs(t, err, ErrNoAnnotation)
	require.NoError(t, db.Close())
}

// TestRowsOfAnnotationsThatDoNotFit are damage, whatever their checksum says.
func TestRowsOfAnnotationsThatDoNotFit(t *testing.T) {
	n := exampleNote
	row := noteRow(nil, 5, record.AppendNote(nil, &n)).value
	key := noteKey(n.ID, 7)[1:]
	require.NoError(t, new(DB).loadNote(key, row))
	require.ErrorIs(t, new(DB).loadNote(key[:20], row), ErrCorrupt)
	require.ErrorIs(t, new(DB).loadNote(noteKey(model.UUID{1}, 7)[1:], row), ErrCorrupt)
	for cut := range row {
		require.ErrorIs(t, new(DB).loadNote(key, row[:cut]), ErrCorrupt)
	}
	edit := record.Note{ID: n.ID, Text: "x"}
	require.ErrorIs(t, new(DB).loadNote(key, noteRow(nil, 5, record.AppendNote(nil, &edit)).value), ErrCorrupt, "of nothing")
	require.Equal(t, keys.Notes, keys.Space(noteKey(n.ID, 7)[0]))
}
