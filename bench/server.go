package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// build is the program to measure: the one given or else that of this tree, compiled as a release is, without cgo.
func build(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		return given, nil
	}
	binary := filepath.Join(dir, "varve")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/varvedb/varve/cmd/varve")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build varve: %w\n%s", err, out)
	}
	return binary, nil
}

// buildSQL compiles the program of the SQL process beside varve, which has to find it there.
func buildSQL(ctx context.Context, dir string) error {
	root, err := moduleRoot()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "varve-sql"), ".")
	cmd.Dir = filepath.Join(root, "cmd", "varve-sql")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build varve-sql, which needs a C compiler: %w\n%s", err, out)
	}
	return nil
}

// withSQL is the program to measure where statements are asked: the one given, which must have varve-sql beside it, or that of this tree.
func withSQL(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		if _, err := os.Stat(filepath.Join(filepath.Dir(given), "varve-sql")); err != nil {
			return "", fmt.Errorf("--binary: there must be varve-sql beside it: %w", err)
		}
		return given, nil
	}
	binary, err := build(ctx, "", dir)
	if err != nil {
		return "", err
	}
	return binary, buildSQL(ctx, dir)
}

// server is a varve serve in a process of its own.
type server struct {
	process *exec.Cmd
	address string
	log     *logTail
	ended   chan struct{} // closed when the process is gone
	err     error         // of the process; read after ended
}

// startServer starts a server on a store and returns once it accepts connections.
func startServer(ctx context.Context, binary, data string, args []string) (*server, error) {
	s := &server{
		process: exec.Command(binary, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, args...)...),
		log:     &logTail{listening: make(chan string, 1)},
		ended:   make(chan struct{}),
	}
	s.process.Stderr = s.log
	endWithUs(s.process)
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	go func() { s.err = s.process.Wait(); close(s.ended) }()
	select {
	case s.address = <-s.log.listening:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("the server ended before it listened: %w\n%s", s.err, s.log)
	case <-time.After(5 * time.Minute):
		s.kill()
		return nil, fmt.Errorf("the server did not listen within 5 minutes\n%s", s.log)
	case <-ctx.Done():
		s.kill()
		return nil, ctx.Err()
	}
}

func (s *server) usage() (usage, error) { return usageOf(s.process.Process.Pid) }

// kill ends the process as a power switch does, and waits until it is gone.
func (s *server) kill() {
	s.process.Process.Kill()
	<-s.ended
}

// stop asks the process to end and says how long that took.
func (s *server) stop() (time.Duration, error) {
	began := time.Now()
	s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		if s.err != nil {
			return 0, fmt.Errorf("stop the server: %w\n%s", s.err, s.log)
		}
		return time.Since(began), nil
	case <-time.After(2 * time.Minute):
		s.kill()
		return 0, errors.New("the server did not end within 2 minutes of SIGTERM")
	}
}

// logTail keeps the end of what the server says and finds the address in it.
type logTail struct {
	listening chan string // gets the address, once

	mu   sync.Mutex
	tail []byte
	line []byte // begun and not ended
	told bool
}

func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, b...)
	if extra := len(l.tail) - 16<<10; extra > 0 {
		l.tail = l.tail[extra:]
	}
	if l.told {
		return len(b), nil
	}
	l.line = append(l.line, b...)
	for !l.told {
		line, rest, whole := bytes.Cut(l.line, []byte("\n"))
		if !whole {
			break
		}
		if address, ok := strings.CutPrefix(string(line), "listening on "); ok {
			l.listening <- strings.TrimSpace(address)
			l.told = true
		}
		l.line = rest
	}
	return len(b), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail)
}
