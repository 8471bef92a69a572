package log

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkAppend measures durable appends on the real file system. TMPDIR chooses the disk.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 200_000} {
		for _, callers := range []int{1, 2, 64} {
			b.Run(fmt.Sprintf("payload=%d/callers=%d", size, callers), func(b *testing.B) {
				l, _, err := Open(b.TempDir(), Options{BacklogBytes: 1 << 50})
				require.NoError(b, err)
				p := payloadOf(1, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for c := range callers {
					wg.Go(func() {
						for i := c; i < b.N; i += callers {
							if offset, err := l.Append(ctx, p); err != nil {
								b.Error(err)
							} else if i%64 == 0 {
								l.Applied(offset)
								if err := l.Trim(offset); err != nil {
									b.Error(err)
								}
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				require.NoError(b, l.Close())
			})
		}
	}
}

// BenchmarkSubmit measures one caller that does not wait for the disk, only for the bound on what is unsynced.
func BenchmarkSubmit(b *testing.B) {
	for _, size := range []int{100, 200_000} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			l, _, err := Open(b.TempDir(), Options{BacklogBytes: 1 << 50})
			require.NoError(b, err)
			p := payloadOf(1, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				c, err := l.Submit(ctx, p)
				require.NoError(b, err)
				if i%64 == 0 {
					require.NoError(b, l.Trim(l.HighWatermark()))
					l.Applied(l.HighWatermark())
				}
				_ = c
			}
			require.NoError(b, l.Close())
		})
	}
}

// BenchmarkReader and BenchmarkOpen read a log that is in the page cache.
func BenchmarkReader(b *testing.B) {
	for _, size := range []int{100, 200_000} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			l, _, n := filled(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				r, err := l.NewReader(1)
				require.NoError(b, err)
				for i := 0; i < n && done < b.N; i++ {
					if _, _, err := r.Next(ctx); err != nil {
						b.Fatal(err)
					}
					done++
				}
				require.NoError(b, r.Close())
			}
			b.StopTimer()
			require.NoError(b, l.Close())
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{100, 200_000} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			l, dir, n := filled(b, size)
			require.NoError(b, l.Close())
			b.SetBytes(int64(size * n))
			for b.Loop() {
				l, _, err := Open(dir, Options{})
				require.NoError(b, err)
				require.NoError(b, l.Close())
			}
		})
	}
}

func filled(b *testing.B, size int) (*Log, string, int) {
	b.Helper()
	dir, err := os.MkdirTemp(b.TempDir(), "log")
	require.NoError(b, err)
	l, _, err := Open(dir, Options{BacklogBytes: 1 << 50})
	require.NoError(b, err)
	n := (128 << 20) / (size + frameBytes)
	p := payloadOf(1, size)
	var c *Commit
	for range n {
		c, err = l.Submit(ctx, p)
		require.NoError(b, err)
	}
	require.NoError(b, c.Wait(ctx))
	return l, dir, n
}
