package queue

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/disk"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
	"github.com/varvedb/varve/storage/log"
)

// Errors to test with errors.Is.
var (
	ErrClosed   = errors.New("the queue is closed")
	ErrTooLarge = errors.New("a run is larger than the queue takes")
	ErrOptions  = errors.New("the queue cannot be made so")
)

// Policy is what a full queue does.
type Policy uint8

const (
	// Block makes Put wait for room: what cannot be read meanwhile is the source's to keep, or its loss.
	Block Policy = iota
	// DropOldest makes room by losing the oldest records, of which gaps tell the destinations that did not have them.
	DropOldest
	// Thin makes room by thinning out the oldest records, of which gaps of kind thinned tell the destinations that did not have them.
	Thin
)

// Destination is a server that gets everything.
type Destination struct {
	Name   string // of its file: letters, digits, '-' and '_'
	Ingest varvev1.IngestServiceClient
	Gaps   varvev1.GapServiceClient
	// Until is the mark from which on a record may be forgotten: MARK_APPLIED or MARK_ARCHIVED. Only with the former is it known what the server refuses. The
	// default is MARK_APPLIED.
	Until varvev1.Mark
	// Exceptions is told the exception filters that the destination has of tags: of the tags of a list, those that have one, by name, whenever they are
	// others than it was told before. It must not wait for the queue. The default, nil, does not ask for them.
	Exceptions func(tags []string, of map[string]*varvev1.TagException)
}

// Options say where to and how much. Source and Destinations are required; the zero value of another field means its default.
type Options struct {
	// FS is where the files live. The default is the operating system's.
	FS vfs.FS
	// Now is the clock. The default is time.Now.
	Now func() time.Time
	// Rand makes epochs. The default is crypto/rand.
	Rand io.Reader
	// Logger gets what an operator should know. The default discards.
	Logger *slog.Logger
	// OnFatal is called when an fsync failed: see log.Options.
	OnFatal func(error)

	// Source is the name that batches are sent under, 1 to 240 bytes. The backlog has it with " (backlog)" behind.
	Source string
	// Destinations each get everything.
	Destinations []Destination
	// Tags are the settings with which a tag is made that a destination does not have. The default, and nil, is the type of its values alone.
	Tags func(name string) *varvev1.NewTag
	// OnRejected is told of samples that a destination did not take, and never will.
	OnRejected func(destination string, r *varvev1.BatchResult)

	// Collecting is what is read, and until when; destinations are told of it, and of how far it has arrived, every CollectingEvery. The defaults are
	// nothing, and 5 s.
	Collecting      func() []Collecting
	CollectingEvery time.Duration

	// MaxBytes bounds what lies on the disk. The default is 1 GiB, the least 1 MiB.
	MaxBytes int64
	// Full is what happens then. The default is Block.
	Full Policy
	// Behind is how old the record that the live lane sends next may be before the lane goes ahead to the newest one. The default is 2 s.
	Behind time.Duration
	// BackoffMax is the longest pause between attempts to reach a destination. The default is 10 s.
	BackoffMax time.Duration
}

