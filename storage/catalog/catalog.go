// Package catalog keeps the tags of a store, their digital-state sets, and named calendars and calculations.
//
//	changes → Check at the door → log record (AppendChanges) → Apply → rows in the store
//
// # Promises
//
// Ids are dense from 1 in the order tags are made and never used again. A name belongs to one tag at a time; a rename
// keeps the old name for the period it was in force. Settings that change the meaning of samples are dated. Where they change
// the type, an epoch of the tag begins, which has an id of its own: a type belongs to an id for ever. Apply is a
// function of the records before it alone: no clock, no option and no random number changes what it does, so every
// server that applies the same log holds the same rows, byte for byte. That is why quotas are judged by Check at the
// door and not by Apply.
//
// Tags, sets, calendars and calculations that the catalogue hands out are never changed: a change puts a new one in the place of the old. They
// are not to be changed by whoever gets them either.
//
// # Parts
//
// One goroutine applies and takes changed rows; any number reads beside it. A reader may see a tag by its id a moment
// before it sees it by name. The record and the rows are described in docs/format/catalog.md.
package catalog

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/varvedb/varve/model"
)

// Errors to test with errors.Is. model.ErrTagNotFound joins them.
var (
	ErrBadName          = errors.New("name cannot be used")
	ErrNameTaken        = errors.New("name belongs to another")
	ErrUUIDTaken        = errors.New("UUID belongs to another tag")
	ErrTagQuota         = errors.New("too many tags")
	ErrTypeMismatch     = errors.New("type differs from the tag's")
	ErrBadSettings      = errors.New("settings cannot be used")
	ErrBadChange        = errors.New("change does not fit together")
	ErrUnknownStateSet  = errors.New("digital-state set is unknown")
	ErrCalendarQuota    = errors.New("too many calendars")
	ErrCalculationQuota = errors.New("too many calculations")
	ErrCorrupt          = errors.New("catalogue is damaged")
	ErrVersion          = errors.New("catalogue was written by a newer release")
)

// Options tune a Catalog. The zero value of a field means its default.
type Options struct {
	// MaxTags is how many tags Check lets in. A tag costs about 400 bytes of memory, and as much again with
	// attributes. The default is 10,000,000.
	MaxTags int
}

// Catalog is the tags, state sets, calendars and calculations of one log as applied so far.
type Catalog struct {
	maxTags int

	// tags and types are indexed by id - 1. The slices only grow, by the applying goroutine; elements of types never
	// change once published, those of tags are swapped whole.
	tags  atomic.Pointer[[]atomic.Pointer[model.Tag]]
	types atomic.Pointer[[]model.Type]

	// retyped is the tags whose type changed, by the ids of all their epochs; nil while there is none. It is replaced whole.
	retyped atomic.Pointer[map[model.TagID]*model.Tag]

	// mu guards what is inside it. Order: list.mu, mu.
	mu struct {
		sync.RWMutex
		byName   map[string]model.TagID // current names
		former   map[string][]period    // names in force once; periods of one name never overlap
		byUUID   map[model.UUID]model.TagID
		sets     map[string][]*model.StateSet // by name, version n at n-1
		revision uint64

		calendars        map[string][]*model.Calendar // by name, version n at n-1
		calendarVersions int                          // of all of them
		calendarBytes    int                          // of the definitions of all versions

		calculations        map[string][]*model.Calculation // by name, version n at n-1
		calculationVersions int                             // of all of them

		// renamed is what became of names since list.names was made: an id, or 0 for a name no longer in force. It is
		// nil while there is no such list.
		renamed map[string]model.TagID

		dirtyTags []model.TagID // may repeat
		dirtySets []*model.StateSet
		dirtyMeta bool

		dirtyCalendars    []*model.Calendar
		dirtyCalculations []*model.Calculation
	}

	list   nameList
	intern interner // the applying goroutine's
}

// period is when a tag had a name: [from, to).
type period struct {
	tag      model.TagID
	from, to int64
}

// New is an empty catalogue.
func New(o Options) *Catalog {
	if o.MaxTags <= 0 {
		o.MaxTags = 10_000_000
	}
	c := &Catalog{maxTags: o.MaxTags, intern: newInterner()}
	c.tags.Store(&[]atomic.Pointer[model.Tag]{})
	c.types.Store(&[]model.Type{})
	c.mu.byName = map[string]model.TagID{}
	c.mu.former = map[string][]period{}
	c.mu.byUUID = map[model.UUID]model.TagID{}
	c.mu.sets = map[string][]*model.StateSet{}
	c.mu.calendars = map[string][]*model.Calendar{}
	c.mu.calculations = map[string][]*model.Calculation{}
	return c
}

