package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"github.com/varvedb/varve/bench/plant"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// growthOptions are the settings of a run that looks at what more tags and more samples cost.
type growthOptions struct {
	Series      []string      `json:"series"`
	Tags        []int         `json:"tags"`
	Samples     int           `json:"samples"` // of each number of tags
	Idle        time.Duration `json:"idle_ns"`
	AmountTags  int           `json:"amount_tags"`
	Total       int           `json:"total"`
	Stage       int           `json:"stage"`
	Connections int           `json:"connections"`
	ServerArgs  []string      `json:"server_args,omitempty"`
	Repeat      int           `json:"repeat"`
	Dir         string        `json:"-"`
	Output      string        `json:"-"`
	Binary      string        `json:"-"`
}

func (o *growthOptions) register(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Series, "series", []string{"tags", "amount"}, "tags: the same number of samples from more and more tags; amount: one store that grows")
	f.IntSliceVar(&o.Tags, "tags", []int{10_000, 100_000, 1_000_000}, "numbers of tags of series tags; the first is what the others are held against")
	f.IntVar(&o.Samples, "samples", 40_000_000, "samples of each of them; ten times the number of tags must divide it")
	f.DurationVar(&o.Idle, "idle", time.Minute, "how long a server is left alone before its memory is looked at, series tags")
	f.IntVar(&o.AmountTags, "amount-tags", 10_000, "tags of series amount")
	f.IntVar(&o.Total, "total", 1_000_000_000, "samples that the store of series amount grows to")
	f.IntVar(&o.Stage, "stage", 100_000_000, "samples between two looks at it")
	f.IntVar(&o.Connections, "connections", 2, "connections, each with its share of the tags")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "one more argument for varve serve; may be repeated")
	f.IntVar(&o.Repeat, "repeat", 11, "warm runs of each query")
	f.StringVar(&o.Dir, "dir", "", "directory for the stores; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds the one of this tree")
}

func (o *growthOptions) validate() error {
	for _, s := range o.Series {
		if s != "tags" && s != "amount" {
			return fmt.Errorf("--series %q: must be of tags, amount", s)
		}
	}
	if o.Output != "table" && o.Output != "json" {
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	}
	for _, n := range o.Tags {
		if n < 1 || o.Samples < 1 || o.Samples%(10*n) != 0 {
			return fmt.Errorf("--samples %d: must be a multiple of ten times --tags %d", o.Samples, n)
		}
		w := o.workload(n, o.Samples)
		if err := w.validate(); err != nil {
			return err
		}
	}
	if o.AmountTags < 1 || o.Stage < 1 || o.Total < o.Stage || o.Stage%(10*o.AmountTags) != 0 || o.Total%o.Stage != 0 {
		return fmt.Errorf("--total %d, --stage %d: must be multiples, the first of the second and that of ten times --amount-tags %d", o.Total, o.Stage, o.AmountTags)
	}
	if o.Repeat < 1 || o.Idle < 0 {
		return errors.New("--repeat: must be at least 1; --idle: not below 0")
	}
	return nil
}

// workload is W1 with so many tags and samples in all.
func (o *growthOptions) workload(tags, samples int) *options {
	return &options{
		Workload: "w1", Tags: tags, TagSamples: samples / tags, Connections: o.Connections, Mode: "update",
		RunSamples: 10, BatchSamples: 20_000, InFlight: 16, Seed: 1, Repeat: o.Repeat, Output: o.Output, ServerArgs: o.ServerArgs,
	}
}

// following is a plant of as many samples that begins where this one ends.
func (o *options) following() options {
	next := *o
	next.Begin = o.start() + int64(o.TagSamples)*o.step()
	next.Seed++
	return next
}

// growthReport is what more tags, and more samples, cost.
type growthReport struct {
	Machine machine         `json:"machine"`
	Options growthOptions   `json:"options"`
	Tags    []*tagsReport   `json:"tags,omitempty"`
	Amount  []*amountReport `json:"amount,omitempty"`
}

// tagsReport is a store of so many tags.
type tagsReport struct {
	Tags    int            `json:"tags"`
	Samples uint64         `json:"samples"`
	Ingest  *ingestReport  `json:"ingest"`
	Stored  *storedReport  `json:"stored"`
	Queries []*queryReport `json:"queries"`
	// Rate is the accepted samples per second over those of the first number of tags.
	Rate    float64 `json:"accepted_rate_ratio"`
	IdleRSS uint64  `json:"idle_rss_bytes"` // after ingest, queries and a rest

	StartSeconds   float64 `json:"start_seconds"` // of the next process on this store, until it listens
	StartedPeakRSS uint64  `json:"started_peak_rss_bytes"`
	StartedIdleRSS uint64  `json:"started_idle_rss_bytes"` // after a rest
}

