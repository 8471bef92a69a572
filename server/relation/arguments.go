package relation

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/storage/catalog"
)

// Argument is an argument that a function may have, by name.
type Argument struct {
	Name string
	Type string // of SQL, that it is cast to; empty: it is taken as it is
}

// The types of arguments.
const (
	asItIs = ""
	anInt  = "BIGINT"
	aText  = "VARCHAR"
	aBool  = "BOOLEAN"
	aTime  = "TIMESTAMP WITH TIME ZONE"
)

// arguments reads the arguments of one call. The first that makes no sense is kept.
type arguments struct {
	function string
	given    map[string]string // JSON
	err      error
}

func (a *arguments) fail(name, format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("%s of %s: "+format+": %w", append(append([]any{name, a.function}, args...), query.ErrBadRequest)...)
	}
}

// read reads an argument; false where it is not given, or null.
func (a *arguments) read(name string, into any) bool {
	text, ok := a.given[name]
	if !ok || text == "null" {
		return false
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		a.fail(name, "%.80s cannot be used", text)
		return false
	}
	return true
}

func (a *arguments) text(name string) (s string) {
	a.read(name, &s)
	return s
}

func (a *arguments) bool(name string) (v bool) {
	a.read(name, &v)
	return v
}

func (a *arguments) maybeBool(name string) *bool {
	var v bool
	if !a.read(name, &v) {
		return nil
	}
	return &v
}

func (a *arguments) int(name string, least, most int64) (v int64, ok bool) {
	if ok = a.read(name, &v); ok && (v < least || v > most) {
		a.fail(name, "%d, must be %d to %d", v, least, most)
	}
	return v, ok
}

// texts is a list, or one by itself.
func (a *arguments) texts(name string) []string {
	var one string
	if json.Unmarshal([]byte(a.given[name]), &one) == nil && a.given[name] != "null" {
		return []string{one}
	}
	var all []string
	a.read(name, &all)
	return all
}

// timeLayouts is how the engine writes instants, and people: in UTC where no zone is said.
var timeLayouts = []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999999", time.RFC3339Nano, "2006-01-02"}

func (a *arguments) parseTime(name, text string) int64 {
	var t time.Time
	err := error(nil)
	for _, layout := range timeLayouts {
		if t, err = time.Parse(layout, text); err == nil {
			break
		}
	}
	if err != nil || t.Year() < 1678 || t.Year() > 2261 {
		a.fail(name, "%q is no instant between 1678 and 2261", text)
		return 0
	}
	return t.UnixNano()
}

func (a *arguments) time(name string) (at int64, ok bool) {
	var text string
	if !a.read(name, &text) {
		return 0, false
	}
	return a.parseTime(name, text), true
}

func (a *arguments) maybeTime(name string) *int64 {
	t, ok := a.time(name)
	if !ok {
		return nil
	}
	return &t
}

func (a *arguments) times(name string) (out []int64) {
	var all []string
	a.read(name, &all)
	for _, text := range all {
		out = append(out, a.parseTime(name, text))
	}
	return out
}

// edges is start and stop, which must both be given.
func (a *arguments) edges() (start, stop int64) {
	start, okStart := a.time("start")
	stop, okStop := a.time("stop")
	if !okStart || !okStop {
		a.fail("start or stop", "missing; both must be given")
	}
	return start, stop
}

// clockTime is an INTERVAL of less than days as the engine writes it, such as 00:15:00 or 30:00:00.5.
func clockTime(text string) (time.Duration, bool) {
	m := clock.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	d, err := time.ParseDuration(m[1] + "h" + m[2] + "m" + m[3] + "s")
	return d, err == nil
}

var clock = regexp.MustCompile(`^(\d{2,}):(\d\d):(\d\d(?:\.\d+)?)$`)

// buckets is start, stop, every and zone. A length of time is counted from start, all else by the clock of the zone.
func (a *arguments) buckets() (b query.Buckets) {
	b.Start, b.End = a.edges()
	every, zone := a.text("every"), a.text("zone")
	if d, ok := clockTime(every); ok {
		every = d.String()
	}
	if d, err := time.ParseDuration(every); err == nil && zone == "" {
		if d <= 0 {
			a.fail("every", "%s, must be positive", d)
		}
		b.Step = d.Nanoseconds()
		return b
	}
	b.Every, b.Zone = every, zone
	b.Calendar = []byte(a.text("calendar"))
	return b
}

// maxTags is how many tags a call may be about, see query.MaxRangeTags.
const maxTags = query.MaxRangeTags

// tags is the tags a call is about, in the order given; none where the condition on tags held for none.
func (a *arguments) tags(at Moment, s *Scan) (ids []model.TagID, none bool) {
	names := a.texts("tags")
	if _, given := a.given["tags"]; !given && s.IDs == nil {
		a.fail("tags", "missing: a name, a list of names with * and ?, or tags_where => a condition on the columns of tags")
		return nil, false
	}
	seen := map[model.TagID]bool{}
	add := func(t *model.Tag) {
		if !seen[t.ID] {
			seen[t.ID], ids = true, append(ids, t.ID)
		}
	}
	for _, name := range names {
		t, ok := at.Catalog.ByName(name)
		switch {
		case ok && t.Name == name:
			add(t)
		case strings.ContainsAny(name, "*?"):
			found, _, _ := at.Catalog.List(catalog.Filter{Glob: name}, "", maxTags+1)
			if len(found) == 0 {
				a.fail("tags", "no tag matches %.200q", name)
			}
			for _, t := range found {
				add(t)
			}
		case ok:
			a.fail("tags", "no tag is called %.200q now; the one that was is called %.200q", name, t.Name)
		default:
			if a.err == nil {
				a.err = fmt.Errorf("tags of %s: tag %.200q: %w", a.function, name, model.ErrTagNotFound)
			}
		}
	}
	if s.IDs != nil {
		wanted := map[model.TagID]bool{}
		for _, id := range s.IDs {
			t, ok := at.Catalog.Tag(model.TagID(id))
			if wanted[model.TagID(id)] = ok; ok && names == nil {
				add(t)
			}
		}
		kept := ids[:0]
		for _, id := range ids {
			if wanted[id] {
				kept = append(kept, id)
			}
		}
		ids = kept
	}
	if len(ids) > maxTags {
		a.fail("tags", "%d, most is %d", len(ids), maxTags)
	}
	return ids, len(ids) == 0
}

// percent is a percentage of the configuration of aggregates.
func (a *arguments) percent(name string, into *uint8) {
	if v, ok := a.int(name, 0, 100); ok {
		*into = uint8(v)
	}
}

// end is MaxInt64 where a range has none.
const endless = math.MaxInt64
