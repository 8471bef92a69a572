package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/tier"
)

// tiering is the second place of sealed chunks: one object for each seal that was moved, a table of the same keys as in the LSM.
// Which seals these are the directory says. Objects are written into one folder, which belongs to this store directory
// alone; what a copy of a store reads from the folder of the original it never removes.
type tiering struct {
	fs     vfs.FS
	alarms *alarms
	own    tier.Store // where objects are written; nil where none was ever asked for
	ownDir string
	near   tier.Store // in the store's own directory: what a restore or a checkpoint put there; nil where there is none
	from   []string   // folders that are only read
	table  sstable.ReaderOptions
	down   atomic.Bool // tier_unreachable is raised

	mu     sync.Mutex
	open   map[string]*object
	uses   uint64
	missed objectName // the object that could not be reached last

	// What the sealer knows, whose mu guards it.
	made   map[string]bool // objects in own; nil: not known yet
	nearby map[string]bool // objects in near, likewise
	retry  time.Time       // nothing is moved before
	swept  time.Time       // when it was last looked for objects to be removed
	probed time.Time
}

const (
	tierName    = "TIER" // file of the store that says where its objects are
	tierVersion = 1
	nearName    = "tier" // directory of the store
	pinPrefix   = "pin-" // objects that name a checkpoint

	// tierRetry is how long nothing is moved after a failure, and how often it is looked whether objects can be reached again.
	tierRetry = time.Minute
	// tierRate is how many bytes a second are moved.
	tierRate = 32 << 20
	// maxObjects is how many objects nobody reads from stay open.
	maxObjects = 64
)

// ErrUnreachable is matched by errors of reads whose samples lie in a tier that does not answer. They are there; trying
// again later may find them.
var ErrUnreachable = errors.New("tier cannot be reached")

// ObjectError names the object of the tier that an error is about.
type ObjectError struct {
	Object string
	Err    error
}

func (e *ObjectError) Error() string {
	return fmt.Sprintf("object %s of the tier: %v", e.Object, e.Err)
}

func (e *ObjectError) Unwrap() error { return e.Err }

// objectName is what an object is known by: whose seal it is, and its length, which the directory has.
type objectName struct {
	p     keys.Partition
	seal  uint64
	bytes uint64
}

// String is the name of the object. It reaches disk.
func (n objectName) String() string {
	return fmt.Sprintf("%c%d-%d.sst", "-hdm"[n.p.Span], n.p.Number, n.seal)
}

// openTier finds out where objects are.
func (db *DB) openTier() error {
	t := &db.tier
	t.fs, t.alarms = db.o.FS, db.alarms
	if near := path.Join(db.dir, nearName); isDir(t.fs, near) {
		t.near = tier.NewFolder(t.fs, near)
	}
	t.open = map[string]*object{}
	t.table = db.engineOptions.MakeReaderOptions()
	t.table.CacheOpts.CacheHandle = db.engineOptions.Cache.NewHandle()
	var x tierFile
	b, err := readFile(t.fs, path.Join(db.dir, tierName))
	if err == nil {
		x, err = parseTier(b)
	}
	if err != nil && !isNotExist(err) {
		return err
	}
	if err := db.placeTier(&x); err != nil {
		return fmt.Errorf("prepare tier %s: %w", db.o.TierDir, err)
	}
	t.ownDir, t.from = x.own, x.from
	if x.own != "" {
		t.own = tier.NewFolder(t.fs, x.own)
	}
	return nil
}

// placeTier gives the store a folder in TierDir, or finds the one it has where TierDir is now.
func (db *DB) placeTier(x *tierFile) error {
	store, err := filepath.Abs(db.dir)
	if err != nil {
		return err
	}
	was := *x
	was.from = slices.Clone(x.from)
	if x.own != "" && x.store != store { // this directory is a copy, or was moved: nobody may remove what both need
		x.from = append(x.from, x.own)
		x.own = ""
	}
	x.store = store
	if db.o.TierDir == "" || db.o.still {
		return nil
	}
	if x.own != "" {
		x.own = path.Join(db.o.TierDir, path.Base(x.own))
	} else {
		var id [8]byte
		if _, err := io.ReadFull(db.o.Rand, id[:]); err != nil {
			return err
		}
		x.own = path.Join(db.o.TierDir, hex.EncodeToString(id[:]))
		for _, dir := range []string{db.o.TierDir, x.own} {
			if err := durable.MakeDir(db.o.FS, dir); err != nil {
				return err
			}
		}
	}
	if x.same(&was) {
		return nil
	}
	return durable.WriteFile(db.o.FS, db.dir, tierName, x.append(nil))
}

