package storage

import (
	"context"
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
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/rollup"
)

// TestPartialsAreThoseOfTheSamples writes random histories in every mode, with edits, removals and late samples, seals and
// opens again at random moments, and holds what buckets between random edges say against what the plain model's samples say.
func TestPartialsAreThoseOfTheSamples(t *testing.T) {
	for seed := range uint64(seeds("VARVE_MODEL_SEEDS", fewer(20))) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			h := newHistory(t, seed, fs)
			options, steps := testOptions(fs), 120
			if seed%2 == 1 { // few tags and low bounds: days have rollups of ten minutes, too
				options.SealedSamples = 64
				h.tags, steps = 2, 160
				require.NoError(t, h.db.Close())
				db, err := Open("store", options)
				require.NoError(t, err)
				h.db, h.tidy = db, seed%4 == 1
			}
			for i := range steps {
				h.step()
				switch h.rng.IntN(20) {
				case 0:
					_, err := h.db.Flush(context.Background())
					require.NoError(t, err)
				case 1:
					require.NoError(t, h.db.Close())
					db, err := Open("store", options)
					require.NoError(t, err)
					h.db = db
				case 2, 3, 4:
					seal(t, h.db)
				}
				if i%12 == 11 {
					requirePartials(t, h.db, h.model, h.rng)
				}
			}
			seal(t, h.db)
			requirePartials(t, h.db, h.model, h.rng)
			requireRowsOfSeals(t, h.db)
			requireNoAlarms(t, h.db)
			require.NoError(t, h.db.Close())
		})
	}
}

// requirePartials holds partials of every tag against the model, between edges of which some lie on days and hours.
func requirePartials(t testing.TB, db *DB, m plain.Store, rng *rand.Rand) {
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	unit := []int64{86400e9, 8 * 3600e9, 3600e9, 600e9, 60e9, 30e9}[rng.IntN(6)]
	var edges []int64
	for range 2 + rng.IntN(30) {
		edges = append(edges, (rng.Int64N(7*86400e9)-2*86400e9)/unit*unit)
	}
	slices.Sort(edges)
	if edges = slices.Compact(edges); len(edges) == 1 {
		edges = append(edges, edges[0]+unit)
	}
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		var full, few Partials
		require.NoError(t, v.Partials(context.Background(), tag, edges, Full, &full))
		require.NoError(t, v.Partials(context.Background(), tag, edges, Plain, &few))
		require.Len(t, full.Buckets, len(edges)-1)
		for i := range full.Buckets {
			in := model.TimeRange{Start: edges[i], End: edges[i+1]}
			want := partialOf(m.Current(tag, in))
			requireSamePartial(t, &want, &full.Buckets[i], in, Full, "tag %d %s", tag, in)
			requireSamePartial(t, &want, &few.Buckets[i], in, Plain, "tag %d %s, plain", tag, in)
		}
		requireOffered(t, v, m, tag, edges)
		n := len(edges) - 1
		before := m.Current(tag, model.TimeRange{Start: model.MinTime, End: edges[0]})
		after := m.Current(tag, model.TimeRange{Start: edges[n], End: model.All.End})
		want, have := partialOf(before[max(len(before)-1, 0):]), full.Before
		requireSamePoint(t, want.Last, have.Last, fmt.Sprintf("tag %d before %d", tag, edges[0]))
		want, have = partialOf(after[:min(len(after), 1)]), full.After
		requireSamePoint(t, want.First, have.First, fmt.Sprintf("tag %d from %d on", tag, edges[n]))
		if all := m.Current(tag, model.All); len(all) > 0 {
			requireGoods(t, v, tag, shortBuckets(rng, all[rng.IntN(len(all))].Time))
		}
	}
}

// shortBuckets are edges of up to 40 buckets around an instant, too short for rollups.
func shortBuckets(rng *rand.Rand, near int64) (edges []int64) {
	step := []int64{1e9, 7e9, 60e9, 500e9}[rng.IntN(4)]
	for at, n := near-rng.Int64N(20*step), 2+rng.IntN(39); n > 0; n-- {
		edges = append(edges, at)
		at += step/2 + rng.Int64N(step/2)
	}
	return edges
}

