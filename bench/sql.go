package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

// sqlOptions are the settings of a run that looks at what statements cost.
type sqlOptions struct {
	grown
	Range      time.Duration `json:"range_ns"`
	Ranges     int           `json:"ranges"`
	ScanRows   int           `json:"scan_rows"`
	Repeat     int           `json:"repeat"`
	ScanRepeat int           `json:"scan_repeat"`
	ServerArgs []string      `json:"server_args,omitempty"`
	Seed       uint64        `json:"seed"`
	Data       string        `json:"-"`
	Keep       bool          `json:"-"`
	Output     string        `json:"-"`
	Binary     string        `json:"-"`
}

// sqlReport is what statements cost, beside the same reads without SQL where there are any.
type sqlReport struct {
	Machine machine       `json:"machine"`
	Options sqlOptions    `json:"options"`
	Ingest  *ingestReport `json:"ingest,omitempty"` // of the last stage, unless the store was there

	Ranges     *rangesReport    `json:"ranges"`
	Small      []*queryReport   `json:"small"`
	Scans      []*scanReport    `json:"scans"`
	Aggregates []*bucketsReport `json:"aggregates"`
	Others     float64          `json:"others_cores"` // taken by processes that are no part of this, while statements were asked
	Bars       []bar            `json:"bars"`
}

// bar is a figure and what it is meant to be.
type bar struct {
	Name string  `json:"name"`
	Got  float64 `json:"got"`
	Want string  `json:"want"`
	Held bool    `json:"held"`
}

func atMost(name string, got, most float64, unit string) bar {
	return bar{name, got, fmt.Sprintf("below %g %s", most, unit), got < most}
}

func atLeast(name string, got, least float64, unit string) bar {
	return bar{name, got, fmt.Sprintf("at least %g %s", least, unit), got >= least}
}

// writeBars writes a line a bar.
func writeBars(out io.Writer, bars []bar) {
	for _, b := range bars {
		fmt.Fprintf(out, "%s\t%.2f\t%s\t%s\n", b.Name, b.Got, b.Want, map[bool]string{true: "held", false: "MISSED"}[b.Held])
	}
}

