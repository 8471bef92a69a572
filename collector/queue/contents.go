package queue

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/internal/saturate"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage/log"
)

// contents is what records of the queue may hold, in few words, in a log of its own: of records that are damaged nothing else is known. It is said before a
// record is put, and once for all that come: which tags a chapter of records has, how far the times of their samples are from when the records
// were put, and whether they came in order. So a tag that goes on as it did costs nothing more.
type contents struct {
	log *log.Log

	mu       sync.Mutex // held while a record is put, so that what holds of it was said
	chapters []chapterAt
	began    bool                    // now is said
	now      chapter                 // without its tags
	number   uint64                  // of it
	opened   int64                   // when its first record was put; 0 before the first
	tags     [2]map[string]*tagHolds // that something was put of, and those of what is late
	touched  []touched               // by the record that is put
	stamp    int64                   // when the last record was put
	end      uint64                  // offset behind it
	put      int64                   // bytes of records of now
	said     int64                   // bytes of what was said of them
}

// tagHolds is what was said of a tag.
type tagHolds struct {
	held
	number uint64 // of the chapter of which it was said
	newest int64  // time of the newest sample put
}

// touched is a tag of a record, and its newest sample there.
type touched struct {
	t  *tagHolds
	to int64
}

// chapterAt is where a chapter is.
type chapterAt struct {
	first, end uint64 // its records are among these; end is open of the newest
	at         uint64 // offset in the log of contents at which it begins
	follows    bool
}

// chapter is what records one behind the other may hold.
type chapter struct {
	follows     bool // its order goes on from the chapter before: the program was not started anew between them
	from, until int64
	ordered     bool // when records were put ascends
	of          map[tagKey]held
}

// held is what holds of the samples of a tag.
type held struct {
	least, most int64 // their times minus when their record was put, ns
	ordered     bool  // those of a record are not older than those of records before
	typ         varvev1.Type
}

const (
	// promised is for how long a chapter says that records are put, each time.
	promised = 10 * time.Second
	// leastLag is how far from the first sample of a tag others are said to be at first. It doubles where that is not enough.
	leastLag = int64(250 * time.Millisecond)
	// A chapter has records of a minute at least, and of so many times the bytes that are said of them.
	chapterLeast = int64(time.Minute)
	chapterShare = 16
)

// cover says what holds of a record, if it was not said: it is on disk then. high is the newest record of the log that is on disk. mu must be held.
func (c *contents) cover(ctx context.Context, at int64, runs []*varvev1.Run, high uint64) error {
	begins := !c.began || saturate.Sub(at, c.opened) >= chapterLeast && c.put >= chapterShare*c.said
	next := c.now
	if begins {
		next = chapter{follows: c.opened != 0, from: at, until: at, ordered: true}
		c.number++
	}
	next.from, next.ordered = min(next.from, at), next.ordered && at >= c.stamp
	if begins || at > next.until {
		next.until = saturate.Add(at, int64(promised))
	}
	next.of = c.changes(at, runs)
	if !begins && len(next.of) == 0 && next.from == c.now.from && next.until == c.now.until && next.ordered == c.now.ordered {
		return nil
	}
	b := next.encode(begins, high+1, c.end)
	offset, err := c.log.Append(ctx, b)
	if c.began = err == nil; err != nil { // all is said again
		return fmt.Errorf("write what the queue is to hold: %w", err)
	}
	c.said += int64(len(b))
	if begins {
		if n := len(c.chapters); n > 0 {
			c.chapters[n-1].end = c.end
		}
		c.chapters = append(c.chapters, chapterAt{first: high + 1, end: open, at: offset, follows: next.follows})
		c.opened, c.put, c.said = at, 0, int64(len(b))
	}
	c.now, c.now.of = next, nil
	return nil
}

// changes is what is to be said of tags of a record beyond what was.
func (c *contents) changes(at int64, runs []*varvev1.Run) (out map[tagKey]held) {
	c.touched = c.touched[:0]
	for _, r := range runs {
		k, x, ok := keyOf(r)
		if !ok {
			continue
		}
		t := c.tag(k)
		c.touched = append(c.touched, touched{t, x.to})
		had := t.number == c.number
		next := t.with(had, saturate.Sub(x.from, at), saturate.Sub(x.to, at))
		next.typ = max(next.typ, x.typ)
		next.ordered = next.ordered && x.from >= t.newest
		if had && next == t.held {
			continue
		}
		if t.held, t.number = next, c.number; out == nil {
			out = map[tagKey]held{}
		}
		out[k] = next
	}
	return out
}