// A full queue has so many segments, or more: one is dropped at a time, or thinned out, which takes about its size of memory.
const (
	segmentsOfQueue = 16
	maxSegmentBytes = 8 << 20
)

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.FS, disk.FS())
	setDefault(&o.Rand, crand.Reader)
	setDefault(&o.MaxBytes, 1<<30)
	setDefault(&o.Behind, 2*time.Second)
	setDefault(&o.BackoffMax, 10*time.Second)
	setDefault(&o.CollectingEvery, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Source) < 1 || len(o.Source) > 240 {
		return o, fmt.Errorf("%w: its source has %d bytes, must have 1 to 240", ErrOptions, len(o.Source))
	}
	if o.MaxBytes < 1<<20 {
		return o, fmt.Errorf("%w: %d bytes on disk, least is %d", ErrOptions, o.MaxBytes, 1<<20)
	}
	if len(o.Destinations) == 0 {
		return o, fmt.Errorf("%w: it has no destination", ErrOptions)
	}
	o.Destinations = append([]Destination(nil), o.Destinations...)
	names := map[string]bool{}
	for i := range o.Destinations {
		d := &o.Destinations[i]
		setDefault(&d.Until, varvev1.Mark_MARK_APPLIED)
		if !fileName(d.Name) || names[d.Name] {
			return o, fmt.Errorf("%w: destination %q: names are 1 to 64 letters, digits, '-' and '_', each once", ErrOptions, d.Name)
		}
		names[d.Name] = true
		if d.Until < varvev1.Mark_MARK_APPLIED || d.Until > varvev1.Mark_MARK_ARCHIVED {
			return o, fmt.Errorf("%w: destination %s: records go with %s, must with MARK_APPLIED or MARK_ARCHIVED", ErrOptions, d.Name, d.Until)
		}
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func fileName(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// Queue is samples on disk until every destination has them. Its methods may be called from any goroutine.
type Queue struct {
	o       Options
	dir     string
	samples *log.Log
	gaps    *log.Log
	holds   contents // what samples has
	senders []*sender

	mu      sync.Mutex
	changed sync.Cond // room was made, or a place went on
	closed  bool
	making  bool // somebody makes room
}

// The folders and files of a queue.
const (
	samplesFolder = "samples"
	holdsFolder   = "contents"
	gapsFolder    = "gaps"
	placesFolder  = "places"
	waitingFolder = "waiting"
	refusedFolder = "refused"
)

// Recovery is what Open found that is not as it was left.
type Recovery struct {
	Samples, Gaps log.Recovery
	Contents      log.Recovery // what is said of the samples
	Places        []error      // of destinations that begin anew for it, or lose gaps that waited for their tags, or were to end
}

// Open opens the queue in dir, made where there is none. One process may have it open.
func Open(dir string, o Options) (*Queue, Recovery, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, Recovery{}, err
	}
	q := &Queue{o: o, dir: dir}
	q.changed.L = &q.mu
	r, err := q.open()
	if err != nil {
		return nil, r, errors.Join(fmt.Errorf("open queue in %s: %w", dir, err), q.Close())
	}
	return q, r, nil
}

func (q *Queue) open() (r Recovery, err error) {
	for _, folder := range []string{"", samplesFolder, holdsFolder, gapsFolder, placesFolder, waitingFolder, refusedFolder} {
		if err := durable.MakeDir(q.o.FS, q.o.FS.PathJoin(q.dir, folder)); err != nil {
			return r, err
		}
	}
	places := make([]place, len(q.o.Destinations))
	known := make([]bool, len(places))
	applied := uint64(0)
	for i, d := range q.o.Destinations {
		p, ok, err := q.readPlace(d.Name)
		if err != nil {
			r.Places = append(r.Places, fmt.Errorf("destination %s: %w", d.Name, err))
			q.o.Logger.Error("a destination begins anew with what the queue has", "destination", d.Name, "error", err)
		}
		if places[i], known[i] = p, ok; ok {
			applied = max(applied, p.now().first-1) // these were there once
		}
	}
	options := log.Options{
		FS: q.o.FS, Rand: q.o.Rand, Logger: q.o.Logger, OnFatal: q.o.OnFatal, Applied: applied, BacklogBytes: 1 << 50,
		SegmentBytes: q.segmentBytes(),
	}
	if q.samples, r.Samples, err = log.Open(q.o.FS.PathJoin(q.dir, samplesFolder), options); err != nil {
		return r, err
	}
	options.Applied, options.SegmentBytes = 0, min(max(q.segmentBytes()/chapterShare, 16<<10), 4<<20)
	if q.holds.log, r.Contents, err = log.Open(q.o.FS.PathJoin(q.dir, holdsFolder), options); err != nil {
		return r, err
	}
	if err := q.holds.open(q.samples.HighWatermark() + 1); err != nil {
		return r, err
	}
	options.SegmentBytes = 64 << 10
	if q.gaps, r.Gaps, err = log.Open(q.o.FS.PathJoin(q.dir, gapsFolder), options); err != nil {
		return r, err
	}
	for i, d := range q.o.Destinations {
		if !known[i] {
			epoch, err := q.newEpoch()
			if err != nil {
				return r, err
			}
			places[i] = newPlace(epoch, max(q.samples.LowWatermark(), 1))
			places[i].gap = max(q.gaps.LowWatermark(), 1)
		}
		w, err := q.readWaiting(d.Name)
		if err != nil {
			r.Places = append(r.Places, fmt.Errorf("destination %s: %w", d.Name, err))
			q.o.Logger.Error("gaps of tags that a destination does not have are lost", "destination", d.Name, "error", err)
		}
		f, err := q.readRefused(d.Name)
		if err != nil {
			r.Places = append(r.Places, fmt.Errorf("destination %s: %w", d.Name, err))
			q.o.Logger.Error("what a destination refused is not known any more; its gaps stay open", "destination", d.Name, "error", err)
		}
		f.again()
		s := newSender(q, d, places[i], w, f)
		if err := s.fit(); err != nil {
			return r, err
		}
		q.senders = append(q.senders, s)
	}
	return r, nil
}

func (q *Queue) segmentBytes() int64 {
	return min(max(q.o.MaxBytes/segmentsOfQueue, 64<<10), maxSegmentBytes)
}

// newEpoch is a number that no queue had.
func (q *Queue) newEpoch() (uint64, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(q.o.Rand, b[:]); err != nil {
			return 0, fmt.Errorf("make epoch: %w", err)
		}
		if e := binary.LittleEndian.Uint64(b[:]); e != 0 {
			return e, nil
		}
	}
}

