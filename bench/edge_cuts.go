package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// edgePhase is what the collector held while its server was, or was not, there.
type edgePhase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Peak    uint64  `json:"rss_peak_bytes"`
	Own     uint64  `json:"rss_anonymous_peak_bytes"` // most that was looked at, ten times a second: heap and stacks, without the pages of the program
	End     uint64  `json:"rss_end_bytes"`
	Cores   float64 `json:"cores"`
}

// edgeCuts cuts a server off from its collector.
type edgeCuts struct {
	o         *edgeOptions
	r         *edgeReport
	dir       string
	binary    string
	args      []string
	server    *server // another one after it was killed
	collector int
	began     time.Time // when the plant did
}

// catchUpMost is how long what waited may take to be sent.
const catchUpMost = 10 * time.Minute

func (c *edgeCuts) run(ctx context.Context) error {
	pause := func() error { return wait(ctx, c.o.Cut) }
	caughtUp := func() error { return c.caughtUp(ctx) }
	process := c.server.process.Process
	for _, step := range []struct {
		name   string
		before func() error
		do     func() error
	}{
		{"server stands still", func() error { return holdStill(process, true) }, pause},
		{"what waited is sent", func() error { return holdStill(process, false) }, caughtUp},
		{"server is away", func() error { c.server.kill(); return nil }, pause},
		{"what waited is sent", func() error { return c.again(ctx) }, caughtUp},
		{"configuration is read anew", c.reload, func() error { return wait(ctx, 15*time.Second) }},
	} {
		if err := step.before(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := c.phase(step.name, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// again starts the server where it was.
func (c *edgeCuts) again(ctx context.Context) error {
	s, err := startServer(ctx, c.binary, filepath.Join(c.dir, "store"), append([]string{"--listen", c.server.address}, c.args...))
	if err == nil {
		c.server = s
	}
	return err
}

// reload makes the collector read its configuration, in which nothing changed.
func (c *edgeCuts) reload() error {
	p, err := os.FindProcess(c.collector)
	if err != nil {
		return err
	}
	return p.Signal(syscall.SIGHUP)
}

// caughtUp waits until the server has what the plant made.
func (c *edgeCuts) caughtUp(ctx context.Context) error {
	if c.o.QueueBytes > 0 { // some of it is lost
		return wait(ctx, c.o.Cut)
	}
	for began := time.Now(); ; {
		have, err := storedSamples(ctx, c.server)
		if err != nil {
			return err
		}
		want := c.o.made(time.Since(c.began).Seconds())
		if have >= want {
			return nil
		}
		if time.Since(began) > catchUpMost {
			return fmt.Errorf("the server has %d of %d samples after %s", have, want, catchUpMost)
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// phase measures what the collector holds while do runs.
func (c *edgeCuts) phase(name string, do func() error) error {
	if err := resetPeak(c.collector); err != nil {
		return err
	}
	before, err := usageOf(c.collector)
	if err != nil {
		return err
	}
	began := time.Now()
	stop, own := make(chan struct{}), make(chan uint64)
	go func() { own <- ownPeak(c.collector, stop) }()
	err = do()
	close(stop)
	p := edgePhase{Name: name, Own: <-own, Seconds: time.Since(began).Seconds()}
	if err != nil {
		return err
	}
	u, err := usageOf(c.collector)
	if err != nil {
		return err
	}
	p.Peak, p.End, p.Cores = u.rssPeak, u.rss, (u.cpu-before.cpu)/p.Seconds
	c.r.Phases = append(c.r.Phases, p)
	c.r.Bars = append(c.r.Bars, atMost("varve collect, "+name+", most RSS", float64(p.Peak)/1e6, edgeBytesMost/1e6, "MB"))
	return nil
}

// ownPeak is the most of a process's memory that was no file's, until stop is closed.
func ownPeak(pid int, stop chan struct{}) (most uint64) {
	for {
		u, err := usageOf(pid)
		if err != nil {
			return most // it is gone, which others notice
		}
		most = max(most, u.rssOwn)
		select {
		case <-stop:
			return most
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// resetPeak makes the most a process held what it holds now.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// startBusy starts processes that do nothing but use the processor. stop ends them.
func startBusy(n int) (stop func(), err error) {
	var all []*exec.Cmd
	stop = func() {
		for _, p := range all {
			_ = p.Process.Kill() // it goes on for ever
			_ = p.Wait()
		}
	}
	for range n {
		p := exec.Command("sh", "-c", "while :; do :; done")
		endWithUs(p)
		if err := p.Start(); err != nil {
			stop()
			return nil, errors.Join(errors.New("start a process that uses the processor"), err)
		}
		all = append(all, p)
	}
	return stop, nil
}
