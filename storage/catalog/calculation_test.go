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

func calculation(name string, from int64, expression string) Change {
	return Change{PutCalculation: &PutCalculation{Calculation: model.Calculation{Name: name, From: from, Expression: expression}}}
}

// exampleCalculation is the change of the worked example.
func exampleCalculation() []Change { return []Change{calculation("dP", 0, "PI_1 - PI_2")} }

func TestCalculationsAreAsDocumented(t *testing.T) {
	payload := AppendChanges(nil, exampleCalculation())
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calculation record")), fmt.Sprintf("% x", payload))
	changes, err := DecodeChanges(payload)
	require.NoError(t, err)
	require.Equal(t, exampleCalculation(), changes)

	c := exampleCatalog(t)
	c.TakeChanged()
	require.NoError(t, c.Apply(exampleCalculation(), 1_700_000_002_000_000_000)[0].Err)
	rows := c.TakeChanged()
	require.Len(t, rows, 2)
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calculation meta value")), fmt.Sprintf("% x", rows[0].Value))
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calculation key")), fmt.Sprintf("% x", rows[1].Key))
	require.Equal(t, fmt.Sprintf("% x", golden.Block(t, page, "calculation value")), fmt.Sprintf("% x", rows[1].Value))
}

// TestStoredCalculation reads what version 2 wrote beside rows of version 1. The files are never written anew.
func TestStoredCalculation(t *testing.T) {
	payload, err := os.ReadFile("testdata/v2/calculation/record")
	require.NoError(t, err)
	changes, err := DecodeChanges(payload)
	require.NoError(t, err)
	require.Equal(t, exampleCalculation(), changes)
	files, err := filepath.Glob("testdata/v2/calculation/row-*")
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
	x, ok := c.Calculation("dP", 0)
	require.True(t, ok)
	require.Equal(t, &model.Calculation{Name: "dP", Version: 1, From: model.MinTime, Stored: 1_700_000_002_000_000_000, Expression: "PI_1 - PI_2"}, x)
}

func TestFlippedBitsOfCalculationsAreFound(t *testing.T) {
	c := New(Options{})
	c.Apply(exampleCalculation(), 1)
	for _, row := range c.TakeChanged() {
		require.EqualValues(t, 2, row.Value[0])
		for _, b := range [][]byte{row.Key, row.Value} {
			for bit := range 8 * len(b) {
				b[bit/8] ^= 1 << (bit % 8)
				require.ErrorIs(t, CheckRow(row.Key, row.Value), ErrCorrupt, "bit %d", bit)
				b[bit/8] ^= 1 << (bit % 8)
			}
		}
		row.Value[0] = 1
		require.ErrorIs(t, CheckRow(row.Key, reseal(row).Value), ErrCorrupt)
	}
	payload := AppendChanges(nil, exampleCalculation())
	require.EqualValues(t, 2, payload[0])
	payload[0] = 1
	_, err := DecodeChanges(payload)
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestCalculationsAreThoseOfAPlainMap puts calculations and calendars at random, and holds what stands, what is in force at each instant,
// and what is read again, against a map of lists.
func TestCalculationsAreThoseOfAPlainMap(t *testing.T) {
	names := []string{"dP", "dP 2", "Summe"}
	rapid.Check(t, func(t *rapid.T) {
		c, d, plain := New(Options{}), disk{}, map[string][]model.Calculation{}
		for now := range int64(rapid.IntRange(1, 20).Draw(t, "records")) {
			now += 10
			var changes []Change
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
					changes = append(changes, put("plant", "{}"))
					continue
				}
				from := rapid.SampledFrom([]int64{0, 0, 5, 12, 40, model.MinTime, model.MinTime - 1}).Draw(t, "from")
				changes = append(changes, calculation(rapid.SampledFrom(names).Draw(t, "name"), from, rapid.SampledFrom([]string{"A", "B", "A+B"}).Draw(t, "expression")))
			}
			for i, err := range c.Check(changes) {
				require.NoError(t, err, i)
			}
			changes, err := DecodeChanges(AppendChanges(nil, changes))
			require.NoError(t, err)
			for i, r := range c.Apply(changes, now) {
				if changes[i].PutCalculation == nil {
					continue
				}
				want := changes[i].PutCalculation.Calculation
				have := plain[want.Name]
				if want.From == 0 {
					want.From = now
					if len(have) > 0 {
						want.From = max(now, have[len(have)-1].From) // of the same expression nothing changes, even if it only begins later
					}
				}
				created := len(have) == 0 || have[len(have)-1].Expression != want.Expression || want.From < have[len(have)-1].From
				if created {
					if changes[i].PutCalculation.Calculation.From == 0 {
						want.From = now
					}
					if want.From = max(want.From, model.MinTime); len(have) == 0 {
						want.From = model.MinTime
					}
					want.Version, want.Stored = uint32(len(have)+1), now
					plain[want.Name] = append(have, want)
				} else {
					want = have[len(have)-1]
				}
				require.Equal(t, Result{Calculation: &want, Created: created}, r)
			}
			d.write(c.TakeChanged())
			again := New(Options{})
			require.NoError(t, again.Load(d.rows))
			for _, x := range []*Catalog{c, again} {
				require.Len(t, x.Calculations(), len(plain))
				for name, versions := range plain {
					for i := range versions {
						got, ok := x.Calculation(name, uint32(i+1))
						require.True(t, ok)
						require.Equal(t, &versions[i], got)
					}
					_, ok := x.Calculation(name, uint32(len(versions)+1))
					require.False(t, ok)
					requireInForce(t, versions, x.CalculationInForce(name))
				}
			}
			_, _, one := c.Digest()
			_, _, other := again.Digest()
			require.Equal(t, one, other)
		}
	})
}