func isDir(fs vfs.FS, name string) bool {
	info, err := fs.Stat(name)
	return err == nil && info.IsDir()
}

// tierFile is what the file TIER says.
type tierFile struct {
	store string   // the directory that own belongs to
	own   string   // empty for none
	from  []string // folders to be read only
}

func (x *tierFile) same(y *tierFile) bool {
	return x.store == y.store && x.own == y.own && slices.Equal(x.from, y.from)
}

func (x *tierFile) append(b []byte) []byte {
	b = fmt.Appendf(b, "varve tier\nformat %d\n", tierVersion)
	if x.own != "" {
		b = fmt.Appendf(b, "store %q\nown %q\n", x.store, x.own)
	}
	for _, dir := range x.from {
		b = fmt.Appendf(b, "from %q\n", dir)
	}
	return b
}

func parseTier(b []byte) (x tierFile, err error) {
	text, ok := strings.CutPrefix(string(b), "varve tier\nformat ")
	number, text, _ := strings.Cut(text, "\n")
	version, err := strconv.Atoi(number)
	if err == nil && ok && version > tierVersion {
		return x, fmt.Errorf("read %s: format %d, newest known is %d: %w", tierName, version, tierVersion, ErrVersion)
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		dir, err := strconv.Unquote(value)
		switch {
		case err != nil:
		case key == "store":
			x.store = dir
		case key == "own":
			x.own = dir
		case key == "from":
			x.from = append(x.from, dir)
		}
	}
	if err != nil || string(x.append(nil)) != string(b) {
		return tierFile{}, fmt.Errorf("read %s: %.200q: %w", tierName, b, ErrCorrupt)
	}
	return x, nil
}

// close lets go of objects. Nobody reads any more.
func (t *tiering) close() (err error) {
	for _, o := range t.open {
		err = errors.Join(err, o.reader.Close())
	}
	if h := t.table.CacheOpts.CacheHandle; h != nil {
		h.Close()
	}
	return err
}

// find opens an object wherever it is. It may be on its way from near to own: then a second look finds it.
func (t *tiering) find(n objectName) (tier.Object, error) {
	var silent error
	for range 2 {
		for _, s := range t.stores() {
			o, err := s.Open(n.String())
			switch {
			case err == nil && uint64(o.Size()) == n.bytes:
				t.reached()
				return o, nil
			case err == nil:
				err = fmt.Errorf("it has %d bytes, %d were written: %w", o.Size(), n.bytes, ErrCorrupt)
				return nil, t.damage(n, errors.Join(err, o.Close()))
			case !errors.Is(err, tier.ErrNotFound):
				silent = err
			}
		}
	}
	if silent != nil {
		return nil, t.unreachable(n, silent)
	}
	return nil, t.damage(n, fmt.Errorf("it is missing: %w", ErrCorrupt))
}

// stores is where objects may be, in the order in which they are looked for.
func (t *tiering) stores() (all []tier.Store) {
	if t.own != nil {
		all = append(all, t.own)
	}
	if t.near != nil {
		all = append(all, t.near)
	}
	for _, dir := range t.from {
		all = append(all, tier.NewFolder(t.fs, dir))
	}
	return all
}

// unreachable raises the alarm and is the error to return.
func (t *tiering) unreachable(n objectName, cause error) error {
	t.mu.Lock()
	t.missed = n
	t.mu.Unlock()
	t.down.Store(true)
	err := &ObjectError{n.String(), fmt.Errorf("%w: %v", ErrUnreachable, cause)} // as text: nobody is to take it for an error of the store's own disk
	t.alarms.raise("tier_unreachable", fmt.Sprintf("%v: reads of what lies there fail, everything else goes on", err))
	return err
}

