package storage

import (
	"context"
	"math"
	"slices"

	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// Compression deviation, of tags that ask for it. A generation that ends is thinned while it is written: what is in the head has all
// samples, what is on disk those that were kept, of each tag the newest one always. Which those are follows from the records of the
// generation alone, so that no state of a filter has to outlast it. docs/design/filters-at-ingest.md.

// filters is the tags that ask. DB.mu guards it, the applying goroutine changes it.
type filters map[model.TagID]bool

func (f filters) has(tag model.TagID) bool { return len(f) > 0 && f[tag] }

func (f *filters) note(tag *model.Tag) {
	switch on := tag.Compression.Deviation > 0; {
	case on && *f == nil:
		*f = filters{tag.ID: true}
	case on:
		(*f)[tag.ID] = true
	default:
		delete(*f, tag.ID)
	}
}

// load takes the tags of a catalogue.
func (f *filters) load(c *catalog.Catalog) {
	for id := model.TagID(1); int(id) <= c.Len(); id++ {
		if tag, ok := c.Tag(id); ok && tag != nil {
			f.note(tag)
		}
	}
}

// follow takes changes just applied. What came before a change of what its filter does to a tag is not filtered by the new one.
func (f *filters) follow(changes []catalog.Change, results []catalog.Result, h *head.Head) {
	for i, ch := range changes {
		tag := results[i].Tag
		if tag == nil || results[i].Err != nil || ch.Create == nil && ch.Update == nil {
			continue
		}
		for _, id := range tag.EpochIDs() {
			if g := h.Tag(id); g != nil && ch.Update != nil && (ch.Update.Compression != nil || ch.Update.Settings != nil) {
				g.KeepAll()
			}
			now, _ := tag.In(id)
			f.note(now)
		}
	}
}

// missing takes a collector's report that samples are missing: both edges of the gap may be in a head, so all of it stays. A report
// about a source concerns whatever it sends.
func (f filters) missing(s *record.State, h *head.Head, c *catalog.Catalog) {
	if s.State != record.Missing {
		return
	}
	for id := range f {
		tag, ok := c.Tag(id)
		if g := h.Tag(id); g != nil && (len(s.Tags) == 0 || ok && slices.Contains(s.Tags, tag.Owner())) {
			g.KeepAll()
		}
	}
}

// thinTag is a tag of which a generation that ended leaves samples out, as records up to its end made it.
type thinTag struct {
	tag       *model.Tag
	annotated []model.TimeRange // ascending, apart: what lies in them is kept
}

// toThin is the tags that ask and of which the head may be thinned. DB.mu is held.
func (db *DB) toThin() map[model.TagID]thinTag {
	var out map[model.TagID]thinTag
	for id := range db.filters {
		g := db.head.Tag(id)
		if g == nil || !g.MayThin() {
			continue
		}
		if tag, ok := db.catalog.Tag(id); ok {
			if out == nil {
				out = map[model.TagID]thinTag{}
			}
			out[id] = thinTag{tag, db.notes.standing(tag.Owner())}
		}
	}
	return out
}

// standing is the instants and ranges of a tag that have an annotation; one of the tag as a whole is about none of them.
func (s *notes) standing(tag model.TagID) (out []model.TimeRange) {
	for _, a := range s.byTag[tag] { // by start
		switch n := len(out); {
		case a.Removed() || a.In == model.All:
		case n > 0 && a.In.Start <= out[n-1].End:
			out[n-1].End = max(out[n-1].End, a.In.End)
		default:
			out = append(out, model.TimeRange{Start: a.In.Start, End: a.In.End})
		}
	}
	return out
}

// live reports whether a run that is put as it is came from a plant as things happened: behind all that the tag has, by a mode that
// stands for no history, and not where a range delete, which may be undone, has something yet. DB.mu is held.
func (db *DB) live(run *record.Run) bool {
	s, newest := &run.Samples, db.latest.row(run.Tag)
	if run.Mode != model.Update && run.Mode != model.Append || newest.flags&newestUnknown != 0 || newest.typ != 0 && s.Times[0] <= newest.time {
		return false
	}
	return !slices.ContainsFunc(db.ops.byTag[run.Tag], func(op *rangeOp) bool { return op.in.End > s.Times[0] })
}

// awaitThinned waits until the generation being written is, if it leaves samples of a tag out, or with tag 0 of any. Whoever decides by
// what stands must not find a sample that a replay of the log, with other timing, would not find.
func (db *DB) awaitThinned(ctx context.Context, tag model.TagID) error {
	db.mu.RLock()
	wait := len(db.thinning) > 0
	if wait && tag != 0 {
		_, wait = db.thinning[tag]
	}
	db.mu.RUnlock()
	if !wait {
		return nil
	}
	select {
	case db.frozenRoom <- struct{}{}: // there is room once it is written
		<-db.frozenRoom
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// thinner leaves samples out, in memory that it uses again.
type thinner struct {
	data chunk.Data
	kept []filter.Kept
}

// thin leaves out of the resolved samples of a tag what its filter allows, and notes the figures. Where its settings changed between
// the first and the last of them, all stay. Of each partition the first and the last stay too: whatever else is sealed, moved or
// erased, no line leads out of it.
func (w *generationWriter) thin(x thinTag) error {
	r, t := &w.resolved, &w.thinner
	n := r.Len()
	if n < 3 {
		return nil
	}
	settings := x.tag.At(r.Times[0])
	if settings != x.tag.At(r.Times[n-1]) {
		return nil
	}
	door, err := swingingdoor.New(filter.Of(x.tag.Compression, settings), swingingdoor.Strict)
	if err != nil {
		return nil // settings that no filter can follow, which the catalogue refuses, filter nothing
	}
	t.kept = t.kept[:0]
	marks := x.annotated
	end := int64(math.MinInt64) // of the partition that the sample before lies in
	for i, at := range r.Times {
		begins := at >= end
		if begins {
			t.kept = door.Flush(t.kept)
			end = keys.DayOf(at).Range().End
		}
		t.kept = door.Add(t.kept, r.At(i))
		for len(marks) > 0 && marks[0].End <= at {
			marks = marks[1:]
		}
		if begins || len(marks) > 0 && marks[0].Contains(at) {
			t.kept = door.Flush(t.kept)
		}
	}
	t.kept = door.Flush(t.kept)
	if err := w.noteFiltered(x.tag, n); err != nil {
		return err
	}
	if len(t.kept) < n {
		t.take(r)
	}
	return nil
}

// take leaves of resolved samples those that were kept.
func (t *thinner) take(r *head.Resolved) {
	t.data.Samples.Reset(r.Type)
	t.data.Origins = t.data.Origins[:0]
	at, origin, end := 0, 0, 0 // the sample, its origin, and where that one ends
	for _, k := range t.kept {
		for r.Times[at] != k.Time { // times ascend, each there once
			at++
		}
		for at >= end {
			end += r.Origins[origin].Samples
			origin++
		}
		t.data.Samples.Append(r.At(at))
		t.add(r.Origins[origin-1])
	}
	r.Data, t.data = t.data, r.Data
}

// add says where one more sample came from.
func (t *thinner) add(o chunk.Origin) {
	if k := len(t.data.Origins); k > 0 && t.data.Origins[k-1].Source == o.Source && t.data.Origins[k-1].Ingest == o.Ingest {
		t.data.Origins[k-1].Samples++
		return
	}
	o.Samples = 1
	t.data.Origins = append(t.data.Origins, o)
}
