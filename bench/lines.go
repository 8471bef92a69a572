package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// linesOptions are the settings of a run of the line protocol.
type linesOptions struct {
	Series      int      `json:"series"`
	Lines       int      `json:"lines"`
	Together    []int    `json:"samples_of_a_series_in_a_body"`
	BodyLines   int      `json:"body_lines"`
	Connections int      `json:"connections"`
	Encodings   []string `json:"encodings"`
	Peers       bool     `json:"peers"`
	Repeat      int      `json:"repeat"`
	Dir         string   `json:"-"`
	Output      string   `json:"-"`
	Binary      string   `json:"-"`
	ServerArgs  []string `json:"server_args,omitempty"`
	Profile     string   `json:"-"`
}

// allLineEncodings are how bodies may travel.
var allLineEncodings = []string{"plain", "gzip"}

func newLinesCommand() *cobra.Command {
	var o linesOptions
	cmd := &cobra.Command{
		Use:   "lines",
		Short: "Measure lines of agents over HTTP, to the answer, beside VictoriaMetrics",
		Long: `Sends lines of the line protocol over several connections, each with series of its own, to an empty store: first a round in which every series is
new, then the others, which are timed. Each body waits for the answer to the one before it on its connection. At the end all samples are
counted, and those of fifty series are held against what was sent.`,
		Example: `  go run ./bench lines --output json
  go run ./bench lines --together 1 --encodings plain --peers=false`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measureLines(cmd.Context(), &o, os.Stderr)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Series, "series", 100_000, "series")
	f.IntVar(&o.Lines, "lines", 10_000_000, "lines that are timed; rounded down to whole rounds of all series")
	f.IntSliceVar(&o.Together, "together", []int{1, 10}, "samples of a series that a body has; each is a run on stores of its own")
	f.IntVar(&o.BodyLines, "body-lines", 10_000, "lines of a body, at most")
	f.IntVar(&o.Connections, "connections", 10, "connections, each with its share of the series")
	f.StringSliceVar(&o.Encodings, "encodings", allLineEncodings, "of plain, gzip; each is a run")
	f.BoolVar(&o.Peers, "peers", true, "measure VictoriaMetrics too, if it is installed")
	f.IntVar(&o.Repeat, "repeat", 1, "runs of each, the databases in turn; the median run is told")
	f.StringVar(&o.Dir, "dir", "", "directory for the stores; the default is a temporary one")
	f.StringVar(&o.Output, "output", "table", "table, or json: JSON on standard output and the table on standard error")
	f.StringVar(&o.Binary, "binary", "", "varve program to measure; the default builds the one of this tree")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "one more argument for varve serve; may be repeated")
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile of varve during the timed lines to this file, the last run's; needs --server-arg with its --pprof-listen")
	return cmd
}

func (o *linesOptions) validate() error {
	if o.Output != "table" && o.Output != "json" {
		return fmt.Errorf("--output %q: must be table or json", o.Output)
	}
	for _, e := range o.Encodings {
		if !slices.Contains(allLineEncodings, e) {
			return fmt.Errorf("--encodings %q: must be of %s", e, strings.Join(allLineEncodings, ", "))
		}
	}
	if o.Connections < 1 || o.Series < max(2, o.Connections) || o.BodyLines < 1 || o.Repeat < 1 || o.Lines < o.Series {
		return errors.New("--connections, --body-lines, --repeat: must be at least 1; --series at least 2 and as many as connections; --lines at least as many as series")
	}
	for _, n := range o.Together {
		if n < 1 || n > o.BodyLines {
			return fmt.Errorf("--together %d: must be from 1 to --body-lines %d", n, o.BodyLines)
		}
	}
	return nil
}

// linesReport is every run. What was stored was what was sent, or there would be no report.
type linesReport struct {
	Machine machine      `json:"machine"`
	Options linesOptions `json:"options"`
	Skipped string       `json:"skipped,omitempty"`
	Runs    []*linesRun  `json:"runs"`
}

