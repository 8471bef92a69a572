package storage

import (
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
	i, g int // next sample, next removal
	o    int // origin of sample i
	used int // samples of that origin before i
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

func (l *lane) next() (key, bool) {
	k, ok := l.sample()
	if l.g < len(l.gone) {
		if r := (key{l.gone[l.g].Time, l.gone[l.g].Seq}); !ok || r.less(k) {
			return r, true
		}
	}
	return k, ok
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
	lanes := make([]lane, len(pieces))
	for i := range pieces {
		p := &pieces[i]
		lanes[i] = lane{age: p.eventAge(), data: p.data, gone: p.gone}
		if p.data.Len() > 0 {
			out.Type = p.data.Type
		}
	}
	for {
		first, second, n := lowest(lanes)
		if n == 0 {
			return
		}
		if n == 1 {
			copyRun(out, &lanes[first.lane], second)
			continue
		}
		mergeKey(out, lanes, first.key, met)
	}
}

// place is the lowest key of all lanes and one that has it.
type place struct {
	key  key
	lane int
}

// lowest finds the lowest key, how many lanes have it, and the next higher one (of any lane; ok as the bound of a copy).
func lowest(lanes []lane) (first place, second key, n int) {
	second = key{model.All.End, ^uint32(0)}
	for i := range lanes {
		k, ok := lanes[i].next()
		switch {
		case !ok:
		case n == 0 || k.less(first.key):
			if n > 0 {
				second = first.key
			}
			first, n = place{k, i}, 1
		case k == first.key:
			n++
		case k.less(second):
			second = k
		}
	}
	return first, second, n
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

// mergeKey settles one key that several lanes have, oldest first.
func mergeKey(out *chunk.Data, lanes []lane, at key, met onMet) {
	var current model.Sample
	var from chunk.Origin
	standing := false
	for i := range lanes {
		l := &lanes[i]
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
