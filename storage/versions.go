package storage

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
)

// event is one thing that happened to a key, with its place in the order of all.
type event struct {
	chunk.VersionRow
	age    uint64   // of the piece, see eventAge
	undone []uint64 // range deletes that were undone by then; only where op undoes one
	op     *rangeOp // that it is of; nil for others
	rank   int      // within an age: the place of a sealed row among all, 0 for what says its offset, lastRank for what stood at the end
}

// sealed reports whether the event is a row of sealed history.
func (e *event) sealed() bool { return e.age == 0 && e.rank > 0 && e.rank < lastRank }

const lastRank = math.MaxInt - 1

// Versions is every version of every key in a range: ascending by (time, seq), then oldest first. Offset and Index are 0
// where only the generation of a version is known, and Ingest is then exact to the second.
func (v *View) Versions(ctx context.Context, tag model.TagID, in model.TimeRange) ([]model.Version, error) {
	in.Reverse = false
	var out []model.Version
	c := v.src.cursor(tag, in)
	defer c.Close()
	c.past = &past{asOf: math.MaxInt64, keys: everyKey, settled: func(events []event) { out = v.assemble(events, out) }}
	for {
		_, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// history is what heads and generations have of a partition beside their chunks, in order.
func (c *Cursor) history(p keys.Partition) ([]event, error) {
	var events []event
	for i := range c.src.heads {
		r := &c.heads[i] // settled by gather just now; the head itself may be applied to meanwhile
		for k := range r.History {
			events = append(events, event{VersionRow: versionRow(&r.History[k]), age: headAge + uint64(i)})
		}
	}
	for _, g := range c.gens {
		if !g.hasVersions || g.sealed {
			continue
		}
		rows, err := c.src.versions(p, keys.Version, g.id, c.tag)
		if err != nil {
			return nil, err
		}
		events = appendEvents(events, rows, g.id)
	}
	sealed, err := c.sealedVersions(p, c.src.directory.of(p))
	if err != nil {
		return nil, err
	}
	events = append(events, sealed...)
	events = slices.DeleteFunc(events, func(e event) bool { return !c.in.Contains(e.Time) })
	events = c.withoutErased(p, events)
	slices.SortStableFunc(events, compareEvents)
	return events, nil
}

func appendEvents(events []event, rows []chunk.VersionRow, age uint64) []event {
	for _, r := range rows {
		events = append(events, event{VersionRow: r, age: age})
	}
	return events
}

// sealedVersions is the history of the tag as the newest seal that wrote one has it: all there was then, in order.
func (c *Cursor) sealedVersions(p keys.Partition, all []generation) ([]event, error) {
	for i := len(all) - 1; i >= 0; i-- {
		g := &all[i]
		if !g.sealed || !g.hasVersions || g.id > c.src.newest {
			continue
		}
		rows, err := c.src.versions(p, keys.SealedVersion, g.id, c.tag)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			events := appendEvents(nil, rows, 0)
			for k := range events {
				events[k].rank = k + 1
			}
			return events, nil
		}
	}
	return nil, nil
}

// versions is the history that a generation wrote of a tag.
func (s *sources) versions(p keys.Partition, k keys.Kind, generation uint64, tag model.TagID) ([]chunk.VersionRow, error) {
	prefix := keys.AppendGenerationTag(p, k, generation, tag)
	it, err := s.rows(p, k, generation, prefix, keys.Next(prefix))
	if err != nil {
		return nil, engineError("read versions", err)
	}
	defer it.Close()
	var out []chunk.VersionRow
	for ok := it.First(); ok; ok = it.Next() {
		more, err := chunk.DecodeVersions(it.Value())
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, engineError("read versions", it.Error())
}

// assemble turns settled events into versions behind out.
func (v *View) assemble(events []event, out []model.Version) []model.Version {
	for _, e := range events {
		x := model.Version{
			Sample: e.Sample, Kind: e.Kind, Offset: e.Offset, Index: e.Index, Ingest: e.Ingest,
			Source: v.SourceName(e.Source), Author: e.Author, Reason: e.Reason,
		}
		if e.Kind == model.Removed {
			x.Sample = model.Sample{Time: e.Time, Type: e.Type, Seq: e.Seq, Null: true}
		}
		x.Blob = slices.Clone(x.Blob)
		out = append(out, x)
	}
	return out
}

// settleEvents puts events in order and takes out those that changed nothing: a value equal to the one that stood, a removal
// where nothing stood. An edit that is also in a chunk comes before it and says who and why.
func settleEvents(events []event, seal bool) []event {
	slices.SortStableFunc(events, compareEvents)
	kept := events[:0]
	for from := 0; from < len(events); {
		to := from + 1
		for to < len(events) && events[to].key() == events[from].key() {
			to++
		}
		key := events[from:to]
		if slices.ContainsFunc(key, func(e event) bool { return e.op != nil && e.op.undo != 0 }) {
			key = slices.Clone(key) // it is looked at again, and kept grows over it
		}
		kept = settleKey(key, kept, seal)
		from = to
	}
	return kept
}

// settleKey appends the versions of one key, whose events are in order. For a seal it also keeps a range delete of what
// another one had taken away already: should that be undone, this one still holds.
func settleKey(events, kept []event, seal bool) []event {
	first := len(kept)
	for i, e := range events {
		prior := len(kept) - 1
		standing := prior >= first && kept[prior].Kind != model.Removed
		switch {
		case e.op != nil && e.op.undo != 0:
			x, ok := standingWithout(events[:i], e.undone)
			if !ok || standing {
				continue
			}
			x.Kind, x.Current, x.Offset, x.Index, x.Ingest, x.Author, x.Reason = model.Inserted, false, e.Offset, 0, e.Ingest, e.Author, e.Reason
			x.age, x.rank, x.op = e.age, e.rank, e.op
			e = x
		case e.Kind == model.Removed && !standing && prior >= first && seal && (e.op != nil || e.sealed()):
		case e.Kind == model.Removed && !standing && (prior >= first || e.op != nil):
			continue
		case e.Kind == model.Removed:
		case standing && kept[prior].SameValue(e.Sample):
			continue
		case standing:
			e.Kind = model.Replaced
		}
		kept = append(kept, e)
	}
	return kept
}

// standingWithout is what would stand behind events of one key had some range deletes never been.
func standingWithout(events []event, undone []uint64) (x event, ok bool) {
	for _, e := range events {
		switch {
		case e.op != nil && e.op.undo != 0:
		case e.Kind != model.Removed:
			x, ok = e, true
		case !slices.Contains(undone, e.Offset):
			ok = false
		}
	}
	return x, ok
}

// compareEvents orders what happened: by key, then oldest first. What a generation holds of a key comes behind the history
// it wrote beside it, and what a seal wrote keeps its order.
func compareEvents(a, b event) int {
	return cmp.Or(
		cmp.Compare(a.Time, b.Time), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.age, b.age), cmp.Compare(a.rank, b.rank),
		cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Index, b.Index),
	)
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}
