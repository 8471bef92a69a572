package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/rollup"
)

// Levels of the Headers space above chunks. They reach disk and are never renumbered.
const (
	levelHours = 1 // a row of the 24 hours of a day
	levelDay   = 2 // a row of one, the day
	levelFine  = 3 // a row of 144, ten minutes each, with statistics alone
	numLevels  = 4
)

const (
	hoursOfDay = 24
	hourNanos  = int64(time.Hour)
	fineOfHour = 6
	fineOfDay  = hoursOfDay * fineOfHour
	fineNanos  = hourNanos / fineOfHour
)

// rollups makes the rows of one tag after the other while its partition is sealed. What a row says is what all sealed chunks
// together have of the tag: rewritten samples pass by on their way into chunks, and of chunks that are kept the hours that
// did not change are taken from the row before.
//
// The row of the day says that there are rollups and of which seal; the one of the hours counts if it is of the same seal. A
// row without bytes says that there are none any more. A tag that a seal touches gets either, so that the newest row a view
// may look at is the right one whatever is still there of older ones.
type rollups struct {
	sealing *sealing
	tag     model.TagID
	usable  bool // the partition is a whole day
	start   int64
	hours   [hoursOfDay]rollup.Partial
	fine    [fineOfDay]rollup.Partial
	fresh   hourMask // to be made of samples
	old     bool     // there is a row that this seal must replace
	few     bool     // roll up even a sample
	spoiled bool     // samples that cannot be read, or are of several types: no row
}

// hourMask has a bit for each hour of a day.
type hourMask uint32

const allHours hourMask = 1<<hoursOfDay - 1

// set adds the hours from that of first to that of last, both instants of the day that begins at start.
func (m *hourMask) set(start, first, last int64) {
	from, to := max(0, (first-start)/hourNanos), min(hoursOfDay-1, (last-start)/hourNanos)
	for h := from; h <= to; h++ {
		*m |= 1 << h
	}
}

func (m hourMask) has(h int) bool { return m&(1<<h) != 0 }

// wholeDay reports whether a partition has 24 hours, which the first and the last do not.
func wholeDay(p keys.Partition) bool {
	r := p.Range()
	return p.Span == keys.Day && uint64(r.End)-uint64(r.Start) == uint64(hoursOfDay*hourNanos)
}

// rollupRow names the rollup row of a seal.
func rollupRow(level byte, tag model.TagID, p keys.Partition, generation uint64) []byte {
	h := keys.Header{Level: level, Kind: keys.Sealed, Tag: tag, Start: p.Range().Start, Generation: generation}
	return h.Append(nil)
}

// begin begins a tag. dirty are the pieces that are rewritten.
func (r *rollups) begin(tag model.TagID, pieces []piece, dirty []bool) error {
	s := r.sealing
	if r.usable = wholeDay(s.p); !r.usable {
		return nil
	}
	r.tag, r.start, r.spoiled, r.old = tag, s.p.Range().Start, false, false
	clear(r.hours[:])
	clear(r.fine[:])
	hours, fine, err := r.before()
	if err != nil {
		return err
	}
	if hours == nil {
		r.fresh = allHours
		return nil
	}
	r.fresh = 0
	for i := range pieces {
		if dirty[i] {
			r.fresh.set(r.start, pieces[i].low(), pieces[i].high())
		}
	}
	for h := range r.hours {
		if !r.fresh.has(h) {
			r.hours[h] = hours[h]
			copy(r.fine[h*fineOfHour:], fine[h*fineOfHour:(h+1)*fineOfHour])
		}
	}
	return nil
}

// remake begins a tag of which all samples will be added.
func (r *rollups) remake(tag model.TagID) error {
	if err := r.begin(tag, nil, nil); err != nil || !r.usable {
		return err
	}
	clear(r.hours[:])
	clear(r.fine[:])
	r.fresh = allHours
	return nil
}

// before finds the rows of earlier seals, notes them to be deleted, and returns what the newest ones have; nil where rows are
// missing.
func (r *rollups) before() (hours, fine []rollup.Partial, err error) {
	s := r.sealing
	if sealedThrough(s.all) == 0 {
		return nil, nil, nil
	}
	it := rollupRows{src: &s.src, tag: r.tag}
	defer it.close()
	var row [numLevels]rollupFound
	for level := byte(levelHours); level < numLevels; level++ {
		var goneErr error
		row[level], err = it.find(level, s.p, s.all, func(h keys.Header) {
			if h.Generation != s.through {
				goneErr = errors.Join(goneErr, s.gone.Delete(h.Append(nil), nil))
			}
		})
		if err = errors.Join(err, goneErr); err != nil {
			return nil, nil, r.damaged(err)
		}
	}
	day := row[levelDay]
	r.old = day.generation != 0
	if !r.old || s.whole || len(day.value) == 0 || row[levelHours].generation != day.generation || row[levelFine].generation != day.generation {
		return nil, nil, nil
	}
	if hours, err = decodeRollups(row[levelHours].value, hoursOfDay); err != nil {
		return nil, nil, r.damaged(err)
	}
	if fine, err = decodeRollups(row[levelFine].value, fineOfDay); err != nil {
		return nil, nil, r.damaged(err)
	}
	return hours, fine, nil
}

