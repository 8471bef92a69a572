package pgwire

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Numbers that the first packet of a connection begins with.
const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102

	// maxFirstPacket is the most bytes of a first packet, and of a message of somebody who has not been let in yet.
	maxFirstPacket = 10_000
	// tlsHandshake is what a connection begins with that speaks TLS from its first byte.
	tlsHandshake = 0x16
)

// connection is one of a client, from its first byte on.
type connection struct {
	server   *Server
	raw      net.Conn // as it was accepted
	conn     net.Conn // raw, or TLS over it
	in       *bufio.Reader
	tls      *tls.ConnectionState
	draining atomic.Bool
}

func newConnection(s *Server, raw net.Conn) *connection {
	return &connection{server: s, raw: raw, conn: raw, in: bufio.NewReader(raw)}
}

// drain tells a connection to end as soon as it has nothing to answer.
func (c *connection) drain() {
	c.draining.Store(true)
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
}

// wait sets how long the next read may take.
func (c *connection) wait(d time.Duration) {
	_ = c.conn.SetReadDeadline(time.Now().Add(d))
	if c.draining.Load() { // after the deadline: drain sets both the other way round
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// serve is the connection from its first byte to its last.
func (c *connection) serve(base context.Context) {
	deadline := time.Now().Add(c.server.options.LoginTimeout)
	_ = c.raw.SetDeadline(deadline)
	start, err := c.start(base)
	if err != nil || start == nil {
		c.refuse(err)
		return
	}
	ctx, cancel := context.WithCancelCause(base)
	defer cancel(errGone)
	s := newSession(c, ctx)
	defer s.end()
	login, stop := context.WithDeadline(ctx, deadline)
	err = s.begin(login, start)
	stop()
	if err != nil {
		if !errors.Is(err, errGone) {
			s.log().Warn("client of PostgreSQL refused", "user", acceptedName(start.Parameters["user"]), "reason", err)
			c.server.options.Refused()
		}
		s.fatal(err)
		return
	}
	_ = c.raw.SetDeadline(time.Time{})
	if err := s.run(); err != nil && !errors.Is(err, errGone) {
		s.fatal(err)
	}
}

func acceptedName(v string) string {
	name, _ := acceptName(v)
	return name
}

// refuse ends a connection that did not get as far as a session.
func (c *connection) refuse(err error) {
	var e *Error
	if !errors.As(err, &e) {
		return
	}
	response := e.response(severityFatal)
	if b, err := response.Encode(nil); err == nil {
		_, _ = c.conn.Write(b)
	}
}

// start reads what a client sends before a session: requests for encryption, a request to cancel, or the startup message,
// which it returns. Nil without an error: there will be no session.
func (c *connection) start(ctx context.Context) (*pgproto3.StartupMessage, error) {
	if first, err := c.in.Peek(1); err != nil {
		return nil, errGone
	} else if first[0] == tlsHandshake {
		if err := c.secure(ctx); err != nil {
			return nil, err
		}
		if c.tls.NegotiatedProtocol != alpn {
			return nil, errorf(codeProtocol, "TLS without a request for it needs the protocol %q in ALPN", alpn)
		}
	}
	for range 3 { // at most one request for GSS, one for TLS, and the message
		body, err := c.firstPacket()
		if err != nil {
			return nil, err
		}
		switch code := binary.BigEndian.Uint32(body); code {
		case sslRequest:
			if c.tls != nil {
				return nil, errorf(codeProtocol, "TLS was asked for inside TLS")
			}
			if err := c.answerTLS(ctx); err != nil {
				return nil, err
			}
		case gssRequest:
			if _, err := c.conn.Write([]byte{'N'}); err != nil {
				return nil, errGone
			}
		case cancelRequest:
			var m pgproto3.CancelRequest
			if err := m.Decode(body); err == nil {
				c.server.cancel(m.ProcessID, m.SecretKey)
			}
			return nil, nil
		default:
			return decodeStartup(body)
		}
	}
	return nil, errorf(codeProtocol, "startup message expected")
}

// firstPacket reads one packet, and not a byte more: what follows may be TLS.
func (c *connection) firstPacket() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		return nil, errGone
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 8 || n > maxFirstPacket {
		return nil, errorf(codeProtocol, "first packet has %d bytes, must be 8 to %d", n, maxFirstPacket)
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, errGone
	}
	return body, nil
}

// decodeStartup reads a startup message. A minor version that is not known is taken for the newest that is; the client
// hears of it.
func decodeStartup(body []byte) (*pgproto3.StartupMessage, error) {
	version := binary.BigEndian.Uint32(body)
	if version>>16 != 3 {
		return nil, errorf(codeNotSupported, "protocol %d.%d is not spoken, only 3.0 and 3.2", version>>16, version&0xffff)
	}
	asked := version
	binary.BigEndian.PutUint32(body, pgproto3.ProtocolVersion30)
	var m pgproto3.StartupMessage
	if len(body) == 5 && body[4] == 0 {
		return nil, errorf(codeUnauthorized, "no user name in the startup message")
	}
	if err := m.Decode(body); err != nil {
		return nil, errorf(codeProtocol, "%s", err)
	}
	m.ProtocolVersion = asked
	return &m, nil
}

// alpn is the protocol's name in TLS.
const alpn = "postgresql"

// answerTLS answers a request for TLS.
func (c *connection) answerTLS(ctx context.Context) error {
	answer := byte('S')
	if c.server.options.TLS == nil {
		answer = 'N'
	}
	// Bytes that came in clear behind the request would be taken for what came inside TLS.
	if c.in.Buffered() > 0 && answer == 'S' {
		return errorf(codeProtocol, "data that is not encrypted follows the request for TLS")
	}
	if _, err := c.conn.Write([]byte{answer}); err != nil {
		return errGone
	}
	if answer == 'N' {
		return nil
	}
	return c.secure(ctx)
}

// secure goes on in TLS.
func (c *connection) secure(ctx context.Context) error {
	if c.server.options.TLS == nil {
		return errGone // who speaks TLS would not understand why
	}
	secured := tls.Server(&buffered{c.raw, c.in}, c.server.options.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		if !isEOF(err) { // which is a probe of the port
			c.server.options.BadHandshake()
			c.server.log.Warn("TLS handshake failed", "from", c.raw.RemoteAddr().String(), "error", err)
		}
		return errGone
	}
	state := secured.ConnectionState()
	c.conn, c.tls, c.in = secured, &state, bufio.NewReader(secured)
	return nil
}

// buffered is a connection of which some bytes have been read ahead.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// local reports whether the connection stays on this machine.
func (c *connection) local() bool {
	remote, ok := c.raw.RemoteAddr().(*net.TCPAddr)
	return ok && remote.IP.IsLoopback()
}

// begin lets somebody in and tells them what clients want to know.
func (s *session) begin(ctx context.Context, m *pgproto3.StartupMessage) error {
	var unknown []string
	for name := range m.Parameters {
		if strings.HasPrefix(name, "_pq_.") {
			unknown = append(unknown, name)
		}
	}
	version := uint32(pgproto3.ProtocolVersion30)
	if m.ProtocolVersion >= pgproto3.ProtocolVersion32 {
		version, s.secretBytes = pgproto3.ProtocolVersion32, 32
	}
	if m.ProtocolVersion != version || len(unknown) > 0 {
		s.send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: version, UnrecognizedOptions: unknown})
	}
	user, database := m.Parameters["user"], m.Parameters["database"]
	if user == "" {
		return errorf(codeUnauthorized, "no user name in the startup message")
	}
	if database == "" {
		database = user
	}
	if _, ok := m.Parameters["replication"]; ok && m.Parameters["replication"] != "false" {
		return errorf(codeNotSupported, "replication is not spoken")
	}
	s.user = acceptedName(user)
	if authenticate := s.server.options.Authenticate; authenticate != nil {
		login := Login{User: user, TLS: s.conn.tls, Local: s.conn.local(), Password: s.askPassword}
		name, as, err := authenticate(ctx, login)
		if err != nil {
			return err
		}
		if name != "" {
			s.user = acceptedName(name)
		}
		s.ctx = as(s.ctx)
	}
	if database != s.server.options.Database {
		return errorf(codeNoDatabase, "database %.60q does not exist", database).hint("the database is called %s", s.server.options.Database)
	}
	return s.welcome(m)
}

