package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
)

// Content is what a store holds of one tag in one partition, whatever generations, seals and codecs hold it: two stores of
// one log have equal contents. docs/format/content.md defines the hash.
type Content struct {
	Partition   keys.Partition
	Tag         model.TagID
	Samples     uint64 // that stand
	Versions    uint64 // of the keys with a history, those that stand included
	First, Last int64  // times of all of these
	Hash        uint64
}

// Contents is the contents of the partitions that meet a range, ascending by partition, then tag. Where damage keeps one
// from being known there is an error in its place, a RangeError, and what follows goes on behind it; any other error is the
// last. The view must stay open.
func (v *View) Contents(ctx context.Context, in model.TimeRange) iter.Seq2[Content, error] {
	return func(yield func(Content, error) bool) {
		if err := v.src.contents(ctx, in, yield); err != nil {
			yield(Content{}, err)
		}
	}
}

// Offset is the highest log offset that the view holds.
func (v *View) Offset() uint64 { return v.src.offset }

// contents yields what is, or cannot be, known of every tag and partition. It ends early where yield says so.
func (s *sources) contents(ctx context.Context, in model.TimeRange, yield func(Content, error) bool) error {
	parts, err := s.tagsByPartition(ctx, in)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if more, err := s.partitionContents(ctx, p, yield); err != nil || !more {
			return err
		}
	}
	return nil
}

// partTags is the tags that may have anything in a partition.
type partTags struct {
	name keys.Partition
	tags *roaring.Bitmap
}

// tagsByPartition is the partitions that meet a range, ascending, and the tags in each.
func (s *sources) tagsByPartition(ctx context.Context, in model.TimeRange) ([]partTags, error) {
	in.Reverse = false
	found := map[keys.Partition]*roaring.Bitmap{}
	for tag := model.TagID(1); int(tag) <= s.db.catalog.Len(); tag++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		names, err := s.partitionsOf(tag, in)
		if err != nil {
			return nil, err
		}
		for _, p := range names {
			if found[p] == nil {
				found[p] = roaring.New()
			}
			found[p].Add(uint32(tag))
		}
	}
	parts := make([]partTags, 0, len(found))
	for p, tags := range found {
		parts = append(parts, partTags{p, tags})
	}
	slices.SortFunc(parts, func(a, b partTags) int { return a.name.Compare(b.name) })
	return parts, nil
}

func (s *sources) partitionContents(ctx context.Context, p partTags, yield func(Content, error) bool) (more bool, err error) {
	h := newContentHasher(s, p.name)
	defer h.close()
	for it := p.tags.Iterator(); it.HasNext(); {
		tag := model.TagID(it.Next())
		c, err := h.tag(ctx, tag)
		switch {
		case err != nil && !isDamage(err):
			return false, err
		case err == nil && c.Samples == 0 && c.Versions == 0:
			continue
		}
		if !yield(c, err) {
			return false, nil
		}
	}
	return true, nil
}

// contentHasher works out the contents of one partition, tag by tag in ascending order.
type contentHasher struct {
	p      keys.Partition
	cursor *Cursor // of what stands
	before *Cursor // of what happened to keys that have a history
	told   bool    // of the tag at hand: some key may have one

	samples, versions digest
	content           Content
}

func newContentHasher(s *sources, p keys.Partition) *contentHasher {
	h := &contentHasher{p: p, cursor: s.cursor(0, model.TimeRange{}), before: s.cursor(0, model.TimeRange{})}
	h.cursor.in, h.cursor.packs = p.Range(), newPackWalkers(s)
	h.cursor.met = func(model.Sample, chunk.Origin, uint64) { h.told = true }
	h.before.packs = h.cursor.packs // the same tags in the same order
	h.before.past = &past{asOf: math.MaxInt64, keys: metKeys, settled: h.take}
	return h
}

// close lets go of what it reads from. What closing says was said by the reads.
func (h *contentHasher) close() {
	h.cursor.Close()
	h.before.Close()
	h.dropPacks()
}

func (h *contentHasher) dropPacks() {
	if h.cursor.packs != nil {
		_ = h.cursor.packs.close()
		h.cursor.packs, h.before.packs = nil, nil
	}
}

// tag is the content of one tag.
func (h *contentHasher) tag(ctx context.Context, tag model.TagID) (Content, error) {
	h.content = Content{Partition: h.p, Tag: tag, First: math.MaxInt64, Last: math.MinInt64}
	if err := h.read(ctx, tag); err != nil {
		h.dropPacks() // they do not go on behind damage: from here on each tag looks for itself
		return h.content, err
	}
	h.content.Samples, h.content.Versions = h.samples.count, h.versions.count
	h.content.Hash = contentHash(&h.samples, &h.versions)
	return h.content, nil
}

