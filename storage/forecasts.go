package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/chunk"
	"github.com/varvedb/varve/storage/keys"
	"github.com/varvedb/varve/storage/record"
)

// A forecast run is what was forecast of a tag at one issue time: one log record, one row, never changed. The same run written
// again is a record and a row of its own, which stands in place of the earlier one. Runs are beside the samples of their tag and
// touch nothing of them. They are found in the engine by tag and issue time; those of generations not yet written, in memory.

// Limits of forecast runs.
const (
	MaxRunSamples    = chunk.MaxSamples // of one run
	MaxForecastModel = 64               // bytes of a model's name
	MaxForecastBytes = 16 << 20         // of a run, encoded
)

// ForecastRun is a run as one record wrote it.
type ForecastRun struct {
	Tag         model.TagID
	Issued      int64  // nanoseconds UTC
	Model       string // empty: it has no name
	Author      string
	First, Last int64 // of its samples
	Samples     int
	Offset      uint64 // of its record
	Ingest      int64
	// Replaced is when a record of the same tag, issue and model was ingested; 0 while the run stands.
	Replaced int64

	encoded []byte
}

// Read decodes the samples of the run, ascending by time, no two at one time.
func (r *ForecastRun) Read(into *chunk.Data) error {
	if err := chunk.Decode(r.encoded, into); err != nil {
		return fmt.Errorf("forecast run of tag %d issued at %s: %w", r.Tag, model.FormatTime(r.Issued), err)
	}
	return nil
}

// EncodedBytes is how long the samples are as stored.
func (r *ForecastRun) EncodedBytes() int { return len(r.encoded) }

// newRuns is the rows of forecast runs of one generation that is not in the engine yet. DB.mu guards it; what is in it only grows.
type newRuns struct {
	byTag map[model.TagID][]newRun
	bytes int64
}

// newRun is a row, or with no value that the record at an offset took it away.
type newRun struct {
	key, value []byte
	offset     uint64
}

// keepRun has a row written with the generation being filled. DB.mu is held.
func (db *DB) keepRun(tag model.TagID, x newRun) {
	n := db.runs
	if n.byTag == nil {
		n.byTag = map[model.TagID][]newRun{}
	}
	n.byTag[tag] = append(n.byTag[tag], x)
	n.bytes += int64(len(x.key) + len(x.value))
	db.pendingRows = append(db.pendingRows, row{key: x.key, value: x.value})
}

// runKey is the key of the run that the record at an offset wrote.
func runKey(tag model.TagID, issued int64, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(runsFrom(tag, issued), offset)
}

// runsFrom is the first key of runs of a tag from an issue time on.
func runsFrom(tag model.TagID, issued int64) []byte {
	return keys.AppendTime(keys.AppendTag(make([]byte, 0, runKeySize), keys.Forecasts, tag), issued)
}

const runKeySize = 1 + 4 + 8 + 8

// decodeRun reads a row. What it returns shares memory with value.
func decodeRun(key, value []byte) (*ForecastRun, error) {
	r := &ForecastRun{}
	if len(key) != runKeySize || keys.Space(key[0]) != keys.Forecasts {
		return r, fmt.Errorf("read forecast run: key %x: %w", key, ErrCorrupt)
	}
	r.Tag = model.TagID(binary.BigEndian.Uint32(key[1:]))
	r.Issued, r.Offset = int64(binary.BigEndian.Uint64(key[5:])^1<<63), binary.BigEndian.Uint64(key[13:])
	if err := checkRow(value, noteVersion, 0); err != nil {
		return r, fmt.Errorf("read forecast run: %w", err)
	}
	if len(value) < 13 {
		return r, fmt.Errorf("read forecast run: value of %d bytes: %w", len(value), ErrCorrupt)
	}
	f, err := record.DecodeForecast(value[9 : len(value)-4])
	if err != nil {
		return r, fmt.Errorf("read forecast run: %w: %w", ErrCorrupt, err)
	}
	if f.Tag != r.Tag || f.Issued != r.Issued {
		return r, fmt.Errorf("read forecast run: its key says tag %d, issued %d, the row %d, %d: %w", r.Tag, r.Issued, f.Tag, f.Issued, ErrCorrupt)
	}
	info, err := chunk.Inspect(f.Samples)
	if err != nil {
		return r, fmt.Errorf("read forecast run: %w", err)
	}
	r.Model, r.Author, r.encoded = f.Model, f.Author, f.Samples
	r.First, r.Last, r.Samples = info.First, info.Last, info.Count
	r.Ingest = int64(binary.LittleEndian.Uint64(value[1:]))
	return r, nil
}