// amountReport is a store that has grown to so many samples.
type amountReport struct {
	Samples uint64        `json:"samples"` // in all
	Ingest  *ingestReport `json:"ingest"`  // of this stage
	Stored  *storedReport `json:"stored"`
	// Newest, Oldest and Latest are raw hours of one tag of this stage and of the first, and the newest sample of all tags.
	Newest *queryReport `json:"newest"`
	Oldest *queryReport `json:"oldest"`
	Latest *queryReport `json:"latest"`
	RSS    uint64       `json:"rss_bytes"`
	// Sealed is whether all was sealed before it was asked.
	Sealed bool `json:"sealed,omitempty"`
}

func newGrowthCommand() *cobra.Command {
	var o growthOptions
	cmd := &cobra.Command{
		Use:   "growth",
		Short: "Measure what more tags and more samples cost, in one run",
		Long: `Series tags sends the same number of samples of W1 from more and more tags, each to an empty store: ingest, queries, memory
at rest, and the start of the next process. Series amount lets one store grow stage by stage and asks at each for an hour of one
tag, of this stage and of the first, and for the newest sample of every tag. Every answer is held against what was sent.`,
		Example: `  go run ./bench growth --output json
  go run ./bench growth --series tags --tags 1000,10000,100000 --samples 10000000 --idle 5s
  go run ./bench growth --series amount --amount-tags 1000 --total 50000000 --stage 10000000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureGrowth(cmd.Context(), &o, os.Stderr)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	o.register(cmd.Flags())
	return cmd
}

// measureGrowth runs the series. What it says while it goes is written to log.
func measureGrowth(ctx context.Context, o *growthOptions, log io.Writer) (*growthReport, error) {
	dir, err := workDir(&options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	r := &growthReport{Machine: describeMachine(), Options: *o}
	if slices.Contains(o.Series, "tags") {
		for _, n := range o.Tags {
			fmt.Fprintf(log, "%d tags take %.1f M samples\n", n, float64(o.Samples)/1e6)
			one, err := measureTags(ctx, binary, filepath.Join(dir, "tags"), o, n)
			if err != nil {
				return nil, fmt.Errorf("%d tags: %w", n, err)
			}
			r.Tags = append(r.Tags, one)
			one.Rate = one.Ingest.AcceptedPerSecond / r.Tags[0].Ingest.AcceptedPerSecond
		}
	}
	if slices.Contains(o.Series, "amount") {
		if r.Amount, err = measureAmount(ctx, binary, filepath.Join(dir, "amount"), o, log); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// measureTags loads an empty store, leaves the server alone, and starts the next one on the same store.
func measureTags(ctx context.Context, binary, data string, o *growthOptions, tags int) (*tagsReport, error) {
	defer os.RemoveAll(data)
	w := o.workload(tags, o.Samples)
	r := &tagsReport{Tags: tags, Samples: uint64(o.Samples)}
	rested := func(s *server) (usage, error) {
		select {
		case <-time.After(o.Idle):
		case <-ctx.Done():
			return usage{}, ctx.Err()
		}
		return s.usage()
	}
	s, err := startServer(ctx, binary, data, o.ServerArgs)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	if r.Ingest, err = measureIngest(ctx, s, w); err != nil {
		return nil, fmt.Errorf("%w\nthe server said:\n%s", err, s.log)
	}
	conn, err := dial(s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if r.Stored, err = measureStored(ctx, s, conn, data, r.Samples, flush); err != nil {
		return nil, err
	}
	raw, err := measureHour(ctx, s, conn, w)
	if err != nil {
		return nil, err
	}
	latest, err := measureLatestOf(ctx, s, conn, w, min(tags, 10_000))
	if err != nil {
		return nil, err
	}
	r.Queries = []*queryReport{raw, latest}
	idle, err := rested(s)
	if err != nil {
		return nil, err
	}
	r.IdleRSS = idle.rss
	if _, err := s.stop(); err != nil {
		return nil, err
	}

	began := time.Now()
	again, err := startServer(ctx, binary, data, o.ServerArgs)
	if err != nil {
		return nil, err
	}
	defer again.kill()
	r.StartSeconds = time.Since(began).Seconds()
	if idle, err = rested(again); err != nil {
		return nil, err
	}
	r.StartedPeakRSS, r.StartedIdleRSS = idle.rssPeak, idle.rss
	_, err = again.stop()
	return r, err
}

// measureAmount lets one store grow. Each stage is a plant of its own that begins where the one before ended, so that none
// has to be made again from its start.
func measureAmount(ctx context.Context, binary, data string, o *growthOptions, log io.Writer) ([]*amountReport, error) {
	defer os.RemoveAll(data)
	s, err := startServer(ctx, binary, data, o.ServerArgs)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	conn, err := dial(s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	first := o.workload(o.AmountTags, o.Stage)
	first.Begin = plant.Start
	stage := *first
	var all []*amountReport
	for total := o.Stage; total <= o.Total; total += o.Stage {
		fmt.Fprintf(log, "the store grows to %.0f M samples\n", float64(total)/1e6)
		r := &amountReport{Samples: uint64(total)}
		if r.Ingest, err = measureIngest(ctx, s, &stage); err != nil {
			return nil, fmt.Errorf("%w\nthe server said:\n%s", err, s.log)
		}
		if r.Stored, err = measureStored(ctx, s, conn, data, r.Samples, flush); err != nil {
			return nil, err
		}
		if err := r.ask(ctx, s, conn, first, &stage); err != nil {
			return nil, err
		}
		all = append(all, r)
		if total < o.Total {
			stage = stage.following()
		}
	}
	r := &amountReport{Samples: uint64(o.Total), Ingest: all[len(all)-1].Ingest, Sealed: true}
	if r.Stored, err = measureStored(ctx, s, conn, data, r.Samples, seal); err != nil {
		return nil, err
	}
	if err := r.ask(ctx, s, conn, first, &stage); err != nil {
		return nil, err
	}
	_, err = s.stop()
	return append(all, r), err
}

func (r *amountReport) ask(ctx context.Context, s *server, conn *grpc.ClientConn, first, now *options) (err error) {
	if r.Newest, err = measureHour(ctx, s, conn, now); err != nil {
		return err
	}
	if r.Oldest, err = measureHour(ctx, s, conn, first); err != nil {
		return err
	}
	if r.Latest, err = measureLatestOf(ctx, s, conn, now, now.Tags); err != nil {
		return err
	}
	used, err := s.usage()
	r.RSS = used.rss
	return err
}

// measureHour asks for the first hour of one tag, or what there is of it.
func measureHour(ctx context.Context, s *server, conn *grpc.ClientConn, o *options) (*queryReport, error) {
	samples := o.within(3600)
	ask := grpcDoor(conn, varvev1.QueryService_ReadRange_FullMethodName)
	question, tags := rangeOf(o, 1, samples)
	c := &comparer{o: o, tags: tags, last: samples}
	name := fmt.Sprintf("Q1 raw, tags=1, %s, gRPC", o.lasting(samples))
	if err := errors.Join(ask(ctx, question, c.visit), c.done()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return timeQuery(ctx, name, o.Repeat, int64(samples), s, func(ctx context.Context, visit visitor) error { return ask(ctx, question, visit) })
}

// measureLatestOf asks for the newest sample of the first tags, by id.
func measureLatestOf(ctx context.Context, s *server, conn *grpc.ClientConn, o *options, tags int) (*queryReport, error) {
	few := *o
	few.Tags = tags
	all, err := measureLatest(ctx, s, conn, &few)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// table writes a line a number of tags, and a line a stage.
func (r *growthReport) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Tags) > 0 {
		fmt.Fprintln(t, "\ntags\taccepted, M/s\tof the first\tserver CPU s/M\tothers, cores\tB/sample\tQ1, ms\tQ5, ms\tpeak RSS, MiB\tidle\tstart, s\tpeak RSS\tidle")
		for _, x := range r.Tags {
			fmt.Fprintf(t, "%d\t%.2f\t%.0f %%\t%.3f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\n", x.Tags, x.Ingest.AcceptedPerSecond/1e6, x.Rate*100,
				x.Ingest.ServerCPU, x.Ingest.OthersCores, x.Stored.BytesPerSample, x.Queries[0].Median, x.Queries[1].Median,
				mib(x.Ingest.ServerPeakRSS), mib(x.IdleRSS), x.StartSeconds, mib(x.StartedPeakRSS), mib(x.StartedIdleRSS))
		}
	}
	if len(r.Amount) > 0 {
		fmt.Fprintln(t, "\nsamples, M\taccepted, M/s\tserver CPU s/M\tothers, cores\tB/sample\tQ1 newest, ms\tQ1 oldest, ms\tQ5, ms\tserver CPU of these, ms\tgenerations\tseals\tRSS, MiB")
		for _, x := range r.Amount {
			note := ""
			if x.Sealed {
				note = ", sealed"
			}
			fmt.Fprintf(t, "%.0f%s\t%.2f\t%.3f\t%.2f\t%.3f\t%.2f\t%.2f\t%.2f\t%.2f, %.2f, %.2f\t%d\t%d\t%.0f\n", float64(x.Samples)/1e6, note, x.Ingest.AcceptedPerSecond/1e6,
				x.Ingest.ServerCPU, x.Ingest.OthersCores, x.Stored.BytesPerSample, x.Newest.Median, x.Oldest.Median, x.Latest.Median,
				x.Newest.ServerCPUSeconds*1000, x.Oldest.ServerCPUSeconds*1000, x.Latest.ServerCPUSeconds*1000, x.Stored.Generations, x.Stored.Seals, mib(x.RSS))
		}
	}
	return t.Flush()
}
