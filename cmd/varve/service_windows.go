package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

const (
	serviceLogMost = 16 << 20 // a log that is larger when the service starts becomes NAME.log.1
	serviceStopMax = 2 * time.Minute
)

func (s *service) logFile() string {
	if s.log != "" {
		return s.log
	}
	return filepath.Join(os.Getenv("ProgramData"), "Varve", s.name+".log")
}

// command is what the system starts: this program, which answers the system and runs args.
func (s *service) command() []string {
	return append([]string{"service", "run", "--name", s.name, "--dir", s.dir, "--log", s.logFile(), "--"}, s.args...)
}

func printedService(s *service) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "name     %s\ncommand  %s", s.name, windows.EscapeArg(s.program))
	for _, w := range s.command() {
		b.WriteString(" " + windows.EscapeArg(w))
	}
	fmt.Fprintf(&b, "\nstart    automatic\nfailure  again after 2 s\nlog      %s\n", s.logFile())
	return b.String(), nil
}

func installService(s *service) (err error) {
	if s.user != "" {
		return errors.New("--user is for Linux; here the service runs as LocalSystem, which the system's own tools change")
	}
	if err := os.MkdirAll(filepath.Dir(s.logFile()), 0o750); err != nil {
		return err
	}
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("connect to the service manager, as an administrator: %w", err)
	}
	defer func() { err = errors.Join(err, m.Disconnect()) }()
	x, err := m.CreateService(s.name, s.program, mgr.Config{StartType: mgr.StartAutomatic, DisplayName: s.describe(), Description: strings.Join(s.args, " ")}, s.command()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	again := []mgr.RecoveryAction{{Type: mgr.ServiceRestart, Delay: 2 * time.Second}}
	if err := errors.Join(x.SetRecoveryActions(again, 0), x.SetRecoveryActionsOnNonCrashFailures(true)); err != nil {
		return errors.Join(err, x.Delete())
	}
	return x.Start()
}

// withService calls do with a service of the system.
func withService(name string, do func(*mgr.Service) error) (err error) {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("connect to the service manager, as an administrator: %w", err)
	}
	defer func() { err = errors.Join(err, m.Disconnect()) }()
	x, err := m.OpenService(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	return do(x)
}

func uninstallService(name string) error {
	return withService(name, func(x *mgr.Service) error {
		c, err := x.Config()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(c.DisplayName, "Varve: ") {
			return fmt.Errorf("%q is not of varve service install", c.DisplayName)
		}
		state, err := x.Query()
		if err != nil {
			return err
		}
		if state.State != svc.Stopped && state.State != svc.StopPending {
			if _, err := x.Control(svc.Stop); err != nil {
				return fmt.Errorf("stop it: %w", err)
			}
		}
		for end := time.Now().Add(serviceStopMax); state.State != svc.Stopped; time.Sleep(100 * time.Millisecond) {
			if state, err = x.Query(); err != nil {
				return err
			}
			if time.Now().After(end) {
				return fmt.Errorf("it does not stop within %s", serviceStopMax)
			}
		}
		return x.Delete()
	})
}

func serviceState(name string) (state string, err error) {
	err = withService(name, func(x *mgr.Service) error {
		s, err := x.Query()
		if err != nil {
			return err
		}
		state = map[svc.State]string{svc.Running: "running", svc.StartPending: "starting", svc.StopPending: "stopping", svc.Stopped: "stopped"}[s.State]
		if s.State == svc.Stopped && s.Win32ExitCode != 0 {
			state = "failed"
		}
		if state == "" {
			return fmt.Errorf("Windows says state %d", s.State)
		}
		return nil
	})
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return "absent", nil
	}
	return state, err
}

// systemServiceCommands is what the system starts.
func systemServiceCommands() []*cobra.Command {
	var name, dir, log string
	cmd := &cobra.Command{
		Use:    "run -- serve|collect ...",
		Short:  "What the service manager starts",
		Hidden: true,
		Args:   asUsage(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			inside, err := svc.IsWindowsService()
			if err != nil {
				return err
			}
			if !inside {
				return usageError(errors.New("this is for the service manager: varve service install"))
			}
			if err := os.Chdir(dir); err != nil {
				return err
			}
			out, err := openServiceLog(log)
			if err != nil {
				return err
			}
			// What the runtime says of a panic goes to the log too.
			if err := windows.SetStdHandle(windows.STD_ERROR_HANDLE, windows.Handle(out.Fd())); err != nil {
				return err
			}
			return errors.Join(svc.Run(name, &managed{args: args, out: out}), out.Close())
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "of the service")
	cmd.Flags().StringVar(&dir, "dir", "", "where relative paths begin")
	cmd.Flags().StringVar(&log, "log", "", "what it says is appended to this file")
	return []*cobra.Command{cmd}
}

func openServiceLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > serviceLogMost {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
}

// managed is a command line under the service manager.
type managed struct {
	args []string
	out  *os.File
}

// Execute runs the command line until it ends or the manager says stop, which is to it what SIGTERM is elsewhere.
func (m *managed) Execute(_ []string, asked <-chan svc.ChangeRequest, say chan<- svc.Status) (bool, uint32) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, m.args, m.out, m.out) }()
	now := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	say <- now
	for {
		select {
		case code := <-ended:
			return true, uint32(code)
		case r := <-asked:
			switch r.Cmd {
			case svc.Stop, svc.Shutdown:
				now = svc.Status{State: svc.StopPending, WaitHint: uint32(serviceStopMax.Milliseconds())}
				stop()
			}
			say <- now
		}
	}
}
