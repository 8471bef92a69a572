package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/simulator"
)

// collectInProcess runs varve collect until the function returned stops it.
func collectInProcess(t *testing.T, config string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var says lockedLines
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"collect", "--config", config, "--log-level", "debug"}, io.Discard, &says)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		require.Zero(t, <-code, says.String())
	})
	t.Cleanup(stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(says.String())
		}
	})
	require.Eventually(t, func() bool { return strings.Contains(says.String(), "collecting from ") }, 30*time.Second, time.Millisecond, "%s", &says)
	return stop
}

type lockedLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stored is the samples of a tag as "time value quality", in time order.
func stored(t *testing.T, address, tag string, flags ...string) (out []string) {
	var stdout, stderr bytes.Buffer
	args := append([]string{"query", "--server", address, "--start", "2000-01-01", "--end", "2200-01-01", "--output", "csv", tag}, flags...)
	if run(context.Background(), args, &stdout, &stderr) != 0 {
		require.Contains(t, stderr.String(), tag) // there is no such tag yet
		return nil
	}
	rows, err := csv.NewReader(&stdout).ReadAll()
	require.NoError(t, err)
	for _, r := range rows[1:] {
		out = append(out, strings.Join(append([]string{r[0]}, r[2:]...), " "))
	}
	return out
}

func eventually(t *testing.T, what string, ok func() bool) {
	require.Eventually(t, ok, 60*time.Second, 50*time.Millisecond, what)
}

