package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/varvedb/varve/bench/plant"
	"github.com/varvedb/varve/collector/table"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// connections is how many every database is loaded over, each with its part of the tags.
const connections = 2

// dataset is what all databases are loaded with and asked about. Every database keeps the tags under the names of package
// plant, so that names of files, which may hold anything, are not a difference between them.
type dataset struct {
	name      string
	tags      int
	samples   int
	o         *options // for varve's own load
	notes     []string
	questions []question

	label     func(tag int) string
	workloads func() []workload
	// sent are the rows that a right answer has of a tag.
	sent func(q *question, tag int) series
}

func newDataset(ctx context.Context, name string, o *peersOptions) (*dataset, error) {
	if name == "files" {
		return newFiles(ctx, o.Files)
	}
	w := &options{
		Workload: name, Tags: o.Tags, Hours: o.Hours, Days: o.Days, Short: o.Short, Connections: connections, Mode: "update",
		BatchSamples: 20_000, InFlight: 16, Seed: 1, Repeat: o.Repeat, Output: o.Output,
	}
	if name == "w2" && !o.Short && o.Days*86_400%1000 != 0 {
		w.RunSamples = 900 // divides every day, and is near what runs of w2 have else
	}
	if err := w.validate(); err != nil {
		return nil, err
	}
	return newPlant(w), nil
}

// newPlant is W1 or W2.
func newPlant(o *options) *dataset {
	d := &dataset{name: o.Workload, tags: o.Tags, samples: o.samples(), o: o, label: plant.Name}
	var kept *columns
	if o.Workload == "w1" {
		kept = makeColumns(o)
	}
	d.workloads = func() []workload { return workloadsOf(o, kept) }
	span := func(samples int) (int64, int64) { return o.start(), o.start() + int64(samples)*1000 }
	add := func(q question) { d.questions = append(d.questions, q) }
	spread := func(count int) (tags []int) {
		for i := range count {
			tags = append(tags, i*o.Tags/count)
		}
		return tags
	}
	hour, three, many := min(3600, o.samplesPerTag()), min(10_800, o.samplesPerTag()), min(100, o.Tags)
	from, to := span(hour)
	add(question{name: "Q1 raw, 1 tag, " + (time.Duration(hour) * time.Second).String(), kind: rawSamples, tags: spread(1), from: from, to: to})
	from, to = span(three)
	add(question{name: fmt.Sprintf("Q2 raw, %d tags, %s", many, time.Duration(three)*time.Second), kind: rawSamples, tags: spread(many), from: from, to: to})
	add(question{name: fmt.Sprintf("Q3 1 min averages, %d tags, %s", many, time.Duration(three)*time.Second), kind: minuteAverages, tags: spread(many), from: from, to: to})
	if from, to = span(min(86_400, o.samplesPerTag())); to-from > 180_000 {
		from, to = from+60_000, to-60_000 // minutes with samples on both sides
		length := time.Duration(to-from) * time.Millisecond
		add(question{name: fmt.Sprintf("Q8 4 aggregates of 1 min, %d tags, %s", many, length), kind: minuteShapes, tags: spread(many), from: from, to: to})
		add(question{name: fmt.Sprintf("Q9 5 aggregates of 1 min, %d tags, %s", many, length), kind: minuteAreas, tags: spread(many), from: from, to: to})
	}
	from, to = span(o.samplesPerTag())
	add(question{name: fmt.Sprintf("Q5 latest, %d tags", o.Tags), kind: latestSamples, tags: spread(o.Tags), from: from, to: to + 1000, lookback: 5 * time.Minute})

	newest := sync.OnceValue(func() []series { return newestOf(o) })
	d.sent = func(q *question, tag int) series {
		if q.kind == latestSamples {
			return newest()[tag]
		}
		// A sample is at most 40 ms late, so that those of a second more cover the range.
		n := min(o.samplesPerTag(), int((q.to-o.start())/1000)+1)
		all := series{make([]int64, n), make([]float64, n)}
		plant.NewTag(o.Seed, tag, o.start(), 1000).Next(all.times, all.values)
		return all.asked(q)
	}
	return d
}

