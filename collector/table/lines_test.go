package table

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// A field read by itself is what it says: the double, the integer or the text that stands there.
func TestFieldsByThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`[+-]?[0-9]{1,22}`), rapid.StringMatching(`-?[0-9]{1,5}\.[0-9]{1,8}`), rapid.StringMatching(`-?[1-9](\.[0-9]{1,3})?e[+-]?[0-9]{1,3}`),
			rapid.SampledFrom([]string{"true", "FALSE", "NaN", "-Inf", "0x10", "1_0", "007", "-0", "on", "1,5", "18446744073709551616"}),
		).Draw(t, "text")
		typ, bits, s, reason := ParseField([]byte(text), []byte(text), 0)
		x, err := strconv.ParseFloat(text, 64)
		number := err == nil && !strings.ContainsAny(text, "xX_") && !(len(strings.TrimLeft(text, "+-")) > 1 && strings.TrimLeft(text, "+-")[0] == '0' && strings.TrimLeft(text, "+-")[1] != '.' && strings.TrimLeft(text, "+-")[1] != 'e')
		switch {
		case reason != "":
			require.True(t, number, "only integers beyond all types are refused: %s", reason)
			require.Greater(t, math.Abs(x), 9.2e18)
		case typ == model.Bool:
			require.Equal(t, strings.EqualFold(text, "true"), bits == 1)
		case typ == model.String:
			require.False(t, number, text)
			require.Equal(t, text, s)
		case typ == model.Float64:
			require.Equal(t, math.Float64bits(x), bits)
			if _, err := strconv.ParseInt(text, 10, 64); err == nil && text != "-0" {
				back := strconv.FormatFloat(x, 'f', -1, 64)
				require.Equal(t, strings.TrimPrefix(text, "+"), back, "an integer that a double does not have is none")
			}
		case typ == model.Int64:
			i, err := strconv.ParseInt(text, 10, 64)
			require.NoError(t, err)
			require.Equal(t, uint64(i), bits)
		case typ == model.Uint64:
			u, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 64)
			require.NoError(t, err)
			require.Equal(t, u, bits)
		}
	})
}

func TestLinesOfDeclaredTypes(t *testing.T) {
	for _, c := range []struct {
		t    model.Type
		text string
		want model.Type // 0: refused
		bits uint64
	}{
		{model.Float32, "0.1", model.Float32, uint64(math.Float32bits(0.1))}, {model.Float32, "1e39", 0, 0}, {model.Int64, "1.5", 0, 0}, {model.Int64, "-7", model.Int64, math.MaxUint64 - 6},
		{model.Uint64, "-1", 0, 0}, {model.Uint64, "+7", model.Uint64, 7}, {model.Bool, "1", model.Bool, 1}, {model.Bool, "2", 0, 0}, {model.State, "3", model.Int64, 3},
		{model.State, "Running", model.String, 0}, {model.String, "\xff", 0, 0}, {model.Float64, "", 0, 0},
	} {
		typ, bits, _, reason := ParseField([]byte(c.text), []byte(c.text), c.t)
		if c.want == 0 {
			require.NotEmpty(t, reason, c.text)
			continue
		}
		require.Empty(t, reason)
		require.Equal(t, c.want, typ)
		require.Equal(t, c.bits, bits)
	}
}

func TestLinesAndHeaders(t *testing.T) {
	_, err := NewLines(Mapping{}, "a.csv", []byte("2026-01-01T00:00:00Z,5"))
	require.ErrorIs(t, err, ErrHeader)
	l, err := NewLines(Mapping{}, "a.csv", []byte("\uFEFFtime;x"))
	require.NoError(t, err)
	var got []string
	read := func(line string) error {
		return l.Read([]byte(line), func(c Cell) error {
			got = append(got, fmt.Sprint(c.Name, " ", c.Time, " ", math.Float64frombits(c.Bits)))
			return nil
		}, func(e *RowError) { got = append(got, e.Error()) })
	}
	require.NoError(t, read("1970-01-01T00:00:01Z;5"))
	require.NoError(t, read(""))
	require.ErrorIs(t, read("time;y"), ErrNewHeader)
	require.ErrorAs(t, read("1970-01-01T00:00:01Z;5;6"), new(*RowError))
	require.ErrorAs(t, read("soon;5"), new(*RowError))
	require.ErrorAs(t, read(`1970-01-01T00:00:01Z;"5`), new(*RowError))
	require.NoError(t, read("1970-01-01T00:00:02Z;6"))
	require.Equal(t, []string{"x 1000000000 5", "x 2000000000 6"}, got)
}

// Whatever a line holds, it is values, or told.
func FuzzLines(f *testing.F) {
	f.Add("time,a,b", "2026-01-01T00:00:00Z,1,x")
	f.Add("timestamp,tag,value,quality", `2026-01-01T00:00:00Z,a,"x""y",Good`)
	f.Add("date;time;a", "01.02.2026;10:00;1,5")
	f.Fuzz(func(t *testing.T, header, line string) {
		l, err := NewLines(Mapping{}, "a.csv", []byte(header))
		if err != nil {
			return
		}
		cells, faults := 0, 0
		for range 2 {
			err = l.Read([]byte(line), func(c Cell) error {
				cells++
				if c.Type != 0 && !c.Type.Valid() {
					t.Fatal(c)
				}
				return nil
			}, func(*RowError) { faults++ })
			if bad := (*RowError)(nil); errors.As(err, &bad) && bad.Reason == "" {
				t.Fatal("no reason")
			}
		}
		if err == nil && cells+faults == 0 && bytes.ContainsAny([]byte(line), "123456789") && !strings.ContainsAny(header, "\"\n") && strings.Count(line, ",") == 0 && strings.TrimSpace(line) != "" && strings.Count(header, ",") > 0 {
			t.Fatalf("nothing said of %q under %q", line, header)
		}
	})
}
