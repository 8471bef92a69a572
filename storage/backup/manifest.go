package backup

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
)

// Errors to test with errors.Is.
var (
	// ErrDamaged is a backup that is not what was written: incomplete, changed, or mixed from several.
	ErrDamaged = errors.New("backup is damaged")
	// ErrVersion is a backup of a newer release.
	ErrVersion = errors.New("backup was written by a newer release")
	// ErrNoBackup is a folder without backups, or without the one asked for.
	ErrNoBackup = errors.New("no such backup")
	// ErrOtherStore is a folder that belongs to another store.
	ErrOtherStore = errors.New("folder holds backups of another store")
	// ErrExists is a directory that a restore would have to write into.
	ErrExists = errors.New("directory exists and is not empty")
)

// formatVersion is that of folders and manifests. It reaches disk. A manifest that names objects of a tier is of tieredVersion:
// who does not know them would restore a store that lacks them.
const (
	formatVersion = 1
	tieredVersion = 2
)

// Hash is the SHA-256 of a file.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// File is one file of a backup.
type File struct {
	Name   string // within the store, parts divided by a slash
	Length int64
	Hash   Hash
}

// Manifest is a backup: what the store held and the files that hold it.
type Manifest struct {
	ID       string // serial number and time, unique in the folder
	Store    model.UUID
	Time     time.Time // when it was begun, to the second
	Release  string    // that wrote it
	Offset   uint64    // the store holds every log record up to this one
	Lost     uint64    // of these, records that are damaged and were not given up
	Revision uint64    // of the catalogue
	Tags     uint64
	Samples  uint64 // that stand; without a content list as the store counts them
	Versions uint64 // of keys with a history; 0 without a content list
	First    int64  // earliest and latest time; both 0 for nothing
	Last     int64
	Content  *File // the content list; nil for none
	Files    []File

	Snapshot Hash // over all of it
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Length
	}
	return n
}

// version is the format of the manifest.
func (m *Manifest) version() int {
	if slices.ContainsFunc(m.Files, func(f File) bool { return strings.HasPrefix(f.Name, tierDir+"/") }) {
		return tieredVersion
	}
	return formatVersion
}

// encode is the manifest as text; it sets Snapshot.
func (m *Manifest) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "varve backup\nformat %d\nid %s\nstore %x\ntime %s\nrelease %s\n",
		m.version(), m.ID, m.Store[:], m.Time.UTC().Format(time.RFC3339), strconv.Quote(m.Release))
	fmt.Fprintf(&b, "offset %d\nlost %d\nrevision %d\ntags %d\nsamples %d\nversions %d\nfirst %d\nlast %d\n",
		m.Offset, m.Lost, m.Revision, m.Tags, m.Samples, m.Versions, m.First, m.Last)
	if m.Content != nil {
		fmt.Fprintf(&b, "content %d %s\n", m.Content.Length, m.Content.Hash)
	}
	for _, f := range m.Files {
		fmt.Fprintf(&b, "file %d %s %s\n", f.Length, f.Hash, f.Name)
	}
	m.Snapshot = sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "snapshot %s\n", m.Snapshot)
	return b.Bytes()
}

