package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
	"github.com/varvedb/varve/storage/rollup"
)

const day = int64(24 * time.Hour)

// write puts values of a tag of type float64, one every step from an instant on.
func (h *history) write(tag model.TagID, mode model.WriteMode, from, step int64, n int, value func(i int) float64) *Result {
	run := Run{Tag: tag, Mode: mode}
	run.Samples.Type = model.Float64
	for i := range n {
		run.Samples.Append(model.Sample{Time: from + int64(i)*step, Type: model.Float64, Bits: math.Float64bits(value(i))})
	}
	p, err := h.db.Submit(context.Background(), &Batch{Runs: []Run{run}})
	require.NoError(h.t, err)
	r, err := p.Applied(context.Background())
	require.NoError(h.t, err)
	return r
}

// onDisk is the files of a store that have some bytes in them. Files may go while it looks.
func onDisk(fs vfs.FS, dir string, what []byte) (names []string) {
	list, _ := fs.List(dir)
	for _, n := range list {
		name := path.Join(dir, n)
		if info, err := fs.Stat(name); err != nil || info.IsDir() {
			names = append(names, onDisk(fs, name, what)...)
			continue
		}
		if b, err := readFile(fs, name); err == nil && bytes.Contains(b, what) {
			names = append(names, name)
		}
	}
	return names
}

// TestPurgeLeavesNothing: after a purge no file has the values any more, those that were replaced included, and everything
// else is as it was.
func TestPurgeLeavesNothing(t *testing.T) {
	for _, sealedBefore := range []bool{true, false} {
		fs := vfs.NewMem()
		h := newHistory(t, 1, fs)
		ctx := context.Background()
		text := func(at int64, s string) {
			run := Run{Tag: 7, Mode: model.Update, Samples: model.Samples{Type: model.String, Times: []int64{at}, Blobs: [][]byte{[]byte(s)}}}
			p, err := h.db.Submit(ctx, &Batch{Author: "ann", Reason: "shift", Runs: []Run{run}})
			require.NoError(t, err)
			_, err = p.Applied(ctx)
			require.NoError(t, err)
		}
		text(10, "first secret")
		text(10, "other secret")
		text(20, "kept words")
		text(day+10, "third secret")
		h.write(1, model.Update, 0, 1e9, 3000, func(i int) float64 { return float64(i) })
		if sealedBefore {
			seal(t, h.db)
		}
		require.NotEmpty(t, onDisk(fs, "store", []byte("other secret")))
		_, err := h.db.Purge(ctx, []model.TagID{7}, model.TimeRange{Start: 0, End: 15}, "ann", "person named")
		require.NoError(t, err)
		_, err = h.db.Purge(ctx, []model.TagID{7}, model.TimeRange{Start: day, End: 2 * day}, "ann", "person named")
		require.NoError(t, err)
		h.write(1, model.Update, 2*day, 1e9, 3000, func(i int) float64 { return float64(i * i) }) // fills segments of the log
		require.NoError(t, h.db.FoldErased(ctx))
		for _, s := range []string{"first secret", "other secret", "third secret"} {
			require.Eventually(t, func() bool { return len(onDisk(fs, "store", []byte(s))) == 0 }, patience, 10*time.Millisecond, s)
		}
		require.NotEmpty(t, onDisk(fs, "store", []byte("kept words")))
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		have := readAll(t, v, 7, model.All)
		require.Len(t, have, 1)
		require.Equal(t, "kept words", string(have[0].Blob))
		versions, err := v.Versions(ctx, 7, model.All)
		require.NoError(t, err)
		require.Len(t, versions, 1)
		require.Len(t, readAll(t, v, 1, model.All), 6000)
		v.Close()
		for _, e := range h.db.Erasures() {
			require.False(t, e.OnDisk)
			require.Equal(t, []any{1, "ann", "person named", record.ByPurge}, []any{e.Tags, e.Author, e.Reason, e.Cause})
		}
		requireNoAlarms(t, h.db)
		require.NoError(t, h.db.Close())
		h.open(fs)
		require.Len(t, h.db.Erasures(), 2)
		require.Empty(t, h.db.erasures.open)
		text(10, "written since") // the range is free
		v, err = h.db.View(ctx, Accepted)
		require.NoError(t, err)
		require.Len(t, readAll(t, v, 7, model.All), 2)
		v.Close()
		require.NoError(t, h.db.Close())
	}
}

