package storage

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// rollupRows finds the rollup rows of one tag. Asked for days in ascending order it reads on from one to the next.
type rollupRows struct {
	src    *sources
	tag    model.TagID
	iters  [numLevels]*pebble.Iterator
	begun  [numLevels]bool
	values [numLevels][]byte
}

// rollupFound is a row, of no generation where there is none. A row without value says that there are no rollups.
type rollupFound struct {
	generation uint64
	value      []byte // holds until the next row of the level is asked for
}

func (r *rollupRows) close() {
	for _, it := range r.iters {
		if it != nil {
			_ = it.Close()
		}
	}
}

// nextDays is how many rows are passed over before it is cheaper to seek.
const nextDays = 4

// find is the row of a day that counts: of the newest seal that gens, the partition's, have. each sees all rows of the day.
func (r *rollupRows) find(level byte, p keys.Partition, gens []generation, each func(keys.Header)) (found rollupFound, err error) {
	it := r.iters[level]
	if it == nil {
		if it, err = r.src.engine.NewIter(&pebble.IterOptions{
			LowerBound: []byte{byte(keys.Headers)}, UpperBound: []byte{byte(keys.Headers) + 1},
		}); err != nil {
			return found, engineError("find rollups", err)
		}
		r.iters[level] = it
	}
	start := p.Range().Start
	prefix := keys.AppendTime(keys.AppendHeaders(nil, keys.Period(start), level, r.tag, 0), start)
	ok := false
	if r.begun[level] {
		ok = it.Valid()
		for range nextDays {
			if !ok || string(it.Key()) >= string(prefix) {
				break
			}
			ok = it.Next()
		}
	}
	if !r.begun[level] || ok && string(it.Key()) < string(prefix) {
		ok = it.SeekGE(prefix)
	}
	r.begun[level] = true
	for ; ok; ok = it.Next() {
		key := it.Key()
		if len(key) < len(prefix) || string(key[:len(prefix)]) != string(prefix) {
			break
		}
		h, err := keys.DecodeHeader(key)
		if err != nil {
			return rollupFound{}, fmt.Errorf("find rollups: %w: %w", ErrCorrupt, err)
		}
		if each != nil {
			each(h)
		}
		if h.Generation <= r.src.newest && isSealed(gens, h.Generation) && h.Generation >= found.generation {
			r.values[level] = append(r.values[level][:0], it.Value()...)
			found = rollupFound{h.Generation, r.values[level]}
		}
	}
	return found, engineError("find rollups", it.Error())
}
