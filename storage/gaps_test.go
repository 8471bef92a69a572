package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/record"
	"github.com/varvedb/varve/storage/rollup"
)

// randomGap draws what reports gaps, ends open ones or withdraws some; now and then where there are none.
func (h *history) randomGap() *testOp {
	r := h.gapRNG
	s := &record.State{State: record.Missing, Gap: model.GapKind(1 + r.IntN(4)), Source: []string{"plc", "dcs"}[r.IntN(2)], Author: "ann", Reason: fmt.Sprintf("cable %d", r.IntN(3))}
	for tag := range model.TagID(h.tags) {
		if r.IntN(3) == 0 {
			s.Tags = append(s.Tags, tag+1)
		}
	}
	if len(s.Tags) == 0 {
		s.Tags = []model.TagID{1}
	}
	s.From = int64(r.IntN(5*1440)-2*1440) * 60e9
	s.To = s.From + []int64{1, 60e9, 300e9, 3600e9, 86400e9, 3 * 86400e9}[r.IntN(6)]
	switch r.IntN(8) {
	case 0:
		s.To = model.OpenGap
	case 1:
		s.State, s.Gap, s.To = record.Alive, 0, s.From
		if r.IntN(2) == 0 {
			s.Source = ""
		}
	case 2, 3:
		s.State, s.Gap, s.From, s.To = record.Withdrawn, 0, 0, 0
		if s.Of = 1 + r.Uint64N(h.db.log.HighWatermark()+1); r.IntN(3) > 0 {
			s.Tags = nil
			h.db.mu.RLock()
			for tag := range model.TagID(h.tags) {
				if list := h.db.gaps.byTag[tag+1]; len(list) > 0 && r.IntN(2) == 0 {
					s.Of = list[r.IntN(len(list))].ID
				}
			}
			h.db.mu.RUnlock()
		}
	}
	return &testOp{gap: s}
}

// applyGap does to gaps what an operation says, and reports whether there was anything to be done.
func (o *testOp) applyGap(m plain.Gaps) bool {
	if o.erase != 0 {
		m.Erase(o.tags, o.in, o.erase == record.ByPurge)
	}
	s := o.gap
	if s == nil {
		return false
	}
	v := plain.GapVersion{Author: s.Author, Reason: s.Reason, Ingest: o.ingest}
	switch s.State {
	case record.Missing:
		m.Report(s.Tags, model.Gap{ID: o.id, Kind: s.Gap, From: s.From, To: s.To, Source: s.Source, Recorded: o.ingest}, v)
	case record.Alive:
		m.End(s.Tags, s.From, s.Source, v)
	case record.Withdrawn:
		return m.Withdraw(s.Of, s.Tags, v)
	}
	return true
}

// stepGap reports, ends or withdraws gaps in store and model.
func (h *history) stepGap() {
	op := h.randomGap()
	p, err := h.submitOp(op)
	require.NoError(h.t, err)
	err = p.waitOutcome(context.Background())
	if op.applyGap(h.gaps) {
		require.NoError(h.t, err)
	} else {
		require.ErrorIs(h.t, err, ErrNoGap)
	}
}

// plainGaps is gaps as the model has them.
func plainGaps(list []Gap) (out []*plain.Gap) {
	for _, g := range list {
		x := &plain.Gap{Gap: g.Gap}
		for _, v := range g.Versions {
			x.Versions = append(x.Versions, plain.GapVersion{To: v.To, Withdrawn: v.Withdrawn, Author: v.Author, Reason: v.Reason, Ingest: v.Ingest})
		}
		out = append(out, x)
	}
	return out
}