// TestErasedIsGoneBetweenSealAndFold: the seal that goes before a fold does not bring back what was erased, should it be of the very generation
// that the erasure ended.
func TestErasedIsGoneBetweenSealAndFold(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	h.put(t, model.Update, 10, 1, 2, 3)
	offset, err := h.db.Purge(ctx, []model.TagID{1}, model.TimeRange{Start: 10, End: 12}, "ann", "x")
	require.NoError(t, err)
	require.Equal(t, []uint64{3}, floatsOf(t, h.db))
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	p := keys.DayOf(0)
	require.Equal(t, offset, h.db.directory.of(p)[0].id)
	require.NoError(t, h.db.sealToFold(ctx, p, h.db.erasures.open[0]))
	require.True(t, h.db.directory.of(p)[0].sealed)
	require.Equal(t, []uint64{3}, floatsOf(t, h.db))
	require.NoError(t, h.db.FoldErased(ctx))
	require.Equal(t, []uint64{3}, floatsOf(t, h.db))
	require.Empty(t, h.db.erasures.open)
	require.NoError(t, h.db.Close())
}

// TestEmptiedChunkStillSupersedes: a chunk of which an erasure leaves no samples stands for what an older seal packed of the tag all the
// same, and a range delete had taken away.
func TestEmptiedChunkStillSupersedes(t *testing.T) {
	ctx := context.Background()
	h := newHistory(t, 1, vfs.NewMem())
	h.put(t, model.Update, 1000, 1, 2)
	seal(t, h.db) // packed
	_, err := h.db.DeleteRange(ctx, []model.TagID{1}, model.TimeRange{Start: 1000, End: 1010}, "ann", "test rig")
	require.NoError(t, err)
	h.write(1, model.Update, 10, 1, 100, func(i int) float64 { return float64(i) })
	seal(t, h.db) // a chunk of its own
	require.Len(t, floatsOf(t, h.db), 100)
	_, err = h.db.Purge(ctx, []model.TagID{1}, model.TimeRange{Start: 0, End: 500}, "ann", "x")
	require.NoError(t, err)
	require.NoError(t, h.db.FoldErased(ctx))
	require.Empty(t, floatsOf(t, h.db))
	require.NoError(t, h.db.Close())
}

// TestErasedPartitionIsDropped: where nothing else lies in a day, its keys go without being read.
func TestErasedPartitionIsDropped(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	for d := range int64(4) {
		h.write(1, model.Update, d*day, 10e9, 5000, func(i int) float64 { return float64(i % 7) })
	}
	seal(t, h.db)
	keysOf := func() (n int) {
		for s := 0x30; s <= 0x41; s++ {
			require.NoError(t, scanRows(h.db.engine, keys.Space(s), func(k, v []byte) error { n++; return nil }))
		}
		return n
	}
	all := keysOf()
	_, err := h.db.submitErasure(ctx, &record.Erasure{What: record.SamplesAndRollups, Cause: record.ByBudget, From: model.MinTime, To: 2 * day, Reason: "full"}, nil)
	require.NoError(t, err)
	require.NoError(t, h.db.FoldErased(ctx))
	require.Len(t, h.db.directory.parts, 2)
	require.Equal(t, all/2, keysOf())
	require.Equal(t, uint64(10000), h.db.Status().Samples)
	require.NoError(t, h.db.Close())
	h.open(fs)
	require.Len(t, h.db.directory.parts, 2)
	require.Equal(t, all/2, keysOf())
	require.NoError(t, h.db.Close())
}

