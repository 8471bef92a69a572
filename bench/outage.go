package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/varvedb/varve/collector/simulator"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// outageOptions are the settings of a run in which a collector's server goes away.
type outageOptions struct {
	Tags       int           `json:"tags"` // each has a sample a second
	Before     time.Duration `json:"before_ns"`
	For        time.Duration `json:"for_ns"`
	QueueBytes int64         `json:"queue_bytes"` // bound of the queue on disk
	Dir        string        `json:"-"`
	Output     string        `json:"-"`
	Binary     string        `json:"-"`
}

// outageReport is a collector and its server before, in and after an outage of the server, which is killed.
type outageReport struct {
	Machine machine       `json:"machine"`
	Options outageOptions `json:"options"`

	Before outagePhase `json:"before"`
	Away   outagePhase `json:"away"` // until live samples are there again
	Drain  outagePhase `json:"drain"`

	// LiveAfter is from when the server listens again until samples of the last five seconds are there of every tag that is looked at.
	LiveAfter float64 `json:"live_after_seconds"`
	// Lag is how old the newest sample of a tag was, of a hundred tags ten times a second: before, and from LiveAfter on until the backlog was gone.
	LagBefore percentiles `json:"lag_before_milliseconds"`
	Lag       percentiles `json:"lag_milliseconds"`
	Backlog   float64     `json:"backlog_seconds"` // of samples, when they began to drain
	DrainRate float64     `json:"drain_rate"`      // seconds of samples a second, beside those that came meanwhile
	QueuePeak uint64      `json:"queue_peak_bytes"`
	Samples   uint64      `json:"samples"` // read back at the end, every one of them
}

// outagePhase is what both processes took in a phase.
type outagePhase struct {
	Seconds      float64 `json:"seconds"`
	CollectorCPU float64 `json:"collector_cpu_seconds"`
	ServerCPU    float64 `json:"server_cpu_seconds"`
	CollectorRSS uint64  `json:"collector_rss_peak_bytes"` // so far
	ServerRSS    uint64  `json:"server_rss_peak_bytes"`    // since it was started
}

