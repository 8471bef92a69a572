package unit

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestProductsSayWhatTheyAre: the code of a product reads as the product.
func TestProductsSayWhatTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		out := mustParse(t, "1")
		for range rapid.IntRange(1, 4).Draw(t, "factors") {
			v := mustParse(t, drawUnit(t))
			n := rapid.SampledFrom([]int{-3, -2, -1, 1, 2, 3}).Draw(t, "power")
			product, err := Product(out, v, n)
			if err != nil {
				require.ErrorIs(t, err, ErrDimension)
				continue
			}
			want := out
			want.times(&v, n)
			again := mustParse(t, product.String())
			require.Equal(t, want.exponents, product.exponents)
			require.Zero(t, want.scale.Cmp(product.scale))
			require.Equal(t, want.exponents, again.exponents, product)
			require.Zero(t, want.scale.Cmp(again.scale), product)
			out = product
		}
	})
}

func TestProductsByHand(t *testing.T) {
	for _, x := range []struct {
		u, v string
		n    int
		want string
	}{
		{"m3/h", "bar", 1, "m3/h.bar"}, {"kW.h", "h", -1, "kW.h/h"}, {"1", "m", 2, "m2"}, {"1", "m", -2, "1/m2"}, {"bar", "bar", -1, "1"},
		{"m", "kg/m3", -1, "m/(kg/m3)"}, {"bar", "1", 1, "bar"}, {"/m", "s", 1, "1/m.s"}, {"%", "%", -1, "1"},
	} {
		got, err := Product(mustParse(t, x.u), mustParse(t, x.v), x.n)
		require.NoError(t, err)
		require.Equal(t, x.want, got.String())
	}
	for _, x := range [][2]string{{"Cel", "m"}, {"m", "[pH]"}, {"m20", "m20"}} {
		_, err := Product(mustParse(t, x[0]), mustParse(t, x[1]), 1)
		require.ErrorIs(t, err, ErrDimension)
	}
}

// TestDifferencesHaveNoOffset: what a difference is told in converts it.
func TestDifferencesHaveNoOffset(t *testing.T) {
	for code, want := range map[string]string{"Cel": "K", "[degF]": "[degR]", "[degRe]": "5.K/4", "mCel": "K/1000", "bar": "bar", "K": "K"} {
		u := mustParse(t, code)
		d := u.Difference()
		require.Equal(t, want, d.String())
		require.False(t, d.HasOffset())
		require.Zero(t, mustParse(t, d.String()).scale.Cmp(u.scale))
		require.Equal(t, code != "bar" && code != "K", u.HasOffset())
	}
}
