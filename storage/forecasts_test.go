package storage

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/record"
)

// drawsRun is true once in n, where forecast runs are drawn at all.
func (h *history) drawsRun(n int) bool { return h.runRNG != nil && h.runRNG.IntN(n) == 0 }

// randomRun draws a forecast run: of few issue times and models, so that runs are replaced, and now and then by an equal one.
func (h *history) randomRun() *testOp {
	r := h.runRNG
	tag := model.TagID(1 + r.IntN(h.tags))
	run := &plain.Run{Tag: tag, Issued: int64(r.IntN(8)-2) * 6 * 3600e9, Model: []string{"", "a", "b"}[r.IntN(3)]}
	values := history{rng: r}
	t := run.Issued + int64(r.IntN(10)-2)*3600e9
	for range 1 + r.IntN(4)*r.IntN(30) {
		x := model.Sample{Time: t, Type: testTypes[tag-1]}
		if x.Null = r.IntN(20) == 0; !x.Null {
			values.randomValue(&x)
		}
		if r.IntN(10) == 0 {
			x.Quality = model.Quality(0x40000000)
		}
		run.Samples = append(run.Samples, x)
		t += 1 + r.Int64N(3600e9)
	}
	return &testOp{run: run}
}

// columns is the samples of a run as storage takes them.
func columns(list []model.Sample) *model.Samples {
	s := &model.Samples{Type: list[0].Type}
	for _, x := range list {
		s.Append(x)
	}
	return s
}

// runPayload is the record of a run.
func runPayload(r *plain.Run) []byte {
	var e chunk.Encoder
	return record.AppendForecast(record.AppendHeader(nil, record.Header{Kind: record.ForecastRun}), &record.Forecast{
		Tag: r.Tag, Issued: r.Issued, Model: r.Model, Author: "ann", Samples: e.Append(nil, columns(r.Samples), nil),
	})
}

// applyRun does to forecast runs what an operation says, and reports whether it changed anything.
func (o *testOp) applyRun(m *plain.Runs) bool {
	if o.erase != 0 {
		m.Erase(o.tags, o.in, o.erase == record.ByPurge)
	}
	if o.run == nil {
		return false
	}
	o.run.Ingest = o.ingest
	return m.Put(o.run)
}

// stepRun writes a forecast run to store and model; now and then twice, which changes nothing.
func (h *history) stepRun() {
	op := h.randomRun()
	for range 1 + h.runRNG.IntN(2) {
		p, err := h.submitOp(op)
		require.NoError(h.t, err)
		require.NoError(h.t, p.waitOutcome(context.Background()))
		require.Equal(h.t, !op.applyRun(&h.runs), p.outcome.result.Duplicate)
	}
}

// plainRuns is runs as the model has them.
func plainRuns(t testing.TB, v *View, q ForecastQuery) (out []plain.Run) {
	var data chunk.Data
	for r, err := range v.Forecasts(context.Background(), q) {
		require.NoError(t, err)
		require.NoError(t, r.Read(&data))
		require.Equal(t, []any{data.Len(), data.Times[0], data.Times[data.Len()-1]}, []any{r.Samples, r.First, r.Last})
		x := plain.Run{Tag: r.Tag, Issued: r.Issued, Model: r.Model, Ingest: r.Ingest}
		for i := range data.Times {
			s := data.At(i)
			s.Blob = append([]byte(nil), s.Blob...)
			x.Samples = append(x.Samples, s)
		}
		out = append(out, x)
	}
	return out
}

func requireRuns(t testing.TB, want, have []plain.Run) {
	require.Len(t, have, len(want))
	for i := range want {
		a, b := want[i], have[i]
		require.True(t, slices.EqualFunc(a.Samples, b.Samples, func(x, y model.Sample) bool { return x.Time == y.Time && x.SameValue(y) }), "%+v\n%+v", a, b)
		a.Samples, b.Samples = nil, nil
		require.Equal(t, a, b)
	}
}