// tag is what was said of a tag.
func (c *contents) tag(k tagKey) *tagHolds {
	of := &c.tags[0]
	if k.late {
		of = &c.tags[1]
	}
	if *of == nil {
		*of = map[string]*tagHolds{}
	}
	t := (*of)[k.tag]
	if t == nil {
		t = &tagHolds{newest: math.MinInt64}
		(*of)[strings.Clone(k.tag)] = t // not the memory of whoever put it
	}
	return t
}

// keyOf is of which samples a run is, and their times; false where it has none.
func keyOf(r *varvev1.Run) (k tagKey, x span, ok bool) {
	x.from, x.to, ok = session.Times(r, 0, session.RunLen(r))
	x.typ = typeOf(r)
	return tagKey{r.Tag, r.Mode == varvev1.WriteMode_WRITE_MODE_NO_REPLACE}, x, ok
}

// with is what holds where samples with such lags come too. It is said with room, so that it holds for more that come.
func (h held) with(had bool, least, most int64) held {
	if !had {
		return held{least: saturate.Sub(least, leastLag), most: saturate.Add(most, leastLag), ordered: true}
	}
	room := saturate.Sub(h.most, h.least)
	if least < h.least {
		h.least = saturate.Sub(least, room)
	}
	if most > h.most {
		h.most = saturate.Add(most, room)
	}
	return h
}

// was notes that the record was put that was covered last. mu must be held.
func (c *contents) was(at int64, offset uint64, bytes int) {
	c.stamp, c.end = max(c.stamp, at), max(c.end, offset+1)
	c.put += int64(bytes)
	for _, x := range c.touched {
		x.t.newest = max(x.t.newest, x.to)
	}
}

// trim forgets chapters of which every record is below an offset, but for the last of them: its records may say what came before.
func (c *contents) trim(undone uint64) error {
	c.mu.Lock()
	n := 0
	for n+1 < len(c.chapters) && c.chapters[n+1].end <= undone {
		n++
	}
	c.chapters = slices.Delete(c.chapters, 0, n)
	at := uint64(0)
	if len(c.chapters) > 0 {
		at = c.chapters[0].at
	}
	c.mu.Unlock()
	if at <= 1 {
		return nil
	}
	return c.log.Trim(at - 1)
}

// open reads where chapters are. end is the offset of the next record of the queue.
func (c *contents) open(end uint64) error {
	c.end = end
	return c.each(context.Background(), c.log.LowWatermark(), c.log.HighWatermark()+1, func(offset uint64, d *said) {
		if !d.begins {
			return
		}
		if n := len(c.chapters); n > 0 {
			c.chapters[n-1].end = d.before
		}
		c.chapters = append(c.chapters, chapterAt{first: d.first, end: open, at: offset, follows: d.follows})
	}, func() {})
}

