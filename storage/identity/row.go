package identity

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"github.com/varvedb/varve/model"
)

// Kinds of row, the first byte of a key. They reach disk and are never renumbered; zero is never written.
const (
	metaRow   = 1 // how many rows of the next two kinds there are
	sourceRow = 2 // the name of a source id
	stateRow  = 3 // a (source, epoch)
	holesRow  = 4 // the sequences missing below its highest
	hashesRow = 5 // one page of its content hashes
)

const (
	rowVersion = 1
	rowEnds    = 1 + 4 // version in front, CRC-32C behind
	flagImport = 1
)

// Row is one key and value for the store to keep. Keys are relative to a prefix of the store's choice.
type Row struct{ Key, Value []byte }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal frames a body as a row. The checksum covers the key too, so that a row under a wrong key is damage.
func seal(key, body []byte) Row {
	v := make([]byte, 0, len(body)+rowEnds)
	v = append(v, rowVersion)
	v = append(v, body...)
	return Row{Key: key, Value: binary.LittleEndian.AppendUint32(v, checksum(key, v))}
}

func checksum(key, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v)
}

// open is the body of a row. The checksum is looked at before the version, so that a flipped version byte is damage
// and not a newer release; every version ends with it.
func open(key, value []byte) ([]byte, error) {
	if len(value) < rowEnds {
		return nil, fmt.Errorf("read identity row %x: %d bytes, least is %d: %w", key, len(value), rowEnds, ErrCorrupt)
	}
	end := len(value) - 4
	if got, want := checksum(key, value[:end]), binary.LittleEndian.Uint32(value[end:]); got != want {
		return nil, fmt.Errorf("read identity row %x: checksum is %08x, row says %08x: %w", key, got, want, ErrCorrupt)
	}
	if value[0] != rowVersion {
		return nil, fmt.Errorf("read identity row %x: version %d, newest known is %d: %w", key, value[0], rowVersion, ErrVersion)
	}
	return value[1:end], nil
}

// TakeChanged is the rows changed since the last call, ascending by key. It is for the applying goroutine; the rows
// are the caller's.
func (t *Table) TakeChanged() []Row {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.dirty) == 0 && t.mu.cleanNames == len(t.mu.names) {
		return nil
	}
	meta := binary.LittleEndian.AppendUint32(nil, uint32(len(t.mu.names)))
	meta = binary.LittleEndian.AppendUint32(meta, uint32(len(t.mu.entries)))
	rows := []Row{seal([]byte{metaRow}, meta)}
	for i := t.mu.cleanNames; i < len(t.mu.names); i++ {
		key := binary.BigEndian.AppendUint32([]byte{sourceRow}, uint32(i+1))
		rows = append(rows, seal(key, []byte(t.mu.names[i])))
	}
	slices.SortFunc(t.mu.dirty, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.epoch, b.epoch))
	})
	for _, e := range t.mu.dirty {
		rows = append(rows, seal(e.key(stateRow), e.stateBody()))
	}
	for _, e := range t.mu.dirty {
		if e.dirtyHoles {
			rows = append(rows, seal(e.key(holesRow), e.holesBody()))
		}
	}
	for _, e := range t.mu.dirty {
		for p := range pages {
			if e.dirtyPages&(1<<p) != 0 {
				rows = append(rows, seal(append(e.key(hashesRow), byte(p)), e.hashesBody(p)))
			}
		}
		e.dirtyState, e.dirtyHoles, e.dirtyPages = false, false, 0
	}
	t.mu.dirty = nil
	t.mu.cleanNames = len(t.mu.names)
	return rows
}

func (e *entry) key(kind byte) []byte {
	k := make([]byte, 0, 14)
	k = append(k, kind)
	k = binary.BigEndian.AppendUint32(k, e.source)
	return binary.BigEndian.AppendUint64(k, e.epoch)
}

func (e *entry) stateBody() []byte {
	b := make([]byte, 0, stateBytes)
	var flags byte
	if e.imp {
		flags = flagImport
	}
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint64(b, e.highest)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.last))
	return binary.LittleEndian.AppendUint16(b, uint16(len(e.holes)))
}

