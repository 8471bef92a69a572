package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/varvedb/varve/internal/glob"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/model/unit"
	"github.com/varvedb/varve/storage"
)

// Limits of a subscription. They stand in subscription.proto.
const (
	MaxGlobs              = 1000
	MaxSubscriptionRows   = 1 << 16
	DefaultSubscribedRows = 1 << 14
	MaxLinger             = 10 * time.Second
	maxRangeTags          = 1000 // of one RangeChange
	maxGlobBytes          = 1024
)

// Changes is a reader of what log records did, see storage.Changes.
type Changes interface {
	Next(ctx context.Context) (storage.Change, error)
	Run() (*storage.ChangeRun, error)
	Ranges() iter.Seq2[model.TagID, []model.TimeRange]
	Ready() bool
	Position() storage.Position
}

// Subscription asks for the changes of tags.
type Subscription struct {
	Tags
	Globs     []string      // over current names, also those of later tags
	BatchRows int           // most rows per delivery, 1 to MaxSubscriptionRows; 0 for DefaultSubscribedRows
	Linger    time.Duration // how long rows wait for more of them, 0 to MaxLinger
	Heartbeat time.Duration // how long nothing is delivered before the position is
	Tell      bool          // the position is delivered first
	Unit      string        // UCUM code of the unit of all values, which are doubles then; empty: as they are stored. Not with Globs
}

// Delivery is the next of what a subscriber is told. One of Changes, Range and Lost is set, or none of them where only the position moved
// on. Its memory holds until deliver returns.
type Delivery struct {
	Position storage.Position // behind all that was delivered
	Changes  []byte           // an Arrow IPC stream with Rows rows
	Rows     int
	Range    *RangeDelivery
	Lost     *storage.OffsetRange
}

// RangeDelivery is what a record did to ranges of tags.
type RangeDelivery struct {
	storage.Change
	Tags   []*model.Tag
	Ranges []model.TimeRange // of each
}

func (r *Subscription) check() error {
	switch n := r.Tags.count(); {
	case n+len(r.Globs) == 0:
		return fmt.Errorf("no tag is asked for: %w", ErrBadRequest)
	case n > MaxRangeTags || len(r.Globs) > MaxGlobs:
		return fmt.Errorf("%d tags and %d patterns are asked for, most is %d and %d: %w", n, len(r.Globs), MaxRangeTags, MaxGlobs, ErrBadRequest)
	case r.BatchRows < 0 || r.BatchRows > MaxSubscriptionRows:
		return fmt.Errorf("messages of %d rows, least is 1, most is %d: %w", r.BatchRows, MaxSubscriptionRows, ErrBadRequest)
	case r.Unit != "" && len(r.Globs) > 0:
		return fmt.Errorf("unit %q with patterns, which tags of any dimension may come to match: name the tags: %w", r.Unit, ErrBadRequest)
	case r.Linger < 0 || r.Linger > MaxLinger:
		return fmt.Errorf("rows wait %s for more, most is %s: %w", r.Linger, MaxLinger, ErrBadRequest)
	}
	for i, glob := range r.Globs {
		if len(glob) > maxGlobBytes {
			return fmt.Errorf("pattern %d has %d bytes, most is %d: %w", i, len(glob), maxGlobBytes, ErrBadRequest)
		}
	}
	return nil
}