// requireSameGaps holds the gaps of a store against the model: all, those of a range, page by page, and as of an earlier time.
func requireSameGaps(t testing.TB, db *DB, m plain.Gaps) {
	rng := rand.New(rand.NewPCG(uint64(len(m)), 5))
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	bytes := int64(0)
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		from := int64(rng.IntN(5*1440)-2*1440) * 60e9
		for _, in := range []model.TimeRange{model.All, {Start: from, End: from + 1 + rng.Int64N(2*86400e9)}} {
			q := GapQuery{Tag: tag, In: in, Withdrawn: true, Limit: math.MaxInt}
			all := v.Gaps(q)
			require.Equal(t, m.Of(tag, in), plainGaps(all), "tag %d in %s", tag, in)
			var paged []Gap
			for q.Limit = 2; ; {
				page := v.Gaps(q)
				paged = append(paged, page...)
				if len(page) < 2 {
					break
				}
				last := page[1].Place()
				q.After = &last
			}
			require.Equal(t, plainGaps(all), plainGaps(paged))
			q.Withdrawn, q.After, q.Limit = false, nil, math.MaxInt
			standing := slices.DeleteFunc(all, func(g Gap) bool { return g.Newest().Withdrawn })
			require.Equal(t, plainGaps(standing), plainGaps(v.Gaps(q)))
		}
		asOf := startOfTestClock + rng.Int64N(200e9)
		require.Equal(t, m.AsOf(tag, asOf), v.GapsAsOf(tag, &asOf))
		require.Equal(t, m.AsOf(tag, math.MaxInt64-2e9), v.GapsAsOf(tag, nil))
		for _, g := range v.Gaps(GapQuery{Tag: tag, In: model.All, Withdrawn: true, Limit: math.MaxInt}) {
			bytes += g.bytes()
		}
	}
	require.Equal(t, bytes, db.gaps.bytes)
}

// brokenPartialOf is a partial of ascending samples and of the breaks of a range between them.
func brokenPartialOf(typ model.Type, samples []model.Sample, breaks []plain.Break, in model.TimeRange) (p rollup.Partial) {
	for _, b := range breaks {
		if !in.Contains(b.Time) {
			continue
		}
		n := 0
		for n < len(samples) && samples[n].Time < b.Time {
			n++
		}
		next := partialOf(samples[:n])
		p.Merge(&next)
		p.AddGap(typ, b.Time, b.Quality)
		samples = samples[n:]
	}
	next := partialOf(samples)
	p.Merge(&next)
	return p
}

// requireBroken holds breaks, partials and what is offered of every tag against the model.
func requireBroken(t testing.TB, h *history) {
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	ctx := context.Background()
	unit := []int64{86400e9, 8 * 3600e9, 3600e9, 600e9, 60e9, 30e9}[h.rng.IntN(6)]
	var edges []int64
	for range 2 + h.rng.IntN(30) {
		edges = append(edges, (h.rng.Int64N(7*86400e9)-2*86400e9)/unit*unit)
	}
	slices.Sort(edges)
	if edges = slices.Compact(edges); len(edges) == 1 {
		edges = append(edges, edges[0]+unit)
	}
	n := len(edges) - 1
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		typ, all := testTypes[tag-1], h.model.Current(tag, model.All)
		gaps := h.gaps.AsOf(tag, math.MaxInt64-2e9)
		breaks := plain.Breaks(gaps, all)
		found, err := v.Breaks(tag, nil).In(ctx, model.All)
		require.NoError(t, err)
		require.Equal(t, breaks, plainBreaks(found), "tag %d", tag)

		asOf := startOfTestClock + h.rng.Int64N(200e9)
		found, err = v.Breaks(tag, &asOf).In(ctx, model.All)
		if !errors.Is(err, ErrErased) { // what stood then is gone
			require.NoError(t, err)
			require.Equal(t, plain.Breaks(h.gaps.AsOf(tag, asOf), h.model.AsOf(tag, model.All, asOf)), plainBreaks(found), "tag %d as of %d", tag, asOf)
		}

		var full, few Partials
		require.NoError(t, v.Partials(ctx, tag, edges, Full, &full))
		require.NoError(t, v.Partials(ctx, tag, edges, Plain, &few))
		for i := range n {
			in := model.TimeRange{Start: edges[i], End: edges[i+1]}
			want := brokenPartialOf(typ, h.model.Current(tag, in), breaks, in)
			requireSamePartial(t, &want, &full.Buckets[i], in, Full, "tag %d %s", tag, in)
			requireSamePartial(t, &want, &few.Buckets[i], in, Plain, "tag %d %s, plain", tag, in)
			require.Equal(t, pointOr(want.FirstPoint()), pointOr(full.Buckets[i].FirstPoint()))
			require.Equal(t, pointOr(want.LastPoint()), pointOr(full.Buckets[i].LastPoint()))
		}
		before, after := model.TimeRange{Start: model.MinTime, End: edges[0]}, model.TimeRange{Start: edges[n], End: model.All.End}
		want := brokenPartialOf(typ, h.model.Current(tag, before), breaks, before)
		require.Equal(t, pointOr(want.LastPoint()), pointOr(full.Before.LastPoint()), "tag %d before %d", tag, edges[0])
		requireSamePoint(t, want.Last, full.Before.Last, "before")
		want = brokenPartialOf(typ, h.model.Current(tag, after), breaks, after)
		require.Equal(t, pointOr(want.FirstPoint()), pointOr(full.After.FirstPoint()), "tag %d from %d on", tag, edges[n])
		requireSamePoint(t, want.First, full.After.First, "behind")
		requireOfferedWithGaps(t, v, h.model, gaps, tag, edges)
		requireNoGoodsOverBreaks(t, v, tag, breaks, all, h.rng)
	}
}

