package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/forward"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server"
	"github.com/varvedb/varve/storage"
)

// serveFlags is what the command line of serve says.
type serveFlags struct {
	data, listen, metrics, checkpoints       string
	http, postgres                           string
	pprof, collect, forward, agentTemplates  string
	logFormat, logLevel                      string
	memory                                   size
	security                                 server.Security
	certScope                                string
	server                                   server.Options
	storage                                  storage.Options
	maxMessage, generationBytes              size
	sealBytes, keepLog                       size
	scrubRate, diskBudget, annotations, gaps size
	minFree, ballast                         size
	minTime                                  string
	sql                                      string
	sqlMemory, sqlTempBytes                  size
}

func newServeCommand() *cobra.Command {
	f := &serveFlags{memory: 384 << 20, annotations: 64 << 20, gaps: 64 << 20, maxMessage: 16 << 20, sealBytes: 1 << 30, keepLog: 256 << 20, scrubRate: 4 << 20, minFree: 1 << 30, ballast: 64 << 20, sqlMemory: 256 << 20, sqlTempBytes: 1 << 30}
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run the server",
		Long: `Run the server on the store in DIR, which is made if nothing is there.

It prints "listening on HOST:PORT" on stderr once it accepts connections, and before that "listening for HTTP on HOST:PORT" and
"listening for PostgreSQL on HOST:PORT" where --http-listen and --postgres ask for that. SIGTERM and SIGINT let it answer what it has
received, then it closes the store and ends. Exit status: 0 after a signal, 1 for a failure, 2 for flags that make no
sense.

An address that other machines can reach needs TLS and authentication: --tls-cert and --tls-key, and --tokens or
--client-ca.`,
		Example: `  # on this machine only
  varve serve --data /var/lib/varve

  # and over HTTP, for curl, spreadsheets and dashboards
  varve serve --data /var/lib/varve --http-listen 127.0.0.1:7421
  curl 'http://127.0.0.1:7421/api/v1/query?tags=FI-101&start=-1h&end=now&format=csv'

  # for others, with tokens
  varve token new collector-1 --scope write > collector-1.token 2>> /etc/varve/tokens
  varve serve --data /var/lib/varve --listen 0.0.0.0:7420 \
    --tls-cert /etc/varve/server.pem --tls-key /etc/varve/server.key --tokens /etc/varve/tokens

  # and read devices and files itself, without a varve collect beside it
  varve serve --data /var/lib/varve --collect /etc/varve/collect.yaml

  # and bring what it stores to the server of the site
  varve serve --data /var/lib/varve --forward /etc/varve/forward.yaml

  # for clients of PostgreSQL on this machine too: psql -h 127.0.0.1 -U me varve
  varve serve --data /var/lib/varve --postgres 127.0.0.1:5432`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return usageError(err)
			}
			return serve(cmd.Context(), f, cmd.ErrOrStderr())
		},
	}
	f.register(cmd)
	return cmd
}