// requireGoods holds Goods against Partials of the same buckets: they are there if all samples are Good, finite doubles.
func requireGoods(t testing.TB, v *View, tag model.TagID, edges []int64) {
	var want Partials
	require.NoError(t, v.Partials(context.Background(), tag, edges, Full, &want))
	good := true
	for _, p := range append(want.Buckets, want.Before, want.After) {
		worst, any := p.WorstQuality()
		sums, _ := p.Stats(true)
		good = good && (!any || p.Type() == model.Float64 && worst == model.Good && p.Counts().Null == 0 && !math.IsInf(sums.Sum(), 0) && !math.IsNaN(sums.Sum()))
	}
	for _, asked := range []rollup.Asked{{}, {Extremes: true, Area: true}, {Area: true, Stepped: true}, {Extremes: true, Moments: true}} {
		var have Goods
		ok, err := v.Goods(context.Background(), tag, edges, asked, &have)
		require.NoError(t, err)
		if !ok {
			require.False(t, good)
			continue
		}
		same := func(p *rollup.Partial, g *rollup.Good) {
			counts := p.Counts()
			require.Equal(t, counts.All(), g.N())
			require.Equal(t, counts.Good, g.N())
			first, _ := p.First()
			last, _ := p.Last()
			require.Equal(t, []uint64{first.Bits, last.Bits}, []uint64{g.First(), g.Last()})
		}
		require.Len(t, have.Buckets, len(want.Buckets))
		same(&want.Before, &have.Before)
		same(&want.After, &have.After)
		for i := range want.Buckets {
			p, g := &want.Buckets[i], &have.Buckets[i]
			same(p, g)
			a, _ := p.Stats(true)
			b := g.Stats()
			require.Equal(t, a.Sum(), b.Sum())
			if asked.Extremes {
				requireSameFloat(t, a.Range(), b.Range(), "range")
			}
			if asked.Moments {
				least, greatest := g.Extremes()
				x, any := a.Min()
				y, _ := a.Max()
				require.True(t, !any || x == *least && y == *greatest, "%v to %v, not %v to %v", *least, *greatest, x, y)
			}
			last, _ := p.LastTime()
			iv := rollup.Interval{Start: edges[i], End: edges[i+1], In: p, Hold: last + 1}
			own := rollup.GoodInterval{Start: edges[i], End: edges[i+1], Before: &rollup.Good{}, In: g, After: &rollup.Good{}}
			area, ok := iv.Integral(rollup.Rule{Stepped: asked.Stepped, UncertainAsBad: true})
			require.True(t, ok)
			require.Equal(t, area.Covered, own.Covered())
			if asked.Area {
				require.Equal(t, area.Value, own.Area(asked.Stepped))
			}
		}
	}
}

func partialOf(samples []model.Sample) (p rollup.Partial) {
	if len(samples) == 0 {
		return p
	}
	s := model.Samples{Type: samples[0].Type}
	for _, x := range samples {
		s.Append(x)
	}
	p.Add(&s, 0, s.Len())
	return p
}

func requireSamePartial(t testing.TB, want, have *rollup.Partial, in model.TimeRange, d Detail, format string, args ...any) {
	t.Helper()
	where := fmt.Sprintf(format, args...)
	require.Equal(t, want.Counts(), have.Counts(), where)
	q1, ok1 := want.WorstQuality()
	q2, ok2 := have.WorstQuality()
	require.Equal(t, ok1, ok2, where)
	require.Equal(t, q1, q2, where)
	w := rollup.Interval{Start: in.Start, End: in.End, In: want, Hold: in.End}
	h := rollup.Interval{Start: in.Start, End: in.End, In: have, Hold: in.End}
	require.Equal(t, w.Durations(), h.Durations(), where)
	for _, strict := range []bool{false, true} {
		a, ok := want.Stats(strict)
		b, ok2 := have.Stats(strict)
		require.Equal(t, ok, ok2, where)
		require.Equal(t, a.N(), b.N(), where)
		requireSameFloat(t, a.Sum(), b.Sum(), where)
		require.Equal(t, a.SumInt(), b.SumInt(), where)
		requireSameFloat(t, a.Mean(), b.Mean(), where)
		requireSameFloat(t, a.Range(), b.Range(), where)
		for _, get := range []func(*rollup.Stats) (rollup.Extreme, bool){(*rollup.Stats).Min, (*rollup.Stats).Max} {
			x, ok := get(&a)
			y, _ := get(&b)
			if d == Plain {
				x.Time, x.Again, y.Time, y.Again = 0, false, 0, false
				if ok && want.Type().Float() {
					s := model.Samples{Type: want.Type(), Bits: []uint64{x.Bits, y.Bits}, Times: []int64{0, 0}}
					u, _ := s.At(0).Float64()
					v, _ := s.At(1).Float64()
					requireSameFloat(t, u, v, where) // of 0 and -0 either will do
					continue
				}
			}
			if ok {
				require.Equal(t, x, y, where)
			}
		}
		if d == Plain {
			continue
		}
		requireNear(t, a.Variance(), b.Variance(), 0x1p-38, where)
		n1, ok := w.Transitions(strict)
		n2, ok2 := h.Transitions(strict)
		require.Equal(t, ok, ok2, where)
		require.Equal(t, n1, n2, where)
		requireSamePoint(t, func() (rollup.Point, bool) { return want.FirstUsable(strict) },
			func() (rollup.Point, bool) { return have.FirstUsable(strict) }, where)
		requireSamePoint(t, func() (rollup.Point, bool) { return want.LastUsable(strict) },
			func() (rollup.Point, bool) { return have.LastUsable(strict) }, where)
		for _, stepped := range []bool{false, true} {
			for _, bridged := range []bool{false, true} {
				r := rollup.Rule{Stepped: stepped, UncertainAsBad: strict, Bridged: bridged}
				i1, ok := w.Integral(r)
				i2, ok2 := h.Integral(r)
				require.Equal(t, ok, ok2, where)
				require.Equal(t, i1.Covered, i2.Covered, where)
				requireNear(t, i1.Value, i2.Value, 0x1p-52, where)
			}
		}
	}
	if d == Plain {
		return
	}
	requireSamePoint(t, want.First, have.First, where)
	requireSamePoint(t, want.Last, have.Last, where)
	s1, ok1 := w.States()
	s2, ok2 := h.States()
	require.Equal(t, ok1, ok2, where)
	require.ElementsMatch(t, s1, s2, where)
}