// requireSameRuns holds the forecast runs of a store against the model: all, those of a range of issue times, of a model, and those
// that stood at an earlier time.
func requireSameRuns(t testing.TB, db *DB, m plain.Runs) {
	rng := rand.New(rand.NewPCG(uint64(len(m)), 5))
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	for tag := model.TagID(1); int(tag) <= len(testTypes); tag++ {
		for _, replaced := range []bool{false, true} {
			requireRuns(t, m.Of(tag, model.All, nil, math.MaxInt64, replaced), plainRuns(t, v, ForecastQuery{Tag: tag, Issued: model.All, Replaced: replaced}))
		}
		from := int64(rng.IntN(8)-2) * 6 * 3600e9
		in := model.TimeRange{Start: from, End: from + 1 + rng.Int64N(24*3600e9)}
		models := [][]string{nil, {"a"}, {"b", ""}}[rng.IntN(3)]
		known := int64(startOfTestClock) + rng.Int64N(60e9)
		requireRuns(t, m.Of(tag, in, models, known, false), plainRuns(t, v, ForecastQuery{Tag: tag, Issued: in, Models: models, Known: known}))
	}
}

// TestForecastsOfRandomHistories writes forecast runs between samples, range deletes and erasures, opens the store anew in between, and
// holds runs and samples against the plain model, in the store and in a copy of it; and a check finds nothing wrong.
func TestForecastsOfRandomHistories(t *testing.T) {
	for seed := range uint64(fewer(40)) {
		fs := vfs.NewMem()
		h := newHistory(t, seed, fs)
		ctx := context.Background()
		for i := range 60 {
			h.step()
			h.stepRun()
			switch {
			case i%20 == 19:
				require.NoError(t, h.db.Close())
				h.open(fs)
			case i == 30:
				seal(t, h.db)
			case i == 50:
				require.NoError(t, h.db.FoldErased(ctx))
			}
			if i%10 == 0 {
				requireSameRuns(t, h.db, h.runs)
			}
		}
		requireSame(t, h.db, h.model, h.rng)
		_, err := h.db.Checkpoint(ctx, "copy")
		require.NoError(t, err)
		require.NoError(t, h.db.Close())
		for _, dir := range []string{"store", "copy"} {
			_, err = Verify(ctx, dir, testOptions(fs), func(d Damage) { require.Fail(t, "damage", d.String()) }, nil)
			require.NoError(t, err)
			db, err := OpenReadOnly(dir, testOptions(fs))
			require.NoError(t, err)
			requireSameRuns(t, db, h.runs)
			require.NoError(t, db.Close())
		}
	}
}

func doubles(from, step int64, values ...float64) *model.Samples {
	s := &model.Samples{Type: model.Float64}
	for i, x := range values {
		s.Append(model.Sample{Time: from + int64(i)*step, Type: model.Float64, Bits: math.Float64bits(x)})
	}
	return s
}

func (h *history) foretell(tag model.TagID, issued int64, s *model.Samples) bool {
	changed, err := h.db.PutForecast(context.Background(), tag, issued, "m", "ann", s)
	require.NoError(h.t, err)
	return changed
}

func (h *history) issues(tag model.TagID, replaced bool) (issued []int64) {
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(h.t, err)
	defer v.Close()
	for r, err := range v.Forecasts(context.Background(), ForecastQuery{Tag: tag, Issued: model.All, Replaced: replaced}) {
		require.NoError(h.t, err)
		issued = append(issued, r.Issued)
	}
	return issued
}

