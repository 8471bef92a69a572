package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Again gives up rights and executes the program anew with args, which then has none of them. It returns only for an error.
func Again(l Limits, args []string) error {
	runtime.LockOSThread() // the rights are this thread's, and what it executes inherits them
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	for _, x := range []struct {
		what  string
		which int
		most  uint64
	}{
		{"core files", unix.RLIMIT_CORE, 0}, {"address space", unix.RLIMIT_AS, uint64(l.AddressBytes)},
		{"file size", unix.RLIMIT_FSIZE, uint64(l.FileBytes)}, {"open files", unix.RLIMIT_NOFILE, l.Files},
	} {
		if err := unix.Setrlimit(x.which, &unix.Rlimit{Cur: x.most, Max: x.most}); err != nil {
			return fmt.Errorf("limit %s to %d: %w", x.what, x.most, err)
		}
	}
	// The first to go when memory runs out, the last to run when processors do.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	stepBack()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := landlock(l.Dir, program); err != nil {
		return err
	}
	return fmt.Errorf("execute %s anew: %w", program, unix.Exec(program, args, nil))
}

// niceness is how this process shares a processor that another wants too: it has a tenth of it, and still answers. With SCHED_IDLE, a 300th, it would not.
const niceness = 10

// longSlice is how long the slices of time of this process are. From Linux 6.12 on whoever wakes up and has shorter ones, as everybody has,
// need not wait until one of these is over.
const longSlice = 100 * time.Millisecond

// stepBack lets this thread, and what it executes, stand behind others for processors.
func stepBack() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness)
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: niceness, Runtime: uint64(longSlice)}, 0)
}

// landlockFiles is every right to files that a version of Landlock knows.
func landlockFiles(version uintptr) uint64 {
	rights := uint64(1<<13 - 1)
	for v, right := range map[uintptr]uint64{2: unix.LANDLOCK_ACCESS_FS_REFER, 3: unix.LANDLOCK_ACCESS_FS_TRUNCATE, 5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV} {
		if version >= v {
			rights |= right
		}
	}
	return rights
}

// landlock leaves a thread the files of a directory, its program and the libraries of that, and no TCP. Without Landlock it does nothing;
// Filter says so.
func landlock(dir, program string) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return nil
	}
	files := landlockFiles(version)
	attr := struct{ files, net, scoped uint64 }{files: files}
	size := unsafe.Sizeof(attr.files)
	if version >= 4 {
		attr.net, size = unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, 16
	}
	if version >= 6 {
		attr.scoped, size = 3, 24 // abstract sockets and signals of others
	}
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("make a landlock ruleset: %w", errno)
	}
	defer func() { _ = unix.Close(int(set)) }()
	const read = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	const readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	rules := map[string]uint64{
		program: readFile, "/etc/ld.so.cache": readFile, "/lib": read, "/lib64": read, "/usr/lib": read, "/usr/lib64": read, "/usr/local/lib": read,
	}
	if dir != "" {
		rules[dir] = files &^ (unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
			unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM)
	}
	for path, rights := range rules {
		if err := allow(int(set), path, rights); err != nil && path == dir {
			return fmt.Errorf("keep the rights to %s: %w", path, err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return fmt.Errorf("give up the rights to files: %w", errno)
	}
	return nil
}

func allow(set int, path string, rights uint64) error {
	f, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(f) }()
	// Packed in C: a right of 8 bytes and a file of 4.
	var rule [12]byte
	*(*uint64)(unsafe.Pointer(&rule[0])) = rights
	*(*int32)(unsafe.Pointer(&rule[8])) = int32(f)
	const pathBeneath = 1
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), pathBeneath, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// Filter takes system calls away from every thread of the process, and says what is in force.
func Filter() (string, error) {
	var report []string
	if _, err := os.Open("/etc/passwd"); err != nil {
		report = append(report, "no files")
	} else {
		report = append(report, "files can be read (no Landlock)")
	}
	program := filter()
	if program == nil {
		return strings.Join(append(report, "system calls are not filtered on "+runtime.GOARCH), ", "), nil
	}
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p))); errno != 0 {
		if errno == unix.ENOSYS || errno == unix.EINVAL {
			return strings.Join(append(report, "system calls are not filtered (no seccomp)"), ", "), nil
		}
		return "", fmt.Errorf("filter system calls: %w", errno)
	}
	if s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
		_ = unix.Close(s)
		return "", fmt.Errorf("filter system calls: a socket can be opened all the same")
	}
	return strings.Join(append(report, "no sockets, no programs, no other processes"), ", "), nil
}

// filter is the program that looks at each system call, nil where we have none.
func filter() []unix.SockFilter {
	if auditArch == 0 {
		return nil
	}
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		same    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		hasBit  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		end     = unix.BPF_RET | unix.BPF_K

		number, arch, firstArgument = 0, 4, 16 // offsets in seccomp_data

		deny    = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	p := []unix.SockFilter{
		{Code: load, K: arch},
		{Code: same, K: auditArch, Jt: 1},
		{Code: end, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: number},
		{Code: atLeast, K: 0x40000000, Jf: 1}, // another way to call, by other numbers
		{Code: end, K: deny},
		// A thread, but no process.
		{Code: same, K: unix.SYS_CLONE, Jf: 4},
		{Code: load, K: firstArgument},
		{Code: hasBit, K: unix.CLONE_THREAD, Jt: 1},
		{Code: end, K: deny},
		{Code: end, K: unix.SECCOMP_RET_ALLOW},
		// Its flags lie in memory; libraries that are told it is not there use the other.
		{Code: same, K: unix.SYS_CLONE3, Jf: 1},
		{Code: end, K: unknown},
	}
	for _, call := range denied {
		p = append(p, unix.SockFilter{Code: same, K: uint32(call), Jf: 1}, unix.SockFilter{Code: end, K: deny})
	}
	return append(p, unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ALLOW})
}

// denied is the system calls that are refused, besides those of the architecture.
var denied = append([]uintptr{
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_KILL, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_CAPSET, unix.SYS_PERSONALITY,
	unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETHOSTNAME, unix.SYS_CLOCK_SETTIME, unix.SYS_SETTIMEOFDAY, unix.SYS_ADJTIMEX, unix.SYS_SYSLOG,
	unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_MQ_OPEN, unix.SYS_FANOTIFY_INIT, unix.SYS_INOTIFY_INIT1,
}, deniedHere...)
