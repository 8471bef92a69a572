package opcua

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
)

// What patterns are for is found, once each, whatever else there is; what comes later is found too, and after a restart its history is read.
func TestPatterns(t *testing.T) {
	p := newPlant(t)
	t0 := time.Now().UnixNano()
	for i, name := range []string{"Boiler.named", "Boiler.a", "Boiler.secret", "Other"} {
		p.set(name, at(t0, int64(i), 0))
	}
	p.set("Boiler.zones", at(t0, []int64{7, 8}, 0))
	s := quick(p.url)
	require.NoError(t, s.Check())
	x, err := newSource(collector.Env{
		Name: "plc", Dir: t.TempDir(), Addresses: []string{"ns=2;s=Boiler.named"}, Logger: testLogger(), Now: time.Now,
		Patterns: []collector.Pattern{{Regexp: `^nsu=http://plant/;s=Boiler\.secret$`, Skip: true}, {Regexp: `^nsu=http://plant/;s=Boiler\..*$`}},
	}, &s)
	require.NoError(t, err)
	x.(*source).s.Browse = 20 * time.Millisecond
	checked := map[string]collector.Value{}
	require.NoError(t, x.(*source).Check(t.Context(), func(r collector.Reading) { checked[r.Address] = r.Value }))
	require.Equal(t, map[string]collector.Value{
		"ns=2;s=Boiler.named": collector.Int64(0), "nsu=http://plant/;s=Boiler.a": collector.Int64(1), "nsu=http://plant/;s=Boiler.zones[0]": collector.Int64(7),
		"nsu=http://plant/;s=Boiler.zones[1]": collector.Int64(8),
	}, checked)

	ctx, cancel := context.WithCancel(context.Background())
	out, done := newTaken(), make(chan error, 1)
	go func() { done <- x.Run(ctx, out) }()
	came := func(address string) func() bool {
		return func() bool { return len(out.of("nsu=http://plant/;s="+address, false)) > 0 }
	}
	out.until(t, "a variable", came("Boiler.a"))
	out.until(t, "an element", came("Boiler.zones[1]"))
	p.set("Boiler.late", at(t0, int64(9), 0))
	out.until(t, "one that came later", came("Boiler.late"))
	time.Sleep(100 * time.Millisecond) // it is looked through some times more
	cancel()
	require.NoError(t, <-done)
	of := map[string]bool{} // how often a value comes depends on how often the connection is lost
	for _, r := range out.readings {
		of[r.Address] = true
	}
	require.Equal(t, map[string]bool{
		"ns=2;s=Boiler.named": true, "nsu=http://plant/;s=Boiler.a": true, "nsu=http://plant/;s=Boiler.zones[0]": true, "nsu=http://plant/;s=Boiler.zones[1]": true,
		"nsu=http://plant/;s=Boiler.late": true,
	}, of)

	from := time.Now().UnixNano()
	for i := range int64(9) {
		p.set("Boiler.late", at(from+i, i, 0))
	}
	x.(*source).s.Browse = time.Hour
	out = start(t, x.(*source))
	out.until(t, "history", func() bool { return len(out.of("nsu=http://plant/;s=Boiler.late", true)) >= 9 })
	out.mu.Lock()
	got := values(out.of("nsu=http://plant/;s=Boiler.late", true))
	out.mu.Unlock()
	require.Equal(t, upTo(9), got[len(got)-9:])
}

// A file of what was found that is damaged, or of other patterns, is no fault.
func TestFoundBefore(t *testing.T) {
	for text, want := range map[string][]string{
		`["ns=2;s=a","nsu=u;s=b","x","ns=2;s=no","ns=2;s=a"]`: {"ns=2;s=a", "nsu=u;s=b"}, `["ns=2;s=a`: nil, ``: nil, `{}`: nil,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, foundFile), []byte(text), 0o644))
		x, err := newSource(collector.Env{
			Dir: dir, Logger: testLogger(), Now: time.Now, Patterns: []collector.Pattern{{Regexp: `^.*no$`, Skip: true}, {Regexp: `^.*$`}},
		}, &Settings{URLs: []string{"opc.tcp://127.0.0.1:1"}})
		require.NoError(t, err)
		r := &run{source: x.(*source)}
		r.recall()
		var got []string
		for _, p := range r.points {
			got = append(got, p.address)
		}
		require.Equal(t, want, got, strings.TrimSpace(text))
	}
}