// requireInForce asks at instants which version holds: the highest that had begun.
func requireInForce(t *rapid.T, versions []model.Calculation, inForce []*model.Calculation) {
	for _, at := range []int64{model.MinTime, 0, 4, 5, 11, 12, 15, 20, 25, 39, 40, model.MaxTime} {
		var want, got uint32
		for _, v := range versions {
			if v.From <= at {
				want = v.Version
			}
		}
		for _, v := range inForce {
			if v.From <= at {
				got = v.Version
			}
		}
		require.Equal(t, want, got, at)
	}
	for i := 1; i < len(inForce); i++ {
		require.Less(t, inForce[i-1].From, inForce[i].From)
	}
}

func TestMissingCalculationIsFound(t *testing.T) {
	c := New(Options{})
	c.Apply([]Change{calculation("a", 0, "X"), calculation("a", 0, "Y"), calculation("b", 0, "X"), put("a", "{}")}, 1)
	d := disk{}
	d.write(c.TakeChanged())
	require.Len(t, d, 5)
	for key, value := range d {
		delete(d, key)
		require.ErrorIs(t, New(Options{}).Load(d.rows), ErrCorrupt)
		d[key] = value
	}
	require.NoError(t, New(Options{}).Load(d.rows))
	require.Error(t, c.Load(d.rows), "it is not empty")
}

// TestNamesOfCalculationsAreThoseOfNoTag tries both ways round, at the door and on apply.
func TestNamesOfCalculationsAreThoseOfNoTag(t *testing.T) {
	c := exampleCatalog(t) // its tag was P-101.RUN and is P-102.RUN
	require.NoError(t, applyOne(t, c, 1, calculation("dP", 0, "X")).Err)
	tag := exampleChanges()[1].Create.Tag
	tag.UUID, tag.Name = model.UUID{9}, "dP"
	typeless := tag
	typeless.Settings = nil
	for says, change := range map[string]Change{
		`calculation "P-102.RUN": tag 1 has`:                                 calculation("P-102.RUN", 0, "X"),
		`calculation "P-101.RUN": tag 1 has`:                                 calculation("P-101.RUN", 0, "X"),
		`create tag: "dP" is the name of a stored calculation`:               {Create: &Create{Tag: tag}},
		`create tag: "dP" is the name of a stored calculation, which`:        {Create: &Create{Tag: typeless}},
		`rename tag "P-102.RUN": "dP" is the name of a stored calculation, `: {Rename: &Rename{ID: 1, NewName: "dP"}},
	} {
		err := c.Check([]Change{change})[0]
		require.ErrorIs(t, err, ErrNameTaken)
		require.ErrorContains(t, err, says)
		require.Equal(t, err.Error(), applyOne(t, c, 2, change).Err.Error())
	}
	// In one record the first of two has the name.
	tag.Name = "both"
	both := []Change{calculation("both", 0, "X"), {Create: &Create{Tag: tag}}}
	results := c.Apply(both, 3)
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, ErrNameTaken)

	other := New(Options{})
	set := exampleChanges()[0]
	results = other.Apply([]Change{set, both[1], both[0]}, 3)
	require.NoError(t, results[1].Err)
	require.ErrorIs(t, results[2].Err, ErrNameTaken)
	d := disk{}
	d.write(other.TakeChanged())
	rows := calculationRows([]*model.Calculation{{Name: "both", Version: 1, From: model.MinTime, Expression: "X"}})
	d.write(rows)
	require.ErrorContains(t, New(Options{}).Load(d.rows), "tag 1 has, or had, this name")
}

func TestCalculationsThatAreRefused(t *testing.T) {
	c := New(Options{})
	for _, x := range []struct {
		change Change
		err    error
		says   string
	}{
		{calculation("", 0, "X"), ErrBadName, "name is empty"},
		{calculation("a", 0, ""), ErrBadSettings, "no expression"},
		{calculation("a", 0, "\xff"), ErrBadSettings, "not UTF-8"},
		{calculation("a", 0, strings.Repeat("1", MaxCalculationBytes+1)), ErrBadSettings, "most is 4096"},
		{calculation("a", model.MaxTime+1, "X"), ErrBadSettings, "behind all time"},
	} {
		err := c.Check([]Change{x.change})[0]
		require.ErrorIs(t, err, x.err)
		require.ErrorContains(t, err, x.says)
		require.ErrorIs(t, c.Apply([]Change{x.change}, 1)[0].Err, x.err)
	}
	require.Empty(t, c.Calculations())
	require.Empty(t, c.CalculationInForce("a"))
	// The quota is judged at the door, of what stands and of what the same call puts; what changes nothing is let in.
	var changes []Change
	for i := range MaxCalculations + 1 {
		changes = append(changes, calculation("a", 0, fmt.Sprint(i)))
	}
	errs := c.Check(changes)
	for _, err := range errs[:MaxCalculations] {
		require.NoError(t, err)
	}
	require.ErrorIs(t, errs[MaxCalculations], ErrCalculationQuota)
	c.Apply(changes[:MaxCalculations], 1)
	require.ErrorIs(t, c.Check(changes[MaxCalculations:])[0], ErrCalculationQuota)
	require.NoError(t, c.Check(changes[MaxCalculations-1 : MaxCalculations])[0])
}