func decodeRollups(b []byte, want int) ([]rollup.Partial, error) {
	ps, err := rollup.DecodeRow(b)
	if err == nil && len(ps) != want {
		err = fmt.Errorf("rollup row of %d, want %d: %w", len(ps), want, rollup.ErrCorrupt)
	}
	return ps, err
}

// damaged passes over damage of a row: it is made anew of the samples.
func (r *rollups) damaged(err error) error {
	if !isRollupDamage(err) {
		return err
	}
	r.old = true
	return nil
}

// keep takes what is needed of a sealed chunk that is not rewritten.
func (r *rollups) keep(x *piece) error {
	if !r.usable {
		return nil
	}
	var over hourMask
	over.set(r.start, x.first, x.last)
	if over &= r.fresh; over == 0 {
		return nil
	}
	c := r.sealing.cursor
	in := c.in
	defer func() { c.in = in }()
	for h := range hoursOfDay { // from the first hour wanted to the last
		if over.has(h) {
			c.in.End = r.start + int64(h+1)*hourNanos
			if over&(1<<h-1) == 0 {
				c.in.Start = r.start + int64(h)*hourNanos
			}
		}
	}
	if len(c.data) == 0 {
		c.data = append(c.data, chunk.Data{})
	}
	defer func() { x.data = nil }()
	if err := c.load(x, &c.data[0]); isDamage(err) {
		r.spoiled = true // reads find the damage themselves, and the rest can be sealed all the same
		return nil
	} else if err != nil {
		return c.damaged(model.TimeRange{Start: x.first, End: x.last + 1}, err)
	}
	r.add(&x.data.Samples)
	return nil
}

// add takes the next samples of the tag, those of hours that are made of samples.
func (r *rollups) add(s *model.Samples) {
	if !r.usable || r.spoiled {
		return
	}
	for from := 0; from < s.Len(); {
		i := int((s.Times[from] - r.start) / fineNanos)
		to := searchTime(s.Times, from, r.start+int64(i+1)*fineNanos)
		if r.fresh.has(i / fineOfHour) {
			p := &r.fine[i]
			if p.Type() != 0 && p.Type() != s.Type {
				r.spoiled = true
				return
			}
			p.Add(s, from, to)
		}
		from = to
	}
}

// end writes the rows of the tag: of the day where that has some samples, of its hours and of ten minutes where those do.
func (r *rollups) end(ctx context.Context) error {
	if !r.usable {
		return nil
	}
	s := r.sealing
	var day rollup.Partial
	for i := range r.fine {
		if h := i / fineOfHour; r.fresh.has(h) && !r.spoiled {
			r.spoiled = r.hours[h].Type() != 0 && r.fine[i].Type() != 0 && r.hours[h].Type() != r.fine[i].Type()
			if !r.spoiled {
				r.hours[h].Merge(&r.fine[i])
			}
		}
	}
	for h := range r.hours {
		if t := r.hours[h].Type(); t != 0 && day.Type() != 0 && t != day.Type() {
			r.spoiled = true
		}
		if !r.spoiled {
			day.Merge(&r.hours[h])
		}
	}
	least := int64(max(s.db.o.SealedSamples/sealedOwn, 1))
	n := day.Counts().All()
	forHours := hoursOfDay * least
	if r.few {
		least, forHours = 1, 1
	}
	if r.spoiled || n < least {
		if !r.old {
			return nil
		}
		return s.tables.header(ctx, rollupRow(levelDay, r.tag, s.p, s.through), nil)
	}
	if n >= forHours {
		v := rollup.AppendRow(nil, r.hours[:], rollup.AllGroups)
		if err := s.tables.header(ctx, rollupRow(levelHours, r.tag, s.p, s.through), v); err != nil {
			return err
		}
	}
	if n >= fineOfDay*least && day.Groups()&rollup.HasStats != 0 {
		v := rollup.AppendRow(nil, r.fine[:], rollup.HasStats)
		if err := s.tables.header(ctx, rollupRow(levelFine, r.tag, s.p, s.through), v); err != nil {
			return err
		}
	}
	return s.tables.header(ctx, rollupRow(levelDay, r.tag, s.p, s.through), day.Append(nil, rollup.AllGroups))
}

func isRollupDamage(err error) bool {
	return isDamage(err) || errors.Is(err, rollup.ErrCorrupt) || errors.Is(err, rollup.ErrVersion)
}

// searchTime is where times, ascending, reach t, from `from` on. It looks nearby first.
func searchTime(times []int64, from int, t int64) int {
	step, lo := 32, from
	for lo+step < len(times) && times[lo+step] < t {
		lo += step
		step *= 2
	}
	hi := min(len(times), lo+step)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); times[m] < t {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}
