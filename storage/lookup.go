package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/head"
)

// lookup is what stands at the times of a run, for the write modes that must know. Seqs are ascending.
type lookup struct {
	at      map[int64][]uint32 // has every time of the run and no other
	times   []int64            // of the run, ascending, each once
	damaged []model.TimeRange  // what stands here cannot be known
}

const (
	// lookGap is how far apart two times of a run are read in one go. What lies between them is read and not kept: at a
	// sample a second an hour of it costs about as much as another cursor.
	lookGap = uint64(time.Hour)
	// lookKeep is how many times a map may have had to be emptied and used again, since emptying costs what it once held.
	lookKeep = 4096
)

// collect reads what generations and heads have at the times of s. The applying goroutine calls it without DB.mu.
func (l *lookup) collect(db *DB, tag model.TagID, s *model.Samples) error {
	if l.at == nil || len(l.at) > lookKeep {
		l.at = map[int64][]uint32{}
	}
	clear(l.at)
	l.damaged = l.damaged[:0]
	l.times = append(l.times[:0], s.Times...)
	slices.Sort(l.times)
	l.times = slices.Compact(l.times)
	for _, t := range l.times {
		l.at[t] = nil
	}
	src := db.storedOnly()
	defer src.close()
	for from := 0; from < len(l.times); {
		to := from + 1
		for to < len(l.times) && uint64(l.times[to])-uint64(l.times[to-1]) <= lookGap {
			to++
		}
		if err := l.read(&src, tag, model.TimeRange{Start: l.times[from], End: l.times[to-1] + 1}); err != nil {
			return err
		}
		from = to
	}
	hold, _ := holding(src.opsOf(tag))
	gone := src.erasedOf(tag)
	for i, h := range src.lookHeads {
		if g := h.Tag(tag); g != nil {
			for _, t := range l.times {
				h.Find(g, t, func(k head.Key) { l.set(t, k.Seq, !k.Removed) })
			}
		}
		for _, d := range hold { // one that ended this head
			if h.After < d.offset && (i+1 == len(src.lookHeads) || d.offset <= src.lookHeads[i+1].After) {
				l.remove(d.in)
			}
		}
		for _, x := range gone {
			if h.After < x.offset && (i+1 == len(src.lookHeads) || x.offset <= src.lookHeads[i+1].After) {
				l.remove(x.in)
			}
		}
	}
	return nil
}

// remove notes that nothing stands in a range.
func (l *lookup) remove(in model.TimeRange) {
	for _, t := range l.times {
		if in.Contains(t) {
			l.at[t] = l.at[t][:0]
		}
	}
}

// read notes what generations have in a range at the times of the run.
func (l *lookup) read(src *sources, tag model.TagID, in model.TimeRange) error {
	c := src.cursor(tag, in)
	defer c.Close()
	for {
		b, err := c.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return nil
		}
		var where *RangeError
		if errors.As(err, &where) && isUnreadable(err) {
			l.damaged = append(l.damaged, where.In)
			if isDamage(err) { // the tier has an alarm of its own
				src.db.alarms.raise("store_damaged", fmt.Sprintf("%v: writes there that must know what is stored are refused", err))
			}
			continue
		}
		if err != nil {
			return err
		}
		for i, t := range b.Times {
			if have, wanted := l.at[t]; wanted {
				l.at[t] = append(have, b.SeqAt(i))
			}
		}
	}
}

// set notes that a sample stands, or no longer stands, at a key.
func (l *lookup) set(t int64, seq uint32, stands bool) {
	have := l.at[t]
	i, found := slices.BinarySearch(have, seq)
	switch {
	case stands && !found:
		l.at[t] = slices.Insert(have, i, seq)
	case !stands && found:
		l.at[t] = slices.Delete(have, i, i+1)
	}
}

// target is the seq that a write without one means where the seqs have stand.
func target(have []uint32) (seq uint32, o model.Outcome) {
	switch len(have) {
	case 0:
		return 0, model.Absent
	case 1:
		return have[0], model.Applied
	}
	return 0, model.Ambiguous
}

// lookAndApply applies a run sample by sample against what stands at its times. DB.mu is held, and let go of while
// stored samples are read: nobody else changes them meanwhile.
func (a *applier) lookAndApply(ctx context.Context, rec *head.Record, n int, index uint32, res *Result) error {
	db, run, l := a.db, &a.run, &a.look
	s := &run.Samples
	db.mu.Unlock()
	err := db.awaitThinned(ctx, run.Tag)
	if err == nil {
		err = db.persist(fmt.Sprintf("look up stored samples of tag %d", run.Tag), func() error { return l.collect(db, run.Tag, s) })
	}
	db.mu.Lock()
	if err != nil {
		return err
	}
	e := &a.puts
	e.reset(db, run.Tag, s.Type, rec, index)
	newestGone := false
	a.newestPut = putKey{}
	for i, t := range s.Times {
		o := a.one(i, t, e, &newestGone)
		if o != model.Applied {
			a.notes.add(int(index)+i, 1, model.EffectNone)
		}
		switch o {
		case model.Applied:
			res.Applied++
		case model.Ignored:
			res.Ignored++
		default:
			res.fail(n, i, 1, o)
		}
	}
	e.flush()
	if g := db.head.Tag(run.Tag); g != nil {
		g.KeepAll()
	}
	if newestGone {
		return db.findNewest(run.Tag)
	}
	return nil
}

