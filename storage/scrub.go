package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/durable"
	"github.com/varvedb/varve/storage/keys"
)

// The scrub reads every block of every table, slowly, so that damage to what nobody reads is found while there is still a
// second copy of it somewhere. A pass goes through the tables there are when it begins, by number; those made later belong to the
// next one, and those that compactions took away meanwhile are gone for good.
type scrub struct {
	mu     sync.Mutex
	state  scrubState
	total  int64 // bytes of the tables of the pass
	places []string
}

// scrubState is what is kept in the file SCRUB, so that a pass goes on behind a restart.
type scrubState struct {
	pass    uint64
	begun   time.Time
	ended   time.Time // of the last pass that came to its end; zero for none
	through uint64    // highest table of the pass on its way, 0 for none
	next    uint64    // lowest table not yet read
	bytes   int64     // read
	damaged uint64    // places found in this pass
}

const (
	scrubName    = "SCRUB"
	scrubVersion = 1
	scrubText    = "varve scrub\nformat %d\npass %d\nbegun %d\nended %d\nthrough %d\nnext %d\nbytes %d\ndamaged %d\n"

	// scrubEvery is how long after the end of a pass the next one begins.
	scrubEvery = 24 * time.Hour
	// scrubKeep is how often the state is written while a pass goes on.
	scrubKeep = 10 * time.Second
	// scrubNames is how many places the alarm names.
	scrubNames = 5

	scrubAlarm = "scrub_found_damage"
)

// Scrub is how far the scrub is.
type Scrub struct {
	Pass         uint64 // number of the pass on its way, or of the last one
	Running      bool
	Begun, Ended time.Time // of that pass; of the last pass that came to its end, zero for none
	Bytes, Total int64     // read, of all
	Damaged      uint64    // places found in that pass
}

func (s *scrub) status() Scrub {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.state
	return Scrub{Pass: x.pass, Running: x.through > 0, Begun: x.begun, Ended: x.ended, Bytes: x.bytes, Total: max(s.total, x.bytes), Damaged: x.damaged}
}

