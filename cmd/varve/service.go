package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// service is a command line that the system keeps running.
type service struct {
	name    string // of the system's entry
	program string // absolute
	args    []string
	dir     string // that relative paths of args begin at
	user    string // that it runs as; empty for what the system takes
	log     string // where what it says is appended to, on systems that keep no log
}

func (s *service) describe() string { return "Varve: " + s.args[0] }

type serviceFlags struct {
	name, user, log string
	print           bool
}

func newServiceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Have the system run serve or collect: a unit of systemd on Linux, a service of Windows",
		Long: `Makes an entry of the system that runs varve serve or varve collect from its start on, again after a failure, and ends it as SIGTERM does: on Linux a
unit of systemd, on Windows a service. install, uninstall and status need the rights that the system asks for.`,
		Example: `  varve service install --user varve -- serve --data /var/lib/varve
  varve service install --name varve-line1 -- collect --config /etc/varve/line1.yaml
  varve service install --print -- serve --data /var/lib/varve
  varve service status varve-serve
  varve service uninstall varve-serve`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServiceInstallCommand(), newServiceUninstallCommand(), newServiceStatusCommand())
	cmd.AddCommand(systemServiceCommands()...)
	return cmd
}

func newServiceInstallCommand() *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:   "install [flags] -- serve|collect ...",
		Short: "Make the entry and start it",
		Long: `Makes an entry that runs the command line behind --, with this program and in this directory, enables it and starts it. The command line has to make
sense; whether its files are there is seen when it starts. With --print nothing is installed: what would be is printed.`,
		Example: `  varve service install --user varve -- serve --data /var/lib/varve
  varve service install --print -- collect --config /etc/varve/line1.yaml`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.service(args)
			if err != nil {
				return usageError(err)
			}
			if f.print {
				text, err := printedService(s)
				if err != nil {
					return err
				}
				fmt.Fprint(cmd.OutOrStdout(), text)
				return nil
			}
			if err := installService(s); err != nil {
				return fmt.Errorf("install service %s: %w", s.name, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "service %s is installed and started\n", s.name)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "of the service: letters, digits, '-' and '_' (default varve-serve or varve-collect)")
	flags.StringVar(&f.user, "user", "", "user of Linux that it runs as (default root)")
	flags.StringVar(&f.log, "log", "", `on Windows the file that what it says is appended to (default NAME.log in %ProgramData%\Varve)`)
	flags.BoolVar(&f.print, "print", false, "print what would be installed")
	return cmd
}

func newServiceUninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "uninstall NAME",
		Short:   "Stop a service and take its entry away; its data stays",
		Example: `  varve service uninstall varve-serve`,
		Args:    asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkServiceName(args[0]); err != nil {
				return usageError(err)
			}
			if err := uninstallService(args[0]); err != nil {
				return fmt.Errorf("uninstall service %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "service %s is stopped and gone\n", args[0])
			return nil
		},
	}
}

func newServiceStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status NAME",
		Short:   "Print whether a service is there and runs",
		Long:    `Prints one word: running, starting, stopping, stopped, failed, or absent. Exit status: 0 if it runs or is starting, 1 if not.`,
		Example: `  varve service status varve-serve`,
		Args:    asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkServiceName(args[0]); err != nil {
				return usageError(err)
			}
			state, err := serviceState(args[0])
			if err != nil {
				return fmt.Errorf("ask for service %s: %w", args[0], err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), state)
			if state != "running" && state != "starting" {
				return fmt.Errorf("service %s does not run", args[0])
			}
			return nil
		},
	}
}

var serviceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func checkServiceName(name string) error {
	if !serviceName.MatchString(name) {
		return fmt.Errorf("service %.100q: names are 1 to 80 letters, digits, '-' and '_'", name)
	}
	return nil
}

// service is what the flags and the command line say.
func (f *serviceFlags) service(args []string) (*service, error) {
	if args[0] != "serve" && args[0] != "collect" {
		return nil, fmt.Errorf("%q is no service: must be serve or collect, behind --", args[0])
	}
	if err := checkServed(args); err != nil {
		return nil, err
	}
	s := &service{name: f.name, args: args, user: f.user, log: f.log}
	if s.name == "" {
		s.name = "varve-" + args[0]
	}
	if err := checkServiceName(s.name); err != nil {
		return nil, err
	}
	if f.user != "" && !serviceName.MatchString(f.user) {
		return nil, fmt.Errorf("--user %.100q: names are letters, digits, '-' and '_'", f.user)
	}
	for _, text := range args {
		if strings.ContainsAny(text, "\x00\r\n") {
			return nil, fmt.Errorf("argument %q: a service takes none with a line break", text)
		}
	}
	var err error
	if s.program, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if s.dir, err = os.Getwd(); err != nil {
		return nil, fmt.Errorf("find this directory: %w", err)
	}
	if s.log != "" {
		if s.log, err = filepath.Abs(s.log); err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
	}
	return s, nil
}

// checkServed reports a command line that its command would refuse.
func checkServed(args []string) error {
	root := newRootCommand()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return errors.New("--help makes no service")
		}
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if cmd.Name() != args[0] || cmd.Flags().NArg() > 0 {
		return fmt.Errorf("%s: a service takes its flags alone, not %q", args[0], rest)
	}
	required := map[string]string{"serve": "data", "collect": "config"}[args[0]]
	if !cmd.Flags().Changed(required) {
		return fmt.Errorf("%s: --%s is required", args[0], required)
	}
	if check := cmd.Flags().Lookup("check"); check != nil && check.Changed {
		return errors.New("collect --check ends by itself: it makes no service")
	}
	return nil
}
