package sqlchild

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Pressure is high within a look of a million samples a second, holds over short pauses, and a batch now and then is none.
func TestPressure(t *testing.T) {
	p := pressure{before: 5_000_000_000}
	written := p.before
	for range 100 { // 60,000 samples every two seconds
		written += 60_000
		for range 20 {
			require.False(t, p.look(written))
		}
	}
	for range 3 {
		written += 100_000
		require.True(t, p.look(written))
	}
	for range 5 {
		require.True(t, p.look(written), "a pause of half a second")
	}
	for range 30 {
		p.look(written)
	}
	require.False(t, p.look(written))
}
