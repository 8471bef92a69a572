package saturate

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsWhatBigNumbersSay(t *testing.T) {
	values := []int64{math.MinInt64, math.MinInt64 + 1, -1 << 62, -7, -1, 0, 1, 7, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}
	most, least := big.NewInt(math.MaxInt64), big.NewInt(math.MinInt64)
	clip := func(x *big.Int) int64 {
		switch {
		case x.Cmp(most) > 0:
			return math.MaxInt64
		case x.Cmp(least) < 0:
			return math.MinInt64
		}
		return x.Int64()
	}
	for _, a := range values {
		for _, b := range values {
			require.Equal(t, clip(new(big.Int).Add(big.NewInt(a), big.NewInt(b))), Add(a, b), "%d + %d", a, b)
			require.Equal(t, clip(new(big.Int).Sub(big.NewInt(a), big.NewInt(b))), Sub(a, b), "%d - %d", a, b)
		}
	}
}
