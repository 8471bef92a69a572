package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage"
)

// Verified is what a verification of a folder looked at.
type Verified struct {
	Backups []*Manifest // whose manifests are sound, oldest first
	Objects int
	Bytes   int64
	Damaged int
	Store   storage.Checked // of the backup that was read as a store
}

// Verify holds every manifest of a folder, or the one named, and every file they need against length and hash, then reads the
// newest, or the one named, as the store it would be restored to, all of it, and holds its content against the content list.
// report is called for every damaged place; the error says why it could not look.
func Verify(ctx context.Context, dir, backup string, o Options, report func(storage.Damage)) (Verified, error) {
	o.setDefaults()
	v := &verifying{seen: map[Hash]bool{}, bad: map[Hash]bool{}}
	v.report = func(d storage.Damage) {
		v.found.Damaged++
		report(d)
	}
	if err := v.run(ctx, dir, backup, &o); err != nil {
		return v.found, fmt.Errorf("verify backups in %s: %w", dir, err)
	}
	return v.found, nil
}

// verifying is one verification.
type verifying struct {
	*Folder
	report func(storage.Damage)
	found  Verified
	seen   map[Hash]bool
	bad    map[Hash]bool // of those seen
}

func (v *verifying) run(ctx context.Context, dir, backup string, o *Options) (err error) {
	if v.Folder, err = Open(o.FS, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	newest, err := v.Find(backup)
	if err != nil {
		return err
	}
	ids := []string{newest}
	if backup == "" {
		if ids, err = v.IDs(); err != nil {
			return err
		}
	}
	for _, id := range ids {
		m, err := v.Manifest(id)
		if errors.Is(err, ErrVersion) {
			return err
		}
		if err != nil {
			v.report(storage.Damage{Part: "manifest", File: path.Join(manifestsName, id+manifestEnd), Detail: err.Error()})
			continue
		}
		v.found.Backups = append(v.found.Backups, m)
		if err := v.objects(ctx, m); err != nil {
			return err
		}
	}
	if n := len(v.found.Backups); n > 0 && v.found.Backups[n-1].ID == newest {
		return v.asStore(ctx, v.found.Backups[n-1], o)
	}
	return nil
}

// objects reads the files of a backup that no other one had.
func (v *verifying) objects(ctx context.Context, m *Manifest) error {
	for _, x := range m.objects() {
		if v.bad[x.Hash] {
			v.report(storage.Damage{Part: "backup " + m.ID, File: x.Name, Detail: fmt.Sprintf("%s: damaged, see above", x.describe())})
		}
		if v.seen[x.Hash] {
			continue
		}
		v.seen[x.Hash] = true
		err := v.present(x)
		if err == nil {
			n, h, readErr := hashFile(ctx, v.fs, v.object(x.Hash), v.buf)
			v.found.Objects++
			v.found.Bytes += n
			err = x.same(n, h, readErr)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		v.bad[x.Hash] = true
		v.report(storage.Damage{Part: "backup " + m.ID, File: x.Name, Bytes: x.Length, Detail: err.Error()})
	}
	return nil
}

// asStore reads a backup as a store, where it lies.
func (v *verifying) asStore(ctx context.Context, m *Manifest, o *Options) (err error) {
	so := o.Storage
	so.FS = &manifestFS{FS: v.fs, folder: v.Folder, files: map[string]File{}}
	for _, f := range m.Files {
		so.FS.(*manifestFS).files[f.Name] = f
	}
	check, end := v.againstList(m)
	if v.found.Store, err = storage.Verify(ctx, storeRoot, so, v.report, check); err != nil {
		return err
	}
	end()
	if s := &v.found.Store; !s.Unopened && (s.Store != m.Store || s.Offset != m.Offset || s.Content.Revision != m.Revision) {
		v.report(storage.Damage{Part: "backup " + m.ID, Detail: fmt.Sprintf("its files are those of store %s, log offset %d, catalogue revision %d; the manifest tells of %s, %d, %d",
			s.Store, s.Offset, s.Content.Revision, m.Store, m.Offset, m.Revision)})
	}
	return nil
}

// againstList is a function that holds content, in order, against the content list of a backup, and one for the end.
func (v *verifying) againstList(m *Manifest) (check func(storage.Content), end func()) {
	if m.Content == nil || v.bad[m.Content.Hash] {
		return nil, func() {}
	}
	f, err := v.fs.Open(v.object(m.Content.Hash), vfs.SequentialReadsOption)
	if err != nil {
		return nil, func() {}
	}
	var sum storage.ContentSummary
	next, stop := iter.Pull2(storage.ReadContents(f, &sum))
	differs := func(c storage.Content, detail string) {
		v.report(storage.Damage{Part: "content", Tag: c.Tag, In: c.Partition.Range(), Detail: detail})
	}
	want, err, more := next()
	before := func(a, b storage.Content) bool {
		c := a.Partition.Compare(b.Partition)
		return c < 0 || c == 0 && a.Tag < b.Tag
	}
	check = func(have storage.Content) {
		for more && err == nil && before(want, have) {
			differs(want, "the content list has it, the store does not")
			want, err, more = next()
		}
		if !more || err != nil || before(have, want) {
			differs(have, "the store has it, the content list does not")
			return
		}
		if have != want {
			differs(have, fmt.Sprintf("content list: %s; store: %s", strings.TrimSpace(want.Line()), strings.TrimSpace(have.Line())))
		}
		want, err, more = next()
	}
	return check, func() {
		for ; more && err == nil; want, err, more = next() {
			differs(want, "the content list has it, the store does not")
		}
		if err != nil {
			v.report(storage.Damage{Part: "content list of " + m.ID, Detail: err.Error()})
		}
		stop()
		_ = f.Close()
	}
}

// manifestFS shows the files of a backup as the store they make, to who only reads.
type manifestFS struct {
	vfs.FS
	folder *Folder
	files  map[string]File // by name
}

// storeRoot is the directory that they appear in.
const storeRoot = "store"

func (b *manifestFS) object(name string) (string, error) {
	rest, ok := strings.CutPrefix(path.Clean(name), storeRoot+"/")
	if f, found := b.files[rest]; ok && found {
		return b.folder.object(f.Hash), nil
	}
	return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (b *manifestFS) isDir(name string) bool {
	name = path.Clean(name)
	if name == storeRoot || name == "." {
		return true
	}
	for _, dir := range storeDirs {
		if name == storeRoot+"/"+dir {
			return true
		}
	}
	return false
}

func (b *manifestFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	object, err := b.object(name)
	if err != nil {
		return nil, err
	}
	return b.FS.Open(object, opts...)
}

func (b *manifestFS) Stat(name string) (vfs.FileInfo, error) {
	if b.isDir(name) {
		return b.FS.Stat(b.folder.dir)
	}
	object, err := b.object(name)
	if err != nil {
		return nil, err
	}
	return b.FS.Stat(object)
}

func (b *manifestFS) List(dir string) ([]string, error) {
	if !b.isDir(dir) {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	seen := map[string]bool{}
	var names []string
	for name := range b.files {
		rest, ok := strings.CutPrefix(storeRoot+"/"+name, path.Clean(dir)+"/")
		if first, _, _ := strings.Cut(rest, "/"); ok && !seen[first] {
			seen[first] = true
			names = append(names, first)
		}
	}
	return names, nil
}

// Unwrap hides the folder's file system, where these names mean nothing.
func (b *manifestFS) Unwrap() vfs.FS { return nil }

// Contents calls use with the content list of a backup, by id or number, empty for the newest.
func Contents(dir, backup string, o Options, use func(*Manifest, iter.Seq2[storage.Content, error]) error) (err error) {
	o.setDefaults()
	f, err := Open(o.FS, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	id, err := f.Find(backup)
	if err != nil {
		return err
	}
	m, err := f.Manifest(id)
	if err != nil {
		return err
	}
	if m.Content == nil {
		return fmt.Errorf("backup %s was taken without hashes: %w", id, ErrNoBackup)
	}
	n, h, err := hashFile(context.Background(), f.fs, f.object(m.Content.Hash), f.buf)
	if err := m.Content.same(n, h, err); err != nil {
		return err
	}
	list, err := f.fs.Open(f.object(m.Content.Hash))
	if err != nil {
		return err
	}
	defer list.Close()
	var sum storage.ContentSummary
	return use(m, storage.ReadContents(list, &sum))
}
