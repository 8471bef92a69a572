package answer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func onScreen(t testing.TB, s Screen, fields []arrow.Field, batches ...string) (string, uint64) {
	var out strings.Builder
	s.Zone = time.UTC
	rows, err := WriteScreen(&out, open(t, encode(t, nil, fields, batches...)), s)
	require.NoError(t, err)
	return out.String(), rows
}

func TestScreen(t *testing.T) {
	fields := []arrow.Field{valueField("n", arrow.PrimitiveTypes.Int64), valueField("name", arrow.BinaryTypes.String), valueField("note", arrow.BinaryTypes.String)}
	rows := `[{"n": 1, "name": "abcdefghijklmnopqrst", "note": "x\u001b[2J\u202ey"}, {"n": 9007199254740992, "name": "世界世界世界世界世界", "note": null}]`
	got, n := onScreen(t, Screen{}, fields, rows)
	require.EqualValues(t, 2, n)
	require.Equal(t, strings.Join([]string{
		"               N  NAME                  NOTE",
		"               1  abcdefghijklmnopqrst  x·[2J·y",
		"9007199254740992  世界世界世界世界世界  -", ""}, "\n"), got)
	got, _ = onScreen(t, Screen{Width: 36}, fields, rows)
	require.Equal(t, strings.Join([]string{
		"               N  NAME       NOTE",
		"               1  abcdefgh…  x·[2J·y",
		"9007199254740992  世界世界…  -", ""}, "\n"), got)
	// Where not even cut texts fit, and where it is asked for.
	for _, s := range []Screen{{Width: 33}, {Records: true}} {
		got, n = onScreen(t, s, fields, rows)
		require.EqualValues(t, 2, n)
		require.Equal(t, strings.Join([]string{
			"-- 1", "n    | 1", "name | abcdefghijklmnopqrst", "note | x·[2J·y", "-- 2", "n    | 9007199254740992", "name | 世界世界世界世界世界", "note | -", ""}, "\n"), got)
	}
	got, n = onScreen(t, Screen{Width: 80}, fields)
	require.Zero(t, n)
	require.Equal(t, "N  NAME  NOTE\n", got)
	got, _ = onScreen(t, Screen{Width: 80, Records: true}, fields)
	require.Empty(t, got)
}

// Whatever the rows, a table is no wider than the terminal, all its numbers are whole, and no row is missing over pages.
func TestScreensFit(t *testing.T) {
	fields := []arrow.Field{valueField("a", arrow.BinaryTypes.String), valueField("a_long_name_of_numbers", arrow.PrimitiveTypes.Int64), valueField("b", arrow.BinaryTypes.String)}
	rapid.Check(t, func(r *rapid.T) {
		width := rapid.IntRange(20, 200).Draw(r, "width")
		count := rapid.SampledFrom([]int{1, 3, maxTableRows + 2}).Draw(r, "rows")
		letters := rapid.StringOfN(rapid.RuneFrom([]rune("ab 世é")), 0, 60, -1)
		texts := [][2]string{{letters.Draw(r, "x"), letters.Draw(r, "y")}, {letters.Draw(r, "x"), letters.Draw(r, "y")}}
		numbers := rapid.SliceOfN(rapid.Int64Range(1<<40, 1<<53), 2, 2).Draw(r, "numbers")
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `,{"a": %q, "a_long_name_of_numbers": %d, "b": %q}`, texts[i%2][0], numbers[i%2], texts[i%2][1])
		}
		got, n := onScreen(t, Screen{Width: width}, fields, "["+b.String()[1:]+"]")
		require.EqualValues(t, count, n)
		records := strings.HasPrefix(got, "-- 1\n")
		found := 0
		for line := range strings.Lines(got) {
			if !records {
				require.LessOrEqual(t, runewidth.StringWidth(strings.TrimSuffix(line, "\n")), width, line)
			}
			if strings.Contains(line, fmt.Sprint(numbers[0])) || strings.Contains(line, fmt.Sprint(numbers[1])) {
				found++
			}
		}
		require.Equal(t, count, found)
	})
}
