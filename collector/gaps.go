package collector

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/varvedb/varve/internal/saturate"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// openGapLocked says that samples of a tag are missing from an instant on, until a reading comes.
func (f *feed) openGapLocked(t *tag, kind varvev1.GapKind, from int64, reason string) {
	if t.refused != "" || t.open.has(kind) {
		return
	}
	f.flushTagLocked(t)
	t.open |= 1 << kind
	t.openFrom = from
	f.addGapLocked(Gap{Tags: []string{t.name}, Kind: kind, Start: from, Reason: reason})
}

// endGapLocked ends the gaps of a tag that began before an instant, if any.
func (f *feed) endGapLocked(t *tag, at int64) {
	if t.open == 0 || at <= t.openFrom {
		return
	}
	f.flushTagLocked(t)
	if t.filter != nil { // what comes behind a gap is sent, whatever it is: a reader has nothing else to go on with
		f.settleTypeLocked(t)
	}
	t.open = 0
	f.addGapLocked(Gap{Tags: []string{t.name}, End: at, Ends: true})
}

// addGapLocked adds to the gaps that are to be put; tags of which the same is said go together.
func (f *feed) addGapLocked(g Gap) {
	if n := len(f.mu.gaps); n > 0 {
		last := &f.mu.gaps[n-1]
		if last.Kind == g.Kind && last.Start == g.Start && last.End == g.End && last.Ends == g.Ends && last.Reason == g.Reason {
			last.Tags = append(last.Tags, g.Tags...)
			return
		}
	}
	f.mu.gaps = append(f.mu.gaps, g)
}

// tellGaps puts the gaps that were added, in their order, whoever added them.
func (f *feed) tellGaps(ctx context.Context) error {
	f.telling.Lock()
	defer f.telling.Unlock()
	f.mu.Lock()
	gaps := f.mu.gaps
	f.mu.gaps = nil
	f.mu.Unlock()
	for _, g := range gaps {
		if err := f.outlet.PutGap(context.WithoutCancel(ctx), g); err != nil {
			return fmt.Errorf("a gap was not stored: %w", err)
		}
	}
	return nil
}

// affectedLocked is the tags of addresses, or all; those that are not collected are left out.
func (f *feed) affectedLocked(addresses []string) (out []*tag) {
	if len(addresses) == 0 {
		for _, t := range f.mu.tags {
			out = append(out, t)
		}
		slices.SortFunc(out, func(a, b *tag) int { return cmp.Compare(a.name, b.name) })
	}
	for _, a := range addresses {
		if t := f.tagLocked(a); t != nil {
			out = append(out, t)
		}
	}
	return slices.DeleteFunc(out, func(t *tag) bool { return t.refused != "" })
}

// down opens gaps of a kind.
func (f *feed) down(ctx context.Context, addresses []string, kind varvev1.GapKind, at int64, reason string) error {
	f.mu.Lock()
	for _, t := range f.affectedLocked(addresses) {
		f.openGapLocked(t, kind, at, reason)
	}
	return f.sendAndUnlock(ctx)
}

// begins says that the source begins to read. One to which is pushed is behind then.
func (f *feed) begins(pushed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.pushed, f.mu.behind = pushed, pushed
}

func (f *feed) up(ctx context.Context, addresses []string, at int64) error {
	f.mu.Lock()
	if len(addresses) == 0 {
		f.mu.behind = false
	}
	for _, t := range f.affectedLocked(addresses) {
		f.endGapLocked(t, at)
	}
	return f.sendAndUnlock(ctx)
}

func (f *feed) lost(ctx context.Context, addresses []string, from, to int64, reason string) error {
	if to <= from {
		return nil
	}
	f.mu.Lock()
	for _, t := range f.affectedLocked(addresses) {
		f.addGapLocked(Gap{Tags: []string{t.name}, Kind: varvev1.GapKind_GAP_KIND_LOST, Start: from, End: to, Reason: reason})
	}
	return f.sendAndUnlock(ctx)
}

// sendAndUnlock hands on what was added while f.mu was held.
func (f *feed) sendAndUnlock(ctx context.Context) error {
	runs := f.takeRunsLocked()
	f.mu.Unlock()
	return f.send(ctx, runs)
}

// notRead says that nothing is read since an instant, because the queue is full.
func (f *feed) notRead(ctx context.Context, since int64) error {
	f.mu.Lock()
	f.mu.behind = f.mu.pushed
	for _, t := range f.affectedLocked(nil) {
		f.openGapLocked(t, varvev1.GapKind_GAP_KIND_NOT_COLLECTED, max(since, saturate.Add(t.newest, 1)), "the queue of the collector is full")
	}
	f.mu.Unlock()
	return f.tellGaps(ctx)
}

// notRunning is the reason of gaps from when a collector stopped to when it reads again.
const notRunning = "the collector did not run"

// resumed says that the source was not read since an instant, when the collector was off. The tags are those that it had then.
func (f *feed) resumed(ctx context.Context, since int64) error {
	f.mu.Lock()
	for _, t := range f.affectedLocked(nil) {
		if t.before {
			f.openGapLocked(t, varvev1.GapKind_GAP_KIND_NOT_COLLECTED, since, notRunning)
		}
	}
	return f.sendAndUnlock(ctx)
}

// stale opens gaps for tags that had no reading for too long, from behind their last one.
func (f *feed) stale(ctx context.Context) error {
	now := f.now().UnixNano()
	f.mu.Lock()
	var names []string
	for _, t := range f.mu.tags {
		if t.rule.StaleAfter <= 0 || t.refused != "" || t.open != 0 || saturate.Sub(now, t.seen) <= int64(t.rule.StaleAfter) {
			continue
		}
		from := t.seen
		if t.newest != math.MinInt64 {
			from = t.newest + 1
		}
		f.openGapLocked(t, varvev1.GapKind_GAP_KIND_NOT_COLLECTED, from, "no reading for "+t.rule.StaleAfter.String())
		names = append(names, t.name)
	}
	if len(names) > 0 {
		slices.Sort(names)
		f.log.Warn("tags had no reading for longer than they may", "tags", len(names), "some", names[:min(len(names), 5)])
	}
	return f.sendAndUnlock(ctx)
}
