package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"time"
)

// clientCommand is how this program is started as the client.
const clientCommand = "client"

// clientSettings is the first line a client process reads; the second tells it to begin.
type clientSettings struct {
	Server  string  `json:"server"`
	Options options `json:"options"`
}

// clientLine is one line of what a client process prints: ready, then accepted and applied as they grow, then the result.
type clientLine struct {
	Ready    bool        `json:"ready,omitempty"`
	Accepted uint64      `json:"accepted,omitempty"`
	Result   *loadResult `json:"result,omitempty"`
}

// runClient is the life of a client process.
func runClient(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("no settings on standard input")
	}
	var s clientSettings
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	tell := json.NewEncoder(out)
	l, err := prepareLoad(ctx, s.Server, &s.Options)
	if err != nil {
		return err
	}
	defer l.close()
	if err := tell.Encode(clientLine{Ready: true}); err != nil {
		return err
	}
	if !lines.Scan() {
		return errors.New("standard input ended before the load began")
	}
	if file := s.Options.ClientProfile; file != "" {
		f, err := os.Create(file)
		if err != nil {
			return fmt.Errorf("--client-profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("--client-profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	result := l.run(ctx, func(accepted uint64) error { return tell.Encode(clientLine{Accepted: accepted}) })
	return tell.Encode(clientLine{Result: result})
}

// client is a client process, seen from the one that started it.
type client struct {
	process *exec.Cmd
	in      io.WriteCloser
	lines   *json.Decoder
}

// startClient starts the client and returns once it has its samples made and its tags resolved.
func startClient(ctx context.Context, server string, o *options) (*client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to start it again: %w", err)
	}
	p := exec.CommandContext(ctx, self, clientCommand)
	p.Stderr = os.Stderr
	endWithUs(p)
	in, err := p.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start the client: %w", err)
	}
	c := &client{process: p, in: in, lines: json.NewDecoder(out)}
	if err := json.NewEncoder(in).Encode(clientSettings{Server: server, Options: *o}); err != nil {
		return nil, errors.Join(fmt.Errorf("tell the client its settings: %w", err), c.end())
	}
	if line, err := c.line(); err != nil || !line.Ready {
		return nil, errors.Join(fmt.Errorf("wait for the client to be ready: %w", err), c.end())
	}
	return c, nil
}

// begin starts the clock.
func (c *client) begin() error {
	_, err := io.WriteString(c.in, "\n")
	return err
}

// wait follows the client to its result. watch sees the samples accepted so far, a few times a second.
func (c *client) wait(watch func(accepted uint64)) (*loadResult, error) {
	for {
		line, err := c.line()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("follow the client: %w", err), c.end())
		}
		if line.Result != nil {
			return line.Result, c.end()
		}
		watch(line.Accepted)
	}
}

func (c *client) line() (clientLine, error) {
	var line clientLine
	err := c.lines.Decode(&line)
	return line, err
}

// end waits for the process, which ends when it has printed its result or its input closes.
func (c *client) end() error {
	c.in.Close()
	kill := time.AfterFunc(10*time.Second, func() { c.process.Process.Kill() })
	defer kill.Stop()
	return c.process.Wait()
}
