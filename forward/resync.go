package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// archive is what is being read of the edge's archive. What is gathered was read at one moment or later, and everything that the subscription tells behind
// it is of later moments or the same: so it goes to the site before the next change does, and then the changes make of it what stands at the edge.
type archive struct {
	gathered *packer
	at       days     // what is gathered, or sent, reaches up to here
	names    []string // of the page at hand, not yet read
	page     string   // token of the next page; empty for none
	begun    bool     // a page was asked for
	tag      *edgeTag
	spans    []span // of tag, not yet read
}

// span is days [from, to), days since 1970.
type span struct{ from, to int64 }

// spanDays is the most days of one read.
const spanDays = 31

const dayNanos = int64(24 * time.Hour)

// dropRead forgets what is not sent of the archive; the place has where to begin again.
func (f *Forwarder) dropRead() { f.read = archive{} }

// flush sends what is gathered, and moves the place.
func (f *Forwarder) flush(ctx context.Context) error {
	if f.read.gathered == nil {
		return nil
	}
	if parcel := f.read.gathered.take(); parcel != nil {
		if err := f.deliver(ctx, parcel); err != nil {
			return err
		}
	}
	if f.place.Resync == nil || !f.read.begun {
		return nil
	}
	*f.place.Resync, f.changed = f.read.at, true
	if f.o.Now().Sub(f.written) >= time.Second {
		return f.keep()
	}
	return nil
}

// gather adds a row to what is gathered.
func (f *Forwarder) gather(ctx context.Context, tag *edgeTag, r *answer.Row) error {
	typ, fits := tag.fits(r)
	if !fits {
		return fmt.Errorf("tag %s of the edge: a value of type %s at %d, and no tag of that type", tag.name, r.Value.Type, r.Time)
	}
	if f.read.gathered == nil {
		f.read.gathered = newPacker()
	}
	if !f.read.gathered.add(tag, typ, r, f.c.Source) {
		if err := f.flush(ctx); err != nil {
			return err
		}
		f.read.gathered.add(tag, typ, r, f.c.Source)
	}
	return nil
}

// resync reads the next piece of the archive: days of one tag.
func (f *Forwarder) resync(ctx context.Context) error {
	a := &f.read
	if !a.begun {
		*a = archive{begun: true, at: *f.place.Resync}
		if err := f.namesPage(ctx); err != nil {
			return err
		}
	}
	for len(a.spans) == 0 {
		more, err := f.nextTag(ctx)
		if err != nil {
			return err
		}
		if !more {
			if err := f.flush(ctx); err != nil {
				return err
			}
			f.o.Logger.Info("the archive is read", "since", a.at.Since)
			f.place.Resync = nil
			f.dropRead()
			return f.keep()
		}
	}
	s := a.spans[0]
	if err := f.copyRange(ctx, a.tag, startOf(s.from), startOf(s.to)); err != nil {
		return err
	}
	a.spans = a.spans[1:]
	a.at.Tag, a.at.Day = a.tag.name, s.to
	return nil
}

// startOf is the first instant of a day, within what times there are.
func startOf(day int64) int64 {
	switch {
	case day >= math.MaxInt64/dayNanos:
		return math.MaxInt64
	case day <= -(math.MaxInt64 / dayNanos):
		return -math.MaxInt64
	}
	return day * dayNanos
}

// namesPage asks for the next page of the names of a pattern.
func (f *Forwarder) namesPage(ctx context.Context) error {
	a := &f.read
	l, err := f.edge.Catalog.ListTags(ctx, &varvev1.ListTagsRequest{Filter: f.c.Tags[a.at.Pattern], PageToken: a.page})
	if err != nil {
		return fmt.Errorf("list the tags of the edge: %w", err)
	}
	a.page = l.NextPageToken
	for _, t := range l.Tags {
		if t.Name >= a.at.Tag {
			a.names = append(a.names, t.Name)
		}
	}
	return nil
}

