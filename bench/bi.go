package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// biOptions are the settings of a run of the questions of BI tools.
type biOptions struct {
	Peers     []string `json:"peers"`
	Tags      int      `json:"tags"`
	Days      int      `json:"days"`
	Repeat    int      `json:"repeat"`
	Questions []string `json:"questions,omitempty"`
	Dir       string   `json:"-"`
	Output    string   `json:"-"`
	Binary    string   `json:"-"`
}

// allBIPeers are the names --peers takes, in the order of the table.
var allBIPeers = []string{"varve-postgres", "duckdb", "postgres", "victoria-metrics"}

// biPeer is a database that is asked the questions, varve among them.
type biPeer interface {
	name() string
	// load starts it with a store under dir and sends it the samples, in whatever form it keeps them for good.
	load(ctx context.Context, dir string, tags []*biTag) error
	// words is a question as it is asked there, and how far doubles of a right answer may be off, of their size; or why it is not asked.
	words(q *biQuestion) (text string, tolerance float64, why string)
	// ask asks, and keeps the rows unless keep is nil; it decodes them all the same.
	ask(ctx context.Context, text string, keep *cells) (rows int, err error)
	stop() error
}

// biReport is every question to every database that was asked it, with equal answers.
type biReport struct {
	Machine   machine            `json:"machine"`
	Options   biOptions          `json:"options"`
	Samples   int                `json:"samples"`
	Skipped   []string           `json:"skipped,omitempty"` // peers that did not run, and why
	Peers     []string           `json:"asked"`
	Questions []*biAnswer        `json:"questions"`
	Means     map[string]biMeans `json:"geometric_means"` // by group and "all"
}

// biAnswer is one question. Times are milliseconds until the last row is decoded.
type biAnswer struct {
	Name    string             `json:"name"`
	Group   string             `json:"group"`
	Rows    int                `json:"rows"`
	Medians map[string]float64 `json:"median_ms"`           // by peer
	Not     map[string]string  `json:"not_asked,omitempty"` // by peer, and why
}

// biMeans is, for each peer, the geometric mean of its time over that of varve through Flight SQL, over the questions it was asked.
type biMeans map[string]float64

func newBICommand() *cobra.Command {
	var o biOptions
	cmd := &cobra.Command{
		Use:   "bi",
		Short: "Measure the questions of BI tools beside DuckDB on Parquet, PostgreSQL and VictoriaMetrics, in one run and on the same samples",
		Long: `Makes the plant of internal/interop/bi, with more tags and days, loads it into varve and every peer that is installed, and asks the sixty
questions of its queries.sql: varve over Flight SQL and through its door for clients of PostgreSQL, DuckDB over sorted Parquet in the same words,
PostgreSQL in its own where they differ, VictoriaMetrics those that MetricsQL has words for. Each is asked once to compare the answers, where a
difference fails the run, and then timed, the databases in turn.`,
		Example: `  go run ./bench bi --output json
  go run ./bench bi --tags 15 --days 3 --repeat 3
  go run ./bench bi --peers duckdb --questions tableau,grafana`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureBI(cmd.Context(), &o, os.Stderr)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Peers, "peers", nil, "of "+strings.Join(allBIPeers, ", ")+"; the default is what is installed")
	f.IntVar(&o.Tags, "tags", 100, "tags, from 15")
	f.IntVar(&o.Days, "days", 30, "days, from 3, which is as far as the questions go")
	f.IntVar(&o.Repeat, "repeat", 7, "warm runs of each question, the databases in turn")
	f.StringSliceVar(&o.Questions, "questions", nil, "beginnings of names of questions; the default is all")
	f.StringVar(&o.Dir, "dir", "", "directory for the stores; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure, with varve-sql beside it; the default builds those of this tree")
	return cmd
}

