package storage

import (
	"bytes"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/varvedb/varve/storage/keys"
)

// rows is keys and values in order, of the LSM or of an object of the tier. Bytes hold until it moves. Whoever is at an end asks
// Error why.
type rows interface {
	First() bool
	Next() bool
	SeekLT(key []byte) bool
	Key() []byte
	Value() []byte
	Error() error
	Close() error
}

var _ rows = (*pebble.Iterator)(nil)

// rows is what a generation has of a partition from lower to upper, wherever it lies. All that reads sealed chunks, packed
// blocks or versions asks here, or [sources.get].
func (s *sources) rows(p keys.Partition, k keys.Kind, generation uint64, lower, upper []byte) (rows, error) {
	if n, moved := s.moved(p, k, generation); moved {
		return s.db.tier.rows(n, lower, upper)
	}
	it, err := s.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return it, nil
}

// get is the value of a chunk, until it is closed, or pebble.ErrNotFound.
func (s *sources) get(c *keys.Chunk) ([]byte, io.Closer, error) {
	key := c.Append(nil)
	n, moved := s.moved(c.Partition, c.Kind, c.Generation)
	if !moved {
		return s.engine.Get(key)
	}
	it, err := s.db.tier.rows(n, key, nil)
	if err != nil {
		return nil, nil, err
	}
	v, err := valueAt(it, key)
	if err != nil {
		return nil, nil, errors.Join(err, it.Close())
	}
	return v, it, nil
}

// moved is the object that has what a generation wrote of a kind, if that is not in the LSM.
func (s *sources) moved(p keys.Partition, k keys.Kind, generation uint64) (objectName, bool) {
	if !k.Sealed() {
		return objectName{}, false
	}
	return s.directory.object(p, generation)
}

// valueAt is the value of a key, looked up.
func valueAt(it *tierRows, key []byte) ([]byte, error) {
	if !it.seek(key) || !bytes.Equal(it.Key(), key) {
		if err := it.Error(); err != nil {
			return nil, err
		}
		return nil, pebble.ErrNotFound
	}
	return it.Value(), nil
}

// coldRows is the cursor's rows of an object, which it keeps open while it is in the partition.
func (c *Cursor) coldRows(n objectName, lower, upper []byte) (*tierRows, error) {
	if len(c.cold) > 0 && c.cold[0].object.name.p != n.p {
		c.closeCold()
	}
	for _, it := range c.cold {
		if it.object.name == n {
			it.lower, it.upper, it.err = lower, upper, nil
			return it, nil
		}
	}
	it, err := c.src.db.tier.rows(n, lower, upper)
	if err == nil {
		c.cold = append(c.cold, it)
	}
	return it, err
}

func (c *Cursor) closeCold() {
	for _, it := range c.cold {
		_ = it.Close() // what it says reads have said
	}
	c.cold = c.cold[:0]
}

// rows is the cursor's own rows of a generation with new bounds.
func (c *Cursor) rows(p keys.Partition, k keys.Kind, generation uint64, lower, upper []byte) (rows, error) {
	if n, moved := c.src.moved(p, k, generation); moved {
		it, err := c.coldRows(n, lower, upper)
		if err != nil {
			return nil, err
		}
		return it, nil
	}
	it, err := c.iterator(lower, upper)
	if err != nil {
		return nil, err
	}
	return it, nil
}

// tierRows is rows of an object from lower to upper; nil for no bound.
type tierRows struct {
	tier         *tiering
	object       *object
	it           sstable.Iterator
	lower, upper []byte
	key, value   []byte
	buf          []byte
	err          error
}

func (t *tiering) rows(n objectName, lower, upper []byte) (*tierRows, error) {
	o, err := t.acquire(n)
	if err != nil {
		return nil, err
	}
	it, err := o.reader.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return nil, errors.Join(t.damage(n, err), t.release(o))
	}
	return &tierRows{tier: t, object: o, it: it, lower: lower, upper: upper}, nil
}

func (r *tierRows) First() bool { return r.seek(r.lower) }

// seek goes to the first key not below key.
func (r *tierRows) seek(key []byte) bool {
	kv := r.it.SeekGE(key, 0)
	if kv == nil {
		return r.end()
	}
	v, _, err := kv.Value(r.buf)
	return r.at(kv.K.UserKey, v, err)
}

func (r *tierRows) Next() bool {
	kv := r.it.Next()
	if kv == nil {
		return r.end()
	}
	v, _, err := kv.Value(r.buf)
	return r.at(kv.K.UserKey, v, err)
}

// SeekLT goes to the last key below key.
func (r *tierRows) SeekLT(key []byte) bool {
	if r.upper != nil && bytes.Compare(key, r.upper) > 0 {
		key = r.upper
	}
	kv := r.it.SeekLT(key, 0)
	if kv == nil {
		return r.end()
	}
	v, _, err := kv.Value(r.buf)
	return r.at(kv.K.UserKey, v, err)
}

func (r *tierRows) at(key, value []byte, err error) bool {
	if r.key, r.value = key, value; err != nil {
		return r.fail(err)
	}
	return bytes.Compare(key, r.lower) >= 0 && (r.upper == nil || bytes.Compare(key, r.upper) < 0)
}

func (r *tierRows) end() bool {
	r.key, r.value = nil, nil
	if err := r.it.Error(); err != nil {
		return r.fail(err)
	}
	return false
}

func (r *tierRows) fail(err error) bool {
	r.err = r.tier.damage(r.object.name, err)
	r.tier.mu.Lock()
	r.object.spoilt = true
	r.tier.mu.Unlock()
	return false
}

func (r *tierRows) Key() []byte { return r.key }

func (r *tierRows) Value() []byte { return r.value }

func (r *tierRows) Error() error { return r.err }

// Close gives the object back. Reading has said what is wrong with it.
func (r *tierRows) Close() error {
	_ = r.it.Close()
	return r.tier.release(r.object)
}