// TestPurgeTakesForecastsOffTheDisk: runs whose samples all lie in the range; others, and those of other tags, stay.
func TestPurgeTakesForecastsOffTheDisk(t *testing.T) {
	for _, flushed := range []bool{true, false} {
		fs := vfs.NewMem()
		h := newHistory(t, 1, fs)
		ctx := context.Background()
		text := func(s string, at int64) *model.Samples {
			return &model.Samples{Type: model.String, Times: []int64{at}, Blobs: [][]byte{[]byte(s)}}
		}
		require.True(t, h.foretell(7, 1, text("first secret text", 5*day)))
		require.True(t, h.foretell(7, 1, text("other secret text", 5*day+1)))
		require.True(t, h.foretell(7, 2, text("outside of it", 6*day)))
		if flushed {
			_, err := h.db.Flush(ctx)
			require.NoError(t, err)
			require.NotEmpty(t, onDisk(fs, "store/lsm", []byte("other secret")))
		}
		_, err := h.db.Purge(ctx, []model.TagID{7}, model.TimeRange{Start: 5 * day, End: 6 * day}, "ann", "x")
		require.NoError(t, err)
		require.Equal(t, []int64{2}, h.issues(7, true))
		h.write(1, model.Update, 2*day, 1e9, 3000, func(i int) float64 { return float64(i * i) }) // fills segments of the log
		require.NoError(t, h.db.FoldErased(ctx))
		for _, s := range []string{"first secret", "other secret"} {
			require.Eventually(t, func() bool { return len(onDisk(fs, "store", []byte(s))) == 0 }, patience, 10*time.Millisecond, s)
		}
		require.NoError(t, h.db.Close())
		h.open(fs)
		require.Equal(t, []int64{2}, h.issues(7, true))
		requireNoAlarms(t, h.db)
		require.NoError(t, h.db.Close())
	}
}

// TestRetentionTakesForecasts: samples alone or with rollups, runs that end before the cut; old versions, those that were replaced before
// it; and nothing that a hold has any of.
func TestRetentionTakesForecasts(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	erase := func(what record.What, to int64) {
		_, err := h.db.submitErasure(ctx, &record.Erasure{What: what, Cause: record.ByRetention, From: 0, To: to}, nil)
		require.NoError(t, err)
	}
	whole := func(x uint64) *model.Samples {
		return &model.Samples{Type: model.Int64, Times: []int64{day}, Bits: []uint64{x}}
	}
	h.foretell(1, 1, doubles(day, day, 1, 2))
	h.foretell(1, 2, doubles(day, day, 1, 2, 3))
	h.foretell(3, 1, whole(1))
	h.clock.Add(1e9)
	h.foretell(3, 1, whole(2))
	erase(record.OldVersions, h.clock.Load())
	require.Equal(t, []int64{1, 1}, h.issues(3, true), "replaced just now")
	h.clock.Add(1e9)
	erase(record.OldVersions, h.clock.Load())
	require.Equal(t, []int64{1}, h.issues(3, true))
	require.Equal(t, []int64{2, 1}, h.issues(1, true), "they stand")
	hold, err := h.db.Hold(ctx, []model.TagID{3}, model.TimeRange{Start: day, End: day + 1}, "lee", "case 7")
	require.NoError(t, err)
	erase(record.OldSamples, 3*day)
	require.Equal(t, []int64{2}, h.issues(1, true))
	require.Equal(t, []int64{1}, h.issues(3, true), "held")
	_, err = h.db.ReleaseHold(ctx, hold, "lee", "closed")
	require.NoError(t, err)
	erase(record.SamplesAndRollups, 4*day)
	require.Empty(t, h.issues(1, true))
	require.Empty(t, h.issues(3, true))
	require.NoError(t, h.db.Close())
}

// TestForecastsLeaveTheTagAlone: no newest sample, no stored one, and no partition comes of them.
func TestForecastsLeaveTheTagAlone(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	h.foretell(1, 5, doubles(400*day, day, 1, 2))
	_, err := h.db.Flush(context.Background())
	require.NoError(t, err)
	v, err := h.db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer func() { v.Close(); require.NoError(t, h.db.Close()) }()
	_, ok := v.Latest(1)
	require.False(t, ok)
	for range v.Contents(context.Background(), model.All) {
		require.Fail(t, "there is no content")
	}
	require.Empty(t, h.db.directory.parts)
}

// TestAViewKeepsItsForecasts: what is written behind a view is not in it, nor is it replaced there.
func TestAViewKeepsItsForecasts(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	ctx := context.Background()
	h.foretell(1, 5, doubles(day, day, 1, 2))
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	h.foretell(1, 5, doubles(day, day, 3))
	h.foretell(1, 6, doubles(day, day, 4))
	_, err = h.db.Flush(ctx)
	require.NoError(t, err)
	got := plainRuns(t, v, ForecastQuery{Tag: 1, Issued: model.All, Replaced: true})
	require.Len(t, got, 1)
	require.Len(t, got[0].Samples, 2)
	v.Close()
	require.Equal(t, []int64{6, 5, 5}, h.issues(1, true))
	require.NoError(t, h.db.Close())
}

