package collector

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varvedb/varve/internal/disk"
	"github.com/varvedb/varve/model"
)

// WriteFile puts a small file in place, its folder made where there is none, so that after a power cut either the old one or the whole new one
// is there.
func WriteFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return disk.SyncDir(dir)
}

// knownTag is a tag that a source has made: what its type was found to be stays so after a restart, and so does which tags miss samples
// while the collector is off.
type knownTag struct {
	Address string `json:"address"`
	Tag     string `json:"tag"`
	Type    string `json:"type,omitempty"`
}

// knownTags is a file of them, to which lines are added; the last of an address counts.
type knownTags struct {
	file  *os.File
	tags  map[string]knownTag // by address
	dirty bool                // not synced
}

const knownFile = "tags.jsonl"

// openKnown reads the tags of a source's folder. Lines that cannot be read, as a power cut leaves them, are left out.
func openKnown(dir string) (*knownTags, error) {
	k := &knownTags{tags: map[string]knownTag{}}
	path := filepath.Join(dir, knownFile)
	old, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		lines := bufio.NewScanner(old)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var t knownTag
			if json.Unmarshal(lines.Bytes(), &t) == nil && t.Tag != "" {
				k.tags[t.Address] = t
			}
		}
		if err := errors.Join(lines.Err(), old.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	var all []byte
	for _, t := range k.tags {
		all = append(all, t.line()...)
	}
	if err := WriteFile(path, all); err != nil {
		return nil, err
	}
	k.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	return k, err
}

func (t knownTag) line() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // three strings
	}
	return append(b, '\n')
}

// add notes a tag. It is on disk for a crash of the process, and after sync for a power cut.
func (k *knownTags) add(address, tag string, t model.Type) error {
	x := knownTag{Address: address, Tag: tag}
	if t != 0 {
		x.Type = t.String()
	}
	if k.tags[address] == x {
		return nil
	}
	k.tags[address], k.dirty = x, true
	_, err := k.file.Write(x.line())
	return err
}

// typeOf is the type that a tag of an address was found to have; 0 where it is not known.
func (k *knownTags) typeOf(address, tag string) model.Type {
	x := k.tags[address]
	if x.Tag != tag || x.Type == "" {
		return 0
	}
	t, err := model.ParseType(x.Type)
	if err != nil {
		return 0
	}
	return t
}

func (k *knownTags) sync() error {
	if !k.dirty {
		return nil
	}
	k.dirty = false
	return k.file.Sync()
}

func (k *knownTags) close() error { return errors.Join(k.sync(), k.file.Close()) }

// aliveFile says until when each source was read, as far as the collector knows. What it lacks after a crash is a second at most.
const aliveFile = "alive.json"

func readAlive(dir string) map[string]int64 {
	out := map[string]int64{}
	b, err := os.ReadFile(filepath.Join(dir, aliveFile))
	if err == nil && json.Unmarshal(b, &out) != nil {
		return map[string]int64{} // cut off by a power cut: when it was is not known
	}
	return out
}

// writeAlive does not wait for the disk: after a power cut the file may be an older one.
func writeAlive(dir string, alive map[string]int64) error {
	b, err := json.Marshal(alive)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, aliveFile+".new")
	if err := os.WriteFile(temp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, aliveFile))
}