// A file and a plant become tags of a server, which has units, types and gaps from the configuration.
func TestCollect(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	dir := t.TempDir()
	log := filepath.Join(dir, "line1.csv")
	require.NoError(t, os.WriteFile(log, []byte("time,temp,run,note\n2026-03-01T10:00:00Z,20.5,true,a\n2026-03-01T10:00:01Z,21,false,\n2026-03-01T10:00:02Z,x,1,b\n"), 0o644))
	varve(t, "tags", "states", "put", "--server", address, "pumps", "0=Stopped", "1=Running", "2=Fault")
	config := filepath.Join(dir, "collect.yaml")
	text := fmt.Sprintf(`collector: plant
destinations:
  - address: %s
    ack: archived
queue: {dir: %s/queue, max_bytes: 16MiB}
health: {every: 1s}
sources:
  - name: line1
    type: file
    settings: {path: %s, poll: 20ms}
    tags:
      - {address: temp, tag: L1.TEMP, type: float64, unit: Cel, description: outlet, factor: 2, offset: 1}
      - {address: run, tag: L1.RUN, type: bool}
      - {match: "*", tag: "L1.{1}"}
  - name: plant
    type: simulator
    settings: {seed: 1, sensors: 1, pumps: 1, start: 2026-01-01T00:00:00Z, steps: 100}
    tags:
      - {match: "pump/*", tag: "P-{1}.STATE", state_set: pumps}
      - {match: "**"}
`, address, dir, log)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o644))

	checked := varve(t, "collect", "--config", config, "--check", "--check-for", "30s")
	for _, want := range []string{
		"destination main: " + address + " takes samples", "source line1 (file)", "temp     20.5", "L1.TEMP", "source plant (simulator)", "sensor/1", "plant.sensor/1", "P-1.STATE",
	} {
		require.Contains(t, checked, want)
	}
	require.NoDirExists(t, filepath.Join(dir, "queue"), "a check stores nothing")
	require.Contains(t, varve(t, "collect", "browse", "--config", config, "plant"), "sensor/1")
	bare := filepath.Join(dir, "bare.yaml") // the simulator without rules, and so without tags of their own
	require.NoError(t, os.WriteFile(bare, []byte(strings.Split(text, "    tags:\n      - {match: \"pump")[0]), 0o644))
	draft := varve(t, "collect", "browse", "--config", bare, "--draft", "plant")
	require.Contains(t, draft, "# its states are 0 Stopped, 1 Running, 2 Fault")
	require.NoError(t, os.WriteFile(bare, []byte(draft), 0o644))
	tried := varve(t, "collect", "--config", bare, "--check", "--check-for", "30s")
	require.Contains(t, tried, "plant.pump/1")
	require.Contains(t, tried, "L1.TEMP", "the other source is as it was")
	require.Equal(t, draft, varve(t, "collect", "browse", "--config", bare, "--draft", "plant"), "all is mapped")

	stop := collectInProcess(t, config)
	eventually(t, "all of both", func() bool {
		return len(stored(t, address, "L1.note")) == 2 && len(stored(t, address, "plant.sensor/1")) == 100
	})
	require.Equal(t, []string{"2026-03-01T10:00:00Z 42 Good", "2026-03-01T10:00:01Z 43 Good"}, stored(t, address, "L1.TEMP"))
	require.Equal(t, []string{"2026-03-01T10:00:00Z true Good", "2026-03-01T10:00:01Z false Good", "2026-03-01T10:00:02Z true Good"}, stored(t, address, "L1.RUN"))
	tag := varve(t, "tags", "get", "--server", address, "L1.TEMP")
	require.Contains(t, tag, "Cel")
	require.Contains(t, tag, "outlet")
	plant := simulator.NewPlant(simulator.Settings{Seed: 1, Sensors: 1, Pumps: 1, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	for i, at := range stored(t, address, "plant.sensor/1") {
		require.Equal(t, fmt.Sprintf("%s %s Good", time.Unix(0, plant.Time(int64(i))).UTC().Format(time.RFC3339), plant.At(int64(i))[0].Value), at)
	}
	_, says := fails(t, "collect", "--config", config)
	require.Contains(t, says, "does another collector run")
	eventually(t, "health tags", func() bool { return len(stored(t, address, "plant.line1.rejected")) > 0 })
	require.Contains(t, stored(t, address, "plant.line1.rejected")[0], " 1 Good")
	stop()
	stop = collectInProcess(t, config)
	appendFile(t, log, "2026-03-01T10:00:03Z,22,false,c\n")
	eventually(t, "the row that came later", func() bool { return len(stored(t, address, "L1.TEMP")) == 3 })
	stop()
	require.Len(t, stored(t, address, "plant.sensor/1"), 100)
}

// Sources that run in processes of their own give a server the same samples and gaps; what they say is logged.
func TestCollectApart(t *testing.T) {
	var got [2][]string
	for i, apart := range []bool{false, true} {
		address, _ := serveInProcess(t, t.TempDir())
		dir := t.TempDir()
		log := filepath.Join(dir, "line1.csv")
		require.NoError(t, os.WriteFile(log, []byte("time,temp,note\n2026-03-01T10:00:00Z,20.5,ä\n2026-03-01T10:00:01Z,21,\nx,1,2\n2026-03-01T10:00:02Z,1e300,b\n"), 0o644))
		config := filepath.Join(dir, "collect.yaml")
		require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `collector: plant
destinations: [{address: %s}]
queue: {dir: %s/queue, max_bytes: 16MiB}
health: {every: 1s}
sources:
  - {name: line1, type: file, settings: {path: %s, poll: 20ms}}
  - name: plant
    type: simulator
    settings:
      {seed: 3, sensors: 2, pumps: 1, counters: 1, start: 2026-01-01T00:00:00Z, steps: 2000,
       faults: {bad: 0.1, duplicates: 0.1, late: 0.1, down: {every: 10m, for: 1m}}}
    tags: [{match: "**", exc_dev: 0.5}]
`, address, dir, log), 0o644))
		var says lockedLines
		logger, err := newLogger(&says, "text", "debug")
		require.NoError(t, err)
		s := collectService(config, logger, dialDestination)
		for k := range s.Kinds {
			s.Kinds[k].Apart = apart
		}
		c, err := collector.ReadConfig(config, s.Kinds)
		require.NoError(t, err)
		require.NoError(t, collector.CheckSource(t.Context(), c, &c.Sources[1], time.Now, func(f collector.Finding) { got[i] = append(got[i], fmt.Sprint(f)) }))
		require.NoError(t, collector.BrowseSource(t.Context(), c, &c.Sources[1], "", func(o collector.Offer) error {
			got[i] = append(got[i], fmt.Sprint(o))
			return nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		last := func(tag string) string {
			all := stored(t, address, tag)
			return append(all, "")[max(len(all)-1, 0)]
		}
		eventually(t, "the end of the plant, and the line without a time", func() bool { // what the health tags say is behind what they say it of
			return strings.HasSuffix(last("plant.plant.running"), " false Good") && strings.HasSuffix(last("plant.line1.rejected"), " 1 Good")
		})
		for _, tag := range []string{"line1.temp", "line1.note", "plant.sensor/1", "plant.sensor/2", "plant.pump/1", "plant.counter/1"} {
			samples := stored(t, address, tag)
			require.NotEmpty(t, samples, tag)
			got[i] = append(append(got[i], tag), samples...)
			for line := range strings.Lines(varve(t, "gaps", "list", "--server", address, tag)) {
				_, gap, _ := strings.Cut(line, " ") // without its number
				got[i] = append(got[i], strings.TrimSpace(gap))
			}
		}
		cancel()
		require.NoError(t, <-ended, says.String())
		require.Equal(t, apart, strings.Contains(says.String(), "a process of its own"))
		require.NotContains(t, says.String(), "a source failed")
	}
	require.Equal(t, got[0], got[1])
}

func appendFile(t *testing.T, path, text string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, errors.Join(err, f.Close()))
}