// Subscribe delivers changes until ctx ends, deliver fails or the store closes, and returns why and how many rows it delivered. It
// holds nothing of the store but that reader of its log, and memory for one delivery.
func (e *Engine) Subscribe(ctx context.Context, changes Changes, r Subscription, deliver func(*Delivery) error) (rows uint64, err error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	if r.BatchRows == 0 {
		r.BatchRows = DefaultSubscribedRows
	}
	filter, err := newTagFilter(e.store.Catalog(), r.Tags, r.Globs, r.Unit)
	if err != nil {
		return 0, err
	}
	need := 2*(int64(r.BatchRows)*changeRowBytes+batchBlobBytes) + filter.bytes()
	if r.Unit != "" {
		need += 8 * storage.MaxRunSamples
	}
	if err := e.budget.reserve(need); err != nil {
		return 0, err
	}
	defer e.budget.release(need)
	s := &subscriber{
		Subscription: r, changes: changes, catalog: e.store.Catalog(), filter: filter,
		states: newStateTexts(e.store.Catalog()), deliver: deliver, told: time.Now(), position: changes.Position(),
	}
	if r.Unit != "" {
		if s.to, err = unit.Parse(r.Unit); err != nil {
			return 0, fmt.Errorf("unit asked for: %w: %w", err, ErrBadRequest)
		}
	}
	s.batch = newChangeBatch(r.BatchRows, s.states, r.Unit)
	if r.Tell {
		if err := s.send(&Delivery{}); err != nil {
			return 0, err
		}
	}
	return s.rows, s.run(ctx)
}

// changeRowBytes is what a row of changes takes in the columns, text apart.
const changeRowBytes = 8 + 4 + 8 + 8 + 4 + 4 + 4 + 4 + (4 + 8) + 8 + 8 + 4 + 4

// subscriber is a subscription being served.
type subscriber struct {
	Subscription
	changes  Changes
	catalog  Catalog
	filter   *tagFilter
	states   *stateTexts
	deliver  func(*Delivery) error
	batch    *changeBatch
	begun    time.Time        // when the first row of the batch came
	told     time.Time        // when something was delivered last
	position storage.Position // behind what is in the batch and before
	rows     uint64

	to    unit.Unit // asked for
	units map[model.TagID]*toUnit
	bits  []uint64 // of converted values
}

func (s *subscriber) run(ctx context.Context) error {
	for {
		x, err := s.next(ctx)
		switch {
		case errors.Is(err, errDue):
			err = nil
		case err == nil:
			err = s.take(x)
		}
		if err != nil {
			return err
		}
		switch now := time.Now(); {
		case s.batch.rows > 0 && now.Sub(s.begun) >= s.Linger:
			err = s.flush()
		case s.batch.rows == 0 && now.Sub(s.told) >= s.Heartbeat:
			err = s.send(&Delivery{})
		}
		if err != nil {
			return err
		}
	}
}

// errDue says that no record came before something is to be delivered.
var errDue = errors.New("due")

// next is the next record, waited for until a delivery is due.
func (s *subscriber) next(ctx context.Context) (storage.Change, error) {
	if ctx.Err() != nil {
		return storage.Change{}, context.Cause(ctx)
	}
	if s.changes.Ready() {
		return s.changes.Next(ctx)
	}
	due := s.told.Add(s.Heartbeat)
	if s.batch.rows > 0 {
		due = s.begun.Add(s.Linger)
	}
	waiting, cancel := context.WithDeadlineCause(ctx, due, errDue)
	defer cancel()
	x, err := s.changes.Next(waiting)
	if err != nil && waiting.Err() != nil {
		err = context.Cause(waiting)
	}
	return x, err
}

// take takes what a record did.
func (s *subscriber) take(x storage.Change) error {
	switch x.Kind {
	case storage.ChangeSamples:
		if err := s.takeRuns(x); err != nil {
			return err
		}
	case storage.ChangeCatalog:
		s.filter.forget()
		clear(s.states.sets)
		clear(s.units)
	case storage.ChangeRange:
		if err := s.takeRanges(x); err != nil {
			return err
		}
	case storage.ChangeLost:
		if err := s.flush(); err != nil {
			return err
		}
		s.position = s.changes.Position()
		return s.send(&Delivery{Lost: &x.Lost})
	}
	s.position = s.changes.Position()
	return nil
}

