package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/backup"
	"github.com/varvedb/varve/storage/keys"
)

// contentSide is one of two contents to be compared.
type contentSide struct {
	Name     string `json:"name"`
	Store    string `json:"store"`
	Offset   uint64 `json:"offset"`
	Revision uint64 `json:"catalog_revision"`

	catalog uint64 // hash; 0 for not known
	tags    uint64
	rows    iter.Seq2[contentRow, error]
}

// contentRow is what a side holds of a tag and day.
type contentRow struct {
	storage.Content
	name string // of the tag; empty where that is not known
	nth  int    // which of the rows of a day and name, where rows ascend by name: a tag that had several types has one for each
}

// contentDifference is a tag and day that two sides have differently; empty for a side that has nothing there.
type contentDifference struct {
	Day   string `json:"day"`
	Tag   uint32 `json:"tag"` // its number on the left side, or on the right one where only that has it
	Name  string `json:"name,omitempty"`
	Left  string `json:"left,omitempty"` // hash, or what is damaged
	Right string `json:"right,omitempty"`
}

// comparison is what verify found between two sides, as JSON. Scripts read it: fields are added, never renamed.
type comparison struct {
	Equal       bool                `json:"equal"`
	Left        contentSide         `json:"left"`
	Right       contentSide         `json:"right"`
	Rows        uint64              `json:"rows"` // compared
	Differences []contentDifference `json:"differences"`

	byName bool // rows ascend by the names of tags
}

// online lists what a server holds, or compares it.
func (f *verifyFlags) online(ctx context.Context, w io.Writer) error {
	in, err := f.interval()
	if err != nil {
		return usageError(err)
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	left, err := c.contents(ctx, in)
	if err != nil {
		return err
	}
	switch {
	case f.against != "":
		other := f.client
		other.server = f.against
		d, err := other.dial()
		if err != nil {
			return err
		}
		defer d.close()
		right, err := d.contents(ctx, in)
		if err != nil {
			return err
		}
		return f.compare(w, left, right)
	case f.folder != "":
		return backup.Contents(f.folder, f.id, backup.Options{}, func(m *backup.Manifest, rows iter.Seq2[storage.Content, error]) error {
			return f.compare(w, left, &contentSide{
				Name: "backup " + m.ID, Store: m.Store.String(), Offset: m.Offset, Revision: m.Revision, rows: meeting(rows, in),
			})
		})
	}
	return f.list(w, left)
}

// interval is what --start and --end say; both absent for all.
func (f *verifyFlags) interval() (model.TimeRange, error) {
	in := model.All
	for _, x := range []struct {
		flag, text string
		into       *int64
	}{{"start", f.start, &in.Start}, {"end", f.end, &in.End}} {
		if x.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, x.text)
		if err != nil {
			return in, fmt.Errorf("--%s %q: must be RFC 3339, such as 2026-01-01T00:00:00Z", x.flag, x.text)
		}
		*x.into = t.UnixNano()
	}
	if in.Empty() {
		return in, errors.New("--start must be before --end")
	}
	return in, nil
}

// meeting is the rows of days that meet the range.
func meeting(rows iter.Seq2[storage.Content, error], in model.TimeRange) iter.Seq2[contentRow, error] {
	return func(yield func(contentRow, error) bool) {
		for c, err := range rows {
			day := c.Partition.Range()
			if (err != nil || in.Overlaps(day.Start, day.End-1)) && !yield(contentRow{Content: c}, err) {
				return
			}
		}
	}
}

// byName gives rows ascending by day, then name. Stores that do not share a log gave their tags numbers of their own.
func byName(rows iter.Seq2[contentRow, error]) iter.Seq2[contentRow, error] {
	type row struct {
		contentRow
		err error
	}
	return func(yield func(contentRow, error) bool) {
		var day []row
		flush := func() bool {
			slices.SortStableFunc(day, func(a, b row) int { return strings.Compare(a.name, b.name) })
			for i := range day {
				if i > 0 && day[i].name == day[i-1].name {
					day[i].nth = day[i-1].nth + 1
				}
				if !yield(day[i].contentRow, day[i].err) {
					return false
				}
			}
			day = day[:0]
			return true
		}
		for c, err := range rows {
			if _, ok := errors.AsType[*damagedRow](err); err != nil && !ok {
				yield(c, err)
				return
			}
			if len(day) > 0 && day[0].Partition != c.Partition && !flush() {
				return
			}
			day = append(day, row{c, err})
		}
		flush()
	}
}

// damagedRow is content that a server could not hash.
type damagedRow struct{ detail string }

func (d *damagedRow) Error() string { return d.detail }

// contents asks a server what it holds.
func (c *client) contents(ctx context.Context, in model.TimeRange) (*contentSide, error) {
	stream, err := c.admin.ContentHashes(ctx, &varvev1.ContentHashesRequest{StartNs: in.Start, EndNs: in.End})
	if err != nil {
		return nil, c.explain(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, c.explain(err)
	}
	s := &contentSide{
		Name: c.address, Store: first.Uuid, Offset: first.Offset, Revision: first.CatalogRevision, catalog: first.CatalogHash, tags: first.Tags,
	}
	s.rows = func(yield func(contentRow, error) bool) {
		for m := first; ; {
			for _, r := range m.Rows {
				x := contentRow{name: r.Name, Content: storage.Content{
					Partition: keys.Partition{Span: keys.Day, Number: r.Day}, Tag: model.TagID(r.Tag),
					Samples: r.Samples, Versions: r.Versions, First: r.FirstNs, Last: r.LastNs, Hash: r.Hash,
				}}
				var damaged error
				if r.Damage != "" {
					damaged = &damagedRow{r.Damage}
				}
				if !yield(x, damaged) {
					return
				}
			}
			next, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(contentRow{}, c.explain(err))
				return
			}
			m = next
		}
	}
	return s, nil
}

