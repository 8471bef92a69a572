package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/varvedb/varve/bench/plant"
)

// daemon is a peer's process.
type daemon struct {
	process *exec.Cmd
	said    *logTail
	ended   chan struct{}
	err     error // of the process; read after ended
}

// startDaemon starts a process that was told to end with this one.
func startDaemon(p *exec.Cmd) (*daemon, error) {
	d := &daemon{process: p, said: &logTail{told: true}, ended: make(chan struct{})}
	p.Stdout, p.Stderr = d.said, d.said
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(p.Path), err)
	}
	go func() { d.err = p.Wait(); close(d.ended) }()
	return d, nil
}

// await asks until the process is ready.
func (d *daemon) await(ctx context.Context, ready func() error) error {
	began := time.Now()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", filepath.Base(d.process.Path), d.err, d.said)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("%s is not ready after 2 minutes: %w\n%s", filepath.Base(d.process.Path), err, d.said)
		}
	}
}

// stop may be called twice, and on a daemon that never started.
func (d *daemon) stop(signal syscall.Signal) error {
	if d == nil {
		return nil
	}
	d.process.Process.Signal(signal)
	select {
	case <-d.ended:
		return nil
	case <-time.After(time.Minute):
		d.process.Process.Kill()
		<-d.ended
		return fmt.Errorf("%s did not end within a minute of %s", filepath.Base(d.process.Path), signal)
	}
}

