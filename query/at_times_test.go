package query

import (
	"bytes"
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

func askAt(t require.TestingT, s *plainStore, r AtTimesRequest) []row {
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	n, err := e.ReadAtTimes(context.Background(), r, &sink)
	require.NoError(t, err)
	require.Zero(t, s.open.Load(), "views or cursors stayed open")
	require.Zero(t, e.MemoryTaken())
	schema, rows, _ := sink.read(t)
	want, err := e.AtTimesSchema(r)
	require.NoError(t, err)
	require.True(t, want.Equal(schema))
	require.Equal(t, uint64(len(rows)), n)
	return rows
}

// TestValuesAtTimesAreThoseOfAPlainModel asks for instants in all orders, under all rules.
func TestValuesAtTimesAreThoseOfAPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStore(t)
		for range 15 {
			r := AtTimesRequest{
				Times:     rapid.SliceOfN(rapid.Int64Range(-3, 70), 0, 12).Draw(t, "times"),
				BatchRows: rapid.IntRange(0, 11).Draw(t, "rows"), Discrete: rapid.IntRange(0, 5).Draw(t, "discrete") == 0,
				UseUncertain: rapid.Bool().Draw(t, "use uncertain"),
			}
			if rapid.Bool().Draw(t, "ascending") {
				slices.Sort(r.Times)
			}
			if len(r.Times) == 0 || rapid.Bool().Draw(t, "grid") {
				r.Start, r.End = rapid.Int64Range(-3, 70).Draw(t, "start"), rapid.Int64Range(-3, 70).Draw(t, "end")
				r.Every = rapid.Int64Range(1, 9).Draw(t, "every")
			}
			if !r.Discrete {
				r.BridgeBad = rapid.Bool().Draw(t, "bridge")
				if rapid.IntRange(0, 2).Draw(t, "override") == 0 {
					stepped := rapid.Bool().Draw(t, "stepped")
					r.Stepped = &stepped
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "as of") == 0 {
				asOf := rapid.Int64Range(0, 12e9).Draw(t, "instant of ingest")
				r.AsOf = &asOf
			}
			instants := slices.Clone(r.Times)
			switch at := r.Start; {
			case r.Every == 0:
			case r.Start == r.End:
				instants = append(instants, at)
			case r.Start < r.End:
				for ; at < r.End; at += r.Every {
					instants = append(instants, at)
				}
			default:
				for ; at > r.End; at -= r.Every {
					instants = append(instants, at)
				}
			}
			for _, tag := range s.tags {
				r.IDs = append(r.IDs, tag.ID)
			}
			got := askAt(t, s, r)
			require.Len(t, got, len(s.tags)*len(instants))
			for i, tag := range s.tags {
				var all []model.Sample
				b := s.samples[tag.ID]
				for k := range b.Len() {
					if r.AsOf == nil || b.Origins[k].Ingest*1e9 <= *r.AsOf {
						all = append(all, b.At(k))
					}
				}
				for k, at := range instants {
					want := plainAt(tag, all, at, plainRules{r.Stepped, r.Discrete, r.BridgeBad, r.UseUncertain})
					g := got[i*len(instants)+k]
					require.Equal(t, at, g.time)
					require.Equal(t, tag.Name, g.tag)
					require.Equal(t, uint32(want.Quality), g.quality, "at %d", at)
					_, valued := g.value["value"]
					require.Equal(t, !want.Null, valued, "at %d", at)
					for name, v := range plainValue(s, tag, want, false) {
						requireNear(t, want.Type, v, g.value[name])
					}
				}
			}
		}
	})
}

// TestInstantsFarApartAreLookedFor reads a sample a second over days at instants that lie close together, far apart, and both,
// in small blocks, and so comes to all ways of moving on.
func TestInstantsFarApartAreLookedFor(t *testing.T) {
	const second, n = int64(1e9), 300_000
	s := newPlainStore(model.Int64)
	s.block = 4096
	for i := range int64(n) {
		q := model.Good
		if i%1000 > 900 { // a stretch of Bad, longer than a block now and then
			q = model.Bad
		}
		if i > 100_000 && i < 120_000 {
			q = model.Bad
		}
		s.add(1, 0, model.Sample{Time: i * second, Bits: uint64(i), Quality: q})
	}
	all := make([]model.Sample, n)
	for i := range all {
		all[i] = s.samples[1].At(i)
	}
	times := []int64{-second, 0, 5, 7 * second, 8*second + 1, 899*second + 1, 950 * second, 99_950*second + 1, 110_000*second + 5, 119_999 * second, 200_000*second + 7,
		200_001*second - 1, 299_700 * second, (n-1)*second + 1, n * 2 * second}
	for _, bridge := range []bool{false, true} {
		got := askAt(t, s, AtTimesRequest{Tags: Tags{IDs: []model.TagID{1}}, Times: times, BridgeBad: bridge})
		require.Len(t, got, len(times))
		for i, at := range times {
			near := all // the plain model is quadratic: only what lies around
			if k := int(max(0, at)/second) - 30_000; k > 0 {
				near = near[min(k, n-30_000):]
			}
			want := plainAt(s.tags[0], near, at, plainRules{bridge: bridge})
			require.Equal(t, uint32(want.Quality), got[i].quality, "at %d, bridge %v", at, bridge)
			if want.Null {
				require.NotContains(t, got[i].value, "value")
			} else {
				require.Equal(t, int64(want.Bits), got[i].value["value"], "at %d, bridge %v", at, bridge)
			}
		}
	}
}