// parseManifest reads a manifest and holds it against its snapshot id. A manifest has one form only.
func parseManifest(text []byte) (*Manifest, error) {
	m, err := readManifest(text)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

const lastLine = len("snapshot ") + 2*sha256.Size + 1

func readManifest(text []byte) (*Manifest, error) {
	version, err := versionOf(string(text), "varve backup")
	if err != nil {
		return nil, err
	}
	if version > tieredVersion {
		return nil, fmt.Errorf("format %d, newest known is %d: %w", version, tieredVersion, ErrVersion)
	}
	if len(text) < lastLine {
		return nil, fmt.Errorf("%d bytes: %w", len(text), ErrDamaged)
	}
	body, end := text[:len(text)-lastLine], text[len(text)-lastLine:]
	if want := fmt.Sprintf("snapshot %s\n", Hash(sha256.Sum256(body))); want != string(end) {
		return nil, fmt.Errorf("it ends with %q, and its snapshot id is %q: %w", end, want, ErrDamaged)
	}
	m, err := parseBody(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	if again := m.encode(); !bytes.Equal(again, text) {
		return nil, fmt.Errorf("it is not written as this release writes it: %w", ErrDamaged)
	}
	return m, m.check()
}

// versionOf reads the first two lines.
func versionOf(text, title string) (int, error) {
	first, rest, _ := strings.Cut(text, "\n")
	second, _, ok := strings.Cut(rest, "\n")
	number, named := strings.CutPrefix(second, "format ")
	v, err := strconv.Atoi(number)
	if first != title || !ok || !named || err != nil || v < 1 {
		return 0, fmt.Errorf("it begins with %.60q: %w", text, ErrDamaged)
	}
	return v, nil
}

func parseBody(text string) (*Manifest, error) {
	var m Manifest
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		key, rest, _ := strings.Cut(line, " ")
		if err := m.field(key, rest); err != nil {
			return nil, fmt.Errorf("line %.120q: %w", line, err)
		}
	}
	return &m, nil
}

func (m *Manifest) field(key, rest string) (err error) {
	number := func(into *uint64) { *into, err = strconv.ParseUint(rest, 10, 64) }
	instant := func(into *int64) { *into, err = strconv.ParseInt(rest, 10, 64) }
	switch key {
	case "varve", "format": // read before
	case "id":
		m.ID = rest
	case "store":
		var n int
		if n, err = hex.Decode(m.Store[:], []byte(rest[:min(len(rest), 32)])); err == nil && n != len(m.Store) {
			err = errors.New("16 bytes are needed")
		}
	case "time":
		m.Time, err = time.Parse(time.RFC3339, rest)
	case "release":
		m.Release, err = strconv.Unquote(rest)
	case "offset":
		number(&m.Offset)
	case "lost":
		number(&m.Lost)
	case "revision":
		number(&m.Revision)
	case "tags":
		number(&m.Tags)
	case "samples":
		number(&m.Samples)
	case "versions":
		number(&m.Versions)
	case "first":
		instant(&m.First)
	case "last":
		instant(&m.Last)
	case "content":
		m.Content = &File{}
		err = m.Content.parse(rest)
	case "file":
		var f File
		if err = f.parse(rest); err == nil {
			m.Files = append(m.Files, f)
		}
	default:
		err = errors.New("no such field")
	}
	return err
}

// parse reads length, hash and, of a file of the store, name.
func (f *File) parse(text string) (err error) {
	length, rest, _ := strings.Cut(text, " ")
	if f.Length, err = strconv.ParseInt(length, 10, 64); err != nil || f.Length < 0 {
		return fmt.Errorf("length %q", length)
	}
	hash, name, _ := strings.Cut(rest, " ")
	if b, err := hex.DecodeString(hash); err != nil || len(b) != len(f.Hash) {
		return fmt.Errorf("hash %q", hash)
	} else {
		copy(f.Hash[:], b)
	}
	f.Name = name
	return nil
}

// check reports what a manifest that is whole may not say.
func (m *Manifest) check() error {
	if !validID(m.ID) {
		return fmt.Errorf("id %.60q: %w", m.ID, ErrDamaged)
	}
	parts := map[string]bool{}
	for i, f := range m.Files {
		if err := checkName(f.Name); err != nil {
			return fmt.Errorf("%w: %w", err, ErrDamaged)
		}
		if i > 0 && cmp.Compare(m.Files[i-1].Name, f.Name) >= 0 {
			return fmt.Errorf("file %q follows %q: %w", f.Name, m.Files[i-1].Name, ErrDamaged)
		}
		part, _, _ := strings.Cut(f.Name, "/")
		parts[part] = true
	}
	for _, part := range []string{"FORMAT", "lsm", "log"} {
		if !parts[part] {
			return fmt.Errorf("nothing of %s is in it: %w", part, ErrDamaged)
		}
	}
	return nil
}

// tierDir is the directory that objects of the tier have in a backup, and in the store made of it, wherever they lay.
const tierDir = "tier"

// Directories of a store that a backup has files of, and files right in it. Names in a manifest lead nowhere else.
var (
	storeDirs  = []string{"log", "lsm", tierDir}
	storeFiles = []string{"ACCEPTED-LOSS", "FORMAT"}
)

// checkName refuses every name that is not of a file that stores have: absolute ones, those with dots for a directory, and
// those that another system would read differently.
func checkName(name string) error {
	if slices.Contains(storeFiles, name) {
		return nil
	}
	dir, base, ok := strings.Cut(name, "/")
	if !ok || !slices.Contains(storeDirs, dir) || !plainName(base) {
		return fmt.Errorf("file name %.120q: must be FORMAT, ACCEPTED-LOSS, or lie in log, lsm or tier", name)
	}
	return nil
}

// plainName reports whether name is letters, digits, points, hyphens and underscores, and does not begin with a point.
func plainName(name string) bool {
	if name == "" || len(name) > 200 || name[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' || r == '_')
	})
}

// An id is a serial number of the folder and the time: 000007-20261125T141200Z.
const idTime = "20060102T150405Z"

func makeID(serial uint64, at time.Time) string {
	return fmt.Sprintf("%06d-%s", serial, at.UTC().Format(idTime))
}

func validID(id string) bool {
	at, err := time.Parse(idTime, id[strings.IndexByte(id, '-')+1:])
	return err == nil && makeID(serialOf(id), at) == id && serialOf(id) > 0
}

func serialOf(id string) uint64 {
	number, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// parseObject reads the name of a file in the folder.
func parseObject(name string) (h Hash, ok bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(h) || hex.EncodeToString(b) != name {
		return h, false
	}
	copy(h[:], b)
	return h, true
}
