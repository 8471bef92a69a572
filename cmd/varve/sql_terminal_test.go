//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal is the keyboard and the screen of a program that runs.
type terminal struct {
	t       *testing.T
	master  *os.File
	process *exec.Cmd
	mu      sync.Mutex
	screen  strings.Builder
	seen    int // of the screen, by expect
}

// onTerminal starts a program on a terminal of its own, 60 characters wide.
func onTerminal(t *testing.T, env []string, program string, args ...string) *terminal {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	require.NoError(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 60}))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	x := &terminal{t: t, master: master, process: exec.Command(program, args...)}
	x.process.Stdin, x.process.Stdout, x.process.Stderr = slave, slave, slave
	x.process.Env = append(append(os.Environ(), "TERM=xterm"), env...)
	x.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, x.process.Start())
	require.NoError(t, slave.Close())
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			x.mu.Lock()
			x.screen.Write(b[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = x.process.Process.Kill() // it may have ended
		_ = x.process.Wait()
		<-read
		_ = master.Close() // nothing is left to read
	})
	return x
}

func (x *terminal) keys(s string) {
	x.t.Helper()
	_, err := x.master.WriteString(s)
	require.NoError(x.t, err)
}

// expect waits until the screen, behind what was expected before, has a text.
func (x *terminal) expect(text string) {
	x.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		x.mu.Lock()
		screen := x.screen.String()
		x.mu.Unlock()
		if i := strings.Index(screen[x.seen:], text); i >= 0 {
			x.seen += i + len(text)
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("%q is not on the screen, which has behind what came before:\n%q", text, screen[x.seen:])
		}
	}
}

func TestShellOnATerminal(t *testing.T) {
	address, _ := serveSQL(t)
	fillSQL(t, address)
	binary := filepath.Join(t.TempDir(), "varve")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	state := t.TempDir()
	x := onTerminal(t, []string{"XDG_STATE_HOME=" + state}, binary, "sql", "--server", address)
	x.expect("varve> ")
	x.keys("select 40 + 2 as answer\r")
	x.expect("..> ")
	x.keys(", 'x';\r")
	x.expect("ANSWER")
	x.expect("42")
	x.expect("1 row")
	x.expect("varve> ")

	// Tab completes a table and a tag; lines that are too wide are cut.
	x.keys("select * from tag_n\t limit 1;\r")
	x.expect("from tag_names")
	x.expect("1 row")
	x.expect("varve> ")
	x.keys("select * from samples where tag = 'TI\t' limit 2;\r")
	x.expect("TI-007")
	x.expect("…")
	x.expect("2 rows")
	x.expect("varve> ")

	// Ctrl-C stops a statement and not the shell, and gives up a statement that is being typed.
	x.keys("select count(*) from range(1000000) a, range(1000000) b, range(1000000) c;\r")
	time.Sleep(500 * time.Millisecond)
	x.keys("\x03")
	x.expect("stopped")
	x.expect("varve> ")
	x.keys("select '\r")
	x.expect("..> ")
	x.keys("\x03")
	x.expect("varve> ")

	x.keys("\\plot select time, value from samples where tag = 'FI-101';\r")
	x.expect("999.5")
	x.expect("varve> ")
	x.keys("nonsense;\r")
	x.expect("varve: statement is refused")
	x.expect("varve> ")
	x.keys("select 'my token' as t;\r")
	x.expect("not kept in the history")
	x.expect("varve> ")
	x.keys("\x04")
	require.NoError(t, x.process.Wait())

	history := filepath.Join(state, "varve", "sql_history")
	info, err := os.Stat(history)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	kept, err := os.ReadFile(history)
	require.NoError(t, err)
	require.Contains(t, string(kept), "select * from samples where tag = 'TI-007' limit 2;\n")
	require.NotContains(t, string(kept), "token")

	// The next time it is there.
	y := onTerminal(t, []string{"XDG_STATE_HOME=" + state}, binary, "sql", "--server", address)
	y.expect("varve> ")
	y.keys("\x1b[A")
	y.expect("nonsense;")
	y.keys("\x03\\q\r")
	require.NoError(t, y.process.Wait())
}
