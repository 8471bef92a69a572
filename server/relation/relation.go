package relation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/hint"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/catalog"
)

// Errors of scans.
var (
	// ErrBadScan is a scan of what there is none of.
	ErrBadScan = errors.New("no such scan")
	// ErrFormerName is a name that a tag had: SQL knows tags by their current names.
	ErrFormerName = errors.New("a former name")
)

// Column is a column of a table.
type Column struct {
	Name string
	Type arrow.DataType
	Role hint.Role
}

// The types of columns. Clients know few more.
var (
	boolean     = arrow.FixedWidthTypes.Boolean
	bigint      = arrow.PrimitiveTypes.Int64
	double      = arrow.PrimitiveTypes.Float64
	varchar     = arrow.BinaryTypes.String
	timestamptz = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
)

// Table is a table.
type Table struct {
	Name    string
	Columns []Column
	Small   bool // its rows are of tags, not of samples
	Exact   bool // Read leaves out every row that a scan does not want

	// Arguments are those that a function may have; nil of a table that is none.
	Arguments []Argument

	columns func(at Moment, s *Scan) ([]Column, error) // of a function that has others with other arguments
	read    func(ctx context.Context, at Moment, s *Scan, out query.Sink) (uint64, error)
}

// Moment is where tables are read.
type Moment struct {
	Catalog Catalog
	View    *storage.View
	Engine  *query.Engine
	Now     time.Time
	Rejects iter.Seq[*Reject]     // of the caller; nil for none
	Read    func(storage.Reading) // is told how samples were found; nil for nobody
}

// Catalog is what tables are made of besides samples.
type Catalog interface {
	Tag(id model.TagID) (*model.Tag, bool)
	ByName(name string) (*model.Tag, bool)
	Len() int
	StateSet(name string, version uint32) (*model.StateSet, bool)
	StateSets() []*model.StateSet
	List(f catalog.Filter, after string, limit int) (tags []*model.Tag, next string, total int)
}

// Scan says what is wanted of a table.
type Scan struct {
	Columns    []int            // by their place in the table, in the order wanted; none: rows are only counted
	Names      []string         // only of tags with these current names; nil: of all
	IDs        []uint32         // only of tags with these ids; nil: of all
	FirstID    uint32           // only of tags with this id or a higher one
	EndID      uint32           // only of tags with a lower id; 0: of all
	In         model.TimeRange  // of the times; forward
	Severities query.Severities // empty for all
	Nothing    bool             // no row is wanted
	Levels     []int64          // of rollups; nil for all
	Limit      uint64           // most rows; 0 for all
	Runs       bool             // columns that repeat may come run-end encoded
	PerTag     uint64           // most rows of each tag that samples need have, and what else is in the microsecond of the last; 0 for all
	Newest     bool             // PerTag is of the newest, else of the oldest
	Valued     bool             // PerTag counts rows with a value alone

	Arguments map[string]string // of a function, as JSON
}

// Dynamic reports whether the columns of a function depend on its arguments.
func (t *Table) Dynamic() bool { return t.columns != nil }

// ColumnsWith is the columns that a function has with the arguments of a scan.
func (t *Table) ColumnsWith(at Moment, s *Scan) ([]Column, error) {
	if t.columns == nil {
		return t.Columns, nil
	}
	return t.columns(at, s)
}

// All is a scan of all rows and columns of a table.
func (t *Table) All() *Scan {
	s := &Scan{In: model.All}
	for i := range t.Columns {
		s.Columns = append(s.Columns, i)
	}
	return s
}

// Parts cuts the tags that a scan of an exact table wants into at most n ranges of ids with about as many of them: FirstID and EndID of
// each. Every tag is in one of them, also one that is made later.
func (t *Table) Parts(at Moment, s *Scan, n int) ([][2]uint32, error) {
	tags, err := at.tagsOf(s)
	if err != nil {
		return nil, err
	}
	var ids []uint32
	for tag := range tags {
		ids = append(ids, uint32(tag.ID))
	}
	slices.Sort(ids)
	n = max(min(n, len(ids)), 1)
	out := make([][2]uint32, n)
	for i := 1; i < n; i++ {
		cut := ids[i*len(ids)/n]
		out[i-1][1], out[i][0] = cut, cut
	}
	return out, nil
}

// Find is the table of a name, in lower case.
func Find(name string) (*Table, bool) {
	for _, tables := range [][]*Table{Tables, Internal} {
		if i := slices.IndexFunc(tables, func(t *Table) bool { return t.Name == name }); i >= 0 {
			return tables[i], true
		}
	}
	return nil, false
}

// Tables is every table and function.
var Tables = []*Table{
	samplesTable("samples", 0), samplesTable("good_samples", query.SeverityGood), latest.table(), tags.table(), tagNames.table(), tagAttributes.table(), stateSets.table(),
	gaps.table(), versions.table(), annotations.table(), ingestRejects.table(), rollups.table(),
	rawFunction.table(), atTimes.table(), interpolated.table(), aggregate.table(), plotFunction.table(), timeInState.table(), completenessFunction.table(), wideTable(),
}