// askPassword asks for a password and reads it.
func (s *session) askPassword() (string, error) {
	s.send(&pgproto3.AuthenticationCleartextPassword{})
	if err := s.flush(); err != nil {
		return "", err
	}
	s.messages.SetMaxBodyLen(maxFirstPacket)
	m, err := s.messages.Receive()
	if err != nil {
		return "", errGone
	}
	p, ok := m.(*pgproto3.PasswordMessage)
	if !ok {
		return "", errorf(codeProtocol, "a password was asked for, %T came", m)
	}
	return p.Password, nil
}

// welcome applies the settings of the startup message and reports all of them.
func (s *session) welcome(m *pgproto3.StartupMessage) error {
	if err := s.server.enter(s); err != nil {
		return err
	}
	s.send(&pgproto3.AuthenticationOk{})
	s.values["session_authorization"] = s.user
	if s.conn.tls != nil {
		s.values["ssl"] = "on"
	}
	s.quiet = true
	notice, err := s.startSettings(m.Parameters)
	if err != nil {
		return err
	}
	s.quiet = false
	for k, v := range s.values {
		s.startValues[k] = v
	}
	for _, known := range sortedSettings() {
		if known.report {
			value, err := s.settingOf(known.name)
			if err != nil {
				return err
			}
			s.report(known.name, value)
		}
	}
	s.send(&pgproto3.BackendKeyData{ProcessID: s.process, SecretKey: s.secret})
	if notice != "" {
		s.notice(severityNotice, "01000", notice)
	}
	return nil
}

// startSettings applies the settings that a startup message asks for. A zone other than UTC is no reason to turn a client
// away that sends the one of its machine: it is told that times are in UTC.
func (s *session) startSettings(parameters map[string]string) (notice string, err error) {
	asked := map[string]string{}
	for name, value := range parameters {
		switch {
		case name == "user", name == "database", name == "replication", strings.HasPrefix(name, "_pq_."):
		case name == "options":
			if err := startOptions(value, asked); err != nil {
				return "", err
			}
		default:
			asked[name] = value
		}
	}
	for name, value := range asked {
		if strings.EqualFold(name, "TimeZone") {
			if _, err := acceptZone(value); err != nil {
				notice = "times are in UTC here, not in " + toText(acceptedName(value))
				continue
			}
		}
		if err := s.set(name, value); err != nil {
			return "", err
		}
	}
	return notice, nil
}

// startOptions reads the switches of a command line: -c name=value, --name=value.
func startOptions(line string, into map[string]string) error {
	words := strings.Fields(strings.ReplaceAll(line, `\ `, "\x00"))
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			w = words[i]
		case strings.HasPrefix(w, "--"):
			w = w[2:]
		case strings.HasPrefix(w, "-c"):
			w = w[2:]
		default:
			return errorf(codeSyntax, "option %.60q of the startup message is not known, only -c name=value", w)
		}
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return errorf(codeSyntax, "option %.60q of the startup message: must be name=value", w)
		}
		into[strings.ReplaceAll(name, "-", "_")] = strings.ReplaceAll(value, "\x00", " ")
	}
	return nil
}
