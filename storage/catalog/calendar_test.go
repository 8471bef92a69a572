package catalog

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/internal/golden"
	"github.com/varvedb/varve/model"
)

func put(name, definition string) Change {
	return Change{PutCalendar: &PutCalendar{Calendar: model.Calendar{Name: name, Definition: definition}}}
}

// exampleCalendar is the change of the worked example.
func exampleCalendar() []Change { return []Change{put("plant", `{"zone":"UTC"}`)} }

func TestCalendarsAreAsDocumented(t *testing.T) {
	payload := AppendChanges(nil, exampleCalendar())
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calendar record")), fmt.Sprintf("% x", payload))
	changes, err := DecodeChanges(payload)
	require.NoError(t, err)
	require.Equal(t, exampleCalendar(), changes)

	c := exampleCatalog(t)
	c.TakeChanged()
	require.NoError(t, c.Apply(exampleCalendar(), 1_700_000_002_000_000_000)[0].Err)
	rows := c.TakeChanged()
	require.Len(t, rows, 2)
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calendar meta value")), fmt.Sprintf("% x", rows[0].Value))
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calendar key")), fmt.Sprintf("% x", rows[1].Key))
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calendar value")), fmt.Sprintf("% x", rows[1].Value))
}

// TestStoredVersion2 reads what version 2 wrote beside rows of version 1. The files are never written anew.
func TestStoredVersion2(t *testing.T) {
	payload, err := os.ReadFile("testdata/v2/record")
	require.NoError(t, err)
	changes, err := DecodeChanges(payload)
	require.NoError(t, err)
	require.Equal(t, exampleCalendar(), changes)
	files, err := filepath.Glob("testdata/v2/row-*")
	require.NoError(t, err)
	require.Len(t, files, 4)
	d := disk{}
	for _, f := range files {
		key, err := hex.DecodeString(strings.TrimPrefix(filepath.Base(f), "row-"))
		require.NoError(t, err)
		d[string(key)], err = os.ReadFile(f)
		require.NoError(t, err)
	}
	c := New(Options{})
	require.NoError(t, c.Load(d.rows))
	x, ok := c.Calendar("plant", 0)
	require.True(t, ok)
	require.Equal(t, &model.Calendar{Name: "plant", Version: 1, Stored: 1_700_000_002_000_000_000, Definition: `{"zone":"UTC"}`}, x)
	_, ok = c.Tag(1)
	require.True(t, ok)
}

// TestOneVersionPerLayout: what older releases can read has the version they know, and nothing else has it.
func TestOneVersionPerLayout(t *testing.T) {
	require.EqualValues(t, 1, AppendChanges(nil, exampleChanges())[0])
	for _, payload := range [][]byte{AppendChanges(nil, exampleChanges()), AppendChanges(nil, exampleCalendar())} {
		payload[0] ^= 3 // 1 and 2
		_, err := DecodeChanges(payload)
		require.ErrorIs(t, err, ErrCorrupt)
		require.NotErrorIs(t, err, ErrVersion)
	}
	c := New(Options{})
	c.Apply(exampleCalendar(), 1)
	for _, row := range c.TakeChanged() {
		require.EqualValues(t, 2, row.Value[0])
		row.Value[0] = 1
		require.ErrorIs(t, CheckRow(row.Key, reseal(row).Value), ErrCorrupt)
	}
}

