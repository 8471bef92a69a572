package forward

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
)

// place is how far a forwarder is: everything before it is at the site. It is a small file of JSON that is replaced whole.
type place struct {
	Version int    `json:"version"`
	Epoch   uint64 `json:"epoch"`          // of the batches sent, made with the file
	What    string `json:"what"`           // which tags go under which names: another answer begins anew
	Token   string `json:"token"`          // of the edge's changes; empty: nothing was read yet
	Rows    int    `json:"rows"`           // of the changes behind the token that are sent already
	Offset  uint64 `json:"offset"`         // of the edge's log, at the token
	Resync  *days  `json:"resync"`         // what is read from the archive; nil: nothing
	GapsTo  int64  `json:"gaps_to"`        // gaps that changed before this ingest time are sent
	Sent    int64  `json:"sent,omitempty"` // of a lane: nothing of this time or later was sent
}

// days is what is to be read from the archive: days that changed at a log offset or later, of tags in the order of pattern and name.
type days struct {
	Since   uint64 `json:"since"`
	Pattern int    `json:"pattern"`
	Tag     string `json:"tag"` // tags before this one are read, and of this one
	Day     int64  `json:"day"` // the days before this one
}

const placeVersion = 1

const placeFile = "place"

// readPlace reads the place; false where there is none yet.
func readPlace(fsys vfs.FS, dir string) (p place, ok bool, err error) {
	f, err := fsys.Open(fsys.PathJoin(dir, placeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err = errors.Join(err, f.Close()); err != nil {
		return p, false, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, false, fmt.Errorf("%s: it does not decode: %w; without it everything is sent again, which changes nothing at the site: remove it", fsys.PathJoin(dir, placeFile), err)
	}
	if p.Version != placeVersion {
		return p, false, fmt.Errorf("%s has version %d, this program knows %d", fsys.PathJoin(dir, placeFile), p.Version, placeVersion)
	}
	if p.Epoch == 0 || p.Rows < 0 || p.Rows > 0 && p.Token == "" {
		return p, false, fmt.Errorf("%s makes no sense; without it everything is sent again, which changes nothing at the site: remove it", fsys.PathJoin(dir, placeFile))
	}
	return p, true, nil
}

func (p *place) write(fsys vfs.FS, dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(fsys, dir, placeFile, append(b, '\n')); err != nil {
		return fmt.Errorf("write the place: %w", err)
	}
	return nil
}

// everything is all days of all tags.
func everything() *days { return &days{Day: math.MinInt64} }
