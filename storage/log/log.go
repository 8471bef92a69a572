package log

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// markSyncDelay is how long the log is idle before its mark is fsynced. Busy, the next group's records carry the claim.
const markSyncDelay = time.Second

// Log is an open log. Its methods may be called from any goroutine.
type Log struct {
	o     Options
	dir   string
	lock  io.Closer
	table table
	high  atomic.Uint64

	// turn is held while the writer works, and taken before mu.
	turn   sync.Mutex
	writer writer

	// trimming is held by Trim, one at a time, so that files go oldest first. It is taken before turn.
	trimming sync.Mutex
	retired  []string // files nobody reads that are still to be removed, oldest first; guarded by trimming

	// mu guards what is inside it. No file is touched while it is held.
	mu struct {
		sync.Mutex
		stopped  error         // why nothing more is accepted: ErrClosed or a failed fsync
		next     uint64        // offset of the next record
		pending  *group        // nil if nothing waits for the writer
		unsynced int64         // bytes in pending and in the writer's hands
		room     chan struct{} // closed when unsynced or the backlog shrinks, or the log stops; nil while nobody waits
		backlog  backlog
		spare    [][]byte // of groups before, for the next ones; at most two, as one fills while one is written
	}

	wake   chan struct{} // holds one item while there may be something pending
	closed chan struct{} // closed by Close
	done   chan struct{} // closed when the writer's goroutine has ended
}

// Open opens the log in dir, making it if nothing is there. Records that survived without any claim that they were
// fsynced are moved into a new segment before Open returns, so that whatever a reader sees is durable; if the disk is too
// full for that, Open succeeds and they become readable when there is space again.
func Open(dir string, o Options) (*Log, Recovery, error) {
	l, rec, err := open(dir, o)
	if err != nil {
		return nil, Recovery{}, err
	}
	go l.run()
	return l, rec, nil
}

// open is Open without a goroutine: the caller does the writer's turns.
func open(dir string, o Options) (*Log, Recovery, error) {
	if err := o.setDefaults(); err != nil {
		return nil, Recovery{}, err
	}
	if err := makeDir(o.FS, dir); err != nil {
		return nil, Recovery{}, err
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(dir, "lock"))
	if err != nil {
		return nil, Recovery{}, fmt.Errorf("lock log directory %s: %w", dir, err)
	}
	l := &Log{o: o, dir: dir, lock: lock, wake: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{})}
	rec, err := l.recover()
	if err != nil {
		lock.Close()
		return nil, Recovery{}, err
	}
	return l, rec, nil
}

// recover reads what is there and sets up table and writer behind it.
func (l *Log) recover() (Recovery, error) {
	r, err := recoverLog(l.o.FS, l.dir, l.o.Applied)
	if err != nil {
		return Recovery{}, err
	}
	for !r.haveID {
		if _, err := io.ReadFull(l.o.Rand, r.id[:]); err != nil {
			return Recovery{}, fmt.Errorf("make the id of a new log: %w", err)
		}
		r.haveID = r.id.nonce() != [4]byte{} // zeros are what an unwritten block holds
	}
	res := r.result
	synced := min(r.claim, res.Next-1)
	l.table.segments, l.table.low, l.table.end = r.segments, res.First, synced+1
	l.writer = writer{
		fs: l.o.FS, dir: l.dir, id: r.id, max: l.o.SegmentBytes, table: &l.table, logger: l.o.Logger, slow: l.o.OnSlow,
		mark:  mark{id: r.id, logger: l.o.Logger},
		first: synced + 1, serial: r.serial, synced: synced, carryEnd: res.Next,
	}
	l.openMark(synced)
	l.mu.next, l.retired = res.Next, r.retired
	if err := l.writer.ensureCarried(); err != nil {
		if isFatal(err) {
			l.writer.close()
			return Recovery{}, err
		}
		l.o.Logger.Warn("log records that were never fsynced wait for space", "first", synced+1, "next", res.Next, "error", err)
	}
	l.high.Store(l.writer.synced)
	for _, x := range res.Lost {
		l.o.Logger.Error("log records are lost", "first", x.First, "end", x.End, "file", x.File, "at", x.At)
	}
	return res, nil
}

// openMark starts a mark that claims what recovery relied on. The log works without one.
func (l *Log) openMark(synced uint64) {
	f, err := l.o.FS.OpenReadWrite(l.o.FS.PathJoin(l.dir, markName), "log")
	if err != nil {
		l.o.Logger.Warn("the log's mark cannot be opened", "error", err)
		return
	}
	l.writer.mark.file = f
	l.writer.mark.write(synced)
	l.writer.mark.write(synced)
}

// run is the writer's goroutine.
func (l *Log) run() {
	defer close(l.done)
	idle := time.NewTimer(markSyncDelay)
	defer idle.Stop()
	for {
		select {
		case <-l.wake:
			for l.step() {
			}
			idle.Reset(markSyncDelay)
		case <-idle.C:
			l.syncMark()
		case <-l.closed:
			for l.step() {
			}
			return
		}
	}
}

