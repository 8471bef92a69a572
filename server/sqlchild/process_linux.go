package sqlchild

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// attributes lets the process die with the server, and keeps signals of a terminal from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// watchMemory kills the process when it holds more than it may.
func (p *process) watchMemory(most int64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-tick.C:
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid()))
		if err != nil {
			return
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
			return
		}
		if held := resident * int64(os.Getpagesize()); held > most {
			p.kill(fmt.Sprintf("it held %d bytes of memory, most is %d", held, most))
			return
		}
	}
}
