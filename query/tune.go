package query

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"

	filters "github.com/varvedb/varve/compression/filter"
	"github.com/varvedb/varve/compression/swingingdoor"
	"github.com/varvedb/varve/compression/tuning"
	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage"
	"github.com/varvedb/varve/storage/chunk"
)

// Limits of a TuneRequest. They stand in query.proto.
const (
	MaxTuneDeviations = 100
	MaxTuneLimits     = 100
	MaxTuneKept       = 1 << 18 // times of kept samples in a row
)

// TuneRequest asks what filters would do to the stored samples of tags in [Start, End), for one deviation after another.
type TuneRequest struct {
	Tags
	Start, End  int64        // nanoseconds UTC; Start before End
	Deviations  []float64    // of the compression, 1 to MaxTuneDeviations
	Compression model.Filter // its times; Deviation is not used
	Exception   model.Filter // in front of it
	OfSpan      bool         // deviations, that of Exception too, are percentages of each tag's span
	Form        swingingdoor.Form
	Limits      []float64 // whose crossings are looked for, in the unit of the tags; at most MaxTuneLimits
	WithKept    bool      // the times of the samples that are kept
	Consistency storage.Consistency
}

func (r *TuneRequest) check() error {
	if err := r.Tags.check(MaxRangeTags); err != nil {
		return err
	}
	switch n := len(r.Deviations); {
	case r.Start >= r.End || r.Start < model.MinTime:
		return fmt.Errorf("tune from %d to %d: the start must be before the end: %w", r.Start, r.End, ErrBadRange)
	case n < 1 || n > MaxTuneDeviations:
		return fmt.Errorf("%d deviations, must be from 1 to %d: %w", n, MaxTuneDeviations, ErrBadRequest)
	case len(r.Limits) > MaxTuneLimits:
		return fmt.Errorf("%d limits, most is %d: %w", len(r.Limits), MaxTuneLimits, ErrBadRequest)
	case r.Form > swingingdoor.Textbook:
		return fmt.Errorf("form %d of the swinging door: %w", r.Form, ErrBadRequest)
	}
	for _, x := range r.Limits {
		if x != x {
			return fmt.Errorf("limit %g is no number: %w", x, ErrBadRequest)
		}
	}
	return nil
}

// settings is the filters of one tag with one of the deviations. The tag counts as it is at the end of the range.
func (r *TuneRequest) settings(tag *model.Tag, deviation float64) (tuning.Settings, error) {
	s := tag.At(r.End - 1)
	exception, compression := r.Exception, r.Compression
	compression.Deviation = deviation
	if r.OfSpan {
		for _, f := range []*model.Filter{&exception, &compression} {
			if f.Deviation == 0 {
				continue
			}
			of, err := tag.OfSpan(f.Deviation)
			if err != nil {
				return tuning.Settings{}, fmt.Errorf("%w: %w", err, ErrBadRequest)
			}
			f.Deviation = of
		}
	}
	set := tuning.Settings{Exception: filters.Of(exception, s), Compression: filters.Of(compression, s), Form: r.Form}
	if _, err := tuning.New(set, nil); err != nil {
		return set, fmt.Errorf("tag %.200q: %w: %w", tag.Name, err, ErrBadRequest)
	}
	return set, nil
}

// tuneBytes is what a replay may hold: the samples since the last one kept, those kept, chunks being encoded, text.
const tuneBytes = 32 << 20

// tune is one checked request.
type tune struct {
	request  TuneRequest
	tags     *tagList
	settings [][]tuning.Settings // by tag and deviation
}

func (e *Engine) tune(r TuneRequest) (*tune, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	catalog := e.store.Catalog()
	in := model.TimeRange{Start: r.Start, End: r.End}
	tags, err := resolve(catalog, r.Tags, in, namesAt(catalog, r.End-1))
	if err != nil {
		return nil, err
	}
	if err := tags.onlyStored(); err != nil {
		return nil, err
	}
	if err := tags.within(in); err != nil {
		return nil, err
	}
	t := &tune{request: r, tags: tags}
	for _, a := range tags.asked {
		sets := make([]tuning.Settings, len(r.Deviations))
		for i, d := range r.Deviations {
			if sets[i], err = r.settings(a.tag, d); err != nil {
				return nil, err
			}
		}
		t.settings = append(t.settings, sets)
	}
	return t, nil
}

