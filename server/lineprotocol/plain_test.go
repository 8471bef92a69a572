package lineprotocol

import (
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// point is a line as the tests compare it.
type point struct {
	line        int
	measurement string
	tags        []Tag
	fields      [][2]string // key, and value with its kind
	time        int64
	hasTime     bool
}

// plain reads a body the plain way: a string, a character at a time, with the number package for numbers. It knows nothing of buffers.
func plain(body string, unit int64) (points []point, wrong int) {
	line := 1
	for body != "" {
		trimmed := strings.TrimLeft(body, " ")
		rest, p, ok := plainLine(trimmed, unit)
		if !ok {
			rest = plainSkip(trimmed)
			wrong++
		} else if p != nil {
			p.line = line
			points = append(points, *p)
		}
		line += strings.Count(body[:len(body)-len(rest)], "\n")
		body = rest
	}
	return points, wrong
}

var (
	plainFloat = regexp.MustCompile(`^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
	plainInt   = regexp.MustCompile(`^-?[0-9]+$`)
)

// plainLine takes the first line off s; nil where it is empty.
func plainLine(s string, unit int64) (rest string, p *point, ok bool) {
	if s == "" {
		return "", nil, true
	}
	if rest, ok := plainEnd(s); ok {
		return rest, nil, true
	}
	if s[0] == '#' {
		line, rest, _ := strings.Cut(s, "\n")
		return rest, nil, !strings.ContainsFunc(strings.TrimSuffix(line, "\r"), func(c rune) bool { return c < 32 || c == 127 })
	}
	p = &point{}
	if p.measurement, s = plainKey(s, ", ", ""); p.measurement == "" || !utf8.ValidString(p.measurement) {
		return "", nil, false
	}
	for strings.HasPrefix(s, ",") {
		var t Tag
		t.Key, s = plainKey(s[1:], ",= ", "=")
		if t.Key == "" || !strings.HasPrefix(s, "=") {
			return "", nil, false
		}
		if t.Value, s = plainKey(s[1:], ",= ", "="); t.Value == "" || !utf8.ValidString(t.Key+t.Value) {
			return "", nil, false
		}
		if slices.ContainsFunc(p.tags, func(u Tag) bool { return u.Key == t.Key }) {
			return "", nil, false
		}
		p.tags = append(p.tags, t)
	}
	slices.SortFunc(p.tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	for more := strings.HasPrefix(s, " "); more; more = strings.HasPrefix(s, ",") {
		if len(p.fields) > 0 {
			s = s[1:]
		} else {
			s = strings.TrimLeft(s, " ")
		}
		var key, value string
		key, s = plainKey(s, ",= ", "=")
		if key == "" || !strings.HasPrefix(s, "=") || !utf8.ValidString(key) {
			return "", nil, false
		}
		if value, s, ok = plainValue(s[1:]); !ok || s != "" && !strings.ContainsRune(", \r\n", rune(s[0])) {
			return "", nil, false
		}
		p.fields = append(p.fields, [2]string{key, value})
	}
	if len(p.fields) == 0 {
		return "", nil, false
	}
	s = strings.TrimLeft(s, " ")
	if rest, ok := plainEnd(s); ok {
		return rest, p, true
	}
	end := strings.IndexFunc(s, func(c rune) bool { return c != '-' && (c < '0' || c > '9') })
	if end < 0 {
		end = len(s)
	}
	if !plainInt.MatchString(s[:end]) || end < len(s) && !strings.ContainsRune(" \r\n", rune(s[end])) {
		return "", nil, false
	}
	t, _ := new(big.Int).SetString(s[:end], 10)
	t.Mul(t, big.NewInt(unit))
	p.time, p.hasTime = t.Int64(), true
	rest, ok = plainEnd(strings.TrimLeft(s[end:], " "))
	return rest, p, ok && t.IsInt64()
}

// plainEnd takes the end of a line off s.
func plainEnd(s string) (string, bool) {
	switch {
	case s == "" || s == "\r":
		return "", true
	case s[0] == '\n':
		return s[1:], true
	case strings.HasPrefix(s, "\r\n"):
		return s[2:], true
	}
	return "", false
}

// plainKey takes characters off s up to one of a set, or one that nobody prints. A backslash before one of the set is left out.
func plainKey(s, set, also string) (key, rest string) {
	for s != "" {
		if len(s) > 1 && s[0] == '\\' && strings.IndexByte(set, s[1]) >= 0 {
			key, s = key+s[1:2], s[2:]
			continue
		}
		if strings.IndexByte(set+also, s[0]) >= 0 || s[0] < 32 || s[0] == 127 {
			break
		}
		key, s = key+s[:1], s[1:]
	}
	return key, s
}

func plainValue(s string) (value, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		text := ""
		for s = s[1:]; s != "" && s[0] != '"'; {
			meaning, escape := map[string]string{`\"`: `"`, `\\`: `\`, `\n`: "\n", `\r`: "\r", `\t`: "\t"}[s[:min(2, len(s))]]
			if escape {
				text, s = text+meaning, s[2:]
			} else {
				text, s = text+s[:1], s[1:]
			}
		}
		if s == "" || !utf8.ValidString(text) {
			return "", "", false
		}
		return strconv.Quote(text), s[1:], true
	}
	end := strings.IndexAny(s, ", \r\n")
	if end < 0 {
		end = len(s)
	}
	value, rest = s[:end], s[end:]
	switch {
	case slices.Contains([]string{"t", "T", "true", "True", "TRUE"}, value):
		return "true", rest, true
	case slices.Contains([]string{"f", "F", "false", "False", "FALSE"}, value):
		return "false", rest, true
	case strings.HasSuffix(value, "i") && plainInt.MatchString(value[:end-1]):
		n, _ := new(big.Int).SetString(value[:end-1], 10)
		return n.String() + "i", rest, n.IsInt64()
	case strings.HasSuffix(value, "u") && plainInt.MatchString(value[:end-1]) && value[0] != '-':
		n, _ := new(big.Int).SetString(value[:end-1], 10)
		return n.String() + "u", rest, n.IsUint64()
	case plainFloat.MatchString(value):
		f, err := strconv.ParseFloat(value, 64)
		return fmt.Sprintf("%x", math.Float64bits(f)), rest, err == nil
	}
	return "", "", false
}

// plainSkip takes a line off s that is wrong. A text that is open at its end goes on, if it ever ends.
func plainSkip(s string) string {
	inFields, last := false, byte(0)
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(",= ", s[i+1]) >= 0:
			i++
			last = 0
			continue
		case s[i] == '\n':
			return s[i+1:]
		case s[i] == ' ':
			inFields = true
		case s[i] == '"' && last == '=' && inFields:
			j := i + 1
			for j < len(s) && s[j] != '"' {
				if s[j] == '\\' && j+1 < len(s) && strings.IndexByte(`"\nrt`, s[j+1]) >= 0 {
					j++
				}
				j++
			}
			if j >= len(s) {
				_, rest, _ := strings.Cut(s, "\n")
				return rest
			}
			i = j
		}
		last = s[i]
	}
	return ""
}

