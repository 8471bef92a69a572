package main

import "math/bits"

// columnMemory keeps the memory of decoded columns from answer to answer, as clients with a C allocator do. Without it
// Go clears every column before the copy that fills it, and half of the client's time is spent there. It is an Arrow
// memory.Allocator for one goroutine.
type columnMemory struct {
	free [leastFree + 20][][]byte // by power of two
}

// leastFree is the smallest class kept, 1 KiB, whose blocks lie on 64 bytes as Arrow wants it.
const leastFree = 10

// Allocate is size bytes of whatever was there.
func (m *columnMemory) Allocate(size int) []byte {
	class := max(bits.Len(uint(max(size, 1)-1)), leastFree)
	if class >= len(m.free) {
		return make([]byte, size)
	}
	list := m.free[class]
	if len(list) == 0 {
		return make([]byte, size, 1<<class)
	}
	m.free[class] = list[:len(list)-1]
	return list[len(list)-1][:size]
}

// Reallocate is b with another size.
func (m *columnMemory) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	grown := m.Allocate(size)
	copy(grown, b)
	m.Free(b)
	return grown
}

// Free takes back what Allocate gave.
func (m *columnMemory) Free(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class >= leastFree && class < len(m.free) && cap(b) == 1<<class {
		m.free[class] = append(m.free[class], b)
	}
}