// TestHoldsKeepFromErasing: a hold keeps its tags and range from whatever erases, a purge of them is refused, and what a rule would
// have taken goes once the hold is released.
func TestHoldsKeepFromErasing(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	h.clock.Store(100 * day)
	for _, tag := range []model.TagID{1} {
		h.write(tag, model.Update, 90*day, 3600e9, 10*24, func(i int) float64 { return float64(i) })
	}
	seal(t, h.db)
	hold, err := h.db.Hold(ctx, []model.TagID{1}, model.TimeRange{Start: 91*day + 5, End: 91*day + 7200e9}, "lee", "case 7")
	require.NoError(t, err)
	_, err = h.db.Purge(ctx, []model.TagID{1}, model.TimeRange{Start: 91 * day, End: 92 * day}, "ann", "x")
	require.ErrorIs(t, err, ErrHeld)
	_, err = h.db.Purge(ctx, []model.TagID{2}, model.TimeRange{Start: 91 * day, End: 92 * day}, "ann", "another tag")
	require.NoError(t, err)
	_, err = h.db.SetRetention(ctx, &RetentionRule{Samples: 5 * 24 * time.Hour, Rollups: 5 * 24 * time.Hour, Author: "ann", Reason: "policy"})
	require.NoError(t, err)
	times := func() (out []int64) {
		require.NoError(t, h.db.ApplyRetention(ctx))
		require.NoError(t, h.db.FoldErased(ctx))
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		defer v.Close()
		for _, x := range readAll(t, v, 1, model.All) {
			out = append(out, x.Time)
		}
		return out
	}
	// the newest sample is of 99 days and 23 hours
	have := times()
	require.Equal(t, []int64{91*day + 3600e9, 94 * day}, have[:2])
	require.NoError(t, h.db.Close())
	h.open(fs)
	require.Equal(t, have, times())
	require.Equal(t, []string{"case 7"}, []string{h.db.Holds()[0].Reason})
	_, err = h.db.ReleaseHold(ctx, hold+1, "lee", "x")
	require.ErrorIs(t, err, ErrNoHold)
	_, err = h.db.ReleaseHold(ctx, hold, "lee", "settled")
	require.NoError(t, err)
	require.Equal(t, have[1:], times())
	require.Empty(t, h.db.Holds())
	n := len(h.db.Erasures())
	require.Equal(t, have[1:], times())
	require.Len(t, h.db.Erasures(), n, "nothing new to be erased")
	requireNoAlarms(t, h.db)
	require.NoError(t, h.db.Close())
}

// TestVersionsGoByTheirAge: a rule for versions takes values that ended long enough ago, not those that stand; what stood
// before is then refused rather than guessed.
func TestVersionsGoByTheirAge(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	h.clock.Store(10 * day)
	h.put(t, model.Update, 5*day, 1, 2, 3)
	h.clock.Store(11 * day)
	h.put(t, model.Update, 5*day, 10, 20) // ends 1 and 2
	h.put(t, model.Remove, 5*day+2, 0)    // ends 3
	h.put(t, model.Update, 6*day, 6)
	deleted, err := h.db.DeleteRange(ctx, []model.TagID{1}, model.TimeRange{Start: 6 * day, End: 7 * day}, "ann", "x")
	require.NoError(t, err)
	seal(t, h.db)
	h.clock.Store(30 * day)
	h.put(t, model.Update, 5*day, 100) // ends 10
	h.put(t, model.Update, 30*day, 7)
	modified := func() (out []uint64) {
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		defer v.Close()
		m := v.Modified(1, model.All)
		defer m.Close()
		for {
			b, err := m.Next(ctx)
			if errors.Is(err, io.EOF) {
				return out
			}
			require.NoError(t, err)
			out = append(out, b.Bits...)
		}
	}
	require.Equal(t, []uint64{1, 10, 2, 3, 6}, modified())
	_, err = h.db.SetRetention(ctx, &RetentionRule{Versions: 5 * 24 * time.Hour, Author: "ann", Reason: "policy"})
	require.NoError(t, err)
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	require.NoError(t, h.db.ApplyRetention(ctx))
	require.Equal(t, []uint64{10}, modified())
	_, err = h.db.Undelete(ctx, deleted, "ann", "wrong")
	require.ErrorIs(t, err, ErrErased)
	require.NoError(t, h.db.FoldErased(ctx))
	seal(t, h.db)
	require.Equal(t, []uint64{10}, modified())
	require.Equal(t, []uint64{100, 20, 7}, floatsOf(t, h.db))
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	_, err = v.SamplesAsOf(1, model.All, 20*day).Next(ctx)
	require.ErrorIs(t, err, ErrErased)
	again := v.SamplesAsOf(1, model.TimeRange{Start: 1, End: 2}, 20*day) // as reads of several tags go on with one cursor
	again.Reset(1, model.All)
	_, err = again.Next(ctx)
	require.ErrorIs(t, err, ErrErased)
	again.Close()
	was := collect(t, v.SamplesAsOf(1, model.All, 26*day))
	require.Equal(t, []uint64{10, 20}, []uint64{was[0].Bits, was[1].Bits})
	v.Close()

	// Once nothing was written for long enough no version is left on the disk.
	h.clock.Store(60 * day)
	h.put(t, model.Update, 60*day, 8)
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	require.NoError(t, h.db.ApplyRetention(ctx))
	require.NoError(t, h.db.FoldErased(ctx))
	require.Empty(t, modified())
	for _, p := range h.db.directory.parts {
		for _, g := range p.gens {
			require.False(t, g.hasVersions, p.name)
		}
	}
	require.Empty(t, h.db.erasures.open)
	require.Equal(t, []uint64{100, 20, 7, 8}, floatsOf(t, h.db))
	requireNoAlarms(t, h.db)
	require.NoError(t, h.db.Close())
}

