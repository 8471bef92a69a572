package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varvedb/varve/collector"
)

// place is how far a file was read. It is stored once everything before it is on disk.
type place struct {
	ID     string `json:"id"`
	Path   string `json:"path"` // where it was last
	Offset int64  `json:"offset"`
	Rows   int64  `json:"rows"` // lines of data among what was read
	// Head is a hash of the first HeadBytes bytes, rows of data among them where there are, and Tail of those right before Offset: whoever has
	// both has what was read.
	HeadBytes int64  `json:"head_bytes"`
	Head      string `json:"head"`
	Tail      string `json:"tail"`

	Header   string `json:"header,omitempty"`   // of CSV, the last one read
	LastTime int64  `json:"last,omitempty"`     // time of the last row
	Ended    bool   `json:"ended,omitempty"`    // it was read to its end when others had followed it: that it goes away loses nothing
	Skipping bool   `json:"skipping,omitempty"` // Offset lies within a line that is too long
}

// sampleBytes is how much of the rows of a file Head and Tail are of, at most.
const sampleBytes = 512

// hashOf is a hash of bytes [from, to) of a file; empty where it is shorter.
func hashOf(f io.ReaderAt, from, to int64) (string, error) {
	b := make([]byte, to-from)
	if _, err := f.ReadAt(b, from); len(b) > 0 && err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12]), nil
}

// look notes what a file has before the place. It reports false where the file is shorter.
func (p *place) look(f io.ReaderAt) (ok bool, err error) {
	p.HeadBytes = min(p.Offset, int64(len(p.Header))+1+sampleBytes)
	if p.Head, err = hashOf(f, 0, p.HeadBytes); err == nil {
		p.Tail, err = hashOf(f, max(p.Offset-sampleBytes, 0), p.Offset)
	}
	return p.Head != "" && p.Tail != "", err
}

// fits reports whether a file has what was read up to the place.
func (p *place) fits(f io.ReaderAt) (bool, error) {
	if p.Offset == 0 {
		return true, nil
	}
	tail, err := hashOf(f, max(p.Offset-sampleBytes, 0), p.Offset)
	if err != nil || tail != p.Tail {
		return false, err
	}
	return p.begins(f)
}

// begins reports whether a file begins as what was read did.
func (p *place) begins(f io.ReaderAt) (bool, error) {
	head, err := hashOf(f, 0, p.HeadBytes)
	return err == nil && head == p.Head, err
}

const placesFile = "places.json"

// readPlaces is the places that were stored; nil, false where none ever were.
func readPlaces(dir string) ([]place, bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, placesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var out []place
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&out); err != nil {
		return nil, false, fmt.Errorf("read the places in %s: %w; remove %s to read the files from their beginning, which changes nothing that is stored",
			filepath.Join(dir, placesFile), err, placesFile)
	}
	return out, true, nil
}

func writePlaces(dir string, all []place) error {
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return collector.WriteFile(filepath.Join(dir, placesFile), b)
}