// checkRun says what is wrong with a row, its key without the space.
func checkRun(key, value []byte) error {
	r, err := decodeRun(append([]byte{byte(keys.Forecasts)}, key...), value)
	if err != nil {
		return err
	}
	var data chunk.Data
	return r.Read(&data)
}

// takeRun applies a ForecastRun record. DB.mu is held, and let go of while the run that stands is looked for.
func (db *DB) takeRun(offset uint64, ingest int64, body []byte) (outcome, error) {
	f, err := record.DecodeForecast(body)
	if err != nil {
		return outcome{}, err
	}
	info, err := chunk.Inspect(f.Samples)
	if err != nil {
		return outcome{}, err
	}
	if t, ok := db.catalog.Type(f.Tag); !ok || t != info.Type {
		return outcome{err: fmt.Errorf("forecast run of tag %d: its samples are of type %s: %w", f.Tag, info.Type, ErrBadBatch)}, nil
	}
	same, err := db.standsAlike(&f)
	if err != nil {
		return outcome{}, err
	}
	if same {
		return outcome{result: Result{Duplicate: true}}, nil
	}
	r := noteRow(runKey(f.Tag, f.Issued, offset), ingest, body)
	db.keepRun(f.Tag, newRun{r.key, r.value, offset})
	return outcome{result: Result{Applied: info.Count}}, nil
}

// standsAlike reports whether the run of that tag, issue and model that stands has the very samples. One that cannot be read does not.
// DB.mu is held, and let go of meanwhile.
func (db *DB) standsAlike(f *record.Forecast) (same bool, err error) {
	db.mu.Unlock()
	defer db.mu.Lock()
	err = db.persist(fmt.Sprintf("find a forecast run of tag %d", f.Tag), func() error {
		src := db.sourcesAt(math.MaxUint64)
		defer src.close()
		same = false
		q := ForecastQuery{Tag: f.Tag, Issued: at(f.Issued), Models: []string{f.Model}}
		for r, err := range src.forecasts(context.Background(), q) {
			if err != nil {
				return err
			}
			var have, want chunk.Data
			if err := r.Read(&have); err != nil {
				return err
			}
			if err := chunk.Decode(f.Samples, &want); err != nil {
				return err
			}
			same = sameSamples(&have.Samples, &want.Samples)
		}
		return nil
	})
	if isUnreadable(err) {
		db.alarms.raise("store_damaged", err.Error())
		return false, nil
	}
	return same, err
}

// at is the range of one instant.
func at(t int64) model.TimeRange { return model.TimeRange{Start: t, End: t + 1} }

func sameSamples(a, b *model.Samples) bool {
	if a.Len() != b.Len() || a.Type != b.Type {
		return false
	}
	for i := range a.Times {
		x, y := a.At(i), b.At(i)
		if x.Time != y.Time || !x.SameValue(y) {
			return false
		}
	}
	return true
}

// ForecastQuery asks for runs of a tag.
type ForecastQuery struct {
	Tag      model.TagID
	Issued   model.TimeRange // those issued in it
	Models   []string        // of these models; empty: of any
	Known    int64           // as they stood at this ingest time; 0: now
	Replaced bool            // those that no longer stand too
}

// Forecasts is the runs that a query asks for: the latest issued first, of one issue the one written last first. A run holds until
// the next is asked for. An error is the last.
func (v *View) Forecasts(ctx context.Context, q ForecastQuery) iter.Seq2[*ForecastRun, error] {
	return v.src.forecasts(ctx, q)
}

func (s *sources) forecasts(ctx context.Context, q ForecastQuery) iter.Seq2[*ForecastRun, error] {
	return func(yield func(*ForecastRun, error) bool) {
		later := map[string]int64{} // ingest times of the runs met last, by model, of one issue
		issued := int64(math.MinInt64)
		for r, err := range s.runsOf(ctx, q.Tag, q.Issued) {
			if err != nil {
				yield(nil, err)
				return
			}
			if q.Known != 0 && r.Ingest > q.Known || len(q.Models) > 0 && !slices.Contains(q.Models, r.Model) {
				continue
			}
			if r.Issued != issued {
				issued = r.Issued
				clear(later)
			}
			r.Replaced = later[r.Model]
			later[r.Model] = r.Ingest
			if (r.Replaced == 0 || q.Replaced) && !yield(r, nil) {
				return
			}
		}
	}
}

