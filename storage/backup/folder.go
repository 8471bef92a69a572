package backup

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/durable"
)

// The layout of a folder. It reaches disk: see docs/format/backup.md.
const (
	folderName    = "BACKUP"    // makes a directory a folder of backups, and says of which store
	lockName      = "lock"      // locked while somebody writes
	manifestsName = "manifests" // one file for each backup, by id
	objectsName   = "objects"   // files by their hash, in directories by its first byte
	objectsTemp   = "incoming"  // files being copied
	manifestEnd   = ".manifest"

	folderText = "varve backups\nformat %d\nstore %x\n"
)

const (
	folderBytesMax   = 4 << 10
	manifestBytesMax = 1 << 30
)

// Folder is a folder of backups of one store. It is for one goroutine.
type Folder struct {
	fs    vfs.FS
	dir   string
	store model.UUID
	lock  io.Closer
	buf   []byte
}

// Open opens a folder to read from. A folder on a file system that cannot be written is read all the same.
func Open(fs vfs.FS, dir string) (*Folder, error) {
	f := &Folder{fs: fs, dir: dir, buf: make([]byte, copyBytes)}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("open backup folder %s: %w", dir, err)
	}
	return f, nil
}

func (f *Folder) open() error {
	b, err := readFile(f.fs, f.path(folderName), folderBytesMax)
	if notExist(err) {
		return fmt.Errorf("it has no file %s: %w", folderName, ErrNoBackup)
	}
	if err != nil {
		return err
	}
	if f.store, err = parseFolder(b); err != nil {
		return err
	}
	return f.takeLock()
}

func (f *Folder) takeLock() (err error) {
	f.lock, err = f.fs.Lock(f.path(lockName))
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) && !f.mayWrite() {
		f.lock, err = io.NopCloser(nil), nil
	}
	if err != nil {
		return fmt.Errorf("somebody else works in it: lock: %w", err)
	}
	return nil
}

// mayWrite reports whether files can be made in the folder.
func (f *Folder) mayWrite() bool {
	name := f.path("probe")
	w, err := f.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false
	}
	return errors.Join(w.Close(), f.fs.Remove(name)) == nil
}

// create opens the folder of a store to write to, making it if nothing is there.
func create(fs vfs.FS, dir string, store model.UUID) (*Folder, error) {
	f := &Folder{fs: fs, dir: dir, store: store, buf: make([]byte, copyBytes)}
	if err := f.create(); err != nil {
		return nil, fmt.Errorf("open backup folder %s: %w", dir, errors.Join(err, f.Close()))
	}
	return f, nil
}

func (f *Folder) create() error {
	if err := durable.MakeDir(f.fs, f.dir); err != nil {
		return err
	}
	b, err := readFile(f.fs, f.path(folderName), folderBytesMax)
	switch {
	case err == nil:
		store, err := parseFolder(b)
		if err != nil {
			return err
		}
		if store != f.store {
			return fmt.Errorf("its store is %s, not %s: %w", store, f.store, ErrOtherStore)
		}
	case !notExist(err):
		return err
	default:
		if err := f.mustBeEmpty(); err != nil {
			return err
		}
	}
	if err := f.takeLock(); err != nil {
		return err
	}
	for _, dir := range []string{objectsName, manifestsName} {
		if err := durable.MakeDir(f.fs, f.path(dir)); err != nil {
			return err
		}
	}
	if b == nil {
		return durable.WriteFile(f.fs, f.dir, folderName, fmt.Appendf(nil, folderText, formatVersion, f.store[:]))
	}
	return nil
}

// mustBeEmpty refuses a directory with files that are not ours: backups are not put among other things.
func (f *Folder) mustBeEmpty() error {
	names, err := f.fs.List(f.dir)
	if err != nil {
		return err
	}
	ours := []string{lockName, objectsName, manifestsName, folderName + ".new", "lost+found"}
	names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(ours, n) })
	if len(names) > 0 {
		return fmt.Errorf("it holds %s and more, and no file %s: %w", names[0], folderName, ErrExists)
	}
	return nil
}