// TestRollupsOutliveSamples: where a rule keeps rollups longer, days and hours are answered as before, also of a tag with few samples;
// what only samples could tell is an error and not a guess.
func TestRollupsOutliveSamples(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	_, err := h.db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "slow", UUID: model.UUID{9}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	const slow = model.TagID(9)
	h.clock.Store(101 * day)
	for d := int64(90); d < 100; d++ {
		h.write(1, model.Update, d*day+2*3600e9, 2e9, 20*1800, func(i int) float64 { return float64(i%100) / 4 })
		h.write(slow, model.Update, d*day, 2*3600e9, 12, func(i int) float64 { return float64(i) })
	}
	seal(t, h.db)
	edges := func(from, step int64, n int) (out []int64) {
		for i := range n + 1 {
			out = append(out, from+int64(i)*step)
		}
		return out
	}
	questions := [][]int64{
		edges(90*day, day, 10), edges(90*day, 3600e9, 240), edges(91*day+5*3600e9, 7*3600e9, 20), {93 * day, 96 * day},
	}
	ask := func(tag model.TagID, edges []int64, d Detail) (Partials, error) {
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		defer v.Close()
		var p Partials
		err = v.Partials(ctx, tag, edges, d, &p)
		return p, err
	}
	type answer struct {
		counts        []rollup.Counts
		stats         []rollup.Stats
		before, after rollup.Point
	}
	answers := func() (out []answer) {
		for _, tag := range []model.TagID{1, slow} {
			for _, q := range questions {
				for _, d := range []Detail{Full, Plain} {
					p, err := ask(tag, q, d)
					require.NoError(t, err)
					var a answer
					for i := range p.Buckets {
						s, _ := p.Buckets[i].Stats(false)
						a.counts, a.stats = append(a.counts, p.Buckets[i].Counts()), append(a.stats, s)
					}
					a.before, _ = p.Before.Last()
					a.after, _ = p.After.First()
					out = append(out, a)
				}
			}
		}
		return out
	}
	want := answers()
	_, err = h.db.SetRetention(ctx, &RetentionRule{Samples: 3 * 24 * time.Hour, Rollups: 8 * 24 * time.Hour, Author: "ann", Reason: "policy"})
	require.NoError(t, err)
	h.clock.Store(95 * day) // only samples go at first: before day 92
	require.NoError(t, h.db.ApplyRetention(ctx))
	require.Equal(t, want, answers(), "before they are off the disk")
	require.NoError(t, h.db.FoldErased(ctx))
	require.Equal(t, want, answers())
	seal(t, h.db)
	require.Equal(t, want, answers())
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	require.Equal(t, 92*day, readAll(t, v, slow, model.All)[0].Time)
	require.Equal(t, 92*day+2*3600e9, readAll(t, v, 1, model.All)[0].Time)
	v.Close()

	for _, q := range [][]int64{edges(91*day+10*3600e9, 60e9, 30), {91*day + 5*3600e9 + 5, 95 * day}, {90 * day, 91*day + 3600e9*3 + 1}} {
		_, err := ask(1, q, Full)
		require.ErrorIs(t, err, ErrErased, q)
	}
	fine, err := ask(1, edges(91*day+10*3600e9, 600e9, 30), Plain) // ten minutes are kept
	require.NoError(t, err)
	require.Equal(t, int64(300), fine.Buckets[7].Counts().All())
	none, err := ask(1, edges(91*day, 60e9, 30), Full) // nothing was there
	require.NoError(t, err)
	require.Zero(t, none.Buckets[3].Counts().All())

	// Nothing can be written there any more.
	require.Equal(t, 92*day, h.db.KeptSince(1))
	require.Equal(t, 3, h.write(1, model.Update, 91*day, 1e9, 3, func(int) float64 { return 1 }).Rejected)
	require.Equal(t, 3, h.write(1, model.Update, 92*day, 1e9, 3, func(int) float64 { return 1 }).Applied)

	// In the end the rollups go too.
	h.clock.Store(101 * day)
	require.NoError(t, h.db.ApplyRetention(ctx))
	require.NoError(t, h.db.FoldErased(ctx))
	p, err := ask(1, edges(90*day, day, 10), Full)
	require.NoError(t, err)
	counts := make([]int64, 10)
	for i := range counts {
		counts[i] = p.Buckets[i].Counts().All()
	}
	require.Equal(t, []int64{0, 36000, 36003, 36000, 36000, 36000, 36000, 36000, 36000, 36000}, counts)
	require.Equal(t, 91*day, h.db.directory.parts[0].name.Range().Start)
	require.NoError(t, h.db.Close())
	h.open(fs)
	p, err = ask(1, edges(90*day, day, 10), Full)
	require.NoError(t, err)
	require.Equal(t, int64(36000), p.Buckets[1].Counts().All())
	v, err = h.db.View(ctx, Accepted)
	require.NoError(t, err)
	require.Equal(t, 96*day, readAll(t, v, slow, model.All)[0].Time)
	v.Close()
	requireNoAlarms(t, h.db)
	require.NoError(t, h.db.Close())
}

