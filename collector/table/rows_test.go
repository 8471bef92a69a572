package table

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// readRows is every row of a text with its line, bad ones as "!reason".
func readRows(t require.TestingT, src io.Reader) (rows [][]string, lines []int) {
	r := newRowReader(src, ',')
	for {
		fields, err := r.next()
		if errors.Is(err, io.EOF) {
			return rows, lines
		}
		lines = append(lines, r.line)
		if bad := (*RowError)(nil); errors.As(err, &bad) {
			rows = append(rows, []string{"!" + bad.Reason})
			continue
		}
		require.NoError(t, err)
		var row []string
		for _, f := range fields {
			row = append(row, string(f))
		}
		rows = append(rows, row)
	}
}

func TestRowsByHand(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		want  [][]string
		lines []int
	}{
		"byte order mark, CRLF, no newline at the end": {"\uFEFFa,b\r\n1,2\r\n3,4", [][]string{{"a", "b"}, {"1", "2"}, {"3", "4"}}, []int{1, 2, 3}},
		"byte order mark before quotes":                {"\uFEFF\"a\",b\n", [][]string{{"a", "b"}}, []int{1}},
		"blank lines do not count":                     {"a\n\n\r\nb\n", [][]string{{"a"}, {"b"}}, []int{1, 4}},
		"white space is kept":                          {" a , b\n", [][]string{{" a ", " b"}}, []int{1}},
		"quotes":                                       {"\"a,b\",\"say \"\"no\"\"\",\"\"\n", [][]string{{"a,b", `say "no"`, ""}}, []int{1}},
		"a quoted field over lines":                    {"x,\"one\ntwo\r\n\",y\nz\n", [][]string{{"x", "one\ntwo\r\n", "y"}, {"z"}}, []int{1, 4}},
		"a quote inside a bare field":                  {"5\" pipe,6\n7,8\n", [][]string{{"5\" pipe", "6"}, {"7", "8"}}, []int{1, 2}},
		"text behind a closing quote":                  {"\"a\"b,c\nd\n", [][]string{{"!text stands behind a closing quote"}, {"d"}}, []int{1, 2}},
		"a quote never closed":                         {"a,\"b\nc\nd\n", [][]string{{"!a quoted field is not closed"}, {"c"}, {"d"}}, []int{1, 2, 3}},
		"an empty last field":                          {"a,\n\"b\",\n", [][]string{{"a", ""}, {"b", ""}}, []int{1, 2}},
		"zero bytes are bytes":                         {"a\x00b,c\n", [][]string{{"a\x00b", "c"}}, []int{1}},
		"nothing":                                      {"", nil, nil},
		"only newlines":                                {"\n\n", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, src := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				rows, lines := readRows(t, src)
				require.Equal(t, c.want, rows)
				require.Equal(t, c.lines, lines)
			}
		})
	}
}

// What encoding/csv writes reads back, wherever the buffer ends.
func TestRowsReadWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(2, 5).Draw(t, "width")
		field := rapid.OneOf(rapid.StringMatching(`[a-z0-9,"\n ]{0,6}`), rapid.StringN(0, 20, -1))
		want := rapid.SliceOf(rapid.SliceOfN(field, width, width)).Draw(t, "rows")
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		for i, row := range want {
			for j, f := range row {
				row[j] = strings.ReplaceAll(f, "\r", "") // encoding/csv drops some of them when it writes
			}
			if i == 0 && strings.HasPrefix(row[0], "\uFEFF") {
				row[0] = ""
			}
			require.NoError(t, w.Write(row))
		}
		w.Flush()
		got, _ := readRows(t, iotest.HalfReader(bytes.NewReader(text.Bytes())))
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
	})
}

func TestRowsHaveLimits(t *testing.T) {
	_, err := newRowReader(zeros{}, ',').next()
	require.ErrorIs(t, err, ErrTooLarge, "a line without an end")

	r := newRowReader(strings.NewReader("a"+strings.Repeat(",", MaxColumns)+"\nb\n"), ',')
	_, err = r.next()
	require.ErrorContains(t, err, "more than 131072 fields")
	fields, err := r.next()
	require.NoError(t, err)
	require.Equal(t, "b", string(fields[0]))

	text := strings.Repeat(`"`+strings.Repeat("x", 3000)+"\n", 1) + strings.Repeat(strings.Repeat("y", 100)+"\n", MaxFieldBytes/50)
	rows, _ := readRows(t, strings.NewReader(text))
	require.Equal(t, []string{"!a quoted field is not closed"}, rows[0])
	require.Len(t, rows, 1+MaxFieldBytes/50)
}

// zeros is what a decompression bomb unpacks to.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzRows(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\uFEFFa\r\n", "\"a\"\"b\",c\n", "\"a\nb", "\"\"x\n\"y\n\"z\"\n", ",,\n\n,\"\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		whole, lines := readRows(t, bytes.NewReader(text))
		pieces, again := readRows(t, iotest.OneByteReader(bytes.NewReader(text)))
		require.Equal(t, whole, pieces)
		require.Equal(t, lines, again)
		for i := 1; i < len(lines); i++ {
			require.Less(t, lines[i-1], lines[i])
		}
		if n := len(lines); n > 0 {
			require.LessOrEqual(t, lines[n-1], bytes.Count(text, []byte("\n"))+1, fmt.Sprint(lines))
		}
	})
}
