package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// lane is one of the two ways to a destination.
type lane uint8

const (
	live lane = iota
	backlog
	lanes // how many there are
)

// stretch is records that go one lane, one after another.
type stretch struct {
	lane       lane
	first, end uint64 // offsets [first, end); end is open for what is still to come
	sequence   uint64 // of first
}

// open is the end of the stretch that has none yet.
const open = math.MaxUint64

// place is how far a destination is: the stretches of the log that it may not have yet, and under which sequence each of their records
// goes. The last one is live and open. Within a lane sequences go on from one stretch to the next, so that each lane is dense, as the
// server wants it.
type place struct {
	epoch     uint64
	stretches []stretch // ascending by offset
	next      uint64    // sequence that the next stretch of the backlog begins with
	gap       uint64    // offset of the first record of gaps that the destination may not have
}

// newPlace is that of a destination that has nothing from offset first on.
func newPlace(epoch, first uint64) place {
	return place{epoch: epoch, stretches: []stretch{{lane: live, first: first, end: open, sequence: 1}}, next: 1, gap: 1}
}

// undone is the lowest offset that the destination may not have.
func (p *place) undone() uint64 { return p.stretches[0].first }

// now is the stretch that is live and open.
func (p *place) now() *stretch { return &p.stretches[len(p.stretches)-1] }

// firstOf is the first stretch of a lane, nil for none.
func (p *place) firstOf(l lane) *stretch {
	for i := range p.stretches {
		if p.stretches[i].lane == l {
			return &p.stretches[i]
		}
	}
	return nil
}

// find is the stretch of a lane that has a sequence, nil for none.
func (p *place) find(l lane, sequence uint64) *stretch {
	for i := range p.stretches {
		s := &p.stretches[i]
		if s.lane == l && sequence >= s.sequence && sequence-s.sequence < s.end-s.first {
			return s
		}
	}
	return nil
}

// offset is that of the record that goes a lane under a sequence.
func (s *stretch) offset(sequence uint64) uint64 { return s.first + (sequence - s.sequence) }

// maxStretches bounds a place: each is a time that the live lane went ahead of what it had not sent.
const maxStretches = 1024

// cut moves what the live lane has from offset at on to the backlog, up to end, where it goes on. It reports false where nothing moved.
func (p *place) cut(at, end uint64) bool {
	s := *p.now()
	if at < s.first || at >= end || len(p.stretches) > maxStretches {
		return false
	}
	p.stretches = p.stretches[:len(p.stretches)-1]
	if at > s.first {
		p.stretches = append(p.stretches, stretch{live, s.first, at, s.sequence})
	}
	if k := len(p.stretches) - 1; k >= 0 && p.stretches[k].lane == backlog && p.stretches[k].end == at {
		p.stretches[k].end = end // its sequences are the newest of the lane
	} else {
		p.stretches = append(p.stretches, stretch{backlog, at, end, p.next})
	}
	p.next += end - at
	p.stretches = append(p.stretches, stretch{live, end, open, s.sequence + (at - s.first)})
	return true
}

// done notes that the destination has what a lane sent up to a sequence.
func (p *place) done(l lane, through uint64) {
	kept := p.stretches[:0]
	for _, s := range p.stretches {
		if s.lane == l && through >= s.sequence {
			n := min(through-s.sequence+1, s.end-s.first)
			s.first, s.sequence = s.first+n, s.sequence+n
		}
		if s.first < s.end {
			kept = append(kept, s)
		}
	}
	p.stretches = kept
}

// lose takes out offsets [first, end), which will not be sent. What was sent under their sequences, if it was, may have arrived, and no
// other record may have them: so all that is left begins anew, under a new epoch.
func (p *place) lose(first, end, epoch uint64) {
	var kept []stretch
	for _, s := range p.stretches {
		for _, part := range []stretch{{s.lane, s.first, min(s.end, first), 0}, {s.lane, max(s.first, end), s.end, 0}} {
			if part.first < part.end {
				kept = append(kept, part)
			}
		}
	}
	p.stretches = kept
	p.renumber(epoch)
}

// renumber begins a new epoch: what was not done counts from 1.
func (p *place) renumber(epoch uint64) {
	next := [lanes]uint64{1, 1}
	for i := range p.stretches {
		s := &p.stretches[i]
		s.sequence = next[s.lane]
		next[s.lane] += s.end - s.first
	}
	p.epoch, p.next = epoch, next[backlog]
}

// waiting is how many of the records up to offset high the destination may not have.
func (p *place) waiting(high uint64) (n uint64) {
	for _, s := range p.stretches {
		if end := min(s.end, high+1); end > s.first {
			n += end - s.first
		}
	}
	return n
}

// The file of a place: version, then numbers as uvarints, then a checksum of all before it.
const (
	placeVersion  = 1
	maxPlaceBytes = 16 + maxStretches*4*binary.MaxVarintLen64
)

var errPlace = errors.New("the file of a destination's place is damaged")

func (p *place) encode() []byte {
	b := []byte{placeVersion}
	b = binary.LittleEndian.AppendUint64(b, p.epoch)
	for _, v := range []uint64{p.next, p.gap, uint64(len(p.stretches))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, s := range p.stretches {
		b = append(b, byte(s.lane))
		for _, v := range []uint64{s.first, s.end - s.first, s.sequence} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func decodePlace(b []byte) (p place, err error) {
	if len(b) < 13 || len(b) > maxPlaceBytes {
		return p, fmt.Errorf("%w: it has %d bytes", errPlace, len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return p, fmt.Errorf("%w: its checksum does not fit", errPlace)
	}
	if body[0] != placeVersion {
		return p, fmt.Errorf("the file of a destination's place has version %d, this program knows %d", body[0], placeVersion)
	}
	p.epoch, body = binary.LittleEndian.Uint64(body[1:]), body[9:]
	number := func() uint64 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			err = fmt.Errorf("%w: it ends too soon", errPlace)
			return 0
		}
		body = body[n:]
		return v
	}
	p.next, p.gap = number(), number()
	n := number()
	if err != nil || n > uint64(len(body)) {
		return p, fmt.Errorf("%w: %d stretches in %d bytes", errPlace, n, len(body))
	}
	for range n {
		if len(body) == 0 {
			return p, fmt.Errorf("%w: it ends too soon", errPlace)
		}
		s := stretch{lane: lane(body[0])}
		body = body[1:]
		s.first = number()
		s.end = s.first + number()
		s.sequence = number()
		p.stretches = append(p.stretches, s)
	}
	if err == nil {
		err = p.check()
	}
	return p, err
}

// check holds a place to what every place is.
func (p *place) check() error {
	if p.epoch == 0 || p.gap == 0 || p.next == 0 || len(p.stretches) == 0 || *p.now() != (stretch{live, p.now().first, open, p.now().sequence}) {
		return fmt.Errorf("%w: it does not end open", errPlace)
	}
	next, end := [lanes]uint64{}, uint64(1)
	for i, s := range p.stretches {
		switch {
		case s.lane >= lanes, s.first < end, s.end <= s.first, s.sequence == 0, s.end == open && i < len(p.stretches)-1,
			next[s.lane] != 0 && s.sequence != next[s.lane]:
			return fmt.Errorf("%w: stretch %d", errPlace, i)
		}
		next[s.lane], end = s.sequence+(s.end-s.first), s.end
	}
	if next[backlog] != 0 && next[backlog] != p.next {
		return fmt.Errorf("%w: the backlog goes on at %d, its stretches end at %d", errPlace, p.next, next[backlog])
	}
	return nil
}
