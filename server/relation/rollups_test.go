package relation

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// rollupMoment is a store of tags whose first days are sealed and then edited, and whose last is not sealed.
func rollupMoment(t *testing.T) Moment {
	t.Helper()
	db, err := storage.Open("store", storage.Options{FS: vfs.NewMem(), MinFreeBytes: -1, BallastBytes: -1, SegmentBytes: 1 << 20, MemoryBytes: 64 << 20, SealAfter: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	ctx := context.Background()
	tags := []struct {
		name     string
		settings model.Settings
		every    int64
	}{
		{"dense", model.Settings{Type: model.Float64}, 9 * second},
		{"stepped", model.Settings{Type: model.Float64, Stepped: true}, 100 * second},
		{"reach", model.Settings{Type: model.Float64, MaxGap: 50 * time.Second}, 40 * second},
		{"whole", model.Settings{Type: model.Int64}, 13 * second},
		{"state", model.Settings{Type: model.State, StateSet: "pump"}, 60 * second},
		{"bool", model.Settings{Type: model.Bool}, 100 * second},
		{"text", model.Settings{Type: model.String}, 100 * second},
		{"sparse", model.Settings{Type: model.Float32}, 20000 * second},
	}
	changes := []catalog.Change{{PutStateSet: &catalog.PutStateSet{Set: model.StateSet{Name: "pump", States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}}}}
	for i, x := range tags {
		x.settings.From = model.MinTime
		x.settings.Stepped = x.settings.Stepped || x.settings.Type.AlwaysStepped()
		changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{Name: x.name, UUID: model.UUID{2, byte(i)}, Settings: []model.Settings{x.settings}}}})
	}
	results, err := db.ChangeCatalog(ctx, changes)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(5, 6))
	sample := func(typ model.Type, at int64) model.Sample {
		x := model.Sample{Time: at, Type: typ, Quality: []model.Quality{0, 0, 0, 0, model.Uncertain, model.BadNoData}[rng.IntN(6)], Null: rng.IntN(20) == 0}
		switch typ {
		case model.Float64:
			x.Bits = math.Float64bits(float64(rng.IntN(400)) / 8) // exact sums
		case model.Float32:
			x.Bits = uint64(math.Float32bits(float32(rng.IntN(40))))
		case model.String:
			x.Blob = []byte("x")
		default:
			x.Bits = rng.Uint64N(2)
		}
		return x
	}
	for d := range int64(4) {
		for i, x := range tags {
			var s, edits model.Samples
			s.Reset(x.settings.Type)
			edits.Reset(x.settings.Type)
			for at := testStart + d*day + 3*hour; at < testStart+d*day+20*hour; at += x.every + rng.Int64N(2)*rng.Int64N(second) {
				s.Append(sample(x.settings.Type, at))
			}
			submit(t, db, storage.Batch{Runs: []storage.Run{{Tag: results[i+1].Tag.ID, Mode: model.Update, Samples: s}}})
			for at := testStart + d*day + rng.Int64N(day); at < testStart+(d+1)*day; at += 7*hour + rng.Int64N(hour) {
				edits.Append(sample(x.settings.Type, at))
				edits.Append(sample(x.settings.Type, at))
			}
			if d < 3 {
				_, err := db.Seal(ctx)
				require.NoError(t, err)
			}
			submit(t, db, storage.Batch{Author: "mara", Reason: "found", Runs: []storage.Run{{Tag: results[i+1].Tag.ID, Mode: model.Append, Samples: edits}}})
			if d == 1 {
				_, err := db.Seal(ctx)
				require.NoError(t, err)
				submit(t, db, storage.Batch{Author: "mara", Reason: "wrong", Runs: []storage.Run{{Tag: results[i+1].Tag.ID, Mode: model.Remove, All: true, Samples: model.Samples{Type: x.settings.Type, Times: s.Times[min(3, s.Len()-1):min(9, s.Len())]}}}})
			}
		}
	}
	view, err := db.View(ctx, storage.Accepted)
	require.NoError(t, err)
	t.Cleanup(view.Close)
	engine, err := query.New(query.FromDB(db), query.Options{})
	require.NoError(t, err)
	return Moment{Catalog: db.Catalog(), View: view, Engine: engine, Now: time.Unix(0, testStart+4*day)}
}

