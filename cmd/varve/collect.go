package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/collector/file"
	"github.com/varvedb/varve/collector/modbus"
	"github.com/varvedb/varve/collector/mqtt"
	"github.com/varvedb/varve/collector/opcua"
	"github.com/varvedb/varve/collector/session"
	"github.com/varvedb/varve/collector/simulator"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// collectKinds are the sources that a configuration may name.
func collectKinds() []collector.Kind {
	return []collector.Kind{file.Kind(), modbus.Kind(), mqtt.Kind(), opcua.Kind(), simulator.Kind()}
}

type collectFlags struct {
	config    string
	check     bool
	checkFor  time.Duration
	logFormat string
	logLevel  string
}

func newCollectCommand() *cobra.Command {
	var f collectFlags
	cmd := &cobra.Command{
		Use:   "collect --config FILE",
		Short: "Read devices, brokers and files, and keep what they say until servers have it",
		Long: `Reads the sources that a configuration names and sends what they say to one server or several. What was read is on disk before it is sent,
and stays there until a server has it, whatever becomes of the network, the server or this machine.

A change of the file, or SIGHUP, makes it read the configuration anew: sources whose settings did not change keep their connections. A
configuration that makes no sense is told and changes nothing. SIGTERM and SIGINT end it within seconds; what was read by then is on disk.

With --check nothing is collected: it connects to the servers and the sources, prints the first value of each address and the tag that it
becomes, looks whether servers have such tags with other types, and ends with status 1 if anything is wrong. Exit status: 0 after a signal, 1 for a failure, 2 for a configuration that makes no sense.`,
		Example: `  varve collect --config plant.yaml --check
  varve collect --config plant.yaml

  # plant.yaml
  destinations:
    - address: 127.0.0.1:7420
  queue: {dir: /var/lib/varve-collect}
  sources:
    - name: line1
      type: file
      settings: {path: /var/log/line1/*.csv}`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.check, "check", false, "try servers and sources, print what would be stored, and store nothing")
	flags.DurationVar(&f.checkFor, "check-for", 5*time.Second, "how long --check waits for values of each source")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(newCollectBrowseCommand(), newCollectQuarantineCommand(), newCollectSourceCommand(), newCollectTrustCommand())
	return cmd
}

// newCollectSourceCommand is how a collector starts the process of a source that runs apart.
func newCollectSourceCommand() *cobra.Command {
	return &cobra.Command{
		Use:    collector.ApartCommand[1] + " NAME",
		Short:  "Read one source; a collector starts this by itself",
		Hidden: true,
		Args:   asUsage(cobra.ExactArgs(1)),
		RunE:   func(*cobra.Command, []string) error { return collector.ServeApart(collectKinds()) },
	}
}

func (f *collectFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "the configuration, YAML (required)")
}

// read reads the configuration.
func (f *collectFlags) read() (*collector.Config, error) {
	if f.config == "" {
		return nil, usageError(errors.New("--config is required: the file that says what to collect"))
	}
	c, err := collector.ReadConfig(f.config, collectKinds())
	if err != nil {
		return nil, usageError(err)
	}
	return c, nil
}

func (f *collectFlags) run(cmd *cobra.Command) error {
	logger, err := newLogger(cmd.ErrOrStderr(), f.logFormat, f.logLevel)
	if err != nil {
		return usageError(err)
	}
	c, err := f.read()
	if err != nil {
		return err
	}
	if f.check {
		return f.try(cmd, c)
	}
	letGarbage(collectorGarbage)
	stderr := cmd.ErrOrStderr()
	s := collectService(f.config, logger, dialDestination)
	s.Started = func(c *collector.Config) { fmt.Fprintf(stderr, "collecting from %d sources\n", len(c.Sources)) }
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	s.Reload = hup
	if err := s.Run(cmd.Context()); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

// dialer makes a client of a destination.
type dialer func(d collector.Destination) (*client, error)

func collectService(config string, logger *slog.Logger, dial dialer) *collector.Service {
	return &collector.Service{
		File: config, Kinds: collectKinds(), Logger: logger,
		Dial: func(d collector.Destination) (varvev1.IngestServiceClient, varvev1.GapServiceClient, func(), error) {
			c, err := dial(d)
			if err != nil {
				return nil, nil, nil, err
			}
			return c.ingest, c.gaps, c.close, nil
		},
		OnFatal: func(err error) {
			logger.Error("the disk did not take what was read; the collector must not go on", "error", err)
			os.Exit(exitFailure)
		},
	}
}

// patience is how connections of a collector behave: a server that comes back is found within seconds, and one that is silent is noticed.
func patience() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: 20 * time.Second}),
	}
}

