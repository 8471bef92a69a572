package sandbox

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The test program is also the process that gives up its rights: called with confine it does, and begins anew with attempt, which tries
// what it may not and prints what it could.
func TestMain(m *testing.M) {
	args := os.Args[1:]
	switch {
	case len(args) == 2 && args[0] == "confine":
		fmt.Println(Again(Limits{AddressBytes: 8 << 30, FileBytes: 1 << 20, Files: 64, Dir: args[1]}, []string{os.Args[0], "attempt", args[1]}))
		os.Exit(1)
	case len(args) == 2 && args[0] == "attempt":
		attempt(args[1])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempt prints the name of everything that it could do.
func attempt(dir string) {
	report, err := Filter()
	fmt.Println("report:", report, err)
	for name, try := range map[string]func() error{
		"read a file":        func() error { _, err := os.ReadFile("/etc/passwd"); return err },
		"list a directory":   func() error { _, err := os.ReadDir("/"); return err },
		"write a file":       func() error { return os.WriteFile("/tmp/varve-sandbox-test", nil, 0o600) },
		"write beside":       func() error { return os.WriteFile(filepath.Join(filepath.Dir(dir), "beside"), nil, 0o600) },
		"write its own":      func() error { return os.WriteFile(filepath.Join(dir, "own"), []byte("x"), 0o600) },
		"read its own":       func() error { _, err := os.ReadFile(filepath.Join(dir, "own")); return err },
		"link out":           func() error { return os.Symlink("/etc/passwd", filepath.Join(dir, "link")) },
		"grow a file":        func() error { return os.Truncate(filepath.Join(dir, "own"), 2<<20) },
		"open a socket":      func() error { _, err := net.Dial("tcp", "127.0.0.1:1"); return notRefused(err) },
		"listen":             func() error { _, err := net.Listen("tcp", "127.0.0.1:0"); return err },
		"open a unix socket": func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
		"run a program":      func() error { return exec.Command("/bin/true").Run() },
		"signal others":      func() error { return syscall.Kill(os.Getppid(), 0) },
		"trace":              func() error { return unix.PtraceAttach(os.Getppid()) },
		"mount":              func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		"unshare":            func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"run in threads": func() error {
			done := make(chan bool)
			for range 20 {
				go func() { done <- true }()
			}
			for range 20 {
				<-done
			}
			return nil
		},
		"limits grow": func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 16, Max: 1 << 16}) },
	} {
		if try() == nil {
			fmt.Println("could:", name)
		}
	}
	fmt.Println("environment:", len(os.Environ()))
}

// notRefused is nil where there was a socket, connected or not.
func notRefused(err error) error {
	if err != nil && strings.Contains(err.Error(), "refused") {
		return nil
	}
	return err
}

func TestAProcessKeepsWhatItNeedsAndNothingElse(t *testing.T) {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		t.Skip("this kernel has no Landlock: ", errno)
	}
	if auditArch == 0 {
		t.Skip("system calls are not filtered here")
	}
	dir := filepath.Join(t.TempDir(), "own")
	require.NoError(t, os.Mkdir(dir, 0o700))
	program, err := os.Executable()
	require.NoError(t, err)
	out, err := exec.Command(program, "confine", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	var could []string
	for _, line := range strings.Split(string(out), "\n") {
		if name, ok := strings.CutPrefix(line, "could: "); ok {
			could = append(could, name)
		}
	}
	slices.Sort(could)
	want := []string{"read its own", "run in threads", "write its own"}
	if os.Getuid() == 0 && slices.Contains(could, "limits grow") {
		want = append(want, "limits grow") // of root, who may
		slices.Sort(want)
	}
	// What is read depends on the order of the attempts: a file of its own may not be written yet.
	require.Subset(t, want, could, string(out))
	require.Contains(t, could, "write its own", string(out))
	require.Contains(t, could, "run in threads", string(out))
	require.Contains(t, string(out), "report: no files, no sockets, no programs, no other processes <nil>")
	require.Contains(t, string(out), "environment: 0")
}
