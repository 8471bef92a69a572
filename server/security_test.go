package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	a.file = a.write("CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert, key
}

func (a *authority) write(kind string, der []byte) string {
	f, err := os.CreateTemp(a.t.TempDir(), "*.pem")
	require.NoError(a.t, err)
	require.NoError(a.t, pem.Encode(f, &pem.Block{Type: kind, Bytes: der}))
	require.NoError(a.t, f.Close())
	return f.Name()
}

func (a *authority) server() (certFile, keyFile string) {
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "varve"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	return a.write("CERTIFICATE", cert.Raw), a.write("EC PRIVATE KEY", der)
}

func (a *authority) client(name string) tls.Certificate {
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "ignored"}, DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) dial(certs ...tls.Certificate) grpc.DialOption {
	return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: a.pool, Certificates: certs}))
}

// bearer shows a token with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (b bearer) RequireTransportSecurity() bool { return false }

// tokens writes a token file and returns it with the tokens by scope.
func tokens(t *testing.T, scopes ...Scope) (file string, byScope map[Scope]string) {
	byScope = map[Scope]string{}
	lines := "# who may do what\n\n"
	for _, s := range scopes {
		token, line, err := NewToken(strings.ReplaceAll(s.String(), ",", "-"), s, nil)
		require.NoError(t, err)
		require.NotContains(t, line, token[len(token)-20:], "the line holds no secret")
		byScope[s] = token
		lines += line + "\n"
	}
	file = filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(lines), 0o600))
	return file, byScope
}

func TestAddressOthersReachNeedsSecurity(t *testing.T) {
	none, tokensOnly := Security{}, Security{TokenFile: "t"}
	tlsOnly := Security{CertFile: "c", KeyFile: "k"}
	both, mutual := Security{CertFile: "c", KeyFile: "k", TokenFile: "t"}, Security{CertFile: "c", KeyFile: "k", ClientCAFile: "a"}
	for _, addr := range []string{"0.0.0.0:7420", ":7420", "[::]:0", "10.1.2.3:1", "plant.example:7420"} {
		require.ErrorIs(t, none.Check(addr), ErrInsecure)
		require.ErrorContains(t, none.Check(addr), "--tls-cert and --tls-key, and --tokens or --client-ca")
		require.ErrorContains(t, tokensOnly.Check(addr), "set --tls-cert and --tls-key, or")
		require.ErrorContains(t, tlsOnly.Check(addr), "set --tokens or --client-ca, or")
		require.NoError(t, both.Check(addr))
		require.NoError(t, mutual.Check(addr))
	}
	for _, addr := range []string{"127.0.0.1:0", "127.9.9.9:1", "[::1]:7420", "localhost:7420"} {
		require.NoError(t, none.Check(addr))
	}
	require.Error(t, both.Check("127.0.0.1"))
}

