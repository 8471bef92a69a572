package query

import (
	"context"
	"fmt"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/rollup"
)

// RollupBucket is what a bucket of one tag holds, by the tag's settings, with the shape that leads into it and out of it. Uncertain samples
// are used. It comes from rollups where nothing newer lies over them, like every aggregate.
type RollupBucket struct {
	Start, End  int64
	Samples     rollup.Partial
	Durations   rollup.Durations
	Stepped     float64 // integral of the shape held from sample to sample, in units of the value times nanoseconds
	Sloped      float64 // of the sloped one, by simple bounds
	Integrals   bool    // whether there are any
	Transitions int64
	Changes     bool // whether those are counted
}

// Rollups hands out the buckets between ascending edges, of a tag in one of its epochs, until do is false. What it hands out holds until do
// returns. read is told how the buckets were found.
func (m *Moment) Rollups(ctx context.Context, tag *model.Tag, edges []int64, read func(storage.Reading), do func(*RollupBucket) (bool, error)) (bool, error) {
	need := int64(cursorBytes + 2*windowBuckets*partialBytes)
	release, err := m.engine.Reserve(need)
	if err != nil {
		return false, err
	}
	defer release()
	p := pieces{stretch: stretch{view: tellingView{m.view, read}}, detail: storage.Full, usable: true}
	defer p.close()
	p.open(tag, edges)
	for i := range len(edges) - 1 {
		b := RollupBucket{Start: edges[i], End: edges[i+1], Integrals: true, Changes: true}
		if err := p.of(ctx, i, func(x *piece) error {
			b.add(x)
			return nil
		}); err != nil {
			return false, fmt.Errorf("rollups of tag %s: %w", tag.Name, err)
		}
		if more, err := do(&b); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// add adds a piece of the bucket, in order.
func (b *RollupBucket) add(x *piece) {
	iv := &x.Interval
	iv.Hold = holdUntil(iv)
	b.Durations = addDurations(b.Durations, iv.Durations())
	stepped, ok := iv.Integral(rollup.Rule{Stepped: true})
	sloped, ok2 := iv.Integral(rollup.Rule{})
	b.Integrals = b.Integrals && ok && ok2 && !x.unsure
	b.Stepped, b.Sloped = b.Stepped+stepped.Value, b.Sloped+sloped.Value
	n, ok := iv.Transitions(false)
	b.Changes = b.Changes && ok
	b.Transitions += n
	b.Samples.Merge(iv.In)
}

// tellingView tells how partials were read.
type tellingView struct {
	View
	read func(storage.Reading)
}

func (v tellingView) Partials(ctx context.Context, tag model.TagID, edges []int64, detail storage.Detail, into *storage.Partials) error {
	err := v.View.Partials(ctx, tag, edges, detail, into)
	if v.read != nil {
		v.read(into.Reading)
	}
	return err
}
