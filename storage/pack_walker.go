package storage

import (
	"errors"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
)

// packWalkers finds packed chunks for who asks for tags in ascending order: each generation's blocks are read once, side by
// side, where looking up every tag of every generation would cost a seek each.
type packWalkers struct {
	src     *sources
	walkers map[packName]*packWalker
}

type packName struct {
	kind       keys.Kind
	generation uint64
}

// packWalker stands in the packed blocks of one generation.
type packWalker struct {
	iter    rows
	entries chunk.Entries
	tag     model.TagID // of the entry at hand, 0 for none
	chunk   []byte
}

func newPackWalkers(src *sources) *packWalkers {
	return &packWalkers{src: src, walkers: map[packName]*packWalker{}}
}

func (w *packWalkers) close() (err error) {
	for _, x := range w.walkers {
		err = errors.Join(err, x.iter.Close())
	}
	return err
}

// find is the chunk of a tag; the bytes hold until a later tag of the same generation is asked for.
func (w *packWalkers) find(p keys.Partition, k keys.Kind, generation uint64, tag model.TagID) ([]byte, bool, error) {
	name := packName{k, generation}
	x := w.walkers[name]
	if x == nil {
		lower := keys.AppendGeneration(nil, p, k, generation)
		it, err := w.src.rows(p, k, generation, lower, keys.Next(lower))
		if err != nil {
			return nil, false, engineError("walk packed chunks", err)
		}
		x = &packWalker{iter: it}
		w.walkers[name] = x
		if it.First() {
			err = x.open()
		}
		if err := errors.Join(err, engineError("walk packed chunks", it.Error())); err != nil {
			return nil, false, err
		}
	}
	for x.tag != 0 && x.tag < tag {
		if err := x.next(); err != nil {
			return nil, false, err
		}
	}
	return x.chunk, x.tag == tag, nil
}

// open begins the block that the iterator stands on.
func (x *packWalker) open() (err error) {
	if x.entries, err = chunk.OpenPack(x.iter.Value()); err != nil {
		return err
	}
	return x.next()
}

// next goes to the next entry, which may be in the next block.
func (x *packWalker) next() error {
	tag, b, ok, err := x.entries.Next()
	if err != nil {
		return err
	}
	if ok {
		x.tag, x.chunk = tag, b
		return nil
	}
	x.tag, x.chunk = 0, nil
	if x.iter.Next() {
		return x.open()
	}
	return engineError("walk packed chunks", x.iter.Error())
}
