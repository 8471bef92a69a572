package head

import (
	"sort"

	"github.com/varvedb/varve/model"
)

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
func (g *Tag) Find(time int64, yield func(Key)) {
	if g.ordered {
		i := sort.Search(g.n, func(i int) bool { t, _ := g.entry(i); return t >= time })
		if i < g.n {
			if t, _ := g.entry(i); t == time {
				yield(Key{})
			}
		}
		return
	}
	g.index()
	k, ok := g.keys[time]
	if !ok {
		return
	}
	yield(k.first)
	for _, m := range k.more {
		yield(m)
	}
}

// index brings keys up to the end of the journal.
func (g *Tag) index() {
	if g.keys == nil {
		g.keys = make(map[int64]keys, g.n)
	}
	for ; g.seen < g.n; g.seen++ {
		t, _ := g.entry(g.seen)
		k := Key{Removed: g.removed(g.seen)}
		if g.side != nil && g.side.seq != nil {
			k.Seq = g.side.seq[g.seen]
		}
		have, ok := g.keys[t]
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
		g.keys[t] = have
	}
}

// EachStretch calls yield with the time of an entry in a range, and again with one at or behind the time yield returned,
// until there is none. Of an ordered journal that is one search per call.
func (g *Tag) EachStretch(in model.TimeRange, yield func(time int64) (next int64)) {
	if g.ordered {
		at := in.Start
		for {
			i := sort.Search(g.n, func(i int) bool { t, _ := g.entry(i); return t >= at })
			if i == g.n {
				return
			}
			t, _ := g.entry(i)
			if !in.Contains(t) {
				return
			}
			at = yield(t)
		}
	}
	from, to := int64(0), int64(0) // the last stretch reported; most neighbours share it
	for i := range g.n {
		if t, _ := g.entry(i); in.Contains(t) && (t < from || t >= to) {
			from, to = t, yield(t)
		}
	}
}
