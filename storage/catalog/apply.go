package catalog

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/varvedb/varve/model"
)

// Apply makes the changes of one log record, in order, and says what became of each. now is the record's ingest time.
// A change that cannot be made does nothing and leaves the others alone.
func (c *Catalog) Apply(changes []Change, now int64) []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.revision++
	c.mu.dirtyMeta = true
	results := make([]Result, len(changes))
	for i := range changes {
		results[i] = c.applyOneLocked(&changes[i], now)
	}
	return results
}

func (c *Catalog) applyOneLocked(ch *Change, now int64) Result {
	if err := ch.checkOne(); err != nil {
		return Result{Err: err}
	}
	switch {
	case ch.Create != nil:
		return c.createLocked(&ch.Create.Tag, now)
	case ch.Update != nil:
		return c.updateLocked(ch.Update)
	case ch.Rename != nil:
		return c.renameLocked(ch.Rename, now)
	case ch.PutCalendar != nil:
		return c.putCalendarLocked(&ch.PutCalendar.Calendar, now)
	case ch.PutCalculation != nil:
		return c.putCalculationLocked(&ch.PutCalculation.Calculation, now)
	}
	return c.putStateSetLocked(&ch.PutStateSet.Set, now)
}

// judgeCreateLocked finds the tag of the name, or reports why none can be made. c.mu must be held for reading.
func (c *Catalog) judgeCreateLocked(t *model.Tag, knownSet func(string) bool) (*model.Tag, error) {
	if err := model.CheckName(t.Name); err != nil {
		return nil, fmt.Errorf("create tag: %w: %w", err, ErrBadName)
	}
	if t.UUID == (model.UUID{}) {
		return nil, fmt.Errorf("create tag %.80q: UUID is zero: %w", t.Name, ErrBadSettings)
	}
	if err := checkCounts(t); err != nil { // also of one that exists: no record could be read with more
		return nil, err
	}
	if old, ok := c.Tag(c.mu.byName[t.Name]); ok {
		if want := askedType(t); want != 0 && want != old.Current().Type {
			return old, fmt.Errorf("create tag %.80q of type %s: it exists with type %s: %w", t.Name, want, old.Current().Type, ErrTypeMismatch)
		}
		return old, nil
	}
	if err := c.judgeTagNameLocked(t.Name); err != nil {
		return nil, fmt.Errorf("create tag: %w", err)
	}
	if err := checkNewTag(t); err != nil {
		return nil, err
	}
	if id := c.mu.byUUID[t.UUID]; id != 0 {
		return nil, fmt.Errorf("create tag %.80q: tag %d has the UUID %s: %w", t.Name, id, t.UUID, ErrUUIDTaken)
	}
	for i := range t.Settings {
		if set := t.Settings[i].StateSet; set != "" && !knownSet(set) {
			return nil, fmt.Errorf("create tag %.80q: digital-state set %.80q: %w", t.Name, set, ErrUnknownStateSet)
		}
	}
	return nil, nil
}

// askedType is the type a Create asks for, 0 for none.
func askedType(t *model.Tag) model.Type {
	if len(t.Settings) == 0 {
		return 0
	}
	return t.Settings[0].Type
}

func (c *Catalog) knownSetLocked(name string) bool { return len(c.mu.sets[name]) > 0 }

