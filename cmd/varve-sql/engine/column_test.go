//go:build cgo

package engine

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"
)

// Batches come in memory of those before, and none has anything of those: texts of every length, instants, numbers, flags and lists, with and
// without values, over many batches.
func TestBatchesInMemoryOfOthers(t *testing.T) {
	const rows = 200_000
	d := openTest(t)
	var out bytes.Buffer
	sql := `select case when i % 7 <> 3 then repeat(chr(97 + (i % 26)::int), (i % 40)::int) end as text,
		case when i % 5 <> 1 then make_timestamp(i * 1000) end as instant, case when i % 11 <> 0 then i end as number,
		case when i % 3 = 0 then i % 2 = 0 end as flag, case when i % 13 <> 2 then [i, null, i + 1] end as list
		from range(200000) t(i) order by i`
	require.NoError(t, d.Execute(context.Background(), &testScanner{}, sql, nil, NewWriter(&out, func() error { return nil })))
	r, err := ipc.NewReader(&out)
	require.NoError(t, err)
	defer r.Release()
	i, batches := 0, 0
	for ; r.Next(); batches++ {
		x := r.Record()
		text, instant, number, flag, list := x.Column(0).(*array.String), x.Column(1).(*array.Timestamp), x.Column(2).(*array.Int64), x.Column(3).(*array.Boolean), x.Column(4).(*array.List)
		for row := range int(x.NumRows()) {
			require.Equal(t, i%7 == 3, text.IsNull(row))
			require.Equal(t, i%5 == 1, instant.IsNull(row))
			require.Equal(t, i%11 == 0, number.IsNull(row))
			require.Equal(t, i%3 != 0, flag.IsNull(row))
			require.Equal(t, i%13 == 2, list.IsNull(row))
			if !text.IsNull(row) && text.Value(row) != strings.Repeat(string(rune('a'+i%26)), i%40) {
				t.Fatalf("row %d: %q", i, text.Value(row))
			}
			if !instant.IsNull(row) && int64(instant.Value(row)) != int64(i)*1_000_000 || !number.IsNull(row) && number.Value(row) != int64(i) || !flag.IsNull(row) && flag.Value(row) != (i%2 == 0) {
				t.Fatalf("row %d: %s %d %t", i, instant.ValueStr(row), number.Value(row), flag.Value(row))
			}
			if want := fmt.Sprintf("[%d,null,%d]", i, i+1); !list.IsNull(row) && list.ValueStr(row) != want {
				t.Fatalf("row %d: %s", i, list.ValueStr(row))
			}
			i++
		}
	}
	require.NoError(t, r.Err())
	require.Equal(t, rows, i)
	require.Greater(t, batches, 5)
}