// TestRetentionFollowsTags: tags that come to a class with old samples lose them, those that leave it keep theirs, and samples that come
// late into what was erased go as well.
func TestRetentionFollowsTags(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	var made []catalog.Change
	for i := range 3 {
		made = append(made, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("R%d", i), UUID: model.UUID{100, byte(i)}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}}, Retention: []string{"fast", "", "fast"}[i],
		}}})
	}
	_, err := h.db.ChangeCatalog(ctx, made)
	require.NoError(t, err)
	const fast, plain, left = 9, 10, 11
	h.clock.Store(101 * day)
	for _, tag := range []model.TagID{fast, plain, left} {
		h.write(tag, model.Update, 90*day, 3600e9, 10*24, func(i int) float64 { return float64(i) })
	}
	class := func(tag model.TagID, name string) {
		_, err := h.db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: tag, Retention: &name}}})
		require.NoError(t, err)
	}
	firsts := func() (out []int64) {
		seal(t, h.db)
		require.NoError(t, h.db.ApplyRetention(ctx))
		seal(t, h.db)
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		defer v.Close()
		for _, tag := range []model.TagID{fast, plain, left} {
			out = append(out, readAll(t, v, tag, model.All)[0].Time/day)
		}
		return out
	}
	_, err = h.db.SetRetention(ctx, &RetentionRule{Class: "fast", Samples: 4 * 24 * time.Hour, Rollups: 4 * 24 * time.Hour, Author: "ann", Reason: "policy"})
	require.NoError(t, err)
	class(left, "")
	require.Equal(t, []int64{95, 90, 90}, firsts())
	class(plain, "fast")
	require.Equal(t, []int64{95, 95, 90}, firsts())
	class(left, "fast")
	class(fast, "")
	require.Equal(t, []int64{95, 95, 95}, firsts())
	h.write(plain, model.Update, 92*day, 3600e9, 5, func(i int) float64 { return 1 }) // past the door
	h.write(fast, model.Update, 92*day, 3600e9, 5, func(i int) float64 { return 1 })
	require.Equal(t, []int64{92, 95, 95}, firsts())
	n := len(h.db.Erasures())
	require.Equal(t, []int64{92, 95, 95}, firsts())
	require.Len(t, h.db.Erasures(), n)
	require.Less(t, len(h.db.erasures.done), 4)

	h.clock.Store(10_000 * day) // a clock that is decades off erases nothing
	require.Equal(t, []int64{92, 95, 95}, firsts())
	requireNoAlarms(t, h.db)
	require.NoError(t, h.db.Close())
}