func (f *serveFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.data, "data", "", "directory of the store; made if nothing is there (required)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:7420", "address to accept connections on; port 0 picks one")
	flags.StringVar(&f.http, "http-listen", "", "address to answer queries and take what agents write on over HTTP, with the same TLS, certificates and tokens; empty for none")
	flags.StringVar(&f.postgres, "postgres", "", "address to answer clients of PostgreSQL on, such as 127.0.0.1:5432, with the same TLS, certificates and tokens; empty for none")
	flags.StringVar(&f.metrics, "metrics-listen", "127.0.0.1:0", "address for Prometheus metrics at /metrics, and for /healthz and /readyz, without authentication; empty for none")

	flags.StringVar(&f.security.CertFile, "tls-cert", "", "the server's certificate chain, PEM")
	flags.StringVar(&f.security.KeyFile, "tls-key", "", "the key of --tls-cert, PEM")
	flags.StringVar(&f.security.ClientCAFile, "client-ca", "", "authorities whose certificates identify clients, PEM")
	flags.StringVar(&f.certScope, "client-cert-scope", "read,write", "what a client with a certificate may do: read, write, admin")
	flags.StringVar(&f.security.TokenFile, "tokens", "", "file of tokens, lines as `varve token new` prints them on stderr")

	flags.Var(&f.memory, "memory", "budget for head, caches and queries, from 32MiB")
	flags.Var(&f.maxMessage, "max-message", "largest message taken")
	flags.Uint32Var(&f.server.MaxStreams, "max-streams", 256, "most streams and calls of one connection at once")
	flags.IntVar(&f.server.MaxConnections, "max-connections", 1024, "most open connections")
	flags.IntVar(&f.server.MaxPostgres, "max-postgres", 100, "most sessions of clients of PostgreSQL; more are refused")
	flags.IntVar(&f.server.MaxSubscriptions, "max-subscriptions", 100, "most subscriptions served at once")
	flags.IntVar(&f.storage.MaxTags, "max-tags", 10_000_000, "most tags; more are not created")
	flags.Var(&f.annotations, "max-annotations", "most memory that annotations and what they said before may take, from 1MiB; more are refused")
	flags.Var(&f.gaps, "max-gaps", "most memory that gaps and what became of them may take, from 1MiB; more are refused")
	flags.IntVar(&f.storage.MaxSources, "max-sources", 100_000, "most pairs of source and epoch")
	flags.DurationVar(&f.server.StallTimeout, "stall-timeout", 2*time.Minute, "how long a message of an answer may wait for its client to read")
	flags.DurationVar(&f.server.DrainTimeout, "drain-timeout", 20*time.Second, "how long to wait for streams when told to stop")

	flags.DurationVar(&f.server.MaxAhead, "max-ahead", 15*time.Minute, "how far in the future a sample may lie; negative for no limit")
	flags.StringVar(&f.minTime, "min-time", "", "first instant taken, RFC 3339; empty for no limit")
	flags.BoolVar(&f.server.RefuseNonFinite, "refuse-non-finite", false, "refuse NaN and infinities instead of storing them")
	flags.BoolVar(&f.server.NoCreate, "no-create", false, "keep sources from creating tags")
	flags.StringVar(&f.agentTemplates, "agent-templates", "", "file that says what tags of agents that write over HTTP are called; empty for their default names")

	flags.StringVar(&f.sql, "sql", "on", "on or off: answer SQL statements, in a process of their own that the first one starts")
	flags.StringVar(&f.server.SQL.Binary, "sql-binary", "", "the program of that process (default varve-sql beside varve)")
	flags.Var(&f.sqlMemory, "sql-memory", "memory for statements, beside --memory, from 32MiB")
	flags.IntVar(&f.server.SQL.Threads, "sql-threads", 1, "threads for statements")
	flags.DurationVar(&f.server.SQL.Timeout, "sql-timeout", 5*time.Minute, "how long a statement may run")
	flags.StringVar(&f.server.SQL.TempDir, "sql-temp", "", "directory for statements that need more than --sql-memory (default sql-temp in --data)")
	flags.Var(&f.sqlTempBytes, "sql-temp-bytes", "most bytes in --sql-temp")

	flags.IntVar(&f.storage.GenerationSamples, "generation-samples", 4_000_000, "samples after which a generation is written")
	flags.Var(&f.generationBytes, "generation-bytes", "bytes of samples after which a generation is written; 0 for a sixth of --memory, at most 128MiB")
	flags.DurationVar(&f.storage.GenerationAge, "generation-age", 10*time.Minute, "time after which a generation is written")
	flags.DurationVar(&f.storage.UndeleteWindow, "undelete-window", 30*24*time.Hour, "time after a range delete for which it can be undone")
	flags.DurationVar(&f.storage.SealAfter, "seal-after", 15*time.Minute, "time without writes to a day after which it is sealed; negative for never")
	flags.Var(&f.sealBytes, "seal-bytes", "bytes of a day's generations after which they are sealed all the same")
	flags.Var(&f.keepLog, "keep-log", "log kept for subscribers that were away, beyond what recovery needs; 0 for none")
	flags.Var(&f.diskBudget, "disk-budget", "size of the store above which the oldest days of all tags are erased for good; 0 for no limit")
	flags.StringVar(&f.storage.TierDir, "tier-dir", "", "directory on a larger, slower disk that old sealed days are moved to; empty for none")
	flags.DurationVar(&f.storage.TierAfter, "tier-after", 30*24*time.Hour, "time after its end for which a day stays in --data; negative for ever")
	flags.Var(&f.scrubRate, "scrub-rate", "bytes a second read to find damage that no query has met; 0 for no scrub")
	flags.Var(&f.minFree, "min-free", "free disk space below which ingest stops; 0 for no limit")
	flags.Var(&f.ballast, "ballast", "size of the file set aside for a full disk; 0 for none")
	flags.BoolVar(&f.storage.AcceptLoss, "accept-loss", false, "go on behind damaged parts of the log; what is lost stays reported")
	flags.StringVar(&f.checkpoints, "checkpoint-dir", "", "directory that checkpoints may be made in; empty refuses them")

	flags.StringVar(&f.collect, "collect", "", "configuration of sources to read, as varve collect has it, with the destination address self for this server; empty for none")
	flags.StringVar(&f.forward, "forward", "", "configuration of what to bring to another server, as varve forward has it, with the address self for this server; empty for none")
	flags.StringVar(&f.pprof, "pprof-listen", "", "loopback address for profiles at /debug/pprof, for who works on the server")
	_ = flags.MarkHidden("pprof-listen") // an error says only that there is no such flag

	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
}

