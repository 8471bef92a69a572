package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/varvedb/varve/storage/keys"
)

// table is a file of the LSM.
type table struct {
	number   uint64
	size     int64
	from, to []byte      // lowest and highest key
	object   *objectName // of a table in the tier
}

func (t *table) name() string {
	if t.object != nil {
		return path.Join(nearName, t.object.String())
	}
	return fmt.Sprintf("lsm/%06d.sst", t.number)
}

// open opens the file to be read past every cache.
func (t *table) open(db *DB) (objstorage.Readable, error) {
	if t.object != nil {
		o, err := db.tier.find(*t.object)
		if err != nil {
			return nil, err
		}
		return &objectReadable{tier: &db.tier, name: *t.object, object: o}, nil
	}
	f, err := db.o.FS.Open(path.Join(db.dir, t.name()), vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	r, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// tables is the files that the LSM reads from now, ascending by number, each once.
func (db *DB) tables() ([]table, error) {
	levels, err := db.engine.SSTables()
	if err != nil {
		return nil, engineError("list tables", err)
	}
	var out []table
	for _, level := range levels {
		for _, t := range level {
			out = append(out, table{uint64(t.BackingSSTNum), int64(t.Size), t.Smallest.UserKey, t.Largest.UserKey, nil})
		}
	}
	slices.SortFunc(out, func(a, b table) int { return cmp.Compare(a.number, b.number) })
	return slices.CompactFunc(out, func(a, b table) bool { return a.number == b.number }), nil
}

// allTables is the files of the LSM and behind them the objects of the tier.
func (db *DB) allTables() ([]table, error) {
	all, err := db.tables()
	if err != nil {
		return nil, err
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	return append(all, db.directory.objects()...), nil
}

// badBlock is a place in a file whose bytes are not those that were written.
type badBlock struct {
	at, bytes int64
	err       error
}

// checkTable reads every block of a table and holds it against its checksum, past the LSM's cache. pace is called
// before each block with its size; nil for as fast as it goes. A file that is gone is no damage if the LSM let go of it
// meanwhile: the error then is os.ErrNotExist.
func (db *DB) checkTable(ctx context.Context, t *table, pace func(bytes int64) error) (bad []badBlock, err error) {
	if t.object != nil {
		h := db.holdObject(*t.object)
		if h == nil { // superseded between the list and the look
			return nil, nil
		}
		defer h.count.Add(-1)
	}
	readable, err := t.open(db)
	if isDamage(err) {
		return asDamage(t, err, nil)
	}
	if err != nil {
		return nil, err
	}
	r, err := sstable.NewReader(ctx, readable, db.engineOptions.MakeReaderOptions())
	if err != nil {
		return asDamage(t, err, readable.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	layout, err := r.Layout()
	if err != nil {
		return asDamage(t, err, nil)
	}
	var buf []byte
	for _, h := range blocksOf(layout) {
		if err := ctx.Err(); err != nil {
			return bad, err
		}
		n := int64(h.Length) + block.TrailerLen
		if pace != nil {
			if err := pace(n); err != nil {
				return bad, err
			}
		}
		buf = slices.Grow(buf[:0], int(n))[:n]
		if err := readable.ReadAt(ctx, buf, int64(h.Offset)); err != nil {
			if !errors.Is(err, io.EOF) && !isDamage(err) {
				return bad, fmt.Errorf("read %s at %d: %w", t.name(), h.Offset, err)
			}
			bad = append(bad, badBlock{int64(h.Offset), n, fmt.Errorf("the file ends inside it: %w", ErrCorrupt)})
			continue
		}
		if err := blockSum(r.BlockReader().ChecksumType(), buf, h); err != nil {
			bad = append(bad, badBlock{int64(h.Offset), n, err})
		}
	}
	return bad, nil
}

// asDamage is a table that cannot be opened: damage, unless the disk says otherwise.
func asDamage(t *table, err, closeErr error) ([]badBlock, error) {
	if isDamage(err) || pebble.IsCorruptionError(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return []badBlock{{0, t.size, fmt.Errorf("%w: %w", ErrCorrupt, err)}}, closeErr
	}
	return nil, errors.Join(fmt.Errorf("read %s: %w", t.name(), err), closeErr)
}

// blocksOf is every block of a table that has a checksum, in the order of the file.
func blocksOf(l *sstable.Layout) []block.Handle {
	all := []block.Handle{l.TopIndex, l.RangeDel, l.RangeKey, l.ValueIndex, l.Properties, l.MetaIndex, l.BlobReferenceIndex}
	for _, h := range l.Data {
		all = append(all, h.Handle)
	}
	for _, h := range l.Filter {
		all = append(all, h.Handle)
	}
	all = append(append(all, l.Index...), l.ValueBlock...)
	all = slices.DeleteFunc(all, func(h block.Handle) bool { return h.Length == 0 })
	slices.SortFunc(all, func(a, b block.Handle) int { return cmp.Compare(a.Offset, b.Offset) })
	return slices.Compact(all)
}

// blockSum verifies a block with its trailer: one byte, then the checksum of all before. The LSM's own function looks for a flipped
// bit when it does not match, which takes minutes for a large block.
func blockSum(kind block.ChecksumType, b []byte, h block.Handle) error {
	if kind != block.ChecksumTypeCRC32c {
		return block.ValidateChecksum(kind, b, h)
	}
	n := len(b) - 4
	sum := crc32.Checksum(b[:n], castagnoli)
	sum = (sum>>15 | sum<<17) + 0xa282ead8
	if want := uint32(b[n]) | uint32(b[n+1])<<8 | uint32(b[n+2])<<16 | uint32(b[n+3])<<24; want != sum {
		return fmt.Errorf("checksum %08x, computed %08x: %w", want, sum, ErrCorrupt)
	}
	return nil
}

// holds says in words which rows or samples a table has, from its lowest and highest key.
func (t *table) holds() string {
	if len(t.from) == 0 || len(t.to) == 0 {
		return "unknown rows"
	}
	if n := t.object; n != nil {
		return fmt.Sprintf("samples of %s as generation %d sealed them", n.p, n.seal)
	}
	a, errA := keys.DecodeChunk(t.from)
	b, errB := keys.DecodeChunk(t.to)
	switch s := keys.Space(t.from[0]); {
	case errA == nil && errB == nil && a.Partition == b.Partition:
		return fmt.Sprintf("samples of %s, from tag %d of generation %d to tag %d of generation %d", a.Partition, a.Tag, a.Generation, b.Tag, b.Generation)
	case errA == nil && errB == nil:
		return fmt.Sprintf("samples from tag %d on %s to tag %d on %s", a.Tag, a.Partition, b.Tag, b.Partition)
	case s == keys.Headers:
		return "headers of chunks"
	case s == keys.Forecasts && keys.Space(t.to[0]) == s:
		return "forecast runs"
	default:
		return fmt.Sprintf("rows of spaces %02x to %02x", t.from[0], t.to[0])
	}
}
