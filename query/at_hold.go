package query

import "github.com/varvedb/varve/storage"

// takeHeld answers the instants that a sample of the block lies behind, each with the sample before or at it.
func (w *walk) takeHeld(b *storage.Block) {
	if !b.Type.Blob() && b.Quality == nil && b.Null == nil {
		w.takeHeldBits(b)
		return
	}
	for at, left := 0, -1; w.next < len(w.instants); w.putHeld() {
		at += countUpTo(b.Times[at:], w.instants[w.next])
		if at > 0 && left != at-1 {
			left = at - 1
			w.setLeft(b, left)
		}
		if at == b.Len() { // the next block may have a sample nearer to it
			return
		}
	}
}

// takeHeldBits is takeHeld of a block whose samples are all Good and have a value without text, as most are.
func (w *walk) takeHeldBits(b *storage.Block) {
	times, values := b.Times, b.Bits
	for at := 0; w.next < len(w.instants); {
		from := w.next
		instants, bits := w.instants, w.rows.bits[:len(w.instants)]
		i := from
		for ; i < len(instants); i++ {
			u := instants[i]
			for at < len(times) && times[at] <= u {
				at++
			}
			if at == 0 || at == len(times) || uint64(u)-uint64(times[at-1]) > w.maxAge {
				break
			}
			bits[i] = values[at-1]
		}
		clear(w.rows.quality[from:i])
		clear(w.rows.null[from:i])
		w.next = i
		switch {
		case i == len(instants):
			return
		case at == len(times):
			w.setLeft(b, at-1)
			return
		case at > 0:
			w.setLeft(b, at-1)
		}
		w.putHeld()
	}
}

// putHeld answers the next instant with left: as it is, but that what is Bad has no value. A gap lasts, whatever its age.
func (w *walk) putHeld() {
	u := w.instants[w.next]
	s := noValue(w.tagAsked.tag, u)
	if w.hasLeft && (w.left.Gap || uint64(u)-uint64(w.left.Time) <= w.maxAge) {
		if s = w.left.Sample; s.Quality.IsBad() {
			s.Null, s.Bits, s.Blob = true, 0, nil
		}
	}
	w.put(w.next, &s)
	w.next++
}
