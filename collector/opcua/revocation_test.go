package opcua

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/collector"
)

// authority signs certificates and lists.
type authority struct {
	*x509.Certificate
	key crypto.Signer
}

func newAuthority(t *testing.T, name string, by *authority, until time.Time) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{key: key}
	a.Certificate = signed(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: until, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, by, key)
	return a
}

var lastSerial = int64(100)

// signed is a certificate by an authority, or by itself.
func signed(t *testing.T, c *x509.Certificate, by *authority, key crypto.Signer) *x509.Certificate {
	lastSerial++
	c.SerialNumber, c.NotBefore, c.BasicConstraintsValid = big.NewInt(lastSerial), time.Now().Add(-24*time.Hour), true
	signer, signerKey := c, key
	if by != nil {
		signer, signerKey = by.Certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer, key.Public(), signerKey)
	require.NoError(t, err)
	c, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func (a *authority) revokes(t *testing.T, until time.Time, partial bool, of ...*x509.Certificate) []byte {
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-12 * time.Hour), NextUpdate: until}
	for _, c := range of {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	if partial { // an issuing distribution point: certificates of users only
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x81, 1, 0xff}}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.Certificate, a.key)
	require.NoError(t, err)
	return der
}

func put(t *testing.T, path string, b []byte) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, b, 0o644))
}

// verdict is the status that an error says; 0 for trust.
func verdict(t *testing.T, err error) ua.StatusCode {
	if err == nil {
		return 0
	}
	require.ErrorIs(t, err, ErrUntrusted)
	for _, s := range []ua.StatusCode{
		ua.StatusBadCertificateRevoked, ua.StatusBadCertificateIssuerRevoked, ua.StatusBadCertificateRevocationUnknown, ua.StatusBadCertificateIssuerRevocationUnknown,
	} {
		if errors.Is(err, s) {
			return s
		}
	}
	return ua.StatusBadCertificateUntrusted
}

// A server that an authority signed, which another one signed: whatever of that is trusted, known, expired, revoked, and whatever lists are there, the verdict is what
// the rules say that stand here once more.
func TestRevocation(t *testing.T) {
	now := time.Now()
	later, before := now.Add(24*time.Hour), now.Add(-time.Hour)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	random := mathrand.New(mathrand.NewPCG(5, 8))
	flip := func() bool { return random.IntN(2) == 0 }
	seen := map[ua.StatusCode]int{}
	for n := range 200 {
		p := pki{dir: t.TempDir(), name: "plc", optional: random.IntN(3) == 0}
		expired := [3]bool{false, random.IntN(5) == 0, random.IntN(5) == 0} // the server's is never: TestExpiredServersAreKept
		until := func(i int) time.Time {
			if expired[i] {
				return before
			}
			return later
		}
		root := newAuthority(t, "root", nil, until(2))
		middle := newAuthority(t, "middle", root, until(1))
		leaf := signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "plc"}, URIs: []*url.URL{{Scheme: "urn", Opaque: "plc"}}, NotAfter: later}, middle, key)
		other := newAuthority(t, "middle", nil, later) // of the same name

		sent := bytes.Clone(leaf.Raw)
		chain := []*x509.Certificate{leaf}
		trust := -1
		for i, c := range []*x509.Certificate{leaf, middle.Certificate, root.Certificate} {
			known := i == 0
			for folder, put1 := range map[string]bool{trustedFolder: random.IntN(3) == 0, issuerFolder: i > 0 && flip()} {
				if put1 {
					known = true
					if flip() {
						folder = filepath.Join(folder, certsFolder)
					}
					put(t, filepath.Join(p.folder(folder), fmt.Sprint(i, ".der")), c.Raw)
				}
			}
			if i > 0 && random.IntN(4) == 0 {
				known, sent = true, append(sent, c.Raw...)
			}
			if known && len(chain) == i && i > 0 {
				chain = append(chain, c)
			}
		}
		store, err := p.read()
		require.NoError(t, err)
		for i, c := range chain {
			for _, x := range store.trusted {
				if trust < 0 && x.Equal(c) {
					trust = i
				}
			}
		}
		var revoked, current [2]bool // of leaf and middle, by lists of middle and root
		for i, a := range []*authority{middle, root} {
			for k := range random.IntN(3) {
				var of []*x509.Certificate
				if random.IntN(4) == 0 {
					of = []*x509.Certificate{leaf, middle.Certificate}[i : i+1]
				}
				end, partial, by := later, random.IntN(4) == 0, a
				if random.IntN(4) == 0 {
					end = before
				}
				if random.IntN(6) == 0 {
					by = other
				} else {
					revoked[i], current[i] = revoked[i] || of != nil, current[i] || end == later && !partial
				}
				der := by.revokes(t, end, partial, of...)
				if flip() {
					der = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
				}
				put(t, filepath.Join(p.folder([]string{trustedFolder, issuerFolder}[random.IntN(2)]), listsFolder, fmt.Sprint(i, k, ".crl")), der)
			}
		}

		want := ua.StatusCode(0)
		switch {
		case trust < 0, trust >= 1 && expired[1], trust == 2 && expired[2]:
			want = ua.StatusBadCertificateUntrusted
		default:
			for i := range len(chain) - 1 {
				if revoked[i] {
					want = []ua.StatusCode{ua.StatusBadCertificateRevoked, ua.StatusBadCertificateIssuerRevoked}[i]
					break
				}
				if !current[i] && i < trust && !p.optional {
					want = []ua.StatusCode{ua.StatusBadCertificateRevocationUnknown, ua.StatusBadCertificateIssuerRevocationUnknown}[i]
					break
				}
			}
		}
		got, err := p.trusts(sent, "urn:plc", now)
		require.Equal(t, want, verdict(t, err), "%d: trust %d of %d, expired %v, revoked %v, current %v, optional %t: %v", n, trust, len(chain), expired, revoked, current, p.optional, err)
		require.Equal(t, leaf.Raw, got, "whatever was sent along")
		seen[want]++
		_, kept := os.Stat(filepath.Join(p.folder(rejectedFolder), Fingerprint(leaf.Raw)+".der"))
		require.Equal(t, want != 0 && trust != 0, kept == nil, "who is not trusted can be looked at")
		if want != 0 && trust != 0 { // and accepted, for what it is, unless it is revoked
			_, err := Accept(p.dir, Fingerprint(leaf.Raw), now)
			known, readErr := p.read()
			require.NoError(t, readErr)
			if known.revoked(known.chain(leaf, nil, now), 0, now) != nil {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				if len(chain) < 2 || !revoked[0] && (len(chain) < 3 || !revoked[1]) {
					require.NoError(t, trusts(p, sent, "urn:plc", now), "no list is needed for it")
				}
			}
		}
	}
	require.Len(t, seen, 6, "every verdict is met")
}

