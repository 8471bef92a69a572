package catalog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

const page = "../../docs/format/catalog.md"

// exampleChanges are those of the worked example.
func exampleChanges() []Change {
	tag := model.Tag{
		UUID: model.UUID{0x01, 0x9a, 0xa0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x01}, Name: "P-101.RUN", Description: "feed pump",
		SpanHigh: 1, Exception: model.Filter{Deviation: 0.5, MinTime: time.Microsecond, MaxTime: time.Second},
		Attributes: map[string]string{"area": "7"},
		Settings:   []model.Settings{{From: model.MinTime, Type: model.State, Stepped: true, StateSet: "pump"}},
	}
	low, text := -1.0, "spare"
	return []Change{
		{PutStateSet: &PutStateSet{Set: model.StateSet{Name: "pump", States: []model.DigitalState{{Code: 0, Text: "off"}, {Code: 1, Text: "on"}}}}},
		{Create: &Create{Tag: tag}},
		{Rename: &Rename{ID: 1, NewName: "P-102.RUN", From: 1_700_000_000_000_000_000}},
		{Update: &Update{ID: 1, Description: &text, SpanLow: &low, SetAttributes: map[string]string{"area": ""}}},
	}
}

func exampleCatalog(t *testing.T) *Catalog {
	c := New(Options{})
	for _, r := range c.Apply(exampleChanges(), 1_700_000_001_000_000_000) {
		require.NoError(t, r.Err)
	}
	return c
}

func TestRecordIsAsDocumented(t *testing.T) {
	payload := AppendChanges(nil, exampleChanges())
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "record")), fmt.Sprintf("% x", payload))
	changes, err := DecodeChanges(payload)
	require.NoError(t, err)
	require.Equal(t, exampleChanges(), changes)
}

func TestRowsAreAsDocumented(t *testing.T) {
	rows := exampleCatalog(t).TakeChanged()
	require.Len(t, rows, 3)
	for i, name := range []string{"meta", "tag", "set"} {
		require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, name+" key")), fmt.Sprintf("% x", rows[i].Key))
		require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, name+" value")), fmt.Sprintf("% x", rows[i].Value))
	}
}

// TestStoredVersion1 reads what version 1 wrote. The files are never written anew.
func TestStoredVersion1(t *testing.T) {
	payload, err := os.ReadFile("testdata/v1/record")
	require.NoError(t, err)
	changes, err := DecodeChanges(payload)
	require.NoError(t, err)
	require.Equal(t, exampleChanges(), changes)

	files, err := filepath.Glob("testdata/v1/row-*")
	require.NoError(t, err)
	require.Len(t, files, 3)
	d := disk{}
	for _, f := range files {
		key, err := hex.DecodeString(strings.TrimPrefix(filepath.Base(f), "row-"))
		require.NoError(t, err)
		d[string(key)], err = os.ReadFile(f)
		require.NoError(t, err)
	}
	c := New(Options{})
	require.NoError(t, c.Load(d.rows))
	want, _ := exampleCatalog(t).Tag(1)
	got, _ := c.Tag(1)
	require.Equal(t, want, got)
	require.Equal(t, exampleCatalog(t).StateSets(), c.StateSets())
	require.EqualValues(t, 1, c.Revision())
}

// TestEveryFlippedBitIsFound flips each bit of each row, key and value.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, row := range exampleCatalog(t).TakeChanged() {
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
	row := seal([]byte{metaRow}, make([]byte, metaBytes))
	row.Value[0] = 3
	row = reseal(row)
	require.ErrorIs(t, CheckRow(row.Key, row.Value), ErrVersion)
	require.NotErrorIs(t, CheckRow(row.Key, row.Value), ErrCorrupt)
	_, err := DecodeChanges([]byte{3, 0})
	require.ErrorIs(t, err, ErrVersion)
	_, err = DecodeChanges(nil)
	require.ErrorIs(t, err, ErrCorrupt)
}

// reseal makes the checksum of a changed row right again.
func reseal(r Row) Row {
	version := r.Value[0]
	out := seal(r.Key, r.Value[1:len(r.Value)-4])
	out.Value[0] = version
	sum := checksum(out.Key, out.Value[:len(out.Value)-4])
	for i := range 4 {
		out.Value[len(out.Value)-4+i] = byte(sum >> (8 * i))
	}
	return out
}

// TestMissingRowIsFound takes one row away.
func TestMissingRowIsFound(t *testing.T) {
	c := New(Options{})
	c.Apply(append(plantTags(5), exampleChanges()[0]), 1)
	c.Apply([]Change{{PutStateSet: &PutStateSet{Set: model.StateSet{Name: "pump", States: []model.DigitalState{{Code: 5, Text: "x"}}}}}}, 2)
	d := disk{}
	d.write(c.TakeChanged())
	require.Len(t, d, 8)
	for key, value := range d {
		delete(d, key)
		require.ErrorIs(t, New(Options{}).Load(d.rows), ErrCorrupt)
		d[key] = value
	}
	require.NoError(t, New(Options{}).Load(d.rows))
	require.Error(t, c.Load(d.rows), "it is not empty")
}