func (o *biOptions) validate() error {
	if o.Output != "table" && o.Output != "json" {
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	}
	for _, p := range o.Peers {
		if !slices.Contains(allBIPeers, p) {
			return fmt.Errorf("--peers %q: must be of %s", p, strings.Join(allBIPeers, ", "))
		}
	}
	if o.Tags < 15 || o.Days < 3 || o.Repeat < 1 {
		return errors.New("--tags: must be at least 15; --days at least 3; --repeat at least 1")
	}
	return nil
}

// newBIPeer is a peer, or why it cannot be asked here.
func newBIPeer(name string, v *biVarve) (biPeer, string) {
	switch name {
	case "varve-postgres":
		return &biDoor{of: v}, ""
	case "duckdb":
		return newBIDuckDB()
	case "postgres":
		return newBIPostgres()
	}
	return newBIVictoriaMetrics()
}

// measureBI loads all and asks them in turn. What it says while it goes is written to log.
func measureBI(ctx context.Context, o *biOptions, log io.Writer) (*biReport, error) {
	questions, err := readBIQuestions()
	if err != nil {
		return nil, err
	}
	if len(o.Questions) > 0 {
		questions = slices.DeleteFunc(questions, func(q *biQuestion) bool {
			return !slices.ContainsFunc(o.Questions, func(begin string) bool { return strings.HasPrefix(q.name, begin) })
		})
	}
	dir, err := workDir(&options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL runs as another user and must reach its part
		return nil, err
	}
	binary, err := withSQL(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	r := &biReport{Machine: describeMachine(), Options: *o}
	v := &biVarve{binary: binary}
	all := []biPeer{v}
	names := o.Peers
	if names == nil {
		names = allBIPeers
	}
	for _, name := range names {
		p, missing := newBIPeer(name, v)
		if missing != "" {
			r.Skipped = append(r.Skipped, missing)
			fmt.Fprintln(log, missing)
			continue
		}
		all = append(all, p)
	}
	tags := biPlantOf(o.Tags, o.Days)
	r.Samples = biCount(tags)
	for i, p := range all {
		defer p.stop()
		fmt.Fprintf(log, "%s takes %.1f M samples\n", p.name(), float64(r.Samples)/1e6)
		if err := p.load(ctx, filepath.Join(dir, fmt.Sprint(i)), tags); err != nil {
			return nil, fmt.Errorf("%s: load: %w", p.name(), err)
		}
		r.Peers = append(r.Peers, p.name())
	}
	var wrong []error
	for _, q := range questions {
		fmt.Fprintln(log, q.name)
		a, err := compareBI(ctx, all, q)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", q.name, err))
			continue
		}
		if err := a.time(ctx, all, q, o.Repeat); err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
		r.Questions = append(r.Questions, a)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	r.means()
	for _, p := range slices.Backward(all) {
		if err := p.stop(); err != nil {
			return nil, fmt.Errorf("stop %s: %w", p.name(), err)
		}
	}
	return r, nil
}

// compareBI asks a question of all once and holds the answers against the first of another database than varve.
func compareBI(ctx context.Context, all []biPeer, q *biQuestion) (*biAnswer, error) {
	a := &biAnswer{Name: q.name, Group: q.group(), Medians: map[string]float64{}, Not: map[string]string{}}
	type answered struct {
		peer      biPeer
		rows      cells
		tolerance float64
	}
	var answers []answered
	var want *answered
	for _, p := range all {
		text, tolerance, why := p.words(q)
		if why != "" {
			a.Not[p.name()] = why
			continue
		}
		x := answered{peer: p, tolerance: tolerance}
		if _, err := p.ask(ctx, text, &x.rows); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name(), err)
		}
		answers = append(answers, x)
		if _, duck := p.(biDuckDB); duck {
			want = &x
		}
	}
	if want == nil {
		want = &answers[len(answers)-1]
	}
	if len(want.rows) == 0 {
		return nil, fmt.Errorf("%s answers no row, so that nothing is compared", want.peer.name())
	}
	a.Rows = len(want.rows)
	for _, x := range answers {
		if err := q.differ(x.rows, want.rows, max(x.tolerance, want.tolerance)); err != nil {
			return nil, fmt.Errorf("%s differs from %s: %w", x.peer.name(), want.peer.name(), err)
		}
	}
	return a, nil
}