// linesRun is the timed lines of one shape, in one encoding, to one database.
type linesRun struct {
	description
	Together       int     `json:"samples_of_a_series_in_a_body"`
	Encoding       string  `json:"encoding"`
	Lines          int     `json:"lines"`
	Bodies         int     `json:"bodies"`
	PerSecond      float64 `json:"lines_per_second"`                       // until the last body is answered
	NewPerSecond   float64 `json:"new_series_per_second"`                  // of the round before, in which every series is new
	ServerCPU      float64 `json:"server_cpu_seconds_per_million"`         // until the last body is answered
	SettledCPU     float64 `json:"server_cpu_seconds_per_million_settled"` // of all lines, until the store has its lasting form
	ClientCPU      float64 `json:"client_cpu_seconds_per_million"`         // bodies are made before
	OthersCores    float64 `json:"others_cores"`
	WirePerLine    float64 `json:"wire_bytes_per_line"`
	StoredPerLine  float64 `json:"stored_bytes_per_line"`
	WrittenPerLine float64 `json:"written_bytes_per_line"` // handed to the disk until then, log and all
	PeakRSS        uint64  `json:"peak_rss_bytes"`
	Note           string  `json:"note,omitempty"`
}

// measureLines runs every shape in every encoding. What it says while it goes is written to log.
func measureLines(ctx context.Context, o *linesOptions, log io.Writer) (*linesReport, error) {
	dir, err := workDir(&options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := build(ctx, o.Binary, dir)
	if err != nil {
		return nil, err
	}
	r := &linesReport{Machine: describeMachine(), Options: *o}
	stores := []func() lineStore{func() lineStore { return &varveLines{varve: varve{binary: binary}, args: o.ServerArgs} }}
	if o.Peers {
		if _, r.Skipped = newVictoriaMetrics(); r.Skipped == "" {
			stores = append(stores, func() lineStore {
				c, _ := newVictoriaMetrics()
				return victoriaLines{c.(*victoriaMetrics)}
			})
		}
	}
	for _, together := range o.Together {
		for _, encoding := range o.Encodings {
			p := &linePlan{series: o.Series, rounds: 1 + o.Lines/o.Series, connections: o.Connections, together: together, bodyLines: o.BodyLines}
			warm, timed, err := lineBodies(p, encoding)
			if err != nil {
				return nil, err
			}
			runs := make([][]*linesRun, len(stores))
			for range o.Repeat {
				for i, open := range stores {
					run := &linesRun{Together: together, Encoding: encoding}
					data := filepath.Join(dir, "store")
					if err := run.measure(ctx, open(), data, p, warm, timed, o); err != nil {
						return nil, fmt.Errorf("%s, %d together, %s: %w", run.Name, together, encoding, err)
					}
					if err := os.RemoveAll(data); err != nil {
						return nil, err
					}
					fmt.Fprintf(log, "%s, %d together, %s: %.2f M lines/s\n", run.Name, together, encoding, run.PerSecond/1e6)
					runs[i] = append(runs[i], run)
				}
			}
			for _, of := range runs {
				slices.SortFunc(of, func(a, b *linesRun) int { return int(a.PerSecond - b.PerSecond) })
				r.Runs = append(r.Runs, of[len(of)/2])
			}
		}
	}
	return r, nil
}

// lineBodies makes the bodies of every connection: those of the first round, and the others.
func lineBodies(p *linePlan, encoding string) (warm, timed [][][]byte, err error) {
	for c := range p.connections {
		warm, timed = append(warm, p.bodies(c, 0, 1)), append(timed, p.bodies(c, 1, p.rounds))
		if encoding == "gzip" {
			if err := errors.Join(pack(warm[c]), pack(timed[c])); err != nil {
				return nil, nil, err
			}
		}
	}
	return warm, timed, nil
}

func (run *linesRun) measure(ctx context.Context, s lineStore, data string, p *linePlan, warm, timed [][][]byte, o *linesOptions) error {
	run.description = s.describe()
	defer s.stop()
	if err := s.start(ctx, data); err != nil {
		return err
	}
	began := time.Now()
	if err := postAll(ctx, s.base(), warm, run.Encoding); err != nil {
		return err
	}
	run.NewPerSecond = float64(p.series) / time.Since(began).Seconds()
	before, err := s.usage()
	if err != nil {
		return err
	}
	profiled := make(chan error, 1)
	if _, ours := s.(*varveLines); ours && o.Profile != "" {
		go func() {
			profiled <- fetchProfile(ctx, &options{ServerArgs: o.ServerArgs}, o.Profile, max(2, o.Lines/1_000_000))
		}()
	} else {
		profiled <- nil
	}
	busy, client := machineBusySeconds(), 0.0
	if client, err = cpuSeconds("self"); err != nil {
		return err
	}
	began = time.Now()
	if err := postAll(ctx, s.base(), timed, run.Encoding); err != nil {
		return err
	}
	wall := time.Since(began).Seconds()
	clientEnd, err := cpuSeconds("self")
	if err != nil {
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	busy, client = machineBusySeconds()-busy, clientEnd-client
	if err := <-profiled; err != nil {
		return err
	}
	run.Lines = (p.rounds - 1) * p.series
	millions := float64(run.Lines) / 1e6
	run.PerSecond = float64(run.Lines) / wall
	run.ServerCPU, run.ClientCPU = (after.cpu-before.cpu)/millions, client/millions
	run.OthersCores = max(0, busy-(after.cpu-before.cpu)-client) / wall
	wire := 0
	for _, bodies := range timed {
		run.Bodies += len(bodies)
		for _, b := range bodies {
			wire += len(b)
		}
	}
	run.WirePerLine = float64(wire) / float64(run.Lines)
	samples := p.rounds * p.series
	stored, err := s.settle(ctx, samples)
	if err != nil {
		return err
	}
	if s, ok := s.(interface{ remark() string }); ok {
		run.Note = s.remark()
	}
	settled, err := s.usage()
	if err != nil {
		return err
	}
	run.StoredPerLine = float64(stored) / float64(samples)
	run.SettledCPU = settled.cpu / float64(samples) * 1e6
	run.WrittenPerLine = float64(settled.writeBytes) / float64(samples)
	run.PeakRSS = settled.rssPeak
	if err := checkLines(ctx, s, p); err != nil {
		return err
	}
	return s.stop()
}

// postAll sends the bodies of each connection, one after the other.
func postAll(ctx context.Context, base string, bodies [][][]byte, encoding string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(bodies))
	var wait sync.WaitGroup
	for i, of := range bodies {
		wait.Go(func() {
			transport := &http.Transport{DisableCompression: true, WriteBufferSize: 256 << 10}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for _, body := range of {
				if errs[i] = postLines(ctx, client, base, body, encoding); errs[i] != nil {
					cancel()
					return
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// postLines sends one body and waits for the answer.
func postLines(ctx context.Context, client *http.Client, base string, body []byte, encoding string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/write", bytes.NewReader(body))
	if err != nil {
		return err
	}
	if encoding == "gzip" {
		request.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1000))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("POST /write: %s: %s", answer.Status, said)
	}
	return nil
}

// table writes a line a run.
func (r *linesReport) table(out io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	fmt.Fprintf(out, "%d series, bodies of up to %d lines, %d connections; what is stored is what was sent\n", r.Options.Series, r.Options.BodyLines, r.Options.Connections)
	if r.Skipped != "" {
		fmt.Fprintln(out, r.Skipped)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\ndatabase\tof a series in a body\tencoding\tM lines/s\tserver CPU, s/M\tuntil settled\tclient CPU, s/M\tothers, cores\ton the wire, B\tstored, B\twritten, B\tpeak RSS, MiB\tnew series, M/s")
	for _, run := range r.Runs {
		fmt.Fprintf(t, "%s\t%d\t%s\t%.2f\t%.3f\t%.3f\t%.3f\t%.2f\t%.1f\t%.3f\t%.1f\t%.0f\t%.2f\n", run.Name, run.Together, run.Encoding, run.PerSecond/1e6, run.ServerCPU,
			run.SettledCPU, run.ClientCPU, run.OthersCores, run.WirePerLine, run.StoredPerLine, run.WrittenPerLine, mib(run.PeakRSS), run.NewPerSecond/1e6)
	}
	for _, run := range r.Runs {
		if run.Note != "" {
			fmt.Fprintf(t, "\n%d together, %s: %s\n", run.Together, run.Encoding, run.Note)
		}
	}
	fmt.Fprintln(t, "\ndatabase\tversion\tdurable when answered\tstored bytes are")
	var told []string
	for _, run := range r.Runs {
		if !slices.Contains(told, run.Name) {
			told = append(told, run.Name)
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", run.Name, run.Version, run.Durable, run.Bytes)
		}
	}
	return t.Flush()
}