// runsOf is the rows of a tag's runs issued in a range, by descending key.
func (s *sources) runsOf(ctx context.Context, tag model.TagID, in model.TimeRange) iter.Seq2[*ForecastRun, error] {
	return func(yield func(*ForecastRun, error) bool) {
		lower, upper := runsFrom(tag, in.Start), runsFrom(tag, in.End)
		fresh := s.newRuns(tag, lower, upper)
		it, err := s.engine.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			yield(nil, engineError("read forecast runs", err))
			return
		}
		defer it.Close() // says again what Error said
		give := func(key, value []byte) bool {
			err := ctx.Err()
			if err == nil {
				var r *ForecastRun
				if r, err = decodeRun(key, value); err == nil {
					return yield(r, nil)
				}
				err = &RangeError{Tag: tag, In: at(r.Issued), Err: err}
			}
			yield(nil, err)
			return false
		}
		ok := it.Last()
		for ok || len(fresh) > 0 {
			if len(fresh) == 0 || ok && bytes.Compare(it.Key(), fresh[0].key) > 0 {
				if !give(it.Key(), it.Value()) {
					return
				}
				ok = it.Prev()
				continue
			}
			x := fresh[0]
			fresh = fresh[1:]
			if ok && bytes.Equal(it.Key(), x.key) {
				ok = it.Prev()
			}
			if x.value != nil && !give(x.key, x.value) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(nil, engineError("read forecast runs", err))
		}
	}
}

// newRuns is what generations not yet written have of a tag from lower up to upper, by descending key; of a key what was done last.
func (s *sources) newRuns(tag model.TagID, lower, upper []byte) (out []newRun) {
	s.db.mu.RLock()
	for _, n := range s.runs {
		for _, x := range n.byTag[tag] {
			if x.offset <= s.offset && bytes.Compare(x.key, lower) >= 0 && bytes.Compare(x.key, upper) < 0 {
				out = append(out, x)
			}
		}
	}
	s.db.mu.RUnlock()
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b newRun) int { return bytes.Compare(b.key, a.key) })
	return slices.CompactFunc(out, func(a, b newRun) bool { return bytes.Equal(a.key, b.key) })
}

// forecastTags is the tags that have runs, ascending.
func (s *sources) forecastTags() (tags []model.TagID, err error) {
	s.db.mu.RLock()
	for _, n := range s.runs {
		for tag := range n.byTag {
			tags = append(tags, tag)
		}
	}
	s.db.mu.RUnlock()
	it, err := s.engine.NewIter(&pebble.IterOptions{LowerBound: []byte{byte(keys.Forecasts)}, UpperBound: []byte{byte(keys.Forecasts) + 1}})
	if err != nil {
		return nil, engineError("read forecast runs", err)
	}
	defer it.Close() // says again what Error said
	for ok := it.First(); ok; {
		tag, err := keys.DecodeTag(it.Key())
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
		next := keys.Next(keys.AppendTag(nil, keys.Forecasts, tag))
		ok = it.SeekGE(next)
	}
	slices.Sort(tags)
	return slices.Compact(tags), engineError("read forecast runs", it.Error())
}

// takesRun reports whether an erasure takes a run: of old versions one that was replaced before its end, by ingest time; else a purge
// one whose samples all lie in its range, and retention and the disk budget one whose samples all lie before its end. None of which a
// hold has any.
func (e *erasure) takesRun(r *ForecastRun) bool {
	if e.tags != nil && !e.tags.Contains(uint32(r.Tag)) {
		return false
	}
	old := e.what == record.OldVersions
	if old && (r.Replaced == 0 || r.Replaced >= e.in.End) || !old && (r.Last >= e.in.End || e.cause == record.ByPurge && r.First < e.in.Start) {
		return false
	}
	return !slices.ContainsFunc(e.held, func(h *hold) bool { return h.has(r.Tag) && (old || r.First < h.in.End && h.in.Start <= r.Last) })
}