// runScrub scrubs until ctx ends.
func (db *DB) runScrub(ctx context.Context) {
	db.scrub.load(db)
	kept := db.o.Now()
	for ctx.Err() == nil {
		s := &db.scrub
		s.mu.Lock()
		on, wait := s.state.through > 0, scrubEvery-db.o.Now().Sub(s.state.ended)
		s.mu.Unlock()
		var err error
		switch {
		case on:
			err = db.scrubOne(ctx)
		case wait > 0:
			_ = pause(ctx, min(wait, time.Minute)) // an end of ctx ends the loop
			continue
		default:
			err = db.beginScrub()
		}
		if err != nil && ctx.Err() == nil { // the disk says no; what is damaged is no error here
			db.o.Logger.Warn("scrub", "error", err)
			_ = pause(ctx, time.Minute)
		}
		if now := db.o.Now(); now.Sub(kept) >= scrubKeep {
			kept = now
			s.keep(db)
		}
	}
	db.scrub.keep(db)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginScrub begins a pass over the tables there are.
func (db *DB) beginScrub() error {
	all, err := db.allTables()
	if err != nil {
		return err
	}
	s := &db.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = scrubState{pass: s.state.pass + 1, begun: db.o.Now(), ended: s.state.ended, next: 1, through: 1}
	s.total, s.places = 0, nil
	for _, t := range all {
		s.state.through = max(s.state.through, t.number)
		s.total += t.size
	}
	return nil
}

// scrubOne reads the next table of the pass, or ends the pass.
func (db *DB) scrubOne(ctx context.Context) error {
	all, err := db.allTables()
	if err != nil {
		return err
	}
	s := &db.scrub
	s.mu.Lock()
	next, through := s.state.next, s.state.through
	s.mu.Unlock()
	var t *table
	left := int64(0)
	for i := range all {
		if x := &all[i]; x.number >= next && x.number <= through {
			left += x.size
			if t == nil {
				t = x
			}
		}
	}
	if t == nil {
		db.endScrub()
		return nil
	}
	s.mu.Lock()
	s.total = s.state.bytes + left
	s.mu.Unlock()
	bad, err := db.checkTable(ctx, t, db.scrubPace(ctx))
	switch {
	case errors.Is(err, ErrUnreachable): // there is an alarm for it; the next pass looks again
	case isNotExist(err):
		if gone, err := db.isGone(t); err != nil || gone { // compacted away between the list and the look
			s.done(t, 0)
			return err
		}
		bad = []badBlock{{0, t.size, fmt.Errorf("the file is missing: %w", ErrCorrupt)}}
	case err != nil:
		return err
	}
	for _, b := range bad {
		db.scrubFound(ctx, t, b)
	}
	s.done(t, len(bad))
	return nil
}

func (db *DB) isGone(t *table) (bool, error) {
	all, err := db.allTables()
	for i := range all {
		if all[i].number == t.number {
			return false, err
		}
	}
	return true, err
}

func (s *scrub) done(t *table, bad int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.next = t.number + 1
	s.state.damaged += uint64(bad)
}

// scrubPace is a function that counts bytes and keeps to the rate.
func (db *DB) scrubPace(ctx context.Context) func(int64) error {
	rate, debt := db.o.ScrubRate, int64(0)
	return func(n int64) error {
		db.scrub.mu.Lock()
		db.scrub.state.bytes += n
		db.scrub.mu.Unlock()
		if debt += n; debt < rate/10 {
			return nil
		}
		d := time.Duration(float64(debt) / float64(rate) * float64(time.Second))
		debt = 0
		return pause(ctx, d)
	}
}

// endScrub ends the pass. One that found nothing says that what older ones found is mended.
func (db *DB) endScrub() {
	s := &db.scrub
	s.mu.Lock()
	s.state.through, s.state.next, s.state.ended = 0, 0, db.o.Now()
	s.total = s.state.bytes
	sound := s.state.damaged == 0
	s.mu.Unlock()
	if sound {
		db.alarms.clear(scrubAlarm)
	}
	s.keep(db)
}

// scrubFound raises the alarm and says what is damaged: the file, and which samples cannot be read for it.
func (db *DB) scrubFound(ctx context.Context, t *table, b badBlock) {
	place := fmt.Sprintf("%s at %d, %d bytes (%v), a table of %s", t.name(), b.at, b.bytes, b.err, t.holds())
	if lost := db.unreadable(ctx, t); len(lost) > 0 {
		place += "; not readable: " + strings.Join(lost, ", ")
	}
	s := &db.scrub
	s.mu.Lock()
	if len(s.places) < scrubNames {
		s.places = append(s.places, place)
	}
	places := strings.Join(s.places, "; ")
	s.mu.Unlock()
	db.alarms.raise(scrubAlarm, places+"; restore the store from a backup, or fill the range from where it came; `varve verify` lists all")
}

// unreadable is the tags and ranges of a table's partitions that a read does not get, a few of them.
func (db *DB) unreadable(ctx context.Context, t *table) (out []string) {
	a, errA := keys.DecodeChunk(t.from)
	b, errB := keys.DecodeChunk(t.to)
	if errA != nil || errB != nil || !db.hold() {
		return nil
	}
	defer db.readers.Done()
	src := db.storedOnly()
	defer src.close()
	in := model.TimeRange{Start: a.Partition.Range().Start, End: b.Partition.Range().End}
	err := src.contents(ctx, in, func(_ Content, err error) bool {
		var at *RangeError
		if errors.As(err, &at) {
			out = append(out, fmt.Sprintf("tag %d in %s", at.Tag, at.In))
		}
		return len(out) < scrubNames
	})
	if err != nil && ctx.Err() == nil {
		db.o.Logger.Warn("look for what is not readable", "table", t.name(), "error", err)
	}
	return out
}

// load takes up what an earlier process kept. A file that does not read is no loss: a pass begins anew.
func (s *scrub) load(db *DB) {
	b, err := readFile(db.o.FS, path.Join(db.dir, scrubName))
	if isNotExist(err) {
		return
	}
	x, err2 := parseScrub(b)
	if err = errors.Join(err, err2); err != nil {
		db.o.Logger.Warn("the scrub begins anew", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = x
	if x.damaged > 0 {
		db.alarms.raise(scrubAlarm, fmt.Sprintf("%d places, found by the pass begun %s before this start; `varve verify` lists them", x.damaged, x.begun.UTC().Format(time.RFC3339)))
	}
}

func parseScrub(b []byte) (x scrubState, err error) {
	var version int
	var begun, ended int64
	_, err = fmt.Sscanf(string(b), scrubText, &version, &x.pass, &begun, &ended, &x.through, &x.next, &x.bytes, &x.damaged)
	if version > scrubVersion {
		return scrubState{}, fmt.Errorf("read %s: format %d: %w", scrubName, version, ErrVersion)
	}
	if begun != 0 {
		x.begun = time.Unix(begun, 0)
	}
	if ended != 0 {
		x.ended = time.Unix(ended, 0)
	}
	if err != nil || string(x.append(nil)) != string(b) {
		return scrubState{}, fmt.Errorf("read %s: %.200q: %w", scrubName, b, ErrCorrupt)
	}
	return x, nil
}

func (x *scrubState) append(b []byte) []byte {
	seconds := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	return fmt.Appendf(b, scrubText, scrubVersion, x.pass, seconds(x.begun), seconds(x.ended), x.through, x.next, x.bytes, x.damaged)
}

// keep writes the state down.
func (s *scrub) keep(db *DB) {
	s.mu.Lock()
	b := s.state.append(nil)
	s.mu.Unlock()
	if err := durable.WriteFile(db.o.FS, db.dir, scrubName, b); err != nil {
		db.o.Logger.Warn("keep how far the scrub is", "error", err)
	}
}
