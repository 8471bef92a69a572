package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/internal/answer"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Options are what a run may be told beside its settings.
type Options struct {
	Settings   Settings
	CompareAll bool             // look at every day, whatever the server says of it
	Now        func() time.Time // that relative times count from; nil: time.Now
	Release    string           // noted in the manifest
	OnProgress func(Progress)   // called now and then; nil: never
	GroupRows  int              // most rows of a row group, or of a record batch of Arrow; 0: 131,072
}

// Progress is how far a run is.
type Progress struct {
	Days, DaysDone int    // to be looked at
	Day            string // at hand
	Report
}

// Report is what a run did.
type Report struct {
	Written   int    `json:"written"`   // files, anew or in place of others
	Unchanged int    `json:"unchanged"` // files of days that were looked at
	Removed   int    `json:"removed"`   // files
	Files     int    `json:"files"`     // in the folder now
	Rows      uint64 `json:"rows"`      // written
	Bytes     int64  `json:"bytes"`     // written
	Offset    uint64 `json:"offset"`    // of the log, up to which everything is in the folder
}

// run is one run.
type run struct {
	server Server
	o      Options
	w      *writing
	tags   []tag
	in     model.TimeRange
	Progress
}

// Run brings a folder up to what the server holds; a new one it makes. It may be ended at any moment, by whatever, and run again.
func Run(ctx context.Context, s Server, dir string, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.Settings.Check(o.Now()); err != nil {
		return Report{}, err
	}
	if o.GroupRows == 0 {
		o.GroupRows = 1 << 17
	}
	if o.OnProgress == nil {
		o.OnProgress = func(Progress) {}
	}
	w, err := begin(dir, &o.Settings)
	if err != nil {
		return Report{}, err
	}
	defer w.close()
	r := &run{server: s, o: o, w: w}
	err = r.run(ctx)
	r.Files = len(w.files)
	return r.Report, err
}

func (r *run) run(ctx context.Context) error {
	started := r.o.Now()
	group, err := r.o.Settings.grouping()
	if err != nil {
		return err
	}
	if r.in, err = r.o.Settings.interval(started); err != nil {
		return err
	}
	if r.tags, err = r.server.tags(ctx, r.o.Settings.Tags, group); err != nil {
		return err
	}
	p := plan{folder: r.w.folder, tags: r.tags, in: r.in, days: map[int32]bool{}}
	if p.stored, err = r.server.days(ctx, r.tags); err != nil {
		return err
	}
	reread, err := r.server.days(ctx, p.newTags())
	if err != nil {
		return err
	}
	p.mark(r.o.CompareAll, reread)
	if err := r.look(ctx, slices.Sorted(maps.Keys(p.days))); err != nil {
		return err
	}
	m := &Manifest{
		Format: formatVersion, Release: r.o.Release, Finished: time.Now().UTC().Format(time.RFC3339), Log: p.stored.log, Offset: p.stored.offset,
		Settings: r.o.Settings, StartNs: r.in.Start, StopNs: r.in.End,
	}
	for _, t := range r.tags {
		m.Tags = append(m.Tags, ManifestTag{ID: t.Id, Name: t.Name, Group: t.group, Settings: t.settings})
	}
	slices.SortFunc(m.Tags, func(a, b ManifestTag) int { return cmp.Compare(a.ID, b.ID) })
	r.Offset = m.Offset
	return r.w.finish(m)
}

// look looks at days: what of their files is as it has to be stays.
func (r *run) look(ctx context.Context, days []int32) error {
	byDay := map[int32][]string{}
	for name, x := range r.w.files {
		day, err := x.day()
		if err != nil {
			return err
		}
		byDay[day] = append(byDay[day], name)
	}
	r.Days = len(days)
	for _, day := range days {
		r.Day = dayText(day)
		r.o.OnProgress(r.Progress)
		if err := r.day(ctx, day, byDay[day]); err != nil {
			return fmt.Errorf("export %s: %w", r.Day, err)
		}
		r.DaysDone++
	}
	r.o.OnProgress(r.Progress)
	return nil
}