// time asks the databases in turn, again and again.
func (a *biAnswer) time(ctx context.Context, all []biPeer, q *biQuestion, repeat int) error {
	took := map[string][]float64{}
	for range repeat {
		for _, p := range all {
			text, _, why := p.words(q)
			if why != "" {
				continue
			}
			began := time.Now()
			rows, err := p.ask(ctx, text, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
			took[p.name()] = append(took[p.name()], float64(time.Since(began).Nanoseconds())/1e6)
			if rows != a.Rows {
				return fmt.Errorf("%s: %d rows, %d when it was asked before", p.name(), rows, a.Rows)
			}
		}
	}
	for name, all := range took {
		slices.Sort(all)
		a.Medians[name] = all[repeat/2]
	}
	return nil
}

// means fills in the geometric means.
func (r *biReport) means() {
	sums, counts := map[string]biMeans{}, map[string]map[string]int{}
	for _, a := range r.Questions {
		for _, group := range []string{a.Group, "all"} {
			if sums[group] == nil {
				sums[group], counts[group] = biMeans{}, map[string]int{}
			}
			for name, ms := range a.Medians {
				sums[group][name] += math.Log(ms / a.Medians[r.Peers[0]])
				counts[group][name]++
			}
		}
	}
	r.Means = map[string]biMeans{}
	for group, of := range sums {
		r.Means[group] = biMeans{}
		for name, sum := range of {
			r.Means[group][name] = math.Exp(sum / float64(counts[group][name]))
		}
	}
}

// table writes a line a question and a line a group.
func (r *biReport) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	fmt.Fprintf(out, "plant: %d tags, %d days, %.1f M samples; answers equal\n", r.Options.Tags, r.Options.Days, float64(r.Samples)/1e6)
	for _, why := range r.Skipped {
		fmt.Fprintln(out, why)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\nquestion\trows")
	for _, name := range r.Peers {
		fmt.Fprintf(t, "\t%s, ms", name)
	}
	for _, name := range r.Peers[1:] {
		fmt.Fprintf(t, "\t%s over the first", name)
	}
	fmt.Fprintln(t)
	for _, a := range r.Questions {
		fmt.Fprintf(t, "%s\t%d", a.Name, a.Rows)
		for _, name := range r.Peers {
			fmt.Fprint(t, "\t"+biFigure(a.Medians, name, 1))
		}
		for _, name := range r.Peers[1:] {
			fmt.Fprint(t, "\t"+biFigure(a.Medians, name, a.Medians[r.Peers[0]]))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "\ngeometric mean, over the first, of")
	for _, name := range r.Peers[1:] {
		fmt.Fprint(t, "\t"+name)
	}
	fmt.Fprintln(t)
	for _, group := range slices.Sorted(maps.Keys(r.Means)) {
		fmt.Fprint(t, group)
		for _, name := range r.Peers[1:] {
			fmt.Fprint(t, "\t"+biFigure(r.Means[group], name, 1))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, name := range r.Peers {
		r.tellNotAsked(out, name)
	}
	return nil
}

// tellNotAsked writes for each reason which questions a peer was not asked.
func (r *biReport) tellNotAsked(out io.Writer, peer string) {
	reasons := map[string][]string{}
	for _, a := range r.Questions {
		if why := a.Not[peer]; why != "" {
			reasons[why] = append(reasons[why], a.Name)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(out, "\n%s was not asked %d of %d, because %s: %s\n", peer, len(reasons[why]), len(r.Questions), why, strings.Join(reasons[why], ", "))
	}
}

// biFigure is a figure of a peer over another one; empty where there is none.
func biFigure(of map[string]float64, name string, over float64) string {
	if v, ok := of[name]; ok {
		return fmt.Sprintf("%.2f", v/over)
	}
	return ""
}