// eraseRuns takes away for good the runs that an erasure takes, with the generation that its record ends. DB.mu is held, and let go of
// while they are looked for.
func (db *DB) eraseRuns(e *erasure) error {
	db.mu.Unlock()
	var gone []*ForecastRun
	err := db.persist("find forecast runs that are erased", func() error {
		gone = nil
		src := db.sourcesAt(math.MaxUint64)
		defer src.close()
		tags, err := src.forecastTags()
		if err != nil {
			return err
		}
		for _, tag := range tags {
			for r, err := range src.forecasts(context.Background(), ForecastQuery{Tag: tag, Issued: model.All, Replaced: true}) {
				if isDamage(err) {
					db.alarms.raise("store_damaged", fmt.Sprintf("erase forecast runs: %v", err))
					break
				}
				if err != nil {
					return err
				}
				if e.takesRun(r) {
					c := *r
					c.encoded = nil
					gone = append(gone, &c)
				}
			}
		}
		return nil
	})
	db.mu.Lock()
	for _, r := range gone {
		db.keepRun(r.Tag, newRun{key: runKey(r.Tag, r.Issued, r.Offset), offset: e.offset})
	}
	return err
}

// withoutRun is stretches of keys that the LSM is to let go of, with one more key: those of a tag are one.
func withoutRun(gone []stretch, key []byte) []stretch {
	const tag = 5 // bytes in front
	behind := append(slices.Clone(key), 0)
	if n := len(gone); n > 0 && bytes.Equal(gone[n-1].lower[:tag], key[:tag]) {
		x := &gone[n-1]
		if bytes.Compare(key, x.lower) < 0 {
			x.lower = slices.Clone(key)
		}
		if bytes.Compare(behind, x.upper) > 0 {
			x.upper = behind
		}
		return gone
	}
	return append(gone, stretch{slices.Clone(key), behind})
}

// runsAreGone notes stretches of forecast runs that a generation has taken away.
func (s *sealer) runsAreGone(gone []stretch) {
	s.touchMu.Lock()
	defer s.touchMu.Unlock()
	s.runsGone = append(s.runsGone, gone...)
}

// PutForecast writes a forecast run: samples of a tag as they were forecast at an issue time, ascending, no two at one time. In place of
// an earlier run of the same tag, issue and model it stands from now on; where that one has the very samples nothing is changed, and
// false is returned. ErrBadBatch where the run cannot be one, or its samples are not of the tag's type.
func (db *DB) PutForecast(ctx context.Context, tag model.TagID, issued int64, forecaster, author string, s *model.Samples) (changed bool, err error) {
	refuse := func(format string, a ...any) (bool, error) {
		return false, fmt.Errorf("forecast run of tag %d issued at %d: %s: %w", tag, issued, fmt.Sprintf(format, a...), ErrBadBatch)
	}
	if err := s.Check(); err != nil {
		return refuse("%v", err)
	}
	n := s.Len()
	switch {
	case n == 0 || n > MaxRunSamples:
		return refuse("%d samples, least is 1, most is %d", n, MaxRunSamples)
	case tag == 0 || issued < model.MinTime || issued > model.MaxTime || len(forecaster) > MaxForecastModel:
		return refuse("model of %d bytes, most is %d", len(forecaster), MaxForecastModel)
	case s.Seq != nil || s.Times[0] < model.MinTime || s.Times[n-1] > model.MaxTime:
		return refuse("samples from %d to %d", s.Times[0], s.Times[n-1])
	}
	for i := 1; i < n; i++ {
		if s.Times[i] <= s.Times[i-1] {
			return refuse("sample %d at %s is not later than the one before", i, model.FormatTime(s.Times[i]))
		}
	}
	blobs := 0
	for _, b := range s.Blobs {
		if blobs += len(b); blobs > MaxForecastBytes {
			return refuse("more than %d bytes of text", MaxForecastBytes)
		}
	}
	var e chunk.Encoder
	f := record.Forecast{Tag: tag, Issued: issued, Model: forecaster, Author: author, Samples: e.Append(nil, s, nil)}
	if len(f.Samples) > MaxForecastBytes {
		return refuse("%d bytes, most is %d", len(f.Samples), MaxForecastBytes)
	}
	payload := record.AppendHeader(nil, record.Header{Kind: record.ForecastRun, Revision: db.catalog.Revision()})
	p, err := db.submit(ctx, record.AppendForecast(payload, &f))
	if err != nil {
		return false, err
	}
	if err := p.waitOutcome(ctx); err != nil {
		return false, err
	}
	return !p.outcome.result.Duplicate, nil
}
