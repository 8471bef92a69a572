package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/apache/arrow/go/v15/arrow/flight/flightsql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// sqlDoor is a way to ask a statement. ask returns the beginning of what it answers, as text that has all its values.
type sqlDoor struct {
	name string
	ask  func(ctx context.Context, statement string) (string, error)
}

// sqlDoors are all the ways there are into a server. Each is for one goroutine at a time.
func sqlDoors(t *testing.T, at addresses) []sqlDoor {
	conn, err := grpc.NewClient(at.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	sql := varvev1.NewSqlServiceClient(conn)
	flightSQL, err := flightsql.NewClient(at.grpc, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = flightSQL.Close() })
	simple, extended := &postgresDoor{address: at.postgres}, &postgresDoor{address: at.postgres}
	t.Cleanup(simple.close)
	t.Cleanup(extended.close)
	return []sqlDoor{
		{"gRPC", func(ctx context.Context, statement string) (string, error) {
			stream, err := sql.Query(ctx, &varvev1.SqlRequest{Sql: statement})
			var b beginning
			for err == nil {
				var m *varvev1.ArrowData
				if m, err = stream.Recv(); err == nil {
					_, _ = b.Write(m.Ipc)
				}
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return b.String(), err
		}},
		{"gRPC describe", func(ctx context.Context, statement string) (string, error) {
			d, err := sql.Describe(ctx, &varvev1.SqlRequest{Sql: statement})
			return string(d.GetColumns()), err
		}},
		{"Flight SQL", func(ctx context.Context, statement string) (string, error) {
			info, err := flightSQL.Execute(ctx, statement)
			if err != nil {
				return "", err
			}
			return flightAnswer(ctx, flightSQL, info)
		}},
		{"Flight SQL prepared", func(ctx context.Context, statement string) (string, error) {
			p, err := flightSQL.Prepare(ctx, statement)
			if err != nil {
				return "", err
			}
			defer func() { _ = p.Close(context.WithoutCancel(ctx)) }()
			info, err := p.Execute(ctx)
			if err != nil {
				return "", err
			}
			return flightAnswer(ctx, flightSQL, info)
		}},
		{"PostgreSQL", simple.simple},
		{"PostgreSQL extended", extended.extended},
		{"HTTP GET", func(ctx context.Context, statement string) (string, error) {
			return httpAnswer(ctx, http.MethodGet, "http://"+at.http+"/api/v1/sql?format=csv&sql="+url.QueryEscape(statement), "")
		}},
		{"HTTP POST", func(ctx context.Context, statement string) (string, error) {
			body, err := protojson.Marshal(&varvev1.SqlRequest{Sql: statement})
			if err != nil {
				return "", err
			}
			return httpAnswer(ctx, http.MethodPost, "http://"+at.http+"/api/v1/sql?format=ndjson", string(body))
		}},
	}
}

// beginning keeps the first bytes that are written to it.
type beginning struct{ strings.Builder }

const beginningBytes = 64 << 10

func (b *beginning) Write(p []byte) (int, error) {
	_, _ = b.Builder.Write(p[:min(len(p), max(beginningBytes-b.Len(), 0))])
	return len(p), nil
}

func flightAnswer(ctx context.Context, c *flightsql.Client, info *flight.FlightInfo) (string, error) {
	stream, err := c.Client.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return "", err
	}
	var b beginning
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		_, _ = b.Write(m.DataBody)
	}
}

func httpAnswer(ctx context.Context, method, address, body string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	var b beginning
	_, err = io.Copy(&b, r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, b.String())
	}
	return b.String(), err
}

// postgresDoor keeps a connection, and makes another one when it was closed.
type postgresDoor struct {
	address string
	conn    *pgconn.PgConn
}

func (d *postgresDoor) close() {
	if d.conn != nil {
		_ = d.conn.Close(context.Background())
	}
}

func (d *postgresDoor) connect(ctx context.Context) (err error) {
	if d.conn == nil || d.conn.IsClosed() {
		d.conn, err = pgconn.Connect(ctx, "postgres://me@"+d.address+"/varve?sslmode=disable")
	}
	return err
}

func (d *postgresDoor) simple(ctx context.Context, statement string) (string, error) {
	if err := d.connect(ctx); err != nil {
		return "", err
	}
	var b beginning
	results := d.conn.Exec(ctx, statement)
	for results.NextResult() {
		take(results.ResultReader(), &b)
	}
	return b.String(), results.Close()
}

func (d *postgresDoor) extended(ctx context.Context, statement string) (string, error) {
	if err := d.connect(ctx); err != nil {
		return "", err
	}
	var b beginning
	rows := d.conn.ExecParams(ctx, statement, nil, nil, nil, nil)
	take(rows, &b)
	_, err := rows.Close()
	return b.String(), err
}

func take(rows *pgconn.ResultReader, b *beginning) {
	for rows.NextRow() {
		for _, v := range rows.Values() {
			_, _ = b.Write(v)
			_, _ = b.Write([]byte{'\n'})
		}
	}
}

// TestSQLForWantOfMemory is a statement that needs more memory and temporary space than there is: it is told as that, and not as a mistake in the statement.
func TestSQLForWantOfMemory(t *testing.T) {
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--sql-memory", "64MiB", "--sql-temp-bytes", "1MiB")
	statement := "select list(i order by i desc) from range(20000000) t(i)"
	doors := map[string]sqlDoor{}
	for _, d := range sqlDoors(t, at) {
		doors[d.name] = d
	}
	for _, name := range []string{"gRPC", "Flight SQL"} {
		_, err := doors[name].ask(t.Context(), statement)
		require.Equal(t, codes.ResourceExhausted, status.Code(err), "%s: %v", name, err)
		require.Contains(t, err.Error(), "for want of memory")
	}
	_, err := doors["HTTP GET"].ask(t.Context(), statement)
	require.ErrorContains(t, err, "400")
	require.ErrorContains(t, err, "RESOURCE_EXHAUSTED")
	_, err = doors["PostgreSQL"].ask(t.Context(), statement)
	var told *pgconn.PgError
	require.ErrorAs(t, err, &told)
	require.Equal(t, "53200", told.Code, told.Message)
}

// TestSQLSaysThatTimeIsUp has the SQL process notice the end of a statement's time before the server does, now and then: it is told as that all the same.
func TestSQLSaysThatTimeIsUp(t *testing.T) {
	at, _ := serveDoors(t, t.TempDir(), "--sql-binary", sqlBinary(t), "--postgres", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
	conn, err := grpc.NewClient(at.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	sql := varvev1.NewSqlServiceClient(conn)
	for range 200 {
		stream, err := sql.Query(t.Context(), &varvev1.SqlRequest{Sql: "select sum(i % 7) from range(1000000000000) t(i)", TimeoutMs: 5})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
		require.ErrorContains(t, err, "5ms")
	}
}