func (c *Catalog) createLocked(asked *model.Tag, now int64) Result {
	old, err := c.judgeCreateLocked(asked, c.knownSetLocked)
	if err != nil || old != nil {
		return Result{Tag: old, Err: err}
	}
	if uint64(c.Len()) == math.MaxUint32 {
		return Result{Err: fmt.Errorf("create tag %.80q: all %d ids are in use: %w", asked.Name, c.Len(), ErrTagQuota)}
	}
	from := int64(model.MinTime)
	if former := c.mu.former[asked.Name]; len(former) > 0 {
		from = latestOf(former).to // the name meant another tag before
	}
	t := newTagWithName(asked.Name, from)
	t.ID = model.TagID(c.Len() + 1)
	t.UUID = asked.UUID
	t.Description = asked.Description
	t.SpanLow, t.SpanHigh = asked.SpanLow, asked.SpanHigh
	t.Exception, t.Compression = asked.Exception, asked.Compression
	t.Retention = c.intern.text(asked.Retention)
	t.Attributes = mergeAttributes(nil, asked.Attributes)
	settings := slices.Clone(asked.Settings)
	settings[0].From = model.MinTime
	for i := range settings {
		settings[i].Stepped = settings[i].Stepped || settings[i].Type.AlwaysStepped()
		settings[i].Epoch = 0
	}
	t.Settings = c.intern.settings(settings)
	t.Created = now
	c.addLocked(t)
	c.noteNameLocked(t.Name, t.ID)
	c.mu.dirtyTags = append(c.mu.dirtyTags, t.ID)
	return Result{Tag: t, Created: true}
}

// newTagWithName makes a tag and its first alias in one piece of memory.
func newTagWithName(name string, from int64) *model.Tag {
	both := &struct {
		tag   model.Tag
		alias [1]model.Alias
	}{}
	both.alias[0] = model.Alias{Name: name, From: from, To: always}
	both.tag.Name = name
	both.tag.Aliases = both.alias[:]
	return &both.tag
}

// addLocked publishes a tag whose id is the next, and its names.
func (c *Catalog) addLocked(t *model.Tag) {
	c.mu.byName[t.Name] = t.ID
	c.mu.byUUID[t.UUID] = t.ID
	for _, a := range t.Aliases[:len(t.Aliases)-1] {
		c.mu.former[a.Name] = append(c.mu.former[a.Name], period{t.ID, a.From, a.To})
	}
	c.placeLocked(t)
}

// placeLocked publishes a tag, or one as it is in an epoch, whose id is the next.
func (c *Catalog) placeLocked(t *model.Tag) {
	tags := *c.tags.Load()
	if len(tags) == cap(tags) {
		bigger := make([]atomic.Pointer[model.Tag], len(tags), len(tags)+len(tags)/4+1024)
		for i := range tags {
			bigger[i].Store(tags[i].Load())
		}
		tags = bigger
	}
	tags = tags[:len(tags)+1]
	tags[len(tags)-1].Store(t)
	c.tags.Store(&tags)
	types := append(*c.types.Load(), t.Settings[0].Type)
	c.types.Store(&types)
}

// replaceLocked puts t in the place of the tag of its id, and of its epochs.
func (c *Catalog) replaceLocked(t *model.Tag) {
	tags := *c.tags.Load()
	tags[t.ID-1].Store(t)
	epochs := t.Epochs()
	if len(epochs) == 0 {
		return
	}
	retyped := map[model.TagID]*model.Tag{}
	if all := c.retyped.Load(); all != nil {
		maps.Copy(retyped, *all)
	}
	for i, e := range epochs {
		if i > 0 {
			now, _ := t.In(e.ID)
			tags[e.ID-1].Store(now)
		}
		retyped[e.ID] = t
	}
	c.retyped.Store(&retyped)
}

// beginEpochLocked makes the id that what t has from its newest settings on is kept by.
func (c *Catalog) beginEpochLocked(t *model.Tag) {
	id := model.TagID(c.Len() + 1)
	t.Settings = slices.Clone(t.Settings)
	t.Settings[len(t.Settings)-1].Epoch = id
	now, _ := t.In(id)
	c.placeLocked(now)
	c.mu.dirtyTags = append(c.mu.dirtyTags, id)
}

