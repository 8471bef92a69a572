package pgwire

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/varvedb/varve/query/table"
)

// Statements prepares SQL for the caller in the context.
type Statements interface {
	// Prepare says of which columns the answer is and which parameters there are. types are what the client says of its
	// parameters, nil where it does not.
	Prepare(ctx context.Context, text string, types []arrow.DataType) (Statement, error)
}

// Statement is prepared once and executed any number of times, also at the same time.
type Statement interface {
	Schema() *arrow.Schema
	Parameters() *arrow.Schema
	// Execute runs it with one row of arguments, nil for none. The reader ends when ctx does.
	Execute(ctx context.Context, args arrow.Record) (array.RecordReader, error)
	Close()
}

// Login is what is known of somebody who wants in.
type Login struct {
	User string
	TLS  *tls.ConnectionState // nil without TLS
	// Local is whether the connection does not leave this machine.
	Local bool
	// Password asks for the password, in clear.
	Password func() (string, error)
}

// Options tune a Server.
type Options struct {
	// Logger gets what an operator should know. The default discards.
	Logger *slog.Logger
	// Statements answers. It must be set.
	Statements Statements
	// Database is the name of the one database there is; another is refused. It must be set.
	Database string
	// Tables is what the catalogue lists.
	Tables []table.Table
	// Version is shown in version().
	Version string
	// TLS is how connections that ask for it are secured; nil refuses them.
	TLS *tls.Config
	// Authenticate lets somebody in, with their name and what puts them into the context of all that they do, or says why
	// not. An empty name is the one they gave. Nil lets everybody in.
	Authenticate func(ctx context.Context, l Login) (name string, as func(context.Context) context.Context, err error)
	// Describe says what a client is told of an error that is none of this package's; nil leaves it to the package.
	Describe func(error) *Error
	// Answered is called for every statement that was answered, with how many rows it had and how long that took. Nil for nobody.
	Answered func(rows uint64, took time.Duration)
	// Refused is called for every connection that was not let in, BadHandshake for every one that ended in the TLS handshake,
	// Panicked for every panic.
	Refused, BadHandshake, Panicked func()

	// MaxSessions is the most sessions at once; one more is refused. The default is 100. The listener should take some more
	// connections, or nothing can be canceled when there are as many.
	MaxSessions int
	// MaxMessageBytes is the largest message taken. The default is 1 MiB.
	MaxMessageBytes int
	// MaxStatements is the most prepared statements of a session, MaxPortals the most answers it has begun to read. The
	// defaults are 1,000 and 32.
	MaxStatements, MaxPortals int
	// LoginTimeout is how long somebody has to say who they are, TLS included. The default is 15 s.
	LoginTimeout time.Duration
	// Idle is how long a session may say nothing. The default is 30 minutes.
	Idle time.Duration
	// StallTimeout is how long a client may leave rows unread, whether on the way to it or in a portal. The default is 2
	// minutes.
	StallTimeout time.Duration
	// DrainTimeout is how long statements may go on when Serve is told to stop. The default is 20 s.
	DrainTimeout time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, f := range []*func(){&o.Refused, &o.BadHandshake, &o.Panicked} {
		if *f == nil {
			*f = func() {}
		}
	}
	if o.Answered == nil {
		o.Answered = func(uint64, time.Duration) {}
	}
	setDefault(&o.MaxSessions, 100)
	setDefault(&o.MaxMessageBytes, 1<<20)
	setDefault(&o.MaxStatements, 1000)
	setDefault(&o.MaxPortals, 32)
	setDefault(&o.LoginTimeout, 15*time.Second)
	setDefault(&o.Idle, 30*time.Minute)
	setDefault(&o.StallTimeout, 2*time.Minute)
	setDefault(&o.DrainTimeout, 20*time.Second)
	switch {
	case o.Statements == nil || o.Database == "":
		return o, errors.New("Statements and Database must be set")
	case o.MaxMessageBytes < 1<<10 || o.MaxSessions < 1 || o.MaxStatements < 1 || o.MaxPortals < 1:
		return o, fmt.Errorf("MaxMessageBytes is %d, must be at least 1024; MaxSessions %d, MaxStatements %d and MaxPortals %d, must be at least 1",
			o.MaxMessageBytes, o.MaxSessions, o.MaxStatements, o.MaxPortals)
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server serves the clients of one listener.
type Server struct {
	options Options
	log     *slog.Logger

	// mu guards the connections. Nothing waits while it is held.
	mu struct {
		sync.Mutex
		conns    map[*connection]struct{}
		sessions map[uint32]*session // by process number
		draining bool
	}
	running sync.WaitGroup
}

// New makes a server.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, log: o.Logger}
	s.mu.conns, s.mu.sessions = map[*connection]struct{}{}, map[uint32]*session{}
	return s, nil
}

// Serve accepts connections on l until ctx ends. Then idle sessions are ended, those that answer have DrainTimeout to
// finish, and what is left is cut. When it returns nothing of it runs any more.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, cut := context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var err error
	for {
		var c net.Conn
		if c, err = l.Accept(); err != nil {
			break
		}
		s.begin(base, c)
	}
	_ = l.Close()
	s.drain(cut)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept connections: %w", err)
}

