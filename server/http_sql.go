package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/varvedb/varve/internal/answer"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

// getSQL answers a statement in the parameters of the URL: sql, and parameter once for each of $1, $2 … as text, which is cast.
func (s *Server) getSQL(ctx context.Context, out *reply, r *http.Request) error {
	values, f, err := parametersOf(r)
	if err != nil {
		return err
	}
	q := &varvev1.SqlRequest{}
	if q.Sql, err = oneOf(values, "sql"); err != nil {
		return err
	}
	for _, text := range values["parameter"] {
		q.Parameters = append(q.Parameters, &varvev1.SqlValue{Value: &varvev1.SqlValue_Text{Text: text}})
	}
	for name := range values {
		if name != "sql" && name != "parameter" {
			return fmt.Errorf("parameter %.40q: a statement has sql, parameter and format: %w", name, query.ErrBadRequest)
		}
	}
	return s.answerSQL(ctx, out, r, q, f)
}

// oneOf is a parameter that is there once.
func oneOf(values url.Values, name string) (string, error) {
	if n := len(values[name]); n != 1 {
		return "", fmt.Errorf("parameter %s: is there %d times, must be once: %w", name, n, query.ErrBadRequest)
	}
	return values[name][0], nil
}

// postSQL answers a statement in the body, the JSON of a SqlRequest.
func (s *Server) postSQL(ctx context.Context, out *reply, r *http.Request) error {
	values, f, err := parametersOf(r)
	if err != nil {
		return err
	}
	if len(values) > 0 {
		return fmt.Errorf("a statement in the body has no parameters but format: %w", query.ErrBadRequest)
	}
	body, release, err := s.bodyOf(out, r)
	if err != nil {
		return err
	}
	defer release()
	if n := countObjects(body); n > maxStatementValues+1 {
		return fmt.Errorf("statement has %d objects, most is %d: %w", n, maxStatementValues+1, query.ErrBadRequest)
	}
	q := &varvev1.SqlRequest{}
	if err := protojson.Unmarshal(body, q); err != nil {
		text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto:"), "\u00a0", " ")
		return fmt.Errorf("body is not the JSON of a SqlRequest: %s: %w", strings.TrimSpace(text), query.ErrBadRequest)
	}
	return s.answerSQL(ctx, out, r, q, f)
}

// answerSQL answers a statement in a format.
func (s *Server) answerSQL(ctx context.Context, out *reply, r *http.Request, q *varvev1.SqlRequest, f *format) error {
	if f.series {
		return fmt.Errorf("format %s is of questions, whose columns it knows: %w", f.name, query.ErrBadRequest)
	}
	st := statementOf(q)
	a := httpAnswer{
		format: f, bytes: f.bytes + 3*int64(len(st.sql)), statement: true,
		stream: func(ctx context.Context, w io.Writer) error {
			return s.answerStatement(ctx, "http", st, answerTo{put: func(ipc []byte) error {
				_, err := w.Write(ipc)
				return err
			}})
		},
		rows: func(w io.Writer, r *answer.Reader, form string) (uint64, error) {
			return answer.WriteStatement(w, r, form, time.UTC)
		},
	}
	if f.name == "parquet" {
		d, err := s.describeStatement(ctx, st)
		if err != nil {
			return err
		}
		schema, err := answer.ReadSchema(d.GetColumns())
		if err != nil {
			return err
		}
		a.bytes += answer.StreamBytes(schema.NumFields())
	}
	return s.sendAnswer(ctx, out, r, a)
}