// nextTag takes the next tag and finds which of its days changed; false behind the last one.
func (f *Forwarder) nextTag(ctx context.Context) (more bool, err error) {
	a := &f.read
	for len(a.names) == 0 {
		if a.page == "" {
			if a.at.Pattern == len(f.c.Tags)-1 {
				return false, nil
			}
			a.at = days{Since: a.at.Since, Pattern: a.at.Pattern + 1, Day: math.MinInt64}
		}
		if err := f.namesPage(ctx); err != nil {
			return false, err
		}
	}
	name := a.names[0]
	if a.tag, err = f.tags.fresh(ctx, &varvev1.GetTagRequest{Name: name}); err != nil {
		return false, err
	}
	if !f.c.goesRaw(a.tag.first) {
		a.names = a.names[1:]
		a.at.Tag, a.at.Day = name, math.MaxInt64
		return true, nil
	}
	a.tag.name = name // that of the list's order, whatever it was renamed to since
	l, err := f.edge.Query.ListDays(ctx, &varvev1.ListDaysRequest{TagIds: []uint32{a.tag.id}})
	if err != nil {
		return false, fmt.Errorf("days of tag %s of the edge: %w", name, err)
	}
	from := int64(math.MinInt64)
	if name == a.at.Tag {
		from = a.at.Day
	}
	for _, d := range l.Days {
		day := int64(d.Day)
		if d.Changed < a.at.Since || day < from {
			continue
		}
		if n := len(a.spans); n > 0 && a.spans[n-1].to == day && day-a.spans[n-1].from < spanDays {
			a.spans[n-1].to++
			continue
		}
		a.spans = append(a.spans, span{day, day + 1})
	}
	a.names = a.names[1:]
	if len(a.spans) == 0 {
		a.at.Tag, a.at.Day = name, math.MaxInt64
	}
	return true, nil
}

// copyRange gathers what a tag has in a range, and what was removed from it.
func (f *Forwarder) copyRange(ctx context.Context, tag *edgeTag, start, end int64) error {
	gather := func(r *answer.Row) error { return f.gather(ctx, tag, r) }
	if err := f.tags.removals(ctx, tag, start, end, gather); err != nil {
		return err
	}
	return f.tags.samples(ctx, tag, start, end, gather)
}

// samples visits what a tag has in a range, as something new.
func (t *edgeTags) samples(ctx context.Context, tag *edgeTag, start, end int64, visit func(*answer.Row) error) error {
	r := &varvev1.ReadRangeRequest{TagIds: []uint32{tag.id}, StartNs: &start, EndNs: &end, Limit: parcelRows, WithSeq: true}
	for {
		page, err := t.readPage(ctx, tag, r)
		if err != nil {
			return fmt.Errorf("samples of tag %s of the edge: %w", tag.name, err)
		}
		for i := range page {
			page[i].End.Kind = kindNew
			if err := visit(&page[i]); err != nil {
				return err
			}
		}
		if len(page) < parcelRows {
			return nil
		}
		last := &page[len(page)-1]
		r.AfterTimeNs, r.AfterSeq = &last.Time, last.Seq
	}
}

// errChanged is a tag whose settings changed while it was read.
var errChanged = errors.New("its settings changed meanwhile")

// readPage is a page of samples, of types that are those the tag has had all the while.
func (t *edgeTags) readPage(ctx context.Context, tag *edgeTag, r *varvev1.ReadRangeRequest) (page []answer.Row, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := t.edge.Query.ReadRange(ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := answer.NewReader(stream)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if lacks := a.Incomplete(); lacks != "" {
		t.log.Error("samples are missing at the edge", "tag", tag.name, "log_offsets", lacks)
	}
	rows := answer.NewRows(a, map[string]answer.Types{tag.edge: tag.types})
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if row.Tag != tag.edge {
			return nil, errChanged
		}
		page = append(page, row)
	}
	now, err := t.fresh(ctx, &varvev1.GetTagRequest{Id: tag.id})
	if err != nil {
		return nil, err
	}
	if !proto.Equal(now.site, tag.site) || len(now.sets) != len(tag.sets) {
		return nil, errChanged
	}
	return page, nil
}

// removals visits the keys of a range at which something was removed, whatever stands there again.
func (t *edgeTags) removals(ctx context.Context, tag *edgeTag, start, end int64, visit func(*answer.Row) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("removals of tag %s of the edge: %w", tag.name, err)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := t.edge.Query.ReadModified(ctx, &varvev1.ReadModifiedRequest{TagIds: []uint32{tag.id}, StartNs: start, EndNs: end, WithSeq: true})
	if err != nil {
		return err
	}
	r, err := answer.NewReader(stream)
	if err != nil {
		return err
	}
	defer r.Close()
	var last rowKey
	for rows := answer.NewRows(r, nil); ; {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		key := rowKey{tag, row.Time, row.Seq}
		if row.End.Kind != kindRemoved || key == last { // one removal of a key is enough
			continue
		}
		last = key
		row.Value = answer.Value{Null: true}
		if err := visit(&row); err != nil {
			return err
		}
	}
}
