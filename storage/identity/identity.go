// Package identity remembers which batches are applied, so that each applies once however often it is sent.
//
//	batch (source, epoch, sequence, hash) → Check at the door → log → Apply → rows in the store
//
// # Promises
//
// A batch is named by its source, an epoch (one durable queue of that source) and a sequence, dense from 1. For each
// (source, epoch) the table keeps the low-water mark (every sequence up to it is applied), the sequences missing above
// it, at most [MaxHoles] of them, and the 64-bit content hashes of the last [Window] sequences. [Table.Apply] answers
// [Fresh] exactly once for an identity; the same identity with other content is a [Conflict], never a no-op.
//
// Apply is a function of the records before it alone: no clock, no option and no random number changes what it
// answers, so every server that applies the same log holds the same rows, byte for byte. That is why the quota is
// judged by [Table.Check] at the door and not by Apply. Rows never expire.
//
// # Parts
//
// One goroutine applies, takes changed rows and interns names; any number read beside it. Rows are described in
// docs/format/identity.md.
package identity

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/varvedb/varve/model"
)

const (
	// MaxHoles is how many sequences may be missing below the highest one applied. The number is part of what apply
	// decides, so changing it needs a new record kind or format version.
	MaxHoles = 1024
	// Window is how many sequences up to the highest have their content hash remembered. As MaxHoles.
	Window = 1024

	pageHashes = 64 // hashes in one row; reaches disk
	pages      = Window / pageHashes
)

// Errors to test with errors.Is. Those about a row carry its key in their text.
var (
	ErrCorrupt = errors.New("identity row is damaged")
	ErrVersion = errors.New("identity row was written by a newer release")
)

// Options tune a Table. The zero value of a field means its default.
type Options struct {
	// MaxSources is how many (source, epoch) pairs Check lets in. A pair costs about 300 bytes of memory and up to
	// 8 KiB more for its hashes. The default is 100,000.
	MaxSources int
}

// Verdict is what an identity means for its batch. Zero has no meaning.
type Verdict uint8

const (
	// Fresh: not applied before. Apply has recorded it.
	Fresh Verdict = iota + 1
	// Duplicate: applied before with the same content. Nothing is to be done.
	Duplicate
	// Conflict: applied before with other content. The batch is refused and an operator told.
	Conflict
	// Forgotten: applied before, so long ago that its content cannot be compared any more. An import takes it as a
	// duplicate; from a collector it is refused, since its queue should have gone on long ago.
	Forgotten
	// TooManyHoles: the sequence lies so far above the highest that more than MaxHoles would be missing.
	TooManyHoles
	// QuotaExceeded: the pair is new and there are MaxSources already. Only Check says so.
	QuotaExceeded
	// Invalid: no identity at all: sequence or epoch is 0, or the source is no name.
	Invalid
)

var verdictNames = [...]string{Fresh: "fresh", Duplicate: "duplicate", Conflict: "conflict", Forgotten: "forgotten",
	TooManyHoles: "too many holes", QuotaExceeded: "quota exceeded", Invalid: "invalid"}

