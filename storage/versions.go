package storage

import (
	"context"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
)

// event is one thing that happened to a key, with its place in the order of all.
type event struct {
	chunk.VersionRow
	age uint64 // as in piece
}

// Versions is every version of every key in a range: ascending by (time, seq), then oldest first. Offset and Index are 0
// where only the generation of a version is known, and Ingest is then exact to the second.
func (v *View) Versions(ctx context.Context, tag model.TagID, in model.TimeRange) ([]model.Version, error) {
	in.Reverse = false
	c := v.src.cursor(tag, in)
	defer c.Close()
	if c.err != nil {
		return nil, c.err
	}
	var out []model.Version
	for _, p := range c.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		events, err := c.events(p)
		if err != nil {
			return nil, c.damaged(p.Range(), err)
		}
		out = v.assemble(events, out)
	}
	return out, nil
}

// events is all that happened in a partition: what chunks and heads hold, and the histories beside them.
func (c *Cursor) events(p keys.Partition) ([]event, error) {
	if err := c.list(p); err != nil {
		return nil, err
	}
	var events []event
	var d chunk.Data
	for i := range c.pieces {
		x := &c.pieces[i]
		if err := c.load(x, &d); err != nil {
			return nil, err
		}
		at, left := 0, 0
		for k, t := range x.data.Times {
			for ; left == 0 && at < len(x.data.Origins); at++ {
				left = x.data.Origins[at].Samples
			}
			left--
			if !c.in.Contains(t) {
				continue
			}
			var o chunk.Origin
			if at > 0 { // a chunk need not know where its samples came from
				o = x.data.Origins[at-1]
			}
			s := x.data.At(k)
			s.Blob = slices.Clone(s.Blob)
			events = append(events, event{chunk.VersionRow{Sample: s, Kind: model.Inserted, Current: true, Ingest: o.Ingest * 1e9, Source: o.Source}, x.age})
		}
		x.data = nil
	}
	for i := range c.src.heads {
		r := &c.heads[i] // settled by list just now; the head itself may be applied to meanwhile
		for k := range r.History {
			events = append(events, event{versionRow(&r.History[k]), headAge + uint64(i)})
		}
	}
	for _, g := range c.gens {
		if !g.hasVersions {
			continue
		}
		more, err := readVersions(c.src.engine, p, g.id, c.tag)
		if err != nil {
			return nil, err
		}
		for _, r := range more {
			if c.in.Contains(r.Time) {
				events = append(events, event{r, g.id})
			}
		}
	}
	return events, nil
}

func readVersions(r pebble.Reader, p keys.Partition, generation uint64, tag model.TagID) ([]chunk.VersionRow, error) {
	prefix := keys.AppendGenerationTag(p, keys.Version, generation, tag)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keys.Next(prefix)})
	if err != nil {
		return nil, engineError("read versions", err)
	}
	defer it.Close()
	var rows []chunk.VersionRow
	for ok := it.First(); ok; ok = it.Next() {
		more, err := chunk.DecodeVersions(it.Value())
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, engineError("read versions", it.Error())
}

// assemble turns events into versions. Within a generation what a chunk holds comes last; an edit that is also in the
// chunk says who and why. A value equal to the one before it, both standing, is no version.
func (v *View) assemble(events []event, out []model.Version) []model.Version {
	slices.SortStableFunc(events, func(a, b event) int {
		switch {
		case a.Time != b.Time:
			return order(a.Time < b.Time)
		case a.Seq != b.Seq:
			return order(a.Seq < b.Seq)
		case a.age != b.age:
			return order(a.age < b.age)
		case a.Current != b.Current:
			return order(b.Current)
		case a.Offset != b.Offset:
			return order(a.Offset < b.Offset || b.Offset == 0)
		}
		return int(int64(a.Index) - int64(b.Index))
	})
	for i, e := range events {
		x := model.Version{
			Sample: e.Sample, Kind: e.Kind, Offset: e.Offset, Index: e.Index, Ingest: e.Ingest,
			Source: v.SourceName(e.Source), Author: e.Author, Reason: e.Reason,
		}
		if e.Kind == model.Removed {
			x.Sample = model.Sample{Time: e.Time, Type: e.Type, Seq: e.Seq, Null: true}
		}
		prior := -1
		if n := len(out) - 1; n >= 0 && i > 0 && out[n].Time == x.Time && out[n].Seq == x.Seq {
			prior = n
		}
		standing := prior >= 0 && out[prior].Kind != model.Removed
		switch {
		case x.Kind == model.Removed && !standing && prior >= 0:
			continue
		case x.Kind == model.Removed:
		case standing && out[prior].SameValue(x.Sample):
			continue
		case standing:
			x.Kind = model.Replaced
		}
		out = append(out, x)
	}
	return out
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}
