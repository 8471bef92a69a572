package collector

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Tags whose history came hold no room for as much again.
func TestTagsKeepLittleRoom(t *testing.T) {
	const tags, samples = 500, 1000
	f := makeFeed(t, t.TempDir(), "    tags: [{match: '*', tag: 'P.{1}', type: float64}]\n")
	f.outlet = nowhere{}
	readings := make([]Reading, samples)
	put := func(tag, n int) {
		for i := range n {
			readings[i] = Reading{Address: fmt.Sprint(tag), HasTime: true, Time: f.clock.ns.Load() + int64(i), Value: Float64(float64(i))}
		}
		require.NoError(t, f.put(context.Background(), readings[:n], false))
	}
	for tag := range tags {
		put(tag, 1)
	}
	before := heapBytes()
	f.clock.ns.Add(int64(time.Second))
	for tag := range tags {
		put(tag, samples)
	}
	require.Less(t, heapBytes()-before, int64(tags*samples*16/2)) // a time and a value are 16 bytes
	runtime.KeepAlive(f)
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
