package answer

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow/memory"
)

// maxBufferBytes is far above any column of a record batch: servers end a batch long before.
const maxBufferBytes = 256 << 20

// boundedAllocator keeps a damaged length from taking all memory, which nothing could recover from. The panic becomes an
// error in the Reader.
type boundedAllocator struct{ memory.Allocator }

func (a boundedAllocator) Allocate(size int) []byte {
	checkSize(size)
	return a.Allocator.Allocate(size)
}

func (a boundedAllocator) Reallocate(size int, b []byte) []byte {
	checkSize(size)
	return a.Allocator.Reallocate(size, b)
}

func checkSize(size int) {
	if size < 0 || size > maxBufferBytes {
		panic(fmt.Sprintf("a buffer of %d bytes, most is %d", size, maxBufferBytes))
	}
}