func requireSamePoint(t testing.TB, want, have func() (rollup.Point, bool), where string) {
	t.Helper()
	x, ok := want()
	y, ok2 := have()
	require.Equal(t, ok, ok2, where)
	require.True(t, sameSample(x.Sample, y.Sample) && x.Cut == y.Cut && x.Gap == y.Gap, "%s: want %+v, have %+v", where, x, y)
}

func requireSameFloat(t testing.TB, a, b float64, where string) {
	t.Helper()
	require.True(t, a == b || a != a && b != b, "%s: want %v, have %v", where, a, b)
}

func requireNear(t testing.TB, a, b, share float64, where string) {
	t.Helper()
	require.True(t, a == b || a != a && b != b || math.Abs(a-b) <= share*math.Abs(a), "%s: want %v, have %v", where, a, b)
}

// requireRowsOfSeals holds that all rollup rows are of seals that the directory has, one per tag, day and level, and that
// there are some.
func requireRowsOfSeals(t testing.TB, db *DB) {
	days, hours := 0, 0
	seen := map[keys.Header]bool{}
	require.NoError(t, db.scan(keys.Headers, func(k, _ []byte) error {
		h, err := keys.DecodeHeader(append([]byte{byte(keys.Headers)}, k...))
		require.NoError(t, err)
		switch h.Level {
		case levelDay:
			days++
		case levelHours:
			hours++
		case levelFine:
		default:
			return nil
		}
		require.True(t, isSealed(db.directory.of(keys.DayOf(h.Start)), h.Generation), "row of generation %d", h.Generation)
		h.Generation = 0
		require.False(t, seen[h], "two rows of %+v", h)
		seen[h] = true
		return nil
	}))
	require.NotZero(t, days)
	require.NotZero(t, hours)
}

// TestDamagedRollups flips a bit of every rollup row. The samples stand in for them, with an alarm, and the next seal that
// touches a tag writes sound ones.
func TestDamagedRollups(t *testing.T) {
	for seed := range uint64(4) {
		h := newHistory(t, seed, vfs.NewMem())
		for range 40 {
			h.step()
		}
		seal(t, h.db)
		b := h.db.engine.NewBatch()
		require.NoError(t, h.db.scan(keys.Headers, func(k, v []byte) error {
			k = append([]byte{byte(keys.Headers)}, k...)
			x, err := keys.DecodeHeader(k)
			require.NoError(t, err)
			if x.Level == 0 {
				return nil
			}
			v = slices.Clone(v)
			v[h.rng.IntN(len(v))] ^= 1 << h.rng.IntN(8)
			return b.Set(k, v, nil)
		}))
		require.False(t, b.Empty())
		require.NoError(t, h.db.engine.Apply(b, pebble.NoSync))
		for range 12 {
			requirePartials(t, h.db, h.model, h.rng)
		}
		require.Len(t, h.db.Status().Alarms, 1)
		require.Equal(t, "store_damaged", h.db.Status().Alarms[0].Name)
		for range 40 {
			h.step()
		}
		seal(t, h.db)
		for range 4 {
			requirePartials(t, h.db, h.model, h.rng)
		}
		require.NoError(t, h.db.Close())
	}
}