func (e *entry) holesBody() []byte {
	b := make([]byte, 0, 8*len(e.holes))
	for _, s := range e.holes {
		b = binary.LittleEndian.AppendUint64(b, s)
	}
	return b
}

func (e *entry) hashesBody(page int) []byte {
	b := make([]byte, 0, 8*pageHashes)
	for _, h := range e.hashes[page] {
		b = binary.LittleEndian.AppendUint64(b, h)
	}
	return b
}

const (
	metaBytes  = 8
	stateBytes = 1 + 8 + 8 + 2
)

// fields is one row taken apart; which of them mean something depends on kind.
type fields struct {
	kind       byte
	source     uint32
	epoch      uint64
	page       int
	name       string
	highest    uint64
	last       int64
	imp        bool
	holeCount  int
	holes      []uint64
	hashes     *[pageHashes]uint64
	names      uint32
	identities uint32
}

// parse takes a row apart and judges everything that can be judged of it by itself.
func parse(key, value []byte) (fields, error) {
	body, err := open(key, value)
	if err != nil {
		return fields{}, err
	}
	f, err := parseKey(key)
	if err == nil {
		err = f.parseBody(body)
	}
	if err != nil {
		return fields{}, fmt.Errorf("read identity row %x: %w: %w", key, err, ErrCorrupt)
	}
	return f, nil
}

func parseKey(key []byte) (fields, error) {
	if len(key) == 0 {
		return fields{}, errors.New("key is empty")
	}
	sizes := map[byte]int{metaRow: 1, sourceRow: 5, stateRow: 13, holesRow: 13, hashesRow: 14}
	if want := sizes[key[0]]; want != len(key) {
		return fields{}, fmt.Errorf("key of kind %d has %d bytes", key[0], len(key))
	}
	f := fields{kind: key[0]}
	if len(key) >= 5 {
		if f.source = binary.BigEndian.Uint32(key[1:]); f.source == 0 {
			return fields{}, errors.New("source id is 0")
		}
	}
	if len(key) >= 13 {
		if f.epoch = binary.BigEndian.Uint64(key[5:]); f.epoch == 0 {
			return fields{}, errors.New("epoch is 0")
		}
	}
	if len(key) == 14 {
		if f.page = int(key[13]); f.page >= pages {
			return fields{}, fmt.Errorf("page %d, most is %d", f.page, pages-1)
		}
	}
	return f, nil
}

