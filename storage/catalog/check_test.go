package catalog

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

func manyAttributes(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint(i)] = "x"
	}
	return m
}

func manySettings(n int) []model.Settings {
	s := make([]model.Settings, n)
	for i := range s {
		s[i] = model.Settings{From: int64(i), Type: model.Float64}
	}
	return s
}

// TestTheDoorRefuses names each limit of a tag with the tag just inside and just outside of it. Door and apply agree.
func TestTheDoorRefuses(t *testing.T) {
	for _, tc := range []struct {
		what      string
		good, bad func(*model.Tag)
		want      error
	}{
		{"long name", func(x *model.Tag) { x.Name = strings.Repeat("ü", 512) }, func(x *model.Tag) { x.Name = strings.Repeat("ü", 512) + "a" }, ErrBadName},
		{"no name", nil, func(x *model.Tag) { x.Name = "" }, ErrBadName},
		{"control character", nil, func(x *model.Tag) { x.Name = "a\tb" }, ErrBadName},
		{"name not UTF-8", nil, func(x *model.Tag) { x.Name = "a\xff" }, ErrBadName},
		{"UUID", nil, func(x *model.Tag) { x.UUID = model.UUID{} }, ErrBadSettings},
		{"no settings", nil, func(x *model.Tag) { x.Settings = nil }, ErrBadSettings},
		{"type", nil, func(x *model.Tag) { x.Settings[0].Type = 9 }, ErrBadSettings},
		{"settings", func(x *model.Tag) { x.Settings = manySettings(MaxSettings) }, func(x *model.Tag) { x.Settings = manySettings(MaxSettings + 1) }, ErrBadSettings},
		{"settings of one instant", nil, func(x *model.Tag) { x.Settings = manySettings(2); x.Settings[1].From = 0 }, ErrBadSettings},
		{"two types", nil, func(x *model.Tag) { x.Settings = manySettings(2); x.Settings[1].Type = model.Int64 }, ErrTypeMismatch},
		{"unit", func(x *model.Tag) { x.Settings[0].Unit = strings.Repeat("m", 64) }, func(x *model.Tag) { x.Settings[0].Unit = strings.Repeat("m", 65) }, ErrBadSettings},
		{"gap", func(x *model.Tag) { x.Settings[0].MaxGap = math.MaxInt64 }, func(x *model.Tag) { x.Settings[0].MaxGap = -1 }, ErrBadSettings},
		{"set of a number", nil, func(x *model.Tag) { x.Settings[0].StateSet = "pump" }, ErrBadSettings},
		{"unknown set", func(x *model.Tag) { x.Settings[0] = model.Settings{Type: model.State, StateSet: "pump"} },
			func(x *model.Tag) { x.Settings[0] = model.Settings{Type: model.State, StateSet: "pumps"} }, ErrUnknownStateSet},
		{"description", func(x *model.Tag) { x.Description = strings.Repeat("d", 4096) }, func(x *model.Tag) { x.Description = strings.Repeat("d", 4097) }, ErrBadSettings},
		{"description not UTF-8", nil, func(x *model.Tag) { x.Description = "\xc3" }, ErrBadSettings},
		{"retention", func(x *model.Tag) { x.Retention = strings.Repeat("r", 256) }, func(x *model.Tag) { x.Retention = strings.Repeat("r", 257) }, ErrBadSettings},
		{"span", func(x *model.Tag) { x.SpanLow, x.SpanHigh = -1, -1 }, func(x *model.Tag) { x.SpanLow = 1 }, ErrBadSettings},
		{"span NaN", nil, func(x *model.Tag) { x.SpanHigh = math.NaN() }, ErrBadSettings},
		{"span infinite", nil, func(x *model.Tag) { x.SpanHigh = math.Inf(1) }, ErrBadSettings},
		{"deviation", nil, func(x *model.Tag) { x.Exception.Deviation = math.NaN() }, ErrBadSettings},
		{"deviation below 0", nil, func(x *model.Tag) { x.Compression.Deviation = -1 }, ErrBadSettings},
		{"least time", func(x *model.Tag) { x.Exception.MinTime = time.Hour }, func(x *model.Tag) { x.Exception.MinTime = -1 }, ErrBadSettings},
		{"attributes", func(x *model.Tag) { x.Attributes = manyAttributes(64) }, func(x *model.Tag) { x.Attributes = manyAttributes(65) }, ErrBadSettings},
		{"attribute value", func(x *model.Tag) { x.Attributes = map[string]string{"a": strings.Repeat("v", 4096)} },
			func(x *model.Tag) { x.Attributes = map[string]string{"a": strings.Repeat("v", 4097)} }, ErrBadSettings},
		{"attribute without name", nil, func(x *model.Tag) { x.Attributes = map[string]string{"": "v"} }, ErrBadSettings},
	} {
		t.Run(tc.what, func(t *testing.T) {
			c := New(Options{})
			apply(t, c, 1, exampleChanges()[0])
			ch := create("n", 1, model.Float64)
			tc.bad(&ch.Create.Tag)
			require.ErrorIs(t, c.Check([]Change{ch})[0], tc.want)
			require.ErrorIs(t, c.Apply([]Change{ch}, 1)[0].Err, tc.want)
			require.Zero(t, c.Len())
			if tc.good == nil {
				return
			}
			ch = create("n", 1, model.Float64)
			tc.good(&ch.Create.Tag)
			require.NoError(t, c.Check([]Change{ch})[0])
			require.NoError(t, applyOne(t, c, 1, ch).Err)
			reload(t, c)
		})
	}
}