// answers reports whether the object that could not be reached last would be, whether it is still there or not.
func (t *tiering) answers() bool {
	t.mu.Lock()
	name := t.missed.String()
	t.mu.Unlock()
	for _, s := range t.stores() {
		o, err := s.Open(name)
		switch {
		case err == nil:
			_ = o.Close()
		case !errors.Is(err, tier.ErrNotFound):
			return false
		}
	}
	return true
}

func (t *tiering) reached() {
	if t.down.Swap(false) {
		t.alarms.clear("tier_unreachable")
	}
}

// object is an open object. It stays open for a while when nobody reads from it.
type object struct {
	name   objectName
	reader *sstable.Reader
	users  int
	used   uint64 // when, in order
	spoilt bool   // a read failed: what is behind the name now is looked at again
}

// acquire opens an object, or finds it open. It is for release.
func (t *tiering) acquire(n objectName) (*object, error) {
	if o := t.opened(n); o != nil {
		return o, nil
	}
	f, err := t.find(n)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.table.CacheOpts.FileNum++
	options := t.table
	t.mu.Unlock()
	r, err := sstable.NewReader(context.Background(), &objectReadable{tier: t, name: n, object: f}, options)
	if err != nil {
		return nil, errors.Join(t.damage(n, err), f.Close())
	}
	t.mu.Lock()
	o := t.open[n.String()]
	if o == nil {
		o = &object{name: n, reader: r}
		t.open[n.String()] = o
		r = nil
	}
	o.users++
	t.mu.Unlock()
	if r != nil { // somebody was faster
		return o, r.Close()
	}
	return o, nil
}

func (t *tiering) opened(n objectName) *object {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.open[n.String()]
	if o != nil {
		o.users++
	}
	return o
}

// release gives an object back. Of those that nobody uses the one unused for longest is closed where there are many.
func (t *tiering) release(o *object) error {
	t.mu.Lock()
	t.uses++
	o.users--
	o.used = t.uses
	var gone []*object
	idle, oldest := 0, o
	for _, x := range t.open {
		if x.users == 0 {
			idle++
			if x.used < oldest.used || oldest.users > 0 {
				oldest = x
			}
		}
	}
	if idle > maxObjects && oldest.users == 0 {
		gone = append(gone, oldest)
	}
	if o.users == 0 && o.spoilt && !slices.Contains(gone, o) {
		gone = append(gone, o)
	}
	for _, x := range gone {
		delete(t.open, x.name.String())
	}
	t.mu.Unlock()
	var err error
	for _, x := range gone {
		err = errors.Join(err, x.reader.Close())
	}
	return err
}

// damage names the object in an error of reading it, and raises the alarm where it is damage.
func (t *tiering) damage(n objectName, err error) error {
	if err == nil {
		return nil
	}
	if pebble.IsCorruptionError(err) && !errors.Is(err, ErrUnreachable) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var at *ObjectError
	if !errors.As(err, &at) {
		err = &ObjectError{n.String(), err}
	}
	if errors.Is(err, ErrCorrupt) {
		t.alarms.raise("store_damaged", err.Error())
	}
	return err
}

// objectReadable is an object as the reader of tables wants it.
type objectReadable struct {
	tier   *tiering
	name   objectName
	object tier.Object
}

func (r *objectReadable) ReadAt(_ context.Context, p []byte, at int64) error {
	n, err := r.object.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return &ObjectError{r.name.String(), fmt.Errorf("it ends inside a block at %d: %w", at, ErrCorrupt)}
	}
	return r.tier.unreachable(r.name, err)
}

func (r *objectReadable) Close() error { return r.object.Close() }

func (r *objectReadable) Size() int64 { return r.object.Size() }

func (r *objectReadable) NewReadHandle(objstorage.ReadBeforeSize) objstorage.ReadHandle {
	h := objstorage.MakeNoopReadHandle(r)
	return &h
}

// tierable is the end of the partitions old enough to be moved.
func (db *DB) tierable() int64 {
	if db.tier.own == nil || db.o.TierAfter < 0 || db.o.TierDir == "" {
		return math.MinInt64
	}
	db.submitMu.Lock()
	ingest := db.lastIngest
	db.submitMu.Unlock()
	if ingest < math.MinInt64+int64(db.o.TierAfter) {
		return math.MinInt64
	}
	return ingest - int64(db.o.TierAfter)
}
