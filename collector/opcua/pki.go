package opcua

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
)

// pki is the certificates of a source, in folders of its own:
//
//	pki/own/cert.der, key.pem   the client's, made where there is none
//	pki/trusted/*.der           servers, and authorities, that are trusted
//	pki/trusted/crl/*.crl       lists of what authorities revoked
//	pki/issuer/*.der, crl/*.crl the same of authorities that are not trusted by themselves
//	pki/rejected/*.der          servers that were met and are not trusted, yet
//
// Certificates may lie in a folder certs below these, as Part 12, F.1 has it.
type pki struct {
	dir      string // of the source
	name     string // of the source
	optional bool   // what an authority signed is trusted without its list of revoked certificates
}

// ErrUntrusted is returned for a server whose certificate is not trusted.
var ErrUntrusted = errors.New("the server's certificate is not trusted")

const (
	ownYears     = 10
	maxCertBytes = 64 << 10
	maxRejected  = 100 // files; a hostile network must not fill the disk
	leastKeyBits = 2048

	trustedFolder  = "trusted"
	issuerFolder   = "issuer"
	rejectedFolder = "rejected"
	certsFolder    = "certs" // below them
	listsFolder    = "crl"
)

func (p pki) folder(name string) string { return filepath.Join(p.dir, "pki", name) }

// own is the client's certificate and key. They are made where there are none.
func (p pki) own() (cert []byte, key *rsa.PrivateKey, err error) {
	certPath, keyPath := filepath.Join(p.folder("own"), "cert.der"), filepath.Join(p.folder("own"), "key.pem")
	_, certErr := os.Stat(certPath)
	if _, err := os.Stat(keyPath); errors.Is(err, fs.ErrNotExist) && errors.Is(certErr, fs.ErrNotExist) {
		if err := p.make(certPath, keyPath); err != nil {
			return nil, nil, fmt.Errorf("make a client certificate: %w", err)
		}
	}
	return readPair(certPath, keyPath)
}

func readPair(certPath, keyPath string) ([]byte, *rsa.PrivateKey, error) {
	cert, err := readCert(certPath)
	if err != nil {
		return nil, nil, err
	}
	b, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, nil, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	parsed, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(b); err != nil {
			return nil, nil, fmt.Errorf("read %s: it holds no RSA key", keyPath)
		}
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("the key in %s is not that of the certificate in %s", keyPath, certPath)
	}
	return cert.Raw, key, nil
}

// readCert reads a file with a certificate, DER or PEM.
func readCert(path string) (*x509.Certificate, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxCertBytes {
		return nil, fmt.Errorf("%s has %d bytes, most is %d", path, st.Size(), maxCertBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: it holds no certificate: %w", path, err)
	}
	return c, nil
}

// make makes a certificate that signs itself, as Part 6, 6.2.2 wants those of applications.
func (p pki) make(certPath, keyPath string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Varve collector " + p.name, Organization: []string{"Varve"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(ownYears, 0, 0), URIs: []*url.URL{{Scheme: "urn", Opaque: host + ":varve:collector:" + p.name}},
		DNSNames: []string{host}, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The file has mode 0600: it is made by os.CreateTemp.
	if err := collector.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})); err != nil {
		return err
	}
	return collector.WriteFile(certPath, der)
}

// Fingerprint is how people compare certificates: SHA-256 in hexadecimal.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// trusts reports whether a server's certificate is trusted for an application: it is in the folder, or an authority that is has signed it and not revoked it. One
// that is not is kept, for people to look at. The server may send along who signed it (Part 6, 6.2.6); the certificate alone is returned.
func (p pki) trusts(der []byte, application string, now time.Time) ([]byte, error) {
	if len(der) == 0 || len(der) > maxCertBytes {
		return nil, fmt.Errorf("the server has a certificate of %d bytes: %w", len(der), ErrUntrusted)
	}
	sent, err := x509.ParseCertificates(der)
	if err != nil {
		return nil, fmt.Errorf("the server's certificate cannot be read: %w: %w", err, ErrUntrusted)
	}
	if len(sent) > maxChain {
		return nil, fmt.Errorf("the server sends %d certificates, most is %d: %w", len(sent), maxChain, ErrUntrusted)
	}
	s, err := p.read()
	if err != nil {
		return nil, err
	}
	c := sent[0]
	err = p.judge(&s, c, s.chain(c, sent[1:], now), application, now)
	if err != nil && !slices.ContainsFunc(s.trusted, c.Equal) {
		err = errors.Join(err, p.reject(c))
	}
	return c.Raw, err
}

// judge is why a certificate is not trusted.
func (p pki) judge(s *store, c *x509.Certificate, chain []*x509.Certificate, application string, now time.Time) error {
	trust := s.trust(chain)
	if err := usable(c, now); err != nil {
		return err
	}
	if application != "" && !slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == application }) {
		return fmt.Errorf("the server says that it is %.200q and its certificate does not: %w", application, ErrUntrusted)
	}
	if trust < 0 {
		return fmt.Errorf("%q, SHA-256 %s, lies in %s: compare it with the server's own, and then varve collect trust accept --config FILE %s %s: %w",
			c.Subject.CommonName, Fingerprint(c.Raw), p.folder(rejectedFolder), p.name, Fingerprint(c.Raw), ErrUntrusted)
	}
	if err := verify(chain[:trust+1], now); err != nil {
		return err
	}
	required := trust // whoever is trusted by itself needs no word of who signed it
	if p.optional {
		required = 0
	}
	return s.revoked(chain, required, now)
}

// usable is why a certificate is of no use, trusted or not; nil if it is.
func usable(c *x509.Certificate, now time.Time) error {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok || key.N.BitLen() < leastKeyBits:
		return fmt.Errorf("the certificate of %q has no RSA key of at least %d bits: %w", c.Subject.CommonName, leastKeyBits, ErrUntrusted)
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate of %q expired at %s, and it is %s: have it renewed: %w",
			c.Subject.CommonName, c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), ErrUntrusted)
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate of %q is valid from %s on, and it is %s: set the clock, here or there: %w",
			c.Subject.CommonName, c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), ErrUntrusted)
	}
	return nil
}

// files are the files of a folder.
func (p pki) files(folder string) (out []string, err error) {
	entries, err := os.ReadDir(p.folder(folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(filepath.Ext(e.Name()), ".new") { // the last is being written
			out = append(out, filepath.Join(p.folder(folder), e.Name()))
		}
	}
	return out, nil
}

// each calls do with the certificates of a folder and their files. One that cannot be read is an error: whoever put it there thinks that it counts.
func (p pki) each(folder string, do func(c *x509.Certificate, file string) error) error {
	for _, folder := range []string{folder, filepath.Join(folder, certsFolder)} {
		files, err := p.files(folder)
		if err != nil {
			return err
		}
		for _, file := range files {
			c, err := readCert(file)
			if errors.Is(err, fs.ErrNotExist) { // it was moved meanwhile
				continue
			}
			if err != nil {
				return err
			}
			if err := do(c, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// reject keeps a certificate for people to look at.
func (p pki) reject(c *x509.Certificate) error {
	path := filepath.Join(p.folder(rejectedFolder), Fingerprint(c.Raw)+".der")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if entries, err := os.ReadDir(p.folder(rejectedFolder)); err == nil && len(entries) >= maxRejected {
		return fmt.Errorf("%s has %d certificates already; the server's was not kept", p.folder(rejectedFolder), len(entries))
	}
	return collector.WriteFile(path, c.Raw)
}
