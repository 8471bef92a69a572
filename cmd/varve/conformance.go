package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/varvedb/varve/internal/conformance"
	"github.com/varvedb/varve/server"
	"github.com/varvedb/varve/storage"
)

func newConformanceCommand() *cobra.Command {
	var output string
	var failures bool
	cmd := &cobra.Command{
		Use:   "conformance FILE.json...",
		Short: "Hold the answers of a throw-away server against files of public test vectors",
		Long: `Starts a server on an empty store of its own, on a free loopback port, writes the data sets of each file as tags, asks what each case
asks, over gRPC, and prints how many rows agree: on the value, on the severity of the status code (Good, Uncertain, Bad), on
its code without info bits, and on the info bits. Rows on which the sources of a file themselves differ are counted apart, as
contested. A question that the server refuses is a row that differs. A value without value_tolerance counts as rounded to the decimals
it has. The store is removed afterwards.

Formats: the aggregates of OPC UA Part 13 (docs/reference/part-13.md says where Varve differs, and why); raw reads with bounds of
Part 11; integrals, states and counters of other engines, and percentiles (docs/reference/aggregates.md); what swinging doors and dead bands keep, where a row is a point and x are seconds. Of swinging doors there are several
algorithms: those that Varve's filters do not follow are contested; and the points that LTTB keeps. With --output json there is an
object a line: cases, with --failures each row that differs, and at the end one of totals for each file.

Exit status: 0 if every file could be asked, however the answers are; 1 otherwise.`,
		Example: `  varve conformance query/testdata/conformance/opcua_aggregates.json
  varve conformance --failures --output json opcua_aggregates.json | jq 'select(.in == "value")'`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			print := printConformance
			if output == "json" {
				print = printConformanceJSON
			}
			return onThrowAwayServer(cmd.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				s := conformance.NewServer(conn)
				var reports []*conformance.Report
				for _, file := range files {
					r, err := s.Run(ctx, file)
					if err != nil {
						return err
					}
					reports = append(reports, r)
				}
				return print(cmd.OutOrStdout(), reports, failures)
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&failures, "failures", false, "list every row that differs")
	return cmd
}

// onThrowAwayServer runs do with a connection to a server whose store is in a temporary directory.
func onThrowAwayServer(ctx context.Context, do func(context.Context, *grpc.ClientConn) error) (err error) {
	dir, err := os.MkdirTemp("", "varve-conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := storage.Open(filepath.Join(dir, "store"), storage.Options{MemoryBytes: 128 << 20, MinFreeBytes: -1, BallastBytes: -1, ScrubRate: -1})
	if err != nil {
		return fmt.Errorf("open a store in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// Cases may lie at any time.
	far := func() time.Time { return time.Unix(0, 1<<62) }
	s, err := server.New(db, server.Options{Now: far, Version: version()})
	if err != nil {
		return err
	}
	l, err := s.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Serve(serving, l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)))
	if err == nil {
		err = errors.Join(do(ctx, conn), conn.Close())
	}
	stop()
	return errors.Join(err, <-done)
}

func printConformance(w io.Writer, reports []*conformance.Report, failures bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range reports {
		fmt.Fprintf(t, "%s\tCASE\tROWS\tAGREE\t\n", r.File)
		for _, c := range r.Each {
			fmt.Fprintf(t, "\t%s\t%d\t%d\t%s\n", c.Case, c.Rows, c.Pass, c.Rule)
		}
	}
	if failures {
		fmt.Fprintf(t, "\nCASE\tROW\tIN\tWANT\tGOT\t\n")
		for _, r := range reports {
			for _, d := range r.Failures {
				note := ""
				if d.Contested {
					note = "contested"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Case, d.Row, d.In, cmp.Or(d.Want, "none"), cmp.Or(d.Got, "none"), note)
			}
		}
	}
	fmt.Fprintf(t, "\nFILE\tCASES\tROWS\tVALUE\tSEVERITY\tCODE\tBITS\tCONTESTED\n")
	for _, r := range reports {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", r.File, r.Cases, r.Rows,
			tallyText(r.Value), tallyText(r.Severity), tallyText(r.Code), tallyText(r.Bits), tallyText(r.Contested))
	}
	return t.Flush()
}

func tallyText(t conformance.Tally) string {
	if t.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", t.Pass, t.Of, 100*float64(t.Pass)/float64(t.Of))
}

func printConformanceJSON(w io.Writer, reports []*conformance.Report, failures bool) error {
	out := json.NewEncoder(w)
	for _, r := range reports {
		for _, c := range r.Each {
			if err := out.Encode(c); err != nil {
				return err
			}
		}
		for _, d := range r.Failures {
			if !failures {
				break
			}
			if err := out.Encode(d); err != nil {
				return err
			}
		}
	}
	for _, r := range reports {
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