// each calls f with what records [from, end) of the log say, and damaged for those that cannot be read.
func (c *contents) each(ctx context.Context, from, end uint64, f func(offset uint64, d *said), damaged func()) error {
	if from >= end {
		return nil
	}
	r, err := c.log.NewReader(from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	for from < end {
		offset, record, err := r.Next(ctx)
		var lost *log.LostError
		if errors.As(err, &lost) {
			damaged()
			from = lost.Lost.End
			continue
		}
		if err != nil {
			return err
		}
		if offset >= end {
			return nil
		}
		d, err := decodeSaid(record)
		if err != nil {
			return err
		}
		f(offset, d)
		from = offset + 1
	}
	return nil
}

// runs is some records by the run of the program that put them: order ends with it.
func (c *contents) runs(of offsets) (out []offsets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.chapters {
		if !x.follows && x.first > of.first && x.first < of.end {
			out = append(out, offsets{of.first, x.first})
			of.first = x.first
		}
	}
	return append(out, of)
}

// about is what is said of some records, as of one chapter. around is the records whose order goes on with theirs. whole is false where something
// of it cannot be read, or was never said.
func (c *contents) about(ctx context.Context, of offsets) (out chapter, around offsets, whole bool, err error) {
	c.mu.Lock()
	list := slices.Clone(c.chapters)
	c.mu.Unlock()
	i := slices.IndexFunc(list, func(x chapterAt) bool { return x.end > of.first && x.first < of.end })
	out = chapter{from: math.MaxInt64, until: math.MinInt64, ordered: true, of: map[tagKey]held{}}
	if i < 0 {
		return out, around, false, nil
	}
	j, last := i, i
	for j+1 < len(list) && list[j+1].first < of.end {
		j++
	}
	if last = j; j+1 < len(list) && list[j+1].follows {
		last = j + 1
	}
	whole = list[i].first <= of.first && list[j].end >= of.end
	for k := i; k < j; k++ {
		whole = whole && list[k+1].first <= list[k].end
	}
	around = offsets{list[i].first, list[last].end}
	if list[i].follows && i > 0 {
		around.first = list[i-1].first
	}
	end := c.log.HighWatermark() + 1
	if last+1 < len(list) {
		end = list[last+1].at
	}
	at := i - 1
	err = c.each(ctx, list[i].at, end, func(_ uint64, d *said) {
		if d.begins {
			at++
		}
		if at > j {
			out.orderOf(&d.chapter)
			return
		}
		out.add(&d.chapter)
	}, func() { whole = false })
	return out, around, whole, err
}

// add makes a chapter say of its records what another says of its own, of both.
func (c *chapter) add(d *chapter) {
	c.from, c.until, c.ordered = min(c.from, d.from), max(c.until, d.until), c.ordered && d.ordered
	for k, h := range d.of {
		if had, ok := c.of[k]; ok {
			h = held{min(h.least, had.least), max(h.most, had.most), h.ordered && had.ordered, max(h.typ, had.typ)}
		}
		c.of[k] = h
	}
}

// orderOf takes from what is said of the chapter behind whether the order holds up to it.
func (c *chapter) orderOf(d *chapter) {
	c.ordered = c.ordered && d.ordered
	for k, h := range d.of {
		if had, ok := c.of[k]; ok && !h.ordered {
			had.ordered = false
			c.of[k] = had
		}
	}
}

// said is a record of the log of contents: a chapter begins, or more holds of one.
type said struct {
	chapter
	begins        bool
	first, before uint64 // of one that begins: its first record, and behind the last of the chapter before
}

// A record of the log of contents: version; flags, 1 for a chapter that begins, 2 for one that follows, 4 where when records were put ascends; of one that
// begins first and before as uvarints; from and until as varints; the number of tags as uvarint; of each its flags, 1 for late and 2 for ordered,
// and its type times four, its name by its length, and least and most as varints.
const contentsVersion = 1

func (c *chapter) encode(begins bool, first, before uint64) []byte {
	flags := byte(0)
	for i, is := range []bool{begins, c.follows, c.ordered} {
		if is {
			flags |= 1 << i
		}
	}
	b := []byte{contentsVersion, flags}
	if begins {
		b = binary.AppendUvarint(b, first)
		b = binary.AppendUvarint(b, before)
	}
	b = binary.AppendVarint(b, c.from)
	b = binary.AppendVarint(b, c.until)
	b = binary.AppendUvarint(b, uint64(len(c.of)))
	for _, k := range slices.SortedFunc(maps.Keys(c.of), compareKeys) {
		h := c.of[k]
		flags := byte(h.typ) << 2
		if k.late {
			flags |= 1
		}
		if h.ordered {
			flags |= 2
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(len(k.tag)))
		b = append(b, k.tag...)
		b = binary.AppendVarint(b, h.least)
		b = binary.AppendVarint(b, h.most)
	}
	return b
}

func compareKeys(a, b tagKey) int {
	return cmp.Or(compareBool(a.late, b.late), cmp.Compare(a.tag, b.tag))
}

var errContents = errors.New("a record of what the queue holds is damaged")

func decodeSaid(b []byte) (*said, error) {
	if len(b) < 2 {
		return nil, errContents
	}
	if b[0] != contentsVersion {
		return nil, fmt.Errorf("a record of what the queue holds has version %d, this program knows %d", b[0], contentsVersion)
	}
	d := &said{begins: b[1]&1 != 0, chapter: chapter{follows: b[1]&2 != 0, ordered: b[1]&4 != 0, of: map[tagKey]held{}}}
	b = b[2:]
	bad := false
	take := func(n int) {
		if bad = bad || n <= 0 || n > len(b); !bad {
			b = b[n:]
		}
	}
	number := func() (v uint64) {
		v, n := binary.Uvarint(b)
		take(n)
		return v
	}
	signed := func() (v int64) {
		v, n := binary.Varint(b)
		take(n)
		return v
	}
	if d.begins {
		d.first, d.before = number(), number()
	}
	d.from, d.until = signed(), signed()
	n := number()
	for ; n > 0 && !bad && len(b) > 0; n-- {
		h := held{typ: varvev1.Type(b[0] >> 2), ordered: b[0]&2 != 0}
		k := tagKey{late: b[0]&1 != 0}
		b = b[1:]
		size := number()
		if size > uint64(len(b)) {
			return nil, errContents
		}
		k.tag, b = string(b[:size]), b[size:]
		h.least, h.most = signed(), signed()
		d.of[k] = h
	}
	if bad || n > 0 || len(b) > 0 {
		return nil, errContents
	}
	return d, nil
}
