package chart

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func draw(t *testing.T, c *Chart) string {
	var out strings.Builder
	require.NoError(t, c.Draw(&out, time.UTC))
	return out.String()
}

const second = int64(time.Second)

func TestALineRises(t *testing.T) {
	c := New("P [bar]", 0, 16*second, 8, 4, false)
	for i := range int64(16) {
		c.Add(i*second, float64(i))
	}
	require.Equal(t, strings.Join([]string{
		"P [bar]",
		"15 ┤⠀⠀⠀⠀⠀⠀⣠⠞",
		"   ┤⠀⠀⠀⠀⣠⠞⠁",
		"   ┤⠀⠀⣠⠞⠁",
		" 0 ┤⣠⠞⠁",
		"   └────────",
		"    1970-01-01 00:00:00Z 1970-01-01 00:00:16Z",
		"",
	}, "\n"), draw(t, c))
}

// A stepped tag holds its value up to the next sample, another slopes.
func TestSteppedAndSloped(t *testing.T) {
	rows := func(stepped bool) []string {
		c := New("x", 0, 8*second, 4, 2, stepped)
		c.Add(0, 0)
		c.Add(7*second, 1)
		return strings.Split(draw(t, c), "\n")[1:3]
	}
	require.Equal(t, []string{"1 ┤⠀⠀⠀⢸", "0 ┤⣀⣀⣀⣸"}, rows(true))
	require.Equal(t, []string{"1 ┤⠀⠀⣠⠞", "0 ┤⣠⠞⠁"}, rows(false))
}

func TestGapsStayGaps(t *testing.T) {
	for name, gap := range map[string]func(*Chart){
		"a bad sample": (*Chart).Gap,
		"NaN":          func(c *Chart) { c.Add(4*second, math.NaN()) },
		"infinity":     func(c *Chart) { c.Add(4*second, math.Inf(-1)) },
	} {
		c := New("x", 0, 16*second, 8, 2, false)
		c.Add(0, 1)
		c.Add(2*second, 1)
		gap(c)
		c.Add(12*second, 1)
		c.Add(14*second, 1)
		require.Equal(t, "1 ┤⣀⡀⠀⠀⠀⠀⣀⡀", strings.Split(draw(t, c), "\n")[1], name)
	}
}

// However many samples fall into one column, its lowest and highest show.
func TestSpikesShow(t *testing.T) {
	c := New("x", 0, 1_000_000, 10, 5, false)
	for i := range int64(1_000_000) {
		v := 0.0
		if i == 123_456 {
			v = 1000
		}
		c.Add(i, v)
	}
	require.Contains(t, strings.Split(draw(t, c), "\n")[1], "1000 ┤")
	require.NotEqual(t, "1000 ┤", strings.Split(draw(t, c), "\n")[1])
}

func TestExtremes(t *testing.T) {
	require.Contains(t, draw(t, New("x", 0, second, 10, 5, false)), "no good number")
	c := New("x", math.MinInt64+1, math.MaxInt64, 10, 5, false)
	c.Add(math.MinInt64+1, -math.MaxFloat64)
	c.Add(0, 0)
	c.Add(math.MaxInt64-1, math.MaxFloat64)
	c.Add(math.MaxInt64, 1) // outside
	require.Contains(t, draw(t, c), "-1.79769e+308 ┤")
	flat := New("x", 0, 10, 0, 0, true)
	flat.Add(5, 7)
	require.Contains(t, draw(t, flat), "7 ┤")
}
