package lineprotocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// maxLine is that of tests which do not care.
const maxLine = 1 << 20

// read is all points of a body in the words of the plain reader, and the lines that are wrong.
func read(t testing.TB, in io.Reader, unit int64, maxLine int) (points []point, wrong []*Error) {
	r := NewReader(in, unit, maxLine)
	for {
		err := r.Next()
		if err == io.EOF {
			return points, wrong
		}
		if e, ok := errors.AsType[*Error](err); ok {
			wrong = append(wrong, e)
			continue
		}
		require.NoError(t, err)
		p, err := taken(&r.Line)
		if err != nil {
			wrong = append(wrong, &Error{Line: r.Line.Number, Reason: err.Error()})
			continue
		}
		points = append(points, p)
	}
}

// taken is a line with everything taken apart.
func taken(l *Line) (p point, err error) {
	s, err := Split(l.Series)
	if err != nil {
		return p, err
	}
	p = point{line: l.Number, measurement: s.Measurement, tags: s.Tags, time: l.Time, hasTime: l.HasTime}
	for i := range l.Fields {
		f := &l.Fields[i]
		key, err := Unescape(f.Key)
		if err != nil {
			return p, err
		}
		v := ""
		switch f.Kind {
		case Float:
			v = fmt.Sprintf("%x", f.Bits)
		case Int:
			v = fmt.Sprint(int64(f.Bits), "i")
		case Uint:
			v = fmt.Sprint(f.Bits, "u")
		case Bool:
			v = fmt.Sprint(f.Bits == 1)
		case Text:
			v = strconv.Quote(string(f.Text))
		}
		p.fields = append(p.fields, [2]string{key, v})
	}
	return p, nil
}

type corpusText []byte

func (c *corpusText) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*c = []byte(s)
		return nil
	}
	var o struct{ Binary string }
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	var err error
	*c, err = base64.StdEncoding.DecodeString(o.Binary)
	return err
}

type corpusCase struct {
	ID          string
	Text        corpusText
	DefaultTime int64 `json:"default_time_ns"`
	Precision   string
	Points      []struct {
		Time   int64
		Name   corpusText
		Tags   []struct{ Key, Value corpusText }
		Fields []struct {
			Key   corpusText
			Value struct {
				Float  *float64
				Int    *int64
				Uint   *uint64
				String *string
				Bool   *bool
				Binary *string
			}
		}
	}
}

var corpusUnits = map[string]int64{"1ns": 1, "1µs": 1e3, "1ms": 1e6, "1s": 1e9}

func TestCorpus(t *testing.T) {
	b, err := os.ReadFile("testdata/corpus.json")
	require.NoError(t, err)
	var corpus struct {
		OK    []corpusCase `json:"decode_ok"`
		Error []corpusCase `json:"decode_error"`
		Fuzz  []corpusCase `json:"decode_fuzz_error_sample"`
	}
	require.NoError(t, json.Unmarshal(b, &corpus))
	require.Equal(t, []int{198, 47, 123}, []int{len(corpus.OK), len(corpus.Error), len(corpus.Fuzz)})
	for _, c := range corpus.OK {
		unit := corpusUnits[c.Precision]
		require.NotZero(t, unit, c.Precision)
		got, wrong := read(t, bytes.NewReader(c.Text), unit, maxLine)
		require.Empty(t, wrong, "%s: %q", c.ID, c.Text)
		require.Len(t, got, len(c.Points), "%s: %q", c.ID, c.Text)
		for i, want := range c.Points {
			p := got[i]
			if !p.hasTime {
				p.time = c.DefaultTime - c.DefaultTime%unit
			}
			require.Equal(t, want.Time, p.time, "%s: %q", c.ID, c.Text)
			require.Equal(t, string(want.Name), p.measurement)
			var tags []Tag
			for _, w := range want.Tags {
				tags = append(tags, Tag{string(w.Key), string(w.Value)})
			}
			require.Equal(t, tags, p.tags, "%s: %q", c.ID, c.Text)
			var fields [][2]string
			for _, w := range want.Fields {
				v := ""
				switch {
				case w.Value.Float != nil:
					v = fmt.Sprintf("%x", math.Float64bits(*w.Value.Float))
				case w.Value.Int != nil:
					v = fmt.Sprint(*w.Value.Int, "i")
				case w.Value.Uint != nil:
					v = fmt.Sprint(*w.Value.Uint, "u")
				case w.Value.String != nil:
					v = strconv.Quote(*w.Value.String)
				case w.Value.Bool != nil:
					v = fmt.Sprint(*w.Value.Bool)
				case w.Value.Binary != nil:
					text, err := base64.StdEncoding.DecodeString(*w.Value.Binary)
					require.NoError(t, err)
					v = strconv.Quote(string(text))
				}
				fields = append(fields, [2]string{string(w.Key), v})
			}
			require.Equal(t, fields, p.fields, "%s: %q", c.ID, c.Text)
		}
	}
	for _, c := range append(corpus.Error, corpus.Fuzz...) {
		_, wrong := read(t, bytes.NewReader(c.Text), corpusUnits[c.Precision], maxLine)
		require.NotEmpty(t, wrong, "%s: %q is taken", c.ID, c.Text)
	}
}