// requireNoGoodsOverBreaks asks for Goods around a break: none may lie between the samples that those are of.
func requireNoGoodsOverBreaks(t testing.TB, v *View, tag model.TagID, breaks []plain.Break, all []model.Sample, rng *rand.Rand) {
	if len(breaks) == 0 {
		return
	}
	edges := shortBuckets(rng, breaks[rng.IntN(len(breaks))].Time+rng.Int64N(3600e9)-1800e9)
	if len(edges) < 2 {
		return
	}
	reach := model.TimeRange{Start: model.MinTime, End: model.All.End}
	for _, x := range all {
		if x.Time < edges[0] {
			reach.Start = x.Time
		} else if x.Time >= edges[len(edges)-1] {
			reach.End = x.Time
			break
		}
	}
	var into Goods
	ok, err := v.Goods(context.Background(), tag, edges, rollup.Asked{}, &into)
	require.NoError(t, err)
	if slices.ContainsFunc(breaks, func(b plain.Break) bool { return reach.Contains(b.Time) }) {
		require.False(t, ok, "tag %d", tag)
	}
}

func plainBreaks(list []Break) (out []plain.Break) {
	for _, b := range list {
		out = append(out, plain.Break{Time: b.Time, Quality: b.Quality})
	}
	return out
}

// TestGapsOfRandomHistories reports gaps between samples, range deletes and erasures, opens the store anew and seals in between, and
// holds them, and what reads make of them, against the plain model, in the store and in a copy of it; and a check finds nothing wrong.
func TestGapsOfRandomHistories(t *testing.T) {
	for seed := range uint64(seeds("VARVE_MODEL_SEEDS", fewer(32))) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			h := newHistory(t, seed, fs)
			if h.gapRNG = rand.New(rand.NewPCG(seed, 4)); seed%3 == 0 {
				h.tidy, h.tags = true, 2
			}
			ctx := context.Background()
			for i := range 100 {
				h.step()
				switch {
				case i%20 == 19:
					require.NoError(t, h.db.Close())
					h.open(fs)
				case i%15 == 14:
					seal(t, h.db)
				case i == 50:
					require.NoError(t, h.db.FoldErased(ctx))
				}
				if i%10 == 0 {
					requireSameGaps(t, h.db, h.gaps)
					requireBroken(t, h)
				}
			}
			_, err := h.db.Checkpoint(ctx, "copy")
			require.NoError(t, err)
			require.NoError(t, h.db.Close())
			for _, dir := range []string{"store", "copy"} {
				_, err = Verify(ctx, dir, testOptions(fs), func(d Damage) { require.Fail(t, "damage", d.String()) }, nil)
				require.NoError(t, err)
				h.db, err = OpenReadOnly(dir, testOptions(fs))
				require.NoError(t, err)
				requireSameGaps(t, h.db, h.gaps)
				requireBroken(t, h)
				require.NoError(t, h.db.Close())
			}
		})
	}
}