func parseFolder(b []byte) (store model.UUID, err error) {
	version, err := versionOf(string(b), "varve backups")
	if err != nil {
		return store, fmt.Errorf("read %s: %w", folderName, err)
	}
	if version > formatVersion {
		return store, fmt.Errorf("%s says format %d, newest known is %d: %w", folderName, version, formatVersion, ErrVersion)
	}
	var id []byte
	if _, err := fmt.Sscanf(string(b), folderText, &version, &id); err != nil || copy(store[:], id) != len(store) {
		return store, fmt.Errorf("read %s: %q: %w", folderName, b, ErrDamaged)
	}
	if string(b) != fmt.Sprintf(folderText, version, store[:]) {
		return store, fmt.Errorf("read %s: %q: %w", folderName, b, ErrDamaged)
	}
	return store, nil
}

// Close lets others in.
func (f *Folder) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// Store is whose backups these are.
func (f *Folder) Store() model.UUID { return f.store }

func (f *Folder) path(parts ...string) string {
	return f.fs.PathJoin(append([]string{f.dir}, parts...)...)
}

func (f *Folder) object(h Hash) string {
	name := h.String()
	return f.path(objectsName, name[:2], name)
}

// IDs is the backups there are, oldest first.
func (f *Folder) IDs() ([]string, error) {
	names, err := f.fs.List(f.path(manifestsName))
	if err != nil && !notExist(err) {
		return nil, err
	}
	var ids []string
	for _, n := range names {
		if id, ok := strings.CutSuffix(n, manifestEnd); ok && validID(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids, nil
}

func compareIDs(a, b string) int {
	if x, y := serialOf(a), serialOf(b); x != y {
		if x < y {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// Find is the id of a backup by id or serial number; empty for the newest.
func (f *Folder) Find(name string) (string, error) {
	ids, err := f.IDs()
	if err != nil {
		return "", err
	}
	if name == "" && len(ids) > 0 {
		return ids[len(ids)-1], nil
	}
	for _, id := range ids {
		if id == name || serialOf(name) == serialOf(id) && !strings.Contains(name, "-") {
			return id, nil
		}
	}
	if name == "" {
		return "", fmt.Errorf("backup folder %s has none: %w", f.dir, ErrNoBackup)
	}
	return "", fmt.Errorf("backup folder %s has no %.60q: %w", f.dir, name, ErrNoBackup)
}

// Manifest reads the manifest of a backup and holds it against its snapshot id and the folder.
func (f *Folder) Manifest(id string) (*Manifest, error) {
	if !validID(id) {
		return nil, fmt.Errorf("backup %.60q: %w", id, ErrNoBackup)
	}
	b, err := readFile(f.fs, f.path(manifestsName, id+manifestEnd), manifestBytesMax)
	if notExist(err) {
		return nil, fmt.Errorf("backup %s: %w", id, ErrNoBackup)
	}
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", id, err)
	}
	m, err := parseManifest(b)
	switch {
	case err != nil:
	case m.ID != id:
		err = fmt.Errorf("it is the manifest of backup %s: %w", m.ID, ErrDamaged)
	case m.Store != f.store:
		err = fmt.Errorf("it is of store %s, the folder of %s: %w", m.Store, f.store, ErrOtherStore)
	}
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", id, err)
	}
	return m, nil
}

// List is the manifests of all backups, oldest first.
func (f *Folder) List() ([]*Manifest, error) {
	ids, err := f.IDs()
	if err != nil {
		return nil, err
	}
	var out []*Manifest
	for _, id := range ids {
		m, err := f.Manifest(id)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// List is the backups of the folder dir, oldest first.
func List(dir string, o Options) (_ []*Manifest, err error) {
	o.setDefaults()
	f, err := Open(o.FS, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.List()
}
