package storage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync/atomic"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// generation is what one generation put into one partition. A sealed one holds what all generations up to it, sealed
// ones below it included, have of the tags it wrote; see seal.go.
type generation struct {
	id          uint64 // highest log offset in it
	first, last int64  // times of its samples, removals and versions
	samples     uint64
	bytes       uint64 // of chunk and packed values
	versions    uint64 // bytes of version and deletion values
	ingest      int64  // ingest time of its last record; of a sealed one that of the newest generation in it
	folded      uint64 // what Erase records up to this offset take is gone from it; of sealed ones only
	packed      bool
	hasVersions bool
	deletions   bool
	sealed      bool
	thinned     bool   // of some tags only rollups are left; of sealed ones only
	moved       uint64 // bytes of the object that has its chunks; 0: the LSM has them, see tier.go
}

// directory says which generations a partition consists of. It is small, kept in memory, and never changed: a change makes
// another one, so that a view keeps the one it was taken with.
type directory struct {
	parts   []partition // ascending
	samples uint64
	held    *holders
}

// holders counts who reads by a directory, so that objects of the tier outlast those who may read them. Its fields change
// under DB.mu, but for the count, which only falls without it.
type holders struct {
	count  atomic.Int64
	before *holders // of directories that named what this one does not
}

// after is the holders of a directory that takes the place of another one.
func (h *holders) after() *holders {
	for h != nil && h.count.Load() == 0 {
		h = h.before
	}
	return &holders{before: h}
}

// older reports whether anybody reads by a directory before.
func (h *holders) older() bool { return h.after().before != nil }

// partition is the generations of one partition: sealed ones, then those newer than all of them. Never changed.
type partition struct {
	name keys.Partition
	gens []generation // ascending by id
}

func compareParts(p partition, name keys.Partition) int { return p.name.Compare(name) }

// of is the generations of a partition, ascending by id.
func (d *directory) of(p keys.Partition) []generation {
	if i, found := slices.BinarySearchFunc(d.parts, p, compareParts); found {
		return d.parts[i].gens
	}
	return nil
}

// with is the directory with one more generation in each of several partitions. One that is no newer than what is there
// is left out: the replay of what was durable already.
func (d *directory) with(added map[keys.Partition]*generation) directory {
	next := directory{parts: slices.Clone(d.parts), samples: d.samples, held: d.held}
	for p, g := range added {
		i, found := slices.BinarySearchFunc(next.parts, p, compareParts)
		if !found {
			next.parts = slices.Insert(next.parts, i, partition{name: p})
		}
		list := next.parts[i].gens
		if n := len(list); n > 0 && list[n-1].id >= g.id {
			continue
		}
		next.parts[i].gens = append(slices.Clip(list), *g)
		next.samples += g.samples
	}
	return next
}

// replaced is the directory with other generations for one partition.
func (d *directory) replaced(p keys.Partition, gens []generation) directory {
	next := directory{parts: slices.Clone(d.parts), held: d.held.after()}
	i, found := slices.BinarySearchFunc(next.parts, p, compareParts)
	switch {
	case found && len(gens) == 0:
		next.parts = slices.Delete(next.parts, i, i+1)
	case found:
		next.parts[i].gens = gens
	case len(gens) > 0:
		next.parts = slices.Insert(next.parts, i, partition{p, gens})
	}
	next.sum()
	return next
}

// sum counts samples.
func (d *directory) sum() {
	d.samples = 0
	for _, p := range d.parts {
		for _, g := range p.gens {
			d.samples += g.samples
		}
	}
}

// sealedThrough is the newest sealed generation of a partition: what older unsealed ones had is in sealed ones.
func sealedThrough(gens []generation) uint64 {
	for i := len(gens) - 1; i >= 0; i-- {
		if gens[i].sealed {
			return gens[i].id
		}
	}
	return 0
}

