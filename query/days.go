package query

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/keys"
)

// DaysRequest asks in which days tags have anything.
type DaysRequest struct {
	Tags
	Consistency storage.Consistency
}

// Days is the days in which tags have anything, ascending, and up to where in the log each is as it was.
type Days struct {
	Log    string // names the log whose offsets these are
	Offset uint64 // of the newest record that is known of
	Days   []storage.Day
}

// DayRequest asks what tags hold in one UTC day.
type DayRequest struct {
	IDs         []model.TagID
	Day         int32 // days since 1970
	Consistency storage.Consistency
}

// perDayTag is what a tag takes while its days are looked for or hashed: its ids, their content, a set of days.
const perDayTag = 256

// ListDays answers r. It refuses to answer while log records are missing: a day that lacks them would look unchanged.
func (e *Engine) ListDays(ctx context.Context, r DaysRequest) (*Days, error) {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return nil, err
	}
	if err := r.Tags.onlyStored(); err != nil {
		return nil, err
	}
	tags, err := resolve(e.store.Catalog(), r.Tags, model.All, e.store.Catalog().ByName)
	if err != nil {
		return nil, err
	}
	if err := tags.onlyStored(); err != nil {
		return nil, err
	}
	var out Days
	err = e.wholeView(ctx, tags, r.Consistency, func(view View) error {
		var ids []model.TagID
		for _, a := range tags.asked {
			ids = append(ids, a.tag.EpochIDs()...)
		}
		slices.Sort(ids)
		id := view.LogID()
		out.Log, out.Offset = hex.EncodeToString(id[:]), view.Offset()
		out.Days, err = view.Days(ctx, slices.Compact(ids))
		return err
	})
	return &out, err
}

// HashDay calls visit with what each tag holds in the day, in the order asked, as the store's content hash has it. Tags that hold nothing
// there are left out. Of a tag that has samples of several types in the day the hash is that of its types' hashes.
func (e *Engine) HashDay(ctx context.Context, r DayRequest, visit func(storage.Content) error) error {
	if err := (Tags{IDs: r.IDs}).check(MaxRangeTags); err != nil {
		return err
	}
	if first, last := keys.DayOf(model.All.Start), keys.DayOf(model.All.End-1); r.Day < first.Number || r.Day > last.Number {
		return fmt.Errorf("day %d, the first is %d, the last %d: %w", r.Day, first.Number, last.Number, ErrBadRequest)
	}
	day := keys.Partition{Span: keys.Day, Number: r.Day}
	tags, err := resolve(e.store.Catalog(), Tags{IDs: r.IDs}, day.Range(), nil)
	if err != nil {
		return err
	}
	return e.wholeView(ctx, tags, r.Consistency, func(view View) error {
		found, err := contentsOf(ctx, view, tags, day)
		if err != nil {
			return err
		}
		for _, a := range tags.asked {
			if c, ok := found[a.tag.ID]; ok {
				if err := visit(c.Content); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// wholeView reserves memory for so many tags and takes a view that lacks nothing.
func (e *Engine) wholeView(ctx context.Context, tags *tagList, c storage.Consistency, read func(View) error) error {
	need := tags.nameBytes + perDayTag*int64(len(tags.asked)) + 2*cursorBytes
	if err := e.budget.reserve(need); err != nil {
		return err
	}
	defer e.budget.release(need)
	view, err := e.store.View(ctx, c)
	if err != nil {
		return fmt.Errorf("take view: %w", err)
	}
	defer view.Close()
	if lost := view.Lost(); len(lost) > 0 {
		return fmt.Errorf("log offsets [%d, %d) are lost, what they held is not known: %w", lost[0].First, lost[0].End, storage.ErrApplyStopped)
	}
	return read(view)
}

// dayContent is what a tag holds in a day, put together from its epochs.
type dayContent struct {
	storage.Content
	hashes []byte // of the epochs, in the order of time
}

func contentsOf(ctx context.Context, view View, tags *tagList, day keys.Partition) (map[model.TagID]*dayContent, error) {
	owner := make(map[model.TagID]model.TagID, len(tags.asked))
	for _, a := range tags.asked {
		for _, id := range a.tag.EpochIDs() {
			owner[id] = a.tag.ID
		}
	}
	ids := make([]model.TagID, 0, len(owner))
	for id := range owner {
		ids = append(ids, id)
	}
	slices.Sort(ids) // ids of epochs ascend in the order of time
	found := make(map[model.TagID]*dayContent, len(tags.asked))
	for c, err := range view.DayContents(ctx, day, ids) {
		if err != nil {
			return nil, fmt.Errorf("hash %s: %w", day, err)
		}
		tag := owner[c.Tag]
		c.Tag = tag
		if have, ok := found[tag]; ok {
			have.join(c)
		} else {
			found[tag] = &dayContent{Content: c}
		}
	}
	return found, nil
}

// join takes in the content of the next epoch.
func (d *dayContent) join(next storage.Content) {
	if d.hashes == nil {
		d.hashes = binary.LittleEndian.AppendUint64(nil, d.Hash)
	}
	d.hashes = binary.LittleEndian.AppendUint64(d.hashes, next.Hash)
	d.Samples += next.Samples
	d.Versions += next.Versions
	d.First, d.Last = min(d.First, next.First), max(d.Last, next.Last)
	d.Hash = xxhash.Sum64(d.hashes)
}
