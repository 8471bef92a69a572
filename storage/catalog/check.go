package catalog

import (
	"fmt"
	"math"

	"github.com/varvedb/varve/model"
)

// Check is, per change, why it would be refused as things stand: bad names and settings, unknown ids and sets, taken
// names, and the quota. It sees the sets put and counts the tags made by earlier changes of the same call, and nothing
// else of them. Nil is no promise, since other records may come first; what Apply says holds.
func (c *Catalog) Check(changes []Change) []error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	d := door{c: c, sets: map[string]bool{}, names: map[string]bool{}}
	errs := make([]error, len(changes))
	for i := range changes {
		if i >= MaxChanges {
			errs[i] = fmt.Errorf("change the catalogue: change %d of one record, most is %d: %w", i+1, MaxChanges, ErrBadChange)
			continue
		}
		errs[i] = d.checkLocked(&changes[i])
	}
	return errs
}

// door is what one call of Check knows beside the catalogue.
type door struct {
	c     *Catalog
	sets  map[string]bool // put by earlier changes
	names map[string]bool // of tags that earlier changes make

	calendarBytes int // of definitions that earlier changes put
	calculations  int // versions that earlier changes put
}

func (d *door) knownSet(name string) bool { return d.sets[name] || d.c.knownSetLocked(name) }

func (d *door) checkLocked(ch *Change) error {
	if err := ch.checkOne(); err != nil {
		return err
	}
	switch {
	case ch.Create != nil:
		return d.checkCreateLocked(&ch.Create.Tag)
	case ch.Update != nil:
		t, ok := d.c.owner(ch.Update.ID)
		if !ok {
			return fmt.Errorf("update tag %d: %w", ch.Update.ID, model.ErrTagNotFound)
		}
		n, err := changed(t, ch.Update, d.knownSet)
		if err == nil && n.Current().Type != t.Current().Type { // the epoch that begins has an id, as a tag has
			err = d.roomLocked(t.Name)
		}
		return err
	case ch.Rename != nil:
		t, ok := d.c.owner(ch.Rename.ID)
		if !ok {
			return fmt.Errorf("rename tag %d: %w", ch.Rename.ID, model.ErrTagNotFound)
		}
		if ch.Rename.NewName == t.Name {
			return nil
		}
		// The ingest time is not known yet. Any later than all dates asks only what does not depend on it.
		_, err := d.c.judgeRenameLocked(t, ch.Rename, model.MaxTime)
		return err
	case ch.PutCalendar != nil:
		return d.checkCalendarLocked(&ch.PutCalendar.Calendar)
	case ch.PutCalculation != nil:
		return d.checkCalculationLocked(&ch.PutCalculation.Calculation)
	}
	d.sets[ch.PutStateSet.Set.Name] = true
	return checkStateSet(&ch.PutStateSet.Set)
}

func (d *door) checkCreateLocked(t *model.Tag) error {
	old, err := d.c.judgeCreateLocked(t, d.knownSet)
	if err != nil || old != nil || d.names[t.Name] {
		return err
	}
	if err := d.roomLocked(t.Name); err != nil {
		return err
	}
	d.names[t.Name] = true
	return nil
}

// roomLocked reports why there is no room for one more id.
func (d *door) roomLocked(name string) error {
	if most := min(uint64(d.c.maxTags), math.MaxUint32); uint64(d.c.Len()+len(d.names)) >= most {
		return fmt.Errorf("create tag %.80q: there are %d, most is %d: %w", name, d.c.Len()+len(d.names), most, ErrTagQuota)
	}
	return nil
}