// foldedThrough is the offset up to which Erase records have been folded into a partition.
func foldedThrough(gens []generation) (offset uint64) {
	for _, g := range gens {
		offset = max(offset, g.folded)
	}
	return offset
}

// object is the object of the tier that has what a seal wrote of a partition, if it was moved there.
func (d *directory) object(p keys.Partition, seal uint64) (objectName, bool) {
	gens := d.of(p)
	i, found := slices.BinarySearchFunc(gens, seal, func(g generation, id uint64) int { return cmp.Compare(g.id, id) })
	if !found || !gens[i].sealed || gens[i].moved == 0 {
		return objectName{}, false
	}
	return objectName{p, seal, gens[i].moved}, true
}

// objects is the objects of the tier as tables to be checked, numbered in their order behind all tables that an LSM can have.
func (d *directory) objects() (out []table) {
	for _, p := range d.parts {
		for _, g := range p.gens {
			if g.moved == 0 {
				continue
			}
			first := keys.Chunk{Partition: p.name, Kind: keys.Sealed, Generation: g.id, Start: p.name.Range().Start, End: p.name.Range().Start}
			key := first.Append(nil)
			out = append(out, table{firstObject + uint64(len(out)), int64(g.moved), key, key, &objectName{p.name, g.id, g.moved}})
		}
	}
	return out
}

// firstObject is above every number of a table.
const firstObject = 1 << 48

// isSealed reports whether a generation is one of the sealed ones of a partition.
func isSealed(gens []generation, id uint64) bool {
	i, found := slices.BinarySearchFunc(gens, id, func(g generation, id uint64) int { return cmp.Compare(g.id, id) })
	return found && gens[i].sealed
}

// withoutSealed leaves out generations whose contents are in sealed ones: a crash came before they were cleared away.
func withoutSealed(gens []generation) []generation {
	through := sealedThrough(gens)
	return slices.DeleteFunc(gens, func(g generation) bool { return !g.sealed && g.id <= through })
}

// overlapping is the generations up to newest that hold anything of a range.
func overlapping(gens []generation, in model.TimeRange, newest uint64, dst []generation) []generation {
	for _, g := range gens {
		if g.id <= newest && in.Overlaps(g.first, g.last) {
			dst = append(dst, g)
		}
	}
	return dst
}

// Directory rows are version 1: first, last, samples, bytes, version bytes, ingest time, folded, moved, flags, CRC-32C of all
// before it.
const (
	directoryVersion   = 1
	directorySize      = 1 + 8*8 + 1 + 4
	directoryPacked    = 1
	directoryVersions  = 2
	directoryDeletions = 4
	directorySealed    = 8
	directoryThinned   = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (g *generation) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, directoryVersion)
	for _, v := range []uint64{uint64(g.first), uint64(g.last), g.samples, g.bytes, g.versions, uint64(g.ingest), g.folded, g.moved} {
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
	if g.sealed {
		flags |= directorySealed
	}
	if g.thinned {
		flags |= directoryThinned
	}
	dst = append(dst, flags)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

func decodeGeneration(id uint64, b []byte) (generation, error) {
	if err := checkRow(b, directoryVersion, directorySize); err != nil {
		return generation{}, fmt.Errorf("read directory row of generation %d: %w", id, err)
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	flags := b[65]
	if u(7) > 0 && flags&directorySealed == 0 {
		return generation{}, fmt.Errorf("read directory row of generation %d: %d bytes moved of what is not sealed: %w", id, u(7), ErrCorrupt)
	}
	return generation{
		id: id, first: int64(u(0)), last: int64(u(1)), samples: u(2), bytes: u(3), versions: u(4), ingest: int64(u(5)), folded: u(6),
		packed: flags&directoryPacked != 0, hasVersions: flags&directoryVersions != 0, deletions: flags&directoryDeletions != 0,
		sealed: flags&directorySealed != 0, thinned: flags&directoryThinned != 0, moved: u(7),
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
