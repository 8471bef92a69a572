package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/varvedb/varve/bench/plant"
)

// influx is InfluxDB 1.x, written to with its line protocol. It syncs its log before it acknowledges, as it does by default.
type influx struct {
	program string
	version string
	dir     string
	server  *daemon
	web     *web
}

func newInflux() (contestant, string) {
	program, missing := installed("influxdb", "influxd", "influxdb")
	if missing != "" {
		return nil, missing
	}
	return &influx{program: program, version: versionOf("influxdb", program, "version")}, ""
}

func (x *influx) describe() description {
	return description{
		Name: "influxdb", Version: x.version, exact: true, syncs: true,
		Durable: "yes: fsync of the log", Through: "line protocol; JSON",
		Bytes: "compacted shards and their index, without log and series file",
	}
}

// influxSettings differ from the defaults in where things lie, in no limits, and in how soon a shard that is written no more
// is compacted: a benchmark does not wait four hours.
const influxSettings = `reporting-disabled = true
bind-address = "127.0.0.1:%[2]d"
[meta]
  dir = "%[1]s/meta"
[data]
  dir = "%[1]s/data"
  wal-dir = "%[1]s/wal"
  index-version = "tsi1"
  cache-max-memory-size = "6g"
  cache-snapshot-memory-size = "100m"
  cache-snapshot-write-cold-duration = "5s"
  compact-full-write-cold-duration = "10s"
  query-log-enabled = false
  max-series-per-database = 0
  max-values-per-tag = 0
[coordinator]
  query-timeout = "600s"
  write-timeout = "60s"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:%[3]d"
  log-enabled = false
  max-row-limit = 0
  max-body-size = 0
`

func (x *influx) start(ctx context.Context, dir string) error {
	control, err := freePort()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	config := filepath.Join(dir, "influxdb.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, influxSettings, dir, control, port), 0o600); err != nil {
		return err
	}
	x.dir, x.web = dir, newWeb(port)
	p := exec.Command(x.program, "run", "-config", config)
	endWithUs(p)
	if x.server, err = startDaemon(p); err != nil {
		return err
	}
	if err := x.server.await(ctx, func() error { return x.web.get(ctx, "/ping", nil) }); err != nil {
		return err
	}
	create := url.Values{"q": {"CREATE DATABASE b WITH DURATION INF SHARD DURATION 7d"}}.Encode()
	return x.web.post(ctx, "/query?"+create, nil, nil)
}

func (x *influx) load(ctx context.Context, d *dataset) (*loadFigures, error) {
	return loadWriters(ctx, d, func(context.Context) (writer, error) { return &lineWriter{web: x.web}, nil })
}

// settle waits for the cold shards to be written out of the log, and then compacted.
func (x *influx) settle(ctx context.Context) error {
	for range 3 {
		if err := quiet(ctx, x.usage); err != nil {
			return err
		}
		for range 12 { // longer than a shard must be cold
			if err := pause(ctx); err != nil {
				return err
			}
		}
		log, err := directoryBytes(filepath.Join(x.dir, "wal"), nil)
		if err != nil {
			return err
		}
		if log < 1<<20 {
			break
		}
	}
	return quiet(ctx, x.usage)
}

// stored leaves out the file of series names, of which 4 MiB a partition are allocated ahead, and the log.
func (x *influx) stored() (uint64, error) {
	return directoryBytes(filepath.Join(x.dir, "data"), func(dir string) bool { return dir == "_series" })
}

func (x *influx) usage() (usage, error) { return usageOf(x.server.process.Process.Pid) }

func (x *influx) stop() error { return x.server.stop(syscall.SIGTERM) }

func (x *influx) ask(ctx context.Context, q *question) (answer, error) {
	where := `"tag" =~ /^(` + namesOf(q.tags, "|") + `)$/`
	if len(q.tags) == 1 {
		where = `"tag" = '` + plant.Name(q.tags[0]) + `'`
	}
	where += fmt.Sprintf(" AND time >= %dms AND time < %dms", q.from, q.to)
	v := url.Values{"db": {"b"}, "epoch": {"ms"}}
	switch q.kind {
	case rawSamples:
		v.Set("q", "SELECT v FROM pv WHERE "+where+` GROUP BY "tag"`)
		v.Set("chunked", "true")
		v.Set("chunk_size", "20000")
	case minuteAverages:
		v.Set("q", "SELECT mean(v) FROM pv WHERE "+where+` GROUP BY time(1m), "tag" fill(none)`)
	default:
		v.Set("q", `SELECT last(v) FROM pv GROUP BY "tag"`)
	}
	got := answer{}
	return got, x.web.get(ctx, "/query?"+v.Encode(), func(b []byte) error {
		return pairsOf(b, got, func(t []byte) (int64, error) { return strconv.ParseInt(string(t), 10, 64) })
	})
}

// lineWriter encodes the line protocol.
type lineWriter struct {
	web  *web
	body []byte
}

func (w *lineWriter) add(tag int, times []int64, values []float64) {
	name := plant.Name(tag)
	b := w.body
	for i, t := range times {
		b = append(append(append(b, "pv,tag="...), name...), " v="...)
		b = strconv.AppendFloat(b, values[i], 'g', -1, 64)
		b = append(strconv.AppendInt(append(b, ' '), t/millisecond, 10), '\n')
	}
	w.body = b
}

func (w *lineWriter) send(ctx context.Context) (int, error) {
	n := len(w.body)
	err := w.web.post(ctx, "/write?db=b&precision=ms", w.body, nil)
	w.body = w.body[:0]
	return n, err
}

func (w *lineWriter) close() error { return nil }
