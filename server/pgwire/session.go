package pgwire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// flushBytes is how much of an answer is gathered before it is sent.
const flushBytes = 64 << 10

// States of a session, as ReadyForQuery tells them.
const (
	outside byte = 'I' // no transaction
	inside  byte = 'T'
	aborted byte = 'E' // an error happened in the transaction: only its end is taken
)

// session is one client that was let in. Its goroutine alone uses it, but for what running guards.
type session struct {
	server   *Server
	conn     *connection
	ctx      context.Context // ends with the session; knows the caller
	messages *pgproto3.Backend
	out      []byte // what was not sent yet
	broken   error  // why nothing can be sent any more

	user        string
	process     uint32
	secret      []byte
	secretBytes int
	entered     bool // the server knows it by its number

	values, startValues map[string]string // settings, by lower-case name, where they are not the default
	timeout             time.Duration     // statement_timeout; 0 for none
	quiet               bool              // changes of settings are not reported

	status     byte
	before     map[string]string // settings when the transaction began
	local      map[string]bool   // those that it set, and whether for itself only
	savepoints []string
	skipping   bool // an error happened: messages up to Sync are not looked at
	statements map[string]*prepared
	held       int // bytes of the texts of statements
	portals    map[string]*portal

	running struct {
		sync.Mutex
		cancel context.CancelCauseFunc // of the statement that is being answered; nil if none is
	}
}

func newSession(c *connection, ctx context.Context) *session {
	return &session{
		server: c.server, conn: c, ctx: ctx, messages: pgproto3.NewBackend(c.in, nil), status: outside, secretBytes: 4,
		values: map[string]string{}, startValues: map[string]string{},
		statements: map[string]*prepared{}, portals: map[string]*portal{},
	}
}

func (s *session) log() *slog.Logger {
	return s.server.log.With("from", s.conn.raw.RemoteAddr().String())
}

// end lets go of all the session holds.
func (s *session) end() {
	s.server.leave(s)
	s.closePortals(true)
	for name := range s.statements {
		s.closeStatement(name)
	}
}

// send adds a message to what is sent next.
func (s *session) send(m pgproto3.BackendMessage) {
	b, err := m.Encode(s.out)
	if err != nil { // a message of more than 2 GiB, or of more fields than there can be
		if s.broken == nil {
			s.broken = fmt.Errorf("encode %T: %w", m, err)
		}
		return
	}
	s.out = b
}

// flush sends what was gathered. A client that does not read for StallTimeout is let go.
func (s *session) flush() error {
	if s.broken != nil {
		return s.broken
	}
	if len(s.out) == 0 {
		return nil
	}
	_ = s.conn.conn.SetWriteDeadline(time.Now().Add(s.server.options.StallTimeout))
	_, err := s.conn.conn.Write(s.out)
	s.out = s.out[:0]
	if cap(s.out) > 4*flushBytes {
		s.out = nil
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.log().Warn("client of PostgreSQL stopped reading", "user", s.user)
		}
		s.broken = errGone
	}
	return s.broken
}

// fatal says why the session ends, if the client is still there.
func (s *session) fatal(err error) {
	if errors.Is(err, errGone) || s.broken != nil {
		return
	}
	response := s.server.describe(err).response(severityFatal)
	s.send(&response)
	_ = s.conn.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = s.conn.conn.Write(s.out)
}

// report tells the client of a setting.
func (s *session) report(name, value string) {
	if !s.quiet {
		s.send(&pgproto3.ParameterStatus{Name: name, Value: clean(value)})
	}
}

func (s *session) notice(severity, code, message string) {
	s.send(&pgproto3.NoticeResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: clean(message)})
}

// ready says that the next statement may come.
func (s *session) ready() error {
	s.send(&pgproto3.ReadyForQuery{TxStatus: s.status})
	return s.flush()
}

// run answers messages until the client leaves or the session has to end.
func (s *session) run() error {
	s.messages.SetMaxBodyLen(s.server.options.MaxMessageBytes)
	if err := s.ready(); err != nil {
		return err
	}
	for {
		m, err := s.receive()
		if err != nil {
			return err
		}
		if _, ok := m.(*pgproto3.Terminate); ok {
			return errGone
		}
		if err := s.handle(m); err != nil {
			return err
		}
	}
}

