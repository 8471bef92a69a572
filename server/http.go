package server

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/varvedb/varve/query"
)

// route is a way of the HTTP door and the scope it needs. A request that is for none of them is refused.
type route struct {
	method, path string
	scope        Scope
	serve        func(context.Context, *reply, *http.Request) error
	// refuse writes an error as clients of this way read it, and sets headers that they look at; nil for the JSON of our own. A way that has it is one
	// for agents, see agent_*.go.
	refuse func(h http.Header, status int, message string) []byte
}

func (s *Server) routes() []route {
	return []route{
		{http.MethodGet, "/api/v1/query", Read, s.getQuery, nil},
		{http.MethodPost, "/api/v1/query", Read, s.postQuery, nil},
		{http.MethodGet, "/api/v1/sql", Read, s.getSQL, nil},
		{http.MethodPost, "/api/v1/sql", Read, s.postSQL, nil},
		{http.MethodGet, "/api/v1/openapi.json", Read, s.getOpenAPI, nil},
		{http.MethodGet, "/healthz", open, s.getHealth, nil},
		{http.MethodGet, "/readyz", open, s.getReady, nil},

		{http.MethodPost, "/write", Write, s.postWriteV1, refuseV1},
		{http.MethodPost, "/api/v2/write", Write, s.postWriteV2, refuseV2},
		{http.MethodGet, "/query", Write, s.influxQuery, refuseV1},
		{http.MethodPost, "/query", Write, s.influxQuery, refuseV1},
		{http.MethodGet, "/ping", open, s.influxPing, refuseV1},
		{http.MethodHead, "/ping", open, s.influxPing, refuseV1},
		{http.MethodGet, "/api/v2/ping", open, s.influxPing, refuseV2},
		{http.MethodHead, "/api/v2/ping", open, s.influxPing, refuseV2},
		{http.MethodPost, "/api/v1/write", Write, s.postRemoteWrite, refusePlain},
		{http.MethodPost, "/v1/metrics", Write, s.postOTLP, refuseOTLPJSON},
		{http.MethodGet, "/health", open, s.influxHealth, refuseV2},
	}
}

// openAPI describes the routes. It is generated from the messages, see internal/openapi.
//
//go:embed openapi.json
var openAPI []byte

func (s *Server) getOpenAPI(_ context.Context, out *reply, _ *http.Request) error {
	out.header.Set("Content-Type", "application/json")
	_, err := out.Write(openAPI)
	return err
}

// getHealth says that the process answers.
func (s *Server) getHealth(_ context.Context, out *reply, _ *http.Request) error {
	return out.say("ok")
}

// getReady says that calls are taken.
func (s *Server) getReady(_ context.Context, out *reply, _ *http.Request) error {
	if s.drain.Err() != nil {
		return errDraining
	}
	return out.say("ready")
}

// ServeWeb answers HTTP on l, which Listen made, until ctx ends. Then it drains: new requests are refused, and answers on their way have
// DrainTimeout to end. When it returns nothing of it runs any more.
func (s *Server) ServeWeb(ctx context.Context, l net.Listener) error {
	config, err := s.options.Security.tlsConfig()
	if err != nil {
		return err
	}
	h := &http.Server{
		Handler:           s.web(),
		ReadHeaderTimeout: 10 * time.Second, // the body has a deadline of its own, see reply
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: int(s.options.MaxStreams)},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	serve := h.Serve
	if config != nil {
		config.NextProtos = []string{"h2", "http/1.1"}
		h.TLSConfig = config
		serve = func(l net.Listener) error { return h.ServeTLS(l, "", "") }
	}
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	select {
	case <-ctx.Done():
	case err := <-done:
		return fmt.Errorf("accept HTTP connections: %w", err)
	}
	s.startDrain(errDraining)
	patience, cancel := context.WithTimeout(context.Background(), s.options.DrainTimeout)
	defer cancel()
	if err := h.Shutdown(patience); err != nil {
		s.log.Warn("HTTP answers did not end in time and are cut", "timeout", s.options.DrainTimeout)
		_ = h.Close()
	}
	<-done
	s.webCalls.Lock() // answers that were cut are still ending
	defer s.webCalls.Unlock()
	return nil
}

// web is the handler of the HTTP door. It is what the interceptors are to gRPC: it finds the route, judges the caller, and answers what
// goes wrong.
func (s *Server) web() http.Handler {
	routes := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.webCalls.RLock()
		defer s.webCalls.RUnlock()
		out := newReply(w, s.options.StallTimeout)
		if r.ContentLength != 0 {
			out.awaitBody()
		}
		route, err := findRoute(routes, r)
		out.refuse = route.refuse
		end := s.metrics.request(route.path)
		if err == nil {
			err = s.guard(route.path, func() error { return s.serveRoute(out, r, route) })
		}
		if err != nil && !out.begun && r.ContentLength != 0 {
			out.leaveBody(r.Body)
		}
		broken := out.end(err)
		end(status.Code(toStatus(err)))
		s.logInternal(route.path, toStatus(err))
		if broken {
			panic(http.ErrAbortHandler) // the one way to end a body so that no client takes it for whole
		}
	})
}

// findRoute is the route of a request, an empty one beside an error.
func findRoute(routes []route, r *http.Request) (route, error) {
	var allowed []string
	for _, route := range routes {
		if route.path != r.URL.Path {
			continue
		}
		if route.method == r.Method {
			return route, nil
		}
		allowed = append(allowed, route.method)
	}
	if len(allowed) == 0 {
		return route{}, fmt.Errorf("path %.80q: %w", r.URL.Path, errNotFound)
	}
	return route{}, &httpError{http.StatusMethodNotAllowed, fmt.Errorf("method %.20q on %s: must be %s: %w", r.Method, r.URL.Path, strings.Join(allowed, " or "), errBadField)}
}

