package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
)

// open marks the methods that need no scope at all.
const open Scope = 0

// scopeOf is what a caller needs for each method. A method that is not here is refused; a test holds the table to the
// methods the server registers.
var scopeOf = map[string]Scope{
	"/varve.v1.IngestService/Ingest": Write,
	"/varve.v1.IngestService/Write":  Write,
	"/varve.v1.IngestService/Edit":   Write,

	"/" + otlpService + "/Export": Write,

	"/varve.v1.QueryService/ReadRange":        Read,
	"/varve.v1.QueryService/ReadAggregates":   Read,
	"/varve.v1.QueryService/ReadProcessed":    Read,
	"/varve.v1.QueryService/Explain":          Read,
	"/varve.v1.QueryService/ReadAtTimes":      Read,
	"/varve.v1.QueryService/ReadWide":         Read,
	"/varve.v1.QueryService/ReadTimeInState":  Read,
	"/varve.v1.QueryService/ReadCompleteness": Read,
	"/varve.v1.QueryService/Tune":             Read,
	"/varve.v1.QueryService/ReadPlot":         Read,
	"/varve.v1.QueryService/Latest":           Read,
	"/varve.v1.QueryService/ReadModified":     Read,
	"/varve.v1.QueryService/ListDays":         Read,
	"/varve.v1.QueryService/HashDay":          Read,

	"/varve.v1.SubscriptionService/Subscribe": Read,

	"/varve.v1.CatalogService/CreateTags":       Write,
	"/varve.v1.CatalogService/GetTag":           Read,
	"/varve.v1.CatalogService/ListTags":         Read,
	"/varve.v1.CatalogService/UpdateTag":        Write,
	"/varve.v1.CatalogService/RenameTag":        Write,
	"/varve.v1.CatalogService/PutStateSet":      Write,
	"/varve.v1.CatalogService/GetStateSet":      Read,
	"/varve.v1.CatalogService/ListStateSets":    Read,
	"/varve.v1.CatalogService/PutCalendar":      Write,
	"/varve.v1.CatalogService/GetCalendar":      Read,
	"/varve.v1.CatalogService/ListCalendars":    Read,
	"/varve.v1.CatalogService/PutCalculation":   Write,
	"/varve.v1.CatalogService/GetCalculation":   Read,
	"/varve.v1.CatalogService/ListCalculations": Read,

	"/varve.v1.AnnotationService/Annotate":         Write,
	"/varve.v1.AnnotationService/EditAnnotation":   Write,
	"/varve.v1.AnnotationService/RemoveAnnotation": Write,
	"/varve.v1.AnnotationService/ListAnnotations":  Read,

	"/varve.v1.GapService/RecordGaps":       Write,
	"/varve.v1.GapService/EndGaps":          Write,
	"/varve.v1.GapService/WithdrawGaps":     Write,
	"/varve.v1.GapService/ListGaps":         Read,
	"/varve.v1.GapService/ReportCollecting": Write,

	"/varve.v1.ForecastService/PutForecast":   Write,
	"/varve.v1.ForecastService/ListForecasts": Read,
	"/varve.v1.QueryService/ReadForecast":     Read,
	"/varve.v1.QueryService/CompareForecast":  Read,

	"/varve.v1.SqlService/Query":    Read,
	"/varve.v1.SqlService/Describe": Read,

	"/varve.v1.AdminService/Status":        Read,
	"/varve.v1.AdminService/Flush":         Admin,
	"/varve.v1.AdminService/Checkpoint":    Admin,
	"/varve.v1.AdminService/Seal":          Admin,
	"/varve.v1.AdminService/ContentHashes": Admin,
	"/varve.v1.AdminService/AcceptLoss":    Admin,
	"/varve.v1.AdminService/DeleteRange":   Admin,
	"/varve.v1.AdminService/UndeleteRange": Admin,
	"/varve.v1.AdminService/ListDeletes":   Read,
	"/varve.v1.AdminService/Purge":         Admin,
	"/varve.v1.AdminService/ListErasures":  Read,
	"/varve.v1.AdminService/Hold":          Admin,
	"/varve.v1.AdminService/ReleaseHold":   Admin,
	"/varve.v1.AdminService/ListHolds":     Read,
	"/varve.v1.AdminService/SetRetention":  Admin,
	"/varve.v1.AdminService/ListRetention": Read,

	"/arrow.flight.protocol.FlightService/DoGet":         Read,
	"/arrow.flight.protocol.FlightService/GetFlightInfo": Read,
	"/arrow.flight.protocol.FlightService/GetSchema":     Read,
	handshake: Read | Write,
	"/arrow.flight.protocol.FlightService/DoAction":    Read,
	"/arrow.flight.protocol.FlightService/ListActions": Read,
	"/arrow.flight.protocol.FlightService/DoPut":       Read | Write, // parameters or samples: the command says which

	"/grpc.health.v1.Health/Check": open,
	"/grpc.health.v1.Health/List":  open,
	"/grpc.health.v1.Health/Watch": open,

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      Read,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Read,
}

// handshake is the one method that takes a name and a token as Basic authentication has them, for clients that know no other way. They
// show the token as everyone does from then on.
const handshake = "/arrow.flight.protocol.FlightService/Handshake"