// What is said of a list is of use to whoever has to find another one, and a list that cannot be read is not passed over.
func TestListsOfRevoked(t *testing.T) {
	now := time.Now()
	p := pki{dir: t.TempDir(), name: "plc"}
	root := newAuthority(t, "plant", nil, now.Add(time.Hour))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	leaf := signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "plc"}, URIs: []*url.URL{{Scheme: "urn", Opaque: "plc"}}, NotAfter: now.Add(time.Hour)}, root, key)
	put(t, filepath.Join(p.folder(trustedFolder), "plant.der"), root.Raw)
	lists := filepath.Join(p.folder(trustedFolder), listsFolder)
	err = trusts(p, leaf.Raw, "urn:plc", now)
	require.ErrorIs(t, err, ua.StatusBadCertificateRevocationUnknown)
	require.ErrorContains(t, err, `whether "plant" revoked the certificate of "plc" is not known, as its list of revoked certificates is not there: put its newest one into `+lists)
	file := filepath.Join(lists, "plant.crl")
	put(t, file, root.revokes(t, now.Add(-time.Minute), false))
	require.ErrorContains(t, trusts(p, leaf.Raw, "urn:plc", now), "("+file+") held until "+now.Add(-time.Minute).UTC().Format(time.RFC3339))
	put(t, file, root.revokes(t, now.Add(time.Hour), false))
	require.NoError(t, trusts(p, leaf.Raw, "urn:plc", now), "as soon as a newer one is there")
	require.ErrorContains(t, trusts(p, leaf.Raw, "urn:plc", now.Add(-20*time.Hour)), "begins to hold at")
	put(t, file, root.revokes(t, now.Add(time.Hour), false, leaf))
	err = trusts(p, leaf.Raw, "urn:plc", now)
	require.ErrorIs(t, err, ua.StatusBadCertificateRevoked)
	require.ErrorContains(t, err, `the certificate of "plc" was revoked by "plant" at `)
	require.ErrorContains(t, err, "says "+file)
	_, err = Accept(p.dir, Fingerprint(leaf.Raw), now)
	require.ErrorIs(t, err, ua.StatusBadCertificateRevoked)
	all, err := Certificates(p.dir)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.True(t, all[1].Revoked)
	known, err := RevocationLists(p.dir, now)
	require.NoError(t, err)
	require.Len(t, known, 1)
	require.Equal(t, []any{"plant", 1, file, ""}, []any{known[0].Name, known[0].Revoked, known[0].File, known[0].Lacks})
	put(t, file, []byte("no list"))
	require.ErrorContains(t, trusts(p, leaf.Raw, "urn:plc", now), file+": it holds no list of revoked certificates")
	require.NoError(t, os.Truncate(file, maxListBytes+1))
	require.ErrorContains(t, trusts(p, leaf.Raw, "urn:plc", now), "most is")
}

