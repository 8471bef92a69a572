package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/spf13/cobra"
)

// isolateOptions are the settings of a run that looks at what statements do to ingest.
type isolateOptions struct {
	Tags       int           `json:"tags"`
	Rate       int           `json:"rate"` // samples a second
	Baseline   time.Duration `json:"baseline_ns"`
	For        time.Duration `json:"for_ns"` // of each bomb
	Rest       time.Duration `json:"rest_ns"`
	Clients    int           `json:"clients"`
	Bombs      []int         `json:"bombs,omitempty"`
	Kills      int           `json:"kills"`
	KillEvery  time.Duration `json:"kill_every_ns"`
	ServerArgs []string      `json:"server_args,omitempty"`
	Seed       uint64        `json:"seed"`
	Dir        string        `json:"-"`
	Output     string        `json:"-"`
	Binary     string        `json:"-"`
}

// isolateReport is ingest at a steady rate while statements do their worst.
type isolateReport struct {
	Machine  machine        `json:"machine"`
	Options  isolateOptions `json:"options"`
	Phases   []*phase       `json:"phases"` // the first and the last are without statements
	Kills    *killsReport   `json:"kills,omitempty"`
	Accepted uint64         `json:"accepted_samples"` // all of them were found in the store, as they were sent
	Bars     []bar          `json:"bars"`
}

// phase is some time of the load with a bomb.
type phase struct {
	Name    string      `json:"name"`
	Door    string      `json:"door,omitempty"`
	Seconds float64     `json:"seconds"`
	Batches int         `json:"batches"`
	Ack     percentiles `json:"ack_milliseconds"` // from when a batch was due to its being accepted
	P99     float64     `json:"p99_ratio"`        // to that of the first phase
	Peaks   peaks       `json:"peaks"`
	Server  float64     `json:"server_cores"`
	Child   float64     `json:"sql_process_cores"`
	Others  float64     `json:"others_cores"` // that processes took which are no part of this
	Blast   *blast      `json:"statements,omitempty"`
	// Recovered is from the end of the bombs to the first small statement that was answered.
	Recovered float64 `json:"recovered_ms,omitempty"`

	began, ended time.Time
}

// killsReport is the SQL process killed while a client asks.
type killsReport struct {
	Kills  int         `json:"kills"`
	Back   percentiles `json:"back_milliseconds"` // from a kill to the answer of a statement that was asked behind it
	Asked  int         `json:"statements"`
	Failed int         `json:"failed"`
}

