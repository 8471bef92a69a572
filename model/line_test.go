package model

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnLine(t *testing.T) {
	require.Equal(t, 15.0, OnLine(0, 10, 10e9, 20, 5e9))
	require.Equal(t, 0.5, OnLine(math.MinInt64, 0, math.MaxInt64, 1, 0), "differences of times do not overflow")
	require.Equal(t, -2.0, OnLine(-3, -1, 1, -5, -2))
	require.Equal(t, 0.0, OnLine(0, math.MaxFloat64, 2, -math.MaxFloat64, 1), "nor do those of values")
	require.Equal(t, 20.0, OnLine(0, 0, 1, 10, 2))
	require.Equal(t, -10.0, OnLine(0, 0, 1, 10, -1))
	require.True(t, math.IsNaN(OnLine(0, math.Inf(1), 2, math.Inf(1), 1)))
}

func TestOfSpan(t *testing.T) {
	tag := Tag{Name: "T-101", SpanLow: -50, SpanHigh: 150}
	d, err := tag.OfSpan(0.5)
	require.NoError(t, err)
	require.Equal(t, 1.0, d)
	for _, span := range [][2]float64{{0, 0}, {5, 1}, {math.NaN(), 1}, {-math.MaxFloat64, math.MaxFloat64}} {
		tag.SpanLow, tag.SpanHigh = span[0], span[1]
		_, err = tag.OfSpan(1)
		require.ErrorContains(t, err, "T-101")
	}
}