// Internal is the tables that no statement names: they take the place of others in statements that they answer sooner.
var Internal = []*Table{partials.table()}

// Read writes the rows that a scan wants to out and returns how many, also beside an error.
func (t *Table) Read(ctx context.Context, at Moment, s *Scan, out query.Sink) (uint64, error) {
	for _, c := range s.Columns {
		if !t.Dynamic() && (c < 0 || c >= len(t.Columns)) {
			return 0, fmt.Errorf("column %d of table %s, which has %d: %w", c, t.Name, len(t.Columns), ErrBadScan)
		}
	}
	if s.In.Reverse {
		return 0, fmt.Errorf("a scan of table %s backward: %w", t.Name, ErrBadScan)
	}
	return t.read(ctx, at, s, out)
}

// tagsOf is the tags whose rows a scan wants, each once.
func (at Moment) tagsOf(s *Scan) (iter.Seq[*model.Tag], error) {
	all, err := at.chosen(s)
	if err != nil || s.FirstID == 0 && s.EndID == 0 {
		return all, err
	}
	return func(yield func(*model.Tag) bool) {
		for t := range all {
			if id := uint32(t.ID); id >= s.FirstID && (s.EndID == 0 || id < s.EndID) && !yield(t) {
				return
			}
		}
	}, nil
}

// chosen is the tags that a scan chooses by name or id.
func (at Moment) chosen(s *Scan) (iter.Seq[*model.Tag], error) {
	switch {
	case s.Nothing:
		return func(func(*model.Tag) bool) {}, nil
	case s.Names != nil:
		return at.named(s)
	case s.IDs != nil:
		return func(yield func(*model.Tag) bool) {
			for _, id := range s.IDs {
				if t, ok := at.Catalog.Tag(model.TagID(id)); ok && t.Of == 0 && !yield(t) {
					return
				}
			}
		}, nil
	}
	return func(yield func(*model.Tag) bool) {
		for id := range at.Catalog.Len() {
			if t, ok := at.Catalog.Tag(model.TagID(id + 1)); ok && t.Of == 0 && !yield(t) {
				return
			}
		}
	}, nil
}

// named is the tags that have the names a scan wants. Names that only former tags had are told from names that none had.
func (at Moment) named(s *Scan) (iter.Seq[*model.Tag], error) {
	var found []*model.Tag
	var former error
	for _, name := range s.Names {
		t, ok := at.Catalog.ByName(name)
		switch {
		case !ok:
		case t.Name != name && former == nil:
			former = fmt.Errorf("no tag is called %.200q now; the one that was is called %.200q: name that, or look in tag_names: %w", name, t.Name, ErrFormerName)
		case t.Name == name && (s.IDs == nil || slices.Contains(s.IDs, uint32(t.ID))):
			found = append(found, t)
		}
	}
	if len(found) == 0 && former != nil {
		return nil, former
	}
	return slices.Values(found), nil
}

// samplesTable is the current samples, or those of some severities.
func samplesTable(name string, only query.Severities) *Table {
	columns := []Column{
		{"time", timestamptz, hint.Time}, {"tag", varchar, hint.Tag}, {"value", double, hint.NoRole}, {"quality", bigint, hint.Quality}, {"status", varchar, hint.NoRole},
		{"severity", varchar, hint.Severity}, {"value_int", bigint, hint.NoRole}, {"value_text", varchar, hint.NoRole}, {"time_ns", bigint, hint.TimeNS}, {"tag_id", bigint, hint.TagID},
		{"seq", bigint, hint.NoRole},
	}
	order := []query.SampleColumn{
		query.SampleTime, query.SampleTag, query.SampleValue, query.SampleQuality, query.SampleStatus, query.SampleSeverity, query.SampleValueInt,
		query.SampleValueText, query.SampleTimeNS, query.SampleTagID, query.SampleSeq,
	}
	read := func(ctx context.Context, at Moment, s *Scan, out query.Sink) (uint64, error) {
		r := query.SampleTable{Range: s.In, Severities: s.Severities, Limit: s.Limit, Runs: s.Runs, PerTag: s.PerTag, Valued: s.Valued, Read: at.Read}
		r.Range.Reverse = s.PerTag > 0 && s.Newest
		for _, c := range s.Columns {
			r.Columns = append(r.Columns, order[c])
		}
		if only != 0 {
			if r.Severities == 0 {
				r.Severities = only
			} else if r.Severities &= only; r.Severities == 0 {
				s.Nothing = true
			}
		}
		a := arguments{function: name, given: s.Arguments}
		r.AsOf = a.maybeTime("as_of")
		if a.err != nil {
			return 0, a.err
		}
		var err error
		if r.Tags, err = at.tagsOf(s); err != nil {
			return 0, err
		}
		return at.Engine.At(at.View).ReadSamples(ctx, r, out)
	}
	return &Table{Name: name, Columns: columns, Exact: true, read: read}
}

// never is the end of what has none.
const never = math.MaxInt64