func newIsolateCommand() *cobra.Command {
	var o isolateOptions
	cmd := &cobra.Command{
		Use:   "isolate",
		Short: "Measure ingest at a steady rate while statements take all they can get, and while their process is killed",
		Long: `Sends W1 at a steady rate, first alone, then while statements that never end, that need more memory or temporary space than there is, or whose
answers nobody reads are asked through every door, one kind after another and at last all at once; then while the SQL process is killed
again and again. At the end every accepted sample is read back and held against what was sent.`,
		Example: `  go run ./bench isolate --output json
  go run ./bench isolate --tags 1000 --rate 100000 --baseline 5s --for 3s --rest 1s --kills 3 --kill-every 2s
  go run ./bench isolate --bombs 6,12 --kills 0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureIsolate(cmd.Context(), &o, os.Stderr)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Tags, "tags", 10_000, "tags")
	f.IntVar(&o.Rate, "rate", 1_000_000, "samples a second of all tags together")
	f.DurationVar(&o.Baseline, "baseline", time.Minute, "how long ingest is looked at without statements, before and behind")
	f.DurationVar(&o.For, "for", 30*time.Second, "how long each bomb is thrown")
	f.DurationVar(&o.Rest, "rest", 5*time.Second, "pause between two of them")
	f.IntVar(&o.Clients, "clients", 2, "clients of each bomb")
	f.IntSliceVar(&o.Bombs, "bombs", nil, "which bombs, from 1 to "+strconv.Itoa(len(bombs)+1)+"; the default is all")
	f.IntVar(&o.Kills, "kills", 20, "how often the SQL process is killed")
	f.DurationVar(&o.KillEvery, "kill-every", 5*time.Second, "time between two kills, from half of it to one and a half")
	f.Uint64Var(&o.Seed, "seed", 1, "names the random times of kills")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "one more argument for varve serve; may be repeated")
	f.StringVar(&o.Dir, "dir", "", "directory for the store; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure, with varve-sql beside it; the default builds those of this tree")
	return cmd
}

func (o *isolateOptions) validate() error {
	switch {
	case o.Output != "table" && o.Output != "json":
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	case o.Tags < 2 || o.Rate < 1 || o.Clients < 1 || o.Kills < 0:
		return errors.New("--tags: must be at least 2; --rate and --clients at least 1; --kills not below 0")
	case o.Baseline < time.Second || o.For < time.Second || o.Rest < 0 || o.KillEvery < 100*time.Millisecond:
		return errors.New("--baseline and --for: must be at least 1s; --kill-every at least 100ms; --rest not below 0")
	}
	if float64(o.Rate)*o.Baseline.Seconds() < 100_000 {
		return fmt.Errorf("--rate %d, --baseline %s: must be 100,000 samples, or there are no batches to compare with", o.Rate, o.Baseline)
	}
	for _, n := range o.Bombs {
		if n < 1 || n > len(bombs)+1 {
			return fmt.Errorf("--bombs %d: must be from 1 to %d", n, len(bombs)+1)
		}
	}
	return nil
}

// thrown are the bombs of each phase.
func (o *isolateOptions) thrown() (all [][]bomb) {
	for i := range bombs {
		if o.Bombs == nil || slices.Contains(o.Bombs, i+1) {
			all = append(all, bombs[i:i+1])
		}
	}
	if o.Bombs == nil || slices.Contains(o.Bombs, len(bombs)+1) {
		all = append(all, bombs)
	}
	return all
}

// measureIsolate sends and throws. What it says while it goes is written to log.
func measureIsolate(ctx context.Context, o *isolateOptions, log io.Writer) (*isolateReport, error) {
	dir, err := workDir(&options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := withSQL(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	web, err := freePort()
	if err != nil {
		return nil, err
	}
	postgres, err := freePort()
	if err != nil {
		return nil, err
	}
	x := &isolation{o: o, log: log, temp: filepath.Join(dir, "store", "sql-temp")}
	args := append([]string{"--http-listen=127.0.0.1:" + strconv.Itoa(web), "--postgres=127.0.0.1:" + strconv.Itoa(postgres)}, o.ServerArgs...)
	if x.server, err = startServer(ctx, binary, filepath.Join(dir, "store"), args); err != nil {
		return nil, err
	}
	defer x.server.kill()
	x.open = func() (*doors, error) { return openDoors(x.server, web, postgres) }
	r := &isolateReport{Machine: describeMachine(), Options: *o}
	if err := x.measure(ctx, r); err != nil {
		return nil, fmt.Errorf("%w\nthe server said:\n%s", err, x.server.log)
	}
	_, err = x.server.stop()
	return r, err
}

// isolation is a server under load.
type isolation struct {
	o      *isolateOptions
	server *server
	load   *steadyLoad
	temp   string
	open   func() (*doors, error)
	log    io.Writer
}

func (x *isolation) measure(ctx context.Context, r *isolateReport) (err error) {
	if x.load, err = startSteadyLoad(ctx, x.server.address, x.o.Tags, x.o.Rate); err != nil {
		return err
	}
	defer x.load.load.close()
	quiet := func(ctx context.Context) (*blast, error) { return nil, wait(ctx, x.o.Baseline) }
	if err := x.rest(ctx); err != nil { // what starts is not what runs
		return err
	}
	if err := x.phase(ctx, r, &phase{Name: "no statement"}, quiet); err != nil {
		return err
	}
	for _, list := range x.o.thrown() {
		p := &phase{Name: list[0].name, Door: list[0].door}
		if len(list) > 1 {
			p.Name, p.Door = "all of these at once", "all"
		}
		if err := x.phase(ctx, r, p, func(ctx context.Context) (*blast, error) { return throw(ctx, x.open, list, x.o.Clients, x.o.For) }); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if p.Recovered, err = x.recover(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if err := x.rest(ctx); err != nil {
			return err
		}
	}
	if x.o.Kills > 0 {
		p := &phase{Name: "SQL process killed " + strconv.Itoa(x.o.Kills) + " times", Door: "flight-sql"}
		if err := x.phase(ctx, r, p, func(ctx context.Context) (_ *blast, err error) { r.Kills, err = x.kill(ctx); return nil, err }); err != nil {
			return err
		}
	}
	if err := x.phase(ctx, r, &phase{Name: "no statement again"}, quiet); err != nil {
		return err
	}
	if err := x.load.end(); err != nil {
		return err
	}
	r.Accepted = x.load.sent.Accepted
	r.judge(x.load)
	fmt.Fprintf(x.log, "%d accepted samples are read back\n", r.Accepted)
	conn, err := dial(x.server.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return x.load.check(ctx, conn)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (x *isolation) rest(ctx context.Context) error { return wait(ctx, x.o.Rest) }

// phase looks at the server while run runs.
func (x *isolation) phase(ctx context.Context, r *isolateReport, p *phase, run func(context.Context) (*blast, error)) error {
	fmt.Fprintln(x.log, p.Name)
	pid := x.server.process.Process.Pid
	before, err := x.server.usage()
	if err != nil {
		return err
	}
	child, others := sqlCPU(pid), othersOf(pid)
	w := watch(pid, x.temp)
	p.began = time.Now()
	p.Blast, err = run(ctx)
	p.ended = time.Now()
	p.Peaks = w.stop()
	if err != nil {
		return err
	}
	select {
	case <-x.load.ended:
		return fmt.Errorf("ingest ended: %s", x.load.sent.Error)
	default:
	}
	after, err := x.server.usage()
	if err != nil {
		return err
	}
	p.Seconds = p.ended.Sub(p.began).Seconds()
	p.Server, p.Child = (after.cpu-before.cpu)/p.Seconds, (sqlCPU(pid)-child)/p.Seconds
	p.Others = others() / p.Seconds
	r.Phases = append(r.Phases, p)
	return nil
}

// recover is how many milliseconds it takes until a small statement is answered.
func (x *isolation) recover(ctx context.Context) (float64, error) {
	d, err := x.open()
	if err != nil {
		return 0, err
	}
	defer d.close()
	began := time.Now()
	for {
		err := d.flight.ask(ctx, "select 1", func(arrow.Record) error { return nil })
		took := time.Since(began)
		if err == nil {
			return float64(took.Microseconds()) / 1000, nil
		}
		if took > time.Minute || ctx.Err() != nil {
			return 0, fmt.Errorf("no statement is answered within %s: %w", took, err)
		}
	}
}

// kill kills the SQL process again and again while a client asks.
func (x *isolation) kill(ctx context.Context) (*killsReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := x.open()
	if err != nil {
		return nil, err
	}
	defer d.close()
	r := &killsReport{}
	type answered struct{ asked, at time.Time }
	answers, over := make(chan answered, 1), make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			asked := time.Now()
			err := d.flight.ask(ctx, "select count(*) from samples where tag = 'T00000'", func(arrow.Record) error { return nil })
			r.Asked++
			if err != nil {
				r.Failed++
				continue
			}
			select {
			case answers <- answered{asked, time.Now()}:
			case <-ctx.Done():
			}
		}
	}()
	random := rand.New(rand.NewPCG(x.o.Seed, 0))
	var back []float64
	for r.Kills < x.o.Kills {
		next := time.After(time.Duration((0.5 + random.Float64()) * float64(x.o.KillEvery)))
		for waiting := true; waiting; {
			select {
			case <-answers:
			case <-next:
				waiting = false
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		pid := sqlProcess(x.server.process.Process.Pid)
		if pid == 0 {
			return nil, errors.New("there is no SQL process to kill")
		}
		killed := time.Now()
		process, err := os.FindProcess(pid)
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			return nil, fmt.Errorf("kill the SQL process: %w", err)
		}
		r.Kills++
		for {
			select {
			case a := <-answers:
				if a.asked.Before(killed) {
					continue
				}
				back = append(back, float64(a.at.Sub(killed).Microseconds())/1000)
			case <-time.After(time.Minute):
				return nil, fmt.Errorf("no statement is answered within a minute of kill %d", r.Kills)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			break
		}
	}
	cancel()
	<-over
	r.Failed-- // the one that was cancelled
	r.Back = percentilesOf(back)
	return r, nil
}

// judge fills in what batches of each phase took, and holds it against what it is meant to be.
func (r *isolateReport) judge(load *steadyLoad) {
	worst := 0.0
	for i, p := range r.Phases {
		took := load.between(p.began, p.ended)
		p.Batches, p.Ack = len(took), percentilesOf(took)
		p.P99 = p.Ack.P99 / r.Phases[0].Ack.P99
		if i > 0 && i < len(r.Phases)-1 {
			worst = max(worst, p.P99)
		}
	}
	r.Bars = append(r.Bars, atMost("p99 of accepted, worst phase over none", worst, 2, "times"))
	if r.Kills != nil {
		r.Bars = append(r.Bars, atMost("answers again after a kill, ms at most", r.Kills.Back.Max, 2000, "ms"))
	}
}

// table writes a line a phase.
func (r *isolateReport) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	fmt.Fprintf(out, "load: %d samples a second of %d tags, %d in all; every one of them was read back\n\n", r.Options.Rate, r.Options.Tags, r.Accepted)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "phase\tdoor\tbatches\taccepted p50, ms\tp99\tmost\tp99 over none\tserver, cores\tSQL process\tothers\tdeaths\tits RSS, MiB\tserver RSS\ttemporary, MiB\tanswered\tstopped\tfailed\tanswers again, ms")
	for _, p := range r.Phases {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%.0f\t%.0f\t%.0f", p.Name, p.Door, p.Batches, p.Ack.P50, p.Ack.P99, p.Ack.Max, p.P99,
			p.Server, p.Child, p.Others, p.Peaks.Deaths, mib(p.Peaks.Child), mib(p.Peaks.Server), mib(p.Peaks.Temp))
		if p.Blast != nil {
			var failed []string
			for why, n := range p.Blast.Failed {
				failed = append(failed, fmt.Sprintf("%d %s", n, why))
			}
			slices.Sort(failed)
			fmt.Fprintf(t, "\t%d\t%d\t%s\t%.0f", p.Blast.Answered, p.Blast.Stopped, strings.Join(failed, ", "), p.Recovered)
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t)
	if k := r.Kills; k != nil {
		fmt.Fprintf(t, "killed %d times\tanswers again after %.0f ms median, %.0f p95, %.0f most; %d of %d statements failed\n", k.Kills, k.Back.P50, k.Back.P95, k.Back.Max, k.Failed, k.Asked)
	}
	writeBars(t, r.Bars)
	return t.Flush()
}