// requireSame holds the reader to the plain one, in whatever pieces the body comes.
func requireSame(t testing.TB, body string, unit int64) {
	t.Helper()
	want, wrong := plain(body, unit)
	for name, in := range map[string]io.Reader{
		"whole": strings.NewReader(body), "bytes": iotest.OneByteReader(strings.NewReader(body)), "end with data": iotest.DataErrReader(strings.NewReader(body)),
	} {
		got, errs := read(t, in, unit, maxLine)
		require.Equal(t, want, got, "%s: %q", name, body)
		require.Len(t, errs, wrong, "%s: %q %v", name, body, errs)
	}
}

// pieces are what random bodies are made of: those that mean something, in every order.
var pieces = []string{
	"m", "cpu", ",", "=", " ", "\n", "\r\n", "\r", "\\", "\"", "a", "b", "host", "1", "-", ".", "e", "E", "i", "u", "t", "true", "F", "0", "9223372036854775807", "18446744073709551616",
	"m v=1 1\n", "m,a=b v=1i,w=\"x\" 5\n", "#", "# c\n", "\\ ", "\\,", "\\=", "\\\"", "\\\\", "\\n", "é", "\xff", "\x00", "\t", "\x7f", "m s=\"", "\" 7\n", "1.5", "-0", "NaN", "+1",
}

func TestReaderAgreesWithThePlainOne(t *testing.T) {
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var b strings.Builder
		for range 1 + rng.IntN(20) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		requireSame(t, b.String(), []int64{1, 1e9, 3600e9}[rng.IntN(3)])
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"m v=1 1", "m,a=b v=1i,w=\"x\\\"\n\" 5\nm v=x\n# c\n\r\nm,a=b\\ c v=t", "m s=\"open\nm v=1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		requireSame(t, string(b[:min(len(b), 2000)]), 1e6) // the plain reader takes its time
	})
}
