package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func mustOpen(t testing.TB, o Options) (*Log, Recovery) {
	t.Helper()
	l, rec, err := Open("store/log", o)
	require.NoError(t, err)
	return l, rec
}

// payloadOf makes content that tells its offset.
func payloadOf(offset uint64, n int) []byte {
	b := []byte(fmt.Sprintf("%d:", offset))
	r := rand.New(rand.NewPCG(offset, 1))
	for len(b) < n {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// readAll reads every record from r up to end and what is lost between them.
func readAll(t testing.TB, l *Log, from uint64) (map[uint64][]byte, []Lost) {
	t.Helper()
	r, err := l.NewReader(from)
	require.NoError(t, err)
	defer r.Close()
	got := map[uint64][]byte{}
	var lost []Lost
	for r.want <= l.HighWatermark() {
		offset, payload, err := r.Next(context.Background())
		var le *LostError
		if errors.As(err, &le) {
			require.ErrorIs(t, err, ErrCorrupt)
			lost = append(lost, le.Lost)
			continue
		}
		require.NoError(t, err)
		got[offset] = bytes.Clone(payload)
	}
	return got, lost
}

func TestAppendReadReopen(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{FS: fs, SegmentBytes: 4096}
	ctx := context.Background()
	var next uint64 = 1
	for range 4 {
		l, rec := mustOpen(t, o)
		require.Equal(t, next, rec.Next)
		require.Empty(t, rec.Lost)
		require.Empty(t, rec.Damaged)
		for range 20 {
			p := payloadOf(next, 300)
			offset, err := l.Append(ctx, p[:10], p[10:])
			require.NoError(t, err)
			require.Equal(t, next, offset)
			require.Equal(t, next, l.HighWatermark())
			next++
		}
		got, lost := readAll(t, l, 1)
		require.Empty(t, lost)
		require.Len(t, got, int(next-1))
		for o, p := range got {
			require.Equal(t, payloadOf(o, 300), p)
		}
		require.NoError(t, l.Close())
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }
