package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// peersReport is everything a run beside other databases measured.
type peersReport struct {
	Machine   machine         `json:"machine"`
	Options   peersOptions    `json:"options"`
	Skipped   []string        `json:"skipped,omitempty"` // peers that did not run, and why
	Workloads []*besideReport `json:"workloads"`
}

// besideReport is one workload on every contestant. Answers were equal to what was sent, or there would be no report.
type besideReport struct {
	Workload    string              `json:"workload"`
	Tags        int                 `json:"tags"`
	Samples     int                 `json:"samples"`
	Notes       []string            `json:"notes,omitempty"`
	Questions   []string            `json:"questions"`
	Contestants []*contestantReport `json:"contestants"`
}

// contestantReport is one database under one workload.
type contestantReport struct {
	description
	Load             *loadFigures      `json:"load"`
	SamplesPerSecond float64           `json:"samples_per_second"`                     // to the last acknowledgement
	ServerCPU        float64           `json:"server_cpu_seconds_per_million"`         // until then
	SettledCPU       float64           `json:"server_cpu_seconds_per_million_settled"` // and until the store has its lasting form
	ClientCPU        float64           `json:"client_cpu_seconds_per_million"`
	BytesPerSample   float64           `json:"bytes_per_sample"`
	LoadPeakRSS      uint64            `json:"load_peak_rss_bytes"`
	PeakRSS          uint64            `json:"peak_rss_bytes"` // with the questions
	Medians          map[string]*turns `json:"questions"`
}

// figure is one row of the table: a number of each contestant, and which way is better.
type figure struct {
	name   string
	format string
	more   bool // more is better
	of     func(*contestantReport) (float64, bool)
}

func (r *besideReport) figures() []figure {
	always := func(f func(*contestantReport) float64) func(*contestantReport) (float64, bool) {
		return func(c *contestantReport) (float64, bool) { return f(c), true }
	}
	all := []figure{
		{"ingest, M samples/s", "%.2f", true, always(func(c *contestantReport) float64 { return c.SamplesPerSecond / 1e6 })},
		{"ingest, if durable when acknowledged", "%.2f", true, func(c *contestantReport) (float64, bool) { return c.SamplesPerSecond / 1e6, c.syncs }},
		{"server CPU, s/M", "%.3f", false, always(func(c *contestantReport) float64 { return c.ServerCPU })},
		{"server CPU until settled, s/M", "%.3f", false, always(func(c *contestantReport) float64 { return c.SettledCPU })},
		{"client CPU, s/M", "%.3f", false, always(func(c *contestantReport) float64 { return c.ClientCPU })},
		{"on the wire, B/sample", "%.2f", false, always(func(c *contestantReport) float64 { return float64(c.Load.WireBytes) / float64(r.Samples) })},
		{"stored, B/sample", "%.3f", false, always(func(c *contestantReport) float64 { return c.BytesPerSample })},
	}
	for _, q := range r.Questions {
		asked := func(f func(*turns) float64) func(*contestantReport) (float64, bool) {
			return func(c *contestantReport) (float64, bool) {
				t := c.Medians[q]
				if t == nil || f(t) == 0 {
					return 0, false
				}
				return f(t), true
			}
		}
		all = append(all, figure{q + ", ms", "%.2f", false, asked(func(t *turns) float64 { return t.Median })})
		if t := r.Contestants[0].Medians[q]; t != nil && t.CPU > 0 {
			all = append(all, figure{q + ", server CPU ms", "%.0f", false, asked(func(t *turns) float64 { return t.CPU })})
		}
	}
	return append(all,
		figure{"peak RSS of ingest, MiB", "%.0f", false, always(func(c *contestantReport) float64 { return mib(c.LoadPeakRSS) })},
		figure{"peak RSS with questions, MiB", "%.0f", false, always(func(c *contestantReport) float64 { return mib(c.PeakRSS) })})
}

// ratio is how many times better varve, the first contestant, is than the best of the others; below 1 it is worse.
func (f *figure) ratio(all []*contestantReport) (ratio float64, best string) {
	mine, ok := f.of(all[0])
	if !ok || mine == 0 {
		return 0, ""
	}
	var bestValue float64
	for _, c := range all[1:] {
		v, ok := f.of(c)
		if ok && v > 0 && (best == "" || f.more == (v > bestValue)) {
			best, bestValue = c.Name, v
		}
	}
	if best == "" {
		return 0, ""
	}
	if f.more {
		return mine / bestValue, best
	}
	return bestValue / mine, best
}

// table writes a table per workload: a column per database, and how many times better varve is than the best peer.
func (r *peersReport) table(out io.Writer) error {
	fmt.Fprintf(out, "machine: %s, %d cores, %.0f GiB, Linux %s, %s\n", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryGiB, r.Machine.Kernel, r.Machine.Go)
	for _, s := range r.Skipped {
		fmt.Fprintln(out, s)
	}
	for _, w := range r.Workloads {
		fmt.Fprintf(out, "\n%s: %d tags, %d samples; every answer equals what was sent\n", w.Workload, w.Tags, w.Samples)
		if err := w.table(out); err != nil {
			return err
		}
	}
	if len(r.Workloads) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "database\tversion\tdurable when acknowledged\tin; out\tstored bytes are")
	for _, c := range r.Workloads[0].Contestants {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Name, c.Version, c.Durable, c.Through, c.Bytes)
	}
	return t.Flush()
}

func (r *besideReport) table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var head strings.Builder
	for _, c := range r.Contestants {
		head.WriteString("\t" + c.Name)
	}
	fmt.Fprintf(t, "%s\tvarve against the best peer\n", head.String())
	for _, f := range r.figures() {
		fmt.Fprint(t, f.name)
		for _, c := range r.Contestants {
			if v, ok := f.of(c); ok {
				fmt.Fprintf(t, "\t"+f.format, v)
			} else {
				fmt.Fprint(t, "\t")
			}
		}
		if ratio, best := f.ratio(r.Contestants); best != "" {
			fmt.Fprintf(t, "\t%.2fx of %s", ratio, best)
		} else {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Contestants {
		for _, q := range r.Questions {
			if m := c.Medians[q]; m != nil && m.Rounded > 0 {
				fmt.Fprintf(out, "%s: %d of the %d values of %s differ from what was sent in their last digits\n", c.Name, m.Rounded, m.Rows, q)
			}
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, n)
	}
	return nil
}
