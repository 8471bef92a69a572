package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/varvedb/varve/server/lineprotocol"
)

// The ways of InfluxDB for those who write: /write and /query of version 1, /api/v2/write of version 2, and what clients ask before they begin.

// maxLineBytes is the longest line taken.
const maxLineBytes = 1 << 20

// Nanoseconds in the units that times are written in, by the parameter precision.
var (
	unitsV1 = map[string]int64{
		"": 1, "n": 1, "ns": 1, "u": 1e3, "us": 1e3, "µ": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
	}
	unitsV2 = map[string]int64{"": 1, "ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
)

func (s *Server) postWriteV1(ctx context.Context, out *reply, r *http.Request) error {
	return s.postLines(ctx, out, r, unitsV1)
}

func (s *Server) postWriteV2(ctx context.Context, out *reply, r *http.Request) error {
	return s.postLines(ctx, out, r, unitsV2)
}

// postLines stores the lines of a body. Databases and buckets are not part of a tag's name: at most they choose its template.
func (s *Server) postLines(ctx context.Context, out *reply, r *http.Request, units map[string]int64) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("parameters: %w: %w", err, errBadField)
	}
	unit, ok := units[values.Get("precision")]
	if !ok {
		return fmt.Errorf("precision %.20q: must be one of ns, us, ms, s: %w", values.Get("precision"), errBadField)
	}
	names := s.agents.namesOf(doorLines, callerOf(ctx).name, cmp.Or(values.Get("db"), values.Get("bucket")))
	if _, err := s.serveAgent(ctx, names, "line", func(a *agentRows) error { return s.takeLines(ctx, a, out, r, unit) }); err != nil {
		return err
	}
	out.code = http.StatusNoContent
	return nil
}

// takeLines reads a body and submits what is good of it.
func (s *Server) takeLines(ctx context.Context, a *agentRows, out *reply, r *http.Request, unit int64) error {
	body, err := a.body(r)
	if err != nil {
		return a.bodyError(err)
	}
	if a.lines == nil {
		a.lines = lineprotocol.NewReader(body, unit, maxLineBytes)
	} else {
		a.lines.Reset(body, unit, maxLineBytes)
	}
	now := s.options.Now().UnixNano()
	now -= now % unit
	for {
		err := a.lines.Next()
		if err == io.EOF {
			break
		}
		if e, ok := errors.AsType[*lineprotocol.Error](err); ok {
			a.wrongLine(e)
			continue
		}
		if err != nil {
			return a.bodyError(err)
		}
		if err := a.line(&a.lines.Line, now); err != nil {
			a.wrongLine(&lineprotocol.Error{Line: a.lines.Line.Number, Reason: err.Error()})
			continue
		}
		if a.full() {
			if err := a.store(ctx); err != nil {
				return err
			}
			out.awaitBody() // it goes on
		}
	}
	out.hasBody()
	return a.store(ctx)
}

// wrongLine notes a line that could not be read.
func (a *agentRows) wrongLine(e *lineprotocol.Error) {
	a.dropped++
	a.server.metrics.wrongLines.Inc()
	reason := e.Reason
	if e.Column > 0 {
		reason = fmt.Sprintf("column %d: %s", e.Column, reason)
	}
	a.note(e.Line, strings.ToValidUTF8(reason, "\uFFFD"))
}