func (t *tune) bytes() int64 {
	perTag := 96 + int64(len(t.request.Deviations))*128
	n := 3*t.tags.nameBytes + perTag*int64(len(t.tags.asked)) + cursorBytes + tuneBytes
	if t.request.WithKept {
		n += 2 * 8 * MaxTuneKept
	}
	return n
}

// TuneSchema is the schema Tune will answer r with, but for metadata that the answer's moment decides.
func (e *Engine) TuneSchema(r TuneRequest) (*arrow.Schema, error) {
	t, err := e.tune(r)
	if err != nil {
		return nil, err
	}
	return newTuneEncoder(t, nil, nil).schema, nil
}

// Tune replays stored samples through filters and writes a row for every tag and deviation, in the orders asked, each as soon as it
// is calculated. It changes nothing. It returns how many rows it wrote, also beside an error.
func (e *Engine) Tune(ctx context.Context, r TuneRequest, sink Sink) (uint64, error) {
	t, err := e.tune(r)
	if err != nil {
		return 0, err
	}
	return e.stream(ctx, t.tags, t.bytes(), r.Consistency, func(view View) (batches, error) {
		out := newTuneEncoder(t, view.Lost(), sink)
		return out, t.run(ctx, view, out)
	})
}

func (t *tune) run(ctx context.Context, view View, out *tuneEncoder) error {
	for i, a := range t.tags.asked {
		for _, set := range t.settings[i] {
			row, err := t.replay(ctx, view, a, set)
			if err == nil {
				err = out.add(ctx, row)
			}
			if err != nil {
				return fmt.Errorf("tune tag %s: %w", a.describe(), err)
			}
		}
	}
	return nil
}

// tuneRow is what one setting does to one tag.
type tuneRow struct {
	asked
	tuning.Settings
	tuning.Report
	bytes, keptBytes int64 // of sealed chunks
	kept             []int64
}

// replayPiece is how many samples are replayed before the replay may forget.
const replayPiece = 4096

func (t *tune) replay(ctx context.Context, view View, a asked, set tuning.Settings) (*tuneRow, error) {
	row := &tuneRow{asked: a, Settings: set}
	var all, kept sealedSize
	var tooMany bool
	r, err := tuning.New(set, func(x model.Sample) {
		kept.add(x)
		if t.request.WithKept {
			if tooMany = tooMany || len(row.kept) == MaxTuneKept; !tooMany {
				row.kept = append(row.kept, x.Time)
			}
		}
	}, t.request.Limits...)
	if err != nil {
		return nil, err
	}
	in := model.TimeRange{Start: t.request.Start, End: t.request.End}
	cursor := view.Samples(a.tag.ID, in)
	defer cursor.Close()
	for {
		block, err := cursor.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for from := 0; from < block.Len(); from += replayPiece {
			piece := block.Slice(from, min(block.Len(), from+replayPiece))
			for i := range piece.Len() {
				all.add(piece.At(i))
			}
			if err := r.Add(&piece); err != nil {
				return nil, err
			}
		}
		if tooMany {
			return nil, fmt.Errorf("more than %d samples are kept: ask for a shorter range, or without their times: %w", MaxTuneKept, ErrTooLarge)
		}
	}
	row.Report = r.End()
	row.bytes, row.keptBytes = all.total(), kept.total()
	return row, nil
}

// sealedSize measures what samples take in sealed chunks, without who sent them and when.
type sealedSize struct {
	encoder chunk.SealedEncoder
	samples model.Samples
	blobs   int
	encoded []byte
	bytes   int64
}

// Sizes of the chunks measured: those of a store by default.
const (
	sealedSamples = 16 << 10
	sealedBlobs   = 2 << 20
)

func (s *sealedSize) add(x model.Sample) {
	if s.samples.Len() == 0 {
		s.samples.Reset(x.Type)
	}
	if x.Blob != nil {
		x.Blob = append([]byte{}, x.Blob...)
		s.blobs += len(x.Blob)
	}
	s.samples.Append(x)
	if s.samples.Len() == sealedSamples || s.blobs >= sealedBlobs {
		s.total()
	}
}

// total is the bytes of all chunks; the one begun ends.
func (s *sealedSize) total() int64 {
	if s.samples.Len() > 0 {
		s.encoded = s.encoder.Append(s.encoded[:0], &s.samples, nil)
		s.bytes += int64(len(s.encoded))
		s.samples.Reset(s.samples.Type)
		s.blobs = 0
	}
	return s.bytes
}
