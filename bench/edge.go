package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// edgeOptions are the settings of a run that looks at how little memory an edge needs.
type edgeOptions struct {
	Tags       int           `json:"tags"`
	Every      time.Duration `json:"every_ns"`
	For        time.Duration `json:"for_ns"`
	Memory     string        `json:"memory"` // of varve serve
	Inside     bool          `json:"inside"` // varve serve --collect, in place of two processes
	Cut        time.Duration `json:"cut_ns,omitempty"`
	QueueBytes int64         `json:"queue_bytes,omitempty"` // 0 for the collector's default
	Full       string        `json:"full,omitempty"`        // what a full queue does
	Busy       int           `json:"busy,omitempty"`        // processes that do nothing but use the processor
	ServerArgs []string      `json:"server_args,omitempty"`
	Dir        string        `json:"-"`
	Output     string        `json:"-"`
	Binary     string        `json:"-"`
}

// edgeReport is a collector and a server beside each other at a steady rate.
type edgeReport struct {
	Machine   machine       `json:"machine"`
	Options   edgeOptions   `json:"options"`
	Seconds   float64       `json:"seconds"`
	Samples   uint64        `json:"samples"` // that the server has
	Processes []edgeProcess `json:"processes"`
	Phases    []edgePhase   `json:"phases,omitempty"` // of the collector, where its server is cut off
	Others    float64       `json:"others_cores"`
	Bars      []bar         `json:"bars"`
}

// edgeProcess is what a process held and used.
type edgeProcess struct {
	Name  string  `json:"name"`
	Peak  uint64  `json:"rss_peak_bytes"`
	Mean  float64 `json:"rss_mean_bytes"` // of looks once a second, the first minute's left out where there are more
	End   uint64  `json:"rss_end_bytes"`
	Cores float64 `json:"cores"`
	Disk  uint64  `json:"written_bytes"`
}

// edgeBytesMost is what a process of an edge may hold.
const edgeBytesMost = 100e6

func newEdgeCommand() *cobra.Command {
	var o edgeOptions
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Measure the memory of varve collect and of varve serve on an edge: a simulated plant at a steady rate",
		Long: `Runs varve serve with little memory and varve collect with a simulated plant beside it, and looks at both once a second. At the end the server has to
have every sample that the plant made.

With --cut the server then stands still for that long, is killed and away for that long, and the configuration is read anew, and the collector's memory is
shown of each of these phases and of those in which what waited is sent. With a queue that is too small for that, --queue-bytes and --full, samples are lost
and not counted.`,
		Example: `  go run ./bench edge
  go run ./bench edge --inside
  go run ./bench edge --for 30m --output json
  go run ./bench edge --for 1m --cut 2m --busy 4
  go run ./bench edge --for 1m --cut 2m --queue-bytes 8388608 --full thin`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureEdge(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Tags, "tags", 5_000, "tags")
	f.DurationVar(&o.Every, "every", time.Second, "time between two samples of a tag")
	f.DurationVar(&o.For, "for", 5*time.Minute, "how long")
	f.StringVar(&o.Memory, "memory", "32MiB", "--memory of varve serve")
	f.BoolVar(&o.Inside, "inside", false, "one process: varve serve --collect")
	f.DurationVar(&o.Cut, "cut", 0, "how long the server stands still, and is away; 0 for neither")
	f.Int64Var(&o.QueueBytes, "queue-bytes", 0, "bound of the collector's queue on disk; 0 means its default")
	f.StringVar(&o.Full, "full", "block", "what a full queue does: block, drop-oldest or thin")
	f.IntVar(&o.Busy, "busy", 0, "processes beside it that do nothing but use the processor")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "one more argument for varve serve; may be repeated")
	f.StringVar(&o.Dir, "dir", "", "directory for the store and the queue; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds that of this tree")
	return cmd
}

func (o *edgeOptions) validate() error {
	switch {
	case o.Output != "table" && o.Output != "json":
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	case o.Tags < 1 || o.Every < 10*time.Millisecond || o.For < 5*time.Second:
		return errors.New("--tags: must be at least 1; --every at least 10ms; --for at least 5s")
	case o.Inside && o.Cut > 0:
		return errors.New("--cut: a server with the collector inside cannot be cut off from it")
	case o.Cut < 0 || o.QueueBytes < 0 || o.Busy < 0:
		return errors.New("--cut, --queue-bytes, --busy: must not be negative")
	}
	return nil
}

