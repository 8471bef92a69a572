package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// verified runs Verify and returns what it found.
func verified(t testing.TB, fs vfs.FS) ([]string, []Content, Checked, error) {
	var found []string
	var rows []Content
	c, err := Verify(context.Background(), "store", testOptions(fs), func(d Damage) { found = append(found, d.String()) }, func(c Content) { rows = append(rows, c) })
	require.Equal(t, len(found), c.Damaged)
	return found, rows, c, err
}

// TestSoundStoresVerify: whatever a store has been through, also a power cut in the middle, there is nothing to report.
func TestSoundStoresVerify(t *testing.T) {
	for seed := range uint64(max(seeds("VARVE_CRASH_SEEDS", 400)/10, fewer(8))) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			c := &powerCut{history: &history{t: t, rng: rand.New(rand.NewPCG(seed, 2)), model: plain.Store{}, tags: len(testTypes)}, fs: mem}
			db, err := Open("store", c.options(mem))
			require.NoError(t, err)
			c.db = db
			c.createTags()
			c.live()
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
			require.NoError(t, c.db.Close())
			for _, fs := range []*vfs.MemFS{mem, clone} {
				before := filesUnder(t, fs, "store")
				found, rows, checked, err := verified(t, fs)
				require.NoError(t, err)
				require.Empty(t, found)
				require.Equal(t, before, filesUnder(t, fs, "store"))
				require.Equal(t, uint64(len(rows)), checked.Content.Rows)
				n := 0
				for n < len(c.sent) && c.sent[n].pending.Offset() <= checked.Offset {
					n++
				}
				require.Equal(t, modelContents(modelOf(c.sent[:n])), rows)
			}
		})
	}
}

// TestVerifyFindsDamage harms one place of a closed store per seed. What verify does not report makes no difference to what
// the store holds; and whatever is not as it was in a table that the store reads from is reported.
func TestVerifyFindsDamage(t *testing.T) {
	n := max(seeds("VARVE_DAMAGE_SEEDS", 400)/8, 16)
	const stores = 4
	for k := range stores {
		t.Run(fmt.Sprintf("store=%d", k), func(t *testing.T) {
			t.Parallel()
			d := makeDamagedStore(t, uint64(k))
			want := modelContents(d.states(len(d.sent)))
			db, err := OpenReadOnly("store", testOptions(d.fs))
			require.NoError(t, err)
			tables, err := db.tables()
			require.NoError(t, err)
			live := map[string]bool{}
			for i := range tables {
				live["store/"+tables[i].name()] = true
			}
			require.NoError(t, db.Close())
			whole := filesUnder(t, d.fs, "store")
			named := 0
			for seed := k; seed < n; seed += stores {
				rng := rand.New(rand.NewPCG(uint64(seed), 4))
				fs := d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
				what := d.harm(t, fs, rng)
				found, rows, _, err := verified(t, fs)
				if err != nil {
					require.ErrorIs(t, err, ErrVersion, what) // of a newer release, as far as anyone can tell
					continue
				}
				if len(found) == 0 {
					require.Equal(t, want, rows, what)
				}
				for name, was := range whole {
					if now := filesUnder(t, fs, "store")[name]; live[name] && now != was && len(found) == 0 {
						// Bytes that no checksum covers and nothing reads: padding in the footer.
						require.Equal(t, was[:len(was)-60], now[:len(now)-60], "%s: nothing was reported", what)
					}
					if len(found) > 0 && strings.Contains(what, name) && strings.Contains(strings.Join(found, "\n"), strings.TrimPrefix(name, "store/")) {
						named++
					}
				}
			}
			t.Logf("%d of %d reports name the file", named, n/stores)
		})
	}
}

// TestVerifyFindsContradictions takes rows away, or puts wrong ones in, which no checksum tells of.
func TestVerifyFindsContradictions(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, db *DB) (says string){
		"chunk": func(t *testing.T, db *DB) string {
			deleteFirst(t, db, keys.SealedData, byte(keys.Sealed))
			return "chunk of generation"
		},
		"header": func(t *testing.T, db *DB) string {
			h := firstKey(t, db, keys.Headers, 0)
			require.NoError(t, db.engine.Set(h, (&headerValue{length: 60e9, count: 3, bytes: 7}).append(nil, keys.Sealed), pebble.NoSync))
			return "header"
		},
		"directory": func(t *testing.T, db *DB) string {
			p := db.directory.parts[0]
			g := p.gens[0]
			g.samples += 5
			for _, s := range []keys.Space{keys.Directory, keys.DirectoryMirror} {
				require.NoError(t, db.engine.Set(keys.AppendDirectory(nil, s, p.name, g.id), g.append(nil), pebble.NoSync))
			}
			return "directory"
		},
		"one copy": func(t *testing.T, db *DB) string {
			deleteFirst(t, db, keys.CatalogMirror, 0)
			return "the two copies differ"
		},
		"newest sample": func(t *testing.T, db *DB) string {
			l := latestOf(1, model.Sample{Time: 5, Type: model.Float64, Bits: 99})
			require.NoError(t, db.engine.Set(keys.AppendTag(nil, keys.Latest, 0), l.appendPage(nil, 0), pebble.NoSync))
			return "newest sample, tag 1"
		},
		"partition set": func(t *testing.T, db *DB) string {
			require.NoError(t, db.engine.Delete(keys.AppendPartitions(nil, 1, keys.Day), pebble.NoSync))
			return "partition set, tag 1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			h := newHistory(t, 7, fs)
			for range 80 {
				h.step()
			}
			seal(t, h.db)
			says := harm(t, h.db)
			require.NoError(t, h.db.engine.Flush())
			require.NoError(t, h.db.Close())
			found, _, _, err := verified(t, fs)
			require.NoError(t, err)
			require.Contains(t, strings.Join(found, "\n"), says)
		})
	}
}

// firstKey is the first key of a space, of a kind if that is not 0.
func firstKey(t *testing.T, db *DB, s keys.Space, kind byte) (key []byte) {
	require.NoError(t, db.scan(s, func(k, _ []byte) error {
		if key == nil && (kind == 0 || k[13] == kind) {
			key = append([]byte{byte(s)}, k...)
		}
		return nil
	}))
	require.NotNil(t, key)
	return key
}

func deleteFirst(t *testing.T, db *DB, s keys.Space, kind byte) {
	require.NoError(t, db.engine.Delete(firstKey(t, db, s, kind), pebble.NoSync))
}
