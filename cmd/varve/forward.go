package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/forward"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

type forwardFlags struct {
	config    string
	logFormat string
	logLevel  string
}

func newForwardCommand() *cobra.Command {
	var f forwardFlags
	cmd := &cobra.Command{
		Use:   "forward --config FILE",
		Short: "Bring what a server stores to another server",
		Long: `Reads what a server, the edge, stores of some of its tags, and brings it to another one, the site: new and late samples, edits, removals, range
deletes and gaps, under the same names or others. It goes on where it was, whichever of the three was stopped, or killed, or how long the network was away;
nothing is missing at the site then, and nothing is there twice. What the edge forgets, by retention or purge, the site keeps.

With spool in place of to it writes files into a folder, for a data diode or somebody who carries them; varve receive stores them at the other side.

SIGTERM and SIGINT end it within seconds. varve serve --forward FILE does the same inside the edge's server. Exit status: 0 after a signal, 1 for a failure, 2 for
a configuration that makes no sense.`,
		Example: `  varve forward --config edge1.yaml

  # edge1.yaml
  source: edge1
  dir: /var/lib/varve-forward
  from: {address: 127.0.0.1:7420}
  to:
    address: site.example.com:7420
    tls: {}
    token: file:/etc/varve/site.token
  tags: ["PUMP-*", "BOILER-*"]
  names: {prefix: EDGE1.}`,
		Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "the configuration, YAML (required)")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func (f *forwardFlags) run(cmd *cobra.Command) error {
	logger, err := newLogger(cmd.ErrOrStderr(), f.logFormat, f.logLevel)
	if err != nil {
		return usageError(err)
	}
	if f.config == "" {
		return usageError(errors.New("--config is required: the file that says what to forward, and where"))
	}
	c, err := forward.ReadConfig(f.config)
	if err != nil {
		return usageError(err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "forwarding from %s\n", c.From.Address)
	if err := runForwarder(cmd.Context(), c, logger, dialDestination); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

// runForwarder forwards until ctx ends.
func runForwarder(ctx context.Context, c *forward.Config, logger *slog.Logger, dial dialer) error {
	from, err := dial(c.From.Destination("from"))
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	defer from.close()
	o := forward.Options{Logger: logger}
	if c.Spool != nil {
		f, err := forward.NewSpooler(c, edgeOf(from), o)
		if err != nil {
			return err
		}
		return f.Run(ctx)
	}
	to, err := dial(c.To.Destination("to"))
	if err != nil {
		return fmt.Errorf("to: %w", err)
	}
	defer to.close()
	f, err := forward.New(c, edgeOf(from), siteOf(to), o)
	if err != nil {
		return err
	}
	return f.Run(ctx)
}

func edgeOf(c *client) forward.Edge {
	return forward.Edge{
		Subscriptions: varvev1.NewSubscriptionServiceClient(c.conn), Query: c.query, Catalog: c.catalog, Gaps: c.gaps, Ingest: c.ingest,
	}
}

func siteOf(c *client) forward.Site {
	return forward.Site{Ingest: c.ingest, Catalog: c.catalog, Query: c.query, Gaps: c.gaps}
}

// forwardAgainAfter is how long a forwarder that failed inside a server is left alone. The server goes on meanwhile.
const forwardAgainAfter = 10 * time.Second

// runForwarderInside forwards in the server's process until ctx ends, as a client like any other.
func (f *serveFlags) runForwarderInside(ctx context.Context, own net.Addr, logger *slog.Logger) {
	logger = logger.With("part", "forwarder")
	dial := func(d collector.Destination) (*client, error) {
		if d.Address != collector.Self {
			return dialDestination(d)
		}
		return f.dialSelf(d, own)
	}
	for ctx.Err() == nil {
		c, err := forward.ReadConfig(f.forward)
		if err == nil {
			err = runForwarder(ctx, c, logger, dial)
		}
		if ctx.Err() != nil {
			if err != nil {
				logger.Error("the forwarder did not end well", "error", err)
			}
			return
		}
		logger.Error("the forwarder failed; the server goes on", "error", err, "retry_in", forwardAgainAfter)
		select {
		case <-ctx.Done():
		case <-time.After(forwardAgainAfter):
		}
	}
}