func measureEdge(ctx context.Context, o *edgeOptions) (_ *edgeReport, err error) {
	dir, err := workDir(&options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	stopBusy, err := startBusy(o.Busy)
	if err != nil {
		return nil, err
	}
	defer stopBusy()
	args := append([]string{"--memory", o.Memory}, o.ServerArgs...)
	config := filepath.Join(dir, "collect.yaml")
	if o.Inside {
		if err := o.configure(config, dir, "self"); err != nil {
			return nil, err
		}
		args = append(args, "--collect", config)
	}
	s, err := startServer(ctx, binary, filepath.Join(dir, "store"), args)
	if err != nil {
		return nil, err
	}
	defer func() { s.kill() }() // it may be another one by then
	watched := []watchedProcess{{name: "varve serve", pid: s.process.Process.Pid}}
	stopCollector := func() error { return nil }
	if !o.Inside {
		if err := o.configure(config, dir, s.address); err != nil {
			return nil, err
		}
		var pid int
		if pid, stopCollector, err = startCollector(binary, config); err != nil {
			return nil, err
		}
		watched = append(watched, watchedProcess{name: "varve collect", pid: pid})
	}
	r := &edgeReport{Machine: describeMachine(), Options: *o}
	began := time.Now()
	err = r.watch(ctx, watched)
	if err == nil && o.Cut > 0 {
		c := edgeCuts{o: o, r: r, dir: dir, binary: binary, args: args, server: s, collector: watched[1].pid, began: began}
		err = c.run(ctx)
		s = c.server
	}
	if err != nil {
		return nil, errors.Join(err, stopCollector())
	}
	seconds := time.Since(began).Seconds()
	if err := stopCollector(); err != nil {
		return nil, err
	}
	if r.Samples, err = storedSamples(ctx, s); err != nil {
		return nil, err
	}
	if want := o.made(seconds); r.Samples < want && o.QueueBytes == 0 {
		return nil, fmt.Errorf("the server has %d samples, the plant made at least %d", r.Samples, want)
	}
	_, err = s.stop()
	return r, err
}

// configure writes the configuration of the collector.
func (o *edgeOptions) configure(path, dir, address string) error {
	return os.WriteFile(path, fmt.Appendf(nil, `collector: edge
destinations: [{address: %q}]
queue: {dir: %q%s}
health: {off: true}
sources:
  - name: plant
    type: simulator
    settings: {sensors: %d, every: %s}
`, address, filepath.Join(dir, "queue"), o.queueLimits(), o.Tags, o.Every), 0o600)
}

// queueLimits is what the configuration says of the queue beside where it is.
func (o *edgeOptions) queueLimits() string {
	if o.QueueBytes == 0 {
		return ""
	}
	return fmt.Sprintf(", max_bytes: %d, full: %s", o.QueueBytes, o.Full)
}

// startCollector starts varve collect. stop ends it and waits until it is gone.
func startCollector(binary, config string) (pid int, stop func() error, err error) {
	p := exec.Command(binary, "collect", "--config", config)
	said := &logTail{listening: make(chan string, 1)}
	p.Stderr = said
	endWithUs(p)
	if err := p.Start(); err != nil {
		return 0, nil, fmt.Errorf("start the collector: %w", err)
	}
	return p.Process.Pid, func() error {
		_ = p.Process.Signal(syscall.SIGTERM) // Wait says if it is gone already
		if err := p.Wait(); err != nil {
			return fmt.Errorf("the collector ended with %w\n%s", err, said)
		}
		return nil
	}, nil
}

type watchedProcess struct {
	name  string
	pid   int
	began usage
	sum   float64
	looks int
}

// watch looks at processes once a second.
func (r *edgeReport) watch(ctx context.Context, all []watchedProcess) (err error) {
	for i := range all {
		if all[i].began, err = usageOf(all[i].pid); err != nil {
			return err
		}
	}
	began, busy := time.Now(), machineBusySeconds()
	for second := 0; time.Since(began) < r.Options.For; second++ {
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
		for i := range all {
			u, err := usageOf(all[i].pid)
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			if second >= 60 || r.Options.For < 2*time.Minute {
				all[i].sum += float64(u.rss)
				all[i].looks++
			}
		}
	}
	r.Seconds = time.Since(began).Seconds()
	r.Others = (machineBusySeconds() - busy) / r.Seconds
	for _, w := range all {
		u, err := usageOf(w.pid)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		p := edgeProcess{Name: w.name, Peak: u.rssPeak, End: u.rss, Cores: (u.cpu - w.began.cpu) / r.Seconds, Disk: u.writeBytes - w.began.writeBytes}
		p.Mean = w.sum / float64(max(w.looks, 1))
		r.Others -= p.Cores
		r.Processes = append(r.Processes, p)
		r.Bars = append(r.Bars, atMost(w.name+", most RSS", float64(p.Peak)/1e6, edgeBytesMost/1e6, "MB"))
	}
	return nil
}

// made is how many samples the plant has made at least after some seconds: of each tag, one each step.
func (o *edgeOptions) made(seconds float64) uint64 {
	return uint64(o.Tags) * uint64(max(seconds/o.Every.Seconds()-2, 0))
}

func storedSamples(ctx context.Context, s *server) (uint64, error) {
	conn, err := dial(s.address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	status, err := varvev1.NewAdminServiceClient(conn).Status(ctx, &varvev1.StatusRequest{})
	return status.GetSamples(), err
}

func (r *edgeReport) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	fmt.Fprintf(out, "%d tags every %s for %.0f s, --memory %s; the server has %d samples; others took %.2f cores\n\n", r.Options.Tags, r.Options.Every, r.Seconds, r.Options.Memory, r.Samples, r.Others)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "process\tmost RSS, MB\tmean\tend\tcores\twritten, MB")
	for _, p := range r.Processes {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.3f\t%.1f\n", p.Name, float64(p.Peak)/1e6, p.Mean/1e6, float64(p.End)/1e6, p.Cores, float64(p.Disk)/1e6)
	}
	if len(r.Phases) > 0 {
		fmt.Fprintln(t, "\nvarve collect\tmost RSS, MB\tof it its own\tend\tseconds\tcores")
	}
	for _, p := range r.Phases {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.0f\t%.3f\n", p.Name, float64(p.Peak)/1e6, float64(p.Own)/1e6, float64(p.End)/1e6, p.Seconds, p.Cores)
	}
	fmt.Fprintln(t)
	writeBars(t, r.Bars)
	return t.Flush()
}
