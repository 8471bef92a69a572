package sqlchild

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A process that answered a statement is followed at once, however often that goes; one that came to nothing is waited behind.
func TestWhatAnsweredIsFollowedAtOnce(t *testing.T) {
	r, err := New(Options{Binary: filepath.Join(t.TempDir(), "none")}, nil)
	require.NoError(t, err)
	over := func(answered bool) {
		p := &process{begun: time.Now(), ended: make(chan struct{})}
		p.answered.Store(answered)
		close(p.ended)
		r.process = p
		_, err := r.running(t.Context())
		require.ErrorIs(t, err, ErrNotBuilt) // it got as far as to start another
	}
	for range 4 {
		over(true)
		require.Zero(t, r.failed)
		require.True(t, r.next.IsZero())
	}
	over(false)
	require.True(t, r.next.IsZero(), "the first may be followed at once")
	over(false)
	require.False(t, r.next.IsZero())
	over(true)
	require.True(t, r.next.IsZero())
}

// The process may notice before the server that the time of a statement is up: that is what is told, and not that a call was canceled.
func TestTimeIsUpForTheProcessFirst(t *testing.T) {
	r, err := New(Options{Binary: "none", TempDir: t.TempDir(), Timeout: 50 * time.Millisecond}, nil)
	require.NoError(t, err)
	r.process = &process{ended: make(chan struct{})}
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded} {
		err = r.with(t.Context(), "me", func(context.Context, *process) error { return status.Error(code, "stream terminated") })
		require.ErrorIs(t, err, ErrTimeout, code)
	}
}
