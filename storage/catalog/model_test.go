package catalog

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/varvedb/varve/model"
)

// plain is the catalogue as one would say it: tags in a list, searched from end to end. What a name or a setting was
// at an instant is found by replaying its history.
type plain struct {
	tags []*plainTag
	sets map[string][]model.StateSet
}

type plainTag struct {
	uuid       model.UUID
	typ        model.Type
	names      []plainName
	settings   []model.Settings // in the order set, dates as asked
	attributes map[string]string
	text       string

	of     int // the tag that this is an epoch of, by its place from 1; 0: it is a tag
	epochs []model.Epoch
}

type plainName struct {
	name     string
	from, to int64
}

func (t *plainTag) name() string {
	if t.of != 0 {
		return ""
	}
	return t.names[len(t.names)-1].name
}

// now is the type that the tag has last.
func (t *plainTag) now() model.Type { return t.settings[len(t.settings)-1].Type }

// tag is the place of the tag that an id is of.
func (p *plain) tag(id model.TagID) (*plainTag, int) {
	if int(id) > len(p.tags) {
		return nil, 0
	}
	if t := p.tags[id-1]; t.of != 0 {
		return p.tags[t.of-1], t.of
	}
	return p.tags[id-1], int(id)
}

func (t *plainTag) at(instant int64) model.Settings {
	s := t.settings[0]
	for _, n := range t.settings[1:] {
		if n.From <= instant {
			s = n
		}
	}
	return s
}

func (p *plain) owner(name string) int {
	for i, t := range p.tags {
		if t.name() == name {
			return i + 1
		}
	}
	return 0
}

func (p *plain) ownerAt(name string, at int64) int {
	for i, t := range p.tags {
		for j, n := range t.names {
			if n.name == name && n.from <= at && (at < n.to || j == len(t.names)-1) {
				return i + 1
			}
		}
	}
	return 0
}

// last is the owner, or who had the name when it was last in force, and until when.
func (p *plain) last(name string) (id int, until int64) {
	if id = p.owner(name); id != 0 {
		return id, math.MaxInt64
	}
	until = model.MinTime
	for i, t := range p.tags {
		for _, n := range t.names {
			if n.name == name && n.to > until {
				id, until = i+1, n.to
			}
		}
	}
	return id, until
}

func (p *plain) create(a *model.Tag) (id int, created bool, err error) {
	if id = p.owner(a.Name); id != 0 {
		if a.Settings[0].Type != p.tags[id-1].now() {
			return id, false, ErrTypeMismatch
		}
		return id, false, nil
	}
	set := a.Settings[0].StateSet
	if set != "" && a.Settings[0].Type != model.State || a.Settings[0].From > model.MaxTime {
		return 0, false, ErrBadSettings
	}
	for _, t := range p.tags {
		if t.of == 0 && t.uuid == a.UUID {
			return 0, false, ErrUUIDTaken
		}
	}
	if set != "" && len(p.sets[set]) == 0 {
		return 0, false, ErrUnknownStateSet
	}
	_, from := p.last(a.Name)
	p.tags = append(p.tags, &plainTag{uuid: a.UUID, typ: a.Settings[0].Type, names: []plainName{{a.Name, from, math.MaxInt64}},
		settings: []model.Settings{a.Settings[0]}, attributes: map[string]string{}, text: a.Description})
	return len(p.tags), true, nil
}

func (p *plain) rename(r *Rename, now int64) error {
	t, _ := p.tag(r.ID)
	if t == nil {
		return model.ErrTagNotFound
	}
	if t.name() == r.NewName {
		return nil
	}
	from := r.From
	if from == 0 {
		from = now
	}
	present := &t.names[len(t.names)-1]
	owner, until := p.last(r.NewName)
	switch {
	case p.owner(r.NewName) != 0:
		return ErrNameTaken
	case from < present.from:
		return ErrBadSettings
	case owner != 0 && until > from:
		return ErrNameTaken
	}
	present.to = from
	if present.from == from {
		t.names = t.names[:len(t.names)-1]
	}
	t.names = append(t.names, plainName{r.NewName, from, math.MaxInt64})
	return nil
}

