package storage

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tablePause is how long the LSM waits before it tries again once a flush or compaction failed. Left alone it tries at
// once, and a full disk or a damaged table would cost a core.
const tablePause = 200 * time.Millisecond

// pausingFS makes the LSM wait after a failed flush where it holds no lock: as it is about to make the next table.
type pausingFS struct {
	vfs.FS
	failed atomic.Bool
}

// Create makes a file, a table after a pause if the one before failed.
func (p *pausingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !strings.HasSuffix(name, ".sst") {
		return p.FS.Create(name, c)
	}
	if p.failed.Swap(false) {
		time.Sleep(tablePause)
	}
	f, err := p.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return newTableFile(f), nil
}

// Unwrap is the file system below.
func (p *pausingFS) Unwrap() vfs.FS { return p.FS }

// oneCompaction lets one compaction run at a time, and makes the LSM wait after one that failed: it may have met damage
// before it made any table. The LSM holds no lock as it gives back the leave to run, and compacts nothing until then.
type oneCompaction struct {
	failed atomic.Bool
	db     pebble.DBForCompaction

	// mu guards what is inside it. It is never held while the LSM is called, which calls with its own lock held.
	mu struct {
		sync.Mutex
		running  int
		ended    bool
		granting sync.WaitGroup // calls of the LSM; added to while ended is not set
	}
}

// Register is told the LSM whose compactions these are.
func (s *oneCompaction) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// Unregister returns once the LSM is not called any more.
func (s *oneCompaction) Unregister() {
	s.mu.Lock()
	s.mu.ended = true
	s.mu.Unlock()
	s.mu.granting.Wait()
}

// TrySchedule gives leave for a compaction, unless one runs; the LSM then remembers that it waits for Schedule.
func (s *oneCompaction) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended || s.mu.running > 0 {
		return false, nil
	}
	s.mu.running++
	return true, s
}

// Done takes the leave back and gives it to a compaction that waits.
func (s *oneCompaction) Done() {
	if s.failed.Swap(false) {
		time.Sleep(tablePause)
	}
	s.mu.Lock()
	s.mu.running--
	if s.mu.ended {
		s.mu.Unlock()
		return
	}
	s.mu.granting.Add(1)
	s.mu.Unlock()
	defer s.mu.granting.Done()
	// Who asks by TrySchedule meanwhile gets leave as well, and two run for once. Refused it would wait for a Done that
	// looked for it a moment too early.
	if waiting, _ := s.db.GetWaitingCompaction(); waiting && s.db.Schedule(s) {
		s.mu.Lock()
		s.mu.running++
		s.mu.Unlock()
	}
}

// The LSM also tells how many compactions it would like to run and what they cost.
func (s *oneCompaction) UpdateGetAllowedWithoutPermission()                {}
func (s *oneCompaction) Started()                                          {}
func (s *oneCompaction) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (s *oneCompaction) CumulativeStats(pebble.CompactionGrantHandleStats) {}
