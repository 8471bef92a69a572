package queue

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// drawThinSamples is samples of one tag, mostly in order, of few values, with changes of quality, without a value now and then.
func drawThinSamples(t *rapid.T, typ model.Type) (out []thinSample) {
	at := rapid.Int64Range(-100_000, 100_000).Draw(t, "begin") * int64(time.Millisecond)
	for range rapid.IntRange(1, 60).Draw(t, "samples") {
		x := thinSample{time: at}
		v := rapid.IntRange(-3, 3).Draw(t, "value")
		switch typ {
		case model.Float64:
			x.bits = math.Float64bits(float64(v) / 2)
			if v == 3 {
				x.bits = math.Float64bits(math.NaN())
			}
		case model.Int64:
			x.bits = uint64(int64(v))
		case model.Bool:
			x.bits = uint64(v & 1)
		case model.String:
			x.text = fmt.Sprint(v / 2)
		}
		if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
			x.quality = model.BadSensorFailure
			x.null = v > 0
		}
		if x.null {
			x.bits, x.text = 0, ""
		}
		out = append(out, x)
		at += rapid.SampledFrom([]int64{1, 1, 1, 2, 5, 30, 0, -3}).Draw(t, "step") * int64(time.Second)
	}
	return out
}

// runsOfThin is samples as runs of a few each.
func runsOfThin(t *rapid.T, tag string, typ model.Type, samples []thinSample) (out []*varvev1.Run) {
	for len(samples) > 0 {
		n := rapid.IntRange(1, len(samples)).Draw(t, "run")
		out = append(out, runOfThin(tag, typ, samples[:n]))
		samples = samples[n:]
	}
	return out
}

func runOfThin(tag string, typ model.Type, samples []thinSample) *varvev1.Run {
	b := session.RunBuilder{Name: tag, Type: typ}
	for _, x := range samples {
		switch {
		case x.null:
			b.AddNull(x.time, x.quality)
		case typ.Blob():
			b.AddText(x.time, x.text, x.quality)
		default:
			b.Add(x.time, x.bits, x.quality)
		}
	}
	return b.Run(0, b.Len())
}

// What is left is samples as they were; whatever is left out lies between a least and a greatest of its stretch, has its quality before and
// behind it, and is told of.
func TestThinnedIsWhatAModelKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]model.Type{model.Float64, model.Int64, model.Bool, model.String}).Draw(t, "type")
		width := rapid.SampledFrom(thinWidths).Draw(t, "width")
		all := drawThinSamples(t, typ)
		th := newThinner(width)
		th.most = 1 << 20
		came := runsOfThin(t, "a", typ, all)
		for _, take := range []func(*varvev1.Run) error{th.look, th.add} {
			for _, r := range came {
				require.NoError(t, take(r))
			}
		}
		runs, ok := th.finish()
		require.True(t, ok)
		newest := map[int64]thinSample{}
		for _, x := range all {
			newest[x.time] = x
		}
		kept := map[int64]thinSample{}
		var last int64 = math.MinInt64
		for _, r := range runs {
			require.Equal(t, varvev1.WriteMode_WRITE_MODE_NO_REPLACE, r.Mode)
			samples, got, ok := plainSamples(r, nil)
			require.True(t, ok)
			require.Equal(t, typ, got)
			for _, x := range samples {
				require.Greater(t, x.time, last)
				last = x.time
				require.Equal(t, newest[x.time], x, "of one time the sample that came last")
				kept[x.time] = x
			}
		}
		told := func(at int64) bool {
			for x, tags := range th.leftOut {
				if x.from <= at && at <= x.to && slices.Contains(tags, "a") {
					return true
				}
			}
			return false
		}
		require.Contains(t, kept, all[0].time)
		require.Contains(t, kept, all[len(all)-1].time)
		for at, x := range newest {
			if _, ok := kept[at]; ok {
				continue
			}
			require.True(t, told(at), "%d is left out and nobody is told", at)
			var before, behind, below, above bool
			for _, k := range kept {
				if k.quality != x.quality || k.null != x.null || floorDiv(k.time, int64(width)) != floorDiv(at, int64(width)) {
					continue
				}
				same := k.bits == x.bits && k.text == x.text
				before = before || k.time < at
				behind = behind || k.time > at
				below = below || same || !less(typ, x.bits, k.bits)
				above = above || same || !less(typ, k.bits, x.bits)
			}
			require.True(t, before && behind && below && above, "sample %+v of %+v, left %+v", x, all, kept)
		}
		for x := range th.leftOut {
			require.Contains(t, kept, x.from, "a gap begins at a sample, so that nothing is Bad in it")
			require.Contains(t, kept, x.to)
		}
	})
}

// A sample that another one replaces stands for none beside it: what was greatest before is not what is left.
func TestReplacedSamplesStandForNoOthers(t *testing.T) {
	all := []thinSample{{time: 1, bits: 1}, {time: 2, bits: 8}, {time: 3, bits: 9}, {time: 4, bits: 1}, {time: 5, bits: 2}, {time: 3, bits: 2}}
	r := runOfThin("a", model.Int64, all)
	th := newThinner(time.Minute)
	th.most = 1 << 20
	require.NoError(t, th.look(r))
	require.NoError(t, th.add(r))
	runs, ok := th.finish()
	require.True(t, ok)
	samples, _, ok := plainSamples(runs[0], nil)
	require.True(t, ok)
	require.Contains(t, samples, thinSample{time: 2, bits: 8}, "the greatest of those that stay")
}

