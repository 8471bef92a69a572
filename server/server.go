// Package server is the network side of a store: it decodes, authorizes, calls and encodes, and is the only place that
// knows status codes.
//
//	connection → TLS → caller → method's scope → handler → storage, query → status
//
// One listener serves gRPC (ingest, query, catalogue, administration, health, reflection) and Arrow Flight beside it;
// queries over HTTP and metrics have a listener of their own each.
//
// # What the door promises
//
// Every method stands in one table with the scope it needs; a method that does not is refused. A listen address that
// others can reach needs TLS and authentication, or the server does not start. Bytes from the network are checked
// before memory is taken for what they claim. A panic in a handler ends that call with INTERNAL and is logged with its
// stack; nothing else notices.
//
// # The way of a batch
//
// Messages of ingest are decoded by hand into columns that storage takes as they are (wire*.go, judge*.go). What does
// not depend on stored samples is judged there, sample by sample; the rest is submitted, and answered when it is
// durable, applied and archived (ingest_stream.go). A slow disk makes Submit wait, then the stream is not read, then
// the transport's flow control holds the sender: memory stays where it is. A newer session of a source fences the older
// (session.go).
//
// # Parts
//
//	server.go, options.go       lifetime: listen, serve, drain
//	security.go, auth.go, ...   who is calling, and what they may do
//	errors.go                   which status an error becomes
//	*_service.go, flight.go     one service each
//	http.go, http_*.go          queries over HTTP: routes, questions and formats, bodies on their way
//	flight_sql*.go              Flight SQL: statements, what tables there are, and rows into samples (ingest_rows.go)
//	arrow_sender.go             Arrow messages onto a stream, copied once
//	sql.go, statements.go       statements, which package sqlchild runs over the tables of package relation
//	agents.go, agent_*.go       agents that write over HTTP as they do to others; their lines are read by package lineprotocol
//	postgres.go, postgres_*.go  clients of PostgreSQL, whose protocol is package pgwire's
//	stalled.go                  clients that stop reading
//	metrics.go                  what operators see
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow/flight/gen/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // for clients on slow lines; what it unpacks to is held to MaxMessageBytes
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"

	"github.com/varvedb/varve/internal/message"
	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/sqlchild"
	"github.com/varvedb/varve/storage"
)

// Server serves one store.
type Server struct {
	db      *storage.DB
	options Options
	log     *slog.Logger
	engine  *query.Engine
	auth    *authenticator
	metrics *metrics
	started time.Time

	grpc          *grpc.Server
	health        *health.Server
	sessions      sessions
	subscriptions subscriptions
	statements    statements
	scanTurns     chan struct{}
	sql           *sqlchild.Runner
	buffers       sendBuffers
	rejects       ingestRejects
	flightSQL     *flightSQL
	agents        *agents
	collecting    *collecting

	// drain ends when the server is told to stop: no new work, streams finish what they hold.
	drain      context.Context
	startDrain context.CancelCauseFunc
	doors      sync.WaitGroup // listeners beside that of gRPC
	background sync.WaitGroup // goroutines that outlive their handler for a moment
	webCalls   sync.RWMutex   // held for reading by HTTP requests being answered
}

// New makes a server over an open store, which stays the caller's to close.
func New(db *storage.DB, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Query.Now == nil {
		o.Query.Now = o.Now
	}
	said := newCollecting()
	o.Query.Collecting = said.of
	engine, err := query.New(query.FromDB(db), o.Query)
	if err != nil {
		return nil, fmt.Errorf("memory for queries: %w", err)
	}
	auth, err := newAuthenticator(o.Security)
	if err != nil {
		return nil, err
	}
	s := &Server{
		db: db, options: o, log: o.Logger, engine: engine, auth: auth, started: o.Now(),
		health: health.NewServer(), sessions: sessions{open: map[string]*session{}}, statements: statements{open: map[uint64]*openStatement{}}, scanTurns: newScanTurns(),
		collecting: said,
	}
	if s.agents, err = newAgents(o.AgentTemplates); err != nil {
		return nil, err
	}
	s.drain, s.startDrain = context.WithCancelCause(context.Background())
	s.metrics = newMetrics(s)
	o.SQL.Logger, o.SQL.Written = o.Logger, s.metrics.taken.Load
	if s.sql, err = sqlchild.New(o.SQL, &tableService{Server: s}, grpc.ForceServerCodecV2(message.NewCodec(&message.Pool{}))); err != nil {
		return nil, err
	}
	if s.options.Statements == nil {
		s.options.Statements = &processStatements{Server: s}
	}
	if err := s.register(); err != nil {
		return nil, err
	}
	return s, nil
}

