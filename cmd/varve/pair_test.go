package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector/simulator"
)

// cutLine is a line between a client and a server that can be cut.
type cutLine struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func newCutLine(t *testing.T, to string) *cutLine {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &cutLine{listener: listener, to: to, conns: map[net.Conn]struct{}{}}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(c)
		}
	}()
	return l
}

func (l *cutLine) address() string { return l.listener.Addr().String() }

// carry copies both ways until either end or the line goes.
func (l *cutLine) carry(a net.Conn) {
	defer a.Close()
	b, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer b.Close()
	l.mu.Lock()
	if l.cut {
		l.mu.Unlock()
		return
	}
	l.conns[a], l.conns[b] = struct{}{}, struct{}{}
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, x := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(x[0], x[1]) // ends with the connection
			_ = a.Close()
			_ = b.Close()
		})
	}
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, a)
	delete(l.conns, b)
}

func (l *cutLine) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for c := range l.conns {
			_ = c.Close()
		}
	}
}

// lastValue is the newest value of a number of a server; 0 before it has one.
func lastValue(t *testing.T, address, tag string) float64 {
	all := stored(t, address, tag)
	if len(all) == 0 {
		return 0
	}
	v, err := strconv.ParseFloat(strings.Fields(all[len(all)-1])[1], 64)
	require.NoError(t, err)
	return v
}

// pairVerified is what varve verify says of two servers.
func pairVerified(t *testing.T, a, b string) (c comparison) {
	var out, says lockedLines
	_ = run(t.Context(), []string{"verify", "--server", a, "--against", b, "--output", "json"}, &out, &says)
	require.NoError(t, json.Unmarshal([]byte(out.String()), &c), says.String())
	return c
}

