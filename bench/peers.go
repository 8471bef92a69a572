package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// peersOptions are the settings of a run beside other databases.
type peersOptions struct {
	Peers     []string `json:"peers"`
	Workloads []string `json:"workloads"`
	Files     []string `json:"files,omitempty"`
	Short     bool     `json:"short,omitempty"`
	Tags      int      `json:"tags,omitempty"`
	Hours     int      `json:"hours,omitempty"`
	Days      int      `json:"days,omitempty"`
	Repeat    int      `json:"repeat"`
	Dir       string   `json:"-"`
	Output    string   `json:"-"`
	Binary    string   `json:"-"`
}

// allPeers are the names --peers takes, in the order of the table.
var allPeers = []string{"victoria-metrics", "influxdb", "postgres", "duckdb"}

func (o *peersOptions) register(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Peers, "peers", nil, "of "+strings.Join(allPeers, ", ")+"; the default is what is installed")
	f.StringSliceVar(&o.Workloads, "workload", []string{"w1", "w2", "files"}, "w1, w2, files: one table each")
	f.StringSliceVar(&o.Files, "files", nil, "tables for workload files, as varve import reads them; the default is three of cmd/varve/sample")
	f.BoolVar(&o.Short, "short", false, "half an hour of w1 and 20 days of w2, about 18 million samples each")
	f.IntVar(&o.Tags, "tags", 0, "tags of w1 and w2; 0 means 10,000 and 10")
	f.IntVar(&o.Hours, "hours", 3, "hours of w1")
	f.IntVar(&o.Days, "days", 365, "days of w2")
	f.IntVar(&o.Repeat, "repeat", 11, "warm runs of each query, the servers in turn")
	f.StringVar(&o.Dir, "dir", "", "directory for the stores; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the tables on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds the one of this tree")
}

func (o *peersOptions) validate() error {
	if o.Output != "table" && o.Output != "json" {
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	}
	for _, p := range o.Peers {
		if !slices.Contains(allPeers, p) {
			return fmt.Errorf("--peers %q: must be of %s", p, strings.Join(allPeers, ", "))
		}
	}
	for _, w := range o.Workloads {
		if w != "w1" && w != "w2" && w != "files" {
			return fmt.Errorf("--workload %q: must be of w1, w2, files", w)
		}
	}
	if o.Repeat < 1 || o.Tags < 0 || o.Tags == 1 || o.Hours < 1 || o.Days < 1 {
		return errors.New("--repeat, --hours, --days: must be at least 1; --tags: 0 or at least 2")
	}
	return nil
}

func newPeersCommand() *cobra.Command {
	var o peersOptions
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Measure varve beside VictoriaMetrics, InfluxDB, PostgreSQL and DuckDB on Parquet, in one run and on the same samples",
		Long: `Starts varve and every peer that is installed, each as a process of its own on a free loopback port with a store of its own
under one temporary directory, and ends them. Each loads the same samples over two connections and settles; then all are asked
the same questions in turn. Every answer is held against what was sent before it is timed: a sample too many, too few or
different fails the run and is named with its tag and time.`,
		Example: `  go run ./bench peers --short
  go run ./bench peers --peers victoria-metrics,postgres --workload w1 --tags 1000 --hours 1 --output json
  go run ./bench peers --workload files --files plant.csv.gz,other.csv.zst`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measurePeers(cmd.Context(), &o, os.Stderr)
			if err != nil {
				return err
			}
			if o.Output == "table" {
				return r.table(os.Stdout)
			}
			if err := r.table(os.Stderr); err != nil {
				return err
			}
			e := json.NewEncoder(os.Stdout)
			e.SetIndent("", "  ")
			return e.Encode(r)
		},
	}
	o.register(cmd.Flags())
	return cmd
}

// contestant is one database under measurement, varve among them. It lives from start to stop, in a directory of its own.
type contestant interface {
	describe() description
	start(ctx context.Context, dir string) error
	// load sends all samples of a data set and returns when the last is acknowledged.
	load(ctx context.Context, d *dataset) (*loadFigures, error)
	// settle brings the store into the form it keeps: merged, compacted, sealed, indexed.
	settle(ctx context.Context) error
	// stored is the bytes of the settled store, without journals that only wait to be recycled.
	stored() (uint64, error)
	// ask answers a question.
	ask(ctx context.Context, q *question) (answer, error)
	usage() (usage, error)
	stop() error
}

