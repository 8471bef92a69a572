package storage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// retainEvery is how often somebody looks whether rules or the disk budget have something to be erased.
const retainEvery = time.Minute

// runRetention lets the retention rules and the disk budget take effect until ctx ends. What they come to is records in the
// log, so that a server that replays it erases the same, whatever its clock says.
func (db *DB) runRetention(ctx context.Context) {
	t := time.NewTicker(retainEvery)
	defer t.Stop()
	for {
		if err := db.ApplyRetention(ctx); ctx.Err() != nil {
			return
		} else if err != nil {
			db.alarms.raise("retention_failing", fmt.Sprintf("%v: tried again in %s", err, retainEvery))
		} else {
			db.alarms.clear("retention_failing")
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// ApplyRetention erases what the rules and the disk budget say now. It is done every minute anyway.
func (db *DB) ApplyRetention(ctx context.Context) error {
	r := retainer{db: db}
	db.mu.RLock()
	r.ledger, r.parts = db.ledger, db.directory.parts
	db.mu.RUnlock()
	if len(r.parts) == 0 {
		return nil
	}
	r.now = db.retentionTime(r.parts)
	cuts := map[string]int64{}
	for _, rule := range r.ledger.rules {
		if rule.Samples > 0 {
			cuts[rule.Class] = r.daysBefore(rule.Samples)
		}
	}
	db.noteKept(cuts)
	for _, rule := range db.Retention() {
		if err := r.apply(ctx, &rule); err != nil {
			return fmt.Errorf("retention of class %q: %w", rule.Class, err)
		}
	}
	return r.budget(ctx)
}

// retentionTime is what time it is for retention: that of the clock, or of the newest sample if that is earlier. A clock
// that jumps ahead by years must not erase them.
func (db *DB) retentionTime(parts []partition) int64 {
	now, newest := db.o.Now().UnixNano(), int64(model.MinTime)
	for _, g := range parts[len(parts)-1].gens {
		newest = max(newest, g.last)
	}
	return min(now, newest)
}

// kept is what the door must know to refuse samples that would be erased or can no longer be written. It is never changed.
type kept struct {
	cuts     map[string]int64 // of each class with a rule, the first instant that is kept
	erasures *erasures
}

// noteKept renews kept; without cuts they stay.
func (db *DB) noteKept(cuts map[string]int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.noteKeptLocked(cuts)
}

func (db *DB) noteKeptLocked(cuts map[string]int64) {
	if old := db.kept.Load(); cuts == nil && old != nil {
		cuts = old.cuts
	}
	if len(cuts) == 0 && !db.erasures.closes {
		db.kept.Store(nil)
		return
	}
	db.kept.Store(&kept{cuts, db.erasures})
}

// KeptSince is the first instant from which samples of a tag are kept: older ones are refused at the door. MinTime for all.
func (db *DB) KeptSince(tag model.TagID) int64 {
	k := db.kept.Load()
	if k == nil {
		return model.MinTime
	}
	since := k.erasures.closedUntil(tag)
	if t, ok := db.catalog.Tag(tag); ok {
		if cut, ok := k.cuts[t.Retention]; ok {
			since = max(since, cut)
		}
	}
	return since
}

// retainer works out what is to be erased at one moment.
type retainer struct {
	db     *DB
	ledger ledger
	parts  []partition
	now    int64
}

// daysBefore is the start of the day that lies some time before now.
func (r *retainer) daysBefore(d time.Duration) int64 {
	if r.now < model.MinTime+int64(d) {
		return model.MinTime
	}
	return keys.DayOf(r.now - int64(d)).Range().Start
}

// apply erases what a rule does not keep.
func (r *retainer) apply(ctx context.Context, rule *RetentionRule) error {
	tags := r.class(rule.Class)
	if tags.IsEmpty() {
		return nil
	}
	for _, x := range []struct {
		what record.What
		keep time.Duration
	}{{record.OldVersions, rule.Versions}, {record.OldSamples, rule.Samples}, {record.SamplesAndRollups, rule.Rollups}} {
		if x.keep == 0 || x.what == record.OldSamples && rule.Rollups == rule.Samples {
			continue
		}
		if err := r.erase(ctx, rule, x.what, x.keep, tags); err != nil {
			return err
		}
	}
	return nil
}

// class is the tags of a class.
func (r *retainer) class(name string) *roaring.Bitmap {
	tags := roaring.New()
	for id := model.TagID(1); int(id) <= r.db.catalog.Len(); id++ {
		if t, ok := r.db.catalog.Tag(id); ok && t.Retention == name {
			tags.Add(uint32(id))
		}
	}
	return tags
}

// erase submits what is to be erased of a class since the last time, if anything.
func (r *retainer) erase(ctx context.Context, rule *RetentionRule, what record.What, keep time.Duration, tags *roaring.Bitmap) error {
	e := record.Erasure{
		What: what, Cause: record.ByRetention, Class: rule.Class, From: model.MinTime, To: r.daysBefore(keep),
		Author: rule.Author, Reason: fmt.Sprintf("kept for %s", keep),
	}
	if last := r.last(rule.Class, what); last != nil {
		from, err := r.from(last, tags)
		if err != nil {
			return err
		}
		e.From = from
	}
	if what != record.OldVersions {
		e.From = max(e.From, r.parts[0].name.Range().Start)
	}
	if e.From >= e.To {
		return nil
	}
	_, err := r.db.submitErasure(ctx, &e, tags)
	return err
}

// last is what was erased last of a class.
func (r *retainer) last(class string, what record.What) *erasure {
	for i := len(r.ledger.erasures) - 1; i >= 0; i-- {
		if e := r.ledger.erasures[i]; e.cause == record.ByRetention && e.class == class && e.what == what {
			return e
		}
	}
	return nil
}

// from is where the next erasure of a class begins: where the last one ended, or earlier where tags have come to the class
// with old samples, a hold was released, or old samples came late.
func (r *retainer) from(last *erasure, tags *roaring.Bitmap) (int64, error) {
	from := last.in.End
	if last.what == record.OldVersions {
		return from, nil
	}
	for _, x := range r.ledger.released {
		if x.offset > last.offset && (x.hold.tags == nil || x.hold.tags.Intersects(tags)) {
			from = min(from, keys.DayOf(x.hold.in.Start).Range().Start)
		}
	}
	for _, p := range r.parts {
		if start := p.name.Range().Start; start < last.in.End && p.gens[len(p.gens)-1].id > last.offset {
			from = min(from, start)
		}
	}
	for it := roaring.AndNot(tags, last.tags).Iterator(); it.HasNext(); {
		set, err := r.db.partitionSet(r.db.engine, model.TagID(it.Next()))
		if err != nil {
			return 0, err
		}
		if !set.IsEmpty() {
			p := keys.Partition{Span: keys.Day, Number: int32(set.Minimum() ^ 1<<31)}
			from = min(from, p.Range().Start)
		}
	}
	return from, nil
}

// budgetDays is how many of the newest days the disk budget never takes.
const budgetDays = 2

// budget erases the oldest days while the store is larger than it may be. What was erased has to be off the disk before more
// is.
func (r *retainer) budget(ctx context.Context) error {
	budget := uint64(r.db.o.DiskBudget)
	if budget == 0 {
		return nil
	}
	r.db.mu.RLock()
	open := len(r.db.erasures.open)
	r.db.mu.RUnlock()
	size := r.db.liveBytes()
	if size <= budget || open > 0 {
		if size <= budget {
			r.db.alarms.clear("disk_budget_exceeded")
		}
		return nil
	}
	over, end := size-budget, int64(0)
	found := false
	for _, p := range r.parts[:max(len(r.parts)-budgetDays, 0)] {
		if r.keeps(&p) {
			continue
		}
		bytes := uint64(0)
		for _, g := range p.gens {
			bytes += g.bytes + g.versions
		}
		found, end = true, p.name.Range().End
		if bytes >= over {
			break
		}
		over -= bytes
	}
	if !found {
		r.db.alarms.raise("disk_budget_exceeded", fmt.Sprintf("the store has %d bytes, its budget is %d, and nothing is old enough or free to be erased", size, budget))
		return nil
	}
	_, err := r.db.submitErasure(ctx, &record.Erasure{
		What: record.SamplesAndRollups, Cause: record.ByBudget, From: r.parts[0].name.Range().Start, To: end,
		Reason: fmt.Sprintf("the store had %d bytes, its budget is %d", size, budget),
	}, nil)
	return err
}

// liveBytes is about what the store takes on disk once files that are no longer needed are gone: they may take their time,
// and nothing must be erased because of that.
func (db *DB) liveBytes() uint64 {
	if !db.hold() {
		return 0
	}
	defer db.readers.Done()
	n, err := db.engine.EstimateDiskUsage([]byte{0}, []byte{0xff})
	if err != nil {
		return 0
	}
	return n + db.log.Bytes()
}

// keeps reports whether nothing of a partition can be erased: a hold keeps all of it, or the budget has taken what there
// was but for what holds keep.
func (r *retainer) keeps(p *partition) bool {
	for _, h := range r.ledger.holds {
		if h.tags == nil && covers(h.in, p.name) {
			return true
		}
	}
	for i := len(r.ledger.erasures) - 1; i >= 0; i-- {
		e := r.ledger.erasures[i]
		if e.cause != record.ByBudget || !covers(e.in, p.name) {
			continue
		}
		freed := slices.ContainsFunc(r.ledger.released, func(x released) bool { return x.offset > e.offset })
		return !freed && p.gens[len(p.gens)-1].id <= e.offset
	}
	return false
}