// Runs that are more than values at times are not thinned out, and damaged ones do no harm.
func TestOnlyPlainRunsAreThinned(t *testing.T) {
	plain := func() *varvev1.Run {
		return &varvev1.Run{Tag: "a", FirstTimeNs: 5, StepNs: 1, Count: 3, Float64: []float64{1, 2, 3}}
	}
	_, _, ok := plainSamples(plain(), nil)
	require.True(t, ok)
	for name, spoil := range map[string]func(*varvev1.Run){
		"append":        func(r *varvev1.Run) { r.Mode = varvev1.WriteMode_WRITE_MODE_APPEND },
		"remove":        func(r *varvev1.Run) { r.Mode = varvev1.WriteMode_WRITE_MODE_REMOVE },
		"seq":           func(r *varvev1.Run) { r.Seq = []uint32{1, 2, 3} },
		"few values":    func(r *varvev1.Run) { r.Float64 = r.Float64[:2] },
		"two columns":   func(r *varvev1.Run) { r.Int64 = []int64{1, 2, 3} },
		"no values":     func(r *varvev1.Run) { r.Float64 = nil },
		"many":          func(r *varvev1.Run) { r.Count = math.MaxUint32 },
		"null beyond":   func(r *varvev1.Run) { r.NullAt = []uint32{3} },
		"few qualities": func(r *varvev1.Run) { r.QualityCode, r.QualityCount = []uint32{1}, []uint32{2} },
		"qualities":     func(r *varvev1.Run) { r.QualityCode, r.QualityCount = []uint32{1}, []uint32{math.MaxUint32} },
		"no count":      func(r *varvev1.Run) { r.QualityCode = []uint32{1} },
	} {
		r := plain()
		spoil(r)
		_, _, ok := plainSamples(r, nil)
		require.False(t, ok, name)
		th := newThinner(time.Minute)
		th.most = 1 << 20
		require.NoError(t, th.add(r))
		require.Contains(t, th.lost, "a", name)
	}
}

// A full queue that thins out has for a server that was away the first and last of each stretch, and tells it of every sample that it left out; a
// server that was there notices nothing.
func TestAFullQueueThinsAndSaysWhat(t *testing.T) {
	for seed := range seeds(t, 3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newOutage(t, uint64(seed), 2, Options{MaxBytes: 1 << 20, Full: Thin})
				x.collect(20, 10)
				time.Sleep(time.Minute)
				x.servers[0].setDown(true)
				scans := 1000
				if testing.Short() {
					scans = 600
				}
				for i := range scans {
					x.collect(20, 10)
					time.Sleep(time.Second)
					require.LessOrEqual(t, x.q.Status().Bytes, int64(1<<20)+256<<10)
					if i%400 == 200 {
						x.crash()
					}
				}
				x.drain()
				time.Sleep(time.Hour)
				x.check(true)
				away, there := x.servers[0], x.servers[1]
				require.Empty(t, there.gaps)
				for k, v := range x.put {
					if there.values[k].float != v {
						t.Fatalf("%v is %v, put was %v", k, there.values[k].float, v)
					}
				}
				require.Less(t, len(away.values), len(there.values)*4/5)
				require.Greater(t, len(away.values), len(there.values)/20)
				kinds := map[varvev1.GapKind]int{}
				for _, g := range away.gaps {
					kinds[g.Kind]++
					if g.Kind == varvev1.GapKind_GAP_KIND_THINNED {
						for _, tag := range g.Tags {
							require.Contains(t, away.values, key{tag, g.StartNs}, "a gap begins at a sample")
						}
					}
				}
				require.Positive(t, kinds[varvev1.GapKind_GAP_KIND_THINNED])
				require.Zero(t, kinds[varvev1.GapKind_GAP_KIND_LOST], "nothing of it need be lost: %v", kinds)
				x.stop()
			})
		})
	}
}

// Where thinning out leaves too much, the oldest is lost, and told as lost.
func TestWhatCannotBeThinnedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newOutage(t, 1, 1, Options{MaxBytes: 1 << 20, Full: Thin})
		x.servers[0].setDown(true)
		for i := range 20_000 { // each a tag of its own
			require.NoError(t, x.q.Put(context.Background(), []*varvev1.Run{{Tag: fmt.Sprint("tag-", i), FirstTimeNs: int64(i), Count: 1, Float64: []float64{float64(i)}}}))
			x.put[key{fmt.Sprint("tag-", i), int64(i)}] = float64(i)
		}
		require.LessOrEqual(t, x.q.samples.Bytes(), uint64(1<<20)+256<<10)
		x.drain()
		time.Sleep(time.Hour)
		x.check(true)
		require.Positive(t, x.q.Status().Destinations[0].Dropped)
		for _, g := range x.servers[0].gaps {
			require.Equal(t, varvev1.GapKind_GAP_KIND_LOST, g.Kind)
		}
		x.stop()
	})
}
