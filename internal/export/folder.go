package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/internal/disk"
)

// Names in a folder. Readers of Hive folders skip what begins with _ or a dot, whatever it is.
const (
	manifestName = "_manifest.json"
	journalName  = "_journal.json"
	lockName     = "_lock"
	partName     = "part-0"
)

// formatVersion is that of manifest and journal. It reaches disk.
const formatVersion = 1

// Errors to test with errors.Is.
var (
	ErrNoExport   = errors.New("folder holds no export")
	ErrOtherFiles = errors.New("folder is not empty and holds no export")
	ErrDamaged    = errors.New("export is damaged")
	ErrVersion    = errors.New("export was written by a newer release")
	ErrInUse      = errors.New("another export writes into this folder")
	ErrUnfinished = errors.New("export is not finished")
)

// File is one file of an export.
type File struct {
	Path   string `json:"path"` // below the folder, parts divided by a slash
	Group  string `json:"group"`
	Day    string `json:"day"`
	Rows   uint64 `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	First  string `json:"first"`   // time of the first row and the last one, RFC 3339
	Last   string `json:"last"`    // inside
	TagIDs string `json:"tag_ids"` // tags that have rows, as 1-3,7
	// Fingerprint is of all that decides what stands in the file.
	Fingerprint string `json:"fingerprint"`
}

// ManifestTag is a tag of an export.
type ManifestTag struct {
	ID       uint32 `json:"id"`
	Name     string `json:"name"`
	Group    string `json:"group"`
	Settings string `json:"settings"` // hash of all of the tag that decides what stands in files
}

// Manifest is what a finished run leaves: what is in the folder, and as of when.
type Manifest struct {
	Format   int           `json:"format"`
	Release  string        `json:"release"` // that wrote it
	Finished string        `json:"finished"`
	Log      string        `json:"log"`    // names the server's log
	Offset   uint64        `json:"offset"` // everything that records up to this one of the log did is in the files
	Settings Settings      `json:"settings"`
	StartNs  int64         `json:"start_ns"` // the times exported, as the settings came out
	StopNs   int64         `json:"stop_ns"`
	Rows     uint64        `json:"rows"`
	Bytes    int64         `json:"bytes"`
	Tags     []ManifestTag `json:"tags"`  // by id
	Files    []File        `json:"files"` // by path
}

// folder is a folder that a run, or verify, looks at.
type folder struct {
	dir      string
	manifest *Manifest // nil: none was finished
	journal  bool      // a run was not finished
	files    map[string]File
	settings *Settings // of the manifest, or of the run that was not finished; nil for a new folder
}

// journalLine is a line of the journal: the first has the settings, each behind it a file that is done or one that is gone.
type journalLine struct {
	Format   int       `json:"format,omitempty"`
	Settings *Settings `json:"settings,omitempty"`
	File     *File     `json:"file,omitempty"`
	Removed  string    `json:"removed,omitempty"`
}

// openFolder reads what there is. ErrOtherFiles where there are files that no export made.
func openFolder(dir string) (*folder, error) {
	f := &folder{dir: dir, files: map[string]File{}}
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if f.manifest, err = parseManifest(b); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, manifestName), err)
		}
		f.settings = &f.manifest.Settings
		for _, x := range f.manifest.Files {
			f.files[x.Path] = x
		}
	}
	if err := f.readJournal(); err != nil {
		return nil, err
	}
	if f.settings == nil {
		return f, f.requireEmpty()
	}
	return f, nil
}

func parseManifest(b []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	switch {
	case m.Format > formatVersion:
		return nil, fmt.Errorf("format %d, newest known is %d: %w", m.Format, formatVersion, ErrVersion)
	case m.Format < 1:
		return nil, fmt.Errorf("format %d: %w", m.Format, ErrDamaged)
	}
	for i := range m.Files {
		if err := m.Files[i].check(); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

var partPath = regexp.MustCompile(`^group=[^/]+/day=-?[0-9]+-[0-9]{2}-[0-9]{2}/part-0\.(parquet|arrow)$`)

// check keeps a manifest from naming files outside of its folder.
func (x *File) check() error {
	if !partPath.MatchString(x.Path) {
		return fmt.Errorf("file %.200q is not named as files of an export are: %w", x.Path, ErrDamaged)
	}
	if _, err := parseIDs(x.TagIDs); err != nil {
		return fmt.Errorf("file %s: tags %.80q: %w: %w", x.Path, x.TagIDs, err, ErrDamaged)
	}
	return nil
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// readJournal lays what an unfinished run did over the manifest. A last line that was cut by a kill or a power cut does not count: what it
// would have told of is written again.
func (f *folder) readJournal() error {
	b, err := os.ReadFile(f.path(journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f.journal = true
	for n := 0; ; n++ {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return nil
		}
		b = rest
		var x journalLine
		if err := json.Unmarshal(line, &x); err != nil {
			return fmt.Errorf("read %s: line %d: %w: %w; without the file everything is compared anew", f.path(journalName), n+1, err, ErrDamaged)
		}
		switch {
		case x.Format > formatVersion:
			return fmt.Errorf("read %s: format %d, newest known is %d: %w", f.path(journalName), x.Format, formatVersion, ErrVersion)
		case x.Settings != nil && f.settings == nil:
			f.settings = x.Settings
		case x.File != nil:
			if err := x.File.check(); err != nil {
				return err
			}
			f.files[x.File.Path] = *x.File
		case x.Removed != "":
			delete(f.files, x.Removed)
		}
	}
}

// requireEmpty refuses to export among files of others.
func (f *folder) requireEmpty() error {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "_") && !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%s has %s: %w; choose a new folder", f.dir, e.Name(), ErrOtherFiles)
		}
	}
	return nil
}

// writing is a folder that a run writes into.
type writing struct {
	*folder
	lock    io.Closer
	journal *os.File
}

// begin makes the folder, locks it and opens the journal.
func begin(dir string, s *Settings) (*writing, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := vfs.Default.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: %w", dir, err, ErrInUse)
	}
	w := &writing{lock: lock}
	if w.folder, err = openFolder(dir); err == nil && w.settings != nil && !w.settings.Equal(s) {
		err = fmt.Errorf("%s holds an export of other tags or settings; choose another folder", dir)
	}
	if err == nil && w.folder.journal {
		err = w.sweep()
	}
	if err == nil {
		err = w.openJournal(s)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return w, nil
}

// openJournal goes on with the journal that is there, behind its last whole line, or begins one.
func (w *writing) openJournal(s *Settings) (err error) {
	if w.journal, err = os.OpenFile(w.path(journalName), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	b, err := io.ReadAll(w.journal)
	if err != nil {
		return err
	}
	whole := int64(bytes.LastIndexByte(b, '\n') + 1)
	if err := w.journal.Truncate(whole); err != nil {
		return err
	}
	if _, err := w.journal.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	if whole == 0 {
		if err := w.note(journalLine{Format: formatVersion, Settings: s}); err != nil {
			return err
		}
	}
	return disk.SyncDir(w.dir)
}

func (w *writing) note(x journalLine) error {
	b, err := json.Marshal(x)
	if err == nil {
		_, err = w.journal.Write(append(b, '\n'))
	}
	if err == nil {
		err = w.journal.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", w.path(journalName), err)
	}
	return nil
}

// sweep removes what a killed run left that no line of its journal tells of: unfinished files, and files put in place just before. These
// are written again if they are to be there.
func (w *writing) sweep() error {
	return filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		_, known := w.files[name]
		if partPath.MatchString(name) && !known || isUnfinished(name) {
			return os.Remove(path)
		}
		return nil
	})
}

// unfinished is the name under which a file is written.
func unfinished(name string) string {
	dir, base := name[:strings.LastIndexByte(name, '/')+1], name[strings.LastIndexByte(name, '/')+1:]
	return dir + "." + base + ".tmp"
}

func isUnfinished(name string) bool {
	base := name[strings.LastIndexByte(name, '/')+1:]
	return strings.HasPrefix(base, "."+partName+".") && strings.HasSuffix(base, ".tmp")
}

// put writes a file and puts it in place. write fills in what is known of it once it is written; where that is no rows there is no file.
func (w *writing) put(x File, write func(io.Writer, *File) error) (File, error) {
	temp := w.path(unfinished(x.Path))
	if err := makeDir(filepath.Dir(temp)); err != nil {
		return x, err
	}
	out, err := os.Create(temp)
	if err != nil {
		return x, err
	}
	hashed := &hashing{hash: sha256.New(), w: out}
	buffered := bufio.NewWriterSize(hashed, 1<<20)
	err = write(buffered, &x)
	if err == nil && x.Rows > 0 {
		err = errors.Join(buffered.Flush(), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return x, errors.Join(err, os.Remove(temp))
	}
	if x.Rows == 0 {
		return x, errors.Join(os.Remove(temp), w.remove(x.Path))
	}
	x.Bytes, x.SHA256 = hashed.bytes, hex.EncodeToString(hashed.hash.Sum(nil))
	if err := os.Rename(temp, w.path(x.Path)); err != nil {
		return x, err
	}
	if err := disk.SyncDir(filepath.Dir(temp)); err != nil {
		return x, err
	}
	w.files[x.Path] = x
	return x, w.note(journalLine{File: &x})
}

// remove takes a file away, and its folders where they are empty then.
func (w *writing) remove(name string) error {
	if err := os.Remove(w.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	left := filepath.Dir(w.path(name)) // the innermost folder that is still there
	for range 2 {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			break // something is left in it
		}
		left = filepath.Dir(left)
	}
	if err := disk.SyncDir(left); err != nil {
		return err
	}
	if _, known := w.files[name]; !known {
		return nil
	}
	delete(w.files, name)
	return w.note(journalLine{Removed: name})
}

// finish writes the manifest and ends the journal.
func (w *writing) finish(m *Manifest) error {
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		x := w.files[name]
		m.Files = append(m.Files, x)
		m.Rows += x.Rows
		m.Bytes += x.Bytes
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	temp := w.path(manifestName + ".tmp")
	out, err := os.Create(temp)
	if err != nil {
		return err
	}
	_, err = out.Write(append(b, '\n'))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, w.path(manifestName)); err != nil {
		return err
	}
	if err := disk.SyncDir(w.dir); err != nil {
		return err
	}
	if err := errors.Join(w.journal.Close(), os.Remove(w.path(journalName))); err != nil { // Windows removes no open file
		return err
	}
	return disk.SyncDir(w.dir)
}

func (w *writing) close() { _ = errors.Join(w.journal.Close(), w.lock.Close()) } // every line was synced

// hashing hashes and counts what it writes.
type hashing struct {
	hash  hash.Hash
	w     io.Writer
	bytes int64
}

func (h *hashing) Write(b []byte) (int, error) {
	n, err := h.w.Write(b)
	h.hash.Write(b[:n])
	h.bytes += int64(n)
	return n, err
}

// makeDir makes a folder and those above it that are missing, so that a power cut does not take them away.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if err := makeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return disk.SyncDir(above)
}

// syncDir makes the names in a folder durable.