// step is one turn of the writer: it makes everything pending durable. It reports false if there was nothing.
func (l *Log) step() bool {
	l.turn.Lock()
	g := l.take()
	if g == nil {
		l.turn.Unlock()
		return false
	}
	err := l.writer.commit(g.frames, g.end)
	l.settle(g, err)
	l.turn.Unlock()
	l.checkFatal(err)
	return true
}

func (l *Log) syncMark() {
	l.turn.Lock()
	err := l.writer.mark.sync()
	l.fail(err)
	l.turn.Unlock()
	l.checkFatal(err)
}

// take hands the pending group to the writer.
func (l *Log) take() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.mu.pending
	l.mu.pending = nil
	return g
}

// settle tells everybody what became of a group. The turn is held.
func (l *Log) settle(g *group, err error) {
	l.high.Store(l.writer.synced)
	if err != nil {
		g.err = err
		l.fail(err)
	}
	l.mu.Lock()
	if err == nil {
		l.mu.unsynced -= int64(len(g.frames))
	}
	if len(l.mu.spare) < 2 && int64(cap(g.frames)) <= 2*l.o.UnsyncedBytes {
		l.mu.spare = append(l.mu.spare, g.frames[:0])
	}
	g.frames = nil
	l.wakeLocked()
	l.mu.Unlock()
	close(g.done)
}

// fail takes back every offset that is not durable, and stops the log if err is fatal. The turn is held.
func (l *Log) fail(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	if isFatal(err) && l.mu.stopped == nil {
		l.mu.stopped = err
	}
	p := l.mu.pending
	l.mu.pending = nil
	l.mu.unsynced = 0
	l.mu.next = l.writer.next()
	l.mu.backlog.failed(l.mu.next)
	l.wakeLocked()
	l.mu.Unlock()
	if p != nil {
		p.err = err
		close(p.done)
	}
	l.o.Logger.Error("log records were not written", "next", l.writer.next(), "error", err)
}

// checkFatal ends the process. No lock is held.
func (l *Log) checkFatal(err error) {
	if isFatal(err) {
		l.o.OnFatal(err)
	}
}

// Submit hands over one record, the concatenation of payload, and returns its commit without waiting for the disk. The
// payload is copied before Submit returns. Offsets are dense, in the order of the calls.
//
// Submit waits while too much is unsynced, until ctx ends. It answers [ErrBacklogFull] while too much is not applied. After
// a failed write, such as on a full disk, it goes on by itself: each group tries a new segment, and fails if that fails.
func (l *Log) Submit(ctx context.Context, payload ...[]byte) (*Commit, error) {
	var n int64
	for _, p := range payload {
		n += int64(len(p))
	}
	if n > l.o.MaxRecordBytes {
		return nil, fmt.Errorf("submit a log record of %d bytes, most is %d: %w", n, l.o.MaxRecordBytes, ErrTooLarge)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sum := checksum(payload...)

	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.mu.stopped != nil:
			return nil, l.mu.stopped
		case l.mu.backlog.bytes >= l.o.BacklogBytes:
			return nil, fmt.Errorf("submit to the log: %d bytes are not applied, bound is %d: %w",
				l.mu.backlog.bytes, l.o.BacklogBytes, ErrBacklogFull)
		case l.mu.unsynced < l.o.UnsyncedBytes:
			return l.addLocked(sum, n, payload), nil
		}
		if err := l.waitLocked(ctx); err != nil {
			return nil, err
		}
	}
}