// TestDamagedLengthsAllocateLittle claims counts and lengths far beyond the input.
func TestDamagedLengthsAllocateLittle(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for _, b := range [][]byte{
		append([]byte{1}, huge...),                                                          // changes
		append([]byte{1, 1, changePutStateSet}, huge...),                                    // name
		append([]byte{1, 1, changePutStateSet, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0}, huge...),    // states
		append([]byte{2, 1, changePutCalendar, 1, 'a'}, huge...),                            // definition
		append([]byte{2, 1, changePutCalculation, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0}, huge...), // expression
		append([]byte{1, 1, changeUpdate, 1, 0, 0, 0, 0}, huge...),                          // attributes
		append([]byte{1, 1, changeUpdate, 1, 0, 0, 0, 1}, huge...),                          // description
	} {
		allocated := testing.AllocsPerRun(10, func() {
			_, err := DecodeChanges(b)
			require.ErrorIs(t, err, ErrCorrupt)
		})
		require.Less(t, allocated, 100.0)
	}
}

func FuzzDecodeChanges(f *testing.F) {
	f.Add(AppendChanges(nil, exampleChanges()))
	f.Add(AppendChanges(nil, nil))
	f.Add(AppendChanges(nil, exampleCalendar()))
	f.Add(AppendChanges(nil, exampleCalculation()))
	f.Fuzz(func(t *testing.T, b []byte) {
		changes, err := DecodeChanges(b)
		if err != nil {
			require.Nil(t, changes)
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
			return
		}
		require.Equal(t, b, AppendChanges(nil, changes))
		c := New(Options{MaxTags: 2})
		require.Len(t, c.Check(changes), len(changes))
		require.Len(t, c.Apply(changes, 1), len(changes))
		d := disk{}
		d.write(c.TakeChanged())
		require.NoError(t, New(Options{}).Load(d.rows), "what apply lets in, load takes back")
	})
}