// line gathers the values of a line.
func (a *agentRows) line(l *lineprotocol.Line, now int64) error {
	series := a.names.find(l.Series, a.last)
	if series == nil {
		if len(l.Series) > maxSeriesBytes {
			return fmt.Errorf("measurement and tags of more than %d bytes", maxSeriesBytes)
		}
		s, err := lineprotocol.Split(l.Series)
		if err != nil {
			return err
		}
		labels := make([]label, len(s.Tags))
		for i, t := range s.Tags {
			labels[i] = label{t.Key, t.Value}
		}
		series = a.names.add(l.Series, a.last, a.names.name(s.Measurement, "", labels))
	}
	a.last = series
	at := l.Time
	if !l.HasTime {
		at = now
		a.server.metrics.timeless.Add(float64(len(l.Fields)))
	}
	first := len(a.rows)
	var tag *agentTag
	for i := range l.Fields {
		f := &l.Fields[i]
		if tag = series.tag(f.Key, tag); tag == nil {
			field, err := lineprotocol.Unescape(f.Key)
			if err == nil && len(field) > maxSeriesBytes {
				err = fmt.Errorf("field of more than %d bytes", maxSeriesBytes)
			}
			if err != nil {
				a.rows = a.rows[:first] // the line as a whole is wrong
				return err
			}
			tag = series.addTag(f.Key, field)
		}
		a.add(tag, at, f.Kind, f.Bits, f.Text, l.Number)
	}
	a.bytes += len(l.Series) + 24*len(l.Fields)
	return nil
}

// influxQuery answers what clients of version 1 say before they write: CREATE DATABASE, which changes nothing. Questions have ways of their own.
func (s *Server) influxQuery(_ context.Context, out *reply, r *http.Request) error {
	text := r.URL.Query().Get("q")
	if r.Method == http.MethodPost && text == "" {
		r.Body = http.MaxBytesReader(nil, r.Body, 64<<10)
		text = r.PostFormValue("q")
	}
	out.hasBody()
	words := strings.Fields(strings.ToUpper(text))
	if len(words) < 3 || words[0] != "CREATE" || words[1] != "DATABASE" {
		return fmt.Errorf("%.80q: InfluxQL is not spoken here; CREATE DATABASE is answered and changes nothing, questions go to /api/v1/query and /api/v1/sql: %w", text, errBadField)
	}
	out.header.Set("Content-Type", "application/json")
	_, err := io.WriteString(out, `{"results":[{"statement_id":0}]}`+"\n")
	return err
}

// influxPing answers that the server answers.
func (s *Server) influxPing(_ context.Context, out *reply, _ *http.Request) error {
	out.header.Set("X-Influxdb-Version", "varve-"+s.options.Version)
	out.header.Set("X-Influxdb-Build", "varve")
	out.code = http.StatusNoContent
	return nil
}

// influxHealth answers the same to clients of version 2.
func (s *Server) influxHealth(_ context.Context, out *reply, _ *http.Request) error {
	if s.drain.Err() != nil {
		return errDraining
	}
	out.header.Set("Content-Type", "application/json")
	return json.NewEncoder(out).Encode(map[string]any{
		"name": "varve", "message": "ready for writes", "status": "pass", "checks": []any{}, "version": s.options.Version,
	})
}

// refuseV1 is an error as version 1 of InfluxDB says it.
func refuseV1(h http.Header, _ int, message string) []byte {
	h.Set("X-Influxdb-Error", oneLine(message))
	b, _ := json.Marshal(map[string]string{"error": message}) // strings always encode
	return append(b, '\n')
}

// codesV2 is what version 2 of InfluxDB calls a status.
var codesV2 = map[int]string{
	http.StatusBadRequest: "invalid", http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "forbidden", http.StatusNotFound: "not found",
	http.StatusRequestEntityTooLarge: "request too large", http.StatusUnsupportedMediaType: "invalid",
	http.StatusServiceUnavailable: "unavailable",
}

// refuseV2 is an error as version 2 of InfluxDB says it.
func refuseV2(h http.Header, status int, message string) []byte {
	code, ok := codesV2[status]
	if !ok {
		code = "internal error"
	}
	h.Set("X-Platform-Error-Code", code)
	b, _ := json.Marshal(map[string]string{"code": code, "message": message})
	return append(b, '\n')
}

// oneLine is a message as a header can have it.
func oneLine(message string) string {
	line := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, message)
	return line[:min(len(line), 1000)]
}