func newSQLCommand() *cobra.Command {
	var o sqlOptions
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Measure statements over Flight SQL beside the same reads over gRPC",
		Long: `Loads W1, seals it, starts a server anew and asks statements: ranges of random tags, statements that were prepared, the first rows of all,
plain scans and scans with a calculation, and averages of hours and days. Answers are held against what was sent or against the same
read over gRPC before they are timed. A store in --data is loaded once: with --keep it stays and the next run asks it.`,
		Example: `  go run ./bench sql --output json
  go run ./bench sql --tags 1000 --samples 6000000 --stage 6000000 --scan-rows 1000000
  go run ./bench sql --samples 1000000000 --data /data/sql --keep --scan-rows 100000000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureSQL(cmd.Context(), &o, os.Stderr)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Tags, "tags", 10_000, "tags")
	f.IntVar(&o.Total, "samples", 100_000_000, "samples of the store in all, one a second of each tag")
	f.IntVar(&o.Stage, "stage", 100_000_000, "samples of one load, of which as many as it takes; the client holds 16 bytes of each")
	f.DurationVar(&o.Range, "range", 10*time.Minute, "length of the ranges of one tag")
	f.IntVar(&o.Ranges, "ranges", 500, "ranges of random tags at random times")
	f.IntVar(&o.ScanRows, "scan-rows", 20_000_000, "rows of a scan, from the start on; all there are if less")
	f.IntVar(&o.Repeat, "repeat", 11, "warm runs of small statements and of averages of some tags")
	f.IntVar(&o.ScanRepeat, "scan-repeat", 3, "runs of each scan, and of averages of all tags")
	f.Uint64Var(&o.Seed, "seed", 1, "names the random ranges")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "one more argument for varve serve; may be repeated")
	f.StringVar(&o.Data, "data", "", "directory of the store; the default is a temporary one")
	f.BoolVar(&o.Keep, "keep", false, "keep the store of --data for the next run")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure, with varve-sql beside it; the default builds those of this tree")
	return cmd
}

func (o *sqlOptions) validate() error {
	if err := o.grown.validate(); err != nil {
		return err
	}
	switch {
	case o.Output != "table" && o.Output != "json":
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	case o.Ranges < 1 || o.Repeat < 1 || o.ScanRepeat < 1:
		return errors.New("--ranges, --repeat, --scan-repeat: must be at least 1")
	case o.Range < time.Second || o.Range%time.Second != 0 || o.Range >= time.Duration(o.steps())*time.Second:
		return fmt.Errorf("--range %s: must be whole seconds, fewer than the %d that the samples of a tag take", o.Range, o.steps())
	case o.ScanRows < o.Tags:
		return fmt.Errorf("--scan-rows %d: must be at least --tags %d", o.ScanRows, o.Tags)
	case o.Keep && o.Data == "":
		return errors.New("--keep: of what is in --data")
	}
	return nil
}

// measureSQL makes the store or finds it, and asks. What it says while it goes is written to log.
func measureSQL(ctx context.Context, o *sqlOptions, log io.Writer) (*sqlReport, error) {
	dir, err := workDir(&options{Dir: o.Data})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := withSQL(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	home := dir
	if o.Data != "" {
		home = o.Data
	}
	r := &sqlReport{Machine: describeMachine(), Options: *o}
	if r.Ingest, err = o.load(ctx, binary, home, log); err != nil {
		return nil, err
	}
	if o.Data != "" && !o.Keep {
		defer os.Remove(filepath.Join(home, grownFile))
		defer os.RemoveAll(filepath.Join(home, "store"))
	}
	// A new process, so that its memory is that of statements alone.
	s, err := startServer(ctx, binary, filepath.Join(home, "store"), o.ServerArgs)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	conn, err := dial(s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client, err := dialSQL(s.address)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	others, began := othersOf(s.process.Process.Pid), time.Now()
	if err := r.measure(ctx, o, s, conn, client, log); err != nil {
		return nil, fmt.Errorf("%w\nthe server said:\n%s", err, s.log)
	}
	r.Others = others() / time.Since(began).Seconds()
	r.judge()
	_, err = s.stop()
	return r, err
}

func (r *sqlReport) measure(ctx context.Context, o *sqlOptions, s *server, conn *grpc.ClientConn, client *sqlClient, log io.Writer) (err error) {
	fmt.Fprintf(log, "%d ranges of %s\n", o.Ranges, o.Range)
	if r.Ranges, err = measureRanges(ctx, o, conn, client); err != nil {
		return fmt.Errorf("ranges: %w", err)
	}
	fmt.Fprintln(log, "small statements")
	if r.Small, err = measureSmall(ctx, o, s, conn, client); err != nil {
		return fmt.Errorf("small statements: %w", err)
	}
	fmt.Fprintln(log, "scans")
	if r.Scans, err = measureScans(ctx, o, s, conn, client); err != nil {
		return fmt.Errorf("scans: %w", err)
	}
	fmt.Fprintln(log, "aggregates")
	if r.Aggregates, err = measureSQLBuckets(ctx, o, s, conn, client); err != nil {
		return fmt.Errorf("aggregates: %w", err)
	}
	return nil
}

// judge holds the figures against what they are meant to be.
func (r *sqlReport) judge() {
	plain, calculated := r.Scans[0], r.Scans[1]
	r.Bars = []bar{
		atMost("ranges, p99 over that of gRPC, ms", r.Ranges.SQL.P99-r.Ranges.GRPC.P99, 10, "ms"),
		atMost("chunks decoded that are not of the range", math.Abs(float64(r.Ranges.Chunks-r.Ranges.ExplainChunks)), 1, "chunk"),
		atMost("prepared, bound anew, ms", r.Small[0].Median, 2, "ms"),
		atMost("first 200 of all samples, ms", r.Small[2].Median, 50, "ms"),
		atLeast("plain scan, M rows/s", plain.RowsPerSecond/1e6, 20, "M rows/s"),
		atMost("plain scan, first row, ms", plain.FirstRow, 20, "ms"),
		atLeast("scan with a calculation, M rows/s", calculated.RowsPerSecond/1e6, 5, "M rows/s"),
	}
}

// table writes a line a figure.
func (r *sqlReport) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	fmt.Fprintf(out, "store: %d tags, %.1f M samples, sealed; other processes took %.2f cores\n\n", r.Options.Tags, float64(r.Options.Total)/1e6, r.Others)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	x := r.Ranges
	fmt.Fprintf(t, "%d ranges of %s, %.0f rows each\tp50, ms\tp95\tp99\tmost\n", r.Options.Ranges, r.Options.Range, float64(x.Rows)/float64(r.Options.Ranges))
	for _, line := range []struct {
		name string
		p    percentiles
	}{{"ReadRange, gRPC", x.GRPC}, {"Flight SQL, prepared", x.SQL}, {"SqlService, gRPC", x.Service}} {
		fmt.Fprintf(t, "  %s\t%.2f\t%.2f\t%.2f\t%.2f\n", line.name, line.p.P50, line.p.P95, line.p.P99, line.p.Max)
	}
	fmt.Fprintf(t, "  chunks decoded\t%d by EXPLAIN\t%d by an aggregate of the range over gRPC\t(%d ranges)\n\n", x.Chunks, x.ExplainChunks, x.Explained)
	fmt.Fprintln(t, "small statements\tmedian, ms\tleast\tmost\truns\tserver CPU, ms")
	for _, q := range r.Small {
		fmt.Fprintf(t, "  %s\t%.2f\t%.2f\t%.2f\t%d\t%.2f\n", q.Name, q.Median, q.Min, q.Max, q.Runs, q.ServerCPUSeconds*1000)
	}
	fmt.Fprintln(t, "\nscans\tM rows\tM rows/s\tfirst row, ms\tCPU s/M: server\tSQL process\tclient\tserver RSS, MiB: a tenth\tall\tSQL process: a tenth\tall")
	for _, q := range r.Scans {
		fmt.Fprintf(t, "  %s\t%.1f\t%.2f\t%.1f\t%.3f\t%.3f\t%.3f\t%.0f\t%.0f\t%.0f\t%.0f\n", q.Name, float64(q.Rows)/1e6, q.RowsPerSecond/1e6, q.FirstRow,
			q.ServerCPU, q.ChildCPU, q.ClientCPU, mib(q.Tenth.Server), mib(q.Whole.Server), mib(q.Tenth.Child), mib(q.Whole.Child))
	}
	fmt.Fprintln(t, "\naggregates\trows\tGROUP BY, ms\taggregate(…), ms\tgRPC, ms\tGROUP BY over gRPC")
	for _, q := range r.Aggregates {
		fmt.Fprintf(t, "  %s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\n", q.Name, q.Rows, q.GroupBy.Median, q.Function.Median, q.GRPC.Median, q.GroupBy.Median/q.GRPC.Median)
	}
	fmt.Fprintln(t)
	writeBars(t, r.Bars)
	return t.Flush()
}