// register builds the gRPC server and its services.
func (s *Server) register() error {
	pool := &message.Pool{}
	opts, err := s.transport(pool)
	if err != nil {
		return err
	}
	s.grpc = grpc.NewServer(append(opts,
		grpc.ForceServerCodecV2(message.NewCodec(pool)),
		grpc.ChainUnaryInterceptor(s.unaryStatus, s.unaryRecover, s.unaryAuth),
		grpc.ChainStreamInterceptor(s.streamStatus, s.streamRecover, s.streamAuth, s.streamDrain, s.streamStall),
	)...)
	s.grpc.RegisterService(s.ingestDesc(), s)
	s.grpc.RegisterService(s.otlpDesc(), s)
	s.grpc.RegisterService(decoding(varvev1.QueryService_ServiceDesc), &queryService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.SubscriptionService_ServiceDesc), &subscriptionService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.CatalogService_ServiceDesc), &catalogService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.AnnotationService_ServiceDesc), &annotationService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.GapService_ServiceDesc), &gapService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.ForecastService_ServiceDesc), &forecastService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.SqlService_ServiceDesc), &sqlService{Server: s})
	s.grpc.RegisterService(decoding(varvev1.AdminService_ServiceDesc), &adminService{Server: s})
	if s.flightSQL, err = newFlightSQL(s); err != nil {
		return err
	}
	s.grpc.RegisterService(decoding(flight.FlightService_ServiceDesc), &flightService{Server: s})
	s.grpc.RegisterService(decoding(healthpb.Health_ServiceDesc), s.health)
	reflection.Register(s.grpc)
	return nil
}

// windowBytes is how much a sender may have on the way in one stream and in one connection. A batch of 20,000 samples
// takes about 200 KiB, and a window that holds several keeps the wire full while one is decoded.
const windowBytes = 4 << 20

// streamWorkers is how many goroutines wait for calls. A short question spends a twelfth of its time on growing the stack
// of a new goroutine, which these have behind them. Calls beyond them get goroutines of their own.
const streamWorkers = 32

func (s *Server) transport(pool mem.BufferPool) ([]grpc.ServerOption, error) {
	opts := []grpc.ServerOption{
		grpc.InTapHandle(s.tap),
		experimental.BufferPool(pool),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxRecvMsgSize(s.options.MaxMessageBytes),
		grpc.MaxConcurrentStreams(s.options.MaxStreams),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(2 * windowBytes),
		grpc.ReadBufferSize(256 << 10), grpc.WriteBufferSize(256 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionIdle: s.options.Idle}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	config, err := s.options.Security.tlsConfig()
	if err != nil {
		return nil, err
	}
	if config != nil {
		opts = append(opts, grpc.Creds(&handshakes{credentials.NewTLS(config), s}))
	}
	return opts, nil
}

// Listen opens a listener on addr, if the server's security is good enough for whoever can reach it.
func (s *Server) Listen(addr string) (net.Listener, error) {
	if err := s.options.Security.Check(addr); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return limitListener(l, s.options.MaxConnections), nil
}

// Serve accepts connections on l until ctx ends. Then it drains: health says so, new streams are refused, open ingest
// streams answer the batches they have received and end with UNAVAILABLE. When it returns nothing of it runs any more.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	done := make(chan error, 1)
	go func() { done <- s.grpc.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-done:
		err = fmt.Errorf("accept connections: %w", err)
	}
	s.stop()
	if err == nil {
		if serveErr := <-done; serveErr != nil && !errors.Is(serveErr, grpc.ErrServerStopped) {
			err = fmt.Errorf("accept connections: %w", serveErr)
		}
	}
	return err
}

// stop drains and then ends whatever is left.
func (s *Server) stop() {
	s.log.Info("draining", "sessions", s.sessions.count())
	s.health.Shutdown()
	s.startDrain(errDraining)
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		s.grpc.GracefulStop()
	}()
	select {
	case <-graceful:
	case <-time.After(s.options.DrainTimeout):
		s.log.Warn("streams did not end in time and are cut", "timeout", s.options.DrainTimeout)
		s.grpc.Stop()
		<-graceful
	}
	s.doors.Wait() // what they answer needs the SQL process
	s.sql.Close()
	s.background.Wait()
	s.flightSQL.prepared.closeAll()
}

// door is what the server judges batches by now.
func (s *Server) door() door {
	o := &s.options
	return door{
		catalog: s.db.Catalog(), now: o.Now, maxAhead: o.MaxAhead, minTime: max(o.MinTime, model.MinTime),
		kept: s.db.KeptSince, refuseNonFinite: o.RefuseNonFinite, maxSamples: o.MaxBatchSamples, maxRuns: o.MaxBatchRuns,
	}
}

// errPanic is what a call ends with that met a bug of ours.
var errPanic = errors.New("internal error; the server's log has the details")

// guard runs f and turns a panic into an error. Every goroutine of the server runs under it or under an interceptor
// that uses it.
func (s *Server) guard(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("panic", "in", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return f()
}