// TestCalendarsAreThoseOfAPlainMap puts calendars at random, and holds what stands, and what is read again, against a map of lists.
func TestCalendarsAreThoseOfAPlainMap(t *testing.T) {
	names := []string{"plant", "plant 2", "Werk"}
	rapid.Check(t, func(t *rapid.T) {
		c, d, plain := New(Options{}), disk{}, map[string][]model.Calendar{}
		for now := range int64(rapid.IntRange(1, 20).Draw(t, "records")) {
			var changes []Change
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				changes = append(changes, put(rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom([]string{"{}", "{ }", "{1}"}).Draw(t, "definition")))
			}
			for i, err := range c.Check(changes) {
				require.NoError(t, err, i)
			}
			changes, err := DecodeChanges(AppendChanges(nil, changes))
			require.NoError(t, err)
			for i, r := range c.Apply(changes, now) {
				want := changes[i].PutCalendar.Calendar
				have := plain[want.Name]
				created := len(have) == 0 || have[len(have)-1].Definition != want.Definition
				if created {
					want.Version, want.Stored = uint32(len(have)+1), now
					plain[want.Name] = append(have, want)
				} else {
					want = have[len(have)-1]
				}
				require.Equal(t, Result{Calendar: &want, Created: created}, r)
			}
			d.write(c.TakeChanged())
			again := New(Options{})
			require.NoError(t, again.Load(d.rows))
			for _, x := range []*Catalog{c, again} {
				require.Len(t, x.Calendars(), len(plain))
				bytes := 0
				for name, versions := range plain {
					for i := range versions {
						got, ok := x.Calendar(name, uint32(i+1))
						require.True(t, ok)
						require.Equal(t, &versions[i], got)
						bytes += len(got.Definition)
					}
					newest, _ := x.Calendar(name, 0)
					require.Equal(t, &versions[len(versions)-1], newest)
					_, ok := x.Calendar(name, uint32(len(versions)+1))
					require.False(t, ok)
				}
				require.Equal(t, bytes, x.mu.calendarBytes)
			}
			_, _, one := c.Digest()
			_, _, other := again.Digest()
			require.Equal(t, one, other)
		}
	})
}

// TestMissingCalendarIsFound takes rows away.
func TestMissingCalendarIsFound(t *testing.T) {
	c := New(Options{})
	c.Apply([]Change{put("a", "{}"), put("a", "{1}"), put("b", "{}")}, 1)
	d := disk{}
	d.write(c.TakeChanged())
	require.Len(t, d, 4)
	for key, value := range d {
		delete(d, key)
		require.ErrorIs(t, New(Options{}).Load(d.rows), ErrCorrupt)
		d[key] = value
	}
	require.NoError(t, New(Options{}).Load(d.rows))
	require.Error(t, c.Load(d.rows), "it is not empty")
}

func TestCalendarsThatAreRefused(t *testing.T) {
	c := New(Options{})
	long := "{" + strings.Repeat(" ", MaxCalendarBytes)
	for _, x := range []struct {
		change Change
		err    error
		says   string
	}{
		{put("", "{}"), ErrBadName, "name is empty"},
		{put("{a", "{}"), ErrBadName, "a name begins with no brace"},
		{put("a", ""), ErrBadSettings, "must be a JSON object"},
		{put("a", " {}"), ErrBadSettings, "must be a JSON object"},
		{put("a", "{\xff}"), ErrBadSettings, "not UTF-8"},
		{put("a", long), ErrBadSettings, "most is 1048576"},
	} {
		err := c.Check([]Change{x.change})[0]
		require.ErrorIs(t, err, x.err)
		require.ErrorContains(t, err, x.says)
		require.ErrorIs(t, c.Apply([]Change{x.change}, 1)[0].Err, x.err)
	}
	require.Empty(t, c.Calendars())
	// The quota is judged at the door, of what stands and of what the same call puts; what changes nothing is let in.
	var changes []Change
	for i := range MaxCalendarsBytes/MaxCalendarBytes + 1 {
		changes = append(changes, put("a", fmt.Sprintf("{%03d", i)+long[4:MaxCalendarBytes]))
	}
	errs := c.Check(changes)
	last := len(errs) - 1
	for _, err := range errs[:last] {
		require.NoError(t, err)
	}
	require.ErrorIs(t, errs[last], ErrCalendarQuota)
	c.Apply(changes[:last], 1)
	require.ErrorIs(t, c.Check(changes[last:])[0], ErrCalendarQuota)
	require.NoError(t, c.Check(changes[last-1 : last])[0])
}
