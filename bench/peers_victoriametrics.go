package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/url"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varvedb/varve/bench/plant"
)

// victoriaMetrics is the single-node server. It is written to with Prometheus' remote write and read with its export, the
// fastest ways that carry numbers; its own caches of answers are off.
type victoriaMetrics struct {
	program string
	version string
	dir     string
	server  *daemon
	web     *web
}

func newVictoriaMetrics() (contestant, string) {
	program, missing := installed("victoria-metrics", "victoria-metrics", "victoria-metrics")
	if missing != "" {
		return nil, missing
	}
	return &victoriaMetrics{program: program, version: versionOf("victoria-metrics", program, "-version")}, ""
}

func (v *victoriaMetrics) describe() description {
	return description{
		Name: "victoria-metrics", Version: v.version,
		Durable: "no: what is acknowledged lies in memory for some seconds",
		Through: "remote write (protobuf, snappy); export as JSON",
		Bytes:   "whole directory after a forced merge",
	}
}

func (v *victoriaMetrics) start(ctx context.Context, dir string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	v.dir, v.web = dir, newWeb(port)
	p := exec.Command(v.program,
		"-storageDataPath="+dir, "-retentionPeriod=100y", "-httpListenAddr=127.0.0.1:"+strconv.Itoa(port), "-loggerLevel=WARN",
		"-search.disableCache", "-search.latencyOffset=0s", "-search.maxUniqueTimeseries=1000000", "-search.maxSamplesPerSeries=1000000000",
		"-search.maxSamplesPerQuery=2000000000", "-search.maxQueryDuration=300s", "-search.maxQueryLen=1MB", "-search.maxPointsPerTimeseries=100000")
	endWithUs(p)
	if v.server, err = startDaemon(p); err != nil {
		return err
	}
	return v.server.await(ctx, func() error { return v.web.get(ctx, "/health", nil) })
}

func (v *victoriaMetrics) load(ctx context.Context, d *dataset) (*loadFigures, error) {
	return loadWriters(ctx, d, func(context.Context) (writer, error) { return &remoteWriter{web: v.web}, nil })
}

// settle makes samples searchable and merges the parts of every month into one.
func (v *victoriaMetrics) settle(ctx context.Context) error {
	if err := v.web.get(ctx, "/internal/force_flush", nil); err != nil {
		return err
	}
	if err := quiet(ctx, v.usage); err != nil {
		return err
	}
	if err := v.web.get(ctx, "/internal/force_merge", nil); err != nil {
		return err
	}
	return quiet(ctx, v.usage)
}

func (v *victoriaMetrics) stored() (uint64, error) {
	return directoryBytes(v.dir, nil)
}

func (v *victoriaMetrics) usage() (usage, error) { return usageOf(v.server.process.Process.Pid) }

func (v *victoriaMetrics) stop() error { return v.server.stop(syscall.SIGTERM) }

func (v *victoriaMetrics) ask(ctx context.Context, q *question) (answer, error) {
	got := answer{}
	matches := `pv{tag=~"` + namesOf(q.tags, "|") + `"}`
	if len(q.tags) == 1 {
		matches = `pv{tag="` + plant.Name(q.tags[0]) + `"}`
	}
	switch q.kind {
	case rawSamples:
		// The end of an export is part of it.
		path := query("/api/v1/export", "match[]", matches, "start", seconds(q.from), "end", seconds(q.to-1))
		return got, v.web.get(ctx, path, func(b []byte) error { return exportOf(b, got) })
	case minuteAverages:
		// A window is open at its start and closed at its end, so that a millisecond before the next minute it holds this one.
		path := query("/api/v1/query_range", "query", "avg_over_time("+matches+"[1m])", "start", seconds(q.from+59_999), "end", seconds(q.to+59_998), "step", "60s", "nocache", "1")
		return got, v.web.get(ctx, path, func(b []byte) error {
			return pairsOf(b, got, func(t []byte) (int64, error) { ms, err := secondsOf(t); return ms - 59_999, err })
		})
	}
	if len(q.tags) > 100 {
		matches = "pv" // all there are; a list of so many names is slower
	}
	over := func(function string, into answer) error {
		path := query("/api/v1/query", "query", fmt.Sprintf("%s(%s[%ds])", function, matches, int64(math.Ceil(q.lookback.Seconds()))), "time", seconds(q.to), "nocache", "1")
		return v.web.get(ctx, path, func(b []byte) error { return pairsOf(b, into, secondsOf) })
	}
	if err := over("last_over_time", got); err != nil || !q.checked {
		return got, err
	}
	times := answer{} // the times of the newest samples are another question here, which is not timed
	if err := over("tlast_over_time", times); err != nil {
		return nil, err
	}
	for tag, s := range got {
		for i := range s.times {
			if of := times.of(tag); i < len(of.values) {
				s.times[i] = int64(math.Round(of.values[i] * 1000))
			}
		}
	}
	return got, nil
}

func query(path string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return path + "?" + v.Encode()
}

func seconds(ms int64) string { return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64) }

func secondsOf(b []byte) (int64, error) {
	s, err := strconv.ParseFloat(string(b), 64)
	return int64(math.Round(s * 1000)), err
}

// exportOf reads lines {"metric":{…,"tag":"T00001"},"values":[…],"timestamps":[…]}. A tag may have several.
func exportOf(body []byte, into answer) error {
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		_, rest, ok := bytes.Cut(line, []byte(`"tag":"`))
		name, rest, closed := bytes.Cut(rest, []byte(`"`))
		if !ok || !closed {
			return fmt.Errorf("a line of the export has no tag: %.100q", line)
		}
		tag, err := tagOf(name)
		if err != nil {
			return err
		}
		_, rest, ok = bytes.Cut(rest, []byte(`"values":[`))
		values, rest, closed := bytes.Cut(rest, []byte("]"))
		_, rest, ok2 := bytes.Cut(rest, []byte(`"timestamps":[`))
		times, _, closed2 := bytes.Cut(rest, []byte("]"))
		if !ok || !closed || !ok2 || !closed2 {
			return fmt.Errorf("a line of the export is cut off: %.100q", line)
		}
		s := into.of(tag)
		for len(values) > 0 && len(times) > 0 {
			var value, when []byte
			value, values, _ = bytes.Cut(values, []byte(","))
			when, times, _ = bytes.Cut(times, []byte(","))
			f, err := strconv.ParseFloat(string(value), 64)
			if err != nil {
				return fmt.Errorf("value of %s: %w", name, err)
			}
			ms, err := strconv.ParseInt(string(when), 10, 64)
			if err != nil {
				return fmt.Errorf("time of %s: %w", name, err)
			}
			s.add(ms, f)
		}
		if len(values) != len(times) {
			return fmt.Errorf("%s has not as many times as values", name)
		}
	}
	return nil
}

// remoteWriter encodes Prometheus' remote write, version 1.
type remoteWriter struct {
	web          *web
	body, packed []byte
}

func (w *remoteWriter) add(tag int, times []int64, values []float64) {
	name := plant.Name(tag)
	label := func(b []byte, key, value string) []byte {
		b = append(b, 0x0a) // TimeSeries.labels
		b = protowire.AppendVarint(b, uint64(4+len(key)+len(value)))
		b = protowire.AppendString(append(b, 0x0a), key)
		return protowire.AppendString(append(b, 0x12), value)
	}
	size := 2 + 4 + len("__name__") + len("pv") + 2 + 4 + len("tag") + len(name)
	for _, t := range times {
		size += 2 + 9 + 1 + protowire.SizeVarint(uint64(t/millisecond))
	}
	b := append(w.body, 0x0a) // WriteRequest.timeseries
	b = protowire.AppendVarint(b, uint64(size))
	b = label(label(b, "__name__", "pv"), "tag", name)
	for i, t := range times {
		ms := uint64(t / millisecond)
		b = append(b, 0x12, byte(9+1+protowire.SizeVarint(ms)), 0x09) // TimeSeries.samples, its value
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(values[i]))
		b = protowire.AppendVarint(append(b, 0x10), ms)
	}
	w.body = b
}

func (w *remoteWriter) send(ctx context.Context) (int, error) {
	w.packed = s2.EncodeSnappy(w.packed[:cap(w.packed)], w.body)
	w.body = w.body[:0]
	return len(w.packed), w.web.post(ctx, "/api/v1/write", w.packed, map[string]string{
		"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0",
	})
}

func (w *remoteWriter) close() error { return nil }