func (r *run) day(ctx context.Context, day int32, names []string) error {
	in, groups, hashes := clip(day, r.in), map[string][]tag{}, map[uint32]*varvev1.DayHash{}
	if in.Start < in.End && len(r.tags) > 0 {
		var err error
		if hashes, err = r.server.hashes(ctx, r.tags, day); err != nil {
			return err
		}
	}
	for _, t := range r.tags {
		if h := hashes[t.Id]; h != nil && h.FirstNs < in.End && in.Start <= h.LastNs {
			groups[t.group] = append(groups[t.group], t)
		}
	}
	keep := map[string]bool{}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		folder, err := groupFolder(group)
		if err != nil {
			return err
		}
		x := File{
			Path: fmt.Sprintf("%s/day=%s/%s.%s", folder, dayText(day), partName, r.o.Settings.Format), Group: group, Day: dayText(day),
		}
		if x.Fingerprint, err = fingerprint(&r.o.Settings, in, groups[group], hashes); err != nil {
			return err
		}
		if err := r.file(ctx, x, groups[group], in); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		keep[x.Path] = true
	}
	for _, name := range names {
		if keep[name] {
			continue
		}
		if err := r.w.remove(name); err != nil {
			return err
		}
		r.Removed++
	}
	return nil
}

// file writes a file unless it is as it has to be.
func (r *run) file(ctx context.Context, x File, tags []tag, in model.TimeRange) error {
	before, known := r.w.files[x.Path]
	if known && before.Fingerprint == x.Fingerprint && r.w.intact(&before) {
		r.Unchanged++
		return nil
	}
	x, err := r.w.put(x, func(out io.Writer, x *File) error { return r.write(ctx, out, x, tags, in) })
	switch {
	case err != nil:
		return err
	case x.Rows > 0:
		r.Written++
		r.Bytes += x.Bytes
	case known:
		r.Removed++
	}
	return nil
}

// readTags is how many tags are read by one question.
const readTags = 1000

// write writes what the server has of tags in a range.
func (r *run) write(ctx context.Context, out io.Writer, x *File, tags []tag, in model.TimeRange) error {
	rows, err := newRows(&r.o, tags, in, x, out)
	if err != nil {
		return err
	}
	defer rows.release()
	for from := 0; from < len(tags); from += readTags {
		if err := r.read(ctx, tags[from:min(from+readTags, len(tags))], from, in, rows); err != nil {
			return err
		}
	}
	if err := rows.close(); err != nil {
		return err
	}
	x.Rows = rows.rows
	if x.Rows > 0 {
		x.First, x.Last, x.TagIDs = model.FormatTime(rows.first), model.FormatTime(rows.last), formatIDs(rows.ids)
	}
	return nil
}

// read puts the samples of tags into rows; index is that of the first tag in the file.
func (r *run) read(ctx context.Context, tags []tag, index int, in model.TimeRange, rows *rows) error {
	ctx, cancel := context.WithCancel(ctx) // an answer that is not read to its end holds memory of the server
	defer cancel()
	stream, err := r.server.Query.ReadRange(ctx, &varvev1.ReadRangeRequest{
		TagIds: idsOf(tags), StartNs: proto.Int64(in.Start), EndNs: proto.Int64(in.End), WithSeq: true,
	})
	if err != nil {
		return err
	}
	got, err := answer.NewReader(stream)
	if err != nil {
		return err
	}
	defer got.Close()
	if lost := got.Incomplete(); lost != "" {
		return fmt.Errorf("samples of log offsets %s are damaged and missing; see varve status", lost)
	}
	for {
		rec, err := got.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := rows.add(rec, index, len(tags)); err != nil {
			return err
		}
		r.Rows += uint64(rec.NumRows())
		r.o.OnProgress(r.Progress)
	}
}
