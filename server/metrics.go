package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc/codes"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/storage"
)

// metrics is what operators see of a server. Names are part of the interface.
type metrics struct {
	registry *prometheus.Registry
	taken    atomic.Uint64 // what accepted counts

	batches, bytes, accepted, stored, ignored, panics, refused prometheus.Counter
	duplicates, handshakes, wrongLines, timeless               prometheus.Counter
	rejected                                                   *prometheus.CounterVec // by code
	calls                                                      *prometheus.CounterVec // by method and status
	rows                                                       *prometheus.CounterVec // by door
	duration                                                   *prometheus.HistogramVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.batches = counter("varve_ingest_batches_total", "Batches judged.")
	m.bytes = counter("varve_ingest_bytes_total", "Encoded bytes of batches judged.")
	m.accepted = counter("varve_ingest_samples_accepted_total", "Samples the door took.")
	m.stored = counter("varve_ingest_samples_applied_total", "Samples applied: stored, or equal to what was stored.")
	m.ignored = counter("varve_ingest_samples_ignored_total", "Samples of mode no_replace whose key was present.")
	m.duplicates = counter("varve_ingest_batches_duplicate_total", "Batches that were applied before.")
	m.panics = counter("varve_panics_total", "Panics met and survived.")
	m.refused = counter("varve_calls_refused_total", "Calls refused for want of authentication or scope.")
	m.handshakes = counter("varve_tls_handshakes_failed_total", "Connections that ended in the TLS handshake, probes of the port apart.")
	m.wrongLines = counter("varve_agent_lines_wrong_total", "Lines of the line protocol that could not be read.")
	m.timeless = counter("varve_agent_samples_without_time_total", "Samples of agents that had no time, and got that of their arrival.")
	m.rejected = vector("varve_ingest_samples_rejected_total", "Samples not taken, by code.", "code")
	m.calls = vector("varve_calls_total", "Calls ended, by method and status.", "method", "status")
	m.rows = vector("varve_query_rows_total", "Rows sent, by door.", "door")
	m.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "varve_query_seconds", Help: "Time to answer a question, by door.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 11),
	}, []string{"door"})
	m.registry.MustRegister(m.duration, &storeCollector{s}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// took counts a judged batch.
func (m *metrics) took(j *judge, size int) {
	m.batches.Inc()
	m.bytes.Add(float64(size))
	m.accepted.Add(float64(j.taken))
	m.taken.Add(uint64(j.taken))
	listed := uint64(0)
	for _, r := range j.rejections.list {
		m.rejected.WithLabelValues(r.Code.String()).Add(float64(r.Count))
		listed += uint64(r.Count)
	}
	if rest := j.rejections.count - min(listed, j.rejections.count); rest > 0 {
		m.rejected.WithLabelValues(varvev1.RejectCode_REJECT_CODE_UNSPECIFIED.String()).Add(float64(rest))
	}
}

// refusedRows counts the rows of an ingest that were rejected.
func (m *metrics) refusedRows(l *ingestRejected) {
	for _, r := range l.rows {
		m.rejected.WithLabelValues(r.code.String()).Inc()
	}
	if rest := l.count - uint64(len(l.rows)); rest > 0 {
		m.rejected.WithLabelValues(varvev1.RejectCode_REJECT_CODE_UNSPECIFIED.String()).Add(float64(rest))
	}
}

// applied counts what apply made of a batch.
func (m *metrics) applied(r *storage.Result) {
	m.stored.Add(float64(r.Applied))
	m.ignored.Add(float64(r.Ignored))
	if r.Duplicate {
		m.duplicates.Inc()
	}
	for _, f := range r.Failures {
		m.rejected.WithLabelValues(outcomeCodes[f.Outcome].String()).Add(float64(f.Count))
	}
}

// call counts a call once the function it returns says how it ended.
func (m *metrics) call(method string) func(codes.Code) {
	if _, ok := scopeOf[method]; !ok {
		method = "other" // not what a stranger writes
	}
	return m.ending(method)
}

// request counts an HTTP request by the path of its route, as call does.
func (m *metrics) request(path string) func(codes.Code) {
	if path == "" {
		path = "other"
	}
	return m.ending(path)
}

func (m *metrics) ending(method string) func(codes.Code) {
	return func(c codes.Code) { m.calls.WithLabelValues(method, c.String()).Inc() }
}

// answered counts an answered question.
func (m *metrics) answered(door string, rows uint64, took time.Duration) {
	m.rows.WithLabelValues(door).Add(float64(rows))
	m.duration.WithLabelValues(door).Observe(took.Seconds())
}

// storeCollector reads the state of the store when it is asked for.
type storeCollector struct{ s *Server }

// Describe is part of prometheus.Collector; describing nothing lets Collect decide.
func (c *storeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect is part of prometheus.Collector.
func (c *storeCollector) Collect(out chan<- prometheus.Metric) {
	st := c.s.db.Status()
	gauge := func(name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value, values...)
	}
	gauge("varve_log_accepted_offset", "Newest durable log record.", float64(st.Accepted))
	gauge("varve_log_applied_offset", "Newest record visible to reads.", float64(st.Applied))
	gauge("varve_log_archived_offset", "Newest record in a durable generation.", float64(st.Archived))
	gauge("varve_tags", "Tags.", float64(st.Tags))
	gauge("varve_samples", "Samples stored, a key once per generation.", float64(st.Samples))
	gauge("varve_head_samples", "Samples applied and not yet in a generation.", float64(st.HeadSamples))
	gauge("varve_generations", "Unsealed generations, over all partitions.", float64(st.Generations))
	gauge("varve_partitions", "Partitions.", float64(st.Partitions))
	gauge("varve_sources", "Batch identities kept.", float64(st.Sources))
	gauge("varve_subscriptions", "Subscriptions being served.", float64(c.s.subscriptions.open.Load()))
	gauge("varve_sessions", "Open ingest sessions.", float64(c.s.sessions.count()))
	gauge("varve_sessions_fenced", "Sessions ended by a newer one since the start.", float64(c.s.sessions.fenced.Load()))
	gauge("varve_query_memory_bytes", "Memory that running queries reserved.", float64(c.s.engine.MemoryTaken()))
	stopped := 0.0
	if st.IngestStopped {
		stopped = 1
	}
	gauge("varve_ingest_stopped", "1 while ingest is stopped.", stopped)
	const bytesHelp = "Bytes on disk, by part."
	gauge("varve_disk_bytes", bytesHelp, float64(st.Bytes.Log), "part", "log")
	gauge("varve_disk_bytes", bytesHelp, float64(st.Bytes.Samples), "part", "samples")
	gauge("varve_disk_bytes", bytesHelp, float64(st.Bytes.Versions), "part", "versions")
	gauge("varve_disk_bytes", bytesHelp, float64(st.Bytes.Catalog), "part", "catalog")
	gauge("varve_disk_bytes", bytesHelp, float64(st.Bytes.Other), "part", "other")
	gauge("varve_tier_bytes", "Bytes of sealed days moved to the tier.", float64(st.Bytes.Moved))
	gauge("varve_tier_objects", "Objects in the tier that hold them.", float64(st.Moved))
	if a, ok := c.s.sessions.alarm(); ok {
		st.Alarms = append(st.Alarms, a)
	}
	alarms := map[string]uint64{}
	for _, a := range st.Alarms {
		alarms[a.Name] += a.Count
	}
	for name, count := range alarms {
		gauge("varve_alarm", "Times an open alarm was raised, by name.", float64(count), "name", name)
	}
}

// probe answers 200, or 503 with what keeps calls from being taken.
func probe(ready func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if ready() != nil {
			http.Error(w, errDraining.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	}
}

// ServeMetrics answers GET /metrics, /healthz and /readyz on addr until ctx ends. ready gets the address it listens on.
func (s *Server) ServeMetrics(ctx context.Context, addr string, ready func(net.Addr)) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for metrics on %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", probe(func() error { return nil }))
	mux.HandleFunc("GET /readyz", probe(s.drain.Err))
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second}))
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	if ready != nil {
		ready(l.Addr())
	}
	defer context.AfterFunc(ctx, func() { _ = h.Close() })()
	if err := h.Serve(l); err != http.ErrServerClosed {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// residentBytes is the memory of this process that is in RAM; 0 where the system does not say.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
