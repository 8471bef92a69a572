package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/durable"
)

// A restore works in a directory beside its target and renames it when all is there. The marker tells such a directory that an
// interruption left from one of somebody else.
const (
	restoringEnd = ".restoring"
	markerName   = "RESTORING"
)

// Restore makes a store of a backup, by id or serial number, empty for the newest, in the directory target, which must not
// be there or be empty. After an error or an interruption at any moment the target is as it was.
func Restore(ctx context.Context, dir, backup, target string, o Options) (*Manifest, error) {
	o.setDefaults()
	m, err := restore(ctx, dir, backup, target, &o)
	if err != nil {
		return nil, fmt.Errorf("restore %s to %s: %w", dir, target, err)
	}
	return m, nil
}

func restore(ctx context.Context, dir, backup, target string, o *Options) (_ *Manifest, err error) {
	f, err := Open(o.FS, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	id, err := f.Find(backup)
	if err != nil {
		return nil, err
	}
	m, err := f.Manifest(id)
	if err != nil {
		return nil, err
	}
	if err := f.complete(m); err != nil {
		return nil, err
	}
	r := &restoring{Folder: f, m: m, target: target, work: target + restoringEnd}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if err := r.copy(ctx); err != nil {
		return nil, errors.Join(err, f.fs.RemoveAll(r.work))
	}
	if err := r.ask(o); err != nil {
		return nil, errors.Join(err, f.fs.RemoveAll(r.work))
	}
	return m, r.finish()
}

// complete reports the first file of a backup that is not there in full, before anything is copied.
func (f *Folder) complete(m *Manifest) error {
	for _, x := range m.objects() {
		if err := f.present(x); err != nil {
			return err
		}
	}
	return nil
}

// objects is all files of a backup, the content list among them.
func (m *Manifest) objects() []File {
	if m.Content == nil {
		return m.Files
	}
	return append(m.Files[:len(m.Files):len(m.Files)], *m.Content)
}

func (f *Folder) present(x File) error {
	info, err := f.fs.Stat(f.object(x.Hash))
	switch {
	case notExist(err):
		return fmt.Errorf("%s is missing: %w", x.describe(), ErrDamaged)
	case err != nil:
		return err
	case info.IsDir() || info.Size() != x.Length:
		return fmt.Errorf("%s has %d bytes: %w", x.describe(), info.Size(), ErrDamaged)
	}
	return nil
}

func (x File) describe() string {
	name := x.Name
	if name == "" {
		name = "content list"
	}
	return fmt.Sprintf("%s (object %s, %d bytes)", name, x.Hash, x.Length)
}

// restoring is one restore on its way.
type restoring struct {
	*Folder
	m            *Manifest
	target, work string
}

// prepare refuses a target that holds anything, and makes the directory to work in.
func (r *restoring) prepare() error {
	names, err := r.fs.List(r.target)
	switch {
	case err == nil && len(names) > 0:
		return fmt.Errorf("it holds %s: %w", names[0], ErrExists)
	case err != nil && !notExist(err):
		return err
	}
	if names, err = r.fs.List(r.work); err == nil && len(names) > 0 {
		if _, err := r.fs.Stat(r.fs.PathJoin(r.work, markerName)); err != nil {
			return fmt.Errorf("%s is in the way and no interrupted restore: %w", r.work, ErrExists)
		}
		if err := r.fs.RemoveAll(r.work); err != nil {
			return err
		}
	}
	if err := durable.MakeDir(r.fs, r.work); err != nil {
		return err
	}
	return durable.WriteFile(r.fs, r.work, markerName, []byte(r.m.ID+"\n"))
}

// copy copies every file and holds it against its length and hash. FORMAT, which makes a directory a store, comes last.
func (r *restoring) copy(ctx context.Context) error {
	for _, dir := range storeDirs {
		if err := durable.MakeDir(r.fs, r.fs.PathJoin(r.work, dir)); err != nil {
			return err
		}
	}
	if c := r.m.Content; c != nil { // not part of the store, but what the store will be held against
		n, h, err := hashFile(ctx, r.fs, r.object(c.Hash), r.buf)
		if err := c.same(n, h, err); err != nil {
			return err
		}
	}
	last := -1
	for i, f := range r.m.Files {
		if f.Name == "FORMAT" {
			last = i
			continue
		}
		if err := r.file(ctx, f); err != nil {
			return err
		}
	}
	for _, dir := range storeDirs {
		if err := durable.SyncDir(r.fs, r.fs.PathJoin(r.work, dir)); err != nil {
			return err
		}
	}
	if err := r.file(ctx, r.m.Files[last]); err != nil { // a manifest without it does not read
		return err
	}
	return durable.SyncDir(r.fs, r.work)
}

func (r *restoring) file(ctx context.Context, f File) error {
	n, h, err := copyFile(ctx, r.fs, r.object(f.Hash), r.fs, r.fs.PathJoin(r.work, f.Name), r.buf)
	return f.same(n, h, err)
}

// same reports in what a file that was read is not the one of the backup.
func (x File) same(n int64, h Hash, err error) error {
	if err != nil {
		return fmt.Errorf("read %s: %w", x.describe(), err)
	}
	if n != x.Length || h != x.Hash {
		return fmt.Errorf("%s has %d bytes of hash %s: %w", x.describe(), n, h, ErrDamaged)
	}
	return nil
}

// ask opens what was copied and holds it against the manifest: files that are whole one by one may still be of several
// moments or stores.
func (r *restoring) ask(o *Options) (err error) {
	db, err := storage.OpenReadOnly(r.work, o.Storage)
	if err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return r.m.fits(db)
}

// fits reports in what a store is not the one that the manifest tells of.
func (m *Manifest) fits(db *storage.DB) error {
	s := db.Status()
	type what struct {
		store                        model.UUID
		offset, lost, revision, tags uint64
	}
	have, want := what{s.UUID, s.Accepted, lostOffsets(&s), s.Revision, uint64(s.Tags)}, what{m.Store, m.Offset, m.Lost, m.Revision, m.Tags}
	if have != want {
		return fmt.Errorf("the files are those of store %s, log offset %d, %d of them lost, catalogue revision %d, %d tags; the manifest tells of %s, %d, %d, %d, %d: %w",
			have.store, have.offset, have.lost, have.revision, have.tags, want.store, want.offset, want.lost, want.revision, want.tags, ErrDamaged)
	}
	return nil
}

// lostOffsets is how many records are damaged and not given up.
func lostOffsets(s *storage.Status) (n uint64) {
	for _, l := range s.Lost {
		n += l.End - l.First
	}
	return n
}

// finish gives the store its name.
func (r *restoring) finish() error {
	if err := r.fs.Remove(r.fs.PathJoin(r.work, markerName)); err != nil {
		return err
	}
	if err := durable.SyncDir(r.fs, r.work); err != nil {
		return err
	}
	if _, err := r.fs.Stat(r.target); err == nil { // empty: see prepare
		if err := r.fs.Remove(r.target); err != nil {
			return err
		}
	}
	if err := r.fs.Rename(r.work, r.target); err != nil {
		return err
	}
	return durable.SyncDir(r.fs, r.fs.PathDir(r.target))
}
