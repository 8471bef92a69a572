package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// postgres is a cluster of its own, never the machine's: a plain table of tag, time and value, loaded with binary COPY, one
// transaction a batch, and indexed by tag and time once it is loaded, which costs less than while.
type postgres struct {
	initdb, program string
	version         string
	port            int
	server          *daemon
	link            *pgLink
	bytes           uint64

	over    chan struct{} // closed when watching ends
	watched sync.WaitGroup
	mu      sync.Mutex // guards peak
	peak    uint64
}

func newPostgres() (contestant, string) {
	const place = "/usr/lib/postgresql/*/bin"
	initdb, missing := installed("postgres", "initdb", "postgresql", place)
	if missing != "" {
		return nil, missing
	}
	program, missing := installed("postgres", "postgres", "postgresql", place)
	if missing != "" {
		return nil, missing
	}
	return &postgres{initdb: initdb, program: program, version: versionOf("postgresql", program, "--version")}, ""
}

func (p *postgres) describe() description {
	return description{
		Name: "postgres", Version: p.version, exact: true, syncs: true,
		Durable: "yes: fsync at commit, a batch each", Through: "binary COPY in and out",
		Bytes: "table and index on tag and time, without log",
	}
}

// asUser prepares a program that does not run as root, since PostgreSQL refuses to.
func (p *postgres) asUser(program string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	endWithUs(cmd)
	if os.Getuid() != 0 {
		return cmd, nil
	}
	uid, gid, err := nobody()
	if err != nil {
		return nil, fmt.Errorf("find a user for PostgreSQL: %w", err)
	}
	return cmd, runAs(cmd, uid, gid)
}

func (p *postgres) start(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	initdb, err := p.asUser(p.initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	if err != nil {
		return err
	}
	if os.Getuid() == 0 {
		uid, gid, err := nobody()
		if err != nil {
			return err
		}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return err
		}
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("make a cluster: %w\n%s\nthe user it runs as must reach %s; see --dir", err, out, dir)
	}
	if p.port, err = freePort(); err != nil {
		return err
	}
	server, err := p.asUser(p.program, "-D", data, "-p", strconv.Itoa(p.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB", "-c", "maintenance_work_mem=512MB")
	if err != nil {
		return err
	}
	if p.server, err = startDaemon(server); err != nil {
		return err
	}
	err = p.server.await(ctx, func() (err error) { p.link, err = dialPostgres(ctx, p.port); return err })
	if err != nil {
		return err
	}
	p.over = make(chan struct{})
	p.watched.Go(p.watch)
	return p.link.run("CREATE TABLE t (id int4 PRIMARY KEY); CREATE TABLE s (tag int4 NOT NULL, ts int8 NOT NULL, v float8 NOT NULL)")
}

func (p *postgres) load(ctx context.Context, d *dataset) (*loadFigures, error) {
	if err := p.link.run(fmt.Sprintf("INSERT INTO t SELECT generate_series(0, %d)", d.tags-1)); err != nil {
		return nil, err
	}
	return loadWriters(ctx, d, func(ctx context.Context) (writer, error) {
		link, err := dialPostgres(ctx, p.port)
		if err != nil {
			return nil, err
		}
		return newCopyWriter(link), nil
	})
}

func (p *postgres) settle(ctx context.Context) error {
	for _, sql := range []string{"CREATE INDEX ON s (tag, ts)", "VACUUM ANALYZE s", "VACUUM ANALYZE t", "CHECKPOINT"} {
		if err := p.link.run(sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	var size int64
	err := p.link.copyOut("SELECT pg_total_relation_size('s')", func(fields [][]byte) error {
		size = int64(binary.BigEndian.Uint64(fields[0]))
		return nil
	})
	p.bytes = uint64(size)
	return err
}

func (p *postgres) stored() (uint64, error) { return p.bytes, nil }

// stop asks for a fast shutdown: SIGTERM would wait for sessions to end by themselves.
func (p *postgres) stop() error {
	if p.over != nil {
		close(p.over)
		p.watched.Wait()
		p.over = nil
	}
	if p.link != nil {
		p.link.close()
	}
	return p.server.stop(syscall.SIGINT)
}

func (p *postgres) ask(_ context.Context, q *question) (answer, error) {
	var tags strings.Builder
	for i, tag := range q.tags {
		if i > 0 {
			tags.WriteByte(',')
		}
		tags.WriteString(strconv.Itoa(tag))
	}
	where := fmt.Sprintf("tag = ANY('{%s}') AND ts >= %d AND ts < %d", tags.String(), q.from, q.to)
	var sql string
	switch q.kind {
	case rawSamples:
		sql = "SELECT tag, ts, v FROM s WHERE " + where + " ORDER BY tag, ts"
	case minuteAverages:
		sql = "SELECT tag, ts / 60000 * 60000, avg(v) FROM s WHERE " + where + " GROUP BY 1, 2 ORDER BY 1, 2"
	default:
		sql = "SELECT t.id, x.ts, x.v FROM t, LATERAL (SELECT ts, v FROM s WHERE tag = t.id ORDER BY ts DESC LIMIT 1) x"
	}
	got := answer{}
	var tag int
	var s *series
	return got, p.link.copyOut(sql, func(f [][]byte) error {
		if len(f) != 3 || len(f[0]) != 4 || len(f[1]) != 8 || len(f[2]) != 8 {
			return fmt.Errorf("a row of %d fields, or of other types", len(f))
		}
		if at := int(int32(binary.BigEndian.Uint32(f[0]))); s == nil || at != tag {
			tag, s = at, got.of(at)
		}
		s.add(int64(binary.BigEndian.Uint64(f[1])), math.Float64frombits(binary.BigEndian.Uint64(f[2])))
		return nil
	})
}

// usage is that of all processes of the cluster, those included that are over.
func (p *postgres) usage() (usage, error) {
	pid := p.server.process.Process.Pid
	family, err := familyOf(pid)
	if err != nil {
		return usage{}, err
	}
	u := usage{}
	for _, f := range family {
		u.cpu += f.cpu
		if f.pid == pid {
			u.cpu += f.reaped
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u.rssPeak = p.peak
	return u, nil
}

// watch keeps the most memory that the cluster had at a time, looking four times a second: what each process has of its own,
// and what they share once.
func (p *postgres) watch() {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var own, shared uint64
		family, _ := familyOf(p.server.process.Process.Pid)
		for _, f := range family {
			status, err := procFields("/proc/" + strconv.Itoa(f.pid) + "/status")
			if err != nil {
				continue // it is over
			}
			own += status["RssAnon"] << 10
			shared = max(shared, (status["RssShmem"]+status["RssFile"])<<10)
		}
		p.mu.Lock()
		p.peak = max(p.peak, own+shared)
		p.mu.Unlock()
		select {
		case <-p.over:
			return
		case <-tick.C:
		}
	}
}

// member is one process of a family: a parent and its children.
type member struct {
	pid         int
	cpu, reaped float64 // seconds: its own, and those of its children that are over
}

func familyOf(parent int) ([]member, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var family []member
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it is over
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) < 15 || pid != parent && fields[1] != strconv.Itoa(parent) {
			continue
		}
		var ticks [4]float64
		for i := range ticks {
			ticks[i], _ = strconv.ParseFloat(fields[11+i], 64)
		}
		family = append(family, member{pid, (ticks[0] + ticks[1]) / clockTick, (ticks[2] + ticks[3]) / clockTick})
	}
	return family, nil
}