// plainRollup is what a row of rollups should be, of all samples of its tag.
func plainRollup(tag *model.Tag, all []model.Sample, start, end, level int64) map[string]string {
	usable := func(x model.Sample) bool { return !x.Null && !x.Quality.IsBad() }
	bits := func(f float64) string { return fmt.Sprint(math.Float64bits(f)) }
	micros := func(ns int64) string {
		return time.Unix(0, query.FloorMicros(ns)).UTC().Format("2006-01-02 15:04:05.999999999") + "Z"
	}
	out := map[string]string{"tag": tag.Name, "tag_id": fmt.Sprint(tag.ID), "bucket": micros(start), "bucket_end": micros(end), "level_ns": fmt.Sprint(level)}
	var counts [3]int
	var values []model.Sample
	changes := 0
	var before *model.Sample // the usable one before
	for i, x := range all {
		in := x.Time >= start && x.Time < end
		if in {
			switch {
			case !usable(x):
				counts[2]++
			case x.Quality.IsUncertain():
				counts[1]++
			default:
				counts[0]++
			}
		}
		if !usable(x) {
			continue
		}
		if in {
			values = append(values, x)
			if before != nil && before.Bits != x.Bits && x.Type != model.String {
				changes++
			}
		}
		before = &all[i]
	}
	if counts == [3]int{} {
		return nil
	}
	out["count_good"], out["count_uncertain"], out["count_bad"] = fmt.Sprint(counts[0]), fmt.Sprint(counts[1]), fmt.Sprint(counts[2])
	if tag.Current().Type != model.String {
		out["transitions"] = fmt.Sprint(changes)
	}
	numeric := tag.Current().Type <= model.Uint64
	if numeric && len(values) > 0 {
		sum := new(big.Float)
		least, most := values[0], values[0]
		v := func(x model.Sample) float64 { return numberOf(x).v }
		for _, x := range values {
			sum.Add(sum, big.NewFloat(v(x)))
			if v(x) < v(least) {
				least = x
			}
			if v(x) > v(most) {
				most = x
			}
		}
		f, _ := sum.Float64()
		out["first"], out["last"], out["sum"] = bits(v(values[0])), bits(v(values[len(values)-1])), bits(f)
		out["min"], out["max"], out["min_time"], out["max_time"] = bits(v(least)), bits(v(most)), micros(least.Time), micros(most.Time)
	}
	var ns [3]int64
	stepped, sloped := new(big.Rat), new(big.Rat)
	reach := int64(tag.Current().MaxGap)
	for i, a := range all {
		to, b := a.Time+1, (*model.Sample)(nil)
		if i+1 < len(all) && (reach == 0 || all[i+1].Time-a.Time <= reach) {
			b = &all[i+1]
			to = b.Time
		} else if i+1 < len(all) {
			to = min(to, all[i+1].Time)
		}
		from, till := max(a.Time, start), min(to, end)
		if from >= till {
			continue
		}
		class := 0
		switch {
		case !usable(a):
			class = 2
		case a.Quality.IsUncertain():
			class = 1
		}
		ns[class] += till - from
		if class == 2 || !numeric {
			continue
		}
		rat := func(x model.Sample) *big.Rat { return new(big.Rat).SetFloat64(numberOf(x).v) }
		length := big.NewRat(till-from, 1)
		held := new(big.Rat).Mul(rat(a), length)
		stepped.Add(stepped, held)
		if b == nil || !usable(*b) {
			sloped.Add(sloped, held)
			continue
		}
		middle := big.NewRat(from-a.Time+till-a.Time, 2*(b.Time-a.Time))
		value := new(big.Rat).Sub(rat(*b), rat(a))
		value.Mul(value, middle).Add(value, rat(a))
		sloped.Add(sloped, value.Mul(value, length))
	}
	out["ns_good"], out["ns_uncertain"], out["ns_bad"] = fmt.Sprint(ns[0]), fmt.Sprint(ns[1]), fmt.Sprint(ns[2])
	if numeric {
		a, _ := stepped.Float64()
		b, _ := sloped.Float64()
		out["integral_stepped"], out["integral_sloped"] = bits(a), bits(b)
	}
	return out
}