// readPlace reads the place of a destination; it reports false where there is none, or a damaged one.
func (q *Queue) readPlace(name string) (place, bool, error) {
	f, err := q.o.FS.Open(q.o.FS.PathJoin(q.dir, placesFolder, name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return place{}, false, nil
		}
		return place{}, false, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPlaceBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return place{}, false, err
	}
	p, err := decodePlace(b)
	return p, err == nil, err
}

func (q *Queue) writePlace(name string, p *place) error {
	if err := durable.WriteFile(q.o.FS, q.o.FS.PathJoin(q.dir, placesFolder), name, p.encode()); err != nil {
		return fmt.Errorf("write place of destination %s: %w", name, err)
	}
	return nil
}

// maxRecordBytes is about how large records are made; maxRunBytes the most of one run, which is a record by itself if it must.
const (
	maxRecordBytes = 1 << 20
	maxRunBytes    = 8 << 20
)

// Put takes runs of tags by name, which are on disk when it returns nil. It waits while the queue is full and may not drop. Each run stays
// whole; runs of one call may be sent in several batches.
func (q *Queue) Put(ctx context.Context, runs []*varvev1.Run) error {
	c, err := q.Submit(ctx, runs)
	if err != nil || c == nil {
		return err
	}
	return c.Wait(ctx)
}

// Submit is Put that does not wait for the disk: the commit it returns tells when all is there. It is nil where there are no runs.
func (q *Queue) Submit(ctx context.Context, runs []*varvev1.Run) (c *log.Commit, err error) {
	now := q.o.Now().UnixNano()
	for len(runs) > 0 {
		n, size := 0, 0
		for n < len(runs) {
			r := proto.Size(runs[n])
			if r > maxRunBytes {
				return nil, fmt.Errorf("run of tag %.80q has %d bytes, most is %d: %w", runs[n].Tag, r, maxRunBytes, ErrTooLarge)
			}
			if n > 0 && size+r > maxRecordBytes {
				break
			}
			n, size = n+1, size+r
		}
		record, err := encodeRecord(now, "", runs[:n])
		if err != nil {
			return nil, err
		}
		if err := q.room(ctx, int64(len(record))); err != nil {
			return nil, err
		}
		if c, err = q.write(ctx, now, record, runs[:n]); err != nil {
			return nil, err
		}
		runs = runs[n:]
	}
	return c, nil
}