// FuzzLoad gives rows whose checksums are right and whose insides are anybody's.
func FuzzLoad(f *testing.F) {
	c := New(Options{})
	c.Apply(exampleChanges(), 1_700_000_001_000_000_000)
	c.Apply(exampleCalendar(), 1_700_000_002_000_000_000)
	c.Apply(exampleCalculation(), 1_700_000_002_000_000_000)
	for _, r := range c.TakeChanged() {
		f.Add(r.Key, r.Value[1:len(r.Value)-4])
	}
	f.Fuzz(func(t *testing.T, key, body []byte) {
		row := seal(key, body)
		err := CheckRow(row.Key, row.Value)
		_ = CheckRow(key, body) // as raw bytes; must not panic
		c := New(Options{})
		loaded := c.Load(func(yield func(k, v []byte) bool) {
			meta := seal([]byte{metaRow}, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
			_ = yield(meta.Key, meta.Value) && yield(row.Key, row.Value)
		})
		if err != nil {
			require.Error(t, loaded)
			return
		}
		if loaded != nil {
			return
		}
		tag, _ := c.Tag(1)
		require.Equal(t, row, seal(tagKey(1), tagBody(tag)), "a row has one form")
		_, ok := c.ByName(tag.Name)
		require.True(t, ok)
	})
}

// TestRowsSurviveAnyTag writes and reads tags with every field set.
func TestRowsSurviveAnyTag(t *testing.T) {
	text := rapid.StringN(0, 20, -1)
	filter := rapid.Custom(func(t *rapid.T) model.Filter {
		return model.Filter{Deviation: rapid.Float64Range(0, 1e300).Draw(t, "deviation"),
			MinTime: time.Duration(rapid.Int64Min(0).Draw(t, "min")), MaxTime: time.Duration(rapid.Int64Min(0).Draw(t, "max"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Float64Range(-1e300, 1e300).Draw(t, "low")
		tag := model.Tag{Name: "n", UUID: uuid(1), Description: text.Draw(t, "description"), SpanLow: low, SpanHigh: low + 1,
			Exception: filter.Draw(t, "exception"), Compression: filter.Draw(t, "compression"), Retention: text.Draw(t, "retention"),
			Attributes: rapid.MapOfN(rapid.StringN(1, 5, -1), rapid.StringN(1, 5, -1), 0, 5).Draw(t, "attributes")}
		for i := range rapid.IntRange(1, 4).Draw(t, "settings") {
			tag.Settings = append(tag.Settings, model.Settings{From: int64(i), Type: model.String, Unit: rapid.StringN(0, 5, -1).Draw(t, "unit"),
				MaxGap: time.Duration(rapid.Int64Min(0).Draw(t, "gap"))})
		}
		c := New(Options{})
		r := c.Apply([]Change{{Create: &Create{Tag: tag}}}, 3)[0]
		require.NoError(t, r.Err)
		d := disk{}
		d.write(c.TakeChanged())
		again := New(Options{})
		require.NoError(t, again.Load(d.rows))
		got, ok := again.Tag(1)
		require.True(t, ok)
		require.Equal(t, r.Tag, got)
		require.Nil(t, again.TakeChanged(), "loading changes nothing")
	})
}

// A catalogue has the digest of the rows it was loaded from, whichever way it came to them.
func TestDigestIsOfWhatStands(t *testing.T) {
	made := exampleCatalog(t)
	revision, tags, hash := made.Digest()
	require.Equal(t, []any{uint64(1), 1}, []any{revision, tags})
	loaded := New(Options{})
	require.NoError(t, loaded.Load(func(yield func(k, v []byte) bool) {
		for _, r := range made.TakeChanged() {
			if !yield(r.Key, r.Value) {
				return
			}
		}
	}))
	_, _, again := loaded.Digest()
	require.Equal(t, hash, again)
	require.Equal(t, uint64(0x49b8be374ba105d9), hash, "the rows of the page, in order, each field with its length")
}

// exampleRetyped is the example in which the tag becomes int64 on 2027-01-15T08:00:00Z.
func exampleRetyped(t *testing.T) *Catalog {
	c := exampleCatalog(t)
	s := model.Settings{From: 1_800_000_000_000_000_000, Type: model.Int64, Unit: "1"}
	require.NoError(t, applyOne(t, c, 1_700_000_002_000_000_000, Change{Update: &Update{ID: 1, Settings: &s}}).Err)
	return c
}

func TestEpochRowIsAsDocumented(t *testing.T) {
	rows := exampleRetyped(t).TakeChanged()
	require.Len(t, rows, 4)
	row := rows[2]
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "epoch key")), fmt.Sprintf("% x", row.Key))
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "epoch value")), fmt.Sprintf("% x", row.Value))
	stored, err := os.ReadFile("testdata/v2/epoch") // as version 2 wrote it; never written anew
	require.NoError(t, err)
	d := disk{}
	d.write(rows)
	d[string(row.Key)] = stored
	c := New(Options{})
	require.NoError(t, c.Load(d.rows))
	want, _ := exampleRetyped(t).Tag(1)
	got, _ := c.Tag(1)
	require.Equal(t, want, got)
	require.Equal(t, []model.TagID{1, 2}, got.EpochIDs())

	for bit := range 8 * len(row.Value) {
		row.Value[bit/8] ^= 1 << (bit % 8)
		require.ErrorIs(t, CheckRow(row.Key, row.Value), ErrCorrupt, "bit %d", bit)
		row.Value[bit/8] ^= 1 << (bit % 8)
	}
	for n := range row.Value {
		require.Error(t, CheckRow(row.Key, row.Value[:n]))
	}
}

// TestEpochsThatDoNotFit: rows that are sound, each by itself, and together say what cannot be.
func TestEpochsThatDoNotFit(t *testing.T) {
	epoch := func(id, of model.TagID, from int64) Row {
		return rowOf(&model.Tag{ID: id, Of: of, Settings: []model.Settings{{From: from}}})
	}
	const from = 1_800_000_000_000_000_000
	for name, change := range map[string]func(d disk){
		"no epoch":           func(d disk) { d.write([]Row{exampleCatalog(t).TakeChanged()[0]}); delete(d, string(tagKey(2))) },
		"of no tag":          func(d disk) { d.write([]Row{epoch(2, 3, from)}) },
		"of itself":          func(d disk) { d.write([]Row{epoch(2, 2, from)}) },
		"no settings then":   func(d disk) { d.write([]Row{epoch(2, 1, from+1)}) },
		"from the beginning": func(d disk) { d.write([]Row{epoch(2, 1, model.MinTime)}) },
		"a tag in its place": func(d disk) {
			d.write(func() []Row {
				tag, _ := exampleCatalog(t).Tag(1)
				n := *tag
				n.ID, n.UUID, n.Name = 2, model.UUID{9}, "other"
				n.Aliases = []model.Alias{{Name: "other", From: model.MinTime, To: always}}
				return []Row{rowOf(&n)}
			}())
		},
	} {
		d := disk{}
		d.write(exampleRetyped(t).TakeChanged())
		change(d)
		err := New(Options{}).Load(d.rows)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}
