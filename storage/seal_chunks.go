package storage

import (
	"context"
	"slices"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
)

// sealedOwn is which part of a full chunk a tag needs in a partition for one of its own.
const sealedOwn = 64

// chunkWriter cuts the samples of one tag after the other into sealed chunks.
type chunkWriter struct {
	sealing *sealing
	most    int // samples of a chunk
	tag     model.TagID
	packs   bool // all there is of the tag is being rewritten, so that it may become a packed chunk
	regions int  // begun
	written int  // chunks and empty stretches

	pending, spare chunk.Data // samples of the region, those from start on not yet written; spare is memory
	start          int
	low, high      int64 // what the region answers for
	from           int64 // what the next chunk answers for begins here

	encoder  chunk.SealedEncoder
	value    []byte
	pack     chunk.Packer
	packTag  model.TagID
	packSpan [2]int64
}

func (w *chunkWriter) begin(tag model.TagID, packs bool) {
	w.tag, w.packs, w.regions, w.written = tag, packs, 0, 0
}

// region begins a stretch of instants that chunks will answer for without holes.
func (w *chunkWriter) region(low, high int64) {
	w.regions++
	w.low, w.high, w.from, w.start = low, high, low, 0
	empty(&w.pending, 0)
}

// empty takes the samples out of d and keeps all of its memory, which no reader has.
func empty(d *chunk.Data, t model.Type) {
	d.Samples.Reset(t)
	d.Origins = d.Origins[:0]
}

// left is how many samples are not written yet.
func (w *chunkWriter) left() int { return w.pending.Len() - w.start }

// add takes more samples of the region.
func (w *chunkWriter) add(ctx context.Context, b *Block) error {
	if b.Len() == 0 {
		return nil
	}
	d := &w.pending
	if d.Len() == 0 {
		d.Samples.Reset(b.Type)
	}
	n := d.Len()
	appendSamples(d, &chunk.Data{Samples: b.Samples}, 0, b.Len())
	for i := n; i < len(d.Blobs); i++ {
		d.Blobs[i] = slices.Clone(d.Blobs[i]) // the block's memory is used again
	}
	for _, o := range b.Origins {
		addOrigin(d, o, o.Samples)
	}
	for w.left() >= 2*w.most {
		if err := w.cut(ctx, w.most); err != nil {
			return err
		}
	}
	if w.start >= 4*w.most {
		empty(&w.spare, d.Type)
		appendSamples(&w.spare, d, w.start, d.Len())
		w.spare.Origins = append(w.spare.Origins, cutOrigins(d.Origins, w.start, d.Len())...)
		w.pending, w.spare, w.start = w.spare, w.pending, 0
	}
	return nil
}

// cut writes about the next n samples as a chunk. Samples of one time stay together while a chunk can hold them.
func (w *chunkWriter) cut(ctx context.Context, n int) error {
	d := &w.pending
	times := d.Times[w.start:]
	for n < len(times) && times[n] == times[n-1] {
		n++
	}
	n = min(n, chunk.MaxSamples)
	next, to := w.high, w.high
	if n < len(times) {
		next = times[n]
		to = max(times[n-1], next-1)
	}
	s := d.Samples.Slice(w.start, w.start+n)
	err := w.own(ctx, &s, cutOrigins(d.Origins, w.start, w.start+n), w.from, to)
	w.from = next
	w.start += n
	return err
}

// own writes a chunk, perhaps without samples, that answers for [from, to].
func (w *chunkWriter) own(ctx context.Context, s *model.Samples, origins []chunk.Origin, from, to int64) error {
	g := w.sealing
	w.written++
	v := headerValue{length: uint64(to - from), before: uint64(to - from)}
	c := keys.Chunk{Partition: g.p, Kind: keys.Sealed, Generation: g.through, Tag: w.tag, Start: from, End: to}
	if n := s.Len(); n > 0 {
		w.value = w.encoder.Append(w.value[:0], s, origins)
		c.Seq = s.SeqAt(0)
		v.count, v.bytes = uint64(n), uint64(len(w.value))
		v.before, v.after = uint64(s.Times[0]-from), uint64(to-s.Times[n-1])
		if err := g.tables.add(ctx, keys.Sealed, c.Append(nil), w.value); err != nil {
			return err
		}
	}
	g.entry.samples += v.count
	g.entry.bytes += v.bytes
	h := c.Header()
	return g.tables.header(ctx, h.Append(nil), v.append(nil, c.Kind))
}

// endRegion writes what is left of the region, unless all there is of the tag fits a packed chunk.
func (w *chunkWriter) endRegion(ctx context.Context) error {
	if w.packs && w.written == 0 && w.left() < w.most/sealedOwn {
		return nil // there is one region, see end
	}
	if w.pending.Len() == 0 {
		return w.own(ctx, &model.Samples{}, nil, w.low, w.high)
	}
	for w.left() > 0 {
		n := w.left()
		if n > w.most*3/2 {
			n /= 2
		}
		if err := w.cut(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// end ends the tag. One with few samples gets a packed chunk; one without any gets an empty one, which says so.
func (w *chunkWriter) end(ctx context.Context) error {
	if !w.packs || w.written > 0 || w.regions == 0 {
		return nil
	}
	d := &w.pending
	w.value = w.value[:0]
	first, last := w.low, w.low
	if n := d.Len(); n > 0 {
		w.value = w.encoder.Append(w.value, &d.Samples, d.Origins)
		first, last = d.Times[0], d.Times[n-1]
	}
	if w.pack.Len() == 0 {
		w.packTag, w.packSpan = w.tag, [2]int64{first, last}
	}
	w.packSpan = [2]int64{min(w.packSpan[0], first), max(w.packSpan[1], last)}
	w.pack.Add(w.tag, w.value)
	g := w.sealing
	g.entry.samples += uint64(d.Len())
	g.entry.bytes += uint64(len(w.value))
	g.entry.packed = true
	if w.pack.Bytes() < packBytes {
		return nil
	}
	return w.endPack(ctx)
}

func (w *chunkWriter) endPack(ctx context.Context) error {
	if w.pack.Len() == 0 {
		return nil
	}
	g := w.sealing
	c := keys.Chunk{Partition: g.p, Kind: keys.SealedPacked, Generation: g.through, Tag: w.packTag, Start: w.packSpan[0], End: w.packSpan[1]}
	return g.tables.add(ctx, keys.SealedPacked, c.Append(nil), w.pack.Finish(nil))
}
