//go:build !linux

package collector

import (
	"os"
	"runtime/debug"
	"syscall"
)

func apartProgram() (string, error) { return os.Executable() }

// apartAttributes has nothing to say here. The process ends when its standard input does.
func apartAttributes() *syscall.SysProcAttr { return nil }

// confine makes the process collect garbage sooner; the system here knows no bound of its memory.
func confine() error {
	debug.SetMemoryLimit(apartMemory / 4 * 3)
	return nil
}
