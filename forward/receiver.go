package forward

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/disk"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
)

// ReceiverOptions are what a Receiver is made of. Dir, State and Site are required.
type ReceiverOptions struct {
	Dir   string // where files arrive
	State string // folder of its notes
	Site  Site
	// Keep leaves files where they are once they are stored. The default is to remove them.
	Keep bool
	// Patience is how long files behind one that does not come wait for it. Then it is given up, and told. The default is 1h.
	Patience time.Duration
	// Every is how often the folder is looked at. The default is 1s.
	Every time.Duration
	// Name stands before the health tags. The default is receive.
	Name   string
	FS     vfs.FS
	Now    func() time.Time
	Rand   io.Reader
	Logger *slog.Logger
}

// Receiver stores the files of a spool on a server, each once and in order, and says which never came. Nothing goes back to where they come from.
type Receiver struct {
	o     ReceiverOptions
	notes received
	sites map[string]*site
	waits map[string]time.Time // since when a stream waits for its next file
	made  bool                 // the health tags
	due   time.Time            // when they have their next sample
}

// received is what a receiver knows: a small file of JSON that is replaced whole.
type received struct {
	Version int                `json:"version"`
	Epoch   uint64             `json:"epoch"` // of the batches sent to the site
	Streams map[string]*Stream `json:"streams"`
}

// Stream is how far a stream of files is.
type Stream struct {
	Source  string    `json:"source"`
	Epoch   string    `json:"epoch"`   // hexadecimal
	Next    uint64    `json:"next"`    // the first file that is not stored or given up
	Hash    string    `json:"hash"`    // of the file stored last, hexadecimal
	MadeNs  int64     `json:"made_ns"` // when that was made
	Stored  uint64    `json:"stored"`  // files
	Missing []Missing `json:"missing,omitempty"`
	Damaged []string  `json:"damaged,omitempty"` // names of files that came and cannot be read
	// Superseded is how many files came when a stream that began later, and says everything anew, had been stored from already.
	Superseded uint64 `json:"superseded,omitempty"`
	Waiting    uint64 `json:"waiting"` // files that are here and wait for one that is not
	last       uint64
}

// Missing is files that never came.
type Missing struct {
	First uint64 `json:"first"` // sequence
	Last  uint64 `json:"last"`
	// When the files around them were made, ns UTC: what they said was stored at the edge in between. 0 where there is none.
	AfterNs  int64 `json:"after_ns"`
	BeforeNs int64 `json:"before_ns"`
}

const receivedFile = "received"

// NewReceiver opens the notes of a receiver.
func NewReceiver(o ReceiverOptions) (*Receiver, error) {
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = crand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Patience == 0 {
		o.Patience = time.Hour
	}
	if o.Name == "" {
		o.Name = "receive"
	}
	r := &Receiver{o: o, sites: map[string]*site{}, waits: map[string]time.Time{}}
	for _, dir := range []string{o.Dir, o.State} {
		if err := durable.MakeDir(o.FS, dir); err != nil {
			return nil, err
		}
	}
	var err error
	if r.notes, err = readReceived(o.FS, o.State); err != nil {
		return nil, err
	}
	for r.notes.Epoch == 0 {
		if err := binary.Read(o.Rand, binary.LittleEndian, &r.notes.Epoch); err != nil {
			return nil, fmt.Errorf("make epoch: %w", err)
		}
	}
	return r, r.save()
}