// TestSecondCopyOfGaps: a damaged row of the first copy costs an alarm and no gap, and a check names it.
func TestSecondCopyOfGaps(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	id, err := h.db.RecordGap(ctx, []model.TagID{1, 2}, model.Gap{Kind: model.Lost, From: 5, To: model.OpenGap, Source: "plc"}, "ann", "disk")
	require.NoError(t, err)
	_, err = h.db.EndGaps(ctx, []model.TagID{2, 1}, 9, "plc", "lee", "mended")
	require.NoError(t, err)
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	key := gapKey(2, id, id)
	value, closer, err := h.db.engine.Get(key)
	require.NoError(t, err)
	bad := slices.Clone(value)
	require.NoError(t, closer.Close())
	bad[20] ^= 1
	require.NoError(t, h.db.engine.Set(key, bad, pebble.NoSync))
	require.NoError(t, h.db.engine.Flush())
	require.NoError(t, h.db.Close())
	var found []string
	_, err = Verify(ctx, "store", testOptions(fs), func(d Damage) { found = append(found, d.Part) }, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"gaps, first copy"}, found)
	h.open(fs)
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	for _, tag := range []model.TagID{1, 2} {
		gaps := v.Gaps(GapQuery{Tag: tag, In: model.All, Limit: 9})
		require.Len(t, gaps, 1)
		require.Equal(t, int64(9), gaps[0].Newest().To)
		require.Equal(t, "mended", gaps[0].Newest().Reason)
	}
	v.Close()
	require.Equal(t, "store_damaged", h.db.Status().Alarms[0].Name)
	require.NoError(t, h.db.Close())
}

// TestHoldsKeepGaps: what retention takes leaves gaps that a hold has any of, and those that reach out of what it takes.
func TestHoldsKeepGaps(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	gap := func(tag model.TagID, from, to int64) {
		_, err := h.db.RecordGap(ctx, []model.TagID{tag}, model.Gap{Kind: model.Lost, From: from, To: to}, "ann", "")
		require.NoError(t, err)
	}
	gap(1, 5, 3*day)
	gap(1, 6, 2*day)
	gap(1, 7, model.OpenGap)
	gap(2, 5, 3*day)
	hold, err := h.db.Hold(ctx, []model.TagID{1}, model.TimeRange{Start: 2 * day, End: 2*day + 1}, "lee", "case 7")
	require.NoError(t, err)
	erase := func(from, to int64) {
		_, err := h.db.submitErasure(ctx, &record.Erasure{What: record.SamplesAndRollups, Cause: record.ByRetention, From: from, To: to}, nil)
		require.NoError(t, err)
	}
	starts := func(tag model.TagID) (out []int64) {
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		defer v.Close()
		for _, g := range v.GapsAsOf(tag, nil) {
			out = append(out, g.From)
		}
		return out
	}
	erase(0, day)
	require.Equal(t, []int64{5, 6, 7}, starts(1), "their ends are still there")
	erase(day, 4*day)
	require.Equal(t, []int64{5, 7}, starts(1))
	require.Empty(t, starts(2))
	_, err = h.db.ReleaseHold(ctx, hold, "lee", "closed")
	require.NoError(t, err)
	erase(day, 4*day)
	require.Equal(t, []int64{7}, starts(1))
	require.NoError(t, h.db.Close())
}

// TestLimitsOfGaps: what is refused is refused at the door; ends and withdrawals always have room.
func TestLimitsOfGaps(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.GapBytes = 1 << 20
	db, err := Open("store", o)
	require.NoError(t, err)
	ctx := context.Background()
	lost := model.Gap{Kind: model.Lost, From: 5, To: 9}
	for _, bad := range []model.Gap{{Kind: model.Lost, From: 5, To: 5}, {Kind: model.Lost, From: math.MinInt64, To: 5}, {From: 5, To: 9}, {Kind: model.Thinned + 1, From: 5, To: 9}} {
		_, err = db.RecordGap(ctx, []model.TagID{1}, bad, "ann", "")
		require.ErrorIs(t, err, ErrBadBatch)
	}
	for _, tags := range [][]model.TagID{nil, {0}, make([]model.TagID, MaxGapTags+1)} {
		_, err = db.RecordGap(ctx, tags, lost, "ann", "")
		require.Error(t, err)
		_, err = db.EndGaps(ctx, tags, 5, "", "ann", "")
		require.ErrorIs(t, err, ErrBadBatch)
	}
	_, err = db.RecordGap(ctx, []model.TagID{1}, lost, "ann", string(make([]byte, MaxGapReason+1)))
	require.ErrorIs(t, err, ErrBadBatch)
	withdraw := func(id uint64, tags ...model.TagID) error {
		_, err := db.WithdrawGap(ctx, id, tags, "ann", "")
		return err
	}
	require.ErrorIs(t, withdraw(7), ErrNoGap)
	id, err := db.RecordGap(ctx, []model.TagID{1, 2}, lost, "ann", "")
	require.NoError(t, err)
	require.Equal(t, 2, db.GapsChanged(nil, id))
	again, err := db.RecordGap(ctx, []model.TagID{2, 3, 3}, lost, "ann", "sent again")
	require.NoError(t, err)
	require.Equal(t, 1, db.GapsChanged([]model.TagID{2, 3}, again), "that of tag 2 stands")
	for n := int64(10); err == nil; n++ {
		_, err = db.RecordGap(ctx, []model.TagID{1, 2, 3, 4, 5, 6, 7, 8}, model.Gap{Kind: model.Lost, From: n, To: n + 1}, "ann", string(make([]byte, MaxGapReason)))
	}
	require.ErrorIs(t, err, ErrGapQuota)
	require.NoError(t, withdraw(id, 2))
	require.NoError(t, withdraw(id))
	require.ErrorIs(t, withdraw(id), ErrNoGap)
	require.NoError(t, db.Close())
}