// asked are the rows that a question about the range wants of these samples.
func (s *series) asked(q *question) series {
	if q.kind.several() {
		return s.shapes(q.from, q.to, q.kind == minuteAreas)
	}
	in := s.within(q.from, q.to)
	if q.kind == minuteAverages {
		return in.averages()
	}
	return in
}

// newestOf makes every tag to its end and keeps the last sample.
func newestOf(o *options) []series {
	out := make([]series, o.Tags)
	var wait sync.WaitGroup
	for w := range 2 {
		wait.Go(func() {
			times, values := make([]int64, o.samplesPerTag()), make([]float64, o.samplesPerTag())
			for tag := w; tag < o.Tags; tag += 2 {
				plant.NewTag(o.Seed, tag, o.start(), 1000).Next(times, values)
				last := len(times) - 1
				out[tag] = series{[]int64{times[last]}, []float64{values[last]}}
			}
		})
	}
	wait.Wait()
	return out
}

// sampleFiles are the tables that workload files loads where none are given.
var sampleFiles = []string{
	"tep/tep_idv06.csv.gz",
	"oilwell3w/class1_WELL-00006_20170802123000.csv.gz",
	"oilwell3w/class6_WELL-00004_20171031200059.csv.gz",
}

// newFiles reads tables as an import does. Left out are texts and samples without a value, which not every peer can keep,
// and all but the first of the samples of a tag that share a millisecond or come out of order.
func newFiles(ctx context.Context, files []string) (*dataset, error) {
	if len(files) == 0 {
		root, err := moduleRoot()
		if err != nil {
			return nil, fmt.Errorf("find the sample files: %w", err)
		}
		for _, f := range sampleFiles {
			files = append(files, filepath.Join(root, "cmd", "varve", "sample", f))
		}
	}
	t := &tables{}
	for _, f := range files {
		if err := t.read(ctx, f); err != nil {
			return nil, err
		}
	}
	if t.samples == 0 || len(t.tags) < connections {
		return nil, errors.New("--files: no numbers in at least two columns")
	}
	d := &dataset{name: "files", tags: len(t.tags), samples: t.samples, label: func(tag int) string { return t.names[tag] }}
	d.o = &options{Workload: "files", Tags: d.tags, Connections: connections, Mode: "update", BatchSamples: 20_000, RunSamples: 100, InFlight: 16, Seed: 1}
	if t.left > 0 {
		d.notes = append(d.notes, fmt.Sprintf("%d fields left out: texts, no values, repeated or earlier times", t.left))
	}
	d.workloads = func() (all []workload) {
		for c := range connections {
			from, to := c*d.tags/connections, (c+1)*d.tags/connections
			all = append(all, &replay{tables: t, from: from, to: to, run: d.o.RunSamples, tag: from})
		}
		return all
	}
	d.sent = func(q *question, tag int) series {
		s := &t.tags[tag]
		if last := len(s.times) - 1; q.kind == latestSamples {
			return series{s.times[last:], s.values[last:]}
		}
		return s.asked(q)
	}
	t.ask(d)
	return d, nil
}

// moduleRoot is where this tree lies.
func moduleRoot() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(root)), err
}

// tables are the numbers of files.
type tables struct {
	names   []string
	tags    []series
	file    []int // of each tag
	files   int
	samples int
	left    int // fields
}