// mergeAttributes is old with the changes of set, in a new map; nil for none.
func mergeAttributes(old, set map[string]string) map[string]string {
	merged := make(map[string]string, len(old)+len(set))
	maps.Copy(merged, old)
	for k, v := range set {
		if v == "" {
			delete(merged, k)
		} else {
			merged[k] = v
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

// changed is the tag that an update makes of t, or why it makes none.
func changed(t *model.Tag, u *Update, knownSet func(string) bool) (*model.Tag, error) {
	n := *t
	set(&n.Description, u.Description)
	set(&n.SpanLow, u.SpanLow)
	set(&n.SpanHigh, u.SpanHigh)
	set(&n.Exception, u.Exception)
	set(&n.Compression, u.Compression)
	set(&n.Retention, u.Retention)
	if len(u.SetAttributes) > 0 {
		if err := checkAttributes(u.SetAttributes); err != nil {
			return nil, fmt.Errorf("update tag %.80q: %w", t.Name, err)
		}
		n.Attributes = mergeAttributes(t.Attributes, u.SetAttributes)
	}
	if err := checkDescriptive(&n); err != nil {
		return nil, fmt.Errorf("update %w", err)
	}
	if u.Settings == nil {
		return &n, nil
	}
	s, err := nextSettings(t, *u.Settings, knownSet)
	if err != nil {
		return nil, fmt.Errorf("update tag %.80q: %w", t.Name, err)
	}
	n.Settings = s
	return &n, nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// nextSettings is the settings of t with s in force from its date on.
func nextSettings(t *model.Tag, s model.Settings, knownSet func(string) bool) ([]model.Settings, error) {
	if s.Type == 0 {
		s.Type = t.Current().Type
	}
	if err := checkSettings(&s); err != nil {
		return nil, err
	}
	if err := checkEpoch(t, &s); err != nil {
		return nil, err
	}
	if s.StateSet != "" && !knownSet(s.StateSet) {
		return nil, fmt.Errorf("digital-state set %.80q: %w", s.StateSet, ErrUnknownStateSet)
	}
	s.Stepped = s.Stepped || s.Type.AlwaysStepped()
	s.Epoch = t.Current().Epoch // until it is known to be another
	keep := 0
	for keep < len(t.Settings) && t.Settings[keep].From < s.From {
		keep++
	}
	if keep == 0 {
		s.From = model.MinTime
	}
	if keep == MaxSettings {
		return nil, fmt.Errorf("the tag has %d settings already: %w", keep, ErrBadSettings)
	}
	return append(slices.Clone(t.Settings[:keep]), s), nil
}

// checkEpoch reports why settings cannot be those of t from their date on: they would change the type that times have already.
func checkEpoch(t *model.Tag, s *model.Settings) error {
	was, epochs, began := t.Current().Type, t.Epochs(), int64(model.MinTime)
	retyped := len(epochs) > 0
	if retyped {
		began = epochs[len(epochs)-1].From
	}
	switch {
	case s.Type == was && (s.From >= began || !retyped):
		return nil
	case s.From <= began && retyped:
		return fmt.Errorf("settings from %s: the type is %s from %s on, and what was before is not changed any more: %w",
			model.FormatTime(max(s.From, model.MinTime)), was, model.FormatTime(began), ErrBadSettings)
	case s.From <= model.MinTime:
		return fmt.Errorf("the type is %s and cannot become %s from the beginning: it changes from a time on: %w", was, s.Type, ErrTypeMismatch)
	case len(epochs) >= MaxEpochs:
		return fmt.Errorf("the tag had %d types already: %w", len(epochs), ErrBadSettings)
	}
	return nil
}

func (c *Catalog) updateLocked(u *Update) Result {
	old, ok := c.owner(u.ID)
	if !ok {
		return Result{Err: fmt.Errorf("update tag %d: %w", u.ID, model.ErrTagNotFound)}
	}
	t, err := changed(old, u, c.knownSetLocked)
	if err != nil {
		return Result{Tag: old, Err: err}
	}
	t.Retention = c.intern.text(t.Retention)
	t.Settings = c.intern.settings(t.Settings)
	if now := t.Current(); now.Type != old.Current().Type {
		if uint64(c.Len()) == math.MaxUint32 {
			return Result{Tag: old, Err: fmt.Errorf("update tag %.80q: all %d ids are in use: %w", t.Name, c.Len(), ErrTagQuota)}
		}
		c.beginEpochLocked(t)
	}
	c.replaceLocked(t)
	c.mu.dirtyTags = append(c.mu.dirtyTags, t.ID)
	return Result{Tag: t}
}

// judgeRenameLocked is the instant from which the new name holds, or why it cannot. c.mu must be held for reading.
func (c *Catalog) judgeRenameLocked(t *model.Tag, r *Rename, now int64) (int64, error) {
	if err := model.CheckName(r.NewName); err != nil {
		return 0, fmt.Errorf("rename tag %.80q: %w: %w", t.Name, err, ErrBadName)
	}
	if owner := c.mu.byName[r.NewName]; owner != 0 && owner != t.ID {
		return 0, fmt.Errorf("rename tag %.80q to %.80q: it is the name of tag %d: %w", t.Name, r.NewName, owner, ErrNameTaken)
	}
	if err := c.judgeTagNameLocked(r.NewName); err != nil {
		return 0, fmt.Errorf("rename tag %.80q: %w", t.Name, err)
	}
	from := r.From
	if from == 0 {
		from = now
	}
	if from < current(t).From || from > model.MaxTime {
		return 0, fmt.Errorf("rename tag %.80q to %.80q from %s: its present name holds from %s: %w", t.Name, r.NewName,
			model.FormatTime(from), model.FormatTime(current(t).From), ErrBadSettings)
	}
	if last := latestOf(c.mu.former[r.NewName]); last.tag != 0 && last.to > from {
		return 0, fmt.Errorf("rename tag %.80q to %.80q from %s: the name was tag %d's until %s: %w", t.Name, r.NewName,
			model.FormatTime(from), last.tag, model.FormatTime(last.to), ErrNameTaken)
	}
	if len(t.Aliases) >= MaxAliases {
		return 0, fmt.Errorf("rename tag %.80q: it had %d names already: %w", t.Name, len(t.Aliases), ErrBadSettings)
	}
	return from, nil
}

func (c *Catalog) renameLocked(r *Rename, now int64) Result {
	old, ok := c.owner(r.ID)
	if !ok {
		return Result{Err: fmt.Errorf("rename tag %d: %w", r.ID, model.ErrTagNotFound)}
	}
	if r.NewName == old.Name {
		return Result{Tag: old}
	}
	from, err := c.judgeRenameLocked(old, r, now)
	if err != nil {
		return Result{Tag: old, Err: err}
	}
	t := *old
	t.Name = r.NewName
	last := len(old.Aliases) - 1
	t.Aliases = slices.Clone(old.Aliases[:last])
	if was := old.Aliases[last]; was.From < from {
		was.To = from
		t.Aliases = append(t.Aliases, was)
		c.mu.former[was.Name] = append(c.mu.former[was.Name], period{t.ID, was.From, was.To})
	}
	t.Aliases = append(t.Aliases, model.Alias{Name: t.Name, From: from, To: always})
	delete(c.mu.byName, old.Name)
	c.mu.byName[t.Name] = t.ID
	c.noteNameLocked(old.Name, 0)
	c.noteNameLocked(t.Name, t.ID)
	c.replaceLocked(&t)
	c.mu.dirtyTags = append(c.mu.dirtyTags, t.ID)
	return Result{Tag: &t}
}

func (c *Catalog) putStateSetLocked(asked *model.StateSet, now int64) Result {
	if err := checkStateSet(asked); err != nil {
		return Result{Err: err}
	}
	versions := c.mu.sets[asked.Name]
	s := &model.StateSet{Name: asked.Name, Version: uint32(len(versions) + 1), From: asked.From, States: slices.Clone(asked.States)}
	if s.From == 0 {
		s.From = now
		if len(versions) == 0 {
			s.From = model.MinTime
		} else if newest := versions[len(versions)-1]; slices.Equal(newest.States, s.States) {
			return Result{StateSet: newest}
		}
	}
	c.mu.sets[s.Name] = append(versions, s)
	c.mu.dirtySets = append(c.mu.dirtySets, s)
	return Result{StateSet: s, Created: true}
}
