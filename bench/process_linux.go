package main

import (
	"os/exec"
	"syscall"
)

// endWithUs makes the kernel end p when this process is gone, however it went.
func endWithUs(p *exec.Cmd) { p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
