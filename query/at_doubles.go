package query

import (
	"math"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
)

// plain reports whether a block is of Good doubles, which takeDoubles is for: rows are in the order of the instants, and one setting
// says how all of them are made.
func (w *walk) plain(b *storage.Block) bool {
	return b.Type == model.Float64 && b.Quality == nil && b.Null == nil && !w.discrete && w.order == nil && len(w.tagAsked.tag.Settings) == 1
}

// takeDoubles is take of a block that is plain: what lies between two samples of the block is answered without looking at them
// one by one as points.
func (w *walk) takeDoubles(b *storage.Block) {
	settings := &w.tagAsked.tag.Settings[0]
	stepped, most := w.values.isStepped(settings), uint64(math.MaxUint64)
	if settings.MaxGap > 0 {
		most = uint64(settings.MaxGap)
	}
	times, values, instants := b.Times, b.Bits, w.instants
	bits, quality := w.rows.bits[:len(instants)], w.rows.quality[:len(instants)]
	for at := 0; w.next < len(instants); {
		i := w.next
		for ; i < len(instants); i++ {
			u := instants[i]
			for at < len(times) && times[at] <= u {
				at++
			}
			if at == 0 || at == len(times) {
				break
			}
			before, after := times[at-1], times[at]
			if before == u {
				bits[i], quality[i] = values[at-1], model.Good
				continue
			}
			if uint64(after)-uint64(before) > most {
				break
			}
			bits[i], quality[i] = values[at-1], calculated
			if !stepped {
				bits[i] = math.Float64bits(model.OnLine(before, math.Float64frombits(bits[i]), after, math.Float64frombits(values[at]), u))
			}
		}
		clear(w.rows.null[w.next:i])
		if w.next = i; i == len(instants) {
			return
		}
		if at > 0 {
			w.setLeft(b, at-1)
		}
		if at == len(times) {
			return
		}
		w.right = pointOf(b, at)
		w.answer(&w.right)
	}
}