// keepaliveEvery is half as often as servers take it.
const keepaliveEvery = 20 * time.Second

func dialDestination(d collector.Destination) (*client, error) {
	if d.Address == collector.Self {
		return nil, usageError(fmt.Errorf("destination %s: address %s is the server that runs the configuration: varve serve --collect, varve serve --forward; give HOST:PORT", d.Name, d.Address))
	}
	f := clientFlags{}
	if d.TLS != nil {
		f = clientFlags{tls: true, tlsCA: d.TLS.CA, tlsCert: d.TLS.Cert, tlsKey: d.TLS.Key}
	}
	transport, _, err := f.transport()
	if err != nil {
		return nil, usageError(err)
	}
	return dialTo(d.Address, transport, d.Token.Value(), patience()...)
}

// try tries destinations and sources and prints what it finds.
func (f *collectFlags) try(cmd *cobra.Command, c *collector.Config) error {
	out := cmd.OutOrStdout()
	wrong := 0
	var reached []collector.Destination
	for _, d := range c.Destinations {
		if err := f.tryDestination(cmd.Context(), c, d); err != nil {
			wrong++
			fmt.Fprintf(out, "destination %s: %s\n", d.Name, err)
			continue
		}
		reached = append(reached, d)
		fmt.Fprintf(out, "destination %s: %s takes samples\n", d.Name, d.Address)
	}
	types := map[string]model.Type{}
	for i := range c.Sources {
		n, err := f.trySource(cmd.Context(), out, c, &c.Sources[i], types)
		if err != nil {
			return err
		}
		wrong += n
	}
	for _, d := range reached {
		wrong += f.tryTypes(cmd.Context(), out, c, d, types)
	}
	if wrong > 0 {
		return fmt.Errorf("%d things are wrong", wrong)
	}
	return nil
}

// tryDestination opens a session that sends nothing.
func (f *collectFlags) tryDestination(ctx context.Context, c *collector.Config, d collector.Destination) error {
	return f.withSession(ctx, c, d, func(context.Context, *session.Session) error { return nil })
}

func (f *collectFlags) withSession(ctx context.Context, c *collector.Config, d collector.Destination, do func(context.Context, *session.Session) error) error {
	client, err := dialDestination(d)
	if err != nil {
		return err
	}
	defer client.close()
	ctx, cancel := context.WithTimeout(ctx, f.checkFor)
	defer cancel()
	s, err := session.Open(ctx, client.ingest, session.Options{Source: c.Collector + " (check)", Epoch: 1})
	if err != nil {
		return client.explain(err)
	}
	return errors.Join(do(ctx, s), s.Close())
}

// tryTypes prints which tags a destination has with another type than their values, and returns how many: it would refuse all of them.
func (f *collectFlags) tryTypes(ctx context.Context, out io.Writer, c *collector.Config, d collector.Destination, types map[string]model.Type) (wrong int) {
	names := slices.Sorted(maps.Keys(types))
	ask := make([]*varvev1.NewTag, len(names))
	for i, name := range names {
		ask[i] = &varvev1.NewTag{Name: name} // without a type it is only looked up
	}
	var found []*varvev1.ResolvedTag
	err := f.withSession(ctx, c, d, func(ctx context.Context, s *session.Session) (err error) {
		found, err = s.Resolve(ctx, ask)
		return err
	})
	if err != nil {
		fmt.Fprintf(out, "\ndestination %s: the types of its tags cannot be asked: %s\n", d.Name, err)
		return 1
	}
	for i, x := range found {
		has, gets := model.Type(x.Type), types[names[i]]
		if x.Id == 0 || has == gets {
			continue
		}
		wrong++
		fmt.Fprintf(out, "\ndestination %s: tag %s is %s there and would get %s, which is refused: give its rule type: %s, or another tag\n", d.Name, names[i], has, gets, has)
	}
	return wrong
}