// description is what a reader must know to compare the figures of a contestant.
type description struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Durable string `json:"durable"` // what an acknowledgement means
	Through string `json:"through"` // how samples travel
	Bytes   string `json:"bytes"`   // what is counted as stored
	// syncs is whether an acknowledged sample is on disk.
	syncs bool
	// exact is whether doubles are kept bit for bit; if not, the last digits may differ, and are counted.
	exact bool
	// several is whether it is asked for several aggregates at once.
	several bool
}

// newContestant is a peer, or why it cannot be measured here.
func newContestant(name string) (contestant, string) {
	switch name {
	case "victoria-metrics":
		return newVictoriaMetrics()
	case "influxdb":
		return newInflux()
	case "postgres":
		return newPostgres()
	}
	return newDuckDB()
}

// measurePeers runs every workload. What it says while it goes is written to log.
func measurePeers(ctx context.Context, o *peersOptions, log io.Writer) (*peersReport, error) {
	if _, err := cpuSeconds("self"); err != nil {
		return nil, err
	}
	dir, err := workDir(&options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL runs as another user and must reach its part
		return nil, err
	}
	r := &peersReport{Machine: describeMachine(), Options: *o}
	names := o.Peers
	if names == nil {
		names = allPeers
	}
	var peers []string
	for _, name := range names {
		if _, missing := newContestant(name); missing != "" {
			r.Skipped = append(r.Skipped, missing)
			fmt.Fprintln(log, missing)
			continue
		}
		peers = append(peers, name)
	}
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	for _, w := range o.Workloads {
		d, err := newDataset(ctx, w, o)
		if err != nil {
			return nil, err
		}
		all := []contestant{newVarve(binary)}
		for _, name := range peers {
			c, _ := newContestant(name)
			all = append(all, c)
		}
		one, err := measureBeside(ctx, all, d, filepath.Join(dir, w), o.Repeat, log)
		if err != nil {
			return nil, fmt.Errorf("workload %s: %w", w, err)
		}
		r.Workloads = append(r.Workloads, one)
		if err := os.RemoveAll(filepath.Join(dir, w)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// measureBeside loads the contestants one after another, each on an idle machine as far as they go, and then asks them in
// turn, so that a slow minute of the machine meets all of them.
func measureBeside(ctx context.Context, all []contestant, d *dataset, dir string, repeat int, log io.Writer) (*besideReport, error) {
	r := &besideReport{Workload: d.name, Tags: d.tags, Samples: d.samples, Notes: d.notes}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	for _, c := range all {
		defer c.stop()
		about := c.describe()
		fmt.Fprintf(log, "%s: %s takes %.1f M samples\n", d.name, about.Name, float64(d.samples)/1e6)
		figures, err := measureContestant(ctx, c, d, filepath.Join(dir, about.Name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", about.Name, err)
		}
		r.Contestants = append(r.Contestants, figures)
	}
	for i := range d.questions {
		q := &d.questions[i]
		fmt.Fprintf(log, "%s: all are asked %s\n", d.name, q.name)
		if err := askInTurn(ctx, all, d, q, repeat, r); err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
	}
	for i, c := range all {
		u, err := c.usage()
		if err != nil {
			return nil, err
		}
		r.Contestants[i].PeakRSS = u.rssPeak
		if c, ok := c.(interface{ remark() string }); ok && c.remark() != "" {
			r.Notes = append(r.Notes, c.remark())
		}
	}
	for _, c := range all {
		if err := c.stop(); err != nil {
			return nil, fmt.Errorf("stop %s: %w", c.describe().Name, err)
		}
	}
	return r, nil
}

// measureContestant starts one, loads it and lets it settle.
func measureContestant(ctx context.Context, c contestant, d *dataset, dir string) (*contestantReport, error) {
	if err := c.start(ctx, dir); err != nil {
		return nil, err
	}
	r := &contestantReport{description: c.describe(), Medians: map[string]*turns{}}
	before, err := c.usage()
	if err != nil {
		return nil, err
	}
	if r.Load, err = c.load(ctx, d); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	loaded, err := c.usage()
	if err != nil {
		return nil, err
	}
	if err := c.settle(ctx); err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	settled, err := c.usage()
	if err != nil {
		return nil, err
	}
	stored, err := c.stored()
	if err != nil {
		return nil, fmt.Errorf("measure the store: %w", err)
	}
	millions := float64(d.samples) / 1e6
	r.SamplesPerSecond = float64(d.samples) / r.Load.Seconds
	r.ServerCPU = (loaded.cpu - before.cpu) / millions
	r.SettledCPU = (settled.cpu - before.cpu) / millions
	r.ClientCPU = r.Load.ClientCPUSeconds / millions
	r.LoadPeakRSS = loaded.rssPeak
	r.BytesPerSample = float64(stored) / float64(d.samples)
	return r, nil
}
