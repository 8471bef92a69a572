package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/internal/disk"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/durable"
)

// Options say how a backup is made.
type Options struct {
	// FS is where both the store and the folder are. The default is the operating system's.
	FS vfs.FS
	// Now dates the backup. The default is time.Now.
	Now func() time.Time
	// Release is noted in the manifest.
	Release string
	// NoHashes leaves out the content list, and with it the reading of every sample: the backup then says what files it has
	// and not what they mean. Also the way to back up a store that is known to be damaged.
	NoHashes bool
	// Storage tunes how the copy is opened to be read.
	Storage storage.Options
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = disk.FS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Storage.FS = o.FS
}

// Taken is a backup just made.
type Taken struct {
	*Manifest
	NewFiles int   // that were not in the folder before
	NewBytes int64 // of these
}

// Take makes a backup of the store in the directory source, which nobody may have open, such as a checkpoint, in the folder
// dir, which is made if nothing is there.
func Take(ctx context.Context, source, dir string, o Options) (Taken, error) {
	o.setDefaults()
	t, err := take(ctx, source, dir, &o)
	if err != nil {
		return Taken{}, fmt.Errorf("back up %s to %s: %w", source, dir, err)
	}
	return t, nil
}

func take(ctx context.Context, source, dir string, o *Options) (_ Taken, err error) {
	// Open for as long as files are copied: it holds the locks that keep others out, and shows that what is copied opens.
	db, err := storage.OpenReadOnly(source, o.Storage)
	if err != nil {
		return Taken{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := create(o.FS, dir, db.Status().UUID)
	if err != nil {
		return Taken{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	k := &taking{Folder: f, source: source, known: map[string]int64{}}
	return k.run(ctx, db, o)
}

// taking is one backup being made.
type taking struct {
	*Folder
	source string
	known  map[string]int64 // names and lengths of the newest backup
	taken  Taken
	temps  int
}

func (k *taking) run(ctx context.Context, db *storage.DB, o *Options) (Taken, error) {
	m := &Manifest{Store: k.store, Time: o.Now().UTC().Truncate(time.Second), Release: o.Release}
	k.taken.Manifest = m
	if err := k.begin(m); err != nil {
		return Taken{}, err
	}
	if err := k.describe(ctx, db, m, !o.NoHashes); err != nil {
		return Taken{}, err
	}
	if err := k.files(ctx, m); err != nil {
		return Taken{}, err
	}
	if err := k.objects(ctx, db, m); err != nil {
		return Taken{}, err
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	// All that the manifest names is durable, and so is where it lies; only then it is written.
	text := m.encode()
	if _, err := parseManifest(text); err != nil {
		return Taken{}, err
	}
	return k.taken, durable.WriteFile(k.fs, k.path(manifestsName), m.ID+manifestEnd, text)
}

// begin gives the backup its id and clears away what an interrupted one was copying.
func (k *taking) begin(m *Manifest) error {
	ids, err := k.IDs()
	if err != nil {
		return err
	}
	serial := uint64(1)
	if n := len(ids); n > 0 {
		serial = serialOf(ids[n-1]) + 1
		if last, err := k.Manifest(ids[n-1]); err == nil { // if not, verify tells; a new backup is none the worse
			for _, f := range last.Files {
				k.known[f.Name] = f.Length
			}
		}
	}
	m.ID = makeID(serial, m.Time)
	if err := k.fs.RemoveAll(k.path(objectsTemp)); err != nil && !notExist(err) {
		return err
	}
	return durable.MakeDir(k.fs, k.path(objectsTemp))
}

// describe fills in what the store holds.
func (k *taking) describe(ctx context.Context, db *storage.DB, m *Manifest, hashes bool) error {
	v, err := db.View(ctx, storage.Accepted)
	if err != nil {
		return err
	}
	defer v.Close()
	s := db.Status()
	m.Offset, m.Lost, m.Revision, m.Tags = s.Accepted, lostOffsets(&s), s.Revision, uint64(s.Tags)
	if !hashes {
		m.Samples = s.Samples
		m.First, m.Last = s.First, s.Last
		return nil
	}
	if lost := v.Lost(); len(lost) > 0 {
		return fmt.Errorf("log offsets [%d, %d) are lost, and what they held is not known: accept the loss first, or leave out hashes: %w",
			lost[0].First, lost[0].End, storage.ErrCorrupt)
	}
	var c storage.ContentSummary
	f, err := k.write(func(w io.Writer) (err error) {
		c, err = v.WriteContents(ctx, w)
		return err
	})
	if err != nil {
		return fmt.Errorf("hash the content: %w", err)
	}
	m.Samples, m.Versions, m.First, m.Last, m.Content = c.Samples, c.Versions, c.First, c.Last, &f
	return nil
}

// files puts every file of the store into the folder.
func (k *taking) files(ctx context.Context, m *Manifest) error {
	names, err := storeNames(k.fs, k.source)
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := k.put(ctx, name)
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		m.Files = append(m.Files, f)
	}
	return nil
}

// objects puts the objects of the tier into the folder, wherever they lie.
func (k *taking) objects(ctx context.Context, db *storage.DB, m *Manifest) error {
	for _, o := range db.TierObjects() {
		f, err := k.putFrom(ctx, tierDir+"/"+o.Name, o.Bytes, func() (io.ReadCloser, error) {
			in, err := db.OpenTierObject(o)
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{io.NewSectionReader(in, 0, in.Size()), in}, nil
		})
		if err != nil {
			return fmt.Errorf("copy object %s of the tier: %w", o.Name, err)
		}
		m.Files = append(m.Files, f)
	}
	return nil
}

// storeNames is the files of a store that belong into a backup, but for objects of the tier. Locks, ballast and unfinished files do not.
func storeNames(fs vfs.FS, dir string) ([]string, error) {
	var names []string
	for _, name := range storeFiles {
		if _, err := fs.Stat(fs.PathJoin(dir, name)); err == nil {
			names = append(names, name)
		} else if !notExist(err) {
			return nil, err
		}
	}
	for _, part := range storeDirs {
		if part == tierDir {
			continue
		}
		list, err := fs.List(fs.PathJoin(dir, part))
		if err != nil {
			return nil, err
		}
		for _, base := range list {
			if base == "LOCK" || base == "lock" {
				continue
			}
			name := part + "/" + base
			info, err := fs.Stat(fs.PathJoin(dir, part, base))
			if err != nil {
				return nil, err
			}
			if info.IsDir() || checkName(name) != nil {
				return nil, fmt.Errorf("%s does not belong there", name)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// put is a file of the store in the folder: copied, unless the folder has one of the same bytes.
func (k *taking) put(ctx context.Context, name string) (File, error) {
	source := k.fs.PathJoin(k.source, name)
	info, err := k.fs.Stat(source)
	if err != nil {
		return File{Name: name}, err
	}
	return k.putFrom(ctx, name, info.Size(), func() (io.ReadCloser, error) { return k.fs.Open(source, vfs.SequentialReadsOption) })
}

// putFrom is put of what open opens, bytes long.
func (k *taking) putFrom(ctx context.Context, name string, bytes int64, open func() (io.ReadCloser, error)) (f File, err error) {
	f.Name = name
	// Where the backup before has a file of this name and length it is likely the same: reading it tells. A name alone does
	// not: a store that was restored gives the same names to other tables.
	if length, ok := k.known[name]; ok && length == bytes {
		if f.Length, f.Hash, err = k.read(ctx, open, nil); err != nil || k.has(f) {
			return f, err
		}
	}
	temp := k.temp()
	out, err := k.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return f, err
	}
	if f.Length, f.Hash, err = k.read(ctx, open, out); err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return f, err
	}
	return f, k.place(f, temp)
}

// read is the length and hash of what open opens, copied into a writer unless that is nil.
func (k *taking) read(ctx context.Context, open func() (io.ReadCloser, error), into io.Writer) (n int64, h Hash, err error) {
	in, err := open()
	if err != nil {
		return 0, h, err
	}
	defer in.Close()
	return sum(ctx, in, into, k.buf)
}

// write is what the function writes, as a file in the folder.
func (k *taking) write(fill func(io.Writer) error) (f File, err error) {
	temp := k.temp()
	out, err := k.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return f, err
	}
	digest := sha256.New()
	if err = fill(io.MultiWriter(digest, out)); err == nil { // in this order: a vfs.File may change what it is given to write
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return f, err
	}
	info, err := k.fs.Stat(temp)
	if err != nil {
		return f, err
	}
	f = File{Length: info.Size(), Hash: hashOf(digest)}
	return f, k.place(f, temp)
}

func (k *taking) temp() string {
	k.temps++
	return k.path(objectsTemp, fmt.Sprintf("%06d", k.temps))
}

// place gives a file that is durable its name, unless there is one of the same bytes.
func (k *taking) place(f File, temp string) error {
	if k.has(f) {
		return k.fs.Remove(temp)
	}
	dir := k.fs.PathDir(k.object(f.Hash))
	if err := durable.MakeDir(k.fs, dir); err != nil {
		return err
	}
	if err := k.fs.Rename(temp, k.object(f.Hash)); err != nil {
		return err
	}
	k.taken.NewFiles++
	k.taken.NewBytes += f.Length
	return durable.SyncDir(k.fs, dir)
}

// has reports whether the folder has the file. What lies under a hash got its name when it was durable, so that its length
// tells a whole one; whether it is still sound is for verify to say.
func (k *taking) has(f File) bool {
	info, err := k.fs.Stat(k.object(f.Hash))
	return err == nil && info.Size() == f.Length
}