// receive waits for a message. Answers that a client has begun to read and left are closed when it waits too long.
func (s *session) receive() (pgproto3.FrontendMessage, error) {
	if len(s.out) > flushBytes {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	idleSince := time.Now()
	for {
		patience := s.server.options.Idle - time.Since(idleSince)
		if s.suspended() {
			patience = min(patience, s.server.options.StallTimeout)
		}
		s.conn.wait(patience)
		m, err := s.messages.Receive()
		var timeout net.Error
		var tooLarge *pgproto3.ExceededMaxBodyLenErr
		switch {
		case err == nil:
			return m, nil
		case errors.As(err, &tooLarge):
			return nil, errorf(codeLimit, "message has %d bytes, most is %d", tooLarge.ActualBodyLen, tooLarge.MaxExpectedBodyLen)
		case errors.As(err, &timeout) && timeout.Timeout():
			if s.conn.draining.Load() {
				return nil, errCut
			}
			if s.suspended() {
				s.stallPortals()
				continue
			}
			if time.Since(idleSince) >= s.server.options.Idle {
				return nil, errorf(codeIdle, "terminating connection because it was idle for %s", s.server.options.Idle)
			}
		case isNetwork(err):
			return nil, errGone
		default:
			return nil, errorf(codeProtocol, "%s", err)
		}
	}
}

// isNetwork reports whether err is that of a connection that ended.
func isNetwork(err error) bool {
	var op net.Error
	return errors.As(err, &op) || isEOF(err)
}

// handle answers one message. An error ends the session; those of statements do not get here.
func (s *session) handle(m pgproto3.FrontendMessage) error {
	if s.skipping {
		if _, ok := m.(*pgproto3.Sync); !ok {
			return nil
		}
	}
	switch m := m.(type) {
	case *pgproto3.Query:
		return s.query(m.String)
	case *pgproto3.Sync:
		s.skipping = false
		if s.status == outside {
			s.closePortals(false)
		}
		return s.ready()
	case *pgproto3.Flush:
		return s.flush()
	case *pgproto3.Parse:
		return s.extended(func() error { return s.parse(m) })
	case *pgproto3.Bind:
		return s.extended(func() error { return s.bind(m) })
	case *pgproto3.Describe:
		return s.extended(func() error { return s.describe(m) })
	case *pgproto3.Execute:
		return s.extended(func() error { return s.execute(m) })
	case *pgproto3.Close:
		return s.extended(func() error { return s.close(m) })
	case *pgproto3.FunctionCall:
		s.fail(errorf(codeNotSupported, "function calls of the protocol are not answered").hint("call the function in a statement"))
		return s.ready()
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		return nil // what is on its way after a COPY that failed
	}
	return errorf(codeProtocol, "message %T is out of turn", m)
}

// extended runs the answer to a message of the extended protocol. After an error all is skipped up to Sync, Flush as well: the client hears of
// it at once, since it may send Sync only then.
func (s *session) extended(answer func() error) error {
	err := answer()
	if errors.Is(err, errGone) {
		return err
	}
	if err != nil && s.broken == nil {
		s.fail(err)
		s.skipping = true
		return s.flush()
	}
	return s.broken
}

// fail tells the client of an error, and aborts the transaction if there is one.
func (s *session) fail(err error) {
	e := s.server.describe(err)
	if e.Code[:2] == "XX" || e.Code[:2] == "58" {
		s.log().Error("statement failed", "user", s.user, "error", err)
	}
	response := e.response(severityError)
	s.send(&response)
	if s.status == inside {
		s.status = aborted
	}
	s.closePortals(false)
}

// query answers a text of the simple protocol: statement by statement, up to the first that fails.
func (s *session) query(sql string) error {
	err := s.queryAll(sql)
	if errors.Is(err, errGone) {
		return err
	}
	if err != nil && s.broken == nil {
		s.fail(err)
	}
	if s.broken != nil {
		return s.broken
	}
	if s.status == outside {
		s.closePortals(false)
	}
	return s.ready()
}

func (s *session) queryAll(sql string) error {
	if err := checkText([]byte(sql)); err != nil {
		return err
	}
	s.closeStatement("") // as the unnamed statement and portal are
	s.closePortal("")
	statements := split(sql)
	if len(statements) == 0 {
		s.send(&pgproto3.EmptyQueryResponse{})
	}
	for _, st := range statements {
		if err := s.queryOne(st); err != nil {
			return err
		}
	}
	return nil
}

// queryOne answers one statement of a text.
func (s *session) queryOne(st statement) error {
	p, err := s.prepare(st, nil)
	if err != nil {
		return err
	}
	defer p.release()
	if n := p.parameters(); n != nil && n.NumFields() > 0 {
		return errorf(codeNoParameter, "there is no parameter $1")
	}
	open, err := s.open(p, nil, nil)
	if err != nil {
		return err
	}
	defer open.close()
	if open.columns != nil {
		s.send(open.columns)
	}
	return s.answer(open, 0)
}

// beginRunning makes ctx that of what is running, for requests to cancel.
func (s *session) beginRunning(cancel context.CancelCauseFunc) (end func()) {
	s.running.Lock()
	s.running.cancel = cancel
	s.running.Unlock()
	var timer *time.Timer
	if s.timeout > 0 {
		timer = time.AfterFunc(s.timeout, func() { cancel(errTimeout) })
	}
	unwatch := s.watch(cancel)
	return func() {
		unwatch()
		if timer != nil {
			timer.Stop()
		}
		s.running.Lock()
		s.running.cancel = nil
		s.running.Unlock()
	}
}

// cancelRunning ends what is running. Others call it.
func (s *session) cancelRunning(cause error) {
	s.running.Lock()
	defer s.running.Unlock()
	if s.running.cancel != nil {
		s.running.cancel(cause)
	}
}

// watch ends a statement whose client has left. It reads ahead at most what the buffer holds, and is let go by a deadline
// that has passed.
func (s *session) watch(cancel context.CancelCauseFunc) (unwatch func()) {
	if s.conn.in.Buffered() > 0 {
		return func() {} // it has said more, and is still there
	}
	_ = s.conn.conn.SetReadDeadline(time.Time{})
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.server.guard("watch", func() {
			for !stop.Load() {
				_, err := s.conn.in.Peek(1)
				var timeout net.Error
				switch {
				case err == nil:
					return
				case !errors.As(err, &timeout) || !timeout.Timeout():
					cancel(errGone)
					return
				}
				// Either unwatch set the deadline, which has said so before, or drain, which lets what runs go on.
				_ = s.conn.conn.SetReadDeadline(time.Time{})
			}
		})
	}()
	return func() {
		stop.Store(true)
		_ = s.conn.conn.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}
