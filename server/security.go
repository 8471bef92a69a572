package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
)

// ErrInsecure refuses a listen address that others can reach without TLS and authentication.
var ErrInsecure = errors.New("address is reachable from other machines and the server is not secured")

// Scope is a set of things a caller may do.
type Scope uint8

// The scopes. Admin includes the other two.
const (
	Read  Scope = 1 << iota // query, look at the catalogue and the status
	Write                   // send and edit samples, change the catalogue
	Admin                   // flush, checkpoint, accept a loss

	all = Read | Write | Admin
)

var scopeNames = map[string]Scope{"read": Read, "write": Write, "admin": all}

// ParseScope reads scopes as "read", "write", "admin" or several with commas between.
func ParseScope(text string) (Scope, error) {
	var s Scope
	for name := range strings.SplitSeq(text, ",") {
		one, ok := scopeNames[name]
		if !ok {
			return 0, fmt.Errorf("scope %.40q: must be read, write, admin, or several with commas between", name)
		}
		s |= one
	}
	return s, nil
}

func (s Scope) String() string {
	if s&Admin != 0 {
		return "admin"
	}
	var names []string
	if s&Read != 0 {
		names = append(names, "read")
	}
	if s&Write != 0 {
		names = append(names, "write")
	}
	return strings.Join(names, ",")
}

// Security says how callers are known and what they may do.
type Security struct {
	// CertFile and KeyFile are the server's certificate chain and key as PEM. Both or neither.
	CertFile, KeyFile string
	// ClientCAFile holds the authorities, as PEM, whose certificates identify clients: by the first URI, DNS name or
	// e-mail address of the certificate, or else its common name. With tokens beside it a certificate is optional.
	ClientCAFile string
	// CertScope is what a client with a certificate may do. The default is Read and Write.
	CertScope Scope
	// TokenFile holds lines as NewToken makes them.
	TokenFile string
}

func (s *Security) authenticates() bool { return s.ClientCAFile != "" || s.TokenFile != "" }

// Check judges whether a server so secured may listen on addr.
func (s *Security) Check(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: must be HOST:PORT: %w", addr, err)
	}
	if isLoopback(host) || s.CertFile != "" && s.authenticates() {
		return nil
	}
	var missing []string
	if s.CertFile == "" {
		missing = append(missing, "--tls-cert and --tls-key")
	}
	if !s.authenticates() {
		missing = append(missing, "--tokens or --client-ca")
	}
	return fmt.Errorf("listen on %s: set %s, or listen on 127.0.0.1: %w", addr, strings.Join(missing, ", and "), ErrInsecure)
}

// isLoopback reports whether only this machine reaches host. A name counts if it is localhost: others may resolve to
// another address tomorrow.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// tlsConfig is nil without a certificate.
func (s *Security) tlsConfig() (*tls.Config, error) {
	if (s.CertFile == "") != (s.KeyFile == "") {
		return nil, fmt.Errorf("TLS certificate %q and key %q: both must be given", s.CertFile, s.KeyFile)
	}
	if s.CertFile == "" {
		if s.ClientCAFile != "" {
			return nil, fmt.Errorf("client authorities %q need a TLS certificate and key of the server", s.ClientCAFile)
		}
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate %s and key %s: %w", s.CertFile, s.KeyFile, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	if s.ClientCAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("read client authorities: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read client authorities %s: no certificate in it", s.ClientCAFile)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if s.TokenFile != "" {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config, nil
}

// certName is who a certificate is for.
func certName(c *x509.Certificate) string {
	names := slices.Concat(uris(c), c.DNSNames, c.EmailAddresses, []string{c.Subject.CommonName})
	return names[0]
}

func uris(c *x509.Certificate) []string {
	out := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		out[i] = u.String()
	}
	return out
}

// handshakes is TLS that tells the operator whom it turned away. A client with an expired certificate learns of it only
// that the connection closed.
type handshakes struct {
	credentials.TransportCredentials
	server *Server
}

func (h *handshakes) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ServerHandshake(c)
	if err != nil && !errors.Is(err, io.EOF) { // which is a probe of the port
		h.server.metrics.handshakes.Inc()
		h.server.log.Warn("TLS handshake failed", "from", c.RemoteAddr().String(), "error", err)
	}
	return secured, info, err
}

// Clone is part of credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{h.TransportCredentials.Clone(), h.server}
}