func (s *subscriber) takeRuns(x storage.Change) error {
	for {
		r, err := s.changes.Run()
		if r == nil || err != nil {
			return err
		}
		if r.Samples.Len() == 0 || !s.filter.has(r.Tag) {
			continue
		}
		tag, ok := s.catalog.Tag(r.Tag)
		if !ok {
			return fmt.Errorf("record %d: tag with id %d: %w", x.Offset, r.Tag, model.ErrTagNotFound)
		}
		if s.Unit != "" {
			if r, err = s.converted(tag, r); err != nil {
				return errors.Join(s.flush(), err) // what came before is told
			}
		}
		for from := 0; from < r.Samples.Len(); {
			if s.batch.rows == 0 {
				s.begun = time.Now()
			}
			if from, err = s.batch.add(x, tag, r, from); err != nil {
				return err
			}
			// All of a batch is delivered before anything of the next record is, so that this names what is in front of it.
			s.position = storage.Position{Offset: x.Offset, Index: r.IndexAt(from-1) + 1}
			if s.batch.full() {
				if err := s.flush(); err != nil {
					return err
				}
			}
		}
	}
}

// converted is a run in the unit asked for.
func (s *subscriber) converted(tag *model.Tag, r *storage.ChangeRun) (*storage.ChangeRun, error) {
	a := asked{tag: tag, unit: s.units[tag.ID]}
	if r.Samples.Type > model.Uint64 { // of an epoch in which the tag is another than it is now
		return nil, fmt.Errorf("tag %s in %s: a sample at %s is of type %s and no number: %w",
			a.describe(), s.Unit, model.FormatTime(r.Samples.Times[0]), r.Samples.Type, ErrBadRequest)
	}
	if a.unit == nil {
		a.unit = conversionsOf(tag, s.to)
		if s.units == nil {
			s.units = map[model.TagID]*toUnit{}
		}
		s.units[tag.ID] = a.unit
	}
	out := *r
	var err error
	if s.bits, err = a.converted(&r.Samples, s.bits); err != nil {
		return nil, err
	}
	out.Samples.Type, out.Samples.Bits = model.Float64, s.bits
	return &out, nil
}

// takeRanges delivers what a record did to ranges, those tags together that follow each other and have the same.
func (s *subscriber) takeRanges(x storage.Change) error {
	if err := s.flush(); err != nil {
		return err
	}
	var d RangeDelivery
	send := func(next model.TagID) error {
		if len(d.Tags) == 0 {
			return nil
		}
		s.position = storage.Position{Offset: x.Offset, Index: uint32(next)}
		return s.send(&Delivery{Range: &d})
	}
	for id, ranges := range s.changes.Ranges() {
		tag, ok := s.catalog.Tag(id)
		if !ok || !s.filter.has(id) {
			continue
		}
		if len(d.Tags) >= maxRangeTags || !slices.Equal(ranges, d.Ranges) {
			if err := send(id); err != nil {
				return err
			}
			d = RangeDelivery{Change: x, Ranges: ranges}
		}
		d.Tags = append(d.Tags, tag)
	}
	if len(d.Tags) == 0 {
		return nil
	}
	s.position = s.changes.Position()
	return s.send(&Delivery{Range: &d})
}

func (s *subscriber) flush() error {
	if s.batch.rows == 0 {
		return nil
	}
	n := s.batch.rows
	b, err := s.batch.encode()
	if err != nil {
		return err
	}
	s.rows += uint64(n)
	return s.send(&Delivery{Changes: b, Rows: n})
}

func (s *subscriber) send(d *Delivery) error {
	d.Position = s.position
	err := s.deliver(d)
	s.told = time.Now()
	return err
}

// changeBatch gathers changes of samples for one delivery.
type changeBatch struct {
	encoder // its columns, and how far they may be filled
	told    told
	tags    *tagColumn
	names   []string
	size    int64            // of names
	index   map[string]int32 // of names
	out     bytes.Buffer
}

func newChangeBatch(maxRows int, states *stateTexts, code string) *changeBatch {
	b := &changeBatch{index: map[string]int32{}}
	b.columns, b.maxRows = changeColumns(&b.told, states, code), maxRows
	b.schema = schemaOf(b.columns, nil)
	b.tags = b.columns[1].(*tagColumn)
	return b
}

func (b *changeBatch) full() bool { return b.rows >= b.maxRows || b.blobBytes() >= batchBlobBytes }

