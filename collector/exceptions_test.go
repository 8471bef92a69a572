package collector

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/compression/exception"
	"github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

func pushed(deviation float64) *varvev1.TagException {
	return &varvev1.TagException{Exception: &varvev1.Filter{Deviation: deviation}}
}

// A tag is tested by what the server says from the next reading on, and nothing of what was held back before is lost: as if a filter were flushed and another one
// begun wherever the settings changed, and left alone where they did not. Rules that have exc_dev, and tags of others, do not notice.
func TestExceptionsOfTheServer(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		f := makeFeed(t, filepath.Join(dir, fmt.Sprint(n)), "    tags: [{address: a, type: float64}, {address: own, type: float64, exc_dev: 1}, {address: c}]\n")
		defer func() { require.NoError(t, f.close()) }()
		names := []string{"plc.a", "plc.own", "plc.c"}
		models, settings, want := map[string]*exception.Filter{}, map[string]float64{"plc.own": 1}, map[string][]model.Sample{}
		begin := func(tag string, deviation float64) {
			if m := models[tag]; m != nil {
				for _, k := range m.Flush(nil) {
					want[tag] = append(want[tag], k.Sample)
				}
			}
			settings[tag] = deviation
			models[tag], _ = exception.New(filter.Settings{Filter: model.Filter{Deviation: deviation}})
		}
		for _, tag := range names {
			begin(tag, settings[tag])
		}
		for now := range rapid.Int64Range(1, 80).Draw(t, "readings") {
			if rapid.IntRange(0, 5).Draw(t, "server") == 0 {
				of := map[string]*varvev1.TagException{}
				for _, tag := range names {
					d := rapid.SampledFrom([]float64{0, 0.5, 1, math.NaN()}).Draw(t, "deviation")
					if d != 0 {
						of[tag] = pushed(d)
					}
					if math.IsNaN(d) {
						d = 0
					}
					if d != settings[tag] && tag != "plc.own" {
						begin(tag, d)
					}
				}
				_, err := f.names.takeExceptions(names, of)
				_ = err // of the NaN
			}
			for i, tag := range names {
				v := rapid.Float64Range(-2, 2).Draw(t, "v")
				for _, k := range models[tag].Add(nil, model.Sample{Type: model.Float64, Time: now, Bits: math.Float64bits(v)}) {
					want[tag] = append(want[tag], k.Sample)
				}
				require.NoError(t, f.put(background, []Reading{at([]string{"a", "own", "c"}[i], now, Float64(v))}, false))
			}
		}
		require.NoError(t, f.flush(background))
		for _, tag := range names {
			begin(tag, 0)
			require.Equal(t, want[tag], f.out.of(tag), tag)
		}
	})
}

// A stepped tag of the server needs no foot, a stepped rule neither, and a source may keep to its file.
func TestExceptionsOfTheServerAndSteps(t *testing.T) {
	f := makeFeed(t, t.TempDir(), "    tags: [{address: a}, {address: b}, {address: c, stepped: true}]\n")
	stepped := pushed(1)
	stepped.Stepped = true
	of := map[string]*varvev1.TagException{"plc.a": pushed(1), "plc.b": stepped, "plc.c": pushed(1)}
	changed, err := f.names.takeExceptions([]string{"plc.a", "plc.b", "plc.c", "plc.d"}, of)
	require.NoError(t, err)
	require.Equal(t, 3, changed)
	for i, v := range []float64{0, 0, 5} {
		for _, a := range []string{"a", "b", "c"} {
			require.NoError(t, f.put(background, []Reading{at(a, int64(i), Float64(v))}, false))
		}
	}
	require.Len(t, f.out.of("plc.a"), 3)
	require.Len(t, f.out.of("plc.b"), 2)
	require.Len(t, f.out.of("plc.c"), 2)

	f = makeFeed(t, t.TempDir(), "    exceptions: file\n    tags: [{address: a}, {address: b, exc_dev: 1}]\n")
	_, err = f.names.takeExceptions([]string{"plc.a", "plc.b"}, map[string]*varvev1.TagException{"plc.a": pushed(100), "plc.b": pushed(100)})
	require.NoError(t, err)
	for i := range 5 {
		require.NoError(t, f.put(background, []Reading{at("a", int64(i), Float64(0)), at("b", int64(i), Float64(2*float64(i)))}, false))
	}
	require.Len(t, f.out.of("plc.a"), 5)
	require.Len(t, f.out.of("plc.b"), 5)
}

// What the server said is there after a restart without it; a file that was cut off or is not ours is no filter, and never a fault.
func TestExceptionsAreKept(t *testing.T) {
	dir := t.TempDir()
	out := newPlainOutlet()
	put := func(r *rig, values ...float64) {
		one, _ := r.both()
		for _, v := range values {
			require.NoError(t, one.out.Put(background, []Reading{nowReading("a", Float64(v)), nowReading("b", Float64(v))}))
		}
	}
	r := startRig(t, dir, twoSources, out)
	put(r, 1)
	r.TakeExceptions([]string{"one.a", "one.b", "one.gone"}, map[string]*varvev1.TagException{"one.a": pushed(2), "one.gone": pushed(3)})
	kept := filepath.Join(dir, exceptionsFile)
	require.Eventually(t, func() bool { _, err := os.Stat(kept); return err == nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, r.end())
	before := len(out.of("one.a"))
	r = startRig(t, dir, twoSources, out)
	put(r, 1, 2, 1, 2)
	require.Len(t, out.of("one.a"), before+1)
	require.Len(t, out.of("one.b"), before+4)
	require.NoError(t, r.end())
	require.NotContains(t, r.names.exceptions, "one.gone")

	names := newRegistry()
	require.NoError(t, names.readExceptions(dir))
	require.Equal(t, filter.Settings{Filter: model.Filter{Deviation: 2}}, names.exceptions["one.a"])
	for _, damaged := range []string{`{"one.a":{"devia`, "", `[1]`, `{"one.a":{"deviation":-1}}`, `{"one.a":{"deviation":1,"max_time_ns":1,"min_time_ns":2}}`} {
		require.NoError(t, os.WriteFile(kept, []byte(damaged), 0o644))
		names := newRegistry()
		_ = names.readExceptions(dir)
		require.Empty(t, names.exceptions, damaged)
	}
}
