package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, 100 a second on every Linux machine.
const clockTick = 100

// cpuSeconds is the CPU time a process has used, user and system. pid may be "self".
func cpuSeconds(pid string) (float64, error) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of a process, which this program has only on Linux: %w", err)
	}
	// The command's name, in parentheses, may hold anything; fields are counted from behind it.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%s/stat has %d fields, want at least 13", pid, len(fields))
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, fmt.Errorf("user time in /proc/%s/stat: %w", pid, err)
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		return 0, fmt.Errorf("system time in /proc/%s/stat: %w", pid, err)
	}
	return (user + system) / clockTick, nil
}

// procFields reads a file of "name: number …" lines, such as /proc/PID/status and /proc/PID/io.
func procFields(path string) (map[string]uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fields := map[string]uint64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if n, err := strconv.ParseUint(words[0], 10, 64); err == nil {
				fields[name] = n
			}
		}
	}
	return fields, nil
}

// usage is what a process has used so far.
type usage struct {
	cpu        float64 // seconds
	writeBytes uint64  // handed to the disk
	rss        uint64  // now
	rssPeak    uint64
	rssOwn     uint64 // of rss, what is no file's: heap, stacks
}

func usageOf(pid int) (usage, error) {
	name := strconv.Itoa(pid)
	cpu, err := cpuSeconds(name)
	if err != nil {
		return usage{}, err
	}
	status, err := procFields("/proc/" + name + "/status")
	if err != nil {
		return usage{}, err
	}
	io, err := procFields("/proc/" + name + "/io")
	if err != nil {
		return usage{}, err
	}
	return usage{cpu: cpu, writeBytes: io["write_bytes"], rss: status["VmRSS"] << 10, rssPeak: status["VmHWM"] << 10, rssOwn: status["RssAnon"] << 10}, nil
}

// machineBusySeconds is the CPU time all processes have used since the machine started, to know what others took.
func machineBusySeconds() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy float64
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle, waiting for disks, guests (counted in user)
			continue
		}
		ticks, _ := strconv.ParseFloat(field, 64)
		busy += ticks / clockTick
	}
	return busy
}