// TestOpenGapsOfASource finds those that are open, stand and are of that source, and of several the last.
func TestOpenGapsOfASource(t *testing.T) {
	db, err := Open("store", testOptions(vfs.NewMem()))
	require.NoError(t, err)
	ctx := context.Background()
	all := []model.TagID{1, 2, 3, 4, 5, 6}
	require.Empty(t, db.OpenGaps(all, "a"))
	record := func(source string, from, to int64, tags ...model.TagID) uint64 {
		id, err := db.RecordGap(ctx, tags, model.Gap{Kind: model.NotCollected, From: from, To: to, Source: source}, "ann", "")
		require.NoError(t, err)
		return id
	}
	record("a", 5, model.OpenGap, 1, 2, 3)
	record("a", 9, model.OpenGap, 2)
	record("a", 1, 8, 4)
	record("b", 7, model.OpenGap, 5, 1)
	withdrawn := record("a", 6, model.OpenGap, 6)
	_, err = db.WithdrawGap(ctx, withdrawn, nil, "ann", "")
	require.NoError(t, err)
	_, err = db.EndGaps(ctx, []model.TagID{3}, 20, "", "ann", "")
	require.NoError(t, err)
	require.Equal(t, map[model.TagID]int64{1: 5, 2: 9}, db.OpenGaps(all, "a"))
	require.Equal(t, map[model.TagID]int64{1: 7}, db.OpenGaps([]model.TagID{1, 2}, "b"))
	require.NoError(t, db.Close())
}

// TestEndsOfTwoSources: an end that names a source ends its gaps alone, in whichever order those of another come; one that names none ends all.
func TestEndsOfTwoSources(t *testing.T) {
	ctx := context.Background()
	gap := func(db *DB, source string) {
		_, err := db.RecordGap(ctx, []model.TagID{1}, model.Gap{Kind: model.DeviceDown, From: 5, To: model.OpenGap, Source: source}, "ann", "")
		require.NoError(t, err)
	}
	end := func(db *DB, at int64, source string) {
		_, err := db.EndGaps(ctx, []model.TagID{1}, at, source, "ann", "")
		require.NoError(t, err)
	}
	for _, do := range []func(db *DB){
		func(db *DB) { gap(db, "a"); gap(db, "b"); end(db, 9, "a") },
		func(db *DB) { gap(db, "a"); end(db, 9, "a"); gap(db, "b") },
		func(db *DB) { gap(db, "b"); gap(db, "a"); end(db, 9, "a") },
	} {
		db, err := Open("store", testOptions(vfs.NewMem()))
		require.NoError(t, err)
		do(db)
		require.Empty(t, db.OpenGaps([]model.TagID{1}, "a"))
		require.Equal(t, map[model.TagID]int64{1: 5}, db.OpenGaps([]model.TagID{1}, "b"))
		end(db, 12, "")
		require.Empty(t, db.OpenGaps([]model.TagID{1}, "b"))
		require.NoError(t, db.Close())
	}
}

