package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/query/table"
	"github.com/varvedb/varve/server/pgwire"
)

// postgresMethod is what questions over PostgreSQL's protocol count as.
const postgresMethod = "postgres"

// sparePostgres is how many connections are taken beyond those of sessions: to cancel, to log in, to be told that there is no room.
const sparePostgres = 32

// ListenPostgres opens a listener for clients of PostgreSQL on addr, under the same rules as Listen.
func (s *Server) ListenPostgres(addr string) (net.Listener, error) {
	if err := s.options.Security.Check(addr); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for PostgreSQL on %s: %w", addr, err)
	}
	return limitListener(l, s.options.MaxPostgres+sparePostgres), nil
}

// ServePostgres answers clients of PostgreSQL on l until ctx ends, and then lets them finish what they are reading. When it
// returns nothing of it runs any more.
func (s *Server) ServePostgres(ctx context.Context, l net.Listener) error {
	config, err := s.options.Security.tlsConfig()
	if err != nil {
		return err
	}
	if config != nil {
		config.NextProtos = []string{"postgresql"}
	}
	door, err := pgwire.New(pgwire.Options{
		Logger: s.log, Statements: postgresStatements{s.options.Statements}, Database: table.Catalog, Tables: table.All(), Version: s.options.Version, TLS: config,
		Authenticate: s.postgresLogin, Describe: postgresError,
		Answered:     func(rows uint64, took time.Duration) { s.metrics.answered(postgresMethod, rows, took) },
		Refused:      func() { s.metrics.refused.Inc() },
		Panicked:     func() { s.metrics.panics.Inc() },
		BadHandshake: func() { s.metrics.handshakes.Inc() },
		Idle:         s.options.Idle, StallTimeout: s.options.StallTimeout, DrainTimeout: s.options.DrainTimeout,
	})
	if err != nil {
		return err
	}
	s.doors.Add(1)
	defer s.doors.Done()
	return door.Serve(ctx, l)
}

// postgresLogin lets in who has a token, as the password, or a certificate. The user that the client names is not looked at where
// the server authenticates: who somebody is, the token says.
func (s *Server) postgresLogin(ctx context.Context, l pgwire.Login) (string, func(context.Context) context.Context, error) {
	who, err := s.postgresCaller(ctx, l)
	if err != nil {
		return "", nil, err
	}
	if who.scope&Read == 0 {
		return "", nil, &pgwire.Error{Code: "42501", Message: fmt.Sprintf("%s has scope %s, SQL needs read", who.name, who.scope)}
	}
	return who.name, func(ctx context.Context) context.Context { return context.WithValue(ctx, callerKey{}, who) }, nil
}

func (s *Server) postgresCaller(ctx context.Context, l pgwire.Login) (caller, error) {
	const invalid = "28000" // invalid_authorization_specification
	switch {
	case !s.auth.required:
		return caller{scope: all}, nil
	case l.TLS != nil && len(l.TLS.VerifiedChains) > 0:
		name := certName(l.TLS.VerifiedChains[0][0])
		if name == "" {
			return caller{}, &pgwire.Error{Code: invalid, Message: "client certificate names nobody"}
		}
		return caller{name: name, scope: s.auth.certScope}, nil
	case s.auth.tokens == nil:
		return caller{}, &pgwire.Error{Code: invalid, Message: "a client certificate is needed"}
	case l.TLS == nil && !l.Local:
		return caller{}, &pgwire.Error{Code: invalid, Message: "a password in clear needs TLS", Hint: "connect with sslmode=verify-full"}
	}
	token, err := l.Password()
	if err != nil {
		return caller{}, err
	}
	who, err := s.auth.tokens.check(ctx, token)
	switch {
	case errors.Is(err, errHashing):
		return who, &pgwire.Error{Code: "53300", Message: err.Error()} // too_many_connections
	case err != nil:
		return who, &pgwire.Error{Code: "28P01", Message: "the password is no token of this server", Hint: "the password is what `varve token new NAME --scope read` printed"}
	}
	return who, nil
}

// sqlStates is the SQLSTATE of each status a call could end with.
var sqlStates = map[codes.Code]string{
	codes.Canceled:           "57014", // query_canceled
	codes.DeadlineExceeded:   "57014",
	codes.InvalidArgument:    "42000", // syntax_error_or_access_rule_violation
	codes.NotFound:           "42704", // undefined_object
	codes.AlreadyExists:      "42710", // duplicate_object
	codes.PermissionDenied:   "42501", // insufficient_privilege
	codes.Unauthenticated:    "28000", // invalid_authorization_specification
	codes.ResourceExhausted:  "53000", // insufficient_resources
	codes.FailedPrecondition: "55000", // object_not_in_prerequisite_state
	codes.Aborted:            "40000", // transaction_rollback
	codes.OutOfRange:         "22003", // numeric_value_out_of_range
	codes.Unimplemented:      "0A000", // feature_not_supported
	codes.Unavailable:        "57P03", // cannot_connect_now
	codes.DataLoss:           "XX001", // data_corrupted
}

// statementStates is the SQLSTATE of what the SQL process says of a statement, by words of it. The first that matches counts.
var statementStates = []struct{ words, state string }{
	{"syntax error", "42601"}, // syntax_error
	{"Parser Error", "42601"}, //
	{"there is no table function", "42883"},
	{"there is no table", "42P01"},        // undefined_table
	{"Referenced table", "42P01"},         //
	{"Referenced column", "42703"},        // undefined_column
	{"Ambiguous reference", "42702"},      // ambiguous_column
	{"No function matches", "42883"},      // undefined_function
	{"Function with name", "42883"},       //
	{"must appear in the GROUP", "42803"}, // grouping_error
	{"Conversion Error", "22P02"},         // invalid_text_representation
	{"Out of Range Error", "22003"},       // numeric_value_out_of_range
	{"Out of Memory Error", "53200"},      // out_of_memory
	{"is not offered", "0A000"},           // feature_not_supported
	{"Not implemented Error", "0A000"},    //
}

// postgresError is what a client of PostgreSQL is told of an error: the status that it would be elsewhere, as SQLSTATE.
func postgresError(err error) *pgwire.Error {
	told := status.Convert(toStatus(err))
	state, ok := sqlStates[told.Code()]
	if !ok {
		state = "XX000" // internal_error
	}
	if told.Code() == codes.InvalidArgument || told.Code() == codes.ResourceExhausted {
		for _, s := range statementStates {
			if strings.Contains(told.Message(), s.words) {
				state = s.state
				break
			}
		}
	}
	return &pgwire.Error{Code: state, Message: told.Message()}
}