// TestCollectReference runs what the page shows: its log, its configuration, its commands.
func TestCollectReference(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/reference/collect.md")))
	block := func(kind string) string {
		_, rest, ok := strings.Cut(page, "\n```"+kind+"\n")
		require.True(t, ok, kind)
		text, _, _ := strings.Cut(rest, "```")
		return text
	}
	address, _ := serveInProcess(t, t.TempDir())
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("line1.csv", []byte(block("csv")), 0o644))
	require.NoError(t, os.WriteFile("plant.yaml", []byte(strings.ReplaceAll(block("yaml"), "127.0.0.1:7420", address)), 0o644))
	examples := strings.Split(page, "\n$ varve ")[1:]
	require.Len(t, examples, 3)
	for i, x := range examples {
		command, rest, _ := strings.Cut(x, "\n")
		want, _, _ := strings.Cut(rest, "```")
		args := words(command)
		if i == 0 {
			require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(strings.ReplaceAll(varve(t, args...), address, "127.0.0.1:7420")))
			stop := collectInProcess(t, "plant.yaml")
			eventually(t, "all of the log", func() bool {
				return len(stored(t, address, "LINE1.note")) == 1 && len(stored(t, address, "LINE1.TEMP")) == 3 && len(stored(t, address, "LINE1.PRESSURE")) == 2
			})
			stop()
			continue
		}
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(varve(t, append(args, "--server", address)...)))
	}
}

func TestCollectSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	write := func(text string) {
		require.NoError(t, os.WriteFile(config, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644))
	}
	write("destinations: [{address: '127.0.0.1:1'}]\nqueue: {dir: DIR/q}\nsources:\n  - {name: a, type: file, settings: {path: DIR/none.csv}}\n")
	code, says := fails(t, "collect", "--config", config, "--check", "--check-for", "1s")
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "destination main: no answer from the server at 127.0.0.1:1")
	require.Contains(t, says, "it cannot be read: no file is named "+dir+"/none.csv")
	require.Contains(t, says, "2 things are wrong")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.csv"), []byte("time,temp\n2026-03-01T10:00:00Z,hot\n"), 0o644))
	write("destinations: [{address: '127.0.0.1:1'}]\nqueue: {dir: DIR/q}\nsources:\n  - name: a\n    type: file\n    settings: {path: DIR/x.csv}\n    tags:\n      - {address: temp, type: float64}\n      - {address: pressure}\n")
	_, says = fails(t, "collect", "--config", config, "--check", "--check-for", "1s")
	require.Contains(t, says, "a string of 3 bytes does not fit a tag of type float64")
	require.Regexp(t, `pressure .* no value came`, says)

	address, _ := serveInProcess(t, t.TempDir())
	varve(t, "tags", "create", "WORDS", "--server", address, "--type", "string")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "y.csv"), []byte("time,a,b,c\n2026-03-01T10:00:00Z,1,2,x\n"), 0o644))
	write("destinations: [{address: '" + address + "'}]\nqueue: {dir: DIR/q}\nsources:\n  - {name: a, type: file, settings: {path: DIR/y.csv}, tags: [{address: a, tag: WORDS}, {address: b}, {address: c}]}\n")
	code, says = fails(t, "collect", "--config", config, "--check", "--check-for", "10s")
	require.Equal(t, exitFailure, code)
	require.Contains(t, says, "destination main: tag WORDS is string there and would get float64, which is refused: give its rule type: string")
	require.Contains(t, says, "1 things are wrong")
	varve(t, "tags", "create", "a.b", "--server", address, "--type", "float64")
	write("destinations: [{address: '" + address + "'}]\nqueue: {dir: DIR/q}\nsources:\n  - {name: a, type: file, settings: {path: DIR/y.csv}}\n")
	varve(t, "collect", "--config", config, "--check")

	write("destinations: [{address: '127.0.0.1:1'}]\nqueue: {dir: DIR/q}\nsources:\n  - {name: a, type: opcda}\n")
	for _, args := range [][]string{{"collect", "--config", config}, {"collect", "--config", config, "--check"}, {"collect", "browse", "--config", config, "a"}, {"serve", "--data", dir + "/s", "--collect", config}} {
		code, says = fails(t, args...)
		require.Equal(t, exitUsage, code)
		require.Contains(t, says, `c.yaml:4: source type "opcda": must be one of file, modbus, mqtt, opcua, simulator`)
	}
	write("destinations: [{address: self}]\nqueue: {dir: DIR/q}\nsources:\n  - {name: a, type: simulator}\n")
	_, says = fails(t, "collect", "--config", config)
	require.Contains(t, says, "varve serve --collect")
	code, _ = fails(t, "collect")
	require.Equal(t, exitUsage, code)
}