func (p *plain) update(u *Update) error {
	t, id := p.tag(u.ID)
	if t == nil {
		return model.ErrTagNotFound
	}
	if s := u.Settings; s != nil {
		n := *s
		if n.Type == 0 {
			n.Type = t.now()
		}
		began := int64(model.MinTime)
		if k := len(t.epochs); k > 0 {
			began = t.epochs[k-1].From
		}
		switch {
		case n.StateSet != "" && n.Type != model.State:
			return ErrBadSettings
		case len(t.epochs) > 0 && (n.From < began || n.From == began && n.Type != t.now()):
			return ErrBadSettings
		case n.Type != t.now() && n.From <= model.MinTime:
			return ErrTypeMismatch
		case n.StateSet != "" && len(p.sets[n.StateSet]) == 0:
			return ErrUnknownStateSet
		}
		kept := []model.Settings{}
		for i, old := range t.settings {
			if i == 0 && n.From > model.MinTime || i > 0 && old.From < n.From {
				kept = append(kept, old)
			}
		}
		if n.Type != t.now() {
			p.tags = append(p.tags, &plainTag{typ: n.Type, of: id})
			if len(t.epochs) == 0 {
				t.epochs = []model.Epoch{{From: model.MinTime, ID: model.TagID(id), Type: t.typ}}
			}
			t.epochs = append(t.epochs, model.Epoch{From: n.From, ID: model.TagID(len(p.tags)), Type: n.Type})
		}
		t.settings = append(kept, n)
	}
	if u.Description != nil {
		t.text = *u.Description
	}
	for k, v := range u.SetAttributes {
		t.attributes[k] = v
		if v == "" {
			delete(t.attributes, k)
		}
	}
	return nil
}

func (p *plain) put(s *model.StateSet, now int64) (version int) {
	n := *s
	old := p.sets[s.Name]
	if n.From == 0 {
		n.From = now
		if len(old) == 0 {
			n.From = model.MinTime
		} else if fmt.Sprint(old[len(old)-1].States) == fmt.Sprint(n.States) {
			return len(old)
		}
	}
	p.sets[s.Name] = append(old, n)
	return len(old) + 1
}

// apply is the plain answer: which tag, and which error.
func (p *plain) apply(ch Change, now int64) (id int, created bool, err error) {
	switch {
	case ch.Create != nil:
		return p.create(&ch.Create.Tag)
	case ch.Update != nil:
		err = p.update(ch.Update)
		_, id = p.tag(ch.Update.ID)
	case ch.Rename != nil:
		err = p.rename(ch.Rename, now)
		_, id = p.tag(ch.Rename.ID)
	}
	if errors.Is(err, model.ErrTagNotFound) {
		id = 0
	}
	return id, false, err
}

var testNames = []string{"A", "B", "C", "Füllstand 7", "温度", "a.b"}
var testSets = []string{"pump", "Ventil"}
var testTimes = []int64{model.MinTime, -5, 0, 1, 10, 20, 30, model.MaxTime}

// drawChange is any well-formed change. uuids repeat seldom.
func drawChange(t *rapid.T, tags int) Change {
	id := model.TagID(rapid.IntRange(1, tags+1).Draw(t, "id"))
	settings := func() model.Settings {
		return model.Settings{From: rapid.SampledFrom(testTimes).Draw(t, "settings from"), Type: model.Type(rapid.IntRange(1, 8).Draw(t, "type")),
			Unit: rapid.SampledFrom([]string{"", "bar", "Cel"}).Draw(t, "unit"), MaxGap: time.Duration(rapid.IntRange(0, 2).Draw(t, "gap")),
			StateSet: rapid.SampledFrom([]string{"", "", "pump", "Ventil"}).Draw(t, "set")}
	}
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0, 1, 2:
		return Change{Create: &Create{Tag: model.Tag{Name: rapid.SampledFrom(testNames).Draw(t, "name"),
			UUID: uuid(rapid.IntRange(1, 1000).Draw(t, "uuid")), Settings: []model.Settings{settings()}, Description: "made"}}}
	case 3, 4:
		u := &Update{ID: id}
		s := settings()
		s.Type = model.Type(rapid.SampledFrom([]int{0, 0, 0, 1, 6}).Draw(t, "new type"))
		u.Settings = &s
		return Change{Update: u}
	case 5:
		text := rapid.StringN(0, 5, -1).Draw(t, "text")
		return Change{Update: &Update{ID: id, Description: &text, SetAttributes: rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}),
			rapid.SampledFrom([]string{"", "1", "ü"}), 0, 2).Draw(t, "attributes")}}
	case 6:
		return Change{PutStateSet: &PutStateSet{Set: model.StateSet{Name: rapid.SampledFrom(testSets).Draw(t, "set"),
			From:   rapid.SampledFrom(testTimes).Draw(t, "set from"),
			States: []model.DigitalState{{Code: -1, Text: rapid.SampledFrom([]string{"off", "aus"}).Draw(t, "text")}, {Code: 1, Text: "on"}}}}}
	}
	return rename(id, rapid.SampledFrom(testNames).Draw(t, "name"), rapid.SampledFrom(testTimes).Draw(t, "from"))
}