func (s *Server) serveRoute(out *reply, r *http.Request, to route) error {
	switch {
	case to.scope != open && s.drain.Err() != nil:
		return errDraining
	case !r.ProtoAtLeast(1, 1):
		// A body without length that breaks off would look whole.
		return &httpError{http.StatusHTTPVersionNotSupported, fmt.Errorf("%s cannot tell a whole answer from a broken one, use HTTP/1.1: %w", r.Proto, errBadField)}
	case to.scope != open && !s.auth.required && !isLoopback(hostOf(r.Host)):
		// A page in a browser of this machine may name a host of its own that resolves to loopback.
		return fmt.Errorf("host %.80q: a server that asks for no authentication answers to localhost only: %w", r.Host, errForbidden)
	case to.scope != open && fromElsewhere(r):
		return fmt.Errorf("a page of another origin asks with the password that the browser keeps: %w", errForbidden)
	}
	ctx := callContext(r)
	if to.refuse != nil {
		var err error
		if ctx, err = agentContext(ctx, r); err != nil {
			s.refused(ctx, to.path, err)
			return err
		}
	}
	who, err := s.auth.permit(ctx, to.path, to.scope)
	if err != nil {
		s.refused(ctx, to.path, err)
		return err
	}
	return to.serve(context.WithValue(ctx, callerKey{}, who), out, r)
}

// fromElsewhere reports whether a browser asks for a page of another origin, with a password that it kept and the page does not know.
func fromElsewhere(r *http.Request) bool {
	_, _, basic := basicAuth(r.Header.Get("Authorization"))
	site := r.Header.Get("Sec-Fetch-Site")
	return basic && (site == "cross-site" || site == "same-site")
}

// callContext is the context of a request with what the judge of gRPC calls looks at.
func callContext(r *http.Request) context.Context {
	p := &peer.Peer{Addr: address(r.RemoteAddr)}
	if r.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{State: *r.TLS}
	}
	md := metadata.MD{}
	values := r.Header.Values("Authorization")
	if len(values) == 1 {
		// Spreadsheets and browsers have a form for a user and a password, and none for a token.
		if _, token, ok := basicAuth(values[0]); ok {
			values = []string{"Bearer " + token}
		}
	}
	if len(values) > 0 {
		md.Set("authorization", values...)
	}
	return metadata.NewIncomingContext(peer.NewContext(r.Context(), p), md)
}

// address is an address as text.
type address string

// Network is part of net.Addr.
func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// hostOf is a host without its port.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// httpError is an error with an HTTP status that no code of gRPC has.
type httpError struct {
	status int
	error
}

func (e *httpError) Unwrap() error { return e.error }

// statusNames are the codes as JSON has them, and the HTTP status beside.
var statusNames = map[codes.Code]struct {
	name   string
	status int
}{
	codes.Canceled:           {"CANCELLED", 499},
	codes.InvalidArgument:    {"INVALID_ARGUMENT", http.StatusBadRequest},
	codes.OutOfRange:         {"OUT_OF_RANGE", http.StatusBadRequest},
	codes.FailedPrecondition: {"FAILED_PRECONDITION", http.StatusBadRequest},
	codes.Unauthenticated:    {"UNAUTHENTICATED", http.StatusUnauthorized},
	codes.PermissionDenied:   {"PERMISSION_DENIED", http.StatusForbidden},
	codes.NotFound:           {"NOT_FOUND", http.StatusNotFound},
	codes.Unimplemented:      {"UNIMPLEMENTED", http.StatusNotFound},
	codes.AlreadyExists:      {"ALREADY_EXISTS", http.StatusConflict},
	codes.Aborted:            {"ABORTED", http.StatusConflict},
	codes.ResourceExhausted:  {"RESOURCE_EXHAUSTED", http.StatusTooManyRequests},
	codes.Unavailable:        {"UNAVAILABLE", http.StatusServiceUnavailable},
	codes.DeadlineExceeded:   {"DEADLINE_EXCEEDED", http.StatusGatewayTimeout},
	codes.DataLoss:           {"DATA_LOSS", http.StatusInternalServerError},
}

// httpStatus is how an error is answered: the HTTP status, the name of its code and what to say.
func httpStatus(err error) (httpCode int, name, message string) {
	st := status.Convert(toStatus(err))
	httpCode, name = http.StatusInternalServerError, "INTERNAL"
	if s, ok := statusNames[st.Code()]; ok {
		httpCode, name = s.status, s.name
	}
	var own *httpError
	switch {
	case errors.As(err, &own):
		httpCode = own.status
	case errors.Is(err, query.ErrTooLarge), st.Code() == codes.ResourceExhausted && wantsTooMuch(st.Message()):
		httpCode = http.StatusBadRequest // asking again does not help
	}
	return httpCode, name, st.Message()
}

// wantsTooMuch tells a statement that needs more than the SQL process may have from one that came when there was nothing left, by what the process says.
func wantsTooMuch(message string) bool {
	return strings.Contains(message, "for want of memory") || strings.Contains(message, "larger than results may be")
}

// retry reports whether asking again later may help.
func retry(httpCode int) bool {
	return slices.Contains([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}, httpCode)
}
