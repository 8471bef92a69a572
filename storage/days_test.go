package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// copyOf is what somebody who keeps a copy noted of some tags: everything they had, and the offset up to which that holds.
type copyOf struct {
	tags   []model.TagID
	log    [16]byte
	offset uint64
	days   map[keys.Partition][]Content
}

func takeCopy(t testing.TB, db *DB, tags []model.TagID) (c copyOf, days []Day) {
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	days, err = v.Days(context.Background(), tags)
	require.NoError(t, err)
	c = copyOf{tags: tags, log: v.LogID(), offset: v.Offset(), days: map[keys.Partition][]Content{}}
	for i, d := range days {
		require.LessOrEqual(t, d.Changed, c.offset)
		require.True(t, i == 0 || days[i-1].Partition.Compare(d.Partition) < 0)
		for x, err := range v.DayContents(context.Background(), d.Partition, tags) {
			require.NoError(t, err)
			c.days[d.Partition] = append(c.days[d.Partition], x)
		}
	}
	return c, days
}

// writeInDay is a random write, all of it in one day.
func (h *history) writeInDay(d int64) {
	w := h.randomWrite()
	for i, t := range w.Samples.Times {
		w.Samples.Times[i] = d*day + (t%day+day)%day
	}
	writes := []plain.Write{w}
	p, err := h.db.Submit(context.Background(), h.batch(writes))
	require.NoError(h.t, err)
	h.model.Apply(&writes[0])
	_, err = p.Applied(context.Background())
	require.NoError(h.t, err)
}

// TestDaysTellWhatChanged keeps copies of random tags at random moments of a history of writes, edits, range deletes, their undoing and
// erasures, over seals and restarts. At every later moment a day that has not changed since has the content of the copy, and what
// all days have together is what the store has. Some days must be found unchanged, or the answer would be of no use.
func TestDaysTellWhatChanged(t *testing.T) {
	unchanged, changed := 0, 0
	for seed := range uint64(seeds("VARVE_MODEL_SEEDS", fewer(8))) {
		fs := vfs.NewMem()
		h := newHistory(t, seed, fs)
		rng := rand.New(rand.NewPCG(seed, 12))
		var copies []copyOf
		for i := range 80 {
			if rng.IntN(6) == 0 {
				h.step()
			} else {
				h.writeInDay(int64(rng.IntN(5) - 1))
			}
			switch rng.IntN(8) {
			case 0:
				seal(t, h.db)
			case 1:
				require.NoError(t, h.db.Close())
				h.open(fs)
			case 2:
				_, err := h.db.Flush(context.Background())
				require.NoError(t, err)
			}
			if i%3 != 2 {
				continue
			}
			var tags []model.TagID
			for tag := range model.TagID(h.tags) {
				if rng.IntN(3) > 0 {
					tags = append(tags, tag+1)
				}
			}
			for _, before := range copies {
				now, days := takeCopy(t, h.db, before.tags)
				require.Equal(t, before.log, now.log)
				listed := map[keys.Partition]bool{}
				for _, d := range days {
					listed[d.Partition] = true
					if d.Changed > before.offset {
						changed++
						continue
					}
					unchanged++
					require.Equal(t, before.days[d.Partition], now.days[d.Partition], "seed %d, step %d, %s: changed by %d, copy of %d", seed, i, d.Partition, d.Changed, before.offset)
				}
				for _, c := range contentsOf(t, h.db) {
					for _, tag := range before.tags {
						require.True(t, c.Tag != tag || listed[c.Partition], "seed %d, step %d: tag %d has something in %s", seed, i, tag, c.Partition)
					}
				}
			}
			c, _ := takeCopy(t, h.db, tags)
			copies = append(copies, c)
			if len(copies) > 5 { // old ones say little: everything has changed since
				at := rng.IntN(len(copies))
				copies = slices.Delete(copies, at, at+1)
			}
		}
		require.NoError(t, h.db.Close())
	}
	t.Logf("%d days unchanged, %d changed", unchanged, changed)
	require.Positive(t, unchanged)
	require.Positive(t, changed)
}

