package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// systemd is where its units are and how it is told of them.
type systemd struct {
	units string
	ctl   func(args ...string) (string, error)
}

var system = systemd{units: "/etc/systemd/system", ctl: systemctl}

func systemctl(args ...string) (string, error) {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("there is no systemctl here; varve service install --print prints the unit")
	}
	if err != nil && text != "" {
		err = fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, err
}

func installService(s *service) error              { return system.install(s) }
func uninstallService(name string) error           { return system.uninstall(name) }
func serviceState(name string) (string, error)     { return system.state(name) }
func printedService(s *service) (string, error)    { return unit(s), nil }
func systemServiceCommands() []*cobra.Command      { return nil }
func (d *systemd) path(name string) string         { return filepath.Join(d.units, name+".service") }
func (d *systemd) tell(args ...string) (err error) { _, err = d.ctl(args...); return err }

// unit is the service for systemd.
func unit(s *service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=%s\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\n", s.describe())
	words := make([]string, 0, len(s.args)+1)
	for _, w := range append([]string{s.program}, s.args...) {
		words = append(words, quoteUnit(w))
	}
	fmt.Fprintf(&b, "ExecStart=%s\n", strings.Join(words, " "))
	if s.args[0] == "collect" || slices.ContainsFunc(s.args, func(w string) bool { return w == "--collect" || strings.HasPrefix(w, "--collect=") }) {
		b.WriteString("ExecReload=/bin/kill -HUP $MAINPID\n")
	}
	fmt.Fprintf(&b, "WorkingDirectory=%s\n", strings.ReplaceAll(s.dir, "%", "%%"))
	if s.user != "" {
		fmt.Fprintf(&b, "User=%s\n", s.user)
	}
	// Two minutes are for the streams to end and for the store to close. Exit status 2 is a command line that makes no sense: again it makes none.
	b.WriteString("Restart=always\nRestartSec=2\nRestartPreventExitStatus=2\nTimeoutStopSec=120\nLimitNOFILE=65536\n\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

// quoteUnit is a word as a command line of systemd has it: nothing in it is replaced or taken apart.
func quoteUnit(w string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(w) + `"`
}

func (d *systemd) install(s *service) error {
	f, err := os.OpenFile(d.path(s.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; uninstall it first", d.path(s.name))
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(unit(s))
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.tell("daemon-reload")
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return d.tell("enable", "--now", s.name)
}

func (d *systemd) uninstall(name string) error {
	text, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s", d.path(name))
	}
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), "\nDescription=Varve: ") {
		return fmt.Errorf("%s is not of varve service install", d.path(name))
	}
	if err := d.tell("disable", "--now", name); err != nil {
		return err
	}
	if err := os.Remove(d.path(name)); err != nil {
		return err
	}
	return d.tell("daemon-reload")
}

// state is what systemd says of a unit, in the words of varve service status.
func (d *systemd) state(name string) (string, error) {
	text, err := d.ctl("show", "--property=LoadState", "--property=ActiveState", name)
	if err != nil {
		return "", err
	}
	lines := strings.Fields(text)
	if slices.Contains(lines, "LoadState=not-found") {
		return "absent", nil
	}
	for from, to := range map[string]string{
		"active": "running", "reloading": "running", "activating": "starting", "deactivating": "stopping", "inactive": "stopped", "failed": "failed",
	} {
		if slices.Contains(lines, "ActiveState="+from) {
			return to, nil
		}
	}
	return "", fmt.Errorf("systemd says %q", text)
}