// TestAgainstPlainModel drives a catalogue through records and restarts, and a model that searches lists.
func TestAgainstPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, p, d := New(Options{}), &plain{sets: map[string][]model.StateSet{}}, disk{}
		twin, twinDisk := New(Options{}), disk{} // never restarted
		for now := range int64(rapid.IntRange(1, 40).Draw(t, "records")) {
			var changes []Change
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				changes = append(changes, drawChange(t, len(p.tags)))
			}
			payload := AppendChanges(nil, changes)
			decoded, err := DecodeChanges(payload)
			require.NoError(t, err)
			require.Equal(t, payload, AppendChanges(nil, decoded))
			single := len(changes) == 1
			judged := c.Check(changes)
			results := c.Apply(decoded, now+11)
			twin.Apply(changes, now+11)
			for i, ch := range changes {
				if ch.PutStateSet != nil {
					require.NoError(t, results[i].Err)
					require.EqualValues(t, p.put(&ch.PutStateSet.Set, now+11), results[i].StateSet.Version)
					continue
				}
				id, created, err := p.apply(ch, now+11)
				require.ErrorIs(t, results[i].Err, err, "%+v", ch)
				require.Equal(t, created, results[i].Created)
				if id == 0 {
					require.Nil(t, results[i].Tag)
				} else {
					require.EqualValues(t, id, results[i].Tag.ID)
				}
				if single && (ch.Rename == nil || ch.Rename.From != 0) {
					require.ErrorIs(t, judged[i], err, "the door judges as apply does")
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				d.write(c.TakeChanged())
				c = New(Options{})
				require.NoError(t, c.Load(d.rows))
			}
			requireSame(t, p, c)
		}
		d.write(c.TakeChanged())
		twinDisk.write(twin.TakeChanged())
		require.Equal(t, twinDisk, d, "the same history makes the same rows however often it was taken")
	})
}

func requireSame(t *rapid.T, p *plain, c *Catalog) {
	require.Equal(t, len(p.tags), c.Len())
	for _, name := range testNames {
		id, _ := p.last(name)
		tag, ok := c.ByName(name)
		requireID(t, id, tag, ok, "ByName", name)
		for _, at := range append([]int64{11, 12, 15, 40}, testTimes...) {
			tag, ok := c.ByNameAt(name, at)
			requireID(t, p.ownerAt(name, at), tag, ok, "ByNameAt", name, at)
		}
	}
	listed, _, _ := c.List(Filter{}, "", len(p.tags)+1)
	for _, tag := range listed {
		require.Zero(t, p.tags[tag.ID-1].of, "an epoch has no name of its own")
	}
	for i, want := range p.tags {
		if want.of != 0 {
			requireEpoch(t, p, c, model.TagID(i+1))
			continue
		}
		got, ok := c.ByUUID(want.uuid)
		requireID(t, i+1, got, ok, "ByUUID")
		require.Equal(t, want.epochs, got.Epochs())
		for k, e := range want.epochs {
			require.Equal(t, got, c.Retyped(e.ID))
			now, in := got.In(e.ID)
			require.Equal(t, e.ID, now.ID)
			require.Equal(t, e.From, in.Start)
			for _, at := range testTimes {
				require.Equal(t, k, slices.Index(got.EpochIDs(), e.ID))
				if in.Contains(at) {
					require.Equal(t, e.ID, got.KeptBy(at))
					require.Equal(t, got.At(at), now.At(at))
				}
				require.Equal(t, e.Type, now.At(at).Type, "an epoch is of one type")
			}
		}
		require.Equal(t, want.text, got.Description)
		require.True(t, maps.Equal(want.attributes, got.Attributes))
		typ, ok := c.Type(got.ID)
		require.True(t, ok)
		require.Equal(t, want.typ, typ)
		for _, at := range testTimes {
			w, g := want.at(at), got.At(at)
			w.Stepped, w.From, g.From, g.Epoch = w.Type.AlwaysStepped(), 0, 0, 0
			require.Equal(t, w, g)
		}
	}
	for _, name := range testSets {
		versions := p.sets[name]
		for v, want := range versions {
			got, ok := c.StateSet(name, uint32(v+1))
			require.True(t, ok)
			require.Equal(t, want.States, got.States)
		}
		_, ok := c.StateSet(name, uint32(len(versions)+1))
		require.False(t, ok)
		for _, at := range testTimes {
			want := min(1, len(versions))
			for v, s := range versions {
				if s.From <= at {
					want = v + 1
				}
			}
			got, ok := c.StateSetAt(name, at)
			require.Equal(t, want > 0, ok)
			if ok {
				require.EqualValues(t, want, got.Version)
			}
		}
	}
}

// requireEpoch holds what the catalogue says of the id of an epoch behind the first.
func requireEpoch(t *rapid.T, p *plain, c *Catalog, id model.TagID) {
	want := p.tags[id-1]
	typ, ok := c.Type(id)
	require.True(t, ok)
	require.Equal(t, want.typ, typ)
	got, ok := c.Tag(id)
	require.True(t, ok)
	require.Equal(t, id, got.ID)
	require.EqualValues(t, want.of, got.Of)
	require.EqualValues(t, want.of, got.Owner())
	require.Equal(t, p.tags[want.of-1].name(), got.Name)
	require.Equal(t, p.tags[want.of-1].text, got.Description)
}

func requireID(t require.TestingT, want int, got *model.Tag, ok bool, what ...any) {
	require.Equal(t, want != 0, ok, what...)
	if ok {
		require.EqualValues(t, want, got.ID, what...)
	}
}
