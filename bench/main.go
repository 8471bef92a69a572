// Command bench measures a server as its users meet it: the program built from this tree in a process of its own, and a
// load generator in another.
//
//	bench → builds and starts varve → starts itself again as the client → ingest → flush → queries → kill -9 and restart
//
// Workload W1 is 10,000 tags at 1 Hz for 3 hours (108 million samples) in time order: 10 seconds of a tag to a run, 2,000
// runs to a batch, two connections that own half of the tags each. Workload W2 is 10 tags at 1 Hz for 365 days. The client
// makes the samples of W1 before the clock starts and encodes them while it runs, as a collector must; those of W2 it makes
// as it goes. An answer that differs from what was sent fails the run: a figure is of a server that was right.
//
// The table is for reading, the JSON for keeping; README.md says what each figure means. Every process this starts ends
// with it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "bench",
		Short:         "Measure ingest, storage, queries and restart of a server in its own process",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			r, err := measure(cmd.Context(), &o)
			if err != nil {
				return err
			}
			return printReport(r, o.Output, os.Stdout, os.Stderr)
		},
	}
	o.register(cmd.Flags())
	cmd.AddCommand(newPeersCommand(), newShuffleCommand(), newGrowthCommand(), newSubscribeCommand(), newSQLCommand(), newIsolateCommand(), newBICommand(), newOutageCommand(), newLinesCommand(), newEdgeCommand())
	cmd.AddCommand(&cobra.Command{
		Use:    clientCommand,
		Short:  "The load generator's process: settings on standard input, progress on standard output",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runClient(cmd.Context(), os.Stdin, os.Stdout)
		},
	})
	return cmd
}

// tabled is a report that writes itself for reading; as JSON it is for keeping.
type tabled interface{ table(io.Writer) error }

// printReport writes the table to stdout, or JSON to stdout and the table to stderr.
func printReport(r tabled, output string, stdout, stderr io.Writer) error {
	if output == "table" {
		return r.table(stdout)
	}
	if err := r.table(stderr); err != nil {
		return err
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
