package message

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBufferPoolGivesTheLengthAskedFor(t *testing.T) {
	var p Pool
	for range 3 {
		for _, n := range []int{0, 1, 1023, 1024, 1025, 200_000, 1 << 20, 1<<20 + 1, 1 << 25, 1<<25 + 1} {
			b := p.Get(n)
			require.Len(t, *b, n)
			if n > 0 {
				(*b)[n-1] = 1
			}
			p.Put(b)
		}
	}
	foreign := make([]byte, 3000)
	p.Put(&foreign)
	require.Len(t, *p.Get(4096), 4096)
}