func TestTokensAndScopes(t *testing.T) {
	file, token := tokens(t, Read, Write, all)
	var logged safeBuffer
	s := start(t, Options{Security: Security{TokenFile: file}, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	ctx := testContext(t)
	with := func(token string) grpc.CallOption { return grpc.PerRPCCredentials(bearer(token)) }
	admin, ingest := varvev1.NewAdminServiceClient(s.conn), varvev1.NewIngestServiceClient(s.conn)
	write := &varvev1.WriteRequest{CreateTags: true, Batch: &varvev1.Batch{Runs: []*varvev1.Run{floats("a", 1, 1)}}}

	_, err := admin.Status(ctx, &varvev1.StatusRequest{})
	requireCode(t, codes.Unauthenticated, err, "bearer token is needed")
	wrong := token[Read][:len(token[Read])-4] + "AAAA"
	for _, bad := range []string{"", "x", wrong, strings.Repeat("y", 10_000), "varve.nobody.abc", "varve.read."} {
		_, err = admin.Status(ctx, &varvev1.StatusRequest{}, with(bad))
		requireCode(t, codes.Unauthenticated, err, "token")
	}
	for range 3 { // checked, then known
		_, err = admin.Status(ctx, &varvev1.StatusRequest{}, with(token[Read]))
		require.NoError(t, err)
	}
	_, err = ingest.Write(ctx, write, with(token[Read]))
	requireCode(t, codes.PermissionDenied, err, "read has scope read")
	_, err = admin.Flush(ctx, &varvev1.FlushRequest{}, with(token[Write]))
	requireCode(t, codes.PermissionDenied, err, "needs admin")
	_, err = varvev1.NewQueryServiceClient(s.conn).ListDays(ctx, &varvev1.ListDaysRequest{TagIds: []uint32{1}}, with(token[Write]))
	requireCode(t, codes.PermissionDenied, err, "needs read")
	_, err = ingest.Write(ctx, write, with(token[Write]))
	require.NoError(t, err)
	_, err = ingest.Edit(ctx, &varvev1.EditRequest{Reason: "drift", Author: "somebody else", Runs: []*varvev1.Run{floats("a", 1, 2)}}, with(token[all]))
	require.NoError(t, err)
	versions := s.versions(t, "a")
	require.Equal(t, "admin", versions[len(versions)-1].Author, "the author of an edit is who is authenticated")

	write.Author, write.Reason, write.Batch.Runs = "mara", "lab", []*varvev1.Run{floats("a", 1, 3)}
	_, err = ingest.Write(ctx, write, with(token[Write]))
	require.NoError(t, err)
	versions = s.versions(t, "a")
	require.Equal(t, "write for mara", versions[len(versions)-1].Author, "who passes an edit on is who is authenticated")

	_, err = healthpb.NewHealthClient(s.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	require.NoError(t, err, "health is open")
	reflection, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	_, err = reflection.Recv()
	requireCode(t, codes.Unauthenticated, err, "token")
	stream, err := ingest.Ingest(ctx, with(token[Read]))
	require.NoError(t, err)
	_, err = stream.Recv()
	requireCode(t, codes.PermissionDenied, err, "needs write")

	for _, secret := range []string{token[Read], token[Write], wrong} {
		require.NotContains(t, logged.String(), secret[len(secret)-20:])
	}
	require.Contains(t, logged.String(), "call refused")
}

// TestRightTokensThatComeAtOnceAreLetIn: as after a restart, when no token is known yet.
func TestRightTokensThatComeAtOnceAreLetIn(t *testing.T) {
	file, token := tokens(t, Read, Write, all)
	store, err := readTokens(file)
	require.NoError(t, err)
	ctx := testContext(t)
	var group errgroup.Group
	for range 10 {
		for _, one := range token {
			group.Go(func() error {
				_, err := store.check(ctx, one)
				return err
			})
		}
	}
	require.NoError(t, group.Wait())

	store.known = map[[sha256.Size]byte]caller{}
	for range cap(store.hashing) {
		store.hashing <- struct{}{}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = store.check(gone, token[Read])
	require.ErrorIs(t, err, errHashing, "a call that is over does not wait")
}

func TestTokenFilesThatMakeNoSense(t *testing.T) {
	_, line, err := NewToken("x", Read, nil)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"":                               "no token in it",
		"nonsense":                       "line 1",
		line + "\n" + line:               "line 2: name x stands twice",
		"x:rule:argon2id$AAAA$AAAA":      "scope",
		"x:read:argon2id$AAAA$AAAA":      "salt",
		line[:len(line)-8]:               "hash",
		"x y:read:argon2id$AAAA$AAAA":    "must be name:scope",
		strings.Repeat("z", 1<<17) + ":": "token too long",
	} {
		file := filepath.Join(t.TempDir(), "tokens")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := readTokens(file)
		require.ErrorContains(t, err, want)
	}
	_, _, err = NewToken("a:b", Read, nil)
	require.ErrorContains(t, err, "letters")
	_, err = ParseScope("read,root")
	require.ErrorContains(t, err, "root")
}

func TestTLSAndClientCertificates(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	cert, key := ca.server()
	ctx := testContext(t)
	status := func(s *running, dial ...grpc.DialOption) error {
		conn, err := grpc.NewClient(s.addr, dial...)
		require.NoError(t, err)
		defer conn.Close()
		_, err = varvev1.NewAdminServiceClient(conn).Status(ctx, &varvev1.StatusRequest{})
		return err
	}
	var logged safeBuffer
	mutual := start(t, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil)), Security: Security{CertFile: cert, KeyFile: key, ClientCAFile: ca.file}}, ca.dial(ca.client("collector-7")))
	_, err := varvev1.NewAdminServiceClient(mutual.conn).Status(ctx, &varvev1.StatusRequest{})
	require.NoError(t, err)
	_, err = varvev1.NewAdminServiceClient(mutual.conn).Flush(ctx, &varvev1.FlushRequest{})
	requireCode(t, codes.PermissionDenied, err, "collector-7 has scope read,write")
	requireCode(t, codes.Unavailable, status(mutual, ca.dial()), "")
	requireCode(t, codes.Unavailable, status(mutual, ca.dial(foreign.client("collector-7"))), "")
	require.Eventually(t, func() bool { return strings.Contains(logged.String(), "unknown authority") }, 10*time.Second, time.Millisecond, "the operator is told why")
	requireCode(t, codes.Unavailable, status(mutual, foreign.dial(ca.client("collector-7"))), "certificate")

	file, token := tokens(t, Read)
	either := start(t, Options{Security: Security{CertFile: cert, KeyFile: key, ClientCAFile: ca.file, TokenFile: file, CertScope: all}}, ca.dial())
	require.NoError(t, status(either, ca.dial(), grpc.WithPerRPCCredentials(bearer(token[Read]))))
	require.NoError(t, status(either, ca.dial(ca.client("x"))))
	requireCode(t, codes.Unauthenticated, status(either, ca.dial()), "token")

	for _, s := range []Security{{CertFile: cert}, {KeyFile: key}, {ClientCAFile: ca.file}, {CertFile: key, KeyFile: cert}, {CertFile: cert, KeyFile: key, ClientCAFile: key}, {TokenFile: "/nowhere"}} {
		_, err := New(mutual.db, Options{Security: s})
		require.Error(t, err)
	}
}

// safeBuffer is a buffer that several goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