// addLocked puts a record into the pending group. l.mu must be held.
func (l *Log) addLocked(sum uint32, n int64, payload [][]byte) *Commit {
	g := l.mu.pending
	fresh := g == nil
	if fresh {
		g = &group{done: make(chan struct{})}
		if n := len(l.mu.spare); n > 0 {
			g.frames, l.mu.spare = l.mu.spare[n-1], l.mu.spare[:n-1]
		}
		l.mu.pending = g
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	offset := l.mu.next
	l.mu.next++
	g.frames = appendRecord(g.frames, l.writer.id.nonce(), offset, sum, payload...)
	g.end = l.mu.next
	l.mu.unsynced += frameBytes + n
	l.mu.backlog.add(offset, frameBytes+n, fresh)
	return &Commit{offset: offset, group: g}
}

// waitLocked waits until something about the bounds changes. l.mu must be held; it is released meanwhile.
func (l *Log) waitLocked(ctx context.Context) error {
	if l.mu.room == nil {
		l.mu.room = make(chan struct{})
	}
	room := l.mu.room
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) wakeLocked() {
	if l.mu.room != nil {
		close(l.mu.room)
		l.mu.room = nil
	}
}

// Append submits a record and waits until it is durable.
func (l *Log) Append(ctx context.Context, payload ...[]byte) (uint64, error) {
	c, err := l.Submit(ctx, payload...)
	if err != nil {
		return 0, err
	}
	return c.Offset(), c.Wait(ctx)
}

// HighWatermark is the highest durable offset, 0 if there is none.
func (l *Log) HighWatermark() uint64 { return l.high.Load() }

// LowWatermark is the lowest offset that can be read.
func (l *Log) LowWatermark() uint64 {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	return l.table.low
}

// ID is a name of this log that no other has, a copy of it neither.
func (l *Log) ID() [16]byte { return l.writer.id }

// Applied tells that records up to offset are applied, which makes room in the backlog.
func (l *Log) Applied(offset uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.backlog.applied(offset)
	l.wakeLocked()
}

// BacklogWait waits until the backlog has room. Records that an earlier process accepted are not counted in it.
func (l *Log) BacklogWait(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.mu.stopped == nil && l.mu.backlog.bytes >= l.o.BacklogBytes {
		if err := l.waitLocked(ctx); err != nil {
			return err
		}
	}
	return l.mu.stopped
}

// NewReader returns a reader whose first record is from. It answers [TrimmedError] if that is trimmed.
func (l *Log) NewReader(from uint64) (*Reader, error) {
	low := l.LowWatermark()
	if from < low {
		return nil, &TrimmedError{First: low}
	}
	return &Reader{table: &l.table, fs: l.o.FS, dir: l.dir, nonce: l.writer.id.nonce(), want: from}, nil
}

// Resume makes a new segment if the last one cannot be used any more, which shows whether there is space again. Submit
// does the same with its first record.
func (l *Log) Resume() error {
	return l.inTurn(func() error { return l.writer.ensure() })
}

// SetNext lets the log go on at offset, if it is not there yet. What is in front of it can no longer be read. No record may
// be on its way.
func (l *Log) SetNext(offset uint64) error {
	if offset >= maxOffset {
		return fmt.Errorf("set the next log offset to %d: must be below %d", offset, uint64(maxOffset))
	}
	for l.step() {
	}
	return l.inTurn(func() error {
		l.mu.Lock()
		busy := l.mu.pending != nil
		l.mu.Unlock()
		if busy {
			return fmt.Errorf("set the next log offset to %d: records are on their way", offset)
		}
		return l.writer.jump(offset)
	})
}

// inTurn does something with the writer that may leave offsets changed.
func (l *Log) inTurn(do func() error) error {
	l.turn.Lock()
	l.mu.Lock()
	stopped := l.mu.stopped
	l.mu.Unlock()
	if stopped != nil {
		l.turn.Unlock()
		return stopped
	}
	err := do()
	l.high.Store(l.writer.synced)
	if isFatal(err) {
		l.fail(err)
	}
	l.mu.Lock()
	if l.mu.pending == nil {
		l.mu.next = l.writer.next()
	}
	l.mu.Unlock()
	l.turn.Unlock()
	l.checkFatal(err)
	return err
}

// Trim deletes the segments whose every record is at or below through. The newest segment stays.
func (l *Log) Trim(through uint64) error {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	for s, ok := l.table.trim(through); ok; s, ok = l.table.trim(through) {
		l.retired = append(l.retired, s.name)
	}
	// One by one, and none before an older one is gone for good: an older file without a newer one is damage, to whoever
	// looks.
	for len(l.retired) > 0 {
		name := l.retired[0]
		if err := l.o.FS.Remove(l.o.FS.PathJoin(l.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("trim log segment %s: %w", name, err)
		}
		// In turn, so that the writer cannot rely on a sync of the directory whose error was told here.
		if err := l.inTurn(func() error { return syncDir(l.o.FS, l.dir) }); err != nil {
			return fmt.Errorf("trim log segment %s: %w", name, err)
		}
		l.retired = l.retired[1:]
	}
	return nil
}

// Bytes is the size of all segments.
func (l *Log) Bytes() uint64 {
	var n uint64
	for _, s := range l.table.list() {
		n += uint64(s.bytes)
	}
	return n
}

// Segments lists the files of the log, oldest first.
func (l *Log) Segments() []Segment {
	var list []Segment
	for _, s := range l.table.list() {
		list = append(list, Segment{File: s.name, First: s.first, Bytes: s.bytes})
	}
	return list
}

// Close makes everything submitted durable and closes the files. Readers get [ErrClosed].
func (l *Log) Close() error {
	l.mu.Lock()
	if l.mu.stopped == ErrClosed {
		l.mu.Unlock()
		return ErrClosed
	}
	fatal := l.mu.stopped
	l.mu.stopped = ErrClosed
	l.wakeLocked()
	l.mu.Unlock()
	close(l.closed)
	<-l.done
	return l.closeFiles(fatal)
}

func (l *Log) closeFiles(fatal error) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.table.close()
	err := l.writer.close()
	if e := l.lock.Close(); err == nil {
		err = e
	}
	if fatal != nil {
		return fatal
	}
	return err
}

func checksum(payload ...[]byte) uint32 {
	var sum uint32
	for _, p := range payload {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}
