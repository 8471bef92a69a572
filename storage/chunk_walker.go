package storage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// chunkWalkers goes through the chunks of several generations of a partition side by side, tag by tag: each generation is
// read once from end to end, where listing its tags first and looking up every chunk then would read it twice and seek
// for each.
type chunkWalkers struct {
	walkers map[uint64]*chunkWalker // by generation
}

// chunkWalker stands on a chunk of one generation.
type chunkWalker struct {
	iter *pebble.Iterator
	tag  model.TagID // of that chunk, 0 behind the last
}

// newChunkWalkers stands on the first chunk of each generation that is not sealed.
func newChunkWalkers(src *sources, p keys.Partition, gens []generation) (*chunkWalkers, error) {
	w := &chunkWalkers{walkers: map[uint64]*chunkWalker{}}
	for i := range gens {
		if gens[i].sealed {
			continue
		}
		lower := keys.AppendGeneration(nil, p, keys.Unsealed, gens[i].id)
		it, err := src.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: keys.Next(lower)})
		if err == nil {
			x := &chunkWalker{iter: it}
			w.walkers[gens[i].id] = x
			it.First()
			err = x.arrive()
		}
		if err != nil {
			return nil, errors.Join(engineError("walk chunks", err), w.close())
		}
	}
	return w, nil
}

func (w *chunkWalkers) close() (err error) {
	for _, x := range w.walkers {
		err = errors.Join(err, x.iter.Close())
	}
	return err
}

// next is the first tag behind one that has a chunk, 0 for none.
func (w *chunkWalkers) next(behind model.TagID) (tag model.TagID, err error) {
	for _, x := range w.walkers {
		for x.tag != 0 && x.tag <= behind {
			x.iter.Next()
			if err := x.arrive(); err != nil {
				return 0, err
			}
		}
		if x.tag != 0 && (tag == 0 || x.tag < tag) {
			tag = x.tag
		}
	}
	return tag, nil
}

// arrive notes where the walker came to.
func (x *chunkWalker) arrive() error {
	if x.tag = 0; !x.iter.Valid() {
		return engineError("walk chunks", x.iter.Error())
	}
	c, err := keys.DecodeChunk(x.iter.Key())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	x.tag = c.Tag
	return nil
}

// find is the chunk of a key of a generation, which is the one the walker stands on or, mostly, the next. The bytes hold
// until another chunk of that generation is asked for.
func (w *chunkWalkers) find(generation uint64, key []byte) ([]byte, error) {
	x := w.walkers[generation]
	if x == nil {
		return nil, pebble.ErrNotFound
	}
	at := func() bool { return x.iter.Valid() && bytes.Equal(x.iter.Key(), key) }
	if !at() && !(x.iter.Valid() && x.iter.Next() && at()) {
		x.iter.SeekGE(key) // also behind damage, which may be of the chunk before
	}
	if err := x.arrive(); err != nil {
		return nil, err
	}
	if !at() {
		return nil, pebble.ErrNotFound
	}
	return x.iter.ValueAndErr()
}
