package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

const (
	defaultServer = "127.0.0.1:7420"
	// maxAnswerBytes is the largest message a client takes. The server keeps far below it.
	maxAnswerBytes = 64 << 20
	// windowBytes is how much the server may send ahead on a stream.
	windowBytes = 8 << 20
)

// clientFlags say how to reach a server.
type clientFlags struct {
	server    string
	tls       bool
	tlsCA     string
	tlsCert   string
	tlsKey    string
	tokenFile string
}

func (f *clientFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "", "address of the server, HOST:PORT (default $VARVE_SERVER or "+defaultServer+")")
	flags.BoolVar(&f.tls, "tls", false, "use TLS with the system's certificate authorities")
	flags.StringVar(&f.tlsCA, "tls-ca", "", "file of certificate authorities (PEM) to trust; implies --tls")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "file of this client's certificate (PEM), for mutual TLS; needs --tls-key")
	flags.StringVar(&f.tlsKey, "tls-key", "", "file of this client's key (PEM); needs --tls-cert")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with a bearer token (default the token in $VARVE_TOKEN)")
}

// client is a connection to a server with its services.
type client struct {
	conn    *grpc.ClientConn
	address string
	ingest  varvev1.IngestServiceClient
	query   varvev1.QueryServiceClient
	catalog varvev1.CatalogServiceClient
	admin   varvev1.AdminServiceClient

	annotations varvev1.AnnotationServiceClient
	gaps        varvev1.GapServiceClient
	forecasts   varvev1.ForecastServiceClient
	sql         varvev1.SqlServiceClient
}

// dial makes a client; the first call connects.
func (f *clientFlags) dial() (*client, error) {
	address := f.server
	if address == "" {
		address = os.Getenv("VARVE_SERVER")
	}
	if address == "" {
		address = defaultServer
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usageError(fmt.Errorf("server %q: must be HOST:PORT", address))
	}
	transport, secure, err := f.transport()
	if err != nil {
		return nil, usageError(err)
	}
	token, err := f.token()
	if err != nil {
		return nil, usageError(err)
	}
	if token != "" && !secure && !loopback(host) {
		return nil, usageError(fmt.Errorf("a token would cross the network to %s in the clear; use --tls or --tls-ca", address))
	}
	return dialTo(address, transport, token)
}

// dialTo makes a client of the server at an address, which knows who asks by token where it is not empty.
func dialTo(address string, transport credentials.TransportCredentials, token string, more ...grpc.DialOption) (*client, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithUserAgent("varve"),
	}, more...)
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, usageError(fmt.Errorf("server %q: %w", address, err))
	}
	return &client{
		conn: conn, address: address,
		ingest: varvev1.NewIngestServiceClient(conn), query: varvev1.NewQueryServiceClient(conn),
		catalog: varvev1.NewCatalogServiceClient(conn), admin: varvev1.NewAdminServiceClient(conn), annotations: varvev1.NewAnnotationServiceClient(conn),
		gaps:      varvev1.NewGapServiceClient(conn),
		forecasts: varvev1.NewForecastServiceClient(conn),
		sql:       varvev1.NewSqlServiceClient(conn),
	}, nil
}

func (c *client) close() { _ = c.conn.Close() } // nothing is left to lose

func (f *clientFlags) transport() (creds credentials.TransportCredentials, secure bool, err error) {
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return nil, false, errors.New("--tls-cert and --tls-key go together")
	}
	if !f.tls && f.tlsCA == "" && f.tlsCert == "" {
		return insecure.NewCredentials(), false, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.tlsCA != "" {
		pem, err := os.ReadFile(f.tlsCA)
		if err != nil {
			return nil, false, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, false, fmt.Errorf("%s holds no certificate in PEM", f.tlsCA)
		}
	}
	if f.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
		if err != nil {
			return nil, false, fmt.Errorf("read the certificate %s and its key %s: %w", f.tlsCert, f.tlsKey, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), true, nil
}

func (f *clientFlags) token() (string, error) {
	if f.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("VARVE_TOKEN")), nil
	}
	b, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("token file %s is empty", f.tokenFile)
	}
	return token, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bearer is a token sent with every call. dial sees to it that it crosses no network without TLS.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (b bearer) RequireTransportSecurity() bool { return false }

// explain turns an error of a call into what a person can act on.
func (c *client) explain(err error) error {
	if err == nil {
		return nil
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return err
	}
	message := s.GRPCStatus().Message()
	switch s.GRPCStatus().Code() {
	case codes.Unavailable:
		if strings.Contains(message, "server preface") {
			return fmt.Errorf("the server at %s hung up: %s; if it speaks TLS, give --tls-ca or --tls", c.address, message)
		}
		return fmt.Errorf("no answer from the server at %s: %s; is it running there? start one with: varve serve --data DIR --listen %s", c.address, message, c.address)
	case codes.Unauthenticated:
		return fmt.Errorf("the server at %s wants to know who you are: %s; give --token-file, $VARVE_TOKEN, or --tls-cert and --tls-key", c.address, message)
	case codes.PermissionDenied:
		return fmt.Errorf("not allowed: %s", message)
	case codes.Canceled:
		return errors.New("stopped")
	case codes.Unimplemented:
		return fmt.Errorf("the server at %s does not know this call: %s; it may be an older release", c.address, message)
	}
	if wrapped := err.Error(); !strings.HasPrefix(wrapped, "rpc error:") {
		return err
	}
	return errors.New(message)
}

// asUsage makes a check of arguments tell of a command line that makes no sense.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
		}
		return nil
	}
}