func (v Verdict) String() string {
	if v >= Fresh && v <= Invalid {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// State is what is known of one (source, epoch).
type State struct {
	Known   bool
	Through uint64 // the low-water mark: every sequence up to it is applied
	Highest uint64 // the highest sequence applied
	Holes   int    // sequences between the two that are not applied
	Import  bool   // some batch of it was an import
	Last    int64  // ingest time of the newest batch applied, nanoseconds UTC
}

// Table is the identities of one log as applied so far.
type Table struct {
	maxSources int

	// mu guards what is inside it. It is held for the length of one look-up or one change, never while anything waits.
	mu struct {
		sync.RWMutex
		entries map[pair]*entry
		names   []string          // by source id - 1
		ids     map[string]uint32 // the inverse

		dirty      []*entry // those with any dirty mark, each once
		cleanNames int      // names[:cleanNames] were taken
	}
}

type pair struct {
	source string // shares the bytes of Table.mu.names
	epoch  uint64
}

// entry is what is kept for one pair. Sequence s is applied if it is at most highest and not in holes.
type entry struct {
	source  uint32
	epoch   uint64
	highest uint64
	last    int64
	imp     bool

	dirtyState bool
	dirtyHoles bool
	dirtyPages uint16 // one bit a page

	holes  []uint64 // ascending
	hashes [pages]*[pageHashes]uint64
}

// New is an empty table.
func New(o Options) *Table {
	if o.MaxSources <= 0 {
		o.MaxSources = 100_000
	}
	t := &Table{maxSources: o.MaxSources}
	t.mu.entries = map[pair]*entry{}
	t.mu.ids = map[string]uint32{}
	return t
}

// Check is what Apply would say now, and QuotaExceeded for a pair too many. It records nothing, so the answer is a
// promise only of what is already known: two copies of one batch on their way through the door are both Fresh to it.
func (t *Table) Check(source string, epoch, seq, hash uint64) Verdict {
	if source == "" {
		return Fresh
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.mu.entries[pair{source, epoch}]
	if e != nil {
		return e.judge(seq, hash)
	}
	v := judgeNew(source, epoch, seq)
	if v == Fresh && len(t.mu.entries) >= t.maxSources {
		return QuotaExceeded
	}
	return v
}

// Apply judges an identity and records it if it is Fresh. A batch without a source has none and is always Fresh. imp
// marks the pair as an import's; now is the ingest time of the batch's record.
func (t *Table) Apply(source string, epoch, seq, hash uint64, imp bool, now int64) Verdict {
	if source == "" {
		return Fresh
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.mu.entries[pair{source, epoch}]
	if e == nil {
		if v := judgeNew(source, epoch, seq); v != Fresh {
			return v
		}
		id := t.internLocked(source)
		e = &entry{source: id, epoch: epoch}
		t.mu.entries[pair{t.mu.names[id-1], epoch}] = e
	} else if v := e.judge(seq, hash); v != Fresh {
		return v
	}
	if !e.isDirty() {
		t.mu.dirty = append(t.mu.dirty, e)
	}
	e.record(seq, hash)
	e.imp = e.imp || imp
	e.last = max(e.last, now)
	return Fresh
}

// judgeNew judges an identity of a pair that is not in the table.
func judgeNew(source string, epoch, seq uint64) Verdict {
	switch {
	case epoch == 0 || seq == 0 || model.CheckName(source) != nil:
		return Invalid
	case seq-1 > MaxHoles:
		return TooManyHoles
	}
	return Fresh
}

func (e *entry) judge(seq, hash uint64) Verdict {
	if seq == 0 {
		return Invalid
	}
	if seq > e.highest {
		if missing := seq - e.highest - 1; missing > uint64(MaxHoles-len(e.holes)) {
			return TooManyHoles
		}
		return Fresh
	}
	if len(e.holes) > 0 {
		if _, missing := slices.BinarySearch(e.holes, seq); missing {
			return Fresh
		}
	}
	if !e.remembers(seq) {
		return Forgotten
	}
	slot := seq % Window
	if e.hashes[slot/pageHashes][slot%pageHashes] != hash {
		return Conflict
	}
	return Duplicate
}

// remembers reports whether the hash of a sequence, if applied, is kept. A slot may hold the hash of an older sequence
// while its own is a hole; holes are looked up first, so such a hash is never compared.
func (e *entry) remembers(seq uint64) bool { return e.highest-seq < Window }

// record notes a sequence that judge called Fresh.
func (e *entry) record(seq, hash uint64) {
	e.dirtyState = true
	if seq > e.highest {
		for s := e.highest + 1; s < seq; s++ {
			e.holes = append(e.holes, s)
			e.dirtyHoles = true
		}
		e.highest = seq
	} else {
		i, _ := slices.BinarySearch(e.holes, seq)
		e.holes = slices.Delete(e.holes, i, i+1)
		e.dirtyHoles = true
	}
	if !e.remembers(seq) {
		return
	}
	slot := seq % Window
	page := slot / pageHashes
	if e.hashes[page] == nil {
		e.hashes[page] = new([pageHashes]uint64)
	}
	e.hashes[page][slot%pageHashes] = hash
	e.dirtyPages |= 1 << page
}

func (e *entry) isDirty() bool { return e.dirtyState || e.dirtyHoles || e.dirtyPages != 0 }

func (e *entry) through() uint64 {
	if len(e.holes) > 0 {
		return e.holes[0] - 1
	}
	return e.highest
}

// SourceID is the number of a source, given out densely from 1 in the order of first use; 0 for "" and for what
// cannot be a source's name. It is for the applying goroutine.
func (t *Table) SourceID(name string) uint32 {
	if name == "" {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id := t.mu.ids[name]; id != 0 {
		return id
	}
	if model.CheckName(name) != nil {
		return 0
	}
	return t.internLocked(name)
}

// internLocked is the id of a valid name. t.mu must be held.
func (t *Table) internLocked(name string) uint32 {
	if id := t.mu.ids[name]; id != 0 {
		return id
	}
	name = string([]byte(name)) // the caller's may point into a whole record
	t.mu.names = append(t.mu.names, name)
	id := uint32(len(t.mu.names))
	t.mu.ids[name] = id
	return id
}

// SourceName is the name behind an id that SourceID gave out, and "" for any other.
func (t *Table) SourceName(id uint32) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if id == 0 || uint64(id) > uint64(len(t.mu.names)) {
		return ""
	}
	return t.mu.names[id-1]
}

// State is what is known of a source's epoch as applied so far.
func (t *Table) State(source string, epoch uint64) State {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.mu.entries[pair{source, epoch}]
	if e == nil {
		return State{}
	}
	return State{Known: true, Through: e.through(), Highest: e.highest, Holes: len(e.holes), Import: e.imp, Last: e.last}
}

// Len is the number of (source, epoch) pairs.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.mu.entries)
}
