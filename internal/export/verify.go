package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Verified is what Verify found.
type Verified struct {
	Files    int      `json:"files"`
	Rows     uint64   `json:"rows"`
	Bytes    int64    `json:"bytes"`
	Offset   uint64   `json:"offset"`
	Problems []string `json:"problems"` // none where every file is as it was written and no other is there
}

// Verify reads every file of a folder and holds it against the manifest. ErrUnfinished where a run did not come to its end: run it
// again first. onFile is called behind each file with how many of how many are done; nil: never.
func Verify(ctx context.Context, dir string, onFile func(done, of int)) (*Verified, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	if f.journal {
		return nil, fmt.Errorf("%s: %w; run varve export %s again", dir, ErrUnfinished, dir)
	}
	if f.manifest == nil {
		return nil, fmt.Errorf("%s has no %s: %w", dir, manifestName, ErrNoExport)
	}
	v := &Verified{Offset: f.manifest.Offset, Problems: []string{}}
	for i := range f.manifest.Files {
		x := &f.manifest.Files[i]
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if problem := f.verify(x); problem != "" {
			v.Problems = append(v.Problems, x.Path+": "+problem)
		}
		v.Files++
		v.Rows += x.Rows
		v.Bytes += x.Bytes
		if onFile != nil {
			onFile(v.Files, len(f.manifest.Files))
		}
	}
	if v.Rows != f.manifest.Rows || v.Bytes != f.manifest.Bytes {
		v.Problems = append(v.Problems, fmt.Sprintf("%s: its files have %d rows and %d bytes, it says %d and %d", manifestName, v.Rows, v.Bytes, f.manifest.Rows, f.manifest.Bytes))
	}
	strays, err := f.strays()
	v.Problems = append(v.Problems, strays...)
	return v, err
}

// verify is what is wrong with a file; empty for nothing.
func (f *folder) verify(x *File) string {
	in, err := os.Open(f.path(x.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return "is not there"
	}
	if err != nil {
		return err.Error()
	}
	defer in.Close()
	h := sha256.New()
	switch n, err := io.Copy(h, in); {
	case err != nil:
		return err.Error()
	case n != x.Bytes:
		return fmt.Sprintf("has %d bytes, was written with %d", n, x.Bytes)
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != x.SHA256 {
		return fmt.Sprintf("has the hash %s, was written with %s", have, x.SHA256)
	}
	return ""
}

// strays is the files in groups that the manifest does not name: readers of the folder would take them for rows.
func (f *folder) strays() (problems []string, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "group=") {
			continue
		}
		err := filepath.WalkDir(f.path(e.Name()), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			name, err := filepath.Rel(f.dir, path)
			if err != nil {
				return err
			}
			name = filepath.ToSlash(name)
			if _, known := f.files[name]; !known {
				problems = append(problems, name+": is not in the manifest")
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// SettingsOf is the settings of the export in a folder, finished or not; nil where there is none.
func SettingsOf(dir string) (*Settings, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return f.settings, nil
}
