package encoding

import (
	"math/bits"
	"slices"
)

// distinctMost is the most distinct values a dictionary is looked for in: ranks into a larger one leave the cache of the
// processor, and it hardly pays.
const distinctMost = 4096

// distinctTable finds the distinct values of a column and the rank of each in ascending order.
type distinctTable struct {
	keys   []uint64
	places []int32  // of a key: its place in values, plus 1
	values []uint64 // in order of appearance until they are arranged
}

const distinctSlots = 4 * distinctMost

func distinctHash(x uint64) int { return int(x * 0x9E3779B97F4A7C15 >> (64 - 14)) }

// collect gathers the distinct values of v; false if there are too many for a dictionary to pay.
func (t *distinctTable) collect(v []uint64) bool {
	most := min(distinctMost, len(v)/2)
	if most < 2 {
		return false
	}
	if t.keys == nil {
		t.keys, t.places = make([]uint64, distinctSlots), make([]int32, distinctSlots)
	}
	clear(t.places)
	t.values = t.values[:0]
	prev := ^v[0]
	for _, x := range v {
		if x == prev {
			continue
		}
		prev = x
		at := distinctHash(x)
		for t.places[at] != 0 && t.keys[at] != x {
			at = (at + 1) % distinctSlots
		}
		if t.places[at] == 0 {
			if len(t.values) == most {
				return false
			}
			t.values = append(t.values, x)
			t.keys[at], t.places[at] = x, int32(len(t.values))
		}
	}
	return len(t.values) > 1
}

// arrange gives every value its rank in the order of what key makes of it; value undoes key.
func (t *distinctTable) arrange(key, value func(uint64) uint64) {
	for i, x := range t.values {
		t.values[i] = key(x)
	}
	slices.Sort(t.values)
	for i, k := range t.values {
		x := value(k)
		t.values[i] = x
		t.places[t.slot(x)] = int32(i + 1)
	}
}

// arrangeFloats is arrange in the order of floats.
func (t *distinctTable) arrangeFloats(shift uint) {
	t.arrange(
		func(x uint64) uint64 { return orderedBits(x, shift) },
		func(x uint64) uint64 { return floatOf(x, shift) },
	)
}

// signed is the order of int64 as one of uint64, and back.
func signed(x uint64) uint64 { return x ^ 1<<63 }

func (t *distinctTable) slot(x uint64) int {
	at := distinctHash(x)
	for t.keys[at] != x || t.places[at] == 0 {
		at = (at + 1) % distinctSlots
	}
	return at
}

// rank is the place of x, which was collected, among the distinct values.
func (t *distinctTable) rank(x uint64) int { return int(t.places[t.slot(x)] - 1) }

func (t *distinctTable) sorted() []uint64 { return t.values }

// cost is about how many bytes the distinct values take, written as differences.
func (t *distinctTable) cost() float64 {
	var sum uint64
	for i := 1; i < len(t.values); i++ {
		sum += uint64(bits.Len64(t.values[i]-t.values[i-1])) + 1
	}
	return 20 + float64(float64(sum)/8)
}
