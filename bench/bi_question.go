package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/jackc/pgx/v5/pgtype"
)

// biQuestion is one of the questions of internal/interop/bi/queries.sql.
type biQuestion struct {
	name      string
	unordered bool
	near      bool // sums, averages and deviations
	functions bool // asks for what varve calculates, which no peer has words for
	sql       string
}

// Doubles of two right answers may be apart by these parts of their size.
const (
	biTolerance = 1e-12 // sums, whose order is not the same
	biAbout     = 1e-9  // deviations, correlations and lines, where the formulas are not the same
)

// tolerance is that of its answers in its own words.
func (q *biQuestion) tolerance() float64 {
	if q.near {
		return biTolerance
	}
	return 0
}

// group is what kind of tool or question it is of.
func (q *biQuestion) group() string {
	if q.functions {
		return "functions of varve"
	}
	first, _, _ := strings.Cut(q.name, "-")
	if slices.Contains([]string{"tableau", "powerbi", "grafana", "dbeaver", "pandas", "asof", "window", "pivot"}, first) {
		return first
	}
	return "others"
}

// sections cuts a file of statements at its lines "-- NAME FLAGS", and gives each to each. Words before the first are for people.
func sections(text string, each func(name, flags, sql string)) {
	var name, flags string
	var sql []string
	end := func() {
		if name != "" {
			each(name, flags, strings.TrimSpace(strings.Join(sql, "\n")))
		}
		sql = nil
	}
	begun := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		head, ok := strings.CutPrefix(line, "-- ")
		if begun = begun || line == ""; ok && begun && head != "" && head[0] != ' ' {
			end()
			name, flags, _ = strings.Cut(head, " ")
		} else if name != "" {
			sql = append(sql, line)
		}
	}
	end()
}

// readBIQuestions reads the questions of the tree.
func readBIQuestions() ([]*biQuestion, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, fmt.Errorf("find the module, whose internal/interop/bi has the questions: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(root, "internal", "interop", "bi", "queries.sql"))
	if err != nil {
		return nil, err
	}
	var all []*biQuestion
	sections(string(text), func(name, flags, sql string) {
		words, _, functions := strings.Cut(flags, "oracle ")
		all = append(all, &biQuestion{
			name: name, unordered: strings.Contains(words, "unordered"), near: strings.Contains(words, "near"), functions: functions, sql: sql,
		})
	})
	if len(all) == 0 {
		return nil, errors.New("internal/interop/bi/queries.sql has no question")
	}
	return all, nil
}

// cells are the rows of an answer: nil, bool, int64, float64, string; an instant is its nanoseconds.
type cells [][]any

// cellsOf appends the rows of a record batch.
func cellsOf(into *cells) visitor {
	return func(r arrow.Record) error {
		rows := make(cells, r.NumRows())
		for i := range rows {
			rows[i] = make([]any, r.NumCols())
			for k, c := range r.Columns() {
				v, err := cellOf(c, i)
				if err != nil {
					return fmt.Errorf("column %s: %w", r.ColumnName(k), err)
				}
				rows[i][k] = v
			}
		}
		*into = append(*into, rows...)
		return nil
	}
}

func cellOf(c arrow.Array, i int) (any, error) {
	if c.IsNull(i) {
		return nil, nil
	}
	switch c := c.(type) {
	case *array.Boolean:
		return c.Value(i), nil
	case *array.Int32:
		return int64(c.Value(i)), nil
	case *array.Int64:
		return c.Value(i), nil
	case *array.Uint32:
		return int64(c.Value(i)), nil
	case *array.Float64:
		return c.Value(i), nil
	case *array.String:
		return strings.Clone(c.Value(i)), nil
	case *array.Dictionary:
		return cellOf(c.Dictionary(), c.GetValueIndex(i))
	case *array.Date32:
		return c.Value(i).ToTime().UnixNano(), nil
	case *array.Timestamp:
		return c.Value(i).ToTime(c.DataType().(*arrow.TimestampType).Unit).UnixNano(), nil
	case *array.Decimal128:
		return c.Value(i).ToFloat64(c.DataType().(*arrow.Decimal128Type).Scale), nil
	}
	return nil, fmt.Errorf("a value of %s", c.DataType())
}

// postgresCell is a value as pgx has it.
func postgresCell(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, int64, float64, string:
		return v, nil
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case time.Time:
		return v.UnixNano(), nil
	case pgtype.Numeric:
		f, err := v.Float64Value()
		return f.Float64, err
	}
	return nil, fmt.Errorf("a value of %T", v)
}

// differ is what differs first between two answers, or nil. Doubles may differ by tolerance of their size.
func (q *biQuestion) differ(got, want cells, tolerance float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d rows, want %d", len(got), len(want))
	}
	if q.unordered {
		got, want = slices.Clone(got), slices.Clone(want)
		slices.SortFunc(got, compareRows)
		slices.SortFunc(want, compareRows)
	}
	for i := range want {
		same := len(got[i]) == len(want[i])
		for k := 0; same && k < len(want[i]); k++ {
			same = sameCell(got[i][k], want[i][k], tolerance)
		}
		if !same {
			return fmt.Errorf("row %d is %s, want %s", i, rowText(got[i]), rowText(want[i]))
		}
	}
	return nil
}

func rowText(row []any) string {
	b, err := json.Marshal(row)
	if err != nil { // NaN and the like
		return fmt.Sprint(row)
	}
	return string(bytes.TrimSpace(b))
}

// sameCell compares values; whole numbers are one kind with doubles, since sums of them are doubles in some databases and exact in others.
func sameCell(a, b any, tolerance float64) bool {
	x, number := numberCell(a)
	y, number2 := numberCell(b)
	if !number || !number2 {
		return a == b
	}
	if i, ok := a.(int64); ok {
		if j, ok := b.(int64); ok {
			return i == j
		}
	}
	return x == y || math.IsNaN(x) && math.IsNaN(y) || math.Abs(x-y) <= tolerance*max(math.Abs(x), math.Abs(y))
}

func numberCell(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// compareRows orders rows by what is exact in them, then by their doubles, which rounding may order otherwise.
func compareRows(a, b []any) int {
	for _, doubles := range []bool{false, true} {
		for k := range min(len(a), len(b)) {
			_, x := a[k].(float64)
			_, y := b[k].(float64)
			if (x || y) != doubles {
				continue
			}
			if c := compareCells(a[k], b[k]); c != 0 {
				return c
			}
		}
	}
	return len(a) - len(b)
}

func compareCells(a, b any) int {
	x, number := numberCell(a)
	y, number2 := numberCell(b)
	if number && number2 {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(fmt.Sprintf("%T %v", a, a), fmt.Sprintf("%T %v", b, b))
}