func TestWhatIsWrongAndWhere(t *testing.T) {
	for _, c := range []struct{ body, says string }{
		{"m v=1\nm v=x\nm v=2", `line 2, column 5: value "x" of field "v" is no value: numbers are 1, 1.5, 1i or 1u, text stands in quotes`},
		{"m v=1\nm\n", "line 2, column 2: there are no fields"},
		{"m,a v=1", `line 1: tag "a" has no value: = must follow`},
		{"m,a=1,a=2 v=1", `line 1: tag "a" stands twice`},
		{"m,a=\xff v=1", "line 1: measurement and tags are not UTF-8"},
		{"m v=1 12x", "line 1, column 9: 'x' in a time"},
		{"m v=1 9223372036854775808", `line 1, column 7: time "9223372036854775808" is none that 64 bits of nanoseconds have`},
		{"m v=1 1 2", "line 1, column 9: '2' where the line should end"},
		{"m v=1,", "line 1, column 7: '\\n' where a field should begin"},
		{"m s=\"a\nb\",v=x 1\nm v=1", `line 2, column 6: value "x" of field "v" is no value: numbers are 1, 1.5, 1i or 1u, text stands in quotes`},
		{"m v=1e400", `line 1, column 5: value "1e400" of field "v" is no number that a double has`},
		{"m v=256i,w=9223372036854775808i", `line 1, column 12: value "9223372036854775808i" of field "w" is no integer from -9223372036854775808 to 9223372036854775807`},
		{"m v=-1u", `line 1, column 5: value "-1u" of field "v" is no integer from 0 to 18446744073709551615`},
		{"m s=\"open", "line 1: a text without its closing quote"},
		{"# bell \a\n", "line 1, column 1: a comment with a control character"},
		{"m\tv=1", `line 1, column 2: the control character '\t' in measurement and tags`},
		{",a=b v=1", "line 1: there is no measurement"},
	} {
		_, wrong := read(t, strings.NewReader(c.body), 1, maxLine)
		require.Len(t, wrong, 1, "%q", c.body)
		require.Equal(t, c.says, wrong[0].Error(), "%q", c.body)
	}
}

// What follows the end of a line inside a text is part of the text, also in a line that is wrong before it.
func TestTextsOfWrongLinesHoldNoLines(t *testing.T) {
	body := "m bad,s=\"\nstolen v=1 1\n\"\nm v=bad,s=\"x\nstolen v=1 1\n\" 5\nm v=2\n"
	points, wrong := read(t, strings.NewReader(body), 1, maxLine)
	require.Len(t, wrong, 2)
	require.Len(t, points, 1)
	require.Equal(t, "m", points[0].measurement)
	require.Equal(t, 7, points[0].line)
}

