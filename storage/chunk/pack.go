package chunk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varvedb/varve/model"
)

// Packer puts chunks of several tags in one value: tags with few samples would each cost a key of their own otherwise.
// Its zero value is ready; it keeps its memory from one pack to the next.
type Packer struct {
	directory []byte
	chunks    []byte
	n         int
	last      model.TagID
}

// Add adds the chunk of a tag, which must be greater than the one before; anything else is a mistake of the caller, and
// panics. The bytes are copied.
func (p *Packer) Add(tag model.TagID, encoded []byte) {
	if tag <= p.last {
		panic(fmt.Sprintf("pack chunks: tag %d behind tag %d", tag, p.last))
	}
	p.directory = binary.AppendUvarint(p.directory, uint64(tag-p.last))
	p.directory = binary.AppendUvarint(p.directory, uint64(len(encoded)))
	p.chunks = append(p.chunks, encoded...)
	p.last = tag
	p.n++
}

// Len is how many chunks were added.
func (p *Packer) Len() int { return p.n }

// Bytes is about how large the pack is so far, never less.
func (p *Packer) Bytes() int {
	return 1 + binary.MaxVarintLen32 + len(p.directory) + crcBytes + len(p.chunks)
}

// Finish appends the pack to dst and empties p.
func (p *Packer) Finish(dst []byte) []byte {
	from := len(dst)
	dst = binary.AppendUvarint(append(dst, kindPack|version), uint64(len(p.directory)))
	dst = seal(append(dst, p.directory...), from)
	dst = append(dst, p.chunks...)
	*p = Packer{directory: p.directory[:0], chunks: p.chunks[:0]}
	return dst
}

// Entries walks over the chunks of a pack, tags ascending.
type Entries struct {
	directory []byte
	chunks    []byte // those not yet walked over
	tag       model.TagID
}

// OpenPack checks directory and sizes of a pack; the chunks have checksums of their own.
func OpenPack(b []byte) (Entries, error) {
	if len(b) == 0 {
		return Entries{}, fmt.Errorf("no bytes: %w", ErrCorrupt)
	}
	size, rest, err := uvarint(b[1:], "size of directory")
	if err != nil {
		return Entries{}, err
	}
	if size > uint64(len(rest)) || len(rest)-int(size) < crcBytes {
		return Entries{}, fmt.Errorf("directory of %d bytes in %d: %w", size, len(b), ErrCorrupt)
	}
	end := len(b) - len(rest) + int(size)
	if got, sum := crc32.Checksum(b[:end], castagnoli), binary.LittleEndian.Uint32(b[end:]); got != sum {
		return Entries{}, fmt.Errorf("checksum of directory is %08x, stored is %08x: %w", got, sum, ErrCorrupt)
	}
	if err := checkFirst(b[0], kindPack); err != nil {
		return Entries{}, err
	}
	return Entries{directory: rest[:size], chunks: b[end+crcBytes:]}, nil
}

// Next is the next tag and its chunk, a part of the pack; ok is false behind the last.
func (e *Entries) Next() (tag model.TagID, chunk []byte, ok bool, err error) {
	if len(e.directory) == 0 {
		if len(e.chunks) > 0 {
			return 0, nil, false, fmt.Errorf("%d bytes behind the last chunk: %w", len(e.chunks), ErrCorrupt)
		}
		return 0, nil, false, nil
	}
	delta, rest, err := uvarint(e.directory, "tag")
	if err != nil {
		return 0, nil, false, err
	}
	size, rest, err := uvarint(rest, "size of chunk")
	if err != nil {
		return 0, nil, false, err
	}
	if delta == 0 || delta > 1<<32-1-uint64(e.tag) || size > uint64(len(e.chunks)) {
		return 0, nil, false, fmt.Errorf("tag %d+%d with %d bytes of %d: %w", e.tag, delta, size, len(e.chunks), ErrCorrupt)
	}
	e.tag += model.TagID(delta)
	chunk, e.chunks, e.directory = e.chunks[:size:size], e.chunks[size:], rest
	return e.tag, chunk, true, nil
}

// Find is the chunk of a tag, a part of pack, and whether there is one. The chunks before it are passed over unread.
func Find(pack []byte, tag model.TagID) (chunk []byte, ok bool, err error) {
	e, err := OpenPack(pack)
	if err != nil {
		return nil, false, fmt.Errorf("find tag %d in pack: %w", tag, err)
	}
	for {
		at, chunk, more, err := e.Next()
		switch {
		case err != nil:
			return nil, false, fmt.Errorf("find tag %d in pack: %w", tag, err)
		case !more || at > tag:
			return nil, false, nil
		case at == tag:
			return chunk, true, nil
		}
	}
}

// Each calls fn with every tag and its chunk, a part of pack, tags ascending. An error of fn ends the walk and is
// returned as it is. A damaged chunk is not noticed here but by who decodes it, so the others stay readable.
func Each(pack []byte, fn func(tag model.TagID, chunk []byte) error) error {
	e, err := OpenPack(pack)
	if err != nil {
		return fmt.Errorf("walk pack: %w", err)
	}
	for {
		tag, chunk, more, err := e.Next()
		switch {
		case err != nil:
			return fmt.Errorf("walk pack: %w", err)
		case !more:
			return nil
		}
		if err := fn(tag, chunk); err != nil {
			return err
		}
	}
}