// Rollups are what the samples come to, sealed or not, edited or not; however a scan is narrowed, nothing of use is missing.
func TestRollupsAreOfTheSamples(t *testing.T) {
	at := rollupMoment(t)
	table, _ := Find("rollups")
	want := map[string]map[string]string{}
	key := func(r map[string]string) string { return r["tag"] + " " + r["level_ns"] + " " + r["bucket"] }
	for id := range at.Catalog.Len() {
		tag, ok := at.Catalog.Tag(model.TagID(id + 1))
		require.True(t, ok)
		var all []model.Sample
		c := at.View.Samples(tag.ID, model.All)
		for {
			b, err := c.Next(context.Background())
			if err != nil {
				break
			}
			for i := range b.Len() {
				x := b.At(i)
				x.Blob = slices.Clone(x.Blob)
				all = append(all, x)
			}
		}
		c.Close()
		require.NotEmpty(t, all)
		for _, level := range []int64{day, hour} {
			for start := testStart - day; start < testStart+6*day; start += level {
				if r := plainRollup(tag, all, start, start+level, level); r != nil {
					want[key(r)] = r
				}
			}
		}
	}
	require.Greater(t, len(want), 500)
	near := func(a, b string) bool {
		x, err := strconv.ParseUint(a, 10, 64)
		require.NoError(t, err)
		y, err := strconv.ParseUint(b, 10, 64)
		require.NoError(t, err)
		f, g := math.Float64frombits(x), math.Float64frombits(y)
		return math.Abs(f-g) <= 1e-14*math.Abs(f)
	}
	got := rows(t, at, "rollups", table.All())
	require.Len(t, got, len(want))
	for _, r := range got {
		w := want[key(r)]
		for _, c := range []string{"integral_stepped", "integral_sloped"} {
			if w[c] != "" {
				require.True(t, near(w[c], r[c]), "%s of %v: %v", c, r, w)
				r[c] = w[c]
			}
		}
		require.Equal(t, w, r)
	}

	rng := rand.New(rand.NewPCG(8, 9))
	for range 60 {
		s := table.All()
		s.In = model.TimeRange{Start: testStart + rng.Int64N(5*24)*hour + rng.Int64N(2)*rng.Int64N(hour) - day, End: testStart + rng.Int64N(5*24)*hour + rng.Int64N(2)*rng.Int64N(hour)}
		if s.In.Empty() {
			s.In.End = s.In.Start + rng.Int64N(2*day) + 1
		}
		if rng.IntN(2) == 0 {
			s.IDs = []uint32{uint32(rng.IntN(9)), 4}
			slices.Sort(s.IDs)
			s.IDs = slices.Compact(s.IDs)
		}
		if rng.IntN(2) == 0 {
			s.Levels = [][]int64{{day}, {hour}, {1}, {hour, day}}[rng.IntN(4)]
		}
		n := 0
		for _, w := range want {
			var id, level int64
			_, err := fmt.Sscan(w["tag_id"], &id)
			require.NoError(t, err)
			_, err = fmt.Sscan(w["level_ns"], &level)
			require.NoError(t, err)
			start, err := time.Parse("2006-01-02 15:04:05.999999999Z", w["bucket"])
			require.NoError(t, err)
			if s.In.Contains(start.UnixNano()) && (s.IDs == nil || slices.Contains(s.IDs, uint32(id))) && (s.Levels == nil || slices.Contains(s.Levels, level)) {
				n++
			}
		}
		require.Len(t, rows(t, at, "rollups", s), n, "%+v", s)
	}
	s := table.All()
	var read storage.Reading
	at.Read = func(r storage.Reading) { read = r }
	s.Levels, s.IDs, s.In = []int64{day}, []uint32{1}, model.TimeRange{Start: testStart, End: testStart + day}
	rows(t, at, "rollups", s)
	require.NotZero(t, read.Days+read.Hours, "%+v", read)
}
