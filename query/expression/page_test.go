package expression

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// pageTag is a row of the page's table of tags.
type pageTag struct {
	Tag
	value Value
}

// tables are the tables of the page under a heading, without heads.
func tables(t *testing.T, from string) [][][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/reference/expressions.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(page), from)
	require.True(t, ok)
	var out [][][]string
	rows := -1
	for line := range strings.SplitSeq(rest, "\n") {
		if !strings.HasPrefix(line, "|") {
			rows = -1
			continue
		}
		if rows++; rows == 0 {
			out = append(out, nil)
		}
		if rows < 2 {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		out[len(out)-1] = append(out[len(out)-1], cells)
	}
	return out
}

func pageTags(t *testing.T, rows [][]string) map[string]pageTag {
	out := map[string]pageTag{}
	for _, r := range rows {
		typ, err := model.ParseType(r[1])
		require.NoError(t, err)
		q, err := model.ParseQuality(r[4])
		require.NoError(t, err)
		s := model.Sample{Type: typ, Quality: q, Null: r[3] == ""}
		set := &model.StateSet{}
		switch number, text, _ := strings.Cut(r[3], " "); {
		case s.Null:
		case typ == model.Float64:
			f, err := strconv.ParseFloat(number, 64)
			require.NoError(t, err)
			s = model.Sample{Type: typ, Quality: q, Bits: bitsOf(f)}
		case typ == model.Bool:
			s.Bits = 1
		case typ == model.String:
			s.Blob = []byte(r[3])
		default:
			i, err := strconv.ParseInt(number, 10, 64)
			require.NoError(t, err)
			s.Bits = uint64(i)
			set.States = []model.DigitalState{{Code: i, Text: text}}
		}
		out[r[0]] = pageTag{Tag{typ, r[2]}, OfSample(s, set)}
	}
	return out
}

// evaluate checks and evaluates an expression over the page's tags.
func evaluate(t *testing.T, text string, tags map[string]pageTag) (*Program, Value, error) {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		return nil, Value{}, err
	}
	var of []Tag
	var row []Value
	for _, name := range e.References() {
		require.Contains(t, tags, name, text)
		of, row = append(of, tags[name].Tag), append(row, tags[name].value)
	}
	p, err := e.Check(of)
	if err != nil {
		return nil, Value{}, err
	}
	return p, p.Eval(row), nil
}

func TestThePageIsRight(t *testing.T) {
	all := tables(t, "## Examples\n")
	require.Len(t, all, 3)
	tags := pageTags(t, all[0])
	named := map[string]bool{}
	for _, r := range all[1] {
		p, v, err := evaluate(t, r[0], tags)
		require.NoError(t, err, r[0])
		require.Equal(t, r[1:], []string{shown(v), p.Unit, v.Quality.Text()}, r[0])
		for name := range operations {
			named[name] = named[name] || strings.Contains(r[0], strings.TrimPrefix(name, "unary "))
		}
	}
	for name := range operations {
		require.True(t, named[name], "no example of %s", name)
	}
	for _, r := range all[2] {
		_, _, err := evaluate(t, r[0], tags)
		require.ErrorIs(t, err, ErrExpression, r[0])
		require.ErrorContains(t, err, r[1], r[0])
	}
}

func shown(v Value) string {
	switch {
	case v.Null:
		return "none"
	case v.Type == Bool:
		return strconv.FormatBool(v.Bool)
	case v.Type == Text:
		return v.Text
	case v.Type == State:
		return strconv.FormatInt(v.Int, 10) + " " + v.Text
	case v.Exact:
		return strconv.FormatInt(v.Int, 10)
	}
	return strconv.FormatFloat(v.Float, 'g', -1, 64)
}