// Inside a server, with tokens and TLS, a collector has the rights of its token and no more.
func TestServeCollects(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure=%v", secure), func(t *testing.T) {
			dir := t.TempDir()
			config := filepath.Join(dir, "c.yaml")
			flags := []string{"--collect", config}
			token := ""
			if secure {
				var out, line bytes.Buffer
				require.Zero(t, run(context.Background(), []string{"token", "new", "collector", "--scope", "write"}, &out, &line))
				require.NoError(t, os.WriteFile(dir+"/collector.token", out.Bytes(), 0o600))
				reader := bytes.Buffer{}
				require.Zero(t, run(context.Background(), []string{"token", "new", "reader", "--scope", "read"}, &reader, &line))
				require.NoError(t, os.WriteFile(dir+"/reader.token", reader.Bytes(), 0o600))
				require.NoError(t, os.WriteFile(dir+"/tokens", line.Bytes(), 0o600))
				writeCertificate(t, dir+"/server.pem", dir+"/server.key")
				flags = append(flags, "--tokens", dir+"/tokens", "--tls-cert", dir+"/server.pem", "--tls-key", dir+"/server.key")
				token = ", token: 'file:" + dir + "/collector.token'"
			}
			require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf("collector: c\ndestinations: [{address: self%s}]\nqueue: {dir: %s/q}\nsources:\n"+
				"  - {name: p, type: simulator, settings: {start: 2026-01-01T00:00:00Z, steps: 50, sensors: 1}}\n", token, dir)), 0o644))
			address, stop := serveInProcess(t, filepath.Join(dir, "data"), flags...)
			if secure {
				t.Setenv("VARVE_TOKEN", strings.TrimSpace(string(must(os.ReadFile(dir+"/reader.token")))))
			}
			var reads []string
			if secure {
				reads = []string{"--tls-ca", dir + "/server.pem"}
			}
			eventually(t, "samples", func() bool { return len(stored(t, address, "p.sensor/1", reads...)) == 50 })
			stop()
		})
	}
}

// writeCertificate writes a certificate of this machine's loopback address that signs itself.
func writeCertificate(t *testing.T, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}), 0o600))
}

// hangUp tells this process to read its configuration anew.
func hangUp(t *testing.T) {
	p, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, p.Signal(syscall.SIGHUP))
}

// A change of the file is taken while it runs, on SIGHUP at once; one that makes no sense is not.
func TestCollectReloads(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	dir := t.TempDir()
	log, config := filepath.Join(dir, "a.csv"), filepath.Join(dir, "c.yaml")
	write := func(tags string) {
		require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf("collector: c\ndestinations: [{address: '%s'}]\nqueue: {dir: %s/q}\nhealth: {off: true}\nsources:\n"+
			"  - {name: a, type: file, settings: {path: %s, poll: 20ms}, tags: [%s]}\n", address, dir, log, tags)), 0o644))
	}
	require.NoError(t, os.WriteFile(log, []byte("time,x\n2026-03-01T10:00:00Z,1\n"), 0o644))
	write("{address: x, tag: ONE}")
	stop := collectInProcess(t, config)
	eventually(t, "the first row", func() bool { return len(stored(t, address, "ONE")) == 1 })
	write("{address: x, tag: ONE, typ: int64}")
	hangUp(t)
	appendFile(t, log, "2026-03-01T10:00:01Z,2\n")
	eventually(t, "the second row", func() bool { return len(stored(t, address, "ONE")) == 2 })
	write("{address: x, tag: TWO}")
	hangUp(t)
	n := 2
	eventually(t, "a row of the new tag", func() bool {
		appendFile(t, log, fmt.Sprintf("2026-03-01T10:01:%02dZ,%d\n", n%60, n))
		n++
		return len(stored(t, address, "TWO")) > 0
	})
	require.Less(t, n, 60)
	eventually(t, "every row, of the one tag or the other", func() bool { return len(stored(t, address, "ONE"))+len(stored(t, address, "TWO")) == n })
	stop()
}