func readReceived(fsys vfs.FS, dir string) (n received, err error) {
	n = received{Version: placeVersion, Streams: map[string]*Stream{}}
	f, err := fsys.Open(fsys.PathJoin(dir, receivedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err = errors.Join(err, f.Close()); err != nil {
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil || n.Version != placeVersion || n.Streams == nil {
		return n, fmt.Errorf("%s makes no sense; without it files that still lie there are stored again, which changes nothing: remove it", fsys.PathJoin(dir, receivedFile))
	}
	for _, s := range n.Streams {
		if s == nil || s.Next == 0 {
			return n, fmt.Errorf("%s makes no sense: a stream without a place", fsys.PathJoin(dir, receivedFile))
		}
	}
	return n, nil
}

// ReadStreams is what the receiver with a folder of notes knows, also while it runs.
func ReadStreams(dir string) (map[string]*Stream, error) {
	n, err := readReceived(disk.FS(), dir)
	return n.Streams, err
}

func (r *Receiver) save() error {
	b, err := json.MarshalIndent(&r.notes, "", " ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(r.o.FS, r.o.State, receivedFile, append(b, '\n')); err != nil {
		return fmt.Errorf("write what was received: %w", err)
	}
	return nil
}

// healthEvery is how often health tags have a sample.
const healthEvery = 10 * time.Second

// Run stores files until ctx ends, or its own disk fails.
func (r *Receiver) Run(ctx context.Context) error {
	lock, err := r.o.FS.Lock(r.o.FS.PathJoin(r.o.State, "LOCK"))
	if err != nil {
		return fmt.Errorf("lock %s: %w; does another receiver run with it?", r.o.State, err)
	}
	defer func() { _ = lock.Close() }() // it ends with the process at the latest
	for ctx.Err() == nil {
		more, err := r.pass(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if now := r.o.Now(); !now.Before(r.due) {
			r.due = now.Add(healthEvery)
			if err := r.save(); err != nil { // how many wait
				return err
			}
			r.report(ctx)
		}
		if !more {
			sleep(ctx, r.o.Every)
		}
	}
	return nil
}

// Once stores what is there and ends.
func (r *Receiver) Once(ctx context.Context) error {
	lock, err := r.o.FS.Lock(r.o.FS.PathJoin(r.o.State, "LOCK"))
	if err != nil {
		return fmt.Errorf("lock %s: %w; does another receiver run with it?", r.o.State, err)
	}
	defer func() { _ = lock.Close() }() // it ends with the process at the latest
	for {
		more, err := r.pass(ctx)
		if err != nil {
			return err
		}
		if !more {
			r.report(ctx)
			return r.save()
		}
	}
}

// pass looks at the folder once and stores what there is; true where it stored anything.
func (r *Receiver) pass(ctx context.Context) (more bool, err error) {
	files, err := listSpool(r.o.FS, r.o.Dir)
	if err != nil {
		return false, err
	}
	for _, s := range r.notes.Streams {
		s.Waiting = 0
	}
	for i := range files {
		stored, err := r.file(ctx, &files[i])
		if err != nil {
			return more, err
		}
		more = more || stored
	}
	return more, nil
}

// file stores a file if it is the next of its stream.
func (r *Receiver) file(ctx context.Context, x *spooled) (stored bool, err error) {
	key := fmt.Sprintf("%s-%016x", x.source, x.epoch)
	s := r.notes.Streams[key]
	if s == nil {
		s = &Stream{Source: x.source, Epoch: fmt.Sprintf("%016x", x.epoch), Next: 1}
		r.notes.Streams[key] = s
	}
	path := r.o.FS.PathJoin(r.o.Dir, x.name)
	if x.sequence < s.Next { // stored, given up, or said again by the one behind it
		return false, r.dispose(path)
	}
	for _, other := range r.notes.Streams {
		if other.Source == s.Source && other.Epoch > s.Epoch && other.Stored > 0 { // it says everything anew; an older value must not come behind
			r.o.Logger.Warn("a file is of a stream that another one of its source took the place of; it is not stored", "file", x.name)
			s.Superseded, s.Next = s.Superseded+1, x.sequence+1
			return false, errors.Join(r.save(), r.dispose(path))
		}
	}
	b, err := readWhole(r.o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	h, p, hash, err := decodeSpool(b)
	switch {
	case errors.Is(err, ErrSpoolVersion):
		return false, fmt.Errorf("%s: %w", x.name, err)
	case err == nil && (h.source != x.source || h.epoch != x.epoch || h.sequence != x.sequence):
		err = fmt.Errorf("%w: its name is that of another one", ErrSpoolFile)
	}
	if err != nil {
		return false, r.unreadable(s, x, err)
	}
	if h.before >= s.Next { // one before it is not here
		return r.outOfOrder(ctx, key, s, x, &h, p, hash[:])
	}
	if h.before != 0 && h.before == s.last && s.Hash != hex.EncodeToString(h.beforeHash[:]) {
		r.o.Logger.Error("a file follows another one than was stored: two streams have one name, or a file was changed", "file", x.name)
	}
	return true, r.store(ctx, key, s, x, &h, p, hash[:])
}

// unreadable notes a file that cannot be read. It may be one that is still being copied, so it is looked at again; once it is given up it stays where it is.
func (r *Receiver) unreadable(s *Stream, x *spooled, why error) error {
	if r.o.Now().Sub(x.modified) < r.o.Patience {
		return nil
	}
	for _, name := range s.Damaged {
		if name == x.name {
			return nil
		}
	}
	r.o.Logger.Error("a file cannot be read", "file", x.name, "error", why)
	s.Damaged = append(s.Damaged, x.name)
	return r.save()
}

// outOfOrder waits for the file before, for a while. Then what lies between is given up.
func (r *Receiver) outOfOrder(ctx context.Context, key string, s *Stream, x *spooled, h *spoolFile, p *varvev1.Parcel, hash []byte) (bool, error) {
	s.Waiting++
	now := r.o.Now()
	since, waits := r.waits[key]
	if !waits {
		r.waits[key] = now
		return false, nil
	}
	if now.Sub(since) < r.o.Patience {
		return false, nil
	}
	m := Missing{First: s.Next, Last: h.before, AfterNs: s.MadeNs, BeforeNs: h.made}
	r.o.Logger.Error("files never came: what they said is missing here", "source", s.Source, "first", m.First, "last", m.Last,
		"made_after", model.FormatTime(m.AfterNs), "made_before", model.FormatTime(m.BeforeNs))
	s.Missing = append(s.Missing, m)
	r.due = time.Time{} // it is told at once
	return true, r.store(ctx, key, s, x, h, p, hash)
}

func (r *Receiver) store(ctx context.Context, key string, s *Stream, x *spooled, h *spoolFile, p *varvev1.Parcel, hash []byte) error {
	to := r.sites[s.Source]
	if to == nil {
		to = newSite(r.o.Site, s.Source, r.notes.Epoch, r.o.Logger, &health{now: r.o.Now})
		r.sites[s.Source] = to
	}
	if err := to.deliver(ctx, p); err != nil {
		return err
	}
	delete(r.waits, key)
	s.Next, s.Hash, s.MadeNs, s.last = h.sequence+1, hex.EncodeToString(hash), h.made, h.sequence
	s.Stored++
	if err := r.save(); err != nil {
		return err
	}
	return r.dispose(r.o.FS.PathJoin(r.o.Dir, x.name))
}

// dispose removes a file that is stored.
func (r *Receiver) dispose(path string) error {
	if r.o.Keep {
		return nil
	}
	if err := r.o.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readWhole(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSpoolFile+1))
	return b, errors.Join(err, f.Close())
}

// report writes health tags at the site.
func (r *Receiver) report(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, healthEvery)
	defer cancel()
	now := r.o.Now().UnixNano()
	b, made := &varvev1.Batch{}, &varvev1.CreateTagsRequest{}
	for _, s := range r.notes.Streams {
		missing := uint64(0)
		for _, m := range s.Missing {
			missing += m.Last - m.First + 1
		}
		refused := uint64(0)
		if to := r.sites[s.Source]; to != nil {
			refused = to.status.refusals()
		}
		for _, x := range []figure{
			{"stored", "files stored", "", model.Int64, s.Stored},
			{"missing", "files that never came", "", model.Int64, missing},
			{"damaged", "files that cannot be read", "", model.Int64, uint64(len(s.Damaged))},
			{"waiting", "files that wait for one before them", "", model.Int64, s.Waiting},
			{"refused", "samples that the server refused for good", "", model.Int64, refused},
			{"age_s", "time since the file stored last was made", "s", model.Float64, math.Float64bits(time.Duration(now - s.MadeNs).Seconds())},
		} {
			name := r.o.Name + "." + s.Source + "." + x.name
			made.Tags = append(made.Tags, &varvev1.Tag{
				Name: name, Description: x.description, Settings: []*varvev1.Settings{{Type: varvev1.Type(x.typ), Unit: x.unit, Stepped: x.typ != model.Float64}},
			})
			run := session.RunBuilder{Name: name, Type: x.typ}
			run.Add(now, x.bits, model.Good)
			b.Runs = append(b.Runs, run.Run(0, 1))
		}
	}
	if len(b.Runs) == 0 {
		return
	}
	if !r.made {
		_, err := r.o.Site.Catalog.CreateTags(ctx, made)
		r.made = err == nil
	}
	if _, err := r.o.Site.Ingest.Write(ctx, &varvev1.WriteRequest{CreateTags: true, Batch: b}); err != nil && ctx.Err() == nil {
		r.o.Logger.Warn("health tags are not written", "error", err)
	}
}