// TestServerThatOpensWithItsChain: what its endpoints show is trusted, the channel that it opens cannot be read, and the error says what to do.
func TestServerThatOpensWithItsChain(t *testing.T) {
	t.Parallel() // it waits
	root := newAuthority(t, "root", nil, time.Now().Add(time.Hour))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	leaf := signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "plc"}, NotAfter: time.Now().Add(time.Hour)}, root, key)
	chain := slices.Concat(leaf.Raw, root.Raw)
	endpoints, err := ua.Encode(&ua.GetEndpointsResponse{
		ResponseHeader: &ua.ResponseHeader{ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)},
		Endpoints: []*ua.EndpointDescription{{
			Server: &ua.ApplicationDescription{ApplicationName: ua.NewLocalizedText("plc")}, ServerCertificate: chain, SecurityMode: ua.MessageSecurityModeSignAndEncrypt,
			SecurityPolicyURI: ua.SecurityPolicyURIBasic256Sha256, UserIdentityTokens: []*ua.UserTokenPolicy{{PolicyID: "anonymous", TokenType: ua.UserTokenTypeAnonymous}},
		}},
	})
	require.NoError(t, err)
	url := newHostile(t, func(q question) {
		q.chunk(true, slices.Concat([]byte{1, 0}, le.AppendUint16(nil, id.GetEndpointsResponse_Encoding_DefaultBinary), endpoints))
	}, chain...)
	x := open(t, Settings{URLs: []string{url}, Revocation: revocationOptional, Timeout: 2 * time.Second})
	put(t, filepath.Join(x.pki.folder(trustedFolder), "root.der"), root.Raw)
	_, _, err = x.dial(t.Context(), url, nil)
	require.ErrorContains(t, err, "have it send its own certificate alone")
}

// TestPasswordGoesToTheServerThatIsTrusted: who stands between may show the trusted server's certificate, which everyone has, and log on with one of its own.
func TestPasswordGoesToTheServerThatIsTrusted(t *testing.T) {
	trusted, trustedKey := makeCertificate(t, "plant", nil, nil, nil)
	attacker, attackerKey := makeCertificate(t, "plant", nil, nil, nil)
	for name, c := range map[string]struct {
		logsOn *x509.Certificate
		key    *rsa.PrivateKey
		took   bool
	}{"the server itself": {trusted, trustedKey, true}, "somebody between": {attacker, attackerKey, false}} {
		t.Run(name, func(t *testing.T) {
			tokens := make(chan []byte, 10)
			url := ""
			answers := map[uint16]server.Handler{}
			answers[id.GetEndpointsRequest_Encoding_DefaultBinary] = func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
				return &ua.GetEndpointsResponse{ResponseHeader: header(r, ua.StatusOK), Endpoints: []*ua.EndpointDescription{{
					EndpointURL: url, Server: &ua.ApplicationDescription{ApplicationURI: "urn:plant", ApplicationName: ua.NewLocalizedText("plant")}, ServerCertificate: trusted.Raw, SecurityMode: ua.MessageSecurityModeNone,
					SecurityPolicyURI:  ua.SecurityPolicyURINone,
					UserIdentityTokens: []*ua.UserTokenPolicy{{PolicyID: "password", TokenType: ua.UserTokenTypeUserName, SecurityPolicyURI: ua.SecurityPolicyURIBasic256Sha256}},
				}}}, nil
			}
			answers[id.CreateSessionRequest_Encoding_DefaultBinary] = func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
				return &ua.CreateSessionResponse{
					ResponseHeader: header(r, ua.StatusOK), SessionID: ua.NewNumericNodeID(1, 1), AuthenticationToken: ua.NewNumericNodeID(1, 2), RevisedSessionTimeout: 60_000,
					ServerNonce: make([]byte, 32), ServerCertificate: c.logsOn.Raw, ServerSignature: &ua.SignatureData{},
				}, nil
			}
			answers[id.ActivateSessionRequest_Encoding_DefaultBinary] = func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
				if token, ok := r.(*ua.ActivateSessionRequest).UserIdentityToken.Value.(*ua.UserNameIdentityToken); ok {
					tokens <- token.Password
				}
				return &ua.ActivateSessionResponse{ResponseHeader: header(r, ua.StatusOK), ServerNonce: make([]byte, 32)}, nil
			}
			p := newPlant(t, answers)
			url = p.url
			dir := t.TempDir()
			put(t, filepath.Join(pki{dir: dir}.folder(trustedFolder), "plant.der"), trusted.Raw)
			t.Setenv("OPCUA_PASSWORD", "hunter2")
			password, err := collector.NewSecret("${OPCUA_PASSWORD}")
			require.NoError(t, err)
			x, err := newSource(collector.Env{Name: "plc", Dir: dir, Logger: testLogger(), Now: time.Now}, &Settings{
				URLs: []string{p.url}, Security: none, User: &User{Name: "op", Password: password},
			})
			require.NoError(t, err)
			session, _, err := x.(*source).dial(t.Context(), p.url, nil)
			if err == nil {
				session.close()
			}
			if c.took {
				require.NoError(t, err)
				require.NotEmpty(t, tokens)
				return
			}
			require.ErrorIs(t, err, ErrUntrusted)
			require.Empty(t, tokens, "the password did not go there")
		})
	}
}
