package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// terminal is a program in a pseudo terminal of its own.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	ended  chan error

	mu     sync.Mutex
	screen bytes.Buffer // all it wrote
	seen   int          // by expect, of what is shown
}

func ioctl(t *testing.T, fd, request uintptr, arg unsafe.Pointer) {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg))
	require.Zero(t, errno, errno.Error())
}

// inTerminal starts a program in a terminal of so many columns.
func inTerminal(t *testing.T, columns int, env []string, program string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	var number uint32
	var unlock int32
	size := [4]uint16{40, uint16(columns)}
	ioctl(t, master.Fd(), syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(t, master.Fd(), syscall.TIOCGPTN, unsafe.Pointer(&number))
	ioctl(t, master.Fd(), syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	x := &terminal{t: t, master: master, cmd: exec.Command(program, args...), ended: make(chan error, 1)}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	x.cmd.Env = append(os.Environ(), append([]string{"TERM=xterm"}, env...)...)
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, x.cmd.Start())
	require.NoError(t, slave.Close())
	go x.read()
	go func() { x.ended <- x.cmd.Wait() }()
	t.Cleanup(func() { _ = x.cmd.Process.Kill() })
	return x
}

// moves is what moves the cursor, also where the end of it is not here yet.
var moves = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b(\\[[0-9;?]*)?$|[\a\r]")

func (x *terminal) read() {
	b := make([]byte, 4096)
	for {
		n, err := x.master.Read(b)
		x.mu.Lock()
		x.screen.Write(b[:n])
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shown is what was written since the last expect, without moves of the cursor.
func (x *terminal) shown() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return moves.ReplaceAllString(x.screen.String(), "")[x.seen:]
}

func (x *terminal) typed(text string) {
	x.t.Helper()
	_, err := io.WriteString(x.master, text)
	require.NoError(x.t, err)
}

// expect waits until a text was written, and returns what was up to its end.
func (x *terminal) expect(text string) string {
	x.t.Helper()
	var got string
	if !waitFor(func() bool { got = x.shown(); return strings.Contains(got, text) }) {
		require.Fail(x.t, "the terminal does not show it", "%q in %q", text, got)
	}
	end := strings.Index(got, text) + len(text)
	x.seen += end
	return got[:end]
}

// waitFor waits for something that happens on any machine before long.
func waitFor(ok func() bool) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// ask types a line and returns what is shown up to the next prompt.
func (x *terminal) ask(line string) string {
	x.t.Helper()
	x.typed(line + "\r")
	x.expect("\n") // what is typed is shown as it is edited, each time with the prompt; then the line ends
	return x.answer()
}

// answer is what is shown up to the next prompt.
func (x *terminal) answer() string {
	x.t.Helper()
	return "\n" + x.expect("varve> ")
}

func TestSQLShell(t *testing.T) {
	address, sql := serveSQL(t)
	fillSQL(t, address)
	state := t.TempDir()
	env := []string{"XDG_STATE_HOME=" + state}
	program := varveBinary(t)
	x := inTerminal(t, 80, env, program, "sql", "--server", address)
	x.expect("varve> ")

	require.Regexp(t, `(?s)A\n1\n\(1 row, .*s\)\n`, x.ask("select 1 as a;"))
	// Several lines, a semicolon in quotes and in a comment, two statements in a line.
	x.typed("select 'a;b' as x, -- not ; here\r")
	x.expect("  ...> ")
	require.Regexp(t, `(?s)X    Y\na;b  2\n\(1 row.*\nZ\n3\n\(1 row`, x.ask("2 as y; select 3 as z;"))
	require.Contains(t, x.ask("select nothing from samples;"), "nothing")
	require.Regexp(t, `samples +table`, x.ask(`\d`))
	require.Regexp(t, `aggregate +function`, x.ask(`\d`))
	require.Regexp(t, `value +DOUBLE +column`, x.ask(`\d samples`))
	require.Regexp(t, `every +VARCHAR +argument`, x.ask(`\d interpolated`))
	require.Contains(t, x.ask(`\d nothing`), "there is no table nothing")
	require.Contains(t, x.ask(`\tags FI*`), "FI-101  float64")
	require.Contains(t, x.ask(`\?`), `\watch SECONDS`)
	require.Contains(t, x.ask(`\nothing`), "there is no command")

	// A table fits: texts are cut, numbers never.
	shown := x.ask("select repeat('word ', 100) as long, 123456789012345678 as number, repeat('x', 30) as other;")
	for _, line := range strings.Split(shown, "\n") {
		require.LessOrEqual(t, len([]rune(line)), 80, line)
	}
	require.Contains(t, shown, "…")
	require.Contains(t, shown, "123456789012345678")
	x.ask(`\x`)
	require.Contains(t, x.ask("select 1 as a, 'b' as bee;"), "-- 1\na   | 1\nbee | b\n(1 row")
	x.ask(`\x`)
	require.Contains(t, x.ask(`\timing`), "not said")
	require.Contains(t, x.ask("select 1 as a;"), "(1 row)\n")

	// Settings of the shell.
	require.Contains(t, x.ask("set timezone to 'Europe/Berlin';"), "Statements run in UTC all the same")
	require.Contains(t, x.ask("select timestamptz '2026-07-01 12:00:00Z' as at;"), "2026-07-01T14:00:00+02:00")
	require.Contains(t, x.ask("show timezone;"), "Europe/Berlin")
	require.Contains(t, x.ask("set timezone = 'Nowhere/Else';"), "Nowhere/Else")
	x.ask("reset timezone;")
	require.Contains(t, x.ask("select timestamptz '2026-07-01 12:00:00Z' as at;"), "2026-07-01T12:00:00Z")
	x.ask("set statement_timeout to '100ms';")
	require.Contains(t, x.ask("select sum(i % 7) from range(1000000000000) t(i);"), "100ms")
	x.ask("set statement_timeout to default;")
	require.Contains(t, x.ask("set memory_limit = '1GB';"), "memory_limit")

	// Files.
	csv, parquet := filepath.Join(t.TempDir(), "a.csv"), filepath.Join(t.TempDir(), "a.parquet")
	x.ask(`\output csv`)
	require.Contains(t, x.ask("select 5 as five;"), "five\n5\n")
	x.ask(`\o ` + csv)
	require.Contains(t, x.ask("select 1 as a;"), "(1 row to "+csv)
	x.ask("select 2 as b;")
	got, err := os.ReadFile(csv)
	require.NoError(t, err)
	require.Equal(t, "a\n1\nb\n2\n", string(got))
	x.ask(`\output parquet`)
	x.ask(`\o ` + parquet)
	x.ask("select * from samples;")
	require.Contains(t, x.ask("select 1;"), "has an answer already")
	got, err = os.ReadFile(parquet)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(got, []byte("PAR1")))
	require.Contains(t, x.ask(`\o`), "on the terminal again")

	// Charts: one for each tag and column, spikes and all.
	shown = x.ask(`\plot select time, tag, value, quality from samples`)
	require.Contains(t, shown, "FI-101 value\n999.5 ┤")
	require.Contains(t, shown, "TI-007 value\n")
	require.NotContains(t, shown, "quality")
	require.Contains(t, x.ask(`\plot`), "FI-101 value\n")
	require.Contains(t, x.ask(`\plot select 1`), "instants")

	// Ctrl-C ends the statement, the line that is typed, a watch; and not the shell.
	x.typed("select sum(i % 7) from range(1000000000000) t(i);\r")
	x.expect("\n")
	time.Sleep(300 * time.Millisecond) // until it runs; sooner only makes the test easier
	x.typed("\x03")
	require.Contains(t, x.expect("varve> "), "stopped")
	x.typed("select 'half\r")
	x.expect("  ...> ")
	x.typed("\x03")
	x.expect("varve> ")
	x.ask("select 7 as seven;")
	x.typed(`\watch 0.2` + "\r")
	x.expect("\n")
	for range 3 {
		x.expect("7\n")
	}
	x.typed("\x03")
	x.expect("varve> ")
	require.Contains(t, x.ask("select 8 as eight;"), "EIGHT\n")
	require.Equal(t, "1", sql("select 1"))

	// Tab: key words, tables, columns of tables that are named, names of tags in quotes.
	x.typed("sele\t")
	x.expect("select")
	x.typed(" count(*) as n from good_s\t")
	x.expect("good_samples")
	x.typed(" where severi\t")
	x.expect("severity")
	x.typed(" = 'Good' and tag = 'FI\t")
	x.expect("FI-101'")
	require.Contains(t, x.ask(";"), "N\n1000\n")
	x.typed(`\tags T` + "\t")
	x.expect("TI-007")
	x.typed("\x03")
	x.expect("varve> ")
	x.typed("select SAM\t")
	x.expect("SAMPLE")
	x.typed("\x03")
	x.expect("varve> ")

	// What is kept.
	x.ask("select 'my password is x' as kept;")
	x.ask("select\r1 as \rlast_one;")
	x.typed("\x1b[A")
	x.expect("select 1 as last_one;")
	x.typed("\x03")
	x.expect("varve> ")
	x.typed("\x04")
	require.NoError(t, <-x.ended)
	file := filepath.Join(state, "varve", "sql_history")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(kept), "\nselect 'a;b' as x, 2 as y; select 3 as z;\n")
	require.Contains(t, string(kept), "\nselect 1 as last_one;\n")
	require.NotContains(t, string(kept), "password")

	// The next one remembers, even where others may read the file.
	require.NoError(t, os.Chmod(file, 0o644))
	x = inTerminal(t, 80, env, program, "sql", "--server", address, "-o", "json")
	x.expect("varve> ")
	x.typed("\x1b[A")
	x.expect("select 1 as last_one;")
	x.typed("\r")
	x.expect(`{"last_one":1}`)
	x.expect("varve> ")
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	x.typed(`\q` + "\r")
	require.NoError(t, <-x.ended)

	// A signal to end ends it, at the prompt too; a terminal that knows nothing is enough.
	x = inTerminal(t, 80, append(env, "TERM=dumb"), program, "sql", "--server", address)
	x.expect("varve> ")
	require.Contains(t, x.ask("select 9 as nine;"), "NINE\n   9")
	require.NoError(t, x.cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, <-x.ended)
}
