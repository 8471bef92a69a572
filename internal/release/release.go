// Package release lets go of readers of Arrow's library where an int has 32 bits.
package release

import (
	"math/bits"

	"github.com/apache/arrow/go/v15/arrow/ipc"
)

// Reader lets go of r and its memory. On systems of 32 bits the library's counter of references lies where its processor cannot count atomically, and
// Release ends in a panic; there the garbage collector has it, which owns the memory anyway.
func Reader(r *ipc.Reader) {
	if bits.UintSize == 64 {
		r.Release()
	}
}