// TestWhatPassesTheDoorCanBeRead: a Create that only finds a tag is logged too, and must not make a record that
// nothing can read.
func TestWhatPassesTheDoorCanBeRead(t *testing.T) {
	c := New(Options{})
	apply(t, c, 1, create("n", 1, model.Float64))
	for _, change := range []func(*model.Tag){
		func(x *model.Tag) { x.Attributes = manyAttributes(65) },
		func(x *model.Tag) { x.Settings = manySettings(MaxSettings + 1) },
	} {
		ch := create("n", 2, model.Float64)
		change(&ch.Create.Tag)
		require.ErrorIs(t, c.Check([]Change{ch})[0], ErrBadSettings)
	}
	many := Change{Update: &Update{ID: 1, SetAttributes: manyAttributes(65)}}
	require.ErrorIs(t, c.Check([]Change{many})[0], ErrBadSettings)
	for _, bad := range []Change{{}, {Rename: &Rename{}, Update: &Update{}}} {
		require.ErrorIs(t, c.Check([]Change{bad})[0], ErrBadChange)
		require.ErrorIs(t, c.Apply([]Change{bad}, 1)[0].Err, ErrBadChange)
		require.Panics(t, func() { AppendChanges(nil, []Change{bad}) })
	}
}

func TestTooManyChangesInOneRecord(t *testing.T) {
	errs := New(Options{}).Check(plantTags(MaxChanges + 1))
	require.NoError(t, errs[MaxChanges-1])
	require.ErrorIs(t, errs[MaxChanges], ErrBadChange)
}

// TestQuota: the door counts the tags that earlier changes of the call make; apply, which must not depend on a
// setting, does not ask.
func TestQuota(t *testing.T) {
	c := New(Options{MaxTags: 2})
	apply(t, c, 1, create("a", 1, model.Float64))
	errs := c.Check([]Change{create("a", 9, model.Float64), create("b", 2, model.Float64), create("b", 3, model.Float64), create("c", 4, model.Float64)})
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.NoError(t, errs[2])
	require.ErrorIs(t, errs[3], ErrTagQuota)
	apply(t, c, 1, create("b", 2, model.Float64))
	require.ErrorIs(t, c.Check([]Change{create("c", 4, model.Float64)})[0], ErrTagQuota)
	require.True(t, applyOne(t, c, 1, create("c", 4, model.Float64)).Created)
}

// TestTheDoorSeesSetsOfTheSameCall: an import puts its sets and makes their tags in one record.
func TestTheDoorSeesSetsOfTheSameCall(t *testing.T) {
	c := New(Options{})
	changes := exampleChanges()[:2]
	for _, err := range c.Check(changes) {
		require.NoError(t, err)
	}
	require.ErrorIs(t, c.Check(changes[1:])[0], ErrUnknownStateSet)
	require.ErrorIs(t, c.Check([]Change{rename(1, "x", 0)})[0], model.ErrTagNotFound)
	require.ErrorIs(t, c.Check([]Change{{Update: &Update{ID: 1}}})[0], model.ErrTagNotFound)
	for _, r := range apply(t, c, 1, changes...) {
		require.NoError(t, r.Err)
	}
}