// add takes samples of a run from one on, as many as fit, and returns where it stopped: never between two changes of one
// sample of the record, which no position lies between.
func (b *changeBatch) add(x storage.Change, tag *model.Tag, run *storage.ChangeRun, from int) (int, error) {
	b.told = told{x, run.Effects}
	r := rows{asked: asked{tag: tag, index: b.name(tag.Name)}, Block: &storage.Block{Samples: run.Samples}, from: from}
	n := run.Samples.Len()
	r.to = from + min(n-from, max(b.maxRows-b.rows, 1))
	r.to = b.fit(r)
	for r.to < n && run.IndexAt(r.to) == run.IndexAt(r.to-1) {
		r.to++
	}
	for _, c := range b.columns {
		if err := c.append(r); err != nil {
			return 0, err
		}
	}
	b.rows += r.count()
	return r.to, nil
}

func (b *changeBatch) name(name string) int32 {
	i, ok := b.index[name]
	if !ok {
		i = int32(len(b.names))
		b.index[name] = i
		b.names = append(b.names, name)
		b.size += int64(len(name))
	}
	return i
}

// encode is the rows gathered as an Arrow stream of their own, and begins anew. The bytes hold until the next call.
func (b *changeBatch) encode() ([]byte, error) {
	b.tags.dictionary = stringArray(b.names, b.size)
	arrays := make([]arrow.Array, len(b.columns))
	for i, c := range b.columns {
		data := c.array()
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	record := array.NewRecord(b.schema, arrays, int64(b.rows))
	b.out.Reset()
	w := ipc.NewWriter(&b.out, ipc.WithSchema(b.schema))
	err := errors.Join(w.Write(record), w.Close())
	record.Release()
	for i, c := range b.columns {
		arrays[i].Release()
		c.reset()
	}
	b.tags.dictionary.Release()
	rows := b.rows
	b.rows, b.names, b.size = 0, b.names[:0], 0
	clear(b.index)
	if err != nil {
		return nil, fmt.Errorf("write changes of %d samples: %w", rows, err)
	}
	return b.out.Bytes(), nil
}

// tagFilter is the tags of a subscription. What a pattern matches is asked once for a tag and once more when the catalogue
// changed.
type tagFilter struct {
	catalog Catalog
	ids     map[model.TagID]bool
	globs   []string
	known   []byte // of each tag id; 0: not asked yet
}

const (
	inFilter    = 1
	notInFilter = 2
)

func newTagFilter(c Catalog, t Tags, globs []string, code string) (*tagFilter, error) {
	if err := t.onlyStored(); err != nil {
		return nil, err
	}
	l, err := resolve(c, t, model.All, c.ByName)
	if err != nil {
		return nil, err
	}
	if err := l.onlyStored(); err != nil {
		return nil, err
	}
	if err := l.convertTo(code); err != nil {
		return nil, err
	}
	f := &tagFilter{catalog: c, ids: make(map[model.TagID]bool, len(l.asked)), globs: globs}
	for _, a := range l.asked {
		f.ids[a.tag.ID] = true
	}
	return f, nil
}

// bytes is about what the filter takes.
func (f *tagFilter) bytes() int64 { return 64 * int64(len(f.ids)+len(f.globs)) }

func (f *tagFilter) forget() { clear(f.known) }

func (f *tagFilter) has(tag model.TagID) bool {
	if int(tag) >= len(f.known) {
		f.known = append(f.known, make([]byte, int(tag)+1-len(f.known))...)
	}
	if f.known[tag] == 0 {
		f.known[tag] = notInFilter
		if f.ids[tag] || f.ids[f.owner(tag)] || f.matches(tag) {
			f.known[tag] = inFilter
		}
	}
	return f.known[tag] == inFilter
}

// owner is the tag that an epoch's id is of.
func (f *tagFilter) owner(id model.TagID) model.TagID {
	if tag, ok := f.catalog.Tag(id); ok {
		return tag.Owner()
	}
	return id
}

func (f *tagFilter) matches(id model.TagID) bool {
	tag, ok := f.catalog.Tag(id)
	return ok && slices.ContainsFunc(f.globs, func(pattern string) bool { return glob.Match(pattern, tag.Name) })
}
