package storage

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/durable"
)

// The file FORMAT makes a directory a store. It is the first file of a new store and the last of a checkpoint, so that
// neither is ever taken for whole before it is. It is text:
//
//	varve store
//	format 1
//	uuid 32 hexadecimal digits
const (
	formatName    = "FORMAT"
	formatVersion = 1
	formatText    = "varve store\nformat %d\nuuid %x\n"
)

// openFormat reads the FORMAT file, or makes a new store where nothing is.
func (db *DB) openFormat() error {
	fs := db.o.FS
	b, err := readFile(fs, path.Join(db.dir, formatName))
	if err == nil {
		return db.parseFormat(b)
	}
	if !isNotExist(err) {
		return err
	}
	names, err := fs.List(db.dir)
	if err != nil && !isNotExist(err) {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "lost+found" || n == formatName+".new" })
	if len(names) > 0 {
		return fmt.Errorf("%s holds %s and more but no %s file: it is not a store, or an incomplete checkpoint", db.dir, names[0], formatName)
	}
	if _, err := io.ReadFull(db.o.Rand, db.uuid[:]); err != nil {
		return fmt.Errorf("make the store's id: %w", err)
	}
	db.uuid[6], db.uuid[8] = db.uuid[6]&0x0F|0x40, db.uuid[8]&0x3F|0x80
	if err := durable.MakeDir(fs, db.dir); err != nil {
		return err
	}
	return db.writeFormat(db.dir)
}

func (db *DB) writeFormat(dir string) error {
	return durable.WriteFile(db.o.FS, dir, formatName, fmt.Appendf(nil, formatText, formatVersion, db.uuid[:]))
}

func (db *DB) parseFormat(b []byte) error {
	var version int
	var id string
	if _, err := fmt.Sscanf(string(b), "varve store\nformat %d\nuuid %32s\n", &version, &id); err != nil {
		return fmt.Errorf("read %s: %w: %w", formatName, err, ErrCorrupt)
	}
	if version > formatVersion {
		return fmt.Errorf("%s says format %d, newest known is %d: %w", formatName, version, formatVersion, ErrVersion)
	}
	if n, err := hex.Decode(db.uuid[:], []byte(id)); err != nil || n != len(db.uuid) || version < 1 {
		return fmt.Errorf("read %s: format %d, uuid %q: %w", formatName, version, id, ErrCorrupt)
	}
	if !bytes.Equal(b, fmt.Appendf(nil, formatText, version, db.uuid[:])) {
		return fmt.Errorf("read %s: %q: %w", formatName, b, ErrCorrupt)
	}
	return nil
}

// maxSmallFile bounds the small text files, which are read whole.
const maxSmallFile = 1 << 20

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(b) > maxSmallFile {
		err = fmt.Errorf("more than %d bytes: %w", maxSmallFile, ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