// TestRowsOfGapsThatDoNotFit are damage, whatever their checksum says.
func TestRowsOfGapsThatDoNotFit(t *testing.T) {
	s := exampleState
	row := func(s record.State) []byte { return noteRow(nil, 5, record.AppendState(nil, &s)).value }
	key := gapKey(1, 7, 7)[1:]
	require.NoError(t, new(DB).loadGap(key, row(s)))
	for _, bad := range [][]byte{key[:19], gapKey(2, 7, 7)[1:], gapKey(1, 7, 8)[1:]} {
		require.ErrorIs(t, new(DB).loadGap(bad, row(s)), ErrCorrupt)
	}
	for cut := range row(s) {
		require.ErrorIs(t, new(DB).loadGap(key, row(s)[:cut]), ErrCorrupt)
	}
	for _, bad := range []record.State{
		{State: record.Alive, Tags: s.Tags, From: s.To}, {State: record.Withdrawn, Tags: s.Tags, Of: 7}, {State: record.Unchanged, Tags: s.Tags},
		{State: record.Missing, Gap: model.Lost, Tags: s.Tags, From: 5, To: 5}, {State: record.Missing, Gap: model.Lost, From: 5, To: 6},
	} {
		require.ErrorIs(t, new(DB).loadGap(key, row(bad)), ErrCorrupt)
		require.ErrorIs(t, new(DB).loadGap(gapKey(1, 7, 9)[1:], row(bad)), ErrCorrupt, "of nothing")
	}
}

// TestGapsOfWhichOnlyRollupsAreLeft: where retention took the samples, gaps are not seen, and reads answer.
func TestGapsOfWhichOnlyRollupsAreLeft(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	h.write(1, model.Update, 0, 60e9, 3*1440, func(i int) float64 { return float64(i) })
	_, err := h.db.Flush(ctx)
	require.NoError(t, err)
	seal(t, h.db)
	for _, from := range []int64{day/2 + 5e9, 2*day + day/2 + 5e9} {
		_, err = h.db.RecordGap(ctx, []model.TagID{1}, model.Gap{Kind: model.Lost, From: from, To: from + 20e9}, "ann", "")
		require.NoError(t, err)
	}
	gap := func() []uint64 {
		v, err := h.db.View(ctx, Accepted)
		require.NoError(t, err)
		defer v.Close()
		var p Partials
		require.NoError(t, v.Partials(ctx, 1, []int64{0, day, 2 * day, 3 * day}, Full, &p))
		var out []uint64
		for i := range p.Buckets {
			iv := rollup.Interval{Start: int64(i) * day, End: int64(i+1) * day, In: &p.Buckets[i], Hold: int64(i+1) * day}
			out = append(out, iv.Durations().Gap)
		}
		return out
	}
	require.Equal(t, []uint64{55e9, 0, 55e9}, gap())
	_, err = h.db.submitErasure(ctx, &record.Erasure{What: record.OldSamples, Cause: record.ByRetention, Class: "", From: model.MinTime, To: 2 * day}, nil)
	require.NoError(t, err)
	require.NoError(t, h.db.FoldErased(ctx))
	require.Equal(t, []uint64{0, 0, 55e9}, gap())
	require.NoError(t, h.db.Close())
}

// TestBreaksAtTheEdgesOfARange: a break that stands at the end of its gap, and the worse of two that fall together.
func TestBreaksAtTheEdgesOfARange(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	h.write(1, model.Update, 9, 1, 1, func(int) float64 { return 1 })
	for _, g := range []model.Gap{{Kind: model.NotCollected, From: 0, To: 10}, {Kind: model.Lost, From: 5, To: 10}, {Kind: model.DeviceDown, From: 0, To: 1}} {
		_, err := h.db.RecordGap(ctx, []model.TagID{1}, g, "ann", "")
		require.NoError(t, err)
	}
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	for in, want := range map[model.TimeRange][]Break{
		{Start: 10, End: 11}: {{10, model.BadDataLost, model.Float64}},
		{Start: 9, End: 10}:  nil,
		{Start: 0, End: 6}:   {{0, model.BadNoCommunication, model.Float64}, {5, model.BadDataLost, model.Float64}},
		{Start: 11, End: 99}: nil,
	} {
		found, err := v.Breaks(1, nil).In(ctx, in)
		require.NoError(t, err)
		require.Equal(t, want, found, in)
	}
	gaps, err := v.Breaks(1, nil).Gaps(ctx, model.TimeRange{Start: 10, End: 11})
	require.NoError(t, err)
	require.Len(t, gaps, 2)
	require.Nil(t, v.Breaks(2, nil))
	v.Close()
	require.NoError(t, h.db.Close())
}