// quiet waits until a server has used little of the processor for three seconds, or for three minutes.
func quiet(ctx context.Context, used func() (usage, error)) error {
	last, calm := -1.0, 0
	for range 180 {
		u, err := used()
		if err != nil {
			return err
		}
		if calm++; last < 0 || u.cpu-last > 0.1 {
			calm = 0
		}
		if last = u.cpu; calm == 3 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// freePort is one on loopback that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// directoryBytes adds up the files under dir, in whatever number of blocks they lie, but for directories that skip, if there
// is one, says not to count.
func directoryBytes(dir string, skip func(name string) bool) (total uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // merged away while this walked
			return nil
		}
		if err == nil && d.IsDir() && skip != nil && skip(d.Name()) {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += uint64(info.Size())
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return total, err
}

// loadFigures is one load, from the first request to the last acknowledgement.
type loadFigures struct {
	Seconds          float64 `json:"seconds"`
	ClientCPUSeconds float64 `json:"client_cpu_seconds"`
	WireBytes        uint64  `json:"wire_bytes"`
}

// writer is one connection. Add encodes a run, whose slices it may not keep; send hands over what was added and returns
// with the acknowledgement.
type writer interface {
	add(tag int, times []int64, values []float64)
	send(ctx context.Context) (wireBytes int, err error)
	close() error
}

// loadWriters sends a data set over a writer per connection, one request of each under way.
func loadWriters(ctx context.Context, d *dataset, open func(context.Context) (writer, error)) (*loadFigures, error) {
	works := d.workloads()
	writers := make([]writer, len(works))
	for i := range works {
		w, err := open(ctx)
		if err != nil {
			return nil, err
		}
		defer w.close()
		writers[i] = w
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs, wire := make([]error, len(works)), make([]int, len(works))
	samples := make([]int, len(works))
	cpu, _ := cpuSeconds("self")
	began := time.Now()
	var wait sync.WaitGroup
	for i, work := range works {
		wait.Go(func() {
			errs[i] = sendAll(ctx, work, writers[i], d.o.BatchSamples, &wire[i], &samples[i])
			if errs[i] != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	f := &loadFigures{Seconds: time.Since(began).Seconds()}
	end, _ := cpuSeconds("self")
	f.ClientCPUSeconds = end - cpu
	sent := 0
	for i := range works {
		f.WireBytes += uint64(wire[i])
		sent += samples[i]
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if sent != d.samples {
		return nil, fmt.Errorf("%d samples were sent of %d", sent, d.samples)
	}
	return f, nil
}

func sendAll(ctx context.Context, work workload, w writer, batch int, wire, samples *int) error {
	for held := 0; ; {
		tag, times, values, ok := work.next()
		if ok {
			w.add(tag, times, values)
			held += len(times)
		}
		if held >= batch || !ok && held > 0 {
			n, err := w.send(ctx)
			if err != nil {
				return err
			}
			*wire += n
			*samples += held
			held = 0
		}
		if !ok {
			return nil
		}
	}
}

// web is a server that speaks HTTP.
type web struct {
	base   string
	client *http.Client
	mu     sync.Mutex // guards body
	body   bytes.Buffer
}

func newWeb(port int) *web {
	return &web{
		base:   "http://127.0.0.1:" + strconv.Itoa(port),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true}},
	}
}

// get calls decode with the answer, which is good until it returns.
func (w *web) get(ctx context.Context, path string, decode func([]byte) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, nil)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.do(request, &w.body); err != nil {
		return err
	}
	if decode == nil {
		return nil
	}
	return decode(w.body.Bytes())
}

func (w *web) post(ctx context.Context, path string, body []byte, header map[string]string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	var answer bytes.Buffer
	if err := w.do(request, &answer); err != nil {
		return err
	}
	if bytes.Contains(answer.Bytes(), []byte(`"error"`)) {
		return fmt.Errorf("POST %s: %.300s", path, answer.Bytes())
	}
	return nil
}

func (w *web) do(request *http.Request, into *bytes.Buffer) error {
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	into.Reset()
	if _, err := io.Copy(into, response.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", request.Method, request.URL.Path, response.Status, into.Bytes())
	}
	return nil
}

// pairsOf reads series out of JSON such as {"tag":"T00001"} … [time,value] or [time,"value"] …, which is how both HTTP peers
// answer, in however many documents behind one another. A general decoder would cost more than their server.
func pairsOf(body []byte, into answer, timeOf func([]byte) (int64, error)) error {
	if at := bytes.Index(body[:min(len(body), 4096)], []byte(`"error":"`)); at >= 0 {
		return fmt.Errorf("the answer is an error: %.300s", body[at:])
	}
	for {
		var ok bool
		if _, body, ok = bytes.Cut(body, []byte(`"tag":"`)); !ok {
			return nil
		}
		name, rest, _ := bytes.Cut(body, []byte(`"`))
		tag, err := tagOf(name)
		if err != nil {
			return err
		}
		part := rest
		if end := bytes.Index(rest, []byte(`"tag":"`)); end >= 0 {
			part = rest[:end]
		}
		body = rest
		s := into.of(tag)
		for {
			at := bytes.IndexByte(part, '[')
			if at < 0 || at+1 == len(part) {
				break
			}
			if part = part[at+1:]; part[0] != '-' && (part[0] < '0' || part[0] > '9') {
				continue
			}
			pair, rest, ok := bytes.Cut(part, []byte("]"))
			if !ok {
				return fmt.Errorf("the answer ends in %.40q", part)
			}
			left, right, _ := bytes.Cut(pair, []byte(","))
			when, err := timeOf(left)
			if err != nil {
				return fmt.Errorf("time in %.60q: %w", pair, err)
			}
			value, err := strconv.ParseFloat(string(bytes.Trim(right, `" `)), 64)
			if err != nil {
				return fmt.Errorf("value in %.60q: %w", pair, err)
			}
			s.add(when, value)
			part = rest
		}
	}
}

func tagOf(name []byte) (int, error) {
	tag, err := strconv.Atoi(strings.TrimPrefix(string(name), "T"))
	if err != nil || plant.Name(tag) != string(name) {
		return 0, fmt.Errorf("%.60q is no tag that was sent", name)
	}
	return tag, nil
}

func namesOf(tags []int, between string) string {
	var b strings.Builder
	for i, tag := range tags {
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteString(plant.Name(tag))
	}
	return b.String()
}

// installed is the path of a program, or how to get it.
func installed(peer, program, pkg string, places ...string) (path, missing string) {
	for _, pattern := range places {
		if found, _ := filepath.Glob(filepath.Join(pattern, program)); len(found) > 0 {
			return found[len(found)-1], ""
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Sprintf("%s: not measured: no program %s; on Debian: apt-get install %s", peer, program, pkg)
	}
	return path, ""
}

// versionOf is the first line of what a program says of its version; one that says nothing, as Debian builds some, is
// looked up as a package.
func versionOf(pkg, program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	if strings.TrimSpace(string(out)) == "" {
		out, _ = exec.Command("dpkg-query", "-W", "-f", "${Version}", pkg).Output()
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "unknown"
	}
	return line
}

// nobody is the user that servers run as which refuse to be root; postgres where there is one.
func nobody() (uid, gid uint32, err error) {
	b, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return 0, 0, err
	}
	for _, want := range []string{"postgres", "nobody"} {
		for line := range strings.Lines(string(b)) {
			f := strings.Split(strings.TrimSpace(line), ":")
			if len(f) < 4 || f[0] != want {
				continue
			}
			u, err := strconv.ParseUint(f[2], 10, 32)
			if err != nil {
				return 0, 0, fmt.Errorf("user %s: %w", want, err)
			}
			g, err := strconv.ParseUint(f[3], 10, 32)
			if err != nil {
				return 0, 0, fmt.Errorf("group of user %s: %w", want, err)
			}
			return uint32(u), uint32(g), nil
		}
	}
	return 0, 0, errors.New("no user postgres or nobody")
}

// pause waits a second.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}
