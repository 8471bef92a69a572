package catalog

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// plantTags are tags as a plant has them: alike in all but name.
func plantTags(n int) []Change {
	changes := make([]Change, n)
	units := []string{"Cel", "bar", "m3/h", "%", "1/min"}
	for i := range changes {
		changes[i] = Change{Create: &Create{Tag: model.Tag{
			Name: fmt.Sprintf("AREA%02d.UNIT%03d.T-%06d.PV", i%20, i/100%500, i), UUID: uuid(i + 1),
			Settings: []model.Settings{{Type: model.Float64, Unit: units[i%len(units)], MaxGap: time.Hour}},
		}}}
	}
	return changes
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func rowsOf(n int) disk {
	c := New(Options{})
	c.Apply(plantTags(n), 1)
	d := disk{}
	d.write(c.TakeChanged())
	return d
}

// TestMemoryPerTag holds a loaded catalogue, with its sorted names, to 400 bytes a tag.
func TestMemoryPerTag(t *testing.T) {
	const n = 200_000
	rows := rowsOf(n)
	before := heapBytes()
	start := time.Now()
	c := New(Options{})
	require.NoError(t, c.Load(rows.rows))
	took := time.Since(start)
	loaded := (heapBytes() - before) / n
	_, _, total := c.List(Filter{}, "", 1)
	require.Equal(t, n, total)
	listed := (heapBytes() - before) / n
	t.Logf("%d tags: loaded in %s, %d bytes a tag, %d with sorted names", n, took, loaded, listed)
	require.LessOrEqual(t, listed, uint64(400))
	runtime.KeepAlive(c)
	runtime.KeepAlive(rows)
}

func BenchmarkList(b *testing.B) {
	c := New(Options{})
	c.Apply(plantTags(200_000), 1)
	for _, f := range []Filter{{}, {Glob: "AREA07.*"}, {Glob: "*000123*"}, {Unit: "bar"}} {
		b.Run(fmt.Sprintf("tags=200k/glob=%s/unit=%s", f.Glob, f.Unit), func(b *testing.B) {
			for b.Loop() {
				c.List(f, "", 1000)
			}
		})
	}
}

func BenchmarkType(b *testing.B) {
	c := New(Options{})
	c.Apply(plantTags(10_000), 1)
	id := model.TagID(1)
	for b.Loop() {
		if _, ok := c.Type(id); !ok {
			b.Fatal("unknown")
		}
		id = id%10_000 + 1
	}
}

func BenchmarkLoad(b *testing.B) {
	const n = 200_000
	rows := rowsOf(n)
	type row struct{ k, v []byte }
	var sorted []row
	rows.rows(func(k, v []byte) bool { sorted = append(sorted, row{k, v}); return true })
	b.Run("tags=200k", func(b *testing.B) {
		for b.Loop() {
			err := New(Options{}).Load(func(yield func(k, v []byte) bool) {
				for _, r := range sorted {
					if !yield(r.k, r.v) {
						return
					}
				}
			})
			require.NoError(b, err)
		}
	})
}