// trySource prints the first values of a source, returns how many are wrong, and notes which types their tags would have.
func (f *collectFlags) trySource(ctx context.Context, out io.Writer, c *collector.Config, s *collector.SourceEntry, types map[string]model.Type) (wrong int, err error) {
	fmt.Fprintf(out, "\nsource %s (%s)\n", s.Name, s.Type)
	ctx, cancel := context.WithTimeout(ctx, f.checkFor)
	defer cancel()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	lines := 0
	err = collector.CheckSource(ctx, c, s, time.Now, func(x collector.Finding) {
		if lines++; lines == 1 {
			fmt.Fprintln(w, "address\tvalue\tquality\ttime\ttag\ttype\twrong")
		}
		at := "-"
		if x.HasTime {
			at = model.FormatTime(x.Time)
		}
		typ := "-"
		if x.Type != 0 {
			typ = x.Type.String()
		}
		if x.Problem != "" {
			wrong++
		}
		if x.Tag != "" && x.Type != 0 {
			types[x.Tag] = x.Type
		}
		value := x.Value.String()
		if len(value) > 40 {
			value = strings.ToValidUTF8(value[:37], "") + "..."
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Address, value, x.Quality, at, orDash(x.Tag), typ, orDash(x.Problem))
	})
	if flushErr := w.Flush(); flushErr != nil {
		return wrong, flushErr
	}
	switch {
	case err != nil:
		wrong++
		fmt.Fprintf(out, "it cannot be read: %s\n", err)
	case lines == 0:
		wrong++
		fmt.Fprintf(out, "no value came within %s\n", f.checkFor)
	}
	return wrong, nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newCollectBrowseCommand() *cobra.Command {
	var f collectFlags
	var at string
	var draft bool
	cmd := &cobra.Command{
		Use:   "browse --config FILE SOURCE",
		Short: "List what a source offers",
		Long: `Asks a source of the configuration what it offers and prints it. With --draft it prints the configuration with a rule for each address that has none
yet, which can be run as it stands: the source needs its settings and no tags for it.`,
		Example: `  varve collect browse --config plant.yaml line1
  varve collect browse --config plant.yaml --draft line1 > draft.yaml
  varve collect --config draft.yaml --check`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.read()
			if err != nil {
				return err
			}
			s, err := c.Source(args[0])
			if err != nil {
				return usageError(err)
			}
			var offers []collector.Offer
			err = collector.BrowseSource(cmd.Context(), c, s, at, func(o collector.Offer) error {
				offers = append(offers, o)
				return nil
			})
			if err != nil {
				return fmt.Errorf("browse source %s: %w", s.Name, err)
			}
			if draft {
				added, err := c.WriteDraft(cmd.OutOrStdout(), s, offers)
				if err == nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "%d addresses, rules for %d of them are new\n", len(offers), added)
				}
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "address\tname\ttype\tunit\tdescription")
			for _, o := range offers {
				typ := "-"
				if o.Type != 0 {
					typ = o.Type.String()
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Address, orDash(o.Name), typ, orDash(o.Unit), orDash(o.Description))
			}
			return w.Flush()
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&at, "at", "", "what lies below this address only (default everything)")
	cmd.Flags().BoolVar(&draft, "draft", false, "print the configuration with rules for what it offers")
	return cmd
}

func newCollectQuarantineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "Show, correct and replay readings whose times are not believed",
		Long: `Readings whose times are farther from the collector's clock than the configuration allows (clock: ahead, behind) are set aside in files. Whoever
knows what was wrong with the clock has them replayed with other times; they do not replace what is stored.`,
		Example: `  varve collect quarantine list --config plant.yaml
  varve collect quarantine replay --config plant.yaml --shift -1h line1/20261126T081500.000000000Z`,
		Args: asUsage(cobra.NoArgs),
	}
	cmd.AddCommand(newQuarantineListCommand(), newQuarantineReplayCommand(), newQuarantineDropCommand())
	return cmd
}

func newQuarantineListCommand() *cobra.Command {
	var f collectFlags
	var source, output string
	cmd := &cobra.Command{
		Use:   "list --config FILE",
		Short: "List files of readings that were set aside",
		Long: `Lists files of readings that were set aside: how many of how many addresses, when they were received, and by how much their times are ahead
of that.`,
		Example: `  varve collect quarantine list --config plant.yaml
  varve collect quarantine list --config plant.yaml --source line1 --output json`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError(fmt.Errorf("output %q: must be table or json", output))
			}
			c, err := f.read()
			if err != nil {
				return err
			}
			files, err := collector.ListQuarantine(c, source)
			if err != nil {
				return err
			}
			return printQuarantine(cmd.OutOrStdout(), output, files)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&source, "source", "", "of this source only (default all)")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (one object per line)")
	return cmd
}

func printQuarantine(out io.Writer, output string, files []collector.QuarantineFile) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if output == "table" {
		fmt.Fprintln(w, "id\tstate\treadings\taddresses\treceived\tto\tahead from\tto")
	}
	for _, f := range files {
		least, most := f.Off()
		if output == "json" {
			line, err := json.Marshal(map[string]any{
				"id": f.ID, "state": f.State, "readings": f.Readings, "addresses": f.Addresses, "received_first": model.FormatTime(f.FirstReceived),
				"received_last": model.FormatTime(f.LastReceived), "time_first": model.FormatTime(f.FirstTime), "time_last": model.FormatTime(f.LastTime),
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\n", line)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", f.ID, f.State, f.Readings, f.Addresses, model.FormatTime(f.FirstReceived), model.FormatTime(f.LastReceived),
			least.Round(time.Millisecond), most.Round(time.Millisecond))
	}
	return w.Flush()
}

func newQuarantineReplayCommand() *cobra.Command {
	var f collectFlags
	var how collector.Replay
	cmd := &cobra.Command{
		Use:   "replay --config FILE (--shift DURATION | --receipt) ID...",
		Short: "Have readings stored with other times",
		Long: `Asks the collector to store readings that were set aside with their times shifted, or with the times of their receipt. It does so at once if
it runs, else when it does. Times that lie ahead of its clock all the same are rejected and counted.`,
		Example: `  varve collect quarantine replay --config plant.yaml --shift -1h line1/20261126T081500.000000000Z
  varve collect quarantine replay --config plant.yaml --receipt line1/20261126T081500.000000000Z`,
		Args: asUsage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if cmd.Flags().Changed("shift") == how.Receipt {
				return usageError(errors.New("give one of --shift and --receipt; --shift 0s stores the times as they are"))
			}
			c, err := f.read()
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := collector.RequestReplay(c, id, how); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().DurationVar(&how.Shift, "shift", 0, "is added to the times that the source gave, such as -1h")
	cmd.Flags().BoolVar(&how.Receipt, "receipt", false, "take the times of receipt")
	return cmd
}

func newQuarantineDropCommand() *cobra.Command {
	var f collectFlags
	cmd := &cobra.Command{
		Use:     "drop --config FILE ID...",
		Short:   "Remove readings that were set aside, for good",
		Example: `  varve collect quarantine drop --config plant.yaml line1/20261126T081500.000000000Z`,
		Args:    asUsage(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, ids []string) error {
			c, err := f.read()
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := collector.DropQuarantine(c, id); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}
