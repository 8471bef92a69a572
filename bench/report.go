package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// report is everything one run measured.
type report struct {
	Machine       machine        `json:"machine"`
	Workload      options        `json:"workload"`
	Samples       uint64         `json:"samples"`
	Ingest        *ingestReport  `json:"ingest,omitempty"`
	Stored        *storedReport  `json:"stored,omitempty"`
	Queries       []*queryReport `json:"queries,omitempty"`
	Sealed        *storedReport  `json:"sealed,omitempty"`
	SealedQueries []*queryReport `json:"sealed_queries,omitempty"`
	FirstQueries  []*queryReport `json:"first_queries,omitempty"` // each the first one of a server that has just started
	QueryPeakRSS  uint64         `json:"query_peak_rss_bytes,omitempty"`
	StopSeconds   float64        `json:"stop_seconds"`
	Restart       *restartReport `json:"restart,omitempty"`
}

// table writes the report for reading, one figure a line.
func (r *report) table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	o := &r.Workload
	line("machine", "%s, %d cores, %.0f GiB, Linux %s, %s", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryGiB, r.Machine.Kernel, r.Machine.Go)
	line("workload", "%s: %d tags, %.1f M samples, %s, %d %% late, %d connections, %d samples a batch, %d a run",
		o.Workload, o.Tags, float64(r.Samples)/1e6, o.Mode, o.LatePercent, o.Connections, o.BatchSamples, o.RunSamples)

	if i := r.Ingest; i != nil {
		line("accepted", "%.2f M samples/s", i.AcceptedPerSecond/1e6)
		line("applied", "%.2f M samples/s", i.AppliedPerSecond/1e6)
		line("server CPU", "%.3f s per million", i.ServerCPU)
		line("client CPU", "%.3f s per million", i.ClientCPU)
		line("other processes", "%.2f cores meanwhile", i.OthersCores)
		line("answer accepted after", "%.1f ms median, %.1f p95, %.1f p99, %.1f most", i.AckMilliseconds.P50, i.AckMilliseconds.P95, i.AckMilliseconds.P99, i.AckMilliseconds.Max)
		line("on the wire", "%.2f B/sample", i.WirePerSample)
		line("server RSS, peak", "%.0f MiB", mib(i.ServerPeakRSS))
	}

	stored := func(what string, s *storedReport) {
		line(what, "%.3f B/sample, without log and ballast, in %d generations and %d seals", s.BytesPerSample, s.Generations, s.Seals)
		for _, part := range slices.Sorted(maps.Keys(s.Status)) {
			line("  "+part, "%.3f B/sample, as the server says", float64(s.Status[part])/float64(r.Samples))
		}
		for _, part := range slices.Sorted(maps.Keys(s.Directory)) {
			line("  "+part, "%.3f B/sample, as the directory shows", float64(s.Directory[part])/float64(r.Samples))
		}
		line("  took", "%.2f s, %.4f s of CPU per million", s.Seconds, s.CPUSeconds/float64(r.Samples)*1e6)
		line("  written to disk so far", "%.2f B/sample, log and all", s.WrittenBytesPerSample)
	}
	queries := func(list []*queryReport) {
		for _, q := range list {
			line(q.Name, "%.2f ms (%.2f to %.2f, %d runs), %.1f M rows/s, CPU %.1f ms server, %.1f ms client",
				q.Median, q.Min, q.Max, q.Runs, q.RowsPerSecond/1e6, q.ServerCPUSeconds*1000, q.ClientCPUSeconds*1000)
		}
	}
	if r.Stored != nil {
		stored("stored", r.Stored)
	}
	queries(r.Queries)
	if r.Sealed != nil {
		stored("sealed", r.Sealed)
	}
	queries(r.SealedQueries)
	queries(r.FirstQueries)
	if r.QueryPeakRSS > 0 {
		line("server RSS, peak with queries", "%.0f MiB", mib(r.QueryPeakRSS))
	}
	line("stop on SIGTERM", "%.2f s", r.StopSeconds)

	if k := r.Restart; k != nil {
		line("killed with", "%.1f M samples accepted, peak RSS %.0f MiB", float64(k.AcceptedSamples)/1e6, mib(k.RunningPeakRSS))
		line("listening again", "%.2f s", k.ListeningSeconds)
		line("serving again", "%.2f s, CPU %.2f s, peak RSS %.0f MiB", k.ServingSeconds, k.RestartCPU, mib(k.RestartPeakRSS))
		line("read back", "%d tags, every accepted sample there, none altered", k.CheckedTags)
	}
	return t.Flush()
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
