package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/forward"
	"github.com/varvedb/varve/model"
)

type receiveFlags struct {
	client    clientFlags
	dir       string
	state     string
	keep      bool
	once      bool
	patience  time.Duration
	name      string
	logFormat string
	logLevel  string
}

func newReceiveCommand() *cobra.Command {
	var f receiveFlags
	cmd := &cobra.Command{
		Use:   "receive --dir DIR",
		Short: "Store the files that varve forward wrote into a spool",
		Long: `Watches a folder for files that varve forward wrote into a spool on the other side of a data diode, and stores what they say on a server: each file once,
in their order. A file that is stored is removed, unless --keep is given. Files behind one that does not come wait for it (--patience); then it is given up, and what is
missing stands in varve receive status, in the log, and in health tags of the server. Nothing goes back.

A file must come into the folder whole: copied under another name and renamed, or it is read again until its hash fits.`,
		Example: `  varve receive --dir /var/spool/varve-in
  varve receive --dir /var/spool/varve-in --once
  varve receive status --dir /var/spool/varve-in --output json`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.client.register(cmd)
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.keep, "keep", false, "leave files where they are once they are stored")
	flags.BoolVar(&f.once, "once", false, "store what is there and end")
	flags.DurationVar(&f.patience, "patience", time.Hour, "how long files wait for one that does not come before it is given up")
	flags.StringVar(&f.name, "name", "receive", "what stands before the health tags")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(newReceiveStatusCommand())
	return cmd
}

func (f *receiveFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "folder that files arrive in (required)")
	cmd.Flags().StringVar(&f.state, "state", "", "folder of the receiver's notes (default state in --dir)")
}

func (f *receiveFlags) stateDir() (string, error) {
	if f.dir == "" {
		return "", usageError(errors.New("--dir is required: the folder that files arrive in"))
	}
	if f.state != "" {
		return f.state, nil
	}
	return filepath.Join(f.dir, "state"), nil
}

func (f *receiveFlags) run(cmd *cobra.Command) error {
	logger, err := newLogger(cmd.ErrOrStderr(), f.logFormat, f.logLevel)
	if err != nil {
		return usageError(err)
	}
	state, err := f.stateDir()
	if err != nil {
		return err
	}
	if f.patience <= 0 {
		return usageError(fmt.Errorf("--patience %s: must be more than 0", f.patience))
	}
	c, err := f.client.dial()
	if err != nil {
		return err
	}
	defer c.close()
	r, err := forward.NewReceiver(forward.ReceiverOptions{
		Dir: f.dir, State: state, Site: siteOf(c), Keep: f.keep, Patience: f.patience, Name: f.name, Logger: logger,
	})
	if err != nil {
		return err
	}
	if f.once {
		return r.Once(cmd.Context())
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "receiving from %s\n", f.dir)
	return r.Run(cmd.Context())
}

func newReceiveStatusCommand() *cobra.Command {
	var f receiveFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status --dir DIR",
		Short: "Say how far a receiver is, and what never came",
		Long: `Reads the notes of a receiver, also while it runs: of each stream of files the next one, how many are stored, and which never came: their numbers, and
between which times what they said was stored at the other side.`,
		Example: `  varve receive status --dir /var/spool/varve-in
  varve receive status --dir /var/spool/varve-in --output json`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := f.stateDir()
			if err != nil {
				return err
			}
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			streams, err := forward.ReadStreams(state)
			if err != nil {
				return err
			}
			return printStreams(cmd.OutOrStdout(), output, streams)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	return cmd
}

func printStreams(out io.Writer, output string, streams map[string]*forward.Stream) error {
	var names []string
	for name := range streams {
		names = append(names, name)
	}
	slices.Sort(names)
	if output == "json" {
		e := json.NewEncoder(out)
		for _, name := range names {
			if err := e.Encode(streams[name]); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "source\tstream\tnext\tstored\twaiting\tmade\tmissing")
	for _, name := range names {
		s := streams[name]
		missing := uint64(0)
		for _, m := range s.Missing {
			missing += m.Last - m.First + 1
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%d\n", s.Source, s.Epoch, s.Next, s.Stored, s.Waiting, madeAt(s.MadeNs), missing)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, name := range names {
		for _, m := range streams[name].Missing {
			fmt.Fprintf(out, "missing from %s: files %d to %d, of what was stored between %s and %s\n", name, m.First, m.Last, madeAt(m.AfterNs), madeAt(m.BeforeNs))
		}
		for _, d := range streams[name].Damaged {
			fmt.Fprintf(out, "damaged: %s\n", d)
		}
	}
	return nil
}

func madeAt(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return model.FormatTime(ns)
}
