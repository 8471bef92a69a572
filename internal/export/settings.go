package export

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvedb/varve/internal/timeexpr"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Settings say what an export is of and how it is written. A folder has the same ones for ever: they are part of its manifest.
type Settings struct {
	Tags     []string `json:"tags"`      // names, and patterns with * and ?
	Start    string   `json:"start"`     // as it was given, so that a relative one moves; empty: from the first sample
	Stop     string   `json:"stop"`      // not included; empty: to the last sample
	GroupBy  string   `json:"group_by"`  // segments:N, attribute:NAME, tag, none
	Format   string   `json:"format"`    // parquet or arrow
	TimeUnit string   `json:"time_unit"` // ns or us, of the column time
}

// Defaults are the settings of an export where nothing is said.
var Defaults = Settings{GroupBy: "segments:1", Format: "parquet", TimeUnit: "ns"}

// Check says what of the settings makes no sense, by a clock that relative times count from.
func (s *Settings) Check(now time.Time) error {
	if len(s.Tags) == 0 {
		return errors.New("no tags: give names or patterns, such as 'BOILER*'")
	}
	if s.Format != "parquet" && s.Format != "arrow" {
		return fmt.Errorf("format %q: must be parquet or arrow", s.Format)
	}
	if s.TimeUnit != "ns" && s.TimeUnit != "us" {
		return fmt.Errorf("time unit %q: must be ns or us", s.TimeUnit)
	}
	if _, err := s.grouping(); err != nil {
		return err
	}
	_, err := s.interval(now)
	return err
}

// Equal reports whether two exports are of the same.
func (s *Settings) Equal(o *Settings) bool {
	return slices.Equal(s.Tags, o.Tags) && s.Start == o.Start && s.Stop == o.Stop && s.GroupBy == o.GroupBy && s.Format == o.Format && s.TimeUnit == o.TimeUnit
}

// interval is the times that are exported, by a clock that relative ones count from. Those without a zone are UTC.
func (s *Settings) interval(now time.Time) (model.TimeRange, error) {
	in := model.All
	for _, x := range []struct {
		name, text string
		into       *int64
	}{{"start", s.Start, &in.Start}, {"stop", s.Stop, &in.End}} {
		if x.text == "" {
			continue
		}
		t, err := timeexpr.Parse(x.text, now, time.UTC)
		if err != nil {
			return in, fmt.Errorf("%s: %w", x.name, err)
		}
		*x.into = t
	}
	if in.Start >= in.End {
		return in, fmt.Errorf("start %s is not before stop %s", model.FormatTime(in.Start), model.FormatTime(in.End))
	}
	return in, nil
}

// grouping says in which group a tag is. The empty group is that of tags which have none.
type grouping func(*varvev1.Tag) string

func (s *Settings) grouping() (grouping, error) {
	kind, argument, _ := strings.Cut(s.GroupBy, ":")
	switch {
	case s.GroupBy == "none":
		return func(*varvev1.Tag) string { return "all" }, nil
	case s.GroupBy == "tag":
		return func(t *varvev1.Tag) string { return t.Name }, nil
	case kind == "attribute" && argument != "":
		return func(t *varvev1.Tag) string { return t.Attributes[argument] }, nil
	case kind == "segments":
		if n, err := strconv.Atoi(argument); err == nil && n > 0 {
			return func(t *varvev1.Tag) string { return firstSegments(t.Name, n) }, nil
		}
	}
	return nil, fmt.Errorf("group by %q: must be segments:N with N from 1, attribute:NAME, tag or none", s.GroupBy)
}

// firstSegments is what stands before the n-th . or / of a name, or before the last one where there are fewer: the last segment names the
// tag in its group. Empty where the name has neither.
func firstSegments(name string, n int) string {
	end := 0
	for i := range len(name) {
		if name[i] == '.' || name[i] == '/' {
			if end = i; n == 1 {
				break
			}
			n--
		}
	}
	return name[:end]
}

// noGroup is how Hive names the folder of rows that have no value.
const noGroup = "__HIVE_DEFAULT_PARTITION__"

// maxNameBytes is the longest name of a folder that file systems take.
const maxNameBytes = 255

// groupFolder is the name of a group's folder: group= and the group, in which what a file system or a URL may not have is %XX, as Hive and
// the readers of its folders have it.
func groupFolder(group string) (string, error) {
	if group == "" {
		return "group=" + noGroup, nil
	}
	b := []byte("group=")
	for i := range len(group) {
		switch c := group[i]; {
		case c < ' ' || c == 0x7F || strings.IndexByte(`"#%'*/:=?\{}[]^<>|&+ `, c) >= 0:
			b = fmt.Appendf(b, "%%%02X", c)
		case c == '.' && len(group) <= 2: // . and .. by themselves are no names
			b = append(b, "%2E"...)
		default:
			b = append(b, c)
		}
	}
	if len(b) > maxNameBytes {
		return "", fmt.Errorf("group %.80q needs a folder's name of %d bytes, most is %d: group by something shorter", group, len(b), maxNameBytes)
	}
	return string(b), nil
}

const dayNanos = int64(24 * time.Hour)

// dayRange is the instants of a UTC day.
func dayRange(day int32) model.TimeRange {
	in := model.All
	if first := floorDay(in.Start); day > first {
		in.Start = int64(day) * dayNanos
	}
	if last := floorDay(in.End - 1); day < last {
		in.End = (int64(day) + 1) * dayNanos
	}
	return in
}

func floorDay(t int64) int32 {
	day := t / dayNanos
	if t%dayNanos < 0 {
		day--
	}
	return int32(day)
}

// dayText is a day as the folders have it.
func dayText(day int32) string { return time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly) }

// clip is the part of a day that is exported; empty where none is.
func clip(day int32, in model.TimeRange) model.TimeRange {
	d := dayRange(day)
	return model.TimeRange{Start: max(d.Start, in.Start), End: min(d.End, in.End)}
}

// parseDay reads what dayText wrote.
func parseDay(text string) (int32, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, err
	}
	return int32(t.Unix() / 86400), nil
}
