package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/catalog"
)

// A disk too full to make a store, or to open it, says so; with space the same directory works.
func TestFullDiskAtOpen(t *testing.T) {
	for _, existing := range []bool{false, true} {
		for nth := range 12 {
			t.Run(fmt.Sprintf("existing=%v/call=%d", existing, nth), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				disk := &diskFS{FS: mem}
				f := &faulty{disk: disk, fatal: make(chan error, 1)}
				if existing {
					f = newFaulty(t, uint64(nth))
					disk, mem = f.disk, f.fs
					f.write(f.randomWrites())
					require.NoError(t, f.db.Close())
				}
				calls := 0
				disk.set(func(c diskCall) (bool, error) {
					if c.takesSpace() && !strings.HasSuffix(c.path, "/mark") { // the log works without its mark
						if calls++; calls > nth {
							return false, syscall.ENOSPC
						}
					}
					return false, nil
				})
				if err := f.openAndClose(); err != nil { // else all that it has to write was there
					require.ErrorContains(t, err, syscall.ENOSPC.Error())
				}
				disk.heal()
				// The process has ended, and its locks with it.
				db, err := Open("store", testOptions(mem.CrashClone(everything(nth))))
				require.NoError(t, err)
				requireNoAlarms(t, db)
				if existing {
					requireSame(t, db, modelOf(f.sent), f.rng)
				}
				require.NoError(t, db.Close())
			})
		}
	}
}

// everything is a crash of the process and not of the machine.
func everything(seed int) vfs.CrashCloneCfg {
	return vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(uint64(seed), 5))}
}

// openAndClose opens and closes the store in a process that a fatal error ends: the goroutine that met it stands still.
func (f *faulty) openAndClose() error {
	ended := make(chan error, 2)
	o := f.options()
	o.OnFatal = func(err error) {
		ended <- err
		select {}
	}
	go func() {
		db, err := Open("store", o)
		if err == nil {
			err = db.Close()
		}
		ended <- err
	}()
	return <-ended
}

// A disk that fills up during a checkpoint fails the checkpoint and nothing else: the store goes on, what is left of the
// copy is not taken for a store, and another checkpoint works.
func TestFullDiskAtCheckpoint(t *testing.T) {
	f := newFaulty(t, 7)
	refused := 0
	for nth := range 12 {
		f.write(f.randomWrites())
		calls := 0
		f.disk.set(func(c diskCall) (bool, error) {
			if strings.HasPrefix(c.path, "copy") && c.takesSpace() {
				if calls++; calls > nth {
					return false, syscall.ENOSPC
				}
			}
			return false, nil
		})
		dir := fmt.Sprintf("copy%d", nth)
		if _, err := f.db.Checkpoint(context.Background(), dir); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			refused++
			_, err := Open(dir, testOptions(f.fs.CrashClone(everything(nth))))
			if names, _ := f.fs.List(dir); len(names) > 0 { // an empty directory is where a new store may be made
				require.Error(t, err)
			}
		}
		f.disk.heal()
		f.write(f.randomWrites())
	}
	require.Greater(t, refused, 8)
	through, err := f.db.Checkpoint(context.Background(), "whole")
	require.NoError(t, err)
	require.Equal(t, f.db.Status().Accepted, through)
	db, err := Open("whole", testOptions(f.fs.CrashClone(vfs.CrashCloneCfg{})))
	require.NoError(t, err)
	requireSame(t, db, modelOf(f.sent), f.rng)
	require.NoError(t, db.Close())
	requireNoAlarms(t, f.db)
	require.NoError(t, f.db.Close())
}

// lowSpace is a store that watches the free space of its disk.
func lowSpace(t *testing.T, free uint64) *faulty {
	f := &faulty{fatal: make(chan error, 1)}
	mem := vfs.NewCrashableMem()
	f.disk = &diskFS{FS: mem}
	f.disk.free.Store(free)
	f.powerCut = &powerCut{history: newHistory(t, 3, vfs.NewMem()), fs: mem}
	require.NoError(t, f.db.Close())
	o := f.options()
	o.MinFreeBytes, o.BallastBytes = 1<<20, 1<<16
	db, err := Open("store", o)
	require.NoError(t, err)
	f.db = db
	return f
}

func (f *faulty) hasAlarm(name string) bool {
	for _, a := range f.db.Status().Alarms {
		if a.Name == name {
			return true
		}
	}
	return false
}

func (f *faulty) eventually(what string, ok func() bool) {
	require.Eventually(f.t, ok, patience, 10*time.Millisecond, what)
}

// Low space stops ingest before the disk is full, and more space lets it go on, without a restart.
func TestLowSpaceStopsIngest(t *testing.T) {
	f := lowSpace(t, 1<<30)
	f.createTags()
	_, err := f.fs.Stat(path.Join("store", ballastName))
	require.NoError(t, err, "the ballast is made")
	f.write(f.randomWrites())

	f.disk.free.Store(1<<20 - 1)
	f.eventually("alarm", func() bool { return f.hasAlarm("low_disk_space") })
	require.True(t, f.db.Status().IngestStopped)
	require.ErrorIs(t, f.try(f.randomWrites()), ErrLowSpace)
	_, err = f.db.ChangeCatalog(context.Background(), []catalog.Change{{Create: &catalog.Create{Tag: model.Tag{
		Name: "late", UUID: model.UUID{9}, Settings: []model.Settings{{From: model.MinTime, Type: model.Bool}},
	}}}})
	require.ErrorIs(t, err, ErrLowSpace)
	requireSame(t, f.db, modelOf(f.sent), f.rng)
	// Flushing is what lets the log be trimmed, so it goes on.
	archived, err := f.db.Flush(context.Background())
	require.NoError(t, err, "flush while space is low")
	require.Equal(t, f.db.Status().Accepted, archived)

	f.disk.free.Store(1<<20 + 1)
	time.Sleep(1500 * time.Millisecond)
	require.ErrorIs(t, f.try(f.randomWrites()), ErrLowSpace, "not before there is a little more")
	f.disk.free.Store(1 << 22)
	f.eventually("resume", func() bool { return !f.hasAlarm("low_disk_space") })
	require.False(t, f.db.Status().IngestStopped)
	f.write(f.randomWrites())
	requireSame(t, f.db, modelOf(f.sent), f.rng)
	require.NoError(t, f.db.Close())
}

// A store opened on a nearly full disk refuses ingest from the start; a ballast that did not fit is made once it does.
func TestLowSpaceAtOpen(t *testing.T) {
	f := lowSpace(t, 1<<19)
	require.ErrorIs(t, f.try(f.randomWrites()), ErrLowSpace)
	require.True(t, f.hasAlarm("low_disk_space"))
	_, err := f.fs.Stat(path.Join("store", ballastName))
	require.Error(t, err)

	f.disk.fail(syscall.ENOSPC, func(c diskCall) bool { return c.op == "preallocate" && strings.HasSuffix(c.path, ballastName) })
	f.disk.free.Store(1 << 30)
	f.eventually("resume", func() bool { return !f.hasAlarm("low_disk_space") })
	made := make(chan string, 1)
	f.disk.set(func(c diskCall) (bool, error) {
		if c.op == "preallocate" {
			select {
			case made <- c.path:
			default:
			}
		}
		return false, nil
	})
	select {
	case name := <-made:
		require.Equal(t, path.Join("store", ballastName), name)
	case <-time.After(patience):
		t.Fatal("the ballast is not tried again")
	}
	f.createTags()
	f.write(f.randomWrites())
	require.NoError(t, f.db.Close())
}
