package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query/calendar"
	"github.com/varvedb/varve/storage/catalog"
)

// PutCalendar reads the definition, so that what is stored can be used, and stores its text without the white space around it.
func (s *catalogService) PutCalendar(ctx context.Context, r *varvev1.PutCalendarRequest) (*varvev1.Calendar, error) {
	definition := strings.Trim(r.Definition, " \t\r\n")
	if _, err := calendar.Parse([]byte(definition)); err != nil {
		return nil, fmt.Errorf("calendar %.80q: %w: %w", r.Name, err, errBadField)
	}
	put := &catalog.PutCalendar{Calendar: model.Calendar{Name: r.Name, Definition: definition}}
	result, err := s.change(ctx, catalog.Change{PutCalendar: put})
	if err != nil {
		return nil, err
	}
	return calendarToWire(result.Calendar), nil
}

func (s *catalogService) GetCalendar(_ context.Context, r *varvev1.GetCalendarRequest) (*varvev1.Calendar, error) {
	c, ok := s.db.Catalog().Calendar(r.Name, r.Version)
	if !ok {
		return nil, fmt.Errorf("calendar %.80q version %d: %w", r.Name, r.Version, errNotFound)
	}
	return calendarToWire(c), nil
}

func (s *catalogService) ListCalendars(_ context.Context, r *varvev1.ListCalendarsRequest) (*varvev1.ListCalendarsResponse, error) {
	out := &varvev1.ListCalendarsResponse{}
	size := 0
	for _, c := range s.db.Catalog().Calendars() {
		if c.Name <= r.PageToken {
			continue
		}
		if size >= pageBytes {
			out.NextPageToken = out.Calendars[len(out.Calendars)-1].Name
			break
		}
		out.Calendars = append(out.Calendars, calendarToWire(c))
		size += 32 + len(c.Name) + len(c.Definition)
	}
	return out, nil
}

func calendarToWire(c *model.Calendar) *varvev1.Calendar {
	return &varvev1.Calendar{Name: c.Name, Version: c.Version, StoredNs: c.Stored, Definition: c.Definition}
}