// TestTypesFromATimeOn: what a type changes, what it cannot, and what is said of it.
func TestTypesFromATimeOn(t *testing.T) {
	retype := func(from int64, typ model.Type) Change {
		return Change{Update: &Update{ID: 1, Settings: &model.Settings{From: from, Type: typ}}}
	}
	c := New(Options{MaxTags: 3})
	apply(t, c, 1, create("a", 1, model.Float64))
	r := applyOne(t, c, 3, retype(10, model.Int64))
	require.NoError(t, r.Err)
	require.Equal(t, []model.Epoch{{From: model.MinTime, ID: 1, Type: model.Float64}, {From: 10, ID: 2, Type: model.Int64}}, r.Tag.Epochs())

	// The unit changes within an epoch, and for epochs before no more.
	r = applyOne(t, c, 4, Change{Update: &Update{ID: 2, Settings: &model.Settings{From: 15, Unit: "bar"}}})
	require.NoError(t, r.Err)
	require.EqualValues(t, 1, r.Tag.ID, "an epoch's id is the tag's")
	require.Equal(t, model.Int64, r.Tag.Current().Type)
	for _, from := range []int64{9, 5, model.MinTime} {
		ch := Change{Update: &Update{ID: 1, Settings: &model.Settings{From: from, Unit: "Cel"}}}
		require.ErrorIs(t, c.Check([]Change{ch})[0], ErrBadSettings)
		require.ErrorIs(t, applyOne(t, c, 5, ch).Err, ErrBadSettings)
	}
	require.NoError(t, applyOne(t, c, 6, retype(20, model.State)).Err)
	require.ErrorIs(t, c.Check([]Change{retype(40, model.Float64)})[0], ErrTagQuota, "an epoch counts as a tag")
	require.ErrorIs(t, c.Check([]Change{retype(model.MinTime, model.Float64)})[0], ErrBadSettings)
	require.Equal(t, []model.TagID{1, 2, 3}, tagOf(c, 1).EpochIDs())
	for at, id := range map[int64]model.TagID{model.MinTime: 1, 9: 1, 10: 2, 15: 2, 19: 2, 20: 3, model.MaxTime: 3} {
		require.Equal(t, id, tagOf(c, 1).KeptBy(at))
	}
	require.NoError(t, applyOne(t, c, 7, rename(3, "b", 0)).Err)
	require.Equal(t, "b", tagOf(c, 2).Name)
	require.Nil(t, c.Retyped(4))
	for range MaxEpochs - 3 {
		n := len(tagOf(c, 1).Epochs())
		require.NoError(t, applyOne(t, c, 8, retype(int64(10*n+10), []model.Type{model.Float64, model.Int64}[n%2])).Err)
	}
	require.ErrorContains(t, applyOne(t, c, 9, retype(1e9, model.String)).Err, "had 64 types already")
}

func TestStateSets(t *testing.T) {
	states := func(n, textBytes int) []model.DigitalState {
		s := make([]model.DigitalState, n)
		for i := range s {
			s[i] = model.DigitalState{Code: int64(i), Text: fmt.Sprintf("%0*d", textBytes, i)}
		}
		return s
	}
	put := func(name string, from int64, s ...model.DigitalState) Change {
		return Change{PutStateSet: &PutStateSet{Set: model.StateSet{Name: name, From: from, States: s}}}
	}
	on := model.DigitalState{Code: 1, Text: "on"}
	c := New(Options{})
	for _, bad := range []Change{put("s", 0), put("s", 0, on, on), put("s", 0, on, model.DigitalState{Code: 0, Text: "off"}),
		put("s", 0, on, model.DigitalState{Code: 2, Text: "on"}), put("s", 0, states(MaxStates+1, 1)...), put("s", 0, states(1, 1025)...),
		put("s", 0, states(4097, 1024)...), put("s", math.MaxInt64, on)} {
		require.ErrorIs(t, c.Check([]Change{bad})[0], ErrBadSettings)
		require.ErrorIs(t, c.Apply([]Change{bad}, 1)[0].Err, ErrBadSettings)
	}
	require.ErrorIs(t, c.Check([]Change{put(" s", 0, on)})[0], ErrBadName)
	require.NoError(t, applyOne(t, c, 1, put("big", 0, states(MaxStates, 5)...)).Err)

	first := applyOne(t, c, 10, put("s", 0, on))
	require.True(t, first.Created)
	require.EqualValues(t, int64(model.MinTime), first.StateSet.From)
	again := applyOne(t, c, 20, put("s", 0, on))
	require.False(t, again.Created, "the same set put again is no new version")
	require.Same(t, first.StateSet, again.StateSet)
	second := applyOne(t, c, 30, put("s", 0, states(2, 1)...))
	require.EqualValues(t, 2, second.StateSet.Version)
	require.EqualValues(t, 30, second.StateSet.From)
	c = reload(t, c)
	at, _ := c.StateSetAt("s", 29)
	require.EqualValues(t, 1, at.Version)
	at, _ = c.StateSetAt("s", 30)
	require.EqualValues(t, 2, at.Version)
	require.Len(t, c.StateSets(), 2)
	require.Equal(t, "big", c.StateSets()[0].Name)
	require.EqualValues(t, 2, c.StateSets()[1].Version)
}