// One collector, two servers. The line to the one is cut, then the other is killed; each has everything again soon after, and at the end both are
// equal in content: samples, versions, gaps. A second collector that reads some of the same sends the same, which changes nothing. With
// VARVE_STRESS it is 100,000 samples a second, and ten minutes each or VARVE_CUT; the log says how long each took to have what it missed, which is to be no
// longer than it was away.
func TestPair(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts and kills for a while")
	}
	settings := simulator.Settings{Seed: 7, Every: 100 * time.Millisecond, Sensors: 400, Pumps: 50, Counters: 50, Faults: simulator.Faults{
		Bad: 0.01, Down: simulator.Window{Every: 5 * time.Second, For: 500 * time.Millisecond},
	}}
	cut, down := 10*time.Second, &settings.Faults.Down
	if os.Getenv("VARVE_STRESS") != "" {
		cut, settings.Sensors, settings.Pumps, settings.Counters = 10*time.Minute, 9000, 500, 500
	}
	if said := os.Getenv("VARVE_CUT"); said != "" {
		var err error
		cut, err = time.ParseDuration(said)
		require.NoError(t, err)
	}
	// A server that is away is told fewer and longer gaps where there are more than 50,000 of all tags together, and the two would differ.
	down.Every = max(down.Every, cut/3)
	a := newKilledServer(t)
	b := &killedServer{t: t, binary: a.binary, data: filepath.Join(t.TempDir(), "data"), flags: a.flags, address: "127.0.0.1:0"}
	t.Cleanup(func() {
		if b.process != nil {
			b.kill()
		}
	})
	a.start()
	b.start()
	line := newCutLine(t, a.address)
	dir := t.TempDir()
	destinations := fmt.Sprintf("destinations: [{name: a, address: '%s'}, {name: b, address: '%s'}]\n", line.address(), b.address)
	collect := func(name, rest string) *killedCollector {
		c := &killedCollector{t: t, binary: a.binary, config: filepath.Join(dir, name+".yaml")}
		require.NoError(t, os.WriteFile(c.config, []byte(fmt.Sprintf("collector: %s\n%squeue: {dir: %s/%s, max_bytes: 8GiB}\n%s", name, destinations, dir, name, rest)), 0o644))
		t.Cleanup(c.kill)
		c.start()
		return c
	}
	end := func(c *killedCollector) {
		require.NoError(t, c.process.Process.Signal(syscall.SIGTERM))
		require.NoError(t, c.process.Wait(), c.log.String())
		c.process = nil
	}
	plant := func(sensors, pumps, counters int) string {
		return fmt.Sprintf("health: {every: 1s}\nsources:\n  - name: p\n    type: simulator\n    settings: {seed: 7, every: 100ms, sensors: %d, pumps: %d, counters: %d, "+
			"faults: {bad: 0.01, down: {every: %s, for: %s}}}\n", sensors, pumps, counters, down.Every, down.For)
	}
	one := collect("one", plant(settings.Sensors, settings.Pumps, settings.Counters))
	two := collect("two", plant(settings.Sensors/10, 0, 0))
	eventually(t, "samples", func() bool {
		return len(stored(t, a.address, "p.sensor/1")) > 20 && len(stored(t, b.address, "p.sensor/1")) > 20
	})

	heals := func(away, there *killedServer, name string, begin, heal func()) {
		age := func() float64 { return lastValue(t, there.address, "one.to."+name+".age_s") }
		begin()
		time.Sleep(cut)
		require.Greater(t, age(), cut.Seconds()/2, "it was away")
		heal()
		healed := time.Now()
		require.Eventually(t, func() bool { return age() < 2 }, 10*cut, 100*time.Millisecond, "server %s lacks what it missed", name)
		t.Logf("%s was away for %s and had everything %s later", name, cut, time.Since(healed).Round(100*time.Millisecond))
		require.Greater(t, len(stored(t, away.address, "p.sensor/1")), 20)
	}
	heals(a, b, "a", func() { line.set(true) }, func() { line.set(false) })
	heals(b, a, "b", b.kill, b.start)

	end(one)
	end(two)
	// What waited in the queues goes to both, and nothing new.
	none := fmt.Sprintf("health: {off: true}\nsources:\n  - {name: none, type: file, settings: {path: '%s/none*.csv'}}\n", dir)
	one, two = collect("one", none), collect("two", none)
	require.Eventually(t, func() bool { return pairVerified(t, a.address, b.address).Equal }, 10*cut, 500*time.Millisecond, "both are equal in the end")
	c := pairVerified(t, a.address, b.address)
	require.NotEqual(t, c.Left.Store, c.Right.Store, "each has a log of its own")
	require.GreaterOrEqual(t, c.Rows, uint64(settings.Sensors+settings.Pumps+settings.Counters))

	// Equal, and right: every reading of the plant is there.
	p := simulator.NewPlant(settings)
	for _, tag := range []string{"sensor/1", "sensor/" + strconv.Itoa(settings.Sensors), "pump/3", "counter/1"} {
		requirePlant(t, p, tag, stored(t, a.address, "p."+tag))
		eventually(t, "the same gaps of "+tag, func() bool { return slices.Equal(gapsOf(t, a.address, "p."+tag), gapsOf(t, b.address, "p."+tag)) })
	}
	require.NotEmpty(t, gapsOf(t, a.address, "p.sensor/1"))

	// Other values of the same times, from another collector, are newer on both: they win on both, and what was there stays readable on both.
	fields := strings.Fields(stored(t, a.address, "p.sensor/1")[3])
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other.csv"), []byte("time,x\n"+fields[0]+",-1.5\n"), 0o644))
	three := collect("three", fmt.Sprintf("health: {off: true}\nsources:\n  - {name: o, type: file, settings: {path: %s/other.csv, poll: 20ms}, tags: [{address: x, tag: p.sensor/1}]}\n", dir))
	for _, s := range []*killedServer{a, b} {
		eventually(t, "the other value", func() bool { return strings.Fields(stored(t, s.address, "p.sensor/1")[3])[1] == "-1.5" })
	}
	require.True(t, pairVerified(t, a.address, b.address).Equal)

	// What is written to one alone is on one alone, and named.
	edit := func(s *killedServer) {
		varve(t, "edit", "--server", s.address, "--author", "mara", "--reason", "typo", "set", "p.sensor/1", fields[0], "7.5")
	}
	edit(a)
	c = pairVerified(t, a.address, b.address)
	require.False(t, c.Equal)
	require.Len(t, c.Differences, 1)
	require.Equal(t, "p.sensor/1", c.Differences[0].Name)
	edit(b)
	require.True(t, pairVerified(t, a.address, b.address).Equal)
	for _, c := range []*killedCollector{one, two, three} {
		end(c)
	}
	a.stop()
	b.stop()
}

// requirePlant holds the samples of a tag to what the plant says, from the first to the last of them.
func requirePlant(t *testing.T, p *simulator.Plant, address string, samples []string) {
	var steps []int64
	got := map[int64]string{}
	for _, line := range samples {
		at, rest, _ := strings.Cut(line, " ")
		when, err := time.Parse(time.RFC3339Nano, at)
		require.NoError(t, err)
		step := p.StepAt(when.UnixNano())
		require.Equal(t, p.Time(step), when.UnixNano())
		steps = append(steps, step)
		got[step] = rest
	}
	require.Greater(t, len(steps), 100)
	for step := steps[0]; step <= steps[len(steps)-1]; step++ {
		want, said := "", false
		for _, r := range p.At(step) {
			if r.Address == address {
				if said = true; !r.Value.IsNull() {
					want = r.Value.String()
				}
				want += " " + r.Quality.String()
			}
		}
		require.Equal(t, want, got[step], "%s, step %d, said %v", address, step, said)
	}
}

// gapsOf is the gaps of a tag, but for what each server gave them.
func gapsOf(t *testing.T, address, tag string) (out []string) {
	for _, line := range strings.Split(strings.TrimSpace(varve(t, "gaps", "list", "--server", address, "--output", "json", tag)), "\n") {
		var g struct{ Kind, Source, Start, End, Reason string }
		require.NoError(t, json.Unmarshal([]byte(line), &g), line)
		out = append(out, fmt.Sprintf("%+v", g))
	}
	slices.Sort(out) // those of one time are listed as they were told
	return out
}
