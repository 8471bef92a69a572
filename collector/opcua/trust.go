package opcua

import (
	"crypto/sha1" // what other tools show of a certificate; nothing is decided by it
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
)

// Certificate is one of a server, or of an authority, that lies in a folder of a source.
type Certificate struct {
	Trusted      bool // else it was met and is not trusted, or not any more
	Issuer       bool // it is needed to tell who signed what, and not trusted by itself
	Authority    bool // what it signed is trusted too, where it is
	Revoked      bool // it, or who signed it, by a list that is there
	Fingerprint  string
	Thumbprint   string // SHA-1, by which OPC UA's own tools name a certificate
	Name         string
	Applications []string // the URIs of the applications that it is for
	NotBefore    time.Time
	NotAfter     time.Time
	File         string
}

// Errors of trust, to test with errors.Is.
var (
	ErrNoCertificate = errors.New("there is no such certificate")
	ErrFingerprint   = errors.New("a certificate is named by its SHA-256 fingerprint, 64 hexadecimal digits")
)

// certificate describes a certificate in a file of a folder.
func certificate(c *x509.Certificate, file, folder string) Certificate {
	thumb := sha1.Sum(c.Raw)
	out := Certificate{
		Trusted: folder == trustedFolder, Issuer: folder == issuerFolder, Authority: c.IsCA, Fingerprint: Fingerprint(c.Raw), Thumbprint: hex.EncodeToString(thumb[:]), Name: c.Subject.CommonName,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, File: file,
	}
	for _, u := range c.URIs {
		out.Applications = append(out.Applications, u.String())
	}
	return out
}

// Certificates are those that a source whose folder is dir trusts, those of issuers, and then those that it met and does not trust, by name.
func Certificates(dir string) (out []Certificate, err error) {
	p := pki{dir: dir}
	s, err := p.read()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, folder := range []string{trustedFolder, issuerFolder, rejectedFolder} {
		begin := len(out)
		err := p.each(folder, func(c *x509.Certificate, file string) error {
			x := certificate(c, file, folder)
			x.Revoked = s.revoked(s.chain(c, nil, now), 0, now) != nil
			out = append(out, x)
			return nil
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(out[begin:], func(a, b Certificate) int {
			return strings.Compare(a.Name+"\x00"+a.Fingerprint, b.Name+"\x00"+b.Fingerprint)
		})
	}
	return out, nil
}

// RevocationList is a list of what an authority revoked that lies in a folder of a source.
type RevocationList struct {
	Fingerprint string
	Name        string // of the authority
	Revoked     int    // certificates
	ThisUpdate  time.Time
	NextUpdate  time.Time // zero where it does not say
	Lacks       string    // why a certificate that it does not have may be revoked all the same; empty where it may not
	File        string
}

// RevocationLists are those of a source whose folder is dir, in the order of their files.
func RevocationLists(dir string, now time.Time) (out []RevocationList, err error) {
	lists, err := pki{dir: dir}.lists()
	for _, l := range lists {
		out = append(out, RevocationList{
			Fingerprint: Fingerprint(l.Raw), Name: l.Issuer.CommonName, Revoked: len(l.RevokedCertificateEntries), ThisUpdate: l.ThisUpdate, NextUpdate: l.NextUpdate,
			Lacks: l.lacks(now), File: l.file,
		})
	}
	return out, err
}

// Accept has a source trust a certificate that it met. A collector that runs finds it at its next attempt.
func Accept(dir, fingerprint string, now time.Time) (Certificate, error) {
	return move(dir, fingerprint, rejectedFolder, trustedFolder, func(c *x509.Certificate) error {
		s, err := pki{dir: dir}.read()
		if err != nil {
			return err
		}
		if err := usable(c, now); err != nil {
			return err
		}
		return s.revoked(s.chain(c, nil, now), 0, now)
	})
}

// Reject has a source trust a certificate no more. What an authority signed that is trusted stays so.
func Reject(dir, fingerprint string) (Certificate, error) {
	return move(dir, fingerprint, trustedFolder, rejectedFolder, func(*x509.Certificate) error { return nil })
}

// move moves a certificate to another folder, where its name is its fingerprint. It is in the one or the other, or in both, after a crash.
func move(dir, fingerprint, from, to string, check func(*x509.Certificate) error) (Certificate, error) {
	fingerprint = strings.ToLower(strings.ReplaceAll(fingerprint, ":", ""))
	if b, err := hex.DecodeString(fingerprint); err != nil || len(b) != 32 {
		return Certificate{}, fmt.Errorf("%.80q: %w", fingerprint, ErrFingerprint)
	}
	p := pki{dir: dir}
	var found *x509.Certificate
	var files []string
	err := p.each(from, func(c *x509.Certificate, file string) error {
		if Fingerprint(c.Raw) == fingerprint {
			found, files = c, append(files, file)
		}
		return nil
	})
	if err != nil {
		return Certificate{}, err
	}
	if found == nil {
		return Certificate{}, fmt.Errorf("%s in %s: %w", fingerprint, p.folder(from), ErrNoCertificate)
	}
	if err := check(found); err != nil {
		return Certificate{}, err
	}
	target := filepath.Join(p.folder(to), fingerprint+".der")
	if err := collector.WriteFile(target, found.Raw); err != nil {
		return Certificate{}, err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Certificate{}, err
		}
	}
	return certificate(found, target, to), nil
}