func (h *contentHasher) read(ctx context.Context, tag model.TagID) error {
	c := h.cursor
	h.samples.reset()
	h.versions.reset()
	c.reset(tag)
	if err := c.list(h.p); err != nil {
		return c.damaged(h.p.Range(), err)
	}
	rows, err := c.history(h.p)
	if err != nil {
		return c.damaged(h.p.Range(), err)
	}
	h.told = len(rows) > 0 || len(c.open) > 0
	for i := range c.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		g := &c.groups[i]
		h.told = h.told || slices.ContainsFunc(g.pieces, func(x piece) bool { return len(x.gone) > 0 })
		if err := c.deliver(g); err != nil {
			return c.damaged(model.TimeRange{Start: g.first, End: g.last + 1}, err)
		}
		h.block(&c.block.Samples)
	}
	if !h.told {
		return nil
	}
	h.before.Reset(tag, h.p.Range())
	for {
		if _, err := h.before.Next(ctx); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// take takes what happened to some keys, ascending, each oldest first.
func (h *contentHasher) take(events []event) {
	for from := 0; from < len(events); {
		to := from + 1
		for to < len(events) && events[from].key() == events[to].key() {
			to++
		}
		h.key(events[from:to])
		from = to
	}
}

// block takes standing samples, ascending.
func (h *contentHasher) block(s *model.Samples) {
	for i := range s.Times {
		x := s.At(i)
		h.samples.sample(&x)
	}
	if n := s.Len(); n > 0 {
		h.span(s.Times[0], s.Times[n-1])
	}
}

func (h *contentHasher) span(first, last int64) {
	h.content.First, h.content.Last = min(h.content.First, first), max(h.content.Last, last)
}

// key takes the versions of one key, unless it is a value that stands since it was inserted and nobody gave a reason.
func (h *contentHasher) key(versions []event) {
	if v := &versions[0]; len(versions) == 1 && v.Kind == model.Inserted && v.Author == "" && v.Reason == "" {
		return
	}
	for i := range versions {
		h.versions.version(&versions[i])
	}
	h.span(versions[0].Time, versions[0].Time)
}

// contentVersion begins what is hashed. It grows when a release hashes something else.
const contentVersion = 1

// contentHash is the hash of a tag in a partition.
func contentHash(samples, versions *digest) uint64 {
	b := append(make([]byte, 0, 33), contentVersion)
	for _, v := range []uint64{samples.count, samples.sum(), versions.count, versions.sum()} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return xxhash.Sum64(b)
}

// digest is XXH64 over samples or versions, with how many they are.
type digest struct {
	hash  xxhash.Digest
	count uint64
	buf   []byte
}

const digestBuffer = 16 << 10

func (d *digest) reset() {
	d.hash.Reset()
	d.count, d.buf = 0, d.buf[:0]
}

func (d *digest) sum() uint64 {
	d.flush()
	return d.hash.Sum64()
}

func (d *digest) flush() {
	_, _ = d.hash.Write(d.buf) // never fails
	d.buf = d.buf[:0]
}

func (d *digest) sample(x *model.Sample) {
	d.buf = appendContentSample(d.buf, x)
	d.end()
}

func (d *digest) version(e *event) {
	x := e.Sample
	if e.Kind == model.Removed {
		x = model.Sample{Time: e.Time, Type: e.Type, Seq: e.Seq, Null: true}
	}
	d.buf = appendContentSample(append(d.buf, byte(e.Kind)), &x)
	for _, text := range []string{e.Author, e.Reason} {
		d.buf = append(binary.LittleEndian.AppendUint32(d.buf, uint32(len(text))), text...)
	}
	d.end()
}

func (d *digest) end() {
	d.count++
	if len(d.buf) >= digestBuffer {
		d.flush()
	}
}

// contentNull is added to the type of a sample without a value.
const contentNull = 0x80

func appendContentSample(b []byte, x *model.Sample) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(x.Time))
	b = binary.LittleEndian.AppendUint32(b, x.Seq)
	b = binary.LittleEndian.AppendUint32(b, uint32(x.Quality))
	switch {
	case x.Null:
		return append(b, byte(x.Type)|contentNull)
	case x.Type.Blob():
		b = binary.LittleEndian.AppendUint32(append(b, byte(x.Type)), uint32(len(x.Blob)))
		return append(b, x.Blob...)
	}
	return binary.LittleEndian.AppendUint64(append(b, byte(x.Type)), x.Bits)
}