// Tag is the tag of an id. That of an epoch behind the first is the tag as it is in the epoch.
func (c *Catalog) Tag(id model.TagID) (*model.Tag, bool) {
	tags := *c.tags.Load()
	if i := uint64(id) - 1; i < uint64(len(tags)) {
		return tags[i].Load(), true
	}
	return nil, false
}

// Type is the type of a tag's samples. It is one bounds check and two loads, for the ingest path.
func (c *Catalog) Type(id model.TagID) (model.Type, bool) {
	types := *c.types.Load()
	if i := uint64(id) - 1; i < uint64(len(types)) {
		return types[i], true
	}
	return 0, false
}

// Retyped is the tag that an epoch's id is of, nil where the type never changed. While no tag's did it is one load.
func (c *Catalog) Retyped(id model.TagID) *model.Tag {
	if all := c.retyped.Load(); all != nil {
		return (*all)[id]
	}
	return nil
}

// owner is the tag of an id, of an epoch the tag it is of.
func (c *Catalog) owner(id model.TagID) (*model.Tag, bool) {
	t, ok := c.Tag(id)
	if ok && t.Of != 0 {
		return c.Tag(t.Of)
	}
	return t, ok
}

// ByName is the tag that has a name, or else the one that had it most recently.
func (c *Catalog) ByName(name string) (*model.Tag, bool) {
	c.mu.RLock()
	id := c.mu.byName[name]
	if id == 0 {
		id = latestOf(c.mu.former[name]).tag
	}
	c.mu.RUnlock()
	return c.Tag(id)
}

// latestOf is the period that ended last, or the zero period.
func latestOf(periods []period) (last period) {
	for i, p := range periods {
		if i == 0 || p.to > last.to {
			last = p
		}
	}
	return last
}

// ByNameAt is the tag that had a name at an instant. It does not fall back to another time.
func (c *Catalog) ByNameAt(name string, at int64) (*model.Tag, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if t, ok := c.Tag(c.mu.byName[name]); ok && current(t).From <= at {
		return t, true
	}
	for _, p := range c.mu.former[name] {
		if p.from <= at && at < p.to {
			return c.Tag(p.tag)
		}
	}
	return nil, false
}

// current is the alias of a tag's name in force.
func current(t *model.Tag) model.Alias { return t.Aliases[len(t.Aliases)-1] }

// ByUUID is the tag of a UUID.
func (c *Catalog) ByUUID(u model.UUID) (*model.Tag, bool) {
	c.mu.RLock()
	id := c.mu.byUUID[u]
	c.mu.RUnlock()
	return c.Tag(id)
}

// Len is the number of tags.
func (c *Catalog) Len() int { return len(*c.types.Load()) }

// Revision is the number of change records applied.
func (c *Catalog) Revision() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mu.revision
}

// StateSet is one version of a set; version 0 is the newest.
func (c *Catalog) StateSet(name string, version uint32) (*model.StateSet, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	versions := c.mu.sets[name]
	if version == 0 {
		version = uint32(len(versions))
	}
	if version == 0 || uint64(version) > uint64(len(versions)) {
		return nil, false
	}
	return versions[version-1], true
}

// StateSetAt is the version of a set in force at an instant: the highest that had begun by then, or else the first.
func (c *Catalog) StateSetAt(name string, at int64) (*model.StateSet, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	versions := c.mu.sets[name]
	for _, s := range slices.Backward(versions) {
		if s.From <= at || s.Version == 1 {
			return s, true
		}
	}
	return nil, false
}

// StateSets is the newest version of every set, ascending by name.
func (c *Catalog) StateSets() []*model.StateSet {
	c.mu.RLock()
	out := make([]*model.StateSet, 0, len(c.mu.sets))
	for _, versions := range c.mu.sets {
		out = append(out, versions[len(versions)-1])
	}
	c.mu.RUnlock()
	slices.SortFunc(out, func(a, b *model.StateSet) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// always is the end of a name that is in force.
const always = math.MaxInt64