// begin serves a connection on a goroutine of its own.
func (s *Server) begin(base context.Context, raw net.Conn) {
	c := newConnection(s, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.draining {
		_ = raw.Close()
		return
	}
	s.mu.conns[c] = struct{}{}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer func() {
			_ = c.conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.mu.conns, c)
		}()
		s.guard("connection", func() { c.serve(base) })
	}()
}

// guard runs f. A panic ends with it.
func (s *Server) guard(what string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.options.Panicked()
			s.log.Error("panic", "in", "postgres "+what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	f()
}

func (s *Server) drain(cut context.CancelCauseFunc) {
	s.mu.Lock()
	s.mu.draining = true
	for c := range s.mu.conns {
		c.drain()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.running.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(s.options.DrainTimeout):
		s.log.Warn("PostgreSQL sessions did not end in time and are cut", "timeout", s.options.DrainTimeout)
		cut(errCut)
		s.mu.Lock()
		for c := range s.mu.conns {
			_ = c.raw.Close()
		}
		s.mu.Unlock()
		<-ended
	}
	cut(errCut)
}

// enter gives a session the number and the secret by which its statements can be canceled. Both are random: clients of
// protocol 3.0 keep only 32 bits of a secret, and the number makes them 64.
func (s *Server) enter(ses *session) error {
	b := make([]byte, 4+ses.secretBytes)
	for {
		if _, err := io.ReadFull(rand.Reader, b); err != nil {
			return fmt.Errorf("make a secret: %w", err)
		}
		ses.process, ses.secret = binary.BigEndian.Uint32(b), b[4:]
		s.mu.Lock()
		_, taken := s.mu.sessions[ses.process]
		full := len(s.mu.sessions) >= s.options.MaxSessions
		if !taken && !full {
			s.mu.sessions[ses.process], ses.entered = ses, true
		}
		s.mu.Unlock()
		switch {
		case full:
			return errorf(codeTooMany, "there are %d sessions, the most there may be", s.options.MaxSessions)
		case !taken:
			return nil
		}
	}
}

func (s *Server) leave(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses.entered {
		delete(s.mu.sessions, ses.process)
	}
}

// cancel ends the statement that a session is running, if the secret is its. Whoever asks is told nothing.
func (s *Server) cancel(process uint32, secret []byte) {
	s.mu.Lock()
	ses := s.mu.sessions[process]
	s.mu.Unlock()
	if ses != nil && subtle.ConstantTimeCompare(ses.secret, secret) == 1 {
		ses.cancelRunning(errUserCanceled)
	}
}