// TestTagsThatLeftAClassAreLeftAlone: what a class loses later is not taken of a tag that was in it once: its samples are read and
// written, its versions stay.
func TestTagsThatLeftAClassAreLeftAlone(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	class := func(tag model.TagID, name string) {
		_, err := h.db.ChangeCatalog(ctx, []catalog.Change{{Update: &catalog.Update{ID: tag, Retention: &name}}})
		require.NoError(t, err)
	}
	const stays, left = 1, 9
	_, err := h.db.ChangeCatalog(ctx, []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "left", UUID: model.UUID{9}, Retention: "fast", Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
	}}}})
	require.NoError(t, err)
	class(stays, "fast")
	h.clock.Store(101 * day)
	for _, tag := range []model.TagID{stays, left} {
		h.write(tag, model.Update, 90*day, 60e9, 10*1440, func(i int) float64 { return float64(i) })
	}
	_, err = h.db.SetRetention(ctx, &RetentionRule{Class: "fast", Versions: 24 * time.Hour, Samples: 7 * 24 * time.Hour, Rollups: 90 * 24 * time.Hour, Author: "ann", Reason: "policy"})
	require.NoError(t, err)
	apply := func() {
		seal(t, h.db)
		require.NoError(t, h.db.ApplyRetention(ctx))
		require.NoError(t, h.db.FoldErased(ctx))
		require.Empty(t, h.db.erasures.open)
	}
	apply()
	require.Equal(t, []int64{92 * day, 92 * day}, []int64{h.db.KeptSince(stays), h.db.KeptSince(left)})
	class(left, "")
	h.write(left, model.Update, 95*day, 60e9, 1, func(int) float64 { return -1 }) // a version
	h.clock.Store(106 * day)
	h.write(stays, model.Update, 105*day, 60e9, 1440, func(i int) float64 { return float64(i) })
	apply()
	require.Equal(t, []int64{98 * day, 92 * day}, []int64{h.db.KeptSince(stays), h.db.KeptSince(left)})
	require.Equal(t, 1, h.write(left, model.Update, 94*day+30e9, 60e9, 1, func(int) float64 { return 5 }).Applied)
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	var p Partials
	require.ErrorIs(t, v.Partials(ctx, stays, []int64{94*day + 7e9, 94*day + 67e9}, Full, &p), ErrErased)
	require.NoError(t, v.Partials(ctx, left, []int64{94*day + 7e9, 94*day + 67e9}, Full, &p))
	require.Equal(t, int64(2), p.Buckets[0].Counts().All())
	versions, err := v.Versions(ctx, left, model.TimeRange{Start: 95 * day, End: 95*day + 1})
	require.NoError(t, err)
	require.Len(t, versions, 2)
	v.Close()
	require.NoError(t, h.db.Close())
}

// TestDiskBudget: the oldest days go while the store is larger than it may be, the newest two stay.
func TestDiskBudget(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	for d := range int64(8) {
		h.write(1, model.Update, d*day, 10e9, 8640, func(i int) float64 { return float64(h.rng.Uint64()) })
	}
	seal(t, h.db)
	size := h.db.liveBytes()
	budget := int64(size) * 6 / 10
	reopen := func(budget int64) {
		require.NoError(t, h.db.Close())
		h.diskBudget = budget
		h.open(fs)
	}
	reopen(budget)
	for range 3 {
		require.NoError(t, h.db.ApplyRetention(ctx))
		require.NoError(t, h.db.FoldErased(ctx))
	}
	require.LessOrEqual(t, h.db.liveBytes(), uint64(budget))
	left := len(h.db.directory.parts)
	require.Greater(t, left, 2)
	require.Less(t, left, 8)
	requireNoAlarms(t, h.db)
	reopen(1)
	for range 6 {
		require.NoError(t, h.db.ApplyRetention(ctx))
		require.NoError(t, h.db.FoldErased(ctx))
	}
	require.Len(t, h.db.directory.parts, 2)
	require.True(t, slices.ContainsFunc(h.db.Status().Alarms, func(a Alarm) bool { return a.Name == "disk_budget_exceeded" }))
	require.NoError(t, h.db.Close())
}
