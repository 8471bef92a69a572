package storage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/record"
)

// A tag whose type changes begins an epoch, and what it has from then on is kept under an id of its own: heads, chunks, rollups and
// histories know ids and are of one type each. What is here keeps every sample in the epoch of its time. docs/design/type-epochs.md.

// changesType reports whether any of the changes is of a tag's type.
func (db *DB) changesType(changes []catalog.Change) bool {
	return slices.ContainsFunc(changes, func(ch catalog.Change) bool { return db.retyped(&ch) != nil })
}

// retyped is the tag whose type a change changes, nil if it changes none.
func (db *DB) retyped(ch *catalog.Change) *model.Tag {
	if ch.Update == nil || ch.Update.Settings == nil || ch.Update.Settings.Type == 0 {
		return nil
	}
	tag := db.catalog.Retyped(ch.Update.ID)
	if tag == nil {
		tag, _ = db.catalog.Tag(ch.Update.ID)
	}
	if tag == nil || tag.Current().Type == ch.Update.Settings.Type {
		return nil
	}
	return tag
}

// retypeWait is how long a change of a type keeps other records waiting for those before it.
const retypeWait = 2 * time.Second

// changeTypes is ChangeCatalog of changes some of which change a type. Whether one can be made depends on what the tag has, and apply must
// come to the same in every replay, whatever of it can be read then; so it is judged here, with everything before it applied and
// nothing let in between, and apply takes it as it is.
func (db *DB) changeTypes(ctx context.Context, changes []catalog.Change) ([]catalog.Result, error) {
	if err := db.catchUp(ctx); err != nil { // most of the waiting is done before anybody waits for it
		return nil, err
	}
	db.steady.Lock()
	held := true
	release := func() {
		if held {
			db.steady.Unlock()
			held = false
		}
	}
	defer release()
	soon, cancel := context.WithTimeout(ctx, retypeWait)
	err := db.catchUp(soon)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("change a type: records before it are not applied yet: %w", err)
	}
	refused := db.catalog.Check(changes)
	for i := range changes {
		if tag := db.retyped(&changes[i]); tag != nil && refused[i] == nil {
			refused[i] = db.judgeRetype(tag, changes[i].Update.Settings)
		}
	}
	return db.changeCatalog(ctx, changes, refused, func(ctx context.Context, payload []byte) (*pending, error) {
		defer release()
		if err := db.admit(); err != nil {
			return nil, err
		}
		if db.space.low.Load() {
			return nil, ErrLowSpace
		}
		return db.log1(ctx, payload)
	})
}

// judgeRetype reports why a tag's type cannot change.
func (db *DB) judgeRetype(tag *model.Tag, s *model.Settings) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.mayEndEpoch(tag.KeptBy(model.MaxTime), s.From); err != nil {
		return fmt.Errorf("update tag %.80q: the type is %s and cannot become %s from %s on: %w",
			tag.Name, tag.Current().Type, s.Type, model.FormatTime(s.From), err)
	}
	return nil
}

// mayEndEpoch reports why a tag's newest epoch cannot end at an instant: it has, or could get back, samples there or behind. DB.mu is held.
func (db *DB) mayEndEpoch(epoch model.TagID, from int64) error {
	newest := db.latest.row(epoch)
	switch {
	case newest.flags&newestUnknown != 0:
		return fmt.Errorf("what its newest sample is cannot be read: %w", catalog.ErrBadSettings)
	case newest.typ != 0 && newest.time >= from:
		return fmt.Errorf("it has samples up to %s, a type changes behind them: %w", model.FormatTime(newest.time), catalog.ErrBadSettings)
	}
	hold, _ := holding(db.ops.byTag[epoch])
	for _, d := range hold {
		if d.in.End > from {
			return fmt.Errorf("range delete %d reaches to %s and may be undone, a type changes behind it: %w",
				d.offset, model.FormatTime(d.in.End), catalog.ErrBadSettings)
		}
	}
	return nil
}

// outsideEpoch reports whether a run has samples of another epoch than its id's. The door sorts them by epoch; this is who came between.
func (db *DB) outsideEpoch(run *record.Run) bool {
	tag := db.catalog.Retyped(run.Tag)
	if tag == nil {
		return false
	}
	_, in := tag.In(run.Tag)
	for _, t := range run.Samples.Times {
		if !in.Contains(t) {
			return true
		}
	}
	return false
}
