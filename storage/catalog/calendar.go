package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// Limits on calendars. All versions stay, and are in memory.
const (
	MaxCalendarBytes  = 1 << 20  // of one definition
	MaxCalendarsBytes = 64 << 20 // of the definitions of all versions of all calendars, judged by Check
)

// PutCalendar adds a version of a named calendar. Version and Stored are set on apply. One equal to the newest changes nothing.
//
// What a definition says is for whoever puts it to check: the catalogue knows that it is text that begins with a brace, by
// which a name, which does not, is told from it.
type PutCalendar struct{ Calendar model.Calendar }

// checkCalendar reports what is wrong with a calendar by itself.
func checkCalendar(c *model.Calendar) error {
	if err := model.CheckName(c.Name); err != nil {
		return fmt.Errorf("calendar: %w: %w", err, ErrBadName)
	}
	switch {
	case c.Name[0] == '{':
		return fmt.Errorf("calendar %.80q: a name begins with no brace, as definitions do: %w", c.Name, ErrBadName)
	case len(c.Definition) > MaxCalendarBytes:
		return fmt.Errorf("calendar %.80q: definition has %d bytes, most is %d: %w", c.Name, len(c.Definition), MaxCalendarBytes, ErrBadSettings)
	case !utf8.ValidString(c.Definition):
		return fmt.Errorf("calendar %.80q: definition is not UTF-8: %w", c.Name, ErrBadSettings)
	case !strings.HasPrefix(c.Definition, "{"):
		return fmt.Errorf("calendar %.80q: definition begins with no brace, it must be a JSON object: %w", c.Name, ErrBadSettings)
	}
	return nil
}

// checkCalendarLocked is checkCalendar and the quota.
func (d *door) checkCalendarLocked(c *model.Calendar) error {
	if err := checkCalendar(c); err != nil {
		return err
	}
	if d.c.sameCalendarLocked(c) != nil {
		return nil
	}
	if n := d.c.mu.calendarBytes + d.calendarBytes + len(c.Definition); n > MaxCalendarsBytes {
		return fmt.Errorf("calendar %.80q: all versions of all calendars would have %d bytes, most is %d: %w", c.Name, n, MaxCalendarsBytes, ErrCalendarQuota)
	}
	d.calendarBytes += len(c.Definition)
	return nil
}

// sameCalendarLocked is the newest version of a calendar where it says the same, else nil.
func (c *Catalog) sameCalendarLocked(x *model.Calendar) *model.Calendar {
	versions := c.mu.calendars[x.Name]
	if n := len(versions); n > 0 && versions[n-1].Definition == x.Definition {
		return versions[n-1]
	}
	return nil
}

func (c *Catalog) putCalendarLocked(asked *model.Calendar, now int64) Result {
	if err := checkCalendar(asked); err != nil {
		return Result{Err: err}
	}
	if same := c.sameCalendarLocked(asked); same != nil {
		return Result{Calendar: same}
	}
	x := *asked
	x.Version, x.Stored = uint32(len(c.mu.calendars[x.Name])+1), now
	c.addCalendarLocked(&x)
	c.mu.dirtyCalendars = append(c.mu.dirtyCalendars, &x)
	return Result{Calendar: &x, Created: true}
}

func (c *Catalog) addCalendarLocked(x *model.Calendar) {
	c.mu.calendars[x.Name] = append(c.mu.calendars[x.Name], x)
	c.mu.calendarVersions++
	c.mu.calendarBytes += len(x.Definition)
}

// Calendar is one version of a named calendar; version 0 is the newest.
func (c *Catalog) Calendar(name string, version uint32) (*model.Calendar, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	versions := c.mu.calendars[name]
	if version == 0 {
		version = uint32(len(versions))
	}
	if version == 0 || uint64(version) > uint64(len(versions)) {
		return nil, false
	}
	return versions[version-1], true
}

// Calendars is the newest version of every calendar, ascending by name.
func (c *Catalog) Calendars() []*model.Calendar {
	c.mu.RLock()
	out := make([]*model.Calendar, 0, len(c.mu.calendars))
	for _, versions := range c.mu.calendars {
		out = append(out, versions[len(versions)-1])
	}
	c.mu.RUnlock()
	slices.SortFunc(out, func(a, b *model.Calendar) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func calendarRows(calendars []*model.Calendar) []Row {
	rows := make([]Row, 0, len(calendars))
	for _, x := range calendars {
		rows = append(rows, seal(namedKey(calendarRow, x.Name, x.Version), appendText(appendTime(nil, x.Stored), x.Definition)))
	}
	slices.SortFunc(rows, func(a, b Row) int { return slices.Compare(a.Key, b.Key) })
	return rows
}

// calendarVersionsLocked is the calendars of all versions. c.mu must be held.
func (c *Catalog) calendarVersionsLocked() (all []*model.Calendar) {
	for _, versions := range c.mu.calendars {
		all = append(all, versions...)
	}
	return all
}

func parseCalendar(name string, version uint32, body []byte) (*model.Calendar, error) {
	r := &reader{b: body}
	x := &model.Calendar{Name: name, Version: version, Stored: r.time(), Definition: r.text()}
	if err := r.end(); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, errors.New("version is 0")
	}
	return x, checkCalendar(x)
}

func (c *Catalog) loadCalendarLocked(x *model.Calendar) error {
	if versions := c.mu.calendars[x.Name]; int(x.Version) != len(versions)+1 {
		return fmt.Errorf("version %d stands where %d belongs", x.Version, len(versions)+1)
	}
	c.addCalendarLocked(x)
	return nil
}

// namedKey is the key of a version of something with a name. It ends with the version; names hold no control characters, so the zero
// byte keeps them apart.
func namedKey(kind byte, name string, version uint32) []byte {
	k := append([]byte{kind}, name...)
	return binary.BigEndian.AppendUint32(append(k, 0), version)
}