// check completes the options from the flags and reports flags that make no sense.
func (f *serveFlags) check() error {
	if f.data == "" {
		return fmt.Errorf("--data is required: the directory of the store")
	}
	scope, err := server.ParseScope(f.certScope)
	if err != nil {
		return fmt.Errorf("--client-cert-scope: %w", err)
	}
	f.security.CertScope = scope
	if f.minTime != "" {
		t, err := time.Parse(time.RFC3339Nano, f.minTime)
		if err != nil {
			return fmt.Errorf("--min-time %q: must be RFC 3339, such as 2000-01-01T00:00:00Z", f.minTime)
		}
		f.server.MinTime = t.UnixNano()
	}
	if f.storage.TierDir != "" { // it is noted in the store, for tools that run elsewhere
		if f.storage.TierDir, err = filepath.Abs(f.storage.TierDir); err != nil {
			return fmt.Errorf("--tier-dir: %w", err)
		}
	}
	if f.server.SQL.Off = f.sql == "off"; !f.server.SQL.Off && f.sql != "on" {
		return fmt.Errorf("--sql %q: must be on or off", f.sql)
	}
	if f.sqlMemory < 32<<20 {
		return fmt.Errorf("--sql-memory %s: must be at least 32MiB", f.sqlMemory.String())
	}
	if f.server.SQL.TempDir == "" {
		f.server.SQL.TempDir = filepath.Join(f.data, "sql-temp")
	}
	if f.server.SQL.TempDir, err = filepath.Abs(f.server.SQL.TempDir); err != nil {
		return fmt.Errorf("--sql-temp: %w", err)
	}
	if f.memory < 32<<20 {
		return fmt.Errorf("--memory %s: must be at least 32MiB", f.memory.String())
	}
	if f.maxMessage > math.MaxInt32 {
		return fmt.Errorf("--max-message %s: must be less than 2GiB", f.maxMessage.String())
	}
	if f.pprof != "" {
		if err := checkProfileAddress(f.pprof); err != nil {
			return err
		}
	}
	if f.http != "" {
		if err := f.security.Check(f.http); err != nil {
			return fmt.Errorf("--http-listen: %w", err)
		}
	}
	if f.postgres != "" {
		if err := f.security.Check(f.postgres); err != nil {
			return fmt.Errorf("--postgres: %w", err)
		}
	}
	if f.agentTemplates != "" {
		if f.server.AgentTemplates, err = server.ReadAgentTemplates(f.agentTemplates); err != nil {
			return fmt.Errorf("--agent-templates: %w", err)
		}
	}
	if f.collect != "" {
		if _, err := collector.ReadConfig(f.collect, collectKinds()); err != nil {
			return fmt.Errorf("--collect: %w", err)
		}
	}
	if f.forward != "" {
		if _, err := forward.ReadConfig(f.forward); err != nil {
			return fmt.Errorf("--forward: %w", err)
		}
	}
	return f.security.Check(f.listen)
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, f *serveFlags, stderr io.Writer) (err error) {
	logger, err := newLogger(stderr, f.logFormat, f.logLevel)
	if err != nil {
		return usageError(err)
	}
	spareProcessor()
	ours := os.Getenv("GOMEMLIMIT") == ""
	if ours {
		debug.SetMemoryLimit(memoryLimit(int64(f.memory), 0))
	}
	letGarbage(collectAfter(int64(f.memory)))
	db, err := storage.Open(f.data, f.storageOptions(logger))
	if err != nil {
		return fmt.Errorf("open store %s: %w", f.data, err)
	}
	defer func() {
		if closeErr := db.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close store: %w", closeErr)
		}
	}()
	s, err := server.New(db, f.serverOptions(logger))
	if err != nil {
		return err
	}
	l, err := s.Listen(f.listen)
	if err != nil {
		return err
	}
	var web, postgres net.Listener
	if f.http != "" {
		if web, err = s.Listen(f.http); err != nil {
			return fmt.Errorf("--http-listen: %w", errors.Join(err, l.Close()))
		}
	}
	if f.postgres != "" {
		if postgres, err = s.ListenPostgres(f.postgres); err != nil {
			return fmt.Errorf("--postgres: %w", errors.Join(err, l.Close()))
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	if ours {
		group.Go(func() error {
			followTags(ctx, int64(f.memory), func() int { return db.Catalog().Len() })
			return nil
		})
	}
	if f.metrics != "" {
		group.Go(func() error {
			return s.ServeMetrics(ctx, f.metrics, func(a net.Addr) { logger.Info("metrics", "address", a.String()) })
		})
	}
	if f.pprof != "" {
		group.Go(func() error { return serveProfiles(ctx, f.pprof) })
	}
	if web != nil {
		group.Go(func() error { return s.ServeWeb(ctx, web) })
		fmt.Fprintf(stderr, "listening for HTTP on %s\n", web.Addr())
	}
	if postgres != nil {
		group.Go(func() error { return s.ServePostgres(ctx, postgres) })
		fmt.Fprintf(stderr, "listening for PostgreSQL on %s\n", postgres.Addr())
	}
	if f.collect != "" {
		group.Go(func() error {
			f.runCollector(ctx, l.Addr(), logger)
			return nil
		})
	}
	if f.forward != "" {
		group.Go(func() error {
			f.runForwarderInside(ctx, l.Addr(), logger)
			return nil
		})
	}
	group.Go(func() error { return s.Serve(ctx, l) })
	fmt.Fprintf(stderr, "listening on %s\n", l.Addr())
	if err := group.Wait(); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

func (f *serveFlags) storageOptions(logger *slog.Logger) storage.Options {
	o := f.storage
	o.Logger = logger
	o.MemoryBytes = int64(f.memory)
	o.GenerationBytes = int64(f.generationBytes)
	o.SealBytes = int64(f.sealBytes)
	o.KeepLogBytes = int64(f.keepLog)
	o.DiskBudget = int64(f.diskBudget)
	o.AnnotationBytes = int64(f.annotations)
	o.GapBytes = int64(f.gaps)
	o.ScrubRate = offIfZero(f.scrubRate)
	o.MinFreeBytes, o.BallastBytes = offIfZero(f.minFree), offIfZero(f.ballast)
	o.OnFatal = func(err error) {
		logger.Error("the process must not go on; what was acknowledged is in the log", "error", err)
		os.Exit(exitFailure)
	}
	return o
}

// offIfZero is a size for an option whose zero means its default and whose negative means off.
func offIfZero(s size) int64 {
	if s == 0 {
		return -1
	}
	return int64(s)
}

func (f *serveFlags) serverOptions(logger *slog.Logger) server.Options {
	o := f.server
	o.Logger, o.Version, o.Security, o.CheckpointDir = logger, version(), f.security, f.checkpoints
	o.MaxMessageBytes = int(f.maxMessage)
	o.Query = query.Options{MemoryBytes: queryMemory(int64(f.memory))}
	o.SQL.MemoryBytes, o.SQL.TempBytes = int64(f.sqlMemory), int64(f.sqlTempBytes)
	return o
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: must be text or json", format)
}

// version is the module's version, or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "dev"
}