// The exception filter that a server has of a tag is followed while the collector runs, and by one that starts while the server is away.
func TestCollectFollowsExceptions(t *testing.T) {
	data := t.TempDir()
	address, stopServer := serveInProcess(t, data)
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `collector: c
destinations: [{address: '%s'}]
queue: {dir: %s/q}
health: {off: true}
sources:
  - {name: plant, type: simulator, settings: {every: 20ms, sensors: 2}, tags: [{address: sensor/1, tag: FOLLOWS}, {address: sensor/2, tag: OWN, exc_dev: 1e-300}]}
`, address, dir), 0o644))
	for _, tag := range []string{"FOLLOWS", "OWN"} {
		varve(t, "tags", "create", tag, "--server", address, "--exception-deviation", "1000")
	}
	stop := collectInProcess(t, config)
	count := func(tag string) int { return len(stored(t, address, tag)) }
	follows := func() bool { // many of the one came, and next to none of the other
		one, other := count("FOLLOWS"), count("OWN")
		time.Sleep(500 * time.Millisecond)
		return count("OWN") > other+5 && count("FOLLOWS") <= one+1
	}
	eventually(t, "the server's filter", follows)
	varve(t, "tags", "update", "FOLLOWS", "--server", address, "--exception-deviation", "0")
	eventually(t, "no filter", func() bool { return !follows() })
	varve(t, "tags", "update", "FOLLOWS", "--server", address, "--exception-deviation", "1000")
	eventually(t, "a filter again", follows)
	eventually(t, "it is on disk", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "q", "exceptions.json"))
		return bytes.Contains(b, []byte(`"FOLLOWS":{"deviation":1000}`))
	})
	stop()
	stopServer()
	began := time.Now().UTC()
	stop = collectInProcess(t, config)
	time.Sleep(time.Second)
	ended := time.Now().UTC()
	serveInProcess(t, data, "--listen", address)
	between := func(tag string) (n int) {
		for _, x := range stored(t, address, tag) {
			at, err := time.Parse(time.RFC3339Nano, strings.Fields(x)[0])
			require.NoError(t, err)
			if at.After(began) && at.Before(ended) {
				n++
			}
		}
		return n
	}
	eventually(t, "what was read meanwhile", func() bool { return between("OWN") > 5 })
	stop()
	require.LessOrEqual(t, between("FOLLOWS"), 2, "the first, and what was held back")
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// What a plant loses is told as it was: device down and wrong clock become gaps of their times and of no others, and what was set aside comes back
// with the times it should have had.
func TestCollectTellsLosses(t *testing.T) {
	address, _ := serveInProcess(t, t.TempDir())
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf("collector: c\ndestinations: [{address: '%s'}]\nqueue: {dir: %s/q}\nhealth: {off: true}\nsources:\n"+
		"  - {name: p, type: simulator, settings: {seed: 3, every: 20ms, keep: true, sensors: 1, faults: {down: {every: 2s, for: 400ms}, clock_off: {every: 3s, for: 500ms, by: 1h}}}}\n",
		address, dir)), 0o644))
	plant := simulator.NewPlant(simulator.Settings{
		Seed: 3, Every: 20 * time.Millisecond, Sensors: 1,
		Faults: simulator.Faults{Down: simulator.Window{Every: 2 * time.Second, For: 400 * time.Millisecond}, ClockOff: simulator.ClockOff{Window: simulator.Window{Every: 3 * time.Second, For: 500 * time.Millisecond}, By: time.Hour}},
	})
	const tag = "p.sensor/1"
	stop := collectInProcess(t, config)
	steps := func() (out []int64) {
		for _, line := range stored(t, address, tag) {
			at, err := time.Parse(time.RFC3339Nano, strings.Fields(line)[0])
			require.NoError(t, err)
			require.Zero(t, plant.Time(plant.StepAt(at.UnixNano()))-at.UnixNano())
			out = append(out, plant.StepAt(at.UnixNano()))
		}
		return out
	}
	eventually(t, "some seconds of samples", func() bool { return len(steps()) > 200 })
	stop()
	stop = collectInProcess(t, config) // what waited
	eventually(t, "samples behind the restart", func() bool { return len(steps()) > 300 })

	files := func() (ids []string) {
		for _, line := range strings.Split(varve(t, "collect", "quarantine", "list", "--config", config, "--output", "json"), "\n") {
			var f struct{ ID, State string }
			if json.Unmarshal([]byte(line), &f) == nil && f.State == "waiting" {
				ids = append(ids, f.ID)
			}
		}
		return ids
	}
	ids := files()
	require.NotEmpty(t, ids)
	require.Contains(t, varve(t, "collect", "quarantine", "list", "--config", config), ids[0])
	before := len(steps())
	varve(t, append([]string{"collect", "quarantine", "replay", "--config", config, "--shift", "-1h"}, ids...)...)
	all := steps()
	eventually(t, "what was set aside, and what waited", func() bool {
		now := steps()
		for step := all[0]; step <= all[before-1]; step++ {
			if _, ok := slices.BinarySearch(now, step); !ok && !plant.Down(step) {
				return false
			}
		}
		return true
	})
	now := steps()
	for step := all[0]; step <= all[before-1]; step++ {
		_, ok := slices.BinarySearch(now, step)
		require.Equal(t, !plant.Down(step), ok, "step %d", step)
	}
	stop()

	var told []string
	for _, line := range strings.Split(strings.TrimSpace(varve(t, "gaps", "list", "--server", address, "--output", "json", tag)), "\n") {
		var g struct{ Kind, Start, End, Reason string }
		require.NoError(t, json.Unmarshal([]byte(line), &g), line)
		at, err := time.Parse(time.RFC3339Nano, g.Start)
		require.NoError(t, err)
		step := plant.StepAt(at.UnixNano())
		switch g.Kind {
		case "device_down":
			require.True(t, plant.Down(step), line)
		case "quarantined": // from when it was received, which load and restarts delay
		case "not_collected":
			require.Equal(t, "the collector did not run", g.Reason)
		default:
			t.Fatal(line)
		}
		told = append(told, fmt.Sprint(g.Kind, " ", step))
	}
	for step := all[0] + 1; step < all[before-1]; step++ {
		if plant.Down(step) && !plant.Down(step-1) {
			require.Contains(t, told, fmt.Sprint("device_down ", step))
		}
	}
	require.Contains(t, strings.Join(told, "\n"), "not_collected")
}