// caller is who calls and what they may do. The name is empty where the server does not authenticate.
type caller struct {
	name  string
	scope Scope
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// authenticator finds out who calls.
type authenticator struct {
	required  bool
	certScope Scope
	tokens    *tokenStore // nil without a token file
}

func newAuthenticator(s Security) (*authenticator, error) {
	a := &authenticator{required: s.authenticates(), certScope: s.CertScope}
	if a.certScope == 0 {
		a.certScope = Read | Write
	}
	if s.TokenFile == "" {
		return a, nil
	}
	var err error
	a.tokens, err = readTokens(s.TokenFile)
	return a, err
}

// authorize says who calls a method, or why they may not.
func (a *authenticator) authorize(ctx context.Context, method string) (caller, error) {
	need, ok := scopeOf[method]
	if !ok {
		return caller{}, status.Errorf(codes.Unimplemented, "method %s is not offered", method)
	}
	return a.permit(ctx, method, need)
}

// permit says who calls what needs a scope, or why they may not.
func (a *authenticator) permit(ctx context.Context, method string, need Scope) (caller, error) {
	if !a.required {
		return caller{scope: all}, nil
	}
	if need == open {
		return caller{}, nil
	}
	who, err := a.authenticate(ctx, method)
	if err != nil {
		return caller{}, err
	}
	if who.scope&need == 0 {
		return caller{}, status.Errorf(codes.PermissionDenied, "%s has scope %s, %s needs %s", who.name, who.scope, method, need)
	}
	return who, nil
}

// authenticate knows a caller by token or, without one, by certificate.
func (a *authenticator) authenticate(ctx context.Context, method string) (caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("authorization"); len(values) > 0 && a.tokens != nil {
		scheme, token, _ := strings.Cut(values[0], " ")
		user, password, basic := basicAuth(values[0])
		switch {
		case len(values) == 1 && strings.EqualFold(scheme, "bearer"):
		case len(values) == 1 && basic && method == handshake:
			token = password
		default:
			return caller{}, status.Error(codes.Unauthenticated, "authorization must be one bearer token")
		}
		who, err := a.tokens.check(ctx, token)
		if err == nil && basic && user != "" && user != who.name {
			return caller{}, status.Error(codes.Unauthenticated, "the token is not that of this user; a user is the name of a token, the password the token")
		}
		if errors.Is(err, errHashing) {
			return who, status.Error(codes.Unavailable, err.Error())
		}
		if err != nil {
			return who, status.Error(codes.Unauthenticated, err.Error())
		}
		return who, nil
	}
	if p, ok := peer.FromContext(ctx); ok {
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(t.State.VerifiedChains) > 0 {
			name := certName(t.State.VerifiedChains[0][0])
			if name == "" {
				return caller{}, status.Error(codes.Unauthenticated, "client certificate names nobody")
			}
			return caller{name: name, scope: a.certScope}, nil
		}
	}
	if a.tokens == nil {
		return caller{}, status.Error(codes.Unauthenticated, "a client certificate is needed")
	}
	return caller{}, status.Error(codes.Unauthenticated, "a bearer token is needed: authorization: Bearer TOKEN")
}

// basicAuth takes the header of Basic authentication apart.
func basicAuth(header string) (user, password string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}

// tap refuses calls before anything of their messages is read. The interceptors ask again, because they tell the
// handlers who calls; by then a token is known.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if s.drain.Err() != nil {
		return nil, toStatus(errDraining)
	}
	if _, err := s.auth.authorize(metadata.NewIncomingContext(ctx, info.Header), info.FullMethodName); err != nil {
		s.refused(ctx, info.FullMethodName, err)
		return nil, err
	}
	return ctx, nil
}

func (s *Server) unaryAuth(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	who, err := s.auth.authorize(ctx, info.FullMethod)
	if err != nil {
		s.refused(ctx, info.FullMethod, err)
		return nil, err
	}
	return handler(context.WithValue(ctx, callerKey{}, who), req)
}

func (s *Server) streamAuth(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	who, err := s.auth.authorize(stream.Context(), info.FullMethod)
	if err != nil {
		s.refused(stream.Context(), info.FullMethod, err)
		return err
	}
	return handler(srv, &authorizedStream{ServerStream: stream, ctx: context.WithValue(stream.Context(), callerKey{}, who)})
}

// authorizedStream is a stream whose context knows the caller and whose requests go through decodeRequest.
type authorizedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *authorizedStream) Context() context.Context { return s.ctx }

func (s *authorizedStream) RecvMsg(m any) error {
	if request, ok := m.(proto.Message); ok {
		return decodeRequest(s.ServerStream.RecvMsg, request)
	}
	return s.ServerStream.RecvMsg(m)
}

func (s *Server) refused(ctx context.Context, method string, err error) {
	s.metrics.refused.Inc()
	from := "unknown"
	if p, ok := peer.FromContext(ctx); ok {
		from = fmt.Sprint(p.Addr)
	}
	s.log.Warn("call refused", "method", method, "from", from, "reason", status.Convert(err).Message())
}
