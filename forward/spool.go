package forward

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/collector"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/durable"
)

// Spool is a folder that files are written into for somebody to carry where no connection leads, such as through a data diode.
type Spool struct {
	Dir string `yaml:"dir"`
	// MaxBytes and MaxAge bound what lies in it: the oldest files go, and that is told. The defaults are 10GiB and no bound.
	MaxBytes collector.Size `yaml:"max_bytes"`
	MaxAge   time.Duration  `yaml:"max_age"`
}

const defaultSpoolBytes = 10 << 30

// spool is an outlet that writes a file for every parcel.
type spool struct {
	Spool
	fs     vfs.FS
	source string
	epoch  uint64
	state  string // folder of the chain
	now    func() time.Time
	log    *slog.Logger
	status *health
	chain  chain
}

// chain is where a stream of files is: a small file of JSON that is replaced whole. Between a file and its note in the chain there may be a crash, and the file
// may be carried away meanwhile. So a number that may have been used is not used again, and the next file says so.
type chain struct {
	Version int    `json:"version"`
	Place   uint64 `json:"place"` // epoch of the place that the stream began with
	Epoch   uint64 `json:"epoch"` // of the stream: when it began, ns UTC, and later than the one before
	Next    uint64 `json:"next"`  // sequence of the next file
	Before  uint64 `json:"before"`
	Hash    string `json:"hash"` // of the file before, hexadecimal
	Clean   bool   `json:"clean"`
}

const chainFile = "chain"

func openSpool(o Options, s Spool, source string, place uint64, state string, st *health) (*spool, error) {
	x := &spool{Spool: s, fs: o.FS, source: source, state: state, now: o.Now, log: o.Logger, status: st}
	if err := durable.MakeDir(x.fs, x.Dir); err != nil {
		return nil, err
	}
	if err := x.readChain(place); err != nil {
		return nil, err
	}
	return x, nil
}

func (s *spool) readChain(place uint64) error {
	s.chain = chain{Version: placeVersion}
	f, err := s.fs.Open(s.fs.PathJoin(s.state, chainFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		b, err := io.ReadAll(io.LimitReader(f, 1<<16))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := json.Unmarshal(b, &s.chain); err != nil || s.chain.Next == 0 || s.chain.Epoch == 0 || s.chain.Before >= s.chain.Next {
			return fmt.Errorf("%s makes no sense; remove the folder %s to begin another stream, which sends everything again", s.fs.PathJoin(s.state, chainFile), s.state)
		}
	}
	switch {
	case s.chain.Place != place: // a new one, or the place before was lost: everything is sent, as another stream
		s.chain = chain{Version: placeVersion, Place: place, Epoch: max(uint64(max(s.now().UnixNano(), 1)), s.chain.Epoch+1), Next: 1}
	case !s.chain.Clean:
		s.chain.Next++ // the one that was being written may be on its way
	}
	s.epoch, s.chain.Clean = s.chain.Epoch, false
	return s.writeChain()
}

func (s *spool) writeChain() error {
	b, err := json.Marshal(&s.chain)
	if err != nil {
		return err
	}
	return durable.WriteFile(s.fs, s.state, chainFile, append(b, '\n'))
}

// close notes that no file is being written.
func (s *spool) close() error {
	s.chain.Clean = true
	return s.writeChain()
}

// deliver writes a file; it tries until ctx ends.
func (s *spool) deliver(ctx context.Context, p *varvev1.Parcel) error {
	for pause := firstPause; ; pause = min(2*pause, defaultWait) {
		err := s.put(p)
		if s.status.reached(err); err == nil {
			return nil
		}
		s.log.Error("the spool cannot be written", "dir", s.Dir, "error", err, "retry_in", pause)
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

func (s *spool) put(p *varvev1.Parcel) error {
	h := spoolFile{source: s.source, epoch: s.epoch, sequence: s.chain.Next, made: s.now().UnixNano(), before: s.chain.Before}
	if before, err := hex.DecodeString(s.chain.Hash); err == nil && len(before) == sha256.Size {
		copy(h.beforeHash[:], before)
	}
	b, hash, err := h.encode(p)
	if err != nil {
		return err
	}
	if err := s.room(int64(len(b))); err != nil {
		return err
	}
	if err := durable.WriteFile(s.fs, s.Dir, spoolName(s.source, s.epoch, h.sequence), b); err != nil {
		return err
	}
	next := s.chain
	next.Next, next.Before, next.Hash = h.sequence+1, h.sequence, hex.EncodeToString(hash[:])
	old := s.chain
	s.chain = next
	if err := s.writeChain(); err != nil {
		s.chain = old // the same file is written again: its content is the same, but for when it was made
		return err
	}
	return nil
}

// spooled is a file that lies in a folder.
type spooled struct {
	name     string
	source   string
	epoch    uint64
	sequence uint64
	bytes    int64
	modified time.Time
}

// listSpool is the files of a spool, by stream and sequence.
func listSpool(fsys vfs.FS, dir string) (out []spooled, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		x := spooled{name: name}
		var ok bool
		if x.source, x.epoch, x.sequence, ok = parseSpoolName(name); !ok {
			continue
		}
		st, err := fsys.Stat(fsys.PathJoin(dir, name))
		if errors.Is(err, fs.ErrNotExist) { // carried away
			continue
		}
		if err != nil {
			return nil, err
		}
		x.bytes, x.modified = st.Size(), st.ModTime()
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b spooled) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.sequence, b.sequence))
	})
	return out, nil
}

// room takes away the oldest files of the stream where the spool has no room for more, or they are too old.
func (s *spool) room(more int64) error {
	all, err := listSpool(s.fs, s.Dir)
	if err != nil {
		return err
	}
	bytes := more
	for _, x := range all {
		bytes += x.bytes
	}
	for _, x := range all {
		old := s.MaxAge > 0 && s.now().Sub(x.modified) > s.MaxAge
		if x.source != s.source || x.epoch != s.epoch || !old && bytes <= int64(s.MaxBytes) {
			continue
		}
		if err := s.fs.Remove(s.fs.PathJoin(s.Dir, x.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		bytes -= x.bytes
		s.status.change(func(st *Status) { st.Dropped++ })
		s.log.Warn("a file of the spool was removed to keep its bounds: what it says is lost to whoever does not have it", "file", x.name, "bytes", x.bytes)
	}
	return nil
}