// write writes a record. What is known of it if it is damaged is on disk before.
func (q *Queue) write(ctx context.Context, at int64, record []byte, runs []*varvev1.Run) (*log.Commit, error) {
	q.holds.mu.Lock()
	defer q.holds.mu.Unlock()
	if err := q.holds.cover(ctx, at, runs, q.samples.HighWatermark()); err != nil {
		return nil, err
	}
	c, err := q.samples.Submit(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("write to the queue: %w", err)
	}
	q.holds.was(at, c.Offset(), len(record))
	return c, nil
}

// Run sends until ctx ends. Destinations that cannot be reached are tried again, for ever.
func (q *Queue) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range q.senders {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			sleep(ctx, settleEvery)
			q.settle()
		}
	})
	wg.Wait()
	q.settle()
	return context.Cause(ctx)
}

// settleEvery is how often places are written. What a crash takes of them is sent again, and changes nothing.
const settleEvery = time.Second

// settle writes the places that went on and takes away segments that every destination has. Places are on disk before.
func (q *Queue) settle() {
	q.foldGaps()
	undone, gap := uint64(open), uint64(open)
	for _, s := range q.senders {
		u, g, err := s.persist()
		if err != nil {
			q.o.Logger.Error("the place of a destination cannot be written; nothing is taken away", "destination", s.d.Name, "error", err)
			return
		}
		undone, gap = min(undone, u), min(gap, g)
	}
	if undone > 1 && undone != open {
		if err := q.samples.Trim(undone - 1); err != nil {
			q.o.Logger.Error("sent segments cannot be taken away", "error", err)
		}
		if err := q.holds.trim(undone); err != nil {
			q.o.Logger.Error("what was said of sent records cannot be taken away", "error", err)
		}
	}
	if gap > 1 && gap != open {
		if err := q.gaps.Trim(gap - 1); err != nil {
			q.o.Logger.Error("sent segments cannot be taken away", "error", err)
		}
	}
	q.mu.Lock()
	q.changed.Broadcast()
	q.mu.Unlock()
}

// Close ends the queue. What was put is on disk.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	var err error
	for _, l := range []*log.Log{q.samples, q.holds.log, q.gaps} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// Status is how a queue stands.
type Status struct {
	Bytes        int64 // on disk
	MaxBytes     int64
	Destinations []DestinationStatus
}

// DestinationStatus is how a destination stands.
type DestinationStatus struct {
	Name       string
	Connected  bool
	Waiting    uint64        // records that it may not have
	Backlog    uint64        // of them, on the backlog lane
	OldestAge  time.Duration // since the oldest of them was put; 0 where that cannot be read
	Sent       uint64        // records that it has, since the queue was opened
	Reconnects uint64
	Rejected   uint64 // samples that it refused for good
	Dropped    uint64 // records dropped, thinned out or damaged before it had them, since the queue was opened
	Thinned    uint64 // samples left out where records were thinned out, since the queue was opened
	LastError  string // why it is not connected, or was not last

	GapsWaiting int    // gaps that wait beside its place, for their tags or because they were many, each counted once for each tag
	GapsDropped uint64 // of them, given up since the queue was opened: too many waited
}

// Status is how the queue stands now.
func (q *Queue) Status() Status {
	st := Status{Bytes: int64(q.samples.Bytes() + q.holds.log.Bytes() + q.gaps.Bytes()), MaxBytes: q.o.MaxBytes}
	for _, s := range q.senders {
		d := s.status()
		if d.Waiting > 0 {
			d.OldestAge = q.ageOf(s)
		}
		st.Destinations = append(st.Destinations, d)
	}
	return st
}

// ageOf is how long ago the oldest record was put that a destination may not have; 0 where that is not known.
func (q *Queue) ageOf(s *sender) time.Duration {
	s.mu.Lock()
	undone := s.place.undone()
	s.mu.Unlock()
	at, ok := q.putAt(undone)
	if !ok || at == 0 {
		return 0
	}
	return max(q.o.Now().Sub(time.Unix(0, at)), 0)
}
