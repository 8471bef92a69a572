package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// reading is how a client takes an answer.
type reading int

const (
	whole  reading = iota // as fast as it comes
	slowly                // a part a second
	never                 // no more than the first part
)

// bomb is a statement that is meant to take what there is of something.
type bomb struct {
	name string
	door string // flight-sql, grpc, http or postgres
	sql  string
	how  reading
}

// bombs are tried one after another, and at last all at once.
var bombs = []bomb{
	{"CPU: endless recursion", "grpc", "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t", whole},
	{"CPU: cross join counted", "flight-sql", "select count(*) from range(10000000) a, range(10000000) b where (a.range * b.range) % 7 = 3", whole},
	{"CPU: regular expressions", "postgres", "select sum(length(regexp_replace(repeat('ab', 5000) || r.range, '(a|b|ab)+$', 'c', 'g'))) from range(100000000) r", whole},
	{"memory: list of all values", "http", "select len(list(value)) from samples", whole},
	{"memory: text of all tags", "grpc", "select length(string_agg(repeat(tag, 20), ',')) from samples", whole},
	{"memory: hash join", "flight-sql", "select count(*), max(a.time_ns + b.time_ns) from samples a join samples b on a.value = b.value and a.tag <> b.tag", whole},
	{"memory: sort", "postgres", "select max(n) from (select row_number() over (order by value desc, time_ns, tag) as n from samples)", whole},
	{"temporary space: sort of texts", "http", "select time, s from (select time, repeat(tag, 20) || value as s from samples) order by s desc, time", slowly},
	{"temporary space: window", "grpc", "select sum(length(x)) from (select lag(repeat(tag, 20) || value) over (order by value, time_ns) as x from samples)", whole},
	{"result: billions of rows, slowly", "flight-sql", "select s.time, s.tag, s.value, s.quality, r.range from range(1000) r, samples s", slowly},
	{"result: billions of rows, never read", "postgres", "select s.time, s.tag, s.value, s.quality, r.range from range(1000) r, samples s", never},
}

// doors are connections of one client to a server, by every door.
type doors struct {
	flight   *sqlClient
	grpc     *grpc.ClientConn
	http     string
	postgres string
}

func openDoors(s *server, http, postgres int) (*doors, error) {
	d := &doors{http: fmt.Sprintf("http://127.0.0.1:%d/api/v1/sql?format=csv", http), postgres: fmt.Sprintf("postgres://bench@127.0.0.1:%d/varve", postgres)}
	var err error
	if d.flight, err = dialSQL(s.address); err != nil {
		return nil, err
	}
	if d.grpc, err = dial(s.address); err != nil {
		d.flight.Close()
		return nil, err
	}
	return d, nil
}

func (d *doors) close() {
	d.flight.Close()
	d.grpc.Close()
}

// taste sleeps, or waits for the end, as a client does that reads slowly or not at all.
func (how reading) taste(ctx context.Context) error {
	var wait <-chan time.Time
	switch how {
	case whole:
		return ctx.Err()
	case slowly:
		wait = time.After(time.Second)
	}
	select {
	case <-wait:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask sends the statement once.
func (d *doors) ask(ctx context.Context, b *bomb) error {
	visit := func(arrow.Record) error { return b.how.taste(ctx) }
	switch b.door {
	case "flight-sql":
		return d.flight.ask(ctx, b.sql, visit)
	case "grpc":
		return grpcDoor(d.grpc, varvev1.SqlService_Query_FullMethodName)(ctx, &varvev1.SqlRequest{Sql: b.sql}, visit)
	case "http":
		return d.askHTTP(ctx, b)
	}
	return d.askPostgres(ctx, b)
}

func (d *doors) askHTTP(ctx context.Context, b *bomb) error {
	body, err := json.Marshal(map[string]string{"sql": b.sql})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.http, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return httpStatus(answer.StatusCode)
	}
	for part := make([]byte, 64<<10); ; {
		if _, err := answer.Body.Read(part); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := b.how.taste(ctx); err != nil {
			return err
		}
	}
}

// httpStatus is an answer that is an error.
type httpStatus int

func (s httpStatus) Error() string { return fmt.Sprintf("HTTP %d", int(s)) }

func (d *doors) askPostgres(ctx context.Context, b *bomb) error {
	conn, err := pgx.Connect(ctx, d.postgres)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(ctx, b.sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return err
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n%1000 == 0 {
			if err := b.how.taste(ctx); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

// reason is what an error is called at the door that it came through.
func reason(err error) string {
	var web httpStatus
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &web):
		return web.Error()
	case errors.As(err, &pg):
		return "SQLSTATE " + pg.Code
	case status.Code(err) != codes.Unknown:
		return status.Code(err).String()
	}
	return "connection"
}

// blast is what became of the statements of a phase.
type blast struct {
	mu       sync.Mutex
	Answered int            `json:"answered"`
	Stopped  int            `json:"stopped"` // ran when the phase was over
	Failed   map[string]int `json:"failed,omitempty"`
}

// throw asks the statements again and again, each over connections of its own, until the time is up, and returns when all are over.
func throw(ctx context.Context, open func() (*doors, error), list []bomb, clients int, lasting time.Duration) (*blast, error) {
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	x := &blast{Failed: map[string]int{}}
	var wait sync.WaitGroup
	defer wait.Wait()
	for _, b := range list {
		for range clients {
			d, err := open()
			if err != nil {
				return nil, err
			}
			wait.Go(func() {
				defer d.close()
				x.client(ctx, d, &b)
			})
		}
	}
	<-ctx.Done()
	wait.Wait()
	return x, nil
}

func (x *blast) client(ctx context.Context, d *doors, b *bomb) {
	for ctx.Err() == nil {
		err := d.ask(ctx, b)
		x.mu.Lock()
		switch {
		case err == nil:
			x.Answered++
		case ctx.Err() != nil, status.Code(err) == codes.DeadlineExceeded: // the server knows the time too
			x.Stopped++
		default:
			x.Failed[reason(err)]++
		}
		x.mu.Unlock()
		if err != nil {
			select { // one that is refused at once is not asked as fast as that
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}
