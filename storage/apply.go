package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/head"
	"github.com/varvedb/varve/storage/identity"
	"github.com/varvedb/varve/storage/log"
	"github.com/varvedb/varve/storage/record"
)

// applier turns log records into what reads see, one after the other in offset order. It is one goroutine; live apply
// and replay after a crash are the same code, and nothing it decides depends on the clock, on memory or on who waits,
// so that a replay comes to the same samples, keys and generations.
type applier struct {
	db     *DB
	reader *log.Reader
	batch  record.Batch
	run    record.Run
	puts   emitter
	look   lookup

	notes     effectNotes
	newestPut putKey // of the run at hand
}

// loop applies until ctx ends.
func (a *applier) loop(ctx context.Context) {
	for {
		var offset uint64
		var payload []byte
		err := a.db.persist("read the log", func() (err error) {
			offset, payload, err = a.reader.Next(ctx)
			return err
		})
		var lost *log.LostError
		switch {
		case errors.As(err, &lost):
			if !a.db.waitForAcceptance(ctx, OffsetRange{lost.Lost.First, lost.Lost.End}) {
				return
			}
			continue
		case err != nil:
			if ctx.Err() == nil {
				a.db.stopApply(fmt.Errorf("read the log: %w", err))
			}
			return
		}
		if err := a.apply(ctx, offset, payload); err != nil {
			if ctx.Err() == nil {
				a.db.stopApply(err)
			}
			return
		}
	}
}

// apply applies one record and ends the generation behind it if it is full.
func (a *applier) apply(ctx context.Context, offset uint64, payload []byte) error {
	h, body, err := record.DecodeHeader(payload)
	if err != nil {
		return fmt.Errorf("apply record %d: %w", offset, err)
	}
	db := a.db
	takesAway := h.Kind == record.Delete || h.Kind == record.Undelete || h.Kind == record.Erase
	if takesAway {
		if err := db.awaitThinned(ctx, 0); err != nil {
			return err
		}
	}
	db.mu.Lock()
	outcome, err := a.dispatch(ctx, offset, h, body)
	if err == nil {
		if db.head.First == 0 {
			db.head.First = h.Ingest
		}
		db.head.Last = h.Ingest
		db.ingest = h.Ingest
	}
	db.mu.Unlock()
	if err != nil {
		return fmt.Errorf("apply record %d: %w", offset, err)
	}
	db.finish(offset, outcome)
	if takesAway || h.Kind == record.Cut || db.full() {
		return db.cut(ctx, offset, h.Ingest, !takesAway)
	}
	return nil
}

// outcome is what waits for a record to be applied get.
type outcome struct {
	result  Result
	catalog []catalog.Result
	err     error // why there is none
}

// dispatch applies one record. DB.mu is held, and let go of only while stored samples are looked at.
func (a *applier) dispatch(ctx context.Context, offset uint64, h record.Header, body []byte) (outcome, error) {
	db := a.db
	switch h.Kind {
	case record.Samples, record.Edit:
		r, err := a.samples(ctx, offset, h, body)
		return outcome{result: r}, err
	case record.CatalogChange:
		changes, err := catalog.DecodeChanges(body)
		if err != nil {
			return outcome{}, err
		}
		results := db.catalog.Apply(changes, h.Ingest)
		db.filters.follow(changes, results, db.head)
		return outcome{catalog: results}, nil
	case record.CollectorState:
		return db.takeState(offset, h.Ingest, body)
	case record.Annotation:
		return db.annotate(offset, h.Ingest, body)
	case record.ForecastRun:
		return db.takeRun(offset, h.Ingest, body)
	case record.Delete, record.Undelete:
		return a.rangeOp(offset, h, body)
	case record.Erase:
		return a.erase(offset, h, body)
	case record.HoldErase, record.RetentionRule:
		err := db.takeOp(offset, h, body)
		if errors.Is(err, ErrNoHold) {
			return outcome{err: err}, nil
		}
		if err == nil {
			db.noteOp(offset, h, body)
		}
		return outcome{}, err
	case record.Cut:
		return outcome{}, nil
	case record.AcceptLoss:
		_, err := record.DecodeLoss(body)
		return outcome{}, err
	}
	return outcome{}, fmt.Errorf("kind %d: %w", h.Kind, record.ErrVersion)
}

// samples applies a batch of samples or edits.
func (a *applier) samples(ctx context.Context, offset uint64, h record.Header, body []byte) (Result, error) {
	db, b := a.db, &a.batch
	if err := b.Open(h.Kind, body); err != nil {
		return Result{}, err
	}
	if b.Stream != 0 {
		return Result{}, fmt.Errorf("stream %d: %w", b.Stream, record.ErrVersion)
	}
	res, err := a.runs(ctx, offset, h)
	if entry := a.notes.finish(); err == nil && len(entry) > 0 {
		db.effects.add(offset, entry)
	}
	return res, err
}

