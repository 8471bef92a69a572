package backup

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
)

// Pruned is what a prune removed and kept.
type Pruned struct {
	Removed, Kept []string // ids
	Files         int      // removed
	Bytes         int64    // of these
}

// Prune removes all backups but the newest keep, and the files that none of those needs: also files that interrupted backups
// left. A manifest that does not read stops it before anything is removed, since what it needs is not known.
func Prune(dir string, keep int, o Options) (Pruned, error) {
	o.setDefaults()
	p, err := prune(o.FS, dir, keep)
	if err != nil {
		return p, fmt.Errorf("prune %s: %w", dir, err)
	}
	return p, nil
}

func prune(fs vfs.FS, dir string, keep int) (p Pruned, err error) {
	if keep < 1 {
		return p, fmt.Errorf("keep %d backups: must be at least 1", keep)
	}
	f, err := Open(fs, dir)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := f.List()
	if err != nil {
		return p, err
	}
	gone := max(len(all)-keep, 0)
	needed := map[Hash]bool{}
	for _, m := range all[gone:] {
		p.Kept = append(p.Kept, m.ID)
		for _, x := range m.objects() {
			needed[x.Hash] = true
		}
	}
	// Manifests first, for good: no manifest is ever there without its files.
	for _, m := range all[:gone] {
		if err := fs.Remove(f.path(manifestsName, m.ID+manifestEnd)); err != nil {
			return p, err
		}
		p.Removed = append(p.Removed, m.ID)
	}
	if err := durable.SyncDir(fs, f.path(manifestsName)); err != nil {
		return p, err
	}
	if err := fs.RemoveAll(f.path(objectsTemp)); err != nil && !notExist(err) {
		return p, err
	}
	return p, f.removeUnneeded(needed, &p)
}

func (f *Folder) removeUnneeded(needed map[Hash]bool, p *Pruned) error {
	dirs, err := f.fs.List(f.path(objectsName))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		names, err := f.fs.List(f.path(objectsName, dir))
		if err != nil {
			return err
		}
		for _, name := range names {
			h, ok := parseObject(name)
			if !ok || needed[h] {
				continue
			}
			full := f.path(objectsName, dir, name)
			info, err := f.fs.Stat(full)
			if err != nil {
				return err
			}
			if err := f.fs.Remove(full); err != nil {
				return err
			}
			p.Files++
			p.Bytes += info.Size()
		}
	}
	return nil
}
