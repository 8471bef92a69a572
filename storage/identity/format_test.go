package identity

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/golden"
)

const page = "../../docs/format/identity.md"

// exampleTable is that of the worked example: batches 1, 2 and 4 of one queue.
func exampleTable(t *testing.T) *Table {
	table := New(Options{})
	for _, seq := range []uint64{1, 2, 4} {
		require.Equal(t, Fresh, table.Apply("plc-7", 0x1122334455667788, seq, 0xa0+seq, true, 1_700_000_000_000_000_000))
	}
	return table
}

func TestRowsAreAsDocumented(t *testing.T) {
	rows := exampleTable(t).TakeChanged()
	require.Len(t, rows, 5)
	for i, name := range []string{"meta", "source", "identity", "holes", "hashes"} {
		require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, name+" key")), fmt.Sprintf("% x", rows[i].Key))
		if name == "hashes" { // 517 bytes; the page leaves out the zeros
			continue
		}
		require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, name+" value")), fmt.Sprintf("% x", rows[i].Value))
	}
	value := rows[4].Value
	require.Len(t, value, 1+64*8+4)
	front, zeros, end := golden.Block(t, page, "hashes value, front"), make([]byte, 59*8), golden.Block(t, page, "hashes value, end")
	require.Equal(t, fmt.Sprintf("% x", append(append(front, zeros...), end...)), fmt.Sprintf("% x", value))
	require.LessOrEqual(t, len(rows[2].Key)+len(rows[2].Value), 100)
}

// TestStoredVersion1 reads what version 1 wrote. The files are never written anew.
func TestStoredVersion1(t *testing.T) {
	files, err := filepath.Glob("testdata/v1/row-*")
	require.NoError(t, err)
	require.Len(t, files, 5)
	d := disk{}
	for _, f := range files {
		key, err := hex.DecodeString(strings.TrimPrefix(filepath.Base(f), "row-"))
		require.NoError(t, err)
		d[string(key)], err = os.ReadFile(f)
		require.NoError(t, err)
	}
	table := New(Options{})
	require.NoError(t, table.Load(d.rows))
	require.Equal(t, State{Known: true, Through: 2, Highest: 4, Holes: 1, Import: true, Last: 1_700_000_000_000_000_000},
		table.State("plc-7", 0x1122334455667788))
	require.Equal(t, Duplicate, table.Check("plc-7", 0x1122334455667788, 4, 0xa4))
	require.Equal(t, Conflict, table.Check("plc-7", 0x1122334455667788, 4, 0xa5))
	require.Equal(t, Fresh, table.Check("plc-7", 0x1122334455667788, 3, 0xa3))
	require.Equal(t, "plc-7", table.SourceName(1))
}

// TestEveryFlippedBitIsFound flips each bit of each row, key and value.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, row := range exampleTable(t).TakeChanged() {
		require.NoError(t, CheckRow(row.Key, row.Value))
		for _, b := range [][]byte{row.Key, row.Value} {
			for bit := range 8 * len(b) {
				b[bit/8] ^= 1 << (bit % 8)
				err := CheckRow(row.Key, row.Value)
				require.ErrorIs(t, err, ErrCorrupt, "bit %d", bit)
				require.NotErrorIs(t, err, ErrVersion)
				require.ErrorContains(t, err, fmt.Sprintf("%x", row.Key))
				b[bit/8] ^= 1 << (bit % 8)
			}
		}
		for n := range row.Value {
			require.ErrorIs(t, CheckRow(row.Key, row.Value[:n]), ErrCorrupt)
		}
	}
}

func TestNewerVersionIsNotDamage(t *testing.T) {
	value := []byte{2, 0, 0, 0, 0, 0, 0, 0, 0}
	sum := checksum([]byte{metaRow}, value)
	value = append(value, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	err := CheckRow([]byte{metaRow}, value)
	require.ErrorIs(t, err, ErrVersion)
	require.NotErrorIs(t, err, ErrCorrupt)
}

// TestMissingRowIsFound takes one row away.
func TestMissingRowIsFound(t *testing.T) {
	table := exampleTable(t)
	for seq := uint64(5); seq < 1500; seq++ {
		table.Apply("plc-7", 0x1122334455667788, seq, seq, true, 2)
	}
	table.Apply("other", 1, 1, 1, false, 3)
	d := disk{}
	d.write(table.TakeChanged())
	require.Len(t, d, 1+2+2+1+16+1)
	for key, value := range d {
		delete(d, key)
		require.ErrorIs(t, New(Options{}).Load(d.rows), ErrCorrupt, "%x", key)
		d[key] = value
	}
	require.NoError(t, New(Options{}).Load(d.rows))
	require.Error(t, table.Load(d.rows), "it is not empty")
}

// FuzzLoad gives a row whose checksum is right and whose inside is anybody's, among good ones.
func FuzzLoad(f *testing.F) {
	table := New(Options{})
	for _, seq := range []uint64{1, 2, 4} {
		table.Apply("plc-7", 9, seq, seq, true, 17)
	}
	good := disk{}
	good.write(table.TakeChanged())
	for key, value := range good {
		f.Add([]byte(key), value[1:len(value)-4])
	}
	f.Fuzz(func(t *testing.T, key, body []byte) {
		_ = CheckRow(key, body) // as raw bytes; must not panic
		d := disk{}
		for k, v := range good {
			d[k] = v
		}
		row := seal(key, body)
		d[string(key)] = row.Value
		err := CheckRow(row.Key, row.Value)
		again := New(Options{})
		loaded := again.Load(d.rows)
		if err != nil {
			require.Error(t, loaded)
		}
		if loaded != nil {
			return
		}
		s := again.State("plc-7", 9)
		require.LessOrEqual(t, s.Holes, MaxHoles)
		require.LessOrEqual(t, s.Through, s.Highest)
		for _, seq := range []uint64{1, s.Through, s.Through + 1, s.Highest, s.Highest + 1, s.Highest + 2000} {
			want := again.Check("plc-7", 9, seq, 5)
			require.Equal(t, want, again.Apply("plc-7", 9, seq, 5, false, 1))
		}
	})
}
