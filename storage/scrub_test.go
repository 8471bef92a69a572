package storage

import (
	"context"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/storage/keys"
)

func alarmOf(db *DB, name string) string {
	for _, a := range db.Status().Alarms {
		if a.Name == name {
			return a.Detail
		}
	}
	return ""
}

func scrubbed(t testing.TB, db *DB) Scrub {
	require.Eventually(t, func() bool { s := db.Status().Scrub; return s.Pass > 0 && !s.Running }, 20*time.Second, 5*time.Millisecond)
	return db.Status().Scrub
}

// TestScrubFindsDamage: damage that no query has met raises an alarm which names file, tag and range; it is raised again
// behind a restart; and a pass that finds nothing clears it.
func TestScrubFindsDamage(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 1, fs)
	for range 60 {
		h.step()
	}
	seal(t, h.db)
	tables, err := h.db.tables()
	require.NoError(t, err)
	require.NoError(t, h.db.Close())
	o := testOptions(fs)
	o.ScrubRate = 1 << 40
	now := time.Now()
	o.Now = func() time.Time { return now }
	db, err := Open("store", o)
	require.NoError(t, err)
	s := scrubbed(t, db)
	require.Equal(t, uint64(1), s.Pass)
	require.NotZero(t, s.Bytes)
	require.Zero(t, s.Damaged)
	require.Empty(t, db.Status().Alarms)
	require.NoError(t, db.Close())

	name, was := "", byte(0)
	flip := func() {
		f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 300)
		require.NoError(t, err)
		was = b[0] ^ 1
		_, err = f.WriteAt([]byte{was}, 300)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for i := range tables {
		if keys.Space(tables[i].from[0]) == keys.SealedData {
			name = path.Join("store", tables[i].name())
		}
	}
	flip()
	now = now.Add(25 * time.Hour)
	db, err = Open("store", o)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return alarmOf(db, scrubAlarm) != "" }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, uint64(2), scrubbed(t, db).Pass)
	detail := alarmOf(db, scrubAlarm)
	require.Contains(t, detail, strings.TrimPrefix(name, "store/"))
	require.Contains(t, detail, "not readable: tag ")
	require.NotZero(t, db.Status().Scrub.Damaged)
	require.NoError(t, db.Close())

	db, err = Open("store", o)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(alarmOf(db, scrubAlarm), "before this start") }, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, db.Close())
	flip()
	now = now.Add(25 * time.Hour)
	db, err = Open("store", o)
	require.NoError(t, err)
	require.Eventually(t, func() bool { s := db.Status().Scrub; return s.Pass == 3 && !s.Running }, 20*time.Second, 5*time.Millisecond)
	require.Empty(t, alarmOf(db, scrubAlarm))
	require.NoError(t, db.Close())
}

// TestScrubGoesOnBehindARestart stops a slow pass in the middle; the next process goes on from there, and does not begin
// another one until a day is over.
func TestScrubGoesOnBehindARestart(t *testing.T) {
	fs := vfs.NewMem()
	h := newHistory(t, 2, fs)
	for range 60 {
		h.step()
	}
	seal(t, h.db)
	require.NoError(t, h.db.Close())
	o := testOptions(fs)
	o.ScrubRate = 20_000 // of a store of some 100 kB
	db, err := Open("store", o)
	require.NoError(t, err)
	require.Eventually(t, func() bool { s := db.Status().Scrub; return s.Running && s.Bytes > s.Total/2 && s.Bytes < s.Total }, 20*time.Second, time.Millisecond)
	require.NoError(t, db.Close())
	half, err := readFile(fs, "store/"+scrubName)
	require.NoError(t, err)
	x, err := parseScrub(half)
	require.NoError(t, err)
	require.Greater(t, x.next, uint64(1))
	require.NotZero(t, x.through)

	o.ScrubRate = 1 << 40
	db, err = Open("store", o)
	require.NoError(t, err)
	s := scrubbed(t, db)
	require.Equal(t, uint64(1), s.Pass)
	require.Equal(t, x.begun.Unix(), s.Begun.Unix())
	require.GreaterOrEqual(t, s.Bytes, x.bytes)
	time.Sleep(20 * time.Millisecond)
	require.Equal(t, uint64(1), db.Status().Scrub.Pass, "the next one begins tomorrow")
	_, err = db.Flush(context.Background())
	require.NoError(t, err)
	require.NoError(t, db.Close())

	for _, bad := range []string{"", "varve scrub\n", strings.Replace(string(half), "pass 1", "pass 01", 1), string(half) + "x"} {
		_, err := parseScrub([]byte(bad))
		require.ErrorIs(t, err, ErrCorrupt, "%q", bad)
	}
	_, err = parseScrub([]byte(strings.Replace(string(half), "format 1", "format 2", 1)))
	require.ErrorIs(t, err, ErrVersion)
}

func TestScrubIsAsDocumented(t *testing.T) {
	x := scrubState{pass: 3, begun: time.Unix(1_767_268_800, 0), ended: time.Unix(1_767_182_400, 0), through: 115, next: 57, bytes: 123_456}
	require.Equal(t, fenced(t, "text SCRUB"), string(x.append(nil)))
	have, err := parseScrub([]byte(fenced(t, "text SCRUB")))
	require.NoError(t, err)
	require.Equal(t, x, have)
}
