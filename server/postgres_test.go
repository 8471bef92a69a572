package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/query"
	"github.com/varvedb/varve/server/pgwire"
	"github.com/varvedb/varve/storage"
)

// callers answers every statement but a wrong one with who asked it.
type callers struct{}

type callerStatement struct{}

var whoSchema = arrow.NewSchema([]arrow.Field{{Name: "who", Type: arrow.BinaryTypes.String}}, nil)

func (callers) Prepare(_ context.Context, text string, _ []arrow.DataType) (Statement, error) {
	if text == "select wrong" {
		return nil, fmt.Errorf("statement: %w", query.ErrBadRequest)
	}
	return callerStatement{}, nil
}

func (callerStatement) Schema() *arrow.Schema     { return whoSchema }
func (callerStatement) Parameters() *arrow.Schema { return nil }
func (callerStatement) Close()                    {}

func (callerStatement) Execute(ctx context.Context, _ arrow.Record) (array.RecordReader, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, whoSchema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(callerOf(ctx).name)
	rec := b.NewRecord()
	defer rec.Release()
	return array.NewRecordReader(whoSchema, []arrow.Record{rec})
}

// postgres answers clients of PostgreSQL beside a running server, and connects them.
func (r *running) postgres(t *testing.T) (connect func(password string, config *tls.Config) (who string, err error)) {
	t.Helper()
	l, err := r.ListenPostgres("127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.ServePostgres(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return func(password string, config *tls.Config) (string, error) {
		ctx := testContext(t)
		c, err := pgx.ParseConfig("postgres://somebody@" + l.Addr().String() + "/varve?sslmode=disable")
		require.NoError(t, err)
		c.Password, c.TLSConfig = password, config
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return "", err
		}
		defer func() { require.NoError(t, conn.Close(ctx)) }()
		_, err = conn.Exec(ctx, "select wrong")
		require.ErrorContains(t, err, "42000")
		var who string
		err = conn.QueryRow(ctx, "select who").Scan(&who)
		return who, err
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return m.GetCounter().GetValue()
}

func TestPostgresAsksForTokens(t *testing.T) {
	file, token := tokens(t, Read, Write, all)
	var logged safeBuffer
	s := start(t, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil)), Statements: callers{}, Security: Security{TokenFile: file}})
	connect := s.postgres(t)
	for range 2 { // checked, then known
		who, err := connect(token[Read], nil)
		require.NoError(t, err)
		require.Equal(t, "read", who, "who somebody is, the token says")
	}
	who, err := connect(token[all], nil)
	require.NoError(t, err)
	require.Equal(t, "admin", who)
	_, err = connect(token[Write], nil)
	require.ErrorContains(t, err, "write has scope write, SQL needs read (SQLSTATE 42501)")
	wrong := token[Read][:len(token[Read])-4] + "AAAA"
	for _, bad := range []string{"", "x", wrong, "varve.nobody.abc"} {
		_, err = connect(bad, nil)
		require.ErrorContains(t, err, "28P01", bad)
	}
	for _, secret := range []string{token[Read], token[Write], wrong} {
		require.NotContains(t, logged.String(), secret[len(secret)-20:])
	}
	require.Contains(t, logged.String(), "client of PostgreSQL refused")
	require.EqualValues(t, 5, counted(t, s.metrics.refused))
	require.EqualValues(t, 3, counted(t, s.metrics.rows.WithLabelValues(postgresMethod)))

	_, err = s.postgresCaller(testContext(t), pgwire.Login{User: "read", Password: func() (string, error) { panic("not asked for") }})
	require.ErrorContains(t, err, "needs TLS", "a token in clear stays on this machine")
}

func TestPostgresOverTLS(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	cert, key := ca.server()
	file, token := tokens(t, Read)
	s := start(t, Options{Statements: callers{}, Security: Security{CertFile: cert, KeyFile: key, ClientCAFile: ca.file, TokenFile: file}}, ca.dial())
	connect := s.postgres(t)
	trusting := func(pool *x509.CertPool, certs ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Certificates: certs}
	}
	who, err := connect(token[Read], trusting(ca.pool))
	require.NoError(t, err)
	require.Equal(t, "read", who)
	who, err = connect("", trusting(ca.pool, ca.client("dashboard-7")))
	require.NoError(t, err)
	require.Equal(t, "dashboard-7", who, "a certificate needs no password")
	_, err = connect("", trusting(ca.pool))
	require.ErrorContains(t, err, "28P01")
	_, err = connect("", trusting(ca.pool, foreign.client("dashboard-7")))
	require.Error(t, err)
	_, err = connect(token[Read], trusting(foreign.pool))
	require.ErrorContains(t, err, "certificate")
	require.NotZero(t, counted(t, s.metrics.handshakes))

	mutual := start(t, Options{Statements: callers{}, Security: Security{CertFile: cert, KeyFile: key, ClientCAFile: ca.file}}, ca.dial(ca.client("x")))
	_, err = mutual.postgres(t)(token[Read], nil)
	require.ErrorContains(t, err, "a client certificate is needed")
}

func TestPostgresWithoutSecurityAndWithoutSQL(t *testing.T) {
	s := start(t, Options{Statements: callers{}})
	who, err := s.postgres(t)("", nil)
	require.NoError(t, err)
	require.Empty(t, who)
	_, err = s.ListenPostgres("0.0.0.0:0")
	require.ErrorIs(t, err, ErrInsecure)

	none := start(t, Options{})
	l, err := none.ListenPostgres("127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- none.ServePostgres(ctx, l) }()
	conn, err := pgx.Connect(testContext(t), "postgres://me@"+l.Addr().String()+"/varve?sslmode=disable")
	require.NoError(t, err)
	_, err = conn.Exec(testContext(t), "select 1")
	require.ErrorContains(t, err, "0A000")
	require.NoError(t, conn.Close(testContext(t)))
	cancel()
	require.NoError(t, <-done)
}

// TestEveryStatusHasASQLSTATE: a client of PostgreSQL learns as much of an error as any other.
func TestEveryStatusHasASQLSTATE(t *testing.T) {
	for _, e := range statusOf {
		got := postgresError(fmt.Errorf("call: %w", e.err))
		require.Len(t, got.Code, 5)
		require.NotEqual(t, "XX000", got.Code, e.err)
		require.Contains(t, got.Message, e.err.Error())
	}
	require.Equal(t, "XX000", postgresError(fmt.Errorf("something")).Code)
	require.Equal(t, "XX001", postgresError(storage.ErrCorrupt).Code)
	require.Equal(t, "42501", postgresError(status.Error(codes.PermissionDenied, "no")).Code)
}
