package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// Figures of what filters left out, per tag. What is left out is gone, so how far off it was is measured then and kept, in the batch of
// the generation that left it out.

// Filtered is what a compression deviation did to a tag while it was one and the same.
type Filtered struct {
	Filter   model.Filter
	First    int64  // times of the first and the last sample that went through it
	Last     int64  // inside
	Samples  uint64 // that went through it
	LeftOut  uint64
	MaxError float64 // how far the farthest one left out is from what readers find in its place, in the tag's unit; never more than the deviation
	ErrorAt  int64   // time of the sample that was kept behind that one; 0 if nothing was left out
}

// maxFiltered is how many figures a tag has. The oldest two are made one when there are more.
const maxFiltered = 64

// filteredTag is the figures of one tag. It is never changed.
type filteredTag struct {
	generation uint64 // the newest one that is in them
	figures    []Filtered
}

// Filtered is the figures of what was left out of a tag by generations written so far, oldest first. Nothing of them goes when samples
// are erased.
func (db *DB) Filtered(tag model.TagID) []Filtered {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return slices.Clone(db.filtered[tag].figures)
}

// noteFiltered notes what became of n resolved samples of a tag, in the batch. A generation that is there already, since it is
// written again over files that were copied, is not counted twice.
func (w *generationWriter) noteFiltered(tag *model.Tag, n int) error {
	times, kept := w.resolved.Times, w.thinner.kept
	x := Filtered{Filter: tag.Compression, First: times[0], Last: times[n-1], Samples: uint64(n)}
	for _, k := range kept {
		if k.Dropped > 0 && (x.LeftOut == 0 || k.MaxError > x.MaxError) {
			x.MaxError, x.ErrorAt = k.MaxError, k.Time
		}
		x.LeftOut += uint64(k.Dropped)
	}
	db := w.db
	db.mu.RLock()
	old := db.filtered[tag.ID]
	db.mu.RUnlock()
	if old.generation >= w.e.offset {
		return nil
	}
	now := filteredTag{w.e.offset, slices.Clone(old.figures)}
	if k := len(now.figures); k > 0 && now.figures[k-1].Filter == x.Filter && tag.At(now.figures[k-1].Last) == tag.At(x.First) {
		now.figures[k-1].add(&x)
	} else {
		now.figures = append(now.figures, x)
	}
	if len(now.figures) > maxFiltered {
		first := now.figures[0]
		first.add(&now.figures[1])
		now.figures = append([]Filtered{first}, now.figures[2:]...)
	}
	if w.filtered == nil {
		w.filtered = map[model.TagID]filteredTag{}
	}
	w.filtered[tag.ID] = now
	return w.batch.Set(keys.AppendTag(nil, keys.Filtered, tag.ID), now.append(nil), nil)
}

// add makes f the figures of both; y comes behind. Of two filters it has the wider.
func (f *Filtered) add(y *Filtered) {
	if y.Filter.Deviation > f.Filter.Deviation {
		f.Filter = y.Filter
	}
	if y.LeftOut > 0 && (f.LeftOut == 0 || y.MaxError > f.MaxError) {
		f.MaxError, f.ErrorAt = y.MaxError, y.ErrorAt
	}
	f.First, f.Last = min(f.First, y.First), max(f.Last, y.Last)
	f.Samples += y.Samples
	f.LeftOut += y.LeftOut
}

// Rows of figures are version 1: the newest generation that is in them, then the figures, 72 bytes each; CRC-32C of all before it.
const (
	filteredVersion = 1
	filteredSize    = 9 * 8
)

func (t *filteredTag) append(dst []byte) []byte {
	from := len(dst)
	dst = binary.LittleEndian.AppendUint64(append(dst, filteredVersion), t.generation)
	for i := range t.figures {
		f := &t.figures[i]
		for _, v := range [...]uint64{
			math.Float64bits(f.Filter.Deviation), uint64(f.Filter.MinTime), uint64(f.Filter.MaxTime), uint64(f.First), uint64(f.Last),
			f.Samples, f.LeftOut, math.Float64bits(f.MaxError), uint64(f.ErrorAt),
		} {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// decodeFiltered reads a row, its key without the space.
func decodeFiltered(key, b []byte) (tag model.TagID, t filteredTag, err error) {
	if err := checkRow(b, filteredVersion, 0); err != nil {
		return 0, t, fmt.Errorf("read figures of a filter: %w", err)
	}
	n := len(b) - 13
	if len(key) != 4 || n < filteredSize || n%filteredSize != 0 || n/filteredSize > maxFiltered {
		return 0, t, fmt.Errorf("read figures of a filter: key of %d bytes, value of %d: %w", len(key), len(b), ErrCorrupt)
	}
	t.generation = binary.LittleEndian.Uint64(b[1:])
	for b = b[9 : len(b)-4]; len(b) > 0; b = b[filteredSize:] {
		var v [filteredSize / 8]uint64
		for i := range v {
			v[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
		f := Filtered{
			Filter: model.Filter{Deviation: math.Float64frombits(v[0]), MinTime: time.Duration(v[1]), MaxTime: time.Duration(v[2])},
			First:  int64(v[3]), Last: int64(v[4]), Samples: v[5], LeftOut: v[6], MaxError: math.Float64frombits(v[7]), ErrorAt: int64(v[8]),
		}
		if f.LeftOut > f.Samples || f.First > f.Last || !(f.MaxError >= 0) {
			return 0, t, fmt.Errorf("read figures of a filter: %+v: %w", f, ErrCorrupt)
		}
		t.figures = append(t.figures, f)
	}
	return model.TagID(binary.BigEndian.Uint32(key)), t, nil
}

// loadFiltered reads the figures of all tags. Those that are damaged are gone, and so is what follows where the LSM cannot read on:
// there is an alarm, and samples do not depend on them.
func (db *DB) loadFiltered() error {
	damaged := func(err error) {
		db.alarms.raise("store_damaged", fmt.Sprintf("%v: how far off samples were that a filter left out is no longer known", err))
	}
	db.filtered = map[model.TagID]filteredTag{}
	err := db.scan(keys.Filtered, func(key, value []byte) error {
		tag, t, err := decodeFiltered(key, value)
		switch {
		case err == nil:
			db.filtered[tag] = t
		case errors.Is(err, ErrCorrupt):
			damaged(err)
		default:
			return err
		}
		return nil
	})
	if err != nil && isDamage(err) {
		damaged(err)
		return nil
	}
	return err
}