// TestRefusedForecasts: what cannot be a run is refused at the door.
func TestRefusedForecasts(t *testing.T) {
	h := newHistory(t, 1, vfs.NewMem())
	long := doubles(day, 1, make([]float64, MaxRunSamples+1)...)
	for _, x := range []struct {
		tag    model.TagID
		issued int64
		model  string
		s      *model.Samples
	}{
		{0, 1, "", doubles(day, 1, 1)}, {1, math.MinInt64, "", doubles(day, 1, 1)}, {1, 1, string(make([]byte, MaxForecastModel+1)), doubles(day, 1, 1)},
		{1, 1, "", doubles(day, 1)}, {1, 1, "", long}, {1, 1, "", doubles(day, 0, 1, 2)}, {1, 1, "", doubles(day, -1, 1, 2)},
		{2, 1, "", doubles(day, 1, 1)}, {99, 1, "", doubles(day, 1, 1)},
		{7, 1, "", &model.Samples{Type: model.String, Times: []int64{1}, Blobs: [][]byte{make([]byte, MaxForecastBytes+1)}}},
	} {
		_, err := h.db.PutForecast(context.Background(), x.tag, x.issued, x.model, "ann", x.s)
		require.ErrorIs(t, err, ErrBadBatch)
	}
	require.NoError(t, h.db.Close())
}

// TestADamagedForecast is an error that names tag and issue, a check finds it, and others are read.
func TestADamagedForecast(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	ctx := context.Background()
	h.foretell(1, 5, doubles(day, day, 1, 2))
	h.foretell(2+1, 6, &model.Samples{Type: model.Int64, Times: []int64{1}, Bits: []uint64{7}})
	_, err := h.db.Flush(ctx)
	require.NoError(t, err)
	v, err := h.db.View(ctx, Accepted)
	require.NoError(t, err)
	var key []byte
	for r, err := range v.Forecasts(ctx, ForecastQuery{Tag: 1, Issued: model.All}) {
		require.NoError(t, err)
		key = runKey(1, 5, r.Offset)
	}
	v.Close()
	value, closer, err := h.db.engine.Get(key)
	require.NoError(t, err)
	bad := slices.Clone(value)
	require.NoError(t, closer.Close())
	bad[20] ^= 1
	require.NoError(t, h.db.engine.Set(key, bad, pebble.NoSync))
	require.NoError(t, h.db.engine.Flush())
	require.Equal(t, []int64{6}, h.issues(3, false))
	v, err = h.db.View(ctx, Accepted)
	require.NoError(t, err)
	for _, err := range v.Forecasts(ctx, ForecastQuery{Tag: 1, Issued: model.All}) {
		var at *RangeError
		require.ErrorAs(t, err, &at)
		require.Equal(t, model.TagID(1), at.Tag)
		require.ErrorIs(t, err, ErrCorrupt)
	}
	v.Close()
	require.NoError(t, h.db.Close())
	var found []string
	_, err = Verify(ctx, "store", testOptions(fs), func(d Damage) { found = append(found, d.Part) }, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"forecast run"}, found)
}

// FuzzForecastRow: a row decodes or is an error, whatever its bytes.
func FuzzForecastRow(f *testing.F) {
	r := &plain.Run{Tag: 1, Issued: 5, Model: "m", Samples: []model.Sample{{Time: 7, Type: model.Float64}}}
	row := noteRow(runKey(1, 5, 9), 3, runPayload(r)[18:])
	f.Add(row.key, row.value[:len(row.value)-4])
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(value) > 9 {
			value = noteRow(nil, 3, value[9:]).value // its checksum is right
		}
		got, err := decodeRun(key, value)
		if err != nil {
			return
		}
		require.Equal(t, runKey(got.Tag, got.Issued, got.Offset), key)
		var data chunk.Data
		if got.Read(&data) == nil {
			require.Equal(t, got.Samples, data.Len())
		}
	})
}
