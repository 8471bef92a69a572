package head

import (
	"slices"
	"sync"
)

// slabWords is the size of the pieces in which memory is taken.
const slabWords = 64 << 10

type slab [slabWords]uint64

var slabPool = sync.Pool{New: func() any { return new(slab) }}

// ref is a place in an arena, in words of 8 bytes; 0 is none.
type ref uint32

// slabs is the memory of an arena. It only grows, so that a copy taken under the store's lock has all that was there then.
type slabs []*slab

// arena hands out memory without pointers. What it handed out stays where it is.
type arena struct {
	slabs slabs
	used  int // words of the last slab
}

// take is room for n words.
func (a *arena) take(n int) (ref, []uint64) {
	if len(a.slabs) == 0 || slabWords-a.used < n {
		a.slabs = append(a.slabs, slabPool.Get().(*slab))
		a.used = 0
		if len(a.slabs) == 1 {
			a.used = 1 // 0 is none
		}
	}
	at := ref((len(a.slabs)-1)*slabWords + a.used)
	a.used += n
	return at, a.slabs.at(at)[:n:n]
}

func (a *arena) release() {
	for _, s := range a.slabs {
		slabPool.Put(s)
	}
	*a = arena{}
}

// at is the words from a place on.
func (s slabs) at(r ref) []uint64 { return s[r/slabWords][r%slabWords:] }

// block is some entries of a journal, each a time and a value.
//
// In the arena a word before them says which block is before this one, and the number of the first entry; it is written once,
// before anybody knows of the block. A block is full when there is one behind it.
type block struct {
	first   int
	entries []uint64
}

func (b *block) len() int           { return len(b.entries) / 2 }
func (b *block) time(i int) int64   { return int64(b.entries[2*i]) }
func (b *block) value(i int) uint64 { return b.entries[2*i+1] }

// search is the first entry at or behind a time, of a block in order.
func (b *block) search(time int64) int {
	lo, hi := 0, b.len()
	for lo < hi {
		if mid := (lo + hi) / 2; b.time(mid) < time {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// newBlock takes memory for n entries behind the block before, which ends at entry first.
func (a *arena) newBlock(before ref, first int32, n int) ref {
	r, w := a.take(1 + 2*n)
	w[0] = uint64(before)<<32 | uint64(first)
	return r
}

// block is the block at r of a journal of n entries, and the one before it.
func (s slabs) block(r ref, n int) (b block, before ref) {
	w := s.at(r)
	before, b.first = ref(w[0]>>32), int(uint32(w[0]))
	if b.first < n {
		b.entries = w[1 : 1+2*(n-b.first)]
	}
	return b, before
}

// blocks appends to dst the blocks that have the entries from one on, ascending, of a journal of n entries whose newest block is
// at r.
func (s slabs) blocks(dst []block, r ref, from, n int) []block {
	begin := len(dst)
	for n > from {
		b, before := s.block(r, n)
		if b.first < n { // else all of it is behind entry n
			dst, n = append(dst, b), b.first
		}
		r = before
	}
	slices.Reverse(dst[begin:])
	return dst
}

// origin says where the entries from index from on came from, up to the next origin. There is one per run applied, so it is small;
// what the runs of a record share stands in the head's table of records. In the arena it is two words with the place of the one
// before.
type origin struct {
	from   int32
	index  uint32 // of entry from, inside its record
	record int32  // in records
}

// originBytes is what an origin takes.
const originBytes = 16

func (a *arena) newOrigin(before ref, o origin) ref {
	r, w := a.take(2)
	w[0], w[1] = uint64(before)<<32|uint64(o.from), uint64(o.record)<<32|uint64(o.index)
	return r
}

func (s slabs) origin(r ref) (o origin, before ref) {
	w := s.at(r)
	return origin{int32(uint32(w[0])), uint32(w[1]), int32(w[1] >> 32)}, ref(w[0] >> 32)
}
