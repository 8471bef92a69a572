package queue

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plainPlace is a place as a table: which lane and sequence each record has.
type plainPlace struct {
	epoch uint64
	at    map[uint64]way // by offset, of records not done
	last  [lanes]uint64  // sequence given last
	ahead uint64         // offsets from here on are not given yet
}

type way struct {
	lane     lane
	sequence uint64
}

// give gives records up to offset high their sequences on the live lane.
func (p *plainPlace) give(high uint64) {
	for ; p.ahead <= high; p.ahead++ {
		p.last[live]++
		p.at[p.ahead] = way{live, p.last[live]}
	}
}

func (p *plainPlace) offsets(keep func(uint64, way) bool) (out []uint64) {
	for o, w := range p.at {
		if keep(o, w) {
			out = append(out, o)
		}
	}
	slices.Sort(out)
	return out
}

// A place says of every record what a table of all of them would, also when it was written and read between.
func TestPlaceIsThatOfATable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Range(1, 5).Draw(t, "first")
		p := newPlace(7, first)
		plain := &plainPlace{epoch: 7, at: map[uint64]way{}, ahead: first}
		high := first - 1
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1: // records come
				high += rapid.Uint64Range(0, 6).Draw(t, "records")
			case 2: // the live lane goes ahead
				from := p.now().first
				if from > high {
					continue
				}
				at := rapid.Uint64Range(from, high).Draw(t, "at")
				plain.give(high)
				moved := plain.offsets(func(o uint64, w way) bool { return w.lane == live && o >= at })
				require.True(t, p.cut(at, high+1))
				for _, o := range moved {
					plain.last[live]--
					plain.last[backlog]++
					plain.at[o] = way{backlog, plain.last[backlog]}
				}
			case 3: // some of a lane is done
				plain.give(high)
				l := lane(rapid.IntRange(0, 1).Draw(t, "lane"))
				of := plain.offsets(func(_ uint64, w way) bool { return w.lane == l })
				if len(of) == 0 {
					continue
				}
				through := plain.at[rapid.SampledFrom(of).Draw(t, "through")].sequence
				p.done(l, through)
				maps.DeleteFunc(plain.at, func(_ uint64, w way) bool { return w.lane == l && w.sequence <= through })
			case 4: // records are lost
				plain.give(high)
				from := rapid.Uint64Range(1, high+1).Draw(t, "from")
				end := rapid.Uint64Range(from, high+1).Draw(t, "end")
				plain.epoch++
				p.lose(from, end, plain.epoch)
				maps.DeleteFunc(plain.at, func(o uint64, _ way) bool { return o >= from && o < end })
				plain.last = [lanes]uint64{}
				for _, o := range plain.offsets(func(uint64, way) bool { return true }) {
					l := plain.at[o].lane
					plain.last[l]++
					plain.at[o] = way{l, plain.last[l]}
				}
			case 5:
				read, err := decodePlace(p.encode())
				require.NoError(t, err)
				require.Equal(t, p, read)
			}
			plain.give(high)
			require.NoError(t, p.check())
			require.Equal(t, plain.epoch, p.epoch)
			require.EqualValues(t, len(plain.at), p.waiting(high))
			undone := uint64(math.MaxUint64)
			for o, w := range plain.at {
				undone = min(undone, o)
				s := p.find(w.lane, w.sequence)
				require.NotNil(t, s, "offset %d", o)
				require.Equal(t, o, s.offset(w.sequence))
			}
			require.Equal(t, min(undone, high+1), p.undone())
		}
	})
}

func TestDamagedPlacesAreRefused(t *testing.T) {
	p := newPlace(9, 4)
	require.True(t, p.cut(10, 20))
	whole := p.encode()
	for i := range whole {
		for bit := range 8 {
			b := slices.Clone(whole)
			b[i] ^= 1 << bit
			_, err := decodePlace(b)
			require.Error(t, err)
		}
		_, err := decodePlace(whole[:i])
		require.Error(t, err)
	}
}

func FuzzPlace(f *testing.F) {
	p := newPlace(9, 4)
	p.cut(10, 20)
	f.Add(p.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePlace(b)
		if err == nil {
			again, err := decodePlace(p.encode())
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	})
}

// The file of a place as version 1 has it.
func TestPlaceFileIsThatOfItsVersion(t *testing.T) {
	p := newPlace(0x0102030405060708, 4)
	require.True(t, p.cut(10, 300))
	p.gap = 3
	written := []byte{1, 8, 7, 6, 5, 4, 3, 2, 1, 0xa3, 0x02, 3, 3, 0, 4, 6, 1, 1, 10, 0xa2, 0x02, 1, 0, 0xac, 0x02}
	written = binary.AppendUvarint(written, open-300)
	written = append(written, 7)
	written = binary.LittleEndian.AppendUint32(written, crc32.Checksum(written, crc32.MakeTable(crc32.Castagnoli)))
	require.Equal(t, written, p.encode())
	read, err := decodePlace(written)
	require.NoError(t, err)
	require.Equal(t, p, read)
}