// TestDayContentsAreThoseOfTheDay holds that choosing a day and tags leaves out nothing else.
func TestDayContentsAreThoseOfTheDay(t *testing.T) {
	h := newHistory(t, 9, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	for range 60 {
		h.step()
	}
	tags := []model.TagID{1, 3, 7}
	c, _ := takeCopy(t, h.db, tags)
	want := map[keys.Partition][]Content{}
	for _, x := range contentsOf(t, h.db) {
		if x.Tag == 1 || x.Tag == 3 || x.Tag == 7 {
			want[x.Partition] = append(want[x.Partition], x)
		}
	}
	require.NotEmpty(t, want)
	require.Equal(t, want, c.days)
}

// TestDaysOfOtherTagsAndDays: a write, a delete and an erasure of one tag and day leave days they do not touch as they were; a day of which all is
// erased is not there any more.
func TestDaysOfOtherTagsAndDays(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	ctx := context.Background()
	for d := range int64(5) {
		h.write(1, model.Update, d*day, 1e9, 10, func(i int) float64 { return float64(i) })
		h.write(1, model.Update, d*day+day/2, 1e9, 10, func(i int) float64 { return float64(i) })
	}
	_, err := h.db.Flush(ctx)
	require.NoError(t, err)
	changedBehind := func(offset uint64) (out []string) {
		_, days := takeCopy(t, h.db, []model.TagID{1})
		for _, d := range days {
			if d.Changed > offset {
				out = append(out, fmt.Sprint(d.Partition.Number))
			}
		}
		return out
	}
	at := func() uint64 {
		c, _ := takeCopy(t, h.db, []model.TagID{1})
		return c.offset
	}
	before := at()
	require.Empty(t, changedBehind(before))
	h.write(1, model.Update, 3*day+5, 1e9, 1, func(int) float64 { return 7 })
	require.Equal(t, []string{"3"}, changedBehind(before))
	_, err = h.db.DeleteRange(ctx, []model.TagID{1}, model.TimeRange{Start: day + 3, End: day + 4}, "ann", "x")
	require.NoError(t, err)
	require.Equal(t, []string{"1", "3"}, changedBehind(before))
	middle := at()
	_, err = h.db.DeleteRange(ctx, []model.TagID{2}, model.TimeRange{Start: 0, End: day}, "ann", "another tag")
	require.NoError(t, err)
	require.Empty(t, changedBehind(middle))
	_, err = h.db.Purge(ctx, []model.TagID{1}, model.TimeRange{Start: 4 * day, End: 5 * day}, "ann", "x")
	require.NoError(t, err)
	seal(t, h.db)
	_, days := takeCopy(t, h.db, []model.TagID{1})
	for _, d := range days {
		require.NotEqual(t, int32(4), d.Partition.Number)
	}
	require.Len(t, days, 4)
}

// TestDaysOfAnEndedGeneration: a generation that is complete and not yet written counts as changed by its newest record, as it does when it is
// written, and not by all that came since.
func TestDaysOfAnEndedGeneration(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	defer func() { require.NoError(t, h.db.Close()) }()
	ctx := context.Background()
	_, err := h.db.Flush(ctx) // the writer runs, and has read where its work comes from
	require.NoError(t, err)
	writer, held := h.db.toWrite, make(chan *ended, 1)
	h.db.toWrite = held
	h.write(1, model.Update, 3*day, 1e9, 10, func(i int) float64 { return float64(i) })
	ends, err := h.db.DeleteRange(ctx, []model.TagID{1}, model.TimeRange{Start: day, End: day + 1}, "ann", "x")
	require.NoError(t, err)
	e := <-held
	_, err = h.db.DeleteRange(ctx, []model.TagID{2}, model.TimeRange{Start: 0, End: day}, "ann", "another tag")
	require.NoError(t, err)
	_, waiting := takeCopy(t, h.db, []model.TagID{1})
	h.db.toWrite = writer
	writer <- e
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	_, written := takeCopy(t, h.db, []model.TagID{1})
	want := []Day{{keys.DayOf(3 * day), ends}}
	require.Equal(t, want, waiting)
	require.Equal(t, want, written)
}
