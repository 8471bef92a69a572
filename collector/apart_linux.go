package collector

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
)

// apartProgram is this very program, also where its file was replaced since it was started.
func apartProgram() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// apartAttributes lets the process die with the collector, however that ends.
func apartAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// confine bounds the memory of this process, and makes it the first to go where the machine has none left. It leaves no core, which would hold secrets.
func confine() error {
	debug.SetMemoryLimit(apartMemory / 4 * 3)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) // a courtesy
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		return fmt.Errorf("read /proc/self/statm: %w", err)
	}
	// The runtime reserves much more than it uses, before anything runs: that is not what is bounded.
	most := pages*uint64(os.Getpagesize()) + apartMemory
	for _, x := range []struct {
		what  string
		which int
		most  uint64
	}{{"core files", syscall.RLIMIT_CORE, 0}, {"address space", syscall.RLIMIT_AS, most}} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(x.which, &now); err != nil {
			return fmt.Errorf("limit of %s: %w", x.what, err)
		}
		to := min(x.most, now.Max)
		if err := syscall.Setrlimit(x.which, &syscall.Rlimit{Cur: to, Max: to}); err != nil {
			return fmt.Errorf("limit %s to %d: %w", x.what, to, err)
		}
	}
	return nil
}
