package main

import (
	"os"
	"os/exec"
	"syscall"
)

// endWithUs makes the kernel end p when this process is gone, however it went.
func endWithUs(p *exec.Cmd) { p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// runAs makes p run as another user, which only root may ask for. endWithUs goes before.
func runAs(p *exec.Cmd, uid, gid uint32) error {
	p.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	return nil
}

// holdStill stops a process where it is, or lets it go on.
func holdStill(p *os.Process, still bool) error {
	if still {
		return p.Signal(syscall.SIGSTOP)
	}
	return p.Signal(syscall.SIGCONT)
}
