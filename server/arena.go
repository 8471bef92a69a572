package server

// arena hands out slices of one block of memory and takes them all back at once. What it hands out is not zeroed.
type arena[T any] struct{ block []T }

// take is a slice of n elements that append would not grow in place.
func (a *arena[T]) take(n int) []T {
	from := len(a.block)
	if cap(a.block)-from < n {
		// Slices handed out before keep the old block alive for as long as they are used.
		a.block, from = make([]T, 0, max(n, 2*cap(a.block), 1024)), 0
	}
	a.block = a.block[:from+n]
	return a.block[from : from+n : from+n]
}

// reset takes everything back.
func (a *arena[T]) reset() { a.block = a.block[:0] }
