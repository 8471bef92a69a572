package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sqlProcess is the number of a server's SQL process, 0 while there is none.
func sqlProcess(server int) int {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(server) + "/task/*/children")
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(b)) {
			if status, err := procFields("/proc/" + word + "/status"); err == nil && status["VmRSS"] > 0 { // else it is over, and not yet waited for
				pid, _ := strconv.Atoi(word)
				return pid
			}
		}
	}
	return 0
}

// sqlCPU is the CPU seconds of a server's SQL processes, those included that are over.
func sqlCPU(server int) float64 {
	family, _ := familyOf(server)
	var cpu float64
	for _, f := range family {
		if f.pid == server {
			cpu += f.reaped
		} else {
			cpu += f.cpu
		}
	}
	return cpu
}

// othersOf begins to count the CPU seconds that processes take which are neither this one nor a server and its SQL processes; the function it
// returns says how many so far. With more than a tenth of a core of them the figures are worse than they are alone.
func othersOf(server int) func() float64 {
	all := func() float64 {
		own, _ := cpuSeconds("self")
		u, _ := usageOf(server)
		return machineBusySeconds() - own - u.cpu - sqlCPU(server)
	}
	before := all()
	return func() float64 { return max(0, all()-before) }
}

// peaks is the most that a server and its SQL process held at a time.
type peaks struct {
	Server uint64 `json:"server_rss_bytes"`
	Child  uint64 `json:"sql_process_rss_bytes"`
	Temp   uint64 `json:"sql_temp_bytes,omitempty"`
	Deaths int    `json:"sql_process_deaths,omitempty"`
}

// watcher looks at a server and its SQL process forty times a second until it is stopped.
type watcher struct {
	server int
	temp   string // directory of temporary files, empty for none to look at
	over   chan struct{}
	wait   sync.WaitGroup

	mu   sync.Mutex
	seen peaks
}

func watch(server int, temp string) *watcher {
	w := &watcher{server: server, temp: temp, over: make(chan struct{})}
	child := sqlProcess(server)
	w.look(&child)
	w.wait.Go(func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.over:
				return
			case <-tick.C:
			}
			w.look(&child)
		}
	})
	return w
}

// look takes the figures of this moment. child is the process seen last, 0 for none.
func (w *watcher) look(child *int) {
	own, _ := procFields("/proc/" + strconv.Itoa(w.server) + "/status")
	died := false
	var theirs map[string]uint64
	if *child != 0 {
		theirs, _ = procFields("/proc/" + strconv.Itoa(*child) + "/status")
		died = theirs["VmRSS"] == 0
	}
	if *child == 0 || died {
		*child = sqlProcess(w.server)
	}
	var temp uint64
	if w.temp != "" {
		temp, _ = directoryBytes(w.temp, nil)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Server = max(w.seen.Server, own["VmRSS"]<<10)
	w.seen.Child = max(w.seen.Child, theirs["VmRSS"]<<10)
	w.seen.Temp = max(w.seen.Temp, temp)
	if died {
		w.seen.Deaths++
	}
}

// so is the peaks until now.
func (w *watcher) so() peaks {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// stop returns the peaks.
func (w *watcher) stop() peaks {
	close(w.over)
	w.wait.Wait()
	return w.seen
}
