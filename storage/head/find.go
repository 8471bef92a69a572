package head

import "github.com/varvedb/varve/model"

// Key is what the journal says of one (time, seq): a sample stands there, or was removed, whatever older generations
// hold.
type Key struct {
	Seq     uint32
	Removed bool
}

// keys is the Keys of one time; the first has its own place because there is hardly ever a second.
type keys struct {
	first Key
	more  []Key
}

// Find calls yield for every key of the journal at a time, in no order. Only the applying goroutine may call it.
func (h *Head) Find(g *Tag, time int64, yield func(Key)) {
	if g.ordered {
		if h.holds(g, time) {
			yield(Key{})
		}
		return
	}
	k, ok := h.index(g).keys[time]
	if !ok {
		return
	}
	yield(k.first)
	for _, m := range k.more {
		yield(m)
	}
}

// holds reports whether a journal in order has an entry at a time. Mostly it is asked for the newest.
func (h *Head) holds(g *Tag, time int64) bool {
	if time > g.last {
		return false
	}
	for r, n := g.block, int(g.n); n > 0; {
		b, before := h.arena.slabs.block(r, n)
		if b.time(0) <= time {
			i := b.search(time)
			return i < b.len() && b.time(i) == time
		}
		r, n = before, b.first
	}
	return false
}

// index is what stands at each time of a journal out of order, as far as Find was asked. Readers do not see it, so that it is
// filled without the lock.
type index struct {
	keys map[int64]keys
	seen int // entries that keys covers
}

// index is that of a tag, brought up to the end of the journal.
func (h *Head) index(g *Tag) *index {
	x := h.indexes[g.ID]
	if x == nil {
		if h.indexes == nil {
			h.indexes = map[model.TagID]*index{}
		}
		x = &index{keys: make(map[int64]keys, g.n)}
		h.indexes[g.ID] = x
	}
	var d side
	if g.side > 0 {
		d = *h.sides[g.side-1]
	}
	for _, b := range h.arena.slabs.blocks(nil, g.block, x.seen, int(g.n)) {
		for i := x.seen - b.first; i < b.len(); i++ {
			k := Key{Removed: d.removed != nil && d.removed[x.seen]}
			if d.seq != nil {
				k.Seq = d.seq[x.seen]
			}
			x.note(b.time(i), k)
			x.seen++
		}
	}
	return x
}

// note takes what one more entry says of its key.
func (x *index) note(time int64, k Key) {
	have, ok := x.keys[time]
	switch {
	case !ok || have.first.Seq == k.Seq:
		have.first = k
	default:
		at := len(have.more)
		for i := range have.more {
			if have.more[i].Seq == k.Seq {
				at = i
			}
		}
		if at == len(have.more) {
			have.more = append(have.more, k)
		} else {
			have.more[at] = k
		}
	}
	x.keys[time] = have
}

// EachStretch calls yield with the time of an entry in a range, and again with one at or behind the time yield returned,
// until there is none. Of an ordered journal that is one search per call.
func (s *Snapshot) EachStretch(in model.TimeRange, yield func(time int64) (next int64)) {
	blocks := s.blocks(nil)
	if s.ordered {
		at := in.Start
		for i := range blocks {
			b := &blocks[i]
			for k := b.search(at); k < b.len(); k = b.search(at) {
				t := b.time(k)
				if !in.Contains(t) {
					return
				}
				at = yield(t)
			}
		}
		return
	}
	from, to := int64(0), int64(0) // the last stretch reported; most neighbours share it
	for i := range blocks {
		for k := range blocks[i].len() {
			if t := blocks[i].time(k); in.Contains(t) && (t < from || t >= to) {
				from, to = t, yield(t)
			}
		}
	}
}