func newOutageCommand() *cobra.Command {
	var o outageOptions
	cmd := &cobra.Command{
		Use:   "outage",
		Short: "Measure a collector whose server goes away for minutes and comes back",
		Long: `Starts a server and varve collect with a simulated plant whose tags have a sample a second each, kills the server, starts it again after a
while, and looks at how late live samples are while what waited is sent, how fast that goes, and what both processes take. At the end every
sample that the plant made is read back, of each tag all and in order, and held against the plant; a difference fails the run.`,
		Example: `  go run ./bench outage --output json
  go run ./bench outage --tags 10000 --for 30s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Tags < 1 || o.Tags > 100_000 || o.Before < 5*time.Second || o.For < 5*time.Second || o.Output != "table" && o.Output != "json" {
				return errors.New("--tags: must be 1 to 100,000; --before and --for at least 5s; --output table or json")
			}
			r, err := measureOutage(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Tags, "tags", 100_000, "tags, each with a sample a second")
	f.DurationVar(&o.Before, "before", 30*time.Second, "how long all is well before")
	f.DurationVar(&o.For, "for", 10*time.Minute, "how long the server is away")
	f.Int64Var(&o.QueueBytes, "queue-bytes", 6<<30, "bound of the queue on disk")
	f.StringVar(&o.Dir, "dir", "", "directory for store and queue; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds the one of this tree")
	return cmd
}

// outage is a run under way.
type outage struct {
	o       *outageOptions
	dir     string
	binary  string
	address string // of the server, the same after its restart
	server  *server
	conn    *grpc.ClientConn
	ask     door // for newest samples
	collect *collectProcess
	r       *outageReport
}

func measureOutage(ctx context.Context, o *outageOptions) (*outageReport, error) {
	dir, err := os.MkdirTemp(o.Dir, "varve-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	x := &outage{o: o, dir: dir, binary: binary, r: &outageReport{Machine: describeMachine(), Options: *o}}
	defer x.close()
	if err := x.run(ctx); err != nil {
		return nil, err
	}
	return x.r, nil
}

func (x *outage) close() {
	if x.collect != nil {
		x.collect.kill()
	}
	if x.server != nil {
		x.server.kill()
	}
	if x.conn != nil {
		_ = x.conn.Close() // nothing is under way
	}
}

func (x *outage) run(ctx context.Context) error {
	if err := x.startServer(ctx); err != nil {
		return err
	}
	began := time.Now()
	var err error
	if x.collect, err = x.startCollect(x.plantConfig()); err != nil {
		return err
	}
	if _, err := x.untilLive(ctx, 2*time.Minute); err != nil {
		return err
	}
	if err := x.before(ctx); err != nil {
		return err
	}
	if err := x.away(ctx); err != nil {
		return err
	}
	if err := x.drain(ctx); err != nil {
		return err
	}
	return x.readBack(ctx, began)
}

func (x *outage) startServer(ctx context.Context) (err error) {
	var args []string
	if x.address != "" {
		args = []string{"--listen", x.address}
	}
	if x.server, err = startServer(ctx, x.binary, filepath.Join(x.dir, "store"), args); err != nil {
		return err
	}
	x.address = x.server.address
	if x.conn == nil {
		if x.conn, err = dial(x.address); err != nil {
			return err
		}
		x.ask = grpcDoor(x.conn, varvev1.QueryService_Latest_FullMethodName)
	}
	return nil
}

// plantConfig is the configuration of the collector.
func (x *outage) plantConfig() string {
	return fmt.Sprintf("health: {every: 1s}\nsources:\n  - name: p\n    type: simulator\n    settings: {seed: 1, every: 1s, sensors: %d, keep: true}\n", x.o.Tags)
}

// nothingConfig has the same queue and reads nothing.
func (x *outage) nothingConfig() string {
	return fmt.Sprintf("health: {off: true}\nsources:\n  - name: none\n    type: file\n    settings: {path: '%s'}\n", filepath.Join(x.dir, "none*.csv"))
}

// collectProcess is varve collect in a process of its own.
type collectProcess struct {
	process *exec.Cmd
	log     *logTail
	ended   chan struct{}
	err     error
}

func (x *outage) startCollect(rest string) (*collectProcess, error) {
	config := filepath.Join(x.dir, "collect.yaml")
	text := fmt.Sprintf("collector: bench\ndestinations: [{address: '%s'}]\nqueue: {dir: '%s', max_bytes: %d}\n%s", x.address, x.spool(), x.o.QueueBytes, rest)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	c := &collectProcess{process: exec.Command(x.binary, "collect", "--config", config), log: &logTail{told: true}, ended: make(chan struct{})}
	c.process.Stderr = c.log
	endWithUs(c.process)
	if err := c.process.Start(); err != nil {
		return nil, fmt.Errorf("start the collector: %w", err)
	}
	go func() { c.err = c.process.Wait(); close(c.ended) }()
	return c, nil
}

func (x *outage) spool() string { return filepath.Join(x.dir, "spool") }

func (c *collectProcess) kill() {
	_ = c.process.Process.Kill() // it may be gone
	<-c.ended
}

func (c *collectProcess) stop() error {
	if err := c.process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the collector: %w\n%s", err, c.log)
	}
	select {
	case <-c.ended:
		if c.err != nil {
			return fmt.Errorf("stop the collector: %w\n%s", c.err, c.log)
		}
		return nil
	case <-time.After(time.Minute):
		c.kill()
		return errors.New("the collector did not end within a minute of SIGTERM")
	}
}

// fresh is how old the newest samples may be for a tag to be live.
const fresh = 5 * time.Second

// probes are the tags that are looked at.
func (x *outage) probes() (names []string) {
	n := min(100, x.o.Tags)
	for i := range n {
		names = append(names, sensorName(i*x.o.Tags/n))
	}
	return names
}

func sensorName(i int) string { return fmt.Sprintf("p.sensor/%d", i+1) }

// lags is how old the newest sample of each of some tags is, in milliseconds.
func (x *outage) lags(ctx context.Context, names []string) (lags []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// What was accepted counts as soon as a reader may see it.
	err = x.ask(ctx, &varvev1.LatestRequest{Tags: names}, func(rec arrow.Record) error {
		now := time.Now().UnixNano()
		times, err := column[*array.Timestamp](rec, "time")
		if err != nil {
			return err
		}
		for row := range int(rec.NumRows()) {
			lags = append(lags, float64(now-int64(times.Value(row)))/1e6)
		}
		return nil
	})
	if err == nil && len(lags) != len(names) {
		err = fmt.Errorf("%d of %d tags have a sample", len(lags), len(names))
	}
	return lags, err
}

// age is the health tag that says how old the oldest records are that wait for the server, and when it said so.
func (x *outage) age(ctx context.Context) (age time.Duration, at time.Time, err error) {
	err = errors.New("the collector says nothing of its queue")
	ask := x.ask(ctx, &varvev1.LatestRequest{Tags: []string{"bench.to.main.age_s"}}, func(rec arrow.Record) error {
		c, wrong := rawColumnsOf(rec)
		if wrong == nil && rec.NumRows() == 1 {
			age, at, err = time.Duration(c.values.Value(0)*float64(time.Second)), time.Unix(0, int64(c.times.Value(0))), nil
		}
		return wrong
	})
	return age, at, errors.Join(err, ask)
}

// untilLive waits until every probe is live, and says when.
func (x *outage) untilLive(ctx context.Context, most time.Duration) (time.Time, error) {
	names, began := x.probes(), time.Now()
	for {
		lags, err := x.lags(ctx, names)
		live := err == nil
		for _, l := range lags {
			live = live && l < float64(fresh.Milliseconds())
		}
		if live {
			return time.Now(), nil
		}
		if time.Since(began) > most || ctx.Err() != nil {
			return time.Time{}, fmt.Errorf("live samples do not come within %s: %w\n%s", most, errors.Join(err, ctx.Err()), x.collect.log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// watch calls until, ten times a second, with the lags of the probes, and looks at the queue on disk meanwhile.
func (x *outage) watch(ctx context.Context, until func() (bool, error)) (lags []float64, err error) {
	names, looked := x.probes(), time.Time{}
	for {
		if time.Since(looked) > time.Second {
			looked = time.Now()
			if err := x.lookAtQueue(); err != nil {
				return nil, err
			}
		}
		now, err := x.lags(ctx, names)
		if err != nil {
			return nil, fmt.Errorf("ask for the newest samples: %w", err)
		}
		lags = append(lags, now...)
		if done, err := until(); done || err != nil {
			return lags, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (x *outage) lookAtQueue() error {
	var n uint64
	err := filepath.WalkDir(filepath.Join(x.spool(), "queue"), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // segments go meanwhile
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += uint64(info.Size())
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	x.r.QueuePeak = max(x.r.QueuePeak, n)
	return err
}

// phase measures what both processes take while do runs. The server may be another one behind it.
func (x *outage) phase(p *outagePhase, do func() error) error {
	began := time.Now()
	collector, err := usageOf(x.collect.process.Process.Pid)
	if err != nil {
		return err
	}
	of := x.server
	server, err := of.usage()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	p.Seconds = time.Since(began).Seconds()
	after, err := usageOf(x.collect.process.Process.Pid)
	if err != nil {
		return err
	}
	p.CollectorCPU, p.CollectorRSS = after.cpu-collector.cpu, after.rssPeak
	if after, err = x.server.usage(); err != nil {
		return err
	}
	if p.ServerCPU, p.ServerRSS = after.cpu, after.rssPeak; x.server == of {
		p.ServerCPU -= server.cpu
	}
	return nil
}

func (x *outage) before(ctx context.Context) error {
	return x.phase(&x.r.Before, func() error {
		end := time.Now().Add(x.o.Before)
		lags, err := x.watch(ctx, func() (bool, error) { return time.Now().After(end), nil })
		x.r.LagBefore = percentilesOf(lags)
		return err
	})
}

// away kills the server, and starts it again.
func (x *outage) away(ctx context.Context) error {
	return x.phase(&x.r.Away, func() error {
		x.server.kill()
		began := time.Now()
		for time.Since(began) < x.o.For {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-x.collect.ended:
				return fmt.Errorf("the collector ended: %w\n%s", x.collect.err, x.collect.log)
			case <-time.After(time.Second):
			}
			if err := x.lookAtQueue(); err != nil {
				return err
			}
		}
		if err := x.startServer(ctx); err != nil {
			return fmt.Errorf("start the server again: %w", err)
		}
		listening := time.Now()
		live, err := x.untilLive(ctx, 2*time.Minute)
		if err != nil {
			return err
		}
		x.r.LiveAfter, x.r.Backlog = live.Sub(listening).Seconds(), live.Sub(began).Seconds()
		return nil
	})
}

// drain waits until the queue has nothing old any more.
func (x *outage) drain(ctx context.Context) error {
	return x.phase(&x.r.Drain, func() error {
		began := time.Now()
		var ended time.Time
		lags, err := x.watch(ctx, func() (bool, error) {
			age, at, err := x.age(ctx)
			if err == nil && age < 2*time.Second && at.After(began) {
				ended = at
				return true, nil
			}
			if time.Since(began) > max(10*x.o.For, 5*time.Minute) {
				return false, fmt.Errorf("what waited is not gone after %s: %w", time.Since(began), err)
			}
			return false, nil
		})
		if err != nil {
			return err
		}
		x.r.Lag, x.r.DrainRate = percentilesOf(lags), x.r.Backlog/ended.Sub(began).Seconds()
		return nil
	})
}

// readBack ends the plant, lets what waits be sent, and holds every sample to the plant.
func (x *outage) readBack(ctx context.Context, began time.Time) error {
	if err := x.collect.stop(); err != nil {
		return err
	}
	p := simulator.NewPlant(simulator.Settings{Seed: 1, Every: time.Second, Sensors: x.o.Tags})
	var last int64
	b, err := os.ReadFile(filepath.Join(x.spool(), "sources", "p", "step"))
	if err == nil {
		err = json.Unmarshal(b, &last)
	}
	if err != nil {
		return fmt.Errorf("read the last step of the plant: %w", err)
	}
	if x.collect, err = x.startCollect(x.nothingConfig()); err != nil {
		return err
	}
	if err := x.untilAll(ctx, p.Time(last)); err != nil {
		return err
	}
	first := p.StepAt(began.UnixNano()) + 1
	sums, from, err := x.stored(ctx, p, first, last)
	if err != nil {
		return err
	}
	// It may take the collector some seconds to start; from then on no step is missing.
	if from > first+10 {
		return fmt.Errorf("the first samples are of %s, the collector was started at %s", time.Unix(0, p.Time(from)), began)
	}
	x.r.Samples = uint64(last-from+1) * uint64(x.o.Tags)
	return x.compare(p, sums, from, last)
}

// untilAll waits until the probes have a sample of an instant.
func (x *outage) untilAll(ctx context.Context, at int64) error {
	names := x.probes()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		lags, err := x.lags(ctx, names)
		all, age := err == nil, float64(time.Now().UnixNano()-at)/1e6
		for _, l := range lags {
			all = all && l <= age+1
		}
		if all {
			return nil
		}
		if time.Since(began) > time.Minute {
			return errors.Join(fmt.Errorf("the last samples do not come\n%s", x.collect.log), err)
		}
	}
}

// tagSum is the samples of a tag, one behind the other.
type tagSum struct {
	steps int64
	hash  uint64
}

// fold adds a sample, its value as bits.
func (s *tagSum) fold(step int64, bits uint64) {
	s.steps++
	for _, v := range [2]uint64{uint64(step), bits} {
		s.hash = (s.hash ^ v) * 0x9E3779B97F4A7C15
		s.hash ^= s.hash >> 29
	}
}

// stored reads all samples of all tags and says of which step the first is. Steps of a tag must come one behind the other.
func (x *outage) stored(ctx context.Context, p *simulator.Plant, first, last int64) (sums []tagSum, from int64, err error) {
	read := grpcDoor(x.conn, varvev1.QueryService_ReadRange_FullMethodName)
	sums, from = make([]tagSum, x.o.Tags), -1
	const atOnce = 500
	for low := 0; low < x.o.Tags; low += atOnce {
		question := &varvev1.ReadRangeRequest{StartNs: proto.Int64(p.Time(first)), EndNs: proto.Int64(p.Time(last) + 1)}
		at := map[string]int{}
		for i := low; i < min(low+atOnce, x.o.Tags); i++ {
			at[sensorName(i)] = i
			question.Tags = append(question.Tags, sensorName(i))
		}
		err := read(ctx, question, func(rec arrow.Record) error {
			c, err := rawColumnsOf(rec)
			if err != nil {
				return err
			}
			for row := range int(rec.NumRows()) {
				name, t := c.tags.names.Value(c.tags.GetValueIndex(row)), int64(c.times.Value(row))
				s, step := &sums[at[name]], p.StepAt(t)
				if from < 0 {
					from = step
				}
				if step != from+s.steps || p.Time(step) != t || c.quality.Value(row) != 0 {
					return fmt.Errorf("%s: sample %d is of %s with quality %#x, must be of %s", name, s.steps, time.Unix(0, t), c.quality.Value(row), time.Unix(0, p.Time(from+s.steps)))
				}
				s.fold(step, math.Float64bits(c.values.Value(row)))
			}
			return nil
		})
		if err != nil {
			return nil, 0, fmt.Errorf("read samples back: %w", err)
		}
	}
	return sums, from, nil
}

// compare holds what was read to what the plant says.
func (x *outage) compare(p *simulator.Plant, got []tagSum, from, last int64) error {
	want := make([]tagSum, x.o.Tags)
	for step := from; step <= last; step++ {
		for i, r := range p.At(step) {
			want[i].fold(step, r.Value.Bits)
		}
	}
	for i := range want {
		if got[i] != want[i] {
			return fmt.Errorf("%s: %d samples are stored, the plant made %d; or they have other values (%#x, %#x)", sensorName(i), got[i].steps, want[i].steps, got[i].hash, want[i].hash)
		}
	}
	return nil
}

func (r *outageReport) table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	line("machine", "%s, %d cores, %.0f GiB, Linux %s, %s", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryGiB, r.Machine.Kernel, r.Machine.Go)
	line("plant", "%d tags at 1 Hz, server away for %s", r.Options.Tags, r.Options.For)
	lag := func(what string, p percentiles) {
		line(what, "%.0f ms median, %.0f p95, %.0f p99, %.0f most", p.P50, p.P95, p.P99, p.Max)
	}
	lag("live lag before", r.LagBefore)
	lag("live lag while draining", r.Lag)
	line("live again", "%.1f s after the server listened", r.LiveAfter)
	line("drained", "%.0f s of samples in %.1f s: %.1f times real time, beside what came meanwhile", r.Backlog, r.Backlog/r.DrainRate, r.DrainRate)
	line("queue on disk, peak", "%.0f MiB of %.0f MiB", mib(r.QueuePeak), mib(uint64(r.Options.QueueBytes)))
	for _, p := range []struct {
		name string
		of   *outagePhase
	}{{"before", &r.Before}, {"away", &r.Away}, {"draining", &r.Drain}} {
		line(p.name, "%.1f s; collector %.1f s of CPU (%.2f cores), %.0f MiB; server %.1f s (%.2f cores), %.0f MiB", p.of.Seconds,
			p.of.CollectorCPU, p.of.CollectorCPU/p.of.Seconds, mib(p.of.CollectorRSS), p.of.ServerCPU, p.of.ServerCPU/p.of.Seconds, mib(p.of.ServerRSS))
	}
	line("read back", "%d samples, each as the plant made it", r.Samples)
	bar := func(name string, held bool, figure string) {
		says := "held"
		if !held {
			says = "MISSED"
		}
		line("bar: "+name, "%s (%s)", says, figure)
	}
	bar("live lag p99 under 5 s while draining", r.Lag.P99 < 5000, fmt.Sprintf("%.1f s", r.Lag.P99/1000))
	bar("drains at five times real time", r.DrainRate >= 5, fmt.Sprintf("%.1f", r.DrainRate))
	bar("queue within its bound", r.QueuePeak <= uint64(r.Options.QueueBytes), fmt.Sprintf("%.0f MiB", mib(r.QueuePeak)))
	return t.Flush()
}
