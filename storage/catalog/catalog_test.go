package catalog

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// disk is what a store holds: the newest value of each key.
type disk map[string][]byte

func (d disk) write(rows []Row) {
	for _, r := range rows {
		d[string(r.Key)] = r.Value
	}
}

func (d disk) rows(yield func(k, v []byte) bool) {
	keys := make([]string, 0, len(d))
	for k := range d {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !yield([]byte(k), d[k]) {
			return
		}
	}
}

func uuid(n int) (u model.UUID) {
	binary.BigEndian.PutUint64(u[8:], uint64(n))
	return u
}

func create(name string, n int, t model.Type) Change {
	return Change{Create: &Create{Tag: model.Tag{Name: name, UUID: uuid(n), Settings: []model.Settings{{Type: t}}}}}
}

func rename(id model.TagID, name string, from int64) Change {
	return Change{Rename: &Rename{ID: id, NewName: name, From: from}}
}

func apply(t testing.TB, c *Catalog, now int64, changes ...Change) []Result {
	t.Helper()
	decoded, err := DecodeChanges(AppendChanges(nil, changes))
	require.NoError(t, err)
	results := c.Apply(decoded, now)
	require.Len(t, results, len(changes))
	return results
}

func applyOne(t testing.TB, c *Catalog, now int64, ch Change) Result {
	t.Helper()
	return apply(t, c, now, ch)[0]
}

func reload(t testing.TB, c *Catalog) *Catalog {
	t.Helper()
	d := disk{}
	d.write(c.TakeChanged())
	again := New(Options{})
	require.NoError(t, again.Load(d.rows))
	return again
}

func requireName(t testing.TB, want model.TagID, got *model.Tag, ok bool) {
	t.Helper()
	if want == 0 {
		require.False(t, ok)
		return
	}
	require.True(t, ok)
	require.Equal(t, want, got.ID)
}

func TestCreateGivesDenseIDsAndFindsTheExistingTag(t *testing.T) {
	c := New(Options{})
	r := apply(t, c, 7, create("P-101.PV", 1, model.Float64), create("P-101.RUN", 2, model.Bool), create("P-101.PV", 3, model.Float64),
		create("P-101.PV", 4, model.Int64), Change{Create: &Create{Tag: model.Tag{Name: "P-101.PV", UUID: uuid(5)}}},
		Change{Create: &Create{Tag: model.Tag{Name: "new", UUID: uuid(6)}}}, create("x", 1, model.Float64))
	require.True(t, r[0].Created)
	require.EqualValues(t, 2, r[1].Tag.ID)
	require.True(t, r[1].Tag.Current().Stepped, "a bool is always stepped")
	require.EqualValues(t, int64(model.MinTime), r[1].Tag.Settings[0].From)
	require.EqualValues(t, 7, r[1].Tag.Created)
	require.Same(t, r[0].Tag, r[2].Tag)
	require.False(t, r[2].Created)
	require.NoError(t, r[2].Err)
	require.ErrorIs(t, r[3].Err, ErrTypeMismatch)
	require.Same(t, r[0].Tag, r[3].Tag)
	require.NoError(t, r[4].Err, "no type was asked for")
	require.ErrorIs(t, r[5].Err, ErrBadSettings)
	require.ErrorIs(t, r[6].Err, ErrUUIDTaken)
	require.Equal(t, 2, c.Len())
	require.EqualValues(t, 1, c.Revision())
	typ, ok := c.Type(2)
	require.True(t, ok)
	require.Equal(t, model.Bool, typ)
	for _, id := range []model.TagID{0, 3, 1 << 31, 1<<32 - 1} {
		_, ok = c.Type(id)
		require.False(t, ok)
		_, ok = c.Tag(id)
		require.False(t, ok)
	}
}

// TestSwappedNames renames A to B and B to A at one instant, by way of a third name.
func TestSwappedNames(t *testing.T) {
	c := New(Options{})
	apply(t, c, 1, create("A", 1, model.Float64), create("B", 2, model.Float64))
	for _, r := range apply(t, c, 500, rename(1, "swap", 100), rename(2, "A", 100), rename(1, "B", 100)) {
		require.NoError(t, r.Err)
	}
	for range 2 {
		for _, q := range []struct {
			name string
			at   int64
			id   model.TagID
		}{{"A", 99, 1}, {"A", 100, 2}, {"B", 99, 2}, {"B", 100, 1}, {"swap", 100, 0}, {"A", model.MinTime, 1}, {"A", model.MaxTime, 2}} {
			tag, ok := c.ByNameAt(q.name, q.at)
			requireName(t, q.id, tag, ok)
		}
		tag, ok := c.ByName("A")
		requireName(t, 2, tag, ok)
		tag, ok = c.ByName("swap")
		requireName(t, 0, tag, ok)
		require.Len(t, tagOf(c, 1).Aliases, 2, "a name that never held leaves no alias")
		c = reload(t, c)
	}
}

func tagOf(c *Catalog, id model.TagID) *model.Tag {
	t, _ := c.Tag(id)
	return t
}

// TestFormerNames: a name given up resolves for its time, falls back, and may be taken anew.
func TestFormerNames(t *testing.T) {
	c := New(Options{})
	apply(t, c, 1, create("alt", 1, model.Float64))
	require.NoError(t, applyOne(t, c, 100, rename(1, "neu", 0)).Err)
	tag, ok := c.ByName("alt")
	requireName(t, 1, tag, ok)
	tag, ok = c.ByNameAt("alt", 100)
	requireName(t, 0, tag, ok)
	tag, ok = c.ByNameAt("alt", 99)
	requireName(t, 1, tag, ok)

	r := applyOne(t, c, 200, create("alt", 2, model.Int64))
	require.True(t, r.Created)
	c = reload(t, c)
	tag, ok = c.ByName("alt")
	requireName(t, 2, tag, ok)
	tag, ok = c.ByNameAt("alt", 99)
	requireName(t, 1, tag, ok)
	tag, ok = c.ByNameAt("alt", 100)
	requireName(t, 2, tag, ok)

	require.ErrorIs(t, applyOne(t, c, 300, rename(2, "neu", 0)).Err, ErrNameTaken)
	require.ErrorIs(t, applyOne(t, c, 300, rename(1, "frueher", 99)).Err, ErrBadSettings, "it was called alt then")
	require.NoError(t, applyOne(t, c, 300, rename(2, "dritt", 250)).Err)
	require.ErrorIs(t, applyOne(t, c, 300, rename(1, "alt", 249)).Err, ErrNameTaken, "tag 2 had the name until 250")
	require.NoError(t, applyOne(t, c, 300, rename(1, "alt", 250)).Err)
	c = reload(t, c)
	tag, ok = c.ByNameAt("alt", 249)
	requireName(t, 2, tag, ok)
	tag, ok = c.ByNameAt("alt", 250)
	requireName(t, 1, tag, ok)
}