// list prints what a server holds, as a content list or as JSON.
func (f *verifyFlags) list(w io.Writer, s *contentSide) error {
	type row struct {
		Day      string `json:"day"`
		Tag      uint32 `json:"tag"`
		Samples  uint64 `json:"samples"`
		Versions uint64 `json:"versions"`
		Hash     string `json:"hash,omitempty"`
		Damage   string `json:"damage,omitempty"`
	}
	rows, damaged := []row{}, 0
	if f.output == "table" {
		fmt.Fprint(w, storage.ContentListHead(s.Revision, int(s.tags), s.catalog))
	}
	for c, err := range s.rows {
		var bad *damagedRow
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		x := row{Day: c.Partition.String(), Tag: uint32(c.Tag), Samples: c.Samples, Versions: c.Versions}
		if bad != nil {
			damaged++
			x.Damage = bad.detail
		} else {
			x.Hash = fmt.Sprintf("%016x", c.Hash)
		}
		switch {
		case f.output == "json":
			rows = append(rows, x)
		case bad != nil:
			fmt.Fprintf(w, "damaged: %s\n", bad.detail)
		default:
			fmt.Fprint(w, c.Line())
		}
	}
	if f.output == "json" {
		out := struct {
			*contentSide
			CatalogHash string `json:"catalog_hash"`
			Rows        []row  `json:"rows"`
		}{s, fmt.Sprintf("%016x", s.catalog), rows}
		if err := printJSON(w, out); err != nil {
			return err
		}
	}
	if damaged > 0 {
		return fmt.Errorf("%d damaged places", damaged)
	}
	return nil
}

// compare lists what two sides have differently. Of two servers it is the tags of one name that are to be equal, and the catalogues only where
// they have one log.
func (f *verifyFlags) compare(w io.Writer, left, right *contentSide) error {
	servers := f.against != ""
	if servers {
		left.rows, right.rows = byName(left.rows), byName(right.rows)
	}
	out := comparison{Left: *left, Right: *right, Differences: []contentDifference{}, byName: servers}
	if err := out.run(); err != nil {
		return err
	}
	out.Equal = len(out.Differences) == 0 && (left.Store != right.Store || left.catalog == 0 || right.catalog == 0 || left.catalog == right.catalog)
	if f.output == "json" {
		if err := printJSON(w, &out); err != nil {
			return err
		}
	} else {
		for _, s := range []*contentSide{left, right} {
			fmt.Fprintf(w, "%s: store %s at log offset %d, catalogue revision %d\n", s.Name, s.Store, s.Offset, s.Revision)
		}
		for _, d := range out.Differences {
			tag := fmt.Sprint("tag ", d.Tag)
			if servers {
				tag = d.Name
			}
			fmt.Fprintf(w, "differs: %s %s: %s, %s\n", d.Day, tag, orNothing(d.Left), orNothing(d.Right))
		}
		fmt.Fprintf(w, "%d tags and days compared, %d differ\n", out.Rows, len(out.Differences))
	}
	if !out.Equal {
		return fmt.Errorf("%s and %s are not equal", left.Name, right.Name)
	}
	return nil
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// run walks both sides at once; both ascend by day, then tag, or by day, then name.
func (c *comparison) run() error {
	nextLeft, stopLeft := iter.Pull2(c.Left.rows)
	defer stopLeft()
	nextRight, stopRight := iter.Pull2(c.Right.rows)
	defer stopRight()
	a, aErr, aMore := nextLeft()
	b, bErr, bMore := nextRight()
	for aMore || bMore {
		for _, err := range []error{aErr, bErr} {
			if _, ok := errors.AsType[*damagedRow](err); err != nil && !ok {
				return err
			}
		}
		order := 0
		switch {
		case !bMore || aMore && c.before(a, b):
			order = -1
		case !aMore || c.before(b, a):
			order = 1
		}
		c.Rows++
		d := contentDifference{}
		if order <= 0 {
			d.Day, d.Tag, d.Name, d.Left = a.Partition.String(), uint32(a.Tag), a.name, hashText(a.Content, aErr)
		}
		if order >= 0 {
			d.Right = hashText(b.Content, bErr)
		}
		if order > 0 {
			d.Day, d.Tag, d.Name = b.Partition.String(), uint32(b.Tag), b.name
		}
		if d.Left != d.Right || aErr != nil && order <= 0 || bErr != nil && order >= 0 {
			c.Differences = append(c.Differences, d)
		}
		if order <= 0 {
			a, aErr, aMore = nextLeft()
		}
		if order >= 0 {
			b, bErr, bMore = nextRight()
		}
	}
	return nil
}

// before reports whether a row comes before another one.
func (c *comparison) before(a, b contentRow) bool {
	if c := a.Partition.Compare(b.Partition); c != 0 {
		return c < 0
	}
	if !c.byName {
		return a.Tag < b.Tag
	}
	return cmp.Or(strings.Compare(a.name, b.name), a.nth-b.nth) < 0
}

// hashText is what is compared: the hash, with the counts that make a difference plain.
func hashText(c storage.Content, err error) string {
	if err != nil {
		return "damaged: " + err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("%016x (%d samples, %d versions)", c.Hash, c.Samples, c.Versions))
}
