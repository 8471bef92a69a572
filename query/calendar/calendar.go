package calendar

import (
	"errors"
	"time"
)

// Errors to test with errors.Is.
var (
	ErrZone       = errors.New("unknown zone")
	ErrInterval   = errors.New("bad interval")
	ErrDefinition = errors.New("bad calendar")
	ErrTooMany    = errors.New("too many buckets")
)

// Calendar is how a place counts time. It never changes, so any number of readers may share one.
type Calendar struct {
	clock     *clock
	dayStart  int64 // seconds from midnight to where a day begins; may be below 0
	weekStart time.Weekday
	pattern   *pattern // of shifts, nil for none
	periods   []period // ascending, apart
}

// In is the civil calendar of a zone: days from midnight, ISO weeks. The zone is an IANA name, such as Europe/Berlin; an empty one
// is UTC. ErrZone where it is not known.
func In(zone string) (*Calendar, error) {
	z, err := loadZone(zone)
	if err != nil {
		return nil, err
	}
	return &Calendar{clock: newClock(z), weekStart: time.Monday}, nil
}

// Zone is the zone whose clock the calendar follows.
func (c *Calendar) Zone() *time.Location { return c.clock.zone }