func (f *fields) parseBody(b []byte) error {
	switch f.kind {
	case metaRow:
		if len(b) != metaBytes {
			return fmt.Errorf("body has %d bytes, want %d", len(b), metaBytes)
		}
		f.names, f.identities = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	case sourceRow:
		f.name = string(b)
		return model.CheckName(f.name)
	case stateRow:
		return f.parseState(b)
	case holesRow:
		return f.parseHoles(b)
	case hashesRow:
		if len(b) != 8*pageHashes {
			return fmt.Errorf("body has %d bytes, want %d", len(b), 8*pageHashes)
		}
		f.hashes = new([pageHashes]uint64)
		for i := range f.hashes {
			f.hashes[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
	return nil
}

func (f *fields) parseState(b []byte) error {
	if len(b) != stateBytes {
		return fmt.Errorf("body has %d bytes, want %d", len(b), stateBytes)
	}
	if b[0]&^flagImport != 0 {
		return fmt.Errorf("flags %02x are unknown", b[0])
	}
	f.imp = b[0]&flagImport != 0
	f.highest = binary.LittleEndian.Uint64(b[1:])
	f.last = int64(binary.LittleEndian.Uint64(b[9:]))
	f.holeCount = int(binary.LittleEndian.Uint16(b[17:]))
	if f.highest == 0 || f.holeCount > MaxHoles || uint64(f.holeCount) >= f.highest {
		return fmt.Errorf("%d holes below sequence %d, most is %d", f.holeCount, f.highest, MaxHoles)
	}
	return nil
}

func (f *fields) parseHoles(b []byte) error {
	if len(b)%8 != 0 || len(b) > 8*MaxHoles {
		return fmt.Errorf("body has %d bytes, most is %d in steps of 8", len(b), 8*MaxHoles)
	}
	f.holes = make([]uint64, 0, len(b)/8)
	for i, before := 0, uint64(0); i < len(b); i += 8 {
		s := binary.LittleEndian.Uint64(b[i:])
		if s <= before {
			return fmt.Errorf("hole %d follows %d", s, before)
		}
		f.holes = append(f.holes, s)
		before = s
	}
	return nil
}

// CheckRow reports why a row cannot be right by itself: ErrCorrupt or ErrVersion. It lets the store choose the good
// one of two copies.
func CheckRow(key, value []byte) error {
	_, err := parse(key, value)
	return err
}

// Load fills an empty table from all its rows, ascending by key. After an error the table is of no use.
func (t *Table) Load(rows iter.Seq2[[]byte, []byte]) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.entries) != 0 || len(t.mu.names) != 0 {
		return errors.New("load identities: the table is not empty")
	}
	var meta fields
	var before []byte
	holeCounts := map[*entry]int{}
	for key, value := range rows {
		f, err := parse(key, value)
		if err != nil {
			return err
		}
		if before != nil && slices.Compare(before, key) >= 0 {
			return fmt.Errorf("load identities: row %x follows %x: %w", key, before, ErrCorrupt)
		}
		before = append(before[:0], key...)
		if f.kind == metaRow {
			meta = f
			continue
		}
		if err := t.loadLocked(f, holeCounts); err != nil {
			return fmt.Errorf("load identity row %x: %w: %w", key, err, ErrCorrupt)
		}
	}
	if len(t.mu.names) != int(meta.names) || len(t.mu.entries) != int(meta.identities) {
		return fmt.Errorf("load identities: %d sources and %d identities, meta row says %d and %d: %w",
			len(t.mu.names), len(t.mu.entries), meta.names, meta.identities, ErrCorrupt)
	}
	t.mu.cleanNames = len(t.mu.names)
	for e, n := range holeCounts {
		if err := e.checkComplete(n); err != nil {
			return fmt.Errorf("load identity %x: %w: %w", e.key(stateRow), err, ErrCorrupt)
		}
	}
	return nil
}

func (t *Table) loadLocked(f fields, holeCounts map[*entry]int) error {
	if f.kind == sourceRow {
		if int(f.source) != len(t.mu.names)+1 || t.mu.ids[f.name] != 0 {
			return fmt.Errorf("source %q has id %d, after %d others", f.name, f.source, len(t.mu.names))
		}
		t.internLocked(f.name)
		return nil
	}
	if int(f.source) > len(t.mu.names) {
		return fmt.Errorf("source id %d has no name", f.source)
	}
	at := pair{t.mu.names[f.source-1], f.epoch}
	if f.kind == stateRow {
		e := &entry{source: f.source, epoch: f.epoch, highest: f.highest, last: f.last, imp: f.imp}
		t.mu.entries[at] = e
		holeCounts[e] = f.holeCount
		return nil
	}
	e := t.mu.entries[at]
	if e == nil {
		return errors.New("its identity row is missing")
	}
	if f.kind == holesRow {
		e.holes = f.holes
		return nil
	}
	e.hashes[f.page] = f.hashes
	return nil
}

// checkComplete reports what is missing of a loaded entry whose own row counts so many holes.
func (e *entry) checkComplete(holes int) error {
	if len(e.holes) != holes {
		return fmt.Errorf("%d holes, its row says %d", len(e.holes), holes)
	}
	if holes > 0 && e.holes[holes-1] >= e.highest {
		return fmt.Errorf("hole %d is not below the highest sequence %d", e.holes[holes-1], e.highest)
	}
	for s := e.highest; s > 0 && e.remembers(s); s-- {
		if e.hashes[s%Window/pageHashes] != nil {
			continue
		}
		if _, missing := slices.BinarySearch(e.holes, s); !missing {
			return fmt.Errorf("the page with the hash of sequence %d is missing", s)
		}
	}
	return nil
}