// runs applies what stands in an opened batch, and notes its effects.
func (a *applier) runs(ctx context.Context, offset uint64, h record.Header) (Result, error) {
	db, b := a.db, &a.batch
	a.notes.reset()
	var res Result
	switch v := db.identities.Apply(b.Source, b.Epoch, b.Sequence, b.ContentHash, b.Import, h.Ingest); v {
	case identity.Fresh:
	case identity.Duplicate:
		a.notes.none()
		res.Duplicate = true
		return res, nil
	default:
		a.notes.none()
		if v == identity.Forgotten && b.Import {
			res.Duplicate = true
			return res, nil
		}
		res.Conflict = db.refuseIdentity(v, &b.Identity)
		return res, nil
	}
	rec := head.Record{Source: db.identities.SourceID(b.Source), Ingest: h.Ingest, Offset: offset}
	if h.Kind == record.Edit {
		rec.Edit = &head.Edit{Author: b.Author, Reason: b.Reason}
	}
	index := uint32(0)
	for n := 0; ; n++ {
		ok, err := b.Next(&a.run)
		if !ok {
			return res, err
		}
		if err := a.applyRun(ctx, &rec, n, index, &res); err != nil {
			return res, err
		}
		index += uint32(a.run.Samples.Len())
	}
}

// refuseIdentity says why a batch whose identity does not fit is left out, and alarms.
func (db *DB) refuseIdentity(v identity.Verdict, id *record.Identity) error {
	switch v {
	case identity.QuotaExceeded:
		return fmt.Errorf("source %q, epoch %d: %w", id.Source, id.Epoch, ErrSourceQuota)
	case identity.Invalid:
		return fmt.Errorf("source %q, epoch %d, sequence %d: %w", id.Source, id.Epoch, id.Sequence, ErrBadBatch)
	case identity.TooManyHoles:
		return fmt.Errorf("source %q, epoch %d, sequence %d: %w", id.Source, id.Epoch, id.Sequence, ErrSequenceGap)
	}
	err := fmt.Errorf("source %q, epoch %d, sequence %d (%s): %w", id.Source, id.Epoch, id.Sequence, v, ErrSequenceReused)
	db.alarms.raise("sequence_reused", err.Error()+": the batch was refused")
	return err
}

// applyRun applies one run of a batch. Runs that need not know what is stored are put as they are.
func (a *applier) applyRun(ctx context.Context, rec *head.Record, n int, index uint32, res *Result) error {
	db, run := a.db, &a.run
	s := &run.Samples
	if t, ok := db.catalog.Type(run.Tag); !ok || t != s.Type {
		db.alarms.raise("record_refused", fmt.Sprintf("record %d, run %d: tag %d is not of type %s; the run was left out", rec.Offset, n, run.Tag, s.Type))
		res.fail(n, 0, s.Len(), model.Absent)
		a.notes.add(int(index), s.Len(), model.EffectNone)
		return nil
	}
	if db.outsideEpoch(run) {
		db.alarms.raise("record_refused", fmt.Sprintf("record %d, run %d: the type of tag %d changed; the run was left out", rec.Offset, n, run.Tag))
		res.fail(n, 0, s.Len(), model.Absent)
		a.notes.add(int(index), s.Len(), model.EffectNone)
		return nil
	}
	if until := db.erasures.closedUntil(run.Tag); until > model.MinTime && slices.ContainsFunc(s.Times, func(t int64) bool { return t < until }) {
		res.fail(n, 0, s.Len(), model.Closed) // the door says it of each sample; this is who came in between
		a.notes.add(int(index), s.Len(), model.EffectNone)
		return nil
	}
	if db.mustLook(run) {
		return a.lookAndApply(ctx, rec, n, index, res)
	}
	if !db.latest.precedes(run.Tag, s) {
		a.noteUnseen(int(index))
	}
	g := db.head.Open(run.Tag, s.Type)
	if db.filters.has(run.Tag) && (a.batch.Import || !db.live(run)) {
		g.KeepAll()
	}
	db.head.Put(g, s, rec, index, false)
	db.latest.offer(run.Tag, s)
	res.Applied += s.Len()
	return nil
}

// mustLook reports whether a run can only be applied knowing what stands at its times. Data in order never must: it lies
// behind everything the tag has.
func (db *DB) mustLook(run *record.Run) bool {
	row := db.latest.row(run.Tag)
	s := &run.Samples
	switch run.Mode {
	case model.Update:
		return row.flags&newestMulti != 0 && s.Seq == nil || s.Seq != nil && row.flags&newestMulti == 0
	case model.Insert, model.NoReplace, model.Append:
		if s.Seq != nil || row.flags&newestUnknown != 0 || row.typ != 0 && s.Times[0] <= row.time {
			return true
		}
		return !ascending(s.Times)
	}
	return true
}

func (r *Result) fail(run, first, count int, o model.Outcome) {
	r.Rejected += count
	if k := len(r.Failures); k > 0 {
		if last := &r.Failures[k-1]; last.Run == run && last.Outcome == o && last.First+last.Count == first {
			last.Count += count
			return
		}
	}
	if len(r.Failures) < MaxFailures {
		r.Failures = append(r.Failures, Failure{run, first, count, o})
	}
}

// stopApply ends apply for good: the store serves what it has, and says why it is behind.
func (db *DB) stopApply(err error) {
	db.alarms.raise("apply_stopped", fmt.Sprintf("%v: reads serve what was applied before; ingest is stopped", err))
	db.applyEnd.fail(err)
	err = fmt.Errorf("%w: %w", ErrApplyStopped, err)
	db.applied.fail(err)
	db.archived.fail(err) // no generation will reach what was not applied
}