// one applies sample i of the run, standing at t.
func (a *applier) one(i int, t int64, e *emitter, newestGone *bool) model.Outcome {
	run, l := &a.run, &a.look
	if slices.ContainsFunc(l.damaged, func(r model.TimeRange) bool { return r.Contains(t) }) {
		// Whether the key is present cannot be known. Refusing the sample loses nothing; guessing might.
		return model.Ambiguous
	}
	have := l.at[t]
	explicit := run.Samples.Seq != nil
	seq := run.Samples.SeqAt(i)
	switch run.Mode {
	case model.Insert, model.NoReplace:
		if len(have) > 0 {
			if run.Mode == model.Insert {
				return model.Exists
			}
			return model.Ignored
		}
		seq = 0
	case model.Append:
		seq = 0
		if len(have) > 0 {
			if seq = have[len(have)-1] + 1; seq == 0 {
				return model.Exists // behind the highest seq there is nothing, and the lowest may be taken
			}
			a.db.latest.row(run.Tag).flags |= newestMulti
		}
	case model.Remove:
		if run.All {
			return a.removeAll(i, t, have, e, newestGone)
		}
		fallthrough
	default:
		if !explicit {
			var o model.Outcome
			if seq, o = target(have); o == model.Ambiguous || o == model.Absent && run.Mode != model.Update {
				return o
			}
		} else if _, found := slices.BinarySearch(have, seq); !found && run.Mode != model.Update {
			return model.Absent
		}
		if run.Mode == model.Remove {
			return a.remove(i, t, seq, e, newestGone)
		}
		if seq > 0 {
			a.db.latest.row(run.Tag).flags |= newestMulti
		}
	}
	x := run.Samples.At(i)
	x.Seq = seq
	_, stood := slices.BinarySearch(have, seq)
	a.noteLooked(i, &x, stood)
	e.put(i, x)
	l.set(t, seq, true)
	return model.Applied
}

func (a *applier) removeAll(i int, t int64, have []uint32, e *emitter, newestGone *bool) model.Outcome {
	if len(have) == 0 {
		return model.Absent
	}
	for _, seq := range slices.Clone(have) {
		a.remove(i, t, seq, e, newestGone)
	}
	return model.Applied
}

func (a *applier) remove(i int, t int64, seq uint32, e *emitter, newestGone *bool) model.Outcome {
	e.remove(i, model.Sample{Time: t, Type: a.run.Samples.Type, Seq: seq})
	a.notes.addSeq(int(e.index)+i, model.EffectRemoved, seq)
	a.look.set(t, seq, false)
	if row := a.db.latest.row(a.run.Tag); row.typ != 0 && row.time == t && row.seq == seq {
		*newestGone = true
	}
	return model.Applied
}

// emitter puts samples into the head in stretches that share a kind and lie next to each other in their record.
type emitter struct {
	db      *DB
	rec     *head.Record
	index   uint32 // of the run's first sample in its record
	first   int    // sample of the run that samples begins with
	removed bool
	samples model.Samples
	tag     model.TagID
}

func (e *emitter) reset(db *DB, tag model.TagID, t model.Type, rec *head.Record, index uint32) {
	e.db, e.rec, e.index, e.tag = db, rec, index, tag
	e.samples.Reset(t)
}

func (e *emitter) put(i int, x model.Sample) { e.add(i, x, false) }

func (e *emitter) remove(i int, x model.Sample) { e.add(i, x, true) }

func (e *emitter) add(i int, x model.Sample, removed bool) {
	if n := e.samples.Len(); n > 0 && (e.removed != removed || e.first+n != i) {
		e.flush()
	}
	if e.samples.Len() == 0 {
		e.first, e.removed = i, removed
	}
	e.samples.Append(x)
}

func (e *emitter) flush() {
	s := &e.samples
	if s.Len() == 0 {
		return
	}
	db := e.db
	g := db.head.Open(e.tag, s.Type)
	db.head.Put(g, s, e.rec, e.index+uint32(e.first), e.removed)
	if !e.removed {
		db.latest.offer(e.tag, s)
	}
	s.Reset(s.Type)
}

// findNewest reads back what the newest sample of a tag is once the one that was is removed. DB.mu is held.
func (db *DB) findNewest(tag model.TagID) error {
	return db.findNewestUpTo(tag, db.latest.row(tag).time+1)
}

// findNewestUpTo is findNewest for who knows an instant that the newest sample lies before.
func (db *DB) findNewestUpTo(tag model.TagID, end int64) error {
	db.mu.Unlock()
	var x model.Sample
	err := db.persist(fmt.Sprintf("find the newest sample of tag %d", tag), func() error {
		src := db.sourcesAt(^uint64(0))
		defer src.close()
		c := src.cursor(tag, model.TimeRange{Start: model.MinTime, End: end, Reverse: true})
		defer c.Close()
		b, err := c.Next(context.Background())
		if err == nil {
			x = b.At(0)
			x.Blob = slices.Clone(x.Blob)
		}
		return err
	})
	db.mu.Lock()
	switch {
	case err == nil:
		db.latest.set(tag, x)
	case errors.Is(err, io.EOF):
		db.latest.clear(tag)
	case isUnreadable(err):
		db.latest.clear(tag)
		db.latest.row(tag).flags |= newestUnknown
		db.alarms.raise("store_damaged", fmt.Sprintf("find the newest sample of tag %d: %v", tag, err))
	default:
		return err
	}
	return nil
}
