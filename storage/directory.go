package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// generation is what one generation put into one partition.
type generation struct {
	id          uint64 // highest log offset in it
	first, last int64  // times of its samples, removals and versions
	samples     uint64
	bytes       uint64 // of chunk and packed values
	versions    uint64 // bytes of version and deletion values
	packed      bool
	hasVersions bool
	deletions   bool
}

// directory says which generations a partition consists of. It is small, kept in memory, and guarded by DB.mu.
type directory struct {
	parts   map[keys.Partition][]generation // ascending by id
	samples uint64
	count   int
}

func newDirectory() directory { return directory{parts: map[keys.Partition][]generation{}} }

func (d *directory) add(p keys.Partition, g generation) {
	list := d.parts[p]
	if n := len(list); n > 0 && list[n-1].id >= g.id {
		return // replay of a generation that was durable already
	}
	d.parts[p] = append(list, g)
	d.samples += g.samples
	d.count++
}

// overlapping is the generations of a partition up to newest that hold anything of a range.
func (d *directory) overlapping(p keys.Partition, in model.TimeRange, newest uint64, dst []generation) []generation {
	for _, g := range d.parts[p] {
		if g.id <= newest && in.Overlaps(g.first, g.last) {
			dst = append(dst, g)
		}
	}
	return dst
}

// Directory rows are version 1: first, last, samples, bytes, version bytes, flags, CRC-32C of all before it.
const (
	directoryVersion   = 1
	directorySize      = 1 + 5*8 + 1 + 4
	directoryPacked    = 1
	directoryVersions  = 2
	directoryDeletions = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (g *generation) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, directoryVersion)
	for _, v := range []uint64{uint64(g.first), uint64(g.last), g.samples, g.bytes, g.versions} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	flags := byte(0)
	if g.packed {
		flags |= directoryPacked
	}
	if g.hasVersions {
		flags |= directoryVersions
	}
	if g.deletions {
		flags |= directoryDeletions
	}
	dst = append(dst, flags)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

func decodeGeneration(id uint64, b []byte) (generation, error) {
	if err := checkRow(b, directoryVersion, directorySize); err != nil {
		return generation{}, fmt.Errorf("read directory row of generation %d: %w", id, err)
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	flags := b[41]
	return generation{
		id: id, first: int64(u(0)), last: int64(u(1)), samples: u(2), bytes: u(3), versions: u(4),
		packed: flags&directoryPacked != 0, hasVersions: flags&directoryVersions != 0, deletions: flags&directoryDeletions != 0,
	}, nil
}

// checkRow verifies a row that begins with its version and ends with the CRC-32C of all before. The checksum comes first:
// a flipped version byte is damage, which a second copy may mend, and only a sound row is of a newer release. A row of
// this version is size bytes long; of 0 it may have any length.
func checkRow(b []byte, version byte, size int) error {
	if len(b) < 5 {
		return fmt.Errorf("%d bytes, need %d: %w", len(b), max(size, 5), ErrCorrupt)
	}
	n := len(b) - 4
	if want, have := binary.LittleEndian.Uint32(b[n:]), crc32.Checksum(b[:n], castagnoli); want != have {
		return fmt.Errorf("checksum %08x, computed %08x: %w", want, have, ErrCorrupt)
	}
	switch {
	case b[0] == 0 || b[0] <= version && size > 0 && len(b) != size:
		return fmt.Errorf("%d bytes of version %d, need %d: %w", len(b), b[0], size, ErrCorrupt)
	case b[0] > version:
		return fmt.Errorf("version %d, newest known is %d: %w", b[0], version, ErrVersion)
	}
	return nil
}
