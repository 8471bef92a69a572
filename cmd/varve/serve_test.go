package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runServe runs serve in this process and returns the address it prints and a function that stops it.
func runServe(t *testing.T, args ...string) (addr string, stop func() (code int, stderr string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve"}, args...), io.Discard, w)
		_ = w.Close()
	}()
	var all strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		if a, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			addr = a
			break
		}
	}
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
	}()
	return addr, func() (int, string) {
		cancel()
		select {
		case c := <-code:
			<-rest
			return c, all.String()
		case <-time.After(30 * time.Second):
			t.Fatal("serve did not stop")
			return 0, ""
		}
	}
}

func TestServePrintsItsAddressAndStopsBySignal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	flags := []string{"--data", dir, "--listen", "127.0.0.1:0", "--min-free", "0", "--ballast", "0", "--memory", "64MiB"}
	for range 2 { // a store that was closed opens again
		addr, stop := runServe(t, flags...)
		require.Regexp(t, `^127\.0\.0\.1:[1-9][0-9]*$`, addr)
		var out strings.Builder
		require.Zero(t, run(context.Background(), []string{"status", "--server", addr, "--output", "json"}, &out, &out), out.String())
		code, stderr := stop()
		require.Zero(t, code, stderr)
		require.Contains(t, stderr, "stopped")
	}
}

func TestServeRefusesWhatMakesNoSense(t *testing.T) {
	dir := t.TempDir()
	templates := filepath.Join(t.TempDir(), "agents.yaml")
	require.NoError(t, os.WriteFile(templates, []byte("templates:\n- {door: lines, tag: '{host}.{field}'}\n"), 0o600))
	for want, args := range map[string][]string{
		"--data is required":        {},
		templates + ":2: tag":       {"--data", dir, "--agent-templates", templates},
		"--tls-cert":                {"--data", dir, "--listen", "0.0.0.0:0"},
		"--http-listen: listen on":  {"--data", dir, "--http-listen", "0.0.0.0:0"},
		"must be HOST:PORT":         {"--data", dir, "--listen", "somewhere"},
		"--postgres: listen on":     {"--data", dir, "--postgres", "0.0.0.0:5432"},
		"must be at least 32MiB":    {"--data", dir, "--memory", "1MiB"},
		"size \"lots\"":             {"--data", dir, "--memory", "lots"},
		"--min-time":                {"--data", dir, "--min-time", "yesterday"},
		"--client-cert-scope":       {"--data", dir, "--client-cert-scope", "root"},
		"--log-level":               {"--data", dir, "--log-level", "loud"},
		"--log-format":              {"--data", dir, "--log-format", "xml"},
		"unknown flag":              {"--data", dir, "--fast"},
		"see varve serve --help":    {"--data", dir, "--fast"},
		"unknown command \"extra\"": {"--data", dir, "extra"},
	} {
		var stderr strings.Builder
		code := run(context.Background(), append([]string{"serve"}, args...), io.Discard, &stderr)
		require.NotZero(t, code)
		require.Contains(t, stderr.String(), want)
		if !strings.Contains(want, "unknown command") {
			require.Equal(t, exitUsage, code, stderr.String())
		}
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "a refused start leaves nothing behind")
}

func TestTokenIsPrintedOnceAndLetsIn(t *testing.T) {
	var token, line strings.Builder
	require.Zero(t, run(context.Background(), []string{"token", "new", "ana", "--scope", "read,write"}, &token, &line))
	require.Regexp(t, `^varve\.ana\.[A-Za-z0-9_-]{43}\n$`, token.String())
	require.Regexp(t, `^ana:read,write:argon2id\$`, line.String())
	require.NotContains(t, line.String(), strings.TrimSpace(token.String())[10:])
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(line.String()), 0o600))
	addr, stop := runServe(t, "--data", filepath.Join(t.TempDir(), "store"), "--listen", "127.0.0.1:0", "--tokens", file, "--min-free", "0", "--ballast", "0", "--metrics-listen", "", "--memory", "64MiB")
	var out strings.Builder
	require.NotZero(t, run(context.Background(), []string{"status", "--server", addr}, &out, &out))
	require.Contains(t, out.String(), "token")
	code, stderr := stop()
	require.Zero(t, code)
	require.NotContains(t, stderr, strings.TrimSpace(token.String())[10:])
	require.Equal(t, exitUsage, run(context.Background(), []string{"token", "new", "ana", "--scope", "root"}, io.Discard, io.Discard))
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "1048576": 1 << 20, "64MiB": 64 << 20, "1.5GiB": 3 << 29, "2MB": 2e6, "7B": 7} {
		var s size
		require.NoError(t, s.Set(text))
		require.Equal(t, want, s)
		var again size
		require.NoError(t, again.Set(s.String()))
		require.Equal(t, want, again)
	}
	for _, text := range []string{"", "x", "-1", "1XB", "1e30", "NaN", "9999999TiB"} {
		require.Error(t, new(size).Set(text), text)
	}
}
