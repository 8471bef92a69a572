//go:build unix && !linux

package sqlchild

import "syscall"

// attributes keeps signals of a terminal from the process. It notices the server's end by its sockets.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// watch has nothing to look at here; the engine holds itself to its limit of memory.
func (p *process) watch(int64, func() uint64) {}