// TestManyInstantsComeInTheirOrder asks for more instants than one window has, in several orders.
func TestManyInstantsComeInTheirOrder(t *testing.T) {
	s := newPlainStore(model.Int64)
	s.block = 1000
	for i := range int64(2000) {
		s.add(1, 0, model.Sample{Time: i * 100, Bits: uint64(i) * 100})
	}
	r := AtTimesRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 150_000, Every: 1}
	for i, x := range askAt(t, s, r) {
		require.Equal(t, int64(i), x.time)
		require.Equal(t, int64(i), x.value["value"])
	}
	r.Start, r.End = 150_000, 0
	for i, x := range askAt(t, s, r) {
		require.Equal(t, int64(150_000-i), x.time)
		require.Equal(t, x.time, x.value["value"])
	}
}

// TestLongTextsAtTimes: rows of long texts are written as they fill, and instants that cannot be are refused.
func TestLongTextsAtTimes(t *testing.T) {
	s := newPlainStore(model.String)
	for i := range 20 {
		s.add(1, 0, model.Sample{Time: int64(i) * 10, Blob: bytes.Repeat([]byte{'a' + byte(i)}, 700<<10)})
	}
	for _, bridge := range []bool{false, true} {
		r := AtTimesRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 200, Every: 3, BridgeBad: bridge}
		rows := askAt(t, s, r)
		require.Len(t, rows, 67)
		for _, x := range rows {
			require.Equal(t, byte('a')+byte(x.time/10), x.value["value"].(string)[700<<10-1])
		}
		r.Start, r.End = 200, -1
		e, err := New(s, Options{})
		require.NoError(t, err)
		_, err = e.ReadAtTimes(context.Background(), r, &bytesSink{})
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorContains(t, err, "ascending order")
	}
}

func TestDamageEndsValuesBehindWhatIsRight(t *testing.T) {
	s := newPlainStore(model.Float64)
	s.block = 5
	for i := range 20 {
		s.add(1, 0, model.Sample{Time: int64(i) * 10})
	}
	s.damage[1] = errDamage // met behind the first block of a range
	e, err := New(s, Options{})
	require.NoError(t, err)
	var sink bytesSink
	n, err := e.ReadAtTimes(context.Background(), AtTimesRequest{Tags: Tags{IDs: []model.TagID{1}}, End: 200, Every: 5}, &sink)
	require.ErrorIs(t, err, errDamage)
	require.ErrorContains(t, err, "float64-1 (id 1)")
	_, rows, _ := sink.read(t)
	require.Len(t, rows, 10)
	require.EqualValues(t, 10, n)
	require.Zero(t, s.open.Load())
}

func TestInstantsThatMakeNoSense(t *testing.T) {
	s := newPlainStore(model.Float64)
	e, err := New(s, Options{})
	require.NoError(t, err)
	one, stepped := Tags{IDs: []model.TagID{1}}, true
	for text, r := range map[string]AtTimesRequest{
		"no tag":                                 {Times: []int64{1}},
		"0 instants":                             {Tags: one},
		"must be positive":                       {Tags: one, Every: -1, End: 1},
		"without every":                          {Tags: one, Times: []int64{1}, End: 1},
		"1048577 instants":                       {Tags: one, End: 1 << 20, Every: 1, Times: []int64{1}},
		"18446744073709551614 insta":             {Tags: one, Start: model.MinTime, End: math.MaxInt64, Every: 1},
		"instant 9223372036854775807, the first": {Tags: one, Times: []int64{math.MaxInt64}},
		"discrete values":                        {Tags: one, Times: []int64{1}, Discrete: true, Stepped: &stepped},
		"beside stepped or bridge":               {Tags: one, Times: []int64{1}, Discrete: true, BridgeBad: true},
		"batches of -1 rows":                     {Tags: one, Times: []int64{1}, BatchRows: -1},
	} {
		_, err := e.ReadAtTimes(context.Background(), r, &bytesSink{})
		require.ErrorContains(t, err, text)
		_, err = e.AtTimesSchema(r)
		require.Error(t, err)
	}
}
