package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// TestOrderOfArrivalDoesNotMatter loads the same samples of four days in order, nine tenths late, day by day backwards, and
// sample by sample backwards. Every store answers alike, before it is sealed and after, and none lets more than a
// generation and a half of samples gather in memory.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	const tags, days, perDay, run = 3, 4, 600, 10
	type piece struct {
		tag model.TagID
		s   model.Samples
	}
	var pieces []piece
	rng := rand.New(rand.NewPCG(1, 2))
	for day := range days {
		for from := 0; from < perDay; from += run {
			for tag := model.TagID(1); tag <= tags; tag++ {
				s := model.Samples{Type: model.Float64}
				for i := range run {
					at := int64(day)*86400e9 + int64(from+i)*120e9 + int64(rng.IntN(1000))*1e6
					s.Append(model.Sample{Time: at, Type: model.Float64, Bits: rng.Uint64N(1000)})
				}
				pieces = append(pieces, piece{tag, s})
			}
		}
	}
	late := slices.Clone(pieces)
	for i := range late { // nine tenths change places with anything
		if rng.IntN(10) > 0 {
			j := rng.IntN(len(late))
			late[i], late[j] = late[j], late[i]
		}
	}
	dayOf := func(p piece) int64 { return p.s.Times[0] / 86400e9 }
	daysBack := slices.Clone(pieces)
	slices.SortStableFunc(daysBack, func(a, b piece) int { return int(dayOf(b) - dayOf(a)) })
	back := slices.Clone(pieces)
	slices.Reverse(back)
	for i := range back {
		s := model.Samples{Type: model.Float64}
		for k := back[i].s.Len() - 1; k >= 0; k-- {
			s.Append(back[i].s.At(k))
		}
		back[i].s = s
	}
	var want [][]model.Sample
	for _, load := range []struct {
		name   string
		pieces []piece
	}{{"in order", pieces}, {"nine tenths late", late}, {"days backwards", daysBack}, {"backwards", back}} {
		t.Run(load.name, func(t *testing.T) {
			o := testOptions(vfs.NewMem())
			db, err := Open("store", o)
			require.NoError(t, err)
			defer db.Close()
			createFloatTags(t, db, tags)
			for i, p := range load.pieces {
				pending, err := db.Submit(context.Background(), &Batch{
					Source: "s", Epoch: 1, Sequence: uint64(i + 1), ContentHash: uint64(i), Runs: []Run{{Tag: p.tag, Mode: model.Update, Samples: p.s}},
				})
				require.NoError(t, err)
				_, err = pending.Applied(context.Background())
				require.NoError(t, err)
				require.Less(t, db.Status().HeadSamples, uint64(o.GenerationSamples*5/2), "in the head and the one being written")
			}
			for _, sealed := range []bool{false, true} {
				if sealed {
					seal(t, db)
				}
				v, err := db.View(context.Background(), Accepted)
				require.NoError(t, err)
				for tag := model.TagID(1); tag <= tags; tag++ {
					have := readAll(t, v, tag, model.All)
					if len(want) < tags {
						require.Len(t, have, days*perDay)
						want = append(want, have)
					}
					require.True(t, slices.EqualFunc(want[tag-1], have, sameSample), "tag %d, sealed %v", tag, sealed)
				}
				v.Close()
			}
		})
	}
}

func createFloatTags(t testing.TB, db *DB, n int) {
	var changes []catalog.Change
	for i := range n {
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
			Name: fmt.Sprintf("F%d", i), UUID: model.UUID{byte(i), byte(i >> 8), 7}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
		}}})
	}
	res, err := db.ChangeCatalog(context.Background(), changes)
	require.NoError(t, err)
	for _, r := range res {
		require.NoError(t, r.Err)
	}
}

// TestClockStepsBack sets the clock back by half a day: ingest goes on, ingest times do not decrease, and samples keep their
// own times.
func TestClockStepsBack(t *testing.T) {
	o := testOptions(vfs.NewMem())
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	o.Now = func() time.Time { return now }
	db, err := Open("store", o)
	require.NoError(t, err)
	defer db.Close()
	createFloatTags(t, db, 1)
	var last int64
	for i := range 20 {
		if i == 10 {
			now = now.Add(-12 * time.Hour)
		}
		s := model.Samples{Type: model.Float64}
		s.Append(model.Sample{Time: now.UnixNano() + int64(i), Type: model.Float64, Bits: uint64(i)})
		p, err := db.Submit(context.Background(), &Batch{Runs: []Run{{Tag: 1, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		_, err = p.Applied(context.Background())
		require.NoError(t, err)
		db.mu.RLock()
		ingest := db.ingest
		db.mu.RUnlock()
		require.GreaterOrEqual(t, ingest, last)
		last = ingest
	}
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	all := readAll(t, v, 1, model.All)
	require.Len(t, all, 20)
	require.Equal(t, uint64(10), all[0].Bits, "what was measured earlier stands earlier")
}

// TestTooManyTagsLeaveTheOthersAlone asks for a hundred times as many tags as the quota has: the rest is refused, each by
// itself, and the tags there are go on.
func TestTooManyTagsLeaveTheOthersAlone(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.MaxTags = 50
	db, err := Open("store", o)
	require.NoError(t, err)
	defer db.Close()
	createFloatTags(t, db, 10)
	made, refused := 10, 0
	for batch := range 50 {
		var changes []catalog.Change
		for i := range 100 {
			changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
				Name: fmt.Sprintf("bogus %d.%d", batch, i), UUID: model.UUID{byte(i), byte(batch), 9}, Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
			}}})
		}
		res, err := db.ChangeCatalog(context.Background(), changes)
		require.NoError(t, err)
		for _, r := range res {
			if r.Err == nil {
				made++
				continue
			}
			require.ErrorIs(t, r.Err, catalog.ErrTagQuota)
			refused++
		}
		s := model.Samples{Type: model.Float64}
		s.Append(model.Sample{Time: int64(batch+1) * 1e9, Type: model.Float64})
		p, err := db.Submit(context.Background(), &Batch{Runs: []Run{{Tag: 3, Mode: model.Update, Samples: s}}})
		require.NoError(t, err)
		r, err := p.Applied(context.Background())
		require.NoError(t, err)
		require.Equal(t, 1, r.Applied)
	}
	require.Equal(t, 50, made)
	require.Equal(t, 5000-40, refused)
}