// killedCollector is varve collect in a process of its own.
type killedCollector struct {
	t       *testing.T
	binary  string
	config  string
	process *exec.Cmd
	log     *lockedLines
}

func (c *killedCollector) start() {
	c.process = exec.Command(c.binary, "collect", "--config", c.config, "--log-level", "warn")
	c.log = &lockedLines{}
	c.process.Stderr = c.log
	require.NoError(c.t, c.process.Start())
}

func (c *killedCollector) kill() {
	if c.process != nil {
		_ = c.process.Process.Kill()
		_ = c.process.Wait() // reports the kill
	}
}

// Whoever is killed, and whenever: every row of the log and every step of the plant is stored, once, with its value. VARVE_KILLS is twice the number of
// turns.
func TestCollectKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for a while")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	s := newKilledServer(t)
	s.start()
	dir := t.TempDir()
	c := &killedCollector{t: t, binary: s.binary, config: filepath.Join(dir, "c.yaml")}
	t.Cleanup(c.kill)
	require.NoError(t, os.WriteFile(c.config, []byte(fmt.Sprintf(`collector: c
destinations: [{address: '%s'}]
queue: {dir: %s/queue}
health: {off: true}
sources:
  - {name: line, type: file, settings: {path: %s/line.csv, poll: 20ms}}
  - {name: plant, type: simulator, settings: {seed: 5, every: 10ms, keep: true, sensors: 2, pumps: 1, counters: 1, faults: {duplicates: 0.1, late: 0.1, bad: 0.05}}}
`, s.address, dir, dir)), 0o644))
	log := &rotatedLog{t: t, path: filepath.Join(dir, "line.csv")}
	log.begin()
	c.start()
	stepFile := filepath.Join(dir, "queue", "sources", "plant", "step")
	eventually(t, "a step that is kept", func() bool { return exists(stepFile) })
	turns, err := strconv.Atoi(os.Getenv("VARVE_KILLS"))
	if turns /= 2; err != nil || turns < 1 {
		turns = 8
	}
	for range turns {
		for end := time.Now().Add(time.Duration(100+rng.IntN(700)) * time.Millisecond); time.Now().Before(end); {
			log.rows(1 + rng.IntN(20))
			time.Sleep(5 * time.Millisecond)
		}
		switch rng.IntN(3) {
		case 0:
			c.kill()
			log.rows(rng.IntN(100))
			if rng.IntN(2) == 0 {
				log.rotate()
			}
			c.start()
		case 1:
			s.kill()
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			s.start()
		default:
			log.rotate()
		}
	}
	eventually(t, "the last row of the log", func() bool { return len(stored(t, s.address, "line.x")) >= log.n })
	require.NoError(t, c.process.Process.Signal(syscall.SIGTERM))
	require.NoError(t, c.process.Wait(), c.log.String())
	var last int64
	_, err = fmt.Sscan(string(must(os.ReadFile(stepFile))), &last)
	require.NoError(t, err)
	c.start() // what waited in the queue when it stopped
	plant := simulator.NewPlant(simulator.Settings{Seed: 5, Every: 10 * time.Millisecond, Sensors: 2, Pumps: 1, Counters: 1, Faults: simulator.Faults{Duplicates: 0.1, Late: 0.1, Bad: 0.05}})
	require.Equal(t, log.want, stored(t, s.address, "line.x"))
	want := map[string]map[string]string{} // by address and time
	first := stored(t, s.address, "plant.counter/1")[0]
	from, err := time.Parse(time.RFC3339Nano, strings.Fields(first)[0])
	require.NoError(t, err)
	begin := plant.StepAt(from.UnixNano()) + 10 // what came late before it was from before the first step
	for step := begin; step <= last; step++ {
		for _, r := range plant.At(step) {
			if r.Time < plant.Time(begin) {
				continue
			}
			if want[r.Address] == nil {
				want[r.Address] = map[string]string{}
			}
			text := r.Value.String()
			if r.Value.IsNull() {
				text = ""
			}
			want[r.Address][time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)] = text + " " + r.Quality.String()
		}
	}
	for address, samples := range want {
		require.Greater(t, len(samples), 100)
		var missing, other string
		eventually(t, address, func() bool { // what is old comes behind what is new
			got := map[string]string{}
			for _, line := range stored(t, s.address, "plant."+address) {
				at, rest, _ := strings.Cut(line, " ")
				require.NotContains(t, got, at, "stored twice")
				got[at] = rest
			}
			missing, other = "", ""
			for at, x := range samples {
				if g, ok := got[at]; !ok {
					missing = at
				} else if g != x {
					other = at + ": " + g + " for " + x
				}
			}
			return missing == ""
		})
		require.Empty(t, missing)
		require.Empty(t, other, "%s, seed %d", address, seed)
	}
	require.NoError(t, c.process.Process.Signal(syscall.SIGTERM))
	require.NoError(t, c.process.Wait(), c.log.String())
	c.process = nil
	s.stop()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// rotatedLog is a table that somebody writes.
type rotatedLog struct {
	t    *testing.T
	path string
	n    int
	want []string
}

func (l *rotatedLog) begin() {
	require.NoError(l.t, os.WriteFile(l.path, []byte("time,x\n"), 0o644))
}

func (l *rotatedLog) rows(n int) {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(l.t, err)
	for range n {
		at := time.Unix(1_770_000_000+int64(l.n), 0).UTC().Format(time.RFC3339)
		_, err := fmt.Fprintf(f, "%s,%d.5\n", at, l.n)
		require.NoError(l.t, err)
		l.want = append(l.want, fmt.Sprintf("%s %d.5 Good", at, l.n))
		l.n++
	}
	require.NoError(l.t, f.Close())
}

func (l *rotatedLog) rotate() {
	for n := 30; n >= 1; n-- {
		if from := fmt.Sprintf("%s.%d", l.path, n); exists(from) {
			require.NoError(l.t, os.Rename(from, fmt.Sprintf("%s.%d", l.path, n+1)))
		}
	}
	require.NoError(l.t, os.Rename(l.path, l.path+".1"))
	l.begin()
}
