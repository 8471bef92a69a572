//go:build !linux && !windows

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

var errNoServices = errors.New("on this system there are no services that varve knows; have its own start varve serve or varve collect, and end it with SIGTERM")

func installService(*service) error           { return errNoServices }
func uninstallService(string) error           { return errNoServices }
func serviceState(string) (string, error)     { return "", errNoServices }
func printedService(*service) (string, error) { return "", errNoServices }
func systemServiceCommands() []*cobra.Command { return nil }
