package storage

import (
	"container/heap"
	"sort"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/head"
)

// onMet is told of every value of a key that several pieces have something of: the value, where it came from and the age of
// its piece, oldest first. The value's memory holds during the call.
type onMet func(x model.Sample, from chunk.Origin, age uint64)

// lane is one piece on its way through a merge.
type lane struct {
	age  uint64 // of events
	data *chunk.Data
	gone []head.Removed
	at   key // of the next sample or removal
	// place is among the pieces that are merged, which is by age.
	place int
	i, g  int // next sample, next removal
	o     int // origin of sample i
	used  int // samples of that origin before i
}

// key is a sample's or removal's place in the order of a merge.
type key struct {
	time int64
	seq  uint32
}

func (a key) less(b key) bool { return a.time < b.time || a.time == b.time && a.seq < b.seq }

func (l *lane) sample() (key, bool) {
	if l.i >= len(l.data.Times) {
		return key{}, false
	}
	return key{l.data.Times[l.i], l.data.SeqAt(l.i)}, true
}

// arrive notes the key of the next sample or removal, and whether there is one.
func (l *lane) arrive() (more bool) {
	l.at, more = l.sample()
	if l.g < len(l.gone) {
		if r := (key{l.gone[l.g].Time, l.gone[l.g].Seq}); !more || r.less(l.at) {
			l.at, more = r, true
		}
	}
	return more
}

// origin is where sample i came from; i only grows.
func (l *lane) origin() chunk.Origin {
	for l.o < len(l.data.Origins) && l.used >= l.data.Origins[l.o].Samples {
		l.used -= l.data.Origins[l.o].Samples
		l.o++
	}
	if l.o == len(l.data.Origins) {
		return chunk.Origin{}
	}
	return l.data.Origins[l.o]
}

func (l *lane) skip(n int) {
	l.i += n
	l.used += n
}

// merge settles pieces, ascending by age, into out: of every key the newest piece that has it wins, a removal takes away
// what older pieces have, and a value equal to the one before it keeps that one's origin.
func merge(pieces []piece, out *chunk.Data, met onMet) {
	out.Samples.Reset(pieces[0].data.Type)
	out.Origins = out.Origins[:0]
	lanes := make(lanes, 0, len(pieces))
	for i := range pieces {
		p := &pieces[i]
		if p.data.Len() > 0 {
			out.Type = p.data.Type
		}
		l := &lane{age: p.eventAge(), data: p.data, gone: p.gone, place: i}
		if l.arrive() {
			lanes = append(lanes, l)
		}
	}
	heap.Init(&lanes)
	for len(lanes) > 0 {
		if bound := lanes.second(); lanes[0].at.less(bound) {
			copyRun(out, lanes[0], bound)
			lanes.passed()
			continue
		}
		mergeKey(out, &lanes, met)
	}
}

// lanes are a heap of those that have more: the lowest key comes first, and of lanes that have it the oldest.
type lanes []*lane

func (h lanes) Len() int { return len(h) }

func (h lanes) Less(i, j int) bool {
	a, b := h[i], h[j]
	return a.at.less(b.at) || a.at == b.at && a.place < b.place
}

func (h lanes) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *lanes) Push(x any) { *h = append(*h, x.(*lane)) }

func (h *lanes) Pop() any {
	n := len(*h) - 1
	l := (*h)[n]
	*h = (*h)[:n]
	return l
}

// second is the lowest key of all lanes but the first.
func (h lanes) second() key {
	k := key{model.All.End, ^uint32(0)}
	for _, l := range h[1:min(3, len(h))] {
		if l.at.less(k) {
			k = l.at
		}
	}
	return k
}

// passed takes note that the first lane went on.
func (h *lanes) passed() {
	if (*h)[0].arrive() {
		heap.Fix(h, 0)
		return
	}
	heap.Pop(h)
}

// copyRun copies a lane's samples below bound, which no other lane has, and drops its removals below it.
func copyRun(out *chunk.Data, l *lane, bound key) {
	times := l.data.Times[l.i:]
	n := sort.Search(len(times), func(i int) bool {
		return !key{times[i], l.data.SeqAt(l.i + i)}.less(bound)
	})
	for l.g < len(l.gone) && (key{l.gone[l.g].Time, l.gone[l.g].Seq}).less(bound) {
		l.g++
	}
	for n > 0 {
		o := l.origin()
		k := n
		if o.Samples > 0 {
			k = min(n, o.Samples-l.used)
		}
		appendSamples(out, l.data, l.i, l.i+k)
		addOrigin(out, o, k)
		l.skip(k)
		n -= k
	}
}

// mergeKey settles the lowest key, which several lanes have, oldest first.
func mergeKey(out *chunk.Data, lanes *lanes, met onMet) {
	var current model.Sample
	var from chunk.Origin
	standing := false
	for at := (*lanes)[0].at; len(*lanes) > 0 && (*lanes)[0].at == at; lanes.passed() {
		l := (*lanes)[0]
		if l.g < len(l.gone) && (key{l.gone[l.g].Time, l.gone[l.g].Seq}) == at {
			standing = false
			l.g++
		}
		if k, ok := l.sample(); ok && k == at {
			x := l.data.At(l.i)
			if met != nil {
				met(x, l.origin(), l.age)
			}
			if !standing || !x.SameValue(current) {
				current, from, standing = x, l.origin(), true
			}
			l.skip(1)
		}
	}
	if standing {
		out.Samples.Append(current)
		addOrigin(out, from, 1)
	}
}

func addOrigin(out *chunk.Data, o chunk.Origin, n int) {
	if k := len(out.Origins); k > 0 && out.Origins[k-1].Source == o.Source && out.Origins[k-1].Ingest == o.Ingest {
		out.Origins[k-1].Samples += n
		return
	}
	out.Origins = append(out.Origins, chunk.Origin{Samples: n, Source: o.Source, Ingest: o.Ingest})
}

// appendSamples copies the samples [from, to) of d behind out.
func appendSamples(out *chunk.Data, d *chunk.Data, from, to int) {
	s := &out.Samples
	n := len(s.Times)
	s.Times = append(s.Times, d.Times[from:to]...)
	if d.Type.Blob() {
		s.Blobs = append(s.Blobs, d.Blobs[from:to]...)
	} else {
		s.Bits = append(s.Bits, d.Bits[from:to]...)
	}
	s.Quality = appendColumn(s.Quality, d.Quality, n, from, to)
	s.Null = appendColumn(s.Null, d.Null, n, from, to)
	s.Seq = appendColumn(s.Seq, d.Seq, n, from, to)
}

// appendColumn appends a part of a column that may be nil, for zeros, to one of length n that may be nil.
func appendColumn[T any](dst, src []T, n, from, to int) []T {
	if dst == nil && src == nil {
		return nil
	}
	if dst == nil {
		dst = make([]T, n, n+to-from)
	}
	if src == nil {
		return append(dst, make([]T, to-from)...)
	}
	return append(dst, src[from:to]...)
}
