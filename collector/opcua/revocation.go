package opcua

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
)

const (
	maxListBytes = 16 << 20
	maxChain     = 8 // certificates, the server's included
)

// store is what the folders of a source hold.
type store struct {
	trusted []*x509.Certificate
	issuers []*x509.Certificate // needed to tell who signed what, and not trusted by themselves
	lists   []list
	folder  string // where lists belong
}

// list is a list of revoked certificates.
type list struct {
	*x509.RevocationList
	file string
}

func (p pki) read() (s store, err error) {
	s.folder = p.folder(filepath.Join(trustedFolder, listsFolder))
	for folder, to := range map[string]*[]*x509.Certificate{trustedFolder: &s.trusted, issuerFolder: &s.issuers} {
		err := p.each(folder, func(c *x509.Certificate, _ string) error {
			*to = append(*to, c)
			return nil
		})
		if err != nil {
			return s, err
		}
	}
	s.lists, err = p.lists()
	return s, err
}

// lists reads the lists of revoked certificates. One that cannot be read is an error: whoever put it there thinks that it counts.
func (p pki) lists() (out []list, err error) {
	for _, folder := range []string{trustedFolder, issuerFolder} {
		files, err := p.files(filepath.Join(folder, listsFolder))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			l, err := readList(file)
			if errors.Is(err, fs.ErrNotExist) { // another one takes its place
				continue
			}
			if err != nil {
				return nil, err
			}
			out = append(out, list{l, file})
		}
	}
	return out, nil
}

// readList reads a file with a list of revoked certificates, DER or PEM.
func readList(path string) (*x509.RevocationList, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxListBytes {
		return nil, fmt.Errorf("%s has %d bytes, most is %d", path, st.Size(), maxListBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	l, err := x509.ParseRevocationList(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: it holds no list of revoked certificates: %w", path, err)
	}
	return l, nil
}

// chain is a certificate, who signed it, who signed that, as far as that is known: from the folders, and from what the server sent along.
func (s *store) chain(c *x509.Certificate, sent []*x509.Certificate, now time.Time) []*x509.Certificate {
	known := slices.Concat(s.trusted, s.issuers, sent)
	chain := []*x509.Certificate{c}
	for len(chain) < maxChain && !bytes.Equal(c.RawIssuer, c.RawSubject) {
		var signer *x509.Certificate
		for _, k := range known {
			if bytes.Equal(k.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(k) == nil && (signer == nil || now.After(signer.NotAfter)) { // renewed with the same key
				signer = k
			}
		}
		if signer == nil {
			break
		}
		c = signer
		chain = append(chain, c)
	}
	return chain
}

// trust is the first certificate of a chain that is trusted by itself; -1 for none.
func (s *store) trust(chain []*x509.Certificate) int {
	return slices.IndexFunc(chain, func(c *x509.Certificate) bool { return slices.ContainsFunc(s.trusted, c.Equal) })
}

// verify holds a chain to the rules of those who signed, up to the one that is trusted: their times, and whether they may sign.
func verify(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 1 {
		return nil // it is trusted by itself
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	for _, c := range chain[1 : len(chain)-1] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("who signed the certificate of %q cannot be relied on: %w: %w", chain[0].Subject.CommonName, err, ErrUntrusted)
	}
	return nil
}

// revoked is why a chain is not to be used: a list has one of its certificates, or, for the first required of them, there is no list that would (Part 4, 6.1.3).
func (s *store) revoked(chain []*x509.Certificate, required int, now time.Time) error {
	for i := range len(chain) - 1 {
		c, signer := chain[i], chain[i+1]
		revoked, unknown := ua.StatusBadCertificateRevoked, ua.StatusBadCertificateRevocationUnknown
		if i > 0 {
			revoked, unknown = ua.StatusBadCertificateIssuerRevoked, ua.StatusBadCertificateIssuerRevocationUnknown
		}
		known, why := false, "is not there"
		for _, l := range s.lists {
			if !bytes.Equal(l.RawIssuer, signer.RawSubject) || l.CheckSignatureFrom(signer) != nil {
				continue
			}
			if at, yes := l.revokes(c); yes {
				return fmt.Errorf("the certificate of %q was revoked by %q at %s, says %s; have it replaced: %w: %w",
					c.Subject.CommonName, signer.Subject.CommonName, at.UTC().Format(time.RFC3339), l.file, revoked, ErrUntrusted)
			}
			if reason := l.lacks(now); reason != "" {
				why = fmt.Sprintf("(%s) %s", l.file, reason)
			} else {
				known = true
			}
		}
		if !known && i < required {
			return fmt.Errorf("whether %q revoked the certificate of %q is not known, as its list of revoked certificates %s: put its newest one into %s, trust the server's certificate itself (varve collect trust accept), or set revocation: optional: %w: %w",
				signer.Subject.CommonName, c.Subject.CommonName, why, s.folder, unknown, ErrUntrusted)
		}
	}
	return nil
}

// revokes reports whether a list has a certificate, and since when it is revoked.
func (l list) revokes(c *x509.Certificate) (time.Time, bool) {
	const removed = 8 // from the list before; only in lists of changes
	i := slices.IndexFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(c.SerialNumber) == 0 && e.ReasonCode != removed
	})
	if i < 0 {
		return time.Time{}, false
	}
	return l.RevokedCertificateEntries[i].RevocationTime, true
}

// lacks is why a certificate that is not in a list may be revoked all the same; empty where it may not.
func (l list) lacks(now time.Time) string {
	switch {
	case slices.ContainsFunc(l.Extensions, func(e pkix.Extension) bool { return e.Critical }):
		return "is of some certificates only, or of changes"
	case now.Before(l.ThisUpdate):
		return "begins to hold at " + l.ThisUpdate.UTC().Format(time.RFC3339)
	case !l.NextUpdate.IsZero() && now.After(l.NextUpdate):
		return "held until " + l.NextUpdate.UTC().Format(time.RFC3339)
	}
	return ""
}
