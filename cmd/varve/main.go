// Command varve is the historian in one binary: the server (serve) and the commands that talk to one.
//
// Exit status: 0 for success, 1 for a failure, 2 for a command line that makes no sense. A command that needs another
// returns an [exitError].
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit status. Signals end ctx; every command stops by it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "varve:", err)
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitFailure
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "varve",
		Short:         "A process historian: plant data in over gRPC, kept through any crash, out as Arrow",
		SilenceErrors: true, // run prints them, once
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
	root.AddCommand(
		newServeCommand(),
		newServiceCommand(),
		newTokenCommand(),
		newCollectCommand(),
		newForwardCommand(),
		newReceiveCommand(),
		newImportCommand(),
		newQueryCommand(),
		newExportCommand(),
		newSQLCommand(),
		newExplainCommand(),
		newWatchCommand(),
		newTuneCommand(),
		newEditCommand(),
		newAnnotateCommand(),
		newGapsCommand(),
		newCompletenessCommand(),
		newForecastCommand(),
		newDeleteCommand(),
		newUndeleteCommand(),
		newPurgeCommand(),
		newHoldCommand(),
		newRetentionCommand(),
		newTagsCommand(),
		newCalendarsCommand(),
		newCalculationsCommand(),
		newStatusCommand(),
		newBenchCommand(),
		newConformanceCommand(),
		newBackupCommand(),
		newRestoreCommand(),
		newVerifyCommand(),
	)
	return root
}

// exitError is an error that chooses the exit status.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError marks err as a fault of the command line.
func usageError(err error) error { return &exitError{code: exitUsage, err: err} }