// TestHandedOutTagsStay: what a reader holds does not change under it, nor with what the caller does to its change.
func TestHandedOutTagsStay(t *testing.T) {
	c := New(Options{})
	ch := create("a", 1, model.Float64)
	ch.Create.Tag.Attributes = map[string]string{"k": "v"}
	held := c.Apply([]Change{ch}, 1)[0].Tag
	ch.Create.Tag.Settings[0].Unit, ch.Create.Tag.Attributes["k"] = "bar", "w"
	text := "new"
	c.Apply([]Change{{Update: &Update{ID: 1, Description: &text, SetAttributes: map[string]string{"k": "x"}, Settings: &model.Settings{From: 5, Unit: "m"}}}, rename(1, "b", 5)}, 2)
	require.Equal(t, "a", held.Name)
	require.Empty(t, held.Description)
	require.Equal(t, map[string]string{"k": "v"}, held.Attributes)
	require.Len(t, held.Settings, 1)
	require.Empty(t, held.Settings[0].Unit)
	require.Equal(t, []model.Alias{{Name: "a", From: model.MinTime, To: math.MaxInt64}}, held.Aliases)
	now := tagOf(c, 1)
	require.Equal(t, "x", now.Attributes["k"])
	require.Equal(t, []model.Alias{{Name: "a", From: model.MinTime, To: 5}, {Name: "b", From: 5, To: math.MaxInt64}}, now.Aliases)
}

func TestAliasLimit(t *testing.T) {
	c := New(Options{})
	apply(t, c, 1, create("n", 1, model.Float64))
	for i := range MaxAliases - 1 {
		require.NoError(t, applyOne(t, c, 1, rename(1, fmt.Sprint(i), int64(i+1))).Err)
	}
	require.ErrorIs(t, applyOne(t, c, 1, rename(1, "one more", 5000)).Err, ErrBadSettings)
	c = reload(t, c)
	tag, ok := c.ByNameAt("500", 501)
	requireName(t, 1, tag, ok)
}

// TestReadersBesideApply is for the race detector. A tag that a name leads to is there by its id.
func TestReadersBesideApply(t *testing.T) {
	c := New(Options{})
	done := make(chan struct{})
	var readers sync.WaitGroup
	read := func(look func(i int)) {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
					look(i)
				}
			}
		})
	}
	read(func(i int) {
		id := model.TagID(i%3000 + 1)
		if typ, ok := c.Type(id); ok && typ != model.Float64 {
			panic("type changed")
		}
		if tag, ok := c.Tag(id); ok && tag.ID != id {
			panic("wrong tag")
		}
		if tag, ok := c.ByUUID(uuid(i % 3000)); ok {
			if _, ok := c.Type(tag.ID); !ok {
				panic("a tag without a type")
			}
		}
	})
	read(func(i int) {
		tags, _, _ := c.List(Filter{Glob: "AREA0*"}, "", 10)
		for _, tag := range tags {
			if tag.Current().Type != model.Float64 {
				panic("type changed")
			}
		}
		c.ByName("renamed")
		c.ByNameAt("renamed", 5)
		c.Check([]Change{create("x", 1<<30, model.Float64)})
		c.StateSets()
		c.Revision()
	})
	tags := plantTags(3000)
	for i := 0; i < len(tags); i += 100 {
		c.Apply(tags[i:i+100], int64(i))
		c.Apply([]Change{rename(model.TagID(i+1), fmt.Sprintf("AREA07.%d", i), 0), exampleChanges()[0]}, int64(i))
		c.TakeChanged()
	}
	close(done)
	readers.Wait()
	require.Equal(t, 3000, c.Len())
}
