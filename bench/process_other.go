//go:build !linux

package main

import (
	"errors"
	"os"
	"os/exec"
)

// endWithUs does nothing where the kernel cannot tie processes together.
func endWithUs(*exec.Cmd) {}

// runAs is not needed where figures are not taken.
func runAs(*exec.Cmd, uint32, uint32) error {
	return errors.New("running as another user is for Linux alone")
}

// holdStill is not needed where figures are not taken.
func holdStill(*os.Process, bool) error {
	return errors.New("holding a process still is for Linux alone")
}
