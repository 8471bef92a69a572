package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// TestManySlowTags is a million tags with a sample a month for a year: the store opens within 10 s, and the newest value of
// a tag is there within 1 ms. It writes what it measured. The open is measured in a process of its own, the test again with
// VARVE_SLOW_TAGS naming the store.
func TestManySlowTags(t *testing.T) {
	if os.Getenv("VARVE_STRESS") == "" {
		t.Skip("takes minutes and 1 GB of disk: set VARVE_STRESS=1, as make stress does")
	}
	const tags, months, perBatch = 1_000_000, 12, 50_000
	if dir := os.Getenv("VARVE_SLOW_TAGS"); dir != "" {
		openSlowTags(t, dir, tags, months)
		return
	}
	dir := t.TempDir() + "/store"
	db, err := Open(dir, Options{})
	require.NoError(t, err)
	for at := 0; at < tags; at += perBatch {
		var changes []catalog.Change
		for i := at; i < at+perBatch; i++ {
			changes = append(changes, catalog.Change{Create: &catalog.Create{Tag: model.Tag{
				Name: fmt.Sprintf("site.%03d.meter.%06d", i/1000, i), UUID: model.UUID{byte(i), byte(i >> 8), byte(i >> 16), 1},
				Settings: []model.Settings{{From: model.MinTime, Type: model.Float64}},
			}}})
		}
		_, err := db.ChangeCatalog(t.Context(), changes)
		require.NoError(t, err)
	}
	began := time.Now()
	for month := range months {
		writeMonth(t, db, tags, perBatch, month)
	}
	t.Logf("%d tags, %d samples each: written and flushed in %s", tags, months, time.Since(began).Round(time.Millisecond))
	s := db.Status()
	t.Logf("bytes on disk: %+v, %.1f B/sample", s.Bytes, float64(s.Bytes.Total)/float64(s.Samples))
	require.NoError(t, db.Close())

	again := exec.Command(os.Args[0], "-test.run=^TestManySlowTags$", "-test.v")
	again.Env = append(os.Environ(), "VARVE_SLOW_TAGS="+dir)
	out, err := again.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}

func openSlowTags(t *testing.T, dir string, tags, months int) {
	debug.SetMemoryLimit(460 << 20) // what the server sets for the default budget
	began := time.Now()
	db, err := Open(dir, Options{})
	require.NoError(t, err)
	t.Logf("opened in %s, RSS %d MiB, peak %d MiB", time.Since(began).Round(time.Millisecond), memory(t, "VmRSS")>>20, memory(t, "VmHWM")>>20)
	readNewest(t, db, tags, months)
	require.NoError(t, db.Close())
}

func monthTime(tag model.TagID, month int) int64 {
	return time.Date(2025, time.Month(1+month), 1+int(tag)%28, 0, 0, int(tag)%86400, 0, time.UTC).UnixNano()
}

func monthValue(tag model.TagID, month int) uint64 {
	return math.Float64bits(float64(tag)/10 + float64(month))
}

// writeMonth writes a sample of every tag and flushes.
func writeMonth(t *testing.T, db *DB, tags, perBatch, month int) {
	for at := 1; at <= tags; at += perBatch {
		b := &Batch{Source: "meters", Epoch: 1, Sequence: uint64(month*tags/perBatch + at/perBatch + 1)}
		b.ContentHash = b.Sequence
		for id := model.TagID(at); int(id) < at+perBatch; id++ {
			r := Run{Tag: id, Mode: model.Update, Samples: model.Samples{Type: model.Float64}}
			r.Samples.Append(model.Sample{Time: monthTime(id, month), Type: model.Float64, Bits: monthValue(id, month)})
			b.Runs = append(b.Runs, r)
		}
		p, err := db.Submit(t.Context(), b)
		require.NoError(t, err)
		_, err = p.Applied(t.Context())
		require.NoError(t, err)
	}
	_, err := db.Flush(t.Context())
	require.NoError(t, err)
}

// readNewest asks for the newest value of random tags, and for the whole year of a few.
func readNewest(t *testing.T, db *DB, tags, months int) {
	rng := rand.New(rand.NewPCG(1, 9))
	var worst, sum time.Duration
	const asked = 10_000
	for range asked {
		id := model.TagID(1 + rng.IntN(tags))
		began := time.Now()
		v, err := db.View(t.Context(), Accepted)
		require.NoError(t, err)
		x, ok := v.Latest(id)
		v.Close()
		took := time.Since(began)
		worst, sum = max(worst, took), sum+took
		require.True(t, ok)
		require.Equal(t, monthTime(id, months-1), x.Time)
		require.Equal(t, monthValue(id, months-1), x.Bits)
	}
	t.Logf("newest value of a tag: mean %s, worst of %d %s", sum/asked, asked, worst)

	v, err := db.View(t.Context(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	began := time.Now()
	for range 20 {
		id := model.TagID(1 + rng.IntN(tags))
		all := readAll(t, v, id, model.All)
		require.Len(t, all, months)
		for i := range all {
			require.Equal(t, monthValue(id, i), all[i].Bits)
		}
	}
	t.Logf("a year of a tag: mean %s", time.Since(began)/20)
}

// memory is a line of what the kernel says of this process, in bytes.
func memory(t *testing.T, name string) int64 {
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(b), name+":")
	require.True(t, found)
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	require.NoError(t, err)
	return kib << 10
}
