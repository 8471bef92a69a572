//go:build unix

package sqlchild

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/varvedb/varve/internal/inherited"
)

// socketPairs is n sockets with two ends: ours and those of the process.
func socketPairs(n int) (ours []net.Conn, theirs []*os.File, err error) {
	for range n {
		syscall.ForkLock.RLock()
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err == nil {
			syscall.CloseOnExec(pair[0])
			syscall.CloseOnExec(pair[1])
		}
		syscall.ForkLock.RUnlock()
		if err != nil {
			closeAll(ours, theirs)
			return nil, nil, fmt.Errorf("make a socket for the SQL process: %w", err)
		}
		theirs = append(theirs, os.NewFile(uintptr(pair[1]), "socket of the SQL process"))
		c, err := inherited.Conn(os.NewFile(uintptr(pair[0]), "socket to the SQL process"))
		if err != nil {
			closeAll(ours, theirs)
			return nil, nil, err
		}
		ours = append(ours, c)
	}
	return ours, theirs, nil
}

// wait starts the process and waits for its end, on a thread that lasts as long: on Linux the process dies with the thread that made it.
func (p *process) wait(o Options, said io.ReadCloser, started chan<- error) {
	runtime.LockOSThread()
	err := p.cmd.Start()
	if err != nil {
		started <- err
		return
	}
	started <- nil
	scan(o, said)
	p.finish(o, p.cmd.Wait())
}