// One open quote does not cost the lines behind it, if no other quote closes it.
func TestOpenTextLosesItsLineOnly(t *testing.T) {
	points, wrong := read(t, strings.NewReader("m s=\"open\nm v=1\nm v=2\n"), 1, maxLine)
	require.Len(t, wrong, 1)
	require.Len(t, points, 2)
}

func TestLongLines(t *testing.T) {
	long := "m s=\"" + strings.Repeat("x", 500) + "\nm v=7\n" + strings.Repeat("y", 300_000) + "\" 1\n"
	exact := "m s=\"" + strings.Repeat("x", 93) + "\"\n"
	for _, in := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader} {
		points, wrong := read(t, in(strings.NewReader("m v=1\n"+long+exact+"m v=2")), 1, 100)
		require.Len(t, wrong, 1)
		require.Equal(t, "line 2: it has more than 100 bytes", wrong[0].Error())
		require.Len(t, points, 3)
		require.Equal(t, []int{1, 5, 6}, []int{points[0].line, points[1].line, points[2].line})
	}
	_, wrong := read(t, strings.NewReader("m s=\""+strings.Repeat("x", 94)+"\"\n"), 1, 100)
	require.Len(t, wrong, 1)
	points, wrong := read(t, strings.NewReader("m "+strings.Repeat("a=1,", MaxFields)+"a=1\nm a=2"), 1, maxLine)
	require.Len(t, wrong, 1)
	require.Contains(t, wrong[0].Reason, "more than 16384 fields")
	require.Len(t, points, 1)
}

// A body that breaks off in the middle of a number must not be taken for one with a smaller number.
func TestBrokenBody(t *testing.T) {
	broken := errors.New("connection lost")
	r := NewReader(io.MultiReader(strings.NewReader("m v=1 1\nm v=12"), iotest.ErrReader(broken)), 1, maxLine)
	require.NoError(t, r.Next())
	require.ErrorIs(t, r.Next(), broken)
	require.ErrorIs(t, r.Next(), broken)
	r = NewReader(io.MultiReader(strings.NewReader("m v=1 1\nm v=12"), iotest.ErrReader(io.ErrUnexpectedEOF)), 1, maxLine)
	require.NoError(t, r.Next())
	require.ErrorIs(t, r.Next(), io.ErrUnexpectedEOF)
}

func TestReset(t *testing.T) {
	r := NewReader(strings.NewReader("m v=1 1\nm v=2 2\n"), 1, maxLine)
	require.NoError(t, r.Next())
	r.Reset(strings.NewReader("x y=3 3"), 1e9, maxLine)
	require.NoError(t, r.Next())
	require.Equal(t, 1, r.Line.Number)
	require.Equal(t, int64(3e9), r.Line.Time)
	require.Equal(t, io.EOF, r.Next())
	require.Equal(t, io.EOF, r.Next())
}

func TestFloatsAreTheNearestDoubles(t *testing.T) {
	for _, s := range []string{
		"0", "-0", "-0.0", "0.1", "123456.789", "9007199254740992", "9007199254740993", "-9007199254740993.5", "1.7976931348623157e308", "5e-324", "4.9e-324",
		"0.000000000000000000000001", "123456789012345678", "1234567890123456789", "0.3333333333333333", "1e22", "1e23", "-.5", "5.", "00012.50", "2.2250738585072011e-308",
	} {
		want, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		got, ok := parseFloat([]byte(s))
		require.True(t, ok, s)
		require.Equal(t, math.Float64bits(want), got, s)
	}
	for _, s := range []string{"-", ".", "-.", "1..2", "1e", "1e400", "0x10", "1_0", "1-2", "-Inf", "1e+", "--1", "1.2.3", "infinity"} {
		_, ok := parseFloat([]byte(s))
		require.False(t, ok, s)
	}
}