func (t *tables) read(ctx context.Context, file string) error {
	plan, err := table.Scan(ctx, file, table.Mapping{Prefix: "{file}."}, nil)
	if err != nil {
		return err
	}
	ids := make([]model.TagID, len(plan.Tags))
	for i := range ids {
		ids[i] = model.TagID(i + 1)
	}
	read := make([]series, len(ids))
	stats, err := plan.Batches(ctx, ids, varvev1.WriteMode_WRITE_MODE_UPDATE, nil, func(b *varvev1.Batch) error {
		for _, r := range b.Runs {
			t.left += read[r.TagId-1].take(r)
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	t.left += stats.BadFields
	for i := range read {
		if len(read[i].times) == 0 {
			continue
		}
		t.names = append(t.names, plan.Tags[i].Name)
		t.tags = append(t.tags, read[i])
		t.file = append(t.file, t.files)
		t.samples += len(read[i].times)
	}
	t.files++
	return nil
}

// take appends the numbers of a run, and returns how many of its fields are none.
func (s *series) take(r *varvev1.Run) (left int) {
	var values []float64
	switch {
	case len(r.Float64) > 0:
		values = r.Float64
	case len(r.Bool) > 0:
		for _, b := range r.Bool {
			v := 0.0
			if b {
				v = 1
			}
			values = append(values, v)
		}
	case len(r.Int64) > 0, len(r.Uint64) > 0: // only where float64 cannot hold them
		return len(r.Int64) + len(r.Uint64)
	default:
		return len(r.Text)
	}
	null := map[uint32]bool{}
	for _, at := range r.NullAt {
		null[at] = true
	}
	at, unit := r.FirstTimeNs, int64(max(1, r.TimeUnitNs))
	for i, v := range values {
		switch {
		case len(r.TimesNs) > 0:
			at = r.TimesNs[i]
		case i > 0 && r.Count > 0:
			at += r.StepNs
		case i > 0:
			at += r.TimeDeltas[i-1] * unit
		}
		ms := time.Unix(0, at).UnixMilli()
		if null[uint32(i)] || math.IsNaN(v) || math.IsInf(v, 0) || len(s.times) > 0 && s.times[len(s.times)-1] >= ms {
			left++
			continue
		}
		s.add(ms, v)
	}
	return left
}

// ask puts the questions to the file with the most samples, a day of it at most, and Q5 to all.
func (t *tables) ask(d *dataset) {
	counts := make([]int, t.files)
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for i, s := range t.tags {
		counts[t.file[i]] += len(s.times)
		first, last = min(first, s.times[0]), max(last, s.times[len(s.times)-1])
	}
	largest := 0
	for f, n := range counts {
		if n > counts[largest] {
			largest = f
		}
	}
	var tags, all []int
	from := int64(math.MaxInt64)
	for i := range t.tags {
		all = append(all, i)
		if t.file[i] == largest && len(tags) < 100 {
			tags = append(tags, i)
			from = min(from, t.tags[i].times[0])
		}
	}
	from -= mod(from, 60_000)
	const hour, day = 3_600_000, 86_400_000
	d.questions = []question{
		{name: "Q1 raw, 1 tag, 1h", kind: rawSamples, tags: tags[:1], from: from, to: from + hour},
		{name: fmt.Sprintf("Q2 raw, %d tags, 24h", len(tags)), kind: rawSamples, tags: tags, from: from, to: from + day},
		{name: fmt.Sprintf("Q3 1 min averages, %d tags, 24h", len(tags)), kind: minuteAverages, tags: tags, from: from, to: from + day},
		{name: fmt.Sprintf("Q5 latest, %d tags", len(all)), kind: latestSamples, tags: all, from: first, to: last + 1000,
			lookback: time.Duration(last+1000-first+60_000) * time.Millisecond},
	}
}

// replay sends files as a backfill does: a run of every tag in turn.
type replay struct {
	*tables
	from, to, run int

	slice, tag int
	times      []int64
	values     []float64
}

func (r *replay) tags() (int, int) { return r.from, r.to }

func (r *replay) next() (int, []int64, []float64, bool) {
	for empty := 0; empty <= r.to-r.from; empty++ {
		if r.tag == r.to {
			r.tag = r.from
			r.slice++
		}
		tag := r.tag
		r.tag++
		s := &r.tables.tags[tag]
		if first := r.slice * r.run; first < len(s.times) {
			last := min(first+r.run, len(s.times))
			r.times = r.times[:0]
			for _, ms := range s.times[first:last] {
				r.times = append(r.times, ms*millisecond)
			}
			r.values = s.values[first:last]
			return tag, r.times, r.values, true
		}
	}
	return 0, nil, nil, false
}
