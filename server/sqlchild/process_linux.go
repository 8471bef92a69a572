package sqlchild

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes lets the process die with the server, and keeps signals of a terminal from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// watch kills the process when it holds more than most, and gives it the processors it may have.
func (p *process) watch(most int64, written func() uint64) {
	pressure := pressure{before: written()}
	aside := false
	tick := time.NewTicker(lookEvery)
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
		if now := pressure.look(written()); now != aside {
			aside = now
			p.stepAside(aside)
		}
	}
}

// stepAside keeps the process off the first of the processors there are, where the server's threads then find one that does nothing, or lets it
// on there again. Alone on a processor it stays there.
func (p *process) stepAside(aside bool) {
	var processors unix.CPUSet
	if err := unix.SchedGetaffinity(0, &processors); err != nil || processors.Count() < 2 {
		return
	}
	if aside {
		first := 0
		for !processors.IsSet(first) {
			first++
		}
		processors.Clear(first)
	}
	for range 2 { // a thread that is made meanwhile has the processors of the one that makes it
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.pid()))
		for _, t := range threads {
			if id, err := strconv.Atoi(filepath.Base(t)); err == nil {
				_ = unix.SchedSetaffinity(id, &processors) // one that ended needs none
			}
		}
	}
}
